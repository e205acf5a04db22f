"""The contract of a plugin's hooks and `protocols.Offer`: what it offers can be found, imported and made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from .. import hookspecs
from ..protocols import INTERFACE_VERSION, Backend, Clock, Network, Offer, Resolver, Scheduler, TimerQueue

_SEAMS: dict[str, Any] = {
    "coop_backends": Backend,
    "coop_networks": Network,
    "coop_resolvers": Resolver,
    "coop_clocks": Clock,
    "coop_timers": TimerQueue,
    "coop_schedulers": Scheduler,
    "coop_primitives": None,
    "coop_commands": None,
}
_MARK = f"{hookspecs.PROJECT}_impl"  # what hookimpl leaves on a function


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


class OfferContract:
    """Subclass it, and set ``plugin`` to the dotted name of the module that your entry point names."""

    plugin: str

    def _module(self) -> ModuleType:
        return import_module(self.plugin)

    def _hooks(self) -> list[str]:
        return [name for name, value in vars(self._module()).items() if getattr(value, _MARK, None) is not None]

    def _offers(self) -> Iterator[tuple[str, Any]]:
        for hook in self._hooks():
            if hook in _SEAMS:
                for offer in getattr(self._module(), hook)():
                    yield hook, offer

    def test_it_implements_a_hook(self) -> None:
        assert self._hooks(), f"no function of {self.plugin} is marked with coopcore.hookimpl: this plugin does nothing"

    def test_each_hook_exists(self) -> None:
        unknown = [name for name in self._hooks() if not callable(getattr(hookspecs, name, None))]
        assert not unknown, f"{', '.join(unknown)}: no such hook in coopcore.hookspecs. Is it misspelt?"

    def test_each_offer_is_an_offer(self) -> None:
        for hook, offer in self._offers():
            assert isinstance(offer, Offer), f"{hook}() returned {offer!r}, where a coopcore.lowlevel.Offer is wanted"
            assert offer.name == offer.name.strip() != "", f"{offer!r} needs a name, without blanks around it"
            assert all(offer.target.partition(":")), f"the target of {offer!r} is 'package.module:attribute'"
            assert len(offer.summary.strip().splitlines()) == 1, f"{offer!r} needs a summary of one line"
            assert 1 <= offer.interface <= INTERFACE_VERSION, f"{offer!r} asks for interface {offer.interface}; this coopcore has {INTERFACE_VERSION}"

    def test_names_are_unique(self) -> None:
        seen: set[tuple[str, str]] = set()
        for hook, offer in self._offers():
            assert (hook, offer.name) not in seen, f"{hook}() offers {offer.name!r} twice"
            seen.add((hook, offer.name))

    def test_each_target_can_be_imported(self) -> None:
        for _, offer in self._offers():
            target = _load(offer.target)
            assert callable(target), f"the target of {offer!r} is {target!r}, which cannot be called"

    def test_each_target_makes_what_its_seam_wants(self) -> None:
        for hook, offer in self._offers():
            protocol = _SEAMS[hook]
            if protocol is not None:
                made = _load(offer.target)()
                assert isinstance(made, protocol), f"{offer!r} makes {made!r}, which lacks part of coopcore.protocols.{protocol.__name__}"
                if hook == "coop_backends":
                    made.close()

    def test_offering_imports_no_target(self) -> None:
        """In a process of its own: every start of every program pays for what this imports."""
        targets = sorted({offer.target.partition(":")[0] for _, offer in self._offers()} - {self.plugin})
        hooks = sorted({hook for hook, _ in self._offers()})
        program = (
            f"import sys, importlib; m = importlib.import_module({self.plugin!r}); [list(getattr(m, h)()) for h in {hooks!r}]; "
            f"print(','.join(t for t in {targets!r} if t in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{self.plugin} could not be imported by a fresh interpreter: {done.stderr}"
        loaded = done.stdout.strip()
        assert not loaded, f"to make the offers of {self.plugin} imports {loaded}; name targets as strings, and import nothing"
