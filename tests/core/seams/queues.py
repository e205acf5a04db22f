"""Tasks that get from a queue or a channel, and that put into it."""

from __future__ import annotations

from typing import Any

from coopcore import Task, idle, spawn


def getters(queue: Any, names: str, log: list[Any]) -> list[Task[None]]:
    """A task for each name that gets an item and notes both. They wait when this returns, if there is nothing to get."""
    tasks = [spawn(lambda name=name: log.append((name, queue.get()))) for name in names]
    idle()
    return tasks


def putters(queue: Any, items: str, log: list[Any]) -> list[Task[None]]:
    """A task for each item that puts it and notes that it did. They wait when this returns, if there is no room."""

    def put(item: str) -> None:
        queue.put(item)
        log.append(item)

    tasks = [spawn(put, item) for item in items]
    idle()
    return tasks


def drain(queue: Any) -> list[Any]:
    """All that is in it, in the order in which it comes out."""
    items = []
    while not queue.empty():
        items.append(queue.get_nowait())
    return items
