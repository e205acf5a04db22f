"""The invariants of ``coopcore._task``, and Task as gevent's users know it."""

from __future__ import annotations

import contextvars
import functools
import gc
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import GreenletExit, getcurrent
from seams.clock import JumpingClock

import coopcore
from coopcore import Hub, Task, TaskExit, Timeout, _hub, current_task, idle, joinall, killall, run, sleep, spawn, spawn_later
from coopcore.errors import JoinSelfError
from coopcore.lowlevel import ParkingLot, current_hub, on_hub, park, promise, unpark


def nothing() -> None:
    pass


class NoTracer:
    """Told of everything, and does nothing."""

    def task_spawned(self, task: Any) -> None: ...
    def task_started(self, task: Any) -> None: ...
    def task_parked(self, task: Any) -> None: ...
    def task_unparked(self, task: Any) -> None: ...
    def task_exited(self, task: Any) -> None: ...
    def task_failed(self, task: Any, error: BaseException) -> None: ...


def fail() -> None:
    raise ValueError("on purpose")


# -- 1: called at most once, never after a kill --------------------------------------------------------------------------


def test_invariant_1_a_function_is_called_once() -> None:
    calls = []

    def main() -> None:
        task = Task(calls.append, 1)
        task.start()
        task.start()
        task.join(timeout=5)
        task.start()
        sleep(0)

    run(main)
    assert calls == [1]


@pytest.mark.parametrize("when", ["new", "scheduled", "delayed"])
def test_invariant_1_never_after_a_kill_of_an_unstarted_task(when: str) -> None:
    calls: list[int] = []
    linked: list[Any] = []

    def main() -> None:
        task = Task(calls.append, 1)
        task.rawlink(linked.append)
        if when == "scheduled":
            task.start()
        elif when == "delayed":
            task.start_later(0.002)
        task.kill(timeout=5)
        assert task.dead and task.ready() and task.successful() and not task
        assert isinstance(task.get(), TaskExit) and isinstance(task.value, TaskExit)
        task.start()
        sleep(0.005)
        assert linked == [task]

    run(main)
    assert calls == []


# -- 2: ends once ---------------------------------------------------------------------------------------------------------


def test_invariant_2_a_task_ends_once() -> None:
    def main() -> None:
        task = spawn(lambda: 7)
        assert task.get(timeout=5) == 7
        task.kill()
        task.kill(KeyError)
        assert task.get() == 7 and task.value == 7 and task.exception is None

    run(main)


def test_kill_at_each_stage() -> None:
    def main() -> None:
        ready = spawn(lambda: [sleep(0) for _ in range(1000)])
        parked = spawn(park, "x")
        sleep(0)
        assert (ready.state, parked.state) == ("ready", "parked")
        for task in (ready, parked):
            task.kill(timeout=5)
            assert isinstance(task.value, TaskExit) and task.successful()

        def suicide() -> str:
            current_task().kill()
            return "not reached"

        assert isinstance(spawn(suicide).get(timeout=5), TaskExit)

    run(main)


def test_kill_with_another_exception_and_forms_of_it() -> None:
    def main() -> None:
        for form in (KeyError, KeyError("x"), (KeyError, KeyError("x"), None), (KeyError, None, None), (KeyError,)):
            task = spawn(park, "x")
            sleep(0)
            task.kill(form, timeout=5)
            assert isinstance(task.exception, KeyError)
            assert not task.successful()
        with pytest.raises(TypeError, match="an exception class or instance is needed"):
            spawn(nothing).kill("now")  # type: ignore[arg-type]  # bad input
        unstarted = Task(nothing)
        unstarted.kill(KeyError("never"))
        with pytest.raises(KeyError, match="never"):
            unstarted.get()

    run(main)


def test_kill_waits_unless_told_not_to() -> None:
    ended = []

    def slow() -> None:
        try:
            park("x")
        finally:
            sleep(0.002)
            ended.append(1)

    def main() -> None:
        task = spawn(slow)
        sleep(0)
        task.kill(block=False)
        assert not ended and not task.dead
        task.join(timeout=5)
        assert ended == [1]
        task = spawn(slow)
        sleep(0)
        task.kill(timeout=0.0001)
        assert not task.dead
        task.kill()
        assert task.dead

    run(main, clock=JumpingClock())


# -- 3: links ---------------------------------------------------------------------------------------------------------------


def test_invariant_3_links_come_in_order_once_and_after_what_was_ready(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def bad(task: Task[None]) -> None:
        order.append("bad")
        raise KeyError("link")

    def main() -> None:
        task = spawn(lambda: order.append("task"))
        task.rawlink(lambda t: order.append(f"1 {on_hub()}"))
        task.rawlink(bad)
        task.rawlink(lambda t: order.append("2"))
        spawn(lambda: order.append("was ready"))
        sleep(0)
        sleep(0)
        task.rawlink(lambda t: order.append("late"))
        sleep(0)
        assert order == ["task", "was ready", "1 True", "bad", "2", "late"]

    run(main)
    assert "KeyError: 'link'" in capsys.readouterr().err


def test_a_task_in_its_last_turn_is_joined_after_its_links() -> None:
    order: list[str] = []

    def main() -> None:
        task = spawn(nothing)
        task.rawlink(lambda t: order.append("link"))
        task.join(timeout=5)
        order.append("joined")

    run(main)
    assert order == ["link", "joined"]


def test_link_runs_in_a_task_and_may_wait() -> None:
    seen: list[Any] = []

    def follow(task: Task[int]) -> None:
        sleep(0.001)
        seen.append((task.value, current_task() is not task))

    def main() -> None:
        task = spawn(lambda: 3)
        task.link(follow)
        task.link_value(lambda t: seen.append("value"))
        task.link_exception(lambda t: seen.append("exception"))
        coopcore.wait(timeout=5)

    run(main)
    assert seen == ["value", (3, True)]


def test_link_exception_takes_charge_of_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def main() -> None:
        task = spawn(fail)
        task.link_exception(lambda t: seen.append(str(t.exception)))
        task.link_value(lambda t: seen.append("value"))
        coopcore.wait(timeout=5)

    run(main)
    assert seen == ["on purpose"]
    assert capsys.readouterr().err == ""


def test_unlink() -> None:
    seen: list[int] = []

    def callback(task: Task[None]) -> None:
        seen.append(1)

    def main() -> None:
        task = spawn(nothing)
        assert not task.has_links()
        task.rawlink(callback)
        task.link(callback)
        assert task.has_links()
        task.unlink(callback)
        task.unlink(callback)
        task.unlink(callback)
        assert not task.has_links()
        task.link(callback)
        task.rawlink(callback)
        joiner = spawn(task.join)
        task.unlink_all()
        joiner.join(timeout=5)
        for bad in (None, 3):
            with pytest.raises(TypeError, match="a link must be callable"):
                task.rawlink(bad)  # type: ignore[arg-type]  # bad input
            with pytest.raises(TypeError, match="a link must be callable"):
                task.link(bad)  # type: ignore[arg-type]  # bad input

    run(main)
    assert seen == []


# -- 4, 5: workers ----------------------------------------------------------------------------------------------------------


class Thing:
    pass


def test_invariant_4_an_idle_worker_holds_no_task_value_or_error() -> None:
    def main() -> None:
        def make() -> Thing:
            return Thing()

        def make_and_fail(thing: Thing) -> None:
            raise ValueError(thing)

        task = spawn(make)
        value = weakref.ref(task.get(timeout=5))
        gone = weakref.ref(task)
        thing = Thing()
        failed = spawn(make_and_fail, thing)
        failed.join(timeout=5)
        argument, error = weakref.ref(thing), weakref.ref(failed)
        del task, thing, failed
        sleep(0)
        gc.collect()
        assert current_hub()._idle
        assert [ref() for ref in (value, gone, argument, error)] == [None] * 4

    run(main)


def test_invariant_4_idle_workers_that_nobody_needs_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "_KEPT_WORKERS", 5)
    monkeypatch.setattr(_hub, "_WINDOW", 10**12)  # longer than two waves take
    monkeypatch.setattr(_hub, "_MOST_DISMISSED", 7)

    def main() -> None:
        hub = current_hub()
        workers = set()

        def body() -> None:
            workers.add(id(getcurrent()))
            sleep(0.001)

        joinall([spawn(body) for _ in range(50)], timeout=20)
        assert len(hub._idle) == 50
        joinall([spawn(body) for _ in range(50)], timeout=20)
        assert len(workers) == len(hub._idle) == 50  # the second wave made none
        ended: list[int] = []
        dismiss = Hub._dismiss_workers
        monkeypatch.setattr(Hub, "_dismiss_workers", lambda hub, count: (ended.append(count), dismiss(hub, count)))
        monkeypatch.setattr(_hub, "_WINDOW", 20_000_000)
        while len(hub._idle) > 5:
            sleep(0.001)
        assert sum(ended) == 45 and max(ended) == 7, "at most seven in a pass"
        monkeypatch.undo()
        assert spawn(lambda: 4).get(timeout=5) == 4

    run(main)


def test_invariant_4_a_hub_that_sleeps_ends_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "_KEPT_WORKERS", 5)
    monkeypatch.setattr(_hub, "_WINDOW", 10_000_000)

    def main() -> None:
        hub = current_hub()
        woken = ParkingLot("the end of the idle workers")

        def watch() -> None:  # in a thread: the hub has no timer, and nothing to do
            while len(hub._idle) > 5:
                time.sleep(0.001)
            hub.call_soon_threadsafe(woken.unpark)

        joinall([spawn(sleep, 0.001) for _ in range(50)], timeout=20)
        thread = threading.Thread(target=watch)
        with promise("the watching thread"):
            thread.start()
            assert woken.park()
        thread.join()

    run(main)


def test_a_parked_stack_does_not_hold_the_task_that_it_started() -> None:
    for warm in (0, 3):

        def main(warm: int = warm) -> None:
            for _ in range(warm):
                spawn(nothing).join()
            gone = weakref.ref(spawn(Thing))
            sleep(0.001)  # parks this stack in the middle of starting the task
            assert gone() is None

        run(main)


@pytest.mark.parametrize("thrown", [GreenletExit, KeyError])
def test_invariant_5_a_worker_thrown_out_of_idleness_leaves_the_pool(thrown: type[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        hub = current_hub()
        joinall([spawn(sleep, 0) for _ in range(3)], timeout=5)
        worker = hub._idle[-1]
        hub._append(current_task())  # the throw leads to the hub, as the worker ends
        worker.throw(thrown)
        assert worker.dead and worker not in hub._idle
        assert spawn(lambda: 4).get(timeout=5) == 4

    run(main)
    assert ("was thrown into an idle worker" in capsys.readouterr().err) is (thrown is KeyError)


def test_finished_tasks_leave_their_greenlet_to_the_next() -> None:
    def main() -> None:
        greenlets = {id(spawn(getcurrent).get(timeout=5)) for _ in range(20)}
        assert len(greenlets) == 1

    run(main)


def test_recursion_depth_is_not_inherited() -> None:
    """Tasks that start tasks, 2,000 deep: each begins at the hub's depth."""
    depths = []

    def nest(n: int) -> None:
        if n:
            child = spawn(nest, n - 1)
            child.join()
        else:
            depths.append(n)

    run(nest, 2000)
    assert depths == [0]


# -- 6: the unstarted tasks, in order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [None, "a scheduler that chooses"])
def test_invariant_6_unstarted_tasks_begin_in_their_order_though_some_are_killed(scheduler: Any) -> None:
    class Chooses(deque[Any]):
        pass

    log: list[int] = []

    def main() -> None:
        tasks = [spawn(log.append, number) for number in range(8)]
        for victim in (0, 3, 4, 7):
            tasks[victim].kill(block=False)
        later = spawn(log.append, 8)
        sleep(0)
        assert log == [1, 2, 5, 6, 8] and later.ready()
        killed = [spawn(log.append, number) for number in range(3)]
        killall(killed)
        gone = weakref.ref(killed.pop())
        del killed
        sleep(0.001)  # a pass
        assert gone() is None and not current_hub()._unstarted

    run(main, scheduler=scheduler and Chooses())


def test_invariant_6_a_signal_handler_may_spawn_in_the_middle_of_a_spawn() -> None:
    log: list[str] = []

    class Unstarted(deque[Any]):
        def append(self, task: Any) -> None:
            super().append(task)
            if task.name == "ours":
                spawn(log.append, "the handler's")

    def main() -> None:
        current_hub()._unstarted = Unstarted()

        def ours() -> None:
            log.append("ours")
            sleep(0.001)
            log.append("ours goes on")

        task = Task(ours)
        spawned = spawn(ours)
        assert not task.started
        others = [spawn(log.append, number) for number in "12"]
        joinall([spawned, *others], timeout=5)
        assert sorted(log) == ["1", "2", "ours", "ours goes on"]

    run(main)


def test_invariant_6_a_worker_that_goes_on_passes_over_those_who_were_killed_before() -> None:
    def main() -> None:
        log: list[int] = []
        lot = ParkingLot("a wake")
        started = spawn(lot.park)
        sleep(0)
        killed = spawn(log.append, 1)
        killed.kill(block=False)
        lot.unpark()
        last = spawn(log.append, 2)  # behind the killed one and one that has begun
        last.join(timeout=5)
        assert log == [2] and started.dead and not current_hub()._unstarted

    run(main)


def test_invariant_6_a_signal_handler_that_raises_in_the_middle_of_a_spawn_loses_no_task() -> None:
    log: list[int] = []

    class Raises(deque[Any]):
        def append(self, task: Any) -> None:
            super().append(task)
            current_hub()._unstarted = deque(self)
            raise KeyError("from the handler")

    def main() -> None:
        spawn(log.append, 1)
        current_hub()._unstarted = Raises(current_hub()._unstarted)
        with pytest.raises(KeyError, match="from the handler"):
            spawn(log.append, 2)
        spawn(log.append, 3).join(timeout=5)
        assert log == [1, 2, 3]

    run(main)


def test_invariant_6_a_tracer_may_kill_what_it_is_told_of() -> None:
    class Tracer(NoTracer):
        def task_spawned(self, task: Any) -> None:
            if task.name == "doomed":
                task.kill(block=False)

    def main() -> None:
        log: list[int] = []
        doomed = Task(log.append, 1)
        doomed.name = "doomed"
        doomed.start()
        spawn(log.append, 2).join(timeout=5)
        assert log == [2] and doomed.dead

    run(main, tracers=[Tracer()])


def test_invariant_6_after_an_interrupted_switch_they_still_begin_in_their_order() -> None:
    log: list[int] = []

    def main() -> None:
        hub = current_hub()
        for number in range(3):
            spawn(log.append, number)
        lost = hub._ready.popleft()  # type: ignore[attr-defined]  # as a handler that raises between the two leaves it
        hub._unstarted.popleft()
        hub._recover(current_task())
        assert [*hub._ready][-1] is lost  # type: ignore[call-overload]  # the default scheduler is a deque
        sleep(0)
        assert log == [1, 2, 0]

    run(main)


# -- 7: failures ------------------------------------------------------------------------------------------------------------


def failures_of(main: Any, capsys: pytest.CaptureFixture[str]) -> int:
    run(main)
    return capsys.readouterr().err.count("ValueError: on purpose")


def test_invariant_7_a_failure_that_nobody_receives_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        spawn(fail)
        sleep(0.001)

    run(main)
    err = capsys.readouterr().err
    assert err.count("ValueError: on purpose") == 1
    assert "Task 'fail-" in err and "test_task.py:" in err and "nobody joined it" in err
    assert "_task.py" not in err.replace("test_task.py", "")


def test_invariant_7_one_that_is_still_held_is_reported_when_the_hub_closes(capsys: pytest.CaptureFixture[str]) -> None:
    held = []

    def main() -> None:
        held.append(spawn(fail))
        sleep(0.001)

    assert failures_of(main, capsys) == 1
    del held[:]
    gc.collect()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "receive",
    [
        lambda task: task.join(),
        lambda task: pytest.raises(ValueError, task.get),
        lambda task: (sleep(0.001), task.exception),
        lambda task: (sleep(0.001), task.exc_info),
        lambda task: (sleep(0.001), task.successful()),
        lambda task: pytest.raises(ValueError, joinall, [task], raise_error=True),
        lambda task: (sleep(0.001), pytest.raises(ValueError, task.get)),
    ],
    ids=["join", "get", "exception", "exc_info", "successful", "joinall", "get later"],
)
def test_a_failure_that_somebody_received_is_not_reported(receive: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures_of(lambda: receive(spawn(fail)), capsys) == 0


def test_joinall_without_raise_error_and_kill_receive_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def stubborn() -> None:
        try:
            park("x")
        finally:
            fail()

    def main() -> None:
        joinall([spawn(fail)], timeout=5)
        task = spawn(stubborn)
        sleep(0)
        task.kill(timeout=5)

    assert failures_of(main, capsys) == 2


def test_failed_tells_without_receiving(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        task = spawn(fail)
        sleep(0.001)
        assert task.failed and not spawn(nothing).failed

    assert failures_of(main, capsys) == 1


def test_get_raises_the_error_with_the_traceback_of_the_task_each_time() -> None:
    def main() -> None:
        task = spawn(fail)
        lengths = []
        for _ in range(3):
            with pytest.raises(ValueError, match="on purpose") as caught:
                task.get(timeout=5)
            lengths.append(len(caught.traceback))
        assert len(set(lengths)) == 1
        assert caught.traceback[-1].name == "fail"

    run(main)


def test_interrupts_and_exits_of_a_task_reach_the_main_task() -> None:
    for kind in (KeyboardInterrupt, SystemExit):

        def body(kind: type[BaseException] = kind) -> None:
            raise kind

        def main() -> None:
            spawn(body)
            park("for ever", timeout=20)

        with pytest.raises(kind):
            run(main)


# -- waiting, values and what is known ----------------------------------------------------------------------------------------


def test_join_and_get() -> None:
    def main() -> None:
        task = spawn(park, "x")
        assert task.join(0.001) is False
        with pytest.raises(Timeout, match="has not ended"):
            task.get(block=False)
        with pytest.raises(Timeout, match=r"0.001 seconds: .* has not ended"):
            task.get(timeout=0.001)
        assert task.value is None and task.exc_info == (None, None, None) and not task.ready()
        joiners = [spawn(task.get) for _ in range(3)]
        sleep(0)
        unpark(task, "value")
        assert [joiner.get(timeout=5) for joiner in joiners] == ["value"] * 3
        assert task.join() is True

    run(main)


def test_a_killed_joiner_is_forgotten() -> None:
    def main() -> None:
        task = spawn(park, "x")
        joiners = [spawn(task.join) for _ in range(3)]
        sleep(0)
        joiners[1].kill(timeout=5)
        unpark(task)
        joinall([joiners[0], joiners[2]], timeout=5)
        assert joiners[0].value and joiners[2].value

    run(main)


def test_joining_oneself_is_refused() -> None:
    with pytest.raises(JoinSelfError, match="tried to join itself"):
        run(lambda: current_task().join())


def test_with_a_task() -> None:
    def main() -> None:
        with spawn(sleep, 0.001) as task:
            pass
        assert task.ready() and task.value is None
        with pytest.raises(KeyError), spawn(park, "x") as task:
            raise KeyError
        assert isinstance(task.value, TaskExit)

    run(main)


def test_subclasses_override_run() -> None:
    class Adder(Task[int]):
        def _run(self, a: int, b: int = 0) -> int:
            return a + b + self.extra

        extra = 10

    def main() -> None:
        task = Adder(None, 1, b=2)
        task.start()
        assert task.get(timeout=5) == 13
        with pytest.raises(TypeError, match="needs a function to call, or a _run method"):
            task2: Task[Any] = Task()
            task2.start()
            task2.get(timeout=5)

    run(main)


def test_start_later_and_spawn_later() -> None:
    order: list[int] = []

    def main() -> None:
        tasks = [spawn_later(0.006, order.append, 2), spawn_later(0.001, order.append, 1)]
        assert tasks[0].state == "new" and not tasks[0]
        joinall(tasks, timeout=5)

    run(main, clock=JumpingClock())
    assert order == [1, 2]
    with pytest.raises(ValueError, match="not negative"):
        run(spawn_later, -1, nothing)


def test_each_task_has_a_copy_of_the_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    def body() -> int:
        before = variable.get()
        variable.set(99)
        return before

    def main() -> None:
        variable.set(1)
        first = spawn(body)
        variable.set(2)
        assert first.get(timeout=5) == 1 and spawn(body).get(timeout=5) == 2
        assert variable.get() == 2

    run(main)


class _Base:
    def _wait(self) -> None:
        sleep(0)

    def _private(self) -> None:
        pass

    def fail(self) -> None:
        raise ZeroDivisionError

    @classmethod
    def make(cls) -> None:
        pass


class Derived(_Base):
    wait = _Base._wait


@pytest.mark.parametrize(
    ("label", "fn"),
    [
        ("Derived.wait", Derived().wait),
        ("_Base._wait", _Base()._wait),
        ("Derived._private", Derived()._private),
        ("Derived.fail", Derived().fail),
        ("Derived.make", Derived.make),
        ("list.append", [].append),
        ("nothing", nothing),
        ("Derived", Derived),
        ("partial", functools.partial(nothing)),
    ],
)
def test_a_method_is_named_after_the_class_of_its_object(label: str, fn: Callable[..., object]) -> None:
    def main() -> None:
        task = spawn(fn)
        assert task.name == f"{label}-{task.ident}"
        joinall([task])
        assert task.name == f"{label}-{task.ident}", "after its end"
        killed = spawn(fn)
        killed.kill()
        assert killed.name == f"{label}-{killed.ident}"

    run(main)


def test_methods_of_primitives_are_named_as_users_know_them() -> None:
    from coop_plugins.event import Event
    from coop_plugins.pool import Pool
    from coop_plugins.queue import Queue

    def main() -> None:
        tasks = [spawn(Event().wait, 0.001), spawn(Queue().get, timeout=0.001), spawn(Pool().join)]
        assert [task.name.rpartition("-")[0] for task in tasks] == ["Event.wait", "Queue.get", "Pool.join"]
        joinall(tasks)
        assert [task.name.rpartition("-")[0] for task in tasks] == ["Event.wait", "Queue.get", "Pool.join"]
        assert isinstance(tasks[1].exception, queue.Empty)

    run(main)


def test_names_places_and_parents() -> None:
    def main() -> None:
        task = spawn(nothing)
        assert task.name == f"nothing-{task.ident}"
        assert task.parent is current_task() and task.parent_ident == current_task().ident
        assert "test_task.py:" in task.spawned_at and "test_names_places_and_parents.<locals>.main" in task.spawned_at
        assert (task.args, task.kwargs, task.state, bool(task), task.started) == ((), {}, "ready", True, True)
        task.name = "renamed"
        assert repr(task) == "<Task 'renamed' ready>"
        with pytest.raises(TypeError, match="the name of a task is a string"):
            task.name = 3  # type: ignore[assignment]  # bad input
        task.join(timeout=5)
        assert (task.name, task.state, task.parent is None) == ("renamed", "done", False)
        other = spawn(lambda a, b: park("x"), 1, b=2)
        sleep(0)
        assert (other.args, other.kwargs, other.waiting_on) == ((1,), {"b": 2}, "'x'")
        assert repr(other).endswith("parked on 'x'>")
        other.kill(timeout=5)
        assert other.args == () and other.kwargs == {} and other.waiting_on == ""
        child = spawn(spawn, nothing).get(timeout=5)
        assert child.parent is None

    run(main)


def test_the_line_is_that_of_the_call() -> None:
    def main() -> None:
        task = spawn(nothing)
        line = int(task.spawned_at.rpartition(":")[2].split()[0])
        assert line == main.__code__.co_firstlineno + 1

    run(main)


@pytest.mark.parametrize("bad", [3, "name", [], nothing()])  # type: ignore[func-returns-value]  # a common mistake
def test_what_cannot_be_called_is_refused(bad: Any) -> None:
    if bad is None:
        with pytest.raises(TypeError, match="needs a function"):
            run(lambda: spawn(bad).get(timeout=5))
    else:
        with pytest.raises(TypeError, match="a task needs a function to call"):
            run(lambda: spawn(bad))


def test_idents_are_never_used_again() -> None:
    def main() -> None:
        idents = [spawn(nothing).ident for _ in range(100)]
        assert len(set(idents)) == 100

    run(main)


def test_a_foreign_greenlet_is_a_task_too() -> None:
    from greenlet import greenlet

    def main() -> None:
        seen = []

        def foreign() -> None:
            seen.append(current_task())
            sleep(0.001)
            seen.append(current_task())

        stranger = greenlet(foreign)
        stranger.switch()
        while not stranger.dead:
            sleep(0.001)
        assert seen[0] is seen[1] and seen[0].name.startswith("greenlet-")

    run(main)


def test_a_joiner_that_gives_up_receives_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def late() -> None:
        park("its cue")
        fail()

    def main() -> None:
        task = spawn(late)
        assert not task.join(timeout=0.001)
        with pytest.raises(TypeError):
            task.join(timeout="3")  # type: ignore[arg-type]  # bad input
        killed = spawn(task.join)
        sleep(0)
        killed.kill(timeout=5)
        assert not task.successful()  # asked while it runs
        unpark(task)
        del task, killed
        sleep(0.001)

    assert failures_of(main, capsys) == 1


def test_an_async_function_is_refused() -> None:
    async def coroutine() -> None:
        pass

    def main() -> None:
        with pytest.raises(TypeError, match="was given an async function"):
            spawn(coroutine).get(timeout=5)

    run(main)


def test_the_repr_of_a_failed_task_says_so() -> None:
    def main() -> None:
        task = spawn(fail)
        task.join(timeout=5)
        assert repr(task).endswith("failed: ValueError('on purpose')>")

    run(main)


def test_a_wait_for_a_task_that_was_never_started_says_so() -> None:
    with pytest.raises(coopcore.Deadlock, match="which was never started"):
        run(lambda: Task(nothing).get())


def test_a_task_that_is_started_before_its_delay_is_over_is_not_touched_by_the_timer() -> None:
    def main() -> None:
        woken: list[Any] = []
        task = spawn_later(0.002, lambda: woken.append(park("x", timeout=5)))
        task.start()
        sleep(0.006)
        assert task.state == "parked" and not woken
        unpark(task, "value")
        task.join(timeout=5)
        assert woken == ["value"]

    run(main)


def test_a_link_may_unlink_those_that_come_after_it() -> None:
    seen: list[str] = []

    def main() -> None:
        def second(task: Task[Any]) -> None:
            seen.append("second")

        def first(task: Task[Any]) -> None:
            seen.append("first")
            task.unlink(second)
            task.rawlink(third)

        def third(task: Task[Any]) -> None:
            seen.append("third")

        task = spawn(nothing)
        task.rawlink(first)
        task.rawlink(second)
        task.join(timeout=5)
        sleep(0)

    run(main)
    assert seen == ["first", "third"]


def test_unlink_all_leaves_who_waits() -> None:
    def main() -> None:
        task = spawn(sleep, 0.002)
        waiter = spawn(joinall, [task])
        sleep(0)
        task.unlink_all()
        assert waiter.get(timeout=5) == [task]

    run(main)


def test_a_callable_without_a_readable_name() -> None:
    class Proxy:
        def __call__(self) -> int:
            return 3

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("not bound")

    def main() -> None:
        task = spawn(Proxy())
        assert task.get(timeout=5) == 3 and task.name.startswith("Proxy-")

    run(main)


def test_a_link_has_the_context_of_whoever_linked_and_callbacks_share_none() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    def main() -> None:
        hub = current_hub()
        hub.call_soon(variable.set, "by a callback")
        sleep(0)
        hub.call_soon(lambda: seen.append(variable.get()))
        sleep(0)
        task = spawn(nothing)
        variable.set("mine")
        task.link(lambda t: seen.append(variable.get()))
        coopcore.wait(timeout=5)

    run(main)
    assert seen == ["unset", "mine"]


def test_what_is_told_of_a_failed_task_says_what_it_is() -> None:
    def main() -> str:
        task = spawn(fail)
        task.join()
        assert isinstance(task.exception, ValueError)
        return repr(task._extras.failure.view)

    assert run(main).startswith("<TaskRecord 'fail-") and run(main).endswith("' done>")


def test_a_task_does_not_start_in_the_past() -> None:
    with pytest.raises(ValueError, match=r"cannot start a task after -1 seconds: .* Use max\(0, \.\.\.\)"):
        run(lambda: Task(nothing).start_later(-1))


def test_the_context_of_a_task_is_a_copy_of_its_makers_until_it_ends() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")

    def body() -> None:
        var.set("own")
        sleep(0)

    def main() -> None:
        var.set("maker's")
        task = spawn(body)
        assert task.context is not None and task.context[var] == "maker's"
        sleep(0)
        assert task.context is not None and task.context[var] == "own"
        task.join()
        assert task.context is None and var.get() == "maker's"

    run(main)


def test_links_that_come_between_the_end_and_the_delivery_come_last() -> None:
    def main() -> None:
        out: list[str] = []
        task = spawn(nothing)
        task.rawlink(lambda _: out.append("a"))
        task.rawlink(lambda _: out.append("b"))
        spawn(lambda: task.rawlink(lambda _: out.append("c")))
        idle()
        assert out == ["a", "b", "c"]

    run(main)


def test_who_gives_up_a_join_takes_back_nobody_elses_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        failing = spawn(lambda: (sleep(0), fail()))
        failing.rawlink(lambda _: None)
        joiner = spawn(failing.join)

        def look() -> None:
            while not failing.dead:
                sleep(0)
            assert isinstance(failing.exception, ValueError)
            joiner.kill(block=False)

        spawn(look).join(timeout=5)
        sleep(0.001)

    run(main)
    gc.collect()
    assert capsys.readouterr().err == ""


def test_a_finaliser_of_what_a_task_held_may_ask_for_its_hub() -> None:
    class Owner:
        def __del__(self) -> None:
            seen.append(coopcore.get_hub())

    seen: list[Any] = []

    def main() -> None:
        spawn(lambda owner: None, Owner()).join(timeout=5)
        idle()
        assert seen == [current_hub()]

    run(main)


def test_the_error_is_nobodys_again_when_its_only_joiner_gives_up_before_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        failing = spawn(lambda: (sleep(0), fail()))
        failing.rawlink(lambda _: None)
        joiner = spawn(failing.join)

        def kill_it() -> None:
            while not failing.dead:
                sleep(0)
            joiner.kill(block=False)

        spawn(kill_it).join(timeout=5)
        sleep(0.001)

    run(main)
    gc.collect()
    assert capsys.readouterr().err.count("ValueError: on purpose") == 1


@pytest.mark.parametrize("clock", [None, JumpingClock()], ids=["real", "another"])
def test_how_long_a_task_has_waited_on_the_real_clock(clock: Any) -> None:
    def main() -> None:
        task = spawn(sleep, 3600)
        assert task.waited is None
        for _ in range(3):
            sleep(0.01)
        began = time.monotonic()
        waited = task.waited
        if clock is None:
            assert waited is not None
            assert 0.01 <= waited <= 1000 + time.monotonic() - began
        else:
            assert waited is None
        task.kill()
        assert task.waited is None

    run(main, clock=clock)
