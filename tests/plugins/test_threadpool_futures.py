"""Executors of threads and of processes: their futures park tasks, and are standard ones for everybody else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import math
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins import threadpool
from coop_plugins.threadpool import Future, ProcessPoolExecutor, ThreadPoolExecutor, await_future
from coopcore import Deadlock, Timeout, get_hub, sleep, spawn

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    made = ThreadPoolExecutor(2)
    yield made
    made.shutdown(wait=False)


def until(true: Callable[[], bool]) -> None:
    """In a task: what threads do by themselves tells nobody."""
    with Timeout(10):
        while not true():
            sleep(0.0005)


def bad() -> None:
    raise ZeroDivisionError("on purpose")


# -- futures --------------------------------------------------------------------------------------------------------------


def test_invariant_1_a_result_parks_the_task(on: Run, threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    @on
    def body() -> None:
        future = threads.submit(gate.wait, 10)
        assert isinstance(future, concurrent.futures.Future)
        waiting = spawn(future.result)
        sleep(0)
        assert waiting.state == "parked"
        assert future.running() or not future.done()
        gate.set()
        assert waiting.get(timeout=5) is True
        assert future.done() and future.result() is True and future.exception() is None


def test_invariant_1_errors_and_their_tracebacks(on: Run, threads: ThreadPoolExecutor) -> None:
    @on
    def body() -> None:
        future = threads.submit(bad)
        with pytest.raises(ZeroDivisionError, match="on purpose") as caught:
            future.result()
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "bad"
        assert isinstance(threads.submit(bad).exception(), ZeroDivisionError)
        with pytest.raises(SystemExit):
            threads.submit(operator.call, exit).result()


def test_invariant_1_any_future_can_be_awaited(on: Run, gate: threading.Event) -> None:
    @on
    def body() -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as standard:
            waiting = spawn(await_future, standard.submit(gate.wait, 10))
            sleep(0)
            assert waiting.state == "parked"
            gate.set()
            assert waiting.get(timeout=5) is True
            assert await_future(standard.submit(int, "3")) == 3
            with pytest.raises(ZeroDivisionError):
                await_future(standard.submit(bad))


def test_timeouts_and_kills_end_the_wait_only(on: Run, threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    @on
    def body() -> None:
        future = threads.submit(gate.wait, 10)
        for wait in (future.result, future.exception, lambda timeout: await_future(future, timeout)):
            with pytest.raises(TimeoutError, match="was not done in time"):
                wait(0.001)
            with pytest.raises(TimeoutError):
                wait(0)
        with pytest.raises(Timeout), Timeout(0.001):
            future.result()
        waiting = spawn(future.result)
        sleep(0)
        waiting.kill()
        assert waiting.dead and not future.done()
        gate.set()
        assert future.result(timeout=5) is True
        until(lambda: not get_hub()._promises)


def test_invariant_2_work_is_no_deadlock(on: Run, threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    @on
    def body() -> None:
        told = threadpool.ThreadResult(get_hub(), "told", None)
        threading.Timer(0.02, gate.set).start()
        threads.submit(gate.wait, 10).add_done_callback(lambda future: told.set(future.result()))
        assert [promise.what for promise in get_hub()._promises.values()] == ["Event.wait in a thread of an executor"]
        assert told.get() is True
        until(lambda: not get_hub()._promises)
        with pytest.raises(Deadlock):
            coopcore.lowlevel.park("nothing")


def test_invariant_2_a_future_of_nobody_is_waited_for(on: Run) -> None:
    @on
    def body() -> None:
        future: concurrent.futures.Future[int] = concurrent.futures.Future()
        threading.Timer(0.02, future.set_result, (3,)).start()
        assert await_future(future) == 3


def test_invariant_3_in_order_and_cancelled_ones_never(on: Run, gate: threading.Event) -> None:
    @on
    def body() -> None:
        with ThreadPoolExecutor(1) as executor:
            begun: list[int] = []
            held = executor.submit(gate.wait, 10)
            futures = [executor.submit(begun.append, number) for number in range(10)]
            assert futures[4].cancel() and futures[4].cancelled()
            assert futures[4].cancel()
            with pytest.raises(concurrent.futures.CancelledError):
                futures[4].result()
            until(held.running)
            assert not held.cancel()
            gate.set()
        assert begun == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        until(lambda: not get_hub()._promises)


def test_invariant_4_after_the_end(on: Run, gate: threading.Event) -> None:
    @on
    def body() -> None:
        executor = ThreadPoolExecutor(1)
        held = executor.submit(gate.wait, 10)
        later = executor.submit(int, "1")
        ending = spawn(executor.shutdown)
        sleep(0)
        assert ending.waiting_on
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            executor.submit(int)
        gate.set()
        assert ending.join(timeout=5)
        assert held.done() and later.result() == 1
        executor.shutdown()


def test_invariant_4_what_is_not_begun_can_be_cancelled_at_the_end(on: Run, gate: threading.Event) -> None:
    @on
    def body() -> None:
        executor = ThreadPoolExecutor(1)
        held = executor.submit(gate.wait, 10)
        until(held.running)
        later = executor.submit(int, "1")
        executor.shutdown(wait=False, cancel_futures=True)
        assert later.cancelled() and not held.done()
        assert concurrent.futures.wait([later]).done == {later}
        gate.set()
        assert held.result(timeout=5)
        until(lambda: not get_hub()._promises)


def test_invariant_5_callbacks_run_in_tasks(on: Run, threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    @on
    def body() -> None:
        called: list[Any] = []

        def callback(future: Any) -> None:
            sleep(0)  # it may wait
            called.append((future, threading.get_ident(), coopcore.current_task().hub is get_hub()))

        future = threads.submit(gate.wait, 10)
        future.add_done_callback(callback)
        gate.set()
        until(lambda: bool(called))
        future.add_done_callback(lambda future: called.append("at once"))
        assert called == [(future, threading.get_ident(), True), "at once"]


def test_invariant_5_without_a_hub_in_the_thread(gate: threading.Event) -> None:
    executor = ThreadPoolExecutor(1)
    called: list[Any] = []

    def no_hub() -> None:
        future = executor.submit(gate.wait, 10)
        future.add_done_callback(lambda _: called.append(threading.get_ident()))

    thread = threading.Thread(target=no_hub)
    thread.start()
    thread.join(10)

    def ended_hub() -> None:
        executor.submit(gate.wait, 10).add_done_callback(lambda _: called.append(threading.get_ident()))

    coopcore.run(ended_hub)
    gate.set()
    executor.shutdown()
    assert len(called) == 2 and threading.get_ident() not in called


def test_the_functions_of_the_standard_module_work(on: Run, threads: ThreadPoolExecutor) -> None:
    @on
    def body() -> None:
        futures = [threads.submit(pow, number, 2) for number in range(5)]
        assert concurrent.futures.wait(futures).not_done == set()
        assert sorted(future.result() for future in concurrent.futures.as_completed(futures)) == [0, 1, 4, 9, 16]


def test_they_can_be_waited_for_with_other_things(on: Run, threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    @on
    def body() -> None:
        held, quick = threads.submit(gate.wait, 10), threads.submit(int, "1")
        assert coopcore.wait([held, quick], count=1, timeout=5) == [quick]
        assert coopcore.wait([held], timeout=0.001) == []
        assert held._links.count(None) == len(held._links), "every link is undone"
        called: list[Any] = []
        held.rawlink(called.append)
        held.rawlink(lambda future: called.append("other"))
        held.unlink(called.append)
        held.unlink(print)
        gate.set()
        until(lambda: called == ["other"])


def test_a_link_of_a_hub_that_has_ended(threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    made: list[Future[bool]] = []

    def body() -> None:
        made.append(threads.submit(gate.wait, 10))
        made[0].rawlink(print)

    coopcore.run(body)
    gate.set()
    threads.shutdown()
    assert made[0].done()


def test_a_failure_leaves_no_cycle(on: Run, threads: ThreadPoolExecutor) -> None:
    class Marked(Exception):
        pass

    def fail(thing: object) -> None:
        raise Marked

    @on
    def body() -> None:
        thing = threading.Event()
        gone = weakref.ref(thing)
        gc.disable()
        try:
            try:
                threads.submit(fail, thing).result()
            except Marked:
                del thing
            until(lambda: gone() is None)
        finally:
            gc.enable()


# -- threads --------------------------------------------------------------------------------------------------------------


def test_map(on: Run, threads: ThreadPoolExecutor, gate: threading.Event) -> None:
    @on
    def body() -> None:
        assert list(threads.map(pow, range(10), [2] * 10)) == [number**2 for number in range(10)]
        with pytest.raises(ValueError, match="'x'"):
            list(threads.map(int, ["1", "x"]))
        with pytest.raises(TimeoutError):
            list(threads.map(gate.wait, [10], timeout=0.001))


def test_the_context_is_carried_over(on: Run, threads: ThreadPoolExecutor) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    @on
    def body() -> None:
        variable.set(5)
        assert threads.submit(variable.get).result() == 5


def test_threads_have_names_and_an_initializer(on: Run) -> None:
    @on
    def body() -> None:
        prepared: list[int] = []
        with ThreadPoolExecutor(2, "worker", prepared.append, (7,)) as executor:
            assert executor.submit(lambda: threading.current_thread().name).result() == "worker-1"
        assert prepared == [7]


def test_an_initializer_that_fails_breaks_the_executor(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    @on
    def body() -> None:
        executor = ThreadPoolExecutor(1, initializer=bad)
        future = executor.submit(int)
        with pytest.raises(BrokenThreadPool, match="the initializer bad of a thread failed"):
            future.result(timeout=5)
        with pytest.raises(BrokenThreadPool):
            executor.submit(int)
        executor.shutdown()
        until(lambda: not get_hub()._promises)

    assert "Exception in initializer" in caplog.text


@pytest.mark.parametrize("workers", [0, -1])
def test_bad_arguments(workers: int) -> None:
    with pytest.raises(ValueError, match="max_workers is the greatest number of threads"):
        ThreadPoolExecutor(workers)
    with pytest.raises(TypeError, match="initializer is a function"):
        ThreadPoolExecutor(1, initializer=5)  # type: ignore[arg-type]  # that is the point


def test_the_default_number_of_threads() -> None:
    assert ThreadPoolExecutor()._crew.most == min(32, (os.cpu_count() or 1) + 4)


def test_no_thread_can_be_started(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    @on
    def body() -> None:
        monkeypatch.setattr("coop_plugins.threadpool._crew._start_thread", full)
        with pytest.raises(RuntimeError, match="new thread"):
            ThreadPoolExecutor(1).submit(int)
        assert not get_hub()._promises


def test_an_executor_that_is_dropped_lets_its_threads_end(on: Run) -> None:
    @on
    def body() -> None:
        before = set(threading.enumerate())
        assert ThreadPoolExecutor(1).submit(int, "3").result() == 3
        until(lambda: set(threading.enumerate()) <= before)


def test_shutdown_in_a_thread_of_its_own_does_not_wait_for_itself(on: Run) -> None:
    @on
    def body() -> None:
        executor = ThreadPoolExecutor(1)
        executor.submit(executor.kill).result(timeout=5)


def test_an_asyncio_loop_takes_them(threads: ThreadPoolExecutor) -> None:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(threads, int, "5")

    assert asyncio.run(main()) == 5


def test_a_missing_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        threadpool.Nothing


# -- processes ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_doors() -> Iterator[list[int]]:
    """Descriptors that are kept until no process waits any more."""
    made: list[int] = []
    yield made
    for fd in made:
        os.close(fd)


@pytest.fixture(scope="module")
def processes(open_doors: list[int]) -> Iterator[ProcessPoolExecutor]:
    made = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))
    yield made
    made.shutdown()


class Door:
    """A named pipe. A process that opens it for reading waits until it is let in."""

    def __init__(self, path: Path, open_doors: list[int]) -> None:
        os.mkfifo(path)
        self.path = path
        self.enter = os.open, path, os.O_RDONLY
        self._open_doors = open_doors

    def let_in(self) -> None:
        self._open_doors.append(os.open(self.path, os.O_RDWR))


@pytest.fixture
def door(open_doors: list[int], tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "door", open_doors)
    yield made
    made.let_in()


def test_a_process_does_it_while_other_tasks_run(on: Run, processes: ProcessPoolExecutor, door: Door) -> None:
    @on
    def body() -> None:
        ticks: list[int] = []

        def tick() -> None:
            while True:
                ticks.append(1)
                sleep(0.001)

        ticking = spawn(tick)
        assert processes.submit(os.getpid).result(timeout=20) != os.getpid()
        ticks.clear()
        spawn(lambda: (until(lambda: len(ticks) > 5), door.let_in()))
        assert processes.submit(*door.enter).result() > 0
        ticking.kill()


def test_invariant_1_errors_come_from_a_process(on: Run, processes: ProcessPoolExecutor) -> None:
    @on
    def body() -> None:
        future = processes.submit(math.sqrt, -1)
        with pytest.raises(ValueError, match="domain|nonnegative"):
            future.result()
        assert isinstance(future.exception(), ValueError)


def test_map_over_processes(on: Run, processes: ProcessPoolExecutor, door: Door) -> None:
    @on
    def body() -> None:
        for size in (1, 3, 100):
            assert list(processes.map(pow, range(10), [2] * 10, chunksize=size)) == [number**2 for number in range(10)]
        with pytest.raises(ValueError, match="chunksize"):
            processes.map(int, "1", chunksize=0)
        with pytest.raises(TimeoutError):
            list(processes.map(os.open, [door.path], [os.O_RDONLY], timeout=0.001))
        assert threadpool._futures._call_each(pow, [(2, 2), (3, 2)]) == [4, 9], "what is called in the process"


def test_invariant_3_a_cancelled_call(on: Run, processes: ProcessPoolExecutor, door: Door) -> None:
    @on
    def body() -> None:
        futures = [processes.submit(*door.enter) for _ in range(10)]
        assert futures[-1].cancel()
        assert futures[-1].cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            futures[-1].result()
        door.let_in()
        assert all(future.result() > 0 for future in futures[:-1])
        assert not futures[0].running() and not futures[0].cancel()
        until(lambda: not get_hub()._promises)


def test_timeout_and_kill_of_a_wait_for_a_process(on: Run, processes: ProcessPoolExecutor, door: Door) -> None:
    @on
    def body() -> None:
        future = processes.submit(*door.enter)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.001)
        waiting = spawn(future.result)
        sleep(0)
        waiting.kill()
        door.let_in()
        assert future.result() > 0


def test_invariant_4_a_broken_pool_says_so_and_shutdown_parks(on: Run) -> None:
    @on
    def body() -> None:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as executor:
            futures = [executor.submit(signal.raise_signal, signal.SIGKILL), executor.submit(int)]
            for future in futures:
                with pytest.raises(BrokenProcessPool):
                    future.result(timeout=30)
            with pytest.raises(BrokenProcessPool):
                executor.submit(int)
            ending = spawn(executor.shutdown)  # it parks, unless the pool's own thread has ended by then
            assert ending.join(timeout=30)
            executor.shutdown(wait=False)
        assert not [promise for promise in get_hub()._promises.values() if "process" in promise.what]


FORKED = """
import os
import coopcore
from coop_plugins.threadpool import ProcessPoolExecutor, offload

def child(count):
    coopcore.sleep(0.001)
    return [task.get() for task in [coopcore.spawn(pow, number, 2) for number in range(count)]], offload(os.getpid) == os.getpid()

def main():
    with ProcessPoolExecutor(2) as executor:
        print(executor.submit(child, 4).result(timeout=30), *executor.map(pow, [1, 2], [2, 2]))

coopcore.run(main)
"""


def test_processes_that_are_forked_may_use_coopcore() -> None:
    # In a program of its own, which has no threads when it forks.
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("([0, 1, 4, 9], True) 1 4\n", "")
