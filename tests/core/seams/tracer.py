"""A tracer that writes everything down."""

from __future__ import annotations


class RecordingTracer:
    """``log`` is a list of ``(event, ident)``; ``waits`` says what each park was for; ``names`` who is who."""

    def __init__(self):
        self.log = []
        self.waits = []
        self.names = {}
        self.errors = {}

    def _note(self, event, task):
        self.names[task.ident] = task.name
        self.log.append((event, task.ident))

    def of(self, ident):
        return [event for event, number in self.log if number == ident]

    def task_spawned(self, task):
        self._note("spawned", task)

    def task_started(self, task):
        self._note("started", task)

    def task_parked(self, task):
        self.waits.append((task.ident, task.waiting_on))
        self._note("parked", task)

    def task_unparked(self, task):
        self._note("unparked", task)

    def task_exited(self, task):
        self._note("exited", task)

    def task_failed(self, task, error):
        self.errors[task.ident] = error
        self._note("failed", task)
