"""The public surface: it is declared, importable and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import coop_plugins
import coopcore
from coopcore import lowlevel, protocols

SURFACES = ["coopcore", "coopcore.lowlevel", "coopcore.testing"]
# Methods that any waited-for object may have; `protocols.Reason` describes them once.
SHARED = {name for name in vars(protocols.Reason) if not name.startswith("_")}


def names_of(surface: str) -> list[tuple[str, str]]:
    return [(surface, name) for name in importlib.import_module(surface).__all__]


def is_documented_constant(module: ModuleType, name: str) -> bool:
    """Whether the module's docstring names it, or a comment stands above the block of assignments that has it."""
    source = Path(module.__file__ or "").read_text()
    return f"`{name}`" in (module.__doc__ or "") or re.search(rf"^#.*\n(?:[A-Z]+ = .*\n)*{name} = ", source, re.MULTILINE) is not None


@pytest.mark.parametrize("surface", SURFACES)
def test_the_surface_is_sorted_and_declares_each_name_once(surface: str) -> None:
    names = importlib.import_module(surface).__all__
    assert len(names) == len(set(names))
    constants = [name for name in names if name.isupper()]
    assert constants == sorted(constants)


@pytest.mark.parametrize(("surface", "name"), [pair for surface in SURFACES for pair in names_of(surface)])
def test_each_public_name_has_a_docstring(surface: str, name: str) -> None:
    thing = getattr(importlib.import_module(surface), name)
    if name == "__version__":
        assert isinstance(thing, str)
    elif isinstance(thing, int | str):
        assert is_documented_constant(protocols, name), f"{name} has no comment above it in protocols.py"
    else:
        doc = thing.__doc__ or ""
        assert doc.strip(), f"{surface}.{name} has no docstring"
        assert not doc.startswith(f"{name}("), f"{surface}.{name} has only the docstring that was made for it"


def public_classes() -> list[type]:
    found = {getattr(importlib.import_module(surface), name) for surface, name in (pair for surface in SURFACES for pair in names_of(surface))}
    return sorted((thing for thing in found if isinstance(thing, type)), key=lambda cls: (cls.__module__, cls.__qualname__))


@pytest.mark.parametrize("cls", public_classes(), ids=lambda cls: cls.__name__)
def test_each_public_method_has_a_docstring(cls: type) -> None:
    bare = []
    told = inspect.getdoc(cls) or ""
    for name, member in vars(cls).items():
        if name.startswith(("_", "test_")) or name in SHARED:
            continue
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(function) and not (inspect.getdoc(function) or "").strip() and f"``{name}``" not in told:
            bare.append(name)
    if cls is protocols.TaskView:
        assert set(bare) <= {"ident", "name", "state", "parent_ident", "spawned_at", "waiting_on"}
    else:
        assert bare == []


def test_what_both_surfaces_export_is_the_same() -> None:
    shared = set(coopcore.__all__) & set(lowlevel.__all__)
    assert shared
    assert {name for name in shared if getattr(coopcore, name) is not getattr(lowlevel, name)} == set()


def test_every_module_opens_with_a_docstring() -> None:
    roots = [Path(importlib.import_module(name).__file__ or "").parent for name in ("coopcore", "coop_plugins", "coop_pytest")]
    files = [path for root in roots for path in root.rglob("*.py")]
    assert len(files) > 20
    assert [str(path) for path in files if ast.get_docstring(ast.parse(path.read_text())) is None] == []


def test_the_packages_are_typed() -> None:
    for name in ("coopcore", "coop_plugins", "coop_pytest"):
        assert (Path(importlib.import_module(name).__file__ or "").parent / "py.typed").exists(), name


PLUGINS = sorted(
    info.name
    for info in pkgutil.walk_packages(coop_plugins.__path__, "coop_plugins.")
    if not re.search(r"\._", info.name) and info.name != "coop_plugins.backends"  # that holds nothing but its modules
)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_star_import_of_a_plugin_gives_its_public_names_and_no_others(plugin: str) -> None:
    module = importlib.import_module(plugin)
    given: dict[str, object] = {}
    exec(f"from {plugin} import *", given)
    del given["__builtins__"]
    assert sorted(given) == sorted(set(module.__all__)) and len(given) == len(module.__all__), "each is there, once"
    # Those of a standard module that a plugin stands in for are its own too.
    standard = getattr(sys.modules.get(module.__name__.rpartition(".")[2]), "__all__", ())
    foreign = {
        name
        for name, thing in given.items()
        if name not in standard and (inspect.ismodule(thing) or home_of(thing).startswith(("coopcore", "typing", "greenlet")))
    }
    assert foreign == set()
    own = {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and inspect.isroutine(thing) | inspect.isclass(thing) and home_of(thing) == plugin
    }
    assert own - set(given) == set(), "public by name, but not given"


def home_of(thing: object) -> str:
    return str(getattr(thing, "__module__", ""))
