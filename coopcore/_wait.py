"""Waiting for several things, and the module-level verbs: sleep, kill, joinall, wait.

A thing can be waited for if it has ``rawlink`` and ``unlink`` (`protocols.Waitable`).

Invariants
==========
1. Results come in the order in which the things became ready.
2. Whatever ends the wait - enough results, a timeout, a kill - every link made is undone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import index
from types import TracebackType
from typing import Any, Generic, TypeVar

from greenlet import getcurrent

from . import _collection
from ._state import NANOSECONDS, SLEEP, UNCOUNTED_SLEEP, current_task, park_task, raise_pending, throw_in, unpark, yield_interrupted
from ._task import Ending, Task, as_exception
from ._timeout import LONG, Timeout, check_seconds
from .errors import Deadlock, JoinSelfError, TaskExit
from .protocols import Waitable

T = TypeVar("T")
W = TypeVar("W", bound=Waitable)


def spawn_later(seconds: float, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Task[T]:
    """A task that begins after ``seconds``. Never blocks."""
    task = Task(fn, *args, **kwargs)
    task.start_later(_span(seconds))
    return task


def sleep(seconds: float = 0, ref: bool = True) -> None:
    """Let others run for at least ``seconds``; with 0, once around. ``ref=False`` doesn't hold off `Deadlock`, nor `wait` without objects.

    Raises ValueError for a negative span, as ``time.sleep`` does.
    """
    if seconds == 0:
        # yield_now(), written out: the call would be a fifth of what a yield costs, and sleep(0) is how everybody spells it.
        try:
            task = getcurrent().task
        except AttributeError:
            task = current_task()
        hub = task._hub
        append = hub._append_yielded
        append(task)
        hub._budget = budget = hub._budget - 1
        try:
            popleft = hub._popleft
            (popleft().switch if budget > 0 else hub._choose_for(task).switch)()
        except BaseException as error:
            if type(error) is RecursionError and not hub._closed and not _collection.collecting:  # as in park_task
                hub._pass_due = True
                hub._inbox.calls.append((hub._rescue, (None, None)))
                hub._switch()
                raise
            yield_interrupted(task, error)
        if task._pending is not None:
            raise_pending(task)
        return
    _span(seconds)
    me = current_task()
    if ref or not seconds < LONG:  # for so long no timer is set, and what is not set cannot be left out of the count
        park_task(me, SLEEP if ref else UNCOUNTED_SLEEP, seconds)
        return
    hub = me._hub
    hub._uncounted += 1
    try:
        park_task(me, UNCOUNTED_SLEEP, seconds)
    finally:
        hub._uncounted -= 1


def idle(priority: int = 0) -> None:
    """Wait until nothing else is ready or due. ``priority`` is accepted and ignored."""
    current_task()._hub.idle()


def _span(seconds: Any) -> float:
    if (span := check_seconds(seconds, "the time to sleep")) is not None and span < 0:
        raise ValueError(f"cannot wait for {seconds!r} seconds: a span of time is not negative. Did a deadline pass before this call? Use max(0, ...).")
    return seconds  # type: ignore[no-any-return]  # checked to be a number


def kill(task: Task[Any], exception: Any = TaskExit) -> None:
    """Throw into a task without waiting for its end. See `Task.kill`."""
    _check_task(task, "kill").kill(exception, block=False)


def killall(tasks: Iterable[Task[Any]], exception: Any = TaskExit, block: bool = True, timeout: float | None = None) -> None:
    """Kill several tasks at once, then wait for the end of all. Raises `Timeout` if they have not ended after ``timeout`` seconds.

    Tasks that were not started never run. A task that is in ``tasks`` itself is thrown into last.
    """
    victims = [_check_task(task, "killall") for task in _as_list(tasks, "killall")]
    me = current_task() if block else None
    for task in victims:
        if task is not me and not task.dead:
            throw_in(task, as_exception(exception))
    if me is not None and me in victims:
        raise as_exception(exception)
    if block:
        with Timeout.start_new(timeout):
            for task in victims:
                if not task.dead:
                    task._await_end(None)


def joinall(tasks: Iterable[Task[T]], timeout: float | None = None, raise_error: bool = False, count: int | None = None) -> list[Task[T]]:
    """Wait for the end of all tasks, or of ``count``, or for ``timeout`` seconds. Returns those that have ended, in that order.

    With ``raise_error`` the first error is raised as soon as it happens. Without it, an error that nobody looks at is still reported
    when the failed task is dropped.
    """
    listed = _as_list(tasks, "joinall")
    if not set(map(type, listed)) <= {Task}:  # one by one only where it must be: there may be very many
        for task in listed:
            _check_task(task, "joinall")
    waiting = set(listed)
    if len(waiting) < len(listed):
        listed = list(dict.fromkeys(listed))
    ending: Ending = Ending(listed, len(listed) if count is None else min(_check_count(count), len(listed)), raise_error)
    if ending.left:
        ending.wait(_check_not_self(waiting, "joinall"), timeout)
    if raise_error:
        try:
            for task in ending.ended:
                task.get()
        except BaseException:
            del tasks, listed, waiting, ending, task  # the traceback has this frame, and they have the traceback: a cycle
            raise
    return ending.ended


def _check_not_self(things: Collection[Any], verb: str) -> Task[Any]:
    me = current_task()
    if me in things:
        raise JoinSelfError(
            f"{me!r} is among what it gave to {verb}(), and would have waited for its own end for ever. "
            f"Leave it out: [t for t in tasks if t is not current_task()]."
        )
    return me


def _check_count(given: Any) -> int:
    try:
        count: int = index(given)
    except TypeError:
        raise TypeError(f"count is the number of things to wait for, not {given!r} of type {type(given).__name__}") from None
    if count < 0:
        raise ValueError(f"count is the number of things to wait for, and cannot be {count}")
    return count


def wait(objects: Iterable[W] | None = None, timeout: float | None = None, count: int | None = None) -> Any:
    """Wait until all objects are ready, or ``count`` of them, or for ``timeout`` seconds. Returns the ready ones, in that order.

    Without objects: wait until every other task of this hub has ended, but for those in a ``sleep(ref=False)``; returns True, or False after ``timeout``.
    """
    if objects is None:
        return _wait_for_all_others(timeout)
    with iwait(_as_list(objects, "wait"), timeout=timeout, count=count) as ready:
        return list(ready)


def _wait_for_all_others(timeout: Any) -> bool:
    me = current_task()
    # One that runs already is that of a block around this call, and is raised as itself.
    timer = None if isinstance(timeout, Timeout) and timeout.pending else Timeout.start_new(timeout)
    try:
        while others := _counted_others(me):
            try:
                joinall(others)
            except Deadlock:
                if _counted_others(me):
                    raise
    except Timeout as fired:
        if fired is not timer or isinstance(timer.exception, str):
            raise
        return not _counted_others(me)
    finally:
        if timer is not None:
            timer.close()
    return True


def _counted_others(me: Task[Any]) -> list[Task[Any]]:
    return [task for task in me._hub.tasks() if task is not me and task._reason is not UNCOUNTED_SLEEP]


def _check_task(task: Any, verb: str) -> Task[Any]:
    if not isinstance(task, Task):
        others = "; to wait for events and the like use wait()" if verb == "joinall" else ""
        raise TypeError(f"{verb}() takes tasks, which spawn() returns, not {task!r} of type {type(task).__name__}{others}.")
    return task


def _as_list(objects: Iterable[T], verb: str) -> list[T]:
    try:
        return list(objects)
    except TypeError:
        raise TypeError(f"{verb}() takes a list, not {objects!r} of type {type(objects).__name__}. For a single one, use {verb}([thing]).") from None


class iwait(Generic[W]):  # noqa: N801 - a function to its users, who also enter it with ``with``
    """Iterate over objects as they become ready: at most ``count``, for at most ``timeout`` seconds in all.

    Blocks in each step. Also a context manager, which undoes its links at the end of the block.
    """

    def __init__(self, objects: Sequence[W], timeout: float | None = None, count: int | None = None) -> None:
        if not hasattr(objects, "__len__"):
            raise TypeError(f"iwait() takes a list or tuple of things to wait for, not {objects!r}")
        for thing in objects:
            if not isinstance(thing, Task) and not isinstance(thing, Waitable):
                raise TypeError(f"{thing!r} cannot be waited for: it has no rawlink() and unlink(). Tasks, events and semaphores have.")
        # The same thing twice is linked once, or unlinking one would leave the other.
        self._things = {id(thing): thing for thing in objects}
        self._waiting = dict(self._things)
        self._left = len(self._waiting) if count is None else min(_check_count(count), len(self._waiting))
        self._ready: deque[W] = deque()
        self._given = timeout if isinstance(timeout, Timeout) else None
        seconds = timeout if self._given is None else self._given.seconds
        self._timeout = None if seconds is None else check_seconds(seconds, "the timeout")
        self._deadline: int | None = None
        self._task: Task[Any] | None = None
        self._linked = False

    def __iter__(self) -> Iterator[W]:
        return self

    def __next__(self) -> W:
        if self._left <= 0:
            self._unlink()
            raise StopIteration
        try:
            if not self._linked:
                self._link()
            while not self._ready:
                self._task = me = current_task()
                try:
                    woken = park_task(me, self, self._time_left(me))
                finally:
                    self._task = None
                if woken is False:
                    raise self._too_late()
        except BaseException:
            self._unlink()
            raise
        self._left -= 1
        thing = self._ready.popleft()
        if not self._left:
            self._unlink()
        return thing

    def _link(self) -> None:
        me = _check_not_self(self._waiting.values(), "wait")
        self._linked = True
        if self._timeout is not None and (self._given is None or not self._given.pending):
            self._deadline = me._hub._now() + int(min(max(self._timeout, 0), LONG) * NANOSECONDS)
        for thing in list(self._waiting.values()):
            thing.rawlink(self._became_ready)

    def _time_left(self, me: Task[Any]) -> Any:
        """Seconds; or the Timeout that was given, if it runs already: it ends the wait by itself."""
        return self._given if self._deadline is None else max(self._deadline - me._hub._now(), 0) / NANOSECONDS

    def _too_late(self) -> BaseException:
        """The time is over: the end, or what a Timeout was given to raise. A copy of that: the caller's own stays fit for the next wait."""
        given = self._given
        if given is None or given.exception is None or given.exception is False:
            return StopIteration()
        return Timeout(given.seconds, given.exception)._to_raise()

    def _unlink(self) -> None:
        self._left = 0
        if self._linked:
            for thing in self._things.values():
                thing.unlink(self._became_ready)
        self._things.clear()
        self._waiting.clear()

    def _became_ready(self, thing: W) -> None:
        if self._waiting.pop(id(thing), None) is not None:
            self._ready.append(thing)
            if self._task is not None:
                unpark(self._task)

    def __enter__(self) -> iwait[W]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._unlink()

    def describe_wait(self) -> str:
        things = list(self._waiting.values())
        shown = ", ".join(repr(thing) if not isinstance(thing, Task) else thing.name for thing in things[:5])
        return f"{self._left} of {len(things)}: {shown}{' ...' if len(things) > 5 else ''}"

    def wait_owners(self) -> list[Task[Any]]:
        return [thing for thing in self._waiting.values() if isinstance(thing, Task)]
