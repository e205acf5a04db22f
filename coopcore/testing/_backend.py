"""The contract of `protocols.Backend`: first the object alone, then a hub that runs on it.

How the tests allow for what a backend may do
=============================================
A report is a hint. So no test counts one report too many as an error; what they do count is *polls*: a backend that reports what nobody asked for again
and again makes the hub spin, and then a span of a few milliseconds takes thousands of polls in place of a handful. A report that never comes is
waited for `PATIENCE` long. After a report the backend may stay silent until the next `watch`, so the tests watch again before each poll that matters, as
the hub does.
"""

from __future__ import annotations

import os
import select
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic_ns

from ..protocols import ERROR, HANGUP, READABLE, WRITABLE, Backend
from ._backend_hub import BackendHubPart
from ._base import MILLISECOND, PATIENCE, SECOND, connection, drain, fill, pipe, raises, since

_A_FEW = 20  # polls that a short quiet span may take
_FLOOD = 70_000  # wakes: more than a pipe or a socket holds


def _tells(events: int, direction: int) -> bool:
    """Whether a report wakes who waits for ``direction``: errors and hang-ups wake everybody."""
    return bool(events & (direction | ERROR | HANGUP))


def _poll_for(backend: Backend, fd: int, direction: int) -> bool:
    """Watch ``fd`` and poll until it is reported for ``direction``; False if it is not in good time."""
    start = monotonic_ns()
    while (left := PATIENCE - since(start)) > 0:
        backend.watch(fd, direction)
        if any(number == fd and _tells(events, direction) for number, events in backend.poll(left)):
            return True
    return False


def _settles(backend: Backend, fd: int, direction: int) -> bool:
    """Whether a watched descriptor that is not ready comes to be unreported: one spurious report is no error, an endless row is."""
    for _ in range(_A_FEW):
        backend.watch(fd, direction)
        if not any(number == fd and _tells(events, direction) for number, events in backend.poll(0)):
            return True
    return False


def _polls_in(backend: Backend, span: int) -> int:
    """How many polls it takes to let ``span`` pass, when each is asked to wait for the rest of it."""
    start = monotonic_ns()
    polls = 0
    while (left := span - since(start)) > 0 and polls < 1000:
        backend.poll(left)
        polls += 1
    return polls


class BackendContract(BackendHubPart):
    """Subclass it, and let ``make`` return a new backend. It is closed by the tests."""

    def make(self) -> Backend:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new backend")

    @contextmanager
    def made(self) -> Iterator[Backend]:
        """A new one, closed at the end of the block."""
        backend = self.make()
        try:
            yield backend
        finally:
            backend.close()

    # -- its shape ------------------------------------------------------------------------------------------------------

    def test_it_has_every_method(self) -> None:
        with self.made() as backend:
            assert isinstance(backend, Backend), f"{backend!r} lacks a method or attribute of coopcore.protocols.Backend"
            assert isinstance(backend.edge_triggered, bool), "edge_triggered is True or False"

    def test_reports_are_pairs_of_integers_for_watched_descriptors_only(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            os.write(writer, b"x")
            backend.watch(reader, READABLE)
            backend.wake()
            reports = list(backend.poll(PATIENCE)) + list(backend.poll(0))
            assert reports, "a readable descriptor was not reported"
            for report in reports:
                assert len(report) == 2, f"a report is a pair (descriptor, events), not {report!r}"
                assert report[0] == reader, f"descriptor {report[0]!r} was reported; only {reader} was watched. Swallow your own wake-up descriptor."

    # -- watch and poll -------------------------------------------------------------------------------------------------

    def test_readable_is_reported_when_data_comes(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            assert _settles(backend, reader, READABLE), "an empty pipe is reported as readable again and again"
            os.write(writer, b"x")
            assert _poll_for(backend, reader, READABLE), "data came after watch() and was not reported"

    def test_what_was_ready_before_watch_is_reported(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            os.write(writer, b"x")
            assert _poll_for(backend, reader, READABLE), "data that came before watch() was not reported"

    def test_writable_is_reported_when_there_is_room(self) -> None:
        with self.made() as backend, connection() as (left, right):
            assert _poll_for(backend, left.fileno(), WRITABLE), "an empty send buffer was not reported as writable"
            fill(left)
            backend.unwatch(left.fileno())
            assert _settles(backend, left.fileno(), WRITABLE), "a full send buffer is reported as writable again and again"
            drain(right)
            assert _poll_for(backend, left.fileno(), WRITABLE), "room came after watch() and was not reported"

    def test_an_end_is_told_apart(self) -> None:
        with self.made() as backend, connection() as (left, right):
            if not (backend.edge_triggered and getattr(backend, "tells_end", False)):
                return
            backend.watch(left.fileno(), READABLE | WRITABLE)
            backend.poll(0)
            right.send(b"x")
            right.close()
            seen = dict(backend.poll(PATIENCE)).get(left.fileno(), 0)
            assert seen & READABLE, "data came, and the other end was closed: nothing was reported as readable"
            assert seen & ~(READABLE | WRITABLE), "a backend with tells_end sets another bit (HANGUP) when the other end was closed"

    def test_watch_is_idempotent(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            for _ in range(3):
                backend.watch(reader, READABLE)
            os.write(writer, b"x")
            reports = [number for number, _ in backend.poll(PATIENCE)]
            assert reports == [reader], f"watched three times, reported {len(reports)} times by one poll"

    def test_interest_may_grow(self) -> None:
        with self.made() as backend, connection() as (left, right):
            backend.watch(left.fileno(), READABLE)
            backend.watch(left.fileno(), READABLE | WRITABLE)
            seen = dict(backend.poll(PATIENCE)).get(left.fileno(), 0)
            assert _tells(seen, WRITABLE), "watched for reading, then for both: room to write was not reported"
            right.send(b"x")
            assert _poll_for(backend, left.fileno(), READABLE), "watched for both: data was not reported"

    def test_two_waiters_one_for_each_direction(self) -> None:
        with self.made() as backend, connection() as (left, right):
            fd = left.fileno()
            fill(left)
            backend.watch(fd, READABLE)
            backend.watch(fd, READABLE | WRITABLE)
            right.send(b"x")
            assert _poll_both(backend, fd, READABLE), "both directions are waited for, data came, and the reader was not told"
            left.recv(10)
            drain(right)
            assert _poll_both(backend, fd, WRITABLE), "both directions are waited for, room came, and the writer was not told"

    def test_what_was_left_unread_is_reported_after_a_new_watch(self) -> None:
        """Level: the next watch is enough. Edge: unwatch and watch, as the hub does for `wait_readable`."""
        with self.made() as backend, pipe() as (reader, writer):
            os.write(writer, b"xy")
            assert _poll_for(backend, reader, READABLE), "data was not reported"
            os.read(reader, 1)
            if backend.edge_triggered:
                backend.unwatch(reader)
            assert _poll_for(backend, reader, READABLE), "a byte was left unread, the descriptor watched anew, and nothing reported"

    def test_new_data_is_reported_after_the_old_was_read(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            for _ in range(3):
                os.write(writer, b"x")
                assert _poll_for(backend, reader, READABLE), "data was read to its end, new data came, and was not reported"
                os.read(reader, 100)

    def test_data_between_watch_and_poll_is_reported(self) -> None:
        """The caller saw EAGAIN, watched, and only then did the data come: nothing may be lost in between."""
        with self.made() as backend, pipe() as (reader, writer):
            backend.watch(reader, READABLE)
            backend.poll(0)
            backend.watch(reader, READABLE)
            os.write(writer, b"x")
            backend.watch(reader, READABLE)
            assert any(number == reader for number, _ in backend.poll(PATIENCE)), "data that came between watch() and poll() was lost"

    def test_unread_data_does_not_spin(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            os.write(writer, b"x")
            assert _poll_for(backend, reader, READABLE), "data was not reported"
            polls = _polls_in(backend, 20 * MILLISECOND)
            assert polls <= _A_FEW, (
                f"{polls} polls returned in 20 ms because of data that was reported already and that nobody waits for: the hub would spin. "
                f"A level-triggered backend takes a descriptor out when it has reported it, until the next watch()."
            )

    def test_hundreds_of_descriptors(self) -> None:
        with self.made() as backend, ExitStack() as stack:
            pipes = [stack.enter_context(pipe()) for _ in range(150)]
            for reader, writer in pipes:
                backend.watch(reader, READABLE)
                os.write(writer, b"x")
            start = monotonic_ns()
            missing = {reader for reader, _ in pipes}
            while missing and since(start) < PATIENCE:
                missing -= {number for number, _ in backend.poll(PATIENCE)}
            assert not missing, f"{len(missing)} of {len(pipes)} ready descriptors were not reported"

    # -- the end of a descriptor ----------------------------------------------------------------------------------------

    def test_hangup_is_told_to_a_reader(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            backend.watch(reader, READABLE)
            os.close(writer)
            assert _poll_for(backend, reader, READABLE), "the writing end was closed and the reader not told"

    def test_an_error_is_told_to_a_writer(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            with raises(BlockingIOError, "the pipe should have been full by then"):
                while True:
                    os.write(writer, bytes(65536))
            backend.watch(writer, WRITABLE)
            os.close(reader)
            assert _poll_for(backend, writer, WRITABLE), "the reading end of a full pipe was closed and the writer not told"

    def test_a_hangup_is_told_to_both_directions(self) -> None:
        with self.made() as backend, connection() as (left, right):
            fd = left.fileno()
            fill(left)
            backend.watch(fd, READABLE | WRITABLE)
            right.close()
            assert _poll_both(backend, fd, READABLE, WRITABLE), "the peer closed the connection and not both the reader and the writer were told"

    # -- unwatch --------------------------------------------------------------------------------------------------------

    def test_unwatched_is_not_reported(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            backend.watch(reader, READABLE)
            os.write(writer, b"x")
            backend.unwatch(reader)
            reports = list(backend.poll(0))
            assert not reports, f"{reports!r} was reported after unwatch()"

    def test_unwatch_is_quiet_for_what_is_unknown(self) -> None:
        with self.made() as backend, pipe() as (reader, _):
            backend.unwatch(reader)
            backend.unwatch(1_000_000)
            backend.watch(reader, READABLE)
            backend.unwatch(reader)
            backend.unwatch(reader)

    def test_unwatch_is_quiet_for_what_is_closed(self) -> None:
        with self.made() as backend, pipe() as (reader, _):
            backend.watch(reader, READABLE)
            os.close(reader)
            backend.unwatch(reader)
            self._still_works(backend)

    def test_a_descriptor_closed_while_watched_does_not_break_poll(self) -> None:
        """Nobody told the backend. It may report the number (the owner then meets EBADF itself) or be silent; it must not raise, or spin."""
        with self.made() as backend, pipe() as (reader, _), pipe() as (other, feed):
            backend.watch(reader, READABLE)
            backend.watch(other, READABLE)
            os.close(reader)
            polls = _polls_in(backend, 20 * MILLISECOND)
            assert polls <= _A_FEW, f"a watched descriptor was closed, and {polls} polls returned in 20 ms"
            os.write(feed, b"x")
            assert _poll_for(backend, other, READABLE), "a watched descriptor was closed, and another one is not reported any more"

    def test_a_number_that_was_closed_and_used_anew(self) -> None:
        with self.made() as backend, pipe() as (old, _), pipe() as (new, new_writer):
            backend.watch(old, READABLE)
            backend.poll(0)
            backend.unwatch(old)
            os.close(old)
            self._number_is_new(backend, old, new, new_writer)

    def test_a_number_used_anew_though_nobody_told(self) -> None:
        """It was closed behind our back; before the next wait the hub calls unwatch, too late for the old file, in time for the new one."""
        with self.made() as backend, pipe() as (old, _), pipe() as (new, new_writer):
            backend.watch(old, READABLE)
            backend.poll(0)
            os.close(old)
            self._number_is_new(backend, old, new, new_writer, tell_late=True)

    def _number_is_new(self, backend: Backend, number: int, new: int, new_writer: int, tell_late: bool = False) -> None:
        os.dup2(new, number)
        if tell_late:
            backend.unwatch(number)
        assert _settles(backend, number, READABLE), f"descriptor {number} names a new, empty pipe, and is reported as readable"
        os.write(new_writer, b"x")
        assert _poll_for(backend, number, READABLE), f"descriptor {number} was closed and used anew, and the new file's data is not reported"

    def test_a_duplicate_outlives_what_was_watched(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            copy = os.dup(reader)
            try:
                backend.watch(reader, READABLE)
                backend.unwatch(reader)
                os.close(reader)
                os.write(writer, b"x")
                polls = _polls_in(backend, 20 * MILLISECOND)
                assert polls <= _A_FEW, f"unwatched and closed, a duplicate is open: {polls} polls returned in 20 ms"
                assert _poll_for(backend, copy, READABLE), "the duplicate has data and was not reported"
            finally:
                os.close(copy)

    def test_a_duplicate_outlives_what_was_closed_while_watched(self) -> None:
        """On epoll the old registration lives on and can't be removed any more: its reports must not make the hub spin."""
        with self.made() as backend, pipe() as (reader, writer):
            copy = os.dup(reader)
            try:
                backend.watch(reader, READABLE)
                os.close(reader)
                backend.unwatch(reader)
                os.write(writer, b"x")
                polls = _polls_in(backend, 20 * MILLISECOND)
                assert polls <= _A_FEW, f"closed while watched, a duplicate is open: {polls} polls returned in 20 ms"
                assert _poll_for(backend, copy, READABLE), "the duplicate has data and was not reported"
            finally:
                os.close(copy)

    # -- what cannot be watched -----------------------------------------------------------------------------------------

    def test_a_regular_file_is_refused_or_ready(self) -> None:
        with self.made() as backend, tempfile.TemporaryFile() as file:
            try:
                backend.watch(file.fileno(), READABLE)
            except PermissionError:
                self._still_works(backend)
                return
            assert _poll_for(backend, file.fileno(), READABLE), "a regular file was neither refused with PermissionError nor reported as ready"

    def test_a_closed_descriptor_is_refused(self) -> None:
        with self.made() as backend, pipe() as (reader, _):
            os.close(reader)
            with raises((OSError, ValueError), f"watch() of descriptor {reader}, which is closed") as caught:
                backend.watch(reader, READABLE)
            assert not isinstance(caught[0], PermissionError), "PermissionError says that a descriptor is always ready; a closed one is not"
            self._still_works(backend)

    def test_a_negative_descriptor_is_refused(self) -> None:
        with self.made() as backend:
            with raises((OSError, ValueError), "watch(-1)"):
                backend.watch(-1, READABLE)
            self._still_works(backend)

    def _still_works(self, backend: Backend) -> None:
        with pipe() as (reader, writer):
            os.write(writer, b"x")
            assert _poll_for(backend, reader, READABLE), "the backend reports nothing any more"
            backend.unwatch(reader)

    # -- time -----------------------------------------------------------------------------------------------------------

    def test_poll_with_zero_does_not_wait(self) -> None:
        with self.made() as backend, pipe() as (reader, _):
            backend.watch(reader, READABLE)
            start = monotonic_ns()
            for _ in range(20):
                backend.poll(0)
            assert since(start) < PATIENCE // 2, "poll(0) waited"

    def test_a_timeout_is_waited_out_and_not_more(self) -> None:
        with self.made() as backend, pipe() as (reader, _):
            backend.watch(reader, READABLE)
            for span in (20 * MILLISECOND, 3 * MILLISECOND + 400_000, 300_000):
                start = monotonic_ns()
                polls = _polls_in(backend, span)
                assert polls <= _A_FEW, f"poll({span}) returns early: {polls} polls were needed. Round timeouts up, never down."
                assert since(start) < span + PATIENCE // 2, f"poll({span}) took {since(start)} ns: timeouts are nanoseconds"

    def test_a_timeout_of_years(self) -> None:
        with self.made() as backend:
            backend.wake()
            backend.poll(100 * 365 * 86400 * SECOND)  # it must not overflow

    # -- wake -----------------------------------------------------------------------------------------------------------

    def test_a_wake_before_poll_makes_it_return(self) -> None:
        with self.made() as backend:
            backend.wake()
            start = monotonic_ns()
            backend.poll(PATIENCE)
            assert since(start) < PATIENCE // 2, "wake() came before poll(), which waited all the same"

    def test_a_wake_from_a_thread_makes_poll_return(self) -> None:
        with self.made() as backend, _woken_by_thread(backend):
            start = monotonic_ns()
            backend.poll(PATIENCE)
            assert since(start) < PATIENCE // 2, "a thread called wake() during poll(), which went on waiting"

    def test_a_wake_ends_a_poll_without_timeout(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            backend.watch(reader, READABLE)
            with _woken_by_thread(backend, backstop=writer):
                reports = backend.poll(None)
                assert not list(reports), "a thread called wake() during poll(None), which went on waiting"

    def test_a_wake_is_swallowed(self) -> None:
        with self.made() as backend:
            for _ in range(3):
                backend.wake()
            reports = list(backend.poll(PATIENCE))
            assert not reports, f"wake() showed as {reports!r}; a backend swallows its own wake"
            polls = _polls_in(backend, 20 * MILLISECOND)
            assert polls <= _A_FEW, f"after a wake that was answered, {polls} polls returned in 20 ms: it is still there"

    def test_a_flood_of_wakes_does_not_block(self) -> None:
        with self.made() as backend:
            wakes: list[None] = []

            def wake_often() -> None:
                for _ in range(_FLOOD):
                    backend.wake()
                    wakes.append(None)

            flood = threading.Thread(target=wake_often, daemon=True)
            flood.start()
            before = -1
            while flood.is_alive() and len(wakes) > before:  # as long as it gets on, however slowly
                before = len(wakes)
                flood.join(PATIENCE / SECOND)
            stuck = flood.is_alive()
            backend.poll(0)
            assert not stuck, "wake() blocks when nobody polls: its pipe or socket is full. Make it non-blocking and ignore BlockingIOError."

    # -- nesting and closing --------------------------------------------------------------------------------------------

    def test_fileno_nests_in_another_poll(self) -> None:
        with self.made() as backend, pipe() as (reader, writer):
            number = backend.fileno()
            if number is None:
                return
            backend.watch(reader, READABLE)
            backend.poll(0)
            backend.watch(reader, READABLE)
            assert not _readable(number, 0), "nothing is ready, but fileno() is readable"
            os.write(writer, b"x")
            assert _readable(number, PATIENCE), "something is ready, but fileno() is not readable"
            backend.poll(0)
            backend.unwatch(reader)
            backend.poll(0)
            backend.wake()
            assert _readable(number, PATIENCE), "wake() does not make fileno() readable"

    def test_close_is_idempotent_and_leaves_descriptors_open(self) -> None:
        with pipe() as (reader, writer):
            backend = self.make()
            backend.watch(reader, READABLE)
            backend.close()
            backend.close()
            os.write(writer, b"x")
            assert os.read(reader, 1) == b"x", "a watched descriptor was closed with the backend"

    def test_a_wake_after_close_is_quiet(self) -> None:
        """A thread may be late. It must not get an error, and must not write into a descriptor that has our old number now."""
        backend = self.make()
        backend.close()
        with ExitStack() as stack:
            pipes = [stack.enter_context(pipe()) for _ in range(8)]
            connections = [stack.enter_context(connection()) for _ in range(4)]
            backend.wake()
            hit = [fd for fd in [reader for reader, _ in pipes] + [sock.fileno() for pair in connections for sock in pair] if _readable(fd, 0)]
            assert not hit, "wake() after close() wrote into a descriptor of somebody else"

    def test_close_releases_its_descriptors(self) -> None:
        before = _open_descriptors()
        for _ in range(3):
            self.make().close()
        assert _open_descriptors() <= before, "close() left descriptors open"


def _poll_both(backend: Backend, fd: int, *directions: int) -> bool:
    """As `_poll_for`, while both directions are waited for: True when each of ``directions`` was told."""
    start = monotonic_ns()
    missing = set(directions)
    while missing and (left := PATIENCE - since(start)) > 0:
        backend.watch(fd, READABLE | WRITABLE)
        missing -= {way for number, events in backend.poll(left) if number == fd for way in directions if _tells(events, way)}
    return not missing


def _readable(fd: int, patience: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(patience // MILLISECOND))


def _open_descriptors() -> int:
    for directory in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(directory):
            return len(os.listdir(directory))
    return 0


@contextmanager
def _woken_by_thread(backend: Backend, backstop: int | None = None) -> Iterator[None]:
    """A thread calls ``wake`` soon; if that did not help, it writes to ``backstop`` so that the poll ends."""
    ended = threading.Event()

    def wake() -> None:
        ended.wait(0.01)
        backend.wake()
        if backstop is not None and not ended.wait(PATIENCE / SECOND / 2):
            os.write(backstop, b"x")

    thread = threading.Thread(target=wake, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE / SECOND)
