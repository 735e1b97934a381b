"""`lwseg doctor`: each finding and its remedy, from real processes; what is missing is kept from being imported there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from sensor_msgs.msg import Image
from support.ros_harness import BEST_EFFORT, RELIABLE, Probe, image_message
from support.tiny_model import painted_image

from lwseg_ros.backends import BackendOptions
from lwseg_ros.commands import doctor
from lwseg_ros.errors import BackendError
from lwseg_ros.imaging.transport import PROFILES_VARIABLES
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node import findings
from lwseg_ros.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
START = (
    "import argparse, sys; from lwseg_ros.commands import doctor; parser = argparse.ArgumentParser(); "
    "doctor.add_arguments(parser); sys.exit(doctor.run(parser.parse_args()))"
)


def start(model: ModelFile, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, "--json", "--model", str(model.path), *arguments]
    return subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    """The findings by name; the exit code and `ok` say whether any has a remedy."""
    told = json.loads(process.communicate()[0])
    found = {finding["name"]: finding for finding in told["findings"]}
    faulty = any(finding["remedy"] for finding in found.values())
    assert (told["ok"], process.returncode) == (not faulty, int(faulty))
    return found


def without(folder: Path, *modules: str) -> dict[str, str]:
    """An environment in which these modules are not installed."""
    hidden = "\n".join(f"sys.modules[{module!r}] = None" for module in modules)
    (folder / "sitecustomize.py").write_text(f"import sys\n{hidden}\n", encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.mark.integration
def test_a_middleware_and_a_runtime_that_are_not_installed(tiny_model: ModelFile, tmp_path: Path) -> None:
    environment = {**without(tmp_path, "openvino"), "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp", "ROS_DISTRO": "kilted"}
    found = result(start(tiny_model, environment=environment))
    assert found["runtime"]["found"].startswith("onnxruntime")
    assert "the Python package openvino is not installed; `pip install 'lwseg_ros[cpu]'`" in found["runtime"]["found"]
    assert "set the parameter backend to onnxruntime" in found["runtime"]["remedy"]
    assert (found["precision"]["found"], found["precision"]["remedy"]) == ("fp32, of tiny.onnx", "")
    assert found["shared memory"]["found"] == "left to RMW_IMPLEMENTATION"
    assert found["middleware"]["found"] == "RMW_IMPLEMENTATION is rmw_cyclonedds_cpp, which is not installed"
    assert found["middleware"]["remedy"].startswith("`apt install ros-kilted-rmw-cyclonedds-cpp`, or unset")


def test_no_runtime_and_no_ros(tiny_model: ModelFile, tmp_path: Path) -> None:
    found = result(start(tiny_model, environment=without(tmp_path, "openvino", "onnxruntime", "rclpy")))
    assert set(found) == {"runtime", "shared memory", "ROS"}
    assert "no backend could be opened" in found["runtime"]["found"]
    assert "pip install 'lwseg_ros[cpu]'" in found["runtime"]["remedy"]
    assert found["ROS"]["found"] == "rclpy is not installed"
    assert found["ROS"]["remedy"].startswith("source /opt/ros/<distribution>/setup.bash")


@pytest.mark.integration
def test_a_best_effort_publisher_of_large_images_beside_one_that_is_well(tiny_model: ModelFile) -> None:
    large, small = (painted_image(size_hw)[0] for size_hw in ((720, 1280), (48, 64)))
    with closing(Probe()) as probe:
        cameras = [
            (probe.node.create_publisher(Image, topic, qos), pixels)
            for topic, qos, pixels in (("/large", BEST_EFFORT, large), ("/small", RELIABLE, small))
        ]
        arguments = ("--backend", "onnxruntime", "--wait", "20", "--seconds", "2", "/large", "/small")
        process = start(tiny_model, *arguments)
        while process.poll() is None:
            for publisher, pixels in cameras:
                publisher.publish(image_message(pixels, stamp=probe.now()))
            time.sleep(0.05)
    found = result(process)
    assert [finding["name"] for finding in found.values() if finding["remedy"]] == ["camera /large"]
    assert "best_effort" in found["camera /large"]["found"]
    remedy = found["camera /large"]["remedy"]
    assert "let the publisher offer reliable QoS" in remedy
    assert "config/fastdds.xml" in remedy
    values = found["camera /small"]["values"]
    assert (values["image"], values["bytes"], values["lost"]) == ("64 x 48 bgr8", small.nbytes, 0)
    assert values["reliability"] == "reliable"
    assert 0 < values["rate_hz"] < 30
    assert found["middleware"]["values"]["middleware"] == "rmw_fastrtps_cpp"


def test_a_process_that_ends_too_early_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (finding,) = doctor.findings({"wait_s": 1.0, "listen_s": 1.0})
    assert "ended with exit code 1" in finding["found"]
    assert finding["remedy"]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (finding,) = findings.runtime_findings(str(tmp_path / "none.onnx"), "auto")
    assert finding.name == "model"
    assert "none.onnx" in finding.found
    assert finding.remedy


def test_an_engine_is_not_built_but_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_an_engine(model: str, backend: str, *, options: BackendOptions) -> Segmenter:
        """Stand in for TensorRT, which asks at every step of a build whether to go on."""
        assert options.build_progress is not None
        assert options.build_progress("building", 1, 9) is False
        raise BackendError("building the engine was interrupted")

    monkeypatch.setattr(Segmenter, "open", build_an_engine)
    (finding,) = findings.runtime_findings("lite_seg0_fast_camvid", "tensorrt")
    assert finding.remedy.startswith("`lwseg build lite_seg0_fast_camvid` builds the TensorRT engine")


def test_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*PROFILES_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS2_EASY_MODE", "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(findings, "affordable_segment_bytes", lambda wanted: 8 << 20)
    finding = findings.shared_memory_finding()
    assert (finding.found, finding.remedy) == ("8.0 MiB of 32 MiB for the node's images", "")
    monkeypatch.setattr(findings, "affordable_segment_bytes", lambda wanted: 512 << 10)
    assert "--shm-size" in findings.shared_memory_finding().remedy
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "nowhere.xml")
    finding = findings.shared_memory_finding()
    assert "'nowhere.xml', which is no file" in finding.found
    assert finding.remedy
    Path("nowhere.xml").touch()
    assert findings.shared_memory_finding().remedy == ""


def test_a_distribution_beside_another_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_rclpy_version", lambda: "9.1.2")
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert "where jazzy is sourced" in findings.ros_finding().found
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    assert findings.ros_finding().remedy == ""
    monkeypatch.setattr(findings, "_rclpy_version", lambda: "unknown")
    assert findings.ros_finding().found == "rclpy unknown"
