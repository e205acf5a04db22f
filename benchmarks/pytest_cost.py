"""What the pytest plugin costs: ``python -m benchmarks.pytest_cost [--rounds N]``.

* 1,000 empty marked tests, without what their session costs anyhow: CPU time, beside pytest-asyncio, anyio's plugin, pytest-trio, and no plugin. The goal is
  the ratio to pytest-asyncio, at most 1.
* An hour of sleeps in virtual time, one second each, in a marked test; the goal is 50 ms of CPU time for the body of the test.
* What a session without a marked test pays for the plugin: its CPU time with it less that with an empty module for a plugin; the goal is 10 ms. (To name any
  by `-p` has pytest look for it among all that is installed, which a session that finds its plugins by itself does anyhow.)

Every session is a process of its own with the plugins that it needs and no others. All that is compared takes turns, round by round; a ratio is the median of
those of the rounds, anything else the median of the rounds' differences. The status is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

MANY = 1000
EMPTY = """
import pytest

{head}
@pytest.mark.parametrize("number", range({number}))
{function} test_empty(number):
    pass
"""
AN_HOUR = """
import time
import pytest
from coopcore import sleep

@pytest.mark.coop(clock="virtual")
def test_an_hour():
    sleep(0)  # the hub is there
    began = time.process_time()
    for _ in range(3600):
        sleep(1)
    print("milliseconds:", (time.process_time() - began) * 1000)
"""
ON_ASYNCIO = '@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n\n@pytest.mark.anyio'
# The plugin's module, what stands before the test, and how that begins.
PLUGINS = {
    "coopcore": ("coop_pytest", "@pytest.mark.coop", "def"),
    "pytest-asyncio": ("pytest_asyncio.plugin", "@pytest.mark.asyncio", "async def"),
    "anyio": ("anyio.pytest_plugin", ON_ASYNCIO, "async def"),
    "pytest-trio": ("pytest_trio.plugin", "@pytest.mark.trio", "async def"),
    "none": ("", "", "def"),
}
NOTHING = "nothing"  # an empty module


def session(source: str, plugin: str = "") -> tuple[float, str]:
    """Run tests in a process of their own. Returns the seconds of CPU time that it took, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_it.py").write_text(source)
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        Path(folder, f"{NOTHING}.py").touch()
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *(["-p", plugin] if plugin else []), "test_it.py"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each session would compile what others find compiled
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"a session of the benchmark failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def tests_alone(name: str) -> float:
    """Microseconds of CPU time for each of many empty tests."""
    plugin, head, function = PLUGINS[name]
    few, _ = session(EMPTY.format(head=head, function=function, number=1), plugin)
    many, _ = session(EMPTY.format(head=head, function=function, number=MANY + 1), plugin)
    return (many - few) / MANY * 1e6


def an_hour() -> float:
    """Milliseconds of CPU time for an hour of virtual sleeps."""
    _, printed = session(AN_HOUR, "coop_pytest")
    return float(printed.partition("milliseconds: ")[2].split()[0].rstrip("."))


def unmarked() -> float:
    """Milliseconds of CPU time that the plugin adds to a session which has no use for it."""
    plain = EMPTY.format(head="", function="def", number=1)
    with_it, _ = session(plain, "coop_pytest")
    without_it, _ = session(plain, NOTHING)
    return (with_it - without_it) * 1000


def compare(rounds: int) -> bool:
    names = [name for name, (plugin, _, _) in PLUGINS.items() if not plugin or find_spec(plugin.partition(".")[0])]
    taken = [{name: tests_alone(name) for name in names} for _ in range(rounds)]
    missed = False
    for name in names:
        ratios = [times["coopcore"] / times[name] for times in taken]
        goal = name == "pytest-asyncio"
        missed |= goal and statistics.median(ratios) > 1
        label = name if name in ("none", "coopcore") else f"{name} {version(name)}"
        print(
            f"an empty test, {label:22} {statistics.median(times[name] for times in taken):7.0f} us   coopcore / this: {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} - {max(ratios):.2f}){'  goal: 1' if goal else ''}",
            flush=True,
        )
    return missed


def hold(label: str, measure: Callable[[], float], rounds: int, goal: float) -> bool:
    taken = [measure() for _ in range(rounds)]
    middle = statistics.median(taken)
    print(f"{label:37} {middle:7.1f} ms   ({min(taken):.1f} - {max(taken):.1f})  goal: {goal:g}{'  missed' if middle > goal else ''}", flush=True)
    return middle > goal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, pytest {version('pytest')}, {rounds} rounds, CPU time")
    missed = [
        compare(rounds),
        hold("an hour of virtual sleeps", an_hour, rounds, 50),
        hold("a session without a marked test", unmarked, 3 * rounds, 10),
    ]
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
