"""Many connections at once: 10,000 from a second process (`make soak`), 500 in the ordinary run. After ten rounds nothing has grown since the second."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .echo_load import SPARE

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
LOAD = Path(__file__).with_name("echo_load.py")
ROUNDS = 10

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc, and calls from all addresses of 127/8")


class Other:
    """A process that answers each line with one."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(LOAD), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, *words: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        return self.answer()


@contextmanager
def started(*arguments: str) -> Iterator[Other]:
    other = Other(*arguments)
    with other.process:
        try:
            yield other
        finally:
            other.process.kill()


def load(backend: str, count: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < count + SPARE:
        pytest.skip(f"{count} connections take {count + SPARE} descriptors in each process, and the hard limit is {most} (ulimit -Hn)")
    after = {}
    with started("server", backend) as server, started("client") as client:
        port = server.answer()["port"]
        quiet = server.ask(2)  # the main task, and the one that accepts
        for number in range(1, ROUNDS + 1):
            assert client.ask("open", port, count, f"127.0.0.{1 + number}") == {"opened": count}
            assert client.ask("echo") == {"echoed": count}
            connected = server.ask(2 + count)
            assert client.ask("close") == {"closed": True}
            after[number] = (connected, server.ask(2))
    for (early, late), kind in zip(zip(after[2], after[ROUNDS], strict=True), ("connected", "closed"), strict=True):
        for what in ("tasks", "descriptors"):
            assert early[what] == late[what], f"{what}, {kind}: {early[what]} after two rounds, {late[what]} after {ROUNDS}"
        growth = late["memory"] / early["memory"]
        assert 0.95 < growth < 1.05, f"memory, {kind}: {growth:.3f} times as much after {ROUNDS} rounds as after two ({early} {late})"
    assert after[ROUNDS][1]["descriptors"] == quiet["descriptors"]
    assert after[ROUNDS][0]["descriptors"] == quiet["descriptors"] + count


@pytest.mark.slow(reason="two processes, and five thousand connections one after the other")
@pytest.mark.parametrize("backend", BACKENDS)
def test_500_connections(backend: str) -> None:
    load(backend, 500)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.slow(reason="a hundred thousand connections")
@pytest.mark.parametrize("backend", BACKENDS)
def test_10_000_connections(backend: str) -> None:
    load(backend, 10_000)
