"""Plugins that know nothing of each other, together: what a cancelled scope does to waits that must not be cut short."""

from __future__ import annotations

import os
from typing import Any

import pytest

from coop_plugins.lock import Condition, Lock, RLock
from coop_plugins.scope import CancelScope, TaskGroup, move_on_after
from coop_plugins.subprocess import PIPE, Popen, call
from coop_plugins.subprocess import run as run_program
from coopcore import idle, run, sleep, spawn


class Foreign:
    """A lock of another kind, with acquire and release only."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.acquire, self.release = self._lock.acquire, self._lock.release
        self.locked = self._lock.locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


@pytest.mark.parametrize("kind", [Lock, RLock, Foreign])
@pytest.mark.parametrize("notified", [False, True])
def test_a_cancelled_wait_of_a_condition_comes_out_with_the_lock_and_takes_it_in_its_turn(kind: Any, notified: bool) -> None:
    log: list[str] = []

    def waiter(scope: CancelScope, condition: Condition) -> None:
        with scope, condition:
            try:
                log.append(f"notified {condition.wait()}")
                sleep(0)
            finally:
                assert condition._is_owned()
                log.append("leaves with the lock")

    def main() -> None:
        scope, lock = CancelScope(), kind()
        condition = Condition(lock)
        task = spawn(waiter, scope, condition)
        idle()
        with condition:
            if notified:
                condition.notify()
            scope.cancel()
            idle()
            log.append("still held by main")
        task.get(timeout=5)
        assert scope.cancelled_caught and not lock.locked()

    run(main)
    assert log == ["still held by main", *(["notified True"] if notified else []), "leaves with the lock"]


def test_a_cancelled_group_of_waiters_loses_no_notification() -> None:
    got: list[int] = []

    def consume(condition: Condition, number: int) -> None:
        with condition:
            condition.wait()
            got.append(number)

    def main() -> None:
        condition = Condition()
        patient = spawn(consume, condition, 9)
        with move_on_after(0), TaskGroup() as group:
            for number in range(3):
                group.spawn(consume, condition, number)
        with condition:
            condition.notify()
        patient.get(timeout=5)

    run(main)
    assert got == [9]


@pytest.mark.parametrize("start", [lambda: run_program(["sleep", "50"], stdout=PIPE), lambda: call(["sleep", "50"])])
def test_a_cancelled_program_is_killed_and_leaves_no_zombie(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Popen[Any]] = []
    begin = Popen.__init__

    def noting(self: Popen[Any], *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        children.append(self)

    monkeypatch.setattr(Popen, "__init__", noting)

    def main() -> None:
        def cancel() -> None:
            while not children:
                sleep(0.001)
            scope.cancel()

        with CancelScope() as scope:
            spawn(cancel)
            start()
        assert scope.cancelled_caught
        (child,) = children
        assert child.returncode == -9
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)

    run(main)
