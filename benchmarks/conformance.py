"""How servers answer requests that are wrong: ``python -m benchmarks.conformance [--write] [server ...]``.

Sends every case of tests/plugins/http_corpus, each on a connection of its own with a good request behind it, to this server, to gevent's pywsgi and to gunicorn
with its sync and its gevent worker, all with their defaults, and tells which answers are right. ``--write`` puts the table into docs/http.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "http.md"
BEGIN, END = "<!-- table: python -m benchmarks.conformance --write -->", "<!-- end of the table -->"
PATIENCE = 2.0  # seconds that an answer, or the end of a connection, may take

APPLICATION = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"].encode("unicode_escape").decode("ascii")
    start_response("200 OK", [("X-Path", path), ("Content-Length", str(len(body)))])
    return [body]
"""
PYWSGI = """
from gevent import monkey; monkey.patch_all()
from gevent.pywsgi import WSGIServer
from site_of_cases import app
WSGIServer(("127.0.0.1", {port}), app, log=None).serve_forever()
"""


def _servers(port: int) -> dict[str, list[str]]:
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--log-level", "critical", "site_of_cases:app"]
    return {
        "coopcore": [sys.executable, "-m", "coopcore", "serve", "site_of_cases:app", "--bind", f"127.0.0.1:{port}", "--quiet"],
        "gevent pywsgi": [sys.executable, "-c", PYWSGI.format(port=port)],
        "gunicorn sync": gunicorn,
        "gunicorn gevent": [*gunicorn, "-k", "gevent"],
    }


def _corpus() -> Any:
    path = ROOT / "tests" / "plugins" / "http_corpus" / "__init__.py"
    spec = importlib.util.spec_from_file_location("http_corpus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["http_corpus"] = module
    spec.loader.exec_module(module)
    return module


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(name: str, folder: str) -> Iterator[int]:
    port = _free_port()
    server = subprocess.Popen(
        _servers(port)[name], cwd=folder, env={**os.environ, "PYTHONPATH": folder}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise RuntimeError(f"{name} did not start") from None
                time.sleep(0.05)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


# -- one case -----------------------------------------------------------------------------------------------------------


def _exchange(port: int, data: bytes) -> tuple[bytes, bool]:
    """All that comes back, and whether the server closed."""
    got = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before it was sent to its end
        try:
            while piece := client.recv(65536):
                got.append(piece)
        except TimeoutError:
            return b"".join(got), False
        except OSError:
            pass
    return b"".join(got), True


def _answers(data: bytes) -> list[tuple[int, str, bytes]]:
    """Status, path and body of each final response in a row."""
    found = []
    while match := re.match(rb"HTTP/1\.[01] (\d\d\d)[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n", data):
        status = int(match[1])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in match[2].split(b"\r\n"))}
        data = data[match.end() :]
        if status < 200:
            continue
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body, _, data = data.partition(b"0\r\n\r\n")
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            body, data = data[:length], data[length:]
        else:
            body, data = data, b""
        found.append((status, headers.get(b"x-path", b"").decode("latin-1"), body))
    if data and not found:
        found.append((400, "", data))  # an answer without a head, as to HTTP/0.9
    return found


def _verdict(case: Any, port: int, behind: bytes) -> str:
    """ "" if the answer is right, else what it was."""
    data, closed = _exchange(port, case.data + (b"" if case.cut else behind))
    answers = _answers(data)
    paths = [path for _, path, _ in answers]
    status = answers[0][0] if answers else 0
    if "/evil" in paths:
        return "smuggled"
    if not answers and not closed:
        return "silence"
    if status not in case.right:
        return str(status) if status else "closed"
    if status == 200 and answers[0][2] != case.body:
        return "another body"
    if (status == 0 or status >= 400) and "/behind" in paths:
        return f"{status}, and goes on"
    return ""


def _judge(name: str, corpus: Any, folder: str) -> dict[str, str]:
    with _running(name, folder) as port, ThreadPoolExecutor(1 if "sync" in name else 8) as pool:
        found = pool.map(lambda case: _verdict(case, port, corpus.BEHIND), corpus.CASES)
        return {case.name: verdict for case, verdict in zip(corpus.CASES, found, strict=True)}


# -- the table ----------------------------------------------------------------------------------------------------------


def _table(corpus: Any, results: dict[str, dict[str, str]]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("gevent", "gunicorn", "httptools"))
    yield f"{len(corpus.CASES)} cases, each sent at once; {versions}, with their defaults."
    yield ""
    yield "| server | right | wrong | of these smuggled |"
    yield "|---|---|---|---|"
    for name, verdicts in results.items():
        wrong = [verdict for verdict in verdicts.values() if verdict]
        yield f"| {name} | {len(verdicts) - len(wrong)} | {len(wrong)} | {wrong.count('smuggled')} |"
    yield ""
    yield "Where somebody is wrong (a status, or what happened instead; a dot is a right answer):"
    yield ""
    yield f"| case | RFC 9112, or other | right | {' | '.join(results)} |"
    yield f"|---|---|---|{'---|' * len(results)}"
    for case in corpus.CASES:
        row = [results[name][case.name] for name in results]
        if any(row):
            right = ", ".join(str(status) if status else "closed" for status in sorted(case.right, key=lambda status: status or 999))
            yield f"| {case.name} | {case.rfc} | {right} | {' | '.join(verdict or '.' for verdict in row)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/http.md")
    parser.add_argument("servers", nargs="*", help=f"of {', '.join(_servers(0))}; all by default")
    options = parser.parse_args()
    corpus = _corpus()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "site_of_cases.py").write_text(APPLICATION)
        results = {name: _judge(name, corpus, folder) for name in options.servers or _servers(0)}
    table = "\n".join(_table(corpus, results))
    print(table)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}")
    return 1 if any(results.get("coopcore", {}).values()) else 0


if __name__ == "__main__":
    sys.exit(main())
