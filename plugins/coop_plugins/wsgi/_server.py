"""The server: connections, one task each; environments; logs; how it stops.

A connection's task reads a request, calls the application, sends the answer, and reads the next one. Requests that were sent ahead (pipelined) wait in the
reader. The task parks in reads, in writes, and wherever the application parks; nothing else ever waits.

Invariants
==========
1. Responses go out in the order of their requests, each whole before the next one begins; nothing is written to one that has ended.
2. After a mistake of the client, or a body that was not read to its end, nothing more is read as a request: the connection is closed.
3. An error of the application reaches the error log with its traceback, and the client as a bare 500, or, if the head was out already, as a cut connection.
4. The iterable's ``close()`` is called exactly once, whatever happens. What it raises is logged, and takes nothing from the response.
5. After `WSGIServer.close` each connection ends with the next response whose head goes out, which says so. One that is idle, or whose last head said that it
   is kept, ends when it has been idle for `_GRACE`: before that, the client may have sent a request, which is answered.
"""

from __future__ import annotations

import errno
import logging
import re
import signal
import socket as _stdlib
import struct
import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from inspect import iscoroutinefunction
from tempfile import SpooledTemporaryFile
from traceback import walk_tb
from typing import Any
from urllib.parse import quote
from wsgiref.util import FileWrapper

from coopcore import Task, Timeout, killall, sleep, spawn
from coopcore.lowlevel import Alarm, ParkingLot, current_task, hide_frames, on_hub

from ..server import StreamServer, say_goodbye
from ._proxies import Proxies
from ._request import NO_BODY, ClientError, Fields, Input, Limits, Request, RequestReader
from ._response import Response
from ._upgrade import Headers, Upgraded, switching_head

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_PIECE = 65536  # read at once
_SEND_PIECE = 262_144  # sent under one timeout
_GATHERED_MOST = 256  # pieces that the kernel is given at once; no system takes less
_DRAIN_MOST = 65536  # of a body that the application did not read; more is not worth a kept connection
_IN_MEMORY_MOST = 1 << 20  # of a body that is received before the application is called; more goes into a file
_LINE_MOST = 8192  # characters of an error log's line that an application has not ended
_PLAIN = re.compile(r"[!#-$&-~]*")  # without what would look like another part of a line in the log
_LINGER = 1.0  # seconds in which a client may still read an answer that came before it had sent all
_NANOSECONDS = 1_000_000_000
_GRACE = _NANOSECONDS // 5  # in which a client sends what it was about to send when the server closed
_AT_ONCE = int(getattr(_stdlib, "MSG_DONTWAIT", 0))
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger


class _Connection:
    """One client."""

    def __init__(self, server: WSGIServer, client: _stdlib.socket, address: Any) -> None:
        self.server = server
        self.client = client
        self.task: Task[Any] = current_task()
        self.clock = self.task.hub.clock
        self._timeout: float | None = 0.0
        """What the socket's timeout is set to; 0: not set yet."""
        self._waits_since = self.clock.now()
        """Since when it has been waiting for a request, in the clock's nanoseconds."""
        self._alarm: Alarm | None = None
        """Rings when it has waited for too long. That moment moves with each request, the alarm only when it rings: most never need it."""
        self.idle: bool | None = True
        """True while it waits for a request, None once it has answered the last one."""
        self.answered = False
        """True once a request has come."""
        self.plain = bool(_AT_ONCE) and server.ssl_context is None
        """True if flags may be given when it sends."""
        self.last = not server.keeps_connections
        """True if no request follows; so it is once the server has closed."""
        self.spoilt = False
        """True once the rest of a body did not come, or came wrong."""
        self.unread = False
        """True if the client may be sending what nobody will read."""
        self.lost: OSError | None = None
        """What sending to the client failed with."""
        self.upgraded: Upgraded | None = None
        """What the application holds, once the connection has gone over to another protocol."""
        self.environ = self._base_environ(address)
        self.remote: str = self.environ["REMOTE_ADDR"]
        self._believes = server.trusts is not None and server.trusts.trusts(self.remote)
        self.reader = RequestReader(server.limits, secure=self._believes or server.ssl_context is not None)
        # The headers that came again and again, and the environment with them.
        self._fields: Fields | None = None
        self._with_fields: Environ = {}

    def _base_environ(self, address: Any) -> Environ:
        environ = {"wsgi.input": NO_BODY, "wsgi.errors": self.server.errors, **self.server.base_environ}
        mine = self.client.getsockname()
        if isinstance(address, tuple):
            environ["REMOTE_ADDR"] = _plain(address[0])
            environ["REMOTE_PORT"] = str(address[1])
        else:
            environ["REMOTE_ADDR"] = ""  # a Unix socket
        port = "80" if self.server.ssl_context is None else "443"  # of a Unix socket, which has none: that one needs not to be said in a URL
        environ["SERVER_NAME"], environ["SERVER_PORT"] = (_plain(mine[0]), str(mine[1])) if isinstance(mine, tuple) else ("localhost", port)
        return environ

    # -- its life -------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer requests until the connection ends."""
        if not self.server.started:
            self.retire()  # it was accepted just before the server closed: what it has sent is answered
        try:
            while (request := self._next_request()) is not None:
                self.idle = False
                self.answered = True
                if not self._answer(request):
                    self.idle = None
                    break
                del request  # not kept while the next one is waited for
                self.idle = True
                if self.reader.unread:
                    sleep(0)  # a client that sends ahead must not keep the others waiting
        except ClientError as error:
            self._refuse(error)
        except OSError as error:
            self.lost = error
        finally:
            self._cancel_alarm()
        if self.lost is None and (self.unread or self.reader.failure is not None or self.reader.unread):
            self._linger()

    def retire(self) -> None:
        """The server closes: end after this response, or the one to the request that may be on its way; now if there can be none."""
        self.last = True
        if self.upgraded is not None:
            if self.upgraded.on_closing is not None:
                self.upgraded.on_closing()
            return
        self._cancel_alarm()
        self._on_alarm()

    def _end_reading(self) -> None:
        """Let the task find the end of what the client sends; what came before that is still answered."""
        if self.server.ssl_context is not None:
            spawn(self._end_tls)  # OpenSSL is nothing for the hub
            return
        try:
            self.client.shutdown(_stdlib.SHUT_RD)
        except OSError:
            pass  # it is gone already

    def _end_tls(self) -> None:
        """`_end_reading`, in a task. The client is told, but not if it has sent something: who has been told gets no answer."""
        try:
            _stdlib.socket.recv(self.client, 1, _stdlib.MSG_PEEK | _AT_ONCE)
        except BlockingIOError:
            if self.idle:
                say_goodbye(self.client)
                _stdlib.socket.shutdown(self.client, _stdlib.SHUT_RD)  # its own method would end TLS at once, and the rest go out for all to read
        except OSError:
            pass  # it is gone already
        else:
            if self._alarm is None and self.idle:
                self._set_alarm(self.clock.now() + _GRACE)  # it may be no request, but something of TLS's own

    def _next_request(self) -> Request | None:
        """The next request whose head is complete; None at the end. Raises ClientError."""
        reader = self.reader
        request = reader.take() if reader.unread else None
        if request is None and self.answered and not (reader.unread or reader.ended or reader.failure is not None):
            request = reader.receive(self._wait_for_client())
        return self._read_head() if request is None else request

    def _read_head(self) -> Request | None:
        """`_next_request`, whose head, or its rest, is still to come, within its time."""
        reader = self.reader
        begun = reader.in_head
        deadline = self._after(self.server.limits.header_timeout)
        request = None
        while request is None:
            if reader.failure is not None:
                raise reader.failure
            if reader.ended:
                return None
            try:
                reader.feed(self._receive(self._left(deadline)))
            except TimeoutError:
                if not reader.in_head:
                    return None
                raise ClientError(408, "the head of the request took too long") from None
            request = reader.take()
            if not begun and request is None and reader.in_head:
                begun = True
                deadline = self._after(self.server.limits.header_timeout)
        return request

    def _wait_for_client(self) -> bytes:
        """What comes after an answer; b"" at the end, and from a client that was idle for too long."""
        self._waits_since = now = self.clock.now()
        patience = _GRACE if self.last else self.server.patience
        if not self.plain:
            try:
                return self._receive(patience / _NANOSECONDS)
            except TimeoutError:
                return b""
        if self._alarm is None:
            self._set_alarm(now + patience)
        if self._timeout is not None:
            self._set_timeout(None)
        return self.client.recv(_PIECE)

    def _set_alarm(self, when: int) -> None:
        self._alarm = Alarm(self.task.hub, when, self._on_alarm)

    def _on_alarm(self) -> None:
        """On the hub: end the wait for a request, if it has been long enough."""
        self._alarm = None
        if self.idle and not self.reader.in_head:  # else it is set anew with the next wait
            end = self._waits_since + (_GRACE if self.last else self.server.patience)
            if end > self.clock.now():
                self._set_alarm(end)
            else:
                self._end_reading()

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _after(self, seconds: float) -> int:
        return self.clock.now() + int(seconds * _NANOSECONDS)

    def _left(self, deadline: int) -> float:
        return (deadline - self.clock.now()) / _NANOSECONDS

    def _receive(self, seconds: float, size: int = _PIECE) -> bytes:
        if seconds <= 0:
            raise TimeoutError("timed out")
        self._set_timeout(seconds)
        return self.client.recv(size)

    def _set_timeout(self, seconds: float | None) -> None:
        if seconds != self._timeout:
            self.client.settimeout(seconds)
            self._timeout = seconds

    def _receive_body(self, request: Request, response: Response, size: int) -> None:
        """Read more of a body that is not complete, at most ``size`` bytes at once. Raises ClientError."""
        if request.expects_continue and not request.received and not response.head_sent:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.expects_continue = False
        try:
            if self.reader.failure is None:  # else the mistake came together with what was read before
                self.reader.feed(self._receive_piece(request, min(size, _PIECE)))
            if self.reader.failure is not None and not request.complete:
                raise self.reader.failure
        except TimeoutError:
            self.spoilt = True
            raise ClientError(408, "the body of the request took too long") from None
        except ClientError:
            self.spoilt = True
            raise
        except OSError as error:
            self.spoilt = True
            raise ClientError(400, f"the client is gone: {error}") from error

    def _receive_piece(self, request: Request, size: int) -> bytes:
        limits = self.server.limits
        began = self.clock.now()
        piece = self._receive(limits.body_timeout, size)
        request.waited += self.clock.now() - began
        if request.waited / _NANOSECONDS > limits.body_timeout + (request.received + len(piece)) / limits.body_rate:
            raise TimeoutError("timed out")
        return piece

    def send(self, data: bytes) -> None:
        if self.lost is not None:
            raise self.lost
        try:
            sent = self.client.send(data, _AT_ONCE) if self.plain else 0
            if sent == len(data):
                return
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost = error
            raise
        self._send_rest(memoryview(data)[sent:])

    def send_pieces(self, pieces: list[bytes]) -> None:
        if not self.plain:
            for piece in pieces:
                self.send(piece)
            return
        if self.lost is not None:
            raise self.lost
        first = 0
        while first < len(pieces):
            try:
                sent = self.client.sendmsg(pieces[first : first + _GATHERED_MOST], (), _AT_ONCE)
            except BlockingIOError:
                self._send_rest(memoryview(pieces[first]))
                first += 1
                continue
            except OSError as error:
                self.lost = error
                raise
            while first < len(pieces) and sent >= len(pieces[first]):
                sent -= len(pieces[first])
                first += 1
            if sent:
                self._send_rest(memoryview(pieces[first])[sent:])
                first += 1

    def _send_rest(self, view: memoryview) -> None:
        """Send what the client's end has no room for yet."""
        self._set_timeout(self.server.limits.send_timeout)
        try:
            for start in range(0, len(view), _SEND_PIECE):
                self.client.sendall(view[start : start + _SEND_PIECE])
        except OSError as error:
            self.lost = error
            raise

    def send_file(self, file: Any, offset: int, count: int) -> int:
        """Send ``count`` bytes of a file from ``offset`` on. Returns how many there were."""
        self._set_timeout(self.server.limits.send_timeout)
        sent = 0
        try:
            while sent < count:
                moved = self.client.sendfile(file, offset + sent, min(_SEND_PIECE, count - sent))
                if not moved:
                    break
                sent += moved
        except OSError as error:
            self.lost = error
            raise
        return sent

    # -- one request ----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> bool:
        """Call the application and send what it answers. Returns True if another request may follow."""
        server = self.server
        began = time.perf_counter() if server.logs_access else 0.0
        response = Response(request, self)
        environ = self._make_environ(request, response)
        try:
            self._call_application(request, response, environ)
        except ClientError as error:
            server.log_client(self.remote, request.line, error)
            self.unread = True
            self._fail(response, error.status)
        except (Exception, Timeout, SystemExit) as error:
            if isinstance(error, SystemExit) and _of_a_signal(error):
                self._kill(request, response)
                raise
            if self.lost is not None:
                server.log_client(self.remote, request.line, self.lost)
                self._reset()  # what is in the kernel's buffer, and the end behind it, would look like a whole answer to a client that is only slow
            else:
                server.log_error(f"the application failed in {request.line!r} from {self.remote}", error)
                self._fail(response, 500)
        except BaseException:
            self._kill(request, response)
            raise
        finally:
            response.over = True
            if server.logs_access:
                server.log_answer(request, response, environ, time.perf_counter() - began)
        if self.lost is not None:
            return False
        if not request.complete and not (response.keep_alive and self._drain(request, response)):
            self.unread = True
            return False
        return response.keep_alive  # as the client was told, though the server may have closed since

    def may_stay(self) -> bool:
        return not (self.last or self.spoilt or self.reader.ended)

    def usual_lines(self) -> bytes:
        server = self.server
        return server.usual_lines if server.date_from <= time.time() < server.date_until else server.make_usual_lines()

    def _call_application(self, request: Request, response: Response, environ: Environ) -> None:
        if request.chunked and self.server.spool_chunked:
            with SpooledTemporaryFile(_IN_MEMORY_MOST) as spool:
                self._measure(environ, spool)
                self._call(request, response, environ)
        else:
            self._call(request, response, environ)

    def _measure(self, environ: Environ, spool: SpooledTemporaryFile[bytes]) -> None:
        """Receive all of a body that came in chunks, and say how long it is: for the application it was never in chunks. Raises ClientError."""
        received = environ["wsgi.input"]
        while piece := received.read(_PIECE):
            spool.write(piece)
        environ["CONTENT_LENGTH"] = str(spool.tell())
        environ["wsgi.input"] = spool
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        spool.seek(0)

    def _call(self, request: Request, response: Response, environ: Environ) -> None:
        body = self.server.application(environ, response.start_response)
        if type(body) is list and len(body) == 1 and response.send_whole(body[0]):
            return
        try:
            response.send_body(body)
        finally:
            self._close_body(body, request)
        if response.surplus or response.missing > 0:
            difference = f"{response.surplus} bytes more" if response.surplus else f"{response.missing} bytes less"
            self.server.log_error(f"the application gave {difference} than its Content-Length says in {request.line!r}", None)

    def _close_body(self, body: Any, request: Request) -> None:
        close = None if type(body) is list else getattr(body, "close", None)
        if close is None:
            return
        try:
            close()
        except (Exception, Timeout, SystemExit) as error:
            if isinstance(error, SystemExit) and _of_a_signal(error):
                raise
            self.server.log_error(f"close() of what the application returned failed in {request.line!r} from {self.remote}", error)

    def _kill(self, request: Request, response: Response) -> None:
        """The task was killed, or the program ends."""
        if not response.complete and not self.server.started:
            self.server.log_error(f"the server ended before {request.line!r} from {self.remote} was answered", None)
        if response.head_sent and not response.complete:
            self._reset()  # closed as it is, a response without a length would look whole

    def _fail(self, response: Response, status: int) -> None:
        """The application did not finish. Answer in its place if nothing was sent; cut the connection in any case."""
        response.keep_alive = False
        if response.head_sent:
            self.lost = OSError(errno.ECONNABORTED, "the response was cut short")
            self._reset()
            return
        response.status = str(status)
        response.sent = self._send_page(status, response.request.method != "HEAD")

    def _reset(self) -> None:
        """End the connection by a reset, which no client takes for the end of a response; nor is it told that this is the end of TLS."""
        try:
            self.client.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:
            pass  # it is gone already
        self.client.close()

    def _refuse(self, error: ClientError) -> None:
        """Answer what was no request."""
        self.server.log_client(self.remote, "-", error)
        sent = 0
        try:
            sent = self._send_page(error.status, not self.reader.asks_for_head)
        except OSError:
            pass  # it is gone already
        self.server.log_access(self.remote, "-", str(error.status), sent, 0.0)

    def _send_page(self, status: int, with_body: bool) -> int:
        """Send a page that says nothing but the status. Returns the size of its body."""
        phrase = HTTPStatus(status).phrase
        page = f"{status} {phrase}\n"
        headers = f"Content-Type: text/plain\r\nContent-Length: {len(page)}\r\nDate: {self.server.date()}\r\nConnection: close\r\n"
        head = f"HTTP/1.1 {status} {phrase}\r\n{headers}\r\n"
        self.send((head + (page if with_body else "")).encode("ascii"))
        return len(page) if with_body else 0

    def reads_rest(self, request: Request) -> bool:
        return not (request.expects_continue or self.reader.failure is not None or (request.content_length or 0) - request.received > _DRAIN_MOST)

    def _drain(self, request: Request, response: Response) -> bool:
        """Read what the application left of the body. False if that is too much, or cannot be had."""
        if not self.reads_rest(request):
            return False
        most = request.received + _DRAIN_MOST
        try:
            while not request.complete:
                request.body.clear()
                if self.spoilt or request.received > most:
                    return False
                self._receive_body(request, response, _PIECE)
        except ClientError as error:
            self.server.log_client(self.remote, request.line, error)
            return False
        return True

    def _linger(self) -> None:
        """Let the client read the answer before the connection is closed: what it sends meanwhile would otherwise reset it."""
        try:
            if self.server.ssl_context is not None:
                say_goodbye(self.client)
            self.client.shutdown(_stdlib.SHUT_WR)
            deadline = self._after(_LINGER)
            while self._receive(self._left(deadline)):
                pass
        except OSError:
            pass  # the time is over, or the client gone

    def _hand_over(self, request: Request, response: Response, protocol: str, headers: Headers | tuple[()] = ()) -> Upgraded:
        """Go over to a protocol that the client offers: ``environ["coop.upgrade"]``. Parks while the answer is sent.

        Raises ValueError if the client doesn't offer it, AssertionError if the response has begun.
        """
        offered = [each.strip().lower() for each in (request.upgrade or b"").decode("latin-1").split(",")]
        if protocol.lower() not in offered:
            raise ValueError(f"the client offers to go over to {', '.join(offered)}, not to {protocol}")
        head = switching_head(protocol, list(headers))
        response.hand_over()
        self.send(head)
        self._cancel_alarm()
        self._set_timeout(None)
        self.unread = True
        self.upgraded = Upgraded(self.client, self.reader.unread)
        return self.upgraded

    # -- the environment ------------------------------------------------------------------------------------------------

    def _make_environ(self, request: Request, response: Response) -> Environ:
        fields = request.fields
        if fields is self._fields:
            environ = self._with_fields | request.request_line.environ
        else:
            with_fields = self._add_fields(fields)
            if fields.again:
                self._fields = fields
                self._with_fields = with_fields
            environ = with_fields | request.request_line.environ
        if fields.coded or fields.content_length:
            environ["wsgi.input"] = Input(request, partial(self._receive_body, request, response))
        elif request.upgrade is not None:
            environ["coop.upgrade"] = partial(self._hand_over, request, response)
        if self._believes and ("HTTP_X_FORWARDED_FOR" in environ or "HTTP_X_FORWARDED_PROTO" in environ):
            assert self.server.trusts is not None
            self.server.trusts.apply(environ)
        return environ

    def _add_fields(self, fields: Fields) -> Environ:
        environ = self.environ.copy()
        for header in fields.lines:
            key = header.key
            if key in environ and key.startswith("HTTP_"):
                environ[key] += f"{'; ' if key == 'HTTP_COOKIE' else ','}{header.text}"
            elif key:
                environ[key] = header.text
        return environ


class _ErrorStream:
    """``wsgi.errors``: lines that go to the error log."""

    def __init__(self, log: Callable[[str, BaseException | None], None]) -> None:
        self._log = log
        self._unfinished = ""

    def write(self, text: str) -> int:
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._log(line, None)
        if len(self._unfinished) > _LINE_MOST:
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        rest, self._unfinished = self._unfinished, ""
        if rest:
            self._log(rest, None)


class WSGIServer(StreamServer):
    """Serves a WSGI application over HTTP/1.1. Start it with `serve_forever` or `start`.

    ``listener``, ``backlog``, ``spawn``, ``reuse_port`` and those for TLS are as for `StreamServer`; one handler is one connection. ``log`` and
    ``error_log``: a logger (anything with ``info`` and ``error``), None for none, or "default" for the loggers ``coop_plugins.wsgi.access`` and ``.error``.
    ``environ``: added to every request's. ``limits``: what a client may cost, see `Limits`. ``trusted_proxies``: addresses, networks ("10.0.0.0/8"), or
    "unix" for a Unix socket, or "*" for whoever connects, whose X-Forwarded-For and X-Forwarded-Proto are believed; nobody's are by default.
    ``spool_chunked``: receive all of a body that comes in chunks first, in memory or, from 1 MiB on, in a temporary file, and tell its Content-Length, for
    applications that read no more than that says.
    """

    backlog = 1024
    software = "coopcore"
    """The Server header; empty for none."""
    keeps_connections = True
    """False: a connection ends with its first answer."""

    def __init__(
        self,
        listener: Any,
        application: Application | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        log: Any = "default",
        error_log: Any = "default",
        environ: Environ | None = None,
        limits: Limits | None = None,
        *,
        reuse_port: bool = False,
        ssl_context: Any = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        trusted_proxies: Iterable[str] = (),
        spool_chunked: bool = False,
    ) -> None:
        super().__init__(listener, None, backlog, spawn, reuse_port=reuse_port, ssl_context=ssl_context, certfile=certfile, keyfile=keyfile)
        if application is not None:
            if not callable(application):
                raise TypeError(f"a WSGI application is called for each request; {application!r} cannot be")
            if iscoroutinefunction(application) or iscoroutinefunction(getattr(type(application), "__call__", None)):  # noqa: B004  # whether it can be called is not the question
                raise TypeError(f"{application!r} is async, so for ASGI, and WSGI is spoken here. Give a WSGI application, or serve it by an ASGI server.")
            self.application = application  # type: ignore[method-assign,assignment]  # an argument takes the place of the method
        elif type(self).application is WSGIServer.application:
            raise TypeError(f"{type(self).__name__} has no application: pass one, or override application() in a subclass")
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits are an object of coop_plugins.wsgi.Limits, not {limits!r}")
        self.trusts = Proxies(trusted_proxies) if trusted_proxies else None
        """Whose forwarding headers are believed; None for nobody's."""
        self.spool_chunked = spool_chunked
        self.limits = Limits() if limits is None else limits
        self.patience = int(self.limits.idle_timeout * _NANOSECONDS)
        """`Limits.idle_timeout` in nanoseconds."""
        self._log = _logger(log, "access")
        self._error_log = _logger(error_log, "error")
        cls = type(self)
        self.logs_access = self._log is not None or cls.log_access is not WSGIServer.log_access or cls.log_answer is not WSGIServer.log_answer
        """Whether anybody wants lines for the access log."""
        self.errors = _ErrorStream(self.log_error)
        """What applications get as ``wsgi.errors``."""
        self.base_environ: Environ = {
            "SCRIPT_NAME": "",
            "SERVER_SOFTWARE": self.software,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http" if self.ssl_context is None else "https",
            "wsgi.multithread": True,  # it is entered anew while it parks
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            **({} if self.ssl_context is None else {"HTTPS": "on"}),
            **(environ or {}),
        }
        self.connections: set[_Connection] = set()
        """Those that are served."""
        self._in_handshake: set[Task[Any]] = set()
        self._accepted = 0
        """How many were accepted and not closed; the task of some may not have begun."""
        self._drained = ParkingLot("the last connection to end", lambda: [connection.task for connection in self.connections])
        self.date_from = self.date_until = 0.0
        """The second in which ``usual_lines`` is right."""
        self.usual_lines = b""
        """The lines with the date and `software`, as they go out."""
        self._date = ""

    def application(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Called for each request. Given as an argument, or overridden."""
        raise NotImplementedError

    def handle(self, client: _stdlib.socket, address: Any) -> None:
        """Serve one connection."""
        if client.family != getattr(_stdlib, "AF_UNIX", None):
            client.setsockopt(_stdlib.IPPROTO_TCP, _stdlib.TCP_NODELAY, 1)
        connection = _Connection(self, client, address)
        self.connections.add(connection)
        try:
            connection.serve()
        finally:
            self.connections.discard(connection)

    def admit(self, *args: Any) -> tuple[Any, ...] | None:
        """Make the handshake, if TLS is spoken. Parks."""
        if self.ssl_context is None:
            return args
        me = current_task()
        self._in_handshake.add(me)
        try:
            return super().admit(*args)
        finally:
            self._in_handshake.discard(me)

    def do_handle(self, *args: Any) -> None:
        """Have the crew serve a connection. Parks while the crew is full."""
        self._accepted += 1
        super().do_handle(*args)

    def do_close(self, *args: Any) -> None:
        """Close a connection that was accepted."""
        super().do_close(*args)
        self._accepted -= 1
        if not self._accepted:
            self._drained.unpark_all()

    def close(self) -> None:
        """Accept no more. Connections that are idle end, at most 0.2 seconds later, the others with the response that they are at. Never blocks."""
        super().close()
        for connection in list(self.connections):
            connection.retire()

    def stop(self, timeout: float | None = None) -> None:
        """`close`, give the connections ``timeout`` seconds (`stop_timeout`) to finish, then kill those that have not, whatever ``spawn`` is."""
        self.accept_the_waiting()
        self.close()
        if on_hub():
            return
        me = current_task()
        mine = [connection for connection in self.connections if connection.task is me]
        if self._accepted and not mine:
            self._drained.park(self.stop_timeout if timeout is None else timeout)
            with Timeout(1, False):
                while self._accepted:
                    killall([*(connection.task for connection in self.connections), *self._in_handshake])
                    sleep(0)  # one may not have begun
        super().stop(timeout)

    # -- logs -----------------------------------------------------------------------------------------------------------

    def date(self) -> str:
        """The present moment as HTTP writes it."""
        if not self.date_from <= time.time() < self.date_until:
            self.make_usual_lines()
        return self._date

    def make_usual_lines(self) -> bytes:
        """Make ``usual_lines`` anew."""
        now = int(time.time())
        at = time.gmtime(now)
        day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.tm_wday]
        self._date = f"{day}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
        server = f"Server: {self.software}\r\n" if self.software else ""
        self.usual_lines = f"Date: {self._date}\r\n{server}".encode("latin-1")
        self.date_from, self.date_until = now, now + 1
        return self.usual_lines

    def log_answer(self, request: Request, response: Response, environ: Environ, seconds: float) -> None:
        """Called after each answer. Override it for a log that needs to know more than `log_access` is told."""
        remote = str(environ.get("REMOTE_ADDR", ""))  # what the application has made of it
        self.log_access(remote if _PLAIN.fullmatch(remote) else quote(remote, ""), request.line, response.status[:3], response.sent, seconds)

    def log_access(self, remote: str, line: str, status: str, sent: int, seconds: float) -> None:
        """A line for each answer: client, date, request, status, bytes of the body, seconds. Override it for another form."""
        log = self._log
        if log is not None and _enabled(log):
            log.info('%s - - [%s] "%s" %s %d %.6f', remote or "-", self.date(), line.replace('"', "%22"), status or "-", sent, seconds)

    def log_error(self, message: str, error: BaseException | None) -> None:
        """Something that an operator should see, with the traceback of ``error`` if there is one."""
        if self._error_log is not None:
            self._error_log.error("%s", message, exc_info=error)

    def log_client(self, remote: str, line: str, error: OSError) -> None:
        """A client that went away, took too long, or broke HTTP, with what it did; ``line`` is "-" if it never came as far as a request."""
        if self._log is not None:
            self._log.info("%s in %r: %s", remote or "-", line, error)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _logger(given: Any, name: str) -> Any:
    if given == "default":
        return logging.getLogger(f"coop_plugins.wsgi.{name}")
    if given is not None and not (callable(getattr(given, "info", None)) and callable(getattr(given, "error", None))):
        raise TypeError(f'a log is a logger, with info() and error(), None for none, or "default", not {given!r}')
    return given


def _enabled(log: Any) -> bool:
    ask = getattr(log, "isEnabledFor", None)
    return ask is None or bool(ask(logging.INFO))


def _of_a_signal(error: BaseException) -> bool:
    """Whether one of the program's signal handlers has raised it: then it is meant for the program, whose code was only interrupted. Else it ends a request."""
    handlers = {_code_of(signal.getsignal(signum)) for signum in signal.valid_signals()} - {None}
    frames = walk_tb(error.__traceback__)
    return any(frame.f_code in handlers for frame, _ in frames)


def _code_of(handler: Any) -> Any:
    while hasattr(handler, "__wrapped__"):
        handler = handler.__wrapped__
    function = handler if hasattr(handler, "__code__") or not callable(handler) else getattr(handler, "__func__", type(handler).__call__)
    return getattr(function, "__code__", None)


def _plain(host: str) -> str:
    """An IPv4 address as such, though it came through an IPv6 socket."""
    return host.removeprefix("::ffff:") if "." in host else host


hide_frames(__file__)
