"""Every hook is documented where its author looks: in its docstring, with an example, and in docs/hooks.md."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from coopcore import hookspecs
from coopcore.__main__ import KINDS
from coopcore.lowlevel import plugins

HOOKS: dict[str, Callable[..., Any]] = {name: thing for name, thing in vars(hookspecs).items() if name.startswith("coop_") and inspect.isfunction(thing)}


@pytest.fixture(scope="module")
def page(tree: Path) -> str:
    return (tree / "docs" / "hooks.md").read_text()


def test_there_are_hooks() -> None:
    assert {"coop_backends", "coop_started", "coop_task_failed"} <= set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_a_docstring_with_an_example_of_itself(name: str) -> None:
    text, found, example = inspect.cleandoc(HOOKS[name].__doc__ or "").partition("Example::")
    assert text.strip() and found, f"{name} needs a docstring that ends with an example, after `Example::`"
    (function,) = [node for node in ast.parse(textwrap.dedent(example)).body if isinstance(node, ast.FunctionDef)]
    assert function.name == name
    assert [argument.arg for argument in function.args.args] == list(inspect.signature(HOOKS[name]).parameters)
    assert [ast.unparse(decorator) for decorator in function.decorator_list] == ["hookimpl"]


def test_the_page_lists_every_hook_with_its_arguments_and_no_other(page: str) -> None:
    listed = re.findall(r"^### `(\w+)\((.*)\)`", page, re.MULTILINE)
    assert dict(listed) == {name: ", ".join(inspect.signature(hook).parameters) for name, hook in HOOKS.items()}


def test_the_page_lists_every_kind_of_offer(page: str) -> None:
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(KINDS)


def test_every_hook_that_makes_offers_is_a_kind() -> None:
    offering = [name for name, hook in HOOKS.items() if "Offer" in str(inspect.signature(hook).return_annotation)]
    assert len(offering) == len(KINDS)
    for kind in KINDS:
        assert isinstance(list(plugins().offers(kind)), Sequence)


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_offer_can_be_loaded(kind: str) -> None:
    for name, offer in plugins().offers(kind).items():
        assert offer.summary, f"{kind} {name!r} has no summary"
        assert callable(plugins().load(kind, name))
