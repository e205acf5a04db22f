"""Kills and timeouts at random points over every primitive, against a model: no permit, item or notification is lost or delivered twice.

Each run makes one primitive, lets tasks use it with random operations, patience and pauses, and meanwhile kills some of them: parked, woken and not yet run,
unstarted, about to time out in the same pass. What each task observes is noted with no chance for another to run in between, and the books must balance at
the end. A failure names its seed; ``COOP_STRESS_SEED=<seed>`` runs that one alone. Timers and kills depend on the machine's speed, so that a seed gives
back the plan, not every interleaving.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from coop_plugins.event import AsyncResult, Event
from coop_plugins.local import all_local_dicts_for_greenlet, local
from coop_plugins.lock import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Lock, RLock, Semaphore
from coop_plugins.pool import Pool, PoolFull
from coop_plugins.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue
from coop_plugins.scope import CancelScope, TaskGroup, move_on_after
from coopcore import Task, TaskExit, Timeout, current_task, idle, joinall, run, sleep, spawn
from coopcore.lowlevel import ParkingLot, scope_of

Workload = Callable[[random.Random], None]


class Hooked(Queue[Any]):
    """A queue of which every item goes through the hooks."""

    def _put(self, item: Any) -> None:
        super()._put(item)


def patience(rng: random.Random) -> float | None:
    return rng.choice([None, None, 0, 0.00001, 0.0001, 0.0005])


def pause(rng: random.Random) -> None:
    choice = rng.random()
    if choice < 0.4:
        sleep(0)
    elif choice < 0.5:
        sleep(rng.random() * 0.0003)


def kill_some(rng: random.Random, victims: list[Task[Any]], times: int) -> None:
    """What the main task does meanwhile: kill one here and there, now and then several before any of them runs."""
    for _ in range(times):
        pause(rng)
        for _ in range(rng.choice([1, 1, 3])):
            rng.choice(victims).kill(block=False)


def end(tasks: list[Task[Any]]) -> None:
    assert len(joinall(tasks, timeout=10)) == len(tasks), [task for task in tasks if not task.dead]
    for task in tasks:
        task.get()  # raises what went wrong in it


def trade(rng: random.Random, q: Any, items: Callable[[int, int], Any]) -> tuple[list[Task[Any]], list[Any], list[Any], list[Any]]:
    """Producers and consumers of a queue or channel: their tasks, and the books of what was accepted, gotten and seen."""
    accepted: list[Any] = []
    gotten: list[Any] = []
    seen: list[Any] = []

    def producer(name: int) -> None:
        for number in range(15):
            item = items(name, number)
            try:
                with Timeout(rng.choice([None, None, 0.0002]), False):
                    q.put(item, timeout=patience(rng))
                    accepted.append(item)
            except (Full, TaskExit):
                pass
            pause(rng)

    def consumer() -> None:
        for _ in range(15):
            try:
                with Timeout(rng.choice([None, None, 0.0002]), False):
                    if hasattr(q, "peek") and rng.random() < 0.1:
                        seen.append(q.peek(timeout=patience(rng) or 0.0001))
                    else:
                        gotten.append(q.get(timeout=patience(rng) or 0.0005))
            except (Empty, TaskExit):
                pass
            pause(rng)

    tasks = [spawn(until_killed, producer, name) for name in range(4)] + [spawn(until_killed, consumer) for _ in range(4)]
    return tasks, accepted, gotten, seen


def until_killed(task: Callable[..., None], *args: Any) -> None:
    try:
        task(*args)
    except TaskExit:
        pass


def queue_workload(rng: random.Random) -> None:
    cls = rng.choice([Queue, Hooked, LifoQueue, PriorityQueue, SimpleQueue])
    q: Any = cls(rng.choice([0, 1, 1, 2, 3]))

    def items(name: int, number: int) -> Any:
        if cls is PriorityQueue:
            return (number * 7 % 5, name, number)
        return rng.choice([(name, number), (name, number), False]) if number else None

    tasks, accepted, gotten, seen = trade(rng, q, items)
    kill_some(rng, tasks, 12)
    while not all(task.dead for task in tasks):  # lets in who waits for room
        while not q.empty():
            gotten.append(q.get_nowait())
        sleep(0.0001)
    end(tasks)
    while not q.empty():
        gotten.append(q.get_nowait())
    assert Counter(gotten) == Counter(accepted)
    assert set(seen) <= set(accepted)
    assert cls is SimpleQueue or q.unfinished_tasks == len(accepted)
    assert not q._getters
    assert not q._putters
    q.put("still works")
    assert q.get() == "still works"


def channel_workload(rng: random.Random) -> None:
    channel = Channel[Any]()
    tasks, accepted, gotten, _ = trade(rng, channel, lambda name, number: rng.choice([(name, number), False, None]))
    kill_some(rng, tasks, 12)
    while not all(task.dead for task in tasks):  # quits those who wait for somebody
        try:
            gotten.append(channel.get_nowait())
        except Empty:
            sleep(0.0001)
    end(tasks)
    assert Counter(gotten) == Counter(accepted)
    assert (channel.balance, len(channel.getters), len(channel.putters)) == (0, 0, 0)


def shutdown_workload(rng: random.Random) -> None:
    q = Queue[int](rng.choice([0, 1, 2]))
    accepted: list[int] = []
    gotten: list[int] = []

    def producer(start: int) -> None:
        try:
            for item in range(start, start + 10):
                q.put(item)
                accepted.append(item)
                pause(rng)
        except (ShutDown, TaskExit):
            pass

    def consumer() -> None:
        try:
            while True:
                gotten.append(q.get())
                q.task_done()
                pause(rng)
        except (ShutDown, TaskExit):
            pass

    tasks = [spawn(producer, start) for start in (0, 100, 200)] + [spawn(consumer) for _ in range(3)]
    joiner = spawn(q.join)
    kill_some(rng, tasks, 3)
    q.shutdown()
    while not q.empty():
        gotten.append(q.get_nowait())
        q.task_done()
    end([*tasks, joiner])
    assert Counter(gotten) == Counter(accepted)
    assert q.unfinished_tasks == 0


def semaphore_workload(rng: random.Random) -> None:
    permits = rng.choice([1, 1, 2, 3])
    semaphore = rng.choice([Semaphore, BoundedSemaphore])(permits)
    inside = 0
    most = 0
    told: list[int] = []

    def visit() -> None:
        nonlocal inside, most
        acquired = False
        try:
            with Timeout(rng.choice([None, None, 0.0002]), False):
                if rng.random() < 0.1:
                    told.append(semaphore.wait(timeout=patience(rng) or 0.0001))
                    return
                acquired = semaphore.acquire(timeout=patience(rng))
                if acquired:
                    inside += 1
                    most = max(most, inside)
                    pause(rng)
        except TaskExit:
            pass
        finally:
            if acquired:
                inside -= 1
                semaphore.release()

    tasks = users(rng, visit)
    for _ in range(3):
        semaphore.rawlink(lambda _: None)
    kill_some(rng, tasks, 25)
    end(tasks)
    idle()
    assert inside == 0
    assert most <= permits
    assert semaphore.counter == permits
    assert semaphore.linkcount() == 0
    assert all(0 <= free <= permits for free in told)


def lock_workload(rng: random.Random) -> None:
    lock: Any = rng.choice([Lock, RLock])()
    holders: list[Task[Any]] = []

    def visit() -> None:
        depth = 0
        try:
            with Timeout(rng.choice([None, None, 0.0002]), False):
                for _ in range(rng.choice([1, 1, 2]) if isinstance(lock, RLock) else 1):
                    if not lock.acquire(timeout=rng.choice([-1, -1, 0, 0.00001, 0.0001, 0.0005])):
                        return
                    depth += 1
                    holders.append(current_task())
                    assert set(holders) == {current_task()}, "two tasks hold it"
                    pause(rng)
        except TaskExit:
            pass
        finally:
            for _ in range(depth):
                holders.pop()
                lock.release()

    tasks = users(rng, visit)
    kill_some(rng, tasks, 25)
    end(tasks)
    assert not holders
    assert (lock.locked(), lock.linkcount()) == (False, 0)


def users(rng: random.Random, visit: Callable[[], None]) -> list[Task[Any]]:
    """Tasks that each visit something often; a kill ends one visit."""

    def user() -> None:
        for _ in range(12):
            visit()
            try:
                pause(rng)
            except TaskExit:
                pass

    return [spawn(user) for _ in range(8)]


def condition_workload(rng: random.Random) -> None:
    condition: Any = Condition(rng.choice([Lock, RLock])())
    tokens: list[int] = []
    made = 0
    taken = 0
    over = False

    def visit() -> None:
        nonlocal taken
        try:
            with Timeout(rng.choice([None, None, 0.0002]), False):
                with condition:
                    while not tokens and not over:
                        if not condition.wait(patience(rng)):
                            break
                    if tokens:
                        taken += 1
                        tokens.pop()
        except TaskExit:
            pass

    tasks = users(rng, visit)
    for _ in range(20):
        kill_some(rng, tasks, 1)
        with condition:
            made += 1
            tokens.append(made)
            condition.notify()
    idle()
    assert not (tokens and condition._waiters), "a notification was lost"
    over = True
    with condition:
        condition.notify_all()
    end(tasks)
    assert made == taken + len(tokens)
    assert not condition._waiters
    assert not condition._lock.locked()


def barrier_workload(rng: random.Random) -> None:
    parties = rng.choice([1, 2, 3, 4])
    acted = 0
    thrown_out = 0
    places: Counter[int] = Counter()

    def action() -> None:
        nonlocal acted
        acted += 1

    barrier = Barrier(parties, action)

    def visit() -> None:
        nonlocal thrown_out
        thrown_out += 1
        try:
            with Timeout(rng.choice([None, None, 0.0002]), False):
                place = barrier.wait(patience(rng))
                places[place] += 1
                thrown_out -= 1
        except BrokenBarrierError:
            thrown_out -= 1
        except TaskExit:
            pass

    tasks = users(rng, visit)
    for _ in range(20):
        kill_some(rng, tasks, 1)
        if barrier.broken or rng.random() < 0.1:
            barrier.reset()
    barrier.abort()
    end(tasks)
    assert places[parties - 1] == acted
    missing = [acted - places[place] for place in range(parties)]
    assert min(missing) >= 0, "a place was given twice"
    assert sum(missing) <= thrown_out, "not all have passed"
    assert barrier.n_waiting == 0


class Waiters:
    """Tasks that wait for notifications, the books of what they are owed, and of what they got."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.waiting: dict[Task[Any], int] = {}  # the number of the wait in which a task is now
        self.owed: set[tuple[Task[Any], int]] = set()
        self.paid: list[tuple[Task[Any], int]] = []

    def notify(self, notify: Callable[[], object]) -> None:
        """Whoever waits now, and is not thrown out or timed out already, must be told."""
        self.owed.update((task, number) for task, number in self.waiting.items() if task.state == "parked")
        notify()

    def wait_often(self, wait: Callable[[float | None], bool], is_ready: Callable[[], bool]) -> None:
        me = current_task()
        for number in range(12):
            self.waiting[me] = number
            try:
                with Timeout(self.rng.choice([None, None, 0.0002]), False):
                    if wait(patience(self.rng) or 0.0005):
                        self.paid.append((me, number))
                        assert (me, number) in self.owed or is_ready(), "woken, though nobody notified"
            except TaskExit:
                pass
            finally:
                del self.waiting[me]
            try:
                pause(self.rng)
            except TaskExit:
                pass

    def check(self) -> None:
        assert len(set(self.paid)) == len(self.paid)
        assert self.owed <= set(self.paid), f"lost: {self.owed - set(self.paid)}"


def lot_workload(rng: random.Random) -> None:
    lot = ParkingLot()
    waiters = Waiters(rng)
    tasks = [spawn(waiters.wait_often, lot.park, lambda: False) for _ in range(8)]
    for _ in range(20):
        kill_some(rng, tasks, 1)
        waiters.notify(lot.unpark_all)
    end(tasks)
    waiters.check()
    assert not lot


def event_workload(rng: random.Random) -> None:
    event = Event()
    waiters = Waiters(rng)
    tasks = [spawn(waiters.wait_often, event.wait, event.is_set) for _ in range(8)]
    called: list[Event] = []
    linked = 0
    for _ in range(20):
        kill_some(rng, tasks, 1)
        choice = rng.random()
        if choice < 0.5:
            waiters.notify(event.set)
        if 0.3 < choice < 0.8:
            event.clear()
        if choice > 0.9:
            event.rawlink(called.append)
            linked += 1
    waiters.notify(event.set)
    end(tasks)
    waiters.check()
    idle()
    assert (len(called), event.linkcount()) == (linked, 0)


def result_workload(rng: random.Random) -> None:
    for value in range(6):
        result = AsyncResult[int]()
        error = KeyError(value)
        waiters = Waiters(rng)
        got: list[object] = []

        def wait(timeout: float | None, result: AsyncResult[int] = result, got: list[object] = got) -> bool:
            try:
                got.append(result.get(timeout=timeout))
            except KeyError as raised:
                got.append(raised)
            except Timeout as late:
                if late.seconds != timeout:  # that of the block around it
                    raise
                return False
            return True

        tasks = [spawn(waiters.wait_often, wait, result.ready) for _ in range(5)]
        result.rawlink(got.append)
        kill_some(rng, tasks, rng.randrange(6))
        if rng.random() < 0.7:
            waiters.notify(lambda result=result, value=value: result.set(value))  # type: ignore[misc]  # bound early
            outcome: object = value
        else:
            waiters.notify(lambda result=result, error=error: result.set_exception(error))  # type: ignore[misc]  # as above
            outcome = error
        end(tasks)
        idle()
        waiters.check()
        assert got.count(result) == 1
        got.remove(result)
        assert all(one is outcome for one in got)
        assert len(got) == len(waiters.paid)
        assert result.linkcount() == 0


def pool_workload(rng: random.Random) -> None:
    size = rng.choice([1, 2, 5])
    pool = Pool(size)
    ran: Counter[int] = Counter()
    read: Counter[int] = Counter()

    def item(n: int) -> int:
        assert len(pool) <= size
        for _ in range(rng.randrange(3)):
            sleep(0)
        ran[n] += 1
        return n

    results = pool.imap_unordered(item, range(40), maxsize=rng.choice([None, 1, 3]))

    def read_on() -> None:
        try:
            with Timeout(rng.choice([None, None, 0.0002]), False):
                read[next(results)] += 1
        except (StopIteration, TaskExit):
            pass

    def enter() -> None:
        try:
            with Timeout(rng.choice([None, None, 0.0002]), False):
                how = rng.randrange(4)
                if how == 0:
                    pool.spawn(item, -1)
                elif how == 1:
                    pool.start(Task(item, -1), timeout=patience(rng))
                elif how == 2:
                    pool.apply(item, (-1,))
                else:
                    pool.wait_available(patience(rng) or 0.0001)
        except (PoolFull, TaskExit):
            pass

    tasks = users(rng, lambda: rng.choice([read_on, enter])())
    kill_some(rng, tasks, 25)
    end(tasks)
    while True:
        try:
            read[next(results)] += 1
        except StopIteration:
            break
    assert pool.join(timeout=10)
    assert read == Counter(range(40))
    assert all(ran[n] == 1 for n in range(40))
    assert pool.free_count() == size


def scope_workload(rng: random.Random) -> None:
    alive: set[Task[Any]] = set()

    def child(depth: int) -> None:
        alive.add(current_task())
        try:
            for _ in range(rng.randrange(3)):
                pause(rng)
            if depth < 2 and rng.random() < 0.5:
                block(depth + 1)
            if rng.random() < 0.1:
                raise KeyError(depth)
            pause(rng)
        finally:
            if rng.random() < 0.3:
                with CancelScope(shield=True):
                    pause(rng)
            alive.discard(current_task())

    def block(depth: int) -> None:
        with move_on_after(rng.choice([None, 0, 0.0002, 0.001]), shield=rng.random() < 0.1):
            group = TaskGroup()
            try:
                with group:
                    spawned = [group.spawn(child, depth) for _ in range(rng.randrange(4))]
                    pause(rng)
                    if rng.random() < 0.2:
                        group.cancel_scope.cancel()
                    if spawned and rng.random() < 0.3:
                        rng.choice(spawned).kill(block=False)
            finally:
                assert all(task.dead for task in spawned), "left before its tasks have ended"

    def top() -> None:
        other: BaseException | None = None
        try:
            block(0)
        except TaskExit:
            pass
        except BaseExceptionGroup as errors:
            _, other = errors.split(KeyError)
        assert other is None
        assert scope_of(current_task()) is None

    tasks = [spawn(top) for _ in range(6)]
    kill_some(rng, tasks, 8)
    for task in tasks:
        assert task.join(timeout=10)
        assert task.value is None or isinstance(task.value, TaskExit), task.exception
    idle()
    hub = current_task().hub
    assert {task for task in alive if not task.dead} == set()
    assert hub.tasks() == [current_task()]


def local_workload(rng: random.Random) -> None:
    data = local()

    def visit() -> None:
        data.x = mine = object()
        try:
            with Timeout(rng.choice([None, 0, 0.0002]), False):
                pause(rng)
        except TaskExit:
            pass
        assert data.x is mine

    tasks = users(rng, visit)
    kill_some(rng, tasks, 25)
    end(tasks)
    idle()
    assert [task for task in tasks if all_local_dicts_for_greenlet(task)] == []


WORKLOADS = {name.removesuffix("_workload"): fn for name, fn in list(globals().items()) if name.endswith("_workload")}


def stress(workload: Workload, seeds: range) -> None:
    asked = os.environ.get("COOP_STRESS_SEED")
    for seed in [int(asked)] if asked else seeds:
        try:
            run(workload, random.Random(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}: COOP_STRESS_SEED={seed} repeats it")
            raise


@pytest.mark.parametrize("name", WORKLOADS)
def test_stress(name: str) -> None:
    stress(WORKLOADS[name], range(12))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WORKLOADS)
def test_stress_for_long(name: str) -> None:
    stress(WORKLOADS[name], range(100, 3000))


def test_a_failure_names_its_seed() -> None:
    def fails(rng: random.Random) -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose") as caught:
        stress(fails, range(7, 9))
    if not os.environ.get("COOP_STRESS_SEED"):
        assert caught.value.__notes__ == ["seed 7: COOP_STRESS_SEED=7 repeats it"]
