"""WebSockets (RFC 6455) for WSGI applications of `coop_plugins.wsgi`, by wsproto, which comes with the extra ``websocket``.

    @websocket
    def application(ws):
        for message in ws:
            ws.send(message)

Theory
======
wsproto turns bytes into messages and messages into bytes; it does no input and output. One task receives at a time: whoever calls `WebSocket.receive` reads
from the connection, answers pings, and joins the pieces of a message. Any task may send; who comes while another sends stands in line, and gets its turn
handed over.

Invariants
==========
1. A message is received whole and once, in order; one that is larger than ``max_message`` is never held, nor is what its compression would swell to.
2. Frames of several senders are never mixed, and go out in the order in which the senders came.
3. After a close frame nothing else is sent. Every end of the connection, of whichever side, is a `WebSocketClosed` with its code, for every call from then on.
"""

from __future__ import annotations

import base64
import binascii
import re
import socket as _stdlib
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from coopcore import Timeout, spawn
from coopcore.errors import BusyResourceError
from coopcore.lowlevel import ParkingLot, hide_frames

from ._upgrade import Upgraded

try:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
    from wsproto.extensions import PerMessageDeflate
    from wsproto.frame_protocol import CloseReason, Opcode, RsvBits
    from wsproto.handshake import server_extensions_handshake
    from wsproto.utilities import LocalProtocolError, generate_accept_token
except ImportError as missing:
    raise ImportError(
        "coop_plugins.wsgi.websocket needs wsproto, and it is not installed: pip install wsproto (coopcore's extra websocket brings it)"
    ) from missing

__all__ = ["NotAWebSocket", "WebSocket", "WebSocketClosed", "websocket"]

_PIECE = 65536
_COMPRESSED_PIECE = 1024  # fed at once where it may swell a thousandfold
_PARTS_MOST = 1000  # of a message, kept apart
_WANTED = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
_DEFLATE = re.compile(  # RFC 7692, section 7.1
    r"permessage-deflate(?:[ \t]*;[ \t]*(?:(?:client|server)_no_context_takeover|client_max_window_bits"
    r'|(?:client|server)_max_window_bits[ \t]*=[ \t]*("?)(?:[89]|1[0-5])\1))*'
)
_NORMAL = 1000
_GOING_AWAY = 1001
_NO_CODE = 1005
_ABNORMAL = 1006
_TOO_BIG = 1009


class WebSocketClosed(ConnectionError):
    """The WebSocket was closed, by either side, or its connection was lost. ``code`` and ``reason`` are those of RFC 6455, section 7.4."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class NotAWebSocket(ValueError):
    """A request that does not open a WebSocket. ``status`` and ``headers`` are for the answer."""

    def __init__(self, status: int, why: str, headers: list[tuple[str, str]] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or []


class WebSocket:
    """An open WebSocket. Iterating gives the messages, and ends when the client closes it in the normal way.

    Made by `WebSocket.accept` in an application, or by `websocket`, which closes it as well.
    """

    def __init__(
        self, environ: dict[str, Any], upgraded: Upgraded, subprotocol: str | None, extensions: list[Any], max_message: int, close_timeout: float
    ) -> None:
        self.environ = environ
        """Of the request that opened it."""
        self.subprotocol = subprotocol
        """What was agreed upon of the ``subprotocols``; None for none."""
        self.max_message = max_message
        self.close_timeout = close_timeout
        self._upgraded = upgraded
        self._wire = Connection(ConnectionType.SERVER, extensions)
        self._piece = _COMPRESSED_PIECE if extensions else _PIECE
        self._unread = b""
        self._parts: list[Any] = []
        self._size = 0
        self._closed: tuple[int, str] | None = None
        self._close_sent = False
        self._receiving = False
        self._over = ParkingLot("the end of a WebSocket")
        self._sending = False
        """True while it is somebody's turn to send. It is handed over to the first in the line."""
        self._line = ParkingLot("its turn to send on a WebSocket")
        upgraded.on_closing = self._say_goodbye

    # -- opening --------------------------------------------------------------------------------------------------------

    @classmethod
    def accept(
        cls,
        environ: dict[str, Any],
        subprotocols: Iterable[str] = (),
        max_message: int = 1 << 20,
        compress: bool = True,
        origins: Iterable[str] | None = None,
        close_timeout: float = 10.0,
    ) -> WebSocket:
        """Open the WebSocket that a request asks for. Parks while the answer is sent.

        ``subprotocols``: those that the application speaks, the best first. ``max_message``: bytes, or characters, of a message; more closes with 1009.
        ``origins``: if given, the only values of the header Origin that are let in. ``close_timeout``: seconds that `close` waits for the client to agree.
        Raises `NotAWebSocket`.
        """
        key = _check_request(environ, origins)
        theirs = _listed(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
        chosen = next((each for each in subprotocols if each in theirs), None)
        headers = [("Sec-WebSocket-Accept", generate_accept_token(key).decode("ascii"))]
        if chosen is not None:
            headers.append(("Sec-WebSocket-Protocol", chosen))
        extensions, agreed = _agree(environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", "")) if compress else ([], "")
        if agreed:
            headers.append(("Sec-WebSocket-Extensions", agreed))
        upgraded = environ["coop.upgrade"]("websocket", headers)
        upgraded.socket.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_KEEPALIVE, 1)  # a client that is gone without a word is noticed, in the end
        return cls(environ, upgraded, chosen, extensions, max_message, close_timeout)

    # -- receiving ------------------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> str | bytes:
        """The next message: text as str, binary as bytes. Parks; raises TimeoutError after ``timeout`` seconds, `WebSocketClosed` at the end."""
        if timeout is None:
            return self._receive()
        deadline = Timeout(timeout)
        with deadline:
            try:
                return self._receive()
            except Timeout as fired:
                if fired is not deadline:
                    raise
        raise TimeoutError("no message came in time")

    def _receive(self) -> str | bytes:
        if self._receiving:
            raise BusyResourceError(f"two tasks want to receive on {self!r}: each would get a part of the messages. Let one receive, and hand on by a Queue.")
        self._receiving = True
        try:
            while True:
                for event in self._wire.events():
                    message = self._take(event)
                    if message is not None:
                        return message
                if self._closed is not None:
                    raise self._ended()
                self._read_more()
        finally:
            self._receiving = False

    def _take(self, event: Any) -> str | bytes | None:
        """Deal with an event. Returns a message that is whole now."""
        if isinstance(event, Message):
            return self._add(event)
        if isinstance(event, Ping):
            self._send(event.response())
        elif isinstance(event, CloseConnection):
            code = event.code or _NO_CODE
            self._end(int(code), event.reason or "")
            self._send_close(CloseConnection(code=_NORMAL if code == _NO_CODE else code))
            raise self._ended()
        return None

    def _add(self, event: Message[Any]) -> str | bytes | None:
        self._size += len(event.data)
        if self._size > self.max_message:
            self._end(_TOO_BIG, f"a message is larger than {self.max_message} bytes")
            self._send_close(CloseConnection(code=_TOO_BIG, reason="the message is too big"))
            raise self._ended()
        if event.data:  # a client may send empty ones for ever
            self._parts.append(event.data)
        nothing: Any = "" if isinstance(event, TextMessage) else b""
        if not event.message_finished:
            if len(self._parts) >= _PARTS_MOST:  # each is an object, and much larger than the byte that it may hold
                self._parts = [nothing.join(self._parts)]
            return None
        parts, self._parts, self._size = self._parts, [], 0
        whole: str | bytes = nothing.join(parts)
        return whole

    def _read_more(self) -> None:
        if not self._unread:
            try:
                self._unread = self._upgraded.recv(_PIECE)
            except OSError as error:
                self._end(_ABNORMAL, f"the connection was lost: {error}")
                raise self._ended() from error
            if not self._unread:
                self._end(_ABNORMAL, "the client ended the connection without closing the WebSocket")
                raise self._ended()
        piece, self._unread = self._unread[: self._piece], self._unread[self._piece :]
        self._wire.receive_data(piece)

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            try:
                message = self.receive()
            except WebSocketClosed as closed:
                if closed.code in (_NORMAL, _GOING_AWAY, _NO_CODE):
                    return
                raise
            yield message

    # -- sending --------------------------------------------------------------------------------------------------------

    def send(self, message: str | bytes) -> None:
        """Send a message: a str as text, bytes as binary. Parks while the client does not keep up. Raises `WebSocketClosed`."""
        if isinstance(message, str):
            self._send(TextMessage(data=message))
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self._send(BytesMessage(data=bytes(message)))
        else:
            raise TypeError(f"a message is a str or bytes, not {type(message).__name__}: {message!r:.80}. Encode it first, for example with json.dumps().")

    def ping(self, payload: bytes = b"") -> None:
        """Ask for a sign of life, which the client answers of its own accord. Parks while it does not keep up."""
        self._send(Ping(payload=payload))

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Close: tell the client, and wait up to ``close_timeout`` seconds for it to agree; messages that come meanwhile are dropped. Quiet if it is closed."""
        if self._closed is None:
            self._send_close(CloseConnection(code=code, reason=reason))
            with Timeout(self.close_timeout, False):
                self._await_agreement()
            self._end(code, reason)

    def _await_agreement(self) -> None:
        while self._closed is None:
            if self._receiving:
                self._over.park()  # by another task, which will see it
                continue
            try:
                self._receive()
            except WebSocketClosed:
                return

    def _send(self, event: Any) -> None:
        self._take_turn()
        try:
            if self._closed is not None or self._close_sent:
                raise self._ended()
            self._transmit(event)
        finally:
            self._give_turn()

    def _send_close(self, event: CloseConnection) -> None:
        """Send a close frame, if none was sent. Quiet if it cannot be any more."""
        self._take_turn()
        try:
            if not self._close_sent:
                self._close_sent = True
                self._transmit(event)
        except (LocalProtocolError, WebSocketClosed):
            pass
        finally:
            self._give_turn()

    def _take_turn(self) -> None:
        if self._sending:
            self._line.park()
        self._sending = True

    def _give_turn(self) -> None:
        if not self._line.unpark():
            self._sending = False

    def _transmit(self, event: Any) -> None:
        try:
            self._upgraded.sendall(self._wire.send(event))
        except OSError as error:
            self._end(_ABNORMAL, f"the connection was lost: {error}")
            raise self._ended() from error
        except LocalProtocolError:
            raise
        except BaseException:
            self._end(_ABNORMAL, "a task was killed or timed out in the middle of a frame")
            raise

    # -- ending ---------------------------------------------------------------------------------------------------------

    def _end(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = (code, reason)
            self._over.unpark_all()

    def _ended(self) -> WebSocketClosed:
        return WebSocketClosed(*(self._closed or (_NORMAL, "this side has closed it")))

    def _say_goodbye(self) -> None:
        if not self._close_sent:
            spawn(self._send_close, CloseConnection(code=_GOING_AWAY, reason="the server stops"))

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, Exception) and not issubclass(kind, WebSocketClosed):
            self.close(1011, "internal error")
        # A task that was killed, or whose time is over, waits for nobody: the client sees the connection end.

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self._closed is None else f'closed {self._closed[0]}'} of {self._upgraded.socket!r}>"


class _Deflate(PerMessageDeflate):
    """Compression, with control frames kept out of it: at one between the pieces of a message wsproto forgets that the message is compressed."""

    _in_control = False

    def frame_inbound_header(self, proto: Any, opcode: Opcode, rsv: RsvBits, payload_length: int) -> CloseReason | RsvBits:
        self._in_control = opcode.iscontrol()
        if not self._in_control:
            return super().frame_inbound_header(proto, opcode, rsv, payload_length)
        return CloseReason.PROTOCOL_ERROR if rsv.rsv1 else RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        return data if self._in_control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(self, proto: Any, fin: bool) -> bytes | CloseReason | None:
        return None if self._in_control else super().frame_inbound_complete(proto, fin)


def websocket(handler: Callable[[WebSocket], object] | None = None, **options: Any) -> Any:
    """A WSGI application that calls ``handler(ws)`` for each WebSocket, and closes it afterwards: with 1000, or 1011 if the handler failed.

    Usable as a decorator, with or without the options of `WebSocket.accept`. Other requests get 426 or 400. ``ws.environ`` is the request's environment.
    """
    if handler is None:
        return lambda given: websocket(given, **options)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            ws = WebSocket.accept(environ, **options)
        except NotAWebSocket as error:
            page = f"{error}\n".encode()
            start_response(f"{error.status} {HTTPStatus(error.status).phrase}", [("Content-Type", "text/plain"), *error.headers])
            return [page]
        with ws:
            try:
                handler(ws)
            except WebSocketClosed:
                pass  # the client left in the middle of it
        return []

    return application


def _check_request(environ: dict[str, Any], origins: Iterable[str] | None) -> bytes:
    """The key of a request that opens a WebSocket; raises `NotAWebSocket` for any other."""
    if environ.get("HTTP_UPGRADE", "").strip().lower() != "websocket" or "coop.upgrade" not in environ or environ["REQUEST_METHOD"] != "GET":
        raise NotAWebSocket(426, "this is a WebSocket", _WANTED)
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise NotAWebSocket(426, "version 13 of the WebSocket protocol is spoken here", _WANTED)
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    try:
        good = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        good = False
    if not good:
        raise NotAWebSocket(400, "the header Sec-WebSocket-Key is not 16 bytes in base64")
    if origins is not None and environ.get("HTTP_ORIGIN") not in set(origins):
        raise NotAWebSocket(403, "requests of this origin are not let in")
    return str(key).encode("ascii")


def _listed(header: str) -> list[str]:
    return [each.strip() for each in header.split(",") if each.strip()]


def _agree(header: str) -> tuple[list[Any], str]:
    """The extension that is used, and the answer that says so: to the first offer that can be taken. RFC 7692 has a server decline any that is not right."""
    for offer in _listed(header):
        names = [parameter.partition("=")[0].strip() for parameter in offer.split(";")]
        if _DEFLATE.fullmatch(offer) and len(set(names)) == len(names):
            extension = _Deflate()
            agreed = server_extensions_handshake([offer.replace('"', "")], [extension])
            if agreed:
                return [extension], agreed.decode("ascii")
    return [], ""


hide_frames(__file__)
