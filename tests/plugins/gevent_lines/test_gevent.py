"""The section on the package itself: spawn, sleep, kill, joinall, wait and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

FOREVER = 60.0


# -- starting -------------------------------------------------------------------------------------------------------------


def test_greenlet(lib: Any) -> None:
    """Greenlet(run=None, *args, **kwargs): is not started by being made."""
    task = lib.Greenlet(lambda *args, **kwargs: (args, kwargs), 1, a=2)
    lib.settle()
    assert not task.started and not task.ready()
    task.start()
    assert task.get() == ((1,), {"a": 2})


def test_spawn(lib: Any, log: Any) -> None:
    """spawn(f, *args, **kwargs): starts it, after what is ready now, in order."""
    first = lib.spawn(lambda *args, **kwargs: log.append((args, kwargs)), 1, a=2)
    second = lib.spawn(log.append, "second")
    assert log == [] and first.started
    lib.joinall([first, second])
    assert log == [((1,), {"a": 2}), "second"]


def test_spawn_later(lib: Any, log: Any) -> None:
    """spawn_later(seconds, f, *args, **kwargs): in the order of time."""
    late, early = lib.spawn_later(FOREVER, log.append, "late"), lib.spawn_later(0.001, log.append, "early")
    assert lib.joinall([late, early], count=1) == [early]
    lib.spawn_later(0.001, log.append, "next").join()
    assert log == ["early", "next"] and not late.ready()


def test_spawn_what_cannot_be_called(lib: Any) -> None:
    """What cannot be called is a TypeError at once."""
    assert lib.outcome(lib.spawn, 3) == "raises TypeError"


def test_getcurrent(lib: Any) -> None:
    """getcurrent() is the running greenlet."""
    task = lib.spawn(lib.getcurrent)
    assert task.get() is task
    assert lib.getcurrent() is lib.getcurrent() is not task


def test_get_hub(lib: Any) -> None:
    """get_hub(): one per native thread, made when it is needed."""
    import threading

    hubs = []

    def other() -> None:
        hubs.append(lib.get_hub())
        hubs[0].close() if lib.ours else hubs[0].destroy()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(20)
    assert lib.get_hub() is lib.get_hub() is not hubs[0]


def test_greenlet_exit(lib: Any) -> None:
    """GreenletExit is a BaseException, and no Exception."""
    assert issubclass(lib.GreenletExit, BaseException) and not issubclass(lib.GreenletExit, Exception)


# -- sleeping -------------------------------------------------------------------------------------------------------------


def test_sleep_yields(lib: Any, log: Any) -> None:
    """sleep(0) lets every other ready one run once."""

    def steps(name: str) -> None:
        for number in range(3):
            log.append(f"{name}{number}")
            lib.sleep(0)

    lib.joinall([lib.spawn(steps, "a"), lib.spawn(steps, "b")])
    assert log == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_sleep_without_an_argument(lib: Any) -> None:
    """sleep(seconds=0, ref=True) returns None."""
    assert lib.sleep() is None
    assert lib.sleep(seconds=0.001, ref=True) is None


def test_sleep_of_a_negative_time(lib: Any) -> None:
    """sleep(-1) yields (gevent), or is the mistake that it is for time.sleep."""
    assert lib.outcome(lib.sleep, -1) == lib.differ("`sleep(-1)` yields", gevent=None, ours="raises ValueError")


def test_yielding_does_not_starve_timers(lib: Any) -> None:
    """Whoever yields all the time does not keep timers and IO waiting."""
    due = lib.spawn_later(0.001, str)
    while not due.ready():
        lib.sleep(0)


def test_ref_false_does_not_keep_wait_alive(lib: Any) -> None:
    """ref=False does not keep wait() alive."""
    (sleeper,) = lib.start(lambda: lib.sleep(FOREVER, ref=False))
    assert lib.wait() is True
    assert lib.wait(timeout=FOREVER) is True
    lib.spawn_later(0.001, str)
    assert lib.wait() is True
    assert not sleeper.ready()


def test_ref_false_in_one_that_begins_to_sleep_during_the_wait(lib: Any) -> None:
    """ref=False does not keep wait() alive, whenever that sleep begins."""
    sleeper = lib.spawn_later(0.001, lib.sleep, FOREVER, False)
    assert lib.wait() is True
    assert sleeper.started and not sleeper.ready()


def test_idle(lib: Any, log: Any) -> None:
    """idle(priority=0): until nothing else is ready."""

    def steps() -> None:
        for number in range(3):
            lib.sleep(0)
            log.append(number)

    lib.spawn(steps)
    assert lib.idle() is None
    if lib.ours:  # gevent's own queue of callbacks counts as idle between two of them
        assert log == [0, 1, 2]
    assert lib.idle(0) is None


# -- killing --------------------------------------------------------------------------------------------------------------


def test_kill(lib: Any) -> None:
    """kill(greenlet, exception=GreenletExit) throws, and does not wait."""
    a, b = lib.start(lambda: lib.sleep(FOREVER), lambda: lib.sleep(FOREVER))
    assert lib.kill(a) is None and lib.kill(b, KeyError) is None
    assert not a.ready() and not b.ready()
    lib.joinall([a, b])
    assert isinstance(a.value, lib.GreenletExit) and isinstance(b.exception, KeyError)


def test_killall_waits(lib: Any) -> None:
    """killall(greenlets, exception, block=True, timeout=None): all are dead when it returns."""
    tasks = lib.start(*[lambda: lib.sleep(FOREVER)] * 3)
    assert lib.killall(tasks) is None
    assert all(task.ready() and isinstance(task.value, lib.GreenletExit) for task in tasks)


def test_killall_does_not_wait_without_block(lib: Any) -> None:
    """killall(block=False) returns at once."""
    tasks = lib.start(*[lambda: lib.sleep(FOREVER)] * 3)
    lib.killall(tasks, block=False)
    assert not any(task.ready() for task in tasks)
    lib.joinall(tasks)
    assert all(isinstance(task.value, lib.GreenletExit) for task in tasks)


def test_killall_with_an_exception(lib: Any) -> None:
    """killall(exception=...) is their error."""
    tasks = lib.start(*[lambda: lib.sleep(FOREVER)] * 2)
    lib.killall(tasks, KeyError)
    assert all(isinstance(task.exception, KeyError) for task in tasks)


def test_killall_accepts_iterators(lib: Any) -> None:
    """killall accepts iterators."""
    tasks = lib.start(*[lambda: lib.sleep(FOREVER)] * 3)
    lib.killall(iter(tasks))
    assert all(task.ready() for task in tasks)
    lib.killall(iter(()))
    lib.killall([])


def test_killall_of_unstarted(lib: Any, log: Any) -> None:
    """killall: unstarted ones never run, whether start was called or not."""
    scheduled, made = lib.spawn(log.append, 1), lib.Greenlet(log.append, 2)
    lib.killall([scheduled, made])
    made.start()
    lib.settle()
    assert log == [] and scheduled.ready() and made.ready()
    assert isinstance(scheduled.value, lib.GreenletExit) and isinstance(made.value, lib.GreenletExit)


@pytest.mark.parametrize("make", ["seconds", "Timeout"])
def test_killall_raises_timeout(lib: Any, make: str) -> None:
    """killall raises Timeout when its timeout elapses with block."""
    let_go = lib.Event()

    def stubborn() -> None:
        try:
            lib.sleep(FOREVER)
        finally:
            let_go.wait()

    tasks = lib.start(stubborn, stubborn)
    timeout = 0.001 if make == "seconds" else lib.Timeout(0.001)
    assert lib.outcome(lib.killall, tasks, timeout=timeout) == "raises Timeout"
    let_go.set()
    lib.joinall(tasks)


def test_killall_of_the_dead(lib: Any) -> None:
    """killall of those that have ended changes nothing."""
    task = lib.spawn(lambda: 5)
    task.join()
    lib.killall([task, task])
    assert task.value == 5


# -- joining --------------------------------------------------------------------------------------------------------------


def test_joinall_in_the_order_of_their_ends(lib: Any) -> None:
    """joinall(greenlets, timeout, raise_error, count): result order = the order in which they ended."""
    gates = [lib.Event() for _ in range(3)]
    tasks = [lib.spawn(gate.wait) for gate in gates]
    lib.spawn(lambda: [(gates[number].set(), lib.settle()) for number in (2, 0, 1)])
    assert lib.joinall(tasks) == [tasks[2], tasks[0], tasks[1]]


def test_joinall_timeout_and_count(lib: Any) -> None:
    """joinall returns those that have ended within the timeout, or the first `count`."""
    quicker = lib.spawn(str)
    slow, quick = lib.spawn(lib.sleep, FOREVER), lib.spawn(lambda: (quicker.join(), lib.sleep(0.001)))
    assert lib.joinall([slow, quick, quicker], count=1) == [quicker]
    assert lib.joinall([slow, quick, quicker], count=2) == [quicker, quick]
    assert lib.joinall([slow], timeout=0.001) == []
    assert lib.joinall([slow], timeout=0) == []
    assert lib.joinall([]) == []


def test_joinall_raise_error(lib: Any, fail: Any) -> None:
    """raise_error raises the error of the first that fails, though others still run; without it nothing is raised."""
    slow, failing = lib.spawn(lib.sleep, FOREVER), lib.spawn(fail)
    assert lib.joinall([failing]) == [failing]
    assert lib.outcome(lib.joinall, [slow, lib.spawn(fail)], raise_error=True) == "raises ValueError"
    assert not slow.ready()
    assert failing.exception is not None


# -- wait and iwait -------------------------------------------------------------------------------------------------------


class Minimal:
    """All that `wait` needs: rawlink and unlink."""

    def __init__(self) -> None:
        self.links: list[Any] = []

    def rawlink(self, callback: Any) -> None:
        self.links.append(callback)

    def unlink(self, callback: Any) -> None:
        if callback in self.links:
            self.links.remove(callback)

    def become_ready(self) -> None:
        for link in list(self.links):
            link(self)


def test_wait_needs_rawlink_and_unlink_only(lib: Any) -> None:
    """wait()/iwait objects need only rawlink and unlink."""
    thing = Minimal()
    lib.spawn(lambda: lib.call_soon(thing.become_ready))
    assert lib.wait([thing]) == [thing]
    assert thing.links == []
    assert lib.wait([thing], timeout=0.001) == []
    assert thing.links == []


def test_wait_for_one_of_each(lib: Any) -> None:
    """Greenlet, Event, AsyncResult, Semaphore and imap can be waited for."""
    event, result, semaphore = lib.Event(), lib.AsyncResult(), lib.Semaphore(0)
    task, mapped = lib.spawn(lib.sleep, 0), lib.Pool(1).imap(str, [1, 2])
    lib.spawn(event.set)
    lib.spawn(result.set, 1)
    lib.spawn(semaphore.release)
    things = [event, result, semaphore, task, mapped]
    assert sorted(map(id, lib.wait(things))) == sorted(map(id, things))
    assert semaphore.counter == 1


def test_what_cannot_be_waited_for(lib: Any) -> None:
    """Anything else is an error."""
    assert lib.outcome(lib.wait, [3]) == lib.differ("`wait([3])` raises `TypeError`", gevent="raises AttributeError", ours="raises TypeError")


def test_wait_for_nothing(lib: Any) -> None:
    """wait([]) == [], though others run."""
    lib.spawn(lib.sleep, FOREVER)
    assert lib.wait([]) == []
    assert list(lib.iwait([])) == []


def test_wait_for_all(lib: Any) -> None:
    """wait(None) waits until everything is done -> True, or False after its timeout."""
    task = lib.spawn(lib.sleep, FOREVER)
    assert lib.wait(timeout=0.001) is False
    lib.spawn_later(0.001, task.kill)
    assert lib.wait() is True
    assert task.ready()
    assert lib.wait(timeout=FOREVER) is True


def test_wait_for_all_of_which_some_never_end(lib: Any) -> None:
    """wait(None) with nothing left but those that nothing can wake: True (gevent), or the Deadlock that it is."""
    lib.start(lib.Event().wait)
    row = "`wait()`, with only tasks left that nothing can wake, raises `Deadlock`"
    assert lib.outcome(lib.wait) == lib.differ(row, gevent=True, ours="raises LoopExit")
    # gevent's finds that out in a turn of its loop, and would take the timeout for the end if that came first
    assert lib.wait(timeout=lib.differ(row, gevent=FOREVER, ours=0.001)) is lib.differ(row, gevent=True, ours=False)


def test_result_order_is_readiness_order(lib: Any) -> None:
    """Result order = readiness order, of wait and of iwait."""
    for collect in (lib.wait, lambda things: list(lib.iwait(things))):
        a, b, c = lib.Event(), lib.Event(), lib.Event()
        lib.spawn(lambda c=c, a=a, b=b: (c.set(), lib.sleep(0.001), a.set(), lib.sleep(0.001), b.set()))
        assert collect([a, b, c]) == [c, a, b]


def test_those_that_are_ready_come_first(lib: Any) -> None:
    """What is ready already comes in the order that was given."""
    a, b, never = lib.Event(), lib.Event(), lib.Event()
    a.set()
    b.set()
    assert lib.wait([never, b, a], count=2) == [b, a]


def test_wait_count_and_timeout(lib: Any) -> None:
    """wait(objects, timeout, count)."""
    a, b = lib.Event(), lib.Event()
    a.set()
    assert lib.wait([a, b], count=1) == [a]
    assert lib.wait([a, b], timeout=0.001) == [a]
    assert lib.wait([b], timeout=0) == []
    assert lib.wait([b], 0.001, 1) == []
    assert b.linkcount() == 0 if lib.ours else True


def test_iwait_is_lazy(lib: Any) -> None:
    """iwait yields each as it becomes ready, and the others go on meanwhile."""
    a, b = lib.Event(), lib.Event()
    lib.spawn(a.set)
    seen = []
    for thing in lib.iwait([a, b]):
        seen.append(thing)
        b.set()
    assert seen == [a, b]


def test_iwait_is_a_context_manager(lib: Any) -> None:
    """iwait is an iterator AND a context manager, which unlinks on exit."""
    a, b = Minimal(), Minimal()
    lib.spawn(lambda: lib.call_soon(a.become_ready))
    with lib.iwait([a, b]) as ready:
        assert iter(ready) is ready
        assert next(ready) is a
        assert len(b.links) == 1
    assert (a.links, b.links) == ([], [])


def test_iwait_unlinks_when_it_is_over(lib: Any) -> None:
    """Read to its end, iwait has undone its links; also after its timeout."""
    a, b = Minimal(), Minimal()
    lib.spawn(lambda: lib.call_soon(a.become_ready))
    assert list(lib.iwait([a, b], count=1)) == [a]
    assert list(lib.iwait([a, b], timeout=0.001)) == []
    assert (a.links, b.links) == ([], [])


def test_a_generator(lib: Any) -> None:
    """A generator -> TypeError: it has no len()."""

    def generator() -> Iterator[Any]:
        yield lib.spawn(str)

    assert lib.outcome(lambda: list(lib.iwait(generator()))) == "raises TypeError"
    row = "`wait(generator)` and `joinall(generator)` are accepted"
    got = [lib.outcome(lambda: len(lib.wait(generator()))), lib.outcome(lambda: len(lib.joinall(generator())))]
    assert got == lib.differ(row, gevent=["raises TypeError"] * 2, ours=[1, 1])


def test_the_same_thing_twice(lib: Any) -> None:
    """The same thing given twice comes once, and no link is left."""
    thing = Minimal()
    lib.spawn(lambda: lib.call_soon(thing.become_ready))
    assert lib.wait([thing, thing], timeout=FOREVER) == lib.differ("`wait([x, x])` returns `[x]`", gevent=[thing, thing], ours=[thing])
    assert thing.links == []


def test_a_wait_that_is_killed_or_times_out_unlinks(lib: Any) -> None:
    """Whatever ends the wait, its links are undone."""
    thing = Minimal()
    (waiter,) = lib.start(lambda: lib.wait([thing]))
    assert len(thing.links) == 1
    waiter.kill()
    assert thing.links == []
    assert lib.with_timeout(0.001, lib.wait, [thing], timeout_value="late") == "late"
    assert thing.links == []


# -- where nothing can wait -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocked", ["Event().wait", "Queue().get", "AsyncResult().get", "Channel().get", "Greenlet(str).join"])
def test_loop_exit(lib: Any, blocked: str) -> None:
    """The main greenlet blocks with nothing scheduled: LoopExit. (Not for gevent's Semaphore, which another thread might release.)"""
    assert lib.outcome(eval(f"lib.{blocked}")) == "raises LoopExit"


def test_loop_exit_says_more(lib: Any) -> None:
    """LoopExit: the hub and its handles in args (gevent); who waits for whom, here."""
    with pytest.raises(lib.LoopExit) as caught:
        lib.Event().wait()
    if lib.differ("`LoopExit`", gevent=False, ours=True):
        assert "Event" in str(caught.value)
    else:
        assert caught.value.args[1] is lib.get_hub()


def test_blocking_in_a_callback_of_the_hub(lib: Any) -> None:
    """A blocking call inside a hub callback: BlockingSwitchOutError."""
    assert lib.on_hub(lib.Event().wait) == "raises BlockingSwitchOutError"
    assert lib.on_hub(lib.AsyncResult().get) == "raises BlockingSwitchOutError"
    assert lib.on_hub(lib.sleep, 0.001) == "raises BlockingSwitchOutError"
    assert lib.on_hub(lib.spawn(lib.sleep, FOREVER).join) == "raises BlockingSwitchOutError"


# -- what ends the program ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_system_errors_reach_the_main_greenlet(lib: Any, error: type[BaseException]) -> None:
    """SystemExit and KeyboardInterrupt are re-raised in the main greenlet."""

    def leave() -> None:
        raise error(3)

    task = lib.spawn(leave)
    with pytest.raises(error) as caught:
        lib.sleep(FOREVER)
    assert caught.value.args == (3,)
    assert task.exception is caught.value


def test_system_error(lib: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """SystemError is re-raised in the main greenlet, too (gevent)."""

    def break_down() -> None:
        raise SystemError("on purpose")

    task = lib.spawn(break_down)
    row = "a task that raises `SystemError` has failed, as with any other error"
    assert lib.outcome(lib.sleep, 0.001) == lib.differ(row, gevent="raises SystemError", ours=None)
    assert isinstance(task.exception, SystemError)
