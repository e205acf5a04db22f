"""Condition: tasks that hold a lock wait for one another's notifications.

Theory
======
``wait`` gives the lock back, waits for a notification, and returns with the lock. Under `Lock` and `RLock`, ``notify`` moves the first who waits
straight into the line of the lock, which the caller holds: no herd wakes to find the lock taken, and a waiter parks once for both. `Turn` is a waiter in
either line.

A waiter that is notified has won: from then on kills and timeouts stay pending until its next park (`coopcore.lowlevel.park_shielded`), it takes the
lock in its turn, and returns True. So no notification is ever lost on a task that is being killed. One that is killed or times out before that leaves
the waiters, and then must have the lock too before what was raised may come out, as the block that it stands in releases it: it goes to the end of
the lock's line, shielded in the same way. The first error comes out with the lock held; later ones at the parks after it.

What ends even that wait is what no waiting could cure (`Deadlock`, the end of the hub) and what must get through (KeyboardInterrupt, SystemExit). It
comes out *without* the lock, and ``with condition:`` then releases nothing.

A lock of another kind is only acquired and released: a notified waiter is woken, and acquires it by itself. What is raised there meanwhile is kept for
the parks after.

Invariants
==========
1. When `wait` returns or raises, the current task holds the lock again, as often as before; only what ends any wait may come out without.
2. A notification goes to one who waits, in the order in which they began to; who was killed or timed out before is passed over.
3. A notified waiter returns True, though it be killed or timed out before it has the lock; what was thrown is raised by its next park.
4. A wait that ended without a notification has left the waiters.
5. `notify` wakes nobody: who was notified has the lock in its turn, after those who wait for it already.
6. `wait` and `notify` without the lock, and a `notify` that concerns waiters of another thread, raise and change nothing.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX, get_ident
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, TypeVar

from coopcore import Timeout
from coopcore.errors import CoopError
from coopcore.lowlevel import (
    check_seconds,
    current_hub,
    current_task,
    hide_frames,
    park_shielded,
    park_task,
    refuse_copy,
    refuse_thread,
    shielded,
    throw_in,
    unpark,
)

from ._line import Turn
from ._lock import Lock, RLock

hide_frames(__file__)

T = TypeVar("T")


class LockLike(Protocol):
    """What a `Condition` needs of a lock."""

    def acquire(self, blocking: bool = True) -> Any: ...
    def release(self) -> Any: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any: ...


class Condition:
    """A lock, and a line of tasks that wait for a notification by whoever holds it.

    Arguments and errors are those of ``threading.Condition``; a timeout may also be a `Timeout`. ``lock`` is a `Lock`, an `RLock` (None makes one),
    or anything with their methods. `acquire` and `release`, and the ``with`` statement, are those of the lock.
    """

    __slots__ = ("__weakref__", "_is_ours", "_lock", "_thread", "_waiters", "acquire", "release")
    __module__ = "coop_plugins.lock"

    acquire: Callable[..., bool]
    release: Callable[[], object]

    def __init__(self, lock: LockLike | None = None) -> None:
        if lock is not None and not (hasattr(lock, "acquire") and hasattr(lock, "release")):
            # The error of the standard library, in more words.
            raise AttributeError(
                f"a Condition needs a Lock, an RLock, or another object with acquire() and release(), not {lock!r} of type {type(lock).__name__}. "
                f"Condition() makes an RLock of its own."
            )
        self._lock: Any = RLock() if lock is None else lock
        self._is_ours = type(self._lock) in (Lock, RLock)
        self._waiters: deque[Turn] = deque()
        self._thread = 0  # of all who wait for a notification
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    __reduce_ex__ = refuse_copy

    # -- waiting --------------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait until notified, and take the lock again. Returns True; False if ``timeout`` seconds passed first.

        The time is that until the notification: to have the lock again may take longer. Raises RuntimeError if the lock is not held. What is thrown in
        (kills, timeouts of enclosing blocks) comes out with the lock held.
        """
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock: wait() gives it back while it waits, so enter `with condition:` first")
        if isinstance(timeout, Timeout) and _raises(timeout):
            with _running(timeout):  # so that what it throws too late, after a notification, is withdrawn
                return self.wait()
        task = current_task()
        turn = Turn(task, self)
        self._enter(turn)
        try:
            state = self._release_save()
        except BaseException:
            self._leave(turn)
            raise
        if not self._is_ours:
            return self._wait_beside(turn, state, timeout)
        if type(state) is tuple:
            turn.count = state[0]
        try:
            park_task(task, turn, timeout)
        except BaseException:
            self._return(turn, not turn.wait_is_shielded)
            raise
        notified = turn.wait_is_shielded
        self._return(turn)
        return notified

    def _return(self, turn: Turn, wait: bool = True) -> None:
        """Leave only with the lock, whatever is thrown in. Without ``wait``, or where waiting was in vain, leave its line instead."""
        if not turn.wait_is_shielded:
            self._leave(turn)
            self._lock._line_up(turn)
        try:
            while wait and not turn.granted:
                park_shielded(turn.task, turn)
        finally:
            if not turn.granted:
                self._lock._leave(turn)

    def _wait_beside(self, turn: Turn, state: Any, timeout: float | None) -> bool:
        """The wait of one whose lock is of another kind."""
        woken = False
        try:
            woken = park_task(turn.task, turn, timeout)
        finally:
            if not woken:
                self._leave(turn)
            self._acquire_insistently(turn, state)
        return bool(woken)

    def _acquire_insistently(self, turn: Turn, state: Any) -> None:
        turn.wait_is_shielded = True
        kept: list[BaseException] = []
        while True:
            try:
                with shielded(turn.task):  # a cancelled scope would raise at each attempt
                    self._acquire_restore(state)
                break
            except (CoopError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if error not in kept:
                    kept.append(error)
            current_hub().call_soon(unpark, turn.task)  # others run before the next attempt, also if each one raises at once
            park_shielded(turn.task, turn)
        for late in kept:
            throw_in(turn.task, late, late)

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """`wait` until ``predicate()`` is true, for ``timeout`` seconds in all. Returns what it returned last."""
        if isinstance(timeout, Timeout):
            with _running(timeout):
                return self.wait_for(predicate, None if _raises(timeout) else timeout.seconds)
        seconds = None if timeout is None else check_seconds(timeout, "the timeout of wait_for()")
        now = current_hub().clock.now
        deadline = None if seconds is None else now() + int(min(max(seconds, 0), TIMEOUT_MAX) * 1e9)
        result = predicate()
        while not result:
            self.wait(seconds)
            result = predicate()
            if deadline is not None:
                seconds = (deadline - now()) / 1e9
                if seconds <= 0:
                    break
        return result

    def _enter(self, turn: Turn) -> None:
        if self._thread != get_ident():
            self._check_thread()
            self._thread = get_ident()
        self._waiters.append(turn)

    def _check_thread(self) -> None:
        """Somebody comes from another thread than those who wait. Not counted are those who stayed in the parent process when this one was forked."""
        waiters = self._waiters
        while waiters and waiters[0].task.dead:
            waiters.popleft()
        if waiters:
            refuse_thread(self, self._thread)

    def _leave(self, turn: Turn) -> None:
        waiters = self._waiters
        if waiters:
            if waiters[-1] is turn:
                waiters.pop()
            elif turn in waiters:
                waiters.remove(turn)

    # -- notifying ------------------------------------------------------------------------------------------------------

    def notify(self, n: int = 1) -> None:
        """Let the first ``n`` of those who wait return, once they have the lock. Never blocks. Raises RuntimeError if the lock is not held."""
        if not self._is_owned():
            raise RuntimeError("cannot notify on un-acquired lock: enter `with condition:` first, else what was changed could be missed by one about to wait")
        waiters = self._waiters
        if waiters and self._thread != get_ident():
            self._check_thread()
        while waiters and n > 0:
            n -= self._notify_one(waiters[0])
            waiters.popleft()

    def _notify_one(self, turn: Turn) -> bool:
        if not self._is_ours:
            return unpark(turn.task)
        if turn.task.state != "parked":  # it was killed or timed out, and has not run yet
            return False
        self._lock._line_up(turn)
        return True

    def notify_all(self) -> None:
        """Let all who wait now return, one after the other, as each gets the lock. As `notify`."""
        self.notify(len(self._waiters))

    # -- the lock -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> bool:
        return self._lock.__enter__()  # type: ignore[no-any-return]  # whatever the lock returns; ours True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None and self._is_ours and not self._lock._is_held_by_caller():
            return  # it came out of a wait without the lock
        self._lock.__exit__(kind, error, tb)

    def _is_owned(self) -> bool:
        asked = getattr(self._lock, "_is_owned", None)
        if asked is not None:
            return bool(asked())
        if self._lock.acquire(False):
            self._lock.release()
            return False
        return True

    def _release_save(self) -> Any:
        save = getattr(self._lock, "_release_save", None)
        return self._lock.release() if save is None else save()

    def _acquire_restore(self, state: Any) -> None:
        restore = getattr(self._lock, "_acquire_restore", None)
        if restore is None:
            self._lock.acquire()
        else:
            restore(state)

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        self._waiters.clear()

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__}({self._lock!r}, {len(self._waiters)})>"


def _raises(timeout: Timeout) -> bool:
    """Whether a `Timeout` that was given as a timeout raises something: it runs already, for an enclosing block, or it has an exception of its own."""
    return timeout.pending or timeout.exception not in (None, False)


def _running(timeout: Timeout) -> AbstractContextManager[object]:
    """One that runs during a block: nothing to do if it does already; else a copy, so that the caller's own stays fit for the next wait."""
    if timeout.pending or not _raises(timeout):
        return nullcontext()
    return Timeout(timeout.seconds, timeout.exception)
