"""Scaled calibrations project points to where the scaled image shows them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lwseg_ros.imaging.camera_info import disagreement, scale_camera_info


def camera_info(**fields: object) -> SimpleNamespace:
    info = SimpleNamespace(
        height=720,
        width=1280,
        k=[900.0, 0.0, 640.0, 0.0, 910.0, 360.0, 0.0, 0.0, 1.0],
        p=[880.0, 0.0, 630.0, -105.6, 0.0, 890.0, 350.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        d=[0.1, -0.2, 0.0, 0.0, 0.0],
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )
    info.__dict__.update(fields)
    return info


POINT = np.array([0.7, -0.4, 5.0])


def project(k: list[float], point: np.ndarray) -> np.ndarray:
    u, v, w = np.array(k).reshape(3, 3) @ point
    return np.array([u / w, v / w])


def test_the_same_size_changes_nothing() -> None:
    info = camera_info()
    scaled = scale_camera_info(info, (720, 1280))
    assert scaled == info
    assert scaled is not info


@pytest.mark.parametrize("size_hw", [(360, 640), (240, 1280), (1440, 2560)])
def test_points_move_with_the_pixels(size_hw: tuple[int, int]) -> None:
    info = camera_info()
    scaled = scale_camera_info(info, size_hw)
    assert (scaled.height, scaled.width) == size_hw
    factors = np.array([size_hw[1] / 1280, size_hw[0] / 720])
    # The outer edge of the image, half a pixel before the first centre, stays where it is.
    expected = (project(info.k, POINT) + 0.5) * factors - 0.5
    np.testing.assert_allclose(project(scaled.k, POINT), expected)
    assert scaled.p[3] == pytest.approx(-105.6 * factors[0])  # the stereo baseline is in pixels too
    assert scaled.d == info.d


def test_region_of_interest_and_binning_are_worked_in() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=40, height=400, width=800, do_rectify=False)
    info = camera_info(roi=roi, binning_x=2, binning_y=2)
    scaled = scale_camera_info(info, (200, 400))
    expected = (project(info.k, POINT) - [100, 40] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(project(scaled.k, POINT), expected)
    assert (scaled.binning_x, scaled.binning_y) == (0, 0)
    assert (scaled.roi.x_offset, scaled.roi.y_offset, scaled.roi.height, scaled.roi.width) == (0, 0, 0, 0)
    assert info.roi.width == 800  # the source is left alone


def test_uncalibrated_cameras_stay_so() -> None:
    zeros = camera_info(k=[0.0] * 9, p=[0.0] * 12)
    scaled = scale_camera_info(zeros, (10, 20))
    assert (scaled.height, scaled.width, scaled.k, scaled.p) == (10, 20, [0.0] * 9, [0.0] * 12)
    no_size = camera_info(height=0, width=0)
    assert scale_camera_info(no_size, (10, 20)).k == no_size.k


ROI = SimpleNamespace(x_offset=0, y_offset=0, height=400, width=800, do_rectify=False)


@pytest.mark.parametrize(
    ("fields", "size_hw"),
    [
        ({}, (720, 1280)),
        ({}, (360, 640)),
        ({}, (480, 853)),  # 853.3
        ({"binning_x": 2, "binning_y": 2}, (360, 640)),
        ({"binning_y": 2}, (360, 1280)),
        ({"roi": ROI}, (400, 800)),
        ({"roi": ROI, "binning_x": 2, "binning_y": 2}, (200, 400)),
        ({"k": [0.0] * 9, "p": [0.0] * 12}, (480, 640)),
        ({"k": [0.0] * 9, "p": [0.0] * 12, "height": 0, "width": 0}, (480, 640)),
    ],
)
def test_a_calibration_that_can_be_of_the_image(fields: dict[str, object], size_hw: tuple[int, int]) -> None:
    assert disagreement(camera_info(**fields), size_hw) == ""


@pytest.mark.parametrize(
    ("fields", "size_hw", "said"),
    [
        ({"height": 480, "width": 640}, (720, 1280), "480 x 640"),
        ({}, (1280, 720), "720 x 1280"),
        ({}, (721, 1280), "720 x 1280"),
        ({"binning_y": 2}, (720, 1280), "360 x 1280"),
        ({"roi": ROI}, (720, 1280), "400 x 800"),
        ({"height": 0, "width": 0}, (720, 1280), "no size"),
        ({"height": 0}, (720, 1280), "no size"),
        ({"height": 0, "width": 0, "k": [0.0] * 9}, (720, 1280), "no size"),
    ],
)
def test_a_calibration_of_other_images(fields: dict[str, object], size_hw: tuple[int, int], said: str) -> None:
    assert said in disagreement(camera_info(**fields), size_hw)
