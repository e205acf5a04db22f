"""coop_plugins.subprocess: the standard module's interface, and nobody is kept from running."""

from __future__ import annotations

import errno
import gc
import inspect
import io
import os
import signal
import subprocess as standard
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins import subprocess
from coop_plugins.subprocess import DEVNULL, PIPE, STDOUT, CalledProcessError, Popen, TimeoutExpired
from coopcore import Task, TaskExit, Timeout, current_task, get_hub, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError, HubError, ParkInHubError
from coopcore.lowlevel import keep_throwing, throw_in

Go = Callable[[Callable[[], Any]], Any]
BIG = bytes(range(256)) * 4096  # 1 MiB


def children() -> set[int]:
    """The processes that this one has started, ended ones that nobody has reaped among them. (Other tests' helpers, such as multiprocessing's, live on.)"""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended meanwhile, and another one has its children
            found |= {int(pid) for pid in (thread / "children").read_text().split()}
    return found


@pytest.fixture(params=["epoll", "selectors"])
def go(request: pytest.FixtureRequest) -> Go:
    """Run a function as the main task of a hub on this backend, and find no descriptor, promise or child left behind."""

    def run(main: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            before = set(os.listdir("/proc/self/fd"))
            with Timeout(20, AssertionError("the test hangs")):
                result = main()
            assert set(os.listdir("/proc/self/fd")) <= before
            assert "promise" not in coopcore.get_hub().describe()
            return result

        before = children()
        result = coopcore.run(guarded, backend=request.param)
        assert children() <= before
        return result

    return run


@pytest.fixture(params=["pidfd", "thread"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the end of a child is noticed."""
    if request.param == "thread":

        def refuse(pid: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, "not here")

        monkeypatch.setattr(os, "pidfd_open", refuse)
    return str(request.param)


def patient(**more: Any) -> Popen[bytes]:
    """A child that ends, with code 3, when it is told to: by ``finish``."""
    return Popen(["/bin/sh", "-c", "read line; exit 3"], stdin=PIPE, **more)


def finish(child: Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()


def until_parked(*tasks: Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        coopcore.sleep(0)


# -- the end of a child --------------------------------------------------------------------------------------------------------


def test_wait_returns_the_code_and_lets_others_run(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        assert child.poll() is None
        spawn(finish, child)
        assert child.wait() == 3
        assert (child.poll(), child.returncode, child.wait(), child.wait(timeout=0)) == (3, 3, 3, 3)

    go(main)


def test_invariant_1_every_waiter_is_woken(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        waiters = [spawn(child.wait) for _ in range(5)]
        until_parked(*waiters)
        finish(child)
        assert [task.get(timeout=10) for task in waiters] == [3] * 5

    go(main)


@pytest.mark.parametrize("victims", [[0], [0, 1], [1], [0, 1, 2], [2, 0]])
def test_invariant_1_every_waiter_is_woken_though_leaders_are_killed(go: Go, way: str, victims: list[int]) -> None:
    def main() -> None:
        child = patient()
        waiters = [spawn(child.wait) for _ in range(4)]
        until_parked(*waiters)
        for victim in victims:
            waiters[victim].kill(block=False)
        finish(child)
        assert [task.get(timeout=10) for number, task in enumerate(waiters) if number not in victims] == [3] * (4 - len(victims))

    go(main)


def test_invariant_1_a_leader_that_leaves_when_the_child_has_ended_already(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        waiters = [spawn(child.wait) for _ in range(3)]
        until_parked(*waiters)
        finish(child)
        try:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # blocks the hub, which then sees both at once
        except ChildProcessError:
            pass  # the thread was faster
        waiters[0].kill(block=False)
        assert [task.get(timeout=10) for task in waiters[1:]] == [3, 3]

    go(main)


def test_invariant_1_waiters_are_woken_though_somebody_else_polled(go: Go) -> None:
    def main() -> None:
        child = patient()
        waiters = [spawn(child.wait) for _ in range(2)]
        until_parked(*waiters)
        finish(child)
        while child.poll() is None:
            pass
        assert [task.get(timeout=10) for task in waiters] == [3, 3]

    go(main)


def test_invariant_2_no_pidfd_outlives_its_wait(go: Go) -> None:
    def main() -> None:
        child = patient()
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(TimeoutExpired):
                child.wait(timeout=0.001)
        assert set(os.listdir("/proc/self/fd")) <= before
        finish(child)
        child.wait()

    go(main)


def test_wait_with_a_timeout(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        for timeout in (0, 0.01, -1, Timeout(0.01), Timeout(0.01, False)):
            with pytest.raises(TimeoutExpired) as caught:
                child.wait(timeout)  # type: ignore[arg-type]  # a Timeout is accepted throughout
            assert caught.value.cmd == child.args
            assert isinstance(caught.value.timeout, (int, float))
        with pytest.raises(LookupError):
            child.wait(Timeout(0.01, LookupError))  # type: ignore[arg-type]  # as above
        with pytest.raises(TypeError, match="number of seconds"):
            child.wait("soon")  # type: ignore[arg-type]  # bad input is the test
        with pytest.raises(Timeout), Timeout(0.01):
            child.wait(timeout=5)
        finish(child)
        assert child.wait(timeout=10) == 3

    go(main)


def test_a_pending_child_is_no_deadlock_and_its_waiters_are_listed(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        waiters = [spawn(child.wait), spawn(child.wait)]
        until_parked(*waiters)
        assert waiters[1].waiting_on == f"the end of child {child.pid}"
        assert f"open promise: the end of child {child.pid}" in coopcore.get_hub().describe()
        waiters[0].kill()
        waiters[1].kill()
        assert "promise" not in coopcore.get_hub().describe()
        finish(child)
        child.wait()

    go(main)


def test_no_clock_jumps_past_a_child(way: str) -> None:
    """A virtual clock may jump when the hub waits and nothing outside is promised."""
    outsides: list[bool] = []

    class Clock:
        def now(self) -> int:
            return time.monotonic_ns()

        pressure = now

        def wait(self, backend: Any, deadline: int | None, outside: bool) -> Any:
            span = None if deadline is None else max(0, deadline - self.now())
            if span != 0:
                outsides.append(outside)
            return backend.poll(span)

    def main() -> None:
        def finish_when_the_hub_has_waited() -> None:
            while not outsides:
                coopcore.sleep(0.001)
            finish(reading)

        with Popen(["cat"], stdin=PIPE) as reading:
            spawn(finish_when_the_hub_has_waited)
            assert reading.wait(timeout=10) == 0
        with Popen(["/bin/sh", "-c", "sleep 0.02; echo x"], stdout=PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"x\n"
        assert subprocess.check_output(["sleep", "0.02"], timeout=10) == b""

    coopcore.run(main, backend="epoll", clock=Clock())
    assert all(outsides)


@pytest.mark.slow(reason="starts a hundred programs, twice for each backend")
def test_a_hundred_children_at_once(go: Go, way: str) -> None:
    def main() -> None:
        def one(n: int) -> int:
            return subprocess.call(["/bin/sh", "-c", f"exit {n}"])

        tasks = [spawn(one, n) for n in range(100)]
        coopcore.joinall(tasks, timeout=20)
        assert [task.value for task in tasks] == list(range(100))

    go(main)


def test_signals(go: Go) -> None:
    def main() -> None:
        for send, number in (
            (Popen.terminate, signal.SIGTERM),
            (Popen.kill, signal.SIGKILL),
            (lambda child: child.send_signal(signal.SIGUSR1), signal.SIGUSR1),
        ):
            with patient() as child:
                send(child)
                assert child.wait() == -number
                send(child)  # quiet once it has ended

    go(main)


def test_a_child_that_somebody_else_reaped(go: Go, way: str) -> None:
    def main() -> None:
        child = Popen(["true"])
        os.waitpid(child.pid, 0)
        assert child.wait(timeout=5) == 0  # unknown, and the standard module says 0

    go(main)


def test_a_thread_that_rings_after_its_hub_was_closed(way: str) -> None:
    def main() -> Popen[bytes]:
        child = patient()
        with pytest.raises(TimeoutExpired):
            child.wait(timeout=0.01)
        return child

    child = coopcore.run(main)
    finish(child)
    while child.returncode is None and way == "thread":
        time.sleep(0.001)  # the thread sets it, and then rings
    assert coopcore.run(child.wait) == 3


def test_two_hubs_wait_for_one_child(way: str) -> None:
    child = patient()
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(coopcore.run(child.wait))) for _ in range(2)]
    for thread in threads:
        thread.start()
    finish(child)
    for thread in threads:
        thread.join(10)
    assert codes == [3, 3]


def test_a_callback_on_the_hub_may_poll_and_not_wait(go: Go) -> None:
    def main() -> None:
        child = patient()
        seen: list[Any] = []

        def callback() -> None:
            seen.append(child.poll())
            with pytest.raises(ParkInHubError):
                child.wait()
            seen.append("done")

        coopcore.get_hub().call_soon(callback)
        while len(seen) < 2:
            coopcore.sleep(0)
        assert seen == [None, "done"]
        finish(child)
        assert child.wait() == 3

    go(main)


# -- links -------------------------------------------------------------------------------------------------------------------------


def test_wait_for_several_children_in_the_order_of_their_ends(go: Go, way: str) -> None:
    def main() -> None:
        first, second = patient(), patient()
        finish(second)
        assert coopcore.wait([first, second], count=1, timeout=10) == [second]
        assert coopcore.wait([first], timeout=0.01) == []
        finish(first)
        assert coopcore.wait([first], timeout=10) == [first]
        assert len(coopcore.wait([first, second], timeout=10)) == 2
        assert (first.returncode, second.returncode) == (3, 3)

    go(main)


def test_links_are_called_once_on_the_hub(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        calls: list[tuple[str, Popen[bytes]]] = []
        early, gone, late = (lambda popen, name=name: calls.append((name, popen)) for name in ("early", "gone", "late"))
        child.rawlink(early)
        child.rawlink(gone)
        child.unlink(gone)
        child.unlink(gone)
        finish(child)
        child.wait()
        while not calls:
            coopcore.sleep(0)
        child.rawlink(late)
        child.rawlink(gone)
        child.unlink(gone)
        while len(calls) < 2:
            coopcore.sleep(0)
        coopcore.sleep(0)
        assert calls == [("early", child), ("late", child)]
        with pytest.raises(TypeError, match="callable"):
            child.rawlink(None)  # type: ignore[arg-type]  # bad input is the test

    go(main)


def test_the_last_unlink_ends_the_watch_and_a_new_link_starts_one(go: Go, way: str) -> None:
    def main() -> None:
        child = patient()
        calls: list[Any] = []
        tasks = len(coopcore.get_hub().tasks())
        child.rawlink(calls.append)
        coopcore.sleep(0)
        child.unlink(calls.append)
        child.rawlink(calls.append)
        child.unlink(calls.append)
        coopcore.sleep(0)
        assert len(coopcore.get_hub().tasks()) == tasks
        child.rawlink(calls.append)
        finish(child)
        while not calls:
            coopcore.sleep(0.001)
        assert calls == [child]

    go(main)


def test_a_link_that_raises_is_reported_and_the_next_one_runs(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        child = patient()
        calls: list[Any] = []
        child.rawlink(lambda _: 1 / 0)
        child.rawlink(calls.append)
        finish(child)
        while not calls:
            coopcore.sleep(0.001)

    go(main)
    assert "ZeroDivisionError" in capsys.readouterr().err


# -- pipes -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bufsize", [0, 1, -1, 17, 100_000, None])
@pytest.mark.parametrize("text", [False, True])
def test_streams_are_those_of_the_standard_module(go: Go, bufsize: int | None, text: bool) -> None:
    def main() -> None:
        options: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE, "bufsize": -1 if bufsize == 1 and not text else bufsize, "text": text}
        with standard.Popen(["cat"], **options) as theirs, Popen(["cat"], **options) as ours:
            for name in ("stdin", "stdout"):
                mine, other = getattr(ours, name), getattr(theirs, name)
                for attribute in ("encoding", "errors", "line_buffering", "write_through", "mode", "closed"):
                    assert getattr(mine, attribute, None) == getattr(other, attribute, None)
                assert (mine.readable(), mine.writable(), mine.seekable(), mine.isatty()) == (
                    other.readable(),
                    other.writable(),
                    other.seekable(),
                    other.isatty(),
                )
                assert isinstance(mine, io.TextIOWrapper if text else io.IOBase)
            data: Any = "one\ntwo\n" if text else b"one\ntwo\n"
            ours.stdin.write(data)  # type: ignore[union-attr]  # made with PIPE
            ours.stdin.close()  # type: ignore[union-attr]  # as above
            assert list(ours.stdout) == data.splitlines(True)  # type: ignore[arg-type]  # as above

    go(main)


def test_a_line_buffered_text_pipe_converses(go: Go) -> None:
    def main() -> None:
        with Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=1, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for line in ("one\n", "two\n"):
                child.stdin.write(line)
                assert child.stdout.readline() == line
            child.stdin.close()
            assert child.stdout.readline() == ""

    go(main)


def test_reading_parks_the_task_only(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["cat"], stdin=PIPE, stdout=PIPE)
        assert child.stdin is not None
        assert child.stdout is not None
        reader = spawn(child.stdout.readline)
        until_parked(reader)
        child.stdin.write(b"hello\n")
        child.stdin.flush()
        assert reader.get(timeout=10) == b"hello\n"
        assert child.communicate(timeout=10) == (b"", None)

    go(main)


@pytest.mark.parametrize("bufsize", [0, -1])
def test_writing_more_than_a_pipe_holds_parks_the_task_only(go: Go, bufsize: int) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=bufsize)
        assert child.stdin is not None
        assert child.stdout is not None

        def write() -> None:
            assert child.stdin is not None
            assert child.stdin.write(BIG) == len(BIG)
            child.stdin.close()

        writer = spawn(write)
        until_parked(writer)
        chunks = []
        while chunk := child.stdout.read(10_000):
            chunks.append(chunk)
        assert (b"".join(chunks) == BIG) is True  # a megabyte is not worth a diff
        writer.get(timeout=10)
        child.stdout.close()
        assert child.wait() == 0

    go(main)


def test_tasks_that_write_at_the_same_time_take_turns(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "kill -STOP $$; exec cat"], stdin=PIPE, stdout=PIPE)
        stdin = child.stdin
        assert stdin is not None
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)  # nothing is read until it goes on
        writers = [spawn(stdin.write, bytes([65 + n]) * 100_000) for n in range(3)]
        until_parked(*writers)
        assert "its turn to write" in writers[1].waiting_on
        writers[1].kill()
        closer = spawn(lambda: (coopcore.joinall(writers), stdin.close()))
        child.send_signal(signal.SIGCONT)
        assert child.stdout is not None
        out = child.stdout.read()
        closer.get(timeout=10)
        child.stdout.close()
        child.wait()
        assert (len(out), out.count(b"A"), out.rstrip(b"C")) == (200_000, 100_000, b"A" * 100_000)

    go(main)


@pytest.mark.parametrize("bufsize", [0, -1])
@pytest.mark.parametrize("text", [False, True])
def test_invariant_3_a_read_that_is_interrupted_loses_nothing(go: Go, bufsize: int, text: bool) -> None:
    def main() -> None:
        child: Popen[Any] = Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=bufsize, encoding="utf-8" if text else None)
        assert child.stdin is not None
        assert child.stdout is not None
        raw = child.stdin.buffer if text else child.stdin
        pieces = ["häl".encode()[:2], "häl".encode()[2:], b"lo\n", b"end"]
        raw.write(b"line\nrest ")
        raw.flush()
        assert child.stdout.readline() == ("line\n" if text else b"line\n")
        for piece in pieces:
            raw.write(piece)
            raw.flush()
            with pytest.raises(Timeout), Timeout(0.01):
                child.stdout.read()
        child.stdin.close()
        expected = b"rest " + b"".join(pieces)
        assert child.stdout.read() == (expected.decode() if text else expected)
        child.stdout.close()
        child.wait()

    go(main)


def test_invariant_5_a_pipe_that_we_have_not_used_blocks(go: Go) -> None:
    """So that the classic pipeline works: the second child would get EAGAIN from a non-blocking stdin."""

    def main() -> None:
        with Popen(["/bin/sh", "-c", "sleep 0.05; echo hello"], stdout=PIPE) as first:
            assert first.stdout is not None
            assert os.get_blocking(first.stdout.fileno())
            with Popen(["tr", "a-z", "A-Z"], stdin=first.stdout, stdout=PIPE) as second:
                assert second.communicate(timeout=10) == (b"HELLO\n", None)

    go(main)


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_invariant_7_a_close_in_another_thread_tells_who_waits(go: Go, stream: str) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["sleep", "60"], stdin=PIPE, stdout=PIPE, bufsize=0)
        pipe: Any = getattr(child, stream)
        task: Task[Any] = spawn(pipe.read) if stream == "stdout" else spawn(pipe.write, BIG)
        until_parked(task)
        thread = threading.Thread(target=pipe.close)
        thread.start()
        with pytest.raises(ClosedResourceError):
            task.get(timeout=5)
        thread.join()
        assert pipe.closed
        child.kill()
        child.communicate(timeout=5)

    go(main)


def test_invariant_7_a_close_in_another_thread_where_nobody_waits_is_done_at_once(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["sh", "-c", "sleep 0.01; echo out"], stdout=PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"out\n"
        thread = threading.Thread(target=child.stdout.close)
        thread.start()
        thread.join()
        assert child.stdout.closed
        child.wait(timeout=5)

    go(main)


def test_invariant_6_an_endless_output_does_not_starve_others(go: Go) -> None:
    def main() -> None:
        with Popen(["yes"], stdout=PIPE) as child:
            output = None
            while output is None:  # until the child has come to life
                with pytest.raises(TimeoutExpired) as caught:
                    child.communicate(timeout=0.01)
                output = caught.value.output
            assert output.startswith(b"y\ny\n")
            assert child.stdout is not None
            lines = 0
            while not lines:  # until it was given the processor
                with pytest.raises(Timeout), Timeout(0.02):
                    for _ in child.stdout:
                        lines += 1
            child.kill()

    go(main)


def test_two_tasks_that_read_one_pipe(go: Go) -> None:
    def main() -> None:
        for bufsize, error in ((0, BusyResourceError), (-1, RuntimeError)):
            child: Popen[bytes] = Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=bufsize)
            assert child.stdout is not None
            reader = spawn(child.stdout.read, 1)
            until_parked(reader)
            with pytest.raises(error):
                child.stdout.read(1)
            reader.kill()
            finish(child)
            child.wait()
            child.stdout.close()

    go(main)


@pytest.mark.parametrize("bufsize", [0, -1])
def test_closing_a_pipe_tells_the_task_that_reads_it(go: Go, bufsize: int) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=bufsize)
        assert child.stdout is not None
        reader = spawn(child.stdout.read)
        until_parked(reader)
        child.stdout.close()
        child.stdout.close()
        with pytest.raises(ClosedResourceError):
            reader.get(timeout=10)
        finish(child)
        child.wait()
        with pytest.raises(ValueError, match="closed"):
            child.stdout.read()

    go(main)


def test_a_child_that_does_not_read(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["true"], stdin=PIPE, bufsize=0)
        assert child.stdin is not None
        child.wait()
        with pytest.raises(BrokenPipeError):
            child.stdin.write(b"x")
        child.stdin.close()
        with Popen(["true"], stdin=PIPE, stdout=PIPE) as other:
            assert other.communicate(BIG, timeout=10) == (b"", None)

    go(main)


# -- communicate ---------------------------------------------------------------------------------------------------------------------


def test_communicate_sends_and_receives_a_mebibyte_on_all_pipes(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "tee /dev/stderr"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        out, err = child.communicate(BIG, timeout=20)
        assert (out == BIG, err == BIG, child.returncode) == (True, True, 0)
        assert child.communicate() == (out, err)

    go(main)


@pytest.mark.parametrize(
    ("script", "pipes", "expected"),
    [
        ("echo out", {"stdout": PIPE}, (b"out\n", None)),
        ("echo err >&2", {"stderr": PIPE}, (None, b"err\n")),
        ("echo out; echo err >&2", {"stdout": PIPE, "stderr": PIPE}, (b"out\n", b"err\n")),
        ("echo out; echo err >&2", {"stdout": PIPE, "stderr": STDOUT}, (b"out\nerr\n", None)),
        ("echo out; echo err >&2", {"stdout": PIPE, "stderr": DEVNULL}, (b"out\n", None)),
        ("true", {}, (None, None)),
        ("read x", {"stdin": PIPE}, (None, None)),
        ("cat", {"stdin": DEVNULL, "stdout": PIPE}, (b"", None)),
    ],
)
def test_communicate_with_some_pipes(go: Go, script: str, pipes: dict[str, Any], expected: tuple[Any, Any]) -> None:
    assert go(lambda: Popen(["/bin/sh", "-c", script], **pipes).communicate(timeout=10)) == expected


def test_communicate_in_text_mode(go: Go) -> None:
    def main() -> None:
        script = ["/bin/sh", "-c", r"cat; printf 'a\r\nb\rc\n' >&2"]
        for option in ({"text": True}, {"universal_newlines": True}, {"encoding": "utf-8"}, {"errors": "strict"}):
            child: Popen[str] = Popen(script, stdin=PIPE, stdout=PIPE, stderr=PIPE, **option)  # type: ignore[call-overload]  # one option of four
            assert child.communicate("häl\nlo\n", timeout=10) == ("häl\nlo\n", "a\nb\nc\n")
        with Popen(["cat"], stdin=PIPE, stdout=PIPE, encoding="utf-16") as child:
            assert child.communicate("häl", timeout=10) == ("häl", None)
        with Popen(["printf", r"\377"], stdout=PIPE, encoding="utf-8", errors="replace") as child:
            assert child.communicate(timeout=10) == ("\ufffd", None)
        with pytest.raises(UnicodeDecodeError), Popen(["printf", r"\377"], stdout=PIPE, encoding="utf-8") as child:
            child.communicate(timeout=10)

    go(main)


@pytest.mark.parametrize("text", [False, True])
def test_communicate_after_a_part_was_read(go: Go, text: bool) -> None:
    def main() -> None:
        for pipes in ({"stdout": PIPE}, {"stdout": PIPE, "stderr": PIPE}):
            child: Popen[Any] = Popen(["printf", "one\ntwo\nthree\n"], text=text, **pipes)  # type: ignore[call-overload]  # pipes vary
            assert child.stdout is not None
            line, rest = child.stdout.readline(), child.communicate(timeout=10)[0]
            assert (line, rest) == (("one\n", "two\nthree\n") if text else (b"one\n", b"two\nthree\n"))

    go(main)


@pytest.mark.parametrize("text", [False, True])
def test_invariant_4_communicate_that_timed_out_goes_on_where_it_stopped(go: Go, tmp_path: Path, text: bool) -> None:
    def main() -> None:
        # It reads half of the input, tells, waits until it is told to go on, and copies the rest.
        os.mkfifo(tmp_path / "gate")
        gate = os.open(tmp_path / "gate", os.O_RDWR)
        script = "head -c 500000; echo told >&2; read line <gate; cat"
        child: Popen[Any] = Popen(["/bin/sh", "-c", script], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=text, cwd=tmp_path)
        data: Any = "x" * 1_000_000 if text else b"x" * 1_000_000
        with pytest.raises(TimeoutExpired) as caught:
            child.communicate(data, timeout=0.05)
        while caught.value.stderr is None or len(caught.value.output) < 500_000:
            with pytest.raises(TimeoutExpired) as caught:
                child.communicate(timeout=0.01)
        assert caught.value.stderr == b"told\n"
        assert caught.value.output == b"x" * 500_000
        with pytest.raises(ValueError, match="Cannot send input after starting communication"):
            child.communicate(data)
        os.write(gate, b"\n")
        out, err = child.communicate(timeout=10)
        assert (out == data, err) == (True, "told\n" if text else b"told\n")
        os.close(gate)

    go(main)


def test_invariant_4_communicate_that_was_killed_goes_on_where_it_stopped(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "echo begun; echo err >&2; kill -STOP $$; cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        task = spawn(child.communicate, BIG)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        until_parked(task)
        task.kill()
        os.kill(child.pid, signal.SIGCONT)
        out, err = child.communicate(timeout=10)
        assert (out == b"begun\n" + BIG, err) == (True, b"err\n")

    go(main)


def test_invariant_4_communicate_that_is_interrupted_twice_goes_on_where_it_stopped(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "echo out; echo err >&2; kill -STOP $$; cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        for last in (False, True):
            task = spawn(child.communicate, None if last else BIG)
            until_parked(task)
            throw_in(task, TaskExit())
            throw_in(task, ValueError("while its helpers end"))
            with pytest.raises(ValueError, match="while its helpers end"):
                task.get(timeout=5)
        os.kill(child.pid, signal.SIGCONT)
        out, err = child.communicate(timeout=10)
        assert (out == b"out\n" + BIG, err) == (True, b"err\n")
        assert get_hub().tasks() == [current_task()]

    go(main)


def test_invariant_4_a_kill_near_the_end_of_communicate_loses_nothing(go: Go) -> None:
    def main() -> None:
        for turns in range(1, 15):
            child: Popen[str] = Popen(["/bin/sh", "-c", "echo out; echo err >&2"], stdout=PIPE, stderr=PIPE, text=True)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # so that nothing has to be waited for
            task = spawn(child.communicate)
            for _ in range(turns):
                coopcore.sleep(0)
            task.kill()
            assert child.communicate(timeout=10) == ("out\n", "err\n")

    go(main)


def test_communicate_killed_again_and_again_at_every_wait(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "tee /dev/stderr"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        pending: bytes | None = BIG
        for waits in range(1, 40):
            task = spawn(child.communicate, pending)
            pending = None
            for _ in range(waits):
                coopcore.sleep(0)
            task.kill()
        out, err = child.communicate(timeout=10)
        assert (out == BIG, err == BIG) == (True, True)

    go(main)


def test_communicate_times_out_while_the_child_lives_on_without_pipes(go: Go, way: str) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "read line; exec 1>&-; read line"], stdin=PIPE, stdout=PIPE)
        gate: Any = child.stdin
        child.stdin = None  # so that it stays open
        gate.write(b"\n")
        gate.flush()
        with pytest.raises(TimeoutExpired) as caught:
            child.communicate(timeout=0.05)
        assert caught.value.output is None
        gate.close()
        assert child.communicate(timeout=10) == (b"", None)

    go(main)


def test_two_tasks_in_communicate(go: Go) -> None:
    def main() -> None:
        child: Popen[bytes] = Popen(["/bin/sh", "-c", "kill -STOP $$; echo out"], stdout=PIPE)
        first = spawn(child.communicate)
        until_parked(first)
        with pytest.raises(BusyResourceError):
            child.communicate()
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        child.send_signal(signal.SIGCONT)
        assert first.get(timeout=10) == (b"out\n", None)

    go(main)


def test_communicate_with_input_of_the_wrong_kind(go: Go) -> None:
    def main() -> None:
        for text, data, words in ((True, b"x", "must be str, not bytes"), (False, "x", "must be bytes-like, not str"), (False, 3, "bytes-like")):
            with Popen(["cat"], stdin=PIPE, stdout=PIPE, text=text) as child, pytest.raises(TypeError, match=words):
                child.communicate(data)  # type: ignore[arg-type]  # bad input is the test

    go(main)


def test_communicate_with_a_stream_that_was_closed_or_replaced(go: Go) -> None:
    def main() -> None:
        with Popen(["true"], stdin=PIPE, stdout=PIPE, stderr=PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.close()
            child.stdout.close()
            assert child.communicate(timeout=10) == (b"", b"")
        with Popen(["true"], stdout=PIPE) as other:
            ours, other.stdout = other.stdout, io.BytesIO()
            with pytest.raises(TypeError, match="was replaced"):
                other.communicate()
            assert ours is not None
            ours.close()

    go(main)


# -- starting -------------------------------------------------------------------------------------------------------------------------


def test_the_signature_is_the_standard_one() -> None:
    assert inspect.signature(Popen) == inspect.signature(standard.Popen)
    assert issubclass(Popen, standard.Popen)
    for name in standard.__all__:
        assert hasattr(subprocess, name)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["/no/such/file"], {}),
        (["no-such-command-anywhere"], {"stdout": PIPE, "stdin": PIPE}),
        (["/"], {}),
        (["true"], {"cwd": "/no/such/folder"}),
        (["true"], {"bufsize": "many"}),
        (["true"], {"pipesize": "many"}),
        (["true"], {"stdout": STDOUT}),
        (["true"], {"text": True, "universal_newlines": False}),
        (["true"], {"user": -1}),
        (["true"], {"group": 1.5}),
        (["true"], {"no_such_option": 1}),
        (["true"], {"env": {"a=b": "c"}}),
        ([], {}),
        (3, {}),
    ],
)
def test_bad_arguments_get_the_errors_of_the_standard_module(go: Go, args: Any, options: dict[str, Any]) -> None:
    def main() -> None:
        with pytest.raises(Exception) as theirs:
            standard.Popen(args, **options)
        with pytest.raises(theirs.type) as ours:
            Popen(args, **options)
        assert str(ours.value) == str(theirs.value)

    go(main)


def test_many_arguments_of_popen(go: Go, tmp_path: Path) -> None:
    def main() -> None:
        def out(args: Any, **options: Any) -> str:
            return str(subprocess.check_output(args, text=True, timeout=10, **options)).strip()

        assert out("echo $A", shell=True, env={"A": "b"}) == "b"
        assert out(["pwd"], cwd=tmp_path) == str(tmp_path)
        assert out(["sh", "-c", "umask"], umask=0o27) == "0027"
        assert out(["renamed", "-c", "echo $0"], executable="/bin/sh") == "renamed"
        pid, _, _, _, group = out(["cut", "-d ", "-f-5", "/proc/self/stat"], process_group=0).split()
        assert group == pid
        assert out(["sh", "-c", "echo x"], start_new_session=True, close_fds=True, restore_signals=False) == "x"
        reader, writer = os.pipe()
        assert out(["sh", "-c", f"echo passed >/dev/fd/{writer}"], pass_fds=[writer]) == ""
        os.close(writer)
        with open(reader, "rb") as file:
            assert file.read() == b"passed\n"
        assert out(["sh", "-c", "pwd"], preexec_fn=lambda: os.chdir(tmp_path)) == str(tmp_path)
        if os.getuid() == 0:
            assert out(["id", "-u"], user=65534, group=65534, extra_groups=[65534]) == "65534"
        path = tmp_path / "out"
        with path.open("wb") as file:
            assert subprocess.call(["echo", "to a file"], stdout=file) == 0
        with path.open("rb") as file:
            assert out(["cat"], stdin=file) == "to a file"

    go(main)


def test_pipesize(go: Go) -> None:
    import fcntl

    def main() -> None:
        with Popen(["true"], stdout=PIPE, pipesize=4096) as child:
            assert child.stdout is not None
            assert fcntl.fcntl(child.stdout.fileno(), fcntl.F_GETPIPE_SZ) == 4096

    go(main)


def test_a_popen_can_be_made_and_used_without_run() -> None:
    assert Popen(["echo", "x"], stdout=PIPE).communicate(timeout=10) == (b"x\n", None)


def test_a_popen_that_is_dropped_goes_at_once(go: Go) -> None:
    def main() -> weakref.ref[Popen[bytes]]:
        child: Popen[bytes] = Popen(["cat"], stdin=PIPE, stdout=PIPE)
        assert child.communicate(b"x", timeout=10) == (b"x", None)
        return weakref.ref(child)

    gc.disable()
    try:
        assert coopcore.run(main)() is None
    finally:
        gc.enable()
    del go


# -- with ---------------------------------------------------------------------------------------------------------------------------


def test_the_end_of_a_block_closes_the_pipes_and_waits(go: Go) -> None:
    def main() -> None:
        with Popen(["cat"], stdin=PIPE, stdout=PIPE) as child:
            pass
        assert child.returncode == 0
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdin.closed
        assert child.stdout.closed

    go(main)


def test_a_block_may_end_while_another_task_reads(go: Go) -> None:
    def main() -> None:
        with Popen(["cat"], stdin=PIPE, stdout=PIPE) as child:
            assert child.stdout is not None
            reader = spawn(child.stdout.read)
            until_parked(reader)
        with pytest.raises(ClosedResourceError):
            reader.get(timeout=10)

    go(main)


@pytest.mark.parametrize("verb", ["wait", "communicate", "block"])
def test_ctrl_c_gives_the_child_a_moment_and_goes_on(go: Go, verb: str) -> None:
    def main() -> None:
        child = Popen(["/bin/sh", "-c", "read line"], stdin=PIPE) if verb == "block" else patient(stdout=PIPE)

        def work() -> None:
            if verb == "block":
                with child:
                    coopcore.sleep(5)
            elif verb == "wait":
                child.wait()
            else:
                gate, child.stdin = child.stdin, None
                try:
                    child.communicate()
                finally:
                    child.stdin = gate

        task = spawn(work)
        until_parked(task)
        child._coop_grace = 0.02  # the default would do, slowly
        task.kill(KeyboardInterrupt, block=False)
        with pytest.raises(KeyboardInterrupt):
            coopcore.joinall([task], raise_error=True)
        assert child._coop_grace == 0
        finish(child)
        assert child.wait(timeout=10) in (1, 3)
        if child.stdout:
            child.stdout.close()

    go(main)


# -- functions ------------------------------------------------------------------------------------------------------------------------


def test_run(go: Go) -> None:
    def main() -> None:
        done = subprocess.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture_output=True)
        assert repr(done) == repr(standard.CompletedProcess(["sh", "-c", "cat; echo err >&2; exit 3"], 3, b"in", b"err\n"))
        with pytest.raises(CalledProcessError) as caught:
            subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True, check=True, text=True)
        assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (3, "out\n", "err\n")
        assert subprocess.run(["true"], check=True).stdout is None
        with pytest.raises(ValueError, match="stdin and input"):
            subprocess.run(["true"], input=b"", stdin=PIPE)
        with pytest.raises(ValueError, match="capture_output"):
            subprocess.run(["true"], capture_output=True, stdout=PIPE)

    go(main)


def test_functions_that_time_out_or_are_killed_end_their_child(go: Go) -> None:
    def main() -> None:
        script = ["sh", "-c", "echo begun; exec sleep 60"]
        for timeout in (0.05, 0.5, 5):  # as long as a busy machine needs to start the child
            with pytest.raises(TimeoutExpired) as caught:
                subprocess.run(script, stdout=PIPE, timeout=timeout)
            if caught.value.output:
                break
        assert caught.value.output == b"begun\n"
        with pytest.raises(TimeoutExpired):
            subprocess.check_output(script, timeout=0.01)
        with pytest.raises(TimeoutExpired):
            subprocess.call(["sleep", "60"], timeout=0.01)
        tasks = [spawn(subprocess.run, script, stdout=PIPE), spawn(subprocess.call, ["sleep", "60"])]
        until_parked(*tasks)
        coopcore.killall(tasks, timeout=10)

    go(main)


def test_call_and_its_kin(go: Go) -> None:
    def main() -> None:
        assert subprocess.call(["sh", "-c", "exit 3"]) == 3
        assert subprocess.check_call(["true"]) == 0
        for run in (lambda: subprocess.check_call(["false"]), lambda: subprocess.check_call(args=["false"])):
            with pytest.raises(CalledProcessError) as caught:
                run()
            assert (caught.value.returncode, caught.value.cmd) == (1, ["false"])
        assert subprocess.check_output(["cat"], input=b"in") == b"in"
        assert subprocess.check_output(["cat"], input=None) == b""
        assert subprocess.check_output(["cat"], input=None, text=True) == ""
        with pytest.raises(CalledProcessError) as caught:
            subprocess.check_output(["sh", "-c", "echo out; exit 2"])
        assert caught.value.output == b"out\n"
        for name in ("stdout", "check"):
            with pytest.raises(ValueError, match=f"{name} argument not allowed"):
                subprocess.check_output(["true"], **{name: 1})
        assert subprocess.getoutput("echo out; echo err >&2; exit 3") == "out\nerr"
        assert subprocess.getstatusoutput("echo out; exit 3") == (3, "out")
        assert subprocess.getstatusoutput("printf 'a\n\n'") == (0, "a\n")
        assert subprocess.getoutput(r"printf '\303\244'", encoding="utf-8") == "ä"

    go(main)


def test_program_10(go: Go) -> None:
    lines: list[str] = []

    def main() -> None:
        def cron() -> None:
            while True:
                lines.append("cron")
                coopcore.sleep(0.02)

        task = spawn(cron)
        out, _ = Popen(["sleep 0.3; uname"], stdout=PIPE, shell=True).communicate()
        task.kill()
        lines.append(out.decode().strip())

    go(main)
    assert lines[-1] == os.uname().sysname
    assert len(lines) >= 3
    assert sys.platform != "linux" or lines[-1] == "Linux"


# -- thrown at, again and again --------------------------------------------------------------------------------------------------


class Thrower:
    """A tracer that throws into one task at so many of its parks, one after the other, from the ``first`` on."""

    def __init__(self, first: int, times: int, throw: Callable[[Task[Any]], object]) -> None:
        self.first, self.times, self.throw = first, times, throw
        self.parks = 0
        self.task: Task[Any] | None = None

    def task_parked(self, task: Any) -> None:
        if task is self.task:
            self.parks += 1
            if self.first <= self.parks < self.first + self.times:
                self.throw(task)

    def ignore(self, *_: Any) -> None: ...

    task_spawned = task_started = task_unparked = task_exited = task_failed = ignore


class Again(BaseException):
    """What a cancelled scope throws, for instance: at every wait."""


def cancelled(task: Task[Any]) -> BaseException:
    return Again()


THROWS: dict[str, Callable[[Task[Any]], object]] = {
    "kills": lambda task: throw_in(task, TaskExit()),
    "timeouts": lambda task: throw_in(task, Timeout(0)),
    "interrupts": lambda task: throw_in(task, KeyboardInterrupt()),
    "a scope": lambda task: keep_throwing(task, cancelled),
    "a scope and kills": lambda task: (keep_throwing(task, cancelled), throw_in(task, TaskExit())),
}
SCRIPT = ["sh", "-c", "head -c 200000; exec sleep 60"]
CALLS: dict[str, Callable[[], Any]] = {
    "run": lambda: subprocess.run(SCRIPT, input=BIG, stdout=PIPE),
    "run with a timeout": lambda: subprocess.run(SCRIPT, input=BIG, stdout=PIPE, stderr=PIPE, timeout=0.02),
    "call": lambda: subprocess.call(["sleep", "60"]),
    "check_output": lambda: subprocess.check_output("echo text; exec sleep 60", shell=True, text=True, timeout=0.02),
    "getoutput": lambda: subprocess.getoutput("echo text; exec sleep 60"),
}


@pytest.mark.slow(reason="starts a program for each wait of each call, several times")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("throw", THROWS)
def test_no_call_leaves_a_zombie_or_a_descriptor_whatever_is_thrown_at_it(call: str, throw: str) -> None:
    for times in (1, 2, 4):
        first = 1
        while throw_at(CALLS[call], THROWS[throw], first, times):
            first += 1 if first < 3 else 2


def throw_at(call: Callable[[], Any], throw: Callable[[Task[Any]], object], first: int, times: int) -> bool:
    """Returns whether there was a park at which to throw."""
    thrower = Thrower(first, times, throw)

    def main() -> None:
        before, others = set(os.listdir("/proc/self/fd")), set(children())
        thrower.task = task = spawn(call)
        if not task.join(timeout=0.1):  # past its first parks
            task.kill()
        assert task.dead
        task.exc_info
        assert set(os.listdir("/proc/self/fd")) <= before
        assert set(children()) <= others

    try:
        coopcore.run(main, tracers=[thrower])
    except KeyboardInterrupt:
        assert throw is THROWS["interrupts"]
    return thrower.parks >= first


def test_a_child_that_cannot_be_killed_does_not_hold_up_who_is_killed_for_ever(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "_REAPING", -1)
    children: list[Popen[bytes]] = []

    class Undying(Popen[bytes]):
        def kill(self) -> None:
            children.append(self)

    def main() -> None:
        monkeypatch.setattr(subprocess, "Popen", Undying)
        task = spawn(subprocess.call, ["sleep", "60"])
        until_parked(task)
        for _ in range(3):  # its wait, the wait for its end, that of the block
            task.kill(block=False)
            coopcore.sleep(0.001)
        assert task.join(timeout=10)
        (child,) = children
        standard.Popen.kill(child)
        assert child.wait(timeout=10) == -signal.SIGKILL

    go(main)


def test_an_error_of_the_hub_is_not_put_off_by_the_wait_for_the_end_of_a_child(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    class Undying(Popen[bytes]):
        def kill(self) -> None:
            child.append(self)

    child: list[Popen[bytes]] = []

    def main() -> None:
        monkeypatch.setattr(subprocess, "Popen", Undying)
        task = spawn(subprocess.call, ["sleep", "60"])
        until_parked(task)
        task.kill(block=False)
        coopcore.sleep(0.001)
        for _ in range(2):  # there, and at the end of the block
            throw_in(task, HubError("for a test"))
            coopcore.sleep(0.001)
        with pytest.raises(HubError, match="for a test"):
            task.get(timeout=10)
        standard.Popen.kill(child[0])
        child[0].wait(timeout=10)

    go(main)


@pytest.mark.slow(reason="starts a hundred programs for each backend")
def test_a_hundred_children_at_once_with_pipes(go: Go) -> None:
    def main() -> None:
        def one(n: int) -> tuple[bytes, bytes]:
            done = subprocess.run(["/bin/sh", "-c", f"cat; echo {n} >&2"], input=str(n).encode() * 20_000, capture_output=True, timeout=30)
            return done.stdout, done.stderr

        tasks = [spawn(one, n) for n in range(100)]
        coopcore.joinall(tasks, timeout=30, raise_error=True)
        assert [task.value for task in tasks] == [(str(n).encode() * 20_000, b"%d\n" % n) for n in range(100)]

    go(main)


@pytest.mark.parametrize("broken", [None, "write", "flush", "close"])
def test_communicate_writes_to_whatever_was_put_in_the_place_of_stdin(go: Go, broken: str | None) -> None:
    """As the standard module does, which swallows a BrokenPipeError of each step."""
    steps: list[Any] = []

    class Other:
        closed = False

        def step(self, *step: str) -> None:
            steps.append(step)
            if step[0] == broken:
                raise BrokenPipeError

        write = lambda self, text: self.step("write", text)  # noqa: E731 - three of a kind
        flush = lambda self: self.step("flush")  # noqa: E731 - as above
        close = lambda self: self.step("close")  # noqa: E731 - as above

    def main() -> None:
        child: Any = Popen(["echo", "x"], stdout=PIPE, text=True)
        child.stdin = Other()
        assert child.communicate("text", timeout=10) == ("x\n", None)
        assert steps == [("write", "text"), ("flush",), ("close",)]

    go(main)
