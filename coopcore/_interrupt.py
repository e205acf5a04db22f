"""Ctrl-C: an exception out of a signal handler must not tear a switch apart.

A Python signal handler runs between two bytecodes of whatever runs. If it raises between taking a task out of ``ready`` and switching to it, that
task is lost for good. So an exception is let out of a handler only where a user's code was interrupted; where it was ours, it goes through the inbox to
the main task. "Ours" are the core's modules, and those of plugins, which add themselves with ``hide_frames``.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenlet import getcurrent

from ._task import HIDDEN_FILES, Task

Handler = Callable[[int, FrameType | None], Any]


def deferring(handler: Handler) -> Handler:
    """``handler``, made safe to raise: what it raises while coopcore's own code is interrupted reaches the main task of the running hub at its wait."""

    def handle(signum: int, frame: FrameType | None) -> Any:
        try:
            return handler(signum, frame)
        except BaseException as error:
            stack = getcurrent()
            task: Task[Any] | None = getattr(stack, "task", None)
            hub = getattr(stack, "hub", None) if task is None else task._hub
            if hub is None or hub._closed or not _is_ours(frame):
                raise
            hub.call_soon_threadsafe(hub.interrupt_main, error)

    return handle


def _is_ours(frame: FrameType | None) -> bool:
    """Whether our code was interrupted, itself or in a function of the standard library that it has called."""
    while frame is not None and frame.f_code.co_filename.startswith(_STANDARD) and "site-packages" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename in HIDDEN_FILES


_STANDARD = (os.path.dirname(os.__file__), "<frozen ")
_on_sigint = deferring(signal.default_int_handler)
_shielded = 0  # hubs of the main thread that live


def shield_sigint() -> Callable[[], None]:
    """Make Python's own Ctrl-C handler safe while a hub of the main thread lives. Returns what undoes it. Leaves any other handler alone."""
    global _shielded
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    _shielded += 1
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_sigint)

    def restore() -> None:
        global _shielded
        _shielded -= 1
        if not _shielded and signal.getsignal(signal.SIGINT) is _on_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    return restore
