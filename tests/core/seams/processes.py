"""Programs in interpreters of their own, with every warning an error and Python's own checks on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def unmeasured() -> dict[str, str]:
    """The environment for a program that coverage must leave alone: one that looks at all locks, or in which coverage's own lock would become a task's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def interruptible() -> dict[str, str]:
    """The environment for a program that signals interrupt anywhere: the trace function by which coverage measures before Python 3.12 looks for its data at
    each call, and drops whatever is raised in that."""
    return unmeasured() if sys.version_info < (3, 12) else dict(os.environ)


# In the child of a fork coverage begins anew, under a lock that its own hooks take as well: a collection in the middle of that, which calls Python code, would
# lock it up. One line, without a name that the program would see.
_NO_COLLECTION_IN_A_FORK = (
    "(lambda gc, os, was: os.register_at_fork(before=lambda: (was.append(gc.isenabled()), gc.disable()), "
    "**dict.fromkeys(('after_in_parent', 'after_in_child'), lambda: was.pop() and gc.enable())))(__import__('gc'), __import__('os'), [])"
)


def python(code: str, *, status: int = 0, timeout: float = 60, measured: bool = True, **environment: str) -> tuple[str, str]:
    """Run a program. Returns what it wrote to stdout and stderr; fails the test if it ends with another status, or not within ``timeout`` seconds."""
    # A fork while other threads exist is what some of these programs are about: from 3.12 on Python warns of it.
    code = textwrap.dedent(code)
    inherited = unmeasured() if not measured else interruptible() if "signal." in code else dict(os.environ)
    if inherited != unmeasured() and code.startswith("\n"):  # else the numbers of lines would be others
        code = _NO_COLLECTION_IN_A_FORK + code
    command = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=inherited | environment)
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr
