"""Threads, locks and signals that are the standard library's, whatever is patched.

In a patched program a `threading.Thread` is a task, and what watches a hub must not wait for that. These threads don't appear in `threading.enumerate` either,
so that reports, which list what a program has started, leave them out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from coopcore.lowlevel import hide_frames

hide_frames(__file__)


def native(module: str, name: str) -> Any:
    """What a standard module has, or had before it was patched, under a name."""
    patch = sys.modules.get("coop_plugins.patch")
    return getattr(import_module(module), name) if patch is None else patch.original(module, name)


def is_main_thread() -> bool:
    """Whether this is the main thread, in whichever task."""
    return bool(native("_thread", "get_ident")() == native("threading", "main_thread")().ident)


def start_thread(fn: Callable[..., object], *args: Any) -> None:
    """Call ``fn(*args)`` in a thread that ends with the process."""
    native("_thread", "start_new_thread")(fn, args)


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
