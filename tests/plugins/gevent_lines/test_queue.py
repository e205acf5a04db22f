"""The section on queues and channels."""

from __future__ import annotations

import queue
import warnings
from typing import Any

import pytest

FOREVER = 60.0
STORING = ["Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"]
COUNTING = ["Queue", "LifoQueue", "PriorityQueue"]
EVERY = [*STORING, "Channel"]


@pytest.fixture
def cls(lib: Any, request: pytest.FixtureRequest) -> Any:
    return getattr(lib, request.param)


storing = pytest.mark.parametrize("cls", STORING, indirect=True)
counting = pytest.mark.parametrize("cls", COUNTING, indirect=True)
every = pytest.mark.parametrize("cls", EVERY, indirect=True)


@storing
def test_put_and_get(lib: Any, cls: Any) -> None:
    """put/get(block, timeout) put_nowait get_nowait qsize len empty full."""
    q = cls(2)
    assert (q.qsize(), len(q), q.empty(), q.full()) == (0, 0, True, False)
    assert q.put(1) is None and q.put_nowait(1) is None
    assert (q.qsize(), len(q), q.empty(), q.full()) == (2, 2, False, True)
    assert (q.get(), q.get_nowait()) == (1, 1)


def test_orders(lib: Any) -> None:
    """Queue, LifoQueue, PriorityQueue and SimpleQueue: the order of what comes out."""
    orders = {}
    for name in STORING:
        q = getattr(lib, name)()
        for item in (2, 1, 3):
            q.put(item)
        orders[name] = [q.get() for _ in range(3)]
    assert orders == {"Queue": [2, 1, 3], "LifoQueue": [3, 1, 2], "PriorityQueue": [1, 2, 3], "SimpleQueue": [2, 1, 3]}


@storing
def test_items_to_begin_with(lib: Any, cls: Any) -> None:
    """(maxsize=None, items=())."""
    q = cls(None, items=(1, 1))
    assert (q.qsize(), q.get()) == (2, 1)


@every
def test_empty_and_full(lib: Any, cls: Any) -> None:
    """Empty and Full are the standard library's: at once without block, else after the timeout."""
    assert lib.Empty is queue.Empty and lib.Full is queue.Full
    q = cls(1)
    gets = [lambda: q.get(block=False), lambda: q.get(False), q.get_nowait, lambda: q.get(timeout=0.001), lambda: q.get(True, 0.001), lambda: q.get(timeout=0)]
    assert [lib.outcome(call) for call in gets] == ["raises Empty"] * 6
    if not q.full():
        q.put(1)
    puts = [lambda: q.put(2, block=False), lambda: q.put_nowait(2), lambda: q.put(2, timeout=0.001), lambda: q.put(2, True, 0)]
    assert [lib.outcome(call) for call in puts] == ["raises Full"] * 4


@storing
def test_peek(lib: Any, cls: Any) -> None:
    """peek peek_nowait: the next item, which stays."""
    q = cls()
    assert lib.outcome(q.peek_nowait) == lib.outcome(q.peek, False) == lib.outcome(q.peek, timeout=0.001) == "raises Empty"
    (peeker,) = lib.start(q.peek)
    q.put(1)
    assert (peeker.get(), q.peek(), q.peek_nowait(), q.get()) == (1, 1, 1, 1)


@storing
def test_copy(lib: Any, cls: Any) -> None:
    """copy() has the same items, and is apart."""
    q = cls(3, items=[1])
    other = q.copy()
    other.put(1)
    assert (type(other), q.qsize(), other.qsize(), other.maxsize) == (type(q), 1, 2, 3)


@storing
def test_maxsize_may_be_set(lib: Any, cls: Any) -> None:
    """maxsize can be set; the queue is then as large."""
    q = cls(1)
    q.put(1)
    q.maxsize = 2
    assert q.maxsize == 2
    q.put(1, block=False)
    assert q.full()


@storing
def test_a_larger_maxsize_lets_putters_in(lib: Any, cls: Any) -> None:
    """Setting a larger maxsize: who waits to put may go on."""
    q = cls(1)
    q.put(1)
    (putter,) = lib.start(lambda: q.put(1))
    assert not putter.ready()
    q.maxsize = 2
    lib.settle()
    row = "`queue.maxsize = n` with room for those who wait in `put` lets them in at once"
    assert putter.ready() is lib.differ(row, gevent=False, ours=True)


def test_simple_queue_is_boundable(lib: Any) -> None:
    """SimpleQueue is BOUNDABLE here, and has no join and shutdown."""
    q = lib.SimpleQueue(1)
    q.put(1)
    assert lib.outcome(q.put_nowait, 2) == "raises Full"
    assert not hasattr(q, "join") and not hasattr(q, "shutdown") and not hasattr(q, "task_done")
    assert q.is_shutdown is False


def test_joinable_queue_is_queue(lib: Any) -> None:
    """Queue(+unfinished_tasks) == JoinableQueue."""
    assert lib.JoinableQueue is lib.Queue
    assert lib.Queue(None, (), 3).unfinished_tasks == lib.Queue(unfinished_tasks=3).unfinished_tasks == 3
    assert lib.Queue(items=[1, 2]).unfinished_tasks == 2


@every
def test_a_queue_is_true(lib: Any, cls: Any) -> None:
    """bool(q) is always True."""
    assert bool(cls()) is True


@storing
@pytest.mark.parametrize("maxsize", [0, None, -1])
def test_unbounded(lib: Any, cls: Any, maxsize: Any) -> None:
    """0/None/negative = unbounded; Queue(0) warns (gevent)."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        q = cls(maxsize)
    row = "`Queue(0)` is unbounded without a warning"
    assert bool(seen) is (lib.differ(row, gevent=True, ours=False) if maxsize == 0 else False)
    for _ in range(20):
        q.put_nowait(1)
    assert not q.full()


@pytest.mark.parametrize("cls", ["Queue", "SimpleQueue", "Channel"], indirect=True)
def test_iteration(lib: Any, cls: Any) -> None:
    """__iter__/__next__: iteration ends on the CLASS StopIteration as item."""
    q = cls()
    lib.spawn(lambda: [q.put(item) for item in (1, 2, 3, StopIteration)])
    assert iter(q) is q
    assert next(q) == 1
    assert list(q) == [2, 3]


def test_an_instance_of_stop_iteration_is_an_item(lib: Any) -> None:
    """An instance of StopIteration is an item like any other."""
    error = StopIteration()
    q = lib.Queue(items=[error, StopIteration])
    assert list(q) == [error]


@storing
def test_subscriptable(lib: Any, cls: Any) -> None:
    """Subscriptable, for type hints."""
    assert cls[int] is not None


# -- fairness -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ["Queue", "SimpleQueue", "Channel"], indirect=True)
def test_getters_are_served_in_order(lib: Any, cls: Any, log: Any) -> None:
    """FIFO fairness for getters."""
    q = cls()
    lib.start(*[lambda number=number: log.append((number, q.get())) for number in range(4)])
    lib.start(*[lambda item=item: q.put(item) for item in "abcd"])
    assert log == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]


@pytest.mark.parametrize("cls", ["Queue", "SimpleQueue", "Channel"], indirect=True)
def test_putters_are_served_in_order(lib: Any, cls: Any) -> None:
    """FIFO fairness for putters."""
    q = cls(1)
    lib.start(*[lambda item=item: q.put(item) for item in "abcd"])
    assert [q.get() for _ in range(4)] == ["a", "b", "c", "d"]


def test_qsize_after_a_put_to_a_getter(lib: Any) -> None:
    """An item for a waiting getter is in the queue until that runs (gevent), or handed over."""
    q = lib.Queue()
    lib.start(q.get)
    q.put(1)
    assert q.qsize() == lib.differ("`q = Queue(); t = spawn(q.get); sleep(0); q.put(1); q.qsize()`", gevent=1, ours=0)


@storing
def test_a_killed_waiter_takes_nothing(lib: Any, cls: Any) -> None:
    """One that is killed in get or put takes and leaves nothing."""
    q = cls(1)
    (getter,) = lib.start(q.get)
    getter.kill()
    q.put(1)
    (putter,) = lib.start(lambda: q.put(2))
    putter.kill()
    assert q.get() == 1
    assert q.empty()


# -- timeouts that are negative -------------------------------------------------------------------------------------------


@storing
def test_negative_timeouts(lib: Any, cls: Any) -> None:
    """timeout<0 -> ValueError for get and for put with room, but Full for put on a full queue."""
    row = "`Queue.put(item, timeout=-1)` on a full queue raises `ValueError`"
    q = cls(1)
    assert lib.outcome(q.get, timeout=-1) == "raises ValueError"
    assert lib.outcome(q.put, 1, timeout=-1) == "raises ValueError"
    q.put(1)
    assert lib.outcome(q.put, 1, timeout=-1) == lib.differ(row, gevent="raises Full", ours="raises ValueError")
    row = "`q = Queue(); q.put(1); q.get(timeout=-1)`"
    assert lib.outcome(q.get, timeout=-1) == lib.differ(row, gevent=1, ours="raises ValueError")


def test_negative_timeouts_of_a_channel(lib: Any) -> None:
    """timeout<0 of a Channel is no error of its own."""
    assert [lib.outcome(lib.Channel().get, timeout=-1), lib.outcome(lib.Channel().put, 1, timeout=-1)] == ["raises Empty", "raises Full"]


# -- on the hub -----------------------------------------------------------------------------------------------------------


@storing
def test_nowait_forms_on_the_hub(lib: Any, cls: Any) -> None:
    """nowait forms work inside the hub, also for a waiting peer."""
    q = cls(1)
    assert lib.on_hub(q.put_nowait, 1) is None
    assert lib.on_hub(q.put_nowait, 1) == "raises Full"
    assert lib.on_hub(q.get_nowait) == 1
    assert lib.on_hub(q.get_nowait) == "raises Empty"
    (getter,) = lib.start(q.get)
    assert lib.on_hub(q.put_nowait, 5) is None
    assert getter.get() == 5


@pytest.mark.parametrize("cls", ["Queue", "SimpleQueue"], indirect=True)
def test_get_nowait_on_the_hub_takes_from_a_putter(lib: Any, cls: Any) -> None:
    """get_nowait in the hub may switch to a waiting putter."""
    q = cls(1)
    q.put(1)
    (putter,) = lib.start(lambda: q.put(2))
    assert lib.on_hub(q.get_nowait) == 1
    lib.settle()
    assert putter.ready() and q.get() == 2


def test_get_on_the_hub(lib: Any) -> None:
    """get in the hub otherwise Empty (gevent); what would wait there is an error."""
    row = "`Queue().get()` on the hub raises `ParkInHubError`"
    assert lib.on_hub(lib.Queue().get) == lib.differ(row, gevent="raises Empty", ours="raises BlockingSwitchOutError")


# -- counting, shutting down ----------------------------------------------------------------------------------------------


@counting
def test_task_done_and_join(lib: Any, cls: Any) -> None:
    """task_done join(timeout)->bool unfinished_tasks."""
    q = cls()
    assert q.join() is True and q.join(timeout=0.001) is True
    q.put(1)
    q.put(1)
    assert q.unfinished_tasks == 2 and q.join(timeout=0.001) is False
    (joiner,) = lib.start(q.join)
    q.get(), q.get()
    assert q.unfinished_tasks == 2
    q.task_done()
    lib.settle()
    assert not joiner.ready()
    q.task_done()
    assert joiner.get() is True
    assert lib.outcome(q.task_done) == "raises ValueError"


@counting
def test_shutdown(lib: Any, cls: Any) -> None:
    """shutdown(immediate=False): put raises ShutDown; get returns what is there, then raises ShutDown."""
    q = cls(items=[1])
    q.shutdown()
    assert q.is_shutdown is True
    assert lib.outcome(q.put, 2) == lib.outcome(q.put_nowait, 2) == "raises ShutDown"
    assert q.get() == 1
    assert lib.outcome(q.get) == lib.outcome(q.get_nowait) == "raises ShutDown"


@counting
def test_shutdown_wakes_who_waits(lib: Any, cls: Any) -> None:
    """shutdown: who waits in get or put gets ShutDown."""
    q = cls(1)
    (getter,) = lib.start(lambda: lib.outcome(q.get))
    q.shutdown()
    assert getter.get() == "raises ShutDown"
    q = cls(1, items=[1])
    (putter,) = lib.start(lambda: lib.outcome(q.put, 2))
    q.shutdown()
    assert putter.get() == "raises ShutDown"


@counting
def test_shutdown_immediate(lib: Any, cls: Any) -> None:
    """shutdown(immediate=True) drops what is there, and lets who joins go."""
    q = cls(items=[1, 1])
    (joiner,) = lib.start(q.join)
    q.shutdown(immediate=True)
    assert q.empty() and lib.outcome(q.get) == "raises ShutDown"
    lib.settle()
    assert joiner.ready()


# -- hooks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["Queue", "SimpleQueue"])
def test_hooks_of_subclasses(lib: Any, log: Any, base: str) -> None:
    """Subclass hooks _init(maxsize) _put _get _qsize are honoured."""

    class Mine(getattr(lib, base)):  # type: ignore[misc]  # of either library
        def _init(self, maxsize: Any) -> None:
            log.append(("init", maxsize))
            self.mine: list[Any] = []

        def _put(self, item: Any) -> None:
            self.mine.insert(0, item)

        def _get(self) -> Any:
            return self.mine.pop(0)

        def _qsize(self) -> int:
            return len(self.mine)

    q = Mine(2)
    assert log == [("init", 2)]
    q.put(1)
    q.put(2)
    assert (q.qsize(), q.full(), lib.outcome(q.put_nowait, 3)) == (2, True, "raises Full")
    assert [q.get(), q.get()] == [2, 1]
    (getter,) = lib.start(q.get)
    q.put(4)
    assert getter.get() == 4 and q.empty()


class Incomparable:
    """Raises when it is compared."""

    def __lt__(self, other: object) -> bool:
        raise ZeroDivisionError


def test_a_comparison_that_raises(lib: Any) -> None:
    """A put of a PriorityQueue in which a comparison raises: the item is in (gevent), or nothing has changed."""
    q = lib.PriorityQueue(items=[Incomparable()])
    assert lib.outcome(q.put, Incomparable()) == "raises ZeroDivisionError"
    row = "a put or get of `PriorityQueue` in which a comparison raises changes nothing"
    assert q.qsize() == lib.differ(row, gevent=2, ours=1)


# -- Channel --------------------------------------------------------------------------------------------------------------


def test_channel_is_a_rendezvous(lib: Any, log: Any) -> None:
    """Channel: put waits until somebody gets, get until somebody puts."""
    channel = lib.Channel()
    (putter,) = lib.start(lambda: (channel.put(1), log.append("put")))
    assert log == [] and not putter.ready()
    assert channel.get() == 1
    lib.settle()
    assert log == ["put"]
    (getter,) = lib.start(channel.get)
    assert not getter.ready()
    channel.put(2)
    assert getter.get() == 2


def test_channel_holds_nothing(lib: Any) -> None:
    """empty()==full()==True, qsize()==0, balance = putters-getters."""
    channel = lib.Channel()
    assert (channel.empty(), channel.full(), channel.qsize(), channel.balance) == (True, True, 0, 0)
    lib.start(lambda: channel.put(1), lambda: channel.put(2))
    assert (channel.empty(), channel.full(), channel.qsize(), channel.balance) == (True, True, 0, 2)
    other = lib.Channel()
    lib.start(other.get)
    assert other.balance == -1


def test_channel_has_no(lib: Any) -> None:
    """No peek/len/join."""
    channel = lib.Channel()
    assert [name for name in ("peek", "peek_nowait", "__len__", "join", "task_done", "shutdown") if hasattr(channel, name)] == []


def test_channel_nowait(lib: Any) -> None:
    """The nowait forms need somebody who waits."""
    channel = lib.Channel()
    assert [lib.outcome(channel.put_nowait, 1), lib.outcome(channel.get_nowait)] == ["raises Full", "raises Empty"]
    lib.start(lambda: channel.put(1))
    assert channel.get_nowait() == 1
    (getter,) = lib.start(channel.get)
    channel.put_nowait(2)
    assert getter.get() == 2


def test_channel_maxsize(lib: Any) -> None:
    """Channel(maxsize=1)."""
    assert lib.outcome(lib.Channel, 2) == "raises ValueError"
