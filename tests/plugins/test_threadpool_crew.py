"""The threads of a pool: who is started, who is idle, who ends; what happens to jobs, at a fork too."""

from __future__ import annotations

import _thread
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coop_plugins.threadpool import _crew
from coop_plugins.threadpool._crew import Crew
from coopcore.lowlevel import IdleThread


class Job:
    """Says when it was begun, and goes on when it may."""

    def __init__(self, number: int = 0, held: bool = False, then: Callable[[], object] = lambda: None) -> None:
        self.number = number
        self.begun = threading.Event()
        self.go = threading.Event()
        self.over = threading.Event()
        self.then = then
        self.thread = 0
        if not held:
            self.go.set()

    def run(self) -> None:
        self.thread = threading.get_ident()
        self.begun.set()
        assert self.go.wait(10)
        try:
            self.then()
        finally:
            self.over.set()

    def done(self) -> int:
        assert self.over.wait(10)
        return self.thread


@pytest.fixture
def crews() -> Iterator[Callable[..., Crew]]:
    made: list[Crew] = []

    def make(most: int, idle_timeout: float | None = None, **more: Any) -> Crew:
        made.append(Crew(most, idle_timeout, f"crew{len(made)}", **more))
        return made[-1]

    yield make
    for crew in made:
        crew.drop()
    for crew in made:
        until(lambda crew=crew: not len(crew))  # type: ignore[misc]  # lambdas have no types


def until(true: Callable[[], bool]) -> None:
    """Threads tell nobody that they are idle, or that they end."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def hold(crew: Crew, count: int) -> list[Job]:
    """Occupy so many threads."""
    jobs = [Job(held=True) for _ in range(count)]
    for job in jobs:
        crew.bring(job)
    for job in jobs:
        assert job.begun.wait(10)
    return jobs


def test_a_thread_says_whether_it_is_idle(crews: Callable[..., Crew]) -> None:
    crew = crews(1)
    (job,) = hold(crew, 1)
    ident = crew._idents.copy().pop()
    assert ident not in IdleThread.idents
    job.go.set()
    until(lambda: ident in IdleThread.idents)
    assert hold(crew, 1)[0].go.set() is None
    crew.drop()
    until(lambda: not len(crew))
    assert ident not in IdleThread.idents


def test_invariant_1_jobs_begin_in_order(crews: Callable[..., Crew]) -> None:
    crew = crews(1)
    (held,) = hold(crew, 1)
    order: list[int] = []
    jobs = [Job(number, then=lambda number=number: order.append(number)) for number in range(20)]  # type: ignore[misc]  # lambdas have no types
    for job in jobs:
        crew.bring(job)
    assert crew.waiting == 20
    held.go.set()
    jobs[-1].done()
    assert order == list(range(20))


def test_invariant_2_as_many_threads_as_there_are_jobs_and_no_more_than_most(crews: Callable[..., Crew]) -> None:
    crew = crews(3)
    assert len(crew) == 0
    held = []
    for count in (1, 2, 3):
        held += hold(crew, 1)
        assert len(crew) == count
    crew.bring(Job())
    assert (len(crew), crew.waiting) == (3, 1)
    for job in held:
        job.go.set()


def test_invariant_2_an_idle_thread_is_taken_before_one_is_started(crews: Callable[..., Crew]) -> None:
    crew = crews(3)
    for _ in range(20):
        job = Job()
        crew.bring(job)
        job.done()
        until(lambda: crew.idle == 1)
    assert len(crew) == 1


def test_invariant_2_fewer_than_there_are(crews: Callable[..., Crew]) -> None:
    crew = crews(3)
    held = hold(crew, 2)
    job = Job()
    crew.bring(job)
    job.done()
    until(lambda: crew.idle == 1)
    crew.resize(1)
    until(lambda: len(crew) == 2)  # the idle one has gone
    later = [Job(held=True), Job(held=True)]
    for job in later:
        crew.bring(job)
    held[0].go.set()
    until(lambda: len(crew) == 1)
    assert not later[0].begun.is_set()
    held[1].go.set()
    assert later[0].begun.wait(10)
    assert not later[1].begun.is_set()
    later[0].go.set()
    later[1].go.set()
    later[1].done()


def test_invariant_3_a_job_is_taken_when_there_may_be_more_threads(crews: Callable[..., Crew]) -> None:
    crew = crews(0)
    jobs = [Job(held=True), Job(held=True), Job(held=True)]
    for job in jobs:
        crew.bring(job)
    assert (len(crew), crew.waiting) == (0, 3)
    crew.resize(2)
    assert jobs[0].begun.wait(10)
    assert jobs[1].begun.wait(10)
    assert (len(crew), crew.waiting) == (2, 1)
    for job in jobs:
        job.go.set()
    jobs[2].done()


def test_invariant_3_a_trickle_of_jobs_and_threads_that_expire(crews: Callable[..., Crew]) -> None:
    # The time of a thread is over again and again while a job is brought.
    crew = crews(2, 0.0005)
    for number in range(300):
        job = Job()
        crew.bring(job)
        if number % 3:
            job.done()
        else:
            time.sleep(0.0005)
    job.done()


def test_invariant_4_an_idle_thread_ends(crews: Callable[..., Crew]) -> None:
    crew = crews(3, 0.01)
    held = hold(crew, 2)
    until(lambda: crew.idle == 0)
    for job in held:
        job.go.set()
    until(lambda: len(crew) == 0)
    job = Job()
    crew.bring(job)
    assert job.done()


def test_invariant_4_the_newest_idle_thread_is_taken(crews: Callable[..., Crew]) -> None:
    crew = crews(2)
    first, second = hold(crew, 2)
    first.go.set()
    until(lambda: crew.idle == 1)
    second.go.set()
    until(lambda: crew.idle == 2)
    for _ in range(3):
        job = Job()
        crew.bring(job)
        assert job.done() == second.thread
        until(lambda: crew.idle == 2)


def test_invariant_4_an_idle_thread_holds_nothing(crews: Callable[..., Crew]) -> None:
    crew = crews(1)
    job = Job()
    crew.bring(job)
    job.done()
    until(lambda: crew.idle == 1)
    gone = weakref.ref(job)
    del job
    gc.collect()
    assert gone() is None


def test_invariant_5_a_job_that_is_taken_back_is_not_run(crews: Callable[..., Crew]) -> None:
    crew = crews(1)
    (held,) = hold(crew, 1)
    jobs = [Job(), Job(), Job()]
    for job in jobs:
        crew.bring(job)
    assert crew.withdraw(jobs[1])
    assert not crew.withdraw(jobs[1])
    assert not crew.withdraw(held)
    held.go.set()
    jobs[2].done()
    assert [job.over.is_set() for job in jobs] == [True, False, True]


def test_invariant_5_jobs_that_are_dropped(crews: Callable[..., Crew]) -> None:
    crew = crews(1)
    (held,) = hold(crew, 1)
    jobs = [Job(), Job()]
    for job in jobs:
        crew.bring(job)
    assert crew.drop() == jobs
    held.go.set()
    until(lambda: len(crew) == 0)
    assert not jobs[0].begun.is_set()


def test_invariant_6_the_child_of_a_fork(crews: Callable[..., Crew]) -> None:
    crew = crews(2)
    held = hold(crew, 2)
    crew.bring(Job())
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            job = Job()
            before = (len(crew), crew.idle, crew.waiting)
            crew.bring(job)
            job.done()
            os.write(writer, repr((before, len(crew))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        assert said.read() == "((0, 0, 0), 1)"
    os.waitpid(child, 0)
    for job in held:
        job.go.set()


def test_invariant_7_told_to_end(crews: Callable[..., Crew]) -> None:
    crew = crews(2)
    ended = threading.Event()
    crew.on_end = ended.set
    held = hold(crew, 2)
    last = Job()
    crew.bring(last)
    crew.retire()
    held[0].go.set()
    last.done()
    until(lambda: len(crew) == 1)
    assert not ended.is_set()
    held[1].go.set()
    assert ended.wait(10)
    assert len(crew) == 0
    again = Job()
    crew.bring(again)
    again.done()
    until(lambda: crew.idle == 1)  # not told any more
    crew.retire()
    until(lambda: len(crew) == 0)


def test_a_number_of_threads_can_be_asked_for(crews: Callable[..., Crew]) -> None:
    crew = crews(4)
    crew.have(3)
    assert len(crew) == 3
    until(lambda: crew.idle == 3)
    held = hold(crew, 2)
    crew.have(1)
    until(lambda: len(crew) == 2)
    for job in held:
        job.go.set()
    until(lambda: len(crew) == 1)
    until(lambda: crew.idle == 1)
    crew.have(1)
    assert len(crew) == 1


def test_a_job_that_raises_is_told_and_the_thread_goes_on(crews: Callable[..., Crew], capfd: pytest.CaptureFixture[str]) -> None:
    def bad() -> None:
        raise SystemExit("on purpose")

    crew = crews(1)
    crew.bring(Job(then=bad))
    job = Job()
    crew.bring(job)
    job.done()
    assert len(crew) == 1
    assert "a job of thread pool 'crew0' was lost" in capfd.readouterr().err


def test_threads_know_their_crew_and_have_names(crews: Callable[..., Crew]) -> None:
    crew, other = crews(1), crews(1)
    seen: list[Any] = []
    job = Job(then=lambda: seen.append((crew.is_mine(), other.is_mine(), threading.current_thread().name, threading.current_thread().daemon)))
    crew.bring(job)
    job.done()
    assert seen == [(True, False, "crew0-1", True)]
    assert not crew.is_mine()


def test_a_first_call_in_each_thread(crews: Callable[..., Crew]) -> None:
    answers = iter([True, False, True])
    crew = crews(2, prepare=lambda: next(answers))
    job = Job()
    crew.bring(job)
    job.done()
    hold(crew, 1)[0].go.set()
    crew.resize(3)
    crew.have(2)  # that thread refuses to work
    until(lambda: len(crew) == 1)


def test_no_thread_can_be_started(crews: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    crew = crews(3)
    with monkeypatch.context() as patch:
        patch.setattr(_crew, "_start_thread", full)
        with pytest.raises(RuntimeError, match="new thread"):
            crew.bring(Job())
        with pytest.raises(RuntimeError, match="new thread"):
            crew.have(2)
    assert (len(crew), crew.waiting) == (0, 0)
    (held,) = hold(crew, 1)
    monkeypatch.setattr(_crew, "_start_thread", full)
    job = Job()
    crew.bring(job)  # the one thread that there is will take it
    held.go.set()
    job.done()
    assert len(crew) == 1


def test_an_interrupted_start_leaves_a_thread_that_ends(crews: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch) -> None:
    real = _crew._start_thread
    begun: list[Any] = []

    def interrupted(*args: Any) -> None:
        begun.append(args)
        raise KeyboardInterrupt

    crew = crews(1)
    monkeypatch.setattr(_crew, "_start_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crew.bring(Job())
    assert len(crew) == 0
    threads = set(threading.enumerate())
    real(*begun[0])
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
    assert crew.waiting == 1


def test_real_threads_though_the_modules_start_others(crews: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **named: Any) -> Any:
        raise AssertionError("not a real thread")

    known = threading.active_count()
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    monkeypatch.setattr(threading, "Thread", refuse)
    crew = crews(1, 0.001)
    job = Job(then=threading.current_thread)
    crew.bring(job)
    assert job.done() != threading.get_ident()
    until(lambda: not len(crew))
    until(lambda: threading.active_count() <= known)


def test_a_signal_handler_or_finaliser_that_brings_a_job_in_the_middle_of_it(crews: Callable[..., Crew]) -> None:
    crew = crews(2)
    job = Job()
    with crew._lock:
        crew.bring(job)
    job.done()


def test_many_bring_jobs_at_once(crews: Callable[..., Crew]) -> None:
    crew = crews(3, 0.0001)
    done: list[int] = []

    def bring() -> None:
        for number in range(300):
            crew.bring(Job(then=lambda number=number: done.append(number)))  # type: ignore[misc]  # lambdas have no types

    bringers = [threading.Thread(target=bring) for _ in range(5)]
    for bringer in bringers:
        bringer.start()
    for bringer in bringers:
        bringer.join(20)
    until(lambda: len(done) == 1500)
    assert len(crew) <= 3
