"""Run CPython's own tests under coopcore, gevent and the standard library: ``python tests/cpython --help``."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from suites import MODULES, records, ways
from suites.runner import PASSED, SKIPPED, Outcome, run


def compare(arguments: argparse.Namespace) -> int:
    """Run modules under coopcore, print the counts, and what gevent passes and we do not. Exit status 1 if there is any."""
    record = records.read(records.path_of())
    left_out = records.read_left_out()
    done = []
    for module in arguments.modules or MODULES:
        done.append(records.compare(module, record, left_out.get(module, {}), only=arguments.only))
        found = done[-1]
        for test, outcome in found.broken.items():
            print(f"{module}.{test}: {outcome.what}\n{outcome.reason}\n" if arguments.verbose else f"{module}.{test}: {outcome.what}: {outcome.line}")
        for test in found.not_on_this_machine:
            print(f"{module}.{test}: not on this machine, where the standard library does not pass it either")
        for test in found.stale:
            print(f"{module}.{test}: it is left out, and passes")
    print(records.table((found.module, found.counts) for found in done))
    return int(any(found.broken or found.stale for found in done))


def record(arguments: argparse.Namespace) -> int:
    """Run modules under gevent and with the standard library, and add what came out to the file for this Python. Tests whose runs differ are noted as such."""
    path = records.path_of()
    known = records.read(path) if path.exists() and not arguments.fresh else records.Record()
    known.python, known.gevent = platform.python_version(), version("gevent")
    for _ in range(arguments.runs):
        for module in arguments.modules or MODULES:
            for way in (ways.GEVENT, ways.STANDARD):
                known.add(module, way, run(f"test.{module}", way))
            print(module, *(f"{way}: {dict(known.counts(module, way))}" for way in (ways.GEVENT, ways.STANDARD)), flush=True)
            known.write(path)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Run one module under one way, and print what did not pass."""

    def tell(test: str, outcome: Outcome) -> None:
        if arguments.verbose or outcome.what not in (PASSED, SKIPPED):
            print(f"{test}: {outcome.what}, {outcome.seconds:.2f} s", outcome.reason, sep="\n" if outcome.reason else "", flush=True)

    patterns = [f"test.{arguments.module}.{pattern}" for pattern in arguments.only]
    outcomes = run(f"test.{arguments.module}", arguments.way, only=patterns, tell=tell)
    return int(any(outcome.what not in (PASSED, SKIPPED) for outcome in outcomes.values()))


def main(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python tests/cpython", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    modules = {"nargs": "*", "choices": [*MODULES, []], "metavar": "MODULE", "help": f"{', '.join(MODULES)}; all of them if there is none"}
    for function in (compare, record, show):
        command = commands.add_parser(function.__name__, description=function.__doc__, help=(function.__doc__ or "").partition(".")[0])
        command.set_defaults(function=function)
        if function is show:
            command.add_argument("way", choices=ways.WAYS)
            command.add_argument("module", choices=MODULES, metavar="MODULE")
        else:
            command.add_argument("modules", **modules)  # type: ignore[arg-type]  # a dict of several types
        if function is record:
            command.add_argument("--runs", type=int, default=2, help="how often each is run (default: 2)")
            command.add_argument("--fresh", action="store_true", help="forget what was recorded")
        else:
            command.add_argument("-k", dest="only", action="append", default=[], metavar="PATTERN", help="such tests only: 'RLockTests.*'; can be repeated")
            command.add_argument("-v", "--verbose", action="store_true", help="whole tracebacks")
    arguments = parser.parse_args(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what runs is ended
    if importlib.util.find_spec("test.support") is None:
        print("this Python ships no tests of its own: some distributions have them in a package of their own, as python3-test")
        return 0
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
