"""``time.sleep`` for tasks: what the patch puts in its place."""

from __future__ import annotations

import sys
import time as _stdlib
from operator import index
from typing import Any

import coopcore
from coopcore.lowlevel import hide_frames, on_hub

from .._loops import loop_aside
from ._where import task_to_park

hide_frames(__file__)

_native_sleep = _stdlib.sleep
_modules = sys.modules
_LONGEST = 9_223_372_036  # seconds, of what the standard accepts


def sleep(seconds: Any, /) -> None:
    """Wait for at least ``seconds``: a task parks, a thread without a hub sleeps. Raises what ``time.sleep`` raises, and `ParkInHubError` on the hub."""
    span: Any = seconds
    if not isinstance(seconds, float):
        try:
            span = index(seconds)
        except TypeError:
            span = -1
    if not 0 <= span < _LONGEST or (task_to_park() is None and not on_hub()):
        _native_sleep(seconds)  # which raises the standard's errors
    elif "asyncio.events" not in _modules:
        coopcore.sleep(span)
    else:
        with loop_aside():
            coopcore.sleep(span)
