"""Barrier: so many tasks wait until all of them have come.

Theory
======
Those who meet are a `_Generation`: it fills, then perhaps its last party runs the action, and it ends: passed, or broken. Its state is all that its
parties look at when they go on, and it never changes again once it has ended; the barrier has a new one by then. So whoever is slow to leave cannot be
mixed up with those who come for the next meeting, and nobody has to wait for the others to leave.

    FILLING --the last comes--> ACTING --the action returns--> PASSED
        |                         |
        +---- timeout, kill, abort, reset, the action raises ----> BROKEN

Invariants
==========
1. Parties of one generation pass together: all of them when the last has come, each with another index from 0 up, or none of them.
2. No party passes with those of another generation.
3. A wait that is timed out or killed while its generation fills breaks the barrier for all others.
4. A generation that has passed has passed for each party: a timeout that comes before a party runs is void, and a kill breaks nothing.
5. The action runs once for each generation, before anybody goes on; who comes meanwhile waits for its end. If it raises, the barrier is broken.
6. A broken barrier refuses everybody, until `reset`; which sends away those who wait, with `BrokenBarrierError`.
7. What raises since it concerns waiters of another thread has changed nothing.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable
from operator import index
from threading import BrokenBarrierError
from typing import Any

from coopcore import Task, Timeout
from coopcore.lowlevel import check_seconds, current_task, hide_frames, park_task, refuse_copy, refuse_thread, unpark

hide_frames(__file__)

FILLING, ACTING, PASSED, BROKEN = range(4)


class _Generation:
    """Those who meet once."""

    __slots__ = ("arrived", "state", "tasks", "thread")

    def __init__(self, thread: int = 0) -> None:
        self.state = FILLING
        self.arrived = 0
        self.tasks: list[Task[Any]] = []
        self.thread = thread  # of all who have come

    def end(self, state: int) -> None:
        """Let everybody go on. Only from their thread."""
        self.state = state
        for task in self.tasks:
            unpark(task)  # who was killed or timed out meanwhile finds the state as well
        self.tasks.clear()


class Barrier:
    """A meeting point for ``parties`` tasks: each waits until all have come. Then it is ready for the next meeting.

    Arguments and errors are those of ``threading.Barrier``. ``action`` is called by the last to come, before anybody goes on. ``timeout``, in seconds, is for
    each `wait` that has none of its own.
    """

    __slots__ = ("__weakref__", "_action", "_actor", "_broken", "_door", "_generation", "_parties", "_timeout")
    __module__ = "coop_plugins.lock"

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        try:
            parties = index(parties)
        except TypeError:
            raise TypeError(f"the number of parties is an int, not {parties!r} of type {type(parties).__name__}") from None
        if parties < 1:
            raise ValueError(f"parties must be > 0, not {parties}: it is how many wait for each other")
        self._parties = parties
        self._action = action
        self._timeout = timeout
        self._broken = False
        self._actor: Task[Any] | None = None  # who runs the action now
        self._door: deque[Task[Any]] = deque()  # who came while the action ran
        self._generation = _Generation()

    __reduce_ex__ = refuse_copy

    # -- meeting --------------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties have come. Returns in which place this one came, from 0.

        Raises `BrokenBarrierError` if the barrier is broken, or is broken or reset meanwhile; or after ``timeout`` seconds, which breaks it. An action
        that raises breaks it as well; its error comes out of the last party's call.
        """
        if timeout is None:
            timeout = self._timeout
        if timeout is not None and not isinstance(timeout, Timeout):
            check_seconds(timeout, "the timeout of a barrier")
        task = current_task()
        while self._actor is not None:
            self._wait_at_the_door(task, timeout)
        if self._broken:
            raise BrokenBarrierError(f"{self!r} was broken before: by a timeout, a kill, an action that raised, or abort(). reset() makes it new")
        generation = self._generation
        place = generation.arrived
        if not place:
            generation.thread = get_ident()
        elif generation.thread != get_ident():
            refuse_thread(self, generation.thread)
        generation.arrived = place + 1
        if generation.arrived < self._parties:
            self._wait_for_the_others(generation, task, timeout)
        else:
            self._pass(generation, task)
        return place

    def _wait_for_the_others(self, generation: _Generation, task: Task[Any], timeout: float | None) -> None:
        generation.tasks.append(task)
        try:
            woken = park_task(task, self, timeout)
            while not woken and generation.state == ACTING:  # all have come: the time is over too late
                woken = park_task(task, self)
        except BaseException:
            self._leave(generation, task)
            raise
        if generation.state == FILLING:
            self._leave(generation, task)
            raise BrokenBarrierError(f"the others did not come to {self!r} within {timeout} seconds; with that it is broken for all, until reset()")
        if generation.state == BROKEN:
            raise BrokenBarrierError(
                f"{self!r} was broken or reset meanwhile: another party was timed out or killed, the action raised, or abort() or reset() was called"
            )

    def _leave(self, generation: _Generation, task: Task[Any]) -> None:
        if generation.state in (FILLING, ACTING):
            generation.tasks.remove(task)
        if generation.state == FILLING:
            self._break()

    def _pass(self, generation: _Generation, task: Task[Any]) -> None:
        """The last has come."""
        if self._action is None:
            self._end(generation)
            return
        self._actor = task
        try:
            self._act(generation, self._action)
            self._end(generation)
        finally:
            self._actor = None
            while self._door:
                unpark(self._door.popleft())

    def _act(self, generation: _Generation, action: Callable[[], object]) -> None:
        generation.state = ACTING
        try:
            action()
        except BaseException:
            if generation.state == ACTING:
                self._break()
            raise
        if generation.state == BROKEN:
            raise BrokenBarrierError(f"{self!r} was broken or reset while its action ran")

    def _end(self, generation: _Generation) -> None:
        self._generation = _Generation(generation.thread)
        generation.end(PASSED)

    def _wait_at_the_door(self, task: Task[Any], timeout: float | None) -> None:
        if self._generation.thread != get_ident():
            refuse_thread(self, self._generation.thread)
        self._door.append(task)
        woken = False
        try:
            woken = park_task(task, self, timeout)
        finally:
            if not woken and task in self._door:
                self._door.remove(task)
        if not woken and self._actor is not None:
            self._break()
            raise BrokenBarrierError(f"the action of {self!r} did not end within {timeout} seconds; with that it is broken for all, until reset()")

    # -- breaking -------------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Break it: those who wait, and all who come, get `BrokenBarrierError`, until `reset`. Never blocks."""
        self._check_thread()
        self._break()

    def reset(self) -> None:
        """Make it new. Those who wait get `BrokenBarrierError`. Never blocks."""
        self._check_thread()
        self._break()
        self._broken = False

    def _break(self) -> None:
        generation, self._generation = self._generation, _Generation(self._generation.thread)
        self._broken = True
        generation.end(BROKEN)

    def _check_thread(self) -> None:
        generation = self._generation
        if (generation.tasks or self._actor) and generation.thread != get_ident():
            refuse_thread(self, generation.thread)

    # -- what is known of it --------------------------------------------------------------------------------------------

    @property
    def parties(self) -> int:
        """How many must come."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many have come and wait."""
        return self._generation.arrived

    @property
    def broken(self) -> bool:
        """True if it is broken: `wait` raises `BrokenBarrierError`."""
        return self._broken

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        if self._actor is not None:
            return f"the end of the action of {self!r}"
        return f"{self._parties - self.n_waiting} more at {self!r}"

    def wait_owners(self) -> tuple[Task[Any], ...]:
        """The task that runs the action, for deadlock reports."""
        return () if self._actor is None else (self._actor,)

    def __repr__(self) -> str:
        state = "broken" if self._broken else f"waiters={self.n_waiting}/{self._parties}"
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {state}>"
