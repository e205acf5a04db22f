"""The section on Group and Pool."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

FOREVER = 60.0
CONTAINERS = {"Group": "Group()", "Pool": "Pool()", "Pool(3)": "Pool(3)"}


@pytest.fixture(params=list(CONTAINERS))
def group(lib: Any, request: pytest.FixtureRequest) -> Any:
    """A function that makes one: in a fixture there is no hub yet."""
    return lambda: eval(f"lib.{CONTAINERS[request.param]}", {"lib": lib})


def sleeper(lib: Any) -> Any:
    return lib.Greenlet(lib.sleep, FOREVER)


# -- members --------------------------------------------------------------------------------------------------------------


def test_len_in_iter(lib: Any, group: Any) -> None:
    """len/in/iter, falsy when empty."""
    members = group()
    assert not members and len(members) == 0 and list(members) == []
    tasks = [members.spawn(lib.sleep, FOREVER) for _ in range(2)]
    assert members and len(members) == 2 and set(members) == set(tasks)
    assert tasks[0] in members and sleeper(lib) not in members


def test_group_of_an_iterable(lib: Any) -> None:
    """Group(iterable=None)."""
    tasks = [lib.spawn(lib.sleep, FOREVER) for _ in range(2)]
    assert set(lib.Group(iter(tasks))) == set(tasks)
    assert len(lib.Group()) == len(lib.Group([])) == 0


def test_add_and_discard(lib: Any, group: Any) -> None:
    """add and discard: it is tracked until it ends or is discarded; it runs on then."""
    members, task = group(), lib.spawn(lib.sleep, FOREVER)
    assert members.add(task) is None and task in members
    members.discard(task)
    assert task not in members and not task.ready()
    members.discard(task)
    members.add(task)
    assert task in members
    short = lib.spawn(str)
    members.add(short)
    short.join()
    lib.settle()
    assert short not in members
    members.add(short)  # it has ended, and is let go again
    lib.settle()
    assert short not in members


def test_add_starts_nothing_and_start_does(lib: Any, group: Any) -> None:
    """start(greenlet) adds and starts it."""
    members, task = group(), lib.Greenlet(lambda: 5)
    members.add(task)
    lib.settle()
    assert not task.started and task in members
    other = lib.Greenlet(lambda: 6)
    assert members.start(other) is None
    assert other.get() == 6


def test_spawn(lib: Any, group: Any) -> None:
    """spawn(func, *args, **kwargs) returns the greenlet."""
    task = group().spawn(lambda *args, **kwargs: (args, kwargs), 1, a=2)
    assert isinstance(task, lib.Greenlet) and task.get() == ((1,), {"a": 2})


def test_greenlet_class(lib: Any) -> None:
    """greenlet_class: what spawn makes, of a subclass and of a Pool."""

    class Mine(lib.Greenlet):  # type: ignore[misc]  # of either library
        pass

    class Mines(lib.Group):  # type: ignore[misc]  # of either library
        greenlet_class = Mine

    assert type(Mines().spawn(str)) is Mine
    assert type(lib.Pool(1, greenlet_class=Mine).spawn(str)) is Mine
    assert lib.Group.greenlet_class is lib.Greenlet


# -- join and kill --------------------------------------------------------------------------------------------------------


def test_join(lib: Any, group: Any) -> None:
    """join(timeout, raise_error)->bool: whether it is empty."""
    members = group()
    assert members.join() is True and members.join(timeout=0.001) is True
    members.spawn(lib.sleep, 0.001)
    assert members.join() is True
    members.spawn(lib.sleep, FOREVER)
    assert members.join(0.001) is False


def test_join_raise_error(lib: Any, group: Any, fail: Any) -> None:
    """join(raise_error=True) raises the error of a member; without, none."""
    members = group()
    members.spawn(fail)
    assert members.join() is True
    members.spawn(fail)
    assert lib.outcome(members.join, raise_error=True) == "raises ValueError"


def test_join_waits_for_those_that_come_meanwhile(lib: Any, group: Any, log: Any) -> None:
    """join waits until it is empty, also of those that come meanwhile."""
    members = group()

    def step(left: int) -> None:
        log.append(left)
        if left:
            members.spawn(step, left - 1)

    members.spawn(step, 2)
    members.join()
    assert log == [2, 1, 0]


def test_kill(lib: Any, group: Any) -> None:
    """kill(exception, block, timeout): every member, and it is empty."""
    members = group()
    tasks = [members.spawn(lib.sleep, FOREVER) for _ in range(2)]
    lib.settle()
    assert members.kill() is None
    assert len(members) == 0 and all(isinstance(task.value, lib.GreenletExit) for task in tasks)
    members.kill()


def test_kill_with_an_exception(lib: Any, group: Any) -> None:
    """kill(exception=...)."""
    members = group()
    task = members.spawn(lib.sleep, FOREVER)
    lib.settle()
    members.kill(KeyError)
    assert isinstance(task.exception, KeyError)


def test_kill_of_unstarted_members(lib: Any, group: Any, log: Any) -> None:
    """kill: unstarted members never run."""
    members, task = group(), lib.Greenlet(log.append, 1)
    members.add(task)
    scheduled = members.spawn(log.append, 2)
    members.kill()
    task.start()
    lib.settle()
    assert log == [] and task.ready() and scheduled.ready()


def stubborn(lib: Any, let_go: Any) -> None:
    """Takes its time to end when it is killed."""
    try:
        lib.sleep(FOREVER)
    finally:
        let_go.wait()


def test_kill_without_block_and_with_a_timeout(lib: Any, group: Any) -> None:
    """kill(block=False), kill(timeout=...) return though they have not ended; and throw into each member once."""
    members, let_go = group(), lib.Event()
    task = members.spawn(stubborn, lib, let_go)
    lib.settle()
    members.kill(block=False)
    assert len(members) == 1
    lib.settle()
    members.kill(timeout=0.001)
    members.killone(task, timeout=0.001)
    members.kill(block=False)
    lib.settle()
    assert len(members) == 1
    (killer,) = lib.start(members.kill)
    assert not killer.ready()
    let_go.set()
    killer.join()
    assert not members and members.join() is True


def test_killone(lib: Any, group: Any) -> None:
    """killone kills one member, and nobody else."""
    members = group()
    one, other = (members.spawn(lib.sleep, FOREVER) for _ in range(2))
    stranger = lib.spawn(lib.sleep, FOREVER)
    lib.settle()
    members.killone(one)
    members.killone(stranger)
    lib.settle()
    assert one.ready() and one not in members
    assert not other.ready() and not stranger.ready()


# -- Pool: size -----------------------------------------------------------------------------------------------------------


def test_full_and_free_count(lib: Any) -> None:
    """size, full, free_count() (1 when unlimited)."""
    pool = lib.Pool(2)
    states = [(pool.size, pool.free_count(), pool.full())]
    for _ in range(2):
        pool.spawn(lib.sleep, FOREVER)
        states.append((pool.size, pool.free_count(), pool.full()))
    assert states == [(2, 2, False), (2, 1, False), (2, 0, True)]
    unlimited = lib.Pool()
    unlimited.spawn(lib.sleep, FOREVER)
    assert (unlimited.size, unlimited.free_count(), unlimited.full()) == (None, 1, False)
    assert lib.Group().full() is False


def test_wait_available(lib: Any) -> None:
    """wait_available(timeout)->free slots."""
    pool = lib.Pool(2)
    assert pool.wait_available() == 2
    task = pool.spawn(lib.sleep, FOREVER)
    pool.spawn(lib.sleep, FOREVER)
    assert pool.wait_available(timeout=0.001) == 0
    lib.spawn(task.kill)
    assert pool.wait_available() == 1
    assert lib.Pool().wait_available() == 1
    assert lib.Group().wait_available() == lib.differ("`Group().wait_available()` returns 1", gevent=None, ours=1)


def test_spawn_waits_for_a_slot(lib: Any, log: Any) -> None:
    """At most size run at once: spawn waits."""
    pool = lib.Pool(1)
    pool.spawn(lambda: (lib.sleep(0.001), log.append("first")))
    pool.spawn(log.append, "second")
    assert log == ["first"]
    pool.join()
    assert log == ["first", "second"]


@pytest.mark.parametrize("method", ["add", "start"])
def test_pool_full(lib: Any, method: str) -> None:
    """add/start(greenlet, blocking=True, timeout=None) raise PoolFull, a queue.Full."""
    assert issubclass(lib.PoolFull, queue.Full)
    pool = lib.Pool(1)
    pool.spawn(lib.sleep, FOREVER)
    enter = getattr(pool, method)
    task = sleeper(lib)
    calls = [lambda: enter(task, blocking=False), lambda: enter(task, timeout=0.001), lambda: enter(task, False), lambda: enter(task, True, 0.001)]
    assert [lib.outcome(call) for call in calls] == ["raises PoolFull"] * 4
    assert task not in pool and not task.started


def test_discard_frees_a_slot(lib: Any) -> None:
    """discard gives the slot back, once."""
    pool = lib.Pool(1)
    task = pool.spawn(lib.sleep, FOREVER)
    pool.discard(task)
    pool.discard(task)
    assert pool.free_count() == 1
    task.kill()
    lib.settle()
    assert pool.free_count() == 1


def test_size_zero(lib: Any, log: Any) -> None:
    """size 0 never runs."""
    pool = lib.Pool(0)
    assert (pool.full(), pool.free_count()) == (True, 0)
    assert lib.with_timeout(0.001, pool.spawn, log.append, 1, timeout_value="late") == "late"
    assert lib.outcome(pool.add, lib.Greenlet(log.append, 2), blocking=False) == "raises PoolFull"
    assert log == [] and not pool


def test_negative_size(lib: Any) -> None:
    """<0 ValueError."""
    assert lib.outcome(lib.Pool, -1) == "raises ValueError"


# -- calls ----------------------------------------------------------------------------------------------------------------


def test_apply(lib: Any, group: Any, fail: Any) -> None:
    """apply(func, args, kwds): in a member; returns or raises."""
    members = group()
    assert members.apply(lambda *args, **kwargs: (args, kwargs), (1,), {"a": 2}) == ((1,), {"a": 2})
    assert members.apply(lambda: lib.getcurrent()) is not lib.getcurrent()
    assert lib.outcome(members.apply, fail) == "raises ValueError"


def test_apply_in_a_member_runs_inline(lib: Any) -> None:
    """apply from inside a member runs inline."""
    pool = lib.Pool(1)
    assert pool.spawn(lambda: pool.apply(lib.getcurrent) is lib.getcurrent()).get() is True


def test_apply_cb(lib: Any, group: Any, log: Any) -> None:
    """apply_cb(func, args, kwds, callback)."""
    assert group().apply_cb(str, (5,), None, log.append) == "5"
    lib.settle()
    assert log == ["5"]


def test_apply_async(lib: Any, group: Any, log: Any, fail: Any) -> None:
    """apply_async(func, args, kwds, callback) returns a greenlet; the callback is called for a value only."""
    members = group()
    assert members.apply_async(str, (5,), callback=log.append).get() == "5"
    assert lib.outcome(members.apply_async(fail, callback=log.append).get) == "raises ValueError"
    lib.settle()
    assert log == ["5"]


def test_apply_async_never_blocks(lib: Any, log: Any) -> None:
    """apply_async never blocks, also not if the pool is full; it runs when there is room."""
    pool = lib.Pool(1)
    first = pool.spawn(lib.sleep, FOREVER)
    pool.apply_async(log.append, ("second",))
    lib.settle()
    assert log == []
    first.kill()
    lib.settle()
    assert log == ["second"]


def test_map(lib: Any, group: Any, fail: Any) -> None:
    """map(func, iterable): in the order of the items; raises an item's error."""
    members = group()
    assert members.map(lambda n: (lib.sleep(0.001 * (3 - n)), n)[1], range(4)) == [0, 1, 2, 3]
    assert members.map(str, []) == []
    assert lib.outcome(members.map, fail, [1]) == "raises ValueError"


def test_map_cb_and_map_async(lib: Any, group: Any, log: Any) -> None:
    """map_cb calls back with the list; map_async returns a greenlet."""
    members = group()
    assert members.map_cb(str, [1, 2], log.append) == ["1", "2"]
    task = members.map_async(str, [3], log.append)
    assert isinstance(task, lib.Greenlet) and task.get() == ["3"]
    lib.settle()
    assert log == [["1", "2"], ["3"]]


both = pytest.mark.parametrize("method", ["imap", "imap_unordered"])


@both
def test_imap(lib: Any, group: Any, method: str) -> None:
    """imap/imap_unordered(func, *iterables): results of the zipped items."""
    imap = getattr(group(), method)
    assert sorted(imap(lambda a, b: a + b, [1, 2, 3], [10, 20])) == [11, 22]
    assert list(imap(str, [])) == []


def test_imap_orders(lib: Any) -> None:
    """imap: in the order of the items. imap_unordered: in the order of their ends."""
    for method, order in (("imap", [0, 1, 2]), ("imap_unordered", [2, 0, 1])):
        gates = [lib.Event() for _ in range(3)]
        results = getattr(lib.Group(), method)(lambda n, gates=gates: (gates[n].wait(), n)[1], range(3))
        for number in (2, 0, 1):
            lib.settle()
            gates[number].set()
        assert list(results) == order


@both
def test_imap_is_a_greenlet_and_an_iterator(lib: Any, method: str) -> None:
    """imap is a Greenlet and an iterator."""
    results = getattr(lib.Pool(2), method)(str, [1, 2])
    assert isinstance(results, lib.Greenlet) and iter(results) is results
    assert sorted(results) == ["1", "2"]
    row = "`next()` of an `imap` that is exhausted raises `StopIteration` again"
    assert lib.outcome(next, results) == lib.differ(row, gevent="raises LoopExit", ours="raises StopIteration")
    lib.wait([results])
    assert results.ready()


@both
@pytest.mark.parametrize("maxsize", [1, 2])
def test_imap_maxsize(lib: Any, log: Any, method: str, maxsize: int) -> None:
    """maxsize bounds finished-but-unread results."""
    results = getattr(lib.Group(), method)(log.append, range(20), maxsize=maxsize)
    lib.settle()
    assert len(log) <= maxsize + 1
    for read in range(1, 5):
        next(results)
        lib.settle()
        assert len(log) <= maxsize + 1 + read
    assert len(list(results)) == 16


@both
def test_imap_with_failing_items(lib: Any, group: Any, method: str) -> None:
    """A failing item raises on its next(), and iteration continues."""
    results = getattr(group(), method)(lambda n: 12 // n, [1, 0, 3])
    outcomes = [lib.outcome(next, results) for _ in range(4)]
    assert sorted(map(str, outcomes)) == ["12", "4", "raises StopIteration", "raises ZeroDivisionError"]
    if method == "imap":
        assert outcomes == [12, "raises ZeroDivisionError", 4, "raises StopIteration"]


@both
def test_imap_with_failing_items_and_maxsize(lib: Any, method: str) -> None:
    """The same with maxsize: a failure takes its place, and gives it back when it is read."""
    results = getattr(lib.Group(), method)(lambda n: 12 // n, [1, 0, 0, 3], maxsize=1)
    assert [lib.outcome(next, results) for _ in range(5)] == [12, "raises ZeroDivisionError", "raises ZeroDivisionError", 4, "raises StopIteration"]


def test_imap_of_what_is_no_function(lib: Any) -> None:
    """What cannot be called: the reader waits for ever (gevent), or a TypeError at once."""
    row = "`imap` of what cannot be called raises `TypeError`"
    assert lib.outcome(lambda: list(lib.Pool(1).imap(5, [1]))) == lib.differ(row, gevent="raises LoopExit", ours="raises TypeError")


def test_imap_of_no_iterable(lib: Any) -> None:
    """Items that are no iterable are a TypeError at once."""
    assert lib.outcome(lib.Pool(1).imap, str, 5) == "raises TypeError"


def test_imap_of_a_generator(lib: Any) -> None:
    """The items may be a generator, which is read as far as slots allow."""
    read: list[int] = []

    def generator() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            yield number

    results = lib.Pool(2).imap(lambda n: (lib.sleep(0), n)[1], generator(), maxsize=2)
    assert next(results) == 0
    assert len(read) < 10
    assert list(results) == list(range(1, 50))


# -- where they differ ----------------------------------------------------------------------------------------------------


def test_map_after_an_error(lib: Any, log: Any) -> None:
    """map that raised: the other items run behind the caller's back (gevent), or are not started."""

    def work(number: int) -> None:
        log.append(number)
        if number == 0:
            raise KeyError

    assert lib.outcome(lib.Pool(1).map, work, range(5)) == "raises KeyError"
    for _ in range(10):
        lib.settle()
    assert (len(log) == 5) is lib.differ("after an error `map` starts no further items", gevent=True, ours=False)


def broken() -> Iterator[int]:
    yield 1
    raise KeyError


def test_imap_of_an_iterable_that_breaks(lib: Any) -> None:
    """An iterable that raises: its error comes, then the reader waits for ever (gevent), or the end."""
    results = lib.Pool(1).imap(str, broken())
    assert [lib.outcome(next, results) for _ in range(2)] == ["1", "raises KeyError"]
    assert lib.outcome(next, results) == lib.differ("an iterable that breaks ends the iteration", gevent="raises LoopExit", ours="raises StopIteration")


def test_imap_that_is_killed(lib: Any) -> None:
    """A killed imap: its reader waits for ever (gevent), or until what was started is done."""
    let_go = lib.Event()
    results = lib.Pool(1).imap(lambda n: (let_go.wait(), n)[1], range(9))
    lib.settle()
    results.kill()
    let_go.set()
    assert next(results) == 0
    row = "a killed `imap` ends after what it has started"
    assert lib.outcome(lambda: list(results)) == lib.differ(row, gevent="raises LoopExit", ours=[])


def test_apply_async_on_a_full_pool(lib: Any) -> None:
    """apply_async on a full pool: the greenlet that waits for the call (gevent), or the call's own."""
    pool = lib.Pool(1)
    first = pool.spawn(lib.sleep, FOREVER)
    task = pool.apply_async(lib.sleep, (FOREVER,))
    lib.settle()
    first.kill()
    lib.settle()
    task.kill()
    lib.settle()
    assert len(pool) == lib.differ("`apply_async` on a full pool returns the call's own task", gevent=1, ours=0)


def test_add_of_what_is_no_task(lib: Any) -> None:
    """add takes anything (gevent), or tasks only."""
    assert lib.outcome(lib.Group().add, 5) == lib.differ("`add` takes tasks only", gevent=None, ours="raises TypeError")


def test_join_in_a_member(lib: Any) -> None:
    """A member that joins its group waits for ever (gevent), or is told."""
    members = lib.Group()
    task = members.spawn(lambda: lib.outcome(members.join))
    assert lib.outcome(task.get) == lib.differ("`join` in a member raises `JoinSelfError`", gevent="raises LoopExit", ours="raises JoinSelfError")


def test_join_raise_error_of_those_that_came_meanwhile(lib: Any, fail: Any) -> None:
    """join(raise_error=True) sees those of its beginning (gevent), or also those that come meanwhile."""
    members = lib.Group()
    members.spawn(lambda: members.spawn(fail))
    row = "`join(raise_error=True)` sees members that came during the wait"
    assert lib.outcome(members.join, raise_error=True) == lib.differ(row, gevent=True, ours="raises ValueError")


def test_a_size_that_is_no_whole_number(lib: Any) -> None:
    """Pool(1.5)."""
    assert lib.outcome(lambda: lib.Pool(1.5).size) == lib.differ("`Pool(1.5)` raises TypeError", gevent=1.5, ours="raises TypeError")
