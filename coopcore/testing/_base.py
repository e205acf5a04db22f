"""What the contracts share: a runner, a way to bound a wait, and descriptors that are closed again."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic_ns
from typing import Any

import coopcore

from ..lowlevel import Alarm, current_hub, park, unpark

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
PATIENCE = 5 * SECOND
"""How long a contract waits for what should come at once, before it says that it does not come."""


def names_of_tests(contract: type) -> list[str]:
    """The names of the tests of a contract, in order of definition."""
    names: dict[str, None] = {}
    for cls in reversed(contract.__mro__):
        names.update(dict.fromkeys(name for name in vars(cls) if name.startswith("test_") and callable(getattr(contract, name))))
    return list(names)


def failures(contract: type, only: Callable[[str], bool] = lambda name: True) -> dict[str, Exception]:
    """Run every test of a contract, each on an instance of its own, and return what failed: name and error. Empty if all is well.

    ``only`` chooses tests by name. For use without a test runner. Blocks as long as the tests do.
    """
    failed: dict[str, Exception] = {}
    for name in filter(only, names_of_tests(contract)):
        try:
            getattr(contract(), name)()
        except Exception as error:
            failed[name] = error
    return failed


@contextmanager
def raises(kind: type[Exception] | tuple[type[Exception], ...], why: str) -> Iterator[list[Exception]]:
    """The block must raise ``kind``. Gives a list that holds the error afterwards."""
    caught: list[Exception] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    expected = kind.__name__ if isinstance(kind, type) else " or ".join(one.__name__ for one in kind)
    raise AssertionError(f"{expected} was not raised: {why}")


def since(start: int) -> int:
    """Nanoseconds of real time since ``start``."""
    return monotonic_ns() - start


def naps(spans: Iterable[float], order: list[str]) -> list[coopcore.Task[Any]]:
    """A task for each span, which adds it to ``order`` when it is over. They count from one moment, and their alarms are all set before the hub looks for the
    first time, however long this process is stopped between two.
    """

    def nap(seconds: float) -> None:
        park(f"the end of {seconds} s")
        order.append(str(seconds))

    tasks = {seconds: coopcore.spawn(nap, seconds) for seconds in spans}
    coopcore.sleep(0)
    hub = current_hub()
    start = hub.clock.now()
    for seconds, task in tasks.items():
        Alarm(hub, start + int(seconds * SECOND), unpark, task)
    return list(tasks.values())


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a non-blocking pipe. Both may be closed by the test."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _portable_pipe()
    try:
        yield reader, writer
    finally:
        close_quietly(reader)
        close_quietly(writer)


def _portable_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def close_quietly(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected non-blocking stream sockets."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def fill(sock: socket.socket) -> None:
    """Send until the kernel takes no more."""
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))


def drain(sock: socket.socket) -> None:
    """Receive until there is nothing left."""
    with suppress(BlockingIOError):
        while sock.recv(1 << 20):
            pass
