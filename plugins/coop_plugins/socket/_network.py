"""Which network the sockets of a hub are made of: the kernel's, unless another one is asked for.

``COOP_NETWORK`` or ``run(network=...)`` names an offer of `coop_networks()` when the hub is made; `use_network` sets one for the present hub.

The standard ``socketpair`` makes its sockets of whatever ``socket.socket`` is by then, which in a patched program is ours; so that of ``_socket`` is asked,
which makes the plain ones beneath.
"""

from __future__ import annotations

import socket as _stdlib
from _socket import socketpair as _pair_beneath
from typing import Any, TypeAlias

from coop_plugins.resolver import current_resolver
from coopcore.errors import InterfaceError
from coopcore.lowlevel import Network, current_hub, hide_frames

AddressInfo: TypeAlias = list[tuple[Any, ...]]


_standard_socket = _stdlib.socket


class KernelNetwork:
    """The network of the operating system. Implements `coopcore.protocols.Network`."""

    def socket(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> _stdlib.socket:
        """A standard socket that never blocks."""
        made = _standard_socket(family, type, proto, fileno)
        made.setblocking(False)
        return made

    def socketpair(self, family: int | None = None, type: int = -1, proto: int = 0) -> tuple[_stdlib.socket, _stdlib.socket]:
        """Two connected ones."""
        if family is None:
            family = getattr(_stdlib, "AF_UNIX", _stdlib.AF_INET)
        pair = _pair_beneath(family, _stdlib.SOCK_STREAM if type == -1 else type, proto)
        first, second = (self.socket(family, type, proto, end.detach()) for end in pair)
        return first, second

    def getaddrinfo(
        self, host: str | bytes | None, port: str | bytes | int | None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> AddressInfo:
        """The answer of this hub's resolver: numeric addresses at once, names while the calling task is parked."""
        return current_resolver().getaddrinfo(host, port, family, type, proto, flags)


_kernel = KernelNetwork()


def current_network() -> Network:
    """The network of this thread's hub: what it was made with, else the kernel's."""
    return current_hub().network or _kernel


def use_network(network: Network) -> Network:
    """Make the sockets of this hub out of ``network`` from now on. Returns the previous one; sockets that exist stay as they are.

    Raises `InterfaceError` for an object that lacks part of `coopcore.protocols.Network`.
    """
    if not isinstance(network, Network):
        missing = ", ".join(name for name in ("socket", "socketpair", "getaddrinfo") if not hasattr(network, name))
        raise InterfaceError(
            f"{network!r} is not a network: it lacks {missing}. coopcore.protocols.Network says what each method does; pass an object that has all three."
        )
    previous = current_network()
    current_hub().network = network
    return previous


hide_frames(__file__)
