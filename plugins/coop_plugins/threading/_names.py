"""The names under which ``_thread``, ``threading`` and their kin know what stands in for them: the source of the patch's tables.

``rare`` names in the tables are those that only some versions of Python have.
"""

from __future__ import annotations

import sys
import threading as _stdlib
from typing import Any

from coop_plugins.local import local
from coopcore import TaskExit
from coopcore.lowlevel import hide_frames

from ._apply import apply
from ._lock import Lock, RLock
from ._queue import SimpleQueue
from ._sleep import sleep
from ._threads import (
    _count,
    _make_thread_handle,
    _set_sentinel,
    _ThreadHandle,
    get_ident,
    interrupts_main,
    start_joinable_thread,
    start_new_thread,
)

__all__ = [  # with what follows: they are looked up here by the patch
    "RLock",
    "SimpleQueue",
    "_ThreadHandle",
    "_count",
    "_make_thread_handle",
    "_set_sentinel",
    "apply",
    "sleep",
]

hide_frames(__file__)

# _thread's
allocate_lock = allocate = lock = LockType = Lock
start_new = start_new_thread
_local = local

# threading's
_allocate_lock = _LockType = Lock
_CRLock = RLock
_start_new_thread = start_new_thread
_start_joinable_thread = start_joinable_thread
_get_main_thread_ident = get_ident  # asked by the main thread only, perhaps that of a fork

# Whose values go with a task, as with a thread: what a Thread that stands for a task puts there is told of the end.
_thread_local_info: Any = local()


class _Leaving:
    """Takes a Thread that was made for a running task, or plain thread, out of ``threading`` when that ends."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    def __del__(self) -> None:
        active: Any = vars(_stdlib)["_active"]
        if active.get(self._thread.ident) is self._thread:
            del active[self._thread.ident]


class _DummyThread(_stdlib._DummyThread):
    """The Thread of a task, or plain thread, that was not started as one. Before Python 3.13, which has something like `_Leaving` itself."""

    def __init__(self) -> None:
        super().__init__()
        if sys.version_info < (3, 13):
            _thread_local_info.leaving = _Leaving(self)


_make_standard_hook: Any = vars(_stdlib)["_make_invoke_excepthook"]


def _make_invoke_excepthook() -> Any:
    """What a Thread calls with itself when its ``run`` has raised. A kill is no error, and a Ctrl-C not the thread's."""
    report = _make_standard_hook()

    def invoke_excepthook(thread: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, TaskExit) and not interrupts_main(error):
            report(thread)

    return invoke_excepthook
