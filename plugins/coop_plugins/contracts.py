"""Contracts for authors of primitives: what a lock, an event or a queue must do to be one, as tests.

They stand to primitives as ``coopcore.testing`` stands to the core's seams, and are used in the same way::

    from coop_plugins.contracts import LockContract
    from my_package import MyLock

    class TestMyLock(LockContract):
        permits = 1

        def make(self):
            return MyLock()

Plain asserts; nothing of pytest is imported. Each contract ends with a test that times out and kills waiters at random points and compares with what must hold
whatever happened: no permit, item or notification is lost, and none is delivered twice.
"""

from __future__ import annotations

import queue
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import coopcore
from coopcore.errors import Deadlock
from coopcore.lowlevel import Task

T = TypeVar("T")

_LIMIT = 5.0  # seconds: how long what should come at once is waited for
_SHORT = 0.002
_SEEDS = range(15)


@contextmanager
def _raises(kind: type[BaseException], why: str) -> Iterator[list[BaseException]]:
    caught: list[BaseException] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    raise AssertionError(f"{kind.__name__} was not raised: {why}")


def _settle() -> None:
    """Let everybody run who can."""
    coopcore.idle()


def _kill_at_random(tasks: list[Task[Any]], rng: random.Random, kills: int) -> None:
    for _ in range(kills):
        for _ in range(rng.randrange(3)):
            coopcore.sleep(0)
        coopcore.kill(rng.choice(tasks))


class LockLike(Protocol):
    """What `LockContract` tests: ``threading.Lock`` and ``Semaphore`` have this form."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool: ...
    def release(self) -> object: ...


class LockContract:
    """A lock or a semaphore. ``make`` returns a new one that ``permits`` tasks can have at once.

    For one that whoever has it can acquire again, and nobody else release, set ``reentrant``: then everything that is to find it taken is tried by
    another task, and whoever got it lets go by itself.
    """

    permits = 1
    reentrant = False

    def make(self) -> LockLike:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new lock")

    def _run(self, main: Callable[[LockLike], T]) -> T:
        return coopcore.run(main, self.make())

    def _taken(self, lock: LockLike) -> None:
        for _ in range(self.permits):
            assert lock.acquire(timeout=_LIMIT) is True, "a free lock could not be acquired"

    def _waiters(self, lock: LockLike, count: int, log: list[int]) -> list[Task[None]]:
        def wait(number: int) -> None:
            if lock.acquire(timeout=_LIMIT):
                log.append(number)
                if self.reentrant:
                    try:
                        coopcore.sleep(_LIMIT)
                    finally:
                        lock.release()

        tasks = [coopcore.spawn(wait, number) for number in range(count)]
        _settle()
        return tasks

    def _by_another(self, lock: LockLike, try_it: Callable[[], T]) -> T:
        """Call it in a task that has not got the lock, whoever has."""
        return coopcore.spawn(try_it).get() if self.reentrant else try_it()

    def _pass_on(self, lock: LockLike, holder: Task[None]) -> None:
        """Have a waiter that got it let go."""
        if self.reentrant:
            holder.kill()
        else:
            lock.release()
        _settle()

    def test_so_many_and_no_more(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            got = self._by_another(lock, lambda: lock.acquire(blocking=False))
            assert got is False, f"it was acquired more than {self.permits} times"
            lock.release()
            assert lock.acquire(blocking=False) is True, "it was released, and could not be acquired"

        self._run(main)

    def test_a_free_one_is_taken_without_a_switch(self) -> None:
        def main(lock: LockLike) -> None:
            ran: list[int] = []
            coopcore.spawn(ran.append, 1)
            lock.acquire()
            assert not ran, "acquire() of a free lock let other tasks run"
            lock.release()
            assert not ran, "release() let other tasks run"
            _settle()

        self._run(main)

    def test_a_timeout_gives_false(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            for timeout in (_SHORT, 0):
                got = self._by_another(lock, lambda timeout=timeout: lock.acquire(timeout=timeout))  # type: ignore[misc]  # bound early
                assert got is False, f"it is taken, and acquire(timeout={timeout}) did not return False"
            lock.release()
            assert lock.acquire(timeout=_LIMIT) is True, "a wait timed out, and then a permit was gone"

        self._run(main)

    def test_first_come_first_served(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            log: list[int] = []
            tasks = self._waiters(lock, 5, log)
            lock.release()
            _settle()
            for task in tasks:
                self._pass_on(lock, task)
            assert log == [0, 1, 2, 3, 4], f"five tasks waited in order, and had it in the order {log}"

        self._run(main)

    def test_one_release_wakes_one(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            log: list[int] = []
            tasks = self._waiters(lock, 3, log)
            lock.release()
            _settle()
            assert log == [0], f"one release, and {len(log)} tasks had it"
            coopcore.killall(tasks)

        self._run(main)

    def test_nobody_overtakes_who_was_woken(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            log: list[int] = []
            tasks = self._waiters(lock, 1, log)
            lock.release()
            assert lock.acquire(blocking=False) is False, "it was released to a task that waits, and another took it before that task ran"
            _settle()
            assert log == [0], "a task waited, it was released, and the task did not get it"
            coopcore.killall(tasks)

        self._run(main)

    def test_a_killed_waiter_takes_nothing_with_it(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            log: list[int] = []
            tasks = self._waiters(lock, 2, log)
            tasks[0].kill()
            lock.release()
            _settle()
            assert log == [1], "the first waiter was killed, it was released, and the second did not get it"
            coopcore.killall(tasks)

        self._run(main)

    def test_an_enclosing_timeout_passes(self) -> None:
        def acquire(lock: LockLike) -> None:
            with _raises(coopcore.Timeout, "an enclosing Timeout fired during acquire()") as caught, coopcore.Timeout(_SHORT) as outer:
                lock.acquire()
            assert caught == [outer], "another Timeout came out than the one that was set"

        def main(lock: LockLike) -> None:
            self._taken(lock)
            self._by_another(lock, lambda: acquire(lock))
            lock.release()
            assert lock.acquire(timeout=_LIMIT) is True, "a Timeout ended a wait, and then a permit was gone"

        self._run(main)

    def test_a_bad_timeout_is_an_error(self) -> None:
        def main(lock: LockLike) -> None:
            self._taken(lock)
            with _raises(Exception, "acquire(timeout='soon')"):
                lock.acquire(timeout="soon")  # type: ignore[arg-type]  # that is the point

        self._run(main)

    def test_a_deadlock_is_reported(self) -> None:
        def main(lock: LockLike) -> None:
            self._by_another(lock, lambda: self._taken(lock))
            with _raises(Deadlock, "nobody can release it") as caught:
                lock.acquire()
            assert type(lock).__name__ in str(caught[0]), f"the report does not name what is waited for: {caught[0]}"

        self._run(main)

    def test_no_permit_is_lost_or_doubled(self) -> None:
        for seed in _SEEDS:
            self._run(lambda lock, seed=seed: self._stress(lock, random.Random(seed)))  # type: ignore[misc]  # the seed is bound early

    def _stress(self, lock: LockLike, rng: random.Random) -> None:
        inside = most = 0

        def work() -> None:
            nonlocal inside, most
            for _ in range(5):
                if lock.acquire(timeout=rng.choice((None, 0, 0.0001))):
                    inside += 1
                    most = max(most, inside)
                    try:
                        coopcore.sleep(0)
                    finally:
                        inside -= 1
                        lock.release()

        tasks = [coopcore.spawn(work) for _ in range(10)]
        _kill_at_random(tasks, rng, 30)
        ended = coopcore.joinall(tasks, timeout=_LIMIT)
        assert len(ended) == len(tasks), "tasks that use it with timeouts and are killed did not end: a permit was lost"
        assert most <= self.permits, f"{most} tasks had it at once"
        self._taken(lock)
        got = self._by_another(lock, lambda: lock.acquire(blocking=False))
        assert got is False, "after random kills and timeouts there are more permits than before"


class EventLike(Protocol):
    """What `EventContract` tests: ``threading.Event`` has this form."""

    def is_set(self) -> bool: ...
    def set(self) -> object: ...
    def clear(self) -> object: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class EventContract:
    """A flag to wait for. ``make`` returns a new one, not set."""

    def make(self) -> EventLike:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new event")

    def _run(self, main: Callable[[EventLike], T]) -> T:
        return coopcore.run(main, self.make())

    def _waiters(self, event: EventLike, count: int, log: list[int]) -> list[Task[None]]:
        def wait(number: int) -> None:
            if event.wait(_LIMIT):
                log.append(number)

        tasks = [coopcore.spawn(wait, number) for number in range(count)]
        _settle()
        return tasks

    def test_it_is_set_and_cleared(self) -> None:
        def main(event: EventLike) -> None:
            seen = [bool(event.is_set())]
            for change in (event.set, event.set, event.clear, event.clear):
                change()
                seen.append(bool(event.is_set()))
            assert seen == [False, True, True, False, False], f"new, set twice, cleared twice: is_set() said {seen}"

        self._run(main)

    def test_a_set_one_is_not_waited_for(self) -> None:
        def main(event: EventLike) -> None:
            event.set()
            for timeout in (None, 0, _LIMIT):
                assert event.wait(timeout) is True, f"it is set, and wait({timeout}) did not return True"

        self._run(main)

    def test_set_wakes_everybody_in_order(self) -> None:
        def main(event: EventLike) -> None:
            log: list[int] = []
            self._waiters(event, 5, log)
            event.set()
            _settle()
            assert log == [0, 1, 2, 3, 4], f"five tasks waited in order, and were woken in the order {log}"

        self._run(main)

    def test_a_wake_outlives_a_clear(self) -> None:
        def main(event: EventLike) -> None:
            log: list[int] = []
            self._waiters(event, 2, log)
            event.set()
            event.clear()
            _settle()
            assert log == [0, 1], "it was set and cleared at once, and who waited for it did not get True"

        self._run(main)

    def test_after_clear_it_is_waited_for_again(self) -> None:
        def main(event: EventLike) -> None:
            event.set()
            event.clear()
            assert event.wait(_SHORT) is False, "it was cleared, and wait() did not wait"
            coopcore.spawn(event.set)
            assert event.wait(_LIMIT) is True, "it was set again, and wait() did not return True"

        self._run(main)

    def test_a_timeout_gives_false(self) -> None:
        def main(event: EventLike) -> None:
            for timeout in (_SHORT, 0):
                assert event.wait(timeout) is False, f"it is not set, and wait({timeout}) did not return False"

        self._run(main)

    def test_a_killed_waiter_disturbs_nobody(self) -> None:
        def main(event: EventLike) -> None:
            log: list[int] = []
            tasks = self._waiters(event, 3, log)
            tasks[1].kill()
            event.set()
            _settle()
            assert log == [0, 2], f"one of three waiters was killed; woken were {log}"

        self._run(main)

    def test_a_deadlock_is_reported(self) -> None:
        def main(event: EventLike) -> None:
            with _raises(Deadlock, "nobody can set it") as caught:
                event.wait()
            assert type(event).__name__ in str(caught[0]), f"the report does not name what is waited for: {caught[0]}"

        self._run(main)

    def test_no_notification_is_lost(self) -> None:
        for seed in _SEEDS:
            self._run(lambda event, seed=seed: self._stress(event, random.Random(seed)))  # type: ignore[misc]  # the seed is bound early

    def _stress(self, event: EventLike, rng: random.Random) -> None:
        tasks: list[Task[bool]] = [coopcore.spawn(event.wait, rng.choice((None, None, 0.0001))) for _ in range(20)]
        _kill_at_random(list(tasks), rng, 5)
        event.set()
        event.clear()
        ended = coopcore.joinall(tasks, timeout=_LIMIT)
        assert len(ended) == len(tasks), "it was set while tasks waited, and some wait still"


class QueueLike(Protocol):
    """What `QueueContract` tests: ``queue.Queue`` has this form."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> object: ...
    def get(self, block: bool = True, timeout: float | None = None) -> Any: ...
    def qsize(self) -> int: ...


class QueueContract:
    """A queue, first in first out. ``make(room)`` returns a new one that holds ``room`` items, or any number for None."""

    def make(self, room: int | None) -> QueueLike:
        raise NotImplementedError("a contract is subclassed, with a make(room) that returns a new queue")

    def _run(self, main: Callable[[QueueLike], T], room: int | None = None) -> T:
        return coopcore.run(main, self.make(room))

    def test_first_in_first_out(self) -> None:
        def main(items: QueueLike) -> None:
            for number in range(10):
                items.put(number)
            assert items.qsize() == 10, f"ten items were put, and qsize() is {items.qsize()}"
            got = [items.get(timeout=_LIMIT) for _ in range(10)]
            assert got == list(range(10)), f"0 to 9 were put, and {got} came out"

        self._run(main)

    def test_any_object_is_an_item(self) -> None:
        def main(items: QueueLike) -> None:
            for item in (None, False, 0, (), StopIteration()):
                items.put(item)
                assert items.get(timeout=_LIMIT) is item, f"{item!r} was put, and something else came out"
                taker = coopcore.spawn(items.get, timeout=_LIMIT)
                _settle()
                items.put(item)
                assert taker.get() is item, f"{item!r} was put while a task waited for it, and that got something else"

        self._run(main)

    def test_empty_and_full_are_errors(self) -> None:
        def main(items: QueueLike) -> None:
            for arguments in ({"block": False}, {"timeout": _SHORT}, {"timeout": 0}):
                with _raises(queue.Empty, f"get({arguments}) of an empty queue"):
                    items.get(**arguments)
            items.put(1)
            for arguments in ({"block": False}, {"timeout": _SHORT}, {"timeout": 0}):
                with _raises(queue.Full, f"put({arguments}) into a full queue"):
                    items.put(2, **arguments)
            assert items.qsize() == 1, "put() raised Full, and changed the queue"

        self._run(main, room=1)

    def test_takers_are_served_in_order(self) -> None:
        def main(items: QueueLike) -> None:
            takers = [coopcore.spawn(items.get, timeout=_LIMIT) for _ in range(5)]
            _settle()
            for number in range(5):
                items.put(number)
            got = [taker.get() for taker in takers]
            assert got == [0, 1, 2, 3, 4], f"five tasks waited in order, 0 to 4 were put, and they got {got}"

        self._run(main)

    def test_givers_are_served_in_order(self) -> None:
        def main(items: QueueLike) -> None:
            givers = [coopcore.spawn(items.put, number, timeout=_LIMIT) for number in range(6)]
            _settle()
            assert items.qsize() == 2, f"there is room for two, and {items.qsize()} are in"
            got = [items.get(timeout=_LIMIT) for _ in range(6)]
            assert got == [0, 1, 2, 3, 4, 5], f"0 to 5 were put by six tasks in order, and {got} came out"
            coopcore.joinall(givers, raise_error=True)

        self._run(main, room=2)

    def test_a_killed_taker_takes_nothing_with_it(self) -> None:
        def main(items: QueueLike) -> None:
            takers = [coopcore.spawn(items.get, timeout=_LIMIT) for _ in range(2)]
            _settle()
            takers[0].kill()
            items.put("item")
            assert takers[1].get() == "item", "the first of two takers was killed, and the second did not get the item"

        self._run(main)

    def test_a_killed_giver_gives_nothing(self) -> None:
        def main(items: QueueLike) -> None:
            items.put("first")
            givers = [coopcore.spawn(items.put, name, timeout=_LIMIT) for name in ("killed", "second")]
            _settle()
            givers[0].kill()
            got = [items.get(timeout=_LIMIT) for _ in range(2)]
            assert got == ["first", "second"], f"a waiting giver was killed, and {got} came out"
            coopcore.joinall(givers)

        self._run(main, room=1)

    def test_a_deadlock_is_reported(self) -> None:
        def main(items: QueueLike) -> None:
            with _raises(Deadlock, "nobody can put anything") as caught:
                items.get()
            assert type(items).__name__ in str(caught[0]), f"the report does not name what is waited for: {caught[0]}"

        self._run(main)

    def test_no_item_is_lost_or_doubled(self) -> None:
        for seed in _SEEDS:
            rng = random.Random(seed)
            self._run(lambda items, rng=rng: self._stress(items, rng), room=rng.choice((1, 2, None)))  # type: ignore[misc]  # the generator is bound early

    def _stress(self, items: QueueLike, rng: random.Random) -> None:
        gone_in: list[int] = []
        come_out: list[int] = []

        def give(first: int) -> None:
            for number in range(first, first + 10):
                try:
                    items.put(number, timeout=rng.choice((None, 0.0001)))
                except queue.Full:
                    continue
                gone_in.append(number)

        def take() -> None:
            while True:
                try:
                    come_out.append(items.get(timeout=rng.choice((None, 0.0001))))
                except queue.Empty:
                    coopcore.sleep(0)

        givers = [coopcore.spawn(give, first * 100) for first in range(6)]
        takers = [coopcore.spawn(take) for _ in range(6)]
        _kill_at_random([*givers[:3], *takers[:3]], rng, 6)
        assert len(coopcore.joinall(givers, timeout=_LIMIT)) == len(givers), "tasks that put did not end, though others get"
        coopcore.killall(takers)
        while items.qsize():
            come_out.append(items.get(block=False))
        assert sorted(come_out) == sorted(gone_in), (
            f"lost: {set(gone_in) - set(come_out)}, out of nowhere: {set(come_out) - set(gone_in)}, or an item came twice"
        )


__all__ = ["EventContract", "EventLike", "LockContract", "LockLike", "QueueContract", "QueueLike"]
