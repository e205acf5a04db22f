"""Files whose reads and writes park the task: `open` is the built-in function, `wrap` is for files that exist, `FileObject` and its kin are gevent's names.

Theory
======
A file is the usual tower of ``io``: text on a buffer on a raw file. Ours has its own raw file at the bottom, and the layers above are the standard
library's. `open` lets ``io.open`` build the tower, which checks the arguments, and builds it again on a raw file of ours. Of those there are two.

*By readiness* (`_ByReadiness`): pipes, named pipes, sockets, terminals and other devices. A descriptor that is ours alone is made non-blocking by its
first use, is tried first, and the task parks on EAGAIN. One that others share (0, 1 and 2, terminals, whatever is not closed with the file) keeps its mode:
the kernel is asked first whether it would block, and writes go in pieces that a descriptor takes when it says that it is ready.

*By threads* (`_ByThreads`): files on disks, which are always ready and may yet take their time. A thread does each call; its task waits to the end, since
a call that was given up could neither be stopped nor forgotten: the position has moved, the bytes are written. So a kill or a timeout comes out of the
next call. A thread never touches the memory of a buffer, which may be gone.

*Several tasks at one file.* Writers take turns, as threads do. Readers would get pieces of each other's data, so the second one is refused. Closing a
file while another task waits at it ends that wait; what the buffer still had to write is dropped, as nobody could say when it would be done.

Invariants
==========
1. A descriptor that is not ours alone is in the same mode after each call as before.
2. A read to the end that is interrupted loses no byte: the next one returns all. (A ``readline`` or ``read(n)`` that is interrupted may lose the part it has.)
3. No write is done twice: whoever is interrupted has counted what was written.
4. Closing a file tells the task that waits at it, in whatever thread, before the descriptor is closed.
5. Two tasks never are in one buffer at the same time: writers take turns, in order, and a second reader gets `BusyResourceError`.
6. A file that is always ready doesn't starve the others: each call that did not wait is followed by a turn of theirs.
"""

from __future__ import annotations

import builtins
import io
import os
import stat
import warnings
from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from coopcore import Task
from coopcore.errors import BusyResourceError
from coopcore.lowlevel import READABLE, WRITABLE, Hub, ParkingLot, hide_frames, on_hub, running_task, yield_now

from ._readiness import Waiters, is_ready, open_fifo
from ._threads import in_thread

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["FileObject", "FileObjectBlock", "FileObjectPosix", "FileObjectThread", "open", "wrap"]

T = TypeVar("T")

_open = builtins.open  # `open` is ours from here on
_CHUNK = 65536  # what a pipe holds, and what is worth a trip to a thread
_PIPE_PIECE = getattr(os, "PIPE_BUF", 512)
_TERMINAL_PIECE = 256  # what a terminal that says that it is writable takes
_STANDARD_STREAMS = (0, 1, 2)


# -- raw files ----------------------------------------------------------------------------------------------------------


class _Raw(io.RawIOBase):
    """What both kinds of raw files have: a standard one inside."""

    def __init__(self, inner: io.FileIO, keep: Any = None) -> None:
        self._inner = inner
        self._keep = keep
        """What owns the descriptor, if it is not ``inner``, and is closed with this."""
        self.name = inner.name
        self.mode = inner.mode

    def fileno(self) -> int:
        return self._inner.fileno()

    def readable(self) -> bool:
        return self._inner.readable()

    def writable(self) -> bool:
        return self._inner.writable()

    def seekable(self) -> bool:
        return self._inner.seekable()

    def isatty(self) -> bool:
        return self._inner.isatty()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    @property
    def closefd(self) -> bool:
        """Whether closing this closes the descriptor."""
        return self._inner.closefd or self._keep is not None

    def _close_inner(self) -> None:
        try:
            self._inner.close()
        finally:
            if self._keep is not None:
                self._keep.close()

    def __del__(self) -> None:
        if hasattr(self, "name") and not self.closed:
            self._dealloc_warn(self)
            self.close()

    def _dealloc_warn(self, source: object) -> None:
        # The layers above call this, by this name, when they are collected and were not closed.
        if self.closefd:
            warnings.warn(f"unclosed file {source!r}", ResourceWarning, stacklevel=2, source=source)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__.lstrip('_')} name={self.name!r} mode={self.mode!r} closefd={self.closefd}>"


class _ByReadiness(_Raw):
    """A pipe, a socket, a terminal. Waits for the descriptor."""

    def __init__(self, inner: io.FileIO, keep: Any = None, *, shared: bool = False) -> None:
        super().__init__(inner, keep)
        self.shared = shared or not self.closefd
        """Whether the descriptor keeps its mode."""
        self._waiters = Waiters()
        self._ask_first = True
        """Whether the kernel is asked before a call: where it would block, and before the first writer of a named pipe has come."""
        self._kept = bytearray()  # read, and not yet asked for
        self._got_through = False  # the last call did not have to wait
        self._piece = _CHUNK if not self.shared else _TERMINAL_PIECE if inner.isatty() else _PIPE_PIECE
        self._used = False

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if not self._kept or not len(view):
            count: int = self._attempt(lambda: self._inner.readinto(view), READABLE)
            return count
        self._be_fair()
        size = min(len(view), len(self._kept))
        view[:size] = self._kept[:size]
        del self._kept[:size]
        return size

    def readall(self) -> bytes:
        while chunk := self._attempt(lambda: self._inner.read(_CHUNK), READABLE):
            self._kept += chunk
        kept, self._kept = bytes(self._kept), bytearray()
        return kept

    def put_back(self, data: bytes) -> None:
        """Let the next read return ``data`` first."""
        self._kept[:0] = data

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of it and return how much. Whoever is on top comes back with the rest."""
        view = memoryview(data).cast("B")
        count: int = self._attempt(lambda: self._inner.write(view[: self._piece]), WRITABLE)
        return count

    def _attempt(self, operation: Callable[[], T | None], direction: int) -> T:
        """Call until it returns something other than None, which stands for EAGAIN. Waits in between."""
        self._check_open()
        if not (self.readable() if direction == READABLE else self.writable()):
            raise io.UnsupportedOperation(f"File not open for {'reading' if direction == READABLE else 'writing'}")
        if not self._used:
            self._used = True
            if not self.shared:
                os.set_blocking(self.fileno(), False)
        self._be_fair()
        while True:
            if (not self._ask_first or is_ready(self.fileno(), direction)) and (result := operation()) is not None:
                break
            self._got_through = False
            self._waiters.wait(self.fileno(), direction, edge=True, what=f"{self.name!r} to be {'readable' if direction == READABLE else 'writable'}")
        if direction == READABLE:
            self._ask_first = self.shared
        self._got_through = True
        return result

    def _be_fair(self) -> None:
        """Let others run if the last call did not. Before a call, since a kill that comes here must not cost what was read."""
        if self._got_through and not on_hub():
            yield_now()
            self._check_open()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def close(self) -> None:
        """Close it. A task that waits at it gets `ClosedResourceError`. If that is a task of another thread, its hub does the closing, soon."""
        if not self.closed:
            try:
                super().close()
            finally:
                if self._inner.closed:  # by the collector, which has found both in one cycle
                    self._close_inner()
                else:
                    self._waiters.close(self._inner.fileno(), self._close_inner, owned=self.closefd)


class _WholeWrites(_ByReadiness):
    """For ``buffering=0``. There is nobody on top who would come back, so it writes all, as a blocking descriptor does."""

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        sent = super().write(view)
        while sent < len(view):
            sent += super().write(view[sent:])
        return sent


class _ByThreads(_Raw):
    """A file on a disk. A thread does each call."""

    def __init__(self, inner: io.FileIO, keep: Any = None, *, to_the_end: bool = True) -> None:
        super().__init__(inner, keep)
        self._to_the_end = to_the_end
        """Whether a task that is killed waits to the end of its call. False where that may never come: pipes of `FileObjectThread`."""

    def _do(self, what: str, fn: Callable[..., T], *args: Any) -> T:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return in_thread(f"{what} {self.name!r}", fn, *args, to_the_end=self._to_the_end)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._do("reading", self._inner.read, len(view)) or b""
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._do("reading", self._inner.readall)

    def write(self, data: ReadableBuffer, /) -> int:
        return self._do("writing", self._inner.write, bytes(data))

    def truncate(self, size: int | None = None, /) -> int:
        return self._do("truncating", self._inner.truncate, size)

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()
            finally:
                self._close_inner()


# -- the layers above ---------------------------------------------------------------------------------------------------


class _Next:
    """Stands for the owner of a turn that was handed to a task that has not run since."""


_next = _Next()


class _Turn:
    """Whose turn it is in a buffer: first come, first served. Its owner may take it again. What is no task takes none: it finds it free, or is refused."""

    __slots__ = ("_depth", "_hub", "_lot", "_owner", "_reading")

    def __init__(self, what: str) -> None:
        self._owner: Task[Any] | _Next | None = None
        self._hub: Hub | None = None
        self._depth = 0
        self._reading = False
        self._lot = ParkingLot(what, lambda: (self._owner,) if isinstance(self._owner, Task) else ())

    def take(self, file: object, reading: bool) -> bool:
        me = running_task()
        owner = self._owner
        if me is None and owner is None:
            return False
        if owner is me:
            self._depth += 1
            return True
        if owner is not None:
            if me is None or self._hub is not me.hub or (reading and self._reading):
                self._refuse(me, file)
            self._lot.park()  # whoever gives it hands it over
        assert me is not None
        self._owner, self._hub, self._depth, self._reading = me, me.hub, 1, reading
        return True

    def _refuse(self, me: Task[Any] | None, file: object) -> NoReturn:
        who = repr(me) if me is not None else "a callback on the hub, or a thread without one,"
        other = repr(self._owner) if isinstance(self._owner, Task) else "another task"
        raise BusyResourceError(
            f"{who} wants to use {file!r}, but {other} is in the middle of {'a read' if self._reading else 'a write'} there. "
            f"Let one task read and pass the data on through a Queue; let the tasks of one thread write."
        )

    def give(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._reading = False
            self._owner = _next if self._lot.unpark() else None

    def taken_by_another(self) -> bool:
        return self._owner is not None and self._owner is not running_task()


def _in_turn(name: str, reading: bool, method: Callable[..., Any]) -> Callable[..., Any]:
    def taking_turns(self: Any, *args: Any) -> Any:
        turn = self._turn
        taken = turn.take(self, reading)
        try:
            return method(self, *args)
        finally:
            if taken:
                turn.give()

    taking_turns.__name__ = name
    taking_turns.__doc__ = method.__doc__
    return taking_turns


def _taking_turns(*, reads: tuple[str, ...] = (), others: tuple[str, ...]) -> Callable[[type], type]:
    """A class of buffers, with each of these methods, its own or the standard one, in a turn."""

    def wrap_methods(cls: type) -> type:
        for name in (*reads, *others):
            setattr(cls, name, _in_turn(name, name in reads, getattr(cls, name)))
        return cls

    return wrap_methods


_READS = ("peek", "read", "read1", "readinto", "readinto1", "readline")


class _Buffer:
    """What is in front of the standard buffers: turns, and a `close` that may come in the middle of another task's call."""

    raw: Any

    def __init__(self, raw: _Raw, size: int) -> None:
        super().__init__(raw, size)  # type: ignore[call-arg]  # that of the standard buffer behind
        self._turn = _Turn(f"its turn at {raw.name!r}")

    def in_use(self) -> bool:
        """Whether another task is in the middle of a call that may last for ever."""
        return isinstance(self.raw, _ByReadiness) and self._turn.taken_by_another()

    def close(self) -> None:
        """Write what is left, and close the file. In the middle of another task's call, which is ended, nothing is written."""
        if self.closed:  # type: ignore[attr-defined]  # that of the standard buffer behind
            return
        if self.in_use():
            self.raw.close()
            return
        taken = self._turn.take(self, False)
        try:
            super().close()  # type: ignore[misc]  # as above
        finally:
            if taken:
                self._turn.give()


@_taking_turns(reads=_READS, others=("seek", "tell", "truncate"))
class _Reader(_Buffer, io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if (size is None or size < 0) and isinstance(self.raw, _ByReadiness):
            self.raw.put_back(self.read1())  # what is in the buffer would be lost if the read were interrupted
        return super().read(size)


@_taking_turns(others=("flush", "seek", "tell", "truncate", "write"))
class _Writer(_Buffer, io.BufferedWriter):
    pass


@_taking_turns(reads=_READS, others=("flush", "seek", "tell", "truncate", "write"))
class _Random(_Buffer, io.BufferedRandom):
    pass


class _Text(io.TextIOWrapper):
    def close(self) -> None:
        """Write what is left, and close the file. In the middle of another task's call, which is ended, nothing is written."""
        buffer = self.buffer
        if isinstance(buffer, _Buffer) and buffer.in_use():
            buffer.close()
        else:
            super().close()


def _tower(raw: _Raw, buffered: bool, size: int, text: dict[str, Any] | None) -> Any:
    """The layers of a file: ``raw`` alone, on it a buffer of ``size``, on that a text layer with these arguments."""
    if not buffered:
        return raw
    layer = _Random if raw.readable() and raw.writable() else _Reader if raw.readable() else _Writer
    buffer = layer(raw, size)
    return buffer if text is None else _Text(cast(Any, buffer), **text)


# -- making them --------------------------------------------------------------------------------------------------------


def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> IO[Any]:
    """The built-in ``open``, of files that park the task and not the thread. Arguments, results and errors are the same.

    Parks while a thread opens the file; a named pipe for writing until somebody reads it. A named pipe for reading is opened at once, and its first read
    waits for a writer. A descriptor given by number is made non-blocking by its first use, unless it is 0, 1 or 2, a terminal, or ``closefd`` is false. The
    methods of the file park; they raise `BusyResourceError` if another task is reading, `ClosedResourceError` (an OSError) if another one closes it.
    """
    opener = _open_descriptor if opener is None else opener
    standard = _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    made: IO[Any] = _rebuild(standard, mode, buffering, newline, partial(_raw_over, mine=not isinstance(file, int)))
    return made


def _rebuild(standard: Any, mode: str, buffering: int, newline: str | None, over: Callable[..., _Raw]) -> Any:
    """The layers of ``standard``, which ``io.open`` has made, on a raw file of ours. ``standard`` cannot be used after."""
    text = None
    if isinstance(standard, io.TextIOWrapper):
        text = _text_arguments(standard, newline)
        standard = standard.detach()
    buffered = not isinstance(standard, io.FileIO)
    raw = over(standard.detach() if buffered else standard, whole_writes=not buffered)
    made = _tower(raw, buffered, buffering if buffering > 1 else _size_for(raw), text)
    if text is not None:
        made.mode = mode
    return made


def _size_for(raw: _Raw) -> int:
    return _CHUNK if isinstance(raw, _ByThreads) else io.DEFAULT_BUFFER_SIZE


def _text_arguments(text: io.TextIOWrapper, newline: str | None) -> dict[str, Any]:
    names = ("encoding", "errors", "line_buffering", "write_through")
    return {"newline": newline, **{name: getattr(text, name) for name in names}}


def _open_descriptor(path: Any, flags: int) -> int:
    fd = in_thread(f"opening {path!r}", _open_unless_fifo, path, flags)
    return open_fifo(path, flags, 0o666, None) if fd is None else fd


def _open_unless_fifo(path: Any, flags: int) -> int | None:
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):
            return None
    except OSError:
        pass  # opening it says what is wrong, or makes it
    return os.open(path, flags, 0o666)


def _raw_over(inner: io.FileIO, *, whole_writes: bool = False, mine: bool = False, keep: Any = None) -> _Raw:
    """The raw file for a descriptor, by what it is. ``mine``: it was opened here, and nobody shares its mode. ``keep`` is closed with it."""
    kind = os.fstat(inner.fileno()).st_mode
    if stat.S_ISREG(kind) or stat.S_ISBLK(kind):
        return _ByThreads(inner, keep)
    shared = not mine and (inner.fileno() in _STANDARD_STREAMS or inner.isatty())
    return (_WholeWrites if whole_writes else _ByReadiness)(inner, keep, shared=shared)


def _threads_over(inner: io.FileIO, *, whole_writes: bool = False, keep: Any = None) -> _Raw:
    return _ByThreads(inner, keep, to_the_end=stat.S_ISREG(os.fstat(inner.fileno()).st_mode))


def wrap(fileobj: Any, *, close: bool = True, newline: str | None = None) -> Any:
    """A file like ``fileobj`` whose reads and writes park: over a pipe of a child, ``sys.stdin``, the master of a pty, a socket's file.

    It has the same layers (raw, buffered or text, with its encoding) on the same descriptor, and keeps ``fileobj`` alive; use that no more. What
    ``fileobj`` has to write is written first, by it; what it has read ahead is lost, so wrap before the first read. Closing closes ``fileobj`` too,
    unless ``close`` is false.
    Raises TypeError for a number (``open`` takes those), `io.UnsupportedOperation` for what has no descriptor.
    """
    if isinstance(fileobj, int):
        raise TypeError(f"wrap() needs a file object, not the number {fileobj!r}: open({fileobj!r}, mode) makes a file of a descriptor")
    writable = fileobj.writable()
    if writable:
        fileobj.flush()
    mode = ("r+" if writable else "r") if fileobj.readable() else "w"
    inner = io.FileIO(fileobj.fileno(), mode, closefd=False)
    inner.name = getattr(fileobj, "name", inner.name)
    buffered = isinstance(fileobj, io.BufferedIOBase | io.TextIOBase)
    raw = _raw_over(inner, whole_writes=not buffered, keep=fileobj if close else None)
    text = _text_arguments(fileobj, newline) if isinstance(fileobj, io.TextIOWrapper) else None
    made = _tower(raw, buffered, _size_for(raw), text)
    if text is not None:
        made.mode = getattr(fileobj, "mode", mode)
    return made


# -- gevent's names -----------------------------------------------------------------------------------------------------


def _file_object(over: Callable[..., _Raw]) -> Callable[..., Any]:
    """Makes the functions below, which differ in the raw file at the bottom."""

    def make(
        fobj: Any,
        mode: str = "r",
        bufsize: int | None = None,
        close: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int | None = None,
        closefd: bool | None = None,
    ) -> Any:
        """gevent's constructor, which returns a file of the usual layers. ``fobj`` is a path, a descriptor's number, or a file object, for its descriptor.

        ``bufsize`` and ``close`` are older names of ``buffering`` and ``closefd``. Closing closes ``fobj``, unless ``closefd`` is false.
        """
        closefd = next((given for given in (closefd, close) if given is not None), True)
        buffering = next((given for given in (buffering, bufsize) if given is not None), -1)
        if isinstance(fobj, int):
            return _rebuild(_open(fobj, mode, buffering, encoding, errors, newline, closefd), mode, buffering, newline, over)
        if hasattr(fobj, "fileno"):
            standard = _open(fobj.fileno(), mode, buffering, encoding, errors, newline, False)
            return _rebuild(standard, mode, buffering, newline, partial(over, keep=fobj if closefd else None))
        return _rebuild(_open(fobj, mode, buffering, encoding, errors, newline, True, _open_descriptor), mode, buffering, newline, over)

    return make


FileObject = FileObjectPosix = _file_object(_raw_over)
FileObjectThread = _file_object(_threads_over)


def FileObjectBlock(fobj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - gevent's name
    """A plain file, which blocks the thread: the built-in ``open``, or ``fobj`` itself if it is a file object."""
    return fobj if hasattr(fobj, "fileno") else _open(fobj, *args, **kwargs)


hide_frames(__file__)
