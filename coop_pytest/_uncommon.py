"""Errors that are no Exceptions - a `coopcore.Timeout`, a kill, a `Cancelled`, SystemExit - where pytest's books are kept.

Theory
======
pytest notes that a fixture failed, and goes on to the next finalizer, only after an Exception or a verdict of its own. Any other error leaves its books
half written: a fixture whose setup it ended can neither be finished nor be set up again; and after a finalizer that it ended all that were to follow are
forgotten, so that the next test gets what was made for this one. Such errors are rare elsewhere, but with tasks they are how a wait ends.

So the failure of a setup is noted here, as pytest does for an Exception. A finalizer's travels through pytest inside of an Exception, and is taken out at the
end of the phase. KeyboardInterrupt and `pytest.exit` end the session, and are left alone.

Invariants
==========
1. A fixture whose setup ends by any error but those two is finished, and each further test that uses it fails with the same error.
2. Whatever a finalizer raises but those two, all the others run, and the report shows the error itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from coopcore.lowlevel import hide_frames

hide_frames(__file__)

_KNOWN_TO_PYTEST = (Exception, pytest.fail.Exception, pytest.skip.Exception, pytest.exit.Exception, KeyboardInterrupt)


class _Wrapped(Exception):
    """An error on its way through pytest."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def keep_failure(definition: pytest.FixtureDef[Any], request: pytest.FixtureRequest, error: BaseException) -> None:
    """The setup of a fixture has raised this: note it, where pytest will not."""
    if not isinstance(error, _KNOWN_TO_PYTEST):
        kept: Any = error if pytest.version_tuple < (8, 2) else (error, error.__traceback__)
        definition.cached_result = (None, definition.cache_key(request), kept)  # type: ignore[arg-type]  # a request of a fixture


def wrap_finalizers(item: pytest.Item) -> None:
    """From now on what a finalizer of the item, its class, its module ... raises gets through pytest. `unwrapped` is for what comes out."""
    for node in item.listchain():
        if "addfinalizer" not in vars(node):
            node.addfinalizer = partial(_add, node.addfinalizer)  # type: ignore[method-assign]  # for this one object only


def _add(add: Callable[[Callable[[], object]], None], finalizer: Callable[[], object]) -> None:
    add(partial(_run, finalizer))


def _run(finalizer: Callable[[], object]) -> None:
    __tracebackhide__ = True
    try:
        finalizer()
    except _KNOWN_TO_PYTEST:
        raise
    except BaseException as error:
        raise _Wrapped(error) from None


def unwrapped(error: BaseException) -> BaseException:
    """What a finalizer has raised, or a group of such."""
    if isinstance(error, _Wrapped):
        return error.error
    if isinstance(error, BaseExceptionGroup) and error.subgroup(_Wrapped) is not None:
        return BaseExceptionGroup(error.message, [unwrapped(one) for one in error.exceptions]).with_traceback(error.__traceback__)
    return error
