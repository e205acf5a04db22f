"""Channel against a model: hypothesis writes programs of puts, gets, kills and timeouts, as in `test_queue_model`, and the two must agree exactly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seams.clock import JumpingClock

from coop_plugins.queue import Channel, Empty, Full
from coopcore import Task, TaskExit, idle, killall, run, sleep, spawn

OPERATIONS = ["put", "get"] * 3 + ["timed put", "timed get"] * 2 + ["kill"] * 3 + ["snap"] * 2 + ["put_nowait", "get_nowait", "settle", "expire"]
SPAN = 10
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), min_size=30, max_size=60)


class Model:
    """Two lines. ``told`` is what came of each call that ended: who, and what it returned or raised. A task puts its own number."""

    def __init__(self) -> None:
        self.putters: list[int] = []
        self.getters: list[int] = []
        self.timed: set[int] = set()
        self.told: list[tuple[int, object]] = []

    def arrive(self, what: str, who: int, timed: bool) -> None:
        (self.putters if what == "put" else self.getters).append(who)
        if timed:
            self.timed.add(who)
        if self.putters and self.getters:
            putter, getter = self.putters.pop(0), self.getters.pop(0)
            self.told += [(putter, None), (getter, putter)]

    def at_once(self, what: str, who: int) -> object:
        """What a call that does not wait returns or raises."""
        if what == "put":
            if not self.getters:
                return Full
            self.told.append((self.getters.pop(0), who))
            return None
        if not self.putters:
            return Empty
        putter = self.putters.pop(0)
        self.told.append((putter, None))
        return putter

    def expire(self) -> None:
        self.told += [(who, Full) for who in self.putters if who in self.timed]
        self.told += [(who, Empty) for who in self.getters if who in self.timed]
        for line in (self.putters, self.getters):
            line[:] = [who for who in line if who not in self.timed]


def act(channel: Channel[int], steps: list[tuple[str, int]]) -> None:
    model = Model()
    told: list[tuple[int, object]] = []
    tasks: dict[int, Task[None]] = {}
    snaps: list[tuple[str, int]] = []
    snappers: list[Task[None]] = []

    def outcome(what: str, who: int, block: bool, timeout: float | None = None) -> object:
        try:
            return channel.put(who, block, timeout) if what == "put" else channel.get(block, timeout)
        except (Empty, Full) as error:
            return type(error)

    def call(what: str, who: int, timeout: float | None) -> None:
        try:
            told.append((who, outcome(what, who, True, timeout)))
        except TaskExit:
            pass

    def snap(what: str, who: int) -> None:
        sleep(SPAN)
        told.append((who, outcome(what, who, False)))

    for who, (step, n) in enumerate(steps):
        timed, what = step.startswith("timed "), step.removeprefix("timed ")
        waiting = model.putters + model.getters
        if what in ("put", "get"):
            idle()
            tasks[who] = spawn(call, what, who, SPAN if timed else None)
            idle()
            model.arrive(what, who, timed)
        elif step == "snap":
            snaps.append((("put", "get")[n % 2], who))
            snappers.append(spawn(snap, *snaps[-1]))
            idle()
        elif step in ("put_nowait", "get_nowait"):
            what = step.removesuffix("_nowait")
            assert outcome(what, who, False) == model.at_once(what, who)
        elif step == "kill" and waiting:
            victim = waiting[n % len(waiting)]
            tasks[victim].kill(block=False)
            (model.putters if victim in model.putters else model.getters).remove(victim)
        elif step == "kill" and tasks:
            list(tasks.values())[n % len(tasks)].kill(block=False)  # woken, or gone: changes nothing
        elif step == "expire":
            idle()
            sleep(SPAN)
            model.expire()
            for what, snapper in snaps:
                model.told.append((snapper, model.at_once(what, snapper)))
            snaps.clear()
        elif step == "settle":
            idle()
            assert sorted(told, key=str) == sorted(model.told, key=str)
            assert channel.balance == len(model.putters) - len(model.getters)
    idle()
    assert sorted(told, key=str) == sorted(model.told, key=str)
    for who in model.putters + model.getters:
        assert tasks[who].state == "parked"
        tasks[who].kill()
    killall(snappers)
    assert channel.balance == 0
    assert not channel.getters


def check(steps: list[tuple[str, int]]) -> None:
    run(act, Channel[int](), steps, clock=JumpingClock())


QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

test_a_channel_does_what_its_model_does = QUICK(given(STEPS)(check))
test_a_channel_does_what_its_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(given(STEPS)(check))))
