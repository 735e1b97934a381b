"""The buffer of transforms against positions that were worked out by hand, and what it refuses to tell."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.errors import TransformError
from lwseg_ros.painting.transforms import TransformBuffer

SECOND = 1_000_000_000
NO_TURN = (0.0, 0.0, 0.0, 1.0)
LEFT = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))  # 90 degrees about z


@pytest.fixture
def buffer() -> TransformBuffer:
    """A car that goes from 0, 0 to 10, 0 in a second and turns to the left; lidar 2 m above, camera 1 m ahead."""
    buffer = TransformBuffer()
    buffer.add("odom", "base_link", SECOND, (0, 0, 0), NO_TURN)
    buffer.add("odom", "base_link", 2 * SECOND, (10, 0, 0), LEFT)
    buffer.add("base_link", "lidar", 0, (0, 0, 2), NO_TURN, is_static=True)
    buffer.add("/base_link", "/camera", 0, (1, 0, 0), NO_TURN, is_static=True)
    return buffer


def moved(motion: np.ndarray, *point: float) -> list[float]:
    return np.round((motion @ [*point, 1.0])[:3], 9).tolist()


def test_static_frames_are_connected_at_any_time(buffer: TransformBuffer) -> None:
    motion = buffer.lookup("camera", 77 * SECOND, "/lidar", 77 * SECOND, "odom")
    assert moved(motion, 5, 0, -2) == [4, 0, 0]


def test_the_cars_motion_between_two_times_counts(buffer: TransformBuffer) -> None:
    motion = buffer.lookup("base_link", 2 * SECOND, "base_link", SECOND, "odom")
    assert moved(motion, 10, 3, 0) == [3, 0, 0]  # what was 3 m to the left of where it is now is ahead
    assert moved(motion, 0, 0, 0) == [0, 10, 0]


def test_between_two_poses_it_is_interpolated(buffer: TransformBuffer) -> None:
    motion = buffer.lookup("odom", SECOND * 3 // 2, "base_link", SECOND * 3 // 2, "odom")
    assert moved(motion, 0, 0, 0) == [5, 0, 0]
    assert moved(motion, np.sqrt(2), 0, 0) == [6, 1, 0]  # half of 90 degrees


def test_the_shorter_way_round_is_taken() -> None:
    buffer = TransformBuffer()
    buffer.add("a", "b", 0, (0, 0, 0), NO_TURN)
    buffer.add("a", "b", 10, (0, 0, 0), tuple(-value for value in LEFT))
    assert moved(buffer.lookup("a", 5, "b", 5, "a"), np.sqrt(2), 0, 0) == [1, 1, 0]


@pytest.mark.parametrize(
    ("target", "target_ns", "source", "source_ns", "message"),
    [
        (
            "camera",
            SECOND,
            "radar",
            SECOND,
            "'radar' and 'camera' are not connected; known frames: base_link, camera, lid",
        ),
        (
            "odom",
            SECOND - 10**7,
            "lidar",
            SECOND - 10**7,
            "'base_link' lies in 'odom' is asked for 10 ms before the first",
        ),
        ("odom", 2 * SECOND + 5 * 10**6, "lidar", 2 * SECOND + 5 * 10**6, "5 ms after the last that is known"),
        ("camera", SECOND, "lidar", 3 * SECOND, "1000 ms after the last"),
    ],
)
def test_what_is_not_known_is_said(
    buffer: TransformBuffer, target: str, target_ns: int, source: str, source_ns: int, message: str
) -> None:
    with pytest.raises(TransformError, match=message):
        buffer.lookup(target, target_ns, source, source_ns, "odom")


@pytest.mark.parametrize(("target", "source"), [("", ""), ("/", "lidar"), ("camera", "")])
def test_frames_without_a_name_are_not_taken_for_the_same(buffer: TransformBuffer, target: str, source: str) -> None:
    with pytest.raises(TransformError, match="a frame has no name"):
        buffer.lookup(target, SECOND, source, SECOND, "")


def test_an_empty_buffer_knows_no_frames() -> None:
    with pytest.raises(TransformError, match="known frames: none"):
        TransformBuffer().lookup("a", 0, "b", 0, "c")


NAN = float("nan")


@pytest.mark.parametrize(
    ("parent", "child", "translation", "quaternion", "message"),
    [
        ("a", "b", (NAN, 0, 0), NO_TURN, "is no motion"),
        ("a", "b", (0, 0, 0), (0, 0, 0, 0), "is no motion"),
        ("a", "b", (0, 0, 0), (NAN, 0, 0, 1), "is no motion"),
        ("a", "b", (0, 0, 0), (0, 0, 0, 2), "is no motion"),
        ("a", "/a", (0, 0, 0), NO_TURN, "connects no two frames"),
        ("", "b", (0, 0, 0), NO_TURN, "connects no two frames"),
    ],
)
def test_what_is_no_transform_is_refused(
    parent: str, child: str, translation: tuple[float, ...], quaternion: tuple[float, ...], message: str
) -> None:
    with pytest.raises(TransformError, match=message):
        TransformBuffer().add(parent, child, 0, translation, quaternion)


def test_frames_in_a_circle_are_said() -> None:
    buffer = TransformBuffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.add(parent, child, 0, (0, 0, 0), NO_TURN, is_static=True)
    with pytest.raises(TransformError, match="in a circle"):
        buffer.lookup("a", 0, "c", 0, "a")


def test_ten_seconds_are_kept_in_the_order_of_their_stamps() -> None:
    buffer = TransformBuffer()
    for second in (0, 2, 1, 3, 12):
        buffer.add("a", "b", second * SECOND, (second, 0, 0), NO_TURN)
    assert moved(buffer.lookup("a", SECOND * 5 // 2, "b", SECOND * 5 // 2, "a"), 0, 0, 0) == [2.5, 0, 0]
    with pytest.raises(TransformError, match="before the first"):
        buffer.lookup("a", SECOND, "b", SECOND, "a")


def test_time_that_begins_anew_forgets_what_was() -> None:
    buffer = TransformBuffer()
    for tenth in (79, 80, 1, 2, 3, 4):
        buffer.add("a", "b", tenth * SECOND // 10, (tenth, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match="after the last"):
        buffer.lookup("a", 8 * SECOND, "b", 8 * SECOND, "a")
    assert moved(buffer.lookup("a", SECOND * 35 // 100, "b", SECOND * 35 // 100, "a"), 0, 0, 0) == [3.5, 0, 0]


def test_single_poses_that_are_late_begin_nothing() -> None:
    buffer = TransformBuffer()
    for tenth in (79, 1, 2, 80, 1, 81, 72):
        buffer.add("a", "b", tenth * SECOND // 10, (tenth, 0, 0), NO_TURN)
    assert moved(buffer.lookup("a", 8 * SECOND, "b", 8 * SECOND, "a"), 0, 0, 0) == [80, 0, 0]
    assert moved(buffer.lookup("a", SECOND * 72 // 10, "b", SECOND * 72 // 10, "a"), 0, 0, 0) == [72, 0, 0]
    with pytest.raises(TransformError, match="before the first"):
        buffer.lookup("a", SECOND, "b", SECOND, "a")


def test_what_moves_can_be_forgotten(buffer: TransformBuffer) -> None:
    buffer.clear()
    assert moved(buffer.lookup("camera", SECOND, "lidar", SECOND, "odom"), 1, 0, -2) == [0, 0, 0]
    with pytest.raises(TransformError, match="'lidar' and 'odom' are not connected"):
        buffer.lookup("odom", SECOND, "lidar", SECOND, "odom")
