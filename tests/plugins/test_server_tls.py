"""Servers that speak TLS."""

from __future__ import annotations

import os
import socket as stdlib
import ssl as stdlib_ssl
import struct
from typing import Any

import pytest

from coop_plugins import socket
from coop_plugins.server import StreamServer
from coopcore import current_task, get_hub, sleep
from tests.plugins.test_server import LOCAL, Run, call, echo, on
from tests.plugins.tls import LOCALHOST, client_context, server_context

__all__ = ["on"]  # a fixture


def secure(server: StreamServer) -> Any:
    return client_context().wrap_socket(call(server), server_hostname="localhost")


def standard_context() -> stdlib_ssl.SSLContext:
    """That of a program that knows nothing of coopcore."""
    context = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    return context


@pytest.mark.parametrize("how", ["context", "standard context", "files"])
def test_connections_are_secured(on: Run, how: str) -> None:
    options: Any = {"certfile": LOCALHOST} if how == "files" else {"ssl_context": server_context() if how == "context" else standard_context()}

    @on
    def body() -> None:
        with StreamServer(LOCAL, echo, spawn=10, **options) as server:
            server.start()
            for _ in range(3):
                with secure(server) as client:
                    client.sendall(b"x" * 100_000)
                    got = b""
                    while len(got) < 100_000:
                        got += client.recv(65536)
                    assert client.version() == "TLSv1.3"


def test_the_end_is_told_and_no_cut(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(LOCAL, lambda client, address: client.sendall(b"bye"), certfile=LOCALHOST) as server:
            server.start()
            context = client_context()
            with context.wrap_socket(call(server), server_hostname="localhost", suppress_ragged_eofs=False) as client:
                assert client.recv(10) == b"bye"
                assert client.recv(10) == b""


@pytest.mark.parametrize("what", ["plain words", "nothing", "silence", "a reset"])
def test_a_client_that_makes_no_handshake_costs_nothing_but_itself(on: Run, what: str) -> None:
    failed: list[Any] = []

    class Server(StreamServer):
        handshake_timeout = 0.05 if what == "silence" else 30

        def handshake_failed(self, address: Any, error: OSError) -> None:
            failed.append((address, type(error)))

    @on
    def body() -> None:
        before = len(os.listdir("/proc/self/fd"))
        with Server(LOCAL, echo, certfile=LOCALHOST, spawn=1) as server:
            server.start()
            with call(server) as client:
                if what == "plain words":
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                elif what == "nothing":
                    client.shutdown(socket.SHUT_WR)
                elif what == "a reset":
                    client.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                while not failed:
                    sleep(0.001)
            server.handshake_timeout = 30
            with secure(server) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
        while len(get_hub().tasks()) > 1:
            sleep(0)
        assert len(os.listdir("/proc/self/fd")) <= before

    assert len(failed) == 1


def test_the_handshake_of_one_holds_up_no_other(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(LOCAL, echo, certfile=LOCALHOST, spawn=10) as server:
            server.start()
            with call(server), secure(server) as client:  # the first says nothing
                client.sendall(b"x")
                assert client.recv(1) == b"x"


def test_a_kill_in_the_handshake_leaves_nothing(on: Run) -> None:
    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo, certfile=LOCALHOST, spawn=10)
        server.start()
        with call(server) as client:
            while len(get_hub().tasks()) < 3:
                sleep(0)
            sleep(0)
            server.stop(0.01)
            assert client.recv(1) == b""
        while len(get_hub().tasks()) > 1:
            sleep(0)
        assert get_hub().tasks() == [current_task()]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"keyfile": LOCALHOST}, ValueError, "keyfile without certfile: TLS needs the certificate that belongs to the key"),
        ({"certfile": LOCALHOST, "ssl_context": standard_context()}, ValueError, "give an ssl_context, or certfile and keyfile, not both"),
        ({"certfile": "/no/such/file"}, FileNotFoundError, "No such file"),
    ],
)
def test_arguments_that_do_not_fit(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        StreamServer(LOCAL, echo, **options)
