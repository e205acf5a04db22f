"""What differs of files, `select` and `os`."""

from __future__ import annotations

import importlib
import io
import os
import socket
import subprocess
from typing import Any


def module(lib: Any, ours: str, gevents: str) -> Any:
    return importlib.import_module(f"coop_plugins.{ours}" if lib.ours else f"gevent.{gevents}")


def test_what_a_file_object_is(lib: Any) -> None:
    """A file object is read as any file is."""
    row = "`FileObject` and its kin are functions that return files of `io`"
    files = module(lib, "file", "fileobject")
    reader, writer = os.pipe()
    with files.FileObject(reader, "rb") as reading, files.FileObject(writer, "wb") as writing:
        writing.write(b"line\n")
        writing.flush()
        assert reading.readline() == b"line\n"
        assert isinstance(reading, io.BufferedReader) is lib.differ(row, gevent=False, ours=True)
        assert isinstance(files.FileObject, type) is lib.differ(row, gevent=True, ours=False)


def test_urgent_data(lib: Any) -> None:
    """The three lists of select."""
    select = module(lib, "select", "select").select
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            waiting = lib.spawn(select, [], [], [far], 60 if lib.ours else 0.1)
            lib.settle()
            near.send(b"!", socket.MSG_OOB)
            assert waiting.get() == lib.differ("`select.select` tells urgent data, the third list", gevent=([], [], []), ours=([], [], [far]))


def test_any_child(lib: Any, log: Any) -> None:
    """waitpid of any child. (gevent's blocks the thread only where it has no libev, so both let others run here.)"""
    assert lib.differ("`os.waitpid(-1, 0)` and process groups park", gevent="may block", ours="parks") in ("may block", "parks")
    if not lib.ours:
        return  # it would take children of other tests, and block for them
    child = subprocess.Popen(["sleep", "0.05"], process_group=0)
    waiting = lib.spawn(module(lib, "os", "os").waitpid, -child.pid, 0)
    lib.settle()
    log.append("others ran")
    assert waiting.get() == (child.pid, 0)
    child.returncode = 0
    assert log == ["others ran"]
