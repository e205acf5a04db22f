"""What the programs share: running one case, starting a crowd of clients in one of three ways, and the report at the end.

    coopcore run PROGRAM.py CASE HOW CONFIG      HOW: tasks, threads or executor; CONFIG: a JSON object, which becomes `config`

A case is a function of the program. What it returns is the result. The programs themselves are ordinary: they know threads and clients. Only where a case kills
or times out its tasks, or where HOW says tasks, is coopcore imported.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

CASE, HOW = sys.argv[1:3]
config = SimpleNamespace(**json.loads(sys.argv[3]))

_most_threads = 0


def crowd(work: Callable[[int], Any], count: int = 100) -> list[Any]:
    """Call ``work(number)`` for each number, all at once. Returns what they returned, in order; raises the first error."""
    return {"tasks": _tasks, "threads": _threads, "executor": _executor}[HOW](work, count)


def _tasks(work: Callable[[int], Any], count: int) -> list[Any]:
    from coopcore import joinall, spawn

    tasks = [spawn(work, number) for number in range(count)]
    joinall(tasks, raise_error=True)
    return [task.value for task in tasks]


def _threads(work: Callable[[int], Any], count: int) -> list[Any]:
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:  # to the one who started the threads
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    look()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def _executor(work: Callable[[int], Any], count: int) -> list[Any]:
    with ThreadPoolExecutor(max_workers=count) as executor:
        futures = [executor.submit(work, number) for number in range(count)]
        look()
        return [future.result() for future in futures]


def late(case: Callable[[], Any]) -> Any:
    """Run a case in a block that is patched after the libraries were imported."""
    from coop_plugins.patch import patched

    with patched(rebind=True):
        return case()


def look() -> None:
    """Count the threads of the operating system."""
    global _most_threads
    _most_threads = max(_most_threads, len(os.listdir("/proc/self/task")))


def descriptors() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # that of the listing itself
            pass
    return found


def tasks() -> dict[object, str]:
    """All tasks and threads that live, each under what identifies it. Without the workers that look up names, who stay a while for the next."""
    from coopcore import get_hub

    threads = {id(thread): repr(thread) for thread in threading.enumerate() if not thread.name.startswith("ThreadPool-")}
    return {task.ident: repr(task) for task in get_hub().tasks()} | threads


def main(program: dict[str, Any]) -> None:
    """Run the case, and print the report as the last line."""
    from coopcore import get_hub

    hub = get_hub()
    signal.signal(signal.SIGUSR1, lambda *_: print(hub.describe(), "\nthat is all", flush=True))  # asked for by the test, of a program that hangs
    before, tasks_before = descriptors(), tasks()
    result = program[CASE]()
    look()
    gc.collect()
    left = [f"{number}: {what}" for number, what in descriptors().items() if before.get(number) != what]
    new = [what for which, what in tasks().items() if which not in tasks_before]
    print(json.dumps({"result": result, "descriptors": left, "tasks": new, "most_threads": _most_threads}))
