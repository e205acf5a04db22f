"""pytest.skip, pytest.xfail and pytest.fail, in the test and in its other tasks."""

from __future__ import annotations

BOOM = """
def boom():
    raise ValueError("boom")

pytestmark = pytest.mark.coop
"""


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
    result.stdout.fnmatch_lines(
        [
            "E       coop_pytest.TaskFailed: task 'say-*', spawned at */test_it.py:* in test_fail, failed, and nobody joined it: Failed: said in a task",
            "SKIPPED [[]1[]] test_it.py:*: said in a task",
            "XFAIL test_it.py::test_xfail - *said in a task",
        ]
    )


def test_so_does_the_skip_of_unittest(run):
    result = run(
        BOOM
        + """
import unittest

def say():
    raise unittest.SkipTest("said in a task")

def test_skip():
    spawn(say)
    sleep(0.001)

def test_skip_beside_a_failed_task():
    spawn(boom)
    sleep(0.001)
    say()
""",
        skipped=1,
        failed=1,
    )
    result.stdout.fnmatch_lines(["E       coop_pytest.TaskFailed: task 'boom-*', spawned at *, failed, and nobody joined it: ValueError: boom"])


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


def test_verdicts_of_fixtures_and_of_teardowns(run):
    run(
        BOOM
        + """
def say(verdict):
    verdict("said in a task")

@pytest.fixture
def skips():
    sleep(0.001)
    pytest.skip("not now")

@pytest.fixture
def task_skips():
    spawn(say, pytest.skip)
    sleep(0.001)

@pytest.fixture
def xfails():
    sleep(0.001)
    pytest.xfail("known")

@pytest.fixture
def skips_at_the_end():
    yield
    sleep(0.001)
    pytest.skip("too late")

def test_skips(skips):
    boom()

def test_task_skips(task_skips):
    sleep(0)

def test_xfails(xfails):
    boom()

def test_skips_at_the_end(skips_at_the_end):
    sleep(0)
""",
        skipped=3,
        xfailed=1,
        passed=1,
    )


def test_strict_and_conditional_xfail(run):
    run(
        BOOM
        + """
@pytest.mark.xfail(strict=True)
def test_unexpectedly_passes():
    sleep(0)

@pytest.mark.xfail(raises=ValueError)
def test_raises_what_is_expected():
    spawn(boom).get()

@pytest.mark.xfail(raises=KeyError)
def test_raises_something_else():
    spawn(boom).get()

@pytest.mark.skipif("sys.version_info > (3,)")
def test_skipif():
    boom()

@pytest.mark.xfail(run=False)
def test_not_run():
    boom()
""",
        failed=2,
        xfailed=2,
        skipped=1,
    )


def test_a_skip_while_others_run_ends_them(run):
    run(
        BOOM
        + """
tasks = []

def test_skips():
    tasks.append(spawn(sleep, 3600))
    sleep(0)
    pytest.skip("now")

def test_afterwards():
    assert tasks[0].dead

def test_importorskip():
    sleep(0)
    pytest.importorskip("there_is_no_such_module")
""",
        skipped=2,
        passed=1,
    )
