"""Agents: tasks that make one call each time that they are told to, for tests that compare a primitive with a model.

What came of each agent's calls is in its ``log``: the value, the name of the error, ``killed`` for a `Boom` that ended a call, ``late`` for one that came
when there was no call to end.
"""

from __future__ import annotations

from collections.abc import Callable

from coopcore import sleep, spawn
from coopcore.lowlevel import park, unpark


class Boom(Exception):
    """What agents are killed with; they live on."""


class Agent:
    def __init__(self, number):
        self.number = number
        self.log = []
        self.task = spawn(self._run)

    def _run(self):
        while True:
            try:
                call = park(self)
                if call is None:
                    return
            except Boom:
                self.log.append("late")
                continue
            try:
                self.log.append(call())
            except Boom:
                self.log.append("killed")
            except Exception as error:
                self.log.append(type(error).__name__)

    def do(self, call: Callable[[], object]):
        """Have it make the call in its next turn. It must have ended its last one."""
        assert unpark(self.task, call)

    def boom(self):
        self.task.kill(Boom, block=False)

    def end(self):
        assert unpark(self.task, None)
        self.task.join()


def settle():
    """Let everybody run who can; no time passes on a `JumpingClock`."""
    for _ in range(12):
        sleep(0)
