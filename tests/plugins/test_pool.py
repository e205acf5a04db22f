"""Group and Pool, line by line as gevent's users know them, and the invariants of ``coop_plugins.pool``."""

from __future__ import annotations

import gc
import itertools
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from seams.hubs import in_a_hub, in_another_thread

import coopcore
from coop_plugins.pool import Group, IMap, IMapUnordered, Pool, PoolFull
from coopcore import Deadlock, Task, TaskExit, Timeout, current_task, idle, run, sleep, spawn
from coopcore.errors import JoinSelfError, WrongThreadError
from coopcore.lowlevel import ParkingLot, current_hub

LONG = 60.0  # a sleep that a kill or the end of the test cuts short


def fail(*_: object) -> None:
    raise ValueError("on purpose")


def half(n: float) -> float:
    return 1 / n


def broken_iterable() -> Iterator[int]:
    yield 1
    yield 2
    raise KeyError("the iterable broke")


class Gate:
    """A place where tasks wait until they are let through."""

    def __init__(self) -> None:
        self.lot = ParkingLot("the gate")

    def __call__(self, value: Any = None) -> Any:
        self.lot.park(10)
        return value

    def let_through(self) -> None:
        self.lot.unpark_all()

    def open(self) -> None:
        """Let everybody through, and wait until all that follows from it has happened."""
        self.let_through()
        idle()


@pytest.fixture(params=[Group, Pool, lambda: Pool(5)], ids=["Group", "Pool", "Pool(5)"])
def make(request: pytest.FixtureRequest) -> Callable[[], Group]:
    return request.param  # type: ignore[no-any-return]  # one of the three


# -- members -----------------------------------------------------------------------------------------------------------


@in_a_hub
def test_an_empty_group_is_false_and_has_length_zero(make: Callable[[], Group]) -> None:
    group = make()
    assert not group
    assert len(group) == 0
    assert list(group) == []
    assert group.join() is True
    assert group.join(timeout=0) is True


@in_a_hub
def test_members_are_counted_found_and_iterated_in_order(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()
    tasks = [group.spawn(gate) for _ in range(3)]
    stranger = spawn(gate)
    assert group and len(group) == 3
    assert all(task in group for task in tasks)
    assert stranger not in group and 5 not in group
    assert list(group) == tasks
    for task in group:
        group.discard(task)
    assert not group
    idle()
    gate.open()


@in_a_hub
def test_a_group_is_made_of_an_iterable_of_tasks() -> None:
    tasks = [spawn(sleep, 0) for _ in range(3)]
    group = Group(iter(tasks))
    assert list(group) == tasks
    assert group.join(timeout=5)
    assert not group and all(task.ready() for task in tasks)


@in_a_hub
def test_add_takes_tasks_started_unstarted_and_ended(make: Callable[[], Group]) -> None:
    group = make()
    new, started, ended = Task(sleep, 0), spawn(sleep, 0), spawn(sleep, 0)
    ended.join(timeout=5)
    for task in (new, started, ended):
        group.add(task)
    assert len(group) == 3
    idle()
    assert list(group) == [new]
    group.start(new)
    assert group.join(timeout=5)


@in_a_hub
def test_a_member_twice_is_a_member_once(make: Callable[[], Group]) -> None:
    group = make()
    task = group.spawn(sleep, 0)
    group.add(task)
    group.start(task)
    assert len(group) == 1
    assert group.join(timeout=5)
    assert not group.full()


@in_a_hub
def test_discard_lets_a_running_task_go(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()
    task = group.spawn(gate, 7)
    idle()
    group.discard(task)
    group.discard(task)
    group.discard(Task(gate))
    assert not group and not task.ready() and not task.has_links()
    assert group.join(timeout=0)
    gate.open()
    assert task.get(timeout=5) == 7


@in_a_hub
def test_spawn_passes_arguments_and_makes_tasks_of_the_class_it_was_given() -> None:
    class Mine(Task[Any]):
        pass

    class MyGroup(Group):
        greenlet_class = Mine

    class MyPool(Pool):
        task_class = Mine

    for group in (MyGroup(), MyPool(), Pool(2, Mine), Pool(greenlet_class=Mine)):
        task = group.spawn(divmod, 7, 2)
        assert type(task) is Mine is group.greenlet_class is group.task_class
        assert task.get(timeout=5) == (3, 1)
        assert group.map(lambda _: type(current_task()), [1]) == [Mine]
    assert MyGroup.greenlet_class is Mine and Group.greenlet_class is Task
    pool = Pool()
    pool.greenlet_class = Mine
    assert type(pool.apply_async(half, [1])) is Mine


@in_a_hub
def test_spawn_without_a_function_for_a_class_that_has_its_own(make: Callable[[], Group]) -> None:
    class Double(Task[int]):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.n = n

        def _run(self) -> int:
            return self.n * 2

    group = make()
    group.task_class = Double
    assert group.spawn(4).get(timeout=5) == 8


@in_a_hub
def test_a_task_stays_a_member_until_its_links_are_delivered() -> None:
    """Programs 5 and 6 print these sizes."""
    group = Group()
    assert group.map(lambda _: len(group), range(3)) == [3, 3, 3]
    pool = Pool(2)
    assert pool.map(lambda _: len(pool), range(3)) == [2, 2, 1]


@in_a_hub
def test_every_item_runs_in_a_task_and_a_context_of_its_own(make: Callable[[], Group]) -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    group = make()
    variable.set(5)

    def item(n: int) -> tuple[Task[Any], int]:
        before = variable.get()
        variable.set(n)
        return current_task(), before

    tasks, seen = zip(*group.map(item, range(3)), strict=True)
    assert len(set(tasks)) == 3
    assert seen == (5, 5, 5)


@pytest.mark.parametrize("thing", [5, None, "task", len, object()])
@in_a_hub
def test_only_tasks_can_be_members(make: Callable[[], Group], thing: Any) -> None:
    group = make()
    for enter in (group.add, group.start):
        with pytest.raises(TypeError, match=r"holds tasks, not .*spawn\(fn, \*args\)"):
            enter(thing)
    group.killone(thing)
    group.discard(thing)
    assert not group


@in_a_hub
def test_a_task_of_another_hub_cannot_be_a_member(make: Callable[[], Group]) -> None:
    group = make()
    made: list[Task[None]] = []
    thread = threading.Thread(target=run, args=(lambda: made.append(Task(sleep, 0)),))
    thread.start()
    thread.join(10)
    [foreign] = made
    for enter in (group.add, group.start):
        with pytest.raises(WrongThreadError, match="A group is used in one thread"):
            enter(foreign)
    assert not group and not foreign.has_links()


USES: dict[str, Callable[[Any], object]] = {
    "spawn": lambda group: group.spawn(fail),
    "add": lambda group: group.add(Task(fail)),
    "start": lambda group: group.start(Task(fail)),
    "apply": lambda group: group.apply(fail),
    "apply_cb": lambda group: group.apply_cb(fail),
    "apply_async": lambda group: group.apply_async(fail),
    "map": lambda group: group.map(fail, [1, 2]),
    "map_async": lambda group: group.map_async(fail, [1, 2]).get(),
    "imap": lambda group: group.imap(fail, [1, 2]),
    "imap_unordered": lambda group: group.imap_unordered(fail, [1, 2]),
    "join": lambda group: group.join(),
    "join with a timeout": lambda group: group.join(timeout=5, raise_error=True),
    "kill": lambda group: group.kill(),
    "kill without block": lambda group: group.kill(block=False),
    "killone": lambda group: group.killone(next(iter(group))),
    "discard": lambda group: group.discard(next(iter(group))),
}
WAITS: dict[str, Callable[[Any], object]] = {
    "start with a timeout": lambda pool: pool.start(Task(fail), timeout=5),
    "add without blocking": lambda pool: pool.add(Task(fail), blocking=False),
    "wait_available": lambda pool: pool.wait_available(),
    "wait_available with a timeout": lambda pool: pool.wait_available(timeout=5),
}


@in_a_hub
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_invariant_8_another_thread_is_refused_while_there_are_members(make: Callable[[], Group], use: Callable[[Any], object]) -> None:
    group, gate = make(), Gate()
    member = group.spawn(gate)
    idle()
    error = in_another_thread(lambda: use(group))
    assert isinstance(error, WrongThreadError)
    assert "'the other thread'" in str(error) and "'MainThread'" in str(error)
    assert list(group) == [member] and not member.ready()
    joined = spawn(group.join)
    idle()
    gate.open()
    assert joined.get(timeout=5) is True
    assert not group and group._free == group._slots


@in_a_hub
@pytest.mark.parametrize("use", [*USES.values(), *WAITS.values()], ids=[*USES, *WAITS])
def test_invariant_8_a_full_pool_refuses_another_thread_where_it_would_wait(use: Callable[[Any], object]) -> None:
    pool, gate = Pool(1), Gate()
    pool.spawn(gate)
    entrant, watcher, joiner = spawn(pool.spawn, gate), spawn(pool.wait_available), spawn(pool.join)
    idle()
    assert isinstance(in_another_thread(lambda: use(pool)), WrongThreadError)
    gate.open()
    assert entrant.ready() and len(pool) == 1, "the slot goes to who waits for it here"
    gate.open()
    assert (watcher.get(timeout=5), joiner.get(timeout=5), pool.free_count()) == (1, True, 1)


@in_a_hub
def test_invariant_8_a_slot_on_its_way_keeps_other_threads_out() -> None:
    pool, gate = Pool(1), Gate()
    pool.spawn(gate)
    entrant = spawn(pool.spawn, gate)
    idle()
    pool.discard(next(iter(pool)))
    assert not pool and not entrant.ready() and pool.full()
    assert isinstance(in_another_thread(lambda: pool.spawn(fail)), WrongThreadError)
    idle()
    assert entrant.ready() and len(pool) == 1
    gate.open()
    assert pool.free_count() == 1


@in_a_hub
@pytest.mark.parametrize("wait", ["spawn", "wait_available"])
def test_invariant_8_those_who_wait_at_a_pool_of_size_zero_are_of_one_thread(wait: str) -> None:
    pool = Pool(0)
    waiter = spawn(getattr(pool, wait), *[fail] * (wait == "spawn"))
    idle()
    for use in (lambda: pool.spawn(fail), pool.wait_available):
        assert isinstance(in_another_thread(use), WrongThreadError)
    waiter.kill()
    assert in_another_thread(lambda: pool.wait_available(timeout=0)) is None


@in_a_hub
def test_invariant_8_the_feeder_of_an_imap_is_refused_when_another_thread_came_first() -> None:
    pool = Pool(1)
    results = pool.imap(half, [1, 2])
    elsewhere: list[Task[None]] = []
    began, go_on = threading.Event(), threading.Event()

    def use() -> None:
        elsewhere.append(pool.spawn(fail))
        began.set()
        go_on.wait(10)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        assert began.wait(10)
        with pytest.raises(WrongThreadError):
            next(results)
        assert list(pool) == elsewhere and list(results) == []
    finally:
        go_on.set()
        thread.join(10)


@in_a_hub
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("maxsize", [None, 1])
def test_invariant_8_an_imap_is_read_in_the_thread_that_made_it(make: Callable[[], Group], method: str, maxsize: int | None) -> None:
    group, gate = make(), Gate()
    results = getattr(group, method)(gate, [1, 2], maxsize=maxsize)
    idle()
    assert isinstance(in_another_thread(lambda: next(results)), WrongThreadError)
    reader = spawn(list, results)
    while not reader.ready():
        gate.open()
    assert reader.get(timeout=5) == [1, 2]


@in_a_hub
def test_a_group_that_nobody_uses_may_go_to_another_thread(make: Callable[[], Group]) -> None:
    group = make()
    group.spawn(half, 1)
    assert group.join(timeout=5)
    results: list[Any] = []
    for _ in range(2):
        assert in_another_thread(lambda: run(lambda: results.append(group.map(half, [1, 2])))) is None
        assert group.map(half, [4]) == [0.25]
    assert results == [[1, 0.5]] * 2
    for use in (group.join, group.kill, group.wait_available, group.full):
        assert in_another_thread(use) is None


@in_a_hub
def test_spawning_what_is_not_a_function_takes_no_slot() -> None:
    pool = Pool(1)
    for call in (pool.spawn, pool.apply, pool.apply_async):
        with pytest.raises(TypeError, match="needs a function to call"):
            call(5)
    assert pool.free_count() == 1 and not pool


# -- join --------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_join_waits_for_all_and_says_whether_they_ended(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()
    for _ in range(3):
        group.spawn(gate)
    assert group.join(timeout=0.001) is False
    spawn(gate.let_through)
    assert group.join(timeout=5) is True
    assert not group


@in_a_hub
def test_join_waits_for_members_that_come_meanwhile(make: Callable[[], Group]) -> None:
    group = make()
    seen = []

    def breed(n: int) -> None:
        sleep(0)
        seen.append(n)
        if n:
            group.spawn(breed, n - 1)

    group.spawn(breed, 4)
    assert group.join(timeout=5)
    assert seen == [4, 3, 2, 1, 0]


@in_a_hub
def test_several_tasks_join_one_group(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()
    group.spawn(gate)
    joins = [spawn(group.join, 5) for _ in range(3)]
    idle()
    gate.open()
    assert [join.get(timeout=5) for join in joins] == [True, True, True]


@in_a_hub
def test_join_with_raise_error_raises_what_failed_first_when_all_have_ended(make: Callable[[], Group]) -> None:
    group, gate, order = make(), Gate(), []

    def late() -> None:
        gate()
        order.append("ended")
        raise KeyError("second")

    group.spawn(late)
    group.spawn(fail)
    spawn(lambda: (idle(), gate.let_through()))
    with pytest.raises(ValueError, match="on purpose"):
        group.join(timeout=5, raise_error=True)
    assert order == ["ended"] and not group


@in_a_hub
def test_join_with_raise_error_raises_also_for_members_that_came_meanwhile() -> None:
    group = Group()
    group.spawn(lambda: group.spawn(group.spawn, fail))
    with pytest.raises(ValueError, match="on purpose"):
        group.join(timeout=5, raise_error=True)


@in_a_hub
def test_join_with_raise_error_raises_though_it_timed_out() -> None:
    group, gate = Group(), Gate()
    group.spawn(gate)
    group.spawn(fail)
    with pytest.raises(ValueError, match="on purpose"):
        group.join(timeout=0.005, raise_error=True)
    gate.open()
    assert group.join(raise_error=True)


@in_a_hub
def test_a_join_that_was_given_up_keeps_no_failed_task() -> None:
    group, gate = Group(), Gate()
    group.spawn(gate)
    failed = weakref.ref(group.spawn(fail))
    with pytest.raises(Timeout), Timeout(0.001):
        group.join(raise_error=True)
    gc.collect()
    assert failed() is None
    gate.open()


@in_a_hub
def test_a_member_cannot_join_its_group(make: Callable[[], Group]) -> None:
    group = make()
    task = group.spawn(lambda: group.join())
    with pytest.raises(JoinSelfError, match="is a member"):
        task.get(timeout=5)


def lost_errors(main: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> int:
    """How many failures are reported as received by nobody."""

    def collected() -> None:
        main()
        idle()
        gc.collect()
        sleep(0.001)

    run(collected)
    return capsys.readouterr().err.count("ValueError: on purpose")


def test_invariant_6_join_receives_only_what_it_raises(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group()

    def plain() -> None:
        group.spawn(fail)
        group.join(timeout=5)

    def raising() -> None:
        group.spawn(fail)
        group.spawn(fail)
        with pytest.raises(ValueError, match="on purpose"):
            group.join(timeout=5, raise_error=True)

    def killed() -> None:
        gate = Gate()
        group.spawn(fail)
        group.spawn(gate)
        join = spawn(group.join, raise_error=True)
        idle()
        join.kill(timeout=5)
        gate.open()

    assert lost_errors(plain, capsys) == 1
    assert lost_errors(raising, capsys) == 1
    assert lost_errors(killed, capsys) == 1


def test_invariant_6_map_and_imap_receive_what_they_raise(capsys: pytest.CaptureFixture[str]) -> None:
    pool = Pool(2)

    def mapped() -> None:
        with pytest.raises(ValueError, match="on purpose"):
            pool.map(fail, [1])
        with pytest.raises(ValueError, match="on purpose"):
            pool.apply(fail)
        with pytest.raises(ValueError, match="on purpose"):
            next(pool.imap_unordered(fail, [1]))

    def unread() -> None:
        results = pool.imap(fail, [1, 2, 3])
        with pytest.raises(ValueError, match="on purpose"):
            next(results)

    assert lost_errors(mapped, capsys) == 0
    assert lost_errors(unread, capsys) == 2


# -- kill --------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_kill_ends_members_unstarted_ready_and_parked(make: Callable[[], Group]) -> None:
    group, gate, calls = make(), Gate(), []
    parked = group.spawn(gate)
    idle()
    ready = group.spawn(calls.append, 1)
    new = Task(calls.append, 1)
    group.add(new)
    assert group.kill() is None
    assert not group and calls == []
    assert all(isinstance(task.get(block=False), TaskExit) for task in (parked, ready, new))
    assert not group.full()


@in_a_hub
def test_kill_ends_members_that_come_meanwhile(make: Callable[[], Group]) -> None:
    group = make()
    born = []

    def stubborn() -> None:
        try:
            sleep(LONG)
        finally:
            born.append(group.spawn(sleep, LONG))

    group.spawn(stubborn)
    idle()
    group.kill(timeout=5)
    assert not group and born[0].dead


@in_a_hub
def test_kill_ends_those_who_wait_for_a_slot_too() -> None:
    pool = Pool(1)
    for _ in range(4):
        spawn(pool.spawn, sleep, LONG)
    idle()
    pool.kill(timeout=5)
    idle()
    assert not pool and pool.free_count() == 1


@in_a_hub
def test_kill_with_an_exception_of_ones_own(make: Callable[[], Group]) -> None:
    group = make()
    tasks = [group.spawn(sleep, LONG), group.spawn(sleep, LONG)]
    idle()
    group.kill(KeyError, timeout=5)
    assert not group
    assert [type(task.exception) for task in tasks] == [KeyError, KeyError]


@in_a_hub
def test_kill_returns_after_its_timeout_and_without_block_at_once(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()

    def slow_to_die() -> None:
        try:
            sleep(LONG)
        finally:
            gate()

    task = group.spawn(slow_to_die)
    idle()
    group.kill(timeout=0.001)
    assert task in group and not task.dead
    other = group.spawn(sleep, LONG)
    group.kill(block=False)
    assert task in group and other in group
    gate.open()
    assert group.join(timeout=5) and task.dead and other.dead


@in_a_hub
def test_invariant_7_kill_throws_into_each_member_once(make: Callable[[], Group]) -> None:
    group, gate, thrown = make(), Gate(), []

    def slow_to_die() -> None:
        for _ in range(3):
            try:
                gate()
            except TaskExit:
                thrown.append(current_task())

    first, second = group.spawn(slow_to_die), group.spawn(slow_to_die)
    idle()
    group.killone(first, block=False)
    group.kill(timeout=0.001)
    group.killone(first, timeout=0.001)
    group.kill(block=False)
    idle()
    assert thrown == [first, second] and len(group) == 2
    for task in (first, second):
        group.discard(task)
        group.add(task)
    group.kill(block=False)  # they are members anew
    idle()
    assert thrown == [first, second, first, second]
    gate.open()
    assert group.join(timeout=5)


@in_a_hub
def test_a_dying_member_may_kill_its_group_again(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()

    def last_words() -> None:
        try:
            gate()
        finally:
            group.kill()
            group.killone(current_task())

    task, other = group.spawn(last_words), group.spawn(gate)
    idle()
    group.kill(timeout=5)
    assert task.dead and other.dead and not group
    assert isinstance(task.value, TaskExit)


@in_a_hub
def test_kill_lets_an_outer_timeout_pass(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()

    def slow_to_die() -> None:
        try:
            sleep(LONG)
        finally:
            gate()

    group.spawn(slow_to_die)
    idle()
    with pytest.raises(Timeout) as caught, Timeout(0.001) as outer:
        group.kill(timeout=5)
    assert caught.value is outer
    gate.open()


@in_a_hub
def test_a_member_that_kills_its_group_goes_last(make: Callable[[], Group]) -> None:
    group, passed = make(), []
    others = [group.spawn(sleep, LONG) for _ in range(2)]

    def killer() -> None:
        group.kill()
        passed.append("after the kill")

    task = group.spawn(killer)
    assert isinstance(task.get(timeout=5), TaskExit)
    assert group.join(timeout=5)
    assert passed == [] and all(other.dead for other in others)


@in_a_hub
def test_kill_from_a_callback_on_the_hub_does_not_wait(make: Callable[[], Group]) -> None:
    group = make()
    task = group.spawn(sleep, LONG)
    idle()
    current_hub().call_soon(group.kill)
    assert group.join(timeout=5) and task.dead


@in_a_hub
def test_killone_kills_a_member_and_nobody_else(make: Callable[[], Group]) -> None:
    group, gate = make(), Gate()
    one, two, stranger = group.spawn(gate), group.spawn(gate), spawn(gate)
    idle()
    group.killone(stranger)
    group.killone(one, timeout=5)
    assert one.dead and one not in group
    assert list(group) == [two] and not stranger.dead
    group.killone(two, KeyError("mine"), block=False)
    idle()
    assert type(two.exception) is KeyError and not group
    gate.open()


# -- slots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "error", "words"), [
    (-1, ValueError, "cannot be negative, and -1 is"),
    ("3", TypeError, "a whole number, or None"),
    (1.5, TypeError, "a whole number, or None"),
    ([], TypeError, "a whole number, or None"),
])  # fmt: skip
def test_a_pool_refuses_a_size_that_cannot_be(size: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Pool(size)


def test_a_pool_refuses_a_class_that_makes_no_tasks() -> None:
    with pytest.raises(TypeError, match="greenlet_class is Task or a subclass of it"):
        Pool(1, greenlet_class=int)  # type: ignore[arg-type]  # on purpose


@in_a_hub
def test_free_slots_are_counted() -> None:
    pool, gate = Pool(3), Gate()
    assert (pool.size, pool.free_count(), pool.full(), pool.wait_available(timeout=1)) == (3, 3, False, 3)
    for left in (2, 1, 0):
        pool.spawn(gate)
        assert pool.free_count() == left
    assert pool.full() and pool.wait_available(timeout=0.001) == 0
    gate.open()
    assert pool.free_count() == 3


@in_a_hub
def test_without_a_limit_there_is_always_one_slot() -> None:
    for group in (Group(), Pool(), Pool(None)):
        for _ in range(50):
            group.spawn(sleep, 0)
        assert not group.full() and group.wait_available(timeout=0) == 1
        assert group.join(timeout=5)
    assert Pool().free_count() == 1 and Pool().size is None


@in_a_hub
def test_a_pool_of_size_zero_never_runs_anything() -> None:
    pool, calls = Pool(0), []
    assert pool.full() and pool.free_count() == 0
    assert pool.wait_available(timeout=0.001) == 0
    with pytest.raises(PoolFull):
        pool.add(Task(calls.append, 1), timeout=0.001)
    with pytest.raises(Timeout), Timeout(0.001):
        pool.spawn(calls.append, 1)
    with pytest.raises(Timeout), Timeout(0.001):
        pool.map(calls.append, [1])
    waiting = pool.apply_async(calls.append, [1])
    idle()
    assert calls == [] and not waiting.ready()
    waiting.kill(timeout=5)
    idle()


@in_a_hub
def test_adding_to_a_full_pool_raises_when_told_not_to_wait() -> None:
    pool, gate, calls = Pool(1), Gate(), []
    pool.spawn(gate)
    for enter in (pool.add, pool.start):
        for arguments in ({"blocking": False}, {"timeout": 0.001}, {"timeout": 0}, {"blocking": False, "timeout": 5}):
            task = Task(calls.append, 1)
            with pytest.raises(PoolFull, match=r"did not fit into <Pool of 1 tasks, size 1>.*every slot was taken"):
                enter(task, **arguments)
            assert task.state == "new" and task not in pool
    assert issubclass(PoolFull, queue.Full)
    gate.open()
    assert pool.free_count() == 1 and calls == []


@in_a_hub
def test_wait_available_takes_no_slot_and_comes_after_those_who_want_one() -> None:
    pool, gate, order = Pool(1), Gate(), []
    pool.spawn(gate)
    spawn(lambda: order.append(("free", pool.wait_available(timeout=5))))
    idle()
    spawn(lambda: (pool.spawn(gate), order.append("spawned")))
    idle()
    assert order == []
    gate.open()
    assert order == ["spawned"]
    gate.open()
    assert order == ["spawned", ("free", 1)]
    assert pool.free_count() == 1


@in_a_hub
def test_discarding_a_member_frees_its_slot() -> None:
    pool, gate = Pool(1), Gate()
    first = pool.spawn(gate)
    spawn(pool.spawn, gate)
    idle()
    pool.discard(first)
    idle()
    assert len(pool) == 1 and first not in pool
    gate.open()
    assert pool.free_count() == 1


@in_a_hub
def test_two_tasks_that_add_the_same_one_use_one_slot() -> None:
    pool, gate = Pool(2), Gate()
    members = [pool.spawn(gate), pool.spawn(gate)]
    wanted = Task(gate)
    adders = [spawn(pool.start, wanted), spawn(pool.start, wanted)]
    idle()
    coopcore.killall(members)
    idle()
    assert list(pool) == [wanted] and pool.free_count() == 1
    assert all(adder.ready() for adder in adders)
    gate.open()
    assert pool.free_count() == 2


@in_a_hub
def test_invariant_3_slots_are_given_in_the_order_of_asking() -> None:
    pool, gate, order = Pool(1), Gate(), []

    def enter(n: int) -> None:
        pool.spawn(gate)
        order.append(n)

    pool.spawn(gate)
    for n in range(5):
        spawn(enter, n)
    idle()
    for n in range(5):
        gate.open()
        assert order == list(range(n + 1))
        # Whoever comes now stands behind those who wait.
        assert pool.full()
    gate.open()


@in_a_hub
def test_a_waiter_that_is_killed_or_times_out_is_passed_over() -> None:
    pool, gate = Pool(1), Gate()
    pool.spawn(gate)
    killed, timed_out, last = spawn(pool.spawn, gate), spawn(pool.add, Task(gate), timeout=0.001), spawn(pool.spawn, gate)
    idle()
    killed.kill(timeout=5)
    with pytest.raises(PoolFull):
        timed_out.get(timeout=5)
    gate.open()
    assert last.ready() and len(pool) == 1
    gate.open()
    assert pool.free_count() == 1


@in_a_hub
def test_a_kill_after_the_slot_was_handed_over_does_not_lose_it() -> None:
    pool, gate = Pool(1), Gate()
    first = pool.spawn(gate)
    waiter = spawn(pool.spawn, gate)
    idle()
    pool.discard(first)
    waiter.kill(block=False)
    idle()
    assert isinstance(waiter.get(timeout=5), Task), "a wake is final"
    assert len(pool) == 1
    gate.open()
    assert pool.free_count() == 1


def test_a_pool_that_outlives_a_hub_keeps_its_slots() -> None:
    pool = Pool(2)

    def main() -> None:
        pool.spawn(sleep, LONG)
        pool.spawn(sleep, LONG)
        sleep(0)

    for _ in range(3):
        with pytest.warns(coopcore.LeftBehindWarning):
            run(main)
        assert pool.free_count() == 2 and not pool


def test_a_deadlock_names_the_pool_and_its_members() -> None:
    def main() -> None:
        pool = Pool(1)
        pool.spawn(lambda: pool.spawn(fail))
        pool.join()

    with pytest.raises(Deadlock) as caught:
        run(main)
    report = str(caught.value)
    assert "waits for a free slot of Pool(1)" in report
    assert "waits for the end of all tasks of Pool(1)" in report
    assert "cycle" in report


def test_map_inside_a_member_of_a_full_pool_is_a_cycle_in_the_report() -> None:
    def main() -> None:
        pool = Pool(1)
        pool.spawn(lambda: pool.map(half, [1, 2]))
        pool.join()

    with pytest.raises(Deadlock) as caught:
        run(main)
    report = str(caught.value)
    assert "waits for the next result of imap of half" in report
    assert "waits for a free slot of Pool(1), which is up to" in report


# -- apply -------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_apply_runs_in_a_member_and_returns_or_raises(make: Callable[[], Group]) -> None:
    group = make()
    assert group.apply(lambda *args, **kwds: (args, kwds), (1, 2), {"three": 3}) == ((1, 2), {"three": 3})
    assert group.apply(lambda: current_task() in group)
    with pytest.raises(ValueError, match="on purpose"):
        group.apply(fail)
    assert not group


@in_a_hub
def test_apply_inside_a_member_runs_inline() -> None:
    pool = Pool(1)
    assert pool.apply(lambda: (current_task(), pool.apply(current_task)).count(current_task())) == 2
    assert pool.apply(pool.apply, (half, (2,))) == 0.5


@in_a_hub
def test_apply_cb_calls_back_in_another_task(make: Callable[[], Group]) -> None:
    group, called = make(), []
    assert group.apply_cb(half, (2,), callback=lambda result: called.append((result, current_task()))) == 0.5
    assert group.apply_cb(half, (4,)) == 0.25
    idle()
    [(result, task)] = called
    assert result == 0.5 and task is not current_task() and task not in group


@in_a_hub
def test_apply_async_returns_a_task_and_calls_back_if_it_did_not_fail(make: Callable[[], Group]) -> None:
    group, called = make(), []
    good = group.apply_async(half, (2,), callback=called.append)
    bad = group.apply_async(half, (0,), callback=called.append)
    plain = group.apply_async(dict, kwds={"a": 1})
    assert good.get(timeout=5) == 0.5 and plain.get(timeout=5) == {"a": 1}
    with pytest.raises(ZeroDivisionError):
        bad.get(timeout=5)
    idle()
    assert called == [0.5]


@in_a_hub
def test_apply_async_never_blocks_and_waits_in_line() -> None:
    pool, gate, called = Pool(1), Gate(), []
    pool.spawn(gate)
    tasks = [pool.apply_async(half, (n,), callback=called.append) for n in (1, 2, 4)]
    idle()
    assert [task.state for task in tasks] == ["new"] * 3
    gate.open()
    assert [task.get(timeout=5) for task in tasks] == [1, 0.5, 0.25]
    idle()
    assert called == [1, 0.5, 0.25] and pool.free_count() == 1


@in_a_hub
def test_apply_async_killed_in_line_never_runs_and_leaves_the_line() -> None:
    pool, gate, calls = Pool(1), Gate(), []
    pool.spawn(gate)
    first, second = pool.apply_async(calls.append, (1,)), pool.apply_async(calls.append, (2,))
    idle()
    before = len(current_hub().tasks())
    first.kill(timeout=5)
    idle()
    assert len(current_hub().tasks()) == before - 1, "the one that waited in its place has ended too"
    gate.open()
    assert second.ready() and calls == [2] and pool.free_count() == 1


# -- map ---------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_map_returns_results_in_the_order_of_the_items(make: Callable[[], Group]) -> None:
    group = make()
    assert group.map(half, []) == []
    assert group.map(half, iter([1, 2, 4])) == [1, 0.5, 0.25]
    assert group.map(lambda n: (sleep(0.001 * (3 - n)), n)[1], range(3)) == [0, 1, 2]
    assert not group


@in_a_hub
def test_map_raises_the_first_error_by_place_and_starts_no_more() -> None:
    pool, started = Pool(2), []

    def item(n: int) -> None:
        started.append(n)
        sleep(0)
        if n == 1:
            raise ValueError("the second")
        if n == 0:
            sleep(0.001)
            raise ValueError("the first")
        sleep(LONG)

    with pytest.raises(ValueError, match="the first"):
        pool.map(item, itertools.count())
    idle()
    assert len(pool) == 2 and len(started) <= 4
    pool.kill(timeout=5)
    assert pool.free_count() == 2


@in_a_hub
def test_map_that_is_killed_starts_no_more_items() -> None:
    pool, gate, started = Pool(2), Gate(), []
    mapper = pool.map_async(lambda n: (started.append(n), gate()), range(10))
    idle()
    mapper.kill(timeout=5)
    gate.open()
    assert started == [0, 1] and pool.free_count() == 2


@in_a_hub
def test_map_raises_the_error_of_the_iterable_at_its_place(make: Callable[[], Group]) -> None:
    group, done = make(), []
    with pytest.raises(KeyError, match="the iterable broke"):
        group.map(done.append, broken_iterable())
    assert done == [1, 2]
    with pytest.raises(TypeError, match="not iterable"):
        group.map(half, 3)  # type: ignore[arg-type]  # on purpose


@in_a_hub
def test_map_cb_and_map_async_call_back_with_the_list(make: Callable[[], Group]) -> None:
    group, called = make(), []
    assert group.map_cb(half, [1, 2], callback=called.append) == [1, 0.5]
    assert called == [[1, 0.5]]
    assert group.map_cb(half, [4]) == [0.25]
    task = group.map_async(half, [2, 4], callback=called.append)
    assert task not in group
    assert task.get(timeout=5) == [0.5, 0.25]
    assert called == [[1, 0.5], [0.5, 0.25]]
    with pytest.raises(ZeroDivisionError):
        group.map_async(half, [0], called.append).get(timeout=5)
    assert len(called) == 2


@in_a_hub
def test_a_killed_item_gives_its_task_exit_as_its_result(make: Callable[[], Group]) -> None:
    group = make()
    mapper = group.map_async(sleep, [LONG, LONG])
    idle()
    group.kill(timeout=5)
    assert [type(result) for result in mapper.get(timeout=5)] == [TaskExit, TaskExit]


# -- imap --------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_imap_yields_in_order_and_imap_unordered_as_they_end(make: Callable[[], Group]) -> None:
    group = make()

    def item(n: int) -> tuple[str, int]:
        for _ in range(3 - n):
            sleep(0)
            sleep(0)
        return "task", n

    assert list(group.imap(item, range(3))) == [("task", 0), ("task", 1), ("task", 2)]
    assert list(group.imap_unordered(item, range(3))) == [("task", 2), ("task", 1), ("task", 0)]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_imap_zips_several_iterables(make: Callable[[], Group], method: str) -> None:
    group = make()
    imap = getattr(group, method)
    assert list(imap(lambda a, b: a + b, [1, 2], (3, 4, 5))) == [4, 6]
    assert list(imap(half, [])) == []
    assert list(imap(lambda pair: pair, [(1, 2)])) == [(1, 2)]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_imap_is_a_task_and_an_iterator(make: Callable[[], Group], method: str) -> None:
    group = make()
    results = getattr(group, method)(half, [1, 2])
    assert isinstance(results, Task) and isinstance(results, IMapUnordered) and isinstance(results, IMap) is (method == "imap")
    assert iter(results) is results and results.name == "imap of half"
    assert results not in group
    assert coopcore.wait([results], timeout=5) == [results]
    assert results.ready() and results.successful()
    assert [results.next(), next(results), next(results, None), next(results, None)] == [1, 0.5, None, None]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_a_failing_item_raises_on_its_next_and_iteration_goes_on(make: Callable[[], Group], method: str) -> None:
    results = getattr(make(), method)(half, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert caught.traceback[-1].name == "half"
    assert next(results) == 0.5
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_an_iterable_that_breaks_raises_after_what_came_before(make: Callable[[], Group], method: str) -> None:
    results = getattr(make(), method)(half, broken_iterable())
    outcomes = []
    while True:
        try:
            outcomes.append(next(results))
        except StopIteration:
            break
        except KeyError as error:
            outcomes.append(error.args[0])
    assert sorted(map(str, outcomes)) == ["0.5", "1.0", "the iterable broke"]
    if method == "imap":
        assert outcomes == [1, 0.5, "the iterable broke"]
    assert type(results.exception) is KeyError


@in_a_hub
def test_results_that_are_exceptions_tasks_or_false_are_results(make: Callable[[], Group]) -> None:
    group = make()
    odd = [ValueError("a value"), current_task(), None, False, (), StopIteration]
    assert group.map(lambda thing: thing, odd) == odd
    assert list(group.imap_unordered(lambda thing: thing, odd)) == odd


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_invariant_4_every_outcome_once_to_one_reader(make: Callable[[], Group], method: str) -> None:
    results = getattr(make(), method)(lambda n: (sleep(0), n)[1], range(100))
    readers = [spawn(list, results) for _ in range(4)]
    lists = [reader.get(timeout=5) for reader in readers]
    assert sorted(itertools.chain(*lists)) == list(range(100))


@in_a_hub
def test_invariant_4_a_reader_killed_after_its_wake_keeps_its_result() -> None:
    group = Group()
    results = group.imap(Gate(), [1, 2])
    reader = spawn(next, results)
    idle()
    items = list(group)
    items[0].kill(block=False)
    items[0].rawlink(lambda _: reader.kill(block=False))
    idle()
    assert isinstance(reader.get(timeout=5), TaskExit)
    items[1].kill(block=False)
    assert isinstance(next(results), TaskExit) and next(results, "the end") == "the end"


@pytest.mark.parametrize("maxsize", [1, 2, 3])
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_invariant_5_maxsize_bounds_what_runs_ahead(make: Callable[[], Group], method: str, maxsize: int) -> None:
    taken, ended = [], []
    results = getattr(make(), method)(ended.append, ((taken.append(n), n)[1] for n in itertools.count()), maxsize=maxsize)
    for read in range(6):
        idle()
        assert len(ended) == read + maxsize
        assert len(taken) == read + maxsize + 1
        next(results)
    results.kill(timeout=5)
    assert len(list(results)) == maxsize, "the last read had woken the feeder, and a wake is final"


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_invariant_5_what_is_read_while_the_iterable_waits_makes_room(make: Callable[[], Group], method: str) -> None:
    lot = ParkingLot("the next item")
    results = getattr(make(), method)(abs, ((lot.park(), n)[1] for n in range(6)), maxsize=2)
    for n in range(6):
        idle()
        assert lot.unpark()
        assert next(results) == n
    assert list(results) == []


@in_a_hub
def test_an_endless_iterable_is_read_only_as_far_as_slots_allow() -> None:
    pool, gate, taken = Pool(10), Gate(), []
    results = pool.imap(gate, ((taken.append(n), n)[1] for n in itertools.count()))
    idle()
    assert len(pool) == 10 and len(taken) == 11
    results.kill(timeout=5)
    gate.open()
    assert list(results) == list(range(10))


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_a_killed_imap_ends_after_what_it_has_started(method: str) -> None:
    pool, gate = Pool(2), Gate()
    results = getattr(pool, method)(gate, range(6))
    idle()
    results.kill(timeout=5)
    gate.open()
    assert list(results) == [0, 1]
    unstarted = getattr(pool, method)(gate, range(6))
    unstarted.kill(timeout=5)
    assert list(unstarted) == [] and pool.free_count() == 2


@in_a_hub
def test_a_reader_waiting_at_the_end_is_told_of_it() -> None:
    pool, gate = Pool(2), Gate()
    results = pool.imap(gate, [1])
    readers = [spawn(next, results, "the end") for _ in range(3)]
    idle()
    gate.open()
    assert [reader.get(timeout=5) for reader in readers] == [1, "the end", "the end"]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@in_a_hub
def test_imap_refuses_what_cannot_be_mapped(make: Callable[[], Group], method: str) -> None:
    imap = getattr(make(), method)
    with pytest.raises(TypeError, match="the function to call on each item, not 5"):
        imap(5, [1])
    with pytest.raises(TypeError, match="needs at least one iterable"):
        imap(half)
    with pytest.raises(TypeError, match="not iterable"):
        imap(half, 5)
    with pytest.raises(TypeError, match="not iterable"):
        imap(half, [1], 5)
    with pytest.raises(ValueError, match="maxsize cannot be negative"):
        imap(half, [1], maxsize=-1)
    with pytest.raises(TypeError, match="maxsize is a whole number"):
        imap(half, [1], maxsize="many")
    assert list(imap(half, [1, 2], maxsize=0)) == [1, 0.5], "0 is no limit, as for gevent"


@in_a_hub
def test_arguments_that_are_no_arguments_are_named(make: Callable[[], Group]) -> None:
    group = make()
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: group.apply(str, 3), r"args is a tuple, and 3 is of type int: apply\(str, \(3,\)\)"),  # type: ignore[arg-type]  # on purpose
        (lambda: group.apply(str, 0), r"apply\(str, \(0,\)\)"),  # type: ignore[arg-type]  # on purpose
        (lambda: group.apply_async(str, 3), r"apply\(str, \(3,\)\)"),  # type: ignore[arg-type]  # on purpose
        (lambda: group.apply_cb(str, (), 3), r"kwds is a dict of arguments by name, and 3 is of type int"),  # type: ignore[arg-type]  # on purpose
        (lambda: group.map(str, 3), r"items for map and imap are an iterable, and 3 is of type int .*: map\(str, \[3\]\), or apply\(str, \(3,\)\)"),  # type: ignore[arg-type]  # on purpose
        (lambda: group.imap(str, 3), r"items for map and imap are an iterable, and 3 is"),  # type: ignore[arg-type]  # on purpose
        (lambda: group.imap_unordered(max, [1], 3), r"items for map and imap are an iterable, and 3 is"),  # type: ignore[arg-type]  # on purpose
    ]
    for call, words in calls:
        with pytest.raises(TypeError, match=words):
            call()
    assert not group and group._free == group._slots
    assert (group.apply(str, "3"), group.apply(dict, None, {"a": 1}), group.apply(str)) == ("3", {"a": 1}, "")


@in_a_hub
def test_items_say_that_they_were_spawned_where_map_was_called() -> None:
    places = Pool(2).map(lambda _: current_task().spawned_at, [1, 2, 3])
    assert {place.partition(".py:")[0].rpartition("/")[2] for place in places} == {"test_pool"}


# -- what they look like -----------------------------------------------------------------------------------------------


@in_a_hub
def test_reprs_say_how_many() -> None:
    group, pool = Group(), Pool(3)
    group.spawn(sleep, 0)
    assert repr(group) == "<Group of 1 task>" and repr(pool) == "<Pool of 0 tasks, size 3>" and repr(Pool()) == "<Pool of 0 tasks>"
    results = pool.imap(half, [])
    assert repr(results).startswith("<IMap 'imap of half'")
    assert list(results) == [] and group.join(timeout=5)


# -- what goes wrong in between -------------------------------------------------------------------------------------------


class Unlinkable(Task[Any]):
    """Cannot be a member: a group links to its members."""

    def rawlink(self, callback: Callable[[Task[Any]], object]) -> None:
        raise RuntimeError("no links")


class Unstartable(Task[Any]):
    def start(self) -> None:
        raise RuntimeError("no start")


@in_a_hub
def test_a_task_that_cannot_become_a_member_takes_no_slot_with_it() -> None:
    pool = Pool(1)
    with pytest.raises(RuntimeError, match="no links"):
        pool.add(Unlinkable(sleep))
    assert (len(pool), pool.free_count()) == (0, 1)
    pool.spawn(sleep).join()


@in_a_hub
def test_a_task_of_imap_that_cannot_be_started_takes_no_slot_with_it() -> None:
    pool = Pool(1, greenlet_class=Unstartable)
    with pytest.raises(RuntimeError, match="no start"):
        list(pool.imap(half, [1, 2]))
    assert (len(pool), pool.free_count()) == (0, 1)


@in_a_hub
def test_a_task_of_imap_that_is_discarded_gives_its_slot_back_once_and_its_result_all_the_same() -> None:
    pool = Pool(1)
    lot = ParkingLot("the test")
    results = pool.imap(lambda n: (lot.park(), n)[1], [1, 2])
    idle()
    [first] = pool
    pool.discard(first)
    idle()
    [second] = pool
    assert second is not first
    lot.unpark()
    idle()
    assert (first.dead, list(pool)) == (True, [second])
    lot.unpark()
    assert list(results) == [1, 2]
    assert (len(pool), pool.free_count()) == (0, 1)
