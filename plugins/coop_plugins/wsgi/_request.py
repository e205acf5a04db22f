"""What clients send: from bytes to requests, within limits.

Theory
======
The head of a request is cut out at its first empty line, before anything reads it, so nothing that reads it can lose its way. Its first line is read here, by
the grammar of RFC 9112. The headers are taken apart by httptools (llhttp), in its strict mode; where that is more lenient than the RFC (line ends before the
request, RTSP and ICE, spaces in the request line), the input never gets to it. Bodies are framed here: httptools doesn't tell where in its input one ended.

Clients send the same few request lines, and the same lines of headers but for a few, such as cookies. What such a line means is remembered for all connections
when it comes again, what a block of headers means for its connection if it comes twice in a row. All are compared as whole strings of bytes, and what a line
means does not depend on the others, so a memory is as good as a reading; what a request's headers mean together is looked at each time. Nothing that may be a
secret, or that says how long a body is, is remembered. The names of headers that say nothing to the server are: behind such a name any value is good that has
no control characters.

Invariants
==========
1. A request is handed out once its head is complete and was found good; never a part of one, and in the order in which they came.
2. Nothing is handed out after the first mistake; what came before it still is.
3. A head takes no more memory than twice its limits (as it came, and taken apart) and one piece of input; nothing of a large one is kept for the next.
4. Trailers of a chunked body never become headers.
5. An offer to upgrade changes nothing about a body, which is delivered. The connection ends with that request, unless it is handed over.
6. How the input is cut into pieces changes nothing about the requests, nor about where the first mistake is found.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from coopcore.lowlevel import hide_frames

from ._body import Body

try:
    import httptools
except ImportError as missing:
    raise ImportError(
        "coop_plugins.wsgi needs httptools to parse requests, and it is not installed: pip install httptools (coopcore's extra web brings it)"
    ) from missing

# Those of the IANA's registry. Any other is the application's to know, unless it is one of these in other letters, which a proxy may take for the same.
_METHODS = {
    name: name.decode("ascii")
    for name in (
        b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE "
        b"MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE "
        b"UPDATEREDIRECTREF VERSION-CONTROL".split()
    )
}
_METHOD_MOST = 20  # the longest of them has 17
_AROUND_TARGET = _METHOD_MOST + len("  HTTP/1.1")  # bytes that a request line has besides its target, at most

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/([0-9])\.([0-9])")
# One of the commonest form: GET /path?query HTTP/1.1. Its parts are those of _PATH, and of _LINE but for the mark of a fragment.
_USUAL_LINE = re.compile(rb"([A-Z]+) (/[!$&-;=@-\[\]-~]*(?:%(?!00)[0-9A-Fa-f]{2}[!$&-;=@-\[\]-~]*)*)(?:\?([!\"$-~]*))? HTTP/1\.1")
_PART_OF_LINE = re.compile(_TOKEN + rb"(?: [!-~]*(?: [HTP/0-9.]*)?)?\r?")
_PATH = re.compile(rb"/(?:[!#-$&-;=?-\[\]-~]|%(?!00)[0-9A-Fa-f]{2})*+")  # without quotes, angle brackets and backslashes; with what browsers leave as it is
_ABSOLUTE = re.compile(rb"(?i:http(s?))://([^/?]+)(/[^?]*)?(?:\?(.*))?")
_HOST = re.compile(rb"(?:(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CODINGS = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*")
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[ \t]*+" + _TOKEN + rb"(?:[ \t]*=[ \t]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*")
_PART_OF_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}(?:[ \t;][^\r\n]*)?\r?")
_LINES = re.compile(rb"(?:[!-~\x80-\xff][\t -~\x80-\xff]*\r\n)*")  # without what _NEVER finds, which takes longer
_VALUE = re.compile(rb"[\t -~\x80-\xff]*+")
# A line end that is not CR LF, whitespace at the start of a line, and what no line of a head may have; CR at the end of the input may be half a line end.
_NEVER = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_PIECE = 65536  # of a body, received at once
_LARGE_READ = 16384  # of which no more is received than is missing, so that the pieces that follow are as large as those that are read

_SIZE_LINE_MOST = 4096
_LIMIT_MOST = 10**12  # beyond every use, and, in seconds, within what clocks can count
_EMPTY_LINES_MOST = 8  # before a request; old clients send one behind a body
_REMEMBERED_MOST = 1000  # request lines, and as many lines of headers ...
_REMEMBERED_LENGTH = 256  # ... of no more bytes
_BLOCK_REMEMBERED = 4096  # bytes of headers that a connection remembers while it is idle
_NOT_REMEMBERED = frozenset((b"authorization", b"content-length", b"cookie", b"proxy-authorization", b"transfer-encoding"))


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
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= _LIMIT_MOST:
                raise ValueError(f"limit {name}={value!r} is not a positive number of at most 10**12; leave it out for the default")


class ClientError(OSError):
    """A client broke HTTP, a limit, or its connection. ``status`` is the answer that fits. Raised out of ``wsgi.input`` too."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Memory(dict[bytes, Any]):
    """What lines were found to mean. Of those that never come again it keeps no more than the bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._once: set[bytes] = set()

    def note(self, line: bytes, meaning: Any) -> None:
        """A line that is not remembered has come."""
        if len(line) > _REMEMBERED_LENGTH:
            return
        if line in self._once:
            if len(self) >= _REMEMBERED_MOST:
                self.clear()
            self[line] = meaning
        else:
            if len(self._once) >= _REMEMBERED_MOST:
                self._once.clear()
            self._once.add(line)


class RequestLine:
    """A request line that was found good, and what it says in the environment."""

    __slots__ = ("environ", "host", "method", "path", "protocol", "query", "secure", "target", "usual", "version")

    def __init__(
        self, method: str, target: bytes, version: str, path: bytes = b"", query: bytes = b"", host: bytes | None = None, secure: bool = False
    ) -> None:
        self.method = method
        self.target = target
        self.version = "1.0" if version == "1.0" else "1.1"
        """What is spoken. A client of a later minor version is spoken to as one of 1.1."""
        self.protocol = "HTTP/1.1" if version == "1.1" else f"HTTP/{version}"
        """What the client said."""
        self.path = path
        self.query = query
        self.host = host
        """Of a target that is a URL: it counts, whatever the header says."""
        self.secure = secure
        """True for a URL of https."""
        self.usual = self.version == "1.1" and method != "HEAD" and not secure
        shown = target.decode("ascii")
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1"),
            "QUERY_STRING": query.decode("ascii"),
            "REQUEST_URI": shown,
            "RAW_URI": shown,
            "SERVER_PROTOCOL": self.protocol,
        }
        if secure:
            self.environ["wsgi.url_scheme"] = "https"
        if host is not None:
            self.environ["HTTP_HOST"] = host.decode("ascii")


class Header:
    """A line of a request's headers that was found good."""

    __slots__ = ("key", "looked_at", "name", "text", "value")

    def __init__(self, name: bytes, key: str, value: bytes) -> None:
        self.name = name
        """In lower case."""
        self.key = key
        """Of the environment; empty for a header that is not passed on."""
        self.value = value
        self.text = value.decode("latin-1")
        self.looked_at = name in _LOOKED_AT
        """True for one that says something to the server."""


def _key_of(name: bytes) -> str:
    if b"_" in name or name == b"proxy":
        return ""  # X_Forwarded_For would pass for X-Forwarded-For, and Proxy for the variable HTTP_PROXY
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


class Fields:
    """The headers of a request, found good, and what they say about its framing and its connection."""

    again = False
    """True once the client has sent the same ones again."""
    usual = False
    """True if a request with these and a usual line has no body, and its connection is kept."""
    host: bytes | None = None
    coded = False
    """True if the body is chunked."""
    content_length: int | None = None
    expects: bytes | None = None
    closes = keeps = False
    """What Connection says."""
    upgrade: bytes | None = None
    """The protocols that the client offers to go over to."""

    def __init__(self, lines: list[Header]) -> None:
        self.lines = lines

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names, in lower case, and values."""
        return [(line.name, line.value) for line in self.lines]


class Request:
    """One request. Its body grows while the connection is read; `complete` says that it has all come."""

    request_line: RequestLine
    fields: Fields
    body = Body()
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
    def protocol(self) -> str:
        return self.request_line.protocol

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
        return f"{self.method} {self.target.decode('ascii')} {self.protocol}"


_lines = _Memory()
_headers = _Memory()
_names = _Memory()


class RequestReader:
    """Turns what a connection receives into requests.

    `take` gives the next one. If it gives None, or the body of the last one is not complete, `feed` more. Neither ever raises: see `failure`.
    """

    def __init__(self, limits: Limits, secure: bool = False) -> None:
        self.limits = limits
        self.secure = secure
        """True if URLs of https may be asked for: by TLS, or by a proxy that is trusted."""
        self.failure: ClientError | None = None
        """The mistake that ended the input."""
        self.ended = False
        """True if nothing more is taken in: the client has closed, or its last request offered another protocol."""
        self.unread = b""
        """What came after the last request, as far as it is known; after one that offered another protocol, all that is left."""
        self._refused = b""
        self._current: Request | None = None
        """The request whose body is not complete."""
        self._empty_lines = 0
        # The head that is coming: where the search for its end goes on, and where its headers begin, once its first line was found good.
        self._searched = 0
        self._headers_at = 0
        self._lines = _lines if limits.request_line >= _REMEMBERED_LENGTH else _Memory()
        """What is remembered of request lines; in common with other connections, unless these may have had longer ones."""
        # The last headers that were found good, and, if they came twice, what they mean: most would only be kept in vain.
        self._block = b"\0"
        self._fields: Fields | None = None
        # The chunked body that is coming.
        self._left = _SIZE_COMES
        self._overhead = 0

    @property
    def in_head(self) -> bool:
        """True between the first byte of a request and the end of its head."""
        return self._current is None and bool(self.unread) and not self.ended

    @property
    def asks_for_head(self) -> bool:
        """True if the request that is coming, or was refused, is for nothing but a head: no answer to it has a body."""
        return (self._refused or self.unread).startswith(b"HEAD ")

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

    def receive(self, data: bytes) -> Request | None:
        """`feed` and `take`."""
        if not data or self.unread or self._current is not None or self.failure is not None or self.ended:
            self.feed(data)
            return self.take()
        self.unread = data
        try:
            return self._read_head()
        except ClientError as error:
            self._give_up(error)
            return None

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
        self._refused = self.unread[:_METHOD_MOST]
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
        if block != self._block:
            fields = self._read_fields(block)
            self._block = block if len(block) <= _BLOCK_REMEMBERED else b"\0"
            self._fields = None
        elif self._fields is None:
            fields = self._fields = self._read_fields(block)
            fields.again = True
        else:
            fields = self._fields
        self.unread = data[end + 4 :]
        request = Request(line, fields)
        if line.usual and fields.usual:
            request.keep_alive = True
        else:
            try:
                self._check(request, line, fields)
            except ClientError:
                self.unread = data
                raise
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
        usual = _USUAL_LINE.fullmatch(given)
        if usual is None:
            line = self._read_unusual_line(given)
        else:
            method, path, query = usual.groups(b"")
            if len(path) + len(query) >= self.limits.request_line:
                return self._read_unusual_line(given)  # says what is wrong with it, if anything is
            line = RequestLine(_METHODS.get(method) or _read_method(method), given[len(method) + 1 : -9], "1.1", path, query)
        self._lines.note(given, line)
        return line

    def _read_unusual_line(self, given: bytes) -> RequestLine:
        found = _LINE.fullmatch(given)
        if found is None:
            _fail(400, "the request line is not a method, a target and HTTP/1.1 with one space between them")
        method, target, major, minor = found.groups()
        if len(target) > self.limits.request_line:
            _fail(414, "the target of the request is too long")
        if major != b"1":
            _fail(505, f"HTTP/{major.decode('ascii')}.{minor.decode('ascii')} is not spoken here")
        return RequestLine(_read_method(method), target, f"1.{minor.decode('ascii')}", *_read_target(target, method))

    def _read_fields(self, block: bytes) -> Fields:
        if len(block) > self.limits.header_bytes:
            _fail(431, "the headers are too large")
        if block.count(b"\n") > self.limits.header_count:
            _fail(431, "there are too many headers")
        lines = block.split(b"\r\n")
        del lines[-1]  # what is behind the last line end
        headers: list[Any] = [*map(_headers.get, lines)]
        if None in headers:
            _read_headers(lines, headers)
        fields = Fields(headers)
        found: dict[bytes, bytes] = {}
        for header in headers:
            if header.looked_at:
                name = header.name
                if name not in found:
                    found[name] = header.value
                elif name in _LISTS:
                    found[name] += b"," + header.value
                else:
                    _fail(400, f"{name.decode('ascii')} is given twice")
        fields.host = found.get(b"host")
        if len(found) == 1 and fields.host is not None:
            fields.usual = True
        elif found:
            self._understand(fields, found)
        return fields

    def _understand(self, fields: Fields, found: dict[bytes, bytes]) -> None:
        connection = found.get(b"connection")
        if connection == b"keep-alive":
            fields.keeps = True
            fields.usual = len(found) == 2 and fields.host is not None
        elif connection is not None:
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
        if line.secure and not self.secure:
            _fail(421, "a URL of https was asked for without TLS")
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
        request.body = Body()
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
            self._left -= len(data)
            self.unread = b""
            self._add(request, data)
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
        request.body.add(piece)

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


class _Collector(list[tuple[bytes, bytes]]):
    """What httptools calls back."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.append((name.lower(), value.rstrip(b" \t")))


def _take_apart(block: bytes) -> list[tuple[bytes, bytes]]:
    """The headers, or trailers, of a block of whole lines: names in lower case, and values. Raises ClientError."""
    if not _LINES.fullmatch(block):
        _fail(400, "a header ends in a bare CR or LF, is folded, or has a control character")
    headers = _Collector()
    try:
        httptools.HttpRequestParser(headers).feed_data(b"GET / HTTP/1.1\r\n%b\r\n" % block)
    except httptools.HttpParserUpgrade:
        pass  # all of it was read
    except httptools.HttpParserError as error:
        raise ClientError(400, f"the headers are malformed: {error}") from None
    if len(headers) != block.count(b"\n"):
        _fail(400, "a header is none")
    return headers


def _read_headers(lines: list[bytes], headers: list[Any]) -> None:
    """Put the headers that stand in ``lines`` in place of each None. Raises ClientError."""
    unknown = []
    for at, line in enumerate(lines):
        if headers[at] is None:
            given, colon, value = line.partition(b":")
            known = _names.get(given)
            if known is None or not colon or not _VALUE.fullmatch(value):
                unknown.append(at)
                continue
            name, key = known
            headers[at] = header = Header(name, key, value.strip(b" \t"))
            if name not in _NOT_REMEMBERED:
                _headers.note(line, header)
    if unknown:
        _read_new_headers(lines, headers, unknown)


def _read_new_headers(lines: list[bytes], headers: list[Any], unknown: list[int]) -> None:
    """`_read_headers`, for lines of which not even the name is known, or is one that says something to the server."""
    # Spaces and tabs belong around a value; llhttp takes a tab behind "chunked" for a part of it.
    block = b"".join([lines[at].rstrip(b" \t") + b"\r\n" for at in unknown])
    for at, (name, value) in zip(unknown, _take_apart(block), strict=True):
        if name == b"host" and not _is_host(value):
            _fail(400, "the Host header is no host")
        headers[at] = header = Header(name, _key_of(name), value)
        if name not in _NOT_REMEMBERED:
            _headers.note(lines[at], header)
        if not header.looked_at:
            _names.note(lines[at][: len(name)], (name, header.key))


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


def _read_method(method: bytes) -> str:
    """The name of a method. Raises ClientError for one that no application has to know."""
    if len(method) > _METHOD_MOST:
        _fail(501, "the method is longer than any that is known")
    if method.upper() == b"CONNECT":
        _fail(501, "CONNECT is for proxies")
    if method not in _METHODS and method.upper() in _METHODS:
        _fail(501, "the method is in small letters, and methods have capitals")
    return method.decode("ascii")


def _read_target(target: bytes, method: bytes) -> tuple[bytes, bytes, bytes | None, bool]:
    """The path, the query and the host of a target, and whether it is a URL of https. Raises ClientError for one that has none of the four forms."""
    host = None
    secure = False
    if b"#" in target:
        _fail(400, "a fragment does not belong into a request")
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
    elif target == b"*" and method == b"OPTIONS":
        return b"/", b"", None, False  # a path that is none is no PATH_INFO, as wsgiref.validate says too
    else:
        found = _ABSOLUTE.fullmatch(target)
        if found is None or not _is_host(found[2]):
            _fail(400, "the target of the request is neither a path nor an http URL")
        secure, host, path, query = bool(found[1]), found[2], found[3] or b"/", found[4] or b""
    if not _PATH.fullmatch(path):
        _fail(400, "the path has a character that must be escaped, or half an escape")
    return path, query, host, secure


class Input:
    """``wsgi.input``: the body of a request, read from the connection as it is asked for. Parks; raises `ClientError` if the rest never comes."""

    __slots__ = ("_receive", "_request")

    def __init__(self, request: Request, receive: Any) -> None:
        self._request = request
        self._receive = receive

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, or all; less only at the end."""
        request = self._request
        wanted = sys.maxsize if size is None or size < 0 else size
        body = request.body
        while not request.complete and (missing := wanted - body.size) > 0:
            self._receive(missing if body.size and wanted >= _LARGE_READ else _PIECE)
        return body.take(wanted)

    def readline(self, size: int | None = -1) -> bytes:
        """A line with its end, or at most ``size`` bytes of it."""
        request = self._request
        body = request.body
        most = sys.maxsize if size is None or size < 0 else size
        looked_at = 0
        while not (end := body.find_line(looked_at)):
            looked_at = body.size
            if request.complete or looked_at >= most:
                end = looked_at
                break
            self._receive(_PIECE)
        return body.take(min(end, most))

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


NO_BODY = Input(Request(RequestLine("GET", b"/", "1.1"), Fields([])), None)
"""The input of every request that has no body."""

hide_frames(__file__)
