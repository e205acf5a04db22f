"""Every order in which a few tasks can use each primitive, in lock-step with a model of it: see `orders`.

The ordinary run has all programs of two agents with one call each, those of three with the words that matter most, and the scenes of groups, pools and scopes.
`make soak` has those of two agents with two and three calls, of three with two, and the tables of larger ones, up to four agents with three calls each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from .orders.cases import FAMILIES, LARGE_SCENES, SCENES, all_programs, parse, table, words_of
from .orders.explorer import OrdersError, explore
from .orders.programs import Program

Record = Callable[[str, object], None]


# What shares its code with another that is run; in `make soak` they are run as well.
RELATED = {"BoundedSemaphore(1)", "Semaphore(2)", "Queue", "Queue(2)", "LifoQueue", "LifoQueue(1)", "SimpleQueue", "SimpleQueue(1)", "Condition(Lock)"}


def run_all(programs: Iterable[Any], record: Record) -> int:
    orders = programs_run = 0
    for program in programs:
        try:
            orders += explore(program).orders
        except OrdersError as error:
            error.add_note(f"program: {program!r}")
            raise
        programs_run += 1
    record("orders", orders)
    record("programs", programs_run)
    return orders


@pytest.mark.parametrize("name", FAMILIES)
def test_two_agents_with_one_call_each(name: str, record_property: Record) -> None:
    assert run_all(all_programs(name, FAMILIES[name].words, 2, 1), record_property) > 50


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in RELATED])
def test_three_agents_with_one_call_each(name: str, record_property: Record) -> None:
    assert run_all(all_programs(name, FAMILIES[name].few, 3, 1), record_property) > 50


@pytest.mark.parametrize("name", SCENES)
def test_groups_pools_and_scopes(name: str, record_property: Record) -> None:
    run_all([SCENES[name]], record_property)


def test_a_wrong_model_is_found_out(record_property: Record) -> None:
    """The comparison can fail: with one word of the model changed, it does."""
    from .orders.models import SemaphoreModel

    class Barging(SemaphoreModel):
        def _release(self) -> int:
            self.value += 1
            return self.value

    with pytest.raises(OrdersError, match="came to 0, and was to come to 1") as error:
        run_all([Program({"it": Barging}, parse("acquire, release | acquire"))], record_property)
    assert error.value.__notes__[-1] == "program: acquire, release | acquire"


# -- for long -----------------------------------------------------------------------------------------------------------


def for_long(test: Any) -> Any:
    return pytest.mark.soak(pytest.mark.timeout(900)(test))


@for_long
@pytest.mark.parametrize("name", LARGE_SCENES)
def test_larger_scenes(name: str, record_property: Record) -> None:
    run_all([LARGE_SCENES[name]], record_property)


@for_long
@pytest.mark.parametrize(("name", "row"), [(name, row) for name, family in FAMILIES.items() for row in range(len(family.table))])
def test_larger_programs(name: str, row: int, record_property: Record) -> None:
    run_all(table(name, slice(row, row + 1)), record_property)


@for_long
@pytest.mark.parametrize("name", FAMILIES)
def test_two_agents_with_two_calls_each(name: str, record_property: Record) -> None:
    run_all(all_programs(name, words_of(name), 2, 2), record_property)


@for_long
@pytest.mark.parametrize("name", FAMILIES)
def test_two_agents_with_three_calls_each(name: str, record_property: Record) -> None:
    run_all(all_programs(name, FAMILIES[name].few, 2, 3), record_property)


@for_long
@pytest.mark.parametrize("name", FAMILIES)
def test_three_agents_with_two_calls_each(name: str, record_property: Record) -> None:
    run_all(all_programs(name, FAMILIES[name].few, 3, 2), record_property)
