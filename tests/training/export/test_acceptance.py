"""Thresholds that keep what is claimed of them, over many draws of the streets they are fitted on; and what is normal."""

from __future__ import annotations

import numpy as np
import pytest
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.export.acceptance import (
    WINDOW_IMAGES,
    ImageCounts,
    count_image,
    fit_acceptance,
    fit_normal,
    fit_thresholds,
    mean_is_below,
)

from lwseg_ros.evaluation.drift import FrameFigures, frame_figures
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.model.acceptance import Acceptance

RNG = np.random.default_rng(7)


def street_block(rng: np.random.Generator) -> np.ndarray:
    """Draw a block of one class whose error rate grows with the uncertainty, and from block to block by its own factor."""
    pixels = rng.poisson(40, 256)
    rate = np.clip(np.linspace(0, 0.6, 256) * rng.gamma(2.0, 0.5), 0, 1)
    wrong = rng.binomial(pixels, rate)
    return np.stack([pixels - wrong, wrong], axis=1)[None].astype(np.int64)


def test_the_level_is_kept_as_often_as_claimed() -> None:
    """The risk of each threshold is that of many more blocks; the bound may miss it in a tenth of the draws, and a few by luck."""
    many = np.stack([street_block(RNG)[0] for _ in range(3000)]).cumsum(axis=1)
    rates = many[:, :, 1] / np.maximum(many.sum(axis=2), 1)
    risk = rates.mean(axis=0)
    missed, chosen = 0, []
    for _ in range(100):
        (threshold,) = fit_thresholds([street_block(RNG) for _ in range(60)], 0.1, 0.9)
        assert threshold is not None
        chosen.append(threshold)
        missed += risk[threshold] > 0.1
    assert missed <= 15
    best = int(np.flatnonzero(risk <= 0.1).max())
    assert np.mean(chosen) > best / 2, "so careful that little is accepted"


def test_too_few_blocks_are_too_few_even_without_an_error() -> None:
    right = np.zeros((1, 256, 2), np.int64)
    right[0, :, 0] = 50
    assert fit_thresholds([right] * 24, 0.1, 0.9) == [None]
    assert fit_thresholds([right] * 25, 0.1, 0.9) == [254]
    assert fit_thresholds([right] * 25, 0.05, 0.9) == [None]


def test_each_class_has_its_own_and_one_that_is_never_predicted_none() -> None:
    block = np.zeros((3, 256, 2), np.int64)
    block[0, :, 0] = 50
    block[1, :30, 0] = 100
    block[1, 30:, 1] = 100  # wrong from 30 on
    assert fit_thresholds([block] * 60, 0.1, 0.9)[::2] == [254, None]
    threshold = fit_thresholds([block] * 60, 0.1, 0.9)[1]
    assert threshold is not None
    assert 29 <= threshold <= 32, "3 / 33 are wrong up to 32"


def test_errors_among_the_most_certain_pixels() -> None:
    block = np.zeros((1, 256, 2), np.int64)
    block[0, 0] = (80, 20)
    block[0, 1:, 0] = 100
    assert fit_thresholds([block] * 100, 0.1, 0.9) == [None]


def test_blocks_with_hardly_a_pixel_of_a_class_say_nothing_of_it() -> None:
    """Or a class that is seldom seen would pass for one that is seldom wrong."""
    present, absent = np.zeros((2, 256, 2), np.int64), np.zeros((2, 256, 2), np.int64)
    present[:, :, 0] = 100
    present[1, :, 1] = 100
    absent[0, :, 0] = 200
    absent[1, 0, 0] = 1
    assert fit_thresholds([present] * 4 + [absent] * 96, 0.1, 0.9) == [254, None]


def test_a_mean_below_the_level() -> None:
    assert not mean_is_below(np.zeros(0), 0.1, 0.9)
    assert mean_is_below(np.full(60, 0.02), 0.1, 0.9)
    assert not mean_is_below(np.full(60, 0.02), 0.1, 0.9999)
    assert not mean_is_below(np.full(60, 0.1), 0.1, 0.9)
    spread = np.tile([0.0, 0.0, 0.0, 0.24], 15)
    assert spread.mean() < 0.1
    assert not mean_is_below(spread[:20], 0.1, 0.9)


def image_counts(seed: int) -> tuple[ImageCounts, np.ndarray, Prediction]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (32, 40, 3), np.uint8)
    label = rng.integers(0, 3, (32, 40), np.uint8)
    prediction = Prediction(label.copy(), rng.integers(0, 200, (32, 40), np.uint8))
    label[:4] = IGNORE
    return count_image(image, prediction, label, 3), image, prediction


def test_an_image_s_counts_give_the_figures_that_the_node_takes() -> None:
    counts, image, prediction = image_counts(0)
    assert counts.judged.sum() == 28 * 40
    assert counts.judged[:, :, 1].sum() == 0
    acceptance = Acceptance(0.1, 0.9, {0: 100, 2: 150}, {})
    figures = counts.figures(acceptance)
    assert prediction.uncertainty is not None
    seen = frame_figures(acceptance, image, prediction.label, prediction.uncertainty)
    assert figures[1:] == seen[1:]
    every_row = acceptance.accepted(prediction.label, prediction.uncertainty)
    assert figures.accepted_share == pytest.approx((every_row > 0).mean())


def test_what_the_manifest_keeps() -> None:
    streets = {"one": [image_counts(seed)[0] for seed in range(80)], "two": [image_counts(99)[0]]}
    fitted = fit_acceptance(streets, 0.1, 0.9)
    assert fitted["blocks"] == {"one": 26, "two": 1}
    assert fitted["block_images"] == 3
    assert fitted["thresholds"] == [254, 254, 254]
    acceptance = Acceptance.from_manifest(fitted, {0, 1, 2})
    assert acceptance is not None
    least, largest = acceptance.normal["accepted_share"]
    assert (least, largest) == (1.0, None)
    assert acceptance.normal["uncertainty_spread"][0] is None
    assert fit_acceptance({"short": streets["one"][:WINDOW_IMAGES]})["normal"] == {}


def test_normal_is_the_range_of_the_windows_and_a_tenth_beyond() -> None:
    day = [FrameFigures(0.6, 40.0, 100.0)] * WINDOW_IMAGES
    dark = [FrameFigures(0.5, 50.0, 80.0)] * (WINDOW_IMAGES + 3)
    assert fit_normal([day, dark]) == {
        "accepted_share": (pytest.approx(0.49), None),
        "uncertainty_spread": (None, pytest.approx(51.0)),
        "brightness": (pytest.approx(78.0), pytest.approx(102.0)),
    }
