"""The invariants of ``coopcore._state``: park, unpark, throw."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from seams.clock import JumpingClock
from seams.hubs import pass_time
from seams.raised import Rain, RaisesOnce
from seams.stack import with_room

import coopcore
from coopcore import Deadlock, Task, TaskExit, Timeout, _state, current_task, run, sleep, spawn, spawn_later
from coopcore.errors import HubClosedError, ParkInHubError, WrongThreadError
from coopcore.lowlevel import (
    Alarm,
    ParkingLot,
    current_hub,
    keep_throwing,
    make_hub,
    on_hub,
    park,
    park_shielded,
    shielded,
    stop_throwing,
    throw_in,
    unpark,
    yield_now,
)


def entries(task: coopcore.Task[Any]) -> int:
    return sum(entry is task for entry in task.hub._ready)


def test_invariant_1_a_parked_task_has_no_entry_and_a_runnable_one_exactly_one() -> None:
    seen = []

    def body() -> None:
        seen.append(("running", entries(current_task())))
        park("something")
        sleep(0)

    def main() -> None:
        task = spawn(body)
        seen.append(("ready", entries(task)))
        sleep(0)
        seen.append(("parked", entries(task)))
        unpark(task)
        unpark(task)
        seen.append(("unparked twice", entries(task)))
        sleep(0)
        seen.append(("yielding", entries(task)))
        task.join(timeout=5)
        seen.append(("done", entries(task)))

    run(main)
    assert seen == [("ready", 1), ("running", 0), ("parked", 0), ("unparked twice", 1), ("yielding", 1), ("done", 0)]


def test_invariant_2_a_wake_is_final() -> None:
    """What is handed to a task arrives, though a kill came before the task ran; the kill comes at the next park."""
    got = []

    def body() -> None:
        got.append(park("an item"))
        got.append("went on")
        park("the next thing")
        got.append("never")

    def main() -> None:
        task = spawn(body)
        sleep(0)
        assert unpark(task, ("item",))
        task.kill(timeout=5)
        assert isinstance(task.value, TaskExit)

    run(main)
    assert got == [("item",), "went on"]


def test_a_kill_during_a_yield_is_raised_at_its_end() -> None:
    laps = []

    def body() -> None:
        while True:
            laps.append(1)
            sleep(0)

    def main() -> None:
        task = spawn(body)
        sleep(0)
        assert task.state == "ready"
        task.kill(timeout=5)

    run(main)
    assert len(laps) == 1


def test_invariant_3_unpark_of_a_task_that_is_not_parked_does_nothing() -> None:
    def main() -> None:
        task = spawn(park, "x")
        assert unpark(task) is False  # not begun
        sleep(0)
        assert unpark(task) is True
        assert unpark(task) is False  # woken already
        task.join(timeout=5)
        assert unpark(task) is False  # ended
        assert unpark(current_task()) is False  # running

    run(main)


def test_invariant_4_a_timer_wakes_only_the_park_that_set_it() -> None:
    outcomes: list[Any] = []

    def body() -> None:
        outcomes.append(park("first", timeout=0.01))
        outcomes.append(park("second", timeout=5))

    def main() -> None:
        task = spawn(body)
        sleep(0)
        pass_time(0.02)  # the timer of the first park is due, but the wake comes first
        unpark(task, "woken")
        sleep(0.01)
        assert task.state == "parked"
        unpark(task, "again")
        task.join(timeout=5)

    run(main, clock=JumpingClock())
    assert outcomes == ["woken", "again"]


def test_a_timeout_and_a_wake_in_one_batch_exactly_one_wins() -> None:
    def main() -> None:
        task = spawn(park, "x", 0.001)
        sleep(0)
        time.sleep(0.005)
        sleep(0.001)  # a pass: the timer fires
        assert unpark(task) is False
        assert task.get(timeout=5) is False

    run(main)


def test_invariant_4_a_timer_that_is_due_in_the_batch_of_the_wake_leaves_it_alone() -> None:
    def main() -> None:
        hub = current_hub()
        task = spawn(park, "an item", 0.001)
        Alarm(hub, hub.clock.now() + 1_000_000, unpark, task, "item")  # due at the same moment, and set first
        assert task.get(timeout=5) == "item"

    run(main, clock=JumpingClock())


def test_invariant_5_what_is_thrown_is_raised_by_its_receiver_once() -> None:
    seen = []

    def body() -> None:
        try:
            park("x")
        except KeyError as error:
            tb = error.__traceback__
            names = []
            while tb is not None:
                names.append(tb.tb_frame.f_code.co_name)
                tb = tb.tb_next
            seen.append(names[0])
        seen.append(park("y", timeout=0.001))

    def main() -> None:
        task = spawn(body)
        sleep(0)
        throw_in(task, KeyError("thrown"))
        task.join(timeout=5)

    run(main)
    assert seen == ["body", False]


@pytest.mark.parametrize("how", ["parked", "pending", "kept"])
def test_invariant_5_what_is_thrown_leaves_no_cycle(how: str) -> None:
    class Heavy(Exception):
        pass

    def main() -> None:
        me = current_task()
        if how == "parked":
            spawn(lambda: throw_in(me, Heavy()))
        elif how == "pending":
            throw_in(me, Heavy())
        else:
            keep_throwing(me, make := lambda task: Heavy())
        refs = []
        try:
            park("x")
        except Heavy as error:
            refs.append(weakref.ref(error))
        if how == "kept":
            stop_throwing(me, make)
        assert [ref() for ref in refs] == [None]

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


class Again(BaseException):
    """Kept thrown by the tests below."""


def again(task: coopcore.Task[Any]) -> Again:
    return Again(task.name)


def test_invariant_10_what_is_kept_thrown_is_raised_afresh_by_each_park_and_yield() -> None:
    seen: list[BaseException] = []
    depths = []

    def body() -> None:
        for wait in (lambda: park("x"), lambda: park("x", 5), lambda: sleep(0), lambda: sleep(5), yield_now, lambda: ParkingLot().park(), coopcore.idle):
            try:
                wait()  # type: ignore[no-untyped-call]  # lambdas
            except Again as error:
                seen.append(error)
                depths.append(len(traceback.extract_tb(error.__traceback__)))
        stop_throwing(current_task(), again)
        stop_throwing(current_task(), again)
        park("the end", 0.001)

    def main() -> None:
        task = spawn(body)
        sleep(0)
        keep_throwing(task, again)
        assert task.state == "ready"
        keep_throwing(task, again)  # once is enough
        task.get(timeout=5)

    run(main)
    assert len({id(error) for error in seen}) == 7
    assert max(depths) <= 6, "tracebacks do not grow"


def test_invariant_10_a_wake_that_came_first_is_final() -> None:
    def main() -> None:
        lot = ParkingLot()
        task = spawn(lot.park)
        sleep(0)
        lot.unpark("item")
        keep_throwing(task, again)
        assert task.get(timeout=5) == "item"

    run(main)


def test_invariant_10_an_item_goes_to_the_next_waiter_when_the_first_is_thrown_out() -> None:
    def main() -> None:
        lot = ParkingLot()
        first, second = spawn(lot.park), spawn(lot.park)
        sleep(0)
        keep_throwing(first, again)
        lot.unpark("item")
        assert second.get(timeout=5) == "item"
        assert isinstance(first.exception, Again)

    run(main)


def test_invariant_10_a_task_that_has_not_begun_begins() -> None:
    def main() -> None:
        begun = []
        task = spawn(lambda: (begun.append(1), sleep(0)))
        keep_throwing(task, again)
        task.join(timeout=5)
        assert begun == [1]
        assert isinstance(task.exception, Again)
        keep_throwing(task, again)  # it has ended: quiet

    run(main)


def test_invariant_10_what_is_thrown_once_comes_first_and_once() -> None:
    def main() -> None:
        me = current_task()
        seen = []
        keep_throwing(me, again)
        throw_in(me, KeyError(1))
        throw_in(me, KeyError(2))
        for _ in range(4):
            try:
                park("x")
            except (Again, KeyError) as error:
                seen.append(error.args[0])
        stop_throwing(me, again)
        park("x", 0.001)
        assert seen == [1, 2, me.name, me.name]

    run(main)


def test_invariant_10_a_loop_that_swallows_what_is_kept_thrown_starves_nobody() -> None:
    laps: list[int] = []

    def stubborn() -> None:
        while len(laps) < 10_000:
            laps.append(1)
            try:
                park("x")
            except Again:
                pass

    def main() -> None:
        task = spawn(stubborn)
        keep_throwing(task, again)
        for _ in range(5):
            sleep(0)
        sleep(0.001)
        assert len(laps) < 10_000
        task.kill(timeout=5)
        assert isinstance(task.value, TaskExit)

    run(main)


def test_invariant_10_nothing_kept_is_met_inside_shielded() -> None:
    def main() -> None:
        me = current_task()
        keep_throwing(me, again)
        with shielded():
            park("x", 0.001)
            with shielded():
                sleep(0)
                keep_throwing(me, again)
                spawn(keep_throwing, me, other := lambda task: KeyError("other"))
                assert park("x", 0.001) is False
            sleep(0.001)
            with pytest.raises(ValueError, match="once"):
                throw_in(me, ValueError("once"))
                sleep(0)
        with pytest.raises(Again):
            park("x")
        stop_throwing(me, again)
        with pytest.raises(KeyError):
            park("x")
        with shielded(), shielded():
            stop_throwing(me, other)
        park("x", 0.001)
        assert me._pending is None

    run(main)


def test_a_hub_that_is_closed_by_a_task_at_which_something_is_kept_thrown_kills_the_others_first() -> None:
    ended = []

    def body() -> None:
        try:
            park("x")
        finally:
            sleep(0.001)
            ended.append(1)

    hub = make_hub()
    previous = hub.enter()
    try:
        spawn(body)
        sleep(0)
        keep_throwing(current_task(), again)
        assert len(hub.close()) == 1
    finally:
        hub.leave(previous)
    assert ended == [1]


def test_another_thread_may_not_keep_throwing() -> None:
    errors = []

    def main() -> None:
        me = current_task()

        def meddle() -> None:
            with pytest.raises(WrongThreadError) as caught:
                keep_throwing(me, again)
            errors.append(caught.value)

        thread = threading.Thread(target=meddle)
        thread.start()
        thread.join()
        sleep(0)

    run(main)
    assert len(errors) == 1


def test_several_pending_exceptions_come_in_order_one_at_each_park() -> None:
    seen = []

    def body() -> None:
        me = current_task()
        throw_in(me, KeyError(1))
        throw_in(me, KeyError(2))
        for _ in range(2):
            try:
                park("x")
            except KeyError as error:
                seen.append(error.args[0])
        assert park("x", 0.001) is False

    run(body)
    assert seen == [1, 2]


def test_invariant_6_a_pending_timeout_that_is_closed_is_withdrawn() -> None:
    def main() -> None:
        with Timeout(0.001):
            time.sleep(0.005)
            spawn(yield_now)
            hub = current_hub()
            hub._pass_due = True
            fired = []
            hub.call_soon_threadsafe(fired.append, 1)
            # A pass on behalf of another task: this one stays ready, so the throw is pending.
            while not fired:
                hub._budget = 0
                hub._last_pass = 0
                try:
                    yield_now()
                except Timeout:
                    break
        me = current_task()
        assert me._pending is None
        park("x", 0.001)

    run(main)


def test_invariant_7_busy_tasks_let_timers_and_descriptors_in() -> None:
    """Two tasks that never wait do not starve a timer or the inbox."""
    done: list[str] = []

    def busy() -> None:
        while len(done) < 2:
            sleep(0)

    def main() -> None:
        tasks = [spawn(busy), spawn(busy)]
        coopcore.spawn_later(0.005, done.append, "timer")
        hub = current_hub()
        thread = threading.Timer(0.005, lambda: hub.call_soon_threadsafe(done.append, "inbox"))
        thread.start()
        coopcore.joinall(tasks, timeout=30)
        thread.join()

    run(main)
    assert sorted(done) == ["inbox", "timer"]


def test_budget_doubles_while_turns_are_short_and_falls_when_they_are_long() -> None:
    def main() -> None:
        hub = current_hub()
        other = spawn(lambda: [sleep(0) for _ in range(400)])
        most = 0
        for _ in range(300):
            sleep(0)
            most = max(most, hub._allowance)
        assert most == 16
        clock._pressure += 3_000_000
        for _ in range(17):
            sleep(0)
            if hub._allowance < 16:
                break
        else:
            raise AssertionError("the allowance did not fall")
        other.kill(timeout=5)

    clock = JumpingClock()
    run(main, clock=clock)


def test_a_park_without_a_reason_is_refused() -> None:
    with pytest.raises(TypeError, match=r"park\(\) needs a reason"):
        run(park, None)


def test_parking_on_the_hub_is_refused() -> None:
    errors: list[BaseException] = []

    def callback() -> None:
        assert on_hub()
        for wait in (lambda: park("x"), lambda: sleep(0), lambda: sleep(1), lambda: ParkingLot().park(), current_task):
            try:
                wait()  # type: ignore[no-untyped-call]  # lambdas
            except ParkInHubError as error:
                errors.append(error)

    def main() -> None:
        assert not on_hub()
        current_hub().call_soon(callback)
        sleep(0)
        sleep(0)

    run(main)
    assert len(errors) == 5
    assert "runs in a callback on the hub itself" in str(errors[0])


def test_another_thread_may_not_touch_a_task() -> None:
    errors = []

    def main() -> None:
        task = spawn(park, "x")
        fresh = coopcore.Task(sleep)
        sleep(0)

        def meddle() -> None:
            for meddling in (lambda: unpark(task), lambda: task.kill(), lambda: task.join(), fresh.start):
                try:
                    meddling()  # type: ignore[no-untyped-call]  # lambdas
                except WrongThreadError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=meddle, name="meddler")
        thread.start()
        thread.join()
        assert task.state == "parked"
        task.kill(timeout=5)

    run(main)
    assert len(errors) == 4
    assert "'meddler'" in errors[0] and "'MainThread'" in errors[0] and "call_soon_threadsafe" in errors[0]
    assert all("Take hub = get_hub() in thread 'MainThread'; then hub.call_soon_threadsafe(fn, *args), from any thread, calls" in error for error in errors)


def test_a_wake_from_another_thread_names_what_the_task_waits_for() -> None:
    from coop_plugins.queue import Queue

    errors: list[str] = []

    def main() -> None:
        queue = Queue[int]()
        getter = spawn(queue.get)
        getter.name = "getter"
        sleep(0)

        def meddle() -> None:
            with pytest.raises(WrongThreadError) as caught:
                queue.put(1)
            errors.append(str(caught.value))
            with pytest.raises(WrongThreadError) as caught:
                unpark(me)
            errors.append(str(caught.value))

        me = current_task()
        thread = threading.Thread(target=meddle, name="meddler")
        thread.start()
        thread.join(10)
        assert f"waking task 'getter' (it waits for Queue.get of {queue!r}) was called from thread 'meddler'" in errors[0]
        assert f"waking task {me.name!r} (it does not wait now) was called" in errors[1]
        getter.kill()

    run(main)
    assert len(errors) == 2


def test_yield_goes_round_in_fifo_order() -> None:
    order: list[str] = []

    def body(name: str) -> None:
        for _ in range(3):
            order.append(name)
            sleep(0)

    run(lambda: coopcore.joinall([spawn(body, name) for name in "abc"]))
    assert "".join(order) == "abcabcabc"


def test_a_yield_makes_the_hub_of_a_thread() -> None:
    seen: list[Any] = []

    def body() -> None:
        yield_now()
        seen.append(current_hub().thread)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [thread.ident]


def test_a_lone_yielder_goes_on() -> None:
    assert run(lambda: next(sleep(0) for _ in range(100))) is None


def test_invariant_8_an_exception_out_of_a_signal_handler_loses_no_task() -> None:
    """A handler that raises anywhere in a park, a yield or the loop: between taking a task out of ``ready`` and switching to it, too."""
    code = textwrap.dedent("""
        import signal
        from coopcore import joinall, run, sleep, spawn
        from coopcore.lowlevel import ParkingLot

        class Rain(Exception): pass
        met = strikes = 0
        over = False

        def handler(signum, frame):
            global strikes
            strikes += 1
            if not over:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + strikes / 500))  # less and less often: a slow machine is to get on, too
            if "coopcore" in frame.f_code.co_filename and frame.f_code.co_name in NAMES:
                raise Rain

        NAMES = {"sleep", "park_task", "_loop", "_choose", "_choose_for", "yield_now"}

        def yielder(laps):
            done = 0
            while done < laps:
                try:
                    while done < laps:
                        sleep(0)
                        done += 1
                except Rain:
                    global met
                    met += 1
            return done

        def parker(laps):
            done = 0
            while done < laps:
                try:
                    while done < laps:
                        sleep(0.0001)
                        done += 1
                except Rain:
                    pass
            return done

        def main():
            tasks = [spawn(yielder, 4000) for _ in range(4)] + [spawn(parker, 200) for _ in range(4)]
            global over
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            while not all(task.dead for task in tasks):
                try:
                    joinall(tasks, timeout=30)
                    break
                except Rain:
                    pass
            over = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            for _ in range(2):
                try:
                    sleep(0.001)
                except Rain:
                    pass
            print([task.value for task in tasks], met > 0)

        signal.signal(signal.SIGALRM, handler)
        run(main)
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == (f"{[4000] * 4 + [200] * 4} True\n", "")


def rain(hub: coopcore.Hub, before: Callable[[], object] = lambda: None) -> None:
    """A signal comes when the next task was taken out of ``ready`` and not reached; its handler calls ``before`` and raises."""
    popleft = hub._popleft

    def interrupted() -> Any:
        hub._popleft = popleft
        popleft()
        before()
        raise Rain

    hub._popleft = interrupted
    hub._budget = 100
    hub._last_pass = 1 << 62  # no pass is due


def starting() -> tuple[Callable[[], object], Callable[[], bool]]:
    task = Task(sleep)
    return task.start, lambda: task.dead


def parked() -> tuple[Callable[[], object], Callable[[], bool]]:
    task = spawn(park, "a wake")
    sleep(0)
    return lambda: unpark(task), lambda: task.dead


def callback() -> tuple[Callable[[], object], Callable[[], bool]]:
    called: list[int] = []
    return lambda: current_hub().call_soon(called.append, 1), lambda: called == [1]


@pytest.mark.parametrize("entry", [starting, parked, callback])
@pytest.mark.parametrize("wait", [lambda: park("what never comes", timeout=50), lambda: sleep(0), yield_now])
def test_invariant_8_who_was_popped_and_not_reached_has_a_new_entry(wait: Callable[[], object], entry: Callable[[], Any]) -> None:
    def main() -> None:
        make_ready, has_run = entry()
        make_ready()
        rain(current_hub())
        with pytest.raises(Rain):
            wait()
        assert len(current_hub().timers) == 0
        sleep(0.001)
        assert has_run()

    run(main)


def test_invariant_8_a_handler_that_wakes_whom_it_interrupts_and_raises() -> None:
    """The wake is final, so the park returns; the exception comes out of the next one."""

    def main() -> None:
        me = current_task()
        other = spawn(lambda: "went on")
        rain(me.hub, lambda: unpark(me, "woken"))
        assert park("a wake", timeout=50) == "woken"
        with pytest.raises(Rain):
            park("the next")
        assert other.get(timeout=5) == "went on"

    run(main)


def test_invariant_8_an_exception_on_the_hubs_own_stack_reaches_the_main_task() -> None:
    def main() -> None:
        task = spawn(lambda: "went on")
        hub = current_hub()
        rain(hub)
        hub._budget, hub._last_pass = 1, 0  # so it is the hub that takes the task out
        with pytest.raises(Rain):
            park("what never comes", timeout=50)
        assert task.get(timeout=5) == "went on"

    run(main)


def test_invariant_8_an_exception_while_the_others_have_their_turn_comes_after_what_is_kept_thrown() -> None:
    def main() -> None:
        me = current_task()
        keep_throwing(me, again)
        with pytest.raises(Again):
            park("x")
        other = spawn(lambda: "went on")
        rain(me.hub)
        with pytest.raises(Again):
            park("x")
        with pytest.raises(Rain):
            park("x")
        stop_throwing(me, again)
        assert other.get(timeout=5) == "went on"

    run(main)


class Shielded:
    """A reason whose wait is not to end otherwise."""

    wait_is_shielded = True


def test_invariant_9_what_is_thrown_into_a_shielded_wait_is_raised_by_the_first_park_after() -> None:
    log: list[object] = []

    def wait() -> None:
        me = current_task()
        throw_in(me, KeyError("before"))
        for park_ in (lambda: park_shielded(me, Shielded()), lambda: sleep(0), lambda: sleep(0), lambda: sleep(0)):
            try:
                log.append(park_())
            except Exception as error:
                log.append(type(error))

    def main() -> None:
        task = spawn(wait)
        sleep(0)
        throw_in(task, ValueError("meanwhile"))
        sleep(0)
        assert (log, task.state) == ([], "parked")
        unpark(task, "woken")
        task.join()

    run(main)
    assert log == ["woken", KeyError, ValueError, None]


def test_invariant_9_a_timeout_that_is_closed_meanwhile_is_withdrawn_from_a_shielded_wait() -> None:
    def main() -> str:
        me = current_task()
        spawn_later(0.003, unpark, me, "woken")
        with Timeout(0.001):
            value = park_shielded(me, Shielded())
        sleep(0)
        return str(value)

    assert run(main, clock=JumpingClock()) == "woken"


@pytest.mark.parametrize("error", [Deadlock("told"), KeyboardInterrupt(), SystemExit(3)])
def test_invariant_9_what_ends_any_wait_ends_a_shielded_one(error: BaseException) -> None:
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            park_shielded(current_task(), Shielded())
        except BaseException as thrown:
            caught.append(thrown)

    def main() -> None:
        task = spawn(wait)
        sleep(0)
        throw_in(task, error)
        task.join()

    run(main)
    assert caught == [error]


@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_invariant_9_the_end_of_the_hub_ends_a_shielded_wait() -> None:
    tasks: list[Task[Any]] = []

    def main() -> None:
        tasks.append(spawn(lambda: park_shielded(current_task(), Shielded())))
        sleep(0)

    run(main)
    assert isinstance(tasks[0].value, TaskExit)


def test_invariant_10_what_is_kept_thrown_does_not_end_a_shielded_wait() -> None:
    class Shielded:
        wait_is_shielded = True

    seen: list[object] = []

    def body() -> None:
        me = current_task()
        seen.append(park_shielded(me, Shielded()))
        for _ in range(2):
            with pytest.raises(Again):
                sleep(1)
        stop_throwing(me, again)
        sleep(0)

    def main() -> None:
        task = spawn(body)
        sleep(0)
        keep_throwing(task, again)
        assert task.state == "parked"
        assert unpark(task, "woken")
        task.get(timeout=5)
        assert seen == ["woken"]

    run(main)


def test_a_handler_that_raises_before_the_outcome_is_taken_leaves_the_wake_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        interrupted = RaisesOnce(_state.take_outcome)
        monkeypatch.setattr(_state, "take_outcome", interrupted)
        task = spawn(park, "a test", timeout=10)
        sleep(0)
        unpark(task, "woken")
        with pytest.raises(Rain):  # the main task's, as whatever a handler raises in the core
            task.join()
        assert task.get(timeout=5) == "woken"
        assert interrupted.calls > 1

    run(main)


FULL: dict[str, Callable[[], object]] = {
    "sleep(0)": lambda: sleep(0),
    "yield_now": yield_now,
    "sleep": lambda: sleep(1),
    "join": lambda: spawn(int).join(),
    "timed park": lambda: ParkingLot().park(1),
    "Timeout": lambda: park("nothing", Timeout(1, KeyError)),
}


@pytest.mark.parametrize("scheduled", [False, True], ids=["fifo", "a scheduler of its own"])
@pytest.mark.parametrize("first", range(3), ids=["to begin", "to go on", "to call"])
@pytest.mark.parametrize("wait", FULL.values(), ids=FULL)
def test_invariant_11_a_full_stack_loses_nobody(wait: Callable[[], object], first: int, scheduled: bool) -> None:
    """At every depth, whoever is to run next."""
    outcomes = set()

    def main() -> None:
        hub, me, lot = current_hub(), current_task(), ParkingLot()
        for frames, budget in itertools.product(range(16), (0, 100)):  # with the hot path, and without
            log: list[str] = []
            spawn(lambda log=log: (lot.park(), log.append("went on")))
            sleep(0)
            ready: list[Callable[[], object]] = [
                lambda log=log: spawn(log.append, "began"),  # type: ignore[misc]  # lambdas
                lot.unpark,
                lambda log=log: hub.call_soon(log.append, "called"),  # type: ignore[misc]  # the same
            ]
            for make_ready in ready[first:] + ready[:first]:
                make_ready()
            timers = len(hub.timers)
            hub._budget = budget
            try:
                with_room(frames, wait)
                outcomes.add("waited")
            except RecursionError:
                outcomes.add("full")
            except KeyError:
                outcomes.add("timed out")
            assert (entries(me), me._reason, me._pending, len(hub.timers)) == (0, None, None, timers)
            coopcore.idle()
            assert sorted(log) == ["began", "called", "went on"] and hub.tasks() == [me]
            assert park("nothing", 5) is False  # and no timer of before ends it

    class Fifo(list[Any]):
        def popleft(self) -> Any:
            return self.pop(0)

    run(main, clock=JumpingClock(), scheduler=Fifo() if scheduled else None)
    assert "full" in outcomes and len(outcomes) > 1


def test_invariant_11_a_full_stack_in_a_greenlet_that_is_no_tasks() -> None:
    from greenlet import greenlet

    seen: list[object] = []

    def body() -> None:
        for frames in range(16):
            try:
                seen.append(with_room(frames, lambda: ParkingLot().park(1)))
            except RecursionError:
                seen.append("full")

    def main() -> None:
        greenlet(body).switch()
        while len(seen) < 16:
            sleep(10)

    run(main, clock=JumpingClock())
    assert set(seen) == {"full", False}


def test_invariant_11_not_where_the_hub_was_closed() -> None:
    hub = make_hub()
    previous = hub.enter()
    try:
        hub.close()
        for wait in (lambda: sleep(0), yield_now, lambda: park("nothing")):
            with pytest.raises(RecursionError):
                for frames in range(9, 0, -1):
                    try:
                        with_room(frames, wait)  # type: ignore[arg-type]  # lambdas
                    except HubClosedError:
                        pass
    finally:
        hub.leave(previous)
