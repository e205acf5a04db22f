"""The invariants of ``coopcore._timeout``, and Timeout as gevent's users know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from seams.clock import JumpingClock
from seams.hubs import pass_time

import coopcore
from coopcore import Deadlock, Timeout, current_task, killall, sleep, spawn, with_timeout
from coopcore.lowlevel import Alarm, ParkingLot, current_hub, on_hub, park, unpark, yield_now


def run(fn: Callable[..., Any], *args: Any) -> Any:
    """On a clock that jumps: where a test says which of two moments is earlier, it is so on a machine that stands still in between, too."""
    return coopcore.run(fn, *args, clock=JumpingClock())


def let_the_hub_pass() -> None:
    """Yield, and before anybody else has a turn the hub looks at its timers."""
    hub = current_hub()
    hub._budget, hub._last_pass = 0, -(10**9)
    yield_now()


def test_invariant_1_a_timeout_is_thrown_only_into_its_owner() -> None:
    def main() -> None:
        timeout = Timeout.start_new(0.005)
        assert timeout.owner is current_task()
        other = spawn(sleep, 20)
        with pytest.raises(Timeout) as caught:
            other.join()
        assert caught.value is timeout
        assert other.state == "parked"
        other.kill(timeout=5)

    run(main)


def test_invariant_1_not_after_it_was_closed() -> None:
    def main() -> None:
        with Timeout(0.002):
            pass
        sleep(0.006)

    run(main)


def test_invariant_2_a_closed_timeout_is_never_raised_though_it_had_fired() -> None:
    """It fires while the task is ready, not parked: the throw is pending, and leaving the block takes it back."""

    def main() -> None:
        me = current_task()
        lot = ParkingLot("a wake")

        def wake_late() -> None:
            lot.unpark()
            pass_time(0.06)
            let_the_hub_pass()  # so that it fires before the task's turn

        with Timeout(0.05) as timeout:
            spawn(wake_late)
            assert lot.park()
            assert not timeout.pending
            assert me._pending
        assert not me._pending
        sleep(0)
        park("x", 0.001)

    run(main)


def test_invariant_3_nested_timeouts_are_each_raised_by_themselves() -> None:
    def main() -> None:
        with Timeout(0.01) as outer, pytest.raises(Timeout) as caught, Timeout(5, False):
            sleep(5)
        assert caught.value is outer
        with Timeout(5) as outer:
            with Timeout(0.005) as inner, pytest.raises(Timeout) as caught:
                sleep(5)
            assert caught.value is inner
            assert outer.pending

    run(main)


def test_false_is_silent_only_for_itself() -> None:
    def main() -> str:
        with Timeout(0.002, False):
            sleep(5)
            return "not reached"
        return "after"

    assert run(main) == "after"


@pytest.mark.parametrize(
    ("exception", "kind", "text"),
    [(None, Timeout, "0.002 seconds"), ("too slow", Timeout, "0.002 seconds: too slow"), (KeyError, KeyError, ""), (OSError("given"), OSError, "given")],
)
def test_what_is_raised(exception: Any, kind: type[BaseException], text: str) -> None:
    def main() -> None:
        with Timeout(0.002, exception):
            sleep(5)

    for clock in (None, JumpingClock()):
        with pytest.raises(kind) as caught:
            coopcore.run(main, clock=clock)
        assert str(caught.value) == text


def test_none_never_fires_and_infinity_neither() -> None:
    def main() -> None:
        with Timeout(None) as never, Timeout(float("inf")):
            sleep(0.002)
            assert str(never) == ""
            assert not never.pending

    run(main)


def test_zero_and_less_fire_at_the_next_wait() -> None:
    def main() -> None:
        for seconds in (0, -1):
            with pytest.raises(Timeout), Timeout(seconds):
                sleep(5)

    run(main)


def test_not_an_exception_that_except_exception_catches() -> None:
    assert not issubclass(Timeout, Exception)


def test_start_and_cancel_and_start_again() -> None:
    def main() -> None:
        timeout = Timeout(5)
        assert not timeout.pending
        timeout.start()
        assert timeout.pending
        with pytest.raises(RuntimeError, match="is started already"):
            timeout.start()
        timeout.cancel()
        assert not timeout.pending
        timeout.start()
        timeout.close()
        timeout.close()
        assert len(current_task().hub.timers) == 0

    run(main)


def test_start_new_takes_a_timeout_and_every_timeout_argument_does() -> None:
    def main() -> None:
        timeout = Timeout(0.005)
        assert Timeout.start_new(timeout) is timeout
        assert Timeout.start_new(timeout) is timeout
        with pytest.raises(Timeout) as caught:
            ParkingLot("x").park(timeout)  # type: ignore[arg-type]  # as gevent's users do; this one is running
        assert caught.value is timeout
        current = spawn(sleep, 5)
        for kind in (None, False):
            assert current.join(Timeout(0.001, kind)) is False  # type: ignore[arg-type]  # as above
        with pytest.raises(KeyError):
            current.join(Timeout(0.001, KeyError))  # type: ignore[arg-type]  # as above
        unused = Timeout(0.005, KeyError)
        assert spawn(sleep, 0).join(unused)  # type: ignore[arg-type]  # as above
        sleep(0.01)
        current.kill(timeout=5)

    run(main)


@pytest.mark.parametrize("arguments", [(1, 3), (sleep, 1)])
def test_with_timeout_refuses_what_cannot_be_called(arguments: tuple[Any, ...]) -> None:
    match = r"with_timeout\(\) needs a function to call, not \d of type int\. The seconds come first, and the arguments apart: with_timeout\(seconds, fn, arg\)"
    with pytest.raises(TypeError, match=match):
        run(with_timeout, *arguments)


def test_with_timeout() -> None:
    def main() -> None:
        assert with_timeout(5, max, 1, 2) == 2
        assert with_timeout(0.001, sleep, 5, timeout_value="late") == "late"
        with pytest.raises(Timeout):
            with_timeout(0.001, sleep, 5)
        with Timeout(0.001) as outer, pytest.raises(Timeout) as caught:
            with_timeout(5, sleep, 5, timeout_value="late")
        assert caught.value is outer

    run(main)


def test_order_and_repr() -> None:
    assert Timeout(1) < Timeout(2) < Timeout(None)
    assert "seconds=1" in repr(Timeout(1)) and "pending" not in repr(Timeout(1))
    assert str(Timeout(1)) == "1 second"


@pytest.mark.parametrize(("bad", "error"), [("soon", TypeError), ([], TypeError), (float("nan"), ValueError)])
def test_bad_spans_are_refused(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="a Timeout|a timeout"):
        Timeout(bad).start()


def test_an_uncounted_timeout_does_not_hold_off_a_deadlock() -> None:
    from coopcore import Deadlock

    def main() -> None:
        with Timeout(30, ref=False), pytest.raises(Deadlock):
            park("nothing")
        assert current_task().hub._uncounted == 0
        with pytest.raises(Timeout), Timeout(0.001, ref=False):
            sleep(1)
        assert current_task().hub._uncounted == 0

    run(main)


def test_a_timeout_that_throws_leaves_the_waker_its_item() -> None:
    def main() -> None:
        def waiter() -> None:
            with Timeout(0.001, False):
                park("x")

        task = spawn(waiter)
        task.join(timeout=5)
        assert unpark(task) is False

    run(main)


def test_the_words_of_a_silent_one_and_bad_exceptions() -> None:
    assert str(Timeout(2, False)) == "2 seconds (silent)"
    for bad in (3, [], int):
        with pytest.raises(TypeError, match="the exception of a Timeout is"):
            Timeout(1, bad)


def test_a_timeout_with_its_own_exception_serves_for_many_waits() -> None:
    def main() -> None:
        given = Timeout(0.002, KeyError)
        for _ in range(2):
            assert spawn(sleep, 0).join(given)  # type: ignore[arg-type]  # as gevent's users do
            assert not given.pending
            with pytest.raises(KeyError):
                park("x", given)  # type: ignore[arg-type]  # as above
        sleep(0.004)

    run(main)


def test_a_timeout_that_runs_for_another_task_is_refused() -> None:
    def main() -> None:
        with Timeout(5) as mine, pytest.raises(RuntimeError, match="it runs for"):
            spawn(park, "x", mine).get(timeout=5)  # type: ignore[arg-type]  # as above

    run(main)


def test_an_exception_class_that_cannot_be_made_is_told_to_its_owner() -> None:
    def main() -> None:
        with pytest.raises(TypeError), Timeout(0.001, UnicodeDecodeError):
            sleep(5)

    run(main)


def test_the_timeout_of_iwait_ends_the_iteration_and_nothing_else() -> None:
    from coopcore import iwait

    def main() -> None:
        tasks = [spawn(sleep, 0), spawn(sleep, 5)]
        seen = []
        for task in iwait(tasks, timeout=0.003):
            seen.append(task)
            sleep(0.006)
        assert seen == tasks[:1]
        for _ in iwait(tasks, timeout=0.002):
            break
        sleep(0.004)
        tasks[1].kill()

    run(main)


def test_an_alarm_calls_on_the_hub_at_its_moment() -> None:
    def main() -> None:
        hub = current_hub()
        calls: list[Any] = []
        start = hub.clock.now()
        second = Alarm(hub, start + 2_000_000, lambda *args: calls.append((args, on_hub(), hub.clock.now() - start)), 1, 2)
        Alarm(hub, start + 1_000_000, calls.append, "first")
        taken_back = Alarm(hub, start + 1_000_000, calls.append, "never")
        taken_back.cancel()
        taken_back.cancel()
        Alarm(hub, 10**40, calls.append, "in ages").cancel()
        sleep(0.01)
        second.cancel()
        assert calls[0] == "first"
        assert calls[1][:2] == ((1, 2), True) and calls[1][2] >= 2_000_000
        assert len(calls) == 2 and len(hub.timers) == 0

    run(main)


def test_an_alarm_that_raises_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        Alarm(current_hub(), 0, lambda: 1 / 0)
        sleep(0.002)

    run(main)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_timeout_with_its_own_exception_that_comes_after_the_wake_is_withdrawn() -> None:
    def main() -> None:
        lot = ParkingLot("a wake")

        def wake_late() -> None:
            lot.unpark()
            pass_time(0.02)  # so that its time is over before the task's turn
            let_the_hub_pass()

        spawn(wake_late)
        assert lot.park(Timeout(0.005, ValueError("late")))
        sleep(0.001)

    run(main)


@pytest.mark.parametrize("exception", [None, False, KeyError("late"), "late"])
def test_one_with_ref_false_that_is_a_timeout_does_not_hold_off_a_deadlock(exception: Any) -> None:
    def main() -> None:
        hub = current_task().hub
        for _ in range(2):
            with pytest.raises(Deadlock):
                park("what never comes", timeout=Timeout(30, exception, ref=False))
        assert (len(hub.timers), hub._uncounted, hub._left_out) == (0, 0, {})
        assert hub._disarm == hub.timers.cancel

    run(main)


@pytest.mark.parametrize("ended", ["by a wake", "by its time", "by a kill"])
def test_one_with_ref_false_that_is_a_timeout_counts_no_more_when_its_wait_is_over(ended: str) -> None:
    def main() -> None:
        hub = current_task().hub
        others = [spawn(park, "x", timeout=Timeout(30, ref=False)) for _ in range(2)]
        task = spawn(park, "x", timeout=Timeout(0.001 if ended == "by its time" else 30, ref=False))
        sleep(0)
        assert hub._uncounted == 3
        if ended == "by a wake":
            unpark(task)
        elif ended == "by a kill":
            task.kill()
        assert task.join(timeout=5)
        assert hub._uncounted == 2
        killall(others)
        assert (hub._uncounted, hub._disarm) == (0, hub.timers.cancel)

    run(main)


def test_a_span_that_is_past_fires_at_the_next_wait() -> None:
    """As gevent's: it is what is left until a deadline, which may be over. (`sleep(-1)` is refused, as ``time.sleep`` refuses it.)"""

    def main() -> None:
        with pytest.raises(Timeout):
            with Timeout(-1):
                sleep(5)
        assert park("x", timeout=Timeout(-1)) is False
        assert park("x", timeout=-1) is False

    run(main)
