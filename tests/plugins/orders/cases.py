"""What is run in all orders: for each primitive all programs of the smallest sizes, and some larger ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

from coop_plugins.queue import LifoQueue, PriorityQueue, Queue, SimpleQueue

from . import models, scenes
from .programs import NAMES, Program

Calls = tuple[tuple[str, ...], ...]


class Family(NamedTuple):
    """A primitive, and what is done with it."""

    model: Any
    words: tuple[str, ...]
    """For the smallest sizes."""
    few: tuple[str, ...]
    """For the next ones: those that matter most."""
    table: tuple[str, ...]
    """Larger programs, up to four agents with three calls each: agents are parted by ``|``, calls by commas."""


LOCK_TABLE = (
    "acquire, release, acquire | acquire, release, acquire | acquire, release, acquire | acquire, release, acquire",
    "acquire, release, acquire | acquire, release, try | timed acquire, release | kill c, tick",
    "acquire, release | acquire, release | acquire, release | kill b, kill c",
    "acquire, release, acquire | acquire, release, acquire | acquire, release, release",
    "acquire, release | timed acquire, release | timed acquire, release | tick",
)
CONDITION_TABLE = (
    "acquire, wait, release | acquire, wait, release | acquire, notify, release | acquire, notify, release",
    "acquire, wait, release | acquire, timed wait, release | acquire, notify, release | kill a, tick",
    "acquire, wait, release | acquire, wait, release | acquire, notify all, release",
    "acquire, wait, release | acquire, wait, release | acquire, notify, release | kill a",
    "acquire, timed wait, release | acquire, notify, release | tick, kill a",
)
CONDITION_WORDS = ("acquire", "release", "wait", "timed wait", "notify", "notify all", "try")
QUEUE_TABLE = (
    "put, put, get | timed put, get | get, get | kill a, tick",
    "put, put | put, get | get, get | kill a",
    "put, get, put | get, put, get | peek, try get",
    "put, put | get, task done | get, task done | join",
    "put, put | put | get | shutdown",
)
SIMPLE_TABLE = tuple(program for program in QUEUE_TABLE if "join" not in program and "shutdown" not in program)
QUEUE_WORDS = models.QueueModel.words
SIMPLE_WORDS = (*models.ChannelModel.words, "peek")


def queue_family(maxsize: int, kind: Any = Queue) -> Family:
    simple = kind is SimpleQueue
    return Family(
        partial(models.QueueModel, maxsize, kind), SIMPLE_WORDS if simple else QUEUE_WORDS, ("put", "get", "timed get"), SIMPLE_TABLE if simple else QUEUE_TABLE
    )


FAMILIES = {
    "ParkingLot": Family(
        models.LotModel,
        models.LotModel.words,
        ("park", "timed park", "unpark"),
        ("park, park | timed park, park | unpark, unpark, unpark all | kill a, tick", "park | park | park | unpark, unpark, unpark"),
    ),
    "Semaphore(1)": Family(models.SemaphoreModel, models.SemaphoreModel.words, ("acquire", "timed acquire", "release"), LOCK_TABLE),
    "Semaphore(2)": Family(
        partial(models.SemaphoreModel, 2),
        models.SemaphoreModel.words,
        ("acquire", "release", "wait"),
        ("acquire, release, acquire | acquire, acquire | acquire, release | kill b", "acquire, acquire | wait, release | acquire, release | wait"),
    ),
    "Semaphore(0)": Family(
        partial(models.SemaphoreModel, 0),
        ("acquire", "timed acquire", "release", "wait"),
        ("acquire", "release"),
        ("acquire | wait | acquire | release, release, release",),
    ),
    "BoundedSemaphore(1)": Family(partial(models.SemaphoreModel, 1, True), models.SemaphoreModel.words, ("acquire", "timed acquire", "release"), LOCK_TABLE),
    "Lock": Family(models.LockModel, models.LockModel.words, ("acquire", "timed acquire", "release"), LOCK_TABLE),
    "RLock": Family(
        partial(models.LockModel, True),
        models.LockModel.words,
        ("acquire", "timed acquire", "release"),
        (*LOCK_TABLE[:3], "acquire, acquire, release | acquire, release | try, release"),
    ),
    "Condition(RLock)": Family(
        models.ConditionModel, CONDITION_WORDS, ("acquire", "wait", "notify"), (*CONDITION_TABLE, "acquire, acquire, wait | acquire, notify, release | kill a")
    ),
    "Condition(Lock)": Family(partial(models.ConditionModel, False), CONDITION_WORDS, ("acquire", "wait", "notify"), CONDITION_TABLE),
    "Barrier(2)": Family(
        models.BarrierModel,
        models.BarrierModel.words,
        ("wait", "timed wait", "reset"),
        ("wait, wait | timed wait, wait | wait, reset | kill a, tick", "wait, wait | wait, wait | wait, wait | abort"),
    ),
    "Barrier(3)": Family(
        partial(models.BarrierModel, 3), models.BarrierModel.words, ("wait", "timed wait"), ("wait, wait | wait, wait | timed wait, wait | kill a, tick",)
    ),
    "Event": Family(
        models.EventModel,
        models.EventModel.words,
        ("wait", "set", "clear"),
        ("wait, clear, wait | timed wait, wait | set, clear, set | kill a, tick", "wait, wait | wait | set, clear | kill a"),
    ),
    "AsyncResult": Family(
        models.ResultModel,
        models.ResultModel.words,
        ("get", "timed get", "set"),
        ("get, try | timed get, get | set, fail, set | kill a, tick", "get | get | timed get | set, fail, tick"),
    ),
    "Queue": queue_family(0),
    "Queue(1)": queue_family(1),
    "Queue(2)": queue_family(2),
    "LifoQueue(1)": queue_family(1, LifoQueue),
    "LifoQueue": queue_family(0, LifoQueue),
    "PriorityQueue(2)": queue_family(2, PriorityQueue),
    "SimpleQueue": queue_family(0, SimpleQueue),
    "SimpleQueue(1)": queue_family(1, SimpleQueue),
    "Channel": Family(
        models.ChannelModel,
        models.ChannelModel.words,
        ("put", "get", "timed get"),
        ("put, put, get | timed put, get | get, get | kill a, tick", "put, put | put | get | try get, get"),
    ),
}

SCENES: dict[str, Any] = {
    "Pool(1)": partial(scenes.PoolScene, 1, (1, 1), ()),
    "Pool(1), three jobs": partial(scenes.PoolScene, 1, (2, 1), ()),
    "Pool(1), a spawner is killed": partial(scenes.PoolScene, 1, (1, 1), ("a",)),
    "Pool(2).imap": partial(scenes.MapScene, 2, 2, True),
    "Pool(2).imap_unordered": partial(scenes.MapScene, 2, 2, False),
    "CancelScope": partial(scenes.ScopeScene, 2, ("cancels",), False),
    "CancelScope, a kill": partial(scenes.ScopeScene, 2, ("cancels", "kills"), False),
    "CancelScope, a shield": partial(scenes.ScopeScene, 2, ("cancels", "kills"), True),
    "CancelScope, a deadline": partial(scenes.ScopeScene, 2, ("expires", "kills"), False),
    "TaskGroup": partial(scenes.TaskGroupScene, 1, 1, False, ("cancels",)),
    "TaskGroup, one fails": partial(scenes.TaskGroupScene, 1, 1, True, ()),
    "TaskGroup, nobody helps": partial(scenes.TaskGroupScene, 2, 1, False, ()),
}
LARGE_SCENES: dict[str, Any] = {
    "Pool(1), a member is killed": partial(scenes.PoolScene, 1, (1, 1), ("member",)),
    "Pool(2)": partial(scenes.PoolScene, 2, (2, 1), ()),
    "Pool(1), both are killed": partial(scenes.PoolScene, 1, (1, 1), ("a", "member")),
    "Pool(1).imap": partial(scenes.MapScene, 1, 3, True),
    "Pool(2).imap_unordered, three items": partial(scenes.MapScene, 2, 3, False),
    "Group.kill": scenes.GroupScene,
    "CancelScope, all at once": partial(scenes.ScopeScene, 2, ("cancels", "expires", "kills"), False),
    "TaskGroup, the owner is killed": partial(scenes.TaskGroupScene, 2, 1, False, ("kills",)),
    "TaskGroup, one of three fails": partial(scenes.TaskGroupScene, 2, 1, True, ()),
    "TaskGroup, one fails, the owner is killed": partial(scenes.TaskGroupScene, 1, 1, True, ("kills",)),
}


def parse(program: str) -> Calls:
    return tuple(tuple(call.strip() for call in calls.split(",")) for calls in program.split("|"))


def words_of(name: str) -> tuple[str, ...]:
    """For two agents with two calls each: of the queues, which have many words and share their code, all of them for one."""
    words: tuple[str, ...] = FAMILIES[name].words
    return words if name == "Queue(1)" else tuple(word for word in words if word in SIMPLE_WORDS or words is not QUEUE_WORDS)


def table(name: str, rows: slice = slice(None)) -> list[Program]:
    family = FAMILIES[name]
    return [Program({"it": family.model}, parse(row)) for row in family.table[rows]]


def all_programs(name: str, words: tuple[str, ...], agents: int, calls: int) -> Iterator[Program]:
    """Every program of so many agents with so many calls each, up to their names; each also with a kill of one of them, and with time that passes."""
    for chosen in combinations_with_replacement(product(words, repeat=calls), agents):
        for helper in helpers(chosen):
            yield Program({"it": FAMILIES[name].model}, chosen + helper)


def helpers(chosen: Calls) -> Iterator[Calls]:
    yield ()
    if any(word.startswith("timed") for calls in chosen for word in calls):
        yield (("tick",),)
    for place, calls in enumerate(chosen):
        if calls not in chosen[:place] and may_wait(calls):
            yield ((f"kill {NAMES[place]}",),)


def may_wait(calls: tuple[str, ...]) -> bool:
    return any(word.removeprefix("timed ") in ("acquire", "wait", "park", "get", "put", "peek", "join") for word in calls)
