"""The standard module ``os``; what of it waits parks the task, and the others run.

Theory
======
Everything is the standard module's own, but for the functions defined here. Those that read and write bare descriptors leave a descriptor in the mode that
it has: before a call on a blocking one the kernel is asked whether it would block, and the task parks until it would not. On a non-blocking one the call
is made as it is, and raises BlockingIOError; `nb_read` and `nb_write` park then.

*Files on disks* are always ready, so `read` and `write` go to them directly: what is in the page cache is there in a microsecond, a trip to a thread
takes fifty, and two threads at one position would tear each other's data. `tp_read`, `tp_write` and ``coop_plugins.file`` go through threads.

*The end of a child* is noticed by a pidfd, which is readable then. What no pidfd tells (any child, a process group, a child that stops or goes on) is
waited for by a thread: ``waitid`` with WNOWAIT, which leaves the child to be reaped by the task's own call. Such threads are shared, one for each thing
to wait for, and one that nobody waits for any more ends with the next such child. Nothing is polled for.

Invariants
==========
1. A descriptor is in the same mode after each call as before.
2. `write` on a blocking descriptor writes all, as the standard one does; to a socket that sends messages, as one.
3. Only the caller's own call reaps a child: nobody gets the status of another one's.
4. However a wait for a child ends, its pidfd is closed; there is at most one thread for each thing to wait for.
"""

# Most functions here are defined twice for mypy, there and here; their signatures are the same.
# mypy: disable-error-code="no-redef"

from __future__ import annotations

import os as _stdlib
import select as _select
import socket as _socket
import stat as _stat
import sys
from _thread import start_new_thread
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index
from os import *  # noqa: F403 - everything, under its own name
from os import PathLike, supports_dir_fd, supports_effective_ids, supports_fd, supports_follow_symlinks  # not in the standard __all__, but used
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from coopcore.errors import HubClosedError
from coopcore.lowlevel import (
    READABLE,
    WRITABLE,
    Hub,
    ParkingLot,
    current_hub,
    hide_frames,
    notify_closing,
    on_hub,
    promise,
    running_task,
    wait_readable,
    wait_writable,
)

from ._readiness import open_fifo, tell_closing, until_ready
from ._threads import in_thread

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, StrOrBytesPath, WriteableBuffer

T = TypeVar("T")

_PIECE = getattr(_select, "PIPE_BUF", 512)  # what a pipe takes that says that it is writable
_TERMINAL_PIECE = 256  # and a terminal


# -- descriptors --------------------------------------------------------------------------------------------------------


def open(path: StrOrBytesPath, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """As ``os.open``, at once, but for named pipes: for writing it parks until somebody reads; for reading, the first `read` waits for a writer."""
    if not flags & _stdlib.O_NONBLOCK:
        try:
            if _stat.S_ISFIFO(_stdlib.stat(path, dir_fd=dir_fd).st_mode):
                return open_fifo(path, flags, mode, dir_fd)
        except OSError:
            pass  # opening it says what is wrong, or makes it
    return _stdlib.open(path, flags, mode, dir_fd=dir_fd)


def close(fd: int) -> None:
    """As ``os.close``. Tasks of this thread that wait at the descriptor get `ClosedResourceError`; see also ``docs/select.md``. Never blocks."""
    number = index(fd)
    tell_closing(number)
    if running_task() is not None or on_hub():
        notify_closing(number)
    _stdlib.close(number)


def read(fd: int, length: int, /) -> bytes:
    """As ``os.read``: at most so many bytes, ``b""`` at the end. Parks until there are some. A descriptor that never blocks raises BlockingIOError."""
    if index(length) > 0:  # else it reads nothing, or is refused
        until_ready(index(fd), READABLE)
    return _stdlib.read(fd, length)


def readv(fd: int, buffers: Sequence[WriteableBuffer], /) -> int:
    """As ``os.readv``. Parks as `read`."""
    if any(memoryview(each).nbytes for each in buffers):
        until_ready(index(fd), READABLE)
    return _stdlib.readv(fd, buffers)


def write(fd: int, data: ReadableBuffer, /) -> int:
    """As ``os.write``: writes all to a descriptor that blocks, and parks while that takes no more. If it is interrupted, a part may be written."""
    piece = _piece_of(fd)
    if not piece:
        return _stdlib.write(fd, data)
    view = memoryview(data).cast("B")
    until_ready(fd, WRITABLE)
    sent = _stdlib.write(fd, view[:piece])
    while sent < len(view):
        until_ready(fd, WRITABLE)
        sent += _stdlib.write(fd, view[sent : sent + piece])
    return sent


def writev(fd: int, buffers: Iterable[ReadableBuffer], /) -> int:
    """As ``os.writev``. Writes all, and parks, as `write`."""
    buffers = list(buffers)
    if _piece_of(fd):
        return write(fd, b"".join(memoryview(each).cast("B") for each in buffers))
    return _stdlib.writev(fd, buffers)


def _piece_of(fd: int) -> int:
    """How much can be written at once to a descriptor that is ready and yet may block; 0 if all of it: it never blocks, or is on a disk.

    To a socket that sends messages all of it too, but when it is ready: pieces would be messages of their own.
    """
    if not _stdlib.get_blocking(fd):
        return 0
    kind = _stdlib.fstat(fd).st_mode
    if _stat.S_ISREG(kind) or _stat.S_ISBLK(kind):
        return 0
    if _stat.S_ISSOCK(kind) and _has_messages(fd):
        return sys.maxsize
    return _TERMINAL_PIECE if _stat.S_ISCHR(kind) else _PIECE


def _has_messages(fd: int) -> bool:
    """Whether what is written at once to this socket is read at once."""
    seen = _socket.SocketType(fileno=fd)
    try:
        return seen.type != _socket.SOCK_STREAM
    finally:
        seen.detach()
        _stdlib.set_blocking(fd, True)  # as it was: a default timeout of the module would have changed that


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int, **more: Any) -> int:
    """As ``os.sendfile``. Parks until the descriptor that blocks takes some, and sends at most what it takes then: less than ``count``, perhaps."""
    piece = _piece_of(out_fd)
    if piece:
        until_ready(out_fd, WRITABLE)
        count = min(count, piece) if count else piece
    return _stdlib.sendfile(out_fd, in_fd, offset, count, **more)


def make_nonblocking(fd: int) -> bool | None:
    """Put a descriptor into non-blocking mode. Returns True if it was not. gevent's name."""
    if not _stdlib.get_blocking(fd):
        return None
    _stdlib.set_blocking(fd, False)
    return True


def nb_read(fd: int, n: int) -> bytes:
    """Read at most ``n`` bytes from a descriptor in non-blocking mode. Parks until there are some. gevent's name."""
    while True:
        try:
            return _stdlib.read(fd, n)
        except BlockingIOError:
            wait_readable(fd)


def nb_write(fd: int, buf: ReadableBuffer) -> int:
    """Write some of ``buf`` to a descriptor in non-blocking mode, and return how much. Parks until it takes some. gevent's name."""
    while True:
        try:
            return _stdlib.write(fd, buf)
        except BlockingIOError:
            wait_writable(fd)


def tp_read(fd: int, n: int) -> bytes:
    """``os.read`` in a thread. Parks until it has returned; a kill leaves the thread behind, and what it reads is lost. gevent's name."""
    return in_thread(f"a thread to read descriptor {fd}", _stdlib.read, fd, n, to_the_end=False)


def tp_write(fd: int, buf: ReadableBuffer) -> int:
    """``os.write`` in a thread. Parks until it has returned; a kill leaves the thread behind. gevent's name."""
    return in_thread(f"a thread to write descriptor {fd}", _stdlib.write, fd, buf, to_the_end=False)


# -- children -----------------------------------------------------------------------------------------------------------


def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """As ``os.waitpid``: the pid and the status of a child that has ended. Parks until one has; with WNOHANG, ``(0, 0)`` at once if none has."""

    def attempt(hang: int) -> tuple[int, int] | None:
        found = _stdlib.waitpid(pid, options | hang)
        return found if found[0] or not hang else None

    found: tuple[int, int] = _reap(attempt, *_meant_by(pid), options)
    return found


def wait() -> tuple[int, int]:
    """As ``os.wait``: the pid and the status of any child that has ended. Parks until one has."""
    return waitpid(-1, 0)


def wait4(pid: int, options: int) -> tuple[int, int, Any]:
    """As ``os.wait4``: `waitpid`, with what the child has used."""

    def attempt(hang: int) -> tuple[int, int, Any] | None:
        found = _stdlib.wait4(pid, options | hang)
        return found if found[0] or not hang else None

    found: tuple[int, int, Any] = _reap(attempt, *_meant_by(pid), options)
    return found


def wait3(options: int) -> tuple[int, int, Any]:
    """As ``os.wait3``: `wait4` for any child."""
    return wait4(-1, options)


def waitid(idtype: int, ident: int, options: int, /) -> Any:
    """As ``os.waitid``: what has happened to a child. Parks until something has; with WNOHANG, None at once if nothing has."""
    return _reap(lambda hang: _stdlib.waitid(idtype, ident, options | hang), idtype, ident, options)


def _meant_by(pid: int) -> tuple[int, int]:
    """What ``waitpid(pid)`` waits for, in the words of ``waitid``."""
    if pid > 0:
        return _stdlib.P_PID, pid
    if pid == -1:
        return _stdlib.P_ALL, 0
    return _stdlib.P_PGID, -pid or _stdlib.getpgrp()


def _reap(attempt: Callable[[int], T | None], idtype: int, ident: int, options: int) -> Any:
    if options & _stdlib.WNOHANG:
        return attempt(0)
    changes = options & ~_stdlib.WEXITED & (_stdlib.WUNTRACED | _stdlib.WSTOPPED | _stdlib.WCONTINUED)
    while (found := attempt(_stdlib.WNOHANG)) is None:
        with promise(f"the end of child {ident}" if idtype == _stdlib.P_PID else "the end of a child"):
            if changes or not _wait_at_pidfd(idtype, ident):
                _bell_of(idtype, ident, changes).wait()
    return found


def _wait_at_pidfd(idtype: int, ident: int) -> bool:
    """Park until the child has ended. Returns False where no pidfd can tell."""
    if idtype == getattr(_stdlib, "P_PIDFD", None):
        wait_readable(ident, what="the end of a child")
        return True
    if idtype != _stdlib.P_PID:
        return False
    try:
        pidfd = _stdlib.pidfd_open(ident)
    except ProcessLookupError:
        return True  # somebody else has reaped it: the next attempt says so
    except (AttributeError, OSError):
        return False
    try:
        wait_readable(pidfd, what=f"the end of child {ident}")
    finally:
        notify_closing(pidfd)
        _stdlib.close(pidfd)
    return True


class _Bell:
    """A thread that waits for something to happen to children, and those of one hub who want to know."""

    def __init__(self, key: tuple[Hub, int, int, int]) -> None:
        self._key = key
        self._lot = ParkingLot("the end of a child" if key[1] != _stdlib.P_PID else f"a change of child {key[2]}")
        start_new_thread(self._watch, ())

    def wait(self) -> None:
        self._lot.park()

    def _watch(self) -> None:
        """In the thread. It reaps nobody."""
        hub, idtype, ident, changes = self._key
        try:
            _stdlib.waitid(idtype, ident, _stdlib.WEXITED | changes | _stdlib.WNOWAIT)
        except OSError:
            pass  # no such child is left: the next attempt says so
        try:
            hub.call_soon_threadsafe(self._ring)
        except HubClosedError:
            _bells.pop(self._key, None)

    def _ring(self) -> None:
        _bells.pop(self._key, None)
        self._lot.unpark_all()


_bells: dict[tuple[Hub, int, int, int], _Bell] = {}


def _bell_of(idtype: int, ident: int, changes: int) -> _Bell:
    key = (current_hub(), idtype, ident, changes)
    bell = _bells.get(key)
    if bell is None:
        bell = _bells[key] = _Bell(key)
    return bell


def system(command: StrOrBytesPath) -> int:
    """As ``os.system``: run a command of the shell and return its wait status. Parks until it has ended. Ctrl-C is not ignored meanwhile.

    A task that is killed meanwhile leaves the child running, and it is not reaped.
    """
    sys.audit("os.system", _stdlib.fsencode(command))
    pid = _stdlib.posix_spawn("/bin/sh", ["sh", "-c", _stdlib.fsdecode(command)], _stdlib.environ)
    return waitpid(pid, 0)[1]


def _spawn(start: Callable[..., int]) -> Callable[..., int]:
    def spawn(mode: int, file: StrOrBytesPath, *args: Any) -> int:
        if mode != _stdlib.P_WAIT:
            return start(mode, file, *args)
        pid = start(_stdlib.P_NOWAIT, file, *args)
        return _stdlib.waitstatus_to_exitcode(waitpid(pid, 0)[1])

    spawn.__name__ = start.__name__
    spawn.__doc__ = f"As ``os.{start.__name__}``. With P_WAIT, parks until the child has ended."
    return spawn


spawnv = _spawn(_stdlib.spawnv)
spawnve = _spawn(_stdlib.spawnve)
spawnvp = _spawn(_stdlib.spawnvp)
spawnvpe = _spawn(_stdlib.spawnvpe)
spawnl = _spawn(_stdlib.spawnl)
spawnle = _spawn(_stdlib.spawnle)
spawnlp = _spawn(_stdlib.spawnlp)
spawnlpe = _spawn(_stdlib.spawnlpe)


def popen(cmd: str, mode: str = "r", buffering: int = -1) -> Any:
    """As ``os.popen``: a text file to or from a command of the shell. Reads, writes and ``close`` park. ``close`` returns None, or the exit code times 256."""
    if not isinstance(cmd, str):
        raise TypeError(f"invalid cmd type ({type(cmd)}, expected string)")
    if mode not in ("r", "w"):
        raise ValueError(f"invalid mode {mode!r}")
    if buffering == 0 or buffering is None:
        raise ValueError("popen() does not support unbuffered streams")
    from .subprocess import PIPE, Popen

    stdin, stdout = (None, PIPE) if mode == "r" else (PIPE, None)
    child = Popen(cmd, shell=True, text=True, bufsize=buffering, stdin=stdin, stdout=stdout)
    return _Popened(child.stdout if mode == "r" else child.stdin, child)


class _Popened:
    """A stream of a child, whose ``close`` waits for that."""

    def __init__(self, stream: Any, child: Any) -> None:
        self._stream = stream
        self._child = child

    def close(self) -> int | None:
        """Close the stream and wait for the child."""
        self._stream.close()
        code: int = self._child.wait()
        return code << 8 if code else None

    def __enter__(self) -> _Popened:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


__all__ = [  # noqa: PLE0604 - all strings
    *_stdlib.__all__,
    "PathLike",
    "make_nonblocking",
    "nb_read",
    "nb_write",
    "supports_dir_fd",
    "supports_effective_ids",
    "supports_fd",
    "supports_follow_symlinks",
    "tp_read",
    "tp_write",
]

hide_frames(__file__)
