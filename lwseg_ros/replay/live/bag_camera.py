"""A bag's camera as a publisher: its images, and its camera_info where the bag has one, under the names ROS 2 allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from lwseg_ros.replay.bag import Bag, BagMessage
from lwseg_ros.replay.cdr import with_stamp_ns
from lwseg_ros.replay.live.protocol import load_message_type
from lwseg_ros.replay.live.topic_names import legal_topic

# DDS tells both ends of a match one after the other; what is published in between reaches nobody.
SETTLE_S = 0.5


class BagCamera:
    """Publish messages as the bytes that the bag holds, decoded by nobody, under stamps of now, as a camera driver does."""

    def __init__(self, node: Node, bag: Bag, image_topic: str) -> None:
        """Create the publishers; nothing is published yet. Raises BagError."""
        self._node = node
        self._bag = bag
        self.image = bag.image_topic(image_topic)
        self._info = bag.camera_info_topic(self.image)
        self._last_stamp_ns = 0
        self._image_publisher = self._publisher(self.image.name, self.image.msgtype)
        self._info_publisher = self._publisher(self._info.name, self._info.msgtype) if self._info else None

    def matched(self) -> bool:
        """Tell whether somebody listens to the images."""
        return bool(self._image_publisher.get_subscription_count())

    def frames(self) -> Iterator[tuple[BagMessage, BagMessage | None]]:
        """Yield every image with the latest camera_info before it; raises BagError."""
        info = None
        for message in self._bag.messages(*filter(None, (self.image, self._info))):
            if message.topic == self.image.name:
                yield message, info
            else:
                info = message

    def publish(self, image: BagMessage, info: BagMessage | None) -> tuple[int, int]:
        """Publish a frame; return its stamp and when its image went out (CLOCK_MONOTONIC), in nanoseconds. Raises BagError."""
        # stamps identify the answers, so no two may be equal
        stamp_ns = self._last_stamp_ns = max(time.time_ns(), self._last_stamp_ns + 1)
        if info is not None and self._info_publisher is not None:
            self._info_publisher.publish(with_stamp_ns(info.raw, stamp_ns))
        raw = with_stamp_ns(image.raw, stamp_ns)
        publish_ns = time.monotonic_ns()
        self._image_publisher.publish(raw)
        return stamp_ns, publish_ns

    def _publisher(self, name: str, msgtype: str) -> Any:
        return self._node.create_publisher(load_message_type(msgtype), legal_topic(name), qos_profile_sensor_data)
