"""Flask, Django and Bottle, served unchanged by ``coopcore serve``: what requests and curl see. Each is also served with ``wsgiref.validate`` around it."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httptools")
requests = pytest.importorskip("requests", reason="the client of these tests is requests: pip install requests")

SITES = {"flask": "in_flask", "django": "in_django", "bottle": "in_bottle"}
BIG = os.urandom(3_000_000)


class Site:
    """A site in a process of its own."""

    def __init__(self, name: str, files: Path, validated: bool) -> None:
        self.name = name
        module = SITES[name]
        (files / "page.txt").write_bytes(b"0123456789" * 10_000)
        environ = {**os.environ, "SITE_FILES": str(files), "SITE_MODULE": module}
        target = "validated:app" if validated else f"{module}:app"
        folder = Path(__file__).resolve().parent / "applications"
        command = [sys.executable, "-m", "coopcore", "serve", target, "--bind", "127.0.0.1:0", "--chdir", str(folder), "--quiet"]
        self.log = files / "log"  # a pipe that nobody empties would hold it up
        if name != "flask":
            command.append("--spool-chunked")  # they read no more than Content-Length says
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        while not (found := re.search(r"http://127.0.0.1:(\d+), process", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def end(self) -> tuple[int, str]:
        self.process.terminate()
        return self.process.wait(30), self.log.read_text()


@pytest.fixture(scope="module", params=[*SITES, *(f"{name}, validated" for name in SITES)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name, _, validated = request.param.partition(", ")
    pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")
    started = Site(name, tmp_path_factory.mktemp(name), bool(validated))
    try:
        yield started
        status, said = started.end()
    finally:
        started.process.kill()
    assert status == 0
    assert "AssertionError" not in said, "the validator found something"


@pytest.fixture
def session() -> Iterator[Any]:
    with requests.Session() as session:
        session.request = partial(session.request, timeout=20)
        yield session


def test_pages_and_methods(site: Site, session: Any) -> None:
    assert session.get(f"{site.url}/hello/caf%C3%A9 you").text == "Hello, café you!"
    assert session.head(f"{site.url}/hello/x").content == b""
    assert session.get(f"{site.url}/nothing/here").status_code == 404
    assert session.get(f"{site.url}/hello/again").text == "Hello, again!"


def test_a_session_is_kept_by_its_cookie(site: Site, session: Any) -> None:
    assert [session.get(f"{site.url}/visits").text for _ in range(3)] == ["1", "2", "3"]
    assert requests.get(f"{site.url}/visits").text == "1"


def test_uploads_large_and_small(site: Site, session: Any) -> None:
    for content in (b"small", BIG):
        answer = session.post(f"{site.url}/upload", data={"name": "mine"}, files={"file": ("f.bin", content)})
        assert answer.text == f"mine {len(content)} {hashlib.sha256(content).hexdigest()}"
    assert session.post(f"{site.url}/raw", data=BIG, headers={"Content-Type": "application/octet-stream"}).text == hashlib.sha256(BIG).hexdigest()


def test_an_upload_in_chunks(site: Site, session: Any) -> None:
    pieces = [BIG[start : start + 50_000] for start in range(0, 1_000_000, 50_000)]
    for some in (pieces[:1], pieces):
        answer = session.post(f"{site.url}/raw", data=iter(some), headers={"Content-Type": "application/octet-stream"})
        assert answer.text == hashlib.sha256(b"".join(some)).hexdigest()


def test_a_stream(site: Site, session: Any) -> None:
    with session.get(f"{site.url}/stream", stream=True) as answer:
        assert answer.headers.get("Transfer-Encoding") == "chunked"
        assert b"".join(answer.iter_content(1000)) == b"".join(b"%d\n" % number * 100 for number in range(1000))


def test_static_files_ranges_and_conditions(site: Site, session: Any) -> None:
    expected = b"0123456789" * 10_000
    whole = session.get(f"{site.url}/static/page.txt")
    assert whole.content == expected
    part = session.get(f"{site.url}/file/page.txt", headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) in ((206, expected[5:15]), (200, expected)), "Django's own view of files knows no ranges"
    same = session.get(f"{site.url}/file/page.txt", headers={"If-Modified-Since": whole.headers["Last-Modified"]})
    assert (same.status_code, same.content) == (304, b"")


def test_an_error_page_leaks_nothing(site: Site, session: Any) -> None:
    answer = session.get(f"{site.url}/fails")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.slow(reason="starts 100 threads, which all ask at once")
def test_a_hundred_requests_at_once_each_with_its_own_context(site: Site) -> None:
    def ask(number: int) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
        connection.request("GET", f"/context/{number}?number={number}")
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100))) == [f"{number} {number} {number} {number} True" for number in range(100)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(site: Site, tmp_path: Path) -> None:
    def curl(*arguments: str) -> bytes:
        return subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], stdout=subprocess.PIPE, check=True).stdout

    (tmp_path / "big").write_bytes(BIG)
    assert curl(f"{site.url}/hello/a", f"{site.url}/hello/b") == b"Hello, a!Hello, b!"
    assert curl("--http1.0", f"{site.url}/hello/a") == b"Hello, a!"
    assert curl("--http2", f"{site.url}/hello/a", f"{site.url}/hello/b") == b"Hello, a!Hello, b!", "an offer to upgrade is declined"
    answer = curl("-H", "Expect: 100-continue", "-F", "name=curl", "-F", f"file=@{tmp_path / 'big'}", f"{site.url}/upload")
    assert answer == f"curl {len(BIG)} {hashlib.sha256(BIG).hexdigest()}".encode()
    assert curl("-T", str(tmp_path / "big"), "-X", "POST", f"{site.url}/raw") == hashlib.sha256(BIG).hexdigest().encode()
    assert curl("-I", f"{site.url}/hello/a").startswith(b"HTTP/1.1 200 ")
