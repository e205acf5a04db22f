"""The context variables that fixtures set, and who sees them.

Theory
======
Each test is a task, and has a context of its own: whatever is set there is gone with it. What a function's fixtures set is meant for that one test, so they
simply run in its context. A wider fixture is set up by the first test that uses it, and has to be seen by all that do. It gets a context of its own, a
*layer*: a copy of that test's, in which its setup, its teardown, and its tasks run. What the setup has changed there is handed to the test, and to each later
one that uses the fixture, when that begins. So a token from the setup is good at the teardown, and nothing of a test gets into a wider fixture.

Layers change places by ``gr_context``, greenlet's own name for the context of a greenlet, since pytest's hooks are generators that cannot be called in one.

Invariants
==========
1. A test, and each fixture that is narrower, sees what the wider fixtures that the test uses have set, the narrowest first; whichever test set them up.
2. What a test or its function's fixtures set is seen by no other test, and by no teardown of a wider fixture.
3. A fixture's teardown runs in the context of its setup.
4. What a fixture has set is gone once it is finished, even in the middle of a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any

from greenlet import getcurrent

from coopcore.lowlevel import hide_frames

from ._tasks import OWNER

hide_frames(__file__)

_UNSET = object()


class Layer:
    """The context of one wider fixture."""

    def __init__(self) -> None:
        self._context = copy_context()
        self._changes: dict[ContextVar[Any], Any] = {}
        self._applied: list[tuple[ContextVar[Any], Any, Token[Any]]] = []
        self._applied_in: Context | None = None

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """The fixture is set up meanwhile, in the layer. If that goes well, the current context gets what it has set."""
        before = self._context.copy()
        with _entered(self._context):
            yield
        for var, value in self._context.items():
            if var is not OWNER and before.get(var, _UNSET) is not value:
                self._changes[var] = value
        self.apply()

    def apply(self) -> None:
        """Let the current context have what the fixture has set."""
        self._applied_in = getcurrent().gr_context
        self._applied = [(var, value, var.set(value)) for var, value in self._changes.items()]

    def apply_once(self) -> None:
        """The same, unless the current context has it already: a test that asks for the fixture in its middle has not."""
        if self._applied_in is not getcurrent().gr_context:
            self.apply()

    def forget(self) -> None:
        """Undo `apply`, if that was in the current context, but for what was set anew since."""
        applied, self._applied = self._applied, []
        if self._applied_in is getcurrent().gr_context:
            for var, value, token in applied:
                if var.get(_UNSET) is value:
                    var.reset(token)
        self._applied_in = None

    def run(self, fn: Callable[[], object]) -> object:
        """Call ``fn()`` in the layer."""
        __tracebackhide__ = True
        with _entered(self._context):
            return fn()


@contextmanager
def _entered(context: Context) -> Iterator[None]:
    me = getcurrent()
    outer = me.gr_context
    me.gr_context = context
    try:
        yield
    finally:
        me.gr_context = outer
