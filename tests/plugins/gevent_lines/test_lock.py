"""The section on semaphores and RLock."""

from __future__ import annotations

from typing import Any

import pytest

FOREVER = 60.0
both = pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])


@both
def test_acquire_and_release(lib: Any, name: str) -> None:
    """Semaphore(value=1): acquire(blocking=True, timeout=None)->bool, release()->counter."""
    semaphore = getattr(lib, name)()
    assert semaphore.acquire() is True
    assert (semaphore.acquire(blocking=False), semaphore.acquire(False), semaphore.acquire(timeout=0.001), semaphore.acquire(True, 0.001)) == (False,) * 4
    assert semaphore.release() == 1


@both
def test_counter_locked_ready(lib: Any, name: str) -> None:
    """locked ready counter."""
    semaphore = getattr(lib, name)(value=2)
    states = []
    for _ in range(3):
        states.append((semaphore.counter, semaphore.locked(), semaphore.ready()))
        semaphore.acquire(blocking=False)
    assert states == [(2, False, True), (1, False, True), (0, True, False)]


def test_release_of_several(lib: Any) -> None:
    """release has no n (gevent); it has, in the standard library."""
    assert lib.outcome(lib.Semaphore(0).release, 2) == lib.differ("`Semaphore(0).release(2)`", gevent="raises TypeError", ours=2)


def test_a_negative_value(lib: Any) -> None:
    """A negative value is a ValueError."""
    assert lib.outcome(lib.Semaphore, -1) == lib.outcome(lib.BoundedSemaphore, -1) == "raises ValueError"


@both
def test_context_manager(lib: Any, name: str) -> None:
    """ctx manager: acquires and releases, also after an error; enter returns None (gevent)."""
    semaphore = getattr(lib, name)()
    with semaphore as entered:
        assert semaphore.locked()
    assert entered is lib.differ("`Semaphore(1).__enter__()`", gevent=None, ours=True)
    with pytest.raises(KeyError):
        with semaphore:
            raise KeyError
    assert semaphore.counter == 1


@both
def test_wait(lib: Any, name: str) -> None:
    """wait(timeout)->counter, and takes none."""
    semaphore = getattr(lib, name)(2)
    assert semaphore.wait() == 2
    semaphore.acquire(), semaphore.acquire()
    assert semaphore.wait(0.001) == semaphore.wait(timeout=0) == 0
    (waiter,) = lib.start(semaphore.wait)
    semaphore.release()
    assert waiter.get() == 1 and semaphore.counter == 1


@both
def test_rawlink(lib: Any, log: Any, name: str) -> None:
    """rawlink unlink linkcount: called when it is free, or if it is; not after unlink."""
    semaphore, unwanted = getattr(lib, name)(1), log.note("unwanted")
    semaphore.acquire()
    semaphore.rawlink(log.append)
    semaphore.rawlink(unwanted)
    assert semaphore.linkcount() == 2
    semaphore.unlink(unwanted)
    lib.settle()
    assert log == [] and semaphore.linkcount() == 1
    semaphore.release()
    lib.settle()
    assert log == [semaphore] and semaphore.counter == 1
    semaphore.rawlink(log.note("late"))
    lib.settle()
    assert log[1:] == ["late"]


@both
def test_fairness(lib: Any, log: Any, name: str) -> None:
    """Fair: first come, first served."""
    semaphore = getattr(lib, name)(4)
    for _ in range(4):
        semaphore.acquire()
    lib.start(*[lambda number=number: (semaphore.acquire(), log.append(number)) for number in range(4)])
    for _ in range(4):
        semaphore.release()
    lib.settle()
    assert log == [0, 1, 2, 3] and semaphore.counter == 0


@both
def test_a_killed_waiter_loses_no_permit(lib: Any, name: str) -> None:
    """One that is killed while it waits takes no permit."""
    semaphore = getattr(lib, name)(1)
    semaphore.acquire()
    killed, waiter = lib.start(semaphore.acquire, semaphore.acquire)
    killed.kill()
    semaphore.release()
    assert waiter.get() is True and semaphore.counter == 0


def test_bounded_semaphore_released_too_often(lib: Any) -> None:
    """BoundedSemaphore: ValueError on over-release, and nothing has changed."""
    semaphore = lib.BoundedSemaphore(2)
    assert lib.outcome(semaphore.release) == "raises ValueError"
    assert semaphore.counter == 2
    semaphore.acquire()
    assert semaphore.release() == 2
    assert lib.outcome(semaphore.release) == "raises ValueError"


def test_semaphore_released_beyond_its_value(lib: Any) -> None:
    """A Semaphore may be released beyond its value."""
    semaphore = lib.Semaphore(1)
    assert [semaphore.release(), semaphore.release()] == [2, 3]


def test_release_on_the_hub(lib: Any) -> None:
    """release works on the hub, and so does acquire without blocking."""
    semaphore = lib.Semaphore(0)
    (waiter,) = lib.start(semaphore.acquire)
    lib.on_hub(semaphore.release)
    assert waiter.get() is True
    assert lib.on_hub(semaphore.acquire, False) is False


def test_rlock(lib: Any, log: Any) -> None:
    """RLock: its owner, a greenlet, may acquire it again; others wait until it was released as often."""
    lock = lib.RLock()
    lock.acquire()
    lock.acquire()
    lib.start(lambda: (lock.acquire(), log.append("other"), lock.release()))
    lock.release()
    lib.settle()
    assert log == [] and not lib.spawn(lock.acquire, False).get()
    lock.release()
    lib.settle()
    assert log == ["other"]


def test_rlock_of_another(lib: Any) -> None:
    """RLock: RuntimeError when not owner."""
    lock = lib.RLock()
    assert lib.outcome(lock.release) == "raises RuntimeError"
    lock.acquire()
    assert lib.outcome(lib.spawn(lock.release).get) == "raises RuntimeError"
    lock.release()
    assert lib.outcome(lock.release) == "raises RuntimeError"


def test_rlock_as_a_context_manager(lib: Any) -> None:
    """RLock: with, nested."""
    lock = lib.RLock()
    with lock:
        with lock:
            assert lib.spawn(lock.acquire, 0).get() is False
    assert lib.spawn(lock.acquire, 0).get() in (True, 1)


def test_rlock_waits_for_its_timeout(lib: Any) -> None:
    """RLock.acquire(blocking, timeout)."""
    lock = lib.RLock()
    lib.spawn(lock.acquire).join()
    assert [lock.acquire(blocking=0), lock.acquire(timeout=0.001), lock.acquire(True, 0.001)] == [False] * 3


def test_dummy_semaphore(lib: Any) -> None:
    """DummySemaphore: never runs out."""
    semaphore = lib.DummySemaphore(0)
    assert [semaphore.acquire() for _ in range(3)] == [True] * 3
    assert semaphore.release() is None and not semaphore.locked()
    with semaphore:
        assert semaphore.acquire(blocking=False) is True
