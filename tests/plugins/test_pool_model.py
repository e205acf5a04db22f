"""Pool and Group against a model, and under kills and timeouts at random points: no slot is lost, no result comes twice."""

from __future__ import annotations

import random
from collections import Counter
from math import inf
from typing import Any
from weakref import WeakSet

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.clock import JumpingClock

from coop_plugins.pool import Group, Pool, PoolFull
from coopcore import Task, TaskExit, Timeout, current_task, idle, killall, run, sleep, spawn
from coopcore.lowlevel import ParkingLot


class Model:
    """What a pool should look like: who is in, who waits in line, and which of these not for ever. A group is a pool of any size."""

    def __init__(self, size: float) -> None:
        self.size = size
        self.members: list[int] = []
        self.line: list[int] = []
        self.timed: set[int] = set()
        self.late: set[int] = set()

    def enter(self, n: int, timed: bool) -> None:
        self.line.append(n)
        if timed:
            self.timed.add(n)
        self.admit()

    def admit(self) -> None:
        while self.line and len(self.members) < self.size:
            self.members.append(self.line.pop(0))

    def leave(self, n: int) -> None:
        self.members.remove(n)
        self.admit()

    def expire(self) -> None:
        self.late.update(n for n in self.line if n in self.timed)
        self.line = [n for n in self.line if n not in self.timed]


class Real:
    """The pool, driven by the same numbers."""

    def __init__(self, size: float) -> None:
        self.pool: Any = Group() if size == inf else Pool(int(size))
        self.gates: dict[int, ParkingLot] = {}
        self.tasks: dict[int, Task[None]] = {}
        self.entrants: dict[int, Task[None]] = {}
        self.late: set[int] = set()
        self.snappers: list[Task[None]] = []

    def enter(self, n: int, timed: bool) -> None:
        gate = self.gates[n] = ParkingLot(f"gate {n}")
        self.tasks[n] = Task(gate.park)
        self.entrants[n] = spawn(self.start, n, timed)

    def start(self, n: int, timed: bool) -> None:
        try:
            self.pool.start(self.tasks[n], **({"timeout": SPAN} if timed and isinstance(self.pool, Pool) else {}))
        except PoolFull:
            self.late.add(n)

    def snap(self) -> None:
        """Let the oldest member go, in the batch in which the timers of those in line are due."""
        sleep(SPAN)
        for task in self.pool:
            self.pool.discard(task)
            return

    def members(self) -> list[int]:
        return [n for n, task in self.tasks.items() if task in self.pool]

    def line(self) -> list[int]:
        return [n for n, entrant in self.entrants.items() if not entrant.ready()]

    def close(self) -> None:
        killall(self.snappers)
        for entrant in self.entrants.values():
            entrant.kill(timeout=5)
        for task in self.tasks.values():
            task.kill(timeout=5)


SPAN = 10
OPERATIONS = ["enter"] * 4 + ["timed enter"] * 4 + ["finish", "kill", "killone", "discard", "give up", "try", "snap", "expire"]
OPERATIONS += ["discard, then kill the first in line", "kill the first in line, then discard"] * 2 + ["kill all"]


STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5)), min_size=30, max_size=60)


def check(size: float, program: list[tuple[str, int]]) -> None:
    model = Model(size)

    def main() -> None:
        real = Real(size)
        for step, (operation, choice) in enumerate(program):
            perform(operation, choice, step, model, real)
            idle()
            assert sorted(real.members()) == sorted(model.members)
            assert sorted(real.line()) == sorted(model.line)
            assert real.late == model.late
            assert len(real.pool) == len(model.members) and real.pool.full() == (len(model.members) == size)
            assert real.pool._free == size - len(model.members)
        real.close()
        idle()
        assert real.pool._free == size and not real.pool

    run(main, clock=JumpingClock())


def perform(operation: str, choice: int, step: int, model: Model, real: Real) -> None:
    if operation in ("enter", "timed enter"):
        model.enter(step, operation == "timed enter")
        real.enter(step, operation == "timed enter")
    elif operation == "try":
        try_to_enter(model, real)
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
    elif operation == "snap":
        real.snappers.append(spawn(real.snap))
    elif operation == "expire":
        sleep(SPAN)
        model.expire()
        for _, n in zip(real.snappers, list(model.members), strict=False):  # whoever gets a slot now becomes a member after all snaps
            model.leave(n)
        real.snappers.clear()
    elif model.members:
        go(operation, choice, model, real)


def try_to_enter(model: Model, real: Real) -> None:
    task = Task(sleep, 0)
    if len(model.members) < model.size:
        real.pool.add(task)
        real.pool.discard(task)
    else:
        with pytest.raises(PoolFull):
            real.pool.add(task, blocking=False)


def go(operation: str, choice: int, model: Model, real: Real) -> None:
    """One of the members goes. In some steps the first in line is killed in the same breath: before it has its slot, or after."""
    n = model.members[choice % len(model.members)]
    task = real.tasks[n]
    first = model.line[0] if model.line else None
    if first is not None and operation.startswith("kill the first"):
        real.entrants[first].kill(block=False)
        model.line.remove(first)
    model.leave(n)
    if operation == "finish":
        assert real.gates[n].unpark()
    elif operation == "kill":
        task.kill(timeout=5)
    elif operation == "killone":
        real.pool.killone(task, timeout=5)
    else:
        real.pool.discard(task)
    if first is not None and operation.endswith("first in line"):
        real.entrants[first].kill(block=False)  # it has its slot, and brings its task in


PROGRAMS = given(st.sampled_from([0, 1, 1, 2, 3, inf]), STEPS)


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_invariants_1_2_and_3_a_pool_does_what_its_model_does = QUICK(PROGRAMS(check))
test_a_pool_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(PROGRAMS(check))))


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
