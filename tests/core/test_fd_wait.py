"""The fast wait at a descriptor, `FdWait.park`: its rare ends."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
from greenlet import getcurrent, greenlet
from seams.raised import Rain, RaisesOnce
from seams.stack import with_room

from coopcore import _hub, run, sleep, spawn
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
            wait.park(None if seconds is None else hub.clock.now() + 10**11)
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


@pytest.mark.parametrize("seconds", [None, 1])
def test_what_is_thrown_into_its_greenlet_behind_the_hubs_back_ends_it(on: Any, seconds: float | None) -> None:
    @on
    def body(wait: FdWait, write: Any) -> None:
        hub = current_hub()
        timers = len(hub.timers)
        stacks: list[greenlet] = []

        def waits() -> None:
            stacks.append(getcurrent())
            wait.park(None if seconds is None else hub.clock.now() + 10**11)

        task = spawn(waits)
        sleep(0)
        stacks[0].throw(Rain)
        with pytest.raises(Rain):
            task.get(timeout=5)
        assert wait.task is None
        assert len(hub.timers) == timers


@pytest.mark.parametrize("on", ["epoll"], indirect=True)  # where only edges are reported is the wait a fast one
def test_a_handler_that_raises_before_the_outcome_is_taken_leaves_the_wake_as_it_is(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @on
    def body(wait: FdWait, write: Any) -> None:
        monkeypatch.setattr(_hub, "take_outcome", RaisesOnce(_hub.take_outcome))
        task = spawn(wait.park, current_hub().clock.now() + 10**10)
        sleep(0)
        write()
        with pytest.raises(Rain):  # the main task's, as whatever a handler raises in the core
            task.join()
        assert task.get(timeout=5) is True


def test_a_signal_handler_between_two_tasks_of_a_worker_gets_a_task_to_wait_with(on: Any) -> None:
    @on
    def body(wait: FdWait, write: Any) -> None:
        deadline = current_hub().clock.now() + 10**10

        def between() -> bool:
            worker = cast(Any, getcurrent())
            mine, worker.task = worker.task, None
            try:
                return wait.park(deadline)
            finally:
                worker.task = mine

        task = spawn(between)
        sleep(0)
        write()
        assert task.get(timeout=5) is True


def test_a_full_stack_loses_nobody(on: Any) -> None:
    outcomes = []

    @on
    def body(wait: FdWait, write: Any) -> None:
        hub = current_hub()
        for frames in range(16):
            begun: list[int] = []
            spawn(begun.append, 1)
            timers = len(hub.timers)
            try:
                outcomes.append(with_room(frames, lambda: wait.park(hub.clock.now() + 1_000_000)))
            except RecursionError:
                outcomes.append("full")
            assert (wait.task, hub.waiting_at_descriptors, len(hub.timers)) == (None, 0, timers)
            sleep(0)
            assert begun == [1]

    assert set(outcomes) == {"full", False}
