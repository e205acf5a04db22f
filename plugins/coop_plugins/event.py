"""Event and AsyncResult: a flag, and a value or an error, that tasks wait for.

Theory
======
Both are a state and those who wait for it, first come, first served: one task alone is noted bare, several stand in a deque. Whoever makes it ready
changes the state first, then takes all who wait out at one stroke, and wakes them. Who comes to wait enters first, and then asks for the state once more.

So it works across threads without a lock. The interpreter lets another thread in only at calls and jumps back, so each of these is one step: to find
nobody waiting and note oneself; to take out all who wait; to ask and act. Of a task that enters while another thread makes the thing ready, one of two
is true: it entered before all were taken out, and is woken, or it asks afterwards, and sees the state. A wake from another thread goes through the inbox of
the task's hub. It may arrive late, when the task has given up, and waits anew: therefore a task that is woken from afar looks whether it
still stands in line. If so, that wake was not meant for this wait.

Callbacks (`rawlink`) are called by the hub of the thread that linked them, in its next turn.

Invariants
==========
1. Each task that waits when it becomes ready is woken, once; those of one thread in the order in which they began to wait.
2. A wake is final: a waiter of an event that was set returns True, though the event be cleared, or the waiter killed or timed out, before it runs.
3. While an event is set, or a result is there, nobody waits.
4. A wait that ended otherwise has left the line.
5. A callback is called at most once for each `rawlink`, on the hub where it was linked, and never after `unlink` returned there.
6. Any thread may make it ready, with or without a hub of its own, at any moment of the waits of others: none is lost.
7. A wake from another thread that arrives when its task waits anew does not end that wait.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from greenlet import getcurrent

from coopcore import Task, Timeout
from coopcore.errors import HubClosedError
from coopcore.lowlevel import FROM_AFAR, Hub, current_hub, current_task, hide_frames, park_task, refuse_copy, unpark_anywhere

hide_frames(__file__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = ["AsyncResult", "Event"]


class _Source(Protocol[T_co]):
    """What an `AsyncResult` can be linked to: a task, or another result."""

    def successful(self) -> bool: ...
    @property
    def value(self) -> T_co | None: ...
    @property
    def exc_info(self) -> tuple[Any, ...]: ...


class _Link:
    """A callback, and the hub that is to call it."""

    __slots__ = ("callback", "due", "hub")

    def __init__(self, callback: Callable[[Any], object], hub: Hub) -> None:
        self.callback = callback
        self.hub = hub
        self.due = False  # the hub was asked to call it


class _Waitable:
    """Something that becomes ready. Subclasses set ``_state``, and then take out ``_waiters`` and wake them."""

    __slots__ = ("__weakref__", "_links", "_state", "_waiters")

    # Each subclass sets them in its own __init__: that is one call less, and the error for arguments that it doesn't take names the class.
    _state: int  # 0 while it is not ready
    _waiters: Any  # None, a task, or a deque of them
    _links: list[_Link] | None

    def ready(self) -> bool:
        """True if nobody would have to wait."""
        return self._state != 0

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` on the hub, once, when ready; in the hub's next turn if it is ready now. It must not wait."""
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the {type(self).__name__}; got {callback!r}")
        link = _Link(callback, current_hub())
        if self._links is None:
            self._links = []
        self._links.append(link)
        if self._state:
            self._links_are_due()

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Undo the first `rawlink` of this callback in this thread. Quiet if there is none, or it was called."""
        thread = get_ident()
        for link in self._links or ():
            if link.callback == callback and link.hub.thread == thread:
                self._drop_link(link)
                return

    def linkcount(self) -> int:
        """How many wait for it or are linked to it."""
        waiters = self._waiters
        return (0 if waiters is None else len(waiters) if type(waiters) is deque else 1) + len(self._links or ())

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return repr(self)

    __reduce_ex__ = refuse_copy

    # -- waiting --------------------------------------------------------------------------------------------------------

    def _wait(self, timeout: float | None = None) -> bool:
        """Wait until it is ready. Returns True if it was meanwhile, even if it is not any more; False if ``timeout`` seconds passed first."""
        if self._state:
            return True
        try:
            task = getcurrent().task
        except AttributeError:
            task = current_task()
        if self._waiters is None:
            self._waiters = task
        else:
            self._enter(task)
        if self._state:  # another thread came between the question and the line
            self._leave(task)
            return True
        try:
            woken = park_task(task, self, timeout)
            while woken is FROM_AFAR and self._stands_in_line(task):
                woken = park_task(task, self, timeout)  # that was the wake of an earlier wait
        except BaseException:
            if self._waiters is task:  # without a call, for which there may be no room on the stack
                self._waiters = None
            else:
                self._leave(task)
            raise
        if woken:
            return True
        self._leave(task)
        return self._state != 0

    def _enter(self, task: Task[Any]) -> None:
        while True:
            waiters = self._waiters
            if waiters is None:
                self._waiters = task
                return
            if type(waiters) is deque:
                waiters.append(task)
                if self._waiters is waiters:
                    return
            else:
                line = deque((waiters, task))
                if self._waiters is waiters:
                    self._waiters = line
                    return
            # Another thread has just taken out those who waited: begin again.

    def _stands_in_line(self, task: Task[Any]) -> bool:
        waiters = self._waiters
        return waiters is task or (type(waiters) is deque and task in waiters)

    def _leave(self, task: Task[Any]) -> None:
        waiters = self._waiters
        if waiters is task:
            self._waiters = None
        elif type(waiters) is deque:
            try:
                waiters.remove(task)
            except ValueError:
                return  # a waker has taken it out
            if not waiters and self._waiters is waiters:
                self._waiters = None

    # -- waking ---------------------------------------------------------------------------------------------------------

    def _wake(self, waiters: Any) -> None:
        """Wake those who were taken out of the line, and have all who are linked now called, each by its hub."""
        if type(waiters) is deque:
            while waiters:  # not an iteration: another thread may append to it until it sees that it was taken out
                unpark_anywhere(waiters.popleft(), self)
        elif waiters is not None:
            unpark_anywhere(waiters, self)
        if self._links:
            self._links_are_due()

    def _links_are_due(self) -> None:
        for link in tuple(self._links or ()):
            if not link.due:
                link.due = True
                hub = link.hub
                try:
                    (hub.call_soon if hub.thread == get_ident() else hub.call_soon_threadsafe)(self._call, link)
                except HubClosedError:  # nobody is left there to be told
                    self._drop_link(link)

    def _call(self, link: _Link) -> None:
        if self._drop_link(link):  # else it was unlinked since
            link.hub.call_safely(link.callback, self)

    def _drop_link(self, link: _Link) -> bool:
        links = self._links
        if links is None or link not in links:
            return False
        links.remove(link)
        return True


class Event(_Waitable):
    """A flag that tasks wait for; `set` wakes all of them. The methods are those of ``threading.Event``.

    ``set`` and ``clear`` never block and work in callbacks on the hub, and in any thread.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._state = 0
        self._waiters = self._links = None

    def is_set(self) -> bool:
        """True if it is set."""
        return self._state != 0

    isSet = is_set  # noqa: N815  # the name of gevent and of the standard library, which deprecates it

    def set(self) -> None:
        """Set the flag and wake, in their order, all who wait. They wake though it be cleared at once."""
        self._state = 1
        waiters, self._waiters = self._waiters, None
        if type(waiters) is Task and not self._links:
            unpark_anywhere(waiters, self)
        elif waiters is not None or self._links:
            self._wake(waiters)

    def clear(self) -> None:
        """Unset the flag: from now on `wait` waits."""
        self._state = 0

    wait = _Waitable._wait

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {'set' if self._state else 'unset'}>"


_NOTHING, _VALUE, _ERROR = range(3)


class AsyncResult(_Waitable, Generic[T]):
    """A value or an error that comes later: `set` or `set_exception` store it, `get` waits for it.

    May be set again; the last one counts. Usable as a link, ``task.link(result)``, and it becomes what the task does.
    """

    __slots__ = ("_outcome", "_traceback")

    def __init__(self) -> None:
        self._state = _NOTHING
        self._waiters = self._links = self._outcome = None

    _outcome: Any  # the value or the error, as ``_state`` says
    _traceback: TracebackType | None  # only with an error

    # -- giving ---------------------------------------------------------------------------------------------------------

    def set(self, value: T | None = None) -> None:
        """Store ``value`` and wake, in their order, all who wait. Never blocks. From any thread."""
        self._outcome = value
        self._state = _VALUE
        waiters, self._waiters = self._waiters, None
        if type(waiters) is Task and not self._links:
            unpark_anywhere(waiters, self)
        elif waiters is not None or self._links:
            self._wake(waiters)

    set_result = set

    def set_exception(self, exception: BaseException | type[BaseException], exc_info: tuple[Any, ...] | None = None) -> None:
        """Store an error, which `get` raises for every waiter. ``exc_info``, a triple, gives its traceback. Never blocks. From any thread."""
        error, traceback = _as_error(exception, exc_info)
        self._traceback = traceback
        self._outcome = error
        self._state = _ERROR
        waiters, self._waiters = self._waiters, None
        self._wake(waiters)

    def __call__(self, source: _Source[T]) -> None:
        """Take over the outcome of a task that has ended, or of another result: what makes it a link."""
        if source.successful():
            self.set(source.value)
        else:
            kind, error, traceback = source.exc_info
            self.set_exception(error, (kind, error, traceback))

    # -- taking ---------------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The value; raises the error if there is one. Waits for it.

        Raises `Timeout` after ``timeout`` seconds, or at once with ``block=False`` if there is none.
        """
        if self._state == _NOTHING and not (block and self._wait(timeout)):
            raise timeout if isinstance(timeout, Timeout) else Timeout(timeout if block else 0, f"{self!r} was not set")
        if self._state == _ERROR:
            try:
                raise cast(BaseException, self._outcome).with_traceback(self._traceback)
            finally:
                del self  # the traceback has this frame, and this the error: a cycle
        return self._outcome  # type: ignore[no-any-return]  # a T, by the state; a cast would be a call

    def get_nowait(self) -> T:
        """As ``get(block=False)``: the value or the error; `Timeout` if there is none. Never waits."""
        return self.get(block=False)

    def result(self, timeout: float | None = None) -> T:
        """As ``get(timeout=timeout)``: the name that futures have."""
        return self.get(timeout=timeout)

    def wait(self, timeout: float | None = None) -> T | None:
        """Wait for the outcome. Returns the value; None for an error, or after ``timeout`` seconds. Raises no error of the outcome."""
        if self._state == _NOTHING:
            self._wait(timeout)
        return self.value

    # -- what is known of it --------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """True if a value or an error is there: the name that futures have."""
        return self._state != _NOTHING

    def successful(self) -> bool:
        """True if a value is there."""
        return self._state == _VALUE

    @property
    def value(self) -> T | None:
        """The value; None if there is none."""
        return cast("T", self._outcome) if self._state == _VALUE else None

    @property
    def exception(self) -> BaseException | None:
        """The error; None if there is none."""
        return cast(BaseException, self._outcome) if self._state == _ERROR else None

    @property
    def exc_info(self) -> ExcInfo | tuple[()]:
        """The error as a triple; an empty tuple if there is none."""
        error = self.exception
        return () if error is None else (type(error), error, self._traceback)

    def cancel(self) -> bool:
        """Futures can be cancelled, this cannot: False."""
        return False

    def cancelled(self) -> bool:
        """Never: False."""
        return False

    def __repr__(self) -> str:
        shown = ("unset", "value", "error")[self._state]
        if self._state != _NOTHING:
            shown += f"={self._outcome!r}"
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {shown}>"


def _as_error(exc: Any, exc_info: tuple[Any, ...] | None) -> tuple[BaseException, TracebackType | None]:
    if isinstance(exc, type) and issubclass(exc, BaseException):
        exc = exc()
    if not isinstance(exc, BaseException):
        raise TypeError(f"set_exception() needs an exception, not {exc!r} of type {type(exc).__name__}. To store a value, call set().")
    if exc_info is None:
        return exc, exc.__traceback__
    if len(exc_info) != 3 or not (exc_info[2] is None or isinstance(exc_info[2], TracebackType)):
        raise TypeError(f"exc_info is a triple (type, error, traceback) as from sys.exc_info(), not {exc_info!r}")
    return exc, exc_info[2]
