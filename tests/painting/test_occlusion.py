"""What hides points where a lidar's rays are far apart: at the image's border and far from its axis. Angles tell who sees what."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.imaging.calibration import Calibration
from lwseg_ros.painting.occlusion import visible
from lwseg_ros.painting.painter import LabelImages, Occlusion, View, paint
from lwseg_ros.painting.projection import Projection
from lwseg_ros.painting.sweep import SweepTimes

SIZE_HW = (360, 480)
FENCE_M, WALL_M, FENCE_TOP_M, LIDAR_ABOVE_M = 6.0, 30.0, 0.3, 0.6
FENCE, WALL = 1, 2


def fence_before_a_wall() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a lidar of 16 rings above the camera measures of a round fence and a round wall behind it.

    Points [3, N] in the camera's frame, their labels, and which ones the fence hides from the camera.
    """
    tangent, azimuth = np.meshgrid(np.tan(np.radians(np.arange(-15, 16, 2))), np.radians(np.arange(-66, 66, 0.2)))
    tangent, azimuth = tangent.ravel(), azimuth.ravel()
    on_fence = LIDAR_ABOVE_M + FENCE_M * tangent < FENCE_TOP_M
    distance = np.where(on_fence, FENCE_M, WALL_M)
    above = LIDAR_ABOVE_M + distance * tangent
    points = np.stack([distance * np.sin(azimuth), -above, distance * np.cos(azimuth)])
    return points, np.where(on_fence, FENCE, WALL), ~on_fence & (above / WALL_M < FENCE_TOP_M / FENCE_M)


@pytest.mark.parametrize(
    ("focal_px", "center_px", "is_equidistant"),
    [(300.0, (240.0, 355.0), False), (100.0, (240.0, 180.0), False), (190.0, (240.0, 180.0), True)],
    ids=["below the image's border", "67 degrees from a pinhole's axis", "equidistant"],
)
def test_what_rays_two_degrees_apart_surround_is_hidden(
    focal_px: float, center_px: tuple[float, float], is_equidistant: bool
) -> None:
    points, label, is_hidden = fence_before_a_wall()
    distortion = (0.0,) * 4 if is_equidistant else ()
    projection = Projection(Calibration(SIZE_HW, (focal_px, focal_px), center_px, distortion, is_equidistant))
    images = LabelImages(0, "camera", np.full(SIZE_HW, FENCE, np.uint8), np.zeros(SIZE_HW, np.uint8))
    painted = paint(
        points,
        SweepTimes((0,)),
        [View(images, projection, lambda _: np.eye(4))],
        no_class=255,
        occlusion=Occlusion(angle_deg=2.0),
    )
    shown = np.zeros(len(label), bool)
    shown[projection.pixels(points)[0]] = True
    assert (shown & is_hidden).sum() > 500
    assert not (painted.is_seen & is_hidden).any()
    np.testing.assert_array_equal(painted.is_seen, shown & ~is_hidden)


def test_directions_all_around_and_the_narrowest_angle_take_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwseg_ros.painting.occlusion._MAX_CELLS", 100)
    directions = np.array([[0, 0, -1], [0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1e-30, -1]], np.float32).T
    assert visible(directions, focal_px=1e6, angle_rad=1e-6, tolerance=0.05).all()
    behind = visible(directions.repeat(2, axis=1) * ([1, 2] * 5), focal_px=1e6, angle_rad=1e-6, tolerance=0.05)
    np.testing.assert_array_equal(behind, [True, False] * 5)


def test_without_points_nothing_is_visible() -> None:
    assert visible(np.zeros((3, 0)), focal_px=100.0, angle_rad=0.01, tolerance=0.05).shape == (0,)
