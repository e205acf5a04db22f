"""The contracts of primitives and of offers: the built-in ones keep them, and each test of a primitive's finds a fault."""

from __future__ import annotations

import queue
from collections import deque

import pytest

import coopcore
from coop_plugins import contracts
from coop_plugins.contracts import EventContract, LockContract, QueueContract
from coop_plugins.event import Event
from coop_plugins.lock import BoundedSemaphore, Lock, RLock, Semaphore
from coop_plugins.queue import LifoQueue, PriorityQueue, Queue, SimpleQueue
from coopcore.lowlevel import ParkingLot, park, unpark
from coopcore.testing import OfferContract, failures, names_of_tests


class TestOffers(OfferContract):
    plugin = "coop_plugins._offers"


class TestSemaphore(LockContract):
    permits = 1

    def make(self):
        return Semaphore()


class TestSemaphoreOfThree(LockContract):
    permits = 3

    def make(self):
        return Semaphore(3)


class TestBoundedSemaphore(LockContract):
    permits = 2

    def make(self):
        return BoundedSemaphore(2)


class TestLock(LockContract):
    def make(self):
        return Lock()


class TestRLock(LockContract):
    reentrant = True

    def make(self):
        return RLock()


class TestEvent(EventContract):
    def make(self):
        return Event()


class TestQueue(QueueContract):
    def make(self, room):
        return Queue(room)


class TestSimpleQueue(QueueContract):
    def make(self, room):
        return SimpleQueue(room)


class TestLifoQueue(QueueContract):
    test_first_in_first_out = test_givers_are_served_in_order = test_a_killed_giver_gives_nothing = None  # they are about the order of items

    def make(self, room):
        return LifoQueue(room)


class TestPriorityQueue(QueueContract):
    test_any_object_is_an_item = None  # what can be compared is

    def make(self, room):
        return PriorityQueue(room)


# -- implementations with one fault -------------------------------------------------------------------------------------


class Generous(Semaphore):
    """One more than it should."""

    def __init__(self):
        super().__init__(2)


class Switching(Semaphore):
    def acquire(self, blocking=True, timeout=None):
        coopcore.sleep(0)
        return super().acquire(blocking, timeout)


class OwnLock:
    """A lock on a parking lot, right as it stands; faults are made in its parts."""

    def __init__(self):
        self.held = False
        self.lot = ParkingLot(lambda: f"{type(self).__name__}.acquire")

    def acquire(self, blocking=True, timeout=None):
        if not self.held:
            self.held = True
            return True
        return blocking and self.wait(timeout)

    def wait(self, timeout):
        return self.lot.park(timeout)

    def release(self):
        self.held = self.lot.unpark()


class Raising(OwnLock):
    def wait(self, timeout):
        if not self.lot.park(timeout):
            raise TimeoutError
        return True


class Unfair(OwnLock):
    """The newest first."""

    def release(self):
        self.lot._tasks.rotate(1)
        self.held = self.lot.unpark()


class WakesAll(OwnLock):
    def release(self):
        self.held = self.lot.unpark_all() > 0


class Barging(OwnLock):
    """Whoever is woken tries again, and may find it taken."""

    def wait(self, timeout):
        if not self.lot.park(timeout):
            return False
        while self.held:
            self.lot.park()
        self.held = True
        return True

    def release(self):
        self.held = False
        self.lot.unpark()


class Trusting(OwnLock):
    """Takes every unpark for a success."""

    def __init__(self):
        super().__init__()
        self.waiting = deque()

    def wait(self, timeout):
        task = coopcore.current_task()
        self.waiting.append(task)
        return park(self, timeout)

    def release(self):
        if self.waiting:
            unpark(self.waiting.popleft())
        else:
            self.held = False


class SwallowsTimeouts(OwnLock):
    def wait(self, timeout):
        try:
            return self.lot.park(timeout)
        except coopcore.Timeout:
            return False


class TakesAnyTimeout(OwnLock):
    def wait(self, timeout):
        return self.lot.park(timeout if isinstance(timeout, (int, float)) else 0.001)


class Nameless(OwnLock):
    def __init__(self):
        super().__init__()
        self.lot = ParkingLot("something")


LOCKS = [
    (Generous, ["test_so_many_and_no_more", "test_no_permit_is_lost_or_doubled"]),
    (Switching, ["test_a_free_one_is_taken_without_a_switch"]),
    (Raising, ["test_a_timeout_gives_false"]),
    (Unfair, ["test_first_come_first_served"]),
    (WakesAll, ["test_one_release_wakes_one", "test_no_permit_is_lost_or_doubled"]),
    (Barging, ["test_nobody_overtakes_who_was_woken"]),
    (Trusting, ["test_a_killed_waiter_takes_nothing_with_it", "test_no_permit_is_lost_or_doubled"]),
    (SwallowsTimeouts, ["test_an_enclosing_timeout_passes"]),
    (TakesAnyTimeout, ["test_a_bad_timeout_is_an_error", "test_a_deadlock_is_reported"]),
    (Nameless, ["test_a_deadlock_is_reported"]),
]


class OwnEvent:
    def __init__(self):
        self.flag = False
        self.lot = ParkingLot(lambda: f"{type(self).__name__}.wait")

    def is_set(self):
        return self.flag

    def set(self):
        self.flag = True
        self.lot.unpark_all()

    def clear(self):
        self.flag = False

    def wait(self, timeout=None):
        return self.flag or self.lot.park(timeout)


class Sticky(OwnEvent):
    def clear(self):
        pass


class Dull(OwnEvent):
    """Waits though it is set."""

    def wait(self, timeout=None):
        return self.lot.park(0.001 if timeout is None else timeout)


class WakesOne(OwnEvent):
    def set(self):
        self.flag = True
        self.lot.unpark()


class LooksAgain(OwnEvent):
    def wait(self, timeout=None):
        return self.flag or (self.lot.park(timeout) and self.flag)


class Truthful(OwnEvent):
    """Says True when nothing came."""

    def wait(self, timeout=None):
        return super().wait(timeout) or True


class Fragile(OwnEvent):
    """A kill of one waiter drops the others."""

    def wait(self, timeout=None):
        try:
            return super().wait(timeout)
        except coopcore.TaskExit:
            self.lot = ParkingLot("others")
            raise


class AnonymousEvent(OwnEvent):
    def __init__(self):
        super().__init__()
        self.lot = ParkingLot("something")


EVENTS = [
    (Sticky, ["test_it_is_set_and_cleared", "test_after_clear_it_is_waited_for_again"]),
    (Dull, ["test_a_set_one_is_not_waited_for"]),
    (WakesOne, ["test_set_wakes_everybody_in_order", "test_no_notification_is_lost"]),
    (LooksAgain, ["test_a_wake_outlives_a_clear"]),
    (Truthful, ["test_a_timeout_gives_false"]),
    (Fragile, ["test_a_killed_waiter_disturbs_nobody"]),
    (AnonymousEvent, ["test_a_deadlock_is_reported"]),
]


class OwnQueue:
    """Items, and two lots. A taker that parks is handed its item in a tuple."""

    def __init__(self, room):
        self.room = room
        self.items = deque()
        self.takers = ParkingLot(lambda: f"{type(self).__name__}.get")
        self.givers = ParkingLot(lambda: f"{type(self).__name__}.put")

    def qsize(self):
        return len(self.items)

    def full(self):
        return self.room is not None and len(self.items) >= self.room

    def put(self, item, block=True, timeout=None):
        if self.full() and not (block and self.givers.park(timeout)):
            raise queue.Full
        if not self.takers.unpark((item,)):
            self.items.append(item)

    def get(self, block=True, timeout=None):
        if not self.items:
            got = block and self.takers.park(timeout)
            if not got:
                raise queue.Empty
            return got[0]
        item = self.items.popleft()
        self.givers.unpark()
        return item


class Stack(OwnQueue):
    def get(self, block=True, timeout=None):
        self.items.reverse()
        try:
            return super().get(block, timeout)
        finally:
            self.items.reverse()


class Falsy(OwnQueue):
    def get(self, block=True, timeout=None):
        return super().get(block, timeout) or None


class Boundless(OwnQueue):
    def full(self):
        return False


class NewestTaker(OwnQueue):
    def put(self, item, block=True, timeout=None):
        self.takers._tasks.rotate(1)
        super().put(item, block, timeout)


class NewestGiver(OwnQueue):
    def get(self, block=True, timeout=None):
        self.givers._tasks.rotate(1)
        return super().get(block, timeout)


class Careless(OwnQueue):
    """Hands an item to a taker without asking whether it was still there."""

    def __init__(self, room):
        super().__init__(room)
        self.waiting = deque()

    def put(self, item, block=True, timeout=None):
        if self.waiting:
            unpark(self.waiting.popleft(), (item,))
        else:
            super().put(item, block, timeout)

    def get(self, block=True, timeout=None):
        if self.items or not block:
            return super().get(block, timeout)
        self.waiting.append(coopcore.current_task())
        got = park(self, timeout)
        if not got:
            raise queue.Empty
        return got[0]


class GivesFirst(OwnQueue):
    """Puts the item in before there is room."""

    def put(self, item, block=True, timeout=None):
        full = self.full()
        if not self.takers.unpark((item,)):
            self.items.append(item)
        if full and not (block and self.givers.park(timeout)):
            raise queue.Full


class AnonymousQueue(OwnQueue):
    def __init__(self, room):
        super().__init__(room)
        self.takers = ParkingLot("something")


QUEUES = [
    (Stack, ["test_first_in_first_out"]),
    (Falsy, ["test_any_object_is_an_item"]),
    (Boundless, ["test_empty_and_full_are_errors", "test_givers_are_served_in_order"]),
    (NewestTaker, ["test_takers_are_served_in_order"]),
    (NewestGiver, ["test_givers_are_served_in_order"]),
    (Careless, ["test_a_killed_taker_takes_nothing_with_it", "test_no_item_is_lost_or_doubled"]),
    (GivesFirst, ["test_a_killed_giver_gives_nothing", "test_no_item_is_lost_or_doubled"]),
    (AnonymousQueue, ["test_a_deadlock_is_reported"]),
]

TABLE = [
    (contract, mutant, tests) for contract, mutants in ((LockContract, LOCKS), (EventContract, EVENTS), (QueueContract, QUEUES)) for mutant, tests in mutants
]


@pytest.mark.parametrize(("contract", "mutant", "tests"), TABLE, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_the_contract_finds_a_fault(contract, mutant, tests, monkeypatch):
    monkeypatch.setattr(contracts, "_LIMIT", 0.05)
    case = type("Mutant", (contract,), {"make": lambda self, *room: mutant(*room)})
    passed = set(tests) - set(failures(case, only=lambda name: name in tests))
    assert not passed, f"a fault was not found by {passed}"


@pytest.mark.parametrize("contract", [LockContract, EventContract, QueueContract])
def test_each_test_of_the_contract_can_fail(contract):
    tried = {test for tested, _, tests in TABLE if tested is contract for test in tests}
    assert set(names_of_tests(contract)) == tried


@pytest.mark.parametrize(("contract", "room"), [(LockContract, ()), (EventContract, ()), (QueueContract, (1,))])
def test_a_contract_that_was_not_told_what_to_make_says_so(contract, room):
    with pytest.raises(NotImplementedError, match="a contract is subclassed, with a make"):
        contract().make(*room)


class Hasty(Queue):
    """A timeout is over at once. Whoever gets looks every few turns, so that items are left in the end."""

    def put(self, item, block=True, timeout=None):
        super().put(item, block, timeout and 0)

    def get(self, block=True, timeout=None):
        while True:
            for _ in range(3 if block else 0):
                coopcore.sleep(0)
            try:
                return super().get(block=False)
            except queue.Empty:
                if timeout is not None or not block:
                    raise


def test_a_queue_keeps_the_contract_of_losing_nothing_when_every_timeout_hits():
    assert not failures(type("Case", (QueueContract,), {"make": lambda self, room: Hasty(room)}), only=lambda name: name == "test_no_item_is_lost_or_doubled")
