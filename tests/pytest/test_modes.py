"""Which tests run in a task: the ini setting coop_mode, and marks that say no."""

from __future__ import annotations

import pytest

WHERE = """
import unittest

import greenlet
home = greenlet.getcurrent()

def in_task():
    return greenlet.getcurrent() is not home
"""

AUTO = "-ocoop_mode=auto"


def test_auto_runs_every_plain_test_in_a_task(run):
    run(
        WHERE
        + """
@pytest.fixture
def place():
    sleep(0.001)
    yield in_task()
    sleep(0.001)

def test_function(place):
    sleep(0.001)
    assert place and in_task()

class TestClass:
    def test_method(self, place):
        assert place and in_task()

class TestCase(unittest.TestCase):
    def setUp(self):
        sleep(0.001)
        assert in_task()

    def test_case(self):
        assert in_task()

def documented():
    '''
    >>> in_task()
    True
    '''
""",
        AUTO,
        "--doctest-modules",
        passed=4,
    )


def test_strict_is_the_default(run):
    run(WHERE + "def test_plain():\n    assert not in_task()\n\n@pytest.mark.coop\ndef test_marked():\n    assert in_task()", passed=2)
    run(WHERE + "def test_plain():\n    assert not in_task()", "-ocoop_mode=strict", passed=1)


def test_auto_leaves_async_tests_to_others(pytester, run):
    pytester.makeconftest(
        """
        import inspect, pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            if inspect.iscoroutinefunction(pyfuncitem.obj):
                try:
                    pyfuncitem.obj().send(None)
                except StopIteration:
                    return True
        """
    )
    run(WHERE + "async def test_async():\n    assert not in_task()\n\ndef test_plain():\n    assert in_task()", AUTO, passed=2)


def test_auto_leaves_items_of_other_kinds_alone(pytester, run):
    pytester.makeconftest(
        """
        import greenlet, pytest
        home = greenlet.getcurrent()

        class Item(pytest.Item):
            def runtest(self):
                assert greenlet.getcurrent() is home

        class File(pytest.File):
            def collect(self):
                yield Item.from_parent(self, name="item")

        def pytest_collect_file(file_path, parent):
            return File.from_parent(parent, path=file_path) if file_path.suffix == ".txt" else None
        """
    )
    pytester.path.joinpath("it.txt").write_text("")
    run("def test_plain(): sleep(0)", AUTO, passed=2)


@pytest.mark.parametrize("mode", [AUTO, "-ocoop_mode=strict"])
def test_a_mark_can_say_no(run, mode):
    run(
        WHERE
        + """
pytestmark = pytest.mark.coop(enabled=False)

def test_outside():
    assert not in_task()

async def dummy(): pass

@pytest.mark.coop
def test_the_closest_mark_alone_says_so():
    assert in_task()

@pytest.mark.coop(backend=["epoll", "selectors"], enabled=False)
def test_a_list_is_of_no_use_then():
    assert not in_task()

@pytest.mark.coop(backend="selectors")
class TestClass:
    def test_inside(self):
        assert in_task()

    @pytest.mark.coop(enabled=False)
    def test_outside(self):
        assert not in_task()
""",
        mode,
        passed=5,
    )


def test_a_mark_on_an_async_test_is_an_error_in_auto_mode_too(run):
    result = run("@pytest.mark.coop\nasync def test_async(): pass", AUTO, errors=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_async is an `async def` test, but marked coop: its body would need an event loop, and a task has none. "
            "Write it as a plain `def` (calls may block), or leave it to an asyncio plugin: @pytest.mark.coop(enabled=False)."
        ]
    )


def test_a_mode_that_is_none(pytester):
    pytester.makepyfile("def test_plain(): pass")
    result = pytester.runpytest_inprocess("-pcoop", "-ocoop_mode=automatic")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: coop_mode = automatic: there is no such mode; it is strict or auto."])
