"""CPython's own tests of what the patch replaces, run in a process of their own under one of three ways, test by test.

`ways` starts an interpreter; `child` runs in it, and reports each test; `runner` watches over it; `records` compares what came out, with what is
committed beside this package. ``python tests/cpython --help`` is the command, docs/cpython.md says what it is for.
"""

from __future__ import annotations

MODULES = (
    "test_socket",
    "test_ssl",
    "test_select",
    "test_selectors",
    "test_subprocess",
    "test_socketserver",
    "test_httplib",
    "test_threading",
    "test_threading_local",
    "test_queue",
)
