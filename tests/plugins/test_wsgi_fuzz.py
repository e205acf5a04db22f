"""The fuzz of the HTTP layer: of the reader alone, and of a whole connection over a socket in memory. ``make soak`` feeds 200,000 inputs to each."""

from __future__ import annotations

import os
import random
import re
import socket as _stdlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

pytest.importorskip("httptools")

import coopcore
from coop_plugins.wsgi import WSGIServer

from .http_corpus import CASES
from .http_fuzz import LIMITS, LONGEST, Wrong, check_reader, cut, fuzz, kept

SEED = os.environ.get("COOP_SOAK_SEED", "0")
INPUTS = int(os.environ.get("COOP_FUZZ_INPUTS", "200000"))

Check = Callable[[random.Random, bytes], None]


def test_kept_inputs_and_a_few_new_ones_are_read_as_they_must_be() -> None:
    for data in kept():
        check_reader(random.Random("kept"), data)
    fuzz(1000, "ordinary", guided=False)


def test_the_fuzz_finds_a_reader_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these faults is one that a reader may well have."""
    from coop_plugins.wsgi import _request

    monkeypatch.setattr(_request, "_PART_OF_SIZE", _request._SIZE)
    with pytest.raises(Wrong, match="pieces"):
        fuzz(3000, "0", guided=False)
    monkeypatch.undo()
    for name in ("_SIZE", "_PART_OF_SIZE"):
        monkeypatch.setattr(_request, name, re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[^\r\n]*\r?"))
    with pytest.raises(Wrong, match="llhttp"):
        fuzz(5000, "0", guided=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_reader_reads_all_inputs_as_it_must() -> None:
    fuzz(INPUTS, SEED)


# -- a whole connection ---------------------------------------------------------------------------------------------------------


class MemorySocket:
    """Hands out pieces, then the end, or an error; and keeps what is sent."""

    family = _stdlib.AF_INET

    def __init__(self, rng: random.Random, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.sent = bytearray()
        self.reads = len(pieces) + 50
        """More than a connection that makes progress needs."""
        self.breaks_after = rng.randrange(len(pieces) + 1) if rng.random() < 0.1 else None
        self.loses_after = rng.randrange(300) if rng.random() < 0.05 else None

    def recv(self, size: int) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise AssertionError("it reads on and on")
        if self.breaks_after is not None:
            if self.breaks_after == 0:
                raise ConnectionResetError("reset")
            self.breaks_after -= 1
        return self.pieces.pop(0) if self.pieces else b""

    def send(self, data: bytes, flags: int = 0) -> int:
        if self.loses_after is not None and len(self.sent) >= self.loses_after:
            raise BrokenPipeError("gone")
        self.sent += data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.send(data)

    def settimeout(self, seconds: float | None) -> None:
        assert seconds is None or seconds > 0

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    def setsockopt(self, *args: Any) -> None:
        pass

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        pass


class Log:
    """An error log that must stay empty."""

    def info(self, *args: Any) -> None:
        raise AssertionError("it is no access log")

    def error(self, message: str, *args: Any, exc_info: Any) -> None:
        raise AssertionError(message % args) from exc_info


class Connections:
    """Serves each input as a connection."""

    def __init__(self) -> None:
        self.server = WSGIServer(("127.0.0.1", 0), self.application, limits=LIMITS, log=None, error_log=Log())
        self.methods: list[str] = []
        self.rng = random.Random("application")

    def application(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.methods.append(environ["REQUEST_METHOD"])
        stream = environ["wsgi.input"]
        how = self.rng.randrange(4)
        read = stream.read() if how == 0 else stream.read(3) if how == 1 else stream.readline() if how == 2 else b""
        start_response("200 OK", [("Content-Length", str(len(read)))])
        return [read] if how else iter([read])

    def check(self, rng: random.Random, data: bytes) -> None:
        self.methods.clear()
        client = MemorySocket(rng, cut(rng, data))
        self.server.handle(client, ("127.0.0.1", 1))  # type: ignore[arg-type]  # as much of a socket as it needs
        if self.server.connections:
            raise Wrong("the connection is still there")
        if client.loses_after is None:
            self.check_answers(bytes(client.sent))

    def check_answers(self, data: bytes) -> None:
        methods = list(self.methods)
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            status = int(head[9:12])
            if not head.startswith(b"HTTP/1.1 ") or status not in (100, 200, 400, 408, 413, 414, 417, 421, 431, 501, 505):
                raise Wrong(f"this is no answer: {head!r}")
            if status == 100:
                continue
            if status >= 400:
                if data.count(b"\n") > 1 or b"\r\nConnection: close" not in head:  # of its page, which an answer to HEAD has not
                    raise Wrong("something follows a refusal")
                return
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            data = data[0 if methods.pop(0) == "HEAD" else length :]
            if b"\r\nConnection: close" in head and data:
                raise Wrong("something follows the last answer")
        if methods:
            raise Wrong(f"requests were not answered: {methods}")


def with_connections(body: Callable[[Check], None]) -> None:
    def main() -> None:
        connections = Connections()
        with connections.server:
            connections.server.start()
            body(connections.check)

    coopcore.run(main)


def test_connections_answer_kept_inputs_the_corpus_and_a_few_new_ones() -> None:
    @with_connections
    def body(check: Check) -> None:
        rng = random.Random("kept")
        for data in [*kept(), *(case.data for case in CASES if len(case.data) <= LONGEST)]:
            check(rng, data)
        fuzz(1000, "ordinary", check, guided=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_connections_answer_all_inputs_as_they_must() -> None:
    @with_connections
    def body(check: Check) -> None:
        fuzz(INPUTS, f"{SEED} connections", check, guided=False)
