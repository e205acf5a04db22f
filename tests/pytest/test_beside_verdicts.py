"""pytest.skip, pytest.xfail and pytest.fail, in the test and in its other tasks."""

from __future__ import annotations

import pytest


def test_verdicts_in_a_task_count_for_the_test(run):
    result = run(
        BOOM
        + """
def say(verdict):
    verdict("said in a task")

def test_skip():
    spawn(say, pytest.skip)
    sleep(0.001)

def test_xfail():
    spawn(say, pytest.xfail)
    sleep(0.001)

def test_fail():
    spawn(say, pytest.fail)
    sleep(0.001)
""",
        "-rsx",
        skipped=1,
        xfailed=1,
        failed=1,
    )
    result.stdout.fnmatch_lines(["E *task 'say-*', spawned at * in test_fail, failed, and nobody joined it: Failed: said in a task", "SKIPPED*said in a task"])


def test_skip_and_xfail(run):
    run(
        BOOM
        + """
def test_skip():
    sleep(0)
    pytest.skip("now")

@pytest.mark.skip(reason="never")
def test_skip_mark():
    assert 0

def test_xfail():
    sleep(0)
    pytest.xfail("known")

@pytest.mark.xfail
def test_xfail_mark():
    sleep(0)
    assert 0

@pytest.mark.xfail
def test_xfail_by_a_task():
    spawn(boom)
    sleep(0.001)

@pytest.mark.xfail
def test_xpass():
    sleep(0)

def test_a_skip_does_not_hide_a_failed_task():
    spawn(boom)
    sleep(0.001)
    pytest.skip("now")
""",
        skipped=2,
        xfailed=3,
        xpassed=1,
        failed=1,
    )
