"""What an import costs, told by what it loads. How long it takes is for `python -m benchmarks.startup`."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
import greenlet, pluggy
before = set(sys.modules)
import {module}
print(*sorted(set(sys.modules) - before))
"""


def loaded_by(module: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOADED.format(module=module)], capture_output=True, text=True, timeout=50, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["coopcore", "coopcore.lowlevel"])
def test_an_import_of_the_core_stays_small(module: str) -> None:
    loaded = loaded_by(module)
    assert "coopcore._hub" in loaded
    heavy = {
        "asyncio",
        "importlib.metadata",
        "inspect",
        "logging",
        "multiprocessing",
        "pytest",
        "selectors",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "typing",
    }
    assert loaded & heavy == set()
    assert {name for name in loaded if name.split(".")[0] in ("coop_plugins", "coop_pytest")} == set()


def test_a_hub_without_tls_never_imports_ssl() -> None:
    program = "import sys, coopcore; coopcore.run(coopcore.sleep, 0); print(*sorted({'ssl', 'asyncio', 'socket', 'pytest'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert set(done.stdout.split()) <= {"socket"}


def test_plugins_without_tls_never_import_ssl() -> None:
    modules = ("event", "file", "lock", "os", "pool", "queue", "scope", "select", "selectors", "server", "socket", "subprocess", "wsgi")
    program = "import sys\n" + "".join(f"import coop_plugins.{module}\n" for module in modules) + "print('ssl' in sys.modules, '_ssl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_discovery_waits_for_the_first_hub() -> None:
    program = (
        "import sys, coopcore\n"
        "print('importlib.metadata' in sys.modules, 'coop_plugins._offers' in sys.modules)\n"
        "coopcore.get_hub()\n"
        "print('importlib.metadata' in sys.modules, 'coop_plugins._offers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.splitlines() == ["False False", "True True"]
