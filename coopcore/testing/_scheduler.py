"""The contract of `protocols.Scheduler`: what goes in comes out, once; and nobody who yields keeps the others waiting for ever.

Order is the scheduler's own affair. Only progress is asked for: a task that yields in a loop until another has done its work must see that happen.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import coopcore

from ..lowlevel import ParkingLot, current_hub
from ..protocols import Scheduler

T = TypeVar("T")

_MOST_YIELDS = 20_000
_CLOSE_TIMEOUT = 2.0  # seconds; a scheduler that starves tasks starves them of their end too


class _Entry:
    """Equal to every other, so that a scheduler that looks for equality and not for identity mixes them up."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Entry)

    def __hash__(self) -> int:
        return 1

    def __lt__(self, other: object) -> bool:
        raise AssertionError("entries have no order: a scheduler must not compare them")


class SchedulerContract:
    """Subclass it, and let ``make`` return a new, empty scheduler."""

    def make(self) -> Scheduler:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new scheduler")

    def _adders(self, scheduler: Scheduler) -> list[Callable[[Any], None]]:
        return [scheduler.append, getattr(scheduler, "append_yielded", scheduler.append)]

    def test_it_has_every_method(self) -> None:
        scheduler = self.make()
        assert isinstance(scheduler, Scheduler), f"{scheduler!r} lacks a method of coopcore.protocols.Scheduler"
        yielded = getattr(scheduler, "append_yielded", None)
        assert yielded is None or callable(yielded), "append_yielded is a method like append, or absent"

    def test_a_new_one_is_empty(self) -> None:
        scheduler = self.make()
        assert len(scheduler) == 0, "a new scheduler is not empty"
        assert not scheduler, "an empty scheduler is false: the hub asks"

    def test_what_goes_in_comes_out_once(self) -> None:
        scheduler = self.make()
        entries = [_Entry() for _ in range(100)]
        for number, entry in enumerate(entries):
            self._adders(scheduler)[number % 2](entry)
        assert scheduler, "a scheduler with entries is true: the hub asks"
        came = [scheduler.popleft() for _ in entries]
        assert {id(entry) for entry in came} == {id(entry) for entry in entries}, "100 entries went in, and other ones came out, or one came twice"
        assert len(scheduler) == 0, "everything was taken out, and something is left"

    def test_len_is_exact(self) -> None:
        scheduler = self.make()
        rng = random.Random(1)
        size = 0
        for _ in range(500):
            if size and rng.random() < 0.45:
                scheduler.popleft()
                size -= 1
            else:
                rng.choice(self._adders(scheduler))(_Entry())
                size += 1
            assert len(scheduler) == size, f"len() is {len(scheduler)}, and {size} entries are in"

    def test_what_is_taken_out_may_come_back(self) -> None:
        scheduler = self.make()
        entries = [_Entry() for _ in range(3)]
        for entry in entries:
            scheduler.append(entry)
        for turn in range(300):
            self._adders(scheduler)[turn % 2](scheduler.popleft())
        left = {id(scheduler.popleft()) for _ in entries}
        assert left == {id(entry) for entry in entries}, "three entries took turns, and one was lost or doubled"

    # -- a hub on it ----------------------------------------------------------------------------------------------------

    def _run(self, main: Callable[[], T]) -> T:
        return coopcore.run(main, scheduler=self.make(), close_timeout=_CLOSE_TIMEOUT)

    def test_hub_every_task_runs(self) -> None:
        done: list[int] = []

        def work(number: int) -> None:
            for _ in range(3):
                coopcore.sleep(0)
            done.append(number)

        def main() -> None:
            coopcore.joinall([coopcore.spawn(work, number) for number in range(200)])

        self._run(main)
        assert sorted(done) == list(range(200)), f"200 tasks were joined, and {len(done)} have run"

    def test_hub_a_yield_lets_others_run(self) -> None:
        def main() -> int:
            done: list[int] = []
            coopcore.spawn(done.append, 1)
            for yields in range(_MOST_YIELDS):
                if done:
                    return yields
                coopcore.sleep(0)
            return _MOST_YIELDS

        yields = self._run(main)
        assert yields < _MOST_YIELDS, (
            f"a task yielded {yields} times, and another that was ready never ran. Put tasks that yielded behind the others: "
            f"the optional append_yielded() tells them apart."
        )

    def test_hub_two_that_yield_do_not_starve_a_third(self) -> None:
        def main() -> int:
            done: list[int] = []
            yields = 0

            def spin() -> None:
                nonlocal yields
                while not done and yields < _MOST_YIELDS:
                    yields += 1
                    coopcore.sleep(0)

            spinners = [coopcore.spawn(spin) for _ in range(2)]
            coopcore.sleep(0)
            coopcore.spawn(done.append, 1)
            coopcore.joinall(spinners)
            return yields

        yields = self._run(main)
        assert yields < _MOST_YIELDS, f"two tasks yielded to each other {yields} times, and a third that was ready never ran"

    def test_hub_callbacks_have_their_turn(self) -> None:
        def main() -> int:
            called: list[int] = []
            current_hub().call_soon(called.append, 1)
            for yields in range(_MOST_YIELDS):
                if called:
                    return yields
                coopcore.sleep(0)
            return _MOST_YIELDS

        yields = self._run(main)
        assert yields < _MOST_YIELDS, f"a task yielded {yields} times, and a callback that waited in the hub was never run"

    def test_hub_parked_tasks_wake(self) -> None:
        def main() -> list[int]:
            lot = ParkingLot("its turn")
            woken: list[int] = []

            def work(number: int) -> None:
                lot.park(5)
                woken.append(number)

            tasks = [coopcore.spawn(work, number) for number in range(50)]
            yields = 0
            while len(lot) < 50 and yields < _MOST_YIELDS:
                yields += 1
                coopcore.sleep(0)
            lot.unpark_all()
            coopcore.joinall(tasks)
            return sorted(woken)

        assert self._run(main) == list(range(50)), "50 tasks parked and were woken, and not each ran once"
