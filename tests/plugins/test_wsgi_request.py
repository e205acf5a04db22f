"""The invariants of ``coop_plugins.wsgi._request``: bytes are fed to a reader, whole and in pieces of every size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httptools")

from coop_plugins.wsgi import Limits, _request
from coop_plugins.wsgi._request import Request, RequestReader

from .http_corpus import CASES

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\nX-Number: %d\r\n\r\n"
CHUNKED = b"POST /%d HTTP/1.1\r\nHost: x\r\nX-Number: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
LENGTH = b"POST /%d HTTP/1.1\r\nHost: x\r\nX-Number: %d\r\nContent-Length: 3\r\n\r\n"

SIZES = [1, 2, 7, 64, 100_000]
sizes = pytest.mark.parametrize("size", SIZES)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


class Feeder:
    """Feeds a reader as a connection does, and keeps what it hands out."""

    def __init__(self, **limits: Any) -> None:
        self.reader = RequestReader(Limits(**limits))
        self.requests: list[Request] = []

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)
        while (request := self.reader.take()) is not None:
            self.requests.append(request)

    @property
    def failure(self) -> Any:
        return self.reader.failure

    @property
    def ended(self) -> bool:
        return self.reader.ended


def fed(data: bytes, size: int = 100_000, **limits: Any) -> Feeder:
    feeder = Feeder(**limits)
    for piece in cut(data, size):
        feeder.feed(piece)
    return feeder


def paths(feeder: Feeder) -> list[bytes]:
    return [request.path for request in feeder.requests]


# -- 1: whole requests, in order ------------------------------------------------------------------------------------------------


@sizes
def test_request_invariant_1_a_request_is_handed_out_when_its_head_is_complete(size: int) -> None:
    heads_and_bodies = [(GET, b""), (CHUNKED, CHUNKS), (LENGTH, b"abc"), (GET, b"")]
    data, ends = b"", []
    for number, (head, body) in enumerate(heads_and_bodies):
        data += head % (number, number)
        ends.append(len(data))
        data += body
    reader = Feeder()
    for index, piece in enumerate(cut(data, size)):
        reader.feed(piece)
        assert all(dict(request.headers)[b"x-number"] == request.path[1:] for request in reader.requests), "all of its head is there"
        assert len(reader.requests) == sum(end <= index * size + len(piece) for end in ends)
    taken = reader.requests
    assert [request.path for request in taken] == [b"/0", b"/1", b"/2", b"/3"]
    assert [bytes(request.body) for request in taken] == [b"", b"abc", b"abc", b""]
    assert all(request.complete for request in taken) and reader.failure is None


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (400, b"GET /1 HTTP/1.1\r\n\r\n"),
        (400, b"GET /1 HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
        (417, b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: miracles\r\n\r\n"),
        (501, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"),
        (413, b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\n"),
    ],
)
@sizes
def test_request_invariant_1_a_head_that_is_complete_and_wrong_is_not_handed_out(status: int, head: bytes, size: int) -> None:
    reader = fed(head, size)
    assert paths(reader) == []
    assert reader.failure is not None and reader.failure.status == status


# -- 2: after a mistake ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mistake",
    [
        b"garbage\r\n\r\n",
        b"GET /2 HTTP/1.1\r\n\r\n",
        b"GET /2 HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        b"GET /2 HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n",
        b"POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /2" + b"2" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /2 HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    ],
    ids=["garbage", "no host", "space", "nul", "smuggling", "long target", "many headers"],
)
@pytest.mark.parametrize("size", [1, 64, 100_000])
def test_request_invariant_2_what_came_before_a_mistake_is_handed_out_and_nothing_after(mistake: bytes, size: int) -> None:
    reader = fed(GET % (0, 0) + LENGTH % (1, 1) + b"abc" + mistake + GET % (3, 3), size)
    assert paths(reader) == [b"/0", b"/1"]
    assert reader.failure is not None
    failure = reader.failure
    reader.feed(GET % (4, 4))
    reader.feed(b"")
    assert paths(reader) == [b"/0", b"/1"] and reader.failure is failure


@pytest.mark.parametrize("size", SIZES)
def test_request_invariant_2_a_mistake_in_a_body_ends_the_input(size: int) -> None:
    reader = fed(CHUNKED % (0, 0) + b"3\r\nabc\r\nzzz\r\n" + GET % (1, 1), size)
    assert paths(reader) == [b"/0"]
    assert reader.failure is not None and reader.failure.status == 400
    assert (bytes(reader.requests[0].body), reader.requests[0].complete) == (b"abc", False)


def test_request_invariant_2_an_end_in_the_middle_is_a_mistake_and_one_in_between_is_not() -> None:
    data = GET % (0, 0) + LENGTH % (1, 1) + b"abc"
    whole = {0, len(GET % (0, 0)), len(data)}
    for length in range(len(data) + 1):
        reader = fed(data[:length])
        reader.feed(b"")
        assert reader.ended and (reader.failure is None) == (length in whole), length


# -- 3: memory ------------------------------------------------------------------------------------------------------------------


def endless(what: str) -> Iterator[bytes]:
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    if what == "target":
        yield b"GET /"
    elif what in ("value", "name"):
        yield start + (b"A: " if what == "value" else b"")
    elif what == "second head":
        yield GET % (0, 0) + start + b"A: "
    else:
        yield start
    number = 0
    while True:
        number += 1
        yield b"A%d: b\r\n" % number if what == "headers" else b"a" * 50


def held(reader: Feeder) -> int:
    taken_apart = max((len(request.target) + sum(len(name) + len(value) for name, value in request.headers) for request in reader.requests), default=0)
    return taken_apart + len(reader.reader.unread)


@pytest.mark.parametrize("size", [10, 512, 4000])
@pytest.mark.parametrize("what", ["target", "name", "value", "headers", "second head"])
def test_request_invariant_3_a_head_takes_no_more_than_its_limits_and_a_piece(what: str, size: int) -> None:
    limits = Limits(request_line=1000, header_bytes=2000, header_count=10_000)
    reader = Feeder(request_line=1000, header_bytes=2000, header_count=10_000)
    accepted = 0
    buffer = b""
    for part in endless(what):
        buffer += part
        if len(buffer) < size:
            continue
        reader.feed(buffer)
        if reader.failure is not None:
            break
        accepted += len(buffer)
        assert accepted <= limits.request_line + limits.header_bytes + len(buffer) + len(GET), "the reader takes more than it may"
        buffer = b""
    assert reader.failure.status == (414 if what == "target" else 431)
    assert held(reader) <= limits.request_line + limits.header_bytes + len(buffer)


def test_request_invariant_3_the_count_begins_anew_with_each_head() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"a" * 1500)
    for size in (1, 100, 1000, 5000):
        reader = fed(head * 10, size, request_line=1000, header_bytes=2000)
        assert reader.failure is None and len(reader.requests) == 10


@pytest.mark.parametrize("start", [b"A: ", b""], ids=["value", "name"])
def test_request_invariant_3_a_trailer_that_never_ends_is_refused(start: bytes) -> None:
    reader = fed(CHUNKED % (0, 0) + b"0\r\n" + start, request_line=1000, header_bytes=2000)
    for _ in range(100):
        reader.feed(b"a" * 100)
    assert reader.failure is not None and reader.failure.status == 431


# -- 4: trailers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trailer", [b"X-Evil: 1", b"Host: evil", b"X-Number: 9", b"Cookie: a=b", b"Expect: 100-continue"])
@sizes
def test_request_invariant_4_trailers_never_become_headers(trailer: bytes, size: int) -> None:
    plain = fed((CHUNKED % (0, 0)) + b"3\r\nabc\r\n0\r\n\r\n" + GET % (1, 1)).requests
    reader = fed((CHUNKED % (0, 0)) + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\nX-Other: 2\r\n\r\n" + GET % (1, 1), size)
    assert reader.failure is None
    seen, expected = (
        [(request.headers, request.line, bytes(request.body), request.keep_alive, request.complete) for request in each] for each in (reader.requests, plain)
    )
    assert seen == expected, "neither in this request nor in the next"


@sizes
def test_request_invariant_4_trailers_do_not_frame_a_message(size: int) -> None:
    """What llhttp makes of one: it may refuse what follows, but not take it for another message."""
    for trailer in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close"):
        reader = fed((CHUNKED % (0, 0)) + b"0\r\n" + trailer + b"\r\n\r\n" + GET % (1, 1), size)
        names = [name for name, _ in reader.requests[0].headers]
        assert names == [b"host", b"x-number", b"transfer-encoding"] and reader.requests[0].content_length is None
        assert paths(reader) == ([b"/0", b"/1"] if reader.failure is None else [b"/0"])


# -- 5: offers to upgrade -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("framing", "body"), [(b"Content-Length: 3", b"abc"), (b"Transfer-Encoding: chunked", CHUNKS), (b"X-No: body", b"")])
@sizes
def test_request_invariant_5_an_offer_to_upgrade_changes_nothing_about_the_body(framing: bytes, body: bytes, size: int) -> None:
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + framing + b"\r\n\r\n"
    reader = fed(GET % (0, 0) + head + body + GET % (2, 2), size)
    assert paths(reader) == [b"/0", b"/1"], "no request follows it"
    assert reader.ended and reader.failure is None
    assert (bytes(reader.requests[1].body), reader.requests[1].complete) == (b"abc" if body else b"", True)


def test_request_invariant_5_a_body_after_an_offer_that_is_cut_short_is_a_mistake() -> None:
    reader = fed(b"POST /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nab")
    reader.feed(b"")
    assert reader.failure is not None and reader.failure.status == 400
    assert (bytes(reader.requests[0].body), reader.requests[0].complete) == (b"ab", False)


# -- 6: how the input is cut ----------------------------------------------------------------------------------------------------


def told(feeder: Feeder) -> list[Any]:
    requests = [(request.line, request.host, request.headers, bytes(request.body), request.complete, request.keep_alive) for request in feeder.requests]
    return [requests, feeder.failure is None, feeder.ended]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_request_invariant_6_pieces_of_any_size_give_the_same_requests(size: int) -> None:
    for case in CASES:
        if len(case.data) < 2000:
            data = GET % (0, 0) + case.data + GET % (1, 1)
            whole, pieces = fed(data), fed(data, size)
            for feeder in (whole, pieces):
                feeder.feed(b"")
            assert told(pieces) == told(whole), case.name


def test_request_invariant_6_what_is_remembered_changes_nothing() -> None:
    """A reader that has seen all request lines and headers before gives what one gives that has seen none."""

    def all_told(forgetful: bool) -> list[Any]:
        found = []
        for case in CASES:
            if len(case.data) < 2000:
                if forgetful:
                    forget()
                found.append(told(fed(case.data + case.data)))
        return found

    first = all_told(True)
    for _ in range(2):
        assert all_told(False) == first
    assert _request._lines and _request._headers and _request._names


def forget() -> None:
    for memory in (_request._lines, _request._headers, _request._names):
        memory.clear()
        memory._once.clear()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=12) | st.text(alphabet=":,; \t\r\n\0\x7f\x80aA-", max_size=8).map(lambda text: text.encode("latin-1")), max_size=3))
def test_request_invariant_6_values_behind_known_names_are_read_as_httptools_reads_them(values: list[bytes]) -> None:
    heads = [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        for lines in ([b"Cookie: a", b"X-Known: b"], [name + value for name in (b"Cookie", b"cookie:", b"X-Known: ") for value in values])
    ]
    forget()
    first = told(fed(heads[1]))
    forget()
    for _ in range(2):
        fed(heads[0])
    assert b"Cookie" in _request._names
    for _ in range(3):
        assert told(fed(heads[1])) == first


@settings(deadline=None)
@given(st.binary(max_size=20) | st.text(alphabet="\r\n\t \0\x7f\x80a:", max_size=20).map(lambda text: text.encode("latin-1")))
def test_request_invariant_6_whole_lines_are_refused_for_what_half_ones_are_refused_for(block: bytes) -> None:
    block = b"".join(line + b"\r\n" for line in block.split(b"\r\n") if line)
    assert (_request._LINES.fullmatch(block) is None) == (_request._NEVER.search(b"\r\n" + block) is not None)


PARTS_OF_LINE = st.sampled_from([*b'GET HEAD NONE / a ? # %20 %00 %2 " { | < \0 \x80'.split(b" "), b" ", b" HTTP/1.1", b" HTTP/1.0"])


@settings(deadline=None)
@given(st.lists(PARTS_OF_LINE, max_size=9) | st.lists(PARTS_OF_LINE, max_size=4).map(lambda parts: [b"GET /", *parts, b" HTTP/1.1"]))
def test_request_invariant_6_request_lines_of_the_commonest_form_are_read_as_others(parts: list[bytes]) -> None:
    line = b"".join(parts)
    reader = RequestReader(Limits())
    try:
        expected: Any = reader._read_unusual_line(line)
    except OSError:
        expected = None
    if expected is None:
        assert reader._lines is not None
        with pytest.raises(OSError):
            reader._read_line(line)
    else:
        found = reader._read_line(line)
        assert [getattr(found, name) for name in found.__slots__] == [getattr(expected, name) for name in found.__slots__]


def test_request_invariant_6_memory_is_bounded() -> None:
    for number in range(2500):
        for _ in range(2):
            fed(GET % (number, number))
    memories = (_request._lines, _request._headers, _request._names)
    for memory in memories:
        assert 0 < len(memory) <= _request._REMEMBERED_MOST and len(memory._once) <= _request._REMEMBERED_MOST
    for _ in range(2):
        fed(b"GET /%b HTTP/1.1\r\nHost: x\r\nX-Long: %b\r\nX-%b: 1\r\n\r\n" % ((b"a" * 1000,) * 3))
    for memory in memories:
        assert max(map(len, [*memory, *memory._once])) <= _request._REMEMBERED_LENGTH


@pytest.mark.parametrize("secret", [b"Cookie", b"Authorization", b"Proxy-Authorization"])
def test_request_invariant_6_secrets_are_not_remembered(secret: bytes) -> None:
    for _ in range(3):
        fed(b"GET / HTTP/1.1\r\nHost: x\r\n%b: secret\r\n\r\n" % secret)
    assert not [line for line in [*_request._headers, *_request._headers._once] if b"secret" in line]


def test_request_invariant_6_a_short_limit_holds_for_lines_that_are_remembered() -> None:
    line = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 100)
    assert fed(line).failure is None
    assert fed(line, request_line=50).failure.status == 414
