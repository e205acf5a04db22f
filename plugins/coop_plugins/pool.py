"""Group and Pool: tasks that are joined and killed together, and at most so many at once; map, imap and apply over them.

Theory
======
A group is a dict of members and a number of free *slots*; a `Group` has infinitely many of them, a `Pool` ``size``. A task enters with a slot and
leaves when its links are delivered, which is after everything that was ready when it ended. Its slot then goes straight to the task that has waited
longest for one; only if nobody waits does it become free. So there is never a free slot beside a waiting task, and nobody jumps the queue.

``map`` and ``imap`` are `_Calls` and a task that feeds them. The feeder takes an item, waits for room (``maxsize``), waits for a slot, and starts the
item's own task. When that has left the group its outcome goes to the reader that waits longest, or is kept until one comes; ``map`` has a single
reader, who is woken once. The feeder itself is not a member and needs no slot.

Whoever ends wakes those who wait in the same breath, which is possible in one thread only. So a group in use belongs to a thread, and refuses others when
they enter or begin to wait: later, on the hub of a member that leaves, there would be nobody to tell. One that is not in use goes to the next who asks.

Invariants
==========
1. Slots are conserved: free ones, members, and slots on their way to a woken task add up to ``size``, whatever was killed or timed out.
2. Members never exceed ``size``, and a task is a member from its entry until its links are delivered.
3. Slots are given in the order in which they were asked for.
4. Each item of an ``imap`` gives its outcome once, to one reader; the reads end after the last of them.
5. Started items whose outcome was not read yet never exceed ``maxsize``; a feeder reads at most one item further than it may start.
6. A failure counts as received when it is raised to somebody, not before: that of an unread item is reported as that of any lost task.
7. A group throws into a member once, however often it is killed, so that clean-up which waits is not cut short; anew, if the member was discarded and added.
8. While a group has members, waiters, or slots on their way, all of them are of one thread. A call from another one that concerns them raises
   `WrongThreadError` before it has changed anything; so does one that would wait for a result of an ``imap`` of another thread.
"""

from __future__ import annotations

import queue
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from operator import index
from typing import Any, Generic, TypeVar, overload

from coopcore import Task, TaskExit, Timeout, current_task, joinall, killall, spawn
from coopcore.errors import JoinSelfError, WrongThreadError
from coopcore.lowlevel import ParkingLot, current_hub, hide_frames, on_hub, refuse_copy, refuse_thread, spawn_linked, yield_now

T = TypeVar("T")

__all__ = ["Group", "IMap", "IMapUnordered", "Pool", "PoolFull"]

hide_frames(__file__)

_END = object()


class PoolFull(queue.Full):
    """A task could not enter a `Pool` without waiting, or within its timeout."""


class _FirstFailure:
    """What one `Group.join` with ``raise_error`` has to raise."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: Task[Any] | None = None


class _OtherName:
    """``greenlet_class``: gevent's name of ``task_class``, on the class and on its instances."""

    def __get__(self, group: Group | None, owner: type[Group]) -> type[Task[Any]]:
        return (owner if group is None else group).task_class

    def __set__(self, group: Group, task_class: type[Task[Any]]) -> None:
        group.task_class = task_class


class Group:
    """Tasks that are joined and killed together. It holds each until it has ended and its links have run.

    ``len``, ``in`` and iteration are over the members; an empty group is false. ``task_class`` (also ``greenlet_class``) is what
    `spawn` and the rest make tasks of.
    """

    task_class: type[Task[Any]] = Task
    greenlet_class = _OtherName()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "greenlet_class" in cls.__dict__:
            cls.task_class = cls.__dict__["greenlet_class"]
            del cls.greenlet_class

    def __init__(self, iterable: Iterable[Task[Any]] | None = None) -> None:
        self._open(inf)
        for task in () if iterable is None else iterable:
            self.add(task)

    def _open(self, slots: float) -> None:
        self._members: dict[Task[Any], None] = {}
        self._free = self._slots = slots
        self._thread = 0  # of all members and waiters
        label = f"{type(self).__name__}()" if slots == inf else f"{type(self).__name__}({slots})"
        self._entrants = ParkingLot(f"a free slot of {label}", self._members.keys)
        self._observers = ParkingLot(f"a slot of {label} to become free", self._members.keys)
        self._observed = False
        self._joiners = ParkingLot(f"the end of all tasks of {label}", self._members.keys)
        self._raisers: set[_FirstFailure] = set()
        self._dying: set[int] = set()  # idents of members that were killed by way of this group, and perhaps of some that have left

    __reduce_ex__ = refuse_copy

    # -- members --------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, task: object) -> bool:
        return task in self._members

    def __iter__(self) -> Iterator[Task[Any]]:
        """Over the members of this moment, oldest first."""
        return iter(tuple(self._members))

    def add(self, task: Task[Any]) -> None:
        """Make a task a member, started or not. Does nothing if it is one."""
        if self._may_enter(task):
            self._take_slot()
            self._enter(task)

    def discard(self, task: Task[Any]) -> None:
        """Let a member go; it runs on. Does nothing if it is not one."""
        if task in self._members:
            self._check_thread()
            task.unlink(self._leave)
            self._leave(task)
            self._dying.discard(task.ident)

    def start(self, task: Task[Any]) -> None:
        """`add` a task, and start it."""
        self.add(task)
        task.start()

    @overload
    def spawn(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Task[T]: ...
    @overload
    def spawn(self, *args: Any, **kwargs: Any) -> Task[Any]: ...
    def spawn(self, *args: Any, **kwargs: Any) -> Task[Any]:
        """Start ``fn(*args, **kwargs)`` in a task that is a member. A `Pool` waits for a free slot first.

        All arguments go to ``task_class``, so that one with a ``_run`` of its own needs no function.
        """
        task = self.task_class(*args, **kwargs)
        self.start(task)
        return task

    def full(self) -> bool:
        """True if the next `spawn` would wait. Never, for a group."""
        return self._free <= 0

    def wait_available(self, timeout: float | None = None) -> int:
        """Wait until a member more would not have to wait; see `Pool.wait_available`. A group always has room: returns 1."""
        if self._free > 0:
            return self._count_free()
        self._check_thread()
        self._observed = True
        return int(self._observers.park(timeout))

    def _count_free(self) -> int:
        return 1 if self._free == inf else int(self._free)

    def _may_enter(self, task: Task[Any]) -> bool:
        if not isinstance(task, Task):
            raise TypeError(f"a {type(self).__name__} holds tasks, not {task!r} of type {type(task).__name__}. To run a function in it, use spawn(fn, *args).")
        if task.hub is not current_hub():
            raise WrongThreadError(
                f"{task!r} belongs to {task.hub!r}, and this thread's hub is another one. A group is used in one thread; make the task in that thread, "
                f"for example with hub.call_soon_threadsafe(group.spawn, fn)."
            )
        if task in self._members:
            return False
        self._check_thread()
        return True

    def _check_thread(self) -> None:
        """Raise if this thread is not that of the members and waiters; if there are none, it is from now on."""
        if self._thread != get_ident():
            if self._is_in_use():
                refuse_thread(self, self._thread)
            self._thread = get_ident()

    def _is_in_use(self) -> bool:
        # Counted by slots as well: one that was handed over belongs to a task that is not a member yet.
        if not self._members and self._free == self._slots and not self._entrants and not self._observers:
            return False
        # In the child of a fork those of the parent are still counted, but they are no more.
        tasks = [*self._members, *self._entrants, *self._observers]
        return not tasks or any(not task.hub.forked for task in tasks)

    def _take_slot(self, timeout: float | None = None) -> bool:
        if self._free > 0:
            self._free -= 1
            return True
        return bool(self._entrants.park(timeout))

    def _return_slot(self) -> None:
        if not self._entrants.unpark():
            self._free += 1
            if self._observed:
                self._observed = False
                self._observers.unpark_all(self._count_free())

    def _enter(self, task: Task[Any]) -> None:
        """A task that has a slot becomes a member, unless somebody else brought it in while the slot was waited for."""
        if task in self._members:
            self._return_slot()
            return
        try:
            task.rawlink(self._leave)
        except BaseException:
            self._return_slot()
            raise
        self._members[task] = None

    def _leave(self, task: Task[Any]) -> None:
        """A member goes: it has ended, or was discarded. Runs on the hub, mostly."""
        members = self._members
        if task not in members:
            return
        del members[task]
        if self._raisers and task.failed:
            for raiser in self._raisers:
                if raiser.task is None:
                    raiser.task = task
        self._return_slot()
        if not members:
            self._joiners.unpark_all()

    # -- waiting and killing --------------------------------------------------------------------------------------------

    def join(self, timeout: float | None = None, raise_error: bool = False) -> bool:
        """Wait until the group is empty, also of tasks that come meanwhile. Returns True, or False after ``timeout`` seconds.

        With ``raise_error``, raises the error of the member that failed first during the wait. Without it nobody receives the errors, and each is
        reported. Raises `JoinSelfError` in a member.
        """
        if not self._members:
            return True
        self._check_thread()
        if current_task() in self._members:
            raise JoinSelfError(
                f"{current_task()!r} tried to join {self!r}, of which it is a member, and would have waited for its own end. Join the group from "
                f"outside, or discard() the task from it first."
            )
        raiser = _FirstFailure()
        if raise_error:
            self._raisers.add(raiser)
        try:
            empty = bool(self._joiners.park(timeout))
        finally:
            self._raisers.discard(raiser)
        if raiser.task is not None:
            raiser.task.get()
        return empty

    def kill(self, exception: type[BaseException] | BaseException | tuple[Any, ...] = TaskExit, block: bool = True, timeout: float | None = None) -> None:
        """Kill every member, and wait until the group is empty; members that come meanwhile are killed too. Each is killed once, however often this is called.

        With ``block=False``, or after ``timeout`` seconds, returns without waiting further; on the hub it never waits. A member that
        kills its group is killed last: this raises ``exception`` in it.
        """
        if self._members:
            self._check_thread()
        if not block or on_hub():
            killall(self._to_be_killed(), exception, block=False)
            return
        me = current_task()
        timer = Timeout.start_new(timeout)
        try:
            while True:
                others = [task for task in self if task is not me]
                killall(self._to_be_killed(), exception)
                if not others:
                    return
                joinall(others)
                for task in others:
                    self.discard(task)
                # Those who were handed the slots come in now.
                yield_now()
        except Timeout as fired:
            if fired is not timer:
                raise
        finally:
            timer.close()

    def _to_be_killed(self) -> list[Task[Any]]:
        """The members that were not killed by way of this group. They are now, or at once."""
        dying, self._dying = self._dying, {task.ident for task in self._members}
        return [task for task in self._members if task.ident not in dying]

    def killone(
        self,
        task: Task[Any],
        exception: type[BaseException] | BaseException | tuple[Any, ...] = TaskExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Kill one member, as `Task.kill` does; or wait for its end, if it was killed by way of this group before. Does nothing if it is not one."""
        if task not in self._members:
            return
        self._check_thread()
        if task.ident not in self._dying:
            self._dying.add(task.ident)
            task.kill(exception, block, timeout)
        elif block and not on_hub() and task is not current_task():
            joinall([task], timeout)

    # -- one call -------------------------------------------------------------------------------------------------------

    def apply(self, func: Callable[..., T], args: Iterable[Any] | None = None, kwds: dict[str, Any] | None = None) -> T:
        """``func(*args, **kwds)`` in a task of the group; waits for it, and returns or raises what it does.

        Called by a member it runs right here: waiting for a second slot while holding one could never end.
        """
        given, named = _checked_arguments(func, args, kwds)
        if current_task() in self._members:
            return func(*given, **named)
        task: Task[T] = self.spawn(func, *given, **named)
        return task.get()

    def apply_cb(
        self,
        func: Callable[..., T],
        args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
    ) -> T:
        """`apply`, and then ``callback(result)`` in a task of its own."""
        result = self.apply(func, args, kwds)
        if callback is not None:
            spawn(callback, result)
        return result

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
    ) -> Task[T]:
        """The task that runs ``func(*args, **kwds)``. Never blocks: if there is no free slot the task waits in line for one, unstarted.

        ``callback(result)`` runs in a task of its own, if ``func`` doesn't fail.
        """
        given, named = _checked_arguments(func, args, kwds)
        task: Task[T] = self.task_class(func, *given, **named)
        if callback is not None:
            task.link_value(lambda ended: callback(ended.value))  # type: ignore[arg-type]  # the value is there: link_value
        if self.full():
            self._check_thread()
            entrant = spawn(self.start, task)
            # A task that is killed unstarted gives up its place in the line.
            task.rawlink(lambda _: entrant.kill(block=False))
        else:
            self.start(task)
        return task

    # -- many calls -----------------------------------------------------------------------------------------------------

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any]) -> list[T]:
        """``[func(item) for item in iterable]``, each call in a task of its own. Waits for all.

        Raises the error of the first item, by place, that failed, as soon as all before it have ended. From then on no further item is started;
        those that run go on as members.
        """
        return _Collection(self, func, (iterable,), None).collect()

    def map_cb(self, func: Callable[[Any], T], iterable: Iterable[Any], callback: Callable[[list[T]], object] | None = None) -> list[T]:
        """`map`, and then ``callback(results)``."""
        results = self.map(func, iterable)
        if callback is not None:
            callback(results)
        return results

    def map_async(self, func: Callable[[Any], T], iterable: Iterable[Any], callback: Callable[[list[T]], object] | None = None) -> Task[list[T]]:
        """A task, not a member, that runs `map_cb`. Never blocks. To kill it starts no further items."""
        return spawn(self.map_cb, func, iterable, callback)

    def imap(self, func: Callable[..., T], *iterables: Iterable[Any], maxsize: int | None = None) -> IMap[T]:
        """An iterator over ``func(*items)`` for the zipped iterables, in their order; each call is in a task of its own.

        Never blocks; its ``next`` does. ``maxsize`` bounds how many calls may run ahead of the reader: give it when the
        iterables are endless or results are large. A call that failed raises at its place, and the iteration can go on.
        """
        return _started(IMap(self, func, iterables, maxsize))

    def imap_unordered(self, func: Callable[..., T], *iterables: Iterable[Any], maxsize: int | None = None) -> IMapUnordered[T]:
        """As `imap`, but the results come in the order in which the calls end."""
        return _started(IMapUnordered(self, func, iterables, maxsize))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} task{'' if len(self) == 1 else 's'}>"


class Pool(Group):
    """A `Group` of at most ``size`` tasks: whoever wants to add one more waits, first come, first served.

    ``size=None`` means no limit. A pool of size 0 never runs anything.
    """

    def __init__(self, size: int | None = None, greenlet_class: type[Task[Any]] | None = None) -> None:
        self._size = _checked_size(size, "the size of a pool")
        self._open(inf if self._size is None else self._size)
        if greenlet_class is not None:
            self.task_class = _checked_class(greenlet_class)

    @property
    def size(self) -> int | None:
        """How many tasks fit; None if there is no limit."""
        return self._size

    def free_count(self) -> int:
        """How many more tasks would fit now; 1 if there is no limit."""
        return self._count_free()

    def wait_available(self, timeout: float | None = None) -> int:
        """Wait until a slot is free, without taking it. Returns how many were free then, or 0 after ``timeout`` seconds.

        A hint: another task may take the slot before this one runs. Those who wait in `spawn` or `add` are served first.
        """
        return super().wait_available(timeout)

    def add(self, task: Task[Any], blocking: bool = True, timeout: float | None = None) -> None:
        """Make a task a member, started or not; wait for a free slot first. Does nothing if it is one.

        Raises `PoolFull` if there is none and ``blocking`` is false, or after ``timeout`` seconds.
        """
        if not self._may_enter(task):
            return
        if (self.full() and not blocking) or not self._take_slot(timeout):
            raise PoolFull(
                f"{task!r} did not fit into {self!r}{f' within {timeout} s' if blocking else ''}: every slot was taken. Wait longer, "
                f"look at full() first, make the pool larger, or find out which of its tasks don't end: list(pool)."
            )
        self._enter(task)

    def start(self, task: Task[Any], blocking: bool = True, timeout: float | None = None) -> None:
        """`add` a task, and start it. Raises `PoolFull` as `add` does; the task is then not started."""
        self.add(task, blocking, timeout)
        task.start()

    def __repr__(self) -> str:
        return super().__repr__() if self._size is None else f"<{type(self).__name__} of {len(self)} tasks, size {self._size}>"


def _checked_size(size: Any, what: str) -> int | None:
    if size is None:
        return None
    try:
        size = index(size)
    except TypeError:
        raise TypeError(f"{what} is a whole number, or None for no limit, not {size!r} of type {type(size).__name__}") from None
    if size < 0:
        raise ValueError(f"{what} cannot be negative, and {size} is. None means no limit.")
    return int(size)


def _checked_class(given: Any) -> type[Task[Any]]:
    if not (isinstance(given, type) and issubclass(given, Task)):
        raise TypeError(f"greenlet_class is Task or a subclass of it, not {given!r}")
    return given


def _checked_arguments(func: Any, args: Any, kwds: Any) -> tuple[Iterable[Any], Mapping[str, Any]]:
    if args is not None and not (hasattr(args, "__iter__") or hasattr(args, "__getitem__")):
        raise TypeError(f"args is a tuple, and {args!r} is of type {type(args).__name__}: apply({_name(func)}, ({args!r},))")
    if kwds is not None and not hasattr(kwds, "keys"):
        raise TypeError(f"kwds is a dict of arguments by name, and {kwds!r} is of type {type(kwds).__name__}: apply({_name(func)}, args, {{'name': value}})")
    return () if args is None else args, {} if kwds is None else kwds


def _checked_iterator(func: Any, iterable: Any) -> Iterator[Any]:
    try:
        return iter(iterable)
    except TypeError as error:
        raise TypeError(
            f"the items for map and imap are an iterable, and {iterable!r} is of type {type(iterable).__name__} ({error}): "
            f"map({_name(func)}, [{iterable!r}]), or apply({_name(func)}, ({iterable!r},))"
        ) from None


def _name(func: Any) -> str:
    return getattr(func, "__qualname__", None) or type(func).__name__


# -- map and imap ---------------------------------------------------------------------------------------------------------


class _Failed:
    """The outcome of a task that failed; tells it from a value that is an exception, or a task."""

    __slots__ = ("task",)

    def __init__(self, task: Task[Any]) -> None:
        self.task = task


class _Calls:
    """Calls of one function on many items, each in a task of the group. Where the outcomes go is up to subclasses.

    `feed` and `item_ended` run for every item, so `feed` says in one function what `Group.spawn` says in five.
    """

    def __init__(self, group: Group, func: Callable[..., Any], iterables: tuple[Iterable[Any], ...], maxsize: int | None) -> None:
        if not callable(func):
            raise TypeError(f"the first argument is the function to call on each item, not {func!r} of type {type(func).__name__}")
        if not iterables:
            raise TypeError(f"imap({func!r}) needs at least one iterable of items after the function")
        group._check_thread()
        self.group = group
        self.func = func
        self.thread = get_ident()
        self.spread = len(iterables) > 1
        each = [_checked_iterator(func, iterable) for iterable in iterables]
        self.items = zip(*each, strict=False) if self.spread else each[0]
        self.name = f"imap of {_name(func)}"
        self.started = 0
        # What may still give an outcome, with its place: the items that run, and the feeder, whose iterable may break.
        self.running: dict[Task[Any], int] = {}
        self.readers = ParkingLot(f"the next result of {self.name}", self.running.keys)
        # How many more may be started before the next read.
        self.room: float = maxsize or inf
        self.space = ParkingLot(f"somebody to read a result of {self.name}")

    def feed(self) -> None:
        """Start the items, as fast as slots and readers allow. What the feeder runs."""
        group, func, running = self.group, self.func, self.running
        members = group._members
        make, spread, item_ended = group.task_class, self.spread, self.item_ended
        plain, thread = make is Task, self.thread
        for item in self.items:
            args = item if spread else (item,)
            # A class of the user's own makes its task before the wait for a slot, as Group.spawn does.
            task = None if plain else make(func, *args)
            if self.room > 0:
                self.room -= 1
            else:
                self.space.park()
            if group._thread != thread:
                group._check_thread()
            if group._free > 0:
                group._free -= 1
            else:
                group._entrants.park()
            # One link that also lets the task leave the group is faster than two.
            try:
                if task is None:
                    task = spawn_linked(func, args, item_ended)
                else:
                    task.start()
                    task.rawlink(item_ended)
            except BaseException:
                group._return_slot()
                raise
            members[task] = None
            running[task] = self.started
            self.started += 1

    def fed_by(self, feeder: Task[Any]) -> None:
        """This task, not started yet, is going to run `feed`."""
        feeder.name = self.name
        self.running[feeder] = -1
        feeder.rawlink(self.feeder_ended)

    def feeder_ended(self, feeder: Task[Any]) -> None:
        del self.running[feeder]
        if feeder.failed:
            self.arrive(self.started, _Failed(feeder))
        if not self.running:
            self.end()

    def item_ended(self, task: Task[Any]) -> None:
        running = self.running
        place = running.pop(task)
        self.group._leave(task)
        self.arrive(place, _Failed(task) if task.failed else task.value)
        if not running:
            self.end()

    def arrive(self, place: int, outcome: Any) -> None:
        """An outcome is there. Runs on the hub."""
        raise NotImplementedError

    def end(self) -> None:
        """There will be no more outcomes. Runs on the hub."""
        raise NotImplementedError


class _Stream(_Calls):
    """Outcomes go to readers one by one, in the order in which they arrive."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.outcomes: deque[Any] = deque()
        self.bounded = self.room != inf

    def arrive(self, place: int, outcome: Any) -> None:
        # While outcomes are kept nobody waits for one.
        if self.outcomes or not self.readers.unpark((outcome,)):
            self.outcomes.append(outcome)

    def end(self) -> None:
        self.readers.unpark_all((_END,))

    def check_thread(self) -> None:
        if self.thread != get_ident():
            refuse_thread(self.group, self.thread)

    def read(self) -> Any:
        if self.bounded:
            self.check_thread()  # it may have to wake the feeder
        if self.outcomes:
            outcome = self.outcomes.popleft()
        elif self.running:
            self.check_thread()
            (outcome,) = self.readers.park()
        else:
            outcome = _END
        if outcome is _END:
            raise StopIteration
        if self.bounded and not self.space.unpark():
            self.room += 1
        return outcome.task.get() if type(outcome) is _Failed else outcome


class _OrderedStream(_Stream):
    """Outcomes go to readers one by one, in the order of the items."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.due = 0
        self.early: dict[int, Any] = {}

    def arrive(self, place: int, outcome: Any) -> None:
        early = self.early
        early[place] = outcome
        while self.due in early:
            super().arrive(self.due, early.pop(self.due))
            self.due += 1


class _Collection(_Calls):
    """Outcomes are kept for one reader, who is woken by the end, or by a failure as soon as all before it have arrived."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.outcomes: dict[int, Any] = {}
        self.failing = False
        self.due = 0

    def arrive(self, place: int, outcome: Any) -> None:
        self.outcomes[place] = outcome
        if self.failing or type(outcome) is _Failed:
            self.failing = True
            self.look_for_failure()

    def look_for_failure(self) -> None:
        while self.due in self.outcomes:
            if type(self.outcomes[self.due]) is _Failed:
                self.readers.unpark()
                return
            self.due += 1

    def end(self) -> None:
        self.readers.unpark()

    def collect(self) -> list[Any]:
        feeder: Task[None] = Task(self.feed)
        self.fed_by(feeder)
        feeder.start()
        try:
            self.readers.park()
        finally:
            feeder.kill(block=False)
        if self.failing:
            self.outcomes[self.due].task.get()
        return [self.outcomes[place] for place in range(self.started)]


class IMapUnordered(Task[None], Generic[T]):
    """An iterator over results in the order in which their tasks end, and the task that starts those. See `Group.imap_unordered`.

    As a task it ends when the last item was started; its error is that of the iterable. To kill it starts no further items: reads end after
    those that run.
    """

    __slots__ = ("_stream",)

    _stream_class: type[_Stream] = _Stream

    def __init__(self, group: Group, func: Callable[..., T], iterables: tuple[Iterable[Any], ...], maxsize: int | None = None) -> None:
        self._stream = stream = self._stream_class(group, func, iterables, _checked_size(maxsize, "maxsize"))
        super().__init__(stream.feed)
        stream.fed_by(self)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next result; waits for it. Raises the error of its call, or StopIteration after the last."""
        return self._stream.read()  # type: ignore[no-any-return]  # what func returned

    next = __next__


class IMap(IMapUnordered[T]):
    """An iterator over results in the order of their items, and the task that starts those. See `Group.imap`."""

    __slots__ = ()

    _stream_class = _OrderedStream


M = TypeVar("M", bound=IMapUnordered[Any])


def _started(stream: M) -> M:
    stream.start()
    return stream
