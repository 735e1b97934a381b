"""From points and what cameras see to labelled points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lwseg_ros.errors import ImageError
from lwseg_ros.painting.occlusion import visible
from lwseg_ros.painting.projection import Projection
from lwseg_ros.painting.sweep import SweepTimes

NOT_CERTAIN = 255


@dataclass(frozen=True)
class LabelImages:
    """What one camera saw at one moment: label and uncertainty, uint8 [H, W], as the node `segment` publishes them.

    accepted: 255 where the model vouches for the label, uint8 [H, W]; None where it says nothing of that.
    Raises ImageError where their sizes differ.
    """

    stamp_ns: int
    frame_id: str
    label: npt.NDArray[np.uint8]
    uncertainty: npt.NDArray[np.uint8]
    accepted: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Compare the sizes."""
        shapes = [image.shape for image in (self.label, self.uncertainty, self.accepted) if image is not None]
        if len(set(shapes)) > 1:
            raise ImageError(
                f"label, uncertainty and accepted pixels of one stamp have the sizes {shapes}; accepted: one"
            )


@dataclass(frozen=True)
class View:
    """One camera's images, its lens, and its pose: for a time in nanoseconds, the motion [4, 4] from the cloud's frame of then
    to the camera's at its stamp.
    """

    images: LabelImages
    projection: Projection
    pose_at: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Occlusion:
    """When a point is taken to be hidden by others; `visible` tells more.

    Attributes:
        angle_deg: between two neighbouring rays of the lidar, the larger of its two; 0: nothing is hidden.
        tolerance: share of its range by which a surface may vary over that angle.
    """

    angle_deg: float = 0.5
    tolerance: float = 0.05


@dataclass(frozen=True)
class PaintedPoints:
    """Label, uncertainty and accepted of every point, uint8 [N], and which ones a camera sees, bool [N].

    Of those that none sees, the label is that of no class, and the uncertainty 255.
    """

    label: npt.NDArray[np.uint8]
    uncertainty: npt.NDArray[np.uint8]
    accepted: npt.NDArray[np.uint8]
    is_seen: npt.NDArray[np.bool_]


def paint(
    points: np.ndarray, times: SweepTimes, views: Iterable[View], *, no_class: int, occlusion: Occlusion
) -> PaintedPoints:
    """Give each point the label of the pixel in which it is seen; where several cameras see it, of the most certain one.

    points: [3, N] in the cloud's frame, metres; not finite where a beam did not come back. no_class: the label of points that no
    camera sees. Of equally certain cameras the first counts.
    """
    count = points.shape[1]
    painted = PaintedPoints(
        np.full(count, no_class, np.uint8),
        np.full(count, NOT_CERTAIN, np.uint8),
        np.zeros(count, np.uint8),
        np.zeros(count, bool),
    )
    for view in views if count else ():
        moved = times.move(points, view.pose_at)
        angle_rad = math.radians(occlusion.angle_deg)
        index, column, row = view.projection.pixels(moved, beyond_rad=angle_rad)
        if angle_rad:
            seen = view.projection.shows(column, row) & visible(
                moved[:, index],
                focal_px=max(view.projection.calibration.focal_px),
                angle_rad=angle_rad,
                tolerance=occlusion.tolerance,
            )
            index, column, row = index[seen], column[seen], row[seen]
        pixel = np.rint(row).astype(np.intp) * view.images.label.shape[1] + np.rint(column).astype(np.intp)
        uncertainty = view.images.uncertainty.reshape(-1)[pixel]
        better = (uncertainty < painted.uncertainty[index]) | ~painted.is_seen[index]
        index, pixel = index[better], pixel[better]
        painted.label[index] = view.images.label.reshape(-1)[pixel]
        painted.uncertainty[index] = uncertainty[better]
        painted.accepted[index] = 0 if view.images.accepted is None else view.images.accepted.reshape(-1)[pixel]
        painted.is_seen[index] = True
    return painted
