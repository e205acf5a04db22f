"""What a test, or a wider fixture, leaves behind: sockets, child processes, threads, held locks, and tasks.

Theory
======
Whoever makes a socket or a child, the interpreter raises an audit event (``sys.addaudithook``), with the caller's frame at hand. So a hook notes each, for
the test or fixture in whose context that is (see ``_tasks``), with the place; no class is changed, and it doesn't matter who patches what. An audit hook can
never be removed: there is one for the process, which looks no further than the name of the event while no test of ours runs.

Threads raise one from Python 3.12 on only, children of ``multiprocessing`` only where they are forked, and locks none. So ``start`` of both, and the
constructors of the classes that plugins offer in the place of ``threading``'s locks, are wrapped while a session lasts. A lock that is held by a task that has
ended, or by the test's own, will never be released.

What is found at the end of a test may be about to go: a thread is ending, a server has not seen yet that its client is gone. It has `SETTLE` seconds for that,
and a collection for what is held by a cycle only. What a wider fixture refers to, such as the connections of a client's pool, is the fixture's from then on.

Invariants
==========
1. Nothing that is closed, ended, released or collected by the end of the period is reported, and nothing is reported twice.
2. Things belong to the fixture or the test whose code, or whose tasks' code, made them; those of a function's fixtures are the test's.
3. A test that leaves nothing behind waits for nothing and collects no garbage.
4. The hook never raises, and nothing is noted outside of marked tests.
5. When the session is over, every class has its own methods again.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import wraps
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from coopcore import Hub, Task, sleep
from coopcore.lowlevel import Offer, Promise, hide_frames, load_offer, plugins

from . import MARK
from ._places import Stack, is_machinery
from ._tasks import OWNER, Owner

if TYPE_CHECKING:
    import socket

hide_frames(__file__)

SETTLE = 0.5  # seconds in which what is about to go may do so
_LOOK = 0.01  # seconds between looks meanwhile
_MOST_REACHED = 100_000  # objects that are looked through for what a fixture refers to
_NEAR = 2_000  # and for what binds it to a hub, before each test on another one

# Of each kind, what to do.
_ADVICE = {
    "tasks": "join or kill tasks",
    "sockets": "close sockets",
    "subprocesses": "wait for children",
    "threads": "join threads",
    "locks": "release locks",
}


class Made:
    """Something that was made, and where."""

    kind = ""

    def __init__(self, stack: Stack | None, find: Callable[[], Any]) -> None:
        self._stack = stack
        self._find = find

    def is_left(self) -> bool:
        """Whether somebody still has to close, join or release it."""
        raise NotImplementedError

    def thing(self) -> Any:
        """The object, or None if it is gone."""
        return self._find()

    def __str__(self) -> str:
        return f"{self.thing()!r}, made at {self._stack.place if self._stack is not None else '(before the first marked test)'}"

    def in_full(self) -> list[str]:
        """With the whole stack of its making."""
        return [str(self), *(self._stack.lines() if self._stack is not None else ())]


class _Socket(Made):
    kind = "sockets"

    def __init__(self, stack: Stack, made: socket.socket) -> None:
        super().__init__(stack, weakref.ref(made))

    def is_left(self) -> bool:
        made = self.thing()
        return made is not None and made.fileno() >= 0


class _Child(Made):
    kind = "subprocesses"

    def __init__(self, stack: Stack, process: Any) -> None:
        super().__init__(stack, lambda: process)  # not weakly: a child runs on when its object is gone
        self._process = process

    def is_left(self) -> bool:
        process = self._process
        if process.pid is None or getattr(process, "daemon", False):
            return False
        if isinstance(process, subprocess.Popen):
            return process.returncode is None and _is_running(process.pid)
        return bool(process.is_alive())

    def __str__(self) -> str:
        return f"child {self._process.pid}, {super().__str__()}"


class _Thread(Made):
    kind = "threads"

    def is_left(self) -> bool:
        thread = self.thing()
        return thread is not None and thread.is_alive() and not thread.daemon


class _Lock(Made):
    kind = "locks"

    def holder(self) -> Task[Any] | None:
        """The task that holds it."""
        lock = self.thing()
        return None if lock is None else next((task for task in lock.wait_owners() if isinstance(task, Task)), None)

    def is_left_by(self, me: Task[Any]) -> bool:
        """Whether it is held by somebody who will never release it: ``me``, or a task that has ended."""
        holder = self.holder()
        return holder is not None and (holder is me or holder.dead)

    def __str__(self) -> str:
        holder = self.holder()
        spawned = "" if holder is None or is_machinery(holder.spawned_at) else f", spawned at {holder.spawned_at}"
        return f"{super().__str__()}, held by {holder.name if holder is not None else 'nobody'!r}{spawned}"


class _Loose(Made):
    """A task that the test has started, and that runs on."""

    kind = "tasks"

    def __init__(self, task: Task[Any]) -> None:
        super().__init__(None, lambda: task)
        self._task = task
        # Now, since it is killed before it is reported.
        self._words = f"{task.name!r}, spawned at {task.spawned_at}" + (f", waits for {task.waiting_on}" if task.waiting_on else "")

    def is_left(self) -> bool:
        return not self._task.dead

    def __str__(self) -> str:
        return self._words

    def in_full(self) -> list[str]:
        return [str(self)]


def _is_running(pid: int) -> bool:
    """Whether this child has not ended. Does not reap it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


# -- noting what is made ---------------------------------------------------------------------------------------------------


def _find(frame: FrameType | None, cls: Any) -> Any:
    """The nearest ``self`` of this class on the stack."""
    while frame is not None:
        if "self" in frame.f_code.co_varnames[:1] and isinstance(found := frame.f_locals.get("self"), cls):
            return found
        frame = frame.f_back
    return None


def _socket_made(stack: Stack, frame: FrameType, args: Any) -> Made:
    return _Socket(stack, args[0])


def _child_made(stack: Stack, frame: FrameType, args: Any) -> Made | None:
    process = _find(frame, subprocess.Popen)
    return None if process is None else _Child(stack, process)


def _fork_made(stack: Stack, frame: FrameType, args: Any) -> Made | None:
    module = sys.modules.get("multiprocessing.process")
    if module is None or hasattr(module.BaseProcess.start, "__wrapped__"):  # then it will be noted; but not if a test has imported the module just now
        return None
    process = _find(frame, module.BaseProcess)
    return None if process is None else _Child(stack, process)


_EVENTS: dict[str, Callable[[Stack, FrameType, Any], Made | None]] = {
    "socket.__new__": _socket_made,
    "subprocess.Popen": _child_made,
    "os.fork": _fork_made,
}


def _on_event(event: str, args: Any) -> None:
    """The audit hook."""
    if event not in _EVENTS:
        return
    owner = _watched_owner()
    if owner is None:
        return
    try:
        frame = sys._getframe(1)
        made = _EVENTS[event](Stack(frame), frame, args)
    except Exception:  # such as a socket class that allows no weak references: it goes unwatched
        return
    if made is not None:
        owner.note(made)


def _watched_owner() -> Owner | None:
    owner = OWNER.get()
    return owner if owner is not None and owner.is_watched else None


_is_hooked = False


class Watch:
    """Notes what owners make, for as long as a session lasts."""

    def __init__(self) -> None:
        self._locks: dict[int, _Lock] = {}
        self._reported: weakref.WeakSet[Any] = weakref.WeakSet()
        self._undo: list[Callable[[], None]] = []
        self._offers: set[Offer] = set()
        self._lacks_processes = False  # until somebody has imported them

    def start(self) -> None:
        """Begin."""
        global _is_hooked
        if not _is_hooked:
            _is_hooked = True
            sys.addaudithook(_on_event)
        self._wrap(threading.Thread, "start", _note_thread)
        self._lacks_processes = True
        self._offers = {offer for offer in plugins().offers("primitive").values() if offer.replaces in ("threading.Lock", "threading.RLock")}

    def look_for_modules(self) -> None:
        """Note what is made by modules that have been imported by now, and the locks that exist. Does nothing before `start`."""
        if self._lacks_processes and (module := sys.modules.get("multiprocessing.process")) is not None:
            self._lacks_processes = False
            self._wrap(module.BaseProcess, "start", _note_process)
        for offer in [offer for offer in self._offers if offer.target.partition(":")[0] in sys.modules]:
            self._offers.remove(offer)
            cls = load_offer("primitive", offer.name)
            if isinstance(cls.__init__, FunctionType) and hasattr(cls, "wait_owners"):
                for lock in [thing for thing in gc.get_objects() if type(thing) is cls]:
                    self._note_lock(lock, None)
                self._wrap(cls, "__init__", self._note_lock)

    def _wrap(self, cls: Any, name: str, note: Callable[[Any, Stack], None]) -> None:
        """Have ``note`` called after each call of a method, with the object and the caller's stack."""
        plain = getattr(cls, name)

        @wraps(plain)
        def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = plain(self, *args, **kwargs)
            note(self, Stack(sys._getframe(1)))
            return result

        setattr(cls, name, noting)
        self._undo.append(lambda: setattr(cls, name, plain))

    def _note_lock(self, lock: Any, stack: Stack | None) -> None:
        key = id(lock)
        self._locks[key] = _Lock(stack, weakref.ref(lock, lambda _: self._locks.pop(key, None)))

    def locks_left_by(self, me: Task[Any]) -> Iterator[Made]:
        """Those that nobody will release any more, and were not reported yet."""
        for made in list(self._locks.values()):
            if made.is_left_by(me) and made.thing() not in self._reported:
                yield made

    def reported(self, left: Iterable[Made]) -> None:
        """Those among them that are locks were reported."""
        self._reported.update(made.thing() for made in left if made.kind == "locks")

    def close(self) -> None:
        """Give the classes their methods back."""
        while self._undo:
            self._undo.pop()()
        self._locks.clear()


def _note_thread(thread: threading.Thread, stack: Stack) -> None:
    owner = _watched_owner()
    if owner is not None:
        owner.note(_Thread(stack, weakref.ref(thread)))


def _note_process(process: Any, stack: Stack) -> None:
    owner = _watched_owner()
    if owner is not None:
        owner.note(_Child(stack, process))


# -- looking at what is left -----------------------------------------------------------------------------------------------


def find_left(find: Callable[[], list[Made]], hub: Hub, elsewhere: Callable[[Sequence[Made]], Iterable[Made]]) -> list[Made]:
    """What ``find`` finds at the end of the period in which things may go. Parks meanwhile.

    ``elsewhere`` takes those that belong to somebody else, and returns the rest.
    """
    left = list(elsewhere(find()))
    if not left:
        return []
    gc.collect()
    with Promise(hub, "the rest to settle"):  # so that a virtual clock lets real time pass, and there is no deadlock
        for _ in range(int(SETTLE / _LOOK)):
            left = list(elsewhere(find()))
            if not left:
                break
            sleep(_LOOK)
    return left


def report(who: str, left: Sequence[Made], wanted: Iterable[str], switch: Callable[[Sequence[str]], str], verbose: bool) -> str:
    """The words for a failure. ``wanted`` are the kinds that were looked for, and ``switch(kinds)`` says how to look for some of them alone."""
    kinds: dict[str, list[Made]] = {}
    for made in left:
        kinds.setdefault(made.kind, []).append(made)
    counts = [f"{len(of_kind)} {_singular(kind) if len(of_kind) == 1 else kind}" for kind, of_kind in kinds.items()]
    lines = [f"{who} left behind: {', '.join(counts)}."]
    for of_kind in kinds.values():
        for made in of_kind:
            first, *rest = made.in_full() if verbose else [str(made)]
            lines += [f"  {first}", *(f"  {line}" for line in rest)]
    advice = "; ".join(_ADVICE[kind] for kind in kinds)
    others = [kind for kind in _ADVICE if kind in wanted and kind not in kinds]
    lines.append(f"Next step: {advice} before the end; or, if this is as it should be, look for less: {switch(others)}.")
    return "\n".join(lines)


def by_mark(kinds: Sequence[str]) -> str:
    """How to look for these kinds alone after a test."""
    return f"@pytest.mark.{MARK}(leaks={tuple(kinds) or False})"


def by_ini(kinds: Sequence[str]) -> str:
    """The same after a wider fixture, which has no mark."""
    return f"in the ini file, coop_leaks = {' '.join(kinds)}".rstrip()


def _singular(kind: str) -> str:
    return "subprocess" if kind == "subprocesses" else kind.removesuffix("s")


def loose(tasks: Iterable[Task[Any]]) -> list[Made]:
    """Tasks, to be reported."""
    return [_Loose(task) for task in tasks]


_NO_OWNERS = (ModuleType, type, BuiltinFunctionType, FrameType, CodeType, str, bytes, int, float, Hub)
_NOT_SEARCHED = ("_pytest", "pluggy", "coop_pytest", "pytest")


def reached_from(roots: Iterable[Any], wanted: Iterable[Any]) -> set[int]:
    """The ``id`` of each of the ``wanted`` things that the roots refer to, over any number of steps, but not by way of modules and classes."""
    targets = {id(thing) for thing in wanted}
    found: set[int] = set()
    for thing in _walk(roots, _MOST_REACHED, _NOT_SEARCHED):
        if id(thing) in targets:
            found.add(id(thing))
            if found == targets:
                break
    return found


def part_of(hub: Hub, value: Any) -> Any:
    """The hub, its clock, or a task of its, that ``value`` is or refers to, as far as it is near; None if there is no such thing.

    What primitives, sockets and pools refer to is theirs: these serve any hub.
    """
    for thing in _walk([value], _NEAR, (*_NOT_SEARCHED, "coopcore", "coop_plugins")):
        if thing is hub or thing is hub.clock or (isinstance(thing, Task) and thing.hub is hub):
            return thing
    return None


def _walk(roots: Iterable[Any], most: int, opaque: Collection[str]) -> Iterator[Any]:
    """The roots, and what they refer to, the nearest first; of objects whose classes are of the packages ``opaque`` only these themselves."""
    seen: set[int] = set()
    queue = deque(roots)
    while queue and len(seen) < most:
        thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, FunctionType):
            queue += [cell.cell_contents for cell in thing.__closure__ or () if _is_full(cell)]
        elif not isinstance(thing, _NO_OWNERS) and type(thing).__module__.partition(".")[0] not in opaque:
            queue += gc.get_referents(thing)


def _is_full(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
