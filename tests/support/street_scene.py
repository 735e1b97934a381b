"""A street of known geometry, seen by ray casting: what a lidar measures and what cameras see, and where the car is meanwhile.

Rays of a camera's pixels and the pixels of points come from OpenCV, so that nothing here shares code with what paints.
World and car: x ahead, y left, z up. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

ROAD, WALL, CAR, POLE, SKY = 0, 1, 2, 3, 4
COLORS_RGB = {ROAD: (128, 64, 128), WALL: (128, 0, 0), CAR: (64, 0, 128), POLE: (192, 192, 128), SKY: (128, 128, 128)}
# Least and greatest corner, and label. The road is the plane z = 0.
BOXES = [
    ((55, -60, 0), (56, 60, 14), WALL),
    ((5, 9, 0), (50, 10, 8), WALL),
    ((5, -12, 0), (50, -11, 8), WALL),
    ((12, 1, 0.2), (16.5, 3, 1.6), CAR),
    ((9, -5, 0.2), (13, -3.2, 1.5), CAR),
    ((20, -2, 0.2), (24, 0, 1.7), CAR),
    ((10, 5, 0), (10.4, 5.4, 5), POLE),
    ((15, -7, 0), (15.4, -6.6, 5), POLE),
]


def cast(origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow rays to what they meet first: range in metres [N], inf for the sky, and label [N]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        down = -origins[:, 2] / directions[:, 2]
        range_m = np.where(down > 0, down, np.inf)
        label = np.where(down > 0, ROAD, SKY)
        for least, greatest, kind in BOXES:
            sides = np.stack([(np.array(least) - origins) / directions, (np.array(greatest) - origins) / directions])
            enters, leaves = sides.min(axis=0).max(axis=1), sides.max(axis=0).min(axis=1)
            met = (enters > 0) & (enters < leaves) & (enters < range_m)
            range_m, label = np.where(met, enters, range_m), np.where(met, kind, label)
    return range_m, label


def turned(yaw_rad: float) -> np.ndarray:
    """A rotation about z."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def yaw_quaternion(yaw_rad: float) -> tuple[float, float, float, float]:
    """The same as x, y, z, w."""
    return 0.0, 0.0, float(np.sin(yaw_rad / 2)), float(np.cos(yaw_rad / 2))


@dataclass(frozen=True)
class Drive:
    """A car that drives and turns steadily."""

    speed_m_s: float = 0.0
    yaw_rad_s: float = 0.0

    def pose(self, time_s: float) -> tuple[np.ndarray, float]:
        """Position [3] and yaw."""
        yaw = self.yaw_rad_s * time_s
        if not self.yaw_rad_s:
            return np.array([self.speed_m_s * time_s, 0, 0]), yaw
        radius = self.speed_m_s / self.yaw_rad_s
        return np.array([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), 0]), yaw


LIDAR_M = (0.0, 0.0, 1.9)


@lru_cache(maxsize=1)
def sweep(
    drive: Drive, start_s: float, *, duration_s: float = 0.1, step_deg: float = 0.15
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Turn a lidar from left to right over 120 degrees: positions in its frame of then [N, 3], times [N] in seconds, labels [N],
    and positions in the world [N, 3]. Rays into the sky are left out.
    """
    azimuths = np.radians(np.arange(60, -60, -step_deg))
    elevations = np.radians(np.arange(-20, 5, step_deg))
    found = []
    for number, azimuth in enumerate(azimuths):
        time_s = start_s + duration_s * number / len(azimuths)
        position, yaw = drive.pose(time_s)
        rays = np.stack(
            [
                np.cos(elevations) * np.cos(azimuth),
                np.cos(elevations) * np.sin(azimuth),
                np.sin(elevations),
            ],
            axis=1,
        )
        directions = rays @ turned(yaw).T
        origins = np.broadcast_to(position + turned(yaw) @ LIDAR_M, directions.shape)
        range_m, label = cast(origins, directions)
        hit = np.isfinite(range_m)
        range_m = range_m[hit, None]
        world = origins[hit] + directions[hit] * range_m
        found.append((rays[hit] * range_m, np.full(hit.sum(), time_s), label[hit], world))
    local, times_s, labels, worlds = (np.concatenate(column) for column in zip(*found, strict=True))
    return local, times_s, labels, worlds


@dataclass(frozen=True)
class SceneCamera:
    """A camera on the car, and its lens as ROS names it."""

    name: str
    position_m: tuple[float, float, float]
    yaw_rad: float
    distortion_model: str
    distortion: tuple[float, ...]
    focal_px: float = 240.0
    size_hw: tuple[int, int] = (360, 480)

    @property
    def matrix(self) -> np.ndarray:
        height, width = self.size_hw
        return np.array([[self.focal_px, 0, width / 2 - 3], [0, self.focal_px, height / 2 + 5], [0, 0, 1]])

    @property
    def car_from_optical(self) -> np.ndarray:
        """The rotation from x right, y down, z ahead to the car's axes."""
        return turned(self.yaw_rad) @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)

    def camera_info(self) -> Any:
        """The fields of a sensor_msgs/CameraInfo."""
        matrix = self.matrix
        projection = np.hstack([matrix, np.zeros((3, 1))])
        return SimpleNamespace(
            height=self.size_hw[0],
            width=self.size_hw[1],
            k=matrix.ravel().tolist(),
            p=projection.ravel().tolist(),
            r=np.eye(3).ravel().tolist(),
            d=list(self.distortion),
            distortion_model=self.distortion_model,
            binning_x=0,
            binning_y=0,
            roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0),
        )

    def rays(self) -> np.ndarray:
        """Where each pixel looks, in the optical frame, [H * W, 3]."""
        height, width = self.size_hw
        columns, rows = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)[:, None]
        undistort = cv2.fisheye.undistortPoints if self.distortion_model == "equidistant" else cv2.undistortPoints
        ends = undistort(pixels, self.matrix, np.array(self.distortion))
        return np.concatenate([ends[:, 0], np.ones((len(ends), 1))], axis=1)

    def pose(self, drive: Drive, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Its position in the world [3], and the rotation [3, 3] from its optical frame."""
        position, yaw = drive.pose(time_s)
        return position + turned(yaw) @ self.position_m, turned(yaw) @ self.car_from_optical

    def render(self, drive: Drive, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Label, uint8 [H, W], and range in metres [H, W] of what it sees."""
        position, rotation = self.pose(drive, time_s)
        directions = self.rays() @ rotation.T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        range_m, label = cast(np.broadcast_to(position, directions.shape), directions)
        return label.reshape(self.size_hw).astype(np.uint8), range_m.reshape(self.size_hw)

    def pixels(self, drive: Drive, time_s: float, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pixels (column, row) [N, 2] of points in the world, nan behind it and beyond 80 degrees, and their ranges [N]."""
        position, rotation = self.pose(drive, time_s)
        local = (world - position) @ rotation
        ahead = local[:, 2] > np.cos(np.radians(80)) * np.linalg.norm(local, axis=1)
        found = np.full((len(world), 2), np.nan)
        project = cv2.fisheye.projectPoints if self.distortion_model == "equidistant" else cv2.projectPoints
        arguments = (np.zeros(3), np.zeros(3), self.matrix, np.array(self.distortion))
        found[ahead] = project(local[ahead][:, None], *arguments)[0].reshape(-1, 2)
        return found, np.linalg.norm(local, axis=1)

    def sees(self, drive: Drive, time_s: float, world: np.ndarray) -> np.ndarray:
        """By how many metres something stands before each point, [N]; 0 where nothing does."""
        position, _ = self.pose(drive, time_s)
        directions = world - position
        range_m = np.linalg.norm(directions, axis=1)
        first_m, _ = cast(np.broadcast_to(position, directions.shape), directions / range_m[:, None])
        return np.maximum(range_m - first_m, 0)


CAMERAS = (
    SceneCamera("left", (0.6, 0.5, 1.4), 0.45, "plumb_bob", (-0.22, 0.05, 0.001, -0.0005, 0.0)),
    SceneCamera("right", (0.6, -0.5, 1.4), -0.45, "equidistant", (0.02, -0.01, 0.003, -0.0004)),
    SceneCamera(
        "ahead", (0.8, 0.0, 1.5), 0.0, "rational_polynomial", (0.3, 0.1, 0.0002, -0.0003, 0.01, 0.62, 0.2, 0.03)
    ),
)
