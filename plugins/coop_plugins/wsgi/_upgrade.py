"""A connection that has gone over to another protocol: from the server's hands into the application's."""

from __future__ import annotations

import socket as _stdlib
from collections.abc import Callable
from typing import Any

from coopcore.lowlevel import hide_frames

Headers = list[tuple[str, str]]


class Upgraded:
    """What ``environ["coop.upgrade"](protocol)`` returns: the connection, which is the application's until it returns; then it is closed."""

    def __init__(self, client: _stdlib.socket, beyond: bytes) -> None:
        self.socket = client
        """The cooperative socket. Take what was `received` before you read from it."""
        self.received = beyond
        """What the client sent right behind its request."""
        self.on_closing: Callable[[], object] | None = None
        """Called when the server closes, on the hub or in any task, and must not wait: say goodbye to the client soon, in a task."""

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end. Parks."""
        if self.received:
            taken, self.received = self.received[:size], self.received[size:]
            return taken
        return self.socket.recv(size)

    def sendall(self, data: Any) -> None:
        """Send all of ``data``. Parks."""
        self.socket.sendall(data)

    def settimeout(self, seconds: float | None) -> None:
        """How long a `recv` or `sendall` may take; None, as at first, for any time."""
        self.socket.settimeout(seconds)


def switching_head(protocol: str, headers: Headers) -> bytes:
    """The answer that the connection goes over. Raises ValueError for what would break it."""
    lines = ["HTTP/1.1 101 Switching Protocols", f"Upgrade: {protocol}", "Connection: Upgrade", *(f"{name}: {value}" for name, value in headers)]
    if any(mark in line for line in lines for mark in "\r\n\0"):
        raise ValueError(f"a header of the upgrade goes over several lines: {headers!r}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


hide_frames(__file__)
