"""A WSGI application for tests with a proxy in front of it. It knows nothing of coopcore but where it takes a WebSocket."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from coop_plugins.wsgi.websocket import WebSocket

go = threading.Event()


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def who(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    names = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")
    return [json.dumps({**{name: environ[name] for name in names}, "pid": os.getpid()}).encode()]


def upload(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    size = 0
    while piece := environ["wsgi.input"].read(1000):
        if not size:
            print("the upload has begun", flush=True)
        size += len(piece)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(size).encode()]


def events(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")])
    yield b"data: one\n\n"
    go.wait()
    yield b"data: two\n\n"


def open_gate(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    go.set()
    start_response("204 No Content", [])
    return []


def ws(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    with WebSocket.accept(environ) as socket:
        for message in socket:
            socket.send(message)
    return []


PAGES = {"/who": who, "/upload": upload, "/events": events, "/go": open_gate, "/ws": ws}
