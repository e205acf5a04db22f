"""``coopcore run``: programs in interpreters of their own, patched before they import anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from seams.processes import unmeasured

SHOW = """\
import socket, sys
import coop_plugins.socket
print(__name__, sys.argv[1:], sys.argv[0] == __file__, socket.socket is coop_plugins.socket.socket, sys.modules["__main__"].__dict__ is globals())
"""


def coopcore_run(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-X", "dev", "-m", "coopcore", "run", *arguments]
    environment = unmeasured() if "--audit" in arguments else os.environ  # the audit would find coverage's locks
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, env=environment | {"PYTHONWARNINGS": "error"})
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


@pytest.fixture
def show(tmp_path: Path) -> Path:
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path


def test_a_script(show: Path) -> None:
    out, err = coopcore_run(show, "show.py", "-m", "--skip", "x")
    assert out == "__main__ ['-m', '--skip', 'x'] True True True\n"
    assert err == ""


def test_a_script_after_two_dashes(show: Path) -> None:
    (show / "-odd.py").write_text(SHOW)
    assert coopcore_run(show, "--", "-odd.py", "a")[0] == "__main__ ['a'] True True True\n"


@pytest.mark.parametrize("name", [("-m", "show"), ("-mshow",)])
def test_a_module(show: Path, name: tuple[str, ...]) -> None:
    assert coopcore_run(show, *name, "--audit", "a")[0] == "__main__ ['--audit', 'a'] True True True\n"


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("import helper")
    (tmp_path / "app" / "helper.py").write_text("print('here')")
    assert coopcore_run(tmp_path, "app")[0] == "here\n"


def test_a_script_imports_what_lies_beside_it(show: Path) -> None:
    (show / "beside.py").write_text("print('beside')")
    (show / "deep").mkdir()
    (show / "deep" / "script.py").write_text("import neighbour")
    (show / "deep" / "neighbour.py").write_text("print('neighbour')")
    assert coopcore_run(show, "deep/script.py")[0] == "neighbour\n"


def test_the_status_is_the_programs(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import sys; sys.exit(7)")
    coopcore_run(tmp_path, "ends.py", status=7)
    (tmp_path / "fails.py").write_text("def fail(): raise KeyError('here')\nfail()")
    _, err = coopcore_run(tmp_path, "fails.py", status=1)
    assert err.endswith("KeyError: 'here'\n")
    assert 'fails.py", line 1, in fail' in err


def test_a_part_that_is_left_out(show: Path) -> None:
    assert coopcore_run(show, "--skip", "socket", "show.py")[0] == "__main__ [] True False True\n"


def test_a_part_that_there_is_not(show: Path) -> None:
    assert "there is nothing to patch that is called 'sockt'" in coopcore_run(show, "--skip", "sockt", "show.py", status=2)[1]


def test_nothing_to_run(tmp_path: Path) -> None:
    assert "a script or -m MODULE is needed" in coopcore_run(tmp_path, status=2)[1]
    assert "there is no file 'missing.py'" in coopcore_run(tmp_path, "missing.py", status=2)[1]


def test_what_was_out_of_reach_is_named_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "psycopg2.py").write_text("")
    (tmp_path / "app.py").write_text("import psycopg2; print('done')")
    out, err = coopcore_run(tmp_path, "--audit", "app.py")
    assert out == "done\n"
    assert "[library] psycopg2: waits inside compiled code" in err
    (tmp_path / "clean.py").write_text("")
    assert coopcore_run(tmp_path, "--audit", "clean.py")[1] == "coopcore run: nothing was out of the patch's reach\n"


def test_tasks_of_a_patched_program_share_its_thread(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import socket, coopcore\n"
        "near, far = socket.socketpair()\n"
        "reader = coopcore.spawn(near.recv, 10)\n"
        "coopcore.sleep(0)\n"
        "far.sendall(b'hello')\n"
        "print(reader.get())\n"
    )
    assert coopcore_run(tmp_path, "app.py")[0] == "b'hello'\n"
