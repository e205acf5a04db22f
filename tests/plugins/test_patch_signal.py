"""Programs that know nothing of coopcore, started by ``coopcore run``, and signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def patched(tmp_path: Path, code: str, *strikes: int, status: int = 0) -> tuple[list[str], str]:
    """Run a script; each signal is sent when it has said ``ready``. Returns its lines and its stderr."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    command = [sys.executable, "-W", "error", "-m", "coopcore", "run", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = []
        try:
            for signum in strikes:
                for line in child.stdout:
                    lines.append(line.strip())
                    if line == "ready\n":
                        break
                child.send_signal(signum)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()  # if it has not ended
    assert child.returncode == status, err
    return lines + out.split("\n")[:-1], err


# It says that it is ready past sys.stdout, which no handler may print to in the middle of a print.
STOPS = """
    import os, signal, threading, time
    stop = threading.Event()

    def worker():
        while not stop.wait(0.01):
            pass
        print("worker ends", flush=True)

    def handler(signum, frame):
        with lock:
            os.write(1, f"handler {signal.Signals(signum).name}\\n".encode())
        stop.set()

    lock = threading.Lock()
    signal.signal(signal.SIGTERM, handler)
    thread = threading.Thread(target=worker)
    thread.start()
    os.write(1, b"ready\\n")
    stop.wait()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is handler
"""


def test_a_handler_ends_a_program_of_threads(tmp_path: Path) -> None:
    assert patched(tmp_path, STOPS, signal.SIGTERM) == (["ready", "handler SIGTERM", "worker ends"], "")


def test_a_program_that_waits_for_nothing_but_a_signal(tmp_path: Path) -> None:
    code = """
        import signal, threading
        stop = threading.Event()
        signal.signal(signal.SIGHUP, lambda *_: stop.set())
        print("ready", flush=True)
        stop.wait()
        print("stopped")
    """
    assert patched(tmp_path, code, signal.SIGHUP) == (["ready", "stopped"], "")


def test_a_handler_that_raises_ends_the_main_program_and_its_finally_waits(tmp_path: Path) -> None:
    code = """
        import signal, sys, time

        def handler(signum, frame):
            sys.exit(7)

        signal.signal(signal.SIGTERM, handler)
        try:
            print("ready", flush=True)
            time.sleep(1000)
        finally:
            time.sleep(0.01)
            print("finally")
    """
    assert patched(tmp_path, code, signal.SIGTERM, status=7) == (["ready", "finally"], "")


@pytest.mark.parametrize("call", ["signal.pause()", "signal.sigwait([signal.SIGUSR1])", "signal.sigwaitinfo([signal.SIGUSR1])"])
def test_waits_for_signals_let_threads_run(tmp_path: Path, call: str) -> None:
    blocked = "" if "pause" in call else "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])"
    code = f"""
        import os, signal, threading, time

        def strike():
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR1)

        {blocked}
        signal.signal(signal.SIGUSR1, lambda *_: print("handler"))
        threading.Thread(target=strike).start()
        {call}
        print("went on")
    """
    assert patched(tmp_path, code) == ((["handler"] if "pause" in call else []) + ["went on"], "")


def test_a_graceful_end_of_threads(tmp_path: Path) -> None:
    code = """
        import threading, time
        from coop_plugins.signal import graceful_exit

        def worker():
            try:
                time.sleep(1000)
            finally:
                time.sleep(0.01)
                print("finally of a thread")

        def stubborn():
            while True:
                try:
                    time.sleep(1000)
                except BaseException:
                    pass

        with graceful_exit(0.9):
            threading.Thread(target=worker).start()
            threading.Thread(target=stubborn, name="stubborn").start()
            time.sleep(0.01)
            print("ready", flush=True)
            time.sleep(1000)
    """
    lines, err = patched(tmp_path, code, signal.SIGTERM, status=143)
    assert lines == ["ready", "finally of a thread"]
    assert "0.9 s are over; 2 tasks have not ended:" in err and "in stubborn\n" in err


def test_asyncio_with_handlers_in_a_patched_program(tmp_path: Path) -> None:
    code = """
        import asyncio, os, signal

        async def main():
            heard = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
            print("ready", flush=True)
            await heard.wait()
            print("heard")

        asyncio.run(main())
    """
    assert patched(tmp_path, code, signal.SIGUSR1) == (["ready", "heard"], "")


def test_ctrl_c_in_a_patched_program(tmp_path: Path) -> None:
    code = """
        import signal, time
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            print("ready", flush=True)
            time.sleep(1000)
        except KeyboardInterrupt:
            print("Ctrl-C")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    """
    assert patched(tmp_path, code, signal.SIGINT) == (["ready", "Ctrl-C"], "")
