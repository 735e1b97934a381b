"""One camera's subscriptions: they only count a message and leave it in the mailbox."""

from __future__ import annotations

import time
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lwseg_ros.node.diagnostics import InputState
from lwseg_ros.node.frame import Frame, StampClock
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.parameters import Settings
from lwseg_ros.node.statistics import FrameStatistics

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # its name until ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


class CameraInput:
    """Receive one camera's images and calibration while open."""

    def __init__(self, node: LifecycleNode, camera: str, settings: Settings) -> None:
        """Prepare a closed input; `camera` is empty for a single camera without a name."""
        self.statistics = FrameStatistics(time.monotonic())
        self.stamp_clock = StampClock()
        self._node = node
        self._camera = camera
        self._compressed = settings.transport == "compressed"
        self._message_type = CompressedImage if self._compressed else Image
        self._qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=settings.input_depth,
            reliability=ReliabilityPolicy[settings.input_reliability.upper()],
        )
        self._mailbox: Mailbox[Frame] | None = None
        self._subscriptions: list[Any] = []
        self._camera_info: CameraInfo | None = None
        self._incompatible_qos = ""
        self._lost = 0

    def open(self, mailbox: Mailbox[Frame]) -> None:
        """Subscribe, and leave every image in the mailbox."""
        self._mailbox = mailbox
        self._incompatible_qos = ""
        self.statistics.restart(time.monotonic())
        self.stamp_clock = StampClock()
        prefix = f"{self._camera}/" if self._camera else ""
        # Subscribed first, so that a frame finds the calibration that waits beside it.
        self._subscriptions.append(
            self._node.create_subscription(
                CameraInfo, f"{prefix}camera_info", self._on_camera_info, qos_profile_sensor_data
            )
        )
        # Resolved first, so that remapping `image` moves `image/compressed` along, as image_transport does.
        base = f"{prefix}image"
        topic = f"{self._node.resolve_topic_name(base)}/compressed" if self._compressed else base
        self._subscriptions.append(self._subscribe(topic))

    def close(self) -> None:
        """Unsubscribe."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self._mailbox = None

    def state(self) -> InputState:
        """Ask the middleware who publishes on the topic, and how that fits."""
        topic = self._topic
        publishers = self._node.get_publishers_info_by_topic(topic) if topic else []
        return InputState(
            topic=topic,
            message_type=f"sensor_msgs/msg/{self._message_type.__name__}",
            publisher_types=tuple(publisher.topic_type for publisher in publishers),
            incompatible_qos=self._incompatible_qos if publishers else "",
            lost=self._lost,
        )

    @property
    def _topic(self) -> str:
        """The topic of the images, as remapped; empty while closed."""
        return self._subscriptions[-1].topic_name if self._subscriptions else ""

    def _subscribe(self, topic: str) -> Any:
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos, message_lost=self._on_lost)
        try:
            return self._node.create_subscription(
                self._message_type, topic, self._on_image, self._qos, event_callbacks=events
            )
        except UnsupportedEventTypeError:  # not every middleware reports these
            return self._node.create_subscription(self._message_type, topic, self._on_image, self._qos)

    def _on_image(self, message: Any) -> None:
        mailbox = self._mailbox
        if mailbox is None:
            return
        now_s = time.monotonic()
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        now_ns = self._node.get_clock().now().nanoseconds
        foreign_stamp = self.stamp_clock.observe(stamp_ns, now_ns=now_ns, now_s=now_s)
        frame = Frame(self._camera, message, stamp_ns, now_s, self._camera_info, foreign_stamp)
        self.statistics.add_arrival(now_s)
        replaced = mailbox.put(self._camera, frame)
        if replaced is not None:
            self.statistics.add_drop("inactive" if replaced is frame else "superseded")

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_incompatible_qos(self, event: Any) -> None:
        self._incompatible_qos = QoSPolicyKind(event.last_policy_kind).name
        self._node.get_logger().warning(
            f"a publisher on {self._topic} does not fit in {self._incompatible_qos}; nothing will come from it. "
            "Check the parameter input_reliability, or the publisher's QoS"
        )

    def _on_lost(self, event: Any) -> None:
        self._lost = event.total_count
