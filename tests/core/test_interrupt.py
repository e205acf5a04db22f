"""Ctrl-C: ``coopcore._interrupt``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

import coopcore
import coopcore.lowlevel
from coop_plugins.backends.epoll import EpollBackend
from coopcore import run, sleep, spawn, with_timeout
from coopcore.errors import HubError
from coopcore.lowlevel import (
    ParkingLot,
    StandingPromise,
    change_wakeup_fd,
    current_hub,
    deferring,
    interrupted_hub,
    make_hub,
    park,
    promise,
    unpark,
    wait_for_signal,
)


def when_the_hub_sleeps(fn: Callable[[], object]) -> None:
    """Call ``fn`` in a thread, as soon as this hub waits for what comes."""
    hub = current_hub()

    def watch() -> None:
        while hub.heartbeat is not None:
            time.sleep(0.0005)
        fn()

    threading.Thread(target=watch).start()


def interrupt_that_thread() -> None:
    """A Ctrl-C that the kernel brings to this thread, which is not the main one."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def test_a_ctrl_c_while_everybody_waits_reaches_main() -> None:
    ended = []

    def main() -> None:
        task = spawn(sleep, 100)
        when_the_hub_sleeps(lambda: os.kill(os.getpid(), signal.SIGINT))
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


def test_invariant_3_the_handler_is_installed_while_hubs_live_and_put_back() -> None:
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


def test_invariant_1_deferring_raises_in_users_code_and_defers_in_ours() -> None:
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


def test_invariant_1_no_task_is_lost_under_a_rain_of_signals() -> None:
    """A handler that raises between taking a task out of ``ready`` and switching to it would lose that task."""
    code = textwrap.dedent("""
        import signal, coopcore
        from coopcore import sleep, spawn, joinall, run
        from coopcore.lowlevel import deferring

        class Rain(Exception): pass
        hits = strikes = 0
        over = False

        def handler(signum, frame):
            global strikes
            strikes += 1
            if not over:
                signal.setitimer(signal.ITIMER_REAL, 0.0007 * (1 + strikes / 500))  # less and less often: a slow machine is to get on, too
            if "coopcore" in frame.f_code.co_filename:
                raise Rain

        def worker(laps):
            for _ in range(laps):
                sleep(0)
            return laps

        def main():
            global hits, over
            tasks = [spawn(worker, 3000) for _ in range(4)]
            signal.setitimer(signal.ITIMER_REAL, 0.0007)
            while not all(t.dead for t in tasks):
                try:
                    joinall(tasks, timeout=30)
                except Rain:
                    hits += 1
            over = True
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
                when_the_hub_sleeps(lambda: os.kill(os.getpid(), signal.SIGUSR1))
                assert lot.park(timeout=50) is True
        finally:
            signal.signal(signal.SIGUSR1, before)

    began = time.monotonic()
    run(main, backend=backend)
    assert time.monotonic() - began < 40


# -- the wake-up descriptor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
def test_invariant_2_a_sleeping_hub_wakes_for_a_signal_that_hits_another_thread(backend: str) -> None:
    def main() -> None:
        when_the_hub_sleeps(interrupt_that_thread)
        sleep(50)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(main, backend=backend)
    assert time.monotonic() - began < 40, "it slept on, and met the signal when its sleep was over"


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
def test_invariant_2_it_wakes_for_one_after_the_other(backend: str) -> None:
    def main() -> int:
        caught = 0
        for _ in range(5):
            try:
                when_the_hub_sleeps(interrupt_that_thread)
                sleep(10)
            except KeyboardInterrupt:
                caught += 1
        return caught

    began = time.monotonic()
    assert run(main, backend=backend) == 5
    assert time.monotonic() - began < 40


def test_invariant_2_a_full_pipe_still_wakes() -> None:
    def main() -> None:
        hits = []
        before = signal.signal(signal.SIGUSR1, lambda signum, frame: hits.append(1))
        try:
            for _ in range(70_000):  # more than a pipe holds, without a pass between
                signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        when_the_hub_sleeps(interrupt_that_thread)
        sleep(50)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert time.monotonic() - began < 40


def test_invariant_2_it_wakes_where_a_pipe_cannot_be_made_non_blocking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pipe2", raising=False)

    def main() -> None:
        fd = wakeup_fd()
        assert not os.get_blocking(fd) and not os.get_inheritable(fd)
        when_the_hub_sleeps(interrupt_that_thread)
        sleep(50)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert time.monotonic() - began < 40


@pytest.fixture(autouse=True)
def claimed() -> None:
    """A test of another file may have left the wake-up descriptor with nobody, though a hub of this thread lives: the end of any hub gives it back to that."""
    make_hub().close()


def wakeup_fd() -> int:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def test_invariant_3_the_wake_up_descriptor_is_put_back() -> None:
    before = wakeup_fd()
    assert run(wakeup_fd) not in (-1, before)
    assert wakeup_fd() == before


def test_invariant_3_the_descriptor_of_another_library_is_left_alone() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    before = signal.set_wakeup_fd(writer)
    try:
        assert run(wakeup_fd) == writer
        assert wakeup_fd() == writer
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def test_invariant_3_one_that_comes_later_stays() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    before = wakeup_fd()
    try:
        run(signal.set_wakeup_fd, writer)
        assert wakeup_fd() == writer
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def test_invariant_3_hubs_may_be_closed_in_any_order() -> None:
    before = wakeup_fd()
    hubs = [make_hub() for _ in range(3)]
    last = wakeup_fd()
    for hub in (hubs[1], hubs[0]):
        hub.close()
        assert wakeup_fd() == last
    stranger = [os.pipe() for _ in range(4)]  # takes the numbers that are free now
    hubs[2].close()
    assert wakeup_fd() == before
    for ends in stranger:
        for fd in ends:
            os.close(fd)


def test_invariant_3_the_child_of_a_fork_has_none() -> None:
    code = textwrap.dedent("""
        import os, signal
        from coopcore import run

        def current():
            fd = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(fd)
            return fd

        def main():
            mine = current()
            pid = os.fork()
            if pid == 0:
                os._exit(0 if current() == -1 else 1)
            assert os.waitpid(pid, 0)[1] == 0
            assert current() == mine != -1

        run(main)
    """)
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_a_backend_that_cannot_watch_the_descriptor_goes_without() -> None:
    class Refusing(EpollBackend):
        def watch(self, fd: int, events: int) -> None:
            raise OSError("not a descriptor of mine")

    before = wakeup_fd()
    assert run(wakeup_fd, backend=Refusing()) == before


def test_a_hub_without_descriptors_left_for_signals_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(flags: int) -> Any:
        raise OSError(24, "Too many open files")

    before, handler = wakeup_fd(), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(os, "pipe2", none_left)
    assert run(wakeup_fd) == before
    assert signal.getsignal(signal.SIGINT) is handler


def pipe() -> tuple[int, int]:
    return os.pipe2(os.O_NONBLOCK)


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
def test_invariant_2_it_wakes_though_somebody_took_the_descriptor_away(backend: str) -> None:
    """As asyncio does, which leaves -1 behind."""

    def main() -> None:
        sleep(0.001)
        signal.set_wakeup_fd(-1)
        when_the_hub_sleeps(interrupt_that_thread)
        sleep(50)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(main, backend=backend)
    assert time.monotonic() - began < 40


def test_invariant_2_after_asyncio_in_a_task() -> None:
    code = textwrap.dedent("""
        import asyncio, os, signal, threading
        from coopcore import run, sleep, spawn

        async def body():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print, "heard")
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.sleep(0.01)

        def main():
            spawn(asyncio.run, body()).get()
            assert signal.set_wakeup_fd(-1) == -1
            try:
                threading.Timer(0.05, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)).start()
                sleep(50)
            except KeyboardInterrupt:
                print("Ctrl-C")

        run(main)
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=45)
    assert (result.stdout, result.stderr, result.returncode) == ("heard\nCtrl-C\n", "", 0)


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
def test_invariant_4_a_stranger_gets_each_byte(backend: str) -> None:
    reader, writer = pipe()
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: None)

    def main() -> None:
        signal.set_wakeup_fd(writer)
        signal.raise_signal(signal.SIGUSR1)
        for _ in range(3):
            inbox, here = current_hub()._inbox, threading.get_ident()

            def strike(inbox: Any = inbox, here: int = here) -> None:
                while not inbox.asleep:
                    time.sleep(0.0005)
                signal.pthread_kill(here, signal.SIGUSR1)

            thread = threading.Thread(target=strike)
            thread.start()
            while thread.is_alive():
                sleep(0.005)
            sleep(0.02)  # longer than the hub is sure for
        assert wakeup_fd() == writer, "it is lent for the time of a sleep only"
        signal.raise_signal(signal.SIGUSR1)
        assert os.read(reader, 100) == bytes([signal.SIGUSR1]) * 5
        assert change_wakeup_fd(-1) == writer

    try:
        run(main, backend=backend)
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(reader)
        os.close(writer)


def test_invariant_4_a_stranger_that_is_full_gone_or_came_in_the_middle_of_a_sleep() -> None:
    (reader, writer), (other_reader, other) = pipe(), pipe()

    def main() -> None:
        door: Any = current_hub()._keeper
        signal.set_wakeup_fd(writer)
        door.claim()
        while True:
            try:
                os.write(writer, bytes(4096))
            except BlockingIOError:
                break
        signal.raise_signal(signal.SIGUSR1)
        door.drain()  # quietly
        signal.set_wakeup_fd(other)
        door.after_sleep()
        assert wakeup_fd() == other, "it came in the middle of our sleep, and stays"
        door.claim()
        os.close(other)
        door.after_sleep()
        assert wakeup_fd() == door._writer, "it is gone"
        signal.set_wakeup_fd(-1)

    before = signal.signal(signal.SIGUSR1, lambda signum, frame: None)
    try:
        run(main)
    finally:
        signal.signal(signal.SIGUSR1, before)
        for fd in (reader, writer, other_reader):
            os.close(fd)


def test_a_program_that_changes_the_descriptor_never_sees_a_hubs() -> None:
    reader, writer = pipe()

    def main() -> None:
        assert change_wakeup_fd(writer) == -1
        assert change_wakeup_fd(writer, warn_on_full_buffer=False) == writer
        waiter = spawn(wait_for_signal)
        sleep(0.001)  # while somebody waits for a signal the hub does not give the descriptor back
        assert wakeup_fd() != writer
        assert change_wakeup_fd(-1) == writer
        signal.raise_signal(signal.SIGUSR1)
        assert waiter.get(timeout=10) is True
        assert change_wakeup_fd(-1) == -1

    before = signal.signal(signal.SIGUSR1, lambda signum, frame: None)
    try:
        run(main)
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(reader)
        os.close(writer)


def test_wait_for_signal_in_vain() -> None:
    def main() -> None:
        assert wait_for_signal(timeout=0.002) is False
        waiter = spawn(wait_for_signal)
        sleep(0)
        waiter.kill()
        assert current_hub()._keeper.waiters == []  # type: ignore[union-attr]  # a hub of the main thread has one

    run(main)
    caught: list[BaseException] = []

    def in_thread() -> None:
        try:
            run(wait_for_signal)
        except HubError as error:
            caught.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert "hub of the main thread" in str(caught[0])


def test_wait_for_signal_of_which_the_task_does_not_wait_any_more_when_the_wake_comes() -> None:
    def main() -> None:
        waiter = spawn(lambda: [wait_for_signal(), park("something else")])
        sleep(0)
        signal.raise_signal(signal.SIGUSR1)
        current_hub()._keeper.drain()  # type: ignore[union-attr]  # as above
        waiters = [waiter]
        sleep(0.001)
        assert waiter.waiting_on == "'something else'"
        current_hub()._keeper._wake(waiters)  # type: ignore[union-attr]  # as above
        sleep(0)
        assert waiter.waiting_on == "'something else'"
        unpark(waiter, "its own")
        assert waiter.get(timeout=10) == [True, "its own"]

    before = signal.signal(signal.SIGUSR1, lambda signum, frame: None)
    try:
        run(main)
    finally:
        signal.signal(signal.SIGUSR1, before)


# -- functions without a frame -------------------------------------------------------------------------------------------


class Raised(Exception):
    """What the handler of these tests raises."""


@pytest.fixture
def raising() -> Iterator[int]:
    """A signal whose handler raises, as that of pytest-timeout does."""

    def handler(signum: int, frame: Any) -> None:
        raise Raised

    before = signal.signal(signal.SIGUSR1, deferring(handler))
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_invariant_6_a_sleep_that_is_a_tasks_function_is_ended(raising: int) -> None:
    """The signal comes when the kernel says that the thread sleeps so; where it says nothing, after a while in which it came to that."""
    here, ident = threading.get_native_id(), threading.get_ident()

    def waits_in() -> str:
        try:
            return Path(f"/proc/self/task/{here}/wchan").read_text()
        except OSError:
            return ""

    def strike() -> None:
        latest = time.monotonic() + 1
        while time.monotonic() < latest and "nanosleep" not in waits_in():
            threading.Event().wait(0.001)
        signal.pthread_kill(ident, raising)

    def main() -> None:
        task = spawn(time.sleep, 600)
        thread = threading.Thread(target=strike, daemon=True)
        thread.start()
        with pytest.raises(Raised):
            task.get()
        thread.join()
        sleep(0)  # nothing is left for main

    run(main)


@pytest.mark.parametrize("form", ["no argument", "one", "two", "a named one", "with_timeout", "by the standard library"])
def test_invariant_6_however_it_is_called(raising: int, form: str) -> None:
    def start() -> Any:
        match form:
            case "no argument":
                return spawn(partial(signal.raise_signal, raising))
            case "one":
                return spawn(signal.raise_signal, raising)
            case "two":
                return spawn(signal.pthread_kill, threading.get_ident(), raising)
            case "a named one":
                return spawn(max, [raising], key=signal.raise_signal)
            case "with_timeout":
                return spawn(with_timeout, 600, signal.raise_signal, raising)
            case _:
                resource: Any = SimpleNamespace(close=partial(signal.raise_signal, raising))
                return spawn(closing(resource).__exit__, None, None, None)

    def main() -> None:
        with pytest.raises(Raised):
            start().get()
        sleep(0)  # nothing is left for main

    run(main)


def test_invariant_6_a_ctrl_c_in_such_a_function_ends_it_and_reaches_main() -> None:
    tasks = []

    def main() -> None:
        tasks.append(spawn(signal.raise_signal, signal.SIGINT))
        park("x", timeout=60)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert isinstance(tasks[0].exception, KeyboardInterrupt)


def test_invariant_1_a_function_of_ours_that_a_task_calls_itself_is_ours() -> None:
    """What it returns would be lost, if a handler could raise before the task has it."""
    seen = []

    def look(_first: object = None, _second: object = None) -> None:
        caller: Any = sys._getframe(1)
        while caller.f_code.co_name != "work":
            caller = caller.f_back
        seen.append(interrupted_hub(caller) is not None)

    scope: dict[str, Any] = {"look": look}
    exec(compile("def ours(first, second): look()", coopcore.lowlevel.__file__, "exec"), scope)
    ours = scope["ours"]

    def main() -> None:
        for fn in (ours, MethodType(ours, scope), partial(ours, None), look):
            spawn(fn, *[None] * (1 if isinstance(fn, partial | MethodType) else 2)).get()

    run(main)
    assert seen == [True, True, True, False]


def open_promises() -> int:
    return current_hub().describe().count("open promise: for a test")


def test_invariant_5_a_standing_promise_is_open_on_every_hub_of_the_main_thread() -> None:
    outer = make_hub()
    standing = StandingPromise("for a test")
    assert "open promise: for a test" in outer.describe()
    assert run(open_promises) == 1
    assert run(lambda: [standing.close(), standing.close(), open_promises()][-1]) == 0
    assert run(open_promises) == 0 and "for a test" not in outer.describe()
    outer.close()


def test_invariant_5_in_the_child_of_a_fork_it_is_open_on_the_hubs_of_the_child() -> None:
    code = textwrap.dedent("""
        import os
        from coopcore import get_hub, run, sleep
        from coopcore.lowlevel import StandingPromise

        sleep(0)
        standing = StandingPromise("for a test")
        pid = os.fork()
        if pid == 0:
            sleep(0)
            there = "for a test" in get_hub().describe()
            standing.close()
            os._exit(0 if there and "for a test" not in get_hub().describe() else 1)
        assert os.waitpid(pid, 0)[1] == 0
    """)
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
