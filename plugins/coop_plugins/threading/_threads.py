"""Threads that are tasks: what the patch puts in the place of the functions by which ``threading`` starts threads, tells them apart and waits for their end.

Theory
======
``threading.Thread`` stays the standard's class. It is made of a few functions of ``_thread``, and those are exchanged: `start_new_thread` spawns a task,
`get_ident` is the ident of a task. So what is built upon them serves: ``Timer``, ``Event``, ``Condition``, ``Semaphore``, ``Barrier``, ``queue.Queue``,
``ThreadPoolExecutor``.

*Which become tasks.* A thread that a task starts becomes a task of the same hub, and so does one that the main thread starts, or the thread in which the
program was patched (`homes`). A plain thread starts real ones. Real stay also those of the standard library that wait in pipes of processes, or may
do so: see `REAL`.

*Idents.* A task's is ``Task.ident``. The main task of a hub, and its root, stand for their thread, and have the ident of that, as has whatever runs on the
hub: so the main thread is what it was, also where a program is patched in the middle. Idents of tasks are small numbers, those of threads addresses.

*Ends.* Until Python 3.12 a Thread asks for a lock (`_set_sentinel`) that is released at its end; from 3.13 on it has a handle (`_ThreadHandle`). Either is
built on `End`, so tasks and threads can join each other. While real threads run that were started here, hubs in which a task waits for a lock keep a promise
open: what a thread may do is no deadlock.

*Private names.* ``threading`` has no public seam for any of this. The names that are used are in this module, in ``_names`` and in ``_apply``, and nowhere
else: what ``_thread`` has of them is the same in all versions but for the end of a thread, and ``Thread._target`` says, with the class of the Thread, who
made it.

Invariants
==========
1. A thread is a task exactly if a task, a hub or a home starts it, and it is not one of the `REAL`.
2. Each running task and thread has an ident of its own, but for the main task of a hub and its root, which have their thread's; it does not change while it
   runs.
3. Whoever joins a thread, any number at once, goes on when its function has ended, however it ended: by an error, a kill, before it began, with its hub. A
   join that is interrupted changes nothing for the thread and for others.
4. ``threading`` forgets a task that was not started by it, and asked who it is, when the task ends.
5. A killed thread prints nothing, and a Ctrl-C that hits a thread goes to the main task; any other error of a Thread goes to ``threading.excepthook``, and
   that of a bare function to ``sys.unraisablehook``.
6. In the child of a fork the task that forked is the main thread, with the thread's ident, and the others have ended.
7. The patch can be undone while threads run: they end as they would have, and ``threading`` knows the same threads as before.
"""

from __future__ import annotations

import os
import sys
import threading as _stdlib
import traceback
from _thread import allocate_lock
from _thread import get_ident as native_ident
from _thread import start_new_thread as start_native
from collections.abc import Callable
from contextvars import Context
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet, ref

from greenlet import getcurrent

from coopcore import Task, TaskExit, spawn
from coopcore.lowlevel import hide_frames, on_hub, running_task

from ._lock import Lock
from ._where import homes, real_thread_begins, real_thread_ended

hide_frames(__file__)
hide_frames(_stdlib.__file__)  # so that a thread was spawned where its start() was called

REAL = {
    "concurrent.futures.process",
    "logging.handlers",
    "multiprocessing.managers",
    "multiprocessing.pool",
    "multiprocessing.queues",
    "multiprocessing.resource_sharer",
}
"""The modules whose threads stay real ones: those of classes that they define, and those that run their functions. Add one whose threads wait inside compiled
code."""


def _threading() -> Any:
    """The real module, while ``_stdlib`` may be a copy: for the globals that it changes."""
    return sys.modules["threading"]


# -- who runs -----------------------------------------------------------------------------------------------------------

_mains: set[int] = set()  # idents of tasks that are, or were, the main task of their hub


def get_ident() -> int:
    """The ident of the running task; in the main task of a hub, on the hub and in a plain thread that of the thread."""
    try:
        task = getcurrent().task
        ident: int = task.ident
    except (AttributeError, RuntimeError):  # the second at the interpreter's end
        return native_ident()
    hub = task.hub
    if task is hub.root or ident in _mains:
        return native_ident()
    if task is hub.main:
        _mains.add(ident)  # so that it stays so while the hub closes
        task.rawlink(_main_ended)
        return native_ident()
    return ident


def _main_ended(task: Task[Any]) -> None:
    _mains.discard(task.ident)


# -- starting -----------------------------------------------------------------------------------------------------------

_running: dict[int, _Started] = {}  # by ident
_known: WeakSet[Any] = WeakSet()  # every Thread that was started here


def _no_task() -> None:
    """It is a real thread, or has not begun."""


class _Started:
    """A thread that was started while the program was patched: a task, or a real one."""

    __slots__ = ("_call", "_ident", "ends", "task", "thread")

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], handle: _ThreadHandle | None) -> None:
        self._call: Any = (function, args, kwargs)
        self._ident = 0
        self.task: Callable[[], Task[None] | None] = _no_task
        owner = getattr(function, "__self__", None)
        self.thread = owner if isinstance(owner, _stdlib.Thread) else None
        self.ends: list[End] = []
        if handle is not None:
            self.will_end(handle._end)
        if self.thread is not None:
            _known.add(self.thread)

    def will_end(self, end: End) -> None:
        """This is one that stands for the end of this thread."""
        end.of = self
        self.ends.append(end)

    @property
    def name(self) -> str:
        """Of the Thread, or the ident where there is none."""
        return repr(self.thread.name) if self.thread is not None else str(self._ident)

    def as_task(self) -> int:
        """Start it as a task of this hub. Returns its ident."""
        task: Task[None] = Context().run(spawn, self._run)  # a thread begins with an empty context
        task.name = self.thread.name if self.thread is not None else f"thread-{task.ident}"
        task.rawlink(self._ended)  # if it never begins
        self.task = ref(task)
        self._ident = task.ident
        _running[task.ident] = self
        return task.ident

    def as_thread(self) -> int:
        """Start it as a real thread. Returns its ident."""
        real_thread_begins(self)
        try:
            return start_native(self._run_for_real, ())
        except BaseException:
            real_thread_ended(self)
            raise

    def _run_for_real(self) -> None:
        self._ident = native_ident()
        _running[self._ident] = self
        try:
            self._run()
        finally:
            real_thread_ended(self)

    def _run(self) -> None:
        guest = _threading()._active.get(native_ident())
        (function, args, kwargs), self._call = self._call, None
        try:
            function(*args, **kwargs)
        except (SystemExit, TaskExit):
            pass
        except BaseException as error:
            if not interrupts_main(error):
                _report(error, function)
        finally:
            del function, args, kwargs
            if self.thread is not None:
                self._forget(guest)
            self._ended()

    def _forget(self, guest: Any) -> None:
        """If the patch was undone meanwhile, the Thread has taken the entry of its native thread for its own: put that back."""
        active = _threading()._active
        if active.get(self._ident) is self.thread:
            del active[self._ident]
            if guest is not None:
                active.setdefault(guest.ident, guest)

    def _ended(self, _task: Task[Any] | None = None) -> None:
        """Tell whoever joins it. Once."""
        ends, self.ends = self.ends, []
        _running.pop(self._ident, None)
        if self._call is not None and self.thread is not None:  # it never began
            _threading()._limbo.pop(self.thread, None)
        for end in ends:
            if end.locked():
                end.release()


def _is_real(thread: Any) -> bool:
    target = getattr(thread, "_target", None)
    if type(thread).__module__ == "multiprocessing.dummy":
        return False  # these run the functions of whoever uses multiprocessing.pool.ThreadPool
    return type(thread).__module__ in REAL or getattr(target, "__module__", None) in REAL


def _starts_tasks() -> bool:
    task = running_task()
    return (task is not None and task is not task.hub.root) or on_hub() or native_ident() in homes


def _start(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], handle: _ThreadHandle | None) -> int:
    sys.audit("_thread.start_new_thread", function, args, kwargs)
    started = _Started(function, args, kwargs, handle)
    if _starts_tasks() and not (started.thread is not None and _is_real(started.thread)):
        return started.as_task()
    return started.as_thread()


def start_new_thread(function: Any, args: Any, *kwargs: Any) -> int:
    """Run ``function(*args, **kwargs)`` in a new thread: a task, or a real one. Returns its ident. Never blocks.

    Raises TypeError for what cannot be called so.
    """
    if len(kwargs) > 1 or not callable(function) or not isinstance(args, tuple) or not all(isinstance(given, dict) for given in kwargs):
        return start_native(function, args, *kwargs)  # which raises the standard's error
    return _start(function, args, kwargs[0] if kwargs else {}, None)


def start_joinable_thread(function: Any, handle: Any = None, daemon: bool = True) -> Any:
    """As `start_new_thread`, without arguments; returns a handle that can be joined. From Python 3.13 on."""
    if not callable(function):
        raise TypeError("thread function must be callable")
    if not isinstance(handle, _ThreadHandle):
        if handle is not None and type(handle) is not getattr(_stdlib, "_ThreadHandle", None):
            raise TypeError("'handle' must be a _ThreadHandle")
        given, handle = handle, _ThreadHandle()
        owner: Any = getattr(function, "__self__", None)
        if given is not None and isinstance(owner, _stdlib.Thread):  # it was made before the patch
            owner._handle = handle  # type: ignore[attr-defined]  # from Python 3.13 on
    if handle._state != _NEW:
        raise RuntimeError("thread already started")
    handle._begin()
    try:
        handle.ident = _start(function, (), {}, handle)
    except BaseException:
        handle._unbegin()
        raise
    return handle


def _count() -> int:
    """How many threads run that were started here, tasks or not. Those of our own thread pools are none of the program's: they would linger in its count."""
    return len(_running)


def interrupts_main(error: BaseException) -> bool:
    """Pass a Ctrl-C on, which has hit a thread that is a task, to the main task: standard threads never get one. False if the error is none."""
    task = running_task()
    if task is None or not isinstance(error, KeyboardInterrupt):
        return False
    task.hub.interrupt_main(error)
    return True


def _report(error: BaseException, function: Any) -> None:
    """The error of a function that is nobody's: what ``sys.unraisablehook`` is for."""
    what = "Exception ignored in thread started by"
    if sys.unraisablehook is sys.__unraisablehook__:
        # It takes only an object that nobody but the interpreter can make.
        print(f"{what}: {function!r}", file=sys.stderr)
        traceback.print_exception(error)
        return
    if sys.version_info >= (3, 13):
        what, function = f"{what} {function!r}", None
    args: Any = SimpleNamespace(exc_type=type(error), exc_value=error, exc_traceback=error.__traceback__, err_msg=what, object=function)
    sys.unraisablehook(args)


# -- ends ---------------------------------------------------------------------------------------------------------------


class End:
    """The end of a thread, as the lock that ``threading`` takes it for: the thread acquires it when it begins; once it is released, it is free for good.

    So any number of others may wait for it at once, and one that is killed meanwhile has taken nothing.
    """

    __slots__ = ("__weakref__", "_lock", "_over", "of")

    def __init__(self) -> None:
        self.of: _Started | None = None
        """Whose end it is, if that was started here."""
        self._at_fork_reinit()

    def _at_fork_reinit(self) -> None:
        self._lock = Lock()
        self._over = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """The thread's own call, the first one, returns at once. All others wait for the end, as `Lock.acquire` does."""
        if self._over:
            return True
        first = not self._lock.locked()
        if not self._lock._acquire_slowly(self, blocking, timeout):
            return self._over
        if self._over or not first:
            self._lock.release()
        return True

    def release(self) -> None:
        """The thread's own call: it has ended. Nothing, when it has."""
        if not self._over:
            self._over = True
            self._lock.release()

    def locked(self) -> bool:
        """True from the beginning to the end of the thread."""
        return not self._over and self._lock.locked()

    names_owners = True  # in describe_wait

    def describe_wait(self) -> str:
        return "the end of a thread" if self.of is None else f"the end of thread {self.of.name}"

    def wait_owners(self) -> tuple[Task[None], ...]:
        """The task that the thread is, for deadlock reports; empty if it is a real one."""
        task = None if self.of is None else self.of.task()
        return () if task is None else (task,)

    def __repr__(self) -> str:
        return f"<{self.describe_wait()}>"


def _set_sentinel() -> End:
    """A lock that is released when the running thread ends. Until Python 3.12."""
    end = End()
    started = _running.get(get_ident())
    if started is not None:
        started.will_end(end)
    return end


_NEW, _BEGUN, _DONE = range(3)


class _ThreadHandle:
    """What tells of the end of a thread. From Python 3.13 on."""

    __slots__ = ("__weakref__", "_end", "_state", "ident")

    def __init__(self) -> None:
        self.ident = 0
        self._state = _NEW
        self._end = End()
        _handles.add(self)

    def _begin(self) -> None:
        self._state = _BEGUN
        self._end.acquire()

    def _unbegin(self) -> None:
        self._state = _NEW
        self._end._at_fork_reinit()

    def is_done(self) -> bool:
        """True if the thread has ended."""
        return self._state == _DONE or (self._state == _BEGUN and not self._end.locked())

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, for at most ``timeout`` seconds if that is not None or negative. Raises RuntimeError in the thread itself."""
        if timeout is not None:
            allocate_lock().acquire(True, max(timeout, 0))  # never waits, but raises the standard's errors
        if self._state == _NEW:
            raise RuntimeError("thread not started")
        if self.is_done():
            return
        if self.ident == get_ident():
            raise RuntimeError("Cannot join current thread")
        self._end.acquire(True, -1 if timeout is None or timeout < 0 else timeout)

    def _set_done(self) -> None:
        if self._state == _NEW:
            raise RuntimeError("thread not started")
        self._state = _DONE
        if self._end.locked():
            self._end.release()

    def __repr__(self) -> str:
        return f"<_ThreadHandle object: ident={self.ident}>"


_handles: WeakSet[_ThreadHandle] = WeakSet()


def _make_thread_handle(ident: int) -> _ThreadHandle:
    """A handle for a thread that runs already. From Python 3.13 on."""
    handle = _ThreadHandle()
    handle.ident = ident
    handle._begin()
    return handle


def is_foreign(thread: Any) -> bool:
    """Whether a Thread was started otherwise than by the functions above: to wait for its end may block."""
    return thread not in _known and not isinstance(thread, _stdlib._DummyThread)


# -- forks --------------------------------------------------------------------------------------------------------------


def _after_fork_in_child() -> None:
    """After ``threading`` and coopcore have done theirs. The greenlet that forked is no task any more, so its Thread has the thread's ident now."""
    _mains.clear()
    _running.clear()
    module = _threading()
    main, ident = module._main_thread, native_ident()
    for handle in list(_handles):
        if handle is not getattr(main, "_handle", None) and handle._state == _BEGUN:
            handle._end._at_fork_reinit()
            handle._state = _DONE
    if main.ident != ident:
        module._active.pop(main.ident, None)
        main._ident = ident
        module._active[ident] = main
        if isinstance(getattr(main, "_handle", None), _ThreadHandle):
            main._handle.ident = ident
    if isinstance(main, module._DummyThread):  # before Python 3.13, which does this itself
        module._main_thread = module._MainThread()


os.register_at_fork(after_in_child=_after_fork_in_child)
