"""The ends of programs, of threads and of what they leave to the collector: quiet, and in bounded time. Each program in an interpreter of its own."""

from __future__ import annotations

import sys

import pytest
from seams.processes import python

PRELUDE = """
import atexit, gc, logging, os, sys, threading, weakref
from concurrent.futures import ThreadPoolExecutor
from coopcore import TaskExit, get_hub, run, sleep, spawn

def say(text):
    os.write(1, text.encode() + b"\\n")

def parked():
    try:
        sleep(1000)
    finally:
        say("finally")

def go(fn, *args):
    task = spawn(fn, *args)
    sleep(0)
    return task

def in_thread(fn, daemon=False):
    def body():
        fn()
    thread = threading.Thread(target=body, daemon=daemon)
    thread.start()
    return thread
"""


def program(code: str, status: int = 0) -> tuple[list[str], str]:
    indented = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    out, err = python(PRELUDE + indented, status=status, timeout=55)
    return out.split(), err


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("task = go(parked); 1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("task = go(parked); sys.exit(3)", 3, ""),
        ("task = go(parked); sys.exit('so')", 1, "so"),
        ("task = go(parked); spawn(sys.exit, 5); sleep(10)", 5, ""),
        ("run(lambda: [go(parked), spawn(sys.exit, 6), sleep(10)])", 6, ""),
        ("task = go(parked); raise KeyboardInterrupt", -2, "KeyboardInterrupt"),
        ("task = go(parked); spawn(print, 'never begins')", 0, ""),
    ],
)
def test_the_status_is_that_of_the_script_and_every_finally_runs(code: str, status: int, says: str) -> None:
    out, err = program(code, status)
    assert out == ["finally"]
    assert err.rstrip().splitlines()[-1:] == ([says] if says else [])


def test_os_exit_runs_nothing() -> None:
    assert program("task = go(parked); os._exit(4)", 4) == ([], "")


def test_a_task_that_starts_another_at_exit() -> None:
    assert program("""
        def starts():
            try:
                sleep(1000)
            finally:
                spawn(parked)
                sleep(0)
        task = go(starts)
    """) == (["finally"], "")


def test_logging_at_exit_reaches_its_handlers() -> None:
    out, err = program("""
        logging.basicConfig(format="%(message)s")
        def logs():
            try:
                sleep(1000)
            finally:
                logging.warning("at exit")
        task = go(logs)
    """)
    assert (out, err) == ([], "at exit\n")


@pytest.mark.parametrize(
    ("code", "out"),
    [
        ("go(parked); atexit.register(lambda: say(spawn(lambda: 'task').get()))", ["task", "finally"]),
        ("atexit.register(lambda: say(spawn(lambda: 'task').get())); go(parked)", ["finally", "task"]),
        ("atexit.register(lambda: [go(parked), say(spawn(lambda: 'task').get())])", ["task"]),
    ],
    ids=["before the hub's end", "after it", "with the first hub"],
)
def test_functions_of_atexit_may_use_tasks(code: str, out: list[str]) -> None:
    assert program(code) == (out, "")


def test_a_thread_with_a_hub_ends_with_every_finally_of_its_tasks() -> None:
    assert program("""
        in_thread(lambda: go(parked)).join()
        say("joined")
        over = threading.Event()
        in_thread(lambda: [go(parked), *(sleep(0.001) for _ in iter(over.is_set, True))])
        say("end")
        over.set()
    """) == (["finally", "joined", "end", "finally"], "")


def test_threads_of_a_pool_end_with_every_finally_of_their_tasks() -> None:
    assert program("""
        pool = ThreadPoolExecutor(2)
        pool.submit(go, parked).result()
        say("submitted")
    """) == (["submitted", "finally"], "")


@pytest.mark.parametrize("body", ["go(parked), sleep(1000)", "[sleep(0) for _ in iter(int, 1)]", "run(lambda: [go(parked), sleep(1000)])"])
@pytest.mark.parametrize("main", ["", "task = go(parked)"])
def test_a_daemon_with_a_hub_is_left_where_it_is_without_a_word(body: str, main: str) -> None:
    out, err = program(f"""
        started = threading.Event()
        in_thread(lambda: [sleep(0), started.set(), {body}], daemon=True)
        started.wait()
        {main}
    """)
    assert (out, err) == (["finally"] if main else [], "")


def test_finalisers_at_the_very_end_are_refused_quietly() -> None:
    out, err = program("""
        class Last:
            def __del__(self):
                for fn in (lambda: sleep(0), lambda: spawn(print)):
                    try:
                        fn()
                    except Exception as error:
                        say(type(error).__name__)
        last, sys.also_last = Last(), Last()
        task = go(parked)
    """)
    assert out[0] == "finally" and err == ""


def test_a_finally_that_exits_at_exit_is_bounded() -> None:
    out, err = program("""
        def exits():
            try:
                sleep(1000)
            finally:
                sys.exit(3)
        tasks = go(exits), go(parked)
    """)
    assert out == ["finally"]
    assert "Traceback" not in err or "SystemExit" in err


# -- what is left to the collector --------------------------------------------------------------------------------------


@pytest.mark.slow(reason="starts 1,100 threads")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_threads_with_hubs_leave_nothing() -> None:
    out, err = program("""
        from greenlet import greenlet
        from coopcore import Task
        hubs = []
        ended = []
        def holds():
            try:
                sleep(1000)
            finally:
                ended.append(1)
        def body():
            for _ in range(3):
                go(holds)
            hubs.append(weakref.ref(get_hub()))
        def measure(threads):
            for _ in range(threads):
                in_thread(body).join()
            gc.collect()
            alive = sum(isinstance(thing, (greenlet, Task)) for thing in gc.get_objects())
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
            return len(os.listdir("/proc/self/fd")), alive, sum(ref() is not None for ref in hubs), pages
        fds, alive, hubs_alive, pages = measure(100)
        after = measure(1000)
        say(f"{after[0] - fds} {after[1] - alive < 10} {hubs_alive + after[2]} {(after[3] - pages) * 4 < 4096} {len(ended)}")
    """)
    assert (out, err) == (["0", "True", "0", "True", "3300"], "")  # of the last thread, greenlet may still be letting go


def test_the_hub_of_a_dead_thread_is_closed_when_the_thread_ends_not_when_it_is_collected() -> None:
    assert program("""
        gc.disable()
        before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        hubs = []
        in_thread(lambda: [go(parked), hubs.append(get_hub())]).join()
        say("joined")
        say(repr(hubs[0])[-8:])
        say(str((len(os.listdir("/proc/self/fd")) if before else 0) - before))
        ref = weakref.ref(hubs.pop())
        gc.collect()
        say(str(ref()))
    """) == (["finally", "joined", "closed>", "0", "None"], "")


def test_a_task_that_was_never_started_goes_with_its_last_reference() -> None:
    assert program("""
        from coopcore import Task
        gc.disable()
        def body(thing):
            say("ran")
        class Thing:
            pass
        thing = Thing()
        refs = weakref.ref(Task(body, thing)), weakref.ref(thing)
        del thing
        say(f"{refs[0]()} {refs[1]()}")
    """) == (["None", "None"], "")


def test_a_task_and_its_error_are_no_cycle() -> None:
    assert program("""
        from coopcore import Timeout, joinall
        gc.disable()
        tasks = []
        def fails():
            raise ValueError
        def start(fn, *args):
            task = spawn(fn, *args)
            tasks.append(weakref.ref(task))
            return task
        def main():
            for wait in (lambda: start(fails).get(), lambda: joinall([start(fails)], raise_error=True), lambda: start(fails).join()):
                try:
                    wait()
                except ValueError:
                    pass
            killed = start(sleep, 1000)
            sleep(0)
            killed.kill()
            try:
                with Timeout(0.001):
                    start(sleep, 0.002).join()
            except Timeout:
                pass
            del killed, wait
            sleep(0.01)
            say(str(sum(ref() is not None for ref in tasks)))
        run(main)
    """) == (["0"], "")
