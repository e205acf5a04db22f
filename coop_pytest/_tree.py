"""The tree of tasks that goes into the report of a failed test: who started whom, what each does, since when, and where.

Plain text, so that every kind of report can have it; a terminal that has colours gets them when the session ends (`paint`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from coopcore import Hub, Task
from coopcore.lowlevel import hide_frames, stack_of, stands_at

from . import TREE
from ._places import is_machinery, without_machinery

hide_frames(__file__)

_NOT_BEGUN = "(no Python frame)"  # where a task stands that was not run yet
_FEW = 20  # tasks in a short tree
_DEEP = 20  # levels that are indented

_CODES = {"parked": 33, "ready": 32, "running": 32, "new": 34}  # of ANSI terminals
_HEAD = re.compile(r"^( *)(.+?) \((new|ready|parked|running)((?: for [\d.]+ s)?)(?=[,)])")
_PLACE = re.compile(r"^ *(?:spawned|stands) at .+$")


def tree(hub: Hub, whole: bool) -> str:
    """Every task of a hub below the one that started it; with ``whole``, with its stack, and however many they are."""
    tasks = hub.tasks()
    lines = [repr(hub)]
    for shown, (depth, task) in enumerate(_in_order(tasks)):
        if shown == _FEW and not whole:
            lines.append(f"... and {len(tasks) - shown} more; -v shows all")
            break
        head, *rest = _lines(task, whole)
        level = "" if depth <= _DEEP else f"({depth} levels down) "
        lines += ["  " * min(depth, _DEEP) + line for line in (level + head, *rest)]
    return "\n".join([*lines, *_promises(hub)])


def _promises(hub: Hub) -> list[str]:
    try:
        return [line for line in hub.describe().splitlines() if line.startswith("open promise: ")]
    except Exception:  # of the repr of an error, which the whole description has as well
        return []


def _in_order(tasks: list[Task[Any]]) -> Iterator[tuple[int, Task[Any]]]:
    """Depth first, with the depth. Whose parent has ended comes at the top."""
    idents = {task.ident for task in tasks}
    children: dict[int | None, list[Task[Any]]] = {}
    for task in tasks:
        children.setdefault(task.parent_ident if task.parent_ident in idents else None, []).append(task)
    stack = [(0, task) for task in reversed(children.get(None, []))]
    while stack:
        depth, task = stack.pop()
        yield depth, task
        stack += [(depth + 1, child) for child in reversed(children.get(task.ident, []))]


def runs_in_another_thread(task: Task[Any]) -> bool:
    """Whether it is what the thread of its hub does now, which another thread asks."""
    return task.state == "ready" and task.frame is None and stands_at(task) != _NOT_BEGUN


def _lines(task: Task[Any], whole: bool) -> list[str]:
    since = task.waited
    waiting = task.waiting_on
    name = task.name if task.name.isprintable() else ascii(task.name)
    state = "running" if runs_in_another_thread(task) else task.state
    lines = [f"{name} ({state}{f' for {since:.2f} s' if since is not None else ''}{f', waits for {waiting}' if waiting else ''})"]
    if not is_machinery(task.spawned_at):
        lines.append(f"  spawned at {task.spawned_at}")
    if task.frame is not None:
        if whole:
            lines += [line for entry in stack_of(task) for line in entry.rstrip().splitlines()]
        elif not is_machinery(place := stands_at(task)):
            lines.append(f"  stands at {place}")
    return without_machinery("\n".join(lines)).splitlines()


def paint(reports: list[Any]) -> None:
    """Give the trees in these reports colours."""
    for report in reports:
        sections: list[Any] = getattr(report.longrepr, "sections", [])
        for index, section in enumerate(sections):
            if section[0] == TREE:
                sections[index] = (section[0], painted(section[1]), *section[2:])


def painted(text: str) -> str:
    """A tree for a terminal: names bold, states in a colour of their own, places faint."""
    return "\n".join(_PLACE.sub("\x1b[2m\\g<0>\x1b[0m", _HEAD.sub(_paint_head, line)) for line in text.split("\n"))


def _paint_head(match: re.Match[str]) -> str:
    indent, name, state, since = match.groups()
    return f"{indent}\x1b[1m{name}\x1b[0m (\x1b[{_CODES[state]}m{state}{since}\x1b[0m"
