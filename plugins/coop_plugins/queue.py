"""Queue: a FIFO between tasks, with room for so many items.

Theory
======
Two lines: getters wait while the queue is empty, putters while it is full. Whoever changes that hands over in the same breath: `put` gives
its item straight to the first getter, and `get`, having made room, puts the first putter's item in for it. A woken task never looks again,
and nobody who comes by meanwhile can take what was meant for it.

The line of getters holds tasks and, for `Queue.peek`, `_Peeker` entries, which are shown an item when they come to the head and leave it
where it is. The line of putters holds pairs of a task and its item.

Where items are kept is up to four hooks, ``_init``, ``_qsize``, ``_put`` and ``_get``, as in the standard library, and gevent's ``_peek``. A class that
overrides none is not asked: its deque is used as it is. For one that does, `_Hooks` puts on the face of a deque, so that the rest of this
module knows one kind of queue only; an item for a waiting getter then goes through ``_put`` and ``_get`` too, since these may choose or change it.

Most calls find nobody waiting, so these ask one thing only. ``_room`` is the size below which `put` may just store: -1 while somebody must be looked
at first (a getter waits, hooks, shut down). ``_stock`` is what `get` may just take from: empty while putters wait, and for hooks. Both are
closed by whoever joins a line, at once, and opened by the next `put` or `get` that finds the line empty.

Invariants
==========
1. Every item that `put` accepted comes out of `get` exactly once, or is in the queue, or was dropped by ``shutdown(immediate=True)``.
2. A wake is final: an item handed to a getter that is killed or timed out before it runs is still returned to it; a putter whose item was
   taken in returns normally.
3. No getter waits while there is an item; no putter waits while there is room.
4. Getters are served in the order in which they began to wait, and so are putters; items come out in the order in which they went in.
5. At most ``maxsize`` items are in the queue, unless it was made with more, or ``maxsize`` was lowered since.
6. A wait that ended without an outcome has left its line; its item is in no queue.
7. A call that raises, because a task of another thread waits, has changed nothing: all who wait at one time are of one thread, and who comes from
   another is refused.
8. ``unfinished_tasks`` is the number of items accepted less the `task_done` calls and the items dropped; whoever joins is woken when it is 0.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from collections.abc import Iterable
from operator import index
from queue import Empty, Full
from typing import Any, Generic, TypeVar

from coopcore import Task, Timeout
from coopcore.lowlevel import check_seconds, current_task, hide_frames, park_task, refuse_thread, unpark

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """Raised by put on a queue that was shut down, and by get on one that is empty as well."""


__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "ShutDown"]
hide_frames(__file__)

T = TypeVar("T")

# What travels to a getter in place of an item: park() itself says False for a timeout.
_FALSE: Any = object()
_SHUT_DOWN: Any = object()
_UNBOUNDED = sys.maxsize


class _Handed:
    """What travels to a getter when a hook of a subclass chose its item, or raised."""

    __slots__ = ("error", "item")

    def __init__(self) -> None:
        self.item: Any = None
        self.error: BaseException | None = None


class _Peeker:
    """A task in the line of getters that wants to see an item, not to take it."""

    __slots__ = ("task",)

    def __init__(self, task: Task[Any]) -> None:
        self.task = task


class _Joining:
    """The reason of a park in `Queue.join`."""

    __slots__ = ("queue",)

    def __init__(self, queue: Queue[Any]) -> None:
        self.queue = queue

    def describe_wait(self) -> str:
        return f"task_done() of {self.queue!r}, {self.queue.unfinished_tasks} of whose items are unfinished"


class _Hooks:
    """The hooks of a subclass, with the face of a deque. Made for each call, so that a queue is in no reference cycle."""

    __slots__ = ("append", "popleft", "queue")

    def __init__(self, queue: Queue[Any]) -> None:
        self.queue = queue
        self.append = queue._put
        self.popleft = queue._get

    def __len__(self) -> int:
        return self.queue._qsize()


class Queue(Generic[T]):
    """A FIFO of items. With ``maxsize`` above 0 it holds at most that many, and `put` waits for room; else it is unbounded.

    The interface is that of ``queue.Queue`` as of Python 3.13, with gevent's additions: ``items`` to begin with, `peek`, a timeout for `join`,
    ``len()``, and iteration, which ends when it gets the class ``StopIteration``. A queue is always true. The forms that do not wait also work in
    callbacks on the hub. Subclasses may override ``_init``, ``_qsize``, ``_put``, ``_get`` and ``_peek``, none of which may wait.
    """

    queue: Any
    """Where the items are: a deque, unless a subclass has another ``_init``. It may be changed in place, but not replaced."""
    unfinished_tasks: int
    """How many items were put and are not marked by `task_done`."""
    is_shutdown: bool
    """True after `shutdown`."""

    _hooked = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._hooked = any(getattr(cls, name) is not getattr(Queue, name) for name in ("_qsize", "_put", "_get"))

    def __init__(self, maxsize: int | None = 0, items: Iterable[T] = (), unfinished_tasks: int | None = None) -> None:
        self.is_shutdown = False
        self._getters: deque[Any] = deque()  # of Task and _Peeker
        self._putters: deque[tuple[Task[Any], T]] = deque()
        self._joiners: deque[Task[Any]] | None = None
        self._thread = 0  # of all who wait
        self._maxsize = maxsize = _checked_maxsize(maxsize)
        self._limit = maxsize if maxsize > 0 else _UNBOUNDED
        self._init(maxsize)
        self._items: Any = () if self._hooked else self.queue  # for hooks, see _storage()
        self._stock: Any = self._items
        self._room = -1 if self._hooked else self._limit
        for item in items:
            self._put(item)
        self.unfinished_tasks = self._qsize() if unfinished_tasks is None else unfinished_tasks

    # -- putting --------------------------------------------------------------------------------------------------------

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; waits while the queue is full.

        Raises `Full` after ``timeout`` seconds, or at once with ``block=False``; `ShutDown` if the queue is shut down, also while it waits.
        """
        items = self._items
        if timeout is None and len(items) < self._room:
            items.append(item)
            self.unfinished_tasks += 1
            return
        if timeout is not None and block and self._maxsize > 0:
            _check_timeout(timeout)
        if self._getters and self._hand_over(item):
            return
        items = _Hooks(self) if self._hooked else self._items
        if len(items) >= self._limit:  # a queue that was shut down has a limit of -1
            self._wait_for_room(item, block, timeout)
        else:
            items.append(item)
            self.unfinished_tasks += 1
            self._room = -1 if self._hooked else self._limit

    def put_nowait(self, item: T) -> None:
        """As ``put(item, block=False)``: raises `Full` if there is no room. Never waits."""
        self.put(item, False)

    def _hand_over(self, item: T) -> bool:
        """The queue is empty and somebody is in the line of getters. Returns True if one of them has the item."""
        if self._hooked:
            self._hand_over_by_hooks(item)
            return True
        getters = self._getters
        value = _FALSE if item is False else item
        while getters:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed.
            entry = getters[0]
            if type(entry) is _Peeker:
                unpark(entry.task, value)
                getters.popleft()
            else:
                woken = unpark(entry, value)
                getters.popleft()
                if woken:
                    self.unfinished_tasks += 1
                    return True
        return False

    def _hand_over_by_hooks(self, item: T) -> None:
        getters = self._getters
        self._check_thread()
        self._put(item)
        self.unfinished_tasks += 1
        while getters and self._qsize():
            entry = getters[0]
            handed = _Handed()
            peeks = type(entry) is _Peeker
            woken = unpark(entry.task if peeks else entry, handed)
            getters.popleft()
            if woken:
                try:
                    handed.item = self._peek() if peeks else self._get()
                except BaseException as error:
                    handed.error = error

    def _wait_for_room(self, item: T, block: bool, timeout: float | None) -> None:
        if self.is_shutdown:
            raise ShutDown
        if not block:
            raise Full
        task = current_task()
        if self._thread != get_ident():
            self._change_thread()
        putters = self._putters
        entry = (task, item)
        putters.append(entry)
        self._stock = ()
        try:
            failed = park_task(task, self, timeout)
        except BaseException:
            _leave(putters, entry)
            raise
        if failed is False:
            _leave(putters, entry)
            raise Full
        if failed is _SHUT_DOWN:
            raise ShutDown
        if failed:
            raise failed.pop()

    # -- getting --------------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove an item and return it; waits while the queue is empty.

        Raises `Empty` after ``timeout`` seconds, or at once with ``block=False``; `ShutDown` if the queue is empty and shut down, also while it waits.
        """
        items = self._stock
        if items and timeout is None:
            return items.popleft()  # type: ignore[no-any-return]  # a deque of T
        if timeout is not None and block:
            _check_timeout(timeout)
        items = _Hooks(self) if self._hooked else self._items
        if not items:
            return self._wait_for_item(block, timeout, False)  # type: ignore[no-any-return]  # a cast would be a call
        if self._putters:
            return self._take_and_admit(items)
        self._stock = self._items
        return items.popleft()  # type: ignore[no-any-return]  # a deque of T, or the hooks that stand for one

    def get_nowait(self) -> T:
        """As ``get(block=False)``: raises `Empty` if there is no item. Never waits."""
        return self.get(False)

    def peek(self, block: bool = True, timeout: float | None = None) -> T:
        """Return the item that `get` would return, and leave it there; waits in line while the queue is empty. Raises as `get`.

        Somebody else may take the item before the caller runs again.
        """
        if timeout is not None and block:
            _check_timeout(timeout)
        if self._qsize():
            return self._peek()
        return self._wait_for_item(block, timeout, True)  # type: ignore[no-any-return]  # as in get()

    def peek_nowait(self) -> T:
        """As ``peek(block=False)``: raises `Empty` if there is no item. Never waits."""
        return self.peek(False)

    def _take_and_admit(self, items: Any) -> T:
        """Take an item, and put that of the first who waits for room in for it."""
        putters = self._putters
        while putters and len(items) <= self._limit:
            task, item = putters[0]
            failed: list[BaseException] = []
            woken = unpark(task, failed)
            putters.popleft()
            if woken:
                if self._hooked:
                    return self._exchange_by_hooks(item, failed)
                self.unfinished_tasks += 1
                items.append(item)
                break
        return items.popleft()  # type: ignore[no-any-return]  # as in get()

    def _exchange_by_hooks(self, item: T, failed: list[BaseException]) -> T:
        try:
            return self._get()
        finally:
            # Also if _get raised: the putter was told that its item is in, so the queue is one too long for once.
            self._admit(item, failed)

    def _admit(self, item: T, failed: list[BaseException]) -> None:
        try:
            self._put(item)
            self.unfinished_tasks += 1
        except BaseException as error:
            failed.append(error)

    def _wait_for_item(self, block: bool, timeout: float | None, peeks: bool) -> Any:
        if self.is_shutdown:
            raise ShutDown
        if not block:
            raise Empty
        task = current_task()
        if self._thread != get_ident():
            self._change_thread()
        getters = self._getters
        entry = _Peeker(task) if peeks else task
        getters.append(entry)
        self._room = -1
        try:
            item = park_task(task, self, timeout)
        except BaseException:
            _leave(getters, entry)
            raise
        if item is False:
            _leave(getters, entry)
            raise Empty
        if item is _FALSE:
            return False
        if item is _SHUT_DOWN:
            raise ShutDown
        if type(item) is _Handed:
            if item.error is not None:
                raise item.error
            return item.item
        return item

    def __iter__(self) -> Queue[T]:
        return self

    def __next__(self) -> T:
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    # -- keeping count --------------------------------------------------------------------------------------------------

    def task_done(self) -> None:
        """Say that the work on an item that was gotten is done; the last one wakes who joins. Never blocks.

        Raises ValueError if it is called more often than items were put.
        """
        unfinished = self.unfinished_tasks - 1
        if unfinished < 0:
            raise ValueError("task_done() called too many times: more often than items were put. Call it once for each item that get() returned.")
        if not unfinished:
            self._wake_joiners()
        self.unfinished_tasks = unfinished

    def join(self, timeout: float | None = None) -> bool:
        """Wait until `task_done` was called for every item that was put. Returns True, or False after ``timeout`` seconds."""
        if not self.unfinished_tasks:
            return True
        task = current_task()
        if self._thread != get_ident():
            self._change_thread()
        if self._joiners is None:
            self._joiners = deque()
        joiners = self._joiners
        joiners.append(task)
        try:
            woken = park_task(task, _Joining(self), timeout)
        except BaseException:
            _leave(joiners, task)
            raise
        if not woken:
            _leave(joiners, task)
        return woken  # type: ignore[no-any-return]  # True or False

    def _change_thread(self) -> None:
        if self._getters or self._putters or self._joiners:
            refuse_thread(self, self._thread)
        self._thread = get_ident()

    def _check_thread(self) -> None:
        """Raise, before anything is done, if those who would be woken are of another thread."""
        if self._thread != get_ident():
            refuse_thread(self, self._thread)

    def _wake_joiners(self) -> None:
        _wake_all(self._joiners or deque(), True)

    def shutdown(self, immediate: bool = False) -> None:
        """From now on `put` raises `ShutDown`, and so does `get` when the queue is empty; who waits in one gets it now. Never blocks.

        With ``immediate``, what is in the queue is dropped, and counts as done for `join`.
        """
        if self._getters or self._putters or (immediate and self._joiners):
            self._check_thread()
        _wake_all(self._getters, _SHUT_DOWN)
        _wake_all(self._putters, _SHUT_DOWN)
        self.is_shutdown = True
        self._limit = self._room = -1
        if immediate:
            while self._qsize():
                self._get()
                self.unfinished_tasks = max(self.unfinished_tasks - 1, 0)
            if not self.unfinished_tasks:
                self._wake_joiners()

    # -- what is known of it --------------------------------------------------------------------------------------------

    def qsize(self) -> int:
        """How many items are in the queue."""
        return self._qsize()

    def __len__(self) -> int:
        """How many items are in the queue."""
        return self._qsize()

    def __bool__(self) -> bool:
        """A queue is true, also an empty one."""
        return True

    def empty(self) -> bool:
        """True if there is no item."""
        return not self._qsize()

    def full(self) -> bool:
        """True if there is no room."""
        return 0 < self._maxsize <= self._qsize()

    @property
    def maxsize(self) -> int:
        """How many items it holds at most; 0 or less for any number. May be set: more room lets in who waits for it."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, maxsize: int | None) -> None:
        maxsize = _checked_maxsize(maxsize)
        if self._putters:
            self._check_thread()
        self._maxsize = maxsize
        self._room = -1
        if not self.is_shutdown:
            self._limit = maxsize if maxsize > 0 else _UNBOUNDED
        items = _Hooks(self) if self._hooked else self._items
        while self._putters and len(items) < self._limit:
            task, item = self._putters[0]
            failed: list[BaseException] = []
            woken = unpark(task, failed)
            self._putters.popleft()
            if woken:
                self._admit(item, failed)

    def copy(self) -> Queue[T]:
        """A queue of the same class with the same items, size and count of unfinished tasks; nobody waits in it."""
        return type(self)(self._maxsize, self.queue, self.unfinished_tasks)

    def describe_wait(self) -> str:
        """What a task that waits in it waits for, in a deadlock report."""
        return f"Queue.{'put to' if self.full() else 'get of'} {self!r}"

    def __repr__(self) -> str:
        bound = f" maxsize={self._maxsize}" if self._maxsize > 0 else ""
        return f"<{type(self).__name__} at {id(self):#x} items={self._qsize()}{bound}{' shut down' if self.is_shutdown else ''}>"

    # -- hooks for subclasses -------------------------------------------------------------------------------------------

    def _init(self, maxsize: int) -> None:
        self.queue = deque()

    def _qsize(self) -> int:
        return len(self.queue)

    def _put(self, item: T) -> None:
        self.queue.append(item)

    def _get(self) -> T:
        return self.queue.popleft()  # type: ignore[no-any-return]  # where a subclass keeps its items is its own affair

    def _peek(self) -> T:
        return self.queue[0]  # type: ignore[no-any-return]  # as above


JoinableQueue = Queue  # the name that it has where a queue that counts its tasks is another class


def _checked_maxsize(maxsize: Any) -> int:
    if maxsize is None:
        return 0
    try:
        return index(maxsize)
    except TypeError:
        raise TypeError(f"the size of a queue is an int, or None for any number of items, not {maxsize!r} of type {type(maxsize).__name__}") from None


def _check_timeout(timeout: Any) -> None:
    if type(timeout) is float or type(timeout) is int:
        if timeout >= 0:
            return
    elif isinstance(timeout, Timeout):
        return
    span = check_seconds(timeout, "the timeout of a queue")
    if span is not None and span < 0:
        raise ValueError(f"'timeout' must be a non-negative number, not {timeout!r}. Did a deadline pass before this call? Use max(0, ...).")


def _leave(line: deque[Any], entry: object) -> None:
    if line and line[-1] is entry:
        line.pop()
    elif entry in line:  # a waker may have passed us over
        line.remove(entry)


def _wake_all(line: deque[Any], value: object) -> None:
    while line:
        unpark(_task_of(line[0]), value)
        line.popleft()


def _task_of(entry: Any) -> Task[Any]:
    if type(entry) is tuple:
        return entry[0]  # type: ignore[no-any-return]  # a putter: the task and its item
    return entry.task if type(entry) is _Peeker else entry
