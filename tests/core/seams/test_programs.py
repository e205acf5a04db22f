"""Small whole programs on the second implementations: what shows that a seam carries weight, and that a hub adds nothing of its own in between."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

import coopcore
from coopcore.lowlevel import ParkingLot, current_task, promise, wait_readable

from .backend import PollBackend
from .clock import JumpingClock
from .scheduler import NewestFirst, RandomOrder
from .timers import HeapTimers
from .tracer import RecordingTracer

HOUR = 3600.0


def shop(log, seed=0):
    """Customers come at random times, wait for one of two clerks, at most so long, and are served; some are called away."""
    rng = random.Random(seed)
    lot = ParkingLot("a clerk")
    free = [2]

    def customer(number, patience):
        if free[0]:
            free[0] -= 1
        elif not lot.park(patience):
            log.append(("left", number))
            return
        try:
            log.append(("served", number))
            coopcore.sleep(rng.uniform(1, 60))
        finally:
            if not lot.unpark():
                free[0] += 1

    tasks = [coopcore.spawn_later(rng.uniform(0, HOUR), customer, number, rng.uniform(1, 300)) for number in range(200)]
    for task in rng.sample(tasks, 20):
        coopcore.sleep(rng.uniform(0, HOUR / 40))
        task.kill(block=False)
    coopcore.joinall(tasks)
    log.append(("closed", free[0], current_task().hub.clock.now()))


def test_an_hour_passes_at_once_on_a_clock_that_jumps():
    def main():
        hub = current_task().hub
        coopcore.sleep(HOUR)
        return hub.clock.now()

    start = time.monotonic()
    assert coopcore.run(main, clock=JumpingClock()) == 3600 * 10**9
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("timers", [None, HeapTimers], ids=["buckets", "heap"])
def test_a_busy_hour_is_the_same_each_time(timers):
    logs = []
    for _ in range(2):
        log = []
        coopcore.run(shop, log, clock=JumpingClock(), timers=timers and timers())
        logs.append(log)
    assert logs[0] == logs[1]
    assert logs[0][-1][:2] == ("closed", 2)
    assert len({entry[0] for entry in logs[0]}) > 1


def test_two_timer_queues_give_the_same_hour():
    logs = []
    for timers in (None, HeapTimers()):
        log = []
        coopcore.run(shop, log, clock=JumpingClock(), timers=timers)
        logs.append(log)
    assert logs[0] == logs[1]


@pytest.mark.parametrize("make", [lambda seed: RandomOrder(seed), lambda seed: NewestFirst()], ids=["random", "newest first"])
def test_no_clerk_is_lost_on_any_schedule(make):
    for seed in range(5):
        log = []
        coopcore.run(shop, log, seed, clock=JumpingClock(), scheduler=make(seed))
        assert log[-1][:2] == ("closed", 2)


def test_everything_exchanged_at_once_and_traced():
    runs = []
    for _ in range(2):
        log, tracer = [], RecordingTracer()
        coopcore.run(shop, log, backend=PollBackend(), clock=JumpingClock(), timers=HeapTimers(), scheduler=RandomOrder(3), tracers=[tracer])
        first = min(tracer.names)
        runs.append((log, [(event, ident - first) for event, ident in tracer.log]))
    assert runs[0] == runs[1], "the same seed, the same run, event by event"
    assert len(runs[0][1]) > 400


def test_orders_are_what_they_are_called():
    def main():
        order = []
        coopcore.joinall([coopcore.spawn(order.append, number) for number in range(5)])
        return order

    assert coopcore.run(main) == [0, 1, 2, 3, 4]
    assert coopcore.run(main, scheduler=NewestFirst()) == [4, 3, 2, 1, 0]
    assert len({tuple(coopcore.run(main, scheduler=RandomOrder(seed))) for seed in range(10)}) > 3


def test_timeouts_fire_in_jumped_time():
    def main():
        hub = current_task().hub
        with pytest.raises(coopcore.Timeout), coopcore.Timeout(60):
            ParkingLot("nothing").park()
        assert hub.clock.now() == 60 * 10**9
        assert ParkingLot("nothing").park(5) is False
        return hub.clock.now()

    assert coopcore.run(main, clock=JumpingClock()) == 65 * 10**9


def test_a_deadlock_is_one_in_jumped_time_too():
    with pytest.raises(coopcore.Deadlock, match="nothing at all"):
        coopcore.run(ParkingLot("nothing at all").park, clock=JumpingClock())


def test_time_does_not_jump_over_what_is_ready():
    def main():
        reader, writer = os.pipe()
        try:
            hub = current_task().hub
            os.write(writer, b"x")
            assert wait_readable(reader, HOUR)
            assert hub.clock.now() == 0
        finally:
            os.close(reader)
            os.close(writer)

    coopcore.run(main, clock=JumpingClock(), backend=PollBackend())


def test_time_does_not_jump_while_a_thread_works():
    def main():
        hub = current_task().hub
        lot = ParkingLot("the thread")
        with promise("a thread"):
            thread = threading.Thread(target=lambda: (time.sleep(0.01), hub.call_soon_threadsafe(lot.unpark, ("done",))))
            thread.start()
            assert lot.park(HOUR) == ("done",)
            thread.join()
        assert hub.clock.now() < 60 * 10**9

    coopcore.run(main, clock=JumpingClock())
