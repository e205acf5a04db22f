"""Tasks that hold a lock, and that want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coopcore import Task, sleep, spawn

from .hubs import settle


def held(make: Callable[[], Any]) -> tuple[Any, Task[None]]:
    """A lock, and the task that holds it until it is killed."""
    lock = make()

    def hold() -> None:
        with lock:
            sleep(1000)

    holder = spawn(hold)
    settle()
    return lock, holder


def takers(lock: Any, names: str, log: list[Any]) -> list[Task[None]]:
    """A task for each name that takes the lock, notes its name, and gives it back. They are in line when this returns."""

    def take(name: str) -> None:
        with lock:
            log.append(name)

    tasks = [spawn(take, name) for name in names]
    settle()
    return tasks
