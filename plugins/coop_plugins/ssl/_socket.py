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
attribute ``sslsocket_class``, which is public for just that; so those of the standard class need not be replaced when the program is patched, only told.
Private names of the standard classes that are needed, the same in every Python since 3.8: ``_sslobj``, where a socket keeps OpenSSL's connection; ``_create``,
which contexts call; ``_check_connected`` and ``_real_close``; and in `_memory` ``_context``, ``_session`` and the context's ``_wrap_bio``.

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
6. A write that is left in the middle, by a kill, a timeout or a socket that never waits, goes on where it was when the same data is written again; other data
   is refused, and never sent in the place of a record that was begun.
7. No call enters OpenSSL while another of the same connection is inside, parked in a callback of the handshake. A `close` meanwhile keeps the descriptor
   until that one is out, so that OpenSSL never uses a number that names another file by then.
8. Nobody starves: records that never have to wait let the other tasks run after every `_STREAK` of them.
"""

from __future__ import annotations

import ssl as _stdlib
from collections.abc import Callable
from socket import SHUT_RDWR
from ssl import SSL_ERROR_SSL, SSLEOFError, SSLError, SSLWantReadError, SSLWantWriteError
from typing import Any, NoReturn, TypeVar

from coopcore.errors import BusyResourceError
from coopcore.lowlevel import READABLE, WRITABLE, Hub, ParkingLot, Task, current_task, hide_frames

from ..socket._core import socket
from ._memory import Handover, over_memory

R = TypeVar("R")
S = TypeVar("S", bound="SSLSocket")

_NANOSECONDS = 1_000_000_000
_STREAK = 32  # calls or records in a row that found the socket ready
_RECORD = 16384  # the most that one record carries
_PIECE = 65536  # the most that OpenSSL gets at once, so that the other tasks have their turns


class _Plain(socket):
    """What the standard SSLSocket finds beneath itself: the cooperative socket, on a descriptor or on a network's object that it takes over."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None) -> None:
        if isinstance(fileno, int):
            self._open(family, type, proto, fileno)
        else:
            self._set_up(fileno)


class _Standard(_stdlib.SSLSocket, _Plain):  # type: ignore[misc]  # the standard class refuses what makes no sense with TLS
    """The standard class upon a cooperative socket. Its `_create` calls ``super(SSLSocket, self).__init__`` with whatever ``ssl.SSLSocket`` is by then."""

    __init__ = _Plain.__init__  # past the standard one, which refuses


class SSLSocket(_Standard):
    """``ssl.SSLSocket`` whose waits park the task. Arguments, results and errors are the standard class's; `SSLContext.wrap_socket` makes them.

    Raises `TimeoutError` when the socket's timeout has passed, `ClosedResourceError` (an `OSError`, EBADF) in a task that waits while another closes the
    socket, and `BusyResourceError` if two tasks read, or write, one connection.
    """

    __module__ = "coop_plugins.ssl"  # the name that users import, in every repr

    _sslobj: Any
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

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
        if self._raw is not None:
            self.__class__ = over_memory(type(self))  # type: ignore[arg-type]  # a class is hashable

    def _start_state(self) -> None:
        super()._start_state()
        self._early = True
        """True until the handshake is known to be over: OpenSSL may call back, and a callback may park."""
        self._inside: Task[Any] | None = None
        """The task that is inside OpenSSL, in the handshake. Others run only if a callback parks."""
        self._doomed = False
        """True if the socket was closed meanwhile."""
        self._reader: Task[Any] | None = None
        self._writer: Task[Any] | None = None
        """Who is in the middle of reading, and of writing."""
        self._at: dict[int, Task[Any]] = {}
        """Who waits at the descriptor, for each direction."""
        self._joined: dict[tuple[Hub, int], ParkingLot] = {}
        """Those who wait with them."""
        self._unfinished: bytes | None = None
        """The data of a write that was left in the middle, up to the end of what OpenSSL has seen of it."""
        self._sent_of_it = 0
        """How much of that was sent."""
        self._until: int | None = None
        """When the connect that is under way has to be done."""

    # -- waiting --------------------------------------------------------------------------------------------------------

    def _deadline(self) -> int | None:
        return super()._deadline() if self._until is None else self._until

    def _drive(self, operation: str, call: Callable[[], R], deadline: int | None, never: bool) -> R:
        """Do something that OpenSSL may not be able to finish at once. ``never``: then raise what it lacks, and don't wait."""
        try:
            return self._enter(call) if self._early else call()
        except SSLWantReadError:
            if never:
                raise
            want = READABLE
        except SSLWantWriteError:
            if never:
                raise
            want = WRITABLE
        return self._continue(operation, want, deadline, call)

    def _continue(self, operation: str, want: int, deadline: int | None, call: Callable[..., R], args: tuple[Any, ...] = ()) -> R:
        """Go on with a call that OpenSSL could not finish, for the lack of what ``want`` says."""
        task = current_task()
        at = self._at
        while True:
            try:
                if want in at and at[want].hub is task.hub:
                    self._join(task.hub, want, deadline)
                else:
                    at[want] = task
                    try:
                        self._wait(want, deadline)
                    finally:
                        if at.get(want) is task:
                            del at[want]
                        if self._joined:
                            self._wake_joined(task.hub, want)
            except TimeoutError as error:
                if error.args != ("timed out",):  # as the plain socket and `_join` say it
                    raise
                raise TimeoutError(f"The {operation or ('read' if want == READABLE else 'write')} operation timed out") from None
            try:
                return self._enter(call, *args) if self._early else call(*args)
            except SSLWantReadError:
                want = READABLE
            except SSLWantWriteError:
                want = WRITABLE

    def _join(self, hub: Hub, direction: int, deadline: int | None) -> None:
        """Wait together with the task that waits for the same direction."""
        others = self._joined.get((hub, direction))
        if others is None:
            what = "readable" if direction == READABLE else "writable"
            others = self._joined[hub, direction] = ParkingLot(f"descriptor {self.fileno()} to become {what}, together with another task of the connection")
        left = None if deadline is None else (deadline - hub.clock.now()) / _NANOSECONDS
        if (left is not None and left <= 0) or not others.park(left):
            raise TimeoutError("timed out")
        if self._ended:
            self._raise_ended()

    def _wake_joined(self, hub: Hub, direction: int) -> None:
        others = self._joined.pop((hub, direction), None)
        if others is not None:
            others.unpark_all()

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

    def _refuse(self, operation: str, other: Task[Any]) -> NoReturn:
        raise BusyResourceError(
            f"{current_task()!r} wants to {operation} on {self!r}, but {other!r} is in the middle of a {operation} there: each would get, or send, pieces "
            f"of the other's data. Let one task {operation}, and pass the data through a Queue, or guard the connection with a lock."
        )

    # -- handshake ------------------------------------------------------------------------------------------------------

    def do_handshake(self, block: bool = False) -> None:
        """Perform the handshake. Parks; with ``block`` also a socket that never waits does."""
        self._check_connected()  # type: ignore[attr-defined]  # typeshed leaves it out
        never = self._timeout == 0.0
        self._drive("handshake", self._sslobj.do_handshake, None if never else self._deadline(), never and not block)

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
        plain = self._drive("", sslobj.shutdown, self._deadline(), self._timeout == 0.0)
        self._sslobj = None
        return plain

    # -- reading --------------------------------------------------------------------------------------------------------

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """At most ``len`` bytes, or how many came into ``buffer``; none at the end. Parks until there are some."""
        sslobj = self._sslobj
        if sslobj is None:
            return super().read(len, buffer)
        return self._receive(sslobj.read, len) if buffer is None else self._receive(sslobj.read, len, buffer)

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
            if not self.suppress_ragged_eofs:
                raise
            return self._ragged(args)
        return self._receive_later(want, call, args)

    def _receive_later(self, want: int, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if self._reader is not None:
            self._refuse("read", self._reader)
        self._reader = current_task()
        try:
            return self._continue("read", want, None if self._timeout is None else self._deadline(), call, args)
        except SSLEOFError:
            if not self.suppress_ragged_eofs:
                raise
            return self._ragged(args)
        finally:
            self._reader = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """At most ``buflen`` bytes; ``b""`` at the end. Parks until there are some."""
        sslobj = self._sslobj
        if sslobj is None or flags or self._early:
            return super().recv(buflen, flags)  # which calls read, unless this is no TLS
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        try:
            got: bytes = sslobj.read(buflen)
            return got
        except SSLWantReadError:
            if self._timeout == 0.0:
                raise
            want = READABLE
        except SSLWantWriteError:
            if self._timeout == 0.0:
                raise
            want = WRITABLE
        except SSLEOFError:
            if not self.suppress_ragged_eofs:
                raise
            return b""
        got = self._receive_later(want, sslobj.read, (buflen,))
        return got

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As `recv`, into ``buffer``. Returns how many bytes came."""
        sslobj = self._sslobj
        if sslobj is None or flags or buffer is None:
            return super().recv_into(buffer, nbytes, flags)
        if nbytes is None:
            nbytes = memoryview(buffer).nbytes or 1024
        count: int = self._receive(sslobj.read, nbytes, buffer)
        return count

    def _ragged(self, args: tuple[Any, ...]) -> Any:
        """What a read returns if the other end is gone without a word."""
        return b"" if len(args) == 1 else 0

    # -- writing --------------------------------------------------------------------------------------------------------

    def write(self, data: Any) -> int:
        """Send all of ``data``, as the standard method does, and return how many bytes that are. Parks as often as needed; the timeout is for all of it."""
        sslobj = self._sslobj
        if sslobj is None:
            return super().write(data)
        return self._send_tls(sslobj, data)

    def send(self, data: Any, flags: int = 0) -> int:
        """As `write`."""
        sslobj = self._sslobj
        if sslobj is None or flags:
            return super().send(data, flags)
        return self._send_tls(sslobj, data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data``. Parks as often as needed; the timeout is for all of it. After an error, how much was sent is unknown."""
        sslobj = self._sslobj
        if sslobj is None or flags:
            super().sendall(data, flags)
        else:
            self._send_tls(sslobj, data)

    def _send_tls(self, sslobj: Any, data: Any) -> int:
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if self._writer is not None:
            self._refuse("write", self._writer)
        if type(data) is bytes and 0 < len(data) <= _PIECE and self._unfinished is None and not self._early:
            try:  # what is most often sent, and most often taken at once
                if sslobj.write(data) == len(data):
                    return len(data)
            except (SSLWantReadError, SSLWantWriteError):
                pass
        with memoryview(data) as given, given.cast("B") as view:
            deadline = self._deadline()
            self._writer = current_task()
            try:
                self._send_view(sslobj, view, deadline)
            finally:
                self._writer = None
            return len(view)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file that is open in binary mode. Returns how many bytes; moves the file's position behind them. Parks; the timeout is for all of it.

        Raises ValueError for a text file, a socket that never waits, and bad counts.
        """
        sslobj = self._sslobj
        if sslobj is None:
            return super().sendfile(file, offset, count)
        self._check_sendfile(file, offset, count)
        if self._writer is not None:
            self._refuse("write", self._writer)
        deadline = self._deadline()
        self._writer = current_task()
        sent = 0
        try:
            if offset:
                file.seek(offset)
            while piece := file.read(_RECORD if count is None else min(count - sent, _RECORD)):
                self._count()
                self._send_view(sslobj, memoryview(piece), deadline)
                sent += len(piece)
        finally:
            self._writer = None
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def _count(self) -> None:
        """One more record that may not have to wait."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()

    def _send_view(self, sslobj: Any, view: memoryview, deadline: int | None) -> None:
        """Send all of it, or the rest of it if it is what an earlier write left. To be called by the writer."""
        sent = self._resume(view)
        while sent < len(view):
            piece = view[sent : sent + _PIECE]
            try:
                if sent:
                    self._count()
                done = self._try_write(sslobj, piece)
                if done < 0:
                    done = self._continue("write", -done, deadline, self._write, (sslobj, piece))
            except BaseException as error:
                self._leave(view, sent, len(piece), error)
                raise
            sent += done

    def _try_write(self, sslobj: Any, piece: Any) -> int:
        """How many bytes were sent, or minus the direction that OpenSSL has to wait for."""
        try:
            done: int = self._enter(self._write, sslobj, piece) if self._early else sslobj.write(piece)
            return done
        except SSLWantReadError:
            if self._timeout == 0.0:
                raise
            return -READABLE
        except SSLWantWriteError:
            if self._timeout == 0.0:
                raise
            return -WRITABLE

    def _write(self, sslobj: Any, piece: Any) -> int:
        if self._early:
            # OpenSSL would do so itself, but not while another task's part of it has been sent in part.
            sslobj.do_handshake()
            self._early = False
        done: int = sslobj.write(piece)
        return done

    def _leave(self, view: memoryview, sent: int, piece: int, error: BaseException) -> None:
        """Remember where a write was left: OpenSSL may have sent a part of a record."""
        left = not isinstance(error, OSError) or isinstance(error, (TimeoutError, SSLWantWriteError))  # else the connection is broken
        if left and not self._early:
            self._unfinished, self._sent_of_it = bytes(view[: sent + piece]), sent

    def _resume(self, view: memoryview) -> int:
        """How much of ``view`` was sent already, by a write that was left. Refuses other data than that had."""
        begun = self._unfinished
        if begun is None:
            return 0
        if view[: len(begun)] != begun:
            raise SSLError(
                SSL_ERROR_SSL,
                f"an earlier write on {self!r} was killed, timed out or would have blocked when a part of its data had been sent, and perhaps a part of a "
                f"record, with which OpenSSL has to go on. Write the same data again, or close the connection.",
            )
        self._unfinished = None
        return self._sent_of_it

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
