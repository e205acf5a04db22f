"""A network in memory: stream sockets that are queues of bytes. Nothing of it reaches the kernel, so none has a descriptor."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque

ROOM = 1 << 16  # bytes that an end takes before it says EAGAIN


def _fail(code):
    raise OSError(code, os.strerror(code))  # OSError chooses the subclass: BlockingIOError, BrokenPipeError ...


class MemoryNetwork:
    """Made of `MemorySocket`s. Addresses are ``(host, port)`` pairs that mean nothing outside."""

    def __init__(self):
        self.bound = {}
        self._next_port = 40_000

    def socket(self, family=-1, type=-1, proto=-1, fileno=None):
        if fileno is not None:
            raise ValueError("a network in memory has no descriptors to adopt")
        return MemorySocket(self)

    def socketpair(self, family=None, type=-1, proto=0):
        left, right = MemorySocket(self), MemorySocket(self)
        left.peer, right.peer = right, left
        return left, right

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        try:
            socket.inet_aton(host)
        except OSError:
            raise socket.gaierror(socket.EAI_NONAME, f"no such host: {host!r}") from None
        return [(socket.AF_INET, type or socket.SOCK_STREAM, proto, "", (host, int(port)))]

    def free_address(self, host="127.0.0.1"):
        self._next_port += 1
        return (host, self._next_port)


class MemorySocket:
    """One end. What its peer sent lies in ``incoming``."""

    def __init__(self, network):
        self.network = network
        self.incoming = bytearray()
        self.ended = False  # nothing more will come in
        self.closed = False
        self.peer = None
        self.address = None
        self.waiting = None  # of a listener: who connected and was not accepted

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def gettimeout(self):
        return 0.0

    def setblocking(self, flag):
        if flag:
            raise ValueError("a socket in memory never blocks")

    def fileno(self):
        return -1

    def _check_open(self):
        if self.closed:
            _fail(errno.EBADF)

    def recv(self, size):
        self._check_open()
        if not self.incoming:
            if self.ended:
                return b""
            _fail(errno.EAGAIN)
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def send(self, data):
        self._check_open()
        if self.peer is None:
            _fail(errno.ENOTCONN)
        if self.peer.closed or self.peer.ended:
            _fail(errno.EPIPE)
        room = ROOM - len(self.peer.incoming)
        if room <= 0:
            _fail(errno.EAGAIN)
        self.peer.incoming += data[:room]
        return min(room, len(data))

    def shutdown(self, how):
        self._check_open()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self.peer.ended = True
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self.ended = True

    def bind(self, address):
        host, port = address
        if address in self.network.bound:
            _fail(errno.EADDRINUSE)
        self.address = (host, port) if port else self.network.free_address(host)
        self.network.bound[self.address] = self

    def listen(self, backlog=128):
        self.waiting = deque()

    def getsockname(self):
        return self.address

    def getpeername(self):
        if self.peer is None:
            _fail(errno.ENOTCONN)
        return self.peer.address

    def connect_ex(self, address):
        if self.peer is not None:
            return errno.EISCONN
        listener = self.network.bound.get(address)
        if listener is None or listener.waiting is None:
            return errno.ECONNREFUSED
        self.address = self.network.free_address()
        server = MemorySocket(self.network)
        server.address = address
        server.peer, self.peer = self, server
        listener.waiting.append(server)
        return 0

    def accept(self):
        self._check_open()
        if not self.waiting:
            _fail(errno.EAGAIN)
        server = self.waiting.popleft()
        return server, server.peer.address

    def close(self):
        if not self.closed:
            self.closed = True
            if self.peer is not None:
                self.peer.ended = True
            if self.network.bound.get(self.address) is self:
                del self.network.bound[self.address]
