"""What ``import coopcore`` adds to ``import greenlet, pluggy``, and what discovery and the first hub add to that: ``python -m benchmarks.startup``.

Each step is measured in fresh processes, as the CPU time of the step alone, with compiled files in place. The goal for the import is 12 ms.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 15
STEPS = [
    ("import greenlet, pluggy", "pass", "import greenlet, pluggy", None),
    ("import coopcore", "import greenlet, pluggy", "import coopcore", 12.0),
    ("discovery of plugins", "from coopcore.lowlevel import plugins", "plugins()", None),
    ("the first hub", "import coopcore; from coopcore.lowlevel import plugins; plugins()", "coopcore.get_hub()", None),
]
TIMED = "from time import process_time_ns as now\n{before}\nstarted = now()\n{step}\nprint((now() - started) / 1e6)"


def measure(before: str, step: str, rounds: int, caches: str) -> list[float]:
    """Milliseconds of CPU time of ``step``, in ``rounds`` processes after one that compiles."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": caches}
    command = [sys.executable, "-c", TIMED.format(before=before, step=step)]
    return [float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout) for _ in range(rounds + 1)][1:]


def main() -> int:
    print(f"Python {platform.python_version()}, {ROUNDS} processes each, CPU time in ms")
    print(f"{'step':28} {'median':>7} {'best':>7}  goal")
    with tempfile.TemporaryDirectory() as caches:
        for name, before, step, goal in STEPS:
            times = measure(before, step, ROUNDS, caches)
            verdict = "" if goal is None else f"{goal:g}" + ("" if min(times) <= goal else "  missed")
            print(f"{name:28} {statistics.median(times):7.1f} {min(times):7.1f}  {verdict}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
