"""``coopcore run``: programs in interpreters of their own, patched before they import anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from seams.processes import unmeasured

from coop_plugins.patch import main

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


def test_a_failure_is_shown_as_python_shows_it(tmp_path: Path) -> None:
    for name, text in (("fails.py", "def fail():\n    raise KeyError('here')\nfail()\n"), ("odd.py", "no syntax\n")):
        (tmp_path / name).write_text(text)
        expected = subprocess.run([sys.executable, name], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        _, err = coopcore_run(tmp_path, name, status=1)
        assert err.replace(f"{tmp_path}/", "") == expected.stderr.replace(f"{tmp_path}/", "")


def test_a_module_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text(
        "from coop_plugins.patch import main\nprint([main(['-m', module]) for module in ('missing', 'json.missing', 'sys.missing', 'json')])\n"
    )
    out, err = coopcore_run(tmp_path, "all.py")
    assert out == "[1, 1, 1, 1]\n"
    assert [line.partition(". ")[0] for line in err.splitlines()] == [
        "coopcore run: there is no module 'missing'",
        "coopcore run: there is no module 'json.missing'",
        "coopcore run: there is no module 'sys.missing'",
        "coopcore run: 'json' is a package without a __main__: there is nothing in it to run",
    ]


def test_a_package_that_fails_is_no_missing_module(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("import missing_dependency")
    assert "No module named 'missing_dependency'" in coopcore_run(tmp_path, "-m", "broken.part", status=1)[1]


# -- signals ----------------------------------------------------------------------------------------------------------

WAITS = """\
import multiprocessing, os, signal, sys, threading, time

def work(name):
    try:
        time.sleep(1000)
    finally:
        time.sleep(0.001)
        print("finally of", name, flush=True)

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    child.start()
    child.terminate()
    child.join()
    assert child.exitcode == -signal.SIGTERM, child.exitcode
    threading.Thread(target=work, args=("a daemon",), daemon=True).start()
    threading.Thread(target=work, args=("a thread",)).start()
    threading.Timer(0.01, os.kill, (os.getpid(), int(sys.argv[1]))).start()
    if sys.argv[2] == "waits":
        work("main")
    elif sys.argv[2] == "exits":
        sys.exit(3)
    elif sys.argv[2] == "fails":
        raise ValueError("the main thread has failed")
"""


@pytest.mark.parametrize(
    ("signum", "main_thread"),
    [(signal.SIGINT, "waits"), (signal.SIGTERM, "waits"), (signal.SIGINT, "ends"), (signal.SIGTERM, "exits"), (signal.SIGTERM, "fails")],
)
def test_graceful_unwinds_main_and_then_all_threads(tmp_path: Path, signum: int, main_thread: str) -> None:
    status = -signum if signum == signal.SIGINT else 128 + signum
    (tmp_path / "app.py").write_text(WAITS)
    out, err = coopcore_run(tmp_path, "--graceful", "20", "app.py", str(int(signum)), main_thread, status=status)
    assert out.splitlines() == [*(["finally of main"] if main_thread == "waits" else []), "finally of a daemon", "finally of a thread"]
    assert ("the main thread has failed" in err) == (main_thread == "fails")
    assert err.endswith("KeyboardInterrupt\n") == (signum == signal.SIGINT)


def test_graceful_names_who_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, signal, threading, time\n"
        "def stubborn():\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(1000)\n"
        "        except BaseException:\n"
        "            pass\n"
        "threading.Thread(target=stubborn, name='stubborn').start()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(1000)\n"
    )
    _, err = coopcore_run(tmp_path, "--graceful", "0.5", "app.py", status=128 + signal.SIGTERM)
    assert "0.5 s are over" in err
    assert "stubborn waits for the end of its sleep" in err


def test_without_graceful_signals_do_what_they_do_in_python(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, signal\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('goes on', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert coopcore_run(tmp_path, "app.py", status=-signal.SIGTERM)[0] == "goes on\n"


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf"])
def test_a_time_for_a_graceful_exit_that_is_none(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--graceful={seconds}", "app.py"])
    assert "argument --graceful" in capsys.readouterr().err
