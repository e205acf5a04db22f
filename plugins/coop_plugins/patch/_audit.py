"""What a patch cannot reach: names that were taken too early, classes derived from the old ones, threads and locks that exist, libraries that block in C.

Reads what is loaded and changes nothing, but for `rebind_aliases`, which is asked for.
"""

from __future__ import annotations

import gc
import sys
import threading
from _thread import LockType
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from coopcore.lowlevel import hide_frames

from ._libraries import LIBRARIES, PSYCOPG
from ._psycopg import COMPILED, waits_in_c

_OURS = ("coopcore", "coop_plugins", "coop_pytest", "greenlet", "pluggy")
_THREADS = ("_thread", "threading")  # whose locks and idents the standard library's own modules use for moments, in which nothing parks
_MOST_LINKS = 6  # of a chain of imports
_LOCKS = (LockType, type(threading.RLock()), threading._PyRLock)  # type: ignore[attr-defined]  # the pure one has no public name


class Finding(NamedTuple):
    """One thing that goes on blocking the hub although the program is patched."""

    kind: str
    """``alias``, ``subclass``, ``thread``, ``lock`` or ``library``."""
    where: str
    """The module, and the name or class in it."""
    what: str
    """What it is, and through whose import it came."""
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.advice}"


class Rebound(NamedTuple):
    """A name of some module that now holds the replacement."""

    holder: Any
    attribute: str
    old: Any
    new: Any
    module: str
    name: str

    def undo(self) -> None:
        if getattr(self.holder, self.attribute, None) is self.new:
            setattr(self.holder, self.attribute, self.old)


class _Replacements:
    """The objects that are no longer in their modules."""

    def __init__(self, originals: dict[str, ModuleType]) -> None:
        self.modules = set(originals)
        self._names: dict[int, tuple[Any, str, str]] = {}
        for module, before in originals.items():
            now = vars(sys.modules[module])
            for name, old in vars(before).items():
                if callable(old) and now.get(name, old) is not old:
                    self._names.setdefault(id(old), (old, module, name))

    def find(self, thing: object) -> tuple[str, str] | None:
        """The module and the name that ``thing`` was replaced in."""
        found = self._names.get(id(thing))
        return None if found is None else found[1:]


def audit() -> list[Finding]:
    """Everything that the patches in force cannot reach. Empty if nothing is patched and no library blocks. Takes a few milliseconds, and never parks."""
    from ._apply import _originals, is_patched

    replaced = _Replacements(_originals)
    found = [*_aliases(replaced), *_subclasses(replaced), *_libraries()]
    if is_patched("threading"):
        found += [*_threads(), *_locks()]
    return found


def rebind_aliases(modules: set[str], originals: dict[str, ModuleType]) -> Iterator[Rebound]:
    """Put the replacement wherever a module or class took the original of one of ``modules`` before."""
    replaced = _Replacements({name: originals[name] for name in modules})
    for _, holder, attribute, module, name in list(_taken(replaced)):
        old, new = getattr(holder, attribute), getattr(sys.modules[module], name)
        setattr(holder, attribute, new)
        yield Rebound(holder, attribute, old, new, module, name)


# -- what was imported too early ------------------------------------------------------------------------------------------


def _others(replaced: _Replacements) -> Iterator[ModuleType]:
    """The loaded modules that are neither patched themselves nor part of us."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name not in replaced.modules and name.partition(".")[0] not in _OURS and not _is_core_of(name, replaced):
            yield module


def _is_core_of(name: str, replaced: _Replacements) -> bool:
    """Whether it is the C half of a patched module: ``_socket``."""
    return name.startswith("_") and name[1:] in replaced.modules


def _taken(replaced: _Replacements) -> Iterator[tuple[str, Any, str, str, str]]:
    """Each global, and each attribute of a class, that holds what was replaced: the module, the holder, the attribute, and what it was."""
    for module in _others(replaced):
        for attribute, value in list(vars(module).items()):
            was = replaced.find(value)
            if was is not None:
                if getattr(value, "__module__", "") != module.__name__:  # else it is its home
                    yield module.__name__, module, attribute, *was
            elif isinstance(value, type) and value.__module__ == module.__name__:
                for inner, held in list(vars(value).items()):
                    was = replaced.find(held.__func__ if isinstance(held, staticmethod) else held)
                    if was is not None and not isinstance(held, staticmethod):
                        yield module.__name__, value, inner, *was


def _aliases(replaced: _Replacements) -> Iterator[Finding]:
    for holding, holder, attribute, was, name in _taken(replaced):
        if _is_standard(holding) and was in _THREADS:
            continue
        where = f"{holding}.{attribute}" if isinstance(holder, ModuleType) else f"{holding}.{holder.__qualname__}.{attribute}"
        yield Finding(
            "alias",
            where,
            f"is {was}.{name} of before the patch; {imported_by(holding)}",
            "Patch before that import, or with rebind=True.",
        )
    for module in _others(replaced):
        for function in _functions(module):
            for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
                held = replaced.find(default)
                if held is not None:
                    yield Finding(
                        "alias",
                        f"{module.__name__}.{function.__qualname__}",
                        f"has {held[0]}.{held[1]} of before the patch as the default of an argument; {imported_by(module.__name__)}",
                        "Patch before that import, or pass the argument.",
                    )


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in list(vars(module).values()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            yield from (held for held in list(vars(value).values()) if isinstance(held, FunctionType))


def _subclasses(replaced: _Replacements) -> Iterator[Finding]:
    for module in _others(replaced):
        for name, value in list(vars(module).items()):
            if not isinstance(value, type) or value.__module__ != module.__name__ or replaced.find(value) is not None:
                continue
            was = next((held for held in map(replaced.find, value.__mro__[1:]) if held is not None), None)
            if was is not None:
                yield Finding(
                    "subclass",
                    f"{module.__name__}.{name}",
                    f"derives from {was[0]}.{was[1]} of before the patch; {imported_by(module.__name__)}",
                    "Patch before that import.",
                )


def imported_by(module: str) -> str:
    """Through whom a module was imported, as far as the loaded modules show it: ``it was imported by b, by a, by __main__``.

    ``sys.modules`` is in the order in which modules were done with their imports, but for those that are not done yet.
    """
    if module == "__main__":
        return "that is the program itself"
    chain = [module]
    names = list(sys.modules)
    while chain[-1] != "__main__" and len(chain) < _MOST_LINKS:
        importer = _importer(chain[-1], names)
        if importer is None or importer in chain:
            break
        chain.append(importer)
    del chain[0]
    return "it was imported " + ", ".join(f"by {name}" for name in chain) if chain else "no loaded module shows that it has imported it"


def _importer(module: str, names: list[str]) -> str | None:
    """The first module that was done with its imports after this one and refers to it; else one that is not done yet, such as the program."""
    position = names.index(module) + 1 if module in names else 0
    return next((name for name in (*names[position:], *reversed(names[:position])) if _is_source(name) and _refers(name, module)), None)


def _is_source(name: str) -> bool:
    """Whether it is Python code: only that imports of its own accord."""
    return name == "__main__" or str(getattr(sys.modules.get(name), "__file__", "")).endswith((".py", ".pyc"))


def _refers(name: str, module: str) -> bool:
    """Whether a module has another one, or a function or class of it, among its globals, or names it in an import statement."""
    holder, target = sys.modules.get(name), sys.modules.get(module)
    if not isinstance(holder, ModuleType) or target is None or holder is target:
        return False
    package, _, own = module.rpartition(".")
    package_is_known = package == name
    for value in list(vars(holder).values()):
        if value is target and package != name:  # to import a.b sets b in a, whoever did it
            return True
        if isinstance(value, (FunctionType, type)) and value.__module__ == module:
            return True
        package_is_known = package_is_known or (isinstance(value, ModuleType) and bool(package) and package.startswith(value.__name__))
    return package_is_known and not {module, own}.isdisjoint(_imports(holder))


def _imports(module: ModuleType) -> Iterator[str]:
    """The names in a module's top-level code, those of imported modules among them."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None) or getattr(module, "__loader__", None)
    try:
        yield from loader.get_code(module.__name__).co_names  # type: ignore[union-attr]  # what has no code raises AttributeError
    except (ImportError, AttributeError):
        return


# -- what exists already --------------------------------------------------------------------------------------------------


def _threads() -> Iterator[Finding]:
    from ._apply import original

    me = original("_thread", "get_ident")()
    for thread in threading.enumerate():
        native = getattr(thread, "native_id", None)
        if thread.ident in (me, None) or isinstance(thread, threading._DummyThread) or native is None or thread.ident not in sys._current_frames():
            continue
        yield Finding(
            "thread",
            f"thread {thread.name!r}",
            f"was started before the patch ({type(thread).__module__}.{type(thread).__qualname__}) and runs beside the hub as a real thread",
            "Objects that it shares with tasks must be such as work across threads. Start it after the patch, if it is to be a task.",
        )


def _locks() -> Iterator[Finding]:
    for where, lock in _held_locks():
        yield Finding(
            "lock",
            where,
            f"is a {type(lock).__module__}.{type(lock).__qualname__} of before the patch: a task that waits for it stops the whole hub",
            "Make it after the patch, if a task may park while it holds it.",
        )


def _held_locks() -> Iterator[tuple[str, Any]]:
    """Locks in the globals of modules, and in the attributes of their classes and of objects that the collector knows. Without those of the standard library,
    which are held for moments."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and not _is_standard(name) and name.partition(".")[0] not in _OURS:
            yield from ((f"{name}.{attribute}", value) for attribute, value in list(vars(module).items()) if isinstance(value, _LOCKS))
    for thing in gc.get_objects():
        cls = type(thing)
        if not isinstance(cls.__module__, str) or _is_standard(cls.__module__) or cls.__module__.partition(".")[0] in _OURS or isinstance(thing, ModuleType):
            continue
        attributes = getattr(thing, "__dict__", None) if not isinstance(thing, type) else None
        if isinstance(attributes, dict):
            yield from ((f"{cls.__module__}.{cls.__qualname__}.{name}", value) for name, value in list(attributes.items()) if isinstance(value, _LOCKS))


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def _libraries() -> Iterator[Finding]:
    for name, advice in LIBRARIES.items():
        if name in sys.modules:
            yield Finding("library", name, "waits inside compiled code, where no patch reaches it", advice)
    if waits_in_c():
        yield Finding("library", "psycopg", f"waits by its {COMPILED}, inside compiled code, where no patch reaches it", PSYCOPG)


def report(findings: Iterable[Finding]) -> str:
    """One line for each, the kinds together."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    return "\n".join(f"[{kind}] {finding}" for kind, group in by_kind.items() for finding in group)


hide_frames(__file__)
