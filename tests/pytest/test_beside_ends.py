"""How a session stops: -x, --maxfail, pytest.exit and Ctrl-C, in the test and in another task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow(reason="each inner session is a process of its own")

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
    result.stdout.fnmatch_lines(["*the test's fixture is finished", "*the session's fixture is finished", "!!!* stopping after 1 failures !!!*"])
    run_apart(SEVERAL.format(what="assert 0"), "--maxfail=2", passed=1, failed=2)


@pytest.mark.parametrize("how", ["pytest.exit('enough', returncode=7)", "spawn(pytest.exit, 'enough', returncode=7); sleep(3600)"])
def test_exit(run_apart, how):
    result = run_apart(SEVERAL.format(what=how), "-s", passed=1)
    assert result.ret == 7
    result.stdout.fnmatch_lines(
        ["*the test's fixture is finished", "*the session's fixture is finished", "=* 1 passed in *", "!!!* _pytest.outcomes.Exit: enough !!!*"]
    )


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
            assert inner.wait(timeout=50) == pytest.ExitCode.INTERRUPTED
        finally:
            inner.kill()  # or the end of the block would wait for a session that has not noticed
    output = "".join(seen)
    told = next(line for line in output.splitlines() if line.endswith(": KeyboardInterrupt"))
    assert "test_it.py:" in told, "and not in coopcore, which has handed it on"
    assert "1 passed in" in output
    assert output.count("the test's fixture is finished") == 2
    assert output.count("the session's fixture is finished") == 1
