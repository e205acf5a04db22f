"""The plugin in a program that is patched as a whole: what watches the tests is not turned into tasks with the rest."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow(reason="sessions of their own")


@pytest.fixture
def run_patched(pytester, run_apart):
    """As `run_apart`, in a program that its conftest has patched."""

    def run(source, *args, **counts):
        pytester.makeconftest(
            """
            from coop_plugins.patch import patch
            from coop_pytest import _watchdog

            patch(warn=False)
            _watchdog.GRACE = 30  # a hub that is well answers in time, however busy the machine is
            """
        )
        return run_apart("import queue, threading, time\n" + source, **counts)

    return run


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_timeouts(run_patched, method):
    result = run_patched(
        f"""
@pytest.mark.coop
@pytest.mark.timeout(1, method="{method}")
def test_stuck():
    spawn(time.sleep, 3600)
    queue.Queue().get()

@pytest.mark.coop
@pytest.mark.timeout(1, method="{method}", func_only=True)
def test_function_only():
    time.sleep(3600)

@pytest.mark.coop
def test_next():
    time.sleep(0.001)
""",
        passed=1,
        failed=2,
    )
    result.stdout.fnmatch_lines(
        [
            "E * Failed: Timeout (>1.0s) from pytest-timeout.",
            "E * Every task, and what it waits for:",
            "E * <Hub 'the epoll hub' 2 tasks, 0 ready>",
            "E * test_stuck (parked for *",
        ]
    )


def test_a_call_that_blocks(run_patched):
    result = run_patched(
        """
@pytest.mark.coop(blocking=0.1)
def test_it():
    until = time.thread_time() + 0.5  # of this thread: on a busy machine it may get little of the other kind
    while time.thread_time() < until:
        pass

@pytest.mark.coop(blocking=0.1)
def test_waits():
    time.sleep(0.5)
""",
        passed=1,
        failed=1,
    )
    result.stdout.fnmatch_lines(["test_it.py::test_it blocked the epoll hub for * s, at *test_it.py:* in test_it*; the limit is 0.1 s."])


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_timer_hides_no_deadlock(run_patched, method):
    """A handler of a patched `signal.signal` promises to wake somebody: the timer's is none of those. Nor is it after a failure under the patch. Nor do threads
    of ours wake anybody, though `threading` doesn't know them."""
    result = run_patched(
        f"""
pytestmark = [pytest.mark.coop(blocking=50), pytest.mark.timeout(60, method="{method}")]

def test_fails():
    assert False

def test_queue():
    queue.Queue().get()

def test_again():
    Queue().get()
""",
        failed=3,
    )
    assert str(result.stdout).count("coopcore.errors.Deadlock: nothing can ever run again on the epoll hub. 1 task is parked") == 2


def test_a_thread_that_is_left_behind_is_a_task(run_patched):
    result = run_patched(
        """
started = []

def stay():
    started.append(threading.current_thread())
    time.sleep(3600)

@pytest.mark.coop
def test_it():
    threading.Thread(target=stay, name="left").start()
    time.sleep(0)

@pytest.mark.coop(leaks="tasks")
def test_told():
    threading.Thread(target=stay, name="left").start()
    time.sleep(0)

@pytest.mark.coop
def test_ended():
    assert [thread.is_alive() for thread in started] == [False, False]
""",
        passed=3,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        ["test_it.py::test_told left behind: 1 task.", "  'left', spawned at *test_it.py:* in test_told, waits for the end of its sleep"]
    )
