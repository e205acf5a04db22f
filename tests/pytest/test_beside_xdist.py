"""pytest-xdist beside ours: each worker has hubs of its own."""

from __future__ import annotations

import pytest


def test_xdist(run_apart):
    pytest.importorskip("xdist")
    result = run_apart(
        """
        pytestmark = pytest.mark.coop

        @pytest.mark.parametrize("n", range(10))
        def test_many(n):
            sleep(0.001)

        def test_failed_task():
            spawn(int, "x")
            sleep(0.001)
            assert 0
        """,
        "-pxdist",
        "-n2",
        passed=10,
        failed=1,
    )
    result.stdout.fnmatch_lines(["*- failed tasks -*", "ValueError: invalid literal for int() with base 10: 'x'"])


@pytest.mark.slow(reason="starts a worker")
def test_xdist_and_timeouts(run_apart):
    pytest.importorskip("xdist")
    pytest.importorskip("pytest_timeout")
    result = run_apart(
        """
        pytestmark = pytest.mark.coop

        @pytest.mark.timeout(20)
        def test_stuck(request):
            spawn(sleep, 3600)
            over(request)
            Queue().get()

        def test_next():
            sleep(0.001)
        """,
        "-pxdist",
        "-n1",
        passed=1,
        failed=1,
    )
    result.stdout.fnmatch_lines(["E *Timeout (>20.0s) from pytest-timeout."])


@pytest.mark.slow(reason="starts workers")
def test_a_fixture_with_tasks_in_each_worker_and_a_worker_that_dies(run_apart):
    """A module's tests that stay together share its fixture; when a worker dies, the others finish."""
    pytest.importorskip("xdist")
    result = run_apart(
        """
        import os

        pytestmark = pytest.mark.coop

        @pytest.fixture(scope="session")
        def server():
            requests, answers = Queue(), Queue()

            def serve():
                while True:
                    answers.put(requests.get() ** 2)

            spawn(serve)
            return requests, answers

        @pytest.mark.parametrize("n", range(8))
        def test_served(server, n):
            requests, answers = server
            requests.put(n)
            assert answers.get(timeout=30) == n * n

        def test_dies(server):
            spawn(os._exit, 3)
            sleep(60)
        """,
        "-pxdist",
        "-n2",
        passed=8,
        failed=1,
    )
    result.stdout.fnmatch_lines(["worker 'gw[01]' crashed while running 'test_it.py::test_dies'"])


@pytest.mark.slow(reason="starts workers")
def test_the_first_failure_ends_the_session_in_every_worker(run_apart):
    pytest.importorskip("xdist")
    result = run_apart(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture(scope="session", autouse=True)
        def wide():
            task = spawn(sleep, 3600)
            yield
            sleep(0.001)
            task.kill()

        def test_fails():
            spawn(int, "x").get()

        @pytest.mark.parametrize("n", range(20))
        def test_many(n):
            sleep(1)  # longer than it takes until all have heard of the failure
        """,
        "-pxdist",
        "-n2",
        "-x",
    )
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    assert outcomes.get("passed", 0) < 20
    assert "errors" not in outcomes
    result.stdout.fnmatch_lines(["!!!* stopping after 1 failures !!!*"])
