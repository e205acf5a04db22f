"""The fixtures for marked tests. Part of every session, so they import what they need when they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from . import MARK

if TYPE_CHECKING:
    from coop_plugins.clock import VirtualClock
    from coop_plugins.scope import TaskGroup
    from coop_plugins.server import BaseServer
    from coop_plugins.testing import MemoryStream, Sequencer
    from coopcore import Hub

__all__ = ["coop_clock", "free_port", "hub", "sequencer", "serve", "stream_pair", "task_group", "wait_all_parked"]


def _hub(request: pytest.FixtureRequest) -> Hub:
    from coopcore.lowlevel import running_task

    task = running_task()
    if task is None or task is task.hub.root:
        pytest.fail(f"fixture {request.fixturename!r} needs a test that runs in a task: mark {request.node.nodeid} with @pytest.mark.{MARK}.", pytrace=False)
    return task.hub


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Hub:
    """The hub on which the test runs."""
    return _hub(request)


@pytest.fixture
def task_group(request: pytest.FixtureRequest) -> Iterator[TaskGroup]:
    """A TaskGroup that is open during the test. What still runs at the test's end is cancelled. A task of it that fails cancels the test."""
    _hub(request)
    from coop_plugins.scope import TaskGroup

    with TaskGroup() as group:
        yield group
        group.cancel_scope.cancel()


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface at which nothing listens, and which the system gives to nobody soon."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., BaseServer]]:
    """``serve(handle, **options)`` starts a StreamServer at a free port of the loopback interface and returns it; ``serve(server)`` starts that one. Each is
    stopped at the end of the test; its handlers have a second to end. Where it listens: ``server.address``, ``server.server_port``.
    """
    _hub(request)
    from coop_plugins.server import BaseServer, StreamServer

    servers: list[BaseServer] = []

    def serve(handle: Any, **options: Any) -> BaseServer:
        server = handle if isinstance(handle, BaseServer) else StreamServer(("127.0.0.1", 0), handle, **options)
        servers.append(server)
        server.start()
        return server

    yield serve
    while servers:
        servers.pop().stop()


@pytest.fixture
def coop_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The virtual clock of the test's hub: ``coop_clock.now()`` in nanoseconds, ``coop_clock.advance(seconds)``."""
    clock = _hub(request).clock
    from coop_plugins.clock import VirtualClock

    if not isinstance(clock, VirtualClock):
        pytest.fail(
            f"fixture 'coop_clock' needs virtual time, but {request.node.nodeid} runs on {_hub(request).name}: mark it with "
            f'@pytest.mark.{MARK}(clock="virtual").',
            pytrace=False,
        )
    return clock


@pytest.fixture
def wait_all_parked(request: pytest.FixtureRequest) -> Callable[[], None]:
    """``wait_all_parked()`` parks until every other task is parked as well. On a virtual clock no time passes meanwhile."""
    _hub(request)
    from coop_plugins.testing import wait_all_parked

    return wait_all_parked


@pytest.fixture
def sequencer(request: pytest.FixtureRequest) -> Sequencer:
    """Forces an order upon tasks: ``with sequencer(2): ...`` waits until the blocks 0 and 1 have been left."""
    _hub(request)
    from coop_plugins.testing import Sequencer

    return Sequencer()


@pytest.fixture
def stream_pair(request: pytest.FixtureRequest) -> Iterator[Callable[..., tuple[MemoryStream, MemoryStream]]]:
    """``stream_pair(most=65536)``: two ends of a connection in memory, on which at most so many bytes are on their way. Closed at the end of the test."""
    _hub(request)
    from coop_plugins.testing import stream_pair

    ends: list[MemoryStream] = []

    def pair(most: int = 65536) -> tuple[MemoryStream, MemoryStream]:
        one, other = stream_pair(most)
        ends.extend((one, other))
        return one, other

    yield pair
    for end in ends:
        end.close()
