"""Why a camera's images of a sweep are not there, told apart by what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.node.paint.sources import Sources
from lwseg_ros.painting.matching import CameraHistory

MS = 1_000_000
TOPICS, HERE = Sources("/segment/{}".format), Sources()


def reason(
    *stamps_ms: int,
    sources: Sources = TOPICS,
    camera: str = "",
    last_image_s: float = 50.0,
    kinds: str = "label uncertainty",
) -> str:
    """Of a sweep whose middle is at 2000 ms and that came at 50 s, when it was given up at 50.4 s."""
    history = CameraHistory()
    for stamp_ms in stamps_ms:
        for kind in kinds.split():
            history.add(kind, stamp_ms * MS, "camera", np.zeros((2, 2), np.uint8))
    return sources.no_labels(
        camera,
        history,
        PaintSettings(),
        middle_ns=2000 * MS,
        arrival_s=50.0,
        last_image_s=last_image_s,
        now_s=50.4,
    )


def test_what_never_came_is_named_by_its_topic() -> None:
    assert reason() == (
        "no usable image has come on /segment/label and /segment/uncertainty: check the remapping (-r label:=TOPIC), and that "
        "segment runs"
    )
    assert reason(2000, camera="front", kinds="label").startswith(
        "no usable image has come on /segment/front/uncertainty: check the remapping (-r front/uncertainty:=TOPIC)"
    )
    assert reason(sources=HERE, camera="front").endswith("in this process: see the diagnostics of its camera front")


@pytest.mark.parametrize(
    ("stamps_ms", "last_image_s", "said"),
    [
        ([1000], 50.2, "labels come 1200 ms after a sweep of their stamp; max_wait_ms is 400: raise it, or take a faster model"),
        ([1000], 49.1, "the nearest label is 1000 ms before the sweep's middle; max_time_difference_ms is 60: check the clocks"),
        ([1000, 2300], 50.3, "the nearest label is 300 ms after the sweep's middle; max_time_difference_ms is 60"),
        ([1920, 2100], 50.3, "the nearest label is 80 ms before the sweep's middle"),
        ([1000], 45.0, "no label on /segment/label for 5.4 s: see segment's diagnostics"),
        ([-90_000], 50.0, "the nearest label is 92000 ms before the sweep's middle"),  # no max_wait_ms would do
    ],
    ids=["late", "in time", "another clock", "seldom", "silent", "far off"],
)  # fmt: skip
def test_late_labels_another_clock_and_silence_are_told_apart(
    stamps_ms: list[int], last_image_s: float, said: str
) -> None:
    assert reason(*stamps_ms, last_image_s=last_image_s).startswith(said)


def test_who_gives_the_calibration_and_the_classes_is_said() -> None:
    assert TOPICS.no_camera_info("front") == (
        "no camera_info on /segment/front/camera_info: segment publishes it once it has one itself; remap segment's "
        "front/camera_info"
    )
    assert HERE.no_camera_info("").startswith("no camera_info from segment: ")
    assert "on /segment/label_info_json: remap label_info_json" in TOPICS.no_classes()
    assert "in this process" in HERE.no_classes()
