"""What a traceback tells of an exception: whether a signal handler has raised it, and whether the function that it came out of had begun.

Python calls a handler between two instructions of whatever runs, so its exception looks like that code's own. Two facts tell them apart, and both are only
asked for when an exception has come out where none can. A handler is the one function that is given the frame that called it. And a function
that was interrupted where it starts, at its instruction RESUME, has done nothing yet: it may be called again.

Invariants
==========
1. What a handler raised is known as such, however the handler is written: a function, a method, with named arguments or a star.
2. What code raised that was called in the ordinary way is not taken for a handler's, and a function that has run an instruction not for one that has not.
"""

from __future__ import annotations

from types import CodeType, TracebackType


def by_handler(error: BaseException) -> bool:
    """Whether a signal handler written in Python has raised it, in the middle of code that is in its traceback."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        interrupted, tb = tb.tb_frame, tb.tb_next
        for value in tb.tb_frame.f_locals.values():
            if value is interrupted or (type(value) is tuple and any(item is interrupted for item in value)):
                return True
    return False


def before_it_began(tb: TracebackType | None) -> bool:
    """Whether the function of this entry of a traceback was interrupted before its first instruction."""
    return tb is not None and tb.tb_lasti <= _start_of(tb.tb_frame.f_code)


def _start_of(code: CodeType) -> int:
    import dis

    return next((instruction.offset for instruction in dis.get_instructions(code) if instruction.opname == "RESUME"), -1)
