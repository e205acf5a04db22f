"""What clients send: from bytes to requests, within limits.

Theory
======
The head of a request is cut out at its first empty line, before anything reads it, so nothing that reads it can lose its way. Its first line is read here, by
the grammar of RFC 9112. The headers are taken apart by httptools (llhttp), in its strict mode; where that is more lenient than the RFC (line ends before the
request, RTSP and ICE, spaces in the request line), the input never gets to it. Bodies are framed here: httptools doesn't tell where in its input one ended.

Most clients send the same few request lines, and one client the same headers with each request. What a request line means is remembered for all connections,
what a block of headers means for its connection until another one comes. Both are compared as whole strings of bytes, so a memory is as good as a reading.

Invariants
==========
1. A request is handed out once its head is complete and was found good; never a part of one, and in the order in which they came.
2. Nothing is handed out after the first mistake; what came before it still is.
3. A head takes no more memory than twice its limits (as it came, and taken apart) and one piece of input.
4. Trailers of a chunked body never become headers.
5. An offer to upgrade changes nothing about a body, which is delivered. The connection ends with that request, unless it is handed over.
6. How the input is cut into pieces changes nothing about the requests, nor about where the first mistake is found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from coopcore.lowlevel import hide_frames

try:
    import httptools
except ImportError as missing:
    raise ImportError("coop_plugins.wsgi needs httptools to parse requests, and it is not installed. Install the extra: pip install coopcore[web]") from missing

# Those of the IANA's registry, and what UPnP and caches use. Another is not implemented (501).
_METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF "
    b"MKWORKSPACE MOVE NOTIFY OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SUBSCRIBE TRACE UNBIND UNCHECKOUT "
    b"UNLINK UNLOCK UNSUBSCRIBE UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)
_AROUND_TARGET = 32  # bytes that a request line has besides its target, at most

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/([0-9]\.[0-9])")
_PART_OF_LINE = re.compile(_TOKEN + rb"(?: [!-~]*(?: [HTP/0-9.]*)?)?\r?")
_PATH = re.compile(rb"/(?:[!#-$&-;=?-\[\]-~]|%(?!00)[0-9A-Fa-f]{2})*+")  # without quotes, angle brackets and backslashes; with what browsers leave as it is
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(/[^?]*)?(?:\?(.*))?")
_HOST = re.compile(rb"(?:(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CODINGS = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*")
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[ \t]*+" + _TOKEN + rb"(?:[ \t]*=[ \t]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*")
_PART_OF_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}(?:[ \t;][^\r\n]*)?\r?")
# A line end that is not CR LF, whitespace at the start of a line, and what no line of a head may have; CR at the end of the input may be half a line end.
_NEVER = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_SIZE_LINE_MOST = 4096
_EMPTY_LINES_MOST = 8  # before a request; old clients send one behind a body
_REMEMBERED_MOST = 1000  # request lines ...
_REMEMBERED_LENGTH = 256  # ... of no more bytes


@dataclass(frozen=True)
class Limits:
    """What a client may cost. Sizes are in bytes, times in seconds."""

    request_line: int = 8192
    """The request's target; 414 beyond it."""
    header_bytes: int = 65536
    """All headers of a request together; 431 beyond it."""
    header_count: int = 100
    """How many headers; 431 beyond it."""
    body_bytes: int = 1 << 30
    """The body of a request; 413 beyond it."""
    header_timeout: float = 30.0
    """From the first byte of a request (or the connection's start) to the end of its head; 408 after it."""
    body_timeout: float = 30.0
    """Between two pieces of a body; 408 after it."""
    body_rate: int = 500
    """Bytes a second of a body, at least, on average over the time that is spent on waiting for it, but for the first `body_timeout`; 408 below it."""
    idle_timeout: float = 30.0
    """From a response to the next request's first byte; then the connection is closed."""
    send_timeout: float = 60.0
    """For a client to take 256 KiB of a response; then the connection is cut."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"limit {name}={value!r} is not a positive number; leave it out for the default")


class ClientError(OSError):
    """A client broke HTTP, a limit, or its connection. ``status`` is the answer that fits. Raised out of ``wsgi.input`` too."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class RequestLine:
    """A request line that was found good, and what it says in the environment."""

    __slots__ = ("environ", "host", "method", "path", "query", "target", "version")

    def __init__(self, method: bytes, target: bytes, version: bytes) -> None:
        self.method = method.decode("ascii")
        self.target = target
        self.version = version.decode("ascii")
        self.host: bytes | None = None
        """Of a target that is a URL: it counts, whatever the header says."""
        self.path = self.query = b""
        self.environ: dict[str, Any] = {}

    def describe(self) -> None:
        path = unquote_to_bytes(self.path) if b"%" in self.path else self.path
        target = self.target.decode("ascii")
        self.environ = {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": path.decode("latin-1"),
            "QUERY_STRING": self.query.decode("ascii"),
            "REQUEST_URI": target,
            "RAW_URI": target,
            "SERVER_PROTOCOL": f"HTTP/{self.version}",
        }
        if self.host is not None:
            self.environ["HTTP_HOST"] = self.host.decode("ascii")


class Fields:
    """The headers of a request, found good, and what they say about its framing and its connection."""

    __slots__ = ("closes", "coded", "content_length", "expects", "headers", "host", "keeps", "upgrade")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        """With names in lower case."""
        self.host: bytes | None = None
        self.coded = False
        """True if the body is chunked."""
        self.content_length: int | None = None
        self.expects: bytes | None = None
        self.closes = self.keeps = False
        """What Connection says."""
        self.upgrade: bytes | None = None
        """The protocols that the client offers to go over to."""


class Request:
    """One request. Its body grows while the connection is read; `complete` says that it has all come."""

    request_line: RequestLine
    fields: Fields
    body: Any = b""
    received = 0
    waited = 0
    """Nanoseconds that the server spent on waiting for the body."""
    complete = True
    keep_alive = False
    expects_continue = False
    upgrade: bytes | None = None
    """The protocols that the client offers to go over to."""
    chunked = False
    content_length: int | None = None

    def __init__(self, line: RequestLine, fields: Fields) -> None:
        self.request_line = line
        self.fields = fields

    @property
    def method(self) -> str:
        return self.request_line.method

    @property
    def target(self) -> bytes:
        return self.request_line.target

    @property
    def version(self) -> str:
        return self.request_line.version

    @property
    def path(self) -> bytes:
        return self.request_line.path

    @property
    def query(self) -> bytes:
        return self.request_line.query

    @property
    def host(self) -> bytes | None:
        return self.fields.host if self.request_line.host is None else self.request_line.host

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return self.fields.headers

    @property
    def line(self) -> str:
        """The request line, for the log."""
        return f"{self.method} {self.target.decode('ascii')} HTTP/{self.version}"


_lines: dict[bytes, RequestLine] = {}


class RequestReader:
    """Turns what a connection receives into requests.

    `take` gives the next one. If it gives None, or the body of the last one is not complete, `feed` more. Neither ever raises: see `failure`.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.failure: ClientError | None = None
        """The mistake that ended the input."""
        self.ended = False
        """True if nothing more is taken in: the client has closed, or its last request offered another protocol."""
        self.unread = b""
        """What came after the last request, as far as it is known; after one that offered another protocol, all that is left."""
        self._current: Request | None = None
        """The request whose body is not complete."""
        self._empty_lines = 0
        # The head that is coming: where the search for its end goes on, and where its headers begin, once its first line was found good.
        self._searched = 0
        self._headers_at = 0
        self._lines = _lines if limits.request_line >= _REMEMBERED_LENGTH else {}
        """What is remembered of request lines; in common with other connections, unless these may have had longer ones."""
        # The headers that were found good last.
        self._block = b"\0"
        self._fields = Fields([])
        # The chunked body that is coming.
        self._left = _SIZE_COMES
        self._overhead = 0

    @property
    def in_head(self) -> bool:
        """True between the first byte of a request and the end of its head."""
        return self._current is None and bool(self.unread) and not self.ended

    def feed(self, data: bytes) -> None:
        """Take in what was received; ``b""`` is the end."""
        if self.failure is not None or self.ended:
            return
        if not data:
            self.ended = True
            if self._current is not None or self.unread:
                self.failure = ClientError(400, "the client closed the connection in the middle of a request")
                self.unread = b""
            return
        self.unread = self.unread + data if self.unread else data
        if self._current is not None:
            try:
                self._read_body(self._current)
            except ClientError as error:
                self._give_up(error)

    def take(self) -> Request | None:
        """The next request whose head is complete; None if there is none."""
        if not self.unread or self._current is not None or self.failure is not None or self.ended:
            return None
        try:
            return self._read_head()
        except ClientError as error:
            self._give_up(error)
            return None

    def _give_up(self, error: ClientError) -> None:
        self.failure = error
        self.unread = b""

    # -- heads ----------------------------------------------------------------------------------------------------------

    def _read_head(self) -> Request | None:
        data = self.unread
        if data[0] == 13:
            data = self._skip_empty_lines(data)
        end = data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._look_at_part(data)
            return None
        self._searched = self._headers_at = self._empty_lines = 0
        first = data.find(b"\r\n")
        line = self._lines.get(data[:first]) or self._read_line(data[:first])
        block = data[first + 2 : end + 2]
        if block == self._block:
            fields = self._fields
        else:
            fields = self._fields = self._read_fields(block)
            self._block = block
        self.unread = data[end + 4 :]
        request = Request(line, fields)
        self._check(request, line, fields)
        return request

    def _skip_empty_lines(self, data: bytes) -> bytes:
        while data.startswith(b"\r\n"):
            data = data[2:]
            self._empty_lines += 1
            if self._empty_lines > _EMPTY_LINES_MOST:
                _fail(400, "empty lines come in place of a request")
        self.unread = data
        return data

    def _look_at_part(self, data: bytes) -> None:
        """Refuse a head that can't become good any more, before it is complete."""
        if not self._headers_at:
            first = data.find(b"\r\n")
            if first < 0:
                if len(data) > self.limits.request_line + _AROUND_TARGET or (data != b"\r" and data and not _PART_OF_LINE.fullmatch(data)):
                    self._read_line(data)  # says what is wrong with it
                    _fail(400, "the request line is none")
                return
            self._read_line(data[:first])
            self._headers_at = first + 2
            self._searched = first
        if len(data) - self._headers_at > self.limits.header_bytes + 2:
            _fail(431, "the headers are too large")
        _refuse_characters(data, max(self._searched, self._headers_at - 2))
        self._searched = max(len(data) - 3, self._headers_at - 2)

    def _read_line(self, given: bytes) -> RequestLine:
        if len(given) > self.limits.request_line + _AROUND_TARGET:
            _fail(414, "the target of the request is too long")
        found = _LINE.fullmatch(given)
        if found is None:
            _fail(400, "the request line is not a method, a target and HTTP/1.1 with one space between them")
        method, target, version = found.groups()
        if len(target) > self.limits.request_line:
            _fail(414, "the target of the request is too long")
        if version not in (b"1.1", b"1.0"):
            _fail(505, f"HTTP/{version.decode('ascii')} is not spoken here")
        if method not in _METHODS:
            _fail(501, "the method is not known")
        line = RequestLine(method, target, version)
        _read_target(line)
        line.describe()
        if len(given) <= _REMEMBERED_LENGTH:
            if len(self._lines) >= _REMEMBERED_MOST:
                self._lines.clear()
            self._lines[given] = line
        return line

    def _read_fields(self, block: bytes) -> Fields:
        if len(block) > self.limits.header_bytes:
            _fail(431, "the headers are too large")
        if block.count(b"\n") > self.limits.header_count:
            _fail(431, "there are too many headers")
        fields = Fields(_take_apart(block))
        found: dict[bytes, bytes] = {}
        for name, value in fields.headers:
            if name in _LOOKED_AT:
                if name not in found:
                    found[name] = value
                elif name in _LISTS:
                    found[name] += b"," + value
                else:
                    _fail(400, f"{name.decode('ascii')} is given twice")
        if found:
            self._understand(fields, found)
        return fields

    def _understand(self, fields: Fields, found: dict[bytes, bytes]) -> None:
        host = fields.host = found.get(b"host")
        if host is not None and not _is_host(host):
            _fail(400, "the Host header is no host")
        connection = found.get(b"connection")
        if connection is not None:
            options = {option.strip(b" \t").lower() for option in connection.split(b",")}
            fields.closes = b"close" in options
            fields.keeps = b"keep-alive" in options
            if b"upgrade" in options:
                fields.upgrade = found.get(b"upgrade")
        fields.expects = found.get(b"expect")
        length = found.get(b"content-length")
        if length is not None:
            if not _LENGTH.fullmatch(length):
                _fail(400, "Content-Length is not a number, or far too large a one")
            fields.content_length = int(length)
        coding = found.get(b"transfer-encoding")
        if coding is not None:
            _check_coding(coding)
            fields.coded = True
            if length is not None:
                _fail(400, "both Content-Length and Transfer-Encoding say where the body ends")

    def _check(self, request: Request, line: RequestLine, fields: Fields) -> None:
        """What the request line and the headers say together."""
        if line.version == "1.1":
            if fields.host is None:
                _fail(400, "HTTP/1.1 wants a Host header")
            request.keep_alive = not fields.closes
            if fields.expects is not None:
                self._expect(request, fields)
            if fields.upgrade is not None:
                request.upgrade = fields.upgrade
                request.keep_alive = False
        else:
            if fields.coded:
                _fail(400, "HTTP/1.0 has no Transfer-Encoding")
            request.keep_alive = fields.keeps and not fields.closes
        if fields.coded or fields.content_length:
            self._begin_body(request, fields)
        elif request.upgrade is not None:
            self.ended = True
        if fields.content_length is not None:
            request.content_length = fields.content_length

    def _expect(self, request: Request, fields: Fields) -> None:
        if fields.expects is None or fields.expects.lower() != b"100-continue":
            _fail(417, "no expectation but 100-continue is met")
        request.expects_continue = fields.coded or bool(fields.content_length)

    # -- bodies ---------------------------------------------------------------------------------------------------------

    def _begin_body(self, request: Request, fields: Fields) -> None:
        if (fields.content_length or 0) > self.limits.body_bytes:
            _fail(413, "the body is too large")
        request.chunked = fields.coded
        request.content_length = fields.content_length
        request.body = bytearray()
        request.complete = False
        self._current = request
        self._left = _SIZE_COMES if fields.coded else fields.content_length or 0
        self._overhead = 0
        if self.unread:
            try:
                self._read_body(request)
            except ClientError as error:
                self._give_up(error)  # of the body: the head is good, and the request handed out

    def _read_body(self, request: Request) -> None:
        data = self.unread
        if request.chunked:
            at = 0
            while self._current is not None:
                past = self._read_part_of_chunk(request, data, at)
                if past < 0:
                    break
                at = past
            self.unread = data[at:]
            return
        if len(data) < self._left:
            self._add(request, data)
            self._left -= len(data)
            self.unread = b""
        else:
            self._add(request, data[: self._left])
            self.unread = data[self._left :]
            self._finish(request)

    def _read_part_of_chunk(self, request: Request, data: bytes, at: int) -> int:
        """Read on, at an offset. Returns the next offset; -1 if more input is needed for that."""
        left = self._left
        if left > 0:
            piece = data[at : at + left]
            if not piece:
                return -1
            self._add(request, piece)
            self._left = left - len(piece) or _LINE_END_COMES
            return at + len(piece)
        if left == _LINE_END_COMES:
            behind = data[at : at + 2]
            if behind != b"\r\n"[: len(behind)]:
                _fail(400, "a chunk is not as long as it says")
            if len(behind) < 2:
                return -1
            self._left = _SIZE_COMES
            return at + 2
        return self._read_size(request, data, at) if left == _SIZE_COMES else self._read_trailers(request, data, at)

    def _read_size(self, request: Request, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            part = data[at:]
            if len(part) > _SIZE_LINE_MOST:
                _fail(400, "the line with the size of a chunk is too long")
            if part and not _PART_OF_SIZE.fullmatch(part):
                _fail(400, "the size of a chunk is no number")
            return -1
        found = _SIZE.fullmatch(data, at, end)
        if found is None or end - at > _SIZE_LINE_MOST:
            _fail(400, "the size of a chunk is no number, or what follows it no extension")
        size = int(found[1], 16)
        self._overhead += end - found.end(1)
        if self._overhead > self.limits.header_bytes:
            _fail(431, "the extensions of the chunks are too large")
        if request.received + size > self.limits.body_bytes:
            _fail(413, "the body is too large")
        self._left = size or _TRAILERS_COME
        return end + 2

    def _read_trailers(self, request: Request, data: bytes, at: int) -> int:
        """What comes behind the last chunk is read as headers are, and dropped."""
        if data.startswith(b"\r\n", at):
            self._finish(request)
            return at + 2
        end = data.find(b"\r\n\r\n", at + self._searched)
        block = data[at : end + 2] if end >= 0 else data[at:]
        if len(block) > self.limits.header_bytes + 2 or block.count(b"\n") > self.limits.header_count:
            _fail(431, "the trailers are too large")
        if end < 0:
            if block[:1] in (b" ", b"\t"):
                _fail(400, "a trailer begins with a space")
            _refuse_characters(block, self._searched)
            self._searched = max(len(block) - 3, 0)
            return -1
        self._searched = 0
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in _take_apart(block)):
            _fail(400, "a trailer says where the body ends, which has ended")
        self._finish(request)
        return end + 4

    def _add(self, request: Request, piece: bytes) -> None:
        request.received += len(piece)
        request.body += piece

    def _finish(self, request: Request) -> None:
        request.complete = True
        self._current = None
        self._left = _SIZE_COMES
        if request.upgrade is not None:
            self.ended = True


# What a chunked body goes on with, in place of how many bytes are left of a chunk.
_SIZE_COMES = -1
_LINE_END_COMES = -2
_TRAILERS_COME = -3

_LOOKED_AT = frozenset((b"connection", b"content-length", b"content-type", b"expect", b"host", b"transfer-encoding", b"upgrade"))
_LISTS = frozenset((b"connection", b"expect", b"upgrade"))


def _fail(status: int, why: str) -> NoReturn:
    raise ClientError(status, why)


def _refuse_characters(data: bytes, start: int) -> None:
    if _NEVER.search(data, start):
        _fail(400, "a line of the head ends in a bare CR or LF, begins with a space, or has a control character")


class _Collector:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))


def _take_apart(block: bytes) -> list[tuple[bytes, bytes]]:
    """The headers, or trailers, of a block of whole lines: names in lower case, and values. Raises ClientError."""
    if _NEVER.search(b"\r\n" + block):
        _fail(400, "a header ends in a bare CR or LF, is folded, or has a control character")
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(b"GET / HTTP/1.1\r\n%b\r\n" % block)
    except httptools.HttpParserUpgrade:
        pass  # all of it was read
    except httptools.HttpParserError as error:
        raise ClientError(400, f"the headers are malformed: {error}") from None
    if len(collector.headers) != block.count(b"\n"):
        _fail(400, "a header is none")
    return collector.headers


def _check_coding(coding: bytes) -> None:
    if coding.lower() == b"chunked":
        return
    names = [name.strip(b" \t").lower() for name in coding.split(b",")]
    if _CODINGS.fullmatch(coding) and names.count(b"chunked") == 1 and names[-1] == b"chunked":
        _fail(501, "no Transfer-Encoding but chunked is understood")
    _fail(400, "Transfer-Encoding does not end in chunked, so nothing says where the body ends")


def _is_host(text: bytes) -> bool:
    found = _HOST.fullmatch(text)
    if found is None or int(found[2] or 0) > 65535:
        return False
    if found[1] is not None:
        try:
            IPv6Address(found[1].decode("ascii"))
        except ValueError:
            return False
    return True


def _read_target(line: RequestLine) -> None:
    """Tell the path and the query of a target. Raises ClientError for one that has none of the four forms."""
    target = line.target
    if b"#" in target:
        _fail(400, "a fragment does not belong into a request")
    if target.startswith(b"/"):
        line.path, _, line.query = target.partition(b"?")
    elif target == b"*" and line.method == "OPTIONS":
        line.path = target
        return
    else:
        found = _ABSOLUTE.fullmatch(target)
        if found is None or not _is_host(found[1]):
            _fail(400, "the target of the request is neither a path nor an http URL")
        line.host, line.path, line.query = found[1], found[2] or b"/", found[3] or b""
    if not _PATH.fullmatch(line.path):
        _fail(400, "the path has a character that must be escaped, or half an escape")


class Input:
    """``wsgi.input``: the body of a request, read from the connection as it is asked for. Parks; raises `ClientError` if the rest never comes."""

    __slots__ = ("_receive", "_request")

    def __init__(self, request: Request, receive: Any) -> None:
        self._request = request
        self._receive = receive

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, or all; less only at the end."""
        request = self._request
        wanted = None if size is None or size < 0 else size
        while not request.complete and (wanted is None or len(request.body) < wanted):
            self._receive()
        return self._take(len(request.body) if wanted is None else wanted)

    def readline(self, size: int | None = -1) -> bytes:
        """A line with its end, or at most ``size`` bytes of it."""
        request = self._request
        most = None if size is None or size < 0 else size
        looked_at = 0
        while True:
            end = request.body.find(b"\n", looked_at) + 1
            looked_at = len(request.body)
            if end or request.complete or (most is not None and looked_at >= most):
                break
            self._receive()
        end = end or looked_at
        return self._take(end if most is None else min(end, most))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Lines, until ``hint`` bytes have been read, or all."""
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Input:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _take(self, size: int) -> bytes:
        body = self._request.body
        if not body:
            return b""
        taken = bytes(body[:size])
        del body[:size]
        return taken


NO_BODY = Input(Request(RequestLine(b"GET", b"/", b"1.1"), Fields([])), None)
"""The input of every request that has no body."""

hide_frames(__file__)
