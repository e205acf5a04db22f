"""Keeps the pipes of ``multiprocessing`` as they are while ``socket`` is patched: it reads and writes their descriptors itself, and relies on them to block.

A cooperative socket makes its descriptor one that does not, also for those that share it, and it stays so when it is detached. So these modules get a
``socket`` of their own, executed a second time, whether they were imported before the patch or are while it lasts. (A copy of the module would not do: its
functions, and the methods of its class, would find the patched names.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from coopcore.lowlevel import hide_frames

hide_frames(__file__)

_MODULES = ("multiprocessing.connection", "multiprocessing.reduction")


@cache
def _second_socket() -> ModuleType:
    """The standard module once more, under a name of its own: it looks for that among the modules when it makes its enumerations."""
    found = find_spec("socket")
    spec = None if found is None or found.origin is None else spec_from_file_location(f"{__name__}.socket", found.origin)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def apply() -> Callable[[], None]:
    """Give them theirs. Returns what undoes it."""
    turned: list[tuple[Any, ModuleType]] = []

    def turn(module: Any) -> None:
        turned.append((module, module.socket))
        module.socket = _second_socket()

    def undo() -> None:
        if finder in (sys.meta_path or ()):  # there is none when the interpreter ends
            sys.meta_path.remove(finder)
        while turned:
            module, before = turned.pop()
            module.socket = before

    finder: Any = _Finder(turn)
    sys.meta_path.insert(0, finder)
    for name in _MODULES:
        if name in sys.modules:
            turn(sys.modules[name])
    return undo


class _Finder:
    """Has a function called with each of the modules as soon as it was imported."""

    def __init__(self, turn: Callable[[ModuleType], None]) -> None:
        self._turn = turn
        self._finding = False

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the others find, with a loader that tells."""
        if name not in _MODULES or self._finding:
            return None
        self._finding = True
        try:
            spec = find_spec(name)
        finally:
            self._finding = False
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            standard = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                standard(module)
                self._turn(module)

            loader.exec_module = exec_module
        return spec
