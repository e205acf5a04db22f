"""RWLock: many readers or one writer, first come, first served.

Who comes when the lock cannot be had goes to the end of one queue, readers and writers alike, so neither can starve the other. Who lets go hands the lock over:
it goes to the head of the queue, and if that is a reader to every reader behind it up to the next writer. A task that is woken *has* the lock.

Invariants
==========
1. At any time there are readers, or one writer, or neither.
2. Nobody overtakes: while somebody waits, whoever comes waits too.
3. The lock is never lost: a wait that ends by a timeout or a kill leaves the queue, and whoever it kept from the lock then gets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from coopcore.lowlevel import Task, current_task, hide_frames, park, unpark

hide_frames(__file__)


class _Wait:
    """A task in the queue, and the reason of its park: that is what reports show."""

    __slots__ = ("lock", "task", "writes")

    def __init__(self, lock: RWLock, task: Task[object], writes: bool) -> None:
        self.lock = lock
        self.task = task
        self.writes = writes

    def describe_wait(self) -> str:
        return f"RWLock.acquire_{'write' if self.writes else 'read'} of {self.lock!r}"

    def wait_owners(self) -> list[Task[object]]:
        return self.lock.holders


class RWLock:
    """A lock that many readers share and a writer has alone. Not re-entrant: a holder that acquires again waits for itself."""

    def __init__(self) -> None:
        self._readers: list[Task[object]] = []
        self._writer: Task[object] | None = None
        self._queue: deque[_Wait] = deque()

    @property
    def holders(self) -> list[Task[object]]:
        """The tasks that have it now."""
        return [self._writer] if self._writer is not None else list(self._readers)

    def acquire_read(self, timeout: float | None = None) -> bool:
        """Share the lock with other readers. Waits for writers that came before; False after ``timeout`` seconds."""
        return self._acquire(False, timeout)

    def acquire_write(self, timeout: float | None = None) -> bool:
        """Have the lock alone. Waits for everybody that came before; False after ``timeout`` seconds."""
        return self._acquire(True, timeout)

    def release_read(self) -> None:
        """Let go as a reader. Never waits. RuntimeError if the current task does not read."""
        me = current_task()
        if me not in self._readers:
            raise RuntimeError(f"release_read() by {me.name!r}, which does not hold {self!r} for reading. Was it released twice?")
        self._readers.remove(me)
        self._hand_over()

    def release_write(self) -> None:
        """Let go as the writer. Never waits. RuntimeError if the current task does not write."""
        me = current_task()
        if me is not self._writer:
            raise RuntimeError(f"release_write() by {me.name!r}, which does not hold {self!r} for writing. Was it released twice?")
        self._writer = None
        self._hand_over()

    @contextmanager
    def reading(self, timeout: float | None = None) -> Iterator[None]:
        """``with lock.reading():``. TimeoutError after ``timeout`` seconds."""
        if not self.acquire_read(timeout):
            raise TimeoutError(f"{self!r} could not be had for reading within {timeout} s")
        try:
            yield
        finally:
            self.release_read()

    @contextmanager
    def writing(self, timeout: float | None = None) -> Iterator[None]:
        """``with lock.writing():``. TimeoutError after ``timeout`` seconds."""
        if not self.acquire_write(timeout):
            raise TimeoutError(f"{self!r} could not be had for writing within {timeout} s")
        try:
            yield
        finally:
            self.release_write()

    def _acquire(self, writes: bool, timeout: float | None) -> bool:
        me = current_task()
        if not self._queue and self._admits(writes):
            self._take(me, writes)
            return True
        wait = _Wait(self, me, writes)
        self._queue.append(wait)
        try:
            woken = bool(park(wait, timeout))
        except BaseException:
            self._leave(wait)
            raise
        if not woken:
            self._leave(wait)
        return woken

    def _admits(self, writes: bool) -> bool:
        return self._writer is None and not (writes and self._readers)

    def _take(self, task: Task[object], writes: bool) -> None:
        if writes:
            self._writer = task
        else:
            self._readers.append(task)

    def _leave(self, wait: _Wait) -> None:
        if wait in self._queue:  # else whoever handed the lock on has passed it over
            self._queue.remove(wait)
            self._hand_over()  # a writer that gives up may have kept readers waiting

    def _hand_over(self) -> None:
        """Give the lock to the head of the queue, as long as that is possible."""
        while self._queue and self._admits(self._queue[0].writes):
            wait = self._queue.popleft()
            if unpark(wait.task):  # else its wait has just ended otherwise, and it does not want the lock any more
                self._take(wait.task, wait.writes)

    def __repr__(self) -> str:
        held = f"written by {self._writer.name!r}" if self._writer is not None else f"{len(self._readers)} readers"
        return f"<RWLock at {id(self):#x} {held}, {len(self._queue)} waiting>"
