"""A misspelt parameter is said, on the command line as in a parameters file, and one that another node has is not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from support.ros_harness import NodeProcess, Probe
from support.tiny_model import write_tiny_model

pytestmark = pytest.mark.integration

FILE = """\
/**: {ros__parameters: {max_wait_s: 1.0, qos_overrides./paint/points.publisher.depth: 3}}
/another: {ros__parameters: {colour: blue}}
"""


@pytest.mark.parametrize("program", ["lwseg_ros.node", "lwseg_ros.node.paint", "lwseg_ros.node.segment_and_paint"])
def test_only_parameters_that_no_node_has_are_warned_of(tmp_path: Path, program: str) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx").path
    (tmp_path / "parameters.yaml").write_text(FILE, encoding="utf-8")
    parameters = {"use_sim_time": False, "autostart": False, "overlay_alfa": 0.5, "input_depth": 4}
    if program != "lwseg_ros.node.paint":
        parameters |= {"model": model, "backend": "onnxruntime"}
    probe = Probe()
    with NodeProcess(
        tmp_path, parameters, ("--params-file", str(tmp_path / "parameters.yaml")), program=("-m", program)
    ) as node:
        count = 2 if program.endswith("segment_and_paint") else 1
        probe.spin_until(lambda: node.output.count("waiting for lifecycle transitions") == count, "the start")
        said = [line.partition("no parameter ")[2] for line in node.output.splitlines() if "no parameter " in line]
    probe.close()
    assert (
        sorted(said)
        == {
            "lwseg_ros.node": [
                "'max_wait_s'; did you mean 'max_age_ms'?",
                "'overlay_alfa'; did you mean 'overlay_alpha'?",
            ],
            "lwseg_ros.node.paint": ["'max_wait_s'; did you mean 'max_wait_ms'?", "'overlay_alfa'; see --help"],
            "lwseg_ros.node.segment_and_paint": [
                "'max_wait_s'; did you mean 'max_wait_ms'?",
                "'overlay_alfa'; did you mean 'overlay_alpha'?",
            ],
        }[program]
    )
