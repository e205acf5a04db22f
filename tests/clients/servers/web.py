"""The HTTP server in its process, and gates: pages that hold requests until the test opens them."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import Process, Program, missing

_numbers = itertools.count()


class Gate:
    """A page that answers when it was opened. ``is_full`` once as many requests as it waits for are in progress at the same time."""

    def __init__(self, server: HttpServer, count: int) -> None:
        self.name = f"gate{next(_numbers)}"
        self.path = f"/gate/{self.name}/{count}"
        self.url = server.url + self.path
        self._server = server

    def is_full(self) -> bool:
        return f"full {self.name}" in self._server.process.lines

    def open(self) -> None:
        self._server.process.tell(f"open {self.name}")

    def hold(self, program: Program) -> None:
        """Wait until it is full, see that the client idles meanwhile, and open it."""
        program.until(self.is_full, "all requests are in progress at the server")
        program.assert_idle()
        self.open()


class HttpServer:
    """Where it is. ``port`` and ``url`` are those of its one address."""

    def __init__(self, process: Process, host: str, port: int, scheme: str) -> None:
        self.process = process
        self.host = host
        self.port = port
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def authority(self, certificate: Path) -> dict[str, str]:
        """What a program is told to trust: the certificate, if there is one here."""
        return {"ca": str(certificate)} if self.url.startswith("https") else {}

    def gate(self, count: int) -> Gate:
        return Gate(self, count)


@contextmanager
def http_server(host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[HttpServer]:
    command = [sys.executable, str(Path(__file__).with_name("web_server.py")), host, *([str(certificate)] if certificate else [])]
    process = Process("web_server.py", command)
    try:
        port = int(process.line("^ready ").split()[1])
        yield HttpServer(process, host, port, "https" if certificate else "http")
    finally:
        process.stop()


def make_certificate(folder: Path) -> Path:
    """A file with a key and a certificate of its own authority for the loopback's names, for these tests alone: valid for two days."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl")
    key, path = folder / "key.pem", folder / "certificate.pem"
    names = ["subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1", "keyUsage=critical,digitalSignature,keyCertSign"]
    command = [str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extensions = [part for name in names for part in ("-addext", name)]
    subprocess.run([*command, *extensions, "-keyout", str(key), "-out", str(path)], check=True, capture_output=True, timeout=50)
    path.write_text(key.read_text() + path.read_text())
    return path
