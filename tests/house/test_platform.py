"""Where coopcore does not work it says so at its import, in one line, before it has imported anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

PRETEND = {
    "Windows": ("sys.platform = 'win32'", "win32"),
    "PyPy": ("sys.implementation.name = 'pypy'", "pypy"),
    "free-threaded builds": ("sys.abiflags = 't'", "free-threaded"),
}


@pytest.mark.parametrize(("platform", "pretend", "word"), [(name, *rest) for name, rest in PRETEND.items()], ids=PRETEND)
def test_an_import_fails_with_one_clear_line(platform: str, pretend: str, word: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import sys; {pretend}; import coopcore"], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: coopcore needs CPython")
    assert word in last
    assert platform in last


def test_other_unixes_are_let_in() -> None:
    program = "import sys; sys.platform = 'freebsd14'; import coopcore; print(coopcore.__version__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert done.stdout.strip()
