"""A graceful end: the first Ctrl-C or SIGTERM unwinds the program, within a time; whoever has not ended by then is named.

Theory
======
The signal is an exception in the main task, KeyboardInterrupt or SystemExit, raised where a user's code of that task was interrupted, else at its wait. The
others go on, so that the main task, as it unwinds, may let them finish. When it has left the block, or half of the time is over, they are killed, so that
each ``finally`` runs, and may wait. A second signal, or the end of the time, ends the process.

The time is kept by a thread, for a task that computes, or a call that blocks, keeps the hub from everything, and is the one to be named.

Invariants
==========
1. After the first signal the main task unwinds first; then every other task is killed, and each ``finally`` of all of them runs, waits included.
2. The process does not outlive the time by more than its last words, whatever its tasks do, and ends with 128 and the signal's number.
3. Whoever is still there at that moment is named, with where it stands and what it waits for.
4. A block without a signal changes nothing: the handlers are put back, no task is touched, no thread is left.
"""

from __future__ import annotations

import os
import signal as _stdlib
import sys
import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

from coopcore import Hub, Task, TaskExit, joinall
from coopcore.lowlevel import (
    Alarm,
    check_seconds,
    current_hub,
    current_task,
    hide_frames,
    interrupted_hub,
    on_hub,
    running_task,
    shielded,
    stands_at,
    throw_in,
)

_LOOK_AGAIN = 0.1  # seconds between looks for tasks that others start as they end


class graceful_exit:  # noqa: N801 - a verb to its users: with graceful_exit():
    """``with graceful_exit(timeout):`` at the first of ``signals`` unwind the main task, then kill the others, and wait for each ``finally``.

    The main task gets KeyboardInterrupt for SIGINT, else ``SystemExit(128 + signum)``. After ``timeout`` seconds, or at a second signal, tasks that have not
    ended are named on stderr, and the process ends at once with ``128 + signum``. Use it in the main task, or around `run`. Raises ValueError outside of
    the main thread.
    """

    def __init__(self, timeout: float = 5.0, signals: Iterable[int] = (_stdlib.SIGINT, _stdlib.SIGTERM)) -> None:
        span = check_seconds(timeout, "the time for a graceful exit")
        if span is None or span < 0:
            raise ValueError(f"the time for a graceful exit is a number of seconds, 0 or more, not {timeout!r}: no task may hold up the process for ever.")
        self.timeout = span
        self.signum: int | None = None
        """The signal that has come; None before that."""
        self._signals = tuple(signals)
        self._before: dict[int, Any] = {}
        self._hub: Hub | None = None
        self._half: Alarm | None = None
        self._killed: set[int] = set()
        self._left = allocate_lock()

    def __enter__(self) -> graceful_exit:
        self._left.acquire()
        try:
            for signum in self._signals:
                self._before[signum] = _stdlib.signal(signum, self._handle)
        except BaseException:
            self._put_back()
            self._left.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if self.signum is not None and running_task() is not None:
                with shielded():
                    self._unwind_others(current_task())
        finally:
            self._put_back()
            self._left.release()

    def cancel(self) -> None:
        """Put the handlers back now, before the block is left. Does nothing the second time. Only in the main thread."""
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            signum, before = self._before.popitem()
            _stdlib.signal(signum, _stdlib.SIG_DFL if before is None else before)

    # -- the first signal -------------------------------------------------------------------------------------------------

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            self._end(f"a second signal came, {_stdlib.Signals(signum).name}", signum)
        self.signum = signum
        hub = interrupted_hub(frame)
        task = running_task()
        if hub is None and (task is not None or on_hub()):
            hub = current_hub()
        self._hub = hub
        start_new_thread(self._watch, ())
        error = KeyboardInterrupt() if signum == _stdlib.SIGINT else SystemExit(128 + signum)
        if hub is None:
            raise error
        hub.call_soon_threadsafe(self._set_half)
        if task is hub.main and interrupted_hub(frame) is None:
            raise error
        hub.call_soon_threadsafe(hub.interrupt_main, error)

    def _set_half(self) -> None:
        hub = current_hub()
        self._half = Alarm(hub, hub.clock.now() + int(self.timeout / 2 * 1e9), self._kill_others, hub, hub.main)

    def _kill_others(self, hub: Hub, main: Task[Any]) -> None:
        for task in hub.tasks():
            if task is not main and task.ident not in self._killed:
                self._killed.add(task.ident)
                throw_in(task, TaskExit("the program is being ended by a signal"))

    def _unwind_others(self, me: Task[Any]) -> None:
        """Kill all tasks but this one, and those that they start as they end. The watch bounds it."""
        if self._half is not None:
            self._half.cancel()
        while others := [task for task in me.hub.tasks() if task is not me]:
            self._kill_others(me.hub, me)
            joinall(others[:1], timeout=_LOOK_AGAIN)

    # -- the end ------------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The body of the thread that keeps the time."""
        if not self._left.acquire(timeout=min(self.timeout, threading.TIMEOUT_MAX)):
            assert self.signum is not None
            self._end(f"{self.timeout:g} s are over", self.signum)

    def _end(self, why: str, signum: int) -> None:
        """Say who is still there, and end the process."""
        try:
            report = self._report(why)
            try:
                print(report, file=sys.stderr)
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
            except RuntimeError:  # the signal came in the middle of a print, in which streams let nobody else in
                os.write(2, f"{report}\n".encode(errors="backslashreplace"))
        except Exception as error:
            os.write(2, b"coopcore: the report failed: %s\n" % repr(error).encode())
        finally:
            os._exit(128 + signum)

    def _report(self, why: str) -> str:
        assert self.signum is not None
        name, hub = _stdlib.Signals(self.signum).name, self._hub
        if hub is None:
            return f"coopcore: {name} was to end the program, and {why}; it is ended at once."
        alive = [task for task in ([hub.root] if hub.main is hub.root else []) + hub.tasks() if not task.dead]
        lines = [f"coopcore: {name} was to end the program, and {why}; {len(alive)} task{' has' if len(alive) == 1 else 's have'} not ended:"]
        for task in alive:
            waits, suspended = task.waiting_on, task.frame is not None
            lines.append(f"  {task.name} {'waits for ' + waits if waits else 'is ready' if suspended else 'is running'}")
            lines.append(f"    at {stands_at(task)}")
            if task is not hub.root:
                lines.append(f"    spawned at {task.spawned_at}")
        return "\n".join(lines)


hide_frames(__file__)
