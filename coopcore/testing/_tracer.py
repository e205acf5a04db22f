"""The contract of `protocols.Tracer`: it takes everything that a hub tells, raises nothing, and never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import coopcore

from ..lowlevel import ParkingLot, yield_now
from ..protocols import TaskView, Tracer

EVENTS = ("task_spawned", "task_started", "task_parked", "task_unparked", "task_exited", "task_failed")


class _Watched:
    """A tracer around another, that notes what it raises and whether anything else happened while it was called: then it parked."""

    def __init__(self, inner: Tracer) -> None:
        self.inner = inner
        self.errors: list[str] = []
        self.told: list[str] = []
        self._inside = ""

    def _tell(self, event: str, *args: Any) -> None:
        self.told.append(event)
        if self._inside:
            self.errors.append(f"{self._inside}() let other tasks run: a tracer must not wait, yield or start anything")
            return
        self._inside = event
        try:
            getattr(self.inner, event)(*args)
        except BaseException as error:
            self.errors.append(f"{event}() raised {type(error).__name__}: {error}")
        finally:
            self._inside = ""

    def task_spawned(self, task: TaskView) -> None:
        self._tell("task_spawned", task)

    def task_started(self, task: TaskView) -> None:
        self._tell("task_started", task)

    def task_parked(self, task: TaskView) -> None:
        self._tell("task_parked", task)

    def task_unparked(self, task: TaskView) -> None:
        self._tell("task_unparked", task)

    def task_exited(self, task: TaskView) -> None:
        self._tell("task_exited", task)

    def task_failed(self, task: TaskView, error: BaseException) -> None:
        self._tell("task_failed", task, error)


def _eventful() -> list[str]:
    """A program in which everything happens that a tracer is told of. Returns what it did, which no tracer may change."""
    done: list[str] = []
    lot = ParkingLot("somebody to wake it")

    def fail() -> None:
        raise ValueError("on purpose")

    def wait(timeout: float | None) -> None:
        done.append(f"woken {lot.park(timeout)}")

    waiters = [coopcore.spawn(wait, None), coopcore.spawn(wait, 0.001)]
    unstarted = coopcore.spawn(wait, None)
    unstarted.kill()
    victim = coopcore.spawn(wait, None)
    yield_now()
    victim.kill()
    waiters[1].join()  # its timeout first, so that the order depends on no clock
    lot.unpark()
    waiters[0].join()
    failed = coopcore.spawn(fail)
    failed.join()
    done.append(f"failed with {failed.exception!r}")
    coopcore.joinall([coopcore.spawn(coopcore.sleep, 0) for _ in range(300)])
    nested = coopcore.spawn(lambda: coopcore.spawn(lambda: "inner").get())
    done.append(nested.get())
    return done


class TracerContract:
    """Subclass it, and let ``make`` return a new tracer."""

    def make(self) -> Tracer:
        raise NotImplementedError("a contract is subclassed, with a make() that returns a new tracer")

    def test_it_has_every_method(self) -> None:
        tracer = self.make()
        missing = [event for event in EVENTS if not callable(getattr(tracer, event, None))]
        assert not missing, f"{tracer!r} lacks {', '.join(missing)} of coopcore.protocols.Tracer; an empty body is enough"

    def test_hub_it_takes_every_event(self) -> None:
        watched = self._trace(_eventful)
        assert not watched.errors, f"the tracer would be removed from the hub: {watched.errors[0]}"
        assert set(watched.told) == set(EVENTS), "the contract's own program did not make every event happen"

    def test_hub_it_changes_nothing(self) -> None:
        plain = coopcore.run(_eventful)
        got: list[list[str]] = []
        self._trace(lambda: got.append(_eventful()))
        assert got == [plain], f"with the tracer a program did {got[0] if got else None}, without it {plain}"

    def test_hub_it_takes_two_hubs_in_a_row(self) -> None:
        tracer = self.make()
        for _ in range(2):
            watched = _Watched(tracer)
            coopcore.run(_eventful, tracers=[watched])
            assert not watched.errors, f"on a second hub: {watched.errors[0]}"

    def _trace(self, main: Callable[[], object]) -> _Watched:
        watched = _Watched(self.make())
        coopcore.run(main, tracers=[watched])
        return watched
