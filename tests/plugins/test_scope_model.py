"""Scopes against a model: hypothesis writes programs of nested scopes, cancels, shields, moved deadlines, kills, timeouts and waits.

One interpreter runs a program twice: on `CancelScope` and real parks under a virtual clock, and on `ModelScope` and a scheduler of a few lines. The
two logs must be equal. It is a generator that yields its waits, and is told, or gets raised, what came of each. *Controllers* are tasks that do one
thing, such as a kill, at one moment. So the model says of each wait which exception ends it, whose `Cancelled` that is, and when.

A second test runs random trees of groups, and checks at each exit what a group promises.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from seams.clock import JumpingClock

from coop_plugins.scope import Cancelled, CancelScope, TaskGroup, current_time
from coopcore import Task, TaskExit, Timeout, current_task, killall, run, sleep, spawn
from coopcore.lowlevel import park, scope_of, throw_in

Wait = tuple[str, int]
Program = list[Any]


class Kill(BaseException):
    """What the controllers throw, in both worlds. A number tells one from another."""


class ModelCancelled(BaseException):
    def __init__(self, scope: ModelScope) -> None:
        self.scope = scope


class ModelTimeout(BaseException):
    pass


class Interpreter:
    """Runs a program in a world, and logs what comes of it."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.log: list[Any] = []
        self.scopes: list[Any] = []  # all that were made, by number
        self.open: list[int] = []
        self.steps = 0

    def name(self, error: BaseException) -> Any:
        if isinstance(error, self.world.cancelled):
            return "Cancelled", self.scopes.index(error.scope)
        return ("Kill", *error.args) if isinstance(error, Kill) else "Timeout"

    def act(self, what: str, n: int, m: int) -> None:
        """Something that does not wait, done to an open scope: by the program itself, or by a controller."""
        if what == "kill":
            self.world.throw(Kill(m))
        elif self.open:
            scope = self.scopes[self.open[n % len(self.open)]]
            if what == "cancel":
                scope.cancel()
            elif what == "shield":
                scope.shield = not scope.shield
            elif what == "move":
                scope.deadline = self.world.now() + m if m < 9 else float("inf")

    def block(self, program: Program) -> Generator[Wait, None, None]:
        for what, n, m, inner in program:
            self.steps += 1
            if what in ("yield", "wait"):
                try:
                    yield what, m
                except BaseException as error:
                    self.log.append((what, self.world.now(), self.name(error)))
                    raise
                self.log.append((what, self.world.now()))
            elif what == "scope":
                yield from self.scope(self.world.scope(None if m > 8 else m, bool(n % 3 == 0)), inner)
            elif what == "timeout":
                with self.world.timeout(m + 1):
                    yield from self.block(inner)
            elif what == "swallow":
                try:
                    yield from self.block(inner)
                except BaseException as error:
                    if isinstance(error, GeneratorExit):
                        raise
                    self.log.append(("swallowed", self.name(error)))
            elif what == "clean up":
                try:
                    yield from self.block(inner)
                finally:
                    if n % 2:
                        self.act("cancel", n // 2, m)
                    if n < 5:
                        yield "wait", 1
                    self.log.append("cleaned up")
            else:
                self.act(what, n, m)

    def scope(self, scope: Any, inner: Program) -> Generator[Wait, None, None]:
        number = len(self.scopes)
        self.scopes.append(scope)
        try:
            with scope:
                self.open.append(number)
                try:
                    yield from self.block(inner)
                finally:
                    self.open.remove(number)
        finally:
            self.log.append((number, scope.cancel_called, scope.cancelled_caught))


# -- the real world -----------------------------------------------------------------------------------------------------


class Real:
    cancelled = Cancelled

    def __init__(self) -> None:
        self.task = current_task()

    def now(self) -> int:
        return round(current_time())

    def scope(self, timeout: int | None, shield: bool) -> CancelScope:
        return CancelScope(timeout=timeout, shield=shield)

    def timeout(self, seconds: int) -> Timeout:
        return Timeout(seconds)

    def throw(self, error: BaseException) -> None:
        throw_in(self.task, error)


def run_real(program: Program, controllers: list[Any]) -> list[Any]:
    def main() -> list[Any]:
        world = Real()
        interpreter = Interpreter(world)
        waiting = []
        for when, what, n, m in controllers:
            task = spawn(lambda when=when, what=what, n=n, m=m: (sleep(when), interpreter.act(what, n, m)))  # type: ignore[misc]  # bound early
            waiting.append(task)
        sleep(0)
        me = current_task()
        steps = interpreter.block(program)
        error: BaseException | None = None
        try:
            while True:
                what, seconds = next(steps) if error is None else steps.throw(error)
                error = None
                try:
                    if what == "yield":
                        sleep(0)
                    else:
                        park("the model", seconds)
                except BaseException as raised:
                    error = raised
        except StopIteration:
            interpreter.log.append("end")
        except BaseException as raised:
            interpreter.log.append(("out", interpreter.name(raised)))
        assert scope_of(me) is None
        assert all(type(thrown.error) is Kill for thrown in me._pending or ())
        me._pending = None  # kills that nothing waited for any more
        killall(waiting)
        return interpreter.log

    return run(main, clock=JumpingClock())


# -- the model ----------------------------------------------------------------------------------------------------------


class ModelScope:
    def __init__(self, world: Model, timeout: int | None, shield: bool) -> None:
        self.world = world
        self.timeout = timeout
        self._shield = shield
        self.cancel_called = self.cancelled_caught = self.left = False

    def cancel(self) -> None:
        self.cancel_called = True
        self.world.poke()

    @property
    def shield(self) -> bool:
        return self._shield

    @shield.setter
    def shield(self, shield: bool) -> None:
        self._shield = shield
        self.world.poke()

    def expire(self) -> None:
        if not self.left and not self.cancel_called:
            self.cancel()

    def set_deadline(self, when: float) -> None:
        self.world.drop(self)
        if not self.cancel_called:
            if when <= self.world.time:
                self.cancel()
            elif when < 10**6:
                self.world.add(int(when), self, self.expire)

    deadline = property(None, set_deadline)

    def __enter__(self) -> None:
        self.world.stack.append(self)
        self.world.poke()
        if self.timeout is not None:
            self.set_deadline(self.world.time + self.timeout)

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> bool:
        assert self.world.stack.pop() is self
        self.left = True
        self.world.drop(self)
        outer = None if self._shield else self.world.blame()
        self.world.poke()
        if isinstance(error, ModelCancelled) and error.scope is self:
            if outer is None:
                self.cancelled_caught = True
                return True
            error.scope = outer
        return False


class ModelBlock:
    """A Timeout's block."""

    def __init__(self, world: Model, seconds: int) -> None:
        self.world = world
        self.seconds = seconds
        self.error = ModelTimeout()

    def __enter__(self) -> None:
        self.world.add(self.world.time + self.seconds, self, lambda: self.world.throw(self.error))

    def __exit__(self, *_: object) -> None:
        self.world.drop(self)
        self.world.pending = [error for error in self.world.pending if error is not self.error]


class Model:
    """One task with a stack of scopes, a line of timers, and a line of what is ready."""

    cancelled = ModelCancelled

    def __init__(self) -> None:
        self.time = 0
        self.timers: list[tuple[int, int, object, Callable[[], object]]] = []
        self.number = itertools.count()
        self.stack: list[ModelScope] = []
        self.pending: list[BaseException] = []
        self.ready: list[Callable[[], object] | None] = []  # None: the task itself
        self.parked = False
        self.outcome: BaseException | None = None
        self.met = False  # whether the task has met the present cancellation in a park that it began

    def now(self) -> int:
        return self.time

    def scope(self, timeout: int | None, shield: bool) -> ModelScope:
        return ModelScope(self, timeout, shield)

    def timeout(self, seconds: int) -> ModelBlock:
        return ModelBlock(self, seconds)

    def add(self, when: int, owner: object, call: Callable[[], object]) -> None:
        self.timers.append((when, next(self.number), owner, call))

    def drop(self, owner: object) -> None:
        self.timers = [timer for timer in self.timers if timer[2] is not owner]

    def throw(self, error: BaseException) -> None:
        if self.parked:
            self.wake(error)
        else:
            self.pending.append(error)

    def blame(self) -> ModelScope | None:
        found = None
        for scope in reversed(self.stack):
            found = scope if scope.cancel_called else found
            if scope.shield:
                break
        return found

    def poke(self) -> None:
        """Scopes have changed."""
        scope = self.blame()
        if scope is None:
            self.met = False
        elif self.parked:
            self.wake(ModelCancelled(scope))

    def wake(self, outcome: BaseException | None) -> None:
        if self.parked:
            self.parked = False
            self.outcome = outcome
            self.ready.append(None)

    def let_others_run(self) -> None:
        others, self.ready = self.ready, []
        for call in others:
            assert call is not None
            call()

    def raise_pending(self) -> None:
        if self.pending:
            raise self.pending.pop(0)
        scope = self.blame()
        if scope is not None:
            error = ModelCancelled(scope)
            if self.met:
                self.let_others_run()
            self.met = self.blame() is not None
            raise error

    def wait(self, what: str, seconds: int) -> None:
        if what == "yield":
            self.let_others_run()
            self.raise_pending()
            return
        self.raise_pending()
        self.parked = True
        self.add(self.time + seconds, self, lambda: self.wake(None))
        while True:
            while self.ready:
                call = self.ready.pop(0)
                if call is None:
                    self.drop(self)
                    outcome, self.outcome = self.outcome, None
                    if outcome is not None:
                        raise outcome
                    return
                call()
            self.time = min(when for when, *_ in self.timers)
            due = sorted((timer for timer in self.timers if timer[0] == self.time), key=lambda timer: timer[1])
            for timer in due:
                if timer in self.timers:
                    self.timers.remove(timer)
                    timer[3]()


def run_model(program: Program, controllers: list[Any]) -> list[Any]:
    world = Model()
    interpreter = Interpreter(world)
    for when, what, n, m in controllers:
        world.add(when, object(), lambda what=what, n=n, m=m: world.ready.append(lambda: interpreter.act(what, n, m)))  # type: ignore[misc]  # bound early
    steps = interpreter.block(program)
    error: BaseException | None = None
    try:
        while True:
            wait = next(steps) if error is None else steps.throw(error)
            error = None
            try:
                world.wait(*wait)
            except BaseException as raised:
                error = raised
    except StopIteration:
        interpreter.log.append("end")
    except BaseException as raised:
        interpreter.log.append(("out", interpreter.name(raised)))
    return interpreter.log


NUMBERS = st.integers(0, 9)
SIMPLE = st.tuples(st.sampled_from(["wait", "wait", "yield", "cancel", "cancel", "cancel", "shield", "move", "kill"]), NUMBERS, st.integers(1, 9), st.none())
STEP = st.recursive(
    SIMPLE,
    lambda step: st.tuples(
        st.sampled_from(["scope"] * 6 + ["timeout", "swallow", "clean up", "clean up"]), NUMBERS, NUMBERS, st.lists(step, min_size=1, max_size=6)
    ),
    max_leaves=15,
)
PROGRAMS = st.lists(STEP, min_size=5, max_size=12)
CONTROLLERS = st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["cancel", "cancel", "shield", "move", "kill"]), NUMBERS, st.integers(1, 9)), max_size=6)


def check(program: Program, controllers: list[Any]) -> None:
    # Kills that end the program before its tail would waste that: each top-level step is on its own.
    program = [("swallow", 0, 0, [step]) for step in program]
    assert run_real(program, controllers) == run_model(program, controllers)


def size(program: Program) -> int:
    return sum(1 + size(inner or []) for *_, inner in program)


LONG_PROGRAMS = st.lists(STEP, min_size=10, max_size=16).filter(lambda program: size(program) >= 30)
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])

# Random programs of this size seldom cancel an outer scope just while the Cancelled of an inner one is on its way.
ON_ITS_WAY = [
    ("scope", 1, 9, [("scope", 1, 9, [("clean up", 5, 1, [("cancel", 1, 1, None), ("wait", 0, 1, None)])]), ("wait", 0, 3, None)]),
]

test_scopes_do_what_the_model_does = QUICK(example(ON_ITS_WAY, [])(given(PROGRAMS, CONTROLLERS)(check)))
test_scopes_do_what_the_model_does_for_long = pytest.mark.soak(pytest.mark.timeout(600)(LONG(given(LONG_PROGRAMS, CONTROLLERS)(check))))


# -- groups -------------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """What tasks of the trees fail with."""


class Tree:
    """Runs a random tree of groups. What the tasks fail with is written down, and so is what comes out of each group."""

    def __init__(self) -> None:
        self.alive: set[Task[Any]] = set()
        self.groups: list[TaskGroup] = []
        self.tasks: list[Task[Any]] = []

    def block(self, program: Program) -> None:
        for what, n, m, inner in program:
            if what == "wait":
                sleep(m)
            elif what == "yield":
                sleep(0)
            elif what == "fail":
                raise Failed(n)
            elif what == "cancel" and self.groups:
                self.groups[n % len(self.groups)].cancel_scope.cancel()
            elif what == "kill" and self.tasks:
                self.tasks[n % len(self.tasks)].kill(block=False)
            elif what == "scope":
                with CancelScope(timeout=m, shield=n % 3 == 0):
                    self.block(inner)
            elif what == "timeout":
                with Timeout(m, False):
                    self.block(inner)
            elif what == "clean up":
                try:
                    self.block(inner)
                finally:
                    with CancelScope(shield=True):
                        sleep(1)
            elif what == "group":
                self.group(inner, shield=n % 4 == 0, fails=n % 2 == 0)

    def group(self, program: Program, shield: bool, fails: bool) -> None:
        group = TaskGroup()
        group.cancel_scope.shield = shield
        self.groups.append(group)
        children: list[Task[Any]] = []
        try:
            with group:
                for step in program:
                    if step[0] in ("wait", "yield"):
                        self.block([step])
                    else:
                        children.append(group.spawn(self.block, [step]))
                        self.tasks.append(children[-1])
        except* Failed:
            if fails:
                raise
        finally:
            self.groups.remove(group)
            assert all(child.dead for child in children)
            for child in children:
                self.tasks.remove(child)
                assert scope_of(child) is None
                assert child._pending is None
                # A task that did not fail by itself was cancelled by a scope around it, or killed.
                assert child.exception is None or isinstance(child.exception, Cancelled | Failed | BaseExceptionGroup)


def flat(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [leaf for error in group.exceptions for leaf in (flat(error) if isinstance(error, BaseExceptionGroup) else [error])]


LEAF = st.tuples(st.sampled_from(["wait", "wait", "yield", "fail", "cancel", "kill"]), NUMBERS, NUMBERS, st.none())
GROUPS = st.recursive(
    LEAF,
    lambda step: st.tuples(st.sampled_from(["group"] * 4 + ["scope", "timeout", "clean up"]), NUMBERS, NUMBERS, st.lists(step, min_size=1, max_size=6)),
    max_leaves=15,
)


def check_groups(program: Program) -> None:
    def main() -> None:
        tree = Tree()
        for step in program:
            task = spawn(tree.block, [step])
            tree.tasks.append(task)
            task.join()
            tree.tasks.remove(task)
            error = task.exception
            assert error is None or all(isinstance(leaf, Failed) for leaf in (flat(error) if isinstance(error, BaseExceptionGroup) else [error]))
            assert task.failed or task.value is None or isinstance(task.value, TaskExit)
            assert scope_of(task) is None
        sleep(0)
        hub = current_task().hub
        assert hub.tasks() == [current_task()]
        assert len(hub.timers) == 0

    run(main, clock=JumpingClock())


test_groups_keep_what_they_promise = QUICK(given(st.lists(GROUPS, min_size=2, max_size=8))(check_groups))
test_groups_keep_what_they_promise_for_long = pytest.mark.soak(
    pytest.mark.timeout(600)(LONG(given(st.lists(GROUPS, min_size=10, max_size=14).filter(lambda program: size(program) >= 30))(check_groups)))
)
