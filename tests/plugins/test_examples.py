"""The eleven programs of ``examples`` print what they say, on each backend. COOP_BACKEND in the environment chooses another one."""

from __future__ import annotations

import ast
import http.client
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
WORKERS = {"02": ("steve", "john", "nancy"), "03": ("steve", "john", "bob")}


def dealt(program: str, first: int, last: int) -> list[str]:
    names = WORKERS[program]
    return [f"Worker {names[(n - 1) % 3]} got task {n}" for n in range(first, last + 1)]


# What the programs are for, written down apart from them. A line is matched whole; <number> stands for digits.
EXPECTED = {
    "01": [
        "I live!",
        *(f"waiter {n} saw the event" for n in (1, 2, 3)),
        "the value is 42",
        "and it is still 42",
        *(f"waiter {n} got an error: the answer is lost" for n in (1, 2)),
        "the task returned 6 times 7 = 42",
    ],
    "02": [*dealt("02", 1, 24), *["Quitting time!"] * 3],
    "03": [
        *dealt("03", 1, 6),
        "Assigned all work in iteration 1",
        *dealt("03", 7, 18),
        "Assigned all work in iteration 2",
        *dealt("03", 19, 19),
        *["Quitting time!"] * 3,
        "put: the queue stayed full for 0.1 seconds",
        "put_nowait: the queue is full",
        "get_nowait: the queue is empty",
    ],
    "04": ["bar"] * 3 + ["foo"] * 3 + ["fizz"] * 3,
    "05": ["Size of group 3", "Hello from task <number>"] * 3 + [f"('task', {n})" for n in (0, 1, 2, 2, 1, 0)],
    "06": [f"Size of pool {n}" for n in (2, 2, 1)],
    "07": [
        *(f"Worker {n} {what} semaphore" for what in ("acquired", "released") for n in (0, 1)),
        *(f"Worker {n} {what} semaphore" for what in ("acquired", "released") for n in (3, 4)),
        *(f"Worker 5 {what} semaphore" for what in ("acquired", "released")),
        "100 tasks counted with a lock: 100",
        "100 tasks counted without one: 1",
    ],
    "08": ["x = 1", "y = 2", "x is not local to f2"],
}
SLOW = {"01": "a task sleeps three seconds", "03": "workers give up after a second", "05": "results take three seconds, twice"}


def find(tree: Path, number: str) -> Path:
    [program] = (tree / "examples").glob(f"{number}_*.py")
    return program


def start(program: Path, backend: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "COOP_BACKEND": backend, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(program), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    """The lines that a program prints. It must end well and complain of nothing."""
    output, errors = process.communicate(timeout=30)
    assert errors == ""
    assert process.returncode == 0
    return output.splitlines()


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def stated(program: Path) -> list[str]:
    """The output that the comment at the top of a program promises."""
    comment = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    _, found, promise = comment.partition("Expected output")
    assert found, f"{program.name} doesn't state its output"
    return textwrap.dedent(promise.partition("\n\n")[2]).rstrip().splitlines()


def matches(lines: list[str], expected: list[str]) -> bool:
    patterns = [re.escape(line).replace("<number>", r"\d+") for line in expected]
    return len(lines) == len(patterns) and all(map(re.fullmatch, patterns, lines))


@pytest.fixture(scope="module", params=BACKENDS)
def running(request: pytest.FixtureRequest, tree: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The programs that only print, all at once: they sleep more than they work."""
    processes = {number: start(find(tree, number), request.param) for number in EXPECTED}
    yield processes
    for process in processes.values():
        end(process)


@pytest.mark.parametrize("number", [pytest.param(number, marks=[pytest.mark.slow(reason=SLOW[number])] if number in SLOW else []) for number in EXPECTED])
def test_a_program_prints_what_it_should(number: str, running: dict[str, subprocess.Popen[str]]) -> None:
    lines = finish(running[number])
    assert matches(lines, EXPECTED[number]), "\n".join(lines)
    if number == "05":
        tasks = [line for line in lines if line.startswith("Hello")]
        assert len(set(tasks)) == 3


@pytest.mark.parametrize("number", [*EXPECTED, "10"])
def test_the_comment_at_the_top_states_the_output(number: str, tree: Path) -> None:
    assert stated(find(tree, number)) == EXPECTED.get(number, ["cron"] * 5 + ["Linux"])


@pytest.mark.slow(reason="the child sleeps a second")
@pytest.mark.parametrize("backend", BACKENDS)
def test_cron_goes_on_while_a_child_runs(backend: str, tree: Path) -> None:
    *cron, last = finish(start(find(tree, "10"), backend))
    assert last == os.uname().sysname
    assert set(cron) == {"cron"} and len(cron) >= 3, "five or six, but for a machine that is slow to begin or to end the child"


# -- 9: web sessions ---------------------------------------------------------------------------------------------------


@contextmanager
def serving(program: Path, backend: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program and its port, while it serves."""
    process = start(program, backend, "0")
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"Serving on http://127\.0\.0\.1:(\d+)/\n", line)
        assert found, line + process.stderr.read()
        yield process, int(found[1])
    finally:
        end(process)


def check_sessions(port: int) -> None:
    """100 requests at once from ten addresses, and two on one connection: each sees its own request."""
    clients = []
    for n in range(100):
        address, path = f"127.0.0.{n % 10 + 1}", f"/page/{n}"
        clients.append((http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(address, 0)), address, path))
    try:
        for client, _, path in clients:
            client.request("GET", path)
        answers = [client.getresponse().read().decode() for client, _, _ in clients]
        assert answers == [f"Hello {address} {path}" for _, address, path in clients]
        # The same connections, kept alive, carry a second request each.
        first, address, _ = clients[0]
        kept = first.sock
        assert kept is not None, "the server closed a connection that should be kept"
        for path in ("/one", "/two"):
            first.request("GET", path)
            assert first.getresponse().read().decode() == f"Hello {address} {path}"
        assert first.sock is kept
    finally:
        for client, _, _ in clients:
            client.close()


@pytest.mark.slow(reason="starts a server that imports werkzeug")
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_web_session_sees_its_own_request(backend: str, tree: Path) -> None:
    pytest.importorskip("werkzeug")
    with serving(find(tree, "09"), backend) as (process, port):
        check_sessions(port)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors


@pytest.mark.slow(reason="starts a server that imports werkzeug")
def test_with_a_global_in_place_of_the_local_sessions_mix(tree: Path, tmp_path: Path) -> None:
    """The check above can fail: the same program, its local replaced by one namespace for all."""
    pytest.importorskip("werkzeug")
    source = find(tree, "09").read_text(encoding="utf-8")
    variant, count = re.subn(r"(?m)^from coop_plugins\.local import local$", "from types import SimpleNamespace as local", source)
    assert count == 1
    program = tmp_path / "global.py"
    program.write_text(variant, encoding="utf-8")
    with serving(program, BACKENDS[0]) as (_, port), pytest.raises(AssertionError, match="Hello 127"):
        check_sessions(port)


# -- 11: a service around a pool ---------------------------------------------------------------------------------------


@pytest.mark.slow(reason="fifty clients, ten at a time, after the start of a Python")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_service_around_a_pool_has_ten_handlers_at_work(backend: str, tree: Path) -> None:
    program = find(tree, "11")
    lines = finish(start(program, backend))
    assert matches(lines, stated(program))
    numbers = [int(number) for number in re.findall(r"\d+", "\n".join(lines))]
    assert 10 in numbers, "handlers at work"
    assert 50 in numbers, "clients served"
