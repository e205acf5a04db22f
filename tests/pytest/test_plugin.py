"""The invariants of coop_pytest._plugin, and what goes with each."""

from __future__ import annotations

import pytest

# -- 1. Setup, call and teardown of a marked test, and every fixture made for it, run in one task -----------------------------


def test_invariant_1_one_task(run):
    run(
        """
        seen = []

        @pytest.fixture(scope="module", autouse=True)
        def wide():
            seen.append(current_task())
            sleep(0.001)
            yield
            sleep(0.001)
            seen.append(current_task())
            assert len(seen) == 5 and len(set(seen)) == 1, seen

        @pytest.fixture
        def narrow():
            seen.append(current_task())
            sleep(0.001)
            yield
            sleep(0.001)
            seen.append(current_task())

        @pytest.mark.coop
        def test_one(narrow):
            sleep(0.001)
            seen.append(current_task())
            assert current_task() is not current_task().hub.root
        """,
        passed=1,
    )


def test_context_variables_of_a_fixture_are_seen_by_the_test_and_not_by_the_next(run):
    run(
        """
        from contextvars import ContextVar
        var = ContextVar("var", default="unset")
        pytestmark = pytest.mark.coop

        @pytest.fixture
        def setting():
            var.set("by the fixture")
            yield
            assert var.get() == "by the test"

        def test_one(setting):
            assert var.get() == "by the fixture"
            var.set("by the test")

        def test_two():
            assert var.get() == "unset"
        """,
        passed=2,
    )


def test_marks_on_classes_modules_and_unittest(run):
    run(
        """
        import unittest

        import greenlet
        home = greenlet.getcurrent()

        def in_task():
            return greenlet.getcurrent() is not home and current_task().hub.main is current_task()

        @pytest.mark.coop
        class TestPlain:
            def setup_method(self):
                sleep(0.001)
                self.task = current_task()

            def test_in_class(self):
                assert in_task() and current_task() is self.task

        @pytest.mark.coop
        class TestCase(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                sleep(0.001)

            def setUp(self):
                sleep(0.001)
                self.task = current_task()

            def tearDown(self):
                sleep(0.001)
                assert current_task() is self.task

            def test_in_case(self):
                assert in_task() and current_task() is self.task

            def test_fails(self):
                sleep(0.001)
                self.assertEqual(1, 2)

            def test_skips(self):
                self.skipTest("not now")

        class TestUnmarked:
            def test_outside(self):
                assert greenlet.getcurrent() is home
        """,
        passed=3,
        failed=1,
        skipped=1,
    )


def test_a_protocol_of_another_plugin_runs_in_the_task(pytester, run):
    pytester.makeconftest(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for report in runtestprotocol(item, nextitem=nextitem, log=False):
                report.sections.append(("seen", "by the other plugin"))
                item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            return True
        """
    )
    result = run(
        """
        @pytest.mark.coop
        def test_it():
            sleep(0)
            assert current_task() is current_task().hub.main, "not the test's task"
            assert 0
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(["*assert 0", "*by the other plugin*"])


def test_a_protocol_that_comes_before_ours_is_a_clear_error(pytester, run):
    pytester.makeconftest(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(wrapper=True, trylast=True)
        def pytest_collection_finish(session):
            yield
            session.config.pluginmanager.register(Late())

        class Late:
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_protocol(self, item, nextitem):
                runtestprotocol(item, nextitem=nextitem)
                return True
        """
    )
    result = run("@pytest.mark.coop\ndef test_it(): pass", errors=1)
    result.stdout.fnmatch_lines(["*is marked coop, but does not run in a task: another plugin has taken over pytest_runtest_protocol before this one.*"])


# -- 2. Nothing of an unmarked test runs in a task ----------------------------------------------------------------------------


def test_invariant_2_unmarked_tests_notice_nothing(run):
    pytest.importorskip("pytest_timeout")
    run(
        """
        import greenlet, signal
        home = greenlet.getcurrent()
        task_before = getattr(home, "task", None)
        before = signal.getsignal(signal.SIGALRM)

        @pytest.fixture
        def place():
            here = greenlet.getcurrent()
            yield here
            assert greenlet.getcurrent() is here

        def test_before(place):
            assert place is home and getattr(home, "task", None) is task_before

        @pytest.mark.coop
        @pytest.mark.timeout(5)
        def test_marked(place):
            assert place is not home

        def test_after(place):
            assert place is home and getattr(home, "task", None) is task_before
            assert signal.getsignal(signal.SIGALRM) == before
        """,
        passed=3,
    )


@pytest.mark.slow(reason="a session of its own")
def test_unmarked_tests_keep_their_own_implicit_hub(run_apart):
    run_apart(
        """
        def test_before():
            global hub, ticker
            ticker = spawn(sleep, 3600)
            sleep(0)
            hub = coopcore.get_hub()

        @pytest.mark.coop
        def test_marked():
            sleep(0)
            assert coopcore.get_hub() is not hub

        def test_after():
            assert coopcore.get_hub() is hub and not ticker.dead
            ticker.kill()
        """,
        passed=3,
    )


# -- 3. A failed task fails the test, once -------------------------------------------------------------------------------------

BOOM = """
def boom(what="boom"):
    raise ValueError(what)

pytestmark = pytest.mark.coop
"""


def test_invariant_3_a_failed_task_fails_the_test(run):
    result = run(
        BOOM
        + """
def test_dropped():
    spawn(boom)
    sleep(0.001)

def test_referred_to():
    task = spawn(boom)
    sleep(0.001)

kept = []
def test_kept_by_a_global():
    kept.append(spawn(boom))
    sleep(0.001)

def test_next():
    pass
""",
        failed=3,
        passed=1,
    )
    for name in ("test_dropped", "test_referred_to", "test_kept_by_a_global"):
        result.stdout.fnmatch_lines([f"E *TaskFailed: task 'boom-*', spawned at *test_it.py:* in {name}, failed, and nobody joined it: ValueError: boom"])
    result.stdout.fnmatch_lines([">       raise ValueError(what)", "test_it.py:*: TaskFailed"])


def test_a_joined_failure_is_none(run):
    run(
        BOOM
        + """
def test_get():
    with pytest.raises(ValueError, match="boom"):
        spawn(boom).get()

def test_join():
    spawn(boom).join()

def test_joinall():
    with pytest.raises(ValueError, match="boom"):
        coopcore.joinall([spawn(boom)], raise_error=True)
""",
        passed=3,
    )


def test_several_failures_are_all_told(run):
    result = run(
        BOOM
        + """
def test_two():
    spawn(boom, "first")
    spawn(boom, "second")
    sleep(0.001)
""",
        failed=1,
    )
    result.stdout.fnmatch_lines(
        ["*failed, and nobody joined it: ValueError: first", "*1 more failed:", "*failed, and nobody joined it:", "*ValueError: second"]
    )


def test_of_a_great_many_failures_the_first_are_told(run):
    result = run(
        BOOM
        + """
def test_many():
    for number in range(100):
        spawn(boom, number)
    sleep(0.001)

def test_beside():
    test_many()
    raise KeyError
""",
        failed=2,
    )
    told = [line for line in result.outlines if "ValueError: " in line]
    assert [line.rpartition(": ")[2] for line in told] == [str(number) for number in [*range(11), *range(10)]]
    assert [line.lstrip("E ") for line in result.outlines if " more" in line] == ["99 more failed:", "... and 89 more", "... and 90 more"]


def test_a_failed_task_beside_a_failed_test_is_in_the_report_and_in_the_junit_file(pytester, run):
    result = run(
        BOOM
        + """
def test_both():
    spawn(boom)
    sleep(0.001)
    assert 1 == 2
""",
        "--junitxml=out.xml",
        failed=1,
    )
    result.stdout.fnmatch_lines(["E       assert 1 == 2", "*- failed tasks -*", "task 'boom-*failed, and nobody joined it:", "ValueError: boom"])
    xml = (pytester.path / "out.xml").read_text()
    assert "ValueError: boom" in xml
    assert "failed, and nobody joined it" in xml


def test_a_failure_that_the_fixture_joins_at_the_end_is_the_fixtures(run):
    result = run(
        BOOM
        + """
@pytest.fixture
def worker():
    task = spawn(boom)
    yield task
    with pytest.raises(ValueError):
        task.get()

def test_it(worker):
    sleep(0.001)

@pytest.fixture
def careless():
    task = spawn(boom)
    yield task

def test_that(careless):
    sleep(0.001)
""",
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_that*", "E *spawned at * in careless, failed, and nobody joined it: ValueError: boom"])


def test_system_exit_in_a_task_fails_the_test(run):
    result = run(
        BOOM
        + """
def test_it():
    spawn(exit, 3)
    sleep(1)

def test_next():
    sleep(0)
""",
        failed=1,
        passed=1,
    )
    result.stdout.fnmatch_lines(["E *SystemExit: 3"])


# -- 4. No task outlives its owner ---------------------------------------------------------------------------------------------


def test_invariant_4_what_a_test_started_is_killed_at_its_end(run):
    run(
        """
        pytestmark = pytest.mark.coop
        ended = []

        def forever(name):
            try:
                sleep(3600)
            finally:
                sleep(0.001)
                ended.append(name)

        def start_another(name):
            spawn(forever, name)

        @pytest.fixture(scope="module")
        def wide():
            spawn(forever, "wide")

        @pytest.fixture
        def narrow():
            spawn(forever, "narrow")
            yield
            assert not ended

        def test_leaves_some(wide, narrow):
            spawn(forever, "test")
            spawn(start_another, "grandchild")
            spawn(sleep, 0).link(lambda _: forever("linked"))
            idle()

        def test_next(wide):
            assert sorted(ended) == ["grandchild", "linked", "narrow", "test"]
            assert len(current_task().hub.tasks()) == 2

        def test_last():
            assert len(current_task().hub.tasks()) == 2
        """,
        passed=3,
    )


def test_what_is_started_by_the_end_of_another_is_killed_too(run):
    run(
        """
        pytestmark = pytest.mark.coop

        def forever():
            sleep(3600)

        def starts_another_at_its_end(n):
            try:
                sleep(3600)
            finally:
                spawn(starts_another_at_its_end, n - 1) if n else spawn(forever).link(lambda _: forever())

        def test_it():
            spawn(starts_another_at_its_end, 3)
            sleep(0)

        def test_next():
            assert current_task().hub.tasks() == [current_task()]
        """,
        passed=2,
    )


def test_tasks_without_end_are_named(run):
    result = run(
        """
        def for_ever_anew():
            try:
                sleep(3600)
            finally:
                if not stop:
                    spawn(for_ever_anew)

        stop = []

        @pytest.mark.coop
        def test_it():
            spawn(for_ever_anew)
            sleep(0)

        @pytest.mark.coop
        def test_next():
            stop.append(1)
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["1 task(s) of this test did not end when they were killed: 'for_ever_anew-*"])


def test_tasks_of_a_module_fixture_end_with_it(pytester, run):
    pytester.makepyfile(
        test_a="""
        import pytest
        from coopcore import sleep, spawn
        ended = []

        def forever():
            try:
                sleep(3600)
            finally:
                ended.append("module")

        @pytest.fixture(scope="module")
        def wide():
            spawn(forever)

        @pytest.mark.coop
        def test_one(wide):
            sleep(0.001)
        """
    )
    run(
        """
        @pytest.mark.coop
        def test_other_module():
            import sys
            assert sys.modules["test_a"].ended == ["module"]
            assert current_task().hub.tasks() == [current_task()]
        """,
        passed=2,
    )


def test_a_failure_while_being_killed_is_told(run):
    result = run(
        """
        def bad():
            try:
                sleep(3600)
            finally:
                raise ValueError("in its finally")

        @pytest.mark.coop
        def test_it():
            spawn(bad)
            sleep(0.001)

        @pytest.mark.coop
        def test_next():
            pass
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "E *in test_it, failed, and nobody joined it: ValueError: in its finally"])


def test_a_task_that_does_not_die_is_named(run, monkeypatch):
    monkeypatch.setattr("coop_pytest._tasks.KILL_TIMEOUT", 0.02)
    result = run(
        """
        stop = []

        def stubborn():
            while not stop:
                try:
                    sleep(3600)
                except coopcore.TaskExit:
                    pass

        @pytest.mark.coop
        def test_it():
            spawn(stubborn)
            sleep(0.001)

        @pytest.mark.coop
        def test_next():
            stop.append(1)
            for task in current_task().hub.tasks():
                if task is not current_task():
                    task.kill(timeout=30)
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["1 task(s) of this test did not end when they were killed: 'stubborn-*' (spawned at * in test_it, waits for *sleep*).*"])


# -- 5. Whatever the test raises, the next one runs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["raise coopcore.TaskExit", "current_task().kill()", "raise SystemExit(2)", "raise BaseException('bare')", "pytest.fail('so')"]
)
def test_invariant_5_the_next_test_runs(run, what):
    run(
        f"""
        pytestmark = pytest.mark.coop
        ended = []

        @pytest.fixture
        def fixture():
            yield
            sleep(0.001)
            ended.append(1)

        def test_it(fixture):
            sleep(0)
            {what}

        def test_next():
            sleep(0)
            assert ended
        """,
        failed=1,
        passed=1,
    )


def test_a_fixture_that_fails_is_an_error(run):
    result = run(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture
        def in_setup():
            sleep(0.001)
            raise ValueError("in setup")

        @pytest.fixture
        def in_teardown():
            yield
            sleep(0.001)
            raise ValueError("in teardown")

        def test_one(in_setup):
            assert 0

        def test_two(in_teardown):
            pass

        def test_three():
            sleep(0)
        """,
        passed=2,
        errors=2,
    )
    result.stdout.fnmatch_lines(["*ERROR at setup of test_one*", "E *ValueError: in setup", "*ERROR at teardown of test_two*", "E *ValueError: in teardown"])


def test_the_example_in_the_documentation(run, tree):
    run((tree / "docs" / "pytest.md").read_text().split("```python\n")[1].split("```")[0], passed=1)


# -- deadlocks -----------------------------------------------------------------------------------------------------------------


def test_a_deadlock_is_a_readable_failure(run):
    result = run(
        """
        @pytest.fixture
        def fixture():
            yield
            sleep(0.001)

        @pytest.mark.coop
        def test_it(fixture):
            queue = Queue()
            other = spawn(queue.get)
            queue.get()

        @pytest.mark.coop
        def test_next():
            sleep(0)
        """,
        failed=1,
        passed=1,
    )
    result.stdout.fnmatch_lines(
        [
            ">       queue.get()",
            "E       coopcore.errors.Deadlock: nothing can ever run again on the epoll hub. 2 tasks are parked, *:",
            "E         test_it waits for *Queue*",
            "E           at *test_it.py:* in test_it",
            "E         *get-* waits for *Queue*",
            "E           spawned at *test_it.py:* in test_it by test_it",
            "E       Likely cause: *",
            "test_it.py:*: Deadlock",
        ]
    )
    result.stdout.no_fnmatch_line("E *pluggy*")


def test_full_trace_keeps_every_frame(run):
    result = run(
        """
        @pytest.mark.coop
        def test_it():
            Queue().get()
        """,
        "--full-trace",
        failed=1,
    )
    result.stdout.fnmatch_lines(["*coopcore*_state.py:*"])


def test_a_deadlock_in_a_fixture(run):
    result = run(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture
        def early():
            Queue().get()

        @pytest.fixture
        def late():
            yield
            Queue().get()

        def test_one(early):
            pass

        def test_two(late):
            pass
        """,
        errors=2,
        passed=1,
    )
    assert result.stdout.str().count("E       coopcore.errors.Deadlock: ") == 2
