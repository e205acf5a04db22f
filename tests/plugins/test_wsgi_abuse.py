"""Clients that abuse the server in bulk: idle ones, slow ones, and those that vanish in every state. Others are served meanwhile; nothing is left after it."""

from __future__ import annotations

import gc
import logging
import os
import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("httptools")

import coopcore
from coop_plugins import socket
from coop_plugins.clock import VirtualClock
from coop_plugins.wsgi import Limits, WSGIServer
from coopcore import get_hub, sleep, spawn

RESET = b"\1\0\0\0\0\0\0\0"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


class Site:
    """Answers at once, after a while, or in a stream that never ends."""

    def __init__(self) -> None:
        self.at_work = 0
        self.leave = False

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/stream":
            return self.stream()
        if path == "/wait":
            self.wait()
        return [environ["wsgi.input"].read()]

    def wait(self) -> None:
        self.at_work += 1
        try:
            while not self.leave:
                sleep(0.001)
        finally:
            self.at_work -= 1

    def stream(self) -> Iterator[bytes]:
        self.at_work += 1
        try:
            while True:
                yield b"x" * 65536
        finally:
            self.at_work -= 1


@contextmanager
def leaving_nothing(**limits: Any) -> Iterator[tuple[WSGIServer, Site]]:
    """A server; afterwards as many tasks, descriptors and connections as before it had clients."""
    site = Site()
    with WSGIServer(("127.0.0.1", 0), site, limits=Limits(**limits)) as server:
        server.start()
        assert is_served(server)
        wait_for(lambda: not server.connections)
        gc.collect()
        before = len(get_hub().tasks()), descriptors()
        yield server, site
        site.leave = True
        assert is_served(server)
        wait_for(lambda: not server.connections)
        assert site.at_work == 0
        gc.collect()
        assert len(get_hub().tasks()) == before[0] and descriptors() <= before[1]


def wait_for(is_so: Callable[[], bool]) -> None:
    with coopcore.Timeout(20):
        while not is_so():
            sleep(0.001)


def is_served(server: WSGIServer) -> bool:
    with connected(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.recv(1000).startswith(b"HTTP/1.1 200 ")


def connected(server: WSGIServer) -> socket.socket:
    return socket.create_connection(server.address, timeout=20)


def all_that_comes(client: socket.socket) -> bytes:
    got = []
    try:
        while piece := client.recv(65536):
            got.append(piece)
    except ConnectionError:
        pass
    return b"".join(got)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip(f"this system lets a process have {hard} descriptors; 3,000 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_idle_connections(many_descriptors: None, caplog: pytest.LogCaptureFixture) -> None:
    def body() -> None:
        with leaving_nothing(header_timeout=5, idle_timeout=5) as (server, _):
            clients = []
            for number in range(1000):
                client = connected(server)
                if number % 2:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                clients.append(client)
            assert is_served(server)
            for number, client in enumerate(clients):
                assert all_that_comes(client).startswith(b"HTTP/1.1 200 ") == bool(number % 2), "it is closed without another word"
                client.close()

    coopcore.run(body, clock=VirtualClock(settle=0.05))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_many_clients_that_do_not_read(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> None:
        with leaving_nothing(send_timeout=5) as (server, site):
            clients = [connected(server) for _ in range(60)]
            for client in clients:
                client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: site.at_work == 60)
            assert is_served(server)
            wait_for(lambda: site.at_work == 0)
            for client in clients:
                client.close()

    coopcore.run(body, clock=VirtualClock(settle=0.05))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nA: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", CHUNKS + b"fff\r\n"])
def test_many_clients_that_drip(start: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Each byte comes in time; a head must be whole in time, and a body keep up a rate."""

    def drip(server: WSGIServer) -> bytes:
        with connected(server) as client:
            client.sendall(start)
            try:
                while True:
                    client.settimeout(1)
                    try:
                        return client.recv(1000) or b"closed"
                    except TimeoutError:
                        client.sendall(b"a")
            except ConnectionError:
                return b"reset"

    def body() -> None:
        with leaving_nothing(header_timeout=10, body_timeout=10, body_rate=1000) as (server, _):
            dripping = [spawn(drip, server) for _ in range(50)]
            assert is_served(server)
            answers = {task.get(timeout=20)[:12] for task in dripping}
            assert answers == {b"HTTP/1.1 408"}

    coopcore.run(body, clock=VirtualClock(settle=0.05))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


STATES = {
    "before the head": b"",
    "in the request line": b"GET /",
    "in the headers": b"GET / HTTP/1.1\r\nHo",
    "before the body": POST,
    "in the body": POST + b"abc",
    "before the chunks": CHUNKS,
    "in a chunk": CHUNKS + b"a\r\nabc",
    "in the trailers": CHUNKS + b"0\r\nA:",
    "waiting for leave to send": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "while it is answered": b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n",
    "while the answer is sent": b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    "while the answer is sent, with more requests": b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    "between two requests": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "before a refusal": b"garbage\r\n\r\n",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_clients_that_vanish(state: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    sent = STATES[state]

    def body() -> None:
        with leaving_nothing(send_timeout=0.3) as (server, site):
            clients = [connected(server) for _ in range(20)]
            for client in clients:
                client.sendall(sent)
            wait_for(lambda: len(server.connections) == 20 or b"garbage" in sent)
            if b"/wait" in sent or b"/stream" in sent:
                wait_for(lambda: site.at_work == 20)
            for client in clients:
                if how == "half-close":
                    client.shutdown(socket.SHUT_WR)
                elif how == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                if how != "half-close":
                    client.close()
            site.leave = True
            wait_for(lambda: not server.connections)
            for client in clients:
                client.close()

    coopcore.run(body)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_clients_that_vanish_leave_no_memory() -> None:
    """All states and all ways to vanish, round after round: what is there after one is there after the next, and no more."""

    def vanish(server: WSGIServer, site: Site, sent: bytes, how: str) -> None:
        waits = b"/wait" in sent or b"/stream" in sent
        client = connected(server)
        client.sendall(sent)
        if waits:
            wait_for(lambda: site.at_work == 1)
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif how == "half-close":
            client.shutdown(socket.SHUT_WR)
        site.leave = True
        if how == "half-close" and b"/stream" not in sent:
            all_that_comes(client)
        client.close()
        wait_for(lambda: not server.connections)
        site.leave = False

    def body() -> None:
        with leaving_nothing(send_timeout=0.3) as (server, site):
            counts = []
            for _ in range(3):
                for sent in STATES.values():
                    for how in ("close", "half-close", "reset"):
                        vanish(server, site, sent, how)
                gc.collect()
                counts.append(len(gc.get_objects()))
            assert counts[2] - counts[1] < len(STATES), "no object for each client"

    coopcore.run(body)
