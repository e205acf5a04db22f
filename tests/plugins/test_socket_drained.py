"""Reads that are not tried: when a TCP connection is known to hold nothing, `recv` and `recv_into` park at once. What must not go wrong with that."""

from __future__ import annotations

import os
import random
import select
import socket as stdlib
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins import socket
from coop_plugins.clock import VirtualClock
from coop_plugins.socket import _core
from coopcore import sleep, spawn
from coopcore.lowlevel import READABLE, current_hub

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]

Body = Callable[[Any, Any], Any]


def tcp_pair() -> tuple[Any, Any]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    """``@on`` runs ``body(near, far)`` with a TCP connection whose near end has read all there was, and knows it."""

    return lambda body: run(body, request.param)


@pytest.fixture(params=BACKENDS)
def virtually(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    """The same in virtual time."""
    return lambda body: run(body, request.param, VirtualClock(settle=0.05))


def run(body: Body, backend: str, clock: Any = None) -> None:
    def main() -> None:
        near, far = tcp_pair()
        with near, far:
            drain(near, far)
            body(near, far)

    coopcore.run(main, backend=backend, clock=clock)


def drain(near: Any, far: Any) -> None:
    """Have ``near`` wait once, and read less than it asks for."""
    waiting = spawn(near.recv, 100)
    parked(waiting)
    far.sendall(b"first")
    assert waiting.get(timeout=5) == b"first"
    assert near._reading.drained


def parked(task: coopcore.Task[Any]) -> None:
    while task.state != "parked":
        assert not task.dead, task.exception
        sleep(0)


def arrived(sock: Any) -> None:
    """Wait until there is something to read, behind the back of the hub."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    assert poll.poll(5000)


class Tries:
    """Counts how often a socket's class has tried to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("_recv_now", "_recv_into_now"):
            monkeypatch.setattr(_core.socket, name, self.counted(getattr(_core.socket, name)))

    def counted(self, method: Any) -> Any:
        def call(*args: Any) -> Any:
            self.count += 1
            return method(*args)

        return call


@pytest.mark.parametrize("how", ["recv", "recv_into", "makefile"])
@pytest.mark.parametrize("timeout", [None, 5])
def test_a_message_costs_one_try(on: Any, monkeypatch: pytest.MonkeyPatch, how: str, timeout: float | None) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        near.settimeout(timeout)
        buffer = bytearray(100)

        def read() -> bytes:
            if how == "recv":
                return bytes(near.recv(100))
            if how == "recv_into":
                return bytes(buffer[: near.recv_into(buffer)])
            with near.makefile("rb", buffering=0) as file:
                return bytes(file.read(100))

        tries = Tries(monkeypatch)
        for number in range(20):
            waiting = spawn(read)
            parked(waiting)
            far.sendall(b"%d" % number)
            assert waiting.get(timeout=5) == b"%d" % number
        assert tries.count <= 22  # 20, and what a spurious wake may add


def test_data_that_came_meanwhile_is_read(on: Any) -> None:
    """It came between the short read and the next one; no report has told of it yet."""

    @on
    def body(near: Any, far: Any) -> None:
        far.sendall(b"second")
        arrived(near)
        assert near._reading.drained
        assert near.recv(100) == b"second"


def test_a_report_while_nobody_waits_is_remembered(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        far.sendall(b"second")
        arrived(near)
        coopcore.lowlevel.wait_readable(near.fileno(), 5)  # a pass, and a report with another waiter
        assert not near._reading.drained
        assert near.recv(3) == b"sec"
        assert near.recv(3) == b"ond"  # full reads prove nothing
        assert not near._reading.drained


@pytest.mark.parametrize("how", ["close", "shutdown"])
@pytest.mark.parametrize("with_data", [True, False])
def test_the_end_of_the_stream_is_met(on: Any, how: str, with_data: bool) -> None:
    """Data and the end together: the end makes no report of its own."""

    @on
    def body(near: Any, far: Any) -> None:
        waiting = spawn(near.recv, 100)
        parked(waiting)
        if with_data:
            far.sendall(b"last")
        far.close() if how == "close" else far.shutdown(socket.SHUT_WR)
        if with_data:
            assert waiting.get(timeout=5) == b"last"
            assert near.recv(100) == b""
        else:
            assert waiting.get(timeout=5) == b""
        assert near.recv(100) == b""
        assert near.recv_into(bytearray(5)) == 0


def test_the_end_that_comes_after_a_short_read(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        far.close()
        arrived(near)
        assert near.recv(100) == b""


def test_a_reset_is_met(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        waiting = spawn(near.recv, 100)
        parked(waiting)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        with pytest.raises(ConnectionResetError):
            waiting.get(timeout=5)
        assert near.recv(100) == b""


def test_shutting_down_one_s_own_reading(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        waiting = spawn(near.recv, 100)
        parked(waiting)
        near.shutdown(socket.SHUT_RD)
        assert waiting.get(timeout=5) == b""
        assert near.recv(100) == b""


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="the rules of Linux's TCP")
@pytest.mark.parametrize("read_apart", [True, False])
@pytest.mark.parametrize("inline", [True, False])
def test_a_read_that_ends_at_urgent_data_proves_nothing(on: Any, read_apart: bool, inline: bool) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, int(inline))
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.sendall(b"ab")
        far.send(b"!", socket.MSG_OOB)
        far.sendall(b"cd")
        arrived(near)
        got = b""
        if read_apart and not inline:
            assert near.recv(1, socket.MSG_OOB) == b"!"
        with coopcore.Timeout(5):
            while len(got) < (5 if inline else 4):
                got += near.recv(100)
        assert got == (b"ab!cd" if inline else b"abcd")


def test_looking_proves_nothing(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        far.sendall(b"look")
        coopcore.lowlevel.wait_readable(near.fileno(), 5)  # the report has come, and no other will
        assert near.recv(100, socket.MSG_PEEK) == b"look"
        assert near.recv(100) == b"look"
        far.sendall(b"again")
        for _ in range(2):
            assert near.recv(100, socket.MSG_PEEK) == b"again"
        assert near.recv(100) == b"again"


def test_nothing_is_asked_for(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        assert near.recv(0) == b""
        assert near.recv_into(bytearray()) == 0
        with pytest.raises(ValueError, match="negative"):
            near.recv(-1)


def test_a_socket_that_never_waits(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            near.recv(10)
        with pytest.raises(BlockingIOError):
            near.recv_into(bytearray(10))
        near.setblocking(True)
        with pytest.raises(BlockingIOError):
            near.recv(10, socket.MSG_DONTWAIT)


def test_a_unix_connection_is_always_tried(on: Any) -> None:
    """Its reads end where descriptors were sent along."""

    @on
    def body(near: Any, far: Any) -> None:
        one, other = socket.socketpair()
        with one, other:
            waiting = spawn(one.recv, 100)
            parked(waiting)
            socket.send_fds(other, [b"ab"], [other.fileno()])
            other.sendall(b"cd")
            assert waiting.get(timeout=5) == b"ab"
            assert not one._reading.tells
            assert not one._reading.drained
            assert one.recv(100) == b"cd"


def test_the_timeout_is_for_the_whole_read(virtually: Any) -> None:
    """A wake for nothing does not begin it anew."""

    @virtually
    def body(near: Any, far: Any) -> None:
        near.settimeout(0.05)
        hub = current_hub()
        wait = near._reading
        rings = [coopcore.lowlevel.Alarm(hub, hub.clock.now() + step * 10_000_000, hub._wake_at, wait.fd) for step in range(1, 50)]
        start = hub.clock.now()
        with pytest.raises(TimeoutError):
            near.recv(10)
        assert hub.clock.now() - start == 50_000_000
        for ring in rings:
            ring.cancel()


def test_wakes_for_nothing(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        for read in (lambda: near.recv(10), lambda: bytes(near.recv_into(bytearray(10)))):
            waiting = spawn(read)
            parked(waiting)
            for _ in range(3):
                current_hub()._wake_at(near.fileno())
                sleep(0)
                parked(waiting)
            far.sendall(b"x")
            waiting.get(timeout=5)


def test_another_reader_of_the_same_file_takes_it(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        with near.dup() as twin:
            waiting = spawn(near.recv, 100)
            parked(waiting)
            far.sendall(b"x")
            arrived(near)
            assert twin.recv(100) == b"x"
            sleep(0.001)
            assert not waiting.ready()
            far.sendall(b"y")
            assert waiting.get(timeout=5) == b"y"


def test_cancel_wait_is_not_for_ever(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        waiting = spawn(near.recv, 100)
        parked(waiting)
        socket.cancel_wait(near)
        with pytest.raises(OSError, match="was closed by"):
            waiting.get(timeout=5)
        for _ in range(2):
            waiting = spawn(near.recv, 100)
            parked(waiting)
            far.sendall(b"on")
            assert waiting.get(timeout=5) == b"on"


def test_two_threads_read_in_turn(on: Any) -> None:
    """What one thread has drained says nothing to the other one's hub."""

    @on
    def body(near: Any, far: Any) -> None:
        got: list[bytes] = []

        def elsewhere() -> None:
            coopcore.run(lambda: got.append(near.recv(100)))

        for number in range(10):
            thread = threading.Thread(target=elsewhere)
            thread.start()
            far.sendall(b"a%d" % number)
            while thread.is_alive():
                sleep(0.001)
            waiting = spawn(near.recv, 100)
            parked(waiting)
            far.sendall(b"b%d" % number)
            got.append(waiting.get(timeout=5))
        assert got == [b"%b%d" % (side, number) for number in range(10) for side in (b"a", b"b")]


def test_a_pass_that_was_cut_short_forgets_it(on: Any) -> None:
    """A signal handler may have raised between the reports of a poll: what was drained is tried again."""

    @on
    def body(near: Any, far: Any) -> None:
        current_hub().call_soon(current_hub()._make_good)
        sleep(0)
        sleep(0)
        assert not near._reading.drained
        waiting = spawn(near.recv, 100)
        parked(waiting)
        far.sendall(b"x")
        assert waiting.get(timeout=5) == b"x"


def test_a_number_that_names_another_file_is_not_drained(on: Any) -> None:
    @on
    def body(near: Any, far: Any) -> None:
        fd = near.fileno()
        near.close()
        again, other = tcp_pair()
        with again, other:
            assert fd in (again.fileno(), other.fileno())
            other.sendall(b"x")
            again.sendall(b"x")
            assert again.recv(10) == other.recv(10) == b"x"


def test_a_backend_that_tells_less_is_not_relied_on() -> None:
    """An edge-triggered backend of somebody else, which may not report the end of a stream."""
    from coop_plugins.backends.epoll import EpollBackend

    class Silent(EpollBackend):
        tells_end = False

    def main() -> None:
        near, far = tcp_pair()
        with near, far:
            waiting = spawn(near.recv, 100)
            parked(waiting)
            far.sendall(b"x")
            assert waiting.get(timeout=5) == b"x"
            assert not near._reading.drained

    if hasattr(os, "eventfd"):
        coopcore.run(main, backend=Silent())


def test_no_registration_after_the_first_wait() -> None:
    """On epoll a wait costs no system call: the descriptor is registered once."""
    from coop_plugins.backends.epoll import EpollBackend

    class Counted(EpollBackend):
        watched: list[int] = []

        def watch(self, fd: int, events: int) -> None:
            self.watched.append(fd)
            super().watch(fd, events)

    def main() -> None:
        near, far = tcp_pair()
        with near, far:
            for _ in range(20):
                waiting = spawn(near.recv, 100)
                parked(waiting)
                far.sendall(b"x")
                assert waiting.get(timeout=5) == b"x"
            assert Counted.watched.count(near.fileno()) <= 2  # one for each direction, of which the first makes a system call

    if hasattr(os, "eventfd"):
        coopcore.run(main, backend=Counted())


@pytest.mark.parametrize("seed", range(6))
def test_any_reads_of_any_pieces(on: Any, seed: int) -> None:
    """A sender in another thread, with pieces and pauses by chance; a reader that asks for any size, in any way. All bytes come, in order, and then the end."""

    @on
    def body(near: Any, far: Any) -> None:
        chance = random.Random(seed)
        data = bytes(chance.randrange(256) for _ in range(20_000))
        plain = stdlib.socket(fileno=far.detach())
        plain.setblocking(True)

        def send() -> None:
            mine = random.Random(seed + 100)
            pause = threading.Event()
            sent = 0
            with plain:
                while sent < len(data):
                    sent += plain.send(data[sent : sent + mine.randrange(1, 900)])
                    if mine.random() < 0.3:
                        pause.wait(mine.random() / 2000)

        thread = threading.Thread(target=send)
        thread.start()
        got = bytearray()
        buffer = bytearray(700)
        with coopcore.Timeout(20):
            while True:
                size = chance.choice((1, 5, 100, 700))
                way = chance.randrange(5)
                if way == 0:
                    near.recv(size, socket.MSG_PEEK)
                    continue
                if way == 1:
                    piece = bytes(buffer[: near.recv_into(buffer, size)])
                elif way == 2:
                    piece = near.recvmsg(size)[0]
                elif way == 3:
                    near.settimeout(chance.choice((None, 10)))
                    continue
                else:
                    piece = near.recv(size)
                if not piece:
                    break
                got += piece
        thread.join(5)
        assert bytes(got) == data
        assert near._reading.direction == READABLE
