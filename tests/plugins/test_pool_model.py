"""Pool against a model, and under kills and timeouts at random points: no slot is lost, no result comes twice."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any
from weakref import WeakSet

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coop_plugins.pool import Pool, PoolFull
from coopcore import Task, TaskExit, Timeout, current_task, idle, run, sleep, spawn
from coopcore.lowlevel import ParkingLot


class Model:
    """What a pool should look like: who is in, who waits in line."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.members: list[int] = []
        self.line: deque[int] = deque()

    def enter(self, n: int) -> None:
        self.line.append(n)
        self.admit()

    def admit(self) -> None:
        while self.line and len(self.members) < self.size:
            self.members.append(self.line.popleft())

    def leave(self, n: int) -> None:
        self.members.remove(n)
        self.admit()


class Real:
    """The pool, driven by the same numbers."""

    def __init__(self, size: int) -> None:
        self.pool = Pool(size)
        self.gates: dict[int, ParkingLot] = {}
        self.tasks: dict[int, Task[None]] = {}
        self.entrants: dict[int, Task[None]] = {}

    def enter(self, n: int) -> None:
        gate = self.gates[n] = ParkingLot(f"gate {n}")
        self.tasks[n] = Task(gate.park)
        self.entrants[n] = spawn(self.pool.start, self.tasks[n])

    def members(self) -> list[int]:
        return [n for n, task in self.tasks.items() if task in self.pool]

    def line(self) -> list[int]:
        return [n for n, entrant in self.entrants.items() if not entrant.ready()]

    def close(self) -> None:
        for entrant in self.entrants.values():
            entrant.kill(timeout=5)
        for task in self.tasks.values():
            task.kill(timeout=5)


OPERATIONS = ("enter", "enter", "enter", "finish", "kill", "killone", "discard", "give up", "kill all", "try")


@given(size=st.integers(0, 3), program=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5)), max_size=25))
@settings(max_examples=60, deadline=None)
def test_invariants_1_2_and_3_a_pool_does_what_its_model_does(size: int, program: list[tuple[str, int]]) -> None:
    model = Model(size)

    def main() -> None:
        real = Real(size)
        for step, (operation, choice) in enumerate(program):
            perform(operation, choice, step, model, real)
            idle()
            assert sorted(real.members()) == sorted(model.members)
            assert sorted(real.line()) == sorted(model.line)
            assert real.pool.free_count() == size - len(model.members)
            assert len(real.pool) == len(model.members) and real.pool.full() == (len(model.members) == size)
        real.close()
        idle()
        assert real.pool.free_count() == size and not real.pool

    run(main)


def perform(operation: str, choice: int, step: int, model: Model, real: Real) -> None:
    if operation == "enter":
        model.enter(step)
        real.enter(step)
    elif operation == "try":
        task = Task(sleep, 0)
        if len(model.members) < model.size:
            real.pool.add(task, blocking=False)
            real.pool.discard(task)
        else:
            with pytest.raises(PoolFull):
                real.pool.add(task, blocking=False)
    elif operation == "kill all":
        # Those in line come in while it kills, and are killed too.
        real.pool.kill(timeout=5)
        while model.members and model.size:
            model.leave(model.members[0])
    elif operation == "give up":
        if model.line:
            n = model.line[choice % len(model.line)]
            model.line.remove(n)
            real.entrants[n].kill(timeout=5)
    elif model.members:
        n = model.members[choice % len(model.members)]
        model.leave(n)
        task = real.tasks[n]
        if operation == "finish":
            assert real.gates[n].unpark()
        elif operation == "kill":
            task.kill(timeout=5)
        elif operation == "killone":
            real.pool.killone(task, timeout=5)
        else:
            real.pool.discard(task)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [1, 2, 5])
def test_invariant_1_no_slot_is_lost_to_kills_and_timeouts_at_random_points(size: int, seed: int) -> None:
    chance = random.Random(seed)
    pool = Pool(size)
    most = 0

    def member() -> None:
        nonlocal most
        most = max(most, len(pool))
        for _ in range(chance.randrange(3)):
            sleep(0)
        assert pool.free_count() + len(pool) <= size

    def enter() -> None:
        timeout = chance.choice([None, 0, 0.0001])
        try:
            with Timeout(chance.choice([None, 0, 0.0001]), False):
                kind = chance.randrange(4)
                if kind == 0:
                    pool.spawn(member)
                elif kind == 1:
                    pool.start(Task(member), timeout=timeout)
                elif kind == 2:
                    pool.apply(member)
                else:
                    pool.wait_available(timeout)
        except PoolFull:
            pass

    def main() -> None:
        entrants = [spawn(enter) for _ in range(60)]
        for _ in range(100):
            victims = [*entrants, *pool]
            victim = chance.choice(victims)
            victim.kill(block=False)
            sleep(0)
        for entrant in entrants:
            entrant.get(timeout=5)
        assert pool.join(timeout=5)
        assert pool.free_count() == size

    run(main)
    assert most <= size


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("maxsize", [None, 1, 3])
def test_invariants_4_and_5_no_result_is_lost_or_comes_twice_under_kills(method: str, maxsize: int | None, seed: int) -> None:
    chance = random.Random(seed)
    count = 60
    read: Counter[int] = Counter()

    def item(n: int) -> int:
        for _ in range(chance.randrange(4)):
            sleep(0)
        if n % 7 == 0:
            raise KeyError(n)
        return n

    def reader(results: Any) -> None:
        while True:
            try:
                with Timeout(chance.choice([None, 0, 0.0001]), False):
                    n = next(results)
                    read[n] += 1
            except KeyError as error:
                read[error.args[0]] += 1
            except StopIteration:
                return

    def main() -> None:
        pool = Pool(3)
        results = getattr(pool, method)(item, range(count), maxsize=maxsize)
        readers = [spawn(reader, results) for _ in range(3)]
        for _ in range(50):
            # Readers that are killed are replaced; an item that they were given is already counted.
            n = chance.randrange(len(readers))
            readers[n].kill(block=False)
            readers.append(spawn(reader, results))
            sleep(0)
        for task in readers:
            task.get(timeout=10)
        assert pool.join(timeout=5) and pool.free_count() == 3

    run(main)
    assert read == Counter(range(count))


@pytest.mark.parametrize("seed", range(8))
def test_killed_items_give_one_outcome_each(seed: int) -> None:
    chance = random.Random(seed)

    def item(n: int) -> int:
        sleep(0)
        sleep(0)
        return n

    def main() -> None:
        pool = Pool(4)
        mapper = pool.map_async(item, range(50))
        while not mapper.ready():
            victims = list(pool)
            if victims and chance.random() < 0.3:
                pool.killone(chance.choice(victims), block=False)
            sleep(0)
        outcomes = mapper.get(timeout=5)
        assert len(outcomes) == 50
        assert all(outcome == place or isinstance(outcome, TaskExit) for place, outcome in enumerate(outcomes))
        assert any(isinstance(outcome, TaskExit) for outcome in outcomes)
        assert pool.free_count() == 4

    run(main)


def test_invariant_2_items_are_started_as_slots_allow_and_not_before() -> None:
    alive: WeakSet[Task[Any]] = WeakSet()
    most = 0

    def item(n: int) -> int:
        nonlocal most
        alive.add(current_task())
        most = max(most, len(alive))
        assert len(pool) <= 10
        return n

    pool = Pool(10)

    def main() -> None:
        total = sum(pool.imap_unordered(item, range(5000), maxsize=20))
        assert total == sum(range(5000))
        assert pool.map(item, range(5000)) == list(range(5000))

    run(main)
    assert most <= 20, "tasks that have ended are let go as their results come in"
