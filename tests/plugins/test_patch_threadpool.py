"""Where the program is patched, pools have real threads all the same, and the standard module's look-ups are the resolver's."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import coopcore
from coop_plugins.patch import patched
from coop_plugins.threadpool import ThreadPool, ThreadPoolExecutor, offload
from coopcore import sleep, spawn

PROGRAM = """
import io, logging, os, socket, threading
import coopcore
from coop_plugins.threadpool import ThreadPool, ThreadPoolExecutor, offload

reader, writer = os.pipe()
read = io.FileIO.read  # which nothing replaces

def work(file):
    logging.getLogger().warning("in %s", type(threading.current_thread()).__name__)
    return read(file, 1)

with open(os.dup(reader), "rb", buffering=0) as file:
    asking = coopcore.spawn(offload, work, file)
    coopcore.sleep(0.01)  # a real thread: this is reached
    os.write(writer, b"x")
    print(asking.get(timeout=10), socket.getaddrinfo("localhost", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4])
with ThreadPoolExecutor(1) as executor:
    print(executor.submit(int, "5").result(timeout=10))
print(ThreadPool(2).map(int, "123"))
"""


def test_a_program_that_is_patched_whole(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, "-m", "coopcore", "run", str(script)], capture_output=True, text=True, timeout=50)
    assert done.stdout.splitlines() == ["b'x' ('127.0.0.1', 80)", "5", "[1, 2, 3]"], done.stderr
    assert "in _DummyThread" in done.stderr, "no task, of which threading knows"


def test_the_standard_look_ups_ask_the_resolver_of_the_hub() -> None:
    class Table:
        def getaddrinfo(self, *args: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", args[1]))]

        def gethostbyname(self, hostname: str) -> str:
            return "192.0.2.1"

        def gethostbyname_ex(self, hostname: str) -> Any:
            return (hostname, [], ["192.0.2.1"])

        def gethostbyaddr(self, ip_address: str) -> Any:
            return ("one.test", [], [ip_address])

        def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            return ("one.test", "80")

        def close(self) -> None:
            pass

    def body() -> None:
        with patched("socket"):
            assert socket.getaddrinfo("x.test", 80)[0][4] == ("192.0.2.1", 80)
            assert socket.gethostbyname("x.test") == "192.0.2.1"
            assert socket.gethostbyaddr("192.0.2.1")[0] == socket.getfqdn("192.0.2.1") == socket.getnameinfo(("192.0.2.1", 80), 0)[0] == "one.test"

    coopcore.run(body, resolver=Table())


def test_threads_are_real_while_a_block_is_patched() -> None:
    def body() -> None:
        go = threading.Event()
        with patched():
            pool = ThreadPool(1)
            asking = spawn(pool.apply, go.wait, (10,))
            sleep(0.001)
            go.set()
            assert asking.get(timeout=10) is True
            assert offload(int, "3") == 3
            with ThreadPoolExecutor(1) as executor:
                assert executor.submit(int, "4").result(timeout=10) == 4
            pool.kill(timeout=10)

    coopcore.run(body)
