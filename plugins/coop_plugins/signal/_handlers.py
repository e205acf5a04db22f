"""Handlers: those of the standard module, made safe, and those that run as tasks.

Theory
======
Python calls a handler between two instructions of whatever the main thread runs. Where that is a user's code, a handler may do what that code may: raise, wait,
spawn. Where it is coopcore's own, or a plugin's, it stands in the middle of a switch, a hand-over, the hub's poll: nothing can wait there, and what is
raised there would tear it apart. So a handler that `signal` has set is called at once where a user's code was interrupted, as Python does; where it was
ours, it is called in a task of its own, as soon as the hub comes round, and what it raises is raised in the main task at its wait.

A `signal_handler` is always called in a task. All of one signal share one handler of the standard module, which is there from the first of them to the last.

Invariants
==========
1. A handler of `signal` runs where it may raise and wait: in the code that was interrupted, or in a task; what it raises is raised there, or in the main task.
2. `signal` and `getsignal` return what the program has set, never what stands around it; what was there before can be put back.
3. Each `signal_handler` of a signal is called once for each time that Python hears of that signal, in the order in which they were made, each in a task.
4. The last `cancel` puts back what was there before the first, unless something else was set meanwhile.
5. While a handler is set there is no deadlock, on any hub of the main thread, unless its ``ref`` is False.
"""

from __future__ import annotations

import signal as _stdlib
from collections.abc import Callable
from types import FrameType
from typing import Any

from coopcore import TaskExit, spawn
from coopcore.errors import HubClosedError
from coopcore.lowlevel import StandingPromise, change_wakeup_fd, current_hub, current_task, deferring, hide_frames, interrupted_hub

Handler = Callable[[int, FrameType | None], Any]


def _name(signum: int) -> str:
    try:
        return _stdlib.Signals(signum).name
    except ValueError:  # a real-time signal between the first and the last
        return f"signal {signum}"


class _Guarded:
    """What Python calls in the place of a handler of `signal`."""

    __slots__ = ("handler", "promise")

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.promise: StandingPromise | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> Any:
        hub = interrupted_hub(frame)
        if hub is not None:
            try:
                hub.call_soon_threadsafe(self._spawn, signum, frame)
                return None
            except HubClosedError:
                pass
        return self.handler(signum, frame)

    def _spawn(self, signum: int, frame: FrameType | None) -> None:
        spawn(self._run, signum, frame).name = f"handler of {_name(signum)}"

    def _run(self, signum: int, frame: FrameType | None) -> None:
        try:
            self.handler(signum, frame)
        except TaskExit:
            raise
        except BaseException as error:
            current_task().hub.interrupt_main(error)


_guarded: dict[int, _Guarded] = {}  # by signal, as long as it is set


def signal(signalnum: int, handler: Any, *, ref: bool = True) -> Any:
    """Set what is done at a signal: call ``handler(signalnum, frame)``, or SIG_DFL, or SIG_IGN. Returns what was set before. Never blocks.

    The handler may raise and wait. It is called in what it interrupts, or, where that is no code of the program's, soon after, in a task. Until another one is
    set it holds off `Deadlock`, unless ``ref`` is False. Only in the main thread. Raises what ``signal.signal`` raises.
    """
    previous = getsignal(signalnum)
    if isinstance(handler, _Tasks) and not handler.handlers:
        handler = handler.before  # it was returned by this function, and all of its handlers were cancelled since
    if isinstance(handler, _Guarded):
        handler = handler.handler
    guard = _Guarded(handler) if _is_ordinary(handler) else None
    _stdlib.signal(signalnum, guard or (deferring(handler) if handler is _stdlib.default_int_handler else handler))
    former = _guarded.pop(signalnum, None)
    if former is not None and former.promise is not None:
        former.promise.close()
    if guard is not None:
        _guarded[signalnum] = guard
        if ref:
            guard.promise = StandingPromise(f"a handler of {_name(signalnum)}")
    return previous


def _is_ordinary(handler: Any) -> bool:
    """Whether it is one to be guarded: not SIG_DFL and the like, not Python's own, not one of ours."""
    return callable(handler) and handler is not _stdlib.default_int_handler and not isinstance(handler, _Tasks)


def getsignal(signalnum: int) -> Any:
    """What `signal` has set for this signal; what ``signal.getsignal`` returns. Never blocks."""
    current = _stdlib.getsignal(signalnum)
    if isinstance(current, _Guarded):
        return current.handler
    if getattr(current, "__module__", None) == deferring.__module__:  # Python's own, which a hub has made safe
        return getattr(current, "__wrapped__", current)
    return current


def set_wakeup_fd(fd: int, *, warn_on_full_buffer: bool = True) -> int:
    """Have the number of each signal written to ``fd``, or to none: -1. Returns what the program has set before, or -1. Never blocks.

    The hub uses the same means. It gets its own back before it sleeps, and hands on to ``fd`` what is written then. Only in the main thread.
    """
    return change_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)


class _Tasks:
    """What Python calls for a signal that has handlers which run as tasks."""

    __slots__ = ("before", "handlers", "signum")

    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.handlers: list[signal_handler] = []
        self.before: Any = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        (interrupted_hub(frame) or current_hub()).call_soon_threadsafe(self._spawn_all)

    def _spawn_all(self) -> None:
        for handler in list(self.handlers):
            handler._spawn()

    def add(self, handler: signal_handler) -> None:
        before: Any = _stdlib.signal(self.signum, self)  # always: it refuses threads that hear of no signal
        if before is not self:  # nothing was there, or something else was set meanwhile
            self.before = _stdlib.SIG_DFL if before is None else before
            _tasks[self.signum] = self
        self.handlers.append(handler)

    def remove(self, handler: signal_handler) -> None:
        self.handlers.remove(handler)
        if not self.handlers:
            del _tasks[self.signum]
            current: object = _stdlib.getsignal(self.signum)
            if current is self:
                _stdlib.signal(self.signum, self.before)


_tasks: dict[int, _Tasks] = {}


class signal_handler:  # noqa: N801 - gevent's name, and a verb to its users
    """Call ``handler(*args, **kwargs)`` in a task, at each signal ``signalnum``, until `cancel`. Any number may be made for one signal.

    It holds off `Deadlock` until then, unless its attribute ``ref`` is set to False. What it raises is the task's, and is reported. Never blocks. Raises
    TypeError for a handler that cannot be called; ValueError outside of the main thread, and OSError or ValueError for a signal that cannot be caught.
    """

    __slots__ = ("_call", "_promise", "signalnum")

    def __init__(self, signalnum: int, handler: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        if not callable(handler):
            raise TypeError(f"a signal handler must be callable, not {handler!r}. Pass the function and its arguments apart: signal_handler(SIGHUP, fn, arg).")
        current_hub()  # the task will need one
        self.signalnum = signalnum
        self._call: tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]] | None = None
        self._promise: StandingPromise | None = None
        (_tasks.get(signalnum) or _Tasks(signalnum)).add(self)
        self._call = handler, args, kwargs
        self.ref = True

    def cancel(self) -> None:
        """Call it no more, and put back what was there before if it was the last one for its signal. Harmless when repeated. A task that runs goes on."""
        if self._call is not None:
            self._call = None
            self.ref = False
            _tasks[self.signalnum].remove(self)

    @property
    def ref(self) -> bool:
        """Whether it holds off `Deadlock`. May be set while it is not cancelled."""
        return self._promise is not None

    @ref.setter
    def ref(self, ref: bool) -> None:
        if ref and self._promise is None and self._call is not None:
            self._promise = StandingPromise(f"a handler of {_name(self.signalnum)}")
        elif not ref and self._promise is not None:
            self._promise.close()
            self._promise = None

    def _spawn(self) -> None:
        if self._call is not None:
            handler, args, kwargs = self._call
            spawn(handler, *args, **kwargs)

    def __repr__(self) -> str:
        state = "cancelled" if self._call is None else f"calls {self._call[0]!r}"
        return f"<signal_handler of {_name(self.signalnum)}: {state}>"


hide_frames(__file__)
