"""How the sockets of a hub turn names into addresses: by the system's look-ups in threads, unless another resolver is asked for.

``COOP_RESOLVER`` or ``run(resolver=...)`` names an offer of `coop_resolvers()` when the hub is made; `use_resolver` sets one for the present hub.
`docs/dns.md` compares those that there are.
"""

from __future__ import annotations

from coopcore.lowlevel import Resolver, current_hub, hide_frames, plugins

from .thread import ThreadResolver as ThreadResolver

__all__ = ["ThreadResolver", "current_resolver", "use_resolver"]


def current_resolver() -> Resolver:
    """The resolver of this thread's hub: what it was made with, else one that looks up names in threads, made at the first call."""
    hub = current_hub()
    if hub.resolver is None:
        hub.resolver = ThreadResolver()
    return hub.resolver


def use_resolver(resolver: str | Resolver) -> Resolver:
    """Look up names with ``resolver``, an object or the name of an offer, from now on in this hub. Returns the previous one, which is not closed.

    Raises `UnknownOfferError` for a name that nobody offers, `InterfaceError` for an object that lacks part of `coopcore.protocols.Resolver`.
    """
    made: Resolver = plugins().make("resolver", resolver)
    previous = current_resolver()
    current_hub().resolver = made
    return previous


hide_frames(__file__)
