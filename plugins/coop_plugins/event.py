"""Event and AsyncResult: a flag, and a value or an error, that tasks wait for.

Both are a state and a line of tasks. Whoever changes the state wakes the whole line, first come, first served, and then empties it; whoever waits
afterwards is answered from the state. Callbacks (`rawlink`) are moved to ``_due`` by the same change, and called by the hub in its next turn.

Invariants
==========
1. Each task that waits when an event is set is woken, once, in the order in which they began to wait.
2. A wake is final: a waiter of an event that was set returns True, though the event be cleared, or the waiter killed or timed out, before it runs.
3. While an event is set, or a result is there, nobody waits.
4. A wait that ended otherwise has left the line.
5. A callback is called at most once for each `rawlink`, on the hub, and never after `unlink` returned.
6. A `set` that raises, because somebody of another thread waits or is linked, has changed nothing.
7. All who wait or are linked at one time are of one thread. Who comes from another is refused.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, SupportsIndex, TypeAlias, TypeVar, cast

from coopcore import Task, Timeout
from coopcore.lowlevel import Hub, current_hub, current_task, hide_frames, park_task, refuse_thread, unpark

hide_frames(__file__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


class _Source(Protocol[T_co]):
    """What an `AsyncResult` can be linked to: a task, or another result."""

    def successful(self) -> bool: ...
    @property
    def value(self) -> T_co | None: ...
    @property
    def exc_info(self) -> tuple[Any, ...]: ...


class _Waitable:
    """Something that becomes ready: a line of tasks, and callbacks. Subclasses define `ready` and call `_wake_all`."""

    __slots__ = ("__weakref__", "_due", "_line", "_links", "_thread")

    ready: Callable[[], bool]

    def __init__(self) -> None:
        self._line: deque[Task[Any]] = deque()
        self._links: list[Callable[[Any], object]] | None = None
        self._due: deque[Callable[[Any], object]] | None = None
        self._thread = 0  # of all who wait or are linked

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` on the hub, once, when ready; in the hub's next turn if it is ready now. It must not wait."""
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the {type(self).__name__}; got {callback!r}")
        if self._thread != get_ident():
            self._change_thread()
        if self._links is None:
            self._links = []
        self._links.append(callback)
        if self.ready():
            self._links_are_due()

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Undo the first `rawlink` of this callback. Quiet if there is none, or it was called."""
        for links in (self._links, self._due):
            if links and callback in links:
                links.remove(callback)
                return

    def linkcount(self) -> int:
        """How many wait for it or are linked to it."""
        return len(self._line) + len(self._links or ()) + len(self._due or ())

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return repr(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {type(self).__name__!r}: tasks wait for this object and no other. Pass it itself, or what it holds.")

    def _wait(self, timeout: float | None) -> bool:
        """Wait for the next `_wake_all`. True, or False after ``timeout`` seconds."""
        task = current_task()
        if self._thread != get_ident():
            self._change_thread()
        line = self._line
        line.append(task)
        try:
            woken = park_task(task, self, timeout)
        except BaseException:
            self._leave_line(task)
            raise
        if not woken:
            self._leave_line(task)
        return woken  # type: ignore[no-any-return]  # True or False; a cast would be a call at every wait

    def _change_thread(self) -> None:
        if self._line or self._links:
            refuse_thread(self, self._thread)
        self._thread = get_ident()

    def _leave_line(self, task: Task[Any]) -> None:
        line = self._line
        if line and line[-1] is task:
            line.pop()
        elif task in line:  # a waker may have passed us over
            line.remove(task)

    def _wake_all(self) -> None:
        """Wake all who wait now, and let the hub call all who are linked now. Raises, and does neither, if they are of another thread."""
        line = self._line
        while line:
            unpark(line[0])
            line.popleft()
        if self._links:
            self._links_are_due()

    def _links_are_due(self) -> None:
        if self._thread != get_ident():
            refuse_thread(self, self._thread)
        hub = current_hub()
        links = self._links
        if self._due is None:
            self._due = deque()
        if links:
            for link in links:
                self._due.append(link)
                hub.call_soon(self._call_next, hub)
            links.clear()

    def _call_next(self, hub: Hub) -> None:
        if self._due:  # else it was unlinked since
            hub.call_safely(self._due.popleft(), self)


class Event(_Waitable):
    """A flag that tasks wait for; `set` wakes all of them. The methods are those of ``threading.Event``.

    ``set`` and ``clear`` never block and work in callbacks on the hub.
    """

    __slots__ = ("_flag",)

    def __init__(self) -> None:
        super().__init__()
        self._flag = False

    def is_set(self) -> bool:
        """True if it is set."""
        return self._flag

    isSet = is_set  # noqa: N815  # the name of gevent and of the standard library, which deprecates it

    def ready(self) -> bool:
        """True if it is set."""
        return self._flag

    def set(self) -> None:
        """Set the flag and wake, in their order, all who wait. They wake though it be cleared at once."""
        line = self._line
        while line:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed.
            unpark(line[0])
            line.popleft()
        if self._links:
            self._links_are_due()  # raises for another thread, too
        self._flag = True

    def clear(self) -> None:
        """Unset the flag: from now on `wait` waits."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set. Returns True if it was set meanwhile, even if cleared again; False if ``timeout`` seconds passed first."""
        return self._flag or self._wait(timeout) or self._flag

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {'set' if self._flag else 'unset'}>"


_NOTHING, _VALUE, _ERROR = range(3)


class AsyncResult(_Waitable, Generic[T]):
    """A value or an error that comes later: `set` or `set_exception` store it, `get` waits for it.

    May be set again; the last one counts. Usable as a link, ``task.link(result)``, and it becomes what the task does.
    """

    __slots__ = ("_error", "_state", "_traceback", "_value")

    def __init__(self) -> None:
        super().__init__()
        self._state = _NOTHING
        self._value: T | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    # -- giving ---------------------------------------------------------------------------------------------------------

    def set(self, value: T | None = None) -> None:
        """Store ``value`` and wake, in their order, all who wait. Never blocks."""
        line = self._line
        while line:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed.
            unpark(line[0])
            line.popleft()
        if self._links:
            self._links_are_due()  # raises for another thread, too
        self._state = _VALUE
        self._value = value
        self._error = self._traceback = None

    set_result = set

    def set_exception(self, exception: BaseException | type[BaseException], exc_info: tuple[Any, ...] | None = None) -> None:
        """Store an error, which `get` raises for every waiter. ``exc_info``, a triple, gives its traceback. Never blocks."""
        error, traceback = _as_error(exception, exc_info)
        self._wake_all()
        self._state = _ERROR
        self._value = None
        self._error = error
        self._traceback = traceback

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
        if self._state == _NOTHING and not (block and self._wait(timeout)) and not self.ready():
            raise timeout if isinstance(timeout, Timeout) else Timeout(timeout if block else 0, f"{self!r} was not set")
        if self._state == _ERROR:
            raise cast(BaseException, self._error).with_traceback(self._traceback)
        return self._value  # type: ignore[return-value]  # set to a T along with the state; a cast would be a call

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
        return self._value

    # -- what is known of it --------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """True if a value or an error is there."""
        return self._state != _NOTHING

    def done(self) -> bool:
        """True if a value or an error is there: the name that futures have."""
        return self._state != _NOTHING

    def successful(self) -> bool:
        """True if a value is there."""
        return self._state == _VALUE

    @property
    def value(self) -> T | None:
        """The value; None if there is none."""
        return self._value

    @property
    def exception(self) -> BaseException | None:
        """The error; None if there is none."""
        return self._error

    @property
    def exc_info(self) -> ExcInfo | tuple[()]:
        """The error as a triple; an empty tuple if there is none."""
        error = self._error
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
            shown += f"={self._value if self._state == _VALUE else self._error!r}"
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
