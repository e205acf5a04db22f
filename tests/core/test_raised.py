"""``coopcore._raised``, and what it is for: a signal handler that raises anywhere in our own code loses nothing, and its error reaches the main task."""

from __future__ import annotations

import dis
import functools
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from types import CodeType, ModuleType
from typing import Any

import pytest
from seams.processes import python
from seams.raised import Rain

from coop_plugins.backends import epoll
from coopcore import Task, Timeout, _clock, _hub, _inbox, _lot, _state, _task, _timeout, _timers, _wait, joinall, run, sleep, spawn, spawn_later
from coopcore._raised import before_it_began, by_handler
from coopcore.lowlevel import Alarm, current_hub, park, unpark, wait_readable


class Handlers:
    def method(self, signum: int, frame: Any) -> None:
        raise Rain

    def __call__(self, *args: Any) -> None:
        raise Rain


def with_names(signum: int, frame: Any) -> None:
    raise Rain


def with_a_star(*args: Any) -> None:
    deeper()


def deeper() -> None:
    raise Rain


@pytest.mark.parametrize("handler", [with_names, with_a_star, Handlers().method, Handlers(), functools.partial(with_names)])
def test_invariant_1_what_a_handler_raised_is_known_as_such(handler: Callable[..., None]) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Rain) as caught:
            interrupted()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert by_handler(caught.value)


def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def test_invariant_2_what_was_called_in_the_ordinary_way_is_no_handlers() -> None:
    with pytest.raises(Rain) as caught:
        with_a_star(1, 2)
    assert not by_handler(caught.value)
    assert not by_handler(Rain())


def test_invariant_2_a_function_that_has_begun_is_told_from_one_that_has_not() -> None:
    def body(raises: bool) -> None:
        if raises:
            raise Rain

    with pytest.raises(Rain) as caught:
        body(True)
    tb = caught.value.__traceback__
    assert tb is not None and tb.tb_next is not None
    assert not before_it_began(tb) and not before_it_began(tb.tb_next) and not before_it_began(None)

    class AtItsStart:
        tb_lasti = next(step.offset for step in dis.get_instructions(body) if step.opname == "RESUME")
        tb_frame = tb.tb_next.tb_frame

    assert before_it_began(AtItsStart())  # type: ignore[arg-type]  # all of a traceback that is asked for


# -- at each point where a handler may run --------------------------------------------------------------------------------------------

MODULES: list[ModuleType] = [_hub, _state, _task, _timers, _inbox, _wait, _timeout, _clock, _lot, epoll]


def functions_of(module: ModuleType) -> Iterator[CodeType]:
    """The code of each function of a module, those in its classes and functions included."""
    holders = [module, *(thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == module.__name__)]
    functions = [function for holder in holders for thing in vars(holder).values() for function in (thing, getattr(thing, "fget", None))]
    found = {getattr(function, "__code__", None) for function in functions}
    # A failure reports itself in its finaliser: what that raises, Python prints, and goes on.
    todo = [code for code in found if isinstance(code, CodeType) and code.co_filename == module.__file__ and not code.co_qualname.startswith("Failure.")]
    while todo:
        code = todo.pop()
        yield code
        todo += [inner for inner in code.co_consts if isinstance(inner, CodeType)]


@functools.cache
def points_of(code: CodeType) -> dict[int, bool]:
    """Where the interpreter may call a handler: where a function begins, at a jump back, and (True) after a call of a function that is none of Python's."""
    points: dict[int, bool] = {}
    after_a_call = False
    for step in dis.get_instructions(code):
        if step.opname == "RESUME" or "JUMP_BACKWARD" in step.opname:
            points[step.offset] = False
        elif after_a_call:
            points[step.offset] = True
        after_a_call = step.opname in ("CALL", "CALL_FUNCTION_EX", "CALL_KW")
    return points


class Storm:
    """Raises at the ``number``-th of those points that the main thread comes to, as a signal handler would."""

    TOOL = 4

    def __init__(self, *functions: str) -> None:
        self._functions = functions  # only in these, if any
        self.left = 0
        self.hit = ""
        self._returned = False
        self._thread = threading.get_ident()

    @contextmanager
    def installed(self) -> Iterator[None]:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]  # of Python 3.12
        events = monitoring.events
        monitoring.use_tool_id(self.TOOL, "storm")
        at_a_point = events.INSTRUCTION | events.PY_START | events.PY_RESUME  # the first of which leaves out RESUME, whose the others are
        for event in (events.INSTRUCTION, events.PY_START, events.PY_RESUME):
            monitoring.register_callback(self.TOOL, event, self._at)
        monitoring.register_callback(self.TOOL, events.PY_RETURN, self._after)
        monitoring.set_events(self.TOOL, events.PY_RETURN)
        codes = [code for module in MODULES for code in functions_of(module)]
        for code in codes:
            monitoring.set_local_events(self.TOOL, code, at_a_point)
        try:
            yield
        finally:
            for code in codes:
                monitoring.set_local_events(self.TOOL, code, 0)
            monitoring.set_events(self.TOOL, 0)
            monitoring.free_tool_id(self.TOOL)

    def _after(self, code: CodeType, offset: int, value: object) -> None:
        self._returned = True

    def _at(self, code: CodeType, offset: int) -> None:
        returned, self._returned = self._returned, False
        if self.left > 0 and threading.get_ident() == self._thread:
            after_a_call = points_of(code).get(offset)
            if after_a_call is None or (after_a_call and returned) or (self._functions and code.co_qualname not in self._functions):
                return
            self.left -= 1
            if self.left == 0:
                self.hit = f"{code.co_qualname} at {offset}"
                frame = sys._getframe(1)  # a handler is given it
                raise Rain(frame)


def until_done(work: Callable[[], object], met: list[str]) -> Callable[[], object]:
    def body() -> object:
        while True:
            try:
                return work()
            except Rain:
                met.append("a task")

    return body


Program = Callable[[list[str]], list[Task[Any]]]


def sleepers(met: list[str]) -> list[Task[Any]]:
    return [spawn(until_done(functools.partial(sleep, 0.0002 * n), met)) for n in (1, 2)]


def yielders(met: list[str]) -> list[Task[Any]]:
    return [spawn(until_done(lambda: [sleep(0) for _ in range(3)], met)) for _ in range(2)]


def joiners(met: list[str]) -> list[Task[Any]]:
    first = spawn(until_done(lambda: sleep(0.0002), met))
    return [first, *(spawn(until_done(first.join, met)) for _ in range(2))]


def links(met: list[str]) -> list[Task[Any]]:
    told: list[Task[Any]] = []

    def tell(task: Task[Any]) -> None:
        told.append(task)

    first = spawn(until_done(lambda: sleep(0), met))
    first.rawlink(tell)

    def wait() -> None:
        while told != [first]:
            sleep(0.0001)

    return [first, spawn(until_done(wait, met))]


def timeouts(met: list[str]) -> list[Task[Any]]:
    def work() -> None:
        try:
            with Timeout(0.0002):
                sleep(30)
        except Timeout:
            pass

    return [spawn(until_done(work, met)) for _ in range(2)]


def closers(met: list[str]) -> list[Task[Any]]:
    def work() -> None:
        timeout = Timeout(30, ref=False)
        timeout.start()
        timeout.close()
        sleep(0.0002)

    return [spawn(until_done(work, met))]


def late_ones(met: list[str]) -> list[Task[Any]]:
    return [spawn_later(0.0002, until_done(lambda: None, met)) for _ in range(2)]


def short_ones(met: list[str]) -> list[Task[Any]]:
    return [spawn(until_done(lambda: 1, met)) for _ in range(3)]


class Thing:
    def method(self) -> None:
        pass


def methods(met: list[str]) -> list[Task[Any]]:
    return [spawn(Thing().method) for _ in range(2)]


def alarms(met: list[str]) -> list[Task[Any]]:
    rung: list[int] = []

    def ring(number: int) -> None:
        rung.append(number)

    def wait() -> None:
        while rung != [1, 2]:
            sleep(0.0001)

    hub = current_hub()
    for number in (1, 2):
        Alarm(hub, hub.clock.now() + 200_000, ring, number)
    return [spawn(until_done(wait, met))]


def from_afar(met: list[str]) -> list[Task[Any]]:
    hub = current_hub()
    parked = spawn(until_done(lambda: park("a thread"), met))

    def wake() -> None:
        while parked.state != "parked" and not parked.dead:
            time.sleep(0.0005)
        if not parked.dead:
            hub.call_soon_threadsafe(unpark, parked)

    thread = threading.Thread(target=wake, daemon=True)
    thread.start()
    return [parked, spawn(until_done(lambda: [sleep(0.001) for _ in iter(thread.is_alive, False)], met))]


def at_a_pipe(met: list[str]) -> list[Task[Any]]:
    reader, writer = os.pipe()

    def read() -> None:
        wait_readable(reader, timeout=30)
        os.close(reader)

    def write() -> None:
        os.write(writer, b"x")
        os.close(writer)

    return [spawn(until_done(read, met)), spawn_later(0.0002, write)]


of_python_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="without sys.monitoring; the test with real signals must do")


@pytest.mark.soak  # a program once for each of some two hundred points
@of_python_3_12
@pytest.mark.parametrize("program", [sleepers, yielders, joiners, links, timeouts, late_ones, short_ones, methods, alarms, from_afar, at_a_pipe])
def test_a_handler_that_raises_anywhere_loses_nothing(program: Program) -> None:
    assert every_storm(program) > 50


@of_python_3_12
@pytest.mark.parametrize(
    ("program", "functions"),
    [
        (sleepers, ("BucketTimers.add", "BucketTimers.pop_due", "Hub._pass", "Task._fire")),
        (yielders, ("sleep", "yield_interrupted")),
        (joiners, ("Ending.tell", "Ending.wait", "Task._deliver", "Task._finish", "Hub._make_calls", "Hub._run_callbacks", "park_task")),
        (links, ("Task._deliver", "Hub._make_calls")),
        (timeouts, ("Timeout._fire", "throw_in")),
        (closers, ("BucketTimers.cancel",)),
        (short_ones, ("work", "Hub._begin_the_first", "Hub._begin_in_new_worker", "Task._finish", "label_of", "Hub._choose")),
        (from_afar, ("unpark", "Hub._make_calls")),
        (at_a_pipe, ("Hub._wake_at", "unpark")),
        (late_ones, ("work", "Task._start_on")),
        (methods, ("label_of", "_label_of_method", "work")),
        (alarms, ("Hub.call_safely", "Alarm._fire", "Alarm._ring")),
    ],
)
def test_a_handler_that_raises_in_these_loses_nothing(program: Program, functions: tuple[str, ...]) -> None:
    assert every_storm(program, *functions) > 3


def every_storm(program: Program, *functions: str) -> int:
    """Run the program with a storm at its first point, at its second, and so on. Returns how many there were."""
    storm = Storm(*functions)
    with storm.installed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        number = misses = 0
        while misses < 2:
            number += 1
            weather(program, storm, number)
            misses += not storm.hit
    return number


def weather(program: Program, storm: Storm, number: int) -> None:
    """Run the program once: everything ends, in time, the error is met once, and nothing is left."""
    met: list[str] = []
    storm.hit = ""

    def main() -> None:
        began = time.monotonic()
        tasks = None
        storm.left = number
        try:
            tasks = program(met)
        except Rain:
            met.append("main, at the beginning")
        while tasks and not all(task.dead for task in tasks) and time.monotonic() < began + 20:
            try:
                joinall(tasks, timeout=20)
            except Rain:
                met.append("main")
        try:
            sleep(0.0001)
        except Rain:
            met.append("main")
        storm.left = 0
        if tasks is not None:
            assert [task for task in tasks if not task.dead] == [], storm.hit
            assert time.monotonic() < began + 15, storm.hit
            met.extend("failed" for task in tasks if isinstance(task.exception, Rain))
            assert park("nothing", timeout=0.002) is False
            assert len(current_hub().timers) == 0, storm.hit

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            run(main)
    except Rain:
        met.append("the caller")
    assert len(met) == bool(storm.hit), (storm.hit, met, said.getvalue())
    assert "main, at the beginning" in met or said.getvalue() == "", (storm.hit, said.getvalue())


def test_real_signals_whose_handler_raises_anywhere_lose_nothing() -> None:
    out, err = python("""
        import signal, sys
        from coopcore import Timeout, joinall, run, sleep, spawn

        class Rain(Exception): pass
        raised = strikes = 0
        over = False

        def handler(signum, frame):
            global raised, strikes
            strikes += 1
            if not over:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + strikes / 500))  # less and less often: a slow machine is to get on, too
            if "/coop" in frame.f_code.co_filename:
                raised += 1
                raise Rain

        def persistent(work):
            def body():
                for _ in range(60):
                    while True:
                        try:
                            work()
                            break
                        except Rain:
                            pass
                return "done"
            return body

        def times_out():
            try:
                with Timeout(0.0003):
                    sleep(100)
            except Timeout:
                pass

        def joins():
            spawn(sleep, 0.0002).join()

        def main():
            tasks = [spawn(persistent(work)) for work in (times_out, joins, lambda: sleep(0.0005), lambda: sleep(0)) for _ in range(3)]
            global over
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            while True:
                try:
                    if all(task.dead for task in tasks):  # it may rain in there as well
                        break
                    joinall(tasks, timeout=30)
                except Rain:
                    pass
            over = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            try:
                sleep(0.001)
            except Rain:
                pass
            print({task.exception if task.failed else task.value for task in tasks} - {"done"}, raised > 0)

        def unraisable(what):  # Python itself drops, and prints, what is raised as a collection is told
            if not (what.exc_type is Rain and what.object.__name__ == "_on_collection"):
                sys.__unraisablehook__(what)

        sys.unraisablehook = unraisable
        signal.signal(signal.SIGALRM, handler)
        run(main)
    """)
    assert (out, err) == ("set() True\n", "")
