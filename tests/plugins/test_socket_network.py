"""Another network in the kernel's place: names and ports that exist only in this process, behind objects that are no standard sockets."""

from __future__ import annotations

import errno
import io
import os
import socket as stdlib
from collections import deque
from typing import Any

import pytest

import coopcore
from coop_plugins import socket
from coopcore import spawn
from coopcore.errors import ClosedResourceError, UnknownOfferError
from coopcore.lowlevel import Network

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]


class Wire:
    """The network's object: has a standard socket's methods, as far as a connection needs them, and subclasses nothing."""

    family = stdlib.AF_INET
    type = stdlib.SOCK_STREAM
    proto = 0

    def __init__(self, network: HouseNetwork, end: stdlib.socket | None = None, names: tuple[Any, Any] = (None, None)) -> None:
        self.network = network
        self.end = end
        self.mine, self.peer = names
        self.backlog: deque[Wire] = deque()
        self.bell: stdlib.socket | None = None  # rung for each connection that can be accepted

    def bind(self, address: Any) -> None:
        self.mine = address

    def listen(self, backlog: int = 0) -> None:
        self.end, self.bell = stdlib.socketpair()
        self.end.setblocking(False)
        self.network.listeners[self.mine] = self

    def accept(self) -> tuple[Wire, Any]:
        assert self.end is not None
        self.end.recv(1)  # EAGAIN while nobody has called
        served = self.backlog.popleft()
        return served, served.peer

    def connect_ex(self, address: Any) -> int:
        listener = self.network.listeners.get(address)
        if listener is None or listener.bell is None:
            return errno.ECONNREFUSED
        self.end, far_end = stdlib.socketpair()
        self.end.setblocking(False)
        far_end.setblocking(False)
        self.mine, self.peer = ("caller", 1), address
        listener.backlog.append(Wire(self.network, far_end, (address, self.mine)))
        listener.bell.send(b"!")
        return 0

    def fileno(self) -> int:
        return -1 if self.end is None else self.end.fileno()

    def getsockname(self) -> Any:
        return self.mine

    def getpeername(self) -> Any:
        return self.peer

    def setsockopt(self, *args: Any) -> None:
        self.network.options.append(args)

    def close(self) -> None:
        for end in (self.end, self.bell):
            if end is not None:
                end.close()

    def dup(self) -> Wire:
        assert self.end is not None
        twin = self.end.dup()
        twin.setblocking(False)
        return Wire(self.network, twin, (self.mine, self.peer))

    def detach(self) -> int:
        assert self.end is not None
        return self.end.detach()

    def __getattr__(self, name: str) -> Any:
        if name in ("recv", "recv_into", "recvfrom", "recvmsg", "send", "sendmsg", "shutdown", "getsockopt"):
            return getattr(self.end, name)
        raise AttributeError(name)


class HouseNetwork:
    def __init__(self) -> None:
        self.listeners: dict[Any, Wire] = {}
        self.options: list[Any] = []

    def socket(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> Any:
        return Wire(self)

    def socketpair(self, family: int | None = None, type: int = -1, proto: int = 0) -> Any:
        ends = stdlib.socketpair()
        for end in ends:
            end.setblocking(False)
        return Wire(self, ends[0]), Wire(self, ends[1])

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[tuple[Any, ...]]:
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 0, "", (f"{host.removesuffix('.house')}.house", port))]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def in_house(body: Any, backend: str) -> None:
    def main() -> None:
        socket.use_network(HouseNetwork())
        body()

    coopcore.run(main, backend=backend)


def test_both_satisfy_the_protocol() -> None:
    assert isinstance(HouseNetwork(), Network)
    assert isinstance(socket.KernelNetwork(), Network)


def test_a_connection_through_another_network(backend: str) -> None:
    def body() -> None:
        with socket.create_server(("kitchen", 1)) as listener:
            assert isinstance(listener, socket.socket)
            assert listener.getsockname() == ("kitchen.house", 1)
            accepting = spawn(listener.accept)
            with socket.create_connection(("kitchen", 1), timeout=5) as client:
                served, address = accepting.get(timeout=5)
                assert address == ("caller", 1)
                assert "coop_plugins.socket.socket" in repr(served)
                with served, served.makefile("rb") as reading:
                    line = spawn(reading.readline)
                    client.sendall(b"to the ")
                    client.sendfile(io.BytesIO(b"kitchen\n"))
                    assert line.get(timeout=5) == b"to the kitchen\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("cellar", 1))

    in_house(body, backend)


def test_waits_end_there_as_they_do_here(backend: str) -> None:
    def body() -> None:
        one, other = socket.socketpair()
        with one, other, one.dup() as twin:
            twin.settimeout(0.01)
            with pytest.raises(TimeoutError):
                twin.recv(1)
            waiting = spawn(one.recv, 1)
            while waiting.state != "parked":
                coopcore.sleep(0)
            one.close()
            with pytest.raises(ClosedResourceError):
                waiting.get(timeout=5)
            other.sendall(b"x")
            twin.settimeout(5)
            assert twin.recv(1) == b"x"
            with stdlib.socket(fileno=other.detach()) as plain:
                assert plain.send(b"y") == 1

    in_house(body, backend)


def test_subclasses_of_users_work_there_too(backend: str) -> None:
    class Counted(socket.socket):
        made = 0

        def __init__(self) -> None:
            super().__init__()
            Counted.made += 1
            self.note = "mine"

    def body() -> None:
        with Counted() as counted:
            counted.bind(("attic", 3))
            assert (Counted.made, counted.note, counted.getsockname()) == (1, "mine", ("attic.house", 3))
            assert isinstance(counted, Counted)

    in_house(body, backend)


def test_a_network_is_the_hub_s_own(backend: str) -> None:
    def elsewhere() -> None:
        assert isinstance(socket.current_network(), socket.KernelNetwork)

    in_house(lambda: None, backend)
    coopcore.run(elsewhere, backend=backend)


def test_a_network_is_asked_for_by_name(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOP_NETWORK", "nowhere")
    with pytest.raises(UnknownOfferError, match="nowhere"):
        coopcore.run(socket.socketpair, backend=backend)


def test_use_network_returns_the_previous_one(backend: str) -> None:
    def body() -> None:
        house = socket.use_network(socket.KernelNetwork())
        assert isinstance(house, HouseNetwork)
        with socket.socket() as made:
            assert made.family == stdlib.AF_INET
            assert made._raw is None

    in_house(body, backend)
