"""Signals and the hub: an exception out of a handler must not tear a switch apart, and a hub that sleeps must wake for a signal.

A Python signal handler runs between two bytecodes of whatever runs. Where that is our own code (the core's modules, and those of plugins, which add
themselves with ``hide_frames``) the hub makes good what an exception would tear apart, but an item or a permit on its way from hand to hand would be
lost, and nothing can wait there. So `deferring` lets an exception out of a handler only where a user's code was interrupted; where it was ours, it
goes through the inbox to the main task. `interrupted_hub` tells the two apart, for whoever would rather put off the whole handler.

They are told apart by the innermost frame that is not the standard library's. A function written in C has none: in the middle of ``spawn(time.sleep, 60)``
that frame is the worker's. So a frame of ours that stands at its call of a user's function counts as that user's, by the function's place in the bytecode:
that costs nothing where no signal comes. Only if the function is ours too, as in ``spawn(queue.get)``, is it not: its value is on its way there.

Python calls a handler when the main thread runs bytecode again. The kernel interrupts a poll only if the signal hits the main thread in the middle of that
system call: one that arrives an instant before it, or that is delivered to another thread, would be noticed when the poll ends, perhaps never. So
the signal's C half writes a byte into a descriptor that the hub of the main thread watches (``signal.set_wakeup_fd``). There is one such
descriptor in a process, and others take it as well: asyncio does for ``add_signal_handler``, and leaves -1 behind. So the hub looks after it before it
sleeps. It borrows a stranger's for the time of the sleep, and hands on what was written meanwhile. To look costs as much as a system call or two, so
after a look the hub takes it for done for a moment, and sleeps no longer than that.

Invariants
==========
1. What a deferring handler raises while our code is interrupted reaches the main task at its wait, and nothing is lost.
2. A sleeping hub of the main thread wakes for every signal that has a Python handler, whichever thread the kernel gave it to, and whoever else has used
   the wake-up descriptor; at most `_SURE` ns late, if somebody has done so an instant ago.
3. When the hub is closed, and in the child of a fork, the handler and the wake-up descriptor are what they were before.
4. A stranger that holds the wake-up descriptor gets each byte, those too that come while the hub sleeps.
5. A standing promise is open on every hub of the main thread, those that come later included, until it is closed.
6. What a handler raises in the middle of a user's function that a task or `with_timeout` calls is raised there, though the function has no frame of its own.
"""

from __future__ import annotations

import os
import signal
import threading
from _thread import get_ident
from collections.abc import Callable
from functools import cache, partial
from types import CodeType, FrameType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ._clock import RealClock
from ._state import current_task, park_task, unpark
from ._task import HIDDEN_FILES, Task, work
from ._timeout import with_timeout
from .errors import HubError

if TYPE_CHECKING:
    from ._hub import Hub, Promise

Handler = Callable[[int, FrameType | None], Any]


def deferring(handler: Handler) -> Handler:
    """``handler``, made safe to raise: what it raises while coopcore's own code is interrupted reaches the main task of the running hub at its wait.

    The attribute ``__wrapped__`` of what is returned is ``handler``.
    """
    return _on_sigint if handler is signal.default_int_handler else _deferring(handler)


def _deferring(handler: Handler) -> Handler:
    def handle(signum: int, frame: FrameType | None) -> Any:
        try:
            return handler(signum, frame)
        except BaseException as error:
            hub = interrupted_hub(frame)
            if hub is None or not hub._inbox.put(hub.interrupt_main, (error,)):
                raise

    handle.__wrapped__ = handler  # type: ignore[attr-defined]  # so that others can tell whose it is, as with functools.wraps
    return handle


def interrupted_hub(frame: FrameType | None) -> Hub | None:
    """In a signal handler that was given ``frame``: the running hub, if that is code of coopcore or of a plugin, where nothing should raise or wait.

    Else None: a user's code was interrupted, or there is no hub.
    """
    stack = getcurrent()
    task: Task[Any] | None = getattr(stack, "task", None)
    if task is not None:
        return task._hub if _is_ours(frame) else None
    # The hub's greenlet, or a worker between two tasks, whose parent that is.
    hub: Hub | None = getattr(stack, "hub", None) or getattr(stack.parent, "hub", None)
    return hub if hub is not None and _is_ours(frame) else None


def _is_ours(frame: FrameType | None) -> bool:
    """Whether our code was interrupted, itself or in a function of the standard library that it has called."""
    while frame is not None and frame.f_code.co_filename.startswith(_STANDARD) and "site-packages" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename in HIDDEN_FILES and not _calls_a_users(frame)


def _calls_a_users(frame: FrameType) -> bool:
    """Whether a frame of ours stands at its call of a function that is not ours."""
    code = frame.f_code
    if code not in _CALLERS or frame.f_lasti not in _calls_in(code):
        return False
    # Not f_locals of a worker: the interpreter would keep what is in them, for as long as the worker lives.
    fn = getcurrent().task._fn if code is work.__code__ else frame.f_locals[_CALLERS[code]]
    return not _is_function_of_ours(fn)


# Functions of ours that call a user's, with the name of the variable that holds it.
_CALLERS = {work.__code__: "fn", with_timeout.__code__: "function"}


@cache
def _calls_in(code: CodeType) -> frozenset[int]:
    """Where one of `_CALLERS` stands while it calls: at the instructions of each call that begins, in the source, with the name of its variable."""
    import dis

    instructions = [(found.offset, found.opname, found.argval, found.positions and found.positions[::2]) for found in dis.get_instructions(code)]
    name = _CALLERS[code]
    # One instruction may load two variables; its argument is then both names.
    begins = {place for _, op, given, place in instructions if op.startswith("LOAD_FAST") and name in (given if type(given) is tuple else (given,))}
    return frozenset(offset for offset, op, _, place in instructions if "CALL" in op and place in begins)


def _is_function_of_ours(fn: object) -> bool:
    while isinstance(fn, partial | MethodType):
        fn = fn.func if isinstance(fn, partial) else fn.__func__
    return isinstance(fn, FunctionType) and fn.__code__.co_filename in HIDDEN_FILES


_STANDARD = (os.path.dirname(os.__file__), "<frozen ")
_on_sigint = _deferring(signal.default_int_handler)
_shielded = 0  # hubs of the main thread that live


def attend_to_signals(hub: Hub) -> Callable[[], None]:
    """Make signals safe for a hub of the main thread while it lives. Returns what undoes it. Does nothing in another thread."""
    if get_ident() != threading.main_thread().ident:  # not current_thread(), which a program may have made to tell tasks apart
        return lambda: None
    unshield = _shield_sigint()
    door = _Door(hub)
    _attended.append(hub)
    for standing in _standing:
        standing.open_on(hub)

    def undo() -> None:
        _attended.remove(hub)
        for standing in _standing:
            standing.leave(hub)
        door.close()
        unshield()

    return undo


_attended: list[Hub] = []  # hubs of the main thread that live


class StandingPromise:
    """A `Promise`, named ``what``, on every hub of the main thread, now and later, until `close`: a signal may come at any time. Only from the main thread."""

    __slots__ = ("_open", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self._open: dict[Hub, Promise] = {}
        _standing.append(self)
        for hub in _attended:
            self.open_on(hub)

    def open_on(self, hub: Hub) -> None:
        """A hub was made."""
        self._open[hub] = hub.promise(self.what)

    def leave(self, hub: Hub) -> None:
        """A hub is being closed."""
        self._open.pop(hub).close()

    def forget_after_fork(self) -> None:
        """The hubs that it was open on are the parent's."""
        self._open.clear()

    def close(self) -> None:
        """It is over. Harmless when repeated."""
        if self in _standing:
            _standing.remove(self)
        while self._open:
            self._open.popitem()[1].close()


_standing: list[StandingPromise] = []


def _shield_sigint() -> Callable[[], None]:
    """Make Python's own Ctrl-C handler a deferring one. Leaves any other handler alone."""
    global _shielded
    _shielded += 1
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_sigint)

    def restore() -> None:
        global _shielded
        _shielded -= 1
        if not _shielded:
            _restore_sigint()

    return restore


def _restore_sigint() -> None:
    if signal.getsignal(signal.SIGINT) is _on_sigint:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Signal:
    """What a task waits for in `wait_for_signal`."""

    def describe_wait(self) -> str:
        return "a signal that has a handler"


_SIGNAL = _Signal()


def wait_for_signal(timeout: float | None = None) -> bool:
    """Wait until a signal that has a Python handler comes to the process. Returns True, or False after ``timeout`` seconds. No deadlock meanwhile.

    Only where the hub is the main thread's, which runs the handlers: else HubError.
    """
    me = current_task()
    door = me._hub._keeper
    if door is None:
        raise HubError(f"{me!r} wants to wait for any signal, but {me._hub.name} does not hear of signals: that is for a hub of the main thread.")
    with me._hub.promise("any signal that has a handler"):
        door.waiters.append(me)
        door.claim()
        try:
            return bool(park_task(me, _SIGNAL, timeout))
        finally:
            if me in door.waiters:
                door.waiters.remove(me)


_SURE = 10_000_000  # ns for which nobody is expected to take the descriptor away once it was looked after


class _Door:
    """The wake-up descriptor of a hub, and the pipe behind it. The hub's ``_keeper``."""

    __slots__ = ("_hub", "_reader", "_span", "_stranger", "_sure_until", "_writer", "borrowed", "waiters")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reader = self._writer = -1
        self._stranger = -1  # to whom to hand on what is written
        self.borrowed = False
        self.waiters: list[Task[Any]] = []
        self._sure_until = 0
        self._span = _SURE if isinstance(hub.clock, RealClock) else 0  # another clock's time says nothing of it
        try:
            self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        except OSError:
            return  # out of descriptors: better a hub that may sleep through a signal than none
        if not hub.wake_at(self._reader, self):
            self._close_pipe()
            return
        _doors.append(self)
        self.claim()
        self.after_sleep()

    def before_sleep(self, deadline: int | None) -> int | None:
        """See that the descriptor is ours. Returns for how long to sleep."""
        now = self._hub._now()
        if now < self._sure_until:
            return self._sure_until if deadline is None or deadline > self._sure_until else deadline
        self.claim()
        self._sure_until = now + self._span
        return deadline

    def claim(self) -> None:
        """Have signals write to us, if need be in a stranger's place."""
        current = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if current != self._writer:
            self.borrowed = current not in (-1, *(door._writer for door in _doors))
            self._stranger = current if self.borrowed else -1

    def after_sleep(self) -> None:
        """Give the descriptor back to whom it was borrowed from."""
        if not self.borrowed or self.waiters:
            return
        self.borrowed = False
        try:
            current = signal.set_wakeup_fd(self._stranger, warn_on_full_buffer=False)
        except (ValueError, OSError):
            return  # it was closed meanwhile
        if current != self._writer:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)  # somebody took it from us in the middle of our sleep

    def drain(self) -> None:
        """Signals came."""
        data = b""
        try:
            while chunk := os.read(self._reader, 4096):
                data += chunk
        except BlockingIOError:
            pass
        if self._stranger >= 0 and data:
            try:
                os.write(self._stranger, data)
            except OSError:
                pass  # it is full, and will be looked at; or it is gone
        if self.waiters:
            # By the inbox, where handlers that were put off are: those come first.
            self._hub._inbox.put(self._wake, (self.waiters,))
            self.waiters = []

    @staticmethod
    def _wake(waiters: list[Task[Any]]) -> None:
        for task in waiters:
            if task._reason is _SIGNAL:
                unpark(task)

    def close(self) -> None:
        if self not in _doors:
            return
        _doors.remove(self)
        try:
            current = signal.set_wakeup_fd(-1)
            if current == self._writer:
                current = _doors[-1]._writer if _doors else -1
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        finally:
            self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def change_wakeup_fd(fd: int, *, warn_on_full_buffer: bool = True) -> int:
    """``signal.set_wakeup_fd``, for a program whose hub uses that as well: returns what the program itself has set before, never a hub's, or -1."""
    previous = signal.set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    door = next((door for door in _doors if door._writer == previous), None)
    if door is not None:
        previous = door._stranger if door.borrowed else -1
        door.borrowed = False
        if door.waiters:
            door.claim()
    for door in _doors:
        door._sure_until = 0
    return previous


_doors: list[_Door] = []  # of hubs that live, the innermost last


def forget_after_fork() -> None:
    """This is the child: its signals must not write into the parent's pipes, and no hub is left that its handlers could defer to."""
    global _shielded
    while _doors:
        _doors[-1].close()
    _attended.clear()
    for standing in _standing:
        standing.forget_after_fork()
    if _shielded:
        _shielded = 0
        _restore_sigint()
