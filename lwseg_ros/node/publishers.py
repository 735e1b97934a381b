"""What the node publishes: one `CameraPublishers` a camera, one `ModelPublishers` for what all cameras share."""

from __future__ import annotations

import array
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, Header, String

from lwseg_ros.imaging import drawing, label_png, messages
from lwseg_ros.imaging.message_types import find_message_type
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node.drift import DriftWatch
from lwseg_ros.node.frame import SegmentedFrame
from lwseg_ros.node.parameters import Settings
from lwseg_ros.node.rate_limit import RateLimit
from lwseg_ros.node.worker import Timing

# Reliable publishers serve reliable and best-effort subscribers alike.
OUTPUT_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# The debug message of the Autoware ecosystem, under its names past and present.
_STAMPED_TYPES = ("autoware_internal_debug_msgs/msg/Float64Stamped", "tier4_debug_msgs/msg/Float64Stamped")


def private_topic(camera: str, name: str) -> str:
    """Name an output topic: ~/label, or ~/front/label for the camera front."""
    return f"~/{camera}/{name}" if camera else f"~/{name}"


class PublisherGroup:
    """The publishers of one configuration, destroyed together."""

    def __init__(self, node: LifecycleNode) -> None:
        """Start empty."""
        self._node = node
        self._publishers: list[Any] = []

    def create(self, message_type: Any, topic: str, qos: QoSProfile = OUTPUT_QOS) -> Any:
        """Create a publisher that is silent while the node is not active."""
        self._publishers.append(self._node.create_lifecycle_publisher(message_type, topic, qos))
        return self._publishers[-1]

    def warn(self, text: str) -> None:
        """Log what is wrong with them, as the node."""
        self._node.get_logger().warning(text)

    def close(self) -> None:
        """Destroy all."""
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())


class MillisecondsPublisher:
    """Publish a duration: Float64Stamped where the ecosystem's messages are installed, else std_msgs/Float64."""

    def __init__(self, group: PublisherGroup, topic: str) -> None:
        """Create the publisher of one topic."""
        self._stamped = find_message_type(*_STAMPED_TYPES)
        self._publisher = group.create(self._stamped or Float64, topic)

    def publish(self, stamp: Any, value_ms: float) -> None:
        """Publish a value in milliseconds under the stamp of the frame it is about."""
        if self._stamped is None:
            self._publisher.publish(Float64(data=value_ms))
        else:
            self._publisher.publish(self._stamped(stamp=stamp, data=value_ms))


class CameraPublishers:
    """Publish one camera's results. The header of every message is the source's."""

    def __init__(
        self, group: PublisherGroup, camera: str, model: ModelFile, *, publish_confidence: bool = False
    ) -> None:
        """Create the camera's publishers; publish_confidence: as the node's parameter."""
        self._palette_bgr = model.manifest.palette_bgr
        self._label, self._uncertainty, self._overlay, self._color = (
            group.create(Image, private_topic(camera, name)) for name in ("label", "uncertainty", "overlay", "color")
        )
        self._acceptance = model.manifest.accepted_pixels()
        if self._acceptance is not None:
            self._accepted = group.create(Image, private_topic(camera, "accepted"))
        self._confidence = group.create(Image, private_topic(camera, "confidence")) if publish_confidence else None
        self._compressed = group.create(CompressedImage, private_topic(camera, "label/compressed"))
        self._compressed_limit = RateLimit()
        self._camera_info = group.create(CameraInfo, private_topic(camera, "camera_info"))
        self.camera_info_fault = ""
        """Why none was published with the last frame; empty where one was, or the camera has none."""
        self._latency = MillisecondsPublisher(group, private_topic(camera, "debug/pipeline_latency_ms"))

    def publish(self, result: SegmentedFrame, settings: Settings) -> None:
        """Publish label, uncertainty, camera_info where the camera has its own, and accepted pixels and confidence if asked for."""
        header = result.frame.message.header
        segmentation = result.segmentation
        _publish_image(self._label, header, segmentation.label, "mono8")
        if settings.uncertainty_encoding == "32FC1":
            floats = np.multiply(segmentation.uncertainty, 1 / 255, dtype=np.float32)
            _publish_image(self._uncertainty, header, floats, "32FC1")
        else:
            _publish_image(self._uncertainty, header, segmentation.uncertainty, "mono8")
        if self._acceptance is not None and self._accepted.get_subscription_count():
            accepted = self._acceptance.accepted(segmentation.label, segmentation.uncertainty)
            _publish_image(self._accepted, header, accepted, "mono8")
        if self._confidence is not None and self._confidence.get_subscription_count():
            _publish_image(self._confidence, header, 255 - segmentation.uncertainty, "mono8")
        self.camera_info_fault = result.camera_info_fault
        scaled = result.label_camera_info()
        if scaled is not None:
            scaled.header = header
            self._camera_info.publish(scaled)

    def publish_extras(self, result: SegmentedFrame, latency_ms: float, settings: Settings) -> None:
        """Publish the latency, and the compressed label and the pictures for people if somebody asks for them."""
        header = result.frame.message.header
        self._latency.publish(header.stamp, latency_ms)
        label = result.segmentation.label
        if self._compressed.get_subscription_count() and self._compressed_limit.lets_through(
            result.frame.arrival_s, settings.label_compressed_rate_hz
        ):
            data = array.array("B", label_png.encode_label(label, settings.label_compressed_divisor))
            self._compressed.publish(CompressedImage(header=header, format=label_png.FORMAT, data=data))
        if self._color.get_subscription_count():
            _publish_image(self._color, header, drawing.colorize(label, self._palette_bgr), "bgr8")
        if self._overlay.get_subscription_count():
            overlay = drawing.overlay(result.image, label, self._palette_bgr, settings.overlay_alpha)
            _publish_image(self._overlay, header, overlay, "bgr8")


class ModelPublishers:
    """Publish what belongs to the model and the machine rather than to a camera."""

    def __init__(self, group: PublisherGroup, model: ModelFile, *, publish_confidence: bool = False) -> None:
        """Create the publishers; label_info only where vision_msgs is installed.

        publish_confidence: as the node's parameter; who sets it wants label_info, and is warned where that is missing.
        """
        self._model = model
        self.label_info_json = label_info_json(model)
        self._json = group.create(String, "~/label_info_json", LATCHED_QOS)
        self._label_info_type = find_message_type("vision_msgs/msg/LabelInfo")
        self._vision_class = find_message_type("vision_msgs/msg/VisionClass")
        if self._label_info_type is not None:
            self._label_info = group.create(self._label_info_type, "~/label_info", LATCHED_QOS)
        elif publish_confidence:
            group.warn(
                "vision_msgs is not installed, so ~/label_info is not published, without which Nav2's semantic layer drops every "
                "frame (publish_confidence is true): sudo apt install ros-$ROS_DISTRO-vision-msgs"
            )
        self._processing_time = MillisecondsPublisher(group, "~/debug/processing_time_ms")
        self._inference_time = MillisecondsPublisher(group, "~/debug/engine_time_ms")

    def publish_label_info(self, stamp: Any) -> None:
        """Publish the classes, for those who subscribe now and later."""
        self._json.publish(String(data=self.label_info_json))
        if self._label_info_type is not None:
            message = self._label_info_type(header=Header(stamp=stamp))
            fill_label_info(message, self._vision_class, self._model)
            self._label_info.publish(message)

    def publish_times(self, stamp: Any, timing: Timing) -> None:
        """Publish how long a frame took."""
        self._processing_time.publish(stamp, timing.processing_ms)
        self._inference_time.publish(stamp, timing.inference_ms)


class ResultSink:
    """Where the worker leaves its results: the publishers of the frame's camera."""

    def __init__(
        self,
        cameras: Mapping[str, CameraPublishers],
        model: ModelPublishers,
        drift: DriftWatch,
        settings: Callable[[], Settings],
        relay: Callable[[SegmentedFrame], None],
    ) -> None:
        """Collect the publishers, and what looks at the frames after them; settings gives the present ones.

        relay hands the labels to who is in this process.
        """
        self._cameras = cameras
        self._model = model
        self._drift = drift
        self._settings = settings
        self._relay = relay

    def camera_info_fault(self, camera: str) -> str:
        """Say why a camera's calibration is not published; empty where it is, or there is none."""
        return self._cameras[camera].camera_info_fault

    def publish(self, result: SegmentedFrame) -> None:
        """Publish label, uncertainty and camera_info."""
        self._cameras[result.frame.camera].publish(result, self._settings())
        self._relay(result)

    def publish_extras(self, result: SegmentedFrame, timing: Timing) -> None:
        """Publish times and, if somebody looks at them, pictures; then look at what the camera sees."""
        self._model.publish_times(result.frame.message.header.stamp, timing)
        self._cameras[result.frame.camera].publish_extras(result, timing.latency_ms, self._settings())
        self._drift.look(result)


def label_info_json(model: ModelFile) -> str:
    """Describe the label image's ids, and where they come from, as JSON.

    Where pixels are accepted, a class has a `threshold`, the largest uncertainty of those (null: never), and `level` and
    `confidence` say what is claimed of them.
    """
    manifest = model.manifest
    acceptance = manifest.accepted_pixels()
    classes = [
        {
            "id": c.id,
            "name": c.name,
            "color_rgb": list(c.color_rgb),
            **({"threshold": acceptance.thresholds.get(c.id)} if acceptance else {}),
        }
        for c in manifest.classes
    ]
    return json.dumps(
        {
            "classes": classes,
            **({"level": acceptance.level, "confidence": acceptance.confidence} if acceptance else {}),
            "ignore_id": manifest.ignore_id,
            "dataset": manifest.dataset,
            "network": manifest.network,
            "uncertainty_kind": manifest.uncertainty_kind,
            "model_sha256": model.sha256,
        }
    )


def fill_label_info(message: Any, vision_class: Callable[..., Any], model: ModelFile) -> None:
    """Fill a vision_msgs/LabelInfo.

    The threshold is the least certainty, 1 - uncertainty / 255, with which a pixel of any class is accepted; label_info_json has
    those of each class. 0 where the model vouches for none: every pixel has its most probable class.
    """
    message.class_map = [vision_class(class_id=c.id, class_name=c.name) for c in model.manifest.classes]
    acceptance = model.manifest.accepted_pixels()
    thresholds = acceptance.thresholds.values() if acceptance else ()
    message.threshold = 1.0 - max(thresholds) / 255 if thresholds else 0.0


def _publish_image(publisher: Any, header: Header, pixels: np.ndarray, encoding: str) -> None:
    message = Image(header=header)
    messages.fill(message, pixels, encoding)
    publisher.publish(message)
