"""Compare TLS of coopcore with gevent's, and with the standard library's in threads: ``python -m benchmarks.tls [--rounds N] [part of a name ...]``.

Client and server are in one process, on the loopback, and on the same library. A figure is the CPU time of one operation, in microseconds, the least of
three repetitions in a process of its own; the libraries take turns, and a ratio is the median over the rounds of the other's time divided by ours. More is
better. Most of it is OpenSSL's cryptography and the kernel's work, which all three share.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from types import SimpleNamespace
from typing import Any

CERTIFICATES = Path(__file__).resolve().parent.parent / "tests" / "plugins" / "certificates"
REPETITIONS = 3

Library = SimpleNamespace


def coopcore() -> Library:
    from coop_plugins import socket, ssl
    from coopcore import spawn

    return SimpleNamespace(socket=socket, ssl=ssl, start=spawn, finish=lambda task: task.get())


def gevent() -> Library:
    from gevent import socket, spawn, ssl

    return SimpleNamespace(socket=socket, ssl=ssl, start=spawn, finish=lambda task: task.get())


def threads() -> Library:
    import socket
    import ssl
    from threading import Thread

    def start(fn: Callable[..., object], *args: Any) -> Thread:
        thread = Thread(target=fn, args=args)
        thread.start()
        return thread

    return SimpleNamespace(socket=socket, ssl=ssl, start=start, finish=Thread.join)


# -- the programs -------------------------------------------------------------------------------------------------------


def contexts(ssl: Any) -> tuple[Any, Any]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATES / "localhost.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(CERTIFICATES / "ca.pem")
    return server, client


class Server:
    """Serves each client in a task, or thread, of its own."""

    def __init__(self, lib: Library, serve: Callable[[Any], object]) -> None:
        self.lib = lib
        self.serve = serve
        self.server, self.client = contexts(lib.ssl)
        self.listener = lib.socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)

    def connect(self) -> Any:
        plain = self.lib.socket.create_connection(self.listener.getsockname())
        return self.client.wrap_socket(plain, server_hostname="localhost")

    def accept(self, count: int) -> None:
        tasks = []
        for _ in range(count):
            plain, _ = self.listener.accept()
            tasks.append(self.lib.start(self.handle, plain))
        for task in tasks:
            self.lib.finish(task)

    def handle(self, plain: Any) -> None:
        with self.server.wrap_socket(plain, server_side=True) as connection:
            self.serve(connection)

    def run(self, clients: int, use: Callable[[Any], object]) -> None:
        """So many clients at once, each with a connection of its own."""

        def one() -> None:
            with self.connect() as connection:
                use(connection)

        accepting = self.lib.start(self.accept, clients)
        for task in [self.lib.start(one) for _ in range(clients)]:
            self.lib.finish(task)
        self.lib.finish(accepting)


def handshakes(lib: Library, count: int) -> None:
    """One after another: connect, handshake, one byte each way, close."""

    def serve(connection: Any) -> None:
        connection.sendall(connection.recv(1))

    def use(connection: Any) -> None:
        connection.sendall(b"x")
        connection.recv(1)

    server = Server(lib, serve)
    with server.listener:
        for _ in range(count):
            server.run(1, use)


def handshakes_50(lib: Library, count: int) -> None:
    """Fifty at once."""
    server = Server(lib, lambda connection: connection.sendall(connection.recv(1)))

    def use(connection: Any) -> None:
        connection.sendall(b"x")
        connection.recv(1)

    with server.listener:
        for _ in range(count // 50):
            server.run(50, use)


def echo(size: int, clients: int) -> Callable[[Library, int], None]:
    """Messages of ``size`` bytes, sent and sent back, by so many connections at once."""

    def program(lib: Library, count: int) -> None:
        message = b"x" * size

        def serve(connection: Any) -> None:
            while data := connection.recv(size):
                connection.sendall(data)

        def use(connection: Any) -> None:
            for _ in range(count // clients):
                connection.sendall(message)
                got = 0
                while got < size:
                    got += len(connection.recv(size))

        server = Server(lib, serve)
        with server.listener:
            server.run(clients, use)

    return program


def transfer(lib: Library, count: int) -> None:
    """Pieces of 16 KiB in one direction."""
    size = 16384

    def serve(connection: Any) -> None:
        got = 0
        while got < count * size:
            got += len(connection.recv(65536))
        connection.sendall(b"!")

    def use(connection: Any) -> None:
        message = b"x" * size
        for _ in range(count):
            connection.sendall(message)
        connection.recv(1)

    server = Server(lib, serve)
    with server.listener:
        server.run(1, use)


PROGRAMS: dict[str, tuple[Callable[[Library, int], None], int]] = {
    "handshake": (handshakes, 200),
    "handshake, 50 at once": (handshakes_50, 200),
    "echo 64 B": (echo(64, 1), 5_000),
    "echo 16 KiB": (echo(16384, 1), 3_000),
    "echo 16 KiB, 50 connections": (echo(16384, 50), 3_000),
    "transfer, a piece of 16 KiB": (transfer, 6_000),
}


# -- the comparison -----------------------------------------------------------------------------------------------------


def one(library: str, name: str) -> None:
    lib = {"coopcore": coopcore, "gevent": gevent, "threads": threads}[library]()
    program, count = PROGRAMS[name]
    program(lib, 50)  # imports, hub and caches
    spent = []
    for _ in range(REPETITIONS):
        start = process_time_ns()
        lib.finish(lib.start(program, lib, count))
        spent.append(process_time_ns() - start)
    print(min(spent) / count / 1_000)


def measure(library: str, name: str) -> float:
    command = [sys.executable, "-m", "benchmarks.tls", "--one", library, name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", metavar="LIBRARY", help="measure one program in this process")
    parser.add_argument("names", nargs="*", help="only programs whose name contains one of these")
    options = parser.parse_args()
    if options.one:
        one(options.one, *options.names)
        return
    print(f"Python {platform.python_version()}, {options.rounds} rounds, microseconds of CPU time for one operation; ratios to coopcore")
    print(f"{'program':30} {'coopcore':>9} {'gevent':>9} {'threads':>9}   {'gevent':>6} {'threads':>7}")
    for name in PROGRAMS:
        if options.names and not any(part in name for part in options.names):
            continue
        rounds = [{library: measure(library, name) for library in ("gevent", "coopcore", "threads")} for _ in range(options.rounds)]
        figures = {library: statistics.median(figure[library] for figure in rounds) for library in ("coopcore", "gevent", "threads")}
        ratios = {library: statistics.median(figure[library] / figure["coopcore"] for figure in rounds) for library in ("gevent", "threads")}
        print(
            f"{name:30} {figures['coopcore']:9.1f} {figures['gevent']:9.1f} {figures['threads']:9.1f}   {ratios['gevent']:6.2f} {ratios['threads']:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
