"""pytest-asyncio, anyio's plugin and pytest-trio in one session with ours: each runs its own tests."""

from __future__ import annotations

import pytest

# Here, or each inner session would import them.
pytest.importorskip("pytest_asyncio.plugin")
pytest.importorskip("anyio.pytest_plugin")
pytest.importorskip("trio")

WHERE = """
import asyncio

import greenlet
home = greenlet.getcurrent()

def in_task():
    return greenlet.getcurrent() is not home
"""
BOTH_AUTO = ("-ocoop_mode=auto", "-oasyncio_mode=auto")
ASYNCIO = ("-ppytest_asyncio.plugin", "-oasyncio_default_fixture_loop_scope=function")


@pytest.mark.parametrize("modes", [BOTH_AUTO, ()])
def test_each_runs_its_own(run, modes):
    run(
        WHERE
        + """
import pytest_asyncio

@pytest_asyncio.fixture
async def number():
    await asyncio.sleep(0)
    yield 7
    await asyncio.sleep(0)

@pytest.fixture
def squares():
    numbers, results = Queue(), Queue()

    def square():
        while True:
            results.put(numbers.get() ** 2)

    if in_task():
        spawn(square)
    return numbers, results

@pytest.mark.asyncio
async def test_asyncio(number):
    await asyncio.sleep(0.001)
    assert number == 7 and not in_task()

@pytest.mark.coop
def test_coop(squares):
    numbers, results = squares
    numbers.put(4)
    assert results.get(timeout=20) == 16 and in_task()

@pytest.mark.asyncio
async def test_asyncio_again(number):
    await asyncio.sleep(0.001)

@pytest.mark.coop
def test_coop_again(squares):
    sleep(0.001)
""",
        *ASYNCIO,
        *modes,
        passed=4,
    )


def test_a_blocking_test_may_use_an_async_fixture(run):
    """Its loop runs in the task: nothing else runs on the hub meanwhile, and a loop that asks what runs has none."""
    run(
        WHERE
        + """
import pytest_asyncio

@pytest.fixture
async def number():
    await asyncio.sleep(0)
    yield 7
    await asyncio.sleep(0)

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wide():
    await asyncio.sleep(0)
    yield 8
    await asyncio.sleep(0)

def test_coop(number, wide):
    sleep(0.001)
    assert (number, wide) == (7, 8) and in_task()

async def test_asyncio(number, wide):
    await asyncio.sleep(0)
    assert (number, wide) == (7, 8) and not in_task()

def test_coop_again(number, wide):
    sleep(0.001)
""",
        *ASYNCIO,
        *BOTH_AUTO,
        passed=3,
    )


def test_an_async_test_with_both_marks_is_refused(run):
    result = run("@pytest.mark.coop\n@pytest.mark.asyncio\nasync def test_it(): pass", *ASYNCIO, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of test_it _*",
            "test_it.py::test_it is an `async def` test, but marked coop: its body would need an event loop, and a task has none. "
            "Write it as a plain `def` (calls may block), or take the mark away and use an asyncio plugin.",
        ],
        consecutive=True,
    )


def test_an_async_test_may_not_use_a_fixture_that_has_tasks(run):
    result = run(
        WHERE
        + """
@pytest.fixture(scope="module")
def server():
    spawn(sleep, 3600).name = "server"

@pytest.mark.coop
def test_coop(server):
    sleep(0)

@pytest.mark.asyncio
async def test_asyncio(server):
    await asyncio.sleep(0)
""",
        *ASYNCIO,
        passed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of test_asyncio _*",
            "test_it.py::test_asyncio runs outside of any marked test, but uses fixture 'server' (module scope), which was made on the epoll hub "
            "and has tasks there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.",
        ],
        consecutive=True,
    )


def test_asyncio_run_within_a_test(run):
    run(
        WHERE
        + """
@pytest.mark.coop
def test_it():
    async def main():
        await asyncio.sleep(0.001)
        return 7
    sleep(0.001)
    assert asyncio.run(main()) == 7
    sleep(0.001)
""",
        *ASYNCIO,
        passed=1,
    )


@pytest.mark.parametrize("order", [("-panyio.pytest_plugin", *ASYNCIO), (*ASYNCIO, "-panyio.pytest_plugin")])
def test_anyio_and_trio_too(run_apart, order):  # trio warns where a hub of this process has the wake-up descriptor
    pytest.importorskip("pytest_trio")
    run_apart(
        WHERE
        + """
import anyio
import trio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
async def test_anyio(anyio_backend):
    await anyio.sleep(0)
    assert not in_task()

@pytest.mark.trio
async def test_trio():
    await trio.sleep(0)
    assert not in_task()

@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.sleep(0)
    assert not in_task()

@pytest.mark.coop
def test_coop():
    sleep(0.001)
    assert in_task()
""",
        *order,
        "-ppytest_trio.plugin",
        passed=5,
    )
