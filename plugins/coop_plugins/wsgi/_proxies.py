"""Whose word counts about where a request came from."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from coopcore.lowlevel import hide_frames


class Proxies:
    """Proxies that are trusted. What they forward is put into the environment; the same headers of anybody else are nothing but headers."""

    def __init__(self, trusted: Iterable[str]) -> None:
        if isinstance(trusted, str):
            raise TypeError(f"trusted_proxies is a list of addresses and networks, not the string {trusted!r}: write [{trusted!r}]")
        trusted = list(trusted)
        self._unix = "unix" in trusted
        self._anybody = "*" in trusted
        self._networks: list[IPv4Network | IPv6Network] = []
        for each in trusted:
            if each not in ("unix", "*"):
                try:
                    self._networks.append(ip_network(each))
                except ValueError as error:
                    raise ValueError(f'trusted_proxies: {error}. Give addresses, networks such as "10.0.0.0/8", "unix", or "*".') from None

    def apply(self, environ: dict[str, Any]) -> None:
        """Correct the address of the client, and the scheme, if the peer is trusted.

        X-Forwarded-For is read from its end: each proxy adds whom it heard from, so the first that is not trusted is as far as anybody trusted has seen.
        """
        peer = environ["REMOTE_ADDR"]
        if not self.trusts(peer):
            return
        client = peer
        for hop in reversed([each.strip() for each in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if each.strip()]):
            if not _is_address(hop):
                break
            client = hop
            if not self._names(hop):
                break
        if client != peer:
            environ["REMOTE_ADDR"] = client
            environ.pop("REMOTE_PORT", None)
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme

    def trusts(self, peer: str) -> bool:
        """Whether the word of a peer counts, by its address; empty for one at a Unix socket.

        "*" is whoever connects, and not whoever they name: else everybody's address would be what they say of themselves.
        """
        return self._anybody or self._names(peer)

    def _names(self, peer: str) -> bool:
        if not peer:
            return self._unix
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # the zone of an IPv6 address may be any text, and is nobody else's business


hide_frames(__file__)
