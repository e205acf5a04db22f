"""Lock and RLock that work between tasks of any hub and plain threads: what the patch puts in the place of ``threading``'s.

Theory
======
The locks of ``coop_plugins.lock`` know that all who use them are of one thread. Those of a patched program cannot: a handler of ``logging`` or a queue is
used by tasks of several hubs, by workers of a thread pool, by threads that multiprocessing started. So here each step is one that the interpreter does not
divide (it lets another thread, a signal handler or a finaliser in only at calls and jumps back), and the steps are in an order that bears all that may come
in between.

The *state* says whether it is locked, and is only ever tried, never waited for: a native lock for `Lock`; for `RLock` a dict with the *hold* in it, a list of
the holder and how often it acquired, which ``dict.setdefault`` puts there only if there is none. The *line* is a list of `Waiter`.

- To acquire: try the state. If it is locked, enter the line, and try once more: it may have been released in between.
- To release: if somebody is in line, hand over. Else unlock the state, and look into the line once more: somebody may have entered in between. Then lock it
  again, and hand over.
- To hand over, the state stays locked: take the first out of the line, and claim it. If that succeeds, it has the lock: wake it. Else it had given up: take
  the next.
- To give up, after a timeout or a kill: claim oneself, and leave the line. If that fails the lock has just been handed over: after a timeout that is as good
  as in time, and who is killed hands it on.

Of one who enters the line and one who releases, one always sees the other: the first enters and then tries, the second unlocks and then looks.

In a plain thread `Waiter` blocks by a native lock of its own; a task parks, and is woken through the inbox of its hub if that is another thread's.

Invariants
==========
1. At most one has a lock, over all tasks, hubs and threads, and `locked` says whether one has.
2. It goes to those who wait in the order in which they came. While it is free, none of the tasks of one thread waits.
3. A wake is final: who was handed the lock has it, though killed or timed out before it runs again.
4. No wake is lost: whatever another thread does at any point of an acquire or a release, the lock is free or somebody has it, and who waits gets it in the end.
5. A wait that ended otherwise has left the line, and has taken nothing.
6. A release that raises has changed nothing.
7. An `RLock` is released when its owner, a task or a plain thread, has released it as often as it acquired it, and by nobody else; a finaliser in the middle
   of that may acquire and release it too.
8. Where nobody can park, a free lock is taken; for one that another thread holds it waits a moment, and then raises, as it does at once for one of a task's.
9. In the child of a fork those who waited in the parent are passed over.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from types import TracebackType
from typing import Any

from greenlet import getcurrent

from coopcore import Task
from coopcore.errors import HubClosedError, ParkInFinalizerError
from coopcore.lowlevel import hide_frames, refuse_copy, running_task, yield_now

from .._loops import loop_aside
from ._where import _END, Waiter, whoever

hide_frames(__file__)


class _Held:
    """What `Lock` and `RLock` share: the line. Subclasses have the state."""

    __slots__ = ("__weakref__", "_line")

    __reduce_ex__ = refuse_copy

    _line: list[Waiter]

    # -- the state ------------------------------------------------------------------------------------------------------

    def _take(self, waiter: Waiter | None) -> bool:
        """Lock the state for a waiter, or for nobody, if it is free."""
        raise NotImplementedError

    def _pass_to(self, waiter: Waiter) -> None:
        """Note who has it now; the state is locked."""

    def _unlock(self) -> None:
        """Unlock the state. Raises RuntimeError if it is not locked."""
        raise NotImplementedError

    def locked(self) -> bool:
        """True if somebody holds it."""
        raise NotImplementedError

    # -- the line -------------------------------------------------------------------------------------------------------

    def _wait(self, waiter: Waiter, timeout: float) -> bool:
        """Wait in line until the lock is the waiter's; False after ``timeout`` seconds, if that is not negative."""
        self._line.append(waiter)
        if self._take(waiter):  # it was let go of between the question and the line
            self._leave(waiter)
            return True
        try:
            woken = waiter.wait(timeout)
        except BaseException:
            if not self._leave(waiter):
                self._hand_over()
            raise
        return woken or not self._leave(waiter)

    def _leave(self, waiter: Waiter) -> bool:
        """Give up. False if it was served already."""
        if not waiter.claim():
            return False
        try:
            self._line.remove(waiter)
        except ValueError:
            pass  # somebody took it out, and then found it claimed
        return True

    def _hand_over(self) -> None:
        """Give the lock, which is locked, to the first who waits; unlock it if nobody does."""
        line = self._line
        while True:
            while line:
                try:
                    waiter = line.pop(0)
                except IndexError:  # another thread has taken the last one
                    break
                if waiter.claim():
                    self._pass_to(waiter)
                    waiter.wake()
                    return
            self._unlock()
            if not line or not self._take(None):
                return

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return repr(self)

    def wait_owners(self) -> tuple[Task[Any], ...]:
        """The tasks that are known to hold it, for deadlock reports."""
        return ()


class Lock(_Held):
    """A lock for tasks of any hub and plain threads, with the methods and errors of ``threading.Lock``. FIFO; anybody may release it."""

    __slots__ = ("_free", "_state", "_try")

    __module__ = "coop_plugins.threading"

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'threading.Lock' is not an acceptable base type")  # as it never was

    def __init__(self) -> None:
        self._line = []
        self._state = state = allocate_lock()
        self._try = state.acquire
        self._free = state.release

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, waiting until it is free. Returns True; False if ``timeout`` seconds have passed first.

        A task parks; a thread without a hub blocks. With ``blocking=False`` returns False if it is taken, in a task after a turn of the others, so that a
        loop that only tries keeps nobody out. Raises what ``threading.Lock`` raises, and `ParkInHubError` where nobody can wait.
        """
        return (timeout == -1 and self._try(False)) or self._acquire_slowly(self, blocking, timeout)

    def _acquire_slowly(self, thing: Any, blocking: bool, timeout: float) -> bool:
        """`acquire`, for ``thing``, which reports say is waited for."""
        gate = allocate_lock()
        gate.acquire(blocking, timeout)  # it is free, so this never waits, but it raises the standard's errors
        if self._try(False):
            return True
        if not blocking:
            return _give_way()
        return self._wait(Waiter(thing, gate), timeout)

    def __enter__(self) -> bool:
        return self._try(False) or self.acquire()

    def release(self) -> None:
        """Give it back; the first who waits has it then. Never blocks. Raises RuntimeError if it is not locked."""
        if self._line and self._state.locked():
            self._hand_over()
        else:
            self._free()
            if self._line and self._try(False):  # somebody entered between the question and the answer
                self._hand_over()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    acquire_lock = acquire
    release_lock = release

    def locked(self) -> bool:
        """True if somebody holds it."""
        return self._state.locked()

    locked_lock = locked

    def _take(self, waiter: Waiter | None) -> bool:
        return self._try(False)

    def _unlock(self) -> None:
        self._free()

    def _at_fork_reinit(self) -> None:
        """Make it new, in the child of a fork: free, and nobody in line."""
        Lock.__init__(self)

    # What `Condition` asks of a lock.

    def _is_owned(self) -> bool:
        return self._state.locked()  # by whomever: one may release what another has acquired

    def _release_save(self) -> int:
        self.release()
        return 1

    def _acquire_restore(self, state: object) -> None:
        if not self._try(False):
            self._wait(Waiter(self, _locked_gate(), shielded=True), -1)

    def __repr__(self) -> str:
        return f"<{'locked' if self._state.locked() else 'unlocked'} {type(self).__module__}.{type(self).__qualname__} object at {id(self):#x}>"


class RLock(_Held):
    """A lock that its owner, a task of any hub or a plain thread, can acquire again, with the methods and errors of ``threading.RLock``. FIFO."""

    __slots__ = ("_put", "_state")

    __module__ = "coop_plugins.threading"

    def __init__(self) -> None:
        self._line = []
        self._state: dict[int, list[Any]] = {}  # the hold, under 0: the holder, and how often it has acquired
        self._put = self._state.setdefault

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, waiting until it is free; at once if the caller has it already. Returns True; False if ``timeout`` seconds have passed first.

        As `Lock.acquire`.
        """
        if timeout == -1:
            try:
                me = getcurrent().task
            except (AttributeError, RuntimeError):
                me = None
            if me is None:
                me = whoever()
            mine = [me, 1]
            hold = self._put(0, mine)
            if hold is mine:
                return True
            if hold[0] is me:
                hold[1] += 1
                return True
        return self._acquire_slowly(blocking, timeout)

    __enter__ = acquire

    def _acquire_slowly(self, blocking: bool, timeout: float) -> bool:
        gate = allocate_lock()
        gate.acquire(blocking, timeout)  # as in Lock.acquire
        mine = [whoever(), 1]
        hold = self._put(0, mine)
        if hold is mine:
            return True
        if self._is_mine(hold):
            hold[1] += 1
            return True
        if not blocking:
            return _give_way()
        return self._wait_for_hold(Waiter(self, gate), 1, timeout)

    def _wait_for_hold(self, waiter: Waiter, count: int, timeout: float) -> bool:
        waiter.given = [whoever(), count]
        return self._wait(waiter, timeout)

    def release(self) -> None:
        """Undo one `acquire`; after the last, the first who waits has it. Never blocks. Raises RuntimeError if the caller does not own it."""
        hold = self._state.get(0)
        try:
            me = getcurrent().task
        except (AttributeError, RuntimeError):
            me = None
        if hold is None or ((me is None or hold[0] is not me) and not self._is_mine(hold)):
            raise RuntimeError("cannot release un-acquired lock")
        if hold[1] > 1:
            hold[1] -= 1
        elif self._line:
            self._hand_over()
        else:
            self._unlock()
            if self._line and self._take(None):
                self._hand_over()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def locked(self) -> bool:
        """True if somebody holds it."""
        return bool(self._state)

    def _take(self, waiter: Waiter | None) -> bool:
        hold = [None, 1] if waiter is None else waiter.given
        return self._put(0, hold) is hold

    def _pass_to(self, waiter: Waiter) -> None:
        self._state[0] = waiter.given

    def _unlock(self) -> None:
        del self._state[0]

    def _is_mine(self, hold: list[Any]) -> bool:
        holder, me = hold[0], whoever()
        if holder is not me and me is not _END and (holder is getcurrent() or (isinstance(holder, Task) and holder.state == "running")):
            # It was acquired before this thread had a hub, or by what forked and goes on in the child.
            hold[0] = holder = me
        return holder is me

    def wait_owners(self) -> tuple[Task[Any], ...]:
        """The task that holds it, for deadlock reports; empty if none does."""
        hold = self._state.get(0)
        return (hold[0],) if hold is not None and isinstance(hold[0], Task) else ()

    def _at_fork_reinit(self) -> None:
        """Make it new, in the child of a fork: free, and nobody in line."""
        RLock.__init__(self)

    # What `Condition` asks of a lock.

    def _is_owned(self) -> bool:
        hold = self._state.get(0)
        return hold is not None and self._is_mine(hold)

    def _release_save(self) -> tuple[int, Any]:
        hold = self._state.get(0)
        if hold is None or not self._is_mine(hold):
            raise RuntimeError("cannot release un-acquired lock")
        count, hold[1] = hold[1], 1
        self.release()
        return count, hold[0]

    def _acquire_restore(self, state: tuple[int, Any]) -> None:
        hold = [whoever(), state[0]]
        if self._put(0, hold) is not hold:
            self._wait_for_hold(Waiter(self, _locked_gate(), shielded=True), state[0], -1)

    def _recursion_count(self) -> int:
        hold = self._state.get(0)
        return hold[1] if hold is not None and self._is_mine(hold) else 0

    def __repr__(self) -> str:
        hold = self._state.get(0)
        holder, count = (None, 0) if hold is None else hold
        owner = 0 if hold is None else getattr(holder, "ident", None) or id(holder)
        state = "unlocked" if hold is None else "locked"
        return f"<{state} {type(self).__module__}.{type(self).__qualname__} object owner={owner} count={count} at {id(self):#x}>"


def _locked_gate() -> Any:
    gate = allocate_lock()
    gate.acquire()
    return gate


def _give_way() -> bool:
    """An attempt has failed: let the other tasks run, whose turn it never was if the caller only tries again and again. Returns False."""
    if not sys.is_finalizing() and running_task() is not None:
        try:
            with loop_aside():
                yield_now()
        except (HubClosedError, ParkInFinalizerError):
            pass
    return False
