"""The documents keep up with the code: blocks of Python parse, README's and some pages' run, links lead somewhere, `make` has the targets that are named.

And so do docstrings that number invariants: each invariant has a test of its name.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

TREE = Path(__file__).resolve().parents[2]
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "plugins/*.md", "tests/thirdparty/**/*.md", "examples/*.md") for path in TREE.glob(pattern))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    prints: str | None
    """What a block of Python prints: the block of `text` that follows it with at most one line between."""


def blocks_of(path: Path) -> list[Block]:
    page = path.read_text()
    found = list(FENCE.finditer(page))
    blocks = []
    for match, following in itertools.zip_longest(found, found[1:]):
        prints = None
        if following is not None and following[1] == "text" and len(page[match.end() : following.start()].strip().splitlines()) <= 1:
            prints = following[2]
        blocks.append(Block(str(path.relative_to(TREE)), page.count("\n", 0, match.start()) + 1, match[1], match[2], prints))
    return blocks


def python_blocks(paths: list[Path]) -> list[Block]:
    return [block for path in paths for block in blocks_of(path) if block.language == "python"]


def name(thing: object) -> str:
    return f"{thing.page}:{thing.line}" if isinstance(thing, Block) else str(thing)


@pytest.mark.parametrize("block", python_blocks(PAGES), ids=name)
def test_python_in_the_documents_parses(block: Block) -> None:
    ast.parse(block.text)


# The pages whose blocks of Python are programs.
RUN = [TREE / "README.md", TREE / "docs" / "scopes.md"]


@pytest.mark.parametrize("block", python_blocks(RUN), ids=name)
def test_python_in_these_pages_runs(block: Block, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", block.text], capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    if block.prints is not None:
        assert done.stdout.splitlines() == block.prints.splitlines()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TREE)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCE.sub("", path.read_text()))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_the_commands_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    named = {target for path in PAGES for target in re.findall(r"(?:^|`|\$ )make ([a-z-]+)", path.read_text(), re.MULTILINE)}
    assert {"demo", "test", "lint"} <= targets
    assert named - targets == set()


def test_there_are_pages() -> None:
    assert {"README.md", "CHANGELOG.md", "SECURITY.md", "docs/errors.md", "docs/hooks.md"} <= {str(path.relative_to(TREE)) for path in PAGES}


# -- invariants ---------------------------------------------------------------------------------------------------------

# Where the tests of a package's modules are.
TESTS_OF = {"coopcore": "tests/core", "plugins/coop_plugins": "tests/plugins", "coop_pytest": "tests/pytest", "tests/plugins/orders": "tests/plugins"}
# The module that speaks for its package: its tests bear the package's name alone.
SPEAKERS = {"socket/_core", "ssl/_socket", "wsgi/_server"}


class Invariants(NamedTuple):
    module: str
    numbers: list[int]
    pattern: str
    """What the label of a test of one of them matches, up to the number. A label is ``lock_invariant_1_...``: the names of the file and of the test."""

    def missing(self, labels: list[str]) -> list[int]:
        matches = [re.match(rf"{self.pattern}_invariants?((?:_and|_\d+)+)_", label) for label in labels]
        tested = {int(number) for match in matches if match is not None for number in re.findall(r"\d+", match[1])}
        return [number for number in self.numbers if number not in tested]


def pattern_of(module: str) -> str:
    """``x.py`` is tested in ``test_x.py`` or ``test_x_*.py``; ``p/x.py`` in those of ``p``, by ``test_x_invariant_1_...``, or in ``test_p_x.py``."""
    first, *rest = [part.lstrip("_") for part in module.split("/")]
    return first if module in SPEAKERS else "_".join([rf"{first}(?:_\w+)?", *rest])


def numbered(docstring: str) -> list[int]:
    _, _, listed = docstring.partition("Invariants\n==========\n")
    return [int(number) for number in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]


def folder_of(package: str) -> Path:
    """Where its modules are: in the tree, or installed, when the tests run away from the sources; helpers of the tests are always beside them."""
    if package.startswith("tests/"):
        return TREE / package
    spec = find_spec(package.rpartition("/")[2])
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def invariants_of(package: str) -> list[Invariants]:
    found = []
    folder = folder_of(package)
    for path in sorted(folder.rglob("*.py")):
        numbers = numbered(ast.get_docstring(ast.parse(path.read_text())) or "")
        if numbers:
            module = path.relative_to(folder).with_suffix("").as_posix()
            found.append(Invariants(module, numbers, pattern_of(module)))
    return found


@functools.cache
def labels_in(folder: str) -> list[str]:
    labels = []
    for path in (TREE / folder).glob("test_*.py"):
        names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        labels += [f"{path.stem.removeprefix('test_')}_{test.removeprefix('test_')}" for test in names if test.startswith("test_")]
    return labels


NUMBERED = [(package, invariants) for package in TESTS_OF for invariants in invariants_of(package)]


@pytest.mark.parametrize(("package", "invariants"), NUMBERED, ids=[f"{package}/{invariants.module}" for package, invariants in NUMBERED])
def test_every_invariant_has_a_test_of_its_name(package: str, invariants: Invariants) -> None:
    assert invariants.numbers == list(range(1, len(invariants.numbers) + 1))
    assert invariants.missing(labels_in(TESTS_OF[package])) == [], f"{package}/{invariants.module}.py promises them in its docstring"


def test_each_package_numbers_some_invariants() -> None:
    assert {package for package, _ in NUMBERED} == set(TESTS_OF)
    assert {"_assemble", "_state", "lock/_lock", "wsgi/_request", "backends/epoll", "_watchdog"} <= {invariants.module for _, invariants in NUMBERED}
    assert all(text.count("Invariants\n==========") <= 1 for text in (path.read_text() for package in TESTS_OF for path in folder_of(package).rglob("*.py")))


@pytest.mark.parametrize(
    ("module", "label", "missing"),
    [
        ("_lot", "lot_invariant_1_tasks_are_woken", [2]),
        ("pool", "pool_model_invariants_1_and_2_hold", []),
        ("_lot", "timers_invariant_1_tasks_are_woken", [1, 2]),
        ("_lot", "lot_invariant_11_tasks_are_woken", [1, 2]),
        ("_lot", "lot_says_what_it_is", [1, 2]),
        ("wsgi/_request", "wsgi_request_request_invariant_2_nothing", [1]),
        ("wsgi/_request", "wsgi_response_invariant_2_nothing", [1, 2]),
        ("wsgi/_request", "wsgi_invariant_2_nothing", [1, 2]),
        ("wsgi/_server", "wsgi_invariant_2_nothing", [1]),
        ("wsgi/_server", "wsgi_request_invariant_2_nothing", [1, 2]),
        ("socket/_resolve", "socket_resolve_invariant_2_nothing", [1]),
        ("backends/epoll", "backends_epoll_invariant_1_known", [2]),
        ("backends/epoll", "backends_selectors_invariant_1_known", [1, 2]),
    ],
)
def test_the_search_for_the_tests_of_a_module(module: str, label: str, missing: list[int]) -> None:
    assert Invariants(module, [1, 2], pattern_of(module)).missing([label]) == missing
