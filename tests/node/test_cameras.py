"""The node in a process of its own with two cameras and compressed images."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from support.ros_harness import NodeProcess, Probe, compressed_message
from support.tiny_model import painted_image

from lwseg_ros.imaging import messages
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter

pytestmark = pytest.mark.integration

# Cameras of different sizes, and one of the model's own size.
SIZES_HW = {"front": (90, 120), "rear/left": (48, 64)}


def input_topic(camera: str) -> str:
    return f"/{camera}/image/compressed"


def label_topic(camera: str) -> str:
    return f"/segment/{camera}/label"


def encode(pixels: np.ndarray, extension: str = ".png") -> bytes:
    done, data = cv2.imencode(extension, pixels)
    assert done
    return data.tobytes()


@pytest.fixture(scope="module")
def node(tiny_model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    parameters = {
        "model": tiny_model.path,
        "backend": "onnxruntime",
        "num_threads": 1,
        "diagnostics_rate_hz": 10,
        "transport": "compressed",
        "cameras": f"[{', '.join(SIZES_HW)}]",
    }
    with NodeProcess(tmp_path_factory.mktemp("node"), parameters) as process:
        yield process
        assert process.process.poll() is None, f"the node died; it said:\n{process.output}"


@pytest.fixture(scope="module")
def probe(node: NodeProcess) -> Iterator[Probe]:
    probe = Probe()
    for camera, size_hw in SIZES_HW.items():
        probe.subscribe(label_topic(camera))
        data = encode(painted_image(size_hw)[0])
        probe.connect(
            input_topic(camera),
            lambda data=data: compressed_message(data, stamp=probe.now()),
            label_topic(camera),
        )
    yield probe
    probe.close()


@pytest.fixture(scope="module")
def segmenter(tiny_model: ModelFile) -> Iterator[Segmenter]:
    with Segmenter.open(tiny_model.path, "onnxruntime") as opened:
        yield opened


def test_each_camera_gets_its_own_labels(probe: Probe, segmenter: Segmenter) -> None:
    for seed in range(5):
        stamps, pixels = {}, {}
        for camera, size_hw in SIZES_HW.items():
            pixels[camera], _ = painted_image(size_hw, seed)
            message = compressed_message(encode(pixels[camera]), stamp=probe.now(), frame_id=camera)
            stamps[camera] = probe.publish(input_topic(camera), message)
        for camera in SIZES_HW:
            label = probe.message_with_stamp(label_topic(camera), stamps[camera])
            assert label.header.frame_id == camera
            np.testing.assert_array_equal(messages.view(label), segmenter.segment([pixels[camera]])[0].label)


def test_jpeg(probe: Probe, segmenter: Segmenter) -> None:
    data = encode(painted_image(SIZES_HW["front"])[0], ".jpg")
    stamp = probe.publish(input_topic("front"), compressed_message(data, "jpeg", stamp=probe.now()))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    label = probe.message_with_stamp(label_topic("front"), stamp)
    np.testing.assert_array_equal(messages.view(label), segmenter.segment([decoded])[0].label)


@pytest.mark.parametrize("kind", ["truncated", "no image", "empty", "corrupt"])
def test_one_camera_s_bad_image_does_not_touch_the_other(node: NodeProcess, probe: Probe, kind: str) -> None:
    before = {camera: probe.settled_counts(camera) for camera in SIZES_HW}
    data = encode(painted_image(SIZES_HW["front"])[0], ".jpg")
    broken = {
        "truncated": data[: len(data) // 2],
        "no image": b"hello",
        "empty": b"",
        "corrupt": data[:2] + bytes(len(data) - 4) + data[-2:],
    }[kind]
    probe.publish(input_topic("front"), compressed_message(broken, "jpeg", stamp=probe.now()))
    good = compressed_message(encode(painted_image(SIZES_HW["rear/left"])[0]), stamp=probe.now())
    probe.message_with_stamp(label_topic("rear/left"), probe.publish(input_topic("rear/left"), good))
    front = probe.counts("front", lambda counts: counts["dropped_bad"] > before["front"]["dropped_bad"])
    rear = probe.counts("rear/left", lambda counts: counts["segmented"] > before["rear/left"]["segmented"])
    assert front["dropped_bad"] == before["front"]["dropped_bad"] + 1
    assert front["segmented"] == before["front"]["segmented"]
    assert rear["dropped_bad"] == before["rear/left"]["dropped_bad"]
    assert "a frame of front is bad" in node.output


def test_outputs_lie_under_the_camera_s_name(probe: Probe) -> None:
    topics = {name for name, _ in probe.node.get_topic_names_and_types()}
    for camera in SIZES_HW:
        for name in ("label", "uncertainty", "overlay", "color", "camera_info", "debug/pipeline_latency_ms"):
            assert f"/segment/{camera}/{name}" in topics
    assert "/segment/label" not in topics
    assert {"/segment/label_info_json", "/segment/debug/engine_time_ms"} <= topics
