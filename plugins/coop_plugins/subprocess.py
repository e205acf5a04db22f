"""The interface of the standard ``subprocess`` module; whoever waits for a child lets other tasks run.

Theory
======
`Popen` is the standard one, whose constructor starts the child. What could block after that is replaced: the files (`stdin`, `stdout`, `stderr`), `wait`,
`communicate` and the end of a ``with`` block. One short wait stays: the constructor blocks until the child has executed its program, which is how
the standard module learns that there is no such file.

*The end of a child.* The tasks of a hub that wait for one child share a `_Watch`. One of them leads: it opens a pidfd, which becomes readable when
the child ends, and waits there; the others are parked in the watch's lot. A leader that leaves, whatever the cause, wakes one of the others, and
whoever sees that the child has ended wakes all. The pidfd lives only as long as a leader waits, so children that nobody waits for cost no descriptor. A
pid cannot name another process before the child was reaped, and only `Popen.poll` reaps. Where there is no pidfd, a thread calls the standard ``wait``
and rings. Links are served by a task that waits like any other.

*Pipes.* A `_Pipe` is our end of one. It tries first, and waits when the kernel says EAGAIN; it is made non-blocking by the first try, not before, because an
end that is handed to another child (``Popen(..., stdin=first.stdout)``) must go on blocking there. The layers on top, buffers and text, are the standard
library's. A child lives in real time: while anybody waits for one a promise is open, so that no clock jumps past it.

*communicate* first moves bytes, one task for each pipe, and last of all, when nothing can interrupt it any more, turns them into results. What was moved
until then is kept: the input not yet sent here, the output in the pipe that read it.

Invariants
==========
1. Every waiter of a child that has ended is woken, whoever led and however the leader left.
2. No pidfd outlives the wait that opened it.
3. A read to the end that is interrupted, by a kill or a timeout, loses no byte: the next one returns all. (A ``readline`` or ``read(n)`` that is
   interrupted may lose the part it has; that part is in the standard library's hands.)
4. `communicate` that was interrupted goes on where it stopped when it is called again, and sends no byte of input twice; also if it was interrupted
   again while its tasks ended.
5. A pipe that we have not used is a blocking one.
6. A stream that is always ready doesn't starve other tasks: whoever reads or writes without having to wait yields in between.
7. A pipe that is closed while a task waits at it is closed in that task's thread, and the task is told.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import subprocess as _stdlib
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterator, Sequence
from subprocess import DEVNULL, PIPE, STDOUT, CalledProcessError, CompletedProcess, SubprocessError, TimeoutExpired, list2cmdline
from time import monotonic
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, AnyStr, TypeVar

from coopcore import Task, Timeout, joinall, killall, spawn
from coopcore.errors import CoopError, HubClosedError, WrongThreadError
from coopcore.lowlevel import (
    READABLE,
    WRITABLE,
    Hub,
    ParkingLot,
    current_hub,
    current_task,
    hide_frames,
    notify_closing,
    on_hub,
    promise,
    shielded,
    wait_readable,
    yield_now,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "CalledProcessError",
    "CompletedProcess",
    "Popen",
    "SubprocessError",
    "TimeoutExpired",
    "call",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "list2cmdline",
    "run",
]

hide_frames(__file__)

T = TypeVar("T")

_CHUNK = 65536  # what a pipe holds
_REAPING = 1.0  # seconds that a child which was killed has to end, before who waits for that may be interrupted
_INTERRUPT_GRACE = 0.25  # seconds that a child gets to obey the Ctrl-C that we also got; the standard module's number


# -- pipes ----------------------------------------------------------------------------------------------------------------


class _Pipe(io.RawIOBase):
    """Our end of a pipe to a child. Reads and writes park the task, not the thread."""

    def __init__(self, raw: io.FileIO) -> None:
        self.name = raw.name
        self.mode = raw.mode
        self._raw = raw
        self._kept = bytearray()  # read, and not yet asked for
        self.at_end = False
        self._used = False
        self._got_through = False  # the last call did not have to wait
        self._waiting = 0
        self._hub: Hub | None = None  # where it was waited for

    def readable(self) -> bool:
        return self._raw.readable()

    def writable(self) -> bool:
        return self._raw.writable()

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if not self._kept:
            count: int = self._attempt(lambda: self._raw.readinto(view), READABLE)
            return count
        self._be_fair()
        size = min(len(view), len(self._kept))
        view[:size] = self._kept[:size]
        del self._kept[:size]
        return size

    def readall(self) -> bytes:
        self.collect()
        kept, self._kept = bytes(self._kept), bytearray()
        return kept

    def collect(self) -> None:
        """Read to the end and keep it. May be interrupted, and called again. At the end it neither waits nor yields."""
        while not self.at_end:
            chunk: bytes = self._attempt(lambda: self._raw.read(_CHUNK), READABLE)
            self._kept += chunk
            self.at_end = not chunk

    def put_back(self, data: bytes) -> None:
        """Let the next read return ``data`` first."""
        self._kept[:0] = data

    def kept(self) -> bytes:
        """What was read and is not asked for yet."""
        return bytes(self._kept)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of it and return how much. Whoever is on top comes back with the rest."""
        view = memoryview(data).cast("B")
        count: int = self._attempt(lambda: self._raw.write(view), WRITABLE)
        return count

    def _attempt(self, operation: Callable[[], T | None], direction: int) -> T:
        """Call until it returns something other than None, which stands for EAGAIN. Waits in between."""
        if not self._used:
            self._used = True
            os.set_blocking(self.fileno(), False)
        self._be_fair()
        while (result := operation()) is None:
            self._got_through = False
            self._wait(direction)
        self._got_through = True
        return result

    def _be_fair(self) -> None:
        """Let others run if the last call did not. Before a call, since a kill that comes here must not cost what was read."""
        if self._got_through and not on_hub():
            yield_now()

    def _wait(self, direction: int) -> None:
        hub = current_task().hub
        if self._hub is not hub:
            hub.forget_fd(self.fileno())
            self._hub = hub
        self._waiting += 1
        try:
            with hub.promise(f"pipe {self.name} to a child"):
                hub.wait_fd(self.fileno(), direction, edge=True, what=f"{self.name} of a child")
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Close our end. A task that waits at it gets `ClosedResourceError`. If that is a task of another thread, its hub does the closing, soon."""
        if self.closed:
            return
        hub = self._hub
        if self._waiting and hub is not None:
            try:
                hub.notify_closing(self.fileno())
            except WrongThreadError:
                # Until the waiter was told, which only its own thread can do, the number must name this pipe.
                with contextlib.suppress(HubClosedError):  # then nobody waits any more
                    hub.call_soon_threadsafe(self.close)
                    return
        try:
            super().close()
        finally:
            self._raw.close()


class _Unbuffered(_Pipe):
    """A pipe for ``bufsize=0``. There is nobody on top who would come back, so it writes all, as a blocking pipe does."""

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += super().write(view[sent:])
        return sent


class _Reader(io.BufferedReader):
    def __init__(self, raw: _Pipe, buffer_size: int) -> None:
        super().__init__(raw, buffer_size)
        self._pipe = raw

    def read(self, size: int | None = -1, /) -> bytes:
        if (size is None or size < 0) and not self._pipe.at_end:
            self._pipe.put_back(self.read1())  # what is in the buffer would be lost if the read were interrupted
        return super().read(size)

    def close(self) -> None:
        # Not through the buffer, which refuses while another task is in the middle of a read; that one is told by the pipe.
        self._pipe.close()


class _Writer(io.BufferedWriter):
    """Tasks that write at the same time take turns, as threads do; the buffer by itself would refuse the second."""

    def __init__(self, raw: _Pipe, buffer_size: int) -> None:
        super().__init__(raw, buffer_size)
        self._turn = _Turn(f"its turn to write to pipe {raw.name}")

    def write(self, data: ReadableBuffer, /) -> int:
        with self._turn:
            return super().write(data)

    def flush(self) -> None:
        with self._turn:
            super().flush()

    def close(self) -> None:
        if not self.closed:
            with self._turn:
                super().close()


class _Turn:
    """A lock that its owner may take again."""

    __slots__ = ("_depth", "_lot", "_owner")

    def __init__(self, what: str) -> None:
        self._owner: Task[Any] | None = None
        self._depth = 0
        self._lot = ParkingLot(what, lambda: () if self._owner is None else (self._owner,))

    def __enter__(self) -> None:
        me = current_task()
        while self._owner is not None and self._owner is not me:
            self._lot.park()
        self._owner = me
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lot.unpark()


def _cooperative(stream: Any, bufsize: int) -> Any:
    """The same layers as ``stream``, a file over a pipe, with a `_Pipe` at the bottom. ``stream`` cannot be used after."""
    if isinstance(stream, io.TextIOWrapper):
        options: dict[str, Any] = {name: getattr(stream, name) for name in ("encoding", "errors", "line_buffering", "write_through")}
        return io.TextIOWrapper(_cooperative(stream.detach(), bufsize), **options)
    if isinstance(stream, io.FileIO):
        return _Unbuffered(stream)
    layer = _Reader if stream.readable() else _Writer
    return layer(_Pipe(stream.detach()), bufsize if bufsize > 1 else io.DEFAULT_BUFFER_SIZE)


def _bottom_of(stream: Any) -> Any:
    binary = getattr(stream, "buffer", stream)
    return getattr(binary, "raw", binary)


def _pipe_of(stream: Any) -> _Pipe:
    """What is under the layers of a stream that `_cooperative` made."""
    pipe = _bottom_of(stream)
    if not isinstance(pipe, _Pipe):
        raise TypeError(f"communicate() needs the streams that Popen made, and one was replaced by {stream!r}. Read that yourself, and use wait().")
    return pipe


# -- the end of a child -----------------------------------------------------------------------------------------------------


class _Watch:
    """The tasks of one hub that wait for one child, and the links that were made there."""

    # It must not refer to the child: the Popen owns it, and goes when its last user lets go.
    __slots__ = ("_bell", "_has_thread", "_led", "_links", "_lot", "_server", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._led = False
        self._lot = ParkingLot(what)
        self._bell = ParkingLot(what)
        self._has_thread = False
        self._links: list[Callable[[Any], object]] = []
        self._server: Task[None] | None = None

    def wait(self, child: Popen[Any]) -> None:
        """Park the current task until the child has ended and was reaped."""
        while child.poll() is None:
            if self._led:
                self._lot.park()
            else:
                self._lead(child)
        self._lot.unpark_all()
        if self._links:
            current_hub().call_soon(self._deliver, child)

    def _lead(self, child: Popen[Any]) -> None:
        self._led = True
        try:
            with promise(self._what):
                pidfd = _open_pidfd(child.pid)
                if pidfd is None:
                    self._wait_for_thread(child)
                else:
                    _wait_and_close(pidfd)
        finally:
            self._led = False
            self._lot.unpark()

    def _wait_for_thread(self, child: Popen[Any]) -> None:
        if not self._has_thread:
            start_new_thread(_wait_and_ring, (child, current_hub(), self._bell))
            self._has_thread = True
        self._bell.park()

    def link(self, child: Popen[Any], callback: Callable[[Any], object]) -> None:
        self._links.append(callback)
        if child.poll() is not None:
            current_hub().call_soon(self._deliver, child)
        elif self._server is None or self._server.dead:
            self._server = spawn(self.wait, child)
            self._server.name = f"links to {self._what}"

    def unlink(self, callback: Callable[[Any], object]) -> None:
        if callback in self._links:
            self._links.remove(callback)
        if not self._links and self._server is not None:
            server, self._server = self._server, None
            server.kill(block=False)

    def _deliver(self, child: Popen[Any]) -> None:
        links, self._links = self._links, []
        for callback in links:
            current_hub().call_safely(callback, child)


def _open_pidfd(pid: int) -> int | None:
    """None where there is none: no Linux, an old or a guarded kernel, no descriptor left."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _wait_and_close(pidfd: int) -> None:
    try:
        wait_readable(pidfd, what="the end of a child")
    finally:
        notify_closing(pidfd)
        os.close(pidfd)


def _wait_and_ring(child: Popen[Any], hub: Hub, bell: ParkingLot) -> None:
    _Standard.wait(child)
    try:
        hub.call_soon_threadsafe(bell.unpark_all)
    except HubClosedError:
        pass  # and with it whoever waited


_Standard = _stdlib.Popen  # also when the program is patched, and the standard module has ours


class Popen(_stdlib.Popen[AnyStr]):
    """Start a program in a child process. The arguments are those of the standard ``subprocess.Popen``.

    The constructor blocks the thread until the child executes its program, or fails to; everything else parks the task only. ``stdin``, ``stdout`` and
    ``stderr`` are the usual file objects. Raises OSError if the program cannot be started, ValueError for arguments that don't fit together.

    A Popen can be given to `coopcore.wait`.
    """

    # The standard class has private names of its own, hence the prefix.
    _coop_started = False
    _coop_unsent: memoryview | None = None
    _coop_given: Any = None  # the input, for a stdin that is not ours
    _coop_output: tuple[Any, Any] | None = None
    _coop_grace = _INTERRUPT_GRACE
    _coop_ending: Sequence[Task[None]] = ()

    if not TYPE_CHECKING:  # for type checkers the overloads of the standard constructor hold

        @functools.wraps(_Standard.__init__)
        def __init__(self, args, bufsize=-1, *more, **keywords):
            super().__init__(args, bufsize, *more, **keywords)
            size = -1 if bufsize is None else bufsize
            self.stdin, self.stdout, self.stderr = (stream and _cooperative(stream, size) for stream in (self.stdin, self.stdout, self.stderr))
            self._coop_watches = weakref.WeakKeyDictionary()

    _coop_watches: weakref.WeakKeyDictionary[Hub, _Watch]

    def _coop_watch(self) -> _Watch:
        hub = current_hub()
        watch = self._coop_watches.get(hub)
        if watch is None:
            watch = self._coop_watches[hub] = _Watch(f"the end of child {self.pid}")
        return watch

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the child has ended. Returns its return code. Raises `TimeoutExpired` after ``timeout`` seconds.

        Never use it with ``stdout=PIPE`` or ``stderr=PIPE`` that nobody reads: the child may wait for ever to write. Use `communicate`.
        """
        try:
            with _limit(timeout, lambda seconds: TimeoutExpired(self.args, seconds)):
                self._coop_watch().wait(self)
        except KeyboardInterrupt:
            self._coop_linger()
            raise
        return self.returncode

    def communicate(self, input: AnyStr | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send ``input`` and close stdin, read stdout and stderr to their ends, wait for the child. Returns both outputs, None for one that is no pipe.

        Raises `TimeoutExpired`, with the output so far, after ``timeout`` seconds. The child goes on then, and nothing is lost: call it again, without
        input, for all of the output. The same holds after a kill or a `Timeout`.
        """
        if self._coop_started and input:
            raise ValueError("Cannot send input after starting communication")
        if not self._coop_started:
            self._coop_unsent = self._coop_encoded(input)
            self._coop_given = input
            self._coop_started = True
        if self._coop_output is None:
            try:
                with _limit(timeout, self._coop_expired):
                    self._coop_exchange()
                    self._coop_watch().wait(self)
            except KeyboardInterrupt:
                self._coop_linger()
                raise
            self._coop_output = _harvest(self.stdout), _harvest(self.stderr)
        return self._coop_output

    def _coop_encoded(self, input: Any) -> memoryview | None:
        stdin: Any = self.stdin
        if not stdin or not input or not isinstance(_bottom_of(stdin), _Pipe):
            return None
        if isinstance(stdin, io.TextIOBase):
            if not isinstance(input, str):
                raise TypeError(f"the input of a child in text mode must be str, not {type(input).__name__}")
            return memoryview(input.encode(stdin.encoding, stdin.errors or "strict"))
        if isinstance(input, str):
            raise TypeError("the input of a child in binary mode must be bytes-like, not str. Pass text=True to Popen, or encode it.")
        return memoryview(input).cast("B")

    def _coop_exchange(self) -> None:
        """Move bytes until every pipe is done with. May be interrupted, and called again."""
        # Those of a call that was interrupted while it waited for their end: they hold their pipes until then.
        joinall([helper for helper in self._coop_ending if not helper.dead])
        jobs: list[Callable[[], None]] = [_pipe_of(stream).collect for stream in (self.stdout, self.stderr) if stream and not stream.closed]
        stdin: Any = self.stdin
        if stdin and stdin.closed is not True:
            jobs.append(self._coop_send if isinstance(_bottom_of(stdin), _Pipe) else self._coop_hand_over)
        if not jobs:
            return
        mine = jobs.pop()
        helpers = [spawn(job) for job in jobs]
        try:
            mine()
            for helper in helpers:
                helper.get()
        finally:
            self._coop_ending = helpers
            killall(helpers)
            self._coop_ending = ()

    def _coop_send(self) -> None:
        stdin: Any = self.stdin
        pipe = _pipe_of(stdin)
        try:
            stdin.flush()
            while self._coop_unsent:
                sent = _Pipe.write(pipe, self._coop_unsent)
                self._coop_unsent = self._coop_unsent[sent:]
            stdin.close()
        except BrokenPipeError:
            # The child has read all that it wants. What it got is its own affair, as in the standard module.
            self._coop_unsent = None
            pipe.close()

    def _coop_hand_over(self) -> None:
        """Somebody has put another file in the place of stdin: it does its own writing."""
        stdin: Any = self.stdin
        given: Any = self._coop_given
        self._coop_given = None
        for step in (*((lambda: stdin.write(given),) if given else ()), stdin.flush, stdin.close):
            try:
                step()
            except BrokenPipeError:
                pass  # as in _coop_send

    def _coop_expired(self, seconds: float) -> TimeoutExpired:
        out, err = (_pipe_of(stream).kept() or None if stream else None for stream in (self.stdout, self.stderr))
        return TimeoutExpired(self.args, seconds, output=out, stderr=err)

    def _coop_linger(self) -> None:
        """After Ctrl-C, which the child got as well: give it a moment to end by itself. Once."""
        grace, self._coop_grace = self._coop_grace, 0.0
        if grace:
            try:
                self.wait(grace)
            except TimeoutExpired:
                pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the pipes and wait for the child."""
        try:
            for stream in (self.stdout, self.stderr, self.stdin):
                if stream:
                    stream.close()
        finally:
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                self._coop_linger()
            else:
                self.wait()

    def rawlink(self, callback: Callable[[Popen[AnyStr]], object]) -> None:
        """Call ``callback(popen)`` on the hub when the child has ended; in the hub's next turn if it has already. It must not wait."""
        if not callable(callback):
            raise TypeError(f"a link must be callable with one argument, the Popen; got {callback!r}")
        self._coop_watch().link(self, callback)

    def unlink(self, callback: Callable[[Popen[AnyStr]], object]) -> None:
        """Undo a `rawlink` made on this hub. Quiet if there is none, or it was called."""
        self._coop_watch().unlink(callback)


@contextlib.contextmanager
def _limit(timeout: Any, expired: Callable[[Any], TimeoutExpired]) -> Iterator[None]:
    """Raise what ``expired`` makes of the seconds if the block takes longer than ``timeout``: seconds, a `Timeout`, or None for no limit."""
    if timeout is None:
        yield
        return
    timer = timeout if isinstance(timeout, Timeout) else Timeout(timeout)
    try:
        with timer:
            yield
            return
    except Timeout as fired:
        if fired is not timer:
            raise
    raise expired(timer.seconds) from None


def _harvest(stream: IO[Any] | None) -> Any:
    """What the pipe has collected, through the buffer and the decoder. Waits for nothing, since the pipe is at its end."""
    if stream is None:
        return None
    if stream.closed:
        return "" if isinstance(stream, io.TextIOBase) else b""
    with stream:
        return stream.read()


# -- functions ------------------------------------------------------------------------------------------------------------


def run(
    *popenargs: Any, input: Any = None, capture_output: bool = False, timeout: float | None = None, check: bool = False, **kwargs: Any
) -> CompletedProcess[Any]:
    """Run a program to its end and return a `CompletedProcess`. The other arguments are those of `Popen`. Parks the task.

    ``capture_output`` collects stdout and stderr. Raises `CalledProcessError` for a return code that is not 0 if ``check``. After
    ``timeout`` seconds, and when the task is killed, the child is killed; then raises `TimeoutExpired` with the output so far.
    """
    if input is not None:
        if kwargs.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        kwargs["stdin"] = PIPE
    if capture_output:
        if kwargs.get("stdout") is not None or kwargs.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        kwargs["stdout"] = kwargs["stderr"] = PIPE
    with Popen[Any](*popenargs, **kwargs) as child:
        try:
            stdout, stderr = child.communicate(input, timeout)
        except BaseException:
            _kill_and_reap(child)
            raise
    done = CompletedProcess(child.args, child.returncode, stdout, stderr)
    if check:
        done.check_returncode()
    return done


def call(*popenargs: Any, timeout: float | None = None, **kwargs: Any) -> int:
    """Run a program to its end and return its return code. As `run` otherwise; don't use PIPE, for nobody would read it."""
    with Popen[Any](*popenargs, **kwargs) as child:
        try:
            return child.wait(timeout)
        except BaseException:
            _kill_and_reap(child)
            raise


def _kill_and_reap(child: Popen[Any]) -> None:
    """Leave no zombie. What would end the wait, a cancelled scope, a kill, a timeout, is raised after it, since it cannot take long; if it does, at once."""
    child.kill()
    limit = monotonic() + _REAPING
    late: BaseException | None = None
    with shielded():
        while child.returncode is None:
            try:
                child._coop_watch().wait(child)
            except CoopError:
                raise
            except BaseException as error:
                late = late or error
                if monotonic() > limit:
                    break
    if late is not None:
        raise late


def check_call(*popenargs: Any, **kwargs: Any) -> int:
    """As `call`, and raises `CalledProcessError` for a return code that is not 0."""
    returncode = call(*popenargs, **kwargs)
    if returncode:
        raise CalledProcessError(returncode, kwargs["args"] if "args" in kwargs else popenargs[0])
    return 0


def check_output(*popenargs: Any, timeout: float | None = None, **kwargs: Any) -> Any:
    """Run a program to its end and return its stdout. As `run` otherwise.

    Raises `CalledProcessError`, which has the output, for a return code that is not 0.
    """
    for name in ("stdout", "check"):
        if name in kwargs:
            raise ValueError(f"{name} argument not allowed, it will be overridden.")
    if "input" in kwargs and kwargs["input"] is None:
        # None that is given means no input, not the stdin of this process.
        text = any(kwargs.get(name) for name in ("text", "universal_newlines", "encoding", "errors"))
        kwargs["input"] = "" if text else b""
    return run(*popenargs, stdout=PIPE, timeout=timeout, check=True, **kwargs).stdout


def getstatusoutput(cmd: Any, *, encoding: str | None = None, errors: str | None = None) -> tuple[int, str]:
    """Run a shell command and return its return code and its output, stdout and stderr together, without the last newline."""
    done = run(cmd, shell=True, text=True, stdout=PIPE, stderr=STDOUT, encoding=encoding, errors=errors)
    return done.returncode, done.stdout.removesuffix("\n")


def getoutput(cmd: Any, *, encoding: str | None = None, errors: str | None = None) -> str:
    """Run a shell command and return its output, whatever its return code. As `getstatusoutput`."""
    return getstatusoutput(cmd, encoding=encoding, errors=errors)[1]
