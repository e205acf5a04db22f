"""The tables of docs/from-gevent.md are true: every cell is evaluated."""

from __future__ import annotations

import ast
import inspect
import queue
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coop_plugins.event
import coop_plugins.lock
import coop_plugins.queue
import coopcore

gevent = pytest.importorskip("gevent")
GEVENT = (gevent, *(pytest.importorskip(f"gevent.{module}") for module in ("event", "lock", "queue")))

NAMES = ("Event", "AsyncResult", "Semaphore", "BoundedSemaphore", "Queue", "spawn", "sleep", "Timeout")
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
    (_, *libraries), *rows = next(tables(page))
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


def test_the_names_that_are_not_here(page: str) -> None:
    listed: dict[str, set[str]] = {}
    for classes, names in list(tables(page))[1][1:]:
        for cls in re.findall(r"`(\w+)`", classes):
            listed[cls] = set(re.findall(r"`(\w+)`", names))
    ours = namespace("coop_plugins")
    missing: dict[str, set[str]] = {}
    for cls in listed:
        for library in ("standard library", "gevent"):
            theirs = namespace(library).get(cls)
            if theirs is not None:
                example = theirs()
                missing.setdefault(cls, set()).update(name for name in dir(example) if not name.startswith("_") and not hasattr(ours[cls](), name))
    assert missing == listed


@pytest.mark.parametrize("cls", ["Event", "AsyncResult", "Semaphore", "BoundedSemaphore", "Queue"])
def test_positional_arguments_mean_what_they_mean_elsewhere(cls: str) -> None:
    """Signatures of the standard library, or else of gevent, are a beginning of ours."""
    theirs, ours = namespace("standard library").get(cls), namespace("coop_plugins")[cls]
    if theirs is None:
        return
    for name in dir(theirs):
        method = getattr(theirs, name)
        if (name.startswith("_") and name != "__init__") or not inspect.isfunction(method):
            continue
        expected = list(inspect.signature(method).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters)[: len(expected)] == expected, name
