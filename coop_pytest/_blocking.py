"""Calls that block a hub for longer than a limit: a thread looks at the hub, and at what blocks it while it does.

Theory
======
A hub that is well passes at least once a millisecond, or waits (`Hub.heartbeat`). A thread looks several times within the limit. While the beat stays the same,
something blocks: it computes, or it waits in a system call. But so it seems, too, where the machine is busy with others, or the process was stopped. So time
counts as blocked in which the hub's thread

* used the processor: that is its own clock, which stands still while others run, and while the process is stopped;
* or slept in one and the same instruction of Python, as the system says: a thread that waits for a processor does not sleep. No more counts than two looks
  are apart, since this thread is stopped with the process, and late where the machine is busy.

At the limit the stack is taken, once. A call into C that keeps the interpreter's lock lets nobody look before it has ended; then the report says that it
was just before. An import is not reported, since it happens once, and nobody could make it wait; nor is the time of whole collections of garbage, which come
when they come; and nothing while a debugger is at work.

Invariants
==========
1. A call that blocks for the limit and a quarter is reported, once, with the line of the caller.
2. Time in which the process is stopped, or others use the processor, counts for nothing.
3. Nothing is reported while the hub waits, or while tasks let each other run, or garbage is collected, or under a debugger.
4. Without a limit there is no thread.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import pytest

from coopcore import Hub
from coopcore.lowlevel import hide_frames

from ._native import Flag, native, new_lock, start_thread
from ._places import Stack, is_machinery
from ._tree import runs_in_another_thread

if TYPE_CHECKING:
    from ._plugin import Run

hide_frames(__file__)

_LOOKS = 8  # within the limit
_LATE = 3  # intervals between two looks, all of which the hub's thread has used: it held the interpreter
_OLDEST = 2  # the generation of a whole collection
_SECOND = 1_000_000_000
_DEBUGGERS = {"bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy", "ipdb", "pudb", "IPython"}


class Blocked:
    """One call that blocked the hub."""

    def __init__(self, stack: Stack, place: str) -> None:
        self.stack = stack
        self.place = place
        self.seconds = 0.0
        """For how long, so far."""


class Watched:
    """A stretch of a test, on its hub, during which nothing may block. Made on the hub's thread."""

    def __init__(self, hub: Hub, limit: float) -> None:
        self.hub = hub
        self.limit = limit
        self.found: list[Blocked] = []
        self._now = native("time", "monotonic_ns")
        self._clock = time.pthread_getcpuclockid(hub.thread)
        self._folder = f"/proc/self/task/{threading.get_native_id()}"
        self._beat = hub.heartbeat
        self._blocked = 0
        self._call: Blocked | None = None
        self._ignored = False
        self._is_late = False  # while this call was at work nobody could look
        self._collected = 0  # nanoseconds of the processor's, of collections since the last look
        self._collection_began: int | None = None
        self._seen: tuple[int, int] = (0, 0)
        self._before = self._measure()

    @property
    def interval(self) -> float:
        """Seconds between looks."""
        return self.limit / _LOOKS

    def _measure(self) -> tuple[int, int, int]:
        """Nanoseconds of real time; of the processor's for the thread; and those that it has waited for a processor."""
        try:
            with open(f"{self._folder}/schedstat", "rb") as file:
                waited = int(file.read().split()[1])
        except (OSError, IndexError):
            waited = 0  # the system doesn't tell
        return self._now(), self._used(), waited

    def _sleeps(self) -> bool:
        """Whether the thread waits for something else than a processor: what it has waited for one is told only when it gets it."""
        try:
            with open(f"{self._folder}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] in (b"S", b"D")
        except (OSError, IndexError):
            return True

    def _used(self) -> int:
        return time.clock_gettime_ns(self._clock)

    def on_collection(self, phase: str, info: dict[str, int]) -> None:
        """What `gc.callbacks` call. Only whole collections take long."""
        if info["generation"] == _OLDEST and native("_thread", "get_ident")() == self.hub.thread:
            self._count_collection()
            self._collection_began = self._used() if phase == "start" else None

    def _count_collection(self) -> None:
        """Up to now: the thread that looks may come in the middle, or before the end was told."""
        if self._collection_began is not None:
            now = self._used()
            self._collected += now - self._collection_began
            self._collection_began = now

    def _frame(self) -> FrameType:
        """Where the hub's thread is."""
        return sys._current_frames()[self.hub.thread]

    def _place_of_task(self) -> str:
        """Of a function in C that is a task by itself, and so has no line: where it was spawned. Empty if that cannot be told."""
        try:
            running = [task for task in self.hub.tasks() if runs_in_another_thread(task)]
        except RuntimeError:  # the tasks became more or fewer meanwhile: it blocks no longer
            return ""
        return f"a call that was spawned at {running[0].spawned_at}" if running and not is_machinery(running[0].spawned_at) else ""

    def look(self) -> None:
        """Called by the thread that watches, again and again."""
        beat = self.hub.heartbeat
        now = self._measure()
        frame = self._frame()
        elapsed, used, queued = (new - old for new, old in zip(now, self._before, strict=True))
        self._count_collection()
        collected, self._collected = self._collected, 0
        elapsed, used = elapsed - collected, max(used - collected, 0)
        seen = (id(frame), frame.f_lasti)
        same = seen == self._seen
        self._before, self._seen = now, seen
        if beat is None or beat != self._beat:
            self._beat = beat
            self._blocked = 0
            self._call = None
            self._ignored = False
            self._is_late = False
        else:
            self._is_late = self._is_late or used > _LATE * self.interval * _SECOND
            slept = min(elapsed, int(2 * self.interval * _SECOND)) - used - queued if same and self._sleeps() else 0
            self._blocked += used + max(slept, 0)
            self._judge(frame)

    def _judge(self, frame: FrameType) -> None:
        seconds = self._blocked / _SECOND
        if seconds > self.limit and self._call is None and not self._ignored:
            self._ignored = _is_excused(frame)
            if not self._ignored:
                self._call = self._describe(Stack(frame))
                self.found.append(self._call)
        if self._call is not None:
            self._call.seconds = seconds

    def _describe(self, stack: Stack) -> Blocked:
        place = stack.place if stack.lines() else self._place_of_task() or "code that has ended since"
        return Blocked(stack, f"{place}, or just before, in a call that let no other thread run" if self._is_late else place)


def _is_excused(frame: FrameType | None) -> bool:
    """Whether an import is under way, or a debugger is at work."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in _DEBUGGERS or frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class Monitor:
    """The thread that watches. There is at most one stretch at a time."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._changed = Flag()
        self._begun = Flag()
        self._ended = Flag()
        self._watched: Watched | None = None
        self._is_running = False
        self._is_over = False

    def begin(self, watched: Watched) -> None:
        """Watch this from now on."""
        with self._lock:
            self._watched = watched
        gc.callbacks.append(watched.on_collection)
        if not self._is_running:
            self._is_running = True
            start_thread(self._run)
            self._begun.wait()
        self._changed.set()

    def end(self) -> None:
        """Watch nothing."""
        with self._lock:
            watched, self._watched = self._watched, None
        if watched is not None:
            gc.callbacks.remove(watched.on_collection)

    def close(self) -> None:
        """End the thread, and wait for that."""
        self._is_over = True
        self._changed.set()
        if self._is_running:
            self._ended.wait()

    def _run(self) -> None:
        self._begun.set()
        while not self._is_over:
            with self._lock:
                watched = self._watched
                if watched is not None:
                    watched.look()
            self._changed.wait(-1 if watched is None else watched.interval)
        self._ended.set()


class Blocking:
    """The hooks of a session in which some test has a limit."""

    def __init__(self, runs: dict[pytest.Item, Run]) -> None:
        self._runs = runs  # the one that is under way
        self._monitor = Monitor()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        return (yield from self._watching(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        return (yield from self._watching(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        return (yield from self._watching(item))

    def pytest_unconfigure(self) -> None:
        self._monitor.close()

    def _watching(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        run = self._runs.get(item)
        if run is None or run.hub is None or not run.blocking:
            return (yield)
        watched = Watched(run.hub, run.blocking)
        self._monitor.begin(watched)
        try:
            result = yield
        except BaseException:
            self._monitor.end()
            if watched.found:
                run.sections.append(("blocking calls", _report(item, watched)))
            raise
        self._monitor.end()
        if watched.found:
            _fail(_report(item, watched))
        return result


def _fail(text: str) -> NoReturn:
    pytest.fail(text, pytrace=False)  # from a frame that is not hidden, or pytest adds that all are


def _report(item: pytest.Item, watched: Watched) -> str:
    lines = []
    for blocked in watched.found:
        lines.append(f"{item.nodeid} blocked {watched.hub.name} for {blocked.seconds:.2f} s, at {blocked.place}; the limit is {watched.limit:g} s.")
        lines += blocked.stack.lines()
    lines.append(
        "Nothing else could run meanwhile. Next step: call what parks in its place (the plugins', or the standard library's in a patched program), give it to "
        "a thread (coop_plugins.threadpool.offload), or let this test block for longer: @pytest.mark.coop(blocking=...)."
    )
    return "\n".join(lines)
