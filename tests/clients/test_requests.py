"""requests, unmodified and patched, against a server in another process."""

from __future__ import annotations

from pathlib import Path

import pytest

from .servers.processes import Program
from .servers.web import HttpServer

pytest.importorskip("requests", reason="requests is not installed: pip install requests")
PROGRAM = "requests_sessions"


def test_100_requests_are_in_progress_at_once(http: HttpServer, how: str) -> None:
    gate = http.gate(100)
    with Program(PROGRAM, "hundred_in_a_session", how=how, url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_100_requests_over_ipv6(http6: HttpServer) -> None:
    gate = http6.gate(100)
    with Program(PROGRAM, "hundred", url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_a_session_reuses_its_connections(http: HttpServer) -> None:
    with Program(PROGRAM, "reuse", url=http.url) as program:
        assert program.report().result == [100, True]


def test_retries(http: HttpServer) -> None:
    with Program(PROGRAM, "retries", url=http.url, name="requests") as program:
        assert program.report().result == [["3", "3"]] * 20 + ["RetryError"]


def test_timeouts(http: HttpServer, deaf: int) -> None:
    never = http.gate(1000)
    with Program(PROGRAM, "timeouts", url=http.url, deaf=deaf, path=never.path, half=f"/half/{never.name}") as program:
        assert program.report().result == [["ConnectTimeout", "ReadTimeout", "ConnectionError", "200"]] * 20


def test_bodies_of_all_kinds(server: HttpServer, certificate: Path) -> None:
    with Program(PROGRAM, "bodies", url=server.url, **server.authority(certificate)) as program:
        upload = {"size": 1_000_000, "checksum": 1_000_000 % 65521, "chunked": False}
        assert program.report().result == {
            "ports": 1,
            "chunked": 1000,
            "gzip": 300_000,
            "redirected": [4, server.url + "/port"],
            "streamed": 3_000_000,
            "upload": upload,
            "upload in chunks": {**upload, "chunked": True},
        }


def test_tasks_that_are_killed_or_time_out_in_the_middle_of_a_response(http: HttpServer) -> None:
    never = http.gate(1000)
    with Program(PROGRAM, "killed", url=http.url, half=f"/half/{never.name}") as program:
        assert program.report().result == ["TaskExit", 60]


def test_100_requests_over_tls(https: HttpServer, certificate: Path) -> None:
    gate = https.gate(100)
    with Program(PROGRAM, "hundred_in_a_session", url=gate.url, ca=str(certificate)) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100


def test_a_block_that_is_patched_after_the_imports(http: HttpServer) -> None:
    gate = http.gate(100)
    with Program(PROGRAM, "late", run=None, url=gate.url) as program:
        gate.hold(program)
        assert program.report().result == [gate.path] * 100
