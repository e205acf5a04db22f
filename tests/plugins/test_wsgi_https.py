"""A WSGIServer that speaks TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import coopcore
from coopcore import spawn
from tests.plugins.test_server import LOCAL, call
from tests.plugins.test_server_tls import secure
from tests.plugins.tls import LOCALHOST

pytest.importorskip("httptools")
from coop_plugins.wsgi import WSGIServer


def test_https(tmp_path: Path) -> None:
    big = b"x" * 3_000_000
    file = tmp_path / "file"
    file.write_bytes(big[:500_000])

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/big":
            return [big]
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](file.open("rb"))
        return [f"{environ['wsgi.url_scheme']} {environ['HTTPS']}".encode()]

    def ask(server: WSGIServer, path: str, close: bool) -> bytes:
        with secure(server) as client:
            client.settimeout(10)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{'Connection: close' if close else 'A: b'}\r\n\r\n".encode())
            with client.makefile("rb") as reading:
                status = reading.readline()
                assert status == b"HTTP/1.1 200 OK\r\n"
                size = 0
                while (line := reading.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length: "):
                        size = int(line.split()[1])
                return bytes(reading.read() if close else reading.read(size))

    def body() -> None:
        with WSGIServer(LOCAL, application, certfile=LOCALHOST) as server:
            server.start()
            asking = [spawn(ask, server, path, close) for path in ("/", "/big", "/file") for close in (True, False)]
            assert [task.get(timeout=20) for task in asking] == [b"https on"] * 2 + [big] * 2 + [big[:500_000]] * 2
            with call(server) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                try:
                    assert not plain.recv(1000).startswith(b"HTTP")
                except ConnectionResetError:
                    pass  # what it sent was never read

    coopcore.run(body)
