"""What TLS through memory promises by itself. All else of `test_ssl` runs on it too, as its parameter "memory"."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import ssl as stdlib
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins import socket, ssl
from coopcore import spawn
from coopcore.errors import BusyResourceError, ClosedResourceError
from coopcore.lowlevel import READABLE, WRITABLE

from .tls import HiddenNetwork, Wire, client_context, fill, parked, plain_pair, server_context, tls_pair


def hidden(body: Callable[[], Any]) -> None:
    coopcore.run(body, network=HiddenNetwork())


def test_the_network_is_really_another_one() -> None:
    @hidden
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            assert isinstance(near._raw, Wire)
            assert isinstance(near, ssl.SSLSocket)
            assert isinstance(near, stdlib.SSLSocket)
            assert stdlib_socket.socket.fileno(near) == -1  # OpenSSL could not use it


def test_a_socket_of_the_kernel_is_wrapped_as_one_whatever_the_network() -> None:
    near, far = stdlib_socket.socketpair()

    @hidden
    def body() -> None:
        serving = spawn(server_context().wrap_socket, far, server_side=True)
        with client_context().wrap_socket(near, server_hostname="localhost") as client, serving.get(timeout=5) as served:
            assert client._raw is served._raw is None
            client.sendall(b"hello")
            assert served.recv() == b"hello"


def test_a_socket_that_was_wrapped_is_empty() -> None:
    @hidden
    def body() -> None:
        near, far = plain_pair()
        reader = spawn(near.recv, 10)
        parked(reader)
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        with client, far:
            with pytest.raises(ClosedResourceError):
                reader.get(timeout=5)
            assert near.fileno() == -1
            with pytest.raises(OSError, match="wrapped") as caught:
                near.send(b"x")
            assert caught.value.errno == errno.EBADF
            near.close()
            assert client.fileno() != -1
            with pytest.raises(OSError, match="wrapped"):
                client_context().wrap_socket(near, server_hostname="localhost")


def test_a_socket_that_was_closed_cannot_be_wrapped() -> None:
    @hidden
    def body() -> None:
        near, far = plain_pair()
        near.close()
        with far, pytest.raises(OSError):
            client_context().wrap_socket(near, server_hostname="localhost")


def test_a_socket_at_which_another_thread_waits_is_not_taken_from_it() -> None:
    @hidden
    def body() -> None:
        near, far = plain_pair()
        with near, far:
            here = near._place_in(coopcore.get_hub())
            here.thread, here.reading.task = -1, coopcore.current_task()
            with pytest.raises(BusyResourceError):
                client_context().wrap_socket(near, server_hostname="localhost")
            here.reading.task = None
            assert near.fileno() != -1


@pytest.mark.parametrize(("most", "times"), [(1, 1), (3, 1), (7, 5), (100_000, 1000)])
def test_pieces_of_any_size(most: int, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "most", most)

    @hidden
    def body() -> None:
        near, far = tls_pair("tcp")
        with near, far:
            data = bytes(range(256)) * 8 * times
            task = spawn(near.sendall, data)
            got = b""
            while len(got) < len(data):
                got += far.recv(5000)
            task.get(timeout=5)
            assert got == data


@pytest.mark.parametrize("most", [2, 100_000])
def test_invariant_1_nothing_is_read_beyond_the_last_record(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "most", most)

    @hidden
    def body() -> None:
        near, far = tls_pair("tcp")
        with near, far:
            far.settimeout(0)
            far.sendall(b"last words")
            with pytest.raises(ssl.SSLWantReadError):
                far.unwrap()
            far._raw.end.send(b"plain")
            assert near.recv() == b"last words"
            assert near.recv() == b""
            near.unwrap()
            assert near.recv(100) == b"plain"[:most]


def test_invariant_2_what_is_written_has_been_handed_to_the_network() -> None:
    @hidden
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            connection = near._sslobj
            for size in (1, 16384, 100_000):
                task = spawn(near.send, bytes(size))
                got = len(far.recv(size))
                sent = task.get(timeout=5)
                assert (connection._left, connection._going.pending, connection._taken) == (b"", 0, 0)
                while got < sent:
                    got += len(far.recv(size))
                assert 0 < sent <= size


def test_invariant_3_a_reader_does_not_wait_for_a_writer() -> None:
    @hidden
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            fill(near)
            near._unfinished = None
            writer = spawn(near.send, bytes(range(256)) * 64)
            reader = spawn(near.recv)
            parked(writer, reader)
            assert near._at == {WRITABLE: writer, READABLE: reader}
            far.sendall(b"in")
            assert reader.get(timeout=5) == b"in"
            writer.kill()


def test_the_alert_of_a_failed_handshake_is_sent() -> None:
    @hidden
    def body() -> None:
        near, far = plain_pair()
        serving = spawn(server_context().wrap_socket, far, server_side=True)
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(near, server_hostname="localhost")
        with pytest.raises(ssl.SSLError, match="(?i)unknown.ca"):
            serving.get(timeout=5)


def test_an_error_of_the_network_comes_out() -> None:
    @hidden
    def body() -> None:
        near, far = tls_pair()
        with far:
            near.sendall(b"unread")
            task = spawn(near.recv)
            parked(task)
            far.close()
            with near, pytest.raises(ConnectionResetError):
                task.get(timeout=5)
            with pytest.raises(OSError):
                near.sendall(b"x")


def test_contexts_and_sessions_can_be_set() -> None:
    @hidden
    def body() -> None:
        client = client_context()
        near, far = tls_pair(client=client)
        with near, far:
            far.sendall(b"x")
            near.recv()
            session = near.session
        near, far = plain_pair()
        again = client.wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        serving = spawn(server_context().wrap_socket, far, server_side=True)
        with again:
            again.session = session
            assert again.context is client
            again.context = client
            again.do_handshake()
            with serving.get(timeout=5):
                assert again.session_reused is False  # that server did not know it
        with pytest.raises(NotImplementedError):
            again.dup()


def test_connections_made_and_accepted_on_the_network() -> None:
    @hidden
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as plain, server_context().wrap_socket(plain, server_side=True) as listener:
            serving = spawn(listener.accept)
            with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
                assert client.version() is None
                client.connect(listener.getsockname())
                served, _ = serving.get(timeout=5)
                with served:
                    served.sendall(b"hello")
                    assert client.recv() == b"hello"
                    assert isinstance(served._raw, Wire)
