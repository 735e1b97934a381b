"""The hint that ground truth numbers its classes otherwise."""

from __future__ import annotations

import numpy as np

from lwseg_ros.evaluation.metrics import ConfusionMatrix
from lwseg_ros.replay.class_ids import permutation_hint

NAMES = ["road", "tree", "sky", "car"]


def hint(counts: list[list[int]]) -> str | None:
    confusion = ConfusionMatrix(len(counts), 255)
    confusion.counts[:] = counts
    return permutation_hint(confusion, NAMES[: len(counts)])


def test_a_permutation_is_named() -> None:
    said = hint([[0, 80, 0], [10, 0, 90], [70, 0, 0]])
    assert said is not None
    # by hand: 80 / 80, 90 / 100, 70 / 80
    assert "the mIoU would be 0.925, not 0.000. " in said
    assert (
        "0 (road) is predicted as 1 (tree), 1 (tree) is predicted as 2 (sky), 2 (sky) is predicted as 0 (road);" in said
    )


def test_absent_classes_are_not_named() -> None:
    said = hint([[0, 80, 0, 0], [90, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert said is not None
    assert "(sky)" not in said


def test_weak_networks_are_not_accused() -> None:
    assert hint([[50, 50, 0], [50, 50, 0], [0, 0, 10]]) is None
    assert hint([[40, 60, 0], [45, 55, 0], [5, 5, 90]]) is None  # another numbering gains a little
    assert hint([[100, 0, 0], [100, 0, 0], [100, 0, 0]]) is None  # predicts one class everywhere
    assert hint([[0, 0], [0, 0]]) is None


def test_unlabelled_pixels_stay_with_their_class() -> None:
    confusion = ConfusionMatrix(2, 255)
    confusion.update(np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 255, 0, 0, 0]))
    said = permutation_hint(confusion, NAMES)
    assert said is not None
    assert "the mIoU would be 0.833, not 0.000" in said
