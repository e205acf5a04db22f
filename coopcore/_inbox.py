"""The one thread-safe door into a hub.

A thread (or a signal handler) that has something for the hub appends a call and, if the hub may be asleep in its backend, wakes it.

Invariants
==========
1. A call that was put before the hub last looked is run by that look; one put later finds ``asleep`` True and wakes the backend,
   or is found by the look that the hub takes between setting ``asleep`` and polling. So none waits for an unrelated event.
2. Calls run in the order in which they were put, on the hub, each once; one that raises does not stop the next, nor does a signal handler.
3. A call for which `put` returned True is taken, also one that came while the hub was closing; after `close`, `put` returns False.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .protocols import Backend

Call = tuple[Callable[..., object], tuple[Any, ...]]


class Inbox:
    """Calls from outside, waiting for the hub's next pass."""

    __slots__ = ("_backend", "_closed", "asleep", "calls")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.calls: deque[Call] = deque()
        """What was put and not begun yet, the oldest first. Only the hub takes from it."""
        self._closed = False
        self.asleep = False
        """True while the hub is about to wait, or waits, in its backend."""

    def put(self, fn: Callable[..., object], args: tuple[Any, ...]) -> bool:
        """Leave a call. From any thread. Returns False if the hub has closed its door."""
        if self._closed:
            return False
        call = (fn, args)
        self.calls.append(call)  # atomic; the flags are read after it, and set before the hub looks
        if self._closed:
            try:
                self.calls.remove(call)
            except ValueError:
                return True  # the hub, closing, has taken it
            return False
        if self.asleep:
            self._backend.wake()
        return True

    def take(self) -> list[Call]:
        """Everything that is there now."""
        calls = self.calls
        return [calls.popleft() for _ in range(len(calls))]

    def close(self) -> None:
        """Accept nothing from now on. What is there may still be taken."""
        self._closed = True
