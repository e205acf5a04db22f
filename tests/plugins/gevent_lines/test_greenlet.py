"""The section on Greenlet, which is Task here."""

from __future__ import annotations

import sys
from typing import Any

import pytest

FOREVER = 60.0


# -- its end --------------------------------------------------------------------------------------------------------------


def test_get(lib: Any, fail: Any) -> None:
    """get(block=True, timeout=None): its value, or its error with the original traceback."""
    assert lib.spawn(lambda: 5).get() == 5
    with pytest.raises(ValueError) as caught:
        lib.spawn(fail).get()
    assert caught.traceback[-1].name == "fail"


def test_get_of_one_that_runs(lib: Any) -> None:
    """get() of one that has not ended raises Timeout: at once without block, else after the timeout."""
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    assert lib.outcome(task.get, block=False) == "raises Timeout"
    assert lib.outcome(task.get, timeout=0.001) == "raises Timeout"
    assert lib.outcome(task.get, False) == "raises Timeout"


def test_join(lib: Any, fail: Any) -> None:
    """join(timeout) -> None (gevent), or whether it has ended; raises no error of it."""
    row = "`task.join()` returns True, or False after its timeout"
    assert lib.spawn(lambda: 5).join() is lib.differ(row, gevent=None, ours=True)
    assert lib.spawn(fail).join() is lib.differ(row, gevent=None, ours=True)
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    assert task.join(0.001) is lib.differ(row, gevent=None, ours=False)
    assert not task.ready()


def test_what_is_known_of_a_value(lib: Any) -> None:
    """ready successful value exception dead, of one that returned."""
    task = lib.spawn(lambda: 5)
    assert (task.ready(), task.successful(), task.value, task.exception, task.dead) == (False, False, None, None, False)
    task.join()
    assert (task.ready(), task.successful(), task.value, task.exception, task.dead) == (True, True, 5, None, True)
    row = "`task.exc_info` without an error is `(None, None, None)`"
    assert task.exc_info == lib.differ(row, gevent=None, ours=(None, None, None))


def test_what_is_known_of_a_failure(lib: Any, fail: Any) -> None:
    """ready successful value exception exc_info dead, of one that failed."""
    task = lib.spawn(fail)
    task.join()
    assert (task.ready(), task.successful(), task.value, type(task.exception), task.dead) == (True, False, None, ValueError, True)
    assert task.exc_info[:2] == (ValueError, task.exception) and task.exc_info[2] is not None


def test_started(lib: Any) -> None:
    """started (and bool): started and not finished."""
    task = lib.Greenlet(lib.sleep, 0)
    assert not task.started and not task
    task.start()
    assert task.started and task
    task.join()
    assert not task.started and not task


def test_args_and_kwargs(lib: Any) -> None:
    """args and kwargs, of one that has not begun."""
    task = lib.Greenlet(lambda *args, **kwargs: None, 1, 2, a=3)
    assert (task.args, task.kwargs) == ((1, 2), {"a": 3})


def test_start_later(lib: Any, log: Any) -> None:
    """start_later(seconds); a kill before that means that it never runs."""
    task, killed = lib.Greenlet(log.append, 1), lib.Greenlet(log.append, 2)
    task.start_later(0.001)
    killed.start_later(0.001)
    killed.kill()
    task.join()
    lib.sleep(0.003)
    assert log == [1]


def test_start_twice(lib: Any, log: Any) -> None:
    """start() of one that was started changes nothing."""
    task = lib.Greenlet(log.append, 1)
    task.start()
    task.start()
    task.join()
    task.start()
    lib.settle()
    assert log == [1]


def test_a_run_of_its_own(lib: Any) -> None:
    """A subclass may have _run(*args, **kwargs)."""

    class Own(lib.Greenlet):  # type: ignore[misc]  # of either library
        def _run(self, *args: Any, **kwargs: Any) -> Any:
            return args, kwargs

    task = Own(None, 1, a=2)
    task.start()
    assert task.get() == ((1,), {"a": 2})


def test_an_async_function(lib: Any) -> None:
    """A coroutine is a value like any other (gevent), or the mistake that it is."""

    async def coroutine() -> None:
        pass

    task = lib.spawn(coroutine)
    task.join()
    row = "`spawn` of an async function fails with `TypeError` when it runs"
    assert type(task.exception) is lib.differ(row, gevent=type(None), ours=TypeError)
    if task.value is not None:
        task.value.close()


# -- kill -----------------------------------------------------------------------------------------------------------------


def test_kill_of_one_that_waits(lib: Any) -> None:
    """kill(exception=GreenletExit, block=True, timeout=None) throws, waits for its end, and returns None."""
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    assert task.kill() is None
    assert task.ready() and task.successful()
    assert isinstance(task.value, lib.GreenletExit) and task.exception is None


def test_get_of_a_killed_one(lib: Any) -> None:
    """get() RETURNS the GreenletExit instance of a killed one."""
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    task.kill()
    assert isinstance(task.get(), lib.GreenletExit) and task.get() is task.value


@pytest.mark.parametrize("start", ["never", "start", "start_later"])
def test_kill_of_an_unstarted_one(lib: Any, log: Any, start: str) -> None:
    """kill of one that never ran -> never will run, links fire, value=GreenletExit(), successful()==True."""
    task = lib.Greenlet(log.append, "ran")
    if start != "never":
        getattr(task, start)(*(() if start == "start" else (0.001,)))
    task.link(log.note("link"))
    task.rawlink(log.note("rawlink"))
    task.kill()
    task.start()
    lib.sleep(0.003)
    lib.settle()
    assert sorted(log) == ["link", "rawlink"]
    assert task.ready() and task.successful()
    assert isinstance(task.value, lib.GreenletExit) and isinstance(task.get(), lib.GreenletExit)


def test_kill_of_an_unstarted_one_with_an_exception(lib: Any) -> None:
    """kill of an unstarted one with another exception: that is its error."""
    task = lib.Greenlet(str)
    task.kill(KeyError)
    assert isinstance(task.exception, KeyError) and not task.successful()


def test_kill_without_block(lib: Any) -> None:
    """block=False returns at once."""
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    task.kill(block=False)
    assert not task.ready()
    task.join()
    assert isinstance(task.value, lib.GreenletExit)


def test_kill_waits_for_its_timeout(lib: Any) -> None:
    """kill never raises, also not after its timeout."""
    let_go = lib.Event()

    def stubborn() -> None:
        try:
            lib.sleep(FOREVER)
        finally:
            let_go.wait()

    (task,) = lib.start(stubborn)
    assert task.kill(timeout=0.001) is None
    assert not task.ready()
    let_go.set()
    task.join()


def test_kill_waits_for_its_end(lib: Any, log: Any) -> None:
    """block=True waits for its death, finally blocks and all; and never raises what it does there."""

    def last_words() -> None:
        try:
            lib.sleep(FOREVER)
        finally:
            lib.sleep(0.001)
            log.append("done")
            raise KeyError("while dying")

    (task,) = lib.start(last_words)
    task.kill()
    assert log == ["done"] and isinstance(task.exception, KeyError)


@pytest.mark.parametrize("form", ["type", "instance", "triple"])
def test_kill_takes_an_exception_in_three_forms(lib: Any, form: str) -> None:
    """exception may be a type, an instance or (t, v, tb)."""
    error = KeyError("mine")
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    task.kill({"type": KeyError, "instance": error, "triple": (KeyError, error, None)}[form])
    assert type(task.exception) is KeyError
    assert task.exception is error or form == "type"


def test_kill_of_the_dead(lib: Any) -> None:
    """kill of one that has ended changes nothing."""
    task = lib.spawn(lambda: 5)
    task.join()
    task.kill()
    assert task.get() == 5


def test_kill_of_oneself(lib: Any) -> None:
    """One that kills itself raises at once."""
    task = lib.spawn(lambda: lib.getcurrent().kill())
    task.join()
    assert isinstance(task.value, lib.GreenletExit)


def test_one_that_swallows_its_kill(lib: Any) -> None:
    """What is thrown is thrown once: who swallows it goes on."""

    def swallow() -> str:
        try:
            lib.sleep(FOREVER)
        except lib.GreenletExit:
            lib.sleep(0)
        return "went on"

    (task,) = lib.start(swallow)
    task.kill()
    assert task.get() == "went on"


# -- links ----------------------------------------------------------------------------------------------------------------


def test_link_runs_in_a_greenlet_of_its_own(lib: Any, log: Any) -> None:
    """link runs cb(greenlet) in a NEW greenlet."""
    task = lib.spawn(str)
    task.link(lambda ended: log.append((ended, lib.is_hub(), lib.getcurrent())))
    task.join()
    lib.settle()
    ((ended, on_hub, where),) = log
    assert ended is task and not on_hub and where not in (task, lib.getcurrent())


def test_link_may_wait(lib: Any, log: Any) -> None:
    """A link may wait."""
    task = lib.spawn(str)
    task.link(lambda _: (lib.sleep(0), log.append("waited")))
    task.join()
    lib.settle()
    assert log == ["waited"]


def test_rawlink_runs_on_the_hub(lib: Any, log: Any) -> None:
    """rawlink runs it in the hub, where it must not block."""
    task = lib.spawn(str)
    task.rawlink(lambda ended: log.append((ended, lib.is_hub(), lib.outcome(lib.sleep, 0.001))))
    task.join()
    lib.settle()
    assert log == [(task, True, "raises BlockingSwitchOutError")]


def test_links_run_in_their_order(lib: Any, log: Any) -> None:
    """Links are called in the order in which they were made."""
    task = lib.spawn(str)
    for number in range(4):
        (task.link if number % 2 else task.rawlink)(log.note(number))
    task.join()
    lib.settle()
    assert [number for number in log if not number % 2] == [0, 2]
    assert [number for number in log if number % 2] == [1, 3]


def test_link_value_and_link_exception(lib: Any, log: Any, fail: Any) -> None:
    """link_value for a value only, link_exception for an error only."""
    for function in (str, fail):
        task = lib.spawn(function)
        task.link_value(log.note((function, "value")))
        task.link_exception(log.note((function, "exception")))
        task.link(log.note((function, "link")))
        task.join()
        lib.settle()
    assert log == [(str, "value"), (str, "link"), (fail, "exception"), (fail, "link")]


def test_a_killed_one_is_a_value_to_its_links(lib: Any, log: Any) -> None:
    """A killed one counts as successful for links too."""
    (task,) = lib.start(lambda: lib.sleep(FOREVER))
    task.link_value(log.note("value"))
    task.link_exception(log.note("exception"))
    task.kill()
    lib.settle()
    assert log == ["value"]


def test_links_after_death(lib: Any, log: Any, fail: Any) -> None:
    """Both also fire when linked after death, later."""
    for function in (str, fail):
        task = lib.spawn(function)
        task.join()
        lib.settle()
        task.link(log.note("link"))
        task.rawlink(log.note("rawlink"))
        (task.link_value if function is str else task.link_exception)(log.note("matching"))
        (task.link_exception if function is str else task.link_value)(log.note("other"))
        assert log == []
        lib.settle()
        assert sorted(log) == ["link", "matching", "rawlink"]
        log.clear()


def test_unlink_takes_the_original_callback(lib: Any, log: Any) -> None:
    """unlink accepts the original callback, of link and of rawlink."""
    task, callback, kept = lib.spawn(str), log.note("removed"), log.note("kept")
    for link in (task.link, task.rawlink, task.link_value, task.link_exception):
        link(callback)
        task.unlink(callback)
    task.link(kept)
    task.unlink(callback)
    task.join()
    lib.settle()
    assert log == ["kept"]


def test_unlink_all_and_has_links(lib: Any, log: Any) -> None:
    """unlink_all, has_links."""
    task = lib.spawn(str)
    assert not task.has_links()
    task.link(log.note(1))
    task.rawlink(log.note(2))
    assert task.has_links()
    task.unlink_all()
    assert not task.has_links()
    task.join()
    lib.settle()
    assert log == []


def test_a_link_that_raises(lib: Any, log: Any, fail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A link that raises is reported, and the next one is called."""
    task = lib.spawn(str)
    task.rawlink(fail)
    task.rawlink(log.note("next"))
    task.join()
    lib.settle()
    assert log == ["next"]
    assert "ValueError: on purpose" in capsys.readouterr().err


def test_a_link_must_be_callable(lib: Any) -> None:
    """What cannot be called is a TypeError."""
    task = lib.Greenlet(str)
    assert lib.outcome(task.rawlink, 5) == "raises TypeError"
    assert lib.outcome(task.link, 5) == "raises TypeError"


# -- errors ---------------------------------------------------------------------------------------------------------------


def test_an_uncaught_error_is_printed(lib: Any, fail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """uncaught exception: stored, and printed (here: when nobody can receive it any more)."""
    lib.spawn(fail)
    lib.settle()
    import gc

    gc.collect()
    lib.sleep(0.001)  # the hub has looked at what came from elsewhere, and collections may happen in any thread
    assert "ValueError: on purpose" in capsys.readouterr().err


def test_an_error_that_is_received_is_printed_by_gevent(lib: Any, fail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """uncaught exception: printed though get() raises it (gevent); not, if somebody receives it."""
    assert lib.outcome(lib.spawn(fail).get) == "raises ValueError"
    row = "a failed task is reported only if nobody received its error"
    assert ("ValueError: on purpose" in capsys.readouterr().err) is lib.differ(row, gevent=True, ours=False)


def test_get_raises_the_same_error_each_time(lib: Any, fail: Any) -> None:
    """get() re-raises the stored error, whoever asks."""
    task = lib.spawn(fail)
    errors = []
    for _ in range(2):
        try:
            task.get()
        except ValueError as error:
            errors.append(error)
    assert errors[0] is errors[1] is task.exception


# -- the rest -------------------------------------------------------------------------------------------------------------


def test_as_a_context_manager(lib: Any, log: Any) -> None:
    """with g: normal exit joins."""
    with lib.spawn(lambda: (lib.sleep(0.001), log.append("done"))) as task:
        assert isinstance(task, lib.Greenlet)
    assert log == ["done"] and task.ready()


def test_as_a_context_manager_that_is_left_by_an_error(lib: Any) -> None:
    """with g: exceptional exit kills: with that very error (gevent), or with a TaskExit."""
    with pytest.raises(KeyError):
        with lib.spawn(lib.sleep, FOREVER) as task:
            lib.sleep(0)
            raise KeyError
    row = "an error that leaves a `with task:` block kills the task with `TaskExit`"
    assert (type(task.value), type(task.exception)) == lib.differ(row, gevent=(type(None), KeyError), ours=(lib.GreenletExit, type(None)))


def test_repr(lib: Any) -> None:
    """repr: <Greenlet "name" at 0x..: func(args)> (gevent); its name and state here."""
    task = lib.Greenlet(sys.intern, "text")
    shown = repr(task)
    if lib.differ("`repr(task)` is its name and state", gevent=False, ours=True):
        assert shown == f"<Task {task.name!r} new>"
    else:
        assert "sys.intern" in shown or "built-in function intern" in shown
        assert "'text'" in shown


def test_name(lib: Any) -> None:
    """name: made when it is asked for, and may be set."""
    task = lib.Greenlet(str)
    assert isinstance(task.name, str) and task.name
    task.name = "worker"
    assert task.name == "worker" and "worker" in repr(task)


def test_weak_references(lib: Any) -> None:
    """It can be weakly referred to, be a key, and is equal to itself only."""
    import weakref

    a, b = lib.Greenlet(str), lib.Greenlet(str)
    assert weakref.ref(a)() is a
    assert {a: 1, b: 2}[a] == 1 and a != b
