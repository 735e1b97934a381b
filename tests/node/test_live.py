"""The node in a process of its own, one camera, raw images: results, bad input, parameters, diagnostics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64, String
from support.ros_harness import BEST_EFFORT, NodeProcess, Probe, image_message, values
from support.tiny_model import CLASSES, painted_image

from lwseg_ros import cli
from lwseg_ros.imaging import drawing, messages
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter

pytestmark = pytest.mark.integration

SIZE_HW = (90, 120)
LABEL, UNCERTAINTY = "/segment/label", "/segment/uncertainty"


def any_image(probe: Probe) -> Any:
    """An ordinary image, taken now."""
    return image_message(painted_image(SIZE_HW)[0], stamp=probe.now())


@pytest.fixture(scope="module")
def node(tiny_model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    parameters = {"model": tiny_model.path, "backend": "onnxruntime", "num_threads": 1, "diagnostics_rate_hz": 10}
    with NodeProcess(tmp_path_factory.mktemp("node"), parameters) as process:
        yield process
        assert process.process.poll() is None, f"the node died; it said:\n{process.output}"


@pytest.fixture(scope="module")
def shared_probe(node: NodeProcess) -> Iterator[Probe]:
    probe = Probe()
    for topic in (LABEL, UNCERTAINTY):
        probe.subscribe(topic)
    probe.connect("/image", lambda: any_image(probe), LABEL, UNCERTAINTY)
    yield probe
    probe.close()


@pytest.fixture
def probe(shared_probe: Probe) -> Probe:
    """The probe, with the node's run-time parameters as at the start and nothing received."""
    defaults = {"output_size": "camera", "uncertainty_encoding": "mono8", "overlay_alpha": 0.5, "max_age_ms": 1000.0}
    assert shared_probe.set_parameters(**defaults) == (True, "")
    for received in shared_probe.received.values():
        received.clear()
    return shared_probe


@pytest.fixture(scope="module")
def segmenter(tiny_model: ModelFile) -> Iterator[Segmenter]:
    with Segmenter.open(tiny_model.path, "onnxruntime") as opened:
        yield opened


def segment_live(probe: Probe, pixels: np.ndarray, encoding: str = "bgr8", **header: Any) -> tuple[Any, Any]:
    """Publish an image and wait for its label and uncertainty."""
    stamp = probe.publish("/image", image_message(pixels, encoding, **{"stamp": probe.now(), **header}))
    return probe.message_with_stamp(LABEL, stamp), probe.message_with_stamp(UNCERTAINTY, stamp)


def test_label_and_uncertainty_are_the_segmenter_s(probe: Probe, segmenter: Segmenter) -> None:
    for seed in range(3):
        pixels, truth = painted_image(SIZE_HW, seed)
        label, uncertainty = segment_live(probe, pixels, frame_id=f"camera_{seed}")
        expected = segmenter.segment([pixels])[0]
        for message, values_u8 in ((label, expected.label), (uncertainty, expected.uncertainty)):
            assert message.encoding == "mono8"
            assert message.header.frame_id == f"camera_{seed}"
            np.testing.assert_array_equal(messages.view(message), values_u8)
        assert (messages.view(label) == truth).mean() > 0.9  # not merely equal: right


def test_published_pixels_are_those_that_predict_writes(probe: Probe, tiny_model: ModelFile, tmp_path: Path) -> None:
    pixels, _ = painted_image(SIZE_HW, seed=4)
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    arguments = ["predict", str(tiny_model.path), str(tmp_path / "image.png"), "--backend", "onnxruntime"]
    assert cli.main([*arguments, "-o", str(tmp_path / "out")]) == 0
    for message, kind in zip(segment_live(probe, pixels), ("label", "uncertainty"), strict=True):
        written = cv2.imread(str(tmp_path / "out" / f"image_{kind}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(messages.view(message), written)


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "yuv422_yuy2", "nv12", "bayer_rggb8"])
def test_other_encodings(probe: Probe, segmenter: Segmenter, encoding: str) -> None:
    rng = np.random.default_rng(5)
    height, width = SIZE_HW
    shape = {"rgb8": (height, width, 3), "bgra8": (height, width, 4), "yuv422_yuy2": (height, width, 2)}.get(encoding)
    rows = height * 3 // 2 if encoding == "nv12" else height
    message = image_message(rng.integers(0, 256, shape or (rows, width), dtype=np.uint8), encoding, stamp=probe.now())
    message.height = height
    label = probe.message_with_stamp(LABEL, probe.publish("/image", message))
    expected = segmenter.segment([messages.to_bgr(message)])[0]
    np.testing.assert_array_equal(messages.view(label), expected.label)


def bad_message(kind: str, probe: Probe) -> Any:
    message = image_message(painted_image(SIZE_HW)[0], stamp=probe.now())
    if kind == "truncated":
        message.data = message.data[: len(message.data) // 2]
    elif kind == "wrong step":
        message.step = 100
    elif kind == "unknown encoding":
        message.encoding = "bgr9"
    elif kind == "zero-sized":
        message.height = message.width = message.step = 0
        message.data = message.data[:0]
    elif kind == "huge":
        message.height = message.width = 2**32 - 1
    elif kind == "odd width":
        message.encoding, message.width, message.step = "nv12", SIZE_HW[1] - 1, SIZE_HW[1]
    return message


@pytest.mark.parametrize("kind", ["truncated", "wrong step", "unknown encoding", "zero-sized", "huge", "odd width"])
def test_a_bad_message_costs_a_count_and_a_warning(
    node: NodeProcess, probe: Probe, segmenter: Segmenter, kind: str
) -> None:
    before = probe.settled_counts()
    probe.publish("/image", bad_message(kind, probe))
    after = probe.counts(accept=lambda counts: counts["received"] == before["received"] + 1 and counts["dropped_bad"])
    assert after["dropped_bad"] == before["dropped_bad"] + 1
    assert after["segmented"] == before["segmented"]
    pixels, _ = painted_image(SIZE_HW, 4)
    label, _ = segment_live(probe, pixels)
    np.testing.assert_array_equal(messages.view(label), segmenter.segment([pixels])[0].label)


def test_bad_messages_are_diagnosed_and_warned_about_once(node: NodeProcess, probe: Probe) -> None:
    warnings_before = node.output.count("'bgr8x' is not supported")
    for _ in range(5):
        message = image_message(painted_image(SIZE_HW)[0], "bgr8x", stamp=probe.now())
        probe.publish("/image", message)
        probe.spin_for(0.03)
    status = probe.status("segment: camera", lambda status: status.level == DiagnosticStatus.WARN, new=False)
    assert "bad frames" in status.message
    assert node.output.count("'bgr8x' is not supported") == warnings_before + 1


def test_a_burst_is_accounted_for(probe: Probe) -> None:
    assert probe.set_parameters(max_age_ms=0) == (True, "")  # however busy the machine, no frame is stale
    before = probe.counts()
    pixels, _ = painted_image((480, 640))
    for _ in range(20):
        probe.publish("/image", image_message(pixels, stamp=probe.now()))
    probe.connect("/image", lambda: any_image(probe), LABEL)  # a busy machine's transport may lose the whole burst
    drops = [f"dropped_{cause}" for cause in ("rate_limited", "superseded", "stale", "bad", "error", "inactive")]

    def settled(counts: dict[str, int]) -> bool:
        gone = counts["segmented"] + sum(counts[key] for key in drops)
        return counts["received"] > before["received"] and counts["received"] == gone

    after = probe.counts(accept=settled)
    assert after["dropped_bad"] == before["dropped_bad"]
    assert after["dropped_error"] == 0
    assert after["segmented"] > before["segmented"]


def test_stale_frames_are_dropped(probe: Probe) -> None:
    before = probe.settled_counts()
    old = probe.now() - Duration(seconds=5)
    probe.publish("/image", image_message(painted_image(SIZE_HW)[0], stamp=old))
    after = probe.counts(accept=lambda counts: counts["dropped_stale"] > before["dropped_stale"])
    assert after["segmented"] == before["segmented"]
    assert probe.set_parameters(max_age_ms=0) == (True, "")
    segment_live(probe, painted_image(SIZE_HW)[0], stamp=old)


@pytest.mark.parametrize("stamp", [Time(), Time(sec=1200000000, nanosec=7)])
def test_stamps_of_another_clock_do_not_make_frames_stale(probe: Probe, stamp: Time) -> None:
    segment_live(probe, painted_image(SIZE_HW)[0], stamp=stamp)
    status = probe.status("segment: camera", lambda status: values(status)["latency_from"] == "arrival")
    assert "from another clock" in status.message
    assert float(values(status)["latency_ms_p50"]) < 5000


@pytest.mark.parametrize("behind_s", [5.0, -3.0])
def test_a_camera_whose_clock_is_off_is_segmented_and_told_of(
    tiny_model: ModelFile, tmp_path: Path, behind_s: float
) -> None:
    """In a node of its own, as one that was in time before is given ten seconds."""
    parameters = {"model": tiny_model.path, "backend": "onnxruntime", "num_threads": 1}
    with NodeProcess(tmp_path, parameters, ("-r", "__node:=late")):
        probe = Probe("/late")
        probe.subscribe("/late/label")
        probe.connect(
            "/image",
            lambda: image_message(
                painted_image(SIZE_HW)[0], stamp=probe.now() - Duration(nanoseconds=int(behind_s * 1e9))
            ),
            "/late/label",
        )
        status = probe.status("late: camera")
        probe.close()
    assert status.level == DiagnosticStatus.WARN
    assert "the stamps are from another clock, " in status.message
    assert values(status)["latency_from"] == "arrival"
    assert float(values(status)["stamp_offset_ms"]) == pytest.approx(behind_s * 1e3, abs=900)
    assert float(values(status)["latency_ms_p50"]) < 3000


def test_age_follows_simulated_time(probe: Probe) -> None:
    clock = probe.node.create_publisher(Clock, "/clock", 10)
    assert probe.set_parameters(use_sim_time=True)[0]
    try:
        probe.spin_until(clock.get_subscription_count, "a subscription of /clock")
        ticking = probe.node.create_timer(0.05, lambda: clock.publish(Clock(clock=Time(sec=1000))))
        arrays = probe.received["/diagnostics"]
        probe.spin_until(lambda: arrays and arrays[-1].header.stamp.sec == 1000, "simulated time in the node")
        segment_live(probe, painted_image(SIZE_HW)[0], stamp=Time(sec=999, nanosec=900_000_000))
        before = probe.counts()
        probe.publish("/image", image_message(painted_image(SIZE_HW)[0], stamp=Time(sec=990)))
        probe.counts(accept=lambda counts: counts["dropped_stale"] == before["dropped_stale"] + 1)
        probe.node.destroy_timer(ticking)
    finally:
        assert probe.set_parameters(use_sim_time=False)[0]
        probe.node.destroy_publisher(clock)


def test_parameters_change_at_run_time(probe: Probe, segmenter: Segmenter) -> None:
    pixels, _ = painted_image(SIZE_HW, 2)
    assert probe.set_parameters(output_size="model", uncertainty_encoding="32FC1") == (True, "")
    label, uncertainty = segment_live(probe, pixels)
    expected = segmenter.segment([pixels], output_size="model")[0]
    np.testing.assert_array_equal(messages.view(label), expected.label)
    assert (uncertainty.encoding, uncertainty.height, uncertainty.width) == ("32FC1", 48, 64)
    floats = np.frombuffer(uncertainty.data, np.float32).reshape(48, 64)
    np.testing.assert_allclose(floats, expected.uncertainty / 255, rtol=1e-6)
    assert 0 <= floats.min() <= floats.max() <= 1


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("output_size", "huge", "output_size is 'huge'; accepted: one of camera, model"),
        ("max_age_ms", -1.0, ""),
        ("max_age_ms", "soon", "max_age_ms is 'soon'; accepted: 0 to 60000"),
        ("overlay_alpha", 2, "overlay_alpha is 2; accepted: 0 to 1"),
        ("model", "other.onnx", "model can change only while the node is unconfigured"),
        ("cameras", ["front"], "cameras can change only while"),
        ("autostart", False, "read-only"),
    ],
)
def test_wrong_parameters_are_refused_with_the_reason(probe: Probe, name: str, value: Any, reason: str) -> None:
    before = probe.get_parameter(name)
    done, why = probe.set_parameters(**{name: value})
    assert not done
    assert reason in why
    assert why
    assert probe.get_parameter(name) == before


def test_overlay_and_color_come_while_somebody_subscribes(probe: Probe, segmenter: Segmenter) -> None:
    pixels, _ = painted_image(SIZE_HW, 3)
    expected = segmenter.segment([pixels])[0].label
    palette = segmenter.manifest.palette_bgr
    topics = ("/segment/overlay", "/segment/color")
    for topic in topics:
        probe.subscribe(topic)
    probe.connect("/image", lambda: any_image(probe), *topics)
    assert probe.set_parameters(overlay_alpha=0.25) == (True, "")
    stamp = probe.publish("/image", image_message(pixels, stamp=probe.now()))
    overlay = probe.message_with_stamp("/segment/overlay", stamp)
    color = probe.message_with_stamp("/segment/color", stamp)
    assert (overlay.encoding, color.encoding) == ("bgr8", "bgr8")
    np.testing.assert_array_equal(messages.view(color), palette[expected])
    np.testing.assert_array_equal(messages.view(overlay), drawing.overlay(pixels, expected, palette, 0.25))
    for topic in topics:
        probe.unsubscribe(topic)


def test_camera_info_is_scaled_to_the_label(probe: Probe) -> None:
    probe.subscribe("/segment/camera_info", CameraInfo)
    info = CameraInfo(height=180, width=240, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    info.k = [200.0, 0.0, 119.5, 0.0, 200.0, 89.5, 0.0, 0.0, 1.0]

    def calibration_and_image() -> Image:
        probe.publish("/camera_info", info)
        return any_image(probe)

    probe.connect("/image", calibration_and_image, "/segment/camera_info")
    stamp = probe.publish("/image", image_message(painted_image(SIZE_HW)[0], stamp=probe.now(), frame_id="front"))
    scaled = probe.message_with_stamp("/segment/camera_info", stamp)
    assert (scaled.height, scaled.width, scaled.header.frame_id) == (*SIZE_HW, "front")
    np.testing.assert_allclose(scaled.k, [100.0, 0.0, 59.5, 0.0, 100.0, 44.5, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(scaled.d, info.d)


def test_a_calibration_of_other_images_is_told_of(probe: Probe) -> None:
    info = CameraInfo(height=240, width=240, k=[200.0, 0.0, 119.5, 0.0, 200.0, 119.5, 0.0, 0.0, 1.0])

    def complaint(is_expected: Callable[[str], bool]) -> str:
        """Send the calibration and images until a status has the message that is expected."""

        def find() -> str | None:
            probe.publish("/camera_info", info)
            segment_live(probe, painted_image(SIZE_HW)[0])
            statuses = (status for array in probe.received["/diagnostics"] for status in array.status)
            return next((s.message for s in statuses if s.name == "segment: camera" and is_expected(s.message)), None)

        found: str = probe.spin_until(find, "the message")
        probe.received["/diagnostics"].clear()
        return found

    assert "240 x 240 pixels (height x width), but the camera's are 90 x 120" in complaint(
        lambda message: "camera_info is not published" in message
    )
    info.height = 180
    complaint(lambda message: "camera_info" not in message)


def test_classes_are_there_for_late_subscribers(probe: Probe, tiny_model: ModelFile) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.subscribe("/segment/label_info_json", String, latched)
    message = probe.spin_until(lambda: probe.received["/segment/label_info_json"], "the label info")[0]
    info = json.loads(message.data)
    assert info["classes"] == [{"id": c.id, "name": c.name, "color_rgb": list(c.color_rgb)} for c in CLASSES]
    assert info["model_sha256"] == tiny_model.sha256


def test_times_are_published(probe: Probe) -> None:
    topics = [f"/segment/debug/{name}_ms" for name in ("engine_time", "processing_time", "pipeline_latency")]
    for topic in topics:
        probe.subscribe(topic, Float64)
    probe.connect("/image", lambda: any_image(probe), *topics)
    for topic in topics:
        probe.received[topic].clear()
    segment_live(probe, painted_image(SIZE_HW)[0])
    engine_ms, processing_ms, latency_ms = (
        probe.spin_until(lambda topic=topic: probe.received[topic], f"a time on {topic}")[0].data for topic in topics
    )
    assert 0 < engine_ms < processing_ms < latency_ms < 5000


def test_diagnostics_name_the_backend_and_the_model(probe: Probe, tiny_model: ModelFile, segmenter: Segmenter) -> None:
    segment_live(probe, painted_image(SIZE_HW)[0])
    status = probe.status("segment: inference", lambda status: values(status)["processing_ms_p50"])
    assert status.level == DiagnosticStatus.OK
    assert status.message == "active"
    found = values(status)
    backend = segmenter.backend
    assert found["backend"] == "onnxruntime"
    assert found["backend_version"] == backend.library_version
    assert (found["precision"], found["device"]) == (backend.precision, backend.device)
    assert found["model_sha256"] == tiny_model.sha256
    assert found["backend_reason"]
    assert found["fallback_reason"] == ""
    camera = values(probe.status("segment: camera", lambda status: float(values(status)["rate_out_hz"]) > 0))
    assert 0 < float(camera["latency_ms_p50"]) <= float(camera["latency_ms_p99"])
    assert (camera["topic"], camera["type"], camera["publishers"]) == ("/image", "sensor_msgs/msg/Image", "1")


def test_best_effort_publishers_are_heard(probe: Probe) -> None:
    probe.forget_publisher("/image")
    probe.connect("/image", lambda: any_image(probe), LABEL, qos=BEST_EFFORT)
    probe.forget_publisher("/image")


def test_silence_is_diagnosed(node: NodeProcess, probe: Probe) -> None:
    assert probe.set_parameters(input_timeout_s=0.2) == (True, "")
    try:
        status = probe.status("segment: camera", lambda status: status.level == DiagnosticStatus.ERROR)
        assert "no image on /image for" in status.message
        assert "nobody publishes it" in status.message
        probe.publisher("/image", Image)
        status = probe.status("segment: camera", lambda status: "it has a publisher" in status.message)
        assert "FASTDDS_DEFAULT_PROFILES_FILE" in status.message
        assert "no image on /image" in node.output
        assert probe.set_parameters(input_timeout_s=5.0) == (True, "")
        probe.connect("/image", lambda: any_image(probe), LABEL)
        probe.status("segment: camera", lambda status: status.level == DiagnosticStatus.OK)
    finally:
        assert probe.set_parameters(input_timeout_s=2.0) == (True, "")
