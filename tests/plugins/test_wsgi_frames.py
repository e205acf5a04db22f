"""Every frame of the corpus on a WebSocket: what must come back, the close code that is right, and the end of the connection."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest

pytest.importorskip("httptools")
pytest.importorskip("wsproto")

import coopcore
from coop_plugins import socket
from coop_plugins.wsgi import WSGIServer
from coop_plugins.wsgi.websocket import WebSocket, WebSocketClosed, websocket
from coopcore import sleep

from .http_corpus.frames import CLOSE, LARGEST, SENT, Sent

OPENING = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@websocket(max_message=LARGEST)
def echo(ws: WebSocket) -> None:
    try:
        while True:
            ws.send(ws.receive())
    except WebSocketClosed:
        pass


def frames_in(data: bytes, deflate: bool) -> Iterator[tuple[int, bytes]]:
    """Opcode and data of what a server sent: whole frames, without masks."""
    unpacker = zlib.decompressobj(wbits=-15)
    while data:
        first, size = data[0], data[1]
        assert first & 0xB0 == 0x80 and size < 128
        at = 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        piece, data = data[at : at + size], data[at + size :]
        assert len(piece) == size
        if first & 0x40:
            assert deflate
            piece = unpacker.decompress(piece + b"\0\0\xff\xff")
        yield first & 15, piece


def answer(server: WSGIServer, sent: Sent, pieces: list[bytes]) -> list[tuple[int, bytes]]:
    """What comes back until the server ends the connection."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if sent.deflate else b""
    with socket.create_connection(server.address, timeout=30) as client:
        client.sendall(OPENING + offer + b"\r\n")
        with client.makefile("rb") as reading:
            head = b"".join(iter(reading.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 101 ") and (b"permessage-deflate" in head) is sent.deflate
            got = b""
            try:
                for piece in pieces:
                    client.sendall(piece)
                    if len(pieces) > 1:
                        sleep(0)
                got = reading.read()
            except ConnectionError:
                raise AssertionError("the close frame was lost") from None
    return list(frames_in(got, sent.deflate))


@pytest.mark.parametrize("sent", [pytest.param(sent, id=f"{sent.rfc} {sent.name}") for sent in SENT])
def test_frames_get_what_they_deserve_and_the_server_serves_on(sent: Sent, caplog: pytest.LogCaptureFixture) -> None:
    """Sent whole and, if they are short, byte by byte."""

    def body() -> None:
        with WSGIServer(("127.0.0.1", 0), echo) as server:
            server.start()
            for pieces in [[sent.data]] if len(sent.data) > 300 else [[sent.data], [sent.data[at : at + 1] for at in range(len(sent.data))]]:
                *others, (opcode, last) = answer(server, sent, pieces)
                assert tuple(others) == sent.before
                assert opcode == CLOSE
                assert (struct.unpack("!H", last[:2])[0] if last else None) in sent.codes
            server.close()

    coopcore.run(body)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


OFFERS = {
    "permessage-deflate": "permessage-deflate",
    "foo, permessage-deflate": "permessage-deflate",
    "permessage-deflate; client_max_window_bits": "permessage-deflate; client_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=10": "permessage-deflate; server_max_window_bits=10",
    'permessage-deflate; server_max_window_bits="10"': "permessage-deflate; server_max_window_bits=10",
    "permessage-deflate;server_no_context_takeover": "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": "permessage-deflate",
    "permessage-deflate; foo, permessage-deflate; client_no_context_takeover": "permessage-deflate; client_no_context_takeover",
    "permessage-deflate, permessage-deflate; server_no_context_takeover": "permessage-deflate",
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; server_max_window_bits=7": None,
    "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; server_max_window_bits=010": None,
    "permessage-deflate; server_max_window_bits=+10": None,
    "permessage-deflate; server_max_window_bits=x": None,
    'permessage-deflate; server_max_window_bits="10': None,
    "permessage-deflate; client_max_window_bits=": None,
    "permessage-deflate; client_max_window_bits=0": None,
    "permessage-deflate; client_no_context_takeover=1": None,
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover": None,
    "permessage-deflate; foo": None,
    "permessage-deflate;": None,
    "permessage-deflated": None,
    "foo": None,
    ",": None,
    "": None,
}


def test_offers_of_compression_that_are_not_right_are_declined(caplog: pytest.LogCaptureFixture) -> None:
    """RFC 7692, section 7.1: the first one that can be taken is."""

    def body() -> None:
        with WSGIServer(("127.0.0.1", 0), echo) as server:
            server.start()
            for offer, agreed in OFFERS.items():
                with socket.create_connection(server.address, timeout=30) as client, client.makefile("rb") as reading:
                    client.sendall(OPENING + f"Sec-WebSocket-Extensions: {offer}\r\n\r\n".encode())
                    head = b"".join(iter(reading.readline, b"\r\n")).decode()
                assert head.startswith("HTTP/1.1 101 "), offer
                told = [line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Extensions")]
                assert told == ([] if agreed is None else [agreed]), offer
            server.close()

    coopcore.run(body)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
