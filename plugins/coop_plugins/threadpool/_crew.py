"""Threads that take jobs, one after another: the real ones, also where the program is patched. Knows nothing of hubs and tasks.

Theory
======
A crew is a line of jobs, and a stack of the threads that have nothing to do. Each of those sleeps at a bell of its own, a lock that is taken: whoever brings a
job rings the bell of the thread on top, which was idle for the shortest time, so that those below are not kept from expiring by a trickle of jobs. If nobody
is idle, a thread is started, unless there are as many as there may be. A thread that has done its job looks for the next one before it lies down.

All of that is decided under one lock, for a few instructions, which neither wait nor call anything of a user's. It is re-entrant, for the sake of finalisers
and signal handlers that bring a job in the middle of it; none of the states between two of its instructions is one that such a job could harm.

What starts threads is looked up when this module is imported. A row of ``coop_patches`` sees to it that this is before the program is patched.

Invariants
==========
1. Jobs begin in the order in which they were brought.
2. There are never more threads than `most`, and none is started while one is idle.
3. No job is left lying while a thread is idle or another one may be started.
4. A thread that was idle for longer than `idle_timeout` ends. Whatever an idle thread has done before, it holds nothing of it.
5. A job is run once, or, if `withdraw` or `drop` took it back, never.
6. In the child of a fork a crew is as new: without threads, and without the jobs of the parent.
7. A crew that is told to end (`retire`, `drop`) has no threads when the last job is done, until it is brought another one.
"""

from __future__ import annotations

import os
import sys
from _thread import LockType, RLock, allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable
from threading import TIMEOUT_MAX, Thread
from traceback import print_exception
from typing import Protocol
from weakref import WeakSet

from coopcore.lowlevel import IdleThread, hide_frames


def new_lock() -> LockType:
    """A lock for threads, in a patched program too: this module is there before anything is patched."""
    return allocate_lock()


class Job(Protocol):
    """What a crew runs."""

    def run(self) -> None:
        """Called in a thread, once. What it raises is printed, and the thread goes on."""


class _Hand:
    """One thread, as its crew sees it."""

    __slots__ = ("bell",)

    def __init__(self) -> None:
        self.bell = allocate_lock()
        self.bell.acquire()


class Crew:
    """At most ``most`` threads, which end after ``idle_timeout`` seconds without a job (None: never).

    ``prepare``, if given, is called first in each thread; one in which it returns False ends. Every method may be called from any thread, and none blocks.
    """

    def __init__(self, most: int, idle_timeout: float | None, name: str, prepare: Callable[[], bool] | None = None) -> None:
        self.most = most
        self.idle_timeout = idle_timeout
        self.name = name
        self.on_end: Callable[[], object] | None = None  # called, in a thread of the crew's, when the last one is about to end
        self._prepare = prepare
        self._started = 0
        self._clear()
        _crews.add(self)

    def _clear(self) -> None:
        self._lock = RLock()
        self._jobs: deque[Job] = deque()
        self._idle: list[_Hand] = []
        self._idents: set[int] = set()
        self._hands: set[_Hand] = set()
        self._leaving = 0  # how many of the threads are to end as soon as there is no job for them
        self._ending = False

    def __len__(self) -> int:
        """How many threads there are."""
        return len(self._hands)

    @property
    def idle(self) -> int:
        """How many threads have nothing to do."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many jobs no thread has begun yet."""
        return len(self._jobs)

    def is_mine(self) -> bool:
        """True in a thread of the crew's."""
        return get_ident() in self._idents

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def bring(self, job: Job) -> None:
        """Have a thread run ``job``. Raises RuntimeError if it cannot, since there is no thread and none can be started."""
        with self._lock:
            self._ending = False
            self._jobs.append(job)
        try:
            self._call_up(1)
        except RuntimeError:
            if not self._hands and self.withdraw(job):
                raise

    def withdraw(self, job: Job) -> bool:
        """Take a job back. False if a thread has begun it."""
        with self._lock:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
            return True

    def _call_up(self, hands: int) -> None:
        """Wake or start threads, ``hands`` of them, if there are so many jobs and may be so many threads."""
        for _ in range(hands):
            with self._lock:
                if self._idle:
                    self._idle.pop().bell.release()
                    continue
                if not self._jobs or len(self._hands) >= self.most:
                    return
                hand = self._take_on()
            self._start(hand)

    def _take_on(self) -> _Hand:
        hand = _Hand()
        self._hands.add(hand)
        return hand

    def _start(self, hand: _Hand) -> None:
        """Start the thread of one that was taken on. One that was not, or that a signal handler has interrupted here, finds that it is not in the crew."""
        self._started += 1
        try:
            _start_thread(self._work, hand, f"{self.name}-{self._started}")
        except BaseException:
            with self._lock:
                self._hands.discard(hand)
            raise

    # -- how many -------------------------------------------------------------------------------------------------------

    def resize(self, most: int) -> None:
        """From now on at most so many threads. Those that are too many end when they have done their jobs."""
        with self._lock:
            self.most = most
            self._ring_idle(len(self._hands) - most)
        self._call_up(len(self._jobs))

    def have(self, threads: int) -> None:
        """Start threads until there are so many, or let those that are too many end as soon as there is no job for them."""
        with self._lock:
            self._leaving = max(len(self._hands) - threads, 0)
            self._ring_idle(self._leaving)
            missing = [self._take_on() for _ in range(threads - len(self._hands))]
        while missing:
            try:
                self._start(missing.pop())
            except BaseException:
                with self._lock:
                    self._hands.difference_update(missing)
                raise

    def retire(self) -> None:
        """Let every thread end as soon as there is no job left."""
        with self._lock:
            self._ending = True
            self._ring_idle(len(self._hands))

    def drop(self) -> list[Job]:
        """Let every thread end after the job that it runs. Returns the jobs that were not begun."""
        with self._lock:
            dropped = list(self._jobs)
            self._jobs.clear()
            self.retire()
            return dropped

    def _ring_idle(self, count: int) -> None:
        while count > 0 and self._idle:
            self._idle.pop().bell.release()
            count -= 1

    # -- in a thread ----------------------------------------------------------------------------------------------------

    def _work(self, hand: _Hand) -> None:
        """The life of a thread."""
        self._idents.add(get_ident())
        try:
            if self._prepare is not None and not self._prepare():
                with self._lock:
                    self._leave(hand)
            while (job := self._next(hand)) is not None:
                try:
                    job.run()
                except BaseException as error:
                    print(f"coopcore: a job of thread pool {self.name!r} was lost: {job!r}", file=sys.stderr)
                    print_exception(error)
                del job
        finally:
            self._idents.discard(get_ident())

    def _next(self, hand: _Hand) -> Job | None:
        """The next job. Waits for one; None if this thread is to end, which then is in the crew no more."""
        timeout = -1.0 if self.idle_timeout is None else min(self.idle_timeout, TIMEOUT_MAX)
        while True:
            with self._lock:
                if hand not in self._hands:
                    return None
                if len(self._hands) > self.most:
                    self._leave(hand)
                    return None
                if self._jobs:
                    return self._jobs.popleft()
                if self._ending or self._leaving:
                    self._leave(hand)
                    return None
                self._idle.append(hand)
            with IdleThread():
                rung = hand.bell.acquire(True, timeout)
            if rung:
                continue
            with self._lock:
                if hand in self._idle:
                    self._idle.remove(hand)
                    self._leave(hand)
                    return None
            hand.bell.acquire()  # it was rung when the time was over

    def _leave(self, hand: _Hand) -> None:
        """Under the lock: this thread is about to end."""
        self._hands.remove(hand)
        self._leaving = max(self._leaving - 1, 0)
        if not self._hands and self.on_end is not None:
            self.on_end()


def _start_thread(fn: Callable[[_Hand], None], hand: _Hand, name: str) -> None:
    """Start a daemon. It has a name, and is one of ``threading.enumerate``, unless that module starts tasks."""
    if sys.modules["_thread"].start_new_thread is start_new_thread:  # the module itself: our own globals are turned to what it was before the patch
        Thread(target=fn, args=(hand,), name=name, daemon=True).start()
    else:
        start_new_thread(_run_without_a_thread, (fn, hand))


def _run_without_a_thread(fn: Callable[[_Hand], None], hand: _Hand) -> None:
    try:
        fn(hand)
    finally:
        # Who asks for the current thread, as logging does, gets an entry here that nothing removes before Python 3.13. There is no public way to remove it.
        sys.modules["threading"]._active.pop(get_ident(), None)


_crews: WeakSet[Crew] = WeakSet()


def _forget_threads() -> None:
    for crew in list(_crews):
        crew._clear()


os.register_at_fork(after_in_child=_forget_threads)
hide_frames(__file__)
