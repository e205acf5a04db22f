"""Debuggers: --pdb and breakpoint() stop in the task, and leave a session that goes on."""

from __future__ import annotations

import sys


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
