"""Contexts, and the functions of the module that make them or connect."""

from __future__ import annotations

import ssl as _stdlib
import warnings
from collections.abc import Callable
from socket import socket as _standard_socket
from ssl import CERT_NONE, CERT_REQUIRED, PROTOCOL_TLS_CLIENT, DER_cert_to_PEM_cert, Purpose
from typing import Any

from coopcore.lowlevel import hide_frames

from ..socket._core import socket
from ..socket._functions import create_connection
from ._socket import SSLSocket

_DEFAULT: Any = object()


class SSLContext(_stdlib.SSLContext):
    """``ssl.SSLContext`` whose `wrap_socket` makes cooperative sockets. All else is the standard class's."""

    __module__ = "coop_plugins.ssl"

    sslsocket_class = SSLSocket


def _cooperative(context: _stdlib.SSLContext) -> SSLContext:
    """The same context, as one of ours: what the standard functions set in it is the business of each Python release."""
    context.__class__ = SSLContext
    return context  # type: ignore[return-value]  # by the line above


def create_default_context(purpose: Any = Purpose.SERVER_AUTH, *, cafile: Any = None, capath: Any = None, cadata: Any = None) -> SSLContext:
    """A context with the standard module's recommended settings. Never parks; reads the certificates of authorities from disk."""
    return _cooperative(_stdlib.create_default_context(purpose, cafile=cafile, capath=capath, cadata=cadata))


def _create_unverified_context(protocol: Any = None, **settings: Any) -> SSLContext:
    """As the standard module's, which `http.client` and others use."""
    return _cooperative(_stdlib._create_unverified_context(protocol, **settings))


_create_default_https_context = create_default_context
_create_stdlib_context = _create_unverified_context


def get_server_certificate(addr: tuple[str, int], ssl_version: int = PROTOCOL_TLS_CLIENT, ca_certs: str | None = None, timeout: float | None = _DEFAULT) -> str:
    """The certificate, as PEM, of the server at ``addr``; verified if ``ca_certs`` names a file of authorities. Parks; ``timeout`` is in seconds."""
    context = _create_unverified_context(ssl_version, cert_reqs=CERT_NONE if ca_certs is None else CERT_REQUIRED, cafile=ca_certs)
    plain = create_connection(addr) if timeout is _DEFAULT else create_connection(addr, timeout)
    with plain, context.wrap_socket(plain, server_hostname=addr[0]) as secured:
        certificate = secured.getpeercert(True)
    return DER_cert_to_PEM_cert(certificate or b"")


def wrap_socket(
    sock: _standard_socket,
    keyfile: str | None = None,
    certfile: str | None = None,
    server_side: bool = False,
    cert_reqs: int = CERT_NONE,
    ssl_version: int = _stdlib.PROTOCOL_TLS,
    ca_certs: str | None = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: str | None = None,
) -> SSLSocket:
    """TLS on ``sock``, with a context made of these arguments. Parks for the handshake. Deprecated: use `SSLContext.wrap_socket`, which names hosts.

    The standard module has it no more since Python 3.12; gevent's users have.
    """
    warnings.warn("ssl.wrap_socket() is deprecated, use SSLContext.wrap_socket()", DeprecationWarning, stacklevel=2)
    if server_side and not certfile:
        raise ValueError("certfile must be specified for server-side operations")
    if keyfile and not certfile:
        raise ValueError("certfile must be specified")
    context = SSLContext(ssl_version)
    context.verify_mode = cert_reqs  # type: ignore[assignment]  # a number is as good as the enumeration's member
    if ca_certs:
        context.load_verify_locations(ca_certs)
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    if ciphers:
        context.set_ciphers(ciphers)
    made = context.wrap_socket(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs)
    return made  # type: ignore[return-value]  # of the context's sslsocket_class


def _make_sockets_cooperative() -> Callable[[], None]:
    """What a patched program needs besides names: each context of the standard class, made before or after, makes cooperative sockets. Returns the undoing."""
    context = _stdlib.SSLContext
    before = context.sslsocket_class
    context.sslsocket_class = SSLSocket

    def undo() -> None:
        # Imported while the socket module was patched, the standard class stands on our socket, and would not know how to wait there.
        if not issubclass(before, socket):
            context.sslsocket_class = before

    return undo


hide_frames(__file__)
