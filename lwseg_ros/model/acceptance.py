"""Accepted pixels: those whose uncertainty is at most a threshold of their class, fitted so that few of them are wrong."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from lwseg_ros.classes import is_int
from lwseg_ros.errors import ModelFileError

Range = tuple[float | None, float | None]
MAX_THRESHOLD = 254
"""An uncertainty of 255, not certain at all, is never accepted; nor has it to be told from a label that is no class."""


@dataclass(frozen=True)
class Acceptance:
    """What a model vouches for, as the manifest's `acceptance` has it; see `Acceptance.from_manifest`.

    level: the error rate that accepted pixels of a class stay under. confidence: with which they do, over the draw of the streets
    that the thresholds were fitted on. thresholds: the largest accepted uncertainty, 0..254, by class id; a class without one is
    never accepted. normal: the least and the largest value, None for any, of what `evaluation.drift` looks at, by its name.
    """

    level: float
    confidence: float
    thresholds: dict[int, int]
    normal: dict[str, Range]
    _limits: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare the look-up of a label's limit, the least uncertainty that is not accepted."""
        limits = np.zeros(256, np.uint8)
        for class_id, threshold in self.thresholds.items():
            limits[class_id] = threshold + 1
        object.__setattr__(self, "_limits", limits)

    def accepted(self, label: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
        """Return uint8 [H, W], 255 where the pixel is accepted and else 0, of label and uncertainty uint8 [H, W]."""
        return cv2.compare(uncertainty, cv2.LUT(label, self._limits), cv2.CMP_LT)

    @classmethod
    def from_manifest(cls, values: dict[str, Any], class_ids: Collection[int]) -> Acceptance | None:
        """Read the manifest's `acceptance`; None where it is empty.

        Its fields: `level` and `confidence` between 0 and 1; `thresholds`, the i-th of class id i, null where it is never accepted
        or there is no such class; `normal`, names to [least, largest], each a number or null, empty where there is nothing to
        compare with. Others are left alone. Raises ModelFileError that names what does not fit.
        """
        if not values:
            return None
        for name in ("level", "confidence"):
            _demand(
                name,
                values.get(name),
                _is_number(values.get(name)) and 0 < values[name] < 1,
                "a number between 0 and 1",
            )
        thresholds = values.get("thresholds")
        _demand(
            "thresholds",
            thresholds,
            isinstance(thresholds, list)
            and len(thresholds) == max(class_ids) + 1
            and all(entry is None or is_int(entry, 0, MAX_THRESHOLD) for entry in thresholds)
            and all(entry is None for class_id, entry in enumerate(thresholds) if class_id not in class_ids),
            f"one entry for each id up to {max(class_ids)}, 0..{MAX_THRESHOLD} or null, null where that is no class",
        )
        normal = values.get("normal", {})
        _demand(
            "normal",
            normal,
            isinstance(normal, dict) and all(map(_is_range, normal.values())),
            "names with a [least, largest] each, numbers in this order or null",
        )
        return cls(
            values["level"],
            values["confidence"],
            {class_id: entry for class_id, entry in enumerate(thresholds or ()) if entry is not None},
            {name: (least, largest) for name, (least, largest) in normal.items()},
        )

    def to_manifest(self, num_ids: int) -> dict[str, Any]:
        """Write what `from_manifest` reads, for class ids below `num_ids`."""
        return {
            "level": self.level,
            "confidence": self.confidence,
            "thresholds": [self.thresholds.get(class_id) for class_id in range(num_ids)],
            "normal": {name: list(entry) for name, entry in self.normal.items()},
        }


def _demand(name: str, value: object, accepted: bool, expected: str) -> None:
    if not accepted:
        raise ModelFileError(
            f"manifest field 'acceptance': {name!r} is {reprlib.repr(value)}, expected {expected}; export it again"
        )


def _is_range(entry: Any) -> bool:
    if not (isinstance(entry, list) and len(entry) == 2 and all(end is None or _is_number(end) for end in entry)):
        return False
    least, largest = entry
    return least is None or largest is None or least <= largest


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number above all floats
        return False
