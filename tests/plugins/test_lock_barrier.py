"""Barrier: the invariants of ``coop_plugins.lock._barrier`` by name, and what users of threading know of it."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from seams.hubs import in_a_jumping_hub, pass_time, raise_from_another_thread, settle

from coop_plugins.lock import Barrier, BrokenBarrierError
from coopcore import Deadlock, Task, TaskExit, Timeout, current_task, get_hub, run, sleep, spawn
from coopcore.errors import ParkInHubError, WrongThreadError


def parties(barrier: Barrier, names: str, log: list[Any], timeout: Any = None) -> list[Task[None]]:
    """A task for each name, that waits once and notes what came of it. They wait when this returns."""

    def meet(name: str) -> None:
        try:
            log.append((name, barrier.wait(timeout)))
        except BaseException as error:
            log.append((name, type(error).__name__))
            if not isinstance(error, BrokenBarrierError):
                raise

    tasks = [spawn(meet, name) for name in names]
    settle()
    return tasks


# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_jumping_hub
def test_invariant_1_all_pass_together_when_the_last_has_come() -> None:
    barrier = Barrier(3)
    log: list[Any] = []
    parties(barrier, "ab", log)
    assert (log, barrier.n_waiting, barrier.broken) == ([], 2, False)
    parties(barrier, "c", log)
    assert sorted(log) == [("a", 0), ("b", 1), ("c", 2)]
    assert (barrier.n_waiting, barrier.broken) == (0, False)


@in_a_jumping_hub
def test_invariant_2_generations_do_not_mix() -> None:
    barrier = Barrier(3)
    log: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for lap in range(10):
            for _ in range((number * 7 + lap) % 3):
                sleep(0)
            log.append((lap, barrier.wait()))

    tasks = [spawn(work, number) for number in range(3)]
    for task in tasks:
        task.get()
    assert [lap for lap, _ in log] == [lap for lap in range(10) for _ in range(3)]
    assert all(sorted(place for lap, place in log if lap == which) == [0, 1, 2] for which in range(10))


@in_a_jumping_hub
def test_invariant_2_who_is_slow_to_leave_is_not_counted_again() -> None:
    barrier = Barrier(2)
    log: list[Any] = []
    parties(barrier, "a", log)
    assert barrier.wait() == 1
    assert (log, barrier.n_waiting) == ([], 0)  # it has passed, and has not run
    with pytest.raises(BrokenBarrierError):
        barrier.wait(0.001)
    assert log == [("a", 0)]
    assert barrier.broken


@pytest.mark.parametrize("how", ["kill", "timeout", "enclosing timeout", "default timeout", "timeout of its own"])
@in_a_jumping_hub
def test_invariant_3_who_leaves_breaks_it_for_the_others(how: str) -> None:
    barrier = Barrier(4, timeout=0.001 if how == "default timeout" else None)
    log: list[Any] = []
    tasks = parties(barrier, "a", log, None if how == "default timeout" else 5)
    if how == "kill":
        parties(barrier, "b", log)[0].kill()
    elif how == "enclosing timeout":
        with pytest.raises(Timeout), Timeout(0.001):
            barrier.wait()
    elif how == "timeout of its own":
        with pytest.raises(KeyError):
            barrier.wait(Timeout(0.001, KeyError))  # type: ignore[arg-type]  # a Timeout does as well
    else:
        with pytest.raises(BrokenBarrierError, match="did not come" if how == "timeout" else "meanwhile"):
            barrier.wait(0.001 if how == "timeout" else None)
    for task in tasks:
        task.join()
    assert ("a", "BrokenBarrierError") in log
    assert (barrier.broken, barrier.n_waiting) == (True, 0)
    with pytest.raises(BrokenBarrierError, match="reset"):
        barrier.wait()


@in_a_jumping_hub
def test_invariant_4_a_kill_or_timeout_after_the_last_has_come_breaks_nothing() -> None:
    barrier = Barrier(4)
    log: list[Any] = []
    tasks = parties(barrier, "ab", log) + parties(barrier, "c", log, 0.001)
    assert barrier.wait() == 3
    tasks[0].kill(block=False)
    pass_time(0.002)
    settle()
    assert sorted(log) == [("a", 0), ("b", 1), ("c", 2)]
    assert not barrier.broken


@in_a_jumping_hub
def test_invariant_4_the_last_comes_in_the_moment_in_which_the_others_leave() -> None:
    barrier = Barrier(3)
    log: list[Any] = []
    tasks = parties(barrier, "a", log) + parties(barrier, "b", log, 0.001)
    tasks[0].kill(block=False)
    pass_time(0.002)
    assert barrier.wait() == 2  # neither of them has run
    for task in tasks:
        task.join()
    assert sorted(log, key=str) == [("a", "TaskExit"), ("b", 1)]
    assert (barrier.broken, barrier.n_waiting) == (False, 0)


@in_a_jumping_hub
def test_invariant_5_the_action_runs_once_before_anybody_goes_on() -> None:
    log: list[Any] = []

    def action() -> None:
        log.append(("begins", 0))
        settle()
        log.append(("n", barrier.n_waiting))

    barrier = Barrier(2, action)
    parties(barrier, "abcd", log)
    settle()
    settle()
    assert [log[0], log[1]] == [("begins", 0), ("n", 2)]
    assert sorted(log[2:4]) == [("a", 0), ("b", 1)]
    assert [log[4], log[5]] == [("begins", 0), ("n", 2)]
    assert sorted(log[6:]) == [("c", 0), ("d", 1)]


@in_a_jumping_hub
def test_invariant_5_an_action_that_raises_breaks_it() -> None:
    def action() -> None:
        sleep(0)
        raise KeyError

    barrier = Barrier(2, action=action)
    log: list[Any] = []
    tasks = parties(barrier, "abc", log)
    settle()
    assert sorted(log) == [("a", "BrokenBarrierError"), ("b", "KeyError"), ("c", "BrokenBarrierError")]
    assert isinstance(tasks[1].exception, KeyError)
    assert barrier.broken


@in_a_jumping_hub
def test_invariant_5_kills_and_timeouts_during_the_action() -> None:
    log: list[Any] = []
    barrier = Barrier(4, lambda: (sleep(0.004), log.append(("acted", 0))))
    tasks = parties(barrier, "a", log) + parties(barrier, "b", log, 0.001) + parties(barrier, "c", log) + parties(barrier, "d", log)
    tasks[2].kill()
    for task in tasks:
        task.join()
    assert log[:2] == [("c", "TaskExit"), ("acted", 0)]
    assert sorted(log[2:]) == [("a", 0), ("b", 1), ("d", 3)]
    assert not barrier.broken
    log.clear()
    tasks = parties(barrier, "efgh", log)
    tasks[3].kill()  # it runs the action
    settle()
    assert sorted(log) == [("e", "BrokenBarrierError"), ("f", "BrokenBarrierError"), ("g", "BrokenBarrierError"), ("h", "TaskExit")]
    assert barrier.broken


@pytest.mark.parametrize("call", ["abort", "reset"])
@in_a_jumping_hub
def test_invariants_5_and_6_broken_during_the_action(call: str) -> None:
    barrier = Barrier(2, lambda: sleep(0.002))
    log: list[Any] = []
    tasks = parties(barrier, "abc", log)
    getattr(barrier, call)()
    for task in tasks[:2]:
        task.join()
    settle()
    assert log[:2] == [("a", "BrokenBarrierError"), ("b", "BrokenBarrierError")]
    assert barrier.broken == (call == "abort")
    if call == "reset":
        assert (log[2:], barrier.n_waiting) == ([], 1)
        assert barrier.wait() == 1
    tasks[2].join()
    assert log[2:] == [("c", 0 if call == "reset" else "BrokenBarrierError")]


@in_a_jumping_hub
def test_invariant_4_who_was_killed_during_the_action_is_not_woken_by_its_end() -> None:
    barrier = Barrier(2, lambda: sleep(1))
    log: list[Any] = []

    def leave() -> None:
        try:
            barrier.wait()
        except TaskExit:
            sleep(10)
            log.append("slept")

    first = spawn(leave)
    settle()
    second = spawn(barrier.wait)
    settle()
    first.kill(block=False)
    second.join()
    sleep(5)
    assert log == []
    first.join()
    assert log == ["slept"]


@in_a_jumping_hub
def test_invariant_5_an_action_that_raises_after_it_was_broken_raises() -> None:
    def action() -> None:
        barrier.reset()
        raise KeyError

    barrier = Barrier(1, action)
    with pytest.raises(KeyError):
        barrier.wait()
    assert not barrier.broken


@in_a_jumping_hub
def test_invariant_5_who_comes_during_the_action_may_leave() -> None:
    barrier = Barrier(2, lambda: sleep(0.004))
    log: list[Any] = []
    tasks = parties(barrier, "ab", log)
    parties(barrier, "c", log)[0].kill()
    assert log == [("c", "TaskExit")]
    with pytest.raises(BrokenBarrierError, match="action"):
        barrier.wait(0.001)
    for task in tasks:
        task.join()
    assert sorted(log) == [("a", "BrokenBarrierError"), ("b", "BrokenBarrierError"), ("c", "TaskExit")]


@in_a_jumping_hub
def test_invariant_6_a_broken_one_refuses_everybody_until_reset() -> None:
    barrier = Barrier(2)
    log: list[Any] = []
    parties(barrier, "a", log)
    barrier.abort()
    barrier.abort()
    assert (barrier.broken, barrier.n_waiting) == (True, 0)
    parties(barrier, "b", log)
    assert log == [("a", "BrokenBarrierError"), ("b", "BrokenBarrierError")]
    barrier.reset()
    assert not barrier.broken
    parties(barrier, "c", log)
    barrier.reset()
    settle()
    assert log[2:] == [("c", "BrokenBarrierError")]
    parties(barrier, "de", log)
    assert sorted(log[3:]) == [("d", 0), ("e", 1)]


@in_a_jumping_hub
def test_invariant_7_waiters_of_another_thread() -> None:
    barrier = Barrier(2)
    log: list[Any] = []
    parties(barrier, "a", log)

    def others() -> None:
        for call in (barrier.wait, barrier.abort, barrier.reset):
            with pytest.raises(WrongThreadError):
                call()

    raise_from_another_thread(lambda: run(others))
    assert (barrier.n_waiting, barrier.broken) == (1, False)
    assert barrier.wait() == 1
    settle()
    raise_from_another_thread(barrier.reset)  # nobody waits
    acting = Barrier(1, lambda: sleep(0.005))
    task = spawn(acting.wait)
    settle()

    def knock() -> None:
        for call in (acting.wait, acting.abort, acting.reset):  # its one party is not among those who wait
            with pytest.raises(WrongThreadError):
                call()

    raise_from_another_thread(lambda: run(knock))
    task.get()


# -- what users of threading know ---------------------------------------------------------------------------------------


def test_bad_input() -> None:
    for bad in (0, -1):
        with pytest.raises(ValueError, match="parties must be > 0"):
            Barrier(bad)
    with pytest.raises(TypeError, match="parties is an int"):
        Barrier("2")  # type: ignore[arg-type]  # on purpose

    def main() -> None:
        barrier = Barrier(2)
        task = spawn(barrier.wait)
        settle()
        with pytest.raises(TypeError, match="seconds"):
            barrier.wait("soon")  # type: ignore[arg-type]  # on purpose
        refused: list[BaseException] = []

        def on_hub() -> None:
            try:
                barrier.wait()
            except ParkInHubError as error:
                refused.append(error)

        get_hub().call_soon(on_hub)
        settle()
        assert len(refused) == 1
        assert (barrier.n_waiting, barrier.broken) == (1, False)
        assert barrier.wait() == 1
        task.join()

    run(main)


def test_the_error_is_that_of_threading() -> None:
    assert BrokenBarrierError is threading.BrokenBarrierError


@in_a_jumping_hub
def test_the_repr_is_that_of_threading() -> None:
    ours, theirs = Barrier(2), threading.Barrier(2)
    for step in (lambda barrier: None, lambda barrier: barrier.abort(), lambda barrier: barrier.reset()):
        for barrier in (ours, theirs):
            step(barrier)
        assert repr(ours) == repr(theirs).replace("threading", "coop_plugins.lock").replace(hex(id(theirs)), hex(id(ours)))
    parties(ours, "a", [])
    assert "waiters=1/2" in repr(ours)
    ours.abort()
    settle()


@in_a_jumping_hub
def test_one_party_need_not_wait() -> None:
    called: list[object] = []
    barrier = Barrier(1, lambda: called.append(current_task()))
    assert [barrier.wait(), barrier.wait()] == [0, 0]
    assert called == [current_task()] * 2
    assert barrier.parties == 1


def test_a_deadlock_report_says_how_many_are_missing_and_who_acts() -> None:
    barrier = Barrier(3)

    def main() -> None:
        task = spawn(barrier.wait)
        try:
            barrier.wait()
        finally:
            task.join()

    with pytest.raises(Deadlock) as caught:
        run(main)
    assert "waits for 1 more at <coop_plugins.lock.Barrier at" in str(caught.value)
    assert barrier.broken

    acting = Barrier(1, lambda: acting.wait())

    def knock() -> None:
        task = spawn(acting.wait)
        task.name = "actor"
        task.join()

    with pytest.raises(Deadlock) as caught:
        run(knock)
    assert "actor waits for the end of the action of <coop_plugins.lock.Barrier" in str(caught.value)
    assert "which is up to actor" in str(caught.value)
    two = Barrier(2, lambda: sleep(0.001))

    def report() -> None:
        first, second = spawn(two.wait), spawn(two.wait)
        settle()
        assert "the end of the action" in first.waiting_on
        assert list(two.wait_owners()) == [second]  # type: ignore[union-attr]  # it waits
        second.join()
        first.join()

    run(report)


@in_a_jumping_hub
def test_a_barrier_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        barrier = Barrier(2, lambda: sleep(0))
        parties(barrier, "abc", [])[2].kill()
        settle()
        gone = weakref.ref(barrier)
        del barrier
        settle()
        assert gone() is None
    finally:
        gc.enable()
