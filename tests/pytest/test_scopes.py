"""Fixtures of every scope can block, spawn, and keep tasks alive for their scope."""

from __future__ import annotations

import pytest

# What ends in which order, before the test after the class: tasks of the test end after the fixtures that are finished with it.
ENDED = {"function": ["heart", "test", "heart", "test"], "class": ["test", "heart", "test"]}


@pytest.mark.parametrize("scope", ["session", "package", "module", "class", "function"])
def test_it_blocks_spawns_and_keeps_tasks(run, scope):
    run(
        f"""
        beats, ended = [], []

        def beat(name):
            try:
                while True:
                    beats.append(name)
                    sleep(0.001)
            finally:
                sleep(0)
                ended.append(name)

        @pytest.fixture(scope="{scope}")
        def heart():
            sleep(0.001)
            task = spawn(beat, "heart")
            yield task
            sleep(0.001)
            assert not task.dead

        @pytest.mark.coop
        class TestIt:
            @pytest.mark.parametrize("number", [1, 2])
            def test_it(self, heart, number):
                del beats[:]
                spawn(beat, "test")
                sleep(0.005)
                assert {{"heart", "test"}} == set(beats)
                assert not heart.dead

        def test_end():
            assert ended == {ENDED.get(scope, ["test", "test"])}
        """,
        passed=3,
    )


def test_all_of_a_test_is_one_task_and_one_hub(run):
    run(
        """
        tasks = []

        def note():
            tasks.append(current_task())

        @pytest.fixture(scope="session")
        def widest():
            note()
            yield
            note()

        @pytest.fixture(autouse=True)
        def narrow(widest):
            note()
            sleep(0)
            yield
            sleep(0)
            note()

        @pytest.mark.coop
        class TestIt:
            def setup_method(self):
                note()

            def teardown_method(self):
                note()

            def test_it(self, request):
                note()
                request.addfinalizer(note)

        @pytest.fixture(scope="session", autouse=True)
        def last():
            yield
            assert len(tasks) == 8
            assert len({id(task) for task in tasks}) == 1
        """,
        passed=1,
    )
