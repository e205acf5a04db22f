"""Small programs over one primitive, or several, in lock-step with a model.

A program is a tuple of calls for each of a few *agents*, named a, b, c, d; an agent yields between its calls. A call is a word of the primitive's model,
such as ``"acquire"``, perhaps with the name of the thing it is for: ``"acquire:left"``. Two words are for all: ``"kill b"`` throws a `Boom` into agent b,
which survives it, and ``"tick"`` lets the time of every timed wait be over.

The model is told of each call before it is made, and says at once what comes of it, or that the agent waits. So it always knows, exactly:

- of whoever waits: that the task is parked, and in nothing that could end its wait (before each choice);
- of whoever does not: that the task is not parked, so that nobody is left waiting who could run;
- what each call returns or raises, when it does; and what can be seen of the primitive from outside.

At the end, when nobody can run, only those are left who wait by the model.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from coopcore import Deadlock, TaskExit, idle, sleep, spawn
from coopcore.lowlevel import throw_in

from .explorer import Orders, StoppedClock
from .models import WAITS, Model

LATER = 5.0  # seconds that a timed wait waits
NAMES = "abcdefgh"


class Boom(Exception):
    """What agents are killed with."""


class Program(NamedTuple):
    """What is run in all orders: the things, each with its model, and the calls of each agent."""

    things: dict[str, Any]
    """By name: a callable that makes a `Model`, which makes the primitive."""
    calls: tuple[tuple[str, ...], ...]

    def __call__(self, orders: Orders, clock: StoppedClock) -> Stage:
        return Stage(self, orders, clock)

    def __repr__(self) -> str:
        return " | ".join(", ".join(calls) for calls in self.calls)


@functools.cache
def twins_of(program: tuple[tuple[str, ...], ...]) -> dict[str, set[str]]:
    """Of each agent, those before it that make the same calls. Who is killed by name has none."""
    victims = {call[-1] for calls in program for call in calls if call.startswith("kill ")}
    named = [(name, calls) for name, calls in zip(NAMES, program, strict=False) if name not in victims]
    return {name: {other for other, others in named if others == calls and other < name} for name, calls in named}


class Agent:
    """A task that makes calls, one after the other, and holds each outcome against the model's."""

    def __init__(self, stage: Stage, name: str, calls: tuple[str, ...]) -> None:
        self.stage = stage
        self.name = name
        self.calls = [stage.parse(call) for call in calls]
        self.log: list[Any] = []
        self.made: list[tuple[str, str, Any, Any]] = []  # of what, the word, the item, the outcome
        self.model: Model | None = None  # that of the call it is in
        self.booms = 0  # that were thrown while it did not wait, and it has not met
        self.begun = False
        self.over = False
        self.task = spawn(self._run)
        self.task.name = name
        stage.orders.name(self.task, name, self.calls[0][0] if self.calls else ())

    def _run(self) -> None:
        self.begun = True
        for number, (uses, thing, word) in enumerate(self.calls):
            if number:
                self.stage.orders.uses(self.name, uses)
                self._pause()
            try:
                self.log.append(self._call(thing, word, number))
            except Deadlock:  # the end of the schedule
                break
        self.over = True

    def _pause(self) -> None:
        met = 0
        try:
            sleep(0)
        except Boom:
            met = 1
            self.log.append("killed between")
        self._stop_if_over()
        due = min(self.booms, 1)
        assert met == due, f"{self.name} was to meet {due} kills in a yield, and met {met}"
        self.booms -= met

    def _call(self, thing: str, word: str, number: int) -> Any:
        stage = self.stage
        if word == "tick":
            return stage.tick()
        if word.startswith("kill "):
            return stage.kill(word[-1])
        self.model = model = stage.models[thing]
        item = (ord(self.name) * 5 + number * 3) % 4, self.name, number
        expected = model.call(self.name, word, item)
        if expected is WAITS and self.booms:  # a kill that came before is met by the first park
            self.booms -= 1
            model.kill(self.name)
            model.resumed(self.name)
        try:
            outcome = model.act(stage.things[thing], word, item)
        except Deadlock:
            raise
        except Boom:
            outcome = "killed"
        except Exception as error:
            outcome = type(error).__name__
        except BaseException as error:  # Timeout
            if type(error).__name__ != "Timeout":
                raise
            outcome = "Timeout"
        self._stop_if_over()
        if expected is WAITS:
            expected = model.outcomes.pop(self.name, WAITS)
        self.model = None
        if expected is WAITS:
            raise AssertionError(f"{word!r} of {self.name} came to {outcome!r}, and was to wait on")
        assert outcome == expected, f"{word!r} of {self.name} came to {outcome!r}, and was to come to {expected!r}"
        self.made.append((thing, word, item, outcome))
        return outcome

    def _stop_if_over(self) -> None:
        """Something was found to be wrong: nothing after it means anything."""
        if not self.stage.orders.searching:
            raise TaskExit


class Stage:
    """One run of a program: a `explorer.Scene`."""

    def __init__(self, program: Program, orders: Orders, clock: StoppedClock) -> None:
        self.orders = orders
        self.clock = clock
        self.models: dict[str, Model] = {name: make() for name, make in program.things.items()}
        self.things = {name: model.make() for name, model in self.models.items()}
        self.first = next(iter(self.models))
        # With several things steps commute, and it would have to be argued that both ways of leaving out orders go together.
        treats_alike = len(self.models) == 1 and not any(model.knows_names for model in self.models.values())
        self.twins_of = twins_of(program.calls) if treats_alike else {}
        self.agents = {name: Agent(self, name, calls) for name, calls in zip(NAMES, program.calls, strict=False)}

    def parse(self, call: str) -> tuple[tuple[str, ...] | None, str, str]:
        """What it uses, the name of the thing, and the word."""
        word, _, thing = call.partition(":")
        if word == "tick" or word.startswith("kill "):
            return None, "", word
        return (thing or self.first,), thing or self.first, word

    def kill(self, name: str) -> str:
        victim = self.agents[name]
        if not victim.over:
            if not victim.begun:
                victim.over = True  # it never begins
            elif victim.model is None or not victim.model.kill(name):
                victim.booms += 1
        victim.task.kill(Boom, block=False)
        return "kills"

    def tick(self) -> str:
        for model in self.models.values():
            model.expire()
        self.clock.advance(LATER * 2)
        return "ticks"

    # -- checking -------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        self._receive()
        for name, model in self.models.items():
            seen, known = model.observe(self.things[name]), model.state()
            assert seen == known, f"{name} is {seen!r}, and was to be {known!r}"
        for agent in self.agents.values():
            model_ = agent.model
            if model_ is not None:
                waits, parked = model_.waits(agent.name), agent.task.state == "parked"
                assert parked or not waits, f"{agent.name} runs on, and was to wait"
                assert waits or not parked, f"{agent.name} waits for {agent.task.waiting_on}, and could go on"

    def _receive(self) -> None:
        """Raise what an agent has found wrong."""
        for agent in self.agents.values():
            error = agent.task.exception if agent.task.failed else None
            if error is not None and not isinstance(error, Boom):  # that of one that had not begun
                raise error

    def goes_on(self, name: str) -> None:
        agent = self.agents.get(name)
        if agent is not None and agent.model is not None:
            agent.model.resumed(name)

    def twins(self, ready: list[str]) -> list[str]:
        new = {name for name in ready if name in self.agents and not self.agents[name].begun}
        return [name for name in new if not new.isdisjoint(self.twins_of.get(name, ()))]

    def wakes_somebody(self) -> bool:
        timed = any(model.has_timed() for model in self.models.values())
        if timed:
            self.tick()
        return timed

    def end(self) -> tuple[Any, ...]:
        self.check()
        for agent in self.agents.values():
            assert agent.over or agent.model is not None, f"{agent.name} did not end, and waits for nothing"
        calls = [call for agent in self.agents.values() for call in agent.made]
        for name, model in self.models.items():
            model.audit(self.things[name], [(word, item, outcome) for thing, word, item, outcome in calls if thing == name])
        logs = tuple(tuple(agent.log) + (("waits for ever",) if agent.model is not None else ()) for agent in self.agents.values())
        self._end_all()
        return logs

    def _end_all(self) -> None:
        for _ in range(2):  # one who waits for a notification waits for the lock after the first
            for agent in self.agents.values():
                throw_in(agent.task, Deadlock("this order is over"))
            idle()
        assert all(agent.task.dead for agent in self.agents.values()), [agent.task for agent in self.agents.values()]
