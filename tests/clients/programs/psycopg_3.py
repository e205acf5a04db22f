"""psycopg 3, and its pool. Which implementation it has, pure or compiled, the environment says (PSYCOPG_IMPL)."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

import harness
import psycopg
from harness import config, crowd

assert psycopg.pq.__impl__ == os.environ["PSYCOPG_IMPL"]


def connect(**more: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(config.dsn, autocommit=True, **more)


def silence() -> None:
    """No warnings of psycopg of what is meant: connections that come back closed, or in the middle of a query."""
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def nothing() -> None:
    """Has psycopg imported, and ends."""


def hundred(count: int = 100) -> list[Any]:
    """Each waits for a lock in the server."""

    def work(number: int) -> Any:
        with connect() as connection:
            return connection.execute("select %s::int from (select pg_advisory_lock_shared(%s)) as waited", (number, config.lock)).fetchone()

    return crowd(work, count)


def twenty() -> list[Any]:
    return hundred(20)


def sleepers() -> list[Any]:
    """Each sleeps in the server; together it takes not much longer than one of them."""
    began = time.monotonic()

    def work(number: int) -> Any:
        with connect() as connection:
            return connection.execute("select pg_sleep(1)").fetchall()

    crowd(work)
    return [time.monotonic() - began < 45]


def cursors() -> list[Any]:
    """Server-side cursors, many rows, transactions and prepared statements, in a crowd that all read and write one table."""
    with connect() as connection:
        connection.execute(f"create table {config.table} (id int primary key, word text)")

    def work(number: int) -> Any:
        with psycopg.connect(config.dsn) as connection:
            with connection.transaction():
                with connection.cursor() as cursor:
                    cursor.executemany(f"insert into {config.table} values (%s, %s)", [(number * 100 + row, f"word {row}") for row in range(100)])
            try:
                with connection.transaction():
                    connection.execute(f"insert into {config.table} values (%s, 'twice')", (number * 100,))
            except psycopg.errors.UniqueViolation:
                pass
            with connection.cursor(f"cursor{number}") as cursor:
                cursor.itersize = 10
                cursor.execute(f"select id from {config.table} where id between %s and %s order by id", (number * 100, number * 100 + 99))
                return [row[0] for row in cursor] == [number * 100 + row for row in range(100)]

    found = crowd(work, 20)
    with connect() as connection:
        return [all(found), connection.execute(f"select count(*) from {config.table}").fetchone()[0]]


def copies() -> list[Any]:
    """COPY in and out, more than the buffers of the kernel hold."""
    line = b"x" * 997 + b"\n"

    def work(number: int) -> Any:
        with connect() as connection:
            connection.execute("create temporary table words (word text)")
            with connection.cursor() as cursor:
                with cursor.copy("copy words from stdin") as copy:
                    for _ in range(1000):
                        copy.write(line)
                with cursor.copy("copy words to stdout") as copy:
                    return sum(len(block) for block in copy)

    return crowd(work, 10)


def pipelines() -> list[Any]:
    def work(number: int) -> Any:
        with connect() as connection, connection.pipeline():
            cursors = [connection.execute("select %s::int", (number + step,)) for step in range(20)]
            return sum(cursor.fetchone()[0] for cursor in cursors)

    return crowd(work, 20)


def notifications() -> list[Any]:
    """Each listens; the test notifies."""

    def work(number: int) -> Any:
        with connect() as connection:
            connection.execute(f"listen {config.channel}")
            quiet = list(connection.notifies(timeout=0.05))
            connection.execute(f"select pg_advisory_lock_shared({config.lock})")
            return [*quiet, *(notify.payload for notify in connection.notifies(timeout=40, stop_after=2))]

    return crowd(work)


def cancel_at_work(connection: psycopg.Connection[Any], pid: int) -> None:
    """Cancel the sleep of a connection, which process ``pid`` serves, as soon as the server is at it: before that there is nothing to cancel."""
    with connect() as other:
        while other.execute("select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'", (pid,)).fetchone() is None:
            time.sleep(0.01)
    connection.cancel_safe()


def cancelled() -> list[Any]:
    """A statement times out in the server; another is cancelled by a second task or thread. The connections are good for more."""

    def work(number: int) -> Any:
        found = []
        with connect() as connection:
            connection.execute("set statement_timeout = 500")
            try:
                connection.execute("select pg_sleep(30)")
            except psycopg.errors.QueryCanceled as error:
                found.append(str(error.diag.message_primary))
            connection.execute("set statement_timeout = 0")
            later = threading.Thread(target=cancel_at_work, args=(connection, connection.info.backend_pid))
            later.start()
            try:
                connection.execute("select pg_sleep(30)")
            except psycopg.errors.QueryCanceled as error:
                found.append(str(error.diag.message_primary))
            later.join()
            found.append(str(connection.execute("select 1").fetchone()))
        return found

    return crowd(work, 10)


def refused() -> list[Any]:
    """A server that is not there: at each address of a name."""

    def work(number: int) -> Any:
        try:
            psycopg.connect(f"host=localhost port={config.refused}")
        except psycopg.OperationalError as error:
            return type(error).__name__

    return crowd(work, 20)


def deaf() -> list[Any]:
    """A server that does not answer."""

    def work(number: int) -> Any:
        try:
            psycopg.connect(f"host=127.0.0.1 port={config.deaf} connect_timeout=2")
        except psycopg.OperationalError as error:
            return type(error).__name__

    return crowd(work, 20)


def killed() -> list[Any]:
    """Tasks are killed, or time out, in the middle of a query: their ``with`` block closes the connection, which has an answer outstanding."""
    import coopcore

    silence()

    connections = []

    def work(number: int) -> str:
        timeout = coopcore.Timeout(45 if number % 2 else 0.2)
        try:
            with connect(application_name=config.name) as connection:
                connections.append(connection)
                timeout.start()  # not before: to connect may take a while
                connection.execute("select pg_advisory_lock(%s)", (config.lock,))
        except coopcore.Timeout:
            return "timed out"
        finally:
            timeout.close()
        return "not reached"

    tasks = [coopcore.spawn(work, number) for number in range(20)]
    for task in tasks[::2]:
        assert task.get() == "timed out"
    while len(connections) < 20:
        coopcore.sleep(0.01)
    coopcore.killall(tasks)
    return [sorted({type(task.value).__name__ for task in tasks}), [connection.closed for connection in connections] == [True] * 20]


def timed_out() -> list[Any]:
    """A connection that is kept after a Timeout in the middle of a query says that it is busy. One whose query is cancelled in time is as good as new."""
    import coopcore

    connection = connect()
    try:
        with coopcore.Timeout(0.1):
            connection.execute("select pg_sleep(30)")
    except coopcore.Timeout:
        found = [connection.info.transaction_status.name]
    try:
        connection.execute("select 1")
    except psycopg.OperationalError as error:
        found.append(str(error))
    connection.cancel_safe()
    connection.close()

    with connect() as connection:
        later = coopcore.spawn(cancel_at_work, connection, connection.info.backend_pid)
        try:
            connection.execute("select pg_sleep(30)")
        except psycopg.errors.QueryCanceled:
            found.append(connection.info.transaction_status.name)
        later.join()
    return found


# -- the pool --------------------------------------------------------------------------------------------------------------


def pool() -> list[Any]:
    """A hundred share ten connections, which the pool's own threads open and repair; who waits longer than he may is told so."""
    from psycopg_pool import ConnectionPool, PoolTimeout

    silence()
    with ConnectionPool(config.dsn, min_size=2, max_size=10, open=False) as pool:
        pool.wait(40)

        def work(number: int) -> Any:
            with pool.connection(timeout=40) as connection:
                return connection.execute("select pg_backend_pid(), pg_sleep(0.002)").fetchone()[0]

        backends = crowd(work)
        found = [len(backends), 1 <= len(set(backends)) <= 10]
        with pool.connection() as connection:
            connection.execute("select 1")
            connection.close()  # the pool opens another in its place
        assert pool.get_stats()["pool_max"] == 10
    with ConnectionPool(config.dsn, min_size=1, max_size=1, open=True) as small:
        with small.connection():
            try:
                small.getconn(timeout=0.1)
            except PoolTimeout as error:
                found.append(type(error).__name__)
        with small.connection() as connection:
            found.append(connection.execute("select 1").fetchone())
    return found


def hundred_in_a_pool() -> list[Any]:
    from psycopg_pool import ConnectionPool

    with ConnectionPool(config.dsn, min_size=100, max_size=100, num_workers=10, open=True) as pool:
        pool.wait(40)

        def work(number: int) -> Any:
            with pool.connection(timeout=40) as connection:
                return connection.execute("select %s::int from (select pg_advisory_lock_shared(%s)) as waited", (number, config.lock)).fetchone()

        return crowd(work)


def killed_in_a_pool() -> list[Any]:
    """Tasks are killed in the middle of a query. The pool replaces their connections."""
    from psycopg_pool import ConnectionPool

    import coopcore
    from coop_plugins.queue import Queue

    silence()
    reached: Queue[int] = Queue()
    with ConnectionPool(config.dsn, min_size=5, max_size=5, kwargs={"application_name": config.name}, open=True) as pool:
        pool.wait(40)

        def work(number: int) -> None:
            with pool.connection(timeout=40) as connection:
                reached.put(number)
                connection.execute("select pg_advisory_lock(%s)", (config.lock,))

        tasks = [coopcore.spawn(work, number) for number in range(5)]
        for _ in tasks:
            reached.get()
        coopcore.killall(tasks)

        def after(number: int) -> Any:
            with pool.connection(timeout=40) as connection:
                return connection.execute("select %s::int", (number,)).fetchone()[0]

        return [sorted({type(task.value).__name__ for task in tasks}), crowd(after, 20) == list(range(20)), pool.get_stats()["pool_size"]]


def late() -> list[Any]:
    return list(harness.late(hundred))


if __name__ == "__main__":
    harness.main(globals())
