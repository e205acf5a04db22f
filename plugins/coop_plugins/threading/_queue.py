"""SimpleQueue between tasks of any hub and plain threads: what the patch puts in the place of ``queue.SimpleQueue``.

Theory
======
Items in a deque, those who wait for one in a line of `Waiter`, and the protocol of ``_lock``: who puts an item then looks into the line; who finds no item
enters the line, and then looks for items again. Either then *serves*: takes the first item, leaves it with the first in line, and claims that one. If it had
given up the item goes to the next, and if there is none back to its place. So `put` needs no lock, and may come in the middle of anything: in a signal
handler, in a finaliser, also one that interrupts a `put` or `get` of the same queue.

Invariants
==========
1. Each item is got once, and those that one thread puts are got in their order.
2. Those of one thread who wait are served in the order in which they came, and while an item is there none of them waits.
3. An item that was served to somebody who is killed before they have it goes back to its place, or to the next in line; a timeout that comes too late returns
   it.
4. No wake is lost, whatever another thread, a signal handler or a finaliser does at any point of a put or a get.
5. A wait that ended otherwise has left the line.
"""

from __future__ import annotations

from _queue import Empty
from _thread import allocate_lock
from collections import deque
from types import GenericAlias
from typing import Any, Generic, TypeVar

from coopcore.lowlevel import hide_frames, refuse_copy

from ._where import Waiter

hide_frames(__file__)

T = TypeVar("T")

_NOTHING: Any = object()


class SimpleQueue(Generic[T]):
    """An unbounded FIFO for tasks of any hub and plain threads, with the methods and errors of ``queue.SimpleQueue``."""

    __slots__ = ("__weakref__", "_items", "_line")

    __module__ = "coop_plugins.threading"
    __class_getitem__: Any = classmethod(GenericAlias)
    __reduce_ex__ = refuse_copy

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._line: list[Waiter] = []

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item. Never blocks, and works anywhere; ``block`` and ``timeout`` are ignored."""
        self._items.append(item)
        if self._line:
            self._serve()

    def put_nowait(self, item: T) -> None:
        """As `put`."""
        self._items.append(item)
        if self._line:
            self._serve()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the oldest item, waiting for one: a task parks, a thread without a hub blocks.

        Raises ``queue.Empty`` after ``timeout`` seconds, or at once with ``block=False``; ValueError for a negative timeout.
        """
        gate = None
        if block and timeout is not None:
            if timeout < 0:
                raise ValueError("'timeout' must be a non-negative number")
            gate = allocate_lock()
            gate.acquire(True, timeout)  # it is free: this only raises the standard's errors
        try:
            return self._items.popleft()
        except IndexError:
            pass
        if not block:
            raise Empty
        if gate is None:
            gate = allocate_lock()
            gate.acquire()
        return self._wait(Waiter(self, gate), -1 if timeout is None else timeout)

    def get_nowait(self) -> T:
        """As ``get(block=False)``."""
        return self.get(False)

    def empty(self) -> bool:
        """True if it has no item now."""
        return not self._items

    def qsize(self) -> int:
        """How many items it has now."""
        return len(self._items)

    def _wait(self, waiter: Waiter, timeout: float) -> T:
        waiter.given = _NOTHING
        self._line.append(waiter)
        if self._items:  # one came between the question and the line
            self._serve()
        try:
            woken = waiter.given is not _NOTHING or waiter.wait(timeout)
        except BaseException:
            if not self._leave(waiter):
                self._items.appendleft(waiter.given)
                self._serve()
            raise
        if not woken and self._leave(waiter):
            raise Empty
        item: T = waiter.given
        return item

    def _leave(self, waiter: Waiter) -> bool:
        """Give up. False if it was served already."""
        if not waiter.claim():
            return False
        try:
            self._line.remove(waiter)
        except ValueError:
            pass  # somebody took it out, and then found it claimed
        return True

    def _serve(self) -> None:
        """Give items to those who wait, while there are both."""
        items, line = self._items, self._line
        while items and line:
            try:
                item = items.popleft()
            except IndexError:  # another thread has taken the last one
                return
            if not self._give(item):
                items.appendleft(item)

    def _give(self, item: T) -> bool:
        line = self._line
        while line:
            try:
                waiter = line.pop(0)
            except IndexError:
                return False
            waiter.given = item
            if waiter.claim():
                waiter.wake()
                return True
            waiter.given = _NOTHING
        return False

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return f"an item of {self!r}"

    def wait_owners(self) -> tuple[()]:
        """Nobody in particular could end a wait."""
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} object at {id(self):#x}>"
