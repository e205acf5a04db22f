"""Threads that are tasks, and locks and queues that work between tasks of any hub and real threads: what the patch puts into the standard library.

Usable by themselves too: a `Lock`, `RLock` or `SimpleQueue` for what tasks and plain threads share.
"""

from __future__ import annotations

from coopcore.lowlevel import hide_frames

from ._lock import Lock as Lock
from ._lock import RLock as RLock
from ._queue import SimpleQueue as SimpleQueue
from ._sleep import sleep as sleep
from ._threads import REAL as REAL
from ._threads import get_ident as get_ident
from ._threads import start_new_thread as start_new_thread

__all__ = ["REAL", "Lock", "RLock", "SimpleQueue", "get_ident", "sleep", "start_new_thread"]

hide_frames(__file__)
