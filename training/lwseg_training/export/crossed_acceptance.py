"""Whether what is fitted on some streets holds on another: each of the held-out streets against the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lwseg_ros.evaluation.acceptance import acceptance_figures
from lwseg_ros.evaluation.drift import FrameFigures, unusual
from lwseg_ros.evaluation.metrics import UncertaintyMetrics
from lwseg_ros.model.acceptance import Acceptance
from lwseg_training.export.acceptance import WINDOW_IMAGES, ImageCounts, fit_acceptance


def check_on_each(
    streets: Mapping[str, Sequence[ImageCounts]], names: Sequence[str], level: float, confidence: float
) -> dict[str, dict[str, Any]]:
    """Fit on all streets but one and judge on that one, each in its turn; see `fit_acceptance`.

    names: of the classes by id.

    Returns:
        By street `share`, `error_rate`, `per_class` and `not_met` as `acceptance_figures` has them, to five digits;
        `windows`, how many windows of consecutive images it has, `unusual_windows`, how many of them are not normal on the other
        streets, and `first_unusual`, the number of images after which that is first known, None where it never is. Empty for a
        single street.
    """
    if len(streets) < 2:
        return {}
    checked = {}
    for street, images in streets.items():
        others = {name: own for name, own in streets.items() if name != street}
        acceptance = Acceptance.from_manifest(fit_acceptance(others, level, confidence), range(len(names)))
        assert acceptance is not None
        checked[street] = {**_judged(images, acceptance, names), **_drift(images, acceptance)}
    return checked


def _judged(images: Sequence[ImageCounts], acceptance: Acceptance, names: Sequence[str]) -> dict[str, Any]:
    counted = UncertaintyMetrics(len(names))
    counted.class_counts = np.sum([image.judged for image in images], axis=0)
    counted.counts = counted.class_counts.sum(axis=0)
    figures = acceptance_figures(counted, acceptance, names)
    per_class = {name: _rounded(own) for name, own in figures["per_class"].items()}
    return _rounded({"share": figures["share"], "error_rate": figures["error_rate"]}) | {
        "per_class": per_class,
        "not_met": figures["not_met"],
    }


def _drift(images: Sequence[ImageCounts], acceptance: Acceptance) -> dict[str, Any]:
    figures = np.array([image.figures(acceptance) for image in images])
    ends = range(WINDOW_IMAGES, len(images) + 1)
    means = [FrameFigures(*figures[end - WINDOW_IMAGES : end].mean(axis=0)) for end in ends]
    strange = [end for end, mean in zip(ends, means, strict=True) if unusual(mean, acceptance.normal)]
    return {"windows": len(means), "unusual_windows": len(strange), "first_unusual": strange[0] if strange else None}


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in figures.items()}
