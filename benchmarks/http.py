"""Compare HTTP with other servers: ``python -m benchmarks.http [--rounds N] [--seconds N] [part of a row ...]``.

wrk asks, with kept connections; the servers answer, each with one worker and without an access log: ``coopcore serve``, gunicorn with `CoopWorker`,
``gunicorn -k gevent``, uvicorn with uvloop and httptools (with a bare ASGI application that does the same), and gevent's pywsgi. A figure is the CPU time, user
and system, of all of a server's processes for one request. The servers take turns; a ratio is the median over the rounds of the other's time divided by that of
one of ours in the same round, so more is better. A row marked ``below`` misses its floor with ``coopcore serve``, which makes the status 1, and one marked
``missed`` its goal with either of ours. As in `benchmarks.echo`, wrk and the servers share a processor, and none interrupts another. Linux only.

In "hello" each client sends the same request again and again, as wrk does. In "hello, no two alike" each request has a path and a cookie of its own, so
that nothing which a server remembers of earlier ones is of use to it. The rows of 1 MiB send or receive so much in each request.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .echo import cpu_clock, take_turns

SITE = """
from wsgiref.util import FileWrapper  # for pywsgi, which has none

HELLO = b"Hello, world!"
BIG = b"x" * 1_048_576
CHUNKS = [BIG[:16384]] * 64

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/upload":
        read, count = environ["wsgi.input"].read, 0
        while piece := read(65536):
            count += len(piece)
        pieces = [b"%d" % count]
    elif path == "/bytes":
        pieces = [BIG]
    elif path == "/list":
        pieces = CHUNKS
    elif path == "/chunks":
        pieces = iter(CHUNKS)
    elif path == "/file":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1048576")])
        return environ.get("wsgi.file_wrapper", FileWrapper)(open("big", "rb"), 65536)
    else:
        pieces = [HELLO]
    headers = [("Content-Type", "text/plain")]
    if type(pieces) is list:
        headers.append(("Content-Length", str(sum(map(len, pieces)))))
    start_response("200 OK", headers)
    return pieces

async def asgi(scope, receive, send):
    path = scope["path"]
    headers = [(b"content-type", b"text/plain")]
    if path == "/upload":
        count, more = 0, True
        while more:
            event = await receive()
            count += len(event["body"])
            more = event["more_body"]
        pieces = [b"%d" % count]
    elif path == "/bytes":
        pieces = [BIG]
    elif path in ("/list", "/chunks"):
        pieces = CHUNKS
    elif path == "/file":
        with open("big", "rb") as file:
            await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"1048576")]})
            while piece := file.read(65536):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    else:
        pieces = [HELLO]
    if path != "/chunks":
        headers.append((b"content-length", str(sum(map(len, pieces))).encode()))
    if len(pieces) == 1:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": pieces[0]})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
"""
PYWSGI = "from gevent.pywsgi import WSGIServer; from site_to_measure import app; WSGIServer(('127.0.0.1', {port}), app, log=None).serve_forever()"
NO_TWO_ALIKE = """
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", "/page/" .. number, {["Cookie"] = "session=" .. number, ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64)", ["Accept"] = "*/*"})
end
"""
UPLOAD = """
wrk.method = "POST"
wrk.body = string.rep("x", 1048576)
"""

OURS = ("coopcore serve", "gunicorn CoopWorker")
OTHERS = ("gunicorn gevent", "uvicorn", "gevent pywsgi")
NEEDS = {
    "gunicorn CoopWorker": ("gunicorn",),
    "gunicorn gevent": ("gunicorn", "gevent"),
    "uvicorn": ("uvicorn", "uvloop", "httptools"),
    "gevent pywsgi": ("gevent",),
}
Bounds = dict[str, tuple[float, float]]
HELLO: Bounds = {"gunicorn gevent": (3, 3), "uvicorn": (1.5, 1.5)}
LEVEL: Bounds = dict.fromkeys(OTHERS, (0.8, 1))
# What wrk is told besides; for each rival the least ratio that a change may leave behind, and what the project set out to reach.
ROWS: dict[str, tuple[list[str], Bounds]] = {
    "hello, 50 connections": (["-c50"], HELLO),
    "hello, 1,000 connections": (["-c1000"], HELLO),
    "hello, no two alike": (["-c50", "-s", "no_two_alike.lua"], {"gunicorn gevent": (3, 3), "uvicorn": (0.9, 1)}),
    "1 MiB up": (["-c50", "-s", "upload.lua", "/upload"], LEVEL),
    "1 MiB down, bytes": (["-c50", "/bytes"], LEVEL),
    "1 MiB down, a list of 64": (["-c50", "/list"], LEVEL),
    "1 MiB down, 64 chunks": (["-c50", "/chunks"], LEVEL),
    "1 MiB down, a file": (["-c50", "/file"], LEVEL),
}


def command(name: str, port: int) -> list[str]:
    python = [sys.executable, "-m"]
    at = f"127.0.0.1:{port}"
    if name == "coopcore serve":
        return [*python, "coopcore", "serve", "--bind", at, "--quiet", "--connections", "2000", "site_to_measure:app"]
    if name == "gevent pywsgi":
        return [sys.executable, "-c", PYWSGI.format(port=port)]
    if name == "uvicorn":
        options = ["--loop", "uvloop", "--http", "httptools", "--port", str(port), "--no-access-log", "--log-level", "error"]
        return [*python, "uvicorn", *options, "site_to_measure:asgi"]
    worker = "gevent" if name == "gunicorn gevent" else "coop_plugins.gunicorn.CoopWorker"
    return [*python, "gunicorn", "-k", worker, "--worker-connections", "2000", "-b", at, "--log-level", "error", "site_to_measure:app"]


def cpu_nanoseconds(pid: int) -> int:
    """Of a process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return time.clock_gettime_ns(cpu_clock(pid)) + sum(cpu_nanoseconds(int(child)) for child in children)


@contextmanager
def running(name: str, folder: str) -> Iterator[tuple[int, int]]:
    """A server, by its process and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path])}
    server = subprocess.Popen(command(name, port), cwd=folder, env=environ, stderr=subprocess.DEVNULL, start_new_session=True)
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
        yield server.pid, port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ask(port: int, options: list[str], seconds: int, folder: str) -> int:
    """How many requests wrk got answered."""
    path = options[-1] if options[-1].startswith("/") else "/"
    wrk = ["wrk", "-t1", f"-d{seconds}s", "--timeout", "20s", *(option for option in options if not option.startswith("/")), f"http://127.0.0.1:{port}{path}"]
    done = subprocess.run(wrk, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in", done)
    if found is None or "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(f"wrk was not content: {done}")
    return int(found[1])


def measure(pid: int, port: int, options: list[str], seconds: int, folder: str) -> float:
    """Microseconds of CPU time for one request."""
    before = cpu_nanoseconds(pid)
    count = ask(port, options, seconds, folder)
    return (cpu_nanoseconds(pid) - before) / count / 1000


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [them / us for them, us in zip(theirs, ours, strict=True)]


def report(row: str, figures: dict[str, list[float]], bounds: Bounds) -> int:
    """Print a row's lines. Returns how many floors it misses."""
    missed = 0
    for name, theirs in figures.items():
        line = f"{row:26} {name:20} {statistics.median(theirs):9.1f}"
        floor, goal = bounds.get(name, (0.0, 0.0))
        verdict = ""
        for mine in OURS if name not in OURS else ():
            if mine in figures:
                found = ratios(theirs, figures[mine])
                ratio = statistics.median(found)
                line += f" {ratio:7.2f} {f'({min(found):.2f} - {max(found):.2f})':16}"
                if mine == OURS[0] and ratio < floor:
                    verdict = "below"
                    missed += 1
                elif ratio < goal:
                    verdict = verdict or "missed"
        print(f"{line} {floor or '':<5} {goal or '':<4} {verdict}".rstrip(), flush=True)
    return missed


def compare(rows: list[str], names: list[str], rounds: int, seconds: int) -> int:
    """Run the rows. Returns how many floors were missed."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, content in (("site_to_measure.py", SITE), ("no_two_alike.lua", NO_TWO_ALIKE), ("upload.lua", UPLOAD), ("big", "x" * 1_048_576)):
            (Path(folder) / name).write_text(content)
        servers = {name: stack.enter_context(running(name, folder)) for name in names}
        for row in rows:
            options, bounds = ROWS[row]
            figures: dict[str, list[float]] = {name: [] for name in names}
            for pid, port in servers.values():
                measure(pid, port, options, 1, folder)  # warms up
            for _ in range(rounds):
                for name, (pid, port) in servers.items():
                    figures[name].append(measure(pid, port, options, seconds, folder))
            missed += report(row, figures, bounds)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--servers", nargs="*", default=[*OURS, *OTHERS], help="only those whose name contains one of these")
    parser.add_argument("rows", nargs="*", help="only rows whose name contains one of these")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("benchmarks.http: skipped, since wrk is not installed (Debian: apt install wrk)")
        return 0
    take_turns()  # the servers and wrk inherit that
    rows = [row for row in ROWS if not options.rows or any(part in row for part in options.rows)]
    names = [name for name in (*OURS, *OTHERS) if name == OURS[0] or any(part in name for part in options.servers)]
    names = [name for name in names if all(importlib.util.find_spec(module) for module in NEEDS.get(name, ()))]
    print(f"Python {platform.python_version()}, {options.rounds} rounds, CPU time of the server in us for one request; the other's / ours")
    print(f"{'row':26} {'server':20} {'us':>9} {'/ coopcore serve':24} {'/ gunicorn CoopWorker':24} floor goal")
    return 1 if compare(rows, names, options.rounds, options.seconds) else 0


if __name__ == "__main__":
    sys.exit(main())
