"""The programs that are measured, each written once and run on either library.

A program takes the library's names (see `libraries`) and a count, does that many operations, and returns nothing; the CPU time of the whole call is
divided by the count. Set-up that is not measured belongs into the library's table or before the returned function.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Library = SimpleNamespace
Program = Callable[[Library, int], Any]


def yield_2(lib: Library, count: int) -> None:
    _yielders(lib, 2, count // 2)


def yield_1000(lib: Library, count: int) -> None:
    _yielders(lib, 1000, count // 1000)


def _yielders(lib: Library, tasks: int, turns: int) -> None:
    sleep = lib.sleep

    def body() -> None:
        for _ in range(turns):
            sleep(0)

    lib.joinall([lib.spawn(body) for _ in range(tasks)])


def spawn_join(lib: Library, count: int) -> None:
    spawn = lib.spawn
    for _ in range(count):
        spawn(_nothing).join()


def spawn_100k(lib: Library, count: int) -> None:
    spawn = lib.spawn
    lib.joinall([spawn(_nothing) for _ in range(count)])


def _nothing() -> None:
    pass


def queue_1(lib: Library, count: int) -> None:
    _hand_over(lib, lib.Queue(1), count)


def _hand_over(lib: Library, queue: Any, count: int) -> None:
    def produce() -> None:
        put = queue.put
        for n in range(count):
            put(n)

    def consume() -> None:
        get = queue.get
        for _ in range(count):
            get()

    lib.joinall([lib.spawn(produce), lib.spawn(consume)])


def queue_free(lib: Library, count: int) -> None:
    _put_and_get(lib.Queue(), count)


def _put_and_get(queue: Any, count: int) -> None:
    put, get = queue.put, queue.get
    for n in range(count):
        put(n)
        get()


def simple_queue_free(lib: Library, count: int) -> None:
    _put_and_get(lib.SimpleQueue(), count)


def bounded_queue_free(lib: Library, count: int) -> None:
    _put_and_get(lib.Queue(3), count)


def channel(lib: Library, count: int) -> None:
    _hand_over(lib, lib.Channel(), count)


def semaphore_free(lib: Library, count: int) -> None:
    _acquire_and_release(lib.Semaphore(1), count)


def lock_free(lib: Library, count: int) -> None:
    _acquire_and_release(lib.Lock(), count)


def rlock_free(lib: Library, count: int) -> None:
    _acquire_and_release(lib.RLock(), count)


def _acquire_and_release(lock: Any, count: int) -> None:
    acquire, release = lock.acquire, lock.release
    for _ in range(count):
        acquire()
        release()


def semaphore_with(lib: Library, count: int) -> None:
    _with(lib.Semaphore(1), count)


def lock_with(lib: Library, count: int) -> None:
    _with(lib.Lock(), count)


def _with(lock: Any, count: int) -> None:
    for _ in range(count):
        with lock:
            pass


def semaphore_hand_over(lib: Library, count: int) -> None:
    semaphore = lib.Semaphore(1)

    def body() -> None:
        for _ in range(count // 2):
            semaphore.acquire()
            lib.sleep(0)
            semaphore.release()

    lib.joinall([lib.spawn(body) for _ in range(2)])


def semaphore_ping_pong(lib: Library, count: int) -> None:
    ping, pong = lib.Semaphore(0), lib.Semaphore(0)

    def body(mine: Any, other: Any) -> None:
        for _ in range(count // 2):
            mine.acquire()
            other.release()

    tasks = [lib.spawn(body, ping, pong), lib.spawn(body, pong, ping)]
    ping.release()
    lib.joinall(tasks)


def event_ping_pong(lib: Library, count: int) -> None:
    ping, pong = lib.Event(), lib.Event()

    def body(mine: Any, other: Any) -> None:
        for _ in range(count // 2):
            mine.wait()
            mine.clear()
            other.set()

    tasks = [lib.spawn(body, ping, pong), lib.spawn(body, pong, ping)]
    ping.set()
    lib.joinall(tasks)


def result_hand_over(lib: Library, count: int) -> None:
    results = [lib.AsyncResult() for _ in range(count)]

    def produce() -> None:
        for result in results:
            result.set(1)
            lib.sleep(0)

    def consume() -> None:
        for result in results:
            result.get()

    lib.joinall([lib.spawn(consume), lib.spawn(produce)])


def timers(lib: Library, count: int) -> None:
    sleep = lib.sleep
    lib.joinall([lib.spawn(sleep, 0.05 + n * 1e-6) for n in range(count)])


def timeouts_unused(lib: Library, count: int) -> None:
    for _ in range(count):
        with lib.Timeout(10):
            pass


def pool_map(lib: Library, count: int) -> None:
    lib.Pool(100).map(_same, range(count))


def pool_imap_unordered(lib: Library, count: int) -> None:
    for _ in lib.Pool(100).imap_unordered(_same, range(count)):
        pass


def _same(value: int) -> int:
    return value


# name: (program, operations, floor, goal). The floor is the least ratio that a change may leave behind; the goal is what the project set out to reach, and the
# README here says, where it is not reached, what was tried.
PROGRAMS: dict[str, tuple[Program, int, float | None, float | None]] = {
    "yield, 2 tasks": (yield_2, 100_000, 2.4, 3.0),
    "yield, 1,000 tasks": (yield_1000, 100_000, 2.3, 4.0),
    "spawn + join, one at a time": (spawn_join, 10_000, 5.0, 7.0),
    "spawn + join, 100,000 at once": (spawn_100k, 100_000, 8.0, 9.0),
    "Queue(1) hand-off": (queue_1, 20_000, 4.4, 5.0),
    "Queue, never blocking": (queue_free, 200_000, 0.9, 1.0),
    "Queue(3), never blocking": (bounded_queue_free, 200_000, None, None),
    "SimpleQueue, never blocking": (simple_queue_free, 200_000, None, None),
    "Channel hand-off": (channel, 20_000, 2.5, 5.0),
    "Semaphore, free": (semaphore_free, 200_000, 1.3, 1.3),
    "Semaphore, free, with block": (semaphore_with, 200_000, None, None),
    "Lock, free": (lock_free, 200_000, 1.3, 1.3),
    "Lock, free, with block": (lock_with, 200_000, None, None),
    "RLock, free": (rlock_free, 200_000, None, None),
    "Semaphore, handed over": (semaphore_hand_over, 60_000, 1.1, 2.5),
    "Semaphore, ping-pong": (semaphore_ping_pong, 60_000, 2.0, 2.5),
    "Event, ping-pong": (event_ping_pong, 60_000, 2.2, 2.5),
    "AsyncResult, handed over": (result_hand_over, 40_000, 2.1, 5.0),
    "100,000 timers that fire": (timers, 100_000, 2.0, 2.0),
    "Timeout that doesn't fire": (timeouts_unused, 100_000, None, None),
    "Pool(100).map": (pool_map, 50_000, 5.0, 5.0),
    "Pool(100).imap_unordered": (pool_imap_unordered, 50_000, 4.2, 5.0),
}
