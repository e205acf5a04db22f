"""The examples of a hypothesis test, each of which is judged by itself, as if it were a test: or hypothesis could neither tell nor simplify what fails.

A task that failed in an example, and that nobody joined, fails that example. What an example started is ended before the next one, unless the test is asked to
tell of tasks that are left behind. A timeout ends the test: hypothesis would take it for one more failure, try the example again, and hang.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from coopcore.lowlevel import hide_frames

from ._tasks import Failed as Failure
from ._tasks import end_tasks, raise_failed

if TYPE_CHECKING:
    from ._plugin import Run

hide_frames(__file__)


class Failed(BaseException):
    """Looks like the failure by which pytest-timeout ends a test, but is none that hypothesis would catch."""


Failed.__module__ = "builtins"  # as that of pytest's, so that it is told in the same words


@contextmanager
def judged(item: pytest.Item, run: Run, next_ident: Callable[[], int], expired: Callable[[BaseException], bool]) -> Iterator[None]:
    """Judge each example of ``item`` meanwhile, if it has examples. ``expired(error)`` says whether an error is a timeout of the test."""
    handle: Any = getattr(getattr(item, "obj", None), "hypothesis", None)
    inner = getattr(handle, "inner_test", None)
    if inner is None:
        yield
        return

    @functools.wraps(inner)
    def example(*args: Any, **kwargs: Any) -> object:
        __tracebackhide__ = True
        since = next_ident()
        try:
            result = inner(*args, **kwargs)
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            if expired(error):
                given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items() if name != "self")
                raise Failed(f"{error}\nThis was in the example: {given}").with_traceback(error.__traceback__) from None
            for failed in _end(run, since):
                error.add_note(failed.in_full())
            raise
        failures = _end(run, since)
        if failures:
            raise_failed(failures)
        return result

    handle.inner_test = example
    try:
        yield
    finally:
        handle.inner_test = inner


def _end(run: Run, since: int) -> list[Failure]:
    """End what an example has started. Returns which of its tasks have failed."""
    if "tasks" not in run.leaks:
        end_tasks(lambda: [task for task in run.own_tasks() if task.ident > since])
    return run.take_failures(since)
