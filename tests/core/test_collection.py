"""Waits in finalisers: ``coopcore._collection``."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from seams.processes import python

from coop_plugins.event import Event
from coop_plugins.lock import Lock, Semaphore
from coop_plugins.queue import Queue
from coopcore import Task, Timeout, _collection, current_task, get_hub, idle, run, sleep, spawn
from coopcore._clock import RealClock
from coopcore._collection import _on_collection
from coopcore.errors import ParkInFinalizerError
from coopcore.lowlevel import park, throw_in, unpark, yield_now

Outcome = list[Any]


class Garbage:
    """Calls a function when it is finalised, and notes what came of it."""

    def __init__(self, fn: Callable[[], Any], outcome: Outcome, in_cycle: bool = True) -> None:
        self.fn = fn
        self.outcome = outcome
        self.me = self if in_cycle else None

    def __del__(self) -> None:
        try:
            self.outcome.append(self.fn())
        except BaseException as error:
            self.outcome.append(type(error))


@pytest.fixture(autouse=True)
def collections_when_told() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def collected(fn: Callable[[], Any]) -> Any:
    """What comes of ``fn()`` in a finaliser that the collector runs now, in this task."""
    outcome: Outcome = []
    Garbage(fn, outcome)
    gc.collect()
    return outcome.pop()


class Taken:
    """Things that nobody can have at once."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.lock.acquire()
        self.queue: Queue[int] = Queue(1)
        self.queue.put(0)
        self.empty: Queue[int] = Queue()
        self.event = Event()
        self.other = spawn(sleep, 1000)
        sleep(0)


@pytest.mark.parametrize(
    "wait",
    [
        lambda it: sleep(0),
        lambda it: sleep(0.001),
        lambda it: sleep(1000, ref=False),
        lambda it: yield_now(),
        lambda it: park("something"),
        lambda it: park("something", 0.001),
        lambda it: idle(),
        lambda it: it.lock.acquire(),
        lambda it: it.lock.acquire(timeout=0.001),
        lambda it: it.queue.put(1),
        lambda it: it.empty.get(),
        lambda it: it.event.wait(),
        lambda it: it.other.join(),
        lambda it: it.other.kill(),
    ],
)
def test_invariant_1_a_wait_in_a_collection_is_refused_and_changes_nothing(wait: Callable[[Taken], Any]) -> None:
    def main() -> None:
        it, hub, me = Taken(), get_hub(), current_task()
        timers = len(hub.timers)
        assert collected(lambda: wait(it)) is ParkInFinalizerError
        assert (me.state, len(hub._ready), len(hub.timers), hub._idlers) == ("running", 1 if it.other._pending or it.other.state == "ready" else 0, timers, [])
        assert not it.lock._line and it.other._links is None
        it.lock.release()
        it.empty.put(1)
        sleep(0.001)
        assert it.lock.acquire(timeout=20)
        assert (it.empty.get(timeout=20), it.queue.get(timeout=20)) == (1, 0)
        it.other.kill()

    run(main)


def test_invariant_1_what_needs_no_wait_works_in_a_collection() -> None:
    def main() -> None:
        lock, queue, event, semaphore, spawned = Lock(), Queue[int](1), Event(), Semaphore(1), []
        waiter, victim = spawn(event.wait), spawn(sleep, 1000)
        sleep(0)
        for fn in (
            lock.acquire,
            lambda: not lock.acquire(blocking=False),
            lambda: queue.put(7) is None,
            lambda: event.set() is None,
            event.wait,
            semaphore.acquire,
            lambda: victim.kill(block=False) is None,
            lambda: spawned.append(spawn(sleep, 0.001)) is None,
            lambda: get_hub().call_soon(spawned.append, 1) is None,
        ):
            assert collected(fn) is True
        assert waiter.get(timeout=20) is True
        victim.join(timeout=20)
        assert (queue.get(timeout=20), spawned[1]) == (7, 1)
        assert spawned[0].join(timeout=20)

    run(main)


def test_invariant_1_the_callback_of_a_weak_reference_is_refused_too_and_python_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: printed.append(unraisable.exc_value))

    class Node:
        me: Any

    def main() -> None:
        node = Node()
        node.me = node
        kept = weakref.ref(node, lambda _: sleep(0))
        del node
        gc.collect()
        assert kept() is None

    run(main)
    (error,) = printed
    printed.clear()
    assert isinstance(error, ParkInFinalizerError)
    assert "main' tried to wait" in str(error) and "spawn() a task" in str(error)


def test_invariant_1_also_where_the_hub_is_made_by_the_finaliser_itself() -> None:
    seen: Outcome = []

    def main() -> None:
        thread = threading.Thread(target=lambda: seen.append(collected(lambda: sleep(0.001))))
        thread.start()
        thread.join()

    run(main)
    assert seen == [ParkInFinalizerError]


def hold(thing: object) -> None:
    sleep(1000)


def fail(thing: object) -> None:
    raise ValueError


def in_a_closure(thing: object) -> Callable[[], None]:
    return lambda: thing and None


def start_and_kill(*args: Any, **kwargs: Any) -> None:
    task = spawn(hold, *args, **kwargs)
    sleep(0)
    task.kill()


LAST_HELD_BY = {
    "an argument": lambda make: spawn(callable, make()),
    "an argument by name": lambda make: spawn(dict, thing=make()),
    "a closure": lambda make: spawn(in_a_closure(make())),
    "the value of a task that is dropped": lambda make: [spawn(make), None][1],
    "a context": lambda make: spawn(lambda: variable.set(make()) and None),
    "a task that is killed": lambda make: start_and_kill(make()),
    "a task that is killed, by name": lambda make: start_and_kill(thing=make()),
    "a task that was never started": lambda make: spawn(hold, make()).kill(),
    "a task that failed": lambda make: spawn(fail, make()).join(),
    "a task that failed, by name": lambda make: spawn(fail, thing=make()).join(),
}
variable: ContextVar[object] = ContextVar("variable")


@pytest.mark.parametrize("holder", LAST_HELD_BY)
def test_invariant_2_a_finaliser_of_what_nobody_refers_to_waits_as_anybody(holder: str) -> None:
    outcome: Outcome = []

    def wait() -> object:
        with Timeout(30):
            sleep(0.001)
            sleep(0)
            return spawn(lambda: "waited").get()

    def main() -> None:
        Garbage(wait, outcome, in_cycle=False)
        assert outcome == ["waited"]
        task = LAST_HELD_BY[holder](lambda: Garbage(wait, outcome, in_cycle=False))
        sleep(0.01)
        if isinstance(task, Task):
            task.join()
        del task
        with Timeout(20):
            while len(outcome) < 2 or len(get_hub().tasks()) > 1:
                sleep(0.001)
        assert outcome == ["waited", "waited"]
        assert get_hub().tasks() == [current_task()]
        assert [spawn(lambda n=n: n).get() for n in range(3)] == [0, 1, 2]

    run(main)


def test_invariant_2_a_timeout_ends_the_wait_of_such_a_finaliser() -> None:
    outcome: Outcome = []

    def wait() -> None:
        with Timeout(0.001):
            sleep(1000)

    def main() -> None:
        spawn(callable, Garbage(wait, outcome, in_cycle=False))
        spawn(Garbage, wait, outcome, False)
        with Timeout(20):
            while len(outcome) < 2:
                sleep(0.001)
        assert outcome == [Timeout, Timeout]

    run(main)


class CollectingClock(RealClock):
    """Has the collector run, with a finaliser that waits, in the middle of parks and yields: where the hub looks at the clock."""

    def __init__(self, pause: float = 0) -> None:
        super().__init__()
        self.pause = pause  # after the collection: the hub has its turn then, or the next task
        self.outcome: Outcome = []
        self.on = False
        self.fn: Callable[[], Any] = lambda: sleep(0)

    def pressure(self) -> int:
        if self.on:
            self.on = False
            Garbage(self.fn, self.outcome)
            gc.collect()
            time.sleep(self.pause)
        return super().pressure()


def in_the_middle(clock: CollectingClock, fn: Callable[[], Any]) -> None:
    """Have ``fn`` run by the collector in the middle of the next park or yield."""
    clock.fn = fn
    clock.on = True
    get_hub()._budget = 0


@pytest.mark.parametrize("fn", [lambda: sleep(0), lambda: sleep(0.001), lambda: park("another thing"), lambda: Event().wait(0.001)])
def test_invariant_3_a_park_that_was_interrupted_goes_on(fn: Callable[[], Any]) -> None:
    clock = CollectingClock()

    def main() -> None:
        me = current_task()
        busy = spawn(sleep, 0)
        waker = spawn(lambda: unpark(me, "woken"))
        in_the_middle(clock, fn)
        assert park("a thing", 5) == "woken"
        assert clock.outcome == [ParkInFinalizerError]
        in_the_middle(clock, fn)
        spawn(sleep, 0)
        assert park("a thing", 0.001) is False
        for task in (busy, waker):
            task.join()
        assert len(get_hub().timers) == 0

    run(main, clock=clock)


@pytest.mark.parametrize("pause", [0, 0.002])
def test_invariant_3_who_is_woken_by_the_very_collection_has_one_turn(pause: float) -> None:
    clock = CollectingClock(pause)

    def main() -> None:
        me = current_task()

        def wake_and_wait() -> None:
            assert unpark(me, "woken")
            park("another thing")

        spawn(sleep, 0)
        in_the_middle(clock, wake_and_wait)
        assert park("a thing", 5) == "woken"
        assert clock.outcome == [ParkInFinalizerError]
        assert not unpark(me)
        assert park("a thing", 0.001) is False

    run(main, clock=clock)


@pytest.mark.parametrize("fn", [lambda: sleep(0), lambda: sleep(0.001), lambda: park("another thing")])
def test_invariant_3_a_yield_that_was_interrupted_goes_on(fn: Callable[[], Any]) -> None:
    clock = CollectingClock()
    turns: list[str] = []

    def main() -> None:
        other = spawn(lambda: [turns.append("other"), sleep(0), turns.append("other")])
        in_the_middle(clock, fn)
        sleep(0)
        turns.append("main")
        other.join()
        assert (turns, clock.outcome) == (["other", "main", "other"], [ParkInFinalizerError])
        assert park("a thing", 0.001) is False

    run(main, clock=clock)


def test_invariant_3_what_is_pending_stays_so() -> None:
    def main() -> None:
        throw_in(current_task(), ValueError("for the task, not for the finaliser"))
        for fn in (lambda: sleep(0), lambda: sleep(0.001)):
            assert collected(fn) is ParkInFinalizerError
        with pytest.raises(ValueError, match="for the task"):
            sleep(0)

    run(main)


def test_invariant_4_other_threads_wait_meanwhile() -> None:
    seen: Outcome = []

    def finaliser() -> None:
        thread = threading.Thread(target=lambda: [sleep(0.001), seen.append(spawn(lambda: 7).get(timeout=5))])
        thread.start()
        thread.join(10)

    def main() -> None:
        collected(finaliser)

    run(main)
    assert seen == [7]


def test_invariant_5_without_a_hub_the_collector_calls_nothing_of_ours() -> None:
    out, err = python("""
        import gc
        import coopcore
        from coopcore import run
        before = list(gc.callbacks)
        inside = run(lambda: len(gc.callbacks))
        print(inside - len(before), gc.callbacks == before)
    """)
    assert (out, err) == ("2 True\n", "")


def test_invariant_5_each_hub_counts() -> None:
    def main() -> None:
        thread = threading.Thread(target=run, args=(sleep, 0))
        thread.start()
        thread.join()
        assert gc.callbacks.count(_on_collection) == 1

    run(main)


def test_invariant_3_a_signal_handler_that_raises_as_the_end_is_told_keeps_nobody_from_waiting() -> None:
    def main() -> None:
        _on_collection("start", {})
        _collection._note("start", {})
        with pytest.raises(ParkInFinalizerError):
            sleep(0)
        _collection._note("stop", {})  # and the handler raises before the first instruction of the other
        sleep(0)
        sleep(0.001)
        assert _collection.collecting == 0 and _collection._interrupted is None

    run(main)


def test_a_collection_on_the_hub_or_between_two_tasks_is_harmless() -> None:
    outcome: Outcome = []

    def main() -> None:
        def collect() -> None:
            Garbage(lambda: sleep(0), outcome)
            gc.collect()

        get_hub().call_soon(collect)
        sleep(0.001)
        gc.set_threshold(1)
        gc.enable()
        try:
            for task in [spawn(sleep, 0) for _ in range(50)]:
                task.join()
        finally:
            gc.disable()
            gc.set_threshold(700, 10, 10)

    run(main)
    assert [error.__name__ for error in outcome] == ["ParkInHubError"]


def test_a_collection_at_the_end_of_the_interpreter_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Any:
        raise RuntimeError("greenlet is being finalized")

    monkeypatch.setattr(_collection, "getcurrent", gone)
    _collection._on_collection("start", {})
    assert _collection.collecting == 0
