"""Semaphore against a model: hypothesis writes programs of acquires, releases, waits and kills; after each step the two must agree exactly.

The order is FIFO all the way, so that the model knows who gets each permit. A step is either settled (everybody ready has run) or not: a kill that
follows a release unsettled hits a task that has its permit and has not run yet.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coop_plugins.lock import BoundedSemaphore, Semaphore
from coopcore import Task, TaskExit, idle, run, spawn

OPERATIONS = ["acquire"] * 4 + ["release"] * 3 + ["kill"] * 2 + ["wait", "link", "try", "settle"]
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), min_size=10, max_size=40)


class Model:
    """What a semaphore should be: a number and a line."""

    def __init__(self, value: int, bound: int | None) -> None:
        self.value = value
        self.bound = bound
        self.line: list[tuple[str, int]] = []
        self.told: list[tuple[str, int, int]] = []  # what came of each that left the line: who, and what the call returned

    def arrive(self, what: str, who: int) -> None:
        if not self.value:
            self.line.append((what, who))
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


def act(semaphore: Semaphore, model: Model, steps: list[tuple[str, int]]) -> None:
    told: list[tuple[str, int, int]] = []
    tasks: dict[int, Task[None]] = {}

    def wait(what: str, who: int) -> None:
        try:
            told.append((what, who, int(getattr(semaphore, what)())))
        except TaskExit:
            pass

    for who, (step, n) in enumerate(steps):
        if step in ("acquire", "wait"):
            idle()  # whoever was woken runs before the newcomer is in line
            tasks[who] = spawn(wait, step, who)
            idle()
            model.arrive(step, who)
        elif step == "try":
            assert semaphore.acquire(blocking=False) == (model.value > 0)
            model.value -= model.value > 0
        elif step == "link":
            idle()
            semaphore.rawlink(lambda _, who=who: told.append(("link", who, 0)))  # type: ignore[misc]  # bound early
            model.arrive("link", who)
            idle()
        elif step == "release":
            try:
                semaphore.release(1 + n // 5)
            except ValueError:
                assert not model.release(1 + n // 5)
            else:
                assert model.release(1 + n // 5)
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


PROGRAMS = given(st.integers(0, 2), st.booleans(), STEPS)


def check(value: int, bounded: bool, steps: list[tuple[str, int]]) -> None:
    semaphore: Any = (BoundedSemaphore if bounded else Semaphore)(value)
    run(act, semaphore, Model(value, value if bounded else None), steps)


QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_semaphore_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_semaphore_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
