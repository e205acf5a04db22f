"""What tasks wait for, or belong to, is not copied: a copy would share who waits, and wake them as well. `copy` and `pickle` raise TypeError."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import in_a_hub

import coop_plugins.threading
from coop_plugins.event import AsyncResult, Event
from coop_plugins.lock import Barrier, BoundedSemaphore, Condition, DummySemaphore, Lock, RLock, Semaphore
from coop_plugins.pool import Group, Pool
from coop_plugins.queue import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue
from coop_plugins.scope import CancelScope, TaskGroup
from coopcore import Task
from coopcore.lowlevel import load_offer, plugins

THINGS: dict[str, Callable[[], Any]] = {
    cls.__name__: cls
    for cls in (
        Event, AsyncResult, Lock, RLock, Condition, Semaphore, BoundedSemaphore, DummySemaphore, Queue, LifoQueue, PriorityQueue, SimpleQueue, Channel,
        CancelScope, TaskGroup, Group,
    )
}  # fmt: skip
THINGS |= {"Barrier": lambda: Barrier(2), "Pool": lambda: Pool(2), "Task": lambda: Task(print)}
PATCHED: dict[str, Callable[[], Any]] = {name: getattr(coop_plugins.threading, name) for name in ("Lock", "RLock", "SimpleQueue")}


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("make", [*THINGS.values(), *PATCHED.values()], ids=[*THINGS, *(f"threading.{name}" for name in PATCHED)])
@in_a_hub
def test_copying_is_refused(make: Callable[[], Any], way: Callable[[Any], object]) -> None:
    thing = make()
    with pytest.raises(TypeError, match=f"cannot copy or pickle '{type(thing).__name__}'"):
        way(thing)


def test_no_primitive_is_missing() -> None:
    offered = {name for name in plugins().offers("primitive") if isinstance(load_offer("primitive", name), type)}
    assert offered - {"local"} <= set(THINGS) | {"JoinableQueue"}, "local has a test of its own"
