"""The backend on ``selectors.DefaultSelector``: for every platform that has no better one, kqueue's among them.

Level-triggered: what is ready stays ready, so a descriptor may only be registered while somebody waits at it, or unread data would make every poll return at
once. Each report therefore takes the descriptor out, and the next wait puts it in again.

Where the selector is epoll, a descriptor that was closed while registered, and of which a duplicate is open, stays in the kernel's list and can't be taken out:
every poll would return at once, with nothing to show for it. A poll that ends early and empty is the sign of that, and a new selector the cure.

Invariants
==========
1. What is registered was watched, and neither reported nor unwatched since.
2. `poll` never reports the wake-up socket, and a wake that came before `poll` makes it return at once.
3. A number that was closed and used anew is registered afresh.
4. No poll but the first returns early because of a descriptor that is not registered.
5. After `close`, `wake` does nothing.
"""

from __future__ import annotations

import selectors
import socket
from _thread import RLock
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic_ns

from coopcore.lowlevel import ERROR, READABLE, WRITABLE, hide_frames

hide_frames(__file__)

__all__ = ["SelectorsBackend"]

_LONGEST = 86_400.0  # seconds: a poll may end early, and platforms refuse spans of years


def _selector_events(events: int) -> int:
    return (selectors.EVENT_READ if events & READABLE else 0) | (selectors.EVENT_WRITE if events & WRITABLE else 0)


class SelectorsBackend:
    """Implements `coopcore.protocols.Backend`."""

    edge_triggered = False

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._armed: dict[int, int] = {}
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._closed = False
        self._closing = RLock()  # re-entrant, since a signal handler may wake what it interrupts

    def watch(self, fd: int, events: int) -> None:
        # Always afresh: the number may name another file by now, of which the kernel knows nothing.
        self.unwatch(fd)
        self._selector.register(fd, _selector_events(events))
        self._armed[fd] = events

    def unwatch(self, fd: int) -> None:
        if self._armed.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def poll(self, timeout: int | None) -> Sequence[tuple[int, int]]:
        start = monotonic_ns()
        found = self._selector.select(None if timeout is None else min(timeout / 1e9, _LONGEST))
        if not found and (timeout is None or monotonic_ns() - start < timeout):
            return self._start_afresh()
        reports = []
        for key, mask in found:
            if key.fileobj is self._wake_in:
                self._swallow_wake()
                continue
            reports.append((key.fd, (READABLE if mask & selectors.EVENT_READ else 0) | (WRITABLE if mask & selectors.EVENT_WRITE else 0)))
            self.unwatch(key.fd)
        return reports

    def _start_afresh(self) -> list[tuple[int, int]]:
        """A new selector with what is watched. Reports what is closed by now, so that whoever waits there meets the error."""
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        closed = []
        for fd, events in list(self._armed.items()):
            try:
                self._selector.register(fd, _selector_events(events))
            except OSError:
                del self._armed[fd]
                closed.append((fd, ERROR))
        return closed

    def _swallow_wake(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    def wake(self) -> None:
        # A full buffer holds wakes that were not swallowed yet: it will wake.
        with self._closing, suppress(BlockingIOError):
            if not self._closed:
                self._wake_out.send(b"\0")

    def fileno(self) -> int | None:
        fileno = getattr(self._selector, "fileno", None)
        return None if fileno is None else fileno()

    def close(self) -> None:
        # Not for ever: the child of a fork may have got the lock as held by a thread that it has not got.
        locked = self._closing.acquire(timeout=1.0)
        if not self._closed:
            self._closed = True
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()
            self._armed.clear()
        if locked:
            self._closing.release()
