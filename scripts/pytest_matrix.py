"""Test the pytest plugin with other versions of pytest, and without other plugins: ``python scripts/pytest_matrix.py [name ...]``.

On each supported Python: the oldest versions that pyproject.toml allows, and the newest; and with each of these neither, one, and both of the two plugins, but
for the newest of all, which are what ``make test`` has. What is left out is not installed, which is more than ``-p no:timeout`` says. Each combination has a
virtual environment without pip, which takes a tenth of a second: a ``.pth`` file names the folders into which pip has put each package once. The package under
test is built, and installed, too.

With the oldest and both plugins all tests of tests/pytest run that aren't slow, elsewhere those of what depends on pytest most; several combinations at a time.
To be run by the Python of ``scripts/venv dev``. The status is 1 if any combination failed; names choose some of them: ``3.12 oldest``, ``newest+timeout``.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TREE = Path(__file__).resolve().parent.parent
JOBS = int(os.environ.get("JOBS") or 2)
PLUGINS = ("timeout", "xdist")
# Of tests/pytest, where not all of it runs.
SUITES = ("plugin", "hubs", "modes", "watchdog", "beside_doctest", "beside_unittest", "beside_verdicts", "beside_xdist")
SETTINGS = """
[pytest]
addopts = --import-mode=importlib -p pytester --strict-markers --strict-config -m "not slow and not soak"
filterwarnings = error
python_functions = test_*
markers =
    slow(reason): takes more than a second
    soak: takes minutes
    timeout: of pytest-timeout, which may be absent
"""


class Combination(NamedTuple):
    version: str  # of Python
    python: str
    age: str  # oldest or newest
    plugins: tuple[str, ...]

    def __str__(self) -> str:
        return "+".join([f"{self.version} {self.age}", *self.plugins])


def floors() -> dict[str, str]:
    """The oldest version that pyproject.toml allows of each requirement."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["pytest"], *project["optional-dependencies"]["dev"]]
    found = [re.fullmatch(r"([\w-]+)>=([\w.]+)", requirement) for requirement in requirements]
    return {match[1]: match[2] for match in found if match is not None}


def pip(target: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target", str(target), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def install(work: Path, pythons: dict[str, str]) -> None:
    """Put every package that some combination needs into a folder of its own."""
    oldest = floors()
    orders: list[tuple[Path, tuple[str, ...]]] = []
    for age in ("oldest", "newest"):

        def at(name: str, age: str = age) -> str:
            return f"{name}=={oldest[name]}" if age == "oldest" else name

        orders.append((work / f"{age}-pytest", (at("pytest"), at("pluggy"))))
        orders.append((work / f"{age}-timeout", ("--no-deps", at("pytest-timeout"))))
        orders.append((work / f"{age}-xdist", ("--no-deps", at("pytest-xdist"), "execnet")))
        for version in pythons:
            orders.append((work / f"{age}-greenlet-{version}", ("--no-deps", "--only-binary=:all:", "--python-version", version, at("greenlet"))))
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(work),
            str(TREE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise SystemExit(built.stdout + built.stderr)
    orders.append((work / "package", ("--no-deps", str(next(work.glob("*.whl"))))))
    with ThreadPoolExecutor(JOBS) as pool:
        for future in [pool.submit(pip, target, *arguments) for target, arguments in orders]:
            future.result()


def environment(work: Path, combination: Combination) -> Path:
    """Make a virtual environment. Returns its Python."""
    folder = work / str(combination).replace(" ", "-")
    subprocess.run([combination.python, "-m", "venv", "--without-pip", str(folder)], check=True)
    age = combination.age
    names = ["package", f"{age}-pytest", f"{age}-greenlet-{combination.version}", *(f"{age}-{plugin}" for plugin in combination.plugins)]
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "combination.pth").write_text("".join(f"{work / name}\n" for name in names))
    return folder / "bin" / "python"


def test(work: Path, combination: Combination) -> tuple[Combination, int, str, float]:
    """Run the tests. Returns the status, what was printed, and the seconds that it took."""
    began = time.monotonic()
    python = environment(work, combination)
    command = [str(python), "-m", "pytest", "-q", "-c", str(work / "matrix.ini"), "--rootdir", str(TREE), "-p", "no:cacheprovider"]
    command += ["--basetemp", str(work / f"temp-{combination}".replace(" ", "-"))]
    if "xdist" in combination.plugins:
        command.append("-n1")
    if "timeout" in combination.plugins:
        command.append("--timeout=60")
    tests = TREE / "tests" / "pytest"
    whole = (combination.age, combination.plugins) == ("oldest", PLUGINS)
    files = [tests] if whole else [tests / f"test_{suite}.py" for suite in SUITES]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, cwd=work, check=False, timeout=1800)
    return combination, done.returncode, done.stdout + done.stderr, time.monotonic() - began


def main() -> int:
    listed = subprocess.run([str(TREE / "scripts" / "pythons")], capture_output=True, text=True, check=True).stdout.splitlines()
    pythons = dict(line.split(" ", 1) for line in listed)
    sets = [chosen for number in range(len(PLUGINS) + 1) for chosen in itertools.combinations(PLUGINS, number)]
    combinations = [Combination(version, python, age, chosen) for version, python in pythons.items() for age in ("oldest", "newest") for chosen in sets]
    # `make test` runs with the newest of all.
    combinations = [each for each in combinations if (each.age, each.plugins) != ("newest", PLUGINS) and all(part in str(each) for part in sys.argv[1:])]
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "matrix.ini").write_text(SETTINGS)
        install(work, {version: pythons[version] for version in {each.version for each in combinations}})
        with ThreadPoolExecutor(JOBS + 1) as pool:  # they wait a third of the time
            for future in [pool.submit(test, work, each) for each in combinations]:
                combination, status, output, seconds = future.result()
                last = output.strip().splitlines()[-1] if output.strip() else "nothing was printed"
                print(f"{combination!s:28} {seconds:5.1f} s  {last.strip('= ')}", flush=True)
                if status:
                    failed.append(str(combination))
                    print(output)
    if failed:
        print("FAILED:", ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
