"""Event and AsyncResult: the invariants of ``coop_plugins.event`` by name, and what users of threading and gevent know of them."""

from __future__ import annotations

import copy
import dis
import functools
import gc
import pickle
import re
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest
from greenlet import getcurrent
from seams.hubs import in_a_hub, in_a_jumping_hub, in_another_thread

from coop_plugins import event as event_module
from coop_plugins.event import AsyncResult, Event
from coopcore import Deadlock, Task, TaskExit, Timeout, current_task, get_hub, idle, iwait, joinall, killall, run, sleep, spawn, spawn_later, wait
from coopcore.errors import ParkInHubError
from coopcore.lowlevel import park, unpark


def waiters(thing: Event | AsyncResult[Any], names: str, log: list[Any]) -> list[Task[None]]:
    """A task for each name that waits and then notes its name and what wait() returned. They wait when this returns."""
    tasks = [spawn(lambda name=name: log.append((name, thing.wait()))) for name in names]
    idle()
    return tasks


def make(kind: str) -> tuple[Any, Callable[[], None]]:
    """An event or a result, and what makes it ready."""
    if kind == "event":
        event = Event()
        return event, event.set
    result = AsyncResult[Any]()
    return result, (lambda: result.set(True)) if kind == "value" else (lambda: result.set_exception(KeyError("k")))


each_kind = pytest.mark.parametrize("kind", ["event", "value", "error"])


# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_hub
@each_kind
def test_invariant_1_every_waiter_is_woken_once_in_order(kind: str) -> None:
    thing, set_it = make(kind)
    log: list[Any] = []
    waiters(thing, "abcde", log)
    set_it()
    set_it()
    idle()
    outcome = None if kind == "error" else True
    assert log == [(name, outcome) for name in "abcde"]


@in_a_hub
def test_invariant_2_a_wake_is_final_for_an_event_that_is_cleared_at_once() -> None:
    event = Event()
    log: list[Any] = []
    waiters(event, "ab", log)
    event.set()
    event.clear()
    idle()
    assert log == [("a", True), ("b", True)]
    assert event.is_set() is False


@in_a_hub
@each_kind
def test_invariant_2_a_wake_is_final_for_a_waiter_that_is_killed(kind: str) -> None:
    thing, set_it = make(kind)
    log: list[Any] = []

    def waiter() -> None:
        log.append(thing.wait(timeout=5))
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(waiter)
    idle()
    set_it()
    task.kill(block=False)
    idle()
    assert log == [None if kind == "error" else True, "killed later"]


@in_a_hub
@each_kind
def test_invariant_3_nobody_waits_when_ready(kind: str) -> None:
    thing, set_it = make(kind)
    log: list[Any] = []
    waiters(thing, "ab", log)
    set_it()
    assert thing.linkcount() == 0
    assert thing.wait() == (None if kind == "error" else True)  # does not even yield:
    assert log == []
    idle()
    assert len(log) == 2


@in_a_hub
@each_kind
def test_invariant_4_a_wait_that_ended_otherwise_has_left_the_line(kind: str) -> None:
    thing, set_it = make(kind)
    log: list[Any] = []
    a, b, c = waiters(thing, "abc", log)
    assert not thing.wait(timeout=0.001)
    assert thing.linkcount() == 3
    b.kill()
    assert thing.linkcount() == 2
    c.kill()
    assert thing.linkcount() == 1
    set_it()
    a.join(timeout=5)
    assert [name for name, _ in log] == ["a"]


@in_a_hub
@each_kind
def test_invariant_4_a_task_that_was_killed_is_not_woken_from_its_next_wait(kind: str) -> None:
    thing, set_it = make(kind)
    elsewhere: list[object] = []

    def waiter() -> None:
        try:
            thing.wait()
        except TaskExit:
            elsewhere.append(park("something else"))

    task = spawn(waiter)
    idle()
    task.kill(block=False)
    set_it()  # before the killed task has run
    idle()
    set_it()
    assert task.state == "parked"
    unpark(task, "the right wake")
    idle()
    assert elsewhere == ["the right wake"]


@in_a_hub
@each_kind
def test_invariant_5_a_callback_is_called_once_for_each_rawlink_on_the_hub(kind: str) -> None:
    thing, set_it = make(kind)
    called: list[object] = []

    def link(which: object) -> None:
        called.append(which)
        with pytest.raises(ParkInHubError):
            sleep(1)

    thing.rawlink(link)
    thing.rawlink(link)
    assert thing.linkcount() == 2
    set_it()
    assert called == []
    set_it()
    idle()
    assert called == [thing, thing]
    thing.rawlink(link)  # it is ready
    assert len(called) == 2
    idle()
    assert called == [thing] * 3
    assert thing.linkcount() == 0


@in_a_hub
@each_kind
def test_invariant_5_a_callback_is_never_called_after_unlink(kind: str) -> None:
    thing, set_it = make(kind)
    called: list[object] = []
    thing.rawlink(called.append)
    thing.unlink(called.append)
    thing.unlink(called.append)
    set_it()
    idle()
    assert called == []
    thing.rawlink(called.append)
    thing.unlink(called.append)  # due, but not called yet
    thing.rawlink(lambda _: thing.unlink(called.append))  # a callback that undoes the next one
    thing.rawlink(called.append)
    idle()
    assert called == []
    assert thing.linkcount() == 0


@in_a_hub
def test_invariant_5_a_callback_linked_after_clear_waits_for_the_next_set() -> None:
    event = Event()
    called: list[object] = []
    event.rawlink(lambda _: called.append("before"))
    event.set()
    event.clear()
    event.rawlink(lambda _: called.append("after"))
    idle()
    assert called == ["before"]
    event.set()
    idle()
    assert called == ["before", "after"]


@each_kind
def test_invariant_6_a_set_in_another_thread_wakes_all_in_their_order(kind: str) -> None:
    thing, set_it = make(kind)
    log: list[Any] = []

    def main() -> None:
        tasks = waiters(thing, "abc", log)
        assert in_another_thread(set_it) is None
        assert len(joinall(tasks, timeout=20)) == 3

    run(main)
    assert [name for name, _ in log] == ["a", "b", "c"]


@each_kind
def test_invariant_6_it_wakes_a_hub_that_sleeps_though_no_promise_was_made(kind: str) -> None:
    thing, set_it = make(kind)
    thread = threading.Timer(0.02, set_it)

    def main() -> None:
        thread.start()
        thing.wait()

    run(main)
    thread.join()
    assert thing.ready()


@each_kind
def test_invariant_6_those_who_wait_may_be_of_several_threads(kind: str) -> None:
    thing, set_it = make(kind)
    waiting = threading.Semaphore(0)
    ended = threading.Semaphore(0)

    def body() -> None:
        spawn_later(0, waiting.release)
        thing.wait(20)
        assert thing.ready()
        ended.release()

    threads = [threading.Thread(target=run, args=(body,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=20)
    set_it()
    for _ in threads:
        assert ended.acquire(timeout=20)
    for thread in threads:
        thread.join()


@each_kind
def test_invariant_6_two_threads_that_answer_each_other_never_hang(kind: str) -> None:
    laps = 300
    ping, pong = ([make(kind) for _ in range(laps)] for _ in range(2))

    def body(mine: list[Any], others: list[Any]) -> None:
        for (thing, _), (_, set_it) in zip(mine, others, strict=True):
            thing.wait(20)
            assert thing.ready(), "the set of the other thread was lost"
            set_it()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=run, args=(body, ping, pong))
        thread.start()
        ping[0][1]()
        run(body, pong[:-1], ping[1:])
        thread.join()
    finally:
        sys.setswitchinterval(interval)


@functools.cache
def switch_points(code: CodeType) -> set[int]:
    """Where the interpreter may let another thread in: after a call, at a jump back, and where a function begins."""
    points = set()
    after_a_call = False
    for instruction in dis.get_instructions(code):
        if after_a_call or instruction.opname == "RESUME" or "JUMP_BACKWARD" in instruction.opname:
            points.add(instruction.offset)
        after_a_call = instruction.opname in ("CALL", "CALL_FUNCTION_EX", "CALL_KW")
    return points


def without_a_monitor(test: Callable[..., None]) -> Callable[..., None]:
    """Python 3.12 crashes when opcodes are traced while coverage measures by sys.monitoring."""
    monitored = sys.version_info >= (3, 12) and sys.monitoring.get_tool(sys.monitoring.COVERAGE_ID) is not None
    return pytest.mark.skipif(monitored, reason="coverage measures by sys.monitoring, which tracing opcodes crashes")(test)


def at_each_switch_point(prepare: Callable[[], Any], wait: Callable[[Any], bool], act: Callable[[Any], object]) -> list[bool]:
    """Call ``wait`` again and again, in a task of its own, each time with something that ``prepare`` made, and ``act`` in another thread at the first point
    where the interpreter may let one in, at the second, and so on, until there are no more. Returns what the calls returned."""
    files = {sys.modules[Event.__module__].__file__, sys.modules["coopcore._state"].__file__}
    results: list[bool] = []
    left = 0
    acted = True

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal left, acted
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in switch_points(frame.f_code):
            left -= 1
            if left == 0:
                acted = True
                sys.settrace(None)
                frame.f_trace = None
                assert in_another_thread(lambda: act(thing)) is None
        return trace

    def body() -> bool:
        sys._getframe().f_trace_opcodes = True  # before settrace(), for Python 3.12
        sys.settrace(trace)
        try:
            return wait(thing)
        finally:
            sys.settrace(None)

    before = sys.gettrace()
    try:
        while acted:
            acted = False
            left = len(results) + 1
            thing = prepare()
            results.append(spawn(body).get(timeout=20))
    finally:
        sys.settrace(before)
    return results[:-1]


@without_a_monitor
@in_a_jumping_hub
@each_kind
@pytest.mark.parametrize("before", [0, 1, 2])
def test_invariant_6_a_set_wherever_another_thread_may_come_in_is_not_lost(kind: str, before: int) -> None:
    others: list[Task[None]] = []

    def prepare() -> Any:
        killall(others)
        thing, set_it = make(kind)
        others[:] = waiters(thing, "ab"[:before], [])
        return thing, set_it

    def wait(made: Any) -> bool:
        thing, set_it = made
        slept_on = spawn_later(0.02, set_it)  # in the end it is set anyway; when all goes well that never begins
        thing.wait(20)
        sys.settrace(None)
        assert len(joinall(others, timeout=20)) == before
        not_begun = slept_on.state == "new"
        slept_on.kill()
        return not_begun

    results = at_each_switch_point(prepare, wait, lambda made: made[1]())
    # Once it sleeps, it is woken by the late set before it comes to the points that follow.
    assert re.fullmatch("111+0*", "".join(str(int(woken)) for woken in results)), results
    killall(others)


@without_a_monitor
@in_a_hub
@pytest.mark.parametrize("before", [0, 1, 2])
def test_invariant_6_a_set_and_a_clear_wherever_another_thread_may_come_in_wake_who_was_in_line(before: int) -> None:
    others: list[Task[None]] = []

    def prepare() -> Event:
        killall(others)
        event = Event()
        others[:] = waiters(event, "ab"[:before], [])
        return event

    results = at_each_switch_point(prepare, lambda event: bool(event.wait(0.005)), lambda event: (event.set(), event.clear()))
    killall(others)
    # Before it enters, while it waits, and when the timeout has already won.
    assert re.fullmatch("0+1+0*", "".join(str(int(woken)) for woken in results)), results


@in_a_hub
@each_kind
def test_invariant_6_a_set_just_before_the_line_is_seen_from_there(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thing, set_it = make(kind)

    def look_up_who_runs() -> Any:  # a call, at which another thread comes in
        monkeypatch.undo()
        assert in_another_thread(set_it) is None
        return getcurrent()

    monkeypatch.setattr(event_module, "getcurrent", look_up_who_runs)
    thing.wait()
    assert thing.ready() and thing.linkcount() == 0


@in_a_hub
@each_kind
def test_invariant_6_a_signal_handler_that_sets_it_just_before_the_park_wakes_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thing, set_it = make(kind)
    park_task = event_module.park_task

    def interrupted(*args: Any) -> Any:
        monkeypatch.undo()
        set_it()
        return park_task(*args)

    monkeypatch.setattr(event_module, "park_task", interrupted)
    thing.wait()
    assert thing.ready() and thing.linkcount() == 0


@in_a_hub
def test_invariant_6_who_finds_that_all_were_just_taken_out_stands_alone() -> None:
    event = Event()
    event._enter(current_task())
    assert event.linkcount() == 1
    event._leave(current_task())
    assert event.linkcount() == 0


@in_a_hub
@each_kind
def test_invariant_5_a_link_is_called_by_the_hub_that_linked_it(kind: str) -> None:
    thing, set_it = make(kind)
    called: list[int] = []
    thing.rawlink(lambda _: called.append(threading.get_ident()))
    waiter = spawn(wait, [thing], 5)
    idle()
    assert in_another_thread(lambda: run(set_it)) is None
    assert waiter.get(timeout=5) == [thing]
    assert called == [threading.get_ident()]


@each_kind
@pytest.mark.parametrize("elsewhere", [True, False])
def test_invariant_5_links_of_a_hub_that_was_closed_are_dropped(kind: str, elsewhere: bool) -> None:
    thing, set_it = make(kind)
    called: list[object] = []

    def link() -> None:
        run(lambda: thing.rawlink(called.append))

    assert (in_another_thread(link) if elsewhere else link()) is None
    assert thing.linkcount() == 1
    run(set_it)
    assert (thing.linkcount(), called) == (0, [])


@in_a_hub
def test_invariant_7_a_late_wake_does_not_end_a_later_wait() -> None:
    event = Event()
    log: list[object] = []

    def body() -> None:
        try:
            event.wait()
        except KeyError:
            log.append("thrown out")
        log.append(event.wait())

    task = spawn(body)
    idle()
    hub = get_hub()
    assert in_another_thread(lambda: (event.set(), event.clear())) is None  # the wake is in the inbox now
    task.kill(KeyError("before the wake"), block=False)
    hub._budget = 100  # no pass, which would find the wake while the task does not wait
    sleep(0)
    assert log == ["thrown out"] and task.state == "parked" and len(hub._inbox.calls) == 1
    idle()
    assert len(hub._inbox.calls) == 0 and task.state == "parked" and event.linkcount() == 1
    event.set()
    task.join(timeout=5)
    assert log == ["thrown out", True]


@in_a_jumping_hub
def test_invariant_7_a_late_wake_does_not_end_a_wait_for_something_else() -> None:
    event = Event()

    def body() -> object:
        with pytest.raises(KeyError):
            event.wait()
        return park("something else")

    task = spawn(body)
    idle()
    hub = get_hub()
    in_another_thread(event.set)  # the wake is in the inbox now
    task.kill(KeyError("before the wake"), block=False)
    hub._budget = 100  # no pass, which would find the wake while the task does not wait
    sleep(0)
    assert task.state == "parked" and len(hub._inbox.calls) == 1
    idle()
    assert (len(hub._inbox.calls), task.state) == (0, "parked")
    unpark(task, "a wake")
    assert task.get(timeout=5) == "a wake"


@each_kind
def test_who_waits_may_be_of_another_thread_each_time(kind: str) -> None:
    thing, _ = make(kind)

    def main() -> None:
        thing.wait(0)
        thing.rawlink(print)
        thing.unlink(print)

    for _ in range(2):
        assert in_another_thread(lambda: run(main)) is None


# -- both ---------------------------------------------------------------------------------------------------------------


@in_a_hub
@each_kind
def test_a_callback_must_be_callable(kind: str) -> None:
    thing, _ = make(kind)
    with pytest.raises(TypeError, match="callable with one argument"):
        thing.rawlink(3)


@in_a_hub
@each_kind
def test_a_callback_that_raises_is_reported_and_the_next_one_runs(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    thing, set_it = make(kind)
    called: list[object] = []
    thing.rawlink(lambda _: 1 / 0)
    thing.rawlink(called.append)
    set_it()
    idle()
    assert called == [thing]
    assert "ZeroDivisionError" in capsys.readouterr().err


@in_a_hub
@each_kind
def test_it_can_be_made_ready_on_the_hub_but_not_waited_for(kind: str) -> None:
    thing, set_it = make(kind)
    log: list[Any] = []
    waiters(thing, "a", log)

    def on_hub() -> None:
        with pytest.raises(ParkInHubError):
            thing.wait()
        set_it()

    get_hub().call_soon(on_hub)
    idle()
    assert [name for name, _ in log] == ["a"]
    assert thing.linkcount() == 0


@in_a_hub
@each_kind
def test_wait_and_iwait_accept_it(kind: str) -> None:
    (late, set_late), (soon, set_soon) = make(kind), make(kind)
    with iwait([late, soon], timeout=5) as ready:
        get_hub().call_soon(set_soon)
        assert next(ready) is soon
        get_hub().call_soon(set_late)
        assert next(ready) is late
    assert wait([late, soon], timeout=5) == [late, soon]
    assert (late.linkcount(), soon.linkcount()) == (0, 0)


@in_a_hub
@each_kind
def test_ready_between_the_timeout_and_the_turn_of_the_waiter_counts_as_ready(kind: str) -> None:
    thing, set_it = make(kind)
    results: list[object] = []

    def waiter() -> None:
        results.append(thing.wait(timeout=0.002))
        results.append(thing.ready())

    task = spawn(waiter)
    spawn_later(0.001, set_it)
    idle()
    clock = get_hub().clock
    until = clock.now() + 4_000_000
    while clock.now() < until:  # both timers fire in one pass: the setter runs first, when the waiter is not parked any more
        pass
    task.join(timeout=5)
    assert results == [None if kind == "error" else True, True]


@in_a_hub
def test_a_value_that_comes_between_the_timeout_of_get_and_its_turn_is_returned() -> None:
    result = AsyncResult[int]()
    task = spawn(result.get, timeout=0.002)
    spawn_later(0.001, result.set, 5)
    idle()
    clock = get_hub().clock
    until = clock.now() + 4_000_000
    while clock.now() < until:  # both timers fire in one pass: the setter runs first, when the getter is not parked any more
        pass
    assert task.get(timeout=5) == 5


@in_a_hub
@each_kind
def test_bad_and_odd_timeouts(kind: str) -> None:
    thing, _ = make(kind)
    for timeout in (0, 0.0, -1, 0.001, Timeout(0.001)):
        assert not thing.wait(timeout)
    for timeout, error in (("soon", TypeError), ([], TypeError), (float("nan"), ValueError)):
        with pytest.raises(error):
            thing.wait(timeout)
    assert thing.linkcount() == 0


@each_kind
def test_a_deadlock_names_it(kind: str) -> None:
    thing, _ = make(kind)
    with pytest.raises(Deadlock) as caught:
        run(thing.wait)
    assert repr(thing) in str(caught.value)


@in_a_hub
@each_kind
def test_it_is_freed_without_the_collector(kind: str) -> None:
    gc.disable()
    try:
        thing, set_it = make(kind)
        waiters(thing, "ab", [])
        thing.rawlink(lambda _: None)
        set_it()
        idle()
        gone = weakref.ref(thing)
        del thing, set_it
        assert gone() is None
    finally:
        gc.enable()


def test_an_event_that_nobody_waits_for_needs_no_hub() -> None:
    states: list[object] = []

    def main() -> None:
        event, result = Event(), AsyncResult[int]()
        event.set()
        result.set(5)
        states.extend([event.wait(), event.is_set(), result.get()])
        event.clear()
        states.append(event.is_set())

    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    assert states == [True, True, 5, False]


# -- Event --------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_an_event_says_whether_it_is_set() -> None:
    event = Event()
    assert (event.is_set(), event.isSet(), event.ready(), event.wait(0)) == (False,) * 4
    event.set()
    assert (event.is_set(), event.isSet(), event.ready(), event.wait(0), event.wait()) == (True,) * 5
    event.clear()
    event.clear()
    assert (event.is_set(), event.isSet(), event.ready(), event.wait(0)) == (False,) * 4


def test_the_repr_of_an_event_is_that_of_threading() -> None:
    ours, theirs = Event(), threading.Event()
    for _ in range(2):
        assert repr(ours) == repr(theirs).replace("threading", "coop_plugins.event").replace(hex(id(theirs)), hex(id(ours)))
        ours.set()
        theirs.set()


# -- AsyncResult --------------------------------------------------------------------------------------------------------


@in_a_hub
def test_a_result_before_it_is_there() -> None:
    result = AsyncResult[int]()
    assert (result.ready(), result.done(), result.successful(), result.value, result.exception, result.exc_info) == (False, False, False, None, None, ())
    assert (result.cancel(), result.cancelled()) == (False, False)
    timed = (lambda: result.get(timeout=0.001), lambda: result.result(0.001), lambda: result.result(timeout=0))
    for get in (result.get_nowait, lambda: result.get(block=False), *timed):
        with pytest.raises(Timeout):
            get()
    mine = Timeout(0.001)
    with pytest.raises(Timeout) as caught:
        result.get(timeout=mine)  # type: ignore[arg-type]  # a Timeout does as well
    assert caught.value is mine
    assert result.wait(timeout=0.001) is None
    assert repr(result) == f"<coop_plugins.event.AsyncResult at {id(result):#x}: unset>"


@in_a_hub
@pytest.mark.parametrize("value", [5, None, False, 0, KeyError("an error as a value")])
def test_a_value(value: object) -> None:
    result = AsyncResult[object]()
    got = [spawn(result.get), spawn(result.wait), spawn(result.result)]
    idle()
    result.set(value)
    assert [task.get(timeout=5) for task in got] == [value] * 3
    assert (result.ready(), result.done(), result.successful(), result.value, result.exception, result.exc_info) == (True, True, True, value, None, ())
    assert (result.get(), result.get_nowait(), result.result(), result.wait()) == (value,) * 4
    assert (result.cancel(), result.cancelled()) == (False, False)
    assert repr(result) == f"<coop_plugins.event.AsyncResult at {id(result):#x}: value={value!r}>"


@in_a_hub
def test_set_without_a_value_and_set_result() -> None:
    result = AsyncResult[Any]()
    result.set()
    assert (result.get(), result.successful()) == (None, True)
    result.set_result(4)
    assert result.get() == 4


@in_a_hub
def test_an_error_is_raised_in_each_waiter() -> None:
    result = AsyncResult[int]()
    error = KeyError("on purpose")
    got = [spawn(result.get) for _ in range(3)]
    waiting = spawn(result.wait)
    idle()
    result.set_exception(error)
    for task in got:
        with pytest.raises(KeyError) as caught:
            task.get(timeout=5)
        assert caught.value is error
    assert waiting.get(timeout=5) is None
    assert (result.ready(), result.done(), result.successful(), result.value, result.exception) == (True, True, False, None, error)
    assert result.exc_info == (KeyError, error, None)
    for get in (result.get, result.get_nowait, result.result):
        with pytest.raises(KeyError):
            get()
    assert result.wait() is None
    assert repr(result) == f"<coop_plugins.event.AsyncResult at {id(result):#x}: error={error!r}>"


@in_a_hub
def test_an_error_keeps_the_traceback_of_its_origin_only() -> None:
    def origin() -> None:
        raise ValueError("on purpose")

    result = AsyncResult[int]()
    try:
        origin()
    except ValueError as error:
        result.set_exception(error, sys.exc_info())
    for _ in range(3):
        with pytest.raises(ValueError, match="on purpose") as caught:
            result.get()
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[-1] == "origin"
        assert names.count("get") == 1, "tracebacks pile up"
    assert result.exc_info[2] is not None  # type: ignore[misc]  # a triple by now


@in_a_hub
def test_set_exception_wants_an_exception() -> None:
    result = AsyncResult[int]()
    for bad in ("x", None, 5, int):
        with pytest.raises(TypeError, match=r"needs an exception.*call set\(\)"):
            result.set_exception(bad)  # type: ignore[arg-type]  # on purpose
    for triple in ((1, 2), (KeyError, KeyError(), "traceback")):
        with pytest.raises(TypeError, match="triple"):
            result.set_exception(KeyError(), triple)
    assert not result.ready()
    result.set_exception(KeyError)
    assert isinstance(result.exception, KeyError)


@in_a_hub
def test_a_result_may_be_set_again_and_the_last_one_counts() -> None:
    result = AsyncResult[int]()
    waiting = spawn(result.get)
    idle()
    result.set(1)
    result.set(2)
    assert waiting.get(timeout=5) == 2
    result.set_exception(KeyError("k"))
    assert (result.value, result.successful()) == (None, False)
    with pytest.raises(KeyError):
        result.get()
    result.set(3)
    assert (result.get(), result.exception, result.exc_info) == (3, None, ())


@in_a_hub
def test_a_value_that_arrives_later() -> None:
    result = AsyncResult[str]()
    spawn_later(0.001, result.set, "late")
    assert result.get(timeout=5) == "late"
    assert result.get() == "late"


@in_a_hub
@pytest.mark.parametrize("how", ["link", "rawlink"])
def test_a_result_as_a_link_is_the_future_of_a_task(how: str) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    value, error = AsyncResult[int](), AsyncResult[None]()
    getattr(spawn(lambda: 7), how)(value)
    getattr(failed := spawn(fail), how)(error)
    assert value.get(timeout=5) == 7
    with pytest.raises(ValueError, match="on purpose") as caught:
        error.get(timeout=5)
    assert caught.value is failed.exception
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"


@in_a_hub
def test_a_result_as_a_link_of_a_task_that_is_killed() -> None:
    result = AsyncResult[Any]()
    task = spawn(sleep, 60)
    task.link(result)
    task.kill()
    assert isinstance(result.get(timeout=5), TaskExit)


@in_a_hub
def test_a_result_can_be_linked_to_another() -> None:
    first, second, third = AsyncResult[int](), AsyncResult[int](), AsyncResult[int]()
    first.rawlink(second)
    first.set(5)
    assert second.get(timeout=5) == 5
    second.set_exception(KeyError("k"))
    second.rawlink(third)
    with pytest.raises(KeyError):
        third.get(timeout=5)


def test_results_are_subscriptable() -> None:
    assert AsyncResult[int]().ready() is False


@pytest.mark.parametrize("make", [Event, AsyncResult])
def test_copying_is_refused(make: type[Any]) -> None:
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot copy or pickle"):
            way(make())


@in_a_hub
def test_an_error_may_be_given_by_name_and_as_a_class() -> None:
    result = AsyncResult[int]()
    result.set_exception(exception=KeyError)
    assert type(result.exception) is KeyError
    with pytest.raises(KeyError) as first:
        result.get()
    with pytest.raises(KeyError) as second:
        result.get()
    assert first.value is second.value is result.exception


@pytest.mark.parametrize("cls", [Event, AsyncResult])
def test_arguments_that_it_does_not_take_are_refused_in_its_own_name(cls: type[Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{cls.__name__}\.__init__\(\) takes 1 positional argument"):
        cls(3)


def test_a_waiter_that_was_taken_out_by_another_thread_and_is_killed_before_it_hears_of_it_leaves_the_newcomers_alone() -> None:
    def main() -> None:
        event = Event()
        first = spawn(event.wait)
        sleep(0)
        thread = threading.Thread(target=event.set)
        thread.start()
        thread.join()
        event.clear()
        newcomers = [spawn(event.wait, 5) for _ in range(2)]
        first.kill(block=False)
        sleep(0)
        assert isinstance(first.value, TaskExit)
        event.set()
        assert [task.get(timeout=5) for task in newcomers] == [True, True]

    run(main)
