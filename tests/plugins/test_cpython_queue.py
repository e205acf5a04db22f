"""CPython's own ``test.test_queue`` passes with the queues of ``coop_plugins``, in tasks of one hub instead of threads.

Its two variants, for the Python and the C implementation, differ in nothing then; both are run, so that no class is forgotten.
"""

from __future__ import annotations

import tomllib
import unittest
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coop_plugins import queue
from coopcore import Timeout, sleep

from . import cpython_tasks

LEFT_OUT: dict[str, str] = tomllib.loads(Path(__file__).with_name("cpython_left_out.toml").read_text())["test_queue"]
SUITE = cpython_tasks.load("test.test_queue")

if SUITE is None:
    pytest.skip("this interpreter ships no test.test_queue", allow_module_level=True)


def preempted(cls: type[Any]) -> type[Any]:
    """A queue of the same name whose `get` lets others run when it finds nothing: a loop that asks again and again is preempted in a thread only."""

    class Asking(cls):  # type: ignore[misc]  # whatever class it is
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            try:
                return super().get(block, timeout)
            except queue.Empty:
                sleep(0)
                raise

    Asking.__name__ = cls.__name__
    return Asking


OURS = SimpleNamespace(**{name: getattr(queue, name) for name in queue.__all__}, _PySimpleQueue=queue.SimpleQueue)
PREEMPTED = SimpleNamespace(**{**vars(OURS), **{name: preempted(getattr(queue, name)) for name in ("Queue", "LifoQueue", "PriorityQueue")}})
# Tests with a busy loop around get(block=False).
BUSY = ("test_shutdown_all_methods_in_many_threads", "test_shutdown_immediate_all_methods_in_many_threads")

CASES = cpython_tasks.cases_of(SUITE)
TESTS = [f"{case}.{test}" for case in CASES for test in cpython_tasks.names_of(CASES[case])]


def check(test: str) -> None:
    case, name = test.split(".")
    adapted = type(case, (CASES[case],), {"queue": PREEMPTED if name in BUSY else OURS})
    assert issubclass(adapted, unittest.TestCase)
    cpython_tasks.check(adapted, name)


def test_the_suite_is_not_empty() -> None:
    assert len(TESTS) > 40
    kinds = ("Queue", "LifoQueue", "PriorityQueue", "FailingQueue", "SimpleQueue")
    assert {f"{variant}{kind}Test" for variant in ("Py", "C") for kind in kinds} == set(CASES)


SLOW = {
    "test_many_threads_nonblock": "fifty tasks ask again and again for ten thousand items",
    "test_references": "it collects garbage twenty times, in a process that has much",
}


def marked(test: str) -> Any:
    name = test.split(".")[1]
    return pytest.param(test, marks=[pytest.mark.slow(reason=SLOW[name])] if name in SLOW else [])


@pytest.mark.parametrize("test", [marked(test) for test in TESTS if test.split(".")[1] not in LEFT_OUT])
def test_cpython(test: str) -> None:
    check(test)


def stale(left_out: Iterable[str]) -> list[str]:
    """Those that need not be left out: every variant passes, or there is none."""
    found = []
    for name in left_out:
        for test in (test for test in TESTS if test.endswith(f".{name}")):
            try:
                check(test)
            except (Exception, Timeout):
                break
        else:
            found.append(name)
    return found


def test_nothing_is_left_out_that_passes_or_is_no_more() -> None:
    assert stale(LEFT_OUT) == []
    assert [name for name, reason in LEFT_OUT.items() if len(reason) < 20] == []


def test_the_search_finds_what_is_left_out_in_vain() -> None:
    assert stale(["test_nowait", "test_no_such_test"]) == ["test_nowait", "test_no_such_test"]


def test_a_failure_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OURS, "PriorityQueue", type("PriorityQueue", (queue.Queue,), {}))
    with pytest.raises(AssertionError):
        check("PyPriorityQueueTest.test_basic")
    assert stale(["test_basic"]) == []
