"""Threads, locks and signals that are the standard library's, whatever is patched.

In a patched program a `threading.Thread` is a task, and what watches a hub must not wait for that. These threads don't appear in `threading.enumerate` either,
so that reports, which list what a program has started, leave them out.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

from coopcore.lowlevel import IdleThread, hide_frames

hide_frames(__file__)


def native(module: str, name: str) -> Any:
    """What a standard module has, or had before it was patched, under a name."""
    patch = sys.modules.get("coop_plugins.patch")
    return getattr(import_module(module), name) if patch is None else patch.original(module, name)


def is_main_thread() -> bool:
    """Whether this is the main thread, in whichever task."""
    return bool(native("_thread", "get_ident")() == native("threading", "main_thread")().ident)


def start_thread(fn: Callable[..., object], *args: Any) -> None:
    """Call ``fn(*args)`` in a thread that ends with the process. It wakes no task, so it hides no deadlock."""

    def run() -> None:
        with IdleThread():
            fn(*args)

    native("_thread", "start_new_thread")(run, ())


def new_lock() -> Any:
    """A lock, for a ``with`` block, that one thread may take several times."""
    return native("_thread", "RLock")()


class Flag:
    """What `threading.Event` is: `wait` until another thread has called `set`."""

    def __init__(self) -> None:
        self._lock = native("_thread", "allocate_lock")()
        self._lock.acquire()

    def set(self) -> None:
        """Let who waits go on, or whoever comes to wait. To be called by one thread alone."""
        if self._lock.locked():
            self._lock.release()

    def wait(self, seconds: float = -1) -> bool:
        """True once it is set; False after ``seconds``, of which there may be any number if that is negative. Takes the flag down again."""
        return bool(self._lock.acquire(timeout=seconds))


class Timer:
    """Calls ``fn(*args)`` in a thread after ``seconds``, unless it is cancelled before."""

    def __init__(self, seconds: float, fn: Callable[..., object], *args: Any) -> None:
        self._cancelled = Flag()
        start_thread(self._run, seconds, fn, args)

    def _run(self, seconds: float, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        if not self._cancelled.wait(seconds):
            fn(*args)

    def cancel(self) -> None:
        """Again, or once it has called, does nothing."""
        self._cancelled.set()


_LOOK = 1.0  # seconds between two looks of an alarm that is set
_GONE = 100  # milliseconds that a thread may take to leave the process


class Alarm:
    """Calls ``fn(*args)`` in a thread when the time is over, which may be set anew, or cancelled, at next to no cost, as each test does: the thread looks once
    a second, and so may be late.

    The thread is made when it is needed, and gone while the process forks, or Python would warn that it has threads; after a fork it comes when the time is set
    again.
    """

    def __init__(self) -> None:
        self._now = native("time", "monotonic")
        self._due: tuple[float, Callable[..., object], tuple[Any, ...]] | None = None
        self._look = Flag()
        self._ended = Flag()
        self._ident = 0  # of the thread, as the system has it
        self._runs = False
        self._sleeps = False  # until the time is set
        _alarms.add(self)

    def set(self, seconds: float, fn: Callable[..., object], *args: Any) -> None:
        """Call it then, and nothing that was to be called before."""
        self._due = (self._now() + seconds, fn, args)
        if not self._runs:
            self._runs = True
            start_thread(self._run)
        elif self._sleeps:
            self._look.set()

    def cancel(self) -> None:
        """Call nothing."""
        self._due = None

    def close(self) -> None:
        """End the thread, if there is one."""
        if self._runs:
            self._runs = False
            self._look.set()
            self._ended.wait(_LOOK)
            for _ in range(_GONE):  # its last steps are those of the interpreter
                if not os.path.exists(f"/proc/self/task/{self._ident}"):
                    break
                native("time", "sleep")(0.001)

    def _run(self) -> None:
        self._ident = native("threading", "get_native_id")()
        while self._runs:
            due = self._due
            if due is None:
                self._sleeps = True
                if self._due is None and self._runs:
                    self._look.wait()
                self._sleeps = False
            elif (left := due[0] - self._now()) > 0:
                self._look.wait(min(left, _LOOK))
            else:
                if self._due is due:
                    self._due = None
                due[1](*due[2])
        self._ended.set()

    def forget(self) -> None:
        """In the child of a fork, which has no such thread."""
        self.__init__()  # type: ignore[misc]  # as new


_alarms: weakref.WeakSet[Alarm] = weakref.WeakSet()


def _each_alarm(call: Callable[[Alarm], None]) -> Callable[[], None]:
    def call_each() -> None:
        for alarm in list(_alarms):
            call(alarm)

    return call_each


os.register_at_fork(before=_each_alarm(Alarm.close), after_in_child=_each_alarm(Alarm.forget))
