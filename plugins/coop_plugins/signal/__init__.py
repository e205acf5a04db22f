"""The interface of the standard ``signal`` module, for a program of tasks; handlers that run as tasks; a graceful end.

Everything of the standard module is here. In its place are: `signal` and `getsignal` (a handler may raise and wait), `set_wakeup_fd` (beside the hub's
own), and the waits, which park the task: `pause`, `sigwait`, `sigwaitinfo`, `sigtimedwait`. Beyond it: `signal_handler`, gevent's, and `graceful_exit`.
"""

from __future__ import annotations

import signal as _stdlib
from signal import *  # noqa: F403 - its names are those of the platform

from coopcore.lowlevel import hide_frames

from ._graceful import graceful_exit as graceful_exit
from ._handlers import getsignal as getsignal
from ._handlers import set_wakeup_fd as set_wakeup_fd
from ._handlers import signal as signal
from ._handlers import signal_handler as signal_handler
from ._waits import pause as pause
from ._waits import sigtimedwait as sigtimedwait
from ._waits import sigwait as sigwait  # type: ignore[assignment]  # typeshed has a Callable, without a name for its argument
from ._waits import sigwaitinfo as sigwaitinfo

__all__ = ["getsignal", "graceful_exit", "pause", "set_wakeup_fd", "signal", "signal_handler", "sigtimedwait", "sigwait", "sigwaitinfo"]
__all__ += [name for name in vars(_stdlib) if not name.startswith("_") and name not in __all__]

hide_frames(__file__)
