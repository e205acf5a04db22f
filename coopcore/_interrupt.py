"""Signals and the hub: an exception out of a handler must not tear a switch apart, and a hub that sleeps must wake for a signal.

A Python signal handler runs between two bytecodes of whatever runs. If it raises between taking a task out of ``ready`` and switching to it, that
task is lost for good. So an exception is let out of a handler only where a user's code was interrupted; where it was ours, it goes through the inbox to
the main task. "Ours" are the core's modules, and those of plugins, which add themselves with ``hide_frames``.

Python calls a handler when the main thread runs bytecode again. The kernel interrupts a poll only if the signal hits the main thread in the middle of that
system call: one that arrives an instant before it, or that is delivered to another thread, would be noticed when the poll ends, perhaps never. So
the signal's C half writes a byte into a descriptor that the hub of the main thread watches (``signal.set_wakeup_fd``).

Invariants
==========
1. What a handler raises while our code is interrupted reaches the main task at its wait, and no task is lost.
2. A sleeping hub of the main thread wakes for every signal that has a Python handler, whichever thread the kernel gave it to, unless another library holds
   the wake-up descriptor.
3. When the hub is closed, and in the child of a fork, the handler and the wake-up descriptor are what they were before.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ._task import HIDDEN_FILES, Task

if TYPE_CHECKING:
    from ._hub import Hub

Handler = Callable[[int, FrameType | None], Any]


def deferring(handler: Handler) -> Handler:
    """``handler``, made safe to raise: what it raises while coopcore's own code is interrupted reaches the main task of the running hub at its wait."""

    def handle(signum: int, frame: FrameType | None) -> Any:
        try:
            return handler(signum, frame)
        except BaseException as error:
            stack = getcurrent()
            task: Task[Any] | None = getattr(stack, "task", None)
            # Without a task it is the hub's greenlet, or a worker between two tasks, whose parent that is.
            hub = getattr(stack, "hub", None) or getattr(stack.parent, "hub", None) if task is None else task._hub
            if hub is None or not _is_ours(frame) or not hub._inbox.put(hub.interrupt_main, (error,)):
                raise

    handle.__wrapped__ = handler  # type: ignore[attr-defined]  # so that others can tell whose it is, as with functools.wraps
    return handle


def _is_ours(frame: FrameType | None) -> bool:
    """Whether our code was interrupted, itself or in a function of the standard library that it has called."""
    while frame is not None and frame.f_code.co_filename.startswith(_STANDARD) and "site-packages" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename in HIDDEN_FILES


_STANDARD = (os.path.dirname(os.__file__), "<frozen ")
_on_sigint = deferring(signal.default_int_handler)
_shielded = 0  # hubs of the main thread that live


def attend_to_signals(hub: Hub) -> Callable[[], None]:
    """Make signals safe for a hub of the main thread while it lives. Returns what undoes it. Does nothing in another thread."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    unshield = _shield_sigint()
    door = _Door(hub)

    def undo() -> None:
        door.close()
        unshield()

    return undo


def _shield_sigint() -> Callable[[], None]:
    """Make Python's own Ctrl-C handler a deferring one. Leaves any other handler alone."""
    global _shielded
    _shielded += 1
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_sigint)

    def restore() -> None:
        global _shielded
        _shielded -= 1
        if not _shielded:
            _restore_sigint()

    return restore


def _restore_sigint() -> None:
    if signal.getsignal(signal.SIGINT) is _on_sigint:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Door:
    """The wake-up descriptor of a hub, and the pipe behind it."""

    __slots__ = ("_previous", "_reader", "_writer")

    def __init__(self, hub: Hub) -> None:
        self._previous = self._reader = self._writer = -1
        try:
            self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        except OSError:
            return  # out of descriptors: better a hub that may sleep through a signal than none
        previous = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if previous != -1 and previous not in [door._writer for door in _doors]:
            signal.set_wakeup_fd(previous)  # another library's: it would miss its signals
            self._close_pipe()
        elif not hub.wake_at(self._reader):
            signal.set_wakeup_fd(previous)
            self._close_pipe()
        else:
            self._previous = previous
            _doors.append(self)

    def close(self) -> None:
        if self not in _doors:
            return
        _doors.remove(self)
        try:
            current = signal.set_wakeup_fd(-1)
            then = self._previous if current == self._writer else current
            signal.set_wakeup_fd(then, warn_on_full_buffer=then not in [door._writer for door in _doors])
        finally:
            # Hubs need not be closed in order: who came after us must not go back to a descriptor that names something else by then.
            for door in _doors:
                if door._previous == self._writer:
                    door._previous = self._previous
            self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


_doors: list[_Door] = []  # of hubs that live, the innermost last


def forget_after_fork() -> None:
    """This is the child: its signals must not write into the parent's pipes, and no hub is left that its handlers could defer to."""
    global _shielded
    while _doors:
        _doors[-1].close()
    if _shielded:
        _shielded = 0
        _restore_sigint()
