"""An engine that is being built is announced, diagnosed and given up when the process is to end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node.engine_build import EngineBuild

FAKE_GPU = Path(__file__).parents[1] / "support" / "fake_gpu"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_what_is_logged_and_said() -> None:
    logged: list[str] = []
    clock = Clock()
    build = EngineBuild(logged.append, clock)
    assert build.text == ""
    for second in range(26):
        clock.now_s = 100.0 + second
        assert build.report("Tactics", second, 40)
    assert logged == [
        "building the TensorRT engine, once, which takes minutes; `lwseg build` builds it ahead",
        "the TensorRT engine has been building for 10 s: Tactics, 10 of 40",
        "the TensorRT engine has been building for 20 s: Tactics, 20 of 40",
    ]
    assert build.text == "the TensorRT engine has been building for 25 s: Tactics, 25 of 40"
    clock.now_s += 121
    assert build.text == "", "a build that is silent for two minutes may hang"
    build.report("Tactics", 26, 40)
    assert build.text
    build.finish()
    assert build.text == ""
    assert build.report("Tactics", 1, 40)
    assert len([text for text in logged if "once" in text]) == 2


def test_it_is_interrupted_for_good() -> None:
    build = EngineBuild(lambda text: None)
    build.interrupt()
    assert not build.report("Tactics", 1, 40)
    build.finish()
    assert not build.report("Tactics", 1, 40)


@pytest.mark.integration
def test_a_node_that_builds_says_so_and_ends_when_told(tiny_model: ModelFile, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    from diagnostic_msgs.msg import DiagnosticStatus
    from support.ros_harness import NodeProcess, Probe

    environment = {
        "PYTHONPATH": os.pathsep.join([str(FAKE_GPU), os.environ.get("PYTHONPATH", "")]),
        "XDG_CACHE_HOME": str(tmp_path),
        "FAKE_BUILD_STEPS": "36000",
    }
    parameters = {"model": tiny_model.path, "backend": "tensorrt", "num_threads": 1}
    with NodeProcess(tmp_path, parameters, environment=environment) as node:
        probe = Probe()
        status = probe.status("segment: inference", lambda status: status.message.startswith("building, "))
        probe.close()
        assert status.level == DiagnosticStatus.WARN
        assert "the TensorRT engine has been building for" in status.message
        assert "Building Engine, " in status.message
        assert "building the TensorRT engine, once" in node.output
        assert node.end(signal.SIGTERM) == 0
        assert "was interrupted" in node.output
        assert "without waiting for what hangs" not in node.output
    assert not (tmp_path / "lwseg_ros").exists(), "half an engine was kept"
