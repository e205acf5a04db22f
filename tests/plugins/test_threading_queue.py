"""SimpleQueue of ``coop_plugins.threading``: its invariants by name, between tasks, hubs and plain threads."""

from __future__ import annotations

import gc
import queue
import random
import re
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import in_a_hub, in_a_jumping_hub, in_another_thread, settle
from seams.points import at_each_point, without_a_monitor

from coop_plugins.threading import SimpleQueue
from coop_plugins.threading import _where as where
from coopcore import Task, Timeout, get_hub, joinall, run, sleep, spawn, spawn_later
from coopcore.errors import ParkInHubError

FILES = ("coop_plugins.threading._queue", "coop_plugins.threading._where", "coopcore._state")


class Boom(Exception):
    pass


def pass_time() -> None:
    """In a jumping hub: timers are due, and the hub has not looked yet."""
    get_hub().clock._now += 1_000_000_000  # type: ignore[attr-defined]  # of `JumpingClock`


def getters(q: SimpleQueue[Any], names: str, log: list[Any]) -> list[Task[None]]:
    """A task for each name that gets an item and notes both. They wait when this returns."""
    tasks = [spawn(lambda name=name: log.append((name, q.get()))) for name in names]
    settle()
    return tasks


@in_a_hub
def test_invariant_1_each_item_is_got_once_in_order() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    got: list[int] = []
    tasks = [spawn(lambda: [got.append(q.get()) for _ in range(10)]) for _ in range(3)]
    for n in range(30):
        q.put(n)
        if n % 7 == 0:
            sleep(0)
    joinall(tasks)
    assert sorted(got) == list(range(30))
    assert q.empty()
    got.clear()
    task = spawn(lambda: [got.append(q.get()) for _ in range(30)])
    for n in range(30):
        q.put(n)
        if n % 7 == 0:
            sleep(0)
    task.join()
    assert got == list(range(30))


@pytest.mark.slow(reason="threads and hubs must meet often")
def test_invariants_1_and_4_hold_between_hubs_and_plain_threads() -> None:
    assert stress(1.0, least=100) >= 100


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_invariants_1_and_4_hold_for_long() -> None:
    assert stress(60.0, least=10_000) >= 10_000


def stress(seconds: float, least: int) -> int:
    """Tasks of two hubs and plain threads put and get, with and without timeouts, and are killed at any moment. Returns how many items were got.

    A machine that is busy gets more time, until there were ``least``.
    """
    q: SimpleQueue[Any] = SimpleQueue()
    seed = random.randrange(10**6)
    end = time.monotonic() + seconds
    got: list[Any] = []
    put: list[Any] = []
    over: list[str] = []
    errors: list[BaseException] = []

    def on() -> bool:
        now = time.monotonic()
        return now < end or (len(got) < least and now < end + 20)

    def produce(who: str, pause: Callable[[float], object]) -> None:
        rng = random.Random(who)
        number = 0
        while on():
            item = (who, number)
            number += 1
            put.append(item)
            q.put(item)
            if rng.random() < 0.5:
                pause(rng.random() / 3000)
        over.append(who)

    def consume(who: str, pause: Callable[[float], object]) -> None:
        rng = random.Random(who)
        while True:
            try:
                try:
                    item = q.get(rng.random() < 0.8, rng.choice([None, rng.random() / 1000]))
                except queue.Empty:
                    pause(rng.random() / 3000)
                else:
                    if item is None:
                        return
                    got.append(item)
            except Boom:
                pass

    def guarded(fn: Callable[..., object], *args: Any) -> None:
        try:
            fn(*args)
        except BaseException as error:
            errors.append(error)

    def hub(number: int) -> None:
        def main() -> None:
            rng = random.Random(seed + number)
            consumers = [spawn(consume, f"{n} of hub {number}", sleep) for n in range(3)]
            producers = [spawn(produce, f"{n} of hub {number}", sleep) for n in range(2)]
            while on():
                sleep(rng.random() / 1000)
                rng.choice(consumers).kill(Boom, block=False)
            joinall(producers + consumers, raise_error=True, timeout=20)
            assert all(task.dead for task in producers + consumers), seed

        run(main)

    threads = [threading.Thread(target=guarded, args=(hub, n)) for n in range(2)]
    threads += [threading.Thread(target=guarded, args=(consume, f"thread {n}", time.sleep)) for n in range(2)]
    threads += [threading.Thread(target=guarded, args=(produce, f"thread {n}", time.sleep)) for n in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        while len(over) < 6 and not errors:  # as many as produce
            time.sleep(0.01)
        for _ in range(8):  # as many as consume
            q.put(None)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), seed
    finally:
        sys.setswitchinterval(interval)
    assert errors == [], seed
    while not q.empty():
        got.append(q.get())
    assert sorted(got) == sorted(put), seed
    assert q._line == []
    return len(got)


@in_a_hub
def test_invariant_2_those_who_wait_are_served_in_their_order() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    log: list[Any] = []
    tasks = getters(q, "abc", log)
    for n in range(3):
        q.put(n)
    assert q.empty()  # they have them, before they run
    with pytest.raises(queue.Empty):
        q.get(block=False)
    joinall(tasks)
    assert log == [("a", 0), ("b", 1), ("c", 2)]


@in_a_hub
def test_invariant_3_an_item_of_who_is_killed_before_they_have_it_goes_back() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    log: list[Any] = []

    def put_elsewhere() -> None:
        assert in_another_thread(lambda: (q.put(1), q.put(2))) is None

    a, b, c = getters(q, "abc", log)
    put_elsewhere()  # a has 1 and b has 2, and the word of it is in the inbox
    a.kill(Boom)
    joinall([b, c])
    assert sorted(log) == [("b", 2), ("c", 1)]
    (d,) = getters(q, "d", log)
    put_elsewhere()
    d.kill(Boom)
    assert [q.get(), q.get()] == [1, 2]


@in_a_jumping_hub
def test_invariant_3_a_timeout_that_comes_too_late_returns_the_item() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    task = spawn(q.get, timeout=0.001)
    settle(2)
    q.put(1)
    pass_time()
    assert task.get() == 1
    task = spawn(q.get, timeout=0.001)
    settle(2)
    assert in_another_thread(lambda: q.put(2)) is None
    pass_time()
    assert task.get() == 2


@in_a_hub
def test_invariant_3_a_killed_wait_is_killed_though_an_item_comes_then() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    task = spawn(q.get)
    settle()
    task.kill(Boom, block=False)
    q.put(1)
    task.join()
    assert isinstance(task.exception, Boom)
    assert q.get() == 1


@without_a_monitor
@in_a_jumping_hub
@pytest.mark.parametrize("ahead", ["", "a", "ab"])
@pytest.mark.parametrize("here", [True, False])
@pytest.mark.slow(reason="a hundred points, and at most of them the item comes late")
def test_invariant_4_a_put_wherever_somebody_may_come_in_is_not_lost(ahead: str, here: bool) -> None:
    def prepare() -> Any:
        q: SimpleQueue[int] = SimpleQueue()
        return q, getters(q, ahead, []), []

    def put(made: Any) -> None:
        q, _, done = made
        if not done:
            done.append(True)
            for n in range(len(ahead) + 1):
                q.put(n)

    def call(made: Any) -> bool:
        q, others, _ = made
        late = spawn_later(0.02, put, made)
        item = q.get()
        sys.settrace(None)
        assert item == len(ahead) or not ahead
        joinall(others, timeout=20)
        assert q.empty()
        assert q._line == []
        in_time = late.state == "new"
        late.kill()
        return in_time

    results = at_each_point(FILES, prepare, call, put, here=here, lines=True)
    assert re.fullmatch("1{5,}0*", "".join(str(int(each)) for each in results)), results


@without_a_monitor
@in_a_hub
@pytest.mark.parametrize("ahead", ["", "a", "ab"])
def test_invariant_4_who_enters_wherever_a_put_may_be_interrupted_is_served(ahead: str) -> None:
    log: list[Any] = []
    threads: list[threading.Thread] = []

    def enter(made: Any) -> None:
        q, _ = made
        done = threading.Event()
        threads.append(threading.Thread(target=lambda: (q.get(timeout=20), done.set())))
        threads[-1].start()
        deadline = time.monotonic() + 20
        while not done.is_set() and not any(waiter._task is None for waiter in q._line):
            assert time.monotonic() < deadline
            time.sleep(0)

    def call(made: Any) -> bool:
        q, others = made
        trace = sys.gettrace()
        sys.settrace(None)
        others += getters(q, ahead, log)
        sys.settrace(trace)
        q.put(1)
        sys.settrace(None)
        for _ in range(len(ahead)):
            q.put(1)
        joinall(others, timeout=20)
        return True

    results = at_each_point(FILES[:2], lambda: (SimpleQueue(), []), call, enter, lines=True)
    assert len(results) >= (3 if ahead else 1)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@without_a_monitor
@in_a_hub
def test_invariant_4_a_put_may_interrupt_a_put() -> None:
    """As a finaliser does."""

    def call(q: SimpleQueue[int]) -> list[int]:
        log: list[Any] = []
        trace = sys.gettrace()
        sys.settrace(None)
        tasks = getters(q, "ab", log)
        sys.settrace(trace)
        q.put(1)
        sys.settrace(None)
        if q._line:
            q.put(2)  # at the last points nobody interrupts
        joinall(tasks)
        return sorted(item for _, item in log)

    results = at_each_point(FILES[:2], SimpleQueue, call, lambda q: q.put(2), here=True, lines=True)
    assert all(result == [1, 2] for result in results)
    assert len(results) > 3


@in_a_hub
def test_invariant_5_a_wait_that_ended_otherwise_has_left_the_line() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    log: list[Any] = []
    a, b, c = getters(q, "abc", log)
    b.kill(Boom)
    with pytest.raises(queue.Empty):
        q.get(timeout=0.001)
    with pytest.raises(Timeout), Timeout(0.001):
        q.get()
    assert len(q._line) == 2
    q.put(1)
    q.put(2)
    joinall([a, c])
    assert log == [("a", 1), ("c", 2)]


# -- what users know of it ----------------------------------------------------------------------------------------------


def test_a_plain_thread_waits_without_a_hub() -> None:
    q: SimpleQueue[int] = SimpleQueue()

    def work() -> None:
        start = time.monotonic()
        with pytest.raises(queue.Empty):
            q.get(timeout=0.01)
        assert time.monotonic() - start >= 0.01
        threading.Timer(0.01, q.put, (1,)).start()
        assert q.get() == 1
        assert q._line == []
        assert where.running_task() is None

    assert in_another_thread(work) is None


@in_a_hub
def test_on_the_hub_put_works_and_get_only_takes_what_is_there() -> None:
    q: SimpleQueue[int] = SimpleQueue()
    outcome: list[Any] = []

    def call() -> None:
        q.put(1)
        outcome.append(q.get())
        try:
            q.get()
        except BaseException as error:
            outcome.append(type(error))

    get_hub().call_soon(call)
    settle()
    assert outcome == [1, ParkInHubError]
    assert q._line == []


@pytest.mark.parametrize(("timeout", "error"), [(float("nan"), ValueError), (float("inf"), OverflowError), ("1", TypeError), (-1, ValueError)])
def test_a_timeout_that_is_none_is_refused_though_there_is_an_item(timeout: Any, error: type[Exception]) -> None:
    for made in (queue.SimpleQueue[int](), SimpleQueue[int]()):
        made.put(1)
        with pytest.raises(error):
            made.get(timeout=timeout)
        assert made.get(timeout=0) == 1


def test_errors_and_arguments_are_the_standard_queues() -> None:
    for q in (queue.SimpleQueue[int](), SimpleQueue[int]()):
        q.put(1, False, -5)
        q.put_nowait(2)
        assert q.qsize() == 2
        assert not q.empty()
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            q.get(timeout=-1)
        assert q.get(block=False, timeout=-1) == 1
        assert q.get_nowait() == 2
        with pytest.raises(queue.Empty):
            q.get_nowait()
        with pytest.raises(queue.Empty):
            q.get(timeout=0)
        with pytest.raises(OverflowError):
            q.get(timeout=threading.TIMEOUT_MAX * 2)
        with pytest.raises(TypeError):
            q.get(timeout="soon")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError):
            q.get(foo=1)  # type: ignore[call-arg]  # on purpose


def test_it_can_be_subscripted_subclassed_and_referred_to_weakly() -> None:
    assert isinstance(SimpleQueue[int], types.GenericAlias)

    class Mine(SimpleQueue[int]):
        pass

    q = Mine()
    q.put(1)
    assert q.get() == 1
    ref = weakref.ref(q)
    del q
    gc.collect()
    assert ref() is None
    assert repr(SimpleQueue()).startswith("<coop_plugins.threading.SimpleQueue object at 0x")


def test_invariant_4_an_item_is_kept_when_all_in_line_have_given_up() -> None:
    """As another thread finds it that puts between the two steps of giving up."""
    q: SimpleQueue[int] = SimpleQueue()
    gate = threading.Lock()
    gate.acquire()
    gone = where.Waiter(q, gate)
    assert gone.claim()
    q._line.append(gone)
    q.put(1)
    assert q.get_nowait() == 1
    assert q._line == []
