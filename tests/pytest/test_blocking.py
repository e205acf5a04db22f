"""The invariants of coop_pytest._blocking: a call that blocks the hub is reported while it does, and nothing else is."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from coop_plugins import socket
from coop_plugins.threadpool import ThreadPool
from coop_pytest._blocking import Monitor, Watched, _is_excused
from coop_pytest._hubs import Hubs
from coopcore import Timeout, sleep, spawn

pytestmark = pytest.mark.slow(reason="time itself is under test")

# Each blocks until that was found, and not for a time: on a busy machine it may take a while.
USES = """
import hashlib, os, sqlite3, threading
from coop_pytest._blocking import found

def soon(release):
    def wait():
        if found.acquire(timeout=20):
            release()
    threading.Thread(target=wait).start()

def digest():
    while found.locked(): hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 200_000)  # culprit

def open_fifo():
    os.mkfifo("fifo")
    soon(lambda: open("fifo", "w").close())
    open("fifo").close()  # culprit

def busy_database():
    one, other = sqlite3.connect("db", check_same_thread=False), sqlite3.connect("db", timeout=30)
    one.execute("begin exclusive")
    soon(one.close)
    other.execute("begin exclusive")  # culprit
    other.close()

def compute():
    while found.locked():
        pass  # culprit
"""


# -- 1. A call that blocks is reported, once, with the caller's line --------------------------------------------------------------


@pytest.mark.parametrize("call", ["digest", "open_fifo", "busy_database"])
@pytest.mark.parametrize("how", ["in the test", "in another task"])
def test_invariant_1_each_is_reported_once_with_the_callers_line(pytester, run, found, monkeypatch, call, how):
    monkeypatch.chdir(pytester.path)
    body = f"{call}()" if how == "in the test" else f"spawn({call}).join()"
    result = run(USES + f"\n@pytest.mark.coop(blocking=0.2, leaks=False)\ndef test_it():\n    {body}\n", failed=1)
    lines = (pytester.path / "test_it.py").read_text().splitlines()
    start = lines.index(f"def {call}():")
    number = next(number for number, line in enumerate(lines, 1) if number > start and "# culprit" in line)
    report = [
        f"test_it.py::test_it blocked the epoll hub for *.* s, at *test_it.py:{number} in {call}*; the limit is 0.2 s.",
        f'  File "*test_it.py", line {number}, in {call}',
        f"    {lines[number - 1].strip()}",
        "Nothing else could run meanwhile. Next step: call what parks in its place (the plugins', or the standard library's in a patched program), give it to "
        "a thread (coop_plugins.threadpool.offload), or let this test block for longer: @pytest.mark.coop(blocking=...).",
    ]
    result.stdout.fnmatch_lines(report)
    assert str(result.stdout).count("blocked the epoll hub for") == 1 + str(result.stdout).count(
        "FAILED test_it.py::test_it - Failed: test_it.py::test_it blocked the epoll hub for"
    )


def test_in_fixtures_and_beside_another_failure(run, found):
    result = run(
        """
        import time
        from coop_pytest._blocking import found

        @pytest.fixture
        def early():
            found.acquire(timeout=20)

        @pytest.fixture
        def late():
            yield
            found.acquire(timeout=20)

        pytestmark = pytest.mark.coop

        def test_early(early): pass

        def test_late(late): pass

        def test_fails():
            found.acquire(timeout=20)
            assert 1 == 2

        @pytest.mark.coop(blocking=False)
        def test_may():
            time.sleep(0.3)
        """,
        "-ocoop_blocking=0.1",
        passed=2,
        errors=2,
        failed=1,
    )
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_early*",
            "test_it.py::test_early blocked the epoll hub for *.* s, at *test_it.py:* in early*; the limit is 0.1 s.",
            "*ERROR at teardown of test_late*",
            "test_it.py::test_late blocked the epoll hub for *.* s, at *test_it.py:* in late*; the limit is 0.1 s.",
            "E       assert 1 == 2",
            "*- blocking calls -*",
            "test_it.py::test_fails blocked the epoll hub for *.* s, at *test_it.py:* in test_fails*; the limit is 0.1 s.",
        ]
    )


def test_pure_python_is_reported_too(run, found):
    result = run(USES + "\n@pytest.mark.coop(blocking=0.1)\ndef test_it():\n    compute()\n", failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it blocked the epoll hub for *.* s, at *test_it.py:* in compute*; the limit is 0.1 s."])


def test_a_limit_that_is_none(pytester):
    for value in ("long", "-1", "inf"):
        result = pytester.runpytest_inprocess("-pcoop", f"-ocoop_blocking={value}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: coop_blocking = {value}: this is no number of seconds. Write, for instance, 0.1; or 0 for no limit."])


# -- 2. Time in which the process is stopped, or others use the processor, counts for nothing ----------------------------------------


def test_invariant_2_a_stopped_process(pytester, write):
    write(
        """
        import time

        @pytest.mark.coop(blocking=0.3)
        def test_it():
            print("now", flush=True)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                sleep(0.001)
                sum(range(20_000))
        """
    )
    command = [sys.executable, "-m", "pytest", "-s", "-pno:cacheprovider", "-pcoop"]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True) as inner:
        assert inner.stdout is not None
        try:
            assert any(line.rstrip().endswith("now") for line in inner.stdout)
            for _ in range(2):
                inner.send_signal(signal.SIGSTOP)
                time.sleep(0.7)
                inner.send_signal(signal.SIGCONT)
                time.sleep(0.05)
            output = inner.stdout.read()
        finally:
            inner.kill()
    assert "1 passed" in output


class Ticks:
    """Stands in for what is measured, and for the hub."""

    thread = threading.get_ident()
    name = "a hub"
    sleeps = True

    def __init__(self):
        self.heartbeat = 1
        self.now = [0, 0, 0]

    def pass_time(self, real=0.0, used=0.0, queued=0.0):
        for index, seconds in enumerate((real, used, queued)):
            self.now[index] += int(seconds * 1e9)


@pytest.fixture
def ticks(monkeypatch):
    ticks = Ticks()
    monkeypatch.setattr(Watched, "_measure", lambda self: tuple(ticks.now))
    monkeypatch.setattr(Watched, "_frame", lambda self: sys._getframe(3))
    monkeypatch.setattr(Watched, "_sleeps", lambda self: ticks.sleeps)
    return ticks


def looks(watched, ticks, count, **spans):
    for _ in range(count):
        ticks.pass_time(**spans)
        watched.look()


def test_invariant_2_a_busy_machine(ticks):
    watched = Watched(ticks, 0.8)
    looks(watched, ticks, 100, real=0.1, used=0.001, queued=0.099)
    assert watched.found == []
    ticks.sleeps = False  # it gets no processor at all, and the system has not told yet for how long
    looks(watched, ticks, 100, real=0.1)
    assert watched.found == []
    ticks.sleeps = True
    looks(watched, ticks, 100, real=5.0)  # it was stopped: each look counts for two intervals at most
    assert watched.found[0].seconds <= 100 * 0.2 + 0.1
    ticks.heartbeat += 1
    looks(watched, ticks, 4, real=5.0)
    assert len(watched.found) == 1


def test_invariant_1_is_at_the_limit(ticks):
    watched = Watched(ticks, 0.8)
    looks(watched, ticks, 9, real=0.1)
    assert watched.found == []
    looks(watched, ticks, 2, real=0.1)  # the first of them finds the thread at another instruction than before
    (found,) = watched.found
    looks(watched, ticks, 10, real=0.1, used=0.1)
    assert watched.found == [found]
    assert found.seconds == pytest.approx(0.9 + 10 * 0.1)
    assert found.stack.place.endswith("in test_invariant_1_is_at_the_limit")


# -- 3. Nothing is reported while the hub waits, or tasks let each other run, or under a debugger -------------------------------------


def test_invariant_3_a_hub_that_waits_and_one_that_is_busy(ticks):
    watched = Watched(ticks, 0.8)
    ticks.heartbeat = None
    looks(watched, ticks, 100, real=0.1)
    for beat in range(100):
        ticks.heartbeat = beat
        looks(watched, ticks, 5, real=0.1, used=0.1)
    assert watched.found == []


def test_invariant_3_collections_of_garbage(ticks, monkeypatch):
    watched = Watched(ticks, 0.8)
    monkeypatch.setattr(watched, "_used", lambda: ticks.now[1])
    looks(watched, ticks, 2, real=0.1, used=0.1)
    for _ in range(5):
        watched.on_collection("start", {"generation": 2})
        ticks.pass_time(real=1, used=1)
        watched.on_collection("stop", {"generation": 2})
        watched.look()
    assert watched.found == []
    watched.on_collection("start", {"generation": 0})
    looks(watched, ticks, 8, real=0.1, used=0.1)
    assert len(watched.found) == 1


def test_a_call_that_keeps_the_interpreter_to_itself_was_just_before(ticks):
    watched = Watched(ticks, 0.8)
    looks(watched, ticks, 2, real=1, used=1)
    (found,) = watched.found
    assert found.place.endswith("in test_a_call_that_keeps_the_interpreter_to_itself_was_just_before, or just before, in a call that let no other thread run")
    ticks.heartbeat += 1
    looks(watched, ticks, 12, real=0.1, used=0.1)
    assert "just before, in" not in watched.found[1].place


def test_invariant_3_a_debugger_and_an_import(ticks):
    watched = Watched(ticks, 0.8)
    for module in ("pdb", "bdb"):
        exec("looks(watched, ticks, 30, real=0.1)", {"__name__": module, "looks": looks, "watched": watched, "ticks": ticks})
        ticks.heartbeat += 1
    assert watched.found == []
    assert not _is_excused(sys._getframe())


def test_invariant_3_a_slow_import(pytester, run):
    pytester.makepyfile(slow_module="import time\ntime.sleep(0.7)")
    run("@pytest.mark.coop(blocking=0.3)\ndef test_it():\n    import slow_module\n", passed=1)


def test_invariant_3_a_breakpoint(pytester, write):
    write(
        """
        @pytest.mark.coop(blocking=0.3)
        def test_it():
            breakpoint()
            sleep(0)
        """
    )
    command = [sys.executable, "-m", "pytest", "-pno:cacheprovider", "-pcoop"]
    with subprocess.Popen(command, cwd=pytester.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inner:
        assert inner.stdin is not None
        assert inner.stdout is not None
        seen = ""
        try:
            while "(Pdb)" not in seen:
                read = inner.stdout.read(1)
                assert read, f"it ended: {seen}"
                seen += read
            time.sleep(0.7)
            inner.stdin.write("c\n")
            inner.stdin.flush()
            seen += inner.stdout.read()
        finally:
            inner.kill()
    assert "1 passed" in seen


def be_quiet(seconds):
    """Everything that tasks do and that blocks nobody: they yield, sleep, set timeouts, talk by sockets, use a thread; garbage is collected. After half of the
    time next to nothing. Returns what was found.
    """
    hubs = Hubs()
    hub = hubs.get(None)
    monitor = Monitor()

    def turn():
        while True:
            sum(range(2000))
            sleep(0)

    def nap():
        while True:
            with Timeout(0.003, False):
                sleep(3600)

    def echo(end):
        while data := end.recv(4096):
            end.sendall(data)

    def talk(end):
        while True:
            end.sendall(b"x" * 4096)
            assert end.recv(4096)

    def litter():
        while True:
            for _ in range(1000):
                cycle = []
                cycle.append(cycle)
            sleep(0.01)
            gc.collect()

    def offload(pool):
        while True:
            pool.apply(time.sleep, (0.001,))

    def work():
        one, other = socket.socketpair()
        pool = ThreadPool(1)
        watched = Watched(hub, 0.1)
        monitor.begin(watched)
        others = [spawn(turn), spawn(turn), *(spawn(nap) for _ in range(50)), spawn(echo, one), spawn(talk, other), spawn(litter), spawn(offload, pool)]
        sleep(seconds / 2)
        for task in others:
            task.kill()
        sleep(seconds / 2)
        monitor.end()
        assert not any(task.failed for task in others)
        pool.kill()
        one.close()
        other.close()
        return watched.found

    try:
        found = hubs.call(hub, work, "quiet")
    finally:
        monitor.close()
        hubs.close()
    return [(call.seconds, call.stack.lines()) for call in found]


def test_invariant_3_a_quiet_second():
    assert be_quiet(1.0) == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_invariant_3_five_quiet_minutes_beside_busy_neighbours():
    program = textwrap.dedent("while True: pass")
    neighbours = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        assert be_quiet(300) == []
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


# -- 4. Without a limit there is no thread ----------------------------------------------------------------------------------------------


def test_invariant_4_without_a_limit_there_is_no_thread(run):
    source = """
        import sys

        def stacks():
            for frame in sys._current_frames().values():
                while frame is not None:
                    yield frame.f_code
                    frame = frame.f_back

        @pytest.mark.coop{mark}
        def test_it():
            assert ("Monitor._run" in [code.co_qualname for code in stacks()]) is {watched}
    """
    run(source.format(mark="", watched=False), passed=1)
    run(source.format(mark="(blocking=30)", watched=True), passed=1)
    run(source.format(mark="", watched=False), passed=1)
