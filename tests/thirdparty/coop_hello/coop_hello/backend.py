"""A backend on bare ``select.select``. It inherits nothing: it has the methods of ``coopcore.protocols.Backend``, and it passes its contract.

``select.select`` is level-triggered: what is ready stays ready. So a descriptor is looked at only from a `watch` until its report, or data that nobody reads
would end every poll at once. It looks at numbers, not at files, so nothing goes stale when a number is closed and used anew.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from contextlib import suppress

from coopcore.lowlevel import ERROR, PRIORITY, READABLE, WRITABLE, hide_frames

hide_frames(__file__)  # in reports our frames are plumbing

_LONGEST = 86_400.0  # seconds; a poll may end early, and select refuses centuries
_MOST = 1024  # FD_SETSIZE: select cannot look at numbers from here on


class SelectBackend:
    """Implements ``coopcore.protocols.Backend``."""

    edge_triggered = False

    def __init__(self) -> None:
        self._watched: dict[int, int] = {}
        # The self-pipe trick: a byte that is written here ends the select.
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._closed = False

    def watch(self, fd: int, events: int) -> None:
        os.fstat(fd)  # EBADF at once, and not from a later select that would not say which
        if fd >= _MOST:
            raise ValueError(f"descriptor {fd} is too high for select, which stops at {_MOST}; use another backend for so many")
        self._watched[fd] = events

    def unwatch(self, fd: int) -> None:
        self._watched.pop(fd, None)

    def poll(self, timeout: int | None) -> Sequence[tuple[int, int]]:
        closed = self._take_closed()
        seconds = 0.0 if closed else None if timeout is None else min(timeout / 1e9, _LONGEST)
        readers = [fd for fd, events in self._watched.items() if events & READABLE]
        writers = [fd for fd, events in self._watched.items() if events & WRITABLE]
        wake = self._wake_in.fileno()
        readable, writable, urgent = select.select([wake, *readers], writers, readers, seconds)
        if wake in readable:
            readable.remove(wake)
            self._swallow_wake()
        found: dict[int, int] = dict.fromkeys(closed, ERROR)
        for fds, event in ((readable, READABLE), (writable, WRITABLE), (urgent, PRIORITY)):
            for fd in fds:
                found[fd] = found.get(fd, 0) | event
        for fd in found:
            self.unwatch(fd)
        return list(found.items())

    def _take_closed(self) -> list[int]:
        """Watched numbers that were closed and nobody said so. They are reported, so that whoever waits there meets the error."""
        closed = []
        for fd in self._watched:
            try:
                os.fstat(fd)
            except OSError:
                closed.append(fd)
        for fd in closed:
            del self._watched[fd]
        return closed

    def _swallow_wake(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    def wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            pass  # so many wakes are under way already that no more fit
        except OSError:
            if not self._closed:
                raise

    def fileno(self) -> int | None:
        return None  # a set of descriptors is not one descriptor

    def close(self) -> None:
        self._closed = True
        self._wake_in.close()
        self._wake_out.close()
        self._watched.clear()
