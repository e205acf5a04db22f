"""The patch: tables, applying and undoing, and what it cannot reach. Most of it on a made-up standard module, so that nothing else is disturbed."""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import coop_plugins.patch._tables as tables
from coop_plugins.patch import Finding, PatchWarning, audit, is_patched, original, parts, patch, patch_all, patched, unpatch
from coop_plugins.patch import _apply as applying
from coop_plugins.patch import _audit as auditing
from coop_plugins.patch._audit import imported_by, report
from coopcore.errors import InterfaceError, OfferConflictError, PluginLoadError
from coopcore.lowlevel import Patch, plugins


class Table:
    """What the only plugins of a test offer: rows, and who has them."""

    def __init__(self) -> None:
        self.rows: list[tuple[Patch, str]] = []

    def patches(self) -> list[tuple[Patch, str]]:
        return self.rows

    def add(self, *arguments: Any, who: str = "plugin 'a'", **more: Any) -> None:
        self.rows.append((Patch(*arguments, **more), who))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    made = Table()
    monkeypatch.setattr(tables, "plugins", lambda: made)
    monkeypatch.setattr(auditing, "_libraries", lambda: iter(()))  # which other tests may have imported
    before = dict(applying._applied)
    yield made
    unpatch()
    assert applying._applied == before


Module = Callable[..., Any]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Makes modules that can be imported while the test runs."""

    def make(name: str, **things: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(things)
        monkeypatch.setitem(sys.modules, name, made)
        monkeypatch.delitem(applying._originals, name, raising=False)
        return made

    return make


class _Kind:
    """Stands for a class of the standard library."""


# In an object of its own: as globals of this module they would be found as names that were taken too early.
things = SimpleNamespace(old=lambda: "old", new=lambda: "new", Kind=_Kind, NewKind=type("NewKind", (_Kind,), {}))
del _Kind


@pytest.fixture
def std(table: Table, module: Module) -> Any:
    """A standard module with a function and a class, and a plugin that has something for each."""
    module("mod_ours", wait=things.new, Kind=things.NewKind)
    table.add("mod_std", "mod_ours", ("wait", "Kind"))
    return module("mod_std", wait=things.old, Kind=things.Kind, constant=1)


def globals_of(*modules: ModuleType) -> list[dict[str, Any]]:
    return [dict(vars(each)) for each in modules]


# -- the invariants -------------------------------------------------------------------------------------------------------


def test_apply_invariant_1_all_names_or_none_when_a_source_cannot_be_imported(std: Any, table: Table) -> None:
    table.add("mod_std", "no_such_source", ("constant",))
    before = globals_of(std)
    with pytest.raises(PluginLoadError, match=r"the patch of 'mod_std' by plugin 'a' needs the module 'no_such_source', .* Leave the part out"):
        patch()
    assert globals_of(std) == before
    assert not is_patched("mod_std")


def test_apply_invariant_1_all_names_or_none_when_the_last_step_fails(std: Any, table: Table, module: Module) -> None:
    undone = []

    def apply() -> Callable[[], object]:
        return lambda: undone.append("first")

    def fail() -> Callable[[], object]:
        assert std.wait is things.new, "names come before the functions that are applied"
        raise RuntimeError("no")

    module("mod_more", apply=apply, fail=fail)
    table.add("mod_std", "mod_more", apply="apply", part="first")
    table.add("mod_std", "mod_more", apply="fail", part="second")
    before = globals_of(std)
    with pytest.raises(RuntimeError, match="no"):
        patch()
    assert globals_of(std) == before
    assert undone == ["first"]


def test_apply_invariant_2_the_last_holder_undoes(std: Any) -> None:
    before = globals_of(std)
    with patched():
        with patched("mod_std"):
            assert std.wait is things.new
        assert std.wait is things.new
    assert globals_of(std) == before


def test_apply_invariant_2_blocks_may_end_in_any_order(std: Any) -> None:
    before = globals_of(std)
    first, second = patch(), patch()
    first.undo()
    first.undo()
    assert std.wait is things.new
    second.undo()
    assert globals_of(std) == before


def test_apply_invariant_2_what_somebody_else_put_there_meanwhile_is_left_to_them(std: Any) -> None:
    made = patch()
    std.wait = print
    with pytest.warns(PatchWarning, match=r"mod_std.wait is <built-in function print>, which somebody put there after it was patched"):
        made.undo()
    assert std.wait is print
    assert std.Kind is things.Kind


def test_apply_invariant_2_what_somebody_else_undid_meanwhile_is_fine(std: Any) -> None:
    made = patch()
    std.wait = things.old
    made.undo()
    assert std.wait is things.old


def test_apply_invariant_2_what_was_applied_is_undone_before_the_names(table: Table, module: Module) -> None:
    std = module("mod_std", wait=things.old)
    seen = []

    def apply() -> Callable[[], object]:
        return lambda: seen.append(std.wait)

    module("mod_ours", wait=things.new, apply=apply)
    table.add("mod_std", "mod_ours", ("wait",), apply="apply")
    with patched():
        pass
    assert seen == [things.new]


def test_apply_invariant_3_to_patch_what_is_patched_changes_nothing(std: Any) -> None:
    first = patch()
    before = globals_of(std)
    again = patch()
    assert (first.changed, again.changed) == (True, False)
    assert globals_of(std) == before
    unpatch()
    assert std.wait is things.old


def test_apply_invariant_4_what_stands_in_does_not_meet_itself(table: Table, module: Module) -> None:
    std = module("mod_std", wait=things.old)
    source = module("mod_ours.wait", _stdlib=std, wait=lambda: source._stdlib.wait() + " and new")
    neighbour = module("mod_ours.helper", std=std)
    stranger = module("another", std=std)
    table.add("mod_std", "mod_ours.wait", ("wait",))
    with patched():
        assert std.wait() == "old and new"
        assert neighbour.std.wait() == "old"
        assert stranger.std.wait() == "old and new"
    assert source._stdlib is neighbour.std is stranger.std is std


def test_apply_invariant_4_holds_for_a_row_without_names(std: Any, table: Table, module: Module) -> None:
    source = module("needs_the_real_thing", std=std)
    table.add("mod_std", "needs_the_real_thing")
    with patched():
        assert source.std.wait() == "old"


def test_apply_invariant_4_holds_for_a_part_that_comes_later(table: Table, module: Module) -> None:
    std = module("mod_std", wait=things.old, other=things.old)
    module("mod_ours", wait=things.new, other=things.new)
    late = module("mod_late.thing", std=std, other=things.new)
    table.add("mod_std", "mod_ours", ("wait",), part="early")
    table.add("mod_std", "mod_late.thing", ("other",), part="late")
    with patched("early"), patched("late"):
        assert std.wait is std.other is things.new
        assert late.std.wait is late.std.other is things.old


# -- parts ----------------------------------------------------------------------------------------------------------------


def test_parts_are_chosen_by_name_or_by_module(std: Any, table: Table, module: Module) -> None:
    other = module("mod_other", wait=things.old)
    table.add("mod_other", "mod_ours", ("wait",), part="second")
    assert parts() == ["mod_std", "second"]
    for only, skip in ((("second",), ()), (("mod_other",), ()), ((), ("mod_std",))):
        with patched(*only, skip=skip) as made:
            assert made.parts == ["second"]
            assert (std.wait, other.wait) == (things.old, things.new)


@pytest.mark.parametrize("arguments", [{"only": ("nothing",)}, {"only": (), "skip": ["nothing"]}])
def test_a_part_that_there_is_not(std: Any, arguments: Any) -> None:
    with pytest.raises(ValueError, match="there is nothing to patch that is called 'nothing'; the parts are: mod_std. Check the spelling."):
        patch(*arguments["only"], skip=arguments.get("skip", ()))


def test_a_string_is_no_list_of_parts(std: Any) -> None:
    with pytest.raises(TypeError, match=r"a list of parts is wanted, not the string 'mod_std': write \['mod_std'\]"):
        patch(skip="mod_std")


def test_gevents_call(std: Any) -> None:
    assert patch_all(mod_std=False) is False
    assert std.wait is things.old
    assert patch_all() is True
    assert std.wait is things.new


def test_a_patching_says_what_it_holds(std: Any) -> None:
    made = patch()
    assert repr(made) == "<Patching of mod_std>"
    made.undo()
    assert repr(made) == "<Patching of mod_std, undone>"
    assert repr(patch(skip=["mod_std"])) == "<Patching of nothing>"


def test_what_is_patched_and_what_was_there(std: Any) -> None:
    assert not is_patched("mod_std")
    assert original("mod_std", "wait") is things.old
    with patched():
        assert is_patched("mod_std")
        assert is_patched("mod_std", "wait")
        assert not is_patched("mod_std", "constant")
        assert original("mod_std", "wait") is things.old
        assert original("mod_std", "constant") == 1
    assert not is_patched("mod_std")
    std.wait = print
    assert original("mod_std", "wait") is print
    with pytest.raises(AttributeError):
        original("mod_std", "nothing")
    assert original("os.path", "join") is importlib.import_module("os.path").join


# -- tables that cannot be used ---------------------------------------------------------------------------------------------


def test_rows_are_bounded_by_the_version_of_python() -> None:
    class Plugin:
        pass

    rows = [Patch("a", "b", since=(3, 11)), Patch("c", "d", since=(9, 0)), Patch("e", "f", before=(3, 0)), Patch("g", "h", before=(9, 0))]
    found = _with_hook(rows).patches()
    assert [row.module for row, _ in found] == ["a", "g"]
    assert found[0][1] == "plugin 'mine' of distribution 'dist'"


def _with_hook(answer: Any) -> Any:
    from coopcore import hookimpl
    from coopcore._assemble import new_plugins

    class Plugin:
        @hookimpl
        def coop_patches(self) -> Any:
            return answer

    made = new_plugins()
    made.add(Plugin(), "mine", "dist")
    return made


def test_a_hook_that_answers_something_else() -> None:
    with pytest.raises(InterfaceError, match=r"from coop_patches\(\), where a list of coopcore.lowlevel.Patch objects is wanted. Its hook is to return a list"):
        _with_hook(Patch("a", "b")).patches()
    with pytest.raises(InterfaceError, match=r"returned 'a' from coop_patches\(\), where coopcore.lowlevel.Patch objects are wanted"):
        _with_hook(["a"]).patches()
    with pytest.raises(InterfaceError, match="the patch of 'a' by plugin 'mine' of distribution 'dist' is built for interface 99"):
        _with_hook([Patch("a", "b", interface=99)]).patches()


def test_a_name_that_either_side_lacks(std: Any, table: Table) -> None:
    table.add("mod_std", "mod_ours", ("constant",))
    with pytest.raises(InterfaceError, match="names 'constant', which mod_ours does not have on Python 3.* Bound the row by `since` and `before`"):
        patch()
    table.rows[-1] = (Patch("mod_std", "mod_ours", ("nothing",)), "plugin 'a'")
    with pytest.raises(InterfaceError, match="names 'nothing', which mod_std does not have"):
        patch()
    table.rows[-1] = (Patch("mod_std", "mod_ours", rare=("nothing", "constant")), "plugin 'a'")
    patch()


def test_a_function_to_apply_that_there_is_not(std: Any, table: Table) -> None:
    table.add("mod_std", "mod_ours", apply="aply")
    with pytest.raises(InterfaceError, match="names a function 'aply' to be applied, which mod_ours does not have"):
        patch()


def test_two_plugins_for_one_name(std: Any, table: Table) -> None:
    table.add("mod_std", "mod_ours", ("wait",), who="plugin 'b'")
    with pytest.raises(OfferConflictError, match="plugin 'a' and plugin 'b' both have something to put in the place of mod_std.wait. Turn one of them off."):
        patch()


# -- what is out of reach -------------------------------------------------------------------------------------------------


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Writes modules and imports them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        made = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, made)  # so that it is taken out again
        return made

    return write


def found_in(name: str) -> list[Finding]:
    return [finding for finding in audit() if finding.where.startswith(f"{name}.")]


def test_nothing_is_out_of_reach_of_no_patch(std: Any, code: Any) -> None:
    code("mod_app", "from mod_std import wait")
    assert found_in("mod_app") == []


def test_names_that_were_taken_before(std: Any, code: Any) -> None:
    code(
        "mod_app",
        "from mod_std import wait as pause, Kind\n"
        "class Job:\n"
        "    waits = pause\n"
        "    def run(self, with_this=pause): ...\n"
        "def go(*, kind=Kind): ...\n"
        "class Special(Kind): ...\n",
    )
    with pytest.warns(PatchWarning, match=r"after it had made 6 thing\(s\) that go on blocking the hub") as caught:
        patch()
    assert caught[0].filename == __file__
    assert [(finding.kind, finding.where) for finding in found_in("mod_app")] == [
        ("alias", "mod_app.pause"),
        ("alias", "mod_app.Kind"),
        ("alias", "mod_app.Job.waits"),
        ("alias", "mod_app.Job.run"),
        ("alias", "mod_app.go"),
        ("subclass", "mod_app.Special"),
    ]
    assert str(found_in("mod_app")[0]).startswith("mod_app.pause: is mod_std.wait of before the patch; ")


def test_a_scoped_patch_does_not_warn(std: Any, code: Any) -> None:
    code("mod_app", "from mod_std import wait")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with patched():
            assert found_in("mod_app")


def test_more_findings_than_a_warning_shows(std: Any, code: Any) -> None:
    code("mod_app", "".join(f"from mod_std import wait as wait_{number}\n" for number in range(12)))
    with pytest.warns(PatchWarning, match=r"\.\.\. and 2 more"):
        patch()


def test_names_that_were_taken_before_can_be_rebound(std: Any, code: Any) -> None:
    app = code("mod_app", "from mod_std import wait as pause\nclass Job:\n    waits = pause\n")
    with patched(rebind=True):
        assert app.pause is app.Job.waits is things.new
        assert found_in("mod_app") == []
    assert app.pause is app.Job.waits is things.old


def test_a_rebound_name_that_somebody_else_replaced_is_left_to_them(std: Any, code: Any) -> None:
    app = code("mod_app", "from mod_std import wait as pause\n")
    with patched(rebind=True):
        app.pause = print
    assert app.pause is print


def test_by_whom_it_was_imported(std: Any, code: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mod_lib"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("from mod_std import wait\ndef call(): ...\n")
    (tmp_path / "mod_middle.py").write_text("import mod_lib.deep\n")
    code("mod_app", "import mod_middle\n")
    for name in ("mod_middle", "mod_lib", "mod_lib.deep"):
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    assert imported_by("mod_lib.deep").startswith("it was imported by mod_middle, by mod_app")
    code("mod_second", "from mod_lib.deep import call\n")
    assert imported_by("mod_second") == f"it was imported by {__name__}" or imported_by("mod_second") == "no loaded module shows that it has imported it"
    assert imported_by("__main__") == "that is the program itself"
    assert imported_by("never_loaded") == "no loaded module shows that it has imported it"


def test_modules_that_import_each_other(std: Any, tmp_path: Path, code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mod_left.py").write_text("import mod_right\n")
    code("mod_right", "import mod_left\n")
    monkeypatch.setitem(sys.modules, "mod_left", sys.modules["mod_left"])
    assert imported_by("mod_left") == "it was imported by mod_right"


def test_threads_and_locks_that_exist(table: Table, code: Any) -> None:
    table.add("threading", "mod_own_threading", ("Timer",))
    code("mod_own_threading", "class Timer: ...")
    app = code(
        "mod_app", "import threading\nlock = threading.Lock()\nclass Service:\n    def __init__(self): self.guard = threading.RLock()\nservice = Service()\n"
    )
    assert app.service
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="old-timer")
    thread.start()
    try:
        with patched():
            found = audit()
    finally:
        release.set()
        thread.join()
    text = report(finding for finding in found if "mod_app" in finding.where or "old-timer" in finding.where)
    assert "[thread] thread 'old-timer': was started before the patch (threading.Thread)" in text
    assert "[lock] mod_app.lock: is a _thread.lock of before the patch" in text
    assert "[lock] mod_app.Service.guard: is a _thread.RLock of before the patch" in text


def test_libraries_that_cannot_cooperate(module: Module) -> None:
    module("psycopg2")
    (finding,) = [finding for finding in audit() if finding.where == "psycopg2"]
    assert finding.kind == "library"
    assert "set_wait_callback" in str(finding)


# -- the built-in table -----------------------------------------------------------------------------------------------------


def test_every_built_in_row_can_be_used() -> None:
    rows = tables.rows_of(parts())
    assert {row.module.__name__ for row in rows} >= {"socket"}
    for patch_row, _ in plugins().patches():
        assert patch_row.source.startswith("coop_plugins.")
