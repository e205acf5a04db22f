"""`local`: attributes of which each task has its own.

Theory
======
A local keeps one dict per task, under the task's ``ident``, which is never used again. A read is then: the dict of dicts (a slot), the ident of
whoever runs (through the running greenlet), the name. Whatever is not found so goes the slow way, `_look_up`: it makes the dict of a newcomer, and then
asks the class, so that properties, methods and class attributes work.

The local holds the dicts, and must let go of one when its task has ended. For that each task has a *ledger*, which refers weakly to the locals that it has
touched, and one link, however many locals there are. The main task of a thread, and tasks that stand for other libraries' greenlets, never
end; their going, seen through a weak reference, does as well.

A callback on the hub runs in no task. All callbacks of one hub share a dict of their own, as if the hub were one more task.

A thread without a hub, such as a worker of a thread pool, gets none here: its values are kept under a number of its own. When it has a hub later, and when
that is gone again, they are those of the hub's root task, which stands for the thread: there they are found under either number.

Invariants
==========
1. No task sees what another has set; a new task starts with nothing but what ``__init__`` of a subclass sets in it.
2. A task's values are let go when it has ended, though the Task may still be referred to; and when the Task goes without having ended.
3. A local's values are let go when the local goes. A task that outlives many locals keeps nothing of them.
4. ``__init__`` of a subclass runs once in each task that touches the local, with the arguments that the local was made with; anew only where it raised.
5. A thread's own values are the same before it has a hub, while it has one and after it; no hub is made for them, and they go when the thread ends.
6. In the child of a fork the code that forked finds its values, whether it was a task or not, and those of the others are gone.
"""

from __future__ import annotations

import os
import weakref
from _thread import _local as _thread_local
from itertools import count
from typing import Any, NoReturn

from greenlet import getcurrent

from coopcore.lowlevel import Hub, Task, current_hub, current_task, hide_frames, on_hub, running_task

__all__ = ["all_local_dicts_for_greenlet", "local"]

hide_frames(__file__)

Values = dict[str, Any]

# By the key of a task: the locals that it has touched, by their id. A local that goes takes its entry along.
_ledgers: dict[int, dict[int, weakref.ref[local]]] = {}

# What tells of tasks and hubs that went. A weak reference that is itself dropped would tell nothing.
_watches: dict[int, weakref.ref[Any]] = {}


class local:  # noqa: N801 - the standard library's name
    """An object whose attributes belong to the task that sets them, or to the thread where none runs. Never blocks; works in every thread, and makes no hub.

    Subclasses may have ``__init__``, which runs anew in each task, class attributes, properties and methods; their ``__slots__`` are shared by all tasks.
    A missing attribute raises AttributeError. Values go when their task has ended, or the local goes.
    """

    __slots__ = ("__weakref__", "_local_arguments", "_local_dicts")

    _local_arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _local_dicts: dict[int, Values]

    def __new__(cls, /, *args: Any, **kwargs: Any) -> local:
        has_init = cls.__init__ is not object.__init__
        if (args or kwargs) and not has_init:
            raise TypeError(
                f"Initialization arguments are not supported: {cls.__name__} has no __init__ to take them. Set attributes in each task, or give a subclass one."
            )
        self = object.__new__(cls)
        _set_dicts(self, {})
        _set_arguments(self, (args, kwargs))
        if has_init:
            _enroll(self)  # Python calls __init__ for the maker, right after this
        return self

    def __getattribute__(self, name: str) -> Any:
        try:
            return _dicts_of(self)[getcurrent().task.ident][name]
        except (KeyError, AttributeError):  # not touched, not set; or no task runs here
            return _look_up(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        values = _values(self)
        if name in values:  # then it was no matter of the class's when it was first set
            values[name] = value
            return
        if name == "__dict__":
            _refuse(self)
        if _belongs_to_class(type(self), name):
            object.__setattr__(self, name, value)
        else:
            values[name] = value

    def __delattr__(self, name: str) -> None:
        if name == "__dict__":
            _refuse(self)
        if _belongs_to_class(type(self), name):
            object.__delattr__(self, name)
            return
        try:
            del _values(self)[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self) from None

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *_values(self)})

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"cannot pickle or copy {type(self).__name__!r} object: its attributes belong to tasks. Copy vars(it), which is the running task's.")


_dicts_of: Any = local.__dict__["_local_dicts"].__get__
_set_dicts: Any = local.__dict__["_local_dicts"].__set__
_arguments_of: Any = local.__dict__["_local_arguments"].__get__
_set_arguments: Any = local.__dict__["_local_arguments"].__set__


def _look_up(self: local, name: str) -> Any:
    """An attribute that is not in the dict of whoever runs, or whose dict must be made first."""
    if name == "__class__":  # asked by isinstance() of anything, which should not make a hub
        return type(self)
    values = _values_of_thread(self)
    if values is None:
        values = _values(self)
    if name == "__dict__":
        return values
    return values[name] if name in values else object.__getattribute__(self, name)


def _values(self: local) -> Values:
    """The dict of whoever runs. A newcomer's is made, and filled by ``__init__`` of a subclass."""
    dicts: dict[int, Values] = _dicts_of(self)
    try:
        return dicts[getcurrent().task.ident]
    except (KeyError, AttributeError):
        values = dicts.get(_who()[0])
        if values is None:
            return _initialise(self)
        _share_with_root(self, values)
        return values


def _values_of_thread(self: local) -> Values | None:
    """The dict of this thread, if it has one, and no hub. What `_values` finds, but sooner."""
    stack = getcurrent()
    if stack.parent is None and not hasattr(stack, "task"):
        try:
            return _dicts_of(self).get(_here.thread.key)  # type: ignore[no-any-return]  # as in __getattribute__
        except AttributeError:
            pass
    return None


class _Thread:
    """Stands for a thread that ran without a task, or as the root of a hub. Goes with the thread."""

    __slots__ = ("__weakref__", "key")

    def __init__(self) -> None:
        self.key = _next_thread_key()


_next_thread_key = count(1 << 62).__next__  # no task counts so far
_here = _thread_local()


def _who() -> tuple[int, Task[Any] | Hub | _Thread]:
    """Who runs, and the key of its values: a task's ident, a negative number for the callbacks of a hub, a large one for a thread itself."""
    if on_hub():
        hub = current_hub()
        return -hub.root.ident, hub
    task = running_task()
    if task is None and _has_hub():
        task = current_task()  # another library's greenlet, or a main one whose hub is the parent process's
    if task is not None and task is not task.hub.root:
        return task.ident, task
    try:
        thread: _Thread = _here.thread
    except AttributeError:
        thread = _here.thread = _Thread()
    return thread.key, thread


def _has_hub() -> bool:
    """Whether this thread has a hub, when no task runs, and it is not the hub that does."""
    root = getcurrent()
    while root.parent is not None:
        root = root.parent
    return hasattr(root, "task")


def _share_with_root(self: local, values: Values) -> None:
    """If the root of a hub runs, let it find the thread's values under its ident as well, which is faster."""
    task = running_task()
    if task is not None and task is task.hub.root:
        _note(self, task.ident, task, values)


def _initialise(self: local) -> Values:
    values = _enroll(self)
    if type(self).__init__ is not object.__init__:
        args, kwargs = _arguments_of(self)
        try:
            type(self).__init__(self, *args, **kwargs)
        except BaseException:
            dicts = _dicts_of(self)
            for other in [other for other, its in dicts.items() if its is values]:
                dicts.pop(other, None)
            raise
    _share_with_root(self, values)
    return values


def _enroll(self: local) -> Values:
    """Make the dict of whoever runs, and note it in the ledger."""
    values: Values = {}
    _note(self, *_who(), values)
    return values


def _note(self: local, key: int, owner: Task[Any] | Hub | _Thread, values: Values) -> None:
    ledger = _ledgers.get(key)
    if ledger is None:
        ledger = _open_ledger(key, owner)
    number = id(self)
    ledger[number] = weakref.ref(self, lambda _: ledger.pop(number, None))
    _dicts_of(self)[key] = values


def _open_ledger(key: int, owner: Task[Any] | Hub | _Thread) -> dict[int, weakref.ref[local]]:
    ledger: dict[int, weakref.ref[local]] = {}
    _ledgers[key] = ledger
    _watches[key] = weakref.ref(owner, lambda _: _close_ledger(key))
    if isinstance(owner, Task) and owner is not owner.hub.root:  # that one never ends
        owner.rawlink(_task_ended)
    return ledger


def _task_ended(task: Task[Any]) -> None:
    _close_ledger(task.ident)


def _close_ledger(key: int) -> None:
    """Let go of every value of a task. Twice is harmless, and so is the interpreter's end."""
    _watches.pop(key, None)
    for ref in list(_ledgers.pop(key, {}).values()):
        self = ref()
        if self is not None:
            _dicts_of(self).pop(key, None)


_forking: dict[Any, int] = {}  # by the greenlet: the key of who forks


def _before_fork() -> None:
    _forking[getcurrent()] = _who()[0]


def _after_fork_in_parent() -> None:
    _forking.pop(getcurrent(), None)


def _after_fork_in_child() -> None:
    """Whoever has forked is no task any more, but the thread: give it what was the task's."""
    key = _forking.pop(getcurrent())
    _forking.clear()
    mine = [(self, _dicts_of(self).get(key)) for ref in list(_ledgers.get(key, {}).values()) if (self := ref()) is not None]
    for other in list(_ledgers):
        _close_ledger(other)
    _here.thread = thread = _Thread()
    for self, values in mine:
        if values is not None:
            _note(self, thread.key, thread, values)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _belongs_to_class(cls: type, name: str) -> bool:
    """True for a property, a slot or another data descriptor: the class keeps such a value, not the task."""
    if cls is local and name[:2] != "__":
        return False
    for base in cls.__mro__:
        if name in base.__dict__:
            kind = type(base.__dict__[name])
            return hasattr(kind, "__set__") or hasattr(kind, "__delete__")
    return False


def _refuse(self: local) -> NoReturn:
    raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only", name="__dict__", obj=self)


def all_local_dicts_for_greenlet(task: Task[Any]) -> list[tuple[tuple[type, int], Values]]:
    """``((class, id), dict)`` of each local that a task has touched. For debugging; the dicts are the live ones."""
    found = (ref() for ref in list(_ledgers.get(task.ident, {}).values()))
    return [((type(each), id(each)), _dicts_of(each)[task.ident]) for each in found if each is not None and task.ident in _dicts_of(each)]
