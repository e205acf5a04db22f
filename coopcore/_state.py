"""Park, unpark, throw: the whole life of a task's wait. Everything that changes the state of a task lives here or in ``_task``.

Theory
======
A *task* is a function on a greenlet. ``ready`` is a FIFO of tasks. Whoever must wait takes the first entry out of ``ready`` and
switches straight into it; there is no trip through a loop. The hub's greenlet is entered only when nobody is ready, when
the budget of switches is spent, or when a greenlet must be made.

    NEW --start--> in ready --begins--> RUNNING --yield--> READY (one entry in ready)
                                          |  ^
                                     park |  | unpark / throw / timer: the entry goes to the end of ready
                                          v  |
                                        PARKED (no entry; ``_reason`` is set)         RUNNING --returns--> DONE

``task._reason`` is the state: it is not None exactly while the task is parked. Whoever sets it to None has won the task, and
must, in the same breath, set ``_outcome`` and append the task to ``ready``. There are such winners: `unpark`, `throw_in` (and `break_shield`, when
the hub closes) and a timer. Between the question and the answer they call nothing, and it is only at calls and jumps back that Python lets a signal handler
(or another thread) in, so exactly one wins.

What travels to the parked task is the ``_outcome``: the value given to `unpark`, False from a timer, or a `Thrown`. Nothing ever
travels as a switch value, since such a value surfaces wherever the receiver happens to stand.

Invariants
==========
1. A parked task has no entry in ``ready``; a runnable one has exactly one; a running or finished one has none.
2. A wake is final: after `unpark` returned True, `park` returns that value, whatever was thrown in between. What was thrown waits
   in ``_pending`` and is raised by the next park (or at the end of the present yield, which hands over nothing).
3. `unpark` returns False, and changes nothing, for a task that is not parked: the caller still holds the item or permit.
4. A timer wakes only a task that is still parked, and only with the park that set it.
5. Something thrown is raised by its receiver, on the receiver's own stack, once. It leaves no reference cycle behind.
6. A pending exception with a source that closes (a `Timeout` that is left) is withdrawn.
7. A task that spends its budget and 1 ms lets the hub look at timers and descriptors before another task runs.
8. An exception that a signal handler raises in the middle of a park or a yield loses no task: whoever was popped and not reached gets a new entry.
   (In the few lines of a worker between two tasks it can; Python's own Ctrl-C, and handlers wrapped in `_interrupt.deferring`, never raise there.)
9. What is thrown into a shielded wait, kills and timeouts, ends it not: it is raised by the first park after it. What ends any wait does: an error of the hub,
   such as `Deadlock`, KeyboardInterrupt, SystemExit; and the end of the hub does.
10. Something that is kept thrown (`keep_throwing`) is raised afresh by every park and at the end of every yield, until it is withdrawn; not inside `shielded`.
    So its task is never parked outside of one, or of a shielded wait. What was thrown once comes first, and is raised by one park only, shielded or not.
    The first time it is raised at once, later after a turn of the others: a loop that swallows it starves nobody.
11. A stack that is full in the middle of a park or a yield is the affair of its task, which raises the RecursionError there: whoever was popped and not reached
    gets a new entry, and the park leaves nothing behind. What makes that good runs on the hub's stack.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from greenlet import getcurrent

from . import _collection
from ._raised import by_handler
from .errors import CoopError, ParkInFinalizerError, ParkInHubError, WrongThreadError

if TYPE_CHECKING:
    from ._hub import Hub
    from ._task import Task

NANOSECONDS = 1_000_000_000

# Phases of a task. SCHEDULED is NEW with an entry in ready; the finer states are derived (see Task.state).
NEW, SCHEDULED, STARTED, DONE = range(4)


class Thrown:
    """An exception on its way to a parked task; the wrapper tells it from a value that is an exception."""

    __slots__ = ("error", "source")

    def __init__(self, error: BaseException, source: object = None) -> None:
        self.error = error
        self.source = source


class KeptThrown(Thrown):
    """What stays in ``_pending``, and is raised by each park anew, until `stop_throwing`. ``source`` makes the exception; there is no ``error``."""

    __slots__ = ("make", "met")

    def __init__(self, make: Callable[[Task[Any]], BaseException]) -> None:
        self.source = self.make = make
        self.met = False


class _Reason:
    """What a task waits for that waits for nothing in particular."""

    __slots__ = ("_words",)

    def __init__(self, words: str) -> None:
        self._words = words

    def describe_wait(self) -> str:
        return self._words


SLEEP = _Reason("the end of its sleep")
UNCOUNTED_SLEEP = _Reason("the end of its sleep, for which nobody else need wait")
IDLE = _Reason("a moment when nothing else is ready")

_LONGEST = 400  # characters of a description
# What also ends a wait that is shielded: nobody could wait on after it, or it comes from outside of the program.
_ENDS_ANY_WAIT = (CoopError, KeyboardInterrupt, SystemExit)

# What `park` returns after `unpark_anywhere` from another thread. True, as a wake is.
FROM_AFAR: Any = _Reason("a wake from another thread")

_adopt: Callable[[], Task[Any]]


def set_adopter(adopt: Callable[[], Task[Any]]) -> None:
    """Install what makes a task (and a hub) for a greenlet that has none. The assembly does so when it is imported."""
    global _adopt
    _adopt = adopt


def current_task() -> Task[Any]:
    """The task that is running. Makes this thread's hub if there is none.

    Raises `ParkInHubError` in a callback that runs on the hub itself, where no task runs.
    """
    try:
        task = getcurrent().task
    except AttributeError:
        return _adopt()
    return _adopt() if task is None else task  # None: a worker between two tasks, in a signal handler


def on_hub() -> bool:
    """True in a callback that runs on the hub itself, where nothing may wait."""
    return getattr(getcurrent(), "hub", None) is not None


def running_task() -> Task[Any] | None:
    """The task that is running, or None on the hub and in a thread that has no hub. Makes no hub."""
    return getattr(getcurrent(), "task", None)


def park(reason: object, timeout: float | None = None) -> Any:
    """Wait until another task calls `unpark` with this task. Returns what it was given: True unless said otherwise.

    ``reason`` is any object that says what is waited for (see `protocols.Reason`); it must not be None. ``timeout`` is in seconds,
    or a `Timeout` object that was not started (one that has its own exception raises that); after it, returns False. Raises what is thrown in: kills, and
    timeouts of enclosing blocks. The caller undoes its own registration when the result is False or an exception, if it is still there: a waker may
    have passed it over.
    """
    return park_task(current_task(), reason, timeout)


def park_task(task: Task[Any], reason: object, timeout: float | None = None) -> Any:
    """`park`, for a caller that has looked up the current task already: ``task`` must be that one."""
    if task._pending is not None:
        raise_pending(task)
    if reason is None:
        raise TypeError("park() needs a reason: an object that says what is waited for, not None")
    hub = task._hub
    timer = None if timeout is None else hub._arm(task, timeout)
    task._reason = reason
    hub._budget = budget = hub._budget - 1
    task._since = hub._last_pass
    try:
        # Not popleft().switch() alone: Python 3.11 looks up a method call on a slot the slow way. And no local name for what is called, which may
        # be the beginning of a task: this frame would keep that task alive.
        popleft = hub._popleft
        (popleft().switch if budget > 0 and hub._ready else hub._choose_for(task).switch)()
    except BaseException as error:
        if type(error) is RecursionError and task._reason is not None and not hub._closed and not _collection.collecting:
            # The stack is full, so that no function can be called here; and whoever was popped was perhaps not reached. The hub's own stack has room.
            task._reason = None
            hub._pass_due = True
            hub._inbox.calls.append((hub._rescue, (task, timer)))
            hub._switch()
            raise
        park_cut_short(task, timer, error)
    if timer is None and task._outcome is True:
        return True
    try:
        return take_outcome(task, timer)
    except BaseException as error:
        if task._outcome is None:
            raise  # it is the outcome
        hub.interrupt_main(error)  # a signal handler has raised before the outcome was taken; the wake is final nevertheless
    return take_outcome(task, timer)


def park_cut_short(task: Task[Any], timer: Any, error: BaseException) -> None:
    """An exception came out of the switch of a park, where only a signal handler can have raised it, or the refusal to wait in a finaliser.

    To be called where it is handled: raises it anew, unless the task was woken already and is to go on.
    """
    refused = isinstance(error, ParkInFinalizerError)
    if not refused and task._reason is None:
        park_interrupted(task, error)  # woken perhaps by the handler itself; it has an entry to wait for
        return
    del error  # this frame is on its traceback
    if refused:
        _collection.put_back(task)
    else:
        task._hub._recover(task)
        task._reason = None
    if timer is not None:
        task._hub._disarm(timer)
    raise  # noqa: PLE0704 - in the caller's except clause


def take_outcome(task: Task[Any], timer: Any) -> Any:
    """What a park returns, or raises, now that its task goes on."""
    outcome, task._outcome = task._outcome, None
    if timer is not None and outcome is not False:
        hub = task._hub
        try:
            hub._disarm(timer)
        except BaseException as error:  # out of a signal handler; the wake is final nevertheless
            hub._disarm(timer)
            hub.interrupt_main(error)
        if task._pending is not None:  # it may have fired when the wait was over already
            task._pending = [thrown for thrown in task._pending if not getattr(thrown.source, "for_one_wait", False)] or None
    if type(outcome) is Thrown:
        _raise(outcome)
    return outcome


def park_shielded(task: Task[Any], reason: object) -> Any:
    """`park_task` of a wait that must not end without what it is for, such as that for the lock at the end of ``Condition.wait``.

    ``reason.wait_is_shielded`` must be True. What is thrown into the task now, and what was before, is raised by its next park. Raises only errors of the hub,
    KeyboardInterrupt and SystemExit.
    """
    pending, task._pending = task._pending, None
    try:
        return park_task(task, reason)
    finally:
        if pending is not None:
            task._pending = pending + (task._pending or [])


def break_shield(task: Task[Any], error: BaseException) -> None:
    """Raise ``error`` in a task even if its wait is shielded: the hub is being closed, and nobody may be left who could end that wait."""
    if getattr(task._reason, "wait_is_shielded", False):
        task._reason = None
        task._outcome = Thrown(error)
        task._hub._append(task)


def yield_now() -> None:
    """Let the other ready tasks run once. Goes to the end of ``ready``. Raises what was thrown in meanwhile."""
    try:
        task = getcurrent().task
    except AttributeError:
        task = _adopt()
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


def yield_interrupted(task: Task[Any], error: BaseException) -> None:
    """A signal handler raised in the middle of a yield: it takes its turn, if it had none. The end of the yield raises the error."""
    hub = task._hub
    if hub._closed:
        raise error
    if isinstance(error, ParkInFinalizerError):
        _collection.take_turn_back(task)
        raise error
    add_pending(task, error)
    if hub._recover(task):
        hub._pass_entry.switch()


def park_interrupted(task: Task[Any], error: BaseException) -> None:
    """The same in the middle of a park whose task is woken. That park returns, since a wake is final; the error is the main task's.

    What somebody threw into the task's greenlet, behind our back, is the task's.
    """
    hub = task._hub
    if hub._closed:
        raise error
    if isinstance(error, KeyboardInterrupt | SystemExit) or by_handler(error):
        hub.interrupt_main(error)
    else:
        add_pending(task, error)
    if hub._recover(task):
        hub._pass_entry.switch()


def unpark(task: Task[Any], value: Any = True) -> bool:
    """Make a parked task runnable, at the end of the ready queue; its `park` returns ``value``.

    Returns False, and does nothing, if it is not parked: then somebody else has woken it, and the caller tries the next
    waiter. Never blocks. Only from the thread of the task's hub (else `WrongThreadError`).
    """
    hub = task._hub
    if hub._thread != get_ident() and not hub._forked:
        _refuse_to_wake_from_afar(task)
    if task._reason is None:
        return False
    task._reason = None  # no call since the question: a signal handler that wakes the task runs before both, or after
    task._outcome = value
    append = hub._append
    append(task)
    return True


def unpark_anywhere(task: Task[Any], reason: object) -> None:
    """Wake a task that waits for ``reason``, from any thread. Quiet if it does so no more. Never blocks.

    In its own thread, its `park` returns True. From another one the wake goes through the inbox of its hub, and `park` returns `FROM_AFAR`: the task may have
    given up meanwhile and wait for the same thing anew, so it must look whether the wake was meant for that wait.
    """
    hub = task._hub
    if hub._thread != get_ident():
        hub._inbox.put(arrive, (task, reason))  # a hub that was closed has no tasks left
    elif task._reason is not None:
        task._reason = None
        task._outcome = True
        append = hub._append
        append(task)
    elif task._greenlet is getcurrent():
        hub._inbox.put(arrive, (task, reason))  # this is a signal handler, and the task that it has interrupted is just about to park


def arrive(task: Task[Any], reason: object) -> None:
    """A wake from another thread has come through the inbox."""
    if task._reason is reason:
        unpark(task, FROM_AFAR)


def throw_in(task: Task[Any], error: BaseException, source: object = None) -> None:
    """Raise ``error`` in a task at its wait, or, if it does not wait now, at its next one. Quiet if it has ended.

    A task that was never started ends at once. ``source`` identifies the thrower for `withdraw`. Never blocks.
    """
    hub = task._hub
    if hub._thread != get_ident() and not hub._forked:
        raise_wrong_thread(hub, f"throwing into task {task.name!r}")
    phase = task._phase
    if phase == DONE:
        return
    if phase != STARTED:
        task._never_start(error)
    elif task._reason is None or (getattr(task._reason, "wait_is_shielded", False) and not isinstance(error, _ENDS_ANY_WAIT)):
        add_pending(task, error, source)
    else:
        task._reason = None
        task._outcome = Thrown(error, source)
        hub._append(task)


def add_pending(task: Task[Any], error: BaseException, source: object = None) -> None:
    """Have ``error`` raised by the next park of a task that is not parked."""
    if task._pending is None:
        task._pending = []
    task._pending.append(Thrown(error, source))


def has_thrown(source: object, task: Task[Any]) -> bool:
    """Whether something that ``source`` has thrown is on its way to ``task``."""
    return any(type(thrown) is Thrown and thrown.source is source for thrown in (task._outcome, *(task._pending or ())))


def withdraw(task: Task[Any], source: object) -> None:
    """Take back what ``source`` has thrown and ``task`` has not raised yet."""
    pending = task._pending
    if pending is not None:
        task._pending = [thrown for thrown in pending if thrown.source is not source] or None


def keep_throwing(task: Task[Any], make: Callable[[Task[Any]], BaseException]) -> None:
    """Raise ``make(task)``, a fresh exception each time, at each wait of ``task``, beginning with the one where it is now, until `stop_throwing`.

    Quiet if it has ended, or if this very object is thrown already. A task that has not begun begins, and meets it at its first wait. A wake stays
    final, as with `throw_in`, whose exceptions come first. ``make`` must not wait. Never blocks.
    """
    hub = task._hub
    if hub._thread != get_ident():
        raise_wrong_thread(hub, f"throwing into task {task.name!r}")
    shield = _shield_of(task)
    kept = (task._pending or ()) if shield is None else shield.hidden
    if task._phase == DONE or any(thrown.source is make for thrown in kept):
        return
    if shield is not None:
        shield.hidden.append(KeptThrown(make))
        return
    if task._reason is not None and not getattr(task._reason, "wait_is_shielded", False):
        outcome = Thrown(make(task), make)
        task._reason = None
        task._outcome = outcome
        hub._append(task)
    _keep(task, [KeptThrown(make)])


def stop_throwing(task: Task[Any], make: Callable[[Task[Any]], BaseException]) -> None:
    """Undo `keep_throwing`. What a park raises already, it raises. Quiet if there is nothing to undo. Never blocks."""
    withdraw(task, make)
    shield = _shield_of(task)
    if shield is not None:
        shield.hidden = [thrown for thrown in shield.hidden if thrown.source is not make]


class shielded:  # noqa: N801 - a verb to its users: with shielded():
    """``with shielded():`` the current task waits as if nothing were kept thrown at it: for clean-up that must wait to the end. Nests.

    What is thrown once comes through: kills, and timeouts. The `keep_throwing` of meanwhile is met at the first wait after the block. ``task`` is for a
    caller that has looked up the current task already.
    """

    __slots__ = ("_outer", "_task", "hidden")

    def __init__(self, task: Task[Any] | None = None) -> None:
        self._task = current_task() if task is None else task

    def __enter__(self) -> None:
        task = self._task
        self._outer = outer = _shield_of(task)
        pending = task._pending or []
        self.hidden: list[Thrown] = [thrown for thrown in pending if type(thrown) is KeptThrown]
        task._pending = [thrown for thrown in pending if type(thrown) is Thrown] or None
        if outer is not None:
            self.hidden, outer.hidden = outer.hidden, []  # the innermost holds all of it
        task._own_extras().shield = self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        task = self._task
        task._extras.shield = outer = self._outer
        if outer is not None:
            outer.hidden = self.hidden
        elif self.hidden and task._phase != DONE:
            _keep(task, self.hidden)


def _shield_of(task: Task[Any]) -> shielded | None:
    return task._extras.shield


def _keep(task: Task[Any], kept: list[Thrown]) -> None:
    if task._pending is None:
        task._pending = []
    task._pending += kept


def pending_once(task: Task[Any]) -> Thrown | None:
    """The first of what was thrown once and not raised yet."""
    return next((thrown for thrown in task._pending or () if type(thrown) is Thrown), None)


def raise_pending(task: Task[Any]) -> None:
    _collection.check(task)  # what is pending is not for a finaliser
    _raise(_take_pending(task))


def _take_pending(task: Task[Any]) -> Thrown:
    pending = task._pending
    assert pending is not None
    thrown = pending_once(task)
    if thrown is None:
        kept = pending[0]
        assert isinstance(kept, KeptThrown)
        error = kept.make(task)
        if kept.met:
            _let_others_run(task)
        kept.met = True
        return Thrown(error)
    pending.remove(thrown)
    if not pending:
        task._pending = None
    return thrown


def _let_others_run(task: Task[Any]) -> None:
    """A yield that raises nothing. Whatever comes meanwhile, the caller's error is raised: a waker may have passed the task over, since it is not parked."""
    hub = task._hub
    hub._append_yielded(task)
    try:
        hub._choose_for(task).switch()
    except BaseException as error:
        yield_interrupted(task, error)


def _raise(thrown: Thrown) -> None:
    # Frames of the traceback, and this one, refer to ``thrown``: if that still referred to the error, each throw would leave a cycle. A Timeout is both.
    error = thrown.error
    del thrown.error
    thrown.source = None
    try:
        raise error
    finally:
        del error


def describe_reason(reason: object) -> str:
    """What a wait is for, in words: one line, not too long. Never raises: whoever reads a report has trouble enough without that of a ``__repr__``."""
    try:
        describe = getattr(reason, "describe_wait", None)
        text = str(describe()) if describe is not None else repr(reason)
    except Exception as error:
        return f"<{type(reason).__name__} object at {id(reason):#x}, whose description raised {type(error).__name__}>"
    if not text.isprintable():
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def raise_wrong_thread(hub: Hub, what: str) -> None:
    here, there, advice = _threads(hub._thread)
    raise WrongThreadError(
        f"{what} was called from thread {here}, but the object belongs to the hub of thread {there}. "
        f"Each thread has its own hub, and only its own thread may touch its tasks. {advice}"
    )


def _refuse_to_wake_from_afar(task: Task[Any]) -> None:
    """What the user has in hand is the object that the task waits for, and not the task: the message names that. Nobody waits in a hub that is closed."""
    if task._hub._closed:
        return
    reason = task._reason
    waiting = "does not wait now" if reason is None else f"waits for {describe_reason(reason)}"
    raise_wrong_thread(task._hub, f"waking task {task.name!r} (it {waiting})")


def _threads(there: int) -> tuple[str, str, str]:
    """The names of this thread and of that of an ident, and what to do, for messages."""
    import threading

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    here, name = repr(threading.current_thread().name), repr(names.get(there, there))
    if there not in sys._current_frames():
        return here, f"{there} (which has ended)", "What was made in a thread ends with it: make this object in the thread that uses it, or anew."
    return here, name, f"Take hub = get_hub() in thread {name}; then hub.call_soon_threadsafe(fn, *args), from any thread, calls fn(*args) there."


def refuse_thread(thing: object, thread: int) -> NoReturn:
    """Raise `WrongThreadError` for a primitive whose waiters are in the thread of this ident, and which was used from another one."""
    here, there, advice = _threads(thread)
    raise WrongThreadError(
        f"{thing!r} was used in thread {here} in a way that concerns those who wait for it, or are linked to it, in thread {there}. "
        f"Each thread has its own hub, and all who wait for one object must be of one thread. {advice}"
    )


def refuse_copy(self: object, protocol: SupportsIndex = 0) -> NoReturn:
    """The ``__reduce_ex__`` of what tasks wait for or belong to: `copy` and `pickle` raise TypeError, as for the locks of ``threading``. Else the copy
    would share who waits, and wake them as well."""
    raise TypeError(f"cannot copy or pickle {type(self).__name__!r}: tasks wait for this object, or belong to it, and to no other. Pass it itself.")


def raise_park_in_hub() -> None:
    raise ParkInHubError(
        "this code runs in a callback on the hub itself (a rawlink, a timer or call_soon), where nothing may wait: the hub is what "
        "wakes the others. Spawn a task that does the waiting, or use link() instead of rawlink()."
    ) from None
