"""The invariants of ``coopcore._timers``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coopcore import _timers
from coopcore._timers import _MIN_STALE, SHIFT, BucketTimers


def drain(timers: BucketTimers, now: int) -> list[Any]:
    return list(timers.pop_due(now))


def test_invariant_1_timers_come_out_by_deadline_then_by_order_of_setting() -> None:
    timers = BucketTimers()
    for deadline, name in ((5 << SHIFT, "c"), (7, "a2"), (3, "a1"), (7, "a3"), (2 << SHIFT, "b")):
        timers.add(deadline, name)
    assert timers.next_deadline() == 3
    assert drain(timers, 10 << SHIFT) == ["a1", "a2", "a3", "b", "c"]
    assert timers.next_deadline() is None


def test_a_timer_added_to_the_bucket_that_is_being_handed_out_keeps_its_place() -> None:
    timers = BucketTimers()
    timers.add(10, "a")
    timers.add(30, "c")
    out = []
    for callback in timers.pop_due(100):
        out.append(callback)
        if callback == "a":
            timers.add(20, "b")
    assert out == ["a", "b", "c"]


def test_invariant_2_a_cancelled_timer_never_comes_out_and_cancelling_again_is_quiet() -> None:
    timers = BucketTimers()
    handles = [timers.add(deadline, deadline) for deadline in range(5)]
    timers.cancel(handles[1])
    timers.cancel(handles[1])
    assert drain(timers, 2) == [0, 2]
    timers.cancel(handles[0])
    timers.cancel(handles[3])
    assert drain(timers, 9) == [4]
    assert len(timers) == 0


def test_what_is_cancelled_while_being_handed_out_does_not_come() -> None:
    timers = BucketTimers()
    handles = [timers.add(5, n) for n in range(4)]
    out = []
    for callback in timers.pop_due(5):
        out.append(callback)
        if callback == 0:
            timers.cancel(handles[2])
    assert out == [0, 1, 3]


def test_invariant_4_blank_handles_do_not_pile_up() -> None:
    timers = BucketTimers()
    timers.add(1 << 60, "far")
    for n in range(10_000):
        timers.cancel(timers.add(n << SHIFT, n))
        assert timers._stale <= max(_MIN_STALE, timers._held / 2)
    assert timers._held <= _MIN_STALE + 2
    assert drain(timers, 1 << 61) == ["far"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 6 << SHIFT)),
            st.tuples(st.just("cancel"), st.integers(0, 30)),
            st.tuples(st.just("pop"), st.integers(0, 6 << SHIFT)),
            st.tuples(st.just("compact"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_invariant_3_length_and_order_agree_with_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    timers = BucketTimers()
    model: list[tuple[int, int]] = []
    handles: list[Any] = []
    for step, value in steps:
        if step == "add":
            model.append((value, len(handles)))
            handles.append(timers.add(value, (value, len(handles))))
        elif step == "cancel" and value < len(handles):
            timers.cancel(handles[value])
            model = [entry for entry in model if entry[1] != value]
        elif step == "pop":
            assert drain(timers, value) == sorted(entry for entry in model if entry[0] <= value)
            model = [entry for entry in model if entry[0] > value]
        elif step == "compact":
            timers._compact()
        assert len(timers) == len(model)
        assert timers.next_deadline() == (min(model)[0] if model else None)


@pytest.mark.parametrize("at", ["heappush", "heappop", "heapify"])
def test_invariant_5_a_signal_handler_that_raises_loses_no_timer(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after a call of a function that is none of Python's. (test_raised.py tries every place.)"""
    timers = BucketTimers()
    handles = [timers.add(number << SHIFT, number) for number in range(200)]
    left = list(range(200))
    original = getattr(_timers, at)

    def interrupted(*args: Any) -> None:
        original(*args)
        raise KeyError("from the handler")

    def cancel_some() -> None:
        for handle in handles[:150]:
            left.remove(left[0])
            timers.cancel(handle)

    def look() -> None:
        left.remove(0)
        timers.cancel(handles[0])
        timers.next_deadline()

    steps: dict[str, Callable[[], object]] = {"heappush": lambda: timers.add(500 << SHIFT, "nobody has its handle"), "heappop": look, "heapify": cancel_some}
    with monkeypatch.context() as patched:
        patched.setattr(_timers, at, interrupted)
        with pytest.raises(KeyError):
            steps[at]()
    assert len(timers) == len(left)
    timers.add(0, "early")  # in a bucket that was just emptied, perhaps
    assert drain(timers, 1000 << SHIFT) == (["early", *left] if left[0] else [0, "early", *left[1:]])
    assert len(timers) == 0


def test_invariant_5_a_signal_handler_that_raises_when_a_timer_was_added_to_a_bucket() -> None:
    """Nobody gets its handle, so it must not fire."""

    class Bucket(list[Any]):
        def append(self, handle: Any) -> None:
            super().append(handle)
            raise KeyError("from the handler")

    timers = BucketTimers()
    timers.add(1, "first")
    timers._buckets[0] = Bucket(timers._buckets[0])
    with pytest.raises(KeyError):
        timers.add(2, "second")
    assert len(timers) == 1
    assert drain(timers, 10) == ["first"]
    assert len(timers) == 0
