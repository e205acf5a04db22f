"""coop_plugins.ssl over real sockets on the loopback, on an edge-triggered and a level-triggered backend, and on a network that is not the kernel's."""

from __future__ import annotations

import errno
import gc
import io
import os
import random
import select
import socket as stdlib_socket
import ssl as stdlib
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins import socket, ssl
from coopcore import Timeout, current_task, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, ParkInHubError
from coopcore.lowlevel import READABLE, WRITABLE

from .tls import AUTHORITY, BIG, CLIENT, LOCALHOST, OTHER, HiddenNetwork, client_context, fill, parked, plain_pair, read_all, server_context, tls_pair

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=[*BACKENDS, "memory"])
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; nothing may be left behind: no task, no descriptor."""

    def run(body: Callable[[], Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gc.collect()
            before = descriptors()
            chosen = {"network": HiddenNetwork()} if request.param == "memory" else {"backend": request.param}
            value = coopcore.run(body, **chosen)
            assert descriptors() <= before
            return value

    return run


def descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            pass  # that of the listing
    return found


def heavy_server_context() -> Any:
    """One whose first flight is larger than a small buffer: its chain has a certificate many times, which clients don't mind."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(Path(LOCALHOST).read_text() + Path(AUTHORITY).read_text() * 30)
        file.flush()
        return server_context(file.name)


# -- what is there ------------------------------------------------------------------------------------------------------


def test_every_name_of_the_standard_module_is_here() -> None:
    public = [name for name in vars(stdlib) if not name.startswith("_") and not isinstance(getattr(stdlib, name), type(os))]
    assert [name for name in public if not hasattr(ssl, name)] == []
    assert {*public, "wrap_socket"} == set(ssl.__all__)
    for name in ("_create_unverified_context", "_create_default_https_context", "_create_stdlib_context"):
        assert isinstance(getattr(ssl, name)(), ssl.SSLContext)
    assert ssl.SSLError is stdlib.SSLError
    assert ssl.MemoryBIO is stdlib.MemoryBIO
    assert ssl.SSLObject is stdlib.SSLObject


def test_a_tls_socket_is_a_standard_one_and_a_cooperative_one(on: Run) -> None:
    @on
    def body() -> None:
        client, served = tls_pair()
        with client, served:
            assert isinstance(client, stdlib.SSLSocket)
            assert isinstance(client, socket.socket)
            assert isinstance(client, ssl.SSLSocket)
            assert repr(client).startswith(f"<coop_plugins.ssl.SSLSocket fd={client.fileno()}, family=")
            assert not os.get_blocking(client.fileno())
        assert repr(client).startswith("<coop_plugins.ssl.SSLSocket [closed]")


def test_it_takes_no_name_of_the_plain_sockets_by_accident() -> None:
    """What both define, it means to replace."""
    replaced = {"connect", "connect_ex", "recv", "recv_into", "send", "sendall", "sendfile", "_start_state", "_deadline", "_real_close", "_set_up"}
    both = set(vars(ssl.SSLSocket)) & set(vars(socket.socket))
    assert {name for name in both if not name.startswith("__")} == replaced


def test_a_tls_socket_is_made_by_contexts_only() -> None:
    with pytest.raises(TypeError, match="SSLContext.wrap_socket"):
        ssl.SSLSocket()


def test_contexts_are_standard_ones_with_the_settings_of_this_python() -> None:
    for ours, theirs in [
        (ssl.create_default_context(), stdlib.create_default_context()),
        (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), stdlib.create_default_context(stdlib.Purpose.CLIENT_AUTH)),
        (ssl._create_unverified_context(), stdlib._create_unverified_context()),
        (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), stdlib.SSLContext(stdlib.PROTOCOL_TLS_CLIENT)),
    ]:
        assert isinstance(ours, stdlib.SSLContext)
        assert type(ours) is ssl.SSLContext
        for name in ("options", "verify_flags", "verify_mode", "minimum_version", "maximum_version", "check_hostname", "protocol", "keylog_filename"):
            assert getattr(ours, name) == getattr(theirs, name), name
        ours.options |= ssl.OP_NO_TICKET
        ours.minimum_version = ssl.TLSVersion.TLSv1_2
        assert ours.options & ssl.OP_NO_TICKET


def test_a_subclass_of_ours_is_made_by_its_context(on: Run) -> None:
    class Mine(ssl.SSLSocket):
        pass

    class Context(ssl.SSLContext):
        sslsocket_class = Mine

    @on
    def body() -> None:
        context = Context(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(AUTHORITY)
        client, served = tls_pair(client=context)
        with client, served:
            assert isinstance(client, Mine)


def test_a_standard_context_makes_cooperative_sockets_when_told(on: Run) -> None:
    @on
    def body() -> None:
        context = stdlib.create_default_context(cafile=AUTHORITY)
        context.sslsocket_class = ssl.SSLSocket
        client, served = tls_pair(client=context)
        with client, served:
            assert isinstance(client, ssl.SSLSocket)


# -- handshakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_handshake_parks_and_the_others_run(on: Run, kind: str) -> None:
    @on
    def body() -> None:
        near, far = plain_pair(kind)
        task = spawn(client_context().wrap_socket, near, server_hostname="localhost")
        parked(task)
        with server_context().wrap_socket(far, server_side=True) as served, task.get(timeout=5) as client:
            assert client.version() == served.version() == "TLSv1.3"
            assert client.cipher() == served.cipher()
            assert client.getpeercert()["subject"] == ((("commonName", "localhost"),),)
            assert client.server_hostname == "localhost"
            assert (client.server_side, served.server_side) == (False, True)
            assert near.fileno() == far.fileno() == -1


def test_a_standard_socket_is_taken_over(on: Run) -> None:
    @on
    def body() -> None:
        near, far = stdlib_socket.socketpair()
        task = spawn(server_context().wrap_socket, far, server_side=True)
        with client_context().wrap_socket(near, server_hostname="localhost") as client, task.get(timeout=5) as served:
            reader = spawn(served.recv)
            parked(reader)
            client.sendall(b"hello")
            assert reader.get(timeout=5) == b"hello"


def test_a_tls_listener_accepts_tls_connections(on: Run) -> None:
    @on
    def body() -> None:
        with server_context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
            accepting = spawn(listener.accept)
            parked(accepting)
            with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
                client.connect(listener.getsockname())
                served, address = accepting.get(timeout=5)
                with served:
                    assert isinstance(served, ssl.SSLSocket)
                    assert address == client.getsockname()
                    client.sendall(b"hello")
                    assert served.recv() == b"hello"


def test_connect_ex_connects_and_shakes_hands(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            serving = spawn(lambda: server_context().wrap_socket(listener.accept()[0], server_side=True))
            with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
                assert client.connect_ex(address) == 0
                assert client.version() == "TLSv1.3"
                with pytest.raises(ValueError, match="already-connected"):
                    client.connect(address)
                assert client.version() == "TLSv1.3"
            serving.get(timeout=5).close()
        with socket.socket() as nobody_listens:  # and nobody else can have this port
            nobody_listens.bind(("127.0.0.1", 0))
            address = nobody_listens.getsockname()
            with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
                assert client.connect_ex(address) == errno.ECONNREFUSED
            with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client, pytest.raises(ConnectionRefusedError):
                client.connect(address)


def test_a_handshake_of_ones_own(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        served = server_context().wrap_socket(far, server_side=True, do_handshake_on_connect=False)
        with client, served:
            assert client.version() is None
            task = spawn(client.do_handshake)
            parked(task)
            served.do_handshake()
            task.get(timeout=5)
            assert client.version() == "TLSv1.3"
            client.do_handshake()  # nothing is left to do
            assert not client.do_handshake_on_connect


def test_a_write_that_must_read_and_a_read_that_must_write_perform_the_handshake(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        served = heavy_server_context().wrap_socket(far, server_side=True, do_handshake_on_connect=False)
        with client, served:
            writer = spawn(client.send, b"hello")
            parked(writer)
            reader = spawn(served.recv)
            answerer = spawn(served.send, b"x")
            parked(reader, answerer)  # the certificates don't fit
            assert served._at == {WRITABLE: reader}
            assert client._at == {READABLE: writer}
            assert writer.get(timeout=5) == 5
            assert reader.get(timeout=5) == b"hello"
            assert answerer.get(timeout=5) == 1
            assert client.recv() == b"x"


def test_invariant_3_tasks_that_need_one_direction_wait_together(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        with client:
            reader = spawn(client.recv)
            writer = spawn(client.sendall, b"hello")  # both have to read the server's part of the handshake
            shaker = spawn(client.do_handshake)
            parked(reader, writer, shaker)
            assert client._at == {READABLE: reader}
            assert "together with another task" in coopcore.get_hub().describe()
            reader.kill()
            parked(writer, shaker)
            assert client._at == {READABLE: writer}
            reader = spawn(client.recv)
            parked(reader)
            with server_context().wrap_socket(far, server_side=True) as served:
                assert served.recv() == b"hello"
                served.sendall(b"and you")
                writer.get(timeout=5)
                shaker.get(timeout=5)
                assert reader.get(timeout=5) == b"and you"
            assert client._joined == {}


def test_those_who_wait_together_time_out_and_hear_of_a_close_as_the_first_does(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        with far:
            reader = spawn(client.recv)
            parked(reader)
            client.settimeout(0.01)
            writer = spawn(client.sendall, b"hello")
            with pytest.raises(TimeoutError, match="The write operation timed out"):
                writer.get(timeout=5)
            client.settimeout(None)
            writer, shaker = spawn(client.sendall, b"hello"), spawn(client.do_handshake)
            parked(writer, shaker)
            client.close()
            for task in (reader, writer, shaker):
                with pytest.raises(ClosedResourceError):
                    task.get(timeout=5)


def test_a_certificate_that_nobody_vouches_for(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        serving = spawn(server_context().wrap_socket, far, server_side=True)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            ssl.create_default_context().wrap_socket(near, server_hostname="localhost")
        assert caught.value.verify_code
        with pytest.raises(ssl.SSLError, match="(?i)unknown.ca"):
            serving.get(timeout=5)


def test_a_certificate_for_another_host(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        serving = spawn(server_context(OTHER).wrap_socket, far, server_side=True)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            client_context().wrap_socket(near, server_hostname="localhost")
        with pytest.raises(ssl.SSLError):
            serving.get(timeout=5)


def test_invariant_5_a_handshake_that_fails_closes_its_descriptor(on: Run) -> None:
    """That nothing is left, `on` checks. Here neither end is closed by hand."""

    @on
    def body() -> None:
        near, far = plain_pair()
        far.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError, match="(?i)wrong.version|record.layer"):
            client_context().wrap_socket(near, server_hostname="localhost")
        far.close()


@pytest.mark.parametrize("how", ["kill", "timeout", "Timeout", "end", "never waits"])
def test_invariant_5_whatever_ends_a_handshake_leaves_nothing_behind(on: Run, how: str) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        with far:
            wrap = client_context().wrap_socket
            if how == "timeout":
                near.settimeout(0.01)
                with pytest.raises(TimeoutError, match="The handshake operation timed out"):
                    wrap(near, server_hostname="localhost")
            elif how == "Timeout":
                with pytest.raises(KeyError), Timeout(0.01, KeyError):
                    wrap(near, server_hostname="localhost")
            elif how == "never waits":
                near.settimeout(0)
                with pytest.raises(ValueError, match="non-blocking"):
                    wrap(near, server_hostname="localhost")
            else:
                task = spawn(wrap, near, server_hostname="localhost")
                parked(task)
                if how == "kill":
                    task.kill()
                else:
                    far.close()
                    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                        task.get(timeout=5)
            assert near.fileno() == -1


def test_plain_http_at_a_tls_port_is_told_from_tls(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        with near:
            near.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ssl.SSLError) as caught:
                server_context().wrap_socket(far, server_side=True)
            assert caught.value.reason == "HTTP_REQUEST"


def test_refused_arguments_close_nothing(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        with near, far:
            for arguments in ({"server_side": True, "server_hostname": "localhost"}, {}):
                context = server_context() if arguments else client_context()
                with pytest.raises(ValueError, match="server_hostname"):
                    context.wrap_socket(near, **arguments)
            near.sendall(b"still open")
            assert far.recv(100) == b"still open"
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(NotImplementedError):
            client_context().wrap_socket(datagrams, server_hostname="localhost")


def test_invariant_4_a_timeout_bounds_connection_and_handshake_together(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
                client.settimeout(0.3)
                clock = current_task().hub.clock
                began = clock.now()
                with pytest.raises(TimeoutError, match="The handshake operation timed out"):
                    client.connect(listener.getsockname())
                assert 0.29e9 < clock.now() - began < 5e9
                assert client._until is None
                assert client.gettimeout() == 0.3


def test_invariant_4_what_the_connection_took_is_no_longer_there_for_the_handshake(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[Any] = []
    plain_connect, go_on = socket.socket.connect, ssl.SSLSocket._continue

    def connect(self: Any, address: Any) -> None:
        deadlines.append(self._deadline())
        sleep(0.001)
        plain_connect(self, address)

    def spy(self: Any, operation: str, want: int, deadline: Any, *args: Any) -> Any:
        deadlines.append(deadline)
        return go_on(self, operation, want, deadline, *args)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(ssl.SSLSocket, "_continue", spy)

    @on
    def body() -> None:
        deadlines.clear()
        with socket.create_server(("127.0.0.1", 0)) as listener, client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.connect(listener.getsockname())
            assert len(deadlines) == 2
            assert deadlines[0] == deadlines[1]


def test_a_connect_whose_handshake_is_killed_can_be_closed_and_holds_nothing(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
            task = spawn(client.connect, listener.getsockname())
            while client._at == {}:
                sleep(0)
            task.kill()
            assert client._sslobj is None
            assert client._until is None


def test_a_killed_connect_leaves_the_socket_as_it_was(on: Run) -> None:
    @on
    def body() -> None:
        with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client, socket.create_server(("127.0.0.1", 0)) as listener:
            client.settimeout(0)
            with pytest.raises(BlockingIOError):
                client.connect(listener.getsockname())
            assert client._sslobj is None
            client.settimeout(None)


# -- callbacks of the handshake -------------------------------------------------------------------------------------------


def test_sni_and_alpn(on: Run) -> None:
    @on
    def body() -> None:
        asked: list[Any] = []
        default, other = server_context(), server_context(OTHER)
        other.set_alpn_protocols(["h2", "http/1.1"])
        default.set_alpn_protocols(["h2", "http/1.1"])

        def choose(sock: Any, name: str, context: Any) -> None:
            asked.append((isinstance(sock, ssl.SSLSocket), sock.getpeername(), name, context is default))
            if name == "other.example":
                sock.context = other

        default.sni_callback = choose
        client = client_context()
        client.set_alpn_protocols(["http/1.1"])
        for name in ("localhost", "other.example"):
            near, far = tls_pair("tcp", client, default, server_hostname=name)
            with near, far:
                assert near.getpeercert()["subject"][0][0][1] == name
                assert near.selected_alpn_protocol() == far.selected_alpn_protocol() == "http/1.1"
                assert asked.pop() == (True, near.getsockname(), name, True)
                assert far.context is (default if name == "localhost" else other)


def test_an_sni_callback_may_wait(on: Run) -> None:
    @on
    def body() -> None:
        context = server_context()
        context.sni_callback = lambda *_: sleep(0.001)
        pairs = [spawn(tls_pair, "unix", None, context) for _ in range(10)]
        for pair in pairs:
            near, far = pair.get(timeout=5)
            with near, far:
                near.sendall(b"hello")
                assert far.recv() == b"hello"


def test_an_sni_callback_that_refuses_ends_the_handshake(on: Run) -> None:
    @on
    def body() -> None:
        context = server_context()
        context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        near, far = plain_pair()
        serving = spawn(context.wrap_socket, far, server_side=True)
        with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
            client_context().wrap_socket(near, server_hostname="localhost")
        with pytest.raises(ssl.SSLError):
            serving.get(timeout=5)


def test_a_kill_while_a_callback_waits_ends_the_handshake(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception cannot pass through OpenSSL, which reports it and gives up."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_type))

    @on
    def body() -> None:
        context, seen, _ = waiting_callback()
        near, far = plain_pair()
        calling = spawn(client_context().wrap_socket, near, server_hostname="localhost")
        serving = spawn(context.wrap_socket, far, server_side=True)
        while not seen:
            sleep(0)
        serving.kill()
        assert serving.dead
        assert reported == [coopcore.TaskExit]
        assert isinstance(serving.exception, ssl.SSLError)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            calling.get(timeout=5)
        assert seen[0].fileno() == -1


def waiting_callback() -> tuple[Any, list[Any], list[bool]]:
    """A server's context whose callback waits until told to go on; the sockets that it got; whether to go on."""
    context, seen, go_on = server_context(), [], []

    def wait(sock: Any, name: str, context: Any) -> None:
        seen.append(sock)
        while not go_on:
            sleep(0)

    context.sni_callback = wait
    return context, seen, go_on


def test_invariant_7_nobody_enters_while_a_callback_waits(on: Run) -> None:
    @on
    def body() -> None:
        context, seen, go_on = waiting_callback()
        near, far = plain_pair()
        calling = spawn(client_context().wrap_socket, near, server_hostname="localhost")
        serving = spawn(context.wrap_socket, far, server_side=True)
        while not seen:
            sleep(0)
        for call in (seen[0].recv, lambda: seen[0].send(b"x"), seen[0].do_handshake, seen[0].unwrap):
            with pytest.raises(BusyResourceError, match="in the middle of its handshake"):
                call()
        go_on.append(True)
        with calling.get(timeout=5) as client, serving.get(timeout=5) as served:
            client.sendall(b"hello")
            assert served.recv() == b"hello"


def test_invariant_7_a_close_keeps_the_descriptor_while_a_callback_waits(on: Run) -> None:
    @on
    def body() -> None:
        context, seen, go_on = waiting_callback()
        near, far = plain_pair()
        calling = spawn(client_context().wrap_socket, near, server_hostname="localhost")
        serving = spawn(context.wrap_socket, far, server_side=True)
        while not seen:
            sleep(0)
        fd = seen[0].fileno()
        seen[0].close()
        seen[0].close()
        assert seen[0].fileno() == fd
        os.fstat(fd)
        go_on.append(True)
        with pytest.raises(ClosedResourceError):
            serving.get(timeout=5)
        assert seen[0].fileno() == -1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            calling.get(timeout=5)


def test_client_certificates(on: Run) -> None:
    @on
    def body() -> None:
        server = server_context()
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(AUTHORITY)
        client = client_context()
        client.load_cert_chain(CLIENT)
        near, far = tls_pair(client=client, server=server)
        with near, far:
            assert far.getpeercert()["subject"] == ((("commonName", "a client"),),)
            if sys.version_info >= (3, 13):
                assert len(far.get_verified_chain()) == 2
                assert near.get_unverified_chain()[0] == near.getpeercert(True)


def test_a_client_without_a_certificate_is_refused(on: Run) -> None:
    @on
    def body() -> None:
        server = server_context()
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(AUTHORITY)
        near, far = plain_pair()
        serving = spawn(server.wrap_socket, far, server_side=True)
        with client_context().wrap_socket(near, server_hostname="localhost") as client:  # whose part of the handshake is done before the server looks
            with pytest.raises(ssl.SSLError, match="(?i)peer.did.not.return"):
                serving.get(timeout=5)
            with pytest.raises(ssl.SSLError, match="(?i)certificate.required"):
                client.recv()


def test_a_certificate_that_is_asked_for_after_the_handshake(on: Run) -> None:
    """A read that has to write: the client's answer to what the server asks goes out of the client's `recv`."""

    @on
    def body() -> None:
        server = server_context()
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(AUTHORITY)
        server.post_handshake_auth = True
        client = client_context()
        client.post_handshake_auth = True
        client.load_cert_chain(CLIENT)
        near, far = tls_pair(client=client, server=server)
        with near, far:
            assert far.getpeercert() is None
            reader = spawn(near.recv)
            parked(reader)
            far.verify_client_post_handshake()
            far.sendall(b"who are you?")
            assert reader.get(timeout=5) == b"who are you?"
            near.sendall(b"x")
            assert far.recv() == b"x"
            assert far.getpeercert()["subject"] == ((("commonName", "a client"),),)


def test_sessions_are_used_again(on: Run) -> None:
    @on
    def body() -> None:
        client, server = client_context(), server_context()
        first, served = tls_pair(client=client, server=server)
        with first, served:
            served.sendall(b"x")  # behind the ticket
            first.recv()
            session = first.session
            assert session.has_ticket
            assert not first.session_reused
        again, served = tls_pair(client=client, server=server, session=session)
        with again, served:
            assert again.session_reused
            assert served.session_reused


def test_channel_bindings_ciphers_and_versions(on: Run) -> None:
    @on
    def body() -> None:
        client = client_context()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        near, far = tls_pair(client=client)
        with near, far:
            assert near.version() == "TLSv1.2"
            assert near.get_channel_binding("tls-unique") == far.get_channel_binding("tls-unique")
            assert near.compression() is None
            assert near.cipher() in far.shared_ciphers()
            assert near.pending() == 0


# -- data ---------------------------------------------------------------------------------------------------------------


def test_all_forms_of_receiving(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            buffer = bytearray(10)
            for receive, expected in [
                (lambda: near.recv(4), b"data"),
                (lambda: near.recv(), b"data"),
                (lambda: near.recv_into(buffer), 4),
                (lambda: near.recv_into(buffer, 4), 4),
                (lambda: near.recv_into(None), b"data"),
                (lambda: near.read(), b"data"),
                (lambda: near.read(4, buffer), 4),
                (lambda: near.makefile("rb", buffering=0).read(4), b"data"),
            ]:
                task = spawn(receive)
                parked(task)
                assert far.send(b"data") == 4
                assert task.get(timeout=5) == expected
            assert buffer[:4] == b"data"
            far.sendall(b"data")
            assert near.recv(0) == b""
            assert near.recv_into(bytearray()) == 0


def test_all_forms_of_sending(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            for send in (
                lambda: near.send(b"data"),
                lambda: near.write(b"data"),
                lambda: near.sendall(b"data"),
                lambda: near.sendall(memoryview(bytearray(b"data"))),
                lambda: near.sendall(memoryview(b"data").cast("B", (2, 2))),
                lambda: near.sendfile(io.BytesIO(b"xxdata"), 2),
            ):
                send()
                assert far.recv() == b"data"
            near.sendall(b"")
            near.sendall(bytearray())
            assert near.send(b"") == 0


def test_what_makes_no_sense_with_tls_is_refused_as_the_standard_module_does(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            for error, call in [
                (ValueError, lambda: near.recv(1, socket.MSG_PEEK)),
                (ValueError, lambda: near.recv_into(bytearray(1), 1, socket.MSG_PEEK)),
                (ValueError, lambda: near.send(b"x", socket.MSG_DONTWAIT)),
                (ValueError, lambda: near.sendall(b"x", socket.MSG_DONTWAIT)),
                (ValueError, lambda: near.recvfrom(1)),
                (ValueError, lambda: near.recvfrom_into(bytearray(1))),
                (ValueError, lambda: near.sendto(b"x", ("127.0.0.1", 1))),
                (NotImplementedError, lambda: near.recvmsg(1)),
                (NotImplementedError, lambda: near.recvmsg_into([bytearray(1)])),
                (NotImplementedError, lambda: near.sendmsg([b"x"])),
                (NotImplementedError, near.dup),
                (ValueError, lambda: near.recv(-1)),
            ]:
                with pytest.raises(error):
                    call()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_more_than_the_buffers_hold_in_both_directions_at_once(on: Run, kind: str) -> None:
    @on
    def body() -> None:
        near, far = tls_pair(kind)
        with near, far:
            data = os.urandom(BIG)

            def send(sock: Any) -> None:
                sock.sendall(data)

            def receive(sock: Any) -> bytes:
                got = bytearray()
                while len(got) < BIG:
                    got += sock.recv(100_000)
                return bytes(got)

            writers = [spawn(send, sock) for sock in (near, far)]
            readers = [spawn(receive, sock) for sock in (near, far)]
            for reader in readers:
                assert reader.get(timeout=20) == data
            for writer in writers:
                writer.get(timeout=5)


def test_invariant_2_one_reads_while_another_writes(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            reader = spawn(near.recv)
            parked(reader)
            near.sendall(b"out")
            assert far.recv() == b"out"
            written = fill(near)
            writer = spawn(near.sendall, bytes(range(256)) * 64)
            parked(reader, writer)
            far.sendall(b"in")
            assert reader.get(timeout=5) == b"in"
            assert writer.state == "parked"
            got = b""
            while len(got) < len(written) + 16384:
                got += far.recv(65536)
            writer.get(timeout=5)
            assert got == written + bytes(range(256)) * 64


def test_invariant_2_two_tasks_in_one_direction(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            reader = spawn(near.recv)
            parked(reader)
            for call in (near.recv, near.read, lambda: near.recv_into(bytearray(5))):
                with pytest.raises(BusyResourceError, match="in the middle of a read"):
                    call()
            fill(near)
            writer = spawn(near.sendall, bytes(range(256)) * 64)
            parked(writer)
            for call in (lambda: near.send(b"x"), lambda: near.sendall(b"x"), lambda: near.sendall(bytearray(1)), lambda: near.sendfile(io.BytesIO(b"x"))):
                with pytest.raises(BusyResourceError, match="in the middle of a write"):
                    call()
            for task in (reader, writer):
                task.kill()
            near.settimeout(0)
            with pytest.raises(ssl.SSLWantReadError):
                near.recv()


def test_invariant_2_a_sendall_that_lets_others_run_is_not_mixed_with_theirs(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            task = spawn(near.sendall, bytes(100 * 16384))
            while near._writer is None:
                sleep(0)
            with pytest.raises(BusyResourceError):
                near.sendall(b"x")
            got = 0
            while got < 100 * 16384:
                got += len(far.recv(65536))
            task.get(timeout=5)


def test_invariant_1_buffered_data_is_not_waited_for(on: Run) -> None:
    """A record that was read in part leaves nothing to poll for."""

    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            far.sendall(b"x" * 1000)
            assert near.recv(1) == b"x"
            assert near.pending() == 999
            assert select.select([near], [], [], 0)[0] == []
            near.settimeout(0)
            for left in range(999, 0, -1):
                assert near.pending() == left
                assert near.recv(1) == b"x"
            with pytest.raises(ssl.SSLWantReadError):
                near.recv(1)


def test_invariant_1_no_edge_is_lost(on: Run) -> None:
    """Records of all sizes, in pieces of all sizes, one at a time and many at once."""

    @on
    def body() -> None:
        near, far = tls_pair("tcp")
        with near, far:
            sizes = [1, 5, 100, 16383, 16384, 16385, 40000, 3]

            def send() -> None:
                for number, size in enumerate(sizes * 5):
                    far.sendall(b"x" * size)
                    if number % 3 == 0:
                        sleep(0)
                far.unwrap()

            task = spawn(send)
            got = 0
            while piece := near.recv(1 + got % 20000):
                got += len(piece)
            assert got == 5 * sum(sizes)
            near.unwrap()
            task.get(timeout=5)


def test_invariant_8_a_fast_peer_does_not_starve_the_others(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            turns = []

            def other() -> None:
                while True:
                    turns.append(1)
                    sleep(0)

            far.sendall(b"x" * 16000)
            task = spawn(other)
            for _ in range(100):
                near.recv(1)
            assert len(turns) >= 3
            turns.clear()
            for _ in range(100):
                near.recv_into(bytearray(1))
            assert len(turns) >= 3
            turns.clear()
            for _ in range(100):
                near.send(b"x")
            assert len(turns) >= 3
            turns.clear()
            reader = spawn(read_all, far)
            near.sendall(bytes(16384 * 100))
            assert len(turns) >= 3
            task.kill()
            near.shutdown(socket.SHUT_WR)
            reader.get(timeout=5)


def test_files_of_a_connection(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            with near.makefile("rwb") as file:
                task = spawn(file.readline)
                parked(task)
                far.sendall(b"one\ntwo\n")
                assert task.get(timeout=5) == b"one\n"
                assert file.readline() == b"two\n"
                file.write(b"answer")
                file.flush()
                assert far.recv() == b"answer"
                near.close()
                far.sendall(b"three\n")
                assert file.readline() == b"three\n"  # it keeps the connection open
            assert far.recv() == b""


def test_sendfile(on: Run, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 2000)

    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far, open(path, "rb") as file:
            for offset, count in [(0, None), (100, None), (0, 300_000), (77, 1), (512_000, None)]:
                file.seek(0)
                task = spawn(near.sendfile, file, offset, count)
                expected = path.read_bytes()[offset:][:count]
                got = b""
                while len(got) < len(expected):
                    got += far.recv(65536)
                assert got == expected
                assert task.get(timeout=5) == len(expected)
                assert file.tell() == offset + len(expected) or not expected
            for error, arguments in [(OSError, (file, -1)), (TypeError, (file, 0, "x")), (ValueError, (file, 0, 0))]:
                with pytest.raises(error):
                    near.sendfile(*arguments)
            with open(path, encoding="latin") as text, pytest.raises(ValueError, match="binary"):
                near.sendfile(text)
            near.settimeout(0)
            with pytest.raises(ValueError, match="non-blocking"):
                near.sendfile(file)


def test_a_sendfile_that_times_out_says_where_it_is(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            near.settimeout(0.01)
            file = io.BytesIO(bytes(BIG))
            with pytest.raises(TimeoutError, match="The write operation timed out"):
                near.sendfile(file)
            assert near._writer is None
            far.settimeout(0)
            got = 0
            with pytest.raises(ssl.SSLWantReadError):
                while True:
                    got += len(far.recv(65536))
            assert 0 < got == file.tell()


# -- timeouts, kills, closing -------------------------------------------------------------------------------------------


CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "recv": ("read", lambda sock: sock.recv(10)),
    "recv_into": ("read", lambda sock: sock.recv_into(bytearray(10))),
    "read": ("read", lambda sock: sock.read(10)),
    "send": ("write", lambda sock: (fill(sock), sock.send(bytes(range(256)) * 64))),
    "write": ("write", lambda sock: (fill(sock), sock.write(bytes(range(256)) * 64))),
    "sendall": ("write", lambda sock: sock.sendall(bytes(BIG))),
    "sendfile": ("write", lambda sock: sock.sendfile(io.BytesIO(bytes(BIG)))),
    "unwrap": ("read", lambda sock: sock.unwrap()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_timeout_of_the_socket(on: Run, name: str) -> None:
    operation, call = CALLS[name]

    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            near.settimeout(0.01)
            with pytest.raises(TimeoutError, match=f"The {operation} operation timed out"):
                call(near)
            assert (near._reader, near._writer, near._at) == (None, None, {})


@pytest.mark.parametrize("name", CALLS)
def test_a_timeout_around_the_call(on: Run, name: str) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            with pytest.raises(KeyError), Timeout(0.01, KeyError):
                CALLS[name][1](near)
            with pytest.raises(TimeoutError, match="mine"), Timeout(0.01, TimeoutError("mine")):
                CALLS["recv"][1](near)
            assert (near._reader, near._writer, near._at) == (None, None, {})


@pytest.mark.parametrize("name", CALLS)
def test_a_kill(on: Run, name: str) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            task = spawn(CALLS[name][1], near)
            parked(task)
            task.kill()
            assert task.dead
            assert (near._reader, near._writer, near._at) == (None, None, {})


@pytest.mark.parametrize("name", CALLS)
def test_a_close_wakes_whoever_waits(on: Run, name: str) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with far:
            task = spawn(CALLS[name][1], near)
            parked(task)
            near.close()
            with pytest.raises(ClosedResourceError) as caught:
                task.get(timeout=5)
            assert caught.value.errno == errno.EBADF


def test_a_close_in_another_thread_wakes_whoever_waits(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with far:
            task = spawn(near.recv)
            parked(task)
            thread = threading.Thread(target=near.close)
            thread.start()
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)
            thread.join()


def test_invariant_4_a_timeout_bounds_a_whole_sendall(on: Run) -> None:
    """A reader that takes a little every now and then does not make it longer."""

    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:

            def sip() -> None:
                while True:
                    far.recv(5000)
                    sleep(0.002)

            reader = spawn(sip)
            near.settimeout(0.05)
            clock = current_task().hub.clock
            began = clock.now()
            with pytest.raises(TimeoutError, match="The write operation timed out"):
                near.sendall(bytes(20_000_000))
            assert 0.04e9 < clock.now() - began < 5e9
            reader.kill()


@pytest.mark.parametrize("how", ["kill", "timeout", "never waits"])
def test_invariant_6_a_record_that_was_sent_in_part_is_finished_or_nothing_is_sent(on: Run, how: str) -> None:
    @on
    def body() -> None:
        near, far = tls_pair("tcp")
        with near, far:
            data = bytes(range(256)) * 64
            written = fill(near)
            near._unfinished = None  # what `fill` left, so that the write below meets what a first one would
            if how == "kill":
                task = spawn(near.send, data)
                parked(task)
                task.kill()
            elif how == "timeout":
                near.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    near.send(data)
            else:
                near.settimeout(0)
                with pytest.raises(ssl.SSLWantWriteError):
                    near.send(data)
            near.settimeout(None)
            for send in (lambda: near.send(b"other"), lambda: near.sendall(b"other" * 10000), lambda: near.sendfile(io.BytesIO(b"other"))):
                with pytest.raises(ssl.SSLError, match="an earlier write"):
                    send()
            reader = spawn(lambda: [far.recv(65536) for _ in iter(lambda: near._writer is None and near._unfinished is None, True)])
            near.sendall(data + b"and more")
            near.shutdown(socket.SHUT_WR)
            got = b"".join(reader.get(timeout=5)) + read_all(far)
            assert got == written + data + b"and more"


def test_invariant_6_a_kill_between_two_records(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the writer lets the others run, and OpenSSL has nothing left to send."""
    monkeypatch.setattr(ssl._socket, "_STREAK", 1)
    data = os.urandom(150_000)

    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            task = spawn(near.sendall, data)
            while near._writer is None:
                sleep(0)
            assert task.state == "ready"
            task.kill()
            assert (near._writer, near._sent_of_it) == (None, 65536)
            with pytest.raises(ssl.SSLError, match="an earlier write"):
                near.sendall(b"other")
            writer = spawn(near.sendall, data)
            got = b""
            while len(got) < len(data):
                got += far.recv(65536)
            writer.get(timeout=5)
            assert got == data
            file = io.BytesIO(data)  # whose own position says where it was left
            task = spawn(near.sendfile, file)
            while file.tell() < 2 * 16384:
                sleep(0)  # when the second piece is read, the first is sent
            assert task.state == "ready"
            task.kill()
            got = b""
            while len(got) < file.tell():
                got += far.recv(65536)
            assert got == data[: file.tell()]
            near.sendall(b"other")
            assert far.recv(65536) == b"other"


@pytest.mark.parametrize("how", ["kill", "timeout", "never waits"])
def test_invariant_6_a_long_write_goes_on_where_it_was(on: Run, how: str) -> None:
    data = os.urandom(1_000_000)

    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            got = bytearray()
            for _ in range(5):
                if how == "kill":
                    task = spawn(near.sendall, data)
                    parked(task)
                    task.kill()
                else:
                    near.settimeout(0.005 if how == "timeout" else 0)
                    with pytest.raises((TimeoutError, ssl.SSLWantWriteError)):
                        near.send(data)
                    near.settimeout(None)
                with pytest.raises(ssl.SSLError, match="an earlier write"):
                    near.sendall(data[1:])
                for _ in range(3):
                    got += far.recv(16384)
            task = spawn(near.send, data + b"and more")
            while len(got) < len(data) + 8:
                got += far.recv(65536)
            assert task.get(timeout=5) == len(data) + 8
            assert got == data + b"and more"


def test_a_socket_that_never_waits(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        near.setblocking(False)
        far.setblocking(False)
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        served = server_context().wrap_socket(far, server_side=True, do_handshake_on_connect=False)
        with client, served:
            with pytest.raises(ssl.SSLWantReadError):
                served.do_handshake()
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            with pytest.raises(ssl.SSLWantReadError):
                served.do_handshake()
            client.do_handshake()
            served.do_handshake()
            for call in (client.recv, client.read, lambda: client.recv_into(bytearray(5)), client.unwrap):
                with pytest.raises(ssl.SSLWantReadError):
                    call()
            assert client.gettimeout() == 0


def test_a_socket_that_never_waits_says_what_the_handshake_lacks(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        near.setblocking(False)
        far.setblocking(False)
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        served = heavy_server_context().wrap_socket(far, server_side=True, do_handshake_on_connect=False)
        with client, served:
            for call in (lambda: client.send(b"x"), lambda: client.sendall(b"x"), client.recv):
                with pytest.raises(ssl.SSLWantReadError):
                    call()
            for call in (served.do_handshake, served.recv, lambda: served.send(b"x")):
                with pytest.raises(ssl.SSLWantWriteError):
                    call()
            assert served._unfinished is None  # it was the handshake that could not be sent
            served.settimeout(0.01)
            with pytest.raises(TimeoutError, match="The handshake operation timed out"):
                served.do_handshake()


def test_a_full_buffer_is_told_by_each_form_of_sending(on: Run) -> None:
    @on
    def body() -> None:
        for call in ("send", "write", "sendall"):
            near, far = tls_pair()
            with near, far:
                near.settimeout(0)
                with pytest.raises(ssl.SSLWantWriteError):
                    while True:
                        getattr(near, call)(bytes(10000))


def test_a_handshake_may_wait_on_a_socket_that_never_does(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        near.setblocking(False)
        client = client_context().wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
        task = spawn(client.do_handshake, True)
        parked(task)
        with client, server_context().wrap_socket(far, server_side=True):
            task.get(timeout=5)
            assert client.gettimeout() == 0
            with pytest.raises(ssl.SSLWantReadError):
                client.recv()


def test_a_connection_without_waiting(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = spawn(lambda: server_context().wrap_socket(listener.accept()[0], server_side=True))
            client = client_context().wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
            with client:
                client.setblocking(False)
                assert client.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
                socket.wait_write(client, 5)
                client.do_handshake(block=True)
                assert client.version() == "TLSv1.3"
                serving.get(timeout=5).close()


# -- the end ------------------------------------------------------------------------------------------------------------


def test_unwrap_gives_the_plain_connection_back(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            task = spawn(near.unwrap)
            parked(task)
            assert far.recv() == b""
            assert far.unwrap() is far
            assert task.get(timeout=5) is near
            assert near.version() is None
            task = spawn(near.recv, 10)
            parked(task)
            far.sendall(b"plain" * 10_000)
            assert task.get(timeout=5) == b"plainplain"
            assert near.sendfile(io.BytesIO(b"file")) == 4
            assert far.recv(100) == b"file"
            with pytest.raises(ValueError, match="No SSL wrapper"):
                near.unwrap()
            for call in (near.read, lambda: near.write(b"x")):
                with pytest.raises(ValueError, match="closed or unwrapped"):
                    call()


def test_what_follows_the_end_of_tls_is_there_for_the_plain_connection(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair("tcp")
        with near, far:
            far.settimeout(0)
            far.sendall(b"last words")
            with pytest.raises(ssl.SSLWantReadError):
                far.unwrap()
            far.settimeout(None)
            far._send_now(b"plain")  # at once, before the other end has agreed
            assert near.recv() == b"last words"
            assert near.recv() == b""
            near.unwrap()
            assert near.recv(100) == b"plain"


def test_tls_again_after_unwrap(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        task = spawn(far.unwrap)
        near.unwrap()
        task.get(timeout=5)
        task = spawn(server_context().wrap_socket, far, server_side=True)
        with client_context().wrap_socket(near, server_hostname="localhost") as again, task.get(timeout=5) as served:
            again.sendall(b"hello")
            assert served.recv() == b"hello"


def test_unwrap_while_another_reads(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            reader = spawn(near.recv)
            parked(reader)
            task = spawn(near.unwrap)
            parked(task)
            far.unwrap()
            with pytest.raises(ssl.SSLZeroReturnError):  # as with the standard module: it is not the other end that ended it
                reader.get(timeout=5)
            assert task.get(timeout=5) is near


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("call", "nothing"), [(lambda s: s.recv(), b""), (lambda s: s.recv_into(bytearray(5)), 0), (lambda s: s.read(), b"")])
def test_a_connection_that_ends_without_a_word(on: Run, call: Callable[[Any], Any], nothing: Any, waits: bool) -> None:
    @on
    def body() -> None:
        for suppress in (True, False):
            near, far = tls_pair(suppress_ragged_eofs=suppress)
            with near:
                task = spawn(call, near)
                if waits:
                    parked(task)
                far.close()
                if suppress:
                    assert task.get(timeout=5) == nothing
                else:
                    with pytest.raises(ssl.SSLEOFError):
                        task.get(timeout=5)


def test_a_connection_that_ends_politely(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair(suppress_ragged_eofs=False)
        with near, far:
            task = spawn(far.unwrap)
            assert near.recv() == b""
            near.unwrap()
            task.get(timeout=5)


def test_an_unwrap_that_the_other_end_never_answers(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near:
            task = spawn(near.unwrap)
            parked(task)
            far.close()
            with pytest.raises((ssl.SSLError, OSError)):
                task.get(timeout=5)


def test_a_reset_connection(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair("tcp", suppress_ragged_eofs=False)
        with near:
            near.sendall(b"unread")
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):  # the one or the other, after the version of Python
                near.recv()
            with pytest.raises(OSError):
                near.sendall(bytes(100_000))


def test_shutdown_wakes_a_reader_with_the_end(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair("tcp")
        with near, far:
            far.sendall(b"behind the tickets")
            near.recv()
            task = spawn(near.recv)
            parked(task)
            near.shutdown(socket.SHUT_RDWR)
            assert task.get(timeout=5) == b""
            assert near.version() is None
            assert near.pending() == 0
            assert near.session is None


def test_detach_gives_up_the_descriptor(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with far:
            task = spawn(near.recv)
            parked(task)
            fd = near.detach()
            with pytest.raises(ClosedResourceError):
                task.get(timeout=5)
            os.close(fd)


def test_a_wait_on_the_hub_is_refused(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            met = []

            def callback() -> None:
                with pytest.raises(ParkInHubError):
                    near.recv()
                met.append(True)

            coopcore.get_hub().call_soon(callback)
            while not met:
                sleep(0)
            assert near._reader is None


def test_a_report_says_what_is_waited_for(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            task = spawn(near.recv)
            parked(task)
            assert f"descriptor {near.fileno()}" in coopcore.get_hub().describe()
            task.kill()


@pytest.mark.parametrize("seed", range(8))
def test_kills_and_timeouts_at_random_lose_nothing(on: Run, seed: int) -> None:
    """Both ends write and read at once; each read and write may be killed or time out, and is then done again."""
    chance = random.Random(seed)

    def again(call: Callable[[], Any]) -> Any:
        """Do it until it comes to an end by itself."""
        while True:
            task = spawn(call)
            how = chance.random()
            if how < 0.3:
                sleep(0)
                task.kill()
            elif how < 0.6:
                with Timeout(chance.random() / 1000, False):
                    task.join()
                task.kill()
            try:
                value = task.get(timeout=10)
            except TimeoutError:
                continue
            if not isinstance(value, coopcore.TaskExit):
                return value

    def write(sock: Any, data: bytes) -> None:
        while data:
            piece = data[: chance.choice([1, 100, 20_000, 300_000])]
            again(lambda: sock.sendall(piece))  # noqa: B023 - it is called here and now
            data = data[len(piece) :]

    def read(sock: Any, size: int) -> bytes:
        got = bytearray()
        buffer = bytearray(100_000)
        while len(got) < size:
            got += buffer[: again(lambda: sock.recv_into(buffer, chance.choice([1, 1000, 100_000])))]
        return bytes(got)

    @on
    def body() -> None:
        near, far = tls_pair(chance.choice(["unix", "tcp"]))
        with near, far:
            near.settimeout(0.001)
            data = [chance.randbytes(400_000) for _ in range(2)]
            writers = [spawn(write, near, data[0]), spawn(write, far, data[1])]
            readers = [spawn(read, far, 400_000), spawn(read, near, 400_000)]
            assert [reader.get(timeout=20) for reader in readers] == data
            for writer in writers:
                writer.get(timeout=5)


# -- functions ----------------------------------------------------------------------------------------------------------


def test_get_server_certificate(on: Run) -> None:
    @on
    def body() -> None:
        with server_context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
            expected = ssl.PEM_cert_to_DER_cert(Path(LOCALHOST).read_text().partition("-----END PRIVATE KEY-----\n")[2])

            def serve() -> None:
                for _ in range(2):
                    listener.accept()[0].close()

            serving = spawn(serve)
            host, port = listener.getsockname()
            for arguments in ({}, {"ca_certs": AUTHORITY, "timeout": 5}):
                pem = ssl.get_server_certificate((host, port), **arguments)
                assert ssl.PEM_cert_to_DER_cert(pem) == expected
            serving.get(timeout=5)
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
            ssl.get_server_certificate(silent.getsockname(), timeout=0.01)


def test_wrap_socket_of_old(on: Run) -> None:
    @on
    def body() -> None:
        near, far = plain_pair()
        warnings.simplefilter("ignore", DeprecationWarning)
        task = spawn(ssl.wrap_socket, far, certfile=LOCALHOST, server_side=True, ciphers="ALL")
        with ssl.wrap_socket(near, ca_certs=AUTHORITY, cert_reqs=ssl.CERT_REQUIRED) as client, task.get(timeout=5) as served:
            client.sendall(b"hello")
            assert served.recv() == b"hello"
        for arguments in ({"server_side": True}, {"keyfile": LOCALHOST}):
            with pytest.raises(ValueError, match="certfile"):
                ssl.wrap_socket(None, **arguments)
        warnings.simplefilter("error")
        with pytest.raises(DeprecationWarning, match=r"use SSLContext.wrap_socket"):
            ssl.wrap_socket(None)


def test_memory_bios_are_the_standard_ones() -> None:
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = client_context().wrap_bio(coming, going, server_hostname="localhost")
    assert type(made) is stdlib.SSLObject
    with pytest.raises(ssl.SSLWantReadError):
        made.do_handshake()
    assert going.pending


# -- threads ------------------------------------------------------------------------------------------------------------


def test_connections_between_hubs_of_two_threads(on: Run) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(5)

            def serve() -> None:
                def handle(plain: Any) -> None:
                    with server_context().wrap_socket(plain, server_side=True) as served:
                        while data := served.recv():
                            served.sendall(data)

                def main() -> None:
                    tasks = [spawn(handle, listener.accept()[0]) for _ in range(5)]
                    for task in tasks:
                        task.get(timeout=5)

                coopcore.run(main)

            thread = threading.Thread(target=serve)
            thread.start()

            def talk() -> None:
                with socket.create_connection(listener.getsockname(), timeout=5) as plain:
                    with client_context().wrap_socket(plain, server_hostname="localhost") as client:
                        for number in range(20):
                            client.sendall(b"%d" % number)
                            assert client.recv() == b"%d" % number

            for task in [spawn(talk) for _ in range(5)]:
                task.get(timeout=10)
            thread.join()


def test_reader_and_writer_in_two_threads(on: Run) -> None:
    @on
    def body() -> None:
        near, far = tls_pair()
        with near, far:
            reader = spawn(near.recv)
            parked(reader)
            thread = threading.Thread(target=lambda: coopcore.run(near.sendall, b"out"))
            thread.start()
            assert far.recv() == b"out"
            thread.join()
            far.sendall(b"in")
            assert reader.get(timeout=5) == b"in"
