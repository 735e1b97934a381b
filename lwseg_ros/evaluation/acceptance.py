"""Whether accepted pixels are as seldom wrong as the model claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lwseg_ros.evaluation.metrics import UncertaintyMetrics
from lwseg_ros.model.acceptance import Acceptance


def acceptance_figures(counted: UncertaintyMetrics, acceptance: Acceptance, names: Sequence[str]) -> dict[str, Any]:
    """Hold the pixels that thresholds accept against what is claimed of them, ready for JSON.

    Returns:
        `share`, of accepted pixels among all judged ones; `error_rate` of the accepted ones; `level` and `confidence` as
        claimed; `per_class` by name (of the predicted class), each with `share` of its pixels that is accepted, `error_rate`,
        `pixels`, how many are accepted, and `met`, whether the rate is within the level; `not_met`, the names where it is not.
        None for what has no pixels.
    """
    counts = counted.class_counts
    accepted = np.zeros((len(counts), 2), np.int64)
    for class_id, threshold in acceptance.thresholds.items():
        accepted[class_id] = counts[class_id, : threshold + 1].sum(axis=0)
    per_class = {}
    for name, (right, wrong), predicted in zip(names, accepted.tolist(), counts.sum(axis=(1, 2)), strict=True):
        error_rate = _share(wrong, right + wrong)
        per_class[name] = {
            "share": _share(right + wrong, int(predicted)),
            "error_rate": error_rate,
            "pixels": right + wrong,
            "met": None if error_rate is None else error_rate <= acceptance.level,
        }
    return {
        # Pixels whose prediction is no class were judged too, and are never accepted.
        "share": _share(int(accepted.sum()), int(counted.counts.sum())),
        "error_rate": _share(int(accepted[:, 1].sum()), int(accepted.sum())),
        "level": acceptance.level,
        "confidence": acceptance.confidence,
        "per_class": per_class,
        "not_met": [name for name, figures in per_class.items() if figures["met"] is False],
    }


def accepted_in_words(figures: dict[str, Any]) -> str:
    """Say what `acceptance_figures` holds: the claim, whether it was met, and where not."""
    if figures["error_rate"] is None:
        return "no pixel was judged" if figures["share"] is None else "no pixel is accepted"
    missed = ", ".join(f"{name} ({figures['per_class'][name]['error_rate']:.1%})" for name in figures["not_met"])
    return (
        f"{figures['share']:.1%} of the pixels, {figures['error_rate']:.2%} of them wrong; of a class at most "
        f"{figures['level'] * 100:.3g}% are claimed to be, with a confidence of {figures['confidence'] * 100:.4g}%: "
        + (f"not met by {missed}" if missed else "met by every class with accepted pixels")
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
