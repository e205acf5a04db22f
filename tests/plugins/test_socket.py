"""coop_plugins.socket over real sockets on the loopback, on an edge-triggered and a level-triggered backend."""

from __future__ import annotations

import array
import errno
import io
import os
import socket as stdlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins import socket
from coopcore import current_task, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, Deadlock, InterfaceError, ParkInHubError

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]

BIG = 4_000_000  # more than any loopback buffer holds

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; nothing may be left behind."""

    def run(body: Callable[[], Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return coopcore.run(body, backend=request.param)

    return run


def parked(task: coopcore.Task[Any]) -> None:
    """Let others run until ``task`` waits."""
    while task.state != "parked":
        sleep(0)


def tcp_pair() -> tuple[Any, Any]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        served, _ = listener.accept()
    client.settimeout(None)
    return client, served


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Callable[[], tuple[Any, Any]]:
    return tcp_pair if request.param == "tcp" else socket.socketpair


# -- the calls --------------------------------------------------------------------------------------------------------------


def test_every_name_of_the_standard_module_is_here() -> None:
    missing = [name for name in stdlib.__all__ if not hasattr(socket, name)]
    assert missing == []
    assert set(stdlib.__all__) <= set(socket.__all__)
    assert socket.AF_INET is stdlib.AF_INET
    assert socket.timeout is TimeoutError


def test_is_a_standard_socket_with_the_standard_repr() -> None:
    with socket.socket() as made, stdlib.socket() as standard:
        assert isinstance(made, stdlib.socket)
        assert repr(made) == repr(standard).replace("<socket.socket", "<coop_plugins.socket.socket").replace(f"fd={standard.fileno()}", f"fd={made.fileno()}")
        assert made.family is stdlib.AF_INET
        assert made.type is stdlib.SOCK_STREAM
        assert made.getblocking()
        assert not os.get_blocking(made.fileno())


def test_recv_parks_and_the_others_run(on: Run, pair: Callable[[], tuple[Any, Any]]) -> None:
    @on
    def body() -> None:
        one, other = pair()
        order = []

        def reader() -> bytes:
            order.append("reads")
            got: bytes = one.recv(100)
            order.append("has read")
            return got

        with one, other:
            task = spawn(reader)
            parked(task)
            order.append("sends")
            other.sendall(b"hello")
            assert task.get(timeout=5) == b"hello"
        assert order == ["reads", "sends", "has read"]


def test_all_forms_of_receiving(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            buffer = bytearray(10)
            for receive, expected in [
                (lambda: one.recv(4), b"data"),
                (lambda: one.recv_into(buffer), 4),
                (lambda: one.recvfrom(4)[0], b"data"),
                (lambda: one.recvfrom_into(buffer)[0], 4),
                (lambda: one.recvmsg(4)[0], b"data"),
                (lambda: one.recvmsg_into([buffer])[0], 4),
            ]:
                task = spawn(receive)
                parked(task)
                assert other.send(b"data") == 4
                assert task.get(timeout=5) == expected
            assert buffer[:4] == b"data"


def test_the_end_of_the_stream_wakes_a_reader(on: Run, pair: Callable[[], tuple[Any, Any]]) -> None:
    @on
    def body() -> None:
        one, other = pair()
        with one, other:
            task = spawn(one.recv, 10)
            parked(task)
            other.shutdown(socket.SHUT_WR)
            assert task.get(timeout=5) == b""


def test_level_semantics_of_what_is_left(on: Run) -> None:
    """One byte at a time out of many: nothing is lost between edges."""

    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            task = spawn(lambda: b"".join(one.recv(1) for _ in range(200)))
            for _ in range(10):
                parked(task) if task.state != "done" else None
                other.sendall(b"x" * 20)
                sleep(0)
            assert task.get(timeout=5) == b"x" * 200


def test_sendall_of_more_than_the_buffers_hold(on: Run, pair: Callable[[], tuple[Any, Any]]) -> None:
    @on
    def body() -> None:
        one, other = pair()
        data = os.urandom(BIG)

        def read() -> bytes:
            pieces = []
            while piece := other.recv(65536):
                pieces.append(piece)
            return b"".join(pieces)

        with one, other:
            task = spawn(read)
            one.sendall(memoryview(array.array("I", data)))
            one.shutdown(socket.SHUT_WR)
            assert task.get(timeout=10) == data


def test_send_and_sendmsg_park_while_the_buffer_is_full(on: Run) -> None:
    @on
    def body() -> None:
        for send in (lambda s, data: s.send(data), lambda s, data: s.sendmsg(iter([data]))):
            one, other = socket.socketpair()
            with one, other:
                fill(one)
                task = spawn(send, one, b"late")
                parked(task)
                while task.state == "parked":
                    other.recv(1_000_000)
                    sleep(0)
                assert task.get(timeout=5) == 4


def fill(sock: Any) -> None:
    sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    sock.settimeout(None)


def test_datagrams(on: Run) -> None:
    @on
    def body() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
            server.bind(("127.0.0.1", 0))
            client.bind(("127.0.0.1", 0))
            task = spawn(server.recvfrom, 100)
            parked(task)
            assert client.sendto(b"one", server.getsockname()) == 3
            assert task.get(timeout=5) == (b"one", client.getsockname())
            assert client.sendto(b"two", 0, ("localhost", server.getsockname()[1])) == 3
            assert server.recv(100) == b"two"
            assert client.sendmsg([b"th", b"ree"], [], 0, server.getsockname()) == 5
            assert server.recv(100) == b"three"
            with pytest.raises(TypeError):
                client.sendto(b"no address")


def test_ipv6(on: Run) -> None:
    if not stdlib.has_ipv6:
        pytest.skip("no IPv6 here")

    @on
    def body() -> None:
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            pytest.skip(f"no IPv6 loopback here: {error}")
        with listener:
            accepted = spawn(listener.accept)
            with socket.create_connection(listener.getsockname()[:2]) as client:
                served, address = accepted.get(timeout=5)
                assert address == client.getsockname()
                served.close()


def test_unix_listener_with_a_full_queue(on: Run, tmp_path: Any) -> None:
    """The kernel says EAGAIN to a connect then, and has no descriptor to wait at."""

    @on
    def body() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "sock"))
            listener.listen(0)
            clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
            tasks = [spawn(client.connect, str(tmp_path / "sock")) for client in clients]
            sleep(0)
            clients[3].settimeout(0.01)
            for _ in clients:
                served, _address = listener.accept()
                served.close()
            coopcore.joinall(tasks, timeout=5, raise_error=True)
            for client in clients:
                client.close()


def test_descriptors_travel(on: Run, tmp_path: Any) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        (tmp_path / "file").write_text("through a socket")
        with one, other, open(tmp_path / "file") as file:
            task = spawn(socket.recv_fds, other, 100, 1)
            parked(task)
            socket.send_fds(one, [b"here"], [file.fileno()])
            data, fds, _, _ = task.get(timeout=5)
            assert data == b"here"
            with os.fdopen(fds[0]) as received:
                assert received.read() == "through a socket"


def test_makefile_reads_and_writes_lines(on: Run, pair: Callable[[], tuple[Any, Any]]) -> None:
    @on
    def body() -> None:
        one, other = pair()
        with one, other, one.makefile("r", encoding="ascii") as reading, other.makefile("w", encoding="ascii") as writing:
            task = spawn(reading.readline)
            parked(task)
            writing.write("a li")
            writing.flush()
            sleep(0)
            writing.write("ne\n")
            writing.flush()
            assert task.get(timeout=5) == "a line\n"


def test_a_socket_stays_open_for_its_files() -> None:
    one, other = socket.socketpair()
    with other, one.makefile("rb") as reading:
        one.close()
        assert one.fileno() >= 0
        other.sendall(b"still")
        assert reading.read(5) == b"still"
    assert one.fileno() == -1


def test_sendfile_from_a_disk_file_and_from_memory(on: Run, tmp_path: Any) -> None:
    data = os.urandom(BIG)
    (tmp_path / "file").write_bytes(data)

    @on
    def body() -> None:
        for opened in ((tmp_path / "file").open, lambda mode: io.BytesIO(data)):
            one, other = socket.socketpair()

            def read(other: Any = other) -> bytes:
                with other.makefile("rb") as reading:
                    return reading.read()

            with opened("rb") as file, one, other:
                task = spawn(read)
                assert one.sendfile(file, 7, BIG - 10) == BIG - 10
                assert file.tell() == BIG - 3
                one.shutdown(socket.SHUT_WR)
                assert task.get(timeout=10) == data[7:-3]


def test_sendfile_refuses_what_the_standard_one_refuses(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"x")
    one, other = socket.socketpair()
    with one, other, open(tmp_path / "file") as text, open(tmp_path / "file", "rb") as binary:
        for args, error in [((text,), ValueError), ((binary, -1), OSError), ((binary, 0, 0), ValueError), ((binary, 0, 1.5), TypeError)]:
            with pytest.raises(error):
                one.sendfile(*args)
        one.setblocking(False)
        with pytest.raises(ValueError, match="non-blocking"):
            one.sendfile(binary)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(ValueError, match="SOCK_STREAM"):
            datagrams.sendfile(binary)


def test_dup_detach_and_fromfd(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        one.settimeout(3)
        with one, other, one.dup() as twin:
            assert type(twin) is socket.socket
            assert twin.gettimeout() == 3
            other.sendall(b"ab")
            assert (one.recv(1), twin.recv(1)) == (b"a", b"b")
            task = spawn(twin.recv, 1)
            parked(task)
            one.close()
            other.sendall(b"c")
            assert task.get(timeout=5) == b"c"
            third = socket.fromfd(twin.fileno(), twin.family, twin.type)
            fd = third.detach()
            assert (third.fileno(), os.get_inheritable(fd)) == (-1, False)
            with socket.socket(fileno=fd) as again:
                other.sendall(b"d")
                assert again.recv(1) == b"d"


def test_closing_a_number_and_using_it_anew(on: Run) -> None:
    """A number that names another file now is registered afresh; a backend that trusted its memory would hang."""

    @on
    def body() -> None:
        for _ in range(5):
            one, other = socket.socketpair()
            with one, other:
                task = spawn(one.recv, 1)
                parked(task)
                other.sendall(b"x")
                assert task.get(timeout=5) == b"x"


def test_both_directions_at_once(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            fill(one)
            reading, writing = spawn(one.recv, 1), spawn(one.sendall, b"more")
            parked(reading)
            parked(writing)
            other.sendall(b"r")
            assert reading.get(timeout=5) == b"r"
            assert writing.state == "parked"
            while not writing.ready():
                other.recv(1_000_000)
                sleep(0)
            assert writing.successful()


# -- connecting -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """It is bound, so that nobody else has it, and nobody listens."""
    with stdlib.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_refused_connections(on: Run, refusing_port: int) -> None:
    port = refusing_port

    @on
    def body() -> None:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with pytest.raises(ExceptionGroup) as caught:
            socket.create_connection(("127.0.0.1", port), all_errors=True)
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]
        with socket.socket() as made:
            assert made.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_connecting_twice_is_an_error(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
            with pytest.raises(OSError) as caught:
                client.connect(listener.getsockname())
            assert caught.value.errno == errno.EISCONN


def test_connect_without_waiting(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.connect(listener.getsockname())
            socket.wait_write(client, timeout=5)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def full_listener() -> tuple[Any, list[Any]]:
    """A listener that takes no more connections: Linux drops the SYNs, and a connect waits."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    clients = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    return listener, clients


def test_connect_times_out_and_can_be_killed(on: Run) -> None:
    @on
    def body() -> None:
        listener, clients = full_listener()
        with listener, socket.socket() as late:
            late.settimeout(0.02)
            with pytest.raises(TimeoutError, match="timed out"):
                late.connect(listener.getsockname())
            with socket.socket() as later:
                later.settimeout(0.01)
                assert later.connect_ex(listener.getsockname()) == errno.EAGAIN
            with socket.socket() as last:
                task = spawn(last.connect, listener.getsockname())
                parked(task)
                task.kill(timeout=5)
                assert task.dead
        for client in clients:
            client.close()


def test_create_server_options() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=5, reuse_port=True) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        with pytest.raises(OSError, match="while attempting to bind on address") as caught:
            socket.create_server(listener.getsockname())
        assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(ValueError, match="AF_INET6"):
        socket.create_server(("", 0), dualstack_ipv6=True)
    if stdlib.has_dualstack_ipv6():
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
            with socket.create_connection(("127.0.0.1", both.getsockname()[1]), timeout=5):
                pass


# -- every wait: timeout, kill, close, busy -------------------------------------------------------------------------------------

Wait = Callable[[Any], Any]
READS: list[Any] = [
    pytest.param(lambda s: s.recv(1), id="recv"),
    pytest.param(lambda s: s.recv_into(bytearray(1)), id="recv_into"),
    pytest.param(lambda s: s.recvfrom(1), id="recvfrom"),
    pytest.param(lambda s: s.recvfrom_into(bytearray(1)), id="recvfrom_into"),
    pytest.param(lambda s: s.recvmsg(1), id="recvmsg"),
    pytest.param(lambda s: s.recvmsg_into([bytearray(1)]), id="recvmsg_into"),
    pytest.param(lambda s: s.makefile("rb").read(1), id="makefile"),
]
WRITES: list[Any] = [
    pytest.param(lambda s: s.send(b"x"), id="send"),
    pytest.param(lambda s: s.sendall(b"x"), id="sendall"),
    pytest.param(lambda s: s.sendmsg([b"x"]), id="sendmsg"),
    pytest.param(lambda s: s.sendfile(io.BytesIO(b"x")), id="sendfile"),
]


def stuck_pair() -> tuple[Any, Any]:
    """Nothing to read and no room to write."""
    one, other = socket.socketpair()
    fill(one)
    return one, other


@pytest.mark.parametrize("wait", READS + WRITES)
def test_a_timeout_ends_the_wait(on: Run, wait: Wait) -> None:
    @on
    def body() -> None:
        one, other = stuck_pair()
        with one, other:
            one.settimeout(0.01)
            with pytest.raises(TimeoutError, match="timed out"):
                wait(one)


@pytest.mark.parametrize("wait", READS + WRITES)
def test_a_kill_ends_the_wait_and_the_socket_lives_on(on: Run, wait: Wait) -> None:
    @on
    def body() -> None:
        one, other = stuck_pair()
        with one, other:
            task = spawn(wait, one)
            parked(task)
            task.kill(timeout=5)
            assert isinstance(task.value, coopcore.TaskExit)
            other.sendall(b"on")
            assert one.recv(2) == b"on"


@pytest.mark.parametrize("wait", READS + WRITES)
def test_invariant_3_closing_wakes_whoever_waits(on: Run, wait: Wait) -> None:
    @on
    def body() -> None:
        one, other = stuck_pair()
        with other:
            task = spawn(wait, one)
            parked(task)
            one._real_close()  # what close() comes to when no file of makefile() is open
            with pytest.raises(ClosedResourceError) as caught:
                task.get(timeout=5)
            assert caught.value.errno == errno.EBADF
            assert "was closed by" in str(caught.value)


@pytest.mark.parametrize("wait", READS + WRITES)
def test_two_tasks_in_one_direction_get_a_clear_error(on: Run, wait: Wait) -> None:
    @on
    def body() -> None:
        one, other = stuck_pair()
        with one, other:
            first = spawn(wait, one)
            parked(first)
            with pytest.raises(BusyResourceError):
                wait(one)
            first.kill(timeout=5)


@pytest.mark.parametrize("wait", [*READS[:-1], *WRITES[:-1]])
def test_a_socket_that_never_waits_says_so(wait: Wait) -> None:
    one, other = stuck_pair()
    with one, other:
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            wait(one)
        assert one.makefile("rb").read(1) is None  # as the standard files answer


def test_accept_waits_end_likewise(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0.01)
            with pytest.raises(TimeoutError):
                listener.accept()
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()
            listener.settimeout(None)
            killed = spawn(listener.accept)
            parked(killed)
            with pytest.raises(BusyResourceError):
                listener.accept()
            killed.kill(timeout=5)
            waiting = spawn(listener.accept)
            parked(waiting)
        with pytest.raises(ClosedResourceError):
            waiting.get(timeout=5)


def test_calls_on_a_closed_socket() -> None:
    one, other = socket.socketpair()
    one.close()
    other.close()
    one.close()
    for call in (lambda: one.recv(1), lambda: one.sendall(b"x"), one.accept, lambda: one.connect("x")):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_msg_dontwait_never_waits() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(BlockingIOError):
        one.recv(1, socket.MSG_DONTWAIT)


# -- the invariants -----------------------------------------------------------------------------------------------------------


def test_invariant_1_no_edge_is_lost(on: Run) -> None:
    """Ping-pong: each side parks exactly when the other one writes."""

    @on
    def body() -> None:
        one, other = socket.socketpair()

        def echo() -> None:
            while data := other.recv(10):
                other.sendall(data)

        with one, other:
            task = spawn(echo)
            for number in range(300):
                one.sendall(b"%d" % number)
                assert one.recv(10) == b"%d" % number
            one.shutdown(socket.SHUT_WR)
            task.get(timeout=5)


class CountingBackend:
    """An edge-triggered backend that records what it is asked."""

    edge_triggered = True

    def __init__(self) -> None:
        from coop_plugins.backends.epoll import EpollBackend

        self.inner = EpollBackend()
        self.unwatched: list[int] = []

    def unwatch(self, fd: int) -> None:
        self.unwatched.append(fd)
        self.inner.unwatch(fd)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def watch(self, fd: int, events: int) -> None:
        self.inner.watch(fd, events)

    def poll(self, timeout: int | None) -> Any:
        return self.inner.poll(timeout)

    def wake(self) -> None:
        self.inner.wake()

    def fileno(self) -> int | None:
        return self.inner.fileno()

    def close(self) -> None:
        self.inner.close()


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="epoll is Linux's")
def test_invariant_2_a_number_is_forgotten_once_and_then_waits_are_free() -> None:
    backend = CountingBackend()

    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            for _ in range(20):
                task = spawn(one.recv, 1)
                parked(task)
                other.sendall(b"x")
                task.get(timeout=5)
            assert backend.unwatched.count(one.fileno()) == 1

    coopcore.run(body, backend=backend)


def test_invariant_4_pieces_of_two_senders_are_not_mixed(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            first = spawn(one.sendall, b"a" * BIG)
            parked(first)
            for send in (one.send, one.sendall, lambda data: one.sendmsg([data]), lambda data: one.sendto(data), lambda data: one.sendfile(io.BytesIO(data))):
                other.recv(65536)  # there is room again, but the first has not run yet
                with pytest.raises(BusyResourceError, match="sendall"):
                    send(b"b")
            first.kill(timeout=5)
            fill(one)  # usable again
            assert b"b" not in other.recv(1_000_000)


@pytest.mark.parametrize("how", ["send", "sendmsg"])
def test_invariant_4_a_sender_that_was_woken_looks_again(on: Run, how: str) -> None:
    """It had to wait; another's sendall began between the wake and its turn."""

    @on
    def body() -> None:
        one, other = socket.socketpair()
        rope, bell = socket.socketpair()
        with one, other, rope, bell:
            one.settimeout(0)
            fill(one)
            one.settimeout(None)
            sender = spawn(getattr(one, how), [b"b"] if how == "sendmsg" else b"b")
            parked(sender)
            other.settimeout(0)

            def drain() -> bytes:
                got = b""
                try:
                    while True:
                        got += other.recv(1_000_000)
                except BlockingIOError:
                    return got

            whole = spawn(lambda: (bell.recv(1), one.sendall(b"a" * BIG)))
            parked(whole)
            parked(sender)  # a report may have woken it in vain meanwhile
            rope.send(b"x")  # reported by the same poll as what follows, and before it
            drain()
            got = b""
            while not whole.dead:
                sleep(0)
                got += drain()
            got += drain()
            with pytest.raises(BusyResourceError, match="sendall"):
                sender.get(timeout=5)
            assert got == b"a" * BIG


@pytest.mark.parametrize("how", ["send", "sendto", "sendmsg"])
def test_invariant_4_a_sender_that_gave_way_looks_again(on: Run, how: str) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            for _ in range(32):
                one.send(b"x")
            sender = spawn(getattr(one, how), [b"b"] if how == "sendmsg" else b"b")
            whole = spawn(one.sendall, b"a" * BIG)
            reader = spawn(lambda: [other.recv(1_000_000) for _ in range(3)])
            with pytest.raises(BusyResourceError, match="sendall"):
                sender.get(timeout=5)
            assert b"b" not in b"".join(reader.get(timeout=5))
            whole.kill(timeout=5)


def test_invariant_5_a_timeout_bounds_the_whole_call(on: Run) -> None:
    """Each piece comes in time, all of it does not."""

    @on
    def body() -> None:
        one, other = socket.socketpair()

        def sip() -> None:
            while other.recv(100_000):
                sleep(0.005)

        with one, other:
            task = spawn(sip)
            one.settimeout(0.05)
            with pytest.raises(TimeoutError):
                one.sendall(b"x" * 100_000_000)
            task.kill(timeout=5)


def test_invariant_6_names_are_looked_up_in_a_thread(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = stdlib.getaddrinfo

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if not flags & stdlib.AI_NUMERICHOST:
            asked.append((host, threading.get_ident() != me))
            host = "127.0.0.1"
        return real(host, port, family, type, proto, flags)

    me = threading.get_ident()
    monkeypatch.setattr("coop_plugins.resolver._system.getaddrinfo", getaddrinfo)

    @on
    def body() -> None:
        with socket.create_server(("one.test", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            port = listener.getsockname()[1]
            with socket.socket() as client:
                client.connect(("two.test", port))
            with socket.create_connection(("three.test", port)):
                pass
            datagrams.sendto(b"", ("four.test", port))
            assert socket.gethostbyname("five.test") == "127.0.0.1"
            with socket.socket() as client:
                client.connect(("127.0.0.1", port))
        assert asked == [(f"{name}.test", True) for name in ("one", "two", "three", "four", "five")]


def test_invariant_7_a_fast_peer_starves_nobody(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            other.sendall(b"x" * 1000)
            turns = []
            counting = spawn(lambda: [turns.append(sleep(0)) for _ in range(1000)])
            for _ in range(1000):
                one.recv(1)
            assert 1000 // 32 - 1 <= len(turns) <= 1000 // 32 + 1
            counting.kill(timeout=5)
            one.setblocking(False)
            seen = len(turns)
            other.sendall(b"x" * 100)
            for _ in range(100):
                one.recv(1)
            assert len(turns) == seen  # who asks for no waiting gets none


def test_invariant_8_what_nobody_has_read_is_not_waited_for(on: Run) -> None:
    """`test_socket_drained` has more."""

    @on
    def body() -> None:
        near, far = tcp_pair()
        with near, far:
            for number in range(50):
                waiting = spawn(near.recv, 100)
                parked(waiting)
                far.sendall(b"%d" % number)
                assert waiting.get(timeout=5) == b"%d" % number
                assert near._reading.drained
                far.sendall(b"more")
                assert near.recv(100) == b"more"
                assert near._reading.drained


# -- timeouts as the standard module has them ---------------------------------------------------------------------------------


def test_invariant_8_what_nobody_has_read_is_read(on: Run) -> None:
    """Whenever it came: before the read, between a short read and the next, or with nobody waiting. `test_socket_drained` has the rest."""

    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname(), timeout=5) as client:
            served, _ = listener.accept()
            with served:
                for number in range(50):
                    waiting = spawn(client.recv, 100)
                    sleep(0)
                    served.sendall(b"a")
                    assert waiting.get(timeout=5) == b"a"
                    for _ in range(number % 3):
                        sleep(0.0001)
                    served.sendall(b"bc")
                    for _ in range(number % 4):
                        sleep(0.0001)
                    assert client.recv(1) + client.recv(100) == b"bc"


def test_invariant_7_a_long_queue_of_connections_starves_nobody(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
            clients = [stdlib.create_connection(listener.getsockname()) for _ in range(100)]
            turns = []
            other = spawn(lambda: [turns.append(sleep(0)) for _ in range(1000)])
            served = [listener.accept()[0] for _ in clients]
            assert 2 <= len(turns) < 50
            other.kill(timeout=5)
            for one in (*clients, *served):
                one.close()


@pytest.mark.parametrize("port", [-1, 65536, 1 << 70, "80", None, 1.5])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_bad_port_is_refused_in_the_words_of_the_standard_class(host: str, port: Any) -> None:
    with stdlib.socket() as theirs, socket.socket() as ours:
        for name in ("bind", "connect"):
            with pytest.raises((OverflowError, TypeError)) as expected:
                getattr(theirs, name)((host, port))
            with pytest.raises(type(expected.value)) as got:
                getattr(ours, name)((host, port))
            assert str(got.value).replace("connect_ex", "connect") == str(expected.value)


def test_timeout_accessors() -> None:
    with socket.socket() as made:
        assert (made.gettimeout(), made.timeout, made.getblocking()) == (None, None, True)
        made.settimeout(2)
        assert (made.gettimeout(), made.timeout, made.getblocking()) == (2.0, 2.0, True)
        made.setblocking(False)
        assert (made.gettimeout(), made.getblocking()) == (0.0, False)
        made.setblocking(True)
        assert made.gettimeout() is None
        for bad, error in [(-1, ValueError), (float("nan"), ValueError), (float("inf"), OverflowError), ("soon", TypeError), ([], TypeError)]:
            with pytest.raises(error):
                made.settimeout(bad)
        assert made.gettimeout() is None
    if hasattr(socket, "SOCK_NONBLOCK"):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as made:
            assert made.gettimeout() == 0.0


@pytest.fixture
def default_timeout() -> Iterator[None]:
    socket.setdefaulttimeout(7)
    yield
    socket.setdefaulttimeout(None)


@pytest.mark.usefixtures("default_timeout")
def test_the_default_timeout_is_the_process_s(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other, socket.socket() as made, socket.create_server(("127.0.0.1", 0)) as listener:
            assert (one.gettimeout(), made.gettimeout()) == (7, 7)
            with socket.create_connection(listener.getsockname(), timeout=None) as client:
                assert client.gettimeout() is None
                served, _ = listener.accept()
                assert served.gettimeout() == 7
                assert not os.get_blocking(served.fileno())
                served.close()


def test_a_coopcore_timeout_ends_a_wait_too(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other, coopcore.Timeout(0.01, False):
            one.recv(1)
            pytest.fail("nothing was sent")


# -- threads, hubs, deadlocks -------------------------------------------------------------------------------------------------


def test_an_idle_connection_does_not_hide_a_deadlock(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            task = spawn(one.recv, 1)
            parked(task)
            other.sendall(b"x")
            task.get(timeout=5)
            with pytest.raises(Deadlock):
                coopcore.lowlevel.park("nothing")


def test_closing_from_another_thread_wakes_the_waiter(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with other:
            task = spawn(one.recv, 1)
            parked(task)
            thread = threading.Thread(target=one.close)
            thread.start()
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)
            thread.join(5)
            assert one.fileno() == -1


def waits_in_a_thread(sock: Any, answers: list[Any]) -> threading.Thread:
    """A thread whose hub runs a task that waits to read. Returns once it waits."""
    waits = threading.Event()

    def main() -> None:
        task = spawn(sock.recv, 1)
        parked(task)
        waits.set()
        try:
            answers.append(task.get(timeout=5))
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=coopcore.run, args=(main,))
    thread.start()
    assert waits.wait(5)
    return thread


@pytest.mark.parametrize("who", ["a hub that waits too", "a hub that does not", "a thread without one"])
def test_invariant_3_closing_wakes_the_waiters_of_every_hub(on: Run, who: str) -> None:
    answers: list[Any] = []
    one, other = socket.socketpair()
    with other:
        thread = waits_in_a_thread(one, answers)

        def body() -> None:
            fill_then_close = spawn(one.sendall, b"a" * BIG)
            parked(fill_then_close)
            if who == "a hub that waits too":
                one.close()
            else:
                closer = threading.Thread(target=one.close)
                closer.start()
                closer.join(5)
            with pytest.raises(ClosedResourceError):
                fill_then_close.get(timeout=5)

        if who == "a hub that does not":
            on(one.close)
        else:
            on(body)
        thread.join(5)
        assert not thread.is_alive()
        assert [type(answer) for answer in answers] == [ClosedResourceError]
        assert one.fileno() == -1
        one.close()  # twice is once


def test_invariant_3_who_begins_to_wait_after_the_close_was_handed_over_is_told() -> None:
    """The descriptor is still open then: another thread's hub is to close it."""
    one, other = socket.socketpair()
    with other:

        def main() -> None:
            task = spawn(one.recv, 1)
            parked(task)
            closer = threading.Thread(target=one.close)
            closer.start()
            closer.join(5)
            assert one.fileno() >= 0
            for wait in (lambda: one.recv(1), lambda: one.sendall(b"a" * BIG)):
                with pytest.raises(ClosedResourceError, match="closed or detached"):
                    wait()
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)
            assert one.fileno() == -1

        coopcore.run(main)


def test_invariant_3_a_waiter_that_was_woken_already_is_told_clearly(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with other:
            task = spawn(one.recv, 1)
            parked(task)
            other.send(b"x")
            hub = coopcore.lowlevel.current_hub()
            hub.call_soon_threadsafe(hub.call_soon, one.close)  # behind the pass that wakes the task, before its turn
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)


def test_invariant_3_a_call_that_gave_way_is_told_clearly(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with other:
            for _ in range(32):
                one.send(b"x")
            task = spawn(one.send, b"x")
            spawn(one.close)
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)


def test_invariant_3_detaching_tells_this_thread_and_is_refused_while_another_waits(on: Run) -> None:
    answers: list[Any] = []
    one, other = socket.socketpair()
    with other:
        thread = waits_in_a_thread(one, answers)
        with pytest.raises(BusyResourceError, match="another thread waits"):
            one.detach()
        other.send(b"x")  # the socket lives on
        thread.join(5)
        assert answers == [b"x"]

        @on
        def body() -> None:
            task = spawn(one.recv, 1)
            parked(task)
            fd = one.detach()
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)
            os.close(fd)


def test_a_listener_does_not_gather_hubs(on: Run) -> None:
    one, other = socket.socketpair()
    with one, other:

        def use() -> None:
            task = spawn(one.recv, 1)
            parked(task)
            other.sendall(b"x")
            assert task.get(timeout=5) == b"x"

        for _ in range(5):
            on(use)
        assert len(one._places) == 1


def test_a_socket_moves_between_hubs() -> None:
    one, other = socket.socketpair()

    def use() -> bytes:
        task = spawn(one.recv, 1)
        parked(task)
        other.sendall(b"x")
        return bytes(task.get(timeout=5))

    with one, other:
        assert coopcore.run(use, backend="selectors") == b"x"
        assert coopcore.run(use, backend="epoll") == b"x"
        answers = []
        thread = threading.Thread(target=lambda: answers.append(coopcore.run(use)))
        thread.start()
        thread.join(5)
        assert answers == [b"x"]


def test_a_callback_on_the_hub_cannot_wait(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        caught = []

        def callback() -> None:
            try:
                one.recv(1)
            except ParkInHubError as error:
                caught.append(error)

        with one, other:
            coopcore.get_hub().call_soon(callback)
            sleep(0)
            sleep(0)
            assert len(caught) == 1


# -- waiting at bare descriptors ------------------------------------------------------------------------------------------------


def test_wait_read_and_wait_write(on: Run) -> None:
    @on
    def body() -> None:
        reading, writing = os.pipe()
        try:
            socket.wait_write(writing, timeout=5)
            with pytest.raises(TimeoutError, match="timed out"):
                socket.wait_read(reading, timeout=0.01)
            with pytest.raises(KeyError):
                socket.wait_read(reading, timeout=0.01, timeout_exc=KeyError("mine"))
            os.write(writing, b"x")
            socket.wait_read(reading, timeout=5)
            os.read(reading, 1)
            task = spawn(socket.wait_read, reading)
            parked(task)
            socket.cancel_wait(reading)
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)
        finally:
            os.close(reading)
            os.close(writing)
        with pytest.raises(ValueError, match="no open descriptor"):
            socket.wait_read(-1)


def test_use_network_refuses_what_is_none() -> None:
    with pytest.raises(InterfaceError, match="lacks socket, socketpair, getaddrinfo"):
        socket.use_network(object())  # type: ignore[arg-type]  # that is the point
    assert current_task() is not None
