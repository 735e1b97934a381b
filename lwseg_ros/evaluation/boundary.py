"""Boundary IoU: how well the edges of classes are found.

Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021, arXiv 2103.16562.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from lwseg_ros.evaluation.metrics import mean_of_finite, ratio

DISTANCE_SHARE = 0.02  # of the image's diagonal, as published


class BoundaryIoU:
    """Intersection over union of the pixels of a class that lie within a distance d of its edge, counted over all images.

    With G_d and P_d the pixels of the true and of the predicted mask that lie within d inside its contour, it is
    |G_d and P_d| / |G_d or P_d|. d is 2 % of the diagonal in whole pixels, at least 1, and counted along rows and columns (a
    square), as in the authors' code; there, too, the image's border is a contour. So is the edge of what is ignored, in truth
    and prediction alike: what lies behind it is not known.

    Attributes:
        intersection: int64 [C].
        union: int64 [C].
    """

    def __init__(self, num_classes: int, ignore_id: int | None) -> None:
        """Start with no image seen."""
        self.ignore_id = ignore_id
        self.intersection = np.zeros(num_classes, dtype=np.int64)
        self.union = np.zeros(num_classes, dtype=np.int64)

    def update(self, label_true: np.ndarray, label_pred: np.ndarray) -> None:
        """Add one image: class ids uint8 [H, W] each, whose values `ConfusionMatrix.update` has accepted."""
        num_classes = len(self.union)
        if self.ignore_id is not None:
            label_pred = np.where(label_true == self.ignore_id, label_true, label_pred)
        edge_true, edge_pred = edges(label_true), edges(label_pred)
        true = np.bincount(label_true[edge_true], minlength=256)
        pred = np.bincount(label_pred[edge_pred], minlength=256)
        both = np.bincount(label_true[edge_true & edge_pred & (label_true == label_pred)], minlength=256)
        self.intersection += both[:num_classes]
        self.union += (true + pred - both)[:num_classes]

    def merge(self, other: BoundaryIoU) -> None:
        """Add what was counted of other images of the same classes."""
        self.intersection += other.intersection
        self.union += other.union

    @property
    def per_class(self) -> np.ndarray:
        """Boundary IoU of each class, float64 [C]; nan for one that is neither in the truth nor predicted."""
        return ratio(self.intersection, self.union)

    @property
    def mean(self) -> float:
        """Mean over the classes that have one; nan where none has."""
        return mean_of_finite(self.per_class)


def edges(label: np.ndarray) -> np.ndarray:
    """Find the pixels that lie within d of a pixel of another class or of the image's border, bool [H, W]; label is uint8 [H, W].

    That is where the least and the greatest id of the square around a pixel differ: for all classes at once.
    """
    height, width = label.shape
    distance = max(1, round(DISTANCE_SHARE * math.hypot(height, width)))
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    found: np.ndarray = cv2.dilate(label, square) != cv2.erode(label, square)
    found[:distance] = found[-distance:] = True
    found[:, :distance] = found[:, -distance:] = True
    return found
