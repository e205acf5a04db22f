"""Every primitive is compared with a model, for long enough, in `make soak`: at least so many programs of so many steps, with kills and timeouts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1] / "plugins"
EXAMPLES = 2000
STEPS = 30

# Which model tests what.
MODELS = {
    "event": "Event, AsyncResult",
    "lock_semaphore": "Semaphore, BoundedSemaphore",
    "lock_lock": "Lock, RLock",
    "lock_condition": "Condition",
    "lock_barrier": "Barrier",
    "queue": "SimpleQueue, Queue, LifoQueue, PriorityQueue",
    "queue_channel": "Channel",
    "pool": "Group, Pool",
    "scope": "CancelScope, TaskGroup",
    "local": "local",
}


def test_there_is_a_model_of_each() -> None:
    assert {path.stem.removeprefix("test_").removesuffix("_model") for path in TESTS.glob("test_*_model.py")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_tried_for_long(name: str) -> None:
    text = (TESTS / f"test_{name}_model.py").read_text()
    assert [cls for cls in MODELS[name].split(", ") if not re.search(rf"\b{cls}\b", text)] == []
    assert "pytest.mark.soak" in text
    (long,) = re.findall(r"^LONG = settings\(max_examples=(\d+)", text, re.MULTILINE)
    assert int(long) >= EXAMPLES
    numbers = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and type(node.value) is int}
    assert STEPS in numbers, f"its programs in `make soak` must have {STEPS} steps or more"


@pytest.mark.parametrize("name", MODELS)
def test_its_programs_have_kills_and_timeouts(name: str) -> None:
    words = " ".join(
        node.value for node in ast.walk(ast.parse((TESTS / f"test_{name}_model.py").read_text())) if isinstance(node, ast.Constant) and type(node.value) is str
    )
    assert re.search(r"\bkill\b", words)
    assert re.search(r"\b(timed|time out|timeout)\b", words)
