"""A call in a thread that its task sees through: what `coop_plugins.file` does with files on disks.

A call that has begun can be neither stopped nor forgotten: it moves the position of a file, or has written. So a kill or a timeout that comes meanwhile
is raised by the next wait, and the next call begins with one.
"""

from __future__ import annotations

from _thread import start_new_thread
from collections.abc import Callable
from typing import Any, TypeVar

from coopcore import Task
from coopcore.errors import HubClosedError
from coopcore.lowlevel import current_task, hide_frames, park_shielded, park_task, promise, unpark

from ._readiness import give_way

T = TypeVar("T")


class _Call:
    """One call, and the reason of its task's wait."""

    wait_is_shielded = True

    def __init__(self, what: str, task: Task[Any], fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.what = what
        self.task: Task[Any] | None = task
        """Who waits; None once it does so no more."""
        self.hub = task.hub
        self.fn = fn
        self.args = args
        self.ended = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.promise = promise(what)

    def work(self) -> None:
        try:
            self.value = self.fn(*self.args)
        except BaseException as error:
            self.error = error
        try:
            self.hub.call_soon_threadsafe(self.done)
        except HubClosedError:
            pass

    def done(self) -> None:
        self.promise.close()
        self.ended = True
        if self.task is not None:
            unpark(self.task)

    def describe_wait(self) -> str:
        return self.what


class _Abandonable(_Call):
    wait_is_shielded = False


def in_thread(what: str, fn: Callable[..., T], *args: Any, to_the_end: bool = True) -> T:
    """Call ``fn(*args)`` in a thread, and park until it has returned. Returns its value or raises its error. Not ``to_the_end``: a kill leaves it behind."""
    give_way()
    task = current_task()
    call = (_Call if to_the_end else _Abandonable)(what, task, fn, args)
    try:
        start_new_thread(call.work, ())
    except BaseException:
        call.promise.close()
        raise
    try:
        while not call.ended:
            if to_the_end:
                park_shielded(task, call)
            else:
                park_task(task, call)
    finally:
        call.task = None
    if call.error is not None:
        try:
            raise call.error
        finally:
            del call
    return call.value  # type: ignore[no-any-return]  # fn's own type


hide_frames(__file__)
