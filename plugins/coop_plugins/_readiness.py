"""What `coop_plugins.select`, `.selectors`, `.file` and `.os` share: waits at descriptors that are not sockets of ours.

Theory
======
*Several descriptors at once* are one: a `_Nest` is an epoll descriptor of our own that holds them all, and is itself readable when one of them is ready.
It holds them edge-triggered, since it only says when to look; what is ready is told by the standard call with timeout 0, so results and errors are
the kernel's. Where there is no epoll, or no descriptor left for one, `_Watchers` do the same with a task for each descriptor.

*A descriptor that blocks* and that is not ours alone must go on blocking, since others share its mode: the terminal, a pipe that children have inherited. So
before each call the kernel is asked whether it would block (`is_ready`), and if it would, the task parks.

*An object that owns its descriptor* and can be closed tells those who wait at it, of whatever hub, by its `Waiters`.

*A descriptor that is closed while a wait watches it among others* is nobody's reader: no hub has its number, and the kernel only forgets it. So whoever is
about to close one says so (`tell_closing`), and whatever has it among what it watches, in any thread, is woken, and keeps the number as a lost one: by the
time that it looks, the number may name another file. A wait over given numbers is found by them (`_watching`); those at epoll descriptors, which are few,
are all asked (`_pollables`).

Invariants
==========
1. Nothing parks before the kernel was asked, and between the last question and the park no other task runs: no event is lost.
2. However a wait ends, the nest is closed, and no watcher is left.
3. A timeout bounds the whole wait, spurious wakes included; after it the kernel is asked once more. It counts in the hub's own clock.
4. A descriptor that is closed by its object is closed when all who wait there were told, so that its number cannot be used anew before.
5. A wait is told of each descriptor that somebody closes, through coopcore, while it is watched among others; what has its number next is not taken for it.
6. What is noted of a wait for the sake of those who close is gone when it ends, however it ends.
7. Nobody starves: each look lets the others run first, and takes what is there only after that, so that a kill at this point loses nothing.
"""

from __future__ import annotations

import errno
import os
import select as _stdlib
from _thread import get_ident
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from fcntl import F_GETFL, fcntl
from itertools import count as count_up
from math import isnan
from typing import Any, NoReturn, Protocol, TypeVar

from coopcore import Task, killall, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, HubClosedError, ParkInFinalizerError
from coopcore.lowlevel import (
    READABLE,
    WRITABLE,
    Hub,
    ParkingLot,
    current_task,
    hide_frames,
    park,
    promise,
    running_task,
    unpark,
    wait_readable,
    wait_writable,
    yield_now,
)

T = TypeVar("T")
Wait = Callable[[float | None], bool]
"""Parks for at most so many seconds. False: they have passed."""

NANOSECONDS = 1_000_000_000
_LONGEST = 9_223_372_036  # seconds: the standard modules count nanoseconds in 64 bits
_LOOK_AGAIN = 0.05  # seconds, where the hub cannot tell
_SHOWN = 5  # descriptors in a report

_READ = _stdlib.POLLIN
_WRITE = _stdlib.POLLOUT
_READING = _READ | getattr(_stdlib, "POLLRDNORM", 0) | getattr(_stdlib, "POLLRDBAND", 0) | getattr(_stdlib, "POLLRDHUP", 0)
_WRITING = _WRITE | getattr(_stdlib, "POLLWRNORM", 0) | getattr(_stdlib, "POLLWRBAND", 0)


# -- arguments ----------------------------------------------------------------------------------------------------------


def number_of(thing: Any) -> int:
    """The descriptor of a number or an object with ``fileno()``, with the errors of the module ``select``."""
    fd = thing
    if not isinstance(thing, int):
        fileno = getattr(thing, "fileno", None)
        if fileno is None:
            raise TypeError("argument must be an int, or have a fileno() method.")
        fd = fileno()
        if not isinstance(fd, int):
            raise TypeError("fileno() returned a non-integer")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return int(fd)


def seconds_of(timeout: Any, units: int, complaint: str) -> float | None:
    """A timeout in ``units`` per second, as a number of seconds; None for none. Raises what the module ``select`` does for what is no number."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) and not hasattr(timeout, "__index__"):
        raise TypeError(complaint)
    seconds = (timeout if isinstance(timeout, int | float) else timeout.__index__()) / units
    if isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if abs(seconds) > _LONGEST or (units > 1 and abs(seconds * units) > 0x7FFF_FFFF):
        raise OverflowError("timeout is too large")
    return seconds


# -- the kernel is asked ------------------------------------------------------------------------------------------------


def is_ready(fd: int, direction: int) -> bool:
    """Whether a read (or a write of some bytes) would not block now. Never waits. True also for what has an error or is not open: the call tells."""
    poller = _stdlib.poll()
    poller.register(fd, _READ if direction == READABLE else _WRITE)
    return bool(poller.poll(0))


def until_ready(fd: int, direction: int, what: str = "") -> None:
    """Park until a read (or write) would not block. For a descriptor in blocking mode; one that never blocks is left to its call."""
    give_way()
    if is_ready(fd, direction) or not _may_wait(fd, direction):
        return
    wait = wait_readable if direction == READABLE else wait_writable
    while True:
        wait(fd, what=what)
        if is_ready(fd, direction):
            return


def _may_wait(fd: int, direction: int) -> bool:
    """Whether a call would wait. One on a descriptor that never blocks, or is open for the other direction only, raises."""
    flags = fcntl(fd, F_GETFL)
    return not flags & os.O_NONBLOCK and flags & (os.O_WRONLY | os.O_RDWR) != (os.O_WRONLY if direction == READABLE else os.O_RDONLY)


def give_way() -> None:
    """Let the others run once, if there is a hub and this is a task. What was thrown in is raised here."""
    if running_task() is not None:
        try:
            yield_now()
        except ParkInFinalizerError:
            pass  # a look need not wait


def look_and_wait(look: Callable[[], T | None], place: Callable[[], AbstractContextManager[Wait]], seconds: float | None) -> T | None:
    """Call ``look`` until it finds something, and wait at ``place`` in between. Returns None after ``seconds``; 0 and less: looks once, and never parks."""
    give_way()
    found = look()
    if found is not None or (seconds is not None and seconds <= 0):
        return found
    clock = current_task().hub.clock
    deadline = None if seconds is None else clock.now() + int(seconds * NANOSECONDS)
    with place() as wait:
        while True:
            left = None if deadline is None else max(0.0, (deadline - clock.now()) / NANOSECONDS)
            woken = wait(left)
            found = look()
            if found is not None or not woken:
                return found


# -- several descriptors ------------------------------------------------------------------------------------------------


@contextmanager
def waiting_at(interests: Mapping[int, int], who: str, lost: set[int]) -> Iterator[Wait]:
    """A way to wait for any of several descriptors: poll's event bits by number. A wake may be spurious; ``who`` says in reports who waits.

    Those that are closed meanwhile are put into ``lost``.
    """
    if not interests:
        yield lambda left: bool(park(_Nothing(who), left))
        return
    crowd: _Nest | _Watchers = _Nest.over(interests, who) or _Watchers(interests, who)
    watch = _Watch(crowd, lost)
    mine = _watching.setdefault(get_ident(), {})
    try:
        for fd in interests:
            mine.setdefault(fd, []).append(watch)
        yield crowd.wait
    finally:
        for fd in interests:
            watches = mine.get(fd, [])
            if watch in watches:
                watches.remove(watch)
            if not watches:
                mine.pop(fd, None)
        if not mine:
            _watching.pop(get_ident(), None)
        crowd.close()


class _Watch:
    """One wait for several descriptors, as those see it who close one of them."""

    __slots__ = ("_crowd", "_hub", "_lost")

    def __init__(self, crowd: _Nest | _Watchers, lost: set[int]) -> None:
        self._crowd = crowd
        self._hub = current_task().hub
        self._lost = lost

    def lose(self, fd: int) -> None:
        """``fd`` is about to be closed. From any thread."""
        self._lost.add(fd)
        if isinstance(self._crowd, _Watchers) and self._hub.thread == get_ident():
            self._hub.notify_closing(fd)  # a watcher waits there
        call_on(self._hub, self._crowd.wake, self._hub)


# By thread, each of which changes only its own, and then by descriptor.
_watching: dict[int, dict[int, list[_Watch]]] = {}
# What waits at an epoll descriptor in one hub.
_pollables: dict[tuple[int, Hub], _Pollable] = {}


class _Pollable(Protocol):
    def _lose(self, fd: int, hub: Hub) -> None: ...


@contextmanager
def told_of_closing(pollable: _Pollable, hub: Hub) -> Iterator[None]:
    """While a task of ``hub`` waits there, call ``pollable._lose(fd, hub)`` for each descriptor that is about to be closed, in that hub's thread or another."""
    key = (id(pollable), hub)
    try:
        _pollables[key] = pollable
        yield
    finally:
        _pollables.pop(key, None)


def tell_closing(fd: int) -> None:
    """``fd`` is about to be closed: whoever watches it among others, in whatever thread, is to know. Never blocks."""
    if _watching:
        for watches in [each[fd] for each in list(_watching.values()) if fd in each]:
            for watch in list(watches):
                watch.lose(fd)
    if _pollables:
        for (_, hub), pollable in list(_pollables.items()):
            pollable._lose(fd, hub)


def raise_lost(lost: set[int], who: str) -> NoReturn:
    """For those that have no other way to tell."""
    raise ClosedResourceError(errno.EBADF, f"descriptor {min(lost)} was closed while {who} of {current_task().name!r} watched it")


def call_on(hub: Hub, fn: Callable[..., object], *args: Any) -> None:
    """Call ``fn`` on ``hub``, soon. Quiet if it is closed. Soon, in its own thread too: in a signal handler, the task to be woken may be just about to park."""
    try:
        hub.call_soon_threadsafe(fn, *args)
    except HubClosedError:
        pass


def wake_reader(hub: Hub, fd: int) -> None:
    """Make the task that waits to read ``fd`` in ``hub``, if one does, look again. Only from the thread of the hub."""
    task = hub.fd_wait(fd, READABLE).task
    if task is not None:
        unpark(task)


def _forget_watches_after_fork() -> None:
    _watching.clear()
    _pollables.clear()


os.register_at_fork(after_in_child=_forget_watches_after_fork)


class _Nothing:
    """The reason of a wait that watches nothing: a sleep, perhaps for ever."""

    __slots__ = ("_who",)

    def __init__(self, who: str) -> None:
        self._who = who

    def describe_wait(self) -> str:
        return f"the end of its timeout: it watches nothing ({self._who})"


def _name(interests: Mapping[int, int], who: str) -> str:
    shown = ", ".join(map(str, list(interests)[:_SHOWN]))
    return f"one of {len(interests)} descriptors: {shown}{' ...' if len(interests) > _SHOWN else ''} ({who})"


class _Nest:
    """An epoll descriptor of our own over several others."""

    __slots__ = ("_epoll", "_gone", "_what")

    def __init__(self, epoll: Any, what: str) -> None:
        self._epoll = epoll
        self._what = what
        self._gone = False
        """True if a descriptor is not open (any more): the next look says so."""

    @classmethod
    def over(cls, interests: Mapping[int, int], who: str) -> _Nest | None:
        """None where there can't be one: no epoll, no descriptor left, too many watches, nested too deeply."""
        if not hasattr(_stdlib, "epoll"):
            return None
        nest = None
        try:
            nest = cls(_stdlib.epoll(), _name(interests, who))
            for fd, events in interests.items():
                nest._add(fd, events)
        except OSError:
            if nest is not None:
                nest.close()
            return None
        return nest

    def _add(self, fd: int, events: int) -> None:
        try:
            self._epoll.register(fd, events | _stdlib.EPOLLET)
        except PermissionError:
            pass  # a regular file, which is always ready: for what it was not ready at the look, it never will be
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            self._gone = True

    def wait(self, left: float | None) -> bool:
        if self._gone:
            return True
        woken = current_task().hub.wait_fd(self._epoll.fileno(), READABLE, left, what=self._what)
        self._epoll.poll(0)  # what is taken out is reported again when it changes
        return woken

    def wake(self, hub: Hub) -> None:
        if not self._epoll.closed:
            wake_reader(hub, self._epoll.fileno())

    def close(self) -> None:
        task = running_task()
        if task is not None and not self._epoll.closed:
            task.hub.forget_fd(self._epoll.fileno())
        self._epoll.close()


class _Watchers:
    """In place of a nest: a task for each direction of each descriptor, for as long as one wait lasts.

    What the hub cannot tell (urgent data; a direction that another task waits for already) is looked at every 50 ms.
    """

    __slots__ = ("_interests", "_lot")

    def __init__(self, interests: Mapping[int, int], who: str) -> None:
        self._interests = interests
        self._lot = ParkingLot(_name(interests, who))

    def wait(self, left: float | None) -> bool:
        watchers = [self._start(fd, direction) for fd, events in self._interests.items() for direction in _directions(events)]
        try:
            return bool(self._lot.park(left))
        finally:
            killall(watchers)

    def _start(self, fd: int, direction: int) -> Task[None]:
        watcher = spawn(self._watch, fd, direction)
        watcher.name = f"watcher of descriptor {fd}"
        return watcher

    def _watch(self, fd: int, direction: int) -> None:
        try:
            if direction == READABLE:
                wait_readable(fd)
            elif direction == WRITABLE:
                wait_writable(fd)
            else:
                sleep(_LOOK_AGAIN)
        except BusyResourceError:
            sleep(_LOOK_AGAIN)
        except OSError:
            pass  # the next look says so
        self._lot.unpark()

    def wake(self, hub: Hub) -> None:
        self._lot.unpark()

    def close(self) -> None:
        pass


def _directions(events: int) -> list[int]:
    """Which waits of the hub stand for poll's event bits; 0 where none does."""
    found = [direction for direction, bits in ((READABLE, _READING), (WRITABLE, _WRITING)) if events & bits]
    return found if found and not events & ~(_READING | _WRITING) else [*found, 0]


# -- an object that owns its descriptor ---------------------------------------------------------------------------------


class Waiters:
    """Who waits at the descriptor of one object, in whatever hub, and how they are told that it is being closed."""

    __slots__ = ("_hub", "_waiting", "closed")

    def __init__(self) -> None:
        self._hub: Hub | None = None
        """Where a task waited last: that hub knows the number."""
        self._waiting: dict[Hub, int] = {}
        self.closed = False

    def wait(self, fd: int, direction: int, timeout: float | None = None, *, edge: bool = False, what: str = "") -> bool:
        """As `Hub.wait_fd`. Raises `ClosedResourceError` in whoever waits while the object is closed."""
        hub = current_task().hub
        if self._hub is not hub:
            hub.forget_fd(fd)
            self._hub = hub
        self._waiting[hub] = self._waiting.get(hub, 0) + 1
        try:
            if not self.closed:  # after it was said that somebody waits: whoever closes says so first, and then looks who waits
                woken = hub.wait_fd(fd, direction, timeout, edge=edge, what=what)
        finally:
            left = self._waiting.pop(hub) - 1
            if left:
                self._waiting[hub] = left
        if self.closed:
            raise ClosedResourceError(errno.EBADF, f"it was closed while {current_task().name!r} was about to wait for descriptor {fd} of it")
        return woken

    def close(self, fd: int, finish: Callable[[], object], *, owned: bool = True) -> None:
        """Tell all who wait, and then call ``finish``, which closes ``fd``: at once, or in the last of the other threads where a task waits.

        Not ``owned``: it leaves ``fd`` open, so those who watch it for their own sake are told nothing.
        """
        if self.closed:
            return
        self.closed = True
        if owned:
            tell_closing(fd)
        me = get_ident()
        waiting = list(self._waiting)
        elsewhere = [hub for hub in waiting if hub.thread != me]
        for hub in waiting:
            if hub.thread == me:
                hub.notify_closing(fd)
        if self._hub is not None and self._hub.thread == me:
            self._hub.forget_fd(fd)
        self._hub = None
        if not elsewhere:
            finish()
            return
        told = count_up(1)

        def tell(hub: Hub | None) -> None:
            if hub is not None:
                hub.notify_closing(fd)
            if next(told) == len(elsewhere):
                finish()

        for hub in elsewhere:
            try:
                hub.call_soon_threadsafe(tell, hub)
            except HubClosedError:
                tell(None)


# -- named pipes --------------------------------------------------------------------------------------------------------


def open_fifo(path: Any, flags: int, mode: int, dir_fd: int | None) -> int:
    """Open a named pipe without holding up the thread. Returns a descriptor in blocking mode.

    For reading it returns at once; the first read waits for a writer. For writing it waits until somebody reads: the kernel tells that to
    nobody who has not blocked, so it is tried again, at longer and longer intervals up to 50 ms.
    """
    pause = 0.001
    while True:
        try:
            fd = os.open(path, flags | os.O_NONBLOCK, mode, dir_fd=dir_fd)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        else:
            os.set_blocking(fd, True)
            return fd
        with promise(f"somebody to read {path!r}"):  # who lives in real time, so no clock may jump meanwhile
            sleep(pause)
        pause = min(pause * 2, _LOOK_AGAIN)


hide_frames(__file__)
