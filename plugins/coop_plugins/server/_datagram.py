"""A server for datagrams: a handler for each."""

from __future__ import annotations

import socket as _stdlib
from typing import Any

from coopcore.lowlevel import hide_frames

from ._base import BaseServer
from ._listener import bound_socket


class DatagramServer(BaseServer):
    """Receives datagrams and calls ``handle(data, address)`` for each, in a task; `sendto` answers. While the crew is full they wait in the kernel, which
    drops what has no room.

    The arguments are those of `BaseServer`. ``max_size`` bounds a datagram; the rest of a longer one is lost.
    """

    wrong_kind = _stdlib.SOCK_STREAM
    max_size = 65536

    def open_listener(self, address: Any) -> _stdlib.socket:
        return bound_socket(self.family, _stdlib.SOCK_DGRAM, address, self.reuse_port)

    def do_read(self) -> tuple[Any, ...] | None:
        return self.socket.recvfrom(self.max_size)

    def sendto(self, data: Any, *args: Any) -> int:
        """``sendto(data, address)``, or with flags between them: send a datagram from the server's own address. Parks while the buffer is full."""
        return self.socket.sendto(data, *args)


hide_frames(__file__)
