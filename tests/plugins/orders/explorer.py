"""Every order in which tasks can run: a scheduler that follows recorded choices, and a depth-first search over them.

Theory
======
Tasks here are preempted nowhere but at a park, a yield and their end. What runs between two of these is a *step*, and a program is deterministic but for which
ready task takes the next one. The hub asks its scheduler exactly that, in ``popleft``, so that a *schedule* is the list of names that were chosen there, and a
program has finitely many of them if each task makes finitely many steps. The search keeps no states. It runs the program from its start, follows a list of
choices, then takes the first that is ready, as the default scheduler would, and notes what else it could have taken; the next run follows the same
list up to the last place where something is left to try (stateless model checking, after Godefroid's VeriSoft).

Time is no part of it. The clock stands; where timeouts matter, a step of the program moves it (`StoppedClock.advance`), and the timers that are due fire
in that step. So a timeout comes at an explored moment, as a kill does.

**Sleep sets** (Godefroid). Two steps *commute* if neither uses an object that the other uses: run one after the other, in either order, they lead to the
same state, and neither keeps the other from being possible. A program may declare what the next step of a task uses (`Orders.uses`); one of which nothing is
declared commutes with none. Once all that begins with step *a* has been tried from a state, and *b* is taken there instead, *a* goes to sleep: it need not
be tried until a step is taken that does not commute with it, since till then whatever follows is the same as something that began with *a*. A run in
which everybody who is ready sleeps is such a repetition, and is given up. That leaves out orders, but no state: each state that can be reached is reached.
So what is checked in every state, and in every last state, is checked in all.

Steps commute here only if the rest of the machine does not tell them apart either. The order of entries in ``ready`` does not matter, since any may be chosen;
nor which worker runs a task; the clock and the hub's callbacks are steps that commute with none.

**Twins.** Exchange the names of two tasks that have not begun and will do the same, and the state is the same. So which of them begins first need not be
tried twice: what is left out is what was tried, with other names. Only where names are treated alike (nobody is killed by name, nothing compares items),
and only in programs over one thing, in which no steps commute, so that sleep sets leave nothing out besides.

Invariants
==========
1. A run follows the choices that it is given, and from there on takes the first that is ready.
2. Every order is run once, and none twice.
3. The same choices give the same alternatives. If they don't, that is an error, which names the step.
4. With sleep sets, the same states and outcomes are reached as without; with twins, the same but for their names.
5. What is wrong in a schedule is raised with the choices that lead there; these lead there again.
6. A timeout fires in the step that moves the clock, and in no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

import coopcore
from coopcore import Task, current_task, idle
from coopcore.lowlevel import throw_in

T = TypeVar("T")

MOST_STEPS = 2_000
"""Of one schedule: a program that takes more is taken never to end in that order."""


class OrdersError(AssertionError):
    """Something is wrong with one order. ``choices`` leads there: pass it to `replay`."""

    choices: tuple[str, ...] = ()


class NotDeterministic(OrdersError):
    """The same choices have led to other alternatives: something but the order decides what the program does."""


class NoEnd(OrdersError):
    """In this order the program goes on and on."""


class Step:
    """A moment at which somebody is chosen: who is ready, who was chosen, what that step uses, and who need not be tried there."""

    __slots__ = ("asleep", "chosen", "ready", "uses")

    def __init__(self, ready: tuple[str, ...], asleep: dict[str, frozenset[str] | None]) -> None:
        self.ready = ready
        self.asleep = asleep
        self.chosen = ""
        self.uses: frozenset[str] | None = None

    def choose(self) -> bool:
        """Take the first that is awake. False if there is none."""
        self.chosen = next((name for name in self.ready if name not in self.asleep), "")
        return bool(self.chosen)


def commute(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    """Whether two steps that use these objects lead to the same state in either order. None: not known what it uses."""
    return one is not None and other is not None and not one & other


class Orders:
    """The scheduler: FIFO until `begin`, then by choice until `end`. A `coopcore.protocols.Scheduler`."""

    def __init__(self, reduce: bool = True) -> None:
        self.path: list[Step] = []
        self.repeats = False  # this run has turned out to be a repetition
        self._reduce = reduce
        self._entries: list[Any] = []
        self._names: dict[Any, str] = {}
        self._uses: dict[str, frozenset[str] | None] = {}
        self._scene: Scene | None = None
        self._depth = 0
        self._checked = 0  # how many steps of the path lead to states that were checked in an earlier run

    # -- what the hub calls ---------------------------------------------------------------------------------------------

    def append(self, entry: Any) -> None:
        self._entries.append(entry)

    def popleft(self) -> Any:
        entries = self._entries
        if self._scene is None or (len(entries) == 1 and entries[0] is self._main):
            return entries.pop(0)
        for place, entry in enumerate(entries):
            if isinstance(entry, Task) and entry.dead:
                return entries.pop(place)  # killed before it began: its turn does nothing
        try:
            return entries.pop(self._choose([self._name_of(entry) for entry in entries]))
        except Exception as error:  # it belongs to the search, and not to whoever happens to run
            self._scene = None
            throw_in(self._main, error)
            return entries.pop(0)

    def __len__(self) -> int:
        return len(self._entries)

    # -- choosing -------------------------------------------------------------------------------------------------------

    def name(self, task: Task[Any], name: str, uses: Iterable[str] | None = None) -> None:
        """What the task is called in choices, and which objects its first step uses. One without a name gets a number, in the order of first appearance."""
        self._names[task] = name
        self.uses(name, uses)

    def uses(self, name: str, objects: Iterable[str] | None) -> None:
        """Declare all that the next steps of a task use, until it is called again. None: not known."""
        self._uses[name] = None if objects is None else frozenset(objects)

    def begin(self, scene: Scene) -> None:
        """From now on follow the path, and tell the scene of each step. What is wrong is thrown into the caller, who waits meanwhile."""
        self._main = current_task()
        self.repeats = False
        self._depth = 0
        self._scene = scene

    def end(self) -> None:
        """From now on take turns as the default scheduler does, and forget the names."""
        self._scene = None
        self._names.clear()
        self._uses.clear()
        if not self.repeats and self._depth < len(self.path):
            raise NotDeterministic(
                f"the run ended after {self._depth} steps, and after the same choices there had been one more, of {self.path[self._depth].chosen!r}"
            )

    @property
    def searching(self) -> bool:
        """False before the first choice of a run, after the last, and once something was found to be wrong."""
        return self._scene is not None

    def _name_of(self, entry: Any) -> str:
        if not isinstance(entry, Task):
            return "hub"
        name = self._names.get(entry)
        if name is None:
            name = self._names[entry] = f"task{len(self._names)}"
        return name

    def _choose(self, ready: list[str]) -> int:
        path, depth, scene = self.path, self._depth, self._scene
        assert scene is not None
        if self.repeats:
            scene.goes_on(ready[0])
            return 0
        if depth >= self._checked:
            scene.check()
        if depth == len(path):
            step = Step(tuple(ready), self._asleep_at(ready, scene) if self._reduce else {})
            if not step.choose():
                self.repeats = True
                scene.goes_on(ready[0])
                return 0
            if depth >= MOST_STEPS:
                raise NoEnd(f"no end after {depth} steps; the last were {[step.chosen for step in path[-20:]]}")
            path.append(step)
        step = path[depth]
        if step.ready != tuple(ready):
            if step.ready:
                raise NotDeterministic(f"step {depth} had the alternatives {step.ready}, and now, after the same choices, has {tuple(ready)}")
            step.ready = tuple(ready)  # a recorded choice
            if step.chosen not in ready:
                raise NotDeterministic(f"step {depth} was to be that of {step.chosen!r}, and only {ready} are ready")
        step.uses = self._uses.get(step.chosen)
        self._depth = depth + 1
        scene.goes_on(step.chosen)
        return ready.index(step.chosen)

    def _asleep_at(self, ready: list[str], scene: Scene) -> dict[str, frozenset[str] | None]:
        asleep: dict[str, frozenset[str] | None] = dict.fromkeys(scene.twins(ready))  # for this step only
        if self.path:
            last = self.path[-1]
            asleep.update((name, uses) for name, uses in last.asleep.items() if commute(uses, last.uses))
        return asleep

    # -- the search -----------------------------------------------------------------------------------------------------

    def follow(self, choices: Iterable[str]) -> None:
        """Let the next run begin with these choices."""
        self.path = []
        for name in choices:
            step = Step((), {})
            step.chosen = name
            self.path.append(step)

    def go_on(self) -> bool:
        """Make the path that of the next order. False if there is none left."""
        path = self.path
        while path:
            step = path[-1]
            step.asleep[step.chosen] = step.uses
            if step.choose():
                self._checked = len(path)
                return True
            path.pop()
        return False

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(step.chosen for step in self.path)


class StoppedClock:
    """Time that a program moves. It also makes the hub look at the timers then, and never else."""

    _LAP = 10_000_000  # more than tasks may be busy without a pass

    def __init__(self) -> None:
        self._now = 0
        self._pressure = 0

    def advance(self, seconds: float) -> None:
        """Move the clock. Due timers fire at the next park or yield, before anybody is chosen."""
        self._now += int(seconds * 1e9)
        self._pressure += self._LAP

    def now(self) -> int:
        return self._now

    def pressure(self) -> int:
        return self._pressure

    def wait(self, backend: Any, deadline: int | None, outside: bool) -> tuple[()]:
        if deadline is not None and deadline > self._now:
            self._now = deadline  # nobody can run: not in a schedule, whose end waits for `idle`
        return ()


class NoBackend:
    """Nothing outside ever becomes ready."""

    edge_triggered = True

    def watch(self, fd: int, events: int) -> None: ...
    def unwatch(self, fd: int) -> None: ...
    def poll(self, timeout: int | None) -> tuple[()]:
        return ()

    def wake(self) -> None: ...
    def fileno(self) -> None: ...
    def close(self) -> None: ...


class Nothing:
    """A tracer: where there is one, the hub looks whether the clock has moved at every switch, and not at every sixteenth."""

    def task_spawned(self, task: Any) -> None: ...

    task_started = task_parked = task_unparked = task_exited = task_spawned

    def task_failed(self, task: Any, error: BaseException) -> None: ...


class Scene(Protocol):
    """One run of a program: made anew for each order, by a callable that spawns its tasks and names them."""

    def check(self) -> None:
        """Called in each new state, before the choice; raises AssertionError for what must not be. It must not wait."""

    def goes_on(self, name: str) -> None:
        """Called when it was chosen, before it runs. It must not wait."""

    def twins(self, ready: list[str]) -> Iterable[str]:
        """Those of ``ready`` that are the same, in all but the name, as another of ``ready``: only that one is tried."""

    def wakes_somebody(self) -> bool:
        """Called when nobody is ready: what the program's surroundings do then, such as to let time pass. False if nothing is left to do."""

    def end(self) -> Any:
        """Called at the end, when nobody is ready. Checks that this may be so, ends whoever is left, and returns what came of it, hashable."""


Make = Callable[[Orders, StoppedClock], Scene]


class Run(NamedTuple):
    """One order that was run, and what came of it."""

    choices: tuple[str, ...]
    outcome: Any
    """What `Scene.end` returned; None for a repetition."""
    repeats: bool


class Result:
    """What a search has found."""

    def __init__(self) -> None:
        self.orders = 0
        self.repetitions = 0
        self.steps = 0
        self.longest = 0
        self.outcomes: set[Any] = set()

    def add(self, run: Run) -> None:
        self.steps += len(run.choices)
        self.longest = max(self.longest, len(run.choices))
        if run.repeats:
            self.repetitions += 1
        else:
            self.orders += 1
            self.outcomes.add(run.outcome)

    def __repr__(self) -> str:
        return f"<{self.orders} orders and {self.repetitions} repetitions, {self.steps} steps, at most {self.longest} each, {len(self.outcomes)} outcomes>"


def explore(make: Make, reduce: bool = True, tell: Callable[[Run], object] | None = None) -> Result:
    """Run every order, and `tell` of each. Raises the first error, with its ``choices``."""
    result = Result()
    orders = Orders(reduce)

    def search(clock: StoppedClock) -> Result:
        more = True
        while more:
            outcome = _run_once(make, orders, clock)
            run = Run(orders.choices, outcome, orders.repeats)
            result.add(run)
            if tell is not None:
                tell(run)
            more = orders.go_on()
        return result

    return _on_a_hub(orders, search)


def replay(make: Make, choices: Iterable[str]) -> Any:
    """Run one order, on a hub of its own: these choices, and then whoever is ready first. Returns what came of it, and raises what is wrong with it."""
    orders = Orders()
    orders.follow(choices)
    return _on_a_hub(orders, lambda clock: _run_once(make, orders, clock))


def _on_a_hub(orders: Orders, main: Callable[[StoppedClock], T]) -> T:
    clock = StoppedClock()
    return coopcore.run(main, clock, backend=NoBackend(), clock=clock, scheduler=orders, tracers=[Nothing()])


def _run_once(make: Make, orders: Orders, clock: StoppedClock) -> Any:
    scene = make(orders, clock)
    orders.begin(scene)
    try:
        idle()  # until nobody is ready
        while scene.wakes_somebody():
            idle()
        orders.end()
        outcome = scene.end()
    except AssertionError as error:
        wrong = error if isinstance(error, OrdersError) else OrdersError(str(error))
        wrong.choices = orders.choices
        wrong.add_note(f"choices: {' '.join(wrong.choices)}")
        raise wrong from wrong.__cause__
    return None if orders.repeats else outcome
