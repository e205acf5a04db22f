"""The invariants of ``coopcore._inbox``, alone and in a hub."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest

from coopcore import get_hub, run, sleep
from coopcore._inbox import Inbox
from coopcore.errors import HubClosedError
from coopcore.lowlevel import ParkingLot, current_hub, promise


class CountingBackend:
    def __init__(self) -> None:
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1


def test_invariant_1_a_sleeping_hub_is_woken_and_a_busy_one_is_not() -> None:
    backend = CountingBackend()
    inbox = Inbox(backend)  # type: ignore[arg-type]  # only wake is used
    inbox.put(print, ())
    assert backend.wakes == 0 and len(inbox.calls) == 1
    inbox.asleep = True
    inbox.put(print, ())
    assert backend.wakes == 1


def test_invariant_1_in_a_hub_no_call_waits_for_another_event() -> None:
    def main() -> None:
        hub = current_hub()
        for _ in range(200):
            lot = ParkingLot("the thread")
            with promise("a thread"):
                thread = threading.Thread(target=hub.call_soon_threadsafe, args=(lot.unpark,))
                thread.start()
                assert lot.park(timeout=20)
            thread.join()

    run(main)


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
def test_invariant_2_calls_run_in_order_once_each_and_an_error_stops_nothing(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[Any] = []

    def main() -> None:
        hub = current_hub()
        for n in range(3):
            hub.call_soon_threadsafe(ran.append, n)
        hub.call_soon_threadsafe(lambda: 1 / 0)
        hub.call_soon_threadsafe(ran.append, 3)
        sleep(0.001)

    run(main, backend=backend)
    assert ran == [0, 1, 2, 3]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_invariant_3_a_closed_door_refuses() -> None:
    hub = run(get_hub)
    with pytest.raises(HubClosedError, match=r"call_soon_threadsafe\(\): .* was closed"):
        hub.call_soon_threadsafe(print)


@pytest.mark.parametrize("taken", [False, True])
def test_invariant_3_a_call_that_comes_as_the_door_closes_is_taken_back_or_was_taken(taken: bool) -> None:
    class ClosesMeanwhile(deque[Any]):
        def append(self, call: Any) -> None:
            super().append(call)
            if taken:
                assert inbox.take() == [(print, ())]
            inbox.close()

    inbox = Inbox(CountingBackend())  # type: ignore[arg-type]  # only wake is used
    inbox.calls = ClosesMeanwhile()
    assert inbox.put(print, ()) is taken
    assert inbox.take() == []


def test_a_call_during_the_closing_is_run_or_refused() -> None:
    for _ in range(30):
        ran: list[int] = []
        accepted: list[int] = []

        def flood(hub: Any, ran: list[int] = ran, accepted: list[int] = accepted) -> None:
            for n in range(10_000_000):
                try:
                    hub.call_soon_threadsafe(ran.append, n)
                except HubClosedError:
                    return
                accepted.append(n)

        def main(flood: Any = flood) -> threading.Thread:
            thread = threading.Thread(target=flood, args=(get_hub(),))
            thread.start()
            return thread

        run(main).join()
        assert ran == accepted
