"""Windows and intervals of a replay, cut by stamps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.tiny_model import CLASSES, tiny_manifest

from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.time_blocks import intervals, windows

EVALUATOR = Evaluator.of_model(tiny_manifest())
TRUTH = np.array([[0, 0, 0, 1]], np.uint8)


def frame(s: float, *, right: int | None = None, **measured: float) -> FrameRow:
    """A frame of four pixels, of which the first ones are right, the others called sign."""
    row = FrameRow(0, 5_000_000_000 + round(s * 1e9), **measured)  # type: ignore[arg-type]
    if right is None:
        return row
    counts = EVALUATOR.add(Prediction(np.where(np.arange(4) < right, TRUTH, 4).astype(np.uint8)), TRUTH)
    assert counts is not None
    return replace(row, pixel_accuracy=right / 4, cells=counts.confusion.sparse.tobytes())


def test_windows_by_hand() -> None:
    rows = [
        frame(2.5),
        frame(0.0, right=4, mean_uncertainty=0.1),  # stamps need not ascend
        frame(0.5, right=2, mean_uncertainty=0.3),
        replace(frame(0.9), cause="no label"),
        frame(2.6, mean_uncertainty=0.7),
    ]
    first, last = windows(rows, EVALUATOR) or []
    assert first == {
        "start_s": 0.0,
        "end_s": 1.0,
        "frames": 3,
        "judged": 2,
        "miou": pytest.approx((5 / 6 + 1 / 2 + 0) / 3),
        "pixel_accuracy": 6 / 8,
        "mean_uncertainty": pytest.approx(0.2),
    }
    assert (last["start_s"], last["frames"], last["judged"], last["mean_uncertainty"]) == (2.0, 2, 0, 0.7)
    assert last["miou"] is last["pixel_accuracy"] is None


@pytest.mark.parametrize(("seconds", "length_s"), [(59, 1), (100, 2), (3000, 60), (400_000, 6666.7)])
def test_windows_are_few_and_cover_the_whole(seconds: int, length_s: float) -> None:
    step = max(1, seconds // 3000)
    rows = [frame(s) for s in np.arange(0, seconds, min(step, 10))]
    found = windows(rows, EVALUATOR) or []
    assert found[0]["end_s"] == pytest.approx(length_s, rel=1e-3)
    assert len(found) <= 61
    assert sum(window["frames"] for window in found) == len(rows)
    assert all(one["end_s"] == pytest.approx(next_["start_s"]) for one, next_ in pairwise(found))


def test_a_stamp_of_another_day_does_not_stretch_the_windows() -> None:
    found = windows([frame(0), frame(1), frame(86400 * 365)], EVALUATOR) or []
    assert [(window["start_s"], window["frames"]) for window in found] == [(0, 1), (1, 1), (86400 * 365, 1)]


def test_bags_of_the_same_time_are_not_mixed() -> None:
    rows = [replace(frame(s / 2, right=bag * 4), bag=bag) for s in range(24) for bag in (0, 1)]
    found = windows(rows, EVALUATOR) or []
    assert [window["start_s"] for window in found] == list(range(24))
    assert [window["pixel_accuracy"] for window in found] == [0.0] * 12 + [1.0] * 12
    found_intervals = intervals(rows, EVALUATOR)
    assert found_intervals is not None
    assert found_intervals["block_s"] == pytest.approx(2.4)
    assert found_intervals["blocks"] == 10


def test_stamps_that_are_all_one_are_one_window_and_no_interval() -> None:
    rows = [frame(0, right=2)] * 30
    assert [window["frames"] for window in windows(rows, EVALUATOR) or []] == [30]
    assert intervals(rows, EVALUATOR) is None


def test_intervals_hold_the_figures_and_say_of_what_they_are() -> None:
    rng = np.random.default_rng(0)
    rows = [frame(s, right=int(rng.integers(0, 5))) for s in range(300)]
    found = intervals(rows, EVALUATOR)
    assert found is not None
    assert (found["level"], found["blocks"], found["block_s"]) == (0.95, 30, 10.0)
    accuracy = np.mean([row.pixel_accuracy for row in rows if row.pixel_accuracy is not None])
    low, high = found["pixel_accuracy"]
    assert 0.0 < low < accuracy < high < 1.0
    assert list(found["per_class_iou"]) == [info.name for info in CLASSES]
    assert found["per_class_iou"]["sky"] is None  # neither in the truth nor predicted
    assert found == intervals(rows, EVALUATOR)


def test_short_recordings_have_a_tenth_for_a_block_and_too_little_has_no_interval() -> None:
    rows = [frame(s / 10, right=3) for s in range(101)]
    found = intervals([*rows, frame(90)], EVALUATOR)  # not judged: of no account
    assert found is not None
    assert (found["blocks"], found["block_s"]) == (10, pytest.approx(1.01))
    assert intervals([frame(0, right=4), frame(1, right=1), frame(2, right=1)], EVALUATOR) is None
    assert intervals([frame(0), frame(1)], EVALUATOR) is None
    assert windows([], EVALUATOR) is None
