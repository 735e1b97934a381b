"""Where points are seen, against OpenCV's own projection, and which ones a lens does not show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from support.street_scene import CAMERAS, SceneCamera

from lwseg_ros.errors import CalibrationError
from lwseg_ros.painting.projection import Projection

SIZE_HW = (360, 480)


def info(model: str = "plumb_bob", d: tuple[float, ...] = (), **fields: Any) -> SimpleNamespace:
    found = SceneCamera("camera", (0, 0, 0), 0.0, model, d).camera_info()
    found.__dict__.update(fields)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.distortion_model)
def test_points_are_seen_where_opencv_sees_them(camera: SceneCamera, dtype: type) -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform((-30, -20, 1), (30, 20, 40), (2000, 3))
    project = cv2.fisheye.projectPoints if camera.distortion_model == "equidistant" else cv2.projectPoints
    expected = project(points[:, None], np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion))[0][:, 0]
    projection = Projection.of_camera_info(camera.camera_info(), SIZE_HW)
    index, column, row = projection.pixels(points.T.astype(dtype))
    assert np.stack([column, row], axis=1) == pytest.approx(expected[index], abs=0.01)
    within = np.all((expected > 0) & (expected < (479, 359)) & (np.abs(points[:, :2]) < 1.2 * points[:, 2:]), axis=1)
    assert set(np.flatnonzero(within)) <= set(index.tolist())
    assert len(index) > 300


def test_a_lens_that_folds_back_shows_nothing_beyond() -> None:
    """With k1 = -0.3 the image of a ray comes back towards the centre from 1.05 on: r (1 - 0.3 r^2) is largest there."""
    projection = Projection.of_camera_info(info("plumb_bob", (-0.3, 0, 0, 0, 0)), SIZE_HW)
    tangents = np.array([0.9, 1.04, 1.07, 1.5, 1.8])
    assert np.all(tangents * (1 - 0.3 * tangents**2) * 240 < 243)  # all would be in the image
    index, *_ = projection.pixels(np.stack([tangents, 0 * tangents, np.ones(5)]))
    assert index.tolist() == [0, 1]


def test_a_lens_with_a_pole_shows_nothing_beyond() -> None:
    """The denominator 1 - r^2 is zero at 1."""
    projection = Projection.of_camera_info(info("rational_polynomial", (0, 0, 0, 0, 0, -1.0, 0, 0)), SIZE_HW)
    index, *_ = projection.pixels(np.array([[0.5, 0, 1], [-1.5, 0, 1], [3, 0, 1]], float).T)
    assert index.tolist() == [0]


def test_an_equidistant_lens_sees_beside_and_behind_itself() -> None:
    projection = Projection.of_camera_info(
        info("equidistant", (0.0,) * 4, k=[70.0, 0, 240, 0, 70, 180, 0, 0, 1]), SIZE_HW
    )
    points = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, -1], [0, 0, -1], [0, 0, 0]], float).T
    index, column, row = projection.pixels(points)
    assert index.tolist() == [0, 1, 2]
    assert column == pytest.approx([240, 240 + 70 * np.pi / 2, 240 - 70 * 3 * np.pi / 4])
    assert row == pytest.approx([180, 180, 180])


def test_the_images_border_is_half_a_pixel_beyond_its_last_centres() -> None:
    projection = Projection.of_camera_info(info(), SIZE_HW)
    columns = np.array([-0.6, -0.4, 479.4, 479.6])
    index, column, _ = projection.pixels(np.stack([(columns - 237) / 240, np.zeros(4), np.ones(4)]))
    assert index.tolist() == [1, 2]
    assert column == pytest.approx([-0.4, 479.4])


def test_a_rectified_image_is_turned_by_r_and_seen_by_p() -> None:
    turn = cv2.Rodrigues(np.array([0.0, 0.1, 0.0]))[0]
    p = [200.0, 0, 240, 0, 0, 200, 180, 0, 0, 0, 1, 0]
    rectified = info("plumb_bob", (-0.3, 0, 0, 0, 0), p=p, r=turn.ravel().tolist())
    index, column, row = Projection.of_camera_info(rectified, SIZE_HW, is_rectified=True).pixels(
        np.array([[1.0], [0.5], [5.0]])
    )
    x, y, z = turn @ [1, 0.5, 5]
    assert index.tolist() == [0]
    assert (column[0], row[0]) == pytest.approx((200 * x / z + 240, 200 * y / z + 180))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"p": [200.0, 0, 240, -50, 0, 200, 180, 0, 0, 0, 1, 0]}, r"second camera of a stereo pair \(Tx -50"),
        ({"r": [2.0, 0, 0, 0, 1, 0, 0, 0, 1]}, "is no rotation"),
        ({"p": [0.0] * 12}, "its P is all zero"),
    ],
)
def test_what_is_no_rectification_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Projection.of_camera_info(info(**fields), SIZE_HW, is_rectified=True)
