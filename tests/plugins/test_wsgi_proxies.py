"""Forwarding headers: nobody's are believed, but those of proxies that are named."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("httptools")

from coop_plugins.wsgi import WSGIServer
from coop_plugins.wsgi._proxies import Proxies
from tests.plugins.test_wsgi import LOCAL, Run, exchange, on, serving

__all__ = ["on"]  # a fixture


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        (["10.0.0.1"], "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.9.9.9", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),  # what the client itself said is not believed
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (["10.0.0.1"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "nonsense", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4, nonsense, 10.0.0.2", "10.0.0.2"),
        (["10.0.0.1"], "10.0.0.2", "1.2.3.4", "10.0.0.2"),
        (["::1"], "::1", "2001:db8::1", "2001:db8::1"),
        (["unix"], "", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.1"], "", "1.2.3.4", ""),
        (["unix"], "10.0.0.1", "1.2.3.4", "10.0.0.1"),
        (["10.0.0.1"], "not an address", "1.2.3.4", "not an address"),
        (["*"], "10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (["*"], "", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (["*", "10.0.0.0/8"], "1.1.1.1", "6.6.6.6, 1.2.3.4, 10.0.0.1", "1.2.3.4"),
    ],
)
def test_the_last_hop_that_nobody_trusted_is_the_client(trusted: list[str], peer: str, forwarded: str, client: str) -> None:
    environ = {"REMOTE_ADDR": peer, "REMOTE_PORT": "1", "HTTP_X_FORWARDED_FOR": forwarded}
    Proxies(trusted).apply(environ)
    assert environ["REMOTE_ADDR"] == client
    assert ("REMOTE_PORT" in environ) is (client == peer)


@pytest.mark.parametrize(("said", "scheme"), [("https", "https"), (" HTTPS ", "https"), ("http", "http"), ("gopher", "http"), ("", "http")])
def test_the_scheme(said: str, scheme: str) -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_PROTO": said, "wsgi.url_scheme": "http"}
    Proxies(["10.0.0.1"]).apply(environ)
    assert environ["wsgi.url_scheme"] == scheme


def test_nobody_is_believed_by_default(on: Run) -> None:
    @on
    def body() -> None:
        def where(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]

        request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
        for trusted, expected in (([], b"127.0.0.1 http"), (["127.0.0.0/8"], b"1.2.3.4 https"), (["10.0.0.1"], b"127.0.0.1 http")):
            with serving(where, trusted_proxies=trusted) as server:
                assert exchange(server, request).endswith(expected)


@pytest.mark.parametrize(
    ("trusted", "error", "words"),
    [
        ("10.0.0.1", TypeError, r"a list of addresses and networks, not the string '10.0.0.1': write \['10.0.0.1'\]"),
        (["everybody"], ValueError, "trusted_proxies: 'everybody' does not appear to be an IPv4 or IPv6 network. Give addresses, networks such as"),
        (["10.0.0.1/8"], ValueError, "10.0.0.1/8 has host bits set"),
    ],
)
def test_who_cannot_be_trusted(trusted: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        WSGIServer(LOCAL, lambda environ, start_response: [], trusted_proxies=trusted)
