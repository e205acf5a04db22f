"""The cooperative socket.

Theory
======
Every call is *optimistic*: it is tried first, on a descriptor that never blocks, and the task parks only when the kernel has said EAGAIN. Having just
seen EAGAIN it may rely on edges, so on epoll a wait costs no system call. On a level-triggered backend the same code works: the hub arms it for each wait.

One try is saved where its outcome is known. A read from a TCP connection that brings less than was asked for has emptied it; so the next one parks at once,
unless the hub has heard of the descriptor since. That is what `FdWait.drained` says. Three things make a short read prove nothing: the end of the stream, an
error, and a mark of urgent data; each shows in the backend's report (``tells_end``), and from then on every read is tried (`FdWait.tells`). Unix sockets, whose
reads end where descriptors were sent along, datagrams, and reads with flags are always tried.

`socket` is a subclass of the standard class, so whatever does not wait is simply inherited, and every library that asks ``isinstance`` is content. The calls
that can wait come in pairs: ``recv`` is ours, ``_recv_now`` is the standard class's own method, or, on a network that is not the kernel's, that of the
network's object (`_Foreign`). Nothing stands between us and the kernel where the kernel is meant.

The timeout is ours. The standard class is told that the socket never blocks; its own timeouts would hold up the thread.

Invariants
==========
1. Between EAGAIN and the park no other task runs, so no edge is lost.
2. A hub forgets the number of a descriptor before the socket's first wait there: the number may have named another file.
3. When a socket is closed or detached, each task that waits at it, in whatever thread, gets `ClosedResourceError` before the number can be used anew.
   Whoever ends it says so (`_ended`, `FdWait.closed`) and then looks who waits (`FdWait.task`); whoever waits says so and then looks if it has ended. So one
   sees the other.
4. The bytes of one ``sendall`` (or ``sendfile``) are never mixed with those of another task: who sends looks for another right before each try.
5. A timeout bounds the whole call, spurious wakes and partial sends included. It counts in the hub's own clock.
6. No call looks up a name on the hub.
7. Nobody starves: a task whose calls never have to wait lets the others run after every `_STREAK` of them on one socket, before it tries the next one.
8. ``drained`` is set only by the hub's own thread, between whose read and whose store no report comes, and only for TCP; so data that nobody has read always
   has a report to come, or has had one since.

Two names of the standard classes are used that are not public: ``_accept``, since ``accept`` makes an object that would be thrown away (or, in a patched
program, one of ours); and ``_real_close``, which is what ``close`` comes to, and which the standard ssl module overrides as well.
"""

from __future__ import annotations

import errno
import io
import os
import socket as _stdlib
import stat
import sys
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import count as count_up
from operator import index
from typing import IO, Any, NoReturn, TypeVar, cast

from coopcore import sleep
from coopcore.errors import BusyResourceError, ClosedResourceError, HubClosedError
from coopcore.lowlevel import READABLE, WRITABLE, FdWait, Hub, Task, check_seconds, current_task, hide_frames, on_hub

from .._readiness import tell_closing
from ._network import KernelNetwork, current_network

R = TypeVar("R")

_NANOSECONDS = 1_000_000_000
_AT_ONCE = int(getattr(_stdlib, "MSG_DONTWAIT", 0))  # a flag of the enum class would cost a call of Python for each test
_URGENT = int(_stdlib.MSG_OOB)
_STREAK = 32  # calls in a row that found the socket ready
_PAUSE = 0.01  # seconds
_CONNECTING = (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK, errno.EAGAIN)
_LONG = 10**10  # seconds; nobody waits for longer
_TCP = (0, int(_stdlib.IPPROTO_TCP))
_UNIX = getattr(_stdlib, "AF_UNIX", -1)
_INTERNET = (_stdlib.AF_INET, _stdlib.AF_INET6)
_SENDFILE_MOST = 0x7FFF_F000  # what Linux moves at once
_COPY_PIECE = 65536
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EOVERFLOW)  # what a file system says that cannot


class _Place:
    """A hub whose tasks have waited at a socket. Changed by the hub's thread alone."""

    __slots__ = ("hub", "reading", "thread", "writing")

    def __init__(self, hub: Hub, fd: int) -> None:
        hub.forget_fd(fd)  # the number may have named another file
        self.hub = hub
        self.thread = hub.thread
        self.reading = hub.fd_wait(fd, READABLE)
        self.writing = hub.fd_wait(fd, WRITABLE)

    @property
    def waits(self) -> bool:
        """Whether a task waits here."""
        return self.reading.task is not None or self.writing.task is not None

    def end(self, ended: bool = True) -> None:
        """Let whoever is about to wait know that the socket has ended."""
        self.reading.closed = self.writing.closed = ended


class _Nowhere(FdWait):
    """The reader's wait before the first one."""

    __slots__ = ()

    def __init__(self) -> None:
        self.drained = self.tells = False


_NOWHERE = _Nowhere()
_standard_init = _stdlib.socket.__init__
_standard_socket = _stdlib.socket
_Kernel = _stdlib.SocketType  # the class in C
_family: Any = _Kernel.family  # plain numbers, where the standard class makes members of enums
_type: Any = _Kernel.type


class socket(_stdlib.socket):  # noqa: N801 - the standard class's name
    """``socket.socket`` whose waits park the task. Arguments, results and errors are the standard class's.

    Raises `TimeoutError` when the socket's timeout has passed, `ClosedResourceError` (an `OSError`, EBADF) in a task that waits while another closes the
    socket, and `BusyResourceError` if two tasks wait to read, or to write, one socket.
    """

    __module__ = "coop_plugins.socket"  # the name that users import, in every repr
    __slots__ = ("_ended", "_place", "_places", "_raw", "_reading", "_sending", "_streak", "_timeout", "_urgent")

    _timeout: float | None
    _raw: Any
    """The network's object, unless the kernel has it."""

    # What is tried first. The standard class's own methods, unless the network is not the kernel's (see _Foreign).
    _accept_now: Callable[..., tuple[Any, Any]] = _Kernel._accept  # type: ignore[attr-defined]  # typeshed leaves it out
    _bind_now = _stdlib.socket.bind
    _connect_now = _stdlib.socket.connect_ex
    _recv_now = _stdlib.socket.recv
    _recv_into_now = _stdlib.socket.recv_into
    _recvfrom_now = _stdlib.socket.recvfrom
    _recvfrom_into_now = _stdlib.socket.recvfrom_into
    _recvmsg_now = _stdlib.socket.recvmsg
    _recvmsg_into_now = _stdlib.socket.recvmsg_into
    _send_now = _stdlib.socket.send
    _sendto_now = _stdlib.socket.sendto
    _sendmsg_now = _stdlib.socket.sendmsg
    _sendmsg_afalg_now: Callable[..., int] = getattr(_Kernel, "sendmsg_afalg", _stdlib.socket.sendmsg)

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        network = current_network()
        if isinstance(network, KernelNetwork):
            self._open(family, type, proto, fileno)
        else:
            self._set_up(network.socket(family, type, proto, fileno))
        if fileno is None and type != -1 and type & getattr(_stdlib, "SOCK_NONBLOCK", 0):
            self._timeout = 0.0

    @classmethod
    def _over(cls, raw: Any) -> socket:
        """A socket that takes over what a network has made."""
        made = cls.__new__(cls)
        made._set_up(raw)
        return made

    def _set_up(self, raw: Any) -> None:
        if isinstance(raw, _standard_socket):
            self._open(raw.family, raw.type, raw.proto, raw.detach())
        else:
            self._raw = raw
            self._io_refs, self._closed = 0, False  # the standard close() and makefile() keep these
            self._start_state()
            self.__class__ = _foreign_class(type(self))  # type: ignore[arg-type]  # a class is hashable

    def _open(self, family: int, type: int, proto: int, fileno: int | None) -> None:
        _standard_init(self, family, type, proto, fileno)
        self._never_block()
        self._raw = None
        self._start_state()

    def _start_state(self) -> None:
        self._ended = False
        """True once it was closed or detached, though another thread's hub may still have to close the descriptor."""
        self._reading: FdWait = _NOWHERE
        """The reader's wait in the hub where a task waited last."""
        self._place: _Place | None = None
        """Where a task waited last; None before the first wait."""
        self._places: list[_Place] = []
        """All of them, but for those that a later hub of the same thread has made useless."""
        self._streak = 0
        """How many calls have found the socket ready since a task last waited, or gave way, here."""
        self._sending: Task[Any] | None = None
        """The task in the middle of a sendall, while it waits."""
        self._timeout = _stdlib.getdefaulttimeout()
        self._urgent = False
        """True once urgent data was asked for: reads then end at the place where it was, of which no report tells."""

    # -- waiting --------------------------------------------------------------------------------------------------------

    def _deadline(self) -> int | None:
        timeout = self._timeout
        return None if timeout is None or timeout > _LONG else current_task().hub.clock.now() + int(timeout * _NANOSECONDS)

    def _wait(self, direction: int, deadline: int | None) -> None:
        """Park until the socket may be ready. To be called only after EAGAIN."""
        hub = current_task().hub
        place = self._place
        if place is None or place.hub is not hub or place.reading.closed:
            place = self._place_in(hub)
        self._streak = 0
        wait = place.reading if direction == READABLE else place.writing
        if self._ended:
            self._raise_ended()
        if not wait.park(deadline):
            raise TimeoutError("timed out")
        if self._ended:  # after the wake, and before this task had its turn
            self._raise_ended()

    def _place_in(self, hub: Hub) -> _Place:
        places = self._places
        for place in list(places):
            if place.hub is hub and not place.reading.closed:
                break
            if place.thread == hub.thread and not place.waits:
                places.remove(place)
        else:
            if self._ended:
                self._raise_ended()
            place = _Place(hub, self.fileno())
            place.reading.tells = place.reading.tells and not self._urgent and self._is_tcp()
            places.append(place)
        self._place = place
        self._reading = place.reading
        return place

    def _is_tcp(self) -> bool:
        return self._raw is None and self.family in _INTERNET and self.type == _stdlib.SOCK_STREAM and self.proto in _TCP

    def _raise_ended(self) -> NoReturn:
        raise ClosedResourceError(errno.EBADF, f"the socket was closed or detached while {current_task().name!r} was about to use it")

    def _when_ready(self, direction: int, call: Callable[..., R], *args: Any) -> R:
        """Go on with a call that has just met EAGAIN."""
        return self._retry(direction, None if self._timeout is None else self._deadline(), call, *args)

    def _retry(self, direction: int, deadline: int | None, call: Callable[..., R], *args: Any) -> R:
        while True:
            self._wait(direction, deadline)
            if direction == WRITABLE and self._sending is not None:
                self._refuse_second_sender()  # it began between the wake and this task's turn
            try:
                return call(*args)
            except BlockingIOError:
                # A descriptor may say for ever that it is ready, as a listener at a Unix path does that was shut down.
                if deadline is not None and current_task().hub.clock.now() >= deadline:
                    raise TimeoutError("timed out") from None

    def _give_way(self) -> None:
        self._streak = 1  # the call that is about to be tried
        if self._timeout != 0.0 and not on_hub():
            sleep(0)
            if self._ended:
                self._raise_ended()

    def _refuse_second_sender(self) -> None:
        other = self._sending
        if other is not None:
            raise BusyResourceError(
                f"{current_task()!r} wants to send on {self!r}, but {other!r} is in the middle of a sendall() there: the pieces would be mixed. "
                f"Let one task send and give it the data through a Queue, or guard the socket with a lock."
            )

    # -- receiving ------------------------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """At most ``bufsize`` bytes; ``b""`` at the end of the stream. Parks until there are some."""
        wait = self._reading
        if wait.drained and self._timeout is None and not flags and bufsize > 0 and wait.park():
            self._streak = 0
            if self._ended:
                self._raise_ended()
            try:
                data = self._recv_now(bufsize)
            except BlockingIOError:
                data = self._when_ready(READABLE, self._recv_now, bufsize)
            if len(data) < bufsize:
                wait.drained = wait.tells
            return data
        return self._recv(bufsize, flags)

    def _recv(self, bufsize: int, flags: int) -> bytes:
        """`recv`, but for the commonest case."""
        deadline = self._before_read(bufsize, flags)
        try:
            data = self._recv_now(bufsize, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
            data = self._retry(READABLE, deadline or self._deadline(), self._recv_now, bufsize, flags)
        if len(data) < bufsize and self._reading.tells:
            self._after_short_read(flags)
        return data

    def _before_read(self, size: int, flags: int) -> int | None:
        """What comes before a read is tried. Returns when it has to be done, if it was found out."""
        wait = self._reading
        if wait.drained and self._timeout and not flags and size > 0 and wait.hub is current_task().hub:
            self._streak = 0
            deadline = self._deadline()
            if not wait.park(deadline):
                raise TimeoutError("timed out")
            if self._ended:
                self._raise_ended()
            return deadline
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if flags & _URGENT:
            self._ask_for_urgent()
        return None

    def _after_short_read(self, flags: int) -> None:
        """A read brought less than was asked for: the next one need not be tried before a report."""
        wait = self._reading
        if not flags and wait.hub is current_task().hub:
            wait.drained = True

    def _ask_for_urgent(self) -> None:
        self._urgent = True
        for place in self._places:
            place.reading.tells = place.reading.drained = False

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into ``buffer``. Returns how many bytes came."""
        size = nbytes or (len(buffer) if type(buffer) is memoryview or type(buffer) is bytearray else 0)
        wait = self._reading
        if wait.drained and self._timeout is None and not flags and size > 0 and wait.park():
            self._streak = 0
            if self._ended:
                self._raise_ended()
            try:
                received = self._recv_into_now(buffer, nbytes)
            except BlockingIOError:
                received = self._when_ready(READABLE, self._recv_into_now, buffer, nbytes)
            if received < size:
                wait.drained = wait.tells
            return received
        deadline = self._before_read(size, flags)
        try:
            received = self._recv_into_now(buffer, nbytes, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
            received = self._retry(READABLE, deadline or self._deadline(), self._recv_into_now, buffer, nbytes, flags)
        if received < size and self._reading.tells:
            self._after_short_read(flags)
        return received

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """As `recv`, with the sender's address."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if flags & _URGENT:
            self._ask_for_urgent()
        try:
            return self._recvfrom_now(bufsize, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
        return self._when_ready(READABLE, self._recvfrom_now, bufsize, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recv_into`, with the sender's address."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if flags & _URGENT:
            self._ask_for_urgent()
        try:
            return self._recvfrom_into_now(buffer, nbytes, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
        return self._when_ready(READABLE, self._recvfrom_into_now, buffer, nbytes, flags)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """Data, ancillary data, flags and address of one message. Parks until there is one."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if flags & _URGENT:
            self._ask_for_urgent()
        try:
            return self._recvmsg_now(bufsize, ancbufsize, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
        return self._when_ready(READABLE, self._recvmsg_now, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """As `recvmsg`, into ``buffers``."""
        buffers = list(buffers)  # it may have to be tried twice
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if flags & _URGENT:
            self._ask_for_urgent()
        try:
            return self._recvmsg_into_now(buffers, ancbufsize, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
        return self._when_ready(READABLE, self._recvmsg_into_now, buffers, ancbufsize, flags)

    # -- sending --------------------------------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send some of ``data`` and return how many bytes. Parks while the buffer is full."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if self._sending is not None:
            self._refuse_second_sender()
        try:
            return self._send_now(data, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
        return self._when_ready(WRITABLE, self._send_now, data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of ``data``. Parks as often as needed; the timeout is for all of it. After an error, how much was sent is unknown."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if self._sending is not None:
            self._refuse_second_sender()
        try:
            sent = self._send_now(data, flags)
        except BlockingIOError:
            if self._timeout == 0.0:
                raise
            sent = 0
        if type(data) is not bytes or sent < len(data):
            with memoryview(data) as given, given.cast("B") as view:
                if sent < len(view):
                    self._sendall_rest(view, sent, flags)

    def _sendall_rest(self, view: memoryview, sent: int, flags: int) -> None:
        deadline = self._deadline()
        self._sending = current_task()
        try:
            while sent < len(view):
                try:
                    sent += self._send_now(view[sent:], flags)
                except BlockingIOError:
                    if self._timeout == 0.0:
                        raise
                    self._wait(WRITABLE, deadline)
        finally:
            self._sending = None

    def sendto(self, data: Any, *args: Any) -> int:
        """``sendto(data, address)`` or ``sendto(data, flags, address)``. Parks while the buffer is full, and to look up a name."""
        if args:
            args = (*args[:-1], self._resolved(args[-1]))
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if self._sending is not None:
            self._refuse_second_sender()
        try:
            return self._sendto_now(data, *args)
        except BlockingIOError:
            if self._timeout == 0.0 or (len(args) == 2 and args[0] & _AT_ONCE):
                raise
        if self.family == _UNIX and args:
            return self._when_received(self._sendto_now, data, *args)
        return self._when_ready(WRITABLE, self._sendto_now, data, *args)

    def sendmsg(self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /) -> int:
        """Send buffers and ancillary data as one message. Returns how many bytes of the buffers were sent. Parks while the buffer is full."""
        buffers, ancdata = list(buffers), list(ancdata)  # they may have to be tried twice
        if address is not None:
            address = self._resolved(address)
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        if self._sending is not None:
            self._refuse_second_sender()
        try:
            return self._sendmsg_now(buffers, ancdata, flags, address)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & _AT_ONCE:
                raise
        if self.family == _UNIX and address is not None:
            return self._when_received(self._sendmsg_now, buffers, ancdata, flags, address)
        return self._when_ready(WRITABLE, self._sendmsg_now, buffers, ancdata, flags, address)

    def _when_received(self, call: Callable[..., R], *args: Any) -> R:
        """Go on with a datagram for a Unix socket whose queue is full. No descriptor tells when it is not: ours is writable all the time."""
        deadline = self._deadline()
        while True:
            self._pause(deadline)
            if self._sending is not None:
                self._refuse_second_sender()
            try:
                return call(*args)
            except BlockingIOError:
                continue

    def sendmsg_afalg(self, msg: Iterable[Any] = (), **options: Any) -> int:
        """Send a request to the kernel's crypto interface (AF_ALG): ``op``, ``iv``, ``assoclen`` and ``flags`` by name. Parks while the buffer is full."""
        call = partial(self._sendmsg_afalg_now, list(msg), **options)
        try:
            return call()
        except BlockingIOError:
            if self._timeout == 0.0 or options.get("flags", 0) & _AT_ONCE:
                raise
        return self._when_ready(WRITABLE, call)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file that is open in binary mode, by ``os.sendfile`` where that works. Returns how many bytes; moves the file's position behind them.

        Parks while the socket's buffer is full; the timeout is for all of it. Raises ValueError for a text file, a socket that is no stream or never
        waits, and bad counts.
        """
        self._check_sendfile(file, offset, count)
        if self._sending is not None:
            self._refuse_second_sender()
        deadline = self._deadline()
        self._sending = current_task()
        try:
            sent = self._splice_file(file, offset, count, deadline)
            return self._copy_file(file, offset, count, deadline) if sent is None else sent
        finally:
            self._sending = None

    def _check_sendfile(self, file: IO[bytes], offset: int, count: int | None) -> None:
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if not self.type & _stdlib.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        if self._timeout == 0.0:
            raise ValueError("non-blocking sockets are not supported")
        if not isinstance(offset, int):
            raise TypeError(f"offset must be an integer (got {offset!r})")
        if offset < 0:
            raise OSError(errno.EINVAL, f"{os.strerror(errno.EINVAL)}: no file has an offset of {offset}")
        if count is not None and not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count is not None and count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")

    def _sendfile_source(self, file: IO[bytes]) -> int | None:
        """The descriptor to give to os.sendfile, or None if the file must be copied."""
        try:
            fd = file.fileno()
            return fd if hasattr(os, "sendfile") and stat.S_ISREG(os.fstat(fd).st_mode) else None
        except (AttributeError, io.UnsupportedOperation, OSError):
            return None

    def _splice_file(self, file: IO[bytes], offset: int, count: int | None, deadline: int | None) -> int | None:
        """Send it by os.sendfile; None if that does not work for this file."""
        source = self._sendfile_source(file)
        if source is None:
            return None
        sent = 0
        try:
            while count is None or sent < count:
                try:
                    moved = os.sendfile(self.fileno(), source, offset + sent, _SENDFILE_MOST if count is None else min(count - sent, _SENDFILE_MOST))
                except BlockingIOError:
                    self._wait(WRITABLE, deadline)
                    continue
                except OSError as error:
                    if not sent and error.errno in _NO_SENDFILE:
                        return None
                    raise
                if not moved:
                    break
                sent += moved
            return sent
        finally:
            if sent:
                file.seek(offset + sent)

    def _copy_file(self, file: IO[bytes], offset: int, count: int | None, deadline: int | None) -> int:
        if offset:
            file.seek(offset)
        sent = 0
        try:
            while count is None or sent < count:
                piece = memoryview(file.read(_COPY_PIECE if count is None else min(count - sent, _COPY_PIECE)))
                if not piece:
                    break
                while piece:
                    try:
                        moved = self._send_now(piece)
                    except BlockingIOError:
                        self._wait(WRITABLE, deadline)
                        continue
                    piece = piece[moved:]
                    sent += moved
            return sent
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)

    # -- connecting -----------------------------------------------------------------------------------------------------

    def accept(self) -> tuple[socket, Any]:
        """A new connection and the address of its other end. Parks until there is one."""
        self._streak += 1
        if self._streak > _STREAK:
            self._give_way()
        try:
            raw, address = self._accept_now()
        except BlockingIOError:
            if self._timeout == 0.0:
                raise
            raw, address = self._when_ready(READABLE, self._accept_now)
        made = socket.__new__(socket)
        if self._raw is None:
            made._open(_family.__get__(self), _type.__get__(self), self.proto, raw)
        else:
            made._set_up(raw)
        return made, address

    def bind(self, address: Any, /) -> None:
        """As the standard one. Parks if a name must be looked up."""
        self._bind_now(self._resolved(address))

    def connect(self, address: Any, /) -> None:
        """Connect to ``address``. Parks until it is done, and to look up a name."""
        deadline = self._deadline()
        address = self._resolved(address)
        error = self._connect_now(address)
        if error in _CONNECTING and self._timeout != 0.0:
            error = self._await_connection(address, error, deadline)
        if error:
            raise OSError(error, os.strerror(error))

    def connect_ex(self, address: Any, /) -> int:
        """As `connect`, but returns the error number of a connection that failed, and EAGAIN after a timeout."""
        try:
            socket.connect(self, address)  # a subclass's connect may do more
        except TimeoutError as error:
            return error.errno or errno.EAGAIN
        except _stdlib.gaierror:
            raise
        except OSError as error:
            if error.errno is None:
                raise
            return error.errno
        return 0

    def _await_connection(self, address: Any, error: int, deadline: int | None) -> int:
        """Returns 0 once connected, else the error number."""
        while error in _CONNECTING:
            if error in (errno.EAGAIN, errno.EWOULDBLOCK):
                # A Unix socket whose listener's queue is full: no descriptor tells when it is not.
                self._pause(deadline)
            else:
                self._wait(WRITABLE, deadline)
                error = self.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
                if error:
                    return error
            error = self._connect_now(address)  # a wake may be spurious; connecting again tells
        return 0 if error == errno.EISCONN else error

    def _pause(self, deadline: int | None) -> None:
        left = None if deadline is None else (deadline - current_task().hub.clock.now()) / _NANOSECONDS
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        sleep(_PAUSE if left is None else min(left, _PAUSE))
        if self._ended:
            self._raise_ended()

    def _resolved(self, address: Any) -> Any:
        """``address`` with a number for the host's name. The standard class would look it up, and hold up the thread."""
        if not isinstance(address, tuple) or len(address) < 2 or self.family not in _INTERNET:
            return address
        host = address[0]
        if not isinstance(host, (str, bytes, bytearray)) or host in ("", "<broadcast>", b"", b"<broadcast>"):
            return address
        name = host if isinstance(host, str) else bytes(host).decode("ascii")
        try:
            _stdlib.inet_pton(self.family, name)
            return address
        except (OSError, ValueError):
            pass
        found = current_network().getaddrinfo(name, 0, self.family, self.type & 0xF, self.proto)[0][4]
        return (found[0], address[1], *(address[2:] or found[2:]))

    # -- ending ---------------------------------------------------------------------------------------------------------

    def _real_close(self, *args: Any) -> None:
        """What `close` comes to once no file made by `makefile` is open. The standard class calls this; its ssl module relies on that too."""
        if self._ended:
            return
        fd = self.fileno()
        if self._raw is None:
            tell_closing(fd)
        elsewhere = self._tell_this_thread(fd)
        if not elsewhere:
            self._close_now()
            return
        # Only their own hubs may wake the tasks of other threads, and the number must not be used anew before: the last hub closes it.
        told = count_up(1)
        for place in elsewhere:
            try:
                place.hub.call_soon_threadsafe(self._close_there, place.hub, fd, told, len(elsewhere))
            except HubClosedError:
                self._count_told(told, len(elsewhere))

    def _close_there(self, hub: Hub, fd: int, told: Iterator[int], of: int) -> None:
        hub.notify_closing(fd)
        self._count_told(told, of)

    def _count_told(self, told: Iterator[int], of: int) -> None:
        if next(told) == of:
            self._close_now()

    def _tell_this_thread(self, fd: int) -> list[_Place]:
        """Wake those who wait in this thread, and have its hubs forget the number. Returns the other places where tasks wait."""
        self._ended = True  # before it looks who waits
        me = get_ident()
        elsewhere = []
        for place in list(self._places):
            if place.thread != me:
                place.end()
                if place.waits:
                    elsewhere.append(place)
            elif place.waits:
                place.hub.notify_closing(fd)
            elif not place.reading.closed:
                place.hub.forget_fd(fd)
        return elsewhere

    def _close_now(self) -> None:
        super()._real_close()  # type: ignore[misc]  # typeshed leaves it out; see _real_close

    def detach(self) -> int:
        """Give up the descriptor, open and not blocking, and return it. Tasks of this thread that wait at the socket get `ClosedResourceError`.

        Raises `BusyResourceError` if tasks of another thread wait at it: they cannot be told before the number is handed out.
        """
        if not self._ended:
            self._refuse_to_detach_elsewhere()
            self._tell_this_thread(self.fileno())
        return self._detach_now()

    def _refuse_to_detach_elsewhere(self) -> None:
        me = get_ident()
        others = [place for place in list(self._places) if place.thread != me]
        self._ended = True  # before it looks who waits
        for place in others:
            place.end()
        if any(place.waits for place in others):
            self._ended = False
            for place in others:
                place.end(False)
            raise BusyResourceError(
                f"{self!r} cannot be detached in this thread while a task of another thread waits at it: the task would go on waiting at a number that may "
                f"soon name another file. Detach it in that thread (hub.call_soon_threadsafe), or end the wait first."
            )

    def _detach_now(self) -> int:
        return super().detach()

    # -- timeouts -------------------------------------------------------------------------------------------------------

    def settimeout(self, value: float | None, /) -> None:
        """Bound each later call to so many seconds. None: no bound; 0: never wait, raise BlockingIOError."""
        if value is not None:
            seconds = check_seconds(value, "the timeout of a socket")
            if seconds is None:
                raise OverflowError("the timeout of a socket cannot be infinite; None means that there is none")
            if seconds < 0:
                raise ValueError(f"Timeout value out of range: {value!r} is negative. Did a deadline pass before this call? Use max(0.001, ...).")
            value = float(seconds)
        self._never_block()
        self._timeout = value

    def gettimeout(self) -> float | None:
        """The timeout in seconds, or None."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """The timeout in seconds, or None."""
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        """True: as ``settimeout(None)``. False: as ``settimeout(0)``. The descriptor itself never blocks."""
        blocks = flag if sys.version_info >= (3, 12) else index(flag)  # as the standard one takes it
        self._never_block()
        self._timeout = None if blocks else 0.0

    def getblocking(self) -> bool:
        """False if calls never wait."""
        return self._timeout != 0.0

    def _never_block(self) -> None:
        """Again, since who shares the open file may have changed that. Raises as the standard calls do if it is not open."""
        _Kernel.setblocking(self, False)


class _Foreign:
    """Mixed in front of `socket` (or a subclass) when the network is not the kernel's: all that touches a descriptor goes to the network's object."""

    __slots__ = ()

    _raw: Any

    @property
    def family(self) -> Any:
        return self._raw.family

    @property
    def type(self) -> Any:
        return self._raw.type

    @property
    def proto(self) -> int:
        return cast(int, self._raw.proto)

    def dup(self) -> socket:
        made = socket._over(self._raw.dup())
        made.settimeout(cast(socket, self).gettimeout())
        return made

    def _detach_now(self) -> int:
        return cast(int, self._raw.detach())

    def _close_now(self) -> None:
        self._raw.close()

    def _sendfile_source(self, file: IO[bytes]) -> None:
        return None

    def _never_block(self) -> None:
        if cast(socket, self)._ended:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _pass_on(name: str) -> Callable[..., Any]:
    def method(self: _Foreign, *args: Any, **options: Any) -> Any:
        return getattr(self._raw, name)(*args, **options)

    method.__name__ = name
    return method


_TRIED = ("accept", "bind", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "send", "sendto", "sendmsg", "sendmsg_afalg")
_PASSED_ON = ("fileno", "getpeername", "getsockname", "getsockopt", "setsockopt", "listen", "shutdown", "get_inheritable", "set_inheritable")
for _name in _TRIED:
    setattr(_Foreign, f"_{_name}_now", _pass_on(_name))
_Foreign._connect_now = _pass_on("connect_ex")  # type: ignore[attr-defined]  # a method like those above, by another name
for _name in _PASSED_ON:
    setattr(_Foreign, _name, _pass_on(_name))


@cache
def _foreign_class(cls: type[socket]) -> type[socket]:
    return type(cls.__name__, (_Foreign, cls), {"__slots__": (), "__module__": cls.__module__})


hide_frames(__file__)
