"""`local` against a model: hypothesis writes programs of tasks that set, get and delete attributes, and that end, are killed or are timed out; after each step
the two must agree exactly, also on whose values are kept at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.agents import Agent, settle
from seams.clock import JumpingClock

from coop_plugins import local as module
from coop_plugins.local import all_local_dicts_for_greenlet, local
from coopcore import Timeout, get_hub, run, sleep

LOCALS = 3
TASKS = 4
HUB = -1  # callbacks on the hub, which share a set of values
OPERATIONS = ["set"] * 4 + ["get"] * 4 + ["delete"] * 2 + ["set on the hub", "get on the hub", "end", "kill", "time out", "drop"]
NAMES = ["a", "b", "start"]


class Started(local):
    """A local that every task finds with a value in it."""

    def __init__(self, start: int) -> None:
        self.start = start


def make(which: int) -> local:
    return Started(which) if which % 2 else local()


class Model:
    """The values of each task in each local, for those who have touched it."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], dict[str, int]] = {}

    def of(self, which: int, who: int) -> dict[str, int]:
        return self.values.setdefault((which, who), {"start": which} if which % 2 else {})

    def gone(self, which: int | None = None, who: int | None = None) -> None:
        self.values = {key: values for key, values in self.values.items() if which != key[0] and who != key[1]}


def act(steps: list[tuple[str, int, int, str]]) -> None:
    model = Model()
    locals_ = [make(which) for which in range(LOCALS)]
    agents = [Agent(who) for who in range(TASKS)]
    seen: list[object] = []
    for which in range(1, LOCALS, 2):
        model.of(which, TASKS)  # the maker, a task as well, has one where there is an __init__
    settle()
    for number, (step, who, which, name) in enumerate(steps):
        data, agent = locals_[which], agents[who]
        if step.endswith("on the hub"):
            values = model.of(which, HUB)
            if step.startswith("set"):
                get_hub().call_soon(setattr, data, name, number)
                values[name] = number
            else:
                get_hub().call_soon(lambda data=data, name=name: seen.append(getattr(data, name, None)))  # type: ignore[misc]  # bound early
        elif step == "set":
            agent.do(lambda data=data, name=name, number=number: setattr(data, name, number))  # type: ignore[misc]  # as above
            model.of(which, who)[name] = number
        elif step == "get":
            agent.do(lambda data=data, name=name: getattr(data, name))  # type: ignore[misc]  # as above
        elif step == "delete":
            agent.do(lambda data=data, name=name: delattr(data, name))  # type: ignore[misc]  # as above
        elif step == "drop":
            del data
            locals_[which] = make(which)
            model.gone(which=which)
            if which % 2:
                model.of(which, TASKS)
        else:
            go(step, agent)
            assert all_local_dicts_for_greenlet(agent.task) == []
            agents[who] = Agent(who)
            model.gone(who=who)
        settle()
        if step == "get on the hub":
            assert seen.pop() == model.of(which, HUB).get(name)
        elif step in ("get", "delete"):
            values = model.of(which, who)
            assert agent.log.pop() == ("AttributeError" if name not in values else values[name] if step == "get" else None)
            if step == "delete":
                values.pop(name, None)
        compare(model, locals_, agents)
    for agent in agents:
        agent.end()


def go(step: str, agent: Any) -> None:
    """Its task ends, in one way or another."""
    if step == "end":
        agent.end()
    elif step == "kill":
        agent.task.kill()
    else:
        agent.do(lambda: sleep_within(5))
        sleep(10)
        agent.task.join()
        assert isinstance(agent.task.exception, Timeout)
    settle()


def sleep_within(seconds: float) -> None:
    with Timeout(seconds):
        sleep(100)


def compare(model: Model, locals_: list[local], agents: list[Any]) -> None:
    for which, data in enumerate(locals_):
        kept: dict[int, dict[str, int]] = module._dicts_of(data)
        assert sorted(map(repr, kept.values())) == sorted(repr(values) for (it, _), values in model.values.items() if it == which)
        for who, agent in enumerate(agents):
            assert kept.get(agent.task.ident) == model.values.get((which, who))


def check(steps: list[tuple[str, int, int, str]]) -> None:
    run(act, steps, clock=JumpingClock())


STEP = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, TASKS - 1), st.integers(0, LOCALS - 1), st.sampled_from(NAMES))
PROGRAMS = given(st.lists(STEP, min_size=30, max_size=60))


QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_local_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_local_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))
