"""redis-py, unmodified and patched, against a real redis-server: with its own parser and with that of hiredis, which is C but does no I/O of its own."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from .servers.processes import Program
from .servers.redis_server import RedisServer

pytest.importorskip("redis", reason="redis-py is not installed: pip install redis")

_numbers = itertools.count()


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"key{next(_numbers)}"


@pytest.fixture(params=["hiredis", "python"])
def hiredis(request: pytest.FixtureRequest) -> bool:
    if request.param == "hiredis":
        pytest.importorskip("hiredis", reason="hiredis is not installed: pip install hiredis")
    return bool(request.param == "hiredis")


def hold(redis: RedisServer, program: Program, key: str) -> None:
    """Wait until 100 commands are in progress, see that the client idles meanwhile, and give each its item."""
    program.until(lambda: redis.blocked() == 100, "100 clients are blocked in the server")
    assert redis.clients("blpop") == 100
    program.assert_idle()
    for number in range(100):
        redis.ask("RPUSH", f"{key}:{number}", str(number))
    assert program.report().result == [[f"{key}:{number}", str(number)] for number in range(100)]


def test_100_commands_are_in_progress_at_once(redis: RedisServer, how: str, hiredis: bool, key: str) -> None:
    with Program("redis_py", "hundred", how=how, hiredis=hiredis, port=redis.port, key=key) as program:
        hold(redis, program, key)


def test_100_commands_over_the_unix_socket(redis: RedisServer, key: str) -> None:
    with Program("redis_py", "hundred_on_unix", hiredis=False, port=redis.port, path=redis.path, key=key) as program:
        hold(redis, program, key)


def test_100_commands_over_tls(redis: RedisServer, certificate: Path, hiredis: bool, key: str) -> None:
    # Each connection of redis-py loads the system's authorities, which are many.
    cheaper = {"SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": str(certificate.parent)}
    config = {"port": redis.port, "tls_port": redis.tls_port, "ca": str(certificate), "key": key}
    with Program("redis_py", "hundred_over_tls", environment=cheaper, hiredis=hiredis, **config) as program:
        hold(redis, program, key)


def test_100_subscribers(redis: RedisServer, hiredis: bool, key: str) -> None:
    with Program("redis_py", "subscribers", hiredis=hiredis, port=redis.port, key=key) as program:
        program.until(lambda: redis.subscribers(key) == 100, "100 clients have subscribed")
        program.assert_idle()
        assert redis.ask("PUBLISH", key, "one") == "100"
        assert redis.ask("PUBLISH", key, "two") == "100"
        assert program.report().result == [["one", "two"]] * 100


def test_a_subscriber_polls_and_listens_in_a_thread(redis: RedisServer, hiredis: bool, key: str) -> None:
    with Program("redis_py", "subscriber_without_haste", hiredis=hiredis, port=redis.port, key=key) as program:
        assert program.report().result == ["a word", False]


def test_pipelines_and_transactions(redis: RedisServer, key: str) -> None:
    with Program("redis_py", "pipelines", hiredis=False, port=redis.port, key=key) as program:
        assert program.report().result == [[20], "20"]


def test_locks_in_the_server(redis: RedisServer, key: str) -> None:
    with Program("redis_py", "locks", hiredis=False, port=redis.port, key=key) as program:
        assert program.report().result == [1, False]


def test_a_pool_that_is_exhausted(redis: RedisServer, how: str) -> None:
    with Program("redis_py", "pool", how=how, hiredis=False, port=redis.port) as program:
        assert program.report().result == [100, True, "No connection available.", True, "Too many connections"]


def test_timeouts(redis: RedisServer, deaf: int, hiredis: bool, key: str) -> None:
    with Program("redis_py", "timeouts", hiredis=hiredis, port=redis.port, deaf=deaf, key=key) as program:
        assert program.report().result == [["no answer", str(number), "no connection"] for number in range(20)]


def test_tasks_that_are_killed_in_the_middle_of_a_command(redis: RedisServer, hiredis: bool, key: str) -> None:
    with Program("redis_py", "killed", hiredis=hiredis, port=redis.port, key=key) as program:
        assert program.report().result == [["TaskExit", "timed out"], True, 40]


def test_a_block_that_is_patched_after_the_imports(redis: RedisServer, key: str) -> None:
    with Program("redis_py", "late", run=None, hiredis=False, port=redis.port, key=key) as program:
        hold(redis, program, key)


def test_a_client_that_blocks_its_hub_is_found(redis: RedisServer, key: str) -> None:
    unpatched = ["--skip", "socket", "--skip", "ssl"]
    with Program("redis_py", "hundred", how="tasks", run=unpatched, hiredis=False, port=redis.port, key=key) as program:
        program.until(lambda: redis.blocked() == 1, "the first is blocked, and the others with it")
        program.patience = 0.1
        with pytest.raises(pytest.fail.Exception, match=r"hangs, still not so: 100 clients are blocked[^$]*redis/_parsers/socket.py"):
            hold(redis, program, key)
