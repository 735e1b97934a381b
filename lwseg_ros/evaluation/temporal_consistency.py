"""Temporal consistency: how steadily a surface keeps its label while the camera moves."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

# A flow is trusted where going there and back ends within this distance of the start; the rest is occluded, left the
# picture, or was matched wrongly. The bound grows with the motion, as an error does (Sundaram et al., ECCV 2010).
ABSOLUTE_TOLERANCE_PX = 0.7
RELATIVE_TOLERANCE = 0.05


class TemporalConsistency:
    """Fraction of followed pixels whose label is the one the same surface point had in the frame before.

    The motion between two images is dense optical flow (DIS, `fast` preset). Only pixels whose backward and forward
    flow agree count, so occluded pixels and pixels that left the image do not. Ground truth plays no part: a network
    that is steadily wrong is consistent, so read the figure next to mIoU.
    """

    def __init__(self) -> None:
        """Start with no frame seen."""
        self.agreeing = 0
        self.followed = 0
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._previous: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, image: np.ndarray, label: np.ndarray) -> None:
        """Compare with the previous frame and remember this one.

        Args:
            image: uint8 BGR [H, W, 3].
            label: uint8 [H, W] class ids in the image's pixels.

        Raises:
            ValueError: image and label differ in size.
        """
        if image.shape[:2] != label.shape:
            raise ValueError(f"the image is {image.shape[:2]}, its label {label.shape}; both have to be the same size")
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if self._previous is not None and self._previous[0].shape == grey.shape:
            self._compare(grey, label)
        self._previous = grey, label

    def skip(self) -> None:
        """Forget the previous frame, because the next one does not follow it (a frame was lost between them)."""
        self._previous = None

    def merge(self, other: TemporalConsistency) -> None:
        """Add what another one has counted to this one's counts; neither's frames follow the other's."""
        self.agreeing += other.agreeing
        self.followed += other.followed

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes only the counts travel: OpenCV's flow cannot, and the next frame is of another bag."""
        return _counted, (self.agreeing, self.followed)

    @property
    def value(self) -> float:
        """Agreement in [0, 1]; nan before two consecutive frames were seen."""
        return self.agreeing / self.followed if self.followed else math.nan

    def _compare(self, grey: np.ndarray, label: np.ndarray) -> None:
        assert self._previous is not None
        previous_grey, previous_label = self._previous
        back = self._flow.calc(grey, previous_grey, None)  # type: ignore[call-overload]
        forth = self._flow.calc(previous_grey, grey, None)  # type: ignore[call-overload]
        height, width = grey.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        source_x, source_y = x + back[..., 0], y + back[..., 1]
        inside = (source_x >= 0) & (source_x <= width - 1) & (source_y >= 0) & (source_y <= height - 1)
        returned = cv2.remap(forth, source_x, source_y, cv2.INTER_LINEAR)
        gap = np.linalg.norm(back + returned, axis=2)
        motion = np.linalg.norm(back, axis=2) + np.linalg.norm(returned, axis=2)
        followed = inside & (gap <= ABSOLUTE_TOLERANCE_PX + RELATIVE_TOLERANCE * motion)
        warped = cv2.remap(previous_label, source_x, source_y, cv2.INTER_NEAREST)
        self.followed += int(followed.sum())
        self.agreeing += int((followed & (warped == label)).sum())


def _counted(agreeing: int, followed: int) -> TemporalConsistency:
    consistency = TemporalConsistency()
    consistency.agreeing, consistency.followed = agreeing, followed
    return consistency
