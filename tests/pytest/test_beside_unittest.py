"""unittest.TestCase: marks, every setup and clean-up in the task, and failures told in full."""

from __future__ import annotations

import pytest

IN_TASK = """
import unittest

import greenlet
home = greenlet.getcurrent()

def in_task():
    sleep(0.001)
    return greenlet.getcurrent() is not home and current_task().hub.main is current_task()

def boom():
    raise ValueError("boom")
"""


def test_every_method_of_a_case_runs_in_the_task(run):
    run(
        IN_TASK
        + """
ended = []

@pytest.mark.coop
class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert in_task()
        cls.worker = spawn(sleep, 3600)
        cls.addClassCleanup(lambda: ended.append(in_task()))

    @classmethod
    def tearDownClass(cls):
        assert in_task() and not cls.worker.dead
        cls.worker.kill()

    def setUp(self):
        self.task = current_task()
        assert in_task()
        self.addCleanup(lambda: ended.append(in_task() and current_task() is self.task))

    def tearDown(self):
        assert in_task() and current_task() is self.task

    def test_one(self):
        assert in_task() and current_task() is self.task

    def test_two(self):
        assert not self.worker.dead

class TestUnmarked(unittest.TestCase):
    def test_outside(self):
        assert greenlet.getcurrent() is home
        assert ended == [True, True, True]
""",
        passed=3,
    )


def test_outcomes(run):
    run(
        IN_TASK
        + """
@pytest.mark.coop
class TestCase(unittest.TestCase):
    def test_fails(self):
        sleep(0.001)
        self.assertEqual(1, 2)

    def test_raises(self):
        sleep(0.001)
        boom()

    def test_skips(self):
        self.skipTest("not now")

    @unittest.skip("never")
    def test_skipped(self):
        boom()

    @unittest.expectedFailure
    def test_expected(self):
        sleep(0.001)
        boom()

    def test_task_fails(self):
        spawn(boom)
        sleep(0.001)
""",
        failed=3,
        skipped=2,
        xfailed=1,
    )


def test_a_failed_task_in_full(run):
    result = run(
        IN_TASK
        + """
@pytest.mark.coop
class TestCase(unittest.TestCase):
    def test_it(self):
        spawn(boom).name = "careless"
        sleep(0.001)
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(
        [
            "*_ TestCase.test_it _*",
            "",
            "    def boom():",
            '>       raise ValueError("boom")',
            "E       coop_pytest.TaskFailed: task 'careless', spawned at */test_it.py:* in TestCase.test_it, failed, and nobody joined it: ValueError: boom",
            "",
            "test_it.py:*: TaskFailed",
        ],
        consecutive=True,
    )


def test_timeouts_and_deadlocks_show_the_wait_and_nothing_within(run):
    pytest.importorskip("pytest_timeout")
    result = run(
        IN_TASK
        + """
@pytest.mark.coop
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def requested(self, request):
        self.request = request

    @pytest.mark.timeout(20)
    def test_timeout(self):
        spawn(sleep, 3600)
        over(self.request)
        Queue().get(block=True)

    def test_deadlock(self):
        Queue().get(block=False or True)
""",
        failed=2,
    )
    result.stdout.fnmatch_lines([">       Queue().get(block=True)", "E       Failed: Timeout (>20.0s) from pytest-timeout.", "test_it.py:*: Failed"])
    result.stdout.fnmatch_lines([">       Queue().get(block=False or True)", "E       coopcore.errors.Deadlock: *", "test_it.py:*: Deadlock"])
    assert "coopcore/" not in "\n".join(line for line in result.outlines if line.startswith(("/", ">")))


def test_an_async_case_is_left_alone_in_auto_mode_and_refused_when_marked(run):
    source = (
        IN_TASK
        + """
class TestCase(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        import asyncio
        await asyncio.sleep(0)
        assert greenlet.getcurrent() is home

def test_plain():
    assert in_task()
"""
    )
    run(source, "-ocoop_mode=auto", passed=2)
    result = run(source.replace("class TestCase", "@pytest.mark.coop\nclass TestCase"), "-ocoop_mode=auto", passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::TestCase::test_it is an `async def` test, but marked coop: its body would need an event loop, and a task has none. "
            "Write it as a plain `def` (calls may block), or take the mark away and use an asyncio plugin."
        ]
    )
