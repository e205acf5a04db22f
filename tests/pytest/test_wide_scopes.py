"""Task groups and cancel scopes around the yield of a wider fixture: they outlive the test that entered them, and are left by another one."""

from __future__ import annotations

import pytest

# So that inner sessions find it imported, see conftest.
import coop_plugins.scope

assert coop_plugins.scope

HEAD = """
from coop_plugins.scope import CancelScope, Cancelled, TaskGroup, move_on_after
pytestmark = pytest.mark.coop

def boom():
    raise ValueError("boom")
"""


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_groups_of_every_scope(run, scope):
    run(
        HEAD
        + f"""
@pytest.fixture(scope="{scope}")
def outer():
    with TaskGroup() as group:
        group.spawn(sleep, 3600)
        yield group
        sleep(0)
        group.cancel_scope.cancel()

@pytest.fixture(scope="class")
def inner(outer):
    with CancelScope(), move_on_after(3600):
        sleep(0)
        yield
        sleep(0)
    assert len(outer.tasks) == 1

class TestIt:
    def test_one(self, inner):
        sleep(0)

    def test_two(self, inner, outer):
        with move_on_after(0.001) as own:
            sleep(3600)
        assert own.cancelled_caught
        assert len(outer.tasks) == 1

    def test_by_name(self, request):
        with CancelScope() as own:
            own.cancel()
            request.getfixturevalue("inner")
            with pytest.raises(Cancelled):
                sleep(0)
""",
        passed=3,
    )


def test_made_in_a_cancelled_scope_it_is_not_in_that(run):
    run(
        HEAD
        + """
@pytest.fixture(scope="module")
def group():
    with TaskGroup() as group:
        yield group
        sleep(0)
        group.cancel_scope.cancel()

def test_one(request):
    with CancelScope() as own:
        group = request.getfixturevalue("group")
        own.cancel()
    task = group.spawn(sleep, 0.001)
    task.get()

def test_two(group):
    sleep(0)
""",
        passed=2,
    )


def test_a_failure_is_told_by_whom_it_concerns(run):
    result = run(
        HEAD
        + """
@pytest.fixture(scope="module")
def group():
    with TaskGroup() as group:
        group.spawn(sleep, 3600)
        yield group

def test_before(group):
    group.spawn(boom).join()

def test_meanwhile(request):
    request.getfixturevalue("group")

def test_apart():
    sleep(0)

def test_later(group): pass

def test_end(): pass
""",
        passed=3,
        failed=1,
        errors=2,
    )
    words = (
        "uses fixture 'group' (module scope), which is in <CancelScope open, cancelled, of test_before>: a task of its group has failed, or its time was over, "
        "so the tasks in there were ended. If there is an error, it is told at the end of the fixture."
    )
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_later*",
            f"test_it.py::test_later {words}",
            "*ERROR at teardown of test_end*",
            "*ExceptionGroup: 1 failure in a TaskGroup (1 sub-exception)",
            "*ValueError: boom",
            "*in task 'boom-*' of a TaskGroup, spawned at *test_it.py:* in test_before",
            "*_ test_meanwhile _*",
            f"test_it.py::test_meanwhile {words}",
        ]
    )


def test_a_test_that_fails_meanwhile_says_so(run):
    result = run(
        HEAD
        + """
@pytest.fixture(scope="module")
def group():
    with move_on_after(3600) as scope:
        yield scope

def test_it(group):
    group.cancel()
    assert 1 == 2
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(
        [
            "E       assert 1 == 2",
            "*- cancelled fixture -*",
            "fixture 'group' (module scope), which is in <CancelScope open, cancelled, timeout 3600 s, of test_it>: a task of its group has failed, or its "
            "time was over, so the tasks in there were ended. If there is an error, it is told at the end of the fixture.",
        ]
    )


def test_its_use_elsewhere_is_an_error(run):
    result = run(
        HEAD
        + """
@pytest.fixture(scope="module")
def scope():
    with CancelScope() as scope:
        yield
        sleep(0)

@pytest.mark.coop(backend="epoll")
def test_one(scope): pass

@pytest.mark.coop(backend="selectors")
def test_two(scope): pass

@pytest.mark.coop(enabled=False)
def test_three(): pass
""",
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_two runs on the selectors hub, but uses fixture 'scope' (module scope), which was made on the epoll hub and is in a cancel scope "
            "there. Its tasks stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope."
        ]
    )
