"""Where ROS finds no folder for its log file, the file is turned off and the node starts all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lwseg_ros.node.log_folder import arguments_without_log_folder

OFF = ["--ros-args", "--disable-external-lib-logs"]
WITHOUT = {"HOME": None, "ROS_HOME": None, "ROS_LOG_DIR": None}


@pytest.mark.parametrize(
    ("environment", "made"),
    [
        ({"HOME": "{tmp}"}, ".ros/log"),
        ({"HOME": "{tmp}/later"}, "later/.ros/log"),
        ({"ROS_HOME": "{tmp}/ros"}, "ros/log"),
        ({"ROS_LOG_DIR": "{tmp}/logs"}, "logs"),
        ({"ROS_LOG_DIR": "~/logs", "HOME": "{tmp}"}, "logs"),
        ({}, None),
        ({"HOME": ""}, None),
        ({"HOME": "/proc"}, None),
        ({"HOME": "{tmp}", "ROS_LOG_DIR": "/proc/logs"}, None),
        ({"HOME": "{tmp}/file"}, None),
        ({"ROS_LOG_DIR": "~/logs"}, None),
    ],
)
def test_the_log_file_is_turned_off_where_it_has_no_folder(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    made: str | None,
) -> None:
    (tmp_path / "file").touch()
    for name in WITHOUT:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert arguments_without_log_folder() == ([] if made else OFF)
    assert ("no log file, only the console" in capsys.readouterr().err) == (made is None)
    if made:
        assert (tmp_path / made).is_dir()


@pytest.mark.integration
@pytest.mark.parametrize("home", [None, "", "/proc"])
def test_a_node_without_a_home_starts(tmp_path: Path, home: str | None) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    environment = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    if home is not None:
        environment["HOME"] = home
    command = [sys.executable, "-m", "lwseg_ros.node", "--ros-args", "-p", "autostart:=false"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("segment: no log file, only the console: ")
    assert "waiting for lifecycle transitions" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
