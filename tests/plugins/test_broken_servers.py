"""What broke the servers and ``coopcore serve`` when somebody tried to: each test is of one mistake that they had."""

from __future__ import annotations

import os
import re
import signal
import socket as stdlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("httptools")

from coop_plugins import serve, socket
from coop_plugins.pool import Pool
from coop_plugins.server import DatagramServer, StreamServer, parse_address
from coop_plugins.wsgi import Limits, WSGIServer
from coopcore import joinall, spawn
from tests.plugins.test_server import on

__all__ = ["on"]  # a fixture

Run = Callable[[Callable[[], Any]], Any]


def handle(*args: Any) -> None:
    """Does nothing."""


@pytest.mark.parametrize("listener", [("127.0.0.1", 80.5), "127.0.0.1:8_0", "127.0.0.1: 80", "127.0.0.1:\u0668\u0660", "127.0.0.1", ("127.0.0.1", None)])
def test_what_is_nearly_a_port_is_none(listener: Any) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        parse_address(listener)


def test_a_unix_socket_without_a_path_is_none() -> None:
    with pytest.raises(ValueError, match="the path of a Unix socket is missing"):
        parse_address("unix:")


@pytest.mark.parametrize(("server", "kind"), [(StreamServer, socket.SOCK_DGRAM), (DatagramServer, socket.SOCK_STREAM)])
def test_a_socket_of_the_other_kind_is_refused(server: Any, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as listener, pytest.raises(ValueError, match="StreamServer for SOCK_STREAM"):
        server(listener, handle)


def test_two_tasks_may_stop_a_server(on: Run) -> None:
    """The second one found no listener any more, in the middle of looking for clients that wait."""

    @on
    def body() -> None:
        with StreamServer(("127.0.0.1", 0), handle, spawn=3) as server:
            server.start()
            joinall([spawn(server.stop) for _ in range(3)], raise_error=True)
            assert server.closed


def test_a_class_of_pools_is_no_pool() -> None:
    """It has all the methods, and accepting would have failed at the first client."""
    with pytest.raises(TypeError, match=r"that is the class. Give one of its objects, such as Pool\(1000\)"):
        StreamServer(("127.0.0.1", 0), handle, spawn=Pool)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("{folder}/file", "Something else than a socket stands there"),
        ("{folder}/not/there", "Its folder is not there"),
        ("{folder}/" + "long" * 50, "some 100 bytes at most"),
        ("192.0.2.1:0", "This machine has no such address"),
    ],
)
def test_an_address_that_cannot_be_had_says_why(on: Run, tmp_path: Path, address: str, words: str) -> None:
    (tmp_path / "file").write_text("precious")

    @on
    def body() -> None:
        for kind in (StreamServer, DatagramServer):
            with pytest.raises(OSError, match=words):
                kind(address.format(folder=tmp_path), handle).start()

    assert (tmp_path / "file").read_text() == "precious"


def test_the_file_of_a_unix_socket_that_cannot_be_removed_holds_up_nobody(on: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> None:
        raise PermissionError(path)

    @on
    def body() -> None:
        server = StreamServer(str(tmp_path / "socket"), handle)
        server.start()
        with monkeypatch.context() as patching:
            patching.setattr(os, "unlink", refuse)
            server.close()
        assert server.closed
        with StreamServer(str(tmp_path / "socket"), handle) as next_one:
            next_one.start()


@pytest.mark.parametrize("name", ["missing", "text"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(OSError, match=f"no certificate and key can be read of .*/{name}"):
        StreamServer(("127.0.0.1", 0), handle, certfile=str(tmp_path / name))


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Does nothing."""


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Does nothing."""


@pytest.mark.parametrize("application", [asgi, Asgi()])
def test_an_application_for_asgi_is_refused(application: Any) -> None:
    with pytest.raises(TypeError, match="is async, so for ASGI"):
        WSGIServer(("127.0.0.1", 0), application)


@pytest.mark.parametrize("value", [float("inf"), 1e300])
def test_a_limit_that_no_clock_can_count_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="limit idle_timeout"):
        Limits(idle_timeout=value)


# -- coopcore serve -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shop_of_breakers.py", "is a file, and the name of its module is wanted: shop_of_breakers"),
        ("shop_of_breakers.py:app", "is wanted: shop_of_breakers:app"),
        ("./shop_of_breakers:app", "such as shop_of_breakers:app"),
        ("shops/one.py:app", "such as shops.one:app"),
        ("", "'' is no name of a module"),
        (":app", "'' is no name of a module"),
        (".shop_of_breakers", "is no name of a module"),
        ("shop_of_breakers:app(1)", "a factory is called without arguments"),
        ("shop_of_breakers:app(", "a factory is called without arguments"),
        ("shop_of_breakers:app()", "Is it the application? Then leave () out."),
        ("shop_of_breakers:make", "Is it a factory? Then write shop_of_breakers:make()."),
        ("shop_of_breakers:three", "Is it one for ASGI"),
        ("shop_of_breakers:ap", "Is it spelt right? There is app."),
    ],
)
def test_what_names_no_application_is_told_so(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop_of_breakers.py").write_text("def app(environ, start_response): ...\ndef make(): ...\ndef three(scope, receive, send): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert serve.main(["--no-patch", name]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(f"coopcore serve: .*{re.escape(words)}.*\n", said), said


@pytest.mark.parametrize("error", ["KeyError('DATABASE_URL')", "ValueError('x')", "TypeError('x')", "ImportError('x')"])
def test_an_error_of_the_application_itself_comes_out_with_its_own_traceback(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that is missing in the environment is a LookupError, and was told in one line that named nothing."""
    module = f"failing_{error[:5].lower()}"
    (tmp_path / f"{module}.py").write_text(f"raise {error}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert serve.main(["--no-patch", module]) == 1
    first, second, third, *_, last = capsys.readouterr().err.splitlines()
    assert first == f"coopcore serve: {module} could not be imported:"
    assert second.startswith("Traceback")
    assert f"{module}.py" in third
    assert last == error.replace("('x')", ": x").replace("(", ": ").replace(")", "")


def test_an_application_that_gevent_has_patched_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(saved={"select": {}}))  # type: ignore[arg-type]  # as much of a module as is looked at
    assert serve.main(["--no-patch", "os:path.join"]) == 2
    assert "take gevent.monkey.patch_all() out of it" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--connections", "0"), ("--backlog", "-1"), ("--backlog", "x")])
def test_what_is_no_number_of_connections_is_told_by_the_options_name(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.main(["site", option, value])
    assert f"argument {option}: invalid number above 0 value" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"backlog": -1}, {"backlog": "x"}, {"backlog": True}, {"ssl_context": 1}])
def test_arguments_of_a_server_are_named(options: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(options))}="):
        StreamServer(("127.0.0.1", 0), handle, **options)


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_a_grace_that_is_no_span_of_time_is_refused_before_it_serves(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.main(["site", "--graceful", seconds])
    assert "argument --graceful: invalid number of seconds" in capsys.readouterr().err


def test_every_limit_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert set(serve._LIMITS) == {field.name for field in fields(Limits)}
    for field in fields(Limits):
        assert f"{serve._LIMITS[field.name]} (default: {field.default})" in said


def test_a_trusted_proxy_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop_behind_proxies.py").write_text("def app(environ, start_response): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert serve.main(["--no-patch", "--quiet", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "nobody", "shop_behind_proxies"]) == 2
    assert "trusted_proxies: 'nobody' does not appear to be" in capsys.readouterr().err


def test_without_httptools_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['httptools'] = None\nfrom coop_plugins.serve import main\nsys.exit(main(['shop']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(r"coopcore serve: .* it is not installed: pip install httptools \(.*\)\n", done.stderr), done.stderr


@pytest.mark.slow(reason="starts a server in a process of its own")
def test_who_interrupts_is_told_what_is_waited_for_and_may_interrupt_that(tmp_path: Path) -> None:
    """The first Ctrl-C was silent for up to 30 seconds, the second one gave a traceback."""
    (tmp_path / "waiting.py").write_text(
        "import time\ndef app(environ, start_response):\n    print('at work', file=__import__('sys').stderr, flush=True)\n    time.sleep(1000)\n"
    )
    command = [sys.executable, "-m", "coopcore", "serve", "--quiet", "--bind", "127.0.0.1:0", "waiting"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://127.0.0.1:(\d+), process", process.stderr.readline())
        assert found is not None
        with stdlib.create_connection(("127.0.0.1", int(found[1])), timeout=60) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert process.stderr.readline() == "at work\n"
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline() == "coopcore serve: 1 to answer, in at most 30 s; a further signal ends at once\n"
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            assert said.startswith("coopcore serve: interrupted while it answered the last requests\n")
            assert "Traceback" not in said
            assert process.wait(60) == 130
