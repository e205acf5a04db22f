"""A virtual clock: time stands still while anything can run, and jumps to the next deadline when nothing can."""

from __future__ import annotations

from time import monotonic_ns


class JumpingClock:
    """Deterministic: nothing in it looks at the real time, except while a promise from outside is open."""

    LOOK = 50_000
    """What one look at `pressure` counts for: every twentieth lets the hub pass."""

    def __init__(self):
        self._now = 0
        self._pressure = 0
        self.jumps = []

    def now(self):
        return self._now

    def pressure(self):
        self._pressure += self.LOOK
        return self._pressure

    def wait(self, backend, deadline, outside):
        if deadline is not None and deadline <= self._now:
            return backend.poll(0)
        if deadline is None:
            return backend.poll(None)
        if outside:
            return self._wait_in_real_time(backend, deadline)
        reports = backend.poll(0)
        if not reports:
            self.jumps.append(deadline)
            self._now = deadline
        return reports

    def _wait_in_real_time(self, backend, deadline):
        start = monotonic_ns()
        reports = backend.poll(deadline - self._now)
        self._now = min(deadline, self._now + monotonic_ns() - start)
        return reports
