"""A timer queue that is one sorted list. Setting costs a shift of the list, which is quick up to some ten thousand timers."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from itertools import count
from typing import Any

Handle = list[Any]  # [-deadline, -number, entry in a tuple or None]: the next one due is the last, where taking it out is cheap


def _order(handle: Handle) -> tuple[int, int]:
    return handle[0], handle[1]


class SortedTimers:
    """Implements ``coopcore.protocols.TimerQueue``."""

    def __init__(self) -> None:
        self._handles: list[Handle] = []
        self._number = count()
        self._set = 0

    def __len__(self) -> int:
        return self._set

    def add(self, deadline: int, callback: Any) -> Handle:
        handle: Handle = [-deadline, -next(self._number), (callback,)]
        insort(self._handles, handle, key=_order)
        self._set += 1
        return handle

    def cancel(self, handle: Handle) -> None:
        if handle[2] is not None:
            handle[2] = None
            self._set -= 1
            if len(self._handles) > 2 * self._set + 64:
                self._handles = [kept for kept in self._handles if kept[2] is not None]

    def next_deadline(self) -> int | None:
        while self._handles and self._handles[-1][2] is None:
            self._handles.pop()
        return -self._handles[-1][0] if self._handles else None

    def pop_due(self, now: int) -> Iterator[Any]:
        # Asked anew each time: what handles an entry may cancel others, and add some.
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            handle = self._handles.pop()
            (entry,), handle[2] = handle[2], None
            self._set -= 1
            yield entry
