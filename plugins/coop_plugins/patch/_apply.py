"""Applying and undoing.

Theory
======
A patched name is a global of a standard module that holds our object. Whoever looks the name up in the module from then on finds ours; whoever took it
before keeps the old one (`audit` finds those). The old object is kept, so that all can be undone.

What stands in must itself reach the real thing: ``coop_plugins.socket`` calls ``_stdlib.getaddrinfo`` in a thread. So the modules that stand in, and every
other one of their packages that is loaded, are turned from the standard module to a copy that was taken before: their ``_stdlib`` stays what it was when
they were written. A row without names does no more than that for its source.

Parts are counted: each `patch` and each open `patched` holds its parts, and a part is undone when nobody holds it.

Invariants
==========
1. Either all names of a call are replaced, or none: what can fail to import is imported before the first name is touched, and what fails after that is undone.
2. When the last holder of a part lets go, each of its names is what it was, in the standard module and in the modules that were turned; a name that
   somebody else has replaced meanwhile is left to them, with a warning.
3. To patch what is patched changes nothing.
4. What stands in never meets itself: no module of a plugin that replaces names of a module sees that module patched.
"""

from __future__ import annotations

import sys
import warnings
from _thread import RLock
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from coopcore.lowlevel import hide_frames

from ._audit import Rebound, audit, rebind_aliases
from ._errors import PatchWarning
from ._tables import Row, choose, rows_of

_MISSING: Any = object()
_CORE = "coopcore"


class _Replaced(NamedTuple):
    """One global of one module that holds something else now."""

    holder: ModuleType
    name: str
    old: Any
    new: Any

    def undo(self) -> None:
        current = vars(self.holder).get(self.name, _MISSING)
        if current is self.new:
            setattr(self.holder, self.name, self.old)
        elif current is not self.old:
            warnings.warn(
                f"{self.holder.__name__}.{self.name} is {current!r}, which somebody put there after it was patched; it is left as it is. "
                f"Undo patches in the opposite order.",
                PatchWarning,
                stacklevel=2,
            )


class _Part:
    """A part that is patched: who holds it, and what undoes it."""

    def __init__(self) -> None:
        self.holders = 0
        self.modules: set[str] = set()
        self.undo: list[Callable[[], object]] = []


_lock = RLock()
_applied: dict[str, _Part] = {}
_originals: dict[str, ModuleType] = {}  # copies of the modules of all parts that are patched, as they were before
_for_good: list[Patching] = []


class Patching:
    """Parts that are patched until `undo` is called. What `patch` and `patched` return."""

    def __init__(self, parts: list[str], rebind: bool) -> None:
        self.parts = parts
        """What it holds, in order."""
        self._held = True
        with _lock:
            new = [part for part in parts if part not in _applied]
            self.changed = bool(new)
            """Whether it patched anything that was not patched before."""
            _apply(new, rebind)
            for part in parts:
                _applied[part].holders += 1

    def undo(self) -> None:
        """Let go of the parts: those that nobody else holds are undone. Does nothing the second time. Never blocks."""
        with _lock:
            if not self._held:
                return
            self._held = False
            for part in self.parts:
                _applied[part].holders -= 1
            for part in reversed(list(_applied)):
                if not _applied[part].holders:
                    _undo(_applied.pop(part))
            _drop_copies()

    def __repr__(self) -> str:
        return f"<Patching of {', '.join(self.parts) or 'nothing'}{'' if self._held else ', undone'}>"


def patch(*only: str, skip: Iterable[str] = (), rebind: bool = False, warn: bool = True) -> Patching:
    """Patch the standard library for good, or until `Patching.undo` or `unpatch`: all parts, or ``only`` those, without those in ``skip``.

    ``rebind`` also replaces what modules took before (``from time import sleep``). Warns (`PatchWarning`), unless told not to, of what was made too early and
    stays as it is. Idempotent. Raises ValueError for a part that there is not, and a `PluginError` for a plugin whose table cannot be used.
    """
    return _patch(only, skip, rebind, warn)


def _patch(only: Iterable[str], skip: Iterable[str], rebind: bool = False, warn: bool = True) -> Patching:
    made = Patching(choose(only, skip), rebind)
    _for_good.append(made)
    if made.changed and warn:
        _warn()
    return made


def patch_all(**switches: bool) -> bool:
    """gevent's call: ``patch_all(thread=False)`` patches all but threads. Returns whether all was patched. Warns as `patch`."""
    _patch((), [part for part, wanted in switches.items() if not wanted])
    return all(switches.values())


def unpatch() -> None:
    """Undo every `patch`. What an open `patched` block holds stays patched until it is left."""
    while _for_good:
        _for_good.pop().undo()


@contextmanager
def patched(*only: str, skip: Iterable[str] = (), rebind: bool = False) -> Iterator[Patching]:
    """Patch for a block: ``with patched(): ...``. The arguments and errors are those of `patch`. Blocks may be nested; other threads see the patch too."""
    made = Patching(choose(only, skip), rebind)
    try:
        yield made
    finally:
        made.undo()


def is_patched(module: str, name: str | None = None) -> bool:
    """Whether any name of a standard module, or this one, is patched now."""
    if module not in _originals:
        return False
    now, before = vars(sys.modules[module]), vars(_originals[module])
    names = before if name is None else (name,)
    return any(now.get(each, _MISSING) is not before.get(each, _MISSING) for each in names)


def original(module: str, name: str) -> Any:
    """What a standard module has, or had before it was patched, under a name. Raises AttributeError if that is nothing."""
    return getattr(_originals.get(module) or import_module(module), name)


# -- the work -----------------------------------------------------------------------------------------------------------


def _apply(parts: list[str], rebind: bool) -> None:
    rows = rows_of(parts)
    done = {part: _Part() for part in parts}
    for row in rows:
        name = row.module.__name__
        done[row.part].modules.add(name)
        if name not in _originals:
            _originals[name] = copy = ModuleType(name, row.module.__doc__)
            vars(copy).update(vars(row.module))
    try:
        for row in rows:
            done[row.part].undo.extend(thing.undo for thing in _turn_away(row))
        for row in rows:
            for name in row.names:
                done[row.part].undo.append(_replace(row.module, name, getattr(row.source, name)).undo)
        for row in rows:
            if row.apply is not None:
                done[row.part].undo.append(row.apply())
        if rebind:
            for rebound in rebind_aliases({row.module.__name__ for row in rows}, _originals):
                _note(rebound, rows, done)
    except BaseException:
        for part in reversed(done.values()):
            _undo(part)
        _drop_copies()
        raise
    _applied.update(done)


def _note(rebound: Rebound, rows: list[Row], done: dict[str, _Part]) -> None:
    for row in rows:
        if row.module.__name__ == rebound.module and rebound.name in row.names:
            done[row.part].undo.append(rebound.undo)
            return


def _turn_away(row: Row) -> Iterator[_Replaced]:
    """Turn the modules that know the real module, and belong to those who stand in for it, to its copy."""
    copy = _originals[row.module.__name__]
    packages = (_CORE, row.source.__name__.partition(".")[0])
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__.partition(".")[0] in packages:
            for name, value in list(vars(module).items()):
                if value is row.module:
                    yield _replace(module, name, copy)


def _replace(holder: ModuleType, name: str, new: Any) -> _Replaced:
    replaced = _Replaced(holder, name, getattr(holder, name), new)
    setattr(holder, name, new)
    return replaced


def _undo(part: _Part) -> None:
    while part.undo:
        part.undo.pop()()


def _drop_copies() -> None:
    """Forget the originals of modules that no part patches any more."""
    for name in set(_originals).difference(*(part.modules for part in _applied.values())):
        del _originals[name]


def _warn() -> None:
    found = audit()
    if found:
        shown = "".join(f"\n  {finding}" for finding in found[:_SHOWN])
        more = f"\n  ... and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        warnings.warn(
            f"the program was patched after it had made {len(found)} thing(s) that go on blocking the hub:{shown}{more}\n"
            f"Start it by `coopcore run`, or patch before these are imported; coop_plugins.patch.audit() lists all.",
            PatchWarning,
            stacklevel=4,
        )


_SHOWN = 10

hide_frames(__file__)
