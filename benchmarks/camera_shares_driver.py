"""The cameras of `benchmarks.camera_shares`: `python -m benchmarks.camera_shares_driver '{"cameras": ...}'`.

Prints in JSON what was published, what the node counted meanwhile, and how long every label took.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from lwseg_ros.errors import LwsegError
from lwseg_ros.imaging import messages
from lwseg_ros.node.shared_memory import room_for_images
from lwseg_ros.replay.cdr import header_stamp_ns, with_stamp_ns

STARTUP_TIMEOUT_S = 120.0


class Cameras:
    """Publishers of all cameras' images, which receive their labels and read the node's diagnostics."""

    def __init__(self, cameras: Sequence[str], size_hw: Sequence[int], rate_hz: float) -> None:
        """Create them; nothing is published yet."""
        with room_for_images():
            self._node = rclpy.create_node("cameras")
        self._rate_hz = rate_hz
        image = Image()
        messages.fill(image, np.random.default_rng(1).integers(0, 255, (*size_hw, 3), np.uint8), "bgr8")
        self._raw = serialize_message(image)
        self._sent_s: dict[str, dict[int, float]] = {camera: {} for camera in cameras}
        self.published = dict.fromkeys(cameras, 0)
        self.latencies_ms: dict[str, list[float]] = {camera: [] for camera in cameras}
        self.counts: dict[str, dict[str, int]] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._read, 10)
        self._publishers: dict[str, Any] = {}
        for camera in cameras:
            self._publishers[camera] = self._node.create_publisher(Image, f"/{camera}/image", 5)
            self._node.create_subscription(
                Image, f"/segment/{camera}/label", lambda raw, camera=camera: self._receive(camera, raw), 5, raw=True
            )

    def forget(self) -> None:
        """Begin to count anew; what is under way is not counted."""
        for camera in self.published:
            self.published[camera] = 0
            self.latencies_ms[camera] = []
            self._sent_s[camera].clear()

    def wait(self, end_s: float) -> None:
        """Receive until then, by the steady clock."""
        while (left_s := end_s - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left_s)

    def run(self, seconds: float) -> None:
        """Publish each camera's images on time, the cameras' one after the other within a period; skip what would be late."""
        begin_s = time.monotonic()
        step_s = 1 / self._rate_hz / len(self._publishers)
        turns = itertools.cycle(self._publishers)
        for index in range(int(seconds / step_s)):
            camera = next(turns)
            if time.monotonic() < begin_s + (index + 1) * step_s:
                self.wait(begin_s + index * step_s)
                self._publish(camera)

    def _publish(self, camera: str) -> None:
        stamp_ns = time.time_ns()
        raw = with_stamp_ns(self._raw, stamp_ns)
        self._sent_s[camera][stamp_ns] = time.monotonic()
        self._publishers[camera].publish(raw)
        self.published[camera] += 1

    def _receive(self, camera: str, raw: bytes) -> None:
        sent_s = self._sent_s[camera].pop(header_stamp_ns(raw), None)
        if sent_s is not None:
            self.latencies_ms[camera].append(1e3 * (time.monotonic() - sent_s))

    def _read(self, message: DiagnosticArray) -> None:
        for status in message.status:
            camera = status.name.removeprefix("segment: camera ")
            if camera in self.published:
                self.counts[camera] = {pair.key: int(pair.value) for pair in status.values if pair.value.isdecimal()}


def drive(
    cameras: Sequence[str], size_hw: Sequence[int], rate_hz: float, seconds: float, settle_s: float
) -> dict[str, dict[str, Any]]:
    """Publish once every camera has labels; return by camera what was published, counted and waited for; raises LwsegError.

    settle_s: how long what is under way at the beginning and the end is waited for.
    """
    rclpy.init()
    driver = Cameras(cameras, size_hw, rate_hz)
    deadline_s = time.monotonic() + STARTUP_TIMEOUT_S
    while not all(driver.latencies_ms.values()):
        if time.monotonic() > deadline_s:
            raise LwsegError(f"not every camera had a label within {STARTUP_TIMEOUT_S:g} s; counted: {driver.counts}")
        driver.run(1.0)
    driver.wait(time.monotonic() + settle_s)
    before = dict(driver.counts)
    driver.forget()
    driver.run(seconds)
    driver.wait(time.monotonic() + settle_s)
    rclpy.shutdown()
    return {
        camera: {
            "published": driver.published[camera],
            "counts": {name: count - before[camera].get(name, 0) for name, count in driver.counts[camera].items()},
            "latencies_ms": driver.latencies_ms[camera],
        }
        for camera in cameras
    }


if __name__ == "__main__":
    print(json.dumps(drive(**json.loads(sys.argv[1]))))
