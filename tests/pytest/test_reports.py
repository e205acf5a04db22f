"""What reports make of names, descriptions and errors that nobody has seen coming, and where their tracebacks end."""

from __future__ import annotations

import re

import pytest

# The last of these keep it small: an inner session forgets what it imported, see conftest.
import coop_plugins.queue
import coop_plugins.scope  # noqa: F401 - as said above

SHIFTS = [(r"0x[0-9a-f]+", "0x0"), (r"for \d+\.\d\d s", "for 0.00 s"), (r"\b([a-zA-Z_.]+)-\d+\b", r"\1-1")]


@pytest.fixture
def told(in_the_source, pytester):
    """See below."""
    return lambda *args: in_the_source("\n".join(told_in(pytester.path, *args))).splitlines()


def told_in(folder, result, first, last):
    """The lines of a report from one that begins with ``first`` to the next that begins with ``last``, without what differs from run to run."""
    lines = [line.rstrip() for line in result.outlines]
    start = next(number for number, line in enumerate(lines) if line.startswith(first))
    end = next(number for number in range(start, len(lines)) if lines[number].startswith(last))
    text = "\n".join(lines[start:end]).replace(f"{folder}/", "")
    for pattern, same in SHIFTS:
        text = re.sub(pattern, same, text)
    return text.splitlines()


WAITS = """
class Strange(Queue):
    def __repr__(self):
        {body}

def wait():
    Strange().get()

@pytest.mark.coop
def test_it():
    spawn(wait).name = "a\\nname"
    sleep(0)
    assert False

@pytest.mark.coop
def test_deadlock():
    Strange().get()
"""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no words')", "<Strange object at 0x0, whose description raised ValueError>"),
        ("return 'two\\nlines \\x1b[31m'", "Strange.get of two\\nlines \\x1b[31m"),
        ("return 'long' * 1000", f"Strange.get of {('long' * 50)[:185]}...{'long' * 50}"),
        ("return 'kůň'", "Strange.get of kůň"),
    ],
    ids=["raises", "lines", "long", "non-ascii"],
)
def test_a_description_of_any_kind(run, told, body, says):
    result = run(WAITS.format(body=body), failed=2)
    assert told(result, "<Hub", "____") == [
        "<Hub 'the epoll hub' 2 tasks, 0 ready>",
        "test_it (running)",
        f"  'a\\nname' (parked for 0.00 s, waits for {says})",
        "    spawned at test_it.py:11 in test_it",
        "    stands at test_it.py:7 in wait",
    ]
    assert f"E         test_deadlock waits for {says}" in told(result, "    @pytest.mark.coop", "====")


def test_an_error_whose_words_fail_as_well(run):
    result = run(
        """
        class Speechless(Exception):
            def __str__(self):
                raise RuntimeError
            __repr__ = __str__

        def boom():
            raise Speechless

        @pytest.mark.coop(unjoined=False)
        def test_it():
            kept = spawn(boom)
            spawn(sleep, 3600)
            sleep(0)
            assert False
        """,
        failed=1,
    )
    words = ["E       assert False", "*- failed tasks -*", "task 'boom-*', spawned at * failed, and nobody joined it:", "*Speechless: <exception str() failed>"]
    result.stdout.fnmatch_lines(words)


def test_deep_trees_stay_readable(run):
    result = run(
        """
        def nest(depth):
            if depth:
                spawn(nest, depth - 1)
            sleep(3600)

        @pytest.mark.coop
        def test_it():
            spawn(nest, 300)
            for _ in range(301):
                sleep(0)
            assert False
        """,
        "-v",
        failed=1,
    )
    heads = [line for line in result.outlines if "waits for the end of its sleep" in line]
    assert len(heads) == 301
    assert heads[19].startswith(" " * 40 + "nest-")
    assert heads[20].startswith(" " * 40 + "(21 levels down) nest-")
    assert heads[-1].startswith(" " * 40 + "(301 levels down) nest-")


# -- failed tasks ------------------------------------------------------------------------------------------------------------


def test_a_group_of_errors_is_told_in_full(run, told):
    result = run(
        """
        from coop_plugins.scope import TaskGroup

        def boom(what):
            raise ValueError(what)

        def work():
            with TaskGroup() as group:
                group.spawn(boom, "one")
                group.spawn(boom, "two")

        @pytest.mark.coop
        def test_it():
            spawn(work)
            sleep(0.001)
            sleep(0.001)
        """,
        failed=1,
    )
    lines = told(result, "E       coop_pytest.TaskFailed", "test_it.py:")
    assert lines[0] == (
        "E       coop_pytest.TaskFailed: task 'work-1', spawned at test_it.py:14 in test_it, failed, and nobody joined it: "
        "ExceptionGroup: 2 failures in a TaskGroup (2 sub-exceptions)"
    )
    assert [line.lstrip("E |") for line in lines if "ValueError: " in line or "in task" in line] == [
        "ValueError: one",
        "in task 'boom-1' of a TaskGroup, spawned at test_it.py:9 in work",
        "ValueError: two",
        "in task 'boom-1' of a TaskGroup, spawned at test_it.py:10 in work",
    ]


# -- where a traceback ends --------------------------------------------------------------------------------------------------


ENDS = [
    ("with coopcore.Timeout(0.001): sleep(3600)", "coopcore._timeout.Timeout: 0.001 seconds"),
    ("spawn(current_task().kill, block=False) and sleep(3600)", "coopcore.errors.TaskExit"),
    ("Queue().get(timeout=0.001)", "_queue.Empty"),
    ("spawn(sys.exit, 3) and sleep(3600)", "SystemExit: 3"),
]


@pytest.mark.parametrize(("statement", "error"), ENDS)
def test_what_a_wait_raises_is_shown_at_the_wait(run, told, statement, error):
    source = f"import sys\n@pytest.mark.coop\ndef test_it():\n    {statement}\n"
    result = run(source, failed=1)
    lines = told(result, "    def test_it", "test_it.py:")
    marks = [line for line in lines[2:] if set(line) - set(" ^")]  # where in the line is marked from Python 3.11 on, if it isn't all of it
    assert lines[1] == f">       {statement}"
    assert marks == [f"E       {error}"]
    whole = run(source, "--full-trace", failed=1)
    assert re.search("(coopcore|coop_plugins)/", str(whole.stdout))


def test_a_cancelled_test_is_shown_at_its_wait_too(run, told):
    """Not at a wait of the plugin's own, which comes after it."""
    result = run(
        """
        from coop_plugins.scope import TaskGroup

        def boom():
            raise ValueError("boom")

        @pytest.fixture
        def group():
            with TaskGroup() as group:
                yield group

        @pytest.mark.coop
        def test_it(group):
            group.spawn(boom)
            sleep(3600)
        """,
        failed=1,
        errors=1,
    )
    assert told(result, "    @pytest.mark.coop", "test_it.py:") == [
        "    @pytest.mark.coop",
        "    def test_it(group):",
        "        group.spawn(boom)",
        ">       sleep(3600)",
        "E       coop_plugins.scope.Cancelled: <CancelScope open, cancelled, of test_it> was cancelled. "
        "Each wait in it raises this; let it pass to the end of the block.",
    ]


def test_a_task_that_recurses_too_deeply_is_folded(run):
    """As pytest folds the recursion of a test itself, which not every version can on every Python."""
    nest = "def nest():\n    nest()\n\n"
    own = run(nest + "def test_it():\n    nest()", failed=1)
    result = run(nest + "@pytest.mark.coop\ndef test_it():\n    spawn(nest)\n    sleep(0)\n    sleep(0)", failed=1)
    result.stdout.fnmatch_lines(["E * coop_pytest.TaskFailed: task 'nest-*', spawned at *: RecursionError: maximum recursion depth exceeded*"])
    assert len(result.outlines) < len(own.outlines) + 30


@pytest.mark.slow(reason="time itself is under test")
def test_a_blocking_call_is_told_by_its_stack_alone(run):
    result = run("import time\n@pytest.mark.coop(blocking=0.05)\ndef test_it():\n    time.sleep(1)", failed=1)
    assert "hidden" not in str(result.stdout)
