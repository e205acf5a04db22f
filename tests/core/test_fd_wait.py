"""The fast wait at a descriptor, `FdWait.park`: its rare ends."""

from __future__ import annotations

import os
from typing import Any

import pytest
from greenlet import greenlet

from coopcore import run, sleep, spawn
from coopcore.errors import ClosedResourceError
from coopcore.lowlevel import READABLE, FdWait, current_hub

BACKENDS = ["epoll", "selectors"]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Any:
    """Run ``body(wait, write)`` with a wait at a pipe that a task has waited at before."""

    def start(body: Any) -> None:
        def main() -> None:
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            wait = current_hub().fd_wait(reader, READABLE)
            try:
                first = spawn(wait.park)
                sleep(0)
                os.write(writer, b"x")
                assert first.get(timeout=5) is True
                os.read(reader, 1)
                body(wait, lambda: os.write(writer, b"x"))
            finally:
                current_hub().forget_fd(reader)
                os.close(reader)
                os.close(writer)

        run(main, backend=request.param)

    return start


@pytest.mark.parametrize("seconds", [None, 1])
def test_one_that_was_closed_meanwhile_says_so_and_leaves_no_timer(on: Any, seconds: float | None) -> None:
    @on
    def body(wait: FdWait, write: Any) -> None:
        hub = current_hub()
        timers = len(hub.timers)
        wait.closed = True
        with pytest.raises(ClosedResourceError):
            wait.park(None if seconds is None else hub.clock.now() + 10**9)
        assert len(hub.timers) == timers
        wait.closed = False


def test_a_greenlet_without_a_task_gets_one(on: Any) -> None:
    @on
    def body(wait: FdWait, write: Any) -> None:
        seen: list[Any] = []
        waiting = greenlet(lambda: seen.append(wait.park()))
        write()
        waiting.switch()
        while not seen:
            sleep(0)
        assert seen == [True]


def test_a_deadline_ends_it(on: Any) -> None:
    @on
    def body(wait: FdWait, write: Any) -> None:
        assert wait.park(current_hub().clock.now() + 1_000_000) is False
