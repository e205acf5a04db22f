"""Queues between tasks: what one puts, another gets. First come, first served on both sides.

`Queue` is the one to take; `LifoQueue` and `PriorityQueue` order its items otherwise, `SimpleQueue` does not count tasks and cannot be shut down, `Channel`
holds nothing: it passes an item from hand to hand. The interface is that of the standard module ``queue`` as of Python 3.13, with gevent's additions.
"""

from __future__ import annotations

from queue import Empty as Empty
from queue import Full as Full

from coopcore.lowlevel import hide_frames

from ._channel import Channel as Channel
from ._orders import LifoQueue as LifoQueue
from ._orders import PriorityQueue as PriorityQueue
from ._parts import ShutDown as ShutDown
from ._queue import JoinableQueue as JoinableQueue
from ._queue import Queue as Queue
from ._simple import SimpleQueue as SimpleQueue

__all__ = ["Channel", "Empty", "Full", "JoinableQueue", "LifoQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]

hide_frames(__file__)
