"""The tests of CPython's ``test.test_queue`` that are left out, by name, each with its reason: none. `test_cpython_queue` fails when one here would pass."""

from __future__ import annotations

LEFT_OUT: dict[str, str] = {}
