"""The invariants of ``coopcore._assemble``; how parts are chosen, what each hook is called with and when, and what becomes of its errors.

Plugins are registered in a manager of the test's own, which stands in for the process's while the test runs.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from greenlet import greenlet
from seams.clock import JumpingClock
from seams.scheduler import NewestFirst
from seams.timers import HeapTimers

import coopcore
from coop_plugins.backends.selectors import SelectorsBackend
from coopcore import _assemble, current_task, get_hub, hookimpl, run, sleep, spawn
from coopcore._assemble import DEFAULTS, Plugins, make_hub, new_plugins
from coopcore._clock import RealClock
from coopcore._timers import BucketTimers
from coopcore.errors import HubError, InterfaceError, OfferConflictError, PluginError, PluginLoadError, UnknownOfferError
from coopcore.lowlevel import Offer

KINDS = ["backend", "clock", "timers", "scheduler"]
OFFERING = {
    "backend": "coop_backends",
    "network": "coop_networks",
    "resolver": "coop_resolvers",
    "clock": "coop_clocks",
    "timers": "coop_timers",
    "scheduler": "coop_schedulers",
}


class OurBackend(SelectorsBackend):
    pass


class OtherBackend(SelectorsBackend):
    pass


class OurClock(RealClock):
    pass


class OurTimers(BucketTimers):
    pass


class OurScheduler(NewestFirst):
    pass


class Tracer:
    """Keeps the names of tasks that were spawned."""

    def __init__(self) -> None:
        self.spawned: list[str] = []

    def task_spawned(self, task: Any) -> None:
        self.spawned.append(task.name)

    def task_started(self, task: Any) -> None:
        pass

    task_parked = task_unparked = task_exited = task_started

    def task_failed(self, task: Any, error: BaseException) -> None:
        pass


OURS: dict[str, type] = {"backend": OurBackend, "clock": OurClock, "timers": OurTimers, "scheduler": OurScheduler}
OTHERS: dict[str, type] = {"backend": OtherBackend, "clock": JumpingClock, "timers": HeapTimers, "scheduler": NewestFirst}
Add = Callable[..., object]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The plugins of the process, for this test: the built-in one."""
    for name in [name for name in os.environ if name.startswith("COOP_")]:
        monkeypatch.delenv(name)
    found = new_plugins()
    found.discover()
    monkeypatch.setattr(_assemble, "_plugins", found)
    return found


@pytest.fixture
def add(found: Plugins) -> Add:
    """Add a plugin of these hooks: ``add("name", coop_started=function)``. Its distribution is called ``name-dist``."""

    def add(name: str, **hooks: Any) -> object:
        plugin = SimpleNamespace(**{hook: hookimpl(function) for hook, function in hooks.items()})
        found.add(plugin, name, f"{name}-dist")
        return plugin

    return add


@pytest.fixture
def offered(add: Add) -> None:
    """A plugin that offers one thing of each kind, named ``ours``, and another, named ``aaa``, which comes first by any order of names."""

    def offering(kind: str) -> Callable[[], list[Offer]]:
        return lambda: [Offer("ours", f"{__name__}:{OURS[kind].__name__}", "x"), Offer("aaa", f"{OTHERS[kind].__module__}:{OTHERS[kind].__name__}", "x")]

    add("offering", **{OFFERING[kind]: offering(kind) for kind in KINDS})


def parts(hub: Any) -> dict[str, Any]:
    return {"backend": hub.backend, "clock": hub.clock, "timers": hub.timers, "scheduler": hub._ready}


def chosen(**asked: Any) -> dict[str, type]:
    """The types of a hub's parts, if it is asked for like this."""
    return {kind: type(part) for kind, part in run(lambda: parts(get_hub()), **asked).items()}


def descriptors() -> set[str]:
    gc.collect()
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


# -- 1: defaults ----------------------------------------------------------------------------------------------------------------


def test_invariant_1_a_default_is_not_changed_by_what_is_installed(add: Add, found: Plugins, request: pytest.FixtureRequest) -> None:
    before = chosen()
    assert before["backend"].__module__ == f"coop_plugins.backends.{'epoll' if sys.platform == 'linux' else 'selectors'}"
    request.getfixturevalue("offered")
    assert {"ours", "aaa"} <= set(found.offers("backend")) and {"ours", "aaa"} == set(found.offers("timers"))
    assert chosen() == before


@pytest.mark.parametrize("kind", KINDS)
def test_invariant_1_anything_else_must_be_asked_for_by_name(kind: str, offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    default = chosen()
    assert OURS[kind] not in default.values()
    asked = {**default, kind: OURS[kind]}
    assert chosen(**{kind: "ours"}) == asked
    monkeypatch.setenv(f"COOP_{kind.upper()}", "ours")
    assert chosen() == asked


def test_invariant_1_the_first_default_that_is_on_offer(found: Plugins, monkeypatch: pytest.MonkeyPatch, offered: None) -> None:
    monkeypatch.setitem(DEFAULTS, "backend", ("no such", "aaa", "ours"))
    assert chosen()["backend"] is OtherBackend
    monkeypatch.setitem(DEFAULTS, "backend", ("no such",))
    with pytest.raises(UnknownOfferError, match=r"no default backend \(no such\) is on offer; there are: aaa, epoll, ours, selectors\."):
        run(print)


# -- choosing -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_argument_wins_over_the_environment(kind: str, offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"COOP_{kind.upper()}", "ours")
    assert chosen(**{kind: "aaa"})[kind] is OTHERS[kind]
    monkeypatch.setenv(f"COOP_{kind.upper()}", "no such thing")
    assert chosen(**{kind: "aaa"})[kind] is OTHERS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_taken_as_it_is(kind: str, offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"COOP_{kind.upper()}", "ours")
    thing = OTHERS[kind]()
    assert run(lambda: parts(get_hub())[kind], **{kind: thing}) is thing


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_is_refused_where_an_object_is_meant(kind: str, found: Plugins) -> None:
    with pytest.raises(InterfaceError, match=rf"the {kind} that was passed is the class .*; an object of it is needed: {OURS[kind].__name__}\(\)\."):
        run(print, **{kind: OURS[kind]})  # type: ignore[arg-type]  # the mistake that is tested


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_in_the_environment_that_nobody_offers(kind: str, offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"COOP_{kind.upper()}", "our")
    with pytest.raises(UnknownOfferError, match=r"'our'; on offer are: aaa, .*ours.*") as caught:
        run(print)
    assert f"COOP_{kind.upper()}" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_variable_is_none(kind: str, offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    default = chosen()
    monkeypatch.setenv(f"COOP_{kind.upper()}", "")
    assert chosen() == default


def test_the_environment_chooses_for_an_implicit_hub_too(offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        monkeypatch.setenv(f"COOP_{kind.upper()}", "ours")
    assert in_thread(lambda: {kind: type(part) for kind, part in parts(get_hub()).items()}) == OURS


def test_what_was_chosen_is_what_runs(offered: None) -> None:
    """The clock's time passes by jumps, and the newest task runs first."""

    def main() -> tuple[list[int], int]:
        order: list[int] = []
        before = get_hub().clock.now()
        tasks = [spawn(order.append, number) for number in range(3)]
        sleep(3600)
        assert all(task.dead for task in tasks)
        return order, get_hub().clock.now() - before

    assert run(main, clock="aaa", scheduler="aaa", timers="aaa", backend="aaa") == ([2, 1, 0], 3600 * 10**9)


# -- 2: what is wrong with a plugin ---------------------------------------------------------------------------------------------


def broken(*args: Any) -> Any:
    raise ZeroDivisionError("on purpose")


def task_of_this_greenlet() -> Any:
    """That of the hub which a test before may have made by using coopcore without `run`; None if none has."""
    return getattr(_assemble.getcurrent(), "task", None)


def names_the_plugin(error: PluginError, name: str = "bad") -> None:
    message = str(error)
    assert f"'{name}'" in message, "its name"
    assert f"'{name}-dist'" in message, "its distribution"
    assert f"COOP_DISABLE_PLUGINS={name}" in message, "how to turn it off"


@pytest.mark.parametrize("hook", ["coop_backends", "coop_clocks", "coop_timers", "coop_schedulers", "coop_networks", "coop_resolvers"])
def test_invariant_2_a_hook_of_offers_that_raises(hook: str, add: Add, found: Plugins) -> None:
    add("bad", **{hook: lambda: broken()})
    kind = next(kind for kind, name in OFFERING.items() if name == hook)
    with pytest.raises(PluginError, match=rf"failed in {hook}\(\): ZeroDivisionError: on purpose") as caught:
        run(print, **{kind: "anything"})
    names_the_plugin(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("kind", ["primitive", "command"])
def test_invariant_2_a_hook_of_a_listing_that_raises(kind: str, add: Add, found: Plugins) -> None:
    add("bad", **{f"coop_{kind}s": lambda: broken()})
    with pytest.raises(PluginError, match=rf"failed in coop_{kind}s\(\): ZeroDivisionError: on purpose") as caught:
        found.offers(kind)
    names_the_plugin(caught.value)


@pytest.mark.parametrize("hook", ["coop_tracers", "coop_started"])
def test_invariant_2_a_hook_of_a_hub_that_raises(hook: str, add: Add) -> None:
    called = []
    task_before = task_of_this_greenlet()
    add("bad", **{hook: lambda hub: broken()})
    open_before = descriptors()
    with pytest.raises(PluginError, match=rf"failed in {hook}\(\): ZeroDivisionError: on purpose") as caught:
        run(called.append, 1)
    names_the_plugin(caught.value)
    assert (called, descriptors()) == ([], open_before)
    assert task_of_this_greenlet() is task_before


def test_invariant_2_a_hook_that_raises_when_the_hub_is_closed(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("bad", coop_stopping=lambda hub: broken())
    assert run(lambda: 5) == 5
    message = capsys.readouterr().err
    assert "failed in coop_stopping(): ZeroDivisionError: on purpose" in message
    names_the_plugin(PluginError(message))


def test_invariant_2_a_hook_that_raises_when_a_task_has_failed(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("bad", coop_task_failed=lambda task, error: broken())
    run(lose_a_failure)
    message = capsys.readouterr().err
    assert "failed in coop_task_failed(): ZeroDivisionError: on purpose" in message
    names_the_plugin(PluginError(message))


@pytest.mark.parametrize("answer", [None, 5, [object()], object()], ids=["None", "a number", "no tracers", "an object"])
def test_invariant_2_what_is_no_tracer(answer: object, add: Add) -> None:
    add("bad", coop_tracers=lambda hub: answer)
    with pytest.raises(PluginError) as caught:
        run(print)
    names_the_plugin(caught.value)


OFFERS_THAT_ARE_WRONG = {
    "no list": None,
    "no offers": ["ours"],
    "newer interface": [Offer("ours", "x:y", "x", interface=99)],
    "no such module": [Offer("ours", "not_there:x", "x")],
    "no such attribute": [Offer("ours", "os:not_there", "x")],
    "cannot be made": [Offer("ours", f"{__name__}:broken", "x")],
    "cannot be called": [Offer("ours", "os:sep", "x")],
    "lacks methods": [Offer("ours", "builtins:object", "x")],
    "makes a class": [Offer("ours", f"{__name__}:make_a_class", "x")],
}


def make_a_class() -> type:
    return OurBackend


@pytest.mark.parametrize("what", OFFERS_THAT_ARE_WRONG)
def test_invariant_2_what_is_wrong_with_an_offer(what: str, add: Add) -> None:
    add("bad", coop_backends=lambda: OFFERS_THAT_ARE_WRONG[what])
    with pytest.raises(PluginError) as caught:
        run(print, backend="ours")
    names_the_plugin(caught.value)


def test_invariant_2_two_offers_of_one_name(add: Add) -> None:
    for name in ("bad", "worse"):
        add(name, coop_clocks=lambda: [Offer("ours", f"{__name__}:OurClock", "x")])
    with pytest.raises(OfferConflictError) as caught:
        run(print, clock="ours")
    for name in ("bad", "worse"):
        names_the_plugin(caught.value, name)


@pytest.mark.parametrize(
    "plugin",
    [
        SimpleNamespace(COOPCORE_INTERFACE=99),
        SimpleNamespace(COOPCORE_INTERFACE="new"),
        SimpleNamespace(coop_started=hookimpl(lambda hub, mood: None)),
    ],
    ids=["newer", "no number", "an argument that no hook has"],
)
def test_invariant_2_a_plugin_that_does_not_fit(plugin: object, found: Plugins) -> None:
    with pytest.raises(InterfaceError) as caught:
        found.add(plugin, "bad", "bad-dist")
    names_the_plugin(caught.value)


def test_invariant_2_a_hook_that_does_not_exist(add: Add, found: Plugins) -> None:
    add("bad", coop_start=lambda hub: None)
    with pytest.raises(InterfaceError, match="a hook that coopcore does not have") as caught:
        found.check()
    names_the_plugin(caught.value)


# -- 3: hubs --------------------------------------------------------------------------------------------------------------------


def in_thread(function: Callable[[], Any]) -> Any:
    """What ``function`` returns in a thread of its own."""
    results: list[Any] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    [result] = results
    if isinstance(result, BaseException):
        raise result
    return result


def test_invariant_3_a_thread_makes_one_hub_and_keeps_it() -> None:
    def first_and_second() -> tuple[Any, Any, Any]:
        hub = get_hub()
        assert spawn(get_hub).get(timeout=5) is hub
        sleep(0)
        return hub, get_hub(), current_task().hub

    hubs = [in_thread(first_and_second) for _ in range(2)]
    for first, second, third in hubs:
        assert first is second is third
    assert hubs[0][0] is not hubs[1][0]
    assert in_thread(get_hub) is not run(get_hub)


def test_invariant_3_a_threads_hub_is_closed_when_it_ends() -> None:
    open_before = descriptors()
    ended = []

    def leave_a_task() -> Any:
        def stay() -> None:
            try:
                sleep(3600)
            finally:
                ended.append(threading.get_ident())

        spawn(stay)
        sleep(0)
        return get_hub(), threading.get_ident()

    hub, ident = in_thread(leave_a_task)
    assert (ended, hub.tasks()) == ([ident], [])
    assert "closed" in repr(hub)
    assert descriptors() == open_before


def test_invariant_3_the_innermost_run_counts() -> None:
    def outer() -> None:
        implicit = get_hub()
        inner = run(get_hub)
        assert inner is not implicit and "closed" in repr(inner)
        assert get_hub() is implicit and "closed" not in repr(implicit)
        assert run(get_hub) is not inner
        sleep(0)

    in_thread(outer)


def test_invariant_3_there_is_no_run_while_tasks_are_alive() -> None:
    def with_tasks() -> None:
        task = spawn(sleep, 3600)
        with pytest.raises(HubError, match=r"run\(\) was called while <Hub .* is at work in this thread"):
            run(print)
        task.kill(timeout=5)
        assert run(lambda: 7) == 7

    in_thread(with_tasks)
    with pytest.raises(HubError, match=r"run\(\) was called while <Hub .* is at work in this thread"):
        run(run, print)


def test_invariant_3_each_greenlet_that_calls_run_has_its_own_hub() -> None:
    def two() -> tuple[Any, Any]:
        hubs: list[Any] = []

        def body() -> None:
            hubs.append(run(get_hub))
            greenlet.getcurrent().parent.switch()  # type: ignore[union-attr]  # it has one
            hubs.append(run(get_hub))

        other = greenlet(body)
        other.switch()
        hubs.append(run(get_hub))
        other.switch()
        return hubs[0], hubs[1]

    first, second = in_thread(two)
    assert first is not second


def test_invariant_3_a_strange_greenlet_makes_no_hub_for_its_thread() -> None:
    def in_a_greenlet() -> None:
        with pytest.raises(HubError, match=r"a greenlet that coopcore did not make, .* Call coopcore.get_hub\(\) in the thread's main greenlet first"):
            greenlet(get_hub).switch()
        assert greenlet.getcurrent().parent is None
        get_hub()
        assert greenlet(get_hub).switch() is get_hub()

    in_thread(in_a_greenlet)


def test_invariant_3_a_hub_that_a_signal_handler_made_meanwhile_is_the_one() -> None:
    """The handler came between the question whether there is a task and the making of one."""

    def twice() -> None:
        assert _assemble._adopt() is _assemble._adopt() is current_task()

    in_thread(twice)


def test_invariant_3_a_hub_that_could_not_be_made_leaves_none(add: Add) -> None:
    failing = [True]

    def once(hub: Any) -> None:
        if failing.pop() if failing else False:
            broken()

    add("bad", coop_started=once)

    def body() -> None:
        with pytest.raises(PluginError):
            get_hub()
        assert spawn(lambda: 3).get(timeout=5) == 3

    in_thread(body)


# -- hooks ----------------------------------------------------------------------------------------------------------------------


def test_coop_tracers_adds_tracers_to_each_hub(add: Add) -> None:
    made: list[tuple[Any, Tracer]] = []
    mine = Tracer()

    def coop_tracers(hub: Any) -> list[Tracer]:
        made.append((hub, Tracer()))
        return [made[-1][1]]

    add("tracing", coop_tracers=coop_tracers)
    add("silent", coop_tracers=lambda: ())

    def main() -> Any:
        spawn(print, end="").join(timeout=5)
        return get_hub()

    assert [run(main, tracers=[mine]), run(main)] == [hub for hub, _ in made]
    assert [len(tracer.spawned) for _, tracer in made] == [2, 2]
    assert mine.spawned == made[0][1].spawned


def test_coop_started_runs_on_the_new_hub(add: Add) -> None:
    seen: list[Any] = []

    def coop_started(hub: Any) -> None:
        seen.append(get_hub() is hub)
        seen.append(current_task() is hub.root)
        spawn(lambda: seen.append(get_hub() is hub))
        hub.call_soon(seen.append, "called")

    add("starting", coop_started=coop_started)

    def main() -> str:
        sleep(0)
        return "done"

    assert run(main) == "done"
    assert sorted(map(str, seen)) == ["True", "True", "True", "called"]
    del seen[:]
    in_thread(lambda: (get_hub(), sleep(0)))
    assert sorted(map(str, seen)) == ["True", "True", "True", "called"]


def test_coop_started_in_a_run_inside_leaves_the_outer_hub_in_its_place(add: Add) -> None:
    started: list[Any] = []

    def body() -> None:
        outer = get_hub()
        assert run(get_hub) is started[-1] is not outer
        assert get_hub() is outer

    add("starting", coop_started=lambda hub: started.append(hub))
    in_thread(body)
    assert len(started) == 2


def test_coop_stopping_is_called_once_after_the_tasks_ended(add: Add) -> None:
    events: list[Any] = []

    def coop_stopping(hub: Any) -> None:
        events.append((hub, threading.get_ident(), hub.tasks()))

    def main() -> Any:
        spawn(sleep, 3600).kill(timeout=5)
        return get_hub()

    add("stopping", coop_stopping=coop_stopping)
    hub = run(main)
    assert hub.close() == []
    assert events == [(hub, threading.get_ident(), [])]


@pytest.mark.parametrize("wrong", ["main", "backend"])
def test_coop_stopping_is_called_whatever_ended_the_hub(wrong: str, add: Add) -> None:
    stopped: list[Any] = []
    add("stopping", coop_stopping=lambda hub: stopped.append(hub))

    class Broken(SelectorsBackend):
        def poll(self, timeout: int | None) -> Any:
            raise OSError("on purpose")

    with pytest.raises(ZeroDivisionError if wrong == "main" else HubError):
        run(broken, backend=None) if wrong == "main" else run(sleep, 5, backend=Broken())
    assert len(stopped) == 1


def test_coop_stopping_that_raises_loses_neither_the_result_nor_descriptors(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    stopped: list[Any] = []
    run(print)  # whatever is opened once is open
    add("well", coop_stopping=lambda hub: stopped.append("before"))
    add("bad", coop_stopping=lambda hub: broken())
    add("after", coop_stopping=lambda hub: stopped.append("after"))
    open_before = descriptors()
    task_before = task_of_this_greenlet()
    assert run(lambda: "result") == "result"
    assert descriptors() == open_before
    with pytest.raises(LookupError, match="from main"):
        run(raise_lookup_error)
    assert descriptors() == open_before
    assert task_of_this_greenlet() is task_before
    assert capsys.readouterr().err.count("ZeroDivisionError: on purpose\n") == 2
    assert sorted(stopped) == ["after", "after", "before", "before"], "the other plugins are told too"


def raise_lookup_error() -> None:
    raise LookupError("from main")


def raise_value_error() -> None:
    raise ValueError("nobody sees it")


def lose_a_failure() -> str:
    spawn(raise_value_error)
    sleep(0.001)
    return "done"


def test_coop_task_failed_that_returns_true_silences_the_report(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, str]] = []

    def coop_task_failed(task: Any, error: BaseException) -> bool:
        seen.append((task.name, str(error)))
        return True

    add("logging", coop_task_failed=coop_task_failed)
    assert run(lose_a_failure) == "done"
    [(name, message)] = seen
    assert name.startswith("raise_value_error") and message == "nobody sees it"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("answer", [None, False])
def test_coop_task_failed_that_does_not_deal_with_it_leaves_the_report(answer: object, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    for name in ("one", "two"):
        add(name, coop_task_failed=lambda error, name=name: asked.append(name) or answer)
    run(lose_a_failure)
    assert sorted(asked) == ["one", "two"]
    assert capsys.readouterr().err.count("ValueError: nobody sees it") == 1


def test_coop_task_failed_that_raises_loses_no_traceback(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("bad", coop_task_failed=lambda task, error: broken())
    assert run(lose_a_failure) == "done"
    report = capsys.readouterr().err
    assert "in raise_value_error\n" in report and "Task 'raise_value_error-" in report
    assert "ZeroDivisionError: on purpose" in report


# -- discovery ------------------------------------------------------------------------------------------------------------------


class Site:
    """A directory on the path, of distributions that were put there by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, dist: str, entry_points: str, files: dict[str, str]) -> None:
        info = self.path / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[coopcore]\n{entry_points}\n")
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    before = set(sys.modules)
    monkeypatch.delenv("COOP_DISABLE_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is None or str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def discovered() -> Plugins:
    found = new_plugins()
    found.discover()
    return found


def clock(name: str) -> str:
    """A plugin that offers a clock of this name."""
    head = "from coopcore import hookimpl\nfrom coopcore.lowlevel import Offer\n@hookimpl\n"
    return f"{head}def coop_clocks(): return [Offer({name!r}, 'coopcore._clock:RealClock', 'x')]\n"


def test_two_distributions_may_share_a_namespace_package(site: Site) -> None:
    site.add("dist-one", "one = shared_space.one", {"shared_space/one.py": clock("one")})
    site.add("dist-two", "two = shared_space.two", {"shared_space/two.py": clock("two")})
    assert set(discovered().offers("clock")) == {"one", "two", "virtual"}


def test_two_distributions_may_not_share_a_package_with_files_of_its_own(site: Site) -> None:
    site.add("dist-one", "one = shared_package.one", {"shared_package/one.py": clock("one"), "shared_package/__init__.py": ""})
    site.add("dist-two", "two = shared_package.two", {"shared_package/two.py": clock("two")})
    with pytest.raises(OfferConflictError, match="both ship the import package 'shared_package'") as caught:
        discovered()
    assert "'dist-one'" in str(caught.value) and "'dist-two'" in str(caught.value) and "COOP_DISABLE_PLUGINS=dist-" in str(caught.value)


def test_one_distribution_may_have_several_plugins_in_a_package(site: Site) -> None:
    points = "one = some_package.one\ntwo = some_package.two"
    site.add("dist-one", points, {f"some_package/{name}.py": text for name, text in [("__init__", ""), ("one", clock("one")), ("two", clock("two"))]})
    assert set(discovered().offers("clock")) == {"one", "two", "virtual"}


@pytest.mark.parametrize("turned_off", ["broken", "dist-broken", " other , broken "])
def test_a_plugin_that_is_turned_off_is_not_loaded(turned_off: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("dist-broken", "broken = broken_plugin", {"broken_plugin.py": "raise ImportError('on purpose')"})
    site.add("dist-whole", "whole = whole_plugin", {"whole_plugin.py": clock("whole")})
    monkeypatch.setenv("COOP_DISABLE_PLUGINS", turned_off)
    assert set(discovered().offers("clock")) == {"virtual", "whole"}
    assert "broken_plugin" not in sys.modules


def test_a_plugin_is_loaded_when_the_first_hub_is_made_and_never_at_import(site: Site) -> None:
    site.add("dist-late", "late = late_plugin", {"late_plugin.py": "raise ImportError('on purpose')"})
    found = new_plugins()
    assert "late_plugin" not in sys.modules
    with pytest.raises(
        PluginError, match=r"plugin 'late' of distribution 'dist-late' could not be loaded from 'late_plugin': ImportError: on purpose"
    ) as caught:
        found.discover()
    assert "COOP_DISABLE_PLUGINS=late" in str(caught.value)


def test_load_offer_says_what_there_is(found: Plugins) -> None:
    with pytest.raises(UnknownOfferError, match=r"plugins offer nothing of a kind 'clockwork'; the kinds are: backend, network, resolver, clock, timers, "):
        coopcore.lowlevel.load_offer("clockwork", "x")
    with pytest.raises(UnknownOfferError, match=r"there is no timer queue named 'wheel'; on offer are: none\."):
        coopcore.lowlevel.load_offer("timers", "wheel")


def test_make_hub_gives_a_hub_its_name(found: Plugins) -> None:
    hub = make_hub(name="mine")
    assert hub.name == "mine" and "mine" in repr(hub)
    hub.close()


def test_a_plugin_without_any_hook_and_one_that_forgot_the_mark_are_refused() -> None:
    empty, forgot = ModuleType("empty"), ModuleType("forgot")
    forgot.coop_commands = list  # type: ignore[attr-defined]  # a module takes any attribute
    for plugin, fault in ((empty, "implements no hook"), (forgot, "has coop_commands without the mark")):
        plugins = new_plugins()
        plugins.add(plugin, plugin.__name__, "somebody's")
        with pytest.raises(InterfaceError, match=fault):
            plugins.check()


def test_a_target_without_an_attribute_says_how_to_write_it() -> None:
    class Plugin:
        @hookimpl
        def coop_backends(self) -> list[Offer]:
            return [Offer("bare", "coop_plugins.backends.epoll", "a module is no backend")]

    plugins = new_plugins()
    plugins.add(Plugin(), "bare", "somebody's")
    with pytest.raises(PluginLoadError, match="write package.module:attribute"):
        plugins.load("backend", "bare")
