"""The tracer's contract, and what the hub tells a tracer."""

from __future__ import annotations

import pytest

import coopcore
from coopcore.lowlevel import ParkingLot
from coopcore.testing import TracerContract

from .seams.mutants import check_mutant, untried
from .seams.tracer import RecordingTracer


class TestRecordingTracer(TracerContract):
    def make(self):
        return RecordingTracer()


class Lacking:
    pass


class Raising(RecordingTracer):
    def task_parked(self, task):
        raise RuntimeError("no tracing today")


class Waiting(RecordingTracer):
    def task_started(self, task):
        coopcore.sleep(0)


class Meddling(RecordingTracer):
    """Gives its own errors for those of the task."""

    def task_failed(self, task, error):
        error.args = ("meddled with",)


class OneHub(RecordingTracer):
    first = None

    def task_spawned(self, task):
        self.first = self.first or task.hub
        assert task.hub is self.first, "another hub"


MUTANTS = [
    (Lacking, ["test_it_has_every_method"]),
    (Raising, ["test_hub_it_takes_every_event"]),
    (Waiting, ["test_hub_it_takes_every_event"]),
    (Meddling, ["test_hub_it_changes_nothing"]),
    (OneHub, ["test_hub_it_takes_two_hubs_in_a_row"]),
]


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.filterwarnings("ignore::coopcore.LeftBehindWarning")
def test_the_contract_finds_a_fault(make, tests, capfd):
    check_mutant(TracerContract, make, tests)


def test_each_test_of_the_contract_can_fail():
    assert not untried(TracerContract, MUTANTS)


def _traced(main):
    tracer = RecordingTracer()
    tasks = coopcore.run(main, tracers=[tracer])
    return tracer, tasks


def test_a_task_that_waits_and_is_woken():
    def main():
        lot = ParkingLot("the doorbell")
        task = coopcore.spawn(lot.park)
        coopcore.sleep(0)
        lot.unpark()
        task.join()
        return task

    tracer, task = _traced(main)
    assert tracer.of(task.ident) == ["spawned", "started", "parked", "unparked", "exited"]
    assert (task.ident, "the doorbell") in tracer.waits


def test_a_task_that_times_out_is_unparked():
    def main():
        task = coopcore.spawn(ParkingLot("nothing").park, 0.001)
        task.join()
        return task

    tracer, task = _traced(main)
    assert tracer.of(task.ident) == ["spawned", "started", "parked", "unparked", "exited"]


def test_a_task_that_fails():
    def main():
        task = coopcore.spawn(lambda: 1 / 0)
        task.join()
        return task

    tracer, task = _traced(main)
    assert tracer.of(task.ident) == ["spawned", "started", "failed"]
    assert isinstance(tracer.errors[task.ident], ZeroDivisionError)


def test_a_task_killed_while_it_waits():
    def main():
        task = coopcore.spawn(ParkingLot("nothing").park)
        coopcore.sleep(0)
        task.kill()
        return task

    tracer, task = _traced(main)
    assert tracer.of(task.ident) == ["spawned", "started", "parked", "unparked", "exited"]


def test_a_task_killed_before_it_began_never_starts():
    def main():
        task = coopcore.spawn(print)
        task.kill()
        return task

    tracer, task = _traced(main)
    assert tracer.of(task.ident) == ["spawned", "exited"]


def test_each_park_has_its_unpark():
    def main():
        tasks = [coopcore.spawn(coopcore.sleep, 0.0001 * (number % 3)) for number in range(60)]
        coopcore.joinall(tasks)
        return tasks

    tracer, tasks = _traced(main)
    for task in tasks:
        events = [event for event in tracer.of(task.ident) if event in ("parked", "unparked")]
        assert events == ["parked", "unparked"] * (len(events) // 2)


def test_a_tracer_that_raises_is_removed_and_reported(capfd):
    def main():
        coopcore.sleep(0.0001)
        return coopcore.spawn(coopcore.sleep, 0.0001).join()

    assert coopcore.run(main, tracers=[Raising()]) is True
    err = capfd.readouterr().err
    assert err.count("was removed from") == 1
    assert "task_parked" in err and "no tracing today" in err


def test_what_is_no_tracer_is_refused():
    with pytest.raises(coopcore.errors.InterfaceError, match="lacks task_exited"):
        coopcore.run(print, tracers=[Lacking()])
