"""What a mark asks for. Marks of a function, its class and its module add up; for each keyword the closest one counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from coopcore.errors import PluginError
from coopcore.lowlevel import load_offer

from . import BACKEND_PARAM, MARK

_KEYWORDS = ("backend",)


class MarkError(Exception):
    """A mark has arguments that make no sense. The message says which, and what would."""


class Wanted(NamedTuple):
    """What the marks of one test function ask for, all told."""

    backends: tuple[str | None, ...]  # None: whatever is the default
    is_list: bool  # the test is to run once on each


def read_marks(marks: Iterable[pytest.Mark]) -> Wanted:
    """Read the marks of a test, the closest first. Raises `MarkError`."""
    asked: dict[str, Any] = {}
    for mark in marks:
        if mark.args:
            raise MarkError(f"@pytest.mark.{MARK} takes no positional arguments, but got {mark.args!r}. Name it: @pytest.mark.{MARK}(backend=...).")
        for keyword, value in mark.kwargs.items():
            if keyword not in _KEYWORDS:
                raise MarkError(f"@pytest.mark.{MARK} has no argument {keyword!r}; it takes: {', '.join(_KEYWORDS)}. Check the spelling.")
            asked.setdefault(keyword, value)
    backend = asked.get("backend")
    if not isinstance(backend, (list, tuple)):
        return Wanted((_checked(backend),), False)
    if not backend:
        raise MarkError(f"@pytest.mark.{MARK}(backend={backend!r}) names no backend, so the test would never run. Name at least one, or leave it out.")
    if len(set(map(repr, backend))) < len(backend):
        raise MarkError(f"@pytest.mark.{MARK}(backend={backend!r}) names a backend twice. Name each once.")
    return Wanted(tuple(_checked(name, listed=True) for name in backend), True)


def _checked(name: Any, listed: bool = False) -> str | None:
    if name is None and not listed:
        return None
    if not isinstance(name, str):
        raise MarkError(f"@pytest.mark.{MARK}(backend=...) takes the name of a backend, or a list of names, not {name!r}.")
    try:
        load_offer("backend", name)
    except PluginError as error:
        raise MarkError(f"@pytest.mark.{MARK}(backend={name!r}): {error}") from None  # a report would show the same text twice
    return name


def wanted_backend(item: pytest.Item) -> str | None:
    """The backend that this very test is to run on; None for the default. Raises `MarkError`."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and BACKEND_PARAM in callspec.params:
        return str(callspec.params[BACKEND_PARAM])
    wanted = read_marks(item.iter_markers(MARK))
    if wanted.is_list:
        raise MarkError(
            f"@pytest.mark.{MARK}(backend=[...]) with a list needs a test that can be parametrised, and a {type(item).__name__} cannot. "
            f"Name one backend, or make it a plain function."
        )
    return wanted.backends[0]
