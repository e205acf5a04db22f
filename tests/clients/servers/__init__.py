"""Real servers, each a process of its own, and the programs that use them; nothing here is patched."""
