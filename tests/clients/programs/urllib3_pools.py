"""urllib3: its pools, retries and timeouts."""

from __future__ import annotations

from typing import Any

import harness
import urllib3
from harness import config, crowd

ONCE = urllib3.Retry(0, redirect=0)


def hundred() -> list[Any]:
    """On one pool with room for all."""
    with urllib3.PoolManager(maxsize=100, block=True, retries=ONCE, **tls()) as http:
        return crowd(lambda number: http.request("GET", config.url).data.decode())


def tls() -> dict[str, Any]:
    return {"ca_certs": config.ca} if hasattr(config, "ca") else {}


def blocking_pool() -> list[Any]:
    """A hundred requests over ten connections; then one for whom there is none in time."""
    with urllib3.HTTPConnectionPool(config.host, config.port, maxsize=10, block=True, retries=ONCE) as pool:
        ports = crowd(lambda number: pool.request("GET", "/port").data)
        found = [len(ports), 1 <= len(set(ports)) <= 10, pool.num_connections <= 10]
    with urllib3.HTTPConnectionPool(config.host, config.port, maxsize=1, block=True, retries=ONCE) as pool:
        holder = pool.request("GET", "/bytes/100000", preload_content=False)
        try:
            pool.request("GET", "/port", pool_timeout=0.1)
        except urllib3.exceptions.EmptyPoolError as error:
            found.append(type(error).__name__)
        holder.read()
        holder.release_conn()
        found.append(pool.request("GET", "/port").status)
    return found


def retries() -> list[Any]:
    """After an error of the server, and after a connection that was closed without an answer; and the end of patience."""
    again = urllib3.Retry(3, backoff_factor=0.01, status_forcelist=[503])
    with urllib3.PoolManager(maxsize=20, block=True, retries=again) as http:

        def work(number: int) -> list[str]:
            return [http.request("GET", f"{config.url}/{page}/{config.name}{page}{number}/2").data.decode() for page in ("flaky", "drop")]

        found = crowd(work, 20)
        try:
            http.request("GET", f"{config.url}/flaky/{config.name}/9")
        except urllib3.exceptions.MaxRetryError as error:
            found.append(type(error.reason).__name__)
    return found


def timeouts() -> list[Any]:
    """At connecting, before the head and in the body; the pool has its place back each time."""
    connect, read = urllib3.Timeout(connect=0.2, read=20), urllib3.Timeout(connect=20, read=0.2)
    with urllib3.PoolManager(maxsize=20, block=True, retries=False) as http:

        def work(number: int) -> list[str]:
            found = []
            for url, timeout in ((f"http://127.0.0.1:{config.deaf}/", connect), (config.url + config.path, read), (config.url + config.half, read)):
                try:
                    http.request("GET", url, timeout=timeout)
                except urllib3.exceptions.HTTPError as error:
                    found.append(type(error).__name__)
            return [*found, str(http.request("GET", config.url + "/port").status)]

        return crowd(work, 20)


def bodies() -> dict[str, Any]:
    with urllib3.PoolManager(maxsize=1, block=True, **tls()) as http:

        def fetch(method: str, path: str, **more: Any) -> Any:
            return http.request(method, config.url + path, **more)

        found = {
            "ports": len({fetch("GET", "/port").data for _ in range(3)}),
            "chunked": fetch("GET", "/chunked/1000").data.count(b"\n"),
            "gzip": len(fetch("GET", "/gzip/300000").data),
            "redirected": fetch("GET", "/redirect/2").geturl(),
            "upload": fetch("POST", "/upload", body=b"\1" * 1_000_000).json(),
            "upload in chunks": fetch("POST", "/upload", body=(b"\1" * 1000 for _ in range(1000))).json(),
        }
        streamed = fetch("GET", "/bytes/3000000", preload_content=False)
        found["streamed"] = sum(len(piece) for piece in streamed.stream(65536))
        streamed.release_conn()
        return found


def killed() -> list[Any]:
    """Tasks are killed in the middle of a response. Afterwards all places of the pool are free."""
    from coop_plugins.queue import Queue
    from coopcore import killall, spawn

    reached: Queue[int] = Queue()
    with urllib3.PoolManager(maxsize=10, block=True, retries=ONCE) as http:

        def client(number: int) -> None:
            with http.request("GET", config.url + config.half, preload_content=False) as response:
                reached.put(len(response.read(10)))
                response.read()

        tasks = [spawn(client, number) for number in range(10)]
        for _ in tasks:
            assert reached.get() == 10
        killall(tasks)
        ends = [type(task.value).__name__ for task in tasks]
        return [*ends, len(crowd(lambda number: http.request("GET", config.url + "/port").data, 30))]


def late() -> list[Any]:
    return list(harness.late(hundred))


if __name__ == "__main__":
    harness.main(globals())
