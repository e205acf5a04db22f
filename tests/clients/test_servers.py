"""What the tests with real servers stand on: starting, finding and ending processes."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import processes
from .servers.postgres_server import postgres_server
from .servers.processes import Process, started
from .servers.redis_server import redis_server


def ended(pid: int, timeout: float = 10) -> bool:
    """Wait for the end of a process, whosever child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(descriptor)


def test_a_server_ends_with_its_block_whatever_ends_that() -> None:
    seen = []
    with pytest.raises(KeyboardInterrupt):
        with started(lambda port: Process("server", ["sh", "-c", f"echo ready at {port}; exec sleep 1000"]), "^ready") as (server, port):
            assert list(server.lines) == [f"ready at {port}"]
            seen.append(server)
            raise KeyboardInterrupt
    assert seen[0].child.returncode == -15


def test_a_server_that_does_not_start_is_tried_three_times_and_quoted() -> None:
    ports = []

    def start(port: int) -> Process:
        ports.append(port)
        return Process("server", ["sh", "-c", "echo no room; exit 1"])

    with pytest.raises(AssertionError, match="server did not say '\\^ready' but:\nno room"):
        with started(start, "^ready"):
            pass
    assert len(ports) == 3


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed: apt-get install util-linux")
def test_a_server_ends_if_the_tests_are_killed(tree: Path) -> None:
    program = (
        "import os; from tests.clients.servers.processes import Process; server = Process('server', ['sh', '-c', 'echo ready; exec sleep 1000']); "
        "server.line('ready'); print(server.pid, flush=True); os.kill(os.getpid(), 9)"  # ready: setpriv has told the kernel by then
    )
    killed = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=30, cwd=tree)
    assert killed.returncode == -9
    assert ended(int(killed.stdout))


@pytest.mark.parametrize(("required", "outcome"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)])
def test_a_server_that_is_not_installed(required: bool, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "REQUIRED", required)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter(()))
    with pytest.raises(outcome, match="^redis-server is not installed: apt-get install redis-server$"):
        with redis_server(tmp_path, tmp_path):
            pass
    with pytest.raises(outcome, match="^postgresql is not installed: apt-get install postgresql$"):
        with postgres_server(tmp_path):
            pass
