"""``coopcore <command> [arguments]``: hands over to the plugin that offers the command. Knows no command itself.

Without a command it lists what the installed plugins offer. Statuses: 0 well, 1 a plugin that cannot be used or output that nobody reads to its end
(`coopcore | head -1`), 2 a command that nobody offers; else what the command returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import __version__
from .errors import PluginError, UnknownOfferError
from .lowlevel import plugins

USAGE = "usage: coopcore <command> [arguments]      (`coopcore <command> --help` for the command's own)"

# The kinds of offer, in the order of the listing; see `hookspecs`.
KINDS = ("command", "backend", "network", "resolver", "clock", "timers", "scheduler", "primitive")

# Of these the core has one of its own, which is what a hub has unless another is chosen, and which is no offer.
CORES_OWN = ("clock", "timers", "scheduler")


def listing() -> str:
    """What the installed plugins offer, kind by kind."""
    lines = [f"coopcore {__version__}", USAGE]
    for kind in KINDS:
        offers = plugins().offers(kind)
        built_in = "the core's own (default)" if kind in CORES_OWN else ""
        lines += ["", f"{kind}: {built_in or ('' if offers else 'none on offer')}".rstrip()]
        lines += [f"  {name:20} {offer.summary}".rstrip() for name, offer in sorted(offers.items())]
    return "\n".join(lines)


def _say(text: str) -> int:
    """Print and return the exit status."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader has had enough. What is still in the buffer must go somewhere, or the interpreter complains about it when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the command line (``sys.argv`` unless ``arguments`` are given) and return the exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if name in ("-h", "--help"):
            return _say(listing())
        if name == "--version":
            return _say(f"coopcore {__version__}")
        command = plugins().load("command", name)
    except PluginError as error:
        print(f"coopcore: {error}", file=sys.stderr)
        return 2 if isinstance(error, UnknownOfferError) else 1
    status: int | None = command(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
