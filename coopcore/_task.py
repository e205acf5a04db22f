"""Task: a unit of work, and the worker greenlets that run tasks.

Theory
======
A task *has* a greenlet while it runs; it is not one. Making and destroying a greenlet costs more than everything else in a short
task's life, since its first frame maps a fresh chunk of stack, so a finished task leaves its greenlet (a `Worker`) to the next. A
worker that finishes a task looks at the head of ``ready``: an unstarted task there it runs in place, without any switch; otherwise it
goes to the idle pool and switches on. The current task is ``getcurrent().task``, so a switch records nothing.

Only the hub's greenlet makes the first switch into a new worker. A greenlet inherits the recursion depth of the one that first switched to
it; tasks that start tasks would otherwise use up the recursion limit, though no stack is deep.

The entry of a task in ``ready`` is the task itself, and its ``switch`` slot is what makes it go on: the bound ``switch`` of its greenlet, or while
it is unstarted ``Hub._begin_next``, which all of them share: a bound method of each one's own would be another object for the collector to walk, and a
hundred thousand tasks at once cost mostly that. Since ``ready`` is a FIFO, the one whose turn it is is the first of ``Hub._unstarted``. A scheduler
that chooses for itself gets `Task._begin` instead. ``switch`` is always called bare.

Invariants
==========
1. A task's function is called at most once, and never after `Task.kill` returned for an unstarted task.
2. A task ends exactly once; its value or error never changes after.
3. Links are delivered in the order in which they were made, each once, after everything that was in ``ready`` when the task ended. One that
   raises is reported, and the next one runs.
4. An idle worker holds no task, no value and no exception. Idle workers beyond a fixed number are ended when demand stayed below theirs for a second.
5. A worker thrown out of its idleness leaves the pool; it never takes a task with it.
6. ``Hub._unstarted`` holds the unstarted tasks of ``ready`` in their order there; between them may be some that were killed and are passed over.
7. A failed task whose error nobody received is reported exactly once: when its last reference goes, or when its hub is closed.

This is one file of more than 500 lines of code because a task's beginning, end, links and worker are one life, and each step relies on the one before.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import count
from sys import _getframe
from time import monotonic_ns
from types import CodeType, CoroutineType, FrameType, FunctionType, MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from greenlet import GreenletExit, getcurrent, greenlet

from ._raised import by_handler
from ._state import (
    DONE,
    NANOSECONDS,
    NEW,
    SCHEDULED,
    STARTED,
    Thrown,
    current_task,
    describe_reason,
    on_hub,
    park_task,
    raise_wrong_thread,
    refuse_copy,
    running_task,
    shielded,
    throw_in,
    unpark,
)
from ._timeout import Timeout, check_seconds
from .errors import JoinSelfError, TaskExit

if TYPE_CHECKING:
    from ._hub import Hub

T = TypeVar("T")

_next_ident = count(1).__next__
_PHASE_NAMES = ("new", "ready", "running", "done")

# Files whose frames are plumbing: "spawned at" and "stands at" skip them. Each module of ours, and any plugin, adds itself.
HIDDEN_FILES: set[str] = {__file__}


def hide_frames(filename: str) -> None:
    """Leave frames of this file (pass ``__file__``) out of "spawned at" and of where a task stands in reports."""
    HIDDEN_FILES.add(filename)


# Where a task was made: the code, the instruction in it, and the ident of the task that ran it. In one object, which tasks made at one place share: each slot
# of a task costs its part of every collection.
_Origin = tuple[CodeType | None, int, int | None]

_last_origin: _Origin = (None, 0, None)  # who spawns once mostly spawns again


def _origin_of(frame: FrameType | None, parent: Task[Any]) -> _Origin:
    """The innermost frame that is not plumbing; where there is none, as in a task of plumbing's own, the place of that task."""
    global _last_origin
    while frame is not None and frame.f_code.co_filename in HIDDEN_FILES:
        frame = frame.f_back
    code, instruction = parent._origin[:2] if frame is None else (frame.f_code, frame.f_lasti)
    last = _last_origin
    if last[0] is not code or last[1] != instruction or last[2] is not parent.ident:
        _last_origin = last = code, instruction, parent.ident
    return last


def _place(code: CodeType, instruction: int) -> str:
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
            break
    return f"{code.co_filename}:{line} in {code.co_qualname}"


def label_of(fn: object) -> str:
    """What a function is called, whatever kind of callable it is. A bound method is called after the class of its object, and not that which defines it."""
    try:
        return _label_of_method(fn) if type(fn) is MethodType else fn.__qualname__  # type: ignore[attr-defined]  # most have it
    except Exception as error:  # a proxy may raise anything
        if by_handler(error):
            raise
        return type(fn).__name__


def _label_of_method(method: MethodType) -> str:
    owner = method.__self__
    cls: type = owner if isinstance(owner, type) else type(owner)
    name = method.__name__
    if name[0] == "_":
        # Under what name do users know it? Event.wait is one that several classes share.
        function = method.__func__
        attributes = (item for base in cls.__mro__ for item in vars(base).items())
        name = next((public for public, value in attributes if value is function and public[0] != "_"), name)
    return f"{cls.__qualname__}.{name}"


class Failure:
    """The error of a task, and whether anybody has received it. Reports itself when it goes unreceived."""

    __slots__ = ("__weakref__", "_hub", "by_joiner", "error", "received", "traceback", "view")

    def __init__(self, task: Task[Any], error: BaseException) -> None:
        self.view = TaskRecord(task)
        self.error = error
        self.traceback = error.__traceback__
        self.by_joiner = False  # received only because somebody joins the task
        self._hub = task._hub
        self.received = False

    def __del__(self) -> None:
        if hasattr(self, "received"):  # else a signal handler has raised while it was made
            self.report()

    def report(self) -> None:
        """Tell the hub, unless the error was received. Once. From any thread: a collection can happen anywhere."""
        if not self.received:
            self.received = True
            self._hub.failure_lost(self.view, self.error)


class TaskRecord:
    """What is known of a task that has ended and may no longer exist. A `protocols.TaskView`."""

    __slots__ = ("ident", "name", "parent_ident", "spawned_at", "state", "waiting_on")

    def __init__(self, task: Task[Any]) -> None:
        self.ident = task.ident
        self.name = task.name
        self.state = "done"
        self.parent_ident = task.parent_ident
        self.spawned_at = task.spawned_at
        self.waiting_on = task.waiting_on

    def __repr__(self) -> str:
        return f"<TaskRecord {self.name!r} {self.state}>"


class _Link:
    """A `Task.link`: runs its callback in a task of its own. Equal to the callback it was made from, for `unlink`."""

    __slots__ = ("callback", "context", "on_error", "on_value")

    def __init__(self, callback: Callable[[Any], object], on_value: bool, on_error: bool) -> None:
        self.callback = callback
        self.context = copy_context()
        self.on_value = on_value
        self.on_error = on_error

    def __call__(self, task: Task[Any]) -> None:
        failed = task.failed
        if self.on_error if failed else self.on_value:
            if failed:
                task._received()
            follower = Task(self.callback, task)
            follower._context = self.context
            follower._start_on(task._hub)


class Ending:
    """Collects tasks as they end, and wakes one waiter once, when nothing is left to wait for. What `joinall` links to its tasks.

    A class of its own, and not any callback, so that a task whose only link it is can tell it at its end, without a turn of the hub.
    """

    __slots__ = ("_count", "_raise_error", "ended", "left", "tasks", "waiter")

    def __init__(self, tasks: list[Task[Any]], count: int, raise_error: bool) -> None:
        self.tasks = tasks
        self.left = self._count = count
        self.ended: list[Task[Any]] = []
        self.waiter: Task[Any] | None = None
        self._raise_error = raise_error

    def wait(self, me: Task[Any], timeout: float | None) -> list[Task[Any]]:
        """Wait until nothing is left to wait for, or for ``timeout`` seconds. Returns the tasks that have ended, in that order."""
        hub = me._hub
        try:
            for task in self.tasks:
                if task._links is None and task._phase != DONE and task._hub is hub:
                    task._links = self
                elif task._phase == DONE and task._hub is not hub:
                    self.tell(task)  # its hub may be closed, or have stayed in the parent process, and delivers no links
                else:
                    task._link_raw(self)
            if self.left > 0:
                self.waiter = me
                park_task(me, self, timeout)
        finally:
            self.left = 0
            if len(self.ended) < len(self.tasks):
                for task in self.tasks:
                    task._drop_link(self)
        return self.ended

    def tell(self, task: Task[Any]) -> None:
        """A task has ended."""
        if self.left > 0:
            self.ended.append(task)
            self.left = left = self.left - 1
            if left == 0 or (self._raise_error and task._extras.failure is not None):
                self.left = 0
                waiter = self.waiter
                if waiter is not None and waiter._reason is self:
                    waiter._reason = None  # unpark(waiter), of which it is known that it is of this hub
                    waiter._outcome = True
                    append = waiter._hub._append
                    append(waiter)

    def tell_again(self, task: Task[Any]) -> None:
        """`tell`, after which a signal handler has perhaps raised, or in the middle of which: there is one such place, after the ended one was added."""
        if self.left > 0:
            if len(self.ended) + self.left > self._count:
                self.ended.pop()
            self.tell(task)

    names_owners = True  # in describe_wait

    def describe_wait(self) -> str:
        waiting = self.wait_owners()
        shown = ", ".join(task.name for task in waiting[:5])
        return f"the end of {self.left} of {len(waiting)} tasks: {shown}{' ...' if len(waiting) > 5 else ''}"

    def wait_owners(self) -> list[Task[Any]]:
        return [task for task in self.tasks if not task.dead]


class _Extras:
    """What few tasks have. Those that have none of it share one, `_NO_EXTRAS`: with many tasks, each slot of a task costs its part of every collection."""

    __slots__ = ("failure", "name", "scope", "shield")

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.name: str | None = None
        self.scope: Any = None  # see `set_scope`
        self.shield: shielded | None = None


_NO_EXTRAS = _Extras()


class _WithKeywords(tuple[Any, ...]):
    """The arguments of a task that has keyword arguments, which few have."""

    keywords: dict[str, Any]

    def __bool__(self) -> bool:
        return True


class _Due(list[Any]):
    """Links that are being delivered, the latest first."""


class _Hot:
    """What every switch touches, side by side at the start of a task: with a thousand tasks a switch is mostly cache misses."""

    __slots__ = ("_hub", "_outcome", "_pending", "_phase", "_reason", "_since", "switch")

    _hub: Hub
    _outcome: Any  # what its park returns; before its start, the timer of start_later; after its end, what its function returned
    _pending: list[Thrown] | None
    _phase: int
    _reason: object
    _since: int  # the hub's last pass before its last park
    switch: Callable[[], object]


class Task(_Hot, Generic[T]):
    """A function that runs concurrently with others in its thread. Make one with `spawn`, or as ``Task(fn, *args)`` and `start`.

    Subclasses may override ``_run(*args, **kwargs)``; ``Task()`` of such a class needs no function. As a context manager a task is joined at
    the end of the block, and killed if the block raised.
    """

    __slots__ = (
        "__weakref__",
        "_args",
        "_context",
        "_extras",
        "_fn",
        "_greenlet",
        "_links",
        "_origin",
        "ident",
    )

    ident: int
    """A number that is never used again in this process."""

    def __init__(self, fn: Callable[..., T] | None = None, /, *args: Any, **kwargs: Any) -> None:
        self._set_up(self._run if fn is None else fn, args, kwargs, _getframe(1))

    def _set_up(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any] | None, frame: FrameType | None) -> None:
        """What a constructor does; apart from it, so that `spawn_linked` can skip the protocol of calling a class. `spawn` has it written out.

        ``frame`` is where it is made; None: where the running task was.
        """
        if not callable(fn):
            _refuse_to_call(fn)
        stack = getcurrent()
        try:
            parent = stack.task
            self._hub = parent._hub
        except AttributeError:
            parent = current_or_hub_task()
            self._hub = parent._hub
        self.ident = _next_ident()
        self._fn: Callable[..., T] | str | None = fn  # what it is called, after its end
        self._args: tuple[Any, ...] = args
        if kwargs:
            self._args = _WithKeywords(args)
            self._args.keywords = kwargs
        # Where no context variable was ever set there is no context to copy; the interpreter makes one when it is needed.
        self._context: Context | None = None if stack.gr_context is None else copy_context()
        self._phase = NEW
        self._reason = None
        self._outcome = None
        self._pending = None
        self._links: Any = None
        self._extras = _NO_EXTRAS
        self._greenlet: greenlet | None = None
        self._origin: _Origin = _origin_of(frame, parent)

    @classmethod
    def _for_greenlet(cls, stack: greenlet, hub: Hub, name: str) -> Task[Any]:
        """A task for a greenlet that exists and runs now: the main one of a thread, or another library's."""
        task = cls.__new__(cls)
        task._hub = hub
        task.ident = _next_ident()
        task._fn = task._context = task._reason = task._outcome = task._pending = task._links = None
        task._args = ()
        task._extras = _NO_EXTRAS
        task._origin = (None, 0, None)
        task._phase = STARTED
        task.name = name
        task._greenlet = stack
        task.switch = stack.switch
        return task

    def _run(self, *args: Any, **kwargs: Any) -> T:
        raise TypeError(f"{type(self).__name__}() needs a function to call, or a _run method in a subclass")

    __reduce_ex__ = refuse_copy

    # -- starting -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make it runnable: it begins after what is ready now. Does nothing if it was started, or killed, before."""
        self._start_on(self._hub)

    def _start_on(self, hub: Hub) -> None:
        if self._phase == NEW:
            if hub._thread != get_ident():
                raise_wrong_thread(hub, "starting a task")
            if hub._closed:
                hub._raise_closed("start a task")
            if self._outcome is not None:
                self._disarm_start()
            self._phase = SCHEDULED
            hub._tasks[self.ident] = self
            if hub._tracers:
                hub._trace("task_spawned", self)
            if self._phase != SCHEDULED:
                return  # a tracer has killed it
            self.switch = self._begin
            hub._append(self)

    def start_later(self, seconds: float) -> None:
        """Make it runnable after ``seconds``. A kill before that means that it never runs."""
        if self._hub._thread != get_ident():
            raise_wrong_thread(self._hub, "starting a task")
        if (span := check_seconds(seconds, "the delay")) is not None and span < 0:
            raise ValueError(f"cannot start a task after {seconds!r} seconds: a span of time is not negative. Use max(0, ...).")
        if self._phase == NEW and self._outcome is None:
            self._outcome = self._hub._arm(self, seconds)
            self._hub._tasks[self.ident] = self

    def _disarm_start(self) -> None:
        """Forget a `start_later`."""
        if self._phase == NEW and self._outcome is not None:
            self._hub._disarm(self._outcome)
            self._outcome = None

    def _own_extras(self) -> _Extras:
        """Its extras, to be written to."""
        if self._extras is _NO_EXTRAS:
            self._extras = _Extras()
        return self._extras

    def _fire(self) -> None:
        """A timer that was set for this task is due: a timed park, or `start_later`."""
        if self._reason is not None:
            self._reason = None
            self._outcome = False
            append = self._hub._append
            append(self)
        elif self._phase == NEW:
            self._outcome = None
            self._start_on(self._hub)

    def _begin(self) -> None:
        """The ``switch`` of an unstarted task that a scheduler has chosen."""
        hub = self._hub
        hub._unstarted.appendleft(self)
        del self
        hub._begin_next()

    # -- ending ---------------------------------------------------------------------------------------------------------

    def _let_go_of_function(self) -> None:
        """Drop its function, arguments and context, while it is still a task that can wait: a finaliser of theirs may."""
        self._fn = label_of(self._fn)
        self._context = None
        self._args = ()

    def _finish(self, value: Any, failure: Failure | None) -> None:
        hub = self._hub
        if failure is not None:
            self._own_extras().failure = failure
        self._phase = DONE
        self._outcome = value
        self._greenlet = self._pending = None
        self.switch = hub._switch
        del hub._tasks[self.ident]
        links = self._links
        if links is not None:
            # One joiner alone is told here and now; everybody else in a turn of the hub, in order.
            kind = type(links)
            if kind is Task and links._reason is self:
                self._received()
                self._links = None
                links._reason = None  # unpark(links), of which it is known that it is parked, and of this hub
                links._outcome = True
                append = hub._append
                append(links)
            elif kind is Ending:
                links.tell(self)
                self._links = None
            else:
                if failure is not None and not failure.received and self._joined():
                    failure.received = failure.by_joiner = True
                hub._deliver_soon(self)
        if hub._tracers:
            if failure is None:
                hub._trace("task_exited", self)
            else:
                hub._trace("task_failed", self, failure.error)

    def _count_as_killed(self, why: str) -> None:
        """It never goes on, though it has not ended: whoever asks finds it killed, and whoever would wake it passes it over."""
        self._phase = DONE
        self._reason = self._pending = self._links = None
        self._outcome = TaskExit(f"task {self.name!r} {why}")

    def _never_start(self, error: BaseException) -> None:
        """End it unstarted. If it has an entry in ready, that becomes a turn of the hub."""
        self._disarm_start()
        self._hub._tasks.setdefault(self.ident, self)
        if isinstance(error, GreenletExit):
            self._finish(error, None)
        else:
            self._fail(error)
        self._let_go_of_function()  # last: a finaliser that waits, on the stack of whoever ends it, must find it ended

    def _fail(self, error: BaseException) -> None:
        hub = self._hub
        if hub._forked:
            hub.fail_in_child(error)
        failure = Failure(self, error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            failure.received = True
            hub.interrupt_main(error)
        else:
            hub._failures.add(failure)
        self._finish(None, failure)

    def _deliver(self) -> None:
        """Tell everybody who is linked. Runs on the hub. After a signal handler has raised in the middle of it, it may be called again."""
        links = self._links
        if type(links) is _Due:
            due = links
        else:
            # Latest first, and still in its place: a link may unlink those that come after it.
            self._links = due = _Due(links[::-1] if type(links) is list else [] if links is None else [links])
        hub = self._hub
        while due:
            link = due[-1]
            del due[-1]  # not pop(), after which a handler could raise
            once = False
            try:
                if isinstance(link, Task):
                    if link._reason is self:
                        unpark(link)
                elif type(link) is Ending:
                    link.tell_again(self)
                else:
                    once = True
                    link(self)
            except BaseException as error:
                if hub._callback_failed(error, link, (self,), again=not once):
                    due.append(link)
            if hub._forked:
                hub._pass_entry.switch()
        self._links = None

    # -- waiting for it -------------------------------------------------------------------------------------------------

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended. Returns True, or False after ``timeout`` seconds. Does not raise its error.

        Whoever joins a task is taken to look after its error: it is not reported.
        """
        if self._phase != DONE:
            try:
                me = getcurrent().task
            except AttributeError:
                me = current_task()
            if me is self or me._hub is not self._hub:
                self._check_joinable_by(me)
            if self._links is None:
                self._links = me
            else:
                self._add_link(me)
            try:
                if not park_task(me, self, timeout):
                    self._give_up(me)
                    return False
            except BaseException:
                self._give_up(me)
                raise
        elif self._extras.failure is not None:
            self._received()
        return True

    def _check_joinable_by(self, me: Task[Any]) -> None:
        if me is self:
            raise JoinSelfError(
                f"{self!r} tried to join itself, and would have waited for ever. If it wants to end, return; "
                f"if it wants to wait for others, join those: [t for t in tasks if t is not current_task()]."
            )
        if me._hub is not self._hub:
            raise_wrong_thread(self._hub, "Task.join()")

    def _joined(self) -> bool:
        """Whether anybody joins it: they receive its error."""
        links = self._links
        return any(isinstance(link, Task) for link in (links if isinstance(links, list) else (links,)))

    def _give_up(self, me: Task[Any]) -> None:
        """The join of ``me`` has ended without its end: if nobody else joins it, its error is nobody's again."""
        self._drop_link(me)
        failure = self._extras.failure
        if failure is not None and failure.by_joiner and not self._joined():
            failure.received = failure.by_joiner = False

    def _await_end(self, timeout: float | None) -> bool:
        """Wait for its end, without taking charge of its error."""
        me = current_task()
        self._check_joinable_by(me)
        return len(Ending([self], 1, False).wait(me, timeout)) > 0

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The value that its function returned; raises the error with which it failed.

        Waits for its end. Raises `Timeout` after ``timeout`` seconds, or at once with ``block=False`` if it has not ended. For a task that
        was killed, returns the `TaskExit`.
        """
        if self._phase != DONE and not (block and self.join(timeout)):
            raise timeout if isinstance(timeout, Timeout) else Timeout(timeout if block else 0, f"{self!r} has not ended")
        failure = self._extras.failure
        if failure is not None:
            self._received()
            try:
                raise failure.error.with_traceback(failure.traceback)
            finally:
                del self, failure  # the traceback has this frame, and they have the traceback: a cycle
        return cast(T, self._outcome)

    def kill(self, exception: type[BaseException] | BaseException | tuple[Any, ...] = TaskExit, block: bool = True, timeout: float | None = None) -> None:
        """End it: throw ``exception`` (a class, an instance or an exc_info triple) at its wait, once, and wait for its end.

        A task that was never started never runs. With ``block=False``, or after ``timeout`` seconds, returns without waiting further; on the
        hub it never waits. A task that kills itself raises at once. Never raises the error of the killed task.
        """
        if self._phase == DONE:
            return
        error = as_exception(exception)
        if self._greenlet is getcurrent():
            raise error
        throw_in(self, error)
        if block and self._phase != DONE and not on_hub():
            self._await_end(timeout)

    def __enter__(self) -> Task[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self.join()
        finally:
            self.kill()

    # -- links ----------------------------------------------------------------------------------------------------------

    def rawlink(self, callback: Callable[[Task[T]], object]) -> None:
        """Call ``callback(task)`` on the hub when it has ended; in the hub's next turn if it has already. It must not wait."""
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the task; got {callback!r}")
        self._link_raw(callback)

    def _link_raw(self, link: Any) -> None:
        if self._hub._thread != get_ident():
            raise_wrong_thread(self._hub, f"waiting for, or linking to, task {self.name!r}")
        if self._phase == DONE and self._links is None:
            self._hub._deliver_soon(self)
        self._add_link(link)

    def link(self, callback: Callable[[Task[T]], object]) -> None:
        """Call ``callback(task)`` in a task of its own when this one has ended, however it ended."""
        self._link(callback, True, True)

    def link_value(self, callback: Callable[[Task[T]], object]) -> None:
        """As `link`, only if it ends with a value."""
        self._link(callback, True, False)

    def link_exception(self, callback: Callable[[Task[T]], object]) -> None:
        """As `link`, only if it fails."""
        self._link(callback, False, True)

    def _link(self, callback: Callable[[Task[T]], object], on_value: bool, on_error: bool) -> None:
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the task; got {callback!r}")
        self.rawlink(_Link(callback, on_value, on_error))

    def unlink(self, callback: Callable[[Task[T]], object]) -> None:
        """Undo the first `rawlink` or `link` of this callback. Quiet if there is none, or it was called."""
        links = self._links
        for link in links if isinstance(links, list) else (links,):
            if link == callback or (type(link) is _Link and link.callback == callback):
                self._drop_link(link)
                return

    def unlink_all(self) -> None:
        """Undo every link, but not the joins of other tasks."""
        links = self._links
        joiners = [link for link in (links if isinstance(links, list) else (links,)) if isinstance(link, Task | Ending)]
        self._links = joiners or None

    def has_links(self) -> bool:
        """True if anybody is linked or joins."""
        return bool(self._links)

    def _add_link(self, link: Any) -> None:
        links = self._links
        if links is None:
            self._links = link
        elif type(links) is _Due:
            links.insert(0, link)
        elif type(links) is list:
            links.append(link)
        else:
            self._links = [links, link]

    def _drop_link(self, link: Any) -> None:
        links = self._links
        if links is link:
            self._links = None
        elif isinstance(links, list) and link in links:
            links.remove(link)

    # -- what is known of it --------------------------------------------------------------------------------------------

    def _received(self) -> None:
        """Somebody has taken charge of the error, if there is one."""
        failure = self._extras.failure
        if failure is not None:
            failure.received = True
            failure.by_joiner = False

    @property
    def state(self) -> str:
        """``new``, ``ready``, ``parked``, ``running`` or ``done``."""
        phase = self._phase
        if phase == STARTED:
            if self._reason is not None:
                return "parked"
            return "running" if self._greenlet is getcurrent() else "ready"
        return _PHASE_NAMES[phase]

    def ready(self) -> bool:
        """True if it has ended."""
        return self._phase == DONE

    @property
    def dead(self) -> bool:
        """True if it has ended."""
        return self._phase == DONE

    def __bool__(self) -> bool:
        """True while it is started and has not ended."""
        return self._phase in (SCHEDULED, STARTED)

    started = property(__bool__, doc="True while it is started and has not ended.")

    def successful(self) -> bool:
        """True if it ended with a value, or was killed."""
        self._received()
        return self._phase == DONE and self._extras.failure is None

    @property
    def failed(self) -> bool:
        """True if it ended with an error. Unlike `successful` and `exception`, asking this doesn't count as receiving the error."""
        return self._extras.failure is not None

    @property
    def value(self) -> T | None:
        """What its function returned; None before that and after a failure."""
        return cast("T | None", self._outcome) if self._phase == DONE else None

    @property
    def exception(self) -> BaseException | None:
        """The error with which it failed, else None."""
        return self.exc_info[1]

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]:
        """The error as a triple, ``(None, None, None)`` if there is none."""
        failure = self._extras.failure
        if failure is None:
            return (None, None, None)
        self._received()
        return (type(failure.error), failure.error, failure.traceback)

    @property
    def name(self) -> str:
        """Its name in reports: the function's and its number, until it is set."""
        if (name := self._extras.name) is not None:
            return name
        label = self._fn if type(self._fn) is str else label_of(self._fn)
        return f"{label.rpartition('.<locals>.')[2]}-{self.ident}"

    @name.setter
    def name(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a task is a string, not {name!r}")
        self._own_extras().name = name

    @property
    def hub(self) -> Hub:
        """The hub that runs it."""
        return self._hub

    @property
    def parent_ident(self) -> int | None:
        """The `ident` of the task that made this one."""
        return self._origin[2]

    @property
    def parent(self) -> Task[Any] | None:
        """The task that made this one, while that one lives."""
        return self._hub.find_task(self.parent_ident)

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of its function, until it ends."""
        return tuple(self._args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of its function, until it ends."""
        return self._args.keywords if isinstance(self._args, _WithKeywords) else {}

    @property
    def spawned_at(self) -> str:
        """Where it was made: ``file:line in function``, the first frame that is not plumbing."""
        code, instruction, _ = self._origin
        return "(not spawned)" if code is None else _place(code, instruction)

    @property
    def waiting_on(self) -> str:
        """What it waits for, in words; empty if it doesn't wait."""
        reason = self._reason
        return "" if reason is None else describe_reason(reason)

    @property
    def context(self) -> Context | None:
        """The context that its function runs in: a copy of its maker's. None when it has ended, or before any variable was set in either."""
        stack = self._greenlet
        return self._context if stack is None else stack.gr_context

    @property
    def frame(self) -> FrameType | None:
        """The innermost frame of its stack while it is suspended, else None."""
        return None if self._greenlet is None else self._greenlet.gr_frame

    @property
    def waited(self) -> float | None:
        """Seconds for which it has waited by now, to a millisecond or so; None if it does not wait, and on a clock that is not the real one."""
        since: int | None = getattr(self, "_since", None)  # set by the first park
        if self._reason is None or since is None or self._hub.clock.pressure is not monotonic_ns:
            return None
        return (monotonic_ns() - since) / NANOSECONDS

    names_owners = True  # in describe_wait

    @property
    def _is_forgotten(self) -> bool:
        """True if it was made, and neither started nor set to start later: nothing but `start` or a kill can end it."""
        return self._phase == NEW and self._outcome is None

    def describe_wait(self) -> str:
        return f"the end of task {self.name!r}{', which was never started' if self._is_forgotten else ''}"

    def wait_owners(self) -> tuple[Task[Any], ...]:
        return (self,)

    def __repr__(self) -> str:
        waiting = self.waiting_on
        failure = self._extras.failure
        state = f"failed: {failure.error!r}" if failure is not None else f"{self.state}{' on ' + waiting if waiting else ''}"
        return f"<{type(self).__name__} {self.name!r} {state}>"


def _refuse_to_call(fn: Any) -> NoReturn:
    raise TypeError(
        f"a task needs a function to call, not {fn!r} of type {type(fn).__name__}. "
        f"Pass the function and its arguments apart: spawn(fn, arg), not spawn(fn(arg))."
    )


_new_task = Task.__new__


def spawn(fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Task[T]:
    """Start a task that runs ``fn(*args, **kwargs)``; it begins after what is ready now. Never blocks."""
    if type(fn) is not FunctionType and not callable(fn):
        _refuse_to_call(fn)
    # Task._set_up(), written out: the call would be a twentieth of what a task costs that does nothing.
    task: Task[T] = _new_task(Task)
    stack = getcurrent()
    try:
        parent = stack.task
        task._hub = hub = parent._hub
    except AttributeError:
        parent = current_or_hub_task()
        task._hub = hub = parent._hub
    task.ident = ident = _next_ident()
    task._fn = fn
    task._args = args
    if kwargs:
        task._args = _WithKeywords(args)
        task._args.keywords = kwargs
    task._context = None if stack.gr_context is None else copy_context()
    task._reason = task._outcome = task._pending = task._links = task._greenlet = None
    task._extras = _NO_EXTRAS
    frame = _getframe(1)
    origin = _last_origin
    if origin[0] is not frame.f_code or origin[1] != frame.f_lasti or origin[2] is not parent.ident:
        origin = _origin_of(frame, parent)
    task._origin = origin
    # Task.start(), without what cannot be: it is new, and of this thread's hub.
    if hub._fifo and not hub._tracers and not hub._closed:
        task._phase = SCHEDULED
        task.switch = hub._begin_next
        hub._tasks[ident] = task
        unstarted, append = hub._unstarted, hub._append
        hub._fifo = False  # a signal handler that spawns between these two begins its task by itself
        try:
            unstarted.append(task)
            append(task)
        except BaseException:
            hub._recover(running_task())
            raise
        finally:
            hub._fifo = True
    else:
        task._phase = NEW
        task._start_on(hub)
    return task


def spawn_linked(fn: Callable[..., T], args: tuple[Any, ...], on_end: Callable[[Task[T]], object]) -> Task[T]:
    """`spawn` and `Task.rawlink` in one, for primitives that start many tasks: ``fn(*args)``, and ``on_end(task)`` on the hub after it.

    "Spawned at" is where the task that calls this was spawned itself, if it runs nothing but plumbing. Never blocks.
    """
    task: Task[T] = _new_task(Task)
    task._set_up(fn, args, None, None)
    task._links = on_end
    task._start_on(task._hub)
    return task


def scope_of(task: Task[Any]) -> Any:
    """What `set_scope` gave to the task last; None before that."""
    return task._extras.scope


def set_scope(task: Task[Any], scope: Any) -> None:
    """Keep with a task what it is in now: the innermost cancel scope, as `coop_plugins.scope` has it. The core does nothing with it."""
    task._own_extras().scope = scope


def as_exception(exception: Any) -> BaseException:
    """An instance, from what `Task.kill` accepts: a class, an instance, or an exc_info triple."""
    given = exception
    if isinstance(exception, tuple):
        kind, value, tb = (*exception, None, None)[:3]
        exception = (value if isinstance(value, BaseException) else kind).with_traceback(tb) if value is not None else kind
    if isinstance(exception, type) and issubclass(exception, BaseException):
        exception = exception()
    if not isinstance(exception, BaseException):
        raise TypeError(f"an exception class or instance is needed to end a task, not {given!r}")
    return exception


def current_or_hub_task() -> Task[Any]:
    """The running task, or, in a callback on the hub, the hub's root task: for those who only need a hub to belong to."""
    stack = getcurrent()
    # A signal handler may run on a worker between two tasks, whose parent is the hub.
    hub: Hub | None = getattr(stack.parent if type(stack) is Worker else stack, "hub", None)
    return current_task() if hub is None or hub._forked else hub.root


def _refuse_coroutine(task: Task[Any], coroutine: CoroutineType[Any, Any, Any]) -> TypeError:
    coroutine.close()
    return TypeError(
        f"task {task.name!r} was given an async function: calling it made a coroutine, which nobody here can run. "
        f"Write it as an ordinary def, which may wait wherever it likes; coroutines need an asyncio loop."
    )


class Worker(greenlet):
    """A greenlet that runs one task after another."""

    __slots__ = ("task",)

    task: Task[Any] | None


def work() -> None:
    """The body of a worker."""
    me = cast(Worker, getcurrent())
    switch = me.switch
    task = me.task
    assert task is not None
    try:
        # Not `while task is not None`: Python 3.11 specialises a loop whose jump back is unconditional, and no other.
        while True:
            hub = task._hub
            task._phase = STARTED
            if hub._tracers:
                hub._trace("task_started", task)
            if task._context is not None:
                # Not Context.run: its frames on the C stack are copied at every switch, and with many tasks that is half of what a switch costs.
                me.gr_context = task._context
            try:
                # A call with a star needs, in Python 3.11, a frame on the C stack, which would be copied at every switch: most tasks get by without.
                fn: Any = task._fn
                args: Any = task._args
                if not args:
                    value = fn()
                elif type(args) is not tuple:
                    value = fn(*args, **args.keywords)
                elif len(args) == 1:
                    value = fn(args[0])
                else:
                    value = fn(*args)
            except GreenletExit as exit:
                exit.__traceback__ = None
                task._let_go_of_function()
                me.gr_context = fn = args = None
                task._finish(exit, None)
            except BaseException as error:
                error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
                task._let_go_of_function()
                me.gr_context = fn = args = None
                task._fail(error)
            else:
                # Task._let_go_of_function(), without the call.
                try:
                    task._fn = fn.__qualname__ if type(fn) is not MethodType else label_of(fn)
                except Exception as error:
                    if by_handler(error):
                        hub.interrupt_main(error)
                    task._fn = label_of(fn)
                task._context = None
                task._args = ()
                me.gr_context = fn = args = None
                if type(value) is CoroutineType:
                    task._fail(_refuse_coroutine(task, value))
                else:
                    # Task._finish(), written out: the call would be a tenth of what is left to do.
                    task._phase = DONE
                    task._outcome = value
                    task._greenlet = task._pending = None
                    task.switch = hub._switch
                    del hub._tasks[task.ident]
                    links = task._links
                    if links is not None:
                        kind = type(links)
                        if kind is Task and links._reason is task:
                            task._links = None
                            links._reason = None
                            links._outcome = True
                            append = hub._append
                            append(links)
                        elif kind is Ending:
                            if links.left > 1:  # others are still to end: Ending.tell(), likewise
                                links.ended.append(task)
                                links.left -= 1
                            else:
                                links.tell(task)
                            task._links = None
                        else:
                            hub._deliver_soon(task)
                        links = None
                    if hub._tracers:
                        hub._trace("task_exited", task)
                value = None
            task = None
            try:
                del me.task  # with it goes perhaps the value, whose finaliser may wait: see _adopt
            except AttributeError:  # in the child of a fork, which has needed no hub
                pass
            me.task = None  # such a finaliser had a task of its own
            hub._budget = budget = hub._budget - 1
            if budget > 0 and hub._ready:
                popleft = hub._popleft
                entry = popleft()
            else:
                entry = hub._choose()
            if entry.switch is hub._begin_next:
                while hub._unstarted.popleft() is not entry:
                    pass  # those before it were killed
            if entry._phase == SCHEDULED:
                entry._greenlet = me
                entry.switch = switch
                me.task = task = entry
                entry = None
            else:
                hub._idle.append(me)
                go, entry = entry.switch, None
                try:
                    go()
                except BaseException as error:
                    hub._forget_worker(me, error)
                    return
                del go
                task = me.task
                if task is None:
                    return  # dismissed
    except BaseException as error:
        hub._worker_interrupted(me, error)
