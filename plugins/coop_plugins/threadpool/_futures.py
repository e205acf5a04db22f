"""Executors with the interface of ``concurrent.futures``, of real threads and of processes, whose futures are awaited cooperatively.

Theory
======
A `Future` is a standard one, set where the work is done: in a thread, or, for processes, by the standard executor's own thread. So ``wait`` and
``as_completed`` of the standard module work, and block the thread as ever. What differs is `Future.result` and `Future.exception`: they park the task at an
event that a callback of the future sets, from whatever thread, through the inbox of the task's hub. Callbacks that are added in a task are called in tasks
of their own, on that hub.

Invariants
==========
1. `Future.result` and `await_future` park the task, and return or raise what the call did, at once if it is done.
2. Work that is not done holds off a deadlock of the hub that submitted it, and of those who wait for it.
3. Calls are begun in the order in which they were submitted; one that was cancelled is never begun.
4. After `shutdown` nothing more is accepted; with ``wait`` it parks until all that was submitted is done, and the threads or processes are ending.
5. A callback is called once: in a task on the hub where it was added; where no hub was, or it is gone, in the thread that did the work.
"""

from __future__ import annotations

import concurrent.futures as _stdlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.thread import BrokenThreadPool
from contextvars import Context, copy_context
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from coop_plugins.event import Event
from coopcore import spawn
from coopcore.errors import HubClosedError
from coopcore.lowlevel import Hub, Promise, current_hub, hide_frames, on_hub, promise, running_task

from ._crew import Crew, new_lock
from ._pool import _label, offload

T = TypeVar("T")

hide_frames(__file__)


def await_future(future: _stdlib.Future[T], timeout: float | None = None) -> T:
    """The result of any future of ``concurrent.futures``; parks the task until it is there, and not the thread. Raises the error of its call.

    Raises TimeoutError after ``timeout`` seconds, and ``CancelledError`` if it was cancelled. The call goes on when the wait is interrupted.
    """
    _await(future, timeout)
    try:
        return _stdlib.Future.result(future, 0)
    finally:
        del future  # the traceback has this frame, and this the error: a cycle


def _await(future: _stdlib.Future[Any], timeout: float | None) -> None:
    if future.done():
        return
    done = Event()
    _stdlib.Future.add_done_callback(future, lambda _: done.set())
    with promise(f"the end of {future!r}"):
        if not done.wait(timeout):
            raise TimeoutError(f"{future!r} was not done in time")


def _present_hub() -> Hub | None:
    """This thread's hub, if there is one."""
    return current_hub() if running_task() is not None or on_hub() else None


class Future(_stdlib.Future[T]):
    """A future of ``concurrent.futures`` that a task can wait for: `result` and `exception` park it. Has ``rawlink``, for `coopcore.wait`."""

    def __init__(self, what: str = "a call") -> None:
        super().__init__()
        self._links: list[Callable[[Any], object] | None] = []
        hub = _present_hub()
        self._promise: Promise | None = None if hub is None else hub.promise(what)

    def result(self, timeout: float | None = None) -> T:
        """What the call returned; raises what it raised. Parks until it is done; TimeoutError after ``timeout`` seconds."""
        try:
            return await_future(self, timeout)
        finally:
            del self  # the traceback has this frame, and this the error: a cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised; None if it did not. Parks until it is done; TimeoutError after ``timeout`` seconds."""
        _await(self, timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[_stdlib.Future[T]], object]) -> None:
        """Call ``fn(self)`` when it is done or cancelled, in a task of its own, which may wait; at once, right here, if it is. Never blocks."""
        hub = None if self.done() else _present_hub()
        super().add_done_callback(fn if hub is None else partial(_spawn_on, hub, fn))

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` on the hub when it is done; in the hub's next pass if it is. It must not wait."""
        hub, place = current_hub(), len(self._links)
        self._links.append(callback)

        def call() -> None:
            link, self._links[place] = self._links[place], None
            if link is not None:
                link(self)

        def done(_: object) -> None:
            try:
                hub.call_soon_threadsafe(call)
            except HubClosedError:
                pass  # nobody is left there to be told

        super().add_done_callback(done)

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Undo the first `rawlink` of this callback. Quiet if there is none, or it was called."""
        if callback in self._links:
            self._links[self._links.index(callback)] = None

    def _is_over(self) -> None:
        """It is done, or never will be. From any thread."""
        if self._promise is not None:
            self._promise.close()


def _spawn_on(hub: Hub, fn: Callable[[Any], object], future: Any) -> None:
    try:
        hub.call_soon_threadsafe(spawn, fn, future)
    except HubClosedError:
        fn(future)


# -- threads --------------------------------------------------------------------------------------------------------------


class _Call:
    """What a thread runs: one call, and its future."""

    __slots__ = ("args", "context", "fn", "future", "kwargs")

    def __init__(self, future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future = future
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.context: Context = copy_context()

    def run(self) -> None:
        """In the thread."""
        future = self.future
        try:
            if future.set_running_or_notify_cancel():
                try:
                    value = self.context.run(self.fn, *self.args, **self.kwargs)
                except BaseException as error:
                    future.set_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
                else:
                    future.set_result(value)
        finally:
            future._is_over()
            # The frames of the traceback lead back to this one, which must not lead to the error: that would be a cycle.
            del self, future

    def cancel(self) -> None:
        """It is never going to be called."""
        self.future.cancel()
        self.future.set_running_or_notify_cancel()
        self.future._is_over()

    def fail(self, error: BaseException) -> None:
        """It is never going to be called, and its future is to say why."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)
        self.future._is_over()


class _Preparation:
    """Runs the initializer of an executor in each of its threads. One that fails breaks the executor."""

    def __init__(self, initializer: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.initializer = initializer
        self.arguments = arguments
        self.crew: Crew | None = None
        self.broken = ""

    def __call__(self) -> bool:
        try:
            self.initializer(*self.arguments)
        except BaseException:
            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            self.broken = f"the initializer {_label(self.initializer)} of a thread failed, and the executor cannot be used any more"
            assert self.crew is not None
            for call in self.crew.drop():
                assert isinstance(call, _Call)
                call.fail(BrokenThreadPool(self.broken))
        return not self.broken


class ThreadPoolExecutor(_stdlib.Executor):
    """``concurrent.futures.ThreadPoolExecutor`` with `Future`s that tasks can wait for, and of real threads, also where the program is patched.

    Calls run in a copy of the context of whoever submitted them. The threads are daemons, which the end of the program does not wait for: `shutdown` does.
    """

    def __init__(
        self, max_workers: int | None = None, thread_name_prefix: str = "", initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
    ) -> None:
        most = min(32, (os.cpu_count() or 1) + 4) if max_workers is None else max_workers
        if most <= 0:
            raise ValueError(f"max_workers is the greatest number of threads, at least 1, and not {max_workers!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer is a function to be called in each thread, not {initializer!r}")
        self._preparation = None if initializer is None else _Preparation(initializer, initargs)
        self._crew = Crew(most, None, thread_name_prefix or type(self).__name__, self._preparation)
        if self._preparation is not None:
            self._preparation.crew = self._crew
        self._ended = Event()
        self._crew.on_end = self._ended.set
        self._is_shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a thread call ``fn(*args, **kwargs)``. Returns its future. Never blocks. From any thread.

        Raises RuntimeError after `shutdown`, and ``BrokenThreadPool`` if the initializer failed.
        """
        if self._preparation is not None and self._preparation.broken:
            raise BrokenThreadPool(self._preparation.broken)
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future(f"{_label(fn)} in a thread of an executor")
        try:
            self._crew.bring(_Call(future, fn, args, kwargs))
        except BaseException:
            future._is_over()
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more, and end the threads when all is done. Parks until then, if ``wait`` is true. ``cancel_futures``: cancel what is not begun."""
        self._is_shut = True
        if cancel_futures:
            for call in self._crew.drop():
                assert isinstance(call, _Call)
                call.cancel()
        self._crew.retire()
        if wait and not self._crew.is_mine():
            self._ended.clear()
            if len(self._crew):
                with promise("the threads of an executor to end"):
                    self._ended.wait()

    kill = shutdown

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None:
            crew.retire()


# -- processes ------------------------------------------------------------------------------------------------------------


class _Forwarded(Future[T]):
    """Stands for the future of another executor."""

    def __init__(self, inner: _stdlib.Future[T], what: str) -> None:
        super().__init__(what)
        self._inner = inner
        inner.add_done_callback(self._take_over)

    def _take_over(self, inner: _stdlib.Future[T]) -> None:
        try:
            if inner.cancelled():
                super().cancel()
                self.set_running_or_notify_cancel()
            elif (error := inner.exception()) is not None:
                self.set_exception(error)
            else:
                self.set_result(inner.result())
        finally:
            self._is_over()

    def cancel(self) -> bool:
        """Cancel the call, if it is not begun. Returns whether it is cancelled."""
        return self._inner.cancel()

    def running(self) -> bool:
        """True if it is begun, and not done."""
        return self._inner.running()


class ProcessPoolExecutor(_stdlib.Executor):
    """``concurrent.futures.ProcessPoolExecutor`` with `Future`s that tasks can wait for. Takes the same arguments.

    The standard executor does the work, and is there as ``executor``. `submit` may start processes, which takes milliseconds.
    """

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        self.executor = _stdlib.ProcessPoolExecutor(max_workers, **options)
        self._ends = new_lock()  # by one thread at a time: a shutdown goes on when whoever waits for it is interrupted, and may call it again

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a process call ``fn(*args, **kwargs)``, all of which are pickled. Returns its future. Does not wait for it.

        Raises ``BrokenProcessPool`` if a process has died, as do the futures of all calls that were not done then, and RuntimeError after `shutdown`.
        """
        return _Forwarded(self.executor.submit(fn, *args, **kwargs), f"{_label(fn)} in a process")

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1) -> Iterator[T]:
        """An iterator over ``fn(*items)`` for the zipped iterables, whose ``next`` parks. ``chunksize`` calls are sent to a process at a time.

        Raises the error of a call at its place, and then ends; TimeoutError if all is not done ``timeout`` seconds after this call.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize is how many calls are sent to a process at a time, at least 1, and not {chunksize!r}")
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: list(islice(items, chunksize)), [])
        return chain.from_iterable(super().map(partial(_call_each, fn), chunks, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more, and end the processes when all is done. Parks until then, if ``wait``. ``cancel_futures``: cancel what is not begun."""
        if wait:
            offload(self._end, cancel_futures)
        else:
            self.executor.shutdown(False, cancel_futures=cancel_futures)

    def _end(self, cancel_futures: bool) -> None:
        """In a thread."""
        with self._ends:
            self.executor.shutdown(True, cancel_futures=cancel_futures)


def _call_each(fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    """In a process."""
    return [fn(*items) for items in chunk]
