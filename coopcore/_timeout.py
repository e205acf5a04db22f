"""Timeout: an exception that a timer throws into the task that set it.

Invariants
==========
1. A timeout is thrown only into the task that started it, and only while it is open.
2. Once its task has closed it, it is never raised: a throw that the task has not yet met is withdrawn.
3. Of nested timeouts each is raised by itself: an inner ``with`` block lets an outer one's pass.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ._state import NANOSECONDS, current_task, has_thrown, throw_in, withdraw

if TYPE_CHECKING:
    from ._hub import Hub
    from ._task import Task

R = TypeVar("R")
LONG = 10**10  # seconds; nobody waits for longer, and no timer is set for it
_RAISE = object()


def check_seconds(seconds: Any, what: str) -> float | int | None:
    """Refuse what is not a span of time. Returns None for infinity."""
    if not isinstance(seconds, int | float):
        if isinstance(seconds, str | bytes) or not (hasattr(seconds, "__float__") or hasattr(seconds, "__index__")):
            raise TypeError(f"{what} is a number of seconds, a Timeout or None, not {seconds!r} of type {type(seconds).__name__}")
        seconds = float(seconds)
    if isnan(seconds):
        raise ValueError(f"{what} is not a number (NaN): some computation of it went wrong before this call")
    return None if seconds == float("inf") else seconds


def _check_exception(exception: Any) -> None:
    if not isinstance(exception, str | BaseException) and not (isinstance(exception, type) and issubclass(exception, BaseException)):
        raise TypeError(
            f"the exception of a Timeout is None, False, a message, an exception or its class, not {exception!r} of type {type(exception).__name__}"
        )


class Timeout(BaseException):
    """Raised in the task that started it, at its wait, when ``seconds`` have passed.

    ``seconds=None`` never fires; 0 or less fires at the next wait. ``exception``: None raises the Timeout itself; False too, but the ``with`` block swallows
    it; a string is added to its message; an exception class or instance is raised in its place. ``ref=False`` does not hold off `Deadlock`, nor does the wait
    that has such a one for its ``timeout=``.

    Derives from BaseException, as gevent's does, so that ``except Exception`` in the guarded code doesn't swallow it. Always
    `close` it (the ``with`` statement does).
    """

    __slots__ = ("_hub", "_ref", "_timer", "exception", "for_one_wait", "owner", "seconds")

    owner: Task[Any] | None
    """The task that started it, and that it is thrown into."""

    def __init__(self, seconds: float | None = None, exception: Any = None, ref: bool = True, priority: int = -1) -> None:
        if seconds is not None and type(seconds) is not int and type(seconds) is not float:
            check_seconds(seconds, "the span of a Timeout")
        if exception is not None and exception is not False:
            _check_exception(exception)
        self.seconds = seconds
        self.exception = exception
        self._ref = ref
        self._timer: Any = None
        self._hub: Hub | None = None
        self.owner = None
        self.for_one_wait = False  # True for the copy of one that was given as a timeout

    @classmethod
    def start_new(cls, timeout: Any = None, exception: Any = None, ref: bool = True) -> Timeout:
        """A started Timeout, from a number of seconds, or from a Timeout, which is started if it was not."""
        if isinstance(timeout, Timeout):
            if not timeout.pending:
                timeout.start()
            return timeout
        new = cls(timeout, exception, ref)
        new.start()
        return new

    def start(self) -> None:
        """Start the timer for the current task. Raises RuntimeError if it is running."""
        if self._timer is not None:
            raise RuntimeError(f"{self!r} is started already. Start it once; to start again, close() it first.")
        self.owner = owner = current_task()
        self._hub = hub = owner._hub
        if self.seconds is not None:
            self._timer = hub._arm(self, self.seconds)
            if not self._ref and self._timer is not None:
                hub._uncounted += 1

    def copy_for_one_wait(self) -> Timeout:
        """What throws in its place in the current task, whose wait has it for its ``timeout=``, and arms that itself."""
        copy = Timeout(self.seconds, self.exception)
        copy.for_one_wait = True
        copy.owner = owner = current_task()
        copy._hub = owner._hub
        return copy

    def _fire(self) -> None:
        owner = self.owner
        if owner is not None and not has_thrown(self, owner):  # it has, if a signal handler that raised has cut this short
            try:
                error = self._to_raise()
            except Exception as failed:  # the class needs arguments: its owner is to hear of that, and not the hub
                error = failed
            throw_in(owner, error, self)
        if self._timer is not None:
            self._timer = None
            if not self._ref:
                assert self._hub is not None
                self._hub._uncounted -= 1

    def _to_raise(self) -> BaseException:
        exception = self.exception
        if exception is None or exception is False or isinstance(exception, str):
            return self
        if isinstance(exception, BaseException):
            return exception
        return exception()  # type: ignore[no-any-return]  # whatever the caller gave; a class, by the docstring

    @property
    def pending(self) -> bool:
        """True from `start` until it has fired or is closed."""
        return self._timer is not None

    def cancel(self) -> None:
        """Stop the timer, and take back a throw that its task has not met. May be started again."""
        timer, self._timer = self._timer, None
        owner, self.owner = self.owner, None
        if timer is not None:
            hub = self._hub
            assert hub is not None
            if not self._ref:
                hub._uncounted -= 1
            try:
                hub._disarm(timer)
            except BaseException:  # out of a signal handler: who closes it is rid of it all the same
                hub._disarm(timer)
                raise
        if owner is not None and owner._pending is not None:
            withdraw(owner, self)

    close = cancel

    def __enter__(self) -> Timeout:
        if self._timer is None:
            self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        self.close()
        return error is self and self.exception is False

    def __lt__(self, other: Timeout) -> bool:
        mine, others = self.seconds, other.seconds
        return (float("inf") if mine is None else mine) < (float("inf") if others is None else others)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))} seconds={self.seconds}{' pending' if self.pending else ''}>"

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        span = f"{self.seconds} second{'' if self.seconds == 1 else 's'}"
        if self.exception is False:
            return f"{span} (silent)"
        return f"{span}: {self.exception}" if isinstance(self.exception, str) else span


class Alarm:
    """A call of ``fn(*args)`` on ``hub`` when its clock has reached ``when``, in nanoseconds as ``hub.clock.now()`` has them. `cancel` takes it back.

    ``fn`` must not wait; what it raises is reported. A moment that is past comes in the hub's next pass. A pending alarm holds off `Deadlock`. Never
    blocks. Only from the thread of the hub.
    """

    __slots__ = ("_args", "_fn", "_hub", "_timer")

    def __init__(self, hub: Hub, when: int, fn: Callable[..., object], *args: Any) -> None:
        self._hub = hub
        self._fn = fn
        self._args = args
        self._timer: Any = None if when - hub._now() >= LONG * NANOSECONDS else hub._add_timer(when, self)

    def _fire(self) -> None:
        if self._timer is not None:
            self._hub.call_safely(self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._fn(*self._args)

    def cancel(self) -> None:
        """Take the call back. Quiet if it was made already."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self._hub._disarm(timer)


def with_timeout(seconds: Any, function: Callable[..., R], *args: Any, timeout_value: Any = _RAISE, **kwargs: Any) -> R:
    """Call ``function(*args, **kwargs)`` under a `Timeout`. With ``timeout_value``, returns that when this very timeout fires, else raises it."""
    if not callable(function):
        raise TypeError(
            f"with_timeout() needs a function to call, not {function!r} of type {type(function).__name__}. "
            f"The seconds come first, and the arguments apart: with_timeout(seconds, fn, arg)."
        )
    timeout = Timeout.start_new(seconds)
    try:
        return function(*args, **kwargs)
    except Timeout as fired:
        if fired is timeout and timeout_value is not _RAISE:
            return timeout_value  # type: ignore[no-any-return]  # the caller's own type
        raise
    finally:
        timeout.close()
