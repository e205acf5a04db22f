"""TLS on a network that is not the kernel's: OpenSSL works upon memory, and what it reads and writes goes through the network's object.

`Connection` has the methods of the object that OpenSSL's own connection to a descriptor is, and like that one never waits: it raises `SSLWantReadError` or
`SSLWantWriteError` once the network has said that it would block. So the socket above it need not know which it has.

Invariants
==========
1. Nothing is read beyond the record that OpenSSL asks for: what follows the last record is there for whoever goes on with the plain connection.
2. No call is reported done before what it had to send was handed to the network; but a read, which has data to return, leaves that to the next call.
3. A reader never waits for a writer's data to be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EBADF
from functools import cache
from ssl import SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, MemoryBIO, SSLContext, SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from coopcore.lowlevel import hide_frames

if TYPE_CHECKING:
    from ._socket import SSLSocket

R = TypeVar("R")

_HEADER = 5  # bytes, the last two of which are the length of what follows


class Connection:
    """OpenSSL's end of a connection whose bytes a network's object carries."""

    def __init__(self, sock: SSLSocket, raw: Any, context: SSLContext, session: Any) -> None:
        self._raw = raw
        self._coming, self._going = MemoryBIO(), MemoryBIO()
        self._ssl: Any = context._wrap_bio(  # type: ignore[attr-defined]  # as SSLObject does, but for the owner, whom callbacks get to see
            self._coming, self._going, server_side=sock.server_side, server_hostname=sock.server_hostname, owner=sock, session=session
        )
        self._header = b""
        self._lacks = 0
        """Bytes of the present record that are still to come, once its header is complete."""
        self._left = b""
        """What the network has not taken yet."""
        self._taken = 0
        """Bytes of the write under way that OpenSSL has taken, while they are being sent."""

    def do_handshake(self) -> None:
        self._call(self._ssl.do_handshake)
        self._flush()

    def shutdown(self) -> None:
        self._call(self._ssl.shutdown)
        self._flush()

    def read(self, *args: Any) -> Any:
        got = self._call(self._ssl.read, *args)
        self._try_flush()
        return got

    def write(self, data: Any) -> int:
        if not self._taken:
            self._taken = self._call(self._ssl.write, data)
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def _call(self, call: Callable[..., R], *args: Any) -> R:
        while True:
            try:
                return call(*args)
            except SSLWantReadError:
                if self._taken:
                    self._try_flush()  # what is there to send is a writer's, who sees to it: a reader must not wait for that
                else:
                    self._flush()
                self._feed()
            except BaseException:
                self._try_flush()  # the alert that tells the other end
                raise

    def _feed(self) -> None:
        """Read what OpenSSL lacks of the present record."""
        try:
            data = self._raw.recv(self._lacks or _HEADER - len(self._header))
        except BlockingIOError:
            raise SSLWantReadError(SSL_ERROR_WANT_READ, "The operation did not complete (read)") from None
        if not data:
            self._coming.write_eof()
            return
        self._coming.write(data)
        if self._lacks:
            self._lacks -= len(data)
            return
        self._header += data
        if len(self._header) == _HEADER:
            self._lacks = int.from_bytes(self._header[3:], "big")
            self._header = b""

    def _flush(self) -> None:
        while self._left or self._going.pending:
            self._left = self._left or self._going.read()
            try:
                self._left = self._left[self._raw.send(self._left) :]
            except BlockingIOError:
                raise SSLWantWriteError(SSL_ERROR_WANT_WRITE, "The operation did not complete (write)") from None

    def _try_flush(self) -> None:
        try:
            self._flush()
        except OSError:
            pass  # later, or never

    # -- what the standard class asks of it ----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)

    @property
    def context(self) -> SSLContext:
        return self._ssl.context  # type: ignore[no-any-return]  # OpenSSL's object has no types

    @context.setter
    def context(self, context: SSLContext) -> None:
        self._ssl.context = context

    @property
    def session(self) -> Any:
        return self._ssl.session

    @session.setter
    def session(self, session: Any) -> None:
        self._ssl.session = session


class _OverMemory:
    """Mixed in front of the TLS socket when the network is not the kernel's."""

    __slots__ = ()

    _raw: Any
    _connection: Connection | None = None

    @property
    def _sslobj(self) -> Connection | None:
        return self._connection

    @_sslobj.setter
    def _sslobj(self: Any, made: Any) -> None:
        """The standard class has made a connection to a descriptor, which is not there; or it keeps none any more."""
        if made is not None and not isinstance(made, Connection):
            made = Connection(self, self._raw, self._context, self._session)
        self._connection = made

    def unwrap(self: Any) -> Any:
        super().unwrap()  # type: ignore[misc]  # that of the class it is mixed into
        return self

    def shutdown(self: Any, how: int) -> None:
        self._sslobj = None
        self._raw.shutdown(how)

    def dup(self: Any) -> NoReturn:
        raise NotImplementedError(f"Can't dup() {type(self).__name__} instances")


@cache
def over_memory(cls: type[Any]) -> type[Any]:
    """That class of sockets, upon memory."""
    return type(cls.__name__, (_OverMemory, cls), {"__module__": cls.__module__})


class Handover:
    """Stands for a socket of another network while the standard class takes its descriptor over: what it takes is the network's object."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.family, self.type, self.proto = sock.family, sock.type, sock.proto

    def getsockopt(self, *args: Any) -> Any:
        return self._sock.getsockopt(*args)

    def gettimeout(self) -> float | None:
        return self._sock.gettimeout()  # type: ignore[no-any-return]  # a socket's

    def fileno(self) -> Any:
        return self._sock._raw

    def detach(self) -> None:
        sock = self._sock
        if not sock._ended:
            sock._refuse_to_detach_elsewhere()
            sock._tell_this_thread(sock.fileno())
        sock._raw = _Gone()


class _Gone:
    """What is left to a socket whose network's object another one has taken over."""

    def fileno(self) -> int:
        return -1

    def __getattr__(self, name: str) -> NoReturn:
        raise OSError(EBADF, f"Bad file descriptor: the socket was wrapped, and its connection belongs to the TLS socket ({name})")


hide_frames(__file__)
