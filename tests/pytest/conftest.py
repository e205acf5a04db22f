"""Inner sessions, with exact counts. Most run in this process; those that end it, or that measure imports, in one of their own."""

from __future__ import annotations

import _thread
import re
import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

# pytester drops what an inner session imported; a second copy of these would not know the first one's hubs.
import coop_plugins.backends.epoll
import coop_plugins.backends.selectors
import coop_plugins.lock
import coop_plugins.queue  # noqa: F401 - as said above
import coop_pytest._plugin  # noqa: F401 - as said above
from coop_pytest import _blocking

HEAD = """
import pytest
import coopcore
from coopcore import Task, current_task, idle, sleep, spawn
from coop_plugins.queue import Queue

def over(request):
    '''The time that pytest-timeout gives this test is over now, however long it took to come here.'''
    (dog,) = [dog for plugin in request.config.pluginmanager.get_plugins() if hasattr(dog := getattr(plugin, "_watchdog", None), "settings")]
    dog._drop_thread()
    dog._set(0.000001)
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


@pytest.fixture
def in_the_source() -> Callable[[str], str]:
    """Turns each line number of the inner session's test module into that in its source, whose first line is 1."""
    before = HEAD.lstrip().count("\n")
    return lambda text: re.sub(r'(test_it\.py(?::|", line ))(\d+)', lambda match: f"{match[1]}{int(match[2]) - before}", text)


@pytest.fixture(autouse=True)
def the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all plugins an inner session has those that it names, and it prints the same wherever it runs: in CI, pytest's summary has each message whole, and
    other variables set the width, the colours, the debugger and the time that a test may take."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("CI", "BUILD_NUMBER", "COLUMNS", "FORCE_COLOR", "PYTEST_PLUGINS", "PYTEST_TIMEOUT", "PYTHONBREAKPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(pytester: pytest.Pytester, write: Callable[[str], None]) -> Run:
    """Run an inner session in this process and compare its counts, each of which is zero unless given. Without any nothing is compared. It has our plugin and
    pytest-timeout."""

    def run(source: str, *args: str, **counts: int) -> pytest.RunResult:
        write(source)
        result = pytester.runpytest_inprocess("-Werror", *OURS, *args)
        if counts:
            result.assert_outcomes(**counts)
        return result

    return run


@pytest.fixture
def run_apart(pytester: pytest.Pytester, write: Callable[[str], None]) -> Run:
    """As `run`, in a process of its own."""

    def run(source: str, *args: str, **counts: int) -> pytest.RunResult:
        write(source)
        result = pytester.runpytest_subprocess("-Werror", *OURS, *args, timeout=55)
        if counts:
            result.assert_outcomes(**counts)
        return result

    return run


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lock that is held until a call that blocks is found, for an inner session: `from coop_pytest._blocking import found`. What waits for it blocks for as
    long as it takes to be found, on a busy machine too."""
    lock = _thread.allocate_lock()
    lock.acquire()

    class Found(_blocking.Blocked):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if lock.locked():
                lock.release()

    monkeypatch.setattr(_blocking, "Blocked", Found)
    monkeypatch.setattr(_blocking, "found", lock, raising=False)
    return lock
