"""The line in which tasks wait for locks and semaphores: its invariants by name, on each of those that have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import raise_from_another_thread, settle
from seams.locks import held, takers

from coop_plugins.lock import Condition, Lock, RLock, Semaphore
from coopcore import idle, run, spawn
from coopcore.errors import WrongThreadError

KINDS: list[Callable[[], Any]] = [Lock, RLock, Semaphore]


@pytest.mark.parametrize("make", KINDS)
def test_invariant_1_entries_are_served_in_the_order_in_which_they_came(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock, holder = held(make)
        log: list[Any] = []
        takers(lock, "ab", log)
        lock.rawlink(lambda _: log.append("link"))
        takers(lock, "c", log)
        holder.kill()
        settle()
        assert [entry for entry in log if entry != "link"] == ["a", "b", "c"]
        assert log.index("link") > 0

    run(main)


@pytest.mark.parametrize("make", KINDS)
def test_invariant_2_one_is_given_it_and_who_was_killed_is_passed_over(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock, holder = held(make)
        log: list[Any] = []
        tasks = takers(lock, "abc", log)
        holder.kill(block=False)  # it runs, and lets go, before the first in line does
        tasks[0].kill(block=False)
        assert lock.linkcount() == 3
        settle()
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
            raise_from_another_thread(lock.release)
        with pytest.raises(WrongThreadError):
            raise_from_another_thread(lambda: run(lock.acquire))
        with pytest.raises(WrongThreadError):
            raise_from_another_thread(lambda: lock.rawlink(print))
        assert (lock.ready(), lock.linkcount(), task.state) == (False, 1, "parked")
        lock.release()
        settle()
        assert log == ["a"]
        lock.acquire()
        lock.rawlink(log.append)
        with pytest.raises(WrongThreadError):
            raise_from_another_thread(lock.release)
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
        settle()
        lock.acquire()
        condition.notify()
        with pytest.raises(WrongThreadError):
            raise_from_another_thread(lock.release)
        assert (lock.locked(), lock.linkcount()) == (True, 1)
        lock.release()
        task.join()
        assert not lock.locked()

    run(main)


@pytest.mark.parametrize("make", KINDS)
def test_invariant_5_a_link_is_called_once_or_not_at_all(make: Callable[[], Any]) -> None:
    def main() -> None:
        lock, holder = held(make)
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
