"""Tests in a hub of their own, and what they do from another thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from coopcore import Timeout, get_hub, run, sleep

from .clock import JumpingClock


def in_a_hub(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test as the main task of a hub of its own, under a timeout."""
    return _in_a_hub(test, lambda: None)


def in_a_jumping_hub(test: Callable[..., None]) -> Callable[..., None]:
    """As `in_a_hub`, but time stands still, and jumps to what is due next when all wait."""
    return _in_a_hub(test, JumpingClock)


def _in_a_hub(test: Callable[..., None], clock: Callable[[], Any]) -> Callable[..., None]:
    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        def main() -> None:
            with Timeout(20):
                test(*args, **kwargs)

        run(main, clock=clock())

    return wrapper


def settle(turns: int = 6) -> None:
    """Let the others run until they wait, in so many turns. Unlike `idle`, this lets no time jump."""
    for _ in range(turns):
        sleep(0)


def pass_time(seconds: float) -> None:
    """Let time pass for timers, and no task run. In a jumping hub."""
    get_hub().clock._now += int(seconds * 1e9)  # type: ignore[attr-defined]  # a JumpingClock


def in_another_thread(fn: Callable[[], object]) -> BaseException | None:
    """Call ``fn`` in a thread, 'the other thread', and wait for its end. Returns what it raised."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            fn()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, name="the other thread")
    thread.start()
    thread.join()
    return raised[0] if raised else None


def raise_from_another_thread(fn: Callable[[], object]) -> None:
    """As `in_another_thread`, but what it raised is raised here."""
    error = in_another_thread(fn)
    if error is not None:
        raise error
