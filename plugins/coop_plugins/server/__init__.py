"""Servers: accept connections, or receive datagrams, and hand each to a handler in a task of its own. See `docs/servers.md`."""

from __future__ import annotations

from coopcore.lowlevel import hide_frames

from ._base import BaseServer as BaseServer
from ._crew import Crew as Crew
from ._datagram import DatagramServer as DatagramServer
from ._listener import parse_address as parse_address
from ._stream import StreamServer as StreamServer
from ._stream import say_goodbye as say_goodbye

__all__ = ["BaseServer", "Crew", "DatagramServer", "StreamServer", "parse_address"]

hide_frames(__file__)
