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

Invariants
==========
1. No task sees what another has set; a new task starts with nothing but what ``__init__`` of a subclass sets in it.
2. A task's values are let go when it has ended, though the Task may still be referred to; and when the Task goes without having ended.
3. A local's values are let go when the local goes. A task that outlives many locals keeps nothing of them.
4. ``__init__`` of a subclass runs once in each task that touches the local, with the arguments that the local was made with; anew only where it raised.
"""

from __future__ import annotations

import weakref
from typing import Any, NoReturn

from greenlet import getcurrent

from coopcore.lowlevel import Hub, Task, current_hub, current_task, hide_frames, on_hub

__all__ = ["all_local_dicts_for_greenlet", "local"]

hide_frames(__file__)

Values = dict[str, Any]

# By the key of a task: the locals that it has touched, by their id. A local that goes takes its entry along.
_ledgers: dict[int, dict[int, weakref.ref[local]]] = {}

# What tells of tasks and hubs that went. A weak reference that is itself dropped would tell nothing.
_watches: dict[int, weakref.ref[Any]] = {}


class local:  # noqa: N801 - the standard library's name
    """An object whose attributes belong to the task that sets them. Never blocks; works in every thread, and without a hub makes one.

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
    values = _values(self)
    if name == "__dict__":
        return values
    return values[name] if name in values else object.__getattribute__(self, name)


def _values(self: local) -> Values:
    """The dict of whoever runs. A newcomer's is made, and filled by ``__init__`` of a subclass."""
    try:
        return _dicts_of(self)[getcurrent().task.ident]  # type: ignore[no-any-return]  # as in __getattribute__: typed calls cost
    except (KeyError, AttributeError):
        values: Values | None = _dicts_of(self).get(_who()[0])
        return _initialise(self) if values is None else values


def _who() -> tuple[int, Task[Any] | Hub]:
    """Who runs, and the key of its values: a task's ident, or a negative number for the callbacks of a hub."""
    if on_hub():
        hub = current_hub()
        return -hub.root.ident, hub
    task = current_task()
    return task.ident, task


def _initialise(self: local) -> Values:
    key, values = _enroll(self)
    if type(self).__init__ is not object.__init__:
        args, kwargs = _arguments_of(self)
        try:
            type(self).__init__(self, *args, **kwargs)
        except BaseException:
            _dicts_of(self).pop(key, None)
            raise
    return values


def _enroll(self: local) -> tuple[int, Values]:
    """Make the dict of whoever runs, and note it in the ledger."""
    key, owner = _who()
    ledger = _ledgers.get(key)
    if ledger is None:
        ledger = _open_ledger(key, owner)
    number = id(self)
    ledger[number] = weakref.ref(self, lambda _: ledger.pop(number, None))
    values: Values = {}
    _dicts_of(self)[key] = values
    return key, values


def _open_ledger(key: int, owner: Task[Any] | Hub) -> dict[int, weakref.ref[local]]:
    ledger: dict[int, weakref.ref[local]] = {}
    _ledgers[key] = ledger
    _watches[key] = weakref.ref(owner, lambda _: _close_ledger(key))
    if isinstance(owner, Task):
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
