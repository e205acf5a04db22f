"""The module's functions that look up names. On the kernel's network they ask the hub's resolver; on another network, that.

Another network knows the addresses of names (`coopcore.protocols.Network`), and nothing of names of addresses: the resolver is asked for those as well.
"""

from __future__ import annotations

import socket as _stdlib
from typing import Any

from coop_plugins.resolver import current_resolver
from coopcore.lowlevel import hide_frames

from ._network import AddressInfo, KernelNetwork, current_network


def getaddrinfo(host: str | bytes | None, port: str | bytes | int | None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> AddressInfo:
    """As ``socket.getaddrinfo``, asked of this hub's network. At once for numeric addresses; parks for names."""
    return current_network().getaddrinfo(host, port, family, type, proto, flags)


def gethostbyname(hostname: str) -> str:
    """The IPv4 address of a name. At once for numeric addresses; parks for names."""
    if isinstance(current_network(), KernelNetwork) or hostname in ("", "<broadcast>"):
        return current_resolver().gethostbyname(hostname)
    address: str = getaddrinfo(hostname, None, _stdlib.AF_INET, _stdlib.SOCK_STREAM)[0][4][0]
    return address


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """As ``socket.gethostbyname_ex``, asked of this hub's resolver. Parks."""
    return current_resolver().gethostbyname_ex(hostname)


def gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    """As ``socket.gethostbyaddr``, asked of this hub's resolver. Parks."""
    return current_resolver().gethostbyaddr(ip_address)


def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """As ``socket.getnameinfo``, asked of this hub's resolver: at once with NI_NUMERICHOST, else parks."""
    return current_resolver().getnameinfo(sockaddr, flags)


def getfqdn(name: str = "") -> str:
    """As ``socket.getfqdn``: the full name of a host, or of this one; what was given, if none is found. Parks."""
    name = name.strip()
    if name in ("", "0.0.0.0", "::"):
        name = _stdlib.gethostname()
    try:
        found, aliases, _ = gethostbyaddr(name)
    except OSError:
        return name
    return next((full for full in (found, *aliases) if "." in full), found)


hide_frames(__file__)
