"""The hosts file: parsed, and asked as the system's library asks it.

Names are compared without regard to case, as they stand: a name with a dot at its end is another one. All lines with a name count, for addresses and
aliases; the first gives the full name. Of an address only the first line counts. Who asks for IPv4 addresses alone also gets those that are written as
IPv6 ones, and 127.0.0.1 for ::1.
"""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from coopcore.lowlevel import hide_frames

hide_frames(__file__)

_LOOPBACK = inet_pton(AF_INET6, "::1")
_MAPPED = bytes(10) + b"\xff\xff"  # how an IPv4 address begins that is written as an IPv6 one


class Found(NamedTuple):
    """What is known of a name."""

    name: str
    """The full one."""
    aliases: list[str]
    addresses: list[tuple[int, str]]
    """Each with its family."""


class _Line(NamedTuple):
    family: int
    packed: bytes
    name: str
    aliases: list[str]


class Hosts:
    """What a hosts file says."""

    def __init__(self, text: str) -> None:
        self._by_name: dict[str, list[_Line]] = {}
        self._by_address: dict[bytes, _Line] = {}
        for written in text.splitlines():
            line = _parsed(written)
            if line is not None:
                self._by_address.setdefault(line.packed, line)
                for name in dict.fromkeys(name.lower() for name in (line.name, *line.aliases)):
                    self._by_name.setdefault(name, []).append(line)

    def find(self, name: str, families: Sequence[int], as_written: bool) -> Found | None:
        """The addresses of ``name`` that are of ``families``: ``as_written``, line by line; or one family after the other, IPv4 ones also in another shape."""
        lines = self._by_name.get(name.lower(), ())
        if as_written:
            fitting = [(line, line.family, inet_ntop(line.family, line.packed)) for line in lines if line.family in families]
        else:
            fitting = [(line, family, address) for family in families for line in lines if (address := _address_in(line, family)) is not None]
        if not fitting:
            return None
        first, *others = {id(line): line for line, _, _ in fitting}.values()
        aliases = list(first.aliases)
        for line in others:
            aliases += line.aliases if line.name == first.name else [*line.aliases, line.name]
        return Found(first.name, aliases, [(family, address) for _, family, address in fitting])

    def name_of(self, family: int, address: str) -> Found | None:
        """What an address is called."""
        line = self._by_address.get(inet_pton(family, address))
        return None if line is None else Found(line.name, line.aliases, [(family, address)])


def _parsed(written: str) -> _Line | None:
    address, *names = written.partition("#")[0].split() or [""]
    if not names:
        return None
    for family in (AF_INET, AF_INET6):
        try:
            return _Line(family, inet_pton(family, address), names[0], names[1:])
        except (OSError, ValueError):
            pass
    return None


def _address_in(line: _Line, family: int) -> str | None:
    if family == AF_INET and line.packed.startswith(_MAPPED):
        return inet_ntop(AF_INET, line.packed[12:])
    if family == AF_INET and line.packed == _LOOPBACK:
        return "127.0.0.1"
    return inet_ntop(family, line.packed) if line.family == family else None
