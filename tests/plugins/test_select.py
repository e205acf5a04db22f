"""coop_plugins.select on real descriptors, on an edge-triggered and a level-triggered backend."""

from __future__ import annotations

import errno
import os
import select as stdlib
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins import _readiness, select
from coopcore import Timeout, sleep, spawn
from coopcore.errors import ClosedResourceError, Deadlock, ParkInHubError

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]

linux = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; no descriptor, task or promise may be left behind."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            before = open_descriptors()
            with Timeout(20, AssertionError("the test hangs")):
                result = body()
            assert open_descriptors() <= before
            assert "promise" not in coopcore.get_hub().describe()
            return result

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return coopcore.run(guarded, backend=request.param)

    return run


@pytest.fixture(params=["nest", "watchers"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How several descriptors are waited for."""
    if request.param == "watchers":
        monkeypatch.setattr(_readiness._Nest, "over", classmethod(lambda cls, interests, who: None))
    return str(request.param)


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.reader

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *args: object) -> None:
        for fd in (self.reader, self.writer):
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with Pipe() as made:
        yield made


def parked(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        assert not any(task.dead for task in tasks), "it has ended without waiting"
        sleep(0)


def a_closed_number() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd


# -- the module ---------------------------------------------------------------------------------------------------------


def test_every_name_of_the_standard_module_is_here() -> None:
    assert [name for name in dir(stdlib) if not name.startswith("_") and not hasattr(select, name)] == []
    assert select.EPOLLIN == stdlib.EPOLLIN
    assert select.error is OSError
    assert set(select.__all__) == {name for name in dir(stdlib) if not name.startswith("_")}


# -- select -------------------------------------------------------------------------------------------------------------


def test_select_parks_and_the_others_run(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        task = spawn(select.select, [pipe], [], [])
        parked(task)
        os.write(pipe.writer, b"x")
        assert task.get(timeout=5) == ([pipe], [], [])


def test_invariant_1_select_that_finds_something_does_not_park(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        os.write(pipe.writer, b"x")
        task = spawn(select.select, [pipe.reader], [pipe.writer], [])
        states = set()
        while not task.dead:
            states.add(task.state)
            sleep(0)
        assert "parked" not in states
        assert task.get() == ([pipe.reader], [pipe.writer], [])


def test_invariant_1_what_may_not_wait_does_not_park(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll, epoll = select.poll(), select.epoll()
        poll.register(pipe, select.POLLIN)
        epoll.register(pipe, select.EPOLLIN)
        results: list[Any] = []

        def look() -> None:
            results.append(select.select([pipe], [], [], 0))
            results.append(poll.poll(0))
            results.append(epoll.poll(0))

        task = spawn(look)
        while not task.dead:
            assert task.state != "parked"
            sleep(0)
        assert results == [([], [], []), [], []]
        epoll.close()


def test_invariant_1_looks_work_on_the_hub_and_waits_are_refused_there(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        results: list[Any] = []

        def callback() -> None:
            results.append(select.select([], [pipe.writer], [], None))
            results.append(select.select([pipe.reader], [], [], 0))
            with pytest.raises(ParkInHubError):
                select.select([pipe.reader], [], [])
            results.append("refused")

        coopcore.get_hub().call_soon(callback)
        while len(results) < 3:
            sleep(0)
        assert results == [([], [pipe.writer], []), ([], [], []), "refused"]


def test_select_takes_any_iterable_and_returns_the_objects_themselves(on: Run, way: str) -> None:
    @on
    def body() -> None:
        with Pipe() as one, Pipe() as other:
            task = spawn(select.select, iter([one, other]), (), {other.reader: None})
            parked(task)
            os.write(other.writer, b"x")
            found = task.get(timeout=5)
            assert found == ([other], [], [])
            assert all(type(each) is list for each in found)


def test_one_descriptor_in_several_lists_and_twice_in_one(on: Run, way: str) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    one.send(b"x" * 65536)
            task = spawn(select.select, [one, one.fileno()], [one], [])
            parked(task)
            other.send(b"y")
            assert task.get(timeout=5) == ([one, one.fileno()], [], [])
            task = spawn(select.select, [], [one, one], [])
            parked(task)
            with pytest.raises(BlockingIOError):
                while other.recv(1 << 20, socket.MSG_DONTWAIT):
                    pass
            one.recv(1)
            assert task.get(timeout=5) == ([], [one, one], [])


def test_select_for_writing(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        os.set_blocking(pipe.writer, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(pipe.writer, b"x" * 4096)
        task = spawn(select.select, [], [pipe.writer], [])
        parked(task)
        os.read(pipe.reader, 65536)
        assert task.get(timeout=5) == ([], [pipe.writer], [])


def test_the_exceptional_list_tells_urgent_data(on: Run, way: str) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
            served, _ = listener.accept()
            with served:
                client.send(b"ordinary")
                select.select([served], [], [])
                task = spawn(select.select, [], [], [served])
                parked(task)
                client.send(b"!", socket.MSG_OOB)
                assert task.get(timeout=5) == ([], [], [served])


@linux
def test_what_the_nest_cannot_leave_out_does_not_spin(on: Run, pipe: Pipe) -> None:
    """The hang-up of a pipe is no exceptional condition, yet epoll reports it always."""

    @on
    def body() -> None:
        os.close(pipe.writer)
        before = time.process_time()
        assert select.select([], [], [pipe.reader], 0.1) == ([], [], [])
        assert time.process_time() - before < 0.05


@pytest.mark.parametrize("timeout", [0, 0.0, 0.01, 1e-12])
def test_a_timeout_gives_three_empty_lists(on: Run, way: str, pipe: Pipe, timeout: float) -> None:
    @on
    def body() -> None:
        assert select.select([pipe], [], [], timeout) == ([], [], [])


def test_a_timeout_bounds_the_whole_wait_and_not_less(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        before = time.monotonic()
        assert select.select([pipe], [], [], 0.05) == ([], [], [])
        assert 0.05 <= time.monotonic() - before < 5


def test_what_watches_nothing_is_a_sleep(on: Run) -> None:
    @on
    def body() -> None:
        before = time.monotonic()
        assert select.select([], [], [], 0.02) == ([], [], [])
        assert select.poll().poll(20) == []
        assert time.monotonic() - before >= 0.04
        task = spawn(select.select, [], [], [])
        parked(task)
        assert task.waiting_on == "the end of its timeout: it watches nothing (select)"
        task.kill()


def test_what_watches_nothing_for_ever_is_a_deadlock() -> None:
    with pytest.raises(Deadlock, match="watches nothing"):
        coopcore.run(select.select, [], [], [])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([], [], [], -1), ValueError, "timeout must be non-negative"),
        (([], [], [], "soon"), TypeError, "timeout must be a float or None"),
        (([], [], [], float("nan")), ValueError, "NaN"),
        (([], [], [], 1e30), OverflowError, "timeout|timestamp"),
        (([], [], [], float("inf")), OverflowError, "timeout|timestamp"),
        ((1, [], []), TypeError, "arguments 1-3 must be sequences"),
        ((["no"], [], []), TypeError, "fileno"),
        (([-1], [], []), ValueError, "negative integer"),
        (([99999], [], []), ValueError, "out of range"),
        (([], [], [], 1, 2), TypeError, "."),
    ],
)
def test_bad_input_raises_what_the_standard_function_raises(on: Run, arguments: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        stdlib.select(*arguments)

    @on
    def body() -> None:
        with pytest.raises(error, match=words):
            select.select(*arguments)


def test_a_closed_descriptor_is_an_error_at_once(on: Run) -> None:
    @on
    def body() -> None:
        for lists in ([a_closed_number()], [], []), ([], [a_closed_number()], []), ([], [], [a_closed_number()]):
            with pytest.raises(OSError) as caught:
                select.select(*lists)
            assert caught.value.errno == errno.EBADF
        closed = socket.socket()
        closed.close()
        with pytest.raises(ValueError, match="negative"):
            select.select([closed], [], [])


def test_select_asks_for_numbers_once(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        asked = []

        class Counts:
            def fileno(self) -> int:
                asked.append(1)
                return pipe.reader

        counts = Counts()
        task = spawn(select.select, [counts, pipe], [], [counts])
        parked(task)
        before = len(asked)
        os.write(pipe.writer, b"x")
        assert task.get(timeout=5) == ([counts, pipe], [], [])
        assert len(asked) == before


def test_a_regular_file_is_always_ready(on: Run, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("text")

    @on
    def body() -> None:
        with open(tmp_path / "file") as file, Pipe() as pipe:
            assert select.select([file], [file], []) == ([file], [file], [])
            poll = select.poll()
            poll.register(file, select.POLLPRI)  # for this it never is
            poll.register(pipe, select.POLLIN)
            task = spawn(poll.poll)
            parked(task)
            os.write(pipe.writer, b"x")
            assert task.get(timeout=5) == [(pipe.reader, select.POLLIN)]


def test_select_is_killed(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        for lists in ([pipe], [], []), ([], [], []), ([], [], [pipe]):
            task = spawn(select.select, *lists)
            parked(task)
            task.kill()
            assert task.successful()
        with pytest.raises(Timeout), Timeout(0.01):
            select.select([pipe], [], [])
        os.write(pipe.writer, b"x")
        assert select.select([pipe], [], [], 5) == ([pipe], [], [])


def test_many_tasks_wait_for_one_descriptor(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        tasks = [spawn(select.select, [pipe.reader], [], []) for _ in range(5)]
        parked(*tasks)
        os.write(pipe.writer, b"x")
        assert [task.get(timeout=5) for task in tasks] == [([pipe.reader], [], [])] * 5


def test_many_watchers_of_one_descriptor(on: Run, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_readiness._Nest, "over", classmethod(lambda cls, interests, who: None))

    @on
    def body() -> None:
        tasks = [spawn(select.select, [pipe.reader], [], []) for _ in range(3)]
        parked(*tasks)
        os.write(pipe.writer, b"x")
        assert [task.get(timeout=5) for task in tasks] == [([pipe.reader], [], [])] * 3


def test_the_report_names_the_descriptors(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        task = spawn(select.select, [pipe.reader], [], [])
        parked(task)
        assert task.waiting_on == f"one of 1 descriptors: {pipe.reader} (select)"
        task.kill()
        assert _readiness._name(dict.fromkeys(range(9), 1), "poll") == "one of 9 descriptors: 0, 1, 2, 3, 4 ... (poll)"


def test_a_wait_at_a_descriptor_is_no_deadlock(pipe: Pipe) -> None:
    def main() -> Any:
        writer = threading.Thread(target=lambda: (time.sleep(0.05), os.write(pipe.writer, b"x")), daemon=True)
        writer.start()
        return select.select([pipe.reader], [], [])

    assert coopcore.run(main) == ([pipe.reader], [], [])


def test_a_loop_of_looks_starves_nobody(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        task = spawn(sleep, 0.01)
        while not task.dead:
            select.select([pipe], [], [], 0)


@linux
def test_without_a_descriptor_for_a_nest_it_goes_on(on: Run, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left, too deep a nest, no epoll at all: a task for each descriptor waits."""

    class Epoll:
        closed = True

        def register(self, fd: int, events: int) -> None:
            raise OSError(errno.ENOSPC, "no room")

        def close(self) -> None:
            pass

    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    class Without:
        def __getattr__(self, name: str) -> Any:
            if name == "epoll":
                raise AttributeError(name)
            return getattr(stdlib, name)

    class Standing(Without):
        def __init__(self, epoll: Any) -> None:
            self.epoll = epoll

    for module in (Standing(Epoll), Standing(refuse), Without()):
        with monkeypatch.context() as patch:
            patch.setattr(_readiness, "_stdlib", module)

            @on
            def body() -> None:
                task = spawn(select.select, [pipe.reader], [], [])
                parked(task)
                os.write(pipe.writer, b"x")
                assert task.get(timeout=5) == ([pipe.reader], [], [])
                os.read(pipe.reader, 1)


# -- poll ---------------------------------------------------------------------------------------------------------------


def test_poll_parks_and_the_others_run(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        task = spawn(poll.poll)
        parked(task)
        os.write(pipe.writer, b"x")
        assert task.get(timeout=5) == [(pipe.reader, select.POLLIN)]


def test_poll_reports_a_hang_up(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        task = spawn(poll.poll)
        parked(task)
        os.close(pipe.writer)
        assert task.get(timeout=5) == [(pipe.reader, select.POLLHUP)]


def test_poll_reports_an_error_though_no_event_was_asked_for(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        poll.register(pipe.writer, 0)
        task = spawn(poll.poll)
        parked(task)
        os.close(pipe.reader)
        assert task.get(timeout=5) == [(pipe.writer, select.POLLERR)]


def test_poll_reports_urgent_data(on: Run, way: str) -> None:
    @on
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
            served, _ = listener.accept()
            with served:
                poll = select.poll()
                poll.register(served, select.POLLPRI)
                task = spawn(poll.poll)
                parked(task)
                client.send(b"!", socket.MSG_OOB)
                assert task.get(timeout=5) == [(served.fileno(), select.POLLPRI)]


def test_poll_reports_what_is_not_open(on: Run) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        fd = a_closed_number()
        poll.register(fd)
        assert poll.poll() == [(fd, select.POLLNVAL)]


def test_register_modify_unregister(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        with pytest.raises(FileNotFoundError):
            poll.modify(pipe.writer, select.POLLOUT)
        with pytest.raises(KeyError):
            poll.unregister(pipe.writer)
        poll.register(pipe.writer, select.POLLIN)
        assert poll.poll(0) == []
        poll.register(pipe.writer)
        assert poll.poll(0) == [(pipe.writer, select.POLLOUT)]
        poll.modify(pipe.writer, select.POLLIN)
        assert poll.poll(10) == []
        poll.unregister(pipe.writer)
        assert poll.poll(10) == []


def test_poll_takes_milliseconds(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        before = time.monotonic()
        assert poll.poll(50) == []
        assert 0.05 <= time.monotonic() - before < 5
        for never in (None, -1, -0.5):
            with pytest.raises(Timeout), Timeout(0.01):
                poll.poll(never)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda poll: poll.poll("soon"), TypeError),
        (lambda poll: poll.poll(1 << 31), OverflowError),
        (lambda poll: poll.poll(1 << 64), OverflowError),
        (lambda poll: poll.poll(float("nan")), ValueError),
        (lambda poll: poll.register("no"), TypeError),
        (lambda poll: poll.register(-1), ValueError),
        (lambda poll: poll.register(0, -1), (OverflowError, ValueError)),  # the newest says ValueError
        (lambda poll: poll.register(0, 1 << 64), OverflowError),
    ],
)
def test_poll_refuses_what_the_standard_one_refuses(on: Run, call: Callable[[Any], Any], error: Any) -> None:
    @on
    def body() -> None:
        for poll in (stdlib.poll(), select.poll()):
            with pytest.raises(error):
                call(poll)


def test_an_object_whose_fileno_is_no_number() -> None:
    class Odd:
        def fileno(self) -> str:
            return "1"

    with pytest.raises(TypeError, match="non-integer"):
        select.poll().register(Odd())


def test_poll_is_killed(on: Run, way: str, pipe: Pipe) -> None:
    @on
    def body() -> None:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        task = spawn(poll.poll)
        parked(task)
        with pytest.raises(RuntimeError, match="concurrent poll"):
            poll.poll()
        task.kill()
        os.write(pipe.writer, b"x")
        assert poll.poll() == [(pipe.reader, select.POLLIN)]


# -- epoll --------------------------------------------------------------------------------------------------------------


@linux
def test_epoll_parks_and_the_others_run(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll:
            epoll.register(pipe, select.EPOLLIN)
            task = spawn(epoll.poll)
            parked(task)
            assert task.waiting_on.startswith("an event of <coop_plugins.select.epoll object at")
            os.write(pipe.writer, b"x")
            assert task.get(timeout=5) == [(pipe.reader, select.EPOLLIN)]


@linux
def test_what_is_registered_while_a_task_waits_counts(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll:
            task = spawn(epoll.poll)
            parked(task)
            epoll.register(pipe.writer)
            assert task.get(timeout=5) == [(pipe.writer, select.EPOLLOUT)]
            epoll.modify(pipe.writer, select.EPOLLIN)
            assert epoll.poll(0) == []
            task = spawn(epoll.poll)
            parked(task)
            epoll.modify(pipe.writer, select.EPOLLOUT)
            assert task.get(timeout=5) == [(pipe.writer, select.EPOLLOUT)]
            epoll.unregister(pipe.writer)
            assert epoll.poll(0.01) == []


@linux
def test_edge_triggered_and_one_shot(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll(flags=select.EPOLL_CLOEXEC) as epoll:
            epoll.register(pipe.reader, select.EPOLLIN | select.EPOLLET)
            os.write(pipe.writer, b"x")
            assert epoll.poll() == [(pipe.reader, select.EPOLLIN)]
            assert epoll.poll(0.01) == [], "once for each change"
            task = spawn(epoll.poll)
            parked(task)
            os.write(pipe.writer, b"y")
            assert task.get(timeout=5) == [(pipe.reader, select.EPOLLIN)]
            epoll.modify(pipe.reader, select.EPOLLIN | select.EPOLLONESHOT)
            assert epoll.poll() == [(pipe.reader, select.EPOLLIN)]
            os.write(pipe.writer, b"z")
            assert epoll.poll(0.01) == [], "once until it is modified"
            epoll.modify(pipe.reader, select.EPOLLIN | select.EPOLLONESHOT)
            assert epoll.poll() == [(pipe.reader, select.EPOLLIN)]


@linux
def test_exclusive(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll() as one, select.epoll() as other:
            for epoll in (one, other):
                epoll.register(pipe.reader, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            tasks = [spawn(epoll.poll, 5) for epoll in (one, other)]
            parked(*tasks)
            os.write(pipe.writer, b"x")
            assert [(pipe.reader, select.EPOLLIN)] in [task.get() for task in coopcore.joinall(tasks, timeout=5, count=1)]
            coopcore.killall(tasks)


@linux
def test_maxevents(on: Run) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll, Pipe() as one, Pipe() as other:
            for pipe in (one, other):
                epoll.register(pipe.writer, select.EPOLLOUT)
            assert len(epoll.poll(maxevents=1)) == 1
            assert len(epoll.poll(None, -1)) == 2
            for wrong in (0, -2):
                with pytest.raises(ValueError, match="greater than 0"):
                    epoll.poll(1, wrong)


@linux
def test_epoll_timeouts(on: Run) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll:
            before = time.monotonic()
            assert epoll.poll(0.02) == []
            assert epoll.poll(1e-9) == []
            assert 0.02 <= time.monotonic() - before < 5
            for never in (None, -1):
                with pytest.raises(Timeout), Timeout(0.01):
                    epoll.poll(never)
            with pytest.raises(TypeError, match="timeout must be"):
                epoll.poll("soon")  # type: ignore[arg-type]  # bad input is the test


@linux
def test_from_a_descriptor_that_exists(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        inner = stdlib.epoll()
        epoll = select.epoll.fromfd(os.dup(inner.fileno()))
        epoll.register(pipe.writer, select.EPOLLOUT)
        assert inner.poll(0) == epoll.poll() == [(pipe.writer, select.EPOLLOUT)]
        inner.close()
        epoll.close()


@linux
def test_the_errors_of_a_closed_one_and_of_registrations(on: Run, tmp_path: Any, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll, open(tmp_path / "file", "w") as file:
            assert not epoll.closed
            epoll.register(pipe)
            with pytest.raises(FileExistsError):
                epoll.register(pipe)
            with pytest.raises(FileNotFoundError):
                epoll.modify(pipe.writer, select.EPOLLIN)
            with pytest.raises(FileNotFoundError):
                epoll.unregister(pipe.writer)
            with pytest.raises(PermissionError):
                epoll.register(file)
            with pytest.raises(OSError) as caught:
                epoll.register(a_closed_number())
            assert caught.value.errno == errno.EBADF
        epoll.close()
        assert epoll.closed
        for call in (epoll.fileno, epoll.poll, epoll.__enter__, lambda: epoll.register(0), lambda: epoll.unregister(0)):
            with pytest.raises(ValueError, match="closed epoll"):
                call()


@linux
def test_an_epoll_in_an_epoll_and_in_a_select(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll() as inner, select.epoll() as outer:
            inner.register(pipe, select.EPOLLIN)
            outer.register(inner, select.EPOLLIN)
            tasks = [spawn(outer.poll), spawn(select.select, [inner], [], [])]
            parked(*tasks)
            os.write(pipe.writer, b"x")
            assert tasks[0].get(timeout=5) == [(inner.fileno(), select.EPOLLIN)]
            assert tasks[1].get(timeout=5) == ([inner], [], [])


@linux
def test_invariant_2_several_tasks_at_one_epoll(on: Run) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll, Pipe() as one, Pipe() as other, Pipe() as third:
            for pipe in (one, other, third):
                epoll.register(pipe, select.EPOLLIN | select.EPOLLONESHOT)
            tasks = [spawn(epoll.poll, None, 1) for _ in range(3)]
            parked(*tasks)
            for pipe in (one, other, third):
                os.write(pipe.writer, b"x")
            found = [task.get(timeout=5) for task in tasks]
            assert sorted(fd for ((fd, _),) in found) == sorted(pipe.reader for pipe in (one, other, third))


@linux
@pytest.mark.parametrize("victims", [[0], [1], [0, 1], [0, 2], [1, 0]])
def test_invariant_2_the_line_goes_on_when_its_leader_is_killed(on: Run, pipe: Pipe, victims: list[int]) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll:
            epoll.register(pipe, select.EPOLLIN)
            tasks = [spawn(epoll.poll) for _ in range(4)]
            parked(*tasks)
            for victim in victims:
                tasks[victim].kill(block=False)
            os.write(pipe.writer, b"x")
            left = [task for number, task in enumerate(tasks) if number not in victims]
            assert [task.get(timeout=5) for task in left] == [[(pipe.reader, select.EPOLLIN)]] * len(left)
            assert epoll._lines == {}


@linux
def test_a_follower_has_its_own_timeout(on: Run, pipe: Pipe) -> None:
    @on
    def body() -> None:
        with select.epoll() as epoll:
            epoll.register(pipe, select.EPOLLIN)
            leader = spawn(epoll.poll)
            parked(leader)
            assert epoll.poll(0.01) == []
            leader.kill()


@linux
def test_invariant_3_closing_wakes_all_who_wait(on: Run) -> None:
    @on
    def body() -> None:
        epoll = select.epoll()
        tasks = [spawn(epoll.poll) for _ in range(3)]
        parked(*tasks)
        epoll.close()
        for task in tasks:
            with pytest.raises(ClosedResourceError) as caught:
                task.get(timeout=5)
            assert caught.value.errno == errno.EBADF
        assert epoll.closed


@linux
def test_invariant_3_closing_wakes_the_tasks_of_other_threads(on: Run) -> None:
    @on
    def body() -> None:
        epoll = select.epoll()
        fd = epoll.fileno()
        waits, outcomes = threading.Event(), []

        def elsewhere() -> None:
            def main() -> None:
                task = spawn(epoll.poll)
                parked(task)
                waits.set()
                task.join()
                outcomes.append(task.exception)

            coopcore.run(main)

        threads = [threading.Thread(target=elsewhere) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not waits.is_set() or len(epoll._lines) < 2:
            sleep(0)
        own = spawn(epoll.poll)
        parked(own)
        epoll.close()
        with pytest.raises(ClosedResourceError):
            own.get(timeout=5)
        for thread in threads:
            thread.join(5)
        assert [type(outcome) for outcome in outcomes] == [ClosedResourceError] * 2
        with pytest.raises(OSError):
            os.fstat(fd)
