"""The second half of the backend's contract: what tasks see of it, through a hub that runs on it."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic_ns
from typing import TypeVar

import coopcore

from ..errors import BusyResourceError, ClosedResourceError, Deadlock
from ..lowlevel import READABLE, ParkingLot, current_hub, current_task, notify_closing, promise, wait_readable, wait_writable
from ..protocols import Backend, Ready
from ._base import PATIENCE, SECOND, connection, drain, fill, pipe, raises, since

T = TypeVar("T")

_LIMIT = PATIENCE / SECOND
_A_FEW = 20


class _Counting:
    """A backend around another that counts its polls."""

    def __init__(self, inner: Backend) -> None:
        self.edge_triggered = inner.edge_triggered
        self.polls = 0
        self._poll = inner.poll
        self.watch = inner.watch
        self.unwatch = inner.unwatch
        self.wake = inner.wake
        self.fileno = inner.fileno
        self.close = inner.close

    def poll(self, timeout: int | None) -> Sequence[Ready]:
        self.polls += 1
        return self._poll(timeout)


class BackendHubPart:
    """The tests of a backend that need a hub. A part of `BackendContract`."""

    def make(self) -> Backend:
        raise NotImplementedError

    def _run(self, main: Callable[[], T]) -> T:
        return coopcore.run(main, backend=self.make())

    # -- waiting --------------------------------------------------------------------------------------------------------

    def test_hub_wait_readable_has_level_semantics(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                os.write(writer, b"abc")
                for left in (3, 2, 1):
                    assert wait_readable(reader, _LIMIT), f"{left} bytes are left unread, and wait_readable() did not return"
                    os.read(reader, 1)
                assert not wait_readable(reader, 0.01), "everything was read, and wait_readable() returned all the same"

        self._run(main)

    def test_hub_wait_readable_tells_again_what_was_not_touched(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                os.write(writer, b"a")
                for _ in range(3):
                    assert wait_readable(reader, _LIMIT), "nothing was read since the last report, and wait_readable() did not return"

        self._run(main)

    def test_hub_wait_writable_has_level_semantics(self) -> None:
        def main() -> None:
            with connection() as (left, right):
                for _ in range(3):
                    assert wait_writable(left.fileno(), _LIMIT), "there is room, and wait_writable() did not return"
                fill(left)
                coopcore.spawn(drain, right)
                assert wait_writable(left.fileno(), _LIMIT), "room came, and wait_writable() did not return"

        self._run(main)

    def test_hub_waits_by_edges_after_eagain(self) -> None:
        """What ``coop_plugins.socket`` does: try first, wait only after EAGAIN."""

        def main() -> None:
            with pipe() as (reader, writer):
                hub = current_hub()
                hub.forget_fd(reader)
                for turn in range(5):
                    with raises(BlockingIOError, "the pipe is empty"):
                        os.read(reader, 100)
                    coopcore.spawn(os.write, writer, b"x")
                    assert hub.wait_fd(reader, READABLE, _LIMIT, edge=True), f"turn {turn}: data came after EAGAIN, and the wait did not end"
                    os.read(reader, 100)

        self._run(main)

    def test_hub_loses_nothing_between_eagain_and_the_wait(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                hub = current_hub()
                for turn in range(5):
                    hub.wait_fd(reader, READABLE, 0, edge=True)
                    with raises(BlockingIOError, "the pipe is empty"):
                        os.read(reader, 100)
                    os.write(writer, b"x")
                    assert hub.wait_fd(reader, READABLE, _LIMIT, edge=True), f"turn {turn}: data came between EAGAIN and the wait, and was lost"
                    os.read(reader, 100)

        self._run(main)

    def test_hub_reader_and_writer_wait_together(self) -> None:
        def main() -> None:
            with connection() as (left, right):
                fill(left)
                waiters = {"reader": coopcore.spawn(wait_readable, left.fileno(), _LIMIT), "writer": coopcore.spawn(wait_writable, left.fileno(), _LIMIT)}
                coopcore.sleep(0)
                right.send(b"x")
                assert waiters["reader"].get(), "a reader and a writer wait; data came, and the reader was not woken"
                drain(right)
                assert waiters["writer"].get(), "a reader and a writer waited; the reader was woken, room came, and the writer was not"

        self._run(main)

    def test_hub_refuses_a_second_reader(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                first = coopcore.spawn(wait_readable, reader, _LIMIT)
                coopcore.sleep(0)
                with raises(BusyResourceError, "two tasks waited to read one descriptor"):
                    wait_readable(reader, _LIMIT)
                os.write(writer, b"x")
                assert first.get(), "the second reader was refused, and the first one lost its wake"

        self._run(main)

    def test_hub_wakes_many(self) -> None:
        def main() -> None:
            with ExitStack() as stack:
                pipes = [stack.enter_context(pipe()) for _ in range(100)]
                waiters = [coopcore.spawn(wait_readable, reader, _LIMIT) for reader, _ in pipes]
                coopcore.sleep(0)
                for _, writer in pipes:
                    os.write(writer, b"x")
                assert all(waiter.get() for waiter in waiters), "100 tasks waited at 100 descriptors, data came, and not all were woken"

        self._run(main)

    # -- how a wait ends otherwise --------------------------------------------------------------------------------------

    def test_hub_timeout_leaves_no_trace(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                for _ in range(2):
                    assert not wait_readable(reader, 0.005), "nothing came, and wait_readable() returned True"
                os.write(writer, b"x")
                assert wait_readable(reader, _LIMIT), "after a wait that timed out, data came and was not reported"

        self._run(main)

    def test_hub_kill_leaves_no_trace(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                victim = coopcore.spawn(wait_readable, reader, _LIMIT)
                coopcore.sleep(0)
                victim.kill()
                heir = coopcore.spawn(wait_readable, reader, _LIMIT)
                coopcore.sleep(0)
                os.write(writer, b"x")
                assert heir.get(), "a waiting task was killed, and the next one to wait there was not woken"

        self._run(main)

    def test_hub_closing_wakes_who_waits(self) -> None:
        def main() -> None:
            with pipe() as (reader, _):
                waiter = coopcore.spawn(wait_readable, reader, _LIMIT)
                coopcore.sleep(0)
                notify_closing(reader)
                os.close(reader)
                with raises(ClosedResourceError, "the descriptor was closed while a task waited") as caught:
                    waiter.get()
                assert getattr(caught[0], "errno", None) == errno.EBADF, "the error's errno is EBADF"

        self._run(main)

    def test_hub_a_number_used_anew(self) -> None:
        def main() -> None:
            with pipe() as (old, _), pipe() as (new, writer):
                waiter = coopcore.spawn(wait_readable, old, _LIMIT)
                coopcore.sleep(0)
                notify_closing(old)
                os.close(old)
                os.dup2(new, old)
                with raises(ClosedResourceError, "the descriptor was closed while a task waited"):
                    waiter.get()
                assert not wait_readable(old, 0.005), "the number names a new, empty pipe now, and was reported as readable"
                os.write(writer, b"x")
                assert wait_readable(old, _LIMIT), "the number names a new pipe now, data came, and was not reported"

        self._run(main)

    def test_hub_hangup_wakes_a_reader(self) -> None:
        def main() -> None:
            with connection() as (left, right):
                waiter = coopcore.spawn(wait_readable, left.fileno(), _LIMIT)
                coopcore.sleep(0)
                right.close()
                assert waiter.get(), "the peer closed the connection and the reader was not woken"

        self._run(main)

    def test_hub_an_error_wakes_a_writer(self) -> None:
        def main() -> None:
            with connection() as (left, right):
                fill(left)
                waiter = coopcore.spawn(wait_writable, left.fileno(), _LIMIT)
                coopcore.sleep(0)
                right.close()
                assert waiter.get(), "the peer closed the connection and the writer was not woken"

        self._run(main)

    def test_hub_a_closed_descriptor_is_an_error(self) -> None:
        def main() -> None:
            with pipe() as (reader, _):
                os.close(reader)
                for _ in range(2):
                    with raises((OSError, ValueError), "a wait at a closed descriptor"):
                        wait_readable(reader, _LIMIT)
            assert coopcore.spawn(lambda: "alive").get() == "alive"

        self._run(main)

    def test_hub_a_regular_file_is_always_ready(self) -> None:
        def main() -> None:
            with tempfile.TemporaryFile() as file:
                for _ in range(3):
                    assert wait_readable(file.fileno(), _LIMIT), "a regular file is always readable"
                    assert wait_writable(file.fileno(), _LIMIT), "a regular file is always writable"

        self._run(main)

    # -- the whole ------------------------------------------------------------------------------------------------------

    def test_hub_unread_data_does_not_spin(self) -> None:
        backend = _Counting(self.make())

        def main() -> int:
            with pipe() as (reader, writer), pipe() as (other, _):
                os.write(writer, b"x")
                assert wait_readable(reader, _LIMIT)
                idler = coopcore.spawn(wait_readable, other, _LIMIT)
                coopcore.sleep(0)
                before = backend.polls
                coopcore.sleep(0.02)
                polls = backend.polls - before
                idler.kill()
                return polls

        polls = coopcore.run(main, backend=backend)
        assert polls <= _A_FEW, f"data was reported and left unread; while everybody slept for 20 ms the hub polled {polls} times"

    def test_hub_a_busy_task_does_not_starve_descriptors(self) -> None:
        def main() -> None:
            with pipe() as (reader, writer):
                os.write(writer, b"x")
                waiter = coopcore.spawn(wait_readable, reader, _LIMIT)
                start = monotonic_ns()
                while not waiter.dead and since(start) < PATIENCE:
                    coopcore.sleep(0)
                assert waiter.value, "a task that always yields kept a reader from being woken"

        self._run(main)

    def test_hub_timers_fire_while_descriptors_are_watched(self) -> None:
        def main() -> None:
            with pipe() as (reader, _):
                idler = coopcore.spawn(wait_readable, reader, _LIMIT)
                start = monotonic_ns()
                coopcore.sleep(0.01)
                assert 10_000_000 <= since(start) < PATIENCE, f"sleep(0.01) took {since(start)} ns"
                idler.kill()

        self._run(main)

    def test_hub_a_call_from_a_thread_wakes_the_hub(self) -> None:
        def main() -> None:
            lot = ParkingLot("a call from a thread")
            hub = current_task().hub

            def work() -> None:
                time.sleep(0.01)  # so that the hub is asleep by then
                hub.call_soon_threadsafe(lot.unpark)

            for _ in range(3):
                with promise("a thread"):
                    thread = threading.Thread(target=work)
                    thread.start()
                    woken = lot.park(_LIMIT)
                    thread.join()
                    assert woken, "call_soon_threadsafe() from a thread did not end the hub's poll"

        self._run(main)

    def test_hub_an_idle_connection_hides_no_deadlock(self) -> None:
        def main() -> None:
            with connection() as (left, right):
                right.send(b"x")
                assert wait_readable(left.fileno(), _LIMIT)
                with raises(Deadlock, "nobody waits at a descriptor, and nothing can wake this task"):
                    ParkingLot("nothing").park()

        self._run(main)
