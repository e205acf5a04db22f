"""The runner of CPython's tests notes what happens to each, whatever happens; the comparison holds to its rule."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from suites import records, runner, ways
from suites.records import LeftOut, Record, compare
from suites.runner import END, ERROR, FAILED, HUNG, IMPORT, PASSED, SKIPPED, Outcome, run

Toy = Callable[..., dict[str, Outcome]]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Runs a module of this text, and gives the outcomes by names without the module's."""

    def run_it(text: str, way: str = ways.STANDARD, *, only: tuple[str, ...] = (), limit: float = 30) -> dict[str, Outcome]:
        (tmp_path / "toy.py").write_text(f"import os, sys, time, unittest\nFOLDER = {str(tmp_path)!r}\n{text}")
        outcomes = run("toy", way, only=only, limit=limit, path=[str(tmp_path)])
        return {test.removeprefix("toy."): outcome for test, outcome in outcomes.items()}

    return run_it


def words(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {test: outcome.what for test, outcome in outcomes.items()}


def test_each_outcome_is_noted(toy: Toy) -> None:
    outcomes = toy("""
class T(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.fail("on purpose")
    def test_errs(self): 1 / 0
    def test_skips(self): self.skipTest("why not")
    @unittest.skip("by a mark")
    def test_is_skipped(self): pass
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail()
    @unittest.expectedFailure
    def test_passes_by_surprise(self): pass
    def test_fails_in_part(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)
    def test_errs_in_part(self):
        with self.subTest(): 1 / 0
    def test_errs_in_its_clean_up(self): self.addCleanup(lambda: 1 / 0)
    def test_skips_and_errs(self):
        self.addCleanup(lambda: 1 / 0)
        self.skipTest("why not")
""")
    assert words(outcomes) == {
        "T.test_passes": PASSED,
        "T.test_fails": FAILED,
        "T.test_errs": ERROR,
        "T.test_skips": SKIPPED,
        "T.test_is_skipped": SKIPPED,
        "T.test_fails_as_expected": PASSED,
        "T.test_passes_by_surprise": FAILED,
        "T.test_fails_in_part": FAILED,
        "T.test_errs_in_part": ERROR,
        "T.test_errs_in_its_clean_up": ERROR,
        "T.test_skips_and_errs": ERROR,
        END: PASSED,
    }
    assert [outcomes[f"T.{test}"].line for test in ("test_fails", "test_errs", "test_skips", "test_is_skipped")] == [
        "AssertionError: on purpose",
        "ZeroDivisionError: division by zero",
        "why not",
        "by a mark",
    ]


def test_fixtures_that_fail_fail_their_tests(toy: Toy) -> None:
    outcomes = toy("""
class Bad(unittest.TestCase):
    @classmethod
    def setUpClass(cls): 1 / 0
    def test_a(self): pass
    def test_b(self): pass

class Skipped(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("not here")
    def test_a(self): pass

class Worse(unittest.TestCase):
    @classmethod
    def tearDownClass(cls): 1 / 0
    def test_a(self): pass
""")
    expected = {"Bad.test_a": ERROR, "Bad.test_b": ERROR, "Skipped.test_a": SKIPPED, "Worse.test_a": PASSED, "tearDownClass (toy.Worse)": ERROR, END: PASSED}
    assert words(outcomes) == expected
    assert outcomes["Skipped.test_a"].reason == "not here"
    assert "ZeroDivisionError" in outcomes["Bad.test_b"].reason


def test_a_fixture_of_the_module_that_fails_fails_all(toy: Toy) -> None:
    outcomes = toy("def setUpModule(): 1 / 0\nclass T(unittest.TestCase):\n def test(self): pass")
    assert words(outcomes) == {"T.test": ERROR, END: PASSED}


@pytest.mark.slow(reason="waits until a test counts as one that hangs")
def test_one_that_hangs_is_ended_and_the_others_run(toy: Toy) -> None:
    outcomes = toy(
        """
class T(unittest.TestCase):
    def test_1(self): print("said before")
    def test_2(self): time.sleep(1000)
    def test_3(self): pass
""",
        limit=2,
    )
    assert words(outcomes) == {"T.test_1": PASSED, "T.test_2": HUNG, "T.test_3": PASSED, END: PASSED}
    assert outcomes["T.test_2"].line == "it hung: no end after 2 s"
    assert "in test_2" in outcomes["T.test_2"].reason  # its stack
    assert "said before" in outcomes["T.test_2"].reason


@pytest.mark.slow(reason="waits until a test counts as one that hangs")
def test_one_that_is_not_expected_to_pass_has_less_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SHORT_LIMIT", 0.5)
    (tmp_path / "toy.py").write_text("import time, unittest\nclass T(unittest.TestCase):\n def test(self): time.sleep(1000)")
    outcomes = run("toy", ways.STANDARD, path=[str(tmp_path)], expected=lambda test: False)
    assert outcomes["toy.T.test"].line == "it hung: no end after 0.5 s"


@pytest.mark.slow(reason="waits until a test counts as one that hangs")
def test_one_that_hangs_before_it_begins_is_ended_as_well(toy: Toy) -> None:
    text = "class S(unittest.TestCase):\n def test(self): pass\n"
    text += "class T(unittest.TestCase):\n @classmethod\n def setUpClass(cls): time.sleep(1000)\n def test(self): pass"
    assert words(toy(text, limit=2)) == {"S.test": PASSED, "T.test": HUNG}


def test_one_that_takes_the_process_with_it_costs_itself_only(toy: Toy) -> None:
    outcomes = toy("""
class T(unittest.TestCase):
    def test_1(self): os._exit(3)
    def test_2(self): os.abort()
    def test_3(self): pass
""")
    assert words(outcomes) == {"T.test_1": ERROR, "T.test_2": ERROR, "T.test_3": PASSED, END: PASSED}
    assert [outcomes[test].line for test in ("T.test_1", "T.test_2")] == ["the process ended with status 3", "the process ended with status -6"]


@pytest.mark.slow(reason="waits until a test counts as one that hangs")
def test_a_process_that_does_not_end_is_noted(toy: Toy) -> None:
    outcomes = toy(
        "import threading\nclass T(unittest.TestCase):\n def test(self): threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()", limit=2
    )
    assert words(outcomes) == {"T.test": PASSED, END: HUNG}


def test_a_process_that_ends_badly_is_noted(toy: Toy) -> None:
    outcomes = toy("import atexit\natexit.register(os._exit, 5)\nclass T(unittest.TestCase):\n def test(self): pass")
    assert words(outcomes) == {"T.test": PASSED, END: ERROR}
    assert outcomes[END].line == "the process ended with status 5"


def test_a_module_that_cannot_be_imported_and_one_that_skips_itself(toy: Toy) -> None:
    broken = toy("1 / 0")
    assert words(broken) == {IMPORT: ERROR}
    assert "ZeroDivisionError" in broken[IMPORT].reason
    assert toy("raise unittest.SkipTest('not on this platform')") == {IMPORT: Outcome(SKIPPED, "not on this platform"), END: Outcome(PASSED)}


def test_nothing_that_a_test_started_survives(toy: Toy, tmp_path: Path) -> None:
    outcomes = toy("""
import subprocess
class T(unittest.TestCase):
    def test(self):
        for number in range(2):
            process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=number)
            os.dup(process.stdin.fileno())
            with open(f"{FOLDER}/pid{number}", "w") as file:
                file.write(str(process.pid))
            process.returncode = 0
""")
    assert words(outcomes) == {"T.test": PASSED, END: PASSED}
    for number in range(2):
        pid = int((tmp_path / f"pid{number}").read_text())
        deadline = time.monotonic() + 20
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_fork_that_escapes_from_its_test_reports_nothing(toy: Toy) -> None:
    outcomes = toy("""
class T(unittest.TestCase):
    def test_1(self):
        pid = os.fork()
        if pid:
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 70)
    def test_2(self): pass
""")
    assert words(outcomes) == {"T.test_1": PASSED, "T.test_2": PASSED, END: PASSED}


def test_some_can_be_chosen_and_none_has_the_name_of_another(toy: Toy) -> None:
    text = """
class T(unittest.TestCase):
    def test_a(self): pass
    def test_b(self): pass
def load_tests(loader, tests, pattern):
    tests.addTest(T("test_a"))
    return tests
"""
    assert words(toy(text)) == {"T.test_a": PASSED, "T.test_b": PASSED, "T.test_a#2": PASSED, END: PASSED}
    assert words(toy(text, only=("toy.T.*b", "toy.T.*2"))) == {"T.test_b": PASSED, "T.test_a#2": PASSED, END: PASSED}


SOCKETS = {ways.STANDARD: "socket", ways.OURS: "coop_plugins.socket", ways.GEVENT: "gevent._socket3"}


@pytest.mark.slow(reason="imports gevent in an interpreter of its own")
@pytest.mark.parametrize("way", ways.WAYS)
def test_the_module_sees_what_a_program_would(toy: Toy, way: str) -> None:
    outcomes = toy(
        """
import socket
from test import support
class T(unittest.TestCase):
    def test(self):
        self.assertFalse(support.is_resource_enabled("network"))
        self.assertTrue(support.is_resource_enabled("walltime"))
        self.assertEqual(os.path.dirname(os.getcwd()), os.path.dirname(os.environ["TMPDIR"]))
        self.assertNotIn("suites", sys.modules)
        self.assertEqual([folder for folder in sys.path if "suites" in folder], [])
        self.skipTest(socket.socket.__module__)
""",
        way,
    )
    assert outcomes["T.test"].what == SKIPPED, outcomes["T.test"].reason
    assert outcomes["T.test"].reason.startswith(SOCKETS[way])


def test_its_temporary_folder_is_gone(toy: Toy) -> None:
    outcomes = toy("class T(unittest.TestCase):\n def test(self): self.skipTest(os.environ['TMPDIR'])")
    assert os.path.basename(outcomes["T.test"].reason) == "tmp"
    assert not os.path.exists(os.path.dirname(outcomes["T.test"].reason))


# -- the record ---------------------------------------------------------------------------------------------------------


def recorded(**outcomes: tuple[str, str]) -> Record:
    """Of a module `m`: by test, what it gave under gevent, and what with the standard library."""
    record = Record("3.13.0", "26.9.0", {"m": {}})
    for test, seen in outcomes.items():
        record.outcomes["m"][test] = {way: set(each.split("/")) for way, each in zip((ways.GEVENT, ways.STANDARD), seen, strict=True)}
    return record


def test_a_record_can_be_read_again_and_runs_that_differ_are_kept(tmp_path: Path) -> None:
    record = Record("3.13.0", "26.9.0")
    for what in (PASSED, HUNG):
        record.add("m", ways.GEVENT, {"test.m.T.steady": Outcome(PASSED), "test.m.T.unsteady": Outcome(what), END: Outcome(PASSED)})
    record.add("m", ways.STANDARD, {"test.m.T.steady": Outcome(SKIPPED, "why")})
    record.write(tmp_path / "record")
    again = records.read(tmp_path / "record")
    assert again == record
    assert again.passed("m", ways.GEVENT) == {"T.steady", END}
    assert again.unsteady("m", ways.GEVENT) == {"T.unsteady"}
    assert again.counts("m", ways.GEVENT) == {PASSED: 2, "unsteady": 1}
    assert again.counts("m", ways.GEVENT, {"T.steady"}) == {PASSED: 1}
    assert again.counts("m", ways.STANDARD) == {SKIPPED: 1}


class Runs:
    """Stands for `run`: what comes out by way, one after another; the last for ever."""

    def __init__(self, **outcomes: list[dict[str, str]]) -> None:
        self.outcomes = outcomes
        self.only: list[list[str]] = []
        self.expected: Callable[[str], bool] = bool

    def __call__(self, module: str, way: str, *, only: list[str], expected: Callable[[str], bool] | None = None) -> dict[str, Outcome]:
        assert module == "test.m"
        self.only.append(only)
        self.expected = expected or self.expected
        found = self.outcomes[way]
        return {f"test.m.{test}": Outcome(what) for test, what in (found.pop(0) if len(found) > 1 else found[0]).items()}


PASSES = (PASSED, PASSED)


def test_what_gevent_passes_must_pass() -> None:
    record = recorded(a=PASSES, b=PASSES, c=PASSES, d=PASSES, e=(FAILED, PASSED), f=("passed/hung", PASSED))
    runs = Runs(coopcore=[{"a": PASSED, "b": FAILED, "c": SKIPPED, "e": FAILED, "f": HUNG, "new": FAILED}], standard=[dict.fromkeys("abcdef", PASSED)])
    found = compare("m", record, {}, run=runs)
    assert words(found.broken) == {"b": FAILED, "c": SKIPPED, "d": "missing"}
    assert (found.stale, found.not_on_this_machine) == ([], [])
    assert [test for test in "abcdef" if runs.expected(f"test.m.{test}")] == ["a", "b", "c", "d"]
    assert found.counts[ways.OURS] == {PASSED: 1, FAILED: 3, SKIPPED: 1, HUNG: 1}
    assert found.counts[ways.GEVENT] == {PASSED: 4, FAILED: 1, "unsteady": 1}


def test_what_is_left_out_may_fail_and_must_not_pass() -> None:
    record = recorded(a=PASSES, b=PASSES, c=PASSES, d=PASSES, e=PASSES)
    left_out = {name: LeftOut("why") for name in "ab"} | {"c": LeftOut("why", unsteady=True), "d": LeftOut("why", pythons=("2.7",)), "e": LeftOut("why")}
    runs = Runs(coopcore=[{"a": FAILED, "b": PASSED, "c": PASSED, "d": PASSED}], standard=[dict.fromkeys("abcde", PASSED)])
    found = compare("m", record, left_out, run=runs)
    assert (found.broken, found.stale) == ({}, ["b"])
    assert runs.only == [[]]


def test_what_the_standard_library_does_not_pass_here_is_not_held_against_us() -> None:
    runs = Runs(coopcore=[{"a": SKIPPED, "b": FAILED}], standard=[{"a": SKIPPED, "b": PASSED}])
    found = compare("m", recorded(a=PASSES, b=PASSES), {}, run=runs)
    assert (found.not_on_this_machine, words(found.broken)) == (["a"], {"b": FAILED})


def test_only_a_test_that_races_may_be_tried_again() -> None:
    record = recorded(a=(PASSED, "passed/failed"), b=(PASSED, "passed/failed"), c=PASSES)
    ours = [{"a": FAILED, "b": FAILED, "c": FAILED}, {"a": PASSED, "b": FAILED}, {"b": FAILED, "c": PASSED}]
    runs = Runs(coopcore=ours, standard=[dict.fromkeys("bc", PASSED)])
    assert words(compare("m", record, {}, run=runs).broken) == {"b": FAILED, "c": FAILED}
    assert [len(only) // 2 for only in runs.only] == [0, 2, 1, 2]  # all; a and b again; b again; what is left, with the standard library


def test_a_part_is_compared_with_that_part() -> None:
    runs = Runs(coopcore=[{"a": PASSED}])
    found = compare("m", recorded(a=PASSES, b=PASSES), {}, only=["a*"], run=runs)
    assert (found.broken, runs.only) == ({}, [["test.m.a*"]])
    assert found.counts[ways.GEVENT] == {PASSED: 1}


def test_entries_that_are_left_out_are_reasons_or_tables(tmp_path: Path) -> None:
    path = tmp_path / "left_out.toml"
    path.write_text('[m]\n"T.a" = "so it is"\n"T.b" = { reason = "as well", pythons = ["2.7"], unsteady = true }\n')
    assert records.read_left_out(path) == {"m": {"T.a": LeftOut("so it is"), "T.b": LeftOut("as well", ("2.7",), True)}}
    assert LeftOut("").here
    assert not LeftOut("", ("2.7",)).here
    assert LeftOut("", (records.PYTHON,)).here


def test_the_table_adds_up() -> None:
    counts = {ways.OURS: {PASSED: 3, FAILED: 1}, ways.GEVENT: {PASSED: 2}, ways.STANDARD: {"unsteady": 1}}
    lines = records.table([("m", counts), ("n", counts)]).splitlines()
    assert lines[0].split() == ["CPython", records.PYTHON, *records.OUTCOMES, "unsteady"]
    assert [re.split(r"\s+", line.strip()) for line in lines[-3:]] == [
        ["all", "coopcore", "6", "-", "2", "-", "-", "-"],
        ["gevent", "4", "-", "-", "-", "-", "-"],
        ["standard", "-", "-", "-", "-", "-", "2"],
    ]
