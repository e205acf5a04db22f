"""Compare HTTP with other servers: ``python -m benchmarks.http [--rounds N] [--seconds N] [part of a row ...]``.

wrk asks, the servers answer, each in a process of its own with one worker and without an access log: this one, ``gunicorn -k gevent``, gevent's pywsgi, and
uvicorn with uvloop and httptools (an ASGI application that does the same). A figure is the CPU time of the server's processes for one request, in microseconds;
the servers take turns, and a ratio is the median over the rounds of the other's time divided by ours in the same round. More is better. A row marked ``below``
misses its floor, which makes the status 1, and one marked ``missed`` its goal.

In "hello" each client sends the same request again and again, as wrk does. In "hello, no two alike" each request has a path and a cookie of its own, so
that nothing which a server remembers of earlier ones is of use to it.
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
from contextlib import contextmanager
from pathlib import Path

SITE = '''
PAGES = {"/big": b"x" * 1_048_576}
HELLO = b"Hello, world!"

def app(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"], HELLO)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(page)))])
    return [page]

async def asgi(scope, receive, send):
    page = PAGES.get(scope["path"], HELLO)
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(page)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": page})
'''
COOPCORE = "from coop_plugins.wsgi import WSGIServer; from site_to_measure import app; WSGIServer(('127.0.0.1', {port}), app, log=None).serve_forever()"
PYWSGI = "from gevent.pywsgi import WSGIServer; from site_to_measure import app; WSGIServer(('127.0.0.1', {port}), app, log=None).serve_forever()"
NO_TWO_ALIKE = """
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", "/page/" .. number, {["Cookie"] = "session=" .. number, ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64)", ["Accept"] = "*/*"})
end
"""
OTHERS = {"gunicorn gevent": "gunicorn", "gevent pywsgi": "gevent", "uvicorn": "uvicorn"}

# What wrk is told besides; for each rival the least ratio that a change may leave behind, and the goal.
ROWS: dict[str, tuple[list[str], dict[str, tuple[float, float]]]] = {
    "hello, 50 connections": (["-c50"], {"gunicorn gevent": (3, 3), "uvicorn": (1.2, 1.5)}),
    "hello, 1,000 connections": (["-c1000"], {"gunicorn gevent": (3, 3), "uvicorn": (1.2, 1.5)}),
    "hello, no two alike": (["-c50", "-s", "no_two_alike.lua"], {"gunicorn gevent": (3, 3)}),
    "1 MiB, 50 connections": (["-c50", "/big"], {"gunicorn gevent": (0.8, 1), "uvicorn": (0.8, 1)}),
}


def command(name: str, port: int) -> list[str]:
    if name == "coopcore":
        return [sys.executable, "-c", COOPCORE.format(port=port)]
    if name == "gevent pywsgi":
        return [sys.executable, "-c", PYWSGI.format(port=port)]
    module = [sys.executable, "-m", OTHERS[name]]
    if name == "uvicorn":
        return [*module, "--loop", "uvloop", "--http", "httptools", "--port", str(port), "--no-access-log", "--log-level", "error", "site_to_measure:asgi"]
    return [*module, "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{port}", "--log-level", "error", "site_to_measure:app"]


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for process in tree(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(name: str, folder: str) -> Iterator[tuple[int, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "PYTHONPATH": folder}
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


def ask(port: int, options: list[str], seconds: float, folder: str) -> int:
    """How many requests wrk got answered."""
    path = options[-1] if options[-1].startswith("/") else "/"
    wrk = ["wrk", "-t1", f"-d{seconds:g}s", *(option for option in options if not option.startswith("/")), f"http://127.0.0.1:{port}{path}"]
    done = subprocess.run(wrk, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in", done)
    if found is None or "Non-2xx" in done:
        raise RuntimeError(f"wrk was not content: {done}")
    return int(found[1])


def measure(name: str, options: list[str], seconds: float, folder: str) -> float:
    """Microseconds of CPU time for one request."""
    with running(name, folder) as (pid, port):
        ask(port, options, 1, folder)  # warms up
        before = cpu_seconds(pid)
        count = ask(port, options, seconds, folder)
        return (cpu_seconds(pid) - before) / count * 1e6


def compare(row: str, names: list[str], rounds: int, seconds: float, folder: str) -> int:
    """Print a row. Returns how many floors it misses."""
    options, bounds = ROWS[row]
    figures: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            figures[name].append(measure(name, options, seconds, folder))
    missed = 0
    for name in names:
        ratios = [theirs / ours for theirs, ours in zip(figures[name], figures["coopcore"], strict=True)]
        ratio = statistics.median(ratios)
        floor, goal = bounds.get(name, (None, None))
        verdict = "below" if floor is not None and ratio < floor else "missed" if goal is not None and ratio < goal else ""
        missed += verdict == "below"
        spread = f"({min(ratios):.2f} - {max(ratios):.2f})"
        print(f"{row:26} {name:16} {statistics.median(figures[name]):9.1f} {ratio:6.2f} {spread:16} {floor or '':<5} {goal or '':<4} {verdict}".rstrip(), flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("rows", nargs="*", help="only rows whose name contains one of these")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("benchmarks.http: skipped, since wrk is not installed (Debian: apt install wrk)")
        return 0
    names = ["coopcore", *(name for name, module in OTHERS.items() if importlib.util.find_spec(module))]
    print(f"Python {platform.python_version()}, {options.rounds} rounds, CPU time of the server in us for one request; the other's / ours")
    print(f"{'row':26} {'server':16} {'us':>9} {'ratio':>6} {'(min - max)':16} floor goal")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "site_to_measure.py").write_text(SITE)
        (Path(folder) / "no_two_alike.lua").write_text(NO_TWO_ALIKE)
        for row in ROWS:
            if not options.rows or any(part in row for part in options.rows):
                missed += compare(row, names, options.rounds, options.seconds, folder)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
