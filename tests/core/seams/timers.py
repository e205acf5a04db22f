"""A timer queue that is one heap."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count


class HeapTimers:
    """Handles are the heap's own entries; a cancelled one stays until it comes up, without what it stood for."""

    def __init__(self):
        self._heap = []
        self._number = count()
        self._live = 0

    def __len__(self):
        return self._live

    def add(self, deadline, callback):
        handle = [deadline, next(self._number), (callback,)]
        heappush(self._heap, handle)
        self._live += 1
        return handle

    def cancel(self, handle):
        if handle[2] is not None:
            handle[2] = None
            self._live -= 1

    def next_deadline(self):
        while self._heap and self._heap[0][2] is None:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now):
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            handle = heappop(self._heap)
            (callback,), handle[2] = handle[2], None
            self._live -= 1
            yield callback
