"""Debuggers: --pdb and breakpoint() stop in the task, and leave a session that goes on."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.slow(reason="each inner session is a process of its own")


def test_pdb_leaves_a_usable_state(pytester, write):
    write(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture
        def fixture():
            yield
            sleep(0.001)

        @pytest.mark.timeout(50)
        def test_one(fixture):
            local = 41
            sleep(0.001)
            assert 0

        @pytest.mark.timeout(50)
        def test_two(fixture):
            local = 42
            breakpoint()
            sleep(0.001)

        def boom():
            local = 43
            raise ValueError("boom")

        def test_three(fixture):
            spawn(boom)
            sleep(0.001)

        def test_four(fixture):
            sleep(0.001)
        """
    )
    answers = b"p 'local', local\nc\np 'local', local\nc\np 'local', local\nc\n"
    result = pytester.run(sys.executable, "-m", "pytest", "--pdb", "-pno:cacheprovider", "-pcoop", "-ptimeout", stdin=answers, timeout=55)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*('local', 41)", "*('local', 42)", "*('local', 43)"])


def test_the_debugger_stops_in_each_phase_and_in_cases(pytester, write):
    """A fixture's failure, that of its end, a TestCase's, and none at a skip or an expected failure."""
    write(
        """
        import unittest

        pytestmark = pytest.mark.coop

        @pytest.fixture
        def fails():
            local = 51
            sleep(0.001)
            assert 0

        @pytest.fixture
        def fails_at_the_end():
            yield
            local = 52
            sleep(0.001)
            assert 0

        def test_setup(fails):
            pass

        def test_teardown(fails_at_the_end):
            sleep(0.001)

        class TestCase(unittest.TestCase):
            def test_case(self):
                local = 53
                sleep(0.001)
                assert 0

        def test_skip():
            sleep(0.001)
            pytest.skip("now")

        @pytest.mark.xfail
        def test_xfail():
            sleep(0.001)
            assert 0

        def test_last():
            sleep(0.001)
        """
    )
    answers = b"p 'local', local\nc\n" * 3
    result = pytester.run(sys.executable, "-m", "pytest", "--pdb", "-pno:cacheprovider", "-pcoop", stdin=answers, timeout=55)
    result.assert_outcomes(passed=2, failed=1, errors=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*('local', 51)", "*('local', 52)", "*('local', 53)"])
    assert result.stdout.str().count("Entering PDB") + result.stdout.str().count("entering PDB") == 3


def test_other_tasks_stand_still_while_the_debugger_waits(pytester, write):
    """And the debugger's own statements run in the task: they can spawn and wait."""
    write(
        """
        beats = []

        def beat():
            while True:
                beats.append(None)
                sleep(0.0001)

        @pytest.mark.coop(blocking=0.5)
        def test_it():
            spawn(beat)
            sleep(0.001)
            before = len(beats)
            breakpoint()
            after = len(beats)
            assert before == after
        """
    )
    answers = b"import time; time.sleep(0.8)\nc\n"
    result = pytester.run(sys.executable, "-m", "pytest", "-pno:cacheprovider", "-pcoop", stdin=answers, timeout=55)
    result.assert_outcomes(passed=1)
    answers = b"p 'joined', coopcore.spawn(len, 'four').get()\nsleep(0.001)\nc\n"
    result = pytester.run(sys.executable, "-m", "pytest", "-pno:cacheprovider", "-pcoop", stdin=answers, timeout=55)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*('joined', 4)"])


def test_quitting_the_debugger_finishes_fixtures(pytester, write):
    write(
        """
        @pytest.fixture(scope="session", autouse=True)
        def wide():
            task = spawn(sleep, 3600)
            yield
            sleep(0.001)
            task.kill()
            print("the session's fixture is finished")

        @pytest.mark.coop
        def test_it():
            sleep(0.001)
            breakpoint()

        @pytest.mark.coop
        def test_never():
            sleep(0.001)
        """
    )
    result = pytester.run(sys.executable, "-m", "pytest", "-s", "-pno:cacheprovider", "-pcoop", stdin=b"q\n", timeout=55)
    result.stdout.fnmatch_lines(["*the session's fixture is finished", "!!!* _pytest.outcomes.Exit: Quitting debugger !!!*", "=* no tests ran in *"])
    assert result.ret == pytest.ExitCode.INTERRUPTED
