"""TCP echo: ``python -m benchmarks.echo [--rounds N] [--connections N ...] [server ...]``.

CPU time of a server process for one message there and back. The load comes from a second process, the same for all: so many connections, each of which sends
`SIZE` bytes and waits for them before it sends again. The servers take turns; a ratio is the median over the rounds of another's CPU time divided by that of
coopcore in the same round, so more is better. A row marked ``below`` misses its floor, and the status is 1; one marked ``missed`` its goal. Linux only: the
server's clock is read from outside, so that nothing is measured in it but the server.
"""

from __future__ import annotations

import argparse
import os
import platform
import select
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import clock_gettime_ns
from typing import Any

SIZE = 128
BUFFER = 4096
CONNECTIONS = (1, 50, 1000)
MESSAGES = {1: 20_000, 50: 60_000, 1000: 60_000}
WARM = 5  # rounds of all connections that are not measured

# (of whom, connections): the least ratio that a change may leave behind, and what the project set out to reach.
GOALS: dict[tuple[str, int], tuple[float, float]] = {
    **{("gevent", count): (floor, 1.8) for count, floor in ((1, 1.0), (50, 1.7), (1000, 1.5))},
    **{("asyncio", count): (1.0, 1.0) for count in CONNECTIONS},
    ("epoll", 50): (0.55, 0.8),
}


# -- the servers --------------------------------------------------------------------------------------------------------------


def coopcore() -> None:
    from coop_plugins import socket
    from coopcore import spawn

    serve_by(socket.socket(), spawn)


def gevent() -> None:
    from gevent import socket, spawn

    serve_by(socket.socket(), spawn)


def threads() -> None:
    from threading import Thread, stack_size

    stack_size(256 * 1024)
    serve_by(socket.socket(), lambda echo, connection: Thread(target=echo, args=(connection,), daemon=True).start())


def serve_by(listener: Any, spawn: Callable[[Callable[[Any], None], Any], object]) -> None:
    """The server of all that block: a task, a greenlet or a thread for each connection."""

    def echo(connection: Any) -> None:
        with connection:
            while data := connection.recv(BUFFER):
                connection.sendall(data)

    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    tell(listener)
    while True:
        spawn(echo, listener.accept()[0])


def asyncio() -> None:
    from asyncio import Event as Forever
    from asyncio import Protocol, get_running_loop, run

    class Echo(Protocol):
        def connection_made(self, transport: Any) -> None:
            self.write = transport.write

        def data_received(self, data: bytes) -> None:
            self.write(data)

    async def main() -> None:
        server = await get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1024)
        tell(server.sockets[0])
        await Forever().wait()

    run(main())


def epoll() -> None:
    """The least that a server in Python can do: a call for each descriptor that is ready."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    poll = select.epoll()
    ready: dict[int, Any] = {}

    class Connection:
        def __init__(self, sock: socket.socket) -> None:
            sock.setblocking(False)
            self.sock = sock
            self.recv = sock.recv
            self.send = sock.send
            self.unsent = b""
            ready[sock.fileno()] = self.on_ready
            poll.register(sock, select.EPOLLIN)

        def on_ready(self, events: int) -> None:
            if self.unsent:
                self.unsent = self.unsent[self.send(self.unsent) :]
                if not self.unsent:
                    poll.modify(self.sock, select.EPOLLIN)
                return
            try:
                data = self.recv(BUFFER)
                if not data:
                    self.close()
                    return
                sent = self.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent < len(data):
                self.unsent = data[sent:]
                poll.modify(self.sock, select.EPOLLOUT)

        def close(self) -> None:
            del ready[self.sock.fileno()]
            self.sock.close()

    ready[listener.fileno()] = lambda events: Connection(listener.accept()[0])
    poll.register(listener, select.EPOLLIN)
    tell(listener)
    while True:
        for fd, events in poll.poll():
            ready[fd](events)


SERVERS = {"coopcore": coopcore, "gevent": gevent, "asyncio": asyncio, "threads": threads, "epoll": epoll}


def tell(listener: Any) -> None:
    print(listener.getsockname()[1], flush=True)


def take_turns() -> None:
    """Both processes on one processor, and none interrupts the other: each finds what the other one has done, and the scheduler treats all servers alike."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


# -- the load ---------------------------------------------------------------------------------------------------------------


def cpu_clock(pid: int) -> int:
    """The clock of a process's CPU time, as ``clock_getcpuclockid`` of C makes it, which Python lacks."""
    return (~pid << 3) | 2


class Load:
    """So many connections to one server, each with one message under way."""

    def __init__(self, port: int, connections: int) -> None:
        self.poll = select.epoll()
        self.message = b"m" * SIZE
        self.socks: dict[int, socket.socket] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socks[sock.fileno()] = sock
            self.poll.register(sock, select.EPOLLIN)

    def send(self, messages: int) -> None:
        """Send so many messages in all, and return when all are back."""
        first = list(self.socks.values())[:messages]
        for sock in first:
            sock.sendall(self.message)
        unsent, missing = messages - len(first), messages
        socks, message, poll = self.socks, self.message, self.poll.poll
        while missing:
            for fd, _ in poll():
                sock = socks[fd]
                if len(sock.recv(BUFFER)) != SIZE:
                    raise RuntimeError(f"an echo of other than {SIZE} bytes: the server does not answer each message whole")
                missing -= 1
                if unsent:
                    unsent -= 1
                    sock.send(message)


def load(port: str, pid: str, connections: str) -> None:
    clock, count = cpu_clock(int(pid)), int(connections)
    messages = MESSAGES.get(count, 60_000)
    made = Load(int(port), count)
    made.send(max(WARM * count, 2_000))
    start = clock_gettime_ns(clock)
    made.send(messages)
    print((clock_gettime_ns(clock) - start) / messages)


# -- the comparison ---------------------------------------------------------------------------------------------------------


def measure(name: str, connections: int) -> float:
    """Nanoseconds of the server's CPU time for a message."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.echo", "serve", name], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            command = [sys.executable, "-m", "benchmarks.echo", "load", server.stdout.readline().strip(), str(server.pid), str(connections)]
            return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
        finally:
            server.kill()


def report(connections: int, names: list[str], rounds: int) -> int:
    """Print a row for each server. Returns how many missed a floor."""
    table: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            table[name].append(measure(name, connections))
    missed = 0
    for name in names:
        ratios = [theirs / ours for theirs, ours in zip(table[name], table["coopcore"], strict=True)]
        ratio = statistics.median(ratios)
        floor, goal = GOALS.get((name, connections), (0.0, 0.0))
        missed += ratio < floor
        verdict = "  below" if ratio < floor else "  missed" if ratio < goal else ""
        spread = f"({min(ratios):.2f} - {max(ratios):.2f})"
        label = f"{connections} connections, {name}"
        line = f"{label:32} {statistics.median(table[name]):10.0f} {ratio:7.2f}  {spread:15} {floor or '':<6} {goal or '':<4}{verdict}"
        print(line.rstrip(), flush=True)
    return missed


def main() -> int:
    if sys.argv[1:2] == ["serve"]:
        take_turns()
        SERVERS[sys.argv[2]]()
        return 0
    if sys.argv[1:2] == ["load"]:
        take_turns()
        load(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="*", default=CONNECTIONS)
    parser.add_argument("servers", nargs="*", default=list(SERVERS), help=f"some of {', '.join(SERVERS)}; coopcore is always among them")
    options = parser.parse_args()
    names = ["coopcore", *(name for name in options.servers if name != "coopcore")]
    print(f"Python {platform.python_version()}, {options.rounds} rounds, CPU time of the server for one message; theirs / coopcore")
    print(f"{'server':32} {'ns':>10} {'ratio':>7}  {'(min - max)':15} floor  goal")
    return 1 if sum(report(count, names, options.rounds) for count in options.connections) else 0


if __name__ == "__main__":
    sys.exit(main())
