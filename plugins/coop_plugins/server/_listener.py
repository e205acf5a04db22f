"""Where a server listens: the forms of an address, and the socket that is bound to it."""

from __future__ import annotations

import errno
import operator
import os
import re
import socket as _stdlib
import stat
import struct
import sys
from array import array
from typing import Any

from coopcore.lowlevel import hide_frames

from ..socket import has_dualstack_ipv6, socket

_UNIX = getattr(_stdlib, "AF_UNIX", None)


def parse_address(listener: Any) -> tuple[int, Any]:
    """The family and the address to bind: of ``(host, port)``, ``"host:port"``, ``"[v6]:port"``, ``"*:port"``, ``":port"``, a port, or a Unix socket's path.

    An empty host, ``*`` or none at all means every address: IPv6 and IPv4 where the system can do both on one socket, else IPv4. A path is a string that
    has a slash or begins with ``unix:``, an `os.PathLike`, or, for Linux's abstract names, a string that begins with a NUL.
    """
    path = _path_of(listener)
    if path is not None:
        if not path:
            raise ValueError(f"{listener!r}: the path of a Unix socket is missing")
        if _UNIX is None:
            raise ValueError(f"{listener!r}: this system has no Unix sockets; give a host and a port")
        return _UNIX, path
    host, port = _split(listener)
    if host in ("", "*"):
        return (_stdlib.AF_INET6 if has_dualstack_ipv6() else _stdlib.AF_INET), ("", port)
    return (_stdlib.AF_INET6 if ":" in host else _stdlib.AF_INET), (host, port)


def _path_of(listener: Any) -> str | None:
    if isinstance(listener, os.PathLike):
        return os.fsdecode(listener)
    if isinstance(listener, str):
        if listener.startswith("unix:"):
            return listener.removeprefix("unix:").removeprefix("//")
        if "/" in listener or listener.startswith("\0"):
            return listener
    return None


def _split(listener: Any) -> tuple[str, int]:
    if isinstance(listener, tuple) and len(listener) == 2:
        host, port = listener
        if host is not None and not isinstance(host, str):
            raise TypeError(f"the host of a listener is a string, not {host!r}")
        return host or "", _port(port, listener)
    if isinstance(listener, int) and not isinstance(listener, bool):
        return "", _port(listener, listener)
    if isinstance(listener, str):
        host, _, port = listener.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{listener!r}: an IPv6 address stands in brackets before its port: [::1]:8000")
        return host, _port(port, listener)
    raise TypeError(f'a listener is a bound socket, (host, port), "host:port", a port or the path of a Unix socket, not {listener!r}')


def _port(port: Any, listener: Any) -> int:
    try:
        number = operator.index(int(port) if isinstance(port, str) and port.isascii() and port.lstrip("-").isdigit() else port)
    except TypeError:
        hint = "a number from 0 to 65535 is wanted, as in 127.0.0.1:8000"
        if isinstance(listener, str) and ":" not in listener:
            hint += f"; for a Unix socket write ./{listener} or unix:{listener}"
        raise ValueError(f"{listener!r}: {port!r} is not a port; {hint}") from None
    if not 0 <= number <= 65535:
        raise ValueError(f"{listener!r}: port {number} is out of range; ports go from 0 (any free one) to 65535")
    return number


def bound_socket(family: int, kind: int, address: Any, reuse_port: bool) -> socket:
    """A socket that is bound to ``address``. Parks only to look up a name. Raises OSError, which names the address, if it cannot be had."""
    made = socket(family, kind)
    try:
        if family == _UNIX:
            _remove_stale(address, kind)
        else:
            _prepare(made, family, kind, address, reuse_port)
        made.bind(address)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{error.strerror or error}: cannot listen at {address!r}. {_likely_cause(error, family, address)}") from error
    except BaseException:
        made.close()
        raise
    return made


def _likely_cause(error: OSError, family: int, address: Any) -> str:
    if isinstance(error, _stdlib.gaierror):
        return "Is the host's name spelt right, and does it stand for an address of this machine?"
    if error.errno == errno.EADDRNOTAVAIL:
        return "This machine has no such address; an empty host, or *, means all that it has."
    if error.errno in (errno.EACCES, errno.EPERM):
        return "This user may not: ports below 1024 are reserved, and a Unix socket needs a folder that one may write to."
    if family == _UNIX and error.errno in (None, errno.ENAMETOOLONG):
        return "A Unix socket's path has some 100 bytes at most: choose a shorter one."
    if family == _UNIX and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "Its folder is not there: make it first."
    if family == _UNIX and error.errno == errno.EADDRINUSE and _is_no_socket(address):
        return "Something else than a socket stands there, which is not removed: choose another path, or remove it."
    return "Is another program bound to it, or the port reserved?"


def _is_no_socket(path: str) -> bool:
    try:
        return not stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):  # gone again, or an abstract name
        return False


def _prepare(made: socket, family: int, kind: int, address: Any, reuse_port: bool) -> None:
    if kind == _stdlib.SOCK_STREAM:
        made.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEADDR, 1)
    if reuse_port:
        made.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEPORT, 1)
    if family == _stdlib.AF_INET6:
        made.setsockopt(_stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY, 0 if address[0] == "" else 1)


def _remove_stale(path: str, kind: int) -> None:
    """Remove a socket that a server left behind when it was killed: one that nobody listens at. Anything else stays, and makes `bind` fail."""
    if path.startswith("\0"):
        return
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with _stdlib.socket(_stdlib.AF_UNIX, kind) as caller:
            caller.setblocking(False)
            left = caller.connect_ex(path) == errno.ECONNREFUSED
        if left:
            os.unlink(path)
    except FileNotFoundError:
        return


def let_nobody_in(listener: Any) -> None:
    """Have the kernel ignore further attempts to connect, if it can; never blocks. It would complete them until the listener is closed, and reset them then.

    Those clients try again a second later, and find nobody. Linux does it by a filter of packets, here one that keeps out those that open a connection: what
    completes one that is half open must pass, for its client takes it for open already. At a Unix socket they are refused at once.
    """
    if sys.platform != "linux":
        return
    try:
        if listener.family == _UNIX:
            listener.shutdown(_stdlib.SHUT_RD)  # of a listener: those who wait can be accepted for all that
        else:
            program = array("B", b"".join(struct.pack("HBBI", *instruction) for instruction in _KEEP_OUT_SYN))
            listener.setsockopt(_stdlib.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(_KEEP_OUT_SYN), program.buffer_info()[0]))
    except OSError:
        pass  # the kernel has no filters, or none for us without CAP_NET_ADMIN; or the listener is none any more


def has_half_open(listener: Any) -> bool:
    """Whether the kernel has clients at a listener's port whose connection is half open. They will be accepted, or give up. False where it does not tell."""
    if listener.family not in _TABLES:
        return False
    port = listener.getsockname()[1]
    try:
        with open(_TABLES[listener.family], "rb") as table:
            return re.search(rb":%04X [0-9A-F]+:[0-9A-F]+ 03 " % port, table.read()) is not None  # 03 is SYN_RECV
    except OSError:
        return False  # another system than Linux


_TABLES = {_stdlib.AF_INET: "/proc/net/tcp", _stdlib.AF_INET6: "/proc/net/tcp6"}
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of asm-generic/socket.h, which the standard module does not name
_KEEP_OUT_SYN = (  # code, how many instructions to skip if it is true and if it is not, operand: see linux/filter.h
    (0x30, 0, 0, 13),  # BPF_LD | BPF_B | BPF_ABS: the flags in the header of TCP
    (0x45, 0, 1, 0x02),  # BPF_JMP | BPF_JSET: SYN
    (0x06, 0, 0, 0),  # BPF_RET: nothing passes
    (0x06, 0, 0, 0xFFFFFFFF),  # BPF_RET: all passes
)


class UnixPath:
    """The file of a Unix socket that is bound: to be removed when the server closes, but only if it is still that one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):  # gone, or an abstract name, which is no file
            return None
        return found.st_dev, found.st_ino

    def remove(self) -> None:
        """Remove it. Quiet if it is gone, or another server's by now."""
        if self._identity is not None and self._look() == self._identity:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # somebody was faster, or its folder is not this user's any more; the next server replaces it


hide_frames(__file__)
