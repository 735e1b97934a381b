"""Look at the cameras that publish: listen to each as the node would, and say what keeps it from being segmented."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CompressedImage, Image

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging import messages
from lwseg_ros.node.diagnostics import STAMP_REMEDY, InputState, transport_remedy
from lwseg_ros.node.findings import Finding
from lwseg_ros.node.frame import StampClock
from lwseg_ros.node.input_subscription import RELIABLE, InputSubscription
from lwseg_ros.node.parameters import Settings

TYPES = {f"sensor_msgs/msg/{kind.__name__}": kind for kind in (Image, CompressedImage)}
COMPRESSED = "sensor_msgs/msg/CompressedImage"
# So long a topic that appears may have others in its wake.
SETTLE_S = 1.0
FOLLOW_PERIOD_S = 0.5


def camera_findings(node: Node, topics: Sequence[str], *, wait_s: float, listen_s: float) -> Iterator[Finding]:
    """Listen to one camera after another.

    topics: their image topics; none for every one that is published, but for those of a node of ours and for compressed images
    beside their raw ones. wait_s: how long to wait for topics to appear, and for a topic's first image; listen_s: from that on.
    """
    named = []
    for topic in topics:
        try:
            validate_topic_name(topic)
            named.append(node.resolve_topic_name(topic))
        except NameValidationException as error:
            reason = " ".join(str(error).split())
            yield Finding(f"camera {topic}", f"this is no topic: {reason}", "name one as `ros2 topic list` has it")
    if topics and not named:
        return
    found = _wait_for_topics(node, named, wait_s)
    for topic in named:
        if topic not in found:
            yield _no_images(node, topic)
    if not named and not found:
        yield _nobody_publishes("cameras")
    for topic, message_type in found.items():
        yield _Listener(node, topic, message_type).listen(wait_s, listen_s)


def _nobody_publishes(name: str) -> Finding:
    remedy = "start the camera's driver; if it runs, give this shell its ROS_DOMAIN_ID, FASTDDS_BUILTIN_TRANSPORTS and discovery"
    return Finding(name, "nobody publishes images", remedy)


def _no_images(node: Node, topic: str) -> Finding:
    """Say what there is in the place of a named topic's images."""
    topics = dict(node.get_topic_names_and_types())
    compressed = f"{topic}/compressed"
    if node.count_publishers(topic):
        remedy = "name the camera's image topic, as `ros2 topic list` has it"
        return Finding(f"camera {topic}", f"it carries {', '.join(topics.get(topic, ()))}, no images", remedy)
    if COMPRESSED in topics.get(compressed, ()) and node.count_publishers(compressed):
        remedy = f"set the parameter transport to compressed; `lwseg doctor {compressed}` listens to these"
        return Finding(f"camera {topic}", f"nobody publishes images but compressed ones, on {compressed}", remedy)
    return _nobody_publishes(f"camera {topic}")


def _wait_for_topics(node: Node, named: Sequence[str], wait_s: float) -> dict[str, str]:
    """Return the type of each image topic, by name; wait until the named ones are there, or until no more appear."""
    deadline_s, changed_s, found = time.monotonic() + wait_s, time.monotonic(), dict[str, str]()
    while (now_s := time.monotonic()) < deadline_s:
        before, found = found, _image_topics(node, named)
        if found != before:
            changed_s = now_s
        if named and len(found) == len(set(named)):
            break
        if not named and found and now_s - changed_s > SETTLE_S:
            break
        rclpy.spin_once(node, timeout_sec=0.1)
    return found


def _image_topics(node: Node, named: Sequence[str]) -> dict[str, str]:
    topics = dict(node.get_topic_names_and_types())
    images = {topic: kind for topic, kinds in topics.items() for kind in kinds if kind in TYPES}
    if named:
        return {topic: images[topic] for topic in named if topic in images and node.count_publishers(topic)}
    return {
        topic: kind
        for topic, kind in sorted(images.items())
        if not (kind == COMPRESSED and topic.rpartition("/")[0] in images) and _is_camera(node, topic, topics)
    }


def _is_camera(node: Node, topic: str, topics: dict[str, list[str]]) -> bool:
    """Tell whether somebody publishes it who is no node of ours, which publishes its classes too."""
    publishers = node.get_publishers_info_by_topic(topic)
    names = {f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}" for publisher in publishers}
    return any(f"{name}/label_info_json" not in topics for name in names)


class _Listener:
    """Hears one topic for a while."""

    def __init__(self, node: Node, topic: str, message_type: str) -> None:
        self._node = node
        self._message_type = message_type
        self._clock = StampClock()
        self._arrivals_s: list[float] = []
        self._bytes = 0
        self._lost = 0
        self._message: Any = None
        self._images = InputSubscription(
            node,
            TYPES[message_type],
            topic,
            depth=Settings().input_depth,
            setting="auto",
            on_message=self._on_message,
            on_lost=self._on_lost,
        )

    def listen(self, wait_s: float, listen_s: float) -> Finding:
        """Wait for an image, listen on from there, and judge."""
        try:
            self._spin_until(lambda: bool(self._arrivals_s), wait_s)
            if self._arrivals_s:
                self._spin_until(lambda: False, listen_s)
            return self._judge(wait_s)
        finally:
            self._images.close()

    def _judge(self, wait_s: float) -> Finding:
        publishers = self._images.publishers()
        reliability = self._images.choice.reliability.name.lower()
        state = InputState(
            topic=self._images.topic_name,
            message_type=self._message_type,
            publisher_types=tuple(publisher.topic_type for publisher in publishers),
            reliability=reliability,
            all_reliable=all(publisher.qos_profile.reliability == RELIABLE for publisher in publishers),
        )
        name, count = f"camera {state.topic}", len(self._arrivals_s)
        values: dict[str, object] = {"reliability": reliability, "received": count, "lost": self._lost}
        if self._message is None:
            found = f"{reliability}; no image in {wait_s:g} s, though it has a publisher"
            remedy = f"see that the driver sends images; if it does they are too large: {transport_remedy(state)}"
            return Finding(name, found, remedy, values)
        size, trouble = _size_of(self._message)
        image_bytes = self._bytes / count
        span_s = self._arrivals_s[-1] - self._arrivals_s[0]
        rate_hz = (count - 1) / span_s if span_s else None
        values |= {"image": size, "bytes": image_bytes, "rate_hz": rate_hz}
        rate = f"{rate_hz:.1f} Hz, {rate_hz * image_bytes / 1e6:.1f} MB/s" if rate_hz else "one image"
        found = f"{size}, {image_bytes / 1e6:.2f} MB, {rate}, {reliability}"
        if self._lost:
            return Finding(name, f"{found}; {self._lost} lost on their way", transport_remedy(state), values)
        if trouble:
            return Finding(name, found, trouble, values)
        if self._clock.foreign:
            return Finding(name, f"{found}; stamps missing, or from another clock", STAMP_REMEDY, values)
        return Finding(name, found, values=values)

    def _on_message(self, message: Any) -> None:
        now_s, stamp = time.monotonic(), message.header.stamp
        self._clock.observe(
            stamp.sec * 1_000_000_000 + stamp.nanosec,
            now_ns=self._node.get_clock().now().nanoseconds,
            now_s=now_s,
            max_age_ms=Settings().max_age_ms,
        )
        self._arrivals_s.append(now_s)
        self._bytes += len(message.data)
        self._message = message

    def _on_lost(self, count: int) -> None:
        self._lost += count

    def _spin_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition() and (left_s := end_s - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=min(FOLLOW_PERIOD_S, left_s))
            self._images.follow()


def _size_of(message: Any) -> tuple[str, str]:
    """Describe an image, and say why the node could not use it, or nothing."""
    try:
        if isinstance(message, CompressedImage):
            height, width = messages.decode_compressed(message).shape[:2]
            return f"{width} x {height} compressed", ""
        if message.encoding.startswith(
            ("32F", "64F")
        ):  # a measurement, such as depth, that nobody wants to have segmented
            return f"{message.width} x {message.height} {message.encoding}, no picture", ""
        messages.to_bgr(message)
    except ImageError as error:
        return "an image that cannot be segmented", str(error)
    return f"{message.width} x {message.height} {message.encoding}", ""
