"""redis-py. With its own parser, or that of hiredis (``config.hiredis``)."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import harness
from harness import config, crowd

if not config.hiredis:
    sys.modules["hiredis"] = None  # type: ignore[assignment]  # so that its import fails: redis-py then parses by itself

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.utils import HIREDIS_AVAILABLE

assert config.hiredis == HIREDIS_AVAILABLE


# redis-py 8 gives up after five seconds, which on a busy machine are soon over.
PATIENT = {"socket_timeout": None, "socket_connect_timeout": None}


def client_of(**more: Any) -> redis.Redis:
    """A client that tries once, and waits for as long as it takes."""
    return redis.Redis(**{"port": config.port, "retry": Retry(NoBackoff(), 0), "decode_responses": True, **PATIENT, **more})


def hundred() -> list[Any]:
    """Each waits for an item, on a connection of the one client's pool."""
    with client_of() as client:
        return crowd(lambda number: client.blpop(f"{config.key}:{number}"))


def hundred_on_unix() -> list[Any]:
    """Each has a client of its own, over the Unix socket."""

    def work(number: int) -> Any:
        with client_of(unix_socket_path=config.path) as client:
            return client.blpop(f"{config.key}:{number}")

    return crowd(work)


def hundred_over_tls() -> list[Any]:
    with client_of(port=config.tls_port, ssl=True, ssl_ca_certs=config.ca) as client:
        return crowd(lambda number: client.blpop(f"{config.key}:{number}"))


def subscribers() -> list[Any]:
    """Each listens to a channel, for two messages."""
    with client_of() as client:

        def work(number: int) -> Any:
            with client.pubsub() as channel:
                channel.subscribe(config.key)
                found = []
                for message in channel.listen():
                    if message["type"] == "message":
                        found.append(message["data"])
                    if len(found) == 2:
                        return found

        return crowd(work)


def subscriber_without_haste() -> list[Any]:
    """`get_message` with a timeout, and the thread that redis-py offers."""
    got: list[str] = []
    came = threading.Event()

    def handle(message: dict[str, Any]) -> None:
        got.append(message["data"])
        came.set()

    with client_of() as client, client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(**{config.key: handle})
        began = time.monotonic()
        while time.monotonic() - began < 0.1:
            assert channel.get_message(timeout=0.05) is None
        thread = channel.run_in_thread(sleep_time=0.05)
        client.publish(config.key, "a word")
        assert came.wait(10)
        thread.stop()
        thread.join(10)
        return [*got, thread.is_alive()]


def pipelines() -> list[Any]:
    """Each sends 20 commands at a time; then all contend for one key, with WATCH."""
    with client_of() as client:

        def work(number: int) -> Any:
            with client.pipeline() as pipe:
                for _ in range(20):
                    pipe.incr(f"{config.key}:{number}")
                return pipe.execute()[-1]

        def contend(number: int) -> Any:
            def add_one(pipe: Any) -> None:
                value = int(pipe.get(config.key) or 0)
                pipe.multi()
                pipe.set(config.key, value + 1)

            return client.transaction(add_one, config.key)

        lasts = crowd(work)
        crowd(contend, 20)
        return [sorted(set(lasts)), client.get(config.key)]


def locks() -> list[Any]:
    """A lock in the server: ten add to a value that none of them guards otherwise."""
    held, most = [0], [0]
    with client_of() as client:

        def work(number: int) -> None:
            with client.lock(config.key, timeout=20, sleep=0.002):
                held[0] += 1
                most[0] = max(most[0], held[0])
                client.ping()
                held[0] -= 1

        crowd(work, 10)
        lock = client.lock(config.key, timeout=20)
        assert lock.acquire()
        other = client.lock(config.key, sleep=0.01)
        found = [most[0], other.acquire(blocking_timeout=0.05)]
        lock.release()
        return found


def pool() -> list[Any]:
    """A hundred share ten connections; one more client, who waits for a connection no longer than it may, is told so."""
    waiting = redis.BlockingConnectionPool(max_connections=10, timeout=40, port=config.port, decode_responses=True, **PATIENT)
    with client_of(connection_pool=waiting) as client:
        ids = crowd(lambda number: client.client_id())
    waiting.disconnect()

    small = redis.BlockingConnectionPool(max_connections=2, timeout=0.1, port=config.port, decode_responses=True, **PATIENT)
    found = []
    with client_of(connection_pool=small) as client:
        holders = [small.get_connection(), small.get_connection()]
        try:
            client.ping()
        except redis.ConnectionError as error:
            found.append(str(error))
        for holder in holders:
            small.release(holder)
        found.append(client.ping())
    small.disconnect()

    refusing = redis.ConnectionPool(max_connections=1, port=config.port, **PATIENT)
    held = refusing.get_connection()
    try:
        client_of(connection_pool=refusing).ping()
    except redis.ConnectionError as error:
        found.append(str(error))
    refusing.release(held)
    refusing.disconnect()
    return [len(ids), 1 <= len(set(ids)) <= 10, *found]


def timeouts() -> list[Any]:
    """In the middle of a command, and at connecting. The connection whose answer never came is not used again."""

    def work(number: int) -> Any:
        found = []
        with client_of(socket_timeout=1) as client:  # in which the answer to the echo must come, too
            try:
                client.blpop(f"{config.key}:{number}")
            except redis.TimeoutError:
                found.append("no answer")
            found.append(client.echo(f"{number}"))
        with client_of(port=config.deaf, socket_connect_timeout=0.2) as client:
            try:
                client.ping()
            except redis.TimeoutError:
                found.append("no connection")
        return found

    return crowd(work, 20)


def killed() -> list[Any]:
    """Tasks are killed, or time out, in the middle of a command. What comes after on the same client gets its own answers."""
    import coopcore

    with client_of() as client, client_of() as observer:

        def work(number: int) -> Any:
            with coopcore.Timeout(45 if number % 2 else 0.2, False):
                client.blpop(f"{config.key}:{number}")
                return "an item"
            return "timed out"

        tasks = [coopcore.spawn(work, number) for number in range(40)]
        coopcore.joinall(tasks[::2])
        while observer.info("clients")["blocked_clients"] < 20:
            coopcore.sleep(0.005)
        coopcore.killall(tasks[1::2])
        for number in range(40):
            client.rpush(f"{config.key}:{number}", "late")
        echoes = crowd(lambda number: client.echo(f"{number}"), 40)
        left = sum(client.llen(f"{config.key}:{number}") for number in range(40))
        ends = {str(type(task.value).__name__ if task.value != "timed out" else task.value) for task in tasks}
        return [sorted(ends), echoes == [f"{number}" for number in range(40)], left]


def late() -> list[Any]:
    return list(harness.late(hundred))


if __name__ == "__main__":
    harness.main(globals())
