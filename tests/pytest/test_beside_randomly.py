"""pytest-randomly beside ours: any order of tests, marked and not, and the same random numbers for each test."""

from __future__ import annotations

import pytest

pytest.importorskip("pytest_randomly")

MIXED = """
import random

import greenlet
home = greenlet.getcurrent()

def in_task():
    return greenlet.getcurrent() is not home

@pytest.fixture(scope="module")
def plain():
    made_in_task = in_task()
    yield
    assert in_task() is made_in_task

@pytest.fixture(scope="module", params=["epoll", "selectors"])
def wide(request):
    made_in_task = in_task()
    yield request.param
    assert in_task() is made_in_task

@pytest.mark.parametrize("n", range(4))
@pytest.mark.coop(backend=["epoll", "selectors"])
def test_marked(n, plain, wide):
    sleep(0)
    assert in_task()

@pytest.mark.coop(clock="virtual")
def test_virtual(plain):
    sleep(3600)
    assert in_task()

@pytest.mark.parametrize("n", range(4))
def test_unmarked(n, plain, wide):
    assert not in_task()

@pytest.mark.coop
class TestIt:
    def setup_method(self):
        print("number", random.random())

    def test_one(self):
        sleep(0)
        print("number", random.random())

    def test_two(self):
        spawn(lambda: print("number", random.random())).join()

    def teardown_method(self):
        print("number", random.random())
"""


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_any_order(run, seed):
    result = run(MIXED, "-ppytest_randomly", f"--randomly-seed={seed}", passed=27)
    assert f"Using --randomly-seed={seed}" in result.outlines


def test_a_seed_gives_the_same_order_and_the_same_numbers_again(run):
    told = [
        [line for line in run(MIXED, "-ppytest_randomly", "--randomly-seed=1", "-v", "-s", passed=27).outlines if "number 0." in line or "PASSED" in line]
        for _ in range(2)
    ]
    assert told[0] == told[1]
    assert sum("number 0." in line for line in told[0]) == 6


def test_the_orders_differ(run):
    orders = [
        [line.split()[0] for line in run(MIXED, "-ppytest_randomly", f"--randomly-seed={seed}", "-v", passed=27).outlines if "PASSED" in line]
        for seed in (1, 2)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
