"""What applications answer: from ``start_response`` and an iterable to bytes.

Invariants
==========
1. The head goes out with the first piece of the body that is not empty, or at the end: until then ``start_response(..., exc_info)`` may replace it.
2. The client can tell where a response ends: by Content-Length, by chunks, or by the end of the connection, and a response that is cut short never looks whole.
3. Nothing of an application gets into the head but tokens and values without line ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from coopcore.lowlevel import hide_frames

from ._request import Request

Headers = list[tuple[str, str]]

_STATUS = re.compile(r"[2-5]\d\d( [^\x00-\x1f\x7f]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Between us and the client, not the application's to say. It may ask for "Connection: close".
_HOP_BY_HOP = {"keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
_JOINED_MOST = 65536  # a larger body is sent after its head rather than copied behind it


class Response:
    """The answer to one request. ``send`` takes bytes to the client, ``may_stay`` says if the connection may be kept; ``date`` and ``server_name`` fill in
    headers that the application left out."""

    def __init__(self, request: Request, send: Callable[[Any], None], may_stay: Callable[[], bool], date: str, server_name: str) -> None:
        self.request = request
        self.keep_alive = request.keep_alive
        """False if the connection is closed after it."""
        self.status = ""
        self.head_sent = False
        self.over = False
        """True once nothing more may be written."""
        self.complete = False
        """True once all of it went out."""
        self.sent = 0
        """How many bytes of the body went out."""
        self.surplus = 0
        """How many bytes the application gave beyond its Content-Length; they were not sent."""
        self._send = send
        self._may_stay = may_stay
        self._date = date
        self._server_name = server_name
        self._headers: Headers = []
        self._promised: int | None = None
        self._chunked = False
        self._bodiless = False

    # -- what the application calls -------------------------------------------------------------------------------------

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        """As PEP 3333 has it."""
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response() was called a second time without exc_info; once per request is allowed")
        if not isinstance(status, str):
            raise TypeError(f"the status is a string such as '200 OK', not {status!r}")
        if not _STATUS.fullmatch(status):
            raise ValueError(f"{status!r} is not a status such as '200 OK': three digits from 200 to 599, a space and a reason without line ends")
        status.encode("latin-1")
        promised = self._check_headers(headers)
        self.status = status
        self._headers = list(headers)
        self._promised = promised
        return self.write

    def _check_headers(self, headers: Headers) -> int | None:
        """Returns the Content-Length, if there is one."""
        if not isinstance(headers, list):
            raise TypeError(f"the headers are a list of (name, value) pairs, not {headers!r}")
        promised = None
        for pair in headers:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str)):
                raise TypeError(f"a header is a pair of strings, not {pair!r}")
            name, value = pair
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a header's name")
            if _NOT_IN_VALUE.search(value):
                raise ValueError(f"the value of header {name!r} has control characters or line ends: {value!r}")
            value.encode("latin-1")
            if name.lower() in _HOP_BY_HOP:
                raise ValueError(f"header {name!r} is between the server and the client; an application must not set it")
            if name.lower() == "content-length":
                if not (value.isascii() and value.isdigit()):
                    raise ValueError(f"Content-Length {value!r} is not a number")
                promised = int(value)
        return promised

    def write(self, data: bytes) -> None:
        """Send a piece of the body. Parks while the client doesn't keep up. Raises AssertionError once the response has ended."""
        if self.over:
            raise AssertionError("write() was called after the response had ended; what it sent would be taken for a part of the next one")
        self._write(data, None)

    # -- what the server calls ------------------------------------------------------------------------------------------

    def send_body(self, body: Iterable[bytes]) -> None:
        """Send all that the application returned, and end the response."""
        if isinstance(body, (list, tuple)):
            for piece in body:
                _check_bytes(piece)
            whole = b"".join(body)
            if self.head_sent or self.status:
                self._write(whole, len(whole))
        else:
            alone = _length(body) == 1
            for piece in body:
                self._write(piece, len(piece) if alone and isinstance(piece, bytes) else None)
        self.finish()

    def finish(self) -> None:
        """End the response: its head if nothing was sent, its last chunk."""
        if not self.status:
            raise AssertionError("the application returned without calling start_response()")
        self.over = True
        if not self.head_sent:
            self._send(self._head(0))
        if not self._bodiless:
            self._finish_body()
        self.complete = True

    def _finish_body(self) -> None:
        if self._chunked:
            self._send(b"0\r\n\r\n")
        elif self._promised is not None and self.sent < self._promised:
            self.keep_alive = False  # the client counts, and sees that the end is missing

    @property
    def missing(self) -> int:
        """How many bytes the application promised by Content-Length and did not give."""
        return 0 if self._bodiless or self._promised is None else self._promised - self.sent

    def _write(self, data: bytes, whole: int | None) -> None:
        _check_bytes(data)
        if not self.status:
            raise AssertionError("a piece of the body came before start_response() was called")
        if not data:
            return
        head = b"" if self.head_sent else self._head(whole)
        if self._bodiless:
            data = b""
        elif self._promised is not None and len(data) > self._promised - self.sent:
            room = self._promised - self.sent
            self.surplus += len(data) - room
            data = data[:room]
        self.sent += len(data)
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if len(data) <= _JOINED_MOST:
            if head or data:
                self._send(head + data)
            return
        if head:
            self._send(head)
        self._send(data)

    def _head(self, whole: int | None) -> bytes:
        """The head, once it is certain that it is the last word. ``whole``: the size of the whole body, if it is known."""
        request = self.request
        code = int(self.status[:3])
        self._bodiless = request.method == "HEAD" or code in (204, 304)
        headers = [(name, value) for name, value in self._headers if name.lower() != "connection" and not (code == 204 and name.lower() == "content-length")]
        names = {name.lower() for name, _ in headers}
        if any(name.lower() == "connection" and value.strip().lower() == "close" for name, value in self._headers):
            self.keep_alive = False
        if self._promised is None and code not in (204, 304):
            if whole is not None and (whole or request.method != "HEAD"):
                self._promised = whole
                headers.append(("Content-Length", str(whole)))
            elif not self._bodiless and request.version == "1.1":
                self._chunked = True
                headers.append(("Transfer-Encoding", "chunked"))
            elif not self._bodiless:
                self.keep_alive = False  # the end of the connection is the end of the body
        if not self._may_stay():
            self.keep_alive = False
        if request.expects_continue and not request.complete:
            self.keep_alive = False  # it waits for leave to send its body; who knows what comes next
        if "date" not in names:
            headers.append(("Date", self._date))
        if "server" not in names and self._server_name:
            headers.append(("Server", self._server_name))
        if not self.keep_alive:
            headers.append(("Connection", "close"))
        elif request.version == "1.0":
            headers.append(("Connection", "keep-alive"))
        self.head_sent = True
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        return f"HTTP/1.1 {self.status}{'' if len(self.status) > 3 else ' '}\r\n{lines}\r\n".encode("latin-1")


def _check_bytes(piece: Any) -> None:
    if not isinstance(piece, bytes):
        raise TypeError(f"a WSGI application gives bytes, not {type(piece).__name__}: {piece!r:.80}. Encode text first: text.encode('utf-8').")


def _length(body: Any) -> int | None:
    try:
        return len(body)
    except TypeError:
        return None


hide_frames(__file__)
