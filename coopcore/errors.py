"""Every exception and warning of the core.

Each message says what happened, the likely cause and the next step. `docs/errors.md` lists them; a test holds
that list complete.

Two families. *Signals* (`TaskExit`, `Timeout` in its own module) derive from ``BaseException`` and pass through
``except Exception``. *Mistakes* derive from `CoopError`, and from the built-in exception that a reader would
expect where there is one, so that ``except RuntimeError`` works too.
"""

from __future__ import annotations

from greenlet import GreenletExit


class CoopError(Exception):
    """The base of every error that says that coopcore was used wrongly or cannot go on."""


class TaskExit(GreenletExit):
    """Thrown into a task by `kill`, once. A task that ends with it counts as successful, and it is its value."""


class Deadlock(CoopError, RuntimeError):
    """Nothing is ready, and nothing that the hub knows of can ever make a task ready.

    The message lists every parked task, where it stands, what it waits for and who owns that, and the cycle if there is one.
    """


class HubError(CoopError, RuntimeError):
    """The hub was used in a way that cannot work."""


class ParkInHubError(HubError):
    """A callback that runs on the hub itself (a rawlink, a timer, ``call_soon``) tried to wait."""


class ParkInFinalizerError(HubError):
    """A finaliser (``__del__``, a weak reference's callback) that the cyclic garbage collector runs tried to wait."""


class WrongThreadError(HubError):
    """An object of one thread's hub was used from another thread."""


class HubClosedError(HubError):
    """The hub was taken apart already."""


class LostInForkError(HubError):
    """A lock was asked for in the child of a fork that a task of the parent holds, which the child has not got."""


class JoinSelfError(HubError):
    """A task tried to join itself, which could never end."""


class BusyResourceError(CoopError, RuntimeError):
    """Two tasks wait for the same direction of one descriptor."""


class ClosedResourceError(CoopError, OSError):
    """A descriptor was closed while a task waited for it. ``errno`` is ``EBADF``."""


class PluginError(CoopError):
    """A plugin could not be used. Its message names the distribution and how to turn the plugin off."""


class PluginLoadError(PluginError, ImportError):
    """A plugin, or the target of an offer, could not be imported."""


class OfferConflictError(PluginError, ValueError):
    """Two plugins offer one name, or two distributions ship one import package."""


class UnknownOfferError(PluginError, LookupError):
    """A backend, clock, scheduler or other offer was asked for by a name that nobody offers."""


class InterfaceError(PluginError, TypeError):
    """A plugin was built for a newer interface of coopcore, or breaks the protocol of its seam."""


class LeftBehindWarning(RuntimeWarning):
    """`run` ended while tasks were still alive; they were killed."""
