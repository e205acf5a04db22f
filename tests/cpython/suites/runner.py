"""Runs a module of CPython's tests under one of the ways, in a process that it watches: a test that hangs, or takes the process with it, costs itself only."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ways

PASSED, SKIPPED, FAILED, ERROR, HUNG = "passed", "skipped", "failed", "error", "hung"
OUTCOMES = (PASSED, SKIPPED, FAILED, ERROR, HUNG)

LIMIT = 40.0  # seconds: a test that takes longer hangs. The longest takes 4 with the standard library
SHORT_LIMIT = 12.0  # the same, for a test that is not expected to pass
_STARTING = 60.0  # seconds: an interpreter that has not imported its tests by then hangs
_PATIENCE = 0.2  # seconds between two looks whether the process still lives
_CHILD = Path(__file__).with_name("child.py")

# What `python -m test -u` calls resources. Nothing here leaves the machine: test_socketserver asks for "network", but all that it needs is the loopback.
RESOURCES = ("walltime",)
RESOURCES_OF = {"test.test_socketserver": ("walltime", "network")}

# The names under which what is not a test is noted.
IMPORT = "(import)"
END = "(end of the process)"


@dataclass(frozen=True)
class Outcome:
    what: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """The last line of the reason: of a traceback, the error."""
        return self.reason.strip().rpartition("\n")[2]


Tell = Callable[[str, Outcome], object]


@dataclass
class _Job:
    module: str
    way: str
    only: Sequence[str]
    limit: float
    path: Sequence[str]
    expected: Callable[[str], bool]
    tell: Tell
    tests: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    fixtures: dict[str, Outcome] = field(default_factory=dict)

    def note(self, test: str, outcome: Outcome) -> None:
        self.outcomes[test] = outcome
        self.tell(test, outcome)

    @property
    def remaining(self) -> list[str]:
        return [test for test in self.tests if test not in self.outcomes]


def run(
    module: str,
    way: str,
    *,
    only: Sequence[str] = (),
    limit: float = LIMIT,
    path: Sequence[str] = (),
    expected: Callable[[str], bool] | None = None,
    tell: Tell | None = None,
) -> dict[str, Outcome]:
    """The outcome of each test of a module, by its id. Blocks until all have ended, or were ended.

    ``only`` has patterns of ids, as `fnmatch` knows them. ``path`` comes first in the module's sys.path. A test that is
    not ``expected`` to pass gets a shorter limit. ``tell`` is called with each outcome at once.
    """
    job = _Job(module, way, only, limit, path, expected or (lambda test: True), tell or (lambda test, outcome: None))
    stuck = ""
    while True:
        with _process(job) as process:
            ended = process.follow()
        if ended:
            break
        if not job.tests:
            job.note(IMPORT, Outcome(ERROR, process.farewell))
            break
        if process.current:
            stuck = ""
            job.note(process.current, Outcome(HUNG if process.hung else ERROR, process.farewell, time.monotonic() - process.since))
        elif stuck == job.remaining[0]:  # between two tests, for the second time: what comes before this one
            job.note(stuck, Outcome(HUNG if process.hung else ERROR, f"before it began: {process.farewell}"))
        else:
            stuck = job.remaining[0]
        if not job.remaining:
            break
    _blame_fixtures(job)
    return job.outcomes


def _blame_fixtures(job: _Job) -> None:
    """A test that never began has the outcome of the setUpClass or setUpModule that failed; a fixture that failed after the tests has its own."""
    for name, outcome in job.fixtures.items():
        if not name.startswith("setUp"):
            job.note(name, outcome)
    for test in job.remaining:
        of_it = [outcome for name, outcome in job.fixtures.items() if test.startswith(f"{name.partition('(')[2].rstrip(')')}.")]
        job.note(test, of_it[-1] if of_it else Outcome(ERROR, "it was not run, and nothing says why"))


class _Process:
    """One interpreter, for the tests that are not done yet."""

    def __init__(self, job: _Job, folder: Path) -> None:
        self.current = ""
        self.hung = False
        self._started = False
        self.farewell = ""
        self.since = self._began = time.monotonic()
        self._job = job
        self._log = folder / "log"
        self._folder = folder
        self._received = b""
        self._pipe, pipe = os.pipe()
        for name in ("cwd", "tmp"):
            (folder / name).mkdir()
        note = {
            "pipe": pipe,
            "limit": job.limit,
            "module": job.module,
            "only": list(job.only),
            "done": list(job.outcomes),
            "path": list(job.path),
            "resources": RESOURCES_OF.get(job.module, RESOURCES),
        }
        (folder / "job").write_text(json.dumps(note))
        # The folder for temporary files is also what the processes that the tests leave behind are known by.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COOP_", "GEVENT", "PYTHON", "PYTEST", "COV"))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ways.command(job.way, [str(_CHILD), str(folder / "job")]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder / "cwd",
                env={**environment, "TMPDIR": str(folder / "tmp")},
                pass_fds=[pipe],
                start_new_session=True,
            )
        os.close(pipe)

    def follow(self) -> bool:
        """Take its reports until it ends, or is ended. True if it came to the end of its tests."""
        while (message := self._next_message()) is not None:
            self.since = time.monotonic()
            if self._take(message):
                self._note_its_end()
                return True
        self.farewell = self._last_words()
        return False

    def _take(self, message: dict[str, Any]) -> bool:
        """True for the last message."""
        job = self._job
        match message:
            case {"tests": tests}:
                self._started = True
                job.tests = job.tests or tests
            case {"begins": test}:
                self.current, self._began = test, self.since
            case {"ends": test, "outcome": what, "reason": reason}:
                self.current = ""
                job.note(test, Outcome(what, reason, time.monotonic() - self._began))
                self._began = self.since
            case {"fixture": name, "outcome": what, "reason": reason}:
                job.fixtures[name] = Outcome(what, reason)
            case {"skipped": reason}:
                job.note(IMPORT, Outcome(SKIPPED, reason))
                return True
            case {"over": _}:
                return True
        return False

    def _next_message(self) -> dict[str, Any] | None:
        """None if it sends no more: it has ended, or has hung and is ended here."""
        while b"\n" not in self._received:
            if select.select([self._pipe], [], [], _PATIENCE)[0]:
                data = os.read(self._pipe, 1 << 16)
                if not data:
                    return None
                self._received += data
            elif self._has_ended():
                return None
            elif time.monotonic() - self.since > self._limit:
                self.hung = True
                return None
        line, _, self._received = self._received.partition(b"\n")
        return dict(json.loads(line))

    @property
    def _limit(self) -> float:
        limit = self._job.limit
        if not self._started:
            return max(limit, _STARTING)
        return limit if not self.current or self._job.expected(self.current) else min(limit, SHORT_LIMIT)

    def _has_ended(self) -> bool:
        """Without reaping it, so that its id stays its own."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._has_ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _note_its_end(self) -> None:
        if not self._wait(self._job.limit):
            self.hung = True
            self._job.note(END, Outcome(HUNG, self._last_words()))
            return
        self.end()
        status = self._process.returncode
        self._job.note(END, Outcome(ERROR, self._last_words()) if status else Outcome(PASSED))

    def _last_words(self) -> str:
        """What it printed last, and how it ended. Of one that hangs, the stacks of its threads."""
        if self.hung:
            os.kill(self._process.pid, signal.SIGABRT)  # faulthandler prints them
            self._wait(5)
        self.end()
        printed = self._log.read_text(errors="replace")[-4000:]
        return f"{printed}\n" + (f"it hung: no end after {self._limit:g} s" if self.hung else f"the process ended with status {self._process.returncode}")

    def end(self) -> None:
        """End it, its group, and what its tests started, each by its id."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in _processes_of(self._folder):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self.end()
        os.close(self._pipe)


def _processes_of(folder: Path) -> list[int]:
    """Those whose folder for temporary files this is: also they that left the group, or whose parents have ended."""
    mark = f"TMPDIR={folder}/".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@contextlib.contextmanager
def _process(job: _Job) -> Iterator[_Process]:
    folder = Path(tempfile.mkdtemp(prefix="suites-"))
    try:
        process = _Process(job, folder)
        try:
            yield process
        finally:
            process.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
