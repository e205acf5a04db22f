"""The tables of docs/from-gevent.md are true and complete, and its recipe works."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import queue
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import coop_plugins.event
import coop_plugins.lock
import coop_plugins.pool
import coop_plugins.queue
import coopcore

gevent = pytest.importorskip("gevent")
GEVENT = (gevent, *(pytest.importorskip(f"gevent.{module}") for module in ("event", "lock", "queue")))

NAMES = (
    "Event", "AsyncResult", "Semaphore", "BoundedSemaphore", "DummySemaphore", "Lock", "RLock", "Condition", "Barrier",
    "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue", "Channel", "spawn", "sleep", "Timeout"
)  # fmt: skip
LIBRARIES = {
    "standard library": (threading, queue),
    "gevent": GEVENT,
    "coop_plugins": (coopcore, coop_plugins.event, coop_plugins.lock, coop_plugins.queue),
}


def namespace(library: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in NAMES for module in LIBRARIES[library] if hasattr(module, name)}


def tables(page: str) -> Iterator[list[list[str]]]:
    """Each table of a page: its rows, the heading first, as lists of cells."""
    for block in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        yield [rows[0], *rows[2:]]


def table(page: str, first: str) -> list[list[str]]:
    """The rows of the table whose heading begins with this cell."""
    (rows,) = [rows[1:] for rows in tables(page) if rows[0][0] == first]
    return rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def outcome(code: str, library: str) -> str:
    """What the code evaluates to, in the words of the table."""
    names = namespace(library)
    *statements, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    try:
        exec(compile(ast.Module(statements, []), "table", "exec"), names)
        return repr(eval(compile(ast.Expression(last.value), "table", "eval"), names))
    except (Exception, coopcore.Timeout, gevent.Timeout) as error:
        return f"raises {type(error).__name__}"


@pytest.fixture(scope="module")
def page(tree: Path) -> str:
    return (tree / "docs" / "from-gevent.md").read_text()


def cells() -> list[tuple[str, str, str]]:
    page = (Path(__file__).resolve().parents[2] / "docs" / "from-gevent.md").read_text()
    ((_, *libraries), *rows) = next(rows for rows in tables(page) if rows[0][0] == "code")
    return [(code.strip("`"), library, cell) for code, *row in rows for library, cell in zip(libraries, row, strict=True)]


def in_its_hub(library: str, fn: Callable[[], str]) -> str:
    return coopcore.run(fn) if library == "coop_plugins" else fn()


@pytest.mark.parametrize(("code", "library", "cell"), cells())
def test_every_cell_is_true(code: str, library: str, cell: str) -> None:
    if cell == "-":
        missing = [name for name in NAMES if name in code and name not in namespace(library)]
        assert missing, f"the {library} has all that {code} needs: evaluate it"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # gevent's of Queue(0)
        assert in_its_hub(library, lambda: outcome(code, library)) == cell


def test_every_row_is_a_disagreement() -> None:
    rows: dict[str, set[str]] = {}
    for code, _, cell in cells():
        rows.setdefault(code, set()).add(cell)
    assert [code for code, row in rows.items() if len(row - {"-"}) < 2] == []


def names_that_are_not_here(page: str) -> dict[str, set[str]]:
    """What the page says: for each class, or module of gevent, the names. A row without a first cell goes on with the one above."""
    listed: dict[str, set[str]] = {}
    places: list[str] = []
    for where, names, _why in table(page, "where"):
        places = quoted(where) or places
        for place in places:
            if place != "Greenlet":  # the other name of Task
                listed.setdefault(place, set()).update(quoted(names))
    return listed


def public(thing: object) -> set[str]:
    return {name for name in getattr(thing, "__all__", dir(thing)) if not name.startswith("_")}


def missing_from(place: str) -> set[str]:
    if place.startswith("gevent"):
        name = place.removeprefix("gevent").lstrip(".")
        of_the_core = name in ("", "hub", "util")
        ours = coopcore if of_the_core else importlib.import_module(f"coop_plugins.{'wsgi' if name == 'pywsgi' else name}")
        return {theirs for theirs in public(importlib.import_module(place)) if not hasattr(ours, theirs)}
    if place == "Task":
        return public(gevent.Greenlet()) - public(coopcore.Task(print))
    if place == "Hub":
        return public(gevent.get_hub()) - public(coopcore.Hub)
    if place.endswith("Server"):
        theirs, ours = ("gevent.pywsgi", "coop_plugins.wsgi") if place == "WSGIServer" else ("gevent.server", "coop_plugins.server")
        made = getattr(importlib.import_module(ours), place)(("127.0.0.1", 0), print)  # what is not started has opened nothing
        return public(getattr(importlib.import_module(theirs), place)) - public(made)
    if place in ("Group", "Pool"):
        return public(getattr(importlib.import_module("gevent.pool"), place)()) - public(getattr(coop_plugins.pool, place)())
    ours = namespace("coop_plugins")[place]()
    classes = [namespace(library)[place] for library in ("standard library", "gevent") if place in namespace(library)]
    return {name for cls in classes for name in public(cls()) if not hasattr(ours, name)}


def test_the_names_that_are_not_here(page: str) -> None:
    listed = names_that_are_not_here(page)
    assert {place: missing_from(place) for place in listed} == listed


@pytest.mark.parametrize("module", ["event", "lock", "queue", "pool", "local", "subprocess", "threadpool"])
def test_modules_without_a_row_have_every_name(module: str, page: str) -> None:
    assert f"gevent.{module}" not in names_that_are_not_here(page)
    assert missing_from(f"gevent.{module}") == set()


def test_every_module_of_gevent_has_a_row(page: str) -> None:
    rows = [name for where, *_ in table(page, "gevent") for name in quoted(where)]
    assert sorted(rows) == sorted({"gevent", *(f"gevent.{info.name}" for info in pkgutil.iter_modules(gevent.__path__) if not info.name.startswith("_"))})


def test_every_row_of_a_module_says_what_there_is(page: str) -> None:
    for where, here, _ in table(page, "gevent"):
        if here == "not here yet":
            there = [name for name in quoted(where) if find_spec(f"coop_plugins.{name.partition('.')[2]}") is not None]
            assert there == [], "say that they are here now"
        for name in quoted(here):
            if name.startswith("coop"):
                assert pkgutil.resolve_name(name.removesuffix("()")) is not None


def test_a_task_exit_is_caught_as_gevents() -> None:
    assert issubclass(coopcore.TaskExit, gevent.GreenletExit)


def test_the_recipe_for_threads_lets_others_run(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    go_on = threading.Event()
    names["fetch"] = go_on.wait  # in place of a page of somebody's

    def main() -> Any:
        value = coopcore.spawn(names["page"], 20)
        coopcore.sleep(0)
        coopcore.spawn(go_on.set)  # runs, though the thread is not done
        return value.get(timeout=20)

    assert coopcore.run(main) is True


@pytest.mark.parametrize(
    "cls",
    ["Event", "AsyncResult", "Semaphore", "BoundedSemaphore", "Lock", "RLock", "Condition", "Barrier", "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"],
)
def test_positional_arguments_mean_what_they_mean_elsewhere(cls: str) -> None:
    """Signatures of the standard library, or else of gevent, are a beginning of ours."""
    theirs, ours = namespace("standard library").get(cls), namespace("coop_plugins")[cls]
    if theirs is None:
        return
    for name in dir(theirs):
        method = getattr(theirs, name)
        if (name.startswith("_") and name != "__init__") or not inspect.isfunction(method) or not hasattr(ours, name):
            continue
        expected = list(inspect.signature(method).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters)[: len(expected)] == expected, name
