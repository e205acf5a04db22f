"""The seams of the core: what a hub is made of, and what a plugin may put in its place.

Every protocol here is structural. A plugin's class needs to inherit nothing; it must have the methods,
and it must pass the contract of the same name in ``coopcore.testing``. Each protocol is used through
exactly one place of the hub, so its text below is the whole of what may be relied upon.

Units: every moment and span inside the core is an integer count of nanoseconds. Seconds, as ``float``,
exist only in the public API. Adding floats could reorder two events of one stream; integers cannot.

Versioning: `INTERFACE_VERSION` counts the additions made to this file and to ``hookspecs``. Methods and
arguments are only ever added, with defaults. A plugin that needs a newer core says so in its `Offer` (or as
``COOPCORE_INTERFACE`` in its module) and is refused with an error that names both numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import socket as _stdlib_socket

INTERFACE_VERSION = 1

# Event bits are epoll's on every backend, whatever that backend calls them itself.
READABLE = 0x001
PRIORITY = 0x002
WRITABLE = 0x004
ERROR = 0x008
HANGUP = 0x010

Nanoseconds: TypeAlias = int
Ready: TypeAlias = tuple[int, int]


class Offer(NamedTuple):
    """A plugin's candidate for one seam, in strings, so that offering imports nothing.

    ``target`` is ``"package.module:attribute"``; it is imported only when this offer is chosen and is then called
    without arguments (a primitive is never called by the core). ``interface`` is the `INTERFACE_VERSION` that the
    target was written for. ``replaces`` names, for a primitive, the standard-library object that it stands for
    (``"threading.Lock"``), or is empty.
    """

    name: str
    target: str
    summary: str
    interface: int = 1
    replaces: str = ""


class Patch(NamedTuple):
    """What a plugin puts in the place of names of one module of the standard library, in strings, so that saying it imports nothing.

    When the program is patched, each of ``names`` of ``module`` becomes the attribute of that name of ``source`` (a module too).
    ``rare`` are names that are replaced where the platform has them. ``since`` and ``before`` bound the Python versions that the row is
    for: ``(3, 13)``. ``apply`` names a function of ``source`` that is called without arguments once the names are in place, for what no
    name can express; it returns a function that undoes it. ``part`` is what is left out or undone as one, if it is not ``module``. A part
    with ``on_request`` is patched only by those who name it.
    """

    module: str
    source: str
    names: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    since: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    apply: str = ""
    part: str = ""
    interface: int = 1
    on_request: bool = False


@runtime_checkable
class Backend(Protocol):
    """What becomes ready, and when: the only thing in a hub that may block the thread.

    A report is a hint and may be spurious. After a report for a descriptor an edge-triggered backend may stay silent about it until the
    next `watch`, and a level-triggered one must: otherwise data that nobody reads spins. A watched descriptor that was closed without `unwatch`
    must make `poll` neither raise nor spin. A backend reports and wakes nobody. Every method but `wake` is called on the thread of the hub.
    """

    edge_triggered: bool
    """True: after one report, data left unread is not reported again until more arrives. The hub re-registers
    a descriptor where a caller needs level semantics.

    An edge-triggered backend may have an attribute ``tells_end`` that is true. It promises that a report of a descriptor which
    can be read, when the other end has ended its side, or there is an error or urgent data, has another bit than ``READABLE`` and ``WRITABLE``
    (``HANGUP``, ``ERROR``, ``PRIORITY`` or any above those). Then a stream that was read short need not be tried before the next report."""

    def watch(self, fd: int, events: int) -> None:
        """Report ``fd`` at a coming `poll` when any of ``events`` (``READABLE``, ``WRITABLE``) holds.

        Called at every park on a descriptor: cheap, idempotent. ``events`` holds all that is waited for now; an
        edge-triggered backend may register for more at the first call and answer the later ones from a set. Raises
        ``OSError`` (EBADF) or ``ValueError`` for a descriptor that is not open, ``PermissionError`` for one that cannot
        be polled (the hub then takes it for always ready).
        """

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``. Quiet for a descriptor that is unknown or already closed."""

    def poll(self, timeout: Nanoseconds | None) -> Sequence[Ready]:
        """Wait at most ``timeout`` (None: for ever, 0: not at all) and return ``(fd, events)`` for what is ready.

        An error or a hang-up is reported with every direction that was asked for, so that whoever waits tries its call and
        meets the error itself; the bits ``ERROR`` and ``HANGUP`` alone stand for both directions.
        Returns early, perhaps with nothing, after `wake`. May switch greenlets (a hosted loop).
        """

    def wake(self) -> None:
        """Make the `poll` under way, or else the next one, return at once. From any thread and from a signal handler.
        Quiet after `close`: a late thread must not write into a number that names something else by then."""

    def fileno(self) -> int | None:
        """A descriptor that is readable when `poll` would return something, so that loops can nest; or None."""

    def close(self) -> None:
        """Release what is held. Idempotent. Watched descriptors stay open."""


@runtime_checkable
class Network(Protocol):
    """What ``coop_plugins.socket`` is made of. The kernel's is the default; a simulated one takes its place whole."""

    def socket(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> _stdlib_socket.socket:
        """A non-blocking object with the methods of a standard socket."""

    def socketpair(self, family: int | None = None, type: int = -1, proto: int = 0) -> tuple[_stdlib_socket.socket, _stdlib_socket.socket]:
        """Two connected ones."""

    def getaddrinfo(
        self, host: str | bytes | None, port: str | bytes | int | None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple[Any, ...]]:
        """As ``socket.getaddrinfo``. May park the calling task; must not block the hub."""


@runtime_checkable
class Resolver(Protocol):
    """Names to addresses and back, for ``coop_plugins.socket`` on the kernel's network. Each method is the function of that name of the standard module.

    A method may park the calling task, and must block neither the hub nor other look-ups while it asks somebody. Numeric addresses are answered as the system
    does, and so are errors: ``gaierror`` and ``herror`` with the system's numbers. Belongs to one hub, and is called on its thread only.
    """

    def getaddrinfo(
        self, host: str | bytes | None, port: str | bytes | int | None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple[Any, ...]]:
        """As ``socket.getaddrinfo``: ``(family, type, proto, canonname, sockaddr)``, the best first."""

    def gethostbyname(self, hostname: str) -> str:
        """As ``socket.gethostbyname``: the first IPv4 address."""

    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]:
        """As ``socket.gethostbyname_ex``: the full name, its aliases, its IPv4 addresses."""

    def gethostbyaddr(self, ip_address: str) -> tuple[str, list[str], list[str]]:
        """As ``socket.gethostbyaddr``: the name of an address, its aliases, and the address."""

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As ``socket.getnameinfo``: host and service."""

    def close(self) -> None:
        """Release what is held, threads and sockets. Called when the hub is closed, on its thread; must not wait. Idempotent."""


@runtime_checkable
class Clock(Protocol):
    """Time, and the wait for it: a hub never sleeps except inside `wait`."""

    def now(self) -> Nanoseconds:
        """The present moment. Never goes backwards."""

    def wait(self, backend: Backend, deadline: Nanoseconds | None, outside: bool) -> Sequence[Ready]:
        """Let time pass until something is ready or ``deadline`` (None: no timer is set; one that is past: do not wait).

        ``outside`` is True while a promise from outside the hub is open (a thread's job, a child process, a signal handler): a
        clock that can jump must not, since what is promised takes real time.
        """

    def pressure(self) -> Nanoseconds:
        """How long tasks have been busy, on any scale that grows: when it has grown by 1 ms since the hub's last pass,
        a running task lets the hub look at timers and descriptors. The real clock reads the time; a deterministic
        one counts the calls, so that a run repeats."""


@runtime_checkable
class TimerQueue(Protocol):
    """Entries ordered by deadline. Setting and cancelling are the cheap operations: most timeouts never fire.

    An entry is opaque to the queue and may be added twice. One that was cancelled or handed out is no longer referred to.
    Of two entries with one deadline the first added is due first.
    """

    def add(self, deadline: Nanoseconds, callback: Any) -> Any:
        """Set ``callback`` for ``deadline``; returns a handle for `cancel`."""

    def cancel(self, handle: Any) -> None:
        """Take it out. Quiet if it was cancelled before, or is already due and was handed out."""

    def next_deadline(self) -> Nanoseconds | None:
        """The earliest deadline that is set, or None."""

    def pop_due(self, now: Nanoseconds) -> Iterator[Any]:
        """Hand out, in order, every callback whose deadline is ``now`` or earlier.

        Lazy: what is cancelled while the iteration is under way is not handed out. What is added meanwhile may be
        left for the next call.
        """

    def __len__(self) -> int:
        """How many are set; the cancelled do not count."""


@runtime_checkable
class Scheduler(Protocol):
    """The runnable tasks: a container. ``collections.deque`` is the default and the reference.

    Given to a hub when it is made, never exchanged. Another one chooses in `popleft`. Optional: a method ``append_yielded``
    with the signature of `append` is called in its place for a task that yielded of its own accord.
    """

    def append(self, entry: Any, /) -> None:
        """Add one. Entries are tasks, and at most once the hub itself (when its callbacks wait)."""

    def popleft(self) -> Any:
        """Remove and return the entry that runs next. Only called while ``len()`` is not zero."""

    def __len__(self) -> int:
        """How many entries there are."""


class TaskView(Protocol):
    """What a tracer may read of a task, at any time."""

    @property
    def ident(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def parent_ident(self) -> int | None: ...
    @property
    def spawned_at(self) -> str: ...
    @property
    def waiting_on(self) -> str: ...


class Tracer(Protocol):
    """Told what tasks do. Runs on the hub's thread, in the middle of things: it must not park, and what it raises
    is reported and removes it from the hub. Without a tracer none of this costs anything."""

    def task_spawned(self, task: TaskView) -> None:
        """It exists and is runnable."""

    def task_started(self, task: TaskView) -> None:
        """Its function is about to be called."""

    def task_parked(self, task: TaskView) -> None:
        """It is about to wait; ``task.waiting_on`` says for what."""

    def task_unparked(self, task: TaskView) -> None:
        """It has become runnable."""

    def task_exited(self, task: TaskView) -> None:
        """It ended with a value, or was killed."""

    def task_failed(self, task: TaskView, error: BaseException) -> None:
        """It ended with an error."""


@runtime_checkable
class Waitable(Protocol):
    """What `wait` and `iwait` accept: tasks, events, results, semaphores, child processes."""

    def rawlink(self, callback: Callable[[Any], object], /) -> None:
        """Call ``callback(self)`` from the hub when ready, at once (in the next pass) if it is ready now."""

    def unlink(self, callback: Callable[[Any], object], /) -> None:
        """Undo `rawlink`. Quiet if it is not linked."""


class Reason(Protocol):
    """What a park waits for: any object. These two methods, if it has them, make the reports readable.

    An attribute ``wait_is_shielded``, if it is there and true, keeps kills and timeouts until after the wait: see `lowlevel.park_shielded`.
    One ``names_owners`` says that `describe_wait` names the owners itself, and the report need not.
    """

    def describe_wait(self) -> str:
        """In a few words, for "waits for ...": ``Queue.get of <coop_plugins.queue.Queue at 0x7f.. items=0>``."""

    def wait_owners(self) -> Iterable[TaskView]:
        """The tasks that could end this wait, if it is known: the holder of a lock, the task that is joined."""
