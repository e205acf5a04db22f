"""Which of several addresses to try first, by the rules of RFC 6724 that can be told without asking the kernel for its tables.

Those are: what can be reached before what cannot (rule 1), by the kernel's choice of a source address, for which a UDP socket is connected and nothing
is sent; a source of the same scope (2) and label (5); the precedence of the address (6); the smaller scope (8); for IPv6 the longer prefix in common with
the source (9). Else the order is kept. The system's ``/etc/gai.conf`` is not read.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import SOCK_DGRAM

from coopcore.lowlevel import hide_frames

from ._system import socket

hide_frames(__file__)

# The default policy table of RFC 6724: prefix, precedence, label.
_POLICIES = [
    (IPv6Network("::1/128"), 50, 0),
    (IPv6Network("::ffff:0:0/96"), 35, 4),
    (IPv6Network("2002::/16"), 30, 2),
    (IPv6Network("2001::/32"), 5, 5),
    (IPv6Network("fc00::/7"), 3, 13),
    (IPv6Network("::/96"), 1, 3),
    (IPv6Network("fec0::/10"), 1, 11),
    (IPv6Network("3ffe::/16"), 1, 12),
]
_ANY_OTHER = (40, 1)
_LINK, _SITE, _GLOBAL = 2, 5, 14


def sorted_addresses(addresses: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The addresses, each with its family, the best first. Connects a UDP socket for each if there are several; never waits."""
    return addresses if len(addresses) < 2 else sorted(addresses, key=_rank)


def _rank(entry: tuple[int, str]) -> tuple[int, ...]:
    family, text = entry
    destination = _as_ipv6(text)
    source = _source_for(family, text)
    precedence, label = _policy(destination)
    if source is None:
        return (1, 0, 0, -precedence, _scope(destination), 0)
    common = 0 if destination.ipv4_mapped else 128 - (int(destination) ^ int(source)).bit_length()
    return (0, _scope(source) != _scope(destination), _policy(source)[1] != label, -precedence, _scope(destination), -common)


def _source_for(family: int, address: str) -> IPv6Address | None:
    """From where the kernel would send to it; None if it would not."""
    try:
        with socket(family, SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((address, 65535))
            return _as_ipv6(sock.getsockname()[0])
    except OSError:
        return None


def _as_ipv6(text: str) -> IPv6Address:
    address = ip_address(text)
    return IPv6Address(f"::ffff:{address}") if isinstance(address, IPv4Address) else address


def _policy(address: IPv6Address) -> tuple[int, int]:
    return next(((precedence, label) for prefix, precedence, label in _POLICIES if address in prefix), _ANY_OTHER)


def _scope(address: IPv6Address) -> int:
    """As multicast addresses have it: 2 for the link, 5 for the site, 14 for the world."""
    if address.is_multicast:
        return address.packed[1] & 0xF
    inner = address.ipv4_mapped or address
    if inner.is_loopback or inner.is_link_local:
        return _LINK
    return _SITE if address.is_site_local else _GLOBAL
