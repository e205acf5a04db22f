"""What coopcore finds through the entry point. Offers are strings, so nothing else of this package is imported before it is chosen."""

from __future__ import annotations

from coopcore import hookimpl
from coopcore.lowlevel import Offer


@hookimpl
def coop_backends() -> list[Offer]:
    return [Offer("hello", "coop_hello.backend:SelectBackend", "bare select.select, for at most some thousand descriptors")]


@hookimpl
def coop_timers() -> list[Offer]:
    return [Offer("hello", "coop_hello.timers:SortedTimers", "one sorted list")]


@hookimpl
def coop_primitives() -> list[Offer]:
    return [Offer("RWLock", "coop_hello.rwlock:RWLock", "many readers or one writer, first come first served")]
