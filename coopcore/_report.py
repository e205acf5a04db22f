"""Words for humans: deadlock reports, the list of all tasks, tracebacks of failed tasks. Nothing here changes any state.

"Stands at" is the innermost frame of a task that is not plumbing (see `_task.hide_frames`).
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from _thread import get_ident
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

from ._state import STARTED
from ._task import HIDDEN_FILES, Task

if TYPE_CHECKING:
    from ._hub import Hub
    from ._task import TaskRecord

_CORE = os.path.dirname(__file__)
_MANY = 100  # tasks listed in full
_FEW = 5  # holders named for each


class IdleThread:
    """``with IdleThread():`` this thread has nothing to do, as one of a pool between two jobs: reports leave it out, for it neither blocks nor wakes anybody.

    ``IdleThread.idents`` is the set of those that there are. The child of a fork has none.
    """

    __slots__ = ("_ident",)
    idents: ClassVar[set[int]] = set()

    def __enter__(self) -> None:
        self._ident = get_ident()
        self.idents.add(self._ident)

    def __exit__(self, *error: object) -> None:
        self.idents.discard(self._ident)


def stands_at(task: Task[Any]) -> str:
    """Where a task waits, or, in a signal handler or from another thread, where it runs: ``file:line in function``."""
    frame = innermost_frame(task)
    if frame is None:
        return "(no Python frame)"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def innermost_frame(task: Task[Any]) -> FrameType | None:
    """The innermost frame of a task that is not plumbing, else its innermost one."""
    top = frame = task.frame
    if frame is None and task._phase == STARTED:  # it runs
        top = frame = sys._current_frames().get(task._hub._thread)
    outer: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename not in HIDDEN_FILES:
            return frame
        # A task of plumbing alone, as spawn(event.wait), stands in the primitive rather than in the core.
        if outer is None and os.path.dirname(frame.f_code.co_filename) != _CORE:
            outer = frame
        frame = frame.f_back
    return outer or top


def owners(task: Task[Any]) -> list[Task[Any]]:
    """Which tasks could end this task's wait, as far as what it waits for knows."""
    ask = getattr(task._reason, "wait_owners", None)
    return [] if ask is None else [owner for owner in ask() if isinstance(owner, Task)]


def find_cycle(tasks: Iterable[Task[Any]]) -> list[Task[Any]]:
    """Tasks of which each waits for the next one and the last for the first; empty if there is no such ring."""
    done: set[Task[Any]] = set()
    for start in tasks:
        path: list[Task[Any]] = []
        # Depth first along "waits for an owner"; meeting the path again is a ring.
        stack = [(start, iter(owners(start)))] if start not in done else []
        if stack:
            path.append(start)
        while stack:
            following = next(stack[-1][1], None)
            if following is None:
                done.add(path.pop())
                stack.pop()
            elif following in path:
                return path[path.index(following) :]
            elif following not in done:
                path.append(following)
                stack.append((following, iter(owners(following))))
    return []


def deadlock(hub: Hub) -> str:
    """The message of `Deadlock`."""
    parked = [task for task in (hub.root, *hub.tasks()) if task._reason is not None]
    if hub.root._reason is hub.main:
        parked.remove(hub.root)  # it only waits for the main task, which is in the list
    lines = [
        f"nothing can ever run again on {hub.name}. {len(parked)} task{' is' if len(parked) == 1 else 's are'} parked, and no timer, "
        f"descriptor, thread, child process or signal handler can wake one:"
    ]
    for task in parked[:_MANY]:
        lines += _wait_lines(task)
    if len(parked) > _MANY:
        lines.append(f"  ... and {len(parked) - _MANY} more")
    lines += _advice(parked, hub)
    return "\n".join(lines)


def _advice(parked: list[Task[Any]], hub: Hub) -> list[str]:
    """The last lines of a report: why they wait, as far as can be told, and what to do."""
    cycle = find_cycle(parked)
    if len(cycle) == 1:
        (task,) = cycle
        return [
            f"{task.name} waits for itself, a cycle of one: {task.waiting_on}, which is up to {task.name} alone.",
            "Next step: if that is a lock, it holds it already: use an RLock, or release it first. If it is the end of a group, or a free slot of a pool, "
            "it is in there itself: wait outside of the group, or use another pool. Or wait with a timeout=.",
        ]
    if cycle:
        ring = zip(cycle, cycle[1:] + cycle[:1], strict=True)
        return [
            "They wait for each other in a cycle:",
            *(f"  {task.name} waits for {task.waiting_on}, which is up to {following.name}" for task, following in ring),
            "Next step: take locks in one order everywhere; let no task wait for the end of one that waits for it (inside a pool's task, "
            "use another pool); or wait with a timeout=.",
        ]
    forgotten = list(dict.fromkeys(owner.name for task in parked for owner in owners(task) if owner._is_forgotten))
    if forgotten:
        names = ", ".join(forgotten[:_FEW]) + (f" and {len(forgotten) - _FEW} more" if len(forgotten) > _FEW else "")
        return [f"Likely cause: {names} {'was' if len(forgotten) == 1 else 'were'} made and never started. Next step: call start(), or use spawn()."]
    real = sys._current_frames().keys() - {hub.thread} - IdleThread.idents  # in a patched program there are Threads that are tasks
    daemons = [repr(thread.name) for thread in reversed(threading.enumerate()) if thread.daemon and thread.ident in real]  # the newest first
    uncounted = [
        f"Daemon threads are not waited for: {', '.join(daemons[:_FEW])}{' ...' if len(daemons) > _FEW else ''}. "
        f"If one of them is to wake a task, say so while the task waits: `with promise('what it does'):`, of coopcore.lowlevel."
    ]
    return [
        *(uncounted if daemons else ()),
        "Likely cause: what they wait for was to be put, set, released or ended by a task that has ended, or was never spawned. "
        "Next step: look for who should wake the first of them; a timeout= on its wait turns this into an error there.",
    ]


def _wait_lines(task: Task[Any]) -> list[str]:
    holders = [] if getattr(task._reason, "names_owners", False) else owners(task)
    held_by = ", ".join(owner.name for owner in holders[:_FEW]) + (f" and {len(holders) - _FEW} more" if len(holders) > _FEW else "")
    lines = [f"  {task.name} waits for {task.waiting_on}{f', held by {held_by}' if held_by else ''}", f"    at {stands_at(task)}"]
    if task._origin[0] is not None:
        parent = task.parent
        lines.append(f"    spawned at {task.spawned_at}{f' by {parent.name}' if parent is not None else ''}")
    return lines


def run_info(hub: Hub) -> str:
    """Every task of a hub, with its stack."""
    everyone = [hub.root, *hub.tasks()]
    lines = [f"{hub!r}"]
    for task in everyone[:_MANY]:
        waiting = task.waiting_on
        lines.append(f"{task.name} ({task.state}{', waits for ' + waiting if waiting else ''})")
        if task._origin[0] is not None:
            lines.append(f"  spawned at {task.spawned_at}")
        if task.frame is not None:
            lines += [line.rstrip() for line in stack_of(task)]
    if len(everyone) > _MANY:
        lines.append(f"... and {len(everyone) - _MANY} more tasks")
    lines += [f"open promise: {promise.what}" for promise in hub._promises.values()]
    lines += [f"{failure.view.name} failed, and nobody has received its error yet: {failure.error!r}" for failure in hub.unreceived_failures()]
    return "\n".join(lines)


def stack_of(task: Task[Any]) -> list[str]:
    """The stack of a suspended task, outermost first, without plumbing, as ``traceback.format_stack`` has it."""
    summary = traceback.extract_stack(task.frame)
    shown = [entry for entry in summary if entry.filename not in HIDDEN_FILES]
    return traceback.format_list(shown or list(summary))


def print_failure(view: TaskRecord, error: BaseException) -> None:
    """Print the traceback of a failed task whose error nobody received."""
    text = "".join(traceback.format_exception(error))
    print(
        f"Task {view.name!r}, spawned at {view.spawned_at}, failed, and nobody joined it (get(), join() and .exception receive an error):\n{text}",
        end="",
        file=sys.stderr,
    )


def warn(message: str, category: type[Warning]) -> None:
    """A warning attributed to the first caller that is not plumbing."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename in HIDDEN_FILES:
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
