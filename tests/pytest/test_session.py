"""Whole sessions: what they import and leave behind. How they stop, and other plugins beside ours: test_beside_*.py."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow(reason="each inner session is a process of its own")

MARKED = """
@pytest.mark.coop
def test_marked():
    sleep(0.001)
"""


# -- what it costs, and turning it off -------------------------------------------------------------------------------------------


def imported_after(pytester, *args):
    """The names of our modules after an inner session."""
    script = pytester.makepyfile(
        session=f"""
        import sys, pytest
        status = pytest.main({["-q", "-Werror", "-pno:cacheprovider", "-pcoop", *args]!r})
        print("status", int(status))
        print("imported", sorted(name for name in sys.modules if name.partition(".")[0] in ("coopcore", "coop_plugins", "coop_pytest")))
        """
    )
    return pytester.runpython(script)


def test_without_a_marked_test_next_to_nothing_is_imported(pytester):
    pytester.makepyfile(test_it="def test_plain(): pass")
    imported_after(pytester, "test_it.py").stdout.fnmatch_lines(["status 0", "imported ['coop_pytest', 'coop_pytest.fixtures']"])


def test_of_entry_points_pytest_looks_for_the_plugin_alone(run, monkeypatch):
    """Each look goes through everything that is installed, which takes milliseconds."""
    looks = []
    load = pytest.PytestPluginManager.load_setuptools_entrypoints

    def looking(self, group, name=None):
        looks.append(name)
        return load(self, group, name)

    monkeypatch.setattr(pytest.PytestPluginManager, "load_setuptools_entrypoints", looking)
    run("def test_plain(hub): pass", errors=1)  # which has the fixtures
    assert [name for name in looks if name.startswith("coop")] == ["coop"]


def test_turned_off_the_mark_is_unknown(pytester):
    pytester.makepyfile(test_it="import pytest\n\n@pytest.mark.coop\ndef test_it():\n    import greenlet\n    assert greenlet.getcurrent().parent is None")
    result = pytester.runpytest_subprocess("-pno:coop", "-pno:cacheprovider")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*PytestUnknownMarkWarning: Unknown pytest.mark.coop*"])


def test_collecting_alone_makes_no_hub(pytester, write):
    write(MARKED)
    result = pytester.runpytest_subprocess("--collect-only", "-q", "-pno:cacheprovider", "-pcoop")
    result.stdout.fnmatch_lines(["test_it.py::test_marked"])


def test_without_pytest_timeout(run_apart):
    run_apart(MARKED, "-pno:timeout", passed=1)


def test_a_marked_session_leaves_nothing_behind(run_apart):
    """No stray warning, no traceback on stderr, with tasks of a session fixture alive to the end."""
    result = run_apart(
        """
        pytestmark = pytest.mark.coop(backend=["epoll", "selectors"])

        def forever():
            try:
                sleep(3600)
            finally:
                sleep(0.001)
                print("ended")

        @pytest.fixture(scope="module")
        def start():
            yield lambda: spawn(forever)

        def test_it(start):
            start()
            sleep(0.001)
        """,
        "-s",
        passed=2,
    )
    assert result.stdout.str().count("ended") == 2
    assert not result.stderr.str()
