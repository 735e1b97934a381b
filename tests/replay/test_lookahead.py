"""Answers beside the asking: order, overlap, errors, and no thread left."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from lwseg_ros.replay.lookahead import map_ahead


def test_items_come_in_order_with_their_answers() -> None:
    assert list(map_ahead(lambda item: item * item, range(7))) == [(n, n * n) for n in range(7)]
    assert list(map_ahead(str, [])) == []


def test_the_next_answer_is_worked_on_while_one_is_used() -> None:
    reached = threading.Event()

    def answer(item: int) -> int:
        if item == 1:
            reached.set()
        return item

    with closing(map_ahead(answer, range(5))) as answered:
        next(answered)
        assert reached.wait(30)


def test_no_more_than_needed_is_drawn_ahead() -> None:
    drawn: list[int] = []

    def items() -> object:
        for n in range(100):
            drawn.append(n)
            yield n

    with closing(map_ahead(str, items())) as answered:  # type: ignore[arg-type]
        next(answered)
    assert len(drawn) == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lwseg ahead")]


def test_an_error_is_raised_at_its_items_turn() -> None:
    def answer(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    answered = map_ahead(answer, range(5))
    assert [next(answered)[1], next(answered)[1]] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(answered)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lwseg ahead")]
