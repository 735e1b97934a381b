"""Bootstrap over blocks: by enumeration, draw by draw, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lwseg_ros.evaluation.bootstrap import NUM_RESAMPLES, SEED, interval, resample
from lwseg_ros.evaluation.metrics import ConfusionMatrix


def block(counts: list[list[int]], unlabelled: tuple[int, ...] = (0, 0)) -> ConfusionMatrix:
    matrix = ConfusionMatrix(len(counts), 255)
    matrix.counts += np.array(counts)
    matrix.unlabelled += np.array(unlabelled)
    return matrix


def random_blocks(number: int, *, pixels: int = 100) -> list[ConfusionMatrix]:
    rng = np.random.default_rng(3)
    rates = rng.dirichlet(np.ones(10) * 2, number)
    counts = np.array([rng.multinomial(pixels, rate) for rate in rates])
    return [block(row[:9].reshape(3, 3).tolist(), (row[9], 0, 0)) for row in counts]


def test_two_blocks_by_hand() -> None:
    # draws: twice the first, one of each, twice the second; a quarter, a half and a quarter of them
    values = resample([block([[4, 0], [0, 0]]), block([[2, 2], [0, 0]])])
    assert sorted(set(values.pixel_accuracy.tolist())) == [0.5, 0.75, 1.0]
    assert np.mean(values.pixel_accuracy == 0.75) == pytest.approx(0.5, abs=0.05)
    assert interval(values.pixel_accuracy) == [0.5, 1.0]
    # the second class is only ever predicted: 0 where it is, absent where the first block alone is drawn
    assert sorted(set(values.miou.tolist())) == [0.25, 0.375, 1.0]
    assert interval(values.per_class_iou[:, 1]) == [0.0, 0.0]
    assert interval(np.full(3, np.nan)) is None


def test_each_draw_is_the_figure_of_the_blocks_drawn() -> None:
    blocks = random_blocks(7)
    values = resample(blocks)
    draws = np.random.default_rng(SEED).multinomial(7, np.full(7, 1 / 7), NUM_RESAMPLES)
    for number in range(0, NUM_RESAMPLES, 50):
        total = ConfusionMatrix(3, 255)
        for times, drawn in zip(draws[number], blocks, strict=True):
            for _ in range(times):
                total.merge(drawn)
        assert values.miou[number] == pytest.approx(total.miou, abs=1e-12)
        assert values.pixel_accuracy[number] == pytest.approx(total.pixel_accuracy, abs=1e-12)
        np.testing.assert_allclose(values.per_class_iou[number], total.per_class_iou, rtol=0, atol=1e-12)


def test_the_interval_is_that_of_scipy() -> None:
    blocks = random_blocks(40)
    low, high = interval(resample(blocks).pixel_accuracy) or (0.0, 0.0)
    accuracies = [
        one.pixel_accuracy for one in blocks
    ]  # as many pixels each, so that their mean is the whole's accuracy
    found = stats.bootstrap((accuracies,), np.mean, n_resamples=20000, method="percentile", rng=1).confidence_interval
    assert low == pytest.approx(found.low, abs=0.1 * (high - low))
    assert high == pytest.approx(found.high, abs=0.1 * (high - low))
    assert [low, high] == interval(resample(blocks).pixel_accuracy)  # the same for ever
