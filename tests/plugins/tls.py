"""What the TLS tests share: contexts upon the committed certificates, and connections."""

from __future__ import annotations

import socket as stdlib_socket
from pathlib import Path
from typing import Any

from coop_plugins import socket, ssl
from coopcore import sleep, spawn

from .tcp import arrived

CERTIFICATES = Path(__file__).resolve().parent / "certificates"
AUTHORITY = str(CERTIFICATES / "ca.pem")
LOCALHOST = str(CERTIFICATES / "localhost.pem")
OTHER = str(CERTIFICATES / "other.pem")
CLIENT = str(CERTIFICATES / "client.pem")


class Wire:
    """A connection that is no standard socket, though the kernel carries it: OpenSSL gets no descriptor. Takes and gives at most ``most`` bytes at once."""

    most = 100_000

    def __init__(self, end: stdlib_socket.socket) -> None:
        end.setblocking(False)
        self.end = end

    def recv(self, size: int, *flags: int) -> bytes:
        return self.end.recv(min(size, self.most), *flags)

    def send(self, data: Any, *flags: int) -> int:
        return self.end.send(memoryview(data)[: self.most], *flags)

    def accept(self) -> tuple[Wire, Any]:
        end, address = self.end.accept()
        return Wire(end), address

    def __getattr__(self, name: str) -> Any:
        return getattr(self.end, name)


class HiddenNetwork:
    """A network that is not the kernel's, as far as `coop_plugins` can see."""

    def socket(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> Any:
        return Wire(stdlib_socket.socket(family, type, proto, fileno))

    def socketpair(self, family: int | None = None, type: int = -1, proto: int = 0) -> Any:
        one, other = stdlib_socket.socketpair()
        return Wire(one), Wire(other)

    def getaddrinfo(self, *args: Any) -> Any:
        return stdlib_socket.getaddrinfo(*args)


BIG = 4_000_000  # more than any loopback buffer holds


def server_context(certificate: str = LOCALHOST) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def client_context() -> Any:
    return ssl.create_default_context(cafile=AUTHORITY)


def plain_pair(kind: str = "unix") -> tuple[Any, Any]:
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        served, _ = listener.accept()
    client.settimeout(None)
    return client, served


def tls_pair(kind: str = "unix", client: Any = None, server: Any = None, **options: Any) -> tuple[Any, Any]:
    """A client and a server, after their handshake."""
    near, far = plain_pair(kind)
    serving = spawn((server or server_context()).wrap_socket, far, server_side=True)
    options.setdefault("server_hostname", "localhost")
    wrapped = (client or client_context()).wrap_socket(near, **options)
    return wrapped, serving.get(timeout=5)


def parked(*tasks: Any) -> None:
    """Let others run until these wait."""
    while any(task.state != "parked" for task in tasks):
        sleep(0)


def read_all(sock: Any) -> bytes:
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def fill(sock: Any) -> bytes:
    """Write until the descriptor takes no more, amid a record; returns what was written whole, and what was not."""
    data = bytes(range(256)) * 64
    timeout = sock.gettimeout()
    sock.settimeout(0)
    written = b""
    try:
        while True:
            try:
                written += data[: sock.send(data)]
            except ssl.SSLWantWriteError:
                if not arrived(sock):
                    return written
    finally:
        sock.settimeout(timeout)
