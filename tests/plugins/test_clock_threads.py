"""Plain threads beside a virtual clock: it waits for one that can go on by itself, and for no other. (A test would take years if it did for too many.)"""

from __future__ import annotations

import queue
import re
import selectors
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import coopcore
from coop_plugins import clock
from coop_plugins.clock import VirtualClock, current_clock
from coop_plugins.event import AsyncResult, Event
from coop_plugins.threading import SimpleQueue
from coopcore import get_hub, sleep, spawn
from coopcore.lowlevel import IdleThread

YEARS = 10**9
YEAR = 3600 * 24 * 365
WHILE = 0.03  # that a thread takes


def virtually(body):
    return coopcore.run(body, clock="virtual")


def seconds():
    now = current_clock()
    assert now is not None
    return now.now() / 1e9


@contextmanager
def thread(fn, *args, **options):
    """One that runs meanwhile. It has to end by itself."""
    made = threading.Thread(target=fn, args=args, **options)
    made.start()
    try:
        yield made
    finally:
        made.join()


def held(start):
    """What a task waits for, with a timeout, comes from a thread that ``start(done)`` has started: the thread is waited for."""

    def body():
        done = Event()
        with start(done):
            assert done.wait(timeout=YEAR)
        assert seconds() < YEAR

    virtually(body)


# -- those that are waited for ---------------------------------------------------------------------------------------------------


def works(done):
    time.sleep(WHILE)
    done.set()


def computes(done):
    until = time.monotonic() + WHILE
    while time.monotonic() < until:
        pass
    done.set()


def waits_with_a_timeout(done):
    threading.Event().wait(WHILE)
    done.set()


def has_a_hub(done):
    sleep(WHILE)
    done.set()


def starts_another(done):
    time.sleep(WHILE / 2)
    other = threading.Thread(target=works, args=(done,))
    other.start()


@pytest.mark.parametrize("work", [works, computes, waits_with_a_timeout, has_a_hub, starts_another])
def test_clock_invariant_1_a_thread_that_can_go_on_by_itself(work):
    held(lambda done: thread(work, done))


def test_a_timer():
    @contextmanager
    def start(done):
        timer = threading.Timer(WHILE, done.set)
        timer.start()
        yield
        timer.join()

    held(start)


def test_a_result_and_a_call_from_a_thread():
    def body():
        result: AsyncResult[str] = AsyncResult()
        other = Event()
        hub = get_hub()

        def work():
            time.sleep(WHILE)
            result.set("by the thread")
            time.sleep(WHILE)
            hub.call_soon_threadsafe(other.set)

        with thread(work):
            assert result.get(timeout=YEAR) == "by the thread"
            assert other.wait(timeout=YEAR)

    virtually(body)


def test_a_thread_that_waited_and_was_woken_is_waited_for_at_once():
    """By what a task has done just before: the thread has had no time to run yet."""

    def body():
        jobs: queue.Queue[Event | None] = queue.Queue()

        def work():
            while (done := jobs.get()) is not None:
                time.sleep(WHILE / 10)
                done.set()

        with thread(work):
            for _ in range(20):
                sleep(YEAR)  # the thread waits
                done = Event()
                jobs.put(done)
                assert done.wait(timeout=0.5 * YEAR)
            jobs.put(None)

    virtually(body)


def test_so_is_one_that_waited_on_its_own_hub_or_for_a_lock_that_is_shared():
    def body():
        jobs: SimpleQueue[Event | None] = SimpleQueue()
        given = Event()

        def work_from_queue():
            while (done := jobs.get()) is not None:
                time.sleep(WHILE / 10)
                done.set()

        def work_on_a_hub():
            given.wait()
            time.sleep(WHILE)
            last.set()

        last = Event()
        with thread(work_from_queue), thread(work_on_a_hub):
            for _ in range(20):
                sleep(YEAR)
                done = Event()
                jobs.put(done)
                assert done.wait(timeout=0.5 * YEAR)
            jobs.put(None)
            sleep(YEAR)
            given.set()
            assert last.wait(timeout=0.5 * YEAR)

    virtually(body)


def test_when_it_ends_without_a_word_the_time_goes_on():
    def body():
        with thread(time.sleep, WHILE):
            sleep(YEARS)

    virtually(body)


def test_a_thread_that_works_holds_others_up_too():
    """Time is one for all tasks."""

    def body():
        done = Event()
        order = []
        spawn(lambda: (sleep(YEAR), order.append("late")))
        with thread(works, done):
            assert done.wait(timeout=2 * YEAR)
            order.append("woken")
        sleep(YEAR)
        assert order == ["woken", "late"]

    virtually(body)


# -- those that are not ----------------------------------------------------------------------------------------------------------


def test_one_that_waits_for_others():
    def body():
        end = threading.Event()
        with thread(end.wait):
            sleep(YEARS)
            end.set()

    virtually(body)


def test_one_that_joins_one_that_waits():
    """Through a queue, since of a join itself nobody can tell whom it is for."""

    def body():
        jobs: queue.Queue[int] = queue.Queue()

        def work():
            for _ in range(3):
                jobs.get()
                jobs.task_done()

        for number in range(3):
            jobs.put(number)
        with thread(jobs.join), thread(work):
            sleep(YEARS)

    virtually(body)


def test_one_that_waits_at_a_selector():
    def body():
        near, far = socket.socketpair()

        def serve():
            with selectors.DefaultSelector() as selector:
                selector.register(far, selectors.EVENT_READ)
                while not selector.select(0.5):  # as socketserver does
                    pass

        with near, far, thread(serve):
            sleep(YEARS)
            near.sendall(b"x")

    virtually(body)


def test_one_that_waits_for_connections():
    def body():
        with socket.create_server(("127.0.0.1", 0)) as listener, thread(lambda: listener.accept()[0].close()):
            sleep(YEARS)
            socket.create_connection(listener.getsockname()).close()

    virtually(body)


def test_one_that_waits_on_a_hub_of_its_own():
    def body():
        end = Event()
        with thread(end.wait):
            sleep(YEARS)
            end.set()

    virtually(body)


def test_one_that_waits_for_what_tasks_share_with_threads():
    def body():
        jobs: SimpleQueue[None] = SimpleQueue()
        with thread(jobs.get):
            sleep(YEARS)
            jobs.put(None)

    virtually(body)


def test_a_daemon():
    def body():
        over = threading.Event()

        def watch():
            while not over.wait(WHILE):
                pass

        with thread(watch, daemon=True):
            sleep(YEARS)
            over.set()

    virtually(body)


def test_one_that_was_there_before():
    over = threading.Event()

    def watch():
        while not over.wait(WHILE):
            pass

    with thread(watch):
        virtually(lambda: sleep(YEARS))
        over.set()


def test_one_that_says_that_it_is_idle():
    def body():
        over = threading.Event()

        def watch():
            with IdleThread():
                while not over.wait(WHILE):
                    pass

        with thread(watch):
            sleep(YEARS)
            over.set()

    virtually(body)


def test_the_workers_of_an_executor():
    def body():
        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            sleep(YEARS)
            executor.submit(time.sleep, WHILE)
            sleep(YEARS)

    virtually(body)


def test_waits_for_input_are_looked_at_once_and_not_before_each_jump():
    def body():
        with socket.create_server(("127.0.0.1", 0)) as listener, thread(lambda: listener.accept()[0].close()):
            for _ in range(1000):
                sleep(YEAR)
            socket.create_connection(listener.getsockname()).close()

    coopcore.run(body, clock=VirtualClock(settle=0.2))  # 200 seconds else


# -- what it says ----------------------------------------------------------------------------------------------------------------


def test_after_a_while_it_says_whom_it_waits_for(monkeypatch, capsys):
    monkeypatch.setattr(clock, "PATIENCE", 0)

    def body():
        over = threading.Event()

        def watch():
            while not over.wait(WHILE):
                pass

        now = current_clock()
        assert now is not None
        with thread(watch, name="the watch"):
            while not now._threads._is_told:
                sleep(WHILE)
            sleep(10 * WHILE)  # in which it says nothing more
            over.set()

    virtually(body)
    said = re.sub(r"at \S+:\d+ in \S+,", "at PLACE,", capsys.readouterr().err)
    assert said == (
        "coopcore: for 0 s the virtual clock has gone no faster than the real one, since thread 'the watch' is under way, at PLACE, and may wake a task. "
        "If it never will, make it a daemon, or start it before the hub; or patch the program, so that it is a task.\n"
    )
