"""asyncio loops in tasks: what they note for the whole thread goes with the task.

asyncio notes the running loop for the whole thread, and so does Python the hooks for asynchronous generators. Where `coop_plugins.selectors` lets other tasks
run in the middle of a loop, and where the patched locks do, these marks are taken along, and put back before the loop goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from coopcore.lowlevel import hide_frames

_NO_MARKS = (None, (None, None))
_NOTHING = nullcontext()


class LoopMarks:
    """What asyncio and its loop have noted for the whole thread, and what was there before."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: tuple[Any, Any] = _NO_MARKS

    def aside(self) -> AbstractContextManager[None]:
        """Put what was there before in their place, for a block. Nothing, if no loop runs."""
        events: Any = sys.modules.get("asyncio.events")
        return _NOTHING if events is None or events._get_running_loop() is None else self._swap(events)

    @contextmanager
    def _swap(self, events: Any) -> Iterator[None]:
        # The two functions are in the ``__all__`` of asyncio.events for implementers of loops, their underscore notwithstanding.
        mine = events._get_running_loop(), tuple(sys.get_asyncgen_hooks())
        _set_marks(events, self._found)
        try:
            yield
        finally:
            self._found = events._get_running_loop(), tuple(sys.get_asyncgen_hooks())
            _set_marks(events, mine)


def loop_aside() -> AbstractContextManager[None]:
    """For one wait in the middle of a loop: other tasks find no running loop meanwhile. Nothing, if no loop runs."""
    events: Any = sys.modules.get("asyncio.events")
    return _NOTHING if events is None or events._get_running_loop() is None else LoopMarks()._swap(events)


def _set_marks(events: Any, marks: tuple[Any, Any]) -> None:
    loop, hooks = marks
    events._set_running_loop(loop)
    sys.set_asyncgen_hooks(*hooks)


hide_frames(__file__)
