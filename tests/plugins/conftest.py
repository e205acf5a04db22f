"""Says at the end how many orders of programs were run: see `orders`."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    properties = [pair for report in terminalreporter.getreports("passed") for pair in report.user_properties]
    counts = [count for name, count in properties if name == "orders"]
    if counts:
        terminalreporter.line(
            f"{sum(counts)} orders of {sum(count for name, count in properties if name == 'programs')} programs were run, in {len(counts)} tests"
        )
