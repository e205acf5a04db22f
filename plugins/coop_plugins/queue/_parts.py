"""What the queues share: the checks of their arguments, and how a task leaves a line or all who stand in one are woken."""

from __future__ import annotations

import sys
from collections import deque
from operator import index
from typing import Any

from coopcore import Task, Timeout
from coopcore.lowlevel import check_seconds, hide_frames, unpark

hide_frames(__file__)

if sys.version_info >= (3, 13):
    from queue import ShutDown as ShutDown
else:

    class ShutDown(Exception):
        """Raised by put on a queue that was shut down, and by get on one that is empty as well."""

        __module__ = "coop_plugins.queue"


# What travels to a getter in place of the item False: park() itself says False for a timeout.
FALSE: Any = object()
# What travels to all who wait when a queue is shut down.
SHUT_DOWN: Any = object()
UNBOUNDED = sys.maxsize


class Peeker:
    """A task in the line of getters that wants to see an item, not to take it."""

    __slots__ = ("task",)

    def __init__(self, task: Task[Any]) -> None:
        self.task = task


class Handed:
    """What travels to a getter when a hook chose its item, or raised."""

    __slots__ = ("error", "item")

    def __init__(self) -> None:
        self.item: Any = None
        self.error: BaseException | None = None


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


def wake_all(line: deque[Any], value: object) -> None:
    """Wake all who stand in a line, first come, first served."""
    while line:
        unpark(_task_of(line[0]), value)
        line.popleft()  # only now: if unpark raised, for a task of another thread, the line is as it was


def _task_of(entry: Any) -> Task[Any]:
    if type(entry) is tuple:
        return entry[0]  # type: ignore[no-any-return]  # a putter: the task and its item
    return entry.task if type(entry) is Peeker else entry
