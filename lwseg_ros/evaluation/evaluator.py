"""The one way from predictions and ground truth to metrics: of replay, `lwseg evaluate`, validation while training, the
validation that an export records, and the comparison of scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import ModelFileError
from lwseg_ros.evaluation.acceptance import acceptance_figures
from lwseg_ros.evaluation.boundary import BoundaryIoU
from lwseg_ros.evaluation.counts import Counts, Prediction
from lwseg_ros.evaluation.metrics import ConfusionMatrix, UncertaintyMetrics, finite_or_none
from lwseg_ros.evaluation.regions import RegionMetrics, Regions, Thirds
from lwseg_ros.evaluation.temporal_consistency import TemporalConsistency
from lwseg_ros.model.acceptance import Acceptance
from lwseg_ros.model.manifest import Manifest

__all__ = ["Evaluator", "Prediction", "evaluate"]


class Evaluator:
    """Metrics over images in their order; one that cannot be measured is None."""

    def __init__(
        self,
        classes: Sequence[ClassInfo],
        ignore_id: int | None,
        uncertainty_kind: str = "least_confidence",
        acceptance: Acceptance | None = None,
        *,
        in_detail: bool = False,
        regions: Regions | None = None,
    ) -> None:
        """Start with no image seen.

        Args:
            classes: ids 0 to C - 1 in any order; raises ModelFileError for others.
            ignore_id: the ground truth's value of pixels that do not count.
            uncertainty_kind: as in the manifest; decides whether a calibration error exists.
            acceptance: the model's, which the accepted pixels are held against.
            in_detail: measure boundaries and regions of the image as well, which takes time.
            regions: these; None takes thirds of the image.
        """
        ordered = sorted(classes, key=lambda info: info.id)
        ids = [info.id for info in ordered]
        if ids != list(range(len(ids))):
            raise ModelFileError(f"the model's class ids are {ids}; only ids 0 to {len(ids) - 1} can be evaluated")
        self.names = [info.name for info in ordered]
        self._settings = len(ids), ignore_id, uncertainty_kind
        self._counts = Counts.zero(*self._settings)
        self.acceptance = acceptance
        self.consistency = TemporalConsistency()
        self.boundary = BoundaryIoU(len(ids), ignore_id) if in_detail else None
        self.regions = RegionMetrics(regions or Thirds(), *self._settings) if in_detail else None

    @property
    def confusion(self) -> ConfusionMatrix:
        """The pixels counted, by true and predicted class."""
        return self._counts.confusion

    @property
    def uncertainty(self) -> UncertaintyMetrics:
        """The pixels counted, by uncertainty."""
        return self._counts.uncertainty

    @classmethod
    def of_model(cls, manifest: Manifest, *, in_detail: bool = False, regions: Regions | None = None) -> Evaluator:
        """Start with the classes, ignored id and uncertainty of a model."""
        acceptance = manifest.accepted_pixels()
        return cls(
            manifest.classes,
            manifest.ignore_id,
            manifest.uncertainty_kind,
            acceptance,
            in_detail=in_detail,
            regions=regions,
        )

    def add(
        self, prediction: Prediction, ground_truth: np.ndarray | None, image: np.ndarray | None = None
    ) -> Counts | None:
        """Count one image.

        Args:
            prediction: of the image.
            ground_truth: uint8 [H, W] class ids; None where there is none.
            image: uint8 BGR [H, W, 3], for temporal consistency alone.

        Returns:
            What was counted in this image; None without ground truth.

        Raises:
            DatasetError: the ground truth holds what is neither a class nor the ignored id.
            ValueError: the prediction is of another size, or the regions are not of images of this one.
        """
        if image is not None:
            self.consistency.update(image, prediction.label)
        if ground_truth is None:
            return None
        counts = Counts.zero(*self._settings)
        if self.regions is None or self.boundary is None:
            counts.update(ground_truth, prediction)
        else:
            for part in self._count_regions(self.regions, ground_truth, prediction):
                counts.merge(part)
            self.boundary.update(ground_truth, prediction.label)
        self._counts.merge(counts)
        return counts

    def _count_regions(self, regions: RegionMetrics, ground_truth: np.ndarray, prediction: Prediction) -> list[Counts]:
        """Count each region of an image: of rows for about the cost of counting it as a whole, which they add up to."""
        if prediction.label.shape != ground_truth.shape:
            raise ValueError(
                f"the true label has shape {ground_truth.shape}, the predicted one {prediction.label.shape}"
            )
        height, width = ground_truth.shape
        parts = regions.regions.parts((height, width))
        counted = [Counts.zero(*self._settings) for _ in parts]
        for counts, part in zip(counted, parts, strict=True):
            counts.update(ground_truth[part], prediction.part(part))
        regions.add(counted, parts)
        return counted

    def merge(self, other: Evaluator) -> None:
        """Add another evaluator's counts to this one's; raises ValueError where classes, ignored id or uncertainty differ.

        Boundaries and regions are known of all images or of none: they stay only where both have them.
        """
        if self.names != other.names:
            raise ValueError(f"cannot merge the classes {other.names} into {self.names}")
        self._counts.merge(other._counts)
        self.consistency.merge(other.consistency)
        if self.boundary is None or other.boundary is None or self.regions is None or other.regions is None:
            self.boundary = self.regions = None
        else:
            self.boundary.merge(other.boundary)
            self.regions.merge(other.regions)

    @property
    def per_class_iou(self) -> dict[str, float | None]:
        """IoU of each class by name; None for one that is neither in the ground truth nor predicted."""
        return self._by_name(self.confusion.per_class_iou)

    def metrics(self) -> dict[str, Any]:
        """Compute all figures, ready for JSON; confusion has a row a true and a column a predicted class, in the names' order.

        `accepted` is None where the model vouches for no pixels, see `acceptance_figures`.
        """
        confusion, boundary = self.confusion, self.boundary
        return {
            "miou": finite_or_none(confusion.miou),
            "miou_present": finite_or_none(confusion.miou_present),
            "pixel_accuracy": finite_or_none(confusion.pixel_accuracy),
            "per_class_iou": self.per_class_iou,
            "per_class_precision": self._by_name(confusion.precision),
            "per_class_recall": self._by_name(confusion.recall),
            "boundary_iou": boundary
            and {"mean": finite_or_none(boundary.mean), "per_class": self._by_name(boundary.per_class)},
            "regions": self.regions and self.regions.figures(),
            "confusion": {
                "classes": self.names,
                "counts": confusion.counts.tolist(),
                "unlabelled": confusion.unlabelled.tolist(),
            },
            "uncertainty": self.uncertainty.figures(self.names),
            "accepted": self.acceptance and acceptance_figures(self.uncertainty, self.acceptance, self.names),
            "temporal_consistency": finite_or_none(self.consistency.value),
        }

    def _by_name(self, values: np.ndarray) -> dict[str, float | None]:
        return dict(zip(self.names, map(finite_or_none, values), strict=True))


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
