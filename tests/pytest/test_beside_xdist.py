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
