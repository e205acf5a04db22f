"""The line in which tasks wait for locks and semaphores: its invariants by name, on each of those that have it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from coop_plugins.lock import Condition, Lock, RLock, Semaphore
from coopcore import Task, idle, run, sleep, spawn
from coopcore.errors import WrongThreadError

KINDS: list[Callable[[], Any]] = [Lock, RLock, Semaphore]


def taken(make: Callable[[], Any]) -> tuple[Any, Task[None]]:
    """One that a task holds until it is killed."""
    lock = make()

    def hold() -> None:
        with lock:
            sleep(1000)

    holder = spawn(hold)
    idle_now()
    return lock, holder


def idle_now() -> None:
    for _ in range(3):
        sleep(0)


def takers(lock: Any, names: str, log: list[Any]) -> list[Task[None]]:
    def take(name: str) -> None:
        with lock:
            log.append(name)

    tasks = [spawn(take, name) for name in names]
    idle_now()
    return tasks


def in_another_thread(fn: Callable[[], object]) -> None:
    raised: list[BaseException] = []

    def call() -> None:
        try:
            fn()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.mark.parametrize("make", KINDS)
def test_invariant_1_entries_are_served_in_the_order_in_which_they_came(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock, holder = taken(make)
        log: list[Any] = []
        takers(lock, "ab", log)
        lock.rawlink(lambda _: log.append("link"))
        takers(lock, "c", log)
        holder.kill()
        idle_now()
        assert [entry for entry in log if entry != "link"] == ["a", "b", "c"]
        assert log.index("link") > 0

    run(main)


@pytest.mark.parametrize("make", KINDS)
def test_invariant_2_one_is_given_it_and_who_was_killed_is_passed_over(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock, holder = taken(make)
        log: list[Any] = []
        tasks = takers(lock, "abc", log)
        holder.kill(block=False)  # it runs, and lets go, before the first in line does
        tasks[0].kill(block=False)
        assert lock.linkcount() == 3
        idle_now()
        assert log == ["b", "c"]
        assert (lock.ready(), lock.linkcount()) == (True, 0)

    run(main)


@pytest.mark.parametrize("make", [Lock, Semaphore])
def test_invariants_3_and_4_of_another_thread(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock = make()
        lock.acquire()
        log: list[Any] = []
        (task,) = takers(lock, "a", log)
        with pytest.raises(WrongThreadError):
            in_another_thread(lock.release)
        with pytest.raises(WrongThreadError):
            in_another_thread(lambda: run(lock.acquire))
        with pytest.raises(WrongThreadError):
            in_another_thread(lambda: lock.rawlink(print))
        assert (lock.ready(), lock.linkcount(), task.state) == (False, 1, "parked")
        lock.release()
        idle_now()
        assert log == ["a"]
        lock.acquire()
        lock.rawlink(log.append)
        with pytest.raises(WrongThreadError):
            in_another_thread(lock.release)
        lock.release()
        idle()
        assert log == ["a", lock]

    run(main)


def test_invariant_3_a_turn_of_another_thread() -> None:
    condition = Condition(lock := Lock())

    def main() -> None:
        def wait() -> None:
            with condition:
                condition.wait()

        task = spawn(wait)
        idle_now()
        lock.acquire()
        condition.notify()
        with pytest.raises(WrongThreadError):
            in_another_thread(lock.release)
        assert (lock.locked(), lock.linkcount()) == (True, 1)
        lock.release()
        task.join()
        assert not lock.locked()

    run(main)


@pytest.mark.parametrize("make", KINDS)
def test_invariant_5_a_link_is_called_once_or_not_at_all(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock, holder = taken(make)
        called: list[object] = []
        lock.rawlink(called.append)
        lock.rawlink(called.append)
        lock.unlink(called.append)
        lock.unlink(print)
        assert lock.linkcount() == 1
        holder.kill()
        idle()
        assert called == [lock]
        lock.rawlink(called.append)
        lock.unlink(called.append)  # due already
        lock.unlink(called.append)
        idle()
        assert called == [lock]
        with pytest.raises(TypeError, match="callable"):
            lock.rawlink(3)

    run(main)
