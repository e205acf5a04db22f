"""ThreadPool, its results, and offload: what is waited for, what is taken back, what is reported, and what the end of a hub leaves."""

from __future__ import annotations

import contextvars
import gc
import os
import random
import socket
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins.event import AsyncResult
from coop_plugins.threadpool import ThreadPool, ThreadResult, _pool, offload, shared_pool
from coopcore import Deadlock, Timeout, current_task, get_hub, hookimpl, killall, sleep, spawn
from coopcore.errors import ParkInHubError, WrongThreadError
from coopcore.lowlevel import plugins

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


class Gate:
    """A function for threads that counts who is in it, and lets them out when it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = self.most = 0
        self.entered: list[Any] = []
        self.lock = threading.Lock()

    def __call__(self, value: Any = None) -> Any:
        with self.lock:
            self.entered.append(value)
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            assert self.open.wait(10)
        finally:
            with self.lock:
                self.inside -= 1
        if isinstance(value, BaseException):
            raise value
        return value

    def wait_for(self, count: int) -> None:
        """In a task: until so many have entered."""
        with Timeout(10):
            while len(self.entered) < count:
                sleep(0.0005)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def until(true: Callable[[], bool]) -> None:
    """In a task: what threads do by themselves tells nobody."""
    with Timeout(30):
        while not true():
            sleep(0.0005)


def places(pool: ThreadPool) -> int:
    desk = pool._desk
    return pool.maxsize + 1 if desk is None else desk.free + desk.unfinished


# -- one job --------------------------------------------------------------------------------------------------------------


def test_a_thread_does_it_while_other_tasks_run(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        result = pool.spawn(gate, 5)
        assert isinstance(result, ThreadResult) and isinstance(result, AsyncResult)
        gate.wait_for(1)
        assert (result.ready(), len(pool), pool.size) == (False, 1, 1)
        ticks = spawn(sleep, 0)
        ticks.join()
        gate.open.set()
        assert result.get(timeout=5) == 5
        assert (result.successful(), result.value, result.exception, len(pool)) == (True, 5, None, 0)
        assert "value=5" in repr(result)
        assert coopcore.wait([result, pool.spawn(int)], timeout=5)[0] is result


def test_arguments_go_to_the_function(on: Run) -> None:
    def given(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs, threading.get_ident()

    @on
    def body() -> None:
        pool = ThreadPool(1)
        args, kwargs, thread = pool.spawn(given, 1, func=2, self=3).get()
        assert (args, kwargs) == ((1,), {"func": 2, "self": 3})
        assert thread != threading.get_ident()
        assert offload(given, fn=1)[:2] == ((), {"fn": 1})
        assert pool.apply(given, [1], {"a": 2})[:2] == ((1,), {"a": 2})


def test_an_error_comes_back_with_its_traceback(on: Run) -> None:
    def deep() -> None:
        raise LookupError("on purpose")

    def outer() -> None:
        deep()

    @on
    def body() -> None:
        for call in (lambda: offload(outer), lambda: ThreadPool(1).apply(outer), lambda: ThreadPool(1).spawn(outer).get()):
            with pytest.raises(LookupError, match="on purpose") as caught:
                call()
            names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert names[-2:] == ["outer", "deep"]
            assert "run" not in names, "no frame of the thread's plumbing"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), coopcore.TaskExit()], ids=lambda error: type(error).__name__)
def test_any_exception_comes_back_and_the_thread_lives(on: Run, error: BaseException) -> None:
    def bad() -> None:
        raise error

    @on
    def body() -> None:
        pool = ThreadPool(1)
        with pytest.raises(type(error)) as caught:
            pool.apply(bad)
        assert caught.value is error
        assert pool.apply(int) == 0
        assert pool.size == 1


def test_a_failure_leaves_no_cycle(on: Run) -> None:
    class Marked(Exception):
        pass

    def bad(thing: object) -> None:
        raise Marked

    @on
    def body() -> None:
        thing = threading.Event()
        gone = weakref.ref(thing)
        gc.disable()
        try:
            try:
                offload(bad, thing)
            except Marked:
                del thing
            until(lambda: gone() is None)
        finally:
            gc.enable()


def test_results_are_linked_as_those_of_tasks(on: Run) -> None:
    @on
    def body() -> None:
        told: AsyncResult[int] = AsyncResult()
        ThreadPool(1).spawn(int, "5").rawlink(lambda result: told(result))
        assert told.get(timeout=5) == 5


def test_a_coroutine_is_refused(on: Run) -> None:
    async def never() -> None:
        pass

    @on
    def body() -> None:
        with pytest.raises(TypeError, match="is an async function: to call it made a coroutine"):
            offload(never)


def test_what_is_no_function(on: Run) -> None:
    @on
    def body() -> None:
        for call in (offload, ThreadPool(1).spawn, ThreadPool(1).apply):
            with pytest.raises(TypeError, match="a thread needs a function to call, not 5"):
                call(5)  # type: ignore[operator]  # each takes a function


# -- the invariants -------------------------------------------------------------------------------------------------------


def test_invariant_1_spawn_waits_for_a_place(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(2)
        first = [pool.spawn(gate, number) for number in range(3)]
        assert pool.full()
        giver = spawn(pool.spawn, gate, 3)
        sleep(0)
        assert giver.waiting_on.startswith("a free place of <ThreadPool at ")
        gate.wait_for(2)
        assert (pool.size, len(pool), places(pool)) == (2, 3, 3)
        gate.open.set()
        assert giver.get(timeout=5).get(timeout=5) == 3
        assert [result.get() for result in first] == [0, 1, 2]
        assert gate.most == 2
        assert (len(pool), places(pool), pool.full()) == (0, 3, False)


def test_invariant_1_a_killed_or_late_giver_takes_no_place(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        for number in range(2):
            pool.spawn(gate, number)
        givers = [spawn(pool.spawn, gate, number) for number in (2, 3, 4)]
        sleep(0)
        givers[1].kill()
        with pytest.raises(Timeout), Timeout(0.001):
            pool.spawn(gate)
        gate.wait_for(1)
        gate.open.set()
        assert [giver.get(timeout=5).get(timeout=5) for giver in (givers[0], givers[2])] == [2, 4]
        assert pool.join(timeout=5)
        assert (places(pool), gate.entered) == (2, [0, 1, 2, 4])


def test_invariant_1_a_giver_that_is_killed_when_it_has_the_place(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        results = [pool.spawn(gate, number) for number in range(2)]
        giver = spawn(pool.spawn, gate, 2)
        sleep(0)
        results[0].rawlink(lambda _: giver.kill(block=False))  # it has the place by then, and has not run
        gate.wait_for(1)
        gate.open.set()
        giver.join()
        assert pool.join(timeout=5)
        assert places(pool) == 2


def test_invariant_1_places_when_no_thread_can_be_started(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    @on
    def body() -> None:
        pool = ThreadPool(1)
        with monkeypatch.context() as patch:
            patch.setattr("coop_plugins.threadpool._crew._start_thread", full)
            for _ in range(3):
                with pytest.raises(RuntimeError, match="new thread"):
                    pool.apply(int)
                with pytest.raises(RuntimeError, match="new thread"):
                    pool.spawn(int)
        assert (len(pool), places(pool)) == (0, 2)
        assert not get_hub()._promises


def test_invariant_2_first_come_first_served(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        tasks = [spawn(pool.apply, gate, (number,)) for number in range(8)]
        gate.wait_for(1)
        gate.open.set()
        assert [task.get(timeout=5) for task in tasks] == list(range(8))
        assert gate.entered == list(range(8))


def test_invariant_3_a_job_is_no_deadlock_and_its_end_is(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        threading.Timer(0.02, gate.open.set).start()
        pool = ThreadPool(1)
        result = pool.spawn(gate)
        assert [promise.what for promise in get_hub()._promises.values()] == [f"the jobs of <ThreadPool at {id(pool):#x}>"]
        result.get()
        assert not get_hub()._promises
        with pytest.raises(Deadlock):
            AsyncResult[None]().get()


def test_invariant_3_outcomes_come_on_the_hub_in_order(on: Run) -> None:
    @on
    def body() -> None:
        order: list[int] = []
        threads = set()

        def note(number: int) -> None:
            order.append(number)
            threads.add(threading.get_ident())

        pool = ThreadPool(1)
        for number in range(20):
            pool.spawn(int).rawlink(lambda _, number=number: note(number))  # type: ignore[misc]  # lambdas have no types
        assert pool.join(timeout=5)
        until(lambda: len(order) == 20)
        assert order == list(range(20))
        assert threads == {threading.get_ident()}


def test_invariant_4_a_killed_waiter_leaves_its_job_behind(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        waiting = spawn(pool.apply, gate, (1,))
        gate.wait_for(1)
        assert waiting.waiting_on == "Gate in a thread"
        waiting.kill(timeout=1)
        assert waiting.dead and len(pool) == 1
        gate.open.set()
        assert pool.join(timeout=5)
        assert gate.entered == [1]


def test_invariant_4_a_job_that_no_thread_has_begun_is_taken_back(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        held = pool.spawn(gate, 0)
        gate.wait_for(1)
        with pytest.raises(Timeout), Timeout(0.001):
            pool.apply(gate, (1,))
        assert len(pool) == 1
        next_one = pool.spawn(gate, 2)
        gate.open.set()
        assert (held.get(timeout=5), next_one.get(timeout=5)) == (0, 2)
        assert gate.entered == [0, 2]


def test_invariant_4_so_does_offload(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        tasks = [spawn(offload, gate, number) for number in range(_pool.SHARED_SIZE + 3)]
        gate.wait_for(_pool.SHARED_SIZE)
        killall(tasks[-3:] + tasks[:2], timeout=5)
        gate.open.set()
        assert [task.get(timeout=5) for task in tasks[2:-3]] == list(range(2, _pool.SHARED_SIZE))
        assert shared_pool().join(timeout=5)
        assert sorted(gate.entered) == list(range(_pool.SHARED_SIZE))
        assert places(shared_pool()) == _pool.SHARED_SIZE + 1


def test_invariant_5_the_context_is_carried_over(on: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")

    def change(value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    @on
    def body() -> None:
        pool = ThreadPool(1)
        variable.set("ours")
        assert offload(change, "theirs") == "ours"
        assert variable.get() == "ours", "a copy"
        assert pool.apply(change, ("theirs",)) == "ours"
        result = pool.spawn(change, "theirs")
        variable.set("later")
        assert result.get() == "ours"
        assert spawn(pool.apply, change, ("x",)).get() == "later"


class Failures:
    """What is told of failures that nobody received."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, BaseException]] = []

    @hookimpl
    def coop_task_failed(self, task: Any, error: BaseException) -> bool:
        self.told.append((task, error))
        return True


@pytest.fixture
def failures() -> Iterator[Failures]:
    made = Failures()
    manager = plugins().manager
    manager.register(made, "failures")
    yield made
    manager.unregister(made)


def bad() -> None:
    raise ZeroDivisionError("on purpose")


def test_invariant_6_a_failure_that_nobody_receives_is_reported(on: Run, failures: Failures) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        pool.spawn(bad)
        assert pool.join(timeout=5)
        until(lambda: bool(failures.told))

    ((view, error),) = failures.told
    assert isinstance(error, ZeroDivisionError)
    assert traceback.extract_tb(error.__traceback__)[-1].name == "bad"
    assert view.name == "bad in a thread"
    assert "test_threadpool_pool.py" in view.spawned_at and view.spawned_at.endswith("body")


def test_invariant_6_one_that_is_received_is_not(on: Run, failures: Failures) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(2)
        for look in (lambda result: result.exception, lambda result: result.exc_info, lambda result: result.successful()):
            result = pool.spawn(bad)
            result.wait(timeout=5)
            look(result)
        with pytest.raises(ZeroDivisionError):
            pool.spawn(bad).get()
        late = pool.spawn(bad)
        with pytest.raises(Timeout):
            late.get(block=False)
        pool.join()
        assert late.ready()
        del late, result
        gc.collect()
        sleep(0.001)

    assert len(failures.told) == 1, "that of the one of which nothing was asked when it was ready"


def test_invariant_6_one_that_was_left_behind_is_not(on: Run, failures: Failures, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        waiting = spawn(pool.apply, gate, (ZeroDivisionError("late"),))
        gate.wait_for(1)
        waiting.kill()
        gate.open.set()
        assert pool.join(timeout=5)

    gc.collect()
    assert failures.told == []


def test_invariant_7_the_end_of_a_hub_waits_for_no_job(on: Run, gate: Gate) -> None:
    made: list[ThreadPool] = []
    before = set(threading.enumerate())

    def body() -> None:
        pool = ThreadPool(1)
        made.append(pool)
        pool.spawn(gate, 0)
        pool.spawn(gate, 1)
        spawn(offload, gate, 2)
        spawn(pool.apply, gate, (3,))
        gate.wait_for(2)

    start = time.monotonic()
    with pytest.warns(coopcore.LeftBehindWarning, match="left 2 task"):
        on(body)
    assert time.monotonic() - start < 3
    gate.open.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert sorted(gate.entered) == [0, 2], "what was not begun is dropped"
    assert made[0].size == 0


def test_invariant_7_threads_end_with_the_hub_and_the_pool_serves_the_next(on: Run) -> None:
    pool = ThreadPool(2)
    before = set(threading.enumerate())
    for _ in range(2):
        assert on(lambda: pool.map(int, "123")) == [1, 2, 3]
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
        assert pool.size == 0


def test_invariant_7_a_thread_that_takes_a_job_in_the_moment_of_the_end(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(0)
        called: list[int] = []
        result = pool.spawn(called.append, 1)
        (job,) = pool._crew.drop()
        pool._hub_was_closed(get_hub())
        job.run()
        assert (called, result.ready()) == ([], False)


# -- many jobs ------------------------------------------------------------------------------------------------------------


def test_map_and_its_kin(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(3)
        numbers = [str(number) for number in range(20)]
        assert pool.map(int, numbers) == list(range(20))
        assert list(pool.imap(int, numbers)) == list(range(20))
        assert sorted(pool.imap_unordered(int, numbers, maxsize=2)) == list(range(20))
        assert list(pool.imap(pow, (1, 2, 3), (2, 2, 2))) == [1, 4, 9]
        told: list[Any] = []
        assert pool.map_cb(int, "12", told.append) == [1, 2]
        assert pool.map_async(int, "34", told.append).get() == [3, 4]
        assert pool.apply_cb(int, ("5",), callback=told.append) == 5
        assert pool.apply_async(int, ("6",), callback=told.append).get() == 6
        until(lambda: len(told) == 4)
        assert told == [[1, 2], [3, 4], 5, 6]
        assert pool.map(int, ()) == []


def test_map_raises_the_first_failure(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(2)
        with pytest.raises(ValueError, match="'x'"):
            pool.map(int, ["1", "x", "2", "y"])
        stream = pool.imap(int, ["1", "x", "3"])
        assert next(stream) == 1
        with pytest.raises(ValueError, match="'x'"):
            next(stream)
        assert next(stream) == 3


def test_imap_takes_no_more_items_than_there_are_places(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        taken: list[int] = []

        def endless() -> Iterator[int]:
            for number in range(1000):
                taken.append(number)
                yield number

        pool = ThreadPool(1)
        stream = pool.imap(gate, endless())
        gate.wait_for(1)
        sleep(0.001)
        assert len(taken) <= 4
        stream.kill()
        gate.open.set()
        assert list(stream) == list(range(len(gate.entered)))


def test_many_at_once_and_a_bound(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(4)
        assert sorted(task.get() for task in [spawn(pool.apply, pow, (number, 2)) for number in range(200)]) == [number**2 for number in range(200)]
        assert pool.size <= 4


# -- in a thread of the pool ----------------------------------------------------------------------------------------------


def test_apply_in_a_thread_of_the_pool_runs_right_there(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        assert pool.apply(lambda: pool.apply(threading.get_ident) == threading.get_ident())
        assert pool.apply(lambda: pool.map(int, "12")) == [1, 2]
        assert pool.apply(lambda: list(pool.imap(int, "12"))) == [1, 2]
        pool.apply(pool.kill)  # ends, and does not wait for itself
        until(lambda: pool.size == 0)


def test_a_job_may_use_coopcore_in_its_thread(on: Run) -> None:
    hubs: list[Any] = []

    def work() -> Any:
        hub = get_hub()
        hubs.append(weakref.ref(hub))
        hub.on_closed, closed = (lambda: (over.set(), closed and closed())), hub.on_closed  # type: ignore[func-returns-value]  # both are called
        task = spawn(sleep, 0.001)
        task.join()
        spawn(sleep, 60)  # left behind in that hub
        return hub.thread == threading.get_ident(), offload(threading.get_ident) != threading.get_ident()

    over = threading.Event()

    @on
    def body() -> None:
        pool = ThreadPool(1)
        assert pool.apply(work) == (True, True)
        assert pool.apply(lambda: get_hub() is hubs[0]()), "the same thread, and its hub"
        assert not over.is_set()
        pool.kill(timeout=5)
        until(over.is_set)  # its hub was closed

    gc.collect()


def test_what_belongs_to_the_task_cannot_be_used_in_a_thread(on: Run) -> None:
    @on
    def body() -> None:
        me = current_task()
        with pytest.raises(WrongThreadError):
            offload(me.join)
        with pytest.raises(WrongThreadError):
            offload(get_hub().call_soon, print)


def test_a_result_may_be_set_and_an_event_waited_for_in_a_thread(on: Run) -> None:
    @on
    def body() -> None:
        asked: AsyncResult[int] = AsyncResult()
        answered: AsyncResult[int] = AsyncResult()
        ThreadPool(1).spawn(lambda: answered.set(asked.get(timeout=5) + 1))
        asked.set(1)
        assert answered.get(timeout=5) == 2


# -- size and end ---------------------------------------------------------------------------------------------------------


def test_threads_expire(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(3, idle_task_timeout=0.005)
        assert min(pool.map(lambda _: pool.size, "123456")) > 0
        until(lambda: pool.size == 0)
        assert pool.apply(int, ("1",)) == 1


def test_maxsize_can_be_changed(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        results = [pool.spawn(gate, number) for number in range(2)]
        givers = [spawn(pool.spawn, gate, number) for number in (2, 3)]
        gate.wait_for(1)
        pool.maxsize = 3
        assert pool.maxsize == 3
        gate.wait_for(3)
        assert (pool.size, len(pool), pool.full()) == (3, 4, True)
        pool.maxsize = 1
        assert pool.full()
        gate.open.set()
        assert [giver.get(timeout=5).get(timeout=5) for giver in givers] == [2, 3]
        assert [result.get(timeout=5) for result in results] == [0, 1]
        until(lambda: pool.size == 1)
        assert (places(pool), len(pool)) == (2, 0)
        pool.maxsize = 2
        assert not pool.full() and pool.apply(int) == 0 and places(pool) == 3


def test_a_lower_maxsize_lets_in_nobody_until_jobs_are_done(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(3)
        for number in range(4):
            pool.spawn(gate, number)
        giver = spawn(pool.spawn, gate, 4)
        sleep(0)
        pool.maxsize = 1
        gate.wait_for(3)
        gate.open.set()
        assert giver.get(timeout=5).get(timeout=5) == 4
        assert pool.join(timeout=5)
        assert (places(pool), len(pool)) == (2, 0)


def test_size_can_be_set(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(3)
        pool.size = 2
        assert pool.size == 2
        pool.adjust()
        pool.size = 0
        until(lambda: pool.size == 0)
        for size in (-1, 4):
            with pytest.raises(ValueError, match="cannot be"):
                pool.size = size


@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), (1.5, TypeError), ("a", TypeError), (None, TypeError)])
def test_sizes_that_are_none(size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="number of threads"):
        ThreadPool(size)
    with pytest.raises(error, match="number of threads"):
        ThreadPool(1).maxsize = size


@pytest.mark.parametrize("idle", [-2, "a", float("nan")])
def test_spans_that_are_none(idle: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="idle_task_timeout"):
        ThreadPool(1, idle_task_timeout=idle)


def test_a_pool_without_threads_runs_nothing_until_it_may_have_some(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(0)
        result = pool.spawn(int, "1")
        with pytest.raises(Timeout):
            result.get(timeout=0.001)
        pool.maxsize = 1
        assert result.get(timeout=5) == 1


def test_join(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(2)
        assert pool.join()
        pool.spawn(gate)
        assert pool.join(timeout=0.001) is False
        joiners = [spawn(pool.join), spawn(pool.join)]
        sleep(0)
        assert joiners[0].waiting_on.startswith("the end of all jobs of <ThreadPool")
        joiners[0].kill()
        gate.open.set()
        assert joiners[1].get(timeout=5) is True


def test_kill_waits_for_what_was_given_and_the_pool_can_be_used_again(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        results = [pool.spawn(gate, number) for number in range(2)]
        pool.kill(block=False)
        pool.kill(timeout=0.001)
        assert pool.size == 1
        killer = spawn(pool.kill)
        sleep(0)
        killer.kill()
        killer = spawn(pool.kill)
        gate.wait_for(1)
        gate.open.set()
        killer.join(timeout=5)
        assert (killer.dead, pool.size) == (True, 0)
        assert [result.get(timeout=5) for result in results] == [0, 1]
        assert pool.apply(int) == 0
        pool.kill()
        pool.kill()
        assert pool.size == 0


def test_a_pool_that_is_dropped_lets_its_threads_end(on: Run) -> None:
    @on
    def body() -> None:
        before = set(threading.enumerate())
        pool = ThreadPool(2)
        result = pool.spawn(int, "3")
        del pool
        assert result.get(timeout=5) == 3
        until(lambda: set(threading.enumerate()) <= before)


def test_repr_and_len(on: Run) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(2)
        assert repr(pool) == f"<ThreadPool at {id(pool):#x} tasks=0 size=0 maxsize=2>"
        assert not pool


@pytest.mark.parametrize("seed", range(5))
def test_invariants_1_and_2_under_random_kills_and_timeouts(on: Run, seed: int) -> None:
    chance = random.Random(seed)
    begun: list[int] = []
    given: list[int] = []

    def job(number: int) -> int:
        begun.append(number)
        if number % 3 == 0:
            time.sleep(0.0002)
        return number

    def give(pool: ThreadPool, number: int) -> int | None:
        try:
            with Timeout(chance.choice([0.0001, 0.001, None, None]), False):
                if number % 2:
                    return pool.apply(job, (number,))
                result = pool.spawn(job, number)
                given.append(number)
                return result.get()
        finally:
            sleep(0)
        return None

    @on
    def body() -> None:
        pool = ThreadPool(2)
        tasks = []
        for number in range(150):
            tasks.append(spawn(give, pool, number))
            if chance.random() < 0.3:
                tasks[chance.randrange(len(tasks))].kill(block=False)
            if chance.random() < 0.2:
                pool.maxsize = chance.randrange(1, 4)
            if chance.random() < 0.3:
                sleep(chance.choice([0, 0.0005]))
        coopcore.joinall(tasks, timeout=20)
        assert all(task.value in (None, number) or isinstance(task.value, coopcore.TaskExit) for number, task in enumerate(tasks))
        assert pool.join(timeout=5)
        assert (places(pool), len(pool)) == (pool.maxsize + 1, 0)
        assert not get_hub()._promises
        assert [number for number in given if number not in begun] == [], "what was given is done"
        assert len(begun) == len(set(begun))
        assert pool.map(int, "12") == [1, 2]


def test_the_names_of_gevent() -> None:
    gevent = pytest.importorskip("gevent.threadpool")
    theirs = {name for name in dir(gevent.ThreadPool) if not name.startswith("_")}
    assert theirs - set(dir(ThreadPool)) == {"hub", "manager", "pid", "task_queue", "fork_watcher"}


# -- hubs, threads, forks -------------------------------------------------------------------------------------------------


def test_on_the_hub_nothing_waits(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        seen: list[Any] = []

        def callback() -> None:
            seen.append(pool.spawn(gate, 1))
            seen.append(pool.spawn(gate, 2))
            for call in (lambda: pool.spawn(gate), lambda: pool.apply(gate), lambda: offload(gate)):
                with pytest.raises(ParkInHubError):
                    call()
            pool.kill()
            seen.append("over")

        get_hub().call_soon(callback)
        until(lambda: len(seen) == 3)
        gate.open.set()
        assert [seen[0].get(timeout=5), seen[1].get(timeout=5)] == [1, 2]
        assert pool.join(timeout=5)
        assert places(pool) == 2
        assert gate.entered == [1, 2]


def test_a_pool_in_use_refuses_another_thread(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        pool.spawn(gate)

        def elsewhere() -> None:
            for call in (lambda: pool.spawn(int), pool.join, lambda: setattr(pool, "maxsize", 3)):
                with pytest.raises(WrongThreadError, match="it serves one hub at a time"):
                    call()

        offload(elsewhere)
        gate.open.set()
        assert pool.join(timeout=5)
        assert offload(lambda: pool.apply(int, ("7",))) == 7, "one that is not in use goes to the next who asks"
        assert pool.apply(int, ("8",)) == 8


def test_each_hub_has_a_shared_pool(on: Run) -> None:
    @on
    def body() -> None:
        mine = shared_pool()
        assert shared_pool() is mine
        assert mine.maxsize == 10
        assert offload(shared_pool) is not mine


def test_the_child_of_a_fork_has_threads_of_its_own(on: Run, gate: Gate) -> None:
    @on
    def body() -> None:
        pool = ThreadPool(1)
        results = [pool.spawn(gate, number) for number in range(2)]
        gate.wait_for(1)
        left, right = socket.socketpair()
        with left, right:
            child = os.fork()
            if not child:
                try:
                    said = [len(pool), pool.apply(int, ("5",)), offload(os.getpid) == os.getpid(), pool.size, results[0].ready()]
                    right.send(repr(said).encode())
                except BaseException as error:
                    right.send(repr(error).encode())
                finally:
                    os._exit(0)
            right.close()
            assert left.recv(1000).decode() == "[0, 5, True, 1, False]"
        os.waitpid(child, 0)
        gate.open.set()
        assert [result.get(timeout=5) for result in results] == [0, 1]


def test_a_hub_of_a_plain_script(gate: Gate) -> None:
    def script() -> list[Any]:
        gate.open.set()
        return [offload(gate, 1), ThreadPool(2).map(int, "12")]

    values: list[Any] = []
    thread = threading.Thread(target=lambda: values.extend(script()))
    thread.start()
    thread.join(10)
    assert values == [1, [1, 2]]


def test_a_signal_wakes_nobody_wrongly(on: Run) -> None:
    # A kill that comes with the outcome: the outcome was there first, and is returned.
    @on
    def body() -> None:
        pool = ThreadPool(1)
        for _ in range(20):
            task = spawn(pool.apply, int, ("4",))
            sleep(0)
            until(lambda: len(pool) == 0)
            task.kill(block=False)
            assert task.get(timeout=5) in (4, task.value)
        assert places(pool) == 2
