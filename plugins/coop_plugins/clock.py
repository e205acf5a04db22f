"""Virtual time: an hour of sleeping takes no time, and two runs take the same one.

    coopcore.run(main, clock="virtual")

Theory
======
A hub never waits but in its clock. While any task is ready, or a timer due, the virtual clock stands still; when nothing is, it would be waited for the next
deadline, and the clock goes there at once. What is outside of the hub takes real time, so before it jumps the clock looks whether something is under way there:

- A promise is open (a job in a thread, a child process, a signal handler): the wait is a real one, and virtual time passes as fast as real time.
- A task waits at a descriptor: its other end may be about to write. Between tasks of one process, data that was sent has arrived; for anybody else the clock
  waits until nothing has come for ``settle`` seconds of real time, once after each time that something came.
- A plain thread that can go on by itself may be about to wake a task: as long as it can, time passes as with a promise. Not so one that waits, without a
  timeout, until somebody else does something: then it is up to those. Nor daemons, which hold off no deadlock either, and threads that were there before the
  clock. Whether a thread waits is told by its stack, in which each such wait has a state of its own that a wake changes at once: a thread that was woken, and
  has not run yet, counts as one that goes on. Waits for input have none; they are looked at like those of tasks, after ``settle`` seconds. Workers of an
  executor, of which nobody can tell whether they have a job, count for nothing: there, `coop_plugins.threadpool.await_future` makes the promise.

Invariants
==========
1. It never jumps while a task is ready, a descriptor reports, a promise is open, or a thread that counts can go on by itself, and never beyond the next
   deadline.
2. Nothing in a run that has no input or output, and no threads, looks at the real time: the run repeats.
3. `time.time`, `time.monotonic`, `datetime.now` and their like follow the virtual clock of the hub that calls them, where they are patched; elsewhere, and in
   other threads, they are the real ones.
"""

from __future__ import annotations

import datetime as _stdlib_datetime
import os
import sys
import threading
import time as _stdlib
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self
from weakref import WeakSet

from coopcore import sleep
from coopcore.errors import HubError
from coopcore.lowlevel import Backend, Hub, IdleThread, check_seconds, current_hub, hide_frames, on_hub, running_task

__all__ = [
    "VirtualClock",
    "current_clock",
    "date",
    "datetime",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "time",
    "time_ns",
]

_SECOND = 1_000_000_000
_LONG = 10**10  # seconds; the core takes such a time for ever
_frames = sys._current_frames
_LOOK = 10_000_000  # nanoseconds until the next look at a thread that is under way, and
_MOST_LOOK = 100_000_000  # the most: one that ends tells nobody
PATIENCE = 10
"""Seconds after which it is said, once, that a thread keeps the clock from jumping."""


class VirtualClock:
    """Time that stands still while anything can run, and jumps to the next deadline when nothing can. Implements `coopcore.protocols.Clock`.

    ``start``: what `time.time` says at its beginning, in seconds; the real time if it is None. ``settle``: seconds of real time for which nothing must have
    come in before it jumps while a task waits at a descriptor. One clock belongs to one hub.
    """

    LOOK = 50_000
    """Nanoseconds that one look at `pressure` counts for: every twentieth lets the hub pass."""

    def __init__(self, start: float | None = None, settle: float = 0.01) -> None:
        if not (check_seconds(settle, "the time to settle") or 0.0) >= 0:
            raise ValueError(f"settle={settle!r}: a span of time is not negative")
        self.settle = settle
        self.epoch = _stdlib.time_ns() if start is None else int(start * _SECOND)
        """What `time.time_ns` said at its beginning."""
        self.jumps = 0
        """How often it has jumped."""
        self._now = 0
        self._pressure = 0
        self._settled = False
        self._threads = _Threads()

    def now(self) -> int:
        """Nanoseconds since its beginning."""
        return self._now

    def pressure(self) -> int:
        """Grows with each look, as far as the hub cares: so the order of tasks does not depend on how fast the machine is."""
        self._pressure += self.LOOK
        return self._pressure

    def wait(self, backend: Backend, deadline: int | None, outside: bool) -> Sequence[tuple[int, int]]:
        """See the protocol."""
        if deadline is None:
            return self._noted(backend.poll(None))
        if deadline <= self._now:
            return self._noted(backend.poll(0))
        if outside:
            return self._noted(self._wait_really(backend, deadline))
        reports = backend.poll(0)
        if reports:
            return self._noted(reports)
        hub = current_hub()
        if len(_frames()) > 1 and (look := self._threads.next_look()):
            self._settled = False
            return self._noted(self._wait_really(backend, min(deadline, self._now + look)))
        if not self._settled and (hub.waiting_at_descriptors or self._threads.wait_for_input):
            self._settled = True
            reports = self._noted(backend.poll(int(self.settle * _SECOND)))
        # Somebody outside may have called: the poll has returned for that, or will, and the time must not pass before it was looked at.
        if not (reports or hub.has_calls):
            self._now = deadline
            self.jumps += 1
        return reports

    def _noted(self, reports: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        if reports:
            self._settled = False
        return reports

    def _wait_really(self, backend: Backend, deadline: int) -> Sequence[tuple[int, int]]:
        began = _stdlib.monotonic_ns()
        reports = backend.poll(deadline - self._now)
        self._now = min(deadline, self._now + _stdlib.monotonic_ns() - began)
        return reports

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass, with everything that is due in them. Parks the calling task, as `coopcore.sleep` does.

        Raises ValueError for a span that is negative or has no end, HubError in a task of a hub with another clock.
        """
        span = check_seconds(seconds, "the time to advance")
        if span is None or not 0 <= span < _LONG:
            raise ValueError(f"advance({seconds!r}): time goes on by a span that is not negative, and has an end")
        if current_clock() is not self:
            raise HubError(
                f"advance({seconds!r}) of {self!r} was called on {current_hub().name}, which has another clock. "
                f"A clock goes on where its own hub is at work: call it in a task of that hub."
            )
        sleep(span)

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now / _SECOND:.6f} s, {self.jumps} jumps>"


class _Threads:
    """The plain threads that were started since the clock was made, and may wake a task."""

    def __init__(self) -> None:
        self._before = WeakSet(threading.enumerate())
        self._since = 0  # when the present time began in which there is always one that goes on by itself
        self._is_told = False
        self.wait_for_input = False
        """Whether one of them waited for input at the last look."""

    def next_look(self) -> int:
        """Nanoseconds of real time that may pass until the next look, while one of them can go on by itself; 0 if none can."""
        self.wait_for_input = False
        frames = _frames()
        here = threading.get_ident()
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if thread.daemon or thread.ident == here or thread.ident in IdleThread.idents or thread in self._before:
                continue
            if thread.ident is None or (frame is not None and self._goes_on(frame)):  # the former is about to begin; a task's has no frame
                return self._held_by(thread, frame)
        self._since = 0
        return 0

    def _goes_on(self, frame: FrameType) -> bool:
        if _waits_for_others(frame):
            return False
        if _waits_for_input(frame):
            self.wait_for_input = True
            return False
        return not _is_worker(frame)

    def _held_by(self, thread: threading.Thread, frame: FrameType | None) -> int:
        now = _stdlib.monotonic_ns()
        if not self._since:
            self._since = now
            self._is_told = False
        elif not self._is_told and now - self._since > PATIENCE * _SECOND:
            self._is_told = True
            place = "its beginning" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
            print(
                f"coopcore: for {PATIENCE} s the virtual clock has gone no faster than the real one, since thread {thread.name!r} is under way, at {place}, "
                f"and may wake a task. If it never will, make it a daemon, or start it before the hub; or patch the program, so that it is a task.",
                file=sys.stderr,
            )
        return min(max(now - self._since, _LOOK), _MOST_LOOK)


_LIBRARY = os.path.dirname(threading.__file__)
_SELECTORS, _SOCKET = (os.path.join(_LIBRARY, name) for name in ("selectors.py", "socket.py"))
_EXECUTOR = os.path.join(_LIBRARY, "concurrent", "futures", "thread.py")
_CONDITION_WAIT = threading.Condition.wait.__code__
_HUB = Hub.describe.__code__.co_filename
_DEEP = 4  # frames from where a hub waits to its own: a backend and a clock stand in between


def _waits_for_others(frame: FrameType) -> bool:
    """Whether this thread waits, without a timeout, for what others will do. Of the ways to do so the usual ones are known; who waits otherwise goes on."""
    if frame.f_code is _CONDITION_WAIT:  # also of an Event, a Semaphore, a Queue, a Future
        values = frame.f_locals
        return values["timeout"] is None and "waiter" in values and values["waiter"].locked()
    waits = sys.modules.get("coop_plugins.threading._where")  # of the locks that tasks share with threads, if anybody has them
    if waits is not None and frame.f_code is waits.Waiter.wait.__code__:
        return frame.f_locals["timeout"] < 0 and not frame.f_locals["self"]._woken
    hub = _hub_below(frame)
    return hub is not None and hub.waits_for_others


def _hub_below(frame: FrameType | None) -> Hub | None:
    """The thread's own hub, if that is what runs there."""
    for _ in range(_DEEP):
        if frame is None:
            break
        if frame.f_code.co_filename == _HUB:  # no other's: to ask for the locals of a frame keeps them alive
            hub = frame.f_locals.get("self")
            return hub if isinstance(hub, Hub) else None
        frame = frame.f_back
    return None


def _waits_for_input(frame: FrameType) -> bool:
    """Whether this thread waits at a selector, or for a connection, as servers do."""
    code = frame.f_code
    return code.co_filename == _SELECTORS or (code.co_filename == _SOCKET and code.co_name == "accept")


def _is_worker(frame: FrameType | None) -> bool:
    """Whether it is a worker of a standard executor."""
    while frame is not None:
        if frame.f_code.co_filename == _EXECUTOR:
            return True
        frame = frame.f_back
    return False


def current_clock() -> VirtualClock | None:
    """The virtual clock of the hub that runs in this thread now; None if it has another clock, or there is no hub. Makes no hub."""
    task = running_task()
    if task is not None:
        clock = task.hub.clock
    elif on_hub():
        clock = current_hub().clock
    else:
        return None
    return clock if isinstance(clock, VirtualClock) else None


# -- what follows it, where it is patched -----------------------------------------------------------------------------------


def time_ns() -> int:
    """As ``time.time_ns``."""
    clock = current_clock()
    return _stdlib.time_ns() if clock is None else clock.epoch + clock.now()


def time() -> float:
    """As ``time.time``."""
    clock = current_clock()
    return _stdlib.time() if clock is None else (clock.epoch + clock.now()) / _SECOND


def monotonic_ns() -> int:
    """As ``time.monotonic_ns``."""
    clock = current_clock()
    return _stdlib.monotonic_ns() if clock is None else clock.now()


def monotonic() -> float:
    """As ``time.monotonic``."""
    clock = current_clock()
    return _stdlib.monotonic() if clock is None else clock.now() / _SECOND


def perf_counter_ns() -> int:
    """As ``time.perf_counter_ns``."""
    clock = current_clock()
    return _stdlib.perf_counter_ns() if clock is None else clock.now()


def perf_counter() -> float:
    """As ``time.perf_counter``."""
    clock = current_clock()
    return _stdlib.perf_counter() if clock is None else clock.now() / _SECOND


_date, _datetime = _stdlib_datetime.date, _stdlib_datetime.datetime  # those of before any patch


class _AnyOf(type):
    """Of a class that stands in for a standard one, whose objects count as its own."""

    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, cls.__mro__[1])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__mro__[1])


def _constructor(ours: type, plain: type) -> type:
    """What a pickle names as the class of a moment: the reader has the standard one for certain, so ours goes by that one's name while it is in its place."""
    return ours if getattr(sys.modules["datetime"], plain.__name__) is ours else plain  # the module itself: ours here is that of before the patch


class date(_stdlib_datetime.date, metaclass=_AnyOf):  # noqa: N801 - the standard class's name
    """``datetime.date`` whose `today` follows the virtual clock."""

    __module__ = "datetime"

    @classmethod
    def today(cls) -> Self:
        """The day that it is by the virtual clock, in local time."""
        return cls.fromtimestamp(time())

    def __reduce__(self) -> Any:
        return _constructor(date, _date), (self.year, self.month, self.day)

    def __repr__(self) -> str:
        return repr(_date(self.year, self.month, self.day))


class datetime(_stdlib_datetime.datetime, metaclass=_AnyOf):  # noqa: N801 - as above
    """``datetime.datetime`` whose `now`, `today` and `utcnow` follow the virtual clock."""

    __module__ = "datetime"

    @classmethod
    def now(cls, tz: _stdlib_datetime.tzinfo | None = None) -> Self:
        """The moment that it is by the virtual clock."""
        return cls.fromtimestamp(time(), tz)

    @classmethod
    def today(cls) -> Self:
        """The moment that it is by the virtual clock, in local time."""
        return cls.fromtimestamp(time())

    @classmethod
    def utcnow(cls) -> Self:
        """The moment that it is by the virtual clock, in UTC, without saying so."""
        return cls.fromtimestamp(time(), _stdlib_datetime.UTC).replace(tzinfo=None)

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced: Any = _datetime.__reduce_ex__(_plain(self), protocol)
        return _constructor(datetime, _datetime), *reduced[1:]

    def __repr__(self) -> str:
        return repr(_plain(self))


def _plain(moment: _stdlib_datetime.datetime) -> _stdlib_datetime.datetime:
    given = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond, moment.tzinfo)
    return _datetime(*given, fold=moment.fold)


hide_frames(__file__)
