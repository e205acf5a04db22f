"""What the patch warns of."""

from __future__ import annotations


class PatchWarning(RuntimeWarning):
    """Something existed before the program was patched, and goes on blocking the hub. `coop_plugins.patch.audit` says what, and by whom it was made."""
