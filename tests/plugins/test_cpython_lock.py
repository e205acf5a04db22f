"""CPython's own tests of locks, ``test.lock_tests`` of the interpreter that runs this, with the types of ``coop_plugins``.

A private copy of the module is loaded, and what it knows of threads is replaced: a thread is a task, its identity the task's, and the time that of
a clock that jumps, so that no test waits. What does not apply is named, with the reason, in ``cpython_left_out.toml``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
import tomllib
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from seams.clock import JumpingClock

import coop_plugins.event
import coop_plugins.lock
import coopcore
from coopcore import Timeout, current_task, get_hub, joinall, sleep, spawn

SPEC = importlib.util.find_spec("test") and importlib.util.find_spec("test.lock_tests")
if SPEC is None:
    pytest.skip("this Python ships no `test.lock_tests`: some distributions have it in a package of its own, as python3-test", allow_module_level=True)

LEFT_OUT: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("cpython_left_out.toml").read_text())["lock_tests"]


def now() -> float:
    return get_hub().clock.now() / 1e9


def sleeping_retry(timeout: float, _err_msg: object = None, *, error: bool = True) -> Iterator[None]:
    """As that of ``test.support``: look again and again, until the time is over."""
    deadline = now() + timeout
    while True:
        yield
        if now() > deadline:
            break
        sleep(0.01)
    if error:
        raise AssertionError(f"timed out after {timeout} seconds")


@contextlib.contextmanager
def wait_threads_exit(timeout: float | None = None) -> Iterator[None]:
    before = set(get_hub().tasks())
    yield
    started = [task for task in get_hub().tasks() if task not in before]
    assert len(joinall(started, timeout)) == len(started)


def load() -> ModuleType:
    """A copy of the module whose threads are tasks."""
    assert SPEC is not None
    assert SPEC.loader is not None
    module = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(module)
    support = module.support  # type: ignore[attr-defined]  # of any Python
    replaced: dict[str, Any] = {
        "start_new_thread": lambda function, arguments: spawn(function, *arguments),
        "time": SimpleNamespace(sleep=sleep, monotonic=now, time=now),
        "threading": SimpleNamespace(
            get_ident=lambda: current_task().ident, Lock=coop_plugins.lock.Lock, BrokenBarrierError=coop_plugins.lock.BrokenBarrierError
        ),
        "threading_helper": SimpleNamespace(wait_threads_exit=wait_threads_exit, threading_setup=lambda: (), threading_cleanup=lambda: None),
        "support": SimpleNamespace(
            sleeping_retry=sleeping_retry,
            reap_children=lambda: None,
            has_fork_support=True,
            SHORT_TIMEOUT=support.SHORT_TIMEOUT,
            LONG_TIMEOUT=support.LONG_TIMEOUT,
        ),
    }
    for name, replacement in replaced.items():
        assert hasattr(module, name)
        setattr(module, name, replacement)
    return module


TESTS = load()

# The name of ours: the class of theirs, the attribute that it looks up its type by, and our type.
SUITES: dict[str, tuple[str, str, Any]] = {
    "Lock": ("LockTests", "locktype", coop_plugins.lock.Lock),
    "RLock": ("RLockTests", "locktype", coop_plugins.lock.RLock),
    "Event": ("EventTests", "eventtype", coop_plugins.event.Event),
    "Condition": ("ConditionTests", "condtype", coop_plugins.lock.Condition),
    "ConditionAsRLock": ("RLockTests", "locktype", coop_plugins.lock.Condition),
    "Semaphore": ("SemaphoreTests", "semtype", coop_plugins.lock.Semaphore),
    "BoundedSemaphore": ("BoundedSemaphoreTests", "semtype", coop_plugins.lock.BoundedSemaphore),
    "Barrier": ("BarrierTests", "barriertype", coop_plugins.lock.Barrier),
}


def case_of(suite: str) -> type[unittest.TestCase]:
    theirs, attribute, ours = SUITES[suite]
    return type(suite, (getattr(TESTS, theirs),), {attribute: staticmethod(ours)})


def names_in(suite: str) -> list[str]:
    return list(unittest.TestLoader().getTestCaseNames(case_of(suite)))


def outcome_of(suite: str, name: str) -> str:
    """Run one of their tests as the main task of a hub: an empty string, or what is wrong."""
    result = unittest.TestResult()

    def main() -> None:
        with Timeout(10_000):
            case_of(suite)(name).run(result)

    try:
        coopcore.run(main, clock=JumpingClock())
    except (Exception, Timeout) as error:
        return repr(error)
    assert result.testsRun == 1
    return "".join(text for _, text in (*result.errors, *result.failures, *result.skipped))


ALL = [(suite, name) for suite in SUITES for name in names_in(suite)]
APPLY = [(suite, name) for suite, name in ALL if name not in LEFT_OUT.get(suite, {})]


@pytest.mark.parametrize(("suite", "name"), APPLY, ids=[f"{suite}-{name}" for suite, name in APPLY])
def test_theirs_passes_with_ours(suite: str, name: str) -> None:
    assert outcome_of(suite, name) == ""


LEFT = [(suite, name) for suite, names in LEFT_OUT.items() for name in names]


@pytest.mark.parametrize(("suite", "name"), LEFT, ids=[f"{suite}-{name}" for suite, name in LEFT])
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_what_is_left_out_exists_and_does_not_pass(suite: str, name: str) -> None:
    assert len(LEFT_OUT[suite][name].split()) > 3, "say why"
    assert (suite, name) in ALL, "there is no such test any more"
    assert outcome_of(suite, name) != "", "it passes: take it out of cpython_left_out.toml"


def test_the_suites_are_not_empty() -> None:
    assert {suite for suite, _ in APPLY} == set(SUITES)
    assert len(APPLY) > 90
    assert set(LEFT_OUT) <= set(SUITES)


@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_a_test_that_fails_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(coop_plugins.lock.Lock):
        def release(self) -> None:
            pass

    monkeypatch.setitem(SUITES, "Stuck", ("LockTests", "locktype", Stuck))
    assert "test_acquire_contended" in outcome_of("Stuck", "test_acquire_contended")


def test_no_time_passes_in_them() -> None:
    def took() -> float:
        start = time.monotonic()
        assert outcome_of("Barrier", "test_timeout") == ""
        return time.monotonic() - start

    assert any(took() < 0.9 for _ in range(5))  # the test itself takes more than a second on threads, each time
