"""Waits in finalisers: refused while the cyclic garbage collector is at work.

Theory
======
A finaliser (``__del__``, the callback of a weak reference) that runs because a count of references fell to zero is a call like any other, and may wait. One
that the cyclic collector runs may not: it stands in the middle of the collector, on the stack of whichever task happened to allocate. While
it waited there, nothing more would be collected in the whole process, whatever ran, and that task would be held up by something that it knows nothing of.

The collector tells of its start and end through ``gc.callbacks``. At the start the hub's budget of switches is set to zero, which sends each park and
yield to `Hub._choose_for`, off the hot path, and there this module is asked. So parks and yields cost nothing more, and a collection a few calls.

A signal handler may raise before the first instruction of what is told of the end, which so is never told. Therefore the end is noted by a function of C, too,
which no handler can interrupt.

What was interrupted may be a park or a yield of the very task that the finaliser would make wait: then its reason and its turn are what they were when
the refusal is raised.

Invariants
==========
1. A finaliser that the collector runs is refused each wait, with `ParkInFinalizerError`, where it waits. What needs no wait works.
2. A finaliser that runs since nobody refers to its object any more waits as anybody does.
3. The task that a collection interrupts goes on as if nothing was, also in the middle of a park or a yield; what is pending for it stays so.
4. Other threads wait as ever meanwhile.
5. While no hub lives, the collector calls nothing of ours.
"""

from __future__ import annotations

import gc
from _thread import get_ident
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from .errors import ParkInFinalizerError

if TYPE_CHECKING:
    from ._task import Task

collecting = 0  # the ident of the thread in which the collector is at work, unless `_noted` says that it has ended
_noted: dict[str, Any] = {}  # "stop" is in it from the end of a collection until the start of the next one is told
_note = _noted.__setitem__
_interrupted: Task[Any] | None = None  # the task that it interrupted in the middle of a park
_reason: object = None  # of that park


def attend() -> None:
    """A hub lives: have the collector tell of its start and end."""
    if _on_collection not in gc.callbacks:
        gc.callbacks += [_note, _on_collection]


def disregard() -> None:
    """No hub lives any more."""
    if _on_collection in gc.callbacks:
        gc.callbacks.remove(_on_collection)
        gc.callbacks.remove(_note)
    _ended()


def _ended() -> None:
    global collecting, _interrupted, _reason
    collecting = 0
    _interrupted = _reason = None


def _on_collection(phase: str, _info: dict[str, int]) -> None:
    global collecting, _interrupted, _reason
    if phase == "start":
        _ended()  # the last one, whose end perhaps was not told
        try:
            stack = getcurrent()
        except RuntimeError:  # the interpreter ends, and greenlets with it
            return
        task = getattr(stack, "task", None)
        hub = getattr(stack.parent, "hub", None) if task is None else task._hub  # a worker is between two tasks
        if hub is not None:
            hub._budget = 0
        if task is not None and task._reason is not None:
            _interrupted, _reason = task, task._reason
        _noted.pop("stop", None)
        collecting = get_ident()
    else:
        _ended()


def check(task: Task[Any]) -> None:
    """Raise `ParkInFinalizerError` if the collector is at work in this thread: whoever wants to wait is a finaliser."""
    if "stop" in _noted:
        _ended()
    elif collecting and collecting == get_ident():
        raise ParkInFinalizerError(
            f"a finaliser (__del__, or the callback of a weak reference) that the garbage collector runs in {task.name!r} tried to wait. Nothing else could be "
            f"collected until that wait ended, so it is refused. Close the object when it is done with (a `with` block, close()), before it becomes garbage; "
            f"or have the finaliser spawn() a task that does what must wait."
        )


def put_back(task: Task[Any]) -> None:
    """A park of ``task`` was refused. If the collection has interrupted a park of it, and nobody has ended that meanwhile, it is parked as before."""
    task._reason = _reason if task is _interrupted and not _has_turn(task) else None


def _has_turn(task: Task[Any]) -> bool:
    ready = task._hub._ready
    entries = [ready.popleft() for _ in range(len(ready))]
    for entry in entries:
        ready.append(entry)
    return any(entry is task for entry in entries)


def take_turn_back(task: Task[Any]) -> None:
    """A yield of ``task`` was refused: drop the entry that it has made in ``ready``, the last one."""
    ready = task._hub._ready
    entries = [ready.popleft() for _ in range(len(ready))]
    last = max(index for index, entry in enumerate(entries) if entry is task)
    for entry in entries[:last] + entries[last + 1 :]:
        ready.append(entry)
