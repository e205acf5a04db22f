"""A real PostgreSQL: a cluster of its own in a temporary folder, on a Unix socket and a port."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .processes import Process, missing, started

# Nothing that is in it outlives the tests.
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "150", "shared_buffers": "16MB", "autovacuum": "off"}


class Postgres:
    """Where it is, as libpq wants to know it."""

    def __init__(self, port: int, folder: str, user: str) -> None:
        self.port = port
        self.tcp = f"host=127.0.0.1 port={port} user={user} dbname=postgres sslmode=disable"
        none = f"sslcert='{folder}/none' sslrootcert='{folder}/none'"  # and not those in the folder of who runs the tests
        self.tls = f"host=127.0.0.1 port={port} user={user} dbname=postgres sslmode=require {none}"
        self.unix = f"host='{folder}' port={port} user={user} dbname=postgres"


def _binaries() -> Path | None:
    """Debian has them in a folder for each version, which is not on PATH."""
    on_path = shutil.which("postgres")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def _as_somebody() -> tuple[str, dict[str, Any]]:
    """A user that it agrees to run as, and the arguments of Popen for that: it refuses root."""
    if os.geteuid() != 0:
        return getpass.getuser(), {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return entry.pw_name, {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def postgres_server(certificate: Path) -> Iterator[Postgres]:
    binaries = _binaries()
    if binaries is None:
        missing("postgresql")
        return
    user, popen = _as_somebody()
    with tempfile.TemporaryDirectory(prefix="coop-pg-", ignore_cleanup_errors=True) as folder:  # pytest's own folders are closed to other users
        if popen:
            os.chown(folder, popen["user"], popen["group"])
        data = str(Path(folder) / "data")
        own_certificate = shutil.copyfile(certificate, Path(folder) / "certificate.pem")
        own_certificate.chmod(0o600)
        if popen:
            os.chown(own_certificate, popen["user"], popen["group"])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        initdb = [str(binaries / "initdb"), "-D", data, "-U", user, "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale"]
        subprocess.run(initdb, check=True, capture_output=True, timeout=60, cwd=folder, env=environment, **popen)

        def start(port: int) -> Process:
            settings = {**SETTINGS, "port": str(port), "unix_socket_directories": f'"{folder}"', "listen_addresses": "127.0.0.1"}
            settings |= {"ssl": "on", "ssl_cert_file": str(own_certificate), "ssl_key_file": str(own_certificate)}
            command = [str(binaries / "postgres"), "-D", data, *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))]
            return Process("postgres", command, stop_by=signal.SIGQUIT, cwd=folder, env=environment, **popen)  # SIGQUIT: at once, nothing is kept

        with started(start, "database system is ready to accept connections") as (_, port):
            yield Postgres(port, folder, user)
