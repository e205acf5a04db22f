"""Files in responses: ``wsgi.file_wrapper``, and when the kernel sends them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

pytest.importorskip("httptools")

from tests.plugins.test_wsgi import HEAD, Client, Run, exchange, on, serving

__all__ = ["on"]  # a fixture

LARGE = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that `os.sendfile` was asked for."""
    real = os.sendfile
    seen: list[int] = []

    def sendfile(out: int, source: int, offset: int, count: int) -> int:
        seen.append(count)
        return real(out, source, offset, count)

    monkeypatch.setattr(os, "sendfile", sendfile)
    return seen


class Closing(io.BytesIO):
    """Something to read that is no file."""


def giving(make: Callable[[], Any], headers: Any = (), seek: int = 0, opened: list[Any] | None = None) -> Any:
    """An application that answers with a wrapped file."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        file = make()
        file.seek(seek)
        if opened is not None:
            opened.append(file)
        return environ["wsgi.file_wrapper"](file)

    return application


def get(client: Client, method: bytes = b"GET") -> Any:
    client.send(method + b" / HTTP/1.1\r\n" + HEAD + b"\r\n")
    return client.response(method == b"HEAD")


@pytest.mark.parametrize("seek", [0, 1000])
def test_a_large_file_is_sent_by_the_kernel(on: Run, large: Path, calls: list[int], seek: int) -> None:
    opened: list[Any] = []

    @on
    def body() -> None:
        with serving(giving(lambda: large.open("rb"), seek=seek, opened=opened)) as server, Client(server) as client:
            for _ in range(2):
                status, headers, data = get(client)
                assert (status, data) == (200, LARGE[seek:])
                assert headers["content-length"] == str(len(LARGE) - seek)

    assert calls
    assert max(calls) <= 262_144
    assert all(file.closed for file in opened)


def test_a_part_of_a_file(on: Run, large: Path, calls: list[int]) -> None:
    @on
    def body() -> None:
        with serving(giving(lambda: large.open("rb"), [("Content-Length", "5000")], seek=100)) as server, Client(server) as client:
            for _ in range(2):
                assert get(client)[2] == LARGE[100:5100]

    assert sum(calls) == 10_000


def test_head_sends_nothing_of_it(on: Run, large: Path, calls: list[int]) -> None:
    @on
    def body() -> None:
        with serving(giving(lambda: large.open("rb"))) as server, Client(server) as client:
            assert get(client, b"HEAD")[1]["content-length"] == str(len(LARGE))
            assert get(client)[2] == LARGE


@pytest.mark.parametrize("what", ["small file", "empty file", "no file"])
def test_what_is_small_or_no_file_is_read(on: Run, tmp_path: Path, calls: list[int], what: str) -> None:
    content = {"small file": b"small", "empty file": b"", "no file": LARGE}[what]
    (tmp_path / "file").write_bytes(content)

    @on
    def body() -> None:
        make = (lambda: Closing(content)) if what == "no file" else (lambda: (tmp_path / "file").open("rb"))
        with serving(giving(make)) as server, Client(server) as client:
            for _ in range(2):
                assert get(client)[2] == content

    assert calls == []


def test_a_file_that_is_shorter_than_promised_is_seen_to_be(on: Run, large: Path, caplog: pytest.LogCaptureFixture) -> None:
    @on
    def body() -> None:
        with serving(giving(lambda: large.open("rb"), [("Content-Length", str(len(LARGE) + 7))])) as server:
            answer = exchange(server, b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert answer.endswith(LARGE)

    assert "the application gave 7 bytes less than its Content-Length says" in caplog.text


def test_a_text_file_is_the_applications_error(on: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "text"
    path.write_text("x" * 100_000)

    @on
    def body() -> None:
        with serving(giving(path.open)) as server, Client(server) as client:
            assert get(client)[0] == 500

    assert "a WSGI application gives bytes, not str" in caplog.text


def test_a_client_that_leaves_in_the_middle_of_a_file(on: Run, large: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened: list[Any] = []

    @on
    def body() -> None:
        large.write_bytes(LARGE * 16)
        with serving(giving(lambda: large.open("rb"), opened=opened)) as server:
            with Client(server) as client:
                client.send(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
                client.sock.recv(1000)
            with Client(server) as client:
                assert len(get(client)[2]) == len(LARGE) * 16

    assert all(file.closed for file in opened)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("form", ["list", "stream", "write", "file"])
def test_the_standard_validator_passes_every_form_of_request_and_answer(version: bytes, form: str, large: Path, on: Run) -> None:
    """GET, HEAD, POST, POST in chunks; a list, a generator, write(), a file."""

    def application(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read(20)
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if form == "file":
            return environ["wsgi.file_wrapper"](large.open("rb"))
        if form == "write":
            write(b"ab")
            write(body)
            return []
        pieces = [b"a", b"b", body]
        return pieces if form == "list" else (piece for piece in pieces)

    first = b" /x?y=%20 HTTP/" + version + b"\r\nHost: x\r\nConnection: keep-alive\r\n"
    requests = [b"GET" + first + b"\r\n", b"HEAD" + first + b"\r\n", b"POST" + first + b"Content-Type: text/plain\r\nContent-Length: 3\r\n\r\n123"]
    if version == b"1.1":
        requests.append(b"POST" + first + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n0\r\n\r\n")

    @on
    def body() -> None:
        with serving(validator(application)) as server:
            for request in requests:
                with Client(server) as client:
                    client.send(request)
                    status, _, got = client.response(bodiless=request.startswith(b"HEAD"))
                    expected = b"" if request.startswith(b"HEAD") else LARGE if form == "file" else b"ab123" if b"POST" in request else b"ab"
                    assert (status, got) == (200, expected)
