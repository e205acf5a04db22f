"""coop_plugins.signal: handlers, waits for signals, a graceful end."""

from __future__ import annotations

import os
import select as standard_select
import signal as standard
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from seams.processes import interruptible, python

import coopcore
from coop_plugins import signal
from coop_plugins.signal import graceful_exit, signal_handler
from coopcore import Deadlock, Task, TaskExit, Timeout, current_task, get_hub, sleep, spawn
from coopcore.errors import HubError, ParkInHubError
from coopcore.lowlevel import ParkingLot, change_wakeup_fd, park

ONE, TWO = standard.SIGUSR1, standard.SIGUSR2
SIGNALS = (ONE, TWO, standard.SIGHUP, standard.SIGCHLD)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Each test leaves handlers, mask, wake-up descriptor and descriptors as it found them."""

    def state() -> Any:
        fd = change_wakeup_fd(-1)
        return [standard.getsignal(signum) for signum in SIGNALS], standard.pthread_sigmask(standard.SIG_BLOCK, ()), fd

    get_hub()  # that of this thread, which some of the tests use without `run`
    before, open_before = state(), set(os.listdir("/proc/self/fd"))
    yield
    after = state()
    for signum, handler in zip(SIGNALS, before[0], strict=True):
        standard.signal(signum, handler)  # so that one test that fails is one
    assert after == before
    assert set(os.listdir("/proc/self/fd")) <= open_before


@pytest.fixture(params=["epoll", "selectors"])
def go(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Run a function as the main task of a hub on this backend."""

    def run(main: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            with Timeout(20, AssertionError("the test hangs")):
                result = main()
            assert "promise" not in get_hub().describe().replace("open promise: a handler of", "")
            return result

        return coopcore.run(guarded, backend=request.param)

    return run


Go = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def handled() -> Iterator[Callable[..., Any]]:
    """`signal.signal` whose handlers are taken back."""
    done: list[tuple[int, Any]] = []

    def set_handler(signum: int, handler: Any, **more: Any) -> Any:
        before = signal.signal(signum, handler, **more)
        done.append((signum, before))
        return before

    yield set_handler
    for signum, before in reversed(done):
        signal.signal(signum, before)


Handled = Callable[..., Any]


def strike(signum: int = ONE) -> None:
    """Send this thread a signal from another one, as soon as the hub sleeps. (One for the process would end it, where only this thread has it blocked.)"""
    inbox, here = get_hub()._inbox, threading.get_ident()

    def wait_and_send() -> None:
        while not inbox.asleep:
            time.sleep(0.0005)
        standard.pthread_kill(here, signum)

    threading.Thread(target=wait_and_send, daemon=True).start()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        sleep(0.001)


# -- the standard interface -----------------------------------------------------------------------------------------------------


OWN = {"getsignal", "graceful_exit", "pause", "set_wakeup_fd", "signal", "signal_handler", "sigtimedwait", "sigwait", "sigwaitinfo"}


def test_everything_of_the_standard_module_is_here() -> None:
    for name, thing in vars(standard).items():
        if not name.startswith("_"):
            assert name in signal.__all__
            assert getattr(signal, name) is thing or name in OWN


def test_handlers_invariant_2_what_was_set_is_what_is_told(handled: Handled) -> None:
    def first(signum: int, frame: Any) -> None: ...
    def second(signum: int, frame: Any) -> None: ...

    assert signal.getsignal(ONE) is standard.SIG_DFL
    assert handled(ONE, first) is standard.SIG_DFL
    assert signal.getsignal(ONE) is first
    assert handled(ONE, second) is first
    assert handled(ONE, standard.SIG_IGN) is second
    assert signal.getsignal(ONE) is standard.SIG_IGN is standard.getsignal(ONE)


def test_handlers_invariant_2_pythons_own_handler_is_told_as_such_while_a_hub_has_made_it_safe(go: Go) -> None:
    def main() -> None:
        assert standard.getsignal(standard.SIGINT) is not standard.default_int_handler
        assert signal.getsignal(standard.SIGINT) is standard.default_int_handler
        safe = standard.getsignal(standard.SIGINT)
        assert signal.signal(standard.SIGINT, standard.default_int_handler) is standard.default_int_handler
        assert standard.getsignal(standard.SIGINT) is safe

    go(main)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((ONE, 3.5), TypeError), ((ONE, None), TypeError), ((standard.SIGKILL, print), OSError), ((0, print), ValueError), (("x", print), TypeError)],
)
def test_bad_arguments_get_the_errors_of_the_standard_module(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as ours:
        signal.signal(*arguments)
    with pytest.raises(error) as theirs:
        standard.signal(*arguments)
    assert str(ours.value) == str(theirs.value)
    assert signal.getsignal(ONE) is standard.SIG_DFL


def in_a_thread(fn: Callable[[], Any]) -> BaseException | None:
    caught: list[BaseException | None] = []

    def body() -> None:
        try:
            fn()
            caught.append(None)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return caught[0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: signal.signal(ONE, print), ValueError),
        (lambda: signal_handler(ONE, print), ValueError),
        (lambda: graceful_exit().__enter__(), ValueError),
        (lambda: signal.pause(), HubError),
    ],
)
def test_outside_of_the_main_thread(call: Callable[[], Any], error: type[Exception]) -> None:
    caught = in_a_thread(call)
    assert type(caught) is error and "main thread" in str(caught)


# -- handlers of signal() --------------------------------------------------------------------------------------------------------


def test_handlers_invariant_1_a_handler_runs_at_once_where_a_users_code_was_interrupted(go: Go, handled: Handled) -> None:
    def main() -> None:
        seen: list[Any] = []
        handled(ONE, lambda signum, frame: seen.append((signum, frame.f_code.co_name, current_task())))
        os.kill(os.getpid(), ONE)
        assert seen == [(ONE, "main", current_task())]

    go(main)
    assert signal.getsignal(ONE) is not standard.SIG_DFL  # the fixture takes it back: handlers outlive hubs


def test_handlers_invariant_1_a_handler_may_wait_and_raise_in_the_code_that_it_interrupts(go: Go, handled: Handled) -> None:
    def main() -> None:
        def handler(signum: int, frame: Any) -> None:
            sleep(0.001)
            raise KeyError("from the handler")

        handled(ONE, handler)
        with pytest.raises(KeyError, match="from the handler"):
            os.kill(os.getpid(), ONE)

    go(main)


def test_handlers_invariant_1_a_handler_runs_in_a_task_where_the_hub_was_interrupted_and_may_wait(go: Go, handled: Handled) -> None:
    def main() -> None:
        lot, seen = ParkingLot("news"), []

        def handler(signum: int, frame: Any) -> None:
            seen.append(current_task().name)
            sleep(0.001)
            lot.unpark()

        handled(ONE, handler)
        strike()
        assert lot.park(timeout=10)
        assert seen == ["handler of SIGUSR1"]

    go(main)


@pytest.mark.parametrize("error", [KeyError("from the handler"), SystemExit(3), KeyboardInterrupt()])
def test_handlers_invariant_1_what_such_a_handler_raises_is_raised_in_the_main_task(go: Go, handled: Handled, error: BaseException) -> None:
    def main() -> None:
        def handler(signum: int, frame: Any) -> None:
            raise error

        handled(ONE, handler)
        other = spawn(park, "x")
        strike()
        with pytest.raises(type(error)) as caught:
            sleep(10)
        assert caught.value is error and other.state == "parked"
        other.kill()

    go(main)


def test_handlers_invariant_1_without_a_hub_a_handler_is_an_ordinary_one() -> None:
    out, _ = python("""
        import os, signal as standard
        from coop_plugins import signal
        signal.signal(signal.SIGUSR1, lambda signum, frame: print(signum, frame.f_code.co_name))
        os.kill(os.getpid(), signal.SIGUSR1)
    """)
    assert out == f"{int(ONE)} <module>\n"


def test_handlers_invariant_1_after_the_end_of_its_hub_a_handler_is_an_ordinary_one(handled: Handled) -> None:
    seen: list[int] = []
    coopcore.run(lambda: handled(ONE, lambda signum, frame: seen.append(signum)))
    os.kill(os.getpid(), ONE)
    assert seen == [ONE]


def test_a_handler_of_a_hub_that_closes_its_door_meanwhile_is_called_at_once(handled: Handled) -> None:
    seen: list[int] = []

    def main() -> None:
        handled(ONE, lambda signum, frame: seen.append(signum))
        handler: Any = standard.getsignal(ONE)
        hub = get_hub()
        frames: list[Any] = []
        hub.call_soon(lambda: frames.append(sys._getframe(1)))
        sleep(0)
        hub._inbox.close()
        handler(ONE, frames[0])

    coopcore.run(main)
    assert seen == [ONE]


def test_a_handler_that_is_killed_with_its_hub(handled: Handled) -> None:
    ended: list[str] = []

    def main() -> None:
        def handler(signum: int, frame: Any) -> None:
            try:
                park("for ever")
            finally:
                ended.append("finally")

        handled(ONE, handler)
        strike()
        while not any(task.name == "handler of SIGUSR1" and task.state == "parked" for task in get_hub().tasks()):
            sleep(0.001)

    with pytest.warns(coopcore.LeftBehindWarning, match="handler of SIGUSR1"):
        coopcore.run(main)
    assert ended == ["finally"]


@pytest.mark.parametrize("kind", ["signal", "signal_handler"])
def test_handlers_invariant_5_a_handler_holds_off_a_deadlock_unless_it_says_otherwise(kind: str) -> None:
    """On each hub of the main thread."""

    def wait() -> str:
        try:
            park("what only a handler could end", timeout=None)
        except Deadlock:
            return "deadlock"
        except Timeout:
            return "waited"
        raise AssertionError

    def main() -> str:
        with Timeout(0.02, ref=False):
            return wait()
        raise AssertionError

    if kind == "signal":
        signal.signal(ONE, print)
        assert coopcore.run(main) == "waited"
        signal.signal(ONE, print, ref=False)
        assert coopcore.run(main) == "deadlock"
        signal.signal(ONE, print)
        assert coopcore.run(main) == "waited"
        signal.signal(ONE, signal.SIG_DFL)
    else:
        handler = signal_handler(ONE, print)
        assert handler.ref and coopcore.run(main) == "waited"
        handler.ref = False
        assert not handler.ref and coopcore.run(main) == "deadlock"
        handler.ref = handler.ref = True
        assert coopcore.run(main) == "waited"
        handler.cancel()
        assert not handler.ref
        handler.ref = True  # of no effect
    assert coopcore.run(main) == "deadlock"


def test_a_handler_that_is_awaited_is_told_of(handled: Handled) -> None:
    def main() -> str:
        handled(ONE, print)
        handled(standard.SIGRTMIN + 1, print)
        return get_hub().describe()

    told = coopcore.run(main)
    assert "open promise: a handler of SIGUSR1" in told and f"open promise: a handler of signal {standard.SIGRTMIN + 1}" in told


# -- handlers that are tasks -----------------------------------------------------------------------------------------------------------


def test_handlers_invariant_3_each_handler_runs_in_a_task_at_each_signal(go: Go) -> None:
    def main() -> None:
        seen: list[Any] = []

        def note(what: str, *, more: int = 0) -> None:
            sleep(0.001)
            seen.append((what, more, type(current_task()), current_task() is me))

        me = current_task()
        handlers = [signal_handler(ONE, note, "a", more=1), signal_handler(ONE, note, "b"), signal_handler(TWO, note, "c")]
        for count in (2, 4):
            os.kill(os.getpid(), ONE)
            until(lambda count=count: len(seen) == count)
        strike(TWO)
        until(lambda: len(seen) == 5)
        assert seen == [("a", 1, Task, False), ("b", 0, Task, False)] * 2 + [("c", 0, Task, False)]
        for handler in handlers:
            handler.cancel()
            handler.cancel()

    go(main)


def test_handlers_invariant_4_the_last_cancel_puts_back_what_was_there(go: Go, handled: Handled) -> None:
    def before(signum: int, frame: Any) -> None: ...

    def main() -> None:
        handled(ONE, before)
        first, second = signal_handler(ONE, print), signal_handler(ONE, print)
        assert signal.getsignal(ONE) is not before
        first.cancel()
        assert signal.getsignal(ONE) is not before
        second.cancel()
        assert signal.getsignal(ONE) is before

    go(main)


def test_handlers_invariant_4_unless_something_else_was_set_meanwhile(go: Go) -> None:
    def later(signum: int, frame: Any) -> None: ...

    def main() -> None:
        seen: list[str] = []
        first = signal_handler(ONE, seen.append, "first")
        ours = signal.signal(ONE, later)
        os.kill(os.getpid(), ONE)
        sleep(0.001)
        assert seen == []
        second = signal_handler(ONE, seen.append, "second")
        os.kill(os.getpid(), ONE)
        sleep(0.001)
        assert seen == ["first", "second"]
        second.cancel()
        first.cancel()
        assert signal.getsignal(ONE) is later
        third = signal_handler(ONE, print)
        signal.signal(ONE, later)
        third.cancel()
        assert signal.getsignal(ONE) is later
        signal.signal(ONE, ours)  # which has no handlers any more
        assert signal.getsignal(ONE) is later
        signal.signal(ONE, standard.SIG_DFL)

    go(main)


def test_one_that_is_cancelled_before_its_turn_is_not_called(go: Go) -> None:
    def main() -> None:
        seen: list[str] = []
        handler, other = signal_handler(ONE, seen.append, "late"), signal_handler(ONE, seen.append, "other")
        os.kill(os.getpid(), ONE)
        handler.cancel()
        sleep(0.001)
        assert seen == ["other"]
        os.kill(os.getpid(), ONE)
        other._call = None  # as a cancel in the middle of the round
        sleep(0.001)
        assert seen == ["other"]
        other._call = print, (), {}
        other.cancel()

    go(main)


def test_a_handler_that_fails_is_reported_and_the_next_one_runs(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        lot = ParkingLot("news")
        handlers = [signal_handler(ONE, lambda: 1 / 0), signal_handler(ONE, lot.unpark)]
        strike()
        assert lot.park(timeout=10)
        for handler in handlers:
            handler.cancel()

    go(main)
    assert capsys.readouterr().err.count("ZeroDivisionError: division by zero") == 1


def test_a_handler_says_what_it_is() -> None:
    handler = signal_handler(ONE, print)
    assert repr(handler) == "<signal_handler of SIGUSR1: calls <built-in function print>>"
    handler.cancel()
    assert repr(handler) == "<signal_handler of SIGUSR1: cancelled>"


@pytest.mark.parametrize(("arguments", "error"), [((ONE, 3), TypeError), ((standard.SIGKILL, print), OSError), ((0, print), ValueError)])
def test_a_handler_of_a_task_with_bad_arguments(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        signal_handler(*arguments)
    assert standard.getsignal(ONE) is standard.SIG_DFL


def test_a_handler_that_was_made_without_run_works_in_every_run() -> None:
    seen: list[str] = []
    handler = signal_handler(ONE, lambda: seen.append(get_hub().name))
    for _ in range(2):
        coopcore.run(lambda: [os.kill(os.getpid(), ONE), sleep(0.001)])
    os.kill(os.getpid(), ONE)
    sleep(0.001)
    handler.cancel()
    assert len(seen) == 3


def test_the_end_of_a_child_is_heard_of(go: Go) -> None:
    """SIGCHLD is one like the others: nothing of ours needs it."""

    def main() -> None:
        lot = ParkingLot("news")
        handler = signal_handler(standard.SIGCHLD, lot.unpark)
        child = subprocess.Popen(["true"])
        assert lot.park(timeout=10)
        assert child.wait() == 0
        handler.cancel()

    go(main)


# -- the wake-up descriptor ------------------------------------------------------------------------------------------------------------------


def test_the_wake_up_descriptor_of_a_program_gets_every_signal(go: Go, handled: Handled) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)

    def main() -> None:
        calls: list[int] = []
        handled(ONE, lambda signum, frame: calls.append(signum))
        assert signal.set_wakeup_fd(writer, warn_on_full_buffer=False) == -1
        os.kill(os.getpid(), ONE)  # while we are busy
        strike()  # while the hub sleeps
        data = b""
        while len(data) < 2 or len(calls) < 2:  # the descriptor is told before the handler has its turn
            sleep(0.001)
            if standard_select.select([reader], [], [], 0)[0]:
                data += os.read(reader, 100)
        assert data == bytes([ONE]) * 2
        assert signal.set_wakeup_fd(-1) == writer
        assert signal.set_wakeup_fd(-1) == -1

    go(main)
    os.close(reader)
    os.close(writer)


# -- waits ------------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["signalfd", "looks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How a task learns of a signal that is blocked."""
    if request.param == "looks":
        monkeypatch.setattr("coop_plugins.signal._waits._open_signalfd", lambda signals: None)


def test_sigwait_parks_the_task_only(go: Go, way: None) -> None:
    def main() -> None:
        waiter = spawn(signal.sigwait, {ONE, TWO})
        sleep(0)
        assert waiter.state == "parked"
        strike(TWO)
        assert waiter.get(timeout=10) is TWO

    go(main)


def test_sigwaitinfo_tells_who_has_sent_it(go: Go, way: None) -> None:
    def main() -> None:
        strike()
        info = signal.sigwaitinfo([ONE])
        assert (info.si_signo, info.si_pid, type(info)) == (ONE, os.getpid(), standard.struct_siginfo)

    go(main)


def test_sigwait_of_a_real_time_signal_without_a_name(go: Go) -> None:
    def main() -> None:
        strike(standard.SIGRTMIN + 3)
        assert signal.sigwait([standard.SIGRTMIN + 3]) == standard.SIGRTMIN + 3

    go(main)


def test_waits_invariant_3_what_is_pending_is_taken_at_once(go: Go) -> None:
    def main() -> None:
        standard.pthread_sigmask(standard.SIG_BLOCK, [ONE])
        try:
            standard.pthread_kill(threading.get_ident(), ONE)  # not to the process, whose other threads do not block it
            assert signal.sigwait([ONE]) is ONE
            signal.raise_signal(ONE)  # for this very thread
            assert signal.sigtimedwait([ONE], 0).si_signo == ONE
            assert signal.sigtimedwait([ONE], 0) is None
        finally:
            standard.pthread_sigmask(standard.SIG_UNBLOCK, [ONE])

    go(main)


def test_waits_one_that_is_raised_for_this_very_thread_is_noticed(go: Go, way: None) -> None:
    def main() -> None:
        waiter = spawn(signal.sigwait, [ONE])
        sleep(0)
        signal.raise_signal(ONE)
        assert waiter.get(timeout=10) is ONE

    go(main)


def test_sigtimedwait(go: Go, way: None) -> None:
    def main() -> None:
        assert signal.sigtimedwait([ONE], 0.01) is None
        strike()
        assert signal.sigtimedwait([ONE], 10).si_signo == ONE
        with Timeout(0.01) as timeout:
            with pytest.raises(Timeout) as caught:
                signal.sigtimedwait([ONE], 10)
        assert caught.value is timeout
        for bad, error in ((-1, ValueError), (None, TypeError), ("soon", TypeError)):
            with pytest.raises(error):
                signal.sigtimedwait([ONE], bad)

    go(main)


@pytest.mark.parametrize("end", ["kill", "timeout"])
def test_waits_invariant_1_who_gives_up_has_taken_nothing(go: Go, way: None, end: str) -> None:
    def main() -> None:
        standard.pthread_sigmask(standard.SIG_BLOCK, [ONE])
        try:

            def wait() -> Any:
                try:
                    with Timeout(0.005 if end == "timeout" else None):
                        return signal.sigwait([ONE])
                except Timeout:
                    return "timed out"

            waiter = spawn(wait)
            sleep(0)
            if end == "kill":
                waiter.kill()
                assert isinstance(waiter.value, TaskExit)
            else:
                assert waiter.get(timeout=10) == "timed out"
            standard.pthread_kill(threading.get_ident(), ONE)  # not to the process, whose other threads do not block it
            assert signal.sigwait([ONE]) is ONE
        finally:
            standard.pthread_sigmask(standard.SIG_UNBLOCK, [ONE])

    go(main)


def test_waits_invariant_2_the_mask_is_what_it_was_when_the_last_has_waited(go: Go, way: None) -> None:
    def mask() -> set[int]:
        return standard.pthread_sigmask(standard.SIG_BLOCK, ()) & {ONE, TWO}

    def main() -> None:
        standard.pthread_sigmask(standard.SIG_BLOCK, [TWO])
        waiters = [spawn(signal.sigwait, [ONE, TWO]), spawn(signal.sigwait, [ONE])]
        sleep(0)
        assert mask() == {ONE, TWO}
        waiters[0].kill()
        assert mask() == {ONE, TWO}
        strike()
        assert waiters[1].get(timeout=10) is ONE
        assert mask() == {TWO}
        standard.pthread_sigmask(standard.SIG_UNBLOCK, [TWO])

    go(main)


def test_two_tasks_wait_for_one_signal_and_each_gets_one(go: Go, way: None) -> None:
    def main() -> None:
        waiters = [spawn(signal.sigwait, [ONE]) for _ in range(2)]
        sleep(0)
        strike()
        coopcore.joinall(waiters, count=1, timeout=10)
        assert sum(task.dead for task in waiters) == 1
        strike()
        assert [task.get(timeout=10) for task in waiters] == [ONE, ONE]

    go(main)


@pytest.mark.parametrize("wait", [signal.sigwait, signal.sigwaitinfo])
def test_waits_with_bad_arguments(go: Go, wait: Callable[[Any], Any]) -> None:
    def main() -> None:
        for bad in (3, [ONE, "x"], [4711]):
            with pytest.raises((TypeError, ValueError)):
                wait(bad)
        with pytest.raises(ParkInHubError):
            raise caught_on_the_hub(lambda: wait([ONE]))

    go(main)


def caught_on_the_hub(fn: Callable[[], Any]) -> BaseException:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            fn()
        except BaseException as error:
            caught.append(error)

    get_hub().call_soon(call)
    sleep(0)
    return caught[0]


def test_a_library_without_signalfd(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    from coop_plugins.signal import _waits

    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert _waits._open_signalfd([ONE]) is None


def test_pause_returns_when_a_handler_was_called(go: Go, handled: Handled) -> None:
    def main() -> None:
        seen: list[str] = []
        handled(ONE, lambda signum, frame: seen.append("handler"))
        waiters = [spawn(lambda: [signal.pause(), seen.append("pause")]) for _ in range(2)]
        other = spawn(sleep, 0)
        sleep(0)
        strike()
        coopcore.joinall(waiters, timeout=10)
        assert seen == ["handler", "pause", "pause"] and other.dead

    go(main)


def test_pause_returns_for_a_handler_of_the_standard_module(go: Go) -> None:
    def main() -> None:
        before = standard.signal(ONE, lambda signum, frame: None)
        strike()
        signal.pause()
        standard.signal(ONE, before)

    go(main)


@pytest.mark.parametrize("end", ["kill", "timeout"])
def test_pause_that_is_killed_or_times_out(go: Go, end: str) -> None:
    def main() -> None:
        waiter = spawn(signal.pause)
        sleep(0)
        assert waiter.waiting_on == "a signal that has a handler"
        if end == "kill":
            waiter.kill()
        else:
            with pytest.raises(Timeout), Timeout(0.005):
                signal.pause()
            waiter.kill()
        assert isinstance(waiter.value, TaskExit)

    go(main)


def test_an_alarm_wakes_who_pauses() -> None:
    """In a process of its own: the alarm is pytest-timeout's."""
    out, _ = python("""
        from coop_plugins import signal
        from coopcore import get_hub
        calls = []
        signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
        get_hub()
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)  # again and again, should the first have come before the pause
        signal.pause()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("handler" if calls else "no handler")
        print("went on")
    """)
    assert out == "handler\nwent on\n"


# -- a graceful end ---------------------------------------------------------------------------------------------------------------------------------

PROLOGUE = """
import os, signal, sys, time
from coop_plugins.signal import graceful_exit
from coopcore import TaskExit, run, sleep, spawn, get_hub
from coopcore.lowlevel import park

def say(*words):
    print(*words, flush=True)

def worker(name):
    try:
        sleep(1000)
    finally:
        sleep(0.01)
        say("finally of", name)
"""


def program(body: str, *strikes: int, status: int) -> tuple[list[str], str, float]:
    """A process that gets each signal when it has said ``ready``. Returns its lines, its stderr and the seconds from the first signal to its end."""
    code = PROLOGUE + textwrap.dedent(body)
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=interruptible()) as child:
        assert child.stdout is not None
        lines, began = [], 0.0
        for signum in strikes:
            for line in child.stdout:
                lines.append(line.strip())
                if line == "ready\n":
                    break
            began = began or time.monotonic()
            child.send_signal(signum)
        out, err = child.communicate(timeout=30)
        took = time.monotonic() - began
    assert child.returncode == status, err
    return lines + out.split("\n")[:-1], err, took


MAIN = """
def main():
    with graceful_exit({timeout}):
        tasks = [spawn(worker, name) for name in "ab"]
        try:
            sleep(0)
            say("ready")
            {wait}
        finally:
            sleep(0.01)
            say("finally of main", all(task.state == "parked" for task in tasks))
"""


@pytest.mark.parametrize("start", ["run(main)", "main()"])
@pytest.mark.parametrize(("signum", "status"), [(standard.SIGINT, -standard.SIGINT), (standard.SIGTERM, 128 + standard.SIGTERM)])
@pytest.mark.parametrize("wait", ["sleep(1000)", "park('for ever', timeout=1000)", "while True: pass"])
def test_graceful_invariant_1_every_finally_runs_mains_first(start: str, signum: int, status: int, wait: str) -> None:
    lines, err, _ = program(MAIN.format(timeout=20, wait=wait) + start, signum, status=status)
    assert lines == ["ready", "finally of main True", "finally of a", "finally of b"]
    assert err.splitlines()[-1:] == (["KeyboardInterrupt"] if signum == standard.SIGINT else [])
    assert "coopcore:" not in err


def test_graceful_invariant_1_tasks_that_are_begun_by_a_finally_end_too() -> None:
    lines, err, _ = program(
        """
        def starts():
            try:
                sleep(1000)
            finally:
                spawn(worker, "one more")
                sleep(0.001)
        def main():
            with graceful_exit(20):
                spawn(starts)
                sleep(0)
                say("ready")
                sleep(1000)
        run(main)
        """,
        standard.SIGTERM,
        status=143,
    )
    assert (lines, err) == (["ready", "finally of one more"], "")


def test_graceful_invariant_1_a_busy_task_is_not_what_is_interrupted() -> None:
    lines, _, _ = program(
        """
        def busy():
            begun = time.monotonic()
            say("ready")
            while time.monotonic() < begun + 0.3:
                pass
            say("busy is through")
            worker("busy")
        def main():
            with graceful_exit(20):
                spawn(busy)
                sleep(1000)
        run(main)
        """,
        standard.SIGTERM,
        status=143,
    )
    assert lines == ["ready", "busy is through", "finally of busy"]


@pytest.mark.slow(reason="waits half of the time that a program is given")
def test_graceful_invariant_1_the_others_are_killed_after_half_of_the_time() -> None:
    lines, err, _ = program(
        """
        def main():
            with graceful_exit(1.5):
                task = spawn(worker, "worker")
                try:
                    say("ready")
                    sleep(1000)
                finally:
                    task.join()  # it ends only because it is killed
                    say("main is through")
        run(main)
        """,
        standard.SIGTERM,
        status=143,
    )
    assert (lines, err) == (["ready", "finally of worker", "main is through"], "")


STUBBORN = """
class Lot:
    def describe_wait(self):
        return "godot"

def stubborn():
    while True:
        try:
            park(Lot(), timeout=1000)
        except TaskExit:
            pass

def main():
    with graceful_exit({timeout}):
        spawn(stubborn)
        spawn(worker, "a")
        try:
            sleep(0)
            say("ready")
            sleep(1000)
        finally:
            {ending}
"""


def test_graceful_invariants_2_and_3_who_has_not_ended_is_named_and_the_process_ends() -> None:
    lines, err, took = program(STUBBORN.format(timeout=0.9, ending="say('finally')") + "\nrun(main)", standard.SIGTERM, status=143)
    assert lines == ["ready", "finally", "finally of a"]
    assert "SIGTERM was to end the program, and 0.9 s are over; 2 tasks have not ended:" in err
    assert "  stubborn-" in err and "waits for godot\n    at <string>:" in err and "in stubborn\n    spawned at <string>:" in err
    assert "  main waits for the end of 1 of 1 tasks: stubborn-" in err
    assert 0.9 <= took < 30


@pytest.mark.parametrize("ending", ["sleep(1000)", "time.sleep(1000)", "[None for _ in iter(int, 1)]"])
def test_graceful_invariants_2_and_3_a_main_task_that_hangs_is_named_whatever_it_does(ending: str) -> None:
    _, err, took = program(STUBBORN.format(timeout=0.6, ending=ending) + "\nrun(main)", standard.SIGINT, status=130)
    assert "SIGINT was to end the program, and 0.6 s are over;" in err
    assert ("main waits for the end of its sleep" if ending == "sleep(1000)" else "main is running\n    at <string>:") in err
    assert 0.6 <= took < 30


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("get_hub().call_soon(say, 'ready'); sleep(1000)", "main waits for the end of its sleep"),
        ("say('ready'); [None for _ in iter(int, 1)]", "main is running\n    at <string>:"),
    ],
)
def test_graceful_invariants_2_and_3_a_second_signal_ends_at_once(ending: str, told: str) -> None:
    body = STUBBORN.format(timeout=1000, ending=ending) + "\nrun(main)"
    lines, err, took = program(body, standard.SIGTERM, standard.SIGINT, status=130)
    assert lines == ["ready", "ready"]
    assert "SIGTERM was to end the program, and a second signal came, SIGINT; 3 tasks have not ended:" in err
    assert told in err and "  worker-" in err
    assert took < 30


def test_graceful_around_run_and_in_a_script_without_tasks() -> None:
    around = """
        def main():
            spawn(worker, "a")
            sleep(0)
            say("ready")
            sleep(1000)
        with graceful_exit(20):
            run(main)
    """
    assert program(around, standard.SIGTERM, status=143)[:2] == (["ready", "finally of a"], "")
    plain = """
        with graceful_exit({timeout}):
            try:
                say("ready")
                time.sleep(1000)
            finally:
                {ending}
    """
    assert program(plain.format(timeout=20, ending="say('finally')"), standard.SIGTERM, status=143)[:2] == (["ready", "finally"], "")
    _, err, _ = program(plain.format(timeout=0.2, ending="time.sleep(1000)"), standard.SIGTERM, status=143)
    assert "SIGTERM was to end the program, and 0.2 s are over; it is ended at once." in err


def test_graceful_the_ready_are_told_from_the_running() -> None:
    body = """
        def busy():
            while True:
                try:
                    while True:
                        sleep(0)
                except TaskExit:
                    pass
        def main():
            with graceful_exit(0.2):
                spawn(busy), spawn(busy)
                sleep(0)
                say("ready")
                sleep(1000)
        run(main)
    """
    _, err, _ = program(body, standard.SIGTERM, status=143)
    assert err.count("  busy-") == 2 and "is ready\n    at <string>" in err


def test_graceful_invariant_4_a_block_without_a_signal_changes_nothing(go: Go) -> None:
    def main() -> None:
        before = standard.getsignal(standard.SIGINT), standard.getsignal(standard.SIGTERM)
        task = spawn(park, "x")
        threads = set(threading.enumerate())
        ending = graceful_exit(10)
        for _ in range(2):
            with ending as entered:
                assert entered is ending
                assert standard.getsignal(standard.SIGTERM) != before[1]
                sleep(0)
            assert (standard.getsignal(standard.SIGINT), standard.getsignal(standard.SIGTERM)) == before
        assert task.state == "parked" and ending.signum is None and set(threading.enumerate()) <= threads
        task.kill()

    go(main)


def test_graceful_other_signals_and_a_signal_that_is_caught(go: Go) -> None:
    def main() -> None:
        tasks = [spawn(park, "x") for _ in range(2)]
        with graceful_exit(10, signals=[standard.SIGHUP]) as ending:
            strike(standard.SIGHUP)
            with pytest.raises(SystemExit) as caught:
                sleep(10)
        assert caught.value.code == 128 + standard.SIGHUP == 128 + (ending.signum or 0)
        assert all(isinstance(task.value, TaskExit) for task in tasks)

    go(main)


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (float("inf"), ValueError), ("soon", TypeError), (None, TypeError), (float("nan"), ValueError)]
)
def test_graceful_with_a_bad_time(timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        graceful_exit(timeout)


def test_graceful_that_nobody_can_be_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words, in a process whose stderr is gone."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(os, "write", lambda fd, data: said.append(data))
    monkeypatch.setattr(sys, "stdout", None)
    said: list[bytes] = []
    ending = graceful_exit()
    ending.signum = standard.SIGTERM
    ending._end("for a test", standard.SIGTERM)
    assert ended == [143] and b"the report failed: AttributeError" in said[0]


def test_graceful_by_a_signal_that_comes_in_the_middle_of_a_print() -> None:
    """Python's streams then let no other print in ("reentrant call")."""
    _, err = python(
        """
        import io, os, signal, sys
        from coop_plugins.signal import graceful_exit

        class Stderr(io.RawIOBase):
            def writable(self):
                return True

            def write(self, data):
                os.kill(os.getpid(), signal.SIGTERM)
                return len(data)

        with graceful_exit() as ending:
            ending.signum = signal.SIGINT
            sys.stderr = io.TextIOWrapper(io.BufferedWriter(Stderr()))
            print("this", file=sys.stderr, flush=True)
        """,
        status=143,
    )
    assert err == "coopcore: SIGINT was to end the program, and a second signal came, SIGTERM; it is ended at once.\n"


def test_graceful_with_a_signal_that_cannot_be_caught(go: Go) -> None:
    def main() -> None:
        before = standard.getsignal(standard.SIGTERM)
        for _ in range(2):
            with pytest.raises(OSError):
                graceful_exit(signals=[standard.SIGTERM, standard.SIGKILL]).__enter__()
        assert standard.getsignal(standard.SIGTERM) is before

    go(main)
