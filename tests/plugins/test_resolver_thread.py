"""The default resolver: what is answered at once, what a thread looks up, and what happens to the hub meanwhile. And how a hub comes by its resolver."""

from __future__ import annotations

import os
import socket as stdlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins import resolver
from coop_plugins.resolver import ThreadResolver, _system, current_resolver, thread, use_resolver
from coop_plugins.resolver.block import BlockResolver
from coopcore import get_hub, sleep, spawn
from coopcore.errors import InterfaceError, UnknownOfferError
from coopcore.testing import ResolverContract

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]


class TestThreadResolver(ResolverContract):
    def make(self) -> ThreadResolver:
        return ThreadResolver()


class TestBlockResolver(ResolverContract):
    def make(self) -> BlockResolver:
        return BlockResolver()


class Names:
    """The system's look-up, which takes as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.at_work = self.most = 0
        self.lock = threading.Lock()
        self.real = _system.getaddrinfo
        monkeypatch.setattr(_system, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if flags & stdlib.AI_NUMERICHOST or host is None:
            return self.real(host, port, family, type, proto, flags)
        with self.lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        assert self.go.wait(10)
        with self.lock:
            self.at_work -= 1
        if host == "none.test":
            raise stdlib.gaierror(stdlib.EAI_NONAME, "no such name")
        return self.real("127.0.0.1", port, family, type, proto, flags)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names(monkeypatch)
    yield made
    made.go.set()


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


def test_invariant_1_what_is_numeric_starts_no_thread(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*args: Any) -> Any:
        raise AssertionError(f"a thread for {args!r}")

    monkeypatch.setattr("coop_plugins.threadpool._crew._start_thread", no_thread)

    @on
    def body() -> None:
        ours = current_resolver()
        for host in ("127.0.0.1", "::1", None, b"127.0.0.1"):
            assert ours.getaddrinfo(host, 80) == stdlib.getaddrinfo(host, 80)
        assert ours.getaddrinfo("127.0.0.1", "http", type=stdlib.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
        assert ours.gethostbyname("127.0.0.1") == "127.0.0.1"
        assert ours.gethostbyname("") == "0.0.0.0"
        assert ours.gethostbyname("<broadcast>") == "255.255.255.255"
        assert ours.getnameinfo(("127.0.0.1", 80), stdlib.NI_NUMERICHOST | stdlib.NI_NUMERICSERV) == ("127.0.0.1", "80")
        with pytest.raises(stdlib.gaierror):
            ours.getaddrinfo("a.test", 80, flags=stdlib.AI_NUMERICHOST)
        with pytest.raises(stdlib.gaierror):
            ours.getaddrinfo("::1", 80, family=stdlib.AF_INET)
        with pytest.raises(TypeError):
            ours.gethostbyname(None)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(UnicodeError):
            ours.getaddrinfo("a..b", 80)


def test_the_others_run_during_a_look_up(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        asking = spawn(current_resolver().getaddrinfo, "slow.test", 80)
        while not names.at_work:
            sleep(0)
        assert asking.waiting_on == "the addresses of 'slow.test' in a thread"
        names.go.set()
        assert asking.get(timeout=5)[0][4] == ("127.0.0.1", 80)


def test_invariant_2_so_many_look_ups_at_once(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        ours = ThreadResolver()
        tasks = [spawn(ours.gethostbyname, f"{number}.test") for number in range(thread.MOST_THREADS + 5)]
        while names.at_work < thread.MOST_THREADS:
            sleep(0)
        tasks[0].kill(timeout=5)
        tasks[-1].kill(timeout=5)  # that one waits in line
        names.go.set()
        assert [task.get(timeout=5) for task in tasks[1:-1]] == ["127.0.0.1"] * (thread.MOST_THREADS + 3)
        assert names.most == thread.MOST_THREADS
        assert ours._pool.join(timeout=5)
        assert not ours._pool.full()


def test_invariant_3_a_look_up_is_no_deadlock(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        threading.Timer(0.02, names.go.set).start()
        assert current_resolver().gethostbyname("late.test") == "127.0.0.1"


def test_a_timeout_leaves_the_look_up_behind(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        with pytest.raises(coopcore.Timeout), coopcore.Timeout(0.001):
            current_resolver().getaddrinfo("slow.test", 80)
        names.go.set()
        assert current_resolver().gethostbyname("quick.test") == "127.0.0.1"


def test_errors_come_from_the_thread(on: Run, names: Names) -> None:
    names.go.set()

    @on
    def body() -> None:
        with pytest.raises(stdlib.gaierror, match="no such name"):
            current_resolver().getaddrinfo("none.test", 80)


def test_a_hub_that_is_gone_when_the_answer_comes(names: Names) -> None:
    def body() -> None:
        asking = spawn(current_resolver().gethostbyname, "slow.test")
        while not names.at_work:
            sleep(0)
        asking.kill(timeout=5)

    coopcore.run(body)
    names.go.set()
    while names.at_work:
        pass
    assert coopcore.run(lambda: current_resolver().gethostbyname("quick.test")) == "127.0.0.1"


HOSTS = ["localhost", "LOCALHOST", b"localhost", "127.1", "::1", "::ffff:1.2.3.4", "fe80::1%lo", None]  # of which no name server is asked


@pytest.mark.parametrize("make", [ThreadResolver, BlockResolver])
def test_all_answers_are_those_of_the_system(on: Run, make: Callable[[], Any]) -> None:
    def outcome(fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return fn(*args)
        except Exception as error:
            return type(error), str(error)

    @on
    def body() -> None:
        ours = make()
        questions: list[tuple[Any, ...]] = [("getaddrinfo", host, port, family) for host in HOSTS for port in (80, "http", "nosuch") for family in (0, 2)]
        for host in ("localhost", "127.0.0.1", "127.1", 5, None, bytearray(b"localhost")):
            questions += [("gethostbyname", host), ("gethostbyname_ex", host), ("gethostbyaddr", host)]
        for sockaddr in (("127.0.0.1", 80), ("localhost", 80), (), None, ("127.0.0.1", -1)):
            questions += [("getnameinfo", sockaddr, flags) for flags in (0, stdlib.NI_NUMERICHOST, stdlib.NI_NAMEREQD)]
        for name, *args in questions:
            assert outcome(getattr(ours, name), *args) == outcome(getattr(stdlib, name), *args), (name, args)


# -- which resolver a hub has ---------------------------------------------------------------------------------------------


class Table:
    """A resolver of somebody else's."""

    closed = 0

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    def gethostbyname(self, hostname: str) -> str:
        return "192.0.2.1"

    def gethostbyname_ex(self, hostname: str) -> Any:
        return (hostname, [], ["192.0.2.1"])

    def gethostbyaddr(self, ip_address: str) -> Any:
        return ("one.test", [], [ip_address])

    def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        return ("one.test", "80")

    def close(self) -> None:
        self.closed += 1


def test_the_default_is_made_when_it_is_needed_and_closed_with_the_hub(on: Run) -> None:
    made: list[Any] = []
    before = set(threading.enumerate())

    @on
    def body() -> None:
        assert get_hub().resolver is None
        made.append(current_resolver())
        assert isinstance(made[0], ThreadResolver)
        assert current_resolver() is made[0] is get_hub().resolver
        made[0].gethostbyname("localhost")
        assert made[0]._pool.size == 1

    for other in set(threading.enumerate()) - before:
        other.join(10)
    assert made[0]._pool.size == 0


def test_one_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    assert coopcore.run(lambda: current_resolver().gethostbyname("x"), resolver=table) == "192.0.2.1"
    assert table.closed == 1
    assert isinstance(coopcore.run(current_resolver, resolver="block"), BlockResolver)
    monkeypatch.setenv("COOP_RESOLVER", "block")
    assert isinstance(coopcore.run(current_resolver), BlockResolver)
    assert isinstance(coopcore.run(current_resolver, resolver="thread"), ThreadResolver)


def test_use_resolver(on: Run) -> None:
    table = Table()

    @on
    def body() -> None:
        default = use_resolver(table)
        assert isinstance(default, ThreadResolver)
        assert current_resolver() is table
        assert use_resolver("block") is table
        assert isinstance(use_resolver(table), BlockResolver)
        for wrong, error in (("nobody's", UnknownOfferError), (object(), InterfaceError), (Table, InterfaceError)):
            with pytest.raises(error):
                use_resolver(wrong)  # type: ignore[arg-type]  # that is the point
        assert current_resolver() is table

    assert table.closed == 1


def test_a_close_that_raises_does_not_stop_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    class Bad(Table):
        def close(self) -> None:
            raise ZeroDivisionError("on purpose")

    assert coopcore.run(lambda: 5, resolver=Bad()) == 5
    assert "ZeroDivisionError: on purpose" in capsys.readouterr().err


def test_the_surface() -> None:
    assert resolver.__all__ == ["ThreadResolver", "current_resolver", "use_resolver"]
