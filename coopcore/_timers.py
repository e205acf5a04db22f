"""The default timer queue: a heap of buckets of about one millisecond.

Most timeouts never fire, so setting and cancelling must be the cheap operations, and ordering may wait until it is needed:

* A bucket collects every timer whose deadline shares all but the lowest `SHIFT` bits. Setting is a dict look-up and a list append;
  only the first timer of a bucket costs a heap push, of a bare integer.
* A bucket is sorted when it is the next one due, and again only if something was added to it since.
* Cancelling blanks the handle in place. When more than half of all handles are blank the queue is rebuilt without them,
  so a timer that is cancelled costs its memory only until then.

The idea is the timing wheel's (Varghese and Lauck, 1987) with a heap in place of the wheel's hands, so that empty spans cost nothing.

Invariants
==========
1. Timers come out ordered by deadline, and in the order of setting where deadlines are equal.
2. A cancelled timer never comes out; cancelling twice, or after it came out, does nothing.
3. ``len()`` is the number set, neither cancelled nor handed out.
4. Blank handles are never more than half of those held, or 64.
5. A signal handler that raises anywhere in here leaves all of this true, and loses no timer.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any

SHIFT = 20
_MIN_STALE = 64

Handle = list[Any]  # [deadline, sequence number, callback], or with None for the callback once blank


class BucketTimers:
    """Implements `protocols.TimerQueue`."""

    __slots__ = ("_buckets", "_held", "_keys", "_sequence", "_sorted", "_stale")

    def __init__(self) -> None:
        self._buckets: dict[int, list[Handle]] = {}
        self._keys: list[int] = []
        self._sequence = 0
        self._held = 0
        self._stale = 0
        self._sorted: list[Handle] | None = None

    def __len__(self) -> int:
        return self._held - self._stale

    def add(self, deadline: int, callback: Any) -> Handle:
        self._sequence = sequence = self._sequence + 1
        handle = [deadline, sequence, callback]
        key = deadline >> SHIFT
        bucket = self._buckets.get(key)
        self._held += 1
        try:
            if bucket is None:
                heappush(self._keys, key)  # first: a key without a bucket does no harm
                self._buckets[key] = [handle]
            else:
                if bucket is self._sorted:
                    self._sorted = None
                bucket.append(handle)
        except BaseException:  # a signal handler has raised, or the stack is full: nobody gets the handle
            if bucket and bucket[-1] is handle:
                handle[2] = None
                self._stale += 1
            else:
                self._held -= 1
            raise
        return handle

    def cancel(self, handle: Handle) -> None:
        if handle[2] is not None:
            handle[2] = None
            self._stale = stale = self._stale + 1
            if stale > _MIN_STALE and stale * 2 > self._held:
                self._compact()

    def next_deadline(self) -> int | None:
        bucket = self._first_bucket()
        return bucket[-1][0] if bucket else None

    def pop_due(self, now: int) -> Iterator[Any]:
        while (bucket := self._first_bucket()) and bucket[-1][0] <= now:
            # No call from here to the yield: a signal handler that raises in between would lose the timer.
            handle = bucket[-1]
            del bucket[-1]
            self._held -= 1
            callback = handle[2]
            handle[2] = None
            yield callback

    def _first_bucket(self) -> list[Handle] | None:
        """The earliest bucket with a live timer, latest first, so that its last element is the next one due."""
        keys = self._keys
        while keys:
            try:
                bucket = self._buckets[keys[0]]
            except KeyError:
                heappop(keys)
                continue
            if bucket is not self._sorted:
                bucket.sort(reverse=True)
                self._sorted = bucket
            while bucket and bucket[-1][2] is None:
                del bucket[-1]  # not pop(): no call before the numbers agree again
                self._held -= 1
                self._stale -= 1
            if bucket:
                return bucket
            self._sorted = None
            del self._buckets[keys[0]]  # before the pop, after which a handler may raise: a bucket whose key is gone would never come up
            heappop(keys)
        return None

    def _compact(self) -> None:
        live = {}
        for key, bucket in self._buckets.items():
            kept = [handle for handle in bucket if handle[2] is not None]
            if kept:
                live[key] = kept
        keys = list(live)
        heapify(keys)
        self._buckets = live
        self._keys = keys
        self._sorted = None
        self._held -= self._stale
        self._stale = 0
