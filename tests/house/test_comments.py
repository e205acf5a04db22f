"""A suppressed warning says why, in the same line."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:\s*no\s*(cover|branch)|nosec)", re.IGNORECASE)
WITH_REASON = re.compile(r"#\s*(noqa:\s*[A-Z]+[0-9]++(,\s*[A-Z]+[0-9]++)*+|type:\s*ignore\[[\w, -]++\]|pragma:\s*no\s*(cover|branch))\W+\w.*\w", re.IGNORECASE)
FOLDERS = ("coopcore", "coop_pytest", "plugins", "tests", "examples", "benchmarks", "scripts")


def unexplained(path: Path) -> list[str]:
    with tokenize.open(path) as file:
        comments = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
    return [f"{path.name}:{token.start[0]}: {token.string}" for token in comments if SUPPRESSION.search(token.string) and not WITH_REASON.search(token.string)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_suppression_has_a_code_and_a_reason(tree: Path, folder: str) -> None:
    assert [line for path in sorted((tree / folder).rglob("*.py")) for line in unexplained(path)] == []


def test_the_search_finds_what_it_must(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text("a = 1  # noqa\nb = 2  # noqa: E501\nc = 3  # type: ignore\nd = 4  # noqa: E501 - a table\ne = 5  # type: ignore[misc]  # a proxy\n")
    assert [line.split(":")[1] for line in unexplained(sample)] == ["1", "2", "3"]
