"""coop_plugins.local: attributes of which each task has its own."""

from __future__ import annotations

import abc
import copy
import functools
import gc
import os
import pickle
import threading
import weakref
from typing import Any

import pytest
from greenlet import greenlet
from werkzeug.local import LocalProxy

import coopcore
from coop_plugins import local as module
from coop_plugins.local import all_local_dicts_for_greenlet, local
from coopcore import spawn
from coopcore.lowlevel import running_task


class Value:
    """Something that can be referred to weakly."""


def in_task(fn: Any, *args: Any) -> Any:
    """What ``fn`` returns in a task of its own."""
    return spawn(fn, *args).get(timeout=5)


def test_invariant_1_no_task_sees_what_another_has_set() -> None:
    data = local()
    data.x = "main"

    def work(n: int) -> None:
        assert not hasattr(data, "x")
        data.x = n
        coopcore.sleep(0)
        assert data.x == n
        assert vars(data) == {"x": n}

    for task in coopcore.joinall([spawn(work, n) for n in range(5)], timeout=5):
        task.get()
    assert data.x == "main"


def test_invariant_2_values_go_when_their_task_has_ended_though_the_task_is_held() -> None:
    data = local()

    def work() -> weakref.ref[Value]:
        data.x = Value()
        return weakref.ref(data.x)

    task = spawn(work)
    value = task.get(timeout=5)
    coopcore.sleep(0)
    assert value() is None
    assert all_local_dicts_for_greenlet(task) == []


def test_invariant_2_values_go_when_their_task_is_killed_or_fails() -> None:
    data = local()
    values = []

    def work(error: Exception | None) -> None:
        data.x = Value()
        values.append(weakref.ref(data.x))
        if error is not None:
            raise error
        coopcore.sleep(5)

    killed, failed = spawn(work, None), spawn(work, LookupError("on purpose"))
    failed.join(timeout=5)
    killed.kill(timeout=5)
    coopcore.sleep(0)
    assert [value() for value in values] == [None, None]


def test_invariant_2_values_go_with_a_task_that_never_ends() -> None:
    """The root task of another thread's hub, and a foreign greenlet's, go without ending."""
    coopcore.get_hub()
    data = local()
    values = []

    def work() -> None:
        data.x = Value()
        values.append(weakref.ref(data.x))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    foreign = greenlet(work)
    foreign.switch()
    del foreign, thread
    gc.collect()
    assert [value() for value in values] == [None, None]


def test_invariant_2_nothing_is_left_in_the_tables_of_the_module() -> None:
    data = local()
    gc.collect()
    before = len(module._ledgers), len(module._watches)
    coopcore.joinall([spawn(setattr, data, "x", n) for n in range(50)], timeout=5)
    coopcore.sleep(0)
    assert (len(module._ledgers), len(module._watches)) == before


def test_invariant_3_values_go_with_the_local() -> None:
    data = local()
    data.x = Value()
    value = weakref.ref(data.x)
    del data
    assert value() is None


def test_invariant_3_a_task_that_outlives_many_locals_keeps_nothing_of_them() -> None:
    def work() -> None:
        me = coopcore.current_task()
        for n in range(100):
            local().x = n
        assert all_local_dicts_for_greenlet(me) == []
        assert module._ledgers[me.ident] == {}

    in_task(work)


def in_thread(fn: Any) -> Any:
    """What ``fn`` returns in a thread of its own."""
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(fn()))
    thread.start()
    thread.join(5)
    return outcome[0]


def test_invariant_5_a_threads_values_are_the_same_before_it_has_a_hub_with_it_and_after() -> None:
    data = local()
    calls: list[str] = []

    class Data(local):
        def __init__(self) -> None:
            calls.append(threading.current_thread().name)

    counted = Data()
    calls.clear()

    def work() -> weakref.ref[Value]:
        data.x = Value()
        value = weakref.ref(data.x)
        counted.y = 1
        assert running_task() is None, "no hub was made"
        coopcore.sleep(0)
        assert running_task() is not None
        assert data.x is value()
        assert counted.y == 1
        assert not hasattr(data, "z")
        data.z = 3
        assert in_task(lambda: hasattr(data, "x")) is False
        assert vars(data) == {"x": value(), "z": 3}
        del data.z
        return value

    value = in_thread(work)
    gc.collect()
    assert value() is None
    assert len(calls) == 1

    def run_twice() -> None:
        data.x = 1
        for _ in range(2):
            coopcore.run(lambda: data.__dict__.update(x=2))
            assert data.x == 1
        coopcore.get_hub()
        assert data.x == 1

    in_thread(run_twice)


def test_invariant_5_a_foreign_greenlet_in_a_thread_without_a_hub_has_the_threads_values() -> None:
    data = local()

    def work() -> None:
        data.x = 1
        greenlet(lambda: setattr(data, "x", data.x + 1)).switch()
        assert data.x == 2
        assert running_task() is None
        coopcore.get_hub()
        assert data.x == 2
        greenlet(lambda: setattr(data, "x", 3)).switch()
        assert data.x == 2

    error: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as caught:
            error.append(caught)

    in_thread(guarded)
    assert error == []


def test_invariant_5_nothing_is_left_of_threads_in_the_tables_of_the_module() -> None:
    data = local()
    gc.collect()
    before = len(module._ledgers), len(module._watches)
    in_thread(lambda: setattr(data, "x", 1))
    in_thread(lambda: (setattr(data, "x", 1), coopcore.sleep(0), setattr(data, "x", 2)))
    gc.collect()
    assert (len(module._ledgers), len(module._watches)) == before
    assert len(module._dicts_of(data)) == 0


def test_invariant_6_in_the_child_of_a_fork_who_forked_finds_its_values() -> None:
    data = local()
    data.x = "main"

    def fork(mine: str | None) -> int:
        if mine is not None:
            data.x = mine
        pid = os.fork()
        if not pid:
            status = 1
            try:  # in the child of a fork, which coverage does not see
                expected = mine or "main"
                found = data.x
                coopcore.get_hub()
                status = 0 if found == data.x == expected and len({id(its) for its in module._dicts_of(data).values()}) == 1 else 2
            finally:
                os._exit(status)
        return os.waitpid(pid, 0)[1]

    assert fork(None) == 0
    assert in_task(fork, "task") == 0
    assert in_thread(lambda: fork("thread")) == 0
    assert in_thread(lambda: (coopcore.sleep(0), fork("root"))[1]) == 0
    assert data.x == "main"
    assert module._forking == {}


def test_invariant_4_init_of_a_subclass_runs_once_in_each_task_with_the_arguments() -> None:
    calls: list[tuple[int, str]] = []

    class Data(local):
        def __init__(self, first: int, *, second: str) -> None:
            calls.append((first, second))
            self.items = [first]

    data = Data(1, second="b")
    assert calls == [(1, "b")]
    data.items.append(2)

    def work() -> list[int]:
        data.items.append(3)
        return data.items

    assert in_task(work) == [1, 3]
    assert in_task(work) == [1, 3]
    assert data.items == [1, 2]
    assert calls == [(1, "b")] * 3


def test_invariant_4_init_that_raised_runs_anew_at_the_next_touch() -> None:
    outcomes = iter([None, LookupError("first"), None])

    class Data(local):
        def __init__(self) -> None:
            self.x = 1
            outcome = next(outcomes)
            if outcome is not None:
                raise outcome

    data = Data()

    def work() -> int:
        with pytest.raises(LookupError):
            data.x
        return data.x

    assert in_task(work) == 1


def test_init_that_parks_is_no_hindrance_to_others() -> None:
    class Data(local):
        def __init__(self) -> None:
            self.me = coopcore.current_task().ident
            coopcore.sleep(0)

    data = Data()

    def work() -> bool:
        return data.me == coopcore.current_task().ident

    assert [task.get() for task in coopcore.joinall([spawn(work) for _ in range(5)], timeout=5)] == [True] * 5


def test_arguments_without_an_init_to_take_them() -> None:
    with pytest.raises(TypeError, match="Initialization arguments are not supported"):
        local(1)
    with pytest.raises(TypeError, match="Initialization arguments are not supported"):
        local(x=1)


def test_a_missing_attribute_is_an_error_like_that_of_threading_local() -> None:
    data = local()
    with pytest.raises(AttributeError, match="'local' object has no attribute 'x'") as caught:
        data.x
    assert (caught.value.name, caught.value.obj) == ("x", data)
    with pytest.raises(AttributeError, match="'local' object has no attribute 'x'"):
        del data.x
    assert getattr(data, "x", 7) == 7


def test_what_is_set_again_is_the_newer_and_still_the_tasks_own() -> None:
    data = local()
    data.x = 1
    data.x = 2
    assert (data.x, vars(data)) == (2, {"x": 2})
    assert in_task(lambda: hasattr(data, "x")) is False


def test_delete() -> None:
    data = local()
    data.x = 1
    del data.x
    assert not hasattr(data, "x")


def test_class_attributes_methods_and_properties_work_and_can_be_shadowed() -> None:
    class Data(local):
        colour = "red"

        @property
        def double(self) -> int:
            return int(self.x * 2)

        @double.setter
        def double(self, value: int) -> None:
            self.x = value // 2

        def method(self) -> int:
            return int(self.x)

        @staticmethod
        def static() -> str:
            return "static"

        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

        @functools.cached_property
        def costly(self) -> object:
            return object()

    data = Data()
    data.double = 6
    assert (data.x, data.double, data.method(), data.static(), data.of_class()) == (3, 6, 3, "static", "Data")
    assert data.costly is data.costly
    assert in_task(lambda: data.costly) is not data.costly
    data.colour = "blue"
    data.method = lambda: 9  # type: ignore[method-assign]  # shadowing one is what is tested
    assert (data.colour, data.method()) == ("blue", 9)
    assert in_task(lambda: data.colour) == "red"
    del data.colour
    assert data.colour == "red"
    with pytest.raises(AttributeError):
        del data.of_class  # the class's, not the task's
    with pytest.raises(AttributeError):
        del data.double  # a property without a deleter


def test_slots_of_a_subclass_are_shared_by_all_tasks() -> None:
    class Data(local):
        __slots__ = ("shared",)

    data = Data()
    data.shared = 1
    data.own = 2
    assert in_task(lambda: (data.shared, hasattr(data, "own"))) == (1, False)
    in_task(lambda: delattr(data, "shared"))
    assert (hasattr(data, "shared"), data.own) == (False, 2)


def test_abstract_base_classes() -> None:
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self) -> int: ...

    class Square(local, Shape):
        def area(self) -> int:
            return int(self.side**2)

    class Nothing(local, Shape):
        pass

    square = Square()
    square.side = 3
    assert square.area() == 9
    assert isinstance(square, Shape)
    with pytest.raises(TypeError, match="abstract"):
        Nothing()  # type: ignore[abstract]  # that it is refused is the test


def test_dict_is_the_tasks_own_and_cannot_be_replaced() -> None:
    data = local()
    data.x = 1
    assert data.__dict__ == {"x": 1}
    data.__dict__["y"] = 2
    assert data.y == 2
    assert {"x", "y"} <= set(dir(data))
    assert in_task(lambda: data.__dict__) == {}
    for change in (lambda: setattr(data, "__dict__", {}), lambda: delattr(data, "__dict__")):
        with pytest.raises(AttributeError, match="'local' object attribute '__dict__' is read-only"):
            change()


def test_it_cannot_be_copied_or_pickled() -> None:
    data = local()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle"):
            attempt(data)


def test_the_class_is_known_without_touching_the_values() -> None:
    data = local()
    assert not isinstance(data, int)
    assert data.__class__ is local
    assert module._dicts_of(data) == {}


def test_callbacks_on_the_hub_share_a_set_of_their_own() -> None:
    data = local()
    seen = []
    done: list[bool] = []

    def main() -> None:
        data.x = "task"
        hub = coopcore.get_hub()
        hub.call_soon(lambda: seen.append(getattr(data, "x", None)))
        hub.call_soon(lambda: setattr(data, "x", "hub"))
        hub.call_soon(lambda: seen.append(data.x))
        hub.call_soon(done.append, True)
        while not done:
            coopcore.sleep(0)
        assert data.x == "task"

    coopcore.run(main)
    assert seen == [None, "hub"]


def test_callbacks_on_the_hub_see_nothing_of_the_main_task_of_their_thread() -> None:
    data = local()
    seen = []

    def main() -> None:
        data.x = "main task"
        coopcore.get_hub().call_soon(lambda: seen.append(getattr(data, "x", None)))
        coopcore.sleep(0)
        seen.append(data.x)

    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    assert seen == [None, "main task"]


def test_the_tasks_of_each_thread_are_apart() -> None:
    data = local()
    data.x = "first thread"
    seen = []

    def work() -> None:
        def main() -> None:
            seen.append(hasattr(data, "x"))
            data.x = "second thread"
            in_task(lambda: seen.append(hasattr(data, "x")))
            seen.append(data.x)

        coopcore.run(main)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert seen == [False, False, "second thread"]
    assert data.x == "first thread"


def test_values_last_from_one_use_to_the_next_in_a_main_greenlet() -> None:
    data = local()
    data.x = 1
    assert coopcore.run(lambda: hasattr(data, "x")) is False
    assert data.x == 1


def test_all_dicts_of_a_task() -> None:
    first, second = local(), local()

    def work() -> None:
        me = coopcore.current_task()
        assert all_local_dicts_for_greenlet(me) == []
        first.x = 1
        second.y = 2
        assert all_local_dicts_for_greenlet(me) == [((local, id(first)), {"x": 1}), ((local, id(second)), {"y": 2})]

    in_task(work)


def test_a_proxy_of_werkzeug_over_it() -> None:
    class Request:
        def __init__(self, path: str) -> None:
            self.path = path

    session = local()
    request: Any = LocalProxy(lambda: session.request)

    def serve(path: str) -> str:
        session.request = Request(path)
        coopcore.sleep(0)
        return str(request.path)

    paths = [f"/{n}" for n in range(10)]
    tasks = [spawn(serve, path) for path in paths]
    coopcore.joinall(tasks, timeout=5)
    assert [task.value for task in tasks] == paths
    with pytest.raises(AttributeError):
        request.path


def test_program_8() -> None:
    data = local()
    lines = []

    def f1() -> None:
        data.x = 1
        lines.append(data.x)

    def f2() -> None:
        data.y = 2
        lines.append(data.y)
        try:
            lines.append(data.x)
        except AttributeError:
            lines.append("x is not local to f2")

    coopcore.joinall([spawn(f1), spawn(f2)], timeout=5)
    assert lines == [1, 2, "x is not local to f2"]


def test_a_thread_without_a_hub_that_reads_before_it_has_ever_set_anything() -> None:
    values = local()
    values.x = "the main thread's"
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append((hasattr(values, "x"), dict(vars(values)))))
    thread.start()
    thread.join()
    assert seen == [(False, {})]
