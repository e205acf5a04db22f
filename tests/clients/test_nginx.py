"""What docs/deploy.md says of a service behind nginx, with its own commands and configuration, and a real nginx."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Request, TextMessage

from .servers.nginx_server import commands, configurations, nginx_server, serve, served
from .servers.processes import PATIENCE, Process

ONE, RESTARTED = configurations()
BEHIND, FIRST, SECOND, GUNICORN = commands()
TWO = RESTARTED + ONE.partition("}\n")[2]  # the two servers, and the rest of the first configuration

CLIENT = "127.0.0.5"  # an address of its own, since gunicorn takes those at 127.0.0.1 for proxies

pytestmark = pytest.mark.slow(reason="starts servers")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, int]]:
    with served(tmp_path_factory.mktemp("nginx"), BEHIND, ONE) as server:
        yield server


def ask(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(CLIENT, 0))
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_page_has_what_is_tested_here() -> None:
    assert [command[0] for command in (BEHIND, FIRST, SECOND, GUNICORN)] == ["coopcore", "coopcore", "coopcore", "gunicorn"]
    assert TWO.count("server unix:") == 2 and TWO.count("upstream shop {") == 1 and "location / {" in TWO


@pytest.mark.parametrize("claimed", ["", "6.6.6.6", "6.6.6.6, 127.0.0.9"])
def test_the_application_knows_who_asks(shop: tuple[Process, int], claimed: str) -> None:
    _, port = shop
    status, body = ask(port, "/who", Host="shop.example", **{"X-Forwarded-For": claimed} if claimed else {})
    assert status == 200
    assert {**json.loads(body), "pid": 0} == {"REMOTE_ADDR": CLIENT, "wsgi.url_scheme": "http", "HTTP_HOST": "shop.example", "pid": 0}


def test_a_worker_of_gunicorn_knows_it_too(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    with served(tmp_path, GUNICORN, ONE) as (process, port):
        status, body = ask(port, "/who", Host="shop.example", **{"X-Forwarded-For": "6.6.6.6"})
        assert status == 200, process.output()
        answer = json.loads(body)
        assert answer["REMOTE_ADDR"] == CLIENT and answer["pid"] != process.pid


def test_an_upload_in_chunks_comes_as_it_is_sent(shop: tuple[Process, int]) -> None:
    process, port = shop
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def pieces() -> Iterator[bytes]:
        yield bytes(100_000)
        process.line("the upload has begun")
        for _ in range(40):
            yield bytes(100_000)

    connection.request("POST", "/upload", pieces(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"4100000")
    connection.close()


def test_an_answer_in_pieces_comes_as_it_is_made(shop: tuple[Process, int]) -> None:
    _, port = shop
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.read1() == b"data: one\n\n"
    assert ask(port, "/go") == (204, b"")
    assert answer.read() == b"data: two\n\n"
    connection.close()


def test_a_websocket_passes(shop: tuple[Process, int]) -> None:
    _, port = shop
    client = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:

        def receive(kind: type) -> object:
            while True:
                for event in client.events():
                    if isinstance(event, kind):
                        return event
                client.receive_data(sock.recv(10_000) or None)

        sock.sendall(client.send(Request(host="shop.example", target="/ws")))
        receive(AcceptConnection)
        sock.sendall(client.send(Message(data="over two servers")))
        said = receive(TextMessage)
        assert isinstance(said, TextMessage) and said.data == "over two servers"
        sock.sendall(client.send(CloseConnection(code=1000)))
        receive(CloseConnection)


def test_servers_that_are_restarted_one_after_the_other_fail_no_request(tmp_path: Path) -> None:
    answers: list[tuple[int, bytes]] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            answers.append(ask(port, "/who"))

    def wait_for(more: int) -> None:
        wanted = len(answers) + more
        while len(answers) < wanted:
            over.wait(0.01)

    running = [serve(command, tmp_path) for command in (FIRST, SECOND)]
    try:
        with nginx_server(tmp_path, TWO) as port:
            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            try:
                for number, command in enumerate((FIRST, SECOND)):
                    wait_for(20)
                    running[number].child.terminate()
                    assert running[number].child.wait(PATIENCE) == 0, running[number].output()
                    wait_for(20)
                    running[number].stop()
                    running[number] = serve(command, tmp_path)
                wait_for(20)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
    finally:
        for process in running:
            process.stop()
    assert {status for status, _ in answers} == {200}, [answer for answer in answers if answer[0] != 200][:3]
    assert len({json.loads(body)["pid"] for _, body in answers}) == 4, "each of the four has served"
