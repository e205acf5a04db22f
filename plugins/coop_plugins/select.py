"""The standard module ``select``, cooperative: a call that must wait parks its task and lets the others run.

Everything that the standard module has is here under its own name, with the same arguments, results and errors; `docs/select.md` lists what differs.

Theory
======
Each call first asks the kernel with timeout 0, by the standard module's own function: what is ready, and what is wrong, is its answer. Only if nothing
is ready the task parks: for `select` and `poll` in a nest (see ``_readiness``), for `epoll` at the epoll's own descriptor, which is readable when it has
something to report. The look has just found nothing, so the hub may rely on edges there, and the wait costs no system call.

An `epoll` belongs to nobody: several tasks may wait at one, as several threads may. In each hub one of them leads, and waits at the descriptor; the
others stand in line behind. Whoever leaves the line, whatever the cause, wakes the next if there is no leader.

Invariants
==========
1. A call that finds something, or may not wait, doesn't park.
2. Of the tasks that wait at one `epoll` each event goes to one, as the kernel has it, and no task is left waiting while there are events.
3. When an `epoll` is closed, each task that waits at it gets `ClosedResourceError`.
"""

from __future__ import annotations

import errno
import select as _stdlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex

from coopcore.errors import ClosedResourceError
from coopcore.lowlevel import READABLE, Hub, ParkingLot, current_task, hide_frames

from ._readiness import Wait, Waiters, call_on, look_and_wait, number_of, raise_lost, seconds_of, told_of_closing, waiting_at, wake_reader

if TYPE_CHECKING:
    # What follows defines three names of the module anew, so type checkers are told the others.
    from select import EPOLL_CLOEXEC as EPOLL_CLOEXEC
    from select import EPOLLERR as EPOLLERR
    from select import EPOLLET as EPOLLET
    from select import EPOLLEXCLUSIVE as EPOLLEXCLUSIVE
    from select import EPOLLHUP as EPOLLHUP
    from select import EPOLLIN as EPOLLIN
    from select import EPOLLMSG as EPOLLMSG
    from select import EPOLLONESHOT as EPOLLONESHOT
    from select import EPOLLOUT as EPOLLOUT
    from select import EPOLLPRI as EPOLLPRI
    from select import EPOLLRDBAND as EPOLLRDBAND
    from select import EPOLLRDHUP as EPOLLRDHUP
    from select import EPOLLRDNORM as EPOLLRDNORM
    from select import EPOLLWRBAND as EPOLLWRBAND
    from select import EPOLLWRNORM as EPOLLWRNORM
    from select import PIPE_BUF as PIPE_BUF
    from select import POLLERR as POLLERR
    from select import POLLHUP as POLLHUP
    from select import POLLIN as POLLIN
    from select import POLLMSG as POLLMSG
    from select import POLLNVAL as POLLNVAL
    from select import POLLOUT as POLLOUT
    from select import POLLPRI as POLLPRI
    from select import POLLRDBAND as POLLRDBAND
    from select import POLLRDHUP as POLLRDHUP
    from select import POLLRDNORM as POLLRDNORM
    from select import POLLWRBAND as POLLWRBAND
    from select import POLLWRNORM as POLLWRNORM
    from select import error as error
else:
    from select import *  # noqa: F403 - every constant, under its own name

__all__ = [name for name in dir(_stdlib) if not name.startswith("_")]

_READ = _stdlib.POLLIN
_WRITE = _stdlib.POLLOUT
_URGENT = _stdlib.POLLPRI


_Ready = tuple[list[Any], list[Any], list[Any]]


def select(rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None, /) -> tuple[list[Any], list[Any], list[Any]]:
    """Which of three lists of descriptors, or objects with ``fileno()``, are ready to read, to write, or have urgent data, as ``select.select``.

    Parks until one is, at most for ``timeout`` seconds; 0 never parks. All three results are empty then. Raises as the standard function: ValueError for
    a negative timeout or a number that is too large for it, OSError for a descriptor that is not open, and `ClosedResourceError`, which is one, if somebody
    closes one while it waits.
    """
    lists = _kept(rlist), _kept(wlist), _kept(xlist)
    seconds = seconds_of(timeout, 1, "timeout must be a float or None")
    if seconds is not None and seconds < 0:
        raise ValueError("timeout must be non-negative")

    watched: list[list[tuple[int, Any]]] = []  # asked once: what is closed meanwhile has no number any more
    lost: set[int] = set()

    def look() -> _Ready | None:
        if lost:
            raise_lost(lost, "select()")
        if watched:
            return _look_again(watched)
        found = _stdlib.select(*lists, 0)
        if any(found):
            return found
        watched.extend([(number_of(thing), thing) for thing in each] for each in lists)
        return None

    def interests() -> dict[int, int]:
        wanted: dict[int, int] = {}
        for each, events in zip(watched, (_READ, _WRITE, _URGENT), strict=True):
            for fd, _ in each:
                wanted[fd] = wanted.get(fd, 0) | events
        return wanted

    return look_and_wait(look, lambda: waiting_at(interests(), "select", lost), seconds) or ([], [], [])


def _look_again(watched: list[list[tuple[int, Any]]]) -> _Ready | None:
    """What of it is ready now. Raises OSError for a number that was closed meanwhile."""
    reads, writes, others = ([fd for fd, _ in each] for each in watched)
    found = _stdlib.select(reads, writes, others, 0)
    if not any(found):
        return None
    first, second, third = ([thing for fd, thing in each if fd in ready] for each, ready in zip(watched, map(set, found), strict=True))
    return first, second, third


def _kept(things: Any) -> Any:
    """Something that can be gone through again. What is no iterable is left to the standard function to refuse."""
    return list(things) if hasattr(things, "__iter__") and not isinstance(things, list | tuple) else things


class poll:  # noqa: N801 - the standard name
    """What ``select.poll()`` returns, with waits that park the task. Descriptors are registered with a mask of events: POLLIN, POLLPRI, POLLOUT ..."""

    __slots__ = ("_events", "_poll", "_waiting")

    def __init__(self) -> None:
        self._poll = _stdlib.poll()
        self._events: dict[int, int] = {}
        self._waiting = False

    def register(self, fd: Any, eventmask: int = _READ | _URGENT | _WRITE, /) -> None:
        """Watch a descriptor, or an object with ``fileno()``, for these events. Once more: replaces them."""
        number = number_of(fd)
        self._poll.register(number, eventmask)
        self._events[number] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Change the events of a registered descriptor. Raises OSError (ENOENT) if it is not registered."""
        number = number_of(fd)
        self._poll.modify(number, eventmask)
        self._events[number] = eventmask

    def unregister(self, fd: Any, /) -> None:
        """Watch it no more. Raises KeyError if it is not registered."""
        number = number_of(fd)
        self._poll.unregister(number)
        del self._events[number]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """What is ready: a list of descriptors and their events. Parks at most ``timeout`` milliseconds; None or a negative number: for ever; 0 never parks.

        A descriptor that is not open is reported with POLLNVAL, and so is one that somebody closes meanwhile. Raises RuntimeError if another task or thread
        waits in this very object.
        """
        seconds = seconds_of(timeout, 1000, "timeout must be an integer or None")
        if self._waiting:
            raise RuntimeError("concurrent poll() invocation")
        self._waiting = True
        try:
            lost: set[int] = set()
            place = lambda: waiting_at(dict(self._events), "poll", lost)  # noqa: E731 - a name for what is read below
            return look_and_wait(lambda: self._look(lost) or None, place, _or_never(seconds)) or []
        finally:
            self._waiting = False

    def _look(self, lost: set[int]) -> list[tuple[int, int]]:
        found = self._poll.poll(0)
        if not lost:
            return found
        gone = [(fd, _stdlib.POLLNVAL) for fd in lost if fd in self._events]
        return gone + [pair for pair in found if pair[0] not in lost]


def _or_never(seconds: float | None) -> float | None:
    """None, which is for ever, for what is negative; whole milliseconds, as the kernel has them, rounded up."""
    return None if seconds is None or seconds < 0 else ceil(seconds * 1000) / 1000


class _Line:
    """The tasks of one hub that wait at one object: the first at its descriptor, the others behind."""

    __slots__ = ("led", "lot", "members")

    def __init__(self, what: str) -> None:
        self.led = False
        self.lot = ParkingLot(what)
        self.members = 0


class _Pollable:
    """What `epoll` and `kqueue` share: an object of the standard module whose descriptor is readable when it has something to report."""

    __slots__ = ("_inner", "_lines", "_lost", "_numbers", "_waiters")

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._numbers: set[int] = set()
        """What is registered: the kernel does not tell."""
        self._lost: list[int] = []
        """What of it was closed while a task waited here, and was not reported yet."""
        self._waiters = Waiters()
        self._lines: dict[Hub, _Line] = {}

    @property
    def closed(self) -> bool:
        """True once it was closed."""
        return self._waiters.closed or bool(self._inner.closed)

    def fileno(self) -> int:
        """Its descriptor, which can be watched itself. Raises ValueError if it is closed."""
        fd: int = self._inner.fileno()
        return fd

    def close(self) -> None:
        """Close it. Tasks that wait at it get `ClosedResourceError`. What is registered stays open. Idempotent."""
        if not self.closed:
            self._waiters.close(self.fileno(), self._inner.close)

    def _lose(self, fd: int, hub: Hub) -> None:
        """What `told_of_closing` calls: of what is registered here, while a task of ``hub`` waits."""
        if fd in self._numbers:
            self._numbers.discard(fd)  # the kernel forgets it too, and one waiter is enough
            self._lost.append(fd)
            call_on(hub, self._wake, hub)

    def _wake(self, hub: Hub) -> None:
        if not self.closed:
            wake_reader(hub, self.fileno())

    def _found(self, look: Callable[[], list[Any]], seconds: float | None) -> list[Any]:
        return look_and_wait(lambda: look() or None, self._place, seconds) or []

    @contextmanager
    def _place(self) -> Iterator[Wait]:
        hub = current_task().hub
        line = self._lines.get(hub)
        if line is None:
            line = self._lines[hub] = _Line(f"an event of {self!r}")
        line.members += 1
        try:
            with told_of_closing(self, hub):
                yield lambda left: self._wait(line, left)
        finally:
            line.members -= 1
            if not line.members:
                del self._lines[hub]
            elif not line.led:
                line.lot.unpark()

    def _wait(self, line: _Line, left: float | None) -> bool:
        if line.led:
            woken = bool(line.lot.park(left))
            if self.closed:
                raise ClosedResourceError(errno.EBADF, f"{self!r} was closed while {current_task().name!r} waited at it")
            return woken
        line.led = True
        try:
            return self._waiters.wait(self.fileno(), READABLE, left, edge=True, what=f"an event of {self!r}")
        finally:
            line.led = False


if hasattr(_stdlib, "epoll"):

    class epoll(_Pollable):  # noqa: N801 - the standard name
        """``select.epoll`` whose `poll` parks the task. Arguments, results and errors are the standard class's, edge-triggered and one-shot registrations too.

        Several tasks may poll one object; `close` wakes them with `ClosedResourceError`.
        """

        __slots__ = ()

        def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
            super().__init__(_stdlib.epoll(sizehint, flags))

        @classmethod
        def fromfd(cls, fd: int, /) -> epoll:
            """Take over an epoll descriptor that exists."""
            made = cls.__new__(cls)
            _Pollable.__init__(made, _stdlib.epoll.fromfd(fd))
            return made

        def register(self, fd: Any, eventmask: int = _stdlib.EPOLLIN | _stdlib.EPOLLPRI | _stdlib.EPOLLOUT) -> None:
            """Watch a descriptor, or an object with ``fileno()``. Raises FileExistsError if it is registered, PermissionError for a regular file."""
            self._inner.register(fd, eventmask)
            number = number_of(fd)
            self._numbers.add(number)
            self._forgive(number)

        def modify(self, fd: Any, eventmask: int) -> None:
            """Change the events of a registered descriptor. Raises FileNotFoundError if it is not registered."""
            self._inner.modify(fd, eventmask)

        def unregister(self, fd: Any) -> None:
            """Watch it no more. Raises FileNotFoundError if it is not registered."""
            number = number_of(fd)
            self._numbers.discard(number)
            self._forgive(number)
            self._inner.unregister(fd)

        def _forgive(self, number: int) -> None:
            """It names another file now, or nobody wants to hear of it."""
            if number in self._lost:
                self._lost.remove(number)

        def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
            """What is ready: a list of descriptors and their events. Parks at most ``timeout`` seconds; None or a negative number: for ever; 0 never parks.

            One that somebody closes while a task waits is reported once, with EPOLLERR and EPOLLHUP.
            """
            seconds = _or_never(seconds_of(timeout, 1, "timeout must be a number or None"))
            return self._found(lambda: self._gone() or self._inner.poll(0, maxevents), seconds)

        def _gone(self) -> list[tuple[int, int]]:
            return [(self._lost.pop(0), _stdlib.EPOLLERR | _stdlib.EPOLLHUP)] if self._lost and not self.closed else []

        def __enter__(self) -> epoll:
            self._inner.__enter__()  # refuses a closed one
            return self

        def __exit__(self, kind: type[BaseException] | None = None, error: BaseException | None = None, tb: TracebackType | None = None) -> None:
            self.close()


if sys.platform != "linux" and hasattr(_stdlib, "kqueue"):

    class kqueue(_Pollable):  # noqa: N801 - the standard name
        """``select.kqueue`` whose `control` parks the task. As the standard class otherwise."""

        __slots__ = ()

        def __init__(self) -> None:
            super().__init__(_stdlib.kqueue())

        @classmethod
        def fromfd(cls, fd: int, /) -> kqueue:
            """Take over a kqueue descriptor that exists."""
            made = cls.__new__(cls)
            _Pollable.__init__(made, _stdlib.kqueue.fromfd(fd))
            return made

        def control(self, changelist: Iterable[Any] | None, maxevents: SupportsIndex, timeout: float | None = None, /) -> list[Any]:
            """Apply the changes, and return at most ``maxevents`` events. Parks at most ``timeout`` seconds; None: for ever; 0 never parks."""
            seconds = seconds_of(timeout, 1, "timeout argument must be a number or None")
            if seconds is not None and seconds < 0:
                raise ValueError("timeout must be positive or None")
            changes = None if changelist is None else list(changelist)
            if changes:
                self._inner.control(changes, 0, 0)
            if not maxevents:
                return []
            return self._found(lambda: self._inner.control(None, maxevents, 0), seconds)


if sys.platform != "linux" and hasattr(_stdlib, "devpoll"):

    class devpoll(_Pollable):  # noqa: N801 - the standard name
        """``select.devpoll()`` whose `poll` parks the task. As the standard object otherwise."""

        __slots__ = ()

        def __init__(self) -> None:
            super().__init__(_stdlib.devpoll())

        def register(self, fd: Any, eventmask: int = _READ | _URGENT | _WRITE, /) -> None:
            """Watch a descriptor."""
            self._inner.register(fd, eventmask)

        def modify(self, fd: Any, eventmask: int = _READ | _URGENT | _WRITE, /) -> None:
            """Change the events of a registered descriptor."""
            self._inner.modify(fd, eventmask)

        def unregister(self, fd: Any, /) -> None:
            """Watch it no more."""
            self._inner.unregister(fd)

        def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
            """What is ready. Parks at most ``timeout`` milliseconds; None or a negative number: for ever; 0 never parks."""
            seconds = _or_never(seconds_of(timeout, 1000, "timeout must be a number or None"))
            return self._found(lambda: self._inner.poll(0), seconds)


hide_frames(__file__)
