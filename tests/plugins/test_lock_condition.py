"""Condition: the invariants of ``coop_plugins.lock._condition`` by name, a kill and a timeout at each of its waits, and what users of threading know of it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import in_a_jumping_hub, pass_time, raise_from_another_thread, settle

from coop_plugins.lock import Condition, Lock, RLock, Semaphore
from coopcore import Deadlock, Task, TaskExit, Timeout, current_task, get_hub, run, sleep, spawn
from coopcore.errors import WrongThreadError
from coopcore.lowlevel import throw_in


class OtherLock:
    """A lock of another kind: acquired, released, and nothing else is known of it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.acquire, self.release, self.locked = self._lock.acquire, self._lock.release, self._lock.locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class OtherRLock(RLock):
    """A subclass may have its own idea of acquiring, so it is treated as one of another kind."""


OURS = pytest.mark.parametrize("make", [Lock, RLock])
ALL = pytest.mark.parametrize("make", [Lock, RLock, OtherLock, OtherRLock, Semaphore])


def waiters(condition: Condition, names: str, log: list[Any], timeout: Any = None) -> list[Task[None]]:
    """A task for each name, that waits and then notes what came of it, holding the lock or not. They wait when this returns."""

    def wait(name: str) -> None:
        with condition:
            try:
                log.append((name, condition.wait(timeout)))
            except BaseException as error:
                log.append((name, type(error).__name__))
                raise
            finally:
                assert condition._is_owned()
                assert getattr(condition._lock, "owner", current_task()) is current_task()

    tasks = [spawn(wait, name) for name in names]
    settle()
    return tasks


def joined(tasks: list[Task[None]]) -> None:
    for task in tasks:
        assert task.join(timeout=5)


# -- invariants ---------------------------------------------------------------------------------------------------------


@ALL
@in_a_jumping_hub
def test_invariant_1_it_holds_the_lock_when_it_returns_or_raises(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "ab", log) + waiters(condition, "c", log, 0.001) + waiters(condition, "d", log, Timeout(0.001, KeyError))
    with condition:
        condition.notify()
    settle()
    assert log == [("a", True)]
    tasks[1].kill()
    tasks[2].join()
    tasks[3].join()
    assert sorted(log[1:]) == [("b", "TaskExit"), ("c", False), ("d", "KeyError")]
    assert isinstance(tasks[3].exception, KeyError)
    assert condition.acquire(False)
    condition.release()


@ALL
@in_a_jumping_hub
def test_invariant_1_a_wait_that_was_killed_waits_for_the_lock_whatever_else_comes(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    (task,) = waiters(condition, "a", log)
    with condition:
        task.kill(block=False)
        settle()
        task.kill(ValueError, block=False)
        settle()
        task.kill(KeyError, block=False)
        settle()
        assert (log, task.state) == ([], "parked")
    task.join()
    assert log == [("a", "TaskExit")]
    assert condition.acquire(False)
    condition.release()


@ALL
@in_a_jumping_hub
def test_invariant_1_what_came_later_is_raised_by_the_parks_after_in_order(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []

    def wait() -> None:
        with condition:
            for park in (condition.wait, lambda: sleep(0), lambda: sleep(0), lambda: sleep(0)):
                try:
                    park()
                except Exception as error:
                    log.append(type(error))
                else:
                    log.append(None)

    task = spawn(wait)
    settle()
    with condition:
        for error in (KeyError, ValueError, IndexError):
            task.kill(error, block=False)
            settle()
        assert log == []
    task.join()
    assert log == [KeyError, ValueError, IndexError, None]


@OURS
@in_a_jumping_hub
def test_invariant_1_a_timeout_that_fires_while_it_waits_for_the_lock_is_withdrawn_when_its_block_is_left(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []

    def wait() -> None:
        with Timeout(0.001) as outer:
            with Timeout(0.001), condition:
                try:
                    condition.wait(0)
                except Timeout:
                    log.append("too early")
            log.append(condition._lock.locked())
        outer.close()
        sleep(0)
        log.append("quiet")

    task = spawn(wait)
    sleep(0)  # it waits
    with condition:
        sleep(0.005)
    task.join()
    assert log == [False, "quiet"]
    assert task.successful()


@in_a_jumping_hub
def test_invariant_1_an_rlock_is_acquired_as_often_as_before() -> None:
    condition = Condition()
    log: list[Any] = []

    def wait(timeout: float | None) -> None:
        with condition, condition:
            condition.wait(timeout)
            log.append(condition._lock._recursion_count())  # type: ignore[attr-defined]  # an RLock

    tasks = [spawn(wait, None), spawn(wait, 0), spawn(wait, 0.001)]
    settle()
    with condition:
        condition.notify_all()
        sleep(0.003)
    joined(tasks)
    wait(0.001)  # nobody has it when the time is over
    assert log == [2, 2, 2, 2]
    assert not condition._lock.locked()  # type: ignore[attr-defined]  # the same


@OURS
def test_invariant_1_a_deadlock_comes_out_without_the_lock(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    seen: list[Any] = []

    def hold() -> None:
        condition.acquire()  # and never gives it back
        condition.notify()

    def main() -> None:
        with condition:
            spawn(hold)
            try:
                condition.wait()
            finally:
                seen.append(condition._lock.locked())

    def late() -> None:
        spawn(condition.acquire)
        with condition:
            condition.wait(0)

    for program in (main, late):
        condition = Condition(make())
        with pytest.raises(Deadlock, match="to return from a wait"):
            run(program)
    assert seen == [True]


@pytest.mark.parametrize("notified", [True, False])
@OURS
@in_a_jumping_hub
def test_invariant_1_ctrl_c_comes_out_without_the_lock_if_it_must(make: Callable[[], Any], notified: bool) -> None:
    condition = Condition(make())
    log: list[Any] = []

    def wait() -> None:
        try:
            with condition:
                condition.wait()
        except KeyboardInterrupt as error:
            log.append(str(error))

    task = spawn(wait)
    settle()
    condition.acquire()
    if notified:
        condition.notify()
    throw_in(task, KeyboardInterrupt("first"))
    settle()
    assert log == (["first"] if notified else [])
    throw_in(task, KeyboardInterrupt("second"))
    settle()
    assert log == ["first" if notified else "second"]
    assert (list(condition._lock.wait_owners()), condition._lock.linkcount(), len(condition._waiters)) == ([current_task()], 0, 0)
    condition.release()


@ALL
@in_a_jumping_hub
def test_invariant_2_first_come_first_served(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "abcde", log)
    with condition:
        condition.notify(0)
        condition.notify(-1)
        condition.notify(2)
    settle()
    assert log == [("a", True), ("b", True)]
    with condition:
        condition.notify()
        condition.notify_all()
        condition.notify_all()
    joined(tasks)
    assert log == [(name, True) for name in "abcde"]


@ALL
@in_a_jumping_hub
def test_invariant_2_who_was_killed_or_timed_out_before_is_passed_over(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "a", log) + waiters(condition, "b", log, 0.001) + waiters(condition, "c", log)
    pass_time(0.002)

    def notify() -> None:
        condition.acquire()
        tasks[0].kill(block=False)
        condition.notify()
        condition.release()

    get_hub().call_soon(notify)
    sleep(0.003)
    joined(tasks[:2])
    assert ("a", "TaskExit") in log
    assert ("b", True) in log or ("c", True) in log  # one of them, whether the timer or the callback came first
    assert len([entry for entry in log if entry[1] is True]) == 1
    with condition:
        condition.notify()
    joined(tasks)


@OURS
@in_a_jumping_hub
def test_invariant_3_a_notified_waiter_returns_though_it_is_killed(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []

    def wait() -> None:
        with condition:
            log.append(condition.wait())
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    tasks = [spawn(wait), spawn(wait)]
    settle()
    with condition:
        condition.notify()
        tasks[0].kill(block=False)
        settle()
        assert log == []
    settle()
    assert (log, tasks[1].state) == ([True, "killed later"], "parked")
    tasks[1].kill()


@ALL
@in_a_jumping_hub
def test_invariant_3_a_notified_waiter_returns_though_its_time_is_over(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "a", log, 0.001) + waiters(condition, "b", log, Timeout(0.001, KeyError))
    with condition:
        condition.notify_all()
        sleep(0.005)
        assert log == []
    joined(tasks)
    assert log == [("a", True), ("b", True)]


@OURS
@in_a_jumping_hub
def test_invariant_3_the_lock_comes_in_the_moment_in_which_the_time_is_over(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    (task,) = waiters(condition, "a", log, 5)
    condition.acquire()
    condition.notify()
    task._fire()  # its timer, and then the lock, before it runs
    condition.release()
    joined([task])
    assert log == [("a", True)]
    assert not condition._lock.locked()


class Nagging(OtherLock):
    """Its acquire() raises at once, as that of a cancelled task may at every park, until somebody else has run."""

    def __init__(self) -> None:
        super().__init__()
        self.acquire = self.nag  # type: ignore[method-assign]  # that is the point
        self.nags = False
        self.error = KeyError("again")

    def nag(self, blocking: bool = True) -> bool:
        if self.nags:
            raise self.error
        return self._lock.acquire(blocking)


@in_a_jumping_hub
def test_invariant_1_an_acquire_that_raises_again_and_again_lets_others_run() -> None:
    condition = Condition(lock := Nagging())
    log: list[Any] = []

    def wait() -> None:
        with condition:
            log.append(condition.wait())
        with pytest.raises(KeyError):
            sleep(0)

    task = spawn(wait)
    settle()
    with condition:
        condition.notify()
        lock.nags = True
    settle()
    waits = not task.dead
    lock.nags = False
    assert (log, waits) == ([], True)
    joined([task])
    assert log == [True]
    assert not lock.locked()


@OURS
@in_a_jumping_hub
def test_invariant_1_ctrl_c_in_the_moment_in_which_the_lock_comes(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            except KeyboardInterrupt:
                log.extend(condition._lock.wait_owners())

    task = spawn(wait)
    settle()
    condition.acquire()
    condition.notify()
    throw_in(task, KeyboardInterrupt())
    condition.release()
    joined([task])
    assert log == [task]
    assert not condition._lock.locked()


@OURS
@in_a_jumping_hub
def test_invariant_1_a_kill_between_the_end_of_its_time_and_its_turn_waits_for_the_lock(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    (task,) = waiters(condition, "a", log, 5)
    condition.acquire()
    task._fire()
    task.kill(block=False)
    settle()
    assert (log, task.state) == ([], "parked")
    condition.release()
    joined([task])
    assert log == [("a", False)]


@ALL
@in_a_jumping_hub
def test_invariant_3_no_notification_is_lost_on_one_who_is_killed(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "abc", log)
    condition.acquire()
    condition.notify(2)
    tasks[0].kill(block=False)
    tasks[1].kill(block=False)
    condition.release()
    settle()
    assert [entry for entry in log if entry[1] is True] == [("a", True), ("b", True)]
    tasks[2].kill()


@ALL
@in_a_jumping_hub
def test_invariant_4_a_wait_that_ended_otherwise_has_left_the_waiters(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "abc", log)
    assert repr(condition).endswith(", 3)>")
    tasks[1].kill()
    assert repr(condition).endswith(", 2)>")
    tasks[2].kill()
    tasks[0].kill()
    with condition:
        assert condition.wait(0) is False
        assert condition.wait(0.001) is False
    assert repr(condition).endswith(", 0)>")


@OURS
@in_a_jumping_hub
def test_invariant_5_notify_wakes_nobody_and_the_lock_comes_in_turn(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    tasks = waiters(condition, "ab", log)

    def take() -> None:
        with condition:
            log.append("lock")

    with condition:
        tasks.append(spawn(take))
        settle()
        condition.notify_all()
        assert condition._lock.linkcount() == 3
        assert [task.state for task in tasks] == ["parked"] * 3
        tasks.append(spawn(take))
        settle()
    joined(tasks)
    assert log == ["lock", ("a", True), ("b", True), "lock"]


@ALL
@in_a_jumping_hub
def test_invariant_6_without_the_lock_it_raises(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    (task,) = waiters(condition, "a", log)
    for call, words in ((condition.wait, "cannot wait on"), (condition.notify, "cannot notify on"), (condition.notify_all, "cannot notify on")):
        with pytest.raises(RuntimeError, match=f"{words} un-acquired lock"):
            call()
    with pytest.raises(RuntimeError, match="cannot wait on"):
        condition.wait_for(lambda: False)
    assert len(condition._waiters) == 1
    task.kill()


@OURS
@in_a_jumping_hub
def test_invariant_6_waiters_of_another_thread(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    log: list[Any] = []
    (task,) = waiters(condition, "a", log)

    def others() -> None:
        with condition:
            with pytest.raises(WrongThreadError):
                condition.notify()
            with pytest.raises(WrongThreadError):
                condition.wait()
            assert condition._is_owned()

    raise_from_another_thread(lambda: run(others))
    assert len(condition._waiters) == 1
    with condition:
        condition.notify()
    joined([task])


@in_a_jumping_hub
def test_invariant_6_a_wait_that_cannot_give_the_lock_back_has_changed_nothing() -> None:
    condition = Condition(lock := Lock())
    lock.acquire()
    waiting = spawn(lock.acquire)
    settle()

    def others() -> None:
        with pytest.raises(WrongThreadError):
            condition.wait()

    raise_from_another_thread(lambda: run(others))
    assert (lock.locked(), len(condition._waiters)) == (True, 0)
    lock.release()
    joined([waiting])


# -- what users of threading know ---------------------------------------------------------------------------------------


@in_a_jumping_hub
def test_by_default_it_has_an_rlock_and_lends_its_methods() -> None:
    condition = Condition()
    assert isinstance(condition._lock, RLock)
    assert condition.acquire() is True
    assert condition.acquire(False) is True
    condition.release()
    condition.release()
    with pytest.raises(RuntimeError):
        condition.release()
    lock = Lock()
    condition = Condition(lock=lock)
    with condition as got:
        assert got is True
        assert lock.locked()
        assert condition.acquire(False) is False
    condition.acquire()
    condition._at_fork_reinit()
    assert not lock.locked()


@in_a_jumping_hub
def test_the_repr_is_that_of_threading() -> None:
    lock = Lock()
    assert repr(Condition(lock)) == f"<Condition({lock!r}, 0)>"
    theirs = threading.Lock()
    assert repr(threading.Condition(theirs)) == f"<Condition({theirs!r}, 0)>"


@ALL
@in_a_jumping_hub
def test_wait_for_waits_until_it_is_true(make: Callable[[], Any]) -> None:
    condition = Condition(make())
    state: list[int] = []

    def wait(timeout: Any) -> object:
        with condition:
            return condition.wait_for(lambda: len(state) == 3 and "three", timeout)

    tasks = [spawn(wait, timeout) for timeout in (None, 5, Timeout(5), Timeout(5, KeyError), Timeout(None), float("inf"))]
    for number in range(3):
        settle()
        with condition:
            state.append(number)
            condition.notify_all()
    assert [task.get(timeout=5) for task in tasks] == ["three"] * 6


@in_a_jumping_hub
def test_wait_for_gives_up_after_its_timeout() -> None:
    condition = Condition()
    calls: list[int] = []
    with condition:
        for timeout in (0, -1, 0.001, Timeout(0.001)):
            calls.clear()
            assert condition.wait_for(lambda: calls.append(1), timeout) is None  # type: ignore[arg-type]  # a Timeout does as well
            assert len(calls) == 2  # before and after
        with pytest.raises(KeyError):
            condition.wait_for(lambda: False, Timeout(0.001, KeyError))  # type: ignore[arg-type]  # the same
        with pytest.raises(Timeout), Timeout(0.001) as running:
            condition.wait_for(lambda: False, running)  # type: ignore[arg-type]  # the same
        for call in (condition.wait, lambda timeout: condition.wait_for(lambda: False, timeout)):
            with pytest.raises(TypeError, match="seconds"):
                call("soon")  # type: ignore[arg-type]  # on purpose
        assert condition.wait_for(lambda: 7, 0) == 7
    assert not condition._lock.locked()


@in_a_jumping_hub
def test_wait_for_counts_the_time_over_all_its_waits() -> None:
    condition = Condition()

    def disturb() -> None:
        while True:
            with condition:
                condition.notify()
            sleep(0.0005)

    task = spawn(disturb)
    with condition:
        assert condition.wait_for(lambda: False, 0.01) is False
    task.kill()


@in_a_jumping_hub
def test_wait_for_waits_no_longer_when_it_was_notified_in_vain() -> None:
    condition = Condition()
    clock = get_hub().clock

    def disturb() -> None:
        sleep(6)
        with condition:
            condition.notify()

    begin = clock.now()
    spawn(disturb)
    with condition:
        assert condition.wait_for(lambda: False, 10) is False
    assert clock.now() - begin == 10 * 10**9


@pytest.mark.parametrize("long", [1e300, float("inf"), threading.TIMEOUT_MAX])
@in_a_jumping_hub
def test_wait_for_may_be_given_any_span(long: float) -> None:
    condition = Condition()
    with condition:
        waiter = spawn(with_lock_of(condition), lambda: condition.wait_for(lambda: False, long))
    settle()
    assert waiter.state == "parked"
    waiter.kill()
    with condition:
        assert condition.wait_for(lambda: False, float("-inf")) is False


def with_lock_of(condition: Condition) -> Callable[[Callable[[], object]], object]:
    def call(fn: Callable[[], object]) -> object:
        with condition:
            return fn()

    return call


@pytest.mark.parametrize("make", [OtherLock, OtherRLock])
def test_invariant_1_a_deadlock_in_acquiring_a_lock_of_another_kind_comes_out(make: Callable[[], Any]) -> None:
    condition = Condition(make())

    def main() -> None:
        condition.acquire()
        spawn(condition.acquire)  # and never gives it back
        condition.wait(0)

    with pytest.raises(Deadlock):
        run(main)


def test_a_deadlock_report_says_what_it_waits_for_and_who_has_the_lock() -> None:
    condition = Condition()

    def wait() -> None:
        with condition:
            condition.wait()

    def main() -> None:
        first, second = spawn(wait), spawn(wait)
        first.name, second.name = "first", "second"
        settle()
        condition.acquire()
        condition.notify()
        current_task().name = "main"
        try:
            first.join()
        finally:
            condition.release()

    with pytest.raises(Deadlock) as caught:
        run(main)
    report = str(caught.value)
    for words in (
        "first waits for <locked coop_plugins.lock.RLock object owner='main' count=1",
        "to return from a wait, held by main",
        "second waits for a notification of <Condition(",
        "first waits for <locked",
        "which is up to main",
        "which is up to first",
    ):
        assert words in report, report


@OURS
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_the_end_of_the_hub_ends_a_wait_for_a_lock_that_nobody_will_release(make: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> None:
    condition = Condition(make())
    log: list[Any] = []

    def wait_on() -> None:
        with condition:
            condition.wait()

    def main() -> None:
        log.append(spawn(wait_on))
        settle()
        condition.acquire()
        condition.notify()

    run(main)
    assert isinstance(log[0].value, TaskExit)
    assert capsys.readouterr().err == ""
    assert condition._lock.locked()


@OURS
@in_a_jumping_hub
def test_a_condition_is_freed_without_the_collector(make: Callable[[], Any]) -> None:
    gc.disable()
    try:
        condition = Condition(make())
        tasks = waiters(condition, "abc", []) + waiters(condition, "d", [], 0.001)
        tasks[1].kill()
        with condition:
            condition.notify()
        tasks[3].join()
        tasks[2].kill()
        settle()
        gone = weakref.ref(condition)
        del condition, tasks
        settle()
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("thing", [3, "lock", object()])
def test_what_is_no_lock_is_refused_with_what_is_needed(thing: Any) -> None:
    with pytest.raises(AttributeError, match=r"a Condition needs a Lock, an RLock, .* with acquire\(\) and release\(\), not"):
        Condition(thing)
    with pytest.raises(AttributeError):
        threading.Condition(thing)
