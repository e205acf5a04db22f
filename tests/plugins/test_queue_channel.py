"""Channel: its invariants by name, and what users of gevent know of it."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from seams.hubs import in_a_hub, in_another_thread
from seams.queues import getters, putters

from coop_plugins.queue import Channel, Empty, Full
from coopcore import Deadlock, TaskExit, Timeout, get_hub, idle, killall, run, sleep, spawn
from coopcore.errors import ParkInHubError, WrongThreadError
from coopcore.lowlevel import park, unpark

# -- invariants ---------------------------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_1_every_item_that_was_put_was_gotten_once() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        channel = Channel[int]()
        gone: list[int] = []
        come: list[int] = []

        def give(first: int, channel: Channel[int] = channel, gone: list[int] = gone, rng: random.Random = rng) -> None:
            for item in range(first, first + 8):
                try:
                    channel.put(item, timeout=rng.choice((None, 0.0001)))
                except Full:
                    continue
                gone.append(item)

        def take(channel: Channel[int] = channel, come: list[int] = come, rng: random.Random = rng) -> None:
            while True:
                try:
                    come.append(channel.get(timeout=rng.choice((None, 0.0001))))
                except Empty:
                    sleep(0)

        givers = [spawn(give, first * 100) for first in range(5)]
        takers = [spawn(take) for _ in range(5)]
        for task in rng.sample([*givers[:2], *takers[:2]], 3):
            sleep(rng.choice((0, 0, 0.0001)))
            task.kill(block=False)
        for task in givers:
            task.join(timeout=10)
            assert task.dead
        idle()
        killall(takers)
        assert sorted(come) == sorted(gone)


@in_a_hub
@pytest.mark.parametrize("item", ["x", None, False, True, 0, ()])
def test_invariant_2_a_wake_of_a_getter_is_final(item: object) -> None:
    channel = Channel[object]()
    log: list[object] = []

    def getter() -> None:
        log.append(channel.get(timeout=5))
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(getter)
    idle()
    channel.put(item)
    task.kill(block=False)
    idle()
    assert log == [item, "killed later"]


@in_a_hub
def test_invariant_2_a_wake_of_a_putter_is_final() -> None:
    channel = Channel[str]()
    log: list[object] = []

    def putter() -> None:
        log.append(channel.put("item", timeout=5))
        try:
            sleep(0)
        except TaskExit:
            log.append("killed later")

    task = spawn(putter)
    idle()
    assert channel.get() == "item"
    task.kill(block=False)
    idle()
    assert log == [None, "killed later"]


@in_a_hub
def test_invariant_3_who_comes_finds_the_other_side_or_waits() -> None:
    channel = Channel[str]()
    log: list[Any] = []
    putters(channel, "xy", log)
    assert (log, channel.balance) == ([], 2)
    assert channel.get() == "x"
    assert channel.balance == 1
    getters(channel, "ab", log)
    assert sorted(map(str, log)) == ["('a', 'y')", "x", "y"]
    assert channel.balance == -1
    channel.put("z")
    assert channel.balance == 0
    idle()
    assert log[-1] == ("b", "z")


@in_a_hub
def test_invariant_4_getters_and_putters_keep_their_order() -> None:
    channel = Channel[str]()
    log: list[Any] = []
    getters(channel, "abcdef", log)
    putters(channel, "uvwxyz", [])
    assert log == list(zip("abcdef", "uvwxyz", strict=True))
    log.clear()
    putters(channel, "uvwxyz", [])
    getters(channel, "abcdef", log)
    assert log == list(zip("abcdef", "uvwxyz", strict=True))


@in_a_hub
def test_invariant_5_a_wait_that_ended_without_an_outcome_has_left_its_line() -> None:
    channel = Channel[Any]()
    log: list[Any] = []
    a, b, _ = getters(channel, "abc", log)
    with pytest.raises(Empty):
        channel.get(timeout=0.001)
    b.kill()
    assert channel.balance == -2
    a.kill(block=False)  # still in line, but not parked any more
    channel.put("x")
    idle()
    assert (log, channel.balance) == ([("c", "x")], 0)
    log.clear()
    a, b, _ = putters(channel, "abc", log)
    with pytest.raises(Full):
        channel.put("lost", timeout=0.001)
    b.kill()
    assert channel.balance == 2
    a.kill(block=False)
    assert channel.get() == "c"
    idle()
    assert (log, channel.balance) == (["c"], 0)


@in_a_hub
@pytest.mark.parametrize("how", ["kill", "timeout"])
@pytest.mark.parametrize("call", ["get", "put"])
def test_invariant_5_nothing_is_given_to_a_task_that_waits_elsewhere_by_now(call: str, how: str) -> None:
    channel = Channel[str]()
    timeout = 0.001 if how == "timeout" else 5

    def waiter() -> object:
        try:
            channel.put("lost", timeout=timeout) if call == "put" else channel.get(timeout=timeout)
        except (TaskExit, Empty, Full):
            pass
        return park("something else")

    task = spawn(waiter)
    idle()
    if how == "kill":
        task.kill(block=False)
    while "something else" not in task.waiting_on:
        sleep(0.0005)
    with pytest.raises((Empty, Full)):
        channel.get_nowait() if call == "put" else channel.put_nowait("x")
    assert task.state == "parked"
    unpark(task, "the right wake")
    assert task.get(timeout=5) == "the right wake"


@in_a_hub
def test_invariant_6_who_comes_from_another_thread_is_refused_and_nothing_has_changed() -> None:
    channel = Channel[str]()
    here = threading.current_thread().name

    def refused(*calls: Callable[[], object]) -> None:
        def main() -> None:
            for call in calls:
                with pytest.raises(WrongThreadError) as caught:
                    call()
                assert repr(threading.current_thread().name) in str(caught.value)
                assert repr(here) in str(caught.value)

        assert in_another_thread(lambda: run(main)) is None

    log: list[Any] = []
    getters(channel, "a", log)
    assert isinstance(in_another_thread(lambda: channel.put_nowait("x")), WrongThreadError)
    refused(lambda: channel.put("x"), lambda: channel.get(timeout=5))
    assert channel.balance == -1
    channel.put("y")
    idle()
    putters(channel, "z", log)
    assert isinstance(in_another_thread(channel.get_nowait), WrongThreadError)
    refused(channel.get, lambda: channel.put("x", timeout=5))
    assert channel.get() == "z"
    idle()
    assert log == [("a", "y"), "z"]


# -- what gevent's users know -------------------------------------------------------------------------------------------


@in_a_hub
def test_it_is_always_empty_and_full() -> None:
    channel = Channel[str]()
    for _ in range(2):
        assert (channel.empty(), channel.full(), channel.qsize(), bool(channel)) == (True, True, 0, True)
        putters(channel, "x", [])
    assert (channel.balance, len(channel.putters), len(channel.getters)) == (2, 2, 0)
    assert [channel.get(), channel.get()] == ["x", "x"]
    idle()
    assert [name for name in ("peek", "peek_nowait", "join", "task_done", "shutdown", "copy", "__len__") if hasattr(channel, name)] == []


def test_the_size_is_one() -> None:
    Channel(1)
    Channel(maxsize=1)
    for size in (0, 2, -1, None):
        with pytest.raises(ValueError, match="a channel has a maxsize of 1"):
            Channel(size)  # type: ignore[arg-type]  # None is an error, too


@in_a_hub
def test_nothing_waits_with_block_false() -> None:
    channel = Channel[int]()
    for get in (channel.get_nowait, lambda: channel.get(False), lambda: channel.get(block=False, timeout=5)):
        with pytest.raises(Empty):
            get()
    for put in (lambda: channel.put_nowait(1), lambda: channel.put(1, False), lambda: channel.put(1, block=False, timeout=5)):
        with pytest.raises(Full):
            put()
    got = spawn(channel.get)
    idle()
    channel.put_nowait(1)
    assert got.get(timeout=5) == 1
    spawn(channel.put, 2)
    idle()
    assert channel.get_nowait() == 2


@in_a_hub
def test_timeouts_on_both_sides() -> None:
    channel = Channel[int]()
    for timeout in (0, -1, 0.001, Timeout(0.001)):  # a negative one too, as with gevent: there is no time to wait
        with pytest.raises(Empty):
            channel.get(timeout=timeout)  # type: ignore[arg-type]  # a Timeout does as well
        with pytest.raises(Full):
            channel.put(2, timeout=timeout)  # type: ignore[arg-type]  # as above
    assert channel.balance == 0
    for bad, error in (("soon", TypeError), (float("nan"), ValueError)):
        with pytest.raises(error):
            channel.get(timeout=bad)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(error):
            channel.put(1, timeout=bad)  # type: ignore[arg-type]  # as above
    assert channel.balance == 0
    got = spawn(channel.get, timeout=5)
    idle()
    channel.put(3, timeout=5)
    assert got.get(timeout=5) == 3


@in_a_hub
def test_an_enclosing_timeout_passes() -> None:
    channel = Channel[int]()
    for wait in (channel.get, lambda: channel.put(1)):
        with pytest.raises(Timeout), Timeout(0.001):
            wait()
    assert channel.balance == 0


@in_a_hub
def test_iteration_ends_with_the_class_stopiteration() -> None:
    channel = Channel[Any]()
    task = spawn(lambda: list(channel))
    for item in (1, False, None, StopIteration):
        channel.put(item)
    assert task.get(timeout=5) == [1, False, None]
    spawn(channel.put, 5)
    assert channel.next() == 5


@in_a_hub
def test_the_forms_that_do_not_wait_work_on_the_hub() -> None:
    channel = Channel[str]()
    log: list[Any] = []
    getters(channel, "a", log)

    def on_hub() -> None:
        channel.put_nowait("x")
        for call in (channel.get, lambda: channel.put("y")):
            with pytest.raises(ParkInHubError):
                call()
        log.append(channel.balance)

    get_hub().call_soon(on_hub)
    idle()
    assert log == [0, ("a", "x")]


def test_a_deadlock_report_says_what_is_waited_for() -> None:
    channel = Channel[int]()
    with pytest.raises(Deadlock, match=r"Channel.get of <coop_plugins.queue.Channel at 0x\w+ putters=0 getters=1>"):
        run(channel.get)
    with pytest.raises(Deadlock, match=r"Channel.put to <coop_plugins.queue.Channel at 0x\w+ putters=1 getters=0>"):
        run(channel.put, 2)
    assert repr(channel).endswith(" putters=0 getters=0>")


def test_copying_it_is_refused() -> None:
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot copy or pickle"):
            way(Channel())


@in_a_hub
def test_it_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        channel = Channel[Any]()
        getters(channel, "a", [])
        putters(channel, "xy", [])
        channel.get()
        idle()
        gone = weakref.ref(channel)
        del channel
        assert gone() is None
    finally:
        gc.enable()
