"""The real servers, one of each for all tests here of a process, and what the tests of all libraries share.

They end with the last of these tests, of this package: those of other packages ask the kernel for children and find theirs alone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .servers.postgres_server import Postgres, postgres_server
from .servers.redis_server import RedisServer, redis_server
from .servers.web import HttpServer, http_server, make_certificate


@pytest.fixture(params=["tasks", "threads", "executor"])
def how(request: pytest.FixtureRequest) -> str:
    """How a program starts its crowd: as tasks of coopcore, or as threads and in an executor, knowing nothing of coopcore."""
    return str(request.param)


@pytest.fixture(scope="package")
def http() -> Iterator[HttpServer]:
    with http_server() as server:
        yield server


@pytest.fixture(scope="package")
def http6() -> Iterator[HttpServer]:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 on the loopback here: {error}")
    with http_server("::1") as server:
        yield server


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="package")
def https(certificate: Path) -> Iterator[HttpServer]:
    with http_server(certificate=certificate) as server:
        yield server


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest) -> HttpServer:
    """With TLS and without."""
    found: HttpServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), certificate) as server:
        yield server


@pytest.fixture(scope="package")
def postgres(certificate: Path) -> Iterator[Postgres]:
    with postgres_server(certificate) as server:
        yield server


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that refuses each attempt to connect: it is taken, so that nobody else listens there, and nobody listens."""
    with ExitStack() as taken:
        sock = taken.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        try:
            taken.enter_context(socket.socket(socket.AF_INET6)).bind(("::1", port))
        except OSError:
            pass  # no IPv6 here, or somebody has it
        yield port


@pytest.fixture(scope="package")
def deaf() -> Iterator[int]:
    """A port that answers no attempt to connect: its queue is full, and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        for _ in range(3):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
