"""Whether ground truth numbers the classes as the model does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lwseg_ros.evaluation.metrics import ConfusionMatrix

# By so much another numbering has to raise the mIoU. Two classes that a network confuses gain less by being swapped.
MIN_GAIN = 0.1
MAX_NAMED = 6


def permutation_hint(confusion: ConfusionMatrix, names: Sequence[str]) -> str | None:
    """Say so where another numbering of the true classes would raise the mIoU much; None where it would not.

    True and predicted classes are paired by their IoU, the highest first, whatever they are called. names: by class id.
    """
    permuted = _pair_classes(confusion)
    renumbered = ConfusionMatrix(confusion.num_classes, confusion.ignore_id)
    renumbered.counts[permuted] = confusion.counts
    renumbered.unlabelled[permuted] = confusion.unlabelled
    if not renumbered.miou - confusion.miou >= MIN_GAIN:  # nan where nothing was counted
        return None
    present = np.flatnonzero(confusion.counts.sum(axis=1))
    moved = [(true, int(permuted[true])) for true in present.tolist() if permuted[true] != true]
    listed = [f"{true} ({names[true]}) is predicted as {pred} ({names[pred]})" for true, pred in moved[:MAX_NAMED]]
    more = f", and {len(moved) - MAX_NAMED} more" if len(moved) > MAX_NAMED else ""
    return (
        "the ground truth seems to number its classes otherwise than the model: with other ids the mIoU would be "
        f"{renumbered.miou:.3f}, not {confusion.miou:.3f}. {', '.join(listed)}{more}; check the ids, and translate them with "
        "--label-map"
    )


def _pair_classes(confusion: ConfusionMatrix) -> np.ndarray:
    """Return int64 [C]: for each true class a predicted one of its own."""
    counts = confusion.counts
    union = confusion.true_pixels[:, None] + counts.sum(axis=0)[None, :] - counts
    iou = np.divide(counts, union, out=np.zeros(counts.shape), where=union > 0)
    paired = np.full(confusion.num_classes, -1)
    other = 1 - np.eye(confusion.num_classes)  # where nothing tells, a class is itself
    for flat in np.lexsort((other.ravel(), -iou.ravel())).tolist():
        true, pred = divmod(flat, confusion.num_classes)
        if paired[true] < 0 and pred not in paired:
            paired[true] = pred
    return paired
