"""The motion within a sweep: each point by the pose of its own time."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.painting import rigid
from lwseg_ros.painting.sweep import KNOT_NS, SweepTimes

STAMP_NS = 1_700_000_000_000_000_000


def pose(time_ns: int) -> np.ndarray:
    """Goes 20 m/s ahead and turns by 1 rad/s from STAMP_NS on."""
    time_s = (time_ns - STAMP_NS) / 1e9
    return rigid.matrix((20 * time_s, 0, 0), (0, 0, np.sin(time_s / 2), np.cos(time_s / 2)))


def test_each_point_is_moved_by_the_pose_of_its_time() -> None:
    rng = np.random.default_rng(1)
    times_ns = STAMP_NS + rng.integers(0, 100_000_000, 5000)  # in no order
    points = rng.uniform(-50, 50, (3, 5000))
    moved = SweepTimes.of(times_ns, STAMP_NS).move(points, pose)
    for number in range(0, 5000, 97):
        expected = pose(int(times_ns[number])) @ [*points[:, number], 1]
        assert moved[:, number] == pytest.approx(expected[:3], abs=1.3e-5 * np.linalg.norm(points[:, number]) + 1e-6)


@pytest.mark.parametrize("times_ns", [None, np.full(7, STAMP_NS)])
def test_points_of_one_time_are_moved_by_one_pose(times_ns: np.ndarray | None) -> None:
    asked: list[int] = []

    def pose_at(time_ns: int) -> np.ndarray:
        asked.append(time_ns)
        return rigid.matrix((1, 2, 3), (0, 0, 0, 1))

    moved = SweepTimes.of(times_ns, STAMP_NS).move(np.zeros((3, 7), np.float32), pose_at)
    assert asked == [STAMP_NS]
    assert moved.dtype == np.float32
    assert moved.T.tolist() == [[1, 2, 3]] * 7


@pytest.mark.parametrize(("last_ns", "count"), [(1, 2), (KNOT_NS, 2), (KNOT_NS + 1, 3), (10 * KNOT_NS, 11)])
def test_knots_lie_evenly_from_the_first_to_the_last_point(last_ns: int, count: int) -> None:
    times = SweepTimes.of(np.array([STAMP_NS + last_ns, STAMP_NS]), STAMP_NS)
    assert len(times.knots_ns) == count
    assert (times.knots_ns[0], times.knots_ns[-1]) == (STAMP_NS, STAMP_NS + last_ns)
    assert times.place is not None
    assert times.place.tolist() == pytest.approx([count - 1, 0])
