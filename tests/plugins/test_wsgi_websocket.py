"""WebSockets: against a client made of wsproto, and against the `websockets` library in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("httptools")
pytest.importorskip("wsproto")

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Pong, RejectConnection, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from coop_plugins import socket
from coop_plugins.wsgi import WSGIServer
from coop_plugins.wsgi.websocket import NotAWebSocket, WebSocket, WebSocketClosed, websocket
from coopcore import Timeout, current_task, get_hub, sleep, spawn
from coopcore.errors import BusyResourceError
from tests.plugins.test_wsgi import Client as Plain
from tests.plugins.test_wsgi import Run, exchange, on, serving

__all__ = ["on"]  # a fixture


class Client:
    """The client's end, one event at a time."""

    def __init__(self, server: WSGIServer, headers: Any = (), protocols: Any = (), extensions: Any = ()) -> None:
        self.wire = WSConnection(ConnectionType.CLIENT)
        self.sock = socket.create_connection(server.address, timeout=5)
        self.events: Any = iter(())
        self.sock.sendall(self.wire.send(Request(host="x", target="/", subprotocols=list(protocols), extensions=list(extensions), extra_headers=list(headers))))
        self.answer = self.event()

    def event(self) -> Any:
        """The next thing that comes; None when the connection ends."""
        while True:
            for event in self.events:
                return event
            data = self.sock.recv(65536)
            if not data:
                return None
            self.wire.receive_data(data)
            self.events = self.wire.events()

    def send(self, *events: Any) -> None:
        self.sock.sendall(b"".join(self.wire.send(event) for event in events))

    def message(self) -> Any:
        parts = []
        while True:
            event = self.event()
            assert isinstance(event, Message), event
            parts.append(event.data)
            if event.message_finished:
                return type(event.data)().join(parts)

    def closing(self) -> tuple[int, str | None]:
        """Wait for the close frame, and agree."""
        event = self.event()
        assert isinstance(event, CloseConnection), event
        if self.wire.state is ConnectionState.REMOTE_CLOSING:
            self.send(event.response())
        return event.code, event.reason

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


@websocket
def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def application(**options: Any) -> Callable[[Callable[[WebSocket], object]], Any]:
    made: Callable[[Callable[[WebSocket], object]], Any] = websocket(**options)
    return made


# -- messages -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_messages_go_both_ways(on: Run, compress: bool) -> None:
    @on
    def body() -> None:
        with serving(echo) as server, Client(server, extensions=[PerMessageDeflate()] if compress else []) as client:
            assert isinstance(client.answer, AcceptConnection)
            assert bool(client.answer.extensions) is compress
            for text in ("hello", "", "grüße", "x" * 200_000):
                client.send(TextMessage(data=text))
                assert client.message() == text
            client.send(BytesMessage(data=b"\0\xff"))
            assert client.message() == b"\0\xff"
            client.send(CloseConnection(code=1000))
            assert client.closing()[0] == 1000
            assert client.event() is None


def test_websocket_invariant_1_the_pieces_of_a_message_are_joined_and_several_are_kept_apart(on: Run) -> None:
    @on
    def body() -> None:
        with serving(echo) as server, Client(server) as client:
            client.send(
                TextMessage(data="a", message_finished=False),
                Ping(payload=b"in between"),
                TextMessage(data="b", message_finished=False),
                TextMessage(data="c"),
                BytesMessage(data=b"d"),
            )
            assert client.event() == Pong(payload=bytearray(b"in between"))
            assert client.message() == "abc"
            assert client.message() == b"d"


def test_websocket_invariant_1_pieces_take_little_more_than_their_bytes(on: Run) -> None:
    """Each is an object; and a client may send empty ones for ever."""

    @on
    def body() -> None:
        with serving(echo) as server, Client(server) as client:
            ws: Any = next(iter(server.connections)).upgraded.on_closing.__self__  # type: ignore[union-attr]  # it is open
            client.send(*[TextMessage(data="", message_finished=False)] * 2000, *[TextMessage(data="a", message_finished=False)] * 1500)
            client.send(Ping(payload=b"so far"))
            client.event()
            assert len(ws._parts) < 1000
            client.send(TextMessage(data="b"))
            assert client.message() == "a" * 1500 + "b"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
def test_websocket_invariant_1_a_message_that_is_too_large_closes(on: Run, compress: bool, pieces: int) -> None:
    @on
    def body() -> None:
        seen: list[int] = []

        @application(max_message=100_000)
        def handler(ws: WebSocket) -> None:
            try:
                ws.receive()
            except WebSocketClosed as closed:
                seen.append(closed.code)
                raise

        with serving(handler) as server, Client(server, extensions=[PerMessageDeflate()] if compress else []) as client:
            # What swells: ten million bytes in ten thousand.
            for piece in range(pieces):
                client.send(BytesMessage(data=bytes(10_000_000 if compress else 60_000 if pieces > 1 else 100_001), message_finished=piece == pieces - 1))
            assert client.closing() == (1009, "the message is too big")
            assert client.event() is None
        assert seen == [1009]


def test_what_the_client_sends_right_behind_its_request_is_received(on: Run) -> None:
    @on
    def body() -> None:
        with serving(echo) as server:
            wire = WSConnection(ConnectionType.CLIENT)
            request = wire.send(Request(host="x", target="/"))
            with socket.create_connection(server.address, timeout=5) as sock:
                frame = b"\x81\x82\0\0\0\0hi"  # text of two bytes, under a mask of zeros
                sock.sendall(request + frame + frame)
                received = b""
                while not received.endswith(b"\x81\x02hi\x81\x02hi"):
                    received += sock.recv(1000)


def test_messages_of_the_wrong_type(on: Run) -> None:
    @on
    def body() -> None:
        errors = []

        @websocket
        def handler(ws: WebSocket) -> None:
            with pytest.raises(TypeError, match=r"a message is a str or bytes, not dict: .*json.dumps") as caught:
                ws.send({"a": 1})  # type: ignore[arg-type]  # that is the point
            errors.append(caught.value)

        with serving(handler) as server, Client(server) as client:
            assert client.closing()[0] == 1000
        assert errors


def test_a_ping_is_answered_by_the_client(on: Run) -> None:
    @on
    def body() -> None:
        @websocket
        def handler(ws: WebSocket) -> None:
            ws.ping(b"there?")
            ws.receive()

        with serving(handler) as server, Client(server) as client:
            ping = client.event()
            assert ping == Ping(payload=bytearray(b"there?"))
            client.send(ping.response(), TextMessage(data="yes"))
            assert client.closing()[0] == 1000


def test_a_message_that_does_not_come_in_time(on: Run) -> None:
    @on
    def body() -> None:
        @websocket
        def handler(ws: WebSocket) -> None:
            with pytest.raises(TimeoutError, match="no message came in time"):
                ws.receive(timeout=0.01)
            ws.send("late")
            ws.send(ws.receive(timeout=5))
            with Timeout(0.01) as outer, pytest.raises(Timeout) as caught:
                ws.receive(timeout=5)
            assert caught.value is outer

        with serving(handler) as server, Client(server) as client:
            assert client.message() == "late"
            client.send(TextMessage(data="now"))
            assert client.message() == "now"
            assert client.closing()[0] == 1000


# -- several tasks ---------------------------------------------------------------------------------------------------------------


def test_websocket_invariant_2_frames_of_several_senders_are_not_mixed_and_keep_their_order(on: Run) -> None:
    @on
    def body() -> None:
        size = 3_000_000  # more than the kernel takes at once

        @websocket
        def handler(ws: WebSocket) -> None:
            tasks = [spawn(ws.send, str(number) * size) for number in range(4)]
            for task in tasks:
                task.join()

        with serving(handler) as server, Client(server) as client:
            assert [client.message() == str(number) * size for number in range(4)] == [True] * 4
            assert client.closing()[0] == 1000


def test_two_receivers_get_a_clear_error(on: Run) -> None:
    @on
    def body() -> None:
        errors = []

        @websocket
        def handler(ws: WebSocket) -> None:
            first = spawn(ws.receive)
            while first.state != "parked":
                sleep(0)
            with pytest.raises(BusyResourceError, match="two tasks want to receive on <WebSocket open") as caught:
                ws.receive()
            errors.append(caught.value)
            assert first.get() == "x"

        with serving(handler) as server, Client(server) as client:
            while not errors:
                sleep(0)
            client.send(TextMessage(data="x"))
            assert client.closing()[0] == 1000


def test_close_while_another_task_receives(on: Run) -> None:
    @on
    def body() -> None:
        ends = []

        @websocket
        def handler(ws: WebSocket) -> None:
            receiver = spawn(ws.receive)
            while receiver.state != "parked":
                sleep(0)
            ws.close(4000, "enough")
            try:
                receiver.get()
            except WebSocketClosed as closed:
                ends.append((closed.code, closed.reason))

        with serving(handler) as server, Client(server) as client:
            assert client.closing() == (4000, "enough")
            assert client.event() is None
        assert ends == [(4000, "enough")]


# -- ends -----------------------------------------------------------------------------------------------------------------------


def ends_of(on: Run, act: Callable[[Client], object]) -> list[Any]:
    """What a handler that receives, and then sends, meets when the client does something."""
    seen: list[Any] = []

    @on
    def body() -> None:
        done = []

        @websocket
        def handler(ws: WebSocket) -> None:
            for call in (ws.receive, lambda: ws.send("x"), ws.receive, lambda: ws.ping()):
                try:
                    call()
                except WebSocketClosed as closed:
                    seen.append((closed.code, closed.reason))
            ws.close()
            done.append(True)

        with serving(handler) as server, Client(server) as client:
            act(client)
            while not done:
                sleep(0)

    return seen


def test_websocket_invariant_3_the_client_closes(on: Run) -> None:
    assert ends_of(on, lambda client: client.send(CloseConnection(code=4001, reason="bored"))) == [(4001, "bored")] * 4


def test_websocket_invariant_3_the_client_closes_without_a_code(on: Run) -> None:
    assert ends_of(on, lambda client: client.sock.sendall(b"\x88\x80\0\0\0\0")) == [(1005, "")] * 4


def test_websocket_invariant_3_the_client_is_gone(on: Run) -> None:
    assert ends_of(on, lambda client: client.sock.close()) == [(1006, "the client ended the connection without closing the WebSocket")] * 4


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\xf1\x82\0\0\0\0hi", 1002),  # reserved bits
        (b"\x81\x82\0\0\0\0\xff\xff", 1007),  # no UTF-8
        (b"\x80\x82\0\0\0\0hi", 1002),  # a continuation of nothing
        (b"\x89\xfe\x01\0\0\0\0\0" + bytes(256), 1002),  # a ping that is too long
    ],
)
def test_websocket_invariant_3_the_client_breaks_the_protocol(on: Run, frame: bytes, code: int) -> None:
    assert [seen for seen, _ in ends_of(on, lambda client: client.sock.sendall(frame))] == [code] * 4


def test_websocket_invariant_3_nothing_is_sent_after_a_close(on: Run) -> None:
    @on
    def body() -> None:
        seen = []

        @websocket
        def handler(ws: WebSocket) -> None:
            ws.close(4002, "over")
            for call in (lambda: ws.send("x"), ws.ping, ws.receive):
                try:
                    call()
                except WebSocketClosed as closed:
                    seen.append(closed.code)
            ws.close()
            assert repr(ws).startswith("<WebSocket closed 4002 of ")

        with serving(handler) as server, Client(server) as client:
            assert client.closing() == (4002, "over")
            assert client.event() is None
        assert seen == [4002] * 3


def test_a_client_that_does_not_agree_to_close_is_left(on: Run) -> None:
    @on
    def body() -> None:
        @application(close_timeout=0.02)
        def handler(ws: WebSocket) -> None:
            pass

        with serving(handler) as server, Client(server) as client:
            assert isinstance(client.event(), CloseConnection)
            assert client.event() is None


def test_a_handler_that_fails_closes_with_1011_and_is_logged(on: Run, caplog: pytest.LogCaptureFixture) -> None:
    @on
    def body() -> None:
        @websocket
        def handler(ws: WebSocket) -> None:
            raise KeyError("the handler's own")

        with serving(handler) as server, Client(server) as client:
            assert client.closing() == (1011, "internal error")

    assert 'KeyError: "the handler\'s own"' in caplog.text


def test_a_server_that_stops_says_goodbye(on: Run) -> None:
    @on
    def body() -> None:
        seen = []

        @websocket
        def handler(ws: WebSocket) -> None:
            ws.send("ready")
            for message in ws:
                seen.append(message)
            seen.append("over")

        with serving(handler) as server:
            with Client(server) as client:
                assert client.message() == "ready"
                stopping = spawn(server.stop, 5)
                assert client.closing() == (1001, "the server stops")
            stopping.get(timeout=5)
        assert seen == ["over"]


@pytest.mark.parametrize("what", ["receive", "send", "close"])
def test_a_kill_at_any_wait_leaves_nothing(on: Run, what: str) -> None:
    @on
    def body() -> None:
        tasks = []

        @websocket
        def handler(ws: WebSocket) -> None:
            tasks.append(current_task())
            getattr(ws, what)(*(["x" * 50_000_000] if what == "send" else []))

        with serving(handler) as server, Client(server):
            while not tasks or tasks[0].state != "parked":
                sleep(0)
            tasks[0].kill(timeout=15)
            assert tasks[0].dead
            while server.connections:
                sleep(0)
        while len(get_hub().tasks()) > 1:
            sleep(0)
        assert get_hub().tasks() == [current_task()]


# -- opening --------------------------------------------------------------------------------------------------------------------

OPENING = {
    "Host": "x",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def opening(method: str = "GET", **changes: str | None) -> bytes:
    headers = OPENING | {name.replace("_", "-"): value for name, value in changes.items()}
    return "".join([f"{method} / HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None), "\r\n"]).encode()


def test_the_sample_of_the_standard(on: Run) -> None:
    """RFC 6455, section 1.3."""

    @on
    def body() -> None:
        with serving(websocket(lambda ws: None, close_timeout=0.01)) as server:
            assert exchange(server, opening()).startswith(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            )


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (426, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (426, opening(Upgrade="h2c")),
        (426, opening(Connection="close")),
        (426, opening(method="POST")),
        (426, opening(Sec_WebSocket_Version="8")),
        (426, opening(Sec_WebSocket_Version=None)),
        (400, opening(Sec_WebSocket_Key=None)),
        (400, opening(Sec_WebSocket_Key="short")),
        (400, opening(Sec_WebSocket_Key="!" * 24)),
        (403, opening()),
        (403, opening(Origin="http://evil.example")),
    ],
)
def test_requests_that_open_none(on: Run, status: int, request_: bytes) -> None:
    @on
    def body() -> None:
        with serving(websocket(lambda ws: None, origins=["http://good.example"])) as server, Plain(server) as client:
            client.send(request_)
            got, headers, _ = client.response()
            assert got == status
            assert (headers.get("sec-websocket-version") == "13") is (status == 426)
            assert (headers.get("upgrade") == "websocket" and "Upgrade" in headers["connection"]) is (status == 426)


def test_an_origin_that_is_let_in(on: Run) -> None:
    @on
    def body() -> None:
        with serving(websocket(lambda ws: None, origins=["http://good.example"])) as server:
            with Client(server, headers=[(b"Origin", b"http://good.example")]) as client:
                assert isinstance(client.answer, AcceptConnection)
            with Client(server, headers=[(b"Origin", b"http://other.example")]) as client:
                assert isinstance(client.answer, RejectConnection)


def test_the_best_subprotocol_that_both_speak(on: Run) -> None:
    @on
    def body() -> None:
        @application(subprotocols=["best", "good"])
        def handler(ws: WebSocket) -> None:
            ws.send(f"{ws.subprotocol} {ws.environ['PATH_INFO']}")

        with serving(handler) as server:
            for theirs, chosen in ((["good", "best"], "best"), (["poor", "good"], "good"), (["poor"], None), ([], None)):
                with Client(server, protocols=theirs) as client:
                    assert client.answer.subprotocol == chosen
                    assert client.message() == f"{chosen} /"


def test_accept_inside_of_another_application(on: Run) -> None:
    @on
    def body() -> None:
        def mixed(environ: Any, start_response: Any) -> Any:
            try:
                ws = WebSocket.accept(environ)
            except NotAWebSocket:
                start_response("200 OK", [])
                return [b"a page"]
            with pytest.raises(AssertionError, match="a connection can only go over to another protocol in place of start_response"):
                environ["coop.upgrade"]("websocket")
            with ws:
                ws.send("a message")
            return [b"never seen"]

        with serving(mixed) as server:
            with Client(server) as client:
                assert client.message() == "a message"
                assert client.closing()[0] == 1000
                assert client.event() is None
            with Plain(server) as plain:
                plain.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert plain.response()[2] == b"a page"


def test_the_websockets_library_as_client(on: Run) -> None:
    client = pytest.importorskip("websockets.sync.client")

    @on
    def body() -> None:
        got: list[Any] = []

        def in_thread(url: str) -> None:
            with client.connect(url) as ws:
                for message in ("one", b"two", "x" * 100_000):
                    ws.send(message)
                    got.append(ws.recv() == message)
                ws.ping().wait(5)
            got.append(ws.close_code)

        with serving(echo) as server:
            thread = threading.Thread(target=in_thread, args=(f"ws://127.0.0.1:{server.server_port}/",))
            thread.start()
            while thread.is_alive():
                sleep(0.001)
            thread.join()
        assert got == [True, True, True, 1000]
