"""The invariants of coop_pytest._uncommon: errors that are no Exceptions do not confuse pytest's books."""

from __future__ import annotations

import pytest

# Each ends a phase otherwise than pytest expects. The last two are what ends a wait in coopcore.
RAISES = {
    "SystemExit: 3": "raise SystemExit(3)",
    "coopcore._timeout.Timeout: 0.001 seconds": "with Timeout(0.001): sleep(3600)",
    "coopcore.errors.TaskExit": "current_task().kill()",
}
each = pytest.mark.parametrize(("words", "fail"), RAISES.items(), ids=["SystemExit", "Timeout", "TaskExit"])


@each
@pytest.mark.parametrize("scope", ["function", "module"])
def test_invariant_1_a_fixture_whose_setup_ends_so_is_finished_and_each_use_says_the_same(run, words, fail, scope):
    result = run(
        f"""
        from coopcore import Timeout
        ended = []

        @pytest.fixture(scope="{scope}")
        def broken(request):
            spawn(sleep, 3600).name = "of the fixture"
            request.addfinalizer(lambda: ended.append("broken"))
            {fail}

        @pytest.mark.coop
        class TestIt:
            def test_one(self, broken): pass

            def test_two(self, broken): pass

        @pytest.mark.coop
        class TestNext:
            def test_it(self, hub):
                if {scope!r} == "function":
                    assert ended == ["broken"] * 2
                    assert [task.name for task in hub.tasks()] == ["test_it"]
        """,
        passed=1,
        errors=2,
    )
    assert [line for line in result.outlines if line.startswith("E  ")] == [f"E       {words}"] * 2


@each
def test_invariant_2_after_a_finalizer_that_ends_so_the_others_run(run, words, fail):
    result = run(
        f"""
        from coopcore import Timeout
        ended, numbers = [], iter("123")

        @pytest.fixture
        def first():
            yield next(numbers)
            ended.append("first")

        @pytest.fixture
        def second(first):
            yield
            ended.append("second")
            {fail}

        @pytest.mark.coop
        def test_one(first, second, request):
            request.addfinalizer(lambda: ended.append("the test"))
            assert first == "1"

        @pytest.mark.coop
        def test_two(first):
            assert ended == ["the test", "second", "first"]
            assert first == "2"
        """,
        passed=2,
        errors=1,
    )
    assert [line for line in result.outlines if line.startswith("E  ")] == [f"E       {words}"]
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_one*"])


def test_invariant_2_several_are_told_together(run):
    result = run(
        """
        def leave():
            raise SystemExit(3)

        def fail():
            raise KeyError("k")

        @pytest.mark.coop
        def test_it(request):
            request.addfinalizer(leave)
            request.addfinalizer(fail)
        """,
        passed=1,
        errors=1,
    )
    lines = [line.strip() for line in result.outlines]
    told = [line for line in lines if "Group: " in line or line in ("| SystemExit: 3", "| KeyError: 'k'")]
    assert told[:3] == ["| BaseExceptionGroup: errors while tearing down <Function test_it> (2 sub-exceptions)", "| SystemExit: 3", "| KeyError: 'k'"]


def test_invariant_2_of_a_wider_fixture_that_an_unmarked_test_is_the_last_to_use(run):
    result = run(
        """
        from coopcore import Timeout

        @pytest.fixture(scope="module")
        def wide():
            yield
            with Timeout(0.001):
                sleep(3600)

        @pytest.fixture(scope="module")
        def wider():
            yield
            print("finished")

        @pytest.mark.coop
        def test_one(wider, wide): pass

        def test_last(): pass
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_last*", "E *coopcore._timeout.Timeout: 0.001 seconds", "finished"])
