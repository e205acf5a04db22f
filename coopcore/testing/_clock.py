"""The contract of `protocols.Clock`. It holds for a clock that follows the real time and for one that jumps.

The clock is asked to wait on a scripted backend, which notes each poll and answers as the test says. Where that backend is asked to wait it lets real time
pass, so a real clock's deadline is reached; a clock that jumps won't ask.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from time import monotonic_ns

import coopcore

from ..lowlevel import ParkingLot, current_task, promise, wait_readable
from ..protocols import READABLE, Clock, Ready
from ._base import MILLISECOND, PATIENCE, SECOND, naps, pipe, since

_HOUR = 3600 * SECOND


class _ScriptedBackend:
    """A `protocols.Backend` that reports what ``answer(timeout)`` says, and sleeps for the timeout, at most 20 ms, when that is nothing."""

    edge_triggered = False

    def __init__(self, answer: Callable[[int | None], Sequence[Ready]] = lambda timeout: ()) -> None:
        self.answer = answer
        self.asked: list[int | None] = []

    def poll(self, timeout: int | None) -> Sequence[Ready]:
        self.asked.append(timeout)
        reports = self.answer(timeout)
        if not reports and timeout != 0:
            time.sleep(min(20 * MILLISECOND if timeout is None else timeout, 20 * MILLISECOND) / SECOND)
        return reports

    def watch(self, fd: int, events: int) -> None:
        raise AssertionError("a clock watches nothing; it only polls")

    def unwatch(self, fd: int) -> None:
        raise AssertionError("a clock watches nothing; it only polls")

    def wake(self) -> None:
        raise AssertionError("a clock wakes nobody; it only polls")

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        raise AssertionError("a clock does not close the backend; the hub does")


class ClockContract:
    """Subclass it, and let ``make`` return a new clock."""

    def make(self) -> Clock:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new clock")

    def test_it_has_every_method(self) -> None:
        clock = self.make()
        assert isinstance(clock, Clock), f"{clock!r} lacks a method of coopcore.protocols.Clock"

    def test_moments_are_whole_nanoseconds_and_never_go_back(self) -> None:
        clock, backend = self.make(), _ScriptedBackend()
        before = clock.now()
        for step in range(50):
            assert type(before) is int, f"now() is an integer number of nanoseconds, not {before!r}"
            clock.wait(backend, clock.now() + (step % 3) * 1000, False)
            after = clock.now()
            assert after >= before, f"now() went back from {before} to {after}"
            before = after

    # -- waiting --------------------------------------------------------------------------------------------------------

    def test_a_deadline_is_reached(self) -> None:
        clock, backend = self.make(), _ScriptedBackend()
        for span in (1, 300_000, 5 * MILLISECOND):
            deadline = clock.now() + span
            for _ in range(100):
                if clock.now() >= deadline:
                    break
                clock.wait(backend, deadline, False)
            assert clock.now() >= deadline, f"after a hundred waits for a deadline {span} ns away it was still not reached"

    def test_a_past_deadline_is_not_waited_for(self) -> None:
        for outside in (False, True):
            clock, backend = self.make(), _ScriptedBackend()
            clock.wait(backend, clock.now() - SECOND, outside)
            clock.wait(backend, -1, outside)
            assert backend.asked, "the backend must be polled also when the deadline is past: descriptors would starve"
            assert set(backend.asked) == {0}, f"the deadline is past, and the backend was asked to wait: {backend.asked}"

    def test_a_past_deadline_does_not_turn_time_back(self) -> None:
        clock, backend = self.make(), _ScriptedBackend()
        before = clock.now()
        clock.wait(backend, -1, False)
        assert clock.now() >= before, "waiting for a past deadline turned time back"

    def test_what_is_ready_is_returned(self) -> None:
        clock = self.make()
        backend = _ScriptedBackend(lambda timeout: [(7, READABLE)])
        for deadline in (None, -1, clock.now() + _HOUR):
            got = list(clock.wait(backend, deadline, False))
            assert got == [(7, READABLE)], f"the backend reported descriptor 7, and wait(deadline={deadline}) returned {got}"

    def test_what_is_ready_comes_before_the_deadline(self) -> None:
        clock = self.make()
        deadline = clock.now() + _HOUR
        clock.wait(_ScriptedBackend(lambda timeout: [(7, READABLE)]), deadline, False)
        assert clock.now() < deadline, "a descriptor was ready at once, and the clock went on to a deadline an hour away"

    def test_without_a_deadline_it_waits_for_the_backend(self) -> None:
        for outside in (False, True):
            clock = self.make()
            backend = _ScriptedBackend(lambda timeout: [(7, READABLE)] if timeout is None else ())
            woken = any(clock.wait(backend, None, outside) for _ in range(100))
            assert woken, "without a deadline only the backend can end the wait: it must be polled with None, or the hub spins"

    def test_with_a_promise_outside_it_does_not_jump(self) -> None:
        """What is promised from outside takes real time: an hour must not pass while a thread works."""
        clock = self.make()
        backend = _ScriptedBackend()
        deadline = clock.now() + _HOUR
        for _ in range(3):
            clock.wait(backend, deadline, True)
        assert clock.now() < deadline, "a promise from outside is open, and the clock jumped to a deadline an hour away"
        assert any(timeout != 0 for timeout in backend.asked), "a promise from outside is open, and the backend was never asked to wait: the hub spins"

    # -- pressure -------------------------------------------------------------------------------------------------------

    def test_pressure_grows_while_tasks_are_busy(self) -> None:
        clock = self.make()
        first = last = clock.pressure()
        start = monotonic_ns()
        while last - first < MILLISECOND and since(start) < PATIENCE:
            pressure = clock.pressure()
            assert pressure >= last, f"pressure() fell from {last} to {pressure}"
            last = pressure
        assert last - first >= MILLISECOND, "pressure() does not grow: while tasks are busy, timers and descriptors would starve"

    # -- a hub on it ----------------------------------------------------------------------------------------------------

    def test_hub_sleeps_end_in_order_and_not_early(self) -> None:
        def main() -> list[str]:
            hub = current_task().hub
            order: list[str] = []
            for seconds in (0.02, 0.005, 0.01):
                start = hub.clock.now()
                coopcore.sleep(seconds)
                assert hub.clock.now() - start >= int(seconds * SECOND), f"sleep({seconds}) ended after {hub.clock.now() - start} ns"
            coopcore.joinall(naps((0.02, 0.005, 0.01), order), raise_error=True)
            return order

        order = coopcore.run(main, clock=self.make())
        assert order == ["0.005", "0.01", "0.02"], f"tasks that slept for 5, 10 and 20 ms woke in the order {order}"

    def test_hub_descriptors_are_seen(self) -> None:
        def main() -> bool:
            with pipe() as (reader, writer):
                coopcore.spawn(os.write, writer, b"x")
                return wait_readable(reader, PATIENCE / SECOND)

        assert coopcore.run(main, clock=self.make()), "a descriptor became ready, and its task was not woken before the timeout"

    def test_hub_a_thread_has_its_time(self) -> None:
        def main() -> object:
            lot = ParkingLot("a thread")
            hub = current_task().hub

            def work() -> None:
                time.sleep(0.02)
                hub.call_soon_threadsafe(lot.unpark, ("done",))

            with promise("a thread"):
                thread = threading.Thread(target=work)
                thread.start()
                got = lot.park(3600)
                thread.join()
            return got

        got = coopcore.run(main, clock=self.make())
        assert got == ("done",), "a thread worked for 20 ms under a promise, and an hour's timeout fired before"

    def test_hub_a_busy_task_does_not_starve_timers(self) -> None:
        def main() -> bool:
            sleeper = coopcore.spawn(coopcore.sleep, 0.000_001)
            start = monotonic_ns()
            while not sleeper.dead and since(start) < PATIENCE:
                coopcore.sleep(0)
            return sleeper.dead

        # A deterministic clock may let no time pass while tasks are busy, so only its past is due then; a microsecond is not asked of it.
        clock = self.make()
        before = clock.now()
        time.sleep(0.001)
        if clock.now() > before:
            assert coopcore.run(main, clock=clock), "a task that always yields kept a sleeper from waking"
