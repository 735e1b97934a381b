"""The node `paint` in this process: what it says of a thread that does not end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2
from support.ros_harness import TIMEOUT_S

from lwseg_ros.errors import PointCloudError
from lwseg_ros.node.paint import paint_node
from lwseg_ros.node.paint.paint_node import PaintNode
from lwseg_ros.node.paint.sweep_queue import Sweep

pytestmark = pytest.mark.integration


@pytest.fixture
def node() -> Iterator[PaintNode]:
    rclpy.init()
    node = PaintNode()
    yield node
    node.close()
    node.destroy_node()
    rclpy.shutdown()


def wait_until(condition: Any) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_painting_hangs_only_as_long_as_it_does(node: PaintNode, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(message: Any) -> None:
        begun.set()
        assert go_on.wait(TIMEOUT_S)
        raise PointCloudError("enough")

    monkeypatch.setattr("lwseg_ros.node.paint.worker.read_points", hang)
    monkeypatch.setattr(paint_node, "STOP_TIMEOUT_S", 0.01)
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert node._worker is not None
    node._worker._queue.put(Sweep(PointCloud2(), time.monotonic()))
    assert begun.wait(TIMEOUT_S)
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node._hangs()
    assert node.trigger_activate() == node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node._hangs()  # the first one's thread
    go_on.set()
    wait_until(lambda: not node._hangs())
    assert node.close()
