"""Whole processes: many tasks, memory, the ends of programs and of forked children. More of these in test_hub_fork.py and test_exit.py."""

from __future__ import annotations

import pytest
from seams.processes import python


def test_at_exit_every_finally_of_a_plain_script_runs() -> None:
    out, err = python("""
        from coopcore import spawn, sleep
        def body():
            try:
                sleep(100)
            finally:
                print("finally")
        task = spawn(body)
        sleep(0)
        print("end of script")
    """)
    assert out == "end of script\nfinally\n" and err == ""


@pytest.mark.slow(reason="waits the second that a task is given")
def test_at_exit_a_task_that_will_not_end_is_abandoned_after_a_second() -> None:
    _out, err = python("""
        import warnings; warnings.simplefilter("default")
        from coopcore import spawn, sleep, TaskExit
        def body():
            while True:
                try:
                    sleep(100)
                except TaskExit:
                    pass
        task = spawn(body)
        sleep(0)
    """)
    assert "did not end within 1.0 s of being killed and were abandoned: 'body-" in err


def test_a_failure_that_is_held_to_the_end_is_reported_at_exit() -> None:
    _, err = python("""
        from coopcore import spawn, sleep
        task = spawn(lambda: 1 / 0)
        sleep(0)
    """)
    assert err.count("ZeroDivisionError") == 1 and "nobody joined it" in err


def test_ctrl_c_in_a_plain_script() -> None:
    _, err = python(
        """
        import os, signal, threading
        from coopcore import sleep
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        sleep(100)
        """,
        status=-2,
    )
    assert err.endswith("KeyboardInterrupt\n")


def test_a_fork_leaves_the_child_with_a_fresh_hub_and_runs_no_finally_of_the_parent() -> None:
    out, err = python("""
        import os, sys
        from coopcore import spawn, sleep, get_hub, joinall
        def parked():
            try:
                sleep(0.3)
            finally:
                print("finally in", os.getpid() == parent, flush=True)
        parent = os.getpid()
        task = spawn(parked)
        sleep(0)
        hub = get_hub()
        pid = os.fork()
        if pid == 0:
            assert get_hub() is not hub
            assert spawn(lambda: 7).get(timeout=5) == 7
            sleep(0.001)
            print("child done", flush=True)
            del task, hub
            import gc; gc.collect()
            os._exit(0)
        os.waitpid(pid, 0)
        task.join()
    """)
    assert out == "child done\nfinally in True\n" and err == ""


def test_a_task_that_forks_ends_the_child_when_it_returns() -> None:
    out, err = python("""
        import os, sys
        from coopcore import spawn, sleep, get_hub, run
        def body():
            pid = os.fork()
            if pid == 0:
                print("child", spawn(lambda: 7).get(timeout=5), flush=True)
                return 0
            os.waitpid(pid, 0)
            return pid
        def main():
            other = spawn(sleep, 0.01)
            task = spawn(body)
            task.join()
            other.join()
            print("parent", task.value > 0, flush=True)
        run(main)
    """)
    assert out == "child 7\nparent True\n" and err == ""


def test_a_child_of_multiprocessing() -> None:
    out, _ = python("""
        import multiprocessing
        from coopcore import spawn, sleep
        def child(queue):
            queue.put(spawn(lambda: 7).get(timeout=5))
        sleep(0)
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        process.join()
        print(queue.get(), process.exitcode)
    """)
    assert out == "7 0\n"


@pytest.mark.slow(reason="makes 100,000 greenlets")
@pytest.mark.timeout(400)
def test_100_000_tasks_asleep_at_once() -> None:
    out, _ = python(
        """
        from coopcore import spawn, sleep, joinall, killall, run, get_hub
        def main():
            tasks = [spawn(sleep, 1000) for _ in range(100_000)]
            while tasks[-1].state != "parked":
                sleep(0)
            print(sum(task.state == "parked" for task in tasks), len(get_hub().timers))
            killall(tasks)
            print(len(joinall(tasks)), len(get_hub().timers), len(get_hub().tasks()))
        run(main)
    """,
        timeout=380,
    )
    assert out == "100000 100000\n100000 0 1\n"


MANY = """
    import gc, resource
    from coopcore import spawn, run
    def nothing():
        pass
    def memory():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    def main():
        for _ in range({warm}):
            spawn(nothing).join()
        before = memory()
        for _ in range({count}):
            spawn(nothing).join()
        print((memory() - before) // 1024)
    run(main)
"""


def test_spawns_and_joins_leave_memory_flat() -> None:
    out, _ = python(MANY.format(warm=2_000, count=20_000))
    assert int(out) < 256, f"grew by {out} KiB"


@pytest.mark.soak
def test_a_million_spawns_and_joins_leave_memory_flat() -> None:
    out, _ = python(MANY.format(warm=10_000, count=1_000_000), timeout=300)
    assert int(out) < 1024, f"grew by {out} KiB"


def test_a_fork_in_a_callback_on_the_hub_leaves_the_child_with_a_fresh_hub() -> None:
    out, err = python("""
        import os
        from coopcore import get_hub, run, sleep, spawn
        def fork():
            pid = os.fork()
            if pid == 0:
                print("child", get_hub() is not hub, len(get_hub().tasks()), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
        def main():
            global hub
            hub = get_hub()
            hub.call_soon(fork)
            sleep(0.001)
        run(main)
    """)
    assert out == "child True 0\n" and err == ""


@pytest.mark.parametrize(
    ("ending", "status", "says"), [("return", 0, ""), ("sys.exit(3)", 3, ""), ("sys.exit('text')", 1, "text"), ("1 / 0", 1, "ZeroDivisionError")]
)
@pytest.mark.parametrize("where", ["task", "callback"])
def test_the_child_of_a_fork_ends_as_a_script_would(where: str, ending: str, status: int, says: str) -> None:
    start = "spawn(fork)" if where == "task" else "get_hub().call_soon(fork)"
    out, err = python(f"""
        import os, sys
        from coopcore import get_hub, run, sleep, spawn
        def fork():
            pid = os.fork()
            if pid == 0:
                {ending}
                return
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        def main():
            {start}
            sleep(0.01)
        run(main)
    """)
    assert out == f"{status}\n" and says in err and "finally" not in err
