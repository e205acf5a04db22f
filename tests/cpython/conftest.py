"""Prints at the end what CPython's own tests gave: ours, gevent's and the standard library's counts."""

from __future__ import annotations

import json

import pytest
from suites.records import table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports if isinstance(report, pytest.TestReport) and report.when == "call"]
    rows = [json.loads(str(value)) for report in reports for name, value in report.user_properties if name == "cpython"]
    if rows:
        terminalreporter.section("CPython's own tests: coopcore, and what is recorded for the others")
        terminalreporter.write_line(table(rows))
