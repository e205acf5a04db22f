"""The fixtures for marked tests, and the types of what they give: ``def test_it(serve: Serve, stream_pair: StreamPair)``.

This module is part of every session, so it imports what its fixtures need when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload
from weakref import WeakKeyDictionary

import pytest

from . import MARK

if TYPE_CHECKING:
    from coop_plugins.clock import VirtualClock
    from coop_plugins.scope import TaskGroup
    from coop_plugins.server import BaseServer, StreamServer
    from coop_plugins.testing import MemoryStream, Sequencer
    from coop_plugins.wsgi import WSGIServer
    from coopcore import Hub

    Server = TypeVar("Server", bound=BaseServer)

__all__ = [
    "Serve",
    "StreamPair",
    "coop_clock",
    "free_port",
    "hub",
    "sequencer",
    "serve",
    "serving",
    "stream_pair",
    "task_group",
    "wait_all_parked",
]


TOLD: WeakKeyDictionary[TaskGroup, list[BaseException]] = WeakKeyDictionary()
"""The groups of `task_group`, and those of their failures that were told as the test's own."""


class Serve(Protocol):
    """Starts a server that is stopped at the end, and returns it. Where it listens: ``server.address``, ``server.server_port``."""

    @overload
    def __call__(self, handle: Server) -> Server: ...
    @overload
    def __call__(self, handle: Callable[[Any, Any], object], **options: Any) -> StreamServer: ...
    @overload
    def __call__(self, *, wsgi: Callable[[Any, Any], Any], **options: Any) -> WSGIServer: ...


class StreamPair(Protocol):
    """Makes two ends of a connection in memory, on which at most ``most`` bytes are on their way in each direction; `send` parks while there is no room."""

    def __call__(self, most: int = 65536) -> tuple[MemoryStream, MemoryStream]: ...


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
    """A TaskGroup that is open during the test. What still runs at its end is cancelled. A task of it that fails cancels the test, which fails for that."""
    _hub(request)
    from coop_plugins.scope import TaskGroup

    group = TaskGroup()
    told = TOLD[group] = []
    try:
        with group:
            yield group
            group.cancel_scope.cancel()
    except BaseExceptionGroup as error:
        rest = [one for one in error.exceptions if one not in told]
        if rest:
            raise error.derive(rest) from None


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface at which nothing listens, and which the system gives to nobody soon."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serving() -> Iterator[Serve]:
    """What the fixture `serve` is, for a fixture of another scope: ``with serving() as serve: yield serve(wsgi=app)``. The servers are stopped at the end."""
    from coop_plugins.server import BaseServer, StreamServer
    from coopcore.lowlevel import hide_frames

    hide_frames(__file__)  # a server was made where serve() was called
    with ExitStack() as servers:

        def serve(handle: Any = None, *, wsgi: Any = None, **options: Any) -> Any:
            if (handle is None) is (wsgi is None):
                raise TypeError("serve takes one thing to serve: a server, a handler of connections, or wsgi=application")
            if isinstance(handle, BaseServer):
                if options:
                    raise TypeError(f"serve was given a server and the option {next(iter(options))!r}: give it to the server when that is made")
                server = handle
            elif wsgi is not None:
                from coop_plugins.wsgi import WSGIServer

                server = WSGIServer(("127.0.0.1", 0), wsgi, **options)
            else:
                server = StreamServer(("127.0.0.1", 0), handle, **options)
            server.start()
            servers.callback(server.stop)
            return server

        yield serve


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """``serve(handle)`` starts a StreamServer at a free port of the loopback interface, ``serve(wsgi=app)`` a WSGIServer, both with any options that they
    take; ``serve(server)`` starts that one. Each runs in tasks, and is stopped at the end of the test; its handlers have a second to end then.
    """
    _hub(request)
    with serving() as serve:
        yield serve


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
def stream_pair(request: pytest.FixtureRequest) -> Iterator[StreamPair]:
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
