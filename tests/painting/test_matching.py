"""Which images belong to a sweep, and when that is known."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.painting.matching import KEPT, CameraHistory

MS = 1_000_000
PIXELS = np.zeros((2, 3), np.uint8)


def history(*stamps_ms: int, kinds: tuple[str, ...] = ("label", "uncertainty")) -> CameraHistory:
    found = CameraHistory()
    found.camera_info = "calibrated"
    for stamp_ms in stamps_ms:
        for kind in kinds:
            found.add(kind, stamp_ms * MS, "camera", PIXELS + stamp_ms % 250)
    return found


@pytest.mark.parametrize(
    ("stamp_ms", "nearest_ms"), [(100, 100), (140, 100), (160, 200), (290, 300), (349, 300), (351, None), (49, None)]
)
def test_the_nearest_images_are_taken_within_the_tolerance(stamp_ms: int, nearest_ms: int | None) -> None:
    found = history(100, 300, 200).nearest(stamp_ms * MS, 50 * MS)
    assert (found.stamp_ns // MS if found else None) == nearest_ms
    if found is not None:
        assert found.label[0, 0] == found.uncertainty[0, 0] == found.stamp_ns // MS % 250
        assert found.accepted is None
        assert found.frame_id == "camera"


@pytest.mark.parametrize(
    ("stamp_ms", "settled"),
    [(150, True), (200, True), (250, True), (251, False), (400, False)],
)
def test_it_is_known_once_none_can_be_nearer(stamp_ms: int, settled: bool) -> None:
    assert history(100, 200).is_settled(stamp_ms * MS) == settled


def test_nothing_is_known_without_images_or_calibration() -> None:
    assert not history().is_settled(0)
    uncalibrated = history(100)
    uncalibrated.camera_info = None
    assert not uncalibrated.is_settled(0)
    assert history(100).is_settled(100 * MS)
    assert not history(100).is_settled(101 * MS)  # of one alone nobody knows when the next is due


def test_images_of_one_stamp_are_complete_together() -> None:
    assert history(100, kinds=("label",)).nearest(100 * MS, MS) is None
    waiting = history(100)
    waiting.expects_accepted = True
    assert waiting.nearest(100 * MS, MS) is None
    waiting.add("accepted", 100 * MS, "camera", PIXELS + 255)
    found = waiting.nearest(100 * MS, MS)
    assert found is not None
    assert found.accepted is not None
    assert found.accepted.max() == 255


def test_the_latest_are_kept() -> None:
    found = history(*range(KEPT + 3))
    assert found.nearest(2 * MS, 0) is None
    assert found.nearest(3 * MS, 0) is not None


def test_time_that_begins_anew_forgets_what_was() -> None:
    found = history(100_000, 100_100)
    for kind in ("label", "uncertainty"):
        found.add(kind, 500 * MS, "camera", PIXELS)
    assert found.nearest(100_000 * MS, MS) is None
    assert not found.is_settled(100_000 * MS)
    assert found.is_settled(500 * MS)
