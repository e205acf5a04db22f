"""Names to addresses without holding up the hub.

A numeric address needs nobody: the system's own parser answers at once. A name is looked up by a thread, since the system's call can wait for seconds. Each
look-up has a short-lived thread of its own, at most `MOST_THREADS` at a time for a hub; later ones wait in line.

Invariants
==========
1. A numeric address, None and whatever is asked with AI_NUMERICHOST start no thread.
2. At most `MOST_THREADS` look-ups of one hub are under way. A place is given back when its thread ends, also if the task that asked was killed.
3. While a look-up is under way its hub is not in deadlock.
"""

from __future__ import annotations

import socket as _stdlib
from _thread import start_new_thread
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from coopcore.errors import HubClosedError
from coopcore.lowlevel import Hub, ParkingLot, Task, current_task, hide_frames, park, promise, unpark

R = TypeVar("R")
AddressInfo = list[tuple[Any, ...]]

MOST_THREADS = 10


class _Places:
    """How many more look-ups of one hub may start."""

    def __init__(self) -> None:
        self.free = MOST_THREADS
        self.lot = ParkingLot(f"one of {MOST_THREADS} look-ups of names to end")

    def take(self) -> None:
        if self.free:
            self.free -= 1
        else:
            self.lot.park()

    def give_back(self) -> None:
        if not self.lot.unpark():
            self.free += 1


_places: WeakKeyDictionary[Hub, _Places] = WeakKeyDictionary()


class _Lookup:
    """One call in a thread. The reason of the park of the task that asked."""

    def __init__(self, task: Task[Any], places: _Places, call: Callable[[], Any], what: str) -> None:
        self.task: Task[Any] | None = task
        self.hub = task.hub
        self.places = places
        self.call = call
        self.what = what
        self.value: Any = None
        self.error: BaseException | None = None
        self.promise = promise(what)

    def work(self) -> None:
        """In the thread."""
        try:
            self.value = self.call()
        except BaseException as error:
            self.error = error
        try:
            self.hub.call_soon_threadsafe(self.done)
        except HubClosedError:
            pass  # nobody is left to tell

    def done(self) -> None:
        """On the hub. Also where a thread never started."""
        self.promise.close()
        self.places.give_back()
        if self.task is not None:
            unpark(self.task)

    def describe_wait(self) -> str:
        return self.what


def in_thread(what: str, fn: Callable[..., R], *args: Any) -> R:
    """Call ``fn(*args)`` in a thread and park until it has returned. Raises what it raised. A task that is killed meanwhile leaves it behind."""
    task = current_task()
    places = _places.get(task.hub)
    if places is None:
        places = _places[task.hub] = _Places()
    places.take()
    lookup = _Lookup(task, places, lambda: fn(*args), what)
    try:
        start_new_thread(lookup.work, ())
    except BaseException:
        lookup.task = None
        lookup.done()
        raise
    try:
        park(lookup)
    finally:
        lookup.task = None
    if lookup.error is not None:
        try:
            raise lookup.error
        finally:
            del lookup  # else the traceback refers to the error through this frame
    return lookup.value  # type: ignore[no-any-return]  # fn's own type


def system_getaddrinfo(host: str | bytes | None, port: str | bytes | int | None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> AddressInfo:
    """``socket.getaddrinfo`` of the system, at once for numeric addresses, else from a thread."""
    if host is None or flags & _stdlib.AI_NUMERICHOST:
        return list(_stdlib.getaddrinfo(host, port, family, type, proto, flags))
    try:
        return list(_stdlib.getaddrinfo(host, port, family, type, proto, flags | _stdlib.AI_NUMERICHOST))
    except _stdlib.gaierror as error:
        if error.errno != _stdlib.EAI_NONAME:
            raise
    return list(in_thread(f"the addresses of {host!r}", _stdlib.getaddrinfo, host, port, family, type, proto, flags))


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """As ``socket.gethostbyname_ex``. Parks; a thread does the look-up."""
    return in_thread(f"the addresses of {hostname!r}", _stdlib.gethostbyname_ex, hostname)


def gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    """As ``socket.gethostbyaddr``. Parks; a thread does the look-up."""
    return in_thread(f"the name of {ip_address!r}", _stdlib.gethostbyaddr, ip_address)


def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """As ``socket.getnameinfo``: at once with NI_NUMERICHOST, else parks while a thread does the look-up."""
    if flags & _stdlib.NI_NUMERICHOST:
        return _stdlib.getnameinfo(sockaddr, flags)
    return in_thread(f"the name of {sockaddr!r}", _stdlib.getnameinfo, sockaddr, flags)


def getfqdn(name: str = "") -> str:
    """As ``socket.getfqdn``. Parks; a thread does the look-up."""
    return in_thread(f"the full name of {name or 'this host'!r}", _stdlib.getfqdn, name)


hide_frames(__file__)
