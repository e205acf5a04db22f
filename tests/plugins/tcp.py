"""A TCP connection over the loopback that takes no more, and will not by itself; and whether its packets may be filtered."""

from __future__ import annotations

import fcntl
import socket as stdlib
import struct
import sys
import time
from typing import Any

_UNACKNOWLEDGED = 0x5411  # SIOCOUTQ of Linux: bytes that were sent and not acknowledged, or not sent yet
_UNSENT = 0x894B  # SIOCOUTQNSD: those that were not sent yet


def accept_nothing(near: Any, far: Any) -> None:
    """Have the kernel drop all that comes for ``far`` from now on: nothing is acknowledged, so that what is full at the other end stays so.

    A receiver that does not read may take some more a quarter of a second later, when the sender's kernel asks how much room is left. One that has got more
    than its buffer may hold has none. (A filter of packets does the same, for which new kernels want privileges.)
    """
    near.sendall(bytes(20_000))
    arrived(near)
    far.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 1)  # the least that the system knows


def arrived(sock: Any) -> bool:
    """Wait until what was sent and finds room at the other end is there. True if that may have made room here. (Only Linux tells; elsewhere there is none.)"""
    if sys.platform != "linux" or sock.family not in (stdlib.AF_INET, stdlib.AF_INET6) or sock.type != stdlib.SOCK_STREAM:
        return False
    waited = False
    while _count(sock, _UNACKNOWLEDGED) != _count(sock, _UNSENT):
        waited = True
        time.sleep(0.001)
    return waited


def _count(sock: Any, request: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), request, bytes(4)))
    return int(count)


def may_filter(family: int = stdlib.AF_INET) -> bool:
    """Whether the kernel lets this process say which packets a listener of TCP takes."""
    from coop_plugins.server._listener import _ATTACH_FILTER

    with stdlib.socket(family) as sock:
        try:
            sock.setsockopt(stdlib.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", 0, 0))  # none of no instructions
        except PermissionError:
            return False
        except OSError:
            pass  # what it says of such a filter
    return True
