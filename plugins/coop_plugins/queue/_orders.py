"""LifoQueue and PriorityQueue: a Queue whose items come out in another order.

Each keeps its items in a list with the face of a deque, so that while nobody waits a put or get costs no call of a hook.

The heap is that of `heapq`, whose functions leave an item out, or in, when a comparison raises half way, and the heap in disorder. Here they are undone: what
moved is one item along one path between the root and a leaf, each step an exchange with the next on that path, so that the way back needs no comparison.

Invariants
==========
1. A `LifoQueue` gives out the item that was put in last of those that are in it.
2. A `PriorityQueue` gives out the least of the items that are in it.
3. An item for a waiting getter is ordered among those that are in the queue, as if it had been put in and then gotten; so is the one of a waiting putter,
   which goes in when the getter's is out.
4. A put or get in which a comparison raises has changed nothing; if it ran on behalf of a task that waits, that task gets the error, and the item
   is where it was.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, ClassVar, TypeVar

from coopcore.lowlevel import hide_frames

from ._queue import Queue

hide_frames(__file__)

T = TypeVar("T")


class _Stack(list[Any]):
    """The last item first."""

    __slots__ = ()

    popleft = list.pop


def push(heap: list[Any], item: Any) -> None:
    """``heapq.heappush``, which changes nothing when a comparison raises."""
    try:
        heappush(heap, item)
    except BaseException:
        _undo_push(heap, item)
        raise


def pop(heap: list[Any]) -> Any:
    """``heapq.heappop``, which changes nothing when a comparison raises."""
    first, last = heap[0], heap[-1]
    try:
        return heappop(heap)
    except BaseException:
        _undo_pop(heap, first, last)
        raise


def _undo_push(heap: list[Any], item: Any) -> None:
    """``item`` was appended and rose some steps; those that it passed are one step too low."""
    at = len(heap) - 1
    lowered = heap[at]
    while lowered is not item and at:
        at = (at - 1) // 2
        lowered, heap[at] = heap[at], lowered
    heap.pop()


def _undo_pop(heap: list[Any], first: Any, last: Any) -> None:
    """``first`` was taken from the root, where ``last`` went and sank some steps; those that it passed are one step too high."""
    at = next(place for place, item in enumerate(heap) if item is last)
    while at:
        above = (at - 1) // 2
        heap[at] = heap[above]
        at = above
    heap[0] = first
    list.append(heap, last)  # not that of `_Heap`


class _Heap(list[Any]):
    """The least item first."""

    __slots__ = ()

    append = push
    popleft = pop


class LifoQueue(Queue[T]):
    """A `Queue` that gives out the newest of its items: a stack. The interface is that of ``queue.LifoQueue``, with the additions of `Queue`."""

    __module__ = "coop_plugins.queue"

    _kind: ClassVar[type] = _Stack

    def _init(self, maxsize: int) -> None:
        self.queue = _Stack()

    def _get(self) -> T:
        return self.queue.pop()  # type: ignore[no-any-return]  # where a subclass keeps its items is its own affair

    def _peek(self) -> T:
        return self.queue[-1]  # type: ignore[no-any-return]  # as above


class PriorityQueue(Queue[T]):
    """A `Queue` that gives out the least of its items, often pairs of a number and a thing. The interface is that of ``queue.PriorityQueue``, with the
    additions of `Queue`.

    Items are compared by ``<``, as in `heapq`; equal ones come out in any order. A comparison must not wait, or use the queue. What it raises comes out of
    the call on whose behalf it ran, which then has changed nothing.
    """

    __module__ = "coop_plugins.queue"

    _kind: ClassVar[type] = _Heap
    _compares: ClassVar[bool] = True

    def _init(self, maxsize: int) -> None:
        self.queue = _Heap()

    def _put(self, item: T) -> None:
        push(self.queue, item)

    def _get(self) -> T:
        return pop(self.queue)  # type: ignore[no-any-return]  # a T was put

    # The least item is the first: `_peek` is that of a FIFO.
