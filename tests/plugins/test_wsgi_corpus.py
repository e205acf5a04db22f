"""Every case of the corpus against the server: the right answer, nothing after it, nothing smuggled, nothing leaked, and the server serves on."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httptools")

import coopcore
from coop_plugins import socket
from coop_plugins.wsgi import Limits, WSGIServer
from coopcore import get_hub, sleep

from .http_corpus import BEHIND, CASES, CLOSED, GOOD, Case, is_told, sent_whole_and_in_pieces, told_in

LIMITS = Limits(body_bytes=1_000_000)


class Site:
    """An application that tells what it was asked, and gives back what it read, unless it is to leave the body alone."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        body = b"" if environ["PATH_INFO"] == "/unread" else environ["wsgi.input"].read()
        self.seen.append((environ["PATH_INFO"], body, told_in(environ)))
        start_response("200 OK", [("X-Path", environ["PATH_INFO"].encode("unicode_escape").decode("ascii"))])
        return [body]


def statuses(answer: bytes, for_head: int = -1) -> list[int]:
    """Of all final responses in a row, which all have a Content-Length, and a body, but for the one of that number."""
    found: list[int] = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), f"what follows a response is none: {head!r}"
        status = int(first.split()[1])
        if status >= 200:
            found.append(status)
            lengths = [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"content-length:")]
            if len(found) != for_head + 1:
                assert len(lengths) == 1
                answer = answer[int(lengths[0]) :]
            assert status < 400 or (b"Connection: close" in lines and not answer), "nothing follows a refusal"
    return found


def ask(server: WSGIServer, before: bytes, pieces: list[bytes], after: bytes) -> bytes:
    """All that comes back until the server closes; b"" for a reset without an answer."""
    got = []
    with socket.create_connection(server.address, timeout=5) as client:
        try:
            client.sendall(before)
            for piece in pieces:
                client.sendall(piece)
                if len(pieces) > 1:
                    sleep(0)
            client.sendall(after)
            client.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # refused before it was sent to its end
        try:
            while piece := client.recv(65536):
                got.append(piece)
        except ConnectionError:
            pass
    return b"".join(got)


def check(case: Case, server: WSGIServer, site: Site, pieces: list[bytes]) -> None:
    site.seen.clear()
    answers = statuses(ask(server, case.before, pieces, b"" if case.cut else BEHIND), 1 if case.for_head else -1)
    assert answers[:1] == [200], "the good request before it"
    first = answers[1] if len(answers) > 1 else CLOSED
    assert first in case.right
    assert first != 200 or not case.strict, "this server is strict"
    paths = [path for path, _, _ in site.seen]
    assert "/evil" not in paths
    if first == 200:
        _, read, told = site.seen[1]
        assert read == case.body or case.for_head
        assert is_told(case, told), told
    if case.last or first >= 400 or first == CLOSED:
        assert "/behind" not in paths, "a request was read behind a mistake"


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.rfc} {case.name}".encode("ascii", "replace").decode()) for case in CASES])
def test_a_case_gets_a_right_answer_and_the_server_serves_on(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Sent whole and, if it is short, byte by byte, behind a good request, with another one behind it."""
    site = Site()

    def body() -> None:
        with WSGIServer(("127.0.0.1", 0), site, limits=LIMITS) as server:
            server.start()
            for pieces in sent_whole_and_in_pieces(case):
                check(case, server, site, pieces)
            assert statuses(ask(server, GOOD, [], b"")) == [200]
            assert len(server.connections) <= 1
            server.close()  # stop() would wait for clients that are on their way

    coopcore.run(body)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def test_the_whole_corpus_leaves_nothing_behind() -> None:
    """All cases against one server: tasks, descriptors and objects are as many afterwards as before."""

    def body() -> None:
        site = Site()
        with WSGIServer(("127.0.0.1", 0), site, limits=LIMITS) as server:
            server.start()
            counts = []
            for _ in range(3):
                for case in CASES:
                    if len(case.data) < 1000:
                        ask(server, b"", [case.data], b"")
                while server.connections:
                    sleep(0)
                site.seen.clear()
                gc.collect()
                counts.append((len(get_hub().tasks()), descriptors(), len(gc.get_objects())))
            assert counts[2][0] == counts[1][0] and counts[2][1] <= counts[1][1]
            assert counts[2][2] - counts[1][2] < len(CASES) // 10, "no object for each case"

    coopcore.run(body)


def test_the_corpus_is_large_and_names_a_section_for_each_case() -> None:
    assert len(CASES) >= 150
    assert all(case.rfc and case.name and case.right for case in CASES)


def test_the_published_table_is_of_this_corpus() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text()
    assert f": {len(CASES)} cases." in page, "run tests/plugins/http_compared.py"
    assert f"| **all** | {len(CASES)} | **0** |" in page
