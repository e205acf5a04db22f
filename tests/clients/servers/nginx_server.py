"""A real nginx in front of servers of ours, with the configuration that docs/deploy.md recommends."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .processes import PROGRAMS, Process, missing, started

PAGE = Path(__file__).resolve().parents[3] / "docs" / "deploy.md"
MAIN = """
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path client;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{blocks}
}}
"""


def configurations() -> list[str]:
    """The page's blocks for nginx."""
    return re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The page's commands that start a server."""
    return [line.split() for line in re.findall(r"^    ((?:coopcore serve|gunicorn) .*shop:app.*)", PAGE.read_text(), re.MULTILINE)]


def serve(command: list[str], folder: Path) -> Process:
    """Start one of the page's commands at a socket in this folder, and wait until it serves. Its module is programs/shop.py."""
    moved = [part.replace("/run/shop/", f"{folder}/").replace("'*'", "*") for part in command[1:]]
    process = Process(command[0], [sys.executable, "-m", command[0], *moved], env={**os.environ, "PYTHONPATH": str(PROGRAMS)})
    try:
        process.line(f"coopcore serve: shop:app at unix:{folder}|Listening at: unix:{folder}")
    except BaseException:
        process.stop()
        raise
    return process


@contextmanager
def nginx_server(folder: Path, blocks: str) -> Iterator[int]:
    """nginx, with these blocks. Returns its port."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None:
        missing("nginx-light")

    def start(port: int) -> Process:
        moved = re.sub(r"[^\s;]*/run/shop/[^\s;]*", lambda word: f'"{word[0].replace("/run/shop", str(folder))}"', blocks)
        moved = moved.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        assert str(port) in moved
        settings = MAIN.format(user="user root;" if os.getuid() == 0 else "", blocks=moved)
        (folder / "nginx.conf").write_text(settings)
        return Process("nginx", [str(binary), "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"])

    with started(start, "start worker processes") as (_, port):
        yield port


@contextmanager
def served(folder: Path, command: list[str], blocks: str) -> Iterator[tuple[Process, int]]:
    """A server, and nginx in front of it."""
    with ExitStack() as stack:
        process = serve(command, folder)
        stack.callback(process.stop)
        yield process, stack.enter_context(nginx_server(folder, blocks))
