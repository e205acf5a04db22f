"""The contract of `protocols.TimerQueue`: order, cancelling, laziness; at last a comparison with a model over thousands of random steps."""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any, NoReturn

import coopcore

from ..lowlevel import ParkingLot
from ..protocols import TimerQueue
from ._base import naps


class _Opaque:
    """An entry that a queue may only carry: looking into it is an error."""

    def _touched(self, *_: Any) -> NoReturn:
        raise AssertionError("an entry is opaque: the queue must not compare, hash, call or test it")

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __call__ = __len__ = _touched
    __hash__ = _touched


class TimerQueueContract:
    """Subclass it, and let ``make`` return a new, empty queue."""

    def make(self) -> TimerQueue:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new timer queue")

    def test_it_has_every_method(self) -> None:
        queue = self.make()
        assert isinstance(queue, TimerQueue), f"{queue!r} lacks a method of coopcore.protocols.TimerQueue"

    def test_an_empty_queue(self) -> None:
        queue = self.make()
        assert len(queue) == 0, "a new queue is not empty"
        assert queue.next_deadline() is None, "an empty queue has a next deadline"
        assert list(queue.pop_due(1 << 62)) == [], "an empty queue hands something out"

    def test_ordered_by_deadline(self) -> None:
        queue = self.make()
        deadlines = [5_000_000_000, 3, 1 << 50, 4, 1_048_576, 1_048_575, 0, 70_000_000]
        for deadline in deadlines:
            queue.add(deadline, deadline)
        assert list(queue.pop_due(1 << 60)) == sorted(deadlines), "entries come out in the order of their deadlines"

    def test_equal_deadlines_keep_the_order_of_setting(self) -> None:
        queue = self.make()
        for number in range(50):
            queue.add(7_000_000 + number % 2, number)
        expected = [*range(0, 50, 2), *range(1, 50, 2)]
        assert list(queue.pop_due(8_000_000)) == expected, "of two entries with one deadline the first added is due first"

    def test_a_deadline_is_due_when_it_is_reached(self) -> None:
        queue = self.make()
        queue.add(100, "on time")
        queue.add(101, "a nanosecond later")
        assert list(queue.pop_due(99)) == [], "an entry was handed out before its deadline"
        assert list(queue.pop_due(100)) == ["on time"], "handed out are those whose deadline is now or earlier, to the nanosecond"
        assert list(queue.pop_due(101)) == ["a nanosecond later"], "an entry was not handed out at its deadline"

    def test_a_deadline_in_the_past_is_due(self) -> None:
        queue = self.make()
        queue.add(1000, "first")
        assert list(queue.pop_due(5000)) == ["first"], "a due entry was not handed out"
        queue.add(10, "past")
        queue.add(-5, "negative")
        assert queue.next_deadline() == -5, "next_deadline() is the earliest, also if that is long past"
        assert list(queue.pop_due(5000)) == ["negative", "past"], "an entry whose deadline is past when it is added is due"

    def test_next_deadline_is_the_earliest_that_is_set(self) -> None:
        queue = self.make()
        late = queue.add(9_000_000_000, "late")
        early = queue.add(2_000, "early")
        assert queue.next_deadline() == 2_000, "next_deadline() is not the earliest"
        queue.cancel(early)
        assert queue.next_deadline() == 9_000_000_000, "next_deadline() is that of a cancelled entry"
        queue.cancel(late)
        assert queue.next_deadline() is None, "all are cancelled, and there is a next deadline"

    def test_next_deadline_takes_nothing_out(self) -> None:
        queue = self.make()
        queue.add(5, "entry")
        assert [queue.next_deadline(), queue.next_deadline(), len(queue)] == [5, 5, 1], "next_deadline() changed the queue"
        assert list(queue.pop_due(5)) == ["entry"], "next_deadline() lost an entry"

    def test_a_cancelled_entry_never_comes_out(self) -> None:
        queue = self.make()
        handles = [queue.add(number, number) for number in range(1000)]
        for number, handle in enumerate(handles):
            if number % 3:
                queue.cancel(handle)
        assert list(queue.pop_due(2000)) == list(range(0, 1000, 3)), "what is handed out is not just what was not cancelled"

    def test_cancelling_twice_is_quiet(self) -> None:
        queue = self.make()
        handle = queue.add(5, "a")
        queue.add(6, "b")
        queue.cancel(handle)
        queue.cancel(handle)
        assert len(queue) == 1, "an entry was cancelled twice, and counted twice"
        assert list(queue.pop_due(10)) == ["b"], "cancelling twice lost another entry"

    def test_cancelling_what_was_handed_out_is_quiet(self) -> None:
        queue = self.make()
        handle = queue.add(5, "a")
        queue.add(20, "b")
        assert list(queue.pop_due(10)) == ["a"]
        queue.cancel(handle)
        assert len(queue) == 1, "cancelling an entry that was handed out before changed the count"
        assert list(queue.pop_due(30)) == ["b"], "cancelling an entry that was handed out before lost another one"

    def test_handing_out_is_lazy(self) -> None:
        queue = self.make()
        queue.add(1, "a")
        victim = queue.add(2, "b")
        queue.add(3, "c")
        came = []
        for entry in queue.pop_due(10):
            came.append(entry)
            if entry == "a":
                queue.cancel(victim)
        assert came == ["a", "c"], f"while 'a' was handled 'b' was cancelled; handed out were {came}"

    def test_what_is_not_taken_stays(self) -> None:
        queue = self.make()
        for number in range(4):
            queue.add(number, number)
        assert next(iter(queue.pop_due(10))) == 0
        assert len(queue) == 3, "an iteration was broken off after the first entry, and others are gone"
        assert list(queue.pop_due(10)) == [1, 2, 3], "an iteration was broken off after the first entry, and others are gone"

    def test_adding_while_handing_out(self) -> None:
        queue = self.make()
        queue.add(1, "a")
        queue.add(5, "c")
        came = []
        for entry in queue.pop_due(10):
            came.append(entry)
            if entry == "a":
                queue.add(2, "b")
                queue.add(1 << 40, "far")
        came += queue.pop_due(10)
        assert sorted(came) == ["a", "b", "c"], f"'b' was added while 'a' was handled; handed out were {came}"
        assert queue.next_deadline() == 1 << 40, "an entry for later, added while others were handed out, is lost"

    def test_one_entry_may_be_set_twice(self) -> None:
        queue = self.make()
        first = queue.add(1, "same")
        queue.add(2, "same")
        queue.cancel(first)
        assert len(queue) == 1, "two settings of one entry are two; one was cancelled"
        assert list(queue.pop_due(5)) == ["same"], "cancelling one setting of an entry cancelled the other"

    def test_entries_are_opaque(self) -> None:
        queue = self.make()
        handles = [queue.add(7, _Opaque()) for _ in range(20)]
        for handle in handles[::2]:
            queue.cancel(handle)
        assert sum(1 for _ in queue.pop_due(7)) == 10, "entries with one deadline were lost"

    def test_len_counts_what_is_set(self) -> None:
        queue = self.make()
        handles = [queue.add(number * 1000, number) for number in range(300)]
        assert len(queue) == 300, "len() is how many are set"
        for handle in handles[100:]:
            queue.cancel(handle)
        assert len(queue) == 100, "len() counts cancelled entries"
        assert sum(1 for _ in queue.pop_due(49_000)) == 50
        assert len(queue) == 50, "len() counts entries that were handed out"
        assert bool(queue), "a queue with entries is true: the hub asks"

    def test_a_cancelled_entry_is_let_go(self) -> None:
        """Most timeouts never fire, and each would hold its task until its deadline."""
        self._let_go(lambda queue, handle: queue.cancel(handle), "cancelled")

    def test_an_entry_that_was_handed_out_is_let_go(self) -> None:
        self._let_go(lambda queue, handle: [None for _ in queue.pop_due(1 << 41)], "handed out")

    def _let_go(self, end: Any, how: str) -> None:
        class Entry:
            pass

        queue = self.make()
        entry = Entry()
        handle = queue.add(1 << 40, entry)
        queue.add(1 << 42, "another")
        alive = weakref.ref(entry)
        del entry
        end(queue, handle)
        gc.collect()
        assert alive() is None, f"the entry was {how}, and something in the queue or its handle still refers to it"

    def test_it_agrees_with_a_model(self) -> None:
        for seed in range(20):
            self._compare_with_model(random.Random(seed))

    def _compare_with_model(self, rng: random.Random) -> None:
        queue = self.make()
        model: dict[int, tuple[int, Any]] = {}  # number: deadline, handle; numbers are given in order
        handles: list[tuple[int, Any]] = []
        now = 0
        for number in range(400):
            step = rng.random()
            if step < 0.55:
                deadline = now + rng.choice((0, 1, rng.randrange(3_000_000), rng.randrange(3_000_000_000)))
                handle = queue.add(deadline, number)
                model[number] = (deadline, handle)
                handles.append((number, handle))
            elif step < 0.8 and handles:
                victim, handle = rng.choice(handles)
                queue.cancel(handle)
                model.pop(victim, None)
            else:
                now += rng.randrange(500_000_000)
                due = sorted((deadline, name) for name, (deadline, _) in model.items() if deadline <= now)
                got = list(queue.pop_due(now))
                assert got == [name for _, name in due], f"handed out were {got}, and due were {[name for _, name in due]}"
                for _, name in due:
                    del model[name]
            assert len(queue) == len(model), f"len() is {len(queue)}, and {len(model)} are set"
            expected = min((deadline for deadline, _ in model.values()), default=None)
            assert queue.next_deadline() == expected, f"next_deadline() is {queue.next_deadline()}, and the earliest is {expected}"

    def test_hub_programs_run_on_it(self) -> None:
        def main() -> list[str]:
            order: list[str] = []
            tasks = naps((0.02, 0.0, 0.01, 0.005), order)
            assert ParkingLot("a timeout").park(0.001) is False, "a timed park was not ended by its timer"
            killed = coopcore.spawn(coopcore.sleep, 0.001)
            coopcore.sleep(0)
            killed.kill()
            coopcore.joinall(tasks, timeout=5)
            return order

        order = coopcore.run(main, timers=self.make())
        assert order == ["0.0", "0.005", "0.01", "0.02"], f"tasks that slept for 0, 5, 10 and 20 ms woke in the order {order}"
