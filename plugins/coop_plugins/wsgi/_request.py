"""What clients send: from bytes to requests, within limits.

httptools (llhttp) does the parsing, in its strict mode: it refuses bare line feeds, folded headers, spaces in names, bad or doubled Content-Length,
Content-Length beside Transfer-Encoding, bad chunk sizes, HTTP/2 prefaces. What it lets through and RFC 9112 doesn't is refused here.

Invariants
==========
1. A request is handed out once its head is complete and was found good; never a part of one, and in the order in which they came.
2. Nothing is handed out after the first mistake; what came before it still is.
3. A head takes no more memory than twice its limits (as it came, and taken apart) and one piece of input.
4. Trailers of a chunked body never become headers.
5. An offer to upgrade changes nothing about a body, which is delivered. The connection ends with that request, unless it is handed over.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Any, NoReturn

from coopcore.lowlevel import hide_frames

try:
    import httptools
except ImportError as missing:
    raise ImportError("coop_plugins.wsgi needs httptools to parse requests, and it is not installed. Install the extra: pip install coopcore[web]") from missing

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?")
_ONCE = (b"host", b"content-length", b"content-type", b"transfer-encoding")


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


class Request:
    """One request. Its body grows while the connection is read; `complete` says that it has all come."""

    __slots__ = (
        "body",
        "chunked",
        "complete",
        "content_length",
        "expects_continue",
        "headers",
        "host",
        "keep_alive",
        "method",
        "path",
        "query",
        "received",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.path = b""
        self.query = b""
        self.host: bytes | None = None
        self.keep_alive = False
        self.expects_continue = False
        self.upgrade: bytes | None = None
        """The protocols that the client offers to go over to."""
        self.chunked = False
        self.content_length: int | None = None
        self.body = bytearray()
        self.received = 0
        self.complete = False

    @property
    def line(self) -> str:
        """The request line, for the log."""
        return f"{self.method} {self.target.decode('latin-1')} HTTP/{self.version}"


class RequestReader:
    """Turns what a connection receives into requests. Fed by the connection, called back by httptools."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests: deque[Request] = deque()
        """Whose heads are complete, and that nobody took yet."""
        self.failure: ClientError | None = None
        """The mistake that ended the input."""
        self.ended = False
        """True if no further request will come: the client has gone over to another protocol, or has closed."""
        self.beyond = b""
        """What came after the head of the last request, which offered another protocol and had no body."""
        self._parser = httptools.HttpRequestParser(self)
        self._current: Request | None = None
        self._in_head = False
        self._pieces: list[bytes] = []
        """The input since the one in which the present head began."""
        self._head_fed = 0
        """Bytes of a head, or after a body's last piece, that nothing was heard of yet."""
        self._heard = False
        """True if the present input had a piece of a body, or a whole trailer."""
        self._header_bytes = 0

    @property
    def in_head(self) -> bool:
        """True between the first byte of a request and the end of its head."""
        return self._in_head

    def feed(self, data: bytes) -> None:
        """Take in what was received; ``b""`` is the end. Never raises: see `failure`."""
        if self.failure is not None or self.ended:
            return
        if not data:
            self.ended = True
            if self._current is not None and not self._current.complete:
                self.failure = ClientError(400, "the client closed the connection in the middle of a request")
            return
        same = self._current
        in_head = self._in_head
        self._heard = False
        self._pieces.append(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if self.failure is None and not self.ended:  # else it was ours, raised in a callback, or comes after the last request
                self.failure = ClientError(400, f"this is no HTTP/1.1: {error}")
        if not self._in_head:
            self._pieces.clear()
        # A header or a trailer is reported when it is complete; until then only this counts its bytes.
        same_part = same is self._current and in_head is self._in_head and not self._heard
        self._head_fed = self._head_fed + len(data) if same_part else 0
        if self._head_fed > self.limits.request_line + self.limits.header_bytes and self.failure is None:
            self.failure = ClientError(431, "the head of the request, or a trailer, is too large")

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._decline_upgrade(data[offered.args[0] :])

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on with the body, if there is one: httptools takes what follows the head for the other protocol."""
        request = self._the_current()
        if not request.chunked and not request.content_length:
            self.ended = True
            self.beyond = rest
            return
        request.complete = False
        # A parser that is given the framing and no offer knows where the body ends.
        self._parser = httptools.HttpRequestParser(_LastBody(self))
        framing = b"Transfer-Encoding: chunked" if request.chunked else b"Content-Length: %d" % (request.content_length or 0)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nConnection: close\r\n%b\r\n\r\n" % framing)
        self._header_bytes = 0
        if rest:
            self._parse(rest)

    def _fail(self, status: int, why: str) -> NoReturn:
        self.failure = ClientError(status, why)
        raise self.failure

    # -- called by httptools --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._current = Request()
        self._in_head = True
        self._header_bytes = 0

    def on_url(self, piece: bytes) -> None:
        request = self._the_current()
        request.target += piece
        if len(request.target) > self.limits.request_line:
            self._fail(414, "the target of the request is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self.limits.header_bytes:
            self._fail(431, "the headers are too large")
        if not self._in_head:
            self._heard = True
            return  # a trailer: counted, and dropped
        headers = self._the_current().headers
        if len(headers) >= self.limits.header_count:
            self._fail(431, "there are too many headers")
        if b"\r" in value or b"\n" in value or b"\0" in value:
            self._fail(400, "a header's value goes over several lines, or has a NUL")
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        request = self._the_current()
        request.method = self._parser.get_method().decode("ascii")
        request.version = self._parser.get_http_version()
        request.keep_alive = self._parser.should_keep_alive()
        self._check_head(request)
        self._in_head = False
        self._header_bytes = 0
        self.requests.append(request)

    def on_body(self, data: bytes) -> None:
        self._heard = True
        request = self._the_current()
        request.received += len(data)
        if request.received > self.limits.body_bytes:
            self._fail(413, "the body is too large")
        request.body += data

    def on_message_complete(self) -> None:
        self._the_current().complete = True

    # -- what a head must be --------------------------------------------------------------------------------------------

    def _the_current(self) -> Request:
        assert self._current is not None
        return self._current

    def _check_head(self, request: Request) -> None:
        if request.version not in ("1.0", "1.1"):
            self._fail(505, f"HTTP/{request.version} is not spoken here")
        if request.method == "CONNECT":
            self._fail(501, "CONNECT is for proxies")
        self._check_line(request)
        found: dict[bytes, bytes] = {}
        for name, value in request.headers:
            if name in _ONCE and name in found:
                self._fail(400, f"{name.decode('ascii')} is given twice")
            found[name] = value
        self._check_host(request, found.get(b"host"))
        self._check_target(request)
        self._check_framing(request, found)
        if self._parser.should_upgrade():
            request.upgrade = found.get(b"upgrade")

    def _check_line(self, request: Request) -> None:
        """httptools takes RTSP and ICE for HTTP, and any number of spaces for one. It says where nothing begins, so the line is looked for in the input."""
        line = b"%b %b HTTP/%b\r\n" % (request.method.encode("ascii"), request.target, request.version.encode("ascii"))
        if line not in (self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)):
            self._fail(400, "the request line is not a method, a target and HTTP/1.1 with one space between them")

    def _check_host(self, request: Request, host: bytes | None) -> None:
        if host is None:
            if request.version == "1.1":
                self._fail(400, "HTTP/1.1 wants a Host header")
        elif not _HOST.fullmatch(host):
            self._fail(400, "the Host header is no host")
        request.host = host

    def _check_target(self, request: Request) -> None:
        target = request.target
        if b"#" in target:
            self._fail(400, "a fragment does not belong into a request")
        if target.startswith(b"/"):
            request.path, _, request.query = target.partition(b"?")
        elif target == b"*" and request.method == "OPTIONS":
            request.path = target
        else:
            self._check_absolute(request)

    def _check_absolute(self, request: Request) -> None:
        try:
            url = httptools.parse_url(request.target)
        except httptools.HttpParserInvalidURLError:
            url = None
        if url is None or url.schema not in (b"http", b"https") or not url.host or url.userinfo:
            self._fail(400, "the target of the request is neither a path nor an http URL")
        request.path = url.path or b"/"
        request.query = url.query or b""
        # The target's host counts, whatever the Host header says.
        host = b"[%b]" % url.host if b":" in url.host else url.host
        request.host = host + (b":%d" % url.port if url.port else b"")

    def _check_framing(self, request: Request, found: dict[bytes, bytes]) -> None:
        coding = found.get(b"transfer-encoding")
        if coding is not None:
            if request.version == "1.0":
                self._fail(400, "HTTP/1.0 has no Transfer-Encoding")
            if coding.lower() != b"chunked":
                self._fail(501, "no Transfer-Encoding but chunked is understood")
            request.chunked = True
        length = found.get(b"content-length")
        if length is not None:
            request.content_length = int(length)
            if request.content_length > self.limits.body_bytes:
                self._fail(413, "the body is too large")
        expectation = found.get(b"expect")
        if expectation is not None and request.version == "1.1":
            if expectation.lower() != b"100-continue":
                self._fail(417, "no expectation but 100-continue is met")
            request.expects_continue = request.chunked or bool(request.content_length)


class _LastBody:
    """What a parser calls back that reads only the body of a request whose head is known, and that no other follows."""

    def __init__(self, reader: RequestReader) -> None:
        self.on_header = reader.on_header
        self.on_body = reader.on_body
        self._reader = reader

    def on_message_complete(self) -> None:
        self._reader.on_message_complete()
        self._reader.ended = True


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
        taken = bytes(body[:size])
        del body[:size]
        return taken


hide_frames(__file__)
