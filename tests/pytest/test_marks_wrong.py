"""Every way in which a mark, or a setting of the plugin, can be wrong: what is said, word for word, with the test that the mark concerns."""

from __future__ import annotations

import pytest

OFFERED = "Check the spelling where it was asked for (an argument, a mark, or the variable COOP_BACKEND), or install the distribution that offers it."
NAMES = "tasks, sockets, subprocesses, threads, locks"
WRONG = [
    ("'epoll'", "@pytest.mark.coop takes no positional arguments, but got ('epoll',). Name it: @pytest.mark.coop(backend=...)."),
    (
        "bakend='epoll'",
        "@pytest.mark.coop has no argument 'bakend'; it takes: backend, blocking, clock, deadlock, enabled, leaks, unjoined. Check the spelling.",
    ),
    ("backend='epol'", f"@pytest.mark.coop(backend='epol'): there is no backend named 'epol'; on offer are: epoll, selectors. {OFFERED}"),
    ("backend=['epoll', 'epol']", f"@pytest.mark.coop(backend='epol'): there is no backend named 'epol'; on offer are: epoll, selectors. {OFFERED}"),
    ("backend=''", f"@pytest.mark.coop(backend=''): there is no backend named ''; on offer are: epoll, selectors. {OFFERED}"),
    ("backend=b'epoll'", "@pytest.mark.coop(backend=...) takes the name of a backend, or a list of names, not b'epoll'."),
    ("backend={'epoll'}", "@pytest.mark.coop(backend=...) takes the name of a backend, or a list of names, not {'epoll'}."),
    ("backend=[None]", "@pytest.mark.coop(backend=...) takes the name of a backend, or a list of names, not None."),
    ("backend=[['epoll']]", "@pytest.mark.coop(backend=...) takes the name of a backend, or a list of names, not ['epoll']."),
    ("backend=[]", "@pytest.mark.coop(backend=[]) names no backend, so the test would never run. Name at least one, or leave it out."),
    ("backend=['epoll', 'epoll']", "@pytest.mark.coop(backend=['epoll', 'epoll']) names a backend twice. Name each once."),
    ("clock='virtuel'", f"@pytest.mark.coop(clock='virtuel'): there is no clock named 'virtuel'; on offer are: virtual. {OFFERED.replace('BACKEND', 'CLOCK')}"),
    ("clock=['virtual']", "@pytest.mark.coop(clock=...) takes the name of a clock, not ['virtual']."),
    ("leaks='socks'", f"@pytest.mark.coop(leaks=...) takes True, False, or names out of {NAMES}; not 'socks'."),
    ("leaks=[['tasks']]", f"@pytest.mark.coop(leaks=...) takes True, False, or names out of {NAMES}; not [['tasks']]."),
    ("leaks={'tasks': False}", f"@pytest.mark.coop(leaks=...) takes True, False, or names out of {NAMES}; not {{'tasks': False}}."),
    ("leaks=3", f"@pytest.mark.coop(leaks=...) takes True, False, or names out of {NAMES}; not 3."),
    ("blocking='0.1'", "@pytest.mark.coop(blocking=...) takes a number of seconds, or 0 or False for no limit, not '0.1'."),
    ("blocking=float('nan')", "@pytest.mark.coop(blocking=...) takes a number of seconds, or 0 or False for no limit, not nan."),
    ("blocking=True", "@pytest.mark.coop(blocking=...) takes a number of seconds, or 0 or False for no limit, not True."),
    ("enabled=None", "@pytest.mark.coop(enabled=...) takes True or False, not None."),
    ("unjoined='no'", "@pytest.mark.coop(unjoined=...) takes True or False, not 'no'."),
    (
        "clock='virtual', deadlock=False",
        "@pytest.mark.coop(clock='virtual', deadlock=False): on that clock a test cannot wait on, for time goes on only while something is under way. "
        "Leave deadlock out, or declare what will wake it: with coopcore.lowlevel.promise('...'):.",
    ),
    ("deadlock=0", "@pytest.mark.coop(deadlock=...) takes True or False, not 0."),
]


class Reports:
    """A plugin of the inner session: what its collection, and its tests, say of failures."""

    def __init__(self):
        self.texts = []

    def pytest_collectreport(self, report):
        if report.failed:
            self.texts.append(report.longreprtext)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.texts.append(f"{report.when}: {report.longreprtext}")


@pytest.fixture
def said(pytester, write):
    """Run a module, and return all that failed reports say."""

    def said(source, *args):
        write(source)
        reports = Reports()
        pytester.runpytest_inprocess("-Werror", "-pno:cacheprovider", "-pcoop", *args, plugins=[reports])
        return reports.texts

    return said


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_argument(said, arguments, message):
    assert said(f"@pytest.mark.coop({arguments})\ndef test_it(): pass") == [f"test_it.py::test_it: {message}"]


PLACES = {
    "module": ("pytestmark = {mark}\ndef test_it(): pass", "test_it.py::test_it: "),
    "class": ("@{mark}\nclass TestIt:\n    def test_it(self): pass", "test_it.py::TestIt::test_it: "),
    "method": ("@pytest.mark.coop\nclass TestIt:\n    @{mark}\n    def test_it(self): pass", "test_it.py::TestIt::test_it: "),
    "case": ("import unittest\n@{mark}\nclass TestIt(unittest.TestCase):\n    def test_it(self): pass", "setup: test_it.py::TestIt::test_it: "),
    "parameter": (
        "@pytest.mark.parametrize('number', [pytest.param(1, marks={mark}), 2])\ndef test_it(number): pass",
        "setup: test_it.py::test_it[1]: ",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_message_names_the_test_wherever_the_mark_is(said, place):
    source, where = PLACES[place]
    assert said(source.format(mark="pytest.mark.coop(clocks=1)")) == [
        f"{where}@pytest.mark.coop has no argument 'clocks'; it takes: backend, blocking, clock, deadlock, enabled, leaks, unjoined. Check the spelling."
    ]


def test_a_list_that_comes_too_late(said, pytester):
    pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            items[0].add_marker(pytest.mark.coop(backend=["epoll", "selectors"]))
        """
    )
    words = (
        "@pytest.mark.coop(backend=[...]) with a list comes too late on a parameter, or from a hook: the test is parametrised already. "
        "Name one backend there, or put the list on the function, its class or its module."
    )
    source = """
        def test_by_hook(): pass

        @pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.coop(backend=["epoll", "selectors"])), 2])
        def test_it(number): pass
        """
    assert said(source) == [f"setup: test_it.py::test_by_hook: {words}", f"setup: test_it.py::test_it[1]: {words}"]


def test_a_list_on_a_case(said):
    source = """
        import unittest

        @pytest.mark.coop(backend=["epoll", "selectors"])
        class TestIt(unittest.TestCase):
            def test_it(self): pass
        """
    assert said(source) == [
        "setup: test_it.py::TestIt::test_it: @pytest.mark.coop(backend=[...]) with a list needs a test that can be parametrised, and a TestCaseFunction "
        "cannot. Name one backend, or make it a plain function."
    ]


def test_a_default_that_is_none(said, monkeypatch):
    monkeypatch.setenv("COOP_BACKEND", "nonesuch")
    assert said("@pytest.mark.coop\ndef test_it(): pass") == [
        f"setup: test_it.py::test_it cannot run in a task: there is no backend named 'nonesuch'; on offer are: epoll, selectors. {OFFERED}"
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("coop_mode=automatic", "coop_mode = automatic: there is no such mode; it is strict or auto."),
        ("coop_blocking=long", "coop_blocking = long: this is no number of seconds. Write, for instance, 0.1; or 0 for no limit."),
        (
            "coop_leaks=tasks socks sockets,",
            "coop_leaks: nothing can be left behind of the kind 'socks', 'sockets,'; the kinds are, with spaces between: "
            "tasks sockets subprocesses threads locks.",
        ),
        ("coop_deadlock=maybe", "coop_deadlock is neither true nor false."),
        ("coop_unjoined=2", "coop_unjoined is neither true nor false."),
    ],
)
def test_a_wrong_setting(pytester, setting, message):
    result = pytester.runpytest_inprocess("-pcoop", f"-o{setting}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [f"ERROR: {message}"]
