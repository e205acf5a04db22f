"""``coopcore run``: starts a program patched, before it has imported anything.

Signals do what they do in any Python program, unless ``--graceful`` is given. A program that knows nothing of coopcore may catch a KeyboardInterrupt and go on,
or take its time to end; nobody but its user can say that it is to be ended by then.
"""

from __future__ import annotations

import builtins
import os
import runpy
import signal
import sys
import threading
from _thread import get_ident
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from types import ModuleType, TracebackType

from coop_plugins.signal import graceful_exit
from coopcore.lowlevel import check_seconds, hide_frames

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
    parser.add_argument(
        "--graceful",
        type=_seconds,
        metavar="SECONDS",
        help="at a first Ctrl-C or SIGTERM unwind all tasks, threads too; after so many seconds name those that have not ended, and end",
    )
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


def _seconds(text: str) -> float:
    try:
        span = check_seconds(float(text), "the time for a graceful exit")
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(str(error)) from None
    if span is None or span < 0:
        raise ArgumentTypeError(f"the time for a graceful exit is 0 seconds or more, not {text}")
    return span


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and those that begin with the script or follow the module's name."""
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return list(arguments[:position]), list(arguments[position + 1 :])
        if argument in ("-m", "--skip", "--graceful"):
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
    """The command. Returns 0 unless the program says otherwise by SystemExit, and 1 if it fails."""
    chosen = _parse(arguments)
    try:
        patch(skip=chosen.skip, warn=False)  # what exists already is not the program's doing; --audit names it
    except ValueError as error:
        print(f"coopcore run: {error}", file=sys.stderr)
        return 2
    try:
        return _run_to_the_end(chosen) if chosen.graceful is None else _run_gracefully(chosen)
    finally:
        if chosen.audit:
            print(report(audit()) or "coopcore run: nothing was out of the patch's reach", file=sys.stderr)


def _run_gracefully(chosen: Namespace) -> int:
    with graceful_exit(chosen.graceful) as graceful:
        _keep_from_children(graceful)
        try:
            status = _run_to_the_end(chosen)
        except SystemExit:
            if graceful.signum is None:
                _await_threads()
            raise
        _await_threads()
        return status


def _keep_from_children(graceful: graceful_exit) -> None:
    """A child of a fork, as of multiprocessing, ends by a signal as whoever sent it expects: at once."""
    masks: dict[int, set[int]] = {}

    def hold() -> None:  # a signal that came to the child before it has its own ways would be lost
        masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

    def let_go() -> None:
        mask = masks.pop(get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def begin() -> None:
        graceful.cancel()
        let_go()

    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=begin)


def _run_to_the_end(chosen: Namespace) -> int:
    """Run the program. One that fails is told of as the interpreter would do it, but for our own frames."""
    try:
        return _run(chosen)
    except Exception as error:
        error.__traceback__ = _frames_of_the_program(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1


_BEFORE_THE_PROGRAM = (__name__, "runpy", "importlib._bootstrap_external", "importlib._bootstrap", "_frozen_importlib_external", "_frozen_importlib")


def _frames_of_the_program(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from where the program begins; none of it, if that was never reached, as for an error of syntax."""
    while tb is not None and tb.tb_frame.f_globals.get("__name__") in _BEFORE_THE_PROGRAM:
        tb = tb.tb_next
    return tb


def _await_threads() -> None:
    """Wait for those that the interpreter would wait for at its end; but here a signal still finds its handler."""
    passed = (threading.current_thread(), threading.main_thread())
    while others := [thread for thread in threading.enumerate() if thread.is_alive() and not thread.daemon and thread not in passed]:
        others[0].join()


def _run(chosen: Namespace) -> int:
    if chosen.module is not None:
        sys.argv = [chosen.module, *chosen.rest]  # run_module puts the file's path in the place of the first
        sys.path[0] = os.getcwd()
        missing = _missing(chosen.module)
        if missing:
            print(f"coopcore run: {missing}", file=sys.stderr)
            return 1
        runpy.run_module(chosen.module, run_name="__main__", alter_sys=True)
        return 0
    sys.argv = [chosen.script, *chosen.rest]
    if not os.path.isfile(chosen.script):
        runpy.run_path(chosen.script, run_name="__main__")  # a folder or an archive with a __main__
        return 0
    sys.path[0] = os.path.dirname(os.path.realpath(chosen.script))
    _run_file(chosen.script)
    return 0


def _missing(module: str) -> str:
    """Why there is nothing to run under the name of a module; empty if there is. Imports the package that it is in."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the package that it is in has failed
        spec = None
    if spec is None:
        return f"there is no module {module!r}. It is looked for in the present folder and where packages are installed."
    if spec.submodule_search_locations is not None and find_spec(f"{module}.__main__") is None:
        return f"{module!r} is a package without a __main__: there is nothing in it to run. Name one of its modules."
    return ""


def _run_file(path: str) -> None:
    """Run a script as the program itself. (What runpy runs stops being ``__main__`` at its last line, while its threads may still go on.)"""
    loader = SourceFileLoader("__main__", path)
    program = ModuleType("__main__")
    program.__file__, program.__loader__, program.__spec__ = path, loader, None
    vars(program)["__builtins__"] = builtins
    sys.modules["__main__"] = program
    exec(loader.source_to_code(loader.get_data(path), path), vars(program))


hide_frames(__file__)
