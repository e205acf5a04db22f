"""A plain, threaded HTTP server of the standard library, unpatched, in a process of its own. It obeys lines on stdin, and ends with it.

    python web_server.py HOST [CERTIFICATE]

It prints ``ready PORT``. ``/gate/NAME/COUNT`` holds each request until ``open NAME`` comes in; when COUNT of them have arrived it prints
``full NAME``. So whoever reads that line knows that COUNT requests are in progress at once.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONG = 120.0


class Gate:
    def __init__(self) -> None:
        self.arrived = 0
        self.opened = threading.Event()


gates: dict[str, Gate] = {}
visits: Counter[str] = Counter()
lock = threading.Lock()


def say(line: str) -> None:
    print(line, flush=True)


def gate(name: str) -> Gate:
    with lock:
        return gates.setdefault(name, Gate())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        _, page, *arguments = self.path.split("/")
        getattr(self, f"page_{page}")(*arguments)

    def do_POST(self) -> None:
        """Upload: what came in, as JSON: its size, its sum, and how it came."""
        size = checksum = 0
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        for piece in self.chunks() if chunked else self.pieces(int(self.headers["Content-Length"])):
            size += len(piece)
            checksum = (checksum + sum(piece)) % 65521
        self.answer(json.dumps({"size": size, "checksum": checksum, "chunked": chunked}).encode())

    def pieces(self, left: int) -> Any:
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            yield piece

    def chunks(self) -> Any:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def page_gate(self, name: str, count: str) -> None:
        mine = gate(name)
        with lock:
            mine.arrived += 1
            full = mine.arrived == int(count)
        if full:
            say(f"full {name}")
        mine.opened.wait(LONG)
        self.answer(self.path.encode())

    def page_port(self) -> None:
        """The client's port: the same for two requests upon one connection."""
        self.answer(str(self.client_address[1]).encode())

    def page_chunked(self, count: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(count)):
            line = f"line {number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def page_gzip(self, size: str) -> None:
        self.answer(gzip.compress(bytes(int(size))), Content_Encoding="gzip")

    def page_bytes(self, size: str) -> None:
        self.answer(bytes(int(size)))

    def page_half(self, name: str) -> None:
        """Half of the body, and the rest never, or when the gate opens."""
        self.send_response(200)
        self.send_header("Content-Length", "20")
        self.end_headers()
        self.wfile.write(b"0123456789")
        self.wfile.flush()
        gate(name).opened.wait(LONG)
        self.wfile.write(b"0123456789")

    def page_redirect(self, left: str) -> None:
        where = f"/redirect/{int(left) - 1}" if int(left) else "/port"
        self.answer(b"", 302, Location=where)

    def page_flaky(self, name: str, failures: str) -> None:
        """An error of the server the first times."""
        with lock:
            visits[name] += 1
            visit = visits[name]
        if visit <= int(failures):
            self.answer(b"try again", 503, Retry_After="0")
        else:
            self.answer(str(visit).encode())

    def page_drop(self, name: str, failures: str) -> None:
        """No answer the first times: the connection is closed."""
        with lock:
            visits[name] += 1
            visit = visits[name]
        if visit <= int(failures):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.answer(str(visit).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, certificate: str | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Handler)
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection: its handshake too."""
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed went away in the middle."""
        error = sys.exception() if sys.version_info >= (3, 11) else None
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


def main() -> None:
    host, certificate = [*sys.argv[1:], None][:2]
    server = Server(str(host), certificate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"ready {server.server_address[1]}")
    for line in sys.stdin:
        word, name = line.split()
        assert word == "open", line
        gate(name).opened.set()


if __name__ == "__main__":
    main()
