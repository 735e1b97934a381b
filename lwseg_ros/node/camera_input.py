"""One camera's subscriptions: they only count a message and leave it in the mailbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lwseg_ros.node.diagnostics import InputState
from lwseg_ros.node.frame import Frame, StampClock
from lwseg_ros.node.input_subscription import RELIABLE, InputSubscription
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.parameters import Settings
from lwseg_ros.node.publishers import LATCHED_QOS
from lwseg_ros.node.rate_limit import RateLimit
from lwseg_ros.node.statistics import FrameStatistics

# How often to look whether publishers have come or gone; no event tells on every ROS distribution.
FOLLOW_PERIOD_S = 0.5


class CameraInput:
    """Receive one camera's images and calibration while open."""

    def __init__(self, node: LifecycleNode, camera: str, settings: Callable[[], Settings]) -> None:
        """Prepare a closed input; `camera` is empty for a single camera without a name, settings gives the present ones."""
        self.statistics = FrameStatistics(time.monotonic())
        self.stamp_clock = StampClock()
        self._node = node
        self._camera = camera
        self._settings = settings
        self._message_type = CompressedImage if settings().transport == "compressed" else Image
        self._mailbox: Mailbox[Frame] | None = None
        self._rate_limit = RateLimit()
        self._images: InputSubscription | None = None
        self._info_subscriptions: list[Any] = []
        self._timer: Any = None
        self._camera_info: CameraInfo | None = None
        self._prefix = f"{camera}/" if camera else ""

    def open(self, mailbox: Mailbox[Frame]) -> None:
        """Subscribe, and leave every image in the mailbox."""
        self._mailbox = mailbox
        self.statistics.restart(time.monotonic())
        self.stamp_clock = StampClock()
        # Subscribed first, so that a frame finds the calibration that waits beside it.
        self._subscribe_info(qos_profile_sensor_data)
        # Resolved first, so that remapping `image` moves `image/compressed` along, as image_transport does.
        topic = f"{self._prefix}image"
        if self._message_type is CompressedImage:
            topic = f"{self._node.resolve_topic_name(topic)}/compressed"
        self._images = InputSubscription(
            self._node,
            self._message_type,
            topic,
            depth=self._settings().input_depth,
            setting=self._settings().input_reliability,
            on_message=self._on_image,
            on_lost=self.statistics.add_lost,
        )
        self._timer = self._node.create_timer(
            FOLLOW_PERIOD_S, self._follow, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._follow()

    def close(self) -> None:
        """Unsubscribe."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        if self._images is not None:
            self._images.close()
            self._images = None
        while self._info_subscriptions:
            self._node.destroy_subscription(self._info_subscriptions.pop())
        self._mailbox = None

    @property
    def is_open(self) -> bool:
        """Whether images are expected."""
        return self._mailbox is not None

    def state(self) -> InputState:
        """Ask the middleware who publishes on the topic, and how that fits."""
        message_type = f"sensor_msgs/msg/{self._message_type.__name__}"
        if self._images is None:
            return InputState("", message_type)
        self._images.follow()
        publishers = self._images.publishers()
        return InputState(
            topic=self._images.topic_name,
            message_type=message_type,
            publisher_types=tuple(publisher.topic_type for publisher in publishers),
            incompatible_qos=self._images.incompatible_qos,
            reliability=self._images.choice.reliability.name.lower(),
            reliability_reason=self._images.choice.reason,
            all_reliable=all(publisher.qos_profile.reliability == RELIABLE for publisher in publishers),
            info_topic=self._info_subscriptions[0].topic_name,
            calibration=self._describe_calibration(),
        )

    def _follow(self) -> None:
        """Keep up with what the publishers offer that have come or gone."""
        if self._images is None:
            return
        self._images.follow()
        infos = self._node.get_publishers_info_by_topic(self._info_subscriptions[0].topic_name)
        latched = any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in infos)
        # What was published once before we came is kept for those alone who ask for it, and asking for it excludes others.
        if latched and len(self._info_subscriptions) == 1:
            self._subscribe_info(LATCHED_QOS)

    def _subscribe_info(self, qos: Any) -> None:
        self._info_subscriptions.append(
            self._node.create_subscription(CameraInfo, f"{self._prefix}camera_info", self._on_camera_info, qos)
        )

    def _on_image(self, message: Any) -> None:
        mailbox = self._mailbox
        if mailbox is None:
            return
        now_s = time.monotonic()
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        now_ns = self._node.get_clock().now().nanoseconds
        foreign_stamp = self.stamp_clock.observe(
            stamp_ns, now_ns=now_ns, now_s=now_s, max_age_ms=self._settings().max_age_ms
        )
        wanted = self._rate_limit.lets_through(now_s, self._settings().max_rate_hz_of(self._camera))
        self.statistics.add_arrival(now_s, awaited=wanted)
        if not wanted:
            self.statistics.add_drop("rate_limited")
            return
        frame = Frame(self._camera, message, stamp_ns, now_s, self._camera_info, foreign_stamp)
        replaced = mailbox.put(self._camera, frame)
        if replaced is not None:
            self.statistics.add_drop("inactive" if replaced is frame else "superseded")

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _describe_calibration(self) -> str:
        info = self._camera_info
        if info is None:
            topic = f"{self._prefix}camera_info"
            resolved = self._node.resolve_topic_name(topic)
            # Remapping `image` does not move it along.
            is_remapped = resolved != self._node.resolve_topic_name(topic, only_expand=True)
            return f"none has come on {resolved}" + ("" if is_remapped else f"; -r {topic}:=TOPIC")
        return "received" if info.k[0] else "received, but the camera is not calibrated (k[0] is 0)"
