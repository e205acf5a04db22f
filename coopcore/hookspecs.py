"""Every hook that coopcore calls. A plugin implements any of them, marked with ``coopcore.hookimpl``.

A plugin is a module (or object) that is named by an entry point of the group ``coopcore``::

    [project.entry-points.coopcore]
    coop_hello = "coop_hello.plugin"

Hooks assemble; they are never called on a switch, a park or an I/O event. An implementation may leave out arguments that it
doesn't need. Arguments are only ever added. All offers are strings, so that offering imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from .protocols import Offer, Patch, TaskView, Tracer

if TYPE_CHECKING:
    from ._hub import Hub

PROJECT = "coopcore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def coop_backends() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer backends: what polls descriptors. The target is a class or function without arguments that makes a `protocols.Backend`.

    Called once, when the first hub of the process is made. The chosen one is made once for each hub. Example::

        @hookimpl
        def coop_backends():
            return [Offer("hello", "coop_hello.backend:SelectBackend", "bare select.select")]
    """


@hookspec
def coop_networks() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer networks: what ``coop_plugins.socket`` is made of. The target makes a `protocols.Network`. Called once. Example::

    @hookimpl
    def coop_networks():
        return [Offer("lossy", "my_net.lossy:LossyNetwork", "drops every tenth datagram")]
    """


@hookspec
def coop_resolvers() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer resolvers: what ``coop_plugins.socket`` looks up names with. The target makes a `protocols.Resolver`. Called once. Example::

    @hookimpl
    def coop_resolvers():
        return [Offer("table", "my_names:TableResolver", "a table, and nobody else is asked")]
    """


@hookspec
def coop_clocks() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer clocks. The target makes a `protocols.Clock`. Called once. Example::

    @hookimpl
    def coop_clocks():
        return [Offer("tenfold", "my_clocks:TenfoldClock", "ten seconds pass in one")]
    """


@hookspec
def coop_timers() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer timer queues. The target makes a `protocols.TimerQueue`. Called once. Example::

    @hookimpl
    def coop_timers():
        return [Offer("wheel", "my_wheel:TimerWheel", "a hierarchical timing wheel")]
    """


@hookspec
def coop_schedulers() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer schedulers. The target makes a `protocols.Scheduler`. Called once. Example::

    @hookimpl
    def coop_schedulers():
        return [Offer("random", "my_schedules:RandomOrder", "any ready task, by a seed")]
    """


@hookspec
def coop_primitives() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer primitives: what listings show and contract runners test. ``replaces`` names the standard-library object. Called once. Example::

    @hookimpl
    def coop_primitives():
        return [Offer("Latch", "my_prims:Latch", "opens after n arrivals")]
    """


@hookspec
def coop_patches() -> Sequence[Patch]:  # type: ignore[empty-body]  # a specification
    """Say what stands in for parts of the standard library when a program is patched: see ``coop_plugins.patch``. Called once. Example::

    @hookimpl
    def coop_patches():
        return [Patch("getpass", "my_terminal.getpass", ("getpass",))]
    """


@hookspec
def coop_tracers(hub: Hub) -> Sequence[Tracer]:  # type: ignore[empty-body]  # a specification
    """Add tracers to a hub that is being made. Called for each hub that is made by the assembly, before it runs. Example::

    @hookimpl
    def coop_tracers(hub):
        return [PrintingTracer()] if os.environ.get("MY_TRACE") else []
    """


@hookspec
def coop_commands() -> Sequence[Offer]:  # type: ignore[empty-body]  # a specification
    """Offer subcommands of ``coopcore``. The target is called with the list of the remaining arguments and returns an exit status. Example::

    @hookimpl
    def coop_commands():
        return [Offer("hello", "coop_hello.command:main", "say hello")]
    """


@hookspec
def coop_started(hub: Hub) -> None:
    """A hub was made and is about to run. Called on its thread. It must not wait. Example::

    @hookimpl
    def coop_started(hub):
        hub.call_soon(print, "up:", hub.name)
    """


@hookspec
def coop_stopping(hub: Hub) -> None:
    """A hub is being closed; its tasks have ended or were abandoned. Called on its thread. It must not wait. Example::

    @hookimpl
    def coop_stopping(hub):
        print("down:", hub.name)
    """


@hookspec(firstresult=True)
def coop_task_failed(task: TaskView, error: BaseException) -> bool | None:
    """A task failed and nobody received its error. Return True if that was dealt with; else the next plugin is asked, and at
    last its traceback is printed. Called once for each, on the hub. ``task`` is a record; the task itself is gone. Example::

        @hookimpl
        def coop_task_failed(task, error):
            log.error("%s failed", task.name, exc_info=error)
            return True
    """
