"""Figures by region of the image: thirds by rows, from the top down."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lwseg_ros.evaluation.counts import Counts
from lwseg_ros.evaluation.metrics import finite_or_none

REGIONS = ("far", "middle", "near")  # as a camera that looks ahead over level ground sees it


class RegionMetrics:
    """Counts of each third of the images; images may differ in size."""

    def __init__(self, num_classes: int, ignore_id: int | None, uncertainty_kind: str) -> None:
        """Start with no image seen."""
        self.counts = [Counts.zero(num_classes, ignore_id, uncertainty_kind) for _ in REGIONS]
        self._heights: set[int] = set()

    def add(self, thirds: list[Counts], height: int) -> None:
        """Add what was counted in each third of an image of that height."""
        self._heights.add(height)
        for region, third in zip(self.counts, thirds, strict=True):
            region.merge(third)

    def merge(self, other: RegionMetrics) -> None:
        """Add what was counted of other images; raises ValueError where the settings differ."""
        self._heights |= other._heights
        for region, others in zip(self.counts, other.counts, strict=True):
            region.merge(others)

    def figures(self) -> list[dict[str, Any]]:
        """Return name, rows [first, last + 1], pixels, miou, pixel_accuracy and ece of each region, ready for JSON.

        rows is None where images are of different heights.
        """
        rows = third_rows(*self._heights) if len(self._heights) == 1 else [None] * len(REGIONS)
        return [
            {
                "name": name,
                "rows": None if bounds is None else list(bounds),
                "pixels": counts.confusion.num_pixels,
                "miou": finite_or_none(counts.confusion.miou),
                "pixel_accuracy": finite_or_none(counts.confusion.pixel_accuracy),
                "ece": finite_or_none(counts.uncertainty.ece),
            }
            for name, bounds, counts in zip(REGIONS, rows, self.counts, strict=True)
        ]


def third_rows(height: int) -> list[tuple[int, int]]:
    """Return the first row of each third, and the one after its last."""
    bounds = [height * part // len(REGIONS) for part in range(len(REGIONS) + 1)]
    return list(pairwise(bounds))
