"""psycopg 3 and psycopg_pool, unmodified and patched, against a real PostgreSQL: in pure Python upon libpq, and with the compiled implementation,
whose wait function in C the patch has it leave alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from .servers.postgres_server import Postgres
from .servers.processes import Program

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'psycopg[binary]'", exc_type=ImportError)

_numbers = itertools.count(1)


@pytest.fixture(params=["python", "binary"])
def implementation(request: pytest.FixtureRequest) -> str:
    if request.param == "binary":
        pytest.importorskip("psycopg_binary", reason="psycopg's compiled implementation is not installed: pip install 'psycopg[binary]'")
    else:
        pytest.importorskip("psycopg.pq.pq_ctypes", reason="psycopg in pure Python needs libpq: apt-get install libpq5", exc_type=ImportError)
    return str(request.param)


class Observer:
    """A connection of the test's own, unpatched; and a lock that no other test uses, which it holds from the beginning."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.lock = next(_numbers)
        self.ask("select pg_advisory_lock(%s)", self.lock)

    def ask(self, query: str, *arguments: Any) -> Any:
        (value,) = self.connection.execute(query, arguments).fetchone()
        return value

    def waiting(self) -> int:
        """How many statements are active in the server and wait for the lock, right now."""
        return int(
            self.ask(
                "select count(*) from pg_stat_activity join pg_locks using (pid) "
                "where state = 'active' and wait_event_type = 'Lock' and locktype = 'advisory' and not granted and objid = %s",
                self.lock,
            )
        )

    def release(self) -> None:
        self.ask("select pg_advisory_unlock(%s)", self.lock)

    def hold(self, program: Program, count: int = 100) -> None:
        """Wait until so many statements are in progress, see that the client idles meanwhile, and let them go on."""
        program.until(lambda: self.waiting() == count, f"{count} statements are active in the server")
        program.assert_idle()
        self.release()


@pytest.fixture
def observer(postgres: Postgres) -> Iterator[Observer]:
    with psycopg.connect(postgres.unix, autocommit=True) as connection:
        yield Observer(connection)


class Programs:
    """Starts cases of the program with one of psycopg's implementations."""

    def __init__(self, implementation: str, dsn: str) -> None:
        self._environment = {"PSYCOPG_IMPL": implementation}
        self._dsn = dsn

    def __call__(self, case: str, how: str = "threads", **config: Any) -> Program:
        return Program("psycopg_3", case, how=how, environment=self._environment, **{"dsn": self._dsn, **config})


@pytest.fixture
def start(implementation: str, postgres: Postgres) -> Programs:
    """With each implementation."""
    return Programs(implementation, postgres.tcp)


@pytest.fixture
def start_one(postgres: Postgres) -> Programs:
    """With the implementation that psycopg takes if it is not told: the compiled one, where that is installed."""
    return Programs(psycopg.pq.__impl__, postgres.tcp)


def test_100_statements_are_in_progress_at_once(start: Programs, observer: Observer, how: str) -> None:
    with start("hundred", how, lock=observer.lock) as program:
        observer.hold(program)
        assert program.report().result == [[number] for number in range(100)]


@pytest.mark.parametrize("way", ["unix", "tls"])
def test_100_statements_over_the_unix_socket_and_tls(start_one: Programs, postgres: Postgres, observer: Observer, way: str) -> None:
    with start_one("hundred", dsn=getattr(postgres, way), lock=observer.lock) as program:
        observer.hold(program)
        assert program.report().result == [[number] for number in range(100)]


def test_100_sleep_in_the_server(start_one: Programs) -> None:
    with start_one("sleepers") as program:
        assert program.report().result == [True]


def test_cursors_and_transactions(start: Programs) -> None:
    with start("cursors", table=f"table{next(_numbers)}") as program:
        assert program.report().result == [True, 2000]


def test_copy_in_and_out(start: Programs) -> None:
    with start("copies") as program:
        assert program.report().result == [998_000] * 10


def test_pipelines(start: Programs) -> None:
    with start("pipelines") as program:
        assert program.report().result == [number * 20 + 190 for number in range(20)]


def test_notifications(start: Programs, observer: Observer) -> None:
    channel = f"channel{next(_numbers)}"
    with start("notifications", channel=channel, lock=observer.lock) as program:
        observer.hold(program)
        observer.connection.execute(f"notify {channel}, 'one'")
        observer.connection.execute(f"notify {channel}, 'two'")
        assert program.report().result == [["one", "two"]] * 100


def test_statements_that_are_cancelled(start: Programs) -> None:
    with start("cancelled") as program:
        words = ["canceling statement due to statement timeout", "canceling statement due to user request", "(1,)"]
        assert program.report().result == [words] * 10


def test_connections_that_are_refused(start_one: Programs, refusing: int) -> None:
    with start_one("refused", refused=refusing) as program:
        assert program.report().result == ["OperationalError"] * 20


@pytest.mark.slow(reason="two seconds are the shortest connect_timeout that libpq has")
def test_connections_that_time_out(start_one: Programs, deaf: int) -> None:
    with start_one("deaf", deaf=deaf) as program:
        assert program.report().result == ["ConnectionTimeout"] * 20


def test_tasks_that_are_killed_in_the_middle_of_a_query(start: Programs, observer: Observer) -> None:
    with start("killed", lock=observer.lock, name=f"name{observer.lock}") as program:
        assert program.report().result == [["TaskExit", "str"], True]


def test_a_connection_after_a_timeout_in_the_middle_of_a_query(start: Programs) -> None:
    with start("timed_out") as program:
        assert program.report().result == ["ACTIVE", "sending query failed: another command is already in progress", "IDLE"]


def test_a_pool_that_is_exhausted(start_one: Programs, how: str) -> None:
    with start_one("pool", how) as program:
        assert program.report().result == [100, True, "PoolTimeout", [1]]


def test_100_statements_in_a_pool(start_one: Programs, observer: Observer, how: str) -> None:
    with start_one("hundred_in_a_pool", how, lock=observer.lock) as program:
        observer.hold(program)
        assert program.report().result == [[number] for number in range(100)]


def test_tasks_that_are_killed_in_the_middle_of_a_query_of_a_pool(start: Programs, observer: Observer) -> None:
    with start("killed_in_a_pool", lock=observer.lock, name=f"name{observer.lock}") as program:
        assert program.report().result == [["TaskExit"], True, 5]


def test_a_block_that_is_patched_after_the_imports(start_one: Programs, observer: Observer) -> None:
    with start_one("late", run=None, lock=observer.lock) as program:
        observer.hold(program)
        assert program.report().result == [[number] for number in range(100)]


@pytest.mark.parametrize("function", ["wait_select", "wait_selector", "wait_epoll"])
def test_the_other_wait_functions_cooperate_too(postgres: Postgres, observer: Observer, function: str) -> None:
    chosen = {"PSYCOPG_IMPL": psycopg.pq.__impl__, "PSYCOPG_WAIT_FUNC": function}
    with Program("psycopg_3", "twenty", environment=chosen, dsn=postgres.tcp, lock=observer.lock) as program:
        observer.hold(program, 20)
        assert program.report().result == [[number] for number in range(20)]


def test_the_compiled_wait_function_is_found_to_block(postgres: Postgres, observer: Observer) -> None:
    pytest.importorskip("psycopg_binary", reason="psycopg's compiled implementation is not installed: pip install 'psycopg[binary]'")
    chosen = {"PSYCOPG_IMPL": "binary", "PSYCOPG_WAIT_FUNC": "wait_c"}
    with Program("psycopg_3", "hundred", how="tasks", environment=chosen, dsn=postgres.tcp, lock=observer.lock) as program:
        program.until(lambda: observer.waiting() == 1, "the first is active, and the others wait with it")
        program.patience = 0.1
        with pytest.raises(pytest.fail.Exception, match="hangs, still not so: 100 statements are active in the server"):
            observer.hold(program)
    with Program("psycopg_3", "nothing", environment=chosen, run=["--audit"]) as program:
        program.line(r"\[library\] psycopg: waits by its wait_c, inside compiled code")
