"""A real redis-server in a folder of its own."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import Process, free_port, missing, started


class RedisServer:
    """Where it is, and questions to it over a connection of the test's own, by no library."""

    def __init__(self, port: int, tls_port: int, path: str) -> None:
        self.port = port
        self.tls_port = tls_port
        self.path = path
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self._sock.makefile("rb")

    def ask(self, *words: str) -> str:
        """Send a command; the answer, if that is a line, a number or a string."""
        self._sock.sendall(f"*{len(words)}\r\n".encode() + b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words))
        line = self._file.readline().decode().rstrip()
        if line.startswith("-"):
            raise RuntimeError(line[1:])
        if not line.startswith("$"):
            return line[1:]
        return self._file.read(int(line[1:]) + 2)[:-2].decode()

    def clients(self, command: str) -> int:
        """How many connections have this as their latest command."""
        return sum(f" cmd={command} " in line for line in self.ask("CLIENT", "LIST").splitlines())

    def blocked(self) -> int:
        """How many clients wait in a command for something to come, right now."""
        line = next(line for line in self.ask("INFO", "clients").splitlines() if line.startswith("blocked_clients:"))
        return int(line.partition(":")[2])

    def subscribers(self, channel: str) -> int:
        return int(self.ask("EVAL", "return redis.call('PUBSUB', 'NUMSUB', KEYS[1])[2]", "1", channel))

    def close(self) -> None:
        self._file.close()
        self._sock.close()


@contextmanager
def redis_server(folder: Path, certificate: Path) -> Iterator[RedisServer]:
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server")
    unix = str(folder / "redis.sock")
    tls_port = 0

    def start(port: int) -> Process:
        nonlocal tls_port
        tls_port = free_port()
        settings = {
            "port": port,
            "tls-port": tls_port,
            "tls-cert-file": certificate,
            "tls-key-file": certificate,
            "tls-ca-cert-file": certificate,
            "tls-auth-clients": "no",
            "bind": "127.0.0.1",
            "unixsocket": unix,
            "dir": folder,
            "save": "",
            "appendonly": "no",
        }
        return Process("redis-server", [str(binary), *(part for name, value in settings.items() for part in (f"--{name}", str(value)))], cwd=folder)

    with started(start, "Ready to accept connections") as (_, port):
        server = RedisServer(port, tls_port, unix)
        try:
            yield server
        finally:
            server.close()
