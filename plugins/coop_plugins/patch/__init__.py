"""Makes the standard library cooperative: its blocking functions and classes are replaced by ours while a program is patched.

What stands in for what comes from the plugins (hook ``coop_patches``). `patch` patches for good, `patched` for a block; both can be nested, repeated and
undone. `audit` names what a patch cannot reach. ``coopcore run script.py`` patches before the script has imported anything: the way without surprises.
"""

from __future__ import annotations

from coopcore.lowlevel import hide_frames

from ._apply import Patching as Patching
from ._apply import is_patched as is_patched
from ._apply import original as original
from ._apply import patch as patch
from ._apply import patch_all as patch_all
from ._apply import patched as patched
from ._apply import unpatch as unpatch
from ._audit import Finding as Finding
from ._audit import audit as audit
from ._command import main as main
from ._errors import PatchWarning as PatchWarning
from ._tables import parts as parts

__all__ = ["Finding", "PatchWarning", "Patching", "audit", "is_patched", "main", "original", "parts", "patch", "patch_all", "patched", "unpatch"]

hide_frames(__file__)
