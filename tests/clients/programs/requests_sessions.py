"""requests: by itself and with sessions."""

from __future__ import annotations

import io
from typing import Any

import harness
import requests
from harness import config, crowd
from requests.adapters import HTTPAdapter
from urllib3 import Retry


def session_of(**more: Any) -> requests.Session:
    """One whose pool makes who comes too late wait."""
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(**{"pool_maxsize": 100, "pool_block": True, **more}))
    session.verify = getattr(config, "ca", True)
    return session


def hundred() -> list[Any]:
    """The one function, a connection for each."""
    return crowd(lambda number: requests.get(config.url, verify=getattr(config, "ca", True)).text)


def hundred_in_a_session() -> list[Any]:
    with session_of() as session:
        return crowd(lambda number: session.get(config.url).text)


def reuse() -> list[Any]:
    """A hundred requests over ten connections; and cookies, which the session keeps."""
    with session_of(pool_maxsize=10) as session:
        ports = crowd(lambda number: session.get(config.url + "/port").text)
        return [len(ports), 1 <= len(set(ports)) <= 10]


def retries() -> list[Any]:
    with session_of(max_retries=Retry(3, backoff_factor=0.01, status_forcelist=[503])) as session:

        def work(number: int) -> list[str]:
            return [session.get(f"{config.url}/{page}/{config.name}{page}{number}/2").text for page in ("flaky", "drop")]

        found = crowd(work, 20)
        try:
            session.get(f"{config.url}/flaky/{config.name}/9")
        except requests.exceptions.RetryError as error:
            found.append(type(error).__name__)
        return found


def timeouts() -> list[Any]:
    with session_of(pool_maxsize=20) as session:

        def work(number: int) -> list[str]:
            found = []
            # To connect and to read have short times only where they come to nothing; of half a body the head is to come in time.
            for url, timeout in (
                (f"http://127.0.0.1:{config.deaf}/", (0.2, 20)),
                (config.url + config.path, (20, 0.2)),
                (config.url + config.half, (20, 2)),
            ):
                try:
                    session.get(url, timeout=timeout)
                except requests.exceptions.RequestException as error:
                    found.append(type(error).__name__)
            return [*found, str(session.get(config.url + "/port").status_code)]

        return crowd(work, 20)


def bodies() -> dict[str, Any]:
    with session_of() as session:
        with session.get(config.url + "/bytes/3000000", stream=True) as response:
            streamed = sum(len(piece) for piece in response.iter_content(65536))
        with session.get(config.url + "/chunked/1000", stream=True) as response:
            lines = sum(1 for _ in response.iter_lines())
        redirected = session.get(config.url + "/redirect/3")
        return {
            "ports": len({session.get(config.url + "/port").text for _ in range(3)}),
            "chunked": lines,
            "gzip": len(session.get(config.url + "/gzip/300000").content),
            "redirected": [len(redirected.history), redirected.url],
            "streamed": streamed,
            "upload": session.post(config.url + "/upload", data=io.BytesIO(b"\1" * 1_000_000)).json(),
            "upload in chunks": session.post(config.url + "/upload", data=(b"\1" * 1000 for _ in range(1000))).json(),
        }


def killed() -> list[Any]:
    """Tasks are killed, or time out, in the middle of a response. Afterwards the session is as good as before."""
    from coop_plugins.queue import Queue
    from coopcore import Timeout, killall, spawn

    reached: Queue[int] = Queue()
    with session_of(pool_maxsize=20) as session:

        def client(number: int) -> str:
            timeout = Timeout(45 if number % 2 else 0.2)
            try:
                with session.get(config.url + config.half, stream=True) as response:
                    reached.put(len(response.raw.read(10)))
                    timeout.start()  # not before: to come here may take a while
                    return response.text
            except Timeout:
                return "timed out"
            finally:
                timeout.close()

        tasks = [spawn(client, number) for number in range(20)]
        for _ in tasks:
            assert reached.get() == 10
        for task in tasks[::2]:
            assert task.get() == "timed out"
        killall(tasks)
        ends = {type(task.value).__name__ for task in tasks[1::2]}
        return [*ends, len(crowd(lambda number: session.get(config.url + "/port").text, 60))]


def late() -> list[Any]:
    return list(harness.late(hundred))


if __name__ == "__main__":
    harness.main(globals())
