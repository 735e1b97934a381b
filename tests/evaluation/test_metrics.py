"""Metrics: cases small enough to check by hand, and brute force on random ones."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.errors import DatasetError
from lwseg_ros.evaluation.metrics import ConfusionMatrix, UncertaintyMetrics, finite_or_none

IGNORE = 9


def labels(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.uint8)


def test_confusion_by_hand() -> None:
    matrix = ConfusionMatrix(3, IGNORE)
    matrix.update(labels(0, 0, 0, 1, 1, 2, IGNORE, IGNORE), labels(0, 0, 1, 1, 2, 2, 0, 77))
    assert matrix.counts.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert matrix.per_class_iou == pytest.approx([2 / 3, 1 / 3, 1 / 2])
    assert matrix.miou == pytest.approx(0.5)
    assert matrix.pixel_accuracy == pytest.approx(4 / 6)
    assert matrix.num_pixels == 6


def test_precision_recall_and_classes_that_are_only_predicted() -> None:
    matrix = ConfusionMatrix(4, IGNORE)
    matrix.update(labels(0, 0, 0, 1, 1), labels(0, 0, 2, 0, IGNORE))
    assert matrix.precision.tolist() == pytest.approx([2 / 3, np.nan, 0, np.nan], nan_ok=True)
    assert matrix.recall.tolist() == pytest.approx([2 / 3, 0, np.nan, np.nan], nan_ok=True)
    assert matrix.true_pixels.tolist() == [3, 2, 0, 0]
    assert matrix.miou == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert matrix.miou_present == pytest.approx((1 / 2 + 0) / 2)


def test_sparse_counts_are_the_cells_that_are_not_zero() -> None:
    matrix = ConfusionMatrix(3, IGNORE)
    matrix.update(labels(0, 0, 1, 2, 2), labels(0, 0, 2, IGNORE, IGNORE))
    assert matrix.sparse.dtype == np.uint32
    assert matrix.sparse.tolist() == [[0, 2], [1 * 4 + 2, 1], [2 * 4 + 3, 2]]
    for _ in range(2):
        matrix.add_sparse(matrix.sparse)
    assert matrix.counts.tolist() == [[8, 0, 0], [0, 0, 4], [0, 0, 0]]
    assert matrix.unlabelled.tolist() == [0, 0, 8]
    assert ConfusionMatrix(3).sparse.shape == (0, 2)


def test_absent_class_is_left_out_of_the_mean_but_a_false_alarm_is_not() -> None:
    matrix = ConfusionMatrix(4)
    matrix.update(labels(0, 0, 1), labels(0, 2, 1))
    iou = matrix.per_class_iou
    assert iou[:3] == pytest.approx([0.5, 1.0, 0.0])
    assert np.isnan(iou[3])
    assert matrix.miou == pytest.approx(0.5)


def test_nothing_counted_gives_nan_and_null() -> None:
    matrix, uncertainty = ConfusionMatrix(2, IGNORE), UncertaintyMetrics(2, IGNORE)
    matrix.update(labels(IGNORE, IGNORE), labels(0, 1))
    uncertainty.update(labels(IGNORE, IGNORE), labels(0, 1), labels(3, 4))
    figures = [matrix.miou, matrix.pixel_accuracy, uncertainty.ece, uncertainty.auroc, uncertainty.aurc]
    assert np.isnan(figures).all()
    assert [finite_or_none(figure) for figure in figures] == [None] * 5
    assert finite_or_none(0.25) == 0.25


def test_counts_add_up() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, (4, 6, 7), dtype=np.uint8)
    true[rng.random(true.shape) < 0.2] = IGNORE
    pred = rng.integers(0, 5, true.shape, dtype=np.uint8)
    level = rng.integers(0, 256, true.shape, dtype=np.uint8)
    whole, whole_u = ConfusionMatrix(5, IGNORE), UncertaintyMetrics(5, IGNORE)
    whole.update(true, pred)
    whole_u.update(true, pred, level)
    parts, parts_u = ConfusionMatrix(5, IGNORE), UncertaintyMetrics(5, IGNORE)
    for image in range(4):
        part, part_u = ConfusionMatrix(5, IGNORE), UncertaintyMetrics(5, IGNORE)
        part.update(true[image], pred[image])
        part_u.update(true[image], pred[image], level[image])
        parts.merge(part)
        parts_u.merge(part_u)
    assert np.array_equal(whole.counts, parts.counts)
    assert np.array_equal(whole_u.counts, parts_u.counts)
    counted = true != IGNORE
    for c in range(5):
        inter = np.sum((true == c) & (pred == c))
        union = np.sum(((true == c) | (pred == c)) & counted)
        assert whole.per_class_iou[c] == pytest.approx(inter / union)


def test_auroc_by_hand_with_a_tie() -> None:
    metrics = UncertaintyMetrics(2)
    # right pixels at 10 and 20, wrong pixels at 20 and 30: of four pairs three won and one tied
    metrics.update(labels(0, 0, 0, 0), labels(0, 0, 1, 1), labels(10, 20, 20, 30))
    assert metrics.auroc == pytest.approx(3.5 / 4)


def test_aurc_by_hand_with_a_tie() -> None:
    metrics = UncertaintyMetrics(2)
    # right; then one right and one wrong, tied: risks 0, (0 + 1/2) / 2 in the mean of both orders, 1/3
    metrics.update(labels(0, 0, 0), labels(0, 0, 1), labels(10, 20, 20))
    assert metrics.aurc == pytest.approx((0 + 1 / 4 + 1 / 3) / 3)


def test_aurc_of_uninformative_uncertainty_is_the_error_rate() -> None:
    metrics = UncertaintyMetrics(2)
    metrics.update(np.zeros(1000, np.uint8), (np.arange(1000) % 4 == 0).astype(np.uint8), np.full(1000, 7, np.uint8))
    assert metrics.aurc == pytest.approx(0.25)
    assert metrics.auroc == pytest.approx(0.5)


def test_ece_by_hand() -> None:
    metrics = UncertaintyMetrics(2)
    # two classes: confidence = 1 - u / 2. Level 0 is confidence 1, level 255 confidence 0.5.
    metrics.update(labels(0, 0, 0, 0), labels(0, 1, 0, 0), labels(0, 0, 255, 255))
    assert metrics.ece == pytest.approx((2 * abs(0.5 - 1.0) + 2 * abs(1.0 - 0.5)) / 4)


@pytest.mark.parametrize("kind", ["margin", "entropy"])
def test_other_kinds_have_no_calibration_error(kind: str) -> None:
    metrics = UncertaintyMetrics(2, kind=kind)
    metrics.update(labels(0, 0), labels(0, 1), labels(0, 9))
    assert np.isnan(metrics.ece)
    figures = metrics.figures(["road", "sky"])
    assert figures["per_class_ece"] == {"road": None, "sky": None}
    assert {figures[name] for name in ("ece", "nll", "brier", "bins")} == {None}
    assert figures["aupr_error"] == 1.0
    assert metrics.auroc == 1.0


def test_uncertainty_figures_match_brute_force() -> None:
    rng = np.random.default_rng(1)
    classes, n = 11, 600
    true = rng.integers(0, classes, n).astype(np.uint8)
    true[:50] = IGNORE + 2
    level = rng.integers(0, 40, n).astype(np.uint8)
    wrong = rng.random(n) < level / 60
    pred = np.where(wrong, (true + 1) % classes, true % classes).astype(np.uint8)
    metrics = UncertaintyMetrics(classes, ignore_id=IGNORE + 2)
    metrics.update(true, pred, level)
    level, wrong = level[50:].astype(int), wrong[50:]

    above = level[wrong][:, None] - level[~wrong][None, :]
    assert metrics.auroc == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean())

    orders = []
    for _ in range(3000):
        order = np.lexsort((rng.random(level.size), level))
        orders.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, level.size + 1)))
    assert metrics.aurc == pytest.approx(np.mean(orders), abs=5 * np.std(orders) / np.sqrt(len(orders)))

    confidence = 1 - level / 255 * (classes - 1) / classes
    ece = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            ece += inside.mean() * abs((~wrong[inside]).mean() - confidence[inside].mean())
    assert metrics.ece == pytest.approx(ece)


def test_confident_errors_by_hand() -> None:
    metrics = UncertaintyMetrics(2, IGNORE)
    metrics.update(labels(0, 0, 0, 0, IGNORE), labels(1, 1, 0, 0, 0), labels(0, 204, 0, 255, 0))
    assert metrics.confident_error == pytest.approx((1 + 0.2) / 4)
    assert np.isnan(UncertaintyMetrics(2).confident_error)


def test_the_uncertainty_of_each_class_is_that_of_the_pixels_called_so() -> None:
    metrics = UncertaintyMetrics(2, IGNORE)
    metrics.update(labels(0, 1, 0, IGNORE, 1), labels(0, 0, 1, 1, IGNORE), labels(5, 5, 7, 9, 255))
    assert metrics.class_counts[0, 5].tolist() == [1, 1]
    assert metrics.class_counts[1, 7].tolist() == [0, 1]
    assert metrics.class_counts.sum() == 3  # one is ignored, one of no class
    assert metrics.counts[255].tolist() == [0, 1]
    whole = UncertaintyMetrics(2, IGNORE)
    whole.merge(metrics)
    assert np.array_equal(whole.class_counts, metrics.class_counts)
    assert list(whole.figures(["road", "sky"])["per_class_ece"]) == ["road", "sky"]


def test_large_counts_do_not_overflow() -> None:
    metrics = UncertaintyMetrics(2)
    metrics.counts[10] = (4_000_000_000, 1_000_000_000)
    metrics.counts[200] = (1_000_000_000, 4_000_000_000)
    # pairs: wrong at 200 beats right at 10; ties at either level
    assert metrics.auroc == pytest.approx((4 * 4 + 0.5 * (4 * 1) + 0.5 * (1 * 4)) / 25)
    assert 0.2 < metrics.aurc < 0.5


def test_pixels_of_no_class_are_wrong_and_of_no_other_class() -> None:
    matrix = ConfusionMatrix(3, IGNORE)
    matrix.update(labels(0, 0, 1, IGNORE), labels(0, IGNORE, 1, IGNORE))
    assert matrix.num_pixels == 3
    assert matrix.pixel_accuracy == pytest.approx(2 / 3)
    assert matrix.per_class_iou[:2].tolist() == [0.5, 1.0]
    metrics = UncertaintyMetrics(3, IGNORE)
    metrics.update(labels(0, 0), labels(0, IGNORE), np.array([10, 255], np.uint8))
    assert (metrics.counts[10].tolist(), metrics.counts[255].tolist()) == ([1, 0], [0, 1])
    with pytest.raises(ValueError, match="predicted label holds ids"):
        ConfusionMatrix(3).update(labels(0), labels(IGNORE))


def test_bad_input_is_refused() -> None:
    matrix = ConfusionMatrix(3, IGNORE)
    with pytest.raises(ValueError, match=r"shape \(2,\), the predicted one \(3,\)"):
        matrix.update(labels(0, 1), labels(0, 1, 2))
    with pytest.raises(DatasetError, match=r"ids \[5\]; accepted are 0 to 2 and 9 for ignored"):
        matrix.update(labels(0, 5), labels(0, 1))
    with pytest.raises(ValueError, match="predicted label holds ids 0 to 3"):
        matrix.update(labels(0, 1), labels(0, 3))
    assert matrix.num_pixels == 0
    metrics = UncertaintyMetrics(3)
    with pytest.raises(ValueError, match="has to be uint8"):
        metrics.update(labels(0), labels(0), np.zeros(1))
    with pytest.raises(ValueError, match="uncertainty has shape"):
        metrics.update(labels(0), labels(0), labels(0, 0))
    with pytest.raises(ValueError, match="cannot merge"):
        matrix.merge(ConfusionMatrix(4, IGNORE))
    with pytest.raises(ValueError, match="kind 'margin'"):
        metrics.merge(UncertaintyMetrics(3, kind="margin"))
