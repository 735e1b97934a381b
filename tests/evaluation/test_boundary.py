"""Boundary IoU by hand; test_independent.py has it on real labels."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.evaluation.boundary import BoundaryIoU, edges

IGNORE = 9


def halves(split: int) -> np.ndarray:
    """An image of 40 x 30 pixels whose edges are 1 px wide: 2 % of its diagonal of 50."""
    label = np.zeros((30, 40), np.uint8)
    label[:, split:] = 1
    return label


def test_edges_are_the_border_and_both_sides_of_a_change() -> None:
    expected = np.zeros((30, 40), bool)
    expected[[0, -1]] = expected[:, [0, -1]] = True
    expected[:, 19:21] = True
    assert np.array_equal(edges(halves(20)), expected)


def test_by_hand() -> None:
    metric = BoundaryIoU(3, IGNORE)
    metric.update(halves(20), halves(21))
    # class 0 is 20 columns wide in truth: a ring of 2 * 30 + 2 * 18; 21 in the prediction: 2 * 30 + 2 * 19. They share the
    # first column and the rows above and below that are in both: 30 + 2 * 19
    assert metric.intersection.tolist() == [30 + 2 * 19, 30 + 2 * 18, 0]
    assert metric.union.tolist() == [96 + 98 - 68, 96 + 94 - 66, 0]
    assert np.isnan(metric.per_class[2])
    assert metric.mean == pytest.approx((68 / 126 + 66 / 124) / 2)


def test_what_is_ignored_is_no_part_of_an_edge_and_no_error() -> None:
    truth = halves(20)
    truth[:, 25:] = IGNORE
    prediction = halves(20)
    prediction[:, 27:] = 2
    metric = BoundaryIoU(3, IGNORE)
    metric.update(truth, prediction)
    assert metric.per_class[:2].tolist() == [1.0, 1.0]
    assert metric.union.tolist()[2] == 0


def test_a_smaller_image_than_the_edge_and_nothing_counted() -> None:
    metric = BoundaryIoU(2, IGNORE)
    assert np.isnan(metric.mean)
    metric.update(np.full((1, 2), IGNORE, np.uint8), np.zeros((1, 2), np.uint8))
    assert np.isnan(metric.mean)
    metric.update(np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.uint8))
    assert metric.mean == 1.0
