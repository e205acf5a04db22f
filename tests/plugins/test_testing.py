"""The tools for tests of tasks."""

from __future__ import annotations

import socket as stdlib
from collections.abc import Callable
from typing import Any

import pytest

import coopcore
from coop_plugins.testing import MemoryStream, Sequencer, stream_pair, wait_all_parked
from coopcore import Timeout, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError


def on(body: Callable[[], Any]) -> Any:
    return coopcore.run(body, clock="virtual")


# -- waiting for all, and orders ---------------------------------------------------------------------------------------------------


def test_all_others_are_parked_afterwards() -> None:
    @on
    def body() -> None:
        steps = []

        def work() -> None:
            for step in range(50):
                steps.append(step)
                sleep(0)
            sleep(1)
            steps.append("later")

        task = spawn(work)
        wait_all_parked()
        assert steps == list(range(50))
        task.join()


def test_a_sequence_is_kept() -> None:
    @on
    def body() -> None:
        order: list[int] = []
        sequence = Sequencer()

        def work(*numbers: int) -> None:
            for number in numbers:
                with sequence(number):
                    sleep(0.01 * (5 - number))
                    order.append(number)

        coopcore.joinall([spawn(work, 1, 4), spawn(work, 0, 3), spawn(work, 2)], raise_error=True)
        assert order == [0, 1, 2, 3, 4]


def test_a_number_is_for_one() -> None:
    @on
    def body() -> None:
        sequence = Sequencer()
        with sequence(0):
            pass
        with pytest.raises(RuntimeError, match="number 0 is used twice in one sequence; each block needs one of its own"), sequence(0):
            pass


@pytest.mark.parametrize("how", ["fails", "is killed", "is killed while it waits"])
def test_a_broken_sequence_holds_up_nobody(how: str) -> None:
    @on
    def body() -> None:
        sequence = Sequencer()

        def work() -> None:
            with sequence(0 if how != "is killed while it waits" else 1):
                if how == "fails":
                    raise KeyError("here")
                sleep(1000)

        first = spawn(work)
        waiting = spawn(lambda: sequence(2).__enter__())
        wait_all_parked()
        if how != "fails":
            first.kill()
        else:
            assert isinstance(first.exception, KeyError)
        with pytest.raises(RuntimeError, match="the sequence is broken by .* in number"):
            waiting.get()
        with pytest.raises(RuntimeError, match="the sequence is broken"), sequence(3):
            pass


# -- streams in memory ---------------------------------------------------------------------------------------------------------------


def test_what_is_sent_is_received_in_order() -> None:
    @on
    def body() -> None:
        one, other = stream_pair()
        one.sendall(b"hello")
        one.sendall(bytearray(b" world"))
        assert other.recv(2, stdlib.MSG_PEEK) == b"he"
        assert other.recv(2) == b"he"
        buffer = bytearray(10)
        assert other.recv_into(buffer, 2) == 2
        assert buffer[:2] == b"ll"
        assert other.recv(100) == b"o"
        assert other.recv(100) == b" world"
        receiving = spawn(one.recv, 10)
        wait_all_parked()
        assert other.send(b"back") == 4
        assert receiving.get() == b"back"
        assert one.send(b"") == 0


def test_a_sender_waits_while_there_is_no_room() -> None:
    @on
    def body() -> None:
        one, other = stream_pair(10)
        data = bytes(range(256)) * 4
        sending = spawn(one.sendall, data)
        wait_all_parked()
        assert sending.state == "parked"
        got = b""
        while len(got) < len(data):
            piece = other.recv(7)
            assert len(piece) <= 7
            got += piece
        assert got == data
        sending.get()


def test_ends() -> None:
    @on
    def body() -> None:
        one, other = stream_pair()
        one.sendall(b"last")
        one.shutdown(stdlib.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            one.send(b"x")
        assert other.recv(10) == b"last"
        assert other.recv(10) == b""
        other.sendall(b"still")
        assert one.recv(10) == b"still"
        other.close()
        assert one.recv(10) == b""
        other.close()
        for call in (lambda: other.recv(1), lambda: other.send(b"x"), lambda: other.shutdown(stdlib.SHUT_RD)):
            with pytest.raises(ClosedResourceError):
                call()
        one, other = stream_pair()
        other.sendall(b"never read")
        other.shutdown(stdlib.SHUT_RDWR)
        one.shutdown(stdlib.SHUT_RD)
        with one, other:
            assert "bytes to receive" in repr(one)
        assert repr(one).endswith(" closed>")
        one, other = stream_pair()
        other.close()
        with pytest.raises(BrokenPipeError):
            one.sendall(b"x")


@pytest.mark.parametrize("what", ["recv", "send"])
@pytest.mark.parametrize("end", ["own", "other"])
def test_closing_wakes_who_waits(what: str, end: str) -> None:
    @on
    def body() -> None:
        one, other = stream_pair(1)
        one.send(b"x")
        waiting = spawn(one.recv, 1) if what == "recv" else spawn(one.send, b"y")
        wait_all_parked()
        (one if end == "own" else other).close()
        if end == "own":
            with pytest.raises(ClosedResourceError):
                waiting.get()
        elif what == "send":
            with pytest.raises(BrokenPipeError):
                waiting.get()
        else:
            assert waiting.get() == b""


@pytest.mark.parametrize("what", ["recv", "send"])
def test_every_wait_has_its_timeout_its_kill_and_its_one_task(what: str) -> None:
    @on
    def body() -> None:
        one, other = stream_pair(1)
        one.send(b"x")

        def wait() -> object:
            return one.recv(1) if what == "recv" else one.send(b"y")

        one.settimeout(5)
        assert one.gettimeout() == 5
        with pytest.raises(TimeoutError, match="timed out"):
            wait()
        one.settimeout(0)
        with pytest.raises(BlockingIOError):
            wait()
        one.settimeout(None)
        with Timeout(1, False):
            wait()
        first = spawn(wait)
        wait_all_parked()
        with pytest.raises(BusyResourceError, match="two tasks want to"):
            wait()
        first.kill()
        assert other.recv(1) == b"x"
        other.sendall(b"z")
        assert one.recv(1) == b"z"
        assert one.send(b"y") == 1
        assert other.recv(1) == b"y"


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="most=0: a stream with room for no byte could never carry one"):
        stream_pair(0)
    one, _ = stream_pair()
    assert isinstance(one, MemoryStream)
    assert one.fileno() == -1
    with pytest.raises(ValueError, match="Timeout value out of range"):
        one.settimeout(-1)
    with pytest.raises(TypeError):
        one.settimeout("soon")  # type: ignore[arg-type]  # that is the point
