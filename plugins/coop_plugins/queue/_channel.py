"""Channel: an item goes from hand to hand. It holds nothing: who puts waits until somebody gets, and the other way round.

Theory
======
Two lines, of which at most one has somebody in it who still waits. Whoever comes looks at the line of the other side: if somebody waits there, the two are
quits at once, else the newcomer stands in line on its own side. Putters stand there with their item.

Invariants
==========
1. Every item whose `put` returned was returned by exactly one `get`, or will be when that task runs; one whose `put` raised, by none.
2. A wake is final: an item handed to a getter that is killed or timed out before it runs is still returned to it; a putter whose item was
   taken returns normally.
3. No getter waits while a putter does.
4. Getters are served in the order in which they began to wait, and so are putters.
5. A wait that ended without an outcome has left its line.
6. A call that raises, because a task of another thread waits, has changed nothing: all who wait at one time are of one thread, and who comes from
   another is refused.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, Full
from typing import Any, TypeVar

from coopcore import Task
from coopcore.lowlevel import current_task, hide_frames, park_task, unpark

from ._parts import FALSE, Exchange, leave, refuse_a_newcomer_of_another_thread

hide_frames(__file__)

T = TypeVar("T")


class Channel(Exchange[T]):
    """A rendezvous: `put` waits until another task gets the item, `get` until another puts one. It is always empty and always full.

    The interface is gevent's. Iteration ends when it gets the class ``StopIteration``. The forms that do not wait also work in callbacks on the hub.
    """

    __module__ = "coop_plugins.queue"

    getters: deque[Task[Any]]
    """The line of tasks that wait to get. To look at, not to change."""
    putters: deque[tuple[Task[Any], T]]
    """The line of tasks that wait to put, each with its item. To look at, not to change."""

    def __init__(self, maxsize: int = 1) -> None:
        if maxsize != 1:
            raise ValueError(f"a channel has a maxsize of 1, in that one item at a time changes hands, not {maxsize!r}. To store items, use Queue.")
        self.getters = deque()
        self.putters = deque()

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Hand over an item; waits until somebody gets it. Raises `Full` after ``timeout`` seconds, or at once with ``block=False``."""
        getters = self.getters
        while getters:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed.
            woken = unpark(getters[0], FALSE if item is False else item)
            getters.popleft()
            if woken:
                return
        if not block:
            raise Full
        task = current_task()
        putters = self.putters
        if putters or getters:
            refuse_a_newcomer_of_another_thread(self, task, putters, getters)
        entry = (task, item)
        putters.append(entry)
        try:
            if park_task(task, self, timeout):
                return
        except BaseException:
            leave(putters, entry)
            raise
        leave(putters, entry)
        raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take over an item; waits until somebody puts one. Raises `Empty` after ``timeout`` seconds, or at once with ``block=False``."""
        putters = self.putters
        while putters:
            woken = unpark(putters[0][0])
            item = putters.popleft()[1]
            if woken:
                return item
        if not block:
            raise Empty
        task = current_task()
        getters = self.getters
        if getters or putters:
            refuse_a_newcomer_of_another_thread(self, task, getters, putters)
        getters.append(task)
        try:
            item = park_task(task, self, timeout)
        except BaseException:
            leave(getters, task)
            raise
        if item is False:
            leave(getters, task)
            raise Empty
        return False if item is FALSE else item  # type: ignore[return-value]  # a bool is a T here: it was put

    next = Exchange.__next__

    @property
    def balance(self) -> int:
        """How many wait to put, less how many wait to get."""
        return len(self.putters) - len(self.getters)

    def qsize(self) -> int:
        """0: it holds nothing."""
        return 0

    def empty(self) -> bool:
        """True: it holds nothing."""
        return True

    def full(self) -> bool:
        """True: it has no room."""
        return True

    def describe_wait(self) -> str:
        """What a task that waits in it waits for, in a deadlock report."""
        return f"{type(self).__name__}.{'put to' if self.putters else 'get of'} {self!r}"

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x} putters={len(self.putters)} getters={len(self.getters)}>"
