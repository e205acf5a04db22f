"""What servers have in common: a task that accepts, a crew that handles, and how they start, suffer and stop.

Theory
======
One task accepts. Before each accept it makes sure that a handler may start, so a server at its limit leaves further clients in the kernel's queue, which is the
back-pressure that they understand. Who runs the handlers is a *crew*: anything with a Pool's ``spawn``, ``full`` and ``wait_available`` (and, to be waited for
when the server stops, ``join`` and ``kill``), so a `coop_plugins.pool.Pool` fits, and this module needs to import none.

Invariants
==========
1. No more handlers run at once than the crew allows, and no connection is accepted while it is full.
2. Each accepted connection is closed when its handler ends, however it ends, and also if it never began.
3. An error in a handler is reported and ends nothing but that handler.
4. A shortage (EMFILE, ENFILE, ENOBUFS, ENOMEM) makes the server wait and try again; a client that is gone already (ECONNABORTED) costs nothing.
5. After `close` nothing is accepted any more; after `stop` no handler of a bounded crew runs any more. After `stop_accepting` at most the one client is
   accepted that had woken the accepting task already: a wake is final, so what is thrown into the task reaches it only at its next wait.
6. The listener is closed exactly when the server is. The file of a Unix socket that it bound goes with it, unless another server has taken its place.
"""

from __future__ import annotations

import errno
import os
import signal
import socket as _stdlib
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

from coopcore import Task, TaskExit, sleep
from coopcore.errors import ClosedResourceError
from coopcore.lowlevel import ParkingLot, check_seconds, current_task, hide_frames, on_hub, throw_in

from ..socket import socket
from ._crew import Handle, crew_of
from ._ending import ending_on
from ._listener import UnixPath, parse_address

S = TypeVar("S", bound="BaseServer")

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# What the client, or the network on its way, did to a connection that was waiting to be accepted, or to the answer to an earlier datagram.
GONE = (
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
)


class _Visit:
    """One client's handler, as the task runs it. Knows whether it ever began: a task that is killed before that runs none of its code."""

    __slots__ = ("args", "began", "server")

    def __init__(self, server: BaseServer, args: tuple[Any, ...]) -> None:
        self.server = server
        self.args = args
        self.began = False

    def handle(self) -> None:
        self.began = True
        server = self.server
        try:
            admitted = server.admit(*self.args)
            if admitted is not None:
                self.args = admitted
                server.handle(*admitted)
        finally:
            server.do_close(*self.args)

    def ended(self, task: Any) -> None:
        if not self.began:
            self.server.do_close(*self.args)


class BaseServer:
    """What servers share: the listener, the crew, starting and stopping. Subclasses say what is read from the listener (`do_read`).

    ``listener``: a bound socket, or an address (see `parse_address`), bound at `start`. ``handle``: called for each client, in a task; or a method of that
    name in a subclass. ``spawn``: ``"default"`` (any number of tasks), a Pool, a number of handlers, a callable that starts a task, or None for one at a time.
    ``reuse_port``: other processes may listen at the same port if they say so too; the kernel deals out the clients.
    """

    wrong_kind: int | None = None
    """The kind of socket that cannot be the listener."""
    min_delay = 0.01
    """Seconds to wait after a shortage, doubled while it lasts ..."""
    max_delay = 1.0
    """... up to this."""
    max_accept = 100
    """How many are accepted in one go before the other tasks get a turn."""
    stop_timeout: float | None = 1.0
    """Seconds that `stop` gives the handlers to end."""

    def __init__(self, listener: Any, handle: Handle | None = None, spawn: Any = "default", *, reuse_port: bool = False) -> None:
        if reuse_port and not hasattr(_stdlib, "SO_REUSEPORT"):
            raise ValueError("this system has no SO_REUSEPORT: leave reuse_port out")
        self.reuse_port = reuse_port
        self._path: UnixPath | None = None
        self._accepting: Task[Any] | None = None
        self._socket: _stdlib.socket | None = None
        self._given: _stdlib.socket | None = None
        self._stopped = ParkingLot(f"the end of {type(self).__name__}")
        self._broken: Task[Any] | None = None
        self.delay = self.min_delay
        self.set_listener(listener)
        self.set_spawn(spawn)
        if handle is not None:
            self.set_handle(handle)

    # -- what it is made of ---------------------------------------------------------------------------------------------

    def set_listener(self, listener: Any) -> None:
        """Where to listen: a bound socket, or an address. Before `start`."""
        self._given = None
        if hasattr(listener, "getsockname"):
            if listener.type == self.wrong_kind:
                raise ValueError(
                    f"{listener!r} is not of the kind that a {type(self).__name__} listens at: StreamServer for SOCK_STREAM, DatagramServer for SOCK_DGRAM"
                )
            self._given = listener
            self.family = listener.family
            self.address: Any = listener.getsockname()
            return
        self.family, self.address = parse_address(listener)
        self._wanted = self.address

    def set_spawn(self, spawn: Any) -> None:
        """Who runs the handlers from now on: see the class."""
        self._crew = crew_of(spawn)
        self.pool = self._crew if hasattr(self._crew, "join") else None
        """The crew, if it can be waited for: `stop` does so."""

    def set_handle(self, handle: Handle) -> None:
        """What is called for each client."""
        if not callable(handle):
            raise TypeError(f"a handler is called for each client; {handle!r} cannot be")
        self.handle = handle  # type: ignore[method-assign]  # an argument takes the place of the method

    def handle(self, *args: Any) -> object:
        """Called in a task for each client. Given as an argument, or overridden."""
        raise NotImplementedError(f"{type(self).__name__} has no handler: pass handle= or override this method")

    def open_listener(self, address: Any) -> _stdlib.socket:
        """Make a socket that is bound to ``address``. Parks only to look up a name."""
        raise NotImplementedError

    def prepare_listener(self, listener: _stdlib.socket) -> None:
        """Make a bound socket ready for `do_read`."""

    def do_read(self) -> tuple[Any, ...] | None:
        """The arguments for the next handler; None if there is nothing after all. Parks."""
        raise NotImplementedError

    def admit(self, *args: Any) -> tuple[Any, ...] | None:
        """In the handler's task: what is to be done before `handle`, such as a handshake. Returns its arguments, or None to let the client go. Parks."""
        return args

    def do_close(self, *args: Any) -> None:
        """Undo what `do_read` and `admit` opened."""

    # -- starting and stopping ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind if that is still to do, and begin to accept. Returns at once. Quiet if it is started. Raises OSError if the address cannot be had."""
        if self._accepting is not None:
            return
        if type(self).handle is BaseServer.handle and "handle" not in self.__dict__:
            raise TypeError(f"{type(self).__name__} has no handler: pass handle= or override handle() in a subclass")
        if self._socket is None:
            self._open()
        self.start_accepting()

    def _open(self) -> None:
        given = self._given
        if given is None:
            self._socket = self.open_listener(self._wanted)
            if isinstance(self._wanted, tuple):
                self._wanted = (self._wanted[0], self._socket.getsockname()[1])  # started again, it listens at the port that it had
            else:
                self._path = UnixPath(self._wanted)
        elif isinstance(given, socket):
            self._socket = given
        else:
            # Its own duplicate, so that the caller's object stays what it is; both are closed in the end.
            self._socket = socket(given.family, given.type, given.proto, os.dup(given.fileno()))
        self._socket.settimeout(None)
        self.address = self._socket.getsockname()
        try:
            self.prepare_listener(self._socket)
        except BaseException:
            self.close()
            raise

    def start_accepting(self) -> None:
        """Go on accepting, after `stop_accepting`. Never blocks."""
        if self._socket is None:
            raise ValueError(f"{self!r} has no listener: start() opens it")
        if self._accepting is None:
            self._accepting = task = Task(self._accept_clients)
            task.name = f"{type(self).__name__} at {self._socket.getsockname()!r}"
            task.rawlink(self._accepting_ended)
            task.start()

    def stop_accepting(self) -> None:
        """Leave new clients in the kernel's queue; the handlers run on. Never blocks. A client that is being accepted already is still handled."""
        task, self._accepting = self._accepting, None
        if task is not None:
            task.unlink(self._accepting_ended)
            throw_in(task, TaskExit("the server stopped accepting"))  # not kill(): a handler that runs in this very task may stop the server

    def accept_the_waiting(self) -> None:
        """Stop accepting, but for the clients that the kernel holds already, as far as the crew has room. Never blocks."""
        self.stop_accepting()

    def close(self) -> None:
        """Accept no more and close the listener. Handlers run on. Never blocks. Quiet if it is closed."""
        self.stop_accepting()
        listener, self._socket = self._socket, None
        if listener is not None:
            listener.close()
        path, self._path = self._path, None
        if path is not None:
            path.remove()
        given, self._given = self._given, None
        if given is not None:
            given.close()
        self._stopped.unpark_all()

    def stop(self, timeout: float | None = None) -> None:
        """`close`, then wait ``timeout`` seconds (`stop_timeout`) for the handlers to end, then kill those that have not.

        Clients that wait in the kernel's queue are accepted first, as far as the crew has room: closing would reset their connections. The wait is for a pool
        or a number of handlers; tasks that were started by ``"default"`` or a callable run on. Called by one of its own handlers, or on the hub, it waits
        for nothing and kills nobody.
        """
        if timeout is not None:
            check_seconds(timeout, "the time to stop in")
        self.accept_the_waiting()
        self.close()
        if self.pool is not None and not on_hub():
            me = current_task()
            span = self.stop_timeout if timeout is None else timeout
            if me not in self.pool:  # a handler that stops its server cannot wait for itself
                self.pool.join(timeout=span)
                self.pool.kill(timeout=1)

    def serve_forever(self, stop_timeout: float | None = None, signals: Iterable[int] = (signal.SIGINT, signal.SIGTERM)) -> None:
        """`start`, park until somebody calls `stop` or `close`, or one of ``signals`` arrives, then `stop`, and return.

        During `stop` a further signal does what it did before: Ctrl-C interrupts, SIGTERM ends the process. Signals that the program handles itself are left
        to it, and in another thread than the main one all are. Raises the error of a listener that broke.
        """
        with ending_on(signals, self._stopped.unpark_all):
            self.start()
            try:
                if self._socket is not None:
                    self._stopped.park()
            finally:
                self.stop(stop_timeout)
        broken, self._broken = self._broken, None
        if broken is not None:
            broken.get()

    @property
    def started(self) -> bool:
        """True from `start` to `close`."""
        return self._socket is not None

    @property
    def closed(self) -> bool:
        """True if no listener is open: before `start`, unless it was given one, and after `close`."""
        return self._socket is None and self._given is None

    @property
    def socket(self) -> _stdlib.socket:
        """The listening socket. Raises AttributeError before `start` and after `close`."""
        if self._socket is None:
            raise AttributeError(f"{self!r} has no listener now; start() opens it")
        return self._socket

    @property
    def server_host(self) -> str | None:
        """The host that it is bound to; None if its address has none."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self) -> int | None:
        """The port that it is bound to; None if its address has none. After `start` the real one, also if 0 was asked for."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def full(self) -> bool:
        """True if as many handlers run as may."""
        return bool(self._crew.full())

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "started" if self.started else "closed" if self.closed else "not started"
        return f"<{type(self).__name__} at {self.address!r} {state}>"

    # -- accepting ------------------------------------------------------------------------------------------------------

    def _accept_clients(self) -> None:
        """The body of the task that accepts."""
        me = current_task()
        in_one_go = 0
        while self._accepting is me:  # after each wait: it may have been woken just before the server stopped accepting
            if self._crew.full():
                self._crew.wait_available()
                if self._crew.full():
                    sleep(0)  # others share the pool, or it knows no better
                continue
            try:
                args = self.do_read()
            except OSError as error:
                if self._accepting is me:
                    self._survive(error)
                continue
            self.delay = self.min_delay
            if args is not None:
                self.do_handle(*args)
            in_one_go += 1
            if in_one_go >= self.max_accept:
                in_one_go = 0
                sleep(0)

    def _survive(self, error: OSError) -> None:
        """Go on after an error of accept, or raise it."""
        if isinstance(error, ClosedResourceError) or self.socket.fileno() < 0:
            raise TaskExit(f"the listener was closed: {error}") from None
        if error.errno in _SHORTAGES:
            delay = self.delay
            self.delay = min(delay * 2, self.max_delay)
            sleep(delay)
        elif error.errno not in GONE:
            raise error

    def do_handle(self, *args: Any) -> None:
        """Have the crew run the handler with these arguments. Parks while the crew is full."""
        visit = _Visit(self, args)
        try:
            task = self._crew.spawn(visit.handle)
        except BaseException:
            self.do_close(*args)
            raise
        if isinstance(task, Task):
            task.rawlink(visit.ended)

    def _accepting_ended(self, task: Task[Any]) -> None:
        """On the hub: the accepting task ended by itself, so the listener is of no use any more."""
        if task.failed and self._stopped:
            self._broken = task  # whoever serves raises it; else it is reported like that of any other task
        self._accepting = None
        self.close()


hide_frames(__file__)
