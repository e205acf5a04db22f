"""The functions of the module: those that make sockets, look up addresses, or wait for a bare descriptor."""

from __future__ import annotations

import operator
import os
import socket as _stdlib
from typing import Any, SupportsIndex

from coopcore.lowlevel import check_seconds, hide_frames, notify_closing, wait_readable, wait_writable

from .._readiness import tell_closing
from ._core import socket
from ._network import current_network
from ._resolve import getaddrinfo

_standard_close = _stdlib.close
_DEFAULT: Any = getattr(_stdlib, "_GLOBAL_DEFAULT_TIMEOUT", object())  # what http.client and others pass on to say "the default"


def socketpair(family: int | None = None, type: int = _stdlib.SOCK_STREAM, proto: int = 0) -> tuple[socket, socket]:
    """Two connected sockets, as ``socket.socketpair``."""
    first, second = current_network().socketpair(family, type, proto)
    return socket._over(first), socket._over(second)


def fromfd(fd: SupportsIndex, family: int, type: int, proto: int = 0) -> socket:
    """A socket on a duplicate of ``fd``. The open file they share no longer blocks, under ``fd`` neither."""
    return socket(family, type, proto, os.dup(operator.index(fd)))


def create_connection(address: tuple[Any, ...], timeout: float | None = _DEFAULT, source_address: Any = None, *, all_errors: bool = False) -> socket:
    """Connect to ``(host, port)``, trying each address of the host in turn. Parks; ``timeout`` bounds each try and stays the socket's.

    Raises the error of the last try, or with ``all_errors`` an ExceptionGroup of all.
    """
    host, port = address
    errors: list[OSError] = []
    for family, kind, proto, _, sockaddr in getaddrinfo(host, port, 0, _stdlib.SOCK_STREAM):
        made = None
        try:
            made = socket(family, kind, proto)
            if timeout is not _DEFAULT:
                made.settimeout(timeout)
            if source_address:
                made.bind(source_address)
            made.connect(sockaddr)
            return made
        except OSError as error:
            errors.append(error)
            if made is not None:
                made.close()
        except BaseException:
            if made is not None:
                made.close()
            raise
    if not errors:
        raise OSError("getaddrinfo returns an empty list")
    try:
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1]
    finally:
        errors.clear()  # the tracebacks refer to this frame


def create_server(address: Any, *, family: int = _stdlib.AF_INET, backlog: int | None = None, reuse_port: bool = False, dualstack_ipv6: bool = False) -> socket:
    """A listening TCP socket bound to ``address``, as ``socket.create_server``. Parks only to look up a name."""
    if reuse_port and not hasattr(_stdlib, "SO_REUSEPORT"):
        raise ValueError("SO_REUSEPORT not supported on this platform")
    if dualstack_ipv6:
        if not _stdlib.has_dualstack_ipv6():
            raise ValueError("dualstack_ipv6 not supported on this platform")
        if family != _stdlib.AF_INET6:
            raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    made = socket(family, _stdlib.SOCK_STREAM)
    try:
        if os.name == "posix":
            made.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEPORT, 1)
        if _stdlib.has_ipv6 and family == _stdlib.AF_INET6:
            made.setsockopt(_stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY, 0 if dualstack_ipv6 else 1)
        try:
            made.bind(address)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} (while attempting to bind on address {address!r})") from None
        if backlog is None:
            made.listen()
        else:
            made.listen(backlog)
        return made
    except BaseException:
        made.close()
        raise


def _descriptor(thing: Any) -> int:
    fd = thing if isinstance(thing, int) else thing.fileno()
    if fd < 0:
        raise ValueError(f"{thing!r} has no open descriptor ({fd}): it was closed or detached before this call")
    return int(fd)


def wait_read(fileno: Any, timeout: float | None = None, timeout_exc: BaseException | type[BaseException] | None = None) -> None:
    """Park until a descriptor, or something with ``fileno()``, may be readable. Raises ``timeout_exc`` (TimeoutError) after ``timeout`` seconds."""
    _raise_unless(wait_readable(_descriptor(fileno), _span(timeout)), timeout_exc)


def wait_write(fileno: Any, timeout: float | None = None, timeout_exc: BaseException | type[BaseException] | None = None) -> None:
    """Park until a descriptor, or something with ``fileno()``, may be writable. As `wait_read`."""
    _raise_unless(wait_writable(_descriptor(fileno), _span(timeout)), timeout_exc)


def _span(timeout: Any) -> Any:
    return timeout if timeout is None or isinstance(timeout, BaseException) else check_seconds(timeout, "the timeout of a wait")


def _raise_unless(ready: bool, timeout_exc: BaseException | type[BaseException] | None) -> None:
    if not ready:
        raise TimeoutError("timed out") if timeout_exc is None else timeout_exc


def close(fd: SupportsIndex) -> None:
    """Close a descriptor, as ``socket.close``. Whoever waits at it in this hub gets `ClosedResourceError`. A socket is closed by its own method."""
    number = operator.index(fd)
    tell_closing(number)
    notify_closing(number)
    _standard_close(number)


def cancel_wait(fileno: Any) -> None:
    """Make the tasks of this hub that wait at a descriptor get `ClosedResourceError`, as if it was closed. It stays open. Never blocks."""
    notify_closing(_descriptor(fileno))


hide_frames(__file__)
