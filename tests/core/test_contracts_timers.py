"""The timer queue's contract: the default and a plain heap keep it, and each of its tests finds a fault."""

from __future__ import annotations

import pytest

from coopcore._timers import BucketTimers
from coopcore.testing import TimerQueueContract

from .seams.mutants import check_mutant, untried
from .seams.timers import HeapTimers


class TestBucketTimers(TimerQueueContract):
    def make(self):
        return BucketTimers()


class TestHeapTimers(TimerQueueContract):
    def make(self):
        return HeapTimers()


class Lacking:
    pass


class NotEmpty(HeapTimers):
    def __init__(self):
        super().__init__()
        self.add(5, "left over")


class Unordered(HeapTimers):
    """As they were added."""

    def add(self, deadline, callback):
        handle = super().add(deadline, callback)
        self._heap.sort(key=lambda entry: entry[1])
        return handle


class LatestFirst(HeapTimers):
    """Says that the last is the next, and hands out in that order."""

    def next_deadline(self):
        return max((deadline for deadline, _, callback in self._heap if callback is not None), default=None)

    def pop_due(self, now):
        due = sorted((handle for handle in self._heap if handle[0] <= now), key=lambda handle: -handle[0])
        for handle in due:
            if handle[2] is not None:
                (callback,) = handle[2]
                self.cancel(handle)
                yield callback


class NewestOfEquals(HeapTimers):
    def __init__(self):
        super().__init__()
        self._number = iter(range(0, -1_000_000, -1))


class Exclusive(HeapTimers):
    def pop_due(self, now):
        return super().pop_due(now - 1)


class Coarse(HeapTimers):
    """Everything of one millisecond at once, as a wheel without care does."""

    def pop_due(self, now):
        return super().pop_due(now | 0xFFFFF)


class DropsThePast(HeapTimers):
    last = -1 << 62

    def pop_due(self, now):
        self.last = now
        return super().pop_due(now)

    def add(self, deadline, callback):
        return super().add(max(deadline, self.last), callback)


class ForgetsToCancel(HeapTimers):
    def cancel(self, handle):
        pass


class Impatient(HeapTimers):
    """Looks at the next deadline by taking it out."""

    def next_deadline(self):
        deadline = super().next_deadline()
        for _ in super().pop_due(-1 << 62 if deadline is None else deadline):
            break
        return deadline

    def pop_due(self, now):
        while self._heap and self._heap[0][0] <= now:
            yield super().add(*self._heap.pop(0)[::2])


class CountsTwice(HeapTimers):
    def cancel(self, handle):
        handle[2] = None
        self._live -= 1


class Eager(HeapTimers):
    """Hands out a list that was made before."""

    def pop_due(self, now):
        return iter(list(super().pop_due(now)))


class LosesWhatIsAdded(HeapTimers):
    busy = False

    def pop_due(self, now):
        self.busy = True
        yield from super().pop_due(now)
        self.busy = False

    def add(self, deadline, callback):
        handle = super().add(deadline, callback)
        if self.busy:
            self.cancel(handle)
        return handle


class ByEntry(HeapTimers):
    """Cancels the entry and not its setting."""

    def cancel(self, handle):
        for entry in list(self._heap):
            if handle[2] is not None and entry is not handle and entry[2] == handle[2]:
                super().cancel(entry)
        super().cancel(handle)


class Hoarding(HeapTimers):
    """Never lets go of an entry."""

    def __init__(self):
        super().__init__()
        self._all = []

    def add(self, deadline, callback):
        self._all.append(callback)
        return super().add(deadline, callback)


class Comparing(HeapTimers):
    def add(self, deadline, callback):
        any(entry[2] is not None and entry[2][0] == callback for entry in self._heap)
        return super().add(deadline, callback)


class CountsAll(HeapTimers):
    def __len__(self):
        return len(self._heap)


class Stuck(HeapTimers):
    """Says what is next, and hands out nothing."""

    def pop_due(self, now):
        return iter(())


MUTANTS = [
    (Lacking, ["test_it_has_every_method"]),
    (NotEmpty, ["test_an_empty_queue"]),
    (Unordered, ["test_ordered_by_deadline", "test_equal_deadlines_keep_the_order_of_setting", "test_it_agrees_with_a_model"]),
    (LatestFirst, ["test_ordered_by_deadline", "test_hub_programs_run_on_it"]),
    (NewestOfEquals, ["test_equal_deadlines_keep_the_order_of_setting"]),
    (Exclusive, ["test_a_deadline_is_due_when_it_is_reached"]),
    (Coarse, ["test_a_deadline_is_due_when_it_is_reached", "test_it_agrees_with_a_model"]),
    (DropsThePast, ["test_a_deadline_in_the_past_is_due"]),
    (
        ForgetsToCancel,
        [
            "test_a_cancelled_entry_never_comes_out",
            "test_next_deadline_is_the_earliest_that_is_set",
            "test_one_entry_may_be_set_twice",
            "test_a_cancelled_entry_is_let_go",
            "test_len_counts_what_is_set",
        ],
    ),
    (Impatient, ["test_next_deadline_takes_nothing_out"]),
    (CountsTwice, ["test_cancelling_twice_is_quiet", "test_cancelling_what_was_handed_out_is_quiet"]),
    (Eager, ["test_handing_out_is_lazy", "test_what_is_not_taken_stays"]),
    (LosesWhatIsAdded, ["test_adding_while_handing_out"]),
    (ByEntry, ["test_one_entry_may_be_set_twice", "test_entries_are_opaque"]),
    (Comparing, ["test_entries_are_opaque"]),
    (Hoarding, ["test_a_cancelled_entry_is_let_go", "test_an_entry_that_was_handed_out_is_let_go"]),
    (CountsAll, ["test_len_counts_what_is_set", "test_cancelling_twice_is_quiet"]),
    (Stuck, ["test_ordered_by_deadline", "test_a_deadline_in_the_past_is_due"]),
]


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_contract_finds_a_fault(make, tests):
    check_mutant(TimerQueueContract, make, tests)


def test_each_test_of_the_contract_can_fail():
    assert not untried(TimerQueueContract, MUTANTS)
