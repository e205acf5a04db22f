"""The standard module ``socket``, cooperative: a call that must wait parks its task and lets the others run.

Everything that the standard module has is here under its own name, with the same arguments, results and errors; `docs/sockets.md` lists what differs. Added:
`wait_read`, `wait_write`, `cancel_wait`, and `use_network`, which puts another network in the kernel's place.
"""

from __future__ import annotations

import socket as _stdlib
from socket import *  # noqa: F403 - every constant, under its own name
from socket import EAGAIN as EAGAIN  # these are not in the standard __all__, but used
from socket import EBADF as EBADF
from socket import EWOULDBLOCK as EWOULDBLOCK
from socket import AddressInfo as AddressInfo
from socket import MsgFlag as MsgFlag
from socket import SocketIO as SocketIO

from coopcore.lowlevel import hide_frames

from ._core import socket as socket
from ._functions import cancel_wait as cancel_wait
from ._functions import close as close
from ._functions import create_connection as create_connection
from ._functions import create_server as create_server
from ._functions import fromfd as fromfd
from ._functions import socketpair as socketpair
from ._functions import wait_read as wait_read
from ._functions import wait_write as wait_write
from ._network import KernelNetwork as KernelNetwork
from ._network import current_network as current_network
from ._network import use_network as use_network
from ._resolve import getaddrinfo as getaddrinfo
from ._resolve import getfqdn as getfqdn
from ._resolve import gethostbyaddr as gethostbyaddr
from ._resolve import gethostbyname as gethostbyname
from ._resolve import gethostbyname_ex as gethostbyname_ex
from ._resolve import getnameinfo as getnameinfo

__all__ = [*_stdlib.__all__, "KernelNetwork", "cancel_wait", "current_network", "use_network", "wait_read", "wait_write"]  # noqa: PLE0604 - all strings

hide_frames(__file__)
