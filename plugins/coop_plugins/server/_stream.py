"""A server for connections: a handler for each."""

from __future__ import annotations

import socket as _stdlib
from typing import Any

from coopcore.lowlevel import hide_frames

from ._base import BaseServer
from ._crew import Handle
from ._listener import bound_socket


class StreamServer(BaseServer):
    """Accepts stream connections and calls ``handle(client, address)`` for each, in a task. The client is closed when that returns.

    ``backlog``: how many connections may wait in the kernel's queue. The other arguments are those of `BaseServer`.
    """

    backlog = 256

    def __init__(self, listener: Any, handle: Handle | None = None, backlog: int | None = None, spawn: Any = "default", *, reuse_port: bool = False) -> None:
        super().__init__(listener, handle, spawn, reuse_port=reuse_port)
        if backlog is not None:
            self.backlog = backlog

    def open_listener(self, address: Any) -> _stdlib.socket:
        return bound_socket(self.family, _stdlib.SOCK_STREAM, address, self.reuse_port)

    def prepare_listener(self, listener: _stdlib.socket) -> None:
        if not listener.getsockopt(_stdlib.SOL_SOCKET, getattr(_stdlib, "SO_ACCEPTCONN", 30)):
            listener.listen(self.backlog)

    def do_read(self) -> tuple[Any, ...] | None:
        return self.socket.accept()

    def accept_the_waiting(self) -> None:
        accepting = self._accepting is not None
        super().accept_the_waiting()
        if not accepting:
            return
        self.socket.settimeout(0.0)
        for _ in range(self.backlog + 1):  # not for ever, if clients keep coming
            if self._crew.full():
                return
            try:
                args = self.do_read()
            except OSError:
                return  # nobody waits; or something is short, and this is no time to wait for it
            if args is not None:
                self.do_handle(*args)

    def do_close(self, *args: Any) -> None:
        args[0].close()


hide_frames(__file__)
