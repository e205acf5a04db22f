"""The interface of the standard ``signal`` module, for a program of tasks; handlers that run as tasks; a graceful end.

Everything of the standard module is here. In its place are: `signal` and `getsignal` (a handler may raise and wait), `set_wakeup_fd` (beside the hub's
own), and the waits, which park the task: `pause`, `sigwait`, `sigwaitinfo`, `sigtimedwait`. Beyond it: `signal_handler`, gevent's, and `graceful_exit`.
"""

from __future__ import annotations

import signal as _stdlib
from typing import TYPE_CHECKING

from coopcore.lowlevel import hide_frames

from ._graceful import graceful_exit as graceful_exit
from ._handlers import getsignal as getsignal
from ._handlers import set_wakeup_fd as set_wakeup_fd
from ._handlers import signal as signal
from ._handlers import signal_handler as signal_handler
from ._waits import pause as pause
from ._waits import sigtimedwait as sigtimedwait
from ._waits import sigwait as sigwait
from ._waits import sigwaitinfo as sigwaitinfo

if TYPE_CHECKING:
    from signal import *  # type: ignore[assignment]  # noqa: F403 - what is imported above stays, and takes more arguments

_MORE = {name: thing for name, thing in vars(_stdlib).items() if not name.startswith("_") and name not in globals()}
globals().update(_MORE)

__all__ = [  # noqa: PLE0604 - all strings
    "getsignal",
    "graceful_exit",
    "pause",
    "set_wakeup_fd",
    "signal",
    "signal_handler",
    "sigtimedwait",
    "sigwait",
    "sigwaitinfo",
    *_MORE,
]

hide_frames(__file__)
