"""Curves of the uncertainty by hand; test_independent.py has them on real predictions."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.evaluation import calibration, error_detection


def histogram(**levels: tuple[int, int]) -> np.ndarray:
    """Right and wrong pixels by level, such as l10=(3, 1)."""
    counts = np.zeros((256, 2), np.int64)
    for name, pixels in levels.items():
        counts[int(name[1:])] = pixels
    return counts


def test_by_hand() -> None:
    counts = histogram(l10=(19, 0), l20=(0, 1), l30=(1, 1))
    assert error_detection.risk_coverage(counts) == [(19 / 22, 0), (20 / 22, 1 / 20), (1, 2 / 22)]
    # from the most uncertain on: one of two found in two pixels, the other in three
    assert error_detection.aupr_error(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert error_detection.aupr_success(counts) == pytest.approx((19 + 20 / 22) / 20)
    assert error_detection.fpr95(counts) == 0.0  # 19 of 20 is 95 %
    assert error_detection.fpr95(histogram(l10=(18, 0), l20=(1, 1), l30=(1, 3))) == 0.25
    curve = error_detection.sparsification(counts)
    assert curve.removed == pytest.approx([0, 2 / 22, 3 / 22])
    assert curve.error == pytest.approx([2 / 22, 1 / 20, 0])
    assert curve.oracle == pytest.approx([2 / 22, 0, 0])


@pytest.mark.parametrize("counts", [histogram(), histogram(l3=(4, 0)), histogram(l3=(0, 4))])
def test_without_right_or_wrong_pixels_there_is_nothing_to_tell_apart(counts: np.ndarray) -> None:
    for figure in (error_detection.aupr_error, error_detection.aupr_success, error_detection.fpr95):
        assert np.isnan(figure(counts))


def test_an_uncertainty_that_knows_every_error_has_no_area() -> None:
    assert error_detection.sparsification(histogram(l0=(100, 0), l255=(0, 70))).ause == pytest.approx(0, abs=1e-12)
    assert np.isnan(error_detection.sparsification(histogram()).ause)


def test_the_binary_event_by_hand() -> None:
    # two classes: level 255 is confidence 1 / 2, level 0 is 1, for the likelihood 1 - 1 / 2 / 255 / 4
    counts = histogram(l0=(2, 1), l255=(1, 0))
    assert calibration.brier(counts, 2) == pytest.approx((0 + 0 + 1 + 0.25) / 4)
    almost = 1 - 1 / 2040
    assert calibration.nll(counts, 2) == pytest.approx(-(2 * np.log(almost) + np.log(1 / 2040) + np.log(0.5)) / 4)
    assert np.isnan([calibration.brier(histogram(), 2), calibration.nll(histogram(), 2)]).all()
    bins = calibration.reliability_bins(counts, 2)
    assert [one.pixels for one in bins] == [0] * 7 + [1] + [0] * 6 + [3]
    assert (bins[-1].low, bins[-1].high, bins[-1].confidence, bins[-1].accuracy) == (14 / 15, 1, 1, 2 / 3)
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)
