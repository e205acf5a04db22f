"""Whose tasks are whose, and what became of those that failed.

A task belongs to the test, or the fixture, that started it, directly or through other tasks. A context variable says who that is: a task runs in a copy
of the context in which it was made, so everything that is started further down inherits the owner, even when those in between have ended.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coopcore import Hub, Task, Timeout, current_task, killall
from coopcore.lowlevel import TaskView, hide_frames, park, unpark, yield_now

from . import TaskFailed

if TYPE_CHECKING:
    from ._leaks import Made

hide_frames(__file__)

KILL_TIMEOUT = 2.0
_MOST_ROUNDS = 20
_MOST_TOLD = 10  # failed tasks
_MANY = 1000  # things that were made, until those are forgotten that are gone


def is_skip(error: BaseException | None) -> bool:
    """Whether it says that the test was skipped: in pytest's words, or in those of unittest, which pytest takes for the same."""
    unittest = sys.modules.get("unittest")
    return isinstance(error, pytest.skip.Exception) or (unittest is not None and isinstance(error, unittest.SkipTest))


def is_verdict(error: BaseException) -> bool:
    """Whether it says something about the test as a whole. A task may say it, too."""
    return is_skip(error) or isinstance(error, (pytest.xfail.Exception, pytest.exit.Exception))


class Owner:
    """A test or a fixture under which tasks are started, and other things made."""

    is_watched = False
    """Whether it is noted what else is made."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self._soon = _MANY

    def note(self, made: Made) -> None:
        """Something was made. Of a great many, those that are gone are forgotten."""
        self.made.append(made)
        if len(self.made) > self._soon:
            self.made = [other for other in self.made if other.is_left()]
            self._soon = max(_MANY, 2 * len(self.made))


OWNER: ContextVar[Owner | None] = ContextVar("OWNER", default=None)


def tasks_of(owner: Owner | None, hub: Hub) -> list[Task[Any]]:
    """The live tasks of a hub that belong to ``owner``; None for those whose context says nothing, since a callback on the hub started them."""
    return [task for task in hub.tasks() if _owner_of(task) is owner]


def _owner_of(task: Task[Any]) -> Owner | None:
    context = task.context
    return None if context is None else context.get(OWNER)


def end_tasks(find: Callable[[], list[Task[Any]]]) -> list[Task[Any]]:
    """Kill what ``find`` finds, so that each ``finally`` runs, until it finds nothing more: the end of a task can start others. Waits for their end.

    Returns those that have not ended in time.
    """
    me = current_task()
    for _ in range(_MOST_ROUNDS):
        victims = [task for task in find() if task is not me]
        if not victims:
            return []
        try:
            killall(victims, timeout=KILL_TIMEOUT)
        except Timeout:
            return [task for task in victims if not task.dead]
        # Links of those that have ended run on the hub, and may spawn.
        settle()
    return [task for task in find() if task is not me]


def settle() -> None:
    """Wait until everything that was posted to the hub's inbox by now was handled: failures of tasks that were dropped come that way.

    What was ready by then has had a turn, and whoever ended in it was delivered to those who look after it.
    """
    me = current_task()
    waiting = True

    def arrive() -> None:
        if waiting:
            unpark(me)

    me.hub.call_soon_threadsafe(arrive)
    try:
        park("the hub's inbox to be emptied")
    finally:
        waiting = False
    yield_now()


class Failed(NamedTuple):
    """A task that failed and that nobody joined."""

    task: TaskView
    error: BaseException
    traceback: TracebackType | None

    def __str__(self) -> str:
        return f"task {self.task.name!r}, spawned at {self.task.spawned_at}, failed, and nobody joined it"

    def in_full(self) -> str:
        trace = traceback.format_exception(type(self.error), self.error, self.traceback)
        return f"{self}:\n{''.join(trace)}".rstrip()


def in_full(failures: Sequence[Failed]) -> list[str]:
    """Each with its traceback; of a great many the first ones."""
    rest = len(failures) - _MOST_TOLD
    return [failed.in_full() for failed in failures[:_MOST_TOLD]] + ([f"... and {rest} more"] if rest > 0 else [])


def take_failures(hub: Hub, lost: list[Failed], since: int = 0) -> list[Failed]:
    """Everything in ``lost``, which is empty then, and what failed on this hub, is still referred to and was not received, from task number ``since`` on."""
    settle()
    found = lost[:]
    lost.clear()
    for failure in hub.unreceived_failures():
        if failure.view.ident >= since:
            failure.received = True
            found.append(Failed(failure.view, failure.error, failure.traceback))
    return sorted(found, key=lambda failed: failed.task.ident)


def only_verdicts(failures: Sequence[Failed], tell: Callable[[str], object]) -> list[Failed]:
    """Where no test is to fail for these: ``tell(text)`` of them, and return those that are verdicts on the test, such as a skip, which count anyway."""
    told = [failed for failed in failures if not is_verdict(failed.error)]
    if told:
        tell("\n\n".join(in_full(told)))
    return [failed for failed in failures if failed not in told]


class _TooDeep(TaskFailed, RecursionError):
    """Of a task that has recursed too deeply: pytest folds the traceback of what is a RecursionError."""


_TooDeep.__module__, _TooDeep.__qualname__ = TaskFailed.__module__, TaskFailed.__qualname__


def raise_failed(failures: Sequence[Failed]) -> None:
    """Raise what stands for these failures, of which there is at least one, with the traceback of the first."""
    __tracebackhide__ = True
    for failed in failures:
        if is_verdict(failed.error):
            raise failed.error
    first, *others = failures
    words = "".join(traceback.format_exception_only(first.error)).strip()
    message = [f"{first}: {words}"]
    if isinstance(first.error, BaseExceptionGroup):
        message.append("".join(traceback.format_exception(first.error)).rstrip())
    if others:
        message.append(f"{len(others)} more failed:")
        message += in_full(others)
    kind = _TooDeep if isinstance(first.error, RecursionError) else TaskFailed
    error = kind("\n".join(message))
    error.__cause__, error.__suppress_context__ = first.error.__cause__, True
    raise error.with_traceback(first.traceback)
