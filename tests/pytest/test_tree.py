"""The tree of tasks in the report of a failed test."""

from __future__ import annotations

import pytest

from coop_pytest._tree import painted

TREE = """
def child():
    spawn(sleep, 3600)
    Queue().get()

def parent():
    spawn(child)
    spawn(sleep, 0)
    sleep(3600)

@pytest.mark.coop
def test_fails():
    spawn(parent)
    idle()
    assert 1 == 2
"""
SHORT = [
    "*- tasks -*",
    "<Hub 'the epoll hub' 4 tasks, 0 ready>",
    "test_fails (running)",
    "  parent-* (parked for *.* s, waits for the end of its sleep)",
    "    spawned at *test_it.py:* in test_fails",
    "    stands at *test_it.py:* in parent",
    "    child-* (parked for *.* s, waits for Queue.get of <coop_plugins.queue.Queue at * items=0>)",
    "      spawned at *test_it.py:* in parent",
    "      stands at *test_it.py:* in child",
    "      sleep-* (parked for *.* s, waits for the end of its sleep)",
    "        spawned at *test_it.py:* in child",
]


def test_a_failed_test_shows_the_tree(pytester, run):
    result = run(TREE, "--junitxml=out.xml", failed=1)
    result.stdout.fnmatch_lines(SHORT)
    result.stdout.no_fnmatch_line("*File *")
    xml = (pytester.path / "out.xml").read_text()
    assert "waits for Queue.get of" in xml
    assert "\x1b" not in xml
    assert "#x1B" not in xml


def test_with_v_each_has_its_stack(run):
    result = run(TREE, "-v", failed=1)
    result.stdout.fnmatch_lines(
        [
            "    child-* (parked for *.* s, waits for Queue.get of <coop_plugins.queue.Queue at * items=0>)",
            "      spawned at *test_it.py:* in parent",
            '      File "*test_it.py", line *, in child',
            "        Queue().get()",
        ]
    )


def test_an_error_of_a_fixture_shows_it_too(run):
    result = run(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture
        def fixture():
            spawn(sleep, 3600)
        @pytest.fixture
        def early(fixture):
            assert 0, "in setup"

        def test_one(early): pass
        """,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        ["*ERROR at setup of test_one*", "*- tasks -*", "test_one (running)", "  sleep-* (ready)", "    spawned at *test_it.py:* in fixture"]
    )


def test_a_failed_test_case_shows_it_too(run):
    result = run(
        """
        import unittest

        @pytest.mark.coop
        class TestIt(unittest.TestCase):
            def test_one(self):
                spawn(sleep, 3600)
                self.assertEqual(1, 2)
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(
        ["*AssertionError: 1 != 2", "*- tasks -*", "test_one (running)", "  sleep-* (parked for *)", "    spawned at *test_it.py:* in *test_one"]
    )


def test_a_test_alone_shows_none(run):
    run("@pytest.mark.coop\ndef test_it():\n    assert 0", failed=1).stdout.no_fnmatch_line("*- tasks -*")


def test_many_are_cut_short_but_for_v(run):
    source = "@pytest.mark.coop\ndef test_it():\n    tasks = [spawn(sleep, 3600) for _ in range(30)]\n    sleep(0)\n    assert 0"
    result = run(source, failed=1)
    result.stdout.fnmatch_lines(["... and 11 more; -v shows all"])
    run(source, "-v", failed=1).stdout.no_fnmatch_line("*more; -v shows all")


@pytest.mark.parametrize("workers", [(), ("-pxdist", "-n1")])
def test_on_a_terminal_it_has_colours(pytester, run, workers):
    if workers:
        pytest.importorskip("xdist")
    result = run(TREE, "--color=yes", "--junitxml=out.xml", *workers, failed=1)
    result.stdout.fnmatch_lines(["*\x1b[[]1mparent-*\x1b[[]0m (\x1b[[]33mparked for *.* s\x1b[[]0m, waits for the end of its sleep)*"])
    xml = (pytester.path / "out.xml").read_text()
    assert "waits for Queue.get of" in xml
    assert "#x1B" not in xml.partition("waits for Queue.get of")[2]


def test_painted():
    assert painted("  a (b) (parked for 1.00 s, waits for c)\n    spawned at d\nother") == (
        "  \x1b[1ma (b)\x1b[0m (\x1b[33mparked for 1.00 s\x1b[0m, waits for c)\n\x1b[2m    spawned at d\x1b[0m\nother"
    )


def test_a_deadlock_has_its_cycle_and_no_tree(run):
    result = run(
        """
        from coop_plugins.lock import Lock

        @pytest.mark.coop(leaks=False)
        def test_it():
            one, other = Lock(), Lock()

            def take(first, second):
                with first:
                    sleep(0.001)
                    with second:
                        pass

            tasks = [spawn(take, one, other), spawn(take, other, one)]
            coopcore.joinall(tasks)
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(
        [
            "E       coopcore.errors.Deadlock: nothing can ever run again on the epoll hub. 3 tasks are parked, and no timer, descriptor, thread, child "
            "process or signal handler can wake one:",
            "E         test_it waits for the end of 2 of 2 tasks: *take-*, *take-*",
            "E         *take-* waits for <locked coop_plugins.lock.Lock object at *>, held by *take-*",
            "E       They wait for each other in a cycle:",
            "E         *take-* waits for <locked coop_plugins.lock.Lock object at *>, which is up to *take-*",
            "E         *take-* waits for <locked coop_plugins.lock.Lock object at *>, which is up to *take-*",
            "E       Next step: take locks in one order everywhere; *",
        ]
    )
    result.stdout.no_fnmatch_line("*- tasks -*")
