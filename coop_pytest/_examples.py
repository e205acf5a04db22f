"""The examples of a hypothesis test, each of which is judged by itself, as if it were a test: or hypothesis could neither tell nor simplify what fails.

A task that failed in an example, and that nobody joined, fails that example. What an example started is ended before the next one, unless the test is asked to
tell of tasks that are left behind. A timeout ends the test: hypothesis would take it for one more failure, try the example again, and hang.

The examples of a state machine are those of a function that hypothesis makes when the test runs (`hypothesis.stateful.get_state_machine_test`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


class Judge:
    """Judges the examples of one test."""

    def __init__(self, run: Run, next_ident: Callable[[], int], expired: Callable[[BaseException], bool]) -> None:
        """``expired(error)`` says whether an error is a timeout of the test."""
        self._run = run
        self._next_ident = next_ident
        self._expired = expired

    @contextmanager
    def judging(self, item: pytest.Item) -> Iterator[None]:
        """Judge each example of ``item`` meanwhile, if it has examples, and of the state machines that it runs."""
        with ExitStack() as undo:
            handle: Any = getattr(getattr(item, "obj", None), "hypothesis", None)
            if hasattr(handle, "inner_test"):
                undo.callback(setattr, handle, "inner_test", handle.inner_test)
                handle.inner_test = self._judged(handle.inner_test)
            stateful: Any = sys.modules.get("hypothesis.stateful")
            make = getattr(stateful, "get_state_machine_test", None)
            if make is not None:

                def make_judged(*args: Any, **kwargs: Any) -> Any:
                    test = make(*args, **kwargs)
                    test.hypothesis.inner_test = self._judged(test.hypothesis.inner_test)
                    return test

                undo.callback(setattr, stateful, "get_state_machine_test", make)
                stateful.get_state_machine_test = make_judged
            yield

    def _judged(self, inner: Any) -> Any:
        @functools.wraps(inner)
        def example(*args: Any, **kwargs: Any) -> object:
            __tracebackhide__ = True
            since = self._next_ident()
            try:
                result = inner(*args, **kwargs)
            except (KeyboardInterrupt, pytest.exit.Exception):
                raise
            except BaseException as error:
                if self._expired(error):
                    given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items() if name != "self")
                    raise Failed(f"{error}\nThis was in the example: {given}").with_traceback(error.__traceback__) from None
                for failed in _end(self._run, since):
                    error.add_note(failed.in_full())
                raise
            failures = _end(self._run, since)
            if failures:
                raise_failed(failures)
            return result

        return example


def _end(run: Run, since: int) -> list[Failure]:
    """End what an example has started. Returns which of its tasks have failed."""
    if "tasks" not in run.leaks:
        end_tasks(lambda: [task for task in run.own_tasks() if task.ident > since])
    return run.take_failures(since)
