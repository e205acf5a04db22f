"""A WSGI 1.0.1 server on tasks: each connection has one, so an application that parks holds up nobody else.

    from coop_plugins.wsgi import WSGIServer
    WSGIServer(("127.0.0.1", 8000), application).serve_forever()

Requests are parsed by httptools, which comes with the extra ``web``. `docs/servers.md` lists the limits and their defaults.
"""

from __future__ import annotations

from coopcore.lowlevel import hide_frames

from ._request import ClientError, Limits
from ._server import WSGIServer

__all__ = ["ClientError", "Limits", "WSGIServer"]

hide_frames(__file__)
