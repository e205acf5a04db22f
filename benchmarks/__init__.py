"""Benchmarks against gevent: ratios of CPU time, measured in one run. See README.md here."""
