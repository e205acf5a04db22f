"""The look-ups of the socket module: which of them ask the resolver, and which the network."""

from __future__ import annotations

import os
import socket as stdlib
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins import socket
from coop_plugins.socket import KernelNetwork

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[..., Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any], **parts: Any) -> Any:
        return coopcore.run(body, backend=request.param, **parts)

    return run


class Noting:
    """A resolver that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def getaddrinfo(self, *args: Any) -> Any:
        self.asked.append(("getaddrinfo", *args))
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]

    def gethostbyname(self, *args: Any) -> Any:
        self.asked.append(("gethostbyname", *args))
        return "192.0.2.1"

    def gethostbyname_ex(self, *args: Any) -> Any:
        self.asked.append(("gethostbyname_ex", *args))
        return ("one.test", [], ["192.0.2.1"])

    def gethostbyaddr(self, *args: Any) -> Any:
        self.asked.append(("gethostbyaddr", *args))
        if args == ("nobody",):
            raise stdlib.herror(1, "Unknown host")
        return ("one", ["one.alias", "one.test"], ["192.0.2.1"]) if args != ("short",) else ("short", [], [])

    def getnameinfo(self, *args: Any) -> Any:
        self.asked.append(("getnameinfo", *args))
        return ("one.test", "http")

    def close(self) -> None:
        pass


class OtherNetwork:
    """One that is not the kernel's. It makes the kernel's sockets all the same."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.socket = KernelNetwork().socket
        self.socketpair = KernelNetwork().socketpair

    def getaddrinfo(self, *args: Any) -> Any:
        self.asked.append(args)
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", ("198.51.100.1", args[1]))]


def test_the_resolver_of_the_hub_is_asked(on: Run) -> None:
    resolver = Noting()

    def body() -> None:
        assert socket.getaddrinfo("one.test", 80)[0][4] == ("192.0.2.1", 80)
        assert socket.gethostbyname("one.test") == "192.0.2.1"
        assert socket.gethostbyname_ex("one.test") == ("one.test", [], ["192.0.2.1"])
        assert socket.gethostbyaddr("192.0.2.1")[0] == "one"
        assert socket.getnameinfo(("192.0.2.1", 80), 0) == ("one.test", "http")

    on(body, resolver=resolver)
    assert resolver.asked == [
        ("getaddrinfo", "one.test", 80, 0, 0, 0, 0),
        ("gethostbyname", "one.test"),
        ("gethostbyname_ex", "one.test"),
        ("gethostbyaddr", "192.0.2.1"),
        ("getnameinfo", ("192.0.2.1", 80), 0),
    ]


def test_another_network_is_asked_for_addresses(on: Run) -> None:
    resolver, network = Noting(), OtherNetwork()

    def body() -> None:
        assert socket.getaddrinfo("one.test", 80)[0][4] == ("198.51.100.1", 80)
        assert socket.gethostbyname("one.test") == "198.51.100.1"
        assert socket.gethostbyname("") == "192.0.2.1"
        assert socket.gethostbyaddr("198.51.100.1")[0] == "one"

    on(body, resolver=resolver, network=network)
    assert network.asked == [("one.test", 80, 0, 0, 0, 0), ("one.test", None, stdlib.AF_INET, stdlib.SOCK_STREAM, 0, 0)]
    assert [asked[0] for asked in resolver.asked] == ["gethostbyname", "gethostbyaddr"]


def test_getfqdn(on: Run) -> None:
    resolver = Noting()

    def body() -> None:
        assert socket.getfqdn(" something ") == "one.alias"
        assert socket.getfqdn("short") == "short"
        assert socket.getfqdn("nobody") == "nobody"
        assert socket.getfqdn() == socket.getfqdn("0.0.0.0") == "one.alias"

    on(body, resolver=resolver)
    assert [asked[1] for asked in resolver.asked] == ["something", "short", "nobody", stdlib.gethostname(), stdlib.gethostname()]


def test_the_look_ups_agree_with_the_standard_ones(on: Run) -> None:
    @on
    def body() -> None:
        assert socket.getaddrinfo("localhost", 80) == stdlib.getaddrinfo("localhost", 80)
        assert socket.gethostbyname("localhost") == stdlib.gethostbyname("localhost")
        assert socket.gethostbyname_ex("localhost") == stdlib.gethostbyname_ex("localhost")
        assert socket.gethostbyaddr("127.0.0.1") == stdlib.gethostbyaddr("127.0.0.1")
        assert socket.getnameinfo(("127.0.0.1", 80), 0) == stdlib.getnameinfo(("127.0.0.1", 80), 0)
        assert socket.getfqdn("localhost") == stdlib.getfqdn("localhost")
        with pytest.raises(stdlib.gaierror):
            socket.getaddrinfo("a.test", 80, flags=socket.AI_NUMERICHOST)
