"""coop_plugins.os on real descriptors and children, on an edge-triggered and a level-triggered backend."""

from __future__ import annotations

import errno
import os as stdlib
import pty
import resource
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins import os
from coopcore import TaskExit, Timeout, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, ParkInHubError

BACKENDS = [stdlib.environ["COOP_BACKEND"]] if stdlib.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
BIG = bytes(range(256)) * 1024  # four times what a pipe holds
Run = Callable[[Callable[[], Any]], Any]


def children() -> set[str]:
    """The processes that this one has started and not reaped. (Other tests' helpers, such as multiprocessing's, live on.)"""
    found = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError):
            found |= set(thread.read_text().split())
    return found


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; no descriptor, task, promise or child may be left behind."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            before = set(stdlib.listdir("/proc/self/fd"))
            with Timeout(20, AssertionError("the test hangs")):
                result = body()
            assert set(stdlib.listdir("/proc/self/fd")) <= before
            assert "promise" not in coopcore.get_hub().describe()
            return result

        before = children()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = coopcore.run(guarded, backend=request.param)
        assert children() <= before
        return result

    return run


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = stdlib.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            stdlib.close(fd)
        except OSError:
            pass


def parked(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        assert not any(task.dead for task in tasks), "it has ended without waiting"
        sleep(0)


# -- the module ---------------------------------------------------------------------------------------------------------


def test_every_name_of_the_standard_module_is_here() -> None:
    assert [name for name in stdlib.__all__ if not hasattr(os, name)] == []
    assert set(stdlib.__all__) <= set(os.__all__)
    assert os.path is stdlib.path
    assert os.fork is stdlib.fork
    assert os.PathLike is stdlib.PathLike
    assert issubclass(Path, os.PathLike)


# -- descriptors --------------------------------------------------------------------------------------------------------


def test_read_parks_and_the_others_run(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        task = spawn(os.read, reader, 100)
        parked(task)
        assert os.write(writer, b"hello") == 5
        assert task.get(timeout=5) == b"hello"
        task = spawn(os.read, reader, 100)
        parked(task)
        os.close(writer)
        assert task.get(timeout=5) == b""


def test_readv_and_writev(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        one, other = bytearray(3), bytearray(10)
        task = spawn(os.readv, reader, [one, other])
        parked(task)
        assert os.writev(writer, iter([b"hel", memoryview(b"lo")])) == 5
        assert task.get(timeout=5) == 5
        assert (bytes(one), bytes(other[:2])) == (b"hel", b"lo")


def test_invariant_1_no_mode_is_changed(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        task = spawn(os.write, writer, BIG)
        got = b""
        while len(got) < len(BIG):
            got += os.read(reader, 1000)
            assert stdlib.get_blocking(reader)
            assert stdlib.get_blocking(writer)
        assert (task.get(timeout=5), got) == (len(BIG), BIG)


def test_invariant_1_a_terminal_keeps_its_mode(on: Run) -> None:
    @on
    def body() -> None:
        master, slave = pty.openpty()
        task = spawn(os.read, slave, 100)
        parked(task)
        assert stdlib.get_blocking(slave)
        os.write(master, b"typed\n")
        assert task.get(timeout=5) == b"typed\n"
        task = spawn(os.write, slave, b"x" * 100_000)
        parked(task)
        got = len(os.read(master, 65536))
        while got < 100_000:
            got += len(os.read(master, 65536))
        assert task.get(timeout=5) == 100_000
        os.close(master)
        os.close(slave)


def test_invariant_2_write_writes_all(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        tasks = [spawn(os.writev, writer, [BIG[:1000], BIG[1000:]])]
        parked(*tasks)
        got = b""
        while len(got) < len(BIG):
            got += os.read(reader, 65536)
        assert tasks[0].get(timeout=5) == len(BIG)
        assert got == BIG


def test_a_descriptor_that_does_not_block_raises(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        assert os.make_nonblocking(reader)
        assert not os.make_nonblocking(reader)
        stdlib.set_blocking(writer, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        with pytest.raises(BlockingIOError):
            while os.write(writer, BIG):
                pass
        with pytest.raises(BlockingIOError):
            os.writev(writer, [b"x"])


def test_nb_read_and_nb_write(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        os.make_nonblocking(reader)
        os.make_nonblocking(writer)
        task = spawn(os.nb_read, reader, 10)
        parked(task)
        assert os.nb_write(writer, b"abc") == 3
        assert task.get(timeout=5) == b"abc"
        with pytest.raises(BlockingIOError):
            while os.write(writer, BIG):
                pass
        task = spawn(os.nb_write, writer, b"more")
        parked(task)
        assert os.nb_read(reader, 65536)
        assert task.get(timeout=5) == 4
        for call in (lambda: os.nb_write(writer, BIG), lambda: os.nb_read(reader, 1)):
            with pytest.raises(Timeout), Timeout(0.02):
                while True:
                    call()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("default", [None, 5.0])
def test_invariant_2_a_message_is_written_as_one(on: Run, kind: int, default: float | None) -> None:
    @on
    def body() -> None:
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        with near, far:
            message = bytes(20_000)
            socket.setdefaulttimeout(default)
            try:
                for write in (lambda: os.write(near.fileno(), message), lambda: os.writev(near.fileno(), [message[:9_000], message[9_000:]])):
                    assert write() == len(message)
                    assert far.recv(30_000) == message
                assert stdlib.get_blocking(near.fileno()), "invariant 1"
            finally:
                socket.setdefaulttimeout(None)
            near.setblocking(False)
            sent = 0
            with pytest.raises(BlockingIOError):
                while True:
                    sent += near.send(message) and 1
            near.setblocking(True)
            task = spawn(os.write, near.fileno(), message)
            parked(task)
            for _ in range(sent):
                assert len(far.recv(30_000)) == len(message)
            assert task.get(timeout=20) == len(message)
            assert len(far.recv(30_000)) == len(message)


def test_tp_read_and_tp_write(on: Run, pipe: tuple[int, int], tmp_path: Path) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        task = spawn(os.tp_read, reader, 10)
        parked(task)
        assert "read" in task.waiting_on
        assert os.tp_write(writer, b"abc") == 3
        assert task.get(timeout=5) == b"abc"
        task = spawn(os.tp_read, reader, 10)
        parked(task)
        task.kill()
        os.write(writer, b"to the thread that was left behind")
        while "promise" in coopcore.get_hub().describe():
            sleep(0)
        with pytest.raises(OSError):
            os.tp_read(99999, 1)


def test_read_and_write_are_killed_and_time_out(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        for call in (lambda: os.read(reader, 1), lambda: os.readv(reader, [bytearray(1)])):
            task = spawn(call)
            parked(task)
            task.kill()
            assert isinstance(task.get(), TaskExit)
            with pytest.raises(Timeout), Timeout(0.01):
                call()
        for call in (lambda: os.write(writer, BIG), lambda: os.writev(writer, [BIG])):
            task = spawn(call)
            parked(task)
            task.kill()
            with pytest.raises(Timeout), Timeout(0.01):
                call()
        assert os.read(reader, 5) == BIG[:5]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda module, reader: module.read(reader, -1), OSError),
        (lambda module, reader: module.read(str(reader), 1), TypeError),
        (lambda module, reader: module.read(sys.stdin, 1), TypeError),
        (lambda module, reader: module.readv(reader, ["text"]), TypeError),
        (lambda module, reader: module.close(None), TypeError),
        (lambda module, reader: module.close(1.0), TypeError),
    ],
)
def test_what_can_never_be_read_is_refused_at_once(on: Run, pipe: tuple[int, int], call: Callable[..., Any], error: type[Exception]) -> None:
    for module in (stdlib, os):
        with pytest.raises(error, match="integer|Invalid|bytes-like"):
            on(lambda module=module: call(module, pipe[0]))


def test_a_read_of_nothing_waits_for_nothing(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        for module in (stdlib, os):
            assert module.read(pipe[0], 0) == b""
            assert module.readv(pipe[0], [bytearray()]) == 0


def test_two_readers(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, _ = pipe
        task = spawn(os.read, reader, 1)
        parked(task)
        with pytest.raises(BusyResourceError):
            os.read(reader, 1)
        task.kill()


def test_close_wakes_who_waits(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, _ = pipe
        task = spawn(os.read, reader, 1)
        parked(task)
        os.close(reader)
        with pytest.raises(ClosedResourceError) as caught:
            task.get(timeout=5)
        assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError):
            os.close(reader)


def test_close_makes_no_hub(pipe: tuple[int, int]) -> None:
    outcomes: list[Any] = []

    def close() -> None:
        os.close(pipe[0])
        outcomes.append(coopcore.lowlevel.running_task())

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert outcomes == [None]


def test_errors_are_the_calls_own(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        for call in (
            lambda: os.read(99999, 1),
            lambda: os.write(99999, b"x"),
            lambda: os.writev(99999, [b"x"]),
            lambda: os.read(writer, 1),
            lambda: os.write(reader, b"x"),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF
        with pytest.raises(ValueError), warnings.catch_warnings():
            os.read(-1, 1)
        stdlib.close(reader)
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"x")


def test_a_file_on_a_disk_is_read_directly(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        assert os.write(fd, BIG) == os.writev(fd, [BIG]) == len(BIG)
        os.lseek(fd, 0, os.SEEK_SET)
        states = set()
        task = spawn(os.read, fd, 2 * len(BIG))
        while not task.dead:
            states.add(task.state)
            sleep(0)
        assert task.get() == BIG * 2
        assert "parked" not in states
        os.close(fd)


def test_on_the_hub_what_need_not_wait_works(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, writer = pipe
        results: list[Any] = []

        def callback() -> None:
            with pytest.raises(ParkInHubError):
                os.read(reader, 1)
            os.write(writer, b"x")
            results.append(os.read(reader, 1))

        coopcore.get_hub().call_soon(callback)
        while not results:
            sleep(0)
        assert results == [b"x"]


def test_sendfile(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        (tmp_path / "file").write_bytes(BIG)
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        one, other = socket.socketpair()

        def send() -> int:
            sent = 0
            while part := os.sendfile(one.fileno(), fd, sent, len(BIG)):
                sent += part
            return sent

        with one, other:
            task = spawn(send)
            parked(task)
            assert one.getblocking()
            got = b""
            while len(got) < len(BIG):
                got += os.read(other.fileno(), 65536)
            assert (got, task.get(timeout=5)) == (BIG, len(BIG))
            assert os.sendfile(one.fileno(), fd, None, 10) == 10
            stdlib.set_blocking(one.fileno(), False)
            with pytest.raises(BlockingIOError):
                while os.sendfile(one.fileno(), fd, 0, len(BIG)):
                    pass
        os.close(fd)


def test_a_named_pipe(on: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    stdlib.mkfifo(path)

    @on
    def body() -> None:
        writer = spawn(os.open, path, os.O_WRONLY)
        parked(writer)
        source = os.open(path, os.O_RDONLY)
        sink = writer.get(timeout=5)
        assert stdlib.get_blocking(source)
        assert stdlib.get_blocking(sink)
        os.close(sink)
        os.close(source)
        source = os.open("fifo", os.O_RDONLY, dir_fd=(folder := os.open(tmp_path, os.O_RDONLY)))
        reader = spawn(os.read, source, 10)
        parked(reader)
        sink = os.open(path, os.O_WRONLY)
        os.write(sink, b"word")
        assert reader.get(timeout=5) == b"word"
        for fd in (sink, source, folder):
            os.close(fd)
        with pytest.raises(OSError) as caught:
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        assert caught.value.errno == errno.ENXIO
        with pytest.raises(FileNotFoundError):
            os.open(tmp_path / "nothing", os.O_RDONLY)
        with pytest.raises(Timeout), Timeout(0.01):
            os.open(path, os.O_WRONLY)


# -- children -----------------------------------------------------------------------------------------------------------


class Child:
    """A process that ends, with code 3, when it is told to."""

    def __init__(self, group: int | None = None) -> None:
        reader, self.door = stdlib.pipe()
        options: dict[str, Any] = {} if group is None else {"setpgroup": group}
        actions = [(stdlib.POSIX_SPAWN_DUP2, reader, 0)]
        self.pid = stdlib.posix_spawn("/bin/sh", ["sh", "-c", "read line; exit 3"], stdlib.environ, file_actions=actions, **options)
        stdlib.close(reader)

    def end(self) -> None:
        stdlib.close(self.door)


STATUS = 3 << 8


@pytest.fixture(params=["pidfd", "thread"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the end of one child is noticed."""
    if request.param == "thread":

        def refuse(pid: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, "not here")

        monkeypatch.setattr(stdlib, "pidfd_open", refuse)
    return str(request.param)


def test_waitpid_parks_and_the_others_run(on: Run, way: str) -> None:
    @on
    def body() -> None:
        child = Child()
        assert os.waitpid(child.pid, os.WNOHANG) == (0, 0)
        task = spawn(os.waitpid, child.pid, 0)
        parked(task)
        assert f"child {child.pid}" in task.waiting_on
        child.end()
        assert task.get(timeout=5) == (child.pid, STATUS)
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, 0)
        with pytest.raises(ChildProcessError):
            os.waitpid(stdlib.getpid(), 0)


def test_invariant_4_a_wait_that_is_killed_or_times_out(on: Run, way: str) -> None:
    @on
    def body() -> None:
        child = Child()
        before = set(stdlib.listdir("/proc/self/fd"))
        for _ in range(3):
            task = spawn(os.waitpid, child.pid, 0)
            parked(task)
            task.kill()
            with pytest.raises(Timeout), Timeout(0.01):
                os.waitpid(child.pid, 0)
        assert set(stdlib.listdir("/proc/self/fd")) <= before
        assert len(os._bells) == (way == "thread")
        child.end()
        assert os.waitpid(child.pid, 0) == (child.pid, STATUS)
        while os._bells:
            sleep(0)


def test_any_child(on: Run) -> None:
    @on
    def body() -> None:
        helpers = children()
        mine = [Child() for _ in range(3)]
        for call in (os.wait, lambda: os.waitpid(-1, 0), lambda: os.wait3(0)[:2]):
            child = mine.pop(1 if len(mine) > 1 else 0)
            task = spawn(call)
            parked(task)
            child.end()
            assert task.get(timeout=5) == (child.pid, STATUS)
        if not helpers:
            with pytest.raises(ChildProcessError):
                os.wait()


def test_a_process_group(on: Run) -> None:
    @on
    def body() -> None:
        ours, theirs = Child(), Child(group=0)
        task = spawn(os.waitpid, -theirs.pid, 0)
        same = spawn(os.waitpid, 0, 0)
        parked(task, same)
        theirs.end()
        assert task.get(timeout=5) == (theirs.pid, STATUS)
        ours.end()
        assert same.get(timeout=5) == (ours.pid, STATUS)


def test_invariant_4_tasks_that_wait_for_the_same_share_a_thread(on: Run) -> None:
    @on
    def body() -> None:
        children = [Child() for _ in range(3)]
        tasks = [spawn(os.wait) for _ in range(3)]
        parked(*tasks)
        assert len(os._bells) == 1
        for child in children:
            child.end()
        assert {task.get(timeout=5) for task in tasks} == {(child.pid, STATUS) for child in children}


def test_invariant_3_a_child_is_left_to_whoever_waits_for_it(on: Run) -> None:
    """The thread that watches for any child, and was given up, must not take the status of one."""

    @on
    def body() -> None:
        child, other = Child(), Child()
        with pytest.raises(Timeout), Timeout(0.01):
            os.wait()
        child.end()
        while os._bells:
            sleep(0)
        assert os.waitpid(child.pid, os.WNOHANG) == (child.pid, STATUS)
        other.end()
        assert os.waitpid(other.pid, 0) == (other.pid, STATUS)


def test_a_child_that_stops_and_goes_on(on: Run) -> None:
    @on
    def body() -> None:
        child = Child()
        task = spawn(os.waitpid, child.pid, os.WUNTRACED)
        parked(task)
        stdlib.kill(child.pid, signal.SIGSTOP)
        _, status = task.get(timeout=5)
        assert os.WIFSTOPPED(status)
        task = spawn(os.waitpid, child.pid, os.WCONTINUED)
        parked(task)
        stdlib.kill(child.pid, signal.SIGCONT)
        _, status = task.get(timeout=5)
        assert os.WIFCONTINUED(status)
        child.end()
        assert os.waitpid(child.pid, os.WUNTRACED | os.WCONTINUED) == (child.pid, STATUS)


def test_wait4_tells_what_was_used(on: Run) -> None:
    @on
    def body() -> None:
        child = Child()
        assert os.wait4(child.pid, os.WNOHANG)[0] == 0
        task = spawn(os.wait4, child.pid, 0)
        parked(task)
        child.end()
        pid, status, usage = task.get(timeout=5)
        assert (pid, status) == (child.pid, STATUS)
        assert isinstance(usage, resource.struct_rusage)
        with pytest.raises(ChildProcessError):
            os.wait3(0)


def test_waitid(on: Run) -> None:
    @on
    def body() -> None:
        child = Child()
        assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG) is None
        tasks = [spawn(os.waitid, os.P_PID, child.pid, os.WEXITED | os.WNOWAIT), spawn(os.waitid, os.P_ALL, 0, os.WEXITED | os.WNOWAIT)]
        parked(*tasks)
        child.end()
        for task in tasks:
            found = task.get(timeout=5)
            assert (found.si_pid, found.si_status, found.si_code) == (child.pid, 3, os.CLD_EXITED)
        if hasattr(os, "P_PIDFD"):
            pidfd = stdlib.pidfd_open(child.pid)
            assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT).si_pid == child.pid
            stdlib.close(pidfd)
        assert os.waitid(os.P_PID, child.pid, os.WEXITED).si_pid == child.pid
        with pytest.raises(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED)


@pytest.mark.skipif(not hasattr(stdlib, "pidfd_open"), reason="pidfds are Linux's")
def test_waitid_of_a_pidfd(on: Run) -> None:
    @on
    def body() -> None:
        child = Child()
        pidfd = stdlib.pidfd_open(child.pid)
        task = spawn(os.waitid, os.P_PIDFD, pidfd, os.WEXITED)
        parked(task)
        child.end()
        assert task.get(timeout=5).si_status == 3
        stdlib.close(pidfd)


def test_a_child_that_somebody_else_reaps(on: Run, way: str) -> None:
    @on
    def body() -> None:
        child = Child()
        task = spawn(os.waitpid, child.pid, 0)
        parked(task)
        child.end()
        while stdlib.waitpid(child.pid, stdlib.WNOHANG) == (0, 0):
            pass
        with pytest.raises(ChildProcessError):
            task.get(timeout=5)


def test_a_child_that_is_gone_before_its_pidfd(on: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may reap it between the look and the wait."""

    @on
    def body() -> None:
        child = Child()

        def reap(pid: int, flags: int = 0) -> int:
            child.end()
            stdlib.waitpid(pid, 0)
            raise ProcessLookupError(errno.ESRCH, "No such process")

        monkeypatch.setattr(stdlib, "pidfd_open", reap)
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, 0)


def test_children_in_another_thread(on: Run) -> None:
    @on
    def body() -> None:
        outcomes: list[Any] = []

        def main() -> None:
            child = Child()
            task = spawn(os.wait)
            parked(task)
            child.end()
            outcomes.append(task.get(timeout=5) == (child.pid, STATUS))

        thread = threading.Thread(target=coopcore.run, args=(main,))
        thread.start()
        thread.join()
        assert outcomes == [True]


def test_a_hub_that_ends_before_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child()

    def main() -> None:
        with pytest.raises(Timeout), Timeout(0.01):
            os.wait()

    coopcore.run(main)
    assert len(os._bells) == 1
    child.end()
    stdlib.waitpid(child.pid, 0)
    deadline = threading.Event()
    while os._bells:
        deadline.wait(0.001)


def test_a_pending_child_is_no_deadlock_and_no_clock_jumps(on: Run) -> None:
    @on
    def body() -> None:
        child = Child()
        tasks = [spawn(os.waitpid, child.pid, 0), spawn(os.wait)]
        parked(*tasks)
        report = coopcore.get_hub().describe()
        assert f"open promise: the end of child {child.pid}" in report
        assert "open promise: the end of a child" in report
        for task in tasks:
            task.kill()
        child.end()
        os.waitpid(child.pid, 0)


def test_fork(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = stdlib.pipe()
        pid = os.fork()
        if not pid:
            try:
                spawn(os.write, writer, b"from a task of the child").get(timeout=5)
                stdlib._exit(7)
            finally:
                stdlib._exit(1)
        task = spawn(os.waitpid, pid, 0)
        assert os.read(reader, 100) == b"from a task of the child"
        _, status = task.get(timeout=5)
        assert os.waitstatus_to_exitcode(status) == 7
        stdlib.close(reader)
        stdlib.close(writer)


def test_forkpty(on: Run) -> None:
    @on
    def body() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            pid, master = os.forkpty()
        if not pid:
            try:
                sleep(0)
                stdlib.write(1, b"from the child")
                stdlib._exit(0)
            finally:
                stdlib._exit(1)
        assert os.read(master, 100) == b"from the child"
        assert os.waitpid(pid, 0) == (pid, 0)
        os.close(master)


def test_posix_spawn_is_the_standard_one() -> None:
    assert os.posix_spawn is stdlib.posix_spawn


def test_system(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        command = f"read line < '{tmp_path / 'fifo'}'; exit 3"
        os.mkfifo(tmp_path / "fifo")
        task = spawn(os.system, command)
        parked(task)
        with open(stdlib.open(tmp_path / "fifo", stdlib.O_RDWR), "w") as door:
            door.write("\n")
            door.flush()
            assert task.get(timeout=5) == STATUS
        assert os.system("kill -9 $$") == 9
        assert os.system(b"exit 0") == 0
        with pytest.raises(TypeError):
            os.system(3)  # type: ignore[arg-type]  # bad input is the test


def test_system_is_killed(on: Run) -> None:
    @on
    def body() -> None:
        task = spawn(os.system, "sleep 100")
        parked(task)
        task.kill()
        (pid,) = (int(each) for each in Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())
        stdlib.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["spawnv", "spawnve", "spawnvp", "spawnvpe", "spawnl", "spawnle", "spawnlp", "spawnlpe"])
def test_spawn(on: Run, name: str, tmp_path: Path) -> None:
    stdlib.mkfifo(tmp_path / "fifo")

    @on
    def body() -> None:
        call = getattr(os, name)
        assert call.__name__ == name
        words: list[Any] = ["sh", "-c", f"read line < '{tmp_path / 'fifo'}'; exit 3"]
        arguments = ["sh" if "p" in name[5:] else "/bin/sh", *(words if "l" in name[5:] else [words]), *([{"PATH": "/bin"}] if name.endswith("e") else [])]
        with open(stdlib.open(tmp_path / "fifo", stdlib.O_RDWR), "w") as door:
            task = spawn(call, os.P_WAIT, *arguments)
            parked(task)
            door.write("\n\n")
            door.flush()
            assert task.get(timeout=10) == 3
        with open(stdlib.open(tmp_path / "fifo", stdlib.O_RDWR), "w") as door:
            pid = call(os.P_NOWAIT, *arguments)
            door.write("\n")
            door.flush()
            assert os.waitpid(pid, 0) == (pid, STATUS)


def test_popen(on: Run) -> None:
    @on
    def body() -> None:
        with os.popen("echo one; echo two") as stream:
            assert stream.readline() == "one\n"
            assert list(stream) == ["two\n"]
        stream = os.popen("cat > /dev/null; exit 3", "w", 1)
        stream.write("words")
        assert stream.close() == 3 << 8
        stream = os.popen("sleep 0.02; echo late")
        task = spawn(stream.read)
        parked(task)
        assert os.popen("exit 0").close() is None
        assert task.get(timeout=5) == "late\n"
        stream.close()


@pytest.mark.parametrize(
    ("arguments", "error"), [((3,), TypeError), (("true", "x"), ValueError), (("true", "r", 0), ValueError), (("true", "r", None), ValueError)]
)
def test_popen_refuses_what_the_standard_one_refuses(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    for module in (stdlib, os):
        with pytest.raises(error):
            module.popen(*arguments)


def test_a_select_over_what_os_reads(on: Run, pipe: tuple[int, int]) -> None:
    """Nothing is left of a wait that would keep others from the descriptor."""

    @on
    def body() -> None:
        reader, writer = pipe
        with pytest.raises(Timeout), Timeout(0.01):
            os.read(reader, 1)
        os.write(writer, b"x")
        assert select.select([reader], [], [], 0) == ([reader], [], [])
        assert sys.modules["select"].select is select.select
