"""Regions of an image by distance on a flat road, from how the camera is calibrated and mounted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lwseg_ros.evaluation.counts import Part
from lwseg_ros.evaluation.regions import Range
from lwseg_ros.imaging.calibration import Calibration


@dataclass(frozen=True)
class Mounting:
    """How a camera stands above a flat road, without roll, and where its regions end.

    Attributes:
        height_m: of the camera above the road, metres, above 0.
        pitch_deg: how far it looks down, degrees; negative: up.
        bounds_m: where `near` and `middle` end, metres, ascending, above 0.
    """

    height_m: float
    pitch_deg: float = 0.0
    bounds_m: tuple[float, float] = (10.0, 30.0)


@dataclass(frozen=True)
class DistanceRegions:
    """Above the horizon, far, middle and near, by where on the road the ray of a pixel ends.

    The distance is measured ahead along the road, from the point below the camera. With the ray (x, y, 1) of a pixel, x right and
    y down, the camera's height h and pitch t it is h (cos t - y sin t) / (sin t + y cos t): without distortion the same for a
    whole row. Rays that do not come down belong to what is above the horizon.
    """

    calibration: Calibration
    mounting: Mounting

    @property
    def names(self) -> tuple[str, ...]:
        return "above the horizon", "far", "middle", "near"

    @property
    def distances_m(self) -> tuple[Range | None, ...]:
        near, middle = self.mounting.bounds_m
        return None, (middle, None), (near, middle), (0.0, near)

    def parts(self, size_hw: tuple[int, int]) -> Sequence[Part]:
        """Return rows of each region, or with distortion their pixels, bool [H, W]."""
        if size_hw != self.calibration.size_hw:
            raise ValueError(f"the calibration is of images of {self.calibration.size_hw}, this one is {size_hw}")
        return _parts(self)

    def distance_m(self) -> np.ndarray:
        """Compute the distance of every row, float64 [H], or with distortion of every pixel, [H, W]; inf above the horizon."""
        tilt = np.radians(self.mounting.pitch_deg)
        y = self.calibration.ray_y()
        down, ahead = np.sin(tilt) + y * np.cos(tilt), np.cos(tilt) - y * np.sin(tilt)
        return np.asarray(np.divide(self.mounting.height_m * ahead, down, out=np.full_like(y, np.inf), where=down > 0))


@lru_cache(maxsize=2)  # not in the regions, which travel between processes with their counts
def _parts(regions: DistanceRegions) -> tuple[Part, ...]:
    distance_m = regions.distance_m()
    near, middle = regions.mounting.bounds_m
    region = np.select([np.isinf(distance_m), distance_m >= middle, distance_m >= near], [0, 1, 2], 3)
    if region.ndim == 2:
        return tuple(region == number for number in range(4))
    ends = np.searchsorted(region, [0, 1, 2, 3, 4])  # from the top down, distances only become shorter
    return tuple(slice(int(first), int(end)) for first, end in pairwise(ends))
