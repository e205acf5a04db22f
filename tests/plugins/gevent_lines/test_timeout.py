"""The section on Timeout."""

from __future__ import annotations

from typing import Any

import pytest

FOREVER = 60.0


def test_it_is_a_base_exception_only(lib: Any) -> None:
    """Timeout(seconds=None, exception=None, ref=True, priority=-1) is a BaseException."""
    timeout = lib.Timeout(None, None, True, -1)
    assert isinstance(timeout, BaseException) and not isinstance(timeout, Exception)
    lib.Timeout(seconds=1, exception=None, ref=True, priority=-1)


def test_start_pending_cancel_close(lib: Any) -> None:
    """start/pending/cancel/close: pending between start and close; it can be started again after."""
    timeout = lib.Timeout(FOREVER)
    assert not timeout.pending
    timeout.start()
    assert timeout.pending
    timeout.cancel()
    assert not timeout.pending
    timeout.start()
    assert timeout.pending
    timeout.close()
    assert not timeout.pending
    row = "a closed `Timeout` may be started again"
    assert lib.outcome(timeout.start) == lib.differ(row, gevent="raises AssertionError", ours=None)
    timeout.close()


def test_a_second_start(lib: Any) -> None:
    """Started twice it is a mistake."""
    timeout = lib.Timeout(FOREVER)
    timeout.start()
    row = "`Timeout.start()` of one that runs raises `RuntimeError`"
    assert lib.outcome(timeout.start) == lib.differ(row, gevent="raises AssertionError", ours="raises RuntimeError")
    timeout.close()


def test_exception_none_raises_itself(lib: Any) -> None:
    """exception None -> raises itself, also out of its `with` block."""
    with pytest.raises(lib.Timeout) as caught:
        with lib.Timeout(0.001) as timeout:
            lib.sleep(FOREVER)
    assert caught.value is timeout


def test_exception_false_is_swallowed_by_with_only(lib: Any) -> None:
    """exception False -> itself, but swallowed by `with`."""
    with lib.Timeout(0.001, False):
        lib.sleep(FOREVER)
    timeout = lib.Timeout.start_new(0.001, False)
    with pytest.raises(lib.Timeout) as caught:
        lib.sleep(FOREVER)
    assert caught.value is timeout
    timeout.close()


def test_a_silent_with_swallows_no_other(lib: Any) -> None:
    """A silent `with` block lets an outer Timeout pass."""
    with pytest.raises(lib.Timeout) as caught:
        with lib.Timeout(0.001) as outer:
            with lib.Timeout(FOREVER, False):
                lib.sleep(FOREVER)
    assert caught.value is outer


def test_exception_str_is_a_suffix(lib: Any) -> None:
    """exception str -> raises itself, with the string as the suffix of its message."""
    with pytest.raises(lib.Timeout) as caught:
        with lib.Timeout(0.001, "too slow") as timeout:
            lib.sleep(FOREVER)
    assert caught.value is timeout
    assert str(timeout) == "0.001 seconds: too slow"


def test_messages(lib: Any) -> None:
    """str() says the seconds, and (silent)."""
    assert [str(lib.Timeout(*args)) for args in [(), (1,), (2,), (0.5,), (1, False)]] == ["", "1 second", "2 seconds", "0.5 seconds", "1 second (silent)"]


def test_the_message_of_one_with_an_exception(lib: Any) -> None:
    """An exception of its own in the message."""
    row = '`str(Timeout(1, KeyError))` is "1 second"'
    assert str(lib.Timeout(1, KeyError)) == lib.differ(row, gevent="1 second: <class 'KeyError'>", ours="1 second")


@pytest.mark.parametrize("exception", [KeyError, KeyError("late")])
def test_else_that_exception(lib: Any, exception: Any) -> None:
    """Any other exception, class or instance, is raised in its place."""
    with pytest.raises(KeyError) as caught:
        with lib.Timeout(0.001, exception):
            lib.sleep(FOREVER)
    assert caught.value is exception or exception is KeyError


def test_none_never_fires(lib: Any) -> None:
    """None seconds never fires; it is not pending then, and nothing is raised."""
    with lib.Timeout(None) as timeout:
        assert not timeout.pending
        lib.sleep(0.002)
    assert lib.with_timeout(None, lambda: "done") == "done"


@pytest.mark.parametrize("seconds", [0, -1])
def test_zero_fires_at_the_next_turn(lib: Any, seconds: int) -> None:
    """0 fires at the next loop turn, not before; less is the same."""
    with pytest.raises(lib.Timeout):
        with lib.Timeout(seconds):
            assert True  # not at once
            lib.sleep(FOREVER)


def test_ref_false_does_not_hold_off_loop_exit(lib: Any) -> None:
    """ref=False does not keep the hub waiting for it."""
    with lib.Timeout(FOREVER, ref=False):
        assert lib.outcome(lib.Event().wait) == "raises LoopExit"


def test_must_be_closed(lib: Any) -> None:
    """It fires wherever its task is, as long as nobody has closed it; closed, it never does."""
    timeout = lib.Timeout.start_new(0.001)
    assert lib.outcome(lib.sleep, FOREVER) == "raises Timeout"
    timeout.close()
    timeout = lib.Timeout.start_new(0.001)
    timeout.close()
    lib.sleep(0.003)


def test_start_new_of_seconds(lib: Any) -> None:
    """start_new(timeout, exception, ref) makes and starts one."""
    timeout = lib.Timeout.start_new(FOREVER, KeyError, False)
    assert (timeout.pending, timeout.seconds, timeout.exception) == (True, FOREVER, KeyError)
    timeout.close()
    assert not lib.Timeout.start_new().pending


def test_start_new_of_a_timeout(lib: Any) -> None:
    """start_new accepts a Timeout: starts it if it is not pending, and returns it."""
    timeout = lib.Timeout(FOREVER)
    assert lib.Timeout.start_new(timeout) is timeout and timeout.pending
    assert lib.Timeout.start_new(timeout) is timeout and timeout.pending
    timeout.close()


def test_less_than(lib: Any) -> None:
    """`<` compares the seconds."""
    short, long = lib.Timeout(1), lib.Timeout(2)
    assert short < long and not long < short
    assert sorted([long, short]) == [short, long]


def test_nested_ones_are_told_apart(lib: Any) -> None:
    """The one that fires is the one that is raised."""
    with lib.Timeout(FOREVER):
        with pytest.raises(lib.Timeout) as caught:
            with lib.Timeout(0.001) as inner:
                lib.sleep(FOREVER)
        assert caught.value is inner


def test_with_timeout(lib: Any) -> None:
    """with_timeout(seconds, function, *args, timeout_value=..., **kwargs)."""
    assert lib.with_timeout(FOREVER, lambda *args, **kwargs: (args, kwargs), 1, a=2) == ((1,), {"a": 2})
    assert lib.with_timeout(0.001, lib.sleep, FOREVER, timeout_value="late") == "late"
    assert lib.with_timeout(0.001, lib.sleep, FOREVER, timeout_value=None) is None
    assert lib.outcome(lib.with_timeout, 0.001, lib.sleep, FOREVER) == "raises Timeout"


def test_with_timeout_swallows_its_own_only(lib: Any) -> None:
    """timeout_value= only swallows its own Timeout."""

    def other() -> None:
        raise lib.Timeout(1)

    assert lib.outcome(lib.with_timeout, FOREVER, other, timeout_value="late") == "raises Timeout"
    with pytest.raises(lib.Timeout) as caught:
        with lib.Timeout(0.001) as outer:
            lib.with_timeout(FOREVER, lib.sleep, FOREVER, timeout_value="late")
    assert caught.value is outer


def test_with_timeout_takes_a_timeout(lib: Any) -> None:
    """Its seconds may be a Timeout."""
    timeout = lib.Timeout(0.001)
    assert lib.with_timeout(timeout, lib.sleep, FOREVER, timeout_value="late") == "late"
    assert not timeout.pending


def waits(lib: Any) -> dict[str, tuple[Any, Any]]:
    """Every call with a timeout= that would wait, and what it comes to when that many seconds pass."""
    full, busy, pool = lib.Queue(1), lib.Semaphore(0), lib.Pool(1)
    full.put(1)
    stuck = lib.spawn(lib.sleep, FOREVER)
    pool.spawn(lib.sleep, FOREVER)
    lib.settle()
    return {
        "Greenlet.join": (stuck.join, False if lib.ours else None),
        "Greenlet.get": (stuck.get, "raises Timeout"),
        "Event.wait": (lib.Event().wait, False),
        "AsyncResult.wait": (lib.AsyncResult().wait, None),
        "AsyncResult.get": (lib.AsyncResult().get, "raises Timeout"),
        "AsyncResult.result": (lib.AsyncResult().result, "raises Timeout"),
        "Queue.get": (lib.Queue().get, "raises Empty"),
        "Queue.peek": (lib.Queue().peek, "raises Empty"),
        "Queue.put": (lambda timeout: full.put(2, timeout=timeout), "raises Full"),
        "Queue.join": (full.join, False),
        "SimpleQueue.get": (lib.SimpleQueue().get, "raises Empty"),
        "Channel.get": (lib.Channel().get, "raises Empty"),
        "Channel.put": (lambda timeout: lib.Channel().put(2, timeout=timeout), "raises Full"),
        "Semaphore.acquire": (busy.acquire, False),
        "Semaphore.wait": (busy.wait, 0),
        "Pool.join": (pool.join, False),
        "Pool.wait_available": (pool.wait_available, 0),
        "Pool.add": (lambda timeout: pool.add(lib.Greenlet(print), timeout=timeout), "raises PoolFull"),
        "joinall": (lambda timeout: lib.joinall([stuck], timeout=timeout), []),
        "wait": (lambda timeout: lib.wait([stuck], timeout=timeout), []),
        "iwait": (lambda timeout: list(lib.iwait([stuck], timeout=timeout)), []),
    }


def test_every_wait_takes_seconds(lib: Any) -> None:
    """Every timeout= takes seconds."""
    calls = waits(lib)
    assert {name: lib.outcome(call, timeout=0.001) for name, (call, _) in calls.items()} == {name: outcome for name, (_, outcome) in calls.items()}


def gevent_with_a_timeout(name: str, outcome: Any) -> Any:
    """What gevent does there with a Timeout: queues raise it, and some calls do arithmetic with it."""
    if name in ("joinall", "wait", "iwait"):
        return "raises TypeError"
    return "raises Timeout" if outcome in ("raises Empty", "raises Full") else outcome


def test_every_wait_takes_a_timeout_object(lib: Any) -> None:
    """Every timeout= argument of the library takes a Timeout object too. (With gevent not those of joinall, wait and iwait.)"""
    calls = waits(lib)
    expected = {name: outcome if lib.ours else gevent_with_a_timeout(name, outcome) for name, (_, outcome) in calls.items()}
    assert {name: lib.outcome(call, timeout=lib.Timeout(0.001)) for name, (call, _) in calls.items()} == expected
    # the rows that document it
    lib.differ("`Queue().get(timeout=Timeout(0.001))`", gevent="raises Timeout", ours="raises Empty")
    lib.differ("`joinall`, `wait` and `iwait` take a `Timeout` as `timeout=`", gevent="raises TypeError", ours=[])


def test_a_timeout_object_raises_its_own_exception(lib: Any) -> None:
    """A Timeout with an exception of its own, given as timeout=, raises that."""
    calls = waits(lib)
    expected = {name: "raises TypeError" if name in ("joinall", "wait", "iwait") and not lib.ours else "raises KeyError" for name in calls}
    assert {name: lib.outcome(call, timeout=lib.Timeout(0.001, KeyError)) for name, (call, _) in calls.items()} == expected


def test_a_timeout_object_that_runs(lib: Any) -> None:
    """A Timeout that runs already, given as timeout=, ends the wait as an unstarted one does (gevent), or is raised as itself."""
    row = "a `Timeout` that runs already, given as `timeout=`, is raised as itself"
    for name, (call, outcome) in waits(lib).items():
        with lib.Timeout(0.001) as timeout:
            got = lib.outcome(call, timeout=timeout)
        assert got == lib.differ(row, gevent=gevent_with_a_timeout(name, outcome), ours="raises Timeout"), name
