"""Inputs made from the corpus by mutation, and what must hold for every one of them.

The fuzz is guided by coverage: an input that has the reader go from one line to another that no input had it go to before is kept, and mutated in its turn.
``python tests/plugins/http_fuzz.py [inputs [seed]]`` runs it, and writes those that are worth keeping into http_corpus/interesting.txt, which the ordinary
tests replay; the fuzz begins with them.
"""

from __future__ import annotations

import ast
import random
import re
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import httptools

from coop_plugins.wsgi import Limits, _request
from coop_plugins.wsgi._request import Request, RequestReader

KEPT = Path(__file__).resolve().parent / "http_corpus" / "interesting.txt"
LIMITS = Limits(request_line=300, header_bytes=600, header_count=12, body_bytes=600)  # small, so that short inputs meet them
LONGEST = 1500
HELD_MOST = max(LIMITS.request_line + LIMITS.header_bytes, _request._SIZE_LINE_MOST) + 100

PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x7f", b"\xff", b"\xa0", b":", b";", b",", b"=", b'"', b"\\", b"%", b"#", b"?", b"/",
    b"*", b"@", b"\r\n\r\n", b"\n\n", b"\r\n ", b"0\r\n\r\n", b"3\r\nabc\r\n", b"0", b"00", b"-", b"+", b"0x", b"ffffffffffffffff", b"chunked", b"identity",
    b"gzip, ",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", b"GET ", b"POST ", b"OPTIONS ", b"http://x", b"[::1]", b"Host: x\r\n",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Expect: 100-continue\r\n", b"A: b\r\n", b"A" * 350, b"A: b\r\n" * 13, b"a" * 700, b"abc", b"\xc3\xa9",
]  # fmt: skip


def mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    """An input of the pool, changed in a few places."""
    data = rng.choice(pool)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        data = rng.choice(_CHANGES)(rng, data, pool)
    return data[:LONGEST]


def _insert(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(PIECES) + data[at:]


def _replace(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(PIECES) + data[at + rng.randint(1, 4) :]


def _remove(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, rng.choice((1, 2, 8, 40))) :]


def _any_byte(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + rng.randint(0, 1) :]


def _lines(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    """Doubles, moves or drops a line."""
    lines = data.split(b"\r\n")
    line = lines[rng.randrange(len(lines))]
    how = rng.randrange(3)
    if how:
        lines.remove(line)
    if how < 2:
        lines.insert(rng.randint(0, len(lines)), line)
    return b"\r\n".join(lines)


def _splice(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    other = rng.choice(pool)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _behind(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    return data + rng.choice(pool)


def _case(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at : at + 12].swapcase() + data[at + 12 :]


_CHANGES: list[Callable[[random.Random, bytes, list[bytes]], bytes]] = [_insert, _replace, _remove, _any_byte, _lines, _splice, _behind, _case]


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The input in pieces: single bytes, or of random sizes."""
    if rng.random() < 0.1:
        return [data[index : index + 1] for index in range(len(data))]
    marks = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((1, 2, 3, 8))))
    return [piece for start, end in zip([0, *marks], [*marks, len(data)], strict=True) if (piece := data[start:end])]


# -- what must hold -----------------------------------------------------------------------------------------------------


class Wrong(AssertionError):
    """An input for which something does not hold."""


def read(pieces: Iterable[bytes]) -> tuple[list[Request], RequestReader]:
    """All requests of an input, as a connection reads them."""
    reader = RequestReader(LIMITS)
    requests: list[Request] = []
    for piece in [*pieces, b""]:
        reader.feed(piece)
        if len(reader.unread) > HELD_MOST + len(piece) and reader.take() is None:
            raise Wrong(f"{len(reader.unread)} bytes are held")
        while (request := reader.take()) is not None:
            requests.append(request)
            if request.received > LIMITS.body_bytes:
                raise Wrong("a body is too large")
    return requests, reader


def told(requests: list[Request], reader: RequestReader) -> list[Any]:
    seen = [(each.line, each.host, each.headers, bytes(each.body), each.complete, each.keep_alive, each.upgrade) for each in requests]
    return [seen, reader.failure is None, reader.ended]


class _Llhttp:
    """What httptools makes of a whole input."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[list[Any]] = []
        self.error: Exception | None = None
        parser = httptools.HttpRequestParser(self)
        self._parser = parser
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.error = error

    def on_message_begin(self) -> None:
        self.requests.append([b"", b"", b"", False])

    def on_url(self, piece: bytes) -> None:
        self.requests[-1][1] += piece

    def on_headers_complete(self) -> None:
        self.requests[-1][0] = self._parser.get_method()

    def on_body(self, piece: bytes) -> None:
        self.requests[-1][2] += piece

    def on_message_complete(self) -> None:
        self.requests[-1][3] = True


# Where llhttp stops, and RFC 9112 doesn't: spaces in the extension of a chunk, a tab behind a coding, and what a trailer says about the connection.
_SPACED = re.compile(rb"[ \t][;=]|[;=][ \t]|(?i:chunked) *\t")


@cache
def _llhttp_knows(method: str, protocol: str) -> bool:
    """Whether it reads requests with such a first line at all: it has a list of methods and of versions."""
    return _Llhttp(f"{method} / {protocol}\r\nHost: x\r\n\r\n".encode()).error is None


def check_reader(rng: random.Random, data: bytes) -> None:
    """Raises Wrong unless the reader reads the input as it must."""
    requests, reader = read([data])
    expected = told(requests, reader)
    if told(*read(cut(rng, data))) != expected:
        raise Wrong("cut into pieces it is read in another way")
    if any(request.complete is False for request in requests[:-1]):
        raise Wrong("a request was handed out behind one that is not complete")
    if any(request.complete is False for request in requests[-1:]) and reader.failure is None:
        raise Wrong("a body was cut short, and nothing said so")
    if any(request.fields.upgrade is not None for request in requests):
        return  # llhttp stops there, in HTTP/1.0 as well
    if any(not request.keep_alive for request in requests[:-1]):
        return  # llhttp stops there; the connection does, too
    other = _Llhttp(data)
    theirs = [tuple(request[:3]) for request in other.requests if request[3]]
    ours = [(each.method.encode(), each.target, bytes(each.body)) for each in requests if each.complete]
    stops_early = theirs == ours[: len(theirs)] and (_SPACED.search(data) or b"connection" in data.lower())
    unknown = theirs == ours[: len(theirs)] and len(theirs) < len(ours) and not _llhttp_knows(requests[len(theirs)].method, requests[len(theirs)].protocol)
    if theirs[: len(ours)] != ours and not stops_early and not unknown:
        raise Wrong(f"llhttp reads other requests: {theirs}, not {ours}")


# -- coverage -----------------------------------------------------------------------------------------------------------


def edges_of(call: Callable[[], object]) -> set[tuple[int, int]]:
    """Which lines of the reader follow on which, in a call."""
    code_of_reader = _request.__file__
    seen: set[tuple[int, int]] = set()
    last = 0

    def in_frame(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal last
        if event == "line":
            seen.add((last, frame.f_lineno))
            last = frame.f_lineno
        return in_frame

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        return in_frame if frame.f_code.co_filename == code_of_reader else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        call()
    finally:
        sys.settrace(before)
    return seen


def kept() -> list[bytes]:
    """The inputs that earlier runs found worth keeping."""
    return [ast.literal_eval(line) for line in KEPT.read_text().splitlines() if line] if KEPT.exists() else []


def _cases() -> list[bytes]:
    if __package__:
        from .http_corpus import CASES
    else:
        from http_corpus import CASES
    return [case.data for case in CASES if len(case.data) <= LONGEST]


def fuzz(inputs: int, seed: str, check: Callable[[random.Random, bytes], None] = check_reader, guided: bool = True) -> list[bytes]:
    """Check so many inputs. Returns those that reached something new. Raises Wrong, with the input."""
    rng = random.Random(seed)
    pool = [*_cases(), *kept()]
    known: set[tuple[int, int]] = set()
    for data in pool:
        known |= edges_of(lambda data=data: read([data])) if guided else set()
    found = []
    for _ in range(inputs):
        data = mutated(rng, pool)
        try:
            check(rng, data)
        except Exception as error:
            raise Wrong(f"seed {seed}, input {data!r}: {type(error).__name__}: {error}") from error
        if guided and rng.random() < 0.25:  # tracing is what costs most
            reached = edges_of(lambda data=data: read([data]))
            if not reached <= known:
                known |= reached
                pool.append(data)
                found.append(data)
    return found


def _keep(found: list[bytes]) -> None:
    lines = [*kept(), *found]
    KEPT.write_text("".join(f"{line!r}\n" for line in lines))


if __name__ == "__main__":
    new = fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000, sys.argv[2] if len(sys.argv) > 2 else "0")
    _keep(new)
    print(f"{len(new)} new inputs kept, {len(kept())} in all")
