"""The backend on Linux's epoll, edge-triggered.

Theory
======
A descriptor is registered once, for both directions, at the first wait for it; from then on a wait costs a set look-up and no system call. That is
what edge triggering is for: the kernel reports each change once, and never again, unless it is told to look anew.

Hazards of epoll, and what is done about each:

* *An edge is reported once.* Only a caller that has just seen EAGAIN may rely on edges. The hub re-registers (`unwatch`, `watch`) for everybody
  else, and adding a descriptor makes the kernel report what is ready already.
* *The key is the open file, not the number.* Closing the number removes the registration only if no duplicate is open. With one, reports for the old file go
  on under the old number. Such a report is spurious, and edges don't spin.
* *A number that was closed and used anew is not registered,* though our set has it. Who closes calls `unwatch`; adding tolerates both EEXIST and a stale entry.
* *Regular files cannot be added:* EPERM, which the protocol calls PermissionError.
* *Waking up* goes through an eventfd, registered like any other and drained here, so that it never shows in a report.

Invariants
==========
1. A descriptor in ``_known`` was registered, and not unwatched since.
2. `poll` never reports the eventfd, and a wake that came before `poll` makes it return at once.
3. `watch` of a known descriptor makes no system call.
4. After `close`, `wake` does nothing: a late thread must not write into whatever has the eventfd's number by then.
"""

from __future__ import annotations

import errno
import os
import select
from _thread import RLock
from collections.abc import Sequence

from coopcore.lowlevel import hide_frames

hide_frames(__file__)

__all__ = ["EpollBackend"]

_MOST_EVENTS = 1024  # per poll; the others are reported by the next one


class EpollBackend:
    """Implements `coopcore.protocols.Backend`."""

    edge_triggered = True
    tells_end = True

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._known: set[int] = set()
        self._woken = False  # True while the eventfd is readable, or about to be
        self._closing = RLock()  # re-entrant, since a signal handler may wake what it interrupts

    def watch(self, fd: int, events: int) -> None:
        if fd in self._known:
            return
        mask = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
        try:
            self._epoll.register(fd, mask)
        except FileExistsError:
            # Registered behind our back under this number; looking anew is what a fresh registration would do.
            self._epoll.modify(fd, mask)
        self._known.add(fd)

    def unwatch(self, fd: int) -> None:
        if fd in self._known:
            self._known.discard(fd)
            try:
                self._epoll.unregister(fd)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EBADF, errno.EPERM):
                    raise

    def poll(self, timeout: int | None) -> Sequence[tuple[int, int]]:
        # epoll counts milliseconds and select.epoll rounds up, so a timer is never looked at early.
        ready = self._epoll.poll(-1 if timeout is None else min(timeout / 1e9, 86_400.0), _MOST_EVENTS)
        return self._swallow_wake(ready) if self._woken else ready

    def _swallow_wake(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        for index, (fd, _) in enumerate(ready):
            if fd == self._wake_fd:
                with self._closing:  # so that no wake comes between the two
                    self._woken = False
                    os.eventfd_read(fd)
                del ready[index]
                break
        return ready

    def wake(self) -> None:
        with self._closing:
            if self._wake_fd >= 0:
                self._woken = True
                os.eventfd_write(self._wake_fd, 1)

    def fileno(self) -> int | None:
        return self._epoll.fileno()

    def close(self) -> None:
        # Not for ever: the child of a fork may have got the lock as held by a thread that it has not got.
        locked = self._closing.acquire(timeout=1.0)
        wake_fd, self._wake_fd = self._wake_fd, -1
        if wake_fd >= 0:
            self._epoll.close()
            os.close(wake_fd)
        self._known.clear()
        if locked:
            self._closing.release()
