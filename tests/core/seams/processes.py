"""Programs in interpreters of their own, with every warning an error and Python's own checks on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def python(code: str, *, status: int = 0, timeout: float = 60, **environment: str) -> tuple[str, str]:
    """Run a program. Returns what it wrote to stdout and stderr; fails the test if it ends with another status, or not within ``timeout`` seconds."""
    # A fork while other threads exist is what some of these programs are about: from 3.12 on Python warns of it.
    command = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=os.environ | environment)
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr
