"""What a signal handler does that raises in the middle of the core's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Rain(Exception):
    """What a signal handler raises."""


class RaisesOnce:
    """A function that is interrupted before its first instruction at the first call."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise Rain
        return self.fn(*args)
