"""`coopcore <command>` finds its commands among the plugins' offers, and knows none itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import coopcore
from coopcore import _assemble
from coopcore.__main__ import KINDS, main
from coopcore.lowlevel import Offer


class Greeter:
    """A throw-away plugin with one good command and several bad ones."""

    @coopcore.hookimpl
    def coop_commands(self) -> list[Offer]:
        return [
            Offer("greet", f"{__name__}:greet", "greet whom the arguments name"),
            Offer("silent", f"{__name__}:silent", "return nothing"),
            Offer("broken", "no_such_module_anywhere:main", "cannot be imported"),
            Offer("futuristic", f"{__name__}:greet", "is too new", interface=99),
        ]


def greet(arguments: list[str]) -> int:
    print("hello", *arguments)
    return len(arguments)


def silent(arguments: list[str]) -> None:
    assert arguments == []


@pytest.fixture(autouse=True)
def greeter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugins of this process are the installed ones and `Greeter`."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[greet.__module__])
    found = _assemble.new_plugins()
    found.discover()
    found.add(Greeter(), "greeter", "coop-greeter")
    monkeypatch.setattr(_assemble, "_plugins", found)


def test_a_command_gets_the_remaining_arguments_and_its_status_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "--to", "you"]) == 2
    assert capsys.readouterr() == ("hello --to you\n", "")


def test_a_command_that_returns_nothing_has_ended_well() -> None:
    assert main(["silent"]) is None


def test_an_option_after_the_command_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "--help"]) == 1
    assert capsys.readouterr().out == "hello --help\n"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_without_a_command_it_lists_what_is_on_offer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"coopcore {coopcore.__version__}"
    assert lines[1].startswith("usage: coopcore <command>")
    assert [line.partition(":")[0] for line in lines[2:] if line and not line.startswith(" ")] == list(KINDS)
    assert "  greet                greet whom the arguments name" in lines
    assert [line for line in lines if line.startswith("  epoll ")]
    assert {"clock: the core's own (default)", "timers: the core's own (default)", "scheduler: the core's own (default)"} < set(lines)
    assert "none on offer" not in "".join(lines)


def test_the_arguments_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["coopcore", "greet", "all"])
    assert main() == 1
    assert capsys.readouterr().out == "hello all\n"


def test_an_unknown_command_is_an_error_that_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gret"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("coopcore: there is no command named 'gret'; on offer are: ")
    assert "greet" in err
    assert err.endswith(". Check the spelling, or install the distribution that offers it.\n") and "variable" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("name", "word"), [("broken", "no_such_module_anywhere"), ("futuristic", "interface 99")])
def test_a_command_that_cannot_be_used_is_one_line(name: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert "COOP_DISABLE_PLUGINS=greeter" in err
    assert err.count("\n") == 1


def test_the_core_knows_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_assemble, "_plugins", _assemble.new_plugins())
    assert _assemble.plugins().offers("command") == {}
    assert main(["greet"]) == 2


@pytest.mark.parametrize("start", [lambda: [sys.executable, "-m", "coopcore"], lambda: [str(Path(sys.executable).parent / "coopcore")]], ids=["-m", "script"])
def test_both_ways_to_start_it(start: Callable[[], list[str]]) -> None:
    done = subprocess.run([*start(), "--version"], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"coopcore {coopcore.__version__}\n", "")
    done = subprocess.run([*start(), "no-such-command"], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no-such-command" in done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_a_reader_that_has_had_enough_gets_no_traceback(option: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-m", "coopcore", option], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=50)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
