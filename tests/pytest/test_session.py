"""Whole sessions: how they stop, what they import, and other plugins beside ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow(reason="each inner session is a process of its own")

MARKED = """
@pytest.mark.coop
def test_marked():
    sleep(0.001)
"""


# -- what it costs, and turning it off -------------------------------------------------------------------------------------------


def imported_after(pytester, *args):
    """The names of our modules after an inner session."""
    script = pytester.makepyfile(
        session=f"""
        import sys, pytest
        status = pytest.main({["-q", "-Werror", "-pno:cacheprovider", "-pcoop", *args]!r})
        print("status", int(status))
        print("imported", sorted(name for name in sys.modules if name.partition(".")[0] in ("coopcore", "coop_plugins", "coop_pytest")))
        """
    )
    return pytester.runpython(script)


def test_without_a_marked_test_next_to_nothing_is_imported(pytester):
    pytester.makepyfile(test_it="def test_plain(): pass")
    imported_after(pytester, "test_it.py").stdout.fnmatch_lines(["status 0", "imported ['coop_pytest', 'coop_pytest.fixtures']"])


def test_turned_off_the_mark_is_unknown(pytester):
    pytester.makepyfile(test_it="import pytest\n\n@pytest.mark.coop\ndef test_it():\n    import greenlet\n    assert greenlet.getcurrent().parent is None")
    result = pytester.runpytest_subprocess("-pno:coop", "-pno:cacheprovider")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*PytestUnknownMarkWarning: Unknown pytest.mark.coop*"])


def test_collecting_alone_makes_no_hub(pytester, write):
    write(MARKED)
    result = pytester.runpytest_subprocess("--collect-only", "-q", "-pno:cacheprovider", "-pcoop")
    result.stdout.fnmatch_lines(["test_it.py::test_marked"])


# -- how sessions stop -----------------------------------------------------------------------------------------------------------

SEVERAL = """
pytestmark = pytest.mark.coop

@pytest.fixture(scope="session", autouse=True)
def wide():
    task = spawn(sleep, 3600)
    yield
    sleep(0.001)
    task.kill()
    print("the session's fixture is finished")

@pytest.fixture(autouse=True)
def narrow():
    yield
    sleep(0.001)
    print("the test's fixture is finished")

def test_one():
    sleep(0.001)

def test_two():
    sleep(0.001)
    {what}

def test_three():
    sleep(0.001)
    assert 0

def test_four():
    sleep(0.001)
"""


def test_exitfirst_and_maxfail(run_apart):
    result = run_apart(SEVERAL.format(what="assert 0"), "-s", "-x", passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the test's fixture is finished", "*the session's fixture is finished"])
    run_apart(SEVERAL.format(what="assert 0"), "--maxfail=2", passed=1, failed=2)


@pytest.mark.parametrize("how", ["pytest.exit('enough', returncode=7)", "spawn(pytest.exit, 'enough', returncode=7); sleep(3600)"])
def test_exit(run_apart, how):
    result = run_apart(SEVERAL.format(what=how), "-s", passed=1)
    assert result.ret == 7
    result.stdout.fnmatch_lines(["*the test's fixture is finished", "*the session's fixture is finished", "*Exit: enough*"])


@pytest.mark.parametrize("where", ["now(); sleep(3600)", "spawn(busy); sleep(3600)", "busy()", "now(); spawn(sleep, 3600); Queue().get()"])
def test_ctrl_c(pytester, write, where):
    """In the hub, in another task's code, in the test's own code, in a plugin's wait."""
    # A task that never lets the hub run says "now" itself: a Ctrl-C that comes before it runs would wait for the hub.
    write(
        "import time\n\ndef now():\n    print('now', flush=True)\n\ndef busy():\n    now()\n    time.sleep(3600)\n\n"
        + textwrap.dedent(SEVERAL).format(what=where)
    )
    command = [sys.executable, "-m", "pytest", "-s", "-pno:cacheprovider", "-pcoop"]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as inner:
        assert inner.stdout is not None
        seen = []
        try:
            for line in inner.stdout:
                seen.append(line)
                if line.rstrip().endswith("now"):
                    inner.send_signal(signal.SIGINT)
            assert inner.wait(timeout=20) == pytest.ExitCode.INTERRUPTED
        finally:
            inner.kill()  # or the end of the block would wait for a session that has not noticed
    output = "".join(seen)
    assert "KeyboardInterrupt" in output
    assert "1 passed in" in output
    assert output.count("the test's fixture is finished") == 2
    assert output.count("the session's fixture is finished") == 1


def test_pdb_leaves_a_usable_state(pytester, write):
    write(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture
        def fixture():
            yield
            sleep(0.001)

        @pytest.mark.timeout(5)
        def test_one(fixture):
            local = 41
            sleep(0.001)
            assert 0

        @pytest.mark.timeout(5)
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
    result = pytester.run(sys.executable, "-m", "pytest", "--pdb", "-pno:cacheprovider", "-pcoop", "-ptimeout", stdin=answers, timeout=30)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*('local', 41)", "*('local', 42)", "*('local', 43)"])


# -- beside other plugins ----------------------------------------------------------------------------------------------------------


def test_xdist(run_apart):
    pytest.importorskip("xdist")
    result = run_apart(
        """
        pytestmark = pytest.mark.coop

        @pytest.mark.parametrize("n", range(10))
        def test_many(n):
            sleep(0.001)

        @pytest.mark.timeout(0.2)
        def test_stuck():
            spawn(sleep, 3600)
            Queue().get()

        def test_failed_task():
            spawn(int, "x")
            sleep(0.001)
            assert 0
        """,
        "-pxdist",
        "-n2",
        passed=10,
        failed=2,
    )
    result.stdout.fnmatch_lines(["E *Timeout (>0.2s) from pytest-timeout."])
    result.stdout.fnmatch_lines(["*- failed tasks -*", "ValueError: invalid literal for int() with base 10: 'x'"])


COVERED = """
from coopcore import sleep, spawn

def before_and_after():
    x = 1
    sleep(0.001)
    x = 2
    return x

def in_a_task():
    return spawn(before_and_after).get()

def never():
    return 3
"""


def cover(pytester, write, config):
    pytester.makepyfile(lib=COVERED)
    (pytester.path / ".coveragerc").write_text(config)
    write(
        """
        import lib

        @pytest.fixture
        def fixture():
            yield lib.before_and_after()

        @pytest.mark.coop
        def test_it(fixture):
            assert lib.in_a_task() == 2
        """
    )
    result = pytester.runpytest_subprocess("-pno:cacheprovider", "-pcoop", "-ppytest_cov", "--cov=lib", "--cov-report=term-missing", timeout=30)
    return result


def test_cov(pytester, write):
    pytest.importorskip("pytest_cov")
    result = cover(pytester, write, "[run]\nconcurrency = greenlet\ncore = ctrace\n")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["lib.py * 10 * 1 * 90% * 13"])


def test_cov_that_would_miss_lines_is_told(pytester, write):
    pytest.importorskip("pytest_cov")
    result = cover(pytester, write, "[run]\ncore = ctrace\n")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*PytestConfigWarning: coverage is not told of greenlets, and will miss lines that run in tasks. Set concurrency = greenlet *"]
    )


def test_without_pytest_timeout(run_apart):
    run_apart(MARKED, "-pno:timeout", passed=1)


def test_a_marked_session_leaves_nothing_behind(run_apart):
    """No stray warning, no traceback on stderr, with tasks of a session fixture alive to the end."""
    result = run_apart(
        """
        pytestmark = pytest.mark.coop(backend=["epoll", "selectors"])

        def forever():
            try:
                sleep(3600)
            finally:
                sleep(0.001)
                print("ended")

        @pytest.fixture(scope="module")
        def start():
            yield lambda: spawn(forever)

        def test_it(start):
            start()
            sleep(0.001)
        """,
        "-s",
        passed=2,
    )
    assert result.stdout.str().count("ended") == 2
    assert not result.stderr.str()
