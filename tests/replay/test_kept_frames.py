"""Which frames are kept: those that sorting all of them would give."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.replay.kept_frames import SPACING_NS, FrameSelection, KeptFrame
from lwseg_ros.replay.rows import FrameRow

PIXELS = np.zeros((1, 1), np.uint8)


def chosen(rows: list[FrameRow], num_extreme: int, num_spread: int = 0) -> list[tuple[str, int]]:
    selection = FrameSelection(len(rows), num_spread, num_extreme)
    for row in rows:
        selection.offer(KeptFrame(row.index, PIXELS, Prediction(PIXELS), None, row, "spread"))
    frames = selection.frames()
    assert all(frame.row is rows[frame.index] for frame in frames)
    return [(frame.why, frame.index) for frame in frames]


def row(index: int, *, s: float | None = None, **measured: float) -> FrameRow:
    return FrameRow(index, int((index if s is None else s) * 1e9), pixel_accuracy=0.5, **measured)  # type: ignore[arg-type]


def test_each_reason_by_hand() -> None:
    rows = [
        row(0, miou=0.9, mean_uncertainty=0.8, confident_error=0.01),
        row(1, miou=0.2, mean_uncertainty=0.1, confident_error=0.30),
        row(2, miou=0.5, mean_uncertainty=0.5, confident_error=0.20),
        FrameRow(3, 3 * 10**9, mean_uncertainty=0.99),  # without ground truth
        FrameRow(4, 4 * 10**9, cause="no label"),
    ]
    assert chosen(rows, 1, num_spread=2) == [
        ("worst", 1),
        ("most uncertain", 0),
        ("spread", 0),
        ("spread", 4),
    ]  # the most confidently wrong one is the worst and shown as such
    assert chosen(rows, 2) == [("worst", 1), ("worst", 2), ("most uncertain", 0)]
    assert chosen(rows, 0) == []


def test_equals_are_told_apart_by_accuracy_then_the_first_one_stays() -> None:
    rows = [
        FrameRow(index, index * 10**9, pixel_accuracy=accuracy, miou=0.5)
        for index, accuracy in enumerate([0.9, 0.8, 0.8])
    ]
    assert chosen(rows, 1) == [("worst", 1)]


def test_of_neighbours_only_the_worst_is_kept() -> None:
    rows = [row(index, s=index / 10, miou=miou) for index, miou in enumerate([0.5, 0.3, 0.4] + [0.9] * 7 + [0.6])]
    assert chosen(rows, 3) == [("worst", 1), ("worst", 10)]


@pytest.mark.parametrize("num_extreme", [1, 4])
def test_the_choice_is_that_of_sorting_them_all(num_extreme: int) -> None:
    rng = np.random.default_rng(num_extreme)
    rows = [row(index, s=stamp, miou=float(rng.random())) for index, stamp in enumerate(rng.random(200) * 20)]
    worst: dict[int, FrameRow] = {}
    for one in sorted(rows, key=lambda one: one.miou or 0):
        worst.setdefault(one.stamp_ns // SPACING_NS, one)
    expected = [one.index for one in worst.values()][:num_extreme]
    assert chosen(rows, num_extreme) == [("worst", index) for index in expected]


def test_what_several_selections_kept_can_be_chosen_from_again() -> None:
    rng = np.random.default_rng(0)
    rows = [
        FrameRow(index, int(rng.random() * 2e10), pixel_accuracy=0.5, miou=miou, mean_uncertainty=uncertainty, bag=bag)
        for bag in range(3)
        for index, (miou, uncertainty) in enumerate(rng.random((40, 2)), 40 * bag)
    ]
    offers = [KeptFrame(row.index, PIXELS, Prediction(PIXELS), None, row, "spread") for row in rows]
    at_once, again = FrameSelection(0, 0, 4), FrameSelection(0, 0, 4)
    for bag in range(3):
        selection = FrameSelection(0, 0, 4)
        for offer in offers[40 * bag : 40 * (bag + 1)]:
            selection.offer(offer)
            at_once.offer(offer)
        for kept in selection.frames():
            again.offer(kept)
    assert [(kept.why, kept.index) for kept in again.frames()] == [(kept.why, kept.index) for kept in at_once.frames()]
    assert len(again.frames()) > 5
