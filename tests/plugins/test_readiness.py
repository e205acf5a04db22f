"""What select, selectors, file and os share: waits at descriptors, on an edge-triggered and a level-triggered backend."""

from __future__ import annotations

import gc
import os
import select as stdlib
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from seams.clock import JumpingClock

import coopcore
from coop_plugins import _readiness as readiness
from coopcore import TaskExit, Timeout, sleep, spawn
from coopcore.errors import ClosedResourceError
from coopcore.lowlevel import READABLE, WRITABLE

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; no descriptor or task may be left behind."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            before = set(os.listdir("/proc/self/fd"))
            with Timeout(20, AssertionError("the test hangs")):
                result = body()
            assert set(os.listdir("/proc/self/fd")) <= before
            return result

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return coopcore.run(guarded, backend=request.param)

    return run


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass


def parked(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        assert not any(task.dead for task in tasks), "it has ended without waiting"
        sleep(0)


class Place:
    """Waits that end as they are told to: an outcome, or what makes one; and notes how it was left."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[float | None] = []
        self.left = False

    @contextmanager
    def __call__(self) -> Iterator[readiness.Wait]:
        try:
            yield self.wait
        finally:
            self.left = True

    def wait(self, left: float | None) -> bool:
        self.asked.append(left)
        outcome = self.outcomes.pop(0)
        return bool(outcome() if callable(outcome) else outcome)


def test_invariant_1_it_is_asked_before_each_wait(on: Run) -> None:
    @on
    def body() -> None:
        answers = [None, None, "found"]
        place = Place(True, True)
        assert readiness.look_and_wait(lambda: answers.pop(0), place, None) == "found"
        assert place.asked == [None, None]
        untouched = Place()
        assert readiness.look_and_wait(lambda: "at once", untouched, None) == "at once"
        assert readiness.look_and_wait(lambda: None, untouched, 0) is None
        assert readiness.look_and_wait(lambda: None, untouched, -1) is None
        assert (untouched.asked, untouched.left) == ([], False)


def test_invariant_1_nobody_runs_between_the_question_and_the_park(on: Run, pipe: tuple[int, int]) -> None:
    """What happens between the two would be missed by an edge-triggered nest."""

    @on
    def body() -> None:
        reader, _ = pipe
        seen: list[str] = []

        def look() -> None:
            seen.append("look")

        def other() -> None:
            while len(seen) < 40:
                seen.append("other")
                sleep(0)

        task = spawn(other)
        with readiness.waiting_at({reader: stdlib.POLLIN}, "test", set()) as wait:

            @contextmanager
            def place() -> Iterator[readiness.Wait]:
                yield lambda left: (seen.append("wait"), wait(left))[1]

            readiness.look_and_wait(look, place, 0.001)
        task.get(timeout=5)
        assert "look,wait" in ",".join(seen)
        assert seen[seen.index("look") + 1] == "wait"


@pytest.mark.parametrize("end", ["wake", "timeout", "kill", "error"])
@pytest.mark.parametrize("way", ["nest", "watchers"])
def test_invariant_2_nothing_is_left_of_a_wait(on: Run, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, way: str, end: str) -> None:
    if way == "watchers":
        monkeypatch.setattr(readiness._Nest, "over", classmethod(lambda cls, interests, who: None))

    @on
    def body() -> None:
        reader, writer = pipe
        before = set(os.listdir("/proc/self/fd"))
        tasks_before = len(coopcore.get_hub().tasks())

        def wait() -> Any:
            with readiness.waiting_at({reader: stdlib.POLLIN, writer: stdlib.POLLPRI}, "test", set()) as wait:
                return wait(0.01 if end == "timeout" else None)

        task = spawn(wait)
        parked(task)
        if end == "wake":
            os.write(writer, b"x")
        elif end == "kill":
            task.kill()
        elif end == "error":
            coopcore.lowlevel.throw_in(task, LookupError("thrown in"))
        task.join(5)
        if end == "error":
            assert type(task.exception) is LookupError
        elif end == "kill":
            assert isinstance(task.get(), TaskExit)
        elif way == "nest":
            assert task.get() is (end == "wake")
        assert set(os.listdir("/proc/self/fd")) == before
        assert len(coopcore.get_hub().tasks()) == tasks_before


def test_invariant_3_a_timeout_bounds_the_whole_wait(on: Run) -> None:
    @on
    def body() -> None:
        looks: list[int] = []

        def a_while() -> bool:
            sleep(0.01)
            return True

        place = Place(a_while, a_while, a_while, lambda: False)
        assert readiness.look_and_wait(lambda: looks.append(1), place, 5) is None
        assert place.asked[0] <= 5  # type: ignore[operator]  # a number, since there is a timeout
        assert all(later < earlier for earlier, later in zip(place.asked, place.asked[1:], strict=False))  # type: ignore[operator]  # as above
        assert len(looks) == 5, "once more after the timeout"
        late = [None, "came with the timeout"]
        assert readiness.look_and_wait(lambda: late.pop(0), Place(False), 0.001) == "came with the timeout"
        place = Place(lambda: sleep(0.02) or True, False)
        readiness.look_and_wait(lambda: None, place, 0.01)
        assert place.asked[1] == 0


def test_invariant_3_it_counts_in_the_hubs_clock(pipe: tuple[int, int]) -> None:
    def main() -> Any:
        return readiness.look_and_wait(lambda: None, lambda: readiness.waiting_at({pipe[0]: stdlib.POLLIN}, "test", set()), 3600)

    before = time.monotonic()
    assert coopcore.run(main, clock=JumpingClock()) is None
    assert time.monotonic() - before < 5


def test_invariant_4_the_number_is_free_only_when_all_were_told(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        reader, _ = pipe
        waiters = readiness.Waiters()
        order: list[str] = []
        waits = threading.Event()

        def main() -> None:
            task = spawn(waiters.wait, reader, READABLE)
            parked(task)
            waits.set()
            task.join()
            order.append(f"{type(task.exception).__name__} while open: {bool(os.fstat(reader))}")

        thread = threading.Thread(target=coopcore.run, args=(main,))
        thread.start()
        while not waits.is_set():
            sleep(0)
        closed = threading.Event()
        waiters.close(reader, closed.set)
        assert closed.wait(5)
        thread.join(5)
        assert order == ["ClosedResourceError while open: True"]


def test_invariant_7_a_kill_at_the_turn_of_the_others_loses_nothing(on: Run) -> None:
    @on
    def body() -> None:
        taken: list[int] = []
        task = spawn(readiness.look_and_wait, lambda: taken.append(1) or True, Place(), 0)
        sleep(0)  # it has begun, and lets the others run before it looks
        assert (task.state, taken) == ("ready", [])
        task.kill()
        assert (isinstance(task.get(), TaskExit), taken) == (True, [])


def test_invariant_7_each_look_lets_the_others_run(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        os.write(pipe[1], b"x")
        for call in (lambda: readiness.look_and_wait(lambda: True, Place(), None), lambda: readiness.until_ready(pipe[0], READABLE)):
            others = spawn(sleep, 0)
            while not others.dead:
                call()


@pytest.mark.parametrize("reused", [True, False], ids=["its number goes to the nest", "its number is free"])
def test_a_descriptor_that_is_closed_between_the_look_and_the_wait(on: Run, pipe: tuple[int, int], reused: bool) -> None:
    """Only another thread could do that; here it is the look itself."""

    @on
    def body() -> None:
        looks: list[Any] = []

        def look() -> Any:
            looks.append(0)
            if len(looks) == 1:
                os.close(fd)
                return None
            return stdlib.select([], [], [], 0)

        fd = pipe[0] if reused else os.dup2(pipe[0], 500)
        assert readiness.look_and_wait(look, lambda: readiness.waiting_at({fd: stdlib.POLLIN}, "test", set()), 5) == ([], [], [])
        assert len(looks) == 2


def test_invariant_4_a_hub_that_was_closed_meanwhile(on: Run, pipe: tuple[int, int]) -> None:
    """The thread's hub is gone by the time that the object is closed, and so is who waited: it is closed all the same."""

    @on
    def body() -> None:
        waiters, closed, waits, go_on = readiness.Waiters(), [], threading.Event(), threading.Event()

        def elsewhere() -> None:
            def main() -> None:
                task = spawn(waiters.wait, pipe[0], READABLE)
                parked(task)
                waits.set()
                go_on.wait(5)
                task.kill()

            coopcore.run(main)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        while not waits.is_set():
            sleep(0)
        (hub,) = waiters._waiting
        go_on.set()
        thread.join(5)
        waiters._waiting[hub] = 1  # as if it had been seen a moment before it ended
        waiters.close(pipe[0], lambda: closed.append(True))
        assert closed == [True]


def test_invariant_4_a_wait_that_begins_after_the_close_is_refused(on: Run, pipe: tuple[int, int]) -> None:
    @on
    def body() -> None:
        waiters = readiness.Waiters()
        waiters.close(pipe[0], lambda: None)
        waiters.close(pipe[0], lambda: pytest.fail("twice"))
        with pytest.raises(ClosedResourceError, match="was closed while"):
            waiters.wait(pipe[0], READABLE)


def test_two_tasks_of_one_hub_at_one_object(on: Run) -> None:
    @on
    def body() -> None:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    one.send(b"x" * 65536)
            waiters = readiness.Waiters()
            tasks = [spawn(waiters.wait, one.fileno(), direction) for direction in (READABLE, WRITABLE)]
            parked(*tasks)
            tasks[0].kill()
            assert list(waiters._waiting.values()) == [1]
            tasks[1].kill()
            assert waiters._waiting == {}


def test_a_look_in_a_finaliser_that_the_collector_runs_is_allowed(on: Run) -> None:
    found: list[Any] = []

    class Careful:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            found.append(readiness.look_and_wait(lambda: "looked", Place(), 0))

    @on
    def body() -> None:
        gc.collect()
        Careful()
        gc.collect()
        assert found == ["looked"]
