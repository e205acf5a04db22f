"""Makes psycopg 3 wait in Python, where the patch of ``select`` reaches it.

All of psycopg's waits are in its module ``psycopg.waiting``. Its compiled implementations (``psycopg[binary]``, ``psycopg[c]``) bring a wait
function of their own, ``wait_c``, that polls in C and stops the thread. psycopg chooses when it is imported: the function that the environment
variable ``PSYCOPG_WAIT_FUNC`` names, else the compiled one if there is one. It leaves that out for gevent, and knows nothing of us: so the variable is
set as long as select is patched, to the function that psycopg itself takes in its place. Each connection looks the function up at each wait: in a
psycopg that has been imported already it is replaced.

psycopg is not imported for that, and what the user has chosen stands; `audit` names it if it blocks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from coopcore.lowlevel import hide_frames

VARIABLE = "PSYCOPG_WAIT_FUNC"
COMPILED = "wait_c"
COOPERATIVE = "wait_poll"


def wait_in_python() -> Callable[[], object]:
    """Have psycopg wait in Python. Returns what undoes it."""
    chosen = VARIABLE in os.environ
    if not chosen:
        os.environ[VARIABLE] = COOPERATIVE
    waiting = sys.modules.get("psycopg.waiting")
    replaced = not chosen and waits_in_c()
    if replaced:
        setattr(waiting, "wait", getattr(waiting, COOPERATIVE))

    def undo() -> None:
        if not chosen and os.environ.get(VARIABLE) == COOPERATIVE:
            del os.environ[VARIABLE]
        if replaced and getattr(waiting, "wait") is getattr(waiting, COOPERATIVE):  # noqa: B009 - nothing declares it
            setattr(waiting, "wait", getattr(waiting, COMPILED))

    return undo


def waits_in_c() -> bool:
    """Whether psycopg was imported, and waits in C."""
    waiting = sys.modules.get("psycopg.waiting")
    compiled = getattr(waiting, COMPILED, None)
    return compiled is not None and getattr(waiting, "wait", None) is compiled


hide_frames(__file__)
