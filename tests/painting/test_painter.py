"""Points painted in a street of known geometry, against what ray casting says of each; and which camera counts."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import pytest
from support.street_scene import CAMERAS, CAR, LIDAR_M, POLE, Drive, SceneCamera, sweep, yaw_quaternion

from lwseg_ros.imaging.calibration import Calibration
from lwseg_ros.painting.painter import LabelImages, Occlusion, PaintedPoints, View, paint
from lwseg_ros.painting.projection import Projection
from lwseg_ros.painting.sweep import SweepTimes
from lwseg_ros.painting.transforms import TransformBuffer

NO_CLASS = 255
START_S = 100.0
# The lidar's rays are 0.15 degrees apart, which at the image's sides is a pixel.
OCCLUSION = Occlusion(angle_deg=0.3, tolerance=0.05)
DRIVE = Drive(speed_m_s=12.0, yaw_rad_s=0.4)


class Truth(NamedTuple):
    """What each point is, and whether the camera sees it, by ray casting. Within a pixel of an edge it is neither."""

    label: np.ndarray
    is_visible: np.ndarray
    is_hidden: np.ndarray
    on_edge: np.ndarray


def ns(time_s: float) -> int:
    return round(time_s * 1e9)


def transforms(cameras: tuple[SceneCamera, ...], drive: Drive) -> TransformBuffer:
    buffer = TransformBuffer()
    for number in range(-20, 21):
        time_s = START_S + number / 50
        position, yaw = drive.pose(time_s - START_S)
        buffer.add("odom", "base_link", ns(time_s), position, yaw_quaternion(yaw))
    buffer.add("base_link", "lidar", 0, LIDAR_M, (0, 0, 0, 1), is_static=True)
    for camera in cameras:
        buffer.add(
            "base_link", f"{camera.name}_mount", 0, camera.position_m, yaw_quaternion(camera.yaw_rad), is_static=True
        )
        buffer.add(f"{camera.name}_mount", camera.name, 0, (0, 0, 0), (-0.5, 0.5, -0.5, 0.5), is_static=True)
    return buffer


def painted_street(
    cameras: tuple[SceneCamera, ...], drive: Drive, image_s: float, *, corrected: bool = True
) -> tuple[PaintedPoints, list[Truth]]:
    """Paint a sweep that begins at START_S by images `image_s` after that; the points, and the truth of each camera."""
    points, times_s, labels, world = sweep(drive, 0.0)
    buffer = transforms(cameras, drive)
    views, truths = [], []
    for camera in cameras:
        label, range_m = camera.render(drive, image_s)
        stamp_ns = ns(START_S + image_s)
        images = LabelImages(stamp_ns, camera.name, label, np.full_like(label, 30))

        def pose_at(time_ns: int, camera: SceneCamera = camera, stamp_ns: int = stamp_ns) -> np.ndarray:
            return buffer.lookup(camera.name, stamp_ns, "lidar", time_ns if corrected else stamp_ns, "odom")

        views.append(View(images, Projection.of_camera_info(camera.camera_info(), camera.size_hw), pose_at))
        truths.append(truth_of(camera, drive, image_s, labels, world, label, range_m))
    times = SweepTimes.of(np.array([ns(START_S + time_s) for time_s in times_s]), ns(START_S))
    return paint(points.T.astype(np.float32), times, views, no_class=NO_CLASS, occlusion=OCCLUSION), truths


def truth_of(
    camera: SceneCamera,
    drive: Drive,
    image_s: float,
    labels: np.ndarray,
    world: np.ndarray,
    label: np.ndarray,
    range_m: np.ndarray,
) -> Truth:
    pixels, ranges = camera.pixels(drive, image_s, world)
    height, width = camera.size_hw
    inside = (pixels > 1).all(axis=1) & (pixels[:, 0] < width - 2) & (pixels[:, 1] < height - 2)
    column, row = np.rint(np.where(inside[:, None], pixels, 0)).astype(int).T
    before = camera.sees(drive, image_s, world)
    # An edge is where a pixel's neighbour is of another class, or farther by more than surfaces may be.
    square = np.ones((3, 3), np.uint8)
    far = np.minimum(range_m, 1e3).astype(np.float32)
    step = cv2.dilate(far, square) / cv2.erode(far, square)
    border = cv2.dilate(label, square) != cv2.erode(label, square)
    on_edge = inside & (border | (step > 1.05))[row, column]
    is_visible = inside & (before < 0.02) & ~(border | (step > 1.3))[row, column]
    # What the tolerance lets through: a twentieth of the range, and as much as a level surface comes nearer in three pixels.
    below_m = np.maximum(camera.position_m[2] - world[:, 2], 1e-3)
    level = np.where(world[:, 2] < camera.position_m[2], np.minimum(3 / camera.focal_px * ranges / below_m, 0.25), 0)
    is_hidden = inside & (before > (OCCLUSION.tolerance + level) * ranges) & ~on_edge
    return Truth(labels, is_visible, is_hidden, on_edge)


@pytest.mark.parametrize(
    ("camera", "image_s"),
    [*zip(CAMERAS, (-0.04, 0.03, 0.12), strict=True)],
    ids=[camera.distortion_model for camera in CAMERAS],
)
def test_every_visible_point_gets_its_label_and_no_hidden_one_does(camera: SceneCamera, image_s: float) -> None:
    painted, (truth,) = painted_street((camera,), DRIVE, image_s)
    assert truth.is_visible.sum() > 50_000
    assert truth.is_hidden.sum() > 500
    right = painted.label[truth.is_visible] == truth.label[truth.is_visible]
    assert right.mean() >= 0.999
    assert not painted.is_seen[truth.is_hidden].any()


def test_without_the_cars_motion_labels_are_beside_their_points() -> None:
    """The error that the correction takes away: of the points on cars and poles, a good share is painted as something else."""
    camera = CAMERAS[2]
    wrong = []
    for corrected in (True, False):
        painted, (truth,) = painted_street((camera,), DRIVE, 0.12, corrected=corrected)
        things = truth.is_visible & np.isin(truth.label, (CAR, POLE)) & painted.is_seen
        wrong.append(float((painted.label[things] != truth.label[things]).mean()))
    assert wrong[0] < 0.001
    assert wrong[1] > 0.1


def test_two_cameras_paint_what_either_sees() -> None:
    painted, (left, right) = painted_street(CAMERAS[:2], DRIVE, 0.05)
    either = (left.is_visible | right.is_visible) & ~(left.on_edge | right.on_edge)
    assert (left.is_visible & right.is_visible).sum() > 5_000
    assert either.sum() > left.is_visible.sum() + 10_000
    assert (painted.label[either] == left.label[either]).mean() >= 0.999
    assert not painted.is_seen[left.is_hidden & right.is_hidden].any()


def plane_view(value: int, uncertainty: int, accepted: int | None = None) -> View:
    """A camera that sees one class everywhere."""
    shape = (100, 100)
    images = LabelImages(
        0,
        "camera",
        np.full(shape, value, np.uint8),
        np.full(shape, uncertainty, np.uint8),
        None if accepted is None else np.full(shape, accepted, np.uint8),
    )
    return View(images, Projection(Calibration(shape, (50.0, 50.0), (50.0, 50.0))), lambda _: np.eye(4))


POINTS = np.array([[0, 0, 5], [0, 0, -5], [np.nan, 0, 5], [0, np.inf, 5], [9, 0, 5]], np.float32).T


def test_the_more_certain_camera_wins_and_of_equals_the_first() -> None:
    def painted(*views: View) -> tuple[int, int, int]:
        result = paint(POINTS, SweepTimes((0,)), views, no_class=NO_CLASS, occlusion=OCCLUSION)
        return int(result.label[0]), int(result.uncertainty[0]), int(result.accepted[0])

    assert painted(plane_view(1, 60, 255), plane_view(2, 50)) == (2, 50, 0)
    assert painted(plane_view(1, 40, 255), plane_view(2, 50, 0)) == (1, 40, 255)
    assert painted(plane_view(1, 50), plane_view(2, 50)) == (1, 50, 0)
    assert painted(plane_view(1, 255), plane_view(2, 255)) == (1, 255, 0)


def test_points_that_no_camera_sees_have_no_class() -> None:
    result = paint(POINTS, SweepTimes((0,)), [plane_view(1, 0, 255)], no_class=NO_CLASS, occlusion=OCCLUSION)
    assert result.is_seen.tolist() == [True, False, False, False, False]
    assert result.label.tolist() == [1, NO_CLASS, NO_CLASS, NO_CLASS, NO_CLASS]
    assert result.uncertainty.tolist() == [0, 255, 255, 255, 255]
    assert result.accepted.tolist() == [255, 0, 0, 0, 0]


@pytest.mark.parametrize("views", [[], [plane_view(1, 0)]])
def test_no_points_and_no_cameras_are_no_trouble(views: list[View]) -> None:
    none = paint(np.empty((3, 0), np.float32), SweepTimes((0,)), views, no_class=NO_CLASS, occlusion=OCCLUSION)
    assert none.label.shape == (0,)
    assert not paint(POINTS, SweepTimes((0,)), [], no_class=NO_CLASS, occlusion=OCCLUSION).is_seen.any()
