"""The last step of a timeout, in full: all tasks and all threads, and the end of the process; and calls into C that need not come to that."""

from __future__ import annotations

import re

import pytest

from coop_pytest import _watchdog

pytestmark = pytest.mark.slow(reason="time itself is under test")

OURS = "_pytest|pytest|pluggy|coopcore|coop_pytest|threading|importlib|runpy|<frozen"
MACHINERY = re.compile(rf'^  File "[^"]*/(?:{OURS})[^"]*", line \d+, in .*\n(?:    .*\n)*', re.MULTILINE)
SHIFTS = [
    (r"[+~]{2,}", "++"),
    (r"for \d+\.\d\d s", "for 0.00 s"),
    (r"\b(beat|sleep)-\d+", r"\1-1"),
    (r"\(\d{6,}\)", "(1)"),
]


@pytest.fixture
def dump_of(in_the_source, pytester):
    """See below."""
    return lambda result: in_the_source("\n".join(dump_in(pytester.path, result))).splitlines()


def dump_in(folder, result):
    """What was printed at the end, without the frames of pytest and ours, and without names and numbers that differ from run to run."""
    text = "\n".join(line.rstrip() for line in [*result.outlines, *result.errlines]) + "\n"
    text = text[text.index("++ Tasks") :]
    text = MACHINERY.sub("", text.replace(f"{folder}/", ""))
    for pattern, same in SHIFTS:
        text = re.sub(pattern, same, text)
    return text.rstrip("\n").splitlines()


SENTENCE = (
    "test_it.py::test_it goes on after its timeout, and nothing is left that could end it alone: so the process ends now. "
    "Next step: see below what the main thread does, and let it be something that parks, or that a signal can interrupt (method = signal)."
)


def test_the_dump_in_full(pytester, run_apart, dump_of):
    pytester.makeconftest("from coop_pytest import _watchdog\n_watchdog.GRACE = _watchdog.PATIENCE = 0.1")
    result = run_apart(
        """
        import time

        def beat():
            while True:
                sleep(3600)

        @pytest.mark.coop
        @pytest.mark.timeout(1, method="thread")
        def test_it():
            print("printed before")
            spawn(beat)
            sleep(0.05)
            time.sleep(60)
        """
    )
    assert result.ret == 1
    assert dump_of(result) == [
        "++ Tasks ++",
        "<Hub 'the epoll hub' 2 tasks, 0 ready>",
        "test_it (running)",
        "  beat-1 (parked for 0.00 s, waits for the end of its sleep)",
        "    spawned at test_it.py:12 in test_it",
        '    File "test_it.py", line 6, in beat',
        "      sleep(3600)",
        SENTENCE,
        "++ Timeout ++",
        "++ Captured stdout ++",
        "printed before",
        "++ Stack of MainThread (1) ++",
        '  File "test_it.py", line 14, in test_it',
        "    time.sleep(60)",
        "++ Timeout ++",
    ]


def test_by_a_thread_a_call_that_was_spawned_as_it_is_ends_the_process_too(pytester, run_apart, dump_of):
    pytester.makeconftest("from coop_pytest import _watchdog\n_watchdog.GRACE = _watchdog.PATIENCE = 0.1")
    result = run_apart(
        """
        import time

        @pytest.mark.coop
        @pytest.mark.timeout(1, method="thread")
        def test_it():
            spawn(time.sleep, 60).join()
        """
    )
    assert result.ret == 1
    assert dump_of(result) == [
        "++ Tasks ++",
        "<Hub 'the epoll hub' 2 tasks, 0 ready>",
        "test_it (parked for 0.00 s, waits for the end of task 'sleep-1')",
        '  File "test_it.py", line 7, in test_it',
        "    spawn(time.sleep, 60).join()",
        "  sleep-1 (running)",
        "    spawned at test_it.py:7 in test_it",
        SENTENCE,
        "++ Timeout ++",
        "++ Stack of MainThread (1) ++",
        "++ Timeout ++",
    ]


# -- and before it comes to that ---------------------------------------------------------------------------------------------------


@pytest.fixture
def words_of(in_the_source, pytester):
    """What the report of a test says."""
    return lambda *args: in_the_source("\n".join(words_in(*args)).replace(f"{pytester.path}/", "")).splitlines()


def words_in(result, test):
    lines = [line.rstrip() for line in result.outlines]
    start = next(number for number, line in enumerate(lines) if re.fullmatch(f"_+ {test} _+", line)) + 1
    end = next(number for number in range(start, len(lines)) if re.match("(____|====)", lines[number]))
    return re.sub(r"for \d+\.\d\d s", "for 0.00 s", re.sub(r"sleep-\d+", "sleep-1", "\n".join(lines[start:end]))).splitlines()


def test_invariant_5_a_call_into_c_from_the_first_moment_on_ends_the_process(pytester, run_apart, dump_of):
    pytester.makeconftest("from coop_pytest import _watchdog\n_watchdog.GRACE = _watchdog.PATIENCE = 0.1")
    result = run_apart(
        """
        import hashlib

        @pytest.mark.coop
        @pytest.mark.timeout(1)
        def test_it():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
        """
    )
    assert result.ret == 1
    assert dump_of(result) == [
        "++ Tasks ++",
        "<Hub 'the epoll hub' 1 task, 0 ready>",
        "test_it (running)",
        SENTENCE,
        "++ Timeout ++",
        "++ Stack of MainThread (1) ++",
        '  File "test_it.py", line 7, in test_it',
        '    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)',
        "++ Timeout ++",
    ]


def test_a_call_into_c_that_was_spawned_as_it_is_fails_the_test_alone(run, monkeypatch, words_of):
    monkeypatch.setattr(_watchdog, "GRACE", 0.1)
    result = run(
        """
        import time

        @pytest.mark.coop
        @pytest.mark.timeout(1)
        def test_joins():
            spawn(time.sleep, 60).join()

        @pytest.mark.coop
        @pytest.mark.timeout(1)
        def test_waits():
            spawn(time.sleep, 60)
            sleep(3600)

        @pytest.mark.coop
        def test_next():
            sleep(0)
        """,
        passed=1,
        failed=2,
    )
    # What follows is the list of tasks: the test itself, which may have gone on by then.
    assert words_of(result, "test_joins")[:4] == [
        "Timeout (>1.0s) from pytest-timeout.",
        "The hub did not answer within 0.1 s, because this blocked the thread:",
        "  task 'sleep-1', spawned at test_it.py:7 in test_joins",
        "Every task, and what it waits for:",
    ]
    assert words_of(result, "test_waits")[5:] == [
        ">       sleep(3600)",
        "E       Failed: Timeout (>1.0s) from pytest-timeout.",
        "E       The hub did not answer within 0.1 s, because this blocked the thread:",
        "E         task 'sleep-1', spawned at test_it.py:12 in test_waits",
        "E       Every task, and what it waits for:",
        "E       <Hub 'the epoll hub' 1 task, 0 ready>",
        "E       test_waits (parked for 0.00 s, waits for the end of its sleep)",
        'E         File "test_it.py", line 13, in test_waits',
        "E           sleep(3600)",
        "",
        "test_it.py:13: Failed",
    ]


def test_a_failure_of_the_test_comes_before_a_timeout_that_comes_just_after_it(run, monkeypatch):
    """While tasks of the test are ended, which takes longer than the time that is left."""
    monkeypatch.setattr(_watchdog, "GRACE", 0.1)
    result = run(
        """
        over = []

        def stay():
            while not over:
                try:
                    sleep(3600)
                except BaseException:
                    pass

        @pytest.fixture
        def broken():
            yield
            spawn(stay)
            sleep(0)
            raise KeyError("mine")

        @pytest.mark.coop
        @pytest.mark.timeout(1)
        def test_it(broken): pass

        @pytest.mark.coop
        def test_end():
            over.append(True)
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["E       KeyError: 'mine'", "*- after that -*", "Timeout (>1.0s) from pytest-timeout.", "Every task, and what it waits for:"])
