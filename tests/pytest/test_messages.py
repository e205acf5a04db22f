"""What the reports say, word for word: each kind of failure once, without numbers that differ from run to run."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

# The last of these keep it small: an inner session forgets what it imported, see conftest.
import coop_plugins.clock
import coop_plugins.scope
import coop_plugins.socket  # noqa: F401 - as said above
from coop_pytest import _leaks, _tasks, _watchdog


class Reports:
    """A plugin of the inner session."""

    def __init__(self):
        self.seen = []

    def pytest_runtest_logreport(self, report):
        if report.failed or report.sections:
            self.seen.append((report.when, report))


PARENT_AND_CHILD = """
@pytest.mark.coop
def test_it():
    def child():
        Queue().get()
    def parent():
        spawn(child)
        sleep(3600)
    spawn(parent)
    idle()
    assert False
"""

DIFFERS = [
    (r"0x[0-9a-f]+", "0x0"),
    (r"for \d+\.\d\d s", "for 0.00 s"),
    (r"\b([a-z_]+)-\d+\b", r"\1-1"),
    (r"fd=\d+", "fd=3"),
    (r"\bchild \d+", "child 1"),
    (r"<Thread\(([^,]+), started \d+\)>", r"<Thread(\1, started 1)>"),
    (r"'127\.0\.0\.1', \d+", "'127.0.0.1', 1"),
    (r", or just before, in a call that let no other thread run", ""),  # where the one that looks gets no processor
]


@pytest.fixture
def said(pytester, write):
    """Run a module and return what the report of the only test, or phase, that failed says, with its sections; lines are counted from the end of the head."""

    def said(source, *args, ini=""):
        write(source)
        before = (pytester.path / "test_it.py").read_text().rstrip().count("\n") - source.rstrip().count("\n")
        pytester.makeini(f"[pytest]\n{ini}")
        reports = Reports()
        others = [re.escape(thread.name) for thread in threading.enumerate()]  # which another test may have left
        pytester.runpytest_inprocess("-Werror", "-pno:cacheprovider", "-pcoop", "-ptimeout", *args, plugins=[reports])
        texts = []
        for when, report in reports.seen:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = crash.message if crash is not None else report.longreprtext
            sections = [*getattr(report.longrepr, "sections", ()), *((title, body) for title, body in report.sections if "Captured" not in title)]
            texts.append("\n".join([f"{when}: {text}".rstrip(), *(f"--- {section[0]} ---\n{section[1]}" for section in sections)]))
        whole = "\n".join(texts).replace(f"{pytester.path}/", "")
        whole = re.sub(r"(test_it\.py(?::|\", line ))(\d+)", lambda match: f"{match[1]}{int(match[2]) - before}", whole)
        whole = re.sub(rf"^Thread (?:{'|'.join(others)}):(?:\n  .*)*\n?", "", whole, flags=re.MULTILINE).rstrip("\n")
        for pattern, same in DIFFERS:
            whole = re.sub(pattern, same, whole)
        return whole

    return said


CASES = [
    pytest.param(
        """
@pytest.mark.coop
def test_it():
    def boom():
        raise ValueError("boom")
    spawn(boom)
    sleep(0)
""",
        """
call: coop_pytest.TaskFailed: task 'boom-1', spawned at test_it.py:6 in test_it, failed, and nobody joined it: ValueError: boom
""",
        [],
        id="a failed task",
    ),
    pytest.param(
        """
@pytest.mark.coop
def test_it():
    def boom():
        raise ValueError("boom")
    spawn(boom)
    sleep(0)
    raise KeyError("mine")
""",
        """
call: KeyError: 'mine'
--- failed tasks ---
task 'boom-1', spawned at test_it.py:6 in test_it, failed, and nobody joined it:
Traceback (most recent call last):
  File "test_it.py", line 5, in boom
    raise ValueError("boom")
ValueError: boom
""",
        [],
        id="a failed task beside a failed test",
    ),
    pytest.param(
        """
@pytest.mark.coop(unjoined=False)
def test_it():
    def boom():
        raise ValueError("boom")
    spawn(boom)
    sleep(0)
""",
        """
call:
--- failed tasks in call ---
task 'boom-1', spawned at test_it.py:6 in test_it, failed, and nobody joined it:
Traceback (most recent call last):
  File "test_it.py", line 5, in boom
    raise ValueError("boom")
ValueError: boom
""",
        [],
        id="a failed task that is let pass",
    ),
    pytest.param(
        """
@pytest.mark.coop(leaks="tasks")
def test_it():
    spawn(sleep, 3600).name = "left"
    sleep(0)
""",
        """
teardown: Failed: test_it.py::test_it left behind: 1 task.
  'left', spawned at test_it.py:4 in test_it, waits for the end of its sleep
Next step: join or kill tasks before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=False).
""",
        [],
        id="a task left behind",
    ),
    pytest.param(
        """
from coop_plugins import socket
kept = []
@pytest.mark.coop
def test_it():
    def connect():
        kept.append(socket.socket())
    connect()
@pytest.mark.coop
def test_end():
    kept.pop().close()
""",
        """
teardown: Failed: test_it.py::test_it left behind: 1 socket.
  <coop_plugins.socket.socket fd=3, family=2, type=1, proto=0, laddr=('0.0.0.0', 0)>, made at test_it.py:7 in test_it.<locals>.connect
Next step: close sockets before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('subprocesses', 'threads', 'locks')).
""",
        [],
        id="a socket left behind",
    ),
    pytest.param(
        """
import subprocess
kept = []
@pytest.mark.coop
def test_it():
    kept.append(subprocess.Popen(["sleep", "60"]))
@pytest.mark.coop
def test_end():
    with kept.pop() as child:
        child.kill()
""",
        """
teardown: Failed: test_it.py::test_it left behind: 1 subprocess.
  child 1, <Popen: returncode: None args: ['sleep', '60']>, made at test_it.py:6 in test_it
Next step: wait for children before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'threads', 'locks')).
""",
        [],
        id="a child left behind",
    ),
    pytest.param(
        """
import threading
over = threading.Event()
@pytest.mark.coop
def test_it():
    threading.Thread(target=over.wait, name="left").start()
def test_end():
    over.set()
""",
        """
teardown: Failed: test_it.py::test_it left behind: 1 thread.
  <Thread(left, started 1)>, made at test_it.py:6 in test_it
Next step: join threads before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'subprocesses', 'locks')).
""",
        [],
        id="a thread left behind",
    ),
    pytest.param(
        """
from coop_plugins.lock import Lock
lock = Lock()
@pytest.mark.coop
def test_it():
    def hold():
        lock.acquire()
    spawn(hold).join()
""",
        """
teardown: Failed: test_it.py::test_it left behind: 1 lock.
  <locked coop_plugins.lock.Lock object at 0x0>, made at (before the first marked test), held by 'hold-1', spawned at test_it.py:8 in test_it
Next step: release locks before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'subprocesses', \
'threads')).
""",
        [],
        id="a held lock left behind",
    ),
    pytest.param(
        """
from coop_plugins import socket
kept = []
@pytest.fixture(scope="session")
def close():
    yield
    kept.pop().close()
@pytest.fixture(scope="module")
def wide(close):
    kept.append(socket.socket())
@pytest.mark.coop
def test_it(wide):
    pass
""",
        """
teardown: Failed: fixture 'wide' (module scope) left behind: 1 socket.
  <coop_plugins.socket.socket fd=3, family=2, type=1, proto=0, laddr=('0.0.0.0', 0)>, made at test_it.py:10 in wide
Next step: close sockets before the end; or, if this is as it should be, look for less: in the ini file, coop_leaks = subprocesses threads locks.
""",
        [],
        id="left by a wider fixture",
    ),
    pytest.param(
        """
from coop_plugins.lock import Lock
@pytest.mark.coop(leaks=False)
def test_it():
    one, other = Lock(), Lock()
    def take(first, second):
        with first:
            sleep(0.001)
            with second:
                pass
    task = spawn(take, one, other)
    take(other, one)
""",
        """
call: coopcore.errors.Deadlock: nothing can ever run again on the epoll hub. 2 tasks are parked, and no timer, descriptor, thread, child process or \
signal handler can wake one:
  test_it waits for <locked coop_plugins.lock.Lock object at 0x0>, held by take-1
    at test_it.py:9 in test_it.<locals>.take
  take-1 waits for <locked coop_plugins.lock.Lock object at 0x0>, held by test_it
    at test_it.py:9 in test_it.<locals>.take
    spawned at test_it.py:11 in test_it by test_it
They wait for each other in a cycle:
  test_it waits for <locked coop_plugins.lock.Lock object at 0x0>, which is up to take-1
  take-1 waits for <locked coop_plugins.lock.Lock object at 0x0>, which is up to test_it
Next step: take locks in one order everywhere; let no task wait for the end of one that waits for it (inside a pool's task, use another pool); or \
wait with a timeout=.
""",
        [],
        id="a deadlock",
    ),
    pytest.param(
        """
import os, threading
from coop_pytest._blocking import found
@pytest.mark.coop(blocking=0.05)
def test_it():
    os.mkfifo("fifo")
    threading.Thread(target=lambda: (found.acquire(timeout=20), open("fifo", "w").close())).start()
    def read():
        open("fifo").close()
    read()
""",
        """
call: Failed: test_it.py::test_it blocked the epoll hub for 0.00 s, at test_it.py:9 in test_it.<locals>.read; the limit is 0.05 s.
  File "test_it.py", line 10, in test_it
    read()
  File "test_it.py", line 9, in test_it.<locals>.read
    open("fifo").close()
Nothing else could run meanwhile. Next step: call what parks in its place (the plugins', or the standard library's in a patched program), give it to \
a thread (coop_plugins.threadpool.offload), or let this test block for longer: @pytest.mark.coop(blocking=...).
""",
        [],
        id="a call that blocks the hub",
    ),
    pytest.param(
        """
from coop_pytest._blocking import found

@pytest.mark.coop(blocking=0.05)
def test_it():
    later = spawn(sleep, 0)
    spawn(found.acquire, True, 20).join()
""",
        """
call: Failed: test_it.py::test_it blocked the epoll hub for 0.00 s, at a call that was spawned at test_it.py:7 in test_it; the limit is 0.05 s.
Nothing else could run meanwhile. Next step: call what parks in its place (the plugins', or the standard library's in a patched program), give it to \
a thread (coop_plugins.threadpool.offload), or let this test block for longer: @pytest.mark.coop(blocking=...).
""",
        [],
        id="a call into C that is a task by itself",
    ),
    pytest.param(
        """
@pytest.mark.coop
@pytest.mark.timeout(20)
def test_it(request):
    def beat():
        while True:
            sleep(0.01)
    spawn(beat)
    sleep(0)
    over(request)
    Queue().get()
""",
        """
call: Failed: Timeout (>20.0s) from pytest-timeout.
Every task, and what it waits for:
<Hub 'the epoll hub' 2 tasks, 0 ready>
test_it (parked for 0.00 s, waits for Queue.get of <coop_plugins.queue.Queue at 0x0 items=0>)
  File "test_it.py", line 11, in test_it
    Queue().get()
  beat-1 (parked for 0.00 s, waits for the end of its sleep)
    spawned at test_it.py:8 in test_it
    File "test_it.py", line 7, in beat
      sleep(0.01)
""",
        [],
        id="a timeout",
    ),
    pytest.param(
        """
@pytest.mark.coop
@pytest.mark.timeout(20)
def test_it(request):
    over(request)
    try:
        sleep(3600)
    except BaseException:
        pass
""",
        """
call: Failed: Timeout (>20.0s) from pytest-timeout.
Every task, and what it waits for:
<Hub 'the epoll hub' 1 task, 0 ready>
test_it (parked for 0.00 s, waits for the end of its sleep)
  File "test_it.py", line 7, in test_it
    sleep(3600)
""",
        [],
        id="a timeout that the test keeps to itself",
    ),
    pytest.param(
        """
import unittest
@pytest.mark.coop
class TestIt(unittest.TestCase):
    @pytest.mark.timeout(20)
    def test_it(self):
        over(self._testMethod)
        sleep(3600)
    @pytest.fixture(autouse=True)
    def method(self, request):
        self._testMethod = request
""",
        """
call: Failed: Timeout (>20.0s) from pytest-timeout.
Every task, and what it waits for:
<Hub 'the epoll hub' 1 task, 0 ready>
test_it (parked for 0.00 s, waits for the end of its sleep)
  File "test_it.py", line 8, in test_it
    sleep(3600)
""",
        [],
        id="a timeout in a TestCase",
    ),
    pytest.param(
        """
import unittest
@pytest.mark.coop
class TestIt(unittest.TestCase):
    def test_it(self):
        def boom():
            raise ValueError("boom")
        spawn(boom)
        sleep(0)
        self.fail("mine")
""",
        """
call: AssertionError: mine
--- failed tasks ---
task 'boom-1', spawned at test_it.py:8 in TestIt.test_it, failed, and nobody joined it:
Traceback (most recent call last):
  File "test_it.py", line 7, in boom
    raise ValueError("boom")
ValueError: boom
""",
        [],
        id="a failed task beside a failed TestCase",
    ),
    pytest.param(
        """
import unittest
@pytest.mark.coop
class TestIt(unittest.TestCase):
    def test_it(self):
        def boom():
            raise ValueError("boom")
        spawn(boom)
        sleep(0)
        self.skipTest("so")
""",
        """
call: coop_pytest.TaskFailed: task 'boom-1', spawned at test_it.py:8 in TestIt.test_it, failed, and nobody joined it: ValueError: boom
""",
        [],
        id="a failed task beside a TestCase that skips",
    ),
    pytest.param(
        """
@pytest.fixture
def slow(request):
    yield
    over(request)
    sleep(3600)
@pytest.mark.coop
@pytest.mark.timeout(20)
def test_it(slow):
    pass
""",
        """
teardown: Failed: Timeout (>20.0s) from pytest-timeout.
Every task, and what it waits for:
<Hub 'the epoll hub' 1 task, 0 ready>
test_it (parked for 0.00 s, waits for the end of its sleep)
  File "test_it.py", line 6, in slow
    sleep(3600)
""",
        [],
        id="a timeout in a teardown",
    ),
    pytest.param(
        """
import time
@pytest.mark.coop
@pytest.mark.timeout(20)
def test_it(request):
    def block():
        over(request); time.sleep(30)
    spawn(block)
    sleep(3600)
""",
        """
call: Failed: Timeout (>20.0s) from pytest-timeout.
The hub did not answer within 0.5 s, because this blocked the thread:
  File "test_it.py", line 7, in block
    over(request); time.sleep(30)
Every task, and what it waits for:
<Hub 'the epoll hub' 1 task, 0 ready>
test_it (parked for 0.00 s, waits for the end of its sleep)
  File "test_it.py", line 9, in test_it
    sleep(3600)
""",
        [],
        id="a timeout while the hub is blocked",
    ),
    pytest.param(
        PARENT_AND_CHILD,
        """
call: assert False
--- tasks ---
<Hub 'the epoll hub' 3 tasks, 0 ready>
test_it (running)
  parent-1 (parked for 0.00 s, waits for the end of its sleep)
    spawned at test_it.py:9 in test_it
    stands at test_it.py:8 in test_it.<locals>.parent
    child-1 (parked for 0.00 s, waits for Queue.get of <coop_plugins.queue.Queue at 0x0 items=0>)
      spawned at test_it.py:7 in test_it.<locals>.parent
      stands at test_it.py:5 in test_it.<locals>.child
""",
        [],
        id="the tree of tasks",
    ),
    pytest.param(
        PARENT_AND_CHILD,
        """
call: assert False
--- tasks ---
<Hub 'the epoll hub' 3 tasks, 0 ready>
test_it (running)
  parent-1 (parked for 0.00 s, waits for the end of its sleep)
    spawned at test_it.py:9 in test_it
    File "test_it.py", line 8, in parent
      sleep(3600)
    child-1 (parked for 0.00 s, waits for Queue.get of <coop_plugins.queue.Queue at 0x0 items=0>)
      spawned at test_it.py:7 in test_it.<locals>.parent
      File "test_it.py", line 5, in child
        Queue().get()
""",
        ["-v"],
        id="the tree of tasks with -v",
    ),
    pytest.param(
        """
@pytest.fixture(scope="module")
def server():
    spawn(sleep, 3600).name = "server"
@pytest.mark.coop(backend="epoll")
def test_one(server): pass
@pytest.mark.coop(backend="selectors")
def test_it(server): pass
""",
        """
setup: Failed: test_it.py::test_it runs on the selectors hub, but uses fixture 'server' (module scope), which was made on the epoll hub and has tasks \
there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.
""",
        [],
        id="a fixture of another backend",
    ),
    pytest.param(
        """
@pytest.fixture(scope="module")
def server():
    spawn(sleep, 3600).name = "server"
@pytest.mark.coop
def test_one(server): pass
@pytest.mark.coop(clock="virtual")
def test_it(server): pass
""",
        """
setup: Failed: test_it.py::test_it runs on the epoll hub with the virtual clock, but uses fixture 'server' (module scope), which was made on the \
epoll hub and has tasks there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.
""",
        [],
        id="a fixture of another clock",
    ),
    pytest.param(
        """
@pytest.fixture(scope="module")
def server():
    spawn(sleep, 3600).name = "server"
@pytest.mark.coop
def test_one(server): pass
def test_it(server): pass
""",
        """
setup: Failed: test_it.py::test_it runs outside of any marked test, but uses fixture 'server' (module scope), which was made on the epoll hub and has \
tasks there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.
""",
        [],
        id="a fixture of a hub, outside",
    ),
    pytest.param(
        """
@pytest.fixture(scope="module")
def the_hub():
    return current_task().hub
@pytest.mark.coop
def test_one(the_hub): pass
@pytest.mark.coop(clock="virtual")
def test_it(the_hub): pass
""",
        """
setup: Failed: test_it.py::test_it runs on the epoll hub with the virtual clock, but uses fixture 'the_hub' (module scope), which was made on the \
epoll hub and is part of it: <Hub 'the epoll hub' 0 tasks, 0 ready>. It would stand still while the test runs. Mark all tests that share the fixture \
alike, or give it function scope.
""",
        [],
        id="a fixture that is part of a hub",
    ),
    pytest.param(
        """
from coop_plugins.scope import CancelScope
@pytest.fixture(scope="module")
def scope():
    with CancelScope() as scope:
        yield scope
@pytest.mark.coop
def test_one(scope): scope.cancel()
@pytest.mark.coop
def test_it(scope): pass
""",
        """
setup: Failed: test_it.py::test_it uses fixture 'scope' (module scope), which is in <CancelScope open, cancelled, of test_one>: a task of its group has \
failed, or its time was over, so the tasks in there were ended. If there is an error, it is told at the end of the fixture.
""",
        [],
        id="a fixture that was cancelled",
    ),
    pytest.param(
        """
def test_it(task_group): pass
""",
        """
setup: Failed: fixture 'task_group' needs a test that runs in a task: mark test_it.py::test_it with @pytest.mark.coop.
""",
        [],
        id="our fixture without the mark",
    ),
    pytest.param(
        """
@pytest.mark.coop
def test_it(coop_clock): pass
""",
        """
setup: Failed: fixture 'coop_clock' needs virtual time, but test_it.py::test_it runs on the epoll hub: mark it with \
@pytest.mark.coop(clock="virtual").
""",
        [],
        id="coop_clock on the real clock",
    ),
    pytest.param(
        """
@pytest.mark.coop
async def test_it(): pass
""",
        """
setup: Failed: test_it.py::test_it is an `async def` test, but marked coop: its body would need an event loop, and a task has none. Write it as a \
plain `def` (calls may block), or leave it to an asyncio plugin: @pytest.mark.coop(enabled=False).
""",
        [],
        id="an async test",
    ),
    pytest.param(
        """
over = []
@pytest.mark.coop
def test_it():
    def stay():
        while not over:
            try:
                sleep(3600)
            except BaseException:
                pass
    spawn(stay)
    sleep(0)
@pytest.mark.coop
def test_end():
    over.append(True)
""",
        """
teardown: Failed: 1 task(s) of this test did not end when they were killed: 'stay-1' (spawned at test_it.py:11 in test_it, waits for the end of its \
sleep). A task must let TaskExit pass, and be quick in its `finally`.
--- tasks ---
<Hub 'the epoll hub' 2 tasks, 0 ready>
test_it (running)
  stay-1 (parked for 0.00 s, waits for the end of its sleep)
    spawned at test_it.py:11 in test_it
    stands at test_it.py:8 in test_it.<locals>.stay
""",
        [],
        id="a task without end",
    ),
    pytest.param(
        """
@pytest.fixture
def slow(request):
    over(request)
    sleep(3600)
@pytest.mark.coop
@pytest.mark.timeout(20)
def test_it(slow):
    pass
""",
        """
setup: Failed: Timeout (>20.0s) from pytest-timeout.
Every task, and what it waits for:
<Hub 'the epoll hub' 1 task, 0 ready>
test_it (parked for 0.00 s, waits for the end of its sleep)
  File "test_it.py", line 5, in slow
    sleep(3600)
""",
        [],
        id="a timeout in a setup",
    ),
    pytest.param(
        """
from coopcore.lowlevel import promise
@pytest.mark.coop
def test_it():
    spawn(sleep, 3600)
    sleep(0)
    held = promise("an answer")
    assert False
""",
        """
call: assert False
--- tasks ---
<Hub 'the epoll hub' 2 tasks, 0 ready>
test_it (running)
  sleep-1 (parked for 0.00 s, waits for the end of its sleep)
    spawned at test_it.py:5 in test_it
open promise: an answer
""",
        [],
        id="the tree of tasks has open promises",
    ),
    pytest.param(
        """
over = []
@pytest.fixture(scope="class")
def stays():
    def stay():
        while not over:
            try:
                sleep(3600)
            except BaseException:
                pass
    spawn(stay)
    sleep(0)
@pytest.mark.coop
def test_it(stays):
    pass
@pytest.mark.coop
def test_end():
    over.append(True)
""",
        """
teardown: Failed: 1 task(s) of fixture 'stays' (class scope) did not end when they were killed: 'stay-1' (spawned at test_it.py:11 in stays, waits \
for the end of its sleep). A task must let TaskExit pass, and be quick in its `finally`.
--- tasks ---
<Hub 'the epoll hub' 2 tasks, 0 ready>
test_it (running)
  stay-1 (parked for 0.00 s, waits for the end of its sleep)
    spawned at test_it.py:11 in stays
    stands at test_it.py:8 in stays.<locals>.stay
""",
        [],
        id="a task of a fixture without end",
    ),
    pytest.param(
        """
from coop_plugins.scope import CancelScope
@pytest.fixture(scope="module")
def wide():
    with CancelScope():
        yield
@pytest.mark.coop
def test_one(wide): pass
@pytest.mark.coop(clock="virtual")
def test_it(wide): pass
""",
        """
setup: Failed: test_it.py::test_it runs on the epoll hub with the virtual clock, but uses fixture 'wide' (module scope), which was made on the \
epoll hub and is in a cancel scope there. Its tasks stand still while the test runs. Mark all tests that share the fixture alike, or give it \
function scope.
""",
        [],
        id="a fixture in a scope of a hub",
    ),
    pytest.param(
        """
@pytest.fixture(scope="module")
def client():
    return {"hub": current_task().hub}
@pytest.mark.coop
def test_one(client): pass
@pytest.mark.coop(clock="virtual")
def test_it(client): pass
""",
        """
setup: Failed: test_it.py::test_it runs on the epoll hub with the virtual clock, but uses fixture 'client' (module scope), which was made on the \
epoll hub and refers to what is part of it: <Hub 'the epoll hub' 0 tasks, 0 ready>. It would stand still while the test runs. Mark all tests that \
share the fixture alike, or give it function scope.
""",
        [],
        id="a fixture that refers to a part of a hub",
    ),
    pytest.param(
        """
from coop_plugins.scope import TaskGroup
@pytest.fixture(scope="module")
def wide():
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        yield group
@pytest.mark.coop
def test_it(wide):
    def boom():
        raise ValueError("boom")
    wide.spawn(boom)
    sleep(0)
    assert False
""",
        """
call: assert False
--- cancelled fixture ---
fixture 'wide' (module scope), which is in <CancelScope open, cancelled, of test_it>: a task of its group has failed, or its time was over, so the \
tasks in there were ended. If there is an error, it is told at the end of the fixture.
""",
        [],
        id="a test that fails when its fixture was cancelled",
    ),
    pytest.param(
        """
from coop_pytest._blocking import found
@pytest.mark.coop(blocking=0.05)
def test_it():
    found.acquire(timeout=20)
    assert False
""",
        """
call: assert False
--- blocking calls ---
test_it.py::test_it blocked the epoll hub for 0.00 s, at test_it.py:5 in test_it; the limit is 0.05 s.
  File "test_it.py", line 5, in test_it
    found.acquire(timeout=20)
Nothing else could run meanwhile. Next step: call what parks in its place (the plugins', or the standard library's in a patched program), give it \
to a thread (coop_plugins.threadpool.offload), or let this test block for longer: @pytest.mark.coop(blocking=...).
""",
        [],
        id="a call that blocks the hub beside a failed test",
    ),
    pytest.param(
        """
@pytest.mark.coop
def test_it():
    def boom(number):
        raise ValueError(number)
    for number in range(2):
        spawn(boom, number)
    sleep(0)
""",
        """
call: coop_pytest.TaskFailed: task 'boom-1', spawned at test_it.py:7 in test_it, failed, and nobody joined it: ValueError: 0
1 more failed:
task 'boom-1', spawned at test_it.py:7 in test_it, failed, and nobody joined it:
Traceback (most recent call last):
  File "test_it.py", line 5, in boom
    raise ValueError(number)
ValueError: 1
""",
        [],
        id="two failed tasks",
    ),
    pytest.param(
        """
@pytest.mark.coop
@pytest.mark.xfail(raises=KeyError)
def test_it(task_group):
    def boom():
        raise ValueError("boom")
    task_group.spawn(boom)
    sleep(3600)
""",
        """
call: ValueError: boom
in task 'boom-1' of a TaskGroup, spawned at test_it.py:7 in test_it
""",
        [],
        id="a failed task of the fixture task_group",
    ),
]


@pytest.mark.parametrize(("source", "expected", "args"), CASES)
def test_it_says(said, found, pytester, monkeypatch, source, expected, args):
    monkeypatch.chdir(pytester.path)
    monkeypatch.setattr(_leaks, "SETTLE", 0.05)
    # Short where the wait is in vain. Elsewhere a busy machine has all the time that it needs.
    monkeypatch.setattr(_tasks, "KILL_TIMEOUT", 0.05 if "did not end when they were killed" in expected else 30)
    monkeypatch.setattr(_watchdog, "GRACE", 0.5 if "The hub did not answer" in expected else 30)
    assert said(source, *args) == expected.strip("\n")


def listed():
    """What docs/errors.md lists, as patterns."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text()
    rows = page.partition("\n## Failures of the pytest plugin\n")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE)
    return {message: re.compile(".*".join(map(re.escape, message.split("..."))), re.DOTALL) for message in messages}


def test_the_list_of_failures_in_the_documentation_is_complete_both_ways():
    said = {case.id: case.values[1] for case in CASES if re.search("Failed: |Deadlock: ", case.values[1])}
    patterns = listed()
    assert len(patterns) == 11
    assert [name for name, text in said.items() if not any(pattern.search(text) for pattern in patterns.values())] == []
    assert [message for message, pattern in patterns.items() if not any(pattern.search(text) for text in said.values())] == []
