"""Which images belong to a sweep, and when that is known."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.painting import matching
from lwseg_ros.painting.matching import CameraHistory

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
    assert history(0, 100, 200).is_settled(stamp_ms * MS) == settled


@pytest.mark.parametrize(
    ("stamps_ms", "stamp_ms", "settled"),
    [
        ((0, 133), 195, False),  # of two alone nobody knows whether the one at 67 was lost
        ((0, 133), 133, True),
        ((0, 67, 133), 195, False),
        ((0, 67, 200), 262, False),  # the last two are farther from each other, as one was lost
        ((0, 67, 200), 233, True),
        ((0, 1000, 2000), 2400, True),  # a slow camera, of which the next is no nearer
    ],
)
def test_a_gap_is_not_taken_for_the_period(stamps_ms: tuple[int, ...], stamp_ms: int, settled: bool) -> None:
    assert history(*stamps_ms).is_settled(stamp_ms * MS) == settled


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


def kept_ms(found: CameraHistory, *stamps_ms: int) -> list[int]:
    return [stamp_ms for stamp_ms in stamps_ms if found.nearest(stamp_ms * MS, 0)]


def test_what_is_older_is_forgotten_but_for_what_tells_the_period() -> None:
    stamps_ms = range(0, 1000, 100)
    found = history(*stamps_ms)
    found.forget(600 * MS)
    assert kept_ms(found, *stamps_ms) == [600, 700, 800, 900]
    found.forget(10_000 * MS)
    assert kept_ms(found, *stamps_ms) == [700, 800, 900]


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 4 * 2 * PIXELS.nbytes), ("MAX_MOMENTS", 4)])
def test_the_latest_of_too_many_are_kept(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, limit, value)
    found = history(*range(20))
    found.forget(0)
    assert kept_ms(found, *range(20)) == [16, 17, 18, 19]


def test_one_is_kept_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MAX_BYTES", 1)
    found = history(1, 2)
    found.forget(0)
    assert kept_ms(found, 1, 2) == [2]


def test_the_calibration_is_that_of_the_images() -> None:
    found = history(100, 200)
    assert found.camera_info_at(100 * MS) == "calibrated"
    found.add_camera_info(100 * MS, "old")
    found.add_camera_info(200 * MS, "new")
    assert [found.camera_info_at(stamp_ms * MS) for stamp_ms in (100, 200, 300)] == ["old", "new", "new"]
    assert found.nearest(100 * MS, 0) is not None


def test_the_latest_calibrations_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MAX_MOMENTS", 2)
    found = history()
    for stamp_ns in range(4):
        found.add_camera_info(stamp_ns, stamp_ns)
    assert [found.camera_info_at(stamp_ns) for stamp_ns in range(4)] == [3, 3, 2, 3]
    found.clear()
    assert found.camera_info_at(2) == 3


def test_what_is_missing_of_the_nearest_is_named() -> None:
    found = history(100, kinds=("label",))
    assert found.lacking(110 * MS, 10 * MS) == ["uncertainty"]
    assert found.lacking(111 * MS, 10 * MS) == ["label", "uncertainty"]
    found.expects_accepted = True
    assert found.lacking(110 * MS, 10 * MS) == ["uncertainty", "accepted"]


def test_time_that_begins_anew_forgets_what_was() -> None:
    found = history(8000, 8100)
    found.add("label", 7101 * MS, "camera", PIXELS)  # late
    assert found.nearest(8000 * MS, MS) is not None
    for kind in ("label", "uncertainty"):
        found.add(kind, 500 * MS, "camera", PIXELS)
    assert found.nearest(8000 * MS, MS) is None
    assert not found.is_settled(8000 * MS)
    assert found.is_settled(500 * MS)
