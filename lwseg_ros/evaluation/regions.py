"""Figures by region of the image: thirds by rows, from the top down, or whatever else `Regions` cut it into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from lwseg_ros.evaluation.counts import Counts, Part
from lwseg_ros.evaluation.metrics import finite_or_none

Range = tuple[float, float | None]


class Regions(Protocol):
    """How images are cut into regions."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the regions are called."""

    @property
    def distances_m(self) -> tuple[Range | None, ...]:
        """From and to which distance each lies, in metres, None for no end; None where nothing tells."""

    def parts(self, size_hw: tuple[int, int]) -> Sequence[Part]:
        """Return what of an image of that size is in each region; together every pixel once. Raises ValueError for other sizes."""


@dataclass(frozen=True)
class Thirds:
    """Thirds by rows: what is near and what is far, as a camera that looks ahead over level ground sees it."""

    names: ClassVar[tuple[str, ...]] = ("far", "middle", "near")
    distances_m: ClassVar[tuple[None, ...]] = (None, None, None)

    def parts(self, size_hw: tuple[int, int]) -> list[slice]:
        """Return the rows of each third."""
        bounds = [size_hw[0] * part // len(self.names) for part in range(len(self.names) + 1)]
        return [slice(first, end) for first, end in pairwise(bounds)]


class RegionMetrics:
    """Counts of each region of the images; images may differ in size, where the regions allow it."""

    def __init__(self, regions: Regions, num_classes: int, ignore_id: int | None, uncertainty_kind: str) -> None:
        """Start with no image seen."""
        self.regions = regions
        self.counts = [Counts.zero(num_classes, ignore_id, uncertainty_kind) for _ in regions.names]
        self._rows: set[tuple[tuple[int, int] | None, ...]] = set()

    def add(self, counts: Sequence[Counts], parts: Sequence[Part]) -> None:
        """Add what was counted in each part of an image, as `Regions.parts` gave them."""
        self._rows.add(tuple((part.start, part.stop) if isinstance(part, slice) else None for part in parts))
        for region, part in zip(self.counts, counts, strict=True):
            region.merge(part)

    def merge(self, other: RegionMetrics) -> None:
        """Add what was counted of other images; raises ValueError where the settings differ."""
        for ours, theirs in (
            (self.regions.names, other.regions.names),
            (self.regions.distances_m, other.regions.distances_m),
        ):
            if ours != theirs:
                raise ValueError(f"cannot merge the regions {theirs} into {ours}")
        self._rows |= other._rows
        for region, others in zip(self.counts, other.counts, strict=True):
            region.merge(others)

    def figures(self) -> list[dict[str, Any]]:
        """Return name, rows [first, last + 1], distance_m [from, to], pixels, miou, pixel_accuracy and ece of each region.

        All is ready for JSON. rows is None where it is not of whole rows, or not of the same in all images.
        """
        names, distances_m = self.regions.names, self.regions.distances_m
        rows = next(iter(self._rows)) if len(self._rows) == 1 else [None] * len(names)
        return [
            {
                "name": name,
                "rows": None if bounds is None else list(bounds),
                "distance_m": None if distance_m is None else list(distance_m),
                "pixels": counts.confusion.num_pixels,
                "miou": finite_or_none(counts.confusion.miou),
                "pixel_accuracy": finite_or_none(counts.confusion.pixel_accuracy),
                "ece": finite_or_none(counts.uncertainty.ece),
            }
            for name, bounds, distance_m, counts in zip(names, rows, distances_m, self.counts, strict=True)
        ]
