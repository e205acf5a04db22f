"""Every case of the corpus against three servers, each in a process of its own; writes the tables of docs/http.md.

``python tests/plugins/http_compared.py`` needs gevent and gunicorn. All servers run with their defaults; the same client judges them, by their answers alone.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "http.md"
MARKS = "<!-- by tests/plugins/http_compared.py -->", "<!-- end -->"
PATIENCE = 5.0  # seconds until a server that neither answers nor closes is said to hang

PYWSGI = (
    "from gevent import pywsgi; import http_compared; pywsgi.WSGIServer(('127.0.0.1', {port}), http_compared.app, log=None, error_log=None).serve_forever()"
)
SERVERS = {
    "coop_plugins.wsgi": ["-m", "coopcore", "serve", "http_compared:app", "--bind", "127.0.0.1:{port}", "--quiet"],
    "pywsgi": ["-c", PYWSGI],
    "gunicorn, gevent": ["-m", "gunicorn", "-k", "gevent", "-b", "127.0.0.1:{port}", "http_compared:app"],
}


def app(environ: Any, start_response: Any) -> list[bytes]:
    """Tells in its headers what it was asked, and gives back what it read in digits, so that nothing in it looks like an answer."""
    from http_corpus import told_in

    body = b"" if environ["PATH_INFO"] == "/unread" else environ["wsgi.input"].read().hex().encode()
    path = environ["PATH_INFO"].encode("unicode_escape").decode("ascii")
    told = json.dumps(told_in(environ))
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", path), ("X-Told", told), ("Content-Length", str(len(body)))])
    return [body]


def ask(port: int, case: Any, before: bytes, after: bytes) -> tuple[bytes, bool]:
    """What comes back, and whether the connection ended."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        try:
            client.sendall(before + case.data + after)
            client.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # refused before all was sent
        try:
            while piece := client.recv(65536):
                got += piece
        except ConnectionError:
            pass
        except TimeoutError:
            return got, False
    return got, True


_ANSWER = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})[^\r\n]*((?:\r\n[^\r\n]+)*)\r\n\r\n")
_PATH = re.compile(rb"(?:^|\n)X-Path: ([^\r\n]*)", re.IGNORECASE)
_TOLD = re.compile(rb"(?:^|\n)X-Told: ([^\r\n]*)", re.IGNORECASE)


def answers_in(got: bytes) -> list[tuple[int, bytes, dict[str, str], bytes]]:
    """Status, path, what the application was told, and body of each final answer."""
    found = []
    heads = [head for head in _ANSWER.finditer(got) if head[1] >= b"200"]
    for head, end in zip(heads, [*(head.start() for head in heads[1:]), len(got)], strict=True):
        path = _PATH.search(head[2])
        told = _TOLD.search(head[2])
        found.append((int(head[1]), path[1] if path else b"", json.loads(told[1]) if told else {}, got[head.end() : end]))
    return found


def judge(port: int, case: Any) -> str:
    """Empty if all was right, else what was wrong."""
    from http_corpus import BEHIND, CLOSED, is_told

    got, ended = ask(port, case, case.before, b"" if case.cut else BEHIND)
    answers = answers_in(got)
    if any(path == b"/evil" for _, path, _, _ in answers):
        return "smuggled"
    if not answers or answers[0][1] != b"/good":
        return "no answer to the request before it"
    status, _, told, body = answers[1] if len(answers) > 1 else (CLOSED, b"", {}, b"")
    behind = any(path == b"/behind" for _, path, _, _ in answers[2:]) and (status != 200 or case.last)
    if behind or (len(answers) > 1 and answers[1][1] == b"/behind"):
        return "reads on behind it"
    if status not in case.right:
        return "no answer" if status == CLOSED else str(status)
    if not ended:
        return "hangs"
    if case.for_head:
        return f"{status}, with a body" if body else ""
    if status == 200 and body != case.body.hex().encode():
        return "200, another body"
    if status == 200 and not is_told(case, told):
        return "200, told otherwise"
    return ""


@contextmanager
def running(arguments: list[str]) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(each.format(port=port) for each in arguments)]
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def tables(cases: list[Any]) -> Iterator[str]:
    with ExitStack() as stack:
        ports = [stack.enter_context(running(arguments)) for arguments in SERVERS.values()]
        with ThreadPoolExecutor(8) as pool:
            columns = [list(pool.map(lambda case, port=port: judge(port, case), cases)) for port in ports]
    rows = list(zip(cases, *columns, strict=True))
    totals = Counter(case.rfc for case in cases)
    yield f"gevent {version('gevent')}, gunicorn {version('gunicorn')}, Python {sys.version.split()[0]}: {len(cases)} cases. Wrong answers by section:"
    yield ""
    yield "| RFC 9112, or | cases | " + " | ".join(SERVERS) + " |"
    yield "|---|---|" + "---|" * len(SERVERS)
    for section, count in totals.items():
        yield f"| {section} | {count} | " + " | ".join(str(sum(1 for row in rows if row[0].rfc == section and row[at])) for at in range(1, 4)) + " |"
    yield f"| **all** | {len(cases)} | " + " | ".join(f"**{sum(map(bool, column))}**" for column in columns) + " |"
    yield ""
    yield "The cases that a server got wrong, and what it did:"
    yield ""
    yield "| RFC 9112, or | case | " + " | ".join(SERVERS) + " |"
    yield "|---|---|" + "---|" * len(SERVERS)
    for case, *said in rows:
        if any(said):
            yield f"| {case.rfc} | {case.name.replace('|', '&#124;')} | " + " | ".join(each or "right" for each in said) + " |"


def main() -> int:
    from http_corpus import CASES

    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    table = "\n".join(tables(CASES))
    PAGE.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
