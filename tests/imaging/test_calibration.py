"""Calibrations: which way a pixel looks, against OpenCV's own projection; what cannot be one is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from lwseg_ros.errors import CalibrationError
from lwseg_ros.imaging.calibration import Calibration, read_camera_info

SIZE_HW = (120, 200)
YAML = """\
image_width: 200
image_height: 120
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [150, 0, 101, 0, 155, 58, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.09, 0.001, -0.0005, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [140, 0, 99, 0, 0, 140, 60, 0, 0, 0, 1, 0]}
"""


def info(tmp_path: Path, **fields: Any) -> SimpleNamespace:
    (tmp_path / "camera.yaml").write_text(YAML)
    read = read_camera_info(tmp_path / "camera.yaml")
    assert isinstance(read, SimpleNamespace)
    read.__dict__.update(fields)
    return read


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", [-0.3, 0.09, 0.001, -0.0005, 0.0]),
        ("plumb_bob", [0.12, -0.05, 0.0, 0.002]),
        ("rational_polynomial", [5.0, 2.0, 0.0001, 0.0002, 0.1, 5.4, 3.6, 0.6]),
    ],
)
def test_every_ray_is_projected_to_its_pixel(tmp_path: Path, model: str, distortion: list[float]) -> None:
    calibration = Calibration.of_camera_info(info(tmp_path, distortion_model=model, d=distortion), SIZE_HW)
    rng = np.random.default_rng(1)
    matrix = np.array([[150, 0, 101], [0, 155, 58], [0, 0, 1]], float)
    y = calibration.ray_y()
    assert y.shape == SIZE_HW
    for x_true, y_true in zip(rng.uniform(-0.6, 0.6, 200), rng.uniform(-0.35, 0.35, 200), strict=True):
        point = np.array([[[x_true, y_true, 1.0]]])
        (column, row) = cv2.projectPoints(point, np.zeros(3), np.zeros(3), matrix, np.array(distortion))[0].ravel()
        assert 0 <= column <= 199
        assert 0 <= row <= 119
        left, top = min(int(column), 198), min(int(row), 118)
        square = y[top : top + 2, left : left + 2]
        down, right = row - top, column - left
        interpolated = [1 - down, down] @ square @ [1 - right, right]
        assert interpolated == pytest.approx(y_true, abs=0.02 / 150)


def test_rectified_images_are_of_p_and_have_no_distortion(tmp_path: Path) -> None:
    calibration = Calibration.of_camera_info(info(tmp_path), SIZE_HW, is_rectified=True)
    assert calibration == Calibration(SIZE_HW, (140.0, 140.0), (99.0, 60.0))
    assert calibration.ray_y() == pytest.approx((np.arange(120) - 60) / 140)


def test_binning_and_region_of_interest_are_worked_in(tmp_path: Path) -> None:
    roi = SimpleNamespace(x_offset=50, y_offset=40, width=100, height=60)
    half = info(tmp_path, d=[], binning_x=2, binning_y=2, roi=roi)
    calibration = Calibration.of_camera_info(half, (30, 50))
    assert calibration.focal_px == (75.0, 77.5)
    assert calibration.center_px == ((101 - 50 + 0.5) / 2 - 0.5, (58 - 40 + 0.5) / 2 - 0.5)


NAN = float("nan")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 240, "width": 400}, r"of images of 240 x 400 pixels \(height x width\), but they are 120 x 200"),
        ({"height": 0, "width": 0}, "of images of 0 x 0 pixels"),
        ({"k": [0.0] * 9}, "its K is all zero: the camera was not calibrated"),
        ({"k": [NAN] * 9}, "focal lengths nan and nan and principal point nan, nan are of no camera"),
        ({"k": [1e9, 0, 50, 0, 1e9, 30, 0, 0, 1]}, r"focal lengths 1e\+09 and 1e\+09 and .* are of no camera"),
        ({"k": list(np.eye(3).ravel())}, "focal lengths 1 and 1 and principal point 0, 0 are of no camera"),
        ({"d": [NAN, 0, 0, 0, 0]}, r"its distortion 'plumb_bob' \[nan, 0.0, 0.0, 0.0, 0.0\] is not known"),
        ({"distortion_model": "thin_prism"}, "'thin_prism' .* known are plumb_bob, rational_polynomial, equidistant"),
        (
            {"distortion_model": "fisheye", "d": [0, 0, 0, 0]},
            r"its distortion 'fisheye' \[0.0, 0.0, 0.0, 0.0\] is not known",
        ),
        ({"distortion_model": "equidistant", "d": [0, 0, 0, 0, 1]}, "is not known"),
        ({"distortion_model": "rational_polynomial", "d": [0] * 8 + [1]}, "is not known"),
    ],
)
def test_what_is_no_calibration_of_the_images_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Calibration.of_camera_info(info(tmp_path, **fields), SIZE_HW)


@pytest.mark.parametrize("distortion", [[-3.0, 0, 0, 0, 0], [-0.5, -0.5, 0, 0, 0], [1e200, 0, 0, 0, 0]])
def test_a_distortion_that_folds_the_image_is_refused(tmp_path: Path, distortion: list[float]) -> None:
    with pytest.raises(CalibrationError, match="cannot be undone up to the image's corners"):
        Calibration.of_camera_info(info(tmp_path, d=distortion), SIZE_HW).ray_y()


def test_no_distances_are_told_of_an_equidistant_lens_even_without_distortion(tmp_path: Path) -> None:
    calibration = Calibration.of_camera_info(info(tmp_path, distortion_model="equidistant", d=[0.0] * 4), SIZE_HW)
    assert calibration.is_equidistant
    assert calibration.distortion == (0.0, 0.0, 0.0, 0.0)
    with pytest.raises(CalibrationError, match="distances are not told of an equidistant lens"):
        calibration.ray_y()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the calibration"),
        ("- 1", "is not as ROS's camera_calibration writes it"),
        (YAML.replace("image_width", "width"), "KeyError: 'image_width'"),
        (YAML.replace("image_width: 200", "image_width: wide"), "'wide' is no side in pixels"),
        (YAML.replace("[150, 0, ", "["), "7 numbers where 9 belong"),
    ],
)
def test_a_file_that_is_no_calibration_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "camera.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CalibrationError, match=message):
        read_camera_info(path)
