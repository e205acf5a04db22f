"""The queue of timers under a signal handler that raises wherever Python lets one in."""

from __future__ import annotations

import pytest

from tests.core.test_raised import Program, every_storm, of_python_3_12, sleepers, timeouts

QUEUE = ("BucketTimers.add", "BucketTimers.cancel", "BucketTimers.pop_due", "BucketTimers._first_bucket")


@of_python_3_12
@pytest.mark.parametrize("program", [timeouts, sleepers])
def test_invariant_5_a_handler_that_raises_anywhere_in_the_queue_loses_no_timer(program: Program) -> None:
    assert every_storm(program, *QUEUE) > 3
