"""``coopcore serve module:application``: serves a WSGI application from the command line, with the standard library patched.

An application that knows nothing of coopcore blocks in sockets, locks and sleeps; patched, it parks its task, and one process answers many requests at once.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import re
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from inspect import signature
from traceback import print_exception
from types import TracebackType
from typing import Any

from coopcore import spawn
from coopcore.lowlevel import hide_frames

__all__ = ["load_application", "main"]

_USUAL_NAMES = ("application", "app")
_LIMITS = {
    "request_line": "bytes of a request's target",
    "header_bytes": "bytes of all headers together",
    "header_count": "headers",
    "body_bytes": "bytes of a body",
    "header_timeout": "seconds for all of the headers to come",
    "body_timeout": "seconds between two pieces of a body",
    "body_rate": "bytes a second of a body, at least, after the first body-timeout",
    "idle_timeout": "seconds between an answer and the next request",
    "send_timeout": "seconds for a client to take 256 KiB of an answer",
}


class _NotFound(LookupError):
    """The application is not there. (A LookupError of its own comes out, with its traceback.)"""


def _parse(arguments: Sequence[str]) -> Namespace:
    from .wsgi import Limits  # here, since it needs httptools

    parser = ArgumentParser(
        prog="coopcore serve",
        description="Serve a WSGI application over HTTP. Ends well on Ctrl-C and SIGTERM: requests that were accepted are answered.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("application", metavar="MODULE[:NAME]", help="NAME may be a call without arguments, of a factory; without one, application or app")
    parser.add_argument(
        "-b", "--bind", default="127.0.0.1:8000", metavar="ADDRESS", help="host:port, :port for every address, or a Unix socket as /path, ./path or unix:path"
    )
    parser.add_argument("--backlog", type=_number, default=1024, help="connections that may wait in the kernel")
    parser.add_argument("--connections", type=_number, default=1000, help="how many are served at once; further ones wait in the kernel")
    parser.add_argument("--graceful", type=_seconds, default=30.0, metavar="SECONDS", help="that requests have to end in when the server stops")
    parser.add_argument("--reuse-port", action="store_true", help="let other processes serve at the same port")
    parser.add_argument("--certfile", metavar="FILE", help="speak TLS, with this certificate")
    parser.add_argument("--keyfile", metavar="FILE", help="the certificate's key, if it is in another file")
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="believe the forwarding headers of this address or network, unix, or * for whoever connects (may be repeated)",
    )
    parser.add_argument("--quiet", action="store_true", help="write no line for each request")
    parser.add_argument("--chdir", default=".", metavar="FOLDER", help="to look for the module in")
    parser.add_argument("--no-patch", action="store_true", help="leave the standard library as it is: for an application that uses coop_plugins itself")
    parser.add_argument("--skip", action="append", default=[], metavar="PART", help="leave this part unpatched (may be repeated)")
    parser.add_argument("--spool-chunked", action="store_true", help="receive bodies in chunks first, for Django, Bottle and others that need their length")
    limits = parser.add_argument_group("limits", "what a client may cost")
    for field in fields(Limits):
        limits.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default, metavar="N", help=_LIMITS[field.name])
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError(text)
    return seconds


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


# What argparse says that a wrong one is not.
_seconds.__name__ = "number of seconds"
_number.__name__ = "number above 0"


def main(arguments: Sequence[str]) -> int:
    """The command. Returns 0 after a stop that went well, 130 if that was interrupted; 2 for arguments that make no sense, 1 for an address that cannot be had.

    1 for an application whose import fails, too: its traceback is printed.
    """
    try:
        chosen = _parse(arguments)
    except ImportError as error:
        return _failed(error, 1)
    try:
        if not chosen.no_patch:
            from .patch import patch

            patch(skip=chosen.skip, warn=False)
    except (LookupError, ValueError, TypeError) as error:
        return _failed(error, 2)
    try:
        os.chdir(chosen.chdir)
    except OSError as error:
        return _failed(f"--chdir: {error}", 1)
    sys.path.insert(0, os.getcwd())
    try:
        application = load_application(chosen.application)
        _check(application, chosen.application)
    except _NotFound as error:
        return _failed(error, 2)
    except Exception as error:
        if _gevent_has_patched():
            return _failed(_GEVENT, 2)
        print(f"coopcore serve: {chosen.application} could not be imported:", file=sys.stderr)
        print_exception(error.with_traceback(_own_part(error.__traceback__)))
        return 1
    return _failed(_GEVENT, 2) if _gevent_has_patched() else _serve(application, chosen)


_GEVENT = "the application has gevent patch the standard library, whose hub then waits beside coopcore's: take gevent.monkey.patch_all() out of it"


def _gevent_has_patched() -> bool:
    return bool(getattr(sys.modules.get("gevent.monkey"), "saved", None))


def _own_part(tb: TracebackType | None) -> TracebackType | None:
    """A traceback from the application's first line on."""
    while tb is not None and (tb.tb_frame.f_code.co_filename in (__file__, importlib.__file__) or "<frozen importlib" in tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return tb


def _check(application: Any, name: str) -> None:
    """Raise _NotFound if it can't be called as an application is."""
    if callable(application) and not _takes(application, {}, print):
        hint = f"Is it a factory? Then write {name}()." if _takes(application) else "Is it one for ASGI, or for something else?"
        raise _NotFound(f"{name} is not called as a WSGI application is, with an environment and start_response. {hint}")


def _takes(function: Any, *arguments: Any) -> bool:
    """Whether it can be called so; True if nobody knows."""
    try:
        signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        pass  # written in C
    return True


def _failed(error: object, status: int) -> int:
    print(f"coopcore serve: {error}", file=sys.stderr)
    return status


def _serve(application: Any, chosen: Namespace) -> int:
    from .wsgi import Limits, WSGIServer

    class Served(WSGIServer):
        def stop(self, timeout: float | None = None) -> None:
            busy = sum(connection.idle is False for connection in self.connections)
            if busy:
                print(f"coopcore serve: {busy} to answer, in at most {timeout:g} s; a further signal ends at once", file=sys.stderr, flush=True)
            super().stop(timeout)

    try:
        server = Served(
            chosen.bind,
            application,
            backlog=chosen.backlog,
            spawn=chosen.connections,
            log=None if chosen.quiet else _access_log(),
            limits=Limits(**{field.name: getattr(chosen, field.name) for field in fields(Limits)}),
            reuse_port=chosen.reuse_port,
            certfile=chosen.certfile,
            keyfile=chosen.keyfile,
            spool_chunked=chosen.spool_chunked,
            trusted_proxies=chosen.trusted_proxy,
        )
        server.start()
    except (ValueError, TypeError) as error:
        return _failed(error, 2)
    except OSError as error:
        return _failed(error, 1)
    # In a task, which runs once signals are taken care of: whoever reads the line may send one.
    spawn(print, f"coopcore serve: {chosen.application.removesuffix(':')} at {_shown(server)}, process {os.getpid()}", file=sys.stderr, flush=True)
    try:
        server.serve_forever(stop_timeout=chosen.graceful)
    except KeyboardInterrupt:
        return _failed("interrupted while it answered the last requests", 130)
    return 0


def load_application(name: str) -> Any:
    """The object that ``module``, ``module:name`` or ``module:factory()`` names. Raises LookupError with what is wrong; what the import raises comes out."""
    module_name, _, attribute = name.removesuffix(":").partition(":")
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", module_name):
        meant = re.sub(r"^\W+", "", module_name).removesuffix(".py").replace("/", ".")
        raise _NotFound(
            f"{module_name!r} is no name of a module. MODULE[:NAME] is wanted, such as {meant or 'site'}:app; for one in another folder try --chdir."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # it is there, and what it imports is not
        if module_name.endswith(".py"):
            raise _NotFound(f"{module_name!r} is a file, and the name of its module is wanted: {name.replace('.py', '', 1)}") from None
        raise _NotFound(f"there is no module {module_name!r} in {os.getcwd()} or on the path. Is it spelt right? Try --chdir.") from None
    if not attribute:
        found = [each for each in _USUAL_NAMES if hasattr(module, each)]
        if not found:
            raise _NotFound(f"module {module_name!r} has neither {' nor '.join(_USUAL_NAMES)}; name the application: {module_name}:NAME")
        attribute = found[0]
    called = attribute.endswith("()")
    if "(" in attribute.removesuffix("()"):
        raise _NotFound(f"{attribute!r}: a factory is called without arguments, as NAME(). Write a function that passes them, and name that.")
    thing: Any = module
    for part in attribute.removesuffix("()").split("."):
        if not hasattr(thing, part):
            near = ", ".join(get_close_matches(part, dir(thing), 3))
            raise _NotFound(f"{module_name!r} has no {attribute.removesuffix('()')!r}. Is it spelt right?{near and f' There is {near}.'}")
        thing = getattr(thing, part)
    if not called:
        return thing
    if callable(thing) and not _takes(thing):
        raise _NotFound(f"{attribute.removesuffix('()')!r} wants arguments, so it is no factory. Is it the application? Then leave () out.")
    return thing()


def _access_log() -> logging.Logger:
    """A log of the server's own, on stdout, which goes on whatever the application does to `logging`."""
    log = logging.getLogger("coop_plugins.wsgi.access")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def _shown(server: Any) -> str:
    if not isinstance(server.address, tuple):
        return f"unix:{server.address}"
    host = server.server_host
    scheme = "http" if server.ssl_context is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.server_port}"


hide_frames(__file__)
