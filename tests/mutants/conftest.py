"""At the end of a run: which test has caught each mutant, and which only a hang has."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.getreports("passed")
    caught = [value for report in passed if report.when == "call" for name, value in report.user_properties if name == "caught"]
    if caught:
        terminalreporter.section("mutants, and what has caught them")
        for line in sorted(map(str, caught)):
            terminalreporter.line(line)
