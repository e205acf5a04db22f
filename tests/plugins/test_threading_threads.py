"""Threads that are tasks: the invariants of ``coop_plugins.threading._threads`` by name. Each program is patched, in an interpreter of its own."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from seams.processes import python

from coop_plugins.threading import REAL, get_ident, sleep, start_new_thread
from coopcore import run, spawn

PRELUDE = """
import os, sys
from coop_plugins.patch import patched, patch, unpatch
made = patched("thread", "queue", "time")
patching = made.__enter__()
import _thread, concurrent.futures, gc, queue, threading, time, weakref
import coopcore
from coop_plugins.patch import original
native_start, native_ident, native_lock = (original("_thread", name) for name in ("start_new_thread", "get_ident", "allocate_lock"))

def in_plain_thread(fn):
    # one that threading does not know
    def run():
        try:
            log.append(fn())
        finally:
            ended.set()
    log, ended = [], threading.Event()
    native_start(run, ())
    ended.wait()
    return log[0]

def threads():
    return len(sys._current_frames())

def raises(error, fn, *args):
    try:
        fn(*args)
    except error as caught:
        return str(caught) or True
    raise AssertionError("it did not raise")
"""


def check(body: str, out: str = "", err: str = "", measured: bool = True) -> None:
    """Run it patched. It must print these, and ``done`` at the end."""
    got = python(PRELUDE + textwrap.dedent(body) + "\nprint('done')\n", measured=measured)
    assert got == (f"{out}done\n", err)


# -- invariants ---------------------------------------------------------------------------------------------------------


def test_invariant_1_the_threads_of_the_main_thread_and_of_tasks_are_tasks() -> None:
    check("""
        def work(depth):
            assert native_ident() == main
            if not isinstance(threading.current_thread(), threading._DummyThread):
                assert coopcore.current_task().name == threading.current_thread().name
            if depth:
                thread = threading.Thread(target=work, args=(depth - 1,))
                thread.start()
                thread.join()
            log.append(depth)

        main, log = native_ident(), []
        thread = threading.Thread(target=work, args=(2,), name="a thread")
        thread.start()
        thread.join()
        _thread.start_new_thread(work, (), {"depth": 0})
        coopcore.spawn(work, 1).join()
        coopcore.get_hub().call_soon(_thread.start_new_thread, work, (0,))
        while len(log) < 7:
            coopcore.sleep(0)
        assert threads() == 1
    """)


def test_invariant_1_a_plain_thread_starts_real_ones_and_so_does_the_standard_library_for_processes() -> None:
    check("""
        import multiprocessing, multiprocessing.queues

        def plain():
            thread = threading.Thread(target=lambda: log.append(native_ident()))
            thread.start()
            thread.join()
            assert thread.ident == log[0] != native_ident() != main

        main, log = native_ident(), []
        in_plain_thread(plain)

        q = multiprocessing.get_context("fork").Queue()
        q.put("x" * 1_000_000)  # more than a pipe holds: its thread blocks
        assert threads() == 2
        assert len(q.get()) == 1_000_000
        q.close()
        q.join_thread()

        from coop_plugins.threading import REAL
        REAL.add(__name__)
        thread = threading.Thread(target=lambda: log.append(native_ident()))
        thread.start()
        thread.join()
        assert log[-1] != main
    """)


def test_invariant_1_a_thread_that_has_its_own_hub_has_its_own_tasks() -> None:
    check("""
        def main():
            thread = threading.Thread(target=lambda: log.append(native_ident()))
            thread.start()
            thread.join()
            log.append(native_ident())
            assert threading.get_ident() == native_ident()

        log = []
        in_plain_thread(lambda: coopcore.run(main))
        assert log[0] == log[1] != native_ident()
    """)


def test_only_threads_that_the_program_has_started_are_counted() -> None:
    check("""
        def work():
            counts.append(_thread._count())
            go.wait()

        counts, go, stop = [], threading.Event(), native_lock()
        stop.acquire()
        native_start(stop.acquire, ())  # as a thread pool of the plugins does
        assert _thread._count() == 0
        works = [threading.Thread(target=work) for _ in range(2)]
        for thread in works:
            thread.start()
        while len(counts) < 2:
            time.sleep(0)
        assert _thread._count() == 2
        go.set()
        for thread in works:
            thread.join()
        assert _thread._count() == 0
        assert in_plain_thread(lambda: threading.Thread(target=work).start()) is None
        while len(counts) < 3:
            time.sleep(0.001)
        while _thread._count():
            time.sleep(0.001)
        assert counts[2] == 1
        stop.release()
    """)


def test_invariant_2_each_has_an_ident_of_its_own_and_the_main_task_that_of_its_thread() -> None:
    check("""
        import reprlib

        def work():
            before = threading.get_ident()
            go.wait()
            assert before == threading.get_ident() == _thread.get_ident() == coopcore.current_task().ident == threading.current_thread().ident
            idents.append(before)

        assert repr(reprlib.get_ident) == repr(threading.get_ident)
        idents, go = [threading.get_ident()], threading.Event()
        assert idents == [native_ident()] == [threading.main_thread().ident]
        assert threading.current_thread() is threading.main_thread()
        works = [threading.Thread(target=work) for _ in range(5)]
        for thread in works:
            thread.start()
        assert threading.active_count() == 6 and set(threading.enumerate()) == {threading.main_thread(), *works}
        go.set()
        for thread in works:
            thread.join()
        assert sorted(idents[1:]) == [thread.ident for thread in works]
        assert len(set(idents)) == 6
        assert all(thread.native_id == threading.get_native_id() for thread in works)

        on_hub = []
        coopcore.get_hub().call_soon(lambda: on_hub.append((threading.get_ident(), threading.current_thread())))
        coopcore.sleep(0)
        coopcore.sleep(0)
        assert on_hub == [(native_ident(), threading.main_thread())]
    """)


def test_invariant_2_it_holds_in_run_and_while_its_hub_closes() -> None:
    check(
        """
        def main():
            assert threading.current_thread() is threading.main_thread()
            assert threading.get_ident() == native_ident()
            lock = threading.RLock()
            try:
                with lock:
                    raise KeyError
            finally:
                coopcore.sleep(0)
                assert threading.get_ident() == native_ident()

        def interrupted():
            try:
                coopcore.sleep(1000)
            finally:
                assert threading.get_ident() == native_ident()
                print("main ended")

        raises(KeyError, coopcore.run, main)
        def interrupt():
            coopcore.spawn_later(0.001, _thread.interrupt_main)
            interrupted()

        raises(KeyboardInterrupt, coopcore.run, interrupt)
        from coop_plugins.threading import _threads
        coopcore.sleep(0)
        assert not _threads._mains
    """,
        out="main ended\n",
    )


def test_invariant_3_whoever_joins_goes_on_however_a_thread_ends() -> None:
    check(
        """
        def fails():
            raise KeyError("on purpose")

        threading.excepthook = lambda args: log.append(args.exc_type)
        log = []
        failing = threading.Thread(target=fails)
        sleeping = threading.Thread(target=time.sleep, args=(1000,))
        exiting = threading.Thread(target=sys.exit)
        works = [failing, sleeping, exiting]
        for thread in works:
            thread.start()
        assert sleeping.is_alive()
        sleeping.join(0.001)
        assert sleeping.is_alive()
        (task,) = [task for task in coopcore.get_hub().tasks() if task.name == sleeping.name]
        task.kill(block=False)
        for thread in works:
            thread.join()
            assert not thread.is_alive()
        assert log == [KeyError, SystemExit]  # the standard hook is silent about the second
        assert "cannot join" in raises(RuntimeError, threading.current_thread().join)
        assert "cannot join" in raises(RuntimeError, threading.Thread().join)

        never = threading.Thread(target=print)
        starter = coopcore.spawn(never.start)
        coopcore.sleep(0)
        task, = [task for task in coopcore.get_hub().tasks() if task.name == never.name]
        print(task.state)
        task.kill()
        coopcore.sleep(0)
        assert never not in threading.enumerate()
        starter.kill()
        assert threading.enumerate() == [threading.main_thread()]
    """,
        out="ready\n",
    )


def test_invariant_3_threads_that_end_with_their_hub_have_ended() -> None:
    check("""
        import warnings

        def main():
            thread = threading.Thread(target=time.sleep, args=(1000,))
            thread.start()
            return thread

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            thread = coopcore.run(main)
        thread.join()
        assert not thread.is_alive() and threading.enumerate() == [threading.main_thread()]
        assert "left 1 task(s) behind" in str(caught[0].message)
    """)


def test_invariant_3_tasks_and_threads_join_each_other() -> None:
    check("""
        from coop_plugins.threading import REAL

        def real():
            thread.join()
            log.append("the thread has joined the task")

        log = []
        REAL.add(real.__module__)
        other = threading.Thread(target=real)
        REAL.discard(real.__module__)
        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        REAL.add(real.__module__)
        other.start()
        assert threads() == 2
        other.join(0.001)
        assert other.is_alive()
        go.set()
        other.join()
        assert not other.is_alive()
        assert log == ["the thread has joined the task"]
    """)


def test_invariant_3_a_task_that_joins_a_thread_of_before_the_patch_keeps_nobody_out() -> None:
    out, err = python(
        """
import threading
go = threading.Event()
old = threading.Thread(target=go.wait)
old.start()
unstarted = threading.Thread(target=print, args=("started later",))
from coop_plugins.patch import patched
import coopcore
with patched("thread", "time"):
    task = coopcore.spawn(go.set)
    old.join(0)
    assert old.is_alive()
    old.join(0.001)
    old.join()
    assert task.dead and not old.is_alive()
    unstarted.start()
    unstarted.join()
    assert not unstarted.is_alive()
print("done")
"""
    )
    assert (out, err) == ("started later\ndone\n", "")


def test_invariant_4_a_task_that_was_not_started_as_a_thread_is_forgotten_when_it_ends() -> None:
    check("""
        def work():
            me = threading.current_thread()
            assert isinstance(me, threading._DummyThread)
            assert me.ident == threading.get_ident() and me.daemon and me.is_alive()
            coopcore.sleep(0)
            assert threading.current_thread() is me
            assert me in threading.enumerate()

        coopcore.joinall([coopcore.spawn(work) for _ in range(5)], raise_error=True)
        coopcore.sleep(0)
        assert threading.enumerate() == [threading.main_thread()]

        def plain():
            threading.current_thread()
            assert threading.active_count() == 2

        in_plain_thread(plain)
        while threads() > 1:
            time.sleep(0)
        assert threading.enumerate() == [threading.main_thread()]
    """)


def test_invariant_5_kills_are_silent_and_errors_are_told() -> None:
    check("""
        def fails():
            raise KeyError("on purpose")

        def task_of(thread):
            return next(task for task in coopcore.get_hub().tasks() if task.name == thread.name)

        hooked = []
        threading.excepthook = hooked.append
        sleeping = threading.Thread(target=time.sleep, args=(1000,))
        failing = threading.Thread(target=fails)
        sleeping.start()
        failing.start()
        task_of(sleeping).kill()
        failing.join()
        assert [(args.exc_type, args.thread) for args in hooked] == [(KeyError, failing)]

        unraisable = []
        sys.unraisablehook = unraisable.append
        for function in (fails, sys.exit, lambda: time.sleep(1000)):
            _thread.start_new_thread(function, ())
        coopcore.sleep(0)
        next(iter(coopcore.get_hub().tasks())).kill()
        (args,) = unraisable
        assert args.exc_type is KeyError and "in thread started by" in args.err_msg
        assert fails in (args.object, None) or repr(fails) in args.err_msg
        assert len(hooked) == 1

        # A Ctrl-C that hits a task: a standard thread never gets one
        for start in (lambda: threading.Thread(target=_thread.interrupt_main).start(), lambda: _thread.start_new_thread(_thread.interrupt_main, ())):
            raises(KeyboardInterrupt, lambda: (start(), coopcore.sleep(1)))
        assert len(hooked) == len(unraisable) == 1

        import io
        sys.unraisablehook = sys.__unraisablehook__
        sys.stderr = told = io.StringIO()
        _thread.start_new_thread(fails, ())
        coopcore.sleep(0)
        sys.stderr = sys.__stderr__
        assert "Exception ignored in thread started by: <function fails" in told.getvalue() and "KeyError: 'on purpose'" in told.getvalue()
    """)


def test_invariant_6_in_the_child_of_a_fork_the_task_that_forked_is_the_main_thread() -> None:
    check(
        """
        import signal

        def in_child():
            assert threading.current_thread() is threading.main_thread(), threading.enumerate()
            assert threading.get_ident() == native_ident() == threading.main_thread().ident
            assert threading.enumerate() == [threading.current_thread()]
            assert not other.is_alive()
            other.join()
            thread = threading.Thread(target=lambda: (time.sleep(0.001), log.append(1)))
            thread.start()
            thread.join()
            assert log == [1]
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                assert list(pool.map(abs, [-1, -2])) == [1, 2]
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            assert threading.main_thread().is_alive()
            os._exit(0)

        def fork():
            pid = os.fork()
            if not pid:
                try:
                    in_child()
                except BaseException:
                    import traceback
                    traceback.print_exc()
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0

        log = []
        other = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
        other.start()
        fork()
        for task in (coopcore.spawn(fork), coopcore.spawn(lambda: (threading.current_thread(), fork()))):
            task.get()
        thread = threading.Thread(target=lambda: fork())
        thread.start()
        thread.join()
        _thread.start_new_thread(fork, ())
        coopcore.sleep(0)
        assert other.is_alive() and threading.main_thread().is_alive()
    """,
        measured=False,
    )


def test_invariant_7_the_patch_can_be_undone_while_threads_run() -> None:
    check("""
        def work():
            log.append(threading.get_ident())
            coopcore.sleep(0.01)
            log.append(threading.get_ident())

        log = []
        thread = threading.Thread(target=work)
        thread.start()
        made.__exit__(None, None, None)
        assert threading.get_ident is native_ident and threading.Lock is native_lock or sys.version_info >= (3, 13)
        coopcore.sleep(0.02)
        assert log == [thread.ident, native_ident()]
        assert threading.enumerate() == [threading.main_thread()]
        assert threading.current_thread() is threading.main_thread()
        assert not thread.is_alive()
        thread.join()
        real = threading.Thread(target=lambda: log.append(native_ident()))
        real.start()
        real.join()
        assert log[2] != native_ident()
        assert time.sleep is original("time", "sleep") and "coop" not in repr(queue.SimpleQueue)
        with patched("thread"):
            again = threading.Thread(target=work)
            again.start()
            again.join()
            assert log[-1] == again.ident
    """)


def test_the_functions_work_without_the_patch() -> None:
    def main() -> None:
        idents: list[int] = []
        ident = start_new_thread(lambda: (sleep(0), idents.append(get_ident())), ())
        sleep(0.001)
        assert idents == [ident]
        assert get_ident() == threading.get_ident()
        assert spawn(get_ident).get() != get_ident()

    run(main)


def test_the_modules_whose_threads_stay_real_exist() -> None:
    for name in REAL:
        assert importlib.import_module(name).threading is threading


def test_a_thread_of_a_library_in_c_may_let_a_task_go_on() -> None:
    check("""
        import ctypes

        @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        def call_back(_):
            original("time", "sleep")(0.05)
            with lock:
                log.append(threading.current_thread() is not threading.main_thread())
            q.put("from afar")
            event.set()

        lock, q, event, log = threading.RLock(), queue.Queue(), threading.Event(), []
        libc = ctypes.CDLL(None)
        thread = ctypes.c_ulong()
        assert libc.pthread_create(ctypes.byref(thread), None, call_back, None) == 0
        getter = threading.Thread(target=lambda: log.append(q.get()))
        getter.start()
        event.wait()
        getter.join()
        libc.pthread_join(thread, None)
        assert log == [True, "from afar"]
    """)


def test_a_deadlock_is_told_when_the_last_unknown_thread_is_gone() -> None:
    check("""
        lock = threading.Lock()
        lock.acquire()
        native_start(original("time", "sleep"), (0.05,))
        raises(coopcore.Deadlock, lock.acquire)
        assert lock._line == []
        assert coopcore.get_hub().tasks() == []
    """)


def test_it_is_told_when_only_a_thread_that_nobody_knows_could_help() -> None:
    out, err = python(
        PRELUDE
        + textwrap.dedent("""
        from coop_plugins.threading import _where
        _where.SILENCE = 0.01
        lock, ended = threading.Lock(), native_lock()
        lock.acquire()

        class Heard:
            flush = sys.stderr.flush
            text = ""

            def write(self, text):
                Heard.text += text
                return sys.__stderr__.write(text)

        def let_go():
            while "main waits for" not in Heard.text:
                original("time", "sleep")(0.001)
            lock.release()

        sys.stderr = Heard()
        native_start(let_go, ())
        lock.acquire()
        print("done")
        """)
    )
    assert out == "done\n"
    assert "for 0.01 s only a thread that threading does not know" in err
    assert "main waits for <locked coop_plugins.threading.Lock" in err


# -- the standard library upon it ---------------------------------------------------------------------------------------


def test_the_classes_of_threading_work_upon_tasks() -> None:
    check("""
        def meet():
            with semaphore:
                ready.wait()
                numbers.append(barrier.wait())
            with condition:
                condition.wait_for(lambda: len(numbers) == 3)
                log.append(threading.current_thread().name)

        ready, barrier, semaphore, condition = threading.Event(), threading.Barrier(3), threading.BoundedSemaphore(3), threading.Condition()
        numbers, log = [], []
        works = [threading.Thread(target=meet, name=f"t{n}") for n in range(3)]
        for thread in works:
            thread.start()
        ready.set()
        while len(numbers) < 3:
            time.sleep(0.001)
        with condition:
            condition.notify_all()
        for thread in works:
            thread.join()
        assert sorted(log) == ["t0", "t1", "t2"] and sorted(numbers) == [0, 1, 2]
        timer = threading.Timer(0.001, log.append, ("timer",))
        timer.start()
        timer.join()
        assert log[-1] == "timer"
        timer = threading.Timer(1000, print)
        timer.start()
        timer.cancel()
        timer.join()
        assert not ready.__class__().wait(0.001)
        assert not threading.Semaphore(0).acquire(timeout=0.001)
        raises(threading.BrokenBarrierError, threading.Barrier(2).wait, 0.001)
        assert threads() == 1
    """)


def test_what_was_made_before_the_patch_works_as_long_as_nobody_parks_while_they_hold_it() -> None:
    out, err = python(
        """
import queue, threading
q, event, condition, semaphore = queue.Queue(1), threading.Event(), threading.Condition(), threading.Semaphore(0)
lock, rlock, old_local = threading.Lock(), threading.RLock(), threading.local()
from coop_plugins.patch import patched
import time
with patched("thread", "queue", "time"):
    def work():
        q.put(1)
        q.put(2)
        event.wait()
        with condition:
            condition.wait()
        semaphore.release()
        with lock, rlock:
            pass
        log.append("worked")
    log = []
    thread = threading.Thread(target=work)
    thread.start()
    assert (q.get(), q.get()) == (1, 2)
    event.set()
    time.sleep(0)
    with condition:
        condition.notify()
    semaphore.acquire()
    thread.join()
    assert log == ["worked"]
print("done")
"""
    )
    assert (out, err) == ("done\n", "")


def test_queues_of_the_standard_library_work_upon_tasks() -> None:
    check("""
        def produce(q):
            for n in range(20):
                q.put(n)
            q.join()
            log.append("joined")

        for q in (queue.Queue(2), queue.LifoQueue(2), queue.PriorityQueue(2)):
            log = []
            thread = threading.Thread(target=produce, args=(q,))
            thread.start()
            got = []
            for _ in range(20):
                got.append(q.get())
                q.task_done()
            thread.join()
            assert sorted(got) == list(range(20)) and log == ["joined"]
            raises(queue.Empty, lambda: q.get(timeout=0.001))
        q = queue.SimpleQueue()
        assert type(q).__module__ == "coop_plugins.threading"
        threading.Timer(0.001, q.put, (5,)).start()
        assert q.get() == 5
        if sys.version_info >= (3, 13):
            q = queue.Queue()
            threading.Timer(0.001, q.shutdown).start()
            raises(queue.ShutDown, q.get)
        assert threads() == 1
    """)


def test_executors_run_their_workers_as_tasks() -> None:
    check("""
        def work(n):
            time.sleep(0.01)
            return n, native_ident()

        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(50, thread_name_prefix="pool") as pool:
            results = list(pool.map(work, range(50)))
            assert results == [(n, native_ident()) for n in range(50)]
            futures = [pool.submit(work, n) for n in range(3)]
            assert len(concurrent.futures.wait(futures).done) == 3
            assert sorted(future.result()[0] for future in concurrent.futures.as_completed(futures)) == [0, 1, 2]
            held = threading.Event()
            raises(TimeoutError, pool.submit(held.wait).result, 0.001)
            held.set()
            raises(ZeroDivisionError, pool.submit(divmod, 1, 0).result)
        assert time.monotonic() - start < 5
        assert threads() == 1 and threading.active_count() == 1
        blocker = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        first, second = pool.submit(blocker.wait), pool.submit(print)
        time.sleep(0)
        assert second.cancel() and not first.cancel()
        blocker.set()
        pool.shutdown()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        assert pool.submit(abs, -1).result() == 1
        del pool
        gc.collect()
        while threading.active_count() > 1:
            time.sleep(0.001)
    """)


def test_an_executor_of_an_unpatched_import_does_not_hang() -> None:
    """Its module has a lock of before the patch, which is held while a worker starts."""
    out, err = python(
        """
import concurrent.futures.thread, threading
before = concurrent.futures.thread._global_shutdown_lock
from coop_plugins.patch import patched
import coopcore
with patched("thread", "queue"):
    pool = concurrent.futures.ThreadPoolExecutor(5)
    tasks = [coopcore.spawn(lambda: pool.submit(abs, -1).result()) for _ in range(5)]
    assert [task.get() for task in tasks] == [1] * 5
    pool.shutdown()
assert concurrent.futures.thread._global_shutdown_lock is before
print("done")
"""
    )
    assert (out, err) == ("done\n", "")


@pytest.mark.parametrize("early", [True, False])
def test_pipes_of_processes_block_while_sockets_do_not(early: bool) -> None:
    out, err = python(
        f"""
if {early}:
    import multiprocessing.connection
import socket, sys
from coop_plugins.patch import patched
finders = list(sys.meta_path)
with patched():
    import multiprocessing.connection, multiprocessing.reduction, os
    ours, theirs = multiprocessing.Pipe()
    assert os.get_blocking(ours.fileno())
    os.set_blocking(ours.fileno(), True)
    theirs.send("hello")
    assert ours.recv() == "hello"
    with multiprocessing.connection.Listener() as listener:
        with multiprocessing.connection.Client(listener.address) as client, listener.accept() as served:
            one, other = multiprocessing.Pipe()
            served.send("there")
            assert client.recv() == "there"
    assert socket.socket.__module__.startswith("coop_plugins")
    assert multiprocessing.connection.socket is not socket
    for end in (ours, theirs, one, other):
        end.close()
assert multiprocessing.connection.socket is multiprocessing.reduction.socket is socket
assert sys.meta_path == finders
print("done")
"""
    )
    assert (out, err) == ("done\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.slow(reason="processes that start anew import everything, patched")
def test_processes_work_beside_tasks(method: str, tmp_path: Path) -> None:
    script = tmp_path / "processes.py"
    script.write_text(
        """
import sys
from coop_plugins.patch import patched
patching = patched()
patching.__enter__()
import concurrent.futures, multiprocessing, multiprocessing.pool, os, threading, time

def square(n):
    return n * n

def child(q, n):
    thread = threading.Thread(target=q.put, args=(n,))
    thread.start()
    thread.join()
    assert threading.current_thread() is threading.main_thread()
    q.put(threading.main_thread().name)

def tick():
    while not stop.is_set():
        ticks.append(1)
        time.sleep(0.001)

def let_go(file):
    while len(ticks) - before <= 3:
        time.sleep(0.001)
    open(__file__ + file, "w").close()

def until_told(file):
    while not os.path.exists(__file__ + file):
        time.sleep(0.01)

if __name__ == "__main__":
    stop, ticks = threading.Event(), []
    ticker = threading.Thread(target=tick)
    ticker.start()
    context = multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        assert list(executor.map(square, range(5))) == [0, 1, 4, 9, 16]
        before = len(ticks)
        threading.Thread(target=let_go, args=("1",)).start()
        assert executor.submit(until_told, "1").result() is None
        assert len(ticks) - before > 3, "the others ran meanwhile"
    with context.Pool(1) as pool:
        assert pool.map(square, [1, 2]) == [1, 4]
        before = len(ticks)
        threading.Thread(target=let_go, args=("2",)).start()
        pool.apply(until_told, ("2",))
        assert len(ticks) - before > 3
    q = context.Queue()
    process = context.Process(target=child, args=(q, 7))
    process.start()
    assert (q.get(), q.get()) == (7, "MainThread")
    process.join()
    assert process.exitcode == 0
    with context.Manager() as manager:
        shared = manager.dict()
        works = [threading.Thread(target=shared.__setitem__, args=(n, n)) for n in range(3)]
        for thread in works:
            thread.start()
        for thread in works:
            thread.join()
        assert sorted(shared.keys()) == [0, 1, 2]
    ours, theirs = context.Pipe()
    theirs.send("hello")
    assert ours.recv() == "hello"
    with multiprocessing.pool.ThreadPool(3) as pool:
        together = threading.Barrier(3)
        assert pool.map(lambda n: (together.wait(20), n)[1], range(6), chunksize=1) == list(range(6))
    q.close()
    q.join_thread()
    stop.set()
    ticker.join()
    print("done")
"""
    )
    result = subprocess.run([sys.executable, str(script), method], capture_output=True, text=True, timeout=50)
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_a_local_belongs_to_a_task() -> None:
    check("""
        def work(n):
            assert not hasattr(data, "n")
            data.n = n
            time.sleep(0)
            assert data.n == n
            log.append(n)

        data, log = threading.local(), []
        data.n = "main"
        works = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in works:
            thread.start()
        for thread in works:
            thread.join()
        in_plain_thread(lambda: work(3))
        assert sorted(log) == [0, 1, 2, 3] and data.n == "main"
        assert isinstance(data, threading.local) and threading.local is _thread._local
    """)


def test_an_import_that_waits_is_waited_for() -> None:
    check("""
        import importlib.util, tempfile
        folder = tempfile.mkdtemp()
        with open(os.path.join(folder, "slow_module.py"), "w") as file:
            file.write("import time\\ntime.sleep(0.01)\\nvalue = 1\\n")
        sys.path.insert(0, folder)

        def work():
            import slow_module
            log.append(slow_module.value)

        log = []
        works = [threading.Thread(target=work) for _ in range(3)]
        for thread in works:
            thread.start()
        for thread in works:
            thread.join()
        assert log == [1, 1, 1]
        import shutil
        shutil.rmtree(folder)
    """)


def test_logging_from_everywhere() -> None:
    check("""
        import io, logging

        class Slow(logging.Handler):
            def emit(self, record):
                inside.append(record)
                most.append(len(inside))
                time.sleep(0.001)
                inside.remove(record)
                log.append(record.getMessage())

        class Trash:
            def __del__(self):
                logging.warning("trash")

        inside, most, log = [], [], []
        logging.getLogger().addHandler(Slow())
        works = [threading.Thread(target=logging.warning, args=("task",)) for _ in range(5)]
        for thread in works:
            thread.start()
        in_plain_thread(lambda: logging.warning("thread"))
        coopcore.spawn(logging.warning, "spawned").join()
        Trash()
        for thread in works:
            thread.join()
        assert sorted(log) == ["spawned"] + ["task"] * 5 + ["thread", "trash"]
        assert max(most) == 1
    """)


def test_sleep_is_the_standard_one_but_parks() -> None:
    check("""
        ran = coopcore.spawn(lambda: None)
        time.sleep(0)
        assert ran.dead
        before = time.monotonic()
        time.sleep(0.005)
        time.sleep(True * 0)
        class Index:
            def __index__(self):
                return 0
        time.sleep(Index())
        assert time.monotonic() - before >= 0.005
        standard = original("time", "sleep")
        for bad in (-1, -0.5, "1", None, float("nan"), float("inf"), 1e300, 10**30, 1j):
            outcomes = []
            for sleep in (standard, time.sleep):
                try:
                    sleep(bad)
                except Exception as error:
                    outcomes.append((type(error), str(error)))
            assert len(outcomes) == 2 and outcomes[0] == outcomes[1], outcomes
        for arguments in ((), (1, 2)):
            raises(TypeError, time.sleep, *arguments)
        raises(TypeError, lambda: time.sleep(seconds=1))
        from coopcore.lowlevel import running_task
        assert in_plain_thread(lambda: (time.sleep(0.001), running_task()))[1] is None, "a plain thread needs no hub to sleep"
        task = coopcore.spawn(time.sleep, 1000)
        time.sleep(0)
        task.kill()
        assert task.dead
        timeout = coopcore.Timeout(0.001)
        with timeout:
            try:
                time.sleep(1000)
            except coopcore.Timeout as caught:
                assert caught is timeout
        errors = []
        def on_hub():
            try:
                time.sleep(0.001)
            except Exception as error:
                errors.append(type(error).__name__)
        coopcore.get_hub().call_soon(on_hub)
        coopcore.sleep(0.001)
        assert errors == ["ParkInHubError"]
    """)


def test_what_cannot_be_called_as_a_thread_is_refused() -> None:
    check(
        """
        for arguments in ((), (print,), (1, ()), (print, []), (print, (), []), (print, (), {}, 1)):
            outcomes = []
            for start in (native_start, _thread.start_new_thread):
                try:
                    start(*arguments)
                except TypeError as error:
                    outcomes.append(str(error))
            assert len(outcomes) == 2, (arguments, outcomes)
        thread = threading.Thread(target=print, args=("once",))
        thread.start()
        thread.join()
        raises(RuntimeError, thread.start)
        if sys.version_info >= (3, 13):
            raises(TypeError, _thread.start_joinable_thread, 1)
            raises(TypeError, lambda: _thread.start_joinable_thread(print, handle=1))
            handle = _thread.start_joinable_thread(lambda: raises(RuntimeError, handle.join))
            raises(RuntimeError, lambda: _thread.start_joinable_thread(print, handle=handle))
            handle.join(0)
            handle.join(-1)
            handle.join()
            assert handle.is_done() and str(handle.ident) in repr(handle)
            raises(RuntimeError, _thread._ThreadHandle().join)
            raises(RuntimeError, _thread._ThreadHandle()._set_done)
            raises(OverflowError, handle.join, 1e300)
    """,
        out="once\n",
    )


def test_a_thread_begins_with_an_empty_context_and_says_where_it_was_started() -> None:
    check("""
        import contextvars
        variable = contextvars.ContextVar("variable", default="none")
        variable.set("main")
        seen = []
        thread = threading.Thread(target=lambda: (seen.append(variable.get()), time.sleep(0.001)))
        thread.start()
        (task,) = coopcore.get_hub().tasks()
        assert task.spawned_at.startswith("<string>:"), task.spawned_at
        thread.join()
        assert seen == ["none"]
    """)


@pytest.mark.parametrize("imported", ["before", "after"])
def test_asyncio_with_executors_in_several_threads(imported: str) -> None:
    """What the executor does in the middle of a loop, as to start a thread, parks: others find no running loop then, and this one finds its own after it."""
    code = textwrap.dedent(f"""
        import {"asyncio" if imported == "before" else "sys"}
        from coop_plugins.patch import patch
        patch(warn=False)
        import asyncio, threading, time

        async def count():
            for number in range(3):
                await asyncio.sleep(0)
                yield number

        async def main(which):
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, lambda: which) == which
            await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.001) for _ in range(3)))
            time.sleep(0.001)
            with lock:
                held.append(which)
            assert [number async for number in count()] == [0, 1, 2]
            assert asyncio.get_running_loop() is loop
            return which

        def work(which):
            done.append(asyncio.run(main(which), debug=False))  # else, by -X dev, a slow step is told of
            assert asyncio._get_running_loop() is None

        lock, held, done = threading.Lock(), [], []
        lock.acquire()
        threads = [threading.Thread(target=work, args=(which,)) for which in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        assert held == []
        assert asyncio._get_running_loop() is None
        lock.release()
        for thread in threads:
            thread.join()
        assert sorted(held) == sorted(done) == list(range(5))
        print("done")
    """)
    assert python(code) == ("done\n", "")


def test_a_deadlock_of_threads_is_told() -> None:
    check("""
        lock = threading.Lock()
        lock.acquire()
        thread = threading.Thread(target=lock.acquire, name="ann", daemon=True)
        thread.start()
        message = raises(coopcore.Deadlock, lock.acquire)
        assert "ann" in message and "Lock object" in message
    """)


def test_a_deadlock_names_the_thread_whose_end_is_waited_for() -> None:
    check("""
        lock = threading.Lock()
        lock.acquire()
        thread = threading.Thread(target=lock.acquire, name="ann")
        thread.start()
        joiner = threading.Thread(target=lambda: thread.join(), name="bob")
        joiner.start()
        message = raises(coopcore.Deadlock, joiner.join)
        assert "main waits for the end of thread 'bob'\\n" in message, message
        assert "bob waits for the end of thread 'ann'\\n" in message, message
        assert "Daemon threads" not in message, message  # bob has asked who it is
        lock.release()
        joiner.join()
    """)


def test_a_deadlock_names_the_threads_that_join_each_other() -> None:
    check("""
        started = threading.Event()
        threads = []

        def join(which):
            started.wait()
            threads[which].join()

        threads += [threading.Thread(target=join, args=(1 - which,), name=name) for which, name in enumerate(("ann", "bob"))]
        for thread in threads:
            thread.start()
        started.set()
        message = raises(coopcore.Deadlock, threads[0].join)
        assert "bob waits for the end of thread 'ann', which is up to ann" in message, message
        assert "ann waits for the end of thread 'bob', which is up to bob" in message, message
        for task in coopcore.get_hub().tasks():
            if task is not coopcore.current_task():
                task.kill()
    """)


def test_what_a_join_waits_for_of_other_threads() -> None:
    check("""
        from coop_plugins.threading._threads import REAL, End, start_new_thread

        end = End()
        assert (repr(end), end.wait_owners()) == ("<the end of a thread>", ())
        REAL.add(__name__)
        gate = original("_thread", "allocate_lock")()
        gate.acquire()
        thread = threading.Thread(target=lambda: gate.acquire(), name="a real one")
        thread.start()
        joiner = coopcore.spawn(thread.join)
        while joiner.state != "parked":
            coopcore.sleep(0)
        assert joiner.waiting_on == "the end of thread 'a real one'", joiner.waiting_on
        gate.release()
        joiner.get()
    """)


def test_no_deadlock_is_told_while_a_real_thread_may_let_go() -> None:
    check("""
        from coop_plugins.threading import REAL
        from coop_plugins.threading import _where
        REAL.add(__name__)

        def hold(lock):
            with lock:
                taken.set()
                original("time", "sleep")(0.05)

        lock, taken = threading.Lock(), threading.Event()
        thread = threading.Thread(target=hold, args=(lock,), daemon=True)
        thread.start()
        taken.wait()
        with lock:
            pass
        thread.join()
        while _where._real_threads:
            time.sleep(0.001)
        time.sleep(0)
        assert not _where._promises
        lock.acquire()
        raises(coopcore.Deadlock, lock.acquire)
    """)


# -- the end of the program ---------------------------------------------------------------------------------------------


def test_the_end_of_the_program_waits_for_threads_and_not_for_daemons() -> None:
    out, err = python(
        PRELUDE
        + textwrap.dedent("""
        import atexit
        atexit.register(lambda: print("atexit"))

        def late(n):
            time.sleep(0.01)
            print("late", n)
            if n:
                threading.Thread(target=late, args=(n - 1,)).start()

        threading.Thread(target=late, args=(1,)).start()
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        print("main ends")
        """)
    )
    assert (out, err) == ("main ends\nlate 1\nlate 0\natexit\n", "")


def test_the_end_of_the_program_lets_executors_finish() -> None:
    out, err = python(
        PRELUDE
        + textwrap.dedent("""
        def late(n):
            time.sleep(0.01)
            print("late", n)

        pool = concurrent.futures.ThreadPoolExecutor(1)
        for n in range(3):
            pool.submit(late, n)
        print("main ends")
        """)
    )
    assert (out, err) == ("main ends\nlate 0\nlate 1\nlate 2\n", "")


def test_the_end_of_the_program_waits_for_a_thread_of_before_the_patch_that_needs_a_task() -> None:
    out, err = python(
        """
import threading
go = threading.Event()
old = threading.Thread(target=lambda: (go.wait(), print("old ended")))
old.start()
from coop_plugins.patch import patched
made = patched("thread", "time")
made.__enter__()
import time
threading.Thread(target=lambda: (time.sleep(0.02), go.set()), daemon=True).start()
print("main ends")
"""
    )
    assert (out, err) == ("main ends\nold ended\n", "")


# -- patched all the same where modules are imported later ----------------------------------------------------------------


def test_no_module_of_ours_takes_a_stand_in_for_the_real_thing() -> None:
    """Whichever of our modules is imported after the patch: what it takes from ``_thread`` must be what it was written for."""
    check("""
        import importlib, pkgutil
        import coop_plugins, coopcore
        from coop_plugins.threading import _names, _lock, _threads, _sleep, _queue

        for package in (coop_plugins, coopcore):
            for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
                if not info.name.endswith("__main__"):
                    try:
                        importlib.import_module(info.name)
                    except ImportError as error:
                        assert error.name and not error.name.startswith("coop"), error  # an extra that is not installed
        ours = [getattr(_names, name) for name in ("get_ident", "start_new_thread", "Lock", "RLock", "sleep", "start_joinable_thread")]
        taken = {
            f"{module.__name__}.{name}"
            for module in list(sys.modules.values())
            if module.__name__.startswith(("coopcore", "coop_plugins")) and not module.__name__.startswith("coop_plugins.threading")
            for name, value in vars(module).items()
            if any(value is each for each in ours)
        }
        assert not taken, taken
    """)


def test_invariant_3_any_number_may_join_one_thread_and_all_find_it_ended() -> None:
    check("""
        def join(timeout=None):
            thread.join(timeout)
            log.append(thread.is_alive())

        log, go = [], threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        tasks = [coopcore.spawn(join) for _ in range(5)] + [coopcore.spawn(join, 60)]
        coopcore.sleep(0)
        tasks[1].kill()
        coopcore.get_hub().call_soon(lambda: tasks[2].kill(block=False))  # as it is woken
        go.set()
        plain = in_plain_thread(lambda: (thread.join(60), thread.is_alive())[1])
        coopcore.joinall(tasks)
        assert log + [plain] == [False] * 5, log
        thread.join()
    """)


def test_invariant_3_a_join_that_is_interrupted_does_not_end_the_thread() -> None:
    check("""
        log, go = [], threading.Event()
        thread = threading.Thread(target=lambda: (go.wait(), log.append("done")))
        thread.start()
        for wait in (thread.join, lambda: thread.join(60)):
            task = coopcore.spawn(wait)
            coopcore.sleep(0)
            task.kill()
            assert thread.is_alive()
            try:
                with coopcore.Timeout(0.001):
                    wait()
            except coopcore.Timeout:
                pass
            assert thread.is_alive()
        task = coopcore.spawn(thread.is_alive)  # gives way when it finds it alive
        coopcore.get_hub().call_soon(lambda: task.kill(block=False))
        task.join()
        assert thread.is_alive()
        thread.join(0)
        assert thread.is_alive() and thread in threading.enumerate()
        go.set()
        thread.join()
        assert log == ["done"] and not thread.is_alive()
    """)


def test_every_wait_of_a_patched_program_ends_by_a_timeout_and_a_kill() -> None:
    check("""
        full, holding = queue.Queue(1), threading.Lock()
        full.put(1)
        holding.acquire()
        event, semaphore, condition = threading.Event(), threading.Semaphore(0), threading.Condition()
        thread = threading.Thread(target=event.wait, daemon=True)
        thread.start()
        gate = native_lock()
        gate.acquire()
        patching.undo()
        old = threading.Thread(target=gate.acquire, daemon=True)
        old.start()
        patch("thread", "queue", "time", warn=False)
        pool = concurrent.futures.ThreadPoolExecutor(1)
        future = pool.submit(event.wait)

        def in_condition(timeout=None):
            with condition:
                try:
                    return condition.wait(timeout)
                finally:
                    assert condition._is_owned()

        def until(timeout=None):
            with condition:
                return condition.wait_for(lambda: False, timeout)

        SOON = 0.005
        waits = {
            "sleep": (lambda: time.sleep(1000), None, None),
            "lock": (holding.acquire, lambda: holding.acquire(timeout=SOON), False),
            "event": (event.wait, lambda: event.wait(SOON), False),
            "condition": (in_condition, lambda: in_condition(SOON), False),
            "wait_for": (until, lambda: until(SOON), False),
            "semaphore": (semaphore.acquire, lambda: semaphore.acquire(timeout=SOON), False),
            "get": (queue.Queue().get, lambda: queue.Queue().get(timeout=SOON), queue.Empty),
            "lifo get": (queue.LifoQueue().get, lambda: queue.LifoQueue().get(timeout=SOON), queue.Empty),
            "simple get": (queue.SimpleQueue().get, lambda: queue.SimpleQueue().get(timeout=SOON), queue.Empty),
            "put": (lambda: full.put(2), lambda: full.put(2, timeout=SOON), queue.Full),
            "queue join": (full.join, None, None),
            "join": (thread.join, lambda: thread.join(SOON), None),
            "join of an older thread": (old.join, lambda: old.join(SOON), None),
            "result": (future.result, lambda: future.result(SOON), TimeoutError),
            "futures wait": (lambda: concurrent.futures.wait([future]), lambda: concurrent.futures.wait([future], SOON).done, set()),
            "as_completed": (
                lambda: next(concurrent.futures.as_completed([future])), lambda: next(concurrent.futures.as_completed([future], SOON)), TimeoutError
            ),
            "barrier": (threading.Barrier(2).wait, lambda: threading.Barrier(2).wait(SOON), threading.BrokenBarrierError),
        }
        before = set(coopcore.get_hub().tasks())
        for name, (call, timed, ends_with) in waits.items():
            task = coopcore.spawn(call)
            for _ in range(3):
                coopcore.sleep(0)
            assert not task.dead, (name, task.exception)
            task.kill(timeout=5)
            assert isinstance(task.value, coopcore.TaskExit), (name, task.value)
            mine = coopcore.Timeout(SOON)
            try:
                with mine:
                    call()
            except coopcore.Timeout as caught:
                assert caught is mine, name
            except threading.BrokenBarrierError:
                assert name == "barrier"  # by the one that was killed, as in the standard library
            else:
                raise AssertionError(name)
            if timed is None:
                pass
            elif isinstance(ends_with, type):
                raises(ends_with, timed)
            else:
                assert timed() == ends_with, name
        assert set(coopcore.get_hub().tasks()) == before
        assert (len(condition._waiters), len(event._cond._waiters), holding._line) == (0, 2, [])  # the thread and the future go on
        gate.release()
        event.set()
        pool.shutdown()
        old.join()
    """)
