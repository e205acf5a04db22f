"""The invariants of ``coopcore._hub``; deadlocks, descriptors, promises, tracers, opening and closing."""

from __future__ import annotations

import errno
import gc
import os
import queue
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

import coopcore
from coop_plugins.backends.selectors import SelectorsBackend
from coopcore import Deadlock, Hub, LeftBehindWarning, Task, TaskExit, Timeout, _hub, current_task, get_hub, joinall, run, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, HubClosedError, HubError, InterfaceError, ParkInFinalizerError, WrongThreadError
from coopcore.lowlevel import (
    IdleThread,
    ParkingLot,
    TaskRecord,
    current_hub,
    make_hub,
    notify_closing,
    park,
    promise,
    throw_in,
    unpark,
    wait_readable,
    wait_writable,
    yield_now,
)

BACKENDS = ["epoll", "selectors"]
both = pytest.mark.parametrize("backend", BACKENDS)


class Recorder:
    """A tracer that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def task_spawned(self, task: Any) -> None:
        self.events.append(("spawned", task.name))

    def task_started(self, task: Any) -> None:
        self.events.append(("started", task.name))

    def task_parked(self, task: Any) -> None:
        self.events.append(("parked", f"{task.name} {task.waiting_on}"))

    def task_unparked(self, task: Any) -> None:
        self.events.append(("unparked", task.name))

    def task_exited(self, task: Any) -> None:
        self.events.append(("exited", task.name))

    def task_failed(self, task: Any, error: BaseException) -> None:
        self.events.append(("failed", f"{task.name} {error!r}"))


# -- 1: one greenlet polls ------------------------------------------------------------------------------------------------------


def test_invariant_1_only_the_hub_polls() -> None:
    pollers = set()

    class Watched(SelectorsBackend):
        def poll(self, timeout: int | None) -> Any:
            pollers.add(getcurrent())
            return super().poll(timeout)

    def main() -> None:
        joinall([spawn(sleep, 0.001) for _ in range(10)] + [spawn(sleep, 0) for _ in range(10)])
        assert pollers == {current_hub()._greenlet}

    run(main, backend=Watched())


# -- 2: the hub's own entry ------------------------------------------------------------------------------------------------------


def test_invariant_2_the_hub_is_in_ready_once_however_many_callbacks_wait() -> None:
    ran: list[int] = []

    def main() -> None:
        hub = current_hub()
        for n in range(5):
            hub.call_soon(ran.append, n)
        assert sum(entry is hub._callback_entry for entry in hub._ready) == 1
        sleep(0)
        assert ran == [0, 1, 2, 3, 4]

    run(main)


def test_callbacks_that_are_added_by_callbacks_wait_for_the_next_turn() -> None:
    order: list[str] = []

    def main() -> None:
        hub = current_hub()
        hub.call_soon(lambda: (order.append("first"), hub.call_soon(order.append, "third")))
        spawn(order.append, "second")
        sleep(0)
        sleep(0)

    run(main)
    assert order == ["first", "second", "third"]


# -- 3: deadlock -------------------------------------------------------------------------------------------------------------------


def test_invariant_3_a_deadlock_is_thrown_into_the_main_task() -> None:
    def main() -> str:
        try:
            park("nothing")
        except Deadlock as error:
            return str(error)
        return ""

    text = run(main)
    assert "1 task is parked" in text and "waits for 'nothing'" in text and "test_hub.py:" in text


def test_a_deadlock_without_a_run_reaches_the_main_greenlet() -> None:
    with pytest.raises(Deadlock, match="main waits for"):
        ParkingLot("what never comes").park()


def test_a_deadlock_reaches_the_root_if_the_main_task_cannot_take_it() -> None:
    hub = make_hub()
    previous = hub.enter()
    try:
        hub.main = spawn(sleep)
        hub.main.join()
        with pytest.raises(Deadlock):
            park("nothing")
    finally:
        hub.close()
        hub.leave(previous)


def test_deadlock_names_two_locks_their_owners_and_the_cycle() -> None:
    from coop_plugins.lock import Lock

    def main() -> None:
        a, b = Lock(), Lock()

        def take(first: Lock, second: Lock) -> None:
            with first:
                sleep(0)
                with second:
                    pass

        one, two = spawn(take, a, b), spawn(take, b, a)
        one.name, two.name = "one", "two"
        joinall([one, two])

    with pytest.raises(Deadlock) as caught:
        run(main)
    text = str(caught.value)
    assert "They wait for each other in a cycle:" in text
    assert "held by two" in text and "held by one" in text
    assert "one waits for" in text and "which is up to two" in text and "which is up to one" in text
    assert "test_hub.py:" in text


def test_deadlock_names_a_ring_of_joins() -> None:
    def main() -> None:
        tasks: list[coopcore.Task[Any]] = []
        for n in range(3):
            tasks.append(spawn(lambda n=n: tasks[(n + 1) % 3].join()))
            tasks[n].name = f"ring-{n}"
        joinall(tasks)

    with pytest.raises(Deadlock) as caught:
        run(main)
    text = str(caught.value)
    for n in range(3):
        assert f"ring-{n} waits for the end of task 'ring-{(n + 1) % 3}', which is up to ring-{(n + 1) % 3}" in text


def test_deadlock_of_a_lock_that_is_acquired_twice_advises_an_rlock() -> None:
    from coop_plugins.lock import Lock

    def main() -> None:
        current_task().name = "twice"
        lock = Lock()
        with lock, lock:
            pass

    with pytest.raises(Deadlock) as caught:
        run(main)
    text = str(caught.value)
    assert "twice waits for itself, a cycle of one: " in text and ", which is up to twice alone." in text
    assert "it holds it already: use an RLock, or release it first" in text
    assert "each other" not in text and "one order" not in text


@pytest.mark.parametrize("count", [1, 2, 7])
def test_deadlock_of_a_join_of_what_was_never_started_advises_start(count: int) -> None:
    def main() -> None:
        tasks = [coopcore.Task(print) for _ in range(count)]
        for task in tasks:
            task.name = "forgotten"
            if count > 1:
                task.name += f"-{task.ident}"
        if count == 1:
            tasks[0].join()
        joinall(tasks)

    with pytest.raises(Deadlock) as caught:
        run(main)
    likely, _, last = str(caught.value).splitlines()[-1].partition(" made and never started. ")
    assert last == "Next step: call start(), or use spawn()."
    assert likely.count("forgotten") == min(count, 5) and likely.endswith({1: "forgotten was", 2: " were", 7: " and 2 more were"}[count])


def test_a_report_tells_the_root_from_a_main_function() -> None:
    def main() -> str:
        return get_hub().describe()

    main.__qualname__ = "main"
    text = run(main)
    names = [line.partition(" (")[0] for line in text.splitlines() if re.match(r"\S+ \(", line)]
    assert names[:2] == ["root", "main"]


def test_a_hub_is_named_after_its_thread_and_counts_its_tasks() -> None:
    reprs: list[str] = []

    def work() -> None:
        reprs.append(repr(get_hub()))

        def main() -> None:
            reprs.append(repr(get_hub()))
            spawn(sleep, 0)
            reprs.append(repr(get_hub()))
            sleep(0)

        run(main)

    thread = threading.Thread(target=work, name="worker-9")
    thread.start()
    thread.join(10)
    assert reprs == [
        "<Hub 'hub-of-worker-9' 0 tasks, 0 ready>",
        "<Hub 'hub-of-worker-9' 1 task, 0 ready>",
        "<Hub 'hub-of-worker-9' 2 tasks, 1 ready>",
    ]


@both
def test_deadlock_on_an_empty_queue_with_an_idle_connection_beside_it(backend: str) -> None:
    from coop_plugins.queue import Queue

    def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            assert not wait_readable(left.fileno(), timeout=0.001)  # known to the backend, and idle
            Queue().get()

    with pytest.raises(Deadlock, match="waits for .*Queue"):
        run(main, backend=backend)


def test_a_deadlock_lists_at_most_a_hundred() -> None:
    def main() -> None:
        for _ in range(150):
            spawn(park, "x")
        park("nothing")

    with pytest.raises(Deadlock) as caught:
        run(main)
    assert "151 tasks are parked" in str(caught.value) and "... and 51 more" in str(caught.value)


# -- 4: what others raise ------------------------------------------------------------------------------------------------------------


def test_invariant_4_a_callback_that_raises_is_reported_and_the_loop_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        current_hub().call_soon(lambda: 1 / 0)
        sleep(0)
        sleep(0.001)

    run(main)
    err = capsys.readouterr().err
    assert "a callback on hub-of-" in err and "ZeroDivisionError" in err


def test_invariant_4_an_interrupt_in_a_callback_reaches_the_main_task() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def main() -> None:
        current_hub().call_soon(interrupt)
        sleep(10)

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_invariant_4_a_backend_that_breaks_is_an_error_in_the_main_task() -> None:
    class Broken(SelectorsBackend):
        broken = False

        def poll(self, timeout: int | None) -> Any:
            if self.broken:
                type(self).broken = False
                raise OSError("the wire is cut")
            return super().poll(timeout)

    def main() -> None:
        Broken.broken = True
        sleep(10)

    with pytest.raises(HubError, match="could not go on: OSError: the wire is cut") as caught:
        run(main, backend=Broken())
    assert isinstance(caught.value.__cause__, OSError)


# -- 5: who exists ----------------------------------------------------------------------------------------------------------------


def test_invariant_5_tasks_are_known_from_start_to_end() -> None:
    def main() -> None:
        hub = current_hub()
        me = current_task()
        task = coopcore.Task(sleep)
        assert hub.tasks() == [me]
        task.start()
        assert hub.tasks() == [me, task] and hub.find_task(task.ident) is task
        task.join(timeout=5)
        assert hub.tasks() == [me] and hub.find_task(task.ident) is None
        assert hub.find_task(hub.root.ident) is hub.root and hub.find_task(None) is None
        later = coopcore.spawn_later(5, sleep)
        assert later in hub.tasks()
        later.kill()
        assert hub.tasks() == [me]

    run(main)


# -- 6: what holds off a deadlock ---------------------------------------------------------------------------------------------------


def test_invariant_6_an_open_promise_holds_off_a_deadlock() -> None:
    def main() -> None:
        hub = current_hub()
        lot = ParkingLot("the thread")
        with promise("a thread's job") as kept:
            assert "open promise: a thread's job" in hub.describe()
            threading.Timer(0.02, hub.call_soon_threadsafe, (lot.unpark,)).start()
            assert lot.park() is True
        kept.close()
        with pytest.raises(Deadlock):
            lot.park()

    run(main)


def test_invariant_6_a_thread_that_was_started_since_holds_off_a_deadlock() -> None:
    def main() -> None:
        hub = current_hub()
        lot = ParkingLot("the thread")
        go = threading.Event()
        thread = threading.Thread(target=lambda: (go.wait(20), hub.call_soon_threadsafe(lot.unpark)))
        thread.start()
        spawn(go.set)
        assert lot.park() is True
        thread.join()
        with pytest.raises(Deadlock):
            lot.park()

    run(main)


def test_invariant_6_a_daemon_does_not_and_the_report_names_it() -> None:
    end = threading.Event()

    def main() -> None:
        daemon = threading.Thread(target=end.wait, daemon=True, name="the daemon")
        daemon.start()
        with pytest.raises(Deadlock, match=r"Daemon threads are not waited for: .*'the daemon'.* say so while the task waits: `with promise"):
            park("what no thread wakes")
        end.set()
        daemon.join()

    run(main)


def test_a_thread_that_is_idle_is_not_named_in_the_report() -> None:
    begun, end = threading.Event(), threading.Event()

    def idle() -> None:
        with IdleThread():
            begun.set()
            end.wait()

    def main() -> None:
        daemon = threading.Thread(target=idle, daemon=True, name="the daemon")
        daemon.start()
        begun.wait()
        with pytest.raises(Deadlock) as caught:
            park("what no thread wakes")
        assert "daemon" not in str(caught.value)
        end.set()
        daemon.join()

    run(main)


def test_invariant_6_a_thread_that_was_there_before_does() -> None:
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def serve() -> None:
        hub, lot = asked.get()
        hub.call_soon_threadsafe(lot.unpark, "woken")

    def main() -> None:
        lot = ParkingLot("the thread that was there before")
        asked.put((current_hub(), lot))
        assert lot.park() == "woken"

    thread = threading.Thread(target=serve)
    thread.start()
    run(main)
    thread.join()


def test_invariant_6_a_thread_with_a_hub_does() -> None:
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    at_work = threading.Event()

    def serve() -> None:
        at_work.set()
        while asked.empty():
            sleep(0.001)
        hub, lot = asked.get()
        hub.call_soon_threadsafe(lot.unpark, "woken")

    def main() -> None:
        lot = ParkingLot("the other hub")
        asked.put((current_hub(), lot))
        assert lot.park() == "woken"

    thread = threading.Thread(target=run, args=(serve,), daemon=True)
    thread.start()
    at_work.wait(20)
    run(main)
    thread.join()


def test_a_wait_for_threads_alone_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_hub, "_PATIENCE", 10_000_000)

    def main() -> None:
        hub = current_hub()
        lot = ParkingLot("what nobody may ever do")
        told = threading.Event()
        thread = threading.Thread(target=lambda: (told.wait(20), hub.call_soon_threadsafe(lot.unpark)), name="the-other-one")
        monkeypatch.setattr(_hub._report, "deadlock", lambda hub: (told.set(), "the report")[1])
        thread.start()
        assert lot.park() is True
        thread.join()

    run(main)
    err = capsys.readouterr().err
    assert err.count("only another thread ('the-other-one') could have woken a task of") == 1
    assert err.endswith("If none of them will, this is a deadlock: the report\n")


@both
def test_invariant_6_a_task_at_a_descriptor_holds_off_a_deadlock(backend: str) -> None:
    def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            threading.Timer(0.02, right.send, (b"x",)).start()
            assert wait_readable(left.fileno())

    run(main, backend=backend)


# -- descriptors -----------------------------------------------------------------------------------------------------------------------


@both
def test_levels_what_was_not_read_is_reported_again(backend: str) -> None:
    def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            right.send(b"abc")
            for _ in range(3):
                assert wait_readable(left.fileno(), timeout=5)
            left.recv(10)
            assert not wait_readable(left.fileno(), timeout=0.001)
            assert wait_writable(left.fileno(), timeout=5)

    run(main, backend=backend)


@both
def test_a_reader_and_a_writer_of_one_descriptor(backend: str) -> None:
    def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        with left, right:
            try:
                while True:
                    left.send(bytes(65536))
            except BlockingIOError:
                pass
            reader = spawn(wait_readable, left.fileno(), 5)
            writer = spawn(wait_writable, left.fileno(), 5)
            sleep(0)
            right.send(b"x")
            assert reader.get(timeout=5) is True
            assert not writer.dead
            right.setblocking(False)
            while not writer.dead:
                try:
                    while right.recv(1 << 20):
                        pass
                except BlockingIOError:
                    sleep(0)
            assert writer.get() is True

    run(main, backend=backend)


@both
def test_two_readers_of_one_descriptor_are_refused(backend: str) -> None:
    def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            first = spawn(wait_readable, left.fileno(), 5)
            sleep(0)
            with pytest.raises(BusyResourceError, match="does already"):
                wait_readable(left.fileno(), 5)
            right.send(b"x")
            assert first.get(timeout=5)

    run(main, backend=backend)


@both
def test_closing_wakes_who_waits_with_a_clear_error(backend: str) -> None:
    def main() -> None:
        left, right = socket.socketpair()
        fd = left.fileno()
        tasks = [spawn(wait_readable, fd, 5), spawn(wait_readable, right.fileno(), 5)]
        sleep(0)
        notify_closing(fd)
        left.close()
        with pytest.raises(ClosedResourceError, match=f"descriptor {fd} was closed by .* while 'wait_readable-") as caught:
            tasks[0].get(timeout=5)
        assert caught.value.errno == errno.EBADF
        assert tasks[1].get(timeout=5) is True  # the other end hung up
        right.close()

    run(main, backend=backend)


@both
def test_a_number_that_is_closed_and_used_anew(backend: str) -> None:
    def main() -> None:
        for _ in range(3):
            left, right = socket.socketpair()
            assert not wait_readable(left.fileno(), timeout=0.001)
            right.send(b"x")
            assert wait_readable(left.fileno(), timeout=5)
            left.close()  # without a word to the hub
            right.close()

    run(main, backend=backend)


@both
def test_a_wait_that_is_killed_leaves_no_trace(backend: str) -> None:
    def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            for _ in range(3):
                task = spawn(wait_readable, left.fileno())
                sleep(0)
                task.kill(timeout=5)
                with pytest.raises(Timeout), Timeout(0.001):
                    wait_readable(left.fileno())
            assert current_hub()._fd_waiting == 0
            right.send(b"x")
            assert wait_readable(left.fileno(), timeout=5)

    run(main, backend=backend)


@both
def test_bad_and_unpollable_descriptors(backend: str, tmp_path: Any) -> None:
    def main() -> None:
        with pytest.raises((OSError, ValueError)):
            wait_readable(987654, 1)
        with pytest.raises((OSError, ValueError)):
            wait_readable(-1, 1)
        with open(tmp_path / "file", "w+") as file:
            assert wait_readable(file.fileno(), 5) and wait_writable(file.fileno(), 5)
        assert current_hub()._fd_waiting == 0

    run(main, backend=backend)


@both
def test_unread_data_that_nobody_waits_for_does_not_spin(backend: str) -> None:
    polls = 0

    def main() -> None:
        hub = current_hub()
        left, right = socket.socketpair()
        with left, right:
            assert not wait_readable(left.fileno(), 0.001)
            right.send(b"x")
            original = hub.backend.poll

            def counting(timeout: int | None) -> Any:
                nonlocal polls
                polls += 1
                return original(timeout)

            hub.backend.poll = counting  # type: ignore[method-assign]  # to count
            sleep(0.05)

    run(main, backend=backend)
    assert polls < 10


def test_pipes_too() -> None:
    def main() -> None:
        read, write = os.pipe()
        try:
            task = spawn(wait_readable, read, 5)
            sleep(0)
            os.write(write, b"x")
            assert task.get(timeout=5)
        finally:
            os.close(read)
            os.close(write)

    run(main)


# -- tracers -----------------------------------------------------------------------------------------------------------------------------


def test_a_tracer_is_told_of_everything() -> None:
    recorder = Recorder()

    def main() -> None:
        lot = ParkingLot("a wake")
        task = spawn(lot.park)
        task.name = "waiter"
        sleep(0)
        lot.unpark()
        task.join(timeout=5)
        failing = spawn(lambda: 1 / 0)
        failing.name = "failing"
        failing.join(timeout=5)

    run(main, tracers=[recorder])
    of_waiter = [event for event in recorder.events if "waiter" in event[1] and "main" not in event[1]]
    assert of_waiter == [("started", "waiter"), ("parked", "waiter a wake"), ("unparked", "waiter"), ("exited", "waiter")]
    assert ("failed", "failing ZeroDivisionError('division by zero')") in recorder.events
    assert [kind for kind, _ in recorder.events].count("spawned") == 3


def test_a_tracer_that_raises_is_removed_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    class Bad(Recorder):
        def task_started(self, task: Any) -> None:
            raise KeyError("tracer")

    good = Recorder()
    run(lambda: spawn(sleep).join(), tracers=[Bad(), good])
    err = capsys.readouterr().err
    assert err.count("raised in task_started and was removed") == 1
    assert ("started", good.events[0][1]) in good.events


def test_what_is_no_tracer_is_refused() -> None:
    with pytest.raises(InterfaceError, match="is not a tracer: it lacks task_exited"):
        run(sleep, tracers=[object()])  # type: ignore[list-item]  # bad input


# -- opening and closing ---------------------------------------------------------------------------------------------------------------


def test_run_returns_the_value_and_raises_the_error() -> None:
    assert run(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(KeyError, match="x"):
        run({}.__getitem__, "x")
    with pytest.raises(TypeError, match=r"run\(\) needs a function"):
        run(3)  # type: ignore[arg-type]  # bad input


def test_run_kills_what_is_left_and_says_so() -> None:
    ended = []

    def background() -> None:
        try:
            sleep(100)
        finally:
            sleep(0.001)
            ended.append(1)

    def main() -> str:
        spawn(background)
        sleep(0)
        return "value"

    with pytest.warns(LeftBehindWarning, match=r"ended and left 1 task\(s\) behind, which were killed: 'background-\d+' .*test_hub.py"):
        assert run(main) == "value"
    assert ended == [1]


def test_a_task_that_does_not_end_is_abandoned_and_named() -> None:
    def stubborn() -> None:
        while True:
            try:
                sleep(100)
            except TaskExit:
                pass

    def main() -> None:
        spawn(stubborn)
        sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main, close_timeout=0.01)
    texts = [str(warning.message) for warning in caught]
    assert any("did not end within 0.01 s of being killed and were abandoned: 'stubborn-" in text for text in texts)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in its thread", "in another thread"])
def test_invariant_8_who_did_not_end_with_its_hub_is_handed_nothing(elsewhere: bool) -> None:
    lot = ParkingLot("a thing of the whole program")

    def stubborn() -> None:
        while True:
            try:
                lot.park()
            except TaskExit:
                pass

    hub = make_hub()
    previous = hub.enter()
    try:
        stragglers = [spawn(stubborn), spawn(stubborn)]
        sleep(0)
        strange = greenlet(lot.park)  # of another library
        hub._ready.append(hub.root)
        strange.switch()
        with pytest.warns(LeftBehindWarning, match=r"'stubborn-\d+' \(parked, spawned at .*test_hub.py"):
            hub.close(timeout=0.01)
    finally:
        hub.leave(previous)
    assert len(lot) == 3 and all(task.dead and "was abandoned when its hub was closed" in str(task.value) for task in stragglers)
    handed: list[object] = []

    def hand() -> None:
        spawn(lambda: handed.append(lot.park()))
        sleep(0)
        assert lot.unpark("it")
        sleep(0)

    if elsewhere:
        thread = threading.Thread(target=run, args=(hand,))
        thread.start()
        thread.join()
    else:
        run(hand)
    assert handed == ["it"]


def test_what_belongs_to_a_thread_that_has_ended_is_refused_as_such() -> None:
    tasks: list[Task[Any]] = []
    thread = threading.Thread(target=lambda: run(lambda: tasks.append(Task(sleep))))
    thread.start()
    thread.join()
    with pytest.raises(
        WrongThreadError, match=r"called from thread 'MainThread', .* thread \d+ \(which has ended\).* make this object in the thread that uses it"
    ):
        tasks[0].start()


def test_the_error_of_main_comes_before_the_warning() -> None:
    def main() -> None:
        spawn(sleep, 100)
        raise KeyError("main")

    with pytest.raises(KeyError):
        run(main)


def test_links_of_tasks_that_close_kills_are_delivered() -> None:
    linked: list[Any] = []

    def main() -> None:
        task = spawn(sleep, 100)
        task.rawlink(linked.append)
        task.link(linked.append)

    with pytest.warns(LeftBehindWarning):
        run(main)
    assert len(linked) == 2


def test_what_is_thrown_into_the_root_of_a_run_ends_main_before_run_raises_it() -> None:
    ended = []

    def main() -> None:
        throw_in(current_hub().root, KeyError("on purpose"))
        try:
            sleep(50)
        finally:
            ended.append("main")

    with pytest.raises(KeyError, match="on purpose"):
        run(main)
    assert ended == ["main"]


def test_run_inside_a_run_is_refused() -> None:
    with pytest.raises(HubError, match=r"run\(\) was called while <Hub .* is at work in this thread"):
        run(run, sleep)


def test_runs_one_after_the_other_and_in_threads() -> None:
    assert [run(lambda: get_hub().name) for _ in range(2)]
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(run(lambda: get_hub().name))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 3


def test_the_implicit_hub_of_a_thread_is_closed_with_it() -> None:
    ended: list[str] = []
    hubs: list[Hub] = []

    def body() -> None:
        try:
            sleep(100)
        finally:
            ended.append("finally")

    def in_thread() -> None:
        spawn(body)
        sleep(0)
        hubs.append(get_hub())

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert ended == ["finally"] and hubs[0]._closed


def test_a_closed_hub_refuses() -> None:
    kept: list[Any] = []

    def main() -> None:
        kept.append((get_hub(), coopcore.Task(sleep)))

    run(main)
    hub, task = kept[0]
    assert repr(hub).endswith("closed>")
    with pytest.raises(HubClosedError, match="start a task: .* was closed"):
        task.start()
    assert hub.close() == []


def test_only_the_maker_closes() -> None:
    with pytest.raises(HubError, match="can only be closed by the greenlet that made it"):
        run(lambda: get_hub().close())


def test_a_hub_says_which_thread_is_its_own() -> None:
    assert run(lambda: get_hub().thread) == threading.get_ident()


def test_hubs_nest() -> None:
    def inner() -> str:
        hub = make_hub("selectors", name="inner")
        previous = hub.enter()
        try:
            return spawn(lambda: get_hub().name).get(timeout=5)
        finally:
            hub.close()
            hub.leave(previous)

    outer = get_hub()
    assert inner() == "inner"
    assert get_hub() is outer
    assert spawn(lambda: 1).get(timeout=5) == 1


def test_describe_names_everyone_with_stacks() -> None:
    def main() -> None:
        task = spawn(park, "something")
        task.name = "the waiter"
        sleep(0)
        text = get_hub().describe()
        assert "the waiter (parked, waits for 'something')" in text and "spawned at" in text
        assert repr(get_hub()) in text
        for _ in range(120):
            spawn(park, "x")
        assert "... and 23 more tasks" in get_hub().describe()
        coopcore.killall([task for task in get_hub().tasks() if task is not current_task()])

    run(main)


def test_a_hub_needs_only_a_backend() -> None:
    hub = Hub(backend=SelectorsBackend())
    previous = hub.enter()
    try:
        start = time.monotonic()
        spawn(sleep, 0.002).join()
        assert time.monotonic() - start >= 0.002
        failed: list[Any] = []
        hub._on_failure = lambda view, error: failed.append((view.name, str(error)))
        spawn(lambda: 1 / 0)
        sleep(0.001)
        assert failed and failed[0][1] == "division by zero"
    finally:
        hub.close()
        hub.leave(previous)


def test_run_on_the_hub_is_refused() -> None:
    errors: list[BaseException] = []

    def callback() -> None:
        try:
            run(sleep)
        except HubError as error:
            errors.append(error)

    def main() -> None:
        current_hub().call_soon(callback)
        sleep(0)

    run(main)
    assert len(errors) == 1 and errors[0].__suppress_context__


def test_call_soon_from_another_thread_is_refused() -> None:
    errors: list[BaseException] = []

    def main() -> None:
        hub = current_hub()

        def meddle() -> None:
            for call in (lambda: hub.call_soon(print), lambda: coopcore.Task.start_later(task, 1)):
                try:
                    call()
                except WrongThreadError as error:
                    errors.append(error)

        task = coopcore.Task(sleep)
        thread = threading.Thread(target=meddle)
        thread.start()
        thread.join()

    run(main)
    assert len(errors) == 2


def test_describe_lists_failures_that_nobody_received() -> None:
    def main() -> None:
        task = spawn(lambda: 1 / 0)
        sleep(0.001)
        assert "failed, and nobody has received its error yet: ZeroDivisionError" in get_hub().describe()
        assert task.exception

    run(main)


def test_callbacks_that_call_for_callbacks_do_not_starve_the_rest() -> None:
    def main() -> None:
        hub = current_hub()
        stop: list[int] = []

        def again() -> None:
            if not stop:
                hub.call_soon(again)

        again()
        sleep(0.003)
        stop.append(1)

    run(main)


def test_a_deadlock_of_another_librarys_greenlet() -> None:
    from greenlet import greenlet

    seen: list[BaseException] = []

    def foreign() -> None:
        try:
            park("nothing")
        except Deadlock as error:
            seen.append(error)

    hub = make_hub()
    previous = hub.enter()
    try:
        greenlet(foreign).switch()
    finally:
        hub.close()
        hub.leave(previous)
    assert len(seen) == 1


def test_a_promise_that_a_thread_closes_wakes_the_hub() -> None:
    def main() -> None:
        kept = promise("a thread")
        threading.Timer(0.01, kept.close).start()
        with pytest.raises(Deadlock):
            park("nothing")

    run(main)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_closing_is_completed_whatever_is_raised_meanwhile(error: type[BaseException]) -> None:
    hubs: list[Hub] = []

    def child() -> None:
        try:
            sleep(100)
        finally:
            raise error

    def main() -> None:
        hubs.append(get_hub())
        spawn(child)
        sleep(0)

    with pytest.raises(error):
        run(main)
    assert hubs[0]._closed


def test_a_tracer_that_raises_anything_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    class Outcome(BaseException):
        pass

    for event in ("task_spawned", "task_started", "task_parked", "task_unparked", "task_exited"):

        def bad(self: Any, *args: Any) -> None:
            raise Outcome

        tracer = type("Bad", (Recorder,), {event: bad})()
        run(lambda: spawn(sleep, 0.001).join(), tracers=[tracer])
        assert f"raised in {event} and was removed" in capsys.readouterr().err


def test_another_hubs_descriptors_and_idleness_are_refused() -> None:
    other = make_hub("selectors")
    try:

        def main() -> None:
            for misuse in (lambda: other.wait_fd(0, 1), other.idle):
                with pytest.raises(WrongThreadError):
                    misuse()

        run(main)
    finally:
        other.close()


# -- the rare ways -------------------------------------------------------------------------------------------------------------------------


def python(code: str) -> str:
    """What an interpreter of its own prints."""
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("where", ["hub.call_soon_threadsafe(fork)", "spawn(int).rawlink(fork)"])
def test_a_fork_in_a_call_from_outside_or_in_a_link_ends_the_child_when_it_returns(where: str) -> None:
    out = python(f"""
        import os
        from coopcore import get_hub, run, sleep, spawn
        forked = []
        def fork(*_):
            pid = os.fork()
            if pid:
                print("the child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
                forked.append(pid)
            else:
                assert get_hub() is not hub
        def main():
            global hub
            hub = get_hub()
            {where}
            while not forked:
                sleep(0.001)
            print("the parent goes on", flush=True)
        run(main)
    """)
    assert out == "the child ended with 0\nthe parent goes on\n"


@pytest.mark.parametrize("by_link", [False, True])
def test_after_the_callback_that_forked_the_childs_copy_of_the_hub_calls_nothing_but_its_end(by_link: bool) -> None:
    """Without a fork, since coverage begins anew in a child, and there knows only the functions that are called from then on."""
    called: list[str] = []

    def abandon(*_: object) -> None:
        called.append("forks")
        hub.abandon_after_fork(end)

    def end() -> None:
        called.append("end")
        root.throw(KeyError("the process would end here"))

    def child() -> None:
        nonlocal hub, root
        hub, root = make_hub("selectors"), getcurrent()
        hub.enter()
        if by_link:
            task = spawn(sleep)
            task.rawlink(abandon)
            task.rawlink(lambda _: called.append("another"))
        else:
            hub.call_soon_threadsafe(abandon)
            hub.call_soon_threadsafe(called.append, "another")
        with pytest.raises(KeyError, match="would end here"):
            park("what never comes", timeout=50)
        hub._greenlet.throw()

    hub: Any = None
    root: Any = None
    thread = threading.Thread(target=child)
    thread.start()
    thread.join()
    assert called == ["forks", "end"]


def test_a_child_that_used_a_hub_of_its_own_closes_it_when_the_callback_that_forked_returns() -> None:
    out = python("""
        import os
        from coopcore import get_hub, run, sleep, spawn
        def tidy():
            try:
                sleep(100)
            finally:
                print("tidied", flush=True)
        def fork():
            pid = os.fork()
            if pid:
                print("the child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            else:
                spawn(tidy)
                sleep(0)
        def main():
            get_hub().call_soon(fork)
            sleep(0.001)
        run(main)
    """)
    assert out == "tidied\nthe child ended with 0\n"


def test_a_hub_whose_greenlet_is_ended_in_its_backend_lets_that_out_and_is_collected() -> None:
    """A backend may switch away while it polls, as one does that runs on another library's loop."""

    class Hosted(SelectorsBackend):
        def poll(self, timeout: int | None) -> Any:
            host.switch()
            return super().poll(timeout)

    def guest() -> None:
        hub = make_hub(Hosted())
        hub.enter()
        seen.append(hub)
        park("what never comes", timeout=50)

    def in_a_thread() -> None:  # where a hub does nothing about signals that its closing would have to undo
        nonlocal host
        host = getcurrent()
        stack = greenlet(guest)
        stack.switch()
        hub = seen.pop()
        hub.backend.close()
        polling, gone = hub._greenlet, weakref.ref(hub)
        polling.throw()
        stack.throw()
        assert polling.dead and stack.dead
        del hub, stack, polling
        gc.collect()
        left.append(gone())

    host = getcurrent()
    seen: list[Hub] = []
    left: list[object] = []
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert left == [None]


def test_a_hub_is_made_with_its_tracers() -> None:
    recorder = Recorder()
    hub = Hub(backend=SelectorsBackend(), tracers=[recorder])
    previous = hub.enter()
    try:
        spawn(sleep).join()
    finally:
        hub.close()
        hub.leave(previous)
    assert [event for event, name in recorder.events if name.startswith("sleep-")] == ["spawned", "started", "exited"]


def test_a_closed_hub_refuses_to_wait_and_has_nothing_to_notify() -> None:
    hub = make_hub()
    previous = hub.enter()
    try:
        hub.close()
        hub.notify_closing(0)
        for wait in (yield_now, sleep, lambda: park("x"), lambda: sleep(1)):
            with pytest.raises(HubClosedError, match="was closed"):
                wait()
    finally:
        hub.leave(previous)


@pytest.mark.parametrize("what", ["1", None, 1.0, True])
def test_what_is_no_number_of_a_descriptor_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match=r"a descriptor's number is needed, not .*; pass its fileno\(\)"):
        run(wait_readable, what, 1)


def test_a_descriptor_that_was_closed_unannounced_is_an_error_for_whoever_still_waits_at_it() -> None:
    """On a level-triggered backend, which is to watch it again for the writer when it has reported to the reader."""
    left, right = socket.socketpair()

    class Meanwhile(SelectorsBackend):
        """After its first report, the descriptor is closed."""

        def poll(self, timeout: int | None) -> Any:
            reports = super().poll(timeout)
            if any(fd == number for fd, _ in reports):
                left.close()
            return reports

    def main() -> None:
        left.setblocking(False)
        try:
            while True:
                left.send(bytes(65536))
        except BlockingIOError:
            pass
        reader, writer = spawn(wait_readable, number, 20), spawn(wait_writable, number, 20)
        sleep(0)
        right.send(b"x")
        assert reader.get(timeout=20) is True
        with pytest.raises((OSError, ValueError)):
            writer.get(timeout=20)

    number = left.fileno()
    with right:
        run(main, backend=Meanwhile())


def test_a_ctrl_c_in_a_tracer_reaches_the_main_task(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(Recorder):
        def task_exited(self, task: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lambda: (spawn(sleep), park("what never comes")), tracers=[Interrupted()])
    assert "raised in task_exited and was removed" in capsys.readouterr().err


def test_what_is_thrown_into_the_root_as_its_hub_closes_comes_out_of_close() -> None:
    hub = make_hub()
    previous = hub.enter()
    try:
        hub.call_soon_threadsafe(throw_in, hub.root, KeyError("not met yet"))
        with pytest.raises(KeyError, match="not met yet"):
            hub.close()
        assert hub._closed
    finally:
        hub.leave(previous)


@pytest.mark.parametrize("error", [KeyError, Deadlock])
def test_what_is_thrown_into_the_root_does_not_take_the_tasks_their_end(error: type[BaseException]) -> None:
    ended: list[str] = []

    def tidy() -> None:
        try:
            sleep(50)
        finally:
            sleep(0)
            ended.append("tidied")

    hub = make_hub()
    previous = hub.enter()
    try:
        spawn(tidy)
        sleep(0)
        throw_in(hub.root, error("not met yet"))
        with pytest.raises(error, match="not met yet"):
            hub.close()
    finally:
        hub.leave(previous)
    assert (hub._closed, ended) == (True, ["tidied"])


def test_a_report_of_a_task_that_has_not_begun_says_that_it_stands_nowhere() -> None:
    def main() -> None:
        task = Task(sleep)
        assert _hub._report.stands_at(task) == "(no Python frame)"
        task.start()
        assert _hub._report.stands_at(task) == "(no Python frame)"
        task.join()

    run(main)


def test_a_thread_that_wakes_and_ends_between_two_looks_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = ParkingLot("the thread")

    def look(hub: Hub) -> list[threading.Thread]:
        hub.call_soon_threadsafe(lot.unpark)  # what the thread did, just before it ended
        return []

    def main() -> None:
        monkeypatch.setattr(Hub, "_threads_that_may_wake", look)
        assert lot.park() is True
        monkeypatch.undo()

    run(main)


def test_a_failure_that_comes_after_the_end_of_its_hub_is_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    hub = run(current_hub)
    hub.failure_lost(TaskRecord(hub.root), ValueError("late"))
    assert "ValueError: late" in capsys.readouterr().err


def test_a_hub_that_a_finaliser_closes_in_a_collection_abandons_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = make_hub()
    previous = hub.enter()
    try:
        task = spawn(sleep, 100)
        sleep(0)

        def refuse(task: Any, timeout: float | None) -> bool:
            raise ParkInFinalizerError("the collector is at work")

        monkeypatch.setattr(coopcore.Task, "_await_end", refuse)
        with pytest.warns(LeftBehindWarning, match="were abandoned"):
            hub.close(timeout=5)
        assert isinstance(task.value, TaskExit) and "was abandoned when its hub was closed" in str(task.value)
    finally:
        hub.leave(previous)


def test_the_heartbeat_changes_while_tasks_run_and_is_none_while_the_hub_waits() -> None:
    def main() -> None:
        hub, me = current_hub(), current_task()
        first = hub.heartbeat
        assert first is not None
        while hub.heartbeat == first:
            sleep(0)

        def look() -> None:
            while hub.heartbeat is not None:
                pass
            hub.call_soon_threadsafe(unpark, me)

        thread = threading.Thread(target=look)
        thread.start()
        assert park("the thread", timeout=10) is True
        thread.join()

    run(main)
