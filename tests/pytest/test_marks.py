"""What a mark may say, and that anything else is a clear error."""

from __future__ import annotations

import pytest


def test_a_list_of_backends_runs_the_test_on_each(run):
    result = run(
        """
        @pytest.mark.coop(backend=["epoll", "selectors"])
        def test_x(request):
            sleep(0)
            kind = type(current_task().hub.backend).__name__
            assert kind.lower().removesuffix("backend") in request.node.name

        @pytest.mark.coop(backend=["epoll", "selectors"])
        @pytest.mark.parametrize("n", [1, 2])
        def test_y(n):
            sleep(0)
        """,
        "-v",
        passed=6,
    )
    for name in ("test_x[[]epoll]", "test_x[[]selectors]", "test_y[[]epoll-1]", "test_y[[]selectors-2]"):
        result.stdout.fnmatch_lines([f"*::{name} PASSED*"])


def test_one_backend(run):
    run(
        """
        @pytest.mark.coop(backend="selectors")
        def test_x():
            assert type(current_task().hub.backend).__name__ == "SelectorsBackend"
        """,
        passed=1,
    )


def test_marks_add_up_and_the_closest_counts(run):
    run(
        """
        pytestmark = pytest.mark.coop(backend=["epoll", "selectors"])

        def kind():
            return type(current_task().hub.backend).__name__

        def test_of_the_module():
            pass

        @pytest.mark.coop
        def test_adds_nothing():
            pass

        @pytest.mark.coop(backend="selectors")
        class TestClass:
            def test_of_the_class(self):
                assert kind() == "SelectorsBackend"

            @pytest.mark.coop(backend="epoll")
            def test_of_its_own(self):
                assert kind() == "EpollBackend"
        """,
        passed=6,
    )


def test_an_async_test_is_an_error_and_the_others_run(run):
    result = run(
        """
        pytestmark = pytest.mark.coop

        async def test_async():
            pass

        async def test_generator():
            yield

        def test_plain():
            sleep(0)
        """,
        passed=1,
        errors=2,
    )
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_async is an `async def` test, but marked coop: its body would need an event loop, and a task has none. "
            "Write it as a plain `def` (calls may block), or leave it to an asyncio plugin: @pytest.mark.coop(enabled=False)."
        ]
    )


def test_wrong_arguments_are_told_at_collection(run):
    """All of them are in test_marks_wrong.py."""
    result = run("@pytest.mark.coop(clock=3)\ndef test_it(): pass", errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ERROR collecting test_it.py*", "test_it.py::test_it: @pytest.mark.coop(clock=...) takes the name of a clock, not 3."])


def test_a_wrong_backend_is_told_once(run):
    result = run("@pytest.mark.coop(backend='epol')\ndef test_it(): pass", "-rN", errors=1)
    assert str(result.stdout).count("there is no backend named") == 1


def test_a_list_on_what_cannot_be_parametrised_fails_that_test_alone(run):
    result = run(
        """
        import unittest

        @pytest.mark.coop(backend=["epoll", "selectors"])
        class TestCase(unittest.TestCase):
            def test_it(self):
                pass

        @pytest.mark.coop
        def test_other():
            sleep(0)

        def test_plain():
            pass
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        ["test_it.py::TestCase::test_it: @pytest.mark.coop(backend=[[]...]) with a list needs a test that can be parametrised, and a TestCaseFunction cannot.*"]
    )


def test_a_backend_that_cannot_be_made_is_an_error_of_the_test(run, monkeypatch):
    monkeypatch.setenv("COOP_BACKEND", "nonesuch")
    result = run("@pytest.mark.coop\ndef test_it(): pass\n\ndef test_plain(): pass", errors=1, passed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it cannot run in a task: there is no backend named 'nonesuch'; on offer are: *"])


@pytest.mark.slow(reason="a session of its own")
def test_the_mark_is_registered(run_apart):
    result = run_apart("def test_it(): pass", "--markers")
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.coop(backend=None, blocking=None, clock=None, deadlock=None, enabled=True, leaks=None, unjoined=None): run setup, "
            "test and teardown in one task of coopcore*"
        ]
    )
