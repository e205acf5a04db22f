"""Names and addresses: what is answered at once, what a thread looks up, and what happens to the hub meanwhile."""

from __future__ import annotations

import os
import socket as stdlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins import socket
from coop_plugins.socket import _resolve
from coopcore import sleep, spawn

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]


class Names:
    """The system's look-up, which takes as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.at_work = self.most = 0
        self.lock = threading.Lock()
        self.real = stdlib.getaddrinfo
        monkeypatch.setattr(stdlib, "getaddrinfo", self.getaddrinfo)

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


Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


def test_invariant_1_numeric_addresses_start_no_thread(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*args: Any) -> Any:
        raise AssertionError(f"a thread for {args!r}")

    monkeypatch.setattr(_resolve, "start_new_thread", no_thread)

    @on
    def body() -> None:
        for host in ("127.0.0.1", "::1", None, b"127.0.0.1"):
            assert socket.getaddrinfo(host, 80) == stdlib.getaddrinfo(host, 80)
        assert socket.getaddrinfo("127.0.0.1", "http", type=socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
        assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"
        assert socket.gethostbyname("") == "0.0.0.0"
        assert socket.gethostbyname("<broadcast>") == "255.255.255.255"
        assert socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == ("127.0.0.1", "80")
        with pytest.raises(stdlib.gaierror):
            socket.getaddrinfo("a.test", 80, flags=socket.AI_NUMERICHOST)
        with pytest.raises(stdlib.gaierror):
            socket.getaddrinfo("::1", 80, family=socket.AF_INET)


def test_the_others_run_during_a_look_up(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        asking = spawn(socket.getaddrinfo, "slow.test", 80)
        while not names.at_work:
            sleep(0)
        assert asking.waiting_on == "the addresses of 'slow.test'"
        names.go.set()
        assert asking.get(timeout=5)[0][4] == ("127.0.0.1", 80)


def test_invariant_2_so_many_look_ups_at_once(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        tasks = [spawn(socket.gethostbyname, f"{number}.test") for number in range(_resolve.MOST_THREADS + 5)]
        while names.at_work < _resolve.MOST_THREADS:
            sleep(0)
        tasks[0].kill(timeout=5)
        tasks[-1].kill(timeout=5)  # that one waits in line
        names.go.set()
        assert [task.get(timeout=5) for task in tasks[1:-1]] == ["127.0.0.1"] * (_resolve.MOST_THREADS + 3)
        assert names.most == _resolve.MOST_THREADS
        while _resolve._places[coopcore.get_hub()].free < _resolve.MOST_THREADS:
            sleep(0.001)


def test_invariant_3_a_look_up_is_no_deadlock(on: Run, names: Names) -> None:
    @on
    def body() -> None:
        threading.Timer(0.02, names.go.set).start()
        assert socket.gethostbyname("late.test") == "127.0.0.1"


def test_errors_come_from_the_thread(on: Run, names: Names) -> None:
    names.go.set()

    @on
    def body() -> None:
        with pytest.raises(stdlib.gaierror, match="no such name"):
            socket.create_connection(("none.test", 80))


def test_a_thread_that_cannot_start_costs_no_place(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_resolve, "start_new_thread", full)

    @on
    def body() -> None:
        for _ in range(_resolve.MOST_THREADS + 1):
            with pytest.raises(RuntimeError):
                socket.gethostbyaddr("127.0.0.1")
        assert coopcore.get_hub()._promises == {}


def test_a_hub_that_is_gone_when_the_answer_comes(names: Names) -> None:
    def body() -> None:
        asking = spawn(socket.gethostbyname, "slow.test")
        while not names.at_work:
            sleep(0)
        asking.kill(timeout=5)

    coopcore.run(body)
    names.go.set()
    while names.at_work:
        pass
    assert coopcore.run(lambda: socket.gethostbyname("quick.test")) == "127.0.0.1"


def test_the_other_look_ups_agree_with_the_standard_ones(on: Run) -> None:
    @on
    def body() -> None:
        assert socket.gethostbyname("localhost") == stdlib.gethostbyname("localhost")
        assert socket.gethostbyname_ex("localhost") == stdlib.gethostbyname_ex("localhost")
        assert socket.gethostbyaddr("127.0.0.1") == stdlib.gethostbyaddr("127.0.0.1")
        assert socket.getnameinfo(("127.0.0.1", 80), 0) == stdlib.getnameinfo(("127.0.0.1", 80), 0)
        assert socket.getfqdn("localhost") == stdlib.getfqdn("localhost")
