"""A request that makes no sense costs its sender the answer, not the vehicle the node."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from support.ros_harness import NodeProcess, Probe

pytestmark = pytest.mark.integration


def test_parameters_of_no_known_type_are_refused(tmp_path: Path) -> None:
    parameters = [Parameter(name="max_age_ms", value=ParameterValue(type=200))]
    with NodeProcess(tmp_path, {"autostart": "false"}) as node:
        probe = Probe()
        try:
            answer = probe.call("set_parameters", SetParameters, SetParameters.Request(parameters=parameters))
            assert list(answer.results) == []
            request = SetParametersAtomically.Request(parameters=parameters)
            answer = probe.call("set_parameters_atomically", SetParametersAtomically, request)
            assert not answer.result.successful
            assert probe.get_parameter("max_age_ms") == 1000.0
            assert "set_parameters is refused: ValueError: 200 is not a valid" in node.output
        finally:
            probe.close()
