"""Barrier against a model: hypothesis writes programs of arrivals, timeouts, kills, aborts and resets; after each step the two must agree exactly.

Time jumps only where a step says so. In some steps the last party comes right after another one was killed, and before that one runs.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.agents import Agent, settle
from seams.clock import JumpingClock

from coop_plugins.lock import Barrier
from coopcore import run, sleep

COUNT = 5
OPERATIONS = ["arrive"] * 9 + ["timed"] * 2 + ["last", "kill, then last", "last, then kill"] + ["kill", "advance", "abort", "reset", "reset", "fail"]
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, COUNT - 1)), min_size=30, max_size=60)


class Model:
    """Who has come, and whether it is broken."""

    def __init__(self, parties: int) -> None:
        self.parties = parties
        self.come: list[tuple[int, bool]] = []
        self.broken = False
        self.acted = 0
        self.fails = False  # the next action raises
        self.logs: list[list[Any]] = [[] for _ in range(COUNT)]

    def waits(self, who: int) -> bool:
        return any(who == other for other, _ in self.come)

    def arrive(self, who: int, timed: bool) -> None:
        if self.broken:
            self.logs[who].append("BrokenBarrierError")
            return
        self.come.append((who, timed))
        if len(self.come) == self.parties:
            if self.act():
                for place, (party, _) in enumerate(self.come):
                    self.logs[party].append(place)
                self.come.clear()
            else:
                self.come.pop()
                self.logs[who].append("ZeroDivisionError")
                self.end()

    def act(self) -> bool:
        self.acted += 1
        fails, self.fails = self.fails, False
        return not fails

    def end(self, broken: bool = True) -> None:
        self.broken = broken
        for who, _ in self.come:
            self.logs[who].append("BrokenBarrierError")
        self.come.clear()

    def kill(self, who: int) -> None:
        if self.waits(who):
            self.come = [entry for entry in self.come if entry[0] != who]
            self.logs[who].append("killed")
            self.end()
        else:
            self.logs[who].append("late")

    def advance(self) -> None:
        if any(timed for _, timed in self.come):
            self.end()


def act(parties: int, steps: list[tuple[str, int]]) -> None:
    model = Model(parties)
    acted: list[int] = []

    def action() -> None:
        acted.append(1)
        if model.fails:
            raise ZeroDivisionError

    barrier = Barrier(parties, action)
    agents = [Agent(number) for number in range(COUNT)]
    settle()
    for step, who in steps:
        if step == "kill":
            agents[who].boom()
            model.kill(who)
        elif step == "fail":
            model.fails = True
        elif step == "advance":
            sleep(10)
            model.advance()
        elif step in ("abort", "reset"):
            getattr(barrier, step)()
            model.end(broken=step == "abort")
        elif step in ("arrive", "timed"):
            if not model.waits(who):
                agents[who].do(lambda timed=step == "timed": barrier.wait(5 if timed else None))  # type: ignore[misc]  # bound early
                settle()
                model.arrive(who, step == "timed")
        elif model.come and len(model.come) == parties - 1 and not model.fails:
            last_comes(step, barrier, model, agents)
        settle()
        assert [agent.log for agent in agents] == model.logs
        assert (barrier.broken, barrier.n_waiting, len(acted)) == (model.broken, len(model.come), model.acted)
        assert barrier._generation.tasks == [agents[party].task for party, _ in model.come]
    barrier.abort()
    model.end()
    settle()
    assert [agent.log for agent in agents] == model.logs
    for agent in agents:
        agent.end()


def last_comes(step: str, barrier: Barrier, model: Model, agents: list[Agent]) -> None:
    """The main task is the last party, so that it passes without a switch."""
    victim = model.come[0][0]
    if step == "kill, then last":
        agents[victim].boom()
    assert barrier.wait() == model.parties - 1
    model.act()
    for place, (party, _) in enumerate(model.come):
        model.logs[party].append(place if party != victim or step != "kill, then last" else "killed")
    model.come.clear()
    if step == "last, then kill":
        agents[victim].boom()
        model.logs[victim].append("late")


PROGRAMS = given(st.integers(1, 4), STEPS)


def check(parties: int, steps: list[tuple[str, int]]) -> None:
    run(act, parties, steps, clock=JumpingClock())


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_barrier_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_barrier_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
