"""More of gunicorn with our worker: settings that make no server, settings without a meaning, and who else has the listener."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("httptools")
pytest.importorskip("gunicorn")

from coop_plugins import gunicorn
from tests.plugins.test_gunicorn import APPLICATION, Master, Start, start

__all__ = ["start"]  # a fixture


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
@pytest.mark.parametrize(
    ("options", "source", "words"),
    [
        (["--worker-connections", "0"], APPLICATION, "a server needs room for at least one handler"),
        ([], "async def application(scope, receive, send): ...", "is async, so for ASGI"),
    ],
)
def test_what_no_server_can_be_made_of_ends_gunicorn(options: list[str], source: str, words: str, tmp_path: Path) -> None:
    """It started workers for ever."""
    (tmp_path / "shop.py").write_text(source)
    command = [sys.executable, "-m", "gunicorn", "-k", "coop_plugins.gunicorn.CoopWorker", "-b", "127.0.0.1:0", *options, "shop"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 3, result.stderr
    assert words in result.stderr


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
def test_no_connection_is_kept_and_what_has_no_meaning_is_warned_of(start: Start) -> None:
    master = start("--keep-alive", "0", "--casefold-http-method", "--preload")
    with socket.create_connection(("127.0.0.1", master.port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with client.makefile("rb") as reading:
            assert b"\r\nConnection: close\r\n" in reading.read()
    master.says("the setting casefold_http_method has no meaning for CoopWorker")
    master.says("preload_app: the application was imported before")
    assert master.ends() == 0


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
@pytest.mark.skipif(sys.platform != "linux", reason="nobody is kept out on other systems")
def test_a_master_that_succeeds_another_goes_on_with_its_listener(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of the first one must not have the kernel let nobody in, which would hold for the second one too."""
    program = Path(sys.executable).with_name("gunicorn")  # as ``-m gunicorn`` a master that is started anew finds gunicorn's modules in place of standard ones
    monkeypatch.setattr(Master, "program", (str(program),))
    master = start("--pid", str(tmp_path / "pid"))
    first = master.worker()
    master.process.send_signal(signal.SIGUSR2)
    master.says(r"Booting worker with pid", times=2)
    second = int((tmp_path / "pid.2").read_text())
    try:
        assert master.ends() == 0
        served_by = {master.worker() for _ in range(10)}
        assert first not in served_by
    finally:
        os.kill(second, signal.SIGTERM)
    deadline = time.monotonic() + 60
    with pytest.raises(ConnectionRefusedError):  # it has ended; whether it is reaped is up to the system
        while time.monotonic() < deadline:
            socket.create_connection(("127.0.0.1", master.port), timeout=30).close()
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("alone", "files", "environments", "bind"),
    [
        (True, {1: "", 2: "listener", 3: "listener"}, {2: b"A=b", 3: b"A=b"}, "127.0.0.1:0"),
        (True, {1: "", 2: "listener", 3: ""}, {2: b"A=b", 3: b"A=c"}, "127.0.0.1:0"),
        (False, {1: "listener", 2: "listener"}, {2: b"A=b"}, "127.0.0.1:0"),
        (False, {1: "", 2: "listener", 3: "listener"}, {2: b"A=b", 3: b"A=b\0GUNICORN_FD=5"}, "127.0.0.1:0"),
        (False, {1: "", 2: "listener"}, {2: b"LISTEN_FDS=1"}, "127.0.0.1:0"),
        (False, {1: "", 2: "listener"}, {2: b"A=b"}, "fd://3"),
        (False, {1: None, 2: "listener"}, {2: b"A=b"}, "127.0.0.1:0"),
    ],
    ids=["all end", "another child without it", "the master has it", "a master that succeeds it has it", "systemd has it", "it was lent", "nobody can know"],
)
def test_nobody_is_kept_out_while_others_may_have_the_listener(
    alone: bool, files: dict[int, str | None], environments: dict[int, bytes], bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 is the master, 2 this worker, 3 another child of the master."""

    def files_of(pid: int) -> list[str]:
        found = files[pid]
        if found is None:
            raise PermissionError(pid)
        return [found.replace("listener", target)]

    monkeypatch.delitem(sys.modules, "setproctitle", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
        monkeypatch.setattr(gunicorn, "_files_of", files_of)
        monkeypatch.setattr(gunicorn, "_children_of", lambda parent: [pid for pid in files if pid != parent])
        monkeypatch.setattr(gunicorn, "_environment", environments.__getitem__)
        monkeypatch.setattr(os, "getppid", lambda: 1)
        monkeypatch.setattr(os, "getpid", lambda: 2)
        server: Any = SimpleNamespace(socket=listener, worker=SimpleNamespace(cfg=SimpleNamespace(bind=[bind])))
        assert gunicorn._Server.accepts_alone(server) is alone


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_is_known_of_processes() -> None:
    program = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"WHO": "me"}) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it runs
        assert child.pid in gunicorn._children_of(os.getpid())
        assert gunicorn._environment(child.pid) == b"WHO=me\0"
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
        assert child.pid not in gunicorn._children_of(os.getpid())
    assert gunicorn._environment(child.pid) == b""
    assert list(gunicorn._files_of(child.pid)) == []
    with socket.socket() as mine:
        assert f"socket:[{os.fstat(mine.fileno()).st_ino}]" in gunicorn._files_of(os.getpid())


def test_zero_means_no_limit_as_gunicorn_has_it() -> None:
    limits = gunicorn._limits(SimpleNamespace(limit_request_line=0, limit_request_fields=100, limit_request_field_size=0, keepalive=2))
    assert limits.request_line == limits.header_bytes == 1 << 20
