"""Condition against a model: hypothesis writes programs of waits, notifications, timeouts and kills; after each step the two must agree exactly.

Time jumps only where a step says so. In some steps a task kills somebody right before or after it notifies, or right after it released the lock.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.agents import Agent, settle
from seams.clock import JumpingClock

from coop_plugins.lock import Condition, Lock, RLock
from coopcore import run, sleep

COUNT = 5
OPERATIONS = ["enter"] * 4 + ["wait"] * 5 + ["timed"] * 2 + ["notify"] * 3 + ["leave"] * 4
OPERATIONS += ["kill", "kill"] + ["notify and kill", "kill and notify"] * 3 + ["leave and kill", "notify all", "advance"]
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, COUNT - 1), st.integers(1, 2)), min_size=30, max_size=70)


class Model:
    """A holder, the line of the lock (with what each will get), and those who wait for a notification."""

    def __init__(self) -> None:
        self.holder: int | None = None
        self.line: list[tuple[int, Any, list[str]]] = []  # who, what its call gives it (None: it only wants the lock), what is raised after
        self.waiters: list[tuple[int, bool]] = []
        self.logs: list[list[Any]] = [[] for _ in range(COUNT)]

    def waits(self, who: int) -> bool:
        return any(who == other for other, *_ in (*self.line, *self.waiters))

    def line_up(self, who: int, result: Any) -> None:
        self.line.append((who, result, []))
        if self.holder is None:
            self.pass_on()

    def pass_on(self) -> None:
        self.holder = None
        if self.line:
            self.holder, result, later = self.line.pop(0)
            self.logs[self.holder] += [True if result is None else result, *later]

    def kill(self, who: int) -> None:
        for entry in self.line:
            if entry[0] == who and entry[1] is None:
                self.line.remove(entry)
                self.logs[who].append("killed")
                return
            if entry[0] == who:
                entry[2].append("late")
                return
        for waiter in self.waiters:
            if waiter[0] == who:
                self.waiters.remove(waiter)
                self.line_up(who, "killed")
                return
        self.logs[who].append("late")

    def notify(self, n: int) -> None:
        for who, _ in self.waiters[:n]:
            self.line.append((who, True, []))
        del self.waiters[:n]

    def advance(self) -> None:
        timed = [who for who, timed in self.waiters if timed]
        self.waiters = [waiter for waiter in self.waiters if not waiter[1]]
        for who in timed:
            self.line_up(who, False)


def act(condition: Any, model: Model, steps: list[tuple[str, int, int]]) -> None:
    lock = condition._lock
    agents = [Agent(number) for number in range(COUNT)]
    settle()

    for step, who, n in steps:
        if step == "kill":
            agents[who].boom()
            model.kill(who)
        elif step == "advance":
            sleep(10)
            model.advance()
        elif step == "enter":
            if not model.waits(who) and model.holder != who:
                agents[who].do(condition.acquire)
                model.line_up(who, None)
        elif model.holder is not None:
            step_of_the_holder(step, n, condition, model, agents)
        settle()
        assert [agent.log for agent in agents] == model.logs
        assert list(lock.wait_owners()) == ([] if model.holder is None else [agents[model.holder].task])
        assert [getattr(entry, "task", entry) for entry in lock._line or ()] == [agents[who].task for who, *_ in model.line]
        assert [turn.task for turn in condition._waiters] == [agents[who].task for who, _ in model.waiters]
    while model.holder is not None:
        step_of_the_holder("notify all", 0, condition, model, agents)
        settle()
        step_of_the_holder("leave", 0, condition, model, agents)
        settle()
    for who, _ in list(model.waiters):
        agents[who].boom()
        model.kill(who)
        settle()
        step_of_the_holder("leave", 0, condition, model, agents)
        settle()
    assert [agent.log for agent in agents] == model.logs
    for agent in agents:
        agent.end()


def step_of_the_holder(step: str, n: int, condition: Any, model: Model, agents: list[Agent]) -> None:
    assert model.holder is not None
    who, agent = model.holder, agents[model.holder]
    if step in ("wait", "timed"):
        agent.do(lambda: condition.wait(5 if step == "timed" else None))
        model.waiters.append((who, step == "timed"))
        model.pass_on()
        return
    first = model.waiters[0][0] if model.waiters else None
    following = model.line[0][0] if model.line else None

    def call() -> None:
        if step == "kill and notify" and first is not None:
            agents[first].boom()
        if "notify" in step:
            condition.notify_all() if step == "notify all" else condition.notify(n)
        if step == "notify and kill" and first is not None:
            agents[first].boom()
        if step.startswith("leave"):
            condition.release()
        if step == "leave and kill" and following is not None:
            agents[following].boom()

    agent.do(call)
    model.logs[who].append(None)
    killed = [waiter for waiter in model.waiters[:1] if step == "kill and notify"]
    del model.waiters[: len(killed)]
    if "notify" in step:
        model.notify(COUNT if step == "notify all" else n)
    for victim, _ in killed:  # it comes for the lock when it runs, after those who were notified
        model.line_up(victim, "killed")
    if step == "notify and kill" and first is not None:
        model.kill(first)
    if step.startswith("leave"):
        model.pass_on()
    if step == "leave and kill" and following is not None:
        model.logs[following].append("late")


PROGRAMS = given(st.booleans(), STEPS)


def check(reentrant: bool, steps: list[tuple[str, int, int]]) -> None:
    run(act, Condition(RLock() if reentrant else Lock()), Model(), steps, clock=JumpingClock())


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_condition_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_condition_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
