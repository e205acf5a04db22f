"""The network's contract: the kernel's sockets and a network in memory keep it, and each of its tests finds a fault."""

from __future__ import annotations

import errno
import socket

import pytest

from coopcore.testing import NetworkContract, _network

from .seams import network as memory
from .seams.mutants import check_mutant, untried
from .seams.network import MemoryNetwork, MemorySocket


class KernelNetwork:
    """Standard sockets, made non-blocking."""

    def socket(self, family=-1, type=-1, proto=-1, fileno=None):
        made = socket.socket(family, type, proto, fileno)
        made.setblocking(False)
        return made

    def socketpair(self, family=None, type=-1, proto=0):
        pair = socket.socketpair(family, socket.SOCK_STREAM if type == -1 else type, proto)
        for end in pair:
            end.setblocking(False)
        return pair

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        return socket.getaddrinfo(host, port, family, type, proto, flags)


class TestKernelNetwork(NetworkContract):
    def make(self):
        return KernelNetwork()


class TestMemoryNetwork(NetworkContract):
    def make(self):
        return MemoryNetwork()


class Blocking(KernelNetwork):
    def socket(self, *args):
        return socket.socket()

    def socketpair(self, *args):
        return socket.socketpair()


def with_sockets(**changes):
    """A network in memory whose sockets have a fault."""
    faulty = type("FaultySocket", (MemorySocket,), changes)

    class Faulty(MemoryNetwork):
        def socket(self, family=-1, type=-1, proto=-1, fileno=None):
            return faulty(self)

        def socketpair(self, family=None, type=-1, proto=0):
            left, right = faulty(self), faulty(self)
            left.peer, right.peer = right, left
            return left, right

    return Faulty


def lossy_send(self, data):
    MemorySocket.send(self, data[:-1])
    return len(data)


def unread(self, size):
    data = MemorySocket.recv(self, 1 << 20)
    return data[:size]


def sudden_end(self):
    self.peer.incoming.clear()
    MemorySocket.close(self)


def endless(self, size):
    return b"" if self.closed else bytes(self.incoming) or memory._fail(errno.EAGAIN)


def careless_send(self, data):
    return len(data) if self.peer.closed else MemorySocket.send(self, data)


def bottomless_send(self, data):
    self.peer.incoming += data[:1]
    return len(data)


def full_shutdown(self, how):
    MemorySocket.shutdown(self, socket.SHUT_RDWR)


def any_connection(self, address):
    return 0


def shared_bind(self, address):
    self.network.bound.pop(address, None)
    MemorySocket.bind(self, address)


def immortal(self):
    pass


class NoNames(MemoryNetwork):
    def getaddrinfo(self, *args, **kwargs):
        return []


class AllNames(MemoryNetwork):
    def getaddrinfo(self, host, port, *args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", port))]


MUTANTS = [
    (object, ["test_it_has_every_method"]),
    (Blocking, ["test_nothing_blocks"]),
    (with_sockets(recv=unread), ["test_a_pair_is_connected_both_ways"]),
    (with_sockets(close=sudden_end), ["test_the_end_is_an_empty_read"]),
    (with_sockets(recv=endless), ["test_a_pair_is_connected_both_ways"]),
    (with_sockets(send=careless_send), ["test_sending_to_a_closed_end_is_an_error"]),
    (with_sockets(shutdown=full_shutdown), ["test_shutdown_ends_one_direction"]),
    (with_sockets(shutdown=lambda self, how: None), ["test_shutdown_ends_one_direction"]),
    (with_sockets(send=lossy_send), ["test_a_full_buffer_blocks_and_loses_nothing"]),
    (with_sockets(send=bottomless_send), ["test_a_full_buffer_blocks_and_loses_nothing"]),
    (with_sockets(connect_ex=any_connection), ["test_a_client_and_a_server", "test_nobody_listens"]),
    (with_sockets(bind=shared_bind), ["test_an_address_in_use"]),
    (with_sockets(close=immortal), ["test_a_closed_socket_is_an_error"]),
    (NoNames, ["test_names_become_addresses", "test_an_unknown_name_is_an_error"]),
    (AllNames, ["test_names_become_addresses", "test_an_unknown_name_is_an_error"]),
]


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_contract_finds_a_fault(make, tests, monkeypatch):
    monkeypatch.setattr(_network, "PATIENCE", 30_000_000)
    check_mutant(NetworkContract, make, tests)


def test_each_test_of_the_contract_can_fail():
    assert not untried(NetworkContract, MUTANTS)
