"""A camera's calibration: which way each of its pixels looks. Duck-typed: knows the fields of sensor_msgs/CameraInfo, not ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from lwseg_ros.errors import CalibrationError
from lwseg_ros.host.files import load_yaml
from lwseg_ros.imaging.camera_info import image_size_hw, scale_camera_info

DISTORTION_MODELS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
# What drivers call a lens without distortion; of others, such as "fisheye", zeros need not mean a pinhole.
_PINHOLES = ("", "none", "pinhole", "plumb_bob", "rational_polynomial")
TOLERANCE_PX = 0.01
MAX_STEPS = 200
# In units of the longer side of the image: a twentieth of a degree from one side to the other.
_LONGEST_FOCAL = 1000


@dataclass(frozen=True)
class Calibration:
    """A pinhole with lens distortion.

    Attributes:
        size_hw: of the images, pixels.
        focal_px: horizontal and vertical focal length, pixels.
        center_px: the principal point, column and row; pixel centres lie at whole numbers.
        distortion: k1, k2, p1, p2, k3, k4, k5, k6 as OpenCV's; empty where there is none. Of an equidistant lens its k1 to k4.
        is_equidistant: whether the angle from the optical axis, not its tangent, is what distortion and focal length are of, as
            in OpenCV's fisheye model.
    """

    size_hw: tuple[int, int]
    focal_px: tuple[float, float]
    center_px: tuple[float, float]
    distortion: tuple[float, ...] = ()
    is_equidistant: bool = False

    @classmethod
    def of_camera_info(cls, info: Any, size_hw: tuple[int, int], *, is_rectified: bool = False) -> Calibration:
        """Take the calibration of images of some size from a CameraInfo: K and D, of rectified images P.

        Raises:
            CalibrationError: it is of another size, is not calibrated, or has a distortion that is not known here.
        """
        said = image_size_hw(info)
        if said != size_hw:
            raise CalibrationError(
                f"it is of images of {said[0]} x {said[1]} pixels (height x width), but they are {size_hw[0]} x {size_hw[1]}"
            )
        scaled = scale_camera_info(info, size_hw)
        matrix = np.array(scaled.p if is_rectified else scaled.k, float).reshape(3, -1)
        (fx, _, cx), (_, fy, cy) = matrix[0, :3].tolist(), matrix[1, :3].tolist()
        if not matrix.any():
            raise CalibrationError(f"its {'P' if is_rectified else 'K'} is all zero: the camera was not calibrated")
        inside = 0 < cx < size_hw[1] - 1 and 0 < cy < size_hw[0] - 1
        is_lens = min(fx, fy) > 0 and max(fx, fy) < _LONGEST_FOCAL * max(size_hw)
        if not (np.isfinite(matrix).all() and is_lens and inside):
            raise CalibrationError(
                f"focal lengths {fx:g} and {fy:g} and principal point {cx:g}, {cy:g} are of no camera of {size_hw[0]} x "
                f"{size_hw[1]} pixels (height x width)"
            )
        distortion = () if is_rectified else _distortion(info)
        is_equidistant = not is_rectified and info.distortion_model == "equidistant"
        return cls(size_hw, (fx, fy), (cx, cy), distortion, is_equidistant)

    def ray_y(self) -> np.ndarray:
        """Compute y, downwards, of the ray (x, y, 1) of every row, float64 [H], or with distortion of every pixel, [H, W].

        Raises:
            CalibrationError: the distortion cannot be undone in the whole image; the lens is equidistant, whose rays need not meet
                the plane before the camera.
        """
        if self.is_equidistant:
            raise CalibrationError(
                "distances are not told of an equidistant lens, only of plumb_bob and rational_polynomial"
            )
        height, width = self.size_hw
        rows = (np.arange(height) - self.center_px[1]) / self.focal_px[1]
        if not self.distortion:
            return rows
        columns = (np.arange(width) - self.center_px[0]) / self.focal_px[0]
        seen = np.stack(np.broadcast_arrays(columns, rows[:, None]))
        ray = seen.copy()
        with np.errstate(all="ignore"):
            for _ in range(MAX_STEPS):
                error = seen - distorted(ray, self.distortion)
                farthest_px = float(np.abs(error).max()) * max(self.focal_px)
                if farthest_px <= TOLERANCE_PX:
                    return np.asarray(ray[1])
                if not math.isfinite(farthest_px):
                    break
                ray += error
        raise CalibrationError("its distortion cannot be undone up to the image's corners")


def read_camera_info(path: Path) -> Any:
    """Read the YAML that ROS's camera_calibration writes, as the CameraInfo that a driver makes of it; raises CalibrationError."""
    try:
        values = load_yaml(path)
    except (OSError, yaml.YAMLError) as error:
        raise CalibrationError(f"cannot read the calibration {path}: {error}") from error
    try:
        return SimpleNamespace(
            height=_side(values["image_height"]),
            width=_side(values["image_width"]),
            k=_numbers(values["camera_matrix"]["data"], 9),
            p=_numbers(values["projection_matrix"]["data"], 12),
            d=_numbers(values["distortion_coefficients"]["data"]),
            distortion_model=str(values["distortion_model"]),
            binning_x=0,
            binning_y=0,
            roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(
            f"the calibration {path} is not as ROS's camera_calibration writes it, with image_width, image_height, camera_matrix, "
            f"distortion_model, distortion_coefficients and projection_matrix ({type(error).__name__}: {error})"
        ) from error


def _side(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no side in pixels")
    return value


def _numbers(values: Any, count: int | None = None) -> list[float]:
    numbers = [float(value) for value in values]
    if count not in (None, len(numbers)):
        raise ValueError(f"{len(numbers)} numbers where {count} belong")
    return numbers


def _distortion(info: Any) -> tuple[float, ...]:
    values = [float(value) for value in info.d]
    if not any(values) and info.distortion_model in _PINHOLES:
        return ()
    count = DISTORTION_MODELS.get(info.distortion_model)
    if count is None or not all(map(math.isfinite, values)) or any(values[count:]):
        raise CalibrationError(
            f"its distortion {info.distortion_model!r} {values} is not known; known are {', '.join(DISTORTION_MODELS)}"
        )
    size = 4 if info.distortion_model == "equidistant" else 8
    return (*values, *[0.0] * 8)[:size]


def distorted(ray: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    """Distort x and y, float64 [2, ...], as OpenCV's calib3d does (Camera Calibration and 3D Reconstruction)."""
    k1, k2, p1, p2, k3, k4, k5, k6 = distortion
    x, y = ray
    squared = x * x + y * y
    radial = (1 + squared * (k1 + squared * (k2 + squared * k3))) / (1 + squared * (k4 + squared * (k5 + squared * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
        ]
    )
