"""Built-in plugins stand alone: each works although others cannot be imported. The edges that are allowed are those of import-linter's contract.

Two ways. Quick: with one blocked, all that don't need it import. Thorough, in `make soak`: the tests of each pass while everything is blocked that it
has no business with, so they also pass with any one other plugin blocked.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import coop_plugins

TREE = Path(__file__).resolve().parents[2]
MODULES = [
    info.name.removeprefix("coop_plugins.")
    for info in pkgutil.walk_packages(coop_plugins.__path__, "coop_plugins.")
    if info.name.count(".") == 1 or info.name.startswith("coop_plugins.backends.")
]

# Argument 1: what cannot be imported; the others: what must be. A failed import names the module.
IMPORT_WITHOUT = """
import sys
from importlib import import_module

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == blocked or name.startswith(blocked + "."):
            raise ModuleNotFoundError(f"{name} is blocked by the test", name=name)

blocked = sys.argv[1]
sys.meta_path.insert(0, Blocked())
for module in sys.argv[2:]:
    import_module(module)
import coopcore
print("imported", len(sys.argv) - 2)
"""


def allowed_edges() -> set[tuple[str, str]]:
    """Which plugin may import which, by their first names, ``*`` for any; from the contract in pyproject.toml."""
    contracts = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = [line for contract in contracts for line in contract.get("ignore_imports", ())]
    pairs = [line.replace("coop_plugins.", "").replace(".**", "").split(" -> ") for line in lines]
    return {(importer, imported) for importer, imported in pairs}


def dependents(module: str) -> set[str]:
    """The plugins that may need this one, at any remove."""
    edges = allowed_edges()
    found = {module}
    while more := {importer for importer, imported in edges if imported in found or imported == "*"} - found:
        found |= more
    return found


def needs(module: str) -> set[str]:
    """What a plugin may need, at any remove."""
    return {other for other in (name.split(".")[0] for name in MODULES) if module in dependents(other)}


def tests_of(module: str) -> list[Path]:
    """Those of the folder itself: what stands in folders of their own tries all of them together."""
    return sorted(path for pattern in ("test_{}.py", "test_{}_*.py") for path in (TREE / "tests" / "plugins").glob(pattern.format(module)))


def test_the_contract_says_what_may_be_imported() -> None:
    assert ("pool", "lock") in allowed_edges()
    assert dependents("socket") >= {"socket", "server", "wsgi"}
    assert dependents("backends.epoll") == {"backends.epoll", "gunicorn", "patch", "serve"}
    assert needs("pool") == {"pool", "lock", "event", "queue"}


@pytest.mark.parametrize("blocked", MODULES)
def test_the_others_import_without(blocked: str) -> None:
    unaffected = [name for name in MODULES if name.split(".")[0] not in dependents(blocked) and name != blocked and not name.startswith(blocked + ".")]
    command = [sys.executable, "-c", IMPORT_WITHOUT, *(f"coop_plugins.{name}" for name in [blocked, *unaffected])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"imported {len(unaffected)}\n", "")


@pytest.mark.soak
@pytest.mark.timeout(500)
@pytest.mark.parametrize("module", sorted({name.split(".")[0] for name in MODULES if tests_of(name.split(".")[0])} - {"clock"}))  # how all the others follow it
def test_its_tests_pass_without_the_others(module: str) -> None:
    environment = {**os.environ, "COOP_TEST_ONLY": " ".join(sorted({"_offers", "backends", "clock", *needs(module)}))}  # time jumps in many tests
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, tests_of(module))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=480, cwd=TREE, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
