"""ThreadPool: jobs that block, done by threads, while the tasks that want their results are parked; and `offload`, for one call.

Theory
======
The threads are a `Crew`, which knows nothing of tasks. What a pool has to do with a hub is its *desk*: how many jobs are not done, how many more may be
given, and the tasks that wait for a place, or for the last job. A desk is touched on the hub's own thread only: a thread that has done a job leaves the
outcome in the inbox, and the hub gives it to the result, and the place of that job to the task that has waited longest for one.

There is one place more than there may be threads, so that a thread finds its next job when it has done one. A task that wants to give a job when all places
are taken parks.

A pool serves one hub at a time. It is free for another one when no job is left and nobody waits; when its hub was closed, or was left in the parent of a fork.

Invariants
==========
1. Places are conserved: free ones, jobs that are not done, and places on their way to a woken task add up to one more than `maxsize`, whatever was killed.
2. Places are given in the order in which they were asked for, and jobs begin in the order in which they were given.
3. Each job that a thread has begun gives its outcome to its result once, on the hub. While a job is not done its hub is in no deadlock.
4. Who is killed in `apply` or `offload` takes the job back, if no thread has begun it; else leaves it behind.
5. A job runs in a copy of the context of whoever gave it.
6. A failure that nobody received is reported, once: when its result is dropped. That of a job that was left behind is not: who wanted it has given up.
7. When the hub is closed, jobs that no thread has begun are dropped, and threads end; closing waits for none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from functools import wraps
from operator import index
from sys import _getframe
from types import CoroutineType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from coop_plugins.event import AsyncResult, Event
from coopcore import Task, current_task, spawn
from coopcore.errors import HubClosedError, WrongThreadError
from coopcore.lowlevel import Hub, ParkingLot, Promise, TaskRecord, check_seconds, current_hub, hide_frames, on_hub, promise

from ._crew import Crew

if TYPE_CHECKING:
    from coop_plugins.pool import IMap, IMapUnordered, Pool

T = TypeVar("T")

SHARED_SIZE = 10  # threads of a hub's shared pool, until its maxsize is set
SHARED_IDLE = 5.0  # seconds after which they end when there is nothing to do

hide_frames(__file__)


def _label(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or type(fn).__name__


# -- a job and its result -------------------------------------------------------------------------------------------------


class _View:
    """What is to be known of a job whose failure nobody received: a `protocols.TaskView`, as far as a `TaskRecord` asks."""

    ident = 0
    parent_ident = None
    waiting_on = ""

    def __init__(self, name: str, spawned_at: str) -> None:
        self.name = name
        self.spawned_at = spawned_at


class ThreadResult(AsyncResult[T]):
    """What a job returns or raises, once it has: `get` waits for that. May be linked, and waited for together with other things, as any `AsyncResult`."""

    __slots__ = ("_failure", "_hub", "_place", "_received", "name")

    def __init__(self, hub: Hub, name: str, frame: FrameType | None) -> None:
        super().__init__()
        self.name = name
        self._hub = hub
        self._place = None if frame is None else (frame.f_code, frame.f_lineno)
        self._failure: BaseException | None = None
        self._received = False

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """What the job returned; raises what it raised, with its traceback. Waits for it.

        Raises `Timeout` after ``timeout`` seconds, or at once with ``block=False``, if the job is not done.
        """
        try:
            return super().get(block, timeout)
        finally:
            self._received = self._received or self._failure is not None
            del self  # the traceback has this frame, and this the error: a cycle

    def successful(self) -> bool:
        """True if the job is done, and raised nothing."""
        self._received = True
        return super().successful()

    @property
    def exception(self) -> BaseException | None:
        """What the job raised; None if it did not, or is not done."""
        self._received = True
        return super().exception

    def describe_wait(self) -> str:
        """What a task that waits for it waits for, in a deadlock report."""
        return f"{self.name} in a thread"

    def _set_failure(self, error: BaseException, traceback: TracebackType | None) -> None:
        self._failure = error.with_traceback(traceback)
        self.set_exception(error, (type(error), error, traceback))

    def __del__(self) -> None:
        if self._failure is not None and not self._received:
            code, line = self._place or (None, 0)
            place = "(not known)" if code is None else f"{code.co_filename}:{line} in {code.co_qualname}"
            view = TaskRecord(cast("Task[Any]", _View(f"{self.name} in a thread", place)))
            self._hub.failure_lost(view, self._failure)


class _Job(Generic[T]):
    """One call. What a thread runs."""

    __slots__ = ("args", "context", "desk", "fn", "kwargs", "result")

    def __init__(self, desk: _Desk, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], result: ThreadResult[T]) -> None:
        self.desk = desk
        self.fn: Any = fn
        self.args = args
        self.kwargs = kwargs
        self.context: Context | None = copy_context()
        self.result = result

    def run(self) -> None:
        """In the thread."""
        if self.desk.closed:
            return
        value = error = traceback = None
        context, self.context = self.context, None
        assert context is not None
        try:
            value = context.run(self.fn, *self.args, **self.kwargs)
            if type(value) is CoroutineType:
                raise _refuse_coroutine(self.result.name, value)
        except BaseException as caught:
            error = caught
            traceback = error.__traceback__.tb_next if error.__traceback__ else None
            error.__traceback__ = None
        self.fn = context = None
        self.args = ()
        self.kwargs = {}
        try:
            self.desk.hub.call_soon_threadsafe(self.done, value, error, traceback)
        except HubClosedError:
            pass  # nobody is left to be told
        # The frames of the traceback lead back to this one, which must not lead to the error: that would be a cycle.
        del self, value, error, traceback

    def done(self, value: T, error: BaseException | None, traceback: TracebackType | None) -> None:
        """On the hub."""
        self.desk.give_place_back()
        if error is None:
            self.result.set(value)
        else:
            self.result._set_failure(error, traceback)

    def give_up(self, crew: Crew) -> None:
        """Nobody wants the outcome any more. On the hub's thread."""
        self.result._received = True
        if crew.withdraw(self):
            self.desk.give_place_back()


def _refuse_coroutine(name: str, coroutine: CoroutineType[Any, Any, Any]) -> TypeError:
    coroutine.close()
    return TypeError(f"{name} is an async function: to call it made a coroutine, which nobody in a thread can run. Write it as an ordinary def.")


# -- the desk -------------------------------------------------------------------------------------------------------------


class _Desk:
    """What one pool has to do with one hub."""

    __slots__ = ("closed", "entrants", "free", "hub", "joiners", "name", "promise", "unfinished")

    def __init__(self, hub: Hub, places: int, name: str) -> None:
        self.hub = hub
        self.name = name
        self.free = places  # negative while there are more jobs than the pool has places now
        self.unfinished = 0  # places that are taken, or on their way
        self.closed = False
        self.entrants = ParkingLot(f"a free place of {name}")
        self.joiners = ParkingLot(f"the end of all jobs of {name}")
        self.promise: Promise | None = None

    def is_in_use(self) -> bool:
        return not self.closed and not self.hub.forked and bool(self.unfinished or self.entrants)

    def take_place(self) -> None:
        """Parks until there is one."""
        if self.free <= 0:
            self.entrants.park()  # and is given the place by who was there before
            return
        self.free -= 1
        self.unfinished += 1
        if self.promise is None:
            self.promise = self.hub.promise(f"the jobs of {self.name}")

    def give_place_back(self) -> None:
        if self.free >= 0 and self.entrants.unpark():
            return
        self.free += 1
        self.unfinished -= 1
        if not self.unfinished:
            self.joiners.unpark_all()
            if self.promise is not None:
                self.promise.close()
                self.promise = None

    def add_places(self, count: int) -> None:
        """Or take them away, as soon as they are given back."""
        self.free += count
        while self.free > 0 and self.entrants:
            self.free -= 1
            self.unfinished += 1
            if not self.entrants.unpark():
                self.give_place_back()


_pools_of: WeakKeyDictionary[Hub, WeakSet[ThreadPool]] = WeakKeyDictionary()


def _attend(hub: Hub, pool: ThreadPool) -> None:
    """Tell ``pool`` when the hub is closed."""
    pools = _pools_of.get(hub)
    if pools is None:
        served: WeakSet[ThreadPool] = WeakSet()
        pools = _pools_of[hub] = served
        before = hub.on_closed

        def on_closed() -> None:
            for pool in list(served):
                pool._hub_was_closed(hub)
            if before is not None:
                before()

        hub.on_closed = on_closed
    pools.add(pool)


# -- the pool -------------------------------------------------------------------------------------------------------------


class ThreadPool:
    """At most ``maxsize`` threads that run functions which block, while the tasks that want the results are parked.

    A thread is started when there is a job and no other is idle; it ends when it was idle for ``idle_task_timeout`` seconds (-1, or None: never), when the pool
    is killed or dropped, or the hub is closed. Threads are daemons: they don't hold up the end of the program. ``len`` is the number of jobs that are not done.
    """

    def __init__(self, maxsize: int, *, idle_task_timeout: float | None = -1) -> None:
        self._maxsize = _checked_size(maxsize)
        idle = None if idle_task_timeout == -1 else check_seconds(idle_task_timeout, "idle_task_timeout")
        if idle is not None and idle < 0:
            raise ValueError(f"idle_task_timeout is a number of seconds, or -1 for never, and not {idle_task_timeout!r}")
        self._crew = Crew(self._maxsize, idle, type(self).__name__)
        self._ended = Event()
        self._crew.on_end = self._ended.set
        self._desk: _Desk | None = None

    # -- how many -------------------------------------------------------------------------------------------------------

    @property
    def maxsize(self) -> int:
        """How many threads there may be. May be set: jobs under way are not interrupted, and threads that are too many end when they have done theirs."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, maxsize: int) -> None:
        more = _checked_size(maxsize) - self._maxsize
        desk = self._desk
        if desk is not None and desk.is_in_use():
            desk = self._open_desk()
            desk.add_places(more)
        else:
            self._desk = None
        self._maxsize += more
        self._crew.resize(self._maxsize)

    @property
    def size(self) -> int:
        """How many threads there are. May be set, up to `maxsize`: starts idle ones, or ends as many as soon as there is no job for them. Never waits."""
        return len(self._crew)

    @size.setter
    def size(self, size: int) -> None:
        if not 0 <= _checked_size(size, "size") <= self._maxsize:
            raise ValueError(f"the size of {self!r} is its number of threads, between 0 and maxsize, and cannot be {size}")
        self._crew.have(size)

    def adjust(self) -> None:
        """Start or end threads as `maxsize` and the jobs demand. That also happens without it, at each change."""
        self._crew.resize(self._maxsize)

    def __len__(self) -> int:
        return self._desk.unfinished if self._desk is not None and self._desk.is_in_use() else 0

    def full(self) -> bool:
        """True if the next `spawn` would wait."""
        return self._desk is not None and self._desk.is_in_use() and self._desk.free <= 0

    # -- one job --------------------------------------------------------------------------------------------------------

    def spawn(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> ThreadResult[T]:
        """Have a thread call ``func(*args, **kwargs)``, in a copy of this context. Returns the result to come.

        Waits while `maxsize` + 1 jobs are not done. Only in one thread at a time: `WrongThreadError` while another one's jobs or tasks wait.
        """
        return self._give(func, args, kwargs, _getframe(1)).result

    def _give(self, func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType | None = None) -> _Job[T]:
        if not callable(func):
            raise TypeError(f"a thread needs a function to call, not {func!r}. Pass the function and its arguments apart: spawn(func, arg).")
        desk = self._open_desk()
        result: ThreadResult[T] = ThreadResult(desk.hub, _label(func), frame)
        desk.take_place()
        job = _Job(desk, func, args, kwargs, result)
        try:
            self._crew.bring(job)
        except BaseException:
            desk.give_place_back()
            raise
        return job

    def _open_desk(self) -> _Desk:
        hub = current_hub()
        desk = self._desk
        if desk is not None and desk.hub is hub:
            return desk
        if desk is not None and desk.is_in_use():
            raise WrongThreadError(
                f"{self!r} was used for {hub!r} while it has {desk.unfinished} jobs that are not done for {desk.hub!r}, and it serves one hub at a time. "
                f"Give each thread a pool of its own: offload() does so."
            )
        self._desk = desk = _Desk(hub, self._maxsize + 1, f"<{type(self).__name__} at {id(self):#x}>")
        _attend(hub, self)
        return desk

    def _call(self, func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """The outcome of a job; waits for it, and takes it back if the wait is interrupted."""
        current_task()  # raises on the hub, before the job is given
        job = self._give(func, args, kwargs)
        try:
            return job.result.get()
        except BaseException:
            if not job.result.ready():
                job.give_up(self._crew)
            raise
        finally:
            del job  # the traceback has this frame, and the job has the error: a cycle

    def apply(self, func: Callable[..., T], args: Iterable[Any] | None = None, kwds: dict[str, Any] | None = None) -> T:
        """``func(*args, **kwds)`` in a thread; waits for it, and returns or raises what it does.

        In a thread of this pool it runs right there: to wait for a second one while holding one could never end. A task that is killed meanwhile takes
        the job back, if no thread has begun it; else it leaves the job behind.
        """
        if self._crew.is_mine():
            return func(*(args or ()), **(kwds or {}))
        return self._call(func, tuple(args or ()), dict(kwds or {}))

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
        """A task that runs `apply_cb`. Never blocks."""
        return spawn(self.apply_cb, func, args, kwds, callback)

    # -- many jobs ------------------------------------------------------------------------------------------------------

    def _tasks(self, func: Callable[..., T]) -> tuple[Pool, Callable[..., T]]:
        """Tasks that each wait for one call in a thread: as many as there are places, so that they take no more items than that from an endless iterable."""
        from coop_plugins.pool import Pool

        @wraps(func, assigned=("__qualname__",), updated=())
        def call(*items: Any) -> T:
            return self.apply(func, items)

        return Pool(self._maxsize + 1), call

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any]) -> list[T]:
        """``[func(item) for item in iterable]``, each call in a thread. Waits for all.

        Raises the error of the first item, by place, that failed, as soon as all before it have ended. From then on no further item is begun.
        """
        tasks, call = self._tasks(func)
        return tasks.map(call, iterable)

    def map_cb(self, func: Callable[[Any], T], iterable: Iterable[Any], callback: Callable[[list[T]], object] | None = None) -> list[T]:
        """`map`, and then ``callback(results)``."""
        results = self.map(func, iterable)
        if callback is not None:
            callback(results)
        return results

    def map_async(self, func: Callable[[Any], T], iterable: Iterable[Any], callback: Callable[[list[T]], object] | None = None) -> Task[list[T]]:
        """A task that runs `map_cb`. Never blocks. To kill it begins no further items."""
        return spawn(self.map_cb, func, iterable, callback)

    def imap(self, func: Callable[..., T], *iterables: Iterable[Any], maxsize: int | None = None) -> IMap[T]:
        """An iterator over ``func(*items)`` for the zipped iterables, in their order; each call is in a thread.

        Never blocks; its ``next`` does. ``maxsize`` bounds how many calls may run ahead of the reader. A call that failed raises at its place, and the
        iteration can go on.
        """
        tasks, call = self._tasks(func)
        return tasks.imap(call, *iterables, maxsize=maxsize)

    def imap_unordered(self, func: Callable[..., T], *iterables: Iterable[Any], maxsize: int | None = None) -> IMapUnordered[T]:
        """As `imap`, but the results come in the order in which the calls end."""
        tasks, call = self._tasks(func)
        return tasks.imap_unordered(call, *iterables, maxsize=maxsize)

    # -- the end --------------------------------------------------------------------------------------------------------

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every job is done. Returns True, or False after ``timeout`` seconds."""
        if self._desk is None or not self._desk.is_in_use():
            return True
        return bool(self._open_desk().joiners.park(timeout))

    def kill(self, block: bool = True, timeout: float | None = None) -> None:
        """End the threads, as soon as the jobs that were given are done: a thread cannot be interrupted. Waits for that, at most ``timeout`` seconds.

        With ``block=False``, and on the hub, it never waits. The pool may be used afterwards, and starts threads anew.
        """
        self._crew.retire()
        if not block or on_hub() or self._crew.is_mine():
            return
        self._ended.clear()
        if len(self._crew):
            with promise(f"the end of the threads of {self!r}"):
                self._ended.wait(timeout)

    def _hub_was_closed(self, hub: Hub) -> None:
        desk = self._desk
        if desk is not None and desk.hub is hub:
            desk.closed = True
            self._desk = None
            self._crew.drop()

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None:
            crew.retire()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} tasks={len(self)} size={self.size} maxsize={self._maxsize}>"


def _checked_size(given: Any, what: str = "maxsize") -> int:
    try:
        size = index(given)
    except TypeError:
        raise TypeError(f"{what} is a number of threads, not {given!r} of type {type(given).__name__}") from None
    if size < 0:
        raise ValueError(f"{what} is a number of threads, and cannot be {given}")
    return size


# -- the pool that the tasks of a hub share -------------------------------------------------------------------------------

_shared: WeakKeyDictionary[Hub, ThreadPool] = WeakKeyDictionary()


def shared_pool() -> ThreadPool:
    """The pool of this hub that `offload` uses: at most 10 threads, which end after 5 idle seconds. Set its ``maxsize`` for more. Never blocks."""
    hub = current_hub()
    pool = _shared.get(hub)
    if pool is None:
        pool = _shared[hub] = ThreadPool(SHARED_SIZE, idle_task_timeout=SHARED_IDLE)
    return pool


def offload(fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call ``fn(*args, **kwargs)``, which blocks, in a thread of `shared_pool`; park meanwhile. Returns or raises what it does, with its traceback.

    It runs in a copy of the caller's context. A kill or a `Timeout` ends the wait only: nothing can interrupt a thread, so the call goes on, and its outcome
    is dropped; a call that no thread has begun yet is never made. Waits in line, first come first served, if all threads are taken.
    """
    return shared_pool()._call(fn, args, kwargs)
