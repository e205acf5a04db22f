"""Ctrl-C: an exception out of a signal handler must not tear a switch apart.

A Python signal handler runs between two bytecodes of whatever runs. If it raises between taking a task out of ``ready`` and switching to it, that
task is lost for good. So an exception is let out of a handler only where a user's code was interrupted; where it was ours, it goes through the inbox to
the main task. "Ours" are the core's modules, and those of plugins, which add themselves with ``hide_frames``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from ._task import HIDDEN_FILES

if TYPE_CHECKING:
    from ._hub import Hub

Handler = Callable[[int, FrameType | None], Any]


def deferring(handler: Handler, hub: Hub) -> Handler:
    """``handler``, made safe to raise: what it raises while coopcore's own code is interrupted reaches the main task at its wait."""

    def handle(signum: int, frame: FrameType | None) -> Any:
        try:
            return handler(signum, frame)
        except BaseException as error:
            if hub._closed or frame is None or frame.f_code.co_filename not in HIDDEN_FILES:
                raise
            hub.call_soon_threadsafe(hub.interrupt_main, error)

    return handle


def shield_sigint(hub: Hub) -> Callable[[], None]:
    """Make Python's own Ctrl-C handler safe for this hub. Returns what undoes it. Leaves any other handler alone."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return lambda: None
    ours = deferring(signal.default_int_handler, hub)
    signal.signal(signal.SIGINT, ours)

    def restore() -> None:
        if signal.getsignal(signal.SIGINT) is ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    return restore
