"""The two processes of the load test: an echo server of ``coop_plugins.socket``, and what calls it. ``python echo_load.py server BACKEND``, ``... client``.

Both obey lines on their standard input, and answer each with one on their standard output.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import socket as stdlib
import sys
from typing import Any

BACKLOG = 4096
GOODBYE = b"goodbye"
SPARE = 100  # descriptors besides those of the connections


def raise_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def answer(**values: Any) -> None:
    print(json.dumps(values), flush=True)


# -- the server -------------------------------------------------------------------------------------------------------------


def server(backend: str) -> None:
    import coopcore
    from coop_plugins import socket
    from coopcore import spawn

    def echo(connection: Any) -> None:
        with connection:
            while (data := connection.recv(1000)) and data != GOODBYE:
                connection.sendall(data)

    def accept(listener: Any) -> None:
        while True:
            spawn(echo, listener.accept()[0])

    def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            spawn(accept, listener)
            answer(port=listener.getsockname()[1])
            hub = coopcore.get_hub()
            while True:
                socket.wait_read(0)
                expected = os.read(0, 100)
                if not expected:
                    sys.stdout.flush()
                    os._exit(0)
                with coopcore.Timeout(30):
                    while len(hub.tasks()) != int(expected):
                        coopcore.sleep(0.001)
                gc.collect()
                answer(tasks=len(hub.tasks()), descriptors=len(os.listdir("/proc/self/fd")), memory=resident())

    raise_limit()
    coopcore.run(main, backend=backend)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# -- the client -------------------------------------------------------------------------------------------------------------


def client() -> None:
    """A line is ``open PORT COUNT SOURCE``, ``echo`` or ``close``."""
    raise_limit()
    socks: dict[int, stdlib.socket] = {}
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "open":
            port, count, source = arguments
            socks = open_all(int(port), int(count), source)
            answer(opened=len(socks))
        elif command == "echo":
            answer(echoed=echo_all(socks))
        else:
            close_all(socks)
            socks = {}
            answer(closed=True)


def open_all(port: int, count: int, source: str) -> dict[int, stdlib.socket]:
    """Each round calls from an address of its own, so that no port is missing that another round has used."""
    socks = {}
    for _ in range(count):
        sock = stdlib.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        sock.setblocking(False)
        socks[sock.fileno()] = sock
    return socks


def echo_all(socks: dict[int, stdlib.socket]) -> int:
    """Send on all of them before the first answer is read."""
    poll = select.epoll()
    missing = {}
    for fd, sock in socks.items():
        message = b"%d," % fd * 20
        missing[fd] = len(message)
        assert sock.send(message) == len(message)
        poll.register(fd, select.EPOLLIN)
    echoed = 0
    while missing:
        ready = poll.poll(30)
        assert ready, f"{len(missing)} answers did not come"
        for fd, _ in ready:
            data = socks[fd].recv(1000)
            assert data, "the server has closed a connection"
            missing[fd] -= len(data)
            if not missing[fd]:
                del missing[fd]
                poll.unregister(fd)
                echoed += 1
    poll.close()
    return echoed


def close_all(socks: dict[int, stdlib.socket]) -> None:
    """Let the server close first: whoever does keeps the port for a minute, and the server has only one."""
    for sock in socks.values():
        sock.send(GOODBYE)
    for sock in socks.values():
        with sock:
            sock.settimeout(30)
            assert sock.recv(1) == b""


if __name__ == "__main__":
    server(*sys.argv[2:]) if sys.argv[1] == "server" else client()
