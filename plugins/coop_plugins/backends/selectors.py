"""The backend on ``selectors.DefaultSelector``: for every platform that has no better one, kqueue's among them.

Level-triggered: what is ready stays ready, so a descriptor may only be registered while somebody waits at it, or unread data would make every poll return at
once. Each report therefore takes the descriptor out, and the next wait puts it in again.

Invariants
==========
1. What is registered was watched, and neither reported nor unwatched since.
2. `poll` never reports the wake-up socket, and a wake that came before `poll` makes it return at once.
3. A number that was closed and used anew is registered afresh.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Sequence

from coopcore.lowlevel import READABLE, WRITABLE


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

    def watch(self, fd: int, events: int) -> None:
        # Always afresh: the number may name another file by now, of which the kernel knows nothing.
        self.unwatch(fd)
        self._selector.register(fd, (selectors.EVENT_READ if events & READABLE else 0) | (selectors.EVENT_WRITE if events & WRITABLE else 0))
        self._armed[fd] = events

    def unwatch(self, fd: int) -> None:
        if self._armed.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def poll(self, timeout: int | None) -> Sequence[tuple[int, int]]:
        reports = []
        for key, mask in self._selector.select(None if timeout is None else min(timeout / 1e9, 86_400.0)):
            if key.fileobj is self._wake_in:
                self._swallow_wake()
                continue
            reports.append((key.fd, (READABLE if mask & selectors.EVENT_READ else 0) | (WRITABLE if mask & selectors.EVENT_WRITE else 0)))
            self.unwatch(key.fd)
        return reports

    def _swallow_wake(self) -> None:
        try:
            while self._wake_in.recv(4096):
                pass
        except BlockingIOError:
            pass

    def wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            pass  # the buffer is full of wakes that were not swallowed yet: it will wake
        except OSError:
            if not self._closed:
                raise

    def fileno(self) -> int | None:
        fileno = getattr(self._selector, "fileno", None)
        return None if fileno is None else fileno()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()
            self._armed.clear()
