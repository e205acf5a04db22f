"""Lock and RLock against a model: hypothesis writes programs of acquires, releases, timeouts and kills; after each step the two must agree exactly.

Time jumps only where a step says so. In some steps a task releases and, before anybody else runs, kills whoever was handed the lock.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.agents import Agent, settle
from seams.clock import JumpingClock

from coop_plugins.lock import Lock, RLock
from coopcore import run, sleep

OPERATIONS = ["acquire"] * 4 + ["timed"] * 2 + ["release"] * 4 + ["release and kill"] * 2 + ["kill"] * 2 + ["try", "kill and release", "advance"]
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 3)), min_size=30, max_size=60)


class Model:
    """What a lock should be: a holder, a count and a line."""

    def __init__(self, reentrant: bool) -> None:
        self.reentrant = reentrant
        self.holder: int | None = None
        self.count = 0
        self.line: list[tuple[int, bool]] = []  # who, and whether with a timeout
        self.logs: list[list[Any]] = [[] for _ in range(4)]

    def waits(self, who: int) -> bool:
        return any(who == other for other, _ in self.line)

    def acquire(self, who: int, timed: bool, blocking: bool = True) -> None:
        if self.holder is None or (self.reentrant and self.holder == who):
            self.holder = who
            self.count += 1
            self.logs[who].append(True)
        elif blocking:
            self.line.append((who, timed))
        else:
            self.logs[who].append(False)

    def release(self, who: int) -> None:
        if self.holder is None or (self.reentrant and self.holder != who):
            self.logs[who].append("RuntimeError")
            return
        self.logs[who].append(None)
        self.count -= 1
        if not self.count:
            self.holder = None
            if self.line:
                self.holder, _ = self.line.pop(0)
                self.count = 1
                self.logs[self.holder].append(True)

    def kill(self, who: int) -> None:
        if self.waits(who):
            self.line = [entry for entry in self.line if entry[0] != who]
            self.logs[who].append("killed")
        else:
            self.logs[who].append("late")

    def advance(self) -> None:
        for who, timed in self.line:
            if timed:
                self.logs[who].append(False)
        self.line = [entry for entry in self.line if not entry[1]]


def act(lock: Any, model: Model, steps: list[tuple[str, int]]) -> None:
    agents = [Agent(number) for number in range(4)]
    settle()

    def release_and_kill() -> None:
        lock.release()
        if victim is not None:
            agents[victim].boom()

    def kill_and_release() -> None:
        if victim is not None:
            agents[victim].boom()
        lock.release()

    for step, who in steps:
        if step == "kill":
            agents[who].boom()
            model.kill(who)
        elif step == "advance":
            sleep(10)
            model.advance()
        elif not model.waits(who):
            victim = model.line[0][0] if model.line else None
            if step in ("acquire", "timed"):
                agents[who].do(lambda timed=step == "timed": lock.acquire(timeout=5 if timed else -1))  # type: ignore[misc]  # bound early
                model.acquire(who, step == "timed")
            elif step == "try":
                agents[who].do(lambda: lock.acquire(blocking=False))
                model.acquire(who, False, blocking=False)
            elif step == "release":
                agents[who].do(lock.release)
                model.release(who)
            elif step == "release and kill":
                allowed = model.holder is not None and (not model.reentrant or model.holder == who)
                agents[who].do(release_and_kill)
                model.release(who)
                if victim is not None and allowed:
                    model.kill(victim)
            elif step == "kill and release":
                agents[who].do(kill_and_release)
                if victim is not None:
                    model.kill(victim)
                model.release(who)
        settle()
        assert [agent.log for agent in agents] == model.logs
        assert lock.locked() == (model.holder is not None)
        assert list(lock.wait_owners()) == ([] if model.holder is None else [agents[model.holder].task])
        assert list(lock._line or ()) == [agents[who].task for who, _ in model.line]
        if model.reentrant:
            assert lock._count == model.count
    while model.holder is not None:
        if model.reentrant:
            agents[model.holder].do(lock.release)
        else:  # its holder may wait for itself
            lock.release()
            agents[model.holder].log.append(None)
        model.release(model.holder)
        settle()
    assert (lock.locked(), lock.linkcount()) == (False, 0)
    assert [agent.log for agent in agents] == model.logs
    for agent in agents:
        agent.end()


PROGRAMS = given(st.booleans(), STEPS)


def check(reentrant: bool, steps: list[tuple[str, int]]) -> None:
    run(act, RLock() if reentrant else Lock(), Model(reentrant), steps, clock=JumpingClock())


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_lock_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_lock_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
