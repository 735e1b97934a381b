"""A prediction, and all that is counted of some pixels: classes and levels of uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lwseg_ros.evaluation.metrics import ConfusionMatrix, UncertaintyMetrics
from lwseg_ros.model.manifest import NO_UNCERTAINTY

Part = slice | np.ndarray
"""Some pixels of an image [H, W]: a slice of its rows, or bool [H, W]."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: class ids uint8 [H, W] in its pixels, and uncertainty uint8 [H, W], 0 = certain,
    255 = not at all, None where there is none.
    """

    label: np.ndarray
    uncertainty: np.ndarray | None = None

    def part(self, part: Part) -> Prediction:
        """Return the prediction of some pixels: of rows [h, W] without a copy, else of the pixels one by one, [N]."""
        return Prediction(self.label[part], None if self.uncertainty is None else self.uncertainty[part])


@dataclass(frozen=True)
class Counts:
    """Confusion matrix and histogram of uncertainty of the same pixels; the latter has none where no uncertainty is."""

    confusion: ConfusionMatrix
    uncertainty: UncertaintyMetrics

    @classmethod
    def zero(cls, num_classes: int, ignore_id: int | None, uncertainty_kind: str) -> Counts:
        """Start with no pixels."""
        return cls(
            ConfusionMatrix(num_classes, ignore_id), UncertaintyMetrics(num_classes, ignore_id, uncertainty_kind)
        )

    def update(self, ground_truth: np.ndarray, prediction: Prediction) -> None:
        """Count the pixels of an image, or of a part of it; raises as `ConfusionMatrix.update` does."""
        self.confusion.update(ground_truth, prediction.label)
        if prediction.uncertainty is not None and self.uncertainty.kind != NO_UNCERTAINTY:
            self.uncertainty.update(ground_truth, prediction.label, prediction.uncertainty)

    def merge(self, other: Counts) -> None:
        """Add what was counted elsewhere; raises ValueError where the settings differ."""
        self.confusion.merge(other.confusion)
        self.uncertainty.merge(other.uncertainty)
