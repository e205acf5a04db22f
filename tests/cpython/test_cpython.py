"""What passes under gevent of CPython's own tests passes here: see `suites.records` for the rule, docs/cpython.md for the figures.

All of them are run by `make soak`; the ordinary run takes those that are quick, and a part of the largest modules.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable

import pytest
from suites import MODULES, records, ways

if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.support") is None:
    pytest.skip("this Python ships no tests of its own: some distributions have them in a package of their own, as python3-test", allow_module_level=True)
if not records.path_of().exists():
    pytest.skip(f"nothing is recorded for Python {records.PYTHON}: `python tests/cpython record` does that", allow_module_level=True)

RECORD = records.read(records.path_of())
LEFT_OUT = records.read_left_out()

# Of each module, what is quick; chosen by the time that it takes. An empty list is all of it.
# (test_queue takes minutes on a busy machine; test_selectors opens tens of thousands of descriptors.)
SAMPLE: dict[str, list[str]] = {
    "test_threading_local": [],
    "test_select": [],
    "test_socketserver": [],
}


def hold(module: str, only: list[str], record_property: Callable[[str, object], None]) -> None:
    found = records.compare(module, RECORD, LEFT_OUT.get(module, {}), only=only)
    record_property("cpython", json.dumps([module, found.counts]))
    broken = [f"{test}: {outcome.what}: {outcome.reason}" for test, outcome in found.broken.items()]
    assert not broken, "\n\n".join(["gevent passes these:", *broken])
    assert not found.stale, "these are left out in vain, they pass: take them out of left_out.toml"
    assert found.counts[ways.OURS]["passed"]


@pytest.mark.slow(reason="other people's tests, which wait for clocks of their own")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("module", SAMPLE)
def test_a_sample_passes(module: str, record_property: Callable[[str, object], None]) -> None:
    hold(module, SAMPLE[module], record_property)


@pytest.mark.soak
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("module", MODULES)
def test_what_gevent_passes_passes_here(module: str, record_property: Callable[[str, object], None]) -> None:
    hold(module, [], record_property)


@pytest.mark.parametrize("module", MODULES)
def test_few_are_left_out_and_each_says_why(module: str) -> None:
    entries = LEFT_OUT.get(module, {})
    assert len(entries) <= records.MOST_LEFT_OUT
    assert [test for test, entry in entries.items() if len(entry.reason.split()) < 4] == [], "say why"


def test_only_these_modules_have_entries() -> None:
    assert set(LEFT_OUT) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_left_out_passes_under_gevent(module: str) -> None:
    everywhere = [records.read(path) for path in sorted(records.HERE.glob("recorded-*.txt"))]
    passed = {test for record in everywhere for test in record.passed(module, ways.GEVENT)}
    assert sorted(set(LEFT_OUT.get(module, {})) - passed) == [], "these need no entry: gevent does not pass them, or there are no such tests any more"


def test_the_records_are_of_the_gevent_that_we_are_held_to() -> None:
    assert RECORD.gevent.startswith("26.9.")
    assert set(RECORD.outcomes) == set(MODULES)
    assert sum(len(RECORD.passed(module, ways.GEVENT)) for module in MODULES) > 1000
