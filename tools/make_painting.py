"""Make the picture of docs/painting.md from a street of known geometry: `PYTHONPATH=tests python tools/make_painting.py -o
docs/images/painting.png`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from support.street_scene import CAMERAS, COLORS_RGB, Drive, SceneCamera, sweep

from lwseg_ros.host.files import write_atomically
from lwseg_ros.painting.painter import LabelImages, Occlusion, PaintedPoints, View, paint
from lwseg_ros.painting.projection import Projection
from lwseg_ros.painting.sweep import SweepTimes

DRIVE = Drive(speed_m_s=12.0, yaw_rad_s=0.4)
IMAGE_S = 0.12
NO_CLASS = 255
PIXELS_A_METRE = 14
AHEAD_M, ASIDE_M = 42, 14
GREY = (60, 60, 60)


def palette_bgr() -> np.ndarray:
    """Colours by label, uint8 [256, 3]; points without one are grey."""
    palette = np.full((256, 3), GREY, np.uint8)
    for label, color in COLORS_RGB.items():
        palette[label] = color[::-1]
    return palette


def pose(time_s: float) -> np.ndarray:
    """The motion [4, 4] from the car to the world."""
    position, yaw = DRIVE.pose(time_s)
    result = np.eye(4)
    result[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    result[:3, 3] = position
    return result


def mounted(camera: SceneCamera) -> np.ndarray:
    """The motion [4, 4] from the lidar's frame to the camera's."""
    result = np.eye(4)
    result[:3, :3] = camera.car_from_optical.T
    result[:3, 3] = camera.car_from_optical.T @ (np.array([0, 0, 1.9]) - camera.position_m)
    return result


def painted_street(*, corrected: bool, occlusion: Occlusion) -> PaintedPoints:
    """Paint one sweep by two cameras that look 0.12 s after its begin."""
    points, times_s, _, _ = sweep(DRIVE, 0.0)
    views = []
    for camera in CAMERAS[:2]:
        label, _ = camera.render(DRIVE, IMAGE_S)

        def pose_at(time_ns: int, camera: SceneCamera = camera) -> np.ndarray:
            moved = np.linalg.inv(pose(IMAGE_S)) @ pose(time_ns / 1e9) if corrected else np.eye(4)
            up = np.eye(4)
            up[2, 3] = 1.9
            return np.asarray(mounted(camera) @ np.linalg.inv(up) @ moved @ up)

        images = LabelImages(0, camera.name, label, np.zeros_like(label))
        views.append(View(images, Projection.of_camera_info(camera.camera_info(), camera.size_hw), pose_at))
    times = SweepTimes.of((times_s * 1e9).astype(np.int64), 0)
    return paint(points.T.astype(np.float32), times, views, no_class=NO_CLASS, occlusion=occlusion)


def from_above(label: np.ndarray, title: str) -> np.ndarray:
    """Draw the points from above, what lies higher over what lies lower; uint8 BGR."""
    points = sweep(DRIVE, 0.0)[0]
    order = np.argsort(points[:, 2], kind="stable")
    rows = ((AHEAD_M - points[order, 0]) * PIXELS_A_METRE).astype(int)
    columns = ((ASIDE_M - points[order, 1]) * PIXELS_A_METRE).astype(int)
    picture = np.full((AHEAD_M * PIXELS_A_METRE, 2 * ASIDE_M * PIXELS_A_METRE, 3), 20, np.uint8)
    inside = (rows >= 0) & (rows < len(picture) - 1) & (columns >= 0) & (columns < picture.shape[1] - 1)
    color = palette_bgr()[label[order]][inside]
    for down in (0, 1):
        for right in (0, 1):
            picture[rows[inside] + down, columns[inside] + right] = color
    cv2.putText(picture, title, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def main() -> int:
    """Paint twice and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    good = from_above(painted_street(corrected=True, occlusion=Occlusion(0.3)).label, "painted")
    bad = from_above(painted_street(corrected=False, occlusion=Occlusion(0.0)).label, "without motion and occlusion")
    seen = [palette_bgr()[camera.render(DRIVE, IMAGE_S)[0]] for camera in CAMERAS[:2]]
    for camera, image in zip(CAMERAS, seen, strict=False):
        text = f"{camera.name}, {camera.distortion_model}"
        cv2.putText(image, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    column = np.vstack(seen)
    column = cv2.resize(column, (column.shape[1] * len(good) // len(column), len(good)), interpolation=cv2.INTER_AREA)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output, cv2.imencode(".png", np.hstack([column, good, bad]))[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
