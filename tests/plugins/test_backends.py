"""The built-in backends keep the contract, and the invariants of their docstrings."""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading

import pytest

import coopcore
from coop_plugins.backends.selectors import SelectorsBackend
from coopcore.lowlevel import ERROR, READABLE, WRITABLE, current_hub
from coopcore.testing import BackendContract, failures

linux = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


class TestSelectors(BackendContract):
    def make(self):
        return SelectorsBackend()


@linux
class TestEpoll(BackendContract):
    def make(self):
        from coop_plugins.backends.epoll import EpollBackend

        return EpollBackend()


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture
def epoll():
    if sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    from coop_plugins.backends.epoll import EpollBackend

    backend = EpollBackend()
    yield backend
    backend.close()


@pytest.fixture
def level():
    backend = SelectorsBackend()
    yield backend
    backend.close()


class CountingEpoll:
    """Stands for a ``select.epoll`` and notes what is asked of it."""

    def __init__(self, inner):
        self.inner = inner
        self.calls = []

    def __getattr__(self, name):
        def call(*args):
            self.calls.append(name)
            return getattr(self.inner, name)(*args)

        return getattr(self.inner, name) if name == "closed" else call


# -- epoll --------------------------------------------------------------------------------------------------------------


def test_epoll_invariant_1_known_is_registered_and_not_unwatched(epoll, pair):
    fd = pair[0].fileno()
    epoll.watch(fd, READABLE)
    with pytest.raises(FileExistsError):
        epoll._epoll.register(fd, 0)
    epoll.unwatch(fd)
    epoll._epoll.register(fd, 0)


def test_epoll_invariant_2_a_wake_is_seen_and_never_reported(epoll):
    epoll.wake()
    assert not epoll.poll(None)


def test_epoll_invariant_3_a_known_descriptor_costs_no_system_call(epoll, pair):
    fd = pair[0].fileno()
    epoll._epoll = counting = CountingEpoll(epoll._epoll)
    for events in (READABLE, WRITABLE, READABLE | WRITABLE, READABLE):
        epoll.watch(fd, events)
    assert counting.calls == ["register"]


def test_epoll_invariant_4_a_wake_after_close_does_nothing(epoll):
    number = epoll._wake_fd
    epoll.close()
    reader, writer = os.pipe()
    heir = os.dup2(writer, number)
    try:
        epoll.wake()
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 8)
    finally:
        for fd in {reader, writer, heir}:
            os.close(fd)


def test_epoll_one_registration_serves_both_directions(epoll, pair):
    left, right = pair
    epoll.watch(left.fileno(), READABLE)
    assert dict(epoll.poll(1_000_000_000))[left.fileno()] & WRITABLE
    right.send(b"x")
    assert dict(epoll.poll(1_000_000_000))[left.fileno()] & READABLE


def test_epoll_in_the_hub_waits_after_eagain_cost_no_system_call(epoll, pair):
    left, right = pair

    def main():
        hub = current_hub()
        hub.forget_fd(left.fileno())
        for _ in range(5):
            with pytest.raises(BlockingIOError):
                left.recv(1)
            coopcore.spawn(right.send, b"x")
            assert hub.wait_fd(left.fileno(), READABLE, 5, edge=True)
            left.recv(1)

    epoll._epoll = counting = CountingEpoll(epoll._epoll)
    coopcore.run(main, backend=epoll)
    assert counting.calls.count("register") == 2  # left, and what the hub is woken by for signals
    assert "modify" not in counting.calls


# -- selectors ----------------------------------------------------------------------------------------------------------


def test_selectors_invariant_1_what_was_reported_is_taken_out(level, pair):
    left, right = pair
    right.send(b"x")
    level.watch(left.fileno(), READABLE)
    assert level.poll(1_000_000_000) == [(left.fileno(), READABLE)]
    with pytest.raises(KeyError):
        level._selector.get_key(left.fileno())
    assert level.poll(0) == []


def test_selectors_invariant_2_a_wake_is_seen_and_never_reported(level):
    level.wake()
    assert level.poll(None) == []


def test_selectors_invariant_3_a_number_used_anew_is_registered_afresh(level, pair):
    left, right = pair
    reader, writer = os.pipe()
    level.watch(reader, READABLE)
    os.close(reader)
    os.dup2(left.fileno(), reader)
    try:
        level.watch(reader, READABLE)
        right.send(b"x")
        assert level.poll(1_000_000_000) == [(reader, READABLE)]
    finally:
        os.close(reader)
        os.close(writer)


@linux
def test_selectors_invariant_4_only_one_poll_returns_early_for_what_cannot_be_taken_out(level):
    reader, writer = os.pipe()
    copy = os.dup(reader)
    level.watch(reader, READABLE)
    os.close(reader)
    level.unwatch(reader)
    os.write(writer, b"x")
    try:
        before = level._selector
        assert level.poll(1_000_000_000) == []
        assert level._selector is not before
        before = level._selector
        assert level.poll(1_000_000) == []
        assert level._selector is before
    finally:
        os.close(copy)
        os.close(writer)


@linux
def test_selectors_tells_who_waits_at_a_descriptor_that_is_gone(level):
    """A stray registration makes it look again at all; what is closed by then is reported, so that its owner meets EBADF."""
    stray, stray_writer = os.pipe()
    gone, gone_writer = os.pipe()
    copy = os.dup(stray)
    level.watch(stray, READABLE)
    level.watch(gone, READABLE)
    for fd in (stray, gone):
        os.close(fd)
    level.unwatch(stray)
    os.write(stray_writer, b"x")
    try:
        assert level.poll(1_000_000_000) == [(gone, ERROR)]
    finally:
        for fd in (copy, stray_writer, gone_writer):
            os.close(fd)


def test_selectors_invariant_5_a_wake_after_close_does_nothing(level):
    """A foreign socket has the number by then, and the backend a socket object of it, as a thread would that had it before the close."""
    foreign, peer = socket.socketpair()
    number = level._wake_out.fileno()
    level.close()
    os.dup2(foreign.fileno(), number)
    level._wake_out = socket.socket(fileno=number)
    with foreign, peer, level._wake_out:
        level.wake()
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(8)


def test_selectors_on_a_platform_without_epoll(monkeypatch):
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    contract = type("OnSelect", (BackendContract,), {"make": lambda self: SelectorsBackend()})
    assert not failures(contract, only=lambda name: "wake" in name and "flood" not in name)


# -- wakes at odd moments -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["epoll", "level"])
def any_backend(request):
    return request.getfixturevalue(request.param)


def test_a_signal_handler_may_wake_what_it_interrupts(any_backend):
    with any_backend._closing:  # as if the handler had come in the middle of a wake
        any_backend.wake()
    assert list(any_backend.poll(None)) == []


@pytest.mark.slow(reason="close() gives a thread that will never let go its second")
def test_a_lock_held_by_a_thread_that_a_fork_left_behind_does_not_hang_close(any_backend):
    holder = threading.Thread(target=any_backend._closing.acquire)
    holder.start()
    holder.join()
    any_backend.close()
    assert any_backend._closing.acquire(blocking=False) is False
