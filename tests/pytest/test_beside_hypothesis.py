"""hypothesis beside ours: each example is judged by itself, so that it can be told and simplified."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis.strategies")  # here, or each inner session would import it


def test_hypothesis_runs_every_example_in_the_task(run):
    run(
        """
        from hypothesis import HealthCheck, given, settings, strategies as st

        tasks = set()

        @pytest.mark.coop
        @settings(max_examples=10, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.integers())
        def test_it(n):
            sleep(0)
            tasks.add(current_task())

        def test_afterwards():
            assert len(tasks) == 1
        """,
        passed=2,
    )


HYPOTHESIS = """
from hypothesis import HealthCheck, given, settings, strategies as st

pytestmark = pytest.mark.coop
settings.register_profile("it", database=None, derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("it")

def boom(n):
    if n > 10:
        raise ValueError(n)
"""


def test_a_task_that_fails_is_a_failure_of_the_example_and_simplified(run):
    result = run(
        HYPOTHESIS
        + """
@given(n=st.integers())
def test_it(n):
    spawn(boom, n).name = "careless"
    sleep(0)
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(
        [
            "n = 11",
            "",
            "    def boom(n):",
            "        if n > 10:",
            ">           raise ValueError(n)",
            "E           coop_pytest.TaskFailed: task 'careless', spawned at */test_it.py:* in test_it, failed, and nobody joined it: ValueError: 11",
            "E           F* test*: test_it(",  # its words differ from release to release
            "E               n=11,",
            "E           )",
        ],
        consecutive=True,
    )


def test_so_it_is_in_a_state_machine(run):
    result = run(
        HYPOTHESIS
        + """
from hypothesis.stateful import RuleBasedStateMachine, rule

class Machine(RuleBasedStateMachine):
    pumps = []

    def __init__(self):
        super().__init__()
        assert all(pump.dead for pump in self.pumps), "which the example before has started"
        self.pumps.append(spawn(sleep, 3600))

    @rule(n=st.integers())
    def step(self, n):
        spawn(boom, n).name = "careless"
        sleep(0)

TestMachine = pytest.mark.coop(Machine.TestCase)
TestMachine.settings = settings(settings.get_profile("it"), stateful_step_count=5)
pytestmark = []

def test_afterwards():
    from hypothesis import stateful
    assert stateful.get_state_machine_test.__module__ == "hypothesis.stateful"
""",
        failed=1,
        passed=1,
    )
    told = [line[1:].strip() for line in result.outlines if line.startswith("E  ")]
    assert told[0].startswith("coop_pytest.TaskFailed: task 'careless', spawned at ")
    assert told[0].endswith(" in Machine.step, failed, and nobody joined it: ValueError: 11")
    steps = told[told.index("state = Machine()") :]
    assert steps[:3] == ["state = Machine()", "state.step(n=11)", "state.teardown()"]


def test_what_an_example_starts_ends_with_it(run):
    run(
        HYPOTHESIS
        + """
tasks = []

@given(n=st.integers())
def test_it(n):
    assert all(task.dead for task in tasks)
    tasks.append(spawn(sleep, 3600))
    sleep(0)

@pytest.mark.coop(leaks="tasks")
@given(n=st.integers())
def test_unless_it_is_asked_for(n):
    tasks[:] = [spawn(sleep, 3600)]
    sleep(0)
""",
        passed=2,
        errors=1,
    )


def test_an_example_that_fails_tells_of_its_failed_tasks_too(run):
    result = run(
        HYPOTHESIS
        + """
@given(n=st.integers())
def test_it(n):
    spawn(boom, n)
    sleep(0)
    assert n <= 10
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(
        ["E       assert 11 <= 10", "E       task 'boom-*', spawned at * in test_it, failed, and nobody joined it:*", "E       ValueError: 11"]
    )


def test_a_timeout_ends_the_test_and_tells_the_example(run):
    """To hypothesis it would be one more failure: it would try the same example again, and hang."""
    pytest.importorskip("pytest_timeout")
    result = run(
        HYPOTHESIS
        + """
import unittest

def stuck(n):
    if n > 10:
        spawn(sleep, 3600)
        over(requests[-1])
        Queue().get()

requests = []

@pytest.fixture(autouse=True, scope="module")
def requested(request):
    requests.append(request)

@pytest.mark.timeout(20)
@given(n=st.integers())
def test_it(n):
    stuck(n)

class TestCase(unittest.TestCase):
    @pytest.mark.timeout(20)
    @given(n=st.integers())
    def test_case(self, n):
        stuck(n)

def test_next():
    sleep(0)
""",
        failed=2,
        passed=1,
    )
    for _ in range(2):
        result.stdout.fnmatch_lines(
            [
                ">           Queue().get()",
                "E           Failed: Timeout (>20.0s) from pytest-timeout.",
                "E           This was in the example: n=[1-9]*",
                "test_it.py:*: Failed",
            ]
        )


def test_the_function_is_as_it_was_afterwards(run):
    run(
        HYPOTHESIS
        + """
@pytest.mark.parametrize("which", [1, 2])
@given(n=st.integers())
def test_it(which, n):
    sleep(0)

inner = test_it.hypothesis.inner_test

@pytest.mark.coop(enabled=False)
def test_afterwards():
    assert test_it.hypothesis.inner_test is inner
""",
        passed=3,
    )
