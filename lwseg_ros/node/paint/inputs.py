"""What the node takes in: the points, each camera's images and calibration, and what the labels mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging import messages
from lwseg_ros.node.input_subscription import InputSubscription
from lwseg_ros.node.label_relay import LabelRelay, RelayedLabels
from lwseg_ros.node.paint.classes import LabelClasses
from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.node.paint.sweep_queue import Sweep, SweepQueue
from lwseg_ros.node.paint.transforms import on_new_time
from lwseg_ros.node.publishers import LATCHED_QOS, OUTPUT_QOS
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.painting.point_cloud import MAX_POINTS

IMAGE_KINDS = ("label", "uncertainty", "accepted")
BYTES = ("mono8", "8UC1")


class PaintInputs:
    """What comes in while the node is active: images are decoded, sweeps left as they are, all in the queue."""

    def __init__(
        self,
        node: LifecycleNode,
        queue: SweepQueue,
        statistics: FrameStatistics,
        settings: Callable[[], PaintSettings],
        report: Callable[[str], None],
        relay: LabelRelay | None = None,
    ) -> None:
        """Subscribe; labels come by the relay where there is one. settings gives the present ones.

        What rclpy raises for a topic that cannot be leaves nothing behind.
        """
        self._node = node
        self._queue = queue
        self.cameras = queue.histories.keys()
        self._statistics = statistics
        self._settings = settings
        self._report = report
        self._relay = relay
        self._label_info = ""
        self.bad_images = dict.fromkeys(queue.histories, 0)
        self._subscriptions: list[Any] = []
        self.points = InputSubscription(
            node,
            PointCloud2,
            "points",
            depth=settings().input_depth,
            setting=settings().input_reliability,
            on_message=self._on_points,
            on_lost=statistics.add_lost,
        )
        self._jumps = on_new_time(node, self._begin_anew)
        try:
            if relay is None:
                self._subscribe_labels()
            else:
                relay.listen(self)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe."""
        self._jumps.unregister()
        self.points.close()
        if self._relay is not None:
            self._relay.listen(None)
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def take_label_info(self, text: str) -> None:
        """Take in what the labels mean, in the JSON of the node `segment`."""
        try:
            classes = LabelClasses.parse(text)
        except ImageError as error:
            self._report(str(error))
            return
        means_another = self._label_info not in ("", text)
        self._label_info = text
        with self._queue.changed:
            self._queue.classes = classes
            for history in self._queue.histories.values():
                history.expects_accepted = classes.has_accepted
                if means_another:
                    history.clear()
            self._queue.changed.notify_all()

    def take_labels(self, labels: RelayedLabels) -> None:
        """Take in a frame's labels; those of a camera that is not painted with are left out. From any thread."""
        if labels.camera in self._queue.histories:
            self._add_images(labels.camera, labels.stamp_ns, labels.frame_id, labels.images, labels.camera_info)

    def _subscribe_labels(self) -> None:
        def subscribe(kind: Any, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> None:
            self._subscriptions.append(self._node.create_subscription(kind, topic, take, qos))

        subscribe(String, "label_info_json", lambda message: self.take_label_info(message.data), LATCHED_QOS)
        for camera in self._queue.histories:
            prefix = f"{camera}/" if camera else ""
            for kind in IMAGE_KINDS:
                subscribe(Image, f"{prefix}{kind}", self._image_taker(camera, kind), OUTPUT_QOS)
            subscribe(CameraInfo, f"{prefix}camera_info", self._info_taker(camera), OUTPUT_QOS)

    def _on_points(self, message: PointCloud2) -> None:
        now_s = time.monotonic()
        self._statistics.add_arrival(now_s)
        if message.height * message.width > MAX_POINTS:  # who reads it refuses it: its data need not wait for that
            message = PointCloud2(header=message.header, height=message.height, width=message.width)
        for _ in range(self._queue.put(Sweep(message, now_s))):
            self._statistics.add_drop("inactive" if self._queue.is_closed else "superseded")

    def _begin_anew(self) -> None:
        for _ in range(self._queue.begin_anew()):
            self._statistics.add_drop("superseded")

    def _image_taker(self, camera: str, kind: str) -> Callable[[Image], None]:
        def take(message: Image) -> None:
            try:
                image = _bytes_of(message, may_be_float=kind == "uncertainty")
            except ImageError as error:
                self._refuse(camera, kind, str(error))
                return
            self._add_images(camera, _stamp_ns(message), message.header.frame_id, {kind: image})

        return take

    def _add_images(
        self, camera: str, stamp_ns: int, frame_id: str, images: Mapping[str, np.ndarray], camera_info: Any = None
    ) -> None:
        """Take in a camera's images of one stamp, by kind, with their calibration if it is at hand."""
        if stamp_ns <= 0:
            self._refuse(camera, " and ".join(images), f"its stamp is {stamp_ns / 1e9:g} s; accepted: above 0")
            return
        with self._queue.changed:
            self._queue.last_image_s[camera] = time.monotonic()
            history = self._queue.histories[camera]
            for kind, image in images.items():
                history.add(kind, stamp_ns, frame_id, image)
            if camera_info is not None:
                history.add_camera_info(stamp_ns, camera_info)
            history.forget(stamp_ns - self._settings().label_history_ns)
            self._queue.changed.notify_all()

    def _refuse(self, camera: str, what: str, reason: str) -> None:
        self.bad_images[camera] += 1
        self._report(f"{what} of camera {camera} cannot be used: {reason}")

    def _info_taker(self, camera: str) -> Callable[[CameraInfo], None]:
        def take(message: CameraInfo) -> None:
            with self._queue.changed:
                self._queue.histories[camera].add_camera_info(_stamp_ns(message), message)
                self._queue.changed.notify_all()

        return take


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _bytes_of(message: Any, *, may_be_float: bool) -> np.ndarray:
    """Give an image as uint8 [H, W], contiguous: mono8, or 32FC1 of 0 to 1; raises ImageError."""
    if may_be_float and message.encoding == "32FC1":
        fields = {name: getattr(message, name) for name in ("height", "width", "step", "data", "is_bigendian")}
        words = messages.view(SimpleNamespace(encoding="8UC4", **fields))
        floats = np.ascontiguousarray(words).view(">f4" if message.is_bigendian else "<f4")[..., 0]
        return np.rint(np.nan_to_num(floats, nan=1.0).clip(0, 1) * 255).astype(np.uint8)
    if message.encoding not in BYTES:  # others are of one byte a pixel too, such as bayer_rggb8
        raise ImageError(
            f"its encoding is {message.encoding!r}; accepted: {', '.join(BYTES)}, and of uncertainty 32FC1"
        )
    return np.ascontiguousarray(messages.view(message))
