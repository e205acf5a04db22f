"""What takes the place of pytest-timeout's timer in marked tests.

Theory
======
pytest-timeout raises in whatever happens to run when the time is over, or ends the process. With tasks, that would hit an innocent one, or nobody: in a hang,
the hub is usually asleep. So the time is taken by a signal, or a thread, as the settings say, and what happens then depends on who answers:

1. The hub is asked, through its inbox, to throw the failure into the test's task, with the stacks of all.
2. If it doesn't answer, a task blocks the thread. The signal comes again, and raises in that task; when that has let go, the hub answers.
3. If that doesn't help, or no signal may be used, or the test goes on however often it was told, pytest-timeout's last resort follows: all stacks, and
   the end of the process.

A signal is heard only where Python runs: not while C code does, nor where a test has blocked it, or taken it for itself. So behind each there is an alarm, of a
thread, which is a little later. If the signal was not heard by then it asks the hub in its place, and what is not answered then comes to the last resort.

Neither signals nor threads are timers of the hub: they don't hold off `Deadlock`, and a virtual clock doesn't move them.

Invariants
==========
1. Cancelling is final, and may come at any time and any number of times.
2. The failure is thrown into the task that runs the test, whichever task happens to run.
3. As long as the hub answers, nobody else is disturbed.
4. A debugger is never interrupted, unless the settings ask for it.
5. Where no signal is heard the test ends all the same: through its hub if that answers, else with the process.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any, Protocol, TypeGuard

import pytest

from coopcore import Hub, current_task
from coopcore.lowlevel import IdleThread, deferring, hide_frames, on_hub, throw_in

from ._hubs import Hubs
from ._native import Alarm, Timer, is_main_thread, native, new_lock
from ._places import without_machinery
from ._tree import tree

hide_frames(__file__)

GRACE = 1.0  # seconds in which a hub answers if nothing blocks it
PATIENCE = 10.0  # seconds that a test may take to end after it was told
_SOON = 0.02  # seconds until a test begins, or the timer of one that has ended is cancelled
_MOST_WAITS = 500  # times
_MOST_ROUNDS = 3  # how often a test that goes on regardless is told


class Settings(Protocol):
    """What pytest-timeout knows of a test's timeout."""

    timeout: float
    method: str
    func_only: bool
    disable_debugger_detection: bool


class Watchdog:
    """The timer of one test."""

    def __init__(self, item: pytest.Item, settings: Settings, hubs: Hubs, alarm: Alarm) -> None:
        self.item = item
        self.settings = settings
        self._hubs = hubs
        self._alarm = alarm
        self._by_signal = settings.method == "signal" and is_main_thread()
        self._lock = new_lock()
        self._number = 0  # rises with each timer, so that a late one is told from the present one
        self._thread: Timer | None = None
        self._handler_before: Any = None
        self._asked: object = None  # the question that the hub has not answered yet
        self._unheard = False  # it was the alarm that has asked, since no signal was heard
        self._told = 0
        self._waited = 0
        self._blocked = ""
        self._raised: list[BaseException] = []
        self.untold: BaseException | None = None
        """The latest failure that was thrown into the test, until a report tells of an error: what the test keeps to itself fails it at its end."""

    def start(self) -> None:
        """Begin to count the seconds, from zero."""
        self.cancel()
        self._told = 0
        self._waited = 0
        self._blocked = ""
        if self._by_signal:
            self._handler_before = native("signal", "signal")(signal.SIGALRM, self._on_signal) or signal.SIG_DFL
        self._set(self.settings.timeout)

    def cancel(self) -> None:
        """Stop. Does nothing if it is not running."""
        with self._lock:
            self._number += 1
            self._asked = None
            self._unheard = False
            self._alarm.cancel()
            self._drop_thread()
        before, self._handler_before = self._handler_before, None
        if before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            native("signal", "signal")(signal.SIGALRM, before)

    @property
    def is_running(self) -> bool:
        return self._thread is not None or self._handler_before is not None

    def made(self, error: BaseException) -> bool:
        """True if this error comes from here."""
        return any(error is mine for mine in self._raised)

    # -- timers ---------------------------------------------------------------------------------------------------------

    def _set(self, seconds: float) -> None:
        if self._by_signal:
            self._alarm.set(seconds + GRACE, self._on_alarm, self._number)
            signal.setitimer(signal.ITIMER_REAL, seconds)
        else:
            self._set_thread(seconds)

    def _set_thread(self, seconds: float) -> None:
        self._alarm.cancel()
        self._number += 1
        self._thread = Timer(seconds, self._on_thread, self._number)

    def _drop_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.cancel()

    # -- the time is over -----------------------------------------------------------------------------------------------

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if not self.is_running or self._is_debugging():
            return
        hub = self._hubs.current
        if self._may_ask(hub):
            self._ask(hub)
            return
        if self._must_wait(hub):
            return
        with self._lock:
            if self._unheard:  # it is heard now: the hub may have had no time to answer until here
                self._unheard = False
                self._drop_thread()
                self._set(GRACE)
                return
        # From here on a thread watches: nothing says that an exception raised in some task gets anywhere.
        self._set_thread(PATIENCE)
        self._blocked = _describe_blocker(hub, frame)
        error = self._failure(hub)
        if hub is None:
            raise error
        if not on_hub() and current_task() is hub.main:
            self._asked = None
        deferring(_raiser(error))(signum, frame)

    def _on_thread(self, number: int) -> None:
        with self._lock:
            if number != self._number or self._is_debugging():
                return
            hub = self._hubs.current
            if not self._by_signal and self._may_ask(hub):
                self._ask(hub)
            elif self._by_signal or not self._must_wait(hub):
                self._last_resort(hub)

    def _on_alarm(self, number: int) -> None:
        """No signal was heard."""
        with self._lock:
            if number != self._number or self._is_debugging():
                return
            hub = self._hubs.current
            if self._may_ask(hub):
                self._unheard = True
                self._put(hub)
            self._set_thread(PATIENCE)

    def _may_ask(self, hub: Hub | None) -> TypeGuard[Hub]:
        return hub is not None and self._asked is None and self._told < _MOST_ROUNDS

    def _must_wait(self, hub: Hub | None) -> bool:
        """Whether the test has not begun, or has ended: to fail it now would end the session. If so, sets the timer to when it can be, or is cancelled."""
        if hub is not None or self._hubs.is_outside or self._waited == _MOST_WAITS:
            return False
        self._waited += 1
        self._set(_SOON)
        return True

    def _ask(self, hub: Hub) -> None:
        self._set(GRACE)
        self._put(hub)

    def _put(self, hub: Hub) -> None:
        self._asked = question = object()
        hub.call_soon_threadsafe(self._answer, hub, question)

    def _answer(self, hub: Hub, question: object) -> None:
        """On the hub: so it runs, and the test's task is parked or ready and can be thrown into."""
        with self._lock:
            if question is not self._asked:
                return
            self._asked = None
            self._unheard = False
            self._told += 1
            self._drop_thread()
            self._set(max(self.settings.timeout, PATIENCE))
        throw_in(hub.main, self._failure(hub))

    def _failure(self, hub: Hub | None) -> BaseException:
        # pytest-timeout's own words come first: tools look for them.
        lines = [f"Timeout (>{self.settings.timeout}s) from pytest-timeout."]
        if self._blocked:
            lines.append(self._blocked)
        if hub is not None:
            lines += ["Every task, and what it waits for:", tree(hub, whole=True)]
        lines += _other_threads()
        error = pytest.fail.Exception("\n".join(lines))
        self._raised.append(error)
        self.untold = error
        return error

    def _is_debugging(self) -> bool:
        import pytest_timeout

        return not self.settings.disable_debugger_detection and pytest_timeout.is_debugging()

    def _last_resort(self, hub: Hub | None) -> None:
        import pytest_timeout

        self._alarm.close()  # or its thread would be among all that are shown
        capture = self.item.config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend_global_capture(in_=True)
        terminal = self.item.config.get_terminal_writer()
        terminal.line()
        if hub is not None:
            terminal.sep("+", title="Tasks")
            terminal.line(tree(hub, whole=True))
        terminal.line(
            f"{self.item.nodeid} goes on after its timeout, and nothing is left that could end it alone: so the process ends now. "
            f"Next step: see below what the main thread does, and let it be something that parks, or that a signal can interrupt (method = signal)."
        )
        pytest_timeout.timeout_timer(self.item, self.settings)


def _raiser(error: BaseException) -> Any:
    def handle(signum: int, frame: FrameType | None) -> None:
        raise error

    return handle


def _describe_blocker(hub: Hub | None, frame: FrameType | None) -> str:
    stack = without_machinery("".join(traceback.format_stack(frame)).rstrip())
    if hub is None:
        return f"This ran, outside of any task:\n{stack}"
    if not stack and not on_hub():  # a function in C that is a task by itself
        stack = f"  task {current_task().name!r}, spawned at {current_task().spawned_at}"
    return f"The hub did not answer within {GRACE} s, because this blocked the thread:\n{stack}"


def _other_threads() -> list[str]:
    lines = []
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.ident in frames and thread.ident not in IdleThread.idents:
            lines += [f"Thread {thread.name}:", "".join(traceback.format_stack(frames[thread.ident])).rstrip()]
    return lines
