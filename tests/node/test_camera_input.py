"""One camera's subscriptions, their callbacks called by hand: what a frame takes along."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from sensor_msgs.msg import CameraInfo, Image

from lwseg_ros.node.camera_input import CameraInput
from lwseg_ros.node.frame import Frame
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.parameters import Settings


def test_a_frame_keeps_the_calibration_that_was_there_when_it_came() -> None:
    callbacks: dict[str, Callable[[Any], None]] = {}

    def create_subscription(_type: Any, topic: str, callback: Callable[[Any], None], *_: Any, **__: Any) -> Any:
        callbacks[topic] = callback
        return SimpleNamespace(topic_name=topic)

    clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))
    node: Any = SimpleNamespace(create_subscription=create_subscription, get_clock=lambda: clock)
    mailbox: Mailbox[Frame] = Mailbox(["front"])
    CameraInput(node, "front", Settings(transport="raw")).open(mailbox)
    assert list(callbacks) == ["front/camera_info", "front/image"], (
        "of a pair that waits, the calibration is taken first"
    )

    callbacks["front/image"](Image())
    assert mailbox.take()["front"].camera_info is None
    first, second = CameraInfo(width=1), CameraInfo(width=2)
    callbacks["front/camera_info"](first)
    callbacks["front/image"](Image())
    callbacks["front/camera_info"](second)
    assert mailbox.take()["front"].camera_info is first
