"""The tables: what the plugins want to put in the place of what, checked and imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from coopcore.errors import InterfaceError, OfferConflictError, PluginLoadError
from coopcore.lowlevel import Patch, hide_frames, plugins


class Row(NamedTuple):
    """A row of a plugin's table, with the modules that it speaks of."""

    patch: Patch
    part: str
    module: ModuleType
    source: ModuleType
    names: tuple[str, ...]
    apply: Callable[[], Callable[[], object]] | None


def parts() -> list[str]:
    """What can be patched or left out, in the order in which it is patched: ``socket``, ``thread``, ``time`` ..."""
    return list(dict.fromkeys(part_of(patch) for patch, _ in plugins().patches()))


def part_of(patch: Patch) -> str:
    """The part that a row belongs to."""
    return patch.part or patch.module


def choose(only: Iterable[str], skip: Iterable[str]) -> list[str]:
    """The parts of a call: all but those on request, or ``only`` those, but not ``skip``. Raises ValueError for one that no plugin has."""
    known = parts()
    only, skip = _names(only), _names(skip)
    modules = {patch.module: part_of(patch) for patch, _ in plugins().patches()}
    for name in (*only, *skip):
        if name not in known and name not in modules:
            raise ValueError(f"there is nothing to patch that is called {name!r}; the parts are: {', '.join(known)}. Check the spelling.")
    on_request = {part_of(patch) for patch, _ in plugins().patches() if patch.on_request}
    wanted = {modules.get(name, name) if name not in known else name for name in only} or set(known) - on_request
    unwanted = {modules.get(name, name) if name not in known else name for name in skip}
    return [part for part in known if part in wanted and part not in unwanted]


def _names(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"a list of parts is wanted, not the string {names!r}: write [{names!r}].")
    return tuple(names)


def rows_of(chosen: Iterable[str]) -> list[Row]:
    """The rows of these parts, their modules imported and their names looked up. Changes nothing."""
    chosen = set(chosen)
    rows: list[Row] = []
    owners: dict[tuple[str, str], str] = {}
    for patch, who in plugins().patches():
        if part_of(patch) in chosen:
            row = _row(patch, who)
            for name in row.names:
                other = owners.setdefault((patch.module, name), who)
                if other != who:
                    raise OfferConflictError(f"{other} and {who} both have something to put in the place of {patch.module}.{name}. Turn one of them off.")
            rows.append(row)
    return rows


def _row(patch: Patch, who: str) -> Row:
    what = f"the patch of {patch.module!r} by {who}"
    module, source = _imported(patch.module, what), _imported(patch.source, what)
    names = (*patch.names, *(name for name in patch.rare if hasattr(module, name) and hasattr(source, name)))
    for name in names:
        for holder in (module, source):
            if not hasattr(holder, name):
                raise InterfaceError(
                    f"{what} names {name!r}, which {holder.__name__} does not have on Python {sys.version_info[0]}.{sys.version_info[1]}. "
                    f"Bound the row by `since` and `before`, or put the name among the `rare` ones."
                )
    apply = getattr(source, patch.apply, None) if patch.apply else None
    if patch.apply and not callable(apply):
        raise InterfaceError(f"{what} names a function {patch.apply!r} to be applied, which {patch.source} does not have. Check the spelling of the row.")
    return Row(patch, part_of(patch), module, source, names, apply)


def _imported(name: str, what: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise PluginLoadError(f"{what} needs the module {name!r}, which could not be imported: {error}. Leave the part out (skip=[...]).") from error


hide_frames(__file__)
