"""The verbs of ``coopcore._wait``: sleep, idle, kill, killall, joinall, wait, iwait."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from seams.clock import JumpingClock

from coop_plugins.event import Event
from coopcore import Task, TaskExit, Timeout, current_task, idle, iwait, joinall, kill, killall, run, sleep, spawn, spawn_later, wait
from coopcore.errors import Deadlock, JoinSelfError, WrongThreadError
from coopcore.lowlevel import current_hub, park


def fail() -> None:
    raise ValueError("on purpose")


def test_sleep_lasts_at_least_as_long_as_asked() -> None:
    def main() -> None:
        for seconds in (0.001, 0.01, 0.0001):
            start = time.monotonic()
            sleep(seconds)
            assert time.monotonic() - start >= seconds

    run(main)


@pytest.mark.parametrize(
    ("bad", "error"), [(-1, ValueError), (-0.5, ValueError), ("1s", TypeError), (None, TypeError), (float("nan"), ValueError), ([], TypeError)]
)
def test_sleep_refuses_what_is_no_span(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="the time to sleep|cannot wait for"):
        run(sleep, bad)


def test_sleep_takes_any_number() -> None:
    from fractions import Fraction

    for zero_or_short in (0, 0.0, False, Fraction(1, 1000), True * 0):
        run(sleep, zero_or_short)


def test_an_uncounted_sleep_does_not_hold_off_a_deadlock() -> None:
    def main() -> None:
        sleeper = spawn(sleep, 30, ref=False)
        with pytest.raises(Deadlock):
            park("nothing")
        sleeper.kill(timeout=5)
        sleeper = spawn(sleep, float("inf"), ref=False)
        sleep(0.001)
        sleeper.kill(timeout=5)
        assert current_hub()._uncounted == 0

    run(main)


def test_idle_waits_until_nothing_is_ready() -> None:
    order: list[str] = []

    def busy() -> None:
        for _ in range(50):
            sleep(0)
        order.append("busy ended")

    def main() -> None:
        spawn(busy)
        other = spawn(lambda: (idle(), order.append("also idle")))
        idle()
        order.append("idle")
        other.join(timeout=5)
        victim = spawn(idle)
        sleep(0)
        victim.kill(timeout=5)
        assert not current_hub()._idlers

    run(main)
    assert order[0] == "busy ended" and sorted(order[1:]) == ["also idle", "idle"]


def test_idle_lets_due_timers_go_first() -> None:
    def main() -> None:
        fired: list[int] = []
        spawn_later(0.0001, fired.append, 1)
        time.sleep(0.001)
        idle()
        assert fired == [1]

    run(main)


# -- joinall ------------------------------------------------------------------------------------------------------------------


def test_invariant_1_results_come_in_the_order_of_readiness() -> None:
    def main() -> None:
        tasks = [spawn(sleep, seconds) for seconds in (0.009, 0.001, 0.005)]
        assert joinall(tasks, timeout=5) == [tasks[1], tasks[2], tasks[0]]
        assert joinall(tasks) == tasks
        assert joinall([]) == []

    run(main, clock=JumpingClock())


def test_joinall_count_and_timeout() -> None:
    def main() -> None:
        tasks = [spawn(sleep, seconds) for seconds in (0.001, 0.002, 5)]
        assert joinall(tasks, count=1) == tasks[:1]
        assert joinall(tasks, timeout=0.02) == tasks[:2]
        assert joinall(tasks, count=0) == []
        assert joinall([tasks[2]], timeout=0) == []
        assert joinall(tasks + tasks, count=2, timeout=5) == tasks[:2]
        assert not tasks[2].has_links()
        tasks[2].kill()

    run(main, clock=JumpingClock())


def test_joinall_takes_tasks_that_have_ended_in_a_thread_that_is_gone() -> None:
    gone: list[Task[int]] = []

    def elsewhere() -> None:
        run(lambda: gone.extend([spawn(int), spawn(divmod, 1, 0)]) or sleep(0) or gone[1].exception)  # type: ignore[func-returns-value]  # in a lambda

    def main() -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        here = spawn(int)
        assert joinall([*gone, here]) == [*gone, here]
        with pytest.raises(ZeroDivisionError):
            joinall(gone, raise_error=True)
        assert not gone[0].has_links()

    run(main)


@pytest.mark.parametrize("long", [10**10, 1e300, float("inf")])
def test_wait_may_be_given_any_span(long: float) -> None:
    def main() -> None:
        event = Event()
        waiter = spawn(wait, [event], long)
        sleep(0)
        assert waiter.state == "parked"
        event.set()
        assert waiter.get() == [event]

    run(main)


def test_joinall_raises_the_first_error_at_once() -> None:
    def main() -> None:
        slow = spawn(sleep, 5)
        with pytest.raises(ValueError, match="on purpose"):
            joinall([slow, spawn(fail)], raise_error=True)
        assert not slow.dead and not slow.has_links()
        with pytest.raises(ValueError, match="on purpose"):
            failed = spawn(fail)
            sleep(0)
            joinall([slow, failed], raise_error=True)
        slow.kill()

    run(main)


def test_invariant_2_whatever_ends_the_wait_every_link_is_undone() -> None:
    def main() -> None:
        tasks = [spawn(sleep, 5) for _ in range(3)]
        for verb in (joinall, wait, lambda things: list(iwait(things))):
            with pytest.raises(Timeout), Timeout(0.001):
                verb(tasks)
            waiter = spawn(verb, tasks)
            sleep(0)
            assert all(task.has_links() for task in tasks)
            waiter.kill(timeout=5)
            assert not any(task.has_links() for task in tasks)
        with iwait(tasks, timeout=5) as ready, pytest.raises(Timeout), Timeout(0.001):
            next(ready)
        assert not any(task.has_links() for task in tasks)
        killall(tasks)

    run(main)


# -- wait, iwait ----------------------------------------------------------------------------------------------------------------


class Flag:
    """The least that can be waited for."""

    def __init__(self) -> None:
        self.links: list[Any] = []

    def rawlink(self, callback: Any) -> None:
        self.links.append(callback)

    def unlink(self, callback: Any) -> None:
        if callback in self.links:
            self.links.remove(callback)

    def set(self) -> None:
        for link in self.links[:]:
            current_hub().call_soon(link, self)


def test_wait_for_whatever_has_rawlink_and_unlink() -> None:
    def main() -> None:
        flags = [Flag(), Flag(), Flag()]
        task = spawn(sleep, 0.001)
        spawn(lambda: [task.join(), sleep(0.001), flags[2].set()])
        assert wait([*flags, task], count=2, timeout=5) == [task, flags[2]]
        assert not any(flag.links for flag in flags)
        assert wait(flags, timeout=0.001) == []
        assert wait([]) == []

    run(main)


def test_iwait_yields_what_became_ready_while_nobody_looked() -> None:
    def main() -> None:
        tasks = [spawn(sleep, 0) for _ in range(3)]
        seen = []
        for task in iwait(tasks, timeout=5):
            seen.append(task)
            sleep(0.002)
        assert seen == tasks
        assert list(iwait(tasks, count=2)) == tasks[:2]
        assert len(list(iwait([tasks[0], tasks[0]]))) == 1

    run(main)


def test_wait_for_everything() -> None:
    def main() -> None:
        done: list[int] = []

        def nest(n: int) -> None:
            sleep(0.001)
            if n:
                spawn(nest, n - 1)
            done.append(n)

        spawn(nest, 3)
        assert wait(timeout=5) is True
        assert done == [3, 2, 1, 0]
        sleeper = spawn(sleep, 5)
        assert wait(timeout=0.001) is False
        sleeper.kill()
        assert wait() is True

    run(main)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: wait([3]), "3 cannot be waited for"),
        (lambda: wait(spawn(sleep)), r"wait\(\) takes a list"),
        (lambda: joinall(3), r"joinall\(\) takes a list"),
        (lambda: joinall([3]), r"joinall\(\) takes tasks.*; to wait for events and the like use wait\(\)\.$"),
        (lambda: killall([3]), r"killall\(\) takes tasks, which spawn\(\) returns, not 3 of type int\.$"),
        (lambda: killall(3), r"killall\(\) takes a list"),
        (lambda: kill(3), r"kill\(\) takes tasks, which spawn\(\) returns, not 3 of type int\.$"),
        (lambda: iwait(thing for thing in []), r"iwait\(\) takes a list or tuple"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(call: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        run(call)


def test_a_negative_count_is_refused() -> None:
    for verb in (joinall, wait, iwait):
        with pytest.raises(ValueError, match="cannot be -1"):
            run(lambda verb=verb: verb([], count=-1))


# -- kill -------------------------------------------------------------------------------------------------------------------------


def test_kill_does_not_wait_and_killall_does() -> None:
    def main() -> None:
        tasks = [spawn(park, "x") for _ in range(3)]
        sleep(0)
        unstarted = Task(fail)
        kill(tasks[0])
        assert not tasks[0].dead
        killall(task for task in [*tasks, unstarted])
        assert all(isinstance(task.value, TaskExit) for task in [*tasks, unstarted])
        killall(tasks)

    run(main)


def test_killall_timeout_raises() -> None:
    def main() -> None:
        def stubborn() -> None:
            try:
                sleep(5)
            except TaskExit:
                sleep(5)

        task = spawn(stubborn)
        sleep(0)
        with pytest.raises(Timeout):
            killall([task], timeout=0.001)
        killall([task], KeyError, block=False)
        task.join(timeout=5)
        assert isinstance(task.exception, KeyError)

    run(main)


def test_killall_with_oneself_among_them() -> None:
    def main() -> None:
        other = spawn(park, "x")

        def body() -> None:
            killall([current_task(), other])

        task = spawn(body)
        assert isinstance(task.get(timeout=5), TaskExit)
        other.join(timeout=5)
        assert isinstance(other.value, TaskExit)

    run(main)


# -- oneself, other threads ---------------------------------------------------------------------------------------------------------


def test_waiting_for_oneself_among_others_is_refused() -> None:
    def main() -> None:
        me = current_task()
        other = spawn(sleep, 5)
        for verb in (joinall, wait, lambda things: list(iwait(things))):
            with pytest.raises(JoinSelfError, match="is among what it gave to"):
                verb([other, me])
            assert not other.has_links()
        other.kill()

    run(main)


def test_waiting_for_a_task_of_another_thread_is_refused_and_harms_neither() -> None:
    errors: list[str] = []

    def main() -> None:
        task = spawn(sleep, 0.05)
        sleep(0)

        def helper() -> None:
            for verb in (joinall, wait, lambda things: list(iwait(things)), lambda things: things[0].link(print), lambda things: things[0].rawlink(print)):
                try:
                    verb([task])
                except WrongThreadError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=helper, name="helper")
        thread.start()
        thread.join()
        task.join(timeout=5)
        assert task.dead

    run(main)
    assert len(errors) == 5 and all("'helper'" in error for error in errors)


def test_a_timeout_object_serves_wherever_a_timeout_is_asked_for() -> None:
    def main() -> None:
        task = spawn(sleep, 5)
        given = Timeout(0.001)
        with pytest.raises(Timeout) as caught:
            task.get(timeout=given)
        assert caught.value is given
        assert wait([task], timeout=Timeout(0.001)) == []
        assert wait(timeout=Timeout(0.001)) is False
        assert joinall([task], timeout=Timeout(0.001)) == []
        task.kill()

    run(main)


@pytest.mark.parametrize("bad", ["3", 1.5])
def test_a_count_that_is_no_whole_number_is_refused(bad: Any) -> None:
    for verb in (joinall, wait, iwait):
        with pytest.raises(TypeError, match="count is the number of things"):
            run(lambda verb=verb: verb([], count=bad))


def test_wait_without_objects_does_not_wait_for_uncounted_sleeps() -> None:
    def main() -> None:
        sleepers = [spawn(sleep, 30, ref=False), spawn(sleep, float("inf"), False)]
        assert wait() is True  # they begin to sleep during the wait
        assert wait(timeout=30) is True
        worker = spawn_later(0.001, str)
        assert wait() is True and worker.dead
        spawn(park, "nothing")
        with pytest.raises(Deadlock):
            wait()
        assert wait(timeout=0.001) is False
        assert not any(sleeper.dead for sleeper in sleepers)
        killall([task for task in current_hub().tasks() if task is not current_task()])

    run(main)


def test_a_timeout_of_its_own_ends_a_wait_as_it_does_any_other() -> None:
    def main() -> None:
        task = spawn(park, "nothing")
        for waiting in (lambda timeout: wait([task], timeout), lambda timeout: list(iwait([task], timeout)), lambda timeout: wait(timeout=timeout)):
            with pytest.raises(KeyError):
                waiting(Timeout(0.001, KeyError))
            with pytest.raises(Timeout, match="too late"):
                waiting(Timeout(0.001, "too late"))
            again = Timeout(0.001, False)
            assert not waiting(again) and not again.pending and not waiting(again)
            with pytest.raises(Timeout) as caught, Timeout(0.001) as running:
                waiting(running)
            assert caught.value is running
            with Timeout(30) as running:
                with pytest.raises(ZeroDivisionError), Timeout(0.001, ZeroDivisionError):
                    waiting(running)
                assert running.pending  # as it was
        task.kill()

    run(main)


def test_a_timeout_that_runs_for_another_task_cannot_end_a_wait_for_objects() -> None:
    def main() -> None:
        task = spawn(park, "nothing")
        with Timeout(30) as mine:
            other = spawn(wait, [task], mine)
            with pytest.raises(RuntimeError, match="would never end this wait"):
                other.get()
        task.kill()

    run(main)


def test_a_deadlock_in_wait_names_the_things_and_the_tasks() -> None:
    def main() -> None:
        task = spawn(park, "its turn")
        with pytest.raises(Deadlock) as caught:
            wait([task, Event()], count=1)
        task.kill()
        report = str(caught.value)
        assert "1 of 2: park-" in report and "<coop_plugins.event.Event" in report

    run(main)


def test_a_long_wait_is_described_by_its_first_five() -> None:
    def main() -> None:
        tasks = [spawn(park, "its turn") for _ in range(7)]
        waiter = spawn(wait, tasks)
        sleep(0)
        assert waiter.waiting_on == f"7 of 7: {', '.join(task.name for task in tasks[:5])} ..."
        killall([waiter, *tasks])

    run(main)


def test_a_timeout_around_a_wait_for_everybody_is_not_its_own() -> None:
    def main() -> None:
        other = spawn(sleep, 50)
        with pytest.raises(Timeout) as caught, Timeout(0.001) as outer:
            wait(timeout=20)
        assert caught.value is outer
        other.kill()

    run(main)
