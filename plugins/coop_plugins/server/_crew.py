"""Who runs the handlers of a server, and how many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from coopcore import Task, Timeout, killall, spawn
from coopcore.lowlevel import ParkingLot, hide_frames

Handle = Callable[..., object]


@runtime_checkable
class Crew(Protocol):
    """Who runs the handlers: the part of `coop_plugins.pool.Pool` that a server needs."""

    def spawn(self, fn: Handle, /, *args: Any) -> Any:
        """Start a handler; parks while there is no room."""

    def full(self) -> bool:
        """True if there is no room."""

    def wait_available(self, timeout: float | None = None) -> Any:
        """Park until there is."""


class _Crew:
    """So many handlers at once; None: any number. What ``spawn=<int>`` means."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.tasks: set[Task[Any]] = set()
        self._room = ParkingLot(f"a handler to end, of {size} at work", lambda: list(self.tasks))
        self._empty = ParkingLot("the last handler to end", lambda: list(self.tasks))

    def spawn(self, fn: Handle, /, *args: Any) -> Task[Any]:
        self.wait_available()
        task = spawn(fn, *args)
        self.tasks.add(task)
        task.rawlink(self._ended)
        return task

    def full(self) -> bool:
        return self.size is not None and len(self.tasks) >= self.size

    def wait_available(self, timeout: float | None = None) -> bool:
        while self.full():
            if not self._room.park(timeout):
                return False
        return True

    def join(self, timeout: float | None = None) -> bool:
        return not self.tasks or bool(self._empty.park(timeout))

    def kill(self, timeout: float | None = None) -> None:
        with Timeout(timeout, False):
            killall(list(self.tasks))

    def __contains__(self, task: object) -> bool:
        return task in self.tasks

    def _ended(self, task: Task[Any]) -> None:
        self.tasks.discard(task)
        self._room.unpark()
        if not self.tasks:
            self._empty.unpark_all()


class _Calls:
    """A function that starts tasks, as a crew without a limit."""

    def __init__(self, start: Callable[..., object]) -> None:
        self.spawn = start

    def full(self) -> bool:
        return False

    def wait_available(self, timeout: float | None = None) -> bool:
        return True


def crew_of(how: Any) -> Any:
    """What ``spawn=`` may be: "default", a pool, a number, a callable, or None."""
    if how == "default":
        return _Calls(spawn)
    if how is None:
        return _Crew(1)
    if isinstance(how, (bool, str)):
        raise TypeError(f'spawn={how!r}: give a Pool, a number of handlers, a callable that starts a task, None for one at a time, or "default"')
    if isinstance(how, int):
        if how < 1:
            raise ValueError(f"spawn={how}: a server needs room for at least one handler. Leave spawn out for no limit.")
        return _Crew(how)
    if isinstance(how, type) and issubclass(how, Crew):
        raise TypeError(f"spawn={how.__name__}: that is the class. Give one of its objects, such as {how.__name__}(1000).")
    if isinstance(how, Crew):
        return how
    if callable(how):
        return _Calls(how)
    raise TypeError(
        f"spawn={how!r} cannot run handlers: it is neither a number nor callable, and has no spawn(), full() and wait_available(). Give a Pool, or a number."
    )


hide_frames(__file__)
