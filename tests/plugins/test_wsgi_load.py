"""Servers under load: told to end, killed, and watched for what they keep. Each runs in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("httptools")
pytest.importorskip("gunicorn")

from .http_load import Load
from .tcp import may_filter

APPLICATION = """
import os, time
from coop_plugins.wsgi import _server

_server._GRACE = 20_000_000_000  # a client whose process does not run for a while must not pass for one that is idle

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.02)
    body = f"{environ['QUERY_STRING']} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
SERVE_FOREVER = """
from coop_plugins.patch import patch
patch(warn=False)
from shop import application
from coop_plugins.wsgi import WSGIServer
WSGIServer(("127.0.0.1", {port}), application, log=None).serve_forever({deadline})
"""
DEADLINE = 60
LENT = ("LISTEN_FDS", "GUNICORN_FD")  # with one of these nobody is certain that others do not want the listener as well
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the client uses epoll, and looks into /proc")


def command(kind: str, port: int) -> list[str]:
    at = f"127.0.0.1:{port}"
    if kind == "serve_forever":
        return [sys.executable, "-c", SERVE_FOREVER.format(port=port, deadline=DEADLINE)]
    if kind == "coopcore serve":
        return [sys.executable, "-m", "coopcore", "serve", "--quiet", "--bind", at, "--graceful", str(DEADLINE), "--connections", "2000", "shop"]
    workers = kind.split()[1]
    options = ["-k", "coop_plugins.gunicorn.CoopWorker", "--workers", workers, "--graceful-timeout", str(DEADLINE), "--worker-connections", "2000"]
    return [sys.executable, "-m", "gunicorn", *options, "-b", at, "--log-level", "error", "shop"]


class Served:
    """A server, and who serves at its port."""

    def __init__(self, kind: str, folder: Path) -> None:
        (folder / "shop.py").write_text(APPLICATION)
        # Bound and not listening, it keeps the port from everybody but who sets SO_REUSEADDR as well, which the servers do.
        self.holder = socket.socket()
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.port: int = self.holder.getsockname()[1]
        environ = {name: value for name, value in os.environ.items() if name not in LENT} | {"PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(command(kind, self.port), cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=30).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        raise AssertionError(self.process.communicate()[0])

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[Served]:
    served = Served(kind, folder)
    try:
        if kind == "gunicorn 2":  # until both serve: one that boots still has its copy of the listener when the other one leaves
            with Load(served.port, 20, False) as first:
                first.run(lambda: len(first.answered_by - {0}) == 2)
        yield served
    finally:
        served.holder.close()
        if served.process.poll() is None:
            served.process.terminate()
        try:
            served.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            for child in served.children():
                os.kill(child, signal.SIGKILL)
            served.process.kill()
            served.process.communicate()


def end_under_load(kind: str, folder: Path, clients: int, keeps: bool, paths: tuple[str, ...]) -> None:
    with serving(kind, folder) as served, Load(served.port, clients, keeps, paths) as load:
        load.run(lambda: load.outcomes["answered"] >= 10 * clients)
        began = time.monotonic()
        served.process.terminate()
        load.run(lambda: False)  # until each client is refused
        served.process.wait(DEADLINE)
        assert time.monotonic() - began < DEADLINE / 2
        assert served.process.returncode == 0
        # Where the kernel lets us filter nothing, a client may come in the microseconds between the last look into its queue and the end of the listener.
        lost = clients - load.outcomes["refused"]
        assert lost <= (0 if may_filter() else 1 + clients // 10) and set(load.lost_by) <= {0}, load.outcomes


@LINUX
@pytest.mark.slow(reason="starts servers in processes of their own")
@pytest.mark.parametrize(
    ("kind", "keeps", "paths"),
    [
        ("coopcore serve", True, ("/",)),
        ("coopcore serve", False, ("/", "/slow")),
        ("serve_forever", True, ("/", "/slow")),
        ("gunicorn 1", True, ("/",)),
        ("gunicorn 2", True, ("/", "/slow")),
        ("gunicorn 2", False, ("/",)),
    ],
)
def test_sigterm_under_load_answers_all_that_was_accepted(kind: str, keeps: bool, paths: tuple[str, ...], tmp_path: Path) -> None:
    end_under_load(kind, tmp_path, 40, keeps, paths)


@LINUX
@pytest.mark.soak
@pytest.mark.parametrize("time", range(5))
@pytest.mark.parametrize("clients", [1, 50, 500])
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("kind", ["coopcore serve", "serve_forever", "gunicorn 1", "gunicorn 2"])
def test_sigterm_under_any_load(kind: str, keeps: bool, clients: int, time: int, tmp_path: Path) -> None:
    end_under_load(kind, tmp_path, clients, keeps, ("/",) if time % 2 else ("/", "/slow"))


@LINUX
@pytest.mark.soak
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("connections", [50, 1000])
@pytest.mark.parametrize("kind", ["coopcore serve", "serve_forever", "gunicorn 2"])
def test_sigterm_under_wrk(kind: str, connections: int, tmp_path: Path) -> None:
    with serving(kind, tmp_path) as served:
        wrk = ["wrk", "-t1", "-d4s", f"-c{connections}", f"http://127.0.0.1:{served.port}/?1"]
        with subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as load:
            time.sleep(2)
            served.process.terminate()
            began = time.monotonic()
            served.process.wait(DEADLINE)
            assert served.process.returncode == 0 and time.monotonic() - began < DEADLINE / 2
            out, _ = load.communicate(timeout=30)
    assert int(re.search(r"(\d+) requests in", out)[1]) > 1000  # type: ignore[index]  # wrk says it
    assert "Non-2xx" not in out
    # Requests that were sent and not answered. To be refused is an error of connect or write: wrk goes on as if it had connected.
    errors = re.search(r"Socket errors: connect \d+, read (\d+), write \d+, timeout (\d+)", out)
    assert errors is None or errors.groups() == ("0", "0"), out


@LINUX
@pytest.mark.slow(reason="starts gunicorn, and a worker anew")
def test_a_worker_that_is_killed_under_load_fails_no_request_of_the_others(tmp_path: Path) -> None:
    with serving("gunicorn 2", tmp_path) as served, Load(served.port, 40, True, ("/", "/slow")) as load:
        load.run(lambda: load.outcomes["answered"] >= 400)
        victim, other = served.children()
        os.kill(victim, signal.SIGKILL)
        at_that_time = load.outcomes["answered"]
        load.run(lambda: load.outcomes["answered"] >= at_that_time + 400)
        assert set(load.lost_by) <= {victim}, load.outcomes
        assert other in served.children()


def kept(pid: int) -> tuple[int, int]:
    """The memory of a process in KiB, and how many descriptors it has open."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]), len(os.listdir(f"/proc/{pid}/fd"))  # type: ignore[index]  # Linux says it


@LINUX
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["coopcore serve", "gunicorn 1"])
@pytest.mark.parametrize(("keeps", "requests"), [(True, 100_000), (False, 10_000)], ids=["requests", "connections"])
def test_memory_and_descriptors_stay_flat(kind: str, keeps: bool, requests: int, tmp_path: Path) -> None:
    with serving(kind, tmp_path) as served:
        pid = served.children()[0] if kind == "gunicorn 1" else served.process.pid
        found = []
        for _ in range(4):  # the first fills the free lists, and what is remembered of requests
            with Load(served.port, 50, keeps) as load:
                load.run(lambda: load.outcomes["answered"] >= requests)
                assert set(load.outcomes) == {"answered"}
            time.sleep(0.5)  # the server sees the last connections end
            found.append(kept(pid))
        assert found[-1][0] - found[0][0] < 512, f"KiB of memory, descriptors: {found}"
        assert len({descriptors for _, descriptors in found}) == 1, found
