"""Queue: a SimpleQueue that counts the work on its items, and can be shut down.

Invariants
==========
1. ``unfinished_tasks`` is the number of items accepted less the `task_done` calls and the items dropped; whoever joins is woken when it is 0.
2. After `shutdown` nobody waits in `put` or `get`; `put` accepts nothing, and `get` returns what is there and then raises `ShutDown`.
3. A `shutdown` takes back nothing that was handed over before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, TypeVar

from coopcore.lowlevel import current_task, hide_frames, park_task

from ._parts import ShutDown, leave, refuse_a_newcomer_of_another_thread, refuse_another_thread, wake_all
from ._simple import SimpleQueue

hide_frames(__file__)

T = TypeVar("T")


class _Joining:
    """The reason of a park in `Queue.join`."""

    __slots__ = ("queue",)

    def __init__(self, queue: Queue[Any]) -> None:
        self.queue = queue

    def describe_wait(self) -> str:
        return f"task_done() of {self.queue!r}, {self.queue.unfinished_tasks} of whose items are unfinished"


class Queue(SimpleQueue[T]):
    """A FIFO of items. With ``maxsize`` above 0 it holds at most that many, and `put` waits for room; else it is unbounded.

    The interface is that of ``queue.Queue`` as of Python 3.13, with gevent's additions: ``items`` to begin with, `peek`, a timeout for `join`,
    ``len()``, and iteration, which ends when it gets the class ``StopIteration``. A queue is always true. The forms that do not wait also work in
    callbacks on the hub. Subclasses may override ``_init``, ``_qsize``, ``_put``, ``_get`` and ``_peek``, none of which may wait.
    """

    __module__ = "coop_plugins.queue"

    is_shutdown: bool
    """True after `shutdown`."""

    def __init__(self, maxsize: int | None = 0, items: Iterable[T] = (), unfinished_tasks: int | None = None) -> None:
        self.is_shutdown = False
        super().__init__(maxsize, items)
        self._unfinished = self._qsize() if unfinished_tasks is None else unfinished_tasks

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; waits while the queue is full.

        Raises `Full` after ``timeout`` seconds, or at once with ``block=False``; `ShutDown` if the queue is shut down, also while it waits.
        """
        if self._free or (timeout is None and len(self._items) < self._room):
            self._items.append(item)
            self._unfinished += 1
        else:
            self._put_at_the_lines(item, block, timeout)

    # -- keeping count --------------------------------------------------------------------------------------------------

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put and are not marked by `task_done`."""
        return self._unfinished

    @unfinished_tasks.setter
    def unfinished_tasks(self, count: int) -> None:
        self._unfinished = count

    def task_done(self) -> None:
        """Say that the work on an item that was gotten is done; the last one wakes who joins. Never blocks.

        Raises ValueError if it is called more often than items were put.
        """
        unfinished = self._unfinished - 1
        if unfinished < 0:
            raise ValueError("task_done() called too many times: more often than items were put. Call it once for each item that get() returned.")
        if not unfinished:
            self._wake_joiners()
        self._unfinished = unfinished

    def join(self, timeout: float | None = None) -> bool:
        """Wait until `task_done` was called for every item that was put. Returns True, or False after ``timeout`` seconds."""
        if not self._unfinished:
            return True
        task = current_task()
        if self._getters or self._putters or self._joiners:
            refuse_a_newcomer_of_another_thread(self, task, self._getters, self._putters, self._joiners)
        if self._joiners is None:
            self._joiners = deque()
        joiners = self._joiners
        joiners.append(task)
        try:
            woken = park_task(task, _Joining(self), timeout)
        except BaseException:
            leave(joiners, task)
            raise
        if not woken:
            leave(joiners, task)
        return woken  # type: ignore[no-any-return]  # True or False

    def _wake_joiners(self) -> None:
        if self._joiners:
            wake_all(self._joiners)

    # -- shutting down --------------------------------------------------------------------------------------------------

    def shutdown(self, immediate: bool = False) -> None:
        """From now on `put` raises `ShutDown`, and so does `get` when the queue is empty; who waits in one gets it now. Never blocks.

        With ``immediate``, what is in the queue is dropped, and counts as done for `join`.
        """
        for line in (self._getters, self._putters, self._joiners if immediate else None):
            if line:
                refuse_another_thread(self, line)
        wake_all(self._getters, ShutDown)
        wake_all(self._putters, ShutDown)
        self.is_shutdown = True
        self._limit = -1
        self._stock = self._items
        self._open_for_puts()
        if immediate:
            self._drop_all()

    def _drop_all(self) -> None:
        try:
            if not self._hooked:
                self._unfinished -= len(self._items)
                self._items.clear()
            while self._qsize():
                self._get()
                self._unfinished -= 1
        finally:
            self._unfinished = max(self._unfinished, 0)
            if not self._unfinished:
                self._wake_joiners()

    def copy(self) -> Queue[T]:
        """A queue of the same class with the same items, size and count of unfinished tasks; nobody waits in it."""
        return type(self)(self._maxsize, self.queue, self._unfinished)


JoinableQueue = Queue  # the name that it has where a queue that counts its tasks is another class
