"""The three ways to start an interpreter that runs a program: with the standard library as it is, patched by coopcore, patched by gevent."""

from __future__ import annotations

import sys
from collections.abc import Sequence

STANDARD = "standard"
OURS = "coopcore"
GEVENT = "gevent"
WAYS = (OURS, GEVENT, STANDARD)

# What `coopcore run` does for us: all is patched before the program begins.
_UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(way: str, program: Sequence[str]) -> list[str]:
    """The command that runs a program, its path and its arguments, under this interpreter and one of `WAYS`."""
    start = {STANDARD: [], OURS: ["-m", "coopcore", "run"], GEVENT: ["-c", _UNDER_GEVENT]}[way]
    return [sys.executable, *start, *program]
