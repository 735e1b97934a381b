"""From points in a camera's frame to its pixels, through the lens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lwseg_ros.errors import CalibrationError
from lwseg_ros.imaging.calibration import Calibration, distorted

# As far as lenses are looked at: 87 degrees from the axis, where a tangent ends, and straight back, where an angle does.
_LARGEST_TANGENT, _LARGEST_ANGLE = 20.0, np.pi
_STEPS = 4000


@dataclass(frozen=True)
class Projection:
    """Which pixel a point is seen in.

    Attributes:
        calibration: of the image.
        rotation: rows of a 3 x 3 matrix from the camera's frame to that of the rectified image; None where they are the same.
    """

    calibration: Calibration
    rotation: tuple[tuple[float, float, float], ...] | None = None

    @classmethod
    def of_camera_info(cls, info: Any, size_hw: tuple[int, int], *, is_rectified: bool = False) -> Projection:
        """Take it from a CameraInfo: K and D, of rectified images R and P. Raises CalibrationError."""
        calibration = Calibration.of_camera_info(info, size_hw, is_rectified=is_rectified)
        if not is_rectified:
            return cls(calibration)
        if info.p[3] or info.p[7]:
            raise CalibrationError(
                f"its P is of the second camera of a stereo pair (Tx {info.p[3]:g}, Ty {info.p[7]:g}): take the first, or its "
                "images before rectification"
            )
        rotation = np.array(info.r, float).reshape(3, 3)
        if not rotation.any() or np.array_equal(rotation, np.eye(3)):
            return cls(calibration)
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise CalibrationError(f"its R {rotation.ravel().tolist()} is no rotation")
        return cls(calibration, tuple(map(tuple, rotation.tolist())))

    def pixels(self, points: np.ndarray, *, beyond_rad: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Project points [3, N] in the camera's frame, x right, y down, z ahead.

        Returns the indices of those that the image shows, ascending, and their column and row, floats [M] with pixel centres at
        whole numbers. Points behind the camera, without finite coordinates, or so far to the side that the lens model folds back
        are not shown. beyond_rad: those that lie up to such an angle outside the image are given too, which `shows` tells apart.
        """
        if self.rotation is not None:
            points = np.asarray(self.rotation, points.dtype) @ points
        (fx, fy), (cx, cy) = self.calibration.focal_px, self.calibration.center_px
        with np.errstate(all="ignore"):
            index, x, y = self._equidistant(points) if self.calibration.is_equidistant else self._pinhole(points)
            column, row = fx * x + cx, fy * y + cy
            given = self.shows(column, row, beyond_px=beyond_rad * max(fx, fy) * self._stretch)
        return index[given], column[given], row[given]

    def shows(self, column: np.ndarray, row: np.ndarray, *, beyond_px: float = 0.0) -> np.ndarray:
        """Tell which columns and rows, [N], lie in the image, or so far beyond its border; bool [N]."""
        height, width = self.calibration.size_hw
        least, most = -0.5 - beyond_px, beyond_px - 0.5
        return np.asarray((column >= least) & (column < width + most) & (row >= least) & (row < height + most))

    @property
    def _stretch(self) -> float:
        """How many times as far apart rays lie in the image's corners as at its centre."""
        if self.calibration.is_equidistant:
            return 1.0
        sides = zip(self.calibration.size_hw[::-1], self.calibration.center_px, self.calibration.focal_px, strict=True)
        return 1 + sum((max(center, size - center) / focal) ** 2 for size, center, focal in sides)

    def _pinhole(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the rays (x, y, 1) as the lens distorts them, of the points within its limit."""
        index = np.flatnonzero(points[2] > 0)
        x, y, z = points[:, index]
        x, y = x / z, y / z
        shown = x * x + y * y < self._limit**2
        index, x, y = index[shown], x[shown], y[shown]
        if self.calibration.distortion:
            x, y = distorted(np.stack([x, y]), self.calibration.distortion)
        return index, x, y

    def _equidistant(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give where the rays go, in units of the focal length (Kannala and Brandt, 2006, as OpenCV's fisheye model)."""
        x, y, z = points
        aside = np.hypot(x, y)
        angle = np.arctan2(aside, z)
        index = np.flatnonzero((angle < self._limit) & ((aside > 0) | (z > 0)))
        angle, aside = angle[index], aside[index]
        scale = np.where(aside > 0, _equidistant_radius(angle, self.calibration.distortion) / aside, 0)
        return index, x[index] * scale, y[index] * scale

    @cached_property
    def _limit(self) -> float:
        """How far from the axis, a tangent or an angle, points go outwards in the image as they do in the world."""
        largest = _LARGEST_ANGLE if self.calibration.is_equidistant else _LARGEST_TANGENT
        if not any(self.calibration.distortion):
            return largest
        # Steps that grow, as tangents do.
        radius = np.linspace(0, 1, _STEPS) ** 2 * largest
        with np.errstate(all="ignore"):
            if self.calibration.is_equidistant:
                seen = _equidistant_radius(radius, self.calibration.distortion)
            else:
                k1, k2, _, _, k3, *denominator = self.calibration.distortion
                seen = distorted(np.stack([radius, 0 * radius]), (k1, k2, 0, 0, k3, *denominator))[0]
            grows = np.diff(seen) > 0
        return float(radius[-1] if grows.all() else radius[np.argmin(grows)])


def _equidistant_radius(angle: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    k1, k2, k3, k4 = distortion
    squared = angle * angle
    return np.asarray(angle * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4)))))
