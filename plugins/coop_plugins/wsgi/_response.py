"""What applications answer: from ``start_response`` and an iterable to bytes.

Invariants
==========
1. The head goes out with the first piece of the body that is not empty, or at the end: until then ``start_response(..., exc_info)`` may replace it.
2. The client can tell where a response ends: by Content-Length, by chunks, or by the end of the connection, and a response that is cut short never looks whole.
3. Nothing of an application gets into the head but tokens and values without line ends.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import FileWrapper

from coopcore.lowlevel import hide_frames

from ._request import Request

Headers = list[tuple[str, str]]

_STATUS = re.compile(r"[2-5]\d\d( [^\x00-\x1f\x7f]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Between us and the client, not the application's to say. It may ask for "Connection: close".
_HOP_BY_HOP = {"keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
_WITH_MEANING = {"connection", "content-length", "date", "server"}  # that the server looks at, or would add
_JOINED_MOST = 65536  # a larger body is sent after its head rather than copied behind it

# An application uses a few statuses and names of headers again and again, so what was found good once is not looked at again.
_REMEMBERED_MOST = 1000
_good_statuses: dict[str, int] = {}
_good_names: dict[str, str] = {}


def _code_of(status: Any) -> int:
    """The number of a status line. Raises for what is none."""
    if not isinstance(status, str):
        raise TypeError(f"the status is a string such as '200 OK', not {status!r}")
    if not _STATUS.fullmatch(status):
        raise ValueError(f"{status!r} is not a status such as '200 OK': three digits from 200 to 599, a space and a reason without line ends")
    status.encode("latin-1")
    code = int(status[:3])
    if len(_good_statuses) < _REMEMBERED_MOST:
        _good_statuses[status] = code
    return code


def _lower_name(name: str) -> str:
    """The name of a header in lower case. Raises for one that an application may not set."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header's name")
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise ValueError(f"header {name!r} is between the server and the client; an application must not set it")
    if len(_good_names) < _REMEMBERED_MOST:
        _good_names[name] = lower
    return lower


class _Head:
    """The status and headers that an application gave, checked, as lines."""

    __slots__ = ("closes", "code", "dated", "length", "length_line", "lines", "named", "status")

    def __init__(self, status: str, headers: Headers) -> None:
        code = _good_statuses.get(status) if type(status) is str else None
        self.code = _code_of(status) if code is None else code
        self.status = status
        self.closes = self.dated = self.named = False
        self.length: int | None = None
        self.length_line = ""
        if not isinstance(headers, list):
            raise TypeError(f"the headers are a list of (name, value) pairs, not {headers!r}")
        lines: list[str] = []
        self.lines = lines
        for pair in headers:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str)):
                raise TypeError(f"a header is a pair of strings, not {pair!r}")
            name, value = pair
            lower = _good_names.get(name) or _lower_name(name)
            if _NOT_IN_VALUE.search(value):
                raise ValueError(f"the value of header {name!r} has control characters or line ends: {value!r}")
            if not value.isascii():
                value.encode("latin-1")
            if lower in _WITH_MEANING and self._note(name, lower, value):
                continue
            lines.append(f"{name}: {value}\r\n")

    def _note(self, name: str, lower: str, value: str) -> bool:
        """Note what a header means to the server. True if it is the server that sends it."""
        if lower == "connection":
            self.closes = self.closes or value.strip().lower() == "close"
            return True
        if lower == "content-length":
            if not (value.isascii() and value.isdigit()):
                raise ValueError(f"Content-Length {value!r} is not a number")
            self.length = int(value)
            self.length_line += f"{name}: {value}\r\n"
            return True
        if lower == "date":
            self.dated = True
        else:
            self.named = True
        return False


class Response:
    """The answer to one request. ``send`` takes bytes to the client, ``may_stay`` says if the connection may be kept; ``date`` and ``server_name`` fill in
    headers that the application left out. ``send_file`` takes a file's content from an offset on, so many bytes, and returns how many went out."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_date",
        "_head",
        "_may_stay",
        "_promised",
        "_send",
        "_send_file",
        "_server_name",
        "complete",
        "head_sent",
        "keep_alive",
        "over",
        "request",
        "sent",
        "status",
        "surplus",
    )

    def __init__(
        self,
        request: Request,
        send: Callable[[Any], None],
        may_stay: Callable[[], bool],
        date: str,
        server_name: str,
        send_file: Callable[[Any, int, int], int] | None = None,
    ) -> None:
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
        self._send_file = send_file
        self._may_stay = may_stay
        self._date = date
        self._server_name = server_name
        self._head: _Head | None = None
        self._promised: int | None = None
        self._chunked = False
        self._bodiless = False

    @property
    def headers(self) -> Headers:
        """Those that went out, or will."""
        lines = [] if self._head is None else self._head.lines
        return [(name, value) for name, _, value in (line.rstrip("\r\n").partition(": ") for line in lines) if name]

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
        head = _Head(status, headers)
        self.status = status
        self._head = head
        self._promised = head.length
        return self.write

    def hand_over(self) -> None:
        """The connection goes over to another protocol: nothing of a response is sent any more. Raises AssertionError if one has begun."""
        if self.status:
            raise AssertionError("the response has begun; a connection can only go over to another protocol in place of start_response()")
        self.status = "101 Switching Protocols"
        self.head_sent = self._bodiless = True
        self.keep_alive = False

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
        elif type(body) is FileWrapper and self._send_as_file(body.filelike):
            pass
        else:
            alone = _length(body) == 1
            for piece in body:
                self._write(piece, len(piece) if alone and isinstance(piece, bytes) else None)
        self.finish()

    def _send_as_file(self, file: Any) -> bool:
        """Send what is left of a file, by the kernel. False if it is no file on disk, is small, or something was sent already: then it is read."""
        try:
            found = os.fstat(file.fileno())
            offset = file.tell()
        except (AttributeError, OSError, io.UnsupportedOperation):
            return False
        left = found.st_size - offset
        if self._send_file is None or self.head_sent or not self.status or not stat.S_ISREG(found.st_mode) or left <= _JOINED_MOST:
            return False
        if "b" not in getattr(file, "mode", "b"):
            return False
        self._send(self._make_head(left))
        if not self._bodiless:
            self.sent = self._send_file(file, offset, min(left, self._promised or 0))
        return True

    def finish(self) -> None:
        """End the response: its head if nothing was sent, its last chunk."""
        if not self.status:
            raise AssertionError("the application returned without calling start_response()")
        self.over = True
        if not self.head_sent:
            self._send(self._make_head(0))
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
        head = b"" if self.head_sent else self._make_head(whole)
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

    def _make_head(self, whole: int | None) -> bytes:
        """The head, once it is certain that it is the last word. ``whole``: the size of the whole body, if it is known."""
        request = self.request
        head = self._head
        assert head is not None
        lines = head.lines
        empty = head.code in (204, 304)
        self._bodiless = empty or request.method == "HEAD"
        if head.code != 204:
            lines.append(head.length_line)
        if self._promised is None and not empty:
            lines.append(self._framing(whole))
        if head.closes or not self._may_stay() or (request.expects_continue and not request.complete):
            # The last: it waits for leave to send its body; who knows what comes next.
            self.keep_alive = False
        if not head.dated:
            lines.append(f"Date: {self._date}\r\n")
        if not head.named and self._server_name:
            lines.append(f"Server: {self._server_name}\r\n")
        if not self.keep_alive:
            lines.append("Connection: close\r\n")
        elif request.version == "1.0":
            lines.append("Connection: keep-alive\r\n")
        self.head_sent = True
        status = head.status
        return f"HTTP/1.1 {status}{'' if len(status) > 3 else ' '}\r\n{''.join(lines)}\r\n".encode("latin-1")

    def _framing(self, whole: int | None) -> str:
        """The header that says where the body ends, if there is one."""
        if whole is not None and (whole or self.request.method != "HEAD"):
            self._promised = whole
            return f"Content-Length: {whole}\r\n"
        if self._bodiless:
            return ""
        if self.request.version == "1.1":
            self._chunked = True
            return "Transfer-Encoding: chunked\r\n"
        self.keep_alive = False  # the end of the connection is the end of the body
        return ""


def _check_bytes(piece: Any) -> None:
    if not isinstance(piece, bytes):
        raise TypeError(f"a WSGI application gives bytes, not {type(piece).__name__}: {piece!r:.80}. Encode text first: text.encode('utf-8').")


def _length(body: Any) -> int | None:
    try:
        return len(body)
    except TypeError:
        return None


hide_frames(__file__)
