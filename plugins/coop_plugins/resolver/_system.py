"""The system's own look-ups, as they were before any patch, and what needs nobody's help: numeric addresses, None, the names that stand for addresses.

``coop_plugins.socket``, which stands in for the module when a program is patched, imports this one first.
"""

from __future__ import annotations

from socket import (
    AF_INET,
    AI_NUMERICHOST,
    EAI_NONAME,
    NI_NUMERICHOST,
    SOCK_STREAM,
    gaierror,
    getaddrinfo,
    gethostbyaddr,
    gethostbyname,
    gethostbyname_ex,
    getnameinfo,
    socket,
)
from typing import Any, TypeAlias

from coopcore.lowlevel import hide_frames

__all__ = ["AF_INET", "SOCK_STREAM", "getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo", "socket"]

hide_frames(__file__)

Host: TypeAlias = str | bytes | None
Port: TypeAlias = str | bytes | int | None
AddressInfo: TypeAlias = list[tuple[Any, ...]]
Named: TypeAlias = tuple[str, list[str], list[str]]


def addresses_at_once(host: Host, port: Port, family: int, type: int, proto: int, flags: int) -> AddressInfo | None:
    """The answer to ``getaddrinfo`` if it takes nobody to ask: for a numeric address, for None, and with AI_NUMERICHOST. None if ``host`` is a name.

    Raises whatever the system does for arguments that it refuses. A service's name is looked up in the system's list, which is a file.
    """
    if host is None or flags & AI_NUMERICHOST:
        return list(getaddrinfo(host, port, family, type, proto, flags))
    try:
        return list(getaddrinfo(host, port, family, type, proto, flags | AI_NUMERICHOST))
    except gaierror as error:
        if error.errno != EAI_NONAME:
            raise
        return None


def is_spelt_out(hostname: Any) -> bool:
    """True if ``gethostbyname`` of it asks nobody: for the words that stand for addresses, and for what it refuses."""
    if not isinstance(hostname, str | bytes | bytearray):
        return True
    return hostname in ("", b"", "<broadcast>", b"<broadcast>") or ("\0" in hostname if isinstance(hostname, str) else 0 in hostname)


def text_or_bytes(hostname: Any) -> str | bytes:
    """A host's name as ``getaddrinfo`` takes it; others take a bytearray too."""
    return hostname if isinstance(hostname, str) else bytes(hostname)


def is_numeric(flags: int) -> bool:
    """True if ``getnameinfo`` with these flags asks nobody."""
    return bool(flags & NI_NUMERICHOST)
