"""The search itself: that it misses nothing, repeats nothing, can be followed again, and finds bugs that are there."""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import factorial
from typing import Any

import pytest

from coop_plugins.queue import LifoQueue, PriorityQueue
from coopcore import sleep

from .orders.broken import BUGS, REPAIRED, LockOrder
from .orders.cases import parse
from .orders.explorer import NoEnd, NotDeterministic, Orders, OrdersError, Run, StoppedClock, commute, explore, replay
from .orders.models import EventModel, LockModel, LotModel, QueueModel, SemaphoreModel
from .orders.programs import Program, Stage, twins_of
from .orders.scenes import Scene


class Walk(Scene):
    """Tasks that yield between their steps and do nothing else."""

    steps = (("a", 2), ("b", 2), ("c", 2))
    uses: Any = {}

    def set_up(self) -> None:
        self.order: list[str] = []
        for name, count in self.steps:
            self.start(name, self.walk, name, count, uses=self.uses.get(name))

    def walk(self, name: str, count: int) -> None:
        for step in range(count):
            if step:
                sleep(0)
            self.order.append(name)

    def end(self) -> Any:
        super().end()
        return tuple(self.order)


def runs_of(make: Any, reduce: bool = True) -> list[Run]:
    runs: list[Run] = []
    explore(make, reduce, runs.append)
    return runs


def test_invariant_1_a_run_follows_its_choices_and_then_takes_the_first() -> None:
    assert replay(Walk, "bbaacc") == tuple("bbaacc")
    assert replay(Walk, "c") == tuple("cabcab")
    assert replay(Walk, "") == tuple("abcabc")


@pytest.mark.parametrize("steps", [(2, 2, 2), (1, 1, 1, 1), (3, 3), (1, 2, 3)])
def test_invariant_2_every_order_is_run_once(steps: tuple[int, ...]) -> None:
    class Other(Walk):
        pass

    Other.steps = tuple(zip("abcd", steps, strict=False))
    runs = runs_of(Other)
    expected = factorial(sum(steps))
    for count in steps:
        expected //= factorial(count)
    assert len(runs) == len({run.outcome for run in runs}) == expected
    assert all(run.choices == run.outcome for run in runs)
    assert runs[0].outcome == replay(Other, "")


def test_invariant_3_a_program_that_does_otherwise_the_next_time_is_an_error() -> None:
    times = 0

    class Moody(Walk):
        def set_up(self) -> None:
            nonlocal times
            times += 1
            self.steps = Walk.steps if times < 5 else Walk.steps[:2]
            super().set_up()

    with pytest.raises(NotDeterministic, match=r"step 0 had the alternatives \('a', 'b', 'c'\), and now, after the same choices, has \('a', 'b'\)"):
        explore(Moody)


def test_invariant_3_a_program_that_ends_before_its_choices_is_an_error() -> None:
    with pytest.raises(NotDeterministic, match="the run ended after 6 steps, and after the same choices there had been one more, of 'b'"):
        replay(Walk, "abcabcb")


def test_invariant_3_a_choice_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotDeterministic, match="step 1 was to be that of 'x', and only"):
        replay(Walk, "ax")


TWO_LOCKS = {"left": LockModel, "right": LockModel}
THREE_THINGS = {"left": LockModel, "right": SemaphoreModel, "queue": partial(QueueModel, 1)}
REDUCED = [
    (TWO_LOCKS, "acquire:left, acquire:right | acquire:right, acquire:left"),
    (TWO_LOCKS, "acquire:left, acquire:right, release:left | acquire:right, acquire:left, release:right | try:left"),
    (TWO_LOCKS, "acquire:left, release:left | acquire:left, acquire:right | acquire:right, release:right | kill b"),
    (TWO_LOCKS, "acquire:left, release:left | timed acquire:left, timed acquire:right | acquire:right | tick"),
    (THREE_THINGS, "acquire:left, put:queue, release:left | get:queue, acquire:right | acquire:right, acquire:left, release:right"),
    (THREE_THINGS, "put:queue, put:queue | get:queue | acquire:left, acquire:right | acquire:right, acquire:left"),
]


def states_and_outcomes(things: dict[str, Any], program: str, reduce: bool) -> tuple[set[Any], set[Any], int]:
    states = set()

    class Watched(Stage):
        def check(self) -> None:
            super().check()
            # Who has just yielded is called running here.
            places = tuple((agent.task.state.replace("running", "ready"), len(agent.log), tuple(agent.log), agent.booms) for agent in self.agents.values())
            states.add((places, tuple(tuple(model.line) for model in self.models.values())))

    result = explore(partial(Watched, Program(things, parse(program))), reduce)
    return states, result.outcomes, result.orders


@pytest.mark.parametrize(("things", "program"), REDUCED, ids=[program for _, program in REDUCED])
def test_invariant_4_sleep_sets_leave_out_no_state_and_no_outcome(things: dict[str, Any], program: str) -> None:
    states, outcomes, orders = states_and_outcomes(things, program, False)
    fewer = states_and_outcomes(things, program, True)
    assert fewer[0] == states
    assert fewer[1] == outcomes
    assert fewer[2] < orders


TWINS = [
    (LockModel, "acquire, release | acquire, release | acquire, release"),
    (LockModel, "acquire, try | acquire, try | release | acquire, try"),
    (EventModel, "wait | wait | set, clear | set, clear"),
    (SemaphoreModel, "acquire, release | acquire, release | timed acquire | tick, kill a"),
]


@pytest.mark.parametrize(("model", "program"), TWINS, ids=[program for _, program in TWINS])
def test_invariant_4_twins_leave_out_nothing_but_names(model: Any, program: str) -> None:
    calls = parse(program)
    every, some = (explore(Program({"it": model}, calls), reduce) for reduce in (False, True))

    def without_names(outcomes: set[Any]) -> set[Any]:
        return {tuple(sorted(zip(calls, logs, strict=True), key=repr)) for logs in outcomes}

    assert without_names(some.outcomes) == without_names(every.outcomes)
    assert some.orders < every.orders or "kill a" in program


def test_invariant_4_who_is_killed_by_name_or_compared_has_no_twin() -> None:
    assert twins_of(parse("get | get | get | kill a")) == {"b": set(), "c": {"b"}, "d": set()}
    program = parse("put | put | get, get")
    explored = [explore(Program({"it": partial(QueueModel, 0, kind)}, program)).orders for kind in (PriorityQueue, LifoQueue)]
    assert explored[0] == explore(Program({"it": partial(QueueModel, 0, PriorityQueue)}, program), False).orders > explored[1]


def test_invariant_4_what_commutes() -> None:
    left, right = frozenset({"left"}), frozenset({"right"})
    assert commute(left, right)
    assert not commute(left, left)
    assert not commute(left, None)
    assert not commute(None, None)


def test_invariant_4_who_declares_less_than_it_uses_is_what_the_comparison_would_show() -> None:
    class Liar(Walk):
        steps = (("a", 1), ("b", 1))
        uses = {"a": ("one",), "b": ("another",)}

    assert len(explore(Liar, False).outcomes) == 2
    assert len(explore(Liar, True).outcomes) == 1


@pytest.mark.parametrize("name", BUGS)
def test_invariant_5_a_bug_is_found_and_its_choices_lead_there_again(name: str) -> None:
    make, words = BUGS[name]
    with pytest.raises(OrdersError, match=words) as found:
        explore(make)
    assert found.value.__notes__[0] == f"choices: {' '.join(found.value.choices)}"
    for _ in range(2):
        with pytest.raises(OrdersError, match=words) as again:
            replay(make, found.value.choices)
        assert again.value.choices[: len(found.value.choices)] == found.value.choices
    explore(REPAIRED[name])


def test_a_bug_is_in_some_orders_and_not_in_all() -> None:
    replay(LockOrder, ["one", "one", "one"])
    with pytest.raises(OrdersError, match="wait for ever"):
        replay(LockOrder, ["one", "two"])


def test_a_program_without_an_end_is_an_error() -> None:
    class Endless(Walk):
        def walk(self, name: str, count: int) -> None:
            while name != "b" or not self.order:
                sleep(0)
            self.order.append(name)

    with pytest.raises(NoEnd, match="no end after 2000 steps; the last were"):
        explore(Endless)


def test_invariant_6_a_timeout_fires_when_the_clock_is_moved() -> None:
    program = Program({"it": LotModel}, parse("timed park | tick | unpark"))
    runs = runs_of(program)
    for run in runs:
        by = {name: run.choices.index(name) for name in "abc"}
        in_time = by["a"] < by["c"] and not by["a"] < by["b"] < by["c"]
        assert (run.outcome[0][0] is not False) is in_time  # the rest is timed out by that tick, or by the one at the end
    assert Counter(run.outcome[0][0] is False for run in runs) == {True: 5, False: 3}


def test_invariant_6_time_stands_still_otherwise() -> None:
    class Sleeper(Walk):
        steps = (("a", 3),)

        def set_up(self) -> None:
            super().set_up()
            self.start("sleeps", sleep, 1)
            self.may_wait_for_ever = True

        def end(self) -> Any:
            assert self.tasks["sleeps"].state == "parked"
            assert self.clock.now() <= 1e12
            return super().end()

        def wakes_somebody(self) -> bool:
            return False

    assert explore(Sleeper).orders == 4


def test_the_scheduler_is_one() -> None:
    """The seam is that of the hub: what `coopcore.testing` asks of a scheduler."""
    from coopcore.testing import SchedulerContract

    class Contract(SchedulerContract):
        def make(self) -> Orders:
            return Orders()

    contract = Contract()
    tests = [name for name in dir(contract) if name.startswith("test_")]
    assert len(tests) > 8
    for name in tests:
        getattr(contract, name)()


def test_the_clock_is_one() -> None:
    clock = StoppedClock()
    clock.advance(1.5)
    assert (clock.now(), clock.pressure() > 1_000_000) == (1_500_000_000, True)
