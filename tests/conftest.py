"""What all tests share: the marks `slow` and `soak`, a watch over slow tests, and where the source tree is.

A test that takes more than a second says why: ``@pytest.mark.slow(reason="...")``. One that doesn't is listed at the end of the run by its wall time, and fails
by its CPU time, which a busy machine disturbs far less, once that passes two seconds; or more, where the processor is slower, or shared. Tests that take
minutes carry ``soak``, and ``COOP_SOAK_SECONDS=180`` makes of them a sample, whose order ``COOP_SOAK_SEED`` gives back.
"""

from __future__ import annotations

import codecs
import gc
import locale
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Generator
from math import isfinite
from pathlib import Path

import pytest

LISTED = 1.0  # seconds of wall time
REFUSED = 2.0  # seconds of CPU time, on a machine that counts
COUNTED = 0.03  # seconds to two million
TREE = Path(__file__).resolve().parent.parent

# The only built-in plugins that may be imported, if this is set; tests/house/test_standing_alone.py does so.
ONLY = os.environ.get("COOP_TEST_ONLY", "").split()


class _OnlyThese:
    """Stands before Python's own finders, and finds no other plugin."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        package, _, rest = name.partition(".")
        if package == "coop_plugins" and rest and rest.split(".")[0] not in ONLY:
            raise ModuleNotFoundError(f"{name} is blocked: these tests must do with {', '.join(ONLY)}", name=name)


if ONLY:
    sys.meta_path.insert(0, _OnlyThese)  # type: ignore[arg-type]  # all of a finder that is ever called

# Programs that tests start colour no traceback, though FORCE_COLOR be set.
os.environ["PYTHON_COLORS"] = "0"

# Libraries and servers that tests use have the settings that the tests give them, no proxy stands before them, and programs import what lies beside them.
SETTINGS = {"ALL_PROXY", "FORWARDED_ALLOW_IPS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PORT", "PYTHONSAFEPATH", "SSLKEYLOGFILE", "WEB_CONCURRENCY"}
for name in [name for name in os.environ if name.upper() in SETTINGS or name.startswith(("DJANGO_", "FLASK_", "GUNICORN_", "PG", "WERKZEUG_"))]:
    del os.environ[name]

# Files here are in UTF-8, and so is what programs print that tests start, though the locale be another.
if codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
    os.environ["PYTHONUTF8"] = "1"
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")

# The path of a Unix socket has 107 bytes at most, of which pytest's own folders take more than seventy.
if len(tempfile.gettempdir()) > 24 and os.access("/tmp", os.W_OK | os.X_OK):
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"

# A background job of a shell ignores Ctrl-C, and so would every process that the tests start and interrupt. Where the ends of children are ignored, nobody
# gets to know how they ended.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

# A sample of the soak tests: none begins when this many seconds of the run are over. They come in another order each time, so that each has its day.
SOAK_SECONDS = float(os.environ.get("COOP_SOAK_SECONDS", "inf"))
SOAK_SEED = os.environ.setdefault("COOP_SOAK_SEED", str(time.time_ns() // 1000 % 100_000))  # processes of one run inherit it
_began = time.monotonic()

_slow: list[tuple[float, float, str]] = []


def _is_traced() -> bool:
    """Under coverage or a debugger, which multiply CPU time."""
    coverage = sys.modules.get("coverage")
    return sys.gettrace() is not None or (coverage is not None and coverage.Coverage.current() is not None)


def _slowness() -> float:
    """How many times as long as on the machine for which `REFUSED` was chosen does a piece of work take here, now? One at least."""
    began = time.thread_time()
    for _ in range(2_000_000):
        pass
    return max((time.thread_time() - began) / COUNTED, 1.0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker("slow")
        if mark is not None and not (mark.kwargs.get("reason") or mark.args):
            raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.slow needs a reason: @pytest.mark.slow(reason='...')")
    if isfinite(SOAK_SECONDS):
        soaking = [place for place, item in enumerate(items) if item.get_closest_marker("soak")]
        mixed = random.Random(SOAK_SEED).sample(soaking, len(soaking))
        for place, item in zip(soaking, [items[other] for other in mixed], strict=True):
            items[place] = item


def pytest_collection_finish() -> None:
    """What there is by now stays: ten thousand tests and all modules, which each collection that a test asks for would go through, for a fifth of a second."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("soak") and time.monotonic() - _began > SOAK_SECONDS:
        pytest.skip(f"not in this sample: COOP_SOAK_SECONDS={SOAK_SECONDS:g} are over")


def pytest_report_header() -> str | None:
    return f"a sample of the soak tests: {SOAK_SECONDS:g} s, in the order of COOP_SOAK_SEED={SOAK_SEED}" if isfinite(SOAK_SECONDS) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    wall, cpu = time.monotonic(), time.process_time()
    result = yield
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    if item.get_closest_marker("slow") or item.get_closest_marker("soak") or _is_traced():
        return result
    if wall > LISTED:
        _slow.append((wall, cpu, item.nodeid))
    if cpu > REFUSED and cpu > REFUSED * _slowness():
        pytest.fail(f"took {cpu:.1f} s of CPU time, {wall:.1f} s in all. Make it cheaper, or mark it: @pytest.mark.slow(reason='...')", pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _slow:
        terminalreporter.section("more than a second, without a slow mark")
        for wall, cpu, nodeid in sorted(_slow, reverse=True):
            terminalreporter.line(f"{wall:6.2f} s, {cpu:6.2f} of CPU time: {nodeid}")


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the source tree, or of the unpacked sdist: README.md, docs, examples and tests stand there."""
    return TREE


@pytest.fixture
def ipv6() -> None:
    """For a test that needs IPv6 on the loopback, which containers often lack."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 on the loopback here: {error}")
