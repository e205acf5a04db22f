"""What the queues share: the checks of their arguments, and how a task leaves a line or all who stand in one are woken."""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from operator import index
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, SupportsIndex, TypeVar

from coopcore import Task, Timeout
from coopcore.lowlevel import check_seconds, hide_frames, refuse_thread, unpark

hide_frames(__file__)

T = TypeVar("T")

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """Raised by put on a queue that was shut down, and by get on one that is empty as well."""

        __module__ = "coop_plugins.queue"


UNBOUNDED = sys.maxsize


class Peeker:
    """A task in the line of getters that wants to see an item, not to take it."""

    __slots__ = ("task",)

    def __init__(self, task: Task[Any]) -> None:
        self.task = task


class Handed:
    """What travels to who waits when it is not simply an item, or True: an item that a hook chose, or an error."""

    __slots__ = ("error", "item")

    def __init__(self, item: Any = None, error: BaseException | None = None) -> None:
        self.item = item
        self.error = error

    def unwrap(self) -> Any:
        """The item; raises the error if there is one."""
        error = self.error
        if error is None:
            return self.item
        try:
            raise error
        finally:
            self.error = error = None  # the traceback refers to this frame, and must not come back to the error


# The item False: park() itself says False for a timeout.
FALSE = Handed(False)


def checked_maxsize(maxsize: Any) -> int:
    """The size as an int; 0 for None. Raises TypeError for anything else."""
    if maxsize is None:
        return 0
    try:
        return index(maxsize)
    except TypeError:
        raise TypeError(f"the size of a queue is an int, or None for any number of items, not {maxsize!r} of type {type(maxsize).__name__}") from None


def check_timeout(timeout: Any) -> None:
    """Raise for what is no span of time, and for a negative one."""
    if type(timeout) is float or type(timeout) is int:
        if timeout >= 0:
            return
    elif isinstance(timeout, Timeout):
        return
    span = check_seconds(timeout, "the timeout of a queue")
    if span is not None and span < 0:
        raise ValueError(f"'timeout' must be a non-negative number, not {timeout!r}. Did a deadline pass before this call? Use max(0, ...).")


def leave(line: deque[Any], entry: object) -> None:
    """Remove an entry whose wait ended without an outcome, if it is still there: a waker may have passed it over."""
    if line and line[-1] is entry:
        line.pop()
    elif entry in line:
        line.remove(entry)


def wake_all(line: deque[Any], error: type[BaseException] | None = None) -> None:
    """Wake all who stand in a line, first come, first served, with True or an error."""
    while line:
        unpark(_task_of(line[0]), True if error is None else Handed(error=error()))
        line.popleft()  # only now: if unpark raised, for a task of another thread, the line is as it was


def _task_of(entry: Any) -> Task[Any]:
    if type(entry) is tuple:
        return entry[0]  # type: ignore[no-any-return]  # a putter: the task and its item
    return entry.task if type(entry) is Peeker else entry


class Exchange(Generic[T]):
    """What is common to all that has `put` and `get`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def put(self, item: T, block: bool = True, timeout: float | None = None) -> None: ...

        def get(self, block: bool = True, timeout: float | None = None) -> T: ...

    def put_nowait(self, item: T) -> None:
        """As ``put(item, block=False)``: raises `Full` if it would have to wait. Never waits."""
        self.put(item, False)

    def get_nowait(self) -> T:
        """As ``get(block=False)``: raises `Empty` if it would have to wait. Never waits."""
        return self.get(False)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        # copy.copy and pickle would copy the lines of those who wait as well.
        name = type(self).__name__
        raise TypeError(f"cannot copy or pickle {name!r}: tasks wait for this object and no other. Its copy() has the same items, if it holds any.")


# All who wait for one queue at one time are of one thread. It is asked only where somebody waits: that costs nothing where nobody does.


def refuse_another_thread(queue: object, line: deque[Any]) -> None:
    """Raise, before anything is done, if those who stand in a line and might be woken are of another thread."""
    if line:
        thread = _task_of(line[0]).hub.thread
        if thread != get_ident() and _without_the_dead(line):
            refuse_thread(queue, _task_of(line[0]).hub.thread)


def refuse_a_newcomer_of_another_thread(queue: object, task: Task[Any], *lines: deque[Any] | None) -> None:
    """Raise if ``task``, which is about to stand in a line, is of another thread than those who stand in one of ``lines`` already."""
    line = next(line for line in lines if line)
    hub = _task_of(line[0]).hub
    if hub is not task.hub and _without_the_dead(line):
        refuse_thread(queue, hub.thread)


def _without_the_dead(line: deque[Any]) -> bool:
    """Drop those at its head who stayed in the parent process when this one was forked. True if somebody is left who is not of this thread."""
    while line and _task_of(line[0]).dead:
        line.popleft()
    return bool(line) and _task_of(line[0]).hub.thread != get_ident()
