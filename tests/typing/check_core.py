"""What type checkers see of the core. Checked by ``make lint`` (mypy --strict), never run."""

from __future__ import annotations

from typing import Any, assert_type

import coopcore
from coopcore import (
    Hub,
    Task,
    Timeout,
    current_task,
    get_hub,
    getcurrent,
    idle,
    iwait,
    joinall,
    kill,
    killall,
    run,
    sleep,
    spawn,
    spawn_later,
    wait,
    with_timeout,
)
from coopcore.lowlevel import Alarm, Offer, ParkingLot, Promise, hookimpl, keep_throwing, park, promise, shielded, unpark, wait_readable
from coopcore.protocols import Backend, Clock, Scheduler, TimerQueue, Waitable


def length(text: str) -> int:
    return len(text)


def a_task_has_the_type_of_its_functions_value() -> None:
    task = spawn(length, "abc")
    assert_type(task, Task[int])
    assert_type(spawn_later(0.5, length, "abc"), Task[int])
    assert_type(Task(length, "abc"), Task[int])
    assert_type(task.get(), int)
    assert_type(task.get(block=False), int)
    assert_type(task.value, int | None)
    assert_type(task.exception, BaseException | None)
    assert_type(task.join(timeout=1), bool)
    assert_type(task.ready(), bool)
    assert_type(task.successful(), bool)
    assert_type(task.name, str)
    assert_type(task.hub, Hub)
    assert_type(task.parent, Task[Any] | None)
    with task as same:
        assert_type(same, Task[int])


class Counter(Task[int]):
    def _run(self) -> int:
        return 1


def a_subclass_says_what_its_run_returns() -> None:
    assert_type(Counter().get(), int)


def waiting() -> None:
    tasks = [spawn(length, "abc"), spawn(length, "de")]
    assert_type(joinall(tasks, timeout=1, raise_error=True, count=1), list[Task[int]])
    for task in iwait(tasks, timeout=1):
        assert_type(task, Task[int])
    with iwait(tasks) as ready:
        assert_type(next(ready), Task[int])
    waitable: Waitable = tasks[0]
    wait([waitable])
    sleep()
    sleep(0.5)
    idle()
    kill(tasks[0])
    killall(tasks, timeout=1)


def running() -> None:
    assert_type(run(length, "abc"), int)
    assert_type(run(length, "abc", backend="selectors"), int)
    assert_type(current_task(), Task[Any])
    assert_type(getcurrent(), Task[Any])
    assert_type(get_hub(), Hub)


def timeouts() -> None:
    with Timeout(1, False) as timeout:
        assert_type(timeout, Timeout)
    assert_type(Timeout.start_new(1), Timeout)
    assert_type(timeout.seconds, float | None)
    assert_type(timeout.pending, bool)
    assert_type(with_timeout(1, length, "abc"), int)


class Plugin:
    @hookimpl
    def coop_backends(self) -> list[Offer]:
        return [Offer("hello", "hello:Backend", "says hello")]


def lowlevel() -> None:
    lot = ParkingLot("a test", owners=lambda: [current_task()])
    lot.park(timeout=1)
    assert_type(lot.unpark(), bool)
    assert_type(lot.unpark_all(), int)
    park("a test", timeout=1)
    assert_type(unpark(current_task()), bool)
    assert_type(wait_readable(0, timeout=1), bool)
    with promise("a thread") as open_promise:
        assert_type(open_promise, Promise)
    keep_throwing(current_task(), lambda task: KeyError(task.name))
    with shielded():
        park("clean-up", timeout=1)
    Alarm(get_hub(), get_hub().clock.now() + 1, print, "late").cancel()


def the_parts_of_a_hub_are_those_of_the_protocols(backend: Backend, clock: Clock, timers: TimerQueue, scheduler: Scheduler) -> None:
    hub = Hub(backend=backend, clock=clock, timers=timers, scheduler=scheduler)
    assert_type(hub.backend, Backend)
    assert_type(hub.tasks(), list[Task[Any]])
    assert_type(coopcore.__version__, str)
