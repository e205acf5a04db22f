"""http.client and urllib.request."""

from __future__ import annotations

import http.client
import ssl
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import harness
from harness import config, crowd


def tls() -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=config.ca) if hasattr(config, "ca") else None


def connect(timeout: float = 45) -> http.client.HTTPConnection:
    context = tls()
    if context is None:
        return http.client.HTTPConnection(config.host, config.port, timeout=timeout)
    return http.client.HTTPSConnection(config.host, config.port, timeout=timeout, context=context)


def hundred() -> list[str]:
    """Each on a connection of its own."""

    def client(number: int) -> str:
        connection = connect()
        connection.request("GET", config.path)
        with connection.getresponse() as response:
            body = response.read().decode()
        connection.close()
        return body

    return crowd(client)


def hundred_urllib() -> list[str]:
    def client(number: int) -> str:
        with urlopen(config.url, context=tls()) as response:
            return str(response.read().decode())

    return crowd(client)


def bodies() -> dict[str, object]:
    """One connection that is kept: its responses and uploads, of known length and in chunks."""
    connection = connect()

    def fetch(method: str, path: str, **more: object) -> str:
        connection.request(method, path, **more)
        return connection.getresponse().read().decode()

    found = {
        "ports": len({fetch("GET", "/port") for _ in range(3)}),
        "chunked": fetch("GET", "/chunked/1000").count("\n"),
        "big": len(fetch("GET", "/bytes/3000000")),
        "upload": fetch("POST", "/upload", body=b"\1" * 1_000_000),
        "upload in chunks": fetch("POST", "/upload", body=(b"\1" * 1000 for _ in range(1000)), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}),
    }
    connection.close()
    return found


def urllib_errors() -> list[str]:
    """A redirection is followed, an error of the server raised, a refused connection told."""
    found = []
    with urlopen(config.url + "/redirect/3") as response:
        found.append(response.url.rpartition("/")[2])
    try:
        urlopen(Request(config.url + "/flaky/urllib/1"))
    except HTTPError as error:
        found.append(f"{error.code} {error.read().decode()}")
        error.close()
    try:
        urlopen(f"http://127.0.0.1:{config.refused}/")
    except URLError as error:
        found.append(type(error.reason).__name__)
    return found


def timeouts() -> list[list[str]]:
    """All of a crowd run out of time together: at connecting, before the head of the response, in the middle of its body."""

    def client(number: int) -> list[str]:
        found = []
        for port, path in ((config.deaf, "/"), (config.port, config.path), (config.port, config.half)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.2)
            try:
                connection.request("GET", path)
                connection.getresponse().read()
            except OSError as error:
                found.append(type(error).__name__)
            finally:
                connection.close()
        return found

    return crowd(client, 20)


def killed() -> list[str]:
    """Tasks are killed in the middle of a response."""
    from coop_plugins.queue import Queue
    from coopcore import killall, spawn

    reached: Queue[int] = Queue()

    def client(number: int) -> None:
        connection = connect()
        try:
            connection.request("GET", config.path)
            response = connection.getresponse()
            reached.put(len(response.read(10)))
            response.read()
        finally:
            connection.close()

    tasks = [spawn(client, number) for number in range(20)]
    for _ in tasks:
        assert reached.get() == 10
    killall(tasks)
    return [type(task.value).__name__ for task in tasks]


def late() -> list[Any]:
    return list(harness.late(hundred))


if __name__ == "__main__":
    harness.main(globals())
