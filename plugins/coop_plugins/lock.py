"""Semaphore and BoundedSemaphore: so many permits, first come, first served.

Theory
======
A semaphore is a counter and a line. Whoever finds a free permit takes it without further ado; whoever does not, joins the line.
A permit that is released goes to the head of the line, handed over by the releaser itself, and the counter goes up only when nobody is
left in line. So a task that comes by at the right moment cannot snatch a permit from those who wait (no *barging*), and a woken task never has to
look again.

The line holds three kinds of entries: a task is an acquirer; a `_Watch` is somebody who only wants to know that a permit is free,
a task in `Semaphore.wait` or a callback of `Semaphore.rawlink`. A watcher that comes to the head while a permit is free is told, and takes nothing.

With one permit in all a semaphore is a lock, and it notes who took it: deadlock reports draw the cycle from that.

Invariants
==========
1. Permits are neither made nor lost: those free and those taken always add up to the initial value and the releases beyond the acquires.
2. A wake is final: a permit handed to a task that is killed or timed out before it runs again is still that task's.
3. While a permit is free, nobody waits.
4. Permits go to tasks in the order in which these began to wait.
5. A wait that ended without a permit has left the line, and has taken nothing.
6. A release that raises (too many, not a number, another thread's waiter) has changed nothing.
7. All who are in line at one time are of one thread. Who comes from another is refused.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterable
from operator import index
from types import TracebackType
from typing import Any

from coopcore import Task
from coopcore.lowlevel import current_hub, current_task, hide_frames, park_task, refuse_thread, running_task, unpark

hide_frames(__file__)


class _Watch:
    """Somebody in line who takes no permit: a task that waits until one is free, or a callback."""

    __slots__ = ("callback", "task")

    def __init__(self, task: Task[Any] | None = None, callback: Callable[[Any], object] | None = None) -> None:
        self.task = task
        self.callback = callback


class Semaphore:
    """``value`` permits. `acquire` takes one, waiting for it if none is free; `release` gives it back. FIFO.

    Arguments and errors are those of ``threading.Semaphore``. As a context manager it is acquired at the start of the block and
    released at its end. ``release`` and ``acquire(blocking=False)`` also work in callbacks on the hub.
    """

    __slots__ = ("__weakref__", "_due", "_holder", "_is_lock", "_line", "_thread", "_value")

    def __init__(self, value: int = 1) -> None:
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"the number of permits is an int, not {value!r} of type {type(value).__name__}") from None
        if value < 0:
            raise ValueError(f"semaphore initial value must be >= 0, not {value}: it is the number of permits that are free at first")
        self._value = value
        self._is_lock = value == 1
        self._holder: Task[Any] | None = None
        self._line: deque[Any] = deque()  # of Task and _Watch
        self._thread = 0  # of all who are in line
        self._due: deque[Callable[[Any], object]] | None = None

    # -- permits --------------------------------------------------------------------------------------------------------

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, waiting until one is free. Returns True; False if ``timeout`` seconds have passed first.

        With ``blocking=False``, never waits: returns False if none is free. A timeout of 0 or less gives others one turn and no more.
        Raises ValueError for ``blocking=False`` with a timeout.
        """
        value = self._value
        if value and timeout is None:
            self._value = value - 1
            if self._is_lock:
                # Not current_task(): a lock taken while a module is imported, or in a thread without a hub, must not make a hub.
                self._holder = running_task()
            return True
        if timeout is None:
            if not blocking:
                return False
        elif not blocking:
            raise ValueError("can't specify timeout for non-blocking acquire")
        elif value:
            return Semaphore.acquire(self)
        task = current_task()
        if self._thread != get_ident():
            self._change_thread()
        line = self._line
        line.append(task)
        try:
            if park_task(task, self, timeout):
                return True
        except BaseException:
            _leave(line, task)
            raise
        _leave(line, task)
        return False

    __enter__ = acquire

    def release(self, n: int = 1) -> int:
        """Give back ``n`` permits; those who wait get them in their order. Never blocks. Returns how many are free now.

        It need not be the task that acquired. Raises ValueError for ``n`` less than 1.
        """
        if n != 1:
            n = _checked_count(n)
        line = self._line
        while line:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed.
            entry = line[0]
            if type(entry) is _Watch:
                self._tell(entry, n)
                line.popleft()
            else:
                woken = unpark(entry)
                line.popleft()
                if woken:
                    self._holder = entry if self._is_lock else None
                    n -= 1
                    if not n:
                        return 0
        self._value = value = self._value + n
        self._holder = None
        return value

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._line or type(self) is not Semaphore:
            self.release()
        else:  # what release() would do: the call costs a fifth of an uncontended block
            self._value += 1
            self._holder = None

    # -- watching -------------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> int:
        """Wait in line until a permit is free, and take none. Returns how many were free then; 0 if ``timeout`` seconds passed first.

        By the time that the caller runs again somebody else may have acquired it: use `acquire` to have one.
        """
        if self._value:
            return self._value
        task = current_task()
        if self._thread != get_ident():
            self._change_thread()
        watch = _Watch(task)
        self._line.append(watch)
        try:
            free = park_task(task, self, timeout)
        except BaseException:
            _leave(self._line, watch)
            raise
        if not free:
            _leave(self._line, watch)
        return int(free)

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` on the hub, once, when a permit is free; in the hub's next turn if one is. It must not wait."""
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the semaphore; got {callback!r}")
        if self._value:
            self._call_on_hub(callback)
        else:
            if self._thread != get_ident():
                self._change_thread()
            self._line.append(_Watch(callback=callback))

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Undo the first `rawlink` of this callback. Quiet if there is none, or it was called."""
        for entry in self._line:
            if type(entry) is _Watch and entry.callback == callback:
                self._line.remove(entry)
                return
        if self._due and callback in self._due:
            self._due.remove(callback)

    def linkcount(self) -> int:
        """How many wait for it or are linked to it."""
        return len(self._line) + len(self._due or ())

    def _change_thread(self) -> None:
        if self._line:
            refuse_thread(self, self._thread)
        self._thread = get_ident()

    def _tell(self, watch: Any, free: int) -> None:
        if watch.task is None:
            if self._thread != get_ident():
                refuse_thread(self, self._thread)
            self._call_on_hub(watch.callback)
        else:
            unpark(watch.task, free)

    def _call_on_hub(self, callback: Callable[[Any], object]) -> None:
        hub = current_hub()
        if self._due is None:
            self._due = deque()
        self._due.append(callback)
        hub.call_soon(self._call_next, hub)

    def _call_next(self, hub: Any) -> None:
        if self._due:  # else it was unlinked since
            hub.call_safely(self._due.popleft(), self)

    # -- what is known of it --------------------------------------------------------------------------------------------

    def locked(self) -> bool:
        """True if an `acquire` would have to wait."""
        return self._value == 0

    def ready(self) -> bool:
        """True if an `acquire` would not have to wait."""
        return self._value > 0

    @property
    def counter(self) -> int:
        """How many permits are free."""
        return self._value

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return f"a permit of {self!r}"

    def wait_owners(self) -> Iterable[Task[Any]]:
        """The task that holds the only permit, for deadlock reports; empty if there are several, or it is not known."""
        return () if self._holder is None else (self._holder,)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: value={self._value}>"


class BoundedSemaphore(Semaphore):
    """A `Semaphore` that refuses a release too many: ValueError if more than ``value`` permits would be free."""

    __slots__ = ("_initial_value",)

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._initial_value = self._value

    def release(self, n: int = 1) -> int:
        """Give back ``n`` permits; as `Semaphore.release`. Raises ValueError, and gives back none, if that is more than were taken."""
        if n != 1:
            n = _checked_count(n)
        if self._value + n > self._initial_value:
            raise ValueError(
                f"Semaphore released too many times: {self._value} of {self._initial_value} permits are free, so {n} cannot be given back. "
                f"Some path releases what it did not acquire; `with` pairs the two."
            )
        return Semaphore.release(self, n)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: value={self._value}/{self._initial_value}>"


def _checked_count(n: Any) -> int:
    try:
        count = index(n)
    except TypeError:
        raise TypeError(f"the number of permits to release is an int, not {n!r} of type {type(n).__name__}") from None
    if count < 1:
        raise ValueError(f"n must be one or more, not {n}: it is the number of permits to give back")
    return count


def _leave(line: deque[Any], entry: object) -> None:
    if line and line[-1] is entry:
        line.pop()
    elif entry in line:  # a releaser may have passed us over
        line.remove(entry)
