"""The contract of a plugin's offers: each of its tests finds a fault. The plugins are modules made for the purpose."""

from __future__ import annotations

import sys

import pytest

from coopcore import testing
from coopcore.testing import OfferContract, failures

from .seams.mutants import untried

HEAD = "from coopcore.lowlevel import Offer, hookimpl\n"
TARGETS = """
class Backend:
    edge_triggered = False
    def watch(self, fd, events): pass
    def unwatch(self, fd): pass
    def poll(self, timeout): return ()
    def wake(self): pass
    def fileno(self): return None
    def close(self): pass
class HalfBackend:
    def close(self): pass
def command(args): return 0
number = 5
"""
GOOD = """
@hookimpl
def coop_backends():
    return [Offer("fine", "made_targets:Backend", "as it should be")]
@hookimpl
def coop_commands():
    return [Offer("do", "made_targets:command", "does it")]
"""
MUTANTS = [
    ("x = 1", ["test_it_implements_a_hook"]),
    (GOOD.replace("coop_commands", "coop_comands"), ["test_each_hook_exists"]),
    (GOOD.replace('Offer("do", ', '("do", '), ["test_each_offer_is_an_offer"]),
    (GOOD.replace('"does it"', '""'), ["test_each_offer_is_an_offer"]),
    (GOOD.replace('"do"', '" do"'), ["test_each_offer_is_an_offer"]),
    (GOOD.replace("made_targets:command", "made_targets"), ["test_each_offer_is_an_offer"]),
    (GOOD.replace('"does it"', '"does it", 99'), ["test_each_offer_is_an_offer"]),
    (GOOD.replace('"does it")', '"does it"), Offer("do", "made_targets:command", "again")'), ["test_names_are_unique"]),
    (GOOD.replace(":command", ":comand"), ["test_each_target_can_be_imported"]),
    (GOOD.replace(":command", ":number"), ["test_each_target_can_be_imported"]),
    (GOOD.replace(":Backend", ":HalfBackend"), ["test_each_target_makes_what_its_seam_wants"]),
    ("import made_targets\n" + GOOD, ["test_offering_imports_no_target"]),
]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Makes a plugin module of some text, and the contract for it."""

    def make(text):
        (tmp_path / "made_targets.py").write_text(TARGETS)
        (tmp_path / "made_plugin.py").write_text(HEAD + text)
        return type("Made", (OfferContract,), {"plugin": "made_plugin"})

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield make
    for name in ("made_plugin", "made_targets"):
        sys.modules.pop(name, None)


def test_a_sound_plugin_passes(plugin):
    assert not failures(plugin(GOOD))


@pytest.mark.parametrize(("text", "tests"), MUTANTS, ids=lambda value: value[0][5:] if isinstance(value, list) else "")
def test_the_contract_finds_a_fault(text, tests, plugin):
    assert set(tests) <= set(failures(plugin(text), only=lambda name: name in tests))


def test_each_test_of_the_contract_can_fail():
    assert not untried(OfferContract, MUTANTS)


@pytest.mark.parametrize("name", sorted(name for name in testing.__all__ if hasattr(getattr(testing, name), "make")))
def test_a_contract_that_was_not_told_what_to_make_says_so(name):
    with pytest.raises(NotImplementedError, match=r"a contract is subclassed, with a make\(\) that returns a new"):
        getattr(testing, name)().make()
