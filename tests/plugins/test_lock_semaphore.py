"""The semaphores: the invariants of ``coop_plugins.lock._semaphore`` by name, and what users of threading and gevent know of them."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from greenlet import getcurrent
from seams.hubs import in_a_hub, in_a_jumping_hub, in_another_thread

from coop_plugins.lock import BoundedSemaphore, DummySemaphore, Semaphore
from coopcore import Deadlock, Task, TaskExit, Timeout, get_hub, idle, iwait, run, sleep, spawn, wait
from coopcore.errors import ParkInHubError, WrongThreadError
from coopcore.lowlevel import park, unpark


def acquirers(semaphore: Semaphore, names: str, log: list[Any]) -> list[Task[None]]:
    """A task for each name that acquires, notes its name, and keeps the permit. They are in line when this returns."""

    def acquire(name: str) -> None:
        semaphore.acquire()
        log.append(name)

    tasks = [spawn(acquire, name) for name in names]
    idle()
    return tasks


# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_1_permits_are_neither_made_nor_lost() -> None:
    semaphore = Semaphore(2)
    log: list[str] = []
    tasks = acquirers(semaphore, "abcde", log)
    assert (log, semaphore.counter) == (["a", "b"], 0)
    tasks[2].kill()
    semaphore.release()
    tasks[3].kill()  # it has the permit already
    idle()
    assert (log, semaphore.counter) == (["a", "b", "d"], 0)
    semaphore.release(4)
    idle()
    assert (log, semaphore.counter) == (["a", "b", "d", "e"], 3)


@in_a_hub
def test_invariant_2_a_wake_is_final() -> None:
    semaphore = Semaphore(0)
    log: list[object] = []

    def acquire() -> None:
        log.append(semaphore.acquire())
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(acquire)
    idle()
    semaphore.release()
    task.kill(block=False)
    idle()
    assert log == [True, "killed later"]
    assert semaphore.counter == 0


@in_a_jumping_hub
def test_invariant_2_a_wake_is_final_also_for_an_enclosing_timeout() -> None:
    semaphore = Semaphore(0)

    def acquire() -> bool:
        with Timeout(0.001, False):
            got = semaphore.acquire()
            get_hub().clock._now += 2_000_000  # type: ignore[attr-defined]  # of `JumpingClock`: it is due, and the hub has not looked
            sleep(0)
            return got
        raise AssertionError("the timeout took a permit away")

    task = spawn(acquire)
    idle()
    semaphore.release()
    assert task.get(timeout=5) is True


@in_a_hub
def test_invariant_3_nobody_waits_while_a_permit_is_free() -> None:
    semaphore = Semaphore(0)
    log: list[str] = []
    acquirers(semaphore, "abc", log)
    semaphore.release(2)
    assert semaphore.counter == 0, "the permits belong to those in line, though they have not run yet"
    assert not semaphore.acquire(blocking=False), "barged past those who wait"
    idle()
    assert log == ["a", "b"]
    semaphore.release(2)
    idle()
    assert (log, semaphore.counter) == (["a", "b", "c"], 1)


@in_a_hub
def test_invariant_3_a_releaser_that_acquires_again_goes_to_the_end_of_the_line() -> None:
    semaphore = Semaphore(1)
    log: list[str] = []

    def greedy(name: str) -> None:
        for _ in range(3):
            with semaphore:
                log.append(name)
                sleep(0)

    tasks = [spawn(greedy, name) for name in "abc"]
    for task in tasks:
        task.get(timeout=5)
    assert "".join(log) == "abcabcabc"


@in_a_hub
def test_invariant_4_permits_go_in_the_order_of_waiting() -> None:
    semaphore = Semaphore(0)
    log: list[str] = []
    acquirers(semaphore, "abcdef", log)
    for _ in "abcdef":
        semaphore.release()
    idle()
    assert "".join(log) == "abcdef"


@in_a_hub
def test_invariant_5_a_wait_that_ended_without_a_permit_has_left_the_line() -> None:
    semaphore = Semaphore(0)
    log: list[str] = []
    first, second, third = acquirers(semaphore, "abc", log)
    assert semaphore.acquire(timeout=0.001) is False
    assert semaphore.linkcount() == 3
    second.kill()
    assert semaphore.linkcount() == 2
    assert semaphore.wait(timeout=0.001) == 0
    third.kill()
    assert semaphore.linkcount() == 1
    semaphore.release()
    assert semaphore.linkcount() == 0
    first.join(timeout=5)
    assert log == ["a"]


@in_a_hub
def test_invariant_5_a_task_that_was_passed_over_is_not_woken_from_its_next_wait() -> None:
    semaphore = Semaphore(0)
    elsewhere: list[object] = []

    def acquire() -> None:
        try:
            semaphore.acquire()
        except TaskExit:
            elsewhere.append(park("something else"))

    task = spawn(acquire)
    idle()
    task.kill(block=False)
    semaphore.release()  # passes the killed task over, before that has run
    assert semaphore.counter == 1
    idle()
    semaphore.release()
    assert task.state == "parked"
    unpark(task, "the right wake")
    idle()
    assert elsewhere == ["the right wake"]


@in_a_hub
def test_invariant_6_a_release_that_raises_has_changed_nothing() -> None:
    semaphore = BoundedSemaphore(2)
    semaphore.acquire()
    for n, error in ((2, ValueError), (0, ValueError), (-1, ValueError), ("1", TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            semaphore.release(n)  # type: ignore[arg-type]  # on purpose
    assert semaphore.counter == 1


@in_a_hub
def test_invariant_6_a_release_in_another_thread_has_changed_nothing() -> None:
    semaphore = Semaphore(0)
    log: list[Any] = []
    acquirers(semaphore, "ab", log)

    def release() -> None:
        try:
            semaphore.release()
        except WrongThreadError as error:
            log.append(error)

    thread = threading.Thread(target=release)
    thread.start()
    thread.join()
    assert isinstance(log.pop(), WrongThreadError)
    assert (semaphore.counter, semaphore.linkcount()) == (0, 2)
    semaphore.release(3)
    idle()
    assert (log, semaphore.counter) == (["a", "b"], 1)


@in_a_hub
def test_invariant_6_a_release_in_another_thread_calls_no_link() -> None:
    semaphore = Semaphore(0)
    called: list[Any] = []
    semaphore.rawlink(called.append)
    error = in_another_thread(semaphore.release)
    assert isinstance(error, WrongThreadError)
    assert "'the other thread'" in str(error)
    assert repr(threading.current_thread().name) in str(error)
    idle()
    assert (semaphore.counter, semaphore.linkcount(), called) == (0, 1, [])
    semaphore.release()
    idle()
    assert (semaphore.counter, called) == (1, [semaphore])


@in_a_hub
@pytest.mark.parametrize("linked", [True, False])
def test_invariant_7_all_who_are_in_line_are_of_one_thread(linked: bool) -> None:
    semaphore = Semaphore(0)
    log: list[Any] = []
    if linked:
        semaphore.rawlink(lambda _: log.append("a"))
    else:
        acquirers(semaphore, "a", log)

    def others() -> None:
        for call in (lambda: semaphore.acquire(timeout=5), lambda: semaphore.wait(5), lambda: semaphore.rawlink(log.append)):
            with pytest.raises(WrongThreadError):
                call()

    assert in_another_thread(lambda: run(others)) is None
    assert (semaphore.counter, semaphore.linkcount()) == (0, 1)
    semaphore.release(2)
    idle()
    assert (log, semaphore.counter) == (["a"], 2 if linked else 1)


def test_who_is_in_line_may_be_of_another_thread_each_time() -> None:
    semaphore = Semaphore(0)

    def main() -> None:
        assert semaphore.acquire(timeout=0) is False
        assert semaphore.wait(0) == 0

    for _ in range(2):
        assert in_another_thread(lambda: run(main)) is None


# -- acquire and release ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Semaphore, BoundedSemaphore])
@pytest.mark.parametrize("value", ["1", 1.5, None, [], -1, -100])
def test_the_number_of_permits_is_an_int_of_at_least_0(cls: type[Semaphore], value: Any) -> None:
    with pytest.raises(ValueError if isinstance(value, int) else TypeError, match="permits"):
        cls(value)


def test_a_free_semaphore_needs_no_hub() -> None:
    made: list[object] = []

    def main() -> None:
        semaphore = Semaphore()
        with semaphore as got:
            made.append(got)
        made.append(semaphore.acquire())
        made.append(semaphore.acquire(False))
        made.append(semaphore.release())
        made.append(hasattr(getcurrent(), "task"))

    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    assert made == [True, True, False, 1, False]


@in_a_hub
def test_acquire_does_not_wait_with_blocking_false() -> None:
    semaphore = Semaphore(1)
    assert semaphore.acquire(False) is True
    assert semaphore.acquire(False) is False
    assert semaphore.acquire(blocking=False) is False


@pytest.mark.parametrize("value", [0, 1])
def test_a_timeout_without_blocking_is_an_error(value: int) -> None:
    semaphore = Semaphore(value)
    with pytest.raises(ValueError, match="can't specify timeout for non-blocking acquire"):
        semaphore.acquire(False, 1)
    with pytest.raises(ValueError, match="can't specify timeout for non-blocking acquire"):
        semaphore.acquire(blocking=False, timeout=0.0)
    assert semaphore.counter == value


@in_a_hub
def test_acquire_gives_up_after_its_timeout() -> None:
    semaphore = Semaphore(0)
    for timeout in (0, -1, 0.001, Timeout(0.001)):
        assert semaphore.acquire(timeout=timeout) is False  # type: ignore[arg-type]  # a Timeout does as well
    with pytest.raises(TypeError, match="seconds"):
        semaphore.acquire(timeout="soon")  # type: ignore[arg-type]  # on purpose
    assert semaphore.linkcount() == 0
    semaphore.release()
    assert semaphore.acquire(timeout=0) is True


@in_a_hub
def test_release_gives_back_several() -> None:
    semaphore = Semaphore(0)
    log: list[str] = []
    acquirers(semaphore, "abc", log)
    assert semaphore.release(2) == 0
    assert semaphore.release(n=3) == 2
    idle()
    assert log == ["a", "b", "c"]


@in_a_hub
def test_a_bounded_semaphore_refuses_a_release_too_many() -> None:
    semaphore = BoundedSemaphore(2)
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()
    semaphore.acquire()
    with pytest.raises(ValueError, match=r"1 of 2 permits are free, so 2"):
        semaphore.release(2)
    semaphore.release()
    with semaphore:
        semaphore.acquire()
        semaphore.release(1)
    assert semaphore.counter == 2
    zero = BoundedSemaphore(0)
    with pytest.raises(ValueError, match="too many"):
        zero.release()


@in_a_hub
def test_a_bounded_semaphore_hands_over_within_its_bound() -> None:
    semaphore = BoundedSemaphore(1)
    log: list[str] = []
    acquirers(semaphore, "abc", log)
    semaphore.release()
    semaphore.release()
    idle()
    assert log == ["a", "b", "c"]
    semaphore.release()
    with pytest.raises(ValueError, match="too many"):
        semaphore.release()


@in_a_hub
@pytest.mark.parametrize("cls", [Semaphore, BoundedSemaphore])
def test_the_with_block_releases_when_it_raises(cls: type[Semaphore]) -> None:
    semaphore = cls(1)
    with pytest.raises(KeyError), semaphore as got:
        assert got is True
        assert semaphore.locked()
        raise KeyError
    assert not semaphore.locked()


@in_a_hub
@pytest.mark.parametrize("cls", [Semaphore, BoundedSemaphore])
def test_the_with_block_hands_over_to_the_next_in_line(cls: type[Semaphore]) -> None:
    semaphore = cls(1)
    log: list[str] = []
    with semaphore:
        acquirers(semaphore, "a", log)
    assert semaphore.counter == 0
    idle()
    assert log == ["a"]


@in_a_hub
def test_locked_ready_and_counter() -> None:
    semaphore = Semaphore(2)
    assert (semaphore.locked(), semaphore.ready(), semaphore.counter) == (False, True, 2)
    semaphore.acquire()
    assert (semaphore.locked(), semaphore.ready(), semaphore.counter) == (False, True, 1)
    semaphore.acquire()
    assert (semaphore.locked(), semaphore.ready(), semaphore.counter) == (True, False, 0)


@in_a_hub
def test_invariant_8_the_value_says_whether_somebody_is_in_line() -> None:
    semaphore = Semaphore(0)
    assert (semaphore._value, semaphore.counter, semaphore.locked(), semaphore.ready()) == (0, 0, True, False)
    for call in (semaphore.acquire, semaphore.wait):
        task = spawn(call)
        idle()
        assert (semaphore._value, semaphore.counter, semaphore.locked(), semaphore.ready()) == (-1, 0, True, False)
        assert "value=0" in repr(semaphore)
        assert semaphore.acquire(blocking=False) is False
        task.kill()  # it has left, and the value may say so or not: the next release finds nobody
        assert semaphore.release() == 1
        assert semaphore.acquire(blocking=False) is True
    semaphore.rawlink(lambda _: None)
    assert semaphore._value == -1
    acquirers(semaphore, "ab", [])
    assert semaphore.release() == 0
    assert semaphore._value == -1
    assert semaphore.release() == 0
    assert semaphore._value == 0
    acquirers(semaphore, "ab", [])
    assert semaphore.release(3) == 1
    acquirers(semaphore, "abc", [])
    assert semaphore.release(2) == 0
    assert semaphore._value == 0
    log: list[str] = []
    acquirers(semaphore, "abc", log)
    assert semaphore.release(2) == 0
    assert semaphore._value == -1
    assert semaphore.release() == 0
    idle()
    assert (log, semaphore._value) == (["a", "b", "c"], 0)


@in_a_hub
def test_a_dummy_semaphore_never_runs_out() -> None:
    dummy = DummySemaphore(3)
    with dummy as got:
        assert got is True
        assert all(dummy.acquire(*arguments) for arguments in ((), (False,), (True, 1.0), (False, 1.0)))
    assert (dummy.locked(), dummy.ready(), dummy.wait(), dummy.release(), dummy.linkcount()) == (False, True, 1, None, 0)
    assert repr(dummy) == f"<coop_plugins.lock.DummySemaphore at {id(dummy):#x}>"
    called: list[object] = []
    dummy.rawlink(called.append)
    dummy.rawlink(called.append)
    dummy.unlink(called.append)
    idle()
    assert called == [dummy]
    assert wait([dummy], timeout=5) == [dummy]
    assert DummySemaphore().acquire()


def test_reprs_are_those_of_threading() -> None:
    for ours, theirs in ((Semaphore(3), threading.Semaphore(3)), (BoundedSemaphore(3), threading.BoundedSemaphore(3))):
        expected = repr(theirs).replace("threading", "coop_plugins.lock").replace(hex(id(theirs)), hex(id(ours)))
        assert repr(ours) == expected


# -- waiting without taking ---------------------------------------------------------------------------------------------


@in_a_hub
def test_wait_takes_nothing_and_says_how_many_are_free() -> None:
    semaphore = Semaphore(3)
    assert semaphore.wait() == 3
    assert semaphore.counter == 3
    empty = Semaphore(0)
    assert empty.wait(timeout=0.001) == 0
    waiting = [spawn(empty.wait), spawn(empty.wait)]
    idle()
    empty.release(2)
    assert [task.get(timeout=5) for task in waiting] == [2, 2]
    assert empty.counter == 2


@in_a_hub
def test_wait_is_told_how_many_are_free_though_somebody_before_it_was_killed() -> None:
    semaphore = Semaphore(0)
    killed = acquirers(semaphore, "a", [])[0]
    waiting = spawn(semaphore.wait)
    idle()
    killed.kill(block=False)
    semaphore.release(2)
    assert waiting.get(timeout=5) == 2


@in_a_hub
def test_wait_stands_in_line_with_the_acquirers() -> None:
    semaphore = Semaphore(0)
    log: list[Any] = []
    early = spawn(lambda: log.append(("early", semaphore.wait())))
    idle()
    acquirers(semaphore, "a", log)
    late = spawn(lambda: log.append(("late", semaphore.wait())))
    idle()
    semaphore.release()
    idle()
    assert (log, late.state) == ([("early", 1), "a"], "parked")
    semaphore.release()
    late.join(timeout=5)
    early.join(timeout=5)
    assert log == [("early", 1), "a", ("late", 1)]
    assert semaphore.counter == 1


@in_a_hub
def test_a_waiter_can_be_killed() -> None:
    semaphore = Semaphore(0)
    task = spawn(semaphore.wait)
    idle()
    task.kill()
    assert semaphore.linkcount() == 0
    assert isinstance(task.value, TaskExit)


@in_a_hub
def test_a_rawlink_is_called_once_on_the_hub_and_takes_nothing() -> None:
    semaphore = Semaphore(0)
    called: list[object] = []

    def link(which: Semaphore) -> None:
        called.append(which)
        with pytest.raises(ParkInHubError):
            which.wait() if not which.ready() else sleep(1)

    semaphore.rawlink(link)
    assert semaphore.linkcount() == 1
    idle()
    assert called == []
    semaphore.release()
    idle()
    assert called == [semaphore]
    assert (semaphore.counter, semaphore.linkcount()) == (1, 0)
    semaphore.rawlink(link)  # it is free now
    assert len(called) == 1
    idle()
    assert called == [semaphore, semaphore]


@in_a_hub
def test_a_rawlink_that_is_undone_is_not_called() -> None:
    semaphore = Semaphore(0)
    called: list[object] = []
    semaphore.rawlink(called.append)
    semaphore.unlink(called.append)
    semaphore.unlink(print)
    semaphore.release()
    idle()
    semaphore.rawlink(called.append)
    semaphore.rawlink(called.append)
    semaphore.unlink(called.append)  # due already, but not called
    idle()
    assert called == [semaphore]
    assert semaphore.linkcount() == 0
    with pytest.raises(TypeError, match="callable"):
        semaphore.rawlink(3)  # type: ignore[arg-type]  # on purpose


@in_a_hub
def test_wait_and_iwait_accept_semaphores() -> None:
    free, taken = Semaphore(1), Semaphore(0)
    assert wait([taken, free], count=1, timeout=5) == [free]
    with iwait([taken], timeout=5) as waiting:
        spawn(taken.release)
        assert list(waiting) == [taken]
    assert (free.linkcount(), taken.linkcount()) == (0, 0)


# -- in reports, on the hub, in memory ----------------------------------------------------------------------------------


def test_a_deadlock_report_names_the_semaphore() -> None:
    semaphore = Semaphore(0)
    with pytest.raises(Deadlock) as caught:
        run(semaphore.acquire)
    assert f"waits for a permit of {semaphore!r}" in str(caught.value)


@in_a_hub
def test_callbacks_on_the_hub_can_release_and_try_to_acquire() -> None:
    semaphore = Semaphore(0)
    log: list[object] = []

    def on_hub() -> None:
        log.append(semaphore.acquire(blocking=False))
        semaphore.release()
        semaphore.release()
        log.append(semaphore.acquire(blocking=False))
        try:
            semaphore.acquire()
        except ParkInHubError as error:
            log.append(type(error))

    acquirers(semaphore, "a", log)
    get_hub().call_soon(on_hub)
    idle()
    assert log == [False, True, ParkInHubError, "a"]
    assert (semaphore.counter, semaphore.linkcount()) == (0, 0)


@in_a_hub
def test_a_semaphore_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        semaphore = Semaphore(1)
        log: list[str] = []
        tasks = acquirers(semaphore, "ab", log)
        semaphore.release(2)
        semaphore.rawlink(lambda _: None)
        idle()
        assert all(task.dead for task in tasks)
        gone = weakref.ref(semaphore)
        del semaphore, tasks
        idle()
        assert gone() is None
    finally:
        gc.enable()
