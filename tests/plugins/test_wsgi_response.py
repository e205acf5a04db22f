"""The invariants of ``coop_plugins.wsgi._response``: what goes out is read by the standard library's client."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httptools")

import coopcore
from coop_plugins import socket
from coop_plugins.wsgi import WSGIServer
from coop_plugins.wsgi._request import Fields, Request, RequestLine
from coop_plugins.wsgi._response import Response


class Answer:
    """A response, and what was sent of it."""

    def __init__(self, method: str = "GET", version: str = "1.1") -> None:
        request = Request(RequestLine(method, b"/", version), Fields([]))
        request.keep_alive = version == "1.1"
        self.sent: list[bytes] = []
        self.response = Response(request, self)
        self.method = method

    def send(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def send_pieces(self, pieces: list[bytes]) -> None:
        self.sent.append(b"".join(pieces))

    def send_file(self, file: Any, offset: int, count: int) -> int:
        raise AssertionError("no files here")

    def may_stay(self) -> bool:
        return True

    def reads_rest(self, request: Request) -> bool:
        return True

    def usual_lines(self) -> bytes:
        return b"Date: now\r\nServer: here\r\n"

    @property
    def data(self) -> bytes:
        return b"".join(self.sent)

    def read(self, length: int | None = None) -> tuple[HTTPResponse, bytes]:
        """What a client makes of the first ``length`` bytes, after which the connection ends. Raises HTTPException for one that is cut short."""
        client = HTTPResponse(FakeSocket(self.data[:length]), method=self.method)  # type: ignore[arg-type]  # makefile is all that it needs
        client.begin()
        return client, client.read()


class FakeSocket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def failure() -> Any:
    try:
        raise LookupError("of the application")
    except LookupError:
        return sys.exc_info()


# -- 1: when the head goes out --------------------------------------------------------------------------------------------------


def test_response_invariant_1_the_head_goes_out_with_the_first_piece_that_is_not_empty() -> None:
    answer = Answer()
    write = answer.response.start_response("200 OK", [("X-Which", "first")])
    write(b"")
    assert (answer.sent, answer.response.head_sent) == ([], False)
    answer.response.start_response("404 Not Found", [("X-Which", "second")], failure())
    write(b"")
    assert answer.sent == []
    write(b"abc")
    assert answer.response.head_sent and len(answer.sent) == 1
    answer.response.finish()
    client, body = answer.read()
    assert (client.status, client.headers["X-Which"], body) == (404, "second", b"abc")


@pytest.mark.parametrize("body", [[], [b""], [b"", b""], iter([]), iter([b"", b""])], ids=["none", "empty", "empties", "iterator", "iterator of empties"])
def test_response_invariant_1_without_a_body_the_head_goes_out_at_the_end(body: Any) -> None:
    answer = Answer()

    def pieces() -> Iterator[bytes]:
        for piece in body:
            assert answer.sent == []
            yield piece
        assert answer.sent == []
        answer.response.start_response("500 Oh", [("X-Which", "second")], failure())

    answer.response.start_response("200 OK", [("X-Which", "first")])
    answer.response.send_body(pieces())
    client, got = answer.read()
    assert (client.status, client.headers["X-Which"], got) == (500, "second", b"")


def test_response_invariant_1_a_head_that_is_out_cannot_be_replaced() -> None:
    answer = Answer()
    answer.response.start_response("200 OK", [])(b"abc")
    sent = answer.data
    with pytest.raises(LookupError, match="of the application"):
        answer.response.start_response("500 Oh", [("X-Which", "second")], failure())
    assert answer.data == sent and answer.response.status == "200 OK"


def test_response_invariant_1_a_head_is_replaced_whole() -> None:
    """The Content-Length that was promised first goes with it."""
    answer = Answer()
    answer.response.start_response("200 OK", [("Content-Length", "1000")])
    answer.response.start_response("500 Oh", [], failure())
    answer.response.send_body([b"sorry"])
    assert answer.read()[1] == b"sorry" and answer.response.missing == 0


# -- 2: where it ends -----------------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {"list": lambda: [b"abc", b"defg"], "iterator": lambda: iter([b"abc", b"", b"defg"]), "one piece": lambda: [b"abcdefg"]}


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("promised", [True, False], ids=["promised", "not promised"])
@pytest.mark.parametrize("shape", BODIES)
def test_response_invariant_2_the_client_can_tell_where_it_ends(status: str, method: str, version: str, promised: bool, shape: str) -> None:
    answer = Answer(method, version)
    answer.response.start_response(status, [("Content-Length", "7")] if promised else [])
    answer.response.send_body(BODIES[shape]())
    bodiless = method == "HEAD" or status[:3] in ("204", "304")
    client, body = answer.read()
    assert body == (b"" if bodiless else b"abcdefg")
    if bodiless:
        assert answer.data.endswith(b"\r\n\r\n") and answer.data.count(b"\r\n\r\n") == 1
        return
    length, coding = client.getheader("Content-Length"), client.getheader("Transfer-Encoding")
    assert length is None or coding is None
    if length is None and coding is None:
        assert client.getheader("Connection") == "close" and not answer.response.keep_alive
        return
    assert version == "1.1" or coding is None
    # The client that reads here takes a head that ends early for a head, and the 0 of the last chunk for all of it.
    for short in range(answer.data.index(b"\r\n\r\n") + 4, len(answer.data) - (0 if coding is None else 4)):
        with pytest.raises((HTTPException, ConnectionError, ValueError)):  # ValueError: a chunk's size was cut off
            answer.read(short)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_response_invariant_2_less_than_was_promised_is_seen_to_be_less(version: str) -> None:
    answer = Answer(version=version)
    answer.response.start_response("200 OK", [("Content-Length", "7")])
    answer.response.send_body([b"abc"])
    assert (answer.response.missing, answer.response.keep_alive) == (4, False)
    with pytest.raises(HTTPException):
        answer.read()


def test_response_invariant_2_more_than_was_promised_does_not_go_out() -> None:
    answer = Answer()
    answer.response.start_response("200 OK", [("Content-Length", "5")])
    answer.response.send_body(iter([b"abc", b"defg", b"hij"]))
    assert answer.read()[1] == b"abcde" and answer.data.endswith(b"\r\n\r\nabcde")
    assert (answer.response.surplus, answer.response.missing) == (5, 0)


def test_response_invariant_2_chunks_that_an_error_ended_have_no_last_one() -> None:
    answer = Answer()

    def pieces() -> Iterator[bytes]:
        yield b"abc"
        raise LookupError

    answer.response.start_response("200 OK", [])
    with pytest.raises(LookupError):
        answer.response.send_body(pieces())
    with pytest.raises(HTTPException):
        answer.read()


def test_response_invariant_2_a_body_that_the_end_of_the_connection_ends_is_reset_when_it_is_cut_short(caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"abc"
        if environ["PATH_INFO"] == "/short":
            raise LookupError("of the application")

    def exchange(server: WSGIServer, path: str) -> bytes:
        with socket.create_connection(server.address, timeout=5) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            data = b""
            while piece := client.recv(1000):
                data += piece
            return data

    def main() -> None:
        with WSGIServer(("127.0.0.1", 0), application) as server:
            server.start()
            assert exchange(server, "/whole").endswith(b"\r\n\r\nabc")
            with pytest.raises(ConnectionResetError):
                exchange(server, "/short")

    coopcore.run(main)
    assert ["of the application" in str(record.exc_info or record.message) for record in caplog.records] == [True]


# -- 3: what gets into the head -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK\r\nX-Evil: 1", []),
        ("200 OK\n", []),
        ("200 O\0K", []),
        ("100 Continue", []),
        ("600 Oh", []),
        ("2000 OK", []),
        ("OK", []),
        ("", []),
        ("200 \u20ac", []),
        ("200 OK", [("A", "b\r\nX-Evil: 1")]),
        ("200 OK", [("A", "b\r")]),
        ("200 OK", [("A", "b\nc")]),
        ("200 OK", [("A", "b\0")]),
        ("200 OK", [("A", "\u20ac")]),
        ("200 OK", [("A\r\nX-Evil", "b")]),
        ("200 OK", [("A:", "b")]),
        ("200 OK", [("A B", "b")]),
        ("200 OK", [("", "b")]),
        ("200 OK", [("\u00c4", "b")]),
        ("200 OK", [("Transfer-Encoding", "chunked")]),
        ("200 OK", [("Upgrade", "h2c")]),
        ("200 OK", [("Content-Length", "-1")]),
        ("200 OK", [("Content-Length", "\u0663")]),
        ("200 OK", [("Content-Length", "1, 1")]),
        ("200 OK", [("Content-Length", "")]),
    ],
)
def test_response_invariant_3_anything_else_is_refused(status: str, headers: list[tuple[str, str]]) -> None:
    answer = Answer()
    with pytest.raises(ValueError):
        answer.response.start_response(status, headers)
    assert (answer.sent, answer.response.status) == ([], ""), "and nothing of it is kept"


@pytest.mark.parametrize(
    ("status", "headers"),
    [(b"200 OK", []), (200, []), ("200 OK", [(b"A", "b")]), ("200 OK", [("A", b"b")]), ("200 OK", [["A", "b"]]), ("200 OK", ["Ab"]), ("200 OK", {"A": "b"})],
)
def test_response_invariant_3_other_types_are_refused(status: Any, headers: Any) -> None:
    answer = Answer()
    with pytest.raises(TypeError):
        answer.response.start_response(status, headers)
    assert (answer.sent, answer.response.status) == ([], "")


def test_response_invariant_3_a_list_that_is_changed_afterwards_changes_nothing() -> None:
    answer = Answer()
    headers = [("A", "b")]
    answer.response.start_response("200 OK", headers)
    headers.append(("Evil", "1\r\nEviler: 2"))
    answer.response.send_body([b"x"])
    assert b"Evil" not in answer.data


words = st.text(st.sampled_from("Ab1-:; \t\r\n\0\x7f\x85\u00e9\u2028"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(reason=words, headers=st.lists(st.tuples(words, words), max_size=3))
def test_response_invariant_3_what_is_not_refused_is_one_line_each(reason: str, headers: list[tuple[str, str]]) -> None:
    answer = Answer()
    try:
        answer.response.start_response(f"200 {reason}", headers)
    except ValueError:
        assert answer.sent == []
        return
    answer.response.send_body([b"x"])
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert body == b"x"
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first == f"HTTP/1.1 200 {reason}"
    assert lines[: len(headers)] == [f"{name}: {value}" for name, value in headers]
    assert [line.partition(":")[0] for line in lines[len(headers) :]] == ["Content-Length", "Date", "Server"]
    assert not any(character in line for line in (first, *lines) for character in "\r\n\0")


@pytest.mark.parametrize(("version", "stays", "said"), [("1.1", True, "Upgrade"), ("1.1", False, "Upgrade, close"), ("1.0", True, "Upgrade, keep-alive")])
def test_a_426_says_what_to_go_over_to(version: str, stays: bool, said: str) -> None:
    """RFC 9110, sections 15.5.22 and 7.8."""
    answer = Answer(version=version)
    answer.response.keep_alive = stays
    answer.response.start_response("426 Upgrade Required", [("Upgrade", "websocket")])
    answer.response.send_body([b"x"])
    client, got = answer.read()
    assert (client.getheader("Upgrade"), client.getheader("Connection"), got) == ("websocket", said, b"x")


def test_response_invariant_2_content_length_is_said_once() -> None:
    for second in ("3", "4"):
        with pytest.raises(ValueError, match="given twice"):
            Answer().response.start_response("200 OK", [("Content-Length", "3"), ("content-length", second)])


@pytest.mark.parametrize("headers", [[], [("Content-Length", "3")]])
def test_response_invariant_2_a_205_has_no_body(headers: Any) -> None:
    answer = Answer()
    answer.response.start_response("205 Reset Content", headers)
    answer.response.send_body([b"abc"])
    client, got = answer.read()
    assert (client.getheader("Content-Length"), got, answer.response.surplus) == ("0", b"", 3)
    assert answer.data.endswith(b"\r\n\r\n")
