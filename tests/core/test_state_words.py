"""What a wait is for, in words, whatever the object says of itself."""

from __future__ import annotations

import pytest

from coopcore import run, sleep, spawn
from coopcore.lowlevel import current_hub, park


class Thing:
    def __init__(self, says):
        self.says = says

    def __repr__(self):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class Described(Thing):
    def describe_wait(self):
        return repr(self)


@pytest.mark.parametrize("kind", [Thing, Described])
@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("the turn of\nthe tide \x1b[1m", "the turn of\\nthe tide \\x1b[1m"),
        ("příliv", "příliv"),
        ("x" * 300 + "y" * 300, "x" * 200 + "..." + "y" * 200),
        (ValueError("no words"), "<{kind} object at {place}, whose description raised ValueError>"),
        (RecursionError(), "<{kind} object at {place}, whose description raised RecursionError>"),
    ],
)
def test_one_line_of_limited_length_that_never_raises(kind, says, words):
    def main():
        reason = kind(says)
        task = spawn(park, reason)
        sleep(0)
        expected = words.format(kind=kind.__name__, place=hex(id(reason)))
        assert task.waiting_on == expected
        assert expected in repr(task)
        assert expected in current_hub().describe()
        task.kill()

    run(main)
