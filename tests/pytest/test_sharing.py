"""To which hub a wider fixture belongs: by its tasks, and by what its value is or refers to; and how it is asked for. What serves any hub is shared."""

from __future__ import annotations

import pytest

# The last of these keep it small: an inner session forgets what it imported, see conftest.
import coop_plugins.clock
import coop_plugins.event
import coop_plugins.lock
import coop_plugins.pool
import coop_plugins.socket
import coop_plugins.subprocess
import coop_plugins.threadpool  # noqa: F401 - as said above

NEXT = "Mark all tests that share the fixture alike, or give it function scope."

REFERS = """
class Client:
    def __init__(self, thing):
        self.things = [{{"it": thing}}]

@pytest.fixture(scope="module")
def client():
    thing = {thing}
    return {value}

@pytest.mark.coop(backend=["epoll", "selectors"])
def test_it(client): pass

def test_plain(client): pass
"""


@pytest.mark.parametrize("value", ["Client(thing)", "(1, {2: thing})", "lambda: thing"])
@pytest.mark.parametrize(("thing", "shown"), [("current_task().hub", "<Hub 'the epoll hub' *>"), ("spawn(int)", "<Task 'int-*>")])
def test_what_refers_to_a_part_of_a_hub_belongs_to_that(run, value, thing, shown):
    result = run(REFERS.format(thing=thing, value=value), passed=1, errors=2)
    words = f"which was made on the epoll hub and refers to what is part of it: {shown}. It would stand still while the test runs. {NEXT}"
    result.stdout.fnmatch_lines(
        [
            f"test_it.py::test_it[[]selectors] runs on the selectors hub, but uses fixture 'client' (module scope), {words}",
            f"test_it.py::test_plain runs outside of any marked test, but uses fixture 'client' (module scope), {words}",
        ]
    )


def test_what_is_far_away_is_not_looked_for(run):
    """A fixture that refers to half of a program costs each test of another hub a few milliseconds at most."""
    run(REFERS.format(thing="[list(range(10_000)), [[[current_task().hub]]]]", value="thing"), passed=3)


def test_asked_for_by_name_in_the_middle_of_a_test_it_is_the_same(run):
    result = run(
        """
        @pytest.fixture(scope="module")
        def server():
            task = spawn(sleep, 3600)
            task.name = "server"

        @pytest.mark.coop
        def test_it(request):
            request.getfixturevalue("server")

        @pytest.fixture
        def by_name(request):
            sleep(0)
            request.getfixturevalue("server")

        @pytest.mark.coop(backend="selectors")
        def test_call(request):
            request.getfixturevalue("server")

        @pytest.mark.coop(backend="selectors")
        def test_setup(by_name): pass

        def test_plain(request):
            request.getfixturevalue("server")

        @pytest.mark.coop
        def test_last(request):
            request.getfixturevalue("server")
        """,
        passed=2,
        failed=2,
        errors=1,
    )
    owner = "which was made on the epoll hub and has tasks there"
    words = f"but uses fixture 'server' (module scope), {owner}: 'server'. They stand still while the test runs. {NEXT}"
    result.stdout.fnmatch_lines_random(
        [
            f"test_it.py::test_call runs on the selectors hub, {words}",
            f"test_it.py::test_setup runs on the selectors hub, {words}",
            f"test_it.py::test_plain runs outside of any marked test, {words}",
        ]
    )


def test_one_that_is_made_anew_with_another_parameter_is_not_in_the_way(run):
    run(
        """
        @pytest.fixture(scope="module", params=[1, 2])
        def server(request):
            task = spawn(sleep, 3600)
            yield request.param
            assert not task.dead

        @pytest.mark.coop
        @pytest.mark.parametrize("server", [1], indirect=True)
        def test_one(server):
            assert server == 1

        @pytest.mark.coop(backend="selectors")
        @pytest.mark.parametrize("server", [2], indirect=True)
        def test_two(server):
            assert server == 2
        """,
        passed=2,
    )


def test_context_variables_of_one_that_is_asked_for_by_name(run):
    run(
        """
        from contextvars import ContextVar
        var = ContextVar("var", default="unset")

        @pytest.fixture(scope="module")
        def logged_in():
            token = var.set("ada")
            yield
            var.reset(token)

        @pytest.mark.coop
        def test_makes_it(request):
            request.getfixturevalue("logged_in")
            assert var.get() == "ada"

        @pytest.mark.coop
        def test_asks_for_it(request):
            assert var.get() == "unset"
            request.getfixturevalue("logged_in")
            assert var.get() == "ada"
            var.set("bob")
            request.getfixturevalue("logged_in")
            assert var.get() == "bob"

        @pytest.mark.coop
        def test_does_not():
            assert var.get() == "unset"
        """,
        passed=3,
    )


def test_what_waits_for_nobody_serves_any_hub(run):
    """Queues, locks, pools, sockets, children: none belongs to the hub on which it was made, so that a fixture may be shared."""
    run(
        """
        import os
        from types import SimpleNamespace
        from coop_plugins import socket
        from coop_plugins.event import Event
        from coop_plugins.lock import Lock
        from coop_plugins.pool import Pool
        from coop_plugins.subprocess import PIPE, Popen
        from coop_plugins.threadpool import ThreadPool

        @pytest.fixture(scope="module")
        def it():
            one, other = socket.socketpair()
            child = Popen(["cat"], stdin=PIPE, stdout=PIPE)
            it = SimpleNamespace(queue=Queue(), event=Event(), lock=Lock(), pool=Pool(2), threads=ThreadPool(2), one=one, other=other, child=child)
            use(it)
            with one, other, child:
                yield it
                it.threads.kill()

        def use(it):
            spawn(it.queue.put, 1)
            assert it.queue.get() == 1
            it.event.clear()
            spawn(it.event.set)
            assert it.event.wait()
            with it.lock:
                sleep(0)
            assert it.pool.map(str, [1]) == ["1"]
            assert it.threads.apply(os.getpid) == os.getpid()
            receiver = spawn(it.one.recv, 10)
            sleep(0)
            it.other.sendall(b"data")
            assert receiver.get() == b"data"
            it.child.stdin.write(b"line\\n")
            it.child.stdin.flush()
            assert it.child.stdout.readline() == b"line\\n"

        @pytest.mark.coop(backend=["epoll", "selectors"])
        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(it, turn):
            use(it)
        """,
        passed=4,
    )
