"""Where transforms come from: tf2 where the distribution has it, else messages of our own into a buffer of our own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from lwseg_ros.errors import TransformError
from lwseg_ros.painting import rigid
from lwseg_ros.painting.transforms import TransformBuffer

DEPTH = 100


class Transforms(Protocol):
    """What `TransformBuffer.lookup` tells, from the network."""

    def lookup(self, target: str, target_ns: int, source: str, source_ns: int, fixed: str) -> np.ndarray:
        """See `TransformBuffer.lookup`; from any thread."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


def listen(node: Node, report: Callable[[str], None]) -> Transforms:
    """Listen to transforms; report is told of those that are none."""
    if importlib.util.find_spec("tf2_ros") is not None:
        return Tf2Transforms(node)
    return StampedTransforms(node, report)


def on_new_time(node: Node, callback: Callable[[], None]) -> Any:
    """Call back where the node's clock is set back by a second or becomes another, as when a simulation begins anew.

    Returns a handle, which is to be kept, and whose `unregister()` ends it.
    """
    jump = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
    return node.get_clock().create_jump_callback(jump, post_callback=lambda _: callback())


class Tf2Transforms:
    """tf2's own buffer, fed by /tf and /tf_static."""

    def __init__(self, node: Node) -> None:
        """Listen in the node's executor."""
        self._tf2: Any = importlib.import_module("tf2_ros")
        # Without the node, to which it would add a service each time, and until Jazzy a callback that fails.
        self._buffer = self._tf2.Buffer()
        self._listener = self._tf2.TransformListener(self._buffer, node, spin_thread=False)
        self._jumps = on_new_time(node, self._buffer.clear)

    def lookup(self, target: str, target_ns: int, source: str, source_ns: int, fixed: str) -> np.ndarray:
        """See `TransformBuffer.lookup`."""
        target_time, source_time = Time(nanoseconds=target_ns), Time(nanoseconds=source_ns)
        try:
            if target_ns == source_ns:
                found = self._buffer.lookup_transform_core(target, source, source_time)
            else:
                found = self._buffer.lookup_transform_full_core(target, target_time, source, source_time, fixed)
        except self._tf2.TransformException as error:
            raise TransformError(" ".join(str(error).split())) from error
        return rigid.matrix(*_numbers(found))

    def close(self) -> None:
        """Listen no more."""
        self._jumps.unregister()
        self._listener.unregister()


class StampedTransforms:
    """geometry_msgs/TransformStamped on `transforms` and, latched, on `transforms_static`: the wheels lack tf2_msgs."""

    def __init__(self, node: Node, report: Callable[[str], None]) -> None:
        """Listen in the node's executor."""
        self._node = node
        self._report = report
        self._buffer = TransformBuffer()
        self.lookup = self._buffer.lookup
        self._jumps = on_new_time(node, self._buffer.clear)
        latched = QoSProfile(depth=DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [
            node.create_subscription(TransformStamped, "transforms", lambda message: self._add(message), DEPTH),
            node.create_subscription(
                TransformStamped, "transforms_static", lambda message: self._add(message, is_static=True), latched
            ),
        ]

    def _add(self, message: TransformStamped, *, is_static: bool = False) -> None:
        stamp = message.header.stamp
        try:
            self._buffer.add(
                message.header.frame_id,
                message.child_frame_id,
                stamp.sec * 1_000_000_000 + stamp.nanosec,
                *_numbers(message),
                is_static=is_static,
            )
        except TransformError as error:
            self._report(str(error))

    def close(self) -> None:
        """Listen no more."""
        self._jumps.unregister()
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())


def _numbers(message: TransformStamped) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give translation, and quaternion x, y, z, w."""
    shift, turn = message.transform.translation, message.transform.rotation
    return (shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w)
