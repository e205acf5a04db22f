"""What is checked by invariants, and not in lock-step with a model: groups, pools and scopes, whose tasks and callbacks are the hub's affair as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from coop_plugins.event import Event
from coop_plugins.pool import Group, Pool
from coop_plugins.queue import Queue
from coop_plugins.scope import CancelScope, TaskGroup
from coopcore import Deadlock, Task, idle, sleep, spawn
from coopcore.lowlevel import current_hub, throw_in

from .explorer import Orders, StoppedClock
from .programs import LATER, Boom


class Scene:
    """Tasks with bodies of their own: subclasses start them in `set_up`, say in `check` what always holds and in `verify` what holds at the end."""

    may_wait_for_ever = False
    ticks = 0  # how often time passes when nobody is ready

    def __init__(self, orders: Orders, clock: StoppedClock) -> None:
        self.orders = orders
        self.clock = clock
        self.tasks: dict[str, Task[Any]] = {}
        self.seen: list[Any] = []  # the outcome
        self.set_up()

    def set_up(self) -> None:
        raise NotImplementedError

    def start(self, name: str, body: Callable[..., object], *args: Any, uses: tuple[str, ...] | None = None) -> Task[Any]:
        task = self.tasks[name] = spawn(body, *args)
        task.name = name
        self.orders.name(task, name, uses)
        return task

    def note(self, name: str, what: Any) -> None:
        self.seen.append((name, what))

    def kill(self, name: str) -> None:
        self.tasks[name].kill(Boom, block=False)

    # -- what the search calls ------------------------------------------------------------------------------------------

    def check(self) -> None:
        for task in self.tasks.values():
            error = task.exception if task.failed else None
            if error is not None and not isinstance(error, Boom):
                raise error
        self.holds()

    def holds(self) -> None:
        """What is so at every moment."""

    def goes_on(self, name: str) -> None: ...

    def twins(self, ready: list[str]) -> tuple[str, ...]:
        return ()

    def wakes_somebody(self) -> bool:
        self.ticks -= 1
        self.clock.advance(LATER)
        return self.ticks >= 0

    def verify(self) -> None:
        """What is so at the end."""

    def end(self) -> Any:
        self.check()
        stuck = [task for task in current_hub().tasks() if task.state == "parked"]
        assert self.may_wait_for_ever or not stuck, f"wait for ever: {stuck}"
        self.verify()
        for task in stuck:
            throw_in(task, Deadlock("this order is over"))
        idle()
        for task in stuck:
            assert task.dead, f"{task} does not end"
            task.successful()  # its error is known
        return tuple(sorted(self.seen, key=repr)), len(stuck)


# -- pools --------------------------------------------------------------------------------------------------------------


class PoolScene(Scene):
    """Spawners, a joiner, and perhaps kills: of a spawner, or of whatever runs in the pool."""

    def __init__(self, size: int, spawners: tuple[int, ...], victims: tuple[str, ...], *run: Any) -> None:
        self.size, self.spawners, self.victims = size, spawners, victims
        super().__init__(*run)

    def set_up(self) -> None:
        self.pool = Pool(self.size)
        self.running = self.most = 0
        self.begun: Counter[Any] = Counter()
        for number, jobs in enumerate(self.spawners):
            self.start("ab"[number], self.spawner, "ab"[number], jobs)
        self.start("joins", self.join)
        for number, victim in enumerate(self.victims):
            self.start(f"kills {victim} {number}", self.member_killed if victim == "member" else self.kill, *(() if victim == "member" else (victim,)))

    def job(self, name: Any) -> None:
        self.begun[name] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            sleep(0)
        finally:
            self.running -= 1

    def spawner(self, name: str, jobs: int) -> None:
        for number in range(jobs):
            try:
                self.pool.spawn(self.job, (name, number))
            except Boom:
                self.note(name, "killed")

    def member_killed(self) -> None:
        for task in list(self.pool)[:1]:
            task.kill(block=False)

    def join(self) -> None:
        assert self.pool.join()

    def holds(self) -> None:
        assert self.running <= len(self.pool) <= self.size, f"{self.running} run, {len(self.pool)} are members, of a pool of {self.size}"
        assert 0 <= self.pool.free_count() <= self.size - len(self.pool), f"{self.pool.free_count()} slots are free beside {len(self.pool)} members"

    def verify(self) -> None:
        assert (self.running, len(self.pool), self.pool.free_count()) == (0, 0, self.size), (self.running, self.pool, self.pool.free_count())
        assert set(self.begun.values()) <= {1}, self.begun
        self.note("most", self.most)


class MapScene(Scene):
    """imap_unordered over a pool; each item comes out once."""

    def __init__(self, size: int, items: int, ordered: bool, *run: Any) -> None:
        self.size, self.items, self.ordered = size, items, ordered
        super().__init__(*run)

    def set_up(self) -> None:
        self.pool = Pool(self.size)
        self.running = 0
        self.start("reads", self.read)

    def job(self, item: int) -> int:
        self.running += 1
        sleep(0)
        self.running -= 1
        return item

    def read(self) -> None:
        got = list((self.pool.imap if self.ordered else self.pool.imap_unordered)(self.job, range(self.items)))
        assert sorted(got) == list(range(self.items)), f"out came {got}"
        assert not self.ordered or got == sorted(got), f"out came {got}"
        self.note("got", tuple(got))

    def holds(self) -> None:
        assert self.running <= self.size

    def verify(self) -> None:
        assert self.pool.free_count() == self.size


class GroupScene(Scene):
    """A group is killed while somebody joins it and somebody spawns into it; its members wait for an event that comes or not."""

    def set_up(self) -> None:
        self.group = Group()
        self.event = Event()
        self.members = [self.group.spawn(self.member, name) for name in "mn"]
        self.start("joins", self.group.join)
        self.start("kills", self.group.kill)
        self.start("sets", self.event.set)

    def member(self, name: str) -> None:
        try:
            self.event.wait()
            self.note(name, "woken")
        finally:
            self.note(name, "ended")

    def verify(self) -> None:
        assert all(task.dead for task in self.members)
        assert len(self.group) == 0


# -- scopes -------------------------------------------------------------------------------------------------------------


class ScopeScene(Scene):
    """A task gets items inside a scope, which is cancelled, expires, or is killed through, while others put."""

    def __init__(self, tries: int, against: tuple[str, ...], shield: bool, *run: Any) -> None:
        self.tries, self.against, self.shield = tries, against, shield
        super().__init__(*run)

    def set_up(self) -> None:
        self.queue: Queue[int] = Queue()
        self.got: list[int] = []
        self.scope = CancelScope(timeout=LATER / 2 if "expires" in self.against else None)
        self.start("gets", self.get_all)
        self.start("puts", self.put_all)
        for what in self.against:
            self.start(what, {"cancels": self.scope.cancel, "expires": self.expire, "kills": lambda: self.kill("gets")}[what])
        self.ticks = 1

    def expire(self) -> None:
        self.clock.advance(LATER)

    def put_all(self) -> None:
        for item in range(self.tries):
            self.queue.put(item)
            sleep(0)

    def get_all(self) -> None:
        killed = False
        try:
            with self.scope:
                with CancelScope(shield=self.shield):
                    for _ in range(self.tries):
                        self.got.append(self.queue.get())
                sleep(0)
                self.note("gets", "all")
        except Boom:
            killed = True
        try:
            sleep(0)  # nothing of the scope reaches here
        except Boom:
            assert not killed, "killed twice"
            killed = True
        self.note("killed", killed)
        self.note("caught", self.scope.cancelled_caught)
        assert not self.scope.cancelled_caught or self.scope.cancel_called

    def verify(self) -> None:
        left = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        assert self.got + left == list(range(self.tries)), f"got {self.got}, left {left}: an item was lost, or came twice"
        if "kills" in self.against:
            killed = ("killed", True) in self.seen or isinstance(self.tasks["gets"].exception, Boom) or self.tasks["gets"].dead
            assert killed, "the kill was swallowed"
        if self.against == ("kills",) and not self.tasks["gets"].failed and ("gets", "all") in self.seen:
            assert not self.scope.cancelled_caught


class TaskGroupScene(Scene):
    """Children that get an item each, one that fails, and a group that is cancelled or whose owner is killed meanwhile."""

    def __init__(self, children: int, items: int, fails: bool, against: tuple[str, ...], *run: Any) -> None:
        self.children, self.items, self.fails, self.against = children, items, fails, against
        super().__init__(*run)

    def set_up(self) -> None:
        self.queue: Queue[int] = Queue()
        self.got: list[int] = []
        self.alive = 0
        self.group = TaskGroup()
        self.may_wait_for_ever = self.items < self.children and not self.fails and not self.against
        self.start("owner", self.own)
        self.start("puts", self.put_all)
        for what in self.against:
            self.start(what, {"cancels": self.group.cancel_scope.cancel, "kills": lambda: self.kill("owner")}[what])

    def own(self) -> None:
        try:
            with self.group as group:
                for _ in range(self.children):
                    group.spawn(self.child)
                if self.fails:
                    group.spawn(self.fail)
        except* KeyError:
            self.note("owner", "failed")
        except* Boom:
            self.note("owner", "killed")
        assert self.alive == 0, f"the group was left, and {self.alive} of its tasks run"

    def child(self) -> None:
        self.alive += 1
        try:
            self.got.append(self.queue.get())
        finally:
            self.alive -= 1

    def fail(self) -> None:
        raise KeyError("on purpose")

    def put_all(self) -> None:
        for item in range(self.items):
            self.queue.put(item)
            sleep(0)

    def verify(self) -> None:
        left = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        assert sorted(self.got + left) == list(range(self.items)), f"got {self.got}, left {left}"
        assert (
            not self.fails or ("owner", "failed") in self.seen or not self.tasks["owner"].successful() or "cancels" in self.against or "kills" in self.against
        )
        self.note("got", len(self.got))
