"""Locks, semaphores, conditions and barriers: what ``threading`` has of them, for tasks. One file for each; `_line` is what they wait in."""

from __future__ import annotations

from threading import BrokenBarrierError as BrokenBarrierError

from coopcore.lowlevel import hide_frames

from ._barrier import Barrier as Barrier
from ._condition import Condition as Condition
from ._lock import Lock as Lock
from ._lock import RLock as RLock
from ._semaphore import BoundedSemaphore as BoundedSemaphore
from ._semaphore import DummySemaphore as DummySemaphore
from ._semaphore import Semaphore as Semaphore

__all__ = ["Barrier", "BoundedSemaphore", "BrokenBarrierError", "Condition", "DummySemaphore", "Lock", "RLock", "Semaphore"]

hide_frames(__file__)
