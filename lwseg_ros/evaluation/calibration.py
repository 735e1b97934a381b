"""How far the published uncertainty can be read as a probability: of the event that a pixel's label is right.

A model file publishes a label and one of 256 levels of uncertainty a pixel, no probabilities of the classes. Where the kind is
`least_confidence`, u = (1 - max p) * C / (C - 1), the level gives back max p, the probability that the network itself gives its
label. What is scored here is that forecast of one binary event, so `brier` and `nll` are not those of all C probabilities.
Histograms are those of `UncertaintyMetrics`: int64 [256, 2], right and wrong pixels of each level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NUM_LEVELS = 256  # uncertainty is 8 bit
NUM_ECE_BINS = 15  # as in Guo et al., On Calibration of Modern Neural Networks, 2017


@dataclass(frozen=True)
class ReliabilityBin:
    """A bin (low, high] of confidence: mean confidence and accuracy of its pixels, None where there are none."""

    low: float
    high: float
    confidence: float | None
    accuracy: float | None
    pixels: int


def level_confidence(num_classes: int) -> np.ndarray:
    """Return the confidence max p that each level of `least_confidence` stands for, float64 [256], known to half a level."""
    uncertainty = np.arange(NUM_LEVELS) / (NUM_LEVELS - 1)
    confidence: np.ndarray = 1.0 - uncertainty * (num_classes - 1) / num_classes
    return confidence


def reliability_bins(histogram: np.ndarray, num_classes: int) -> list[ReliabilityBin]:
    """Sort the pixels into the bins of `expected_calibration_error`, in ascending order."""
    right, expected, pixels = _binned(histogram, num_classes)
    return [
        ReliabilityBin(
            index / NUM_ECE_BINS,
            (index + 1) / NUM_ECE_BINS,
            float(expected[index] / count) if count else None,
            float(right[index] / count) if count else None,
            count,
        )
        for index, count in enumerate(pixels.astype(int).tolist())
    ]


def expected_calibration_error(histogram: np.ndarray, num_classes: int) -> float:
    """Mean distance of accuracy and confidence over 15 equal-width bins (low, high], in [0, 1]; nan where there are no pixels."""
    if not histogram.any():
        return math.nan
    right, expected, _ = _binned(histogram, num_classes)
    return float(np.abs(right - expected).sum() / histogram.sum())


def brier(histogram: np.ndarray, num_classes: int) -> float:
    """Mean of (confidence - 1 if right else 0)^2 over the pixels, in [0, 1]; nan where there are none."""
    if not histogram.any():
        return math.nan
    confidence = level_confidence(num_classes)
    squares = np.column_stack([(1.0 - confidence) ** 2, confidence**2])
    return float((histogram * squares).sum() / histogram.sum())


def nll(histogram: np.ndarray, num_classes: int) -> float:
    """Mean of -ln(confidence) of right pixels and -ln(1 - confidence) of wrong ones, in nats; nan where there are none.

    Level 0 stands for all that rounds to it; its confidence is taken from the middle of that, a quarter of a level below 1, as
    a wrong pixel would cost infinitely much at 1.
    """
    if not histogram.any():
        return math.nan
    confidence = level_confidence(num_classes)
    confidence[0] -= (1.0 - confidence[1]) / 4
    losses = -np.log(np.column_stack([confidence, 1.0 - confidence]))
    return float((histogram * losses).sum() / histogram.sum())


def _binned(histogram: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum right pixels, confidence, and pixels a bin, float64 [15] each."""
    confidence = level_confidence(num_classes)
    # In integers: a confidence on a bin's border, such as 1/3 at level 187 of 11 classes, belongs to the bin below it.
    doubt = np.arange(256) * (num_classes - 1) * NUM_ECE_BINS // (255 * num_classes)  # bins below 1, rounded down
    bins = np.clip(NUM_ECE_BINS - 1 - doubt, 0, NUM_ECE_BINS - 1)
    pixels = histogram.sum(axis=1)
    weights = histogram[:, 0], pixels * confidence, pixels
    right, expected, count = (np.bincount(bins, weights=weight, minlength=NUM_ECE_BINS) for weight in weights)
    return right, expected, count
