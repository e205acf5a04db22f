"""coopcore: thousands of tasks of ordinary blocking Python in one thread.

A task is a function on a greenlet; it parks when it must wait, and the hub runs the others. See README.md for a start.
"""

from __future__ import annotations

import sys as _sys

if _sys.platform == "win32" or _sys.implementation.name != "cpython" or "t" in getattr(_sys, "abiflags", ""):
    raise ImportError(
        f"coopcore needs CPython with its global lock, on Linux or another Unix; this is {_sys.implementation.name} on {_sys.platform}"
        f"{', a free-threaded build' if 't' in getattr(_sys, 'abiflags', '') else ''}. Windows, PyPy and free-threaded builds are not supported."
    )

from ._assemble import get_hub, run
from ._hub import Hub
from ._state import current_task
from ._task import Task, spawn
from ._task import hide_frames as _hide_frames
from ._timeout import Timeout, with_timeout
from ._wait import idle, iwait, joinall, kill, killall, sleep, spawn_later, wait
from .errors import CoopError, Deadlock, LeftBehindWarning, TaskExit
from .hookspecs import hookimpl

getcurrent = current_task

__version__ = "0.1.0"

__all__ = [
    "CoopError",
    "Deadlock",
    "Hub",
    "LeftBehindWarning",
    "Task",
    "TaskExit",
    "Timeout",
    "__version__",
    "current_task",
    "get_hub",
    "getcurrent",
    "hookimpl",
    "idle",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "run",
    "sleep",
    "spawn",
    "spawn_later",
    "wait",
    "with_timeout",
]

# Frames of the core are plumbing in reports.
for _name, _module in list(_sys.modules.items()):
    if _name.startswith("coopcore.") and _module.__file__:
        _hide_frames(_module.__file__)
del _name, _module
