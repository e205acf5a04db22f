"""Processes that the tests start: servers, which say when they are ready, and patched programs, which say what came out of them.

Each is ended by its own process id, by `stop`, which the fixtures and ``with`` blocks call however a test ends. If the tests themselves are killed,
the kernel ends the servers (``setpriv --pdeathsig``).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
PATIENCE = 50.0  # seconds, for what takes far less than one; a client that blocks its hub takes for ever
REQUIRED = os.environ.get("COOP_TEST_SERVERS") == "required"  # .ci/run sets it: there a missing server is a fault of the script
# Under coverage every program has locks of before the patch, those of coverage, of which the patch warns.
WARNINGS = "error,ignore:the program was patched after" if any(name.startswith("COVERAGE_PROCESS") for name in os.environ) else "error"
FEW = 12  # threads of the operating system, those among them that look up names
TICK = os.sysconf("SC_CLK_TCK")


def missing(what: str) -> None:
    """Skip the test, in one line; where servers are required, fail."""
    (pytest.fail if REQUIRED else pytest.skip)(f"{what} is not installed: apt-get install {what}")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody uses, and none of those that the kernel gives to clients: other tests have thousands. Somebody may take it before our server does: so
    servers are started anew with another one if they fail."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port


class Process:
    """A child with its output: the lines are kept, and may be waited for."""

    def __init__(self, name: str, command: Sequence[str], *, stop_by: signal.Signals = signal.SIGTERM, guard: bool = True, **more: Any) -> None:
        if guard and shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", stop_by.name.removeprefix("SIG"), "--", *command]
        self.name = name
        self.lines: deque[str] = deque(maxlen=1000)
        self.stop_by = stop_by
        self._changed = threading.Condition()
        self._silent = False  # it closed its output, as all do that end
        self.child: subprocess.Popen[str] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.child.pid

    def _read(self) -> None:
        stdout: IO[str] = self.child.stdout  # type: ignore[assignment]  # there is one: PIPE
        for line in stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()

    def tell(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def line(self, pattern: str, timeout: float = PATIENCE) -> str:
        """Wait for a line of its output that matches. Fails at once if it ends without one."""

        def found() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._silent, timeout)
            line = found()
        assert line is not None, f"{self.name} did not say {pattern!r} but:\n{self.output()}"
        return line

    def output(self) -> str:
        """What it printed, of much the first and the last: each of a crowd may tell of the same."""
        lines = list(self.lines)
        return "\n".join([*lines[:60], f"... {len(lines) - 100} lines ...", *lines[-40:]] if len(lines) > 100 else lines)

    def stop(self, timeout: float = 5) -> None:
        """End it if it has not ended, and reap it."""
        if self.child.poll() is None:
            self.child.send_signal(self.stop_by)
            try:
                self.child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._reader.join()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def started(start: Callable[[int], Process], ready: str) -> Iterator[tuple[Process, int]]:
    """A server on a free port: started until it says that it is ready. Stopped at the end of the block."""
    for attempt in range(3):
        port = free_port()
        server = start(port)
        try:
            server.line(ready)
        except AssertionError:
            server.stop()
            if attempt == 2:
                raise
            continue
        except BaseException:
            server.stop()
            raise
        break
    try:
        yield server, port
    finally:
        server.stop()


class Report(NamedTuple):
    """What a program says at its end: see ``programs/harness.py``."""

    result: Any
    descriptors: list[str]
    """Those that were open at the end and not before."""
    tasks: list[str]
    """The tasks and threads that were there at the end and not before."""
    most_threads: int
    """Of the operating system, at any time that the program looked."""


class Program(Process):
    """A case of a program in ``programs/``, patched, in an interpreter of its own: ``with Program("redis_py", "hundred", port=port) as program``."""

    def __init__(self, program: str, case: str, *, how: str = "threads", **options: Any) -> None:
        """``options``: ``run``, the arguments of `coopcore run`, or None to start it by Python alone; and ``environment``. The
        others are the program's `config`."""
        run, environment = options.pop("run", ()), options.pop("environment", {})
        self.patience = PATIENCE
        patched = [] if run is None else ["-m", "coopcore", "run", *run]
        command = [sys.executable, "-X", "faulthandler", *patched, str(PROGRAMS / f"{program}.py")]
        arguments = [case, how, json.dumps(options)]
        name = f"{program}.py {case} ({how})"
        super().__init__(name, [*command, *arguments], stop_by=signal.SIGKILL, guard=False, env=os.environ | {"PYTHONWARNINGS": WARNINGS, **environment})

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Look again and again until something is so outside; fail if that takes for ever, or if the program ends first."""
        deadline = time.monotonic() + self.patience
        while not is_so():
            if self.child.poll() is not None:
                self._reader.join()
                pytest.fail(f"{self.name} ended before {what}:\n{self.output()}", pytrace=False)
            if time.monotonic() > deadline:
                self._give_up(f"still not so: {what}")
            with self._changed:
                self._changed.wait(0.01)

    def report(self) -> Report:
        """Wait for its end. Fails with all that it printed if it failed or hangs."""
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(self.patience)
        if self.child.returncode is None:
            self._give_up("it does not end")
        self._reader.join()
        if self.child.returncode != 0 or not self.lines:
            pytest.fail(f"{self.name}:\n{self.output()}", pytrace=False)
        last = self.lines.pop()
        assert not self.lines, f"{self.name} was to print nothing, and printed:\n{self.output()}"
        report = Report(**json.loads(last))
        assert (report.descriptors, report.tasks) == ([], []), f"{self.name} left something behind"
        assert report.most_threads <= FEW, f"{self.name} had {report.most_threads} threads: its own are to be tasks"
        return report

    def _give_up(self, what: str) -> None:
        self.child.send_signal(signal.SIGUSR1)  # the program tells of its tasks, if it comes to that
        with self._changed:
            self._changed.wait_for(lambda: "that is all" in self.lines or self.child.poll() is not None, 2)
        self.child.send_signal(signal.SIGABRT)  # faulthandler shows where it stands
        self.child.wait()
        self._reader.join()
        pytest.fail(f"{self.name} hangs, {what}. A client that blocks its hub does. It stood here:\n{self.output()}", pytrace=False)

    def assert_idle(self, seconds: float = 0.25, most: float = 0.05) -> None:
        """It comes to use next to no CPU time while it waits: on a slow machine it may still be on its way to where it waits. (The kernel's clock counts
        hundredths of a second.)"""
        deadline = time.monotonic() + self.patience
        while True:
            before = self._cpu()
            time.sleep(seconds)
            used = self._cpu() - before
            if used <= most:
                return
            assert time.monotonic() < deadline, f"{self.name} goes on using {used:.2f} s of CPU time in {seconds} s of waiting"

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def threads(self) -> int:
        """How many threads the operating system sees in it."""
        return len(os.listdir(f"/proc/{self.pid}/task"))
