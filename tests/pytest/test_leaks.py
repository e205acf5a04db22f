"""The invariants of coop_pytest._leaks: what is left behind fails the test, with the place where it was made."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest

from coop_pytest import _leaks
from coop_pytest._leaks import reached_from

USES = """
import os, socket, subprocess, sys, threading, time
import coop_plugins.socket
from coop_plugins.lock import Lock, RLock

pytestmark = pytest.mark.coop
kept = []
over_and_done = threading.Event()

def close_all():
    over_and_done.set()
    for thing in kept:
        getattr(thing, "close", getattr(thing, "kill", lambda: None))()
        if hasattr(thing, "wait"):
            thing.wait()
    kept.clear()

@pytest.fixture(scope="session", autouse=True)
def clean_up():
    yield
    close_all()
"""
ALL = "-ocoop_leaks=tasks sockets subprocesses threads locks"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_leaks, "SETTLE", 0.1)


@pytest.fixture
def patient(quick, monkeypatch):
    """What goes by itself has all the time that it needs on a busy machine."""
    monkeypatch.setattr(_leaks, "SETTLE", 30)


# What to leave behind, the report's first line, the one of the thing, and the advice.
LEFT = {
    "socket": (
        "kept.append(socket.socket())",
        "1 socket.",
        "  <socket.socket fd=*>, made at {place}",
        "close sockets before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('subprocesses', 'threads', 'locks')).",
    ),
    "cooperative socket": (
        "kept.append(coop_plugins.socket.socket())",
        "1 socket.",
        "  <coop_plugins.socket.socket fd=*>, made at {place}",
        "close sockets before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('subprocesses', 'threads', 'locks')).",
    ),
    "two sockets": (
        "kept.extend(socket.socketpair())",
        "2 sockets.",
        "  <socket.socket fd=*>, made at {place}",
        "close sockets before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('subprocesses', 'threads', 'locks')).",
    ),
    "subprocess": (
        "kept.append(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']))",
        "1 subprocess.",
        "  child *, <Popen: returncode: None args: *>, made at {place}",
        "wait for children before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'threads', 'locks')).",
    ),
    "thread": (
        "threading.Thread(target=over_and_done.wait, name='worker').start()",
        "1 thread.",
        "  <Thread(worker, started *)>, made at {place}",
        "join threads before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'subprocesses', 'locks')).",
    ),
    "lock": (
        "kept.append(Lock()); kept[0].acquire()",
        "1 lock.",
        "  <locked coop_plugins.lock.Lock object at *>, made at {place}, held by 'test_leaves'",
        "release locks before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'subprocesses', 'threads')).",
    ),
    "lock of a task that has ended": (
        "kept.append(RLock()); spawn(kept[0].acquire).join()",
        "1 lock.",
        "  <locked coop_plugins.lock.RLock object owner='RLock.acquire-*' count=1 at *>, made at {place}, held by 'RLock.acquire-*', spawned at {place}",
        "release locks before the end; or, if this is as it should be, look for less: @pytest.mark.coop(leaks=('sockets', 'subprocesses', 'threads')).",
    ),
}


@pytest.mark.parametrize("what", LEFT)
def test_each_kind_fails_the_test_with_its_place(run, what):
    code, count, thing, advice = LEFT[what]
    result = run(USES + f"\ndef test_leaves():\n    {code}\n\ndef test_next():\n    sleep(0)\n", passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_leaves*",
            f"test_it.py::test_leaves left behind: {count}",
            thing.format(place="*test_it.py:* in test_leaves"),
            f"Next step: {advice}",
        ],
    )


def test_tasks_are_looked_for_on_request(run):
    source = USES + "\ndef forever():\n    sleep(3600)\n\ndef test_leaves():\n    spawn(forever)\n    sleep(0)\n\ndef test_next():\n    sleep(0)\n"
    run(source, passed=2)
    result = run(source, ALL, passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_leaves left behind: 1 task.",
            "  'forever-*', spawned at *test_it.py:* in test_leaves, waits for the end of its sleep",
            "Next step: join or kill tasks before the end; or, if this is as it should be, look for less: "
            "@pytest.mark.coop(leaks=('sockets', 'subprocesses', 'threads', 'locks')).",
        ]
    )


# -- 1. Nothing that goes in time is reported, and nothing twice ------------------------------------------------------------------


def test_invariant_1_what_goes_in_time_is_not_reported(run, patient):
    run(
        USES
        + """
def test_closed():
    with socket.socket(), subprocess.Popen([sys.executable, "-c", ""]):
        pass
    lock = Lock()
    with lock:
        pass
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

def test_about_to_end():
    threading.Thread(target=time.sleep, args=(0.02,)).start()
    spawn(sleep, 0.02)

def test_only_a_cycle():
    cycle = [socket.socket()]
    cycle.append(cycle)

def test_daemons():
    threading.Thread(target=time.sleep, args=(0.3,), daemon=True).start()
""",
        ALL,
        "-Wignore::ResourceWarning",
        "-Wignore::pytest.PytestUnraisableExceptionWarning",
        passed=4,
    )


def test_invariant_1_and_nothing_twice(run):
    run(
        USES
        + """
def test_leaves():
    kept.append(socket.socket())
    kept.append(Lock())
    kept[-1].acquire()

def test_next():
    sleep(0)

def test_last():
    sleep(0)
""",
        passed=3,
        errors=1,
    )


# -- 2. Things belong to who made them ---------------------------------------------------------------------------------------------


def test_invariant_2_of_a_task_and_of_a_narrow_fixture_they_are_the_tests(run):
    result = run(
        USES
        + """
@pytest.fixture
def fixture():
    kept.append(socket.socket())

def test_by_its_fixture(fixture):
    pass

def open_one():
    kept.append(socket.socket())

def test_by_a_task_of_a_task():
    spawn(spawn, open_one)
    idle()

def test_next():
    sleep(0)
""",
        passed=3,
        errors=2,
    )
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_by_its_fixture left behind: 1 socket.",
            "  <socket.socket fd=*>, made at *test_it.py:* in fixture",
            "test_it.py::test_by_a_task_of_a_task left behind: 1 socket.",
            "  <socket.socket fd=*>, made at *test_it.py:* in open_one",
        ]
    )


def test_invariant_2_those_of_a_wider_fixture_are_its_own(run):
    result = run(
        USES
        + """
@pytest.fixture(scope="module")
def closes():
    with socket.socket() as opened:
        yield opened

@pytest.fixture(scope="module")
def leaves():
    kept.append(socket.socket())

def test_one(closes, leaves):
    assert closes.fileno() > 0

def test_two(closes, leaves):
    assert closes.fileno() > 0
""",
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_two*",
            "fixture 'leaves' (module scope) left behind: 1 socket.",
            "  <socket.socket fd=*>, made at *test_it.py:* in leaves",
            "Next step: close sockets before the end; or, if this is as it should be, look for less: in the ini file, coop_leaks = subprocesses threads locks.",
        ]
    )


def test_a_wider_fixture_whose_setup_has_failed_is_not_told_as_well(run):
    run(
        USES
        + """
@pytest.fixture(scope="module")
def wide():
    kept.append(socket.socket())
    raise ValueError("boom")

def test_it(wide):
    pass
""",
        errors=1,
    )


def test_what_a_wider_fixture_refers_to_is_the_fixtures(run):
    run(
        USES
        + """
class Client:
    def __init__(self):
        self.pool = {}

    def connect(self):
        self.pool["a"] = [socket.socket()]

    def close(self):
        for opened in self.pool.values():
            opened[0].close()

@pytest.fixture(scope="module")
def client():
    client = Client()
    yield client
    client.close()

@pytest.fixture(scope="module")
def connect():
    opened = []

    def connect():
        opened.append(socket.socket())

    yield connect
    opened.pop().close()

def test_one(client, connect):
    client.connect()
    connect()

def test_two(client, connect):
    pass
""",
        passed=2,
    )


def test_a_server_in_a_wider_fixture(run):
    run(
        USES
        + """
from coop_plugins.server import StreamServer

def echo(client, address):
    while data := client.recv(100):
        client.sendall(data)

@pytest.fixture(scope="module")
def server():
    with StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        yield server

@pytest.mark.parametrize("n", range(3))
def test_it(server, n):
    with coop_plugins.socket.create_connection(server.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
""",
        passed=3,
    )


# -- 3. A test that leaves nothing behind waits for nothing --------------------------------------------------------------------------


def test_invariant_3_a_clean_test_costs_no_collection(run, monkeypatch):
    collected = []
    monkeypatch.setattr(_leaks.gc, "collect", lambda *args: collected.append(args))
    run(USES + "\ndef test_clean():\n    with socket.socket():\n        sleep(0)\n", passed=1)
    assert collected == []


# -- 4. The hook never raises, and nothing is noted outside of marked tests ----------------------------------------------------------------


def test_invariant_4_outside_of_marked_tests_nothing_is_noted(run):
    run(
        USES.replace("pytestmark", "mark")
        + """
@mark
def test_marked():
    sleep(0)

def test_plain():
    kept.append(socket.socket())
""",
        passed=2,
    )


def test_invariant_4_the_hook_never_raises(run):
    run(
        USES
        + """
def test_it():
    sys.audit("socket.__new__")
    sys.audit("subprocess.Popen", 1, 2)
    sys.audit("os.fork")
""",
        passed=1,
    )


# -- how it is switched ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["leaks=False", "leaks=()", "leaks='locks'", "leaks=('tasks', 'threads')"])
def test_a_mark_switches_it_off(run, mark):
    run(USES + f"\n@pytest.mark.coop({mark})\ndef test_leaves():\n    kept.append(socket.socket())\n\ndef test_next(): pass\n", passed=2)


@pytest.mark.parametrize("mark", ["leaks=True", "leaks='sockets'"])
def test_a_mark_switches_it_on(run, mark):
    run(
        USES + f"\n@pytest.mark.coop({mark})\ndef test_leaves():\n    kept.append(socket.socket())\n\ndef test_next(): pass\n",
        "-ocoop_leaks=",
        passed=2,
        errors=1,
    )


def test_the_ini_setting(pytester, run):
    source = USES + "\ndef test_leaves():\n    kept.append(socket.socket())\n\ndef test_next(): pass\n"
    run(source, "-ocoop_leaks=", passed=2)
    run(source, "-ocoop_leaks=tasks threads", passed=2)
    result = pytester.runpytest_inprocess("-pcoop", "-ocoop_leaks=sockets files")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: coop_leaks: nothing can be left behind of the kind 'files'; the kinds are, with spaces between: tasks sockets *"])


def test_a_failed_test_is_not_told_as_well(run):
    result = run(USES + "\ndef test_leaves():\n    kept.append(socket.socket())\n    assert 0\n\ndef test_next(): pass\n", ALL, failed=1, passed=1)
    result.stdout.no_fnmatch_line("*left behind*")


def test_with_v_there_is_the_whole_stack(run):
    result = run(
        USES + "\ndef open_one():\n    kept.append(socket.socket())\n\ndef test_leaves():\n    open_one()\n\ndef test_next(): pass\n", "-v", passed=2, errors=1
    )
    result.stdout.fnmatch_lines(
        [
            "  <socket.socket fd=*>, made at *test_it.py:* in open_one",
            '    File "*test_it.py", line *, in test_leaves',
            "      open_one()",
            '    File "*test_it.py", line *, in open_one',
            "      kept.append(socket.socket())",
            '    File "*socket.py", line *, in *__init__',
        ],
        consecutive=False,
    )


def test_on_a_virtual_clock_things_settle_in_real_time(run, patient):
    run(
        USES
        + """
@pytest.mark.coop(clock="virtual")
def test_it():
    threading.Thread(target=time.sleep, args=(0.03,)).start()
    spawn(sleep, 3600)
""",
        passed=1,
    )


def test_children_of_multiprocessing(run):
    if sys.version_info >= (3, 12):
        pytest.skip("a fork beside threads is warned of there")
    result = run(
        USES
        + """
import multiprocessing

def test_leaves():
    global process
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()

def test_next():
    process.kill()
    process.join()
""",
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["test_it.py::test_leaves left behind: 1 subprocess.", "  child *, <ForkProcess *>, made at *test_it.py:* in test_leaves"])


def test_children_of_multiprocessing_that_are_not_forked(run_apart):
    result = run_apart(
        USES
        + """
import multiprocessing

def test_leaves():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    kept.append(process)

def test_next():
    process = kept.pop()
    process.kill()
    process.join()
""",
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["test_it.py::test_leaves left behind: 1 subprocess.", "  child *, <SpawnProcess *>, made at *test_it.py:* in test_leaves"])


def test_invariant_5_the_classes_get_their_methods_back(run):
    from coop_plugins.lock import Lock

    before = Lock.__init__, threading.Thread.start
    run(USES + "\ndef test_it():\n    assert Lock.__init__.__wrapped__\n    assert isinstance(Lock(), Lock)\n", passed=1)
    assert (Lock.__init__, threading.Thread.start) == before


def test_a_lock_from_before_the_first_test(run):
    result = run(USES + "\nlock = Lock()\n\ndef test_leaves():\n    lock.acquire()\n", passed=1, errors=1)
    result.stdout.fnmatch_lines(["  <locked coop_plugins.lock.Lock object at *>, made at (before the first marked test), held by 'test_leaves'"])


# -- what refers to what ---------------------------------------------------------------------------------------------------------------


class Thing:
    pass


def test_reached_from():
    thing, other = Thing(), Thing()
    holder = Thing()
    holder.list = [{"key": (thing,)}]
    cyclic = [holder]
    cyclic.append(cyclic)

    def closure():
        return thing

    for roots in ([holder], [cyclic], [closure], [thing]):
        assert reached_from(roots, [thing, other]) == {id(thing)}
    assert reached_from([sys, Thing, "text", None, test_reached_from], [thing]) == set()


def test_many_that_are_gone_are_forgotten(monkeypatch):
    from coop_pytest import _tasks

    monkeypatch.setattr(_tasks, "_MANY", 10)
    owner = _tasks.Owner()
    things = [Thing() for _ in range(100)]

    class Made:
        def __init__(self, thing):
            self.ref = weakref.ref(thing)

        def is_left(self):
            return self.ref() is not None

    for thing in things[:50]:
        owner.note(Made(thing))
    del thing, things[:50]
    gc.collect()
    for thing in things:
        owner.note(Made(thing))
    assert 50 <= len(owner.made) <= 60
