"""Lock and RLock of ``coop_plugins.threading``: their invariants by name, between tasks, hubs and plain threads."""

from __future__ import annotations

import gc
import os
import random
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from seams.hubs import in_a_hub, in_a_jumping_hub, in_another_thread, settle
from seams.points import at_each_point, without_a_monitor
from seams.processes import python

from coop_plugins.threading import Lock, RLock
from coop_plugins.threading import _where as where
from coopcore import Task, Timeout, get_hub, joinall, run, sleep, spawn, spawn_later
from coopcore.errors import ParkInFinalizerError, ParkInHubError

FILES = ("coop_plugins.threading._lock", "coop_plugins.threading._where", "coopcore._state")

each_lock = pytest.mark.parametrize("make", [Lock, RLock])


class Boom(Exception):
    pass


def pass_time() -> None:
    """In a jumping hub: timers are due, and the hub has not looked yet."""
    get_hub().clock._now += 1_000_000_000  # type: ignore[attr-defined]  # of `JumpingClock`


def takers(lock: Any, names: str, log: list[str]) -> list[Task[None]]:
    """A task for each name that takes the lock, notes its name, and gives it back. They wait for it when this returns."""

    def take(name: str) -> None:
        with lock:
            log.append(name)

    tasks = [spawn(take, name) for name in names]
    settle()
    return tasks


class Holder:
    """A plain thread that has the lock until it is told to let go."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._let_go = threading.Event()
        taken = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(taken,), name="the holder")
        self.thread.start()
        assert taken.wait(20)

    def _run(self, taken: threading.Event) -> None:
        with self._lock:
            taken.set()
            self._let_go.wait(20)

    def let_go(self) -> None:
        self._let_go.set()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self.thread.join(20)


def in_line(lock: Any, count: int) -> None:
    """Wait, as a thread does, until so many stand in the line of the lock."""
    deadline = time.monotonic() + 20
    while len(lock._line) != count:
        assert time.monotonic() < deadline
        time.sleep(0)


@contextmanager
def plain_taker(lock: Any, log: list[str], name: str) -> Iterator[threading.Thread]:
    """A plain thread that waits for the lock, in line after whoever does already, notes its name, and gives it back."""

    def take() -> None:
        with lock:
            log.append(name)

    before = len(lock._line)
    thread = threading.Thread(target=take)
    thread.start()
    in_line(lock, before + 1)
    yield thread
    thread.join(20)
    assert not thread.is_alive()


# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_hub
@each_lock
def test_invariant_1_one_has_it_and_locked_says_so(make: Any) -> None:
    lock = make()
    inside: list[int] = []
    most: list[int] = []

    def work(n: int) -> None:
        with lock:
            assert lock.locked()
            inside.append(n)
            most.append(len(inside))
            sleep(0)
            inside.remove(n)

    joinall([spawn(work, n) for n in range(20)], raise_error=True)
    assert max(most) == 1
    assert not lock.locked()


@each_lock
@pytest.mark.slow(reason="threads and hubs must meet often")
def test_invariants_1_and_4_hold_between_hubs_and_plain_threads(make: Any) -> None:
    assert stress(make, seconds=1.0, least=100) >= 100


@each_lock
@pytest.mark.soak
@pytest.mark.timeout(300)
def test_invariants_1_and_4_hold_for_long(make: Any) -> None:
    assert stress(make, seconds=60.0, least=10_000) >= 10_000


def stress(make: Callable[[], Any], seconds: float, least: int) -> int:
    """Tasks of two hubs and plain threads want one lock, with and without timeouts, and are killed at any moment. Returns how often one had it.

    A machine that is busy gets more time, until it was had ``least`` times.
    """
    lock = make()
    holder: list[str] = []
    count = 0
    seed = random.randrange(10**6)
    end = time.monotonic() + seconds
    errors: list[BaseException] = []

    def on() -> bool:
        now = time.monotonic()
        return now < end or (count < least and now < end + 20)

    def hold(who: str) -> None:
        nonlocal count
        assert holder == [], (seed, who, holder)
        holder.append(who)
        count += 1

    def loop(who: str, rng: random.Random, pause: Callable[[float], object]) -> None:
        while on():
            try:
                how = rng.random()
                if how < 0.2:
                    got = lock.acquire(blocking=False)
                elif how < 0.5:
                    got = lock.acquire(timeout=rng.random() / 1000)
                else:
                    got = lock.acquire()
                if got:
                    hold(who)
                    try:
                        if rng.random() < 0.3:
                            pause(rng.random() / 5000)
                    finally:
                        holder.clear()
                        lock.release()
                if rng.random() < 0.3:
                    pause(rng.random() / 5000)
            except Boom:
                pass

    def guarded(fn: Callable[..., object], *args: Any) -> None:
        try:
            fn(*args)
        except BaseException as error:
            errors.append(error)

    def hub(number: int) -> None:
        def main() -> None:
            rng = random.Random(seed + number)
            tasks = [spawn(loop, f"task {n} of hub {number}", random.Random(rng.random()), sleep) for n in range(5)]
            while on():
                sleep(rng.random() / 1000)
                rng.choice(tasks).kill(Boom, block=False)
            joinall(tasks, raise_error=True, timeout=20)
            assert all(task.dead for task in tasks), seed

        run(main)

    threads = [threading.Thread(target=guarded, args=(hub, n)) for n in range(2)]
    threads += [threading.Thread(target=guarded, args=(loop, f"thread {n}", random.Random(n), time.sleep)) for n in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 50)
            assert not thread.is_alive(), seed
    finally:
        sys.setswitchinterval(interval)
    assert errors == [], seed
    assert lock.acquire(blocking=False)
    assert lock._line == []
    return count


@in_a_hub
@each_lock
def test_invariant_2_it_goes_to_those_who_wait_in_their_order(make: Any) -> None:
    lock = make()
    log: list[str] = []
    with lock:
        tasks = takers(lock, "abc", log)
        with plain_taker(lock, log, "thread"):
            tasks += takers(lock, "d", log)
            lock.release()
            joinall(tasks, timeout=20)
            lock.acquire()
    assert log == ["a", "b", "c", "thread", "d"]


@in_a_hub
@each_lock
def test_invariant_2_who_comes_by_does_not_snatch_it_from_those_who_wait(make: Any) -> None:
    lock = make()
    log: list[str] = []
    with lock:
        tasks = takers(lock, "ab", log)
    assert lock.locked()  # a has it, before it runs
    with lock:
        log.append("main")
    assert log == ["a", "b", "main"]
    joinall(tasks)


@in_a_jumping_hub
@each_lock
def test_invariant_3_a_wake_is_final_for_who_is_killed_or_timed_out_before_it_runs(make: Any) -> None:
    lock = make()
    log: list[Any] = []

    def take(timeout: float) -> None:
        log.append(lock.acquire(timeout=timeout))
        try:
            sleep(0)
        except Boom:
            log.append("killed later")
        lock.release()

    for timeout in (-1, 0.001):
        lock.acquire()
        task = spawn(take, timeout)
        settle()
        lock.release()
        if timeout < 0:
            task.kill(Boom, block=False)
        else:
            pass_time()
        task.join()
    assert log == [True, "killed later", True]
    assert not lock.locked()


@in_a_hub
@each_lock
def test_invariant_3_a_wake_from_another_thread_is_passed_on_by_who_is_killed_before_it_comes(make: Any) -> None:
    lock = make()
    log: list[str] = []
    with Holder(lock) as holder:
        task, other = takers(lock, "ab", log)
        holder.let_go()
        holder.thread.join(20)  # so the lock is handed over, and the word of it is in the inbox
        task.kill(Boom)
        other.join(20)
    assert log == ["b"]
    assert isinstance(task.exception, Boom)
    assert not lock.locked()


@in_a_jumping_hub
@each_lock
def test_invariant_3_a_wake_from_another_thread_that_comes_before_the_timeout_is_seen_counts(make: Any) -> None:
    lock = make()
    log: list[Any] = []
    with Holder(lock) as holder:
        task = spawn(lambda: (log.append(lock.acquire(timeout=0.001)), lock.release()))
        settle(2)
        holder.let_go()
        holder.thread.join(20)
        pass_time()
        task.join(20)
    assert log == [True]


def released_at_each_point(make: Any, acquire: Callable[[Any], Any], ahead: str) -> list[bool]:
    """Another thread releases the lock at each point of an ``acquire``. Returns for each whether that sufficed."""

    def prepare() -> Any:
        lock = make()
        state = {"held": True}
        if make is Lock:
            lock.acquire()
        else:
            lock._state[0] = [object(), 1]  # by nobody who runs
        others = takers(lock, ahead, [])
        return lock, state, others

    def release(made: Any) -> None:
        lock, state, _ = made
        if state["held"]:
            state["held"] = False
            if make is Lock:
                lock.release()
            else:
                lock._hand_over()

    def call(made: Any) -> bool:
        lock, _, others = made
        late = spawn_later(0.02, release, made)  # in the end it is released anyway; when all goes well that never begins
        assert acquire(lock)
        sys.settrace(None)
        lock.release()
        assert len(joinall(others, timeout=20)) == len(ahead)
        assert not lock.locked()
        assert lock._line == []
        in_time = late.state == "new"
        late.kill()
        return in_time

    return at_each_point(FILES, prepare, call, release, lines=True)


@without_a_monitor
@in_a_jumping_hub
@each_lock
@pytest.mark.parametrize("ahead", ["", "a", "ab"])
@pytest.mark.slow(reason="a hundred points, and at most of them the lock is released late")
def test_invariant_4_a_release_wherever_another_thread_may_come_in_is_not_lost(make: Any, ahead: str) -> None:
    results = released_at_each_point(make, lambda lock: lock.acquire(), ahead)
    # Once it sleeps, it is woken by the late release before it comes to the points that follow.
    assert re.fullmatch("1{5,}0*", "".join(str(int(each)) for each in results)), results


@without_a_monitor
@in_a_hub
@each_lock
@pytest.mark.parametrize("ahead", ["", "a", "ab"])
def test_invariant_4_who_enters_wherever_a_release_may_be_interrupted_is_served(make: Any, ahead: str) -> None:
    """A plain thread comes to wait at each point of a release, alone or behind others."""
    log: list[str] = []
    threads: list[threading.Thread] = []

    def enter(made: Any) -> None:
        lock, _ = made
        done = threading.Event()
        threads.append(threading.Thread(target=lambda: (lock.acquire(), done.set(), lock.release())))
        threads[-1].start()
        deadline = time.monotonic() + 20
        while not done.is_set() and not any(waiter._task is None for waiter in lock._line):
            assert time.monotonic() < deadline
            time.sleep(0)
        time.sleep(0.001)  # until it has tried once more, and blocks

    def call(made: Any) -> bool:
        lock, others = made
        trace = sys.gettrace()
        sys.settrace(None)
        lock.acquire()
        others += takers(lock, ahead, log)
        sys.settrace(trace)
        lock.release()
        sys.settrace(None)
        assert len(joinall(others, timeout=20)) == len(ahead)
        return True

    results = at_each_point(FILES[:2], lambda: (make(), []), call, enter, lines=True)
    assert len(results) >= (3 if ahead else 1)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert log == list(ahead) * (len(results) + 1)


@without_a_monitor
@in_a_hub
@each_lock
def test_invariant_4_a_release_at_each_point_of_a_wait_with_a_timeout_leaves_it_free_or_held(make: Any) -> None:
    def prepare() -> Any:
        lock = make()
        if make is Lock:
            lock.acquire()
        else:
            lock._state[0] = [object(), 1]
        return lock, {"held": True}

    def release(made: Any) -> None:
        lock, state = made
        if state["held"]:
            state["held"] = False
            lock.release() if make is Lock else lock._hand_over()

    def call(made: Any) -> bool:
        lock, _state = made
        got = bool(lock.acquire(timeout=0.001))
        sys.settrace(None)
        release(made)
        assert lock._line == []
        if got and lock.locked():
            lock.release()
        assert not lock.locked()
        return got

    results = at_each_point(FILES, prepare, call, release, lines=True)
    # Before it enters, while it waits, and when the timeout has already won.
    assert re.fullmatch("1+0*", "".join(str(int(each)) for each in results)), results


@in_a_hub
@each_lock
def test_invariant_5_a_wait_that_ended_otherwise_has_left_the_line(make: Any) -> None:
    lock = make()
    log: list[str] = []
    with lock:
        a, b, c = takers(lock, "abc", log)
        b.kill(Boom)
        late = spawn(lock.acquire, timeout=0.001)
        assert late.get() is False
        assert len(lock._line) == 2
        assert lock.acquire(timeout=0) is (make is RLock)
        if make is RLock:
            lock.release()
    joinall([a, c])
    assert log == ["a", "c"]
    assert isinstance(b.exception, Boom)


@each_lock
def test_invariant_5_a_plain_thread_that_gives_up_has_left_the_line(make: Any) -> None:
    lock = make()
    with Holder(lock):
        start = time.monotonic()
        assert lock.acquire(timeout=0.01) is False
        assert time.monotonic() - start >= 0.01
        assert lock.acquire(blocking=False) is False
        assert lock.acquire(timeout=0) is False
        assert lock._line == []
    assert where.task_to_park() is None or get_hub() is not None


@in_a_hub
@each_lock
def test_invariant_6_a_release_that_raises_has_changed_nothing(make: Any) -> None:
    lock = make()
    with pytest.raises(RuntimeError, match="release un"):
        lock.release()
    with lock:
        pass
    with pytest.raises(RuntimeError, match="release un"):
        lock.release()
    if make is RLock:
        with lock:
            assert isinstance(spawn(lock.release).exception, type(None))
            task = spawn(lock.release)
            task.join()
            assert isinstance(task.exception, RuntimeError)
            assert isinstance(in_another_thread(lock.release), RuntimeError)
            assert lock.locked()
    assert not lock.locked()


@in_a_hub
def test_invariant_7_an_rlock_is_released_when_its_owner_has_released_it_as_often() -> None:
    lock = RLock()
    log: list[str] = []
    with lock, lock:
        assert lock.acquire()
        assert lock._recursion_count() == 3
        tasks = takers(lock, "a", log)
        lock.release()
        settle()
        assert log == []
        assert spawn(lock.acquire, False).get() is False
        assert spawn(lock._is_owned).get() is False
        assert spawn(lock._recursion_count).get() == 0
    joinall(tasks)
    assert log == ["a"]
    assert lock._recursion_count() == 0


def test_invariant_7_a_plain_thread_owns_it_too() -> None:
    lock = RLock()

    def work() -> None:
        with lock, lock:
            assert lock._is_owned()
            assert "count=2" in repr(lock)
        assert not lock.locked()

    assert in_another_thread(work) is None
    with Holder(lock):
        assert not lock._is_owned()


def test_invariant_7_who_acquired_it_before_the_hub_was_made_still_owns_it() -> None:
    def work() -> None:
        lock = RLock()
        lock.acquire()
        get_hub()
        assert lock._is_owned()
        assert lock.acquire()
        lock.release()
        lock.release()
        assert not lock.locked()

    assert in_another_thread(work) is None


@without_a_monitor
@in_a_hub
def test_invariant_7_a_finaliser_may_acquire_and_release_it_at_any_point() -> None:
    """As when logging is called by ``__del__`` in the middle of logging."""

    def interrupt(lock: RLock) -> None:
        if lock.acquire(blocking=False):
            lock.release()

    def call(lock: RLock) -> bool:
        with lock:
            assert lock._is_owned()
            assert lock._recursion_count() == 1
        assert not lock.locked()
        return True

    assert len(at_each_point(FILES[:1], RLock, call, interrupt, here=True)) > 3


@in_a_hub
@each_lock
def test_invariant_8_on_the_hub_a_free_lock_is_taken(make: Any) -> None:
    lock = make()
    done: list[bool] = []
    get_hub().call_soon(lambda: (done.append(lock.acquire()), lock.release()))
    settle()
    assert done == [True]
    assert not lock.locked()


def on_hub(fn: Callable[[], Any]) -> Any:
    """What ``fn`` returns, or raises, on the hub."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(fn())
        except BaseException as error:
            outcome.append(error)

    get_hub().call_soon(call)
    settle()
    return outcome[0]


@in_a_hub
@each_lock
def test_invariant_8_on_the_hub_a_lock_that_a_task_holds_raises(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make()
    if make is RLock:
        monkeypatch.setattr(where, "PATIENCE", 19)  # which it must not take
    start = time.monotonic()
    with lock:
        error = on_hub(lock.acquire)
        assert isinstance(error, ParkInHubError)
        assert repr(lock)[:20] in str(error)
        assert on_hub(lambda: lock.acquire(blocking=False)) is False
        assert on_hub(lambda: lock.acquire(timeout=0)) is False
        assert lock._line == []
    if make is RLock:
        assert time.monotonic() - start < where.PATIENCE


@in_a_hub
@each_lock
def test_invariant_8_on_the_hub_it_waits_a_moment_for_another_thread(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make()
    monkeypatch.setattr(where, "PATIENCE", 20)
    with Holder(lock) as holder:

        def take() -> bool:
            threading.Thread(target=lambda: (in_line(lock, 1), holder.let_go())).start()
            return bool(lock.acquire())

        assert on_hub(take) is True
        on_hub(lock.release)
    assert not lock.locked()
    monkeypatch.setattr(where, "PATIENCE", 0.001)
    with Holder(lock):
        assert isinstance(on_hub(lock.acquire), ParkInHubError)
        assert on_hub(lambda: lock.acquire(timeout=0.0005)) is False
        assert lock._line == []


class Trash:
    """Garbage in a cycle, whose finaliser calls a function."""

    def __init__(self, fn: Callable[[], object], log: list[Any]) -> None:
        self.me = self
        self.fn = fn
        self.log = log

    def __del__(self) -> None:
        try:
            self.log.append(self.fn())
        except BaseException as error:
            self.log.append(type(error))


@in_a_hub
@each_lock
def test_invariant_8_a_finaliser_that_the_collector_runs_takes_a_free_lock_and_no_other(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make()
    log: list[Any] = []
    Trash(lock.acquire, log)
    gc.collect()
    assert log == [True]
    if make is Lock:
        Trash(lock.acquire, log)
        Trash(lambda: lock.acquire(blocking=False), log)
        gc.collect()
        assert sorted(map(str, log[1:])) == sorted(map(str, [ParkInFinalizerError, False]))
    lock.release()
    monkeypatch.setattr(where, "PATIENCE", 20)
    with Holder(lock) as holder:
        thread = threading.Thread(target=lambda: (in_line(lock, 1), holder.let_go()))
        log.clear()
        Trash(lambda: (thread.start(), lock.acquire(), lock.release()), log)
        gc.collect()
        thread.join(20)
    assert log == [(None, True, None)]


@in_a_hub
@each_lock
def test_invariant_9_in_the_child_of_a_fork_who_waited_in_the_parent_is_passed_over(make: Any) -> None:
    lock = make()
    log: list[str] = []
    with lock:
        tasks = takers(lock, "ab", log)
        with plain_taker(lock, log, "thread"):
            pid = os.fork()
            if not pid:
                status = 1
                try:  # in the child of a fork, which coverage does not see
                    lock.release()
                    status = 0 if not lock.locked() and lock.acquire(blocking=False) else 2
                finally:
                    os._exit(status)
            assert os.waitpid(pid, 0)[1] == 0
            lock.release()
            joinall(tasks)
            lock.acquire()
    assert log == ["a", "b", "thread"]


# -- what users know of it ----------------------------------------------------------------------------------------------


@in_a_hub
@each_lock
def test_every_wait_has_a_timeout_and_can_be_killed(make: Any) -> None:
    lock = make()
    with Holder(lock) as holder:
        start = time.monotonic()
        assert lock.acquire(timeout=0.01) is False
        assert lock.acquire(True, 0.01) is False
        assert time.monotonic() - start >= 0.02
        task = spawn(lock.acquire)
        settle()
        task.kill(Boom)
        assert isinstance(task.exception, Boom)
        with pytest.raises(Timeout), Timeout(0.01):
            lock.acquire()
        assert lock._line == []
        holder.let_go()
        assert lock.acquire(timeout=20)


@each_lock
def test_errors_and_arguments_are_the_standard_locks(make: Any) -> None:
    standard = threading.Lock() if make is Lock else threading.RLock()
    for lock in (standard, make()):
        for arguments, error in [
            ((False, 1), ValueError),
            ((True, -2), ValueError),
            ((True, threading.TIMEOUT_MAX * 2), OverflowError),
            ((True, "soon"), TypeError),
        ]:
            with pytest.raises(error):
                lock.acquire(*arguments)
        assert lock.acquire(blocking=True, timeout=1) is True
        lock.release()
        assert lock.acquire(1) is True
        with pytest.raises(TypeError):
            lock.acquire(foo=1)
        lock.release()


@each_lock
def test_its_repr_is_like_the_standard_one(make: Any) -> None:
    lock = make()
    name = make.__name__
    owner = "owner=0 count=0 " if make is RLock else ""
    assert repr(lock) == f"<unlocked coop_plugins.threading.{name} object {owner}at {id(lock):#x}>"
    with lock:
        assert repr(lock).startswith(f"<locked coop_plugins.threading.{name} object ")


@in_a_hub
def test_the_repr_of_an_rlock_names_its_owner() -> None:
    lock = RLock()

    def work() -> str:
        with lock:
            return repr(lock)

    task = spawn(work)
    assert f"owner={task.ident} count=1" in task.get()


@each_lock
def test_it_can_be_referred_to_weakly_and_made_new(make: Any) -> None:
    lock = make()
    lock.acquire()
    ref = weakref.ref(lock)
    lock._at_fork_reinit()
    assert not lock.locked()
    del lock
    assert ref() is None


@in_a_hub
def test_a_loop_that_only_tries_keeps_nobody_out() -> None:
    lock = Lock()
    with lock:
        task = spawn(lambda: None)
        spawner = spawn(lambda: (sleep(0), sleep(0), lock.release()))
        while not lock.acquire(blocking=False):
            pass
    assert task.dead
    assert spawner.dead


@each_lock
def test_a_condition_of_the_standard_library_works_upon_them(make: Any) -> None:
    lock = make()
    condition = threading.Condition(lock)
    with pytest.raises(RuntimeError):
        condition.notify()
    with condition:
        assert condition.wait(0.001) is False
        assert lock.locked()
        condition.notify_all()
    assert not lock.locked()


@in_a_hub
@each_lock
def test_who_returns_from_a_wait_of_a_condition_has_the_lock_whatever_is_thrown(make: Any) -> None:
    lock = make()
    log: list[str] = []

    def work() -> None:
        with lock:
            state = lock._release_save()
            try:
                sleep(20)
            finally:
                lock._acquire_restore(state)
                log.append("restored")
        log.append("left")

    task = spawn(work)
    settle()
    lock.acquire()
    task.kill(Boom, block=False)
    settle()
    task.kill(Boom, block=False)
    settle()
    assert log == []
    lock.release()
    task.join()
    assert log == ["restored"]
    assert isinstance(task.exception, Boom)
    assert not lock.locked()


def test_a_plain_thread_gets_no_hub_for_a_lock() -> None:
    def work() -> None:
        with Holder(lock) as holder:
            assert lock.acquire(timeout=0.001) is False
            threading.Thread(target=lambda: (in_line(lock, 1), holder.let_go())).start()
            assert lock.acquire()
        assert where.running_task() is None

    lock = Lock()
    assert in_another_thread(work) is None


def test_a_deadlock_names_the_lock_and_who_holds_an_rlock() -> None:
    out, err = python("""
        from coop_plugins.threading import Lock, RLock
        from coopcore import Deadlock, run, sleep, spawn

        def main():
            lock, other = RLock(), Lock()

            def work():
                with lock, other:
                    pass

            other.acquire()
            task = spawn(work)
            task.name = "ann"
            sleep(0)
            lock.acquire()

        try:
            run(main)
        except Deadlock as error:
            print(error)
    """)
    assert re.search(r"main waits for <locked coop_plugins.threading.RLock object owner=\d+ count=1 at 0x\w+>, held by ann", out)
    assert "ann waits for <locked coop_plugins.threading.Lock object at 0x" in out
    assert err == ""
