"""Asks the resolver on dnspython and the system's own library the same questions, and prints where the answers differ. Run by test_resolver_system.py.

It wants a network and mounts of its own (`unshare -mn`): it puts other files in the place of /etc/hosts and /etc/resolv.conf, and a name server on port 53.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from dns_server import DnsServer

import coopcore
from coop_plugins.resolver.dnspython import DnsResolver

HOSTS = """127.0.0.1 localhost
10.0.0.1 first.hosts Alias.one alias2 # comment
10.0.0.2 first.hosts other
fe80::1%lo scoped
::1 six.hosts both.hosts
10.0.0.9 both.hosts
bad.address bad.hosts
010.0.0.1 octal.hosts
10.0.0.3	tabbed.hosts	tabbed2
2001:db8::5 sixonly.hosts s6
   10.0.0.4 indented.hosts
10.0.0.1 second.name
::ffff:10.1.1.1 mapped.hosts
"""
CONF = "nameserver 127.0.0.1\nsearch dom.test other.test\noptions timeout:1 attempts:1\n"
RECORDS: dict[str, Any] = {
    "www.test.": {"A": ["192.0.2.1", "192.0.2.2"]},
    "six.test.": {"AAAA": ["2001:db8::1"]},
    "both.test.": {"A": ["192.0.2.3"], "AAAA": ["2001:db8::3"]},
    "alias.test.": {"CNAME": ["alias2.test."]},
    "alias2.test.": {"CNAME": ["both.test."]},
    "nodata.test.": {"TXT": ["x"]},
    "big.test.": {"A": [f"192.0.2.{number}" for number in range(1, 60)], "truncated": True},
    "short.dom.test.": {"A": ["192.0.2.10"]},
    "short2.other.test.": {"A": ["192.0.2.11"]},
    "a.b.dom.test.": {"A": ["192.0.2.12"]},
    "half.dom.test.": {"TXT": ["x"]},
    "failing.dom.test.": "servfail",
    "failing.other.test.": {"A": ["192.0.2.14"]},
    "xn--bcher-kva.test.": {"A": ["192.0.2.13"]},
    "foo_bar.test.": {"A": ["192.0.2.20"]},
    "1.2.0.192.in-addr.arpa.": {"PTR": ["www.test."]},
    "2.2.0.192.in-addr.arpa.": {"PTR": ["a.test.", "b.test."]},
    "9.2.0.192.in-addr.arpa.": "servfail",
    "8.2.0.192.in-addr.arpa.": {"TXT": ["x"]},
    "7.2.0.192.in-addr.arpa.": {"CNAME": ["7.sub.arpa."]},
    "7.sub.arpa.": {"PTR": ["seven.test."]},
    "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.": {"PTR": ["v6.test."]},
}
NAMES: list[Any] = [
    *("www.test", "www.test.", "WWW.Test", "six.test", "both.test", "alias.test", "nodata.test", "big.test", "bücher.test", b"www.test", "foo_bar.test"),
    *("short", "short2", "a.b", "half", "failing", "nowhere", "nowhere.test", "1.2.3", "256.1.1.1", "[::1]", "127.1", "::1", "fe80::1%lo", "fe80::1%bad", "*"),
    *("first.hosts", "FIRST.hosts", "alias.one", "alias2", "other", "both.hosts", "six.hosts", "bad.hosts", "octal.hosts", "tabbed2", "sixonly.hosts", "s6"),
    *(
        "indented.hosts",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "scoped",
        "second.name",
        "a b",
        " 127.0.0.1",
        "-x.test",
        "x*.test",
        "www.test\\.x",
        "",
        ".",
        None,
    ),
    *(b"a..b", b"x" * 64, b"x." * 130, b"caf\xc3\xa9.test", b".www.test", b"www.test..", "a..b", "x" * 70, "a\0b", b"a\0b"),
]
ADDRESSES = [
    *("192.0.2.1", "192.0.2.2", "192.0.2.9", "192.0.2.8", "192.0.2.7", "192.0.2.200", "127.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.9"),
    *("2001:db8::5", "2001:db8::77", "::1", "::ffff:10.0.0.1", "::ffff:10.1.1.1", "fe80::1%lo", "0.0.0.0", "::"),
]
Question = tuple[Any, ...]


def questions() -> Iterator[Question]:
    """A function's name and its arguments."""
    families = (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6)
    flags = (socket.AI_ADDRCONFIG, socket.AI_V4MAPPED, socket.AI_V4MAPPED | socket.AI_ALL, socket.AI_PASSIVE, socket.AI_NUMERICSERV, socket.AI_NUMERICHOST)
    for name in NAMES:
        for family in families:
            yield "getaddrinfo", name, 80, family, socket.SOCK_STREAM
            yield "getaddrinfo", name, "http", family, 0, 0, socket.AI_CANONNAME
        for family, flag in itertools.product(families, flags):
            yield "getaddrinfo", name, None, family, socket.SOCK_DGRAM, 0, flag
        yield "getaddrinfo", name, "http", socket.AF_INET, socket.SOCK_DGRAM, 0, socket.AI_ADDRCONFIG
        for function in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
            yield function, name
    for name in ("www.test", "localhost", "127.0.0.1"):
        for port in (0, "0", "80", "http", "nosuch", -1, 65536, "", b"http", 1.5, "http ", "domain"):
            for kind, proto in itertools.product((0, 1, 2, 3, 5, 99), (0, 6, 17, 132, 255)):
                yield "getaddrinfo", name, port, 0, kind, proto
        for flag in (1 << 20, -1, 0x400, 0x8, 0x10):
            yield "getaddrinfo", name, 80, 0, 0, 0, flag
        for family in (1, 99, -1):
            yield "getaddrinfo", name, 80, family
    for address in ADDRESSES:
        yield "gethostbyaddr", address
        for flag in (0, socket.NI_NAMEREQD, socket.NI_NUMERICHOST, socket.NI_NUMERICSERV, socket.NI_DGRAM, socket.NI_NAMEREQD | socket.NI_NUMERICHOST):
            yield "getnameinfo", (address, 80), flag
            yield "getnameinfo", (address, 1), flag
    for sockaddr in (
        (),
        ("127.0.0.1",),
        ("127.0.0.1", 80, 0, 0, 0),
        ("www.test", 80),
        ("127.0.0.1", "80"),
        ("127.0.0.1", -1),
        ("127.0.0.1", 70000),
        (None, 80),
    ):
        yield "getnameinfo", sockaddr, 0
    for thing in (5, 1.5, bytearray(b"www.test"), ["a"], b""):
        for function in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
            yield function, thing
        yield "getaddrinfo", thing, 80


def is_known(question: Question) -> bool:
    """Where the system's answer is an accident: the number of its herror for the empty name is what the last look-up of the thread has left."""
    return question in [(function, name) for function in ("gethostbyname_ex", "gethostbyaddr") for name in ("", b"")]


def outcome(fn: Any, *args: Any) -> Any:
    try:
        return fn(*args)
    except Exception as error:
        return type(error).__name__, error.args


def compare() -> tuple[int, int]:
    ours = DnsResolver()
    asked = different = 0
    for question in questions():
        if is_known(question):
            continue
        asked += 1
        function, *args = question
        mine, theirs = outcome(getattr(ours, function), *args), outcome(getattr(socket, function), *args)
        if mine != theirs:
            different += 1
            print(f"{function}{tuple(args)}\n    ours:   {str(mine)[:500]}\n    system: {str(theirs)[:500]}")
    return asked, different


def set_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        up_and_running = 0x1 | 0x40
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", up_and_running))  # SIOCSIFFLAGS
    folder = tempfile.mkdtemp()
    for name, text in (("hosts", HOSTS), ("resolv.conf", CONF), ("nsswitch.conf", "hosts: files dns\n")):
        path = Path(folder, name)
        path.write_text(text)
        subprocess.run(["mount", "--bind", str(path), f"/etc/{name}"], check=True)


if __name__ == "__main__":
    set_up()
    with DnsServer(RECORDS, port=53):
        asked, different = coopcore.run(compare)
    print(f"{asked} questions, {different} answers that differ")
    sys.stdout.flush()
    os._exit(0 if not different else 1)
