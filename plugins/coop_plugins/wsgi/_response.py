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
from typing import Any, Protocol
from wsgiref.util import FileWrapper

from coopcore.lowlevel import hide_frames

from ._request import Request

Headers = list[tuple[str, str]]

_STATUS = re.compile(r"[2-5][0-9][0-9]( [^\x00-\x1f\x7f]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Between us and the client, not the application's to say. It may ask for "Connection: close".
_HOP_BY_HOP = {"keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
_WITH_MEANING = {"connection", "content-length", "date", "server", "upgrade"}  # that the server looks at, or would add
_JOINED_MOST = 65536  # a larger body is not copied behind its head; the kernel gathers the pieces ...
_GATHERED_LEAST = 1024  # ... if they are as large as this, on average

# An application gives a few heads, and names of headers, again and again, so what was found good once is not looked at again. Cookies are not kept.
_REMEMBERED_MOST = 1000
_REMEMBERED_LENGTH = 512
_good_names: dict[str, str] = {}


def _code_of(status: Any) -> int:
    """The number of a status line. Raises for what is none."""
    if not isinstance(status, str):
        raise TypeError(f"the status is a string such as '200 OK', not {status!r}")
    if not _STATUS.fullmatch(status):
        raise ValueError(f"{status!r} is not a status such as '200 OK': three digits from 200 to 599, a space and a reason without line ends")
    return int(status[:3])


def _lower_name(name: str) -> str:
    """The name of a header in lower case. Raises for one that an application may not set."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header's name")
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise _not_yours(name)
    if len(_good_names) < _REMEMBERED_MOST:
        _good_names[name] = lower
    return lower


def _not_yours(name: str) -> ValueError:
    return ValueError(f"header {name!r} is between the server and the client; an application must not set it")


class _Head:
    """The status and headers that an application gave, checked, as they go out. Shared by all responses that say the same."""

    __slots__ = ("closes", "code", "dated", "length", "lines", "named", "offers", "usual", "whole")

    def __init__(self, status: Any, headers: Any) -> None:
        self.code = _code_of(status)
        self.closes = self.dated = self.named = self.offers = False
        self.length: int | None = None
        if not isinstance(headers, list):
            raise TypeError(f"the headers are a list of (name, value) pairs, not {headers!r}")
        lines = [f"HTTP/1.1 {status}{'' if len(status) > 3 else ' '}\r\n"]
        secret = False
        for pair in headers:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str)):
                raise TypeError(f"a header is a pair of strings, not {pair!r}")
            name, value = pair
            lower = _good_names.get(name) or _lower_name(name)
            if _NOT_IN_VALUE.search(value):
                raise ValueError(f"the value of header {name!r} has control characters or line ends: {value!r}")
            secret = secret or lower == "set-cookie"
            if lower not in _WITH_MEANING or self._note(lower, value):
                lines.append(f"{name}: {value}\r\n")
        if self.code == 205:
            self.length = 0  # it has no body, and, unlike 204, a client looks for one
            lines.append("Content-Length: 0\r\n")
        try:
            self.lines = "".join(lines).encode("latin-1")
            """The first line and the application's headers."""
        except UnicodeEncodeError as error:
            said = next(line for line in lines if any(letter > "\xff" for letter in line)).rstrip()
            raise ValueError(
                f"{said!r} has {error.object[error.start]!r}, which is not Latin-1, all that a head may have. Escape it, for example by urllib.parse.quote()."
            ) from None
        self.usual = not (self.closes or self.dated or self.named or self.offers or self.code in (204, 304))
        """True if nothing but `Wire.usual_lines` is missing in it, should it have a length."""
        self.whole = b"", b""
        """The usual lines that it was last sent with, and all of it with them: a pair, for servers in several threads share it."""
        if not secret and len(self.lines) <= _REMEMBERED_LENGTH:
            if len(_heads) >= _REMEMBERED_MOST:
                _heads.clear()
            _heads[(status, *headers)] = self

    def _note(self, lower: str, value: str) -> bool:
        """Note what a header means to the server. True if it goes out as it is."""
        if lower == "connection":
            self.closes = self.closes or "close" in [option.strip().lower() for option in value.split(",")]
            return False
        if lower == "upgrade":
            if self.code != 426:
                raise _not_yours("Upgrade")
            self.offers = True  # what a client must go over to, which is the application's to know
            return True
        if lower == "content-length":
            if not (value.isascii() and value.isdigit()):
                raise ValueError(f"Content-Length {value!r} is not a number")
            if self.length is not None:
                raise ValueError("Content-Length is given twice; clients and proxies would tell the end of the response differently")
            self.length = int(value)
            return self.code not in (204, 205)
        if lower == "date":
            self.dated = True
        else:
            self.named = True
        return True


_heads: dict[Any, _Head] = {}


class Wire(Protocol):
    """What a response needs of its connection."""

    def send(self, data: bytes) -> None:
        """Take all of it to the client. Parks."""

    def send_pieces(self, pieces: list[bytes]) -> None:
        """Take all of them to the client. Parks."""

    def send_file(self, file: Any, offset: int, count: int) -> int:
        """Send a file's content from an offset on, so many bytes. Returns how many there were. Parks."""

    def may_stay(self) -> bool:
        """True if the connection may be kept."""

    def reads_rest(self, request: Request) -> bool:
        """True if what the application leaves of the body is read, so that the connection may be kept for all that."""

    def usual_lines(self) -> bytes:
        """The lines with the date and the server's name, for responses whose application said nothing about them."""


class Response:
    """The answer to one request."""

    keep_alive: bool
    """False if the connection is closed after it."""
    status = ""
    head_sent = False
    handed_over = False
    """True once the connection has gone over to another protocol: what the application answers is dropped."""
    over = False
    """True once nothing more may be written."""
    complete = False
    """True once all of it went out."""
    sent = 0
    """How many bytes of the body went out."""
    surplus = 0
    """How many bytes the application gave beyond its Content-Length; they were not sent."""
    _head: _Head | None = None
    _sent_head = b""
    _promised: int | None = None
    _chunked = False
    _bodiless = False

    def __init__(self, request: Request, wire: Wire) -> None:
        self.request = request
        self.keep_alive = request.keep_alive
        self._wire = wire

    @property
    def headers(self) -> Headers:
        """Those that went out, or will."""
        lines = self._sent_head or (b"" if self._head is None else self._head.lines)
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines.decode("latin-1").split("\r\n")[1:]) if name]

    # -- what the application calls -------------------------------------------------------------------------------------

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        """As PEP 3333 has it."""
        if self.handed_over:
            return self.write  # frameworks want an answer of each request; this one has had its own
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response() was called a second time without exc_info; once per request is allowed")
        head = None
        if type(headers) is list:
            try:
                head = _heads.get((status, *headers))
            except TypeError:
                pass  # it has what is no header
        if head is None:
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
        self.handed_over = True
        self.head_sent = self._bodiless = True
        self.keep_alive = False

    def write(self, data: bytes) -> None:
        """Send a piece of the body. Parks while the client doesn't keep up. Raises AssertionError once the response has ended."""
        if self.over:
            raise AssertionError("write() was called after the response had ended; what it sent would be taken for a part of the next one")
        self._write(data, None)

    # -- what the server calls ------------------------------------------------------------------------------------------

    def send_whole(self, piece: bytes) -> bool:
        """Send a body of one piece, and end the response. False, with nothing done, if that needs more than the commonest answer does: see `send_body`."""
        head, request, wire = self._head, self.request, self._wire
        if (
            head is None
            or type(piece) is not bytes
            or not 0 < len(piece) <= _JOINED_MOST
            or head.length != len(piece)
            or not (head.usual and self.keep_alive and request.request_line.usual and request.complete)
            or self.head_sent
            or not wire.may_stay()
        ):
            return False
        usual = wire.usual_lines()
        beside, whole = head.whole
        if usual is not beside:
            whole = head.lines + usual + b"\r\n"
            head.whole = usual, whole
        self.over = self.head_sent = True
        self.sent = len(piece)
        wire.send(whole + piece)
        self._sent_head = whole
        self.complete = True
        return True

    def send_body(self, body: Iterable[bytes]) -> None:
        """Send all that the application returned, and end the response."""
        if body is None:
            raise TypeError("the application returned None, and not an iterable of bytes such as [b'text']: has it a return on every way?")
        if isinstance(body, (list, tuple)):
            size = 0
            for piece in body:
                _check_bytes(piece)
                size += len(piece)
            if self.status and size > max(_JOINED_MOST, len(body) * _GATHERED_LEAST):
                self._write_pieces([*body], size, size)
            elif self.status:
                self._write(body[0] if len(body) == 1 else b"".join(body), size)
        elif type(body) is FileWrapper and self._send_as_file(body.filelike):
            pass
        else:
            alone = _length(body) == 1
            write = self._write
            for piece in body:
                write(piece, len(piece) if alone and isinstance(piece, bytes) else None)
                if self._bodiless:
                    break  # nobody waits for the rest, which may have no end, nor be missed by a client that has gone
        self.finish()

    def _send_as_file(self, file: Any) -> bool:
        """Send what is left of a file, by the kernel. False if it is no file on disk, is small, or something was sent already: then it is read.

        What has a descriptor may read something else out of it, as `gzip.GzipFile` does; what says whether it closes it is `io.FileIO`, or stands in for it.
        """
        if not hasattr(getattr(file, "raw", file), "closefd"):
            return False
        try:
            found = os.fstat(file.fileno())
            offset = file.tell()
        except (AttributeError, OSError, io.UnsupportedOperation):
            return False
        left = found.st_size - offset
        if self.head_sent or not self.status or not stat.S_ISREG(found.st_mode) or left <= _JOINED_MOST:
            return False
        self._wire.send(self._make_head(left))
        if not self._bodiless:
            self.sent = self._wire.send_file(file, offset, min(left, self._promised or 0))
        return True

    def finish(self) -> None:
        """End the response: its head if nothing was sent, its last chunk."""
        if not self.status:
            raise AssertionError("the application returned without calling start_response()")
        self.over = True
        if not self.head_sent:
            self._wire.send(self._make_head(0))
        if not self._bodiless:
            self._finish_body()
        self.complete = True

    def _finish_body(self) -> None:
        if self._chunked:
            self._wire.send(b"0\r\n\r\n")
        elif self._promised is not None and self.sent < self._promised:
            self.keep_alive = False  # the client counts, and sees that the end is missing

    @property
    def missing(self) -> int:
        """How many bytes the application promised by Content-Length and did not give."""
        return 0 if self._bodiless or self._promised is None else self._promised - self.sent

    def _write(self, data: bytes, whole: int | None) -> None:
        if self._chunked and type(data) is bytes and 0 < len(data) <= _JOINED_MOST:  # so the head is out, and the body goes out
            self.sent += len(data)
            self._wire.send(b"%x\r\n%b\r\n" % (len(data), data))
            return
        _check_bytes(data)
        if not self.status:
            raise AssertionError("a piece of the body came before start_response() was called")
        if not data:
            return
        if len(data) > _JOINED_MOST:
            self._write_pieces([data], len(data), whole)
            return
        head = b"" if self.head_sent else self._make_head(whole)
        if self._bodiless:
            data = b""
        elif self._promised is not None and len(data) > self._promised - self.sent:
            data = self._cut(data)
        self.sent += len(data)
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if head or data:
            self._wire.send(head + data)

    def _write_pieces(self, pieces: list[bytes], size: int, whole: int | None) -> None:
        """`_write`, of so many bytes in pieces that are not worth a copy."""
        head = [] if self.head_sent else [self._make_head(whole)]
        if self._bodiless:
            pieces = []
            size = 0
        elif self._promised is not None and size > self._promised - self.sent:
            pieces = [self._cut(b"".join(pieces))]
            size = len(pieces[0])
        self.sent += size
        if self._chunked and size:
            pieces = [b"%x\r\n" % size, *pieces, b"\r\n"]
        if head or size:
            self._wire.send_pieces(head + pieces)

    def _cut(self, data: bytes) -> bytes:
        """As much of it as the client was told to expect."""
        room = (self._promised or 0) - self.sent
        self.surplus += len(data) - room
        return data[:room]

    def _make_head(self, whole: int | None) -> bytes:
        """The head, once it is certain that it is the last word. ``whole``: the size of the whole body, if it is known."""
        request = self.request
        head = self._head
        assert head is not None
        lines = head.lines
        empty = head.code in (204, 304)
        self._bodiless = empty or request.request_line.method == "HEAD"
        if self._promised is None and not empty:
            lines += self._framing(whole)
        if self.keep_alive and (head.closes or not self._wire.may_stay() or self._leaves_body(whole)):
            self.keep_alive = False
        usual = self._wire.usual_lines()
        if head.dated or head.named:
            said = [name for name, is_said in ((b"Date:", head.dated), (b"Server:", head.named)) if is_said]
            usual = b"".join(line for line in usual.splitlines(True) if not line.startswith(tuple(said)))
        options = [b"Upgrade"] if head.offers else []
        if not self.keep_alive:
            options.append(b"close")
        elif request.request_line.version == "1.0":
            options.append(b"keep-alive")
        if options:
            usual += b"Connection: %b\r\n" % b", ".join(options)
        self.head_sent = True
        self._sent_head = lines + usual
        return self._sent_head + b"\r\n"

    def _leaves_body(self, whole: int | None) -> bool:
        """True if the client may still be sending a body that nobody will read."""
        request = self.request
        if request.complete:
            return False
        if request.expects_continue:
            return True  # it waits for leave to send it; who knows what comes next
        return whole is not None and not self._wire.reads_rest(request)  # the application has returned

    def _framing(self, whole: int | None) -> bytes:
        """The header that says where the body ends, if there is one."""
        if whole is not None and (whole or self.request.method != "HEAD"):
            self._promised = whole
            return b"Content-Length: %d\r\n" % whole
        if self._bodiless:
            return b""
        if self.request.version == "1.1":
            self._chunked = True
            return b"Transfer-Encoding: chunked\r\n"
        self.keep_alive = False  # the end of the connection is the end of the body
        return b""


def _check_bytes(piece: Any) -> None:
    if type(piece) is not bytes and not isinstance(piece, bytes):
        hint = {
            str: "Encode text first: text.encode('utf-8').",
            int: "If it returned bytes, which are a list of numbers, put them into a list.",
        }.get(type(piece), "Convert it first: bytes(piece).")
        raise TypeError(f"a WSGI application gives bytes, not {type(piece).__name__}: {piece!r:.80}. {hint}")


def _length(body: Any) -> int | None:
    try:
        return len(body)
    except TypeError:
        return None


hide_frames(__file__)
