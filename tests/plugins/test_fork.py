"""Locks, queues and events after os.fork: what tasks of the parent held and waited for, in the child. Each program in an interpreter of its own."""

from __future__ import annotations

import textwrap

import pytest
from seams.processes import python

PRELUDE = """
import os, sys, threading
from coopcore import Deadlock, Timeout, killall, run, sleep, spawn
from coopcore.errors import LostInForkError
from coop_plugins.event import Event
from coop_plugins.lock import BoundedSemaphore, Condition, Lock, RLock, Semaphore
from coop_plugins.pool import Group
from coop_plugins.queue import Channel, Queue, SimpleQueue

def in_child(fn):
    def fork():
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0, "the child failed"
            return
        with Timeout(5):
            fn()
        os._exit(0)
    fork()
    thread = threading.Thread(target=fork)  # the child's only thread is another one than that of those who wait
    thread.start()
    thread.join()

def hold(thing):
    with thing:
        sleep(1000)

def main():
    tasks = []
    def start(fn, *args):
        tasks.append(spawn(fn, *args))
        sleep(0)
        return tasks[-1]
"""


def check(body: str) -> None:
    out, err = python(PRELUDE + textwrap.indent(textwrap.dedent(body), "    ") + "    killall(tasks)\n\nrun(main)\nprint('done')\n")
    assert (out, err) == ("done\n", "")


@pytest.mark.parametrize("make", ["Lock()", "RLock()", "Semaphore(1)", "BoundedSemaphore(1)", "Condition()", "Condition(Lock())"])
def test_what_the_code_that_forks_holds_it_holds_in_the_child_and_gives_to_nobody_of_the_parent(make: str) -> None:
    check(f"""
        thing = {make}
        with thing:
            start(hold, thing)
            pid = os.fork()
            if not pid and "RLock" in {make!r}:
                with thing:
                    assert thing._recursion_count() == 2
        if not pid:
            for _ in range(2):
                assert thing.acquire(timeout=1)
                thing.release()
            task = spawn(hold, thing)
            sleep(0)
            assert not thing.acquire(blocking=False)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """)


@pytest.mark.parametrize("make", ["Lock()", "RLock()", "Condition()"])
def test_a_wait_for_a_lock_that_a_task_of_the_parent_holds_is_refused_in_the_child(make: str) -> None:
    check(f"""
        thing = {make}
        start(hold, thing)
        start(hold, thing)
        def child():
            assert not thing.acquire(blocking=False)
            for wait in (thing.acquire, thing.__enter__, lambda: thing.acquire(timeout=1)):
                try:
                    wait()
                except LostInForkError as error:
                    assert "'hold" in str(error) and "of the parent" in str(error)
                else:
                    os._exit(1)
            thing._at_fork_reinit()
            with thing:
                pass
        in_child(child)
    """)


def test_a_lock_that_a_task_of_the_parent_holds_may_be_released_in_the_child() -> None:
    check("""
        lock = Lock()
        start(hold, lock)
        start(hold, lock)
        def child():
            lock.release()
            assert not lock.locked()
            with lock:
                assert not spawn(lock.acquire, timeout=0.001).get()
            assert spawn(lock.acquire, timeout=1).get()
        in_child(child)
        assert lock.locked()
    """)


def test_permits_that_tasks_of_the_parent_hold_are_not_in_the_child() -> None:
    check("""
        semaphore = Semaphore(2)
        start(hold, semaphore)
        start(hold, semaphore)
        start(hold, semaphore)
        def child():
            assert not semaphore.acquire(timeout=0.001)
            semaphore.release()
            assert semaphore.acquire(timeout=1)
            other = spawn(semaphore.acquire)
            sleep(0)
            semaphore.release()
            assert other.get(timeout=1)
        in_child(child)
    """)


def test_nobody_of_the_parent_takes_a_notification_in_the_child() -> None:
    check("""
        condition = Condition()
        def wait():
            with condition:
                condition.wait()
                return "told"
        start(wait)
        start(wait)
        def child():
            mine = spawn(wait)
            sleep(0)
            with condition:
                condition.notify()
            assert mine.get(timeout=1) == "told"
            with condition:
                assert not condition.wait(0.001)
        in_child(child)
    """)


def test_nobody_of_the_parent_who_was_notified_takes_the_lock_in_the_child() -> None:
    check("""
        condition = Condition()
        def wait():
            with condition:
                condition.wait()
        start(wait)
        with condition:
            condition.notify()
            pid = os.fork()
        if not pid:
            with condition:
                pass
            with condition:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """)


@pytest.mark.parametrize("kind", ["Queue(1)", "SimpleQueue()", "Channel()"])
def test_nobody_of_the_parent_takes_an_item_in_the_child(kind: str) -> None:
    check(f"""
        queue = {kind}
        start(queue.get)
        start(queue.get)
        def child():
            putter = spawn(queue.put, 7)
            assert queue.get(timeout=1) == 7
            getter = spawn(queue.get)
            sleep(0)
            queue.put(8)
            assert getter.get(timeout=1) == 8
        in_child(child)
    """)


@pytest.mark.parametrize("kind", ["Queue(1)", "Channel()"])
def test_what_a_task_of_the_parent_waits_to_put_stays_there(kind: str) -> None:
    check(f"""
        queue = {kind}
        start(queue.put, 1)
        start(queue.put, 2)
        def child():
            if queue.qsize():
                assert queue.get(timeout=1) == 1
            spawn(queue.put, 7)
            assert queue.get(timeout=1) == 7
        in_child(child)
    """)


def test_a_deadlock_in_the_child_is_one() -> None:
    check("""
        semaphore = Semaphore(0)
        start(semaphore.acquire)
        pid = os.fork()
        if not pid:
            try:
                semaphore.acquire()
            except Deadlock:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """)


def test_a_group_of_the_parent_is_no_obstacle_in_the_child() -> None:
    check("""
        group = Group()
        tasks.append(group.spawn(sleep, 1000))
        sleep(0)
        def child():
            group.kill(timeout=1)
            assert Group().spawn(lambda: 7).get(timeout=1) == 7
        in_child(child)
    """)
