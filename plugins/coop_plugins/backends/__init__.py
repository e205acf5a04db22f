"""Backends: what becomes ready, and when. Chosen by name: ``COOP_BACKEND``, ``run(backend=...)``, or a test's mark."""
