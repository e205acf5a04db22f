"""Queue against a model: hypothesis writes programs of puts, gets, peeks, kills, resizes and a shutdown; after each the two must agree exactly.

The order is FIFO all the way, so that the model knows who gets which item. Kills come unsettled: they hit tasks that were woken and have not run yet,
or make wakers pass over tasks that were killed and have not run yet.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coop_plugins.queue import Empty, Full, Queue, ShutDown
from coopcore import Task, TaskExit, idle, run, spawn

OPERATIONS = ["put"] * 4 + ["get"] * 4 + ["kill"] * 3 + ["peek", "join", "put_nowait", "get_nowait", "task_done", "resize", "settle", "shutdown"]
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), min_size=10, max_size=40)


class Hooked(Queue[Any]):
    """The same, through the hooks."""

    def _put(self, item: Any) -> None:
        super()._put(item)


class Model:
    """What a queue should be: a list and two lines. ``told`` is what came of each call that ended: who, and what it returned or raised."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.items: list[int] = []
        self.unfinished = 0
        self.closed = False
        self.line: list[tuple[str, int]] = []
        self.told: list[tuple[int, object]] = []

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self.items)

    def arrive(self, what: str, who: int) -> None:
        if what == "join" and not self.unfinished:
            self.told.append((who, True))
        elif (what == "put" and self.closed) or (what in ("get", "peek") and self.closed and not self.items):
            self.told.append((who, ShutDown))
        else:
            self.line.append((what, who))
            self.settle()

    def settle(self) -> None:
        """Let everybody in line do what is possible, in order."""
        for what, who in self.line[:]:
            if what in ("get", "peek") and self.items:
                self.told.append((who, self.items.pop(0) if what == "get" else self.items[0]))
            elif what == "put" and not self.full():
                self.items.append(who)
                self.unfinished += 1
                self.told.append((who, None))
            elif what == "join" and not self.unfinished:
                self.told.append((who, True))
            else:
                continue
            self.line.remove((what, who))
            return self.settle()

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


def act(q: Queue[int], model: Model, steps: list[tuple[str, int]]) -> None:
    told: list[tuple[int, object]] = []
    tasks: dict[int, Task[None]] = {}

    def call(what: str, who: int) -> None:
        try:
            told.append((who, q.put(who) if what == "put" else getattr(q, what)()))
        except ShutDown:
            told.append((who, ShutDown))
        except TaskExit:
            pass

    for who, (step, n) in enumerate(steps):
        if step in ("put", "get", "peek", "join"):
            idle()  # whoever was woken runs before the newcomer is in line
            tasks[who] = spawn(call, step, who)
            idle()
            model.arrive(step, who)
        elif step == "put_nowait":
            try:
                q.put_nowait(who)
            except Full:
                assert model.full() and not model.closed
            except ShutDown:
                assert model.closed
            else:
                assert not model.closed and not model.full()
                model.items.append(who)
                model.unfinished += 1
        elif step == "get_nowait":
            try:
                assert q.get_nowait() == model.items.pop(0)
            except IndexError as error:
                raise AssertionError("an item from nowhere") from error
            except Empty:
                assert not model.items and not model.closed
            except ShutDown:
                assert not model.items and model.closed
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
        elif step == "settle":
            idle()
            assert sorted(told, key=str) == sorted(model.told, key=str)
        model.settle()
        assert list(q.queue) == model.items
        assert (q.qsize(), q.full(), q.empty()) == (len(model.items), model.full(), not model.items)
        assert (q.unfinished_tasks, q.is_shutdown) == (model.unfinished, model.closed)
    idle()
    assert sorted(told, key=str) == sorted(model.told, key=str)
    assert [task.state for who, task in tasks.items() if not task.dead] == ["parked"] * len(model.line)
    for _, who in model.line:
        tasks[who].kill()
    assert not q._getters
    assert not q._putters


PROGRAMS = given(st.sampled_from([Queue, Hooked]), st.integers(0, 3), STEPS)


def check(cls: type[Queue[int]], maxsize: int, steps: list[tuple[str, int]]) -> None:
    run(act, cls(maxsize), Model(maxsize), steps)


QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_queue_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_queue_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
