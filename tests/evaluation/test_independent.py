"""Every figure of a real prediction against scikit-learn, or another way of computing it, to 1e-6."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from support.clip_predictions import clip_predictions, counted_pixels, evaluated_clip

EDGES = np.linspace(0, 1, 16)[1:-1]  # between bins (low, high] of confidence
Pixels = tuple[np.ndarray, np.ndarray, np.ndarray]


def close(value: object) -> Any:
    return pytest.approx(value, rel=0, abs=1e-6)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return evaluated_clip().metrics()


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return counted_pixels()


@pytest.fixture(scope="module")
def confidence(pixels: Pixels) -> np.ndarray:
    """The network's own probability of its label, of least confidence in 11 classes."""
    return 1 - pixels[2] / 255 * 10 / 11


def to_bin(confidence: np.ndarray) -> np.ndarray:
    """Move confidences off the bins' borders, where rounding decides: 1/3 at level 187 is in the bin below."""
    return confidence - 1e-9


def test_classes(figures: dict[str, Any], pixels: Pixels) -> None:
    true, pred, _ = pixels
    names, ids = figures["confusion"]["classes"], np.arange(11)
    assert np.array_equal(figures["confusion"]["counts"], sk.confusion_matrix(true, pred, labels=ids))
    assert figures["pixel_accuracy"] == close(sk.accuracy_score(true, pred))
    options: dict[str, Any] = {"labels": ids, "average": None, "zero_division": np.nan}
    iou = sk.jaccard_score(true, pred, **{**options, "zero_division": 0})
    seen = np.isin(ids, true) | np.isin(ids, pred)
    assert figures["miou"] == close(iou[seen].mean())
    assert figures["miou_present"] == close(iou[np.isin(ids, true)].mean())
    for key, expected in (
        ("per_class_iou", np.where(seen, iou, np.nan)),
        ("per_class_precision", sk.precision_score(true, pred, **options)),
        ("per_class_recall", sk.recall_score(true, pred, **options)),
    ):
        found = [np.nan if value is None else value for value in figures[key].values()]
        assert list(figures[key]) == names
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_error_detection(figures: dict[str, Any], pixels: Pixels) -> None:
    true, pred, level = pixels
    wrong = true != pred
    found = figures["uncertainty"]
    assert found["auroc"] == close(sk.roc_auc_score(wrong, level))
    assert found["aupr_error"] == close(sk.average_precision_score(wrong, level))
    assert found["aupr_success"] == close(sk.average_precision_score(~wrong, -level))
    fpr, tpr, _ = sk.roc_curve(~wrong, -level, drop_intermediate=False)
    assert found["fpr95"] == close(fpr[np.argmax(tpr >= 0.95)])


def test_calibration(figures: dict[str, Any], pixels: Pixels, confidence: np.ndarray) -> None:
    true, pred, _ = pixels
    right = true == pred
    found = figures["uncertainty"]
    accuracies, confidences = calibration_curve(right, to_bin(confidence), n_bins=15)
    filled = [one for one in found["bins"] if one["pixels"]]
    assert [one["accuracy"] for one in filled] == close(accuracies)
    assert [one["confidence"] for one in filled] == close(confidences)
    assert sum(one["pixels"] for one in found["bins"]) == len(true)
    assert all(one["low"] < one["confidence"] <= one["high"] for one in filled)
    gaps = [one["pixels"] * abs(one["accuracy"] - one["confidence"]) for one in filled]
    assert found["ece"] == close(sum(gaps) / len(true))
    assert found["brier"] == close(sk.brier_score_loss(right, confidence))
    below_one = np.where(confidence == 1, 1 - 10 / 11 / 255 / 4, confidence)
    assert found["nll"] == close(sk.log_loss(right, below_one))


def test_calibration_of_each_class(figures: dict[str, Any], pixels: Pixels, confidence: np.ndarray) -> None:
    true, pred, _ = pixels
    for class_id, found in enumerate(figures["uncertainty"]["per_class_ece"].values()):
        of_class = pred == class_id
        if not of_class.any():
            assert found is None
            continue
        bins = np.searchsorted(EDGES, to_bin(confidence[of_class]))
        right = (true == pred)[of_class]
        expected = sum(
            abs(right[bins == one].mean() - confidence[of_class][bins == one].mean()) * (bins == one).mean()
            for one in np.unique(bins)
        )
        assert found == close(expected)


def test_curves(figures: dict[str, Any], pixels: Pixels) -> None:
    true, pred, level = pixels
    wrong, found = true != pred, figures["uncertainty"]
    levels = np.unique(level)
    points = [((level <= one).mean(), wrong[level <= one].mean()) for one in levels]
    np.testing.assert_allclose(found["risk_coverage"], points, rtol=0, atol=1e-6)
    # within a level the pixels have no order: each counts as the level's mean
    rates = np.array([wrong[level == one].mean() for one in levels])
    expected_wrong = rates[np.searchsorted(levels, np.sort(level))]
    kept = np.arange(1, len(level) + 1)
    risks, ideal = np.cumsum(expected_wrong) / kept, np.cumsum(np.sort(wrong)) / kept
    assert found["aurc"] == close(risks.mean())
    curve = found["sparsification"]
    assert curve["ause"] == close(risks.mean() - ideal.mean())
    assert curve["removed"] == close([1 - coverage for coverage, _ in reversed(points)])
    assert curve["error"] == close([risk for _, risk in reversed(points)])
    assert curve["oracle"] == close([ideal[round(coverage * len(level)) - 1] for coverage, _ in reversed(points)])
    assert curve["removed"][0] == 0.0


def test_regions(figures: dict[str, Any]) -> None:
    assert [region["name"] for region in figures["regions"]] == ["far", "middle", "near"]
    for region, (first, end) in zip(figures["regions"], ((0, 120), (120, 240), (240, 360)), strict=True):
        assert region["rows"] == [first, end]
        true, pred, level = counted_pixels(slice(first, end))
        assert region["pixels"] == len(true)
        assert region["pixel_accuracy"] == close(sk.accuracy_score(true, pred))
        present = np.union1d(true, pred)
        assert region["miou"] == close(sk.jaccard_score(true, pred, labels=present, average="macro", zero_division=0))
        confidence = 1 - level / 255 * 10 / 11
        accuracies, confidences = calibration_curve(true == pred, to_bin(confidence), n_bins=15)
        weights = np.bincount(np.searchsorted(EDGES, to_bin(confidence)))
        assert region["ece"] == close(np.average(np.abs(accuracies - confidences), weights=weights[weights > 0]))


def boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """As the paper's authors have it: a mask less what is left after taking away its outermost pixels d times."""
    inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=distance)
    return mask & ~inner


def test_boundary_iou(figures: dict[str, Any]) -> None:
    manifest, pairs = clip_predictions()
    distance = round(0.02 * float(np.hypot(360, 480)))
    expected = []
    for class_id in range(11):
        intersection = union = 0
        for truth, prediction in pairs:
            counted = truth != manifest.ignore_id
            true, pred = (boundary((label == class_id) & counted, distance) for label in (truth, prediction.label))
            intersection += (true & pred).sum()
            union += (true | pred).sum()
        expected.append(intersection / union if union else np.nan)
    found = figures["boundary_iou"]
    values = [np.nan if value is None else value for value in found["per_class"].values()]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
    assert found["mean"] == close(np.nanmean(expected))
    assert found["mean"] < figures["miou"]
