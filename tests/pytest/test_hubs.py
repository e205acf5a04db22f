"""The invariants of coop_pytest._hubs, and fixtures that are shared between tests that run in different places."""

from __future__ import annotations

import greenlet
import pytest

from coop_plugins.queue import Queue
from coop_pytest._hubs import Hubs
from coopcore import Timeout, current_task, sleep, spawn
from coopcore.lowlevel import throw_in


@pytest.fixture
def hubs():
    hubs = Hubs()
    yield hubs
    hubs.close()


def task_of_home():
    return getattr(greenlet.getcurrent(), "task", None)


def test_invariant_1_the_hub_is_left_however_the_task_ended(hubs):
    before = task_of_home()
    hub = hubs.get(None)

    def fail():
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        hubs.call(hub, fail, "a test")
    assert hubs.current is None
    assert task_of_home() is before
    assert hub.main is hub.root


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), pytest.exit.Exception("so"), ValueError("so")], ids=repr)
def test_invariant_2_errors_pass_unchanged(hubs, error):
    def fail():
        sleep(0)
        raise error

    with pytest.raises(type(error)) as caught:
        hubs.call(hubs.get(None), fail, "a test")
    assert caught.value is error


def test_invariant_3_one_hub_for_each_pair_of_backend_and_clock(hubs, monkeypatch):
    monkeypatch.delenv("COOP_BACKEND", raising=False)
    monkeypatch.delenv("COOP_CLOCK", raising=False)
    assert hubs.get(None) is hubs.get("epoll")
    assert hubs.get(None, "virtual") is hubs.get("epoll", "virtual")
    assert hubs.get(None, "virtual") is not hubs.get(None)
    assert [hubs.get("epoll", clock).name for clock in (None, "virtual")] == ["the epoll hub", "the epoll hub with the virtual clock"]
    monkeypatch.setenv("COOP_CLOCK", "virtual")
    assert hubs.get(None) is hubs.get(None, "virtual")
    monkeypatch.delenv("COOP_CLOCK")
    assert hubs.get("selectors") is not hubs.get("epoll")
    assert hubs.get("selectors") is hubs.get("selectors")


def test_the_default_comes_from_the_environment(hubs, monkeypatch):
    monkeypatch.setenv("COOP_BACKEND", "selectors")
    assert hubs.get(None) is hubs.get("selectors")


def test_invariant_4_an_errand_is_done_to_its_end(hubs):
    """A timeout that strikes while home is away reaches the test, after the errand."""
    done = []

    def errand():
        throw_in(client[0], Timeout(1))
        done.append(hubs.current)
        return "value"

    def test():
        client.append(current_task())
        with pytest.raises(Timeout):
            hubs.call(None, errand, "outside")
            sleep(0)
        return "went on"

    client: list[object] = []
    assert hubs.call(hubs.get(None), test, "a test") == "went on"
    assert done == [None]


def test_errands_nest(hubs):
    """From a test on one hub to another one, outside, and back to the first."""
    first, second = hubs.get("epoll"), hubs.get("selectors")

    def innermost():
        sleep(0.001)
        return [current_task().hub]

    def outside():
        assert task_of_home() is None or task_of_home().hub not in (first, second)
        return [None, *hubs.call(first, innermost, "innermost")]

    def on_second():
        sleep(0.001)
        return [current_task().hub, *hubs.call(None, outside, "outside")]

    def test():
        return [current_task().hub, *hubs.call(second, on_second, "on second")]

    assert hubs.call(first, test, "a test") == [first, second, None, first]


def test_tasks_stand_still_between_visits(hubs):
    hub = hubs.get(None)
    queue = Queue()

    def produce():
        for n in range(100):
            queue.put(n)
            sleep(0)

    def start():
        spawn(produce)

    hubs.call(hub, start, "start")
    seen = queue.qsize()
    sleep(0.01)
    assert queue.qsize() == seen < 100
    assert hubs.call(hub, lambda: queue.get(timeout=20), "one") == 0


# -- in sessions ---------------------------------------------------------------------------------------------------------------


def test_a_fixture_is_finished_on_its_own_hub(run):
    """The last test that uses the module's fixture runs elsewhere: on another hub, or unmarked."""
    for mark in ("@pytest.mark.coop(backend='selectors')", "# unmarked"):
        run(
            f"""
            ended = []

            @pytest.fixture(scope="module", autouse=True)
            def wide():
                made = current_task().hub
                yield
                sleep(0.001)
                assert current_task().hub is made
                ended.append(made)

            @pytest.mark.coop(backend="epoll")
            def test_first():
                sleep(0)

            {mark}
            def test_last():
                pass
            """,
            passed=2,
        )


def test_a_fixture_that_was_made_outside_is_finished_outside(run):
    run(
        """
        import greenlet

        @pytest.fixture(scope="module", autouse=True)
        def wide():
            home = greenlet.getcurrent()
            before = getattr(home, "task", None)
            yield
            assert greenlet.getcurrent() is home and getattr(home, "task", None) is before

        def test_first():
            pass

        @pytest.mark.coop
        def test_last():
            sleep(0)
        """,
        passed=2,
    )


def test_a_fixture_that_fails_at_its_end_elsewhere_is_an_error(run):
    result = run(
        """
        @pytest.fixture(scope="module", autouse=True)
        def wide():
            yield
            sleep(0.001)
            raise ValueError("at its end")

        @pytest.mark.coop
        def test_first():
            pass

        def test_last():
            pass
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_last*", "E *ValueError: at its end"])


@pytest.mark.parametrize("mark", ["", '@pytest.mark.coop(backend="selectors")'])
@pytest.mark.parametrize("keep", ["", "kept.append(task)"])
def test_a_task_that_fails_while_a_fixture_is_finished_elsewhere_is_an_error(run, mark, keep):
    """The last test to use the fixture runs outside of every hub, or on another one."""
    result = run(
        f"""
        kept = []

        def boom():
            raise ValueError("in the background")

        @pytest.fixture(scope="module", autouse=True)
        def wide():
            yield
            task = spawn(boom)
            {keep}
            del task
            sleep(0.001)

        @pytest.mark.coop(backend="epoll")
        def test_first():
            pass

        {mark}
        def test_last():
            pass
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_last*", "E *failed, and nobody joined it: ValueError: in the background"])


def test_a_task_that_is_joined_while_a_fixture_is_finished_elsewhere_is_none(run):
    run(
        """
        @pytest.fixture(scope="module", autouse=True)
        def wide():
            yield
            spawn(lambda: 1 / 0).join()

        @pytest.mark.coop
        def test_first():
            pass

        def test_last():
            pass
        """,
        passed=2,
    )


SHARED = """
import greenlet

def forever():
    while True:
        sleep(0.001)

@pytest.fixture(scope="module")
def server():
    task = spawn(forever)
    task.name = "server"
    sleep(0)
    yield task
    assert not task.dead
    task.kill()
"""


def test_use_on_another_hub_is_an_error_that_names_both(run):
    result = run(
        SHARED
        + """
@pytest.mark.coop(backend=["epoll", "selectors"])
def test_it(server):
    sleep(0.002)

def test_plain(server):
    pass

@pytest.mark.coop(backend="epoll")
def test_again(server):
    sleep(0.002)
""",
        passed=2,
        errors=2,
    )
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_it[[]selectors] runs on the selectors hub, but uses fixture 'server' (module scope), which was made on the epoll hub "
            "and has tasks there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.",
            "test_it.py::test_plain runs outside of any marked test, but uses fixture 'server' (module scope), which was made on the epoll hub *",
        ]
    )


@pytest.mark.slow(reason="a session of its own")
def test_use_of_a_fixture_that_was_made_outside_is_an_error(run_apart):
    result = run_apart(
        SHARED
        + """
def test_plain(server):
    sleep(0.002)

@pytest.mark.coop
def test_it(server):
    sleep(0.002)
""",
        passed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        ["test_it.py::test_it runs on the epoll hub, but uses fixture 'server' (module scope), which was made outside of any marked test *"]
    )


def test_fixtures_without_tasks_are_shared_freely(run):
    run(
        """
        @pytest.fixture(scope="session")
        def value():
            sleep(0.001)
            return Queue()

        @pytest.mark.coop(backend=["epoll", "selectors"])
        def test_it(value):
            spawn(value.put, 1)
            assert value.get() == 1

        def test_plain(value):
            value.put(2)
            assert value.get() == 2
        """,
        passed=3,
    )
