"""The hubs of a session, and the greenlet that enters them.

Theory
======
pytest runs in one greenlet, the *home*. Each hub is made there and belongs to it. A marked test is a task of a hub, and home merely waits there until
that task has ended: a *visit*. Between tests no hub is entered, so unmarked tests notice nothing, and the tasks of wider fixtures stand still.

A fixture has to be finished where it was made: on the same hub, or outside of every hub. The test that happens to run then may stand elsewhere. Its task
hands the finalizer to home as an *errand* and parks; home, which can go anywhere, does it and comes back. A visit within a visit is an ordinary nested call.

Invariants
==========
1. Hubs are entered and left by home only, and left however the task ended; then no hub holds the process's wake-up descriptor for signals.
2. Whatever the function raises - KeyboardInterrupt, pytest's own exceptions - reaches the caller unchanged.
3. There is one hub for each pair of backend and clock, whether these were asked for by name or are the default.
4. An errand is done once and to its end, even if something is thrown into the test meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from coopcore import Hub, Task, current_task
from coopcore.lowlevel import change_wakeup_fd, hide_frames, make_hub, park, plugins, unpark

from ._native import is_main_thread

hide_frames(__file__)

CLOSE_TIMEOUT = 5.0


class _Call:
    """A function to call, and what came of it."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self.done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self.fn()
        except BaseException as error:
            self._error = error
        self.done = True

    def result(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # or this frame, which the traceback holds, would hold the error


class _Errand(_Call):
    """What a test's task has handed to home: a call to be made on ``hub``, or outside if that is None. Also the reason of that task's park."""

    def __init__(self, hub: Hub | None, fn: Callable[[], Any], client: Task[Any]) -> None:
        super().__init__(fn)
        self.hub = hub
        self.client = client

    def describe_wait(self) -> str:
        return f"a fixture to be finished {'outside of coopcore' if self.hub is None else f'on {self.hub.name}'}"


class _Visit:
    """Home is on a hub and waits for the end of one task."""

    def __init__(self, before: object) -> None:
        self.before = before  # what Hub.leave needs
        self.errand: _Errand | None = None


class Hubs:
    """The hubs of one session. Used from home, and from the task that home waits for."""

    def __init__(self) -> None:
        self.current: Hub | None = None
        """The hub that home is on."""
        self.is_outside = False
        """Whether home has left the test's hub to finish a fixture that was made outside of every hub."""
        self._hubs: dict[tuple[str, str], Hub] = {}
        self._default = ""
        self._visits: list[_Visit] = []

    def get(self, backend: str | None, clock: str | None = None) -> Hub:
        """The hub of a backend and a clock, None for the default one. Makes it at the first call. Raises `coopcore.errors.PluginError`."""
        backend = backend or self._default or self._find_default()
        clock = clock or os.environ.get("COOP_CLOCK") or ""  # the core's own has no name
        hub = self._hubs.get((backend, clock))
        if hub is None:
            name = f"the {backend} hub" + (f" with the {clock} clock" if clock else "")
            hub = self._hubs[backend, clock] = make_hub(backend=backend, clock=clock or None, name=name)
        return hub

    def _find_default(self) -> str:
        """By which name the default backend is offered."""
        found = plugins()
        made = found.make("backend", None)
        made.close()
        target = f"{type(made).__module__}:{type(made).__qualname__}"
        self._default = next(name for name, offer in found.offers("backend").items() if offer.target == target)
        return self._default

    def outside_hub(self) -> Hub | None:
        """The hub that home's greenlet had before it went to one of ours: an implicit one, if code outside of marked tests made it."""
        before = self._visits[0].before if self._visits else None
        return before.hub if isinstance(before, Task) else None

    def close(self) -> None:
        """Kill what is left on each hub, and take all hubs apart. Only at home."""
        while self._hubs:
            _, hub = self._hubs.popitem()
            before = hub.enter()
            try:
                hub.close(CLOSE_TIMEOUT)
            finally:
                hub.leave(before)

    # -- calling things on them -----------------------------------------------------------------------------------------

    def call(self, hub: Hub | None, fn: Callable[[], Any], name: str) -> Any:
        """Call ``fn()`` in a task of ``hub``, outside of every hub if that is None; directly if we are there already. Returns or raises what it does."""
        __tracebackhide__ = True
        here = self.current
        if here is hub:
            return fn()
        if here is None:
            assert hub is not None
            return self._visit(hub, fn, name)
        errand = _Errand(hub, fn, current_task())
        if hub is not None:
            errand.fn = partial(self._visit, hub, fn, name)
        self._visits[-1].errand = errand
        unpark(here.root)
        return self._await(errand)

    def _await(self, errand: _Errand) -> Any:
        interrupt: BaseException | None = None
        while not errand.done:
            try:
                park(errand)
            except BaseException as error:
                interrupt = error
        result = errand.result()
        if interrupt is not None:
            raise interrupt
        return result

    def _visit(self, hub: Hub, fn: Callable[[], Any], name: str) -> Any:
        call = _Call(fn)
        outer, self.current = self.current, hub
        outer_main = hub.main
        visit = _Visit(hub.enter())
        self._visits.append(visit)
        # Made once the hub is entered, so it belongs to it.
        hub.main = task = Task(call.run)
        task.name = name
        try:
            task.rawlink(lambda _: unpark(hub.root))
            task.start()
            self._wait(visit, task)
        finally:
            hub.main = outer_main
            if not task.dead:
                task.kill(timeout=CLOSE_TIMEOUT)
            self._visits.pop()
            hub.leave(visit.before)
            if outer is None:
                _give_signals_back()
            self.current = outer
        return call.result()

    def _wait(self, visit: _Visit, task: Task[Any]) -> None:
        while not task.dead:
            errand, visit.errand = visit.errand, None
            if errand is None:
                park(task)
                continue
            if errand.hub is None:
                self._run_outside(errand, task.hub)
            else:
                errand.run()
            unpark(errand.client)

    def _run_outside(self, errand: _Errand, hub: Hub) -> None:
        visits, self._visits, self.current = self._visits, [], None
        hub.leave(visits[0].before)
        _give_signals_back()
        self.is_outside = True
        try:
            errand.run()
        finally:
            self.is_outside = False
            # What runs outside may have made an implicit hub, to which home must return in the end.
            visits[0].before = hub.enter()
            self._visits, self.current = visits, hub


def _give_signals_back() -> None:
    """Home has left its hubs: the wake-up descriptor for signals is what it was before. A hub takes it again before it sleeps."""
    if is_main_thread():
        own = change_wakeup_fd(-1)
        if own >= 0:
            change_wakeup_fd(own)
