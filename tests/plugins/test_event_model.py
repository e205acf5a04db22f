"""Event and AsyncResult against a model: hypothesis writes programs of waits, sets, clears, links, kills and timeouts; after each the two must agree exactly.

Kills come unsettled: they hit tasks that were woken and have not run yet, or make `set` pass over tasks that were killed and have not run yet. So do timeouts:
the clock jumps, and all that are set end in one batch, in which a `snap`, whose timer was set before, sets the event between the timeout of a waiter
and its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.clock import JumpingClock

from coop_plugins.event import AsyncResult, Event
from coopcore import Task, TaskExit, Timeout, idle, killall, run, sleep, spawn

OPERATIONS = ["wait"] * 4 + ["timed wait"] * 3 + ["kill"] * 3 + ["link", "snap"] * 2 + ["set", "fail", "clear", "clear", "unlink", "settle", "expire"]
SPAN = 10
LATE = "late"
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), min_size=30, max_size=60)


class Recorder:
    """A callback that knows its number."""

    def __init__(self, who: int, told: list[int]) -> None:
        self.who = who
        self.told = told

    def __call__(self, _: object) -> None:
        self.told.append(self.who)


class Wrong(Exception):
    """The error of a result."""


class Real:
    """The two, with one face: what a wait gives is True, the value, the number of the error, or LATE."""

    def __init__(self, is_result: bool) -> None:
        self.is_result = is_result
        self.it: Event | AsyncResult[int] = AsyncResult() if is_result else Event()

    def set(self, who: int) -> None:
        self.it.set() if isinstance(self.it, Event) else self.it.set(who)

    def fail(self, who: int) -> None:
        self.it.set() if isinstance(self.it, Event) else self.it.set_exception(Wrong(-who))

    def clear(self) -> None:
        """A result cannot be cleared: there is a new one."""
        if isinstance(self.it, Event):
            self.it.clear()
        elif self.it.ready():
            self.it = AsyncResult()

    def wait(self, timeout: float | None) -> object:
        if isinstance(self.it, Event):
            return self.it.wait(timeout) or LATE
        try:
            return self.it.get(timeout=timeout)
        except Wrong as error:
            return error.args[0]
        except Timeout:
            return LATE


class Model:
    """What a wait gives now, None if it would wait; who waits; whose timers are set; who was woken and has not run; who is linked, and not due or due."""

    def __init__(self, is_result: bool) -> None:
        self.is_result = is_result
        self.now: object = None
        self.waiting: list[int] = []
        self.timers: list[tuple[str, int]] = []
        self.woken: list[int] = []
        self.linked: list[int] = []
        self.due: list[int] = []
        self.told: list[tuple[int, object]] = []
        self.called: list[int] = []

    def set(self, outcome: int) -> None:
        self.now = outcome if self.is_result else True
        self.woken += self.waiting
        self.due += self.linked
        self.waiting.clear()
        self.linked.clear()

    def arrive(self, who: int, timed: bool) -> None:
        if self.now is not None:
            self.told.append((who, self.now))
            return
        self.waiting.append(who)
        if timed:
            self.timers.append(("wait", who))

    def settle(self) -> None:
        """Everybody has run."""
        self.told += [(who, self.now if self.is_result else True) for who in self.woken]
        self.called += self.due
        self.woken.clear()
        self.due.clear()

    def expire(self) -> None:
        """All timers fire, and only then does anybody run."""
        late = [(what, who) for what, who in self.timers if what == "snap" or who in self.waiting]
        self.timers.clear()
        self.waiting = [who for who in self.waiting if ("wait", who) not in late]
        for what, who in late:
            if what == "snap":
                self.set(who)
            else:
                self.told.append((who, LATE if self.now is None else self.now))


def act(is_result: bool, steps: list[tuple[str, int]]) -> None:
    real, model = Real(is_result), Model(is_result)
    told: list[tuple[int, object]] = []
    called: list[int] = []
    tasks: dict[int, Task[None]] = {}
    links: dict[int, Recorder] = {}
    snappers: list[Task[None]] = []

    def settle() -> None:
        idle()
        idle()
        model.settle()
        assert told == model.told
        assert called == model.called

    def wait(who: int, timeout: float | None) -> None:
        try:
            told.append((who, real.wait(timeout)))
        except TaskExit:
            pass

    def snap(who: int) -> None:
        sleep(SPAN)
        real.set(who)

    for who, (step, n) in enumerate(steps, 1):
        if step in ("wait", "timed wait"):
            settle()
            tasks[who] = spawn(wait, who, SPAN if step == "timed wait" else None)
            idle()
            model.arrive(who, step == "timed wait")
        elif step == "snap":
            idle()
            snappers.append(spawn(snap, who))
            idle()
            model.timers.append(("snap", who))
            model.settle()
        elif step == "link":
            links[who] = Recorder(who, called)
            real.it.rawlink(links[who])
            (model.linked if model.now is None else model.due).append(who)
        elif step == "unlink" and links:
            undone = list(links)[n % len(links)]
            real.it.unlink(links[undone])
            for where in (model.linked, model.due):
                if undone in where:
                    where.remove(undone)
        elif step in ("set", "fail"):
            change: Callable[[int], Any] = getattr(real, step)
            change(who)
            model.set(who if step == "set" else -who)
        elif step == "clear":
            if is_result:
                settle()
            real.clear()
            model.now = None
        elif step == "kill" and model.waiting:
            victim = model.waiting.pop(n % len(model.waiting))
            tasks[victim].kill(block=False)
        elif step == "kill" and tasks:
            list(tasks.values())[n % len(tasks)].kill(block=False)  # woken, or gone: changes nothing
        elif step == "settle":
            settle()
        elif step == "expire":
            settle()
            sleep(SPAN)
            model.expire()
        assert real.it.ready() == (model.now is not None)
    settle()
    assert real.it.linkcount() == len(model.waiting) + len(model.linked)
    for who in model.waiting:
        tasks[who].kill()
    killall(snappers)


def check(is_result: bool, steps: list[tuple[str, int]]) -> None:
    run(act, is_result, steps, clock=JumpingClock())


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("cls", [Event, AsyncResult])
def test_it_does_what_its_model_does(cls: type) -> None:
    QUICK(given(st.just(cls is AsyncResult), STEPS)(check))()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cls", [Event, AsyncResult])
def test_it_does_what_its_model_does_for_long(cls: type) -> None:
    LONG(given(st.just(cls is AsyncResult), STEPS)(check))()
