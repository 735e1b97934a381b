"""The windows of a node's cameras."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from diagnostic_msgs.msg import DiagnosticStatus
from support.ros_harness import NodeProcess, Probe, image_message, values
from support.tiny_model import ACCEPTANCE, painted_image, tiny_manifest, write_tiny_model

from lwseg_ros.evaluation import drift as figures_of_drift
from lwseg_ros.imaging import messages
from lwseg_ros.node.drift import DriftWatch
from lwseg_ros.node.frame import Frame, SegmentedFrame
from lwseg_ros.segmenter import Segmentation, Segmenter


def seen(camera: str) -> SegmentedFrame:
    image, label = painted_image((30, 40))
    return SegmentedFrame(Frame(camera, SimpleNamespace(), 0, 0.0), image, Segmentation(label, label * 0, 1.0))


def test_each_camera_has_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_of_drift, "WINDOW_S", 0.0)  # full with the first frame
    acceptance = tiny_manifest(acceptance=ACCEPTANCE).accepted_pixels()
    assert acceptance is not None
    watch = DriftWatch(acceptance, ["front", "rear"])
    assert watch.normal == acceptance.normal
    started_s = time.monotonic()
    watch.look(seen("front"))
    frame = seen("front")
    expected = figures_of_drift.frame_figures(
        acceptance, frame.image, frame.segmentation.label, frame.segmentation.uncertainty
    )
    assert watch.mean("front", started_s) == pytest.approx(expected)
    assert watch.mean("rear", started_s) is None


def test_without_a_normal_nothing_is_looked_at() -> None:
    for acceptance in ({}, {**ACCEPTANCE, "normal": {}}):
        watch = DriftWatch(tiny_manifest(acceptance=acceptance).accepted_pixels(), ["front"])
        watch.look(seen("front"))
        assert not watch.normal
        assert watch.mean("front", 0.0) is None


@pytest.mark.integration
def test_the_node_publishes_accepted_pixels_and_warns_in_the_dark(tmp_path: Path) -> None:
    """With a window of one second, so that nobody waits for ten."""
    model = write_tiny_model(tmp_path / "tiny.onnx", acceptance=ACCEPTANCE)
    run = "import sys; from lwseg_ros.evaluation import drift; drift.WINDOW_S = 1.0; from lwseg_ros.node.__main__ import main"
    parameters = {"model": model.path, "backend": "onnxruntime", "num_threads": 1, "diagnostics_rate_hz": 10}
    program = ("-c", f"{run}; sys.exit(main())")
    image, accepted = painted_image((48, 64))[0], "/segment/accepted"
    with NodeProcess(tmp_path, parameters, program=program), Segmenter.open(model.path, "onnxruntime") as segmenter:
        probe = Probe()
        probe.subscribe(accepted)
        probe.connect("/image", lambda: image_message(image, stamp=probe.now()), accepted)
        message = probe.message_with_stamp(accepted, probe.publish("/image", image_message(image, stamp=probe.now())))
        expected = segmenter.segment([image])[0]
        acceptance = model.manifest.accepted_pixels()
        assert acceptance is not None
        np.testing.assert_array_equal(messages.view(message), acceptance.accepted(expected.label, expected.uncertainty))

        probe.node.create_timer(0.05, lambda: probe.publish("/image", image_message(image, stamp=probe.now())))

        def described(level: bytes) -> str:
            """Wait for a status with a full window and this level, and say its message."""
            return probe.status("segment: camera", lambda s: "brightness" in values(s) and s.level == level).message

        assert described(DiagnosticStatus.OK) == "segmenting"
        image[:] = 0
        assert "unlike those that the model was calibrated on: brightness is " in described(DiagnosticStatus.WARN)
        probe.close()
