"""http.client and urllib.request of the standard library, patched, against a server in another process."""

from __future__ import annotations

import json
from pathlib import Path

from .servers.processes import Program
from .servers.web import HttpServer


def test_100_requests_are_in_progress_at_once(http: HttpServer, how: str) -> None:
    gate = http.gate(100)
    with Program("stdlib_http", "hundred", how=how, host=http.host, port=http.port, path=gate.path) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_100_requests_by_urllib(http: HttpServer) -> None:
    gate = http.gate(100)
    with Program("stdlib_http", "hundred_urllib", url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_100_requests_over_ipv6(http6: HttpServer) -> None:
    gate = http6.gate(100)
    with Program("stdlib_http", "hundred", host=http6.host, port=http6.port, path=gate.path) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_bodies_of_all_kinds_over_one_connection(server: HttpServer, certificate: Path) -> None:
    with Program("stdlib_http", "bodies", host=server.host, port=server.port, **server.authority(certificate)) as program:
        found = program.report().result
    upload = json.loads(found.pop("upload"))
    assert upload == {"size": 1_000_000, "checksum": 1_000_000 % 65521, "chunked": False}
    assert json.loads(found.pop("upload in chunks")) == {**upload, "chunked": True}
    assert found == {"ports": 1, "chunked": 1000, "big": 3_000_000}


def test_urllib_follows_redirections_and_tells_of_errors(http: HttpServer, refusing: int) -> None:
    with Program("stdlib_http", "urllib_errors", url=http.url, refused=refusing) as program:
        assert program.report().result == ["port", "503 try again", "ConnectionRefusedError"]


def test_timeouts(http: HttpServer, deaf: int) -> None:
    never = http.gate(1000)
    with Program("stdlib_http", "timeouts", deaf=deaf, port=http.port, path=never.path, half=f"/half/{never.name}") as program:
        assert program.report().result == [["TimeoutError"] * 3] * 20


def test_tasks_that_are_killed_in_the_middle_of_a_response(http: HttpServer) -> None:
    never = http.gate(1000)
    with Program("stdlib_http", "killed", host=http.host, port=http.port, path=f"/half/{never.name}") as program:
        assert program.report().result == ["TaskExit"] * 20


def test_100_requests_over_tls(https: HttpServer, certificate: Path) -> None:
    gate = https.gate(100)
    with Program("stdlib_http", "hundred", host=https.host, port=https.port, path=gate.path, ca=str(certificate)) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_tasks_that_are_killed_in_the_middle_of_a_response_over_tls(https: HttpServer, certificate: Path) -> None:
    never = https.gate(1000)
    with Program("stdlib_http", "killed", host=https.host, port=https.port, path=f"/half/{never.name}", ca=str(certificate)) as program:
        assert program.report().result == ["TaskExit"] * 20


def test_a_block_that_is_patched_after_the_imports(http: HttpServer) -> None:
    gate = http.gate(100)
    with Program("stdlib_http", "late", run=None, host=http.host, port=http.port, path=gate.path) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100
