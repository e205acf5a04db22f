"""OpenScopes: scopes that one task has entered, and another one leaves."""

from __future__ import annotations

import pytest

from coop_plugins.scope import Cancelled, CancelScope, OpenScopes, TaskGroup, move_on_after
from coopcore import run, sleep, spawn
from coopcore.lowlevel import current_task, scope_of


def in_turn(*functions):
    """Each in a task of its own on one hub."""

    def main():
        for function in functions:
            spawn(function).get()

    run(main, clock="virtual")


def test_a_group_is_handed_on():
    kept = []

    def enter():
        group = TaskGroup()
        group.__enter__()
        group.spawn(sleep, 3600)
        scopes = OpenScopes(None)
        assert scopes
        assert scope_of(current_task()) is None
        kept.append((group, scopes))

    def leave():
        group, scopes = kept.pop()
        with scopes.entered():
            assert scope_of(current_task()) is group.cancel_scope
            sleep(1)
            group.cancel_scope.cancel()
            with pytest.raises(Cancelled):
                sleep(0)
            group.__exit__(None, None, None)
        assert not scopes
        assert group.tasks == ()
        sleep(0)

    in_turn(enter, leave)


def test_none_is_false():
    def main():
        assert not OpenScopes(None)
        with CancelScope() as scope:
            assert not OpenScopes(scope)
            assert scope_of(current_task()) is scope

    run(main)


def test_what_is_still_open_is_taken_out_again():
    def main():
        outer, inner = CancelScope(), CancelScope()
        outer.__enter__()
        inner.__enter__()
        scopes = OpenScopes(None)
        with scopes.entered():
            inner.__exit__(None, None, None)
        assert scopes
        assert scope_of(current_task()) is None
        with scopes.entered():
            outer.__exit__(None, None, None)
        assert not scopes

    run(main)


def test_cancellations_reach_those_who_are_in_there_and_no_others():
    def main():
        with CancelScope() as own:
            own.cancel()
            scope, group = CancelScope(), TaskGroup()
            scope.__enter__()
            group.__enter__()
            task = group.spawn(sleep, 3600)
            scopes = OpenScopes(own)
            assert scope_of(current_task()) is own
            assert scopes.cancelled is None
            scope.cancel()
            assert scopes.cancelled is scope
            with pytest.raises(Cancelled) as caught:
                sleep(0)
            assert caught.value.scope is own
        task.join()
        with scopes.entered():
            with pytest.raises(Cancelled) as caught:
                sleep(0)
            assert caught.value.scope is scope
            assert not group.__exit__(Cancelled, caught.value, None)
            assert scope.__exit__(Cancelled, caught.value, None)
        assert scope.cancelled_caught
        sleep(0)

    run(main)


def test_a_deadline_comes_while_no_task_is_in_there():
    def main():
        scope = move_on_after(1)
        scope.__enter__()
        scopes = OpenScopes(None)
        sleep(2)
        assert scopes.cancelled is scope
        with scopes.entered():
            with pytest.raises(Cancelled) as caught:
                sleep(0)
            assert scope.__exit__(Cancelled, caught.value, None)

    run(main, clock="virtual")
