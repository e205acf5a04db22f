"""Runs one module of CPython's tests, and reports each test in a line of JSON. A program: ``child.py JOB``, the path of a file that `runner` writes.

It is started patched, or not, and imports nothing of this project: what it imports is what any program would get.
"""

from __future__ import annotations

import faulthandler
import json
import os
import posix  # the system calls themselves: the pipe of the reports must not depend on what is under test
import sys
import unittest
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

# From harmless to bad: of several outcomes of a test, its subtests' and its cleanups', the last in this order counts.
PASSED, SKIPPED, FAILED, ERROR = "passed", "skipped", "failed", "error"
_ORDER = (PASSED, SKIPPED, FAILED, ERROR)

_GRACE = 10  # seconds: the runner ends a test that hangs, and if it is no more, the process ends itself so much later


class Result(unittest.TestResult):
    """Tells the runner of each test, as it begins and as it ends."""

    def __init__(self, pipe: int, limit: float) -> None:
        super().__init__()
        self.names: dict[int, str] = {}
        """Of each test, by its identity."""
        self.limit = limit
        self._pipe = pipe
        self._process = posix.getpid()
        self._outcome = (PASSED, "")

    def tell(self, **message: Any) -> None:
        if posix.getpid() != self._process:  # a child of the test's, which was to end inside of it
            posix._exit(70)
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[posix.write(self._pipe, data) :]

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        faulthandler.dump_traceback_later(self.limit + _GRACE, exit=True)
        self.tell(begins=self.names[id(test)])

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        self.tell(ends=self.names[id(test)], outcome=self._outcome[0], reason=self._outcome[1])
        self._outcome = (PASSED, "")  # not in startTest, which some Pythons do not call for a test that is skipped

    def _note(self, test: Any, outcome: str, reason: str) -> None:
        if isinstance(test, unittest.suite._ErrorHolder):  # type: ignore[attr-defined]  # it stands for the fixtures of a class or a module
            self.tell(fixture=test.id(), outcome=outcome, reason=reason)
        elif _ORDER.index(outcome) > _ORDER.index(self._outcome[0]):
            self._outcome = (outcome, reason)

    def addSkip(self, test: Any, reason: str) -> None:
        self._note(test, SKIPPED, reason)

    def addFailure(self, test: Any, err: Any) -> None:
        self._note(test, FAILED, self._exc_info_to_string(err, test))

    def addError(self, test: Any, err: Any) -> None:
        self._note(test, ERROR, self._exc_info_to_string(err, test))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._note(test, FAILED if issubclass(err[0], test.failureException) else ERROR, self._exc_info_to_string(err, subtest))

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._note(test, FAILED, "unexpected success")


def flattened(suite: Any) -> Iterator[Any]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flattened(test)
        else:
            yield test


def named(tests: Iterable[Any]) -> dict[str, Any]:
    """By the id, with a number where it is not the first of that id: the doctests of a module may share one."""
    found: dict[str, Any] = {}
    for test in tests:
        name = first = test.id()
        count = 1
        while name in found:
            count += 1
            name = f"{first}#{count}"
        found[name] = test
    return found


def load(module: str, resources: list[str]) -> list[Any]:
    """All tests of a module, as `python -m test` finds them. Raises SkipTest if the module does so."""
    from test import support

    support.use_resources = resources
    support.verbose = 0
    support.record_original_stdout(sys.stdout)
    __import__(module)
    return list(flattened(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])))


def main(path: str) -> None:
    with open(path) as file:
        job = json.load(file)
    pipe: int = job["pipe"]
    os.set_inheritable(pipe, False)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a file: what is said before a test hangs is to be read
    faulthandler.enable()
    faulthandler.dump_traceback_later(job["limit"] + _GRACE, exit=True)
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = job["path"] + [folder for folder in sys.path if folder not in ("", here)]
    result = Result(pipe, job["limit"])
    try:
        found = named(load(job["module"], job["resources"]))
    except unittest.SkipTest as skip:
        result.tell(skipped=str(skip))
        return
    wanted, done = job["only"], set(job["done"])
    tests = {name: test for name, test in found.items() if not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)}
    result.names = {id(test): name for name, test in tests.items()}
    result.tell(tests=list(tests))
    kept = list(tests.values())  # so that no identity comes back
    unittest.TestSuite(test for test in kept if result.names[id(test)] not in done).run(result)
    result.tell(over=True)


if __name__ == "__main__":
    main(sys.argv[1])
