"""Programs in interpreters of their own, with every warning an error and Python's own checks on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def unmeasured() -> dict[str, str]:
    """The environment for a program that coverage must leave alone: one that looks at all locks, or in which coverage's own lock would become a task's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def python(code: str, *, status: int = 0, timeout: float = 60, measured: bool = True, **environment: str) -> tuple[str, str]:
    """Run a program. Returns what it wrote to stdout and stderr; fails the test if it ends with another status, or not within ``timeout`` seconds."""
    # A fork while other threads exist is what some of these programs are about: from 3.12 on Python warns of it.
    command = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=(os.environ if measured else unmeasured()) | environment)
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr
