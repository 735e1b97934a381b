"""The camera of `benchmarks.closed_loop`: `python -m benchmarks.closed_loop_driver CONFIG.json`.

Gives each contender a bag's images, the next once the last is answered. Standard output tells of each when it was published
and when its label came.
"""

from __future__ import annotations

import itertools
import queue
import sys
import time
from typing import Any

from rclpy.qos import qos_profile_sensor_data

from lwseg_ros.imaging.message_types import load_message_type
from lwseg_ros.replay.bag import IMAGE, Bag
from lwseg_ros.replay.cdr import header_stamp_ns, with_stamp_ns
from lwseg_ros.replay.live.bag_camera import CameraNode, run_camera
from lwseg_ros.replay.live.collector import QOS
from lwseg_ros.replay.live.protocol import Commands, emit

WARM_UP_IMAGES = 3
TIMEOUT_S = 120.0
# What the node does once the label is out, uncertainty and times, is done before the next image comes.
PAUSE_S = 0.03


class ClosedLoopCamera(CameraNode):
    """A publisher of images and a subscription of labels for each contender."""

    def __init__(self, bag: Bag, config: dict[str, Any], commands: Commands) -> None:
        """Create them, and read the bag's images; nothing is published yet. Raises BagError."""
        super().__init__("closed_loop_camera")
        self._turns, self._images = config["turns"], config["images"]
        topic = bag.image_topic(config["image_topic"])
        self._frames = itertools.cycle([message.raw for message in bag.messages(topic)])
        self._labels: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()  # stamp and time of arrival
        self._publishers_of: dict[str, Any] = {}
        self._label_topics = [label for _, label in config["contenders"].values()]
        for name, (image_topic, label_topic) in config["contenders"].items():
            self._publishers_of[name] = self.create_publisher(
                load_message_type(topic.msgtype), image_topic, qos_profile_sensor_data
            )
            self.create_subscription(load_message_type(IMAGE), label_topic, self._on_label, QOS, raw=True)

    def matched(self) -> bool:
        """Tell whether every contender listens and answers."""
        listen = (publisher.get_subscription_count() for publisher in self._publishers_of.values())
        return all(listen) and all(map(self.count_publishers, self._label_topics))

    def play(self) -> None:
        """Take all turns."""
        for turn in range(self._turns):
            for name, publisher in self._publishers_of.items():
                for number in range(-WARM_UP_IMAGES, self._images):
                    answered = self._ask(publisher)
                    if answered is None:
                        emit(event="unanswered", contender=name, timeout_s=TIMEOUT_S)
                        return
                    if number >= 0:
                        emit(event="answer", contender=name, turn=turn, **answered)
        emit(event="done")

    def _ask(self, publisher: Any) -> dict[str, int] | None:
        """Publish the next image and wait for its label; None where none comes."""
        time.sleep(PAUSE_S)
        stamp_ns = time.time_ns()
        image = with_stamp_ns(next(self._frames), stamp_ns)
        publish_ns = time.monotonic_ns()
        publisher.publish(image)
        try:
            while (label := self._labels.get(timeout=TIMEOUT_S))[0] != stamp_ns:
                pass
        except queue.Empty:
            return None
        return {"stamp_ns": stamp_ns, "publish_ns": publish_ns, "receive_ns": label[1]}

    def _on_label(self, raw: bytes) -> None:
        receive_ns = time.monotonic_ns()
        self._labels.put((header_stamp_ns(raw), receive_ns))


if __name__ == "__main__":
    sys.exit(run_camera(ClosedLoopCamera))
