"""LifoQueue and PriorityQueue: their invariants by name, and what they share with Queue."""

from __future__ import annotations

import gc
import heapq
import itertools
import queue
import random
import weakref
from typing import Any

import pytest
from seams.hubs import in_a_hub
from seams.queues import drain

from coop_plugins.queue import Empty, Full, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue
from coop_plugins.queue._orders import pop, push
from coopcore import Task, TaskExit, Timeout, idle, sleep, spawn


class HookedLifo(LifoQueue[Any]):
    """The same as LifoQueue, but through the hooks."""

    def _get(self) -> Any:
        return super()._get()


class HookedPriority(PriorityQueue[Any]):
    """The same as PriorityQueue, but through the hooks."""

    def _put(self, item: Any) -> None:
        super()._put(item)


class ListLifo(LifoQueue[Any]):
    """Overrides where the items are, and nothing else: a plain list."""

    def _init(self, maxsize: int) -> None:
        self.queue = []


class ListPriority(PriorityQueue[Any]):
    """The same of the other kind."""

    def _init(self, maxsize: int) -> None:
        self.queue = []


LIFO = [LifoQueue, HookedLifo, ListLifo]
PRIORITY = [PriorityQueue, HookedPriority, ListPriority]
each_lifo = pytest.mark.parametrize("cls", LIFO)
each_priority = pytest.mark.parametrize("cls", PRIORITY)
each_class = pytest.mark.parametrize("cls", [*LIFO, *PRIORITY])


class Fragile:
    """Compares by number, and raises when it, or what it is compared with, is cracked."""

    cracked: set[int] = set()

    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other: Fragile) -> bool:
        if self.number in self.cracked or other.number in self.cracked:
            raise RuntimeError("cracked")
        return self.number < other.number

    def __repr__(self) -> str:
        return f"F{self.number}"


@pytest.fixture(autouse=True)
def nothing_is_cracked() -> None:
    Fragile.cracked.clear()


def getters(q: Queue[Any], count: int) -> list[Task[Any]]:
    tasks = [spawn(q.get) for _ in range(count)]
    idle()
    return tasks


def putters(q: Queue[Any], *items: Any) -> list[Task[None]]:
    tasks = [spawn(q.put, item) for item in items]
    idle()
    return tasks


# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_hub
@each_lifo
def test_invariant_1_the_newest_comes_out(cls: type[LifoQueue[Any]]) -> None:
    q = cls(4, [1, 2])
    q.put(3)
    assert (q.peek(), q.get(), q.get_nowait()) == (3, 3, 2)
    q.put_nowait(4)
    assert (list(q.queue), drain(q)) == ([1, 4], [4, 1])


@in_a_hub
@each_priority
def test_invariant_2_the_least_comes_out(cls: type[PriorityQueue[Any]]) -> None:
    numbers = random.Random(1).choices(range(50), k=200)
    q = cls(0, numbers[:50])
    for number in numbers[50:]:
        q.put(number)
    assert (q.peek(), q.peek_nowait()) == (min(numbers), min(numbers))
    assert drain(q) == sorted(numbers)


@in_a_hub
@each_class
def test_invariant_3_an_item_for_a_getter_is_ordered_among_those_that_are_there(cls: type[Queue[int]]) -> None:
    q = cls()
    tasks = getters(q, 2)
    for item in (5, 1, 3):
        q.put(item)
    assert [task.get(timeout=5) for task in tasks] == [5, 1], "each was alone in the queue"
    assert q.get() == 3


@in_a_hub
@each_lifo
def test_invariant_3_the_item_of_a_waiting_putter_goes_in_when_that_of_the_getter_is_out_of_a_stack(cls: type[Queue[int]]) -> None:
    q = cls(2, [1, 2])
    putters(q, 3, 4)
    assert (q.get(), q.qsize()) == (2, 2)
    assert (q.get(), q.get(), q.get()) == (3, 4, 1)


@in_a_hub
@each_priority
def test_invariant_3_the_item_of_a_waiting_putter_goes_in_when_that_of_the_getter_is_out_of_a_heap(cls: type[Queue[int]]) -> None:
    q = cls(1, [5])
    putters(q, 9, 1)
    assert (q.get(), list(q.queue)) == (5, [9]), "first come, first served: 1 is still in line"
    assert (q.get(), q.get()) == (9, 1)


@in_a_hub
@each_priority
def test_invariant_4_a_put_in_which_a_comparison_raises_has_changed_nothing(cls: type[Queue[Any]]) -> None:
    q = cls(0, map(Fragile, range(40, 60)))
    before = list(q.queue)
    for cracked in (59, 45, 41, 40):
        Fragile.cracked = {cracked, 1}
        with pytest.raises(RuntimeError, match="cracked"):
            q.put(Fragile(1))
        assert (list(q.queue), q.unfinished_tasks) == (before, 20)
    Fragile.cracked = set()
    assert [item.number for item in drain(q)] == list(range(40, 60))


@in_a_hub
@each_priority
def test_invariant_4_a_get_in_which_a_comparison_raises_has_changed_nothing(cls: type[Queue[Any]]) -> None:
    numbers = list(range(30))
    random.Random(2).shuffle(numbers)
    q = cls(0, map(Fragile, numbers))
    before = list(q.queue)
    raised = 0
    for cracked in range(30):
        Fragile.cracked = {cracked}
        try:
            item = q.get()
        except RuntimeError:
            raised += 1
            assert list(q.queue) == before
        else:
            Fragile.cracked = set()
            q.put(item)
            before = list(q.queue)
    assert raised > 5
    Fragile.cracked = set()
    assert [item.number for item in drain(q)] == list(range(30))


@pytest.mark.parametrize("size", range(1, 8))
def test_invariant_4_a_comparison_may_raise_at_any_time(size: int) -> None:
    """All heaps of a few items, and each comparison of a push and a pop."""

    class Counted(int):
        left = -1

        def __lt__(self, other: int) -> bool:
            if not Counted.left:
                raise ArithmeticError
            Counted.left -= 1
            return int(self) < int(other)

    for order in itertools.islice(itertools.permutations(range(size)), 300):
        Counted.left = -1
        heap = [Counted(number) for number in order]
        heapq.heapify(heap)
        for change in (lambda heap: push(heap, Counted(-1)), lambda heap: push(heap, Counted(size // 2)), pop):
            for allowed in itertools.count():
                before = [id(item) for item in heap]
                copied = list(heap)
                Counted.left = allowed
                try:
                    change(copied)
                except ArithmeticError:
                    assert [id(item) for item in copied] == before
                else:
                    break


def test_invariant_4_the_same_item_twice_is_not_lost() -> None:
    one = Fragile(1)
    heap = [Fragile(0), one, Fragile(2), one, Fragile(3), one]
    for cracked in range(4):
        Fragile.cracked = {cracked}
        for change in (lambda: push(heap, one), lambda: pop(heap)):
            before = sorted(map(id, heap))
            try:
                change()
            except RuntimeError:
                assert sorted(map(id, heap)) == before


@in_a_hub
@each_priority
def test_invariant_4_a_waiting_getter_is_not_hung_by_a_comparison(cls: type[Queue[Any]]) -> None:
    class TwoAtOnce(cls):  # type: ignore[misc, valid-type]  # whatever class it is
        def _put(self, item: Any) -> None:
            super()._put(item)
            super()._put(Fragile(item.number + 1))

    q = TwoAtOnce()
    first, second = getters(q, 2)
    Fragile.cracked = {8}
    with pytest.raises(RuntimeError, match="cracked"):
        q.put(Fragile(7))  # the second comparison: one item is in, and nobody was told yet
    Fragile.cracked = set()
    q.put(Fragile(5))
    assert [task.get(timeout=5).number for task in (first, second)] == [5, 6]
    assert q.get().number == 7


@in_a_hub
@each_priority
def test_invariant_4_a_waiting_putter_whose_item_cannot_be_compared_gets_the_error(cls: type[Queue[Any]]) -> None:
    q = cls(2, [Fragile(1), Fragile(2)])
    bad, good = putters(q, Fragile(3), Fragile(4))
    Fragile.cracked = {3}
    assert q.get().number == 1
    with pytest.raises(RuntimeError, match="cracked"):
        bad.get(timeout=5)
    good.get(timeout=5)  # the room was still there
    assert ([item.number for item in drain(q)], q.unfinished_tasks) == ([2, 4], 3)


@in_a_hub
@each_priority
def test_invariant_4_a_get_that_raises_leaves_the_putters_in_line(cls: type[Queue[Any]]) -> None:
    q = cls(4, map(Fragile, (1, 2, 3, 4)))
    (putter,) = putters(q, Fragile(0))
    Fragile.cracked = {2}
    with pytest.raises(RuntimeError, match="cracked"):
        q.get()
    idle()
    assert (putter.state, q.qsize(), q.unfinished_tasks) == ("parked", 4, 4)
    Fragile.cracked = set()
    assert [item.number for item in drain(q)] == [1, 0, 2, 3, 4]
    putter.get(timeout=5)


# -- what they share with Queue -----------------------------------------------------------------------------------------


@in_a_hub
@each_class
def test_every_wait_ends_at_its_timeout(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    for wait in (q.get, q.peek):
        for timeout in (0, 0.001, Timeout(0.001)):
            with pytest.raises(Empty):
                wait(timeout=timeout)  # type: ignore[arg-type]  # a Timeout does as well
    q.put(1)
    for timeout in (0, 0.001, Timeout(0.001)):
        with pytest.raises(Full):
            q.put(2, timeout=timeout)  # type: ignore[arg-type]  # as above
    assert q.join(timeout=0.001) is False
    for call in (q.get, lambda timeout: q.put(2, timeout=timeout)):
        with pytest.raises(ValueError, match="non-negative"):
            call(timeout=-1)
    assert drain(q) == [1]
    q.put(3)
    assert q.get() == 3


@in_a_hub
@each_class
@pytest.mark.parametrize("call", ["get", "peek", "put", "join"])
def test_every_wait_ends_at_a_kill_and_leaves_nothing_behind(cls: type[Queue[Any]], call: str) -> None:
    q = cls(1, [5] if call in ("put", "join") else [])

    def waiter() -> object:
        return q.put(9) if call == "put" else getattr(q, call)()

    now, unsettled, last = (spawn(waiter) for _ in range(3))
    idle()
    now.kill()
    unsettled.kill(block=False)
    if call in ("get", "peek"):
        q.put(7)
    else:
        assert q.get() == 5
        q.task_done()
    assert last.get(timeout=5) == {"get": 7, "peek": 7, "put": None, "join": True}[call]
    assert isinstance(now.value, TaskExit)
    assert isinstance(unsettled.value, TaskExit)
    assert drain(q) == {"get": [], "peek": [7], "put": [9], "join": []}[call]


@in_a_hub
@each_class
def test_a_wake_is_final(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    log: list[Any] = []

    def getter() -> None:
        log.append(q.get(timeout=5))
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(getter)
    idle()
    q.put(3)
    task.kill(block=False)
    idle()
    assert log == [3, "killed later"]
    q.put(1)
    (putter,) = putters(q, 2)
    assert q.get() == 1
    putter.kill(block=False)
    idle()
    assert (putter.value, drain(q)) == (None, [2])


@in_a_hub
@each_class
def test_getters_and_putters_are_served_in_order(cls: type[Queue[Any]]) -> None:
    q = cls(1)
    tasks = getters(q, 4)
    for item in (4, 2, 3, 1):
        q.put(item)
    assert [task.get(timeout=5) for task in tasks] == [4, 2, 3, 1]
    done: list[int] = []
    for item in (4, 2, 3, 1):
        spawn(lambda item=item: (q.put(item), done.append(item)))
        idle()
    while not q.empty():
        q.get()
        idle()
    assert done == [4, 2, 3, 1]


@in_a_hub
@each_class
@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown(cls: type[Queue[Any]], immediate: bool) -> None:
    q, empty = cls(2, [2, 1]), cls()
    waiting = [*putters(q, 3), *getters(empty, 2)]
    q.shutdown(immediate)
    empty.shutdown(immediate)
    for task in waiting:
        with pytest.raises(ShutDown):
            task.get(timeout=5)
    assert sorted(drain(q)) == ([] if immediate else [1, 2])
    assert q.unfinished_tasks == (0 if immediate else 2)
    for call in (q.get, q.peek, lambda: q.put(1)):
        with pytest.raises(ShutDown):
            call()


@in_a_hub
@each_priority
def test_an_immediate_shutdown_compares_nothing_unless_hooks_must_be_asked(cls: type[Queue[Any]]) -> None:
    q = cls(0, map(Fragile, range(10)))
    joiner = spawn(q.join)
    idle()
    Fragile.cracked = set(range(10)) if cls is PriorityQueue else set()
    q.shutdown(immediate=True)
    assert (q.qsize(), q.unfinished_tasks, joiner.get(timeout=5)) == (0, 0, True)


@in_a_hub
@each_class
def test_more_room_lets_in_who_waits(cls: type[Queue[Any]]) -> None:
    q = cls(1, [3])
    tasks = putters(q, 2, 1, 0)
    q.maxsize = 3
    idle()
    assert ([task.dead for task in tasks], q.qsize()) == ([True, True, False], 3)
    q.maxsize = 0
    idle()
    assert sorted(drain(q)) == [0, 1, 2, 3]


@in_a_hub
@each_class
def test_the_rest_of_the_interface(cls: type[Queue[Any]]) -> None:
    q = cls(3, [2, 1])
    assert isinstance(q, Queue)
    assert isinstance(q, SimpleQueue)
    assert (len(q), q.qsize(), q.empty(), q.full(), bool(cls()), q.maxsize, q.unfinished_tasks) == (2, 2, False, False, True, 3, 2)
    twin = q.copy()
    assert (type(twin), twin.maxsize, twin.unfinished_tasks) == (cls, 3, 2)
    assert drain(twin) == drain(q)
    assert repr(cls(2, [1])).endswith(" items=1 maxsize=2>")
    q.put(StopIteration)
    assert list(q) == []
    assert LifoQueue[int](2, [1]).get() == PriorityQueue[int](2, [1]).get() == 1
    assert cls(None, [1, 2], 7).unfinished_tasks == 7


def test_their_names() -> None:
    assert repr(LifoQueue(2)).startswith("<coop_plugins.queue.LifoQueue at 0x")
    assert repr(PriorityQueue) == "<class 'coop_plugins.queue.PriorityQueue'>"


@pytest.mark.parametrize("name", ["LifoQueue", "PriorityQueue"])
def test_what_comes_out_is_what_comes_out_of_the_standard_librarys(name: str) -> None:
    ours, theirs = globals()[name](), getattr(queue, name)()
    rng = random.Random(3)
    for _ in range(500):
        if rng.random() < 0.6:
            item = rng.randrange(100)
            ours.put(item)
            theirs.put(item)
        elif not theirs.empty():
            assert ours.get() == theirs.get()
    assert list(ours.queue) == theirs.queue


@in_a_hub
def test_pairs_of_a_number_and_a_thing_that_cannot_be_compared() -> None:
    q: PriorityQueue[Any] = PriorityQueue()
    for entry in ((2, object()), (1, object()), (3, object())):
        q.put(entry)
    assert [number for number, _ in drain(q)] == [1, 2, 3]
    q.put((1, object()))
    with pytest.raises(TypeError):
        q.put((1, object()))
    assert (q.qsize(), q.unfinished_tasks) == (1, 4)


@in_a_hub
@each_class
def test_it_is_freed_without_the_collector(cls: type[Queue[Any]]) -> None:
    gc.disable()
    try:
        q = cls(1)
        getters(q, 1)
        putters(q, 1, 2, 3)
        assert q.get() == 2
        q.shutdown()
        idle()
        assert q.get() == 3
        gone = weakref.ref(q)
        del q
        assert gone() is None
    finally:
        gc.enable()
