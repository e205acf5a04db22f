"""The scheduler's contract: the deque, a random and a newest-first order keep it, and each of its tests finds a fault."""

from __future__ import annotations

from collections import deque

import pytest

import coopcore
from coopcore.testing import SchedulerContract, _scheduler

from .seams.clock import JumpingClock
from .seams.mutants import check_mutant, untried
from .seams.scheduler import NewestFirst, RandomOrder


class TestDeque(SchedulerContract):
    def make(self):
        return deque()


class TestRandomOrder(SchedulerContract):
    def make(self):
        return RandomOrder(seed=7)


class TestNewestFirst(SchedulerContract):
    def make(self):
        return NewestFirst()


class Lacking:
    pass


class NotEmpty(deque):
    def __init__(self):
        super().__init__(["left over"])


class Losing(deque):
    """Each hundredth is lost."""

    count = 0

    def append(self, entry):
        self.count += 1
        if self.count % 100:
            super().append(entry)


class Refusing(deque):
    """Has no room for the forty-fifth, once."""

    refused = False

    def append(self, entry):
        if len(self) == 45 and not self.refused:
            self.refused = True
            raise OverflowError("full")
        super().append(entry)


class ByEquality(deque):
    """Keeps one of those that are equal."""

    def append(self, entry):
        if entry not in self:
            super().append(entry)


class ByHash(deque):
    """The same, faster."""

    def __init__(self):
        super().__init__()
        self.known = set()

    def append(self, entry):
        if entry not in self.known:
            self.known.add(entry)
            super().append(entry)


class Sorted(deque):
    def append(self, entry):
        super().append(entry)
        ordered = sorted(self)
        self.clear()
        self.extend(ordered)


class LastInFirstOut(deque):
    """Without a place for those that yield."""

    def popleft(self):
        return self.pop()


class FreshFirst(NewestFirst):
    """Whoever yielded counts as fresh again."""

    append_yielded = NewestFirst.append


class TwoLevels(NewestFirst):
    """Those that yielded run first, so that two of them never let a third in."""

    def popleft(self):
        return self._yielded.popleft() if self._yielded else self._fresh.pop(0)


MUTANTS = [
    (Lacking, ["test_it_has_every_method"]),
    (NotEmpty, ["test_a_new_one_is_empty"]),
    (Losing, ["test_what_goes_in_comes_out_once", "test_len_is_exact"]),
    (Losing, ["test_what_is_taken_out_may_come_back"]),
    (ByEquality, ["test_what_goes_in_comes_out_once", "test_what_is_taken_out_may_come_back", "test_len_is_exact"]),
    (ByHash, ["test_what_goes_in_comes_out_once", "test_what_is_taken_out_may_come_back", "test_len_is_exact"]),
    (Sorted, ["test_what_goes_in_comes_out_once", "test_what_is_taken_out_may_come_back", "test_len_is_exact"]),
    (Refusing, ["test_hub_every_task_runs", "test_hub_parked_tasks_wake"]),
    (LastInFirstOut, ["test_hub_a_yield_lets_others_run", "test_hub_callbacks_have_their_turn"]),
    (FreshFirst, ["test_hub_a_yield_lets_others_run"]),
    (TwoLevels, ["test_hub_two_that_yield_do_not_starve_a_third", "test_hub_a_yield_lets_others_run"]),
]


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_the_contract_finds_a_fault(make, tests, monkeypatch):
    monkeypatch.setattr(_scheduler, "_MOST_YIELDS", 500)
    monkeypatch.setattr(_scheduler, "_CLOSE_TIMEOUT", 0.05)
    check_mutant(SchedulerContract, make, tests)


def test_each_test_of_the_contract_can_fail():
    assert not untried(SchedulerContract, MUTANTS)


def test_the_same_seed_gives_the_same_schedule():
    def program(order):
        def work(number):
            for _ in range(3):
                order.append(number)
                coopcore.sleep(0)

        coopcore.joinall([coopcore.spawn(work, number) for number in range(5)])

    runs = []
    for seed in (1, 1, 2):
        order = []
        # On a clock of its own, so that it does not depend on the machine when the hub takes its turns.
        coopcore.run(program, order, scheduler=RandomOrder(seed), clock=JumpingClock())
        runs.append(order)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
