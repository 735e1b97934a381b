"""Whether accepted pixels are as seldom wrong as the model claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lwseg_ros.evaluation.metrics import NUM_LEVELS
from lwseg_ros.model.acceptance import Acceptance


class AcceptanceCounts:
    """Count right and wrong pixels by predicted class and uncertainty, from which those of any thresholds follow.

    Attributes:
        counts: int64 [C, 256, 2]; predicted class, uncertainty level, and column 0 = right pixels, 1 = wrong ones.
        num_pixels: all that were judged, those whose prediction is no class among them.
    """

    def __init__(self, num_classes: int, ignore_id: int | None = None) -> None:
        """Start at zero; pixels whose true label is `ignore_id` will not count."""
        self.ignore_id = ignore_id
        self.counts = np.zeros((num_classes, NUM_LEVELS, 2), np.int64)
        self.num_pixels = 0

    def update(self, label_true: np.ndarray, label_pred: np.ndarray, uncertainty: np.ndarray) -> None:
        """Add the pixels of one image: true and predicted ids and uncertainty uint8, of one shape; a prediction that is no class
        can only be the ignored id, and is never accepted."""
        judged = np.ones(label_true.shape, bool) if self.ignore_id is None else label_true != self.ignore_id
        self.num_pixels += int(judged.sum())
        judged &= label_pred < len(self.counts)
        true, pred, level = label_true[judged], label_pred[judged].astype(np.int64), uncertainty[judged]
        cells = (pred * NUM_LEVELS + level) * 2 + (true != pred)
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)

    def metrics(self, acceptance: Acceptance, names: Sequence[str]) -> dict[str, Any]:
        """Hold the pixels that thresholds accept against what is claimed of them, ready for JSON.

        Returns:
            `share`, of accepted pixels among all judged ones; `error_rate` of the accepted ones; `level` and `confidence` as
            claimed; `per_class` by name (of the predicted class), each with `share` of its pixels that is accepted, `error_rate`,
            `pixels`, how many are accepted, and `met`, whether the rate is within the level; `not_met`, the names where it is not.
            None for what has no pixels.
        """
        accepted = np.zeros((len(self.counts), 2), np.int64)
        for class_id, threshold in acceptance.thresholds.items():
            accepted[class_id] = self.counts[class_id, : threshold + 1].sum(axis=0)
        per_class = {}
        for name, (right, wrong), predicted in zip(names, accepted.tolist(), self.counts.sum(axis=(1, 2)), strict=True):
            error_rate = _share(wrong, right + wrong)
            per_class[name] = {
                "share": _share(right + wrong, int(predicted)),
                "error_rate": error_rate,
                "pixels": right + wrong,
                "met": None if error_rate is None else error_rate <= acceptance.level,
            }
        return {
            "share": _share(int(accepted.sum()), self.num_pixels),
            "error_rate": _share(int(accepted[:, 1].sum()), int(accepted.sum())),
            "level": acceptance.level,
            "confidence": acceptance.confidence,
            "per_class": per_class,
            "not_met": [name for name, figures in per_class.items() if figures["met"] is False],
        }


def accepted_in_words(figures: dict[str, Any]) -> str:
    """Say what `AcceptanceCounts.metrics` holds: the claim, whether it was met, and where not."""
    if figures["error_rate"] is None:
        return "no pixel was judged" if figures["share"] is None else "no pixel is accepted"
    missed = ", ".join(f"{name} ({figures['per_class'][name]['error_rate']:.1%})" for name in figures["not_met"])
    return (
        f"{figures['share']:.1%} of the pixels, {figures['error_rate']:.2%} of them wrong; of a class at most "
        f"{figures['level']:.0%} are claimed to be, with a confidence of {figures['confidence']:.0%}: "
        + (f"not met by {missed}" if missed else "met by every class")
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
