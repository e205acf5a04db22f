"""Virtual time."""

from __future__ import annotations

import copy
import datetime as stdlib_datetime
import pickle
import socket as stdlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins import clock as clocks
from coop_plugins import socket
from coop_plugins.clock import VirtualClock, current_clock
from coop_plugins.patch import patched
from coop_plugins.queue import Queue
from coop_plugins.subprocess import run as run_child
from coop_plugins.testing import wait_all_parked
from coopcore import Deadlock, Timeout, get_hub, sleep, spawn
from coopcore.lowlevel import promise
from coopcore.testing import ClockContract

NEW_YEAR = 1_893_456_000.0  # 2030-01-01, in UTC


class TestContract(ClockContract):
    def make(self) -> VirtualClock:
        return VirtualClock()


def virtually(body: Callable[[], Any], clock: Any = "virtual") -> Any:
    return coopcore.run(body, clock=clock)


def seconds() -> float:
    return get_hub().clock.now() / 1e9


def test_clock_invariant_1_an_hour_passes_at_once_and_in_order() -> None:
    seen = []

    def body() -> None:
        for delay in (3600, 1, 60, 1):
            spawn(lambda delay=delay: (sleep(delay), seen.append((delay, seconds()))))
        sleep(4000)
        seen.append(("me", seconds()))

    began = time.monotonic()
    virtually(body)
    assert time.monotonic() - began < 30, "not the hour, and not the minute"
    assert seen == [(1, 1.0), (1, 1.0), (60, 60.0), (3600, 3600.0), ("me", 4000.0)]


def test_clock_invariant_1_no_time_passes_while_anything_runs() -> None:
    def body() -> None:
        late = []
        spawn(lambda: (sleep(0.001), late.append(seconds())))
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            sleep(0)
        assert (late, seconds()) == ([], 0.0)
        wait_all_parked()
        assert (late, seconds()) == ([], 0.0)
        sleep(0.002)
        assert late == [0.001]

    virtually(body)


def test_clock_invariant_1_a_thread_takes_real_time() -> None:
    def body() -> None:
        woken: Queue[str] = Queue()
        held = promise("the thread")
        hub = get_hub()

        def work() -> None:
            time.sleep(0.05)
            hub.call_soon_threadsafe(lambda: (held.close(), woken.put("by the thread")))

        thread = threading.Thread(target=work)
        thread.start()
        assert woken.get(timeout=3600) == "by the thread"
        assert 0.01 < seconds() < 60
        thread.join()

    virtually(body)


def test_clock_invariant_1_a_child_process_takes_real_time() -> None:
    def body() -> None:
        done = run_child([sys.executable, "-c", "print('here')"], stdout=subprocess.PIPE, timeout=3600, text=True)
        assert done.stdout == "here\n"
        assert seconds() < 60

    virtually(body)


def test_clock_invariant_1_data_between_tasks_comes_before_a_timeout() -> None:
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                client, _ = listener.accept()
                with client:
                    while data := client.recv(100):
                        sleep(0.5)
                        client.sendall(data)

            serving = spawn(serve)
            with socket.create_connection(listener.getsockname(), timeout=1) as client:
                for _ in range(20):
                    client.sendall(b"x")
                    assert client.recv(100) == b"x"
                with pytest.raises(TimeoutError):
                    client.recv(100)
            serving.get()
        assert seconds() == pytest.approx(11.0)

    virtually(body)


def test_clock_invariant_1_what_comes_from_outside_within_the_time_to_settle_comes_first() -> None:
    def body() -> None:
        near, far = socket.socketpair()
        with near, far:
            raw = stdlib.socket(fileno=far.detach())
            answer = threading.Timer(0.05, raw.sendall, (b"x",))
            answer.daemon = True  # for which the clock does not wait
            answer.start()
            near.settimeout(3600)
            assert near.recv(1) == b"x"
            answer.join()
            raw.close()
        assert seconds() == 0.0

    virtually(body, VirtualClock(settle=20))


def test_clock_invariant_1_a_call_from_a_thread_is_looked_at_first() -> None:
    def body() -> None:
        near, far = socket.socketpair()
        with near, far:
            woken: Queue[float] = Queue()
            hub = get_hub()
            caller = threading.Timer(0.05, hub.call_soon_threadsafe, (lambda: woken.put(seconds()),))
            caller.daemon = True  # for which the clock does not wait
            caller.start()
            waiting = spawn(near.recv, 1)
            assert woken.get(timeout=3600) == 0.0
            caller.join()
            waiting.kill()

    virtually(body, VirtualClock(settle=20))


def test_it_settles_once_and_not_before_each_jump() -> None:
    polls: list[int] = []

    class Watched(VirtualClock):
        def wait(self, backend: Any, deadline: int | None, outside: bool) -> Any:
            class Counting:
                def poll(self, timeout: int | None) -> Any:
                    polls.append(timeout or 0)
                    return backend.poll(timeout)

            return super().wait(Counting(), deadline, outside)  # type: ignore[arg-type]  # it only polls

    def body() -> None:
        near, far = socket.socketpair()
        with near, far:
            waiting = spawn(near.recv, 1)
            for _ in range(100):
                sleep(1)
            assert len([span for span in polls if span]) == 1
            far.sendall(b"x")
            waiting.join()
            waiting = spawn(near.recv, 1)
            for _ in range(100):
                sleep(1)
            assert len([span for span in polls if span]) == 2
            waiting.kill()

    virtually(body, Watched())


def test_clock_invariant_2_two_runs_are_the_same() -> None:
    def run_once() -> list[Any]:
        order: list[Any] = []

        def worker(number: int) -> None:
            for step in range(20):
                if (number * step) % 3:
                    sleep((number * step % 7) / 10)
                else:
                    for _ in range(number):
                        sleep(0)
                order.append((number, step, seconds()))

        def body() -> None:
            with Timeout(1000):
                coopcore.joinall([spawn(worker, number) for number in range(8)])

        virtually(body)
        return order

    assert run_once() == run_once()


def test_a_deadlock_is_one_also_on_a_virtual_clock() -> None:
    with pytest.raises(Deadlock):
        virtually(lambda: Queue().get())


def test_timeouts_fire_when_nothing_else_can() -> None:
    def body() -> None:
        with pytest.raises(Timeout), Timeout(86_400):
            Queue().get()
        assert seconds() == 86_400

    virtually(body)


def test_advance_lets_everything_happen_that_is_due() -> None:
    seen = []

    def body() -> None:
        clock = get_hub().clock
        assert isinstance(clock, VirtualClock)
        tasks = [spawn(lambda at=at: (sleep(at), seen.append(at))) for at in (1, 2, 3)]
        clock.advance(2.5)
        assert (seen, seconds()) == ([1, 2], 2.5)
        assert repr(clock).startswith("<VirtualClock at 2.500000 s, ")
        coopcore.joinall(tasks)

    virtually(body)


@pytest.mark.parametrize("settle", [-1, "soon"])
def test_bad_times_to_settle(settle: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        VirtualClock(settle=settle)


# -- what follows it ------------------------------------------------------------------------------------------------------------

CALLS = ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"]


@pytest.mark.parametrize("name", CALLS)
def test_clock_invariant_3_time_follows_where_it_is_patched(name: str) -> None:
    unit = 1_000_000_000 if name.endswith("_ns") else 1

    def body() -> None:
        with patched("clock"):
            call = getattr(time, name)
            before = call()
            sleep(3600)
            assert call() - before == pytest.approx(3600 * unit)
            if name.startswith("time"):
                assert call() == pytest.approx((NEW_YEAR + 3600) * unit)
            on_hub = []
            get_hub().call_soon(lambda: on_hub.append(call()))
            sleep(0)
            sleep(0)
            assert on_hub == [call()]
            real = []
            thread = threading.Thread(target=lambda: real.append(call()))
            thread.start()
            thread.join()
            assert real[0] != call()
        assert getattr(time, name) is not call

    virtually(body, VirtualClock(start=NEW_YEAR))


@pytest.mark.parametrize("name", CALLS)
def test_clock_invariant_3_on_a_real_clock_it_is_the_real_time(name: str) -> None:
    def check() -> None:
        real, ours = getattr(time, name), getattr(clocks, name)
        before = real()
        assert before <= ours() <= real()

    check()
    assert current_clock() is None
    coopcore.run(check)


def test_clock_invariant_3_dates_follow_where_they_are_patched() -> None:
    real = stdlib_datetime.datetime

    def body() -> None:
        with patched("clock"):
            utc = stdlib_datetime.UTC
            assert stdlib_datetime.datetime.now(utc) == real(2030, 1, 1, tzinfo=utc)
            assert stdlib_datetime.datetime.utcnow() == real(2030, 1, 1)
            sleep(86_400)
            assert stdlib_datetime.datetime.now(utc) == real(2030, 1, 2, tzinfo=utc)
            assert stdlib_datetime.datetime.now() == stdlib_datetime.datetime.today() == real.fromtimestamp(NEW_YEAR + 86_400)
            assert stdlib_datetime.date.today() == real.fromtimestamp(NEW_YEAR + 86_400).date()
            assert isinstance(real(2000, 1, 1), stdlib_datetime.datetime)
            assert issubclass(real, stdlib_datetime.datetime)
            assert isinstance(stdlib_datetime.datetime.now(), real)
            assert isinstance(real(2000, 1, 1), stdlib_datetime.date)

    virtually(body, VirtualClock(start=NEW_YEAR))


def test_a_moment_is_pickled_and_copied_as_a_standard_one() -> None:
    moment = clocks.datetime(2030, 1, 2, 3, 4, 5, 6, stdlib_datetime.UTC, fold=1)
    for again in (pickle.loads(pickle.dumps(moment)), copy.copy(moment)):
        assert type(again) is stdlib_datetime.datetime
        assert again == moment
        assert again.fold == 1


def test_it_is_patched_on_request_only() -> None:
    before = time.time
    with patched(skip=["thread", "queue", "os", "ssl", "select", "selectors", "socket"]):
        assert time.time is before
    with patched("clock"):
        assert time.time is clocks.time
