"""The floors of the design, as far as import-linter's contracts (pyproject.toml, run by `make lint`) cannot say them."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest

import coopcore

PUBLIC = {"coopcore", "coopcore.errors", "coopcore.hookspecs", "coopcore.lowlevel", "coopcore.protocols", "coopcore.testing"}
FOR_PYTEST = {"coop_plugins", "coop_plugins.clock", "coop_plugins.patch"}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("coopcore", "coop_plugins", "coop_pytest", include_external_packages=True, cache_dir=None)


def edges(graph: grimp.ImportGraph, importer: str, imported: str) -> set[tuple[str, str]]:
    """Every import of a module of one package in a module of the other, also those in functions and for type checkers."""
    return {
        (module, target)
        for module in graph.modules
        if module.split(".")[0] == importer
        for target in graph.find_modules_directly_imported_by(module)
        if target.split(".")[0] == imported
    }


@pytest.mark.parametrize("package", ["coop_plugins", "coop_pytest"])
def test_plugins_import_only_public_modules_of_the_core(imports: grimp.ImportGraph, package: str) -> None:
    used = edges(imports, package, "coopcore")
    assert used, f"{package} imports nothing of coopcore: the graph was not built"
    assert {edge for edge in used if edge[1] not in PUBLIC} == set()


def test_public_modules_are_all_there_are() -> None:
    names = {f"coopcore.{path.stem}" for path in Path(coopcore.__file__).parent.iterdir() if not path.stem.startswith("_") and path.suffix in ("", ".py")}
    assert names == PUBLIC - {"coopcore"}


def test_the_pytest_plugin_imports_only_the_plugins_that_it_may(imports: grimp.ImportGraph) -> None:
    assert {edge for edge in edges(imports, "coop_pytest", "coop_plugins") if edge[1] not in FOR_PYTEST} == set()


def test_only_the_contracts_of_the_core_may_need_more_than_its_dependencies(imports: grimp.ImportGraph) -> None:
    outside = {target for module in imports.modules if module.split(".")[0] == "coopcore" for target in imports.find_modules_directly_imported_by(module)}
    third_party = {name for name in outside if name in ("pytest", "hypothesis", "gevent", "httptools", "werkzeug", "coop_plugins", "coop_pytest")}
    assert third_party == set()


def code_strings(path: Path) -> list[str]:
    """Every string of a module but its docstrings."""
    module = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    return [node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose]


def test_the_core_names_no_plugin() -> None:
    files = sorted(Path(coopcore.__file__).parent.rglob("*.py"))
    assert len(files) > 10
    assert [(path.name, text) for path in files for text in code_strings(path) if "coop_plugins" in text] == []


def test_discovery_imports_strings_only(imports: grimp.ImportGraph) -> None:
    assert imports.find_modules_directly_imported_by("coop_plugins._offers") <= {"__future__", "coopcore.lowlevel", "coopcore"}
