"""coop_plugins.wsgi over the loopback: WSGI as PEP 3333 has it, HTTP as RFC 9112 has it, and what clients do wrong."""

from __future__ import annotations

import logging
import os
import re
import socket as stdlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from wsgiref.validate import validator

import pytest

pytest.importorskip("httptools")

import coopcore
from coop_plugins import socket
from coop_plugins.clock import VirtualClock
from coop_plugins.wsgi import Limits, WSGIServer
from coopcore import get_hub, sleep, spawn

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]

LOCAL = ("127.0.0.1", 0)
HEAD = b"Host: x\r\n"

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


@pytest.fixture(params=BACKENDS)
def virtually(request: pytest.FixtureRequest) -> Run:
    """In virtual time: what a client sends before it sleeps is there before the server's time is over, however slow the machine."""

    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param, clock=VirtualClock(settle=0.05))

    return run


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello ", environ["PATH_INFO"].encode("latin-1")]


def echo(environ: Any, start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


@contextmanager
def serving(application: Any, **options: Any) -> Iterator[WSGIServer]:
    server = WSGIServer(LOCAL, application, **options)
    server.start()
    with server:
        yield server


class Client:
    """A raw connection that reads one response at a time."""

    def __init__(self, server: WSGIServer) -> None:
        self.sock = socket.create_connection(server.address, timeout=5)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *args: Any) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def response(self, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip().decode("latin-1"):
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        if bodiless or status in (100, 204, 304):
            return status, headers, b""
        if "content-length" in headers:
            return status, headers, self.file.read(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(self.file.readline(), 16):
                pieces.append(self.file.read(size))
                assert self.file.read(2) == b"\r\n"
            assert self.file.readline() == b"\r\n"
            return status, headers, b"".join(pieces)
        return status, headers, self.file.read()

    def at_end(self) -> bool:
        return self.file.read(1) == b""


def exchange(server: WSGIServer, data: bytes) -> bytes:
    """Send all, half-close, read all."""
    with socket.create_connection(server.address, timeout=5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as reading:
            return bytes(reading.read())


# -- WSGI -----------------------------------------------------------------------------------------------------------------------


def test_the_environment_and_the_response_pass_the_standard_validator(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.errors"].write("a note\nand half")
        environ["wsgi.errors"].writelines([" a note"])
        environ["wsgi.errors"].flush()
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"written, ")
        return [b"returned: ", data]

    @on
    def body() -> None:
        with serving(validator(application)) as server, Client(server) as client:
            for _ in range(2):
                client.send(b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ndata")
                assert client.response()[2] == b"written, returned: data"

    assert [record.message for record in caplog.records][:2] == ["a note", "and half a note"]


def test_what_is_in_the_environment(on: Run) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(environ)
        return hello(environ, start_response)

    @on
    def body() -> None:
        with serving(application, environ={"my.key": "mine"}) as server:
            exchange(
                server,
                b"GET /caf%C3%A9?x=%20y HTTP/1.1\r\nHost: example.test:80\r\nX-Two: 1\r\nx-two: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
                b"X_Under: sneaky\r\nProxy: http://evil\r\nContent-Type: text/x\r\n\r\n",
            )
            exchange(server, b"GET http://other.test:8080/p?q HTTP/1.1\r\nHost: x\r\n\r\n")
            exchange(server, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            port = str(server.server_port)
        first, second, third = seen
        expected = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/café".encode().decode("latin-1"),
            "QUERY_STRING": "x=%20y",
            "REQUEST_URI": "/caf%C3%A9?x=%20y",
            "CONTENT_TYPE": "text/x",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": port,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "example.test:80",
            "HTTP_X_TWO": "1,2",
            "HTTP_COOKIE": "a=1; b=2",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.run_once": False,
            "my.key": "mine",
        }
        assert {key: first[key] for key in expected} == expected
        assert not {"HTTP_X_UNDER", "HTTP_PROXY", "CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(first)
        assert (second["HTTP_HOST"], second["PATH_INFO"], second["QUERY_STRING"]) == ("other.test:8080", "/p", "q")
        assert (third["REQUEST_METHOD"], third["PATH_INFO"], third["RAW_URI"]) == ("OPTIONS", "/", "*")


def test_an_ipv4_client_of_a_dual_stack_server_has_its_own_address(on: Run) -> None:
    @on
    def body() -> None:
        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [])
            return [environ["REMOTE_ADDR"].encode()]

        with WSGIServer(0, application) as server:
            server.start()
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=5, source_address=("127.0.0.3", 0)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.makefile("rb").read().endswith(b"127.0.0.3")


def test_every_way_to_read_the_input(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        start_response("200 OK", [])
        parts = [stream.read(2), stream.readline(), stream.readline(2), stream.readline(), *stream.readlines(3), *stream, stream.read(), stream.read(5)]
        return [repr(parts).encode()]

    @on
    def body() -> None:
        data = b"abc\ndefg\nhi\njk\nlm\nn"
        with serving(application) as server, Client(server) as client:
            for framing in (
                b"Content-Length: %d\r\n\r\n%b" % (len(data), data),
                b"Transfer-Encoding: chunked\r\n\r\n7\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (data[:7], len(data) - 7, data[7:]),
            ):
                request = b"POST / HTTP/1.1\r\nHost: x\r\n" + framing
                for start in range(0, len(request), 5):
                    client.send(request[start : start + 5])
                    sleep(0)
                assert client.response()[2] == repr([b"ab", b"c\n", b"de", b"fg\n", b"hi\n", b"jk\n", b"lm\n", b"n", b"", b""]).encode()


def test_all_forms_of_a_body(on: Run) -> None:
    closed = []

    class Closing:
        def __init__(self, pieces: list[bytes]) -> None:
            self.pieces = pieces

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.pieces)

        def close(self) -> None:
            closed.append(self.pieces)

    forms: dict[str, Any] = {
        "/list": ([b"a", b"", b"b"], "content-length", b"ab"),
        "/tuple": ((b"a",), "content-length", b"a"),
        "/empty": ([], "content-length", b""),
        "/generator": ((piece for piece in [b"", b"a", b"", b"b"]), "transfer-encoding", b"ab"),
        "/nothing": (iter(()), "content-length", b""),
        "/closing": (Closing([b"x", b"y"]), "transfer-encoding", b"xy"),
        "/big": ([b"z" * 1_000_000], "content-length", b"z" * 1_000_000),
        "/one": ({b"only": 1}, "content-length", b"only"),
    }

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        body: Iterable[bytes] = forms[environ["PATH_INFO"]][0]
        return body

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            for path, (_, framing, expected) in forms.items():
                client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
                status, headers, got = client.response()
                assert (path, status, framing in headers, got) == (path, 200, True, expected)
        assert closed == [[b"x", b"y"]]


def test_invariant_4_close_is_called_once_whatever_happens(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    closed = []

    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            raise ZeroDivisionError("mid-way")

        def close(self) -> None:
            closed.append(1)

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Failing()

    @on
    def body() -> None:
        with serving(application) as server, pytest.raises(ConnectionResetError):
            exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            pytest.fail("a response that was cut short looked whole")
        assert closed == [1]


def test_start_response_replaced_before_the_head_is_out(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            raise LookupError
        except LookupError:
            start_response("404 Not Found", [("X-Why", "lookup")], sys.exc_info())
        return [b"gone"]

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers, got = client.response()
            assert (status, headers["x-why"], got) == (404, "lookup", b"gone")


def misuse(what: str) -> Any:
    def application(environ: Any, start_response: Any) -> Any:
        if what == "error":
            raise ZeroDivisionError("secret words")
        if what == "timeout":
            raise coopcore.Timeout(1)
        if what == "no start":
            return [b"x"]
        if what == "no start, generator":
            return iter([b"x"])
        if what == "no start, empty":
            return []
        if what == "bad status":
            start_response("200\r\nX: y", [])
        if what == "status 100":
            start_response("100 Continue", [])
        if what == "status bytes":
            start_response(b"200 OK", [])
        if what == "header split":
            start_response("200 OK", [("X", "a\r\nSet-Cookie: b")])
        if what == "header name":
            start_response("200 OK", [("X Y", "a")])
        if what == "header type":
            start_response("200 OK", [("X", 1)])
        if what == "headers type":
            start_response("200 OK", (("X", "1"),))
        if what == "hop by hop":
            start_response("200 OK", [("Transfer-Encoding", "chunked")])
        if what == "length":
            start_response("200 OK", [("Content-Length", "+1")])
        if what == "not latin-1":
            start_response("200 OK", [("X", "\u20ac")])
        start_response("200 OK", [])
        if what == "twice":
            start_response("200 OK", [])
        if what == "text":
            return ["text"]
        if what == "text, generator":
            return iter(["text"])
        return None

    return application


MISUSES = [
    "error", "timeout", "no start", "no start, generator", "no start, empty", "bad status", "status 100", "status bytes", "header split", "header name",
    "header type", "headers type", "hop by hop", "length", "not latin-1", "twice", "text", "text, generator", "None",
]  # fmt: skip


@pytest.mark.parametrize("what", MISUSES)
def test_invariant_3_errors_of_the_application_are_a_bare_500_and_a_traceback(on: Run, what: str, caplog: pytest.LogCaptureFixture) -> None:
    @on
    def body() -> None:
        with serving(misuse(what)) as server, Client(server) as client:
            client.send(b"GET /path HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers, got = client.response()
            assert (status, headers["connection"], got) == (500, "close", b"500 Internal Server Error\n")
            assert client.at_end()

    errors = [record for record in caplog.records if record.name == "coop_plugins.wsgi.error"]
    assert len(errors) == 1
    assert "'GET /path HTTP/1.1'" in errors[0].message
    assert errors[0].exc_info is not None


def test_the_content_length_is_kept(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return iter([b"abc", b"defg"]) if environ["PATH_INFO"] == "/more" else [b"abc"]

    @on
    def body() -> None:
        with serving(application) as server:
            with Client(server) as client:
                client.send(b"GET /more HTTP/1.1\r\nHost: x\r\n\r\nGET /more HTTP/1.1\r\nHost: x\r\n\r\n")
                assert [client.response()[2] for _ in range(2)] == [b"abcde", b"abcde"]
            with Client(server) as client:
                client.send(b"GET /less HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.response()[2] == b"abc"
                assert client.at_end()

    assert [record.message.split(" than")[0] for record in caplog.records] == [
        "the application gave 2 bytes more", "the application gave 2 bytes more", "the application gave 2 bytes less"
    ]  # fmt: skip


# -- HTTP -----------------------------------------------------------------------------------------------------------------------


def test_two_requests_on_one_connection_by_the_standard_client() -> None:
    """The standard client blocks its thread, so the server has one of its own."""
    import threading

    ports: list[int] = []
    up = threading.Event()
    stop: list[Any] = []

    def serve() -> None:
        server = WSGIServer(LOCAL, echo)
        server.start()
        ports.append(server.server_port or 0)
        stop.append((coopcore.get_hub(), server))
        up.set()
        server.serve_forever()

    thread = threading.Thread(target=lambda: coopcore.run(serve))
    thread.start()
    assert up.wait(5)
    connection = HTTPConnection("127.0.0.1", ports[0], timeout=5)
    try:
        for body in (b"first", iter([b"second, ", b"chunked"])):
            connection.request("POST", "/", body=body)
            with connection.getresponse() as response:
                assert response.read() in (b"first", b"second, chunked")
    finally:
        connection.close()
        hub, server = stop[0]
        hub.call_soon_threadsafe(server.close)
        thread.join(5)
    assert not thread.is_alive()


def test_invariant_1_pipelined_requests_are_answered_in_order(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        number = int(environ["PATH_INFO"][1:])
        sleep(0.001 * (10 - number))
        return hello(environ, start_response)

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(10)))
            assert [client.response()[2] for _ in range(10)] == [b"Hello /%d" % number for number in range(10)]


@pytest.mark.parametrize(
    ("request_line", "headers", "kept"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: close\r\n", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_keep_alive(on: Run, request_line: bytes, headers: bytes, kept: bool) -> None:
    @on
    def body() -> None:
        with serving(hello) as server, Client(server) as client:
            client.send(request_line + b"\r\nHost: x\r\n" + headers + b"\r\n")
            _, answer, _ = client.response()
            if kept:
                assert answer.get("connection") == ("keep-alive" if b"1.0" in request_line else None)
                client.send(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.response()[2] == b"Hello /again"
            else:
                assert answer["connection"] == "close"
                assert client.at_end()


def test_http_1_0_gets_no_chunks(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return (piece for piece in [b"a", b"b"])

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            _, headers, got = client.response()
            assert (got, headers["connection"], "transfer-encoding" in headers) == (b"ab", "close", False)


def test_head_and_statuses_without_a_body(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        code = environ["PATH_INFO"][1:]
        start_response(f"{code} X", [("Content-Length", "3")] if code == "204" else [])
        return [b"abc"] if environ["QUERY_STRING"] == "" else iter([b"a", b"bc"])

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            for request, length in [(b"HEAD /200", "3"), (b"HEAD /200?stream", None), (b"GET /204", None), (b"GET /304", None)]:
                client.send(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                _, headers, _ = client.response(bodiless=True)
                assert (request, headers.get("content-length"), headers.get("transfer-encoding")) == (request, length, None)
            client.send(b"GET /200 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response()[2] == b"abc"


def test_expect_100_continue(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        return echo(environ, start_response) if environ["PATH_INFO"] == "/read" else hello(environ, start_response)

    head = b"POST /%b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(head % b"read")
            assert client.response()[0] == 100
            client.send(b"data")
            assert client.response()[2] == b"data"
            client.send(head % b"read" + b"data")  # it need not wait
            assert client.response()[2] == b"data"
            client.send(head % b"ignore")
            status, headers, _ = client.response()
            assert (status, headers["connection"]) == (200, "close")
            assert client.at_end()


def test_invariant_2_an_unread_body_is_drained_or_the_connection_closed(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello) as server:
            with Client(server) as client:
                client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET /evil" + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
                assert [client.response()[2] for _ in range(2)] == [b"Hello /1", b"Hello /2"]
            with Client(server) as client:
                client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
                sending = spawn(client.send, b"x" * 200_000)
                _, headers, got = client.response()
                assert (headers["connection"], got) == ("close", b"Hello /1")
                sending.join(5)
                assert client.at_end()


@pytest.mark.parametrize(("left", "stays"), [(60_000, True), (100_000, False)])
def test_an_answer_says_whether_the_connection_outlives_a_body_that_is_not_read_to_its_end(on: Run, left: int, stays: bool) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(100_000)
        start_response("200 OK", [])
        return [b"enough"]

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (100_000 + left) + b"x" * 100_000)
            assert ("connection" not in client.response()[1]) is stays
            if stays:
                client.send(b"x" * left + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.response()[2] == b"enough"
            else:
                assert client.at_end()


def test_a_stream_is_sent_as_it_comes(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        for number in range(3):
            yield b"%d" % number
            while turn[0] <= number:
                sleep(0)

    turn = [0]

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while client.file.readline() != b"\r\n":
                pass
            for number in range(3):
                assert client.file.readline() + client.file.readline() == b"1\r\n%d\r\n" % number
                turn[0] += 1
            assert client.file.readline() == b"0\r\n"


@pytest.mark.parametrize("said", ["Close", "x, close"])
def test_the_application_may_close_the_connection(on: Run, said: str) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Connection", said)])
        return [b"bye"]

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            _, headers, got = client.response()
            assert (headers["connection"], got) == ("close", b"bye")
            assert client.at_end()


def test_an_offer_to_upgrade_is_declined(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello) as server, Client(server) as client:
            client.send(b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nwhatever")
            status, headers, got = client.response()
            assert (status, headers["connection"], got) == (200, "close", b"Hello /up")
            assert client.at_end()


@pytest.mark.parametrize("at_once", [True, False], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-Evil: 1\r\n\r\n"],
    ids=["length", "chunks"],
)
def test_request_invariant_5_the_body_of_a_request_that_offers_an_upgrade_is_delivered(on: Run, framed: bytes, at_once: bool) -> None:
    """RFC 9110 7.8: a server may ignore the offer. What Java's client and ``curl --http2`` send."""

    @on
    def body() -> None:
        data = b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + framed
        with serving(echo) as server, Client(server) as client:
            if at_once:
                client.send(data + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")  # never read as a request
            else:
                for index in range(len(data)):
                    client.send(data[index : index + 1])
                    sleep(0)
            status, _, got = client.response()
            assert (status, got) == (200, b"abc")
            client.sock.shutdown(socket.SHUT_WR)
            assert client.at_end()


@pytest.mark.parametrize(
    ("status", "framed"),
    [
        (413, b"Content-Length: 2000\r\n\r\n"),
        (413, b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"a" * 2000),
        (400, b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        (400, b"Content-Length: 10\r\n\r\nabc"),
    ],
    ids=["long length", "long chunks", "bad chunk", "cut short"],
)
def test_request_invariant_5_the_limits_hold_for_a_request_that_offers_an_upgrade(on: Run, status: int, framed: bytes) -> None:
    @on
    def body() -> None:
        with serving(echo, limits=Limits(body_bytes=1000)) as server:
            got = exchange(server, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + framed)
            assert got.startswith(b"HTTP/1.1 %d " % status)


# -- what clients do wrong ------------------------------------------------------------------------------------------------------


def test_what_came_before_a_mistake_is_answered(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello) as server, Client(server) as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\ngarbage\r\n\r\n")
            assert [client.response()[0] for _ in range(3)] == [200, 200, 400]
            assert client.at_end()


def test_trailers_never_become_headers(on: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [repr(sorted(key for key in environ if key.startswith("HTTP_"))).encode()]

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=1\r\na\r\n0\r\nX-Evil: 1\r\nHost: y\r\n\r\n")
            assert client.response()[2] == b"['HTTP_HOST', 'HTTP_TRANSFER_ENCODING']"


def test_clients_that_are_slow(virtually: Run) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        return echo(environ, start_response) if environ["REQUEST_METHOD"] == "POST" else hello(environ, start_response)

    @virtually
    def body() -> None:
        limits = Limits(header_timeout=2, body_timeout=2, idle_timeout=2)
        with serving(application, limits=limits) as server:
            with Client(server) as silent:
                assert silent.at_end()
            with Client(server) as client:
                client.send(b"GET / HTTP/1.1\r\nHo")
                assert client.response()[0] == 408
            with Client(server) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
                assert client.response()[0] == 408
            with Client(server) as idle:
                idle.send(b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n")
                assert idle.response()[2] == b"Hello /kept"
                assert idle.at_end()


def test_an_application_may_deal_with_a_body_that_never_comes(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    caught = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            caught.append(error)
        return hello(environ, start_response)

    @on
    def body() -> None:
        with serving(application, limits=Limits(body_timeout=0.02)) as server:
            for rest in (b"Content-Length: 5\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\nz"):
                with Client(server) as client:
                    client.send(b"POST /dealt HTTP/1.1\r\nHost: x\r\n" + rest)
                    status, headers, got = client.response()
                    assert (status, headers["connection"], got) == (200, "close", b"Hello /dealt")
                    assert client.at_end()  # and no second answer

    assert [error.status for error in caught] == [408, 400]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_mistake_in_a_body_that_nobody_reads_gets_no_second_answer(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello) as server, Client(server) as client:
            client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert client.response()[2] == b"Hello /1"
            client.send(b"zzz\r\n")
            assert client.at_end()


def test_a_head_may_not_be_dripped(virtually: Run) -> None:
    """Each byte comes in time, the head does not."""

    @virtually
    def body() -> None:
        with serving(hello, limits=Limits(header_timeout=2)) as server, Client(server) as client:

            def drip() -> None:
                client.send(b"GET / HTTP/1.1\r\nA: ")
                while True:
                    client.send(b"a")
                    sleep(0.5)

            dripping = spawn(drip)
            assert client.response()[0] == 408
            dripping.kill(timeout=5)


def test_a_client_that_does_not_read_is_cut(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ended = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 1_000_000
        finally:
            ended.append(1)

    @on
    def body() -> None:
        with serving(application, limits=Limits(send_timeout=0.02)) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not ended:
                sleep(0.001)

    assert any("timed out" in record.message for record in caplog.records)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "sizes", [[8_000_000], [70_000] * 100, [1, 4_000_000, 0, 2, 4_000_000], [1500] * 2000, [100] * 10_000], ids=["one", "many", "mixed", "small", "tiny"]
)
@pytest.mark.parametrize("how", [list, iter])
def test_large_bodies_arrive_whole_though_the_client_is_slow(on: Run, how: Callable[[list[bytes]], Iterable[bytes]], sizes: list[int]) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return how(pieces)

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            for _ in range(2):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                sleep(0.005)  # the kernel's buffers are full
                assert client.response()[2] == b"".join(pieces)


def test_clients_that_vanish(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    @on
    def body() -> None:
        with serving(echo) as server:
            for part in (b"", b"GET", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3):
                for reset in (False, True):
                    client = socket.create_connection(server.address, timeout=5)
                    client.sendall(part)
                    if reset:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    client.close()
            while server.connections:
                sleep(0.001)
            assert exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("bad", [{"header_count": 0}, {"body_bytes": -1}, {"idle_timeout": None}, {"send_timeout": "1"}])
def test_limits_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limits(**bad)


# -- the server -----------------------------------------------------------------------------------------------------------------


def test_invariant_5_stop_lets_requests_end_and_closes_idle_connections(on: Run) -> None:
    at_work, leave = [], []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        at_work.append(1)
        while not leave:
            sleep(0.001)
        return hello(environ, start_response)

    @on
    def body() -> None:
        server = WSGIServer(LOCAL, application)
        server.start()
        with Client(server) as idle, Client(server) as busy:
            busy.send(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
            while not at_work or len(server.connections) < 2:
                sleep(0)
            stopping = spawn(server.stop, 5)
            assert idle.at_end()
            assert not stopping.ready()
            leave.append(1)
            status, headers, got = busy.response()
            assert (status, headers["connection"], got) == (200, "close", b"Hello /busy")
            stopping.get(timeout=5)
            assert not server.connections


def test_invariant_5_a_request_on_its_way_when_the_server_closes_is_answered(virtually: Run) -> None:
    @virtually
    def body() -> None:
        server = WSGIServer(LOCAL, hello)
        server.start()
        with Client(server) as kept, Client(server) as new:
            kept.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.response()[2] == b"Hello /1"
            while len(server.connections) < 2:
                sleep(0)
            server.close()
            for client in (kept, new):
                sleep(0.01)  # both tasks have had their turn since
                client.send(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
                status, headers, got = client.response()
                assert (status, headers["connection"], got) == (200, "close", b"Hello /2")
                assert client.at_end()


@pytest.mark.parametrize("asks", [True, False], ids=["it asks again", "it does not"])
def test_invariant_5_a_client_that_was_told_that_it_is_kept_may_ask_again(virtually: Run, asks: bool) -> None:
    """The head of its answer went out before the server closed, the rest after it."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"a"
        while not closed:
            sleep(0.01)
        yield b"b"

    closed = []

    @virtually
    def body() -> None:
        server = WSGIServer(LOCAL, application)
        server.start()
        with Client(server) as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
            while client.file.peek(1)[:1] != b"H":
                sleep(0)
            server.close()
            closed.append(True)
            _, headers, got = client.response()
            assert ("connection" in headers, got) == (False, b"ab")
            sleep(0.1)
            if asks:
                client.send(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
                _, headers, got = client.response()
                assert (headers["connection"], got) == ("close", b"ab")
            else:
                assert len(server.connections) == 1
            assert client.at_end()
        assert not server.connections


def test_stop_waits_for_connections_whose_task_has_not_begun(on: Run) -> None:
    @on
    def body() -> None:
        server = WSGIServer(LOCAL, hello)
        server.start()
        clients = [stdlib.create_connection(server.address, timeout=5) for _ in range(5)]  # the hub has no turn meanwhile
        for client in clients:
            client.sendall(b"GET /in-the-queue HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not server.connections
        server.stop(5)
        for client in clients:
            with client, client.makefile("rb") as reading:
                assert reading.read().endswith(b"Hello /in-the-queue")


def test_the_time_that_a_connection_may_be_idle_begins_anew_with_each_request(virtually: Run) -> None:
    @virtually
    def body() -> None:
        clock = get_hub().clock
        with serving(hello, limits=Limits(idle_timeout=3)) as server, Client(server) as client:
            for _ in range(4):
                client.send(b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.response()[2] == b"Hello /kept"
                sleep(2)
            assert clock.now() == 8_000_000_000
            assert client.at_end()
            assert clock.now() == 9_000_000_000


def test_invariant_5_what_was_accepted_is_answered(on: Run) -> None:
    @on
    def body() -> None:
        server = WSGIServer(LOCAL, hello)
        server.start()
        with Client(server) as client, Client(server) as silent:
            client.send(b"GET /accepted HTTP/1.1\r\nHost: x\r\n\r\n")
            accepted = [server.socket.accept() for _ in range(2)] if not server.connections else []
            server.close()
            for one in accepted:
                server.do_handle(*one)
            assert client.response()[2] == b"Hello /accepted"
            assert silent.at_end()


def test_stop_kills_what_does_not_end(on: Run) -> None:
    at_work = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        at_work.append(1)
        sleep(100)

    @on
    def body() -> None:
        server = WSGIServer(LOCAL, application)
        server.start()
        with Client(server) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            while not at_work:
                sleep(0)
            server.stop(0.01)
            assert not server.connections
            with pytest.raises(ConnectionResetError):
                client.response()


def test_an_application_may_stop_the_server(on: Run) -> None:
    @on
    def body() -> None:
        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            server.stop()
            return hello(environ, start_response)

        server = WSGIServer(LOCAL, application)
        ending = spawn(server.serve_forever)
        while not server.started:
            sleep(0)
        assert exchange(server, b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"Hello /last")
        ending.get(timeout=5)


def test_the_access_log(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "coop_plugins.wsgi.access")

    @on
    def body() -> None:
        with serving(hello) as server:
            exchange(server, b"GET /a%0Ab HTTP/1.1\r\nHost: x\r\n\r\n")
            exchange(server, b"garbage\r\n\r\n")

    first, why, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("127.0.0.1 - - [")
    assert re.search(r'\] "GET /a%0Ab HTTP/1.1" 200 10 \d+\.', first)
    assert re.search(r'\] "-" 400 16 \d+\.', second)
    assert why.startswith("127.0.0.1 in '-': the request line is not")


def test_logs_can_be_given_or_left_out(on: Run) -> None:
    class Log:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def info(self, message: str, *args: Any) -> None:
            self.lines.append(message % args)

        def error(self, message: str, *args: Any, exc_info: Any) -> None:
            self.lines.append(f"{type(exc_info).__name__}")

    @on
    def body() -> None:
        log, error_log = Log(), Log()
        with serving(misuse("error"), log=log, error_log=error_log) as server:
            exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(log.lines) == 1
        assert error_log.lines == ["ZeroDivisionError"]
        with serving(misuse("error"), log=None, error_log=None) as server:
            assert b" 500 " in exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"application": 3}, "application"), ({}, "no application"), ({"application": hello, "log": 3}, "log"), ({"application": hello, "limits": 3}, "limits")],
)
def test_bad_arguments(options: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        WSGIServer(LOCAL, **options)


def test_subclasses_may_be_the_application(on: Run) -> None:
    class Site(WSGIServer):
        software = ""

        def application(self, environ: Any, start_response: Any) -> Iterable[bytes]:
            return hello(environ, start_response)

    @on
    def body() -> None:
        with Site(LOCAL) as server:
            server.start()
            answer = exchange(server, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.endswith(b"Hello /x")
            assert b"Server:" not in answer


def test_without_httptools_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['httptools'] = None\nimport coop_plugins.wsgi"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert "it is not installed: pip install httptools (" in done.stderr


def test_a_hundred_requests_each_with_its_own_context(on: Run) -> None:
    """Program 9, without werkzeug: what a request leaves in its task is seen by nobody else."""
    from contextvars import ContextVar

    mine: ContextVar[str] = ContextVar("mine")

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        mine.set(environ["PATH_INFO"])
        sleep(0.001)
        start_response("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {mine.get()}".encode()]

    @on
    def body() -> None:
        with serving(application) as server:

            def ask(number: int) -> bytes:
                source = f"127.0.0.{number % 10 + 1}"
                with socket.create_connection(server.address, timeout=5, source_address=(source, 0)) as client:
                    client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % number)
                    with client.makefile("rb") as reading:
                        return bytes(reading.read().rpartition(b"\r\n\r\n")[2])

            tasks = [spawn(ask, number) for number in range(100)]
            assert [task.get(timeout=10) for task in tasks] == [f"127.0.0.{number % 10 + 1} /{number}".encode() for number in range(100)]


class Body:
    """An iterable whose close() does what it is told."""

    def __init__(self, pieces: list[bytes], close: Callable[[], None]) -> None:
        self.pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)


def test_invariant_4_a_close_that_fails_takes_nothing_from_the_response(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("close failed")

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body([b"one", b"two"], fail)

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            for _ in range(2):  # the connection is kept
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                status, headers, got = client.response()
                assert (status, got) == (200, b"onetwo")
                assert "connection" not in headers
        assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["close failed"] * 2


def test_invariant_4_an_error_of_the_body_is_not_hidden_by_that_of_its_close(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("close failed")

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body(["text"], fail)  # type: ignore[list-item]  # the mistake that is meant

    @on
    def body() -> None:
        with serving(application) as server:
            assert exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 500 ")
        assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [RuntimeError, TypeError]


def test_invariant_4_a_kill_in_close_leaves_a_complete_response_whole(on: Run) -> None:
    def park() -> None:
        closing.append(coopcore.current_task())
        sleep(100)

    closing: list[Any] = []
    sent = b"x" * 1_000_000

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(len(sent)))])
        return Body([sent], park)

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            reading = spawn(client.response)
            while not closing:
                sleep(0.001)
            closing[0].kill(timeout=5)
            assert reading.get(timeout=5)[2] == sent
            assert client.at_end()


def test_invariant_1_nothing_is_written_to_a_response_that_has_ended(on: Run) -> None:
    writes = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        writes.append(start_response("200 OK", []))
        if environ["PATH_INFO"] == "/fails":
            raise ValueError("the application failed")
        return iter([b"one", b"two"])

    @on
    def body() -> None:
        with serving(application, error_log=None) as server, Client(server) as client:
            for path, expected in ((b"/", 200), (b"/fails", 500)):
                client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                assert client.response()[0] == expected
            assert client.at_end()
            for write in writes:
                with pytest.raises(AssertionError, match="after the response had ended"):
                    write(b"late")
