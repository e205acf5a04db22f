"""Requests that are malformed, smuggled or abusive, with the section of the RFC beside each and the answers that are right.

Most are after known attacks: request smuggling (Watchfire 2005; Kettle, "HTTP Desync Attacks" and what followed), the discrepancies that the HTTP Garden found
between servers, llhttp's lenient flags. A case is sent on a connection of its own or behind a good request, with another request behind it.

`Case.right` has the statuses of a right answer; CLOSED is in it where an end without an answer is right as well. A request that is refused must be the last on
its connection: no answer follows to what was behind it, and what it smuggled (``/evil``) is never seen. Where RFC 9112 leaves a server the choice (MAY,
SHOULD), each choice is right. A case that may be served says what its body must be then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CLOSED = 0
"""In `Case.right`: the connection was closed without an answer."""

GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"
BEHIND = b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n"
EVIL = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One wrong, or odd, request. ``rfc``: the section that says what is right, of RFC 9112 unless another is named."""

    name: str
    rfc: str
    data: bytes
    right: frozenset[int]
    body: bytes = b""
    """What the application must read, if the request may be served."""
    strict: bool = False
    """True if this server refuses it, though the RFC would let it be lenient."""
    cut: bool = False
    """True if the client half-closes behind it: nothing else can tell the server that no more comes."""
    before: bytes = GOOD
    """The good request that is sent before it."""


CASES: list[Case] = []

_section = ""


def _in(section: str) -> None:
    global _section
    _section = section


def _wrong(name: str, data: bytes, *right: int, body: bytes = b"", rfc: str = "", before: bytes = b"") -> None:
    """Must be refused: with 400, or one of ``right``; a bare end of the connection is right too."""
    CASES.append(Case(name, rfc or _section, data, frozenset((400, CLOSED, *right)), body, before=before or GOOD))


def _lenient(name: str, data: bytes, *right: int, body: bytes = b"", rfc: str = "") -> None:
    """May be read leniently by the RFC (a bare LF for a line end, any whitespace for a space, a fold); here it is refused."""
    CASES.append(Case(name, rfc or _section, data, frozenset((200, 400, CLOSED, *right)), body, strict=True))


def _either(name: str, data: bytes, *right: int, body: bytes = b"", rfc: str = "") -> None:
    """May be served or refused."""
    CASES.append(Case(name, rfc or _section, data, frozenset((200, 400, *right)), body))


def _fine(name: str, data: bytes, *right: int, body: bytes = b"", rfc: str = "") -> None:
    """Must be served, however odd it looks."""
    CASES.append(Case(name, rfc or _section, data, frozenset((200, *right)), body))


def _cut(name: str, data: bytes, *right: int, rfc: str = "") -> None:
    """Ends in the middle."""
    CASES.append(Case(name, rfc or _section, data, frozenset((400, CLOSED, *right)), cut=True))


def get(*lines: bytes, target: bytes = b"/case", version: bytes = b"HTTP/1.1", host: bytes | None = b"x") -> bytes:
    first = b"GET " + target + b" " + version
    return b"\r\n".join([first, *([b"Host: " + host] if host is not None else []), *lines]) + b"\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"POST /case " + version, b"Host: x", *lines]) + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


ABC = b"3\r\nabc\r\n"
LAST = b"0\r\n\r\n"

# -- 2.1 to 2.3: lines, and the version -----------------------------------------------------------------------------------------

_in("2.2")
_lenient("bare LF everywhere", b"GET /case HTTP/1.1\nHost: x\n\n")
_lenient("bare LF behind the request line", b"GET /case HTTP/1.1\nHost: x\r\n\r\n")
_lenient("bare LF behind a header", b"GET /case HTTP/1.1\r\nHost: x\nA: b\r\n\r\n")
_lenient("bare LF behind the last header", b"GET /case HTTP/1.1\r\nHost: x\n\r\n")
_lenient("bare LF in place of the empty line", b"GET /case HTTP/1.1\r\nHost: x\r\n\n")
_lenient("bare LF hides a header", get(b"A: b\nContent-Length: 33"), body=BEHIND)
_lenient("bare LF at the start of a header", get(b"\nA: b"))
_wrong("bare CR behind the request line", b"GET /case HTTP/1.1\rHost: x\r\n\r\n")
_lenient("bare CR behind a header", b"GET /case HTTP/1.1\r\nHost: x\rA: b\r\n\r\n")
_lenient("bare CR in a value", get(b"A: b\rc"))
_lenient("bare CR at the end of a value", get(b"A: b\r"))
_lenient("bare CR at the start of a value", get(b"A:\rb"))
_lenient("bare CR hides a header", get(b"A: b\rTransfer-Encoding: chunked"))
_wrong("bare CR in a name", get(b"A\rB: c"))
_lenient("bare CR in place of the empty line", b"GET /case HTTP/1.1\r\nHost: x\r\n\rA: b\r\n\r\n")
_wrong("bare CRs in place of all line ends", b"GET /case HTTP/1.1\rHost: x\r\r")
_lenient("CR CR LF behind a header", b"GET /case HTTP/1.1\r\nHost: x\r\r\n\r\n")
_lenient("CR CR LF in place of the empty line", b"GET /case HTTP/1.1\r\nHost: x\r\n\r\r\n")
_lenient("LF CR in place of CR LF", b"GET /case HTTP/1.1\n\rHost: x\n\r\n\r")
_wrong("NEL of EBCDIC's heirs as a line end", b"GET /case HTTP/1.1\x85Host: x\x85\x85\r\n\r\n")
_wrong("U+2028 as a line end", b"GET /case HTTP/1.1\xe2\x80\xa8Host: x\r\n\r\n")
_fine("an empty line before the request", b"\r\n" + get())
_either("several empty lines before the request", b"\r\n\r\n\r\n" + get(), CLOSED)
_lenient("bare LF before the request", b"\n" + get())
_wrong("bare CR before the request", b"\r" + get())
_wrong("bare CR and CR LF before the request", b"\r\r\n" + get())
_wrong("a space before the request", b" " + get())
_wrong("a tab before the request", b"\t" + get())
_wrong("a NUL before the request", b"\0" + get())
_wrong("a byte order mark before the request", b"\xef\xbb\xbf" + get())
_wrong("a form feed before the request", b"\x0c" + get())
_wrong("a space before the first header", b"GET /case HTTP/1.1\r\n Host: x\r\n\r\n")
_wrong("a tab before the first header", b"GET /case HTTP/1.1\r\n\tHost: x\r\n\r\n")
_lenient("a folded line before the first header", b"GET /case HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n")
_lenient("a blank line that is not empty before the headers", b"GET /case HTTP/1.1\r\n \r\nHost: x\r\n\r\n")

_in("2.3")
_wrong("HTTP/1.2", get(version=b"HTTP/1.2"), 200, 505)
_wrong("HTTP/1.9", get(version=b"HTTP/1.9"), 200, 505)
_wrong("HTTP/2.0", get(version=b"HTTP/2.0"), 505)
_wrong("HTTP/3.0", get(version=b"HTTP/3.0"), 505)
_wrong("HTTP/0.9 written out", get(version=b"HTTP/0.9"), 505)
_wrong("HTTP/9.9", get(version=b"HTTP/9.9"), 505)
_wrong("HTTP/1", get(version=b"HTTP/1"), 505)
_wrong("HTTP/2", get(version=b"HTTP/2"), 505)
_wrong("HTTP/1.", get(version=b"HTTP/1."), 505)
_wrong("HTTP/1.1.1", get(version=b"HTTP/1.1.1"), 505)
_wrong("HTTP/11", get(version=b"HTTP/11"), 505)
_wrong("HTTP/1.10", get(version=b"HTTP/1.10"), 505)
_wrong("HTTP/01.1", get(version=b"HTTP/01.1"), 505)
_wrong("HTTP/1.01", get(version=b"HTTP/1.01"), 505)
_wrong("HTTP/1,1", get(version=b"HTTP/1,1"), 505)
_wrong("HTTP/+1.1", get(version=b"HTTP/+1.1"), 505)
_wrong("HTTP/-1.1", get(version=b"HTTP/-1.1"), 505)
_wrong("HTTP/1.x", get(version=b"HTTP/1.x"), 505)
_wrong("HTTP/ 1.1", get(version=b"HTTP/ 1.1"), 505)
_wrong("HTTP /1.1", get(version=b"HTTP /1.1"), 505)
_wrong("HTTP 1.1", get(version=b"HTTP 1.1"), 505)
_wrong("http/1.1", get(version=b"http/1.1"), 505)
_wrong("Http/1.1", get(version=b"Http/1.1"), 505)
_wrong("HTTPS/1.1", get(version=b"HTTPS/1.1"), 505)
_wrong("HTTP\\1.1", get(version=b"HTTP\\1.1"), 505)
_wrong("a version in Arabic digits", get(version="HTTP/\u0661.\u0661".encode()), 505)
_wrong("RTSP", b"SETUP /case RTSP/1.0\r\nHost: x\r\n\r\n", 501, 505)
_wrong("RTSP with a method of HTTP", b"OPTIONS /case RTSP/1.0\r\nHost: x\r\n\r\n", 505)
_wrong("ICE", b"SOURCE /case ICE/1.0\r\nHost: x\r\n\r\n", 501, 505)
_wrong("SIP", b"OPTIONS sip:a@x SIP/2.0\r\nHost: x\r\n\r\n", 505)
_wrong("HTTP/0.9", b"GET /case\r\n\r\n", 505, rfc="A")
_wrong("HTTP/0.9 with headers", b"GET /case\r\nHost: x\r\n\r\n", 505, rfc="A")
_wrong("HTTP/0.9 with a space", b"GET /case \r\n\r\n", 505, rfc="A")

# -- 3: the request line --------------------------------------------------------------------------------------------------------

_in("3")
_lenient("two spaces before the target", b"GET  /case HTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("two spaces behind the target", b"GET /case  HTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("two spaces, and the right line in a header", b"GET  /case HTTP/1.1\r\nHost: x\r\nA: GET /case HTTP/1.1\r\n\r\n")
_lenient("a tab before the target", b"GET\t/case HTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("a tab behind the target", b"GET /case\tHTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("a vertical tab behind the target", b"GET /case\x0bHTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("a form feed behind the target", b"GET /case\x0cHTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("a bare CR behind the target", b"GET /case\rHTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("a no-break space behind the target", b"GET /case\xa0HTTP/1.1\r\nHost: x\r\n\r\n")
_lenient("a space behind the version", b"GET /case HTTP/1.1 \r\nHost: x\r\n\r\n")
_lenient("a tab behind the version", b"GET /case HTTP/1.1\t\r\nHost: x\r\n\r\n")
_wrong("words behind the version", b"GET /case HTTP/1.1 now\r\nHost: x\r\n\r\n")
_wrong("a second version", b"GET /case HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("a version in the target", b"GET /case HTTP/1.0 HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("no target", b"GET HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("no target, and its spaces", b"GET  HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("a method alone", b"GET\r\nHost: x\r\n\r\n")
_wrong("no method", b"/case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("no method, and its space", b" /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("garbage", b"garbage\r\n\r\n")
_wrong("bytes of no text", bytes(range(128, 256)) + b"\r\n\r\n")
_wrong("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 501, 505)
_wrong("a header in place of the request line", b"Host: x\r\n\r\n")
_wrong("an empty chunk in place of a request", LAST)
_wrong("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, rfc="9113 3.4")
_wrong("the preface of HTTP/2 and a frame", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 505, rfc="9113 3.4")
_wrong("TLS 1.2", bytes.fromhex("16030100c8010000c40303") + bytes(range(189)))
_wrong("TLS, the first bytes only", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
_wrong("SSL 2", bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"))
_wrong("SSH", b"SSH-2.0-OpenSSH_9.6\r\n")
_wrong("SMTP", b"EHLO x\r\n\r\n")
_wrong("SOCKS 5", b"\x05\x01\x00")
_wrong("a PROXY line of HAProxy", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get())
_wrong("a binary PROXY header", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2" + get())
_wrong("memcached", b"get key\r\n\r\n", 501)
_wrong("Redis", b"*1\r\n$4\r\nPING\r\n\r\n")

_in("9110 9.1")
_lenient("a method in lower case", b"get /case HTTP/1.1\r\nHost: x\r\n\r\n", 405, 501)
_lenient("a method in mixed case", b"Get /case HTTP/1.1\r\nHost: x\r\n\r\n", 405, 501)
_lenient("an unknown method", b"FETCH /case HTTP/1.1\r\nHost: x\r\n\r\n", 405, 501)
_lenient("a very long method", b"G" * 5000 + b" /case HTTP/1.1\r\nHost: x\r\n\r\n", 405, 414, 501)
_wrong("an endless method", b"G" * 100_000, 405, 414, 431, 501)
_wrong("a NUL in the method", b"GE\0T /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("a colon in the method", b"GET: /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("a slash in the method", b"GET/ /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("brackets around the method", b"(GET) /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("quotes around the method", b'"GET" /case HTTP/1.1\r\nHost: x\r\n\r\n')
_wrong("a letter beyond ASCII in the method", b"G\xc9T /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("a comma in the method", b"GET,POST /case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 405, 501, rfc="9110 9.3.6")
_wrong("CONNECT to a path", b"CONNECT /case HTTP/1.1\r\nHost: x\r\n\r\n", 405, 501, rfc="9110 9.3.6")
_wrong("CONNECT with a smuggled request", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + EVIL, 405, 501, rfc="9110 9.3.6")

_in("3.2")
_wrong("a space in the target", get(target=b"/ca se"))
_wrong("a tab in the target", get(target=b"/ca\tse"))
_wrong("a NUL in the target", get(target=b"/ca\0se"))
_wrong("a bell in the target", get(target=b"/ca\x07se"))
_wrong("an escape in the target", get(target=b"/ca\x1b[31mse"))
_wrong("a delete character in the target", get(target=b"/ca\x7fse"))
_wrong("a fragment in the target", get(target=b"/case#part"))
_wrong("a fragment in the query", get(target=b"/case?a#part"))
_wrong("a bare LF in the target", get(target=b"/ca\nse"))
_wrong("a bare CR in the target", get(target=b"/ca\rse"))
_either("Latin-1 in the target", get(target=b"/caf\xe9"))
_either("UTF-8 in the target", get(target="/café".encode()))
_either("UTF-8 in the query", get(target="/case?é".encode()))
_either("overlong UTF-8 in the target", get(target=b"/\xc0\xafcase"))
_either("quotes and angles in the target", get(target=b'/"<case>"'))
_either("a backslash in the path", get(target=b"/a\\..\\case"))
_either("braces and bars in the path", get(target=b"/{case}|^`"))
_fine("braces and bars in the query, as browsers send them", get(target=b"/case?{a}|^`\\"))
_fine("a percent sign in the query, as browsers send it", get(target=b"/case?100%"))
_either("half an escape in the path", get(target=b"/case%4"))
_either("a lone percent sign in the path", get(target=b"/case%"))
_either("no digits in an escape", get(target=b"/case%zz"))
_either("a signed escape", get(target=b"/case%+1"))
_either("an escape of IIS", get(target=b"/case%u0041"))
_either("an escaped NUL", get(target=b"/case%00"))
_either("an escaped line end", get(target=b"/case%0d%0aA:b"))
_either("an escaped slash", get(target=b"/a%2fcase"))
_either("escaped dots", get(target=b"/%2e%2e/case"))
_either("an escape twice", get(target=b"/%252e%252e/case"))
_either("dots that leave the root", get(target=b"/../../case"))
_either("two slashes at the start", get(target=b"//evil.test/case"))
_wrong("a target without a slash", get(target=b"case"))
_wrong("a query as the target", get(target=b"?case"))
_wrong("a backslash as the target", get(target=b"\\case"))
_wrong("dots as the target", get(target=b"../case"))
_wrong("an at sign as the target", get(target=b"@evil.test/case"))
_wrong("a target too long", get(target=b"/" + b"a" * 9000), 414)
_wrong("a target far too long", get(target=b"/" + b"a" * 300_000), 414)
_wrong("a target that never ends", b"GET /" + b"a" * 300_000, 414)
_wrong("a query too long", get(target=b"/?" + b"a" * 9000), 414)

_in("3.2.2")
_fine("a URL as the target", get(target=b"http://x/case"))
_fine("a URL and another Host: the URL counts", get(target=b"http://other/case"), 400)
_fine("a URL with its scheme in capitals", get(target=b"HTTP://x/case"))
_fine("a URL without a path", get(target=b"http://x"))
_fine("a URL with a query and no path", get(target=b"http://x?a"))
_fine("a URL with a port", get(target=b"http://x:8000/case"))
_fine("a URL of an IPv6 address", get(target=b"http://[::1]:8000/case", host=b"[::1]:8000"))
_wrong("a URL without a Host header", get(target=b"http://x/case", host=None))
_wrong("a URL of another scheme", get(target=b"ftp://x/case"), 421)
_wrong("a URL of a file", get(target=b"file:///etc/passwd"), 421)
_wrong("a URL of gopher", get(target=b"gopher://x:70/_case"), 421)
_wrong("a URL of a script", get(target=b"javascript:alert(1)"), 421)
_wrong("a URL without a host", get(target=b"http:///case"))
_wrong("a URL with nothing but a port", get(target=b"http://:80/case"))
_wrong("a URL with one slash", get(target=b"http:/case"))
_wrong("a URL with a colon only", get(target=b"http:case"))
_wrong("a URL with a user", get(target=b"http://me@x/case"), rfc="9110 4.2.4")
_wrong("a URL with a user and a password", get(target=b"http://me:pw@x/case"), rfc="9110 4.2.4")
_wrong("a URL with two at signs", get(target=b"http://x@y@z/case"), rfc="9110 4.2.4")
_wrong("a URL with a port of letters", get(target=b"http://x:http/case"))
_wrong("a URL with a port too large", get(target=b"http://x:99999/case"))
_wrong("a URL with a signed port", get(target=b"http://x:-1/case"))
_wrong("a URL with a space in its host", get(target=b"http://x y/case"))
_wrong("a URL with a backslash in its host", get(target=b"http://x\\@y/case"))
_wrong("a URL with a comma in its host", get(target=b"http://x,y/case"), 200)
_wrong("a URL with broken brackets", get(target=b"http://[::1/case"))
_wrong("a URL with an address of no kind", get(target=b"http://[::g]/case"))
_wrong("a URL with a fragment", get(target=b"http://x/case#part"))
_wrong("a URL whose host has a NUL", get(target=b"http://x\0y/case"))

_in("3.2.3")
_wrong("the authority form for GET", get(target=b"x:80"))
_wrong("the authority form for POST", b"POST x:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
_in("3.2.4")
_fine("the asterisk form for OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("the asterisk form for GET", get(target=b"*"))
_wrong("the asterisk form with a path", b"OPTIONS */case HTTP/1.1\r\nHost: x\r\n\r\n")
_wrong("two asterisks", b"OPTIONS ** HTTP/1.1\r\nHost: x\r\n\r\n")

# -- 3.2: Host ------------------------------------------------------------------------------------------------------------------

_in("3.2")
_wrong("no Host", get(host=None))
_wrong("two Hosts, the same", get(b"Host: x"))
_wrong("two Hosts, different", get(b"Host: y"))
_wrong("two Hosts in different cases", get(b"HOST: y"))
_wrong("an empty Host", get(host=b""), 200)
_wrong("a Host of spaces", get(host=b"   "), 200)
_wrong("a Host with a path", get(host=b"x/y"))
_wrong("a Host with a query", get(host=b"x?y"))
_wrong("a Host with a fragment", get(host=b"x#y"))
_wrong("a Host with a space", get(host=b"x y"))
_wrong("a Host with a tab", get(host=b"x\ty"))
_wrong("a Host with a user", get(host=b"me@x"))
_wrong("a Host that is a URL", get(host=b"http://x"))
_wrong("a Host with a backslash", get(host=b"x\\y"))
_wrong("a Host with a quote", get(host=b'x"y'))
_wrong("a Host with angle brackets", get(host=b"<x>"))
_wrong("a Host with a bar", get(host=b"x|y"))
_wrong("a Host beyond ASCII", get(host=b"caf\xe9"))
_wrong("a Host with a NUL", get(host=b"x\0y"))
_wrong("a Host with a port of letters", get(host=b"x:http"))
_wrong("a Host with a port of an attacker", get(host=b"x:80@evil.test"))
_wrong("a Host with two ports", get(host=b"x:80:81"))
_wrong("a Host with a signed port", get(host=b"x:+80"))
_wrong("a Host with a port too large", get(host=b"x:99999"), 200)
_wrong("a Host with only a port", get(host=b":80"), 200)
_wrong("a Host with broken brackets", get(host=b"[::1"))
_wrong("a Host with an address of no kind", get(host=b"[::g]"))
_wrong("a Host with words behind its brackets", get(host=b"[::1]x"))
_wrong("a Host with a bare IPv6 address", get(host=b"::1"))
_wrong("a list of Hosts", get(host=b"x, y"))
_wrong("a list of Hosts without a space", get(host=b"x,y"), 200)
_wrong("a Host with half an escape", get(host=b"x%4"))
_wrong("a folded Host", b"GET /case HTTP/1.1\r\nHost: x\r\n y\r\n\r\n")
_wrong("a Host with a space before its colon", b"GET /case HTTP/1.1\r\nHost : x\r\n\r\n")
_wrong("a Host far too long", get(host=b"x" * 70_000), 431)
_fine("a Host with an empty port", get(host=b"x:"), 400)
_fine("a Host of an IPv6 address", get(host=b"[::1]:80"))
_fine("spaces and tabs around a Host", get(host=b" \t x \t "))
_fine("no Host in HTTP/1.0", b"GET /case HTTP/1.0\r\n\r\n")

# -- 5: headers -----------------------------------------------------------------------------------------------------------------

_in("5.1")
_wrong("a space before the colon", get(b"A : b"))
_wrong("a tab before the colon", get(b"A\t: b"))
_wrong("a space before the colon of a length", post(b"Content-Length : 5", body=b"abcde"))
_wrong("a space before the colon of a coding", post(b"Transfer-Encoding : chunked", body=ABC + LAST))
_wrong("a vertical tab before the colon", post(b"Transfer-Encoding\x0b: chunked", body=ABC + LAST))
_wrong("a space in a name", get(b"A B: c"))
_lenient("a name that begins with a space", b"GET /case HTTP/1.1\r\nHost: x\r\nA: b\r\n C: d\r\n\r\n")
_wrong("an empty name", get(b": b"))
_wrong("nothing but a colon", get(b":"))
_wrong("no colon", get(b"A"))
_wrong("no colon, with words", get(b"A b"))
_wrong("no colon, the name of a length", post(b"Content-Length 5", body=b"abcde"))
_wrong("a NUL in a name", get(b"A\0: b"))
_wrong("a NUL before a name", get(b"\0Content-Length: 5"))
_wrong("a control character in a name", get(b"A\x01B: c"))
_wrong("a delete character in a name", get(b"A\x7f: b"))
_wrong("a letter beyond ASCII in a name", get(b"\xc9: b"))
_wrong("a no-break space behind a name", get(b"A\xa0: b"))
_wrong("a byte order mark before a name", get(b"\xef\xbb\xbfA: b"))
_wrong("a quote in a name", get(b'A"B: c'))
_wrong("brackets in a name", get(b"A(B): c"))
_wrong("a slash in a name", get(b"A/B: c"))
_wrong("an equals sign in a name", get(b"A=B: c"))
_wrong("a comma in a name", get(b"A,B: c"))
_wrong("a semicolon in a name", get(b"A;B: c"))
_wrong("an at sign in a name", get(b"A@B: c"))
_wrong("square brackets in a name", get(b"A[B]: c"))
_wrong("a backslash in a name", get(b"A\\B: c"))
_wrong("braces in a name", get(b"A{B}: c"))
_wrong("angle brackets in a name", get(b"<A>: c"))
_wrong("a question mark in a name", get(b"A?: c"))
_fine("every character that a name may have", get(b"!#$%&'*+-.^_`|~09azAZ: b"))
_fine("a colon at the start of a value", get(b"A:: b"))
_fine("no space behind the colon", get(b"A:b"))
_fine("an empty value", get(b"A:"))
_fine("a value of spaces", get(b"A:  \t "))
_fine("an underscore in a name", get(b"X_Forwarded_For: 1.2.3.4"), 400)
_either("the name of a length with an underscore", post(b"Content_Length: 5"))
_either("the name of a coding with an underscore", post(b"Transfer_Encoding: chunked"))

_in("5.2")
_lenient("a folded header", get(b"A: b", b" c"))
_lenient("a header folded by a tab", get(b"A: b", b"\tc"))
_lenient("an empty header that is folded", get(b"A:", b" b"))
_lenient("a folded length", post(b"Content-Length:", b" 5", body=b"abcde"), body=b"abcde")
_wrong("a length continued", post(b"Content-Length: 1", b" 0", body=b"a"))
_lenient("a folded coding", post(b"Transfer-Encoding:", b" chunked", body=ABC + LAST), body=b"abc")
_lenient("a coding folded by a tab", post(b"Transfer-Encoding:", b"\tchunked", body=ABC + LAST), body=b"abc")
_lenient("a coding in the fold of another header", post(b"A: b", b" Transfer-Encoding: chunked", body=ABC + LAST))
_lenient("a fold of nothing but a space", get(b"A: b", b" "))

_in("9110 5.5")
_lenient("a NUL in a value", get(b"A: b\0c"))
_lenient("a NUL at the end of a value", get(b"A: b\0"))
_lenient("a NUL at the start of a value", get(b"A:\0b"))
_either("a bell in a value", get(b"A: \x07"))
_either("a backspace in a value", get(b"A: b\x08"))
_either("a vertical tab in a value", get(b"A: b\x0bc"))
_either("a form feed in a value", get(b"A: b\x0cc"))
_either("an escape in a value", get(b"A: \x1b[2J"))
_either("a delete character in a value", get(b"A: b\x7f"))
_fine("a tab in a value", get(b"A: b\tc"))
_fine("Latin-1 in a value", get(b"A: caf\xe9"))
_fine("UTF-8 in a value", get("A: café".encode()))
_fine("quotes that never end in a value", get(b'A: "b'))

_in("6585 5")
_wrong("a header too large", get(b"A: " + b"a" * 70_000), 431)
_wrong("a header that never ends", b"GET /case HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 300_000, 431)
_wrong("a name that never ends", b"GET /case HTTP/1.1\r\nHost: x\r\n" + b"a" * 300_000, 431)
_wrong("spaces that never end", b"GET /case HTTP/1.1\r\nHost: x\r\nA:" + b" " * 300_000, 431)
_wrong("too many headers", get(*[b"A: b"] * 200), 431)
_wrong("far too many headers", get(*[b"A%d: b" % number for number in range(10_000)]), 431)
_wrong("headers that never end", b"GET /case HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 50_000, 431)
_lenient("headers too large together", get(*[b"A%d: %b" % (number, b"a" * 7000) for number in range(50)]), 431)
_wrong("empty lines that never end", b"\r\n" * 100_000, 408, 414, 431)
_either("colliding names", get(*[b"A: %d" % number for number in range(90)]))

# -- 6: framing -----------------------------------------------------------------------------------------------------------------

_in("9110 8.6")
for _name, _value in {
    "a plus sign": b"+5", "a minus sign": b"-5", "minus zero": b"-0", "hexadecimal": b"0x5", "an octal prefix": b"0o5", "an underscore": b"0_5",
    "a point": b"5.0", "an exponent": b"5e0", "a comma at its end": b"5,", "a comma at its start": b",5", "a list": b"5, 5", "a list without a space": b"5,5",
    "a list of different ones": b"5, 6", "a semicolon": b"5;", "quotes": b'"5"', "a letter": b"5a", "letters": b"five", "a space inside": b"5 5",
    "a tab inside": b"5\t5", "a vertical tab at its start": b"\x0b5", "a vertical tab at its end": b"5\x0b", "a form feed": b"\x0c5",
    "a no-break space": b"\xa05",
    "Arabic digits": "\u0665".encode(), "a superscript": b"\xb2", "a fullwidth digit": "\uff15".encode(), "nothing": b"", "spaces only": b"  ",
    "a NUL": b"5\0", "a bare CR": b"5\r", "a percent escape": b"%35", "a byte order mark": b"\xef\xbb\xbf5", "brackets": b"(5)", "a colon": b":5",
    "a plus at its end": b"5+", "NaN": b"nan", "infinity": b"inf",
}.items():  # fmt: skip
    _wrong(f"a length with {_name}", post(b"Content-Length: " + _value, body=b"abcde" + EVIL))
_wrong("a length beyond 64 bits", post(b"Content-Length: 18446744073709551621", body=b"abcde" + EVIL), 413)
_wrong("a length just below 64 bits", post(b"Content-Length: 18446744073709551615", body=b"abcde"), 413)
_wrong("a length beyond 32 bits, signed", post(b"Content-Length: 9223372036854775808", body=b"abcde"), 413)
_wrong("a length of a thousand digits", post(b"Content-Length: " + b"9" * 1000), 413)
_wrong("a length of ten thousand zeros", post(b"Content-Length: " + b"0" * 10_000 + b"5", body=b"abcde"), 200, 413, 431, body=b"abcde")
_wrong("a length beyond the limit", post(b"Content-Length: 1000000000000"), 413, rfc="9110 15.5.14")
_either("a length with leading zeros", post(b"Content-Length: 0005", body=b"abcde"), body=b"abcde")
_fine("a length with spaces and tabs around it", post(b"Content-Length: \t 5 \t", body=b"abcde"), body=b"abcde")
_fine("a length for GET", get(b"Content-Length: 5") + b"abcde", body=b"abcde")
_fine("a length of 0 for GET", get(b"Content-Length: 0"))
_fine("a smuggled request in the body of GET", get(b"Content-Length: %d" % len(EVIL)) + EVIL, body=EVIL)

_in("6.3")
_wrong("two lengths, different", post(b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef"))
_either("two lengths, the same", post(b"Content-Length: 5", b"Content-Length: 5", body=b"abcde"), body=b"abcde")
_wrong("two lengths, one with zeros", post(b"Content-Length: 5", b"Content-Length: 05", body=b"abcde"), 200, body=b"abcde")
_wrong("two lengths, 0 first", post(b"Content-Length: 0", b"Content-Length: %d" % len(EVIL), body=EVIL))
_wrong("two lengths, 0 last", post(b"Content-Length: %d" % len(EVIL), b"Content-Length: 0", body=EVIL))
_wrong("two lengths, the second signed", post(b"Content-Length: 5", b"Content-Length: +5", body=b"abcde"))
_wrong("two lengths, the second empty", post(b"Content-Length: 5", b"Content-Length:", body=b"abcde"))
_wrong("two lengths in different cases", post(b"Content-Length: 0", b"CONTENT-LENGTH: 33", body=EVIL))
_wrong("three lengths", post(b"Content-Length: 5", b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef"))

_in("6.1")
_CL = b"Content-Length: 5"
_TE = b"Transfer-Encoding: chunked"
_wrong("a length, then a coding", post(b"Content-Length: 4", _TE, body=b"0\r\n\r\n" + EVIL))
_wrong("a coding, then a length", post(_TE, b"Content-Length: 4", body=b"0\r\n\r\n" + EVIL))
_wrong("CL.TE", post(b"Content-Length: %d" % (len(EVIL) + 5), _TE, body=LAST + EVIL))
_wrong("TE.CL", post(_TE, b"Content-Length: 4", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL)))
_wrong("a length of 0 and a coding (CL.0)", post(b"Content-Length: 0", _TE, body=LAST))
_wrong("a bad length and a coding", post(b"Content-Length: x", _TE, body=LAST))
_wrong("a length and a coding that is identity", post(_CL, b"Transfer-Encoding: identity", body=b"abcde"), 501)
_wrong("a length and a coding in lower case", post(b"content-length: 4", b"transfer-encoding: chunked", body=LAST + EVIL))
_wrong("a length and a coding far apart", post(_CL, *[b"A%d: b" % number for number in range(50)], _TE, body=LAST + EVIL))
_wrong("a coding in HTTP/1.0", post(_TE, body=ABC + LAST, version=b"HTTP/1.0"))
_wrong("a coding in HTTP/1.0 that is kept alive", post(_TE, b"Connection: keep-alive", body=ABC + LAST, version=b"HTTP/1.0"))
_wrong("a coding and a length in HTTP/1.0", post(_TE, _CL, body=LAST + EVIL, version=b"HTTP/1.0"))
_wrong("a coding that is identity in HTTP/1.0", post(b"Transfer-Encoding: identity", version=b"HTTP/1.0"), 501)
_wrong("a coding twice", post(_TE, _TE, body=ABC + LAST))
_wrong("a coding and identity", post(_TE, b"Transfer-Encoding: identity", body=ABC + LAST), 501)
_wrong("identity and a coding", post(b"Transfer-Encoding: identity", _TE, body=ABC + LAST), 501)
_wrong("a coding and an unknown one", post(_TE, b"Transfer-Encoding: cow", body=ABC + LAST), 501)
_wrong("a coding and an empty one", post(_TE, b"Transfer-Encoding:", body=ABC + LAST), 501)
_wrong("a coding twice in different cases", post(_TE, b"TRANSFER-ENCODING: chunked", body=ABC + LAST))
_fine("a coding in capitals", post(b"TRANSFER-ENCODING: CHUNKED", body=ABC + LAST), 501, body=b"abc")
_fine("a coding in mixed case", post(b"Transfer-Encoding: cHuNkEd", body=ABC + LAST), 501, body=b"abc")
_fine("a coding without a space before it", post(b"Transfer-Encoding:chunked", body=ABC + LAST), body=b"abc")
_fine("a coding with spaces and tabs around it", post(b"Transfer-Encoding: \t chunked \t", body=ABC + LAST), 400, body=b"abc")
for _name, _value in {
    "identity": b"identity", "two, identity last": b"chunked, identity", "two, identity first": b"identity, chunked", "chunked twice": b"chunked, chunked",
    "chunked twice without a space": b"chunked,chunked", "gzip": b"gzip", "gzip and chunked": b"gzip, chunked", "chunked and gzip": b"chunked, gzip",
    "a comma at its end": b"chunked,", "a comma at its start": b",chunked", "commas around it": b", chunked ,", "a comma alone": b",",
    "a semicolon": b"chunked;", "a parameter": b"chunked;a=b", "a parameter in quotes": b'chunked;a="b"', "quotes": b'"chunked"', "single quotes": b"'chunked'",
    "brackets": b"(chunked)", "an x before it": b"xchunked", "an x behind it": b"chunkedx", "a space inside": b"chu nked", "a hyphen": b"chun-ked",
    "a vertical tab before it": b"\x0bchunked", "a vertical tab behind it": b"chunked\x0b", "a form feed before it": b"\x0cchunked",
    "a NUL before it": b"\0chunked",
    "a NUL behind it": b"chunked\0", "a NUL and words": b"chunked\0x", "a bare CR before it": b"\rchunked", "a bare CR behind it": b"chunked\r",
    "a no-break space": b"\xa0chunked", "a byte order mark": b"\xef\xbb\xbfchunked", "a delete character": b"chunked\x7f", "a backspace": b"chunkedx\x08",
    "an escape": b"%63hunked", "an underscore": b"_chunked", "a long s": "\u017fchunked".encode(), "a Kelvin sign for its k": "chun\u212aed".encode(),
    "nothing": b"", "spaces only": b"  ", "a colon": b": chunked", "a slash": b"chunked/1", "two words": b"chunked chunked", "a word before it": b"x chunked",
    "a tab between two": b"identity\tchunked", "deflate": b"deflate", "compress": b"compress", "trailers": b"trailers", "an unknown one": b"cow",
    "an unknown one and chunked": b"cow, chunked", "braces": b"{chunked}", "a line of text": b"chunked\\r\\n",
}.items():  # fmt: skip
    _wrong(f"a coding: {_name}", post(b"Transfer-Encoding: " + _value, body=ABC + LAST), 501)
    if _value not in (b"", b"  "):
        _wrong(f"a length and a coding: {_name}", post(_CL, b"Transfer-Encoding: " + _value, body=LAST + EVIL), 501)
_lenient("a coding behind a bare LF", post(b"A: b\nTransfer-Encoding: chunked", body=ABC + LAST), body=b"abc", rfc="2.2")
_lenient("a coding behind a bare CR", post(b"A: b\rTransfer-Encoding: chunked", body=ABC + LAST), rfc="2.2")
_lenient("a coding behind an escape and CR", post(b"A: b\x1b\rTransfer-Encoding: chunked", body=ABC + LAST), rfc="2.2")
_lenient("a coding behind a quote and a bare LF", post(b'A: "b\nTransfer-Encoding: chunked', body=ABC + LAST), body=b"abc", rfc="2.2")
_wrong("the name of a coding with a NUL", post(b"Transfer-Encoding\0: chunked", body=ABC + LAST), rfc="5.1")
_wrong("the name of a coding with a space in it", post(b"Transfer Encoding: chunked", body=ABC + LAST), rfc="5.1")
_wrong("the name of a coding behind a space", post(b" Transfer-Encoding: chunked", body=ABC + LAST), rfc="5.1")
_wrong("the name of a coding behind a vertical tab", post(b"\x0bTransfer-Encoding: chunked", body=ABC + LAST), rfc="5.1")
_lenient("the name of a coding behind a tab", post(b"A: b", b"\tTransfer-Encoding: chunked", body=ABC + LAST), rfc="5.2")
_either("a coding that Connection names", post(_TE, b"Connection: Transfer-Encoding", body=ABC + LAST), body=b"abc")
_either("a length that Connection names", post(_CL, b"Connection: Content-Length", body=b"abcde"), body=b"abcde")
_fine("TE is not Transfer-Encoding", post(b"TE: chunked", _CL, body=b"abcde"), body=b"abcde", rfc="9110 10.1.4")
_fine("a coding for GET", get(_TE) + ABC + LAST, body=b"abc")

# -- 7.1: chunks ----------------------------------------------------------------------------------------------------------------

_in("7.1")
for _name, _size in {
    "a minus sign": b"-3", "a plus sign": b"+3", "minus zero": b"-0", "0x": b"0x3", "0X": b"0X3", "an underscore": b"0_3", "an underscore before it": b"_3",
    "a space before it": b" 3", "a tab before it": b"\t3", "a space behind it": b"3 ", "a tab behind it": b"3\t", "spaces around it": b" 3 ",
    "a space inside": b"0 3",
    "a vertical tab before it": b"\x0b3", "a vertical tab behind it": b"3\x0b", "a NUL before it": b"\x003", "a NUL behind it": b"3\0", "a point": b"3.0",
    "an exponent": b"3e", "a letter": b"3g", "an h": b"3h", "letters": b"three", "nothing": b"", "a comma": b"3,", "a colon": b"3:", "quotes": b'"3"',
    "brackets": b"(3)", "Arabic digits": "\u0663".encode(), "a fullwidth digit": "\uff13".encode(), "a bare CR": b"3\r", "a delete character": b"3\x7f",
    "a byte beyond ASCII": b"3\xff", "an equals sign": b"3=", "a semicolon before it": b";3",
}.items():  # fmt: skip
    if _size != b"3e":
        _wrong(f"a chunk size with {_name}", chunked(_size + b"\r\nabc\r\n" + LAST))
_wrong("a chunk size beyond 64 bits", chunked(b"10000000000000003\r\nabc\r\n" + LAST), 413)
_wrong("a chunk size of 64 bits", chunked(b"fffffffffffffffd\r\nabc\r\n" + LAST), 413)
_wrong("a chunk size of 63 bits", chunked(b"8000000000000003\r\nabc\r\n" + LAST), 413)
_wrong("a chunk size beyond 32 bits", chunked(b"100000003\r\nabc\r\n" + LAST), 413)
_wrong("a chunk size of a thousand digits", chunked(b"f" * 1000 + b"\r\nabc\r\n" + LAST), 413)
_either("a chunk size of a thousand zeros", chunked(b"0" * 1000 + b"3\r\nabc\r\n" + LAST), 413, CLOSED, body=b"abc")
_wrong("a chunk size of zeros that never ends", chunked(b"0" * 300_000), 413, 431)
_fine("a chunk size with a leading zero", chunked(b"03\r\nabc\r\n" + LAST), body=b"abc")
_fine("a chunk size in small letters", chunked(b"a\r\nabcdefghij\r\n" + LAST), body=b"abcdefghij")
_fine("a chunk size in capitals", chunked(b"A\r\nabcdefghij\r\n" + LAST), body=b"abcdefghij")
_fine("a last chunk of several zeros", chunked(ABC + b"000\r\n\r\n"), body=b"abc")
_wrong("a last chunk with a sign", chunked(ABC + b"-0\r\n\r\n"))
_wrong("a chunk longer than its size", chunked(b"3\r\nabcd\r\n" + LAST))
_wrong("a chunk shorter than its size", chunked(b"4\r\nabc\r\n" + LAST))
_wrong("no line end behind a chunk", chunked(b"3\r\nabc" + LAST))
_wrong("a bare LF behind a chunk", chunked(b"3\r\nabc\n" + LAST))
_wrong("a bare CR behind a chunk", chunked(b"3\r\nabc\r" + LAST))
_wrong("two bytes of anything behind a chunk", chunked(b"3\r\nabcxx" + LAST))
_wrong("LF CR behind a chunk", chunked(b"3\r\nabc\n\r" + LAST))
_wrong("a bare LF behind a size", chunked(b"3\nabc\r\n" + LAST))
_wrong("a bare CR behind a size", chunked(b"3\rabc\r\n" + LAST))
_wrong("CR CR LF behind a size", chunked(b"3\r\r\nabc\r\n" + LAST))
_wrong("CR and another byte behind a size", chunked(b"3\rXabc\r\n" + LAST))
_wrong("an empty line before a size", chunked(b"\r\n3\r\nabc\r\n" + LAST))
_wrong("an empty line between chunks", chunked(ABC + b"\r\n" + LAST))
_wrong("a bare LF behind the last size", chunked(ABC + b"0\n\r\n"))
_wrong("a bare LF in place of the last line", chunked(ABC + b"0\r\n\n"))
_wrong("a bare CR in place of the last line", chunked(ABC + b"0\r\n\rX"))
_wrong("bare LFs at the end", chunked(ABC + b"0\n\n"))
_wrong("bare LFs everywhere", chunked(b"3\nabc\n0\n\n"))
_wrong("a body that is not in chunks", chunked(b"abcdefgh\r\n\r\n" + EVIL))
_wrong("a request in place of chunks", chunked(EVIL))
_wrong("a second chunk of garbage", chunked(ABC + b"zzz\r\n" + LAST))
_wrong("chunks beyond the limit", chunked(b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"7fffffff\r\n"), 413, rfc="9110 15.5.14")
_fine("a smuggled request in a chunk", chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL)), body=EVIL)
_fine("a last chunk inside of a chunk", chunked(b"5\r\n0\r\n\r\n\r\n" + LAST), body=b"0\r\n\r\n")

_in("7.1.1")
_fine("an extension", chunked(b"3;a\r\nabc\r\n" + LAST), body=b"abc")
_fine("an extension with a value", chunked(b"3;a=b\r\nabc\r\n" + LAST), body=b"abc")
_fine("an extension with a value in quotes", chunked(b'3;a="b c;d\\"e"\r\nabc\r\n' + LAST), body=b"abc")
_fine("two extensions", chunked(b"3;a=b;c\r\nabc\r\n" + LAST), body=b"abc")
_fine("an extension of the last chunk", chunked(ABC + b"0;a=b\r\n\r\n"), body=b"abc")
_either("a space before an extension", chunked(b"3 ;a=b\r\nabc\r\n" + LAST), body=b"abc")
_either("spaces in an extension", chunked(b"3; a = b\r\nabc\r\n" + LAST), body=b"abc")
_wrong("an extension without a name", chunked(b"3;\r\nabc\r\n" + LAST), 200, body=b"abc")
_wrong("an extension without a name, with a value", chunked(b"3;=b\r\nabc\r\n" + LAST), 200, body=b"abc")
_wrong("two semicolons", chunked(b"3;;a\r\nabc\r\n" + LAST), 200, body=b"abc")
_wrong("an extension without a semicolon", chunked(b"3 a\r\nabc\r\n" + LAST))
_wrong("an extension with a NUL", chunked(b"3;a\0\r\nabc\r\n" + LAST))
_wrong("an extension with a control character", chunked(b"3;a\x01\r\nabc\r\n" + LAST), 200, body=b"abc")
_wrong("an extension with a bare LF", chunked(b"3;a\nabc\r\n" + LAST))
_wrong("an extension with a bare LF, TERM.EXT", chunked(b"2;\nxx\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL)))
_wrong("an extension with a bare CR", chunked(b"3;a\rb\r\nabc\r\n" + LAST))
_wrong("an extension with a bare CR at its end", chunked(b"3;a\r\r\nabc\r\n" + LAST))
_wrong("an extension with a bare LF in quotes", chunked(b'3;a="\n"\r\nabc\r\n' + LAST))
_wrong("an extension with a line end in quotes", chunked(b'3;a="\r\n"\r\nabc\r\n' + LAST))
_wrong("an extension whose quotes never end", chunked(b'3;a="b\r\nabc\r\n' + LAST), 200, body=b"abc")
_wrong("an extension that is too long", chunked(b"3;" + b"a" * 300_000 + b"\r\nabc\r\n" + LAST), 413, 431)
_wrong("an extension that never ends", chunked(b"3;a=" + b"a" * 300_000), 413, 431)
_lenient("extensions that are too long together", chunked(b"".join(b"1;%b\r\na\r\n" % (b"a" * 1000) for _ in range(500)) + LAST), 413, 431, body=b"a" * 500)

_in("7.1.2")
_fine("a trailer", chunked(ABC + b"0\r\nA: b\r\n\r\n"), body=b"abc")
_either("a trailer that is a Host", chunked(ABC + b"0\r\nHost: evil\r\n\r\n"), body=b"abc", rfc="9110 6.5.1")
_either("a trailer that is a length", chunked(ABC + b"0\r\nContent-Length: 5\r\n\r\n"), body=b"abc", rfc="9110 6.5.1")
_either("a trailer that is a coding", chunked(ABC + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), body=b"abc", rfc="9110 6.5.1")
_either("a trailer that is a Connection", chunked(ABC + b"0\r\nConnection: close\r\n\r\n"), body=b"abc", rfc="9110 6.5.1")
_either("a trailer that is a Cookie", chunked(ABC + b"0\r\nCookie: a=b\r\n\r\n"), body=b"abc", rfc="9110 6.5.1")
_either("a trailer that is a request for a protocol", chunked(ABC + b"0\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), body=b"abc", rfc="9110 6.5.1")
_wrong("a trailer with a space before the colon", chunked(ABC + b"0\r\nA : b\r\n\r\n"), rfc="5.1")
_wrong("a trailer without a name", chunked(ABC + b"0\r\n: b\r\n\r\n"), rfc="5.1")
_wrong("a trailer without a colon", chunked(ABC + b"0\r\nA\r\n\r\n"), rfc="5.1")
_lenient("a trailer with a NUL", chunked(ABC + b"0\r\nA: \0\r\n\r\n"), body=b"abc", rfc="9110 5.5")
_lenient("a folded trailer", chunked(ABC + b"0\r\nA: b\r\n c\r\n\r\n"), body=b"abc", rfc="5.2")
_wrong("a trailer that begins with a space", chunked(ABC + b"0\r\n A: b\r\n\r\n"), rfc="5.2")
_lenient("a trailer with a bare LF", chunked(ABC + b"0\r\nA: b\n\r\n"), body=b"abc", rfc="2.2")
_lenient("a trailer with a bare CR", chunked(ABC + b"0\r\nA: b\rc\r\n\r\n"), body=b"abc", rfc="2.2")
_lenient("a trailer with a bare LF that hides the end", chunked(ABC + b"0\r\nA: b\n\n" + EVIL), body=b"abc", rfc="2.2")
_wrong("a request in place of the trailers", chunked(ABC + b"0\r\n" + EVIL), rfc="7.1.2")
_wrong("a trailer that is too large", chunked(ABC + b"0\r\nA: " + b"a" * 300_000 + b"\r\n\r\n"), 413, 431)
_wrong("a trailer that never ends", chunked(ABC + b"0\r\nA: " + b"a" * 300_000), 413, 431)
_wrong("trailers that never end", chunked(ABC + b"0\r\n" + b"A: b\r\n" * 50_000), 413, 431)
_either("too many trailers", chunked(ABC + b"0\r\n" + b"A: b\r\n" * 500 + b"\r\n"), 413, 431, CLOSED, body=b"abc")

# -- 8, 9: messages that are cut short, and connections -------------------------------------------------------------------------

_in("8")
_cut("the client leaves in the method", b"GE")
_cut("the client leaves in the target", b"GET /ca")
_cut("the client leaves in the version", b"GET /case HTTP/1.")
_cut("the client leaves behind the request line", b"GET /case HTTP/1.1\r\n")
_cut("the client leaves in a header", b"GET /case HTTP/1.1\r\nHost")
_cut("the client leaves before the empty line", b"GET /case HTTP/1.1\r\nHost: x\r\n")
_cut("the client leaves in the empty line", b"GET /case HTTP/1.1\r\nHost: x\r\n\r")
_cut("the client leaves before a body", post(b"Content-Length: 10"))
_cut("the client leaves in a body", post(b"Content-Length: 10", body=b"abc"))
_cut("the client leaves before the first chunk", chunked(b""))
_cut("the client leaves in a size", chunked(b"3"))
_cut("the client leaves in an extension", chunked(b"3;a"))
_cut("the client leaves in a chunk", chunked(b"3\r\na"))
_cut("the client leaves behind a chunk", chunked(ABC))
_cut("the client leaves before the last line", chunked(ABC + b"0\r\n"))
_cut("the client leaves in a trailer", chunked(ABC + b"0\r\nA: b"))

_in("9.3")
_either("Connection: close, and more", get(b"Connection: close"))
_either("Connection: close, with others", get(b"Connection: a, Close , b"))
_either("two Connections", get(b"Connection: keep-alive", b"Connection: close"))
_either("a Connection that names Host", get(b"Connection: Host"))
_either("an empty Connection", get(b"Connection:"))
_either("a Connection of junk", get(b"Connection: ,,;=@ ,"))
_fine("HTTP/1.0 that is kept alive, and another request", b"GET /case HTTP/1.0\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n")

_in("9.3.2")
_POST = b"POST /good HTTP/1.1\r\nHost: x\r\n"
_BEFORE = {
    "a body": _POST + b"Content-Length: 5\r\n\r\nabcde",
    "chunks": _POST + b"Transfer-Encoding: chunked\r\n\r\n" + ABC + LAST,
    "trailers": _POST + b"Transfer-Encoding: chunked\r\n\r\n" + ABC + b"0\r\nA: b\r\n\r\n",
    "HTTP/1.0 that is kept alive": b"GET /good HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "a request without a body": _POST + b"Content-Length: 0\r\n\r\n",
}
for _name, _before in _BEFORE.items():
    _wrong(f"pipelined behind {_name}: bytes that are no request", b"abcde\r\n\r\n", before=_before)
    _wrong(f"pipelined behind {_name}: one byte too many", b"x" + get(), 200, 405, 501, before=_before)
    _wrong(f"pipelined behind {_name}: NULs", b"\0" * 64, before=_before)
    _wrong(f"pipelined behind {_name}: a chunk", ABC + LAST, before=_before)
    _wrong(f"pipelined behind {_name}: TLS", bytes.fromhex("16030100c8010000c40303") + bytes(range(189)), before=_before)
    _wrong(f"pipelined behind {_name}: the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, before=_before)
    _wrong(f"pipelined behind {_name}: a length and a coding", post(_CL, _TE, body=LAST + EVIL), before=_before)
_cut_names = {"half a request": b"GET /case HT", "half a body": post(_CL, body=b"ab"), "half a chunk": post(_TE, body=b"5\r\nab")}
for _name, _data in _cut_names.items():
    _cut(f"pipelined, and a half-close: {_name}", _data)

# -- RFC 9110 10.1.1 and 7.8: Expect and Upgrade ---------------------------------------------------------------------------------

_in("9110 10.1.1")
_wrong("an unknown expectation", post(b"Expect: miracles", b"Content-Length: 0"), 200, 417)
_wrong("an unknown expectation and a body", post(b"Expect: miracles", _CL, body=b"abcde"), 417)
_wrong("an expectation with words behind it", post(b"Expect: 100-continuexx", _CL, body=b"abcde"), 417)
_wrong("an empty expectation", post(b"Expect:", b"Content-Length: 0"), 200, 417)
_either("an expectation twice", post(b"Expect: 100-continue", b"Expect: 100-continue", _CL, body=b"abcde"), 100, 417, body=b"abcde")
_either("an expectation in capitals", post(b"Expect: 100-CONTINUE", _CL, body=b"abcde"), 100, body=b"abcde")
_either("an expectation and its body at once", post(b"Expect: 100-continue", _CL, body=b"abcde"), 100, body=b"abcde")
_either("an expectation without a body", get(b"Expect: 100-continue"), 100, 417)
_either("an expectation and a smuggled request (0.CL)", post(b"Expect: 100-continue", b"Content-Length: %d" % len(EVIL), body=EVIL), 100, body=EVIL)
_either("an obfuscated expectation (Kettle 2025)", post(b"Expect: y 100-continue", _CL, body=b"abcde"), 417, body=b"abcde")
_either("an expectation behind a line of its own (Kettle 2025)", post(b"Expect:", b"\t100-continue", _CL, body=b"abcde"), 417, body=b"abcde")
_either("an expectation in HTTP/1.0", post(b"Expect: 100-continue", _CL, body=b"abcde", version=b"HTTP/1.0"), body=b"abcde")

_in("9110 7.8")
_fine("an offer of HTTP/2", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), 101)
_fine("an offer of a WebSocket", get(b"Connection: Upgrade", b"Upgrade: websocket"), 101, 400, 426)
_fine("an offer without Connection", get(b"Upgrade: h2c"))
_fine("an offer of nothing", get(b"Connection: Upgrade"))
_either("an offer of junk", get(b"Connection: Upgrade", b"Upgrade: ,;/=@"))
_fine("an offer in HTTP/1.0", b"GET /case HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
_fine("an offer and a body", post(b"Connection: Upgrade", b"Upgrade: h2c", _CL, body=b"abcde"), body=b"abcde")
_fine("an offer and chunks", post(b"Connection: Upgrade", b"Upgrade: h2c", _TE, body=ABC + LAST), body=b"abc")
_wrong("an offer, a length and a coding", post(b"Connection: Upgrade", b"Upgrade: h2c", _CL, _TE, body=LAST + EVIL))
_wrong("an offer and a bad chunk", post(b"Connection: Upgrade", b"Upgrade: h2c", _TE, body=b"zz\r\n" + EVIL))
_either("an offer and a smuggled request", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777"), 101, 426)


def _check() -> None:
    names = [case.name for case in CASES]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"two cases have one name: {twice}"


_check()


def sent_whole_and_in_pieces(case: Case, most: int = 1000) -> Iterator[list[bytes]]:
    """How a case is sent: at once, and byte by byte if it is short."""
    yield [case.data]
    if len(case.data) <= most:
        yield [case.data[index : index + 1] for index in range(len(case.data))]
