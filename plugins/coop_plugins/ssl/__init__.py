"""The standard module ``ssl``, cooperative: a handshake, a read or a write that must wait parks its task and lets the others run.

Everything that the standard module has is here under its own name, with the same arguments, results and errors; `docs/tls.md` lists what differs. The
contexts are the standard ones whose sockets are `SSLSocket`; memory BIOs, sessions, certificates and constants are the standard module's own.
"""

from __future__ import annotations

import ssl as _stdlib
from types import ModuleType
from typing import TYPE_CHECKING

from coopcore.lowlevel import hide_frames

from ..socket._core import socket as socket
from ..socket._functions import create_connection as create_connection
from ._functions import SSLContext as SSLContext
from ._functions import _create_default_https_context as _create_default_https_context
from ._functions import _create_stdlib_context as _create_stdlib_context
from ._functions import _create_unverified_context as _create_unverified_context
from ._functions import _make_sockets_cooperative as _make_sockets_cooperative
from ._functions import create_default_context as create_default_context
from ._functions import get_server_certificate as get_server_certificate
from ._functions import wrap_socket as wrap_socket
from ._socket import SSLSocket as SSLSocket

# The standard module declares none. These are the names that a star import of it gives, without the modules among them.
__all__ = [name for name, thing in vars(_stdlib).items() if not name.startswith("_") and not isinstance(thing, ModuleType)]
if "wrap_socket" not in __all__:  # since Python 3.12
    __all__.append("wrap_socket")

if TYPE_CHECKING:
    from ssl import *  # type: ignore[assignment]  # noqa: F403 - of a name, the first import counts: ours
else:
    globals().update((name, vars(_stdlib)[name]) for name in __all__ if name not in globals())

hide_frames(__file__)
