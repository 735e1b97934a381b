"""The one way from predictions and ground truth to metrics: of replay, `lwseg evaluate`, validation while training, the
validation that an export records, and the comparison of scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import ModelFileError
from lwseg_ros.evaluation.metrics import ConfusionMatrix, UncertaintyMetrics, finite_or_none
from lwseg_ros.evaluation.temporal_consistency import TemporalConsistency
from lwseg_ros.model.manifest import Manifest


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: class ids uint8 [H, W] in its pixels, and uncertainty uint8 [H, W], 0 = certain,
    255 = not at all, None where there is none.
    """

    label: np.ndarray
    uncertainty: np.ndarray | None = None


class Evaluator:
    """Metrics over images in their order; one that cannot be measured is None."""

    def __init__(
        self, classes: Sequence[ClassInfo], ignore_id: int | None, uncertainty_kind: str = "least_confidence"
    ) -> None:
        """Start with no image seen.

        Args:
            classes: ids 0 to C - 1 in any order; raises ModelFileError for others.
            ignore_id: the ground truth's value of pixels that do not count.
            uncertainty_kind: as in the manifest; decides whether a calibration error exists.
        """
        ordered = sorted(classes, key=lambda info: info.id)
        ids = [info.id for info in ordered]
        if ids != list(range(len(ids))):
            raise ModelFileError(f"the model's class ids are {ids}; only ids 0 to {len(ids) - 1} can be evaluated")
        self._names = [info.name for info in ordered]
        self.confusion = ConfusionMatrix(len(ids), ignore_id)
        self.uncertainty = UncertaintyMetrics(len(ids), ignore_id, uncertainty_kind)
        self.consistency = TemporalConsistency()

    @classmethod
    def of_model(cls, manifest: Manifest) -> Evaluator:
        """Start with the classes, ignored id and uncertainty of a model."""
        return cls(manifest.classes, manifest.ignore_id, manifest.uncertainty_kind)

    def add(self, prediction: Prediction, ground_truth: np.ndarray | None, image: np.ndarray | None = None) -> None:
        """Count one image.

        Args:
            prediction: of the image.
            ground_truth: uint8 [H, W] class ids; None where there is none.
            image: uint8 BGR [H, W, 3], for temporal consistency alone.

        Raises:
            DatasetError: the ground truth holds what is neither a class nor the ignored id.
        """
        if image is not None:
            self.consistency.update(image, prediction.label)
        if ground_truth is None:
            return
        self.confusion.update(ground_truth, prediction.label)
        if prediction.uncertainty is not None:
            self.uncertainty.update(ground_truth, prediction.label, prediction.uncertainty)

    def merge(self, other: Evaluator) -> None:
        """Add another evaluator's counts to this one's; raises ValueError where classes, ignored id or uncertainty differ."""
        if self._names != other._names:
            raise ValueError(f"cannot merge the classes {other._names} into {self._names}")
        self.confusion.merge(other.confusion)
        self.uncertainty.merge(other.uncertainty)
        self.consistency.merge(other.consistency)

    @property
    def per_class_iou(self) -> dict[str, float | None]:
        """IoU of each class by name; None for one that is neither in the ground truth nor predicted."""
        return dict(zip(self._names, map(finite_or_none, self.confusion.per_class_iou), strict=True))

    def metrics(self) -> dict[str, Any]:
        """Compute miou, pixel_accuracy, per_class_iou, uncertainty and temporal_consistency, ready for JSON."""
        return {
            "miou": finite_or_none(self.confusion.miou),
            "pixel_accuracy": finite_or_none(self.confusion.pixel_accuracy),
            "per_class_iou": self.per_class_iou,
            "uncertainty": {
                "ece": finite_or_none(self.uncertainty.ece),
                "auroc": finite_or_none(self.uncertainty.auroc),
                "aurc": finite_or_none(self.uncertainty.aurc),
            },
            "temporal_consistency": finite_or_none(self.consistency.value),
        }


def evaluate(
    evaluator: Evaluator,
    samples: Iterable[tuple[np.ndarray, np.ndarray]],
    predict: Callable[[np.ndarray], Prediction],
) -> Evaluator:
    """Predict every image of some samples and count it.

    Args:
        evaluator: what counts; returned as well.
        samples: image uint8 BGR [H, W, 3] and ground truth uint8 [H, W], whatever their sizes.
        predict: gives an image's prediction in the ground truth's pixels.
    """
    for image, ground_truth in samples:
        evaluator.add(predict(image), ground_truth)
    return evaluator
