"""What else fails a test can be switched, by the ini file for all and by a mark for one."""

from __future__ import annotations

import pytest

import coop_plugins.lock
import coop_plugins.socket  # noqa: F401 - not to be imported anew by each inner session

CALLS = """
import time
from coop_pytest._blocking import found

def unjoined(told):
    task = spawn(divmod, 1, 0)
    sleep(0)

def leaks(told):
    spawn(sleep, 3600)
    sleep(0)

def blocking(told):
    if told:
        found.acquire(timeout=20)  # for as long as it takes
    else:
        time.sleep(0.06)
"""
# Of each kind: what switches it on in the ini file, and off; and on in a mark.
SWITCHES = [("unjoined", "true", "false", "True"), ("leaks", "tasks", "", "'tasks'"), ("blocking", "0.03", "0", "0.03")]


@pytest.mark.parametrize(("kind", "on", "off", "mark"), SWITCHES)
def test_the_ini_file_and_the_closest_mark(run, found, pytester, monkeypatch, kind, on, off, mark):
    monkeypatch.setattr("coop_pytest._leaks.SETTLE", 0.02)
    tests = f"""
@pytest.mark.coop
def test_by_ini(pytestconfig):
    {kind}(told=pytestconfig.getini("coop_{kind}") not in (False, [], 0, "", "0"))

@pytest.mark.coop({kind}={mark})
def test_on():
    {kind}(told=True)

@pytest.mark.coop({kind}=False)
def test_off():
    {kind}(told=False)
"""
    for ini, outcome in ((on, "failed"), (off, "passed")):
        pytester.makeini(f"[pytest]\ncoop_{kind} = {ini}")
        which = "errors" if kind == "leaks" else "failed"
        passed = 3 if kind == "leaks" else 1  # what is left behind is an error beside a test that has passed
        run(CALLS + tests, passed=passed + (outcome == "passed" and kind != "leaks"), **{which: 1 + (outcome == "failed")})


def test_a_failed_task_that_is_let_pass_is_in_the_report_and_in_nobody_elses(run):
    result = run(
        """
        kept = []

        def boom():
            raise ValueError("boom")

        @pytest.mark.coop(unjoined=False)
        def test_it():
            kept.append(spawn(boom))
            spawn(boom)
            sleep(0)

        @pytest.mark.coop
        def test_next():
            kept.clear()
            sleep(0)
        """,
        "-rP",
        passed=2,
    )
    result.stdout.fnmatch_lines(
        ["*- failed tasks in call -*", "task 'boom-*', spawned at *test_it.py:* in test_it, failed, and nobody joined it:", "*ValueError: boom"]
    )
    assert str(result.stdout).count("nobody joined it") == 2


def test_verdicts_of_tasks_count_all_the_same(run):
    run(
        """
        @pytest.mark.coop(unjoined=False)
        def test_it():
            spawn(pytest.skip, "not here")
            sleep(0)
        """,
        skipped=1,
    )


def test_at_the_end_of_a_wider_fixture_the_ini_file_decides(run, pytester):
    source = """
        @pytest.fixture(scope="module")
        def wide():
            yield
            task = spawn(divmod, 1, 0)
            sleep(0)
            del task

        @pytest.mark.coop
        def test_it(wide): pass

        def test_plain(): pass
        """
    run(source, passed=2, errors=1)
    pytester.makeini("[pytest]\ncoop_unjoined = false")
    result = run(source, "-s", passed=2)
    result.stderr.fnmatch_lines(["task 'divmod-*', spawned at *test_it.py:* in wide, failed, and nobody joined it:", "ZeroDivisionError: *"])


DEADLOCK = """
import _thread, time

def stuck(waited_out):
    queue, told, over, hub = Queue(), _thread.allocate_lock(), _thread.allocate_lock(), current_task().hub

    def wake():
        if waited_out:
            while hub.heartbeat is not None:  # until it waits
                time.sleep(0.001)
        else:
            told.acquire(timeout=20)
        hub.call_soon_threadsafe(queue.put_nowait, 1)
        over.release()

    over.acquire()
    told.acquire()
    _thread.start_new_thread(wake, ())  # coopcore takes it for none that may wake a task: no Thread object tells of it
    try:
        queue.get()
    finally:
        told.release()
        over.acquire()
"""


def test_a_deadlock_can_be_waited_out(run, pytester):
    tests = """
@pytest.mark.coop
def test_by_ini(pytestconfig):
    stuck(waited_out=not pytestconfig.getini("coop_deadlock"))

@pytest.mark.coop(deadlock=False)
def test_off():
    stuck(waited_out=True)

@pytest.mark.coop(deadlock=True)
def test_on():
    stuck(waited_out=False)
"""
    run(DEADLOCK + tests, passed=1, failed=2)
    pytester.makeini("[pytest]\ncoop_deadlock = false")
    run(DEADLOCK + tests, passed=2, failed=1)


def test_on_a_virtual_clock_a_deadlock_is_told_in_any_case(run):
    run(
        """
        @pytest.mark.coop(clock="virtual", deadlock=False)
        def test_it():
            sleep(3600)
            with pytest.raises(coopcore.Deadlock):
                Queue().get()
        """,
        passed=1,
    )
