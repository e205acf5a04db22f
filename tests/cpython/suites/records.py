"""What came out under gevent and with the standard library, recorded in ``recorded-3.13.txt`` and the like, and what is held against it.

The rule: a test that passed under gevent in every recorded run passes under coopcore, or stands in ``left_out.toml`` with its reason. A test that passed in
some runs only, *unsteady*, is held against nobody. If it is steady under gevent and unsteady with the standard library, the test itself races: it
may be tried three times.

The machine that runs the comparison may lack what the one that recorded had: IPv6, a module of the kernel, a right. So what fails the rule is run once
more with the standard library, and what does not pass there either is not held against us; it is named.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from . import ways
from .runner import END, OUTCOMES, PASSED, Outcome, run

HERE = Path(__file__).resolve().parents[1]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
MOST_LEFT_OUT = 15  # of a module
ATTEMPTS = 3
UNSTEADY = "unsteady"

_HEAD = """\
# What CPython's own tests gave under gevent, and with the standard library; of several runs that differed, each outcome.
# Written by `python tests/cpython record`, which says how in its --help.
"""

Outcomes = Mapping[str, Outcome]
Run = Callable[..., dict[str, Outcome]]


def short(module: str, test: str) -> str:
    """The id of a test without its module's name."""
    return test.removeprefix(f"test.{module}.")


@dataclass
class Record:
    """What is recorded for one Python."""

    python: str = ""
    gevent: str = ""
    outcomes: dict[str, dict[str, dict[str, set[str]]]] = field(default_factory=dict)
    """By module, short id, and way."""

    def add(self, module: str, way: str, outcomes: Outcomes) -> None:
        """Take in one more run."""
        of_module = self.outcomes.setdefault(module, {})
        for test, outcome in outcomes.items():
            of_module.setdefault(short(module, test), {}).setdefault(way, set()).add(outcome.what)

    def of(self, module: str, way: str) -> dict[str, set[str]]:
        return {test: by_way[way] for test, by_way in self.outcomes.get(module, {}).items() if way in by_way}

    def passed(self, module: str, way: str) -> set[str]:
        """What passed in every run."""
        return {test for test, seen in self.of(module, way).items() if seen == {PASSED}}

    def unsteady(self, module: str, way: str) -> set[str]:
        return {test for test, seen in self.of(module, way).items() if len(seen) > 1}

    def counts(self, module: str, way: str, tests: Container[str] | None = None) -> Counter[str]:
        """How many of each outcome there are, among some tests or all."""
        chosen = [seen for test, seen in self.of(module, way).items() if tests is None or test in tests]
        return Counter(UNSTEADY if len(seen) > 1 else next(iter(seen)) for seen in chosen)

    def write(self, path: Path) -> None:
        lines = [f"{_HEAD}python {self.python}, gevent {self.gevent}\n"]
        for module, of_module in self.outcomes.items():
            lines.append(f"\n[{module}]\n")
            for test, by_way in sorted(of_module.items()):
                lines.append(f"{_word(by_way, ways.GEVENT):9} {_word(by_way, ways.STANDARD):9} {test}\n")
        path.write_text("".join(lines))


def _word(by_way: Mapping[str, set[str]], way: str) -> str:
    return "/".join(outcome for outcome in OUTCOMES if outcome in by_way.get(way, ())) or "-"


def path_of(python: str = PYTHON) -> Path:
    return HERE / f"recorded-{python}.txt"


def read(path: Path) -> Record:
    record = Record()
    module = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            module = line.strip("[]")
            record.outcomes[module] = {}
        elif line.startswith("python "):
            record.python, record.gevent = (part.split(" ")[1] for part in line.split(", "))
        elif line and not line.startswith("#"):
            gevent, standard, test = line.split(maxsplit=2)
            seen = {ways.GEVENT: gevent, ways.STANDARD: standard}
            record.outcomes[module][test] = {way: set(words.split("/")) for way, words in seen.items() if words != "-"}
    return record


# -- what is left out ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeftOut:
    reason: str
    pythons: tuple[str, ...] = ()
    """Where it is left out; empty: everywhere."""
    unsteady: bool = False
    """It passes at times."""

    @property
    def here(self) -> bool:
        return not self.pythons or PYTHON in self.pythons


def read_left_out(path: Path = HERE / "left_out.toml") -> dict[str, dict[str, LeftOut]]:
    """By module and short id. An entry is a reason, or a table: ``{ reason = "...", pythons = ["3.13"], unsteady = true }``."""
    found: dict[str, dict[str, LeftOut]] = {}
    for module, entries in tomllib.loads(path.read_text()).items():
        found[module] = {}
        for test, entry in entries.items():
            table = {"reason": entry} if isinstance(entry, str) else entry
            found[module][test] = LeftOut(table["reason"], tuple(table.get("pythons", ())), table.get("unsteady", False))
    return found


# -- the comparison -----------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Of one module, run here, with what is recorded."""

    module: str
    outcomes: dict[str, Outcome]
    broken: dict[str, Outcome]
    """Passes under gevent, and does not here."""
    not_on_this_machine: list[str]
    """The same, but the standard library does not pass them either, here and now."""
    stale: list[str]
    """Left out, and passes."""
    counts: dict[str, Counter[str]]
    """Of each way: here, and as recorded for the tests that were run here."""


def compare(module: str, record: Record, left_out: Mapping[str, LeftOut], *, only: Iterable[str] = (), way: str = ways.OURS, run: Run = run) -> Comparison:
    """Run a module under coopcore, or those of its tests that match a pattern of ``only``, and hold it to the rule. Blocks until all have ended."""
    patterns = [f"test.{module}.{pattern}" for pattern in only]
    passed = record.passed(module, ways.GEVENT)
    ran = run(f"test.{module}", way, only=patterns, expected=lambda test: short(module, test) in passed)
    outcomes = {short(module, test): outcome for test, outcome in ran.items()}
    chosen = outcomes.keys() if patterns else outcomes.keys() | record.of(module, ways.GEVENT).keys()
    excused = {test for test, entry in left_out.items() if entry.here}
    missing = Outcome("missing", "there is no such test here")
    failed = {test: outcomes.get(test, missing) for test in sorted((passed & chosen) - excused)}
    failed = {test: outcome for test, outcome in failed.items() if outcome.what != PASSED}
    racing = record.unsteady(module, ways.STANDARD) & failed.keys()
    for _ in range(ATTEMPTS - 1):
        for test in racing & _passing(run, module, way, racing & failed.keys()):
            del failed[test]
    here = {END} | _passing(run, module, ways.STANDARD, failed.keys() - {END})
    return Comparison(
        module,
        outcomes,
        broken={test: outcome for test, outcome in failed.items() if test in here},
        not_on_this_machine=[test for test in failed if test not in here],
        stale=[test for test in excused if test in outcomes and outcomes[test].what == PASSED and not left_out[test].unsteady],
        counts={
            way: Counter(outcome.what for outcome in outcomes.values()),
            **{other: record.counts(module, other, chosen) for other in (ways.GEVENT, ways.STANDARD)},
        },
    )


def _passing(run: Run, module: str, way: str, tests: Set[str]) -> set[str]:
    """Which of some tests pass, apart from all others, in a process of their own."""
    if not tests:
        return set()
    outcomes = run(f"test.{module}", way, only=sorted({name for test in tests for name in (test, f"test.{module}.{test}")}))
    return {short(module, test) for test, outcome in outcomes.items() if outcome.what == PASSED}


def table(rows: Iterable[tuple[str, Mapping[str, Mapping[str, int]]]]) -> str:
    """Counts, a line for each module and way: from names of modules, and `Comparison.counts`."""
    columns = (*OUTCOMES, UNSTEADY)
    lines = [f"{f'CPython {PYTHON}':34}{''.join(f'{column:>9}' for column in columns)}"]
    total: dict[str, Counter[str]] = {way: Counter() for way in ways.WAYS}
    for module, counts in [*rows, ("all", total)]:
        for way in ways.WAYS:
            lines.append(f"{module if way == ways.OURS else '':22}{way:12}{''.join(f'{counts[way].get(column) or chr(45):>9}' for column in columns)}")
            if counts is not total:
                total[way].update(counts[way])
    return "\n".join(lines)
