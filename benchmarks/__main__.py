"""Compare coopcore with gevent: ``python -m benchmarks [--rounds N] [part of a name ...]``.

Each figure comes from a process of its own. The two libraries take turns, and the ratio is the median over the rounds of gevent's CPU time divided by
ours in the same round, so that a machine whose speed drifts disturbs both alike. More is better; a row marked ``below`` misses its floor, which makes the
status 1, and one marked ``missed`` its goal.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys

from .programs import PROGRAMS


def measure(library: str, name: str) -> float:
    command = [sys.executable, "-m", "benchmarks.one", library, name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("names", nargs="*", help="only programs whose name contains one of these")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {options.rounds} rounds, CPU time; gevent / coopcore")
    print(f"{'program':32} {'gevent ns':>10} {'coopcore ns':>12} {'ratio':>7}  {'(min - max)':15} floor  goal")
    missed = 0
    for name, (_, _, floor, goal) in PROGRAMS.items():
        if options.names and not any(part in name for part in options.names):
            continue
        pairs = [(measure("gevent", name), measure("coopcore", name)) for _ in range(options.rounds)]
        ratios = [theirs / ours for theirs, ours in pairs]
        ratio = statistics.median(ratios)
        below = floor is not None and ratio < floor
        missed += below
        verdict = "  below" if below else "  missed" if goal is not None and ratio < goal else ""
        print(
            f"{name:32} {statistics.median(p[0] for p in pairs):10.0f} {statistics.median(p[1] for p in pairs):12.0f} {ratio:7.2f}  "
            f"{f'({min(ratios):.2f} - {max(ratios):.2f})':15} {floor or '':<6} {goal or '':<4}{verdict}".rstrip(),
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
