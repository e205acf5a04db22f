"""Who sees the context variables that fixtures set."""

from __future__ import annotations

from coop_pytest._contexts import Layer  # noqa: F401 - not to be imported anew by each inner session

VARS = """
from contextvars import ContextVar

pytestmark = pytest.mark.coop
wide, narrow, mine = (ContextVar(name, default="unset") for name in ("wide", "narrow", "mine"))
"""


def test_invariant_1_wider_fixtures_are_seen_by_all_that_use_them(run):
    run(
        VARS
        + """
        @pytest.fixture(scope="module")
        def module():
            sleep(0)
            wide.set("module")
            narrow.set("module")

        @pytest.fixture(scope="class")
        def of_class(module):
            assert (wide.get(), narrow.get()) == ("module", "module")
            narrow.set("class")

        @pytest.fixture
        def function(of_class):
            assert (wide.get(), narrow.get()) == ("module", "class")
            mine.set("function")

        class TestIt:
            @pytest.mark.parametrize("number", [1, 2, 3])
            def test_all(self, function, number):
                assert (wide.get(), narrow.get(), mine.get()) == ("module", "class", "function")
                task = spawn(lambda: (wide.get(), narrow.get(), mine.get()))
                assert task.get() == ("module", "class", "function")

        def test_the_module_alone(module):
            assert (wide.get(), narrow.get(), mine.get()) == ("module", "module", "unset")

        def test_none():
            assert (wide.get(), narrow.get(), mine.get()) == ("unset", "unset", "unset")

        @pytest.mark.coop(backend="selectors")
        def test_on_another_hub(module):
            assert (wide.get(), narrow.get()) == ("module", "module")
        """.replace("\n        ", "\n"),
        passed=6,
    )


def test_invariant_2_what_a_test_sets_is_seen_nowhere_else(run):
    run(
        VARS
        + """
        seen = []

        @pytest.fixture(scope="module")
        def module():
            wide.set("module")
            yield
            seen.append((wide.get(), mine.get()))

        @pytest.fixture
        def function():
            mine.set("function")

        @pytest.mark.parametrize("number", [1, 2])
        def test_sets(module, function, number):
            assert (wide.get(), mine.get()) == ("module", "function")
            wide.set("test")

        def test_sees(module):
            assert (wide.get(), mine.get()) == ("module", "unset")

        @pytest.fixture(scope="session")
        def session():
            yield
            assert seen == [("module", "unset")]

        def test_end(session): pass
        """.replace("\n        ", "\n"),
        passed=4,
    )


def test_invariant_3_a_token_is_good_at_the_teardown(run):
    run(
        VARS
        + """
        @pytest.fixture(scope="module", params=["one", "other"])
        def module(request):
            token = wide.set(request.param)
            task = spawn(sleep, 3600)
            yield request.param
            assert not task.dead
            sleep(0)
            assert wide.get() == request.param
            wide.reset(token)

        def test_one(module):
            assert wide.get() == module

        def test_two(module):
            assert wide.get() == module

        @pytest.mark.coop(backend="selectors")
        def test_where_it_is_finished(): pass
        """.replace("\n        ", "\n"),
        passed=5,
    )


def test_invariant_4_what_a_finished_fixture_has_set_is_gone(run):
    run(
        VARS
        + """
        @pytest.fixture(scope="module", params=["one", "other"])
        def module(request):
            assert wide.get() == "unset"
            wide.set(request.param)
            return request.param

        @pytest.fixture(scope="module", params=[1, 2])
        def beside(request, module):
            assert wide.get() == module

        def test_it(beside, module):
            assert wide.get() == module

        @pytest.fixture(scope="class")
        def of_class():
            narrow.set("class")

        @pytest.fixture
        def looks_back():
            yield
            assert narrow.get() == "class"

        def test_end(looks_back, of_class): pass
        """.replace("\n        ", "\n"),
        passed=5,
    )


def test_one_that_fails_hands_on_nothing(run):
    run(
        VARS
        + """
        @pytest.fixture(scope="module")
        def module():
            wide.set("module")
            assert 0

        def test_it(module): pass

        def test_next(request):
            with pytest.raises(AssertionError):
                request.getfixturevalue("module")
            assert wide.get() == "unset"
        """.replace("\n        ", "\n"),
        passed=1,
        errors=1,
    )


def test_outside_of_marked_tests_all_is_as_ever(run):
    run(
        VARS.replace("pytestmark = pytest.mark.coop", "")
        + """
        @pytest.fixture(scope="module")
        def module():
            token = wide.set("module")
            yield
            wide.reset(token)

        def test_plain(module):
            assert wide.get() == "module"

        @pytest.mark.coop
        def test_marked(module):
            assert wide.get() == "module"
        """.replace("\n        ", "\n"),
        passed=2,
    )
