"""Python's log records in the ROS log: severities, threads, /rosout, and what is logged after the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile
from support.ros_harness import NodeProcess, Probe

from lwseg_ros.model.model_file import ModelFile

pytestmark = pytest.mark.integration

WARN = 30  # Log.WARN, which some distributions have as bytes
FAKE_GPU = Path(__file__).parents[1] / "support" / "fake_gpu"
SCRIPT = """
import logging, threading
import rclpy
from rclpy.node import Node
from lwseg_ros.node.log_records import log_records_in_ros

class LogsWhileItIsLogged:
    def __str__(self):
        logging.getLogger("inner").error("inside")
        return "outside"

rclpy.init()
node = Node("trial", namespace="street")
log = logging.getLogger("lwseg_ros.backends.trial")
logging.getLogger().setLevel(logging.DEBUG)

def in_threads(text):
    def work():
        for _ in range(3):
            log.warning(text)
            log.error(text)
    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

with log_records_in_ros(node.get_logger()):
    for level in (10, 20, 30, 40, 50, 35):
        log.log(level, "level %d", level)
    log.warning("%s", LogsWhileItIsLogged())
    try:
        raise ValueError("the reason")
    except ValueError:
        log.exception("it failed")
    in_threads("alive")
    node.destroy_node()
    in_threads("without a node")
    rclpy.shutdown()
    in_threads("after shutdown")
log.warning("on its own")
"""
LINE = re.compile(r"\[(\w+)\] \[[\d.]+\] \[street\.trial\]: (.*)")


def test_records_keep_their_severity_from_any_thread_and_after_shutdown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=dict(os.environ), timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    said = LINE.findall(done.stdout + done.stderr)
    name = "lwseg_ros.backends.trial"
    assert said[:5] == [
        ("INFO", f"{name}: level 20"),
        ("WARN", f"{name}: level 30"),
        ("ERROR", f"{name}: level 40"),
        ("FATAL", f"{name}: level 50"),
        ("WARN", f"{name}: level 35"),
    ], "the node's own level leaves debug out"
    assert sorted(said[5:8]) == [
        ("ERROR", "inner: inside"),
        ("ERROR", f"{name}: it failed"),
        ("WARN", f"{name}: outside"),
    ]
    assert "ValueError: the reason" in done.stderr
    for text in ("alive", "without a node", "after shutdown"):
        for severity in ("WARN", "ERROR"):
            assert said.count((severity, f"{name}: {text}")) == 12
    assert done.stderr.endswith("\non its own\n"), "the handler was not removed"
    assert "Logging error" not in done.stderr


def test_a_warning_of_a_backend_is_on_rosout(tiny_model: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {"PYTHONPATH": os.pathsep.join([str(FAKE_GPU), os.environ.get("PYTHONPATH", "")])}
    parameters = {
        "model": tiny_model.path,
        "backend": "tensorrt",
        "num_threads": 1,
        "engine_cache_dir": tmp_path / "file" / "engines",
    }
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with NodeProcess(tmp_path, parameters, environment=environment) as node:
        probe = Probe()
        probe.subscribe("/rosout", Log, latched)

        def find() -> Log | None:
            return next((entry for entry in probe.received["/rosout"] if "the engine is not kept" in entry.msg), None)

        found = probe.spin_until(find, "the warning of a cache that cannot be written", timeout_s=120)
        probe.close()
        assert found.level == WARN
        assert found.name == "segment"
        assert found.msg.startswith("lwseg_ros.backends.tensorrt_engines: the engine is not kept: engine cache ")
        assert re.search(r"\[WARN\] \[[\d.]+\] \[segment\]: lwseg_ros\.backends\.tensorrt_engines: the", node.output)
        assert node.end(signal.SIGTERM) == 0
