"""ParkingLot: tasks that wait for one thing, first come, first served. What primitives are built on.

The idea, as that of the name, is WebKit's: a queue of sleeping threads apart from the lock's own state, so that a primitive is its state plus a lot.

Invariants
==========
1. Tasks are woken in the order in which they parked.
2. `ParkingLot.unpark` hands its value to exactly one task, or to none and says so. A task that was thrown out or timed out meanwhile is passed over.
3. A task whose wait ended without a wake is no longer in the lot when `park` raises or returns False.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._state import current_task, park_task, unpark
from ._task import Task, hide_frames

hide_frames(__file__)


class ParkingLot:
    """A FIFO of parked tasks. ``what`` (a string, or a callable that makes one) says in reports what is waited for;
    ``owners``, if given, returns the tasks that could end the wait, such as the holder of a lock."""

    __slots__ = ("_owners", "_tasks", "_what")

    def __init__(self, what: str | Callable[[], str] = "a wake", owners: Callable[[], Iterable[Task[Any]]] | None = None) -> None:
        self._tasks: deque[Task[Any]] = deque()
        self._what = what
        self._owners = owners

    def park(self, timeout: float | None = None) -> Any:
        """Wait to be unparked: returns the value given, or False after ``timeout`` seconds. Raises what is thrown in."""
        task = current_task()
        self._tasks.append(task)
        try:
            value = park_task(task, self, timeout)
        except BaseException:
            self._remove(task)
            raise
        if value is False:
            self._remove(task)
        return value

    def unpark(self, value: Any = True) -> bool:
        """Wake the task that waits longest, and give it ``value``. Returns False if nobody waits. Never blocks."""
        tasks = self._tasks
        while tasks:
            woken = unpark(tasks[0], value)
            tasks.popleft()  # only now: from another thread unpark raises, and the task must keep its place
            if woken:
                return True
        return False

    def unpark_all(self, value: Any = True) -> int:
        """Wake all who wait now. Returns how many."""
        woken = 0
        while self.unpark(value):
            woken += 1
        return woken

    def _remove(self, task: Task[Any]) -> None:
        # Timeouts fire mostly in order, and a failed wait is often the newest: try both ends before searching.
        tasks = self._tasks
        if tasks:
            if tasks[0] is task:
                tasks.popleft()
            elif tasks[-1] is task:
                tasks.pop()
            elif task in tasks:  # a waker may have passed us over
                tasks.remove(task)

    def __len__(self) -> int:
        """How many wait, counting those whose wait has just ended otherwise."""
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task[Any]]:
        return iter(tuple(self._tasks))

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def describe_wait(self) -> str:
        what = self._what
        return what if isinstance(what, str) else what()

    def wait_owners(self) -> Iterable[Task[Any]]:
        return () if self._owners is None else self._owners()

    def __repr__(self) -> str:
        return f"<ParkingLot for {self.describe_wait()}, {len(self._tasks)} waiting>"
