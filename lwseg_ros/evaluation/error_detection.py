"""How well the uncertainty tells wrong pixels from right ones, exactly, from the counts of its 256 levels.

Histograms are those of `UncertaintyMetrics`: int64 [256, 2], right and wrong pixels of each level. All pixels of a level have
one score: a threshold takes all of them or none. Figures that need right or wrong pixels where there are none are nan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sparsification:
    """What stays wrong when the most uncertain pixels are taken away, and the wrong ones were, had one known them.

    Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow, ECCV 2018, with the error rate as the error.

    Attributes:
        removed: share of the pixels that is taken away, ascending from 0, at each level that has pixels.
        error: error rate of the pixels that remain, at each of these.
        oracle: the same where wrong pixels are taken away before right ones.
        ause: area between the curves, averaged over the number of remaining pixels as AURC is, which makes it AURC less the
            oracle's; 0 is perfect. Not normalised by the error rate of all pixels. nan where nothing was counted.
    """

    removed: list[float]
    error: list[float]
    oracle: list[float]
    ause: float


def aurc(histogram: np.ndarray) -> float:
    """Area under the risk-coverage curve: the error rate of the k most certain pixels, averaged over k = 1..n.

    0 is perfect; an uninformative uncertainty gives the plain error rate. Among pixels of one level, which have no
    order, the mean over all orders is taken, in closed form. nan when nothing was counted.
    """
    total = int(histogram.sum())
    if not total:
        return math.nan
    area, pixels_before, wrong_before = 0.0, 0, 0
    for right_here, wrong_here in histogram.tolist():
        here = right_here + wrong_here
        if not here:
            continue
        # j pixels into this level the expected risk is (wrong_before + rate * j) / (pixels_before + j);
        # summed over j = 1..here this is a harmonic sum.
        rate = wrong_here / here
        steps = _harmonic(pixels_before + here) - _harmonic(pixels_before)
        area += wrong_here + (wrong_before - rate * pixels_before) * steps
        pixels_before += here
        wrong_before += wrong_here
    return area / total


def risk_coverage(histogram: np.ndarray) -> list[tuple[float, float]]:
    """Return (share of the pixels that is kept, error rate of these), from the most certain level with pixels to the last."""
    pixels, wrong = _kept(histogram)
    return list(zip((pixels / histogram.sum()).tolist(), (wrong / pixels).tolist(), strict=True))


def sparsification(histogram: np.ndarray) -> Sparsification:
    """Compare taking away the most uncertain pixels with taking away the wrong ones."""
    pixels, wrong = (counts[::-1] for counts in _kept(histogram))
    right = int(histogram[:, 0].sum())
    total = int(histogram.sum())
    # The oracle still has wrong pixels as long as more remain than are right: R of them are right, k - R wrong, over k = R..n.
    ideal = (total - right - right * (_harmonic(total) - _harmonic(right))) / total if total else math.nan
    return Sparsification(
        (1.0 - pixels / max(total, 1)).tolist(),
        (wrong / pixels).tolist(),
        (np.maximum(pixels - right, 0) / pixels).tolist(),
        aurc(histogram) - ideal,
    )


def aupr_error(histogram: np.ndarray) -> float:
    """Area under the precision-recall curve of finding wrong pixels by high uncertainty, as average precision.

    The sum of (R_k - R_k-1) * P_k over the thresholds, without interpolation. Chance gives the error rate.
    """
    return _average_precision(histogram[::-1, 1], histogram[::-1, 0])


def aupr_success(histogram: np.ndarray) -> float:
    """Area under the precision-recall curve of finding right pixels by low uncertainty; see `aupr_error`."""
    return _average_precision(histogram[:, 0], histogram[:, 1])


def fpr95(histogram: np.ndarray) -> float:
    """Share of the wrong pixels that pass for right at the first threshold that lets at least 95 % of the right ones pass.

    Corbiere et al., Addressing Failure Prediction by Learning Model Confidence, NeurIPS 2019.
    """
    right, wrong = np.cumsum(histogram, axis=0).T
    if not right[-1] or not wrong[-1]:
        return math.nan
    level = int(np.argmax(20 * right >= 19 * right[-1]))
    return float(wrong[level] / wrong[-1])


def _kept(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count all and the wrong pixels up to each level that has pixels, int64 [K] each."""
    levels = histogram.sum(axis=1) > 0
    pixels, wrong = np.cumsum(histogram.sum(axis=1)), np.cumsum(histogram[:, 1])
    return pixels[levels], wrong[levels]


def _average_precision(hits: np.ndarray, misses: np.ndarray) -> float:
    """Sum precision over recall, thresholds in the order of the counts [256]."""
    if not hits.any() or not misses.any():
        return math.nan
    found = np.cumsum(hits)
    precision = found / np.maximum(found + np.cumsum(misses), 1)
    return float((hits * precision).sum() / found[-1])


def _harmonic(n: int) -> float:
    """Sum 1/k for k = 1..n; from 64 on by its asymptotic series, which is then exact to rounding."""
    if n < 64:
        return sum(1.0 / k for k in range(1, n + 1))
    return math.log(n) + 0.57721566490153286 + 1 / (2 * n) - 1 / (12 * n**2) + 1 / (120 * n**4)
