"""The default resolver: the system's own look-ups, done by threads while the tasks that ask are parked.

Invariants
==========
1. A numeric address, None and whatever is asked with AI_NUMERICHOST or NI_NUMERICHOST start no thread.
2. At most `MOST_THREADS` look-ups of one hub are under way; more tasks wait in line. A place is given back when its look-up ends, also if the task was killed.
3. While a look-up is under way its hub is not in deadlock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from coop_plugins.threadpool import ThreadPool
from coopcore.lowlevel import hide_frames

from . import _system
from ._system import AddressInfo, Host, Named, Port

T = TypeVar("T")

__all__ = ["ThreadResolver"]

MOST_THREADS = 10
_IDLE = 5.0  # seconds after which a thread without a look-up ends

hide_frames(__file__)


class _LookUp:
    """A call, under the name that reports give it."""

    def __init__(self, what: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.__qualname__ = what
        self._fn = fn
        self._args = args

    def __call__(self) -> Any:
        return self._fn(*self._args)


class ThreadResolver:
    """Implements `coopcore.protocols.Resolver` by the functions of the system. A look-up that is killed goes on in its thread, which nothing can interrupt."""

    def __init__(self) -> None:
        self._pool = ThreadPool(MOST_THREADS, idle_task_timeout=_IDLE)

    def _ask(self, what: str, fn: Callable[..., T], *args: Any) -> T:
        found: T = self._pool.apply(_LookUp(what, fn, args))
        return found

    def getaddrinfo(self, host: Host, port: Port, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> AddressInfo:
        """As ``socket.getaddrinfo``: at once for what is numeric, else parks while a thread asks."""
        found = _system.addresses_at_once(host, port, family, type, proto, flags)
        if found is None:
            found = list(self._ask(f"the addresses of {host!r}", _system.getaddrinfo, host, port, family, type, proto, flags))
        return found

    def gethostbyname(self, hostname: str) -> str:
        """As ``socket.gethostbyname``: at once for what is numeric, else parks while a thread asks."""
        if _system.is_spelt_out(hostname):
            return _system.gethostbyname(hostname)
        address: str = self.getaddrinfo(_system.text_or_bytes(hostname), None, _system.AF_INET, _system.SOCK_STREAM)[0][4][0]
        return address

    def gethostbyname_ex(self, hostname: str) -> Named:
        """As ``socket.gethostbyname_ex``. Parks while a thread asks."""
        return self._ask(f"the addresses of {hostname!r}", _system.gethostbyname_ex, hostname)

    def gethostbyaddr(self, ip_address: str) -> Named:
        """As ``socket.gethostbyaddr``. Parks while a thread asks."""
        return self._ask(f"the name of {ip_address!r}", _system.gethostbyaddr, ip_address)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As ``socket.getnameinfo``: at once with NI_NUMERICHOST, else parks while a thread asks."""
        if _system.is_numeric(flags):
            return _system.getnameinfo(sockaddr, flags)
        return self._ask(f"the name of {sockaddr!r}", _system.getnameinfo, sockaddr, flags)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.kill(block=False)
