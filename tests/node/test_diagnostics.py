"""What the statuses say about each kind of trouble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

pytest.importorskip("diagnostic_msgs.msg", reason="diagnostic_msgs is not installed: pip install lwseg_ros[ros]")

from diagnostic_msgs.msg import DiagnosticStatus

from lwseg_ros.backends import BackendOptions
from lwseg_ros.evaluation.drift import FrameFigures
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node.diagnostics import InputState, camera_status, inference_status
from lwseg_ros.node.frame import StampClock
from lwseg_ros.node.statistics import DROP_CAUSES, FrameSnapshot
from lwseg_ros.node.worker import Timing
from lwseg_ros.segmenter import Segmenter

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
NOW_NS = 1_800_000_000 * 10**9
WELL = InputState(
    "/front/image",
    IMAGE,
    (IMAGE,),
    reliability="reliable",
    reliability_reason="every publisher offers it",
    all_reliable=True,
    info_topic="/front/camera_info",
    calibration="received",
)
BEST_EFFORT = replace(WELL, reliability="best_effort", all_reliable=False)
SNAPSHOT = FrameSnapshot(
    received=100,
    answered=90,
    dropped=dict.fromkeys(DROP_CAUSES, 2),
    rate_in_hz=15.0,
    rate_out_hz=14.5,
    latency_p50_ms=23.456,
    latency_p99_ms=41.0,
    silence_s=0.05,
    lost=7,
)


def status(
    snapshot: FrameSnapshot = SNAPSHOT,
    previous: FrameSnapshot = SNAPSHOT,
    source: InputState = WELL,
    stamps_ns: Sequence[int] = (NOW_NS - 12_000_000,),
    active: bool = True,
    lately: FrameFigures | None = None,
    camera_info_fault: str = "",
) -> DiagnosticStatus:
    stamp_clock = StampClock()
    for number, stamp_ns in enumerate(stamps_ns):
        stamp_clock.observe(stamp_ns, now_ns=NOW_NS, now_s=float(number))
    return camera_status(
        "segment",
        "front",
        snapshot,
        previous,
        source,
        stamp_clock=stamp_clock,
        active=active,
        input_timeout_s=2.0,
        hardware_id="CPU",
        camera_info_fault=camera_info_fault,
        lately=lately,
        normal={"accepted_share": (0.5, None), "brightness": (70.0, 160.0)},
    )


def dropped(**more: int) -> FrameSnapshot:
    return replace(SNAPSHOT, dropped={**SNAPSHOT.dropped, **{cause: 2 + count for cause, count in more.items()}})


def values(found: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in found.values}


def test_a_camera_that_works() -> None:
    found = status()
    assert (found.level, found.message) == (DiagnosticStatus.OK, "segmenting")
    assert (found.name, found.hardware_id) == ("segment: camera front", "CPU")
    expected = {
        "topic": "/front/image",
        "publishers": "1",
        "rate_in_hz": "15.00",
        "rate_out_hz": "14.50",
        "latency_ms_p50": "23.46",
        "latency_ms_p99": "41.00",
        "received": "100",
        "segmented": "90",
        **{f"dropped_{cause}": "2" for cause in DROP_CAUSES},
        "lost_in_transport": "7",
        "input_reliability": "reliable",
        "input_reliability_reason": "every publisher offers it",
        "camera_info_topic": "/front/camera_info",
        "calibration": "received",
        "latency_from": "stamp",
        "stamp_offset_ms": "12.00",
    }
    assert values(found).items() >= expected.items()


def test_a_street_unlike_those_of_the_calibration() -> None:
    usual = status(lately=FrameFigures(0.7, 30.0, 100.0))
    assert (usual.level, usual.message) == (DiagnosticStatus.OK, "segmenting")
    assert (
        values(usual).items()
        >= {"accepted_share": "0.70", "uncertainty_spread": "30.00", "brightness": "100.00"}.items()
    )
    dusk = FrameFigures(0.44, 30.0, 60.0)
    found = status(lately=dusk)
    assert found.level == DiagnosticStatus.WARN
    assert found.message == (
        "the street is unlike those that the model was calibrated on: accepted_share is 0.44, normal is at least 0.5, "
        "brightness is 60, normal is at least 70 and at most 160"
    )
    assert status(lately=dusk, active=False).level == DiagnosticStatus.OK
    assert "accepted_share" not in values(status())


@pytest.mark.parametrize(
    ("arguments", "level", "message"),
    [
        ({"snapshot": dropped(superseded=9)}, DiagnosticStatus.OK, "segmenting"),
        ({"snapshot": dropped(bad=3, stale=1)}, DiagnosticStatus.WARN, "3 bad frames, 1 stale ones"),
        ({"snapshot": dropped(error=2, bad=1)}, DiagnosticStatus.ERROR, "2 frames failed since the last report"),
        (
            {"snapshot": replace(dropped(stale=7), unanswered_s=3.25)},
            DiagnosticStatus.ERROR,
            "images come, but no label for 3.2 s; dropped since the last report: 7 stale",
        ),
        ({"snapshot": replace(SNAPSHOT, unanswered_s=1.9)}, DiagnosticStatus.OK, "segmenting"),
        ({"snapshot": replace(SNAPSHOT, unanswered_s=99.0), "active": False}, DiagnosticStatus.OK, "inactive"),
        ({"stamps_ns": [0]}, DiagnosticStatus.WARN, "the stamps are missing"),
        (
            {"stamps_ns": [NOW_NS - 5 * 10**9] * 3},
            DiagnosticStatus.WARN,
            "the stamps are from another clock, 5.0 s behind the node's",
        ),
        (
            {"stamps_ns": [NOW_NS + 3 * 10**9]},
            DiagnosticStatus.WARN,
            "another clock, 3.0 s ahead of the node's",
        ),
        ({"stamps_ns": [NOW_NS - 5 * 10**9]}, DiagnosticStatus.OK, "segmenting"),
        (
            {"snapshot": dropped(stale=3), "stamps_ns": [NOW_NS] + [NOW_NS - 3 * 10**9] * 3},
            DiagnosticStatus.WARN,
            "3 stale ones; the stamps are steadily 3.0 s behind the node's clock",
        ),
        (
            {"snapshot": dropped(stale=3), "stamps_ns": [NOW_NS - 3 * 10**9] * 3},
            DiagnosticStatus.WARN,
            "3 stale ones; the stamps are from another clock, 3.0 s behind",
        ),
        ({"source": replace(WELL, incompatible_qos="DURABILITY")}, DiagnosticStatus.WARN, "does not fit in DURABILITY"),
        ({"active": False, "snapshot": replace(SNAPSHOT, silence_s=99.0)}, DiagnosticStatus.OK, "inactive"),
        (
            {"camera_info_fault": "it has no size"},
            DiagnosticStatus.WARN,
            "camera_info is not published: it has no size",
        ),
        ({"camera_info_fault": "it has no size", "active": False}, DiagnosticStatus.OK, "inactive"),
    ],
)
def test_troubles(arguments: dict[str, object], level: bytes, message: str) -> None:
    found = status(**arguments)  # type: ignore[arg-type]
    assert found.level == level
    assert message in found.message


PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
COMPRESS = "compressed images (parameter transport)"
OFFER_RELIABLE = "let the publisher offer reliable"
SET_AUTO = "set the parameter input_reliability to auto"


@pytest.mark.parametrize(
    ("source", "remedies"),
    [
        (BEST_EFFORT, {OFFER_RELIABLE, PROFILE, COMPRESS}),
        (replace(BEST_EFFORT, all_reliable=True), {SET_AUTO}),
        (WELL, {PROFILE, COMPRESS}),
        (replace(BEST_EFFORT, message_type=COMPRESSED, publisher_types=(COMPRESSED,)), {OFFER_RELIABLE, PROFILE}),
    ],
)
def test_lost_images_are_a_warning_with_what_helps(source: InputState, remedies: set[str]) -> None:
    found = status(replace(SNAPSHOT, lost=12), source=source)
    assert found.level == DiagnosticStatus.WARN
    assert found.message.startswith("5 images lost on their way since the last report: ")
    assert {text for text in (OFFER_RELIABLE, PROFILE, COMPRESS, SET_AUTO) if text in found.message} == remedies
    silent = status(replace(SNAPSHOT, lost=12, silence_s=9.0), source=source)
    assert silent.level == DiagnosticStatus.ERROR
    assert all(remedy in silent.message for remedy in remedies)


@pytest.mark.parametrize(
    ("snapshot", "changes", "level", "parts"),
    [
        (dropped(bad=1), {}, DiagnosticStatus.WARN, ["1 bad frames", "5 images lost"]),
        (dropped(stale=1), {}, DiagnosticStatus.WARN, ["1 stale ones", "5 images lost"]),
        (dropped(error=2, bad=1), {}, DiagnosticStatus.ERROR, ["2 frames failed", "1 bad frames", "5 images lost"]),
        (
            dropped(stale=3),
            {"stamps_ns": [NOW_NS - 3 * 10**9] * 3},
            DiagnosticStatus.WARN,
            ["3 stale ones", "the stamps are from another clock, 3.0 s behind", "5 images lost"],
        ),
        (
            replace(dropped(stale=9), unanswered_s=5.0),
            {"stamps_ns": [NOW_NS] + [NOW_NS - 3 * 10**9] * 3},
            DiagnosticStatus.ERROR,
            ["images come, but no label for 5.0 s", "9 stale", "the stamps are steadily 3.0 s behind", "5 images lost"],
        ),
        (
            dropped(),
            {"source": replace(BEST_EFFORT, incompatible_qos="DURABILITY")},
            DiagnosticStatus.WARN,
            ["5 images lost", "does not fit in DURABILITY"],
        ),
        (
            replace(dropped(error=1), silence_s=9.0),
            {"source": replace(BEST_EFFORT, publisher_types=())},
            DiagnosticStatus.ERROR,
            ["nobody publishes it", "1 frames failed", "5 images lost"],
        ),
    ],
)
def test_no_trouble_hides_what_helps_against_another(
    snapshot: FrameSnapshot, changes: dict[str, object], level: bytes, parts: list[str]
) -> None:
    found = status(replace(snapshot, lost=12), **{"source": BEST_EFFORT, **changes})  # type: ignore[arg-type]
    assert found.level == level
    places = [found.message.find(part) for part in parts]
    assert places == sorted(places), "the worst come first"
    assert all(found.message.count(part) == 1 for part in [*parts, PROFILE])


def test_lost_images_of_the_past_are_no_trouble() -> None:
    assert status(source=BEST_EFFORT).level == DiagnosticStatus.OK
    assert status(replace(SNAPSHOT, lost=12), active=False).level == DiagnosticStatus.OK


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (replace(WELL, publisher_types=()), "nobody publishes it; check the topic's name"),
        (
            replace(WELL, publisher_types=(COMPRESSED, COMPRESSED)),
            f"it carries {COMPRESSED}, not {IMAGE}; check the parameter transport",
        ),
        (
            replace(WELL, incompatible_qos="RELIABILITY"),
            "does not fit in RELIABILITY; check the parameter input_reliability",
        ),
        (WELL, "its images are too large for the transport: with Fast DDS"),
    ],
)
def test_silence_is_explained(source: InputState, reason: str) -> None:
    found = status(replace(SNAPSHOT, silence_s=7.25), source=source)
    assert found.level == DiagnosticStatus.ERROR
    assert found.message.startswith("no image on /front/image for 7.2 s")
    assert reason in found.message


def test_inference(tiny_model: ModelFile) -> None:
    unconfigured = inference_status("segment", "unconfigured", None, [], 0, "none")
    assert (unconfigured.level, unconfigured.message) == (DiagnosticStatus.OK, "unconfigured")
    assert values(unconfigured) == {"state": "unconfigured"}
    with Segmenter.open(tiny_model.path, "onnxruntime", options=BackendOptions(num_threads=1)) as segmenter:
        timings = [Timing(inference_ms=10.0 + i, processing_ms=20.0 + i, latency_ms=30.0 + i) for i in range(3)]
        working = inference_status("segment", "active", segmenter, timings, 0, "CPU")
        failing = inference_status("segment", "active", segmenter, timings, 4, "CPU")
        hanging = inference_status("segment", "active", segmenter, timings, 4, "CPU", trouble="inference hangs")
        segmenter.choice = replace(segmenter.choice, fallback_reason="tensorrt: no CUDA driver")
        fallen_back = inference_status("segment", "active", segmenter, timings, 0, "CPU")
        failing_fallback = inference_status("segment", "active", segmenter, timings, 4, "CPU")
    assert working.level == DiagnosticStatus.OK
    assert (values(working)["engine_ms_p50"], values(working)["processing_ms_p50"]) == ("11.00", "21.00")
    assert values(working)["model_sha256"] == tiny_model.sha256
    assert failing.level == DiagnosticStatus.ERROR
    assert "4 frames failed" in failing.message
    assert hanging.level == DiagnosticStatus.ERROR
    assert hanging.message == "active, inference hangs; 4 frames failed since the last report"
    assert failing_fallback.level == DiagnosticStatus.ERROR
    assert failing_fallback.message == (
        "active, 4 frames failed since the last report; on onnxruntime as a fallback: tensorrt: no CUDA driver"
    )
    assert fallen_back.level == DiagnosticStatus.WARN
    assert fallen_back.message == "active, on onnxruntime as a fallback: tensorrt: no CUDA driver"
    assert values(fallen_back)["fallback_reason"] == "tensorrt: no CUDA driver"
