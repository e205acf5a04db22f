"""The real clock: time passes by itself, and the backend does the waiting."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns

from .protocols import Backend, Ready


class RealClock:
    """Implements `protocols.Clock` with ``time.monotonic_ns``."""

    __slots__ = ()

    now = staticmethod(monotonic_ns)
    pressure = staticmethod(monotonic_ns)

    def wait(self, backend: Backend, deadline: int | None, outside: bool) -> Sequence[Ready]:
        if deadline is None:
            return backend.poll(None)
        span = deadline - monotonic_ns()
        return backend.poll(span if span > 0 else 0)
