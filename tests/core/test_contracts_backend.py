"""The backend's contract: the second implementation keeps it, and each of its tests finds a fault."""

from __future__ import annotations

import errno
import os
import time

import pytest

from coop_plugins.backends.selectors import SelectorsBackend
from coopcore.lowlevel import ERROR, HANGUP, READABLE, WRITABLE
from coopcore.testing import BackendContract, _backend, _backend_hub, _base, failures

from .seams.backend import PollBackend
from .seams.mutants import check_mutant, untried


class TestPollBackend(BackendContract):
    def make(self):
        return PollBackend()


Lacking = type("Lacking", (), {name: value for name, value in vars(PollBackend).items() if name not in ("fileno", "__dict__", "__weakref__")})


class TellsItsWake(PollBackend):
    def wake(self):
        self._told = True
        super().wake()

    def poll(self, timeout):
        reports = super().poll(timeout)
        told, self._told = getattr(self, "_told", False), False
        return [*reports, *([(self._wake_in, READABLE)] if told else [])]


class Deaf(PollBackend):
    """Never tells that anything can be read."""

    def translate(self, mask):
        return super().translate(mask) & WRITABLE


class Mute(PollBackend):
    """Never tells that anything can be written."""

    def translate(self, mask):
        return super().translate(mask) & READABLE


class Doubling(PollBackend):
    def poll(self, timeout):
        return [report for report in super().poll(timeout) for _ in range(2)]


class Hasty(PollBackend):
    """Tells of whatever is watched."""

    def __init__(self):
        super().__init__()
        self._watched = {}

    def watch(self, fd, events):
        super().watch(fd, events)
        self._watched[fd] = events

    def poll(self, timeout):
        super().poll(0)
        return list(self._watched.items())


class FirstInterestOnly(PollBackend):
    """Takes the first watch for all that will ever be asked."""

    def watch(self, fd, events):
        if fd not in self._armed:
            super().watch(fd, events)


class OneDirection(PollBackend):
    def watch(self, fd, events):
        super().watch(fd, READABLE if events & READABLE else WRITABLE)


class OtherDirection(PollBackend):
    def watch(self, fd, events):
        super().watch(fd, WRITABLE if events & WRITABLE else READABLE)


class Sulky(PollBackend):
    """Tells of a descriptor once, and calls itself level-triggered."""

    def __init__(self):
        super().__init__()
        self._told = set()

    def poll(self, timeout):
        reports = [(fd, events) for fd, events in super().poll(timeout) if fd not in self._told]
        self._told.update(fd for fd, _ in reports)
        return reports


class Forgetful(PollBackend):
    """Each second watch of a descriptor forgets what was asked."""

    def watch(self, fd, events):
        if fd in self._armed:
            super().watch(fd, 0)
        else:
            super().watch(fd, events)


class Spinning(PollBackend):
    """Goes on telling of what it told."""

    def poll(self, timeout):
        reports = super().poll(timeout)
        for fd, events in reports:
            self.watch(fd, events & (READABLE | WRITABLE))
        return reports


class Small(PollBackend):
    def watch(self, fd, events):
        if len(self._armed) < 50:
            super().watch(fd, events)


class Polite(PollBackend):
    """Leaves errors and hang-ups out."""

    def translate(self, mask):
        return 0 if super().translate(mask) & (ERROR | HANGUP) else super().translate(mask)


class Clinging(PollBackend):
    """Keeps what was unwatched."""

    def unwatch(self, fd):
        pass


class SilentAboutTheEnd(PollBackend):
    edge_triggered = True
    tells_end = True

    def translate(self, mask):
        return super().translate(mask) & (READABLE | WRITABLE)


class StrictAboutUnknown(PollBackend):
    def unwatch(self, fd):
        if fd not in self._armed:
            raise KeyError(fd)
        super().unwatch(fd)


class StrictAboutClosed(PollBackend):
    def unwatch(self, fd):
        os.fstat(fd)
        super().unwatch(fd)


class ShockedByClosed(PollBackend):
    def translate(self, mask):
        if super().translate(mask) & ERROR:
            raise OSError("something was closed")
        return super().translate(mask)


class ByFile(PollBackend):
    """Watches the file and not the number: what epoll does when nobody is careful."""

    def __init__(self):
        super().__init__()
        self._copies = {}

    def watch(self, fd, events):
        if fd not in self._copies:
            os.fstat(fd)
            self._copies[fd] = os.dup(fd)
        super().watch(self._copies[fd], events)

    def poll(self, timeout):
        numbers = {copy: fd for fd, copy in self._copies.items()}
        return [(numbers[copy], events) for copy, events in super().poll(timeout)]

    def close(self):
        for copy in self._copies.values():
            os.close(copy)
        self._copies.clear()
        super().close()


class ByFileSpinning(ByFile):
    def poll(self, timeout):
        reports = super().poll(timeout)
        for fd, events in reports:
            PollBackend.watch(self, self._copies[fd], events & (READABLE | WRITABLE))
        return []


class AgainstFiles(PollBackend):
    def watch(self, fd, events):
        if os.path.isfile(f"/proc/self/fd/{fd}") or os.fstat(fd).st_nlink == 0:
            raise OSError("cannot poll this")
        super().watch(fd, events)


class AlwaysPermitting(PollBackend):
    def watch(self, fd, events):
        try:
            super().watch(fd, events)
        except OSError:
            raise PermissionError from None


class TakesAnything(PollBackend):
    def watch(self, fd, events):
        try:
            super().watch(fd, events)
        except OSError:
            pass


class NeverShort(PollBackend):
    def poll(self, timeout):
        if timeout == 0:
            time.sleep(0.005)
        return super().poll(timeout)


class RoundsDown(PollBackend):
    def poll(self, timeout):
        return super().poll(timeout if timeout is None else timeout - timeout % 25_000_000)


class Slow(PollBackend):
    def poll(self, timeout):
        reports = super().poll(timeout)
        if timeout:
            time.sleep(0.05)
        return reports


class Overflows(PollBackend):
    def poll(self, timeout):
        if timeout is not None and timeout > 1 << 60:
            raise OverflowError
        return super().poll(timeout)


class WakesTheSleepingOnly(PollBackend):
    def poll(self, timeout):
        self.swallow_wake()
        return super().poll(timeout)


class NeverWakes(PollBackend):
    def wake(self):
        pass


class StaysAwake(PollBackend):
    def swallow_wake(self):
        pass


class BlockingWake(PollBackend):
    def __init__(self):
        super().__init__()
        os.set_blocking(self._wake_out, True)

    def wake(self):
        try:
            super().wake()
        except OSError:
            pass  # the test has closed it under the feet of the thread that is stuck here


class WrongFileno(PollBackend):
    def fileno(self):
        return self._wake_out if self._wake_out >= 0 else None


class UnwakableFileno(PollBackend):
    """A descriptor that is never readable."""

    def fileno(self):
        return self._wake_in

    def wake(self):
        pass


class ClosesOnce(PollBackend):
    def close(self):
        os.close(self._wake_in)
        os.close(self._wake_out)


class ClosesAll(PollBackend):
    def close(self):
        for fd in self._armed:
            os.close(fd)
        self._armed.clear()
        super().close()


class LateWake(PollBackend):
    def close(self):
        out = self._wake_out
        super().close()
        self._late = out

    def wake(self):
        if self._wake_out < 0:
            os.write(self._late, b"\0")
        super().wake()


class Leaking(PollBackend):
    def __init__(self):
        super().__init__()
        self.leaked = os.dup(self._wake_in)
        LEAKED.append(self.leaked)


LEAKED = []


MUTANTS = [
    (Lacking, ["test_it_has_every_method", "test_fileno_nests_in_another_poll"]),
    (TellsItsWake, ["test_reports_are_pairs_of_integers_for_watched_descriptors_only", "test_a_wake_is_swallowed", "test_a_wake_ends_a_poll_without_timeout"]),
    (
        Deaf,
        [
            "test_readable_is_reported_when_data_comes",
            "test_what_was_ready_before_watch_is_reported",
            "test_what_was_left_unread_is_reported_after_a_new_watch",
            "test_new_data_is_reported_after_the_old_was_read",
            "test_unread_data_does_not_spin",
            "test_hangup_is_told_to_a_reader",
        ],
    ),
    (
        Deaf,
        [
            "test_hub_wait_readable_has_level_semantics",
            "test_hub_reader_and_writer_wait_together",
            "test_hub_refuses_a_second_reader",
            "test_hub_wakes_many",
            "test_hub_timeout_leaves_no_trace",
            "test_hub_kill_leaves_no_trace",
            "test_hub_hangup_wakes_a_reader",
            "test_hub_a_busy_task_does_not_starve_descriptors",
            "test_hub_an_idle_connection_hides_no_deadlock",
            "test_hub_waits_by_edges_after_eagain",
        ],
    ),
    (
        Mute,
        [
            "test_writable_is_reported_when_there_is_room",
            "test_an_error_is_told_to_a_writer",
            "test_hub_wait_writable_has_level_semantics",
            "test_hub_an_error_wakes_a_writer",
        ],
    ),
    (Doubling, ["test_watch_is_idempotent"]),
    (
        Hasty,
        [
            "test_readable_is_reported_when_data_comes",
            "test_writable_is_reported_when_there_is_room",
            "test_unwatched_is_not_reported",
            "test_hub_unread_data_does_not_spin",
        ],
    ),
    (FirstInterestOnly, ["test_interest_may_grow"]),
    (OneDirection, ["test_two_waiters_one_for_each_direction"]),
    (OtherDirection, ["test_two_waiters_one_for_each_direction"]),
    (Sulky, ["test_what_was_left_unread_is_reported_after_a_new_watch", "test_hub_wait_readable_tells_again_what_was_not_touched"]),
    (Forgetful, ["test_data_between_watch_and_poll_is_reported"]),
    (Sulky, ["test_hub_loses_nothing_between_eagain_and_the_wait"]),
    (Spinning, ["test_unread_data_does_not_spin", "test_hub_unread_data_does_not_spin"]),
    (Small, ["test_hundreds_of_descriptors", "test_hub_wakes_many"]),
    (Polite, ["test_hangup_is_told_to_a_reader", "test_an_error_is_told_to_a_writer", "test_a_hangup_is_told_to_both_directions"]),
    (Clinging, ["test_unwatched_is_not_reported"]),
    (SilentAboutTheEnd, ["test_an_end_is_told_apart"]),
    (StrictAboutUnknown, ["test_unwatch_is_quiet_for_what_is_unknown"]),
    (StrictAboutClosed, ["test_unwatch_is_quiet_for_what_is_closed"]),
    (ShockedByClosed, ["test_a_descriptor_closed_while_watched_does_not_break_poll"]),
    (ByFile, ["test_a_number_that_was_closed_and_used_anew", "test_a_number_used_anew_though_nobody_told", "test_hub_a_number_used_anew"]),
    (ByFileSpinning, ["test_a_duplicate_outlives_what_was_watched", "test_a_duplicate_outlives_what_was_closed_while_watched"]),
    (AgainstFiles, ["test_a_regular_file_is_refused_or_ready", "test_hub_a_regular_file_is_always_ready"]),
    (AlwaysPermitting, ["test_a_closed_descriptor_is_refused", "test_hub_a_closed_descriptor_is_an_error"]),
    (TakesAnything, ["test_a_closed_descriptor_is_refused", "test_a_negative_descriptor_is_refused"]),
    (NeverShort, ["test_poll_with_zero_does_not_wait"]),
    (RoundsDown, ["test_a_timeout_is_waited_out_and_not_more"]),
    (Slow, ["test_a_timeout_is_waited_out_and_not_more"]),
    (Slow, ["test_hub_timers_fire_while_descriptors_are_watched"]),
    (Overflows, ["test_a_timeout_of_years"]),
    (WakesTheSleepingOnly, ["test_a_wake_before_poll_makes_it_return"]),
    (NeverWakes, ["test_a_wake_from_a_thread_makes_poll_return", "test_a_wake_ends_a_poll_without_timeout", "test_hub_a_call_from_a_thread_wakes_the_hub"]),
    (StaysAwake, ["test_a_wake_is_swallowed"]),
    (BlockingWake, ["test_a_flood_of_wakes_does_not_block"]),
    (WrongFileno, ["test_fileno_nests_in_another_poll"]),
    (UnwakableFileno, ["test_fileno_nests_in_another_poll"]),
    (ClosesOnce, ["test_close_is_idempotent_and_leaves_descriptors_open"]),
    (ClosesAll, ["test_close_is_idempotent_and_leaves_descriptors_open"]),
    (LateWake, ["test_a_wake_after_close_is_quiet"]),
    (Leaking, ["test_close_releases_its_descriptors"]),
    (StrictAboutUnknown, ["test_hub_closing_wakes_who_waits"]),
]


@pytest.fixture
def little_patience(monkeypatch):
    """What never comes is waited for less long than a user's backend would be given."""
    monkeypatch.setattr(_backend, "PATIENCE", 30_000_000)
    monkeypatch.setattr(_backend_hub, "PATIENCE", 30_000_000)
    monkeypatch.setattr(_backend_hub, "_LIMIT", 0.03)


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_the_contract_finds_a_fault(make, tests, little_patience):
    try:
        check_mutant(BackendContract, make, tests)
    finally:
        while LEAKED:
            os.close(LEAKED.pop())


def test_each_test_of_the_contract_can_fail():
    assert not untried(BackendContract, MUTANTS)


# -- where there is less than on Linux --------------------------------------------------------------------------------------------------


def test_the_contract_needs_neither_pipe2_nor_a_list_of_open_descriptors(monkeypatch):
    monkeypatch.delattr(os, "pipe2", raising=False)
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    case = type("Case", (BackendContract,), {"make": lambda self: SelectorsBackend()})
    tests = {"test_close_releases_its_descriptors", "test_hub_wait_readable_has_level_semantics"}
    assert not failures(case, only=lambda name: name in tests)


def test_a_pipe_of_the_contracts_is_non_blocking_without_pipe2_too(monkeypatch):
    monkeypatch.delattr(os, "pipe2", raising=False)
    with _base.pipe() as ends:
        assert [(os.get_blocking(fd), os.get_inheritable(fd)) for fd in ends] == [(False, False)] * 2


def test_only_a_descriptor_that_is_closed_already_is_closed_quietly(monkeypatch):
    _base.close_quietly(-1)

    def broken(fd):
        raise OSError(errno.EIO, "on purpose")

    monkeypatch.setattr(os, "close", broken)
    with pytest.raises(OSError, match="on purpose"):
        _base.close_quietly(-1)
