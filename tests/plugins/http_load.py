"""A client that keeps an HTTP server busy, and keeps count of what becomes of each of its requests."""

from __future__ import annotations

import select
import socket
from collections import Counter, defaultdict
from collections.abc import Callable
from time import monotonic


class Load:
    """So many clients, each of which asks again as soon as it is answered: over a kept connection, or over a new one each time (``keeps=False``).

    Each request has a number, which the answer must give back, with that of the process that gives it. ``outcomes`` counts how requests ended: "answered";
    "refused", when there was nobody at the port, so that the client gives up; and everything else, which is a lost request.
    """

    def __init__(self, port: int, clients: int, keeps: bool = True, paths: tuple[str, ...] = ("/",)) -> None:
        self.port = port
        self.keeps = keeps
        self.paths = paths
        self.outcomes: Counter[str] = Counter()
        self.lost_by: dict[int, list[str]] = defaultdict(list)
        """Lost requests, by the process that gave the last answer of their connection; 0: it had none."""
        self.answered_by: set[int] = set()
        self.number = 0
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        for _ in range(clients):
            self._connect()

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until that is true, or nobody is answered any more."""
        deadline = monotonic() + 60
        while self._clients and not until():
            assert monotonic() < deadline, f"{len(self._clients)} clients wait for an answer for ever: {self.outcomes}"
            for fd, _ in self._poll.poll(0.05):
                client = self._clients.get(fd)
                if client is not None and (outcome := client.step()):
                    self._ended(client, outcome)

    def _connect(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(("127.0.0.1", self.port))
        self._clients[sock.fileno()] = client = _Client(sock)
        self._poll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self._ask(client)

    def _ask(self, client: _Client) -> None:
        self.number += 1
        client.ask(self.paths[self.number % len(self.paths)], self.number, self.keeps)

    def _ended(self, client: _Client, outcome: str) -> None:
        self.outcomes[outcome] += 1
        self.answered_by.add(client.answered_by)
        if outcome not in ("answered", "refused"):
            self.lost_by[client.answered_by].append(outcome)
        if outcome == "answered" and client.stays and self.keeps:
            self._ask(client)
            if outcome := client.step():
                self._ended(client, outcome)
            return
        del self._clients[client.sock.fileno()]
        client.sock.close()
        if outcome == "answered":
            self._connect()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.sock.close()
        self._poll.close()


class _Client:
    """One connection, with one request under way."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.stays = False
        self._unsent = b""
        self._came = b""
        self._asked = 0
        self.answered_by = 0

    def ask(self, path: str, number: int, keeps: bool) -> None:
        self._unsent = f"GET {path}?{number} HTTP/1.1\r\nHost: x\r\nConnection: {'keep-alive' if keeps else 'close'}\r\n\r\n".encode()
        self._asked = number
        self._came = b""

    def step(self) -> str:
        """Go on; how the request ended, if it did."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            while data := self.sock.recv(65536):
                self._came += data
                if outcome := self._look():
                    return outcome
        except BlockingIOError:
            return ""
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return self._lost(type(error).__name__)
        return self._lost("end")

    def _look(self) -> str:
        head, end, body = self._came.partition(b"\r\n\r\n")
        if not end:
            return ""
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        if len(body) < length:
            return ""
        self.stays = b"connection: close" not in lines
        number, _, process = body.partition(b" ")
        self.answered_by = int(process)
        right = lines[0].startswith(b"http/1.1 200") and int(number) == self._asked
        return "answered" if right else f"wrong answer to {self._asked}: {self._came!r}"

    def _lost(self, why: str) -> str:
        which = "later" if self.answered_by else "first"
        return f"lost: {why} in place of an answer to the {which} request of a connection; {len(self._came)} bytes of one came, {len(self._unsent)} were unsent"
