"""Semaphore against a model: hypothesis writes programs of acquires, releases, waits, kills and timeouts; after each step the two must agree exactly.

The order is FIFO all the way, so that the model knows who gets each permit. A step is either settled (everybody ready has run) or not: a kill that
follows a release unsettled hits a task that has its permit and has not run yet. So do timeouts: the clock jumps, and all that are set end in one batch, in
which a `snap`, whose timer was set before, releases a permit or tries to have one between the timeout of a waiter and its turn.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.clock import JumpingClock

from coop_plugins.lock import BoundedSemaphore, Semaphore
from coopcore import Task, TaskExit, idle, killall, run, sleep, spawn

OPERATIONS = ["acquire"] * 4 + ["timed acquire"] * 3 + ["release"] * 3 + ["kill"] * 2 + ["snap"] * 2 + ["wait", "timed wait", "link", "try", "settle", "expire"]
SPAN = 10
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), min_size=30, max_size=60)


class Model:
    """What a semaphore should be: a number and a line."""

    def __init__(self, value: int, bound: int | None) -> None:
        self.value = value
        self.bound = bound
        self.line: list[tuple[str, int]] = []
        self.timed: set[int] = set()
        self.told: list[tuple[str, int, int]] = []  # what came of each that left the line: who, and what the call returned

    def arrive(self, what: str, who: int, timed: bool = False) -> None:
        if not self.value:
            self.line.append((what, who))
            if timed:
                self.timed.add(who)
        elif what == "acquire":
            self.value -= 1
            self.told.append((what, who, 1))
        else:
            self.told.append((what, who, self.value))

    def release(self, n: int) -> bool:
        if self.bound is not None and self.value + n > self.bound:
            return False
        for left in range(n, 0, -1):
            while self.line and self.line[0][0] != "acquire":
                self.told.append((*self.line.pop(0), left))
            if self.line:
                self.told.append((*self.line.pop(0), 1))
            else:
                self.value += left
                break
        return True

    def attempt(self) -> bool:
        free = self.value > 0
        self.value -= free
        return free

    def expire(self) -> None:
        self.told += [(what, who, 0) for what, who in self.line if who in self.timed]
        self.line = [(what, who) for what, who in self.line if who not in self.timed]


def act(semaphore: Semaphore, model: Model, steps: list[tuple[str, int]]) -> None:
    told: list[tuple[str, int, int]] = []
    tasks: dict[int, Task[None]] = {}
    snaps: list[str] = []
    snappers: list[Task[None]] = []
    snapped: list[bool] = []

    def wait(what: str, who: int, timeout: float | None) -> None:
        try:
            told.append((what, who, int(getattr(semaphore, what)(timeout=timeout))))
        except TaskExit:
            pass

    def release(n: int) -> bool:
        try:
            semaphore.release(n)
        except ValueError:
            return False
        return True

    def snap(what: str) -> None:
        sleep(SPAN)
        snapped.append(release(1) if what == "release" else semaphore.acquire(blocking=False))

    for who, (step, n) in enumerate(steps):
        timed, what = step.startswith("timed "), step.removeprefix("timed ")
        if what in ("acquire", "wait"):
            idle()  # whoever was woken runs before the newcomer is in line
            tasks[who] = spawn(wait, what, who, SPAN if timed else None)
            idle()
            model.arrive(what, who, timed)
        elif step == "try":
            assert semaphore.acquire(blocking=False) == model.attempt()
        elif step == "snap":
            idle()
            snaps.append("release" if n % 3 else "try")
            snappers.append(spawn(snap, snaps[-1]))
            idle()
        elif step == "expire":
            idle()
            sleep(SPAN)
            model.expire()
            assert snapped == [model.release(1) if what == "release" else model.attempt() for what in snaps]
            snaps.clear()
            snapped.clear()
        elif step == "link":
            idle()
            semaphore.rawlink(lambda _, who=who: told.append(("link", who, 0)))  # type: ignore[misc]  # bound early
            model.arrive("link", who)
            idle()
        elif step == "release":
            assert release(1 + n // 5) == model.release(1 + n // 5)
        elif step == "kill" and model.line:
            kind, victim = model.line[n % len(model.line)]
            if kind != "link":
                tasks[victim].kill(block=False)
                model.line.remove((kind, victim))
        elif step == "kill" and tasks:
            list(tasks.values())[n % len(tasks)].kill(block=False)  # woken, or gone: changes nothing
        elif step == "settle":
            idle()
            idle()
            assert sorted(told) == sorted((what, who, 0 if what == "link" else n) for what, who, n in model.told)
            assert semaphore.linkcount() == len(model.line)
        assert semaphore.counter == model.value
        assert semaphore.locked() == (model.value == 0)
    idle()
    idle()
    in_order = [(what, who, n) for what, who, n in model.told if what != "link"]
    assert [one for one in told if one[0] != "link"] == in_order
    assert sorted(told) == sorted((what, who, 0 if what == "link" else n) for what, who, n in model.told)
    assert semaphore.linkcount() == len(model.line)
    for what, who in model.line:
        if what != "link":
            tasks[who].kill()
    killall(snappers)


def check(value: int, bounded: bool, steps: list[tuple[str, int]]) -> None:
    semaphore: Any = (BoundedSemaphore if bounded else Semaphore)(value)
    run(act, semaphore, Model(value, value if bounded else None), steps, clock=JumpingClock())


PROGRAMS = given(st.integers(0, 2), st.booleans(), STEPS)


QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_semaphore_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_semaphore_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
