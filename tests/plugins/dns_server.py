"""A DNS server for tests, in threads of its own: on loopback, by UDP and TCP, from a table, with all the bad habits that a resolver must live with."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


def _bound(host: str, port: int, tries: int = 20) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket of the same port. One that is free for UDP may be taken for TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family)
    try:
        udp.bind((host, port))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, udp.getsockname()[1]))
        tcp.listen(50)
    except OSError as error:
        udp.close()
        tcp.close()
        if error.errno != errno.EADDRINUSE or not tries:
            raise
        return _bound(host, port, tries - 1)
    return udp, tcp


class DnsServer:
    """Answers from ``records``: ``{"www.test.": {"A": ["192.0.2.1"], "CNAME": [...]}}``. A name with a string in place of a dict has a habit:

    ``"silent"``: no answer; ``"servfail"``, ``"refused"``: that code; ``"forged"``: a wrong answer first, with another number; ``"garbage"``: no DNS message.
    A dict with ``"truncated"`` is told over TCP only, with ``"once silent"`` only when asked again. Unknown names are NXDOMAIN.
    """

    def __init__(self, records: dict[str, Any], host: str = "127.0.0.1", port: int = 0) -> None:
        self.records = records
        self.asked: list[tuple[str, str, str]] = []  # name, type, "udp" or "tcp"
        self.hold = threading.Event()  # answers wait for it
        self.hold.set()
        self._udp, self._tcp = _bound(host, port)
        self.host, self.port = self._udp.getsockname()[:2]
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve_udp, self._serve_tcp)]

    def __enter__(self) -> DnsServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.hold.set()
        with socket.socket(self._udp.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", (self.host, self.port))
        with socket.create_connection((self.host, self.port)) as last_connection:
            last_connection.sendall(b"\0\3end")
        for thread in self._threads:
            thread.join(10)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while (received := self._udp.recvfrom(65535))[0] != b"end":
            wire, address = received
            self._reply(wire, "udp", lambda answer, to=address: self._udp.sendto(answer, to))

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection, connection.makefile("rb") as stream:
                while size := stream.read(2):
                    wire = stream.read(int.from_bytes(size))
                    if wire == b"end":
                        return
                    self._reply(wire, "tcp", lambda answer, to=connection: to.sendall(len(answer).to_bytes(2) + answer))

    def _reply(self, wire: bytes, transport: str, send: Callable[[bytes], object]) -> None:
        self.hold.wait(10)
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        first = (name, kind, transport) not in self.asked
        self.asked.append((name, kind, transport))
        known = self.records.get(name, {})
        if known == "silent" or ("once silent" in known and first):
            return
        if known == "garbage":
            send(b"this is no DNS message")
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if known in ("servfail", "refused"):
            response.set_rcode(dns.rcode.from_text(known))
        elif name not in self.records:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif "truncated" in known and transport == "udp":
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, kind)
        if known == "forged":
            response.id = (query.id + 1) % 65536
            send(response.to_wire())
            response.id = query.id
        send(response.to_wire(max_size=65535))

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        known = self.records.get(name)
        if known == "forged":
            known = {"A": ["192.0.2.66"]}
        while isinstance(known, dict) and "CNAME" in known and kind != "CNAME":
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", known["CNAME"][0]))
            name = known["CNAME"][0]
            known = self.records.get(name)
        if isinstance(known, dict) and kind in known:
            # One set for each, since the records of a set are sent in any order.
            response.answer += [dns.rrset.from_text(name, 60, "IN", kind, record) for record in known[kind]]
