"""A call in a thread that its task sees through: what `coop_plugins.file` does with files on disks.

A call that has begun can be neither stopped nor forgotten: it moves the position of a file, or has written. So a kill or a timeout that comes meanwhile
is raised by the next wait, and the next call begins with one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from coopcore import Task
from coopcore.lowlevel import current_task, hide_frames, park_shielded, unpark

from ._readiness import give_way
from .threadpool import offload, shared_pool

T = TypeVar("T")


class _Seeing:
    """The reason of a wait that is not given up."""

    __slots__ = ("task", "what")

    wait_is_shielded = True

    def __init__(self, what: str, task: Task[Any]) -> None:
        self.what = what
        self.task: Task[Any] | None = task

    def ring(self, result: object) -> None:
        if self.task is not None:
            unpark(self.task)

    def describe_wait(self) -> str:
        return self.what


def in_thread(what: str, fn: Callable[..., T], *args: Any, to_the_end: bool = True) -> T:
    """Call ``fn(*args)`` in a thread of the hub's shared pool, and park until it has returned. Returns its value or raises its error.

    A kill comes out of the next wait. Not ``to_the_end``: it leaves the call behind, as with `offload`.
    """
    give_way()
    task = current_task()
    if not to_the_end:
        return offload(fn, *args)
    result = shared_pool().spawn(fn, *args)
    seeing = _Seeing(what, task)
    result.rawlink(seeing.ring)
    try:
        while not result.ready():
            park_shielded(task, seeing)
        return result.get()
    finally:
        seeing.task = None
        del result  # the traceback of an error has this frame, and the result the error: a cycle


hide_frames(__file__)
