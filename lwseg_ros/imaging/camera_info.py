"""Camera calibration for an image of another size. Duck-typed: knows the fields of sensor_msgs/CameraInfo, not ROS."""

from __future__ import annotations

import copy
from typing import Any


def image_size_hw(info: Any) -> tuple[int, int]:
    """Give the size of the images that a CameraInfo is of: its region of interest, or all, after binning; 0 where it has none."""
    height, width = info.roi.height or info.height, info.roi.width or info.width
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def disagreement(info: Any, size_hw: tuple[int, int]) -> str:
    """Say why a CameraInfo cannot be that of images of some size; empty where it can.

    A driver that scales its images may leave the calibration as it was: the same shape, to less than a pixel, is enough. An
    uncalibrated (all zero) one says nothing that could be wrong.
    """
    if not (info.k[0] or info.p[0]):
        return ""
    height, width = image_size_hw(info)
    if not (height and width):
        return "it has no size (height or width is 0): calibrate the camera anew"
    if abs(height * size_hw[1] - width * size_hw[0]) < max(height, width):
        return ""
    return (
        f"it is of images of {height} x {width} pixels (height x width), but the camera's are {size_hw[0]} x {size_hw[1]}: "
        "calibrate the camera as it is used"
    )


def scale_camera_info(info: Any, size_hw: tuple[int, int]) -> Any:
    """Give a copy of a CameraInfo that describes an image of another size with the same field of view.

    Binning and region of interest of the source are worked into K and P, so the result has neither. Pixel centres lie at whole
    numbers, so the principal point scales as (c + 0.5) * s - 0.5. Without a size in `info`, only the size is set.
    """
    height, width = size_hw
    scaled = copy.deepcopy(info)
    scaled.height, scaled.width = height, width
    roi = info.roi
    source_h, source_w = roi.height or info.height, roi.width or info.width
    if source_h and source_w:
        scale_x, scale_y = width / source_w, height / source_h
        scaled.k = _scale_rows(info.k, 3, scale_x, scale_y, roi.x_offset, roi.y_offset)
        scaled.p = _scale_rows(info.p, 4, scale_x, scale_y, roi.x_offset, roi.y_offset)
    scaled.binning_x = scaled.binning_y = 0
    scaled.roi.x_offset = scaled.roi.y_offset = scaled.roi.height = scaled.roi.width = 0
    return scaled


def _scale_rows(matrix: Any, columns: int, scale_x: float, scale_y: float, offset_x: int, offset_y: int) -> list[float]:
    """Scale a row-major 3 x `columns` projection matrix. An uncalibrated (all zero) one stays as it is."""
    values = [float(value) for value in matrix]
    if values[0] == 0.0:
        return values
    for row, (scale, offset) in enumerate(((scale_x, offset_x), (scale_y, offset_y))):
        first = row * columns
        for column in range(columns):
            if column != 2:
                values[first + column] *= scale
        values[first + 2] = (values[first + 2] - offset + 0.5) * scale - 0.5
    return values
