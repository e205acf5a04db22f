"""The scripts behind the Makefile: they choose a Python well, and say in one line when there is none; the demo runs the examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = ["awk", "dirname", "grep", "head", "ls", "make", "sh", "sort"]


class Machine:
    """A machine with nothing on PATH but the tools that the scripts may use, and the Pythons that a test puts there."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.bin = folder / "bin"
        self.tree = tree
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))

    def add(self, name: str, answer: str) -> Path:
        """A Python that answers the question that the script puts to it; with nothing, if it is not a supported one."""
        python = self.bin / name
        python.write_text(f"#!/bin/sh\necho '{answer}' | grep .\n")
        python.chmod(0o755)
        return python

    def ask(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = [str(self.tree / "scripts" / "pythons"), *command] if command[:1] != ("make",) else list(command)
        return subprocess.run(script, capture_output=True, text=True, timeout=50, cwd=self.tree, env={"PATH": str(self.bin), **environment})


@pytest.fixture
def machine(tmp_path: Path, tree: Path) -> Machine:
    return Machine(tmp_path, tree)


@pytest.mark.parametrize("command", [(), ("best",)])
def test_without_a_python_it_says_so_in_one_line(machine: Machine, command: tuple[str, ...]) -> None:
    machine.add("python3", "")
    done = machine.ask(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("coopcore needs CPython 3.11 or newer, and none was found on PATH: install it")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("target", ["demo", "test", "lint", "test-all", "coverage"])
def test_make_says_the_same(machine: Machine, target: str) -> None:
    done = machine.ask("make", target)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("coopcore needs CPython 3.11 or newer")
    assert len(done.stderr.splitlines()) == 2  # make adds that the target failed


def test_a_python_that_was_asked_for_and_is_too_old_is_named(machine: Machine) -> None:
    machine.add("python3", "3.12 /usr/bin/python3")
    old = machine.add("python3.8", "")
    done = machine.ask("best", PYTHON=str(old))
    assert done.returncode == 1
    assert f"PYTHON={old} is not one" in done.stderr


def test_the_best_is_python3_unless_it_is_too_old(machine: Machine) -> None:
    machine.add("python3.13", "3.13 /opt/python3.13")
    machine.add("python3.11", "3.11 /opt/python3.11")
    machine.add("python3", "")
    assert machine.ask("best").stdout == "3.13 /opt/python3.13\n"
    machine.add("python3", "3.12 /usr/bin/python3")
    assert machine.ask("best").stdout == "3.12 /usr/bin/python3\n"
    machine.add("python3", "3.15 /usr/bin/python3")
    assert machine.ask("best").stdout == "3.15 /usr/bin/python3\n"


def test_all_are_listed_once_newest_first(machine: Machine, tmp_path: Path) -> None:
    machine.add("python3", "3.11 /usr/bin/python3")
    machine.add("python3.11", "3.11 /usr/bin/python3.11")
    versions = tmp_path / "pyenv" / "versions"
    for name, answer in [("3.12.1", "3.12 /pyenv/3.12"), ("3.13.0", "3.13 /pyenv/3.13"), ("3.8.1", ""), ("3.15.0", "3.15 /pyenv/3.15")]:
        (versions / name / "bin").mkdir(parents=True)
        machine.add("sample", answer).rename(versions / name / "bin" / "python3")
    machine.add("pyenv", str(tmp_path / "pyenv"))
    done = machine.ask()
    assert done.stdout.splitlines() == ["3.13 /pyenv/3.13", "3.12 /pyenv/3.12", "3.11 /usr/bin/python3.11"]


# -- the demo -----------------------------------------------------------------------------------------------------------


def demo(tree: Path, *names: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COOP_")}
    command = [sys.executable, "-W", "error", str(tree / "scripts" / "demo.py"), *names]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tree, env=clean)


@pytest.mark.slow(reason="starts an interpreter for each example, one of them a server that is asked and interrupted")
@pytest.mark.timeout(120)
def test_the_demo_runs_examples_that_end_and_one_that_serves(tree: Path) -> None:
    pytest.importorskip("httptools", reason="the web example needs the extra demo")
    pytest.importorskip("werkzeug", reason="the web example needs the extra demo")
    done = demo(tree, "04_group", "09_")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    _, group, web = done.stdout.split("\n=== ")
    assert group.splitlines()[1:10] == ["bar"] * 3 + ["foo"] * 3 + ["fizz"] * 3
    assert "(12 requests at once; 12 saw their own path)" in web.splitlines()
    assert web.endswith("\n2 programs ran, all well\n")


def test_a_demo_of_nothing_fails(tree: Path) -> None:
    done = demo(tree, "no such example")
    assert (done.returncode, done.stdout, done.stderr) == (1, "\n0 programs ran, all well\n", "")
