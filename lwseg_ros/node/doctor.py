"""Look at this machine for `lwseg doctor`, in a process of its own, since a middleware that is not there ends every one.

`python -m lwseg_ros.node.doctor CONFIG.json` tells each finding as an event, and ends with its standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lwseg_ros.node.findings import (
    Finding,
    middleware_finding,
    missing_middleware_finding,
    ros_finding,
    runtime_findings,
    shared_memory_finding,
)
from lwseg_ros.node.signals import end_with_input
from lwseg_ros.replay.live.protocol import emit, read_config


def findings(config: dict[str, Any]) -> Iterator[Finding]:
    """Look at one thing after the other; what cannot work without an earlier one is left out."""
    yield from runtime_findings(config["model"], config["backend"])
    yield shared_memory_finding()
    if missing := missing_middleware_finding():  # importing rclpy may already end the process
        yield missing
        return
    ros = ros_finding()
    yield ros
    if not ros.values:
        return
    yield middleware_finding()
    yield from _cameras(config)


def _cameras(config: dict[str, Any]) -> Iterator[Finding]:
    import rclpy

    from lwseg_ros.node.camera_survey import camera_findings

    try:
        rclpy.init(args=[])
        node = rclpy.create_node("lwseg_doctor")
    except Exception as error:  # rclpy documents none; such as a ROS_DOMAIN_ID that is no number
        reason = " ".join(str(error).split())
        yield Finding(
            "cameras", f"no ROS node starts: {reason}", "correct the variables of the environment that it names"
        )
        return
    try:
        yield from camera_findings(node, config["topics"], wait_s=config["wait_s"], listen_s=config["listen_s"])
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def main() -> int:
    """Tell all findings; return the exit code."""
    end_with_input()
    for finding in findings(read_config()):
        emit(event="finding", **asdict(finding))
    emit(event="done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
