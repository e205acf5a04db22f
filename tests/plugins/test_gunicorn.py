"""gunicorn with our worker: real masters, real workers."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

pytest.importorskip("httptools")
pytest.importorskip("gunicorn")

from coop_plugins.gunicorn import CoopWorker, _was_told

APPLICATION = """
import hashlib, os, threading, time

gate = threading.Barrier(40)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/together":
        gate.wait(20)
    elif path == "/slow":
        time.sleep(0.2)
    elif path == "/stuck":
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1_000_000_000)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {environ['wsgi.url_scheme']} {environ['wsgi.multiprocess']}".encode()]
"""


class Master:
    """gunicorn, at a free port of its own choice."""

    program = (sys.executable, "-m", "gunicorn")

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "shop.py").write_text(APPLICATION)
        self.log = folder / "log"
        command = [*self.program, "-k", "coop_plugins.gunicorn.CoopWorker", "-b", "127.0.0.1:0", "--log-level", "debug"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*command, *arguments, "shop"], cwd=folder, stdout=log, stderr=log)
        self.port = int(self.says(r"Listening at: http://127.0.0.1:(\d+)")[1])

    def says(self, pattern: str, times: int = 1) -> Any:
        """Wait until the log has something so often; returns the last match."""
        for _ in range(3000):
            found = list(re.finditer(pattern, self.log.read_text()))
            if len(found) >= times:
                return found[-1]
            assert self.process.poll() is None or times == 0, self.log.read_text()
            try:
                self.process.wait(0.01)
            except subprocess.TimeoutExpired:
                pass
        raise AssertionError(f"{pattern} is not in the log:\n{self.log.read_text()}")

    def hurries_until(self, pattern: str) -> None:
        """`says`, of a master that looks after its workers all the time, in place of once a second: each signal makes it do so. It ignores this one."""
        while not re.search(pattern, self.log.read_text()):
            self.process.send_signal(signal.SIGWINCH)
            time.sleep(0.02)

    def ask(self, path: str = "/", headers: Any = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            assert response.status == 200
            return response.read().decode()
        finally:
            connection.close()

    def worker(self) -> int:
        return int(self.ask().split()[0])

    def asks(self, path: str) -> socket.socket:
        """Ask, and leave the answer to be read by `answer`."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return client

    def ends(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(30)


def answer(client: socket.socket) -> bytes:
    with client, client.makefile("rb") as reading:
        return reading.read()


Start = Callable[..., Master]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    masters: list[Master] = []

    def begin(*arguments: str) -> Master:
        masters.append(Master(tmp_path, *arguments))
        return masters[-1]

    yield begin
    for master in masters:
        if master.process.poll() is None:
            master.process.terminate()
            try:
                master.process.wait(10)
            except subprocess.TimeoutExpired:
                master.process.kill()
                master.process.wait()


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
def test_requests_run_at_once_in_a_patched_worker_and_are_logged(start: Start) -> None:
    master = start("--access-logfile", "-", "--access-logformat", "%(m)s %(U)s %(s)s %(B)s %({user-agent}i)s %({content-type}o)s %({wsgi.url_scheme}e)s")
    clients = [master.asks("/together") for _ in range(40)]
    assert all(reply.startswith(b"HTTP/1.1 200 OK") for reply in map(answer, clients))
    master.ask("/logged", {"User-Agent": "test"})
    size = len(f"{master.worker()} http False")
    master.says(rf"GET /logged 200 {size} test text/plain http\n")
    assert master.ends() == 0


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
def test_sigterm_answers_what_was_accepted(start: Start) -> None:
    master = start()
    worker = master.worker()
    clients = [master.asks("/slow") for _ in range(20)]
    assert master.ends() == 0
    assert [reply.endswith(f"{worker} http False".encode()) for reply in map(answer, clients)] == [True] * 20


@pytest.mark.slow(reason="starts gunicorn, and a worker anew")
def test_a_worker_that_is_killed_is_replaced_and_takes_no_other_request_with_it(start: Start) -> None:
    master = start("--workers", "2")
    workers: set[int] = set()
    while len(workers) < 2:
        workers.add(master.worker())
    victim = workers.pop()
    (other,) = workers
    os.kill(victim, signal.SIGKILL)
    replies = [master.ask() for _ in range(50)]
    assert all(reply.endswith("http True") for reply in replies)
    master.says(r"Booting worker with pid", times=3)
    assert any(reply.startswith(f"{other} ") for reply in replies)


@pytest.mark.slow(reason="starts gunicorn, and a worker anew")
def test_a_reload_drops_no_request(start: Start) -> None:
    master = start()
    before = master.worker()
    clients = [master.asks("/slow") for _ in range(10)]
    master.process.send_signal(signal.SIGHUP)
    assert [reply.endswith(f"{before} http False".encode()) for reply in map(answer, clients)] == [True] * 10
    master.says(r"Booting worker with pid", times=2)
    while master.worker() == before:
        pass


@pytest.mark.slow(reason="starts gunicorn, and a worker anew")
def test_a_worker_ends_after_its_number_of_requests(start: Start) -> None:
    master = start("--max-requests", "5")
    first = master.worker()
    while master.worker() == first:
        pass
    master.says(r"Autorestarting worker after \d+ requests")


@pytest.mark.slow(reason="starts gunicorn, and a worker anew")
def test_a_worker_that_boots_hears_that_it_is_to_end(start: Start) -> None:
    """Told while it patches. gunicorn tells its workers once, and would wait for half a minute."""
    master = start("--graceful-timeout", "25")
    for number in range(2, 5):
        os.kill(int(master.says(r"Booting worker with pid: (\d+)", times=number - 1)[1]), signal.SIGKILL)
        master.says(r"Booting worker with pid", times=number)
    began = time.monotonic()
    assert master.ends() == 0
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("queue", [SimpleQueue[int](), []])
def test_a_worker_finds_out_what_it_was_told_before_it_could_hear(queue: Any) -> None:
    class Master:
        SIG_QUEUE = queue

        def signal(self, signum: int) -> None:
            (queue.append if isinstance(queue, list) else queue.put)(signum)

    assert not _was_told(Master().signal)
    Master().signal(signal.SIGCHLD)
    assert not _was_told(Master().signal)
    Master().signal(signal.SIGTERM)
    assert _was_told(Master().signal)
    assert not _was_told(signal.SIG_DFL)


def test_a_worker_gives_a_sign_of_life_often_enough() -> None:
    spans = []
    for seconds in (0, 1, 2, 30):
        worker = CoopWorker.__new__(CoopWorker)
        worker.timeout = seconds / 2  # as gunicorn has it
        spans.append(worker._beat_span())
    assert spans == [1.0, 0.25, 0.5, 1.0]


@pytest.mark.slow(reason="waits until gunicorn gives up on a worker: seconds, in which one must boot on a busy machine")
def test_a_worker_whose_hub_is_stuck_is_replaced(start: Start) -> None:
    master = start("--timeout", "4")
    before = master.worker()
    stuck = master.asks("/stuck")
    master.hurries_until(r"WORKER TIMEOUT")
    master.hurries_until(r"was sent SIGKILL")
    answer_of_stuck = b""
    try:
        answer_of_stuck = answer(stuck)
    except ConnectionResetError:
        pass
    assert answer_of_stuck == b""
    assert master.worker() != before


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
def test_forwarded_schemes_are_believed_of_whom_gunicorn_says(start: Start) -> None:
    assert start().ask(headers={"X-Forwarded-Proto": "https"}).split()[1] == "https", "gunicorn's default trusts this host"
    assert start("--forwarded-allow-ips", "10.1.1.1").ask(headers={"X-Forwarded-Proto": "https"}).split()[1] == "http"
    assert start("--forwarded-allow-ips", "*").ask(headers={"X-Forwarded-Proto": "https"}).split()[1] == "https"


@pytest.mark.slow(reason="starts gunicorn, which takes its time")
def test_sigint_ends_at_once(start: Start) -> None:
    master = start()
    master.worker()
    waiting = master.asks("/together")
    assert master.ends(signal.SIGINT) == 0
    waiting.close()
