"""A virtual clock, and the tools for tests, in the wrong hands; and moments that are copied while they stand in for the standard ones."""

from __future__ import annotations

import copy
import datetime
import pickle
import subprocess
import sys

import pytest

from coop_plugins.clock import VirtualClock
from coop_plugins.patch import patched
from coop_plugins.testing import Sequencer, stream_pair
from coopcore import Deadlock, run, sleep
from coopcore.errors import HubError


@pytest.mark.parametrize("seconds", [-1, -0.001, float("inf"), 10**12])
def test_a_span_that_no_clock_can_go_on_by(seconds):
    clock = VirtualClock()
    with pytest.raises(ValueError, match=f"^advance\\({seconds!r}\\): time goes on by a span that is not negative, and has an end$".replace("+", "\\+")):
        run(clock.advance, seconds, clock=clock)


@pytest.mark.parametrize(
    ("seconds", "error", "message"),
    [
        (float("nan"), ValueError, "the time to advance is not a number (NaN): some computation of it went wrong before this call"),
        ("1", TypeError, "the time to advance is a number of seconds, a Timeout or None, not '1' of type str"),
    ],
)
def test_what_is_no_span(seconds, error, message):
    clock = VirtualClock()
    with pytest.raises(error) as caught:
        run(clock.advance, seconds, clock=clock)
    assert str(caught.value) == message


def test_a_clock_of_another_hub():
    clock = VirtualClock()
    with pytest.raises(HubError) as caught:
        run(clock.advance, 1)
    assert str(caught.value) == (
        "advance(1) of <VirtualClock at 0.000000 s, 0 jumps> was called on hub-of-MainThread, which has another clock. "
        "A clock goes on where its own hub is at work: call it in a task of that hub."
    )
    with pytest.raises(HubError, match="^advance\\(1\\) of <VirtualClock at 0"):
        run(clock.advance, 1, clock="virtual")


def moments():
    now = datetime.datetime.now(datetime.UTC)
    return now, now.replace(tzinfo=None, fold=1), datetime.date.today()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_made_under_the_patch_are_those_of_the_standard_classes(protocol):
    with patched("clock"):
        made = moments()
        text = pickle.dumps(made, protocol)
        assert pickle.loads(text) == made == copy.deepcopy(made)
        assert [type(moment) for moment in pickle.loads(text)] == [datetime.datetime, datetime.datetime, datetime.date]
    assert b"coop" not in text
    assert pickle.loads(text) == made
    assert pickle.loads(text)[1].fold == (1 if protocol > 3 else 0)  # older ones have no room for it
    assert [type(moment) for moment in pickle.loads(text)] == [datetime.datetime, datetime.datetime, datetime.date]
    assert pickle.loads(pickle.dumps(made, protocol)) == made == copy.deepcopy(made)
    assert repr(made) == repr(pickle.loads(pickle.dumps(made, 5)))


@pytest.mark.slow(reason="another interpreter")
def test_a_reader_without_coopcore():
    with patched("clock"):
        made = moments()
        text = pickle.dumps(made)
    program = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())); assert 'coop_plugins' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], input=text, check=True, capture_output=True).stdout.decode().strip() == repr(made)


def test_numbers_that_no_block_can_have():
    sequence = Sequencer()
    with pytest.raises(ValueError, match="^the numbers of a sequence begin with 0: -1 will never be next$"):
        sequence(-1)
    with pytest.raises(TypeError, match="^the place of a block in a sequence is a number, not 'first'$"):
        sequence("first")
    sequence(0)
    with pytest.raises(RuntimeError, match="^number 0 is used twice in one sequence; each block needs one of its own$"):
        sequence(0)


def test_a_number_that_never_comes_is_a_deadlock_at_the_line_that_waits():
    def main():
        with Sequencer()(1):
            sleep(0)

    with pytest.raises(Deadlock, match=r"main waits for its number in a sequence\n    at .*test_clock_misuse\.py:\d+ in .*main\n"):
        run(main)


def test_a_negative_size():
    one, _ = stream_pair()
    with pytest.raises(ValueError, match="^negative buffersize in recv$"):
        one.recv(-1)
