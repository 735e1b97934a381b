"""A subscription to a sensor's images or points whose reliability is given, or follows what the publishers offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy

from lwseg_ros.node.parameters import InputReliability

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # its name until ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Choice(NamedTuple):
    """A reliability, and why that one."""

    reliability: ReliabilityPolicy
    reason: str


def choose_reliability(setting: InputReliability, offered: Sequence[ReliabilityPolicy]) -> Choice:
    """Choose a subscription's reliability from the parameter and from what every publisher offers.

    A reliable subscription receives nothing from a best-effort publisher; a best-effort one hears all, but large images come
    through Fast DDS's default transports only where they are sent again until they are complete.
    """
    if setting != "auto":
        return Choice(ReliabilityPolicy[setting.upper()], "the parameter input_reliability")
    if not offered:
        return Choice(RELIABLE, "no publisher; one of either kind will be heard")
    num_others = sum(reliability != RELIABLE for reliability in offered)
    if num_others:
        return Choice(BEST_EFFORT, f"{num_others} of {len(offered)} publishers offer best effort only")
    return Choice(RELIABLE, "every publisher offers it")


def newly_lost(total: int, previous_total: int) -> int:
    """Count the messages lost between two readings of the middleware's total.

    That is a 32-bit number, signed in Fast DDS, in a wider field: it wraps. What would be a step back counts nothing.
    """
    step = (total - previous_total) % (1 << 32)
    return step if step < 1 << 31 else 0


class InputSubscription:
    """Subscribe a topic, as reliably as its publishers allow where the setting is `auto`.

    While nobody publishes, and while `auto` changes its mind, there are two subscriptions, of either reliability: the one that
    is heard, and a candidate that takes its place with its first message. So a publisher's first message arrives whatever it
    offers, and those who publish on lose none by a change: DDS may take seconds to connect a new subscription.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        *,
        depth: int,
        setting: InputReliability,
        on_message: Callable[[Any], None],
        on_lost: Callable[[int], None],
    ) -> None:
        """Subscribe; `on_lost` is told how many further messages the middleware has lost."""
        self._node = node
        self._message_type = message_type
        self._topic = topic
        self._depth = depth
        self._setting = setting
        self._on_message = on_message
        self._on_lost = on_lost
        self._subscriptions: dict[ReliabilityPolicy, Any] = {}
        self._last: tuple[ReliabilityPolicy, Any] | None = None  # heard while there are two
        self.incompatible_qos = ""
        """The QoS policy in which a publisher that is there does not fit, or empty."""
        self.topic_name: str = node.resolve_topic_name(topic)
        self.choice = choose_reliability(setting, self._offered())
        self._heard = self.choice.reliability
        self.follow()

    def publishers(self) -> list[Any]:
        """Ask the middleware for the endpoint information of every publisher on the topic, whatever its type."""
        return list(self._node.get_publishers_info_by_topic(self.topic_name))

    def follow(self) -> None:
        """Choose anew from the publishers that there are now."""
        offered = self._offered()
        self.choice = choose_reliability(self._setting, offered)
        # In nothing else do we ask for more than any publisher offers.
        refused = self.choice.reliability == RELIABLE and BEST_EFFORT in offered
        self.incompatible_qos = QoSPolicyKind.RELIABILITY.name if refused else ""
        wanted = {self._heard, self.choice.reliability}
        if self._setting == "auto" and not offered:
            wanted = {RELIABLE, BEST_EFFORT}
        # In this order, since a publisher learns of them in it: one that sends to the second sends to the first.
        for reliability in (RELIABLE, BEST_EFFORT):
            if reliability in wanted and reliability not in self._subscriptions:
                self._subscribe(reliability)
            elif reliability not in wanted and reliability in self._subscriptions:
                self._unsubscribe(reliability)

    def close(self) -> None:
        """Unsubscribe."""
        for reliability in list(self._subscriptions):
            self._unsubscribe(reliability)

    def _offered(self) -> list[ReliabilityPolicy]:
        message_type = f"sensor_msgs/msg/{self._message_type.__name__}"
        return [
            publisher.qos_profile.reliability for publisher in self.publishers() if publisher.topic_type == message_type
        ]

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        lost_total = 0

        def count_lost(event: Any) -> None:
            nonlocal lost_total
            lost, lost_total = newly_lost(event.total_count, lost_total), event.total_count
            if reliability == self.choice.reliability:
                self._on_lost(lost)

        def receive(message: Any) -> None:
            self._receive(reliability, message)

        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=self._depth, reliability=reliability)
        arguments = (self._message_type, self._topic, receive, qos)
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos, message_lost=count_lost)
        try:
            subscription = self._node.create_subscription(*arguments, event_callbacks=events)
        except UnsupportedEventTypeError:  # not every middleware reports these
            subscription = self._node.create_subscription(*arguments)
        self._subscriptions[reliability] = subscription

    def _unsubscribe(self, reliability: ReliabilityPolicy) -> None:
        self._node.destroy_subscription(self._subscriptions.pop(reliability))

    def _receive(self, reliability: ReliabilityPolicy, message: Any) -> None:
        if len(self._subscriptions) > 1:
            self.follow()
        if reliability not in self._subscriptions:  # the executor had it in hand; the other one brings it too
            return
        if reliability == self.choice.reliability != self._heard:
            self._unsubscribe(self._heard)
            self._heard = reliability
        if self._last is not None and self._last[0] != reliability and self._last[1] == message:
            return
        self._last = (reliability, message) if len(self._subscriptions) > 1 else None
        self._on_message(message)

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = QoSPolicyKind(event.last_policy_kind)
        self.follow()
        if self._setting == "auto" and policy == QoSPolicyKind.RELIABILITY:
            return
        self._node.get_logger().warning(
            f"a publisher on {self.topic_name} does not fit in {policy.name}; nothing will come from it. "
            "Check the parameter input_reliability, or the publisher's QoS"
        )
