"""The pytest plugin of coopcore: ``@pytest.mark.coop`` runs a test, its fixtures and their teardown in one task.

This module is what pytest loads in every session, so it is light: neither coopcore nor the rest of this package, but for the names of its
fixtures, is imported until a marked test was collected. Then `_plugin.Plugin` is registered and does the work. ``-p no:coop`` turns all of it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TaskFailed"]

MARK = "coop"
BACKEND_PARAM = "_coop_backend"
TREE = "tasks"
"""The title of a report's section."""
LEAKS = ("tasks", "sockets", "subprocesses", "threads", "locks")
_MODES = ("strict", "auto")


class TaskFailed(Exception):
    """A task failed during a marked test, and nobody joined it. Raised in the test, with the traceback of the task."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("coop_mode", "strict: only tests with the mark coop run in a task; auto: every test function but `async def` ones does", default="strict")
    parser.addini(
        "coop_leaks",
        f"what must not be left behind by a test in a task, or by a wider fixture of such tests; out of: {' '.join(LEAKS)}",
        type="args",
        default=[kind for kind in LEAKS if kind != "tasks"],  # which are ended with the test, in order
    )
    parser.addini(
        "coop_unjoined", "whether a task that failed, and that nobody joined, fails the test; otherwise its report tells of it", type="bool", default=True
    )
    parser.addini("coop_deadlock", "whether a test gets Deadlock when nothing can ever run again; otherwise it waits", type="bool", default=True)
    parser.addini("coop_blocking", "seconds for which a call in a task may block its hub before that fails the test; 0, the default: for any time", default="0")


def pytest_configure(config: pytest.Config) -> None:
    from . import fixtures

    # Not by `pytest_plugins`: pytest would look for an entry point of that name first, in everything that is installed.
    config.pluginmanager.register(fixtures, fixtures.__name__)
    config.addinivalue_line(
        "markers",
        f"{MARK}(backend=None, blocking=None, clock=None, deadlock=None, enabled=True, leaks=None, unjoined=None): "
        "run setup, test and teardown in one task of coopcore, so that all of them can block. "
        "backend names the backend to run on; a list of names runs the test once on each. clock names its clock: virtual. enabled=False: not in a task. "
        "leaks: what must not be left behind, in place of the ini setting coop_leaks. "
        "blocking: seconds for which a call may block the hub, in place of coop_blocking. "
        "unjoined: whether a failed task that nobody joined fails the test, in place of coop_unjoined. "
        "deadlock: whether a deadlock is told at once, in place of coop_deadlock.",
    )
    mode = config.getini("coop_mode")
    if mode not in _MODES:
        raise pytest.UsageError(f"coop_mode = {mode}: there is no such mode; it is strict or auto.")
    for name in ("coop_unjoined", "coop_deadlock"):
        try:
            config.getini(name)
        except (ValueError, pytest.UsageError):  # as the version of pytest has it; neither names the setting
            raise pytest.UsageError(f"{name} is neither true nor false.") from None
    limit = config.getini("coop_blocking")
    try:
        is_span = 0 <= float(limit) < float("inf")
    except ValueError:
        is_span = False
    if not is_span:
        raise pytest.UsageError(f"coop_blocking = {limit}: this is no number of seconds. Write, for instance, 0.1; or 0 for no limit.")
    unknown = [kind for kind in config.getini("coop_leaks") if kind not in LEAKS]
    if unknown:
        raise pytest.UsageError(
            f"coop_leaks: nothing can be left behind of the kind {', '.join(map(repr, unknown))}; the kinds are, with spaces between: {' '.join(LEAKS)}."
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn ``backend=[...]`` into one test for each."""
    marks: Iterator[pytest.Mark] = metafunc.definition.iter_markers(MARK)
    if (first := next(marks, None)) is None:
        return
    from ._mark import MarkError, read_marks

    problem = ""
    try:
        wanted = read_marks([first, *marks])
    except MarkError as error:
        problem = str(error)
    if problem:  # outside of the handler: a report would show its error, with the same text, too
        pytest.fail(f"{metafunc.definition.nodeid}: {problem}", pytrace=False)
    if wanted.enabled and wanted.is_list:
        metafunc.fixturenames.append(BACKEND_PARAM)
        metafunc.parametrize(BACKEND_PARAM, wanted.backends)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Bring in the rest if it is needed."""
    auto = session.config.getini("coop_mode") == "auto"
    marked = session.items if auto else [item for item in session.items if MARK in item.keywords and item.get_closest_marker(MARK)]
    if not marked or session.config.option.collectonly:
        return
    from ._mark import is_wanted

    wanted = [item for item in marked if is_wanted(item, auto)]
    if wanted:
        from ._plugin import Plugin

        session.config.pluginmanager.register(Plugin(session.config, wanted), "coop-session")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Colour what is about to be shown. Also in the process that only hands out the tests, which knows no more of them than their reports."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or not session.config.get_terminal_writer().hasmarkup:
        return
    reports = [report for kind in ("failed", "error") for report in reporter.stats.get(kind, ())]
    if any(section[0] == TREE for report in reports for section in getattr(getattr(report, "longrepr", None), "sections", ())):
        from ._tree import paint

        paint(reports)
