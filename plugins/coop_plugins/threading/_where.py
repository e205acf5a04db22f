"""Who waits: a task, a plain thread, or code that stands where nobody can park.

A *plain thread* has no hub, such as a worker of a thread pool or a thread that a library in C has started: it blocks by the means of the system, and never
gets a hub just because it has to wait. A *home* is a thread in which the program was patched, and the main thread: where it has no hub yet, it gets one when
it waits.
"""

from __future__ import annotations

import os
import sys
import threading as _stdlib
from _thread import allocate_lock, get_ident
from contextlib import nullcontext
from typing import Any

from greenlet import getcurrent

from coopcore import Deadlock, Task, sleep, spawn
from coopcore.errors import HubClosedError, ParkInFinalizerError, ParkInHubError
from coopcore.lowlevel import Hub, IdleThread, Promise, current_task, hide_frames, on_hub, park_shielded, park_task, running_task, unpark_anywhere

from .._loops import loop_aside

hide_frames(__file__)

PATIENCE = 0.1
"""Seconds for which code that cannot park (on the hub, or in a finaliser that the collector runs) waits for another thread to let go."""

SILENCE = 10
"""Seconds after which it is said that only a thread of a library could wake a task."""

_modules = sys.modules
_NOTHING = nullcontext()

homes: set[int] = set()
"""The idents of the threads that are homes."""

forks = 0
"""How many forks lie between the process that was started and this one. Who waited before the last of them is not here."""


_END = object()


def whoever() -> Any:
    """Who runs: the task, or where there is none the greenlet, as on the hub and in a plain thread."""
    try:
        stack = getcurrent()
    except RuntimeError:  # the interpreter ends, and greenlets with it: only one thread is left
        return _END
    task = getattr(stack, "task", None)
    return stack if task is None else task


def task_to_park() -> Task[Any] | None:
    """The task that runs here, or would if this thread had its hub already. None in a plain thread, and on the hub."""
    task = running_task()
    if task is not None or on_hub():
        return task
    root = getcurrent()
    while root.parent is not None:
        root = root.parent
    return current_task() if get_ident() in homes or getattr(root, "task", None) is not None else None


_real_threads: set[object] = set()  # what stands for the real threads that were started by the functions of ``_threads``, and may hold what a task waits for
_promises: dict[Hub, Promise] = {}  # of hubs in which a task has waited while there was such a thread


def real_thread_begins(thread: object) -> None:
    """Call it before a real thread starts: while there is one, a task that waits is no deadlock."""
    _real_threads.add(thread)


def real_thread_ended(thread: object) -> None:
    """Undo it, when the thread has let go of all. From any thread."""
    _real_threads.discard(thread)
    if not _real_threads:
        _close_promises()


def _close_promises() -> None:
    while _promises:
        try:
            _hub, promise = _promises.popitem()
        except KeyError:  # another thread has taken the last one
            return
        promise.close()


def _promise_for_threads(hub: Hub) -> None:
    if hub not in _promises:
        _promises[hub] = hub.promise("a real thread lets go of a lock, or puts an item")
        if not _real_threads:  # the last one has ended meanwhile, and may have looked before
            _close_promises()


def _unknown_threads() -> bool:
    """Whether the process has threads of which ``threading`` does not know who started them: such as those of libraries in C, which may call back."""
    frames = sys._current_frames()
    idle = IdleThread.idents & frames.keys()
    known = len(idle) + sum(thread.ident in frames.keys() - idle and type(thread).__name__ != "_DummyThread" for thread in _stdlib.enumerate())
    try:
        count = len(os.listdir("/proc/self/task"))
    except OSError:
        count = 0
    return max(count, len(frames)) > known


def _watch_unknown_threads(promise: Promise, told: str) -> None:
    """Close the promise when they are gone: then it is a deadlock. As they may stay for good, after a while say so."""
    waited, pause = 0.0, 0.01
    while _unknown_threads():
        sleep(pause)
        if waited < SILENCE <= waited + pause:
            print(
                f"coopcore: for {SILENCE} s only a thread that threading does not know, such as one of a library in C, could have woken a task: {told}",
                file=sys.stderr,
            )
        waited, pause = waited + pause, min(2 * pause, 1.0)
    promise.close()


class Waiter:
    """Somebody in the line of a thing, and what their park waits for.

    Whoever `claim`s it decides how the wait ends: one who serves it, and then calls `wake`, or the waiter itself, that gives up. Only the first `claim`
    returns True.
    """

    __slots__ = ("_claim", "_fork", "_gate", "_task", "_woken", "given", "thing", "wait_is_shielded")

    def __init__(self, thing: Any, gate: Any, shielded: bool = False) -> None:
        """``gate`` is a native lock that is locked."""
        self.thing = thing
        self.given: Any = None
        """What whoever serves it leaves here, before the claim."""
        self._gate = gate
        self._task = None if sys.is_finalizing() else task_to_park()
        self._claim = allocate_lock().acquire
        self._fork = forks
        self._woken = False
        self.wait_is_shielded = shielded

    def claim(self) -> bool:
        """True for the first who asks, whichever thread they are in; False in the child of a fork for a waiter of the parent's."""
        return self._fork == forks and self._claim(False)

    def wake(self) -> None:
        """End the wait. From any thread, by whoever claimed it."""
        self._woken = True
        task = self._task
        if task is None:
            self._gate.release()
        else:
            unpark_anywhere(task, self)

    def wait(self, timeout: float) -> bool:
        """Wait for `wake`, for at most ``timeout`` seconds if it is not negative. Raises what is thrown into the task."""
        task = self._task
        if task is None:
            nobody_parks = sys.is_finalizing() or on_hub()
            return self._wait_for_thread(timeout, None) if nobody_parks else self._gate.acquire(True, timeout)
        if _real_threads:
            _promise_for_threads(task.hub)
        try:
            return self._park(task, None if timeout < 0 else timeout)
        except (HubClosedError, ParkInFinalizerError) as error:
            self._task = None
            return self._wait_for_thread(timeout, error)
        except Deadlock as error:
            if not _unknown_threads() and not self._woken:  # in this order: the last one may have woken it, and then ended
                raise
            told = str(error)
        return self._wait_for_unknown_thread(task, told)  # out here, so that a Deadlock after all is told once

    def _park(self, task: Task[Any], timeout: float | None) -> bool:
        with loop_aside() if "asyncio.events" in _modules else _NOTHING:  # its executor, and the start of its threads, wait in the middle of the loop
            return (park_shielded(task, self) if self.wait_is_shielded else park_task(task, self, timeout)) is not False

    def _wait_for_unknown_thread(self, task: Task[Any], told: str) -> bool:
        """No task can go on, but a thread of a library in C may yet call back."""
        if self._woken:  # since, and in vain, for it was not parked
            return True
        with task.hub.promise("a thread that threading does not know lets go") as promise:
            watcher = spawn(_watch_unknown_threads, promise, told)
            try:
                return self._park(task, None)
            finally:
                watcher.kill(block=False)

    def _wait_for_thread(self, timeout: float, refusal: Exception | None) -> bool:
        """Where nobody can park only another thread can help, and should soon."""
        here = get_ident()
        owners = self.thing.wait_owners()
        if len(sys._current_frames()) > 1 and all(task.hub.thread != here for task in owners):
            patience = PATIENCE if timeout < 0 else min(timeout, PATIENCE)
            if self._gate.acquire(True, patience):
                return True
            if 0 <= timeout <= PATIENCE:
                return False
        elif timeout == 0:
            return False
        raise refusal or ParkInHubError(
            f"{self.thing!r} was to be waited for where nothing may wait: in a callback on the hub itself (a rawlink, a timer or call_soon), since the hub is "
            f"what wakes the others; or while the interpreter ends, when nobody is left. Spawn a task that does the waiting, or pass a timeout of 0."
        )

    def describe_wait(self) -> str:
        return str(self.thing.describe_wait())

    def wait_owners(self) -> Any:
        return self.thing.wait_owners()

    @property
    def names_owners(self) -> bool:
        """Whether `describe_wait` says who they are."""
        return getattr(self.thing, "names_owners", False)


def _after_fork_in_child() -> None:
    global forks
    forks += 1
    _real_threads.clear()
    _promises.clear()
    homes.clear()
    homes.add(get_ident())


os.register_at_fork(after_in_child=_after_fork_in_child)
