"""That nobody adds a wait to the I/O modules without a kill test and a timeout test: each public function and method is in a table of such tests, is tested by
a test that is named here, or is named here as one that never waits, with the reason.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .test_every_wait import WAITS
from .test_socket_waits import TABLE
from .test_ssl import CALLS

MODULES = ("socket", "ssl", "select", "selectors", "file", "os", "signal", "threadpool", "resolver", "threading", "subprocess", "patch")

# Waits that are in no table: the tests of a kill and of a timeout.
TESTED = {
    "os: wait": ["test_every_wait_has_a_test.py::test_waits_for_any_child_are_killed_and_time_out"],
    "os: wait3": ["test_every_wait_has_a_test.py::test_waits_for_any_child_are_killed_and_time_out"],
    "signal: graceful_exit.__exit__": ["test_signal.py::test_graceful_invariants_2_and_3_who_has_not_ended_is_named_and_the_process_ends"],
    "ssl: SSLSocket.accept": ["test_ssl.py::test_invariant_5_whatever_ends_a_handshake_leaves_nothing_behind"],
    "ssl: SSLSocket.connect": [
        "test_ssl.py::test_invariant_4_a_timeout_bounds_connection_and_handshake_together",
        "test_ssl.py::test_a_connect_whose_handshake_is_killed_can_be_closed_and_holds_nothing",
    ],
    "ssl: SSLSocket.connect_ex": ["test_ssl.py::test_a_killed_connect_leaves_the_socket_as_it_was"],
    "ssl: SSLSocket.do_handshake": ["test_ssl.py::test_invariant_5_whatever_ends_a_handshake_leaves_nothing_behind"],
    "ssl: wrap_socket": ["test_ssl.py::test_invariant_5_whatever_ends_a_handshake_leaves_nothing_behind"],
    "threadpool: ProcessPoolExecutor.map": ["test_every_wait_has_a_test.py::test_waits_for_processes_are_killed_and_time_out"],
    "threadpool: ProcessPoolExecutor.shutdown": ["test_every_wait_has_a_test.py::test_waits_for_processes_are_killed_and_time_out"],
    "subprocess: Popen.wait": [
        "test_subprocess.py::test_wait_with_a_timeout",
        "test_subprocess.py::test_invariant_1_every_waiter_is_woken_though_leaders_are_killed",
    ],
    "subprocess: Popen.communicate": ["test_subprocess.py::test_communicate_killed_again_and_again_at_every_wait"],
    "subprocess: run": ["test_subprocess.py::test_functions_that_time_out_or_are_killed_end_their_child"],
    "subprocess: call": ["test_subprocess.py::test_functions_that_time_out_or_are_killed_end_their_child"],
    "subprocess: check_output": ["test_subprocess.py::test_functions_that_time_out_or_are_killed_end_their_child"],
}

# What can be called another way: it is the same function, or does nothing but call it.
SAME = {
    "selectors: GeventSelector.select": "selectors: DefaultSelector.select",
    "threading: Lock.acquire_lock": "threading: Lock.acquire",
    "threadpool: ThreadPoolExecutor.kill": "threadpool: ThreadPoolExecutor.shutdown",
    "resolver: ThreadResolver.getaddrinfo": "socket: getaddrinfo",
    "resolver: ThreadResolver.gethostbyname": "socket: gethostbyname",
    "resolver: ThreadResolver.gethostbyname_ex": "socket: gethostbyname_ex",
    "resolver: ThreadResolver.gethostbyaddr": "socket: gethostbyaddr",
    "resolver: ThreadResolver.getnameinfo": "socket: getnameinfo",
    "socket: KernelNetwork.getaddrinfo": "socket: getaddrinfo",
    "socket: socket.connect_ex": "socket: socket.connect",
    "ssl: SSLSocket.write": "ssl: SSLSocket.send",
    "subprocess: check_call": "subprocess: call",
    "subprocess: Popen.__exit__": "subprocess: Popen.wait",
    "ssl: SSLSocket.bind": "socket: socket.bind",
    "ssl: SSLSocket.sendmsg_afalg": "socket: socket.sendmsg_afalg",
    "ssl: create_connection": "socket: create_connection",
}

# What never waits, by reason.
NEVER = {
    "it asks, sets or changes what coopcore has noted": """
        socket: socket.getblocking socket.gettimeout socket.setblocking socket.settimeout current_network use_network
        ssl: SSLSocket.getblocking SSLSocket.gettimeout SSLSocket.setblocking SSLSocket.settimeout
        select: poll.modify poll.register poll.unregister
        signal: getsignal graceful_exit.__enter__ graceful_exit.cancel set_wakeup_fd signal signal_handler.cancel
        threadpool: Future.add_done_callback Future.rawlink Future.unlink ThreadPool.adjust ThreadPool.full shared_pool
        threadpool: ThreadResult.__call__ ThreadResult.cancel ThreadResult.cancelled ThreadResult.describe_wait ThreadResult.done ThreadResult.get_nowait
        threadpool: ThreadResult.linkcount ThreadResult.rawlink ThreadResult.ready ThreadResult.set ThreadResult.set_exception ThreadResult.set_result
        threadpool: ThreadResult.successful ThreadResult.unlink
        resolver: ThreadResolver.close current_resolver use_resolver
        threading: Lock.__exit__ Lock.describe_wait Lock.locked Lock.locked_lock Lock.release Lock.release_lock Lock.wait_owners get_ident
        threading: RLock.__exit__ RLock.describe_wait RLock.locked RLock.release RLock.wait_owners
        threading: SimpleQueue.describe_wait SimpleQueue.empty SimpleQueue.get_nowait SimpleQueue.put SimpleQueue.put_nowait
        threading: SimpleQueue.qsize SimpleQueue.wait_owners
        subprocess: Popen.rawlink Popen.unlink
        patch: Patching.undo audit is_patched original parts patch patch_all patched unpatch
    """,
    "it starts what others wait for": """
        threadpool: ProcessPoolExecutor.submit ThreadPool.apply_async ThreadPool.map_async ThreadPoolExecutor.submit
        threading: start_new_thread
    """,
    "the kernel does it at once": """
        socket: KernelNetwork.socket KernelNetwork.socketpair cancel_wait close fromfd socket.detach socketpair
        ssl: SSLSocket.detach create_default_context
        select: epoll.__enter__ epoll.__exit__ epoll.close epoll.fileno epoll.fromfd epoll.modify epoll.register epoll.unregister
        selectors: DefaultSelector.close EpollSelector.close GeventSelector.close
        os: close make_nonblocking
    """,
    "it is refused on a TLS connection": """
        ssl: SSLSocket.recvfrom SSLSocket.recvfrom_into SSLSocket.recvmsg SSLSocket.recvmsg_into SSLSocket.sendmsg SSLSocket.sendto
    """,
    "it blocks the thread, as its name says": "file: FileObjectBlock",
    "it is a command line, which ends with its program": "patch: main",
}


def _public() -> set[str]:
    """Every function, and every method of a class, that coopcore's own code defines under a public name of these modules."""
    found = set()
    for name in MODULES:
        module: Any = importlib.import_module(f"coop_plugins.{name}")
        for public in getattr(module, "__all__", [each for each in vars(module) if not each.startswith("_")]):
            thing = getattr(module, public)
            if not str(getattr(thing, "__module__", "")).startswith("coop_plugins") or (name != "socket" and public == "socket"):
                continue  # the standard module's own, and the class of sockets again in ssl
            found |= {f"{name}: {public}{method}" for method in (_methods(thing) if inspect.isclass(thing) else [""])}
    return found


def _methods(cls: type) -> list[str]:
    defined = [item for each in cls.__mro__ if each.__module__.startswith("coop_plugins") for item in vars(each).items()]
    waits = ("__enter__", "__exit__", "__iter__", "__next__", "__call__")
    return [f".{method}" for method, value in defined if (method[0] != "_" or method in waits) and inspect.isroutine(value)]


def _in_tables() -> set[str]:
    found = {wait.name.partition(", ")[0] for wait in WAITS}
    for wait in TABLE:
        words = wait.name.split()
        found |= {f"socket: socket.{word}" for word in words} | {f"socket: {word}" for word in words}
    return found | {f"ssl: SSLSocket.{name}" for name in CALLS}


def _never() -> dict[str, str]:
    found: dict[str, str] = {}
    for reason, lines in NEVER.items():
        for line in lines.strip().splitlines():
            module, _, names = line.strip().partition(": ")
            for name in names.split():
                assert f"{module}: {name}" not in found, "it is named twice"
                found[f"{module}: {name}"] = reason
    return found


def test_every_public_call_is_tested_or_never_waits() -> None:
    known = _in_tables() | TESTED.keys() | SAME.keys() | _never().keys()
    assert sorted(_public() - known) == [], "add a row to WAITS in test_every_wait, or name it in NEVER with the reason"


def test_nothing_that_is_named_is_gone_or_named_twice() -> None:
    public = _public()
    assert sorted((TESTED.keys() | SAME.keys() | _never().keys()) - public) == [], "they are gone"
    assert sorted(_never().keys() & (_in_tables() | TESTED.keys() | SAME.keys())) == [], "do they wait or not?"
    for name in SAME.values():
        assert name in _in_tables() | TESTED.keys(), name


def test_what_says_that_it_parks_is_not_named_as_one_that_never_waits() -> None:
    for name in _never():
        module, _, path = name.partition(": ")
        thing: Any = importlib.import_module(f"coop_plugins.{module}")
        for part in path.split("."):
            thing = getattr(thing, part)
        first = (thing.__doc__ or "").replace("Never parks", "").replace("never parks", "")
        assert "Parks" not in first, name


@pytest.mark.parametrize("name", TESTED)
def test_the_tests_that_are_named_exist(name: str) -> None:
    for place in TESTED[name]:
        file, _, function = place.partition("::")
        assert f"def {function}(" in (Path(__file__).parent / file).read_text(), place


# -- waits that need a process of their own ---------------------------------------------------------------------------------


def _check(body: str) -> None:
    """Run it in a fresh interpreter, in a task."""
    code = f"""
import concurrent.futures, multiprocessing, os as stdlib, pathlib, sys, tempfile
import coopcore
from coop_plugins import os
from coop_plugins.threadpool import ProcessPoolExecutor, shared_pool
from coopcore import TaskExit, Timeout, sleep, spawn


def ends(call):
    task = spawn(call)
    while task.state != "parked":
        assert not task.dead, task.exception
        sleep(0)
    sleep(0)
    task.kill(timeout=60)
    assert isinstance(task.value, TaskExit), task
    mine = Timeout(0.005)
    try:
        with mine:
            call()
    except Timeout as caught:
        assert caught is mine
    else:
        raise AssertionError("it did not wait")


def main():
{textwrap.indent(textwrap.dedent(body), "    ")}


if __name__ == "__main__":
    coopcore.run(main)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_waits_for_any_child_are_killed_and_time_out() -> None:
    _check("""
        reader, writer = stdlib.pipe()
        pid = stdlib.posix_spawn("/bin/sh", ["sh", "-c", "read line"], {}, file_actions=[(stdlib.POSIX_SPAWN_DUP2, reader, 0)])
        for call in (os.wait, lambda: os.wait3(0)):
            ends(call)
        stdlib.close(reader)
        stdlib.write(writer, b"x\\n")
        assert os.wait()[0] == pid
    """)


def test_waits_for_processes_are_killed_and_time_out() -> None:
    _check("""
        with tempfile.TemporaryDirectory() as folder:
            fifo = folder + "/fifo"
            stdlib.mkfifo(fifo)
            pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            future = pool.submit(stdlib.open, fifo, stdlib.O_RDONLY)  # waits for a writer
            ends(future.result)
            ends(lambda: next(pool.map(abs, [-1])))
            try:
                next(pool.map(abs, [-1], timeout=0.005))
            except TimeoutError:
                pass
            else:
                raise AssertionError("it did not wait")
            ends(pool.shutdown)
            door = stdlib.open(fifo, stdlib.O_RDWR)
            assert future.result() > 0
            pool.shutdown()
            stdlib.close(door)
    """)
