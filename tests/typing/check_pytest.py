"""Checked by mypy --strict, not run: the types of what the pytest plugin's fixtures give."""

from __future__ import annotations

from typing import Any, assert_type

import pytest

from coop_plugins.clock import VirtualClock
from coop_plugins.scope import TaskGroup
from coop_plugins.server import DatagramServer, StreamServer
from coop_plugins.testing import MemoryStream, Sequencer
from coop_plugins.wsgi import WSGIServer
from coop_pytest.fixtures import Serve, StreamPair, serving
from coopcore import Hub, Task


def handle(client: Any, address: Any) -> None: ...


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


@pytest.mark.coop
def test_servers(serve: Serve, free_port: int) -> None:
    assert_type(serve(handle), StreamServer)
    assert_type(serve(handle, backlog=5, spawn=3), StreamServer)
    assert_type(serve(wsgi=app, log=None), WSGIServer)
    assert_type(serve(DatagramServer(("127.0.0.1", free_port), handle)), DatagramServer)
    serve()  # type: ignore[call-overload]  # must be refused
    with serving() as another:
        assert_type(another, Serve)


@pytest.mark.coop(clock="virtual")
def test_others(hub: Hub, task_group: TaskGroup, coop_clock: VirtualClock, sequencer: Sequencer, stream_pair: StreamPair) -> None:
    assert_type(hub.tasks(), list[Task[Any]])
    assert_type(coop_clock.now(), int)
    coop_clock.advance(1.5)
    with sequencer(0):
        assert_type(stream_pair(most=3), tuple[MemoryStream, MemoryStream])
