"""Contracts: what an implementation of each seam must do, as tests that its author runs.

Subclass the contract, say how to make one, and let pytest (or any runner that calls methods named ``test_...``) do the rest::

    from coopcore.testing import BackendContract
    from my_package import MyBackend

    class TestMyBackend(BackendContract):
        def make(self):
            return MyBackend()

Every promise of ``coopcore.protocols`` has its test here. The tests are plain asserts: nothing of pytest is imported, and `failures` runs a contract
without any runner. A contract never waits longer than a few seconds, however broken the implementation is, unless that blocks the thread for good.
"""

from __future__ import annotations

from ._backend import BackendContract
from ._base import failures, names_of_tests
from ._clock import ClockContract
from ._network import NetworkContract
from ._offer import OfferContract
from ._resolver import ResolverContract
from ._scheduler import SchedulerContract
from ._timers import TimerQueueContract
from ._tracer import TracerContract

__all__ = [
    "BackendContract",
    "ClockContract",
    "NetworkContract",
    "OfferContract",
    "ResolverContract",
    "SchedulerContract",
    "TimerQueueContract",
    "TracerContract",
    "failures",
    "names_of_tests",
]
