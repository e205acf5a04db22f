"""Shows that contracts can fail: each mutant is an implementation with one fault, and the tests that must find it."""

from __future__ import annotations

from coopcore.testing import failures, names_of_tests


def check_mutant(contract, make, tests):
    """``make`` makes an implementation with a fault; each of ``tests`` must fail on it."""
    mutant = type("Mutant", (contract,), {"make": lambda self: make()})
    unknown = set(tests) - set(names_of_tests(contract))
    assert not unknown, f"the contract has no {unknown}"
    passed = set(tests)
    for _ in range(5):  # where a fault takes its time, it shows only when the process was not stopped meanwhile
        passed -= set(failures(mutant, only=passed.__contains__))
        if not passed:
            break
    assert not passed, f"a fault was not found by {passed}"


def untried(contract, mutants):
    """The tests of a contract that no mutant of the table ``(make, tests)`` fails: they may be unable to."""
    return set(names_of_tests(contract)) - {test for _, tests in mutants for test in tests}
