"""What no table of names says: the objects of the standard library that hold a lock already, and the end of the program."""

from __future__ import annotations

import sys
from _thread import get_ident as native_ident
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic
from typing import Any

import coopcore
from coopcore.lowlevel import hide_frames

from ._lock import Lock, RLock
from ._threads import End, get_ident, is_foreign
from ._where import homes, task_to_park

hide_frames(__file__)


def apply() -> Callable[[], None]:
    """Do it, once the names are in place. Returns what undoes it."""
    threading: Any = sys.modules["threading"]
    undo = ExitStack()
    for home in {native_ident(), threading.main_thread().ident} - homes:
        homes.add(home)
        undo.callback(homes.discard, home)
    _set(undo, threading.Thread, "join", _make_join(threading.Thread.join))
    if hasattr(threading.Thread, "_wait_for_tstate_lock"):  # until Python 3.12
        _set(undo, threading.Thread, "_wait_for_tstate_lock", _make_wait_for_end(threading.Thread._wait_for_tstate_lock))
    # Before all others, and so called after them: what is registered tells workers to end.
    threading._threading_atexits.insert(0, _join_all)
    undo.callback(threading._threading_atexits.remove, _join_all)
    _renew(undo)
    return undo.close


def _set(undo: ExitStack, thing: Any, name: str, value: object) -> None:
    undo.callback(setattr, thing, name, getattr(thing, name))
    setattr(thing, name, value)


# Modules of the standard library that take these names from ``_thread``, and were perhaps imported before.
_TAKEN = (("functools", "RLock", RLock), ("reprlib", "get_ident", get_ident), ("tempfile", "_allocate_lock", Lock))


def _renew(undo: ExitStack) -> None:
    """What modules of the standard library have taken when they were imported: functions, and locks that are held while something waits."""
    for module, name, ours in _TAKEN:
        if hasattr(sys.modules.get(module), name):
            _set(undo, sys.modules[module], name, ours)
    executors = sys.modules.get("concurrent.futures.thread")
    if executors is not None:
        _set(undo, executors, "_global_shutdown_lock", Lock())
    logging: Any = sys.modules.get("logging")
    if logging is not None:
        _set(undo, logging, "_lock", RLock())
        for ref in list(logging._handlerList):
            handler = ref()
            if handler is not None and handler.lock is not None:
                _set(undo, handler, "lock", RLock())


def _make_join(standard: Any) -> Any:
    def join(self: Any, timeout: float | None = None) -> None:
        """Wait until the thread terminates, or for ``timeout`` seconds."""
        if self.is_alive() and is_foreign(self) and self is not sys.modules["threading"].current_thread() and task_to_park() is not None:
            timeout = _look_for_end(self, timeout)
        standard(self, timeout)

    return join


def _make_wait_for_end(standard: Any) -> Any:
    """What `join` and `is_alive` come to. The standard one takes a thread for ended if the wait for its end is interrupted."""

    def _wait_for_tstate_lock(self: Any, block: bool = True, timeout: float = -1) -> None:
        end = self._tstate_lock
        if not isinstance(end, End):
            standard(self, block, timeout)
        elif end.acquire(block, timeout):
            self._stop()

    return _wait_for_tstate_lock


def _look_for_end(thread: Any, timeout: float | None) -> float | None:
    """A thread that was started before the patch tells no hub of its end: look for it at longer and longer intervals. Returns what is left of the timeout."""
    deadline = None if timeout is None else monotonic() + timeout
    pause = 0.001
    while thread.is_alive() and (deadline is None or monotonic() < deadline):
        coopcore.sleep(pause if deadline is None else max(min(pause, deadline - monotonic()), 0))
        pause = min(pause * 2, 0.05)
    return None if deadline is None else 0.0


def _join_all() -> None:
    """At the end of the program: wait for all threads that are no daemons, as the interpreter does next; but tasks go on meanwhile, whatever it waits for."""
    threading: Any = sys.modules["threading"]
    me = threading.current_thread()
    passed = (me, threading.main_thread())
    while others := [thread for thread in threading.enumerate() if thread.is_alive() and not thread.daemon and thread not in passed]:
        for thread in others:
            thread.join()
