"""Run the example programs, each under a heading: ``make demo``, or ``python scripts/demo.py [part of a name ...]``.

An example that serves until it is interrupted (its file says ``serve_forever`` and ``SIGINT``) is driven: it gets a free port, some requests at
once, and a SIGINT, after which it must exit with status 0. Every other one must end by itself with status 0.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PATIENCE = 60.0  # seconds for anything that an example does
REQUESTS = 12
SHOWN = 3


def heading(path: Path) -> None:
    number, _, name = path.stem.partition("_")
    print(f"\n=== {number}. {name.replace('_', ' ')} " + "=" * (70 - len(name)), flush=True)


def run_to_its_end(path: Path) -> int:
    """Run an example that ends by itself, its output straight to ours."""
    return subprocess.run([sys.executable, str(path)], timeout=PATIENCE, check=False).returncode


def free_port() -> int:
    """One that is free on every address: that is where the example listens. None of those that the kernel gives to clients, who may come in between."""
    both = socket.has_dualstack_ipv6()
    while True:
        port = random.randrange(15_000, 32_000)
        try:
            socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both).close()
        except OSError:
            continue
        return port


def wait_until_it_listens(server: subprocess.Popen[str], port: int) -> None:
    """Raises RuntimeError if the server ends, or is deaf for too long."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the example did not open port {port}; its status is {server.poll()}") from None
            time.sleep(0.02)


def ask(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def drive(path: Path) -> int:
    """Start an example that serves, send it requests at once, print some answers, interrupt it."""
    port = free_port()
    with subprocess.Popen([sys.executable, str(path), str(port)], text=True) as server:
        try:
            wait_until_it_listens(server, port)
            with ThreadPoolExecutor(REQUESTS) as clients:
                answers = list(clients.map(lambda number: ask(port, f"/session/{number}"), range(REQUESTS)))
            for answer in answers[:SHOWN]:
                print(answer)
            print(f"({len(answers)} requests at once; {sum(f'/session/{number}' in answer for number, answer in enumerate(answers))} saw their own path)")
            server.send_signal(signal.SIGINT)
            return server.wait(PATIENCE)
        finally:
            server.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the example programs, each under a heading.")
    parser.add_argument("names", nargs="*", help="only those whose file name contains one of these")
    names = parser.parse_args().names
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and its children too
    examples = [path for path in sorted(EXAMPLES.glob("[0-9][0-9]_*.py")) if not names or any(name in path.stem for name in names)]
    failed = []
    for path in examples:
        heading(path)
        status: object
        try:
            status = drive(path) if ".serve_forever()" in path.read_text() else run_to_its_end(path)
        except subprocess.TimeoutExpired:
            status = "still running"
        if status:
            failed.append(f"{path.name} (status {status})")
    print(f"\n{len(examples)} programs ran" + (f"; these failed: {', '.join(failed)}" if failed else ", all well"))
    return 1 if failed or not examples else 0


if __name__ == "__main__":
    sys.exit(main())
