"""Waits for signals: for those that are blocked, without a handler (sigwait and its kin), and for any that has one (pause).

Theory
======
The standard ``sigwait`` stops the thread. Here a signalfd becomes readable when one of the signals is pending, the task parks at that, and a call of
``sigtimedwait`` that does not wait then takes the signal, with all that the kernel knows of it. So nothing is taken by whoever gave up. Python has no
signalfd; it comes from the C library, by ctypes. Where that has none, the task looks a hundred times a second.

Signals that are waited for are blocked for as long, as Linux does it for the standard functions; else they would be handled, or end the process.

Invariants
==========
1. Whoever is killed, or runs out of time, has taken no signal: the next one who asks gets it.
2. After the wait those signals are blocked that were before, and no descriptor is left, also when several tasks have waited.
3. A signal that is pending already is taken at once.
"""

from __future__ import annotations

import os
import signal as _stdlib
from _thread import get_ident
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from coopcore import Timeout, sleep
from coopcore.lowlevel import check_seconds, hide_frames, notify_closing, promise, wait_for_signal, wait_readable

_LOOK_AGAIN = 0.01  # seconds


def pause() -> None:
    """Wait until a signal comes for which there is a Python handler, and that was called, or put off and begun. Only in the main thread (else HubError)."""
    wait_for_signal()


def sigwait(sigset: Iterable[int], /) -> Any:
    """Wait until one of these signals, which should be blocked, is pending; take it, and return its number."""
    found: Any = _wait_for(sigset)
    return _stdlib.Signals(found.si_signo) if found.si_signo in _KNOWN else found.si_signo


def sigwaitinfo(sigset: Iterable[int], /) -> Any:
    """As `sigwait`; returns a ``struct_siginfo``, which tells who has sent it."""
    return _wait_for(sigset)


def sigtimedwait(sigset: Iterable[int], timeout: float, /) -> Any:
    """As `sigwaitinfo`; returns None after ``timeout`` seconds. Raises ValueError for a negative timeout."""
    span = check_seconds(timeout, "the timeout")
    if span is not None and span < 0:
        raise ValueError("timeout must be non-negative")
    if span == 0:
        return _stdlib.sigtimedwait(sigset, 0)
    timer = Timeout(span)
    try:
        with timer:
            return _wait_for(sigset)
    except Timeout as fired:
        if fired is not timer:
            raise
        return None


_KNOWN = {int(signum) for signum in _stdlib.Signals}


def _wait_for(sigset: Iterable[int]) -> Any:
    signals = sorted(set(sigset))
    _stdlib.sigtimedwait  # noqa: B018 - whoever has none is told by the standard module's own words
    with _blocked(signals):
        found = _stdlib.sigtimedwait(signals, 0)
        if found is not None:
            return found
        names = ", ".join(str(signum) for signum in signals)
        with promise(f"one of the signals {names}"), _arrivals(signals, f"one of the signals {names}") as wait:
            while found is None:
                wait()
                found = _stdlib.sigtimedwait(signals, 0)
        return found


# How many waits have blocked a signal in a thread that was not blocked there.
_blocking: Counter[tuple[int, int]] = Counter()


@contextmanager
def _blocked(signals: Iterable[int]) -> Iterator[None]:
    before = _stdlib.pthread_sigmask(_stdlib.SIG_BLOCK, signals)
    thread = get_ident()
    mine = [signum for signum in signals if signum not in before or (thread, signum) in _blocking]
    _blocking.update((thread, signum) for signum in mine)
    try:
        yield
    finally:
        for signum in mine:
            _blocking[thread, signum] -= 1
        over = [signum for signum in mine if not _blocking[thread, signum]]
        for signum in over:
            del _blocking[thread, signum]
        _stdlib.pthread_sigmask(_stdlib.SIG_UNBLOCK, over)


@contextmanager
def _arrivals(signals: Iterable[int], what: str) -> Iterator[Callable[[], object]]:
    """A function that waits until one of the signals may be pending."""
    fd = _open_signalfd(signals)
    if fd is None:
        yield lambda: sleep(_LOOK_AGAIN)
        return
    try:
        yield lambda: wait_readable(fd, what=what)
    finally:
        notify_closing(fd)
        os.close(fd)


def _open_signalfd(signals: Iterable[int]) -> int | None:
    """None where there is none: no Linux, another C library, no descriptor left."""
    import ctypes

    signalfd = getattr(ctypes.CDLL(None), "signalfd", None)
    if signalfd is None:
        return None
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    words = [0] * (1024 // bits)  # the size of the C library's sigset_t
    for signum in signals:
        words[(signum - 1) // bits] |= 1 << (signum - 1) % bits
    fd: int = signalfd(-1, (ctypes.c_ulong * len(words))(*words), os.O_NONBLOCK | os.O_CLOEXEC)
    return fd if fd >= 0 else None


hide_frames(__file__)
