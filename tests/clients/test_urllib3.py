"""urllib3, unmodified and patched, against a server in another process."""

from __future__ import annotations

from pathlib import Path

import pytest

from .servers.processes import Program
from .servers.web import HttpServer

pytest.importorskip("urllib3", reason="urllib3 is not installed: pip install urllib3")
PROGRAM = "urllib3_pools"


def test_100_requests_are_in_progress_at_once(http: HttpServer, how: str) -> None:
    gate = http.gate(100)
    with Program(PROGRAM, "hundred", how=how, url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_100_requests_over_ipv6(http6: HttpServer) -> None:
    gate = http6.gate(100)
    with Program(PROGRAM, "hundred", url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_a_pool_that_is_exhausted(http: HttpServer, how: str) -> None:
    with Program(PROGRAM, "blocking_pool", how=how, host=http.host, port=http.port) as program:
        assert program.report().result == [100, True, True, "EmptyPoolError", 200]


def test_retries(http: HttpServer) -> None:
    with Program(PROGRAM, "retries", url=http.url, name="urllib3") as program:
        assert program.report().result == [["3", "3"]] * 20 + ["ResponseError"]


def test_timeouts(http: HttpServer, deaf: int) -> None:
    never = http.gate(1000)
    with Program(PROGRAM, "timeouts", url=http.url, deaf=deaf, path=never.path, half=f"/half/{never.name}") as program:
        assert program.report().result == [["ConnectTimeoutError", "ReadTimeoutError", "ReadTimeoutError", "200"]] * 20


def test_bodies_of_all_kinds_over_one_connection(server: HttpServer, certificate: Path) -> None:
    with Program(PROGRAM, "bodies", url=server.url, **server.authority(certificate)) as program:
        upload = {"size": 1_000_000, "checksum": 1_000_000 % 65521, "chunked": False}
        assert program.report().result == {
            "ports": 1,
            "chunked": 1000,
            "gzip": 300_000,
            "redirected": "/port",
            "streamed": 3_000_000,
            "upload": upload,
            "upload in chunks": {**upload, "chunked": True},
        }


def test_tasks_that_are_killed_in_the_middle_of_a_response(http: HttpServer) -> None:
    never = http.gate(1000)
    with Program(PROGRAM, "killed", url=http.url, half=f"/half/{never.name}") as program:
        assert program.report().result == ["TaskExit"] * 10 + [30]


def test_100_requests_over_tls(https: HttpServer, certificate: Path) -> None:
    gate = https.gate(100)
    with Program(PROGRAM, "hundred", url=gate.url, ca=str(certificate)) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_a_block_that_is_patched_after_the_imports(http: HttpServer) -> None:
    gate = http.gate(100)
    with Program(PROGRAM, "late", run=None, url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100
