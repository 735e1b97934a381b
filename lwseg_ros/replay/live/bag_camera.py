"""A bag's camera as a publisher: its images, and its camera_info where the bag has one, under the names ROS 2 allows."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from lwseg_ros.errors import BagError
from lwseg_ros.imaging.message_types import load_message_type
from lwseg_ros.replay.bag import Bag, BagMessage
from lwseg_ros.replay.cdr import with_stamp_ns
from lwseg_ros.replay.live.protocol import Commands, InputEndedError, emit, read_config
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


class CameraNode(Node):
    """An rclpy node around a `BagCamera`."""

    def matched(self) -> bool:
        """Tell whether everybody who is to hear the images is there."""
        raise NotImplementedError

    def play(self) -> None:
        """Publish; raises BagError, and InputEndedError at the end of standard input."""
        raise NotImplementedError


def run_camera(make_node: Callable[[Bag, dict[str, Any], Commands], CameraNode]) -> int:
    """Be a process around a node: wait for its match and for `go`, let it play, and wait for the end of standard input.

    make_node gets the bag of the process's configuration, that configuration, and standard input's lines. Returns the exit code.
    """
    config = read_config()
    rclpy.init(args=[])
    commands = Commands()
    executor = SingleThreadedExecutor()
    spinner = threading.Thread(target=executor.spin, daemon=True)
    try:
        with Bag(config["bag"]) as bag, contextlib.suppress(InputEndedError):
            node = make_node(bag, config, commands)
            executor.add_node(node)
            spinner.start()
            while not node.matched():
                commands.sleep(0.02)
            commands.sleep(SETTLE_S)
            emit(event="ready")
            commands.next()
            node.play()
            while True:  # leaving at once could take the last image along
                commands.next()
    except BagError as error:
        emit(event="failed", message=str(error))
        return 1
    finally:
        executor.shutdown()
        if spinner.is_alive():
            spinner.join(timeout=5.0)
        rclpy.try_shutdown()
    return 0
