"""A worker for gunicorn: ``gunicorn -k coop_plugins.gunicorn.CoopWorker module:application``.

gunicorn keeps the processes, reloads and restarts them; each of them serves by `coop_plugins.wsgi`, patched, so that an application that blocks parks its
task. This is how a service outgrows one core.

Of gunicorn's settings these reach the server: ``worker_connections``, ``keepalive`` (0: none), ``timeout`` (of a worker whose hub is stuck),
``graceful_timeout``, ``max_requests`` and its jitter, ``limit_request_line``, ``limit_request_fields``, ``limit_request_field_size``, ``forwarded_allow_ips``,
those of TLS, and those of the logs. A worker warns of one that is set and means nothing to it. What no server can be made of is an error before the worker
has booted, which ends gunicorn; after that it would start workers for ever.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from datetime import timedelta
from types import FrameType, SimpleNamespace
from typing import Any

from coopcore import get_hub, joinall, spawn
from coopcore.lowlevel import ParkingLot, deferring, hide_frames

from .patch import audit, patch
from .wsgi import Limits, WSGIServer

try:
    from gunicorn.glogging import Logger
    from gunicorn.sock import ssl_context
    from gunicorn.workers.base import Worker
except ImportError as missing:
    raise ImportError("coop_plugins.gunicorn is a worker for gunicorn, which is not installed: pip install gunicorn") from missing

__all__ = ["CoopWorker"]

_UNLIMITED = 1 << 20  # bytes: what gunicorn takes "unlimited" to be
_WITHOUT_MEANING = (
    "pre_request",
    "post_request",
    "proxy_protocol",
    "protocol",
    "http_protocols",
    "secure_scheme_headers",
    "forwarder_headers",
    "header_map",
    "permit_obsolete_folding",
    "permit_unconventional_http_method",
    "permit_unconventional_http_version",
    "casefold_http_method",
    "strip_header_spaces",
    "sendfile",
    "threads",
    "root_path",
)
_LENT = (b"LISTEN_FDS=", b"GUNICORN_FD=")  # in the environment, if others have the listener as well: systemd, a master that this one succeeds
_BEAT = 1.0  # seconds between two signs of life, at most, and between two looks at whether gunicorn's master is still there


class _Server(WSGIServer):
    """A server that keeps gunicorn's logs, and counts for its worker."""

    def __init__(self, worker: CoopWorker, listener: Any, **options: Any) -> None:
        self.worker = worker
        super().__init__(listener, worker.wsgi, log=None, error_log=worker.log.error_log, **options)
        self.keeps_connections = worker.cfg.keepalive > 0
        self._logs = _is_told(worker.log)
        self.logs_access = self._logs or bool(worker.cfg.max_requests)

    def log_answer(self, request: Any, response: Any, environ: dict[str, Any], seconds: float) -> None:
        if self._logs:
            told = SimpleNamespace(status=response.status or "-", headers=response.headers, sent=response.sent)
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
            self.worker.log.access(told, headers, environ, timedelta(seconds=seconds))
        self.worker.answered()

    def log_client(self, remote: str, line: str, error: OSError) -> None:
        self.worker.log.info("%s in %r: %s", remote or "-", line, error)

    def accepts_alone(self) -> bool:
        """True if it is certain that whoever has the listener ends: its master has closed it, nobody has lent it, and no other master has taken it over."""
        if "setproctitle" in sys.modules or any(address.startswith("fd://") for address in self.worker.cfg.bind):
            return False
        master = os.getppid()
        listener = f"socket:[{os.fstat(self.socket.fileno()).st_ino}]"
        try:
            mine = _environment(os.getpid())
            if any(name in mine for name in _LENT) or listener in _files_of(master):
                return False
            # A master that takes over (SIGUSR2) is a child of this one too, but was started with another environment.
            return all(_environment(pid) == mine or listener not in _files_of(pid) for pid in _children_of(master))
        except OSError:  # another system than Linux, or a master that is another user's
            return False


def _children_of(parent: int) -> Iterator[int]:
    """Those that have not ended. (One that has, and is not reaped yet, has no files, and tells its environment to nobody but root.)"""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        state, its_parent, *_ = [*_read(f"/proc/{pid}/stat").rpartition(b")")[2].split(), b"", b""]
        if its_parent == b"%d" % parent and state != b"Z":
            yield pid


def _files_of(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                yield os.readlink(f"{folder}/{name}")
            except FileNotFoundError:
                pass  # closed since the folder was listed
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended


def _environment(pid: int) -> bytes:
    """What a process was started with."""
    return _read(f"/proc/{pid}/environ")


def _read(path: str) -> bytes:
    """A file of a process; empty if that has ended."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _is_told(log: Any) -> bool:
    """Whether gunicorn's log wants to know of each answer. One of another class may count them, though it writes none."""
    return type(log).access is not Logger.access or getattr(log, "access_log_enabled", True)


def _was_told(inherited: Any) -> bool:
    """Whether SIGTERM has come between the fork and the worker's own handlers: that of the master, which it had until then, has put it into its queue."""
    told: Any = getattr(getattr(inherited, "__self__", None), "SIG_QUEUE", ())
    while hasattr(told, "get_nowait") and not told.empty():
        if told.get_nowait() == signal.SIGTERM:
            return True
    return isinstance(told, (list, tuple)) and signal.SIGTERM in told  # of older gunicorns


class CoopWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """One process of gunicorn's, which serves many requests at once."""

    alive: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._news = ParkingLot("the end of this worker, or its next sign of life")
        self._grace: float | None = None
        self._serves = False
        self._servers: list[_Server] = []

    def init_process(self) -> None:
        """In the new process: patch, before the application is imported; then serve."""
        # Now: gunicorn's master may be told to end while this takes its time, tells its workers so once, and waits for those that have not heard it.
        inherited = signal.signal(signal.SIGTERM, deferring(self.handle_exit))
        for signum in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(signum, deferring(self.handle_quit))
        if _was_told(inherited):
            return
        patch(warn=False)
        for finding in audit():
            self.log.debug("out of the patch's reach: %s", finding)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and make what serves it."""
        super().load_wsgi()
        for name in _WITHOUT_MEANING:
            setting = self.cfg.settings.get(name)
            if setting is not None and setting.get() != setting.default:
                self.log.warning("the setting %s has no meaning for %s", name, type(self).__name__)
        if self.cfg.preload_app:
            self.log.warning(
                "preload_app: the application was imported before this worker was patched, so what it took from the standard library then may block"
            )
        self._servers = [self._server(listener) for listener in self.sockets]

    def init_signals(self) -> None:
        """gunicorn's handlers, made safe to raise, and without its wake-up descriptor: the hub has its own."""
        super().init_signals()
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT):
            signal.signal(signum, deferring(signal.getsignal(signum)))  # type: ignore[arg-type]  # they are gunicorn's

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: end when the requests have been answered."""
        self._end()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT, SIGQUIT: end at once."""
        self._grace = 0.0
        self.cfg.worker_int(self)
        self._end()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """SIGABRT: the master has had no sign of life for ``timeout`` seconds. Say where it is stuck, and end."""
        self.log.critical("no sign of life for too long; the worker is stuck here:\n%s", "".join(traceback.format_stack(frame)))
        super().handle_abort(sig, frame)

    def answered(self) -> None:
        """Count a request, and end when there have been as many as this worker was meant for."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after %d requests", self.nr)
            self._end()

    def _end(self) -> None:
        self.alive = False
        if not self._serves:
            for listener in self.sockets:
                listener.close()  # clients whom the other workers could serve must not wait for one that ends
            raise SystemExit(0)
        if self._news:
            get_hub().call_soon_threadsafe(self._news.unpark_all)

    # -- serving --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to end, or until gunicorn's master is gone."""
        if not self.alive:
            return
        servers = self._servers
        self._serves = True
        for server in servers:
            server.start()
        while self.alive:
            self._beat()
            if self.alive:
                self._news.park(self._beat_span())
        self._stop(servers)

    def _server(self, listener: Any) -> _Server:
        cfg = self.cfg
        server = _Server(
            self,
            listener.sock,
            spawn=self.cfg.worker_connections,
            limits=_limits(cfg),
            ssl_context=ssl_context(cfg) if cfg.is_ssl else None,
            environ={"wsgi.multiprocess": cfg.workers > 1},
            trusted_proxies=[*cfg.forwarded_allow_ips, "unix"],  # gunicorn, too, believes whoever may use a Unix socket
        )
        if cfg.workers > 1:
            server.max_accept = 1  # leave some to the others
        return server

    def _beat(self) -> None:
        self.notify()
        if self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False

    def _beat_span(self) -> float:
        """Seconds until the next sign of life must be given. ``timeout`` is half of what gunicorn waits for one; 0: for ever."""
        return min(_BEAT, self.timeout / 2) if self.timeout else _BEAT

    def _stop(self, servers: list[_Server]) -> None:
        grace = self.cfg.graceful_timeout if self._grace is None else self._grace
        stopping = [spawn(server.stop, grace) for server in servers]
        while not all(task.ready() for task in stopping):
            self.notify()
            joinall(stopping, timeout=self._beat_span())


def _limits(cfg: Any) -> Limits:
    default = Limits()
    return Limits(
        request_line=cfg.limit_request_line or _UNLIMITED,
        header_count=cfg.limit_request_fields or default.header_count,
        header_bytes=(cfg.limit_request_fields * cfg.limit_request_field_size) or _UNLIMITED,
        idle_timeout=cfg.keepalive or default.idle_timeout,
    )


hide_frames(__file__)
