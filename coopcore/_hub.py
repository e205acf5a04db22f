"""The hub: the engine of one thread. Its loop is `Hub._take_turns`; read that first.

Theory
======
Tasks switch to each other directly (see ``_state``). Control comes to the hub's own greenlet for four reasons only:

* nobody is ready: wait for a descriptor, a timer or the inbox;
* a *pass* is due: the running tasks have spent their budget and 1 ms, and timers and descriptors must be looked at;
* the hub's own entry in ``ready`` has come up, because callbacks wait (links of tasks that ended, ``call_soon``);
* an unstarted task was popped and no idle worker is left: a greenlet must be made, and only the hub makes the first switch into it.

The hub never runs code of a user except callbacks, which must not wait.

Fairness: each switch takes one from ``_budget``. When it is spent, `_choose` reads the clock and goes to the hub if 1 ms has passed since the last
pass. The budget starts at 1 and doubles to 16 while looks come quickly, so that a look costs little when turns are short and happens at every turn when
they are long. A timer or a descriptor thus waits at most 1 ms and 16 turns for a pass, and then one lap of ``ready``. Where other threads exist, descriptors
wait for a poll that is not nearer to the last one than the interpreter's switch interval (see `_poll_is_due`).

Invariants
==========
1. One greenlet polls: `_wait` is called by the loop only. Nobody else may block the thread.
2. ``ready`` holds the hub's own entry at most once.
3. With nothing ready, no counted timer, nobody at a descriptor, no promise open and no other thread that may wake a task, `Deadlock` is thrown into the
   main task, else the root.
4. Whatever a callback, a tracer or the backend raises is reported or reaches the main task; the loop goes on.
5. `_tasks` holds each task from its start to its end, exactly.
6. An uncounted timer, and a descriptor that nobody waits at, don't hold off a deadlock; an open promise does, and another thread does, unless it is a daemon
   without a hub.
7. In the child of a fork every hub of the parent is abandoned: nothing of it runs or is collected, its descriptors are closed, and its tasks, but for the one
   that forked, are dead.
8. A task that did not end when its hub was closed counts as killed: in no thread does anybody hand it an item or a permit any more.

This is one file of more than 500 lines of code because descriptors, timers, promises and the loop share the one question "can anything still happen?".
"""

from __future__ import annotations

import errno
import sys
import threading
import traceback
import weakref
from _thread import RLock, get_ident
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import GreenletExit, getcurrent, greenlet

from . import _collection, _report
from ._clock import RealClock
from ._inbox import Call, Inbox
from ._raised import before_it_began, by_handler
from ._state import (
    IDLE,
    NANOSECONDS,
    SCHEDULED,
    STARTED,
    arrive,
    break_shield,
    current_task,
    park_cut_short,
    park_task,
    pending_once,
    raise_wrong_thread,
    shielded,
    take_outcome,
    throw_in,
    unpark,
    yield_now,
)
from ._task import Failure, Task, TaskRecord, Worker, work
from ._timeout import LONG, Timeout, check_seconds
from ._timers import BucketTimers
from .errors import (
    BusyResourceError,
    ClosedResourceError,
    Deadlock,
    HubClosedError,
    HubError,
    InterfaceError,
    LeftBehindWarning,
    ParkInFinalizerError,
    TaskExit,
)
from .protocols import ERROR, HANGUP, READABLE, WRITABLE, Backend, Clock, Network, Ready, Resolver, Scheduler, TimerQueue

if TYPE_CHECKING:
    from ._interrupt import _Door
    from .protocols import Tracer

_LAP = 1_000_000  # ns between passes while tasks are busy
_MOST_BUDGET = 16
_MORE = ~(READABLE | WRITABLE)  # what a report says besides: an end, an error, urgent data
_PAST = -1  # a deadline that makes Clock.wait look without waiting
_TRACER_EVENTS = ("task_spawned", "task_started", "task_parked", "task_unparked", "task_exited", "task_failed")
_KEPT_WORKERS = 512  # idle ones that are always kept; each keeps some 20 KB of stack
_WINDOW = NANOSECONDS  # for which an idle worker beyond those must have been of no use, before it is ended
_PATIENCE = 10 * NANOSECONDS  # for which only another thread could wake a task, until that is told
_MOST_DISMISSED = 64  # at a pass: ending a worker takes 10 us


# Callbacks that may be called again at once when they were cut short.
_REPEATABLE = (unpark, arrive)


class _HubGreenlet(greenlet):
    """The greenlet of a hub. Known by its ``hub``; it has no ``task``."""

    __slots__ = ("hub",)

    hub: Hub


class _Entry:
    """What stands for the hub in ``ready`` and where a task or worker asks what to switch to. Looks like a started task."""

    __slots__ = ("_hub", "_phase", "_reason", "switch")

    def __init__(self, hub: Hub, switch: Callable[[], object]) -> None:
        self._hub = hub
        self._phase = STARTED
        self._reason = None
        self.switch = switch


class _Uncounted:
    """Stands for an entry whose timer is left out of what holds off a deadlock, until it fires."""

    __slots__ = ("_entry", "_hub", "handle")

    handle: Any

    def __init__(self, hub: Hub, entry: Any) -> None:
        self._hub = hub
        self._entry = entry

    def _fire(self) -> None:
        self._hub._count_again(self.handle)
        self._entry._fire()


class FdWait:
    """One direction of one descriptor in one hub, and the task that waits for it, if any. The reason of that task's park.

    `Hub.fd_wait` hands it to those who wait there often. Changed by the hub's thread alone, but for ``closed``.
    """

    __slots__ = ("_armed", "_other", "closed", "direction", "drained", "fd", "hub", "task", "tells", "what")

    def __init__(self, hub: Hub, fd: int, direction: int, tells: bool) -> None:
        self.hub = hub
        self.fd = fd
        self.direction = direction
        self.task: Task[Any] | None = None
        self.what = ""
        self.closed = False
        """True once the hub has forgotten the descriptor. Whoever closes it from another thread sets it too, and then looks whether a task waits."""
        self.drained = False
        """For the reader of a stream: set by it, if ``tells``, after a read that was shorter than asked; taken back by the hub's next report."""
        self.tells = tells
        """Whether whatever can be read makes a report. False for good once a report said more than that: an end, an error, urgent data."""
        self._armed = False  # True while an edge-triggered backend has the descriptor
        self._other: FdWait | None = None  # that of the other direction

    def park(self, deadline: int | None = None) -> bool:
        """Park the current task until the descriptor may be ready; may wake spuriously. True, or False once the hub's clock has reached ``deadline``, and at
        once in a task of another hub.

        Only for a caller who knows that it is not ready: who has just met EAGAIN, or finds ``drained`` set. Raises as `lowlevel.wait_readable` does.
        """
        try:
            task = getcurrent().task
        except AttributeError:
            task = current_task()
        if task is None:  # a worker between two tasks, in a signal handler
            task = current_task()
        hub = self.hub
        if task._hub is not hub:
            return False
        if self.task is not None or not self._armed or task._pending is not None:
            ready: bool = hub._park_at(self, task, None if deadline is None else (deadline - hub._now()) / NANOSECONDS, edge=True)
            return ready
        timer = None if deadline is None else hub._add_timer(deadline, task)
        self.task = task
        if self.closed:  # looked at when ``task`` is set: see `closed`
            self.task = None
            if timer is not None:
                hub._disarm(timer)
            hub._raise_closed_fd(self, task)
        # What follows is `Hub._park_at` and `park_task`, written out for the commonest of all waits of a server.
        hub._fd_waiting += 1
        task._reason = self
        hub._budget = budget = hub._budget - 1
        task._since = hub._last_pass
        try:
            popleft = hub._popleft
            (popleft().switch if budget > 0 and hub._ready else hub._choose_for(task).switch)()
        except BaseException as error:
            if type(error) is RecursionError and task._reason is self and not hub._closed and not _collection.collecting:  # as in park_task
                task._reason = self.task = None
                hub._fd_waiting -= 1
                hub._pass_due = True
                hub._inbox.calls.append((hub._rescue, (task, timer)))
                hub._switch()
                raise
            try:
                park_cut_short(task, timer, error)
            finally:
                self.leave(task)
        if self.task is task:
            self.leave(task)  # type: ignore[arg-type]  # narrowed by the line above, though not to what it is
        if timer is None and task._outcome is True:
            return True
        try:
            return bool(take_outcome(task, timer))
        except BaseException as error:
            if task._outcome is None:
                raise  # as in park_task
            hub.interrupt_main(error)
        return bool(take_outcome(task, timer))

    def leave(self, task: Task[Any]) -> None:
        """``task`` waits no more. Quiet if a report has said so already."""
        if self.task is task:
            self.task = None
            self.hub._fd_waiting -= 1

    def describe_wait(self) -> str:
        return self.what or f"descriptor {self.fd} to be {'readable' if self.direction == READABLE else 'writable'}"


class Promise:
    """Something outside the hub that may still make a task ready: a thread's job, a child process, a signal handler.

    While one is open there is no deadlock, and no clock jumps. Close it exactly when that is over; closing twice is harmless. As a
    context manager it is closed at the end. Made with `Hub.promise`.
    """

    __slots__ = ("_hub", "what")

    def __init__(self, hub: Hub, what: str) -> None:
        self._hub: Hub | None = hub
        self.what = what
        hub._promises[id(self)] = self

    def close(self) -> None:
        """It is over. Harmless when repeated. From any thread."""
        hub = self._hub
        if hub is not None and hub._thread != get_ident():
            hub._inbox.put(self.close, ())  # wakes the hub, which may have nothing left to wait for
        elif hub is not None:
            self._hub = None
            del hub._promises[id(self)]

    def __enter__(self) -> Promise:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Hub:
    """Runs the tasks of one thread. Usually made for you: by the first `spawn` or `sleep` of a thread, or by `run`.

    Built from plain objects, each of which implements the protocol of its name in `coopcore.protocols`. Only ``backend`` is required. The hub
    closes the backend when it is closed. ``on_failure(view, error)`` is told of each failed task whose error nobody received.
    """

    # Slots: with so many attributes an instance's dict is past the size that the interpreter looks up fast.
    __slots__ = (
        "__weakref__",
        "_add_timer",
        "_adopted",
        "_allowance",
        "_append",
        "_append_yielded",
        "_batch",
        "_begin_next",
        "_budget",
        "_callback_entry",
        "_callbacks",
        "_callbacks_due",
        "_closed",
        "_disarm",
        "_edge",
        "_failures",
        "_fd_waiting",
        "_fifo",
        "_firing",
        "_forked",
        "_greenlet",
        "_idle",
        "_idle_since",
        "_idle_surplus",
        "_idlers",
        "_inbox",
        "_keeper",
        "_last_pass",
        "_last_poll",
        "_left_out",
        "_now",
        "_on_failure",
        "_pass_due",
        "_pass_entry",
        "_popleft",
        "_pressure",
        "_promises",
        "_ready",
        "_signal_fd",
        "_stopping",
        "_stuck_since",
        "_stuck_told",
        "_switch",
        "_tasks",
        "_tells",
        "_thread",
        "_to_begin",
        "_tracers",
        "_uncounted",
        "_unstarted",
        "_waits",
        "backend",
        "clock",
        "main",
        "name",
        "network",
        "on_closed",
        "resolver",
        "root",
        "timers",
    )

    def __init__(
        self,
        *,
        backend: Backend,
        clock: Clock | None = None,
        timers: TimerQueue | None = None,
        scheduler: Scheduler | None = None,
        tracers: Sequence[Tracer] = (),
        network: Network | None = None,
        resolver: Resolver | None = None,
        on_failure: Callable[[TaskRecord, BaseException], object] | None = None,
        name: str = "",
    ) -> None:
        threads = threading.enumerate()
        self.name = name or f"hub-of-{next((thread.name for thread in threads if thread.ident == get_ident()), get_ident())}"
        self.backend = backend
        self.clock: Clock = RealClock() if clock is None else clock
        self.timers: TimerQueue = BucketTimers() if timers is None else timers
        ready: Scheduler = deque() if scheduler is None else scheduler
        self.network = network
        """What ``coop_plugins.socket`` uses in this hub; None for the kernel's."""
        self.resolver = resolver
        """What ``coop_plugins.socket`` looks up names with in this hub; None until the default one is needed. A hub of `make_hub` closes it in the end."""
        self._thread = get_ident()
        self._closed = False
        self._stopping = False
        self._forked = False
        # What the hot path uses, bound once.
        self._ready = ready
        self._append = ready.append
        self._fifo = type(ready) is deque
        self._append_yielded = getattr(ready, "append_yielded", ready.append)
        self._popleft = ready.popleft
        self._now = self.clock.now
        self._pressure = self.clock.pressure
        self._add_timer = self.timers.add
        self._disarm = self.timers.cancel
        self._edge = backend.edge_triggered
        self._tells = getattr(backend, "tells_end", not backend.edge_triggered)
        # Fairness.
        self._budget = 1
        self._allowance = 1
        self._last_pass = self._pressure()
        self._last_poll = 0
        self._pass_due = False
        # Who exists.
        self._tasks: dict[int, Task[Any]] = {}
        self._idle: list[Worker] = []
        self._idle_surplus = 0  # the least number of idle workers in this window, beyond those that are kept
        self._idle_since = 0  # the beginning of the window
        self._failures: weakref.WeakSet[Failure] = weakref.WeakSet()
        self._adopted: weakref.WeakSet[Task[Any]] = weakref.WeakSet()  # of greenlets that others made
        self._on_failure = on_failure or _report.print_failure
        self._tracers: tuple[Tracer, ...] = ()
        # What may still happen.
        self._inbox = Inbox(backend)
        self._waits: dict[int, FdWait] = {}  # readers by number, writers by its complement
        self._fd_waiting = 0
        self._signal_fd = -1
        self._keeper: _Door | None = None  # of the wake-up descriptor
        self._uncounted = 0
        self._left_out: dict[int, Any] = {}  # handles of timers among these that a Timeout(ref=False) has set as a timeout=
        self._promises: dict[int, Promise] = {}
        self._stuck_since = 0  # since when only another thread can wake a task
        self._stuck_told = False
        # Requests to the loop, in slots and never as switch values.
        self._to_begin: Task[Any] | None = None
        self._unstarted: deque[Task[Any]] = deque()
        self._begin_next = self._begin_the_first
        self._callbacks: deque[Task[Any] | Call] = deque()  # for the next turn of the hub
        self._batch: deque[Task[Any] | Call] = deque()  # of this turn, what is left
        self._callbacks_due = False
        self._firing: Any = None  # the timer's entry that is firing
        self._idlers: list[Task[Any]] = []
        self._greenlet = _HubGreenlet(self._loop)
        self._greenlet.hub = self
        self._switch = self._greenlet.switch
        self._pass_entry = _Entry(self, self._switch)
        self._callback_entry = _Entry(self, self._take_callback_turn)
        here = getcurrent()
        self.root = Task._for_greenlet(here, self, "main" if here.parent is None else "root")
        """The task that stands for the greenlet that made the hub."""
        self.main: Task[Any] = self.root
        """Who gets `Deadlock`, and the KeyboardInterrupt and SystemExit of other tasks."""
        self.on_closed: Callable[[], object] | None = None
        for tracer in tracers:
            self.add_tracer(tracer)
        with _hubs_lock:
            _hubs.add(self)
            _collection.attend()

    @property
    def thread(self) -> int:
        """The ident of its thread, as `threading.get_ident` has it."""
        return self._thread

    # -- the loop -------------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        """The body of the hub's greenlet: `_take_turns`, begun anew after whatever a signal handler raised anywhere in it, its jump back included."""
        while True:
            try:
                self._take_turns()
                return
            except GreenletExit:
                raise  # this hub itself is being collected
            except BaseException as error:
                # Out of a signal handler, on this stack or on that of a worker between two tasks.
                self._recover(None)
                self.interrupt_main(error)

    def _take_turns(self) -> None:
        """The loop, until the hub is closed."""
        while True:  # Python 3.11 specialises a loop whose jump back is unconditional, and no other
            if self._stopping:
                self._dismiss_workers(len(self._idle))
                return
            if self._to_begin is not None:
                self._begin_in_new_worker()
            else:
                if self._callbacks_due:
                    self._run_callbacks()
                if self._pass_due or not self._ready:
                    self._pass()
                if self._ready:
                    self._popleft().switch()

    def _pass(self) -> None:
        """Take what came through the inbox, wait for something, tell whoever waits at a descriptor, fire what is due."""
        self._pass_due = False
        try:
            calls = self._inbox.calls
            if calls:
                self._stuck_since = 0
                self._make_calls(calls, len(calls))
            reports = self._wait()
            if reports:
                self._take_reports(reports)
            if self.timers:
                for entry in self.timers.pop_due(self._now()):
                    self._firing = entry  # until it has fired: a signal handler may raise before its first instruction
                    entry._fire()
                    self._firing = None
            unstarted = self._unstarted
            while unstarted and unstarted[0]._phase != SCHEDULED:
                unstarted.popleft()
            if len(self._idle) > _KEPT_WORKERS:
                self._dismiss_surplus()
            if self._idlers and not self._ready:
                idlers, self._idlers = self._idlers, []
                for task in idlers:
                    unpark(task)
        except GreenletExit:
            raise  # this hub itself is being collected
        except BaseException as error:
            self._broken(error)
            self._make_good()
        self._last_pass = self._pressure()
        self._budget = 0 if self._tracers else self._allowance

    def _wait(self) -> Sequence[Ready]:
        """The one place where the thread may sleep."""
        inbox = self._inbox
        if self._ready and not self._poll_is_due():
            return ()
        outside = bool(self._promises)
        keeper = self._keeper
        inbox.asleep = True
        awake, self._append = self._append, self._append_asleep
        try:
            if self._ready or inbox.calls or self._idlers:
                deadline: int | None = _PAST
            else:
                deadline = self.timers.next_deadline()
                if not (self._fd_waiting or outside or len(self.timers) > self._uncounted):
                    others = self._threads_that_may_wake()
                    if inbox.calls:
                        return ()  # of a thread that has ended since
                    if not others:
                        self._deadlock()
                        return ()
                    outside = True
                    deadline = self._wait_for_threads(others, deadline)
                else:
                    self._stuck_since = 0
                if len(self._idle) > _KEPT_WORKERS:
                    due = self._idle_surplus > 0 and self._pressure() - self._idle_since > _WINDOW
                    look = self._now() + (0 if due else _WINDOW)
                    deadline = look if deadline is None else min(deadline, look)
            if keeper is not None and deadline != _PAST:
                deadline = keeper.before_sleep(deadline)
            return self.clock.wait(self.backend, deadline, outside)
        finally:
            self._append = awake
            inbox.asleep = False
            if keeper is not None and keeper.borrowed:
                keeper.after_sleep()

    def _append_asleep(self, task: Task[Any]) -> None:
        """What wakes a task while the backend polls: only a signal handler can, and the poll must end for it."""
        self._ready.append(task)
        self.backend.wake()

    def _poll_is_due(self) -> bool:
        """Whether to look at descriptors while tasks are ready.

        A poll lets go of the interpreter's lock for an instant. A thread that waits for the lock asks for it only when it was refused for a whole switch
        interval, and each such instant starts its wait anew, so that polls at every pass can keep threads out for seconds. Where there are other threads, and
        where nobody waits at a descriptor, polls are therefore further apart than that interval.
        """
        now = self._pressure()
        close = self._fd_waiting and len(sys._current_frames()) == 1
        if not close and now - self._last_poll < sys.getswitchinterval() * 1.5 * NANOSECONDS:
            return False
        self._last_poll = now
        return True

    def _threads_that_may_wake(self) -> list[threading.Thread]:
        """Threads that may have got hold of what a task of ours waits for: all but daemons without a hub, which are watchdogs, debuggers, test runners. If
        a daemon is to wake a task, that takes a promise, which the report says."""
        alive: set[int | None] = {None, *sys._current_frames()}  # None: one that is about to begin. Where the program is patched, tasks have a Thread as well
        if len(alive) == 2:
            return []
        with _hubs_lock:
            with_hub = {hub._thread for hub in _hubs if not hub._closed}
        others = [thread for thread in threading.enumerate() if thread.ident in alive and thread.ident != self._thread]
        return [thread for thread in others if not thread.daemon or thread.ident in with_hub]

    def _wait_for_threads(self, others: list[threading.Thread], deadline: int | None) -> int:
        """Nothing but another thread can wake a task. That may be so for good, so after a while it is said, once. Returns when to look again."""
        now = monotonic_ns()
        if not self._stuck_since:
            self._stuck_since = now
            self._stuck_told = False
        elif not self._stuck_told and now - self._stuck_since > _PATIENCE:
            self._stuck_told = True
            names = ", ".join(repr(thread.name) for thread in others)
            print(
                f"coopcore: for {_PATIENCE // NANOSECONDS} s only another thread ({names}) could have woken a task of {self.name}. "
                f"If none of them will, this is a deadlock: {_report.deadlock(self)}",
                file=sys.stderr,
            )
        # A thread that ends tells nobody: look soon, and then at longer and longer intervals.
        look_again = self._now() + min(max(now - self._stuck_since, NANOSECONDS // 100), NANOSECONDS)
        return look_again if deadline is None else min(deadline, look_again)

    def _deadlock(self) -> None:
        # Main, else the root; a greenlet of another library may park while both are merely switched away from.
        everyone = (self.main, self.root, *self._adopted, *self.tasks())
        stuck = next((task for task in everyone if task._reason is not None), self.root)
        throw_in(stuck, Deadlock(_report.deadlock(self)))

    def _broken(self, error: BaseException) -> None:
        """The backend, the clock or a timer raised, or a signal handler did in the middle of a pass: the main task must know."""
        if isinstance(error, Exception) and not isinstance(error, HubError) and not by_handler(error):
            failed = HubError(
                f"the hub could not go on: {type(error).__name__}: {error}. This came from backend {self.backend!r}, "
                f"clock {self.clock!r} or timer queue {self.timers!r}; the traceback above says which."
            )
            failed.__cause__ = error
            error = failed
        self.interrupt_main(error)

    def _make_good(self) -> None:
        """A pass was cut short: nothing that it had taken in hand may be lost."""
        if self._firing is not None:
            self._firing._fire()  # which does what is left of it, or nothing
            self._firing = None
        self._recover(None)
        # What the backend has reported, perhaps for the only time, it reports again to who watches anew.
        for wait in list(self._waits.values()):
            self.backend.unwatch(wait.fd)
            wait.drained = wait._armed = False
        for fd in {wait.fd for wait in self._waits.values() if wait.task is not None}:
            self._rearm(fd)
        if self._signal_fd >= 0:
            self.backend.unwatch(self._signal_fd)
            self.backend.watch(self._signal_fd, READABLE)

    def _recover(self, running: Task[Any] | None) -> bool:
        """An exception came out of a switch, where only a signal handler can have raised it: give a new entry to whoever was popped and not reached.

        Returns whether ``running``, the task on whose stack that was, has an entry itself.
        """
        self._to_begin = None  # whoever was in it is found below, and must not go on twice
        entries = [self._popleft() for _ in range(len(self._ready))]
        for entry in entries:
            self._ready.append(entry)
        queued = {id(entry) for entry in entries}
        for task in (self.root, *self._tasks.values()):
            if task._phase == SCHEDULED and task._greenlet is not None and not task._greenlet:
                self._take_from_worker(task)
            runnable = task._phase == SCHEDULED or (task._phase == STARTED and task._reason is None)
            if runnable and task is not running and id(task) not in queued:
                self._ready.append(task)
        if type(self._ready) is deque:
            self._unstarted.clear()
            self._unstarted.extend(entry for entry in self._ready if entry.switch is self._begin_next)
        if self._batch:
            self._callbacks.extendleft(reversed(self._batch))
            self._batch.clear()
        if self._callbacks and id(self._callback_entry) not in queued:
            self._ready.append(self._callback_entry)
        return running is not None and id(running) in queued

    def _rescue(self, parked: Task[Any] | None, timer: Any) -> None:
        """A stack was full in the middle of a park, or of a yield: make good what was begun there. That task raises its RecursionError when its turn comes."""
        if parked is not None:
            self._append(parked)
        if timer is not None:
            self._disarm(timer)
        self._recover(None)

    def _begin_the_first(self) -> None:
        """The ``switch`` of unstarted tasks: give the first of them a worker, and go.

        This frame stays on the stack of whoever parked until that one goes on, so it must not hold the task meanwhile.
        """
        task = self._unstarted.popleft()
        while task._phase != SCHEDULED:  # it was killed; its own place in ready is a turn of the hub now
            task = self._unstarted.popleft()
        if self._idle:
            worker = self._idle.pop()
            worker.task = task
            task._greenlet = worker
            task.switch = switch = worker.switch
            del task, worker
        else:
            self._to_begin = task
            switch = self._switch
            del task
        switch()

    def _begin_in_new_worker(self) -> None:
        task, self._to_begin = self._to_begin, None
        assert task is not None
        worker = Worker(work, self._greenlet)
        worker.task = task
        task._greenlet = worker
        task.switch = switch = worker.switch
        del task, worker
        switch()

    def _dismiss_surplus(self) -> None:
        """End idle workers that nobody needed for a whole window. So their number follows demand: a wave of tasks finds the greenlets of the last one, and a
        program that had one large wave gets its memory back."""
        surplus = len(self._idle) - _KEPT_WORKERS
        now = self._pressure()
        if now - self._idle_since > 2 * _WINDOW:  # no window is open
            self._idle_since, self._idle_surplus = now, surplus
        self._idle_surplus = min(self._idle_surplus, surplus)
        if now - self._idle_since > _WINDOW:
            self._dismiss_workers(min(self._idle_surplus, _MOST_DISMISSED))
            self._idle_surplus -= _MOST_DISMISSED
            if self._idle_surplus <= 0:
                self._idle_since, self._idle_surplus = now, surplus

    def _dismiss_workers(self, count: int) -> None:
        """End the ``count`` workers that were idle for longest."""
        dismissed = self._idle[:count]
        del self._idle[:count]
        for worker in dismissed:
            worker.task = None  # so it returns; a signal handler may have given it one, to know where it is
            worker.switch()

    # -- what tasks switch to -------------------------------------------------------------------------------------------

    def _choose(self) -> Any:
        """What runs next, when the budget is spent or nobody is ready: the head of ``ready``, or the hub if a pass is due."""
        if self._ready:
            pressure = self._pressure
            if pressure() - self._last_pass < _LAP:
                if not self._tracers:
                    allowance = self._allowance
                    if allowance < _MOST_BUDGET:
                        self._allowance = allowance = allowance * 2
                    self._budget = allowance
                popleft = self._popleft
                return popleft()
            self._allowance = 1
        self._pass_due = True
        return self._pass_entry

    def _choose_for(self, task: Task[Any]) -> Any:
        """`_choose`, on behalf of a task that parks or yields."""
        if self._closed:
            self._raise_closed("wait")
        if _collection.collecting:
            _collection.check(task)
        if self._tracers and task._reason is not None:
            self._trace("task_parked", task)
        if self._ready:
            return self._choose()
        self._pass_due = True
        return self._pass_entry

    def _worker_interrupted(self, worker: Worker, error: BaseException) -> None:
        """A signal handler raised between two tasks of a worker, which ends: see to the task that was ending, and to whoever was popped and not reached."""
        if worker in self._idle:
            self._idle.remove(worker)
        task: Task[Any] | None = getattr(worker, "task", None)
        worker.task = None
        if task is not None and task._phase == STARTED:
            task._fail(error)
        else:
            self.interrupt_main(error)
        if task is not None and task._phase == SCHEDULED:
            self._take_from_worker(task)
        elif task is not None and task._links is not None and task not in self._callbacks:
            self._deliver_soon(task)
        self._recover(None)

    def _take_from_worker(self, task: Task[Any]) -> None:
        """It was given to a worker that has ended, or never began; it has not begun either, and gets another one when its turn comes."""
        task._greenlet = None
        task.switch = self._begin_next if type(self._ready) is deque else task._begin

    def _forget_worker(self, worker: Worker, error: BaseException) -> None:
        """Something was thrown into an idle worker: it ends, and must not be given a task."""
        if by_handler(error):
            self._worker_interrupted(worker, error)
            return
        if worker in self._idle:
            self._idle.remove(worker)
        if not isinstance(error, GreenletExit):
            print(
                f"coopcore: {error!r} was thrown into an idle worker of {self.name}. Throw into a Task (Task.kill), not into a "
                f"greenlet: a task's greenlet runs other tasks when that task has ended.",
                file=sys.stderr,
            )

    # -- callbacks ------------------------------------------------------------------------------------------------------

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` on the hub, after what is ready now. It must not wait. Only from the hub's own thread.

        Raises `HubClosedError` if the hub was closed.
        """
        if self._thread != get_ident():
            raise_wrong_thread(self, "call_soon()")
        if self._closed:
            self._raise_closed("call_soon()")
        if not self._callbacks:
            self._ready.append(self._callback_entry)
        self._callbacks.append((fn, args))

    def _deliver_soon(self, task: Task[Any]) -> None:
        """Deliver the links of a task that has ended; `call_soon`, without what that allocates."""
        if not self._callbacks:
            self._ready.append(self._callback_entry)
        self._callbacks.append(task)

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` on the hub, in its next pass. From any thread, and from a signal handler. It must not wait.

        Raises `HubClosedError` if the hub was closed.
        """
        if not self._inbox.put(fn, args):
            self._raise_closed("call_soon_threadsafe()")

    def call_safely(self, fn: Callable[..., object], *args: Any) -> None:
        """Call it now. What it raises is reported; KeyboardInterrupt and SystemExit, and what a signal handler raises in it, go to the main task."""
        try:
            fn(*args)
        except BaseException as error:
            if self._callback_failed(error, fn, args):
                self.call_safely(fn, *args)
        if self._forked:
            self._pass_entry.switch()  # the callback forked, and this is the child

    def _make_calls(self, calls: deque[Any], count: int) -> None:
        """Make the first ``count`` of ``calls``: pairs of function and arguments, and tasks that have ended, whose links are told. Each is taken out when it
        begins, and no call comes between: a signal handler that raises loses none."""
        while count > 0 and calls:
            count -= 1
            call = calls[0]
            del calls[0]
            fn, args = call if call.__class__ is tuple else (call._deliver, ())
            try:
                fn(*args)
            except BaseException as error:
                links = call.__class__ is not tuple
                if links and isinstance(error, GreenletExit):
                    raise  # this hub itself is being collected
                if self._callback_failed(error, fn, args, again=links):
                    calls.appendleft(call)
                    count += 1
            if self._forked:
                self._pass_entry.switch()  # the callback forked, and this is the child

    def _callback_failed(self, error: BaseException, fn: Callable[..., object], args: tuple[Any, ...], again: bool = False) -> bool:
        """Report it. Returns whether to call it again: a signal handler raised before it had begun, or ``again``, it may be called twice."""
        if self._forked:
            self.fail_in_child(error)
        elif by_handler(error):
            self.interrupt_main(error)
            tb = error.__traceback__
            return again or fn in _REPEATABLE or (tb is not None and before_it_began(tb.tb_next))
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            self.interrupt_main(error)
        else:
            print(f"coopcore: a callback on {self.name} raised; it was {fn!r} with {args!r}", file=sys.stderr)
            traceback.print_exception(error)
        return False

    def _take_callback_turn(self) -> None:
        self._callbacks_due = True
        self._switch()

    def _run_callbacks(self) -> None:
        self._callbacks_due = False
        if self._pressure() - self._last_pass >= _LAP:
            self._pass_due = True  # callbacks that call for callbacks must not keep the hub from its pass
        self._greenlet.gr_context = None  # what one batch sets is not for the next
        self._batch, self._callbacks = self._callbacks, self._batch
        self._make_calls(self._batch, len(self._batch))

    # -- timers ---------------------------------------------------------------------------------------------------------

    def _arm(self, entry: Any, seconds: Any) -> Any:
        """Set a timer whose ``entry._fire()`` is called after ``seconds``. None for no timer: infinity, or a Timeout that is running already."""
        kind = type(seconds)
        if (kind is float or kind is int) and 0 < seconds < LONG:
            now, add = self._now, self._add_timer
            return add(now() + int(seconds * NANOSECONDS), entry)
        return self._arm_unusual(entry, seconds)

    def _arm_unusual(self, entry: Any, seconds: Any) -> Any:
        if isinstance(seconds, Timeout):
            timeout = seconds
            if timeout.pending and timeout.owner is not entry:
                raise RuntimeError(
                    f"{timeout!r} was given as a timeout, but it runs for {timeout.owner!r}, and would never end this wait. Make one of its own for each task."
                )
            if timeout.pending or timeout.seconds is None:
                return None
            if timeout.exception is not None and timeout.exception is not False:
                # A copy, for this wait alone: the caller's own stays fit for the next one.
                entry = timeout.copy_for_one_wait()
            if timeout._ref:
                handle = self._arm(entry, timeout.seconds)
            else:
                loose = _Uncounted(self, entry)
                loose.handle = handle = self._arm(loose, timeout.seconds)
                if handle is not None:
                    self._leave_out(handle)
            if isinstance(entry, Timeout):
                entry._timer = handle
            return handle
        span = check_seconds(seconds, "a timeout")
        if span is None or span >= LONG:
            return None
        return self._add_timer(self._now() + int(max(span, 0) * NANOSECONDS), entry)

    def _leave_out(self, handle: Any) -> None:
        """Leave this timer, of the wait that begins, out of what holds off a deadlock. While there are such, whoever disarms a timer asks whether it is one."""
        self._left_out[id(handle)] = handle
        self._uncounted += 1
        self._disarm = self._disarm_left_out

    def _disarm_left_out(self, handle: Any) -> None:
        self.timers.cancel(handle)
        self._count_again(handle)

    def _count_again(self, handle: Any) -> None:
        if self._left_out.pop(id(handle), None) is not None:
            self._uncounted -= 1
        if not self._left_out:
            self._disarm = self.timers.cancel

    # -- descriptors ----------------------------------------------------------------------------------------------------

    def wait_fd(self, fd: int, direction: int, timeout: float | None = None, *, edge: bool = False, what: str = "") -> bool:
        """Park the current task until ``fd`` may be readable or writable. The engine of `wait_readable` and `wait_writable`.

        ``edge=True`` is for callers who have just tried the operation and got EAGAIN: an edge-triggered backend then needs no
        system call. Without it the wait has level semantics on every backend. The wake may be spurious. ``what`` says in reports what is waited for.
        """
        task = current_task()
        if task._hub is not self:
            raise_wrong_thread(self, "waiting at a descriptor")
        return self._park_at(self.fd_wait(fd, direction), task, timeout, edge=edge, what=what)

    def fd_wait(self, fd: int, direction: int) -> FdWait:
        """What stands for one direction of a descriptor in this hub, until that is closed (`notify_closing`) or forgotten (`forget_fd`)."""
        if type(fd) is not int:
            raise TypeError(f"a descriptor's number is needed, not {fd!r} of type {type(fd).__name__}; pass its fileno()")
        key = fd if direction == READABLE else ~fd
        wait = self._waits.get(key)
        if wait is None:
            wait = self._waits[key] = FdWait(self, fd, direction, self._tells)
            other = self._waits.get(~key)
            if other is not None:
                wait._other, other._other = other, wait
                wait.tells = other.tells
        return wait

    def _park_at(self, wait: FdWait, task: Task[Any], timeout: float | None, *, edge: bool, what: str = "") -> bool:
        if wait.task is not None:
            raise BusyResourceError(
                f"{task!r} wants to wait for {wait.describe_wait()}, but {wait.task!r} does already. Two tasks that read one descriptor would get "
                f"pieces of each other's data. Let one task read and pass the data on through a Queue, or guard it with a lock."
            )
        wait.task = task
        wait.what = what
        self._fd_waiting += 1
        woken: object = False
        try:
            if wait.closed:  # looked at when ``task`` is set
                self._raise_closed_fd(wait, task)
            if not self._watch_for(wait, edge):
                woken = True
                yield_now()
                return True
            woken = park_task(task, wait, timeout)
            return bool(woken)
        finally:
            if wait.task is task:  # leave(), without a call, for which there may be no room on the stack
                wait.task = None
                self._fd_waiting -= 1
            wait.what = ""
            if not woken and not self._edge:
                self.backend.unwatch(wait.fd)
                self._rearm(wait.fd)

    def _raise_closed_fd(self, wait: FdWait, task: Task[Any]) -> NoReturn:
        raise ClosedResourceError(errno.EBADF, f"descriptor {wait.fd} was closed while {task.name!r} was about to wait for it")

    def _watch_for(self, wait: FdWait, edge: bool) -> bool:
        """Have the backend report the descriptor. False if it cannot be polled: regular files, which POSIX calls always ready."""
        fd = wait.fd
        try:
            if not self._edge:
                self.backend.watch(fd, self._interest(fd))
                return True
            if not edge:
                self.backend.unwatch(fd)
            self.backend.watch(fd, READABLE | WRITABLE)
        except PermissionError:
            return False
        wait._armed = True
        return True

    def _interest(self, fd: int) -> int:
        reader = self._waits.get(fd)
        writer = self._waits.get(~fd)
        return (READABLE if reader is not None and reader.task is not None else 0) | (WRITABLE if writer is not None and writer.task is not None else 0)

    def _rearm(self, fd: int) -> None:
        """A level-triggered backend has reported or forgotten ``fd``: watch it for whoever still waits there."""
        interest = self._interest(fd)
        if interest:
            try:
                self.backend.watch(fd, interest)
            except (OSError, ValueError) as error:
                # It was closed, and nobody said so.
                for key in (fd, ~fd):
                    wait = self._waits.get(key)
                    if wait is not None and wait.task is not None:
                        throw_in(wait.task, error)

    def _take_reports(self, reports: Sequence[Ready]) -> None:
        """Wake whoever waits at what the backend has found ready."""
        waits = self._waits
        woken = 0
        try:
            for fd, events in reports:
                wait = waits.get(fd)
                if wait is None or events & _MORE or (wait._other is not None and wait._other.task is not None) or not self._edge:
                    self._report_fd(fd, events)
                elif events & READABLE:
                    # `_wake_at`, written out for the commonest case: data for a reader, and nobody who waits to write.
                    wait.drained = False
                    task = wait.task
                    if task is not None:
                        wait.task = None
                        woken += 1
                        if task._reason is wait:
                            task._reason = None
                            task._outcome = True
                            append = self._append
                            append(task)
        finally:
            self._fd_waiting -= woken

    def _report_fd(self, fd: int, events: int) -> None:
        if fd == self._signal_fd:
            self._drain_signals()
            return
        if events & _MORE:
            if self._edge:
                for wait in (self._waits.get(fd), self._waits.get(~fd)):
                    if wait is not None:
                        wait.tells = False
            if events & (ERROR | HANGUP):
                events |= READABLE | WRITABLE
            events |= READABLE
        if events & READABLE:
            self._wake_at(fd)
        if events & WRITABLE:
            self._wake_at(~fd)
        if not self._edge:
            self._rearm(fd)

    def _wake_at(self, key: int) -> None:
        wait = self._waits.get(key)
        if wait is not None:
            wait.drained = False
            task = wait.task
            if task is not None:
                if task._reason is wait:
                    unpark(task)
                wait.leave(task)  # after it: a signal handler that raises leaves it to the next report

    def wake_at(self, fd: int, keeper: _Door) -> bool:
        """Wake from a sleep whenever ``fd``, to which signals write, is readable. ``keeper`` empties it, and is told before and after each sleep.

        It holds off no deadlock. Returns False if the backend cannot watch it.
        """
        try:
            self.backend.watch(fd, READABLE)
        except (OSError, ValueError):
            return False
        self._signal_fd = fd
        self._keeper = keeper
        return True

    def _drain_signals(self) -> None:
        assert self._keeper is not None
        self._keeper.drain()
        if not self._edge:
            self.backend.watch(self._signal_fd, READABLE)

    def forget_fd(self, fd: int) -> None:
        """The number ``fd`` names a new descriptor now, or is about to: drop what is known of the old one. Wakes nobody."""
        if not self._closed:
            self.backend.unwatch(fd)
            for key in (fd, ~fd):
                wait = self._waits.get(key)
                if wait is not None:
                    wait.drained = wait._armed = False
                    if wait.task is None:
                        self._forget_wait(key)

    def _forget_wait(self, key: int) -> FdWait | None:
        """Whoever still has it must ask for another."""
        wait = self._waits.pop(key, None)
        if wait is not None:
            wait.closed = True
            wait.drained = wait.tells = wait._armed = False
            if wait._other is not None:
                wait._other._other = None
                wait._other = None
        return wait

    def notify_closing(self, fd: int) -> None:
        """Call just before closing ``fd``: whoever waits at it gets `ClosedResourceError`, and its number can be used anew."""
        if self._closed:
            return
        if self._thread != get_ident():
            raise_wrong_thread(self, "notify_closing()")
        self.backend.unwatch(fd)
        for key in (fd, ~fd):
            wait = self._forget_wait(key)
            if wait is not None and wait.task is not None:
                error = ClosedResourceError(errno.EBADF, f"descriptor {fd} was closed by {_who()} while {wait.task.name!r} waited for it")
                throw_in(wait.task, error)

    # -- what may still happen ------------------------------------------------------------------------------------------

    def promise(self, what: str) -> Promise:
        """Declare that something outside, named ``what``, may yet make a task ready; `Promise.close` it when that is over."""
        return Promise(self, what)

    def find_task(self, ident: int | None) -> Task[Any] | None:
        """The live task with this ``ident``, or None."""
        if ident == self.root.ident:
            return self.root
        return None if ident is None else self._tasks.get(ident)

    def tasks(self) -> list[Task[Any]]:
        """Every task that was started and has not ended, oldest first; the root is not among them."""
        return list(self._tasks.values())

    def describe(self) -> str:
        """All tasks with their state, what they wait for and their stacks, for a human."""
        return _report.run_info(self)

    # -- failures and interrupts ----------------------------------------------------------------------------------------

    def interrupt_main(self, error: BaseException) -> None:
        """Raise ``error`` in the main task at its wait, or its next one; in the root if the main task has ended."""
        throw_in(self.root if self.main.dead else self.main, error)

    def failure_lost(self, view: TaskRecord, error: BaseException) -> None:
        """The last reference to a failed task is gone and nobody received its error. From any thread."""
        if not self._inbox.put(self._on_failure, (view, error)):
            self._on_failure(view, error)

    def unreceived_failures(self) -> list[Failure]:
        """The errors of tasks that ended, are still referred to, and that nobody has received yet."""
        return [failure for failure in list(self._failures) if not failure.received]

    # -- tracers --------------------------------------------------------------------------------------------------------

    def add_tracer(self, tracer: Tracer) -> None:
        """Tell ``tracer`` of everything from now on. It cannot be undone; without any tracer, tracing costs nothing."""
        missing = sorted(name for name in _TRACER_EVENTS if not callable(getattr(tracer, name, None)))
        if missing:
            raise InterfaceError(
                f"{tracer!r} is not a tracer: it lacks {', '.join(missing)}. Each method of coopcore.protocols.Tracer is called; "
                f"leave the body empty for what is not of interest."
            )
        self._tracers = (*self._tracers, tracer)
        self._append = self._traced_append
        self._budget = 0

    def _traced_append(self, task: Any) -> None:
        self._ready.append(task)
        if task._phase == STARTED:
            self._trace("task_unparked", task)

    def _trace(self, event: str, *args: Any) -> None:
        for tracer in self._tracers:
            try:
                getattr(tracer, event)(*args)
            except BaseException as error:
                self._tracers = tuple(other for other in self._tracers if other is not tracer)
                print(f"coopcore: tracer {tracer!r} raised in {event} and was removed from {self.name}", file=sys.stderr)
                traceback.print_exception(error)
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    self.interrupt_main(error)

    @property
    def heartbeat(self) -> int | None:
        """A number that changes with each pass, so at least once a millisecond while tasks let each other run; None while it waits for something.

        For another thread, which can so tell that a call blocks this one.
        """
        return None if self._inbox.asleep else self._last_pass

    @property
    def has_calls(self) -> bool:
        """True if the inbox holds calls that were not made yet."""
        return bool(self._inbox.calls)

    @property
    def waits_for_others(self) -> bool:
        """True while it waits, for a descriptor or another thread, and neither a task is ready nor a timer set nor a promise open.

        For another thread, which can so tell whether this one goes on by itself.
        """
        return self._inbox.asleep and not (self._ready or self._idlers or self._inbox.calls or len(self.timers) or self._promises)

    @property
    def waiting_at_descriptors(self) -> int:
        """How many tasks are parked until a descriptor is ready."""
        return self._fd_waiting

    def idle(self) -> None:
        """Park the current task until a pass finds that nothing is ready or due."""
        task = current_task()
        if task._hub is not self:
            raise_wrong_thread(self, "idle()")
        self._idlers.append(task)
        try:
            park_task(task, IDLE)
        except BaseException:
            if task in self._idlers:
                self._idlers.remove(task)
            raise

    # -- entering and leaving -------------------------------------------------------------------------------------------

    def enter(self) -> object:
        """Make this the hub of the greenlet that made it. Returns what `leave` needs. Hubs of one greenlet nest."""
        stack = self.root._greenlet
        previous = getattr(stack, "task", None)
        stack.task = self.root  # type: ignore[union-attr]  # greenlets take attributes; the root always has one
        return previous

    def leave(self, previous: object) -> None:
        """Undo `enter`."""
        stack = self.root._greenlet
        if previous is None:
            del stack.task  # type: ignore[union-attr]  # as above
        else:
            stack.task = previous  # type: ignore[union-attr]  # as above

    def close(self, timeout: float = 5.0) -> list[Task[Any]]:
        """Kill every task, let each ``finally`` run, at most for ``timeout`` seconds, and release everything.

        Only from the greenlet that made the hub. Returns the tasks that were still alive when it was called. Those that did not end in time are
        named in a `LeftBehindWarning` and abandoned. Idempotent.
        """
        if self._closed:
            return []
        if getcurrent() is not self.root._greenlet:
            raise HubError(f"{self.name} can only be closed by the greenlet that made it ({self.root.name!r}), not from {_who()}.")
        left = self.tasks()
        with shielded(self.root):
            stragglers, interrupt = self._kill_all(timeout)
        names = ", ".join(f"{task.name!r} ({task.state}, spawned at {task.spawned_at})" for task in stragglers)
        for task in (*stragglers, *(adopted for adopted in self._adopted if adopted._reason is not None)):
            task._count_as_killed("was abandoned when its hub was closed")
        for failure in self.unreceived_failures():
            failure.report()
        self._inbox.close()
        while calls := self._inbox.take():
            for fn, args in calls:
                self.call_safely(fn, *args)
        self._closed = True
        self._budget = 0
        self._stopping = True
        self._switch()
        self.backend.close()
        with _hubs_lock:
            _hubs.discard(self)
            if not _hubs:
                _collection.disregard()
        if self.on_closed is not None:
            self.call_safely(self.on_closed)
        if stragglers:
            _abandoned.append((self, stragglers))
            _report.warn(
                f"{len(stragglers)} task(s) did not end within {timeout} s of being killed and were abandoned: {names}. A task must let TaskExit pass.",
                LeftBehindWarning,
            )
        if interrupt is None and (thrown := pending_once(self.root)) is not None:
            interrupt = thrown.error
        if interrupt is not None:
            raise interrupt
        return left

    def _kill_all(self, timeout: float) -> tuple[list[Task[Any]], BaseException | None]:
        """Kill tasks, and those that they start meanwhile, until none is left or the time is over.

        Returns those that are left, and what was thrown into the root meanwhile; a KeyboardInterrupt ends the waiting.
        """
        self.main = self.root
        killed: set[int] = set()
        interrupt: BaseException | None = None
        deadline = monotonic_ns() + int(timeout * NANOSECONDS)
        while (self._tasks or self._callbacks) and (left := deadline - monotonic_ns()) > 0:
            for task in self.tasks():
                if task.ident not in killed:
                    killed.add(task.ident)
                    throw_in(task, TaskExit("the hub is being closed"))
            first = next(iter(self._tasks.values()), None)
            try:
                if first is None:
                    yield_now()  # the links of those that ended
                elif not first._await_end(min(left / NANOSECONDS, 0.1)):
                    for task in self.tasks():
                        break_shield(task, TaskExit("the hub is being closed"))
            except ParkInFinalizerError:
                break
            except BaseException as error:
                interrupt = interrupt or error
                if isinstance(error, KeyboardInterrupt):
                    break
        return self.tasks(), interrupt

    def abandon_after_fork(self, end_child: Callable[[], object]) -> None:
        """This is the child's copy of a hub: nothing of it may run. ``end_child`` is called when the task that forked returns."""
        self._closed = self._forked = True
        here = getcurrent()
        kept = [self.root, *self._adopted, *self._tasks.values()]
        for task in kept:
            if task._greenlet is not here:
                task._count_as_killed("stayed in the parent process when it forked")
        for failure in self.unreceived_failures():
            failure.received = True  # the parent reports it
        self._inbox.close()
        self._ready = deque()
        self._unstarted = deque()
        self._append = self._append_yielded = self._ready.append
        self._popleft = self._ready.popleft
        self._pass_entry.switch = end_child
        self._budget = 0
        self.backend.close()
        # For ever: collected, parked tasks and the greenlets of others would run the parent's ``finally`` blocks here.
        _left_in_parent.append((self, kept))

    @property
    def forked(self) -> bool:
        """True in the child of a fork for a hub of the parent: its tasks are not here, but for the one that forked."""
        return self._forked

    def fail_in_child(self, error: BaseException) -> None:
        """The task that forked has failed, in the child: its process ends with the status that a script would end with."""
        end_child: Callable[..., object] = self._pass_entry.switch
        self._pass_entry.switch = partial(end_child, error)

    def _raise_closed(self, what: str) -> None:
        raise HubClosedError(
            f"{what}: {self.name} was closed. Its run() has ended, or its thread is going; whatever outlives the hub must not use it. "
            f"Join such tasks before run() returns."
        )

    def __repr__(self) -> str:
        count = len(self._tasks)
        state = "closed" if self._closed else f"{count} task{'' if count == 1 else 's'}, {len(self._ready)} ready"
        return f"<Hub {self.name!r} {state}>"


_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()
_hubs_lock = RLock()  # re-entrant, since a collection in the middle of it may run a finaliser that makes a hub
_left_in_parent: list[tuple[Hub, list[Task[Any]]]] = []


def abandon_hubs_after_fork(end_child: Callable[[], object]) -> None:
    """This is the child of a fork: abandon every hub that there is, those of threads that are not here too."""
    global _hubs_lock
    _hubs_lock = RLock()  # one of those may have held it
    for hub in list(_hubs):
        if not hub._closed:
            hub.abandon_after_fork(end_child)
    _hubs.clear()
    _collection.disregard()


# Tasks that would not end. Collected, they would run their handlers at a random moment of another task.
_abandoned: list[tuple[Hub, Iterable[Task[Any]]]] = []


def _who() -> str:
    task = getattr(getcurrent(), "task", None)
    return "a callback on the hub" if task is None else repr(task)
