"""Every wait of every method of ``coop_plugins.socket``, from one table: each ends by a timeout, by a kill, by a `coopcore.Timeout`, by a close and by a detach
while it waits, refuses a second task, and leaves nothing behind; on an edge-triggered and on a level-triggered backend.
"""

from __future__ import annotations

import errno
import io
import os
import socket as stdlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import coopcore
from coop_plugins import socket
from coopcore import current_task, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError
from coopcore.lowlevel import current_hub

from .tcp import accept_nothing

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
SOON = 0.01
BIG = 4_000_000  # more than any loopback buffer holds

Call = Callable[[Any], Any]
Make = Callable[[ExitStack], Any]

try:
    with stdlib.socket(stdlib.AF_INET6) as _probe:
        _probe.bind(("::1", 0))
    HAS_IPV6 = True
except OSError:
    HAS_IPV6 = False


# -- sockets at which a call has to wait --------------------------------------------------------------------------------------


def tcp(stack: ExitStack, host: str = "127.0.0.1") -> tuple[Any, Any]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        client = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        served = stack.enter_context(listener.accept()[0])
    return client, served


def quiet(stack: ExitStack) -> Any:
    return tcp(stack)[0]


def quiet_ipv6(stack: ExitStack) -> Any:
    return tcp(stack, "::1")[0]


def drained(stack: ExitStack) -> Any:
    """A TCP connection that is known to hold nothing: the next read is not even tried."""
    near, far = tcp(stack)
    waiting = spawn(near.recv, 100)
    parked(waiting)
    far.send(b"x")
    assert waiting.get(timeout=5) == b"x"
    assert near._reading.drained
    return near


def full(stack: ExitStack) -> Any:
    near, far = tcp(stack)
    accept_nothing(near, far)
    fill(near)
    return near


def quiet_unix(stack: ExitStack) -> Any:
    near, far = socket.socketpair()
    stack.enter_context(far)
    return stack.enter_context(near)


def full_unix(stack: ExitStack) -> Any:
    near = quiet_unix(stack)
    fill(near)
    return near


def quiet_packets(stack: ExitStack) -> Any:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stack.enter_context(far)
    return stack.enter_context(near)


def full_packets(stack: ExitStack) -> Any:
    near = quiet_packets(stack)
    fill(near)
    return near


def quiet_udp(stack: ExitStack) -> Any:
    near = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    near.bind(("127.0.0.1", 0))
    return near


def quiet_udp_ipv6(stack: ExitStack) -> Any:
    near = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    near.bind(("::1", 0))
    return near


def connected_datagrams(stack: ExitStack) -> Any:
    """Connected to a Unix socket whose queue is full."""
    near, address = full_receiver(stack)
    near.connect(address)
    return near


def unconnected_datagrams(stack: ExitStack) -> Any:
    """Knows a Unix socket whose queue is full. Its own descriptor is writable all the time."""
    near, address = full_receiver(stack)
    _addresses[near.fileno()] = address
    return near


_addresses: dict[int, Any] = {}


def full_receiver(stack: ExitStack) -> tuple[Any, str]:
    address = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "receiver")
    receiver = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    receiver.bind(address)
    near = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    near.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            near.sendto(b"x", address)
    near.setblocking(True)
    return near, address


def listening(stack: ExitStack) -> Any:
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def listening_unix(stack: ExitStack) -> Any:
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    made.bind("")  # in the abstract namespace, by a name that the kernel chooses
    made.listen()
    return made


def caller(stack: ExitStack) -> Any:
    """About to connect to a listener that takes no more connections: Linux drops the SYNs."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(3):
        early = stack.enter_context(socket.socket())
        early.setblocking(False)
        early.connect_ex(listener.getsockname())
    made = stack.enter_context(socket.socket())
    _addresses[made.fileno()] = listener.getsockname()
    return made


def caller_unix(stack: ExitStack) -> Any:
    """The same, with Unix sockets: the kernel says EAGAIN, and has nothing to wait for."""
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind("")
    listener.listen(0)
    with pytest.raises(BlockingIOError):
        while True:
            early = stack.enter_context(socket.socket(socket.AF_UNIX))
            early.setblocking(False)
            early.connect(listener.getsockname())
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    _addresses[made.fileno()] = listener.getsockname()
    return made


class Cipher(socket.socket):
    """As one of AF_ALG, which few kernels have in a container, with a buffer that is full."""

    __slots__ = ()

    def _sendmsg_afalg_now(self, msg: list[Any], *, op: int, flags: int = 0) -> int:  # type: ignore[override]  # an attribute there
        return self._send_now(b"".join(msg), flags)


def full_cipher(stack: ExitStack) -> Any:
    return stack.enter_context(Cipher(fileno=full_unix(stack).detach()))


def fill(sock: Any) -> None:
    sock.settimeout(0)
    size = 65536 if sock.type == socket.SOCK_STREAM else 1000
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(b"x" * size)
    sock.settimeout(None)


def parked(task: coopcore.Task[Any]) -> None:
    """Let others run until ``task`` waits."""
    while task.state != "parked":
        assert not task.dead, task.exception
        sleep(0)


# -- the table ----------------------------------------------------------------------------------------------------------------


class Wait(NamedTuple):
    name: str
    make: Make
    call: Call
    waits_at: str = "descriptor"  # or "pause", where no descriptor tells


def _by_file(mode: str, use: Call, **options: Any) -> Call:
    def call(sock: Any) -> Any:
        with sock.makefile(mode, **options) as file:
            return use(file)

    return call


def _sendfile(sock: Any) -> Any:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.flush()
        return sock.sendfile(file)


_READS: list[tuple[str, Call]] = [
    ("recv", lambda s: s.recv(10)),
    ("recv_into", lambda s: s.recv_into(bytearray(10))),
    ("recvfrom", lambda s: s.recvfrom(10)),
    ("recvfrom_into", lambda s: s.recvfrom_into(bytearray(10))),
    ("recvmsg", lambda s: s.recvmsg(10)),
    ("recvmsg_into", lambda s: s.recvmsg_into([bytearray(10)])),
]
_FILES: list[tuple[str, Call]] = [
    ("makefile read", _by_file("rb", lambda f: f.read(1))),
    ("makefile unbuffered", _by_file("rb", lambda f: f.read(1), buffering=0)),
    ("makefile readline", _by_file("r", lambda f: f.readline())),
    ("makefile iteration", _by_file("rwb", next)),
]
_WRITES: list[tuple[str, Call]] = [
    ("send", lambda s: s.send(b"x")),
    ("sendall", lambda s: s.sendall(b"x")),
    ("sendmsg", lambda s: s.sendmsg([b"x"])),
]
_STREAM_WRITES: list[tuple[str, Call]] = [
    *_WRITES,
    ("sendall in pieces", lambda s: s.sendall(bytearray(BIG))),
    ("sendfile", _sendfile),
    ("sendfile copied", lambda s: s.sendfile(io.BytesIO(b"x"))),
    ("makefile write", _by_file("wb", lambda f: f.write(b"x"), buffering=0)),
]


def _table() -> Iterator[Wait]:
    for make in (quiet, quiet_unix, quiet_packets, quiet_udp):
        for name, call in _READS:
            yield Wait(f"{make.__name__} {name}", make, call)
    for make in (quiet, quiet_unix):
        for name, call in _FILES:
            yield Wait(f"{make.__name__} {name}", make, call)
    for name, call in (*_READS[:2], _FILES[0]):
        yield Wait(f"drained {name}", drained, call)
    yield Wait("recv_fds", quiet_unix, lambda s: socket.recv_fds(s, 10, 1))
    if HAS_IPV6:
        yield Wait("quiet_ipv6 recv", quiet_ipv6, _READS[0][1])
        yield Wait("quiet_udp_ipv6 recvfrom", quiet_udp_ipv6, _READS[2][1])
    for make in (full, full_unix):
        for name, call in _STREAM_WRITES:
            yield Wait(f"{make.__name__} {name}", make, call)
    for make in (full_packets, connected_datagrams):
        for name, call in _WRITES:
            yield Wait(f"{make.__name__} {name}", make, call)
    yield Wait("send_fds", full_unix, lambda s: socket.send_fds(s, [b"x"], [s.fileno()]))
    yield Wait("sendto", unconnected_datagrams, lambda s: s.sendto(b"x", _addresses[s.fileno()]), "pause")
    yield Wait("sendto with flags", unconnected_datagrams, lambda s: s.sendto(b"x", 0, _addresses[s.fileno()]), "pause")
    yield Wait("sendmsg to an address", unconnected_datagrams, lambda s: s.sendmsg([b"x"], [], 0, _addresses[s.fileno()]), "pause")
    yield Wait("sendmsg_afalg", full_cipher, lambda s: s.sendmsg_afalg([b"x"], op=1))
    yield Wait("accept", listening, lambda s: s.accept())
    yield Wait("accept unix", listening_unix, lambda s: s.accept())
    yield Wait("connect", caller, lambda s: s.connect(_addresses[s.fileno()]))
    yield Wait("connect unix", caller_unix, lambda s: s.connect(_addresses[s.fileno()]), "pause")
    yield Wait("wait_read", quiet, lambda s: socket.wait_read(s, s.gettimeout()))
    yield Wait("wait_write", full, lambda s: socket.wait_write(s, s.gettimeout()))


TABLE = list(_table())
EACH = [pytest.param(wait, id=wait.name) for wait in TABLE]
AT_A_DESCRIPTOR = [pytest.param(wait, id=wait.name) for wait in TABLE if wait.waits_at == "descriptor"]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """``@on`` runs a function on a hub of its own; nothing may be left behind there."""

    def run(body: Callable[[], Any]) -> Any:
        def main() -> None:
            body()
            hub = current_hub()
            assert hub._fd_waiting == 0, "somebody still counts as waiting at a descriptor"
            assert not hub.timers, "a timer was left"
            assert hub.tasks() == [current_task()], "a task was left"

        return coopcore.run(main, backend=request.param)

    return run


def unharmed(sock: Any) -> None:
    """Nobody waits at it, and nobody is in the middle of a sendall."""
    assert sock._sending is None
    for place in sock._places:
        assert not place.waits


# -- how each of them ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", EACH)
def test_a_timeout_ends_it(on: Any, wait: Wait) -> None:
    @on
    def body() -> None:
        with ExitStack() as stack:
            sock = wait.make(stack)
            sock.settimeout(SOON)
            with pytest.raises(TimeoutError, match="timed out"):
                wait.call(sock)
            unharmed(sock)


@pytest.mark.parametrize("wait", EACH)
def test_a_kill_ends_it(on: Any, wait: Wait) -> None:
    @on
    def body() -> None:
        with ExitStack() as stack:
            sock = wait.make(stack)
            task = spawn(wait.call, sock)
            parked(task)
            task.kill(timeout=5)
            assert isinstance(task.value, coopcore.TaskExit)
            unharmed(sock)
            sock.settimeout(SOON)  # and another one can wait
            with pytest.raises(TimeoutError):
                wait.call(sock)


@pytest.mark.parametrize("wait", EACH)
def test_a_timeout_of_coopcore_s_ends_it(on: Any, wait: Wait) -> None:
    @on
    def body() -> None:
        with ExitStack() as stack:
            sock = wait.make(stack)
            sock.settimeout(5)
            with coopcore.Timeout(SOON) as timeout, pytest.raises(coopcore.Timeout) as caught:
                wait.call(sock)
            assert caught.value is timeout
            unharmed(sock)


@pytest.mark.parametrize("how", ["close", "detach"])
@pytest.mark.parametrize("wait", [param for param in EACH if not param.id.startswith("wait_")])
def test_ending_the_socket_ends_it(on: Any, wait: Wait, how: str) -> None:
    @on
    def body() -> None:
        with ExitStack() as stack:
            sock = wait.make(stack)
            task = spawn(wait.call, sock)
            parked(task)
            if how == "close":
                sock._real_close()  # what close() comes to when no file of makefile() is open
            else:
                stack.callback(os.close, sock.detach())
            with pytest.raises(ClosedResourceError) as caught:
                task.get(timeout=5)
            assert caught.value.errno == errno.EBADF
            unharmed(sock)


@pytest.mark.parametrize("wait", AT_A_DESCRIPTOR)
def test_a_second_task_is_refused(on: Any, wait: Wait) -> None:
    @on
    def body() -> None:
        with ExitStack() as stack:
            sock = wait.make(stack)
            first = spawn(wait.call, sock)
            parked(first)
            with pytest.raises(BusyResourceError):
                wait.call(sock)
            assert first.state == "parked"
            first.kill(timeout=5)


@pytest.mark.parametrize("wait", [param for param in EACH if not param.id.startswith("wait_")])
def test_a_socket_that_never_waits_says_so(on: Any, wait: Wait) -> None:
    @on
    def body() -> None:
        with ExitStack() as stack:
            sock = wait.make(stack)
            sock.setblocking(False)
            if "makefile" in wait.name:
                if "readline" in wait.name or "iteration" in wait.name:
                    return  # buffered text has no answer for it in the standard library either
                assert wait.call(sock) is None
            elif "sendfile" in wait.name:
                with pytest.raises(ValueError, match="non-blocking"):
                    wait.call(sock)
            else:
                with pytest.raises(BlockingIOError):
                    wait.call(sock)


@pytest.mark.skipif(sys.platform != "linux", reason="a habit of Linux")
def test_a_listener_that_says_it_is_ready_for_ever_ends_a_wait_by_its_timeout(on: Any, tmp_path: Path) -> None:
    """One at a Unix path that was shut down, at which nobody waits: readable, and EAGAIN."""

    @on
    def body() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(tmp_path / "l"))
            listener.listen()
            listener.shutdown(socket.SHUT_RD)
            listener.settimeout(SOON)
            with pytest.raises(TimeoutError):
                listener.accept()
            (tmp_path / "l").unlink()
