"""Labels that go from one node to the other of the same process as arrays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

import rclpy
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from support import ros_harness  # noqa: F401  sets the domain

from lwseg_ros.model.acceptance import Acceptance
from lwseg_ros.node.frame import Frame, SegmentedFrame
from lwseg_ros.node.label_relay import LabelRelay, RelayedLabels
from lwseg_ros.node.paint.inputs import PaintInputs
from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.node.paint.sweep_queue import SweepQueue
from lwseg_ros.node.paint.worker import SWEEP_CAUSES
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.segmenter import Segmentation

STAMP_NS = 1_700_000_000_000_000_000
ACCEPTANCE = Acceptance.from_manifest({"level": 0.1, "confidence": 0.9, "thresholds": [20, None], "normal": {}}, {0, 1})


class Listener:
    cameras = ("", "front")

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.labels: list[RelayedLabels] = []

    def take_label_info(self, text: str) -> None:
        self.infos.append(text)

    def take_labels(self, labels: RelayedLabels) -> None:
        self.labels.append(labels)


def frame(camera: str = "", info: Any = None) -> SegmentedFrame:
    """A frame of 2 x 6 pixels whose label, as with output_size model, has another size."""
    message = SimpleNamespace(header=SimpleNamespace(frame_id="optical"))
    segmentation = Segmentation(np.array([[0, 1, 0]], np.uint8), np.array([[20, 0, 21]], np.uint8), 1.0)
    return SegmentedFrame(Frame(camera, message, STAMP_NS, 0.0, info), np.zeros((2, 6, 3), np.uint8), segmentation)


def test_a_frame_is_handed_over_in_memory_of_the_listeners_own() -> None:
    relay, listener = LabelRelay(), Listener()
    relay.listen(listener)
    result = frame("front", CameraInfo(height=2, width=6, k=[4.0, 0, 3, 0, 4, 1, 0, 0, 1]))
    relay.send(result, ACCEPTANCE)
    result.segmentation.label[:] = 7  # as the next frame does where it is the backend's memory
    result.segmentation.uncertainty[:] = 7
    (labels,) = listener.labels
    assert (labels.camera, labels.stamp_ns, labels.frame_id) == ("front", STAMP_NS, "optical")
    assert {kind: image.tolist() for kind, image in labels.images.items()} == {
        "label": [[0, 1, 0]],
        "uncertainty": [[20, 0, 21]],
        "accepted": [[255, 0, 0]],
    }
    assert (labels.camera_info.height, labels.camera_info.width, labels.camera_info.k[0]) == (1, 3, 2.0)
    relay.send(frame(), None)
    assert set(listener.labels[1].images) == {"label", "uncertainty"}
    assert listener.labels[1].camera_info is None


def test_a_calibration_of_other_images_is_not_handed_over() -> None:
    relay, listener = LabelRelay(), Listener()
    relay.listen(listener)
    for height, width in ((4, 6), (0, 0), (4, 12)):
        relay.send(frame("front", CameraInfo(height=height, width=width, k=[4.0, 0, 3, 0, 4, 1, 0, 0, 1])), None)
    assert [labels.camera_info is None for labels in listener.labels] == [True, True, False]


def test_nothing_is_computed_for_a_camera_that_nobody_listens_to(monkeypatch: pytest.MonkeyPatch) -> None:
    relay, listener = LabelRelay(), Listener()
    relay.listen(listener)
    with monkeypatch.context() as patch:
        patch.setattr(Acceptance, "accepted", lambda *_: pytest.fail("computed for nobody"))
        relay.send(frame("rear"), ACCEPTANCE)
    assert listener.labels == []
    relay.send(frame("front"), ACCEPTANCE)
    assert len(listener.labels) == 1


def test_what_labels_mean_is_told_to_who_listens_later_too() -> None:
    relay, first, second = LabelRelay(), Listener(), Listener()
    relay.listen(first)
    relay.send_label_info("a")
    relay.listen(None)
    relay.send_label_info("b")
    relay.send(frame(), None)
    relay.listen(second)
    assert (first.infos, second.infos) == (["a"], ["b"])
    assert first.labels == second.labels == []


@pytest.mark.integration
def test_painting_takes_the_labels_of_its_cameras_alone() -> None:
    relay, queue, reports = LabelRelay(), SweepQueue(["front"], 0.0), []
    context = Context()
    rclpy.init(context=context)
    node = LifecycleNode("paint", context=context)
    inputs = PaintInputs(node, queue, FrameStatistics(0.0, SWEEP_CAUSES), PaintSettings, reports.append, relay)
    relay.send(frame("rear"), None)
    assert queue.last_image_s == {"front": 0.0}
    relay.send(frame("front"), None)
    found = queue.histories["front"].nearest(STAMP_NS, 0)
    assert found is not None
    assert (found.frame_id, found.label.tolist(), found.accepted) == ("optical", [[0, 1, 0]], None)
    relay.send_label_info("{")
    assert "label_info_json is not what the node segment publishes" in reports[0]
    inputs.close()
    relay.send(frame("front"), ACCEPTANCE)
    after = queue.histories["front"].nearest(STAMP_NS, 0)
    assert after is not None
    assert after.accepted is None
    node.destroy_node()
    rclpy.shutdown(context=context)
