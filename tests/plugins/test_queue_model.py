"""Every kind of queue against a model: hypothesis writes programs of puts, gets, peeks, kills, timeouts, resizes and a shutdown; after each step the two must
agree exactly.

Lines are FIFO all the way and the order of items is known, so that the model knows who gets which item. Kills come unsettled: they hit tasks that were
woken and have not run yet, or make wakers pass over tasks that were killed and have not run yet. So do timeouts: the clock jumps, and all that are set end in
one batch, in which a `snap`, whose timer was set before, acts between the timeout of a waiter and its turn.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.clock import JumpingClock

from coop_plugins.queue import Empty, Full, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue
from coopcore import Task, TaskExit, idle, killall, run, sleep, spawn

WAITS = ["put", "get", "peek", "join"]
OFTEN = ["put", "get", "kill"] * 3 + ["timed put", "timed get", "snap"] * 2
SIMPLE = [*OFTEN, *["put_nowait", "get_nowait"] * 3, "peek", "resize", "settle", "expire"]
COUNTING = [*SIMPLE, "join", "timed join", "task_done", "shutdown"]
SPAN = 10


def steps(operations: list[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(operations), st.integers(0, 9)), min_size=30, max_size=60)


class HookedQueue(Queue[Any]):
    """The same, through the hooks."""

    def _put(self, item: Any) -> None:
        super()._put(item)


class HookedSimple(SimpleQueue[Any]):
    """The same, through the hooks."""

    def _get(self) -> Any:
        return super()._get()


class HookedLifo(LifoQueue[Any]):
    """The same, through the hooks."""

    def _get(self) -> Any:
        return super()._get()


class HookedPriority(PriorityQueue[Any]):
    """The same, through the hooks."""

    def _qsize(self) -> int:
        return super()._qsize()


def item_of(who: int) -> int:
    """What a task puts: different numbers, in no order."""
    return who * 37 % 101


class Model:
    """What a queue should be: a list and a line. ``told`` is what came of each call that ended: who, and what it returned or raised."""

    def __init__(self, cls: type[SimpleQueue[Any]], maxsize: int) -> None:
        self.cls = cls
        self.maxsize = maxsize
        self.items: list[int] = []
        self.unfinished = 0
        self.closed = False
        self.line: list[tuple[str, int]] = []
        self.timed: set[int] = set()
        self.told: list[tuple[int, object]] = []

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self.items)

    def next(self) -> int:
        """Where the item is that comes out next."""
        if issubclass(self.cls, PriorityQueue):
            return self.items.index(min(self.items))
        return len(self.items) - 1 if issubclass(self.cls, LifoQueue) else 0

    def arrive(self, what: str, who: int, timed: bool) -> None:
        if what == "join" and not self.unfinished:
            self.told.append((who, True))
        elif (what == "put" and self.closed) or (what in ("get", "peek") and self.closed and not self.items):
            self.told.append((who, ShutDown))
        else:
            self.line.append((what, who))
            if timed:
                self.timed.add(who)
            self.settle()

    def at_once(self, what: str, who: int) -> object:
        """What a call that does not wait returns or raises."""
        if what == "put":
            if self.closed or self.full():
                return ShutDown if self.closed else Full
            self.items.append(item_of(who))
            self.unfinished += 1
            self.settle()
            return None
        if not self.items:
            return ShutDown if self.closed else Empty
        item = self.items.pop(self.next())
        self.settle()
        return item

    def settle(self) -> None:
        """Let everybody in line do what is possible, in order."""
        for what, who in self.line[:]:
            if what in ("get", "peek") and self.items:
                self.told.append((who, self.items.pop(self.next()) if what == "get" else self.items[self.next()]))
            elif what == "put" and not self.full():
                self.items.append(item_of(who))
                self.unfinished += 1
                self.told.append((who, None))
            elif what == "join" and not self.unfinished:
                self.told.append((who, True))
            else:
                continue
            self.line.remove((what, who))
            return self.settle()

    def expire(self) -> None:
        for what, who in self.line[:]:
            if who in self.timed:
                self.told.append((who, {"put": Full, "join": False}.get(what, Empty)))
                self.line.remove((what, who))

    def shutdown(self, immediate: bool) -> None:
        self.closed = True
        for what, who in self.line[:]:
            if what != "join":
                self.told.append((who, ShutDown))
                self.line.remove((what, who))
        if immediate:
            self.unfinished = max(0, self.unfinished - len(self.items))
            self.items.clear()
            self.settle()


def act(q: Any, model: Model, steps: list[tuple[str, int]]) -> None:
    told: list[tuple[int, object]] = []
    tasks: dict[int, Task[None]] = {}
    snaps: list[tuple[str, int]] = []
    snappers: list[Task[None]] = []

    def outcome(what: str, who: int, *how: object) -> object:
        try:
            return q.put(item_of(who), *how) if what == "put" else getattr(q, what)(*how)
        except (ShutDown, Empty, Full) as error:
            return type(error)

    def call(what: str, who: int, *how: object) -> None:
        try:
            told.append((who, outcome(what, who, *how)))
        except TaskExit:
            pass

    def snap(what: str, who: int) -> None:
        sleep(SPAN)
        told.append((who, outcome(what, who, False)))

    for who, (step, n) in enumerate(steps):
        timed, what = step.startswith("timed "), step.removeprefix("timed ")
        if what in WAITS:
            idle()  # whoever was woken runs before the newcomer is in line
            timeout = SPAN if timed else None
            tasks[who] = spawn(call, what, who, *((timeout,) if what == "join" else (True, timeout)))
            idle()
            model.arrive(what, who, timed)
        elif step == "snap":
            snaps.append((("put", "get")[n % 2], who))
            snappers.append(spawn(snap, *snaps[-1]))
            idle()
        elif step in ("put_nowait", "get_nowait"):
            what = step.removesuffix("_nowait")
            assert outcome(what, who, False) == model.at_once(what, who)
        elif step == "task_done":
            try:
                q.task_done()
            except ValueError:
                assert model.unfinished == 0
            else:
                model.unfinished -= 1
        elif step == "kill" and model.line:
            entry = model.line[n % len(model.line)]
            tasks[entry[1]].kill(block=False)
            model.line.remove(entry)
        elif step == "kill" and tasks:
            list(tasks.values())[n % len(tasks)].kill(block=False)  # woken, or gone: changes nothing
        elif step == "resize":
            q.maxsize = model.maxsize = n // 2
        elif step == "shutdown" and n < 3:
            q.shutdown(immediate := who % 2 == 0)
            model.shutdown(immediate)
        elif step == "expire":
            idle()
            sleep(SPAN)
            model.expire()
            for what, snapper in snaps:
                model.told.append((snapper, model.at_once(what, snapper)))
            snaps.clear()
        elif step == "settle":
            idle()
            assert sorted(told, key=str) == sorted(model.told, key=str)
        model.settle()
        assert (sorted(q.queue), sorted(model.items)) == (sorted(model.items), sorted(q.queue))
        assert issubclass(model.cls, PriorityQueue) or list(q.queue) == model.items
        assert (q.qsize(), q.full(), q.empty()) == (len(model.items), model.full(), not model.items)
        assert q.is_shutdown == model.closed
        assert not isinstance(q, Queue) or q.unfinished_tasks == model.unfinished
    idle()
    assert sorted(told, key=str) == sorted(model.told, key=str)
    assert [task.state for who, task in tasks.items() if not task.dead] == ["parked"] * len(model.line)
    for _, who in model.line:
        tasks[who].kill()
    killall(snappers)
    assert not q._getters
    assert not q._putters
    assert not q._joiners


def check(cls: type[SimpleQueue[Any]], maxsize: int, steps: list[tuple[str, int]]) -> None:
    run(act, cls(maxsize), Model(cls, maxsize), steps, clock=JumpingClock())


CLASSES = [SimpleQueue, HookedSimple, Queue, HookedQueue, LifoQueue, HookedLifo, PriorityQueue, HookedPriority]


def program(cls: type[SimpleQueue[Any]]) -> Any:
    return given(st.just(cls), st.integers(0, 3), steps(COUNTING if issubclass(cls, Queue) else SIMPLE))


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("cls", CLASSES)
def test_a_queue_does_what_its_model_does(cls: type[SimpleQueue[Any]]) -> None:
    QUICK(program(cls)(check))()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cls", CLASSES)
def test_a_queue_does_what_its_model_does_for_long(cls: type[SimpleQueue[Any]]) -> None:
    LONG(program(cls)(check))()
