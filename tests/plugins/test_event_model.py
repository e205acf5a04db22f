"""Event and AsyncResult against a model: hypothesis writes programs of waits, sets, clears, links and kills; after each the two must agree exactly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coop_plugins.event import AsyncResult, Event
from coopcore import Task, TaskExit, idle, run, spawn

OPERATIONS = ["wait"] * 4 + ["link"] * 2 + ["kill"] * 2 + ["set", "clear", "unlink", "settle"]
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), min_size=10, max_size=40)


class Recorder:
    """A callback that knows its number."""

    def __init__(self, who: int, told: list[int]) -> None:
        self.who = who
        self.told = told

    def __call__(self, _: object) -> None:
        self.told.append(self.who)


def act(event: Event | AsyncResult[Any], steps: list[tuple[str, int]]) -> None:
    woken: list[int] = []
    called: list[int] = []
    tasks: dict[int, Task[None]] = {}
    links: dict[int, Recorder] = {}
    # The model: a flag, who waits, who is linked and not due, who is due, and who must have been told, in order.
    flag = False
    waiting: list[int] = []
    linked: list[int] = []
    due: list[int] = []
    must_wake: list[int] = []
    must_call: list[int] = []

    def settle() -> None:
        idle()
        idle()
        must_call.extend(due)
        due.clear()
        assert woken == must_wake
        assert called == must_call

    def wait(who: int) -> None:
        try:
            assert event.wait()
            woken.append(who)
        except TaskExit:
            pass

    for who, (step, n) in enumerate(steps):
        if step == "wait":
            settle()
            tasks[who] = spawn(wait, who)
            idle()
            (must_wake if flag else waiting).append(who)
        elif step == "link":
            links[who] = Recorder(who, called)
            event.rawlink(links[who])
            (due if flag else linked).append(who)
        elif step == "unlink" and links:
            undone = list(links)[n % len(links)]
            event.unlink(links[undone])
            for where in (linked, due):
                if undone in where:
                    where.remove(undone)
        elif step == "set":
            event.set() if isinstance(event, Event) else event.set(who + 1)
            flag = True
            must_wake.extend(waiting)
            due.extend(linked)
            waiting.clear()
            linked.clear()
        elif step == "clear" and isinstance(event, Event):
            event.clear()
            flag = False
        elif step == "kill" and waiting:
            victim = waiting.pop(n % len(waiting))
            tasks[victim].kill(block=False)
        elif step == "kill" and tasks:
            list(tasks.values())[n % len(tasks)].kill(block=False)  # woken, or gone: changes nothing
        elif step == "settle":
            settle()
        assert event.ready() == flag
    settle()
    assert event.linkcount() == len(waiting) + len(linked)
    for who in waiting:
        tasks[who].kill()


PROGRAMS = given(st.sampled_from([Event, AsyncResult]), STEPS)


def check(cls: type[Event] | type[AsyncResult[Any]], steps: list[tuple[str, int]]) -> None:
    run(act, cls(), steps)


QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_it_does_what_its_model_does = QUICK(PROGRAMS(check))
test_it_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
