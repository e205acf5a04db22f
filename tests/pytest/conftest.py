"""Inner sessions, with exact counts. Most run in this process; those that end it, or that measure imports, in one of their own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from importlib.util import find_spec

import pytest

# pytester drops what an inner session imported; a second copy of these would not know the first one's hubs.
import coop_plugins.backends.epoll
import coop_plugins.backends.selectors
import coop_plugins.lock
import coop_plugins.queue  # noqa: F401 - as said above
import coop_pytest._plugin  # noqa: F401 - as said above

HEAD = """
import pytest
import coopcore
from coopcore import Task, current_task, sleep, spawn
from coop_plugins.queue import Queue
"""

# What inner sessions have. scripts/pytest_matrix.py runs these tests without pytest-timeout, too.
OURS = ["-pno:cacheprovider", "-pcoop", *(["-ptimeout"] if find_spec("pytest_timeout") else [])]

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def write(pytester: pytest.Pytester) -> Callable[[str], None]:
    """Write the test module of an inner session."""

    def write(source: str) -> None:
        pytester.makepyfile(test_it=HEAD + textwrap.dedent(source))

    return write


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all plugins an inner session has those that it names."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def run(pytester: pytest.Pytester, write: Callable[[str], None]) -> Run:
    """Run an inner session in this process and compare its counts, each of which is zero unless given. It has our plugin and pytest-timeout."""

    def run(source: str, *args: str, **counts: int) -> pytest.RunResult:
        write(source)
        result = pytester.runpytest_inprocess("-Werror", *OURS, *args)
        result.assert_outcomes(**counts)
        return result

    return run


@pytest.fixture
def run_apart(pytester: pytest.Pytester, write: Callable[[str], None]) -> Run:
    """As `run`, in a process of its own."""

    def run(source: str, *args: str, **counts: int) -> pytest.RunResult:
        write(source)
        result = pytester.runpytest_subprocess("-Werror", *OURS, *args, timeout=30)
        if counts:
            result.assert_outcomes(**counts)
        return result

    return run
