"""The fixture `task_group`: what a task of it does to the test is told once, as the test's own."""

from __future__ import annotations

import pytest

# So that inner sessions find it imported, see conftest.
import coop_plugins.scope

assert coop_plugins.scope

HEAD = """
from coop_plugins.scope import CancelScope
pytestmark = pytest.mark.coop

def boom():
    raise ValueError("boom")
"""


def errors_of(result):
    return [line for line in result.outlines if line.startswith("E  ")]


def test_the_failure_of_a_task_is_that_of_the_test(run, in_the_source):
    result = run(
        HEAD
        + """
def test_waits(task_group):
    task_group.spawn(boom)
    sleep(3600)

def test_ends(task_group):
    task_group.spawn(boom)
    try:
        sleep(3600)
    except BaseException:
        pass

@pytest.mark.xfail(raises=ValueError)
def test_expected(task_group):
    task_group.spawn(boom)
    sleep(3600)
""",
        failed=2,
        xfailed=1,
    )
    first, second = [in_the_source(line) for line in errors_of(result) if "ValueError" not in line]
    assert [line for line in errors_of(result) if "ValueError" in line] == ["E       ValueError: boom"] * 2
    assert first.startswith("E       in task 'boom-")
    assert first.endswith("test_it.py:9 in test_waits")
    assert second.endswith("test_it.py:13 in test_ends")


@pytest.mark.parametrize(("call", "counts"), [("pytest.skip, 'so'", {"skipped": 1}), ("pytest.xfail, 'so'", {"xfailed": 1})])
def test_verdicts_of_its_tasks_are_those_of_the_test(run, call, counts):
    run(HEAD + f"def test_it(task_group):\n    task_group.spawn({call})\n    sleep(3600)", **counts)


def test_a_skip_is_told_in_one_line(run):
    result = run(HEAD + "def test_it(task_group):\n    def say():\n        pytest.skip('so')\n    task_group.spawn(say)\n    sleep(3600)", "-rs", skipped=1)
    last = result.outlines.index(next(line for line in result.outlines if line.startswith("SKIPPED ")))
    assert result.outlines[last].endswith(": so")
    assert " 1 skipped in " in result.outlines[last + 1]


def test_several_are_told_together(run):
    result = run(
        HEAD
        + """
def test_it(task_group):
    task_group.spawn(boom)
    task_group.spawn(boom)
    sleep(3600)
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(["*ExceptionGroup: 2 failures in a TaskGroup (2 sub-exceptions)", "*ValueError: boom", "*ValueError: boom"])


def test_what_fails_later_and_beside_an_error_of_the_test_is_told_at_the_teardown(run):
    result = run(
        HEAD
        + """
def late():
    try:
        sleep(3600)
    finally:
        with CancelScope(shield=True):
            sleep(0.1)
        raise KeyError("late")

def test_later(task_group):
    task_group.spawn(late)
    task_group.spawn(boom)
    sleep(3600)

def test_own(task_group):
    task_group.spawn(boom)
    try:
        sleep(3600)
    finally:
        raise OSError("mine")

def test_ends_before(task_group):
    task_group.spawn(boom)
""",
        failed=3,
        errors=2,
    )
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_later*",
            "*| KeyError: 'late'",
            "*ERROR at teardown of test_own*",
            "*| ValueError: boom",
            "E       in task 'boom-*' of a TaskGroup, spawned at *test_it.py:* in test_ends_before",
        ]
    )
    text = str(result.stdout)
    assert text.count("| KeyError: 'late'") == 1
    if pytest.version_tuple >= (9,):  # older ones hide nothing of the traceback of a group
        assert "coop_pytest" not in text.replace("coop_pytest.", "")
