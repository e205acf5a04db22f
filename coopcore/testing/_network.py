"""The contract of `protocols.Network`: its sockets behave as non-blocking standard ones, as far as ``coop_plugins.socket`` relies on that.

A simulated network may deliver later, by a timer of the hub; so every test runs as a task, and tries again after BlockingIOError.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, TypeVar

import coopcore

from ..protocols import Network
from ._base import PATIENCE, raises, since

T = TypeVar("T")

_LOOPBACK = ("127.0.0.1", 0)
_IN_PROGRESS = {errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK}
_CONNECTED = {0, errno.EISCONN}


def _until_it_works(fn: Callable[..., T], *args: Any) -> T:
    start = monotonic_ns()
    while since(start) < PATIENCE:
        try:
            return fn(*args)
        except BlockingIOError:
            coopcore.sleep(0.001)
    raise AssertionError(f"{fn!r} went on raising BlockingIOError, though there was something for it")


def _connect(client: socket.socket, address: Any) -> int:
    start = monotonic_ns()
    while (code := client.connect_ex(address)) in _IN_PROGRESS and since(start) < PATIENCE:
        coopcore.sleep(0.001)
    return code


def _receive_all(sock: socket.socket) -> bytes:
    received = b""
    while chunk := _until_it_works(sock.recv, 65536):
        received += chunk
    return received


class NetworkContract:
    """Subclass it, and let ``make`` return a new network."""

    def make(self) -> Network:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new network")

    def _run(self, main: Callable[[Network], None]) -> None:
        coopcore.run(main, self.make())

    def test_it_has_every_method(self) -> None:
        network = self.make()
        assert isinstance(network, Network), f"{network!r} lacks a method of coopcore.protocols.Network"

    def test_nothing_blocks(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            with left, right, network.socket() as listener:
                assert left.gettimeout() == right.gettimeout() == listener.gettimeout() == 0.0, "sockets are non-blocking: their timeout is 0.0"
                with raises(BlockingIOError, "recv() of a pair into which nothing was sent"):
                    left.recv(1)
                listener.bind(_LOOPBACK)
                listener.listen(1)
                with raises(BlockingIOError, "accept() without a client"):
                    listener.accept()

        self._run(main)

    def test_a_pair_is_connected_both_ways(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            with left, right:
                for sender, receiver in ((left, right), (right, left)):
                    assert sender.send(b"hello") == 5, "send() returns how many bytes were taken"
                    assert _until_it_works(receiver.recv, 2) == b"he", "recv(n) returns at most n bytes"
                    assert _until_it_works(receiver.recv, 100) == b"llo", "what recv() left is lost"

        self._run(main)

    def test_the_end_is_an_empty_read(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            with left, right:
                left.send(b"last words")
                left.close()
                assert _receive_all(right) == b"last words", "the other end was closed: what it sent, then b'' for ever"
                assert _until_it_works(right.recv, 1) == b"", "after the end, recv() returns b'' again"

        self._run(main)

    def test_sending_to_a_closed_end_is_an_error(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            with left, right:
                right.close()
                with raises((BrokenPipeError, ConnectionResetError), "the other end is closed, and send() went on"):
                    for _ in range(100):
                        left.send(b"x")
                        coopcore.sleep(0.001)

        self._run(main)

    def test_shutdown_ends_one_direction(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            with left, right:
                left.shutdown(socket.SHUT_WR)
                assert _until_it_works(right.recv, 1) == b"", "the other end has shut down writing, and recv() does not return b''"
                right.send(b"still")
                assert _until_it_works(left.recv, 10) == b"still", "shutting down writing ended reading too"

        self._run(main)

    def test_a_full_buffer_blocks_and_loses_nothing(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            with left, right:
                sent = 0
                with raises(BlockingIOError, "send() took 256 MB that nobody reads: buffers have an end"):
                    while sent < 1 << 28:
                        sent += left.send(bytes(65536))
                left.close()
                assert len(_receive_all(right)) == sent, "not every byte that send() took was received"

        self._run(main)

    def test_a_client_and_a_server(self) -> None:
        def main(network: Network) -> None:
            with network.socket(socket.AF_INET, socket.SOCK_STREAM) as listener, network.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                listener.bind(_LOOPBACK)
                listener.listen(5)
                address = listener.getsockname()
                assert (address[0], address[1] > 0) == ("127.0.0.1", True), f"port 0 is replaced by a free one; getsockname() said {address!r}"
                code = _connect(client, address)
                assert code in _CONNECTED, f"connect_ex() to a listening socket ended with {errno.errorcode.get(code, code)}"
                server, peer = _until_it_works(listener.accept)
                with server:
                    server.setblocking(False)
                    assert peer == client.getsockname(), f"accept() said that {peer!r} came, and the client is {client.getsockname()!r}"
                    assert client.getpeername() == address, "getpeername() is the address that was connected to"
                    client.send(b"ping")
                    assert _until_it_works(server.recv, 10) == b"ping", "what the client sent was not received"
                    server.send(b"pong")
                    assert _until_it_works(client.recv, 10) == b"pong", "what the server sent was not received"

        self._run(main)

    def test_nobody_listens(self) -> None:
        def main(network: Network) -> None:
            with network.socket() as bound, network.socket() as client:
                bound.bind(_LOOPBACK)
                code = _connect(client, bound.getsockname())
                assert code == errno.ECONNREFUSED, f"nobody listens there, and connect_ex() ended with {errno.errorcode.get(code, code)}"

        self._run(main)

    def test_an_address_in_use(self) -> None:
        def main(network: Network) -> None:
            with network.socket() as first, network.socket() as second:
                first.bind(_LOOPBACK)
                first.listen(1)
                with raises(OSError, "two sockets were bound to one address") as caught:
                    second.bind(first.getsockname())
                assert getattr(caught[0], "errno", None) == errno.EADDRINUSE, f"EADDRINUSE was due, not {caught[0]!r}"

        self._run(main)

    def test_a_closed_socket_is_an_error(self) -> None:
        def main(network: Network) -> None:
            left, right = network.socketpair()
            right.close()
            left.close()
            left.close()
            with raises(OSError, "recv() of a closed socket") as caught:
                left.recv(1)
            assert getattr(caught[0], "errno", None) == errno.EBADF, f"EBADF was due, not {caught[0]!r}"
            assert left.fileno() == -1, "fileno() of a closed socket is -1"

        self._run(main)

    def test_names_become_addresses(self) -> None:
        def main(network: Network) -> None:
            found = network.getaddrinfo("127.0.0.1", 80, socket.AF_INET, socket.SOCK_STREAM)
            assert found, "a numeric address was not resolved"
            family, kind, _, _, address = found[0]
            assert (family, kind, address) == (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 80)), f"getaddrinfo() returned {found[0]!r}"

        self._run(main)

    def test_an_unknown_name_is_an_error(self) -> None:
        def main(network: Network) -> None:
            with raises(socket.gaierror, "a name was resolved that is no number, though only numbers were asked for"):
                network.getaddrinfo("not a number", 80, flags=socket.AI_NUMERICHOST)

        self._run(main)
