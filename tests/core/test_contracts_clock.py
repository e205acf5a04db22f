"""The clock's contract: the real clock and one that jumps keep it, and each of its tests finds a fault."""

from __future__ import annotations

from time import monotonic_ns, sleep

import pytest

from coopcore._clock import RealClock
from coopcore.testing import ClockContract, _clock

from .seams.clock import JumpingClock
from .seams.mutants import check_mutant, untried


class TestRealClock(ClockContract):
    def make(self):
        return RealClock()


class TestJumpingClock(ClockContract):
    def make(self):
        return JumpingClock()


class TestAskingClock(ClockContract):
    """A clock that waits for what else can be polled, as one on another loop does, asks first whether the backend can."""

    class Asking(RealClock):
        def wait(self, backend, deadline, outside):
            assert backend.fileno() is None or backend.fileno() >= 0
            return super().wait(backend, deadline, outside)

    def make(self):
        return self.Asking()


class Lacking:
    pass


class InSeconds(RealClock):
    def now(self):
        return monotonic_ns() / 1e9


class TurnsBack(JumpingClock):
    def wait(self, backend, deadline, outside):
        reports = super().wait(backend, deadline, outside)
        if deadline is not None:
            self._now = deadline - 1
        return reports


class FollowsTheDeadline(JumpingClock):
    """Goes to the deadline, past or not."""

    def wait(self, backend, deadline, outside):
        reports = backend.poll(0)
        if deadline is not None:
            self._now = deadline
        return reports


class Standing(JumpingClock):
    def wait(self, backend, deadline, outside):
        return backend.poll(0 if deadline is not None else None)


class AlwaysWaits(RealClock):
    def wait(self, backend, deadline, outside):
        return backend.poll(1_000_000)


class NeverPolls(RealClock):
    def wait(self, backend, deadline, outside):
        if deadline is not None:
            sleep(max(0, min(deadline - monotonic_ns(), 1_000_000)) / 1e9)
        return ()


class JumpsFirst(JumpingClock):
    def wait(self, backend, deadline, outside):
        if deadline is not None and deadline > self._now:
            self._now = deadline
        return backend.poll(0 if deadline is not None else None)


class IgnoresPromises(JumpingClock):
    def wait(self, backend, deadline, outside):
        return super().wait(backend, deadline, False)


class SpinsOnPromises(JumpingClock):
    def wait(self, backend, deadline, outside):
        return backend.poll(0) if outside else super().wait(backend, deadline, outside)


class WithoutPressure(RealClock):
    def pressure(self):
        return 0


class FallingPressure(RealClock):
    def pressure(self):
        return -monotonic_ns()


class Early(JumpingClock):
    """Jumps a little less far than it says, so that sleeps end early by its own time."""

    def wait(self, backend, deadline, outside):
        reports = super().wait(backend, deadline, outside)
        if self.jumps and self.jumps[-1] == deadline:
            self.owed = 1000
        return reports

    owed = 0

    def now(self):
        self.owed, owed = max(self.owed - 1000, 0), self.owed
        return self._now if owed or not self.jumps else self._now - 500


class Meddling(RealClock):
    """Does with the backend what is the hub's."""

    def __init__(self, method, *args):
        super().__init__()
        self.meddle = lambda backend: getattr(backend, method)(*args)

    def wait(self, backend, deadline, outside):
        self.meddle(backend)
        return super().wait(backend, deadline, outside)


class Watches(Meddling):
    def __init__(self):
        super().__init__("watch", 0, 1)


class Unwatches(Meddling):
    def __init__(self):
        super().__init__("unwatch", 0)


class Wakes(Meddling):
    def __init__(self):
        super().__init__("wake")


class Closes(Meddling):
    def __init__(self):
        super().__init__("close")


MUTANTS = [
    (Lacking, ["test_it_has_every_method"]),
    (InSeconds, ["test_moments_are_whole_nanoseconds_and_never_go_back"]),
    (TurnsBack, ["test_moments_are_whole_nanoseconds_and_never_go_back", "test_a_past_deadline_does_not_turn_time_back"]),
    (
        FollowsTheDeadline,
        ["test_what_is_ready_comes_before_the_deadline", "test_a_past_deadline_does_not_turn_time_back", "test_with_a_promise_outside_it_does_not_jump"],
    ),
    (Standing, ["test_a_deadline_is_reached"]),
    (AlwaysWaits, ["test_a_past_deadline_is_not_waited_for", "test_without_a_deadline_it_waits_for_the_backend"]),
    (NeverPolls, ["test_a_past_deadline_is_not_waited_for", "test_what_is_ready_is_returned", "test_hub_descriptors_are_seen"]),
    (JumpsFirst, ["test_what_is_ready_comes_before_the_deadline"]),
    (IgnoresPromises, ["test_with_a_promise_outside_it_does_not_jump", "test_hub_a_thread_has_its_time"]),
    (SpinsOnPromises, ["test_with_a_promise_outside_it_does_not_jump"]),
    (WithoutPressure, ["test_pressure_grows_while_tasks_are_busy", "test_hub_a_busy_task_does_not_starve_timers"]),
    (FallingPressure, ["test_pressure_grows_while_tasks_are_busy"]),
    *((meddler, ["test_a_deadline_is_reached", "test_what_is_ready_is_returned"]) for meddler in (Watches, Unwatches, Wakes, Closes)),
    (Early, ["test_hub_sleeps_end_in_order_and_not_early"]),
]


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_the_contract_finds_a_fault(make, tests, monkeypatch):
    monkeypatch.setattr(_clock, "PATIENCE", 100_000_000)
    check_mutant(ClockContract, make, tests)


def test_each_test_of_the_contract_can_fail():
    assert not untried(ClockContract, MUTANTS)
