"""coop_plugins.server over the loopback: what it listens at, who runs the handlers, and how it starts, suffers and stops."""

from __future__ import annotations

import errno
import os
import signal
import socket as stdlib
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins import socket
from coop_plugins.server import BaseServer, DatagramServer, StreamServer, parse_address
from coopcore import sleep, spawn
from coopcore.errors import ParkInHubError

from .tcp import may_filter

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]

LOCAL = ("127.0.0.1", 0)

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


def call(server: BaseServer) -> Any:
    return socket.create_connection(server.address[:2], timeout=5)


def ask(server: BaseServer, data: bytes = b"x") -> bytes:
    """Send, half-close, and read until the server closes."""
    with call(server) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as reading:
            return bytes(reading.read())


def echo(client: Any, address: Any) -> None:
    while data := client.recv(1000):
        client.sendall(data)


class Counter:
    """A handler that parks until it is let go, and counts how many are at work."""

    def __init__(self) -> None:
        self.at_work = self.most = self.served = 0
        self.leave = False

    def __call__(self, client: Any, address: Any) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            client.recv(10)
            while not self.leave:
                sleep(0.001)
            client.sendall(b"done")
            self.served += 1
        finally:
            self.at_work -= 1


# -- addresses ----------------------------------------------------------------------------------------------------------------


ANY = stdlib.AF_INET6 if stdlib.has_dualstack_ipv6() else stdlib.AF_INET


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        (("127.0.0.1", 80), (stdlib.AF_INET, ("127.0.0.1", 80))),
        (("127.0.0.1", "80"), (stdlib.AF_INET, ("127.0.0.1", 80))),
        (("::1", 80), (stdlib.AF_INET6, ("::1", 80))),
        (("", 80), (ANY, ("", 80))),
        ((None, 80), (ANY, ("", 80))),
        ("localhost:80", (stdlib.AF_INET, ("localhost", 80))),
        ("*:80", (ANY, ("", 80))),
        (":80", (ANY, ("", 80))),
        ("[::1]:80", (stdlib.AF_INET6, ("::1", 80))),
        ("80", (ANY, ("", 80))),
        (80, (ANY, ("", 80))),
        ("/run/app.sock", (stdlib.AF_UNIX, "/run/app.sock")),
        ("./app.sock", (stdlib.AF_UNIX, "./app.sock")),
        ("unix:app.sock", (stdlib.AF_UNIX, "app.sock")),
        ("unix:///run/app.sock", (stdlib.AF_UNIX, "/run/app.sock")),
        (Path("/run/app.sock"), (stdlib.AF_UNIX, "/run/app.sock")),
        ("\0name", (stdlib.AF_UNIX, "\0name")),
    ],
)
def test_forms_of_a_listener(listener: Any, expected: Any) -> None:
    assert parse_address(listener) == expected


@pytest.mark.parametrize(
    ("listener", "error", "words"),
    [
        ("::1:80", ValueError, "brackets"),
        ("localhost:http", ValueError, "not a port"),
        (70000, ValueError, "out of range"),
        (-1, ValueError, "out of range"),
        ((1, 2), TypeError, "host"),
        (("a", 1, 2), TypeError, "a listener is"),
        (None, TypeError, "a listener is"),
        (True, TypeError, "a listener is"),
        (1.5, TypeError, "a listener is"),
    ],
)
def test_bad_listeners(listener: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        StreamServer(listener, echo)


@pytest.mark.parametrize(("how", "error"), [("pool", TypeError), (True, TypeError), (0, ValueError), (-3, ValueError), (1.5, TypeError), ([], TypeError)])
def test_bad_crews(how: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="spawn="):
        StreamServer(LOCAL, echo, spawn=how)


def test_a_server_without_a_handler_says_so() -> None:
    with pytest.raises(TypeError, match="has no handler"):
        StreamServer(LOCAL).start()
    with pytest.raises(TypeError, match="handler"):
        StreamServer(LOCAL, 3)  # type: ignore[arg-type]  # that is the point


def test_an_address_in_use_says_which(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(LOCAL, echo) as first:
            first.start()
            with pytest.raises(OSError, match="cannot listen at") as caught:
                StreamServer(first.address, echo).start()
            assert caught.value.errno == errno.EADDRINUSE


# -- serving --------------------------------------------------------------------------------------------------------------------


def test_serves_and_closes_when_the_handler_returns(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(LOCAL, echo) as server:
            assert (server.started, server.server_port) == (False, 0)
            server.start()
            server.start()
            assert server.started
            assert server.server_port != 0
            assert server.server_host == "127.0.0.1"
            assert repr(server) == f"<StreamServer at {server.address!r} started>"
            tasks = [spawn(ask, server, b"%d" % number) for number in range(20)]
            assert [task.get(timeout=5) for task in tasks] == [b"%d" % number for number in range(20)]
        assert server.closed
        assert not server.started


def test_every_address_means_ipv4_too(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(0, echo) as server:
            server.start()
            server.address = ("127.0.0.1", server.server_port)
            assert ask(server, b"v4") == b"v4"


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("kind", [stdlib.socket, socket.socket])
def test_a_bound_socket_as_listener(on: Run, kind: Any, listening: bool) -> None:
    @on
    def body() -> None:
        bound = kind()
        bound.bind(LOCAL)
        if listening:
            bound.listen()
        with StreamServer(bound, echo) as server:
            assert not server.closed
            server.start()
            assert server.address == bound.getsockname()
            assert ask(server) == b"x"
        assert bound.fileno() == -1
        assert server.closed


def test_a_unix_socket_as_listener(on: Run, tmp_path: Any) -> None:
    @on
    def body() -> None:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(tmp_path / "sock"))
        with StreamServer(bound, echo, spawn=1) as server, socket.socket(socket.AF_UNIX) as client:
            server.start()
            assert (server.server_host, server.server_port) == (None, None)
            client.connect(server.address)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""


def test_a_subclass_overrides_handle(on: Run) -> None:
    class Shout(StreamServer):
        def handle(self, client: Any, address: Any) -> None:
            client.sendall(client.recv(100).upper())

    @on
    def body() -> None:
        with Shout(LOCAL) as server:
            server.start()
            assert ask(server, b"hey") == b"HEY"


# -- crews ------------------------------------------------------------------------------------------------------------------------


class SmallPool:
    """Somebody else's pool: what a server needs of one, and no more."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.tasks: list[Any] = []

    def full(self) -> bool:
        self.tasks = [task for task in self.tasks if not task.dead]
        return len(self.tasks) >= self.size

    def wait_available(self, timeout: float | None = None) -> None:
        coopcore.wait(self.tasks, timeout=timeout, count=1)

    def spawn(self, fn: Any, *args: Any) -> Any:
        self.tasks.append(spawn(fn, *args))
        return self.tasks[-1]


@pytest.mark.parametrize("limit", ["pool", "number", "somebody's"])
def test_base_invariant_1_no_more_handlers_than_the_crew_allows(on: Run, limit: str) -> None:
    """Program 11: fifty clients, ten handlers."""
    if limit == "pool":
        crew: Any = pytest.importorskip("coop_plugins.pool").Pool(10)
    else:
        crew = 10 if limit == "number" else SmallPool(10)

    @on
    def body() -> None:
        counter = Counter()
        with StreamServer(LOCAL, counter, spawn=crew) as server:
            server.start()
            clients = [spawn(ask, server) for _ in range(50)]
            while counter.at_work < 10:
                sleep(0)
            assert server.full()
            counter.leave = True
            assert [client.get(timeout=5) for client in clients] == [b"done"] * 50
            assert (counter.most, counter.served) == (10, 50)


def test_one_at_a_time_and_a_callable(on: Run) -> None:
    @on
    def body() -> None:
        for how, most in [(None, 1), (lambda fn, *args: spawn(fn, *args), 5)]:
            counter = Counter()
            counter.leave = True
            with StreamServer(LOCAL, counter, spawn=how) as server:
                server.start()
                clients = [spawn(ask, server) for _ in range(5)]
                assert [client.get(timeout=5) for client in clients] == [b"done"] * 5
                assert counter.most <= most


def test_base_invariant_2_a_client_is_closed_though_its_handler_never_began(on: Run) -> None:
    started = []

    def stillborn(fn: Any, *args: Any) -> Any:
        task = spawn(fn, *args)
        task.kill(block=False)
        return task

    @on
    def body() -> None:
        with StreamServer(LOCAL, lambda *args: started.append(args), spawn=stillborn) as server:
            server.start()
            assert ask(server, b"") == b""
            assert started == []


def test_base_invariant_2_a_client_is_closed_when_the_crew_fails(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(fn: Any, *args: Any) -> Any:
        raise LookupError("nobody is here")

    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo, spawn=broken)
        serving = spawn(server.serve_forever)
        while not server.started:
            sleep(0)
        assert ask(server, b"") == b""
        with pytest.raises(LookupError):
            serving.get(timeout=5)
        assert server.closed


def test_base_invariant_3_an_error_ends_only_its_handler(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    def handle(client: Any, address: Any) -> None:
        if client.recv(10) == b"bad":
            raise ZeroDivisionError("this one")
        client.sendall(b"fine")

    @on
    def body() -> None:
        with StreamServer(LOCAL, handle, spawn=2) as server:
            server.start()
            assert ask(server, b"bad") == b""
            assert ask(server, b"bad") == b""
            assert ask(server, b"good") == b"fine"

    report = capfd.readouterr().err
    assert report.count("ZeroDivisionError: this one") == 2


# -- what may happen to accept ------------------------------------------------------------------------------------------------


class Troubled(StreamServer):
    """Its listener suffers what is listed in `troubles` before it works."""

    min_delay = 0.001
    max_delay = 0.004

    def __init__(self, troubles: list[int]) -> None:
        super().__init__(LOCAL, echo)
        self.troubles = troubles
        self.delays: list[float] = []

    def do_read(self) -> Any:
        if self.troubles:
            self.delays.append(self.delay)
            raise OSError(self.troubles.pop(0), "trouble")
        return super().do_read()


def test_base_invariant_4_shortages_and_clients_that_are_gone_are_survived(on: Run) -> None:
    @on
    def body() -> None:
        troubles = [errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE]
        with Troubled(troubles) as server:
            server.start()
            assert ask(server) == b"x"
            assert server.delays == [0.001, 0.001, 0.002, 0.004, 0.004, 0.004]
            assert server.delay == server.min_delay


SHORT_OF_DESCRIPTORS = """
import resource
from coop_plugins.server import StreamServer

class Server(StreamServer):
    min_delay = 0.001
    suffered = 0

    def _survive(self, error):
        self.suffered += 1
        super()._survive(error)

def handle(client, address):
    client.sendall(client.recv(10))
    client.recv(1)

server = Server(("127.0.0.1", 0), handle)
server.start()
resource.setrlimit(resource.RLIMIT_NOFILE, (25, 25))
print(server.server_port, flush=True)
server.serve_forever()
print(server.suffered > 0)
"""


def test_base_invariant_4_a_process_that_runs_out_of_descriptors_serves_on(on: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", SHORT_OF_DESCRIPTORS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())

        @on
        def body() -> None:
            clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]  # the kernel's queue takes them all
            for client in clients:
                client.sendall(b"x")
            for client in clients:  # each that leaves makes room for another
                assert client.recv(1) == b"x"
                client.close()

        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[0] == "True\n"
    finally:
        process.kill()
        process.communicate()


def test_nothing_is_left_of_connections_that_ended(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(LOCAL, echo) as server:
            server.start()
            ask(server)
            counts = []
            for _ in range(2):
                coopcore.joinall([spawn(ask, server) for _ in range(50)], timeout=10, raise_error=True)
                while len(coopcore.get_hub().tasks()) > 2:  # this one, and the one that accepts
                    sleep(0)
                counts.append(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
            assert counts[0] >= counts[1]


def test_a_broken_listener_ends_serve_forever_with_its_error(on: Run) -> None:
    @on
    def body() -> None:
        server = Troubled([errno.EINVAL])
        with pytest.raises(OSError, match="trouble"):
            server.serve_forever()
        assert server.closed


def test_a_broken_listener_is_reported_when_nobody_serves(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        server = Troubled([errno.EINVAL])
        server.start()
        while server.started:
            sleep(0)
        assert server.closed

    assert "trouble" in capfd.readouterr().err


# -- stopping -------------------------------------------------------------------------------------------------------------------


def test_base_invariant_5_stop_waits_for_a_bounded_crew_then_kills(on: Run) -> None:
    @on
    def body() -> None:
        counter = Counter()
        server = StreamServer(LOCAL, counter, spawn=5)
        server.start()
        client = spawn(ask, server)
        while not counter.at_work:
            sleep(0)
        stopping = spawn(server.stop, 5)
        while server.started:
            sleep(0)
        with pytest.raises(ConnectionRefusedError):
            call(server)
        assert counter.at_work == 1
        counter.leave = True
        assert stopping.get(timeout=5) is None
        assert client.get(timeout=5) == b"done"

        counter = Counter()
        server = StreamServer(LOCAL, counter, spawn=5)
        server.start()
        client = spawn(ask, server)
        while not counter.at_work:
            sleep(0)
        server.stop(0.01)
        assert counter.at_work == 0
        assert client.get(timeout=5) == b""


def test_without_a_bound_running_handlers_live_on(on: Run) -> None:
    @on
    def body() -> None:
        counter = Counter()
        server = StreamServer(LOCAL, counter)
        server.start()
        client = spawn(ask, server)
        while not counter.at_work:
            sleep(0)
        server.stop()
        assert counter.at_work == 1
        counter.leave = True
        assert client.get(timeout=5) == b"done"


def test_base_invariant_6_the_listener_is_closed_with_the_server(on: Run) -> None:
    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo)
        with pytest.raises(AttributeError, match="start"):
            server.socket
        server.start()
        listener = server.socket
        server.close()
        server.close()
        assert listener.fileno() == -1
        with pytest.raises(ValueError, match="no listener"):
            server.start_accepting()


def test_it_can_be_started_again_at_its_port(on: Run) -> None:
    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo)
        server.start()
        port = server.server_port
        server.stop()
        server.start()
        assert server.server_port == port
        assert ask(server) == b"x"
        server.stop()


def test_stop_accepting_leaves_clients_in_the_queue(on: Run) -> None:
    @on
    def body() -> None:
        with StreamServer(LOCAL, echo) as server:
            server.start()
            server.stop_accepting()
            server.start_accepting()
            server.stop_accepting()
            client = spawn(ask, server)
            while client.state != "parked":
                sleep(0)
            server.start_accepting()
            assert client.get(timeout=5) == b"x"


def test_serve_forever_ends_with_stop_and_with_an_exception(on: Run) -> None:
    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo)
        serving = spawn(server.serve_forever)
        while not server.started:
            sleep(0)
        server.stop()
        assert serving.get(timeout=5) is None

        serving = spawn(server.serve_forever)
        while not server.started:
            sleep(0)
        serving.kill(timeout=5)
        assert server.closed


def test_a_handler_may_stop_its_server(on: Run) -> None:
    @on
    def body() -> None:
        for how in ("default", 3, lambda fn, *args: fn(*args)):
            server = StreamServer(LOCAL, spawn=how)
            server.set_handle(lambda client, address, server=server: server.stop())
            serving = spawn(server.serve_forever)
            while not server.started:
                sleep(0)
            assert ask(server, b"") == b""
            serving.get(timeout=5)
            assert server.closed


def test_closing_the_listener_itself_ends_the_server_quietly(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo)
        serving = spawn(server.serve_forever)
        while not server.started:
            sleep(0)
        sleep(0)
        server.socket.close()
        assert serving.get(timeout=5) is None

    assert capfd.readouterr().err == ""


def test_stop_from_a_callback_on_the_hub_waits_for_nothing(on: Run) -> None:
    @on
    def body() -> None:
        counter = Counter()
        server = StreamServer(LOCAL, counter, spawn=2)
        server.start()
        client = spawn(ask, server)
        while not counter.at_work:
            sleep(0)
        errors = []

        def callback() -> None:
            try:
                server.stop()
            except ParkInHubError as error:
                errors.append(error)

        coopcore.get_hub().call_soon(callback)
        while server.started:
            sleep(0)
        assert errors == []
        counter.leave = True
        assert client.get(timeout=5) == b"done"


def test_stop_refuses_a_bad_timeout(on: Run) -> None:
    @on
    def body() -> None:
        with pytest.raises(TypeError):
            StreamServer(LOCAL, echo).stop("soon")  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("how", ["close", "stop_accepting"])
@pytest.mark.parametrize("early", [True, False])
def test_base_invariant_5_an_accepting_task_that_was_woken_already_ends(on: Run, how: str, early: bool, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        served = []
        server = StreamServer(LOCAL, lambda client, address: served.append(client))
        server.start()
        accepting = server._accepting
        assert accepting is not None
        while accepting.state != "parked":
            sleep(0)
        clients = [stdlib.create_connection(server.address[:2]) for _ in range(20)]
        hub = coopcore.lowlevel.current_hub()
        hub.call_soon_threadsafe(*([getattr(server, how)] if early else [hub.call_soon, getattr(server, how)]))
        coopcore.joinall([accepting], timeout=5)
        assert accepting.dead and not accepting.failed
        for _ in range(3):
            sleep(0)
        assert len(served) <= (1 if how == "stop_accepting" else 0)
        server.stop()
        for client in clients:
            client.close()

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("again", [False, True], ids=["for good", "and accepts again"])
def test_base_invariant_5_a_server_that_is_stopped_as_room_comes_ends(on: Run, again: bool, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        handle = Counter()
        server = StreamServer(LOCAL, handle, spawn=1)
        server.start()
        accepting = server._accepting
        assert accepting is not None
        first = spawn(ask, server)
        while not server.full() or accepting.state != "parked":
            sleep(0.001)
        second = spawn(ask, server)
        handle.leave = True
        while server.full():
            sleep(0)  # the accepting task is woken in the turn in which the handler ends, and runs after this one
        server.stop_accepting()
        coopcore.joinall([accepting], timeout=5)
        assert accepting.dead and not accepting.failed
        assert first.get(timeout=5) == b"done"
        if again:
            server.start_accepting()
            assert second.get(timeout=5) == b"done"
        server.stop()
        second.kill()
        assert handle.served == (2 if again else 1)

    assert capfd.readouterr().err == ""


def test_closing_the_listener_of_a_server_that_is_full_ends_it_quietly(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        handle = Counter()
        with StreamServer(LOCAL, handle, spawn=1) as server:
            server.start()
            client = spawn(ask, server)
            while not server.full():
                sleep(0.001)
            server.socket.close()
            handle.leave = True
            assert client.get(timeout=5) == b"done"
            while server.started:
                sleep(0.001)

    assert capfd.readouterr().err == ""


def test_base_invariant_5_stop_accepts_who_waits_in_the_kernel_first(on: Run) -> None:
    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo, spawn=10)
        server.start()
        early = [stdlib.create_connection(server.address) for _ in range(12)]  # nobody had a turn to accept them
        for client in early:
            client.sendall(b"x")
            client.shutdown(stdlib.SHUT_WR)
        server.stop(5)
        answers = []
        for client in early:
            with client:
                try:
                    answers.append(client.recv(10))
                except ConnectionResetError:
                    answers.append(b"reset")
        assert answers == [b"x"] * 10 + [b"reset"] * 2, "as many as the crew has room for"


# -- Unix sockets ------------------------------------------------------------------------------------------------------------


def at(path: Any) -> bytes:
    with socket.socket(stdlib.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(os.fspath(path))
        client.sendall(b"x")
        client.shutdown(stdlib.SHUT_WR)
        return client.recv(10)


def test_base_invariant_6_a_unix_socket_is_removed_with_its_server(on: Run, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"

    @on
    def body() -> None:
        server = StreamServer(path, echo)
        for _ in range(2):  # it can be started again
            with server:
                server.start()
                assert (server.address, server.server_host, server.server_port) == (str(path), None, None)
                assert at(path) == b"x"
            assert not path.exists()


def test_base_invariant_6_the_file_of_another_server_is_left_to_it(on: Run, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"

    @on
    def body() -> None:
        first, second = StreamServer(path, echo), StreamServer(path, echo)
        first.start()
        path.unlink()
        with second:
            second.start()
            first.stop()
            assert at(path) == b"x"
        assert not path.exists()
        first.start()
        path.unlink()
        first.stop()


def test_a_socket_that_a_killed_server_left_is_replaced(on: Run, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with stdlib.socket(stdlib.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()

    @on
    def body() -> None:
        with StreamServer(path, echo) as server:
            server.start()
            assert at(path) == b"x"


@pytest.mark.parametrize("what", ["a server that lives", "a file"])
def test_what_is_not_a_stale_socket_is_not_removed(on: Run, tmp_path: Path, what: str) -> None:
    path = tmp_path / "app.sock"

    @on
    def body() -> None:
        with StreamServer(path, echo) as living:
            if what == "a file":
                path.write_text("precious")
            else:
                living.start()
            with pytest.raises(OSError, match=r"cannot listen at '.*app.sock'. (Is another program bound to it|Something else than a socket)"):
                StreamServer(path, echo).start()
            assert path.exists()


def test_an_abstract_name_is_no_file(on: Run, tmp_path: Path) -> None:
    name = f"\0coop-{os.getpid()}-{tmp_path.name}"

    @on
    def body() -> None:
        with StreamServer(name, echo) as server:
            server.start()
            assert at(name) == b"x"


# -- one port for several -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StreamServer, DatagramServer])
def test_servers_may_share_a_port_if_all_say_so(on: Run, kind: Any) -> None:
    @on
    def body() -> None:
        with kind(LOCAL, echo, reuse_port=True) as first:
            first.start()
            with kind(first.address, echo, reuse_port=True) as second:
                second.start()
                assert first.address == second.address
            with pytest.raises(OSError, match="cannot listen at"):
                kind(first.address, echo).start()


def test_a_system_without_reuse_port_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(stdlib, "SO_REUSEPORT")
    with pytest.raises(ValueError, match="this system has no SO_REUSEPORT: leave reuse_port out"):
        StreamServer(LOCAL, echo, reuse_port=True)


# -- datagrams ----------------------------------------------------------------------------------------------------------------


class Caller:
    """The client's end of datagrams."""

    def __init__(self, server: DatagramServer) -> None:
        self.socket = socket.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.connect(server.address)

    def ask(self, data: bytes) -> bytes:
        self.socket.send(data)
        return self.socket.recv(100)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_datagrams_are_handled_each_in_a_task(on: Run) -> None:
    @on
    def body() -> None:
        tasks = []

        def handle(data: bytes, address: Any) -> None:
            tasks.append(coopcore.current_task())
            server.sendto(data.upper(), address)
            if data == b"b":
                server.sendto(b"more", 0, address)

        with DatagramServer(LOCAL, handle) as server:
            server.start()
            with Caller(server) as caller:
                assert caller.ask(b"a") == b"A"
                assert caller.ask(b"b") == b"B"
                assert caller.socket.recv(100) == b"more"
            assert len(set(tasks)) == 2


def test_base_invariant_1_datagrams_wait_while_the_crew_is_full(on: Run) -> None:
    @on
    def body() -> None:
        gate = coopcore.lowlevel.ParkingLot("the gate")
        at_work = []

        def handle(data: bytes, address: Any) -> None:
            at_work.append(data)
            gate.park()
            server.sendto(data, address)

        with DatagramServer(LOCAL, handle, spawn=1) as server:
            server.start()
            with Caller(server) as caller:
                for data in (b"1", b"2", b"3"):
                    caller.socket.send(data)
                for count in (1, 2, 3):
                    while len(at_work) < count:
                        sleep(0)
                    for _ in range(3):
                        sleep(0)
                    assert len(at_work) == count
                    gate.unpark()
                    assert caller.socket.recv(10) == b"123"[count - 1 : count]


def test_base_invariant_4_an_answer_to_a_client_that_is_gone_does_not_end_the_server(on: Run) -> None:
    @on
    def body() -> None:
        answered = []

        def handle(data: bytes, address: Any) -> None:
            for _ in range(3):
                server.sendto(data, address)
            answered.append(data)

        with DatagramServer(LOCAL, handle) as server:
            server.start()
            with Caller(server) as gone:
                gone.socket.send(b"gone")
            while not answered:
                sleep(0)
            with Caller(server) as caller:
                assert caller.ask(b"here") == b"here"


def test_an_error_in_a_handler_of_datagrams_is_reported_and_ends_only_it(on: Run, capfd: pytest.CaptureFixture[str]) -> None:
    @on
    def body() -> None:
        def handle(data: bytes, address: Any) -> None:
            if data == b"bad":
                raise KeyError("bad datagram")
            server.sendto(data, address)

        with DatagramServer(LOCAL, handle) as server:
            server.start()
            with Caller(server) as caller:
                caller.socket.send(b"bad")
                assert caller.ask(b"good") == b"good"

    assert "KeyError: 'bad datagram'" in capfd.readouterr().err


# -- signals ------------------------------------------------------------------------------------------------------------------

SERVING = """
import signal, sys
from coop_plugins.server import StreamServer
from coopcore import sleep

def handle(client, address):
    if not client.recv(10):
        return
    try:
        print("at work", flush=True)
        sleep({span})
        client.sendall(b"done")
    finally:
        print("unwound", flush=True)

{before}
server = StreamServer(("127.0.0.1", 0), handle, spawn=10)
server.start()
print(server.server_port, flush=True)
server.serve_forever(stop_timeout=30{arguments})
print("over", flush=True)
"""


class Serving:
    """A server in a process of its own, with a client that it is at work for."""

    def __init__(self, span: float, before: str = "", arguments: str = "") -> None:
        code = SERVING.format(span=span, before=before, arguments=arguments)
        self.process = subprocess.Popen([sys.executable, "-X", "dev", "-W", "error", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.client = stdlib.create_connection(("127.0.0.1", self.port), timeout=30)
        self.client.sendall(b"x")
        assert self.process.stdout.readline() == "at work\n"

    def answer(self) -> bytes:
        with self.client:
            return self.client.recv(10)

    def refuses(self) -> bool:
        """Whether it comes to refuse clients; waits until it does."""
        for _ in range(10_000):
            try:
                stdlib.create_connection(("127.0.0.1", self.port), timeout=0.05).close()
            except ConnectionRefusedError:
                return True
            except (ConnectionResetError, TimeoutError):
                continue  # it was still in the queue of a listener that was closed, or was not let into it
        return False

    def ends(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_serve_forever_ends_well_on_a_signal(signum: signal.Signals) -> None:
    with Serving(span=0.2) as serving:
        serving.process.send_signal(signum)
        assert serving.refuses()
        assert serving.answer() == b"done"
        assert serving.ends() == (0, "unwound\nover\n", "")


def test_the_second_signal_is_for_the_impatient() -> None:
    with Serving(span=1000) as serving:
        serving.process.send_signal(signal.SIGINT)
        assert serving.refuses()
        serving.process.send_signal(signal.SIGINT)
        status, out, err = serving.ends()
        assert (status, out) == (-signal.SIGINT, "unwound\n")
        assert err.endswith("KeyboardInterrupt\n")


def test_a_handler_of_the_program_is_left_alone() -> None:
    with Serving(span=0.2, before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))") as serving:
        serving.process.send_signal(signal.SIGTERM)
        assert serving.ends() == (5, "unwound\n", "")


def test_signals_can_be_left_out() -> None:
    with Serving(span=1000, arguments=", signals=()") as serving:
        serving.process.send_signal(signal.SIGTERM)
        assert serving.ends()[0] == -signal.SIGTERM


def test_the_handlers_are_as_before_afterwards(on: Run) -> None:
    before = signal.getsignal(signal.SIGTERM)

    @on
    def body() -> None:
        server = StreamServer(LOCAL, echo)
        serving = spawn(server.serve_forever)
        while not server.started:
            sleep(0)
        assert signal.getsignal(signal.SIGTERM) is not before
        server.stop()
        serving.get()

    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
@pytest.mark.parametrize("family", [stdlib.AF_INET, stdlib.AF_INET6])
def test_a_listener_that_lets_nobody_in_completes_no_connection(family: int, request: pytest.FixtureRequest) -> None:
    from coop_plugins.server._listener import let_nobody_in

    if family == stdlib.AF_INET6:
        request.getfixturevalue("ipv6")
    if not may_filter(family):
        pytest.skip("this kernel lets only those filter TCP that have CAP_NET_ADMIN")
    with stdlib.socket(family) as listener, stdlib.socket(family) as before, stdlib.socket(family) as after:
        listener.bind(("127.0.0.1" if family == stdlib.AF_INET else "::1", 0))
        listener.listen()
        before.connect(listener.getsockname())
        let_nobody_in(listener)
        after.settimeout(0.05)
        with pytest.raises(TimeoutError):
            after.connect(listener.getsockname())
        listener.settimeout(0)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.skipif(sys.platform != "linux", reason="the way of Linux")
def test_a_listener_at_a_unix_socket_that_lets_nobody_in_refuses_them(tmp_path: Path) -> None:
    from coop_plugins.server._listener import let_nobody_in

    path = str(tmp_path / "s")
    with stdlib.socket(stdlib.AF_UNIX) as listener, stdlib.socket(stdlib.AF_UNIX) as before, stdlib.socket(stdlib.AF_UNIX) as after:
        listener.bind(path)
        listener.listen()
        before.connect(path)
        let_nobody_in(listener)
        with pytest.raises(ConnectionRefusedError):
            after.connect(path)
        listener.settimeout(0)
        listener.accept()[0].close()
        with pytest.raises(OSError):
            listener.accept()


@pytest.mark.skipif(sys.platform != "linux", reason="filters of Linux")
@pytest.mark.slow(reason="the kernel sends its part of a handshake again after a second")
@pytest.mark.parametrize(("family", "host"), [(stdlib.AF_INET, "127.0.0.1"), (stdlib.AF_INET6, "::1")])
def test_a_client_whose_connection_is_half_open_is_let_in_by_a_server_that_stops(family: int, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes its connection for open as soon as it has its answer, however far away it is."""
    from coop_plugins.server import _stream

    all_is_dropped = array("B", struct.pack("HBBI", 0x06, 0, 0, 0))
    attach, detach = 26, 27
    monkeypatch.setattr(_stream, "_FAR_AWAY", 60_000_000_000)

    def body() -> None:
        with StreamServer((host, 0), echo, spawn=10) as server, stdlib.socket(family) as client:
            server.start()
            address = server.socket.getsockname()
            client.setblocking(False)
            client.setsockopt(stdlib.SOL_SOCKET, attach, struct.pack("HP", 1, all_is_dropped.buffer_info()[0]))
            client.connect_ex(address)
            assert _stream.has_half_open(server.socket)
            stopping = spawn(server.stop, 60)
            sleep(0.05)
            assert server.started, "it waits for the client"
            client.setsockopt(stdlib.SOL_SOCKET, detach, 0)  # the kernel asks again after a second
            with socket.fromfd(client.fileno(), family, stdlib.SOCK_STREAM) as cooperative:
                cooperative.settimeout(60)
                cooperative.sendall(b"x")
                assert cooperative.recv(1) == b"x"
                cooperative.shutdown(socket.SHUT_WR)
                stopping.get()
                assert cooperative.recv(1) == b""

    coopcore.run(body)


@pytest.mark.skipif(sys.platform != "linux", reason="a table of Linux")
def test_a_listener_without_clients_has_none_that_are_half_open() -> None:
    from coop_plugins.server._listener import has_half_open

    with stdlib.create_server(("127.0.0.1", 0)) as listener, stdlib.create_connection(listener.getsockname()):
        assert not has_half_open(listener)
    with stdlib.socket(stdlib.AF_UNIX) as listener:
        assert not has_half_open(listener)
