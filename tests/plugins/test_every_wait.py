"""Every wait of the I/O modules, from one table: each ends by a kill and by a `coopcore.Timeout`, and by a timeout of its own where it has one; and leaves no
descriptor, task, timer or promise behind.

The methods of sockets have a table of their own in ``test_socket_waits``, those of TLS connections in ``test_ssl``, the other selectors in ``test_selectors``,
dnspython in ``test_resolver_dnspython``, and what a patched program finds in ``threading`` and its kin in ``test_threading_threads``. That nothing is left out
is seen to by ``test_every_wait_has_a_test``: a row begins with the module and the name of what waits there.
"""

from __future__ import annotations

import os as stdlib
import queue
import signal as standard_signal
import socket as standard_socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future as StandardFuture
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import coop_plugins.resolver._system as system
import coopcore
from coop_plugins import file, os, select, selectors, signal, socket, ssl, threadpool
from coop_plugins import subprocess as coop_subprocess
from coop_plugins import threading as coop_threading
from coopcore import TaskExit, Timeout, current_task, get_hub, sleep, spawn

SOON = 0.005
BACKENDS = [stdlib.environ["COOP_BACKEND"]] if stdlib.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
BIG = bytes(200_000)  # more than a pipe holds
LATER = standard_signal.SIGUSR1


class World:
    """What a wait finds: a folder, a gate at which threads wait, and whatever it wants to be closed afterwards."""

    def __init__(self, folder: Path, gate: threading.Event, stack: ExitStack) -> None:
        self.folder, self.gate, self.stack = folder, gate, stack

    def block(self, *ignored: Any) -> None:
        """In a thread."""
        assert self.gate.wait(20)

    def pipe(self) -> tuple[int, int]:
        ends = stdlib.pipe()
        for end in ends:
            self.stack.callback(stdlib.close, end)
        return ends

    def quiet(self) -> int:
        """The end to read of a pipe that is empty."""
        return self.pipe()[0]

    def full(self, nonblocking: bool = False) -> int:
        """The end to write of a pipe that is full."""
        end = self.pipe()[1]
        stdlib.set_blocking(end, False)
        with pytest.raises(BlockingIOError):
            while True:
                stdlib.write(end, BIG)
        stdlib.set_blocking(end, not nonblocking)
        return end

    def nonblocking(self) -> int:
        end = self.quiet()
        stdlib.set_blocking(end, False)
        return end

    def fifo(self) -> str:
        path = str(self.folder / f"pipe {len(list(self.folder.iterdir()))}")
        stdlib.mkfifo(path)
        return path

    def quiet_file(self) -> Any:
        return self.stack.enter_context(open(self.quiet(), "rb", closefd=False))

    def quiet_for_a_thread(self) -> int:
        """As `quiet`; a thread that is left behind there gets something in the end."""
        reader, writer = self.pipe()
        self.stack.callback(stdlib.write, writer, b"x")
        return reader

    def full_for_a_thread(self) -> int:
        """The end to write of a pipe; a thread that is left behind there can write all in the end."""
        reader, writer = self.pipe()

        def drain() -> None:
            stdlib.set_blocking(reader, False)
            left_behind = spawn(threadpool.shared_pool().join)
            while not left_behind.dead:
                try:
                    stdlib.read(reader, len(BIG))
                except BlockingIOError:
                    sleep(0)

        self.stack.callback(drain)
        return writer

    def command(self) -> str:
        """A command of the shell that ends when the test does, and is reaped then, for it is left behind."""
        path = self.folder / f"pid {len(list(self.folder.iterdir()))}"

        def end() -> None:
            while not path.exists():
                sleep(0.001)
            pid = int(path.read_text())
            stdlib.kill(pid, standard_signal.SIGKILL)
            os.waitpid(pid, 0)

        self.stack.callback(end)
        return f"echo $$ > '{path}.new'; mv '{path}.new' '{path}'; exec sleep 600"

    def child(self) -> int:
        """One that ends when the test does."""
        made = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
        self.stack.callback(made.communicate)
        return made.pid

    def pool(self, jobs: int) -> threadpool.ThreadPool:
        """One whose only thread is busy, with so many jobs given."""
        pool = threadpool.ThreadPool(1)
        self.stack.callback(pool.join)
        self.stack.callback(self.gate.set)
        for _ in range(jobs):
            pool.spawn(self.block)
        return pool

    def executor(self) -> threadpool.ThreadPoolExecutor:
        made = threadpool.ThreadPoolExecutor(1)
        self.stack.callback(made.shutdown)
        self.stack.callback(self.gate.set)
        return made

    def silent_server(self) -> Any:
        """The address of a listener that says nothing."""
        return self.stack.enter_context(standard_socket.create_server(("127.0.0.1", 0))).getsockname()

    def socket(self, *args: Any) -> Any:
        return self.stack.enter_context(socket.socket(*args))

    def registered(self, kind: Any) -> Any:
        made = kind()
        made.register(self.quiet(), select.POLLIN)
        if hasattr(made, "close"):
            self.stack.callback(made.close)
        return made


class Wait(NamedTuple):
    name: str
    prepare: Callable[[World], Any]
    call: Callable[[Any], Any]
    timed: Callable[[Any], Any] | None = None
    """The same with a timeout of its own, `SOON`."""
    ends_with: Any = None
    """What that one returns, or the class of what it raises."""


def _file(mode: str, use: Callable[[Any], Any], **options: Any) -> Callable[[int], Any]:
    def call(fd: int) -> Any:
        with file.open(fd if options.get("closefd") is False else stdlib.dup(fd), mode, **options) as made:
            return use(made)

    return call


def _write_and_flush(fd: int) -> None:
    made = file.open(stdlib.dup(fd), "wb")
    try:
        made.write(BIG)
        made.flush()
    finally:
        made.detach().close()  # what is left need not be written


def _wait_for_a_writer(path: str) -> Any:
    with file.open(path, "rb") as made:
        return made.read(1)


def _sendfile(fd: int) -> int:
    with open(__file__, "rb") as source:
        return os.sendfile(fd, source.fileno(), 0, 10)


def _popen(ignored: object) -> Any:
    with os.popen("exec sleep 20") as made:
        try:
            return made.read()
        finally:
            made._child.kill()


SPAWNS = ["spawnv", "spawnve", "spawnvp", "spawnvpe", "spawnl", "spawnle", "spawnlp", "spawnlpe"]


def _spawned(name: str) -> Callable[[str], Any]:
    def call(command: str) -> Any:
        words: list[Any] = ["sh", "-c", command]
        given = [*(words if "l" in name[5:] else [words]), *([dict(stdlib.environ)] if name.endswith("e") else [])]
        return getattr(os, name)(os.P_WAIT, "sh" if "p" in name[5:] else "/bin/sh", *given)

    return call


def _poll(kind: Any) -> Callable[[World], Any]:
    return lambda world: world.registered(kind)


def _free_for(world: World, jobs: int) -> Any:
    return world, world.pool(jobs)


def _given(world: World) -> Any:
    return world.pool(0).spawn(world.block)


def _submitted(world: World) -> Any:
    return world.executor().submit(world.block)


def _at_work(world: World) -> Any:
    made = world.executor()
    made.submit(world.block)
    return made


def _held(kind: Any) -> Callable[[World], Any]:
    """Of another thread."""

    def prepare(world: World) -> Any:
        lock, held, let_go = kind(), threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                let_go.wait(20)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        world.stack.callback(holder.join)
        world.stack.callback(let_go.set)
        return lock

    return prepare


WAITS = [
    Wait("file: open, read", World.quiet, _file("rb", lambda f: f.read(1))),
    Wait("file: open, unbuffered read", World.quiet, _file("rb", lambda f: f.read(1), buffering=0)),
    Wait("file: open, readall", World.quiet, _file("rb", lambda f: f.read())),
    Wait("file: open, peek", World.quiet, _file("rb", lambda f: f.peek())),
    Wait("file: open, readinto", World.quiet, _file("rb", lambda f: f.readinto(bytearray(3)))),
    Wait("file: open, readline of text", World.quiet, _file("r", lambda f: f.readline())),
    Wait("file: open, next line", World.quiet, _file("r", next)),
    Wait("file: open, read of a shared descriptor", World.quiet, _file("rb", lambda f: f.read(1), closefd=False)),
    Wait("file: open, unbuffered write", World.full, _file("wb", lambda f: f.write(BIG), buffering=0)),
    Wait("file: open, write of a shared descriptor", World.full, _file("wb", lambda f: f.write(BIG), buffering=0, closefd=False)),
    Wait("file: open, write and flush", World.full, _write_and_flush),
    Wait("file: open, a named pipe", World.fifo, lambda path: file.open(path, "wb")),
    Wait("file: open, wait for a writer", World.fifo, _wait_for_a_writer),
    Wait("file: wrap", World.quiet_file, lambda f: file.wrap(f, close=False).read(1)),
    Wait("file: FileObject", World.quiet, lambda fd: file.FileObject(fd, "rb", close=False).read(1)),
    Wait("file: FileObjectPosix", World.quiet, lambda fd: file.FileObjectPosix(fd, "rb", close=False).read(1)),
    Wait("file: FileObjectThread", World.quiet_for_a_thread, lambda fd: file.FileObjectThread(fd, "rb", close=False).read(1)),
    Wait("os: read", World.quiet, lambda fd: os.read(fd, 1)),
    Wait("os: readv", World.quiet, lambda fd: os.readv(fd, [bytearray(1)])),
    Wait("os: write", World.full, lambda fd: os.write(fd, b"x")),
    Wait("os: writev", World.full, lambda fd: os.writev(fd, [b"x"])),
    Wait("os: sendfile", World.full, _sendfile),
    Wait("os: open", World.fifo, lambda path: os.open(path, stdlib.O_WRONLY)),
    Wait("os: nb_read", World.nonblocking, lambda fd: os.nb_read(fd, 1)),
    Wait("os: nb_write", lambda w: w.full(nonblocking=True), lambda fd: os.nb_write(fd, b"x")),
    Wait("os: tp_read", World.quiet_for_a_thread, lambda fd: os.tp_read(fd, 1)),
    Wait("os: tp_write", World.full_for_a_thread, lambda fd: os.tp_write(fd, BIG)),
    Wait("os: popen", lambda w: None, _popen),
    Wait("os: system", World.command, lambda command: os.system(command)),
    *(Wait(f"os: {name}", World.command, _spawned(name)) for name in SPAWNS),
    Wait("os: waitpid", World.child, lambda pid: os.waitpid(pid, 0)),
    Wait("os: wait4", World.child, lambda pid: os.wait4(pid, 0)),
    Wait("os: waitid", World.child, lambda pid: os.waitid(stdlib.P_PID, pid, stdlib.WEXITED)),
    Wait("subprocess: getoutput", lambda w: None, lambda _: coop_subprocess.getoutput("exec sleep 600")),
    Wait("subprocess: getstatusoutput", lambda w: None, lambda _: coop_subprocess.getstatusoutput("exec sleep 600")),
    Wait("signal: pause", lambda w: None, lambda _: signal.pause()),
    Wait("signal: sigwait", lambda w: None, lambda _: signal.sigwait([LATER])),
    Wait("signal: sigwaitinfo", lambda w: None, lambda _: signal.sigwaitinfo([LATER])),
    Wait("signal: sigtimedwait", lambda w: None, lambda _: signal.sigtimedwait([LATER], 20), lambda _: signal.sigtimedwait([LATER], SOON), None),
    Wait("select: select", World.quiet, lambda fd: select.select([fd], [], []), lambda fd: select.select([fd], [], [], SOON), ([], [], [])),
    Wait("select: select, of nothing", lambda w: None, lambda _: select.select([], [], [], 20), lambda _: select.select([], [], [], SOON), ([], [], [])),
    Wait("select: poll.poll", _poll(select.poll), lambda p: p.poll(), lambda p: p.poll(SOON * 1000), []),
    Wait("select: epoll.poll", _poll(select.epoll), lambda p: p.poll(), lambda p: p.poll(SOON), []),
    Wait("selectors: SelectSelector.select", _poll(selectors.SelectSelector), lambda s: s.select(), lambda s: s.select(SOON), []),
    Wait("selectors: PollSelector.select", _poll(selectors.PollSelector), lambda s: s.select(), lambda s: s.select(SOON), []),
    Wait("selectors: EpollSelector.select", _poll(selectors.EpollSelector), lambda s: s.select(), lambda s: s.select(SOON), []),
    Wait("selectors: DefaultSelector.select", _poll(selectors.DefaultSelector), lambda s: s.select(), lambda s: s.select(SOON), []),
    Wait("threadpool: offload", lambda w: w, lambda w: threadpool.offload(w.block)),
    Wait("threadpool: ThreadPool.spawn", lambda w: _free_for(w, 2), lambda p: p[1].spawn(p[0].block)),
    Wait("threadpool: ThreadPool.apply", lambda w: _free_for(w, 0), lambda p: p[1].apply(p[0].block)),
    Wait("threadpool: ThreadPool.apply_cb", lambda w: _free_for(w, 0), lambda p: p[1].apply_cb(p[0].block)),
    Wait("threadpool: ThreadPool.map_cb", lambda w: _free_for(w, 0), lambda p: p[1].map_cb(p[0].block, range(3))),
    Wait("threadpool: ThreadPool.map", lambda w: _free_for(w, 0), lambda p: p[1].map(p[0].block, range(3))),
    Wait("threadpool: ThreadPool.imap", lambda w: _free_for(w, 0), lambda p: next(p[1].imap(p[0].block, range(3)))),
    Wait("threadpool: ThreadPool.imap_unordered", lambda w: _free_for(w, 0), lambda p: next(p[1].imap_unordered(p[0].block, range(3)))),
    Wait("threadpool: ThreadPool.join", lambda w: w.pool(1), lambda p: p.join(), lambda p: p.join(timeout=SOON), False),
    Wait("threadpool: ThreadPool.kill", lambda w: w.pool(1), lambda p: p.kill(), lambda p: p.kill(timeout=SOON), None),
    Wait("threadpool: ThreadResult.get", _given, lambda r: r.get(), lambda r: r.get(timeout=SOON), Timeout),
    Wait("threadpool: ThreadResult.result", _given, lambda r: r.result(), lambda r: r.result(timeout=SOON), Timeout),
    Wait("threadpool: ThreadResult.wait", _given, lambda r: r.wait(), lambda r: r.wait(timeout=SOON), None),
    Wait("threadpool: ThreadResult, by coopcore.wait", _given, lambda r: coopcore.wait([r]), lambda r: coopcore.wait([r], timeout=SOON), []),
    Wait("threadpool: Future.result", _submitted, lambda f: f.result(), lambda f: f.result(SOON), TimeoutError),
    Wait("threadpool: Future.exception", _submitted, lambda f: f.exception(), lambda f: f.exception(SOON), TimeoutError),
    Wait(
        "threadpool: await_future",
        lambda w: StandardFuture[int](),
        lambda f: threadpool.await_future(f),
        lambda f: threadpool.await_future(f, SOON),
        TimeoutError,
    ),
    Wait(
        "threadpool: ThreadPoolExecutor.map",
        lambda w: (w, w.executor()),
        lambda p: next(p[1].map(p[0].block, range(2))),
        lambda p: next(p[1].map(p[0].block, range(2), timeout=SOON)),
        TimeoutError,
    ),
    Wait("threadpool: ThreadPoolExecutor.shutdown", _at_work, lambda e: e.shutdown()),
    Wait("socket: getaddrinfo", lambda w: None, lambda _: socket.getaddrinfo("slow.test", 1)),
    Wait("socket: gethostbyname", lambda w: None, lambda _: socket.gethostbyname("slow.test")),
    Wait("socket: gethostbyname_ex", lambda w: None, lambda _: socket.gethostbyname_ex("slow.test")),
    Wait("socket: gethostbyaddr", lambda w: None, lambda _: socket.gethostbyaddr("192.0.2.1")),
    Wait("socket: getnameinfo", lambda w: None, lambda _: socket.getnameinfo(("192.0.2.1", 1), 0)),
    Wait("socket: getfqdn", lambda w: None, lambda _: socket.getfqdn("slow.test")),
    Wait("socket: socket.connect, to a name", World.socket, lambda s: s.connect(("slow.test", 1))),
    Wait("socket: socket.connect_ex, to a name", World.socket, lambda s: s.connect_ex(("slow.test", 1))),
    Wait("socket: socket.bind, to a name", World.socket, lambda s: s.bind(("slow.test", 0))),
    Wait("socket: socket.sendto, to a name", lambda w: w.socket(socket.AF_INET, socket.SOCK_DGRAM), lambda s: s.sendto(b"x", ("slow.test", 1))),
    Wait("socket: create_connection, to a name", lambda w: None, lambda _: socket.create_connection(("slow.test", 1))),
    Wait("socket: create_server, at a name", lambda w: None, lambda _: socket.create_server(("slow.test", 0))),
    Wait(
        "ssl: get_server_certificate",
        World.silent_server,
        lambda at: ssl.get_server_certificate(at),
        lambda at: ssl.get_server_certificate(at, timeout=SOON),
        TimeoutError,
    ),
    Wait("threading: sleep", lambda w: None, lambda _: coop_threading.sleep(20), lambda _: coop_threading.sleep(SOON), None),
    Wait("threading: Lock.acquire", _held(coop_threading.Lock), lambda k: k.acquire(), lambda k: k.acquire(timeout=SOON), False),
    Wait("threading: Lock.__enter__", _held(coop_threading.Lock), lambda k: k.__enter__()),
    Wait("threading: RLock.__enter__", _held(coop_threading.RLock), lambda k: k.__enter__()),
    Wait("threading: RLock.acquire", _held(coop_threading.RLock), lambda k: k.acquire(), lambda k: k.acquire(timeout=SOON), False),
    Wait("threading: SimpleQueue.get", lambda w: coop_threading.SimpleQueue[int](), lambda q: q.get(timeout=20), lambda q: q.get(timeout=SOON), queue.Empty),
]
EACH = [pytest.param(wait, id=wait.name) for wait in WAITS]
TIMED = [pytest.param(wait, id=wait.name) for wait in WAITS if wait.timed is not None]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Wait, Callable[[Any], Any]], Any]]:
    """``on(wait, body)`` calls ``body`` with what the wait has prepared, on a hub of its own; nothing may be left behind there."""
    gate = threading.Event()
    real = system.getaddrinfo

    def slow(*args: Any) -> Any:
        if len(args) > 5 and args[5] & socket.AI_NUMERICHOST:
            return real(*args)
        assert gate.wait(20)
        raise standard_socket.gaierror(standard_socket.EAI_NONAME, "it was slow, and in vain")

    for name in ("getaddrinfo", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(system, name, slow)

    def run(wait: Wait, body: Callable[[Any], Any]) -> None:
        def main() -> None:
            handler = signal.signal(LATER, lambda *_: None)
            try:
                with Timeout(20, AssertionError("the test hangs")):
                    with ExitStack() as stack:
                        stack.callback(gate.set)
                        prepared = wait.prepare(World(tmp_path, gate, stack))
                        before = set(stdlib.listdir("/proc/self/fd"))
                        body(prepared)
                        assert set(stdlib.listdir("/proc/self/fd")) <= before, "a descriptor was left"
                        assert get_hub()._fd_waiting == 0, "somebody still counts as waiting at a descriptor"
            finally:
                signal.signal(LATER, handler)
            with Timeout(20, AssertionError("a task or a promise was left")):
                while get_hub().tasks() != [current_task()] or "promise" in get_hub().describe():
                    sleep(0)  # what threads were told to do goes on to its end

        coopcore.run(main, backend=request.param)

    yield run
    gate.set()


@pytest.mark.parametrize("wait", EACH)
def test_a_kill_ends_it(on: Any, wait: Wait) -> None:
    def body(prepared: Any) -> None:
        task = spawn(wait.call, prepared)
        while task.state != "parked":
            assert not task.dead, task.exception
            sleep(0)
        sleep(0)
        task.kill(timeout=5)
        assert isinstance(task.value, TaskExit), (task, task.value)

    on(wait, body)


@pytest.mark.parametrize("wait", EACH)
def test_a_timeout_around_it_ends_it(on: Any, wait: Wait) -> None:
    def body(prepared: Any) -> None:
        mine = Timeout(SOON)
        with pytest.raises(Timeout) as caught, mine:
            wait.call(prepared)
        assert caught.value is mine

    on(wait, body)


@pytest.mark.parametrize("wait", TIMED)
def test_a_timeout_of_its_own_ends_it(on: Any, wait: Wait) -> None:
    def body(prepared: Any) -> None:
        assert wait.timed is not None
        if isinstance(wait.ends_with, type):
            with pytest.raises(wait.ends_with):
                wait.timed(prepared)
        else:
            assert wait.timed(prepared) == wait.ends_with

    on(wait, body)
