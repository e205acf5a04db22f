"""os.fork: the child has a fresh hub when it needs one, and nothing of the parent's runs in it. Each program in an interpreter of its own."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from seams.processes import python

PRELUDE = """
import gc, os, sys, threading
from coopcore import get_hub, killall, run, sleep, spawn, spawn_later

parent = os.getpid()

def say(text):
    os.write(1, text.encode() + b"\\n")

def parked():
    try:
        sleep(1000)
    finally:
        if os.getpid() != parent:
            say("finally in the child")

def some():
    tasks = [spawn(parked) for _ in range(3)]
    sleep(0)
    return tasks

forked = threading.Event()

def until_done():
    while not forked.is_set():
        sleep(0.001)

def fork(child=None):
    pid = os.fork()
    if pid:
        say(f"status {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
        forked.set()
        return
    gc.collect()
    assert spawn(lambda: 7).get(timeout=5) == 7
    sleep(0.001)
    if child is not None:
        child()
    gc.collect()
    say("child")
    ENDING

def call(hub, fn):
    fn()
    hub.call_safely(int)  # does not come back in the child

def in_thread(fn):
    thread = threading.Thread(target=fn)
    thread.start()
    thread.join()

def with_tasks(fn):
    tasks = some()
    fn()
    killall(tasks)
"""

WHERE = {
    "the main greenlet": "with_tasks(fork)",
    "a task of a script": "with_tasks(lambda: spawn(fork).join())",
    "a task of run": "run(with_tasks, lambda: spawn(fork).join())",
    "main of run": "run(with_tasks, fork)",
    "a callback on the hub": "run(with_tasks, lambda: [get_hub().call_soon(fork), until_done()])",
    "a callback of a callback": "run(with_tasks, lambda: [get_hub().call_soon(get_hub().call_safely, call, get_hub(), fork), until_done()])",
    "a link": "run(with_tasks, lambda: [spawn(sleep).rawlink(lambda task: fork()), until_done()])",
    "an unstarted task of the future": "run(with_tasks, lambda: [spawn_later(0.001, fork), until_done()])",
    "a thread without a hub": "with_tasks(lambda: in_thread(fork))",
    "a thread with a hub": "with_tasks(lambda: in_thread(lambda: with_tasks(fork)))",
    "a task in a thread": "with_tasks(lambda: in_thread(lambda: with_tasks(lambda: spawn(fork).join())))",
    "a run in a thread": "with_tasks(lambda: in_thread(lambda: run(with_tasks, fork)))",
    "inside a run in a script with tasks": "tasks = some(); killall(tasks); run(with_tasks, fork)",
}


def forked(where: str, ending: str = "os._exit(0)", child: str = "None", more: str = "", **environment: str) -> str:
    code = PRELUDE.replace("ENDING", ending) + textwrap.dedent(more) + where.replace("fork", f"fork_({child})" if child != "None" else "fork")
    out, err = python(code.replace("fork_(", "fork("), **environment)
    assert err == ""
    return out


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
@pytest.mark.parametrize("where", WHERE)
def test_invariant_7_a_child_has_a_fresh_hub_and_runs_no_finally_of_the_parent(where: str, backend: str) -> None:
    if backend == "epoll" and sys.platform != "linux":
        pytest.skip("only Linux has epoll")
    assert forked(WHERE[where], COOP_BACKEND=backend) == "child\nstatus 0\n"


@pytest.mark.parametrize("ending", ["sys.exit(0)", "return"])
@pytest.mark.parametrize(
    "where", ["a task of run", "main of run", "a callback on the hub", "a callback of a callback", "a thread with a hub", "a task in a thread"]
)
def test_a_child_that_ends_by_itself_runs_no_finally_of_the_parent(where: str, ending: str) -> None:
    assert forked(WHERE[where], ending) == "child\nstatus 0\n"


@pytest.mark.parametrize("needs_hub", [False, True])
def test_a_script_that_falls_off_its_end_in_the_child_runs_no_finally_of_the_parent(needs_hub: bool) -> None:
    out, err = python(f"""
        import os
        from coopcore import sleep, spawn
        def parked(write=os.write, getpid=os.getpid, parent=os.getpid()):  # these live to the very end
            try:
                sleep(1000)
            finally:
                write(1, b"parent" if getpid() == parent else b"child")
        task = spawn(parked)
        sleep(0)
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        elif {needs_hub}:
            sleep(0.001)
    """)
    assert (out, err) == ("parent", "")


def test_invariant_7_a_task_of_the_parent_reads_as_killed_in_the_child() -> None:
    out = forked(
        "run(main)",
        more="""
        def main():
            waiting, unstarted, me = some()[0], spawn(say, "only in the parent"), get_hub().main
            def child():
                for task in (waiting, unstarted):
                    assert task.dead and task.join(timeout=0) and "stayed in the parent" in str(task.get(timeout=0)) and task.successful()
                    task.kill()
                assert me is not get_hub().root and me.hub.forked and not get_hub().forked and not me.dead
                assert get_hub().tasks() == []
            fork(child)
            assert waiting.state == "parked" and unstarted.state == "ready"
            sleep(0)
            killall(get_hub().tasks()[1:])
        """,
    )
    assert out == "child\nstatus 0\nonly in the parent\n"


def test_a_failure_that_the_parent_holds_is_reported_by_the_parent_alone() -> None:
    _, err = python("""
        import gc, os
        from coopcore import sleep, spawn
        task = spawn(lambda: 1 / 0)
        sleep(0)
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        else:
            del task
            gc.collect()
    """)
    assert err.count("ZeroDivisionError") == 1


@pytest.mark.parametrize("backend", ["epoll", "selectors"])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_shares_no_poll_with_the_parent_and_closing_there_disturbs_nobody(backend: str) -> None:
    out, err = python(
        """
        import os, socket, threading
        from coopcore import get_hub, run, sleep, spawn
        from coopcore.errors import HubClosedError
        from coopcore.lowlevel import notify_closing, wait_readable
        def polls():
            links = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    links.append(os.readlink("/proc/self/fd/" + fd))
                except FileNotFoundError:
                    pass  # that of the listing itself
            return sum("eventpoll" in link or "eventfd" in link for link in links)
        def main():
            here, there = socket.socketpair()
            reader = spawn(wait_readable, here.fileno())
            sleep(0)
            hub = get_hub()
            def fork():
                pid = os.fork()
                if pid:
                    assert os.waitpid(pid, 0)[1] == 0
                    return
                assert polls() == 0
                try:
                    hub.call_soon_threadsafe(print, "into the parent's hub")
                except HubClosedError:
                    pass
                else:
                    os._exit(1)
                assert not wait_readable(here.fileno(), 0.001)
                notify_closing(here.fileno())
                here.close()
                there.close()
                os._exit(0)
            fork()
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
            sleep(0.001)
            assert reader.state == "parked"
            there.send(b"x")
            assert reader.get(timeout=5)
            here.close()
            there.close()
            print("done")
        run(main)
        """,
        COOP_BACKEND=backend,
    )
    assert (out, err) == ("done\n", "")


def test_code_that_forks_while_a_thread_job_runs_does_not_wait_for_it_in_the_child() -> None:
    out, err = python("""
        import os, threading
        from coopcore import get_hub, run, sleep, spawn
        from coopcore.lowlevel import promise
        def main():
            hub, go = get_hub(), threading.Event()
            job = promise("a job")
            def work():
                go.wait()
                hub.call_soon_threadsafe(job.close)
            thread = threading.Thread(target=work)
            thread.start()
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0)[1] == 0
                go.set()
                thread.join()
                print("done", flush=True)
            else:
                assert spawn(lambda: 7).get(timeout=5) == 7
                job.close()
        run(main)
    """)
    assert (out, err) == ("done\n", "")


def test_a_child_that_forks_again() -> None:
    out, err = python("""
        import os
        from coopcore import run, sleep, spawn
        def generation(n):
            other = spawn(sleep, 1000)
            sleep(0)
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0)[1] == 0
                other.kill()
                os.write(1, b"%d" % n)
            elif n < 3:
                generation(n + 1)
        run(generation, 1)
    """)
    assert (out, err) == ("321", "")


def test_the_child_of_a_task_waits_for_threads_and_flushes_but_calls_no_atexit_function() -> None:
    out, err = python("""
        import atexit, os, threading, time
        from coopcore import run, sleep
        parent = os.getpid()
        atexit.register(lambda: print("atexit", os.getpid() == parent))
        go = threading.Event()
        def main():
            pid = os.fork()
            if pid:
                print("status", os.waitpid(pid, 0)[1])
                return
            threading.Thread(target=lambda: [go.wait(), print("thread of the child")]).start()
            threading.Timer(0.01, go.set).start()
        run(main)
    """)
    assert (out, err) == ("thread of the child\nstatus 0\natexit True\n", "")


def test_the_child_of_a_task_ends_though_its_output_cannot_be_flushed() -> None:
    out, err = python("""
        import os, sys
        from coopcore import run
        def main():
            pid = os.fork()
            if not pid:
                sys.stdout.close()
                return
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        run(main)
    """)
    assert out == "1\n" and "closed file" in err


def test_a_child_has_pythons_own_ctrl_c_handler_until_it_has_a_hub() -> None:
    out, err = python("""
        import os, signal
        from coopcore import run, sleep
        def main():
            pid = os.fork()
            if pid:
                print(os.waitpid(pid, 0)[1], signal.getsignal(signal.SIGINT) is signal.default_int_handler)
                return
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            sleep(0.001)
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        run(main)
    """)
    assert (out, err) == ("0 False\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.slow(reason="starts two or three interpreters")
def test_children_of_multiprocessing(method: str, tmp_path: Path) -> None:
    (tmp_path / "children_of_coopcore.py").write_text(
        textwrap.dedent("""
        from coopcore import sleep, spawn
        def child(queue):
            queue.put(spawn(lambda: 7).get(timeout=5))
        def main(method):
            import multiprocessing
            context = multiprocessing.get_context(method)
            other = spawn(sleep, 1000)
            sleep(0)
            queue = context.SimpleQueue()
            process = context.Process(target=child, args=(queue,))
            process.start()
            process.join()
            other.kill()
            return queue.get(), process.exitcode
        """)
    )
    out, err = python(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from children_of_coopcore import main
        from coopcore import run, sleep, spawn
        print(run(main, {method!r}))
        sleep(0)
        print(spawn(main, {method!r}).get(), main({method!r}))
        """
    )
    assert out == "(7, 0)\n(7, 0) (7, 0)\n"
    assert err == ""


@pytest.mark.parametrize("start", ["spawn(fork)", "get_hub().call_soon(fork)"])
def test_tasks_that_the_child_has_started_end_before_it_does(start: str) -> None:
    out, err = python(f"""
        import os
        from coopcore import get_hub, run, sleep, spawn
        def parked():
            try:
                sleep(1000)
            finally:
                sleep(0.001)
                os.write(1, b"finally in the child ")
        def fork():
            pid = os.fork()
            if pid:
                os.write(1, b"status %d" % os.waitpid(pid, 0)[1])
                return
            spawn(parked)
            global failed
            failed = spawn(lambda: 1 / 0)
            sleep(0)
        def main():
            {start}
            sleep(0.01)
        run(main)
    """)
    assert out == "finally in the child status 0"
    assert err.count("ZeroDivisionError") == 1
