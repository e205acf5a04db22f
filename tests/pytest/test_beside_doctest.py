"""Doctests: of marked modules, and of all in auto mode, text files too."""

from __future__ import annotations

import pytest


def test_doctests_of_a_marked_module(pytester, run):
    pytester.makepyfile(
        lib='''
        import pytest
        pytestmark = pytest.mark.coop

        def rest():
            """
            >>> import coopcore
            >>> coopcore.sleep(0.001)
            >>> coopcore.current_task() is coopcore.get_hub().root
            False
            """
        '''
    )
    run("def test_plain(): pass", "--doctest-modules", passed=2)


def test_doctests_that_fail_block_and_leave_tasks_behind(pytester, run):
    pytester.makepyfile(
        lib='''
        import pytest
        import coopcore
        pytestmark = pytest.mark.coop

        def boom():
            raise ValueError("boom")

        def right():
            """
            >>> task = coopcore.spawn(coopcore.sleep, 0.001)
            >>> task.join()
            True
            >>> task.dead
            True
            """

        def wrong():
            """
            >>> coopcore.sleep(0.001)
            >>> 1 + 1
            3
            """

        def with_a_failed_task():
            """
            >>> task = coopcore.spawn(boom)
            >>> coopcore.sleep(0.001)
            """

        def with_a_task_that_runs_on():
            """
            >>> _ = coopcore.spawn(coopcore.sleep, 3600)
            """

        def skipped():
            """
            >>> boom()  # doctest: +SKIP
            """
        '''
    )
    result = run("def test_plain(): pass", "--doctest-modules", passed=3, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*_ [[]doctest[]] lib.with_a_failed_task _*",
            "",
            "    def boom():",
            '>       raise ValueError("boom")',
            "E       coop_pytest.TaskFailed: task 'boom-*', spawned at <doctest lib.with_a_failed_task[[]0]>:1 in <module>, failed, and nobody joined it: "
            "ValueError: boom",
            "",
            "lib.py:6: TaskFailed",
            "*_ [[]doctest[]] lib.wrong _*",
            "018 ",
            "019 *>>> coopcore.sleep(0.001)",
            "020 *>>> 1 + 1",
            "Expected:",
            "    3",
            "Got:",
            "    2",
            "",
            "*/lib.py:20: DocTestFailure",
        ],
        consecutive=True,
    )


@pytest.mark.parametrize("args", [(), ("--doctest-continue-on-failure",)], ids=["first", "all"])
def test_what_a_wait_raises_is_told_at_the_line_of_the_doctest(pytester, run, args):
    pytester.makepyfile(
        lib='''
        import pytest
        from coop_plugins.queue import Queue

        pytestmark = pytest.mark.coop

        def stuck():
            """
            >>> Queue().get()
            """
        '''
    )
    result = run("def test_plain(): pass", "--doctest-modules", *args, passed=1, failed=1)
    told = result.outlines[result.outlines.index("Traceback (most recent call last):") :]
    files = [line for line in told if line.startswith("  File ")]
    assert files[-1] == '  File "<doctest lib.stuck[0]>", line 1, in <module>'
    assert told[told.index(files[-1]) + 1].startswith("coopcore.errors.Deadlock: nothing can ever run again on the epoll hub. 1 task is parked")
    assert not any("spawned at" in line for line in told)


def test_text_files_in_auto_mode(pytester, run):
    """Auto mode takes them; in strict mode there is nothing that could be marked."""
    pytester.maketxtfile(test_it=">>> import coopcore\n>>> coopcore.sleep(0.001)\n>>> coopcore.current_task() is coopcore.get_hub().main\nTrue\n")
    run("def test_plain(): sleep(0)", "-ocoop_mode=auto", "--doctest-glob=*.txt", passed=2)


def test_fixtures_of_doctests_run_in_the_task(pytester, run):
    pytester.makeconftest(
        """
        import coopcore, pytest

        @pytest.fixture(autouse=True)
        def task(doctest_namespace):
            coopcore.sleep(0.001)
            doctest_namespace["task"] = coopcore.current_task()
            yield
            coopcore.sleep(0.001)
            assert coopcore.current_task() is doctest_namespace["task"]
        """
    )
    pytester.makepyfile(
        lib='''
        import pytest
        pytestmark = pytest.mark.coop

        def same():
            """
            >>> import coopcore
            >>> coopcore.current_task() is task
            True
            """
        '''
    )
    run("@pytest.mark.coop\ndef test_it(): sleep(0)", "--doctest-modules", passed=2)
