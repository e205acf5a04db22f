"""Finds plugins, chooses among their offers, and makes hubs of them. The only caller of pluggy.

Discovery runs once in a process, when the first hub is made, never at import. The built-in plugins are found and chosen exactly as a third party's
are: through the entry points of the group ``coopcore``.

Invariants
==========
1. A default is chosen by its name in `DEFAULTS`; installing a distribution never changes it. Anything else must be asked for by name.
2. Whatever is wrong with a plugin is raised as a `PluginError` that names its distribution and how to turn it off.
3. A thread has at most one hub that is not closed for each greenlet that made one; the innermost `run` counts.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import pluggy
from greenlet import getcurrent

from . import hookspecs
from ._hub import Hub, abandon_hubs_after_fork
from ._interrupt import attend_to_signals, forget_after_fork
from ._report import IdleThread, print_failure, warn
from ._state import on_hub, raise_park_in_hub, running_task, set_adopter
from ._task import Task, TaskRecord, Worker
from ._timeout import check_seconds
from .errors import (
    HubError,
    InterfaceError,
    LeftBehindWarning,
    OfferConflictError,
    PluginError,
    PluginLoadError,
    UnknownOfferError,
)
from .protocols import INTERFACE_VERSION, Backend, Clock, Network, Offer, Patch, Resolver, Scheduler, TimerQueue, Tracer

T = TypeVar("T")

GROUP = "coopcore"
DISABLE = "COOP_DISABLE_PLUGINS"

# What is used when nobody asks, the first that loads. The clock, the timer queue and the scheduler of the core itself have no offer.
DEFAULTS: dict[str, tuple[str, ...]] = {"backend": ("epoll", "selectors")}
_HOOKS = {
    "backend": "coop_backends",
    "network": "coop_networks",
    "resolver": "coop_resolvers",
    "clock": "coop_clocks",
    "timers": "coop_timers",
    "scheduler": "coop_schedulers",
    "primitive": "coop_primitives",
    "command": "coop_commands",
}
_WORDS = {"timers": "timer queue"}
_PROTOCOLS: dict[str, Any] = {
    "backend": Backend,
    "network": Network,
    "resolver": Resolver,
    "clock": Clock,
    "timers": TimerQueue,
    "scheduler": Scheduler,
}


class Plugins:
    """The plugins of this process, and what they offer."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.manager = manager
        self._origins: dict[str, str] = {}
        self._offers: dict[str, dict[str, tuple[Offer, str]]] = {}

    # -- discovery ------------------------------------------------------------------------------------------------------

    def discover(self) -> None:
        """Load every plugin that an installed distribution names, except those that are turned off."""
        from importlib.metadata import entry_points

        disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
        seen: dict[str, tuple[str, str]] = {}
        for point in entry_points(group=GROUP):
            dist = point.dist.name if point.dist is not None else "(unknown)"
            if point.name in disabled or dist in disabled:
                continue
            package = point.module.partition(".")[0]
            for kind, name in (("plugin", point.name), ("import package", package)):
                owner = seen.setdefault(f"{kind} {name}", (dist, point.value))
                if owner[0] != dist and not (name == package and kind == "import package" and _is_namespace(package)):
                    raise OfferConflictError(
                        f"two distributions, {owner[0]!r} and {dist!r}, both ship the {kind} {name!r}; only one could ever be imported. "
                        f"Uninstall one of them, or set {DISABLE}={owner[0]} or {DISABLE}={dist}."
                    )
            if not self.manager.has_plugin(point.name):
                try:
                    plugin = point.load()
                except Exception as error:
                    raise PluginLoadError(
                        f"plugin {point.name!r} of distribution {dist!r} could not be loaded from {point.value!r}: "
                        f"{type(error).__name__}: {_said(error)}. Reinstall or upgrade {dist}, or go on without it: {DISABLE}={point.name}."
                    ) from error
                self.add(plugin, point.name, dist)
        self.check()

    def add(self, plugin: object, name: str, dist: str) -> None:
        """Register one plugin."""
        wanted = getattr(plugin, "COOPCORE_INTERFACE", 1)
        _check_interface(wanted, f"plugin {name!r} of {dist!r}", name)
        try:
            self.manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise InterfaceError(
                f"plugin {name!r} of distribution {dist!r} does not fit the hooks of this coopcore (interface {INTERFACE_VERSION}): {_said(error)}. "
                f"It may be built for a newer one: upgrade coopcore, or turn it off with {DISABLE}={name}."
            ) from error
        self._origins[name] = dist
        self._offers.clear()

    def check(self) -> None:
        """Refuse what pluggy would ignore: misspelt hooks, hooks without their mark, plugins without hooks."""
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            name = self.manager.get_name(error.plugin) or "?"
            raise InterfaceError(
                f"plugin {name!r} of distribution {self._origins.get(name, '?')!r} implements a hook that coopcore does not have: {_said(error)}. "
                f"Check its spelling against coopcore.hookspecs, or turn the plugin off with {DISABLE}={name}."
            ) from error
        for name, plugin in self.manager.list_name_plugin():
            if plugin is not None:
                self._check_hooks(plugin, name)

    def _check_hooks(self, plugin: object, name: str) -> None:
        named = [hook for hook in dir(plugin) if hook.startswith("coop_") and hasattr(hookspecs, hook) and callable(getattr(plugin, hook))]
        forgotten = [hook for hook in named if self.manager.parse_hookimpl_opts(plugin, hook) is None]
        if forgotten:
            fault = f"has {', '.join(forgotten)} without the mark @coopcore.hookimpl, so that would never be called. Mark it"
        elif all(self.manager.parse_hookimpl_opts(plugin, attribute) is None for attribute in dir(plugin)):
            fault = (
                f"is {plugin!r}, which implements no hook: no function in it is marked @coopcore.hookimpl. "
                f"Mark those that are hooks, let the entry point name the module that has them (a hook with nothing to offer returns [])"
            )
        else:
            return
        raise InterfaceError(f"{self.known(name)} {fault}, or turn the plugin off with {DISABLE}={name}.")

    def call(self, hook: str, *args: Any) -> list[tuple[str, Any]]:
        """Ask every plugin, the last registered first, also after one that raised; that error is raised at the end. Returns names and answers.

        ``args`` are those of the specification, of which an implementation may take the first few.
        """
        answers = []
        first: PluginError | None = None
        for impl in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            try:
                answers.append((impl.plugin_name, self._ask(hook, impl, args)))
            except PluginError as error:
                first = first or error
        if first is not None:
            raise first
        return answers

    def report(self, view: TaskRecord, error: BaseException) -> None:
        """Offer the error of a failed task to each plugin until one has dealt with it; else print it."""
        for impl in reversed(self.manager.hook.coop_task_failed.get_hookimpls()):
            try:
                if self._ask("coop_task_failed", impl, (view, error)):
                    return
            except PluginError as failed:
                traceback.print_exception(failed)
        print_failure(view, error)

    def _ask(self, hook: str, impl: pluggy.HookImpl, args: tuple[Any, ...] = ()) -> Any:
        try:
            return impl.function(*args[: len(impl.argnames)])
        except Exception as error:
            raise PluginError(
                f"{self.known(impl.plugin_name)} failed in {hook}(): {type(error).__name__}: {_said(error)}. Turn it off with {DISABLE}={impl.plugin_name}."
            ) from error

    def add_tracers(self, hub: Hub, origin: str, tracers: Any) -> None:
        """What a plugin answered to ``coop_tracers``."""
        try:
            for tracer in tracers:
                hub.add_tracer(tracer)
        except Exception as error:
            raise InterfaceError(
                f"{self.known(origin)} returned {tracers!r} from coop_tracers(): {_said(error)}. Turn it off with {DISABLE}={origin}."
            ) from error

    def known(self, origin: str) -> str:
        """A plugin as messages name it."""
        return f"plugin {origin!r} of distribution {self._origins.get(origin, '?')!r}"

    # -- choice ---------------------------------------------------------------------------------------------------------

    def offers(self, kind: str) -> dict[str, Offer]:
        """Every offer of a kind (``backend``, ``clock``, ``primitive`` ...), by name."""
        return {name: offer for name, (offer, _) in self._collect(kind).items()}

    def _collect(self, kind: str) -> dict[str, tuple[Offer, str]]:
        known = self._offers.get(kind)
        if known is not None:
            return known
        if kind not in _HOOKS:
            raise UnknownOfferError(f"plugins offer nothing of a kind {kind!r}; the kinds are: {', '.join(_HOOKS)}.")
        found: dict[str, tuple[Offer, str]] = {}
        hook = _HOOKS[kind]
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            origin = impl.plugin_name
            for offer in self._list(hook, impl, Offer):
                if offer.name in found:
                    other = found[offer.name][1]
                    raise OfferConflictError(
                        f"plugins {other!r} (of {self._origins.get(other, '?')!r}) and {origin!r} (of {self._origins.get(origin, '?')!r}) both offer a "
                        f"{kind} named {offer.name!r}. Turn one off: {DISABLE}={other} or {DISABLE}={origin}."
                    )
                found[offer.name] = (offer, origin)
        self._offers[kind] = found
        return found

    def _list(self, hook: str, impl: pluggy.HookImpl, cls: type[T]) -> list[T]:
        """What a plugin answered to a hook that wants a list of ``cls``."""
        origin = impl.plugin_name
        answer = self._ask(hook, impl)
        if isinstance(answer, cls) or not isinstance(answer, Iterable):
            raise InterfaceError(
                f"{self.known(origin)} returned {answer!r} from {hook}(), where a list of coopcore.lowlevel.{cls.__name__} objects is wanted. "
                f"Its hook is to return a list: [{cls.__name__}(...)]. Turn it off with {DISABLE}={origin}."
            )
        rows = list(answer)
        for row in rows:
            if not isinstance(row, cls):
                raise InterfaceError(
                    f"{self.known(origin)} returned {row!r} from {hook}(), where coopcore.lowlevel.{cls.__name__} objects are wanted. "
                    f"Turn it off with {DISABLE}={origin}."
                )
        return rows

    def patches(self) -> list[tuple[Patch, str]]:
        """Every row of every plugin's `coop_patches` that is for this Python, the built-in plugins' first, and the plugin as messages name it."""
        rows = []
        for impl in self.manager.hook.coop_patches.get_hookimpls():
            for row in self._list("coop_patches", impl, Patch):
                _check_interface(row.interface, f"the patch of {row.module!r} by {self.known(impl.plugin_name)}", impl.plugin_name)
                if row.since <= sys.version_info and not (row.before and sys.version_info >= row.before):
                    rows.append((row, self.known(impl.plugin_name)))
        return rows

    def load(self, kind: str, name: str) -> Any:
        """Import the target of an offer."""
        offers = self._collect(kind)
        if name not in offers:
            known = ", ".join(sorted(offers)) or "none"
            raise UnknownOfferError(
                f"there is no {_WORDS.get(kind, kind)} named {name!r}; on offer are: {known}. "
                f"Check the spelling{_where_asked_for(kind)}, or install the distribution that offers it."
            )
        offer, origin = offers[name]
        _check_interface(offer.interface, f"{kind} {name!r} of {self.known(origin)}", origin)
        module, _, attribute = offer.target.partition(":")
        if not attribute:
            raise PluginLoadError(
                f"{kind} {name!r} of {self.known(origin)} has the target {offer.target!r}, which names no attribute: write package.module:attribute. "
                f"Choose another {kind}, or turn the plugin off with {DISABLE}={origin}."
            )
        try:
            target: Any = import_module(module)
            for part in attribute.split("."):
                target = getattr(target, part)
        except Exception as error:
            raise PluginLoadError(
                f"{kind} {name!r} of {self.known(origin)} could not be imported from {offer.target!r}: "
                f"{type(error).__name__}: {_said(error)}. Choose another {kind}, or turn the plugin off with {DISABLE}={origin}."
            ) from error
        return target

    def make(self, kind: str, choice: Any) -> Any:
        """An object for a seam: ``choice`` is an offer's name, a ready object, or None for ``COOP_<KIND>`` or the default. None if that is the core's own."""
        if choice is None:
            choice = os.environ.get(f"COOP_{kind.upper()}") or None
        if choice is None:
            return self._make_default(kind)
        if not isinstance(choice, str):
            return self._checked(kind, choice, "that was passed")
        return self._made(kind, choice)

    def _make_default(self, kind: str) -> Any:
        names = DEFAULTS.get(kind)
        if names is None:
            return None
        offers = self._collect(kind)
        for name in names:
            if name in offers and (name != "epoll" or sys.platform == "linux"):
                return self._made(kind, name)
        raise UnknownOfferError(
            f"no default {kind} ({' or '.join(names)}) is on offer; there are: {', '.join(sorted(offers)) or 'none'}. The built-in plugins were turned off by "
            f"{DISABLE}, or the installation is damaged: reinstall coopcore, or ask for another {kind} by name (COOP_{kind.upper()})."
        )

    def _made(self, kind: str, name: str) -> Any:
        target = self.load(kind, name)
        origin = self._collect(kind)[name][1]
        try:
            made = target()
        except Exception as error:
            raise PluginLoadError(
                f"{kind} {name!r} of {self.known(origin)} could not be made: "
                f"{type(error).__name__}: {_said(error)}. Choose another {kind}, or turn the plugin off with {DISABLE}={origin}."
            ) from error
        return self._checked(kind, made, f"{name!r} of {self.known(origin)}", f" Turn it off with {DISABLE}={origin}.")

    def _checked(self, kind: str, made: Any, which: str, advice: str = "") -> Any:
        protocol = _PROTOCOLS[kind]
        if isinstance(made, type):
            raise InterfaceError(f"the {kind} {which} is the class {made!r}; an object of it is needed: {made.__name__}().{advice}")
        wanted = {name for cls in protocol.__mro__[:-2] for name in (*vars(cls), *vars(cls).get("__annotations__", ()))}
        missing = sorted(name for name in wanted if not name.startswith("_") and not hasattr(made, name))
        if missing or (hasattr(protocol, "__len__") and not hasattr(made, "__len__")):
            raise InterfaceError(
                f"the {kind} {which} is {made!r}, which lacks {', '.join(missing) or '__len__'} of coopcore.protocols.{protocol.__name__}. "
                f"Its author finds every method there, and a contract to test it in coopcore.testing.{advice}"
            )
        return made


def _where_asked_for(kind: str) -> str:
    """The places where a name of this kind can come from; commands and primitives come from the call alone."""
    if kind not in _PROTOCOLS:
        return ""
    return f" where it was asked for (an argument, {'a mark, ' if kind in ('backend', 'clock') else ''}or the variable COOP_{kind.upper()})"


def _said(error: Exception) -> str:
    """The message of an error, to be the end of a sentence."""
    return str(error).removesuffix(".")


def _is_namespace(package: str) -> bool:
    """True for a package without files of its own, of which several distributions may ship a part."""
    spec = find_spec(package)
    return spec is not None and spec.origin is None


def _check_interface(wanted: object, who: str, switch: str) -> None:
    if not isinstance(wanted, int) or wanted > INTERFACE_VERSION:
        raise InterfaceError(
            f"{who} is built for interface {wanted} of coopcore; this coopcore has interface {INTERFACE_VERSION}. "
            f"Upgrade coopcore, install an older release of the plugin, or turn it off with {DISABLE}={switch}."
        )


_plugins: Plugins | None = None
_plugins_lock = threading.Lock()


def new_plugins() -> Plugins:
    """A manager without plugins."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return Plugins(manager)


def plugins() -> Plugins:
    """The plugins of this process. Finds them at the first call."""
    global _plugins
    if _plugins is None:
        with _plugins_lock:
            if _plugins is None:
                found = new_plugins()
                found.discover()
                _plugins = found
    return _plugins


def load_offer(kind: str, name: str) -> Any:
    """The object behind an offer: ``load_offer("primitive", "Queue")``. Raises `UnknownOfferError` with what there is."""
    return plugins().load(kind, name)


# -- hubs ---------------------------------------------------------------------------------------------------------------


def make_hub(
    backend: str | Backend | None = None,
    clock: str | Clock | None = None,
    scheduler: str | Scheduler | None = None,
    timers: str | TimerQueue | None = None,
    tracers: Sequence[Tracer] = (),
    name: str = "",
    network: str | Network | None = None,
    resolver: str | Resolver | None = None,
) -> Hub:
    """A hub for the current greenlet, of what is asked for by name or given as an object. The caller enters and closes it."""
    found = plugins()

    parts = {
        "clock": found.make("clock", clock),
        "timers": found.make("timers", timers),
        "scheduler": found.make("scheduler", scheduler),
        "network": found.make("network", network),
        "resolver": found.make("resolver", resolver),
    }
    # Last of the parts, since it holds descriptors: whatever goes wrong from here on must close it.
    chosen = found.make("backend", backend)
    try:
        hub = Hub(backend=chosen, **parts, on_failure=found.report, name=name)
        for tracer in tracers:
            hub.add_tracer(tracer)
        for origin, more in found.call("coop_tracers", hub):
            found.add_tracers(hub, origin, more)
        previous = hub.enter()
        try:
            found.call("coop_started", hub)
        finally:
            hub.leave(previous)
    except BaseException:
        chosen.close()
        raise
    leave_signals = attend_to_signals(hub)

    def on_closed() -> None:
        leave_signals()
        if hub.resolver is not None:
            hub.call_safely(hub.resolver.close)
        found.call("coop_stopping", hub)

    hub.on_closed = on_closed
    return hub


def _adopt() -> Task[Any]:
    """The task of a greenlet that has none yet. Called where the look-up of one has failed; that failure is no part of what is raised here."""
    lookup = sys.exception()
    try:
        return _find_or_make_task()
    except BaseException as error:
        _drop_context(error, lookup)
        raise


def _drop_context(error: BaseException, context: BaseException | None) -> None:
    """Leave ``context`` out of the chain of an error. (The hot paths look a task up by ``except AttributeError``, and call `_adopt` inside of that.)"""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            if link.__context__ is context:
                link.__context__ = None
            chain += (link.__context__, link.__cause__)


def _find_or_make_task() -> Task[Any]:
    """It is the hub's, a thread's main greenlet's, or another library's."""
    stack = getcurrent()
    if getattr(stack, "hub", None) is not None:
        raise_park_in_hub()
    hub: Hub | None = getattr(stack.parent, "hub", None)
    if type(stack) is Worker and hub is not None and not hub._forked:
        return _adopt_greenlet(stack, hub, "finaliser")  # of the value of a task that has ended here
    root = stack
    while root.parent is not None:
        root = root.parent
    main: Task[Any] | None = getattr(root, "task", None)
    forked = main is not None and main._hub._forked
    if main is None or forked:
        if stack is not root and not forked:
            raise HubError(
                f"{stack!r} is a greenlet that coopcore did not make, in a thread without a hub. Call coopcore.get_hub() in the thread's main greenlet first."
            )
        hub = make_hub()
        hub.enter()
        _implicit.hub = _ImplicitHub(hub)
        return hub.root
    if stack is root:
        return main
    return _adopt_greenlet(stack, main._hub, f"greenlet-{id(stack):x}")


def _adopt_greenlet(stack: Any, hub: Hub, name: str) -> Task[Any]:
    task = Task._for_greenlet(stack, hub, name)
    stack.task = task
    hub._adopted.add(task)
    return task


set_adopter(_adopt)


class _ImplicitHub:
    """Closes the hub that a thread made by using coopcore, when that thread (or the interpreter) ends."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        if threading.current_thread() is threading.main_thread():
            atexit.register(self.close)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A thread's own variables are dropped by that thread as it ends, while its greenlets can still be switched to. Those of a daemon that the
        # interpreter's end has stopped are dropped by the main thread: such a thread is never continued, and runs no ``finally`` of its own either.
        if not is_finalizing():
            self.close()

    def close(self) -> None:
        hub = self.hub
        if not hub._closed and getcurrent() is hub.root._greenlet:
            hub.close(timeout=1.0)
            hub.leave(None)


_implicit = threading.local()


def get_hub() -> Hub:
    """The hub of this thread; makes one if there is none."""
    stack = getcurrent()
    hub: Hub | None = getattr(stack, "hub", None)
    if hub is not None:
        return hub
    task: Task[Any] | None = getattr(stack, "task", None)
    return (_find_or_make_task() if task is None else task)._hub


def run(
    main: Callable[..., T],
    *args: Any,
    backend: str | Backend | None = None,
    clock: str | Clock | None = None,
    scheduler: str | Scheduler | None = None,
    timers: str | TimerQueue | None = None,
    tracers: Sequence[Tracer] = (),
    network: str | Network | None = None,
    resolver: str | Resolver | None = None,
    close_timeout: float = 5.0,
) -> T:
    """Make a hub, run ``main(*args)`` as a task on it, take the hub apart, and return what main returned or raise its error.

    Tasks that are still alive when main ends are killed, so that each ``finally`` runs, for at most ``close_timeout`` seconds, and are named in a
    `LeftBehindWarning`. ``backend`` and the others are the names of offers, or objects. Blocks the thread. Raises `HubError` inside another run.
    """
    if not callable(main):
        raise TypeError(f"run() needs a function, not {main!r}. Pass the function and its arguments apart: run(main, arg).")
    if on_hub():
        raise_park_in_hub()
    check_seconds(close_timeout, "close_timeout")
    running = running_task()
    if running is not None and (running is not running._hub.root or running._hub.tasks()):
        raise HubError(
            f"run() was called while {running._hub!r} is at work in this thread, in {running!r}. "
            f"Call main() directly, spawn it, or call run() in another thread."
        )
    hub = make_hub(backend, clock, scheduler, timers, tracers, network=network, resolver=resolver)
    previous = hub.enter()
    try:
        task = Task(main, *args)
        task.name = getattr(main, "__qualname__", "main")
        task.start()
        hub.main = task
        hub.root.name = "root"  # most who call run() call their function main, and reports are to tell the two apart
        try:
            task.join()
        except BaseException:
            # Deadlock or an interrupt reached the root: main must not be left half way.
            hub.main = hub.root
            task.kill(timeout=close_timeout)
            raise
    finally:
        try:
            left = hub.close(close_timeout)
        finally:
            hub.leave(previous)
    if left and task.exception is None:
        names = ", ".join(f"{other.name!r} (spawned at {other.spawned_at})" for other in left[:20])
        warn(
            f"{main!r} ended and left {len(left)} task(s) behind, which were killed: {names}{' ...' if len(left) > 20 else ''}. "
            f"Join them before it ends, or kill them if that is what you want.",
            LeftBehindWarning,
        )
    return task.get()


def _after_fork_in_child() -> None:
    """The child of a fork has one greenlet, the one that forked. It gets a fresh hub when it next needs one."""
    global _plugins_lock
    _plugins_lock = threading.Lock()  # a thread that is not here may have held it
    forget_after_fork()
    IdleThread.idents.clear()
    abandon_hubs_after_fork(_end_forked_child)
    stack = getcurrent()
    for name in ("task", "hub"):
        if hasattr(stack, name):
            delattr(stack, name)


def _end_forked_child(error: BaseException | None = None) -> None:
    """What forked (a task, or a callback on the hub) has ended, in the child: there is no other stack to go on with, so the process ends here.

    It ends with the status, and says what, a script would; but as a child of ``multiprocessing`` it calls no ``atexit`` functions, which are the parent's.
    """
    status = 1
    try:
        status = _status_of(error)
        made: _ImplicitHub | None = getattr(_implicit, "hub", None)
        if made is not None and not made.hub._closed:
            made.hub.enter()  # the worker that is here has no task any more
            made.hub.close(timeout=1.0)
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException as late:
        status = 1
        traceback.print_exception(late)
    finally:
        os._exit(status)


def _status_of(error: BaseException | None) -> int:
    """The status of a process that ends with ``error``; prints what there is to say about it."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


os.register_at_fork(after_in_child=_after_fork_in_child)
