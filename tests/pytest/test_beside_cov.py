"""pytest-cov beside ours."""

from __future__ import annotations

import pytest

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
    result = pytester.runpytest_subprocess("-pno:cacheprovider", "-pcoop", "-ppytest_cov", "--cov=lib", "--cov-report=term-missing", timeout=55)
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
