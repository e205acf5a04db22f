"""What each primitive does, one call at a time: the plainest program of it that there is, with lists for lines.

`Model.call` is told of a call and returns its outcome, or `WAITS`; then somebody else's call, a kill or the end of a timeout puts the outcome into
``outcomes``. What is raised is named by its class, a kill by ``"killed"``.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from coop_plugins.event import AsyncResult, Event
from coop_plugins.lock import Barrier, BoundedSemaphore, Condition, Lock, RLock, Semaphore
from coop_plugins.queue import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue
from coopcore.lowlevel import ParkingLot

WAITS = "(waits)"
TIMEOUT = 5.0


class Model:
    """A line, first come, first served. Most primitives have one; subclasses say what their words do."""

    words: tuple[str, ...] = ()
    late: Any = False  # what comes of a timed wait that is over
    knows_names = False  # whether it matters who is who, as where items are compared

    def __init__(self) -> None:
        self.line: list[tuple[str, str, Any]] = []  # who, the word, the item
        self.outcomes: dict[str, Any] = {}

    def make(self) -> Any:
        raise NotImplementedError

    def call(self, who: str, word: str, item: Any) -> Any:
        """What comes of this call, `WAITS` if that is not decided."""
        raise NotImplementedError

    def act(self, thing: Any, word: str, item: Any) -> Any:
        """Make the call."""
        raise NotImplementedError

    def wait(self, who: str, word: str, item: Any = None) -> Any:
        self.line.append((who, word, item))
        return WAITS

    def wake(self, outcome: Any = True, *words: str) -> str | None:
        """The first in line, of those who wait in one of ``words``, has this outcome. Returns who; None if nobody waits."""
        for entry in self.line:
            if not words or entry[1] in words:
                self.line.remove(entry)
                self.outcomes[entry[0]] = outcome
                return entry[0]
        return None

    def first(self, *words: str) -> tuple[str, str, Any] | None:
        return next((entry for entry in self.line if entry[1] in words), None)

    def waits(self, who: str) -> bool:
        """Whether it is parked by now, and must stay so."""
        return any(who == entry[0] for entry in self.line)

    def kill(self, who: str) -> bool:
        """It was killed. False if it does not wait: it will meet that later."""
        for entry in self.line:
            if entry[0] == who:
                self.line.remove(entry)
                self.outcomes[who] = "killed"
                return True
        return False

    def resumed(self, who: str) -> None:
        """A task that was killed, or whose time is over, goes on: see `ConditionModel`."""

    def has_timed(self) -> bool:
        return any(entry[1].startswith("timed") for entry in self.line)

    def expire(self) -> None:
        """The time of all timed waits is over."""
        for who, word, _ in [entry for entry in self.line if entry[1].startswith("timed")]:
            self.kill(who)
            self.outcomes[who] = self.late_of(word)

    def late_of(self, word: str) -> Any:
        return self.late

    def observe(self, thing: Any) -> Any:
        """What can be seen of the primitive,"""
        return None

    def state(self) -> Any:
        """and what ought to be."""
        return None

    def audit(self, thing: Any, calls: list[tuple[str, Any, Any]]) -> None:
        """At the end, by the words, items and outcomes of the calls that agents have made, and not by what the model thinks: do the books balance?"""


class LotModel(Model):
    words = ("park", "timed park", "unpark", "unpark all")
    make = ParkingLot

    def call(self, who, word, item):
        match word:
            case "unpark":
                return self.wake(item) is not None
            case "unpark all":
                woken = 0
                while self.wake(item) is not None:
                    woken += 1
                return woken
        return self.wait(who, word)

    def act(self, thing, word, item):
        match word:
            case "park":
                return thing.park()
            case "timed park":
                return thing.park(TIMEOUT)
            case "unpark":
                return thing.unpark(item)
        return thing.unpark_all(item)


class SemaphoreModel(Model):
    words = ("acquire", "timed acquire", "try", "release", "wait")

    def __init__(self, value: int = 1, bounded: bool = False) -> None:
        super().__init__()
        self.initial = self.value = value
        self.bounded = bounded

    def make(self):
        return BoundedSemaphore(self.value) if self.bounded else Semaphore(self.value)

    def call(self, who, word, item):
        match word:
            case "release":
                if self.bounded and self.value == self.initial:
                    return "ValueError"
                return self._release()
            case "try":
                if not self.value:
                    return False
            case "wait":
                return self.value or self.wait(who, word)
        if self.value:
            self.value -= 1
            return True
        return self.wait(who, word)

    def _release(self):
        while self.line:
            _, word, _ = self.line[0]
            self.wake(1 if word == "wait" else True)
            if word != "wait":
                return 0
        self.value += 1
        return self.value

    def act(self, thing, word, item):
        match word:
            case "release":
                return thing.release()
            case "try":
                return thing.acquire(blocking=False)
            case "wait":
                return thing.wait()
            case "acquire":
                return thing.acquire()
        return thing.acquire(timeout=TIMEOUT)

    def observe(self, thing):
        return thing.counter

    def state(self):
        return self.value

    def audit(self, thing, calls):
        taken = sum(word != "wait" and outcome is True for word, _, outcome in calls)
        given = sum(word == "release" and outcome != "ValueError" for word, _, outcome in calls)
        assert thing.counter == self.initial + given - taken, f"{self.initial} permits, {given} released, {taken} acquired, and {thing.counter} are free"


class LockModel(Model):
    words = ("acquire", "timed acquire", "try", "release")

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.holder: str | None = None
        self.count = 0

    def make(self):
        return RLock() if self.reentrant else Lock()

    def call(self, who, word, item):
        if word == "release":
            return self._release(who)
        if self.holder is None or (self.reentrant and self.holder == who):
            self.holder = who
            self.count += 1
            return True
        return False if word == "try" else self.wait(who, word)

    def _release(self, who):
        if self.holder is None or (self.reentrant and self.holder != who):
            return "RuntimeError"
        self.count -= 1
        if not self.count:
            self.pass_on()
        return None

    def pass_on(self):
        self.holder = self.wake()
        self.count = 0 if self.holder is None else 1

    def act(self, thing, word, item):
        match word:
            case "acquire":
                return thing.acquire()
            case "timed acquire":
                return thing.acquire(timeout=TIMEOUT)
            case "try":
                return thing.acquire(blocking=False)
        return thing.release()

    def observe(self, thing):
        return [task.name for task in thing.wait_owners()]

    def state(self):
        return [] if self.holder is None else [self.holder]


class ConditionModel(LockModel):
    """A lock, and those who wait for a notification. One who is killed or late leaves the waiters, and stands in line for the lock once it runs again."""

    words = ("acquire", "try", "release", "wait", "timed wait", "notify", "notify all")

    def __init__(self, reentrant: bool = True) -> None:
        super().__init__(reentrant)
        self.waiters: list[tuple[str, str, int]] = []  # who, the word, and how often it had the lock
        self.leaving: dict[str, tuple[Any, int]] = {}  # the outcome, and how often it had the lock
        self.returning: dict[str, tuple[Any, int]] = {}  # in line for the lock
        self.timed: set[str] = set()  # of these, whose timer still runs: it makes them look, and wait on
        self.looking: set[str] = set()

    def make(self):
        return Condition(RLock() if self.reentrant else Lock())

    def call(self, who, word, item):
        if word in ("acquire", "timed acquire", "try", "release"):
            return super().call(who, word, item)
        if self.holder is None or (self.reentrant and self.holder != who):
            return "RuntimeError"
        if word == "notify":
            return self._notify(1)
        if word == "notify all":
            return self._notify(len(self.waiters))
        self.waiters.append((who, word, self.count if self.reentrant else 1))
        self.pass_on()
        return WAITS

    def _notify(self, n):
        for who, word, count in self.waiters[:n]:
            self.returning[who] = (True, count)
            if word.startswith("timed"):
                self.timed.add(who)
            self.wait(who, "return")
        del self.waiters[:n]

    def pass_on(self):
        self.holder = None
        self.count = 0
        if self.line:
            who, word, _ = self.line[0]
            outcome, self.count = self.returning.pop(who) if word == "return" else (True, 1)
            self.holder = self.wake(outcome)

    def waits(self, who):
        return (super().waits(who) and who not in self.looking) or any(who == waiter for waiter, _, _ in self.waiters)

    def kill(self, who, outcome="killed"):
        for waiter in self.waiters:
            if waiter[0] == who:
                self.waiters.remove(waiter)
                self.leaving[who] = (outcome, waiter[2])
                return True
        return False if who in self.returning else super().kill(who)

    def resumed(self, who):
        self.looking.discard(who)
        if who in self.leaving:
            outcome, count = self.leaving.pop(who)
            if self.holder is None:
                self.holder, self.count = who, count
                self.outcomes[who] = outcome
            else:
                self.returning[who] = (outcome, count)
                self.wait(who, "return")

    def has_timed(self):
        return super().has_timed() or any(word.startswith("timed") for _, word, _ in self.waiters)

    def expire(self):
        super().expire()
        self.looking |= self.timed & {who for who, _, _ in self.line}
        self.timed.clear()
        for who, _, _ in [waiter for waiter in self.waiters if waiter[1].startswith("timed")]:
            self.kill(who, False)

    def act(self, thing, word, item):
        match word:
            case "wait":
                return thing.wait()
            case "timed wait":
                return thing.wait(TIMEOUT)
            case "notify":
                return thing.notify()
            case "notify all":
                return thing.notify_all()
        return super().act(thing, word, item)

    def observe(self, thing):
        return super().observe(thing._lock)


class BarrierModel(Model):
    """The parties of one meeting. One who is killed or late breaks it once it runs again, if the others have not met by then."""

    words = ("wait", "timed wait", "abort", "reset")

    def __init__(self, parties: int = 2) -> None:
        super().__init__()
        self.parties = parties
        self.broken = False
        self.arrived: list[str] = []
        self.leaving: dict[str, Any] = {}

    def make(self):
        return Barrier(self.parties)

    def call(self, who, word, item):
        if word == "abort":
            return self._break()
        if word == "reset":
            self._break()
            self.broken = False
            return None
        if self.broken:
            return "BrokenBarrierError"
        self.arrived.append(who)
        place = len(self.arrived) - 1
        if len(self.arrived) < self.parties:
            return self.wait(who, word, place)
        self._settle(None)
        return place

    def _settle(self, outcome):
        """The meeting is over: each has its place, or an error; a kill that came before is met all the same."""
        for entry in self.line[:]:
            self.wake(entry[2] if outcome is None else outcome)
        for who, (killed, place) in self.leaving.items():
            self.outcomes[who] = "killed" if killed else place if outcome is None else outcome
        self.leaving.clear()
        self.arrived.clear()

    def _break(self):
        self.broken = True
        self._settle("BrokenBarrierError")

    def kill(self, who, killed=True):
        place = next((place for waiter, _, place in self.line if waiter == who), None)
        if super().kill(who):
            self.outcomes.pop(who)
            self.leaving[who] = killed, place
            return True
        return False

    def expire(self):
        for who, _, _ in [entry for entry in self.line if entry[1].startswith("timed")]:
            self.kill(who, False)

    def resumed(self, who):
        if who in self.leaving:
            self._break()

    def act(self, thing, word, item):
        match word:
            case "wait":
                return thing.wait()
            case "timed wait":
                return thing.wait(TIMEOUT)
            case "abort":
                return thing.abort()
        return thing.reset()

    def observe(self, thing):
        return thing.n_waiting, thing.broken

    def state(self):
        return len(self.arrived), self.broken


class EventModel(Model):
    words = ("wait", "timed wait", "set", "clear")
    make = Event

    def __init__(self) -> None:
        super().__init__()
        self.flag = False

    def call(self, who, word, item):
        if word in ("set", "clear"):
            self.flag = word == "set"
            while self.flag and self.wake():
                pass
            return None
        return True if self.flag else self.wait(who, word)

    def resumed(self, who):
        if self.outcomes.get(who) is False:  # its time was over; it looks once more
            self.outcomes[who] = self.flag

    def act(self, thing, word, item):
        match word:
            case "set":
                return thing.set()
            case "clear":
                return thing.clear()
            case "wait":
                return thing.wait()
        return thing.wait(TIMEOUT)

    def observe(self, thing):
        return thing.is_set()

    def state(self):
        return self.flag


class ResultModel(Model):
    """Who gets, gets what is there when it runs again, which may be later than what woke it."""

    words = ("get", "timed get", "try", "set", "fail")
    make = AsyncResult
    NEWEST = "(what is there by then)"

    def __init__(self) -> None:
        super().__init__()
        self.there: Any = None

    def call(self, who, word, item):
        if word in ("set", "fail"):
            self.there = item if word == "set" else "KeyError"
            while self.wake(self.NEWEST):
                pass
            return None
        if self.there is not None:
            return self.there
        return "Timeout" if word == "try" else self.wait(who, word)

    def late_of(self, word):
        return "Timeout"

    def resumed(self, who):
        if self.outcomes.get(who) in (self.NEWEST, "Timeout") and self.there is not None:
            self.outcomes[who] = self.there

    def act(self, thing, word, item):
        match word:
            case "set":
                return thing.set(item)
            case "fail":
                return thing.set_exception(KeyError("failed"))
            case "get":
                return thing.get()
            case "timed get":
                return thing.get(timeout=TIMEOUT)
        return thing.get_nowait()

    def observe(self, thing):
        return thing.ready(), thing.value

    def state(self):
        return self.there is not None, None if self.there == "KeyError" else self.there


PUTS = ("put", "timed put")
GETS = ("get", "timed get", "peek")


class QueueModel(Model):
    words = ("put", "try put", "timed put", "get", "try get", "timed get", "peek", "task done", "join", "shutdown", "shutdown now")

    def __init__(self, maxsize: int = 0, kind: type[Any] = Queue) -> None:
        super().__init__()
        self.maxsize = maxsize
        self.kind = kind
        self.knows_names = kind is PriorityQueue
        self.items: list[Any] = []
        self.unfinished = 0
        self.is_shutdown = False
        self.dropped = 0

    def make(self):
        return self.kind(self.maxsize)

    def call(self, who, word, item):
        if word.endswith("put"):
            return self._put(who, word, item)
        if word.endswith(("get", "peek")):
            return self._get(who, word)
        if word == "join":
            return True if not self.unfinished else self.wait(who, word)
        if word == "task done":
            if not self.unfinished:
                return "ValueError"
            self._done(1)
            return None
        return self._shut_down(word.endswith("now"))

    def _put(self, who, word, item):
        if self.is_shutdown:
            return "ShutDown"
        if self._is_full():
            return "Full" if word.startswith("try") else self.wait(who, word, item)
        self._accept(item)
        while self.items and self.first(*GETS):
            self._serve()
        return None

    def _serve(self):
        _, word, _ = self.first(*GETS)
        self.wake(self._best() if word == "peek" else self._take(), *GETS)

    def _get(self, who, word):
        if not self.items:
            if self.is_shutdown:
                return "ShutDown"
            return "Empty" if word.startswith("try") else self.wait(who, word)
        if word == "peek":
            return self._best()
        taken = self._take()
        while not self._is_full() and (putter := self.first(*PUTS)):
            self.wake(None, *PUTS)
            self._accept(putter[2])
        return taken

    def _is_full(self):
        return 0 < self.maxsize <= len(self.items)

    def _accept(self, item):
        self.items.append(item)
        self.unfinished += 1

    def _best(self):
        return min(self.items) if self.kind is PriorityQueue else self.items[-1] if self.kind is LifoQueue else self.items[0]

    def _take(self):
        best = self._best()
        self.items.remove(best)
        return best

    def _done(self, count):
        self.unfinished -= count
        while not self.unfinished and self.wake(True, "join"):
            pass

    def _shut_down(self, now):
        self.is_shutdown = True
        while self.wake("ShutDown", *PUTS, *GETS):
            pass
        if now:
            self.dropped += len(self.items)
            self._done(min(len(self.items), self.unfinished))
            self.items.clear()

    def late_of(self, word):
        return "Full" if word == "timed put" else "Empty"

    def act(self, thing, word, item):
        match word:
            case "put":
                return thing.put(item)
            case "try put":
                return thing.put_nowait(item)
            case "timed put":
                return thing.put(item, timeout=TIMEOUT)
            case "get":
                return thing.get()
            case "try get":
                return thing.get_nowait()
            case "timed get":
                return thing.get(timeout=TIMEOUT)
            case "peek":
                return thing.peek()
            case "task done":
                return thing.task_done()
            case "join":
                return thing.join()
        return thing.shutdown(word.endswith("now"))

    def observe(self, thing):
        return thing.qsize(), getattr(thing, "unfinished_tasks", None)

    def state(self):
        return len(self.items), None if self.kind is SimpleQueue else self.unfinished

    def audit(self, thing, calls):
        accepted = Counter(item for word, item, outcome in calls if word in (*PUTS, "try put") and outcome is None)
        gotten = Counter(outcome for word, _, outcome in calls if word in (*GETS, "try get") and word != "peek" and isinstance(outcome, tuple))
        left = Counter(thing.queue)
        assert not gotten + left - accepted, f"gotten or left, and not put, or more than once: {gotten + left - accepted}"
        assert sum((accepted - gotten - left).values()) == self.dropped, f"put, and neither gotten nor left: {accepted - gotten - left}"


class ChannelModel(Model):
    words = ("put", "try put", "timed put", "get", "try get", "timed get")
    make = Channel

    def call(self, who, word, item):
        if word.endswith("put"):
            if self.first(*GETS):
                self.wake(item, *GETS)
                return None
            return "Full" if word.startswith("try") else self.wait(who, word, item)
        if putter := self.first(*PUTS):
            self.wake(None, *PUTS)
            return putter[2]
        return "Empty" if word.startswith("try") else self.wait(who, word)

    late_of = QueueModel.late_of
    act = QueueModel.act

    def audit(self, thing, calls):
        accepted = Counter(item for word, item, outcome in calls if word.endswith("put") and outcome is None)
        gotten = Counter(outcome for word, _, outcome in calls if word.endswith("get") and isinstance(outcome, tuple))
        assert accepted == gotten, f"put {accepted}, gotten {gotten}"
