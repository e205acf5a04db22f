"""The cooperative TLS socket.

Theory
======
OpenSSL works upon the descriptor, which never blocks, and says what it lacks: `SSLWantReadError` or `SSLWantWriteError`, each raised only after the kernel has
said EAGAIN. So every call here is *optimistic*, as those of the plain socket are: it is tried, and the task parks only when OpenSSL cannot go on, for the
direction that OpenSSL names, be it a read that has to write or a write that has to read. Data that OpenSSL has decrypted already never meets a park.

Why not through memory BIOs, which are public? Whoever feeds OpenSSL from memory must read either whole records only, which costs two calls from Python for each
and a third of the speed of small messages, or more than one record at once. Then what has come and is not decrypted yet shows neither in `pending` nor in a
`select` upon the descriptor, and programs that look there before they read hang; and what follows the other end's last record is gone when `unwrap`
has given the plain socket back. And copying through memory costs a quarter of the throughput. So they serve where there is no descriptor that OpenSSL
could use: on a network that is not the kernel's (`_memory`).

`SSLSocket` is a subclass of the standard class, and so gets its construction, its certificates, its session and all else that never waits from there; with
them come the fixes of each Python release. It is a `coop_plugins.socket.socket` as well, which knows how to wait and to close. Contexts make it through their
attribute ``sslsocket_class``, which is public for just that; so those of the standard class need not be replaced when the program is patched, only told. One
private name is used: ``_sslobj``, where the standard class keeps OpenSSL's connection.

Up to four tasks use one connection: a reader, a writer, one in the handshake and one in `unwrap`. Two of them may need one direction; the descriptor takes one
waiter for each, so a second waits with the first, and both try again.

Invariants
==========
1. A task parks only after OpenSSL has said what it lacks, and no other task runs between; so no edge is lost, and buffered data is never waited for.
2. One task reads and one writes, at the same time. A second reader that would have to wait, and whoever writes amid another's write, gets
   `BusyResourceError`, and nothing was read or written for it.
3. Tasks of one connection that need the same direction of the descriptor all wake when it is ready, and go on without the first if that leaves.
4. A timeout bounds the whole call: of a `sendall` all records, of a `connect` the connection and its handshake.
5. A handshake that fails or is killed while a connection is being wrapped leaves its descriptor closed.
6. A record of which only a part was sent, since its write was killed or timed out, is never followed by other data: only the same data finishes it.
7. No call enters OpenSSL while another of the same connection is inside, parked in a callback of the handshake. A `close` meanwhile keeps the descriptor
   until that one is out, so that OpenSSL never uses a number that names another file by then.
8. Nobody starves: records that never have to wait let the other tasks run after every `_STREAK` of them.
"""

from __future__ import annotations

import ssl as _stdlib
from collections.abc import Callable
from socket import SHUT_RDWR
from socket import socket as _standard_socket
from ssl import SSL_ERROR_SSL, SSLEOFError, SSLError, SSLWantReadError, SSLWantWriteError
from typing import Any, TypeVar

from coopcore.errors import BusyResourceError
from coopcore.lowlevel import READABLE, WRITABLE, Hub, ParkingLot, Task, current_task, hide_frames

from ..socket import socket
from ._memory import Handover, over_memory

R = TypeVar("R")
S = TypeVar("S", bound="SSLSocket")

_NANOSECONDS = 1_000_000_000
_STREAK = 32  # calls or records in a row that found the socket ready
_RECORD = 16384  # the most that one record carries
_PIECE = 65536  # what is read of a file at once


class _Plain(socket):
    """What the standard SSLSocket finds beneath itself: the cooperative socket, on a descriptor or on a network's object that it takes over."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None) -> None:
        self._set_up(_standard_socket(family, type, proto, fileno) if isinstance(fileno, int) else fileno)


class _Standard(_stdlib.SSLSocket, _Plain):  # type: ignore[misc]  # the two bases differ in names of arguments only, as the standard's own classes do
    """The standard class upon a cooperative socket. Its `_create` calls ``super(SSLSocket, self).__init__`` with whatever ``ssl.SSLSocket`` is by then."""

    __init__ = _Plain.__init__  # type: ignore[assignment]  # past the standard one, which refuses


class SSLSocket(_Standard):
    """``ssl.SSLSocket`` whose waits park the task. Arguments, results and errors are the standard class's; `SSLContext.wrap_socket` makes them.

    Raises `TimeoutError` when the socket's timeout has passed, `ClosedResourceError` (an `OSError`, EBADF) in a task that waits while another closes the
    socket, and `BusyResourceError` if two tasks read, or write, one connection.
    """

    __module__ = "coop_plugins.ssl"  # the name that users import, in every repr

    _sslobj: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f"{type(self).__name__} does not have a public constructor. Instances are returned by SSLContext.wrap_socket().")

    @classmethod
    def _create(cls: type[S], sock: Any, *args: Any, do_handshake_on_connect: bool = True, **kwargs: Any) -> S:
        """What `SSLContext.wrap_socket` calls. The standard one, but for the handshake."""
        if getattr(sock, "_raw", None) is not None:
            sock = Handover(sock)
        made: S = super()._create(sock, *args, do_handshake_on_connect=False, **kwargs)  # type: ignore[misc]  # typeshed leaves it out
        made.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect and made._sslobj is not None:
            try:
                if made._timeout == 0.0:
                    raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
                made.do_handshake()
            except BaseException:
                made.close()
                raise
        return made

    def _set_up(self, raw: Any) -> None:
        super()._set_up(raw)
        self._early = True
        """True until the handshake is known to be over: OpenSSL may call back, and a callback may park."""
        self._inside: Task[Any] | None = None
        """The task that is inside OpenSSL, in the handshake. Others run only if a callback parks."""
        self._doomed = False
        """True if the socket was closed meanwhile."""
        self._users: dict[str, Task[Any]] = {}
        """Who is in the middle of what."""
        self._parked: dict[tuple[Hub, int], ParkingLot | None] = {}
        """The directions at which a task waits, and those who wait with it."""
        self._unfinished: bytes | None = None
        """The data of a record of which only a part was sent."""
        self._until: int | None = None
        """When the connect that is under way has to be done."""
        if self._raw is not None:
            self.__class__ = over_memory(type(self))

    # -- waiting --------------------------------------------------------------------------------------------------------

    def _deadline(self) -> int | None:
        return super()._deadline() if self._until is None else self._until

    def _await(self, direction: int, deadline: int | None, operation: str) -> None:
        """Park until the descriptor may be ready. To be called only after OpenSSL has asked for that."""
        hub = current_task().hub
        key = (hub, direction)
        parked = self._parked
        try:
            if key in parked:
                self._await_with_another(key, deadline)
                return
            parked[key] = None
            try:
                self._wait(direction, deadline)
            finally:
                others = parked.pop(key)
                if others is not None:
                    others.unpark_all()
        except TimeoutError:
            if deadline is None or hub.clock.now() < deadline:
                raise  # somebody else's
            raise TimeoutError(f"The {operation} operation timed out") from None

    def _await_with_another(self, key: tuple[Hub, int], deadline: int | None) -> None:
        others = self._parked[key]
        if others is None:
            what = "readable" if key[1] == READABLE else "writable"
            others = self._parked[key] = ParkingLot(lambda: f"a TLS connection to become {what}, together with another task of it")
        left = None if deadline is None else (deadline - key[0].clock.now()) / _NANOSECONDS
        if (left is not None and left <= 0) or not others.park(left):
            raise TimeoutError("timed out")
        if self._ended:
            self._raise_ended()

    def _go_on(self, operation: str, want: int, deadline: int | None, call: Callable[..., R], *args: Any) -> R:
        """Go on with a call that OpenSSL could not finish, for the lack of what ``want`` says."""
        while True:
            try:
                self._await(want, deadline, operation)
            except BaseException:
                if operation == "write" and want == WRITABLE:
                    self._keep_unfinished(args[0])
                raise
            try:
                return self._enter(call, *args) if self._early else call(*args)
            except SSLWantReadError:
                want = READABLE
            except SSLWantWriteError:
                want = WRITABLE

    def _enter(self, call: Callable[..., R], *args: Any) -> R:
        """Call into OpenSSL while the handshake may be under way, and with it a callback that parks."""
        if self._inside is not None:
            raise BusyResourceError(
                f"{current_task()!r} wants to use {self!r}, but {self._inside!r} is in the middle of its handshake, in a callback that waits. "
                f"Use the connection when its handshake is over."
            )
        self._inside = current_task()
        try:
            result = call(*args)
            self._early = False
            return result
        finally:
            self._inside = None
            if self._doomed:
                super()._real_close()
                self._raise_ended()

    def _begin(self, operation: str) -> None:
        """From now on this task is the one that does it, until `_end`."""
        other = self._users.get(operation)
        if other is not None:
            self._refuse(operation, other)
        self._users[operation] = current_task()

    def _end(self, operation: str) -> None:
        del self._users[operation]

    def _refuse(self, operation: str, other: Task[Any]) -> None:
        raise BusyResourceError(
            f"{current_task()!r} wants to {operation} on {self!r}, but {other!r} is in the middle of a {operation} there: each would get, or send, pieces "
            f"of the other's data. Let one task {operation}, and pass the data through a Queue, or guard the connection with a lock."
        )

    # -- handshake ------------------------------------------------------------------------------------------------------

    def do_handshake(self, block: bool = False) -> None:
        """Perform the handshake. Parks; with ``block`` also a socket that never waits does."""
        self._check_connected()  # type: ignore[attr-defined]  # typeshed leaves it out
        call = self._sslobj.do_handshake
        try:
            self._enter(call)
            return
        except SSLWantReadError:
            want = READABLE
            if self._timeout == 0.0 and not block:
                raise
        except SSLWantWriteError:
            want = WRITABLE
            if self._timeout == 0.0 and not block:
                raise
        self._begin("handshake")
        try:
            self._go_on("handshake", want, None if self._timeout == 0.0 else self._deadline(), call)
        finally:
            self._end("handshake")

    def connect(self, addr: Any) -> None:
        """Connect to ``addr``, and perform the handshake unless ``do_handshake_on_connect`` is false. The timeout is for both together."""
        self._connecting(super().connect, addr)

    def connect_ex(self, addr: Any) -> int:
        """As `connect`, but returns the error number of a connection that failed. A handshake that fails raises."""
        return self._connecting(super().connect_ex, addr) or 0

    def _connecting(self, connect: Callable[[Any], R], addr: Any) -> R:
        self._until = self._deadline()
        had = self._sslobj
        try:
            return connect(addr)
        except BaseException:
            self._sslobj = had  # the standard method does so for some errors
            raise
        finally:
            self._until = None

    def unwrap(self) -> Any:
        """End TLS politely, and return the plain connection, which is this same socket. Parks until the other end has agreed."""
        sslobj = self._sslobj
        if sslobj is None:
            return super().unwrap()
        try:
            plain = self._enter(sslobj.shutdown) if self._early else sslobj.shutdown()
        except (SSLWantReadError, SSLWantWriteError) as error:
            if self._timeout == 0.0:
                raise
            want = READABLE if isinstance(error, SSLWantReadError) else WRITABLE
        else:
            self._sslobj = None
            return plain
        self._begin("unwrap")
        try:
            plain = self._go_on("unwrap", want, self._deadline(), sslobj.shutdown)
        finally:
            self._end("unwrap")
        self._sslobj = None
        return plain

    # -- reading --------------------------------------------------------------------------------------------------------

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """At most ``len`` bytes, or how many came into ``buffer``; none at the end. Parks until there are some."""
        sslobj = self._sslobj
        if sslobj is None:
            return super().read(len, buffer)
        return self._receive(sslobj.read, len) if buffer is None else self._receive(sslobj.read, len, buffer)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """At most ``buflen`` bytes; ``b""`` at the end. Parks until there are some."""
        sslobj = self._sslobj
        if sslobj is None or flags:
            return super().recv(buflen, flags)
        return self._receive(sslobj.read, buflen)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As `recv`, into ``buffer``. Returns how many bytes came."""
        sslobj = self._sslobj
        if sslobj is None or flags:
            return super().recv_into(buffer, nbytes, flags)
        if nbytes is None:
            nbytes = memoryview(buffer).nbytes or 1024
        return self._receive(sslobj.read, nbytes, buffer)

    def _receive(self, call: Callable[..., Any], *args: Any) -> Any:
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        try:
            return self._enter(call, *args) if self._early else call(*args)
        except SSLWantReadError:
            if self._timeout == 0.0:
                raise
            want = READABLE
        except SSLWantWriteError:
            if self._timeout == 0.0:
                raise
            want = WRITABLE
        except SSLEOFError:
            return self._ragged(args)
        self._begin("read")
        try:
            return self._go_on("read", want, self._deadline(), call, *args)
        except SSLEOFError:
            return self._ragged(args)
        finally:
            self._end("read")

    def _ragged(self, args: tuple[Any, ...]) -> Any:
        """The other end is gone without a word. In an ``except`` clause."""
        if not self.suppress_ragged_eofs:
            raise
        return b"" if len(args) == 1 else 0

    # -- writing --------------------------------------------------------------------------------------------------------

    def write(self, data: Any) -> int:
        """Send some of ``data``, at most a record of 16 KiB, and return how many bytes. Parks while the socket's buffer is full."""
        sslobj = self._sslobj
        if sslobj is None:
            return super().write(data)
        return self._send_one(sslobj.write, data)

    def send(self, data: Any, flags: int = 0) -> int:
        """As `write`."""
        sslobj = self._sslobj
        if sslobj is None or flags:
            return super().send(data, flags)
        return self._send_one(sslobj.write, data)

    def _send_one(self, call: Callable[[Any], int], data: Any) -> int:
        sent = self._send_first(call, data)
        if sent < 0:
            self._begin("write")
            try:
                return self._go_on("write", -sent, self._deadline(), call, data)
            finally:
                self._end("write")
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data``. Parks as often as needed; the timeout is for all of it. After an error, how much was sent is unknown."""
        sslobj = self._sslobj
        if sslobj is None or flags:
            super().sendall(data, flags)
            return
        with memoryview(data) as given, given.cast("B") as view:
            if not view:
                return
            sent = self._send_first(sslobj.write, view)
            if sent < len(view):
                self._send_rest(sslobj.write, view, sent)

    def _send_rest(self, call: Callable[[Any], int], view: memoryview, sent: int) -> None:
        deadline = self._deadline()
        self._begin("write")
        try:
            if sent < 0:
                sent = self._go_on("write", -sent, deadline, call, view)
            while sent < len(view):
                sent += self._send_next(call, view[sent:], deadline)
        finally:
            self._end("write")

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file that is open in binary mode. Returns how many bytes; moves the file's position behind them. Parks; the timeout is for all of it.

        Raises ValueError for a text file, a socket that never waits, and bad counts.
        """
        sslobj = self._sslobj
        if sslobj is None:
            return super().sendfile(file, offset, count)
        self._check_sendfile(file, offset, count)
        deadline = self._deadline()
        self._check_order(b"")
        self._begin("write")
        sent = 0
        try:
            if offset:
                file.seek(offset)
            while piece := file.read(_PIECE if count is None else min(count - sent, _PIECE)):
                view = memoryview(piece)
                while view:
                    done = self._send_next(sslobj.write, view, deadline)
                    view = view[done:]
                    sent += done
        finally:
            self._end("write")
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def _send_first(self, call: Callable[[Any], int], data: Any) -> int:
        """How many bytes were sent, or minus the direction that OpenSSL has to wait for."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if self._unfinished is not None or "write" in self._users:
            self._check_order(data)
        return self._try_write(call, data)

    def _send_next(self, call: Callable[[Any], int], view: memoryview, deadline: int | None) -> int:
        """Send a record in the middle of a longer sending. Returns how many bytes."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        sent = self._try_write(call, view)
        return sent if sent >= 0 else self._go_on("write", -sent, deadline, call, view)

    def _try_write(self, call: Callable[[Any], int], data: Any) -> int:
        try:
            return self._enter(call, data) if self._early else call(data)
        except SSLWantReadError:
            if self._timeout == 0.0:
                raise
            return -READABLE
        except SSLWantWriteError:
            if self._timeout == 0.0:
                self._keep_unfinished(data)
                raise
            return -WRITABLE

    def _keep_unfinished(self, data: Any) -> None:
        if not self._early:  # else it was the handshake that could not be sent
            with memoryview(data) as given, given.cast("B") as view:
                self._unfinished = bytes(view[:_RECORD])

    def _check_order(self, data: Any) -> None:
        """Refuse to mix data with another task's, or with the rest of a record that was begun."""
        other = self._users.get("write")
        if other is not None:
            self._refuse("write", other)
        begun = self._unfinished
        if begun is not None:
            with memoryview(data) as given, given.cast("B") as view:
                if view[: len(begun)] != begun:
                    raise SSLError(
                        SSL_ERROR_SSL,
                        f"an earlier write on {self!r} was killed, timed out or would have blocked when a part of its record had been sent; OpenSSL can only go "
                        f"on with the same data. Write that again, or close the connection.",
                    )
            self._unfinished = None

    # -- ending ---------------------------------------------------------------------------------------------------------

    def _real_close(self, *args: Any) -> None:
        if self._inside is None:
            super()._real_close()
        elif not self._doomed:
            self._doomed = True
            try:
                super().shutdown(SHUT_RDWR)
            except OSError:
                pass  # it was not connected


hide_frames(__file__)
