"""A stack that is nearly full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def room() -> int:
    """How many more frames the caller could put on its stack."""
    try:
        return 1 + room()
    except RecursionError:
        return 1  # this one


def with_room(frames: int, fn: Callable[[], Any]) -> Any:
    """Call ``fn`` where only so many more frames have room, its own among them."""

    def descend(left: int) -> Any:
        return descend(left - 1) if left else fn()

    return descend(room() - frames - 1)
