"""A level-triggered backend on ``select.poll``."""

from __future__ import annotations

import os
import select
from contextlib import suppress

from coopcore.lowlevel import ERROR, HANGUP, READABLE, WRITABLE

_LONGEST = 86_400_000_000_000


class PollBackend:
    """Descriptors are looked at by number, so there is nothing that could go stale."""

    edge_triggered = False

    def __init__(self):
        self._poll = select.poll()
        self._armed = set()
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_in, select.POLLIN)

    def watch(self, fd, events):
        os.fstat(fd)  # poll() itself would take a closed number
        self._poll.register(fd, (select.POLLIN if events & READABLE else 0) | (select.POLLOUT if events & WRITABLE else 0))
        self._armed.add(fd)

    def unwatch(self, fd):
        if fd in self._armed:
            self._armed.discard(fd)
            self._poll.unregister(fd)

    def poll(self, timeout):
        reports = []
        for fd, mask in self._poll.poll(None if timeout is None else -(-min(timeout, _LONGEST) // 1_000_000)):
            if fd == self._wake_in:
                self.swallow_wake()
                continue
            self.unwatch(fd)
            reports.append((fd, self.translate(mask)))
        return reports

    def translate(self, mask):
        events = (READABLE if mask & select.POLLIN else 0) | (WRITABLE if mask & select.POLLOUT else 0)
        return events | (ERROR if mask & (select.POLLERR | select.POLLNVAL) else 0) | (HANGUP if mask & select.POLLHUP else 0)

    def swallow_wake(self):
        with suppress(BlockingIOError):
            while os.read(self._wake_in, 65536):
                pass

    def wake(self):
        if self._wake_out >= 0:
            with suppress(BlockingIOError):
                os.write(self._wake_out, b"\0")

    def fileno(self):
        return None

    def close(self):
        if self._wake_out >= 0:
            os.close(self._wake_in)
            os.close(self._wake_out)
            self._wake_in = self._wake_out = -1
