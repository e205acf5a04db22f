"""What a mark asks for. Marks of a function, its class and its module add up; for each argument the closest one that names it counts.

``enabled`` is the exception: a mark that doesn't name it means True, so the closest mark alone says whether the test runs in a task.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import pytest

from coopcore.errors import PluginError
from coopcore.lowlevel import load_offer

from . import BACKEND_PARAM, LEAKS, MARK

_KEYWORDS = ("backend", "blocking", "clock", "deadlock", "enabled", "leaks", "unjoined")


class MarkError(Exception):
    """A mark has arguments that make no sense. The message says which, and what would."""


class Wanted(NamedTuple):
    """What the marks of one test function ask for, all told."""

    enabled: bool
    backends: tuple[str | None, ...]  # None: whatever is the default
    is_list: bool  # the test is to run once on each
    clock: str | None  # None: whatever is the default
    leaks: frozenset[str] | None  # None: as the ini setting says
    blocking: float | None  # seconds; None: as the ini setting says
    unjoined: bool | None  # whether a failed task that nobody joined fails it; None: as the ini setting says
    deadlock: bool | None  # whether a deadlock is told; None: as the ini setting says


def read_marks(marks: Iterable[pytest.Mark]) -> Wanted:
    """Read the marks of a test, the closest first. Raises `MarkError`."""
    asked: dict[str, Any] = {}
    for mark in marks:
        if mark.args:
            raise MarkError(f"@pytest.mark.{MARK} takes no positional arguments, but got {mark.args!r}. Name it: @pytest.mark.{MARK}(backend=...).")
        for keyword in mark.kwargs:
            if keyword not in _KEYWORDS:
                raise MarkError(f"@pytest.mark.{MARK} has no argument {keyword!r}; it takes: {', '.join(_KEYWORDS)}. Check the spelling.")
        for keyword, value in {"enabled": True, **mark.kwargs}.items():
            asked.setdefault(keyword, value)
    enabled = _checked_flag("enabled", asked.get("enabled", True))
    backends, is_list = _checked_backends(asked.get("backend"))
    clock = _checked_name("clock", asked.get("clock"))
    unjoined, deadlock = (None if asked.get(name) is None else _checked_flag(name, asked[name]) for name in ("unjoined", "deadlock"))
    if deadlock is False and clock is not None and enabled:
        raise MarkError(
            f"@pytest.mark.{MARK}(clock={clock!r}, deadlock=False): on that clock a test cannot wait on, for time goes on only while something is under way. "
            f"Leave deadlock out, or declare what will wake it: with coopcore.lowlevel.promise('...'):."
        )
    return Wanted(enabled, backends, is_list, clock, _checked_leaks(asked.get("leaks")), _checked_limit(asked.get("blocking")), unjoined, deadlock)


def _checked_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise MarkError(f"@pytest.mark.{MARK}({name}=...) takes True or False, not {value!r}.")
    return value


def _checked_backends(backend: Any) -> tuple[tuple[str | None, ...], bool]:
    if not isinstance(backend, (list, tuple)):
        return (_checked_name("backend", backend, "the name of a backend, or a list of names"),), False
    if not backend:
        raise MarkError(f"@pytest.mark.{MARK}(backend={backend!r}) names no backend, so the test would never run. Name at least one, or leave it out.")
    if len(set(map(repr, backend))) < len(backend):
        raise MarkError(f"@pytest.mark.{MARK}(backend={backend!r}) names a backend twice. Name each once.")
    if None in backend:
        raise MarkError(f"@pytest.mark.{MARK}(backend=...) takes the name of a backend, or a list of names, not None.")
    return tuple(_checked_name("backend", name, "the name of a backend, or a list of names") for name in backend), True


def _checked_name(kind: str, name: Any, wanted: str = "the name of a clock") -> str | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise MarkError(f"@pytest.mark.{MARK}({kind}=...) takes {wanted}, not {name!r}.")
    try:
        load_offer(kind, name)
    except PluginError as error:
        raise MarkError(f"@pytest.mark.{MARK}({kind}={name!r}): {error}") from None  # a report would show the same text twice
    return name


def _checked_leaks(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    names = LEAKS if value is True else () if value is False else (value,) if isinstance(value, str) else value
    if not isinstance(names, Collection) or isinstance(names, Mapping) or any(name not in LEAKS for name in names):
        raise MarkError(f"@pytest.mark.{MARK}(leaks=...) takes True, False, or names out of {', '.join(LEAKS)}; not {value!r}.")
    return frozenset(names)


def _checked_limit(value: Any) -> float | None:
    if value is None or value is False:
        return None if value is None else 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise MarkError(f"@pytest.mark.{MARK}(blocking=...) takes a number of seconds, or 0 or False for no limit, not {value!r}.")
    return float(value)


def is_wanted(item: pytest.Item, auto: bool) -> bool:
    """Whether it is to run in a task. What is wrong with its marks is for `wanted_of` to say."""
    try:
        marks = list(item.iter_markers(MARK))
        return read_marks(marks).enabled if marks else auto and _is_plain(item)
    except MarkError:
        return True


def _is_plain(item: pytest.Item) -> bool:
    """Whether it is for us in auto mode: a test function or a doctest. An ``async def`` is for others, and what other plugins collect may not be Python."""
    return isinstance(item, pytest.DoctestItem) or (isinstance(item, pytest.Function) and not is_async(item))


def is_async(item: pytest.Item) -> bool:
    """Whether its function needs an event loop."""
    function = getattr(item, "obj", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)  # which hypothesis wraps in a plain function
    return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)


class Plan(NamedTuple):
    """How a test is to run. None is the default."""

    backend: str | None = None
    clock: str | None = None
    leaks: frozenset[str] | None = None
    blocking: float | None = None
    unjoined: bool | None = None
    deadlock: bool | None = None


def wanted_of(item: pytest.Item) -> Plan:
    """Where this very test is to run. Raises `MarkError`."""
    wanted = read_marks(item.iter_markers(MARK))
    backend = wanted.backends[0]
    callspec = getattr(item, "callspec", None)
    if callspec is not None and BACKEND_PARAM in callspec.params:
        backend = str(callspec.params[BACKEND_PARAM])
    elif wanted.is_list and type(item) is pytest.Function:
        raise MarkError(
            f"@pytest.mark.{MARK}(backend=[...]) with a list comes too late on a parameter, or from a hook: the test is parametrised already. "
            f"Name one backend there, or put the list on the function, its class or its module."
        )
    elif wanted.is_list:
        raise MarkError(
            f"@pytest.mark.{MARK}(backend=[...]) with a list needs a test that can be parametrised, and a {type(item).__name__} cannot. "
            f"Name one backend, or make it a plain function."
        )
    return Plan(backend, wanted.clock, wanted.leaks, wanted.blocking, wanted.unjoined, wanted.deadlock)
