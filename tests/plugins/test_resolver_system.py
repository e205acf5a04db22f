"""The resolver on dnspython against the system's own library: the same answers and errors to thousands of questions."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dns", reason="the extra dns is not installed")

ALONE = ["unshare", "--map-root-user", "--mount", "--net"]


def can_be_alone() -> bool:
    """A network and mounts of its own for a process: some systems and containers give none."""
    return shutil.which("unshare") is not None and subprocess.run([*ALONE, "true"], capture_output=True, timeout=50).returncode == 0


@pytest.mark.slow(reason="asks three thousand questions twice")
def test_every_answer_is_that_of_the_system() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the yardstick is the GNU C library")
    if not can_be_alone():
        pytest.skip("needs unshare and namespaces, to put files in the place of /etc/hosts and /etc/resolv.conf for one process")
    script = Path(__file__).with_name("resolver_against_system.py")
    done = subprocess.run([*ALONE, sys.executable, str(script)], capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].endswith(" 0 answers that differ")
    assert int(done.stdout.split()[-6]) > 2500
