"""The documents keep up with the code: blocks of Python parse, README's run, links lead somewhere, `make` has the targets that are named."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
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


@pytest.mark.parametrize("block", python_blocks([TREE / "README.md"]), ids=name)
def test_python_in_the_readme_runs(block: Block, tmp_path: Path) -> None:
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
