"""``coop_plugins.wsgi._body``: pieces that were received, against a plain string of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httptools")

from coop_plugins.wsgi._body import _PUT_TOGETHER, _SMALL, Body

pieces = st.integers(1, 40) | st.integers(_SMALL - 2, _SMALL + 2) | st.just(_PUT_TOGETHER)
steps = st.lists(st.tuples(st.sampled_from(["add", "add", "take", "line", "line from", "clear"]), pieces | st.just(0)), max_size=30)


def of_size(size: int, number: int) -> bytes:
    """Different bytes in each piece, with line ends here and there."""
    return bytes((number * 7 + at * at) % 251 if (number + at) % 17 else 10 for at in range(size))


@settings(max_examples=40, deadline=None)
@given(steps)
def test_a_body_gives_what_was_added(steps: list[tuple[str, int]]) -> None:
    body, model = Body(), b""
    for number, (step, size) in enumerate(steps):
        if step == "add" and size:
            body.add(of_size(size, number))
            model += of_size(size, number)
        elif step == "take":
            taken = body.take(size)
            assert type(taken) is bytes and taken == model[:size]
            model = model[size:]
        elif step == "line":
            assert body.find_line(0) == model.find(b"\n") + 1
        elif step == "line from":
            assert body.find_line(size) == (model.find(b"\n", size) + 1)
        elif step == "clear":
            body.clear()
            model = b""
        assert (len(body), body.size, bytes(body)) == (len(model), len(model), model)


def test_a_large_piece_is_handed_out_as_it_is() -> None:
    body = Body()
    given = bytes(_PUT_TOGETHER)
    body.add(given)
    assert body.take(_PUT_TOGETHER) is given


def test_small_pieces_take_no_more_than_their_bytes() -> None:
    body = Body()
    for _ in range(100_000):
        body.add(b"ab")
    assert len(body._pieces) <= 200_000 // _PUT_TOGETHER + 1
