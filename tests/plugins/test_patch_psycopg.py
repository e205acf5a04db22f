"""psycopg is steered away from its compiled wait function. Here on a stand-in; tests/clients has the real one."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import pytest

from coop_plugins.patch import audit, patched
from coop_plugins.patch._psycopg import VARIABLE, wait_in_python


@pytest.fixture(autouse=True)
def not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "psycopg.waiting", raising=False)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """psycopg's module as it is where its compiled implementation was imported."""
    made: Any = ModuleType("psycopg.waiting")
    made.wait_c, made.wait_poll = object(), object()
    made.wait = made.wait_c
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_one_that_is_imported_later_finds_what_it_is_to_take() -> None:
    undo = wait_in_python()
    assert os.environ[VARIABLE] == "wait_poll"
    assert "psycopg" not in sys.modules or "psycopg.waiting" not in sys.modules
    undo()
    assert VARIABLE not in os.environ


def test_one_that_was_imported_before_is_turned(waiting: Any) -> None:
    undo = wait_in_python()
    assert waiting.wait is waiting.wait_poll
    undo()
    assert waiting.wait is waiting.wait_c


def test_one_without_a_compiled_part_stays_as_it_is(waiting: Any) -> None:
    del waiting.wait_c
    chosen = waiting.wait = object()
    undo = wait_in_python()
    assert waiting.wait is chosen
    undo()
    assert waiting.wait is chosen


def test_what_the_user_chose_stands(waiting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "wait_c")
    undo = wait_in_python()
    assert (os.environ[VARIABLE], waiting.wait) == ("wait_c", waiting.wait_c)
    undo()
    assert (os.environ[VARIABLE], waiting.wait) == ("wait_c", waiting.wait_c)


def test_what_somebody_else_chose_meanwhile_is_left_to_them(waiting: Any) -> None:
    undo = wait_in_python()
    os.environ[VARIABLE] = "wait_select"
    chosen = waiting.wait = object()
    undo()
    assert (os.environ[VARIABLE], waiting.wait) == ("wait_select", chosen)


def test_the_patch_of_select_does_it(waiting: Any) -> None:
    with patched("select"):
        assert os.environ[VARIABLE] == "wait_poll"
        assert waiting.wait is waiting.wait_poll
    assert VARIABLE not in os.environ
    assert waiting.wait is waiting.wait_c


def test_one_that_goes_on_blocking_is_named(waiting: Any) -> None:
    (finding,) = [finding for finding in audit() if finding.kind == "library"]
    assert str(finding).startswith("psycopg: waits by its wait_c, inside compiled code, where no patch reaches it. Patch select")
    waiting.wait = waiting.wait_poll
    assert [finding for finding in audit() if finding.kind == "library"] == []
