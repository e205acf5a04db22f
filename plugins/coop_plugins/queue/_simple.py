"""SimpleQueue: a FIFO between tasks, with room for so many items. All that the other queues have in common is here.

Theory
======
Two lines: getters wait while the queue is empty, putters while it is full. Whoever changes that hands over in the same breath: `put` gives
its item straight to the first getter, and `get`, having made room, puts the first putter's item in for it. A woken task never looks again,
and nobody who comes by meanwhile can take what was meant for it.

The line of getters holds tasks and, for `peek`, `Peeker` entries, which are shown an item when they come to the head and leave it
where it is. The line of putters holds pairs of a task and its item.

Where items are kept is up to four hooks, ``_init``, ``_qsize``, ``_put`` and ``_get``, as in the standard library, and gevent's ``_peek``. A class that
overrides none is not asked: its ``queue`` has the face of a deque and is used as it is (``_kind`` is its class). There are three degrees:

- a deque or a stack: ``append`` and ``popleft`` cannot fail, and an item for a waiting getter need not go through it at all;
- one that compares, a heap: the same while nobody waits, but who hands over is careful (``_careful``), since a comparison may raise;
- hooks of a subclass (``_hooked``): always careful, since a hook may choose, change, drop or refuse items.

To be careful is: first refuse what cannot be, then ask the hook, and only then count and wake. What a hook raises comes out of the call on whose behalf it ran.

Most calls find nobody waiting, so these ask one thing only. ``_free`` says that `put` may just store, ``_room`` is the size below which it may, and
``_stock`` is what `get` may just take from: empty while putters wait, and for hooks. Whoever joins a line closes them; the waker who leaves a line empty, or
the first call that finds it so, opens them again (``_open`` is what ``_room`` and ``_free`` are then).

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
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, Full
from typing import Any, ClassVar, TypeVar

from greenlet import getcurrent

from coopcore import Task
from coopcore.lowlevel import current_task, hide_frames, park_task, unpark

from ._parts import (
    FALSE,
    UNBOUNDED,
    Exchange,
    Handed,
    Peeker,
    ShutDown,
    check_timeout,
    checked_maxsize,
    leave,
    refuse_a_newcomer_of_another_thread,
    refuse_another_thread,
)

hide_frames(__file__)

T = TypeVar("T")


class SimpleQueue(Exchange[T]):
    """A FIFO of items. With ``maxsize`` above 0 it holds at most that many, and `put` waits for room; else it is unbounded.

    The interface is that of ``queue.SimpleQueue``, with gevent's additions: a bound, ``items`` to begin with, `peek`, ``len()``, and iteration,
    which ends when it gets the class ``StopIteration``. A queue is always true. The forms that do not wait also work in
    callbacks on the hub. Subclasses may override ``_init``, ``_qsize``, ``_put``, ``_get`` and ``_peek``, none of which may wait.
    """

    __module__ = "coop_plugins.queue"

    queue: Any
    """Where the items are: a deque, unless a subclass has another ``_init``. It may be changed in place, but not replaced."""
    is_shutdown = False
    """True after ``shutdown``, which a `SimpleQueue` does not have."""

    _kind: ClassVar[type] = deque
    _compares: ClassVar[bool] = False
    _own_hooks: ClassVar[tuple[Any, ...]]  # of the class that has this kind
    _overrides: ClassVar[bool] = False
    _joiners: deque[Task[Any]] | None = None  # of Queue

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hooks = (cls._qsize, cls._put, cls._get, cls._peek)
        if "_kind" in vars(cls):
            cls._own_hooks = hooks
        cls._overrides = hooks != cls._own_hooks

    def __init__(self, maxsize: int | None = None, items: Iterable[T] = ()) -> None:
        self._getters: deque[Any] = deque()  # of Task and Peeker
        self._putters: deque[tuple[Task[Any], T]] = deque()
        self._unfinished = 0  # for Queue
        self._maxsize = maxsize = checked_maxsize(maxsize)
        self._limit = maxsize if maxsize > 0 else UNBOUNDED
        self._init(maxsize)
        kept: Any = getattr(self, "queue", None)
        self._hooked = self._overrides or type(kept) is not self._kind
        self._careful = self._hooked or self._compares
        self._items: Any = () if self._hooked else kept
        self._stock = self._items
        self._open_for_puts()
        for item in items:
            self._put(item)

    # -- putting --------------------------------------------------------------------------------------------------------

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; waits while the queue is full, which one without a bound never is.

        Raises `Full` after ``timeout`` seconds, or at once with ``block=False``.
        """
        if self._free or (timeout is None and len(self._items) < self._room):
            self._items.append(item)
        else:
            self._put_at_the_lines(item, block, timeout)

    def _put_at_the_lines(self, item: T, block: bool, timeout: float | None) -> None:
        """`put`, where somebody waits or must, or hooks do the work."""
        if timeout is not None and block and self._maxsize > 0 and not self.is_shutdown:
            check_timeout(timeout)
        if self._careful:
            return self._put_carefully(item, block, timeout)
        getters = self._getters
        while getters:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed. Written out here as in get().
            entry = getters[0]
            if type(entry) is Peeker:
                unpark(entry.task, FALSE if item is False else item)
                getters.popleft()
                continue
            woken = unpark(entry, FALSE if item is False else item)
            getters.popleft()
            if woken:
                self._unfinished += 1
                if not getters:
                    self._room, self._free = self._open
                return None
        if len(self._items) >= self._limit:
            return self._wait_for_room(item, block, timeout)
        self._items.append(item)
        self._unfinished += 1
        self._room, self._free = self._open
        return None

    def _put_carefully(self, item: T, block: bool, timeout: float | None) -> None:
        if self._getters:
            refuse_another_thread(self, self._getters)
            self._put(item)
            self._unfinished += 1
            self._serve_getters_carefully()
        elif self._qsize() >= self._limit:
            self._wait_for_room(item, block, timeout)
        else:
            self._put(item)
            self._unfinished += 1
            self._room, self._free = self._open

    def _serve_getters_carefully(self) -> None:
        getters = self._getters
        while getters and self._qsize():
            entry = getters.popleft()
            handed = Handed()
            peeks = type(entry) is Peeker
            if unpark(entry.task if peeks else entry, handed):
                try:
                    handed.item = self._peek() if peeks else self._get()
                except BaseException as error:
                    handed.error = error

    def _wait_for_room(self, item: T, block: bool, timeout: float | None) -> None:
        if self.is_shutdown:
            raise ShutDown
        if not block:
            raise Full
        try:
            task = getcurrent().task
        except AttributeError:
            task = current_task()
        putters = self._putters
        if putters or self._getters or self._joiners:
            refuse_a_newcomer_of_another_thread(self, task, putters, self._getters, self._joiners)
        entry = (task, item)
        putters.append(entry)
        self._stock = ()
        try:
            outcome = park_task(task, self, timeout)
        except BaseException:
            if putters and putters[-1] is entry:  # without a call, for which there may be no room on the stack
                putters.pop()
            else:
                leave(putters, entry)
            raise
        if outcome is True:
            return
        if outcome is False:
            leave(putters, entry)
            raise Full
        outcome.unwrap()

    def _open_for_puts(self) -> None:
        """The limit is another. Note what `put` may do while nobody is in the line of getters: ``_room`` and ``_free``."""
        room = -1 if self._hooked else self._limit
        self._open = (room, room == UNBOUNDED)
        if not self._getters:
            self._room, self._free = self._open

    # -- getting --------------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove an item and return it; waits while the queue is empty.

        Raises `Empty` after ``timeout`` seconds, or at once with ``block=False``.
        """
        if self._stock and timeout is None:
            return self._stock.popleft()  # type: ignore[no-any-return]  # where a T was put
        if timeout is not None and block:
            self._check_timeout_of_get(timeout)
        # The way of every hand-off, and so written out in one function: what the calls would cost is in benchmarks/README.md.
        items, putters = self._items, self._putters
        if items and not self._careful:
            while putters and len(items) <= self._limit:
                # Room for the first putter: told before anything changes, since that raises for a task of another thread.
                woken = unpark(putters[0][0])
                item = putters.popleft()[1]
                if woken:
                    if not putters:
                        self._stock = items
                    taken = items.popleft()
                    items.append(item)
                    self._unfinished += 1
                    return taken  # type: ignore[no-any-return]  # as above
            if not putters:
                self._stock = items
            return items.popleft()  # type: ignore[no-any-return]  # as above
        if self._careful and self._qsize():
            return self._get_carefully()
        if putters or self.is_shutdown or not block:
            return self._get_without_waiting(block, timeout, self.get)
        try:
            task = getcurrent().task
        except AttributeError:
            task = current_task()
        getters = self._getters
        if getters or self._joiners:
            refuse_a_newcomer_of_another_thread(self, task, getters, self._joiners)
        getters.append(task)
        self._room = -1
        self._free = False
        try:
            got = park_task(task, self, timeout)
        except BaseException:
            if getters and getters[-1] is task:  # as in _wait_for_room()
                getters.pop()
            else:
                leave(getters, task)
            raise
        if got is False:
            leave(getters, task)
            raise Empty
        return got.unwrap() if type(got) is Handed else got  # type: ignore[no-any-return]  # as above

    def peek(self, block: bool = True, timeout: float | None = None) -> T:
        """Return the item that `get` would return, and leave it there; waits in line while the queue is empty. Raises as `get`.

        Somebody else may take the item before the caller runs again.
        """
        if timeout is not None and block:
            self._check_timeout_of_get(timeout)
        if self._qsize():
            return self._peek()
        if self._putters or self.is_shutdown or not block:
            return self._get_without_waiting(block, timeout, self.peek)
        return self._wait_to_peek(timeout)  # type: ignore[no-any-return]  # as in get()

    def peek_nowait(self) -> T:
        """As ``peek(block=False)``: raises `Empty` if there is no item. Never waits."""
        return self.peek(False)

    def _check_timeout_of_get(self, timeout: float) -> None:
        if not self.is_shutdown or self._qsize():  # else ShutDown comes first, as in the standard library
            check_timeout(timeout)

    def _get_carefully(self) -> T:
        if not self._putters:
            self._stock = self._items
            return self._get()
        refuse_another_thread(self, self._putters)
        item = self._get()
        self._admit_while_room()
        return item

    def _admit_while_room(self) -> None:
        """Put in what those at the head of the line of putters wait to put. One whose item a hook refuses is told, and gone."""
        putters = self._putters
        while putters and self._qsize() < self._limit:
            task, item = putters[0]
            told = Handed()
            woken = unpark(task, told)
            putters.popleft()
            if woken:
                try:
                    self._put(item)
                    self._unfinished += 1
                except BaseException as error:
                    told.error = error

    def _get_without_waiting(self, block: bool, timeout: float | None, again: Callable[[bool, float | None], T]) -> T:
        """There is no item, and it may not wait, or need not."""
        if self._putters:  # somebody took the items out of ``queue`` in place
            self._admit_while_room()
            return again(block, timeout)
        raise ShutDown if self.is_shutdown else Empty

    def _wait_to_peek(self, timeout: float | None) -> Any:
        task = current_task()
        getters = self._getters
        if getters or self._joiners:
            refuse_a_newcomer_of_another_thread(self, task, getters, self._joiners)
        entry = Peeker(task)
        getters.append(entry)
        self._room = -1
        self._free = False
        try:
            seen = park_task(task, self, timeout)
        except BaseException:
            leave(getters, entry)
            raise
        if seen is False:
            leave(getters, entry)
            raise Empty
        return seen.unwrap() if type(seen) is Handed else seen

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
        maxsize = checked_maxsize(maxsize)
        refuse_another_thread(self, self._putters)
        self._maxsize = maxsize
        if not self.is_shutdown:
            self._limit = maxsize if maxsize > 0 else UNBOUNDED
        self._open_for_puts()
        self._admit_while_room()

    def copy(self) -> SimpleQueue[T]:
        """A queue of the same class with the same items and size; nobody waits in it."""
        return type(self)(self._maxsize, self.queue)

    def describe_wait(self) -> str:
        """What a task that waits in it waits for, in a deadlock report."""
        return f"{type(self).__name__}.{'put to' if self.full() else 'get of'} {self!r}"

    def __repr__(self) -> str:
        cls = type(self)
        bound = f" maxsize={self._maxsize}" if self._maxsize > 0 else ""
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x} items={self._qsize()}{bound}{' shut down' if self.is_shutdown else ''}>"

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


SimpleQueue._own_hooks = (SimpleQueue._qsize, SimpleQueue._put, SimpleQueue._get, SimpleQueue._peek)
