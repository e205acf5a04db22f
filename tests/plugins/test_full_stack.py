"""A stack that is full in the middle of an operation leaves no primitive in disorder: nobody in line who does not wait, no lock that nobody will release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import in_a_jumping_hub
from seams.stack import with_room

from coop_plugins.event import AsyncResult, Event
from coop_plugins.lock import Lock, RLock, Semaphore
from coop_plugins.queue import Channel, Empty, Full, Queue
from coopcore import Timeout, spawn

DEPTHS = range(20)


def in_a_block(thing: Any) -> Callable[[], object]:
    def enter() -> None:
        with thing:
            pass

    return enter


class Case:
    """An operation, and what must be so after it, whatever has become of it."""

    def __init__(self, thing: Any, operation: Callable[[], object], rest: Callable[[], object], expected: object) -> None:
        self.thing = thing
        self.operation = operation
        self.rest = rest
        self.expected = expected


def at_a_queue(queue: Any, operation: Callable[[], object]) -> Case:
    return Case(queue, operation, lambda: (len(queue._getters), len(queue._putters), queue.qsize()), (0, 0, queue.qsize()))


def at_a_channel(channel: Any, operation: Callable[[], object]) -> Case:
    return Case(channel, operation, lambda: (len(channel.getters), len(channel.putters)), (0, 0))


def waiting(thing: Any, operation: Callable[[], object]) -> Case:
    return Case(thing, operation, thing.linkcount, 0)


def taken(lock: Any) -> Any:
    lock.acquire()
    return lock


CASES: dict[str, Callable[[], Case]] = {
    "Event.wait": lambda: waiting(thing := Event(), lambda: thing.wait(1)),
    "AsyncResult.get": lambda: waiting(thing := AsyncResult[int](), lambda: thing.get(timeout=1)),
    "Semaphore.acquire": lambda: waiting(thing := Semaphore(0), lambda: thing.acquire(timeout=1)),
    "Lock.acquire": lambda: waiting(thing := taken(Lock()), lambda: thing.acquire(timeout=1)),
    "Queue.get": lambda: at_a_queue(thing := Queue[int](), lambda: thing.get(timeout=1)),
    "Queue.put": lambda: at_a_queue(thing := Queue(1, [1]), lambda: thing.put(2, timeout=1)),
    "Channel.get": lambda: at_a_channel(thing := Channel[int](), lambda: thing.get(timeout=1)),
    "Channel.put": lambda: at_a_channel(thing := Channel[int](), lambda: thing.put(2, timeout=1)),
    "with Lock": lambda: Case(thing := Lock(), in_a_block(thing), thing.locked, False),
    "with RLock": lambda: Case(thing := RLock(), in_a_block(thing), thing.locked, False),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@in_a_jumping_hub
def test_a_full_stack_leaves_nothing_behind(make: Callable[[], Case]) -> None:
    outcomes = set()
    for frames in DEPTHS:
        case = make()
        try:
            with_room(frames, case.operation)
            outcomes.add("done")
        except RecursionError:
            outcomes.add("full")
        except (Timeout, Empty, Full):
            outcomes.add("timed out")
        assert (frames, case.rest()) == (frames, case.expected)
    assert "full" in outcomes and len(outcomes) == 2


@in_a_jumping_hub
def test_a_second_in_line_leaves_it_too() -> None:
    for frames in DEPTHS:
        semaphore = Semaphore(0)
        first = spawn(semaphore.acquire)
        semaphore.acquire(timeout=0)
        try:
            with_room(frames, lambda semaphore=semaphore: semaphore.acquire(timeout=1))
        except RecursionError:
            pass
        assert semaphore.linkcount() == 1
        assert semaphore.release() == 0 and first.get() is True


@in_a_jumping_hub
def test_a_recursion_without_end_gives_its_lock_back() -> None:
    for spare in range(6):
        lock = RLock()

        def recurse(lock: RLock) -> None:
            with lock:
                recurse(lock)

        with pytest.raises(RecursionError):
            with_room(30 + spare, lambda lock=lock: recurse(lock))  # type: ignore[misc]  # a lambda
        assert not lock.locked()
