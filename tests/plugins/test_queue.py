"""SimpleQueue and Queue: their invariants by name, and what users of the standard library and of gevent know of them."""

from __future__ import annotations

import copy
import gc
import heapq
import pickle
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from seams.hubs import in_a_hub, in_another_thread
from seams.queues import drain, getters, putters

from coop_plugins.queue import Empty, Full, JoinableQueue, Queue, ShutDown, SimpleQueue
from coopcore import Deadlock, TaskExit, Timeout, get_hub, idle, run, sleep, spawn
from coopcore.errors import ParkInHubError, WrongThreadError
from coopcore.lowlevel import park, unpark


class Heap(Queue[Any]):
    """The smallest item first, through the hooks."""

    def _init(self, maxsize: int) -> None:
        self.queue = []

    def _put(self, item: Any) -> None:
        heapq.heappush(self.queue, item)

    def _get(self) -> Any:
        return heapq.heappop(self.queue)


class Plain(Queue[Any]):
    """A subclass that overrides no hook."""


class Hooked(Queue[Any]):
    """The same as Queue, but through the hooks."""

    def _put(self, item: Any) -> None:
        super()._put(item)


class HookedSimple(SimpleQueue[Any]):
    """The same as SimpleQueue, but through the hooks."""

    def _get(self) -> Any:
        return super()._get()


each_class = pytest.mark.parametrize("cls", [Queue, Plain, Hooked])
each_simple = pytest.mark.parametrize("cls", [SimpleQueue, HookedSimple, Queue, Plain, Hooked])


# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_hub
@each_class
@pytest.mark.parametrize("maxsize", [0, 1, 2, 5])
def test_simple_invariant_1_every_item_comes_out_once(cls: type[Queue[int]], maxsize: int) -> None:
    q = cls(maxsize)
    got: list[int] = []

    def consume() -> None:
        for _ in range(20):
            got.append(q.get())

    def produce(start: int) -> None:
        for item in range(start, start + 20):
            q.put(item)

    tasks = [spawn(produce, 0), spawn(consume), spawn(produce, 100), spawn(consume), spawn(produce, 200), spawn(consume)]
    for task in tasks:
        task.get(timeout=5)
    assert sorted(got) == [*range(20), *range(100, 120), *range(200, 220)]
    assert (q.qsize(), q.unfinished_tasks) == (0, 60)


@in_a_hub
@each_simple
@pytest.mark.parametrize("item", ["x", None, False, True, 0, ()])
def test_simple_invariant_2_a_wake_of_a_getter_is_final(cls: type[SimpleQueue[Any]], item: object) -> None:
    q = cls()
    log: list[object] = []

    def getter() -> None:
        log.append(q.get(timeout=5))
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(getter)
    idle()
    q.put(item)
    assert q.qsize() == 0, "it belongs to the getter, though that has not run yet"
    task.kill(block=False)
    idle()
    assert log == [item, "killed later"]


@in_a_hub
@each_simple
def test_simple_invariant_2_a_wake_of_a_putter_is_final(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(1, ["first"])
    log: list[object] = []

    def putter() -> None:
        log.append(q.put("second", timeout=5))
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(putter)
    idle()
    assert q.get() == "first"
    task.kill(block=False)
    idle()
    assert log == [None, "killed later"]
    assert drain(q) == ["second"]


@in_a_hub
@each_simple
def test_simple_invariant_3_no_getter_waits_while_there_is_an_item(cls: type[SimpleQueue[Any]]) -> None:
    q = cls()
    log: list[Any] = []
    getters(q, "ab", log)
    for item in (1, 2, 3):
        q.put(item)
    assert q.qsize() == 1
    with pytest.raises(Empty):
        q.get_nowait()
        q.get_nowait()
    idle()
    assert log == [("a", 1), ("b", 2)]


@in_a_hub
@each_simple
def test_simple_invariant_3_no_putter_waits_while_there_is_room(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(2)
    log: list[Any] = []
    putters(q, "abcd", log)
    assert (log, q.qsize()) == (["a", "b"], 2)
    assert q.get() == "a"
    assert q.qsize() == 2, "the room went to the first putter, though that has not run yet"
    with pytest.raises(Full):
        q.put_nowait("barging")
    idle()
    assert log == ["a", "b", "c"]
    q.maxsize = 3
    idle()
    assert log == ["a", "b", "c", "d"]
    q.maxsize = 4
    q.put_nowait("e")
    assert drain(q) == ["b", "c", "d", "e"]


@in_a_hub
@each_simple
def test_simple_invariant_4_getters_putters_and_items_keep_their_order(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(1)
    log: list[Any] = []
    putters(q, "uvwxyz", [])
    getters(q, "abcdef", log)
    assert log == list(zip("abcdef", "uvwxyz", strict=True))
    log.clear()
    getters(q, "abcdef", log)
    putters(q, "uvwxyz", [])
    assert log == list(zip("abcdef", "uvwxyz", strict=True))


@in_a_hub
@each_simple
def test_simple_invariant_5_at_most_maxsize_items(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(2, "abcd")
    assert (q.qsize(), q.full(), q.maxsize) == (4, True, 2)
    putters(q, "x", [])
    assert q.get() == "a"
    assert q.qsize() == 3, "made with more than it has room for: gets do not make room yet"
    assert [q.get(), q.get()] == ["b", "c"]
    assert drain(q) == ["d", "x"]
    q.maxsize = 3
    putters(q, "mno", [])
    q.maxsize = 1
    putters(q, "p", [])
    assert [q.get(), q.qsize(), q.get(), q.qsize()] == ["m", 2, "n", 1]
    assert drain(q) == ["o", "p"]


@in_a_hub
@each_class
def test_simple_invariant_6_a_wait_that_ended_without_an_outcome_has_left_its_line(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    log: list[Any] = []
    a, b, c = getters(q, "abc", log)
    with pytest.raises(Empty):
        q.get(timeout=0.001)
    with pytest.raises(Empty):
        q.peek(timeout=0.001)
    b.kill()
    a.kill(block=False)  # still in line, but not parked any more
    q.put("x")
    idle()
    assert log == [("c", "x")]
    assert c.dead
    q.put("y")
    log.clear()
    a, b, c = putters(q, "abc", log)
    with pytest.raises(Full):
        q.put("lost", timeout=0.001)
    b.kill()
    a.kill(block=False)
    assert q.get() == "y"
    idle()
    assert log == ["c"]
    assert drain(q) == ["c"]
    assert q.unfinished_tasks == 3


@in_a_hub
@each_simple
def test_simple_invariant_6_a_task_that_was_killed_is_not_woken_from_its_next_wait(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(1)
    elsewhere: list[object] = []

    def killed(wait: Callable[[], object]) -> None:
        try:
            wait()
        except TaskExit:
            elsewhere.append(park("something else"))

    for wait, pass_over in ((q.get, lambda: q.put("x")), (q.peek, lambda: q.put("x")), (lambda: q.put("y"), q.get)):
        task = spawn(killed, wait)
        idle()
        task.kill(block=False)
        pass_over()
        idle()
        drain(q)
        q.put("z")
        assert task.state == "parked"
        unpark(task, "the right wake")
        idle()
        assert elsewhere == ["the right wake"]
        elsewhere.clear()
        if wait == q.get:
            drain(q)
        elif wait == q.peek:
            assert q.full()


@in_a_hub
@each_class
@pytest.mark.parametrize("how", ["kill", "timeout"])
@pytest.mark.parametrize("call", ["get", "peek", "put", "join"])
def test_simple_invariant_6_nothing_is_given_to_a_task_that_waits_elsewhere_by_now(cls: type[Queue[Any]], call: str, how: str) -> None:
    q = cls(1, ["full"] if call in ("put", "join") else [])
    timeout = 0.001 if how == "timeout" else 5

    def waiter() -> object:
        try:
            ended = q.put("lost", timeout=timeout) if call == "put" else getattr(q, call)(timeout=timeout)
            assert ended is False  # join
        except (TaskExit, Empty, Full):
            pass
        return park("something else")

    task = spawn(waiter)
    idle()
    if how == "kill":
        task.kill(block=False)
    while "something else" not in task.waiting_on:
        sleep(0.0005)
    if call in ("get", "peek"):
        q.put("x")
        assert q.qsize() == 1
    else:
        assert q.get() == "full"
        assert q.empty()
        q.task_done()
    assert task.state == "parked"
    unpark(task, "the right wake")
    assert task.get(timeout=5) == "the right wake"


@in_a_hub
@each_class
def test_simple_invariant_7_a_call_that_raises_for_another_thread_has_changed_nothing(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    log: list[Any] = []
    getters(q, "a", log)
    for call in (lambda: q.put("x"), q.shutdown):
        assert isinstance(in_another_thread(call), WrongThreadError)
        assert (q.qsize(), q.unfinished_tasks, q.is_shutdown) == (0, 0, False)
    q.put("y")
    idle()
    assert log == [("a", "y")]
    q.put("first")
    log.clear()
    putters(q, "b", log)
    for call in (q.get, q.get_nowait, q.shutdown):
        assert isinstance(in_another_thread(call), WrongThreadError)
        assert (list(q.queue), q.unfinished_tasks, q.is_shutdown) == (["first"], 2, False)
    assert drain(q) == ["first", "b"]
    idle()
    assert log == ["b"]
    joiner = spawn(q.join)
    idle()
    q.task_done()
    q.task_done()
    assert isinstance(in_another_thread(q.task_done), WrongThreadError)
    assert q.unfinished_tasks == 1
    q.task_done()
    assert joiner.get(timeout=5) is True


@in_a_hub
@each_class
def test_simple_invariant_7_a_shutdown_for_another_threads_joiner_and_a_maxsize_for_its_putter_have_changed_nothing(cls: type[Queue[Any]]) -> None:
    q = cls(1, ["item"])
    joiner = spawn(q.join)
    idle()
    assert isinstance(in_another_thread(lambda: q.shutdown(immediate=True)), WrongThreadError)
    assert (list(q.queue), q.unfinished_tasks, q.is_shutdown) == (["item"], 1, False)
    putter = spawn(q.put, "more")
    idle()
    assert isinstance(in_another_thread(lambda: setattr(q, "maxsize", 2)), WrongThreadError)
    assert (q.maxsize, q.qsize()) == (1, 1)
    assert drain(q) == ["item", "more"]
    q.task_done()
    q.task_done()
    assert joiner.get(timeout=5) is True
    putter.get(timeout=5)


@in_a_hub
@each_class
def test_simple_invariant_7_all_who_wait_are_of_one_thread(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    log: list[Any] = []
    here = threading.current_thread().name

    def refused(*calls: Callable[[], object]) -> None:
        def main() -> None:
            for call in calls:
                with pytest.raises(WrongThreadError) as caught:
                    call()
                assert repr(threading.current_thread().name) in str(caught.value)
                assert repr(here) in str(caught.value)

        assert in_another_thread(lambda: run(main)) is None

    getters(q, "a", log)
    refused(lambda: q.get(timeout=5), lambda: q.peek(timeout=5))
    q.put("x")
    idle()
    q.put("y")
    putters(q, "b", log)
    refused(lambda: q.put("z", timeout=5), lambda: q.join(timeout=5))
    assert drain(q) == ["y", "b"]
    idle()
    assert log == [("a", "x"), "b"]


@in_a_hub
@each_class
def test_queue_invariant_1_join_waits_for_every_task_done(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    assert q.join() is True
    q.put(1)
    spawn(q.put, 2)
    idle()
    assert q.unfinished_tasks == 1, "an item that waits for room is not in yet"
    joiners = [spawn(q.join), spawn(q.join, 5)]
    assert q.join(timeout=0.001) is False
    assert q.join(0) is False
    q.get()
    assert q.unfinished_tasks == 2
    q.task_done()
    idle()
    assert [task.state for task in joiners] == ["parked", "parked"]
    q.get()
    q.task_done()
    q.put("more work")  # the joiners were woken; a wake is final
    assert [task.get(timeout=5) for task in joiners] == [True, True]
    q.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()
    assert q.unfinished_tasks == 0


@in_a_hub
def test_queue_invariant_1_a_joiner_that_was_killed_has_left() -> None:
    q = Queue[int]()
    q.put(1)
    killed, joiner = spawn(q.join), spawn(q.join)
    idle()
    killed.kill()
    assert isinstance(killed.value, TaskExit)
    q.task_done()
    assert joiner.get(timeout=5) is True


# -- put and get --------------------------------------------------------------------------------------------------------


def test_empty_and_full_are_those_of_the_standard_library() -> None:
    assert Empty is queue.Empty
    assert Full is queue.Full
    if sys.version_info >= (3, 13):
        assert ShutDown is queue.ShutDown
    else:
        assert issubclass(ShutDown, Exception)


@in_a_hub
@each_simple
def test_nothing_waits_with_block_false(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(1)
    for get in (q.get_nowait, lambda: q.get(False), lambda: q.get(block=False), lambda: q.get(False, 5), lambda: q.get(False, -1)):
        with pytest.raises(Empty):
            get()
    for peek in (q.peek_nowait, lambda: q.peek(False), lambda: q.peek(False, -1)):
        with pytest.raises(Empty):
            peek()
    q.put_nowait(1)
    for put in (lambda: q.put_nowait(2), lambda: q.put(2, False), lambda: q.put(2, block=False), lambda: q.put(2, False, -1), lambda: q.put(2, False, "a")):  # type: ignore[arg-type]  # a timeout is not looked at
        with pytest.raises(Full):
            put()
    assert drain(q) == [1]


@in_a_hub
@each_simple
def test_timeouts(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(1)
    for timeout in (0, 0.001, Timeout(0.001), Fraction(1, 1000)):
        with pytest.raises(Empty):
            q.get(timeout=timeout)  # type: ignore[arg-type]  # a Timeout does as well
        with pytest.raises(Empty):
            q.peek(True, timeout)  # type: ignore[arg-type]  # as above
    q.put(1, timeout=0.001)
    for timeout in (0, 0.001, Timeout(0.001)):
        with pytest.raises(Full):
            q.put(2, timeout=timeout)  # type: ignore[arg-type]  # as above
    assert q.peek(timeout=1) == 1
    assert q.get(timeout=float("inf")) == 1


@in_a_hub
@each_simple
@pytest.mark.parametrize("items", [[], [1]])
def test_negative_and_bad_timeouts_are_errors_with_and_without_need_to_wait(cls: type[SimpleQueue[Any]], items: list[int]) -> None:
    q = cls(1, items)
    for timeout, error in ((-1, ValueError), (-0.1, ValueError), (float("nan"), ValueError), ("soon", TypeError), ([], TypeError)):
        for call in (q.get, q.peek, lambda **kw: q.put(2, **kw)):
            with pytest.raises(error):
                call(timeout=timeout)
    assert list(q.queue) == items
    unbounded = cls()
    unbounded.put(1, timeout=-1)  # as in the standard library: it never waits, and does not look
    assert unbounded.qsize() == 1


@pytest.mark.parametrize("maxsize", ["1", 1.5, [], object()])
def test_the_size_is_an_int(maxsize: Any) -> None:
    with pytest.raises(TypeError, match="the size of a queue is an int"):
        Queue(maxsize)
    q = Queue[int](3)
    with pytest.raises(TypeError, match="the size of a queue is an int"):
        q.maxsize = maxsize
    assert q.maxsize == 3


@in_a_hub
@each_simple
@pytest.mark.parametrize(("maxsize", "shown"), [(0, 0), (-1, -1), (None, 0)])
def test_no_bound(cls: type[SimpleQueue[Any]], maxsize: int | None, shown: int) -> None:
    q = cls(maxsize)
    for item in range(100):
        q.put(item, False)
    assert (q.full(), q.maxsize, q.qsize()) == (False, shown, 100)
    q.maxsize = 1
    assert q.full()
    task = spawn(q.put, "late")
    idle()
    assert task.state == "parked"
    q.maxsize = maxsize  # type: ignore[assignment]  # None is taken as well
    idle()
    assert task.dead
    assert q.qsize() == 101


@in_a_hub
@each_class
def test_items_len_bool_and_the_rest(cls: type[Queue[Any]]) -> None:
    q = cls(3, "ab")
    assert (len(q), q.qsize(), q.empty(), q.full(), bool(q), list(q.queue), q.unfinished_tasks) == (2, 2, False, False, True, ["a", "b"], 2)
    q.put("c")
    assert (len(q), q.empty(), q.full()) == (3, False, True)
    drain(q)
    assert (len(q), q.empty(), q.full(), bool(q)) == (0, True, False, True)
    assert cls(0, "abc", 7).unfinished_tasks == 7
    assert repr(cls(2, "ab")).startswith(f"<{cls.__module__}.{cls.__qualname__} at 0x")
    assert repr(cls(2, "ab")).endswith(" items=2 maxsize=2>")
    assert repr(cls()).endswith(" items=0>")
    assert Queue[int]().empty()
    assert str(Queue()).startswith("<coop_plugins.queue.Queue at 0x")


@in_a_hub
@each_simple
def test_the_deque_may_be_changed_in_place(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(2, "ab")
    q.queue.clear()
    q.put("c")
    q.queue.appendleft("d")
    assert drain(q) == ["d", "c"]


@in_a_hub
@each_class
def test_iteration_ends_with_the_class_stopiteration(cls: type[Queue[Any]]) -> None:
    q = cls()
    task = spawn(lambda: list(q))
    for item in (1, False, None, StopIteration, 5):
        q.put(item)
    assert task.get(timeout=5) == [1, False, None]
    assert drain(q) == [5]
    q.shutdown()
    with pytest.raises(ShutDown):
        next(q)


@in_a_hub
@each_class
def test_copy(cls: type[Queue[Any]]) -> None:
    q = cls(3, "abc")
    q.get()
    task = spawn(q.put, "d")
    twin = q.copy()
    assert (type(twin), twin.maxsize, list(twin.queue), twin.unfinished_tasks) == (cls, 3, ["b", "c"], 3)
    twin.get()
    assert q.qsize() == 2
    task.join(timeout=5)


# -- peek ---------------------------------------------------------------------------------------------------------------


@in_a_hub
@each_simple
@pytest.mark.parametrize("item", ["x", False, None])
def test_peek_leaves_the_item(cls: type[SimpleQueue[Any]], item: object) -> None:
    q = cls(0, [item, "y"])
    assert (q.peek(), q.peek_nowait(), q.peek(False), q.qsize()) == (item, item, item, 2)
    drain(q)
    peekers = [spawn(q.peek), spawn(q.peek, True, 5)]
    idle()
    q.put(item)
    assert q.qsize() == 1
    assert [task.get(timeout=5) for task in peekers] == [item, item]
    assert q.get() is item


@in_a_hub
@each_simple
def test_peekers_stand_in_line_with_the_getters(cls: type[SimpleQueue[Any]]) -> None:
    q = cls()
    early = spawn(q.peek)
    idle()
    log: list[Any] = []
    getters(q, "a", log)
    late = spawn(q.peek)
    idle()
    q.put(1)
    idle()
    assert (early.value, log, late.state) == (1, [("a", 1)], "parked")
    q.put(2)
    idle()
    assert (late.value, q.qsize()) == (2, 1)


@in_a_hub
@each_simple
def test_a_peeker_can_be_killed(cls: type[SimpleQueue[Any]]) -> None:
    q = cls()
    killed, passed, other = spawn(q.peek), spawn(q.peek), spawn(q.peek)
    idle()
    killed.kill()
    passed.kill(block=False)
    q.put(1)
    assert other.get(timeout=5) == 1
    assert q.get() == 1


# -- shutdown -----------------------------------------------------------------------------------------------------------


@in_a_hub
@each_class
def test_queue_invariant_2_shutdown_lets_what_is_there_be_gotten(cls: type[Queue[Any]]) -> None:
    q = cls(3, "ab")
    assert q.is_shutdown is False
    q.shutdown()
    assert q.is_shutdown is True
    for put in (lambda: q.put("c"), lambda: q.put_nowait("c"), lambda: q.put("c", timeout=1)):
        with pytest.raises(ShutDown):
            put()
    assert (q.peek(), q.get(), q.get_nowait()) == ("a", "a", "b")
    for get in (q.get, q.get_nowait, q.peek, q.peek_nowait, lambda: q.get(timeout=1)):
        with pytest.raises(ShutDown):
            get()
    assert q.unfinished_tasks == 2
    q.task_done()
    q.task_done()
    assert q.join(timeout=1)
    q.shutdown()
    q.maxsize = 10
    with pytest.raises(ShutDown):
        q.put("d")
    assert repr(q).endswith(" shut down>")


@in_a_hub
@each_class
@pytest.mark.parametrize("immediate", [False, True])
def test_queue_invariant_2_shutdown_wakes_who_waits(cls: type[Queue[Any]], immediate: bool) -> None:
    empty, full = cls(1), cls(1, "a")
    waiting = [spawn(empty.get), spawn(empty.peek), spawn(empty.get, True, 5), spawn(full.put, "b"), spawn(full.put, "c", True, 5)]
    idle()
    empty.shutdown(immediate)
    full.shutdown(immediate=immediate)
    for task in waiting:
        with pytest.raises(ShutDown):
            task.get(timeout=5)
    assert list(full.queue) == ([] if immediate else ["a"])


@in_a_hub
@each_class
def test_queue_invariant_3_shutdown_does_not_take_back_what_was_handed_over(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    log: list[Any] = []
    getters(q, "a", log)
    q.put("x")
    q.shutdown(immediate=True)
    idle()
    assert log == [("a", "x")]


@in_a_hub
@each_class
def test_immediate_shutdown_counts_what_it_drops_as_done(cls: type[Queue[Any]]) -> None:
    q = cls(0, "abc")
    joiner = spawn(q.join)
    q.get()
    idle()
    q.shutdown(immediate=True)
    idle()
    assert (q.qsize(), q.unfinished_tasks, joiner.state) == (0, 1, "parked")
    q.task_done()
    assert joiner.get(timeout=5) is True
    dropped = cls(0, "abc")
    joiner = spawn(dropped.join)
    idle()
    dropped.shutdown(immediate=True)
    assert joiner.get(timeout=5) is True
    with pytest.raises(ShutDown):
        dropped.get()
    with pytest.raises(ValueError, match="too many"):
        dropped.task_done()
    uncounted = cls(0, "abc", 1)
    uncounted.shutdown(immediate=True)
    assert uncounted.unfinished_tasks == 0


# -- hooks --------------------------------------------------------------------------------------------------------------


@in_a_hub
def test_a_subclass_decides_the_order() -> None:
    heap = Heap(3, [5, 1])
    log: list[Any] = []
    heap.put(3)
    assert heap.peek() == 1
    late = spawn(heap.put, 0)
    idle()
    assert (heap.get(), heap.get(), heap.get(), heap.get()) == (1, 0, 3, 5)
    late.join(timeout=5)
    getters(heap, "ab", log)
    for item in (9, 8, 7):
        heap.put(item)
    idle()
    assert log == [("a", 9), ("b", 8)]
    assert heap.get() == 7


@in_a_hub
def test_an_item_for_a_waiting_getter_goes_through_the_hooks() -> None:
    class Doubling(Queue[int]):
        def _put(self, item: int) -> None:
            super()._put(item * 2)

    q = Doubling()
    peeked, got = spawn(q.peek), spawn(q.get)
    idle()
    q.put(4)
    assert (peeked.get(timeout=5), got.get(timeout=5)) == (8, 8)


@in_a_hub
def test_a_put_that_adds_nothing_leaves_the_getter_waiting() -> None:
    class Once(Queue[int]):
        def _put(self, item: int) -> None:
            if item not in self.queue and item != 0:
                super()._put(item)

    q = Once()
    got = spawn(q.get)
    idle()
    q.put(0)
    idle()
    assert got.state == "parked"
    q.put(1)
    assert got.get(timeout=5) == 1


class Failing(Queue[Any]):
    """Raises in a hook when told to."""

    fail_put = fail_get = False

    def _put(self, item: Any) -> None:
        if self.fail_put:
            raise RuntimeError("put")
        super()._put(item)

    def _get(self) -> Any:
        if self.fail_get:
            raise RuntimeError("get")
        return super()._get()


@in_a_hub
def test_a_hook_that_raises_does_so_in_the_task_whose_call_it_is() -> None:
    q = Failing(1)
    q.fail_put = True
    with pytest.raises(RuntimeError, match="put"):
        q.put(1)
    getter = spawn(q.get)
    idle()
    with pytest.raises(RuntimeError, match="put"):
        q.put(1)
    assert (getter.state, q.unfinished_tasks) == ("parked", 0)
    q.fail_put, q.fail_get = False, True
    q.put(2)
    with pytest.raises(RuntimeError, match="get"):
        getter.get(timeout=5)
    with pytest.raises(RuntimeError, match="get"):
        q.get()
    assert q.qsize() == 1
    putter = spawn(q.put, 3)
    idle()
    q.fail_get, q.fail_put = False, True
    assert q.get() == 2
    with pytest.raises(RuntimeError, match="put"):
        putter.get(timeout=5)
    assert (q.qsize(), q.unfinished_tasks) == (0, 1)


@in_a_hub
def test_a_hook_that_raises_in_get_loses_no_item_of_a_putter() -> None:
    q = Failing(1, ["a"])
    putter = spawn(q.put, "b")
    idle()
    q.fail_get = True
    with pytest.raises(RuntimeError, match="get"):
        q.get()
    q.fail_get = False
    idle()
    assert (putter.state, list(q.queue)) == ("parked", ["a"]), "nothing has changed"
    assert drain(q) == ["a", "b"]
    putter.get(timeout=5)


# -- in reports, on the hub, in memory ----------------------------------------------------------------------------------


def test_a_deadlock_report_says_what_is_waited_for() -> None:
    q = Queue[int](1)
    with pytest.raises(Deadlock) as caught:
        run(q.get)
    assert f"Queue.get of {q!r}" in str(caught.value)
    q.put(1)
    with pytest.raises(Deadlock) as caught:
        run(q.put, 2)
    assert f"Queue.put to {q!r}" in str(caught.value)
    with pytest.raises(Deadlock) as caught:
        run(q.join)
    assert f"task_done() of {q!r}, 1 of" in str(caught.value)


@in_a_hub
@each_class
def test_the_forms_that_do_not_wait_work_on_the_hub(cls: type[Queue[Any]]) -> None:
    q, full = cls(), cls(1, "a")
    log: list[Any] = []
    done: list[Any] = []
    getters(q, "a", log)
    putters(full, "b", done)

    def on_hub() -> None:
        q.put_nowait("x")
        q.put_nowait("y")
        log.append(full.get_nowait())
        log.append(full.peek_nowait())
        log.append(q.get_nowait())
        for call in (q.get, q.peek, q.join, lambda: full.put("c")):
            with pytest.raises(ParkInHubError):
                call()
        log.append("done")

    get_hub().call_soon(on_hub)
    idle()
    assert log == ["a", "b", "y", "done", ("a", "x")]
    assert done == ["b"]
    q.put("z")
    assert drain(q) == ["z"]


def test_a_queue_that_nobody_waits_for_needs_no_hub() -> None:
    def use() -> None:
        q = Queue[int](1)
        q.put(1)
        with pytest.raises(Full):
            q.put_nowait(2)
        assert q.get() == 1

    assert in_another_thread(use) is None


@in_a_hub
@each_class
def test_a_queue_is_freed_without_the_collector(cls: type[Queue[Any]]) -> None:
    gc.disable()
    try:
        q = cls(1)
        getters(q, "a", [])
        putters(q, "xy", [])
        spawn(q.put, "z")
        q.get()
        q.get()
        spawn(q.join)
        idle()
        q.unfinished_tasks = 1
        q.task_done()
        idle()
        gone = weakref.ref(q)
        del q
        assert gone() is None
    finally:
        gc.enable()


# -- shutdown, as Python 3.13 has it ------------------------------------------------------------------------------------


@in_a_hub
@each_class
def test_queue_invariant_2_shutdown_comes_before_any_other_error(cls: type[Queue[Any]]) -> None:
    q = cls(1, ["a"])
    q.shutdown()
    for put in (lambda: q.put("b", timeout=-1), lambda: q.put("b", False), lambda: q.put("b", timeout=0)):
        with pytest.raises(ShutDown):
            put()
    with pytest.raises(ValueError, match="non-negative"):
        q.get(timeout=-1)  # there is an item, so that it is not over yet
    assert q.get(timeout=1) == "a"
    for get in (lambda: q.get(timeout=-1), lambda: q.get(False), lambda: q.peek(timeout=-1), lambda: q.get(timeout=0)):
        with pytest.raises(ShutDown):
            get()


@in_a_hub
@each_class
def test_queue_invariant_2_a_second_shutdown_may_be_immediate(cls: type[Queue[Any]]) -> None:
    q = cls(0, "ab")
    joiner = spawn(q.join)
    idle()
    q.shutdown()
    idle()
    assert (q.qsize(), q.unfinished_tasks, joiner.state) == (2, 2, "parked"), "who joins waits on, as before"
    q.shutdown(immediate=True)
    q.shutdown()
    assert (q.qsize(), q.unfinished_tasks, q.is_shutdown, joiner.get(timeout=5)) == (0, 0, True, True)
    assert q.join() is True


@in_a_hub
@each_class
def test_queue_invariant_2_what_a_getter_of_a_shut_down_queue_takes_lets_nobody_in(cls: type[Queue[Any]]) -> None:
    q = cls(1, ["a"])
    putter = spawn(q.put, "b")
    idle()
    q.shutdown()
    assert q.get() == "a"
    with pytest.raises(ShutDown):
        putter.get(timeout=5)
    assert (q.qsize(), q.unfinished_tasks) == (0, 1), "what never came in was never counted"


@in_a_hub
@each_class
def test_every_waiter_gets_a_shutdown_of_its_own(cls: type[Queue[Any]]) -> None:
    q = cls()
    tasks = [spawn(q.get) for _ in range(3)]
    idle()
    q.shutdown()
    for task in tasks:
        task.join(timeout=5)
    assert len({id(task.exception) for task in tasks}) == 3


@in_a_hub
def test_a_hook_that_raises_in_an_immediate_shutdown_leaves_the_rest() -> None:
    q = Failing(0, "abc")
    q.fail_get = True
    with pytest.raises(RuntimeError, match="get"):
        q.shutdown(immediate=True)
    assert (q.is_shutdown, q.qsize(), q.unfinished_tasks) == (True, 3, 3)
    q.fail_get = False
    q.shutdown(immediate=True)
    assert (q.qsize(), q.unfinished_tasks) == (0, 0)


# -- what gevent's users know of all of them ----------------------------------------------------------------------------


def test_a_joinable_queue_is_a_queue() -> None:
    assert JoinableQueue is Queue
    assert issubclass(Queue, SimpleQueue)


@in_a_hub
def test_a_simple_queue_is_unbounded_unless_told_and_counts_nothing() -> None:
    q = SimpleQueue[int]()
    for item in range(50):
        q.put(item, False, -1)  # as in the standard library: what never waits looks at neither
    assert (q.qsize(), q.maxsize, q.full(), q.is_shutdown) == (50, 0, False, False)
    assert SimpleQueue(2, "abc").full()
    assert SimpleQueue(items=[1, 2]).get() == 1
    assert [name for name in ("join", "task_done", "shutdown", "unfinished_tasks") if hasattr(q, name)] == []
    twin = SimpleQueue(2, "ab").copy()
    assert (type(twin), twin.maxsize, list(twin.queue)) == (SimpleQueue, 2, ["a", "b"])
    assert repr(SimpleQueue(2, [1])).startswith("<coop_plugins.queue.SimpleQueue at 0x")


@in_a_hub
@each_simple
def test_a_put_wakes_a_getter_and_runs_on(cls: type[SimpleQueue[Any]]) -> None:
    q = cls()
    log: list[Any] = []
    getters(q, "a", log)
    q.put_nowait("x")
    log.append("the putter goes on")
    idle()
    assert log == ["the putter goes on", ("a", "x")]


@in_a_hub
@each_simple
def test_room_that_is_made_in_place_is_found_by_the_next_get(cls: type[SimpleQueue[Any]]) -> None:
    q = cls(2, "ab")
    log: list[Any] = []
    putters(q, "cd", log)
    q.queue.clear()
    assert (q.peek(), q.get(), q.get()) == ("c", "c", "d")
    idle()
    assert log == ["c", "d"]
    with pytest.raises(Empty):
        q.get(timeout=0)


@each_simple
def test_copying_it_by_other_means_is_refused(cls: type[SimpleQueue[Any]]) -> None:
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot copy or pickle"):
            way(cls())


@in_a_hub
def test_a_subclass_may_keep_its_items_in_something_else() -> None:
    class Unique(Queue[str]):
        def _init(self, maxsize: int) -> None:
            self.kept: dict[str, None] = {}

        def _qsize(self) -> int:
            return len(self.kept)

        def _put(self, item: str) -> None:
            self.kept[item] = None

        def _get(self) -> str:
            return self.kept.popitem()[0]

        def _peek(self) -> str:
            return next(reversed(self.kept))

    q = Unique(2, ["a", "a", "b"])
    log: list[Any] = []
    putters(q, "c", log)
    assert (q.qsize(), q.peek(), q.get(), q.get(), q.get()) == (2, "b", "b", "c", "a")
    getters(q, "z", log)
    q.put("d")
    idle()
    assert log == ["c", ("z", "d")]


@in_a_hub
@each_simple
def test_an_error_on_its_way_to_a_waiter_is_in_no_cycle(cls: type[SimpleQueue[Any]]) -> None:
    class Refusing(cls):  # type: ignore[misc, valid-type]  # whatever class it is
        def _get(self) -> Any:
            raise Refused

    class Refused(Exception):
        pass

    def getter() -> None:
        try:
            q.get()
        except Refused as error:
            gone.append(weakref.ref(error))

    q, gone = Refusing(), []
    gc.disable()
    try:
        task = spawn(getter)
        idle()
        q.put(1)
        task.join(timeout=5)
        assert [ref() for ref in gone] == [None]
    finally:
        gc.enable()


@in_a_hub
def test_an_item_that_put_drops_is_a_task_for_join_as_in_the_standard_library() -> None:
    def distinct(cls: Any) -> Any:
        return type("Distinct", (cls,), {"_put": lambda self, item: item in self.queue or super(type(self), self)._put(item)})()

    for q in (distinct(Queue), distinct(queue.Queue)):
        q.put("tea")
        q.put("tea")
        assert (q.get(), q.qsize()) == ("tea", 0)
        q.task_done()
        assert q.unfinished_tasks == 1
    simple = distinct(SimpleQueue)
    for item in ("tea", "salt", "tea"):
        simple.put(item)
    assert drain(simple) == ["tea", "salt"]
