"""Metrics from integer counts, so that the counts of images, of batches and of processes simply add up.

Nothing here is an average of averages: every figure is computed once, from the counts of all pixels seen.
"""

from __future__ import annotations

import math

import numpy as np

from lwseg_ros.errors import DatasetError

NUM_LEVELS = 256  # uncertainty is 8 bit
NUM_ECE_BINS = 15  # as in Guo et al., On Calibration of Modern Neural Networks, 2017


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

    @property
    def num_pixels(self) -> int:
        """Number of pixels counted."""
        return int(self.counts.sum() + self.unlabelled.sum())

    @property
    def per_class_iou(self) -> np.ndarray:
        """Intersection over union, float64 [C] in [0, 1]; nan for a class that is neither in the truth nor predicted.

        A class that is absent from the truth yet predicted somewhere has IoU 0, not nan.
        """
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) + self.unlabelled - np.diag(self.counts)
        iou = np.full(self.num_classes, np.nan)
        np.divide(hits, union, out=iou, where=union > 0)
        return iou

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that have one; nan when nothing was counted."""
        iou = self.per_class_iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else math.nan

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
    """

    def __init__(self, num_classes: int, ignore_id: int | None = None, kind: str = "least_confidence") -> None:
        """Start at zero; `kind` is the manifest's uncertainty kind and decides whether a calibration error exists."""
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.kind = kind
        self.counts = np.zeros((NUM_LEVELS, 2), dtype=np.int64)

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
        cells = np.bincount(level.astype(np.int64) * 2 + (true != pred), minlength=NUM_LEVELS * 2)
        self.counts += cells.reshape(self.counts.shape)

    def merge(self, other: UncertaintyMetrics) -> None:
        """Add another object's counts to this one's; raises ValueError where the settings differ."""
        _check_same_settings(self, other)
        if self.kind != other.kind:
            raise ValueError(f"cannot merge uncertainty of kind {other.kind!r} into kind {self.kind!r}")
        self.counts += other.counts

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1] over 15 equal-width bins (low, high] of confidence.

        Of `least_confidence` u = (1 - max p) * C / (C - 1) the confidence follows, max p = 1 - u * (C - 1) / C. It is
        known to half an 8-bit level, 0.2 % of confidence. The other kinds do not determine the label's max p: their error is nan.
        """
        if self.kind != "least_confidence" or not self.counts.any():
            return math.nan
        uncertainty = np.arange(NUM_LEVELS) / (NUM_LEVELS - 1)
        confidence = 1.0 - uncertainty * (self.num_classes - 1) / self.num_classes
        bins = np.clip(np.ceil(confidence * NUM_ECE_BINS).astype(int) - 1, 0, NUM_ECE_BINS - 1)
        pixels = self.counts.sum(axis=1)
        right = np.bincount(bins, weights=self.counts[:, 0], minlength=NUM_ECE_BINS)
        expected = np.bincount(bins, weights=pixels * confidence, minlength=NUM_ECE_BINS)
        return float(np.abs(right - expected).sum() / pixels.sum())

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
        """Area under the risk-coverage curve: the error rate of the k most certain pixels, averaged over k = 1..n.

        0 is perfect; an uninformative uncertainty gives the plain error rate. Among pixels of one level, which have no
        order, the mean over all orders is taken, in closed form. nan when nothing was counted.
        """
        total = int(self.counts.sum())
        if not total:
            return math.nan
        area, pixels_before, wrong_before = 0.0, 0, 0
        for right_here, wrong_here in self.counts.tolist():
            here = right_here + wrong_here
            if not here:
                continue
            # j pixels into this level the expected risk is (wrong_before + rate * j) / (pixels_before + j);
            # summed over j = 1..here this is a harmonic sum.
            rate = wrong_here / here
            steps = _harmonic(pixels_before + here) - _harmonic(pixels_before)
            area += wrong_here + (wrong_before - rate * pixels_before) * steps
            pixels_before += here
            wrong_before += wrong_here
        return area / total


def finite_or_none(value: float) -> float | None:
    """Turn nan, which JSON does not know, into None, which it writes as null."""
    return float(value) if math.isfinite(value) else None


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


def _harmonic(n: int) -> float:
    """Sum 1/k for k = 1..n; from 64 on by its asymptotic series, which is then exact to rounding."""
    if n < 64:
        return sum(1.0 / k for k in range(1, n + 1))
    return math.log(n) + 0.57721566490153286 + 1 / (2 * n) - 1 / (12 * n**2) + 1 / (120 * n**4)
