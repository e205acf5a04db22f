"""docs/errors.md is complete, both ways, and true: each piece of bad input in it is tried."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import coop_plugins
import coopcore
from coopcore import errors, lowlevel

TREE = Path(__file__).resolve().parents[2]


# Names that the standard library has too, in the newest Python that is supported.
STANDARD = {"ShutDown"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page."""
    page = (TREE / "docs" / "errors.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table under {heading!r}"
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def named(cells: list[list[str]]) -> list[str]:
    return [row[0].strip("`") for row in cells]


def exceptions_of(modules: Iterator[ModuleType] | list[ModuleType], package: str) -> set[str]:
    """The exception classes that these modules define and show."""
    return {
        name
        for module in modules
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and issubclass(thing, BaseException) and thing.__module__.startswith(package) and not thing.__name__.startswith("_")
    }


def test_each_row_says_what_happened_why_and_what_next() -> None:
    for heading in ("Errors and warnings of the core", "Errors of the built-in plugins"):
        for row in rows(heading):
            assert len(row) == 4, row
            assert all(row), row


def test_every_error_of_the_core_is_listed_and_no_other() -> None:
    listed = named(rows("Errors and warnings of the core"))
    assert len(listed) == len(set(listed))
    assert set(listed) == exceptions_of([errors, coopcore], "coopcore")


def test_every_error_of_the_plugins_is_listed_and_no_other() -> None:
    modules = (importlib.import_module(info.name) for info in pkgutil.walk_packages(coop_plugins.__path__, "coop_plugins."))
    assert set(named(rows("Errors of the built-in plugins"))) == exceptions_of(modules, "coop_plugins") - STANDARD


@pytest.mark.parametrize(("code", "error", "_what_to_do"), rows("Bad input"), ids=named(rows("Bad input")))
def test_bad_input_is_refused_as_the_page_says(code: str, error: str, _what_to_do: str) -> None:
    namespace: dict[str, object] = {name: getattr(module, name) for module in (coopcore, lowlevel) for name in module.__all__}
    for module in ("event", "lock", "pool", "queue", "scope"):
        exec(f"from coop_plugins.{module} import *", namespace)

    def try_it() -> None:
        with coopcore.Timeout(20), pytest.raises(Exception, match=r"\w+ \w+ \w+") as caught:
            exec(code.strip("`"), namespace)
        assert type(caught.value).__name__ == error.strip("`")

    coopcore.run(try_it)
