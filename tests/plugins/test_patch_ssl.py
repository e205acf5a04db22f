"""The standard library's TLS while it is patched: contexts of the standard class, whoever made them and whenever, make cooperative sockets."""

from __future__ import annotations

import http.client
import socket as stdlib_socket
import ssl as stdlib
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins import socket, ssl
from coop_plugins.patch import audit, patched
from coopcore import spawn

from .tls import AUTHORITY, parked, server_context

EARLY = stdlib.create_default_context(cafile=AUTHORITY)  # as a library has that was imported first
STANDARD = stdlib.SSLSocket


class EarlyContext(stdlib.SSLContext):
    """A subclass that was made first, with setters of its own, as urllib3 and others have."""

    @property
    def verify_mode(self) -> Any:
        return super().verify_mode

    @verify_mode.setter
    def verify_mode(self, value: Any) -> None:
        stdlib.SSLContext.verify_mode.fset(self, value)  # type: ignore[attr-defined]  # it is a property


def in_task(body: Callable[[], Any]) -> None:
    coopcore.run(body)


def talk(context: Any, sock: Any = None) -> Any:
    """A handshake with a server in another task, which only works if both cooperate. Returns the client's class."""
    near, far = socket.socketpair()
    serving = spawn(server_context().wrap_socket, far, server_side=True)
    with context.wrap_socket(near, server_hostname="localhost") as client, serving.get(timeout=5) as served:
        reader = spawn(client.recv)
        parked(reader)
        served.sendall(b"hello")
        assert reader.get(timeout=5) == b"hello"
        return type(client)


def test_a_context_that_was_made_before() -> None:
    @in_task
    def body() -> None:
        with patched("ssl"):
            assert talk(EARLY) is ssl.SSLSocket


def test_a_context_that_was_made_while_it_was_patched() -> None:
    @in_task
    def body() -> None:
        with patched("ssl"):
            for context in (
                stdlib.create_default_context(cafile=AUTHORITY),
                stdlib._create_unverified_context(),
                stdlib._create_default_https_context(cafile=AUTHORITY),
                ssl.create_default_context(cafile=AUTHORITY),
            ):
                assert talk(context) is ssl.SSLSocket


def test_a_context_of_a_class_that_was_derived_before() -> None:
    @in_task
    def body() -> None:
        with patched("ssl"):
            context = EarlyContext(stdlib.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(AUTHORITY)
            context.verify_mode = stdlib.CERT_REQUIRED
            assert talk(context) is ssl.SSLSocket


def test_the_setters_of_a_context_do_not_call_themselves() -> None:
    """The standard class's setters name their class through a global of the module: who replaces that sends them in circles."""
    with patched("ssl"):
        for context in (EARLY, stdlib.create_default_context(), ssl.create_default_context(), EarlyContext(stdlib.PROTOCOL_TLS_CLIENT)):
            context.options |= stdlib.OP_NO_COMPRESSION
            context.verify_flags |= stdlib.VERIFY_X509_STRICT
            context.verify_mode = stdlib.CERT_REQUIRED
            context.minimum_version = stdlib.TLSVersion.TLSv1_2
            context.maximum_version = stdlib.TLSVersion.MAXIMUM_SUPPORTED
            context.hostname_checks_common_name = False
            context._msg_callback = None  # type: ignore[attr-defined]  # private, but it has a setter too
            assert context.minimum_version is stdlib.TLSVersion.TLSv1_2


def test_a_socket_class_that_is_derived_while_it_is_patched() -> None:
    @in_task
    def body() -> None:
        with patched("ssl"):
            assert stdlib.SSLSocket is ssl.SSLSocket

            class Late(stdlib.SSLSocket):
                pass

            context = stdlib.create_default_context(cafile=AUTHORITY)
            context.sslsocket_class = Late
            assert talk(context) is Late
            assert issubclass(Late, socket.socket)


def test_it_is_undone() -> None:
    with patched("ssl"):
        pass
    assert stdlib.SSLContext.sslsocket_class is stdlib.SSLSocket is STANDARD
    near, far = stdlib_socket.socketpair()
    with far, EARLY.wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False) as client:
        assert type(client) is STANDARD
        client.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.do_handshake()


def test_a_class_upon_the_patched_sockets_is_left_as_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is if the standard module was first imported while that of the sockets was patched."""
    from coop_plugins.ssl import _functions

    class Upon(socket.socket):
        pass

    monkeypatch.setattr(stdlib.SSLContext, "sslsocket_class", Upon)
    _functions._make_sockets_cooperative()()
    assert stdlib.SSLContext.sslsocket_class is ssl.SSLSocket


def test_the_audit_finds_nothing_of_ours() -> None:
    with patched("socket", "ssl"):
        assert [finding for finding in audit() if finding.where.startswith(("ssl", "coop_plugins"))] == []


def serve_http(listener: Any, count: int, arrived: list[Any]) -> None:
    """Answers when all have asked."""

    def handle(connection: Any) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv()
            arrived.append(1)
            while len(arrived) < count:
                coopcore.sleep(0)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    context = server_context()
    tasks = []
    for _ in range(count):
        plain, _ = listener.accept()
        tasks.append(spawn(lambda plain=plain: handle(context.wrap_socket(plain, server_side=True))))
    for task in tasks:
        task.get(timeout=10)


def by_http_client(port: int) -> bytes:
    connection = http.client.HTTPSConnection("localhost", port, timeout=5, context=stdlib.create_default_context(cafile=AUTHORITY))
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def by_urllib(port: int) -> bytes:
    with urllib.request.urlopen(f"https://localhost:{port}/", timeout=5, context=EARLY) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize("get", [by_http_client, by_urllib])
def test_clients_of_the_standard_library_are_all_served_at_once(get: Callable[[int], bytes]) -> None:
    @in_task
    def body() -> None:
        with patched("socket", "ssl"), socket.create_server(("127.0.0.1", 0)) as listener:
            arrived: list[Any] = []
            serving = spawn(serve_http, listener, 10, arrived)
            tasks = [spawn(get, listener.getsockname()[1]) for _ in range(10)]
            for task in tasks:
                assert task.get(timeout=10) == b"hello"
            serving.get(timeout=5)


def test_get_server_certificate_of_the_standard_module() -> None:
    early = stdlib.get_server_certificate

    @in_task
    def body() -> None:
        with patched("socket", "ssl"), server_context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
            serving = spawn(lambda: listener.accept()[0].close())
            assert early(listener.getsockname()).startswith("-----BEGIN CERTIFICATE-----")
            serving.get(timeout=5)
