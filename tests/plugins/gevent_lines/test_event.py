"""The section on Event and AsyncResult."""

from __future__ import annotations

import copy
from typing import Any

import pytest

FOREVER = 60.0


# -- Event ----------------------------------------------------------------------------------------------------------------


def test_event_flag(lib: Any) -> None:
    """is_set/isSet/ready/set/clear."""
    event = lib.Event()
    assert (event.is_set(), event.isSet(), event.ready()) == (False, False, False)
    assert event.set() is None and event.set() is None
    assert (event.is_set(), event.isSet(), event.ready()) == (True, True, True)
    assert event.clear() is None
    assert not event.is_set()


def test_event_wait(lib: Any) -> None:
    """wait(timeout) -> bool: True at once if it is set, False after the timeout."""
    event = lib.Event()
    assert [event.wait(0.001), event.wait(timeout=0.001), event.wait(0), event.wait(-1)] == [False] * 4
    event.set()
    assert [event.wait(), event.wait(0), event.wait(1)] == [True] * 3


def test_event_waiters_are_woken_in_order(lib: Any, log: Any) -> None:
    """Waiters are woken in FIFO order, later: not within set()."""
    event = lib.Event()
    lib.start(*[lambda number=number: (event.wait(), log.append(number)) for number in range(5)])
    event.set()
    assert log == []
    lib.settle()
    assert log == [0, 1, 2, 3, 4]


def test_event_set_then_clear(lib: Any) -> None:
    """True if it was set during the wait, even if cleared since."""
    event = lib.Event()
    waiters = lib.start(*[event.wait] * 3)
    event.set()
    event.clear()
    assert [waiter.get() for waiter in waiters] == [True] * 3
    assert event.wait(0.001) is False


def test_event_wakes_who_waited_again(lib: Any) -> None:
    """Set again after clear, it wakes those who wait then."""
    event = lib.Event()
    (task,) = lib.start(lambda: [event.wait(), event.clear(), event.wait()])
    event.set()
    lib.settle()
    assert not task.ready()
    event.set()
    assert task.get() == [True, None, True]


def test_event_rawlink(lib: Any, log: Any) -> None:
    """rawlink/unlink: called (here: on the hub) when it is set, or when it is set already; not after unlink."""
    event, unwanted = lib.Event(), log.note("unwanted")
    event.rawlink(lambda source: log.append((source, lib.is_hub() or not lib.ours)))
    event.rawlink(unwanted)
    event.unlink(unwanted)
    event.set()
    lib.settle()
    assert log == [(event, True)]
    event.rawlink(log.note("late"))
    lib.settle()
    assert log[1:] == ["late"]


def test_event_linkcount(lib: Any) -> None:
    """linkcount() counts waiters and links."""
    event, callback = lib.Event(), print
    lib.start(event.wait)
    event.rawlink(callback)
    assert event.linkcount() == 2
    event.unlink(callback)
    assert event.linkcount() == 1
    event.set()
    lib.settle()
    assert event.linkcount() == 0


def test_event_wait_that_is_killed(lib: Any) -> None:
    """A waiter that is killed or times out is no longer linked."""
    event = lib.Event()
    (waiter,) = lib.start(event.wait)
    waiter.kill()
    event.wait(0.001)
    assert lib.with_timeout(0.001, event.wait, timeout_value="late") == "late"
    assert event.linkcount() == 0


def test_event_set_on_the_hub(lib: Any) -> None:
    """set() works on the hub."""
    event = lib.Event()
    (waiter,) = lib.start(event.wait)
    assert lib.on_hub(event.set) is None
    assert waiter.get() is True


# -- AsyncResult ----------------------------------------------------------------------------------------------------------


def known(result: Any) -> tuple[Any, ...]:
    return result.ready(), result.done(), result.successful(), result.value, result.exception


def test_result_empty(lib: Any) -> None:
    """ready done successful value exception exc_info, before it is set."""
    result = lib.AsyncResult()
    assert known(result) == (False, False, False, None, None)
    assert result.exc_info == ()


@pytest.mark.parametrize("method", ["set", "set_result"])
@pytest.mark.parametrize("values", [(5,), ()])
def test_result_set(lib: Any, method: str, values: tuple[Any, ...]) -> None:
    """set/set_result(value=None)."""
    result = lib.AsyncResult()
    getattr(result, method)(*values)
    value = values[0] if values else None
    assert known(result) == (True, True, True, value, None)
    assert [result.get(), result.get_nowait(), result.result(), result.wait()] == [value] * 4


def test_result_set_exception(lib: Any) -> None:
    """set_exception(exc, exc_info=None)."""
    result, error = lib.AsyncResult(), KeyError("mine")
    result.set_exception(error)
    assert known(result) == (True, True, False, None, error)
    assert result.exc_info[:2] == (KeyError, error)
    assert [lib.outcome(call) for call in (result.get, result.get_nowait, result.result)] == ["raises KeyError"] * 3
    assert result.wait() is None


def test_result_set_exception_with_exc_info(lib: Any, fail: Any) -> None:
    """exc_info gives the traceback."""
    import sys

    result = lib.AsyncResult()
    try:
        fail()
    except ValueError as error:
        result.set_exception(error, sys.exc_info())
    with pytest.raises(ValueError) as caught:
        result.get()
    assert caught.traceback[-1].name == "fail"


def test_result_set_exception_with_another_in_exc_info(lib: Any) -> None:
    """exc and exc_info are one error; if not, one has to win."""
    result = lib.AsyncResult()
    result.set_exception(KeyError(), (ValueError, ValueError(), None))
    row = "`AsyncResult.set_exception(exc, exc_info)` raises `exc`"
    assert lib.outcome(result.get) == lib.differ(row, gevent="raises ValueError", ours="raises KeyError")


def test_what_tasks_wait_for_cannot_be_copied(lib: Any) -> None:
    """A copy would share who waits: events, queues and semaphores refuse it, and here locks and groups, too."""
    row = "`copy.copy` of whatever tasks wait for or belong to raises `TypeError`"
    assert {lib.outcome(copy.copy, thing) for thing in (lib.Event(), lib.Channel(), lib.Semaphore())} == {"raises TypeError"}
    for thing in (lib.RLock(), lib.Pool(2)):
        copied = type(lib.outcome(copy.copy, thing)) is type(thing)
        assert copied is lib.differ(row, gevent=True, ours=False)


def test_result_set_twice(lib: Any) -> None:
    """set twice is allowed, the last wins."""
    result = lib.AsyncResult()
    result.set(1)
    result.set(2)
    assert result.get() == 2


def test_result_value_after_error_and_error_after_value(lib: Any) -> None:
    """A value after an error, and the other way round: a mixture (gevent), or the last."""
    result = lib.AsyncResult()
    result.set(1)
    result.set_exception(KeyError())
    row = "`r = AsyncResult(); r.set(1); r.set_exception(KeyError()); r.get()`"
    assert lib.outcome(result.get) == lib.differ(row, gevent=1, ours="raises KeyError")


def test_result_wakes_in_order(lib: Any, log: Any) -> None:
    """All who wait get it, in FIFO order, later."""
    result = lib.AsyncResult()
    lib.start(*[lambda number=number: log.append((number, result.get())) for number in range(4)])
    result.set("x")
    assert log == []
    lib.settle()
    assert log == [(number, "x") for number in range(4)]


def test_result_get_times_out(lib: Any) -> None:
    """get timeouts raise gevent.Timeout; without block at once."""
    result = lib.AsyncResult()
    calls = [lambda: result.get(timeout=0.001), lambda: result.get(block=False), lambda: result.get(False), result.get_nowait, lambda: result.result(0.001)]
    assert [lib.outcome(call) for call in calls] == ["raises Timeout"] * 5


def test_result_wait(lib: Any) -> None:
    """wait(timeout) -> value or None; raises nothing."""
    result = lib.AsyncResult()
    assert result.wait(0.001) is None
    (waiter,) = lib.start(result.wait)
    result.set(5)
    assert waiter.get() == 5


def test_result_cannot_be_cancelled(lib: Any) -> None:
    """cancel() -> False, cancelled() -> False."""
    assert (lib.AsyncResult().cancel(), lib.AsyncResult().cancelled()) == (False, False)


def test_result_as_a_link_target(lib: Any, fail: Any) -> None:
    """__call__(source) => a link target: it becomes what the task did."""
    value, error, killed = lib.AsyncResult(), lib.AsyncResult(), lib.AsyncResult()
    (sleeper,) = lib.start(lambda: lib.sleep(FOREVER))
    lib.spawn(lambda: 5).link(value)
    lib.spawn(fail).rawlink(error)
    sleeper.link(killed)
    sleeper.kill()
    assert value.get() == 5
    assert lib.outcome(error.get) == "raises ValueError"
    assert isinstance(killed.get(), lib.GreenletExit)


def test_result_as_a_target_of_another(lib: Any) -> None:
    """A result may be the source."""
    source, target = lib.AsyncResult(), lib.AsyncResult()
    source.rawlink(target)
    source.set(5)
    assert target.get() == 5


def test_result_rawlink(lib: Any, log: Any) -> None:
    """rawlink unlink, before and after it is set."""
    result, unwanted = lib.AsyncResult(), log.note("unwanted")
    result.rawlink(lambda source: log.append((source, lib.is_hub() or not lib.ours)))
    result.rawlink(unwanted)
    result.unlink(unwanted)
    result.set(1)
    lib.settle()
    result.rawlink(log.note("late"))
    lib.settle()
    assert log == [(result, True), "late"]


def test_result_from_another_greenlet_with_a_timeout(lib: Any) -> None:
    """A value that comes within the timeout is returned."""
    result = lib.AsyncResult()
    lib.spawn_later(0.001, result.set, 5)
    assert result.get(timeout=FOREVER) == 5
