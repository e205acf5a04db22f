"""What authors of plugins import. Everything here is documented, typed and stable; `plugins/README.md` is the guide."""

from __future__ import annotations

from ._assemble import load_offer, make_hub, plugins
from ._hub import FdWait, Hub, Promise
from ._interrupt import StandingPromise, change_wakeup_fd, deferring, interrupted_hub, wait_for_signal
from ._lot import ParkingLot
from ._report import IdleThread, stack_of, stands_at
from ._state import (
    FROM_AFAR,
    current_task,
    keep_throwing,
    on_hub,
    park,
    park_shielded,
    park_task,
    refuse_copy,
    refuse_thread,
    running_task,
    shielded,
    stop_throwing,
    throw_in,
    unpark,
    unpark_anywhere,
    yield_now,
)
from ._task import Failure, Task, TaskRecord, hide_frames, scope_of, set_scope, spawn_linked
from ._timeout import Alarm, check_seconds
from .hookspecs import hookimpl
from .protocols import (
    ERROR,
    HANGUP,
    INTERFACE_VERSION,
    PRIORITY,
    READABLE,
    WRITABLE,
    Backend,
    Clock,
    Network,
    Offer,
    Patch,
    Resolver,
    Scheduler,
    TaskView,
    TimerQueue,
    Tracer,
    Waitable,
)


def wait_readable(fd: int, timeout: float | None = None, *, what: str = "") -> bool:
    """Wait until descriptor ``fd`` may be readable. Returns True, or False after ``timeout`` seconds. Level semantics; may wake spuriously.
    ``what`` says in reports what is waited for ("the end of child 17").

    Raises `BusyResourceError` if another task waits for the same, `ClosedResourceError` if it is closed (`notify_closing`) meanwhile,
    OSError if it is not open.
    """
    return current_task().hub.wait_fd(fd, READABLE, timeout, what=what)


def wait_writable(fd: int, timeout: float | None = None, *, what: str = "") -> bool:
    """Wait until descriptor ``fd`` may be writable. As `wait_readable`."""
    return current_task().hub.wait_fd(fd, WRITABLE, timeout, what=what)


def notify_closing(fd: int) -> None:
    """Call just before closing a descriptor that tasks may wait at: they get `ClosedResourceError`."""
    current_hub().notify_closing(fd)


def current_hub() -> Hub:
    """The hub of this thread, also in a callback on the hub itself."""
    from ._assemble import get_hub

    return get_hub()


def promise(what: str) -> Promise:
    """Declare that something outside the hub (a thread, a child, a signal), named ``what``, may yet make a task ready. `Promise.close` it after."""
    return current_hub().promise(what)


__all__ = [
    "ERROR",
    "FROM_AFAR",
    "HANGUP",
    "INTERFACE_VERSION",
    "PRIORITY",
    "READABLE",
    "WRITABLE",
    "Alarm",
    "Backend",
    "Clock",
    "Failure",
    "FdWait",
    "Hub",
    "IdleThread",
    "Network",
    "Offer",
    "ParkingLot",
    "Patch",
    "Promise",
    "Resolver",
    "Scheduler",
    "StandingPromise",
    "Task",
    "TaskRecord",
    "TaskView",
    "TimerQueue",
    "Tracer",
    "Waitable",
    "change_wakeup_fd",
    "check_seconds",
    "current_hub",
    "current_task",
    "deferring",
    "hide_frames",
    "hookimpl",
    "interrupted_hub",
    "keep_throwing",
    "load_offer",
    "make_hub",
    "notify_closing",
    "on_hub",
    "park",
    "park_shielded",
    "park_task",
    "plugins",
    "promise",
    "refuse_copy",
    "refuse_thread",
    "running_task",
    "scope_of",
    "set_scope",
    "shielded",
    "spawn_linked",
    "stack_of",
    "stands_at",
    "stop_throwing",
    "throw_in",
    "unpark",
    "unpark_anywhere",
    "wait_for_signal",
    "wait_readable",
    "wait_writable",
    "yield_now",
]
hide_frames(__file__)
