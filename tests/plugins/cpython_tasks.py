"""What CPython's own tests find in place of ``threading``, ``time`` and ``test.support.threading_helper``: its threads are tasks of one hub.

The suite of the interpreter that runs the tests is imported a second time, and the names in it are exchanged; nothing else in the process changes. Each test
then runs as the main task of a hub whose clock jumps, so that its sleeps cost nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import unittest
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

from seams.clock import JumpingClock

from coop_plugins.event import Event
from coop_plugins.lock import Semaphore
from coopcore import Task, Timeout, run, sleep, spawn
from coopcore.lowlevel import current_hub

_LIMIT = 600  # seconds of the clock that jumps: after them a test hangs


class Thread:
    """``threading.Thread``, as far as the suites use it, with a task."""

    def __init__(self, group: None = None, target: Callable[..., object] | None = None, name: str = "", args: Iterable[Any] = (), kwargs: Any = None) -> None:
        self._call = (target, tuple(args), kwargs or {})
        self.name = name
        self.daemon = False
        self.task: Task[Any] | None = None

    def start(self) -> None:
        self.task = spawn(self.run)

    def run(self) -> None:
        target, args, kwargs = self._call
        if target is not None:
            target(*args, **kwargs)

    def join(self, timeout: float | None = None) -> None:
        assert self.task is not None
        self.task.join(timeout)

    def is_alive(self) -> bool:
        return self.task is not None and not self.task.dead


class Barrier:
    """``threading.Barrier``, for those that are used once."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._complete = Event()

    def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        self._complete.wait()


def join_thread(thread: Thread, timeout: float = 30.0) -> None:
    thread.join(timeout)
    assert not thread.is_alive(), f"{thread} did not end in {timeout} seconds"


@contextlib.contextmanager
def start_threads(threads: Iterable[Thread], unlock: Callable[[], object] | None = None) -> Iterator[None]:
    threads = list(threads)
    for thread in threads:
        thread.start()
    yield
    if unlock is not None:
        unlock()
    for thread in threads:
        join_thread(thread, 60)


THREADING = SimpleNamespace(Thread=Thread, Event=Event, Lock=lambda: Semaphore(1), Barrier=Barrier)
TIME = SimpleNamespace(sleep=sleep, monotonic=lambda: current_hub().clock.now() / 1e9)
HELPER = SimpleNamespace(join_thread=join_thread, start_threads=start_threads)


def load(suite: str) -> ModuleType | None:
    """A copy of a module of the standard library's tests, ``test.test_queue``, with tasks for threads. None where the interpreter ships none."""
    try:
        spec = importlib.util.find_spec(suite)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    spec.loader.exec_module(module)
    for name in set(sys.modules) - before:
        if name.startswith("test."):
            sys.modules.pop(name)
    for name, fake in (("threading", THREADING), ("time", TIME), ("threading_helper", HELPER)):
        if hasattr(module, name):
            setattr(module, name, fake)
    for thing in vars(module).values():
        if isinstance(thing, type) and thing.__bases__ == (threading.Thread,):
            thing.__bases__ = (Thread,)
    return module


def cases_of(module: ModuleType) -> dict[str, type[unittest.TestCase]]:
    return {name: thing for name, thing in vars(module).items() if isinstance(thing, type) and issubclass(thing, unittest.TestCase)}


def names_of(case: type[unittest.TestCase]) -> list[str]:
    return unittest.defaultTestLoader.getTestCaseNames(case)  # type: ignore[return-value]  # a list, whatever the stub says


def check(case: type[unittest.TestCase], name: str) -> None:
    """Run one test as the main task of a hub of its own. Raises what it raises."""

    def main() -> None:
        with Timeout(_LIMIT):
            case(name).debug()

    run(main, clock=JumpingClock())
