"""coop_plugins.selectors, and standard asyncio loops in tasks upon them, on an edge-triggered and a level-triggered backend."""

from __future__ import annotations

import asyncio
import fractions
import os
import selectors as stdlib
import socket
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins import selectors
from coopcore import TaskExit, Timeout, sleep, spawn
from coopcore.errors import BusyResourceError, ClosedResourceError

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]
NAMES = [name for name in ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector", "DevpollSelector") if hasattr(selectors, name)]
WITH_DESCRIPTOR = [name for name in NAMES if hasattr(getattr(selectors, name), "fileno")]


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    """``@on`` runs a function on a hub of its own; no descriptor, task or running loop may be left behind."""

    def run(body: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            before = set(os.listdir("/proc/self/fd"))
            with Timeout(20, AssertionError("the test hangs")):
                result = body()
            assert set(os.listdir("/proc/self/fd")) <= before
            assert asyncio._get_running_loop() is None
            assert tuple(sys.get_asyncgen_hooks()) == (None, None)
            return result

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return coopcore.run(guarded, backend=request.param)

    return run


@pytest.fixture(params=NAMES)
def make(request: pytest.FixtureRequest) -> Any:
    return getattr(selectors, request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def parked(*tasks: coopcore.Task[Any]) -> None:
    while not all(task.state == "parked" for task in tasks):
        assert not any(task.dead for task in tasks), "it has ended without waiting"
        sleep(0)


# -- selectors ----------------------------------------------------------------------------------------------------------


def test_every_name_of_the_standard_module_is_here() -> None:
    own = {name for name, thing in vars(stdlib).items() if getattr(thing, "__module__", "") == "selectors" and not name.startswith("_")}
    assert own | {"EVENT_READ", "EVENT_WRITE", "DefaultSelector"} <= set(selectors.__all__)
    assert selectors.BaseSelector is stdlib.BaseSelector
    assert selectors.SelectorKey is stdlib.SelectorKey


def test_they_are_standard_selectors(make: Any) -> None:
    assert issubclass(make, getattr(stdlib, make.__name__))
    assert selectors.DefaultSelector.__name__ == stdlib.DefaultSelector.__name__
    assert issubclass(selectors.DefaultSelector, stdlib.DefaultSelector)
    assert selectors.DefaultSelector.__module__ == "coop_plugins.selectors"


def test_select_parks_and_the_others_run(on: Run, make: Any, pair: Any) -> None:
    @on
    def body() -> None:
        one, other = pair
        with make() as selector:
            key = selector.register(one, selectors.EVENT_READ, "data")
            task = spawn(selector.select)
            parked(task)
            other.send(b"x")
            assert task.get(timeout=5) == [(key, selectors.EVENT_READ)]
            assert key == (one, one.fileno(), selectors.EVENT_READ, "data")


def test_invariant_1_what_is_ready_or_may_not_wait_does_not_park(on: Run, make: Any, pair: Any) -> None:
    @on
    def body() -> None:
        one, _ = pair
        results: list[Any] = []
        with make() as selector:

            def look() -> None:
                results.append(selector.select(0))
                results.append(selector.select(-1))
                results.append(selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE))
                results.append(selector.select())

            task = spawn(look)
            while not task.dead:
                assert task.state != "parked"
                sleep(0)
            key = results[2]
            assert results == [[], [], key, [(key, selectors.EVENT_WRITE)]]


def test_modify_and_unregister(on: Run, make: Any, pair: Any) -> None:
    @on
    def body() -> None:
        one, other = pair
        with make() as selector:
            selector.register(one, selectors.EVENT_READ)
            assert selector.select(0.01) == []
            key = selector.modify(one, selectors.EVENT_WRITE)
            assert selector.select() == [(key, selectors.EVENT_WRITE)]
            assert selector.get_key(one) == key
            selector.unregister(one)
            assert selector.select(0.01) == []
            assert len(selector.get_map()) == 0
            with pytest.raises(KeyError):
                selector.unregister(other)
            with pytest.raises(ValueError, match="Invalid"):
                selector.register(object(), selectors.EVENT_READ)


def test_timeout_and_kill(on: Run, make: Any, pair: Any) -> None:
    @on
    def body() -> None:
        one, other = pair
        with make() as selector:
            key = selector.register(one, selectors.EVENT_READ)
            before = time.monotonic()
            assert selector.select(0.02) == []
            assert 0.02 <= time.monotonic() - before < 5
            with pytest.raises(Timeout), Timeout(0.01):
                selector.select()
            task = spawn(selector.select)
            parked(task)
            task.kill()
            assert isinstance(task.get(), TaskExit)
            other.send(b"x")
            assert selector.select() == [(key, selectors.EVENT_READ)]


@pytest.mark.parametrize(
    ("timeout", "error"), [(float("nan"), ValueError), (float("inf"), OverflowError), (10**400, OverflowError), (1e300, OverflowError), ("1", TypeError)]
)
def test_a_timeout_that_is_none_is_refused_though_something_is_ready(on: Run, make: Any, pair: Any, timeout: Any, error: type[Exception]) -> None:
    @on
    def body() -> None:
        standard = getattr(stdlib, make.__name__)
        for each in (make, standard):
            with each() as selector:
                selector.register(pair[0], selectors.EVENT_WRITE)
                with pytest.raises(error):
                    selector.select(timeout)
                assert selector.select(fractions.Fraction(1, 2)) if each is make else True


@pytest.mark.parametrize("name", WITH_DESCRIPTOR)
def test_what_is_registered_while_a_task_waits_counts(on: Run, name: str, pair: Any) -> None:
    @on
    def body() -> None:
        with getattr(selectors, name)() as selector:
            task = spawn(selector.select)
            parked(task)
            assert task.waiting_on == f"what is registered in a {name}"
            key = selector.register(pair[0], selectors.EVENT_WRITE)
            assert task.get(timeout=5) == [(key, selectors.EVENT_WRITE)]


@pytest.mark.parametrize("name", WITH_DESCRIPTOR)
def test_two_tasks_in_one_selector(on: Run, name: str) -> None:
    @on
    def body() -> None:
        with getattr(selectors, name)() as selector:
            task = spawn(selector.select)
            parked(task)
            with pytest.raises(BusyResourceError):
                selector.select()
            task.kill()


@pytest.mark.parametrize("name", WITH_DESCRIPTOR)
def test_invariant_3_closing_wakes_who_waits(on: Run, name: str) -> None:
    @on
    def body() -> None:
        selector = getattr(selectors, name)()
        task = spawn(selector.select)
        parked(task)
        selector.close()
        selector.close()
        with pytest.raises(ClosedResourceError):
            task.get(timeout=5)
        assert selector.get_map() is None


def test_many_descriptors(on: Run, make: Any) -> None:
    @on
    def body() -> None:
        pairs = [socket.socketpair() for _ in range(100)]
        with make() as selector:
            for number, (one, _) in enumerate(pairs):
                selector.register(one, selectors.EVENT_READ, number)
            got = set()

            def collect() -> None:
                while len(got) < len(pairs):
                    for key, _ in selector.select(5):
                        key.fileobj.recv(1)
                        got.add(key.data)

            task = spawn(collect)
            for _, other in pairs:
                other.send(b"x")
                sleep(0)
            task.get(timeout=5)
        for one, other in pairs:
            one.close()
            other.close()


# -- asyncio ------------------------------------------------------------------------------------------------------------


def new_loop() -> asyncio.SelectorEventLoop:
    return asyncio.SelectorEventLoop(selectors.DefaultSelector())


def run_async(main: Any, make: Callable[[], Any] = selectors.DefaultSelector) -> Any:
    """As ``asyncio.run``, on a loop of ours. There from Python 3.11 on."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(make())) as runner:
        return runner.run(main)


class Turns:
    """What another task does while a loop waits: it has its turns. The loop waits until there were ten of them."""

    def __init__(self) -> None:
        self.count = 0

    async def wait(self) -> str:
        while self.count < 10:
            await asyncio.sleep(0.002)
        return "done"

    def take_until(self, end: coopcore.Task[Any]) -> None:
        while not end.dead:
            self.count += 1
            sleep(0)


def test_a_loop_runs_in_a_task_while_others_go_on(on: Run, make: Any) -> None:
    @on
    def body() -> None:
        turns = Turns()
        task = spawn(run_async, turns.wait(), make)
        turns.take_until(task)
        assert task.get() == "done"


def test_a_loop_that_is_always_busy_lets_others_run(on: Run) -> None:
    @on
    def body() -> None:
        done: list[int] = []

        async def main() -> None:
            while not done:
                await asyncio.sleep(0)

        task = spawn(run_async, main())
        sleep(0.01)
        done.append(1)
        task.get(timeout=5)


def test_call_soon_threadsafe_from_another_task_and_another_thread(on: Run) -> None:
    @on
    def body() -> None:
        loops: list[asyncio.AbstractEventLoop] = []
        heard: list[str] = []

        async def listen() -> None:
            loop = asyncio.get_running_loop()
            told = [loop.create_future(), loop.create_future()]
            loops.append(loop)
            futures.extend(told)
            heard.extend([await told[0], await told[1]])

        futures: list[asyncio.Future[str]] = []
        task = spawn(run_async, listen())
        while not futures:
            sleep(0)
        parked(task)
        loops[0].call_soon_threadsafe(futures[0].set_result, "task")
        parked(task)
        thread = threading.Thread(target=loops[0].call_soon_threadsafe, args=(futures[1].set_result, "thread"))
        thread.start()
        task.get(timeout=5)
        thread.join()
        assert heard == ["task", "thread"]


def test_run_coroutine_threadsafe_from_another_task(on: Run) -> None:
    @on
    def body() -> None:
        loop = new_loop()
        task = spawn(loop.run_forever)

        async def double(number: int) -> int:
            await asyncio.sleep(0)
            return number * 2

        future = asyncio.run_coroutine_threadsafe(double(21), loop)
        while not future.done():
            sleep(0)
        assert future.result() == 42
        loop.call_soon_threadsafe(loop.stop)
        task.get(timeout=5)
        loop.close()


def test_a_server_and_clients_in_one_loop(on: Run) -> None:
    @on
    def body() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def ask(port: int, word: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(word + b"\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

        async def main() -> list[bytes]:
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with server:
                return await asyncio.gather(*(ask(port, word) for word in (b"one", b"two", b"three")))

        task = spawn(run_async, main())
        assert task.get(timeout=10) == [b"ONE\n", b"TWO\n", b"THREE\n"]


def test_tasks_speak_to_a_server_in_a_loop(on: Run) -> None:
    """The client is a task of ours, which parks; the server a protocol."""

    @on
    def body() -> None:
        ports: list[int] = []

        class Shout(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def data_received(self, data: bytes) -> None:
                self.transport.write(data.upper())

        async def serve() -> None:
            server = await asyncio.get_running_loop().create_server(Shout, "127.0.0.1", 0)
            ports.append(server.sockets[0].getsockname()[1])
            async with server:
                await server.serve_forever()

        host = spawn(run_async, serve())
        while not ports:
            sleep(0)
        with socket.create_connection(("127.0.0.1", ports[0])) as client:
            client.sendall(b"hello")
            coopcore.lowlevel.wait_readable(client.fileno())
            assert client.recv(100) == b"HELLO"
        host.kill()
        assert host.dead


def test_timers_and_cancellation(on: Run) -> None:
    @on
    def body() -> None:
        async def main() -> list[str]:
            order: list[str] = []
            loop = asyncio.get_running_loop()
            now = loop.time()
            loop.call_at(now + 0.02, order.append, "second")
            loop.call_at(now + 0.01, order.append, "first")
            loop.call_at(now + 0.005, order.append, "never").cancel()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout_at(now + 0.03):
                    await asyncio.sleep(10)
            sleeper = asyncio.create_task(asyncio.sleep(10))
            await asyncio.sleep(0)
            sleeper.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeper
            return order

        assert spawn(run_async, main()).get(timeout=5) == ["first", "second"]


def test_executors_and_name_look_ups(on: Run) -> None:
    @on
    def body() -> None:
        async def main() -> tuple[Any, Any]:
            loop = asyncio.get_running_loop()
            return await asyncio.to_thread(threading.get_ident), await loop.getaddrinfo("127.0.0.1", 80)

        ident, found = spawn(run_async, main()).get(timeout=5)
        assert ident != threading.get_ident()
        assert found[0][4] == ("127.0.0.1", 80)


def test_the_host_is_killed(on: Run) -> None:
    """What asyncio does at the end of a run, it does: coroutines are cancelled, and the loop is closed."""

    @on
    def body() -> None:
        steps: list[Any] = []

        async def main() -> None:
            steps.append(asyncio.get_running_loop())
            try:
                await asyncio.sleep(100)
            finally:
                steps.append("cancelled")
                await asyncio.sleep(0.01)
                steps.append("cleaned up")

        task = spawn(run_async, main())
        while not steps:
            sleep(0)
        task.kill()
        assert isinstance(task.get(), TaskExit)
        assert steps[1:] == ["cancelled", "cleaned up"]
        assert steps[0].is_closed()


def test_a_timeout_of_the_host(on: Run) -> None:
    @on
    def body() -> None:
        ends: list[str] = []

        async def main() -> None:
            try:
                timeout.start()
                await asyncio.sleep(100)
            finally:
                ends.append("cancelled")

        timeout = Timeout(0.02)
        with pytest.raises(Timeout) as caught:
            run_async(main())
        assert caught.value is timeout
        assert ends == ["cancelled"]
        assert run_async(asyncio.sleep(0, "again")) == "again"


def test_asyncio_run_by_a_policy(on: Run) -> None:
    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return new_loop()

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:

        @on
        def body() -> None:
            turns = Turns()
            task = spawn(asyncio.run, turns.wait())
            turns.take_until(task)
            assert task.get() == "done"
    finally:
        asyncio.set_event_loop_policy(before)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run takes a loop_factory from Python 3.12 on")
def test_asyncio_run_by_a_factory(on: Run) -> None:
    @on
    def body() -> None:
        turns = Turns()
        task = spawn(asyncio.run, turns.wait(), loop_factory=new_loop)  # type: ignore[call-arg]  # of Python 3.12
        turns.take_until(task)
        assert task.get() == "done"


def test_invariant_2_several_loops_in_several_tasks(on: Run, make: Any) -> None:
    @on
    def body() -> None:
        async def numbers(mine: asyncio.AbstractEventLoop) -> AsyncIterator[int]:
            for number in range(3):
                await asyncio.sleep(0.001)
                assert asyncio.get_running_loop() is mine
                yield number

        async def main(name: int) -> list[int]:
            mine = asyncio.get_running_loop()
            hooks = tuple(sys.get_asyncgen_hooks())
            assert hooks == (mine._asyncgen_firstiter_hook, mine._asyncgen_finalizer_hook)  # type: ignore[attr-defined]  # asyncio's own, to be compared
            got = [name + number async for number in numbers(mine)]
            await asyncio.sleep(0.002 * (3 - name % 3))
            assert asyncio.get_running_loop() is mine
            assert tuple(sys.get_asyncgen_hooks()) == hooks
            return got

        tasks = [spawn(run_async, main(name), make) for name in range(6)]
        while not all(task.dead for task in tasks):
            assert asyncio._get_running_loop() is None
            assert tuple(sys.get_asyncgen_hooks()) == (None, None)
            sleep(0)
        assert [task.get() for task in tasks] == [[name, name + 1, name + 2] for name in range(6)]


def test_invariant_2_also_if_the_wait_ends_in_an_exception(on: Run) -> None:
    @on
    def body() -> None:
        found: list[Any] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            found.append(loop)
            try:
                await asyncio.sleep(100)
            finally:
                found.append(asyncio.get_running_loop())

        other = spawn(run_async, asyncio.sleep(0.05))
        task = spawn(run_async, main())
        while not found:
            sleep(0)
        parked(task)
        task.kill()
        assert found[0] is found[1]
        other.get(timeout=5)


def test_a_coroutine_that_parks_holds_up_its_loop_and_no_other_task(on: Run) -> None:
    @on
    def body() -> None:
        order: list[str] = []

        async def main() -> None:
            asyncio.get_running_loop().call_later(0.001, order.append, "timer")
            while turns.count < 10:
                sleep(0.002)  # as a blocking call
            order.append("slept")
            while len(order) < 2:
                await asyncio.sleep(0.001)

        turns = Turns()
        task = spawn(run_async, main())
        turns.take_until(task)
        task.get()
        assert order == ["slept", "timer"]


def test_no_loop_begins_while_a_coroutine_parks_elsewhere(on: Run) -> None:
    """asyncio's check is for the whole thread, and that loop's mark is still there. (And one that ends there takes the mark away: it is asyncio's own.)"""

    @on
    def body() -> None:
        async def main() -> None:
            while not done:
                sleep(0.001)

        done: list[int] = []
        task = spawn(run_async, main())
        while asyncio._get_running_loop() is None:
            sleep(0)
        loop = new_loop()
        with pytest.raises(RuntimeError, match="while another loop is running"):
            loop.run_forever()
        loop.close()
        done.append(1)
        task.get(timeout=5)


def test_a_running_loop_of_another_goes_on_while_a_coroutine_parks_elsewhere(on: Run) -> None:
    @on
    def body() -> None:
        laps: list[int] = []
        done: list[int] = []

        async def tick() -> None:
            while not done:
                laps.append(1)
                await asyncio.sleep(0)

        async def main() -> None:
            mine = asyncio.get_running_loop()
            for _ in range(10):
                sleep(0)
                assert asyncio.get_running_loop() is mine
            assert len(laps) > before

        other = spawn(run_async, tick())
        while not laps:
            sleep(0)
        before = len(laps)
        spawn(run_async, main()).get(timeout=5)
        done.append(1)
        other.get(timeout=5)


def test_a_loop_in_another_thread(on: Run) -> None:
    @on
    def body() -> None:
        outcomes: list[Any] = []
        thread = threading.Thread(target=lambda: outcomes.append(coopcore.run(run_async, asyncio.sleep(0.01, "there"))))
        thread.start()
        outcomes.append(run_async(asyncio.sleep(0.01, "here")))
        thread.join()
        assert sorted(outcomes) == ["here", "there"]


def test_a_process_without_asyncio_is_not_made_to_import_it() -> None:
    import subprocess

    program = (
        "import sys, coopcore\nfrom coop_plugins import selectors\n"
        "coopcore.run(lambda: selectors.DefaultSelector().select(0.001))\nprint('asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
