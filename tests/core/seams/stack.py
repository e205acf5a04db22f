"""A stack that is nearly full."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from coopcore import Hub


def room() -> int:
    """How many more frames the caller could put on its stack."""
    try:
        return 1 + room()
    except RecursionError:
        return 1  # this one


def with_room(frames: int, fn: Callable[[], Any]) -> Any:
    """Call ``fn`` where only so many more frames have room, its own among them. Skips the test under a tracer, which needs room in between."""
    coverage = sys.modules.get("coverage")
    if sys.gettrace() is not None or (coverage is not None and coverage.Coverage.current() is not None):
        pytest.skip("under a tracer a stack is full in the middle of nowhere")

    def descend(left: int) -> Any:
        return descend(left - 1) if left else fn()

    return descend(room() - frames - 1)


def full_at_the_next_switch(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """Have the next park or yield find the stack full where it looks for whom to switch to."""

    def overflow(hub: Hub, task: Any) -> Any:
        monkeypatch.undo()
        raise RecursionError("no room")

    monkeypatch.setattr(Hub, "_choose_for", overflow)
    hub._budget = 0
