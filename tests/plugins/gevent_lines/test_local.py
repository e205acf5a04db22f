"""The section on local."""

from __future__ import annotations

import abc
import gc
import weakref
from typing import Any


class Value:
    """What can be weakly referred to."""


def test_each_greenlet_has_its_own(lib: Any) -> None:
    """local(): greenlet-local."""
    data = lib.local()
    data.x = "main"

    def other() -> tuple[bool, Any]:
        empty = not hasattr(data, "x")
        data.x = "other"
        lib.sleep(0)
        return empty, data.x

    tasks = [lib.spawn(other) for _ in range(2)]
    assert [task.get() for task in tasks] == [(True, "other")] * 2
    assert data.x == "main"


def test_init_runs_in_each_greenlet(lib: Any, log: Any) -> None:
    """Per-greenlet __init__ on subclasses, with the arguments it was made with."""

    class Mine(lib.local):  # type: ignore[misc]  # of either library
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            log.append((args, kwargs))
            self.count = 0

    data = Mine(1, a=2)
    data.count = 5
    assert lib.spawn(lambda: data.count).get() == 0
    lib.spawn(str).join()
    assert lib.spawn(lambda: (data.count, data.count)).get() == (0, 0)
    assert data.count == 5
    assert log == [((1,), {"a": 2})] * 3


def test_arguments_need_an_init(lib: Any) -> None:
    """Arguments without an __init__ are a TypeError."""
    assert lib.outcome(lib.local, 1) == lib.outcome(lib.local, a=1) == "raises TypeError"


def test_class_attributes_properties_and_methods(lib: Any) -> None:
    """Class attrs, properties, static and class methods work."""

    class Mine(lib.local):  # type: ignore[misc]  # of either library
        shared = [1]
        number = 1

        @property
        def double(self) -> int:
            return int(self.number * 2)

        @double.setter
        def double(self, value: int) -> None:
            self.number = value // 2

        @staticmethod
        def static() -> str:
            return "static"

        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

        def method(self) -> Any:
            return self.number

    data = Mine()
    data.double = 10
    assert (data.number, data.double, data.method(), data.static(), data.of_class(), data.shared is Mine.shared) == (5, 10, 5, "static", "Mine", True)
    assert lib.spawn(lambda: (data.number, data.double, data.method())).get() == (1, 2, 1)
    assert Mine.number == 1


def test_abstract_base_classes(lib: Any) -> None:
    """ABCs work."""

    class Base(abc.ABC):
        @abc.abstractmethod
        def speak(self) -> str: ...

    class Mine(lib.local, Base):  # type: ignore[misc]  # of either library
        def speak(self) -> str:
            return "spoke"

    class Abstract(lib.local, Base):  # type: ignore[misc]  # of either library
        pass

    assert Mine().speak() == "spoke" and isinstance(Mine(), Base)
    assert lib.outcome(Abstract) == "raises TypeError"


def test_dict(lib: Any) -> None:
    """__dict__ is the running one's, and cannot be replaced or deleted."""
    data = lib.local()
    data.x = 1
    assert data.__dict__ == {"x": 1}
    data.__dict__["y"] = 2
    assert data.y == 2
    assert lib.spawn(lambda: dict(data.__dict__)).get() == {}
    assert lib.outcome(setattr, data, "__dict__", {}) == lib.outcome(delattr, data, "__dict__") == "raises AttributeError"


def test_missing_and_deleted(lib: Any) -> None:
    """A missing attribute is an AttributeError; one can be deleted, in the running one only."""
    data = lib.local()
    assert lib.outcome(lambda: data.x) == lib.outcome(delattr, data, "x") == "raises AttributeError"
    data.x = 1
    assert lib.outcome(lib.spawn(delattr, data, "x").get) == "raises AttributeError"
    del data.x
    assert not hasattr(data, "x")


def test_values_of_dead_greenlets_are_freed(lib: Any) -> None:
    """Weakly bound to the greenlet: the dicts of dead ones are freed, though they are referred to."""
    data, seen = lib.local(), []

    def work() -> None:
        data.x = Value()
        seen.append(weakref.ref(data.x))

    tasks = [lib.spawn(work) for _ in range(5)]
    lib.joinall(tasks)
    lib.settle()
    gc.collect()
    assert [ref() for ref in seen] == [None] * 5


def test_values_go_with_the_local(lib: Any) -> None:
    """A local that goes takes its values along, of greenlets that live on too."""
    data, seen = lib.local(), []
    go_on = lib.Event()

    def work(data: Any) -> None:
        data.x = Value()
        seen.append(weakref.ref(data.x))
        del data
        go_on.wait()

    worker = lib.spawn(lambda: work(box.pop()))
    box = [data]
    data.x = Value()
    seen.append(weakref.ref(data.x))
    lib.settle()
    del data
    gc.collect()
    assert [ref() for ref in seen] == [None, None]
    go_on.set()
    worker.join()


def test_all_local_dicts_for_greenlet(lib: Any) -> None:
    """all_local_dicts_for_greenlet(g): ((class, id), dict) of each."""
    data = lib.local()
    data.x = 1
    if lib.ours:
        from coop_plugins.local import all_local_dicts_for_greenlet
    else:
        from gevent.local import all_local_dicts_for_greenlet
    found = dict(all_local_dicts_for_greenlet(lib.getcurrent()))
    assert found[(type(data), id(data))] == {"x": 1}
