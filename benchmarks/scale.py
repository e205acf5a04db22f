"""What grows with the number of tasks: ``python -m benchmarks.scale``. The cost of a timer among few and among many, and the memory of a parked task.

Each figure comes from a process of its own. Timers that fire are those of `spawn_later`, so that no stack is measured with them, without and with Python's
collector, which walks all objects again and again while their number grows; those that are closed are Timeouts, set and closed while as many others are
pending. The memory is the growth of the resident set with ``PARKED`` tasks that wait for one event. Goals: a timer among a million costs less than 1.5 times
what it costs among a thousand; a parked task takes no more than with gevent.
"""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from time import process_time_ns

from . import libraries

TIMERS = (1_000, 10_000, 100_000, 1_000_000)
MOST_GROWTH = 1.5
PARKED = 20_000
ROUNDS = 3


def fire(count: int) -> float:
    """Nanoseconds of CPU time for each of ``count`` timers that are set, wait together, and fire."""
    from coopcore import joinall, spawn, spawn_later

    def wave() -> None:
        until_all_are_set = count * 5e-6
        joinall([spawn_later(until_all_are_set + number * 1e-6, _nothing) for number in range(count)])

    laps = max(20_000 // count, 1)
    spawn(wave).get()
    started = process_time_ns()
    for _ in range(laps):
        spawn(wave).get()
    return (process_time_ns() - started) / (laps * count)


def fire_uncollected(count: int) -> float:
    """As `fire`, with the collector off."""
    gc.disable()
    return fire(count)


def close(count: int) -> float:
    """Nanoseconds of CPU time for a Timeout that is set and closed while ``count`` are pending."""
    from coopcore import Timeout

    pending = [Timeout.start_new(100 + number * 1e-4) for number in range(count)]
    laps = 200_000
    started = process_time_ns()
    for _ in range(laps):
        with Timeout(50):
            pass
    spent = (process_time_ns() - started) / laps
    for timeout in pending:
        timeout.close()
    return spent


def parked(library: str) -> float:
    """Bytes of resident memory for each parked task."""
    names = getattr(libraries, library)()
    event = names.Event()

    def wait() -> None:
        event.wait()

    tasks = [names.spawn(wait) for _ in range(100)]
    names.sleep(0)
    gc.collect()
    before = _resident()
    tasks += [names.spawn(wait) for _ in range(PARKED)]
    names.sleep(0)
    gc.collect()
    return (_resident() - before) / PARKED


KINDS = {"fire": fire, "fire_uncollected": fire_uncollected, "close": close}


def _nothing() -> None:
    pass


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _measure(*arguments: str) -> float:
    command = [sys.executable, "-m", "benchmarks.scale", *arguments]
    return min(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(ROUNDS))


def main() -> int:
    if sys.argv[1:]:
        what, argument = sys.argv[1:]
        print(parked(argument) if what == "parked" else KINDS[what](int(argument)))
        return 0
    print(f"Python {platform.python_version()}, the least of {ROUNDS} processes each")
    missed = False
    for name, kind in (("that fires", "fire"), ("that fires, no collector", "fire_uncollected"), ("that is closed", "close")):
        costs = [_measure(kind, str(count)) for count in TIMERS]
        grown = costs[-1] / costs[0]
        missed = missed or grown >= MOST_GROWTH
        row = ", ".join(f"{cost:.0f} among {count:,}" for cost, count in zip(costs, TIMERS, strict=True))
        print(f"ns for a timer {name}: {row}; {grown:.2f} times as much{'' if grown < MOST_GROWTH else ', missed'}")
    ours, theirs = _measure("parked", "coopcore"), _measure("parked", "gevent")
    print(f"a parked task: {ours / 1024:.1f} KiB, with gevent {theirs / 1024:.1f}")
    return 1 if missed or ours > theirs else 0


if __name__ == "__main__":
    sys.exit(main())
