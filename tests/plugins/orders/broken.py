"""Primitives and programs with a bug each, which shows only in some orders: the search must find every one. And, beside them, what repairs it."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from coop_plugins.event import Event
from coop_plugins.lock import Condition, Lock, Semaphore
from coop_plugins.queue import Queue
from coopcore import current_task, sleep
from coopcore.lowlevel import ParkingLot, park, unpark

from .models import LockModel, QueueModel, SemaphoreModel
from .programs import Boom, Program
from .scenes import Scene


class ForgetfulEvent:
    """A lost wake-up: between the look at the flag and the park somebody else runs. ``set`` finds nobody to wake."""

    def __init__(self) -> None:
        self._flag = False
        self._lot = ParkingLot("it to be set")

    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        self._flag = True
        self._lot.unpark_all()

    def clear(self) -> None:
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._flag:
            return True
        self._report_the_wait()
        return bool(self._lot.park(timeout))

    def _report_the_wait(self) -> None:
        sleep(0)


class GenerousSemaphore:
    """A permit taken twice: the one that is released becomes free *and* wakes somebody, who takes it without a further look."""

    def __init__(self, value: int = 1) -> None:
        self.counter = value
        self._lot = ParkingLot("a permit")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if self.counter > 0:
            self.counter -= 1
            return True
        if not blocking or not self._lot.park(timeout):
            return False
        self.counter = max(self.counter - 1, 0)
        return True

    def release(self) -> int:
        self.counter += 1
        self._lot.unpark()
        return self.counter


class ForgetfulSemaphore:
    """A permit is lost with the task that it was meant for: whether that was still waiting is not looked at."""

    def __init__(self, value: int = 1) -> None:
        self.counter = value
        self._line: deque[Any] = deque()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if self.counter > 0:
            self.counter -= 1
            return True
        if not blocking:
            return False
        self._line.append(current_task())
        return bool(park(self, timeout))

    def release(self) -> int:
        if self._line:
            unpark(self._line.popleft())
            return 0
        self.counter += 1
        return self.counter


class UnfairLock(Lock):
    """It goes to the one who came last."""

    __slots__ = ()

    def _let_go(self) -> Any:
        if self._line:
            self._line.rotate()
        return super()._let_go()


class SwallowingQueue:
    """A swallowed kill: the item and the kill arrive in one batch, and who has got the item forgets the kill."""

    def __init__(self, maxsize: int = 0) -> None:
        self.queue: deque[Any] = deque()
        self.unfinished_tasks = 0
        self._lot = ParkingLot("an item")

    def put(self, item: Any) -> None:
        self.unfinished_tasks += 1
        if not self._lot.unpark(item):
            self.queue.append(item)

    def get(self) -> Any:
        if not self.queue:
            try:
                return self._lot.park()
            except Boom:
                if not self.queue:
                    raise
        return self.queue.popleft()

    def qsize(self) -> int:
        return len(self.queue)


def model(kind: type[Any], broken: type[Any], *args: Any) -> Any:
    """The model of what it should be, and the primitive as it is."""
    return partial(type(f"{kind.__name__}Of{broken.__name__}", (kind,), {"make": lambda _: broken(*args)}), *args)


class CheckOut(Scene):
    """A pool of connections is asked for one by two tasks; whether a connection is alive is looked at between choosing and taking it."""

    repaired = False

    def set_up(self) -> None:
        self.free = ["one", "two"]
        self.taken: list[str] = []
        for name in "ab":
            self.start(name, self.use)

    def use(self) -> None:
        connection = self.free[0]
        if self.repaired:
            self.free.remove(connection)
        sleep(0)  # the health check
        if connection in self.free:
            self.free.remove(connection)
        self.taken.append(connection)

    def holds(self) -> None:
        assert len(set(self.taken)) == len(self.taken), f"a connection was given to two: {self.taken}"


class CheckOutRepaired(CheckOut):
    repaired = True


class LockOrder(Scene):
    """One takes A, then B; the other, B, then A."""

    second = "BA"

    def set_up(self) -> None:
        self.locks = {name: Lock() for name in "AB"}
        self.start("one", self.use, *"AB")
        self.start("two", self.use, *self.second)

    def use(self, first: str, second: str) -> None:
        with self.locks[first]:
            sleep(0)
            with self.locks[second]:
                sleep(0)


class LockOrderRepaired(LockOrder):
    second = "AB"


class LostWakeUp(Scene):
    """One waits for an event that the other sets."""

    event: Any = ForgetfulEvent

    def set_up(self) -> None:
        event = self.event()
        self.start("waits", event.wait)
        self.start("sets", event.set)


class LostWakeUpRepaired(LostWakeUp):
    event = Event


class TwoInside(Scene):
    """Three tasks, of which one at a time may be inside."""

    semaphore: Any = GenerousSemaphore

    def set_up(self) -> None:
        self.permits = self.semaphore(1)
        self.inside: list[str] = []
        for name in "abc":
            self.start(name, self.enter, name)

    def enter(self, name: str) -> None:
        self.permits.acquire()
        self.inside.append(name)
        sleep(0)
        self.inside.remove(name)
        self.permits.release()

    def holds(self) -> None:
        assert len(self.inside) <= 1, f"{self.inside} are inside"


class TwoInsideRepaired(TwoInside):
    semaphore = Semaphore


class OneCondition(Scene):
    """A buffer with room for one, and one condition for all: a notification for a producer may go to a consumer, who finds nothing and waits on."""

    notify = "notify"

    def set_up(self) -> None:
        self.condition = Condition()
        self.items: list[int] = []
        for number in (1, 2):
            self.start(f"consumes {number}", self.consume)
            self.start(f"produces {number}", self.produce, number)

    def produce(self, item: int) -> None:
        with self.condition:
            self.condition.wait_for(lambda: not self.items)
            self.items.append(item)
            sleep(0)
            getattr(self.condition, self.notify)()

    def consume(self) -> None:
        with self.condition:
            self.condition.wait_for(lambda: self.items)
            self.items.pop()
            getattr(self.condition, self.notify)()


class OneConditionRepaired(OneCondition):
    notify = "notify_all"


class LateSubmit(Scene):
    """A job is put behind the sentinel that ends the worker: whether the service is open was asked before."""

    repaired = False

    def set_up(self) -> None:
        self.jobs: Queue[str] = Queue()
        self.is_open = True
        self.accepted: list[str] = []
        self.done: list[str] = []
        self.start("works", self.work)
        self.start("submits", self.submit)
        self.start("closes", self.close)

    def work(self) -> None:
        while (job := self.jobs.get()) != "stop":
            self.done.append(job)

    def submit(self) -> None:
        if self.is_open:
            if not self.repaired:
                sleep(0)
            self.accepted.append("job")
            self.jobs.put("job")

    def close(self) -> None:
        self.is_open = False
        self.jobs.put("stop")

    def verify(self) -> None:
        assert self.done == self.accepted, f"accepted {self.accepted}, done {self.done}"


class LateSubmitRepaired(LateSubmit):
    repaired = True


THREE = (("acquire", "release"),) * 3
KILLED = (("acquire", "release"), ("acquire",), ("kill b",), ("acquire",))
SWALLOWED = (("get",), ("kill a",), ("put",))

# What is run, and the words of the error.
BUGS: dict[str, tuple[Any, str]] = {
    "lost wake-up": (LostWakeUp, "wait for ever: .*waits"),
    "permit taken twice": (TwoInside, "'[abc]', '[abc]'] are inside"),
    "permit lost with the killed": (Program({"it": model(SemaphoreModel, ForgetfulSemaphore, 1)}, KILLED), "d waits for .*, and could go on"),
    "last come, first served": (Program({"it": model(LockModel, UnfairLock)}, THREE), r"it is \['[abc]'\], and was to be \['[abc]'\]"),
    "swallowed kill": (Program({"it": model(QueueModel, SwallowingQueue)}, SWALLOWED), "came to .*, and was to come to 'killed'"),
    "double check-out": (CheckOut, "a connection was given to two"),
    "the wrong one is notified": (OneCondition, "wait for ever: .*consumes.*produces"),
    "late submit": (LateSubmit, r"accepted \['job'\], done \[\]"),
    "lock order": (LockOrder, "wait for ever: .*one.*two"),
}
REPAIRED: dict[str, Any] = {
    "lost wake-up": LostWakeUpRepaired,
    "permit taken twice": TwoInsideRepaired,
    "permit lost with the killed": Program({"it": SemaphoreModel}, KILLED),
    "last come, first served": Program({"it": LockModel}, THREE),
    "swallowed kill": Program({"it": QueueModel}, SWALLOWED),
    "double check-out": CheckOutRepaired,
    "the wrong one is notified": OneConditionRepaired,
    "late submit": LateSubmitRepaired,
    "lock order": LockOrderRepaired,
}
