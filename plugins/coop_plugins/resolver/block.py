"""The system's own look-ups, done right here: the whole thread waits, with every task. For comparisons, and for programs that may start no thread."""

from __future__ import annotations

from typing import Any

from coopcore.lowlevel import hide_frames

from . import _system
from ._system import AddressInfo, Host, Named, Port

__all__ = ["BlockResolver"]

hide_frames(__file__)


class BlockResolver:
    """Implements `coopcore.protocols.Resolver`, all but its promise that other tasks run meanwhile."""

    def getaddrinfo(self, host: Host, port: Port, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> AddressInfo:
        """As ``socket.getaddrinfo``. Blocks the thread."""
        return list(_system.getaddrinfo(host, port, family, type, proto, flags))

    def gethostbyname(self, hostname: str) -> str:
        """As ``socket.gethostbyname``. Blocks the thread."""
        return _system.gethostbyname(hostname)

    def gethostbyname_ex(self, hostname: str) -> Named:
        """As ``socket.gethostbyname_ex``. Blocks the thread."""
        return _system.gethostbyname_ex(hostname)

    def gethostbyaddr(self, ip_address: str) -> Named:
        """As ``socket.gethostbyaddr``. Blocks the thread."""
        return _system.gethostbyaddr(ip_address)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As ``socket.getnameinfo``. Blocks the thread."""
        return _system.getnameinfo(sockaddr, flags)

    def close(self) -> None:
        """Nothing is held."""
