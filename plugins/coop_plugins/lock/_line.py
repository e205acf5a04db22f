"""The line of those who wait for a lock or a semaphore, first come, first served.

Theory
======
What is given back goes to the head of the line, handed over by whoever gives it back, and is free only when nobody is left in line. So a task
that comes by at the right moment cannot snatch it from those who wait (no *barging*), and a woken task never has to look again.

The line holds three kinds of entries:

- a task, that wants to have it;
- a `Watch`: somebody who only wants to know that it is free. Who comes to the head while it is, is told, and takes nothing;
- a `Turn`: a task that returns from `Condition.wait` and must not do so without the lock. While it stands here, only the lock ends its wait: kills and timeouts
  stay pending until its next one. So it never leaves the line on its own, and is given the lock even in the moment in which it does not park.

Who is next is found, and given it, in `Line._hand_over`; `Semaphore.release` does the same for a head that is a task, for speed. Lines are entered in
`Line._enter`; `Semaphore.acquire` appends to its line itself where there is nothing to check.

Invariants
==========
1. Entries are served in the order in which they came.
2. `_hand_over` gives to exactly one task and returns its entry, or returns None and has emptied the line. Who was killed or timed out meanwhile is passed over.
3. A `_hand_over` that raises, since the next in line is of another thread, has changed nothing for it.
4. All who are in line at one time are of one thread. Who comes from another is refused.
5. A callback is called at most once for each `rawlink`, on the hub, and never after `unlink` returned.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from greenlet import getcurrent

from coopcore import Task
from coopcore.lowlevel import current_hub, hide_frames, refuse_copy, refuse_thread, running_task, unpark

hide_frames(__file__)


class Watch:
    """Somebody in line who takes nothing: a task that waits until it is free, or a callback."""

    __slots__ = ("callback", "task")

    def __init__(self, task: Task[Any] | None = None, callback: Callable[[Any], object] | None = None) -> None:
        self.task = task
        self.callback = callback


class Turn:
    """A task in `Condition.wait`, and what its park waits for: first a notification, then the lock."""

    __slots__ = ("condition", "count", "granted", "task", "wait_is_shielded")

    def __init__(self, task: Task[Any], condition: Any) -> None:
        self.task = task
        self.condition = condition
        self.count = 1  # how often it had acquired the lock, and must have it again
        self.wait_is_shielded = False  # True from when it is notified, or has given up: it stands in the lock's line, or has the lock
        self.granted = False

    def describe_wait(self) -> str:
        return f"{self.condition._lock!r} to return from a wait" if self.wait_is_shielded else f"a notification of {self.condition!r}"

    def wait_owners(self) -> Iterable[Task[Any]]:
        ask = getattr(self.condition._lock, "wait_owners", None)
        return ask() if ask is not None and self.wait_is_shielded else ()


class Line:
    """What has a line. Subclasses define `ready`, and call `_enter` and `_hand_over`."""

    __slots__ = ("__weakref__", "_due", "_line", "_thread")

    def __init__(self) -> None:
        self._line: deque[Any] | None = None  # made when first needed: most locks are never waited for
        self._thread = 0  # of all who are in line
        self._due: deque[Callable[[Any], object]] | None = None

    __reduce_ex__ = refuse_copy

    def ready(self) -> bool:
        """True if an `acquire` would not have to wait."""
        raise NotImplementedError

    # -- the line -------------------------------------------------------------------------------------------------------

    def _enter(self, entry: Any) -> None:
        line = self._line
        if line is None:
            line = self._line = deque()
        if self._thread != get_ident():
            self._forget_the_dead()
            if line:
                refuse_thread(self, self._thread)
            self._thread = get_ident()
        line.append(entry)

    def _forget_the_dead(self) -> None:
        """In the child of a fork those of the parent's tasks are dead who stand in line, and of a thread that is not here."""
        line = self._line
        while line and (task := line[0] if isinstance(line[0], Task) else line[0].task) is not None and task.dead:
            line.popleft()

    def _leave(self, entry: object) -> None:
        line = self._line
        if line:
            if line[-1] is entry:
                line.pop()
            elif entry in line:  # we may have been passed over
                line.remove(entry)

    def _hand_over(self, free: int) -> Any:
        """Give one to the next in line who wants it, and return that entry: a task or a `Turn`. None, if nobody does. ``free`` is for those who watch."""
        line = self._line
        while line:
            # An entry leaves only after its wake: if that raises, for a task of another thread, nothing has changed.
            entry = line[0]
            kind = type(entry)
            if kind is Watch:
                self._tell(entry, free)
                woken = False
            elif kind is Turn:
                woken = self._grant(entry)
            else:
                woken = unpark(entry)
            line.popleft()
            if woken:
                return entry
        return None

    def _grant(self, turn: Turn) -> bool:
        if turn.task.dead:  # it was a task of the parent, and this is the child of a fork
            return False
        if self._thread != get_ident():
            refuse_thread(self, self._thread)
        turn.granted = True
        unpark(turn.task)
        return True

    # -- links ----------------------------------------------------------------------------------------------------------

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` on the hub, once, when it is free; in the hub's next turn if it is now. It must not wait."""
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the {type(self).__name__}; got {callback!r}")
        if self.ready():
            self._call_on_hub(callback)
        else:
            self._enter(Watch(callback=callback))

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Undo the first `rawlink` of this callback. Quiet if there is none, or it was called."""
        line = self._line or ()
        for entry in line:
            if type(entry) is Watch and entry.callback == callback:
                self._leave(entry)
                return
        if self._due and callback in self._due:
            self._due.remove(callback)

    def linkcount(self) -> int:
        """How many wait for it or are linked to it."""
        return len(self._line or ()) + len(self._due or ())

    def _tell(self, watch: Watch, free: int) -> None:
        if watch.task is not None:
            unpark(watch.task, free)
        else:
            assert watch.callback is not None
            if self._thread != get_ident():
                refuse_thread(self, self._thread)
            self._call_on_hub(watch.callback)

    def _call_on_hub(self, callback: Callable[[Any], object]) -> None:
        hub = current_hub()
        if self._due is None:
            self._due = deque()
        self._due.append(callback)
        hub.call_soon(self._call_next, hub)

    def _call_next(self, hub: Any) -> None:
        if self._due:  # else it was unlinked since
            hub.call_safely(self._due.popleft(), self)


def whoever() -> Any:
    """Who runs: the task, or, on the hub and in a thread without one, the greenlet. Makes no hub: a lock may be taken while a module is imported."""
    return running_task() or getcurrent()
