"""Lock and RLock: the invariants of ``coop_plugins.lock._lock`` by name, and what users of threading and gevent know of them."""

from __future__ import annotations

import gc
import threading
import weakref
from _thread import TIMEOUT_MAX
from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import in_a_jumping_hub, in_another_thread, settle
from seams.locks import held, takers

from coop_plugins.lock import Lock, RLock
from coopcore import Deadlock, Task, TaskExit, Timeout, current_task, get_hub, idle, iwait, run, sleep, spawn, wait
from coopcore.errors import ParkInHubError, WrongThreadError

BOTH = pytest.mark.parametrize("make", [Lock, RLock])


# -- invariants ---------------------------------------------------------------------------------------------------------


@BOTH
@in_a_jumping_hub
def test_invariant_1_one_task_holds_it(make: Callable[[], Any]) -> None:
    lock = make()
    inside: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            with lock:
                assert lock.locked()
                inside.append(number)
                assert len(inside) == 1
                sleep(0)
                inside.remove(number)

    tasks = [spawn(work, number) for number in range(4)]
    for task in tasks:
        task.get()
    assert not lock.locked()
    assert lock.ready()


@BOTH
@in_a_jumping_hub
def test_invariant_2_a_wake_is_final(make: Callable[[], Any]) -> None:
    lock, holder = held(make)
    log: list[object] = []

    def take() -> None:
        log.append(lock.acquire())
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")
        lock.release()

    task = spawn(take)
    settle()
    holder.kill(block=False)
    sleep(0)  # the holder has released it, and the task has not run
    assert list(lock.wait_owners()) == [task]
    task.kill(block=False)
    settle()
    assert log == [True, "killed later"]
    assert not lock.locked()


@BOTH
@in_a_jumping_hub
def test_invariant_2_a_wake_is_final_also_for_a_timeout_that_comes_after_it(make: Callable[[], Any]) -> None:
    lock, holder = held(make)

    def take() -> bool:
        got: bool = lock.acquire(timeout=0.001)
        return got

    task = spawn(take)
    settle()
    holder.kill(block=False)
    sleep(0)
    get_hub().clock._now += 2_000_000  # type: ignore[attr-defined]  # a JumpingClock
    assert task.get() is True


@BOTH
@in_a_jumping_hub
def test_invariant_3_while_it_is_free_nobody_waits(make: Callable[[], Any]) -> None:
    lock, holder = held(make)
    log: list[str] = []
    tasks = takers(lock, "ab", log)
    assert (lock.ready(), lock.linkcount()) == (False, 2)
    for task in tasks:
        task.kill(block=False)
    holder.kill(block=False)
    sleep(0)  # killed all, and in line though they do not wait any more: the release passes them over
    assert (lock.ready(), lock.linkcount()) == (True, 0)
    settle()
    assert log == []


@BOTH
@in_a_jumping_hub
def test_invariant_4_first_come_first_served_and_nobody_overtakes(make: Callable[[], Any]) -> None:
    lock, holder = held(make)
    log: list[str] = []
    takers(lock, "abc", log)
    holder.kill(block=False)
    sleep(0)
    assert lock.acquire(blocking=False) is False
    with lock:
        log.append("me")
    assert log == ["a", "b", "c", "me"]


@BOTH
@in_a_jumping_hub
def test_invariant_5_a_wait_that_was_killed_or_timed_out_has_left_the_line(make: Callable[[], Any]) -> None:
    lock, holder = held(make)
    log: list[str] = []
    tasks = takers(lock, "abc", log)
    tasks[1].kill()
    assert lock.linkcount() == 2
    with pytest.raises(Timeout), Timeout(0.001):
        lock.acquire()
    assert lock.acquire(timeout=0.001) is False
    assert lock.acquire(timeout=0) is False
    assert lock.linkcount() == 2
    holder.kill()
    settle()
    assert (log, lock.locked()) == (["a", "c"], False)


@BOTH
@in_a_jumping_hub
def test_invariant_6_a_release_that_raises_has_changed_nothing(make: Callable[[], Any]) -> None:
    lock = make()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"release un"):
            lock.release()
        with pytest.raises(RuntimeError, match=r"release un"):
            lock.__exit__(None, None, None)
    assert lock.acquire(blocking=False)
    waiting = takers(lock, "a", [])
    error = in_another_thread(lock.release)
    assert type(error) is (WrongThreadError if make is Lock else RuntimeError)
    assert (lock.locked(), list(lock.wait_owners()), lock.linkcount()) == (True, [current_task()], 1)
    lock.release()
    waiting[0].join()


@in_a_jumping_hub
def test_invariant_7_an_rlock_is_released_by_its_owner_as_often_as_acquired() -> None:
    lock = RLock()
    assert [lock.acquire(), lock.acquire(True), lock.acquire(False), lock.acquire(timeout=1)] == [True] * 4
    assert (lock._recursion_count(), lock.owner, lock._is_owned()) == (4, current_task(), True)
    log: list[str] = []
    takers(lock, "a", log)

    def other() -> None:
        assert (lock._recursion_count(), lock._is_owned(), lock.locked()) == (0, False, True)
        for call in (lock.release, lock._release_save):
            with pytest.raises(RuntimeError, match=r"cannot release un-acquired lock.*is not held by"):
                call()

    spawn(other).get()
    for left in (3, 2, 1):
        lock.release()
        assert (lock._recursion_count(), log) == (left, [])
    lock.release()
    assert lock._recursion_count() == 0
    settle()
    assert (log, lock.owner, lock.locked()) == (["a"], None, False)


@in_a_jumping_hub
def test_invariant_7_an_ended_owners_lock_is_not_that_of_the_next_task_on_its_greenlet() -> None:
    lock = RLock()
    first = spawn(lock.acquire)
    first.join()
    assert lock.owner is first

    def second() -> bool:
        with pytest.raises(RuntimeError):
            lock.release()
        return lock._is_owned() or lock.acquire(timeout=0)

    assert spawn(second).get() is False


# -- arguments ----------------------------------------------------------------------------------------------------------


@BOTH
@in_a_jumping_hub
def test_timeouts_are_those_of_threading_and_gevent(make: Callable[[], Any]) -> None:
    lock, holder = held(make)
    free = make()
    for which in (lock, free):
        for timeout in (-100, -0.5):
            with pytest.raises(ValueError, match="timeout value must be a non-negative number"):
                which.acquire(timeout=timeout)
        for timeout in (1e100, TIMEOUT_MAX + 1, float("inf")):
            with pytest.raises(OverflowError, match="timeout value is too large"):
                which.acquire(timeout=timeout)
        for timeout in (0, 1, 0.0, Timeout(1)):
            with pytest.raises(ValueError, match="can't specify a timeout for a non-blocking call"):
                which.acquire(False, timeout)
        for bad in ("soon", object()):
            with pytest.raises(TypeError, match="seconds"):
                which.acquire(timeout=bad)
        with pytest.raises(ValueError, match="NaN"):
            which.acquire(timeout=float("nan"))
    assert not free.locked()
    assert lock.linkcount() == 0
    for arguments in ({}, {"timeout": None}, {"timeout": TIMEOUT_MAX}, {"timeout": -1.0}, {"timeout": 5}, {"timeout": Timeout(5)}, {"timeout": 0}):
        assert free.acquire(**arguments) is True
        free.release()
    for arguments in ({"timeout": None}, {"timeout": -1}, {}):
        assert free.acquire(False, **arguments) is True
        free.release()
        assert lock.acquire(False, **arguments) is False
    assert lock.acquire(timeout=Timeout(0.001)) is False
    with pytest.raises(KeyError):
        lock.acquire(timeout=Timeout(0.001, KeyError))
    holder.kill()


def test_errors_of_threading_have_the_same_types() -> None:
    """On what threading raises for the same call, so that this stays true."""
    for ours, theirs in ((Lock, threading.Lock), (RLock, threading.RLock)):
        for arguments in ((False, 1), (False, 0), (True, -2), (True, 1e100), (True, "1")):
            raised = []
            for make in (ours, theirs):
                lock: Any = make()
                with pytest.raises(Exception) as caught:
                    lock.acquire(*arguments)
                raised.append(caught.type)
            assert raised[0] is raised[1], arguments


@BOTH
def test_a_lock_needs_no_hub(make: Callable[[], Any]) -> None:
    made: list[object] = []

    def main() -> None:
        lock = make()
        with lock as got:
            made.append(got)
            made.append(lock.acquire(False))
            if make is RLock:
                lock.release()
        made.append(lock.acquire(timeout=0))
        made.append(lock.locked())
        made.extend(lock.wait_owners())
        lock.release()
        made.append(lock.locked())

    assert in_another_thread(main) is None
    assert made == [True, make is RLock, True, True, False]


@BOTH
def test_a_lock_that_was_taken_before_the_hub_was_made(make: Callable[[], Any]) -> None:
    """As an import does: the greenlet that holds it becomes a task meanwhile."""

    def main() -> None:
        lock = make()
        lock.acquire()
        sleep(0)
        assert current_task()
        if make is RLock:
            assert lock.acquire(False) is True
            assert lock._recursion_count() == 2
            assert lock.owner is current_task()
            lock.release()
        else:
            assert lock.acquire(False) is False
            assert lock._is_held_by_caller()
        lock.release()
        assert not lock.locked()

    assert in_another_thread(main) is None


def test_an_rlock_is_released_right_after_the_hub_was_made() -> None:
    def main() -> None:
        lock = RLock()
        lock.acquire()
        sleep(0)
        lock.release()
        assert not lock.locked()

    assert in_another_thread(main) is None


@BOTH
@in_a_jumping_hub
def test_the_with_block_releases_when_it_raises(make: Callable[[], Any]) -> None:
    lock = make()
    with pytest.raises(KeyError), lock as got:
        assert got is True
        raise KeyError
    assert not lock.locked()
    log: list[str] = []
    with lock:
        takers(lock, "a", log)
    settle()
    assert log == ["a"]


@in_a_jumping_hub
def test_any_task_may_release_a_lock() -> None:
    lock = Lock()
    lock.acquire()
    spawn(lock.release).get()
    assert lock.acquire(False)


@in_a_jumping_hub
def test_callbacks_on_the_hub_can_release_and_try_to_acquire() -> None:
    lock = Lock()
    log: list[object] = []

    def on_hub() -> None:
        log.append(lock.acquire(blocking=False))
        lock.release()
        log.append(lock.acquire(blocking=False))
        log.append(list(lock.wait_owners()))
        try:
            lock.acquire()
        except ParkInHubError as error:
            log.append(type(error))
        lock.release()

    lock.acquire()
    get_hub().call_soon(on_hub)
    idle()
    assert log == [False, True, [], ParkInHubError]
    assert (lock.locked(), lock.linkcount()) == (False, 0)


# -- extras -------------------------------------------------------------------------------------------------------------


def test_reprs_are_those_of_threading() -> None:
    def main() -> None:
        lock, rlock = Lock(), RLock()
        assert repr(lock) == f"<unlocked coop_plugins.lock.Lock object at {id(lock):#x}>"
        assert repr(rlock) == f"<unlocked coop_plugins.lock.RLock object owner=None count=0 at {id(rlock):#x}>"
        current_task().name = "me"
        with lock, rlock, rlock:
            assert repr(lock) == f"<locked coop_plugins.lock.Lock object at {id(lock):#x}>"
            assert repr(rlock) == f"<locked coop_plugins.lock.RLock object owner='me' count=2 at {id(rlock):#x}>"

    run(main)
    theirs = threading.Lock()
    assert repr(theirs).replace("_thread.lock", "coop_plugins.lock.Lock").replace(hex(id(theirs)), "") == repr(ours := Lock()).replace(hex(id(ours)), "")


@BOTH
@in_a_jumping_hub
def test_wait_and_iwait_accept_locks(make: Callable[[], Any]) -> None:
    free = make()
    taken, holder = held(make)
    assert wait([taken, free], count=1, timeout=5) == [free]
    with iwait([taken], timeout=5) as waiting:
        holder.kill(block=False)
        assert list(waiting) == [taken]
    assert (free.linkcount(), taken.linkcount(), taken.locked()) == (0, 0, False)


@BOTH
def test_a_deadlock_report_names_the_holder_and_the_cycle(make: Callable[[], Any]) -> None:
    first, second = make(), make()

    def worker(mine: Any, other: Any) -> None:
        with mine:
            sleep(0)
            with other:
                pass

    def main() -> None:
        one, two = Task(worker, first, second), Task(worker, second, first)
        one.name, two.name = "one", "two"
        one.start()
        two.start()
        one.join()

    with pytest.raises(Deadlock) as caught:
        run(main)
    report = str(caught.value)
    for words in ("one waits for <locked coop_plugins.lock.", "held by two", "held by one", "which is up to two", "which is up to one", "one order"):
        assert words in report


@BOTH
@in_a_jumping_hub
def test_the_holder_follows_the_lock(make: Callable[[], Any]) -> None:
    lock = make()
    assert list(lock.wait_owners()) == []
    with lock:
        assert list(lock.wait_owners()) == [current_task()]

    def take() -> None:
        with lock:
            sleep(0)

    with lock:
        first, second = spawn(take), spawn(take)
        settle()
    assert list(lock.wait_owners()) == [first]
    first.join()
    assert list(lock.wait_owners()) == [second]
    second.join()
    assert list(lock.wait_owners()) == []


@BOTH
@in_a_jumping_hub
def test_after_a_fork_it_is_new(make: Callable[[], Any]) -> None:
    lock = make()
    lock._at_fork_reinit()
    lock.acquire()
    lock._at_fork_reinit()
    assert not lock.locked()
    with lock:
        assert lock.locked()
    assert not lock.locked()


@in_a_jumping_hub
def test_threadings_condition_takes_an_rlock() -> None:
    """It uses what is documented for nobody else: ``_release_save``, ``_acquire_restore``, ``_is_owned``."""
    lock = RLock()
    condition = threading.Condition(lock)
    with pytest.raises(RuntimeError):
        condition.wait()
    with condition, condition:
        assert condition.wait(0) is False
        assert lock._recursion_count() == 2
    assert not lock.locked()
    plain = Lock()
    condition = threading.Condition(plain)
    with condition as got:
        assert got is True
        plain._acquire_restore(plain._release_save())
        assert plain._is_owned()
    assert not plain.locked()


@BOTH
@in_a_jumping_hub
def test_a_lock_is_freed_without_the_collector(make: Callable[[], Any]) -> None:
    gc.disable()
    try:
        lock, holder = held(make)
        takers(lock, "ab", [])
        holder.kill()
        settle()
        gone = weakref.ref(lock)
        del lock, holder
        settle()
        assert gone() is None
    finally:
        gc.enable()


@BOTH
def test_arguments_that_it_does_not_take_are_refused_in_its_own_name(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{make.__name__}\.__init__\(\) takes 1 positional argument"):
        make(3)
