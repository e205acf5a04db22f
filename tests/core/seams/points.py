"""Lets something happen at every point of a call where the interpreter may let another thread in, one point after the other."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

import pytest

from coopcore import spawn

from .hubs import in_another_thread


@functools.cache
def points_of(code: CodeType) -> set[int]:
    """Where another thread may come in: after a call, at a jump back, and where a function begins."""
    points = set()
    after_a_call = False
    for instruction in dis.get_instructions(code):
        if after_a_call or instruction.opname == "RESUME" or "JUMP_BACKWARD" in instruction.opname:
            points.add(instruction.offset)
        after_a_call = instruction.opname in ("CALL", "CALL_FUNCTION_EX", "CALL_KW")
    return points


def without_a_monitor(test: Callable[..., None]) -> Callable[..., None]:
    """Python 3.12 crashes when opcodes are traced while coverage measures by sys.monitoring."""
    monitored = sys.version_info >= (3, 12) and sys.monitoring.get_tool(sys.monitoring.COVERAGE_ID) is not None
    return pytest.mark.skipif(monitored, reason="coverage measures by sys.monitoring, which tracing opcodes crashes")(test)


def at_each_point(
    modules: Iterable[str], prepare: Callable[[], Any], call: Callable[[Any], Any], act: Callable[[Any], object], *, here: bool = False, lines: bool = False
) -> list[Any]:
    """Make ``call`` again and again, in a task of its own, each time of something that ``prepare`` made, and ``act`` at the first point in the code of
    ``modules``, at the second, and so on, until there are no more: in another thread, whose end is waited for, or ``here``, as a signal handler or finaliser
    would. With ``lines``, the beginning of each line is a point as well: there the trace function of a debugger lets others in. Returns what the calls
    returned.
    """
    files = {sys.modules[name].__file__ for name in modules}
    results: list[Any] = []
    left = 0
    acted = True

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal left, acted
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if (event == "opcode" and frame.f_lasti in points_of(frame.f_code)) or (lines and event == "line"):
            left -= 1
            if left == 0:
                acted = True
                sys.settrace(None)
                frame.f_trace = None
                if here:
                    act(thing)
                else:
                    error = in_another_thread(lambda: act(thing))
                    assert error is None, error
        return trace

    def body() -> Any:
        sys._getframe().f_trace_opcodes = True  # before settrace(), for Python 3.12
        sys.settrace(trace)
        try:
            return call(thing)
        finally:
            sys.settrace(None)

    before = sys.gettrace()
    try:
        while acted:
            acted = False
            left = len(results) + 1
            thing = prepare()
            results.append(spawn(body).get(timeout=20))
    finally:
        sys.settrace(before)
    return results[:-1]
