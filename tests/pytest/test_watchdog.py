"""The invariants of coop_pytest._watchdog: pytest-timeout's mark in marked tests."""

from __future__ import annotations

import signal
import threading
import time
from queue import Queue

import pytest

from coop_pytest import _watchdog
from coop_pytest._hubs import Hubs
from coop_pytest._native import Alarm
from coop_pytest._places import without_machinery
from coop_pytest._watchdog import Watchdog
from coopcore import sleep

pytest.importorskip("pytest_timeout")

METHODS = ["signal", "thread"]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A hub that is well answers in time, however busy the machine is. (`over`, of conftest.py, ends the time of a test in the same manner.)"""
    monkeypatch.setattr(_watchdog, "GRACE", 30)


@pytest.fixture
def quick(patient, monkeypatch):
    """For tests in which the hub does not answer."""
    monkeypatch.setattr(_watchdog, "GRACE", 0.1)


class Settings:
    func_only = False
    disable_debugger_detection = False

    def __init__(self, method, timeout):
        self.method = method
        self.timeout = timeout


@pytest.fixture
def hubs():
    hubs = Hubs()
    yield hubs
    hubs.close()


@pytest.fixture
def alarm():
    alarm = Alarm()
    yield alarm
    alarm.close()


# -- 1. Cancelling is final, and may come at any time and any number of times --------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_invariant_1_cancelling_is_final(request, hubs, alarm, method):
    handler = signal.getsignal(signal.SIGALRM)
    before = set(threading.enumerate())
    dog = Watchdog(request.node, Settings(method, 30), hubs, alarm)
    dog.cancel()
    dog.start()
    dog.start()
    assert dog.is_running
    dog.cancel()
    dog.cancel()
    assert not dog.is_running
    assert signal.getsignal(signal.SIGALRM) == handler
    if method == "signal":
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_a_question_that_is_answered_after_the_cancel_does_nothing(request, hubs, alarm):
    dog = Watchdog(request.node, Settings("signal", 0.02), hubs, alarm)

    def test():
        dog.start()
        while dog._asked is None:
            pass
        dog.cancel()
        sleep(0.001)

    hubs.call(hubs.get(None), test, "a test")


# -- 2. The failure is thrown into the test's task, whichever runs ----------------------------------------------------------------

STUCK = """
def beat():
    while True:
        sleep(0.01)

ended = []

@pytest.fixture
def fixture():
    yield
    sleep(0.01)
    ended.append("fixture")

@pytest.mark.coop
@pytest.mark.timeout(20, method="{method}")
def test_stuck(fixture, request):
    spawn(beat)
    sleep(0)
    over(request)
    Queue().get()

@pytest.mark.coop
def test_next():
    sleep(0.01)
    assert ended == ["fixture"]
    assert current_task().hub.tasks() == [current_task()]
"""


@pytest.mark.parametrize("method", METHODS)
def test_invariant_2_the_stuck_test_fails_alone_with_every_stack(pytester, run, method):
    result = run(STUCK.format(method=method), "--junitxml=out.xml", failed=1, passed=1)
    lines = [
        ">       Queue().get()",
        "E       Failed: Timeout (>20.0s) from pytest-timeout.",
        "E       Every task, and what it waits for:",
        "E       <Hub 'the epoll hub' 2 tasks, 0 ready>",
        "E       test_stuck (parked for *.* s, waits for Queue.get of <coop_plugins.queue.Queue *",
        'E         File "*test_it.py", line *, in test_stuck',
        "E           Queue().get()",
        "E         beat-* (parked for *.* s, waits for the end of its sleep)",
        "E           spawned at *test_it.py:* in test_stuck",
        'E           File "*test_it.py", line *, in beat',
        "E             sleep(0.01)",
        "test_it.py:*: Failed",
    ]
    result.stdout.fnmatch_lines(lines)
    result.stdout.no_fnmatch_line("E *pluggy*")
    xml = (pytester.path / "out.xml").read_text()
    assert "Timeout (&gt;20.0s) from pytest-timeout." in xml
    assert "in beat" in xml


def test_the_option_and_the_function_only_form(run):
    run(STUCK.format(method="signal").replace('@pytest.mark.timeout(20, method="signal")', ""), "--timeout=20", failed=1, passed=1)
    run(STUCK.format(method="signal").replace('method="signal"', "func_only=True"), failed=1, passed=1)


def test_in_real_time(run):
    """From the setup on: where that is slow, the time may be over before the test's own function runs."""
    result = run(
        """
        def beat():
            while True:
                sleep(0.01)

        @pytest.mark.coop
        @pytest.mark.timeout(0.1)
        def test_stuck():
            spawn(beat)
            Queue().get()
        """
    )
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) >= 1, "in the teardown, which has as much time, it may happen again"
    result.stdout.fnmatch_lines(["E *Timeout (>0.1s) from pytest-timeout.", "E *Every task, and what it waits for:"])


def test_in_fixtures(run):
    result = run(
        """
        pytestmark = pytest.mark.coop

        def beat():
            while True:
                sleep(0.01)

        @pytest.fixture
        def early(request):
            spawn(beat)
            over(request)
            Queue().get()

        @pytest.fixture
        def late(request):
            yield
            spawn(beat)
            over(request)
            Queue().get()

        @pytest.mark.timeout(20)
        def test_one(early):
            pass

        @pytest.mark.timeout(30)
        def test_two(late):
            pass

        def test_three():
            sleep(0.01)
        """,
        passed=2,
        errors=2,
    )
    result.stdout.fnmatch_lines(["*ERROR at setup of test_one*", "E *Timeout (>20.0s)*", "*ERROR at teardown of test_two*", "E *Timeout (>30.0s)*"])


def test_the_teardown_after_a_failure_has_a_timer_too(run):
    result = run(
        """
        def beat():
            while True:
                sleep(0.01)

        @pytest.fixture
        def late(request):
            yield
            spawn(beat)
            over(request)
            Queue().get()

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_it(late):
            assert 0
        """,
        failed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "E *Timeout (>20.0s)*"])


def test_a_timer_does_not_hide_a_deadlock(run):
    result = run(
        """
        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_it():
            Queue().get()
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(["E *Deadlock: *"])


def test_an_except_clause_does_not_swallow_it(run):
    run(
        """
        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_it(request):
            over(request)
            while True:
                try:
                    sleep(3600)
                except Exception:
                    pass
        """,
        failed=1,
    )


def test_a_test_that_swallows_it_and_ends_has_failed_all_the_same(run):
    """Once, however often it was told, and whoever tells it."""
    run(
        """
        import unittest

        def swallow():
            try:
                sleep(3600)
            except BaseException:
                pass

        @pytest.fixture
        def swallows(request):
            over(request)
            swallow()

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_it(request):
            over(request)
            swallow()

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_fixture(swallows):
            pass

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_tells_something_else(request):
            over(request)
            swallow()
            raise ValueError

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        class TestCase(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def requested(self, request):
                self.request = request

            def test_case(self):
                over(self.request)
                swallow()

        @pytest.mark.coop
        def test_next():
            sleep(0)
        """,
        failed=4,
        passed=1,
    )


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest has subtests since version 9")
def test_after_a_subtest_that_failed_the_time_begins_anew(run):
    """pytest-timeout stops its timer there, as if a debugger might follow."""
    result = run(
        """
        import unittest

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_it(subtests, request):
            with subtests.test(number=1):
                over(request)
                sleep(3600)
            over(request)
            sleep(3600)

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        class TestCase(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def requested(self, request):
                self.request = request

            def test_case(self):
                with self.subTest(number=1):
                    assert False
                over(self.request)
                sleep(3600)
        """
    )
    ends = [line.partition(" (>")[0] for line in result.outlines if line.startswith(("FAILED", "SUBFAILED"))]
    assert ends == [
        "SUBFAILED(number=1) test_it.py::test_it - Failed: Timeout",
        "FAILED test_it.py::test_it - Failed: Timeout",
        "SUBFAILED(number=1) test_it.py::TestCase::test_case - assert False",
        "FAILED test_it.py::TestCase::test_case - Failed: Timeout",
    ]


def test_a_busy_test_that_yields_is_reached(run):
    run(
        """
        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_it(request):
            over(request)
            while True:
                sleep(0)
        """,
        failed=1,
    )


def test_unmarked_tests_have_the_ordinary_timer(run):
    result = run(
        """
        import signal, time

        @pytest.mark.timeout(20)
        def test_plain():
            signal.setitimer(signal.ITIMER_REAL, 0.001)  # its time is over
            time.sleep(30)

        @pytest.mark.coop
        def test_marked():
            sleep(0.01)
        """,
        failed=1,
        passed=1,
    )
    result.stdout.fnmatch_lines(["E *Failed: Timeout *20.0s*"])
    result.stdout.no_fnmatch_line("*Every task*")


# -- 3. As long as the hub answers, nobody else is disturbed; if it doesn't, whoever blocks it is ---------------------------------


def test_invariant_3_others_are_not_disturbed(run):
    run(
        """
        disturbed = []

        def beat():
            try:
                while True:
                    sleep(0.001)
            except BaseException as error:
                disturbed.append(error)
                raise

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_stuck(request):
            spawn(beat)
            sleep(0)
            over(request)
            Queue().get()

        def test_next():
            assert [type(error) for error in disturbed] == [coopcore.TaskExit]
        """,
        failed=1,
        passed=1,
    )


def test_a_task_that_blocks_the_thread_is_named(run, quick):
    result = run(
        """
        import time

        def block(request):
            over(request); time.sleep(30)

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_by_a_task(request):
            spawn(block, request)
            sleep(30)

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_by_itself(request):
            block(request)

        @pytest.mark.coop
        def test_next():
            sleep(0.01)
        """,
        failed=2,
        passed=1,
    )
    words = [
        "E * Timeout (>20.0s) from pytest-timeout.",
        "E * The hub did not answer within 0.1 s, because this blocked the thread:",
        'E * File "*test_it.py", line *, in block',
        "E *; time.sleep(30)",
        "E * Every task, and what it waits for:",
    ]
    result.stdout.fnmatch_lines(["*_ test_by_a_task _*", ">       sleep(30)", *words, "*_ test_by_itself _*", "> *; time.sleep(30)", *words])
    assert result.stdout.str().count("failed, and nobody joined it") == 0


def test_a_fixture_that_blocks_outside_while_a_marked_test_waits(run, quick):
    result = run(
        """
        import time

        @pytest.fixture(scope="module", autouse=True)
        def wide(request):
            yield
            over(request); time.sleep(30)

        def test_plain():
            pass

        @pytest.mark.coop
        @pytest.mark.timeout(20)
        def test_last():
            sleep(0)
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["E *Timeout (>20.0s) from pytest-timeout.", "E *This ran, outside of any task:", "E *time.sleep(30)"])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("while True:\n    try:\n        time.sleep(30)\n    except BaseException:\n        pass", id="signal"),
        pytest.param("time.sleep(30)", id="thread"),
    ],
)
@pytest.mark.slow(reason="sessions of their own, that have to end")
def test_the_last_resort_is_the_end_of_the_process(pytester, run_apart, body, request):
    pytester.makeconftest("from coop_pytest import _watchdog\n_watchdog.GRACE = _watchdog.PATIENCE = 0.1")
    indented = body.replace("\n", "\n            ")
    result = run_apart(
        f"""
        import time

        def beat():
            while True:
                sleep(0.01)

        @pytest.mark.coop
        @pytest.mark.timeout(20, method="{request.node.callspec.id}")
        def test_it(request):
            print("printed before")
            spawn(beat)
            sleep(0)
            over(request)
            {indented}
        """
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*+ Tasks +*", "test_it (*", "  beat-* (*", "*+ Timeout +*", "printed before", "*Stack of MainThread*", "*+ Timeout +*"])


def test_a_test_that_swallows_everything_is_told_again(run):
    result = run(
        """
        import signal

        told = []

        @pytest.mark.coop
        @pytest.mark.timeout(1000)
        def test_it(request):
            for _ in range(3):
                over(request)
                try:
                    sleep(3600)
                except BaseException as error:
                    told.append(error)
                assert signal.getitimer(signal.ITIMER_REAL)[0] > 100, "it was told for the last time"
            assert len(set(told)) == 3
            raise ValueError("it was told three times")
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(["E *ValueError: it was told three times"])


@pytest.mark.parametrize("method", METHODS)
def test_a_time_that_is_over_before_the_test_begins(run, monkeypatch, method):
    """On a busy machine, or with a very short time: there is no phase yet that could fail."""
    get = Hubs.get

    def slow_get(hubs, backend, clock=None):
        time.sleep(0.05)
        return get(hubs, backend, clock)

    monkeypatch.setattr(Hubs, "get", slow_get)
    result = run(
        f"""
        @pytest.mark.coop
        @pytest.mark.timeout(0.01, method="{method}")
        def test_it():
            sleep(60)

        @pytest.mark.coop
        def test_next():
            sleep(0)
        """
    )
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) >= 1, "it is told in the first phase that there is; and in the teardown, if that is slow"
    assert outcomes["passed"] >= 1


# -- 4. Debuggers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_invariant_4_a_debugger_is_not_interrupted(run, monkeypatch, method):
    monkeypatch.setattr("pytest_timeout.is_debugging", lambda: True)
    source = """
        @pytest.mark.coop
        @pytest.mark.timeout(20, method="{}")
        def test_it(request):
            over(request)
            sleep({})
        """
    run(source.format(method, 0.1), passed=1)
    run(source.format(method, 50), "--timeout-disable-debugger-detection", failed=1)


# -- 5. Where no signal is heard the test ends all the same ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "deaf",
    [
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])",
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)",
        "signal.setitimer(signal.ITIMER_REAL, 0)",
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 1_000_000)",  # it is heard after that
    ],
    ids=["blocked", "ignored", "taken", "late"],
)
def test_invariant_5_through_the_hub(run, quick, deaf):
    result = run(
        f"""
        import hashlib, signal

        @pytest.fixture
        def as_before():
            mask, handler = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGALRM)
            yield
            signal.signal(signal.SIGALRM, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        @pytest.mark.coop
        @pytest.mark.timeout(0.2)
        def test_it(as_before):
            {deaf}
            sleep(3600)

        @pytest.mark.coop
        def test_next():
            sleep(0)
        """,
        failed=1,
        passed=1,
    )
    result.stdout.fnmatch_lines(["E       Failed: Timeout (>0.2s) from pytest-timeout.", "test_it.py:*: Failed"])


def test_an_alarm():
    rings = Queue()
    alarm = Alarm()
    alarm.set(3600, rings.put, "not this one")
    alarm.cancel()
    alarm.set(0, rings.put, "now")
    assert rings.get(timeout=30) == "now"
    alarm.set(0, rings.put, "again")
    assert rings.get(timeout=30) == "again"
    alarm.close()
    alarm.close()
    alarm.set(0, rings.put, "after its end")
    assert rings.get(timeout=30) == "after its end"
    alarm.close()
    assert rings.empty()


@pytest.mark.slow(reason="a process of its own")
def test_its_thread_is_not_there_while_a_test_forks(run_apart):
    """Python 3.12 warns of threads then, and warnings are errors here."""
    run_apart(
        """
        import os

        @pytest.mark.coop
        @pytest.mark.timeout(60)
        def test_it():
            for _ in range(3):
                child = os.fork()
                if not child:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
        """,
        passed=1,
    )


def test_machinery_is_left_out_of_reports():
    import pluggy

    mine = '  File "mine.py", line 4, in y\n    mine()'
    theirs = f'  spawned at {pluggy.__file__}:3 in x\n  File "{pluggy.__file__}", line 3, in x\n    call()\n    ^^^^\n'
    assert without_machinery(f"a task\n{theirs}{mine}") == f"a task\n{mine}"
