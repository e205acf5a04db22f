"""What broke the server when somebody tried to: each test is of one mistake that it had."""

from __future__ import annotations

import bz2
import gzip
import lzma
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

pytest.importorskip("httptools")

import coopcore
from coop_plugins import socket
from coop_plugins.wsgi import Limits, WSGIServer, _response
from coop_plugins.wsgi._body import _SMALL, Body
from coop_plugins.wsgi._proxies import Proxies
from coopcore import sleep
from coopcore.lowlevel import deferring
from tests.plugins.test_wsgi import Client, echo, exchange, hello, on, serving
from tests.plugins.tls import client_context, server_context

__all__ = ["on"]  # a fixture

Run = Callable[[Callable[[], Any]], Any]
CONTENT = bytes(range(256)) * 400
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
GET_1_0 = b"GET / HTTP/1.0\r\n\r\n"


def secure(server: WSGIServer) -> Any:
    plain = socket.create_connection(server.address, timeout=20)
    return client_context().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


# -- requests -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "seen"),
    [
        (b"GET / HTTP/1.2", ("GET", "/", "HTTP/1.2")),
        (b"GET / HTTP/1.9", ("GET", "/", "HTTP/1.9")),
        (b"FETCH / HTTP/1.1", ("FETCH", "/", "HTTP/1.1")),
        (b"fetch / HTTP/1.1", ("fetch", "/", "HTTP/1.1")),
        (b"!#$%&'*+-.^_`|~aZ09 / HTTP/1.1", ("!#$%&'*+-.^_`|~aZ09", "/", "HTTP/1.1")),
        (b"X" * 20 + b" / HTTP/1.1", ("X" * 20, "/", "HTTP/1.1")),
        (b"OPTIONS * HTTP/1.1", ("OPTIONS", "/", "HTTP/1.1")),
    ],
)
def test_a_later_version_and_any_method_reach_the_application(on: Run, first: bytes, seen: tuple[str, ...]) -> None:
    """RFC 9110 2.5: a later minor version is served as HTTP/1.1; 9.1: which methods there are is for the application to say."""
    environs: list[Any] = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        environs.append(environ)
        return hello(environ, start_response)

    @on
    def body() -> None:
        known = seen[0] in ("GET", "OPTIONS")  # of others the validator thinks little
        with serving(validator(application) if known else application) as server, Client(server) as client:
            for _ in range(2):  # the connection is kept
                client.send(first + b"\r\nHost: x\r\n\r\n")
                assert client.response()[0] == 200

    for environ in environs:
        assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["SERVER_PROTOCOL"]) == seen
        assert environ["REQUEST_URI"] == first.split()[1].decode()
    assert len(environs) == 2


@pytest.mark.parametrize("method", [b"get", b"Get", b"pOST", b"connect", b"CONNECT", b"Pri", b"X" * 21])
def test_a_method_in_the_wrong_letters_reaches_nobody(on: Run, method: bytes) -> None:
    @on
    def body() -> None:
        with serving(hello) as server:
            assert exchange(server, method + b" / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 501 ")


def scheme(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.url_scheme"].encode()]


@pytest.mark.parametrize(("trusted", "expected"), [((), b" 421 "), (["127.0.0.1"], b"https")])
def test_a_url_of_https_is_not_served_without_tls_but_to_a_trusted_proxy(on: Run, trusted: Any, expected: bytes) -> None:
    @on
    def body() -> None:
        with serving(scheme, trusted_proxies=trusted) as server:
            for _ in range(2):  # the second time the line is remembered
                assert expected in exchange(server, b"GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert exchange(server, b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"http")


def test_a_url_of_https_is_served_over_tls(on: Run) -> None:
    @on
    def body() -> None:
        with serving(scheme, ssl_context=server_context()) as server, secure(server) as client:
            client.sendall(b"GET https://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = b""
            while piece := client.recv(1000):
                got += piece
            assert got.endswith(b"https")


def test_a_search_for_a_line_does_not_begin_at_the_first_piece() -> None:
    """Else a gigabyte without a line end, sent in small pieces, takes minutes of a `readline`."""

    class Counting(bytes):
        count = 0

        def __len__(self) -> int:
            Counting.count += 1
            return super().__len__()

    body = Body()
    for _ in range(1000):
        body.add(Counting(b"x" * _SMALL))
    Counting.count = 0
    assert body.find_line(body.size - 1) == 0
    assert Counting.count < 10


def test_a_unix_socket_has_a_port_as_pep_3333_wants_it(on: Run, tmp_path: Path) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['SERVER_NAME']} {environ['SERVER_PORT']}".encode()]

    @on
    def body() -> None:
        with WSGIServer(str(tmp_path / "socket"), application) as server:
            server.start()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(server.address)
                client.sendall(GET_1_0)
                assert client.makefile("rb").read().endswith(b"localhost 80")


def test_the_zone_of_an_address_gets_nothing_into_the_log() -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "1", "HTTP_X_FORWARDED_FOR": 'fe80::1%" 200 0'}
    Proxies(["10.0.0.1"]).apply(environ)
    assert environ["REMOTE_ADDR"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("limits", "data", "beyond"),
    [
        ({"request_line": 300}, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ({"request_line": 300}, b"GET /?%b HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ({"request_line": 300}, b"UPDATEREDIRECTREF http://x/%b HTTP/1.0\r\n\r\n", 414),
        ({"header_bytes": 300}, b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n", 431),
        ({"header_bytes": 300}, b"GET / HTTP/1.1\r\nHost: x\r\n%b: a\r\n\r\n", 431),
        ({"body_bytes": 300}, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {body}\r\n\r\n%b", 413),
        ({"body_bytes": 300}, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\n%b\r\n0\r\n\r\n", 413),
        ({"body_bytes": 300}, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n{chunk}\r\n%b\r\n0\r\n\r\n", 413),
    ],
)
@pytest.mark.parametrize("by_bytes", [False, True])
def test_a_limit_holds_to_the_byte(on: Run, limits: Any, data: bytes, beyond: int, by_bytes: bool) -> None:
    """One byte less than it allows, as many, and one more."""
    ((name, limit),) = limits.items()
    around = {"request_line": data.split()[1], "header_bytes": data.partition(b"\r\n")[2][:-2], "body_bytes": b"a" if b"1\r\na" in data else b""}
    left = limit - len(around[name].replace(b"%b", b""))

    def request(more: int) -> bytes:
        content = b"a" * (left + more)
        return data.replace(b"%b", content).replace(b"{body}", b"%d" % len(content)).replace(b"{chunk}", b"%x" % len(content))

    @on
    def body() -> None:
        with serving(echo, limits=Limits(**limits)) as server:
            for more, status in ((-1, 200), (0, 200), (1, beyond)):
                with Client(server) as client:
                    given = request(more)
                    for piece in [given[at : at + 1] for at in range(len(given))] if by_bytes else [given]:
                        client.send(piece)
                        sleep(0)
                    assert client.response()[0] == status


def test_the_number_of_headers_is_limited_to_the_last_one(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello, limits=Limits(header_count=3)) as server:
            for count, status in ((1, 200), (2, 200), (3, 431)):
                assert exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * count + b"\r\n").startswith(b"HTTP/1.1 %d " % status)


def test_the_log_says_why_a_request_was_refused(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "coop_plugins.wsgi.access")

    @on
    def body() -> None:
        with serving(hello) as server:
            assert exchange(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")

    assert caplog.records[0].getMessage() == "127.0.0.1 in '-': HTTP/1.1 wants a Host header"
    assert '"-" 400' in caplog.records[1].getMessage()


def test_what_an_application_makes_of_its_environment_breaks_no_line_of_the_log(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Middlewares put there what a proxy says."""
    remotes = ['1.2.3.4 - - [now] "GET / HTTP/1.1" 200 0 0\r\nb', "::1", None]

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        remote = remotes.pop(0)
        if remote is None:
            environ.clear()
        else:
            environ["REMOTE_ADDR"] = remote
        start_response("200 OK", [])
        return [b"x"]

    caplog.set_level("INFO", "coop_plugins.wsgi.access")

    @on
    def body() -> None:
        with serving(application) as server:
            for _ in range(3):
                assert exchange(server, GET).startswith(b"HTTP/1.1 200 ")

    first, second, third = [record.getMessage() for record in caplog.records]
    assert first.startswith("1.2.3.4%20-%20-%20%5Bnow%5D%20%22GET%20%2F%20HTTP%2F1.1%22%20200%200%200%0D%0Ab - - [")
    assert second.startswith("::1 - - [")
    assert third.startswith("- - - [")


def test_a_line_of_the_error_log_that_never_ends_is_not_kept(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        for _ in range(3000):
            environ["wsgi.errors"].write("." * 10)
        start_response("200 OK", [])
        return [b"x"]

    @on
    def body() -> None:
        with serving(application) as server:
            assert exchange(server, GET).startswith(b"HTTP/1.1 200 ")
            assert len(server.errors._unfinished) < 10_000

    assert sum(len(record.getMessage()) for record in caplog.records) > 20_000


@pytest.mark.parametrize("where", ["application", "body", "close"])
def test_an_application_that_calls_exit_ends_its_request_and_no_more(on: Run, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A parser of arguments does so, deep in a library. It ended the program, without a word in any log."""

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            if where == "body":
                raise SystemExit(3)
            return iter([b"x"])

        def close(self) -> None:
            if where == "close":
                raise SystemExit(3)

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        if where == "application":
            raise SystemExit(3)
        start_response("200 OK", [])
        return Body()

    @on
    def body() -> None:
        with serving(application) as server:
            for _ in range(2):
                assert exchange(server, GET).startswith(b"HTTP/1.1 200 " if where == "close" else b"HTTP/1.1 500 ")

    assert caplog.text.count("SystemExit: 3") == 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_signal_handler_that_calls_exit_ends_the_program_though_a_request_is_served(on: Run, wrapped: bool) -> None:
    def handler(signum: int, frame: Any) -> None:
        raise SystemExit(4)

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        signal.raise_signal(signal.SIGUSR1)
        raise AssertionError("it goes on")

    before = signal.signal(signal.SIGUSR1, deferring(handler) if wrapped else handler)
    try:
        with pytest.raises(SystemExit) as caught:

            @on
            def body() -> None:
                with serving(application) as server:
                    exchange(server, GET)

        assert caught.value.code == 4
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_an_application_answers_after_an_upgrade_is_dropped(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Views of frameworks have to return something."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        upgraded = environ["coop.upgrade"]("echo")
        upgraded.sendall(upgraded.recv(5))
        start_response("200 OK", [("Content-Length", "4")])
        return [b"page"]

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
            assert client.file.read().endswith(b"\r\n\r\nhello")

    assert caplog.text == ""


def test_a_request_that_the_server_did_not_wait_for_is_in_the_error_log(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        sleep(1000)
        return []

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(GET)
            while not any(not connection.idle for connection in server.connections):
                sleep(0)
            server.stop(0.01)

    assert "the server ended before 'GET / HTTP/1.1' from 127.0.0.1 was answered" in caplog.text


# -- answers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open, open, partial(open, buffering=0)])
def test_a_file_that_reads_something_else_out_of_its_descriptor_is_read(on: Run, opener: Any, tmp_path: Path) -> None:
    with opener(tmp_path / "file", "wb") as file:
        file.write(CONTENT)

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](opener(tmp_path / "file", "rb"))
        return body

    @on
    def body() -> None:
        with serving(application) as server:
            assert exchange(server, GET_1_0).partition(b"\r\n\r\n")[2] == CONTENT


def test_a_stream_without_an_end_ends_where_nobody_waits_for_it(on: Run) -> None:
    """For HEAD, whose client may have left, which nobody would notice."""
    ended: list[str] = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("204 No Content" if environ["PATH_INFO"] == "/204" else "200 OK", [])

        def stream() -> Iterator[bytes]:
            try:
                while True:
                    yield b"x"
                    sleep(0)
            finally:
                ended.append(environ["REQUEST_METHOD"])

        return stream()

    @on
    def body() -> None:
        with serving(application) as server, Client(server) as client:
            client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nPUT /204 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert [client.response(True)[0], client.response()[0]] == [200, 204]
            assert ended == ["HEAD", "PUT"]


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        ("200 \u20ac", [], [], "which is not Latin-1"),
        ("200 OK", [("X", "\u20ac")], [], "which is not Latin-1"),
        ("2\u0660\u0660 OK", [], [], "is not a status"),
        ("200 OK", [], b"bytes", "put them into a list"),
        ("200 OK", [], ["text"], "Encode text first"),
        ("200 OK", [], None, "has it a return on every way?"),
        ("200 OK", [], [bytearray(b"x")], "Convert it first"),
    ],
)
def test_what_an_application_does_wrong_is_said_in_the_log(on: Run, status: str, headers: Any, body: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return body

    @on
    def serve() -> None:
        with serving(application) as server:
            assert exchange(server, GET).startswith(b"HTTP/1.1 500 ")

    assert words in caplog.text


def test_servers_in_two_threads_keep_their_heads_apart() -> None:
    """What a head was last sent with, and what it is with that, are one thing: another thread may put its own in between."""
    head = _response._Head("200 OK", [("X-A", "1"), ("Content-Length", "1")])
    usual, whole = head.whole
    assert (usual, whole) == (b"", b"")
    assert "beside" not in _response._Head.__slots__


def test_an_answer_to_a_client_that_is_too_slow_does_not_look_whole(on: Run) -> None:
    """It has no length, so its end is that of the connection; and the kernel would send what it has taken, and then that end."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter([b"x" * 30_000_000])

    @on
    def body() -> None:
        with serving(application, limits=Limits(send_timeout=0.05), log=None) as server, Client(server) as client:
            client.send(GET_1_0)
            assert client.sock.recv(1) == b"H"
            while server.connections:
                sleep(0.01)
            with pytest.raises(ConnectionResetError):
                while client.sock.recv(1_000_000):
                    pass


def test_an_idle_connection_keeps_nothing_of_large_headers(on: Run) -> None:
    large = b"X-Large: " + b"x" * 5000

    @on
    def body() -> None:
        with serving(hello) as server, Client(server) as client:
            for _ in range(3):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + large + b"\r\n\r\n")
                assert client.response()[0] == 200
            (connection,) = server.connections
            assert len(connection.reader._block) == 1
            assert connection.reader._fields is None
            assert connection._with_fields == {}
            for _ in range(3):  # small ones that come again are kept
                client.send(GET)
                assert client.response()[0] == 200
            assert connection._with_fields["HTTP_HOST"] == "x"


# -- TLS ------------------------------------------------------------------------------------------------------------------------


def read_to_end(client: Any) -> tuple[bytes, bool]:
    """All that comes, and whether the other end has said that this is the end."""
    got = b""
    try:
        while piece := client.recv(1000):
            got += piece
    except OSError:
        return got, False
    return got, True


@pytest.mark.parametrize("how", ["error", "kill"])
def test_a_response_over_tls_that_is_cut_short_does_not_look_whole(on: Run, how: str) -> None:
    """Without a length the end of TLS is the end of the body, so it must not be told."""

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"part"
        if how == "kill":
            coopcore.current_task().kill(block=False)
            sleep(0)
        raise LookupError("broken")

    @on
    def body() -> None:
        with serving(application, ssl_context=server_context(), error_log=None) as server, secure(server) as client:
            client.sendall(GET_1_0)
            got, told = read_to_end(client)
            assert got.endswith(b"\r\n\r\npart")
            assert not told


@pytest.mark.parametrize("data", [b"POST / HTTP/1.0\r\nContent-Length: 1000000\r\n\r\nabc", b"nonsense\r\n\r\n"])
def test_the_end_of_an_answer_over_tls_is_told_though_the_client_may_be_sending(on: Run, data: bytes) -> None:
    @on
    def body() -> None:
        with serving(hello, ssl_context=server_context()) as server, secure(server) as client:
            client.sendall(data)
            got, told = read_to_end(client)
            assert got.startswith(b"HTTP/1.1 ")
            assert told


def test_an_answer_over_tls_is_never_sent_in_the_clear(on: Run) -> None:
    """The request has come as the server that stops ends the reading of an idle connection."""

    @on
    def body() -> None:
        with serving(hello, ssl_context=server_context()) as server, secure(server) as client:
            client.sendall(GET)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
            (connection,) = server.connections
            while not connection.idle:
                sleep(0)
            client.sendall(GET)
            connection._end_reading()
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_an_idle_connection_over_tls_ends_with_the_server(on: Run) -> None:
    @on
    def body() -> None:
        with serving(echo, ssl_context=server_context()) as server, secure(server) as client:
            client.sendall(GET)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
            server.stop(20)
            assert not server.connections
            assert read_to_end(client) == (b"", True)


def test_a_server_that_keeps_no_connections_says_so(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello) as server:
            server.keeps_connections = False
            with Client(server) as client:
                client.send(GET + GET)
                status, headers, _ = client.response()
                assert (status, headers["connection"]) == (200, "close")
                assert client.at_end()


def test_stop_ends_clients_that_are_in_the_handshake(on: Run) -> None:
    @on
    def body() -> None:
        with serving(hello, ssl_context=server_context()) as server, socket.create_connection(server.address, timeout=20) as client:
            client.sendall(b"\x16\x03\x01")
            while not server._in_handshake:
                sleep(0)
            server.stop(0.01)
            assert not server._in_handshake
            assert server._accepted == 0
            assert client.recv(10) == b""


# -- bodies in chunks that are received first -----------------------------------------------------------------------------------

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


def told(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Reads as an application that knows of nothing but Content-Length."""
    length = environ.get("CONTENT_LENGTH", "none")
    body = environ["wsgi.input"].read(int(length)) if length.isdigit() else b""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{length} {'HTTP_TRANSFER_ENCODING' in environ} {len(body)} {len(set(body))}".encode()]


@pytest.mark.parametrize("size", [0, 3, 3_000_000])
def test_a_body_in_chunks_may_be_received_first(on: Run, size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size) if size else b""

    @on
    def body() -> None:
        with serving(validator(told), spool_chunked=True) as server, Client(server) as client:
            for _ in range(2):
                client.send(CHUNKED + b"Expect: 100-continue\r\n\r\n")
                assert client.response()[0] == 100
                client.send(chunk + b"0\r\n\r\n")
                assert client.response()[2] == f"{size} False {size} {min(size, 1)}".encode()


@pytest.mark.parametrize(("sent", "status"), [(b"zz\r\n", 400), (b"5\r\nabc", 400), (b"3\r\nabc\r\nffffff\r\n", 413)])
def test_a_body_in_chunks_that_goes_wrong_never_reaches_the_application(on: Run, sent: bytes, status: int) -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise AssertionError("it was called")

    @on
    def body() -> None:
        with serving(application, spool_chunked=True, limits=Limits(body_bytes=1000)) as server:
            assert exchange(server, CHUNKED + b"\r\n" + sent).startswith(b"HTTP/1.1 %d " % status)


def test_a_kill_while_a_body_is_received_first_leaves_nothing(on: Run) -> None:
    @on
    def body() -> None:
        with serving(told, spool_chunked=True, error_log=None) as server, Client(server) as client:
            client.send(CHUNKED + b"\r\n3\r\nabc\r\n")
            while not any(not connection.idle for connection in server.connections):
                sleep(0)
            (connection,) = server.connections
            connection.task.kill()
            assert not server.connections
            assert client.at_end()
