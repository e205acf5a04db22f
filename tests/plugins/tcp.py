"""A TCP connection over the loopback that takes no more, and will not by itself."""

from __future__ import annotations

import ctypes
import fcntl
import socket as stdlib
import struct
import sys
import time
from typing import Any

_UNACKNOWLEDGED = 0x5411  # SIOCOUTQ of Linux: bytes that were sent and not acknowledged, or not sent yet
_UNSENT = 0x894B  # SIOCOUTQNSD: those that were not sent yet


def accept_nothing(sock: Any) -> None:
    """Have the kernel drop all that comes for this end (of Linux): nothing is acknowledged, so what is full at the other end stays so.

    A receiver that does not read takes some more a quarter of a second later, when the sender's kernel asks how much room is left.
    """
    if sys.platform == "linux":
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # a filter of one instruction: return 0
        sock.setsockopt(stdlib.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(drop_all)))  # SO_ATTACH_FILTER


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
