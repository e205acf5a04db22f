"""Semaphore, BoundedSemaphore and DummySemaphore: so many permits, first come, first served.

Theory
======
A semaphore is a counter and a line (see `_line`). Whoever finds a free permit takes it without further ado; whoever does not, joins the line.
A permit that is released goes to the head of the line, and the counter goes up only when nobody is left in line.

``_value`` counts the free permits, and -1 says that somebody may be in line. So a release looks at one number to know that it has nobody to wake; it is
what makes a free semaphore cheap. A semaphore does not know who took its permits: to note it would cost a third of an uncontended `acquire` and `release`.
A `Lock` does know.

Invariants
==========
1. Permits are neither made nor lost: those free and those taken always add up to the initial value and the releases beyond the acquires.
2. A wake is final: a permit handed to a task that is killed or timed out before it runs again is still that task's.
3. While a permit is free, nobody waits.
4. Permits go to tasks in the order in which these began to wait.
5. A wait that ended without a permit has left the line, and has taken nothing.
6. A release that raises (too many, not a number, another thread's waiter) has changed nothing.
7. All who are in line at one time are of one thread. Who comes from another is refused.
8. While somebody is in line, ``_value`` is -1.
"""

from __future__ import annotations

from _thread import get_ident
from operator import index
from types import TracebackType
from typing import Any

from greenlet import getcurrent

from coopcore import Task
from coopcore.lowlevel import current_task, hide_frames, park_task, unpark

from ._line import Line, Watch

hide_frames(__file__)


class Semaphore(Line):
    """``value`` permits. `acquire` takes one, waiting for it if none is free; `release` gives it back. FIFO.

    Arguments and errors are those of ``threading.Semaphore``. As a context manager it is acquired at the start of the block and
    released at its end. ``release`` and ``acquire(blocking=False)`` also work in callbacks on the hub.
    """

    __slots__ = ("_value",)
    __module__ = "coop_plugins.lock"

    def __init__(self, value: int = 1) -> None:
        super().__init__()
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"the number of permits is an int, not {value!r} of type {type(value).__name__}") from None
        if value < 0:
            raise ValueError(f"semaphore initial value must be >= 0, not {value}: it is the number of permits that are free at first")
        self._value = value

    # -- permits --------------------------------------------------------------------------------------------------------

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, waiting until one is free. Returns True; False if ``timeout`` seconds have passed first.

        With ``blocking=False``, never waits: returns False if none is free. A timeout of 0 or less gives others one turn and no more.
        Raises ValueError for ``blocking=False`` with a timeout.
        """
        value = self._value
        if value > 0 and timeout is None:
            self._value = value - 1
            return True
        if timeout is None:
            if not blocking:
                return False
        elif not blocking:
            raise ValueError("can't specify timeout for non-blocking acquire")
        elif value > 0:
            return Semaphore.acquire(self)
        try:
            task = getcurrent().task
        except AttributeError:
            task = current_task()
        line = self._line
        if line is None or self._thread != get_ident():
            self._enter(task)
        else:
            line.append(task)
            self._value = -1
        try:
            if park_task(task, self, timeout):
                return True
        except BaseException:
            if line and line[-1] is task:  # without a call, for which there may be no room on the stack
                line.pop()
            else:
                self._leave(task)
            raise
        self._leave(task)
        return False

    __enter__ = acquire

    def release(self, n: int = 1) -> int:
        """Give back ``n`` permits; those who wait get them in their order. Never blocks. Returns how many are free now.

        It need not be the task that acquired. Raises ValueError for ``n`` less than 1.
        """
        if n != 1:
            return self._release_several(n)
        value = self._value
        if value >= 0:
            self._value = value = value + 1
            return value
        line = self._line
        if line and type(line[0]) is Task:  # _hand_over(), for a head that is a task: the call costs a twentieth of a hand-over
            woken = unpark(line[0])
            line.popleft()
        else:
            woken = False
        if not woken and self._hand_over(1) is None:
            self._value = 1
            return 1
        if not line:
            self._value = 0
        return 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._value < 0 or type(self) is not Semaphore:
            self.release()
        else:  # what release() would do: the call costs a fifth of an uncontended block
            self._value += 1

    def _release_several(self, n: int) -> int:
        n = _checked_count(n)
        while self._hand_over(n) is not None:
            n -= 1
            if not n:
                self._value = -1 if self._line else 0
                return 0
        self._value = value = max(self._value, 0) + n
        return value

    # -- watching -------------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> int:
        """Wait in line until a permit is free, and take none. Returns how many were free then; 0 if ``timeout`` seconds passed first.

        By the time that the caller runs again somebody else may have acquired it: use `acquire` to have one.
        """
        if self._value > 0:
            return self._value
        task = current_task()
        watch = Watch(task)
        self._enter(watch)
        try:
            free = park_task(task, self, timeout)
        except BaseException:
            self._leave(watch)
            raise
        if not free:
            self._leave(watch)
        return int(free)

    def _enter(self, entry: Task[Any] | Watch) -> None:
        super()._enter(entry)
        self._value = -1

    # -- what is known of it --------------------------------------------------------------------------------------------

    def locked(self) -> bool:
        """True if an `acquire` would have to wait."""
        return self._value <= 0

    def ready(self) -> bool:
        """True if an `acquire` would not have to wait."""
        return self._value > 0

    @property
    def counter(self) -> int:
        """How many permits are free."""
        return max(self._value, 0)

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return f"a permit of {self!r}"

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: value={self.counter}>"


class BoundedSemaphore(Semaphore):
    """A `Semaphore` that refuses a release too many: ValueError if more than ``value`` permits would be free."""

    __slots__ = ("_initial_value",)
    __module__ = "coop_plugins.lock"

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._initial_value = self._value

    def release(self, n: int = 1) -> int:
        """Give back ``n`` permits; as `Semaphore.release`. Raises ValueError, and gives back none, if that is more than were taken."""
        value = self._value
        if n == 1 and 0 <= value < self._initial_value:
            self._value = value = value + 1
            return value
        n = _checked_count(n)
        if self.counter + n > self._initial_value:
            raise ValueError(
                f"Semaphore released too many times: {self.counter} of {self._initial_value} permits are free, so {n} cannot be given back. "
                f"Some path releases what it did not acquire; `with` pairs the two."
            )
        return Semaphore.release(self, n)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: value={self.counter}/{self._initial_value}>"


class DummySemaphore(Line):
    """A semaphore that never runs out: nothing here waits or counts, and ``value`` is ignored. For code that takes one where there is nothing to limit."""

    __slots__ = ()
    __module__ = "coop_plugins.lock"

    def __init__(self, value: Any = None) -> None:
        super().__init__()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """True, at once."""
        return True

    __enter__ = acquire

    def release(self, n: int = 1) -> None:
        """Nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def wait(self, timeout: float | None = None) -> int:
        """1, at once: as many as `Semaphore.wait` would need to return."""
        return 1

    def locked(self) -> bool:
        """False."""
        return False

    def ready(self) -> bool:
        """True."""
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}>"


def _checked_count(n: Any) -> int:
    try:
        count = index(n)
    except TypeError:
        raise TypeError(f"the number of permits to release is an int, not {n!r} of type {type(n).__name__}") from None
    if count < 1:
        raise ValueError(f"n must be one or more, not {n}: it is the number of permits to give back")
    return count
