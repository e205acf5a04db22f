"""A descriptor that is closed while a task watches it among others: the wait ends, and whatever takes the number next is not taken for it."""

from __future__ import annotations

import os as stdlib
import socket as standard_socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import coopcore
from coop_plugins import _readiness, file, os, select, selectors, socket
from coopcore import TaskExit, Timeout, sleep, spawn
from coopcore.errors import ClosedResourceError

BACKENDS = [stdlib.environ["COOP_BACKEND"]] if stdlib.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]


class Kind(NamedTuple):
    """A way to watch descriptors: what makes it, how it waits, at most so many seconds, and what is told of one that was closed. None: it raises."""

    make: Callable[[list[int]], Any]
    wait: Callable[[Any, float | None], Any]
    tells: Callable[[int], Any] | None


def _polling(made: Any, fds: list[int]) -> Any:
    for fd in fds:
        made.register(fd, select.POLLIN)
    return made


def _selecting(made: Any, fds: list[int]) -> Any:
    for fd in fds:
        made.register(fd, selectors.EVENT_READ)
    return made


def _key(fd: int) -> Any:
    return [(selectors.SelectorKey(fd, fd, selectors.EVENT_READ, None), selectors.EVENT_READ)]


KINDS = {
    "select": Kind(lambda fds: fds, lambda fds, span: select.select(fds, [], [], span), None),
    "poll": Kind(
        lambda fds: _polling(select.poll(), fds), lambda made, span: made.poll(None if span is None else span * 1000), lambda fd: [(fd, select.POLLNVAL)]
    ),
    "SelectSelector": Kind(lambda fds: _selecting(selectors.SelectSelector(), fds), lambda made, span: made.select(span), None),
    "PollSelector": Kind(lambda fds: _selecting(selectors.PollSelector(), fds), lambda made, span: made.select(span), _key),
}
if hasattr(select, "epoll"):
    KINDS["epoll"] = Kind(lambda fds: _polling(select.epoll(), fds), lambda made, span: made.poll(span), lambda fd: [(fd, select.EPOLLERR | select.EPOLLHUP)])
    KINDS["EpollSelector"] = Kind(lambda fds: _selecting(selectors.EpollSelector(), fds), lambda made, span: made.select(span), _key)


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; no descriptor may be left behind, and nothing noted of a wait."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> None:
            before = set(stdlib.listdir("/proc/self/fd"))
            with Timeout(60, AssertionError("the test hangs")):
                body()
            assert set(stdlib.listdir("/proc/self/fd")) <= before
            assert (_readiness._watching, _readiness._pollables) == ({}, {})
            assert coopcore.get_hub()._fd_waiting == 0

        coopcore.run(guarded, backend=request.param)

    return run


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(params=["nest", "watchers"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How several descriptors are waited for."""
    if request.param == "watchers":
        monkeypatch.setattr(_readiness._Nest, "over", classmethod(lambda cls, interests, who: None))
    return str(request.param)


@pytest.fixture
def quiet() -> Iterator[int]:
    """A descriptor where nothing ever happens."""
    reader, writer = stdlib.pipe()
    yield reader
    stdlib.close(reader)
    stdlib.close(writer)


def parked(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        assert not any(task.dead for task in tasks), tasks
        sleep(0)


def _waiting(kind: Kind, descriptors: list[int]) -> tuple[Any, coopcore.Task[Any]]:
    """What watches these, and a task that waits there."""
    made = kind.make(descriptors)
    task = spawn(kind.wait, made, None)
    parked(task)
    return made, task


def _close_made(made: Any) -> None:
    if hasattr(made, "close"):
        made.close()


def _check(kind: Kind, task: coopcore.Task[Any], fd: int) -> None:
    if kind.tells is None:
        with pytest.raises(ClosedResourceError, match=f"descriptor {fd} was closed while"):
            task.get()
    else:
        assert task.get() == kind.tells(fd)


def _a_socket() -> tuple[int, Callable[[], object]]:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made.fileno(), made.close


def _a_socket_with_a_reader() -> tuple[int, Callable[[], object]]:
    """One where its own tasks wait as well."""
    near, far = socket.socketpair()
    reader = spawn(near.recv, 1)
    parked(reader)

    def close() -> None:
        near.close()
        far.close()
        with pytest.raises(ClosedResourceError):
            reader.get()

    return near.fileno(), close


def _a_pipe(close: Callable[[int], object]) -> tuple[int, Callable[[], object]]:
    reader, writer = stdlib.pipe()

    def both() -> None:
        close(reader)
        stdlib.close(writer)

    return reader, both


def _a_file() -> tuple[int, Callable[[], object]]:
    reader, writer = stdlib.pipe()
    made = file.open(reader, "rb", buffering=0)

    def both() -> None:
        made.close()
        stdlib.close(writer)

    return reader, both


def _a_bare_socket() -> tuple[int, Callable[[], object]]:
    near, far = standard_socket.socketpair()
    fd = near.detach()

    def both() -> None:
        socket.close(fd)
        far.close()

    return fd, both


THINGS = {
    "a socket": _a_socket,
    "a socket with a reader": _a_socket_with_a_reader,
    "os.close": lambda: _a_pipe(os.close),
    "a file": _a_file,
    "socket.close": _a_bare_socket,
}


@pytest.mark.parametrize("thing", THINGS)
def test_invariant_5_the_wait_ends(on: Run, kind: Kind, way: str, quiet: int, thing: str) -> None:
    @on
    def body() -> None:
        fd, close = THINGS[thing]()
        made, task = _waiting(kind, [quiet, fd])
        close()
        _check(kind, task, fd)
        _close_made(made)


def test_invariant_5_a_file_that_takes_the_number_is_not_taken_for_it(on: Run, kind: Kind, way: str, quiet: int) -> None:
    @on
    def body() -> None:
        fd, close = _a_socket()
        made, task = _waiting(kind, [quiet, fd])
        reader, writer = stdlib.pipe()
        stdlib.write(writer, b"x")
        close()
        stdlib.dup2(reader, fd)
        _check(kind, task, fd)
        for number in (reader, writer, fd):
            stdlib.close(number)
        _close_made(made)


def test_it_is_closed_by_another_thread(on: Run, kind: Kind, way: str, quiet: int) -> None:
    @on
    def body() -> None:
        fd, close = _a_socket()
        made, task = _waiting(kind, [quiet, fd])
        thread = threading.Thread(target=close)
        thread.start()
        _check(kind, task, fd)
        thread.join()
        _close_made(made)


def test_all_who_watch_it_are_told(on: Run, way: str, quiet: int) -> None:
    """But for an epoll: its event goes to one, and the others wait on."""

    @on
    def body() -> None:
        fd, close = _a_socket()
        each = [(kind, kind.make([quiet, fd])) for kind in KINDS.values()]
        tasks = [spawn(kind.wait, made, None) for kind, made in each]
        parked(*tasks)
        others = []
        if hasattr(select, "epoll"):
            others = [spawn(KINDS["epoll"].wait, each[list(KINDS).index("epoll")][1], None) for _ in range(3)]
            parked(*others)
        close()
        for (kind, _), task in zip(each, tasks, strict=True):
            _check(kind, task, fd)
        parked(*others)
        for task in others:
            task.kill()
        for _, made in each:
            _close_made(made)


def test_invariant_6_a_wait_that_was_killed_or_is_over_is_told_nothing(on: Run, kind: Kind, way: str, quiet: int) -> None:
    @on
    def body() -> None:
        fd, close = _a_socket()
        made, killed = _waiting(kind, [quiet, fd])
        killed.kill()
        assert not any(kind.wait(made, 0.001)[:3]) or kind.tells is None
        with pytest.raises(Timeout), Timeout(0.001):
            kind.wait(made, None)
        assert (_readiness._watching, _readiness._pollables) == ({}, {})
        close()
        _close_made(made)


def test_a_kill_in_the_same_turn_and_the_next_wait_is_not_told(on: Run, kind: Kind, way: str, quiet: int) -> None:
    @on
    def body() -> None:
        fd, close = _a_socket()
        made, task = _waiting(kind, [quiet, fd])
        close()
        task.kill()
        assert isinstance(task.value, TaskExit)
        if kind.tells is not None and not hasattr(made, "fileno"):
            made.unregister(fd)
            assert kind.wait(made, 0.001) == []
        _close_made(made)


def test_what_is_registered_anew_under_the_number_is_not_reported(on: Run) -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("there is no epoll here")

    @on
    def body() -> None:
        for taken_back in (True, False):
            fd, close = _a_socket()
            epoll = select.epoll()
            epoll.register(fd, select.POLLIN)
            task = spawn(epoll.poll)
            parked(task)
            reader, writer = stdlib.pipe()
            close()
            task.kill()
            stdlib.dup2(reader, fd)
            epoll.register(fd, select.POLLIN)
            if taken_back:
                epoll.unregister(fd)
            else:
                assert epoll.poll(0) == []
                stdlib.write(writer, b"x")
                assert epoll.poll(5) == [(fd, select.POLLIN)]
            assert epoll.poll(0.001) == ([] if taken_back else [(fd, select.POLLIN)])
            for number in (reader, writer, fd):
                stdlib.close(number)
            epoll.close()


def test_an_epoll_among_others_that_is_closed(on: Run, way: str, quiet: int) -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("there is no epoll here")

    @on
    def body() -> None:
        epoll = select.epoll()
        number = epoll.fileno()
        task = spawn(select.select, [epoll, quiet], [], [])
        parked(task)
        epoll.close()
        _check(KINDS["select"], task, number)


def test_a_file_that_leaves_its_descriptor_open_ends_no_wait(on: Run, kind: Kind, way: str, quiet: int) -> None:
    @on
    def body() -> None:
        made, task = _waiting(kind, [quiet])
        file.open(quiet, "rb", closefd=False).close()
        parked(task)
        task.kill()
        assert isinstance(task.value, TaskExit)
        _close_made(made)


def test_asyncio_hears_of_a_socket_that_another_task_closes() -> None:
    import asyncio

    def main() -> None:
        near, far = standard_socket.socketpair()
        fd = near.detach()
        again = standard_socket.socket(fileno=fd)
        again.setblocking(False)

        async def body() -> None:
            with pytest.raises(OSError):
                await asyncio.get_running_loop().sock_recv(again, 1)

        def in_a_loop() -> None:
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.DefaultSelector())) as runner:
                runner.run(body())

        task = spawn(in_a_loop)
        parked(task)
        os.close(fd)
        with Timeout(60, AssertionError("it hangs")):
            task.get()
        again.detach()
        far.close()

    coopcore.run(main)


def test_in_the_child_of_a_fork_nobody_waits() -> None:
    code = textwrap.dedent("""
        import os
        from coop_plugins import _readiness, select
        from coopcore import run, sleep, spawn

        def main():
            reader, writer = os.pipe()
            epoll = select.epoll()
            epoll.register(reader)
            tasks = [spawn(select.select, [reader], [], []), spawn(epoll.poll, 60)]
            while not all(task.state == "parked" for task in tasks):
                sleep(0)
            assert _readiness._watching and _readiness._pollables
            pid = os.fork()
            if pid == 0:
                os._exit(0 if not _readiness._watching and not _readiness._pollables else 1)
            assert os.waitpid(pid, 0)[1] == 0
            for task in tasks:
                task.kill()

        run(main)
    """)
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
