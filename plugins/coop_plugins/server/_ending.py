"""How a server that serves for ever ends well on a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from coopcore.lowlevel import current_hub, hide_frames


@contextmanager
def ending_on(signals: Iterable[int], end: Callable[[], object]) -> Iterator[None]:
    """While the block runs, call ``end`` on the hub at the first of ``signals``, and let the next one do what it did before.

    A signal for which the program has a handler of its own, or that it ignores, is left to it. Does nothing outside of the main thread.
    """
    hub = current_hub()
    previous: dict[int, Any] = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        give_back()  # the second Ctrl-C is for whoever is impatient
        hub.call_soon_threadsafe(end)

    def give_back() -> None:
        while previous:
            signum, handler = previous.popitem()
            if signal.getsignal(signum) is handle:
                signal.signal(signum, handler)

    if threading.current_thread() is threading.main_thread():
        for signum in signals:
            before = signal.getsignal(signum)
            if _is_default(before):
                previous[signum] = before
                signal.signal(signum, handle)
    try:
        yield
    finally:
        give_back()


def _is_default(handler: Any) -> bool:
    return handler is signal.SIG_DFL or getattr(handler, "__wrapped__", handler) is signal.default_int_handler


hide_frames(__file__)
