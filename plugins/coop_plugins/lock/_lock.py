"""Lock and RLock: one holder at a time, first come, first served.

Theory
======
A lock is its holder: the task that acquired it, or None. To acquire a free one is to write oneself there; so a lock always knows its holder, which
is what deadlock reports draw their cycles from, and it costs no more than a flag. Who acquires where no task runs (on the hub, or while a module is
imported, in a thread that has no hub) is noted as its greenlet.

A lock that is released goes to the head of its line (see `_line`). An `RLock` counts how often its holder has acquired it, and goes on when
that is 0.

Invariants
==========
1. At most one task holds a lock, and `locked` tells whether one does.
2. A wake is final: a lock handed to a task that is killed or timed out before it runs again is that task's.
3. While a lock is free, nobody waits.
4. It goes to tasks in the order in which these began to wait.
5. A wait that ended without the lock has left the line, and has taken nothing.
6. A release that raises (not locked, not the owner, another thread's waiter) has changed nothing.
7. An `RLock` is released when its owner has released it as often as it acquired it, and by nobody else.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from greenlet import getcurrent

from coopcore import Task, Timeout
from coopcore.errors import LostInForkError
from coopcore.lowlevel import check_seconds, current_task, hide_frames, park_task

from ._line import Line, Turn, whoever

hide_frames(__file__)


class _Held(Line):
    """What `Lock` and `RLock` share: a holder, and how it passes on."""

    __slots__ = ("_holder",)

    _holder: Any

    def locked(self) -> bool:
        """True if somebody holds it."""
        return self._holder is not None

    def ready(self) -> bool:
        """True if nobody holds it: an `acquire` would not have to wait."""
        return self._holder is None

    def _wait_for_it(self, timeout: Any) -> bool:
        """Wait in line until it is handed to the current task; False after ``timeout`` seconds."""
        task = current_task()
        holder = self._holder
        if isinstance(holder, Task) and holder.dead and holder.hub.forked:
            raise LostInForkError(
                f"{self!r} is held by task {holder.name!r} of the parent process, which this child of a fork has not got: nobody here would release it. "
                f"Acquire it before the fork and release it after, on both sides; or make it anew in the child, by os.register_at_fork()."
            )
        self._enter(task)
        try:
            if park_task(task, self, timeout):
                return True
        except BaseException:
            self._leave(task)
            raise
        self._leave(task)
        return False

    def _let_go(self) -> Any:
        """Hand it to the next in line, else let it be free. Returns who has it now, an entry of the line. A release that raises has changed nothing."""
        entry = self._hand_over(1)
        if entry is None:
            self._holder = None
        else:
            self._holder = entry.task if type(entry) is Turn else entry
        return entry

    def _line_up(self, turn: Turn) -> None:
        """For a task that returns from `Condition.wait`: take it now if it is free, else in its turn."""
        if self._holder is None:
            turn.granted = True
            self._holder = turn.task
        else:
            self._enter(turn)
        turn.wait_is_shielded = True

    def _is_held_by_caller(self) -> bool:
        holder = self._holder
        if holder is not None and (holder is getcurrent() or (isinstance(holder, Task) and holder.state == "running")):
            # It was acquired before this thread had a hub, or by what forked and goes on in the child: its holder is the task that this greenlet has become.
            self._holder = holder = whoever()
        return holder is not None and holder is whoever()

    def _at_fork_reinit(self) -> None:
        """Make it new, in the child of a fork: free, and nobody in line."""
        self._holder = None
        self._line = None
        self._due = None

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return repr(self)

    def wait_owners(self) -> Iterable[Task[Any]]:
        """The task that holds it, for deadlock reports; empty if none does."""
        return (self._holder,) if isinstance(self._holder, Task) else ()


class Lock(_Held):
    """A lock that one task at a time can have. FIFO. Any task may release it.

    Arguments and errors are those of ``threading.Lock``; a timeout may also be None, for none, or a `Timeout`. As a context manager it is acquired at
    the start of the block and released at its end. `release` and ``acquire(blocking=False)`` also work in callbacks on the hub.
    """

    __slots__ = ()
    __module__ = "coop_plugins.lock"

    def __init__(self) -> None:
        super().__init__()
        self._holder = None

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take it, waiting until it is free. Returns True; False if ``timeout`` seconds have passed first.

        With ``blocking=False``, never waits: returns False if it is taken. A timeout of 0 gives others one turn and no more. Raises ValueError for a negative
        timeout other than -1, which means none, and for ``blocking=False`` with a timeout; OverflowError for one beyond ``threading.TIMEOUT_MAX``.
        """
        if self._holder is None and timeout == -1:
            try:
                self._holder = getcurrent().task
            except AttributeError:
                self._holder = getcurrent()
            return True
        timeout = _checked_timeout(blocking, timeout)
        if self._holder is None:
            self._holder = whoever()
            return True
        return bool(blocking) and self._wait_for_it(timeout)

    def __enter__(self) -> bool:
        if self._holder is None:
            try:
                self._holder = getcurrent().task
            except AttributeError:
                self._holder = getcurrent()
            return True
        return self._wait_for_it(None)

    def release(self) -> None:
        """Give it back; the first who waits has it then. Never blocks. Raises RuntimeError if it is not locked.

        It need not be the task that acquired it.
        """
        if self._line or self._holder is None:
            self._release_slowly()
        else:
            self._holder = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._line or self._holder is None:
            self._release_slowly()
        else:
            self._holder = None

    def _release_slowly(self) -> None:
        if self._holder is None:
            raise RuntimeError(f"release unlocked lock: {self!r} is free already. Some path releases what it did not acquire; `with` pairs the two.")
        self._let_go()

    # What `Condition` asks of a lock.

    def _is_owned(self) -> bool:
        return self._holder is not None  # by whomever: one task may release what another one acquired

    def _release_save(self) -> int:
        self.release()
        return 1

    def _acquire_restore(self, state: int) -> None:
        self.acquire()

    def __repr__(self) -> str:
        return f"<{'unlocked' if self._holder is None else 'locked'} {type(self).__module__}.{type(self).__qualname__} object at {id(self):#x}>"


class RLock(_Held):
    """A lock that its owner, a task, can acquire again: it is free when it was released as often. FIFO.

    Arguments and errors are those of ``threading.RLock``; a timeout may also be None, for none, or a `Timeout`. As a context manager it is acquired at
    the start of the block and released at its end.
    """

    __slots__ = ("_count",)
    __module__ = "coop_plugins.lock"

    def __init__(self) -> None:
        super().__init__()
        self._holder = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take it, waiting until it is free; at once if the current task has it already. Returns True; False if ``timeout`` seconds have passed first.

        As `Lock.acquire`.
        """
        if timeout == -1:
            try:
                me = getcurrent().task
            except AttributeError:
                me = getcurrent()
            if self._holder is None:
                self._holder = me
                self._count = 1
                return True
            if self._holder is me:
                self._count += 1
                return True
        return self._acquire_slowly(blocking, timeout)

    __enter__ = acquire

    def _acquire_slowly(self, blocking: bool, timeout: float | None) -> bool:
        timeout = _checked_timeout(blocking, timeout)
        if self._is_owned():
            self._count += 1
            return True
        if self._holder is None:
            self._holder = whoever()
            self._count = 1
            return True
        return bool(blocking) and self._wait_for_it(timeout)

    def release(self) -> None:
        """Undo one `acquire`; after the last, the first who waits has it. Never blocks. Raises RuntimeError if the current task does not own it."""
        try:
            me = getcurrent().task
        except AttributeError:
            me = getcurrent()
        if self._holder is not me and not self._is_owned():
            raise RuntimeError(
                f"cannot release un-acquired lock: {self!r} is not held by {me!r}. Only the task that acquired an RLock may release it; "
                f"a Lock may be released by any."
            )
        if self._count > 1:
            self._count -= 1
        elif self._line:
            self._let_go()
        else:
            self._holder = None
            self._count = 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Not release() alone: where acquire() had room on the stack this has, so that a recursion that goes too deep leaves no lock behind.
        try:
            me = getcurrent().task
        except AttributeError:
            me = getcurrent()
        if self._holder is not me or self._line:
            self.release()
        elif self._count > 1:
            self._count -= 1
        else:
            self._holder = None
            self._count = 0

    def _let_go(self) -> Any:
        entry = super()._let_go()
        self._count = 0 if entry is None else entry.count if type(entry) is Turn else 1
        return entry

    def _line_up(self, turn: Turn) -> None:
        super()._line_up(turn)
        if turn.granted:
            self._count = turn.count

    @property
    def owner(self) -> Any:
        """The task that has it, or None."""
        return self._holder

    # What `Condition` asks of a lock.

    _is_owned = _Held._is_held_by_caller

    def _release_save(self) -> tuple[int, Any]:
        if not self._is_owned():
            raise RuntimeError(f"cannot release un-acquired lock: {self!r} is not held by {whoever()!r}")
        state = self._count, self._holder
        self._let_go()
        return state

    def _acquire_restore(self, state: tuple[int, Any]) -> None:
        self.acquire()
        self._count, self._holder = state

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    def _at_fork_reinit(self) -> None:
        super()._at_fork_reinit()
        self._count = 0

    def __repr__(self) -> str:
        holder = self._holder
        return (
            f"<{'unlocked' if holder is None else 'locked'} {type(self).__module__}.{type(self).__qualname__} object "
            f"owner={getattr(holder, 'name', holder)!r} count={self._count} at {id(self):#x}>"
        )


def _checked_timeout(blocking: bool, timeout: Any) -> float | None:
    """What ``threading`` accepts, None and a `Timeout`; for `park_task`."""
    if timeout == -1:
        return None
    if timeout is not None and not isinstance(timeout, Timeout):
        seconds = check_seconds(timeout, "the timeout of acquire()")
        if seconds is not None and seconds < 0:
            raise ValueError(f"timeout value must be a non-negative number, not {timeout!r}: only -1 means that there is none. Use max(0, deadline - now)")
        if seconds is None or seconds > TIMEOUT_MAX:
            raise OverflowError(f"timeout value is too large: {timeout!r} seconds. For none, leave it out")
    if timeout is not None and not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call: with blocking=False, acquire() never waits")
    return timeout  # type: ignore[no-any-return]  # checked to be what park_task takes
