"""Images of ordinary cameras reach a node with default settings, and its labels reach others; each in a process of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from support.ros_harness import NodeProcess, Probe, image_message
from support.tiny_model import painted_image

from benchmarks import arrival
from benchmarks.arrival import Case
from lwseg_ros.model.model_file import ModelFile

pytestmark = pytest.mark.integration

VGA, HD = (480, 640), (720, 1280)
FRAMES = 15


@pytest.mark.parametrize("size_hw", [VGA, HD])
@pytest.mark.parametrize(("reliability", "with_profile"), [("reliable", False), ("best_effort", True)])
def test_every_image_arrives(
    tiny_model: ModelFile, size_hw: tuple[int, int], reliability: str, with_profile: bool
) -> None:
    figures = arrival.measure_case(Case(size_hw, reliability, with_profile), str(tiny_model.path), FRAMES, 10.0)
    assert figures["received"] == FRAMES, figures
    assert figures["lost_in_transport"] == 0
    assert figures["input_reliability"] == reliability


def test_lost_images_are_told_with_what_helps(tiny_model: ModelFile) -> None:
    """What helps is what the test above does."""
    figures = arrival.measure_case(Case(HD, "best_effort"), str(tiny_model.path), 30, 10.0)
    # Those at either end, of which no piece arrived between two others, nobody notices.
    assert 0 < figures["lost_in_transport"] <= 30 - figures["received"]
    assert any("config/fastdds.xml" in message for message in figures["troubles"]), figures


def test_labels_reach_best_effort_subscribers(tiny_model: ModelFile, tmp_path: Path) -> None:
    parameters = {"model": tiny_model.path, "backend": "onnxruntime", "max_age_ms": 0}
    best_effort = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
    topics = ["/segment/label", "/segment/uncertainty", "/segment/overlay"]
    with NodeProcess(tmp_path, parameters), closing(Probe()) as probe:
        for topic in topics:
            probe.subscribe(topic, qos=best_effort)
        pixels = painted_image(HD)[0]
        probe.connect("/image", lambda: image_message(pixels, stamp=probe.now()), *topics)
        for _ in range(10):
            stamp = probe.publish("/image", image_message(pixels, stamp=probe.now()))
            for topic in topics:
                probe.message_with_stamp(topic, stamp)
