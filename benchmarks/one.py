"""Measure one program on one library, in a process of its own: prints nanoseconds of CPU time for one operation."""

from __future__ import annotations

import sys
from time import process_time_ns

from . import libraries
from .programs import PROGRAMS


def main() -> None:
    library = getattr(libraries, sys.argv[1])()
    program, count, _ = PROGRAMS[sys.argv[2]]
    program(library, max(count // 20, 2_000))  # imports, hub and caches
    start = process_time_ns()
    program(library, count)
    print((process_time_ns() - start) / count)


if __name__ == "__main__":
    main()
