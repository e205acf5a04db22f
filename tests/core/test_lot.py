"""The invariants of ``coopcore._lot``."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from coopcore import Task, joinall, run, sleep, spawn
from coopcore.errors import WrongThreadError
from coopcore.lowlevel import ParkingLot


def test_invariant_1_tasks_are_woken_in_the_order_in_which_they_parked() -> None:
    woken: list[int] = []

    def main() -> None:
        lot = ParkingLot()

        def wait(n: int) -> None:
            lot.park()
            woken.append(n)

        tasks = [spawn(wait, n) for n in range(6)]
        sleep(0)
        assert len(lot) == 6 and lot and list(lot) == tasks
        lot.unpark()
        lot.unpark()
        assert lot.unpark_all() == 4
        joinall(tasks, timeout=5)
        assert not lot and lot.unpark() is False and lot.unpark_all() == 0

    run(main)
    assert woken == list(range(6))


def test_invariant_2_a_value_goes_to_exactly_one_waiter_or_none() -> None:
    def main() -> None:
        lot = ParkingLot()
        tasks = [spawn(lot.park) for _ in range(3)]
        sleep(0)
        tasks[0].kill(block=False)  # thrown out, but has not run: still in the lot
        assert len(lot) == 3
        assert lot.unpark("first") and lot.unpark("second") and not lot.unpark("nobody")
        joinall(tasks, timeout=5)
        assert [tasks[1].value, tasks[2].value] == ["first", "second"]

    run(main)


@pytest.mark.parametrize("seed", range(5))
def test_invariant_3_whose_wait_ended_otherwise_is_not_in_the_lot(seed: int) -> None:
    rng = random.Random(seed)

    def main() -> None:
        lot = ParkingLot()
        tasks: list[Task[Any]] = [spawn(lot.park, rng.choice([None, 0, 0.001, 5])) for _ in range(30)]
        sleep(0)
        for task in rng.sample(tasks, 15):
            task.kill(block=False)
        sleep(0.005)
        parked = [task for task in tasks if task.state == "parked"]
        assert list(lot) == parked
        assert lot.unpark_all(value=7) == len(parked)
        joinall(tasks, timeout=5)
        assert all(task.value == 7 for task in parked) and not lot

    run(main)


def test_a_timeout_returns_false() -> None:
    assert run(lambda: ParkingLot().park(0.001)) is False


def test_words_and_owners() -> None:
    def main() -> None:
        owner = spawn(sleep, 5)
        lot = ParkingLot(lambda: "a thing", owners=lambda: [owner])
        assert lot.describe_wait() == "a thing" and list(lot.wait_owners()) == [owner]
        assert repr(lot) == "<ParkingLot for a thing, 0 waiting>"
        assert list(ParkingLot("x").wait_owners()) == [] and ParkingLot("x").describe_wait() == "x"
        owner.kill()

    run(main)


def test_a_wake_from_another_thread_is_refused_and_loses_nobody() -> None:
    def main() -> None:
        lot = ParkingLot()
        task = spawn(lot.park)
        sleep(0)
        errors: list[BaseException] = []

        def meddle() -> None:
            for wake in (lot.unpark, lot.unpark_all):
                try:
                    wake()
                except WrongThreadError as error:
                    errors.append(error)

        thread = threading.Thread(target=meddle)
        thread.start()
        thread.join()
        assert len(errors) == 2 and list(lot) == [task]
        assert lot.unpark() and task.get(timeout=5) is True

    run(main)
