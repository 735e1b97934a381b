"""How far figures would vary on other drives of this kind: bootstrap over blocks of time.

Frames that follow each other show the same scene, so that resampling frames, let alone pixels, gives intervals far too narrow.
Blocks that do not overlap are drawn with replacement instead (Kuensch, The Jackknife and the Bootstrap for General Stationary
Observations, 1989): what happens within one block stays together. A block has to be longer than a scene lasts; one
recording tells nothing of streets that are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwseg_ros.evaluation.metrics import ConfusionMatrix, mean_of_finite, ratio

LEVEL = 0.95
NUM_RESAMPLES = 2000
SEED = 20


@dataclass(frozen=True)
class Resampled:
    """Figures of each resample: miou and pixel_accuracy float64 [R], per_class_iou float64 [R, C], nan as in `ConfusionMatrix`."""

    miou: np.ndarray
    pixel_accuracy: np.ndarray
    per_class_iou: np.ndarray


def resample(blocks: Sequence[ConfusionMatrix], seed: int = SEED) -> Resampled:
    """Draw as many blocks as there are, with replacement, R = 2000 times, and compute the figures of each draw.

    The draws depend on seed and number of blocks alone: figures of two runs over the same blocks can be subtracted draw by draw.
    Those of other blocks need another seed, or what has nothing in common would vary together.
    """
    num_blocks = len(blocks)
    draws = np.random.default_rng(seed).multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), NUM_RESAMPLES)
    hits = draws @ np.stack([np.diag(block.counts) for block in blocks])
    true = draws @ np.stack([block.true_pixels for block in blocks])
    predicted = draws @ np.stack([block.counts.sum(axis=0) for block in blocks])
    iou = ratio(hits, true + predicted - hits)
    return Resampled(
        miou=np.array([mean_of_finite(row) for row in iou]),
        pixel_accuracy=ratio(hits.sum(axis=1), true.sum(axis=1)),
        per_class_iou=iou,
    )


def interval(values: np.ndarray) -> list[float] | None:
    """Return the percentile interval [low, high] of level 0.95, without the resamples that are nan; None where all are."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    tail = 50 * (1 - LEVEL)
    bounds: list[float] = np.percentile(known, (tail, 100 - tail)).tolist()
    return bounds
