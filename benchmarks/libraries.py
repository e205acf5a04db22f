"""The names that the programs use, of each library."""

from __future__ import annotations

from types import SimpleNamespace


def coopcore() -> SimpleNamespace:
    from coop_plugins.event import AsyncResult, Event
    from coop_plugins.lock import Lock, RLock, Semaphore
    from coop_plugins.pool import Pool
    from coop_plugins.queue import Channel, Queue, SimpleQueue
    from coopcore import Timeout, joinall, sleep, spawn

    return SimpleNamespace(**locals())


def gevent() -> SimpleNamespace:
    from gevent import Timeout, joinall, sleep, spawn
    from gevent.event import AsyncResult, Event
    from gevent.lock import RLock, Semaphore
    from gevent.lock import Semaphore as Lock  # gevent has no other
    from gevent.pool import Pool
    from gevent.queue import Channel, Queue, SimpleQueue

    return SimpleNamespace(**locals())
