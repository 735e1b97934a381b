"""What a model vouches for, fitted to streets that were held out: thresholds of the uncertainty with a bound on how many of the
accepted pixels are wrong, and what those streets were like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lwseg_ros.evaluation.drift import WORRYING, FrameFigures, brightness, spread
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.evaluation.metrics import UncertaintyMetrics
from lwseg_ros.model.acceptance import MAX_THRESHOLD, Acceptance, Range
from lwseg_training.data.augmentation import IGNORE

LEVEL = 0.1
CONFIDENCE = 0.9
LEAST_SHARE = 0.001
"""Of a block's pixels: with fewer of a class, a block says too little of its error rate to be counted."""

BLOCK_IMAGES = 3
"""Consecutive images that are one block; of CamVid three seconds."""
WINDOW_IMAGES = 10
"""Consecutive images over which the figures of `normal` are averaged; of CamVid ten seconds, as long as the node's window."""
NORMAL_MARGIN = 0.1
"""How far beyond the windows' figures normal goes, as a share of their range."""


@dataclass(frozen=True)
class ImageCounts:
    """What is kept of a held-out image.

    judged: int64 [C, 256, 2], see `UncertaintyMetrics`. seen: int64 [C, 256], all pixels by predicted class and uncertainty.
    uncertainty_spread, brightness: as in `FrameFigures`.
    """

    judged: np.ndarray
    seen: np.ndarray
    num_pixels: int
    uncertainty_spread: float
    brightness: float

    def figures(self, acceptance: Acceptance) -> FrameFigures:
        """Return the image's figures with the share that thresholds accept."""
        accepted = sum(int(self.seen[class_id, : t + 1].sum()) for class_id, t in acceptance.thresholds.items())
        return FrameFigures(accepted / self.num_pixels, self.uncertainty_spread, self.brightness)


def count_image(image: np.ndarray, prediction: Prediction, label: np.ndarray, num_classes: int) -> ImageCounts:
    """Count an image uint8 BGR [H, W, 3] with its prediction, uncertainty included, and its true label uint8 [H, W]."""
    assert prediction.uncertainty is not None
    judged, seen = UncertaintyMetrics(num_classes, IGNORE), UncertaintyMetrics(num_classes, IGNORE)
    judged.update(label, prediction.label, prediction.uncertainty)
    seen.update(prediction.label, prediction.label, prediction.uncertainty)
    return ImageCounts(
        judged.class_counts, seen.class_counts[:, :, 0], label.size, spread(prediction.uncertainty), brightness(image)
    )


def fit_acceptance(
    streets: Mapping[str, Sequence[ImageCounts]], level: float = LEVEL, confidence: float = CONFIDENCE
) -> dict[str, Any]:
    """Fit what the manifest keeps as `acceptance`, see `fit_thresholds` and `fit_normal`.

    streets: by name, each with its images in the order they were filmed. Besides what `Acceptance` reads there are
    `block_images`, and `blocks`, how many of them each street gave.
    """
    blocks = {name: _blocks(images) for name, images in streets.items()}
    thresholds = fit_thresholds([block for own in blocks.values() for block in own], level, confidence)
    found = {class_id: threshold for class_id, threshold in enumerate(thresholds) if threshold is not None}
    fitted = Acceptance(level, confidence, found, {})
    figures = [[image.figures(fitted) for image in images] for images in streets.values()]
    return {
        **Acceptance(level, confidence, found, fit_normal(figures)).to_manifest(len(thresholds)),
        "block_images": BLOCK_IMAGES,
        "blocks": {name: len(own) for name, own in blocks.items()},
    }


def _blocks(images: Sequence[ImageCounts]) -> list[np.ndarray]:
    """Add up the counts of consecutive images, at least BLOCK_IMAGES each where there are so many."""
    parts = np.array_split(np.arange(len(images)), max(1, len(images) // BLOCK_IMAGES))
    return [sum((images[index].judged for index in part), np.zeros_like(images[0].judged)) for part in parts]


def fit_normal(streets: Sequence[Sequence[FrameFigures]]) -> dict[str, Range]:
    """Return within which range the figures of windows were on some streets, and a tenth of it beyond, at the ends that matter.

    Empty where there are no two windows to tell a range from.
    """
    means = [
        np.mean(frames[start : start + WINDOW_IMAGES], axis=0)
        for frames in streets
        for start in range(len(frames) - WINDOW_IMAGES + 1)
    ]
    if len(means) < 2:
        return {}
    least, largest = np.min(means, axis=0), np.max(means, axis=0)
    margin = NORMAL_MARGIN * (largest - least)
    return {
        name: (
            round(float(least[i] - margin[i]), 4) if too_little else None,
            round(float(largest[i] + margin[i]), 4) if too_much else None,
        )
        for i, (name, (too_little, too_much)) in enumerate(WORRYING.items())
    }


def fit_thresholds(blocks: Sequence[np.ndarray], level: float, confidence: float, seed: int = 0) -> list[int | None]:
    """Find, for every class, the largest uncertainty to accept so that few accepted pixels of a new block are wrong.

    A block is some consecutive images of a street. Pixels of an image, and images that follow each other, are far from independent;
    blocks are taken to be exchangeable with those of the streets to come, and are what is counted. With W and A the wrong and all
    accepted pixels of the class, the ones predicted as it with an uncertainty of at most t, and m pixels the least that count, the
    loss of a block is

        L(t) = max over s <= t of  W(s) / max(A(s), m),

    its error rate, made monotone in t as conformal risk control demands of a loss (Angelopoulos et al., arXiv 2208.02814). That
    paper bounds its expectation over the draw of the blocks as well, a weak promise with few of them; here the bound is one in
    probability (Bates et al., Distribution-Free, Risk-Controlling Prediction Sets, arXiv 2101.02703): E L(t) <= level with the
    confidence, over the draw of the blocks, by the betting bound of Waudby-Smith and Ramdas, which needs no assumption on the
    distribution and gains from a small variance. The pooled rate of the blocks' pixels has to be within the level as well. Classes
    are bound one by one.

    Args:
        blocks: each int64 [C, 256, 2], pixels by predicted class, uncertainty, and right or wrong; see `UncertaintyMetrics`.
        level: of the error rate, in (0, 1).
        confidence: in (0, 1).
        seed: of the blocks' order, in which the bets are placed.

    Returns:
        By class id the largest accepted uncertainty, 0..254, None where no threshold can be vouched for: too many errors
        among the most certain pixels, or too few blocks; even without an error that takes ln(1 / (1 - confidence)) /
        ln(1 + level) of them, 25 at 0.1 and 0.9.
    """
    counts = np.stack(blocks)[np.random.default_rng(seed).permutation(len(blocks))].astype(np.int64)
    least = LEAST_SHARE * counts.sum(axis=(1, 2, 3))
    return [_threshold(counts[:, class_id], least, level, confidence) for class_id in range(counts.shape[1])]


def _threshold(counts: np.ndarray, least: np.ndarray, level: float, confidence: float) -> int | None:
    """Fit one class: counts int64 [B, 256, 2], least float [B], see `fit_thresholds`."""
    present = counts.sum(axis=(1, 2)) >= np.maximum(least, 1)
    below = counts[:, : MAX_THRESHOLD + 1].cumsum(axis=1)
    wrong, accepted = below[:, :, 1], below.sum(axis=2)
    rates = wrong[present] / np.maximum(accepted[present], least[present, None])
    losses = np.maximum.accumulate(rates, axis=1)
    controlled = [mean_is_below(losses[:, threshold], level, confidence) for threshold in range(MAX_THRESHOLD + 1)]
    pooled = wrong.sum(axis=0) <= level * accepted.sum(axis=0)
    threshold = MAX_THRESHOLD if all(controlled) else controlled.index(False) - 1
    while threshold >= 0 and not pooled[threshold]:
        threshold -= 1
    return threshold if threshold >= 0 and accepted[:, threshold].any() else None


def mean_is_below(losses: np.ndarray, level: float, confidence: float) -> bool:
    """Tell with a confidence whether the mean of the distribution of losses, float [n] in [0, 1], is below a level.

    A capital is bet on it, K_i = prod over j <= i of 1 - v_j (L_j - level), with v_j = min(1, sqrt(2 ln(1 / d) / (n s_{j-1}^2)))
    of the variance s^2 seen before j. Were the mean not below, the capital would reach 1 / d, d = 1 - confidence, with
    a probability of d at most (arXiv 2101.02703, the Waudby-Smith-Ramdas bound; Ville's inequality).
    """
    if not losses.size:
        return False
    log_odds = -math.log(1 - confidence)
    seen = np.arange(1, losses.size + 1)
    mean = (0.5 + losses.cumsum()) / (1 + seen)
    variance = (0.25 + ((losses - mean) ** 2).cumsum()) / (1 + seen)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.minimum(1, np.sqrt(2 * log_odds / (losses.size * before)))
    capital = np.log1p(-bets * (losses - level)).cumsum()
    return bool(capital.max() > log_odds)
