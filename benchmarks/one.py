"""Measure one program on one library, in a process of its own: prints nanoseconds of CPU time for one operation.

The least of a few repetitions: what disturbs a measurement (another process on the core's other half, a cold cache) only ever adds to it.
"""

from __future__ import annotations

import sys
from time import process_time_ns

from . import libraries
from .programs import PROGRAMS

REPETITIONS = 5


def main() -> None:
    library = getattr(libraries, sys.argv[1])()
    program, count, _, _ = PROGRAMS[sys.argv[2]]
    library.spawn(program, library, max(count // 20, 2_000)).get()  # imports, hub and caches
    spent = []
    for _ in range(REPETITIONS):
        start = process_time_ns()
        library.spawn(program, library, count).get()
        spent.append(process_time_ns() - start)
    print(min(spent) / count)


if __name__ == "__main__":
    main()
