"""``coopcore serve``: applications in processes of their own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httptools")

from coop_plugins.serve import load_application

APPLICATION = """
import socket, time

def application(environ, start_response):
    start_response("200 OK", [("X-Patched", socket.socket.__module__)])
    return [environ["PATH_INFO"].encode()]

def slow(environ, start_response):
    near, far = socket.socketpair()  # blocks, unless it is patched
    with near, far:
        near.settimeout(0.2)
        try:
            near.recv(1)
        except TimeoutError:
            pass
    start_response("200 OK", [])
    return [b"slow"]

def make():
    return application

class Box:
    inner = staticmethod(application)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION)
    return tmp_path


class Served:
    """A server in a process, and where it is."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "coopcore", "serve", *arguments]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"http://127.0.0.1:(\d+)", self.said)
        self.port = int(found[1]) if found else 0

    def get(self, path: str = "/") -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    def ends(self, signum: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def serve(folder: Path) -> Iterator[Any]:
    made: list[Served] = []

    def start(*arguments: str) -> Served:
        made.append(Served(folder, *arguments))
        return made[-1]

    yield start
    for served in made:
        if served.process.poll() is None:
            served.process.kill()
            served.process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_application_is_served_patched_until_a_signal(serve: Any, signum: int) -> None:
    served = serve("shop", "--bind", "127.0.0.1:0")
    assert re.fullmatch(rf"coopcore serve: shop at http://127.0.0.1:\d+, process {served.process.pid}\n", served.said)
    response, body = served.get("/tea")
    assert (response.status, body, response.headers["X-Patched"]) == (200, b"/tea", "coop_plugins.socket")
    status, out, err = served.ends(signum)
    assert (status, err) == (0, "")
    assert re.fullmatch(r'127.0.0.1 - - \[.*\] "GET /tea HTTP/1.1" 200 4 \d+\.\d+\n', out)


def test_what_blocks_holds_up_nobody(serve: Any) -> None:
    served = serve("shop:slow", "--bind", "127.0.0.1:0", "--quiet")
    asked = [socket.create_connection(("127.0.0.1", served.port), timeout=30) for _ in range(50)]
    for client in asked:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    served.process.send_signal(signal.SIGTERM)  # what was accepted is answered
    answers = []
    for client in asked:
        with client, client.makefile("rb") as reading:
            answers.append(reading.read())
    assert all(answer.endswith(b"slow") for answer in answers)
    out, err = served.process.communicate(timeout=30)
    assert (served.process.returncode, out) == (0, "")
    assert re.fullmatch(r"(coopcore serve: \d+ to answer, in at most 30 s; a further signal ends at once\n)?", err), "how many had begun by then"


def test_unpatched_on_request(serve: Any) -> None:
    served = serve("shop:make()", "--bind", "127.0.0.1:0", "--no-patch", "--connections", "1", "--backlog", "7", "--reuse-port")
    assert served.get()[0].headers["X-Patched"] == "socket"
    assert served.ends()[0] == 0


def test_limits(serve: Any) -> None:
    served = serve("shop", "--bind", "127.0.0.1:0", "--request-line", "10", "--header-timeout", "1.5")
    assert served.get("/short")[0].status == 200
    assert served.get("/much-too-long")[0].status == 414
    assert served.ends()[0] == 0


def test_a_unix_socket(serve: Any, folder: Path) -> None:
    served = serve("shop:Box.inner", "--bind", "./shop.sock")
    assert served.said.startswith("coopcore serve: shop:Box.inner at unix:./shop.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "shop.sock"))
        client.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as reading:
            assert reading.read().endswith(b"/x")
    assert served.ends()[0] == 0
    assert not (folder / "shop.sock").exists()


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (2, ["nothing_here"], r"there is no module 'nothing_here' in .* or on the path. Is it spelt right\? Try --chdir."),
        (2, ["shop:nothing"], r"'shop' has no 'nothing'. Is it spelt right\?"),
        (2, ["os"], "module 'os' has neither application nor app; name the application: os:NAME"),
        (2, ["shop:__name__"], "a WSGI application is called for each request; 'shop' cannot be"),
        (2, ["shop", "--bind", "localhost:http"], "'localhost:http': 'http' is not a port"),
        (2, ["shop", "--body-bytes", "0"], "limit body_bytes=0 is not a positive number"),
        (2, ["shop", "--skip", "sockt"], "there is nothing to patch that is called 'sockt'"),
        (1, ["shop", "--bind", "127.0.0.1:{taken}"], r"cannot listen at \('127.0.0.1', \d+\). Is another program bound to it"),
        (1, ["shop", "--chdir", "not/there"], "No such file or directory: 'not/there'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(folder: Path, status: int, arguments: list[str], message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [argument.format(taken=taken.getsockname()[1]) for argument in arguments]
        command = [sys.executable, "-m", "coopcore", "serve", *arguments]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert result.returncode == status, result.stderr
    assert re.fullmatch(f"coopcore serve: .*{message}.*\n", result.stderr), result.stderr


def test_an_import_that_fails_inside_of_the_application_comes_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "broken_shop.py").write_text("import not_installed_at_all")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        load_application("broken_shop")
    assert load_application("os:path.join") is os.path.join
