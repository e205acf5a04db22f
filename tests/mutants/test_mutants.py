"""The tests find faults: each mutant of `mutants.toml` is a fault in one of our primitives, and the tests that the table names fail on it.

A mutant is tried on a copy of the packages, by pytest in a process of its own, which says whether the copy is what it imported. The same tests pass
on a copy without a fault. ``make mutants`` tries all of them; the ordinary run tries a sample, and looks at every mutant whether it is still one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import coop_plugins
import coop_pytest
import coopcore

TESTS = Path(__file__).resolve().parents[1]
PACKAGES = {Path(package.__file__).parent.name: Path(package.__file__).parent for package in (coopcore, coop_plugins, coop_pytest)}

# Every file of primitives; each has mutants.
PRIMITIVES = {f"coopcore/_{name}.py" for name in ("state", "task", "lot", "timers", "timeout", "wait", "inbox", "hub")}
PRIMITIVES |= {f"coop_plugins/{name}.py" for name in ("event", "pool", "local", "scope")}
PRIMITIVES |= {f"coop_plugins/lock/{name}.py" for name in ("_line", "_lock", "_semaphore", "_condition", "_barrier")}
PRIMITIVES |= {f"coop_plugins/threading/{name}.py" for name in ("_where", "_lock", "_queue", "_threads")}
PRIMITIVES |= {f"coop_plugins/queue/{name}.py" for name in ("_simple", "_queue", "_orders", "_channel")}

A_TEST = 20  # seconds that a test may take before it counts as hanging
ALL_TESTS = 60  # seconds for all that a mutant is tried on, should even the end of a single test not come
ON_A_SLOW_MACHINE = 10  # times as many may it be where nothing is to hang

# Loaded by the pytest that runs the tests: what was imported of our packages, and from where.
WITNESS = """
import sys
from pathlib import Path

import hypothesis

# An example that fails is enough: nobody reads it, and to make it small takes long.
hypothesis.settings.register_profile("mutants", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate], database=None)
hypothesis.settings.load_profile("mutants")

def pytest_sessionfinish(session):
    files = [Path(module.__file__) for name, module in list(sys.modules.items()) if name.partition(".")[0] in PACKAGES and module.__file__]
    Path("imported").write_text("".join(f"{file}\\n" for file in files))
"""


class Mutant(NamedTuple):
    """A row of the table."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    caught_by: list[str]

    def source(self) -> str:
        """The text of its file, with the fault."""
        package, _, rest = self.file.partition("/")
        text = (PACKAGES[package] / rest).read_text()
        old, new = self.old.removesuffix("\n"), self.new.removesuffix("\n")
        found = text.count(old)
        assert found == 1, f"stale mutant {self.name!r}: what it replaces is found {found} times in {self.file}. Write it anew: {self.breaks}"
        return text.replace(old, new)


MUTANTS = [Mutant(**row) for row in tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())["mutant"]]
USED = sorted({test for mutant in MUTANTS for test in mutant.caught_by})
SAMPLE = ["a permit is lost on a killed waiter", "unfair getters", "a timer swallows a wake"]

each = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


class Ran(NamedTuple):
    """What came of a run of tests: the exit status, None if it did not end; what it printed; the files of our packages that it imported."""

    status: int | None
    output: str
    imported: list[Path]

    def first_failed(self) -> str:
        return next((line.rpartition("/tests/")[2] for line in self.output.splitlines() if line.startswith("FAILED ")), "")

    def hung(self) -> bool:
        return self.status is None or "Timeout (>" in self.output


def run_tests(folder: Path, files: list[str], mutant: Mutant | None) -> Ran:
    """Run test files against a copy of the packages in ``folder``."""
    patience = ON_A_SLOW_MACHINE if mutant is None else 1
    for name, package in PACKAGES.items():
        shutil.copytree(package, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        (folder / mutant.file).write_text(mutant.source())
    (folder / "witness.py").write_text(f"PACKAGES = {list(PACKAGES)}\n{WITNESS}")
    # The copy comes first on the path of this process, since it is where it runs, and of those that the tests start.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_", "COOP_"))}
    environment |= {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-c", str(TESTS.parent / "pyproject.toml"), "-x", "-q", "--color=no", "-p", "no:cacheprovider", "-p", "witness"]
    command += ["--tb=line", f"--timeout={A_TEST * patience}", *(str(TESTS / file) for file in files)]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=ALL_TESTS * patience)
    except subprocess.TimeoutExpired as late:
        return Ran(None, (late.stdout or b"").decode(errors="replace"), [])
    imported = folder / "imported"
    return Ran(done.returncode, done.stdout, [Path(line) for line in imported.read_text().splitlines()] if imported.exists() else [])


def catch(mutant: Mutant, folder: Path, note: Callable[[str, object], None]) -> None:
    ran = run_tests(folder, mutant.caught_by, mutant)
    assert ran.status != 0, f"{mutant.name!r} survived {', '.join(mutant.caught_by)}. {mutant.breaks} No test notices."
    assert ran.status in (1, None), f"{mutant.name!r}: its tests did not run (status {ran.status}):\n{ran.output[-3000:]}"
    if ran.imported:  # a test that hangs may end the whole process
        check_is_of_the_copy(ran, folder)
        assert folder / mutant.file in ran.imported
    assert ran.first_failed() or ran.hung(), ran.output[-3000:]
    note("caught", f"{mutant.name}: {'by a hang: ' if ran.hung() else ''}{ran.first_failed() or 'the run did not end'}")


def check_is_of_the_copy(ran: Ran, folder: Path) -> None:
    assert {"coopcore"} <= {file.relative_to(folder).parts[0] for file in ran.imported} <= set(PACKAGES)


@each
def test_it_is_still_a_mutant(mutant: Mutant) -> None:
    compile(mutant.source(), mutant.file, "exec")
    assert mutant.caught_by
    assert [test for test in mutant.caught_by if not (TESTS / test).is_file()] == []


def test_every_primitive_has_mutants() -> None:
    assert {mutant.file for mutant in MUTANTS} == PRIMITIVES
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20


@pytest.mark.mutants
@pytest.mark.timeout(ALL_TESTS + 20)
@each
def test_it_is_caught(mutant: Mutant, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    catch(mutant, tmp_path, record_property)


@pytest.mark.mutants
@pytest.mark.timeout(ALL_TESTS * ON_A_SLOW_MACHINE + 20)
@pytest.mark.parametrize("file", USED)
def test_without_a_fault_its_tests_pass(file: str, tmp_path: Path) -> None:
    ran = run_tests(tmp_path, [file], None)
    assert ran.status == 0, ran.output[-3000:]
    check_is_of_the_copy(ran, tmp_path)


@pytest.mark.slow(reason="each mutant is tried by a pytest of its own")
@pytest.mark.timeout(ALL_TESTS + 20)
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_caught(name: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]
    catch(mutant, tmp_path, record_property)


@pytest.mark.slow(reason="each mutant is tried by a pytest of its own")
@pytest.mark.timeout(ALL_TESTS + 20)
def test_a_mutant_that_changes_nothing_survives(tmp_path: Path) -> None:
    line = '"""ParkingLot: tasks'
    harmless = Mutant("harmless", "Nothing.", "coopcore/_lot.py", line, line, ["core/test_lot.py"])
    with pytest.raises(AssertionError, match="'harmless' survived core/test_lot.py. Nothing. No test notices"):
        catch(harmless, tmp_path, lambda *_: None)


def test_a_stale_mutant_says_so() -> None:
    with pytest.raises(AssertionError, match="stale mutant 'old': what it replaces is found 0 times"):
        Mutant("old", "Nothing.", "coopcore/_lot.py", "this is not there", "", []).source()
