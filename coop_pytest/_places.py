"""Where things were made, and how reports show places and stacks: without the frames of pytest, of coopcore and of this package."""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
import traceback
from types import CodeType, FrameType

_MACHINERY = (
    *(os.path.dirname(os.path.abspath(sys.modules[name].__file__ or "")) + os.sep for name in ("_pytest", "pluggy", "coopcore", __package__)),
    os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "unittest", "case.py"),
)
_PLACE = re.compile(r"\s+(?:spawned )?at ")
_DEEPEST = 60


def _library() -> tuple[str, ...]:
    """Folders whose code nobody takes for the culprit while there is any other."""
    import coop_plugins

    paths = {path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), *coop_plugins.__path__}
    return (*(os.path.join(path, "") for path in sorted(paths)), "<frozen")


_LIBRARY = _library()


class Stack:
    """Where something was made: the lines of a stack, innermost first, without the frames themselves and what they refer to."""

    __slots__ = ("_entries",)

    def __init__(self, frame: FrameType | None) -> None:
        entries: list[tuple[CodeType, int]] = []
        while frame is not None and len(entries) < _DEEPEST:
            code = frame.f_code
            if code.co_filename.startswith(_MACHINERY) and entries and not entries[-1][0].co_filename.startswith(_MACHINERY):
                break  # what called the test, or the body of the task
            entries.append((code, frame.f_lineno))
            frame = frame.f_back
        self._entries = [entry for entry in entries if not entry[0].co_filename.startswith(_MACHINERY)]

    @property
    def place(self) -> str:
        """The innermost line that is in no library: ``file:line in function``."""
        if not self._entries:
            return "(nowhere in Python)"
        code, line = next((entry for entry in self._entries if not is_library(entry[0].co_filename)), self._entries[0])
        return f"{code.co_filename}:{line} in {code.co_qualname}"

    def lines(self) -> list[str]:
        """All of it, outermost first, as tracebacks have it."""
        entries = [traceback.FrameSummary(code.co_filename, line, code.co_qualname) for code, line in reversed(self._entries)]
        return "".join(traceback.format_list(entries)).splitlines()


def is_machinery(place: str) -> bool:
    """Whether a file, or a place in it, is of pytest, pluggy, coopcore or this package."""
    return place.startswith(_MACHINERY)


def is_library(filename: str) -> bool:
    """Whether the file is a library's: the standard one, an installed one, or coopcore's plugins."""
    return filename.startswith(_LIBRARY)


def without_machinery(text: str) -> str:
    """Leave the frames of pytest and pluggy, and places in them, out of a report."""
    kept = []
    skipping = False
    for line in text.splitlines():
        place = _PLACE.match(line)
        if place is not None and line[place.end() :].startswith(_MACHINERY):
            continue
        if line.startswith('  File "'):
            skipping = line.split('"')[1].startswith(_MACHINERY)
        elif not line.startswith("    "):
            skipping = False
        if not skipping:
            kept.append(line)
    return "\n".join(kept)
