"""The contract of `protocols.Resolver`: what can be known of the answers without a name server, and what every look-up owes to the hub."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import coopcore

from ..protocols import Resolver
from ._base import raises

_HTTP = 80


class ResolverContract:
    """Subclass it, and let ``make`` return a new resolver. Nobody outside of this machine is asked."""

    def make(self) -> Resolver:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new resolver")

    def _run(self, main: Callable[[Resolver], None]) -> None:
        coopcore.run(main, self.make())

    def test_it_has_every_method(self) -> None:
        resolver = self.make()
        assert isinstance(resolver, Resolver), f"{resolver!r} lacks a method of coopcore.protocols.Resolver"

    def test_numeric_addresses_are_answered_as_the_system_does(self) -> None:
        def main(resolver: Resolver) -> None:
            for host in ("127.0.0.1", b"127.0.0.1", "127.1", "::1", "::ffff:192.0.2.1"):
                assert resolver.getaddrinfo(host, _HTTP) == socket.getaddrinfo(host, _HTTP), f"getaddrinfo({host!r}, {_HTTP})"
            assert resolver.gethostbyname("127.0.0.1") == "127.0.0.1", "gethostbyname of a number is that number"

        self._run(main)

    def test_no_host_is_this_one(self) -> None:
        def main(resolver: Resolver) -> None:
            for flags in (0, socket.AI_PASSIVE):
                found = resolver.getaddrinfo(None, _HTTP, 0, socket.SOCK_STREAM, 0, flags)
                assert found == socket.getaddrinfo(None, _HTTP, 0, socket.SOCK_STREAM, 0, flags), f"getaddrinfo(None, {_HTTP}) with flags {flags}"

        self._run(main)

    def test_family_type_and_protocol_narrow_the_answer(self) -> None:
        def main(resolver: Resolver) -> None:
            found = resolver.getaddrinfo("127.0.0.1", _HTTP, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
            assert [entry[:3] for entry in found] == [(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)], f"only UDP over IPv4 was asked for: {found!r}"

        self._run(main)

    def test_a_number_alone_was_asked_for(self) -> None:
        def main(resolver: Resolver) -> None:
            with raises(socket.gaierror, "AI_NUMERICHOST, and what was given is a name") as caught:
                resolver.getaddrinfo("localhost", _HTTP, 0, 0, 0, socket.AI_NUMERICHOST)
            assert getattr(caught[0], "errno", None) == socket.EAI_NONAME, f"EAI_NONAME was due, not {caught[0]!r}"

        self._run(main)

    def test_an_unknown_service_is_an_error(self) -> None:
        def main(resolver: Resolver) -> None:
            with raises(socket.gaierror, "there is no service of that name") as caught:
                resolver.getaddrinfo("127.0.0.1", "no such service", 0, socket.SOCK_STREAM)
            assert getattr(caught[0], "errno", None) == socket.EAI_SERVICE, f"EAI_SERVICE was due, not {caught[0]!r}"

        self._run(main)

    def test_the_wrong_family_is_an_error(self) -> None:
        def main(resolver: Resolver) -> None:
            with raises(socket.gaierror, "::1 is no IPv4 address"):
                resolver.getaddrinfo("::1", _HTTP, socket.AF_INET)

        self._run(main)

    def test_names_of_numbers(self) -> None:
        def main(resolver: Resolver) -> None:
            flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            found = resolver.getnameinfo(("127.0.0.1", _HTTP), flags)
            assert found == ("127.0.0.1", str(_HTTP)), f"getnameinfo with both numeric flags returned {found!r}"

        self._run(main)

    def test_its_answers_are_the_callers(self) -> None:
        def main(resolver: Resolver) -> None:
            first: list[Any] = resolver.getaddrinfo("127.0.0.1", _HTTP)
            first.clear()
            assert resolver.getaddrinfo("127.0.0.1", _HTTP), "a list that was returned was changed by its owner, and the next answer with it"

        self._run(main)

    def test_it_is_closed_with_its_hub_and_may_be_closed_again(self) -> None:
        resolver = self.make()

        def main() -> None:
            resolver.getaddrinfo("127.0.0.1", _HTTP)

        coopcore.run(main, resolver=resolver)
        resolver.close()
        resolver.close()
