"""The mark's clock: hubs with virtual time, and fixtures that belong to one of them."""

from __future__ import annotations

import pytest


def test_virtual_time(run):
    run(
        """
        import time

        @pytest.mark.coop(clock="virtual")
        def test_an_hour():
            began = time.monotonic()
            task = spawn(sleep, 1800)
            sleep(3600)
            assert task.dead
            assert time.monotonic() - began < 1000
            assert current_task().hub.name == "the epoll hub with the virtual clock"

        @pytest.mark.coop
        def test_real():
            assert current_task().hub.name == "the epoll hub"

        @pytest.mark.coop(clock="virtual", backend=["epoll", "selectors"])
        def test_each():
            sleep(3600)
        """,
        passed=4,
    )


def test_the_closest_mark_chooses_and_none_is_the_default(run):
    run(
        """
        pytestmark = pytest.mark.coop(clock="virtual", backend="selectors")

        def name():
            return current_task().hub.name

        def test_module():
            assert name() == "the selectors hub with the virtual clock"

        @pytest.mark.coop(clock=None)
        def test_real():
            assert name() == "the selectors hub"
        """,
        passed=2,
    )


def test_time_functions_follow_on_request(run):
    run(
        """
        import datetime, time

        @pytest.fixture
        def patched():
            from coop_plugins.patch import patched
            with patched("clock", "time"):
                yield

        @pytest.mark.coop(clock="virtual")
        def test_it(patched):
            wall, mono, date = time.time(), time.monotonic(), datetime.datetime.now()
            time.sleep(3600)
            assert time.time() - wall == pytest.approx(3600)
            assert time.monotonic() - mono == 3600
            assert (datetime.datetime.now() - date).total_seconds() == pytest.approx(3600)
        """,
        passed=1,
    )


def test_a_deadlock_on_the_virtual_clock(run):
    result = run("@pytest.mark.coop(clock='virtual')\ndef test_it():\n    Queue().get()", failed=1)
    result.stdout.fnmatch_lines(["E       coopcore.errors.Deadlock: nothing can ever run again on the epoll hub with the virtual clock. 1 task is parked, *"])


SHARED = """
@pytest.fixture(scope="module")
def server():
    task = spawn(sleep, 3600)
    task.name = "server"
    return {value}

@pytest.mark.coop
def test_real(server):
    sleep(0.001)

@pytest.mark.coop(clock="virtual")
def test_virtual(server):
    sleep(0.001)

def test_plain(server):
    pass
"""


def test_a_fixture_with_tasks_under_another_clock_is_an_error_that_names_both_hubs(run):
    result = run(SHARED.format(value="None"), passed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_virtual runs on the epoll hub with the virtual clock, but uses fixture 'server' (module scope), which was made on the epoll hub "
            "and has tasks there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.",
            "test_it.py::test_plain runs outside of any marked test, but uses fixture 'server' (module scope), which was made on the epoll hub "
            "and has tasks there: 'server'. They stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.",
        ]
    )


@pytest.mark.parametrize(("value", "shown"), [("task.hub", "<Hub 'the epoll hub' *>"), ("spawn(int)", "<Task 'int-*>")])
def test_so_is_one_whose_value_is_part_of_a_hub(run, value, shown):
    source = SHARED.format(value=value).replace("task = spawn(sleep, 3600)", "task = spawn(int)").replace("def test_plain(server)", "def test_plain()")
    result = run(source, passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_virtual runs on the epoll hub with the virtual clock, but uses fixture 'server' (module scope), which was made on the epoll hub "
            f"and is part of it: {shown}. It would stand still while the test runs. Mark all tests that share the fixture alike, or give it function scope.",
        ]
    )


def test_one_that_is_only_data_can_be_used_anywhere(run):
    run(SHARED.format(value="{'port': 80}").replace("sleep, 3600", "sleep, 0"), passed=3)


def test_a_thread_takes_real_time(run):
    """And one that waits for the test takes none."""
    run(
        """
        import queue, threading, time
        from coop_plugins.event import Event

        @pytest.fixture(scope="module")
        def jobs():
            jobs = queue.Queue()

            def work():
                while (done := jobs.get()) is not None:
                    time.sleep(0.02)
                    done.set()

            worker = threading.Thread(target=work)
            worker.start()
            yield jobs
            jobs.put(None)
            worker.join()

        @pytest.mark.coop(clock="virtual")
        @pytest.mark.parametrize("number", range(2))
        def test_it(jobs, number):
            done = Event()
            jobs.put(done)
            assert done.wait(timeout=3600)
            sleep(10**9)

        @pytest.mark.coop(clock="virtual")
        def test_its_own():
            done = Event()
            thread = threading.Thread(target=lambda: (time.sleep(0.02), done.set()))
            thread.start()
            assert done.wait(timeout=3600)
            thread.join()
        """,
        passed=3,
    )
