"""The standard module ``selectors``, cooperative: `select` parks its task, and the others run.

Theory
======
Each class is the standard one with another `select`. That asks the standard `select` with timeout 0 first; if nothing is ready, the task parks: at the
selector's own descriptor, or where it has none, in a nest over all that is registered (see ``_readiness``). Registration, keys and errors are inherited.
What is registered and closed while the task waits ends the wait: as the standard class takes what is closed already, and where that says nothing, as ready.

So a standard asyncio loop over such a selector runs in a task: ``asyncio.SelectorEventLoop(DefaultSelector())``. Each of several loops in one thread finds
its own marks there, and other tasks find none (see ``_loops``). A coroutine that parks elsewhere, in ``coopcore.sleep`` say, leaves its marks in place
meanwhile, as it holds up its loop: others go on then, but none may begin or end.

Invariants
==========
1. A call that finds something, or may not wait, doesn't park.
2. While the task of a loop waits in `select`, the thread's running loop and hooks are those that it had before this loop went on; after it they are the
   loop's own, also if the wait ends in an exception.
3. Closing a selector wakes the task that waits in it, with `ClosedResourceError`.
"""

from __future__ import annotations

import selectors as _stdlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from select import POLLIN, POLLOUT
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from typing import Any

from coopcore.lowlevel import READABLE, Hub, current_task, hide_frames

from ._loops import LoopMarks
from ._readiness import Wait, Waiters, call_on, look_and_wait, raise_lost, seconds_of, told_of_closing, waiting_at, wake_reader

__all__ = ["EVENT_READ", "EVENT_WRITE", "BaseSelector", "DefaultSelector", "GeventSelector", "SelectSelector", "SelectorKey"]

_Ready = list[tuple[SelectorKey, int]]


class _Cooperative:
    """What is put in front of a standard selector class."""

    def __init__(self) -> None:
        super().__init__()
        self._coop_marks = LoopMarks()
        self._coop_waiters = Waiters()
        self._coop_lost: set[int] = set()
        """What was closed while a task waits here."""

    def select(self, timeout: float | None = None) -> _Ready:
        """Parks until something that is registered is ready, at most for ``timeout`` seconds; 0 or less never parks. Returns keys and their events."""
        standard: Callable[[float], _Ready] = super().select  # type: ignore[misc]  # that of the standard class behind
        look = lambda: self._coop_look(standard) or None  # noqa: E731 - a name for what is read below
        seconds = None if timeout is None else seconds_of(float(0.0 + timeout), 1, "")  # what cannot be added is no number, as for the standard one
        try:
            with self._coop_marks.aside():
                return look_and_wait(look, self._coop_place, seconds) or []
        finally:
            self._coop_lost.clear()

    def _coop_look(self, standard: Callable[[float], _Ready]) -> _Ready:
        lost = self._coop_lost
        if not lost:
            return standard(0)
        gone = [(key, key.events) for key in self.get_map().values() if key.fd in lost]  # type: ignore[attr-defined]  # as above
        return gone + [found for found in standard(0) if found[0].fd not in lost]

    def _coop_place(self) -> AbstractContextManager[Wait]:
        raise NotImplementedError


class _OfLists(_Cooperative):
    """A selector without a descriptor of its own."""

    def _coop_place(self) -> AbstractContextManager[Wait]:
        keys = self.get_map().values()  # type: ignore[attr-defined]  # that of the standard class behind
        interests = {key.fd: (POLLIN if key.events & EVENT_READ else 0) | (POLLOUT if key.events & EVENT_WRITE else 0) for key in keys}
        return waiting_at(interests, type(self).__name__, self._coop_lost)


class _OfDescriptor(_Cooperative):
    """A selector whose descriptor is readable when it has something to report."""

    fileno: Callable[[], int]

    @contextmanager
    def _coop_place(self) -> Iterator[Wait]:
        with told_of_closing(self, current_task().hub):
            yield partial(self._coop_waiters.wait, self.fileno(), READABLE, edge=True, what=f"what is registered in a {type(self).__name__}")

    def _lose(self, fd: int, hub: Hub) -> None:
        """What `told_of_closing` calls."""
        registered: Any = self.get_map()  # type: ignore[attr-defined]  # that of the standard class behind
        if registered is not None and fd in registered:
            self._coop_lost.add(fd)
            call_on(hub, self._coop_wake, hub)

    def _coop_wake(self, hub: Hub) -> None:
        if not self._coop_waiters.closed:
            wake_reader(hub, self.fileno())

    def close(self) -> None:
        """Close it. A task that waits in it gets `ClosedResourceError`. Idempotent."""
        if not self._coop_waiters.closed:
            self._coop_waiters.close(self.fileno(), super().close)  # type: ignore[misc]  # that of the standard class behind


class SelectSelector(_OfLists, _stdlib.SelectSelector):
    """``selectors.SelectSelector`` whose `select` parks the task."""

    def _coop_look(self, standard: Callable[[float], _Ready]) -> _Ready:
        if self._coop_lost:
            raise_lost(self._coop_lost, "a SelectSelector")
        return standard(0)


if hasattr(_stdlib, "PollSelector"):
    __all__ += ["PollSelector"]

    class PollSelector(_OfLists, _stdlib.PollSelector):
        """``selectors.PollSelector`` whose `select` parks the task."""


if hasattr(_stdlib, "EpollSelector"):
    __all__ += ["EpollSelector"]

    class EpollSelector(_OfDescriptor, _stdlib.EpollSelector):
        """``selectors.EpollSelector`` whose `select` parks the task."""


if sys.platform != "linux" and hasattr(_stdlib, "DevpollSelector"):
    __all__ += ["DevpollSelector"]

    class DevpollSelector(_OfDescriptor, _stdlib.DevpollSelector):
        """``selectors.DevpollSelector`` whose `select` parks the task."""


if sys.platform != "linux" and hasattr(_stdlib, "KqueueSelector"):
    __all__ += ["KqueueSelector"]

    class KqueueSelector(_OfDescriptor, _stdlib.KqueueSelector):
        """``selectors.KqueueSelector`` whose `select` parks the task."""


DefaultSelector: type[BaseSelector] = globals()[_stdlib.DefaultSelector.__name__]
GeventSelector = DefaultSelector  # gevent's name for its own

hide_frames(__file__)
