"""The motion of a lidar during its sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

# How often the car's pose is asked for within a sweep, of a second at most; between, it is taken to move and turn steadily.
KNOT_NS = 10_000_000


@dataclass(frozen=True)
class SweepTimes:
    """When the points of a sweep were measured.

    Attributes:
        knots_ns: times from the first point's to the last one's, evenly; one where all points have the same.
        place: where between the knots each point lies, in units of their distance, float32 [N]; None with one knot.
    """

    knots_ns: tuple[int, ...]
    place: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, times_ns: npt.NDArray[np.int64] | None, stamp_ns: int) -> SweepTimes:
        """Take them from the points' times [N], or for all points from the stamp."""
        if times_ns is None:
            return cls((stamp_ns,))
        first, last = int(times_ns.min()), int(times_ns.max())
        if first == last:
            return cls((first,))
        count = 1 - (first - last) // KNOT_NS
        knots = tuple(first + (last - first) * number // (count - 1) for number in range(count))
        place = (times_ns - first).astype(np.float32)
        place *= (count - 1) / (last - first)
        return cls(knots, place)

    def move(self, points: np.ndarray, pose_at: Callable[[int], np.ndarray]) -> np.ndarray:
        """Move points [3, N] into a camera's frame, each by the pose of its own time.

        pose_at gives, for a time in nanoseconds, the motion [4, 4] from the lidar's frame of then to the camera's of its image.
        Between two knots a point goes along the straight line between where these would put it: over 10 ms, turning at 1 rad/s,
        that is 0.0013 % of its distance from where it was.
        """
        poses = np.stack([pose_at(knot_ns)[:3] for knot_ns in self.knots_ns]).astype(points.dtype)
        with np.errstate(invalid="ignore"):  # beams that did not come back
            return self._move(points, poses)

    def _move(self, points: np.ndarray, poses: np.ndarray) -> np.ndarray:
        if self.place is None:
            return np.asarray(poses[0, :, :3] @ points + poses[0, :, 3:])
        number = np.minimum(self.place.astype(np.uint8), len(poses) - 2)
        moved = np.empty_like(points)
        for knot, (before, after) in enumerate(pairwise(poses)):
            members = np.flatnonzero(number == knot)
            between = points.take(members, axis=1)
            start = before[:, :3] @ between + before[:, 3:]
            step = (after - before)[:, :3] @ between + (after - before)[:, 3:]
            moved[:, members] = start + step * (self.place[members] - knot)
        return moved
