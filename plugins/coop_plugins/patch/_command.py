"""``coopcore run``: starts a program patched, before it has imported anything."""

from __future__ import annotations

import builtins
import os
import runpy
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType

from coopcore.lowlevel import hide_frames

from ._apply import patch
from ._audit import audit, report
from ._tables import parts


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        prog="coopcore run",
        description="Run a program with the standard library patched: what blocks in it parks its task.",
        epilog=f"Parts: {', '.join(parts())}. See docs/patch.md.",
    )
    parser.add_argument("--skip", action="append", default=[], metavar="PART", help="leave a part as it is (may be repeated)")
    parser.add_argument("--audit", action="store_true", help="at the end, name on stderr what the patch could not reach")
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module, as python -m does")
    before, after = _split(arguments)
    chosen = parser.parse_args(before)
    chosen.rest = after
    if chosen.module is None and not after:
        parser.error("a script or -m MODULE is needed")
    if chosen.module is None:
        chosen.script, *chosen.rest = after
        if not os.path.exists(chosen.script):
            parser.error(f"there is no file {chosen.script!r}")
    return chosen


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and those that begin with the script or follow the module's name."""
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return list(arguments[:position]), list(arguments[position + 1 :])
        if argument in ("-m", "--skip"):
            position += 2
            if argument == "-m":
                break
        elif argument.startswith("-"):
            position += 1
            if argument.startswith("-m"):
                break
        else:
            break
    return list(arguments[:position]), list(arguments[position:])


def main(arguments: Sequence[str]) -> int:
    """The command. Returns 0 unless the program says otherwise by SystemExit."""
    chosen = _parse(arguments)
    try:
        patch(skip=chosen.skip, warn=False)  # what exists already is not the program's doing; --audit names it
    except ValueError as error:
        print(f"coopcore run: {error}", file=sys.stderr)
        return 2
    try:
        _run(chosen)
    finally:
        if chosen.audit:
            print(report(audit()) or "coopcore run: nothing was out of the patch's reach", file=sys.stderr)
    return 0


def _run(chosen: Namespace) -> None:
    if chosen.module is not None:
        sys.argv = [chosen.module, *chosen.rest]  # run_module puts the file's path in the place of the first
        sys.path[0] = os.getcwd()
        runpy.run_module(chosen.module, run_name="__main__", alter_sys=True)
        return
    sys.argv = [chosen.script, *chosen.rest]
    if not os.path.isfile(chosen.script):
        runpy.run_path(chosen.script, run_name="__main__")  # a folder or an archive with a __main__
        return
    sys.path[0] = os.path.dirname(os.path.realpath(chosen.script))
    _run_file(chosen.script)


def _run_file(path: str) -> None:
    """Run a script as the program itself. (What runpy runs stops being ``__main__`` at its last line, while its threads may still go on.)"""
    loader = SourceFileLoader("__main__", path)
    program = ModuleType("__main__")
    program.__file__, program.__loader__, program.__spec__ = path, loader, None
    vars(program)["__builtins__"] = builtins
    sys.modules["__main__"] = program
    exec(loader.source_to_code(loader.get_data(path), path), vars(program))


hide_frames(__file__)
