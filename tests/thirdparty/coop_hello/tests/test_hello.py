"""The contracts of what this plugin offers, and the invariants of its lock."""

from __future__ import annotations

import random

import pytest
from coop_hello.backend import SelectBackend
from coop_hello.rwlock import RWLock
from coop_hello.timers import SortedTimers

import coopcore
from coopcore.testing import BackendContract, OfferContract, TimerQueueContract


class TestOffers(OfferContract):
    plugin = "coop_hello.plugin"


class TestSelectBackend(BackendContract):
    def make(self):
        return SelectBackend()


class TestSortedTimers(TimerQueueContract):
    def make(self):
        return SortedTimers()


def spawn_holder(lock, writes, log, name):
    """A task that takes the lock, notes its name, and lets go after one turn."""

    def hold():
        with lock.writing() if writes else lock.reading():
            log.append(name)
            coopcore.sleep(0)

    return coopcore.spawn(hold)


def test_invariant_1_readers_or_one_writer():
    def main():
        lock, inside, most = RWLock(), {"read": 0, "write": 0}, {"read": 0, "write": 0}

        def work(seed):
            rng = random.Random(seed)
            for _ in range(20):
                how = rng.choice(["read", "read", "write"])
                with lock.reading() if how == "read" else lock.writing():
                    inside[how] += 1
                    most[how] = max(most[how], inside[how])
                    assert inside["write"] == 0 or (inside["write"] == 1 and inside["read"] == 0)
                    for _ in range(rng.randrange(3)):
                        coopcore.sleep(0)
                    inside[how] -= 1

        coopcore.joinall([coopcore.spawn(work, seed) for seed in range(10)], raise_error=True, timeout=5)
        return most

    most = coopcore.run(main)
    assert most["write"] == 1
    assert most["read"] > 1


def test_invariant_2_nobody_overtakes():
    def main():
        lock, log = RWLock(), []
        lock.acquire_read()
        tasks = [spawn_holder(lock, name.startswith("w"), log, name) for name in ("r1", "w1", "r2", "r3", "w2")]
        coopcore.sleep(0)
        assert log == ["r1"]
        lock.release_read()
        coopcore.joinall(tasks, timeout=5)
        return log

    assert coopcore.run(main) == ["r1", "w1", "r2", "r3", "w2"]


def test_invariant_3_the_lock_is_never_lost():
    def main(seed):
        rng = random.Random(seed)
        lock = RWLock()

        def work():
            for _ in range(5):
                take, release = rng.choice([(lock.acquire_read, lock.release_read), (lock.acquire_write, lock.release_write)])
                if take(timeout=rng.choice([None, 0.0, 0.0001])):
                    try:
                        coopcore.sleep(0)
                    finally:
                        release()

        tasks = [coopcore.spawn(work) for _ in range(12)]
        for _ in range(40):
            coopcore.sleep(0)
            coopcore.kill(rng.choice(tasks))
        coopcore.joinall(tasks, timeout=5)
        assert not lock.holders
        assert lock.acquire_write(timeout=1)

    for seed in range(20):
        coopcore.run(main, seed)


def test_a_timeout_gives_false():
    def main():
        lock = RWLock()
        lock.acquire_write()
        assert coopcore.spawn(lock.acquire_read, 0.001).get() is False
        assert coopcore.spawn(lock.acquire_write, 0.001).get() is False
        reader = coopcore.spawn(lock.acquire_read)
        coopcore.sleep(0)
        lock.release_write()
        assert reader.get() is True

    coopcore.run(main)


def test_a_writer_that_gives_up_lets_readers_in():
    def main():
        lock = RWLock()
        lock.acquire_read()
        writer = coopcore.spawn(lock.acquire_write)
        coopcore.sleep(0)
        reader = coopcore.spawn(lock.acquire_read, 5)
        coopcore.sleep(0)
        writer.kill()
        assert reader.get() is True

    coopcore.run(main)


def test_a_release_too_many_is_an_error():
    def main():
        lock = RWLock()
        with pytest.raises(RuntimeError, match=r"does not hold .* for reading"):
            lock.release_read()
        with lock.reading(), pytest.raises(RuntimeError, match=r"does not hold .* for writing"):
            lock.release_write()
        with lock.writing(), pytest.raises(RuntimeError, match=r"does not hold .* for reading"):
            lock.release_read()

    coopcore.run(main)


def test_a_deadlock_names_the_holder():
    def main():
        lock = RWLock()
        holder = coopcore.spawn(lock.acquire_write)
        holder.name = "forgetful"
        holder.join()
        lock.acquire_read()

    with pytest.raises(coopcore.Deadlock, match=r"RWLock\.acquire_read of <RWLock .* written by 'forgetful'"):
        coopcore.run(main)
