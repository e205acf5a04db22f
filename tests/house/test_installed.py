"""The tests test what they are meant to: the source tree, or, under `make wheel`, the installed wheel."""

from __future__ import annotations

import importlib
import os
import sysconfig
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import coopcore

PACKAGES = ["coopcore", "coop_plugins", "coop_pytest"]


@pytest.mark.parametrize("name", PACKAGES)
def test_the_packages_come_from_where_they_should(name: str, tree: Path) -> None:
    found = Path(importlib.import_module(name).__file__ or "").parent
    if os.environ.get("COOP_TEST_INSTALLED"):
        assert found.parent == Path(sysconfig.get_path("purelib"))
    else:
        assert found.is_relative_to(tree)


def test_the_metadata_say_what_the_design_says() -> None:
    installed = distribution("coopcore")
    assert installed.version == coopcore.__version__
    assert installed.metadata["License-Expression"] == "MIT"
    run_time = [requirement for requirement in installed.requires or () if "extra ==" not in requirement]
    assert sorted(requirement.split(">")[0] for requirement in run_time) == ["greenlet", "pluggy"]
    assert set(installed.metadata.get_all("Provides-Extra") or ()) >= {"pytest", "web", "demo", "dev"}


@pytest.mark.parametrize(("group", "name"), [("coopcore", "coop_plugins"), ("pytest11", "coop"), ("console_scripts", "coopcore")])
def test_the_entry_points_are_found(group: str, name: str) -> None:
    assert [point.load() is not None for point in entry_points(group=group, name=name)] == [True]
