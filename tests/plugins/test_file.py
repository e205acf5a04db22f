"""coop_plugins.file on pipes, terminals, sockets and disks, on an edge-triggered and a level-triggered backend."""

from __future__ import annotations

import array
import errno
import gc
import io
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import tty
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins import _threads, file
from coopcore import TaskExit, Timeout, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, ParkInHubError

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
BIG = bytes(range(256)) * 1024  # four times what a pipe holds
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; no descriptor, task or promise may be left behind."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            before = set(os.listdir("/proc/self/fd"))
            with Timeout(20, AssertionError("the test hangs")):
                result = body()
            assert set(os.listdir("/proc/self/fd")) <= before
            assert "promise" not in coopcore.get_hub().describe()
            return result

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return coopcore.run(guarded, backend=request.param)

    return run


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def parked(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        assert not any(task.dead for task in tasks), "it has ended without waiting"
        sleep(0)


def ended(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.dead for task in tasks):
        sleep(0)


def a_pipe(mode: str = "b", **more: Any) -> tuple[Any, Any]:
    reader, writer = os.pipe()
    return file.open(reader, "r" + mode, **more), file.open(writer, "w" + mode, **more)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        for fd in (master, slave):
            try:
                os.close(fd)
            except OSError:
                pass


# -- pipes --------------------------------------------------------------------------------------------------------------


def test_a_read_parks_and_the_others_run(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader, writer:
            task = spawn(reader.readline)
            parked(task)
            assert task.waiting_on == f"{reader.fileno()} to be readable"
            writer.write(b"hello\n")
            writer.flush()
            assert task.get(timeout=5) == b"hello\n"


def test_a_write_parks_when_the_pipe_is_full(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader:
            task = spawn(lambda: (writer.write(BIG), writer.close()))
            parked(task)
            assert task.waiting_on == f"{writer.fileno()} to be writable"
            assert reader.read() == BIG
            task.get(timeout=5)


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_every_way_of_reading(on: Run, size: int) -> None:
    @on
    def body() -> None:
        calls: list[tuple[Callable[[Any], Any], Any]] = [
            (lambda f: f.read(), b"one\ntwo\n"),
            (lambda f: f.read(4), b"one\n"),
            (lambda f: f.readline(), b"one\n"),
            (lambda f: f.readlines(), [b"one\n", b"two\n"]),
            (list, [b"one\n", b"two\n"]),
            (next, b"one\n"),
            (lambda f: f.readinto(bytearray(3)), 3),
            (lambda f: f.readinto(array.array("h", [0])), 2),
        ]
        for call, expected in calls:
            reader, writer = a_pipe(buffering=size) if size != 1 else a_pipe()
            with reader:
                task = spawn(call, reader)
                parked(task)
                writer.write(b"one\ntwo\n")
                writer.close()
                assert task.get(timeout=5) == expected


def test_peek_read1_and_readinto1(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(buffering=0)
        buffered = file.open(os.dup(reader.fileno()), "rb")
        with reader, writer, buffered:
            task = spawn(buffered.peek)
            parked(task)
            writer.write(b"abc")
            assert task.get(timeout=5) == b"abc"
            assert buffered.read1() == b"abc"
            writer.write(b"de")
            into = bytearray(5)
            assert (buffered.readinto1(into), into[:2]) == (2, b"de")


def test_text_with_an_encoding_and_newlines(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe("", encoding="utf-16-le", newline="\r\n")
        with reader, writer:
            assert reader.encoding == writer.encoding == "utf-16-le"
            task = spawn(reader.readline)
            parked(task)
            writer.write("grüße\n")
            writer.flush()
            assert task.get(timeout=5) == "grüße\r\n"
            assert (reader.mode, writer.mode) == ("r", "w")


def test_line_buffering(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe("", buffering=1)
        with reader, writer:
            assert writer.line_buffering
            writer.write("a line\n")
            assert reader.readline() == "a line\n"


def test_the_end_of_the_pipe_and_a_broken_one(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        task = spawn(reader.read, 10)
        parked(task)
        writer.close()
        assert task.get(timeout=5) == b""
        reader.close()
        reader, writer = a_pipe(buffering=0)
        reader.close()
        with pytest.raises(BrokenPipeError):
            writer.write(b"x")
        writer.close()


def test_without_a_buffer_a_write_writes_all(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(buffering=0)
        with reader, writer:
            task = spawn(writer.write, BIG)
            got = b""
            while len(got) < len(BIG):
                got += reader.read(len(BIG))
            assert got == BIG
            assert task.get(timeout=5) == len(BIG)


def test_invariant_6_a_file_that_is_always_ready_starves_nobody(on: Run) -> None:
    @on
    def body() -> None:
        with file.open("/dev/zero", "rb", buffering=0) as zero, file.open("/dev/null", "wb", buffering=0) as null:
            task = spawn(sleep, 0.01)
            while not task.dead:
                null.write(zero.read(10))


def test_on_the_hub_what_need_not_wait_works(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        results: list[Any] = []

        def callback() -> None:
            with pytest.raises(ParkInHubError):
                reader.read(1)
            writer.write(b"x")
            writer.flush()
            results.append(reader.read(1))

        with reader, writer:
            coopcore.get_hub().call_soon(callback)
            while not results:
                sleep(0)
            assert results == [b"x"]


def test_names_modes_and_reprs(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        with file.open(reader, "rb", 0) as raw, file.open(writer, "wb") as buffered:
            assert repr(raw) == f"<coop_plugins.file.WholeWrites name={reader} mode='rb' closefd=True>"
            assert (raw.name, raw.mode, raw.readable(), raw.writable(), raw.seekable(), raw.isatty()) == (reader, "rb", True, False, False, False)
            assert (buffered.name, buffered.mode, buffered.readable(), buffered.writable()) == (writer, "wb", False, True)
            assert isinstance(buffered, io.BufferedWriter)
            with pytest.raises(io.UnsupportedOperation):
                raw.write(b"x")
            with pytest.raises(OSError) as caught:
                raw.seek(0)
            assert caught.value.errno == errno.ESPIPE
            with pytest.raises(OSError):
                raw.tell()
        for call in (raw.read, raw.readall, buffered.flush, lambda: buffered.write(b"")):
            with pytest.raises(ValueError, match="closed file"):
                call()


@pytest.mark.parametrize(
    "arguments",
    [
        ("/nowhere/at/all",),
        (".", "r"),
        ("a descriptor", "rw"),
        ("a descriptor", "q"),
        ("a descriptor", "rb", 0, "utf-8"),
        ("a descriptor", "r", 0),
        ("a descriptor", "rb", 1, None, None, "x"),
        (-1,),
        (99999,),
        ("x", "r", -1, None, None, None, False),
    ],
)
def test_open_refuses_what_the_built_in_one_refuses(on: Run, arguments: tuple[Any, ...]) -> None:
    def refused(call: Callable[..., Any]) -> tuple[type[BaseException], str, bool]:
        fd = os.open(os.devnull, os.O_RDWR)
        try:
            with pytest.raises(Exception, match=r".") as caught, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call(fd if arguments[0] == "a descriptor" else arguments[0], *arguments[1:])
        finally:
            closed = not is_open(fd)  # it was theirs already
            if not closed:
                os.close(fd)
        return type(caught.value), str(caught.value), closed

    @on
    def body() -> None:
        assert refused(file.open) == refused(open)


# -- several tasks ------------------------------------------------------------------------------------------------------


def test_invariant_5_writers_take_turns(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader:

            def write(byte: bytes) -> None:
                writer.write(byte * 200_000)
                writer.flush()

            tasks = [spawn(write, byte) for byte in (b"a", b"b", b"c")]
            got = b""
            while len(got) < 600_000:
                got += reader.read1()
            assert got == b"a" * 200_000 + b"b" * 200_000 + b"c" * 200_000
            coopcore.joinall(tasks, raise_error=True)
            writer.close()


def test_invariant_5_a_writer_that_is_killed_in_line_leaves_it(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader:
            first, second, third = (spawn(writer.write, byte * len(BIG)) for byte in (b"a", b"b", b"c"))
            parked(first, second, third)
            assert second.waiting_on.startswith("its turn at")
            second.kill()
            with pytest.raises(Timeout), Timeout(0.01):
                writer.write(b"x")
            task = spawn(lambda: (coopcore.joinall([first, third]), writer.close()))
            assert reader.read() == b"a" * len(BIG) + b"c" * len(BIG)
            task.get(timeout=5)


@pytest.mark.parametrize("mode", ["b", ""])
def test_invariant_5_a_second_reader_is_refused(on: Run, mode: str) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(mode)
        word = b"word\n" if mode else "word\n"
        with reader, writer:
            first = spawn(reader.readline)
            parked(first)
            for call in (reader.readline, reader.read, lambda: next(reader)):
                with pytest.raises(BusyResourceError, match="in the middle of a read"):
                    call()
            writer.write(word)
            writer.flush()
            assert first.get(timeout=5) == word


def test_a_second_reader_without_a_buffer_is_refused(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(buffering=0)
        with reader, writer:
            first = spawn(reader.read, 1)
            parked(first)
            with pytest.raises(BusyResourceError):
                reader.read(1)
            first.kill()


def test_a_callback_on_the_hub_in_the_middle_of_a_read_is_refused(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        errors: list[Exception] = []

        def callback() -> None:
            try:
                reader.read(1)
            except BusyResourceError as error:
                errors.append(error)

        with reader, writer:
            first = spawn(reader.read, 1)
            parked(first)
            coopcore.get_hub().call_soon(callback)
            while not errors:
                sleep(0)
            assert "a callback on the hub" in str(errors[0])
            first.kill()


def test_a_task_of_another_thread_in_the_middle_of_a_read_is_refused(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader, writer:
            first = spawn(reader.read, 1)
            parked(first)
            errors: list[Any] = []

            def main() -> None:
                with pytest.raises(BusyResourceError):
                    reader.read(1)
                errors.append("refused")

            thread = threading.Thread(target=coopcore.run, args=(main,))
            thread.start()
            thread.join()
            assert errors == ["refused"]
            first.kill()


def test_one_that_the_collector_finds_in_a_cycle_is_silent() -> None:
    """Its parts are ended in any order."""
    reader, writer = os.pipe()
    cycle: list[Any] = [file.open(reader, "rb", closefd=False) for _ in range(20)]
    cycle.append(cycle)
    del cycle
    gc.collect()  # an error in a finaliser would fail the test
    os.close(reader)
    os.close(writer)


# -- timeouts and kills -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["b", ""])
def test_invariant_2_an_interrupted_read_to_the_end_loses_nothing(on: Run, mode: str) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(mode)
        wrote = "part one, part two" if not mode else b"part one, part two"
        with reader:
            writer.write(wrote[:5])
            writer.flush()
            assert reader.read(1) == wrote[:1]  # leaves some in the buffer
            for part in (wrote[5:8], wrote[8:10]):
                with pytest.raises(Timeout), Timeout(0.01):
                    reader.read()
                writer.write(part)
                writer.flush()
            task = spawn(reader.read)
            parked(task)
            task.kill()
            writer.write(wrote[10:])
            writer.close()
            assert reader.read() == wrote[1:]


def test_invariant_2_what_was_kept_is_read_by_others_too(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader, writer:
            writer.write(b"kept")
            writer.flush()
            with pytest.raises(Timeout), Timeout(0.01):
                reader.read()
            assert reader.read(2) == b"ke"
            assert reader.read1() == b"pt"


def test_invariant_3_an_interrupted_write_is_not_done_twice(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(buffering=1 << 20)
        with reader:
            writer.write(BIG)
            for _ in range(3):
                with pytest.raises(Timeout), Timeout(0.01):
                    writer.flush()
            task = spawn(writer.close)
            assert reader.read() == BIG
            task.get(timeout=5)


# -- closing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["b", ""])
@pytest.mark.parametrize("size", [-1, 0])
def test_invariant_4_closing_wakes_a_reader(on: Run, mode: str, size: int) -> None:
    if not mode and not size:
        pytest.skip("text needs a buffer")

    @on
    def body() -> None:
        reader, writer = a_pipe(mode, buffering=size)
        with writer:
            task = spawn(reader.read)
            parked(task)
            reader.close()
            with pytest.raises(ClosedResourceError) as caught:
                task.get(timeout=5)
            assert caught.value.errno == errno.EBADF
            assert reader.closed
            reader.close()


@pytest.mark.parametrize("mode", ["b", ""])
def test_invariant_4_closing_wakes_a_writer_and_drops_what_it_had(on: Run, mode: str) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(mode)
        with reader:
            much = BIG if mode else "x" * len(BIG)
            tasks = [spawn(lambda: (writer.write(much), writer.flush())) for _ in range(2)]
            parked(*tasks)
            writer.close()
            errors = [task.exception for task in coopcore.joinall(tasks, timeout=5)]
            assert type(errors[0]) is ClosedResourceError
            assert isinstance(errors[1], (ClosedResourceError, ValueError))
            assert writer.closed


def test_invariant_4_closing_wakes_a_task_of_another_thread(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(buffering=0)
        waits, outcomes = threading.Event(), []

        def main() -> None:
            task = spawn(reader.read, 1)
            parked(task)
            waits.set()
            task.join()
            outcomes.append(task.exception)

        thread = threading.Thread(target=coopcore.run, args=(main,))
        thread.start()
        while not waits.is_set():
            sleep(0)
        reader.close()
        assert reader.closed
        thread.join(5)
        assert [type(each) for each in outcomes] == [ClosedResourceError]
        writer.close()


def test_closing_between_two_writes_is_noticed(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe(buffering=0)
        with reader:
            writer.write(b"x")
            task = spawn(writer.write, b"y")  # yields first, since the last call did not wait
            sleep(0)
            writer.close()
            with pytest.raises(ValueError, match="closed"):
                task.get(timeout=5)


def test_a_file_that_is_dropped_is_closed_and_told_of(on: Run) -> None:
    @on
    def body() -> None:
        for make in (lambda: a_pipe(), lambda: a_pipe(""), lambda: a_pipe(buffering=0)):
            gc.collect()  # what other tests have left
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                make()
                gc.collect()
            assert [str(each.message)[:14] for each in told] == ["unclosed file "] * 2
            assert {each.category for each in told} == {ResourceWarning}


def test_closefd(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        with file.open(writer, "wb", closefd=False) as made:
            assert not made.raw.closefd
            made.write(b"x")
        assert os.read(reader, 5) == b"x"
        assert os.get_blocking(writer)
        os.close(reader)
        os.close(writer)


# -- descriptors that are shared ----------------------------------------------------------------------------------------


def test_invariant_1_the_mode_of_a_shared_descriptor_stays(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        modes = set()
        with file.open(reader, "rb", closefd=False) as source, file.open(writer, "wb", closefd=False) as sink:
            task = spawn(source.read, len(BIG))
            parked(task)
            other = spawn(lambda: (sink.write(BIG), sink.flush()))
            while not task.dead:
                modes.add((os.get_blocking(reader), os.get_blocking(writer)))
                sleep(0)
            assert task.get() == BIG
            other.get(timeout=5)
        assert modes == {(True, True)}
        os.close(reader)
        os.close(writer)


def test_invariant_1_a_terminal_keeps_its_mode(on: Run, terminal: tuple[int, int]) -> None:
    master, slave = terminal

    @on
    def body() -> None:
        with file.open(os.dup(slave), "r") as ours, file.open(os.dup(master), "wb", buffering=0) as keyboard:
            task = spawn(ours.readline)
            parked(task)
            keyboard.write(b"typed\n")
            assert task.get(timeout=5) == "typed\n"
            assert os.get_blocking(slave)
            assert os.get_blocking(master)
            assert ours.isatty()


def test_more_than_a_terminal_takes(on: Run, terminal: tuple[int, int]) -> None:
    master, slave = terminal
    tty.setraw(slave, termios.TCSANOW)

    @on
    def body() -> None:
        with file.open(os.dup(slave), "wb") as screen, file.open(os.dup(master), "rb", buffering=0) as watcher:
            task = spawn(lambda: (screen.write(b"x" * 100_000), screen.flush()))
            parked(task)
            got = 0
            while got < 100_000:
                got += len(watcher.read(65536))
            task.get(timeout=5)


def test_a_descriptor_of_ours_does_not_block(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = a_pipe()
        with reader, writer:
            assert os.get_blocking(writer.fileno()), "until it is used, so that it may be handed to a child"
            writer.write(b"x")
            writer.flush()
            assert not os.get_blocking(writer.fileno())


# -- named pipes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_named_pipe_waits_for_its_writer(on: Run, fifo: Path) -> None:
    @on
    def body() -> None:
        def read() -> str:
            with file.open(fifo) as source:
                return str(source.read())

        task = spawn(read)
        parked(task)
        while not task.waiting_on.endswith("to be readable"):
            sleep(0)
        with file.open(fifo, "w") as sink:
            sink.write("through the pipe")
        assert task.get(timeout=5) == "through the pipe"


def test_a_named_pipe_waits_for_its_reader(on: Run, fifo: Path) -> None:
    @on
    def body() -> None:
        def write() -> None:
            with file.open(fifo, "wb") as sink:
                sink.write(b"through the pipe")

        task = spawn(write)
        parked(task)
        with file.open(fifo, "rb") as source:
            assert source.read() == b"through the pipe"
        task.get(timeout=5)


def test_a_named_pipe_is_given_up(on: Run, fifo: Path) -> None:
    @on
    def body() -> None:
        with pytest.raises(Timeout), Timeout(0.05):
            file.open(fifo, "w")
        task = spawn(file.open, fifo, "w")
        parked(task)
        task.kill()
        with pytest.raises(Timeout), Timeout(0.05), file.open(fifo) as source:
            source.read()


def test_a_named_pipe_that_may_not_be_opened(on: Run, fifo: Path) -> None:
    @on
    def body() -> None:
        with pytest.raises(FileExistsError):
            file.open(fifo, "x")


# -- disks --------------------------------------------------------------------------------------------------------------


def test_a_file_on_a_disk_is_read_and_written_by_threads(on: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    real = file.in_thread

    def noted(what: str, *args: Any, **kwargs: Any) -> Any:
        threads.add(what.partition(" ")[0])
        return real(what, *args, **kwargs)

    monkeypatch.setattr(file, "in_thread", noted)

    @on
    def body() -> None:
        path = tmp_path / "file"
        with file.open(path, "w", encoding="utf-8") as made:
            made.write("first line\nzweite Zeile: grüße\n")
        with file.open(path, encoding="utf-8") as made:
            assert made.readline() == "first line\n"
            assert made.tell() == 11
            assert made.read() == "zweite Zeile: grüße\n"
            made.seek(0)
            assert list(made) == ["first line\n", "zweite Zeile: grüße\n"]
        assert path.read_text(encoding="utf-8") == "first line\nzweite Zeile: grüße\n"

    assert threads == {"opening", "writing", "reading"}


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b", "w+b", "a+b", "xb", "x+b", "rb"])
@pytest.mark.parametrize("size", [-1, 0, 10])
def test_every_mode_does_what_the_built_in_one_does(on: Run, tmp_path: Path, mode: str, size: int) -> None:
    def use(how: Any, path: Path) -> list[Any]:
        if "x" not in mode:
            path.write_bytes(b"what was there before")
        seen: list[Any] = []
        with how(path, mode, size) as made:
            seen += [made.mode, made.readable(), made.writable(), made.seekable(), made.tell(), made.isatty()]
            if made.writable():
                seen += [made.write(b"written"), made.write(b""), made.tell()]
                made.flush()
                seen += [made.seek(3), made.truncate(), made.truncate(50), made.seek(0, 2)]
            if made.readable():
                seen += [made.seek(1), made.read(3), made.read(), made.read(), made.seek(-2, 2), made.readinto(bytearray(5)), made.tell()]
        seen += [made.closed, path.read_bytes()]
        return seen

    expected = use(open, tmp_path / "theirs")

    @on
    def body() -> None:
        assert use(file.open, tmp_path / "ours") == expected


def test_more_than_a_buffer_on_a_disk(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        path = tmp_path / "file"
        with file.open(path, "wb") as made:
            made.write(BIG * 3)
        with file.open(path, "rb") as made:
            assert made.read() == BIG * 3
        with file.open(path, "rb", buffering=0) as made:
            assert made.readall() == BIG * 3
            assert repr(made).startswith("<coop_plugins.file.ByThreads name=")
        with pytest.raises(ValueError, match="closed"):
            made.readall()


class Gate:
    """Stands for ``io.FileIO``; its calls last until they are let go."""

    def __init__(self, inner: io.FileIO) -> None:
        self._inner = inner
        self.began, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, size: int) -> bytes:
        return self._slowly(self._inner.read, size)

    def write(self, data: bytes) -> int:
        return self._slowly(self._inner.write, data)

    def _slowly(self, call: Callable[..., Any], *args: Any) -> Any:
        self.began.set()
        assert self.go_on.wait(10)
        return call(*args)


def behind_a_gate(made: Any) -> Gate:
    raw = getattr(made, "raw", made)
    raw._inner = gate = Gate(raw._inner)
    return gate


def test_a_slow_disk_lets_others_run_and_a_kill_waits_for_it(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        with file.open(path, "rb", buffering=0) as made:
            gate = behind_a_gate(made)
            results: list[bytes] = []

            def read() -> None:
                results.append(made.read(4))
                results.append(made.read(4))

            task = spawn(read)
            while not gate.began.is_set():
                sleep(0)
            parked(task)
            assert "reading" in task.waiting_on
            task.kill(block=False)
            with pytest.raises(Timeout), Timeout(0.01):
                task.join()
            gate.go_on.set()
            assert isinstance(task.get(timeout=5), TaskExit)
            assert results == [b"0123"], "the call under way has its result; the next one begins with the kill"
            assert made.read(2) == b"45"


def test_invariant_3_a_write_to_a_disk_is_not_done_twice(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        path = tmp_path / "file"
        with file.open(path, "wb") as made:
            gate = behind_a_gate(made)

            def write() -> None:
                made.write(b"once")
                made.flush()
                sleep(0)

            task = spawn(write)
            while not gate.began.is_set():
                sleep(0)
            task.kill(block=False)
            gate.go_on.set()
            assert isinstance(task.get(timeout=5), TaskExit)
        assert path.read_bytes() == b"once"


def test_closing_a_file_on_a_disk_waits_for_its_writer(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        path = tmp_path / "file"
        made = file.open(path, "wb")
        gate = behind_a_gate(made)
        made.write(b"all of it")
        writer, closer = spawn(made.flush), spawn(made.close)
        parked(writer, closer)
        gate.go_on.set()
        coopcore.joinall([writer, closer], timeout=5, raise_error=True)
        assert path.read_bytes() == b"all of it"


def test_a_reader_and_a_writer_of_one_file_take_turns(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"before")
        with file.open(path, "r+b") as made:
            gate = behind_a_gate(made)
            reader = spawn(made.read, 3)
            while not gate.began.is_set():
                sleep(0)
            writer = spawn(made.write, b"AFTER")
            parked(writer)
            gate.go_on.set()
            assert reader.get(timeout=5) == b"bef"
            writer.get(timeout=5)
        assert path.read_bytes() == b"befAFTER"


def test_the_error_of_a_thread_is_the_callers(on: Run) -> None:
    @on
    def body() -> None:
        with file.open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
            full.write(b"x")
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(IsADirectoryError):
            _threads.in_thread("reading a directory", open, "/")


def test_a_hub_that_is_closed_leaves_a_thread_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    gates: list[Gate] = []

    def main() -> None:
        made = file.open(path, "rb", buffering=0)
        gates.append(behind_a_gate(made))
        spawn(made.read, 1)
        while not gates[0].began.is_set():
            sleep(0)
        files.append(made)

    files: list[Any] = []
    with pytest.warns(coopcore.errors.LeftBehindWarning):
        coopcore.run(main)
    gates[0].go_on.set()
    files[0].close()


def test_opener(on: Run, tmp_path: Path) -> None:
    @on
    def body() -> None:
        asked: list[Any] = []

        def opener(path: str, flags: int) -> int:
            asked.append((path, bool(flags & os.O_CREAT)))
            return os.open(path, flags, 0o600)

        with file.open(str(tmp_path / "file"), "w", opener=opener) as made:
            made.write("x")
        assert asked == [(str(tmp_path / "file"), True)]


# -- wrap ---------------------------------------------------------------------------------------------------------------


def test_wrap_a_pipe_of_a_child(on: Run) -> None:
    @on
    def body() -> None:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            source, sink = file.wrap(child.stdout), file.wrap(child.stdin)
            task = spawn(source.read)
            parked(task)
            sink.write("to the child and back\n")
            sink.close()
            assert task.get(timeout=5) == "to the child and back\n"
            assert child.stdin is not None and child.stdin.closed
            source.close()
            assert child.stdout is not None and child.stdout.closed


@pytest.mark.parametrize("layer", ["text", "buffered", "raw"])
def test_wrap_keeps_the_layers(on: Run, layer: str) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        mode, size = ("r", -1) if layer == "text" else ("rb", -1 if layer == "buffered" else 0)
        options: dict[str, Any] = {"encoding": "latin-1", "errors": "replace"} if layer == "text" else {}
        theirs = open(reader, mode, size, **options)  # noqa: SIM115 - it is closed by what is tested
        ours = file.wrap(theirs)
        kinds = {"text": io.TextIOWrapper, "buffered": io.BufferedReader, "raw": io.RawIOBase}
        assert isinstance(ours, kinds[layer])
        assert (ours.name, ours.mode, ours.fileno()) == (theirs.name, theirs.mode, reader)
        if layer == "text":
            assert (ours.encoding, ours.errors) == ("latin-1", "replace")
        os.write(writer, b"\xe4\n")
        assert ours.readline() == ("ä\n" if layer == "text" else b"\xe4\n")
        os.close(writer)
        ours.close()
        assert theirs.closed


def test_wrap_without_closing(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        theirs = open(writer, "wb")  # noqa: SIM115 - it is closed by what is tested
        theirs.write(b"first, ")
        with file.wrap(theirs, close=False) as ours:
            ours.write(b"then")
        assert not theirs.closed
        assert os.get_blocking(writer), "its mode is not ours"
        theirs.close()
        with open(reader, "rb") as source:
            assert source.read() == b"first, then"


def test_wrap_the_standard_input(on: Run, monkeypatch: pytest.MonkeyPatch, terminal: tuple[int, int]) -> None:
    master, slave = terminal

    @on
    def body() -> None:
        with open(slave, closefd=False) as keyboard:
            monkeypatch.setattr(sys, "stdin", keyboard)
            with file.wrap(sys.stdin, close=False) as ours:
                task = spawn(ours.readline)
                parked(task)
                os.write(master, b"y\n")
                assert task.get(timeout=5) == "y\n"
            assert os.get_blocking(slave)


def test_wrap_the_master_of_a_terminal(on: Run, terminal: tuple[int, int]) -> None:
    master, slave = terminal

    @on
    def body() -> None:
        theirs = open(os.dup(master), "r+b", buffering=0)  # noqa: SIM115 - it is closed by what is tested
        with file.wrap(theirs) as ours:
            task = spawn(ours.read, 100)
            parked(task)
            os.write(slave, b"prompt: ")
            assert task.get(timeout=5) == b"prompt: "
            ours.write(b"answer\n")
            assert os.read(slave, 100) == b"answer\n"


def test_wrap_the_file_of_a_socket(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other, file.wrap(one.makefile("rb")) as ours:
            task = spawn(ours.readline)
            parked(task)
            other.send(b"line\n")
            assert task.get(timeout=5) == b"line\n"


def test_wrap_refuses_what_has_no_descriptor(on: Run) -> None:
    @on
    def body() -> None:
        with pytest.raises(io.UnsupportedOperation):
            file.wrap(io.BytesIO())
        with pytest.raises(TypeError, match="open"):
            file.wrap(3)


# -- gevent's names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FileObject", "FileObjectPosix", "FileObjectThread"])
def test_the_names_of_gevent(on: Run, name: str, tmp_path: Path) -> None:
    @on
    def body() -> None:
        make = getattr(file, name)
        reader, writer = os.pipe()
        with make(reader, "rb") as source, make(writer, "wb", bufsize=0) as sink:
            task = spawn(source.read, 3)
            parked(task)
            sink.write(b"abc")
            assert task.get(timeout=5) == b"abc"
        with make(str(tmp_path / "file"), "w", encoding="latin-1") as made:
            made.write("ä")
        theirs = open(tmp_path / "file", "rb")  # noqa: SIM115 - it is closed by what is tested
        with make(theirs, "rb", close=False) as made:
            assert made.read() == b"\xe4"
        assert not theirs.closed
        theirs.close()


def test_a_read_of_a_pipe_by_a_thread_can_be_given_up(on: Run) -> None:
    @on
    def body() -> None:
        reader, writer = os.pipe()
        source = file.FileObjectThread(reader, "rb", 0)
        task = spawn(source.read, 1)
        parked(task)
        task.kill()
        os.write(writer, b"x")  # ends the thread
        os.close(writer)
        while "promise" in coopcore.get_hub().describe():
            sleep(0)
        source.close()


def test_the_plain_one(tmp_path: Path) -> None:
    with file.FileObjectBlock(str(tmp_path / "file"), "w") as made:
        assert type(made) is io.TextIOWrapper
        assert file.FileObjectBlock(made) is made
