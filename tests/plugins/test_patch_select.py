"""What the patch makes of select, selectors and os: unmodified code waits, and the others run. The hub's own backends keep the real things."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins import os as coop_os
from coop_plugins import select as coop_select
from coop_plugins import selectors as coop_selectors
from coop_plugins.patch import patched
from coopcore import Timeout, sleep, spawn

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub that is made while the program is patched."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> None:
            with Timeout(20, AssertionError("the test hangs")):
                body()

        with patched("select", "selectors", "os"):
            coopcore.run(guarded, backend=request.param)

    return run


def parked(task: coopcore.Task[Any]) -> None:
    while task.state != "parked":
        assert not task.dead
        sleep(0)


def test_the_names_are_ours_and_undone() -> None:
    before = select.select, select.poll, selectors.DefaultSelector, os.waitpid
    with patched("select", "selectors", "os"):
        assert select.select is coop_select.select
        assert select.poll is coop_select.poll
        assert selectors.DefaultSelector is coop_selectors.DefaultSelector
        assert os.waitpid is coop_os.waitpid
        assert os.read is not coop_os.read, "the descriptors of others are their own affair"
    assert (select.select, select.poll, selectors.DefaultSelector, os.waitpid) == before


def test_each_call_parks(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        for wait in (
            lambda: select.select([reader], [], []),
            lambda: (poll := select.poll(), poll.register(reader, select.POLLIN), poll.poll()),
            lambda: selectors.SelectSelector().select(0.3),
            lambda: selectors.PollSelector().select(0.3),
        ):
            task = spawn(wait)
            parked(task)
            os.write(writer, b"x")
            task.get(timeout=5)
            os.read(reader, 1)
        os.close(reader)
        os.close(writer)


def test_a_hub_of_another_thread_is_made_of_the_real_things(on: Run) -> None:
    @on
    def body() -> None:
        outcomes: list[Any] = []
        for backend in BACKENDS:
            thread = threading.Thread(target=lambda name: outcomes.append(coopcore.run(sleep, 0.001, backend=name)), args=(backend,))
            thread.start()
            thread.join(5)
        assert outcomes == [None] * len(BACKENDS)


def test_asyncio_run_in_a_task(on: Run) -> None:
    @on
    def body() -> None:
        turns = 0

        async def main() -> str:
            while turns < 10:  # which the others have meanwhile
                await asyncio.sleep(0.002)
            return "slept"

        tasks = [spawn(asyncio.run, main()) for _ in range(3)]
        while not all(task.dead for task in tasks):
            turns += 1
            sleep(0)
        assert [task.get() for task in tasks] == ["slept"] * 3


def test_waiting_for_children(on: Run) -> None:
    @on
    def body() -> None:
        child = subprocess.Popen(["/bin/sh", "-c", "read line; exit 3"], stdin=subprocess.PIPE)
        task = spawn(os.waitpid, child.pid, 0)
        parked(task)
        assert child.stdin is not None
        child.stdin.close()
        pid, status = task.get(timeout=5)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert (pid, child.returncode) == (child.pid, 3)
        assert os.system("exit 2") == 2 << 8
        with os.popen("echo word") as stream:
            assert stream.read() == "word\n"
        assert os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "exit 4"]) == 4


def test_a_backend_that_is_imported_after_the_patch(tmp_path: Any) -> None:
    program = (
        "from coop_plugins.patch import patch\npatch('select', 'selectors', 'socket')\nimport coopcore, select\n"
        "for name in ('epoll', 'selectors'):\n    coopcore.run(lambda: print(select.select([], [], [], 0.001)), backend=name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("([], [], [])\n" * 2, "")


def test_what_is_imported_after_threads_were_patched_knows_the_real_ones() -> None:
    program = """
from coop_plugins.patch import patch
patch("thread")
import os as real
import coopcore
from coop_plugins import file, os, select
def main():
    reader, writer = real.pipe()
    to_stdin = (real.POSIX_SPAWN_DUP2, reader, 0)
    pid = real.posix_spawn("/bin/sh", ["sh", "-c", "read line; exit 3"], real.environ, file_actions=[to_stdin])
    task = coopcore.spawn(os.waitpid, -1, 0)
    turns = 0
    while not task.dead:
        turns += 1
        if turns == 10:
            real.write(writer, b"\\n")
        coopcore.sleep(0)
    assert task.get() == (pid, 3 << 8), task.get()
    assert turns > 10
    with select.epoll() as epoll:
        waiting = coopcore.spawn(epoll.poll)
        while waiting.state != "parked":
            coopcore.sleep(0)
        epoll.close()
        waiting.join(5)
        print(type(waiting.exception).__name__)
coopcore.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.returncode) == ("ClosedResourceError\n", 0), done.stderr
