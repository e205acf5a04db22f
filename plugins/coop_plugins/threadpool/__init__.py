"""Threads for what blocks: `ThreadPool`, `offload` for one call, and executors whose futures are awaited cooperatively.

The threads are real ones, also where the program is patched. `docs/threads.md` tells what each call waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coopcore.lowlevel import hide_frames

from ._pool import ThreadPool as ThreadPool
from ._pool import ThreadResult as ThreadResult
from ._pool import offload as offload
from ._pool import shared_pool as shared_pool

if TYPE_CHECKING:
    from ._futures import Future as Future
    from ._futures import ProcessPoolExecutor as ProcessPoolExecutor
    from ._futures import ThreadPoolExecutor as ThreadPoolExecutor
    from ._futures import await_future as await_future

_OF_FUTURES = ("Future", "ProcessPoolExecutor", "ThreadPoolExecutor", "await_future")

__all__ = ["Future", "ProcessPoolExecutor", "ThreadPool", "ThreadPoolExecutor", "ThreadResult", "await_future", "offload", "shared_pool"]


def __getattr__(name: str) -> Any:
    """What is built upon ``concurrent.futures`` is imported when it is first asked for: that imports ``logging``, of which a look-up of a name has no need."""
    if name not in _OF_FUTURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _futures

    found = globals()[name] = getattr(_futures, name)
    return found


hide_frames(__file__)
