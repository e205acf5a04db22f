"""TaskGroup and CancelScope: tasks that end where they were started, and blocks of code that can be cancelled, also when their time is over.

Theory
======
Scopes form a tree. A task has an innermost scope, the last that it entered and has not left; a child of a `TaskGroup` begins in the group's scope. A
scope is *hit* if it was cancelled, or if the one around it is hit and it has no shield. That is the whole state, and it flows down: cancelling,
shielding, entering and leaving each recompute ``_hit`` where they were and below. A task whose innermost scope is hit has `Cancelled` *kept thrown*
at it (`lowlevel.keep_throwing`): each of its parks raises a new one, until it leaves the scope that is to blame. So clean-up that waits needs a
shield, and code that swallows a `Cancelled` gets the next.

Which scope a `Cancelled` names is found when it is raised: the outermost that was cancelled, as far as no shield hides it. Only that scope catches
it, and passes it on if meanwhile one around it was cancelled too. Kills and `Timeout` are no part of this: they are thrown once, at one task, and
nothing here catches or hides them. A shield says "finish this although the work around it is not wanted any more"; a kill says "this task must end",
and whoever killed it, or closes the hub, waits for that. A kill that a shield could hold off would be a hang.

A group's exit waits until its tasks have ended, whatever comes. The first thing that goes wrong - a task fails, the body raises, the wait is killed
or timed out - cancels the group's scope. What came is sorted at the end (`_outcome`): failures come out together; a kill or a Timeout comes out by
itself, or, if there are failures, waits for the next park, as one does that came after a wake.

`Cancelled` lives here and not in the core: the core throws whatever it is told to, and knows no scopes.

Invariants
==========
1. In a scope that was cancelled every park and every yield raises `Cancelled`, until the scope is left; outside of it, or beneath a shield, none does.
2. Only the scope that a `Cancelled` names catches it, and that is the outermost cancelled one that is visible from where it was raised.
3. A deadline cancels its scope once, when it is reached and not before, wherever it was moved meanwhile; never after the scope was left.
4. A scope is left by the task that entered it, before the scopes around it. Anything else is an error, and no other scope suffers from it.
5. A wake is final: a task that was handed something gets it, and meets the cancellation at its next park.
6. Kills and timeouts pass through scopes and shields.
7. A `TaskGroup` is left only when all its tasks have ended, also those that its tasks have spawned in it.
8. The first failure, of a task or of the body, cancels the rest; every failure comes out once, in the order in which they happened, with the name of its task.
9. Nothing that was thrown into the task that leaves a group is lost: it comes out, or is raised by its next park.
10. Cancelling a scope reaches the tasks of all groups within it, and no others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from greenlet import GreenletExit

from coopcore import Deadlock, Task, Timeout, current_task
from coopcore.errors import HubClosedError, WrongThreadError
from coopcore.lowlevel import (
    Alarm,
    check_seconds,
    current_hub,
    hide_frames,
    keep_throwing,
    park_task,
    refuse_copy,
    scope_of,
    set_scope,
    shielded,
    stop_throwing,
    throw_in,
    unpark,
)

T = TypeVar("T")

__all__ = ["CancelScope", "Cancelled", "OpenScopes", "TaskGroup", "current_time", "fail_after", "move_on_after"]

hide_frames(__file__)

_NANOSECONDS = 1_000_000_000
_LONG = 10**10  # seconds; nobody waits for longer, and such a deadline is none
_NEW, _OPEN, _LEFT = "not entered", "open", "left"
_forks = 0  # how many forks lie between this process and the first that imported this


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class Cancelled(BaseException):
    """Raised by every wait inside a cancelled scope. Let it pass: its scope catches it. Clean up in ``finally``, or catch it and raise it again.

    Derives from BaseException, so that ``except Exception`` doesn't swallow it. ``scope`` is the `CancelScope` that will catch it.
    """

    def __init__(self, scope: CancelScope) -> None:
        super().__init__()
        self.scope = scope

    def __str__(self) -> str:
        return f"{self.scope!r} was cancelled. Each wait in it raises this; let it pass to the end of the block."

    def __repr__(self) -> str:
        return f"Cancelled({self.scope!r})"


def current_time() -> float:
    """The time of this thread's hub, in seconds, as deadlines have it. Not the time of day."""
    return current_hub().clock.now() / _NANOSECONDS


class CancelScope:
    """A block of code that can be cancelled: ``with CancelScope() as scope:``. Leaves quietly then; ``cancelled_caught`` says so.

    ``timeout`` is in seconds from the moment of entering; ``deadline`` is a moment of `current_time`; either cancels the scope when it comes. With ``shield``
    no cancellation from further out reaches inside. Entered once, by one task, and left by the same. Raises ValueError for a negative ``timeout``, RuntimeError
    when it is entered twice, or left by another task or before a scope inside it.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_called",
        "_deadline",
        "_forks",
        "_hit",
        "_inner",
        "_late",
        "_parent",
        "_shield",
        "_state",
        "_task",
        "_tasks",
        "_timeout",
        "cancelled_caught",
    )

    cancelled_caught: bool
    """True once the scope has caught its `Cancelled`: something inside was cut short. False if it was cancelled too late for that."""

    def __init__(self, *, timeout: float | None = None, deadline: float | None = None, shield: bool = False) -> None:
        if timeout is not None and deadline is not None:
            raise ValueError("a scope takes a timeout, in seconds from its entry, or a deadline, a moment of current_time(), but not both")
        self._timeout = None if timeout is None else _checked_span(timeout)
        self._deadline = _to_ns(deadline)
        self._shield = bool(shield)
        self._state = _NEW
        self._called = False
        self._late = False
        self._hit = False
        self._alarm: Alarm | None = None
        self._parent: CancelScope | None = None
        self._task: Task[Any] | None = None
        # Who is directly in this scope, in order: it is the innermost one of these tasks, and the parent of these scopes.
        self._tasks: dict[Task[Any], None] = {}
        self._inner: dict[CancelScope, None] = {}
        self.cancelled_caught = False

    __reduce_ex__ = refuse_copy

    # -- cancelling -----------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the scope: from now on each wait in it raises `Cancelled`. It cannot be undone; again, or once it was left, does nothing. Never blocks.

        From any task of its thread, and on the hub; before the scope is entered, too.
        """
        if not self._called and self._state is not _LEFT:
            self._check_thread("cancel()")
            self._called = True
            self._stop_clock()
            if self._state is _OPEN:
                self._spread()

    @property
    def cancel_called(self) -> bool:
        """True if it was cancelled, or its deadline came while it was open. Looks at the clock, so that code that never waits can ask."""
        if not self._called and self._deadline is not None and self._task is not None and self._task.hub.clock.now() >= self._deadline:
            self._expire()
        return self._called

    @property
    def deadline(self) -> float:
        """When it will be cancelled, a moment of `current_time`; ``math.inf`` for never. A ``timeout`` counts once the scope is entered.

        May be set until the scope is left. To a moment that is past: cancels at once.
        """
        return inf if self._deadline is None else self._deadline / _NANOSECONDS

    @deadline.setter
    def deadline(self, when: float | None) -> None:
        self._check_not_left("deadline")
        self._check_thread("setting the deadline")
        self._deadline = _to_ns(when)
        self._timeout = None
        if self._state is _OPEN:
            self._watch_clock()

    @property
    def shield(self) -> bool:
        """True while cancellations from further out do not reach inside. May be set until the scope is left."""
        return self._shield

    @shield.setter
    def shield(self, shield: bool) -> None:
        self._check_not_left("shield")
        self._check_thread("setting the shield")
        self._shield = bool(shield)
        if self._state is _OPEN:
            self._spread()

    def _watch_clock(self) -> None:
        self._stop_clock()
        if self._deadline is not None and self._task is not None and not self._called:
            hub = self._task.hub
            if hub.clock.now() >= self._deadline:
                self._expire()
            else:
                self._alarm = Alarm(hub, self._deadline, self._expire)

    def _stop_clock(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()

    def _expire(self) -> None:
        if not self._called and self._state is _OPEN:
            self._late = True
            self.cancel()

    def _spread(self) -> None:
        """Something changed here: recompute who is hit, here and below. Not by recursion, since groups may nest deeply."""
        todo = [self]
        while todo:
            scope = todo.pop()
            hit = scope._called or scope._outer_is_hit()
            if hit is not scope._hit:
                scope._hit = hit
                for task in tuple(scope._tasks):
                    _tell(task, hit)
                todo += reversed(scope._inner)

    def _outer_is_hit(self) -> bool:
        """Whether a scope around this one was cancelled, and this one's shield doesn't hide it."""
        return self._parent is not None and self._parent._hit and not self._shield

    # -- entering and leaving -------------------------------------------------------------------------------------------

    def __enter__(self) -> CancelScope:
        self._open(current_task())
        return self

    def _open(self, task: Task[Any]) -> None:
        if self._state is not _NEW:
            raise RuntimeError(f"{self!r} was entered before. A scope is used once: make a new one for each block.")
        self._state = _OPEN
        self._task = task
        self._forks = _forks
        self._parent = parent = scope_of(task)
        was_hit = False
        if parent is not None:
            was_hit = parent._hit
            parent._tasks.pop(task, None)
            parent._inner[self] = None
        self._tasks[task] = None
        set_scope(task, self)
        self._hit = hit = self._called or self._outer_is_hit()
        if hit is not was_hit:
            _tell(task, hit)
        if self._timeout is not None:
            self._deadline = task.hub.clock.now() + int(self._timeout * _NANOSECONDS)
        if self._deadline is not None:
            self._watch_clock()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        self._check_leaver()
        rest = self._rest_of(error)
        wrong = self._leave()
        if wrong is not None:
            raise wrong
        if rest is not None and rest is not error:
            _raise_in_place(rest)
        return error is not None and rest is None

    def _rest_of(self, error: BaseException | None) -> BaseException | None:
        """What ends the block, without the `Cancelled` that end here. One that would, but for a cancelled scope further out, becomes that one's."""
        ours, rest = _split(error, lambda cancelled: cancelled.scope is self)
        if not ours:
            return error
        if self._outer_is_hit():
            for cancelled in ours:
                cancelled.scope = _to_blame(self._parent)
            return error
        self.cancelled_caught = True
        return rest

    def _leave(self) -> RuntimeError | None:
        """Take the scope out of the tree; what is still inside moves to the one around it. Returns the error if something should not have been."""
        task, parent = self._task, self._parent
        assert task is not None
        wrong = None
        if scope_of(task) is not self and not self._from_before_a_fork():
            wrong = RuntimeError(
                f"{self!r} was left before {scope_of(task)!r}, which {task.name!r} entered inside it. Leave scopes in the reverse order of entering; "
                f"use `with`, and don't yield out of a scope from within a generator."
            )
        self._state = _LEFT
        self._stop_clock()
        was_hit, is_hit = self._hit, parent is not None and parent._hit
        for member in self._tasks:
            set_scope(member, parent)
            if is_hit is not was_hit:
                _tell(member, is_hit)
        for scope in self._inner:
            scope._parent = parent
        if parent is not None:
            del parent._inner[self]
            parent._tasks.update(self._tasks)
            parent._inner.update(self._inner)
        for scope in self._inner:
            scope._spread()
        self._tasks.clear()
        self._inner.clear()
        self._parent = self._task = None
        return wrong

    # -- mistakes -------------------------------------------------------------------------------------------------------

    def _check_leaver(self) -> None:
        if self._state is not _OPEN:
            raise RuntimeError(f"{self!r} cannot be left: it is not open. Use `with`, once for each scope.")
        if current_task() is not self._task and not self._from_before_a_fork():
            raise RuntimeError(
                f"{self!r} was entered by {self._task!r} and left by {current_task()!r}. A scope belongs to one task; "
                f"a generator or fixture that enters one must be continued and closed by that same task. To cancel it from another task call cancel()."
            )

    def _from_before_a_fork(self) -> bool:
        """In a forked child the code that forked goes on, as another task: what it leaves is the parent's, and means nothing here."""
        return self._forks != _forks

    def _check_not_left(self, what: str) -> None:
        if self._state is _LEFT:
            raise RuntimeError(f"the {what} of {self!r} was set, but the scope was left already, and nothing would come of it")

    def _check_thread(self, what: str) -> None:
        if self._task is not None and self._task.hub is not current_hub():
            raise WrongThreadError(
                f"{what} of {self!r} was used in another thread than that of {self._task!r}, which is in it. "
                f"Use hub.call_soon_threadsafe(scope.cancel), with the hub of that task."
            )

    def __repr__(self) -> str:
        words = [self._state]
        if self._called:
            words.append("cancelled")
        if self._shield:
            words.append("shielded")
        if self._timeout is not None:
            words.append(f"timeout {self._timeout:g} s")
        elif self._deadline is not None:
            words.append(f"deadline {self.deadline:.9g}")
        return f"<{type(self).__name__.lstrip('_')} {', '.join(words)}{'' if self._task is None else f', of {self._task.name}'}>"


class OpenScopes:
    """The scopes that the current task has entered since it was in ``outer``, taken out of it, so that another task of its hub may leave them.

    For what runs one block of code in several tasks, as pytest does with a fixture that outlives a test. While no task is in them their deadlines come, the
    tasks of their groups run on, and a cancellation reaches those. False if there are none.
    """

    def __init__(self, outer: CancelScope | None) -> None:
        self._chain: list[CancelScope] = []  # the innermost first
        self._take(current_task(), outer)

    def __bool__(self) -> bool:
        return bool(self._chain)

    @property
    def cancelled(self) -> CancelScope | None:
        """The outermost one that was cancelled."""
        return next((scope for scope in reversed(self._chain) if scope.cancel_called), None)

    def _take(self, task: Task[Any], outer: CancelScope | None) -> None:
        scope: CancelScope | None = scope_of(task)
        while scope is not None and scope is not outer:
            self._chain.append(scope)
            scope = scope._parent
        if self._chain:
            _move(task, self._chain[0], outer)
            outermost = self._chain[-1]
            if outer is not None:
                del outer._inner[outermost]
            outermost._parent = None
            outermost._spread()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The current task is in them meanwhile, and in no other; it may leave some. What is still open then is taken out of it again."""
        task = current_task()
        before: CancelScope | None = scope_of(task)
        chain, self._chain = self._chain, []
        for scope in chain:
            scope._task = task
        _move(task, before, chain[0] if chain else None)
        try:
            yield
        finally:
            self._take(task, None)
            _move(task, None, before)


def _move(task: Task[Any], old: CancelScope | None, new: CancelScope | None) -> None:
    """The task is directly in ``new`` now, and not in ``old`` any more."""
    was_hit, is_hit = old is not None and old._hit, new is not None and new._hit
    if old is not None:
        del old._tasks[task]
    if new is not None:
        new._tasks[task] = None
    set_scope(task, new)
    if was_hit is not is_hit:
        _tell(task, is_hit)


def _cancelled_in(task: Task[Any]) -> Cancelled:
    """What is kept thrown at a task whose innermost scope is hit."""
    return Cancelled(_to_blame(scope_of(task)))


def _to_blame(scope: CancelScope | None) -> CancelScope:
    """The outermost cancelled scope that is visible from ``scope``, which is hit."""
    blamed = None
    while scope is not None:
        if scope._called:
            blamed = scope
        scope = None if scope._shield else scope._parent
    assert blamed is not None
    return blamed


def _split(error: BaseException | None, is_meant: Callable[[Cancelled], bool]) -> tuple[list[Cancelled], BaseException | None]:
    """The `Cancelled` in an error that are meant, and what else it is. ``except*`` that raises anew makes a group of a bare one."""
    if type(error) is Cancelled:
        return ([error], None) if is_meant(error) else ([], error)
    if not isinstance(error, BaseExceptionGroup):
        return [], error
    found: list[Cancelled] = []

    def is_one(leaf: BaseException) -> bool:
        if type(leaf) is not Cancelled or not is_meant(leaf):
            return False
        found.append(leaf)
        return True

    _, rest = error.split(is_one)
    return found, rest


def _raise_in_place(rest: BaseException) -> NoReturn:
    """Raise what is left of the error that is being handled, with the context that this had, and not with it for its context."""
    context = rest.__context__
    try:
        raise rest
    finally:
        rest.__context__ = context
        del rest, context


def _tell(task: Task[Any], hit: bool) -> None:
    if hit:
        keep_throwing(task, _cancelled_in)
    else:
        stop_throwing(task, _cancelled_in)


def _checked_span(seconds: Any) -> float | None:
    if isinstance(seconds, Timeout):
        raise TypeError(f"the timeout of a scope is a number of seconds, not {seconds!r}. Scopes and Timeouts nest: write one `with` inside the other.")
    span = check_seconds(seconds, "the timeout of a scope")
    if span is not None and span < 0:
        raise ValueError(f"the timeout of a scope cannot be {seconds!r}: a span of time is not negative. Use max(0, ...), or deadline=, which may be past.")
    return span if span is not None and span < _LONG else None


def _to_ns(when: Any) -> int | None:
    if when is None:
        return None
    moment = check_seconds(when, "a deadline")
    return None if moment is None or moment >= _LONG else round(max(moment, -_LONG) * _NANOSECONDS)


def move_on_after(seconds: float | None, *, shield: bool = False) -> CancelScope:
    """A `CancelScope` that gives its block ``seconds``, and then leaves it quietly; ``cancelled_caught`` says whether. None: no limit."""
    return CancelScope(timeout=seconds, shield=shield)


class _FailScope(CancelScope):
    __slots__ = ()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        caught = super().__exit__(kind, error, tb)
        if caught and self._late:
            span = "the deadline" if self._timeout is None else f"{self._timeout:g} second{'' if self._timeout == 1 else 's'}"
            raise TimeoutError(f"the block was not done after {span}") from error
        return caught


def fail_after(seconds: float | None, *, shield: bool = False) -> CancelScope:
    """A `CancelScope` that gives its block ``seconds``, and then raises the built-in TimeoutError in its place. None: no limit.

    TimeoutError comes only of the deadline: after `CancelScope.cancel` the block is left quietly, and a block that ends by itself, late or not, has not failed.
    """
    return _FailScope(timeout=seconds, shield=shield)


class TaskGroup:
    """Tasks that end where they began: ``with TaskGroup() as group: group.spawn(fn)``. The block is left only when all of them have ended.

    The first failure, in a task or in the block, cancels all the others and the block; then the failures are raised as one ``ExceptionGroup``
    (``BaseExceptionGroup`` if not all are Exceptions). Its exit waits; a kill, a Timeout or a cancellation meanwhile cancels the tasks, and comes
    out when they have ended. The tasks are in the group's ``cancel_scope``. Raises RuntimeError when entered twice, or left by another task.
    """

    def __init__(self) -> None:
        self.cancel_scope = CancelScope()
        """Body and tasks are in it: cancel it to end them all; give it a ``deadline`` or a ``shield``."""
        self._children: dict[Task[Any], None] = {}
        self._owner: Task[Any] | None = None
        self._is_leaving = False
        self._failures: list[BaseException] = []
        self._signals: list[BaseException] = []
        self._interrupt: BaseException | None = None
        self._cancelled: Cancelled | None = None

    __reduce_ex__ = refuse_copy

    def spawn(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Task[T]:
        """Start ``fn(*args, **kwargs)`` in a task of the group. Never blocks. From any task of the thread, its own tasks too, until the block is left.

        In a cancelled group the task begins, and meets `Cancelled` at its first wait. One that is killed is no failure. Raises RuntimeError when the
        group is not open.
        """
        scope = self.cancel_scope
        if scope._state is not _OPEN:
            what = "was not entered yet" if scope._state is _NEW else "was left already, and nobody would wait for the task"
            raise RuntimeError(f"spawn({fn!r}) in {self!r}: its block {what}. Spawn inside `with TaskGroup() as group:`.")
        task: Task[T] = Task(fn, *args, **kwargs)
        if self._owner is not None and task.hub is not self._owner.hub:
            scope._check_thread("spawn()")
        task.rawlink(self._ended)
        task.start()
        self._children[task] = None
        scope._tasks[task] = None
        set_scope(task, scope)
        if scope._hit:
            _tell(task, True)
        return task

    @property
    def tasks(self) -> tuple[Task[Any], ...]:
        """Its tasks that have not ended, oldest first."""
        return tuple(task for task in self._children if not task.dead)

    @property
    def failures(self) -> tuple[BaseException, ...]:
        """What has gone wrong so far, in tasks that have ended, in that order; it comes out of the block. Empty once the block was left."""
        return tuple(self._failures)

    def _ended(self, task: Task[Any]) -> None:
        """A task of the group has ended. Runs on the hub."""
        scope: CancelScope | None = scope_of(task)
        while scope is not None and scope._task is task:
            scope._leave()  # it stands in a generator that the task left behind
            scope = scope_of(task)
        if scope is not None:
            scope._tasks.pop(task, None)
        set_scope(task, None)
        del self._children[task]
        if task.failed:
            self._failed(task)
        if not self._children and self._is_leaving and self._owner is not None:
            unpark(self._owner)

    def _failed(self, task: Task[Any]) -> None:
        error = task.exception
        assert error is not None
        _, failure = self._without_cancelled(error)
        if failure is not None:
            failure.add_note(f"in task {task.name!r} of a TaskGroup, spawned at {task.spawned_at}")
            self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        if all(known is not error for known in self._failures):  # the body may have raised what it got from a task
            self._failures.append(error)
        self.cancel_scope.cancel()

    def _without_cancelled(self, error: BaseException) -> tuple[Cancelled | None, BaseException | None]:
        """Take each `Cancelled` of this group's scope, and of those around it, out of an error. Returns one of the latter, and what else it is."""
        found, rest = _split(error, self._is_ours)
        outer = [cancelled for cancelled in found if cancelled.scope is not self.cancel_scope]
        if len(outer) < len(found):
            self.cancel_scope.cancelled_caught = True
        return (outer[-1] if outer else None), rest

    def _is_ours(self, cancelled: Cancelled) -> bool:
        scope: CancelScope | None = self.cancel_scope
        while scope is not None and scope is not cancelled.scope:
            scope = scope._parent
        return scope is not None

    # -- entering and leaving -------------------------------------------------------------------------------------------

    def __enter__(self) -> TaskGroup:
        self.cancel_scope._open(current_task())
        self._owner = current_task()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        scope = self.cancel_scope
        scope._check_leaver()
        self._owner = scope._task  # another than that which entered it, if it was handed on
        if scope._from_before_a_fork():
            scope._leave()
            return False
        if error is not None:
            self._meet(error)
        self._await_tasks()
        outer = _to_blame(scope._parent) if scope._outer_is_hit() else None
        wrong = scope._leave()
        if wrong is not None:
            self._failures.append(wrong)
        try:
            outcome = self._outcome(error, outer)
            if outcome is None or outcome is error:
                return outcome is None
            if isinstance(outcome, BaseExceptionGroup):
                raise outcome from None
            raise outcome
        finally:
            # The traceback of what is raised refers to this frame.
            outcome = error = None

    def _await_tasks(self) -> None:
        owner = self._owner
        assert owner is not None
        self._is_leaving = True
        while self._children:
            try:
                if self.cancel_scope._called:
                    with shielded(owner):  # the tasks have been told; there is nothing left to hurry
                        park_task(owner, self)
                else:
                    park_task(owner, self)
            except HubClosedError:
                break  # abandoned at the end of its hub: nothing ever ends there any more
            except BaseException as error:
                self._meet(error)
        self._owner = None

    def _meet(self, error: BaseException) -> None:
        """This ended the body, or came into the wait for the tasks."""
        outer, rest = self._without_cancelled(error)
        self._cancelled = outer or self._cancelled
        if rest is None:
            pass
        elif isinstance(rest, KeyboardInterrupt | SystemExit | GeneratorExit | Deadlock):
            self._interrupt = self._interrupt or rest
        elif isinstance(rest, GreenletExit) or (isinstance(rest, Timeout) and rest.owner is self._owner):
            self._signals.append(rest)
        else:
            self._fail(rest)
        self.cancel_scope.cancel()

    def _outcome(self, error: BaseException | None, outer: CancelScope | None) -> BaseException | None:
        """What comes out. An interrupt of the program beats failures, these beat kills and open Timeouts, and those an enclosing cancellation.

        Of what is beaten, an interrupt has the failures for its cause, and kills and Timeouts wait for the next park.
        """
        signals, interrupt, cancelled = self._signals, self._interrupt, self._cancelled
        failures = [failure for failure in self._failures if failure is not interrupt]  # a task's Ctrl-C reaches the main task by itself
        self._failures, self._signals, self._interrupt, self._cancelled = [], [], None, None
        group = BaseExceptionGroup(f"{len(failures)} failure{'' if len(failures) == 1 else 's'} in a TaskGroup", failures) if failures else None
        first = interrupt or group or (signals.pop(0) if signals else None)
        for signal in signals:
            throw_in(current_task(), signal, signal)
        if outer is not None:
            self.cancel_scope.cancelled_caught = False
            cancelled = cancelled or (error if type(error) is Cancelled else Cancelled(outer))
            cancelled.scope = outer
        if interrupt is not None and group is not None:
            interrupt.__cause__ = group
        return first or cancelled

    # -- what is known of it --------------------------------------------------------------------------------------------

    names_owners = True

    def describe_wait(self) -> str:
        tasks = self.tasks
        shown = ", ".join(task.name for task in tasks[:5])
        return f"the end of {len(tasks)} task{'' if len(tasks) == 1 else 's'} of a TaskGroup: {shown}{' ...' if len(tasks) > 5 else ''}"

    def wait_owners(self) -> tuple[Task[Any], ...]:
        return self.tasks

    def __repr__(self) -> str:
        return f"<TaskGroup {self.cancel_scope._state}, {len(self.tasks)} tasks>"
