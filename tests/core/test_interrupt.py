"""Ctrl-C: ``coopcore._interrupt``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest

import coopcore
from coopcore import run, sleep, spawn
from coopcore.lowlevel import ParkingLot, current_hub, deferring, make_hub, park, promise


def test_a_ctrl_c_while_everybody_waits_reaches_main() -> None:
    ended = []

    def main() -> None:
        task = spawn(sleep, 100)
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            task.join()
        finally:
            ended.append("main")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ended == ["main"]


def test_a_ctrl_c_in_a_busy_task_is_raised_there_and_reaches_main() -> None:
    where = []

    def busy() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10_000_000):
                pass
        except KeyboardInterrupt:
            where.append("busy")
            raise

    def main() -> None:
        spawn(busy)
        park("x", timeout=20)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert where == ["busy"]


def test_the_handler_is_installed_while_hubs_live_and_put_back() -> None:
    # The implicit hub of this thread, if a test before made one, holds it too.
    before = signal.getsignal(signal.SIGINT)

    def main() -> Any:
        return signal.getsignal(signal.SIGINT)

    inside = run(main)
    assert inside is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is before


def test_another_handler_is_left_alone() -> None:
    def mine(signum: int, frame: Any) -> None:
        pass

    before = signal.signal(signal.SIGINT, mine)
    try:
        assert run(lambda: signal.getsignal(signal.SIGINT)) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_hub_in_a_thread_installs_nothing() -> None:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(run(lambda: signal.getsignal(signal.SIGINT))))
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert seen == [before]


def test_deferring_raises_in_users_code_and_defers_in_ours() -> None:
    def handler(signum: int, frame: Any) -> None:
        raise KeyError("from the handler")

    safe = deferring(handler)

    def main() -> None:
        with pytest.raises(KeyError):
            safe(2, sys._getframe())  # a frame of this file
        with pytest.raises(KeyError):
            safe(2, None)
        frames = []
        current_hub().call_soon(lambda: frames.append(sys._getframe(1)))  # call_safely's
        sleep(0)
        safe(2, frames[0])
        with pytest.raises(KeyError, match="from the handler"):
            park("x", timeout=5)

    run(main)


def test_no_task_is_lost_under_a_rain_of_signals() -> None:
    """A handler that raises between taking a task out of ``ready`` and switching to it would lose that task."""
    code = textwrap.dedent("""
        import signal, coopcore
        from coopcore import sleep, spawn, joinall, run
        from coopcore.lowlevel import deferring

        class Rain(Exception): pass
        hits = 0

        def handler(signum, frame):
            if "coopcore" in frame.f_code.co_filename:
                raise Rain

        def worker(laps):
            for _ in range(laps):
                sleep(0)
            return laps

        def main():
            global hits
            tasks = [spawn(worker, 3000) for _ in range(4)]
            signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
            while not all(t.dead for t in tasks):
                try:
                    joinall(tasks, timeout=30)
                except Rain:
                    hits += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            try:
                sleep(0.001)  # meets the last one, if it was deferred
            except Rain:
                pass
            return [t.value for t in tasks]

        signal.signal(signal.SIGALRM, deferring(handler))
        values = run(main)
        assert values == [3000] * 4, values
        print("hits", hits > 0)
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.returncode) == ("hits True\n", 0), result.stderr


def test_two_hubs_of_one_thread_share_the_handler() -> None:
    hub = make_hub()
    previous = hub.enter()
    try:
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert coopcore.get_hub() is hub
    finally:
        hub.close()
        hub.leave(previous)


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
def test_a_signal_handler_may_wake_a_task_while_the_hub_sleeps(backend: str) -> None:
    def main() -> None:
        lot = ParkingLot("the signal")
        before = signal.signal(signal.SIGUSR1, lambda signum, frame: lot.unpark())
        try:
            with promise("SIGUSR1"):
                threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
                assert lot.park(timeout=20) is True
        finally:
            signal.signal(signal.SIGUSR1, before)

    began = time.monotonic()
    run(main, backend=backend)
    assert time.monotonic() - began < 15
