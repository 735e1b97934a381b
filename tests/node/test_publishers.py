"""Publishers in this process: pictures are computed on demand, and optional message packages are used where they are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import ros_harness  # sets the domain before anything starts
from support.tiny_model import ACCEPTANCE, CLASSES, painted_image, write_tiny_model

from lwseg_ros.imaging import drawing, label_png, messages
from lwseg_ros.model.acceptance import Acceptance
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node import publishers as node_publishers
from lwseg_ros.node.frame import Frame, SegmentedFrame
from lwseg_ros.node.parameters import Settings
from lwseg_ros.node.publishers import (
    CameraPublishers,
    ModelPublishers,
    PublisherGroup,
    fill_label_info,
    label_info_json,
)
from lwseg_ros.segmenter import Segmentation

pytestmark = pytest.mark.integration


@pytest.fixture
def node() -> Iterator[LifecycleNode]:
    context = Context()
    ros_harness.rclpy.init(context=context)
    node = LifecycleNode("publishing", context=context)
    yield node
    node.destroy_node()
    ros_harness.rclpy.shutdown(context=context)


@pytest.fixture
def result() -> SegmentedFrame:
    image, label = painted_image((30, 40))
    message = Image()
    message.header.frame_id = "front_optical"
    message.header.stamp.sec = 12
    return SegmentedFrame(Frame("front", message, 12_000_000_000, 0.0), image, Segmentation(label, label * 50, 1.0))


def wait_until(node: LifecycleNode, condition: Callable[[], Any]) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        executor.spin_once(timeout_sec=0.02)
    executor.shutdown()


def test_pictures_are_computed_only_for_subscribers(
    node: LifecycleNode, tiny_model: ModelFile, result: SegmentedFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    for name in ("overlay", "colorize"):
        real = getattr(drawing, name)

        def spy(*arguments: Any, name: str = name, real: Callable[..., Any] = real) -> Any:
            computed.append(name)
            return real(*arguments)

        monkeypatch.setattr(node_publishers.drawing, name, spy)
    group = PublisherGroup(node)
    publishers = CameraPublishers(group, "front", tiny_model)
    node.trigger_configure()
    node.trigger_activate()
    publishers.publish_extras(result, 1.0, Settings())
    assert computed == []

    received: list[Image] = []
    subscription = node.create_subscription(Image, "/publishing/front/color", received.append, 5)
    wait_until(node, lambda: any(p.get_subscription_count() for p in group._publishers))
    publishers.publish_extras(result, 1.0, Settings())
    assert computed == ["colorize"]
    wait_until(node, lambda: received)
    expected = tiny_model.manifest.palette_bgr[result.segmentation.label]
    np.testing.assert_array_equal(messages.view(received[0]), expected)
    assert (received[0].header.frame_id, received[0].header.stamp.sec) == ("front_optical", 12)

    node.destroy_subscription(subscription)
    wait_until(node, lambda: not any(p.get_subscription_count() for p in group._publishers))
    publishers.publish_extras(result, 1.0, Settings())
    assert computed == ["colorize"]
    group.close()


def test_accepted_pixels_are_published_while_somebody_asks_for_them(
    node: LifecycleNode, tmp_path: Path, result: SegmentedFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx", acceptance=ACCEPTANCE)
    computed: list[int] = []
    real = Acceptance.accepted

    def spy(self: Acceptance, label: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
        computed.append(label.size)
        return real(self, label, uncertainty)

    monkeypatch.setattr(Acceptance, "accepted", spy)
    group = PublisherGroup(node)
    publishers = CameraPublishers(group, "front", model)
    node.trigger_configure()
    node.trigger_activate()
    publishers.publish(result, Settings())
    assert computed == []

    received: list[Image] = []
    node.create_subscription(Image, "/publishing/front/accepted", received.append, 5)
    wait_until(node, lambda: any(p.get_subscription_count() for p in group._publishers))
    publishers.publish(result, Settings())
    wait_until(node, lambda: received)
    label, uncertainty = result.segmentation.label, result.segmentation.uncertainty
    expected = np.zeros_like(label)
    for class_id, threshold in enumerate(ACCEPTANCE["thresholds"]):
        if threshold is not None:
            expected[(label == class_id) & (uncertainty <= threshold)] = 255
    assert 0 < np.count_nonzero(expected) < expected.size
    np.testing.assert_array_equal(messages.view(received[0]), expected)
    assert received[0].encoding == "mono8"
    assert (received[0].header.frame_id, received[0].header.stamp.sec) == ("front_optical", 12)
    group.close()


def test_a_calibration_of_other_images_is_not_published(
    node: LifecycleNode, tiny_model: ModelFile, result: SegmentedFrame
) -> None:
    group = PublisherGroup(node)
    publishers = CameraPublishers(group, "front", tiny_model)
    node.trigger_configure()
    node.trigger_activate()
    received: list[CameraInfo] = []
    node.create_subscription(CameraInfo, "/publishing/front/camera_info", received.append, 5)
    wait_until(node, lambda: any(p.get_subscription_count() for p in group._publishers))
    faults = []
    for height, width in ((40, 40), (60, 80)):
        info = CameraInfo(height=height, width=width, k=[80.0, 0.0, 40.0, 0.0, 80.0, 30.0, 0.0, 0.0, 1.0])
        publishers.publish(replace(result, frame=replace(result.frame, camera_info=info)), Settings())
        faults.append(publishers.camera_info_fault)
    assert "40 x 40 pixels (height x width), but the camera's are 30 x 40" in faults[0]
    assert faults[1] == ""
    wait_until(node, lambda: received)
    assert [(info.height, info.width, info.k[0]) for info in received] == [(30, 40, 40.0)]
    group.close()


def test_a_compressed_label_is_computed_for_subscribers_and_as_often_as_they_may_have_it(
    node: LifecycleNode, tiny_model: ModelFile, result: SegmentedFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    real = label_png.encode_label

    def spy(label: np.ndarray, divisor: int) -> bytes:
        encoded.append(divisor)
        return real(label, divisor)

    monkeypatch.setattr(label_png, "encode_label", spy)
    group = PublisherGroup(node)
    publishers = CameraPublishers(group, "front", tiny_model)
    node.trigger_configure()
    node.trigger_activate()
    publishers.publish_extras(result, 1.0, Settings())
    assert encoded == []

    received: list[CompressedImage] = []
    node.create_subscription(CompressedImage, "/publishing/front/label/compressed", received.append, 5)
    wait_until(node, lambda: any(p.get_subscription_count() for p in group._publishers))
    limited = Settings(label_compressed_rate_hz=1.0, label_compressed_divisor=2)
    publishers.publish_extras(result, 1.0, limited)
    publishers.publish_extras(result, 1.0, limited)  # of the same moment
    publishers.publish_extras(result, 1.0, Settings())
    wait_until(node, lambda: len(received) == 2)
    assert encoded == [2, 1]
    label = result.segmentation.label
    small, whole = (messages.decode_as_stored(message) for message in received)
    assert small.shape == (15, 20)
    assert set(np.unique(small)) <= set(np.unique(label))
    np.testing.assert_array_equal(whole, label)
    assert received[0].format == "mono8; png compressed "
    assert (received[0].header.frame_id, received[0].header.stamp.sec) == ("front_optical", 12)
    group.close()


def test_a_model_that_vouches_for_nothing_has_no_topic_of_accepted_pixels(
    node: LifecycleNode, tiny_model: ModelFile
) -> None:
    group = PublisherGroup(node)
    CameraPublishers(group, "", tiny_model)
    topics = {name for name, _ in node.get_topic_names_and_types()}
    assert "/publishing/label" in topics
    assert "/publishing/accepted" not in topics
    group.close()


def test_the_ecosystem_s_stamped_message_is_used_where_installed(
    node: LifecycleNode, tiny_model: ModelFile, result: SegmentedFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for autoware_internal_debug_msgs, which no registry has, by another real message with a stamp."""
    import sys
    from types import ModuleType

    from std_msgs.msg import Header

    def stamped(*, stamp: Any, data: float) -> Header:
        return Header(stamp=stamp, frame_id=str(data))

    package = ModuleType("tier4_debug_msgs.msg")
    package.Float64Stamped = Header  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tier4_debug_msgs", ModuleType("tier4_debug_msgs"))
    monkeypatch.setitem(sys.modules, "tier4_debug_msgs.msg", package)
    group = PublisherGroup(node)
    publisher = node_publishers.MillisecondsPublisher(group, "~/debug/some_ms")
    publisher._stamped = stamped
    received: list[Header] = []
    node.create_subscription(Header, "/publishing/debug/some_ms", received.append, 5)
    node.trigger_configure()
    node.trigger_activate()
    wait_until(node, lambda: group._publishers[0].get_subscription_count())
    publisher.publish(result.frame.message.header.stamp, 2.5)
    wait_until(node, lambda: received)
    assert (received[0].stamp.sec, received[0].frame_id) == (12, "2.5")
    group.close()


@pytest.mark.parametrize("publish_confidence", [False, True])
def test_who_publishes_confidence_for_nav2_is_told_that_label_info_is_missing(
    node: LifecycleNode, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, publish_confidence: bool
) -> None:
    monkeypatch.setattr(node_publishers, "find_message_type", lambda *names: None)
    warned: list[str] = []
    monkeypatch.setattr(PublisherGroup, "warn", lambda group, text: warned.append(text))
    group = PublisherGroup(node)
    ModelPublishers(group, tiny_model, publish_confidence=publish_confidence)
    assert [text.endswith("sudo apt install ros-$ROS_DISTRO-vision-msgs") for text in warned] == [
        True
    ] * publish_confidence
    group.close()


def test_label_info(tiny_model: ModelFile) -> None:
    """vision_msgs is in no registry either, so its fields are checked on a plain object."""
    message = SimpleNamespace()
    fill_label_info(message, SimpleNamespace, tiny_model)
    assert [(c.class_id, c.class_name) for c in message.class_map] == [(c.id, c.name) for c in CLASSES]
    assert message.threshold == 0.0
    info = json.loads(label_info_json(tiny_model))
    assert [c["name"] for c in info["classes"]] == [c.name for c in CLASSES]
    assert info["ignore_id"] == 255
    assert info["uncertainty_kind"] == "least_confidence"
    assert "threshold" not in info["classes"][0]
    assert "level" not in info


def test_label_info_has_the_thresholds(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx", acceptance={**ACCEPTANCE, "thresholds": [51, 20, 0, None, 60]})
    message = SimpleNamespace()
    fill_label_info(message, SimpleNamespace, model)
    assert message.threshold == pytest.approx(1 - 60 / 255)
    info = json.loads(label_info_json(model))
    assert [c["threshold"] for c in info["classes"]] == [51, 20, 0, None, 60]
    assert (info["level"], info["confidence"]) == (0.1, 0.9)

    nothing = write_tiny_model(tmp_path / "none.onnx", acceptance={**ACCEPTANCE, "thresholds": [None] * 5})
    fill_label_info(message, SimpleNamespace, nothing)
    assert message.threshold == 0.0
