"""What tests of tasks need: to know that all others wait, to force an order, and connections without a network.

`wait_all_parked` and `Sequencer` have their names and sense from trio's testing tools.
"""

from __future__ import annotations

import errno
import socket as _stdlib
from collections import deque
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from coopcore import idle
from coopcore.errors import BusyResourceError, ClosedResourceError
from coopcore.lowlevel import ParkingLot, check_seconds, hide_frames

__all__ = ["MemoryStream", "Sequencer", "stream_pair", "wait_all_parked"]


def wait_all_parked() -> None:
    """Park until every other task of this hub is parked as well. Tasks that sleep are parked: no time passes on a virtual clock."""
    idle()


class Sequencer:
    """Forces an order upon tasks: ``with sequence(2): ...`` waits until the blocks 0 and 1 have been left.

    Each number may be used once. If a task ends while it waits for its number, or its block fails, the order can never be kept any more, and all who wait, and
    all who come, get a RuntimeError.
    """

    def __init__(self) -> None:
        self._next = 0
        self._used: set[int] = set()
        self._broken: str = ""
        self._turn = ParkingLot("its number in a sequence")

    def __call__(self, number: int) -> AbstractContextManager[None]:
        """The block of this number. Raises RuntimeError for one that was used, TypeError or ValueError for one that no block can have."""
        if not isinstance(number, int):
            raise TypeError(f"the place of a block in a sequence is a number, not {number!r}")
        if number < 0:
            raise ValueError(f"the numbers of a sequence begin with 0: {number} will never be next")
        if number in self._used:
            raise RuntimeError(f"number {number} is used twice in one sequence; each block needs one of its own")
        self._used.add(number)
        return _Block(self, number)

    def _enter(self, number: int) -> None:
        try:
            while self._next != number:
                self._check()
                self._turn.park()
            self._check()
        except BaseException as error:
            self._break(number, type(error))
            raise

    def _leave(self, number: int, kind: type[BaseException] | None) -> None:
        if kind is None:
            self._next += 1
            self._turn.unpark_all()
        else:
            self._break(number, kind)

    def _break(self, number: int, kind: type[BaseException]) -> None:
        self._broken = self._broken or f"{kind.__name__} in number {number}"
        self._turn.unpark_all()

    def _check(self) -> None:
        if self._broken:
            raise RuntimeError(f"the sequence is broken by {self._broken}, so its order cannot be kept any more")


class _Block(AbstractContextManager[None]):
    """One block of a sequence."""

    def __init__(self, sequence: Sequencer, number: int) -> None:
        self._sequence = sequence
        self._number = number

    def __enter__(self) -> None:
        self._sequence._enter(self._number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._sequence._leave(self._number, kind)


class _Pipe:
    """Bytes on their way in one direction."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.ended = False
        """True once the sender has said that no more will come, or is closed."""
        self.gone = False
        """True once the receiver is closed."""
        self.readers = ParkingLot("data on a memory stream")
        self.writers = ParkingLot("room on a memory stream")


class MemoryStream:
    """One end of a connection in memory, with the methods of a stream socket. At most so many bytes are on their way; `send` parks while there is no room.

    Errors and ends are those of a socket: ``b""`` after the other end was closed or shut down, `BrokenPipeError` when it is gone, `TimeoutError`,
    `ClosedResourceError` in a task that waits while its own end is closed, and `BusyResourceError` for two tasks that receive, or send, at once.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._in = incoming
        self._out = outgoing
        self._closed = False
        self._timeout: float | None = None

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most ``bufsize`` bytes; ``b""`` at the end. Parks until there are some. ``flags`` may be 0 or MSG_PEEK."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        pipe = self._in
        self._check_open()
        while not pipe.pieces:
            if pipe.ended or self._closed:
                self._check_open()
                return b""
            self._wait(pipe.readers, "receive")
        piece = pipe.pieces[0]
        taken = piece[:bufsize]
        if not flags & _stdlib.MSG_PEEK:
            if len(piece) > bufsize:
                pipe.pieces[0] = piece[bufsize:]
            else:
                pipe.pieces.popleft()
            pipe.size -= len(taken)
            pipe.writers.unpark_all()
        return taken

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into ``buffer``. Returns how many bytes came."""
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or len(view), flags)
            view[: len(data)] = data
            return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of ``data`` and return how many bytes. Parks while there is no room."""
        pipe = self._out
        piece = bytes(data)
        self._check_sending()
        while pipe.size >= pipe.most:
            self._wait(pipe.writers, "send")
            self._check_sending()
        taken = piece[: pipe.most - pipe.size]
        if taken:
            pipe.pieces.append(taken)
            pipe.size += len(taken)
            pipe.readers.unpark_all()
        return len(taken)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data``. Parks as often as there is no room."""
        with memoryview(data).cast("B") as view:
            sent = 0
            while sent < len(view):
                sent += self.send(view[sent:], flags)

    def shutdown(self, how: int) -> None:
        """``SHUT_WR``: no more is sent, and the other end sees the end. ``SHUT_RD``: no more is received. ``SHUT_RDWR``: both."""
        self._check_open()
        if how in (_stdlib.SHUT_WR, _stdlib.SHUT_RDWR):
            self._end(self._out)
        if how in (_stdlib.SHUT_RD, _stdlib.SHUT_RDWR):
            self._end(self._in)

    def close(self) -> None:
        """Close this end: the other sees the end of what was sent; tasks that wait at this one get `ClosedResourceError`. Quiet if it is closed."""
        if not self._closed:
            self._closed = True
            self._in.gone = True
            self._in.pieces.clear()
            self._in.size = 0
            self._end(self._out)
            self._end(self._in)

    def settimeout(self, timeout: float | None) -> None:
        """Seconds that a call may wait; None for any time, 0 to wait for nothing (`BlockingIOError`)."""
        span = check_seconds(timeout, "a timeout") if timeout is not None else None
        if span is not None and span < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = span

    def gettimeout(self) -> float | None:
        """What `settimeout` has set."""
        return self._timeout

    def fileno(self) -> int:
        """-1: it has no descriptor, so nothing can be waited for at one."""
        return -1

    def _end(self, pipe: _Pipe) -> None:
        pipe.ended = True
        pipe.readers.unpark_all()
        pipe.writers.unpark_all()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedResourceError(errno.EBADF, "this end of the memory stream is closed")

    def _check_sending(self) -> None:
        self._check_open()
        if self._out.gone or self._out.ended:
            raise BrokenPipeError(errno.EPIPE, "the memory stream takes no more: its other end is closed, or this one was shut down")

    def _wait(self, lot: ParkingLot, what: str) -> None:
        if lot:
            raise BusyResourceError(f"two tasks want to {what} on {self!r}; let one do it, and hand on by a Queue")
        if self._timeout == 0:
            raise BlockingIOError(errno.EAGAIN, "the memory stream would have to wait")
        if not lot.park(self._timeout):
            raise TimeoutError("timed out")

    def __enter__(self) -> MemoryStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MemoryStream at {id(self):#x} {'closed' if self._closed else f'{self._in.size} bytes to receive, {self._out.size} sent'}>"


def stream_pair(most: int = 65536) -> tuple[MemoryStream, MemoryStream]:
    """Two connected ends of a connection in memory. ``most``: how many bytes may be on their way in each direction before `send` parks."""
    if most < 1:
        raise ValueError(f"most={most}: a stream with room for no byte could never carry one")
    one, other = _Pipe(most), _Pipe(most)
    return MemoryStream(one, other), MemoryStream(other, one)


hide_frames(__file__)
