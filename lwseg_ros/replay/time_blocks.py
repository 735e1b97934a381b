"""A replay cut into pieces of time, by the images' stamps: figures of each, and the intervals that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from lwseg_ros.evaluation import bootstrap
from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_ros.evaluation.metrics import ConfusionMatrix, finite_or_none
from lwseg_ros.replay.rows import FrameRow

MAX_GAP_S = 10.0  # longer ones are breaks of the recording, or of its clock, and take no time
MAX_WINDOWS = 60
WINDOW_LENGTHS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
BLOCK_S = 10.0
NUM_BLOCKS = 10  # at the least, which makes them shorter in short recordings
MIN_BLOCKS = 5  # with fewer the intervals would say nothing


def windows(rows: Sequence[FrameRow], evaluator: Evaluator) -> list[dict[str, Any]] | None:
    """Compute the figures of windows of equal length, at most about 60, ready for JSON; those without images are left out.

    Seconds count from the earliest stamp; those of a further bag go on where the last window of the one before ends. `frames`
    are images, `judged` those with pixels that counted. None without images.
    """
    if not rows:
        return None
    span_s = _span_s(rows)
    length_s = next((length for length in WINDOW_LENGTHS_S if length * MAX_WINDOWS >= span_s), span_s / MAX_WINDOWS)
    found = []
    for number, inside in cut(rows, length_s).items():
        confusion = sum_counts(inside, evaluator.confusion.num_classes)
        uncertainties = [row.mean_uncertainty for row in inside if row.mean_uncertainty is not None]
        found.append(
            {
                "start_s": number * length_s,
                "end_s": (number + 1) * length_s,
                "frames": len(inside),
                "judged": sum(row.is_judged for row in inside),
                "miou": finite_or_none(confusion.miou),
                "pixel_accuracy": finite_or_none(confusion.pixel_accuracy),
                "mean_uncertainty": float(np.mean(uncertainties)) if uncertainties else None,
            }
        )
    return found


def intervals(rows: Sequence[FrameRow], evaluator: Evaluator) -> dict[str, Any] | None:
    """Compute 95 % intervals of the figures by bootstrap over blocks of time, ready for JSON; None with less than 5 blocks.

    Blocks are of 10 s, in recordings of less than 100 s of a tenth of that: too short to be independent, so that the intervals
    are then too narrow.
    """
    judged = [row for row in rows if row.is_judged]
    if not judged:
        return None
    length_s = block_length_s(judged)
    blocks = [sum_counts(inside, evaluator.confusion.num_classes) for inside in cut(judged, length_s).values()]
    if len(blocks) < MIN_BLOCKS:
        return None
    resampled = bootstrap.resample(blocks)
    return {
        "level": bootstrap.LEVEL,
        "blocks": len(blocks),
        "block_s": length_s,
        "miou": bootstrap.interval(resampled.miou),
        "pixel_accuracy": bootstrap.interval(resampled.pixel_accuracy),
        "per_class_iou": dict(zip(evaluator.names, map(bootstrap.interval, resampled.per_class_iou.T), strict=True)),
    }


def block_length_s(rows: Sequence[FrameRow]) -> float:
    """Return the length of the blocks that intervals of these rows are made of, seconds."""
    return min(BLOCK_S, _span_s(rows) / NUM_BLOCKS)


def _span_s(rows: Sequence[FrameRow]) -> float:
    """Return the seconds that the rows stand for, each bag's last one for as long as its others in the mean; 0 for one alone."""
    total_s = 0.0
    for of_bag in _by_bag(rows):
        stamps_s = np.unique([row.stamp_ns for row in of_bag]) / 1e9
        if len(stamps_s) > 1:
            gaps_s = np.minimum(np.diff(stamps_s), MAX_GAP_S)
            total_s += float(gaps_s.sum() + gaps_s.mean())
    return total_s


def cut(rows: Sequence[FrameRow], length_s: float) -> dict[int, list[FrameRow]]:
    """Sort the rows into pieces of time, counted from the earliest stamp, in ascending order; those of a bag follow the last's."""
    pieces: dict[int, list[FrameRow]] = {}
    for of_bag in _by_bag(rows):
        first, start_ns = max(pieces, default=-1) + 1, of_bag[0].stamp_ns
        for row in of_bag:
            number = int((row.stamp_ns - start_ns) / 1e9 / length_s) if length_s else 0
            pieces.setdefault(first + number, []).append(row)
    return pieces


def _by_bag(rows: Sequence[FrameRow]) -> list[list[FrameRow]]:
    """Take the rows of several bags apart, each bag's by stamp."""
    ordered = sorted(rows, key=lambda row: (row.bag, row.stamp_ns))
    return [list(of_bag) for _, of_bag in groupby(ordered, key=lambda row: row.bag)]


def sum_counts(rows: Sequence[FrameRow], num_classes: int) -> ConfusionMatrix:
    """Add up the counts of some frames."""
    total = ConfusionMatrix(num_classes)
    cells = [row.confusion for row in rows if row.confusion is not None]
    if cells:
        total.add_sparse(np.concatenate(cells))
    return total
