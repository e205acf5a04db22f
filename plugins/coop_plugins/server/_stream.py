"""A server for connections: a handler for each."""

from __future__ import annotations

import socket as _stdlib
from typing import TYPE_CHECKING, Any

from coopcore import sleep
from coopcore.lowlevel import current_hub, hide_frames, running_task

from ._base import GONE, BaseServer
from ._crew import Handle
from ._listener import bound_socket, has_half_open, let_nobody_in

if TYPE_CHECKING:
    import ssl

_NANOSECONDS = 1_000_000_000
_ON_THE_WAY = _NANOSECONDS // 100  # in which a busy kernel completes a connection that its client takes for complete already ...
_FAR_AWAY = _NANOSECONDS // 2  # ... and clients that are far away complete theirs


class StreamServer(BaseServer):
    """Accepts stream connections and calls ``handle(client, address)`` for each, in a task. The client is closed when that returns.

    ``backlog``: how many connections may wait in the kernel's queue. ``ssl_context``, or ``certfile`` and perhaps ``keyfile``: speak TLS; the handshake is made
    in the handler's task. The other arguments are those of `BaseServer`.
    """

    wrong_kind = _stdlib.SOCK_DGRAM
    backlog = 256
    handshake_timeout: float | None = 10.0
    """Seconds that a client has for the TLS handshake."""

    def __init__(
        self,
        listener: Any,
        handle: Handle | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        *,
        reuse_port: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        super().__init__(listener, handle, spawn, reuse_port=reuse_port)
        if backlog is not None:
            if not isinstance(backlog, int) or isinstance(backlog, bool) or backlog < 0:
                raise ValueError(f"backlog={backlog!r}: how many connections may wait in the kernel, a number; leave it out for {self.backlog}")
            self.backlog = backlog
        self.ssl_context = _context(ssl_context, certfile, keyfile)
        """What clients are spoken to with; None for plain connections. Its sockets are cooperative from now on."""

    def open_listener(self, address: Any) -> _stdlib.socket:
        return bound_socket(self.family, _stdlib.SOCK_STREAM, address, self.reuse_port)

    def prepare_listener(self, listener: _stdlib.socket) -> None:
        if not listener.getsockopt(_stdlib.SOL_SOCKET, getattr(_stdlib, "SO_ACCEPTCONN", 30)):
            listener.listen(self.backlog)

    def do_read(self) -> tuple[Any, ...] | None:
        return self.socket.accept()

    def admit(self, *args: Any) -> tuple[Any, ...] | None:
        if self.ssl_context is None:
            return args
        client, address = args
        client.settimeout(self.handshake_timeout)
        try:
            client.getpeername()  # a client that is gone again is noticed here: the standard wrap_socket would take it for one that is not connected yet
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            client.do_handshake()
        except OSError as error:
            client.close()
            self.handshake_failed(address, error)
            return None
        except BaseException:
            client.close()
            raise
        client.settimeout(None)
        return client, address

    def handshake_failed(self, address: Any, error: OSError) -> None:
        """A client could not, or would not, complete the TLS handshake; its connection is closed. Override it to log that."""

    def accept_the_waiting(self) -> None:
        accepting = self._accepting
        super().accept_the_waiting()
        if accepting is None:
            return
        patient = running_task() not in (None, accepting)  # not on the hub, and not in a handler that the accepting task runs itself
        if patient:
            sleep(0)  # the accepting task leaves the listener
        listener = self._socket
        alone = self._let_nobody_in()
        if patient and listener is not None and listener.family != getattr(_stdlib, "AF_UNIX", None):  # at a Unix socket nobody is on the way
            clock = current_hub().clock
            latest = clock.now() + _FAR_AWAY
            while self._accept_until(listener, clock.now() + _ON_THE_WAY) and alone and clock.now() < latest and has_half_open(listener):
                pass  # they take it for open
        if not alone:
            self._let_nobody_in()  # the others may have left it meanwhile
        self._accept_until(listener, 0)

    def _let_nobody_in(self) -> bool:
        """Have the kernel let nobody in but those whose connection is half open, unless another process goes on with the listener. False if one may."""
        alone = self._socket is not None and self.accepts_alone()
        if alone:
            let_nobody_in(self._socket)
        return alone

    def _accept_until(self, listener: Any, deadline: int) -> bool:
        """Accept each as it comes, and then those that wait. False if there is no room for more, or something is short: this is no time to wait for it.

        The kernel would let those wait for a second that find its queue full. In the end it must be found empty.
        """
        clock = current_hub().clock
        left = self.backlog + 1  # so many at once in the end, not for ever, if clients keep coming
        while left and listener is not None and self._socket is listener and not self._crew.full():  # another task may close it meanwhile
            waits = max(deadline - clock.now(), 0) / _NANOSECONDS
            left -= not waits
            self.socket.settimeout(waits)
            try:
                args = self.do_read()
            except (TimeoutError, BlockingIOError):
                return True
            except OSError as error:
                if error.errno in GONE:
                    continue
                return False
            if args is not None:
                self.do_handle(*args)
        return False

    def accepts_alone(self) -> bool:
        """True if no other process goes on with the listener, so that `stop` may let nobody in any more; not so, perhaps, with one that was given."""
        return self._given is None

    def do_close(self, *args: Any) -> None:
        client = args[0]
        if self.ssl_context is not None and client.fileno() >= 0:
            say_goodbye(client)
        client.close()


def _context(given: ssl.SSLContext | None, certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if given is None and certfile is None:
        if keyfile is not None:
            raise ValueError("keyfile without certfile: TLS needs the certificate that belongs to the key")
        return None
    from ..ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLSocket  # a server without TLS never imports it

    if given is None:
        given = SSLContext(PROTOCOL_TLS_SERVER)
        _load(given, str(certfile), keyfile)
    elif not hasattr(given, "sslsocket_class"):
        raise TypeError(f"ssl_context={given!r} is no ssl.SSLContext")
    elif certfile is not None or keyfile is not None:
        raise ValueError("give an ssl_context, or certfile and keyfile, not both")
    if not issubclass(given.sslsocket_class, SSLSocket):
        given.sslsocket_class = SSLSocket
    return given


def _load(context: Any, certfile: str, keyfile: str | None) -> None:
    """Load the certificate. Raises OSError, which says what of."""
    names = certfile if keyfile is None else f"{certfile} and {keyfile}"
    try:
        context.load_cert_chain(certfile, keyfile)
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, f"{error.strerror}: no certificate and key can be read of {names}. Is the path right?") from None
    except OSError as error:
        hint = "Are they in PEM, certificate first, and does the key belong to it? A key in a file of its own is given by keyfile."
        raise OSError(error.errno, f"no certificate and key can be read of {names} ({error}). {hint}") from error


def say_goodbye(client: Any) -> None:
    """Tell the other end of a TLS connection that this is the end, so that it need not take it for a cut. It is not waited for."""
    try:
        client.settimeout(0.0)
        client.unwrap()
    except (OSError, ValueError, AttributeError):
        pass  # it is gone, has not answered yet, or the handshake was never completed


hide_frames(__file__)
