"""What gevent's users rely on, statement by statement, on both libraries.

A test that asks for ``lib`` runs twice: with gevent's names, and with the same names of ours. Each runs in a hub of its own, under a timeout. The docstring
of a test is the statement that it shows. Where the two differ on purpose, the test says both outcomes with ``lib.differ(row, ...)``, and ``row`` must be the
first cell of a row of the tables in docs/: so no difference is tested that is not documented.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = ("from-gevent.md", "tasks.md", "pool.md", "local.md")

GEVENT = ("gevent", *(f"gevent.{module}" for module in ("event", "queue", "lock", "pool", "local", "greenlet", "exceptions", "hub")))
OURS = ("coopcore", *(f"coop_plugins.{module}" for module in ("event", "queue", "lock", "pool", "local")), "coopcore.errors")

# What has another name here: gevent's, and ours.
RENAMED = {"Greenlet": "Task", "GreenletExit": "TaskExit", "LoopExit": "Deadlock", "BlockingSwitchOutError": "ParkInHubError"}


@functools.cache
def documented() -> frozenset[str]:
    """The first cell of every row of a table in the documents."""
    lines = "\n".join((DOCS / page).read_text() for page in PAGES).splitlines()
    return frozenset(match[1].strip() for line in lines if (match := re.match(r"\| (.*?) \|", line)))


class Library:
    """The names of one library, as attributes, and what a test needs beyond them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ours = name == "coopcore"
        self.modules = [import_module(module) for module in (OURS if self.ours else GEVENT)]

    def __getattr__(self, name: str) -> Any:
        if self.ours:
            name = RENAMED.get(name, name)
        for module in self.modules:
            found = getattr(module, name, None)
            if found is not None and not isinstance(found, ModuleType):
                return found
        raise AttributeError(f"{self.name} has no {name}")

    def differ(self, row: str, *, gevent: Any, ours: Any) -> Any:
        """What is expected of this library, where they differ; ``row`` is where the documents say so."""
        assert row in documented(), f"no table of {', '.join(PAGES)} has a row for {row!r}"
        return ours if self.ours else gevent

    def outcome(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a call returns, or "raises" and the class of the error, under gevent's name."""
        try:
            return fn(*args, **kwargs)
        except BaseException as error:
            name = type(error).__name__
            return f"raises {next((theirs for theirs, our in RENAMED.items() if our == name), name)}"

    def call_soon(self, fn: Callable[..., Any], *args: Any) -> None:
        """Have the hub call it."""
        hub = self.get_hub()
        (hub.call_soon if self.ours else hub.loop.run_callback)(fn, *args)

    def on_hub(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The outcome of a call that runs on the hub."""
        seen: list[Any] = []
        self.call_soon(lambda: seen.append(self.outcome(fn, *args, **kwargs)))
        while not seen:
            self.sleep(0)
        return seen[0]

    def is_hub(self) -> bool:
        """True in a callback on the hub."""
        if self.ours:
            from coopcore.lowlevel import on_hub

            return on_hub()
        return self.getcurrent() is self.get_hub()

    def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        for _ in range(10):
            self.sleep(0)

    def start(self, *calls: Callable[[], Any]) -> list[Any]:
        """Spawn these, and let each run to its first wait."""
        started = [self.spawn(call) for call in calls]
        self.settle()
        return started

    def run(self, test: Callable[[], Any]) -> None:
        """Run a test in a hub of its own; what it leaves behind goes with that."""
        if self.ours:
            self._run_here(test)
        else:
            self._run_in_a_thread(test)

    def _run_here(self, test: Callable[[], Any]) -> None:
        def main() -> None:
            try:
                with self.Timeout(20, ref=False):
                    test()
            finally:
                self.killall([task for task in self.get_hub().tasks() if task is not self.getcurrent()])

        import_module("coopcore").run(main)

    def _run_in_a_thread(self, test: Callable[[], Any]) -> None:
        # gevent's hubs are one for each thread, and the loop of the main one is never had afresh: the next one counts what this one had left open.
        errors: list[BaseException] = []

        def main() -> None:
            try:
                test()
            except BaseException as error:
                errors.append(error)
            finally:
                self.get_hub().destroy(destroy_loop=True)

        thread = threading.Thread(target=main, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "it hangs"
        for error in errors:
            raise error


# Without gevent ours is tested alone, and `test_gevent_is_there` says so in one line.
@pytest.fixture(params=["gevent", "coopcore"] if find_spec("gevent") is not None else ["coopcore"])
def lib(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    lib = pyfuncitem.funcargs.get("lib")
    if not isinstance(lib, Library):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    lib.run(lambda: pyfuncitem.obj(**arguments))
    return True


class Log(list[Any]):
    """A list whose ``note(x)`` makes a function that appends ``x``, whatever it is called with."""

    def note(self, what: Any) -> Callable[..., None]:
        return lambda *_: self.append(what)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def fail() -> Callable[..., Any]:
    """A function that fails."""

    def fail(*_: Any) -> None:
        raise ValueError("on purpose")

    return fail
