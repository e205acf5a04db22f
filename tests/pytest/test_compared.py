"""docs/pytest-compared.md is true: its rows name tests that exist, and the peers do what the table says that they do.

Each peer has a module of tests below, one for a row of the table. Where the row is about a success, yes means that the test passes; where it is about a failure
that must be told, the test's name begins with `test_fails`, and yes means that it fails.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

# Here, or each inner session would import them.
pytest.importorskip("anyio.pytest_plugin")
pytest.importorskip("pytest_asyncio.plugin")
pytest.importorskip("pytest_trio.plugin")
pytest.importorskip("hypothesis.strategies")

TREE = Path(__file__).resolve().parents[2]
PAGE = TREE / "docs" / "pytest-compared.md"
HEAD = """
import asyncio, contextvars, unittest
import anyio, pytest, pytest_asyncio, trio
from hypothesis import HealthCheck, given, settings, strategies as st

var = contextvars.ContextVar("var", default=None)
others = contextvars.ContextVar("others", default=None)
settings.register_profile("it", database=None, derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("it")

async def boom(n=11):
    if n > 10:
        raise ValueError(n)

async def skip():
    pytest.skip("in a task")

class Left:
    ended = False

    async def task(self):
        try:
            await anyio.sleep(3600)
        finally:
            Left.ended = True
"""
# With these rows. A test `test_fails_...` is one of a failure that must be told.
ROWS = {
    "test_one_task": "setup, test and teardown in one task",
    "test_wide": "fixtures of a module can wait and keep tasks",
    "test_other_loop": "a fixture of another loop or hub",
    "test_scope": "a cancel scope or task group around a fixture's `yield`",
    "test_wide_scope": "and around that of a module's fixture",
    "test_var_is_seen": "context variables of a fixture are seen by the test",
    "test_var_is_gone": "and what a test sets is gone in the next, beside a wider fixture",
    "test_fails_in_background": "a task that failed, and that nobody joined, fails the test",
    "test_fails_in_an_example": "in a test of hypothesis it fails the example, which is simplified",
    "test_skips": "`pytest.skip` in another task skips the test",
    "test_left_are_ended": "tasks that a test leaves behind are ended with it",
    "test_virtual": "virtual time",
    "test_fails_in_a_case": "methods of `unittest.TestCase`",
    "test_backends": "once on each backend",
}
ASYNCIO = (
    HEAD
    + """
pytestmark = pytest.mark.asyncio(loop_scope="module")

@pytest_asyncio.fixture(loop_scope="module")
async def task():
    var.set("fixture")
    yield asyncio.current_task()

@pytest_asyncio.fixture(loop_scope="module")
async def scope():
    with anyio.CancelScope():
        yield

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wide():
    yield asyncio.get_running_loop()

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wide_scope():
    with anyio.CancelScope():
        yield

@pytest_asyncio.fixture(scope="module", loop_scope="class")
async def other():
    yield asyncio.get_running_loop()

async def test_one_task(task):
    assert task is asyncio.current_task()

async def test_wide(wide):
    assert wide is asyncio.get_running_loop()

async def test_other_loop(other):
    assert other is asyncio.get_running_loop()

async def test_scope(scope):
    pass

async def test_var_is_seen(task):
    assert var.get() == "fixture"

async def test_sets(wide):
    others.set("test")

async def test_var_is_gone(wide):
    assert others.get() is None

async def test_fails_in_background():
    asyncio.create_task(boom())
    await asyncio.sleep(0.001)

@given(n=st.integers())
async def test_fails_in_an_example(n):
    asyncio.create_task(boom(n))
    await asyncio.sleep(0)

async def test_skips():
    asyncio.create_task(skip())
    await asyncio.sleep(0.001)

@pytest.mark.asyncio(loop_scope="function")
async def test_leaves():
    Left.kept = asyncio.create_task(Left().task())
    await asyncio.sleep(0)

async def test_left_are_ended():
    assert Left.ended

async def test_virtual():
    with anyio.fail_after(0.05):
        await asyncio.sleep(3600)

class TestCase(unittest.TestCase):
    @pytest.mark.filterwarnings("ignore")
    async def test_fails_in_a_case(self):
        self.fail()

async def test_wide_scope(wide_scope):  # the last, at whose end the module's fixtures are finished
    pass
"""
)
ANYIO = (
    HEAD
    + """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def task():
    var.set("fixture")
    yield asyncio.current_task()

@pytest.fixture
async def scope():
    with anyio.CancelScope():
        yield

@pytest.fixture(scope="module")
async def wide():
    yield asyncio.get_running_loop()

@pytest.fixture(scope="module")
async def wide_scope():
    with anyio.CancelScope():
        yield

async def test_one_task(task):
    assert task is asyncio.current_task()

async def test_wide(wide):
    assert wide is asyncio.get_running_loop()

async def test_scope(scope):
    pass

async def test_var_is_seen(task):
    assert var.get() == "fixture"

async def test_sets(wide):
    others.set("test")

async def test_var_is_gone(wide):
    assert others.get() is None

async def test_fails_in_background():
    asyncio.create_task(boom())
    await asyncio.sleep(0.001)

@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(n=st.integers())
async def test_fails_in_an_example(n):
    asyncio.create_task(boom(n))
    await asyncio.sleep(0)

async def test_skips():
    asyncio.create_task(skip())
    await asyncio.sleep(0.001)

async def test_virtual():
    with anyio.fail_after(0.05):
        await asyncio.sleep(3600)

async def test_wide_scope(wide_scope):
    pass

class TestCase(unittest.TestCase):
    async def test_fails_in_a_case(self):
        self.fail()
"""
)
ANYIO_ALONE = (
    HEAD
    + """
pytestmark = pytest.mark.anyio

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaves(anyio_backend):
    Left.kept = asyncio.create_task(Left().task())
    await anyio.sleep(0)

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_left_are_ended(anyio_backend):
    assert Left.ended

async def test_backends(anyio_backend_name):
    assert anyio_backend_name in ("asyncio", "trio")
"""
)
TRIO = (
    HEAD
    + """
pytestmark = pytest.mark.trio

@pytest.fixture
async def task():
    var.set("fixture")
    yield trio.lowlevel.current_task()

@pytest.fixture
async def scope():
    with trio.CancelScope():
        yield

@pytest.fixture(scope="module")
async def wide():
    yield

@pytest.fixture(scope="module")
def plain():
    pass

async def test_one_task(task):
    assert task is trio.lowlevel.current_task()

async def test_wide(wide):
    pass

async def test_scope(scope):
    pass

async def test_var_is_seen(task):
    assert var.get() == "fixture"

async def test_sets(plain):
    others.set("test")

async def test_var_is_gone(plain):
    assert others.get() is None

async def test_fails_in_background(nursery):
    nursery.start_soon(boom)
    await trio.sleep(0.001)

@given(n=st.integers())
async def test_fails_in_an_example(n):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boom, n)

async def test_skips(nursery):
    nursery.start_soon(skip)
    await trio.sleep(0.001)

async def test_leaves(nursery):
    nursery.start_soon(Left().task)
    await trio.sleep(0)

async def test_left_are_ended():
    assert Left.ended

async def test_virtual(autojump_clock):
    await trio.sleep(3600)

class TestCase(unittest.TestCase):
    async def test_fails_in_a_case(self):
        self.fail()
"""
)
PEERS = {
    "pytest-asyncio": (ASYNCIO, ["-ppytest_asyncio.plugin", "-oasyncio_default_fixture_loop_scope=function"]),
    "anyio": (ANYIO, ["-panyio.pytest_plugin"]),
    "anyio, alone": (ANYIO_ALONE, ["-panyio.pytest_plugin"]),
    "pytest-trio": (TRIO, ["-ppytest_trio.plugin"]),
}


def tables() -> list[list[list[str]]]:
    """Each table of the page: its rows, the heading first, as lists of cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", PAGE.read_text(), re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split(" |")] for line in block.splitlines() if not line.startswith("|---")] for block in found]


def test_every_row_names_tests_that_exist() -> None:
    features, complaints = tables()
    for row in [*features[1:], *complaints[1:]]:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[-1])
        assert named or row[-1] == "`make bench`", row[0]
        for file, name in named:
            functions = [node.name for node in ast.parse((TREE / "tests" / "pytest" / file).read_text()).body if isinstance(node, ast.FunctionDef)]
            assert name in functions, f"{file}::{name}"


def test_every_cell_in_bold_is_checked() -> None:
    (heading, *rows), _ = tables()
    cells = {(heading[place], row[0]) for row in rows for place in (2, 3, 4) if row[place].startswith("**")}
    checked = {(peer.partition(",")[0], row) for peer, (source, _) in PEERS.items() for name, row in ROWS.items() if f" {name}(" in source}
    assert cells == checked


@pytest.mark.parametrize("peer", PEERS)
def test_the_peers_do_what_the_table_says(pytester, peer) -> None:
    source, arguments = PEERS[peer]
    pytester.makepyfile(test_it=source)
    # In a process of its own: trio warns where a hub of this one has the wake-up descriptor.
    result = pytester.runpytest_subprocess("-pno:cacheprovider", "-v", "-rN", "--tb=short", *arguments)
    outcomes: dict[str, set[str]] = {}
    for name, outcome in re.findall(r"::(test_\w+)\S* (PASSED|FAILED|ERROR|SKIPPED)", result.stdout.str()):
        outcomes.setdefault(name, set()).add(outcome)
    (heading, *rows), _ = tables()
    column = heading.index(peer.partition(",")[0])
    said = {row[0]: row[column].startswith("**yes**") for row in rows}
    expected = {"test_skips": "SKIPPED"}
    seen = {name: outcomes[name] == {"FAILED" if name.startswith("test_fails") else expected.get(name, "PASSED")} for name in ROWS if name in outcomes}
    assert seen == {name: said[ROWS[name]] for name in seen}
    assert set(seen) == {name for name in ROWS if f" {name}(" in source}


# -- rows that are shown here --------------------------------------------------------------------------------------------------


def test_a_task_group_around_the_yield_of_a_fixture(run) -> None:
    run(
        """
        from coop_plugins.scope import CancelScope, TaskGroup

        pytestmark = pytest.mark.coop

        @pytest.fixture
        def group():
            with TaskGroup() as group:
                yield group

        @pytest.fixture
        def scope():
            with CancelScope() as scope:
                yield scope

        def test_group(group):
            group.spawn(sleep, 0.001)

        def test_scope(scope):
            sleep(0.001)

        def test_skips(group, scope):
            group.spawn(sleep, 0.001)
            pytest.skip("now")
        """,
        passed=2,
        skipped=1,
    )


def test_a_task_group_around_the_yield_of_a_wider_fixture_is_an_error(run) -> None:
    result = run(
        """
        from coop_plugins.scope import TaskGroup

        pytestmark = pytest.mark.coop

        @pytest.fixture(scope="module")
        def group():
            with TaskGroup() as group:
                yield group

        def test_one(group):
            group.spawn(sleep, 0.001)

        def test_two(group):
            sleep(0)
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        [
            "E           RuntimeError: <CancelScope open, of test_one> was entered by <Task 'test_one' done> and left by <Task 'test_two' running>. "
            "A scope belongs to one task; a generator or fixture that enters one must be continued and closed by that same task. "
            "To cancel it from another task call cancel()."
        ]
    )


def test_a_skip_does_not_disturb_the_tasks_of_a_wider_fixture(run) -> None:
    run(
        """
        pytestmark = pytest.mark.coop

        @pytest.fixture(scope="module")
        def task():
            task = spawn(sleep, 3600)
            yield task
            assert not task.dead
            task.kill()

        def test_skips(task):
            sleep(0)
            pytest.skip("now")

        @pytest.mark.xfail
        def test_fails(task):
            sleep(0)
            assert 0

        def test_it(task):
            sleep(0)
            assert not task.dead
        """,
        passed=1,
        skipped=1,
        xfailed=1,
    )


def test_context_variables_of_a_test_do_not_leak_beside_a_wider_fixture(run) -> None:
    run(
        """
        import contextvars

        pytestmark = pytest.mark.coop
        var = contextvars.ContextVar("var", default=None)

        @pytest.fixture(scope="module")
        def wide():
            sleep(0)
            yield spawn(sleep, 3600)

        def test_sets(wide):
            var.set("test")

        def test_is_gone(wide):
            assert var.get() is None
        """,
        passed=2,
    )
