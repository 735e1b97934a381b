"""Metrics from integer counts, so that the counts of images, of batches and of processes simply add up.

Nothing here is an average of averages: every figure is computed once, from the counts of all pixels seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lwseg_ros.errors import DatasetError
from lwseg_ros.evaluation import calibration, error_detection
from lwseg_ros.evaluation.calibration import NUM_LEVELS


class ConfusionMatrix:
    """Count pixels by true and predicted class.

    Attributes:
        counts: int64 [C, C]; row = true class, column = predicted class. Ignored pixels are in no cell.
        unlabelled: int64 [C]; pixels of each true class whose prediction is the ignored id: they are wrong, and of no class.
    """

    def __init__(self, num_classes: int, ignore_id: int | None = None) -> None:
        """Start at zero; pixels whose true label is `ignore_id` will not count."""
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.counts = np.zeros((num_classes, num_classes), dtype=np.int64)
        self.unlabelled = np.zeros(num_classes, dtype=np.int64)

    def update(self, label_true: np.ndarray, label_pred: np.ndarray) -> None:
        """Add the pixels of one image or batch.

        Args:
            label_true: integer class ids, any shape.
            label_pred: integer class ids, the same shape; in [0, C) or the ignored id wherever the true label counts.

        Raises:
            ValueError: the shapes differ, or a prediction is no class.
            DatasetError: a true label is neither a class nor the ignored id.
        """
        true, pred = _counted_pixels(label_true, label_pred, self.num_classes, self.ignore_id)
        labelled = pred != self.ignore_id
        self.unlabelled += np.bincount(true[~labelled], minlength=self.num_classes)
        true, pred = true[labelled], pred[labelled]
        cells = np.bincount(true * self.num_classes + pred, minlength=self.num_classes**2)
        self.counts += cells.reshape(self.counts.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add another matrix's counts to this one's; raises ValueError where classes or ignored id differ."""
        _check_same_settings(self, other)
        self.counts += other.counts
        self.unlabelled += other.unlabelled

    def add_sparse(self, cells: np.ndarray) -> None:
        """Add what matrices of as many classes gave as `sparse`, of one or, concatenated, of several."""
        shape = self.num_classes, self.num_classes + 1
        # added up as float64, which is exact up to 2^53 pixels
        pixels = np.bincount(cells[:, 0], weights=cells[:, 1], minlength=shape[0] * shape[1]).astype(np.int64)
        self.counts += pixels.reshape(shape)[:, :-1]
        self.unlabelled += pixels.reshape(shape)[:, -1]

    @property
    def sparse(self) -> np.ndarray:
        """The cells that are not zero, uint32 [K, 2]: number of the cell, and pixels in it; for images, not for data sets.

        The number is true class * (C + 1) + predicted class, C standing for no class.
        """
        cells = np.column_stack([self.counts, self.unlabelled]).ravel()
        numbers: np.ndarray = np.nonzero(cells)[0]
        return np.column_stack([numbers, cells[numbers]]).astype(np.uint32)

    @property
    def num_pixels(self) -> int:
        """Number of pixels counted."""
        return int(self.counts.sum() + self.unlabelled.sum())

    @property
    def true_pixels(self) -> np.ndarray:
        """Number of pixels of each class in the truth, int64 [C]."""
        pixels: np.ndarray = self.counts.sum(axis=1) + self.unlabelled
        return pixels

    @property
    def per_class_iou(self) -> np.ndarray:
        """Intersection over union, float64 [C] in [0, 1]; nan for a class that is neither in the truth nor predicted.

        A class that is absent from the truth yet predicted somewhere has IoU 0, not nan.
        """
        hits = np.diag(self.counts)
        return ratio(hits, self.counts.sum(axis=0) + self.true_pixels - hits)

    @property
    def precision(self) -> np.ndarray:
        """Share of the pixels predicted as a class that are of it, float64 [C]; nan for one that is never predicted."""
        return ratio(np.diag(self.counts), self.counts.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """Share of a class's true pixels that are predicted as it, float64 [C]; nan for one that is not in the truth."""
        return ratio(np.diag(self.counts), self.true_pixels)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that have one; nan when nothing was counted."""
        return mean_of_finite(self.per_class_iou)

    @property
    def miou_present(self) -> float:
        """Mean IoU over the classes that are in the truth: one that is only predicted is no term of it; else as `miou`."""
        return mean_of_finite(self.per_class_iou[self.true_pixels > 0])

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of counted pixels whose label is right; nan when nothing was counted."""
        return float(np.trace(self.counts) / self.num_pixels) if self.num_pixels else math.nan


class UncertaintyMetrics:
    """Compare 8-bit uncertainty with the errors it should announce, exactly, from one histogram a level.

    Every pixel falls on one of 256 levels, so the counts of right and wrong pixels a level hold all there is to know:
    no sampling, and ties are handled as ties.

    Attributes:
        counts: int64 [256, 2]; row = uncertainty level, column 0 = right pixels, column 1 = wrong pixels.
        class_counts: int64 [C, 256, 2]; the same of the pixels predicted as each class.
    """

    def __init__(self, num_classes: int, ignore_id: int | None = None, kind: str = "least_confidence") -> None:
        """Start at zero; `kind` is the manifest's uncertainty kind and decides whether a calibration error exists."""
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.kind = kind
        self.counts = np.zeros((NUM_LEVELS, 2), dtype=np.int64)
        self.class_counts = np.zeros((num_classes, NUM_LEVELS, 2), dtype=np.int64)

    def update(self, label_true: np.ndarray, label_pred: np.ndarray, uncertainty: np.ndarray) -> None:
        """Add the pixels of one image or batch.

        Args:
            label_true: integer class ids, any shape.
            label_pred: integer class ids, the same shape.
            uncertainty: uint8, the same shape; 0 = certain, 255 = not at all.

        Raises:
            ValueError: the shapes differ, the uncertainty is not uint8, or a prediction is no class.
            DatasetError: a true label is neither a class nor the ignored id.
        """
        if uncertainty.dtype != np.uint8:
            raise ValueError(f"uncertainty is {uncertainty.dtype}; it has to be uint8, 0 = certain, 255 = not at all")
        if uncertainty.shape != label_true.shape:
            raise ValueError(f"uncertainty has shape {uncertainty.shape}, the true label {label_true.shape}")
        true, pred = _counted_pixels(label_true, label_pred, self.num_classes, self.ignore_id)
        level = uncertainty.ravel()
        if self.ignore_id is not None:
            level = level[label_true.ravel() != self.ignore_id]
        histogram = np.minimum(pred, self.num_classes)  # the last is of pixels predicted as no class
        cells = np.bincount(
            (histogram * NUM_LEVELS + level) * 2 + (true != pred), minlength=(self.num_classes + 1) * NUM_LEVELS * 2
        ).reshape(self.num_classes + 1, NUM_LEVELS, 2)
        self.counts += cells.sum(axis=0)
        self.class_counts += cells[:-1]

    def merge(self, other: UncertaintyMetrics) -> None:
        """Add another object's counts to this one's; raises ValueError where the settings differ."""
        _check_same_settings(self, other)
        if self.kind != other.kind:
            raise ValueError(f"cannot merge uncertainty of kind {other.kind!r} into kind {self.kind!r}")
        self.counts += other.counts
        self.class_counts += other.class_counts

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1] over 15 equal-width bins (low, high] of confidence.

        Of `least_confidence` u = (1 - max p) * C / (C - 1) the confidence follows, max p = 1 - u * (C - 1) / C. It is
        known to half an 8-bit level, 0.2 % of confidence. The other kinds do not determine the label's max p: their error is nan.
        """
        return calibration.expected_calibration_error(self.counts, self.num_classes) if self.is_confidence else math.nan

    @property
    def is_confidence(self) -> bool:
        """Whether a level of this kind determines the confidence max p."""
        return self.kind == "least_confidence"

    @property
    def auroc(self) -> float:
        """Probability that a wrong pixel is more uncertain than a right one, ties as one half.

        1 is perfect, 0.5 is chance; nan when there are no wrong or no right pixels.
        """
        right, wrong = ([int(count) for count in column] for column in self.counts.T)
        if not sum(right) or not sum(wrong):
            return math.nan
        # Python integers: the products of two pixel counts of a large data set do not fit 64 bits.
        twice_wins, right_below = 0, 0
        for right_here, wrong_here in zip(right, wrong, strict=True):
            twice_wins += wrong_here * (2 * right_below + right_here)
            right_below += right_here
        return twice_wins / (2 * sum(right) * sum(wrong))

    @property
    def aurc(self) -> float:
        """Area under the risk-coverage curve; see `error_detection.aurc`."""
        return error_detection.aurc(self.counts)

    @property
    def confident_error(self) -> float:
        """Share of the pixels that are wrong, each counted by its certainty 1 - level / 255; nan when nothing was counted."""
        certainty = 1.0 - np.arange(NUM_LEVELS) / (NUM_LEVELS - 1)
        return float((self.counts[:, 1] * certainty).sum() / self.counts.sum()) if self.counts.any() else math.nan

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Compute everything that is known of the uncertainty, ready for JSON; `names` are those of the classes by id.

        None stands for what cannot be measured: without wrong or without right pixels, or for a kind that is no confidence.
        """
        counted = bool(self.counts.any())
        histogram, num_classes, calibrated = self.counts, self.num_classes, self.is_confidence and counted

        def per_class(counts: np.ndarray) -> float | None:
            return finite_or_none(calibration.expected_calibration_error(counts, num_classes)) if calibrated else None

        return {
            "ece": finite_or_none(self.ece),
            "auroc": finite_or_none(self.auroc),
            "aurc": finite_or_none(self.aurc),
            "aupr_error": finite_or_none(error_detection.aupr_error(histogram)),
            "aupr_success": finite_or_none(error_detection.aupr_success(histogram)),
            "fpr95": finite_or_none(error_detection.fpr95(histogram)),
            "nll": calibration.nll(histogram, num_classes) if calibrated else None,
            "brier": calibration.brier(histogram, num_classes) if calibrated else None,
            "per_class_ece": dict(zip(names, map(per_class, self.class_counts), strict=True)),
            "bins": [vars(b) for b in calibration.reliability_bins(histogram, num_classes)] if calibrated else None,
            "risk_coverage": [list(point) for point in error_detection.risk_coverage(histogram)] if counted else None,
            "sparsification": vars(error_detection.sparsification(histogram)) if counted else None,
        }


def mean_of_finite(values: np.ndarray) -> float:
    """Average the values that are not nan; nan where there is none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def finite_or_none(value: float) -> float | None:
    """Turn nan, which JSON does not know, into None, which it writes as null."""
    return float(value) if math.isfinite(value) else None


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide counts element by element, float64; nan where the whole is zero."""
    quotient = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _counted_pixels(
    label_true: np.ndarray, label_pred: np.ndarray, num_classes: int, ignore_id: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Flatten two label images to int64 [K] each, without the ignored pixels, and check their ids."""
    if label_true.shape != label_pred.shape:
        raise ValueError(f"the true label has shape {label_true.shape}, the predicted one {label_pred.shape}")
    true, pred = label_true.ravel(), label_pred.ravel()
    if ignore_id is not None:
        counted = true != ignore_id
        true, pred = true[counted], pred[counted]
    true, pred = true.astype(np.int64), pred.astype(np.int64)
    if true.size and (true.min() < 0 or true.max() >= num_classes):
        strange = sorted({int(value) for value in np.unique(true) if not 0 <= value < num_classes})
        ignored = f" and {ignore_id} for ignored pixels" if ignore_id is not None else ""
        raise DatasetError(
            f"the true label holds the ids {strange[:8]}; accepted are 0 to {num_classes - 1}{ignored}; "
            "check that label and model use the same classes"
        )
    if ((pred < 0) | (pred >= num_classes) & (pred != ignore_id)).any():
        raise ValueError(f"the predicted label holds ids {pred.min()} to {pred.max()}, not 0 to {num_classes - 1}")
    return true, pred


def _check_same_settings(
    one: ConfusionMatrix | UncertaintyMetrics, other: ConfusionMatrix | UncertaintyMetrics
) -> None:
    mine, theirs = (one.num_classes, one.ignore_id), (other.num_classes, other.ignore_id)
    if mine != theirs:
        raise ValueError(f"cannot merge (classes, ignored id) {theirs} into {mine}")
